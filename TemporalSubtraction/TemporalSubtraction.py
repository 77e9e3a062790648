# SPDX-License-Identifier: Apache-2.0
import enum
import os
from typing import Annotated

import qt
import slicer
import vtk
from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from ReadingRoomSlicerLib import (
    colors,
    dependencies,
    dicom,
    jobs,
    panel,
    results,
    samples,
    segmentations,
    settings,
    transforms,
    views,
    volumes,
)
from ReadingRoomSlicerLib.flicker import Flicker
from ReadingRoomSlicerLib.module import ReadingRoomLogic, ReadingRoomWidget
from ReadingRoomSlicerLib.reader_study import ReaderStudyPanel
from TemporalSubtractionLib.candidate_table import ACCEPTED, DENSER, REJECTED, UNDECIDED
from TemporalSubtractionSlicerLib import result_writing
from TemporalSubtractionSlicerLib.candidate_view import (
    RESULT_HEADERS,
    candidateOf,
    candidatesOf,
    decide,
    resultRow,
    summaryOf,
)
from TemporalSubtractionSlicerLib.comparison_result import (
    SHOWN_CHANGE,
    SHOWN_OPACITY,
    TemporalSubtractionResult,
    loadResult,
    showChange,
)

#
# TemporalSubtraction
#


class TemporalSubtraction(ScriptedLoadableModule):
    """What changed in the bones between two CTs of a patient."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("TemporalSubtraction")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = ["ReadingRoomCore"]
        self.parent.contributors = ["ReadingRoom contributors"]
        self.parent.helpText = _(
            "Shows what changed in the bones since the last CT: green where they became denser,"
            " orange where they became thinner. Choose the prior and the current CT and press"
            " Apply.") + self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "After Hoshiai et al., Clinical usefulness of temporal subtraction CT in detecting"
            " vertebral bone metastases, European Journal of Radiology 2019, and the work of"
            " Hanaoka. Research software, not a medical device.")
        slicer.app.connect("startupCompleted()", registerSampleData)


LIBRARY = "TemporalSubtractionLib"
SAMPLE_CATEGORY = "TemporalSubtraction"


def _samplePart(name, which):
    return samples.Sample(
        name,
        f"{name}.nrrd",
        "import sys; from pathlib import Path; from TemporalSubtractionLib.sample_pair import make;"
        f"print(make(Path(sys.argv[1]), '{which}'))",
        None,
        "https://github.com/ReadingRoom/SlicerReadingRoom",
        LIBRARY,
    )


PRIOR_SAMPLE = _samplePart("CTBonesPrior", "prior")
CURRENT_SAMPLE = _samplePart("CTBonesCurrent", "current")


def registerSampleData():
    """Offer our images in the Sample Data module."""
    samples.register(SAMPLE_CATEGORY, _("TemporalSubtraction"), PRIOR_SAMPLE, CURRENT_SAMPLE)


#
# TemporalSubtractionParameterNode
#


class Method(enum.Enum):
    """How the expected CT is predicted from the prior one; the value is the command line's."""

    CLASSICAL = "classical"
    MODERN = "modern"
    SEED = "seed"

    @property
    def needsModel(self) -> bool:
        return self is not Method.CLASSICAL

    def label(self) -> str:
        return {
            Method.CLASSICAL: _("Classical (needs no model)"),
            Method.MODERN: _("Modern"),
            Method.SEED: _("Published (Hanaoka)"),
        }[self]


