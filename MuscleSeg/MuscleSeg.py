# SPDX-License-Identifier: Apache-2.0
import enum
import json
import os
from dataclasses import dataclass
from typing import Annotated

import qt
import slicer
import vtk
from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MuscleSegLib.measurement_table import BY_NAME, columns_of, rows_of
from ReadingRoomSlicerLib import (
    dependencies,
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
    device - where to compute.
    seed - start of the random numbers.
    segmentation, uncertaintyVolume, measurements, report - the last result.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = "starter"
    samples: Annotated[int, WithinRange(1, 100)] = 10
    recipe: Recipe = Recipe.MODERN
    sides: bool = True
    device: settings.Device = settings.Device.AUTO
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    segmentation: vtkMRMLSegmentationNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    measurements: vtkMRMLTableNode
    report: vtkMRMLTextNode


#
# MuscleSegWidget
#


class MuscleSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: inputs, model, Apply, result."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self.sampleLoader = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._shownNodes = None

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MuscleSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.panel = panel.ReadingRoomPanel(
            uiWidget, libraryFile("models.json"), self.onModelChanged)
        self.ui = self.panel.ui
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MuscleSegLogic()
        self.sampleLoader = samples.SampleLoader()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.resultTable.connect("cellClicked(int,int)", self.onResultClicked)
        self.ui.show3DButton.connect("toggled(bool)", self.onShow3D)
        self.ui.volumeRenderingButton.connect("toggled(bool)", self.onVolumeRendering)
        self.ui.uncertaintyButton.connect("toggled(bool)", self.onUncertainty)
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)

        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes or the module is reloaded."""
        self.sampleLoader.cancel()
        self.logic.shutdown()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; a computation goes on."""
        if self._parameterNode:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.sampleLoader.cancel()
        self.logic.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed."""
        self.panel.showMessage("")
        self.panel.showResult(RESULT_HEADERS, None)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """Called when a scene was loaded: it may hold a result."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    # Parameter node

    def initializeParameterNode(self) -> None:
        """Ensure that the parameter node exists and is observed."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            firstVolumeNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if firstVolumeNode:
                self._parameterNode.inputVolume = firstVolumeNode

    def setParameterNode(self, parameterNode) -> None:
        """Show and observe a parameter node, or none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent,
                                self.onParameterNodeModified)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            # The node, not its wrapper: the mixin keeps what was ever observed, and there is a
            # new wrapper each time the module is entered.
            self.addObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent,
                             self.onParameterNodeModified)
            self._shownNodes = None
            self.onParameterNodeModified()

    def onParameterNodeModified(self, caller=None, event=None) -> None:
        if not self._parameterNode:
            return
        nodes = (self._parameterNode.segmentation, self._parameterNode.measurements)
        if nodes != self._shownNodes:
            self._shownNodes = nodes
            self.showResult()
        self.panel.showModels(self._parameterNode.recipe.value, self._parameterNode.model)
        self._checkCanApply()

    def onModelChanged(self) -> None:
        if self._parameterNode:
            self._parameterNode.model = self.panel.modelName

    def _checkCanApply(self, caller=None, event=None) -> None:
        self.panel.setCanApply(
            self._reasonNotToApply(), _("Segment the CT and measure each structure."))

    def _reasonNotToApply(self) -> str:
        """What is missing for Apply, in a sentence; empty when nothing is."""
        volumeNode = self._parameterNode.inputVolume if self._parameterNode else None
        if self.logic.running:
            return _("The computation is running.")
        if not volumeNode:
            return _("Choose a CT first.")
        if not volumeNode.GetImageData():
            return _("The chosen volume holds no image.")
        modality = volumes.modality(volumeNode)
        if modality and modality != "CT":
            return _("The chosen volume is {modality}, but a CT is needed.").format(
                modality=modality)
        if not self.panel.modelName:
            return _("There is no model of the chosen recipe.")
        return ""

    # Apply and Cancel

    def onApplyButton(self) -> None:
        """Called when the user presses Apply."""
        parameterNode = self._parameterNode
        self.panel.showMessage("")
        with slicer.util.tryWithErrorDisplay(_("The computation could not be started.")):
            dependencies.ensureDependencies(_("MuscleSeg"))
            self.logic.process(
                parameterNode.inputVolume,
                model=self.panel.modelName,
                samples=parameterNode.samples,
                sides=parameterNode.sides,
                device=parameterNode.device.value,
                seed=parameterNode.seed,
                previous=self.logic.resultOf(parameterNode),
                onProgress=self.panel.showProgress,
                onFinished=self.onFinished,
                onFailed=self.onFailed,
            )
            self.panel.setRunning(True)
            self._checkCanApply()

    def onCancelButton(self) -> None:
        """Called when the user presses Cancel."""
        self.logic.cancel()

    def onFinished(self, result) -> None:
        """Called when there is a result."""
        self.panel.setRunning(False)
        self.panel.showMessage("")
        parameterNode = self.logic.getParameterNode()
        parameterNode.segmentation = result.segmentation
        parameterNode.uncertaintyVolume = result.uncertaintyVolume
        parameterNode.measurements = result.measurements
        parameterNode.report = result.report
        self._checkCanApply()
        if self._parameterNode:
            self.showResult()

    def onFailed(self, code, sentence, log) -> None:
        """Called when there is none."""
        self.panel.setRunning(False)
        if code == "CANCELLED":
            self.panel.showMessage(sentence)
        else:
            self.panel.showMessage(sentence, log or sentence, isError=True)
        self._checkCanApply()

    def onSampleButton(self) -> None:
        """Called when the user wants to try the module."""
        self.ui.sampleButton.enabled = False
        self.panel.showMessage(_("Fetching the example CT..."))
        self.sampleLoader.load(samples.EXAMPLE_CT, self.onSampleLoaded, self.onSampleFailed)

    def onSampleLoaded(self, volumeNode) -> None:
        self.ui.sampleButton.enabled = True
        self.panel.showMessage("")
        self.logic.getParameterNode().inputVolume = volumeNode

    def onSampleFailed(self, code, sentence, log) -> None:
        self.ui.sampleButton.enabled = True
        self.panel.showMessage(sentence, log, isError=code != "CANCELLED")

    # Result

    def showResult(self) -> None:
        """Show the result that the scene holds, or none."""
        result = self.logic.resultOf(self._parameterNode)
        if not result:
            self.panel.showResult(RESULT_HEADERS, None)
            return
        columns = tables.columns(result.measurements)
        rows = resultRows(columns, result.segmentation)
        self.panel.showResult(RESULT_HEADERS, rows, summaryOf(rows, result.manifest))
        self._showStateOfViews(result)

    def _showStateOfViews(self, result) -> None:
        """Let the buttons show what the views show."""
        for button, shown in (
            (self.ui.show3DButton, views.isShownIn3D(result.segmentation)),
            (self.ui.volumeRenderingButton, views.isVolumeRendered(result.inputVolume)),
            (self.ui.uncertaintyButton, views.isOverlay(result.uncertaintyVolume)),
        ):
            blocked = button.blockSignals(True)
            button.checked = shown
            button.blockSignals(blocked)
        self.ui.volumeRenderingButton.enabled = result.inputVolume is not None

    def onResultClicked(self, row, column) -> None:
        """Called when the user clicks a structure: the views go there."""
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

    def onUncertainty(self, show) -> None:
        views.showOverlay(self._parameterNode.uncertaintyVolume, show)

    def onExportButton(self) -> None:
        """Called when the user wants the result as files."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the result"))
        if not folder:
            return
        with slicer.util.tryWithErrorDisplay(_("The result cannot be written."), waitCursor=True):
            with self.panel.busy(_("Writing the files...")):
                target = self.logic.export(self.logic.resultOf(self._parameterNode), folder)
            self.panel.showMessage(_("Written to {folder}").format(folder=target))


RESULT_HEADERS = (
    (_("Structure"), _("Click a structure to see it in the views.")),
    (_("mL"), _("Volume in millilitres.")),
    (_("HU"), _("Mean density in Hounsfield units.")),
    (_("Uncertainty"), _("0: the model is sure. 1: it is torn between two structures.")),
    (_("Check"), _("Why you should look at this structure before using it.")),
)


def resultRows(columns, segmentationNode) -> list:
    """The measurements as lines of the result table, in anatomical order."""
    rows = []
    segmentation = segmentationNode.GetSegmentation()
    for index, segmentId in enumerate(columns["Segment"]):
        segment = segmentation.GetSegment(segmentId)
        color = [round(255 * part) for part in segment.GetColor()] if segment else None
        reason = columns["Check"][index]
        values = [
            columns["Structure"][index],
            f"{columns['Volume (mL)'][index]:7.1f}",  # padded, so that sorting by text is right
            round(columns["Mean HU"][index]),
            f"{columns['Uncertainty'][index]:.2f}",
            _("check") if reason else "",
        ]
        toolTip = _("Check: {reason}").format(reason=reason) if reason else _("Click to see it.")
        rows.append(panel.ResultRow(segmentId, values, bool(reason), color, toolTip))
    return rows


def summaryOf(rows, manifest) -> str:
    """One or more sentences above the table."""
    checks = sum(row.check for row in rows)
    sentences = [_("{count} structures were found.").format(count=len(rows))]
    if checks:
        sentences.append(_("{count} of them should be checked.").format(count=checks))
    return " ".join(sentences + list(manifest.get("warnings", [])))


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
        return json.loads(self.report.GetText() or "{}") if self.report else {}


class MuscleSegLogic(ScriptedLoadableModuleLogic):
    """
    Runs the segmentation and puts the result into the scene. Needs no widget::

      result = MuscleSegLogic().process(volumeNode, wait=True)
      slicer.util.saveNode(result.segmentation, "hip.seg.nrrd")
    """

    # Below it uncertainty is not drawn: every border is a little uncertain, and the image shall
    # stay visible where the model is sure.
    SHOWN_UNCERTAINTY = 0.15

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = jobs.JobRunner(LIBRARY)

    def getParameterNode(self):
        node = super().getParameterNode()
        isNew = not node.GetParameterNames()
        parameterNode = MuscleSegParameterNode(node)
        if isNew:
            parameterNode.device = settings.device()
        return parameterNode

    @property
    def running(self) -> bool:
        """Whether a computation is under way."""
        return self._runner.running

    def cancel(self) -> None:
        """End the computation; nothing of it stays."""
        self._runner.cancel()

    def shutdown(self) -> None:
        """End the computation and the process that is kept for the next one."""
        self._runner.shutdown()

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
            return arguments + (["--recipe", recipe] if recipe else [])

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
        result.report.SetText(json.dumps(
            {key: value for key, value in manifest.items() if key not in ("id", "folder")},
            indent=2))
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
        with open(path("result.json"), "w", encoding="utf-8") as file:
            file.write(result.report.GetText() if result.report else "{}")
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
        loaded = {}
        loader = samples.SampleLoader()
        loader.load(samples.SIMULATED_CT, lambda node: loaded.update(node=node),
                    lambda code, sentence, log: loaded.update(error=sentence))
        loader.wait()
        self.assertNotIn("error", loaded)
        volumeNode = loaded["node"]

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
