# SPDX-License-Identifier: Apache-2.0
import enum
import os
from typing import Annotated

import qt
import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from LandmarkPretrainSlicerLib import detection_result, detection_view, points
from LandmarkPretrainSlicerLib.detection_result import LandmarkPretrainResult
from LandmarkPretrainSlicerLib.scene_cases import SIMULATED
from ReadingRoomSlicerLib import jobs, samples, settings, views, volumes
from ReadingRoomSlicerLib.module import ReadingRoomLogic, ReadingRoomWidget

#
# LandmarkPretrain
#


class LandmarkPretrain(ScriptedLoadableModule):
    """Anatomical landmarks: found in an image, and learned from first, so that few lesions do."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("LandmarkPretrain")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["ReadingRoomCore"]
        self.parent.contributors = ["ReadingRoom contributors"]
        self.parent.helpText = _(
            "Finds the anatomical landmarks of an image, each with how sure it is. Choose the image"
            " and press Apply. For research: a network learns landmarks, which every image has,"
            " before it learns lesions, of which there are few; the last section says how much"
            " that helps."
        ) + self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "After Nemoto, lesion detection with anatomical landmarks, KAKENHI 17K17680."
            " Research software, not a medical device.")
        slicer.app.connect("startupCompleted()", registerSampleData)


LIBRARY = "LandmarkPretrainLib"
SAMPLE_CATEGORY = "LandmarkPretrain"

SAMPLE = samples.Sample(
    "CTTrunkSimulated",
    "CTTrunkSimulated.nrrd",
    "import sys; from pathlib import Path; import SimpleITK;"
    "from ReadingRoomLib.phantoms.trunk import simulate_trunk;"
    "path = Path(sys.argv[1]) / 'CTTrunkSimulated.nrrd';"
    "image = simulate_trunk((17, 0)).image;"
    f"image.SetMetaData('{SIMULATED}', 'yes');"
    "SimpleITK.WriteImage(image, str(path), useCompression=True);"
    "print(path)",
    None,
    "https://github.com/ReadingRoom/SlicerReadingRoom",
)


def registerSampleData():
    """Offer our image in the Sample Data module."""
    samples.register(SAMPLE_CATEGORY, _("LandmarkPretrain"), SAMPLE)


#
# LandmarkPretrainParameterNode
#


class Recipe(enum.Enum):
    """How the network was made; the value is that of the model list."""

    MODERN = "modern"
    SEED = "seed"

    def label(self) -> str:
        return {
            Recipe.MODERN: _("Modern"),
            Recipe.SEED: _("Published (Nemoto, KAKENHI 17K17680)"),
        }[self]


@parameterNodeWrapper
class LandmarkPretrainParameterNode:
    """
    What the panel shows, and where the result is; saved with the scene.

    inputVolume - image to find landmarks in.
    truth - landmarks of it that are known; may be none.
    model - name of the model, as in the list of models.
    recipe - which networks to choose the model from.
    device - where to compute.
    seed - start of the random numbers.
    landmarks, landmarkTable, report - the last result.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    truth: vtkMRMLMarkupsFiducialNode
    model: str = "starter"
    recipe: Recipe = Recipe.MODERN
    device: settings.Device = settings.Device.AUTO
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    landmarks: vtkMRMLMarkupsFiducialNode
    landmarkTable: vtkMRMLTableNode
    report: vtkMRMLTextNode


#
# LandmarkPretrainWidget
#