@parameterNodeWrapper
class TemporalSubtractionParameterNode:
    """
    What the panel shows, and where the result is; saved with the scene.

    priorVolume, currentVolume - the earlier and the later CT.
    method - how the expected CT is predicted.
    model - name of the model, for a method that needs one.
    givenTransform - moves the prior CT onto the current one; none to align the bones here.
    softTissue - whether what lies between the bones is deformed, where the bones are aligned here.
    namedBones - segmentation of the current CT whose segments are named after bones; may be none.
    device - where to compute.
    seed - start of the random numbers.
    threshold - size of the smallest change that is drawn, z.
    opacity - of the changes over the image.
    The others are the last result; see TemporalSubtractionResult.
    """

    priorVolume: vtkMRMLScalarVolumeNode
    currentVolume: vtkMRMLScalarVolumeNode
    method: Method = Method.CLASSICAL
    model: str = "starter"
    givenTransform: vtkMRMLTransformNode
    softTissue: bool = False
    namedBones: vtkMRMLSegmentationNode
    device: settings.Device = settings.Device.AUTO
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    threshold: Annotated[float, WithinRange(1.0, 8.0)] = SHOWN_CHANGE
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = SHOWN_OPACITY
    changeVolume: vtkMRMLScalarVolumeNode
    expectedVolume: vtkMRMLScalarVolumeNode
    errorVolume: vtkMRMLScalarVolumeNode
    qualityVolume: vtkMRMLScalarVolumeNode
    alignedVolume: vtkMRMLScalarVolumeNode
    transform: vtkMRMLTransformNode
    candidates: vtkMRMLTableNode
    segmentation: vtkMRMLSegmentationNode
    bone: vtkMRMLSegmentationNode
    report: vtkMRMLTextNode


#
# TemporalSubtractionWidget
#


