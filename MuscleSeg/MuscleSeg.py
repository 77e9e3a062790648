# SPDX-License-Identifier: Apache-2.0
import enum
import os
from dataclasses import dataclass
from typing import Annotated

import slicer
from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from MuscleSegLib.measurement_table import BY_NAME, columns_of, rows_of
from MuscleSegSlicerLib import result_view
from MuscleSegSlicerLib.sections import Sections
from ReadingRoomSlicerLib import (
    jobs,
    panel,
    results,
    samples,
    segmentations,
    settings,
    tables,
    views,
    volumes,
)
from ReadingRoomSlicerLib.module import ReadingRoomLogic, ReadingRoomWidget

#
# MuscleSeg
#


class MuscleSeg(ScriptedLoadableModule):
    """Muscles and bones of hip and thigh from CT, with confidence."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MuscleSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["ReadingRoomCore"]
        self.parent.contributors = ["ReadingRoom contributors"]
        self.parent.helpText = _(
            "Segments 19 muscles and 3 bones of hip and thigh in a CT, and shows how sure it is of"
            " each. Choose a CT and press Apply.") + self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "After Hiasa et al., Automated Muscle Segmentation from Clinical CT using Bayesian"
            " U-Net, IEEE TMI 2020. Research software, not a medical device.")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerTerminology)


SAMPLE_CATEGORY = "MuscleSeg"


def registerSampleData():
    """Offer our images in the Sample Data module."""
    samples.register(SAMPLE_CATEGORY, _("MuscleSeg"), samples.EXAMPLE_CT, samples.SIMULATED_CT)


def registerTerminology():
    """Let Slicer know the names and codes of our structures."""
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(libraryFile("terminology.json"))


def libraryFile(name):
    """Path of a file that belongs to the library of this module."""
    return os.path.join(jobs.libraryFolder(LIBRARY), LIBRARY, name)


LIBRARY = "MuscleSegLib"
RENDERING_PRESET = "CT-Cardiac3"  # shows muscles and bones through the skin


#
# MuscleSegParameterNode
#


class Recipe(enum.Enum):
    """How the network was made; the value is that of the model list."""

    MODERN = "modern"
    SEED = "seed"

    def label(self) -> str:
        return {
            Recipe.MODERN: _("Modern"),
            Recipe.SEED: _("Published (Hiasa et al. 2020)"),
        }[self]


@parameterNodeWrapper
class MuscleSegParameterNode:
    """
    What the panel shows, and where the result is; saved with the scene.

    inputVolume - CT to segment.
    model - name of the model, as in the list of models.
    samples - Monte Carlo samples.
    recipe - which networks to choose the model from.
    sides - whether left and right structures are told apart.
    calibration - file of what the confidence of the model is worth; empty for the model's own.
    device - where to compute.
    seed - start of the random numbers.
    segmentation, uncertaintyVolume, measurements, report - the last result.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = "starter"
    samples: Annotated[int, WithinRange(1, 100)] = 10
    recipe: Recipe = Recipe.MODERN
    sides: bool = True
    calibration: str = ""
    device: settings.Device = settings.Device.AUTO
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    segmentation: vtkMRMLSegmentationNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    measurements: vtkMRMLTableNode
    report: vtkMRMLTextNode


#
# MuscleSegWidget
#


