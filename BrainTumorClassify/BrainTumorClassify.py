# SPDX-License-Identifier: Apache-2.0
import os
from typing import Annotated

import qt
import slicer
from slicer import (
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from BrainTumorClassifySlicerLib import classification_result, recognition, region_box
from BrainTumorClassifySlicerLib.answer_view import HEADERS, NAMES, AnswerView, rows
from BrainTumorClassifySlicerLib.classification_result import (
    SEQUENCES,
    BrainTumorClassifyResult,
    loadResult,
)
from ReadingRoomSlicerLib import jobs, panel, samples, settings, views, volumes
from ReadingRoomSlicerLib.module import ReadingRoomLogic, ReadingRoomWidget

#
# BrainTumorClassify
#


class BrainTumorClassify(ScriptedLoadableModule):
    """Glioblastoma, lymphoma or meningioma, and how far to trust it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("BrainTumorClassify")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["ReadingRoomCore"]
        self.parent.contributors = ["ReadingRoom contributors"]
        self.parent.helpText = _(
            "Says how probable glioblastoma, CNS lymphoma and meningioma are for a tumour in T1, T2"
            " and contrast-enhanced T1, and how far to trust that. Choose the three sequences,"
            " outline the tumour or let it be looked for, and press Apply."
        ) + self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "After Kunimatsu, machine-learning diagnosis of brain tumours, KAKENHI 18K07629."
            " Research software, not a medical device.")
        slicer.app.connect("startupCompleted()", registerSampleData)


LIBRARY = "BrainTumorClassifyLib"
SAMPLE_CATEGORY = "BrainTumorClassify"
RECIPE = "modern"


def _samplePart(name, sequence):
    return samples.Sample(
        name,
        f"{name}.nrrd",
        "import sys; from pathlib import Path; from BrainTumorClassifyLib.sample_study import make;"
        f"print(make(Path(sys.argv[1]), '{sequence}'))",
        None,
        "https://github.com/ReadingRoom/SlicerReadingRoom",
        LIBRARY,
    )


SAMPLES = {
    "t1": _samplePart("MRBrainSimulatedT1", "t1"),
    "t2": _samplePart("MRBrainSimulatedT2", "t2"),
    "t1c": _samplePart("MRBrainSimulatedT1Contrast", "t1c"),
}


def registerSampleData():
    """Offer our images in the Sample Data module."""
    samples.register(SAMPLE_CATEGORY, _("BrainTumorClassify"), *SAMPLES.values())


#
# BrainTumorClassifyParameterNode
#


@parameterNodeWrapper
class BrainTumorClassifyParameterNode:
    """
    What the panel shows, and where the result is; saved with the scene.

    t1Volume, t2Volume, t1cVolume - the sequences.
    box, segmentation - where the tumour is, one of both; none to look for the tumour.
    segment - ID of the segment that is the tumour, of a segmentation.
    model - name of the model, as in the list of models.
    errorPercent - of patients of each kind whose set of kinds may lack the true one.
    biasField - whether the bias field is taken out first.
    brainOnly - whether what lies outside the brain is taken away first.
    device - where to compute.
    seed - start of the random numbers.
    The others are the last result; see BrainTumorClassifyResult.
    """

    t1Volume: vtkMRMLScalarVolumeNode
    t2Volume: vtkMRMLScalarVolumeNode
    t1cVolume: vtkMRMLScalarVolumeNode
    box: vtkMRMLMarkupsROINode
    segmentation: vtkMRMLSegmentationNode
    segment: str = ""
    model: str = "starter"
    errorPercent: Annotated[float, WithinRange(0.1, 50.0)] = 10.0
    biasField: bool = False
    brainOnly: bool = False
    device: settings.Device = settings.Device.AUTO
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    probabilities: vtkMRMLTableNode
    saliency: vtkMRMLScalarVolumeNode
    regionBox: vtkMRMLMarkupsROINode
    alignedT1: vtkMRMLScalarVolumeNode
    alignedT2: vtkMRMLScalarVolumeNode
    pseudoRgb: vtkMRMLTextNode
    answerPage: vtkMRMLTextNode
    report: vtkMRMLTextNode


#
# BrainTumorClassifyWidget
#


class BrainTumorClassifyWidget(ReadingRoomWidget):
    """The panel: three sequences, a region, Apply, the answer with its reasons and doubts."""

    applyToolTip = _("Say which kind of tumour it is and how sure that is.")
    resultHeaders = HEADERS

    def __init__(self, parent=None) -> None:
        ReadingRoomWidget.__init__(self, parent)
        self.view = None
        self._segments = []
        self._trainingSection = None
        self._experimentSection = None

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        super().setup()
        self.setUpPanel(BrainTumorClassifyLogic(),
                        os.path.join(jobs.libraryFolder(LIBRARY), LIBRARY, "models.json"))
        self.panel.nameOverlay(_("Saliency"), _(
            "Show over the image what the answer hangs on: where it would change most if the"
            " network did not see that place."))
        self.ui.recogniseButton.connect("clicked(bool)", self.onRecogniseButton)
        self.ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onRegionChanged)
        self.ui.newBoxButton.connect("clicked(bool)", self.onNewBoxButton)
        self.ui.segmentComboBox.connect("currentIndexChanged(int)", self.onSegmentChanged)
        self.ui.sideBySideButton.connect("toggled(bool)", self.onSideBySide)
        self.ui.answerPageButton.connect("clicked(bool)", self.onAnswerPageButton)
        self.ui.recognisedLabel.visible = False
        self.view = AnswerView(self.ui)
        self._trainingSection = self.panel.addLazySection(_("Train"), self._makeTraining)
        self._experimentSection = self.panel.addLazySection(
            _("Experiment"), self._makeExperiment)
        self.initializeParameterNode()

    @property
    def training(self):
        """The section Train, made when it is needed first."""
        return self._trainingSection.section

    def _makeTraining(self):
        from BrainTumorClassifySlicerLib.training_section import TumorTrainingPanel

        return TumorTrainingPanel(LIBRARY, self.moduleName, self)

    @property
    def experiment(self):
        """The section Experiment, made when it is needed first."""
        return self._experimentSection.section

    def _makeExperiment(self):
        from BrainTumorClassifySlicerLib.experiment_section import ExperimentPanel

        return ExperimentPanel(LIBRARY, self.moduleName, self)

    # What the sections "Train" and "Experiment" ask for

    def modelNames(self) -> list:
        return self.panel.modelNames()

    def onTrained(self, manifest) -> None:
        """Let the new model be chosen."""
        if self._parameterNode:
            self.showParameters(self._parameterNode)
            self._checkCanApply()

    def computeOptions(self) -> dict:
        parameterNode = self.logic.getParameterNode()
        return {"device": parameterNode.device.value, "seed": parameterNode.seed}

    def cleanup(self) -> None:
        self._trainingSection.cleanup()
        self._experimentSection.cleanup()
        super().cleanup()

    def exit(self) -> None:
        self.ui.sideBySideButton.checked = False
        super().exit()

    def onSceneStartClose(self, caller, event) -> None:
        self.ui.sideBySideButton.checked = False
        super().onSceneStartClose(caller, event)

    def chooseInputs(self, parameterNode) -> None:
        """Take what is loaded for the sequences, where nothing was chosen yet."""
        if any(getattr(parameterNode, f"{sequence}Volume") for sequence in SEQUENCES):
            return
        if len(recognition.volumesOfScene()) > 1:
            self._recognise(parameterNode)

    def onRecogniseButton(self, checked=False) -> None:
        """Called when the user wants to be told which volume is which sequence."""
        with slicer.util.tryWithErrorDisplay(_("The sequences could not be recognised.")):
            self._recognise(self._parameterNode)

    def _recognise(self, parameterNode) -> None:
        result = self.logic.resultOf(parameterNode)
        own = result.sequences[:-1] + [result.saliency] if result else []
        chosen, reasons = recognition.recognise(
            [node for node in recognition.volumesOfScene() if node not in own])
        with slicer.util.NodeModify(parameterNode.parameterNode):
            for sequence, volumeNode in chosen.items():
                setattr(parameterNode, f"{sequence}Volume", volumeNode)
        self.ui.recognisedLabel.text = "\n".join(
            f"{NAMES[sequence]}: {reason}" for sequence, reason in reasons.items())
        self.ui.recognisedLabel.visible = True

    def showParameters(self, parameterNode) -> None:
        self.panel.showModels(RECIPE, parameterNode.model)
        selector = self.ui.regionSelector
        blocked = selector.blockSignals(True)
        selector.setCurrentNode(self._region(parameterNode))
        selector.blockSignals(blocked)
        self._showSegments(parameterNode)

    @staticmethod
    def _region(parameterNode):
        """The box or segmentation that is chosen; None where there is none."""
        return parameterNode.box or parameterNode.segmentation

    def onRegionChanged(self, node) -> None:
        """Called when the user chooses a box, a segmentation or none."""
        parameterNode = self._parameterNode
        if not parameterNode:
            return
        isSegmentation = region_box.isSegmentation(node)
        with slicer.util.NodeModify(parameterNode.parameterNode):
            parameterNode.box = None if isSegmentation else node
            parameterNode.segmentation = node if isSegmentation else None

    def _showSegments(self, parameterNode) -> None:
        """Offer the segments of a segmentation; of one, the first is the tumour until told."""
        segments = region_box.segmentsOf(parameterNode.segmentation)
        comboBox = self.ui.segmentComboBox
        for part in (comboBox, self.ui.segmentLabel):
            part.visible = bool(segments)
        blocked = comboBox.blockSignals(True)
        if segments != self._segments:
            self._segments = segments
            comboBox.clear()
            comboBox.addItems([name for _segmentId, name in segments])
        ids = [segmentId for segmentId, _name in segments]
        if segments:
            if parameterNode.segment not in ids:
                parameterNode.segment = ids[0]
            comboBox.currentIndex = ids.index(parameterNode.segment)
        comboBox.blockSignals(blocked)

    def onSegmentChanged(self, index) -> None:
        if self._parameterNode and 0 <= index < len(self._segments):
            self._parameterNode.segment = self._segments[index][0]

    def onNewBoxButton(self, checked=False) -> None:
        """Called when the user wants to draw a region."""
        self.onRegionChanged(region_box.newBox(_("Tumour region")))

    def reasonNotToApply(self) -> str:
        parameterNode = self._parameterNode
        given = self._given(parameterNode) if parameterNode else {}
        if "t1c" not in given and len(given) < 2:
            return _("Choose the contrast-enhanced T1, and T1 or T2 or both, first.")
        if len(given) < 2:
            return _("Choose T1 or T2 or both, too.")
        if len({node.GetID() for node in given.values()}) < len(given):
            return _("The same volume is chosen for two sequences: choose one for each.")
        for node in given.values():
            if reason := panel.reasonNotMR(node):
                return reason
        nodes = list(given.values())
        if any(volumes.ofDifferentPatients(nodes[0], node) for node in nodes[1:]):
            return _("The sequences carry different patient numbers: choose those of one patient.")
        if parameterNode.segmentation and not self._segments:
            return _("The chosen segmentation has no segment: outline the tumour first.")
        return "" if self.panel.modelName else _(
            "No model is installed, so nothing can be judged: install the extension again.")

    @staticmethod
    def _given(parameterNode) -> dict:
        """The volumes that are chosen, by sequence."""
        chosen = {name: getattr(parameterNode, f"{name}Volume") for name in SEQUENCES}
        return {name: node for name, node in chosen.items() if node}

    def startComputation(self, parameterNode, **callbacks) -> None:
        self.ui.sideBySideButton.checked = False
        self.logic.process(
            self._given(parameterNode),
            region=self._region(parameterNode),
            segment=parameterNode.segment,
            model=self.panel.modelName,
            error=parameterNode.errorPercent / 100,
            biasField=parameterNode.biasField,
            brainOnly=parameterNode.brainOnly,
            device=parameterNode.device.value,
            seed=parameterNode.seed,
            previous=self.logic.resultOf(parameterNode),
            **callbacks,
        )

    def keepResult(self, parameterNode, result) -> None:
        for name in BrainTumorClassifyResult.NODES:
            setattr(parameterNode, name, getattr(result, name))

    def onSampleButton(self) -> None:
        self.loadSamples(_("Making the example images..."), {
            f"{sequence}Volume": sample for sequence, sample in SAMPLES.items()})

    # Result

    def showResult(self) -> None:
        result = self.logic.resultOf(self._parameterNode)
        if not result or not result.manifest:
            self.panel.showResult(self.resultHeaders, None)
            return
        found = rows(result.manifest)
        self.panel.showResult(self.resultHeaders, found)
        table = self.ui.resultTable
        table.setFixedHeight(
            (len(found) + 1) * table.verticalHeader().defaultSectionSize + 8)
        self.view.show(result.manifest, classification_result.pictureOf(result))
        self.showStateOfViews((self.ui.overlayButton, views.isOverlay(result.saliency)))

    def onResultClicked(self, row, column) -> None:
        """Called when the user wants to see the tumour."""
        result = self.logic.resultOf(self._parameterNode)
        if result and result.regionBox:
            classification_result.jumpToMiddle(result)

    def onOverlay(self, show) -> None:
        views.showOverlay(self.logic.resultOf(self._parameterNode).saliency, show)

    def onSideBySide(self, show) -> None:
        result = self.logic.resultOf(self._parameterNode) if self._parameterNode else None
        if not result:
            return
        if show:
            views.showSideBySide(result.sequences)
        else:
            views.showApart(result.mainVolume)
        classification_result.jumpToMiddle(result)

    def onAnswerPageButton(self, checked=False) -> None:
        """Called when the user wants the answer as a page."""
        path = classification_result.pageOf(self.logic.resultOf(self._parameterNode))
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))


#
# BrainTumorClassifyLogic
#


class BrainTumorClassifyLogic(ReadingRoomLogic):
    """
    Classifies a tumour and puts the result into the scene. Needs no widget::

      result = BrainTumorClassifyLogic().process({"t1": a, "t2": b, "t1c": c}, wait=True)
      print(result.manifest["decision"], result.manifest["probabilities"])
    """

    library = LIBRARY
    parameterNodeClass = BrainTumorClassifyParameterNode

    MAIN_ROLE = "mainVolume"

    def resultOf(self, parameterNode):
        """The result that a parameter node refers to; None when a needed part is not there."""
        if not parameterNode or not parameterNode.probabilities or not parameterNode.report:
            return None
        mainVolume = parameterNode.report.GetNodeReference(self.MAIN_ROLE)
        if not mainVolume or not parameterNode.saliency:
            return None
        return BrainTumorClassifyResult(
            mainVolume,
            **{name: getattr(parameterNode, name) for name in BrainTumorClassifyResult.NODES})

    def process(
        self,
        sequences: dict,
        region=None,
        segment: str = "",
        model: str = "starter",
        error: float = 0.1,
        biasField: bool = False,
        brainOnly: bool = False,
        device: str = "auto",
        seed: int = 0,
        previous: BrainTumorClassifyResult | None = None,
        wait: bool = False,
        onProgress=None,
        onFinished=None,
        onFailed=None,
    ):
        """
        Classify a tumour. Can be used without GUI widget.

        :param sequences: volume nodes by "t1", "t2" and "t1c"; one may be missing where the model
          was trained to do without.
        :param region: box (markups ROI) around the tumour, segmentation, or None to look for it.
        :param segment: ID of the segment that is the tumour, of a segmentation.
        :param model: name of a model, or folder of one.
        :param error: share of patients of each kind whose set of kinds may lack the true one,
          0.001 to 0.5.
        :param biasField: whether to take the bias field out first (N4).
        :param brainOnly: whether to make what lies outside the brain black first.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param seed: start of the random numbers.
        :param previous: an earlier result that is replaced if it is of the same image and still
          has the name it was given; otherwise new nodes are made.
        :param wait: return when it is done, instead of at once.
        :param onProgress: called with stage, done, total, message.
        :param onFinished: called with the result.
        :param onFailed: called with code, sentence and log text.
        :return: the result if ``wait``, otherwise None.
        :raises RuntimeError: with ``wait``, when there is no result; in any case when it cannot
          be started.
        """
        if not sequences or not all(node.GetImageData() for node in sequences.values()):
            raise ValueError(_("There is no image to judge."))
        mainVolume = next(node for sequence, node in sequences.items()
                          if classification_result.isMain(sequence, sequences))

        def prepare(folder):
            command = ["classify", "--output", os.path.join(folder, "result")]
            for sequence, node in sequences.items():
                path = os.path.join(folder, f"{sequence}.nrrd")  # names no patient
                volumes.writeVolume(node, path)
                command += [f"--{sequence}", path]
            if region:
                command += ["--roi", region_box.write(region, segment, mainVolume, folder)]
            command += [flag for flag, wanted in (("--bias-field", biasField),
                                                  ("--brain-only", brainOnly)) if wanted]
            return [*command, "--model", model, "--error", error, "--device", device,
                    "--seed", seed, "--progress", "json"]

        def load(manifest):
            result = loadResult(manifest, mainVolume, previous)
            result.report.SetNodeReferenceID(self.MAIN_ROLE, mainVolume.GetID())
            return result

        return self._runner.runInFolder(prepare, load, onFinished, onFailed, onProgress, wait)

    def export(self, result: BrainTumorClassifyResult, folder: str) -> str:
        """
        Write a result as files: what the command line writes, and the kinds as a table.

        :param folder: a new folder, named after the table of kinds, is made in it.
        :return: path of the new folder.
        """
        return classification_result.export(result, folder)


#
# BrainTumorClassifyTest
#


class BrainTumorClassifyTest(ScriptedLoadableModuleTest):
    """The module's own test: a simulated patient through the real computation."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_simulatedPatient()

    def test_simulatedPatient(self):
        """A tumour is classified and every node is where a user looks; one image twice is not."""
        self.delayDisplay("Making the sequences of a simulated patient")
        sequences = {name: self._load(sample) for name, sample in SAMPLES.items()}
        chosen, _reasons = recognition.recognise(sequences.values())
        self.assertEqual({name: node.GetName() for name, node in chosen.items()},
                         {name: node.GetName() for name, node in sequences.items()})
        logic = BrainTumorClassifyLogic()
        try:
            self.delayDisplay("Refusing one image for two sequences")
            with self.assertRaises(RuntimeError):
                logic.process({"t1": sequences["t1"], "t1c": sequences["t1"]}, device="cpu",
                              wait=True)
            self.delayDisplay("Classifying")
            result = logic.process(sequences, device="cpu", wait=True)
        finally:
            logic.shutdown()
        self.assertEqual(result.manifest["status"], "completed")
        self.assertEqual(result.probabilities.GetNumberOfRows(), 3)
        self.assertAlmostEqual(sum(result.manifest["probabilities"].values()), 1.0, places=2)
        self.assertEqual(result.saliency.GetImageData().GetDimensions(),
                         sequences["t1c"].GetImageData().GetDimensions())
        self.assertGreater(min(result.regionBox.GetSize()), 10.0)
        self.delayDisplay("Test passed")

    def _load(self, sample):
        loaded = {}
        loader = samples.SampleLoader()
        loader.load(sample, lambda node: loaded.update(node=node),
                    lambda code, sentence, log: loaded.update(error=sentence))
        loader.wait()
        self.assertNotIn("error", loaded)
        return loaded["node"]