class TemporalSubtractionWidget(ReadingRoomWidget):
    """The panel: two CTs, Apply, the candidates and what the physician decides."""

    applyToolTip = _("Align the bones of the two CTs and show what changed.")
    resultHeaders = RESULT_HEADERS

    def __init__(self, parent=None) -> None:
        ReadingRoomWidget.__init__(self, parent)
        self._methods = []
        self._drawnChange = None
        self.flicker = None
        self.readerStudy = None

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        super().setup()
        self.setUpPanel(TemporalSubtractionLogic(),
                        os.path.join(jobs.libraryFolder(LIBRARY), LIBRARY, "models.json"))
        self.panel.nameOverlay(_("Change"), _(
            "Show the changes over the image: green denser, orange thinner."))
        self.ui.methodComboBox.connect("currentIndexChanged(int)", self.onMethodChanged)
        self.ui.swapButton.connect("clicked(bool)", self.onSwapButton)
        self.ui.resultTable.connect("itemSelectionChanged()", self.onSelectionChanged)
        self.ui.acceptButton.connect("clicked(bool)", lambda _checked: self.decide(ACCEPTED))
        self.ui.rejectButton.connect("clicked(bool)", lambda _checked: self.decide(REJECTED))
        self.ui.undoButton.connect("clicked(bool)", lambda _checked: self.decide(UNDECIDED))
        self.ui.dicomButton.connect("clicked(bool)", self.onDicomButton)
        self.flicker = Flicker(self.ui.flickerButton, self._imagesToFlicker)
        self.readerStudy = ReaderStudyPanel(
            lambda volumeNode: volumes.showAsChange(volumeNode, SHOWN_CHANGE))
        self.panel.addSection(self.readerStudy)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self.flicker.stop()
        self.readerStudy.cleanup()
        super().cleanup()

    def enter(self) -> None:
        super().enter()
        self.readerStudy.enter()

    def exit(self) -> None:
        self.flicker.stop()
        self.readerStudy.exit()
        super().exit()

    def onSceneStartClose(self, caller, event) -> None:
        self.flicker.stop()
        super().onSceneStartClose(caller, event)

    def chooseInputs(self, parameterNode) -> None:
        """Take the only two images there are, the older one as prior."""
        scans = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                 if not node.IsA("vtkMRMLLabelMapVolumeNode")]
        if len(scans) == 2 and not (parameterNode.priorVolume or parameterNode.currentVolume):
            parameterNode.priorVolume, parameterNode.currentVolume = sorted(
                scans, key=volumes.studyDate)

    def showParameters(self, parameterNode) -> None:
        self._showMethods(parameterNode.method)
        self.panel.showModels(
            parameterNode.method.value if parameterNode.method.needsModel else None,
            parameterNode.model)
        self._showSoftTissue()
        self._showOrder()
        self._showPatients()
        self._drawChange()

    def _showMethods(self, chosen) -> None:
        """Offer the methods that can be run."""
        recipes = self.panel.recipes()
        methods = [method for method in Method
                   if not method.needsModel or method.value in recipes or method is chosen]
        comboBox = self.ui.methodComboBox
        blocked = comboBox.blockSignals(True)
        if methods != self._methods:
            self._methods = methods
            comboBox.clear()
            comboBox.addItems([method.label() for method in methods])
        comboBox.currentIndex = methods.index(chosen)
        comboBox.blockSignals(blocked)

    def onMethodChanged(self, index) -> None:
        if self._parameterNode:
            self._parameterNode.method = self._methods[index]

    def _showSoftTissue(self) -> None:
        """A transform that is given is taken as it is."""
        given = self._parameterNode.givenTransform
        self.ui.softTissueCheckBox.enabled = not given
        self.ui.softTissueCheckBox.toolTip = _(
            "{name} is taken as it is: choose no transform to deform soft tissue.").format(
                name=given.GetName()) if given else _(
            "Deform what lies between the bones, too, so that the prior CT looks alike there. "
            "The bones and what is found in them stay the same.")

    def _showOrder(self) -> None:
        """Say when the prior CT is the later one."""
        prior, current = self._parameterNode.priorVolume, self._parameterNode.currentVolume
        dates = [volumes.studyDate(node) if node else "" for node in (prior, current)]
        self.ui.orderWidget.visible = all(dates) and dates[0] > dates[1]
        self.ui.orderLabel.text = _(
            "The prior CT ({prior}) is later than the current one ({current}).").format(
                prior=_dateText(dates[0]), current=_dateText(dates[1]))

    def _showPatients(self) -> None:
        """Say when the CTs are of different patients, without naming them."""
        prior, current = self._parameterNode.priorVolume, self._parameterNode.currentVolume
        self.ui.patientLabel.visible = bool(
            prior and current and volumes.ofDifferentPatients(prior, current))

    def onSwapButton(self, checked=False) -> None:
        """Called when the user wants the CTs in the order of their dates."""
        parameterNode = self._parameterNode
        prior, current = parameterNode.priorVolume, parameterNode.currentVolume
        with slicer.util.NodeModify(parameterNode.parameterNode):
            parameterNode.priorVolume, parameterNode.currentVolume = current, prior

    def reasonNotToApply(self) -> str:
        parameterNode = self._parameterNode
        prior = parameterNode.priorVolume if parameterNode else None
        current = parameterNode.currentVolume if parameterNode else None
        if not prior:
            return _("Choose the prior CT first.")
        if not current:
            return _("Choose the current CT first.")
        if prior == current:
            return _("Prior and current CT are the same: choose two different ones.")
        if reason := panel.reasonNotCT(prior) or panel.reasonNotCT(current):
            return reason
        if parameterNode.method.needsModel and not self.panel.modelName:
            return _("There is no model of the chosen method.")
        return ""

    def needsDeepLearning(self) -> bool:
        return self._parameterNode.method.needsModel

    def startComputation(self, parameterNode, **callbacks) -> None:
        self.flicker.stop()
        self.logic.process(
            parameterNode.priorVolume,
            parameterNode.currentVolume,
            transform=parameterNode.givenTransform,
            softTissue=parameterNode.softTissue and not parameterNode.givenTransform,
            bones=parameterNode.namedBones,
            method=parameterNode.method.value,
            model=self.panel.modelName,
            device=parameterNode.device.value,
            seed=parameterNode.seed,
            previous=self.logic.resultOf(parameterNode),
            **callbacks,
        )

    def keepResult(self, parameterNode, result) -> None:
        for name in TemporalSubtractionResult.NODES:
            setattr(parameterNode, name, getattr(result, name))

    def onSampleButton(self) -> None:
        self.loadSamples(_("Making the example CTs..."),
                         {"priorVolume": PRIOR_SAMPLE, "currentVolume": CURRENT_SAMPLE})

    # Result

    def showResult(self) -> None:
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            self.panel.showResult(self.resultHeaders, None)
            return
        candidates = candidatesOf(result.candidates)
        self.panel.showResult(
            self.resultHeaders, [resultRow(candidate) for candidate in candidates],
            " ".join(summaryOf(candidates, result.manifest)))
        self.onSelectionChanged()
        self.showStateOfViews(
            (self.ui.show3DButton, views.isShownIn3D(result.bone or result.segmentation)),
            (self.ui.volumeRenderingButton, views.isVolumeRendered(result.changeVolume)),
            (self.ui.overlayButton, views.isOverlay(result.changeVolume)),
        )
        self.ui.flickerButton.enabled = self._imagesToFlicker() is not None
        self._drawnChange = None
        self._drawChange()

    def onResultClicked(self, row, column) -> None:
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            self.showResult()
            return
        self._jumpTo(result, self.panel.keyOfRow(row))

    def onSelectionChanged(self) -> None:
        """Called when the user selects another candidate, with mouse or keys, or none."""
        key = self.panel.selectedKey()
        for button in (self.ui.acceptButton, self.ui.rejectButton, self.ui.undoButton):
            button.enabled = bool(key)
        result = self.logic.resultOf(self._parameterNode)
        if key and result:
            self._jumpTo(result, key)

    def _jumpTo(self, result, key) -> None:
        point = candidateOf(result.candidates, key).point_ras
        views.jumpTo(volumes.toWorld(result.changeVolume, point))

    def decide(self, status) -> None:
        """Keep what the user decided on the selected candidate; a rejected one is not drawn."""
        result = self.logic.resultOf(self._parameterNode)
        key = self.panel.selectedKey()
        if not result or not key:
            return
        decide(result.candidates, key, status)
        result.segmentation.GetDisplayNode().SetSegmentVisibility(key, status != REJECTED)
        self.panel.updateRow(resultRow(candidateOf(result.candidates, key)))
        self._checkCanSaveAsDicom()

    # DICOM

    def _checkCanApply(self, caller=None, event=None) -> None:
        super()._checkCanApply(caller, event)
        self._checkCanSaveAsDicom()

    def _checkCanSaveAsDicom(self) -> None:
        """Grey the button and say why, or let it be pressed."""
        reason = self.reasonNotToSaveAsDicom()
        self.ui.dicomButton.enabled = not reason
        self.ui.dicomButton.toolTip = reason or _(
            "Write the accepted candidates as a DICOM segmentation and a DICOM report, in the"
            " study of the current CT.")

    def reasonNotToSaveAsDicom(self) -> str:
        if self.logic.running:
            return _("The computation is running.")
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            return _("There is no result yet.")
        if not (result.currentVolume and result.expectedVolume and result.manifest):
            return _("A part of the result is no longer in the scene: press Apply again.")
        if not dicom.fileOf(result.currentVolume):
            return _("The current CT was not loaded from DICOM, or its files are gone: load it in"
                     " the DICOM module and press Apply again.")
        if not any(candidate.status == ACCEPTED for candidate in candidatesOf(result.candidates)):
            return _("Accept a candidate first.")
        return ""

    def onDicomButton(self, checked=False) -> None:
        """Called when the user wants the accepted candidates as DICOM."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the DICOM files"))
        if not folder:
            return
        with slicer.util.tryWithErrorDisplay(_("The DICOM files cannot be written.")):
            dependencies.ensureDependencies(self.moduleName, deepLearning=False)
            self.logic.saveAsDicom(
                self.logic.resultOf(self._parameterNode), folder,
                onProgress=self.panel.showProgress, onFinished=self.onSavedAsDicom,
                onFailed=self.onFailed)
            self.panel.setRunning(True)
            self._checkCanApply()

    def onSavedAsDicom(self, folder) -> None:
        """Called when the files are written: they may go into Slicer's DICOM database, too."""
        self.panel.setRunning(False)
        self._checkCanApply()
        self.panel.showMessage(_("Written to {folder}").format(folder=folder))
        if dicom.hasDatabase() and slicer.util.confirmYesNoDisplay(
                _("Add the findings to Slicer's DICOM database, beside the current CT?")):
            with slicer.util.tryWithErrorDisplay(
                    _("The DICOM database did not take the files."), waitCursor=True):
                dicom.addToDatabase(folder)

    def _drawChange(self) -> None:
        """Draw the changes with the threshold and the opacity that the sliders show."""
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            return
        wanted = (result.changeVolume, self._parameterNode.threshold, self._parameterNode.opacity)
        if wanted != self._drawnChange:
            self._drawnChange = wanted
            showChange(*wanted)

    def onShow3D(self, show) -> None:
        result = self.logic.resultOf(self._parameterNode)
        with slicer.util.tryWithErrorDisplay(_("The surfaces cannot be shown."), waitCursor=True):
            with self.panel.busy(_("Making the surfaces...") if show else ""):
                for segmentation in filter(None, (result.bone, result.segmentation)):
                    views.showIn3D(segmentation, show)

    def onVolumeRendering(self, show) -> None:
        with slicer.util.tryWithErrorDisplay(_("The changes cannot be shown."), waitCursor=True):
            views.showVolumeRendering(self._parameterNode.changeVolume, show,
                                      colors.changeRendering(self._parameterNode.threshold))

    def onOverlay(self, show) -> None:
        views.showOverlay(self._parameterNode.changeVolume, show, self._parameterNode.opacity)

    def _imagesToFlicker(self):
        """The prior and the current CT, one on the other; None when one of them is not there."""
        result = self.logic.resultOf(self._parameterNode)
        if result and result.alignedVolume and result.currentVolume:
            return result.alignedVolume, result.currentVolume
        return None