class MuscleSegWidget(ReadingRoomWidget):
    """The panel: inputs, model, Apply, result; below, what clinicians and researchers do next."""

    applyToolTip = _("Segment the CT and measure each structure.")
    resultHeaders = result_view.HEADERS

    def __init__(self, parent=None) -> None:
        ReadingRoomWidget.__init__(self, parent)
        self.sections = None

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        super().setup()
        self.setUpPanel(MuscleSegLogic(), libraryFile("models.json"))
        self.panel.nameOverlay(
            _("Uncertainty"), _("Show over the image where the model was unsure."))
        self.ui.onlyCheckButton.connect("toggled(bool)", self.onOnlyCheck)
        self.ui.calibrationPathLineEdit.connect(
            "currentPathChanged(QString)", self.onCalibrationChanged)
        self.sections = Sections(
            self, LIBRARY, [(recipe.value, recipe.label()) for recipe in Recipe])
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self.sections.cleanup()
        super().cleanup()

    def onSceneEndClose(self, caller, event) -> None:
        super().onSceneEndClose(caller, event)
        self.sections.onSceneClosed()

    def onModelsChanged(self) -> None:
        """Called when there is a new model: let it be chosen."""
        if self._parameterNode:
            self.showParameters(self._parameterNode)
            self._checkCanApply()

    def chooseInputs(self, parameterNode) -> None:
        if not parameterNode.inputVolume:
            firstVolumeNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if firstVolumeNode:
                parameterNode.inputVolume = firstVolumeNode

    def showParameters(self, parameterNode) -> None:
        self.panel.showModels(parameterNode.recipe.value, parameterNode.model)
        if self.ui.calibrationPathLineEdit.currentPath != parameterNode.calibration:
            self.ui.calibrationPathLineEdit.currentPath = parameterNode.calibration

    def onCalibrationChanged(self, path) -> None:
        """Called when the user chooses what the confidence is worth, or when it is shown."""
        if self._parameterNode:
            self._parameterNode.calibration = path

    def reasonNotToApply(self) -> str:
        volumeNode = self._parameterNode.inputVolume if self._parameterNode else None
        if not volumeNode:
            return _("Choose a CT first.")
        model = self.panel.model
        takesAny = model is not None and model.any_contrast
        if reason := panel.reasonNotImage(volumeNode):
            return reason
        if not takesAny and (reason := panel.reasonNotCT(volumeNode)):
            other = self.panel.anyContrastName
            return _("{reason} Or choose the model {name}.").format(
                reason=reason, name=other) if other else reason
        if not model:
            return _("There is no model of the chosen recipe.")
        calibration = self._parameterNode.calibration
        if calibration and not os.path.isfile(calibration):
            return _("The calibration cannot be found: choose another one under Advanced, or none.")
        return ""

    def startComputation(self, parameterNode, **callbacks) -> None:
        self.logic.process(
            parameterNode.inputVolume,
            model=self.panel.modelName,
            samples=parameterNode.samples,
            sides=parameterNode.sides,
            calibration=parameterNode.calibration,
            device=parameterNode.device.value,
            seed=parameterNode.seed,
            previous=self.logic.resultOf(parameterNode),
            **callbacks,
        )

    def keepResult(self, parameterNode, result) -> None:
        parameterNode.segmentation = result.segmentation
        parameterNode.uncertaintyVolume = result.uncertaintyVolume
        parameterNode.measurements = result.measurements
        parameterNode.report = result.report

    def onSampleButton(self) -> None:
        self.loadSamples(_("Fetching the example CT..."), {"inputVolume": samples.EXAMPLE_CT})

    # Result

    def showResult(self) -> None:
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            self.panel.showResult(self.resultHeaders, None)
            return
        columns = tables.columns(result.measurements)
        rows = result_view.rowsOf(columns, result.segmentation)
        self.panel.showResult(result_view.headersOf(columns), rows,
                              result_view.summaryOf(rows, result.manifest))
        toCheck = result_view.toCheck(result.measurements)
        self.showStateOfViews(
            (self.ui.show3DButton, views.isShownIn3D(result.segmentation)),
            (self.ui.volumeRenderingButton, views.isVolumeRendered(result.inputVolume)),
            (self.ui.overlayButton, views.isOverlay(result.uncertaintyVolume)),
            (self.ui.onlyCheckButton, result_view.isShownOnly(result.segmentation, toCheck)),
        )
        self.ui.volumeRenderingButton.enabled = result.inputVolume is not None
        self.ui.onlyCheckButton.enabled = bool(toCheck)
        self.ui.onlyCheckButton.toolTip = _(
            "Hide all structures but those that should be checked, in all views.") if (
            toCheck) else _("No structure has to be checked.")
        if self.sections:
            self.sections.onResult(result.segmentation)

    def onResultClicked(self, row, column) -> None:
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            self.showResult()
            return
        point = segmentations.pointInside(result.segmentation, self.panel.keyOfRow(row))
        if point:
            views.jumpTo(point)

    def onShow3D(self, show) -> None:
        with slicer.util.tryWithErrorDisplay(_("The surfaces cannot be shown."), waitCursor=True):
            with self.panel.busy(_("Making the surfaces...") if show else ""):
                views.showIn3D(self._parameterNode.segmentation, show)

    def onVolumeRendering(self, show) -> None:
        with slicer.util.tryWithErrorDisplay(_("The image cannot be shown."), waitCursor=True):
            result = self.logic.resultOf(self._parameterNode)
            views.showVolumeRendering(result.inputVolume, show, RENDERING_PRESET)

    def onOverlay(self, show) -> None:
        views.showOverlay(self._parameterNode.uncertaintyVolume, show)

    def onOnlyCheck(self, only) -> None:
        """Called when the user wants to see what to check alone, or all again."""
        result = self.logic.resultOf(self._parameterNode)
        if result:
            result_view.showOnly(
                result.segmentation, result_view.toCheck(result.measurements) if only else None)