class LandmarkPretrainWidget(ReadingRoomWidget):
    """The panel: an image, Apply, its landmarks; below, what researchers do, step by step."""

    applyToolTip = _("Find the landmarks of the image.")
    resultHeaders = detection_view.HEADERS

    def __init__(self, parent=None) -> None:
        ReadingRoomWidget.__init__(self, parent)
        self._sections = {}
        self._listPath = ""

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        super().setup()
        self.setUpPanel(LandmarkPretrainLogic(),
                        os.path.join(jobs.libraryFolder(LIBRARY), LIBRARY, "models.json"))
        self.ui.doubtsLabel.setStyleSheet("color: #8a4b00;")
        self.ui.resultTable.textElideMode = qt.Qt.ElideMiddle  # left and right are at the end
        for name, title, make in (("cases", _("1 Landmarks"), self._makeCases),
                                  ("pretraining", _("2 Pretrain"), self._makePretraining),
                                  ("transfer", _("3 Transfer"), self._makeTransfer)):
            self._sections[name] = self.panel.addLazySection(title, make)
        self.initializeParameterNode()

    @property
    def cases(self):
        """The section Landmarks, made when it is needed first."""
        return self._sections["cases"].section

    @property
    def pretraining(self):
        """The section Pretrain, made when it is needed first."""
        return self._sections["pretraining"].section

    @property
    def transfer(self):
        """The section Transfer, made when it is needed first."""
        return self._sections["transfer"].section

    def _makeCases(self):
        from LandmarkPretrainSlicerLib.cases_section import CasesPanel

        return CasesPanel(LIBRARY, self.resourcePath("UI/LandmarkPretrainCases.ui"), self)

    def _makePretraining(self):
        from LandmarkPretrainSlicerLib.pretraining_section import PretrainingPanel

        section = PretrainingPanel(LIBRARY, self.moduleName, self)
        if self._listPath:
            section.chooseList(self._listPath)
        return section

    def _makeTransfer(self):
        from LandmarkPretrainSlicerLib.transfer_section import TransferPanel

        return TransferPanel(LIBRARY, self.moduleName, self)

    # What the sections ask for

    def modelNames(self, recipe=None) -> list:
        return self.panel.modelNames(recipe)

    def onListWritten(self, path: str) -> None:
        """Learn from this list next."""
        self._listPath = path
        if self._sections["pretraining"].isMade:
            self.pretraining.chooseList(path)

    def onTrained(self, manifest) -> None:
        """Let the new model be chosen."""
        for name in ("pretraining", "transfer"):
            if self._sections[name].isMade:
                self._sections[name].section.showModels()
        if self._parameterNode:
            self.showParameters(self._parameterNode)
            self._checkCanApply()

    def computeOptions(self) -> dict:
        parameterNode = self.logic.getParameterNode()
        return {"device": parameterNode.device.value, "seed": parameterNode.seed}

    def cleanup(self) -> None:
        for section in self._sections.values():
            section.cleanup()
        super().cleanup()

    def onSceneEndClose(self, caller, event) -> None:
        super().onSceneEndClose(caller, event)
        if self._sections["cases"].isMade:
            self.cases.onSceneClosed()

    # Inputs

    def chooseInputs(self, parameterNode) -> None:
        """Take the image that is loaded, where none was chosen yet."""
        if not parameterNode.inputVolume:
            parameterNode.inputVolume = next(
                (node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                 if node.GetImageData() and not node.IsA("vtkMRMLLabelMapVolumeNode")), None)

    def showParameters(self, parameterNode) -> None:
        self.panel.showModels(parameterNode.recipe.value, parameterNode.model)

    def reasonNotToApply(self) -> str:
        parameterNode = self._parameterNode
        if not parameterNode or not parameterNode.inputVolume:
            return _("Choose an image first.")
        if not parameterNode.inputVolume.GetImageData():
            return _("The chosen volume holds no image.")
        if parameterNode.truth and not points.placed(parameterNode.truth):
            return _("The given landmarks have no point yet: place some, or choose none.")
        if parameterNode.truth and parameterNode.truth == parameterNode.landmarks:
            return _("The given landmarks are those that were found: choose others, or none.")
        return "" if self.panel.modelName else _("There is no model of the chosen recipe.")

    def startComputation(self, parameterNode, **callbacks) -> None:
        self.logic.process(
            parameterNode.inputVolume,
            truth=parameterNode.truth,
            model=self.panel.modelName,
            device=parameterNode.device.value,
            seed=parameterNode.seed,
            previous=self.logic.resultOf(parameterNode),
            **callbacks,
        )

    def keepResult(self, parameterNode, result) -> None:
        for name in LandmarkPretrainResult.NODES:
            setattr(parameterNode, name, getattr(result, name))

    def onSampleButton(self) -> None:
        self.loadSamples(_("Making the example image..."), {"inputVolume": SAMPLE})

    # Result

    def showResult(self) -> None:
        result = self.logic.resultOf(self._parameterNode)
        if not result or not result.manifest:
            self.panel.showResult(self.resultHeaders, None)
            return
        manifest = result.manifest
        self.panel.showResult(detection_view.headers(manifest), detection_view.rows(manifest),
                              detection_view.summary(manifest))
        doubts = detection_view.doubts(manifest)
        self.ui.doubtsLabel.text = "\n".join(doubts)
        self.ui.doubtsLabel.visible = bool(doubts)
        self.ui.doubtsLabel.toolTip = detection_view.calibration(manifest)
        self.showStateOfViews(
            (self.ui.volumeRenderingButton, views.isVolumeRendered(result.inputVolume)))

    def onResultClicked(self, row, column) -> None:
        """Called when the user wants to see a landmark."""
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            return
        name = self.panel.keyOfRow(row)
        if reason := result.manifest.get("not_found", {}).get(name):
            self.panel.showMessage(detection_view.whyNotFound(name, reason))
        elif points.jumpTo(result.landmarks, name):
            self.panel.showMessage("")
        else:
            self.panel.showMessage(_("This landmark was removed or renamed."))

    def onVolumeRendering(self, show) -> None:
        volumeNode = self.logic.resultOf(self._parameterNode).inputVolume
        preset = "MR-Default" if volumes.modality(volumeNode) == "MR" else "CT-Bone"
        views.showVolumeRendering(volumeNode, show, preset)