def _dateText(date: str) -> str:
    """A DICOM date as YYYY-MM-DD."""
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}"


#
# TemporalSubtractionLogic
#


class TemporalSubtractionLogic(ReadingRoomLogic):
    """
    Runs the subtraction and puts the result into the scene. Needs no widget::

      result = TemporalSubtractionLogic().process(priorVolume, currentVolume, wait=True)
      slicer.util.saveNode(result.changeVolume, "change.nrrd")
    """

    library = LIBRARY
    parameterNodeClass = TemporalSubtractionParameterNode

    def resultOf(self, parameterNode):
        """The result that a parameter node refers to; None when a needed part is not there."""
        if not parameterNode:
            return None
        nodes = {name: getattr(parameterNode, name) for name in TemporalSubtractionResult.NODES}
        if not all(nodes[name] for name in ("changeVolume", "candidates", "segmentation")):
            return None
        segmentation = nodes["segmentation"]
        return TemporalSubtractionResult(
            segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()),
            **nodes)

    def process(
        self,
        priorVolume: vtkMRMLScalarVolumeNode,
        currentVolume: vtkMRMLScalarVolumeNode,
        transform: vtkMRMLTransformNode | None = None,
        softTissue: bool = False,
        bones: vtkMRMLSegmentationNode | None = None,
        method: str = "classical",
        model: str = "",
        device: str = "auto",
        seed: int = 0,
        previous: TemporalSubtractionResult | None = None,
        wait: bool = False,
        onProgress=None,
        onFinished=None,
        onFailed=None,
    ):
        """
        Find what changed between two CTs. Can be used without GUI widget.

        :param priorVolume: the earlier CT.
        :param currentVolume: the later CT.
        :param transform: moves the prior CT onto the current one, in their own coordinates; None
          to align the bones here.
        :param softTissue: whether to deform what lies between the bones, too; not with a transform.
        :param bones: of the current CT, with segments named after bones, for the names of the
          candidates' bones; None to do without.
        :param method: "classical", "modern" or "seed".
        :param model: name of a model, or folder of one; empty for a method that needs none.
        :param device: "auto", "cpu", "cuda" or "mps"; for models.
        :param seed: start of the random numbers; for models.
        :param previous: an earlier result that is replaced if it is of the same CT and still has
          the name it was given; otherwise new nodes are made.
        :param wait: return when it is done, instead of at once.
        :param onProgress: called with stage, done, total, message.
        :param onFinished: called with the result.
        :param onFailed: called with code, sentence and log text.
        :return: the result if ``wait``, otherwise None.
        :raises RuntimeError: with ``wait``, when there is no result; in any case when it cannot
          be started.
        """
        for volumeNode in (priorVolume, currentVolume):
            if not volumeNode or not volumeNode.GetImageData():
                raise ValueError(_("There is no image to compare."))

        def prepare(folder):
            paths = []
            for role, volumeNode in (("prior", priorVolume), ("current", currentVolume)):
                os.mkdir(os.path.join(folder, role))  # both may have the same name
                name = f"{results.fileName(volumeNode) or 'CT'}.nrrd"
                paths.append(os.path.join(folder, role, name))
                volumes.writeVolume(volumeNode, paths[-1])
            arguments = ["subtract", *paths, "--output", os.path.join(folder, "result"),
                         "--method", method, "--progress", "json"]
            if transform:
                path = os.path.join(folder, "given.h5")
                transforms.writeTransform(transform, path, currentVolume)
                arguments += ["--transform", path]
            if softTissue:
                arguments.append("--soft-tissue")
            if bones:
                path = os.path.join(folder, "bones.seg.nrrd")
                segmentations.writeAsOneLayer(bones, path)
                arguments += ["--bones", path]
            if model:
                arguments += ["--model", model, "--device", device, "--seed", seed]
            return arguments

        def load(manifest):
            return loadResult(manifest, currentVolume, previous)

        return self._runner.runInFolder(prepare, load, onFinished, onFailed, onProgress, wait)

    def export(self, result: TemporalSubtractionResult, folder: str) -> str:
        """
        Write a result as the files that the command line writes, with what the user decided, and
        a report of the accepted candidates.

        :param folder: a new folder, named after the segmentation, is made in it.
        :return: path of the new folder.
        """
        return result_writing.writeResult(result, folder, self.getParameterNode().threshold)

    def saveAsDicom(self, result: TemporalSubtractionResult, folder: str, wait: bool = False,
                    onProgress=None, onFinished=None, onFailed=None):
        """
        Write the accepted candidates as DICOM objects of the current CT's study.

        :param folder: a new folder, named after the current CT, is made in it.
        :param wait, onProgress, onFailed: as for `process`.
        :param onFinished: called with the path of the new folder.
        :return: path of the new folder if ``wait``, otherwise None.
        :raises RuntimeError: as from `process`.
        """
        current = dicom.fileOf(result.currentVolume)
        if not current:
            raise RuntimeError(_("The current CT was not loaded from DICOM."))
        name = results.fileName(result.currentVolume)
        target = os.path.join(folder, _("{name} findings").format(name=name).strip())

        def prepare(temporary):
            compared = os.path.join(temporary, "compared")
            os.mkdir(compared)
            result_writing.writeForFindings(result, compared)
            return ["findings", compared, current, "--output", target, "--progress", "json"]

        return self._runner.runInFolder(prepare, lambda manifest: manifest["folder"], onFinished,
                                        onFailed, onProgress, wait)