#
# MuscleSegLogic
#


@dataclass
class MuscleSegResult:
    """The nodes of one result.

    manifest - what was run, with which model, how long it took (the content of result.json).
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    measurements: vtkMRMLTableNode
    report: vtkMRMLTextNode

    @property
    def manifest(self) -> dict:
        return results.manifestOf(self.report)


class MuscleSegLogic(ReadingRoomLogic):
    """
    Runs the segmentation and puts the result into the scene. Needs no widget::

      result = MuscleSegLogic().process(volumeNode, wait=True)
      slicer.util.saveNode(result.segmentation, "hip.seg.nrrd")
    """

    library = LIBRARY
    parameterNodeClass = MuscleSegParameterNode

    # Below it uncertainty is not drawn: every border is a little uncertain, and the image shall
    # stay visible where the model is sure.
    SHOWN_UNCERTAINTY = 0.15

    def resultOf(self, parameterNode):
        """The result that a parameter node refers to; None when a part of it is not there."""
        if not parameterNode or not parameterNode.segmentation or not parameterNode.measurements:
            return None
        segmentation = parameterNode.segmentation
        return MuscleSegResult(
            segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()),
            segmentation,
            parameterNode.uncertaintyVolume,
            parameterNode.measurements,
            parameterNode.report,
        )

    def process(
        self,
        inputVolume: vtkMRMLScalarVolumeNode,
        model: str = "starter",
        recipe: str | None = None,
        samples: int = 10,
        sides: bool = True,
        calibration: str = "",
        device: str = "auto",
        seed: int = 0,
        previous: MuscleSegResult | None = None,
        wait: bool = False,
        onProgress=None,
        onFinished=None,
        onFailed=None,
    ):
        """
        Segment a CT. Can be used without GUI widget.

        :param inputVolume: the CT.
        :param model: name of a model, or folder of one.
        :param recipe: what the model must have been trained as, "modern" or "seed"; None for any.
        :param samples: Monte Carlo samples, 1 to 100.
        :param sides: tell left and right structures apart.
        :param calibration: file of the command ``confidence``; empty for the model's own.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param seed: start of the random numbers.
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
        if not inputVolume or not inputVolume.GetImageData():
            raise ValueError(_("There is no image to segment."))

        def prepare(folder):
            path = os.path.join(folder, f"{results.fileName(inputVolume) or 'CT'}.nrrd")
            volumes.writeVolume(inputVolume, path)
            arguments = ["segment", path, "--output", os.path.join(folder, "result"),
                         "--model", model, "--samples", samples,
                         "--sides" if sides else "--no-sides",
                         "--device", device, "--seed", seed, "--progress", "json"]
            return (arguments + (["--recipe", recipe] if recipe else [])
                    + (["--calibration", calibration] if calibration else []))

        def load(manifest):
            return self._loadResult(manifest, inputVolume, previous)

        return self._runner.runInFolder(prepare, load, onFinished, onFailed, onProgress, wait)

    def _loadResult(self, manifest, inputVolume, previous) -> MuscleSegResult:
        """Put a result folder into the scene, where its CT is."""
        if inputVolume.GetScene() is not slicer.mrmlScene:
            raise RuntimeError(_("the CT is no longer in the scene"))
        if previous and previous.inputVolume != inputVolume:
            previous = None
        result = self._resultNodes(inputVolume, previous)
        files = {role: os.path.join(manifest["folder"], name)
                 for role, name in manifest["files"].items()}
        segmentations.readSegmentation(result.segmentation, files["segmentation"], inputVolume)
        result.segmentation.GetDisplayNode().SetOpacity2DFill(0.35)
        volumes.readVolume(result.uncertaintyVolume, files["uncertainty"])
        volumes.showAsUncertainty(result.uncertaintyVolume, self.SHOWN_UNCERTAINTY, 1.0)
        tables.setColumns(result.measurements, columns_of(tables.readRows(files["measurements"])))
        results.keepManifest(result.report, manifest)
        for node in (result.segmentation, result.uncertaintyVolume, result.measurements,
                     result.report):
            volumes.placeWith(node, inputVolume)
        views.showBackground(inputVolume)
        return result

    def _resultNodes(self, inputVolume, previous) -> MuscleSegResult:
        """The nodes to fill: those of the previous result where they still have their names."""
        name = inputVolume.GetName()
        return MuscleSegResult(
            inputVolume,
            results.nodeFor("vtkMRMLSegmentationNode", _("{name} muscles").format(name=name),
                            previous and previous.segmentation),
            results.nodeFor("vtkMRMLScalarVolumeNode", _("{name} uncertainty").format(name=name),
                            previous and previous.uncertaintyVolume),
            results.nodeFor("vtkMRMLTableNode", _("{name} measurements").format(name=name),
                            previous and previous.measurements),
            results.nodeFor("vtkMRMLTextNode", _("{name} result").format(name=name),
                            previous and previous.report),
        )

    def export(self, result: MuscleSegResult, folder: str) -> str:
        """
        Write a result as the files that the command line writes, with what the user changed.

        :param folder: a new folder, named after the segmentation, is made in it.
        :return: path of the new folder.
        """
        target = results.makeFolder(result.segmentation, folder)

        def path(name):
            return os.path.join(target, name)

        segmentations.writeSegmentation(result.segmentation, path("segmentation.seg.nrrd"))
        if result.inputVolume:
            values = {name: label.value for name, label in BY_NAME.items()}
            segmentations.writeLabels(
                result.segmentation, values, result.inputVolume, path("labels.nrrd"))
        if result.uncertaintyVolume:
            volumes.writeVolume(result.uncertaintyVolume, path("uncertainty.nrrd"))
        tables.writeRows(rows_of(tables.columns(result.measurements)), path("measurements.csv"))
        results.writeManifest(result.report, path("result.json"))
        return target


#
# MuscleSegTest
#


class MuscleSegTest(ScriptedLoadableModuleTest):
    """The module's own test: a simulated CT through the real computation."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_simulatedCT()

    def test_simulatedCT(self):
        """Segment a simulated CT, and find every node where a user looks for it."""
        self.delayDisplay("Making a simulated CT")
        volumeNode = samples.simulatedPelvis()

        self.delayDisplay("Segmenting")
        logic = MuscleSegLogic()
        try:
            result = logic.process(volumeNode, samples=2, device="cpu", wait=True)
        finally:
            logic.shutdown()
        self.assertGreater(result.segmentation.GetSegmentation().GetNumberOfSegments(), 3)
        self.assertEqual(result.uncertaintyVolume.GetImageData().GetDimensions(),
                         volumeNode.GetImageData().GetDimensions())
        self.assertGreater(result.measurements.GetNumberOfRows(), 3)
        self.assertEqual(result.manifest["status"], "completed")
        self.delayDisplay("Test passed")