#
# LandmarkPretrainLogic
#


class LandmarkPretrainLogic(ReadingRoomLogic):
    """
    Finds landmarks and puts them into the scene. Needs no widget::

      result = LandmarkPretrainLogic().process(volumeNode, wait=True)
      print(result.landmarks.GetNumberOfControlPoints())
    """

    library = LIBRARY
    parameterNodeClass = LandmarkPretrainParameterNode

    VOLUME_ROLE = "inputVolume"

    def resultOf(self, parameterNode):
        """The result that a parameter node refers to; None when a part of it is not there."""
        if not parameterNode:
            return None
        nodes = {name: getattr(parameterNode, name) for name in LandmarkPretrainResult.NODES}
        volumeNode = nodes["report"].GetNodeReference(self.VOLUME_ROLE) if nodes["report"] else None
        return LandmarkPretrainResult(volumeNode, **nodes) if volumeNode and all(
            nodes.values()) else None

    def process(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        truth: vtkMRMLMarkupsFiducialNode | None = None,
        model: str = "starter",
        device: str = "auto",
        seed: int = 0,
        previous: LandmarkPretrainResult | None = None,
        wait: bool = False,
        onProgress=None,
        onFinished=None,
        onFailed=None,
    ):
        """
        Find the landmarks of an image. Can be used without GUI widget.

        :param volumeNode: image.
        :param truth: landmarks of it that are known, to compare the found ones with; or None.
        :param model: name of a model, or folder of one.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param seed: start of the random numbers.
        :param previous: an earlier result that is replaced if it is of the same image and still
          has the name it was given; otherwise new nodes are made. Landmarks that were moved since
          are kept under another name.
        :param wait: return when it is done, instead of at once.
        :param onProgress: called with stage, done, total, message.
        :param onFinished: called with the result.
        :param onFailed: called with code, sentence and log text.
        :return: the result if ``wait``, otherwise None.
        :raises RuntimeError: with ``wait``, when there is no result; in any case when it cannot
          be started.
        """
        if not volumeNode or not volumeNode.GetImageData():
            raise ValueError(_("There is no image to find landmarks in."))

        def prepare(folder):
            path = os.path.join(folder, "image.nrrd")  # names no patient
            volumes.writeVolume(volumeNode, path)
            command = ["detect", path, "--output", os.path.join(folder, "result"),
                       "--model", model, "--device", device, "--seed", seed, "--progress", "json"]
            if truth:
                given = os.path.join(folder, "given.mrk.json")
                points.write(truth, volumeNode, given)
                command += ["--truth", given]
            return command

        def load(manifest):
            result = detection_result.loadResult(manifest, volumeNode, previous)
            result.report.SetNodeReferenceID(self.VOLUME_ROLE, volumeNode.GetID())
            return result

        return self._runner.runInFolder(prepare, load, onFinished, onFailed, onProgress, wait)

    def export(self, result: LandmarkPretrainResult, folder: str) -> str:
        """
        Write a result as files: the points where they are now, the table, what was run.

        :param folder: a new folder, named after the landmarks, is made in it.
        :return: path of the new folder.
        """
        return detection_result.export(result, folder)


#
# LandmarkPretrainTest
#


class LandmarkPretrainTest(ScriptedLoadableModuleTest):
    """The module's own test: a simulated trunk through the real computation."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_simulatedTrunk()

    def test_simulatedTrunk(self):
        """Landmarks are found, lie in the image and can be compared with themselves."""
        self.delayDisplay("Making the CT of a simulated trunk")
        volumeNode = self._load(SAMPLE)
        logic = LandmarkPretrainLogic()
        try:
            self.delayDisplay("Looking for its landmarks")
            result = logic.process(volumeNode, device="cpu", wait=True)
            self.delayDisplay("Comparing")
            again = logic.process(volumeNode, truth=result.landmarks, device="cpu", wait=True)
        finally:
            logic.shutdown()
        self.assertEqual(result.manifest["status"], "completed")
        self.assertGreater(result.landmarks.GetNumberOfControlPoints(), 20)
        bounds = [0.0] * 6
        volumeNode.GetRASBounds(bounds)
        for point in points.pointsIn(result.landmarks, volumeNode):
            for axis in range(3):
                self.assertGreater(point[axis], bounds[2 * axis] - 1)
                self.assertLess(point[axis], bounds[2 * axis + 1] + 1)
        self.assertLess(max(one["error_mm"] for one in again.manifest["landmarks"]), 0.1)
        self.delayDisplay("Test passed")

    def _load(self, sample):
        loaded = {}
        loader = samples.SampleLoader()
        loader.load(sample, lambda node: loaded.update(node=node),
                    lambda code, sentence, log: loaded.update(error=sentence))
        loader.wait()
        self.assertNotIn("error", loaded)
        return loaded["node"]