#
# TemporalSubtractionTest
#


class TemporalSubtractionTest(ScriptedLoadableModuleTest):
    """The module's own test: a simulated CT and its follow-up through the real computation."""

    LESION_MM = 8.0  # radius

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_simulatedFollowUp()

    def test_simulatedFollowUp(self):
        """A dense lesion is found where it is, although the patient lies elsewhere."""
        self.delayDisplay("Making a simulated CT and its follow-up")
        prior = samples.simulatedPelvis()
        current, lesion = self._followUp(prior)

        self.delayDisplay("Comparing")
        logic = TemporalSubtractionLogic()
        try:
            result = logic.process(prior, current, wait=True)
        finally:
            logic.shutdown()
        first = candidatesOf(result.candidates)[0]
        self.assertEqual(first.kind, DENSER)
        for found, true in zip(first.point_ras, lesion, strict=True):
            self.assertLess(abs(found - true), self.LESION_MM)
        self.assertEqual(result.segmentation.GetSegmentation().GetNumberOfSegments(),
                         result.candidates.GetNumberOfRows())
        self.assertEqual(result.changeVolume.GetImageData().GetDimensions(),
                         current.GetImageData().GetDimensions())
        self.assertEqual(result.manifest["status"], "completed")
        self.delayDisplay("Test passed")

    def _followUp(self, prior):
        """The CT again, elsewhere and with a lesion in bone; and the place of the lesion, RAS."""
        import numpy as np

        voxels = slicer.util.arrayFromVolume(prior).copy()
        toRas = vtk.vtkMatrix4x4()
        prior.GetIJKToRASMatrix(toRas)
        toRas.SetElement(0, 3, toRas.GetElement(0, 3) + 12)
        toRas.SetElement(2, 3, toRas.GetElement(2, 3) - 9)
        matrix = slicer.util.arrayFromVTKMatrix(toRas)
        places = np.moveaxis(np.indices(voxels.shape)[::-1], 0, -1) @ matrix[:3, :3].T
        places += matrix[:3, 3]
        bone = np.argwhere((voxels > 150) & (voxels < 500))
        middle = places[tuple(bone[len(bone) // 2])]
        inside = np.linalg.norm(places - middle, axis=-1) < self.LESION_MM
        voxels[inside & (voxels > 100)] += 400
        return slicer.util.addVolumeFromArray(voxels, matrix, "Follow-up"), middle
