# SPDX-License-Identifier: Apache-2.0
import base64
import enum
import os
import shutil
from dataclasses import dataclass
from typing import Annotated

import qt
import slicer
import vtk
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

from HeadCTTriageLib import audit_log
from HeadCTTriageLib.triage_folder import TriageFolder
from HeadCTTriageSlicerLib import judgement_view, worklist_panel
from HeadCTTriageSlicerLib.judgement_view import JudgementView
from HeadCTTriageSlicerLib.worklist_panel import WorklistPanel
from ReadingRoomLib.errors import ReadingRoomError
from ReadingRoomLib.results import file_sha256
from ReadingRoomSlicerLib import (
    dependencies,
    dicom,
    jobs,
    panel,
    results,
    samples,
    settings,
    tables,
    views,
    volumes,
)
from ReadingRoomSlicerLib.module import ReadingRoomLogic, ReadingRoomWidget

#
# HeadCTTriage
#


class HeadCTTriage(ScriptedLoadableModule):
    """Which head CT cannot wait."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("HeadCTTriage")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["ReadingRoomCore"]
        self.parent.contributors = ["ReadingRoom contributors"]
        self.parent.helpText = _(
            "Judges how urgently somebody has to look at a head CT without contrast agent, says how"
            " sure it is and why, and sorts the CTs that wait. Choose a CT and press"
            " Apply.") + self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "After Watanabe, triage of head CT by deep learning, KAKENHI 18K16600 (Nihon"
            " University). Research software, not a medical device.")
        slicer.app.connect("startupCompleted()", registerSampleData)


LIBRARY = "HeadCTTriageLib"
SAMPLE_CATEGORY = "HeadCTTriage"
FOLDER_SETTING = "ReadingRoom/TriageFolder"
RENDERING_PRESET = "CT-Bone"

SAMPLE = samples.Sample(
    "CTHeadSimulated",
    "CTHeadSimulated.nrrd",
    "import sys; from pathlib import Path; from HeadCTTriageLib.sample_head import make;"
    "print(make(Path(sys.argv[1])))",
    None,
    "https://github.com/ReadingRoom/SlicerReadingRoom",
    LIBRARY,
)


def registerSampleData():
    """Offer our image in the Sample Data module."""
    samples.register(SAMPLE_CATEGORY, _("HeadCTTriage"), SAMPLE)


def triageFolder() -> str:
    """Folder of results, worklist and audit log: what the user chose, or one of his own."""
    chosen = str(qt.QSettings().value(FOLDER_SETTING, "") or "").strip()
    return chosen or os.path.join(
        qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppDataLocation),
        "ReadingRoom", "HeadCTTriage")


#
# HeadCTTriageParameterNode
#


class Recipe(enum.Enum):
    """How the network was made; the value is that of the model list."""

    MODERN = "modern"
    SEED = "seed"

    def label(self) -> str:
        return {
            Recipe.MODERN: _("Modern"),
            Recipe.SEED: _("Published (Watanabe)"),
        }[self]


@parameterNodeWrapper
class HeadCTTriageParameterNode:
    """
    What the panel shows, and where the result is; saved with the scene.

    inputVolume - CT to judge.
    model - name of the model, as in the list of models.
    recipe - which networks to choose the model from.
    mostMissedPercent - of urgent heads that may be missed.
    errorPercent - of heads whose true tag may be excluded.
    device - where to compute.
    seed - start of the random numbers.
    judgement, points, contactSheet, report - the last result; see HeadCTTriageResult.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = "starter"
    recipe: Recipe = Recipe.MODERN
    mostMissedPercent: Annotated[float, WithinRange(0.1, 50.0)] = 5.0
    errorPercent: Annotated[float, WithinRange(0.1, 50.0)] = 5.0
    device: settings.Device = settings.Device.AUTO
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    judgement: vtkMRMLTableNode
    points: vtkMRMLMarkupsFiducialNode
    contactSheet: vtkMRMLTextNode
    report: vtkMRMLTextNode


#
# HeadCTTriageWidget
#


class HeadCTTriageWidget(ReadingRoomWidget):
    """The panel: a CT, Apply, the judgement and what the physician decides; the worklist."""

    applyToolTip = _("Judge how urgently somebody has to look at this head.")
    resultHeaders = judgement_view.REGION_HEADERS
    MOST_ROWS = 6  # of regions, without scrolling

    def __init__(self, parent=None) -> None:
        ReadingRoomWidget.__init__(self, parent)
        self.view = None
        self.worklist = None
        self._trainingSection = None
        self._shown = None
        self._shownVolume = None
        self._loggedAsShown = ""

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        super().setup()
        self.setUpPanel(HeadCTTriageLogic(),
                        os.path.join(jobs.libraryFolder(LIBRARY), LIBRARY, "models.json"))
        self.panel.nameOverlay(_("Points"), _("Mark the places that look like a finding."))
        self.ui.volumeRenderingButton.toolTip = _("Show the skull in the 3D view.")
        self.ui.readerLineEdit.placeholderText = audit_log.user_name()
        self.ui.confirmButton.connect("clicked(bool)", self.onConfirmButton)
        self.ui.overruleButton.connect("clicked(bool)", self.onOverruleButton)
        self.view = JudgementView(self.ui)
        self.worklist = WorklistPanel(self.resourcePath("UI/HeadCTTriageWorklist.ui"), self)
        self.panel.addSection(self.worklist)
        self._trainingSection = self.panel.addLazySection(_("Train"), self._makeTraining)
        self.initializeParameterNode()

    @property
    def training(self):
        """The section Train, made when it is needed first."""
        return self._trainingSection.section

    def _makeTraining(self):
        from HeadCTTriageSlicerLib.training_section import HeadTrainingPanel

        return HeadTrainingPanel(LIBRARY, self.moduleName, self,
                                 [(recipe.value, recipe.label()) for recipe in Recipe])

    def cleanup(self) -> None:
        self.worklist.cleanup()
        self._trainingSection.cleanup()
        self.view.close()
        super().cleanup()

    def enter(self) -> None:
        super().enter()
        self.worklist.enter()

    def exit(self) -> None:
        self.worklist.exit()
        self.view.close()
        super().exit()

    def chooseInputs(self, parameterNode) -> None:
        if not parameterNode.inputVolume:
            firstVolumeNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if firstVolumeNode:
                parameterNode.inputVolume = firstVolumeNode

    def showParameters(self, parameterNode) -> None:
        self.panel.showModels(parameterNode.recipe.value, parameterNode.model)

    def reasonNotToApply(self) -> str:
        volumeNode = self._parameterNode.inputVolume if self._parameterNode else None
        if not volumeNode:
            return _("Choose a CT first.")
        return panel.reasonNotCT(volumeNode) or self._reasonForNoModel()

    def _reasonForNoModel(self) -> str:
        if self.panel.modelName:
            return ""
        if self.panel.recipes():
            return _("There is no model of the chosen recipe.")
        return _("No model is installed, so nothing can be judged: install the extension again.")

    def _checkCanApply(self, caller=None, event=None) -> None:
        super()._checkCanApply(caller, event)
        if self.worklist:
            self.worklist.checkButtons()

    def _options(self) -> dict:
        """What the panel says about how to judge."""
        parameterNode = self.logic.getParameterNode()
        return {
            "model": self.panel.modelName,
            "mostMissed": parameterNode.mostMissedPercent / 100,
            "error": parameterNode.errorPercent / 100,
            "device": parameterNode.device.value,
            "seed": parameterNode.seed,
        }

    def startComputation(self, parameterNode, **callbacks) -> None:
        self.logic.process(
            parameterNode.inputVolume, **self._options(),
            previous=self.logic.resultOf(parameterNode), **callbacks)

    def keepResult(self, parameterNode, result) -> None:
        for name in HeadCTTriageResult.NODES:
            setattr(parameterNode, name, getattr(result, name))

    def onSampleButton(self) -> None:
        self.loadSamples(_("Making the example head..."), {"inputVolume": SAMPLE})

    # Judgement

    def showResult(self) -> None:
        """Show the result that the scene holds, or none."""
        result = self.logic.resultOf(self._parameterNode)
        if not result or not result.manifest:
            self._showNothing()
            return
        if self.worklist:
            self.worklist.keepSelectionOf(result.manifest["result"])
        self._show(result.manifest, self.logic.pictureOf(result), result.inputVolume)
        self.showStateOfViews(
            (self.ui.volumeRenderingButton, views.isVolumeRendered(result.inputVolume)),
            (self.ui.overlayButton, result.pointsAreShown),
        )

    def _showNothing(self) -> None:
        self._shown = self._shownVolume = None
        self.panel.showResult(self.resultHeaders, None)

    def _show(self, manifest, picture: str, volumeNode) -> None:
        """Show a judgement, of the scene or of the worklist, and write into the log that it was.

        :param volumeNode: its CT where that is in the scene, else None.
        """
        self._shown, self._shownVolume = manifest, volumeNode
        rows = judgement_view.regionRows(manifest)
        self.panel.showResult(
            self.resultHeaders, rows, judgement_view.regionsSentence(manifest))
        self._fitTable(len(rows))
        self.view.show(manifest, picture)
        isInScene = bool(volumeNode) and self._isInScene(manifest)
        for button in (self.ui.volumeRenderingButton, self.ui.overlayButton,
                       self.ui.exportButton):
            button.enabled = isInScene
        if manifest["result"] != self._loggedAsShown:
            self._loggedAsShown = manifest["result"]
            with slicer.util.tryWithErrorDisplay(_("The audit log cannot be written.")):
                self.folder.log.add("shown", manifest, who=self.ui.readerLineEdit.text)

    def _fitTable(self, count: int) -> None:
        """Give the table of regions the height that it needs: the judgement is what matters."""
        table = self.ui.resultTable
        table.visible = count > 0
        rowHeight = table.verticalHeader().defaultSectionSize
        table.setFixedHeight((min(count, self.MOST_ROWS) + 1) * rowHeight + 8)

    def _isInScene(self, manifest) -> bool:
        result = self.logic.resultOf(self._parameterNode)
        return bool(result) and result.manifest.get("result") == manifest["result"]

    def onResultClicked(self, row, column) -> None:
        """Called when the user wants to see a place."""
        if not self._shown:
            return
        if not self._shownVolume or not self._shownVolume.GetScene():
            self.panel.showMessage(_("Double-click the study in the worklist to see its images."))
            return
        region = self._shown["reasons"]["regions"][int(self.panel.keyOfRow(row))]
        views.jumpTo(volumes.toWorld(self._shownVolume, toRas(region["centre_mm"])))

    def onVolumeRendering(self, show) -> None:
        with slicer.util.tryWithErrorDisplay(_("The image cannot be shown."), waitCursor=True):
            views.showVolumeRendering(self._shownVolume, show, RENDERING_PRESET)

    def onOverlay(self, show) -> None:
        self._parameterNode.points.GetDisplayNode().SetVisibility(show)

    # What the physician decides

    def onConfirmButton(self, checked=False) -> None:
        """Called when the physician has looked and agrees."""
        self.review("confirmed", self._shown["triage"])

    def onOverruleButton(self, checked=False) -> None:
        """Called when the physician has looked and gives another tag."""
        comboBox, reason = self.ui.tagComboBox, self.ui.reasonLineEdit.text.strip()
        if comboBox.currentIndex < 0 or not reason:
            self.view.showReviewSentence(
                _("Choose the right tag and give a reason to overrule."), isError=True)
            return
        self.review("overruled", comboBox.itemData(comboBox.currentIndex), reason)

    def review(self, event: str, tag: str, reason: str = "") -> None:
        """Write into the log what the physician decided, and keep it with the judgement.

        What cannot be written is not kept.

        :param event: "confirmed" or "overruled".
        :param tag: the physician's.
        :param reason: needed to overrule.
        """
        manifest = {key: value for key, value in self._shown.items() if key != "review"}
        try:
            entry = self.folder.log.add(
                event, manifest, who=self.ui.readerLineEdit.text,
                tag=tag if event == "overruled" else "", reason=reason)
        except (ReadingRoomError, OSError) as error:
            self.view.showReviewSentence(_("Not kept: {error}").format(error=error), isError=True)
            return
        self._shown = manifest | {"review": {
            "event": event, "tag": tag, "reason": entry.reason, "who": entry.who,
            "time": entry.time}}
        if self._isInScene(manifest):
            self.logic.keepManifest(self.logic.resultOf(self._parameterNode), self._shown)
        self.worklist.reviewed(manifest["result"], event, tag, entry.reason)
        self.view.showReview(self._shown)

    # What the section "Train" asks for

    def modelNames(self) -> list:
        return self.panel.modelNames()

    def computeOptions(self) -> dict:
        parameterNode = self.logic.getParameterNode()
        return {"device": parameterNode.device.value, "seed": parameterNode.seed}

    def onTrained(self, manifest) -> None:
        """Let the new model be chosen."""
        if self._parameterNode:
            self.showParameters(self._parameterNode)
            self._checkCanApply()

    # What the worklist asks for

    @property
    def folder(self):
        """Where results, worklist and audit log are kept."""
        return self.logic.folder

    def chooseFolder(self, path: str) -> None:
        """Keep them somewhere else from now on; what is in the old folder stays there."""
        qt.QSettings().setValue(FOLDER_SETTING, path)
        self.logic.folder = TriageFolder(path)

    def currentVolume(self):
        return self._parameterNode.inputVolume if self._parameterNode else None

    def reasonNotToJudge(self) -> str:
        return _("The computation is running.") if self.logic.running else (
            self._reasonForNoModel())

    def prepareToJudge(self) -> None:
        dependencies.ensureDependencies(self.moduleName)
        self._judgeOptions = self._options()

    def judgeStudy(self, study, **callbacks) -> None:
        self.logic.judgeStudy(study, **self._judgeOptions, **callbacks)
        self._checkCanApply()

    def cancelStudy(self) -> None:
        self.logic.cancel()

    def onJudgingEnded(self) -> None:
        self._checkCanApply()

    def showStudy(self, study) -> None:
        """Show the judgement of a study, if it has one; without a study, that of the scene."""
        if study is None:
            self.showResult()
            return
        if not study.result:
            self._showNothing()
            return
        try:
            manifest = self.folder.manifest(study.result)
        except ReadingRoomError as error:
            self._showNothing()
            self.worklist.showMessage(error.message, isError=True)
            return
        self._show(self._reviewed(manifest), self.folder.contact_sheet(study.result),
                   worklist_panel.volumeOf(study))

    def _reviewed(self, manifest) -> dict:
        """A manifest with what the physician decided on it last, as the audit log knows."""
        decided = [entry for entry in self.folder.log.entries()
                   if entry.result == manifest["result"]
                   and entry.event in ("confirmed", "overruled")]
        if not decided:
            return manifest
        last = decided[-1]
        return manifest | {"review": {
            "event": last.event, "tag": last.tag or manifest["triage"], "reason": last.reason,
            "who": last.who, "time": last.time}}

    def openStudy(self, study) -> None:
        """Show the images of a study, loaded if they have to be, with its judgement."""
        volumeNode = worklist_panel.loadVolumeOf(study)
        parameterNode = self._parameterNode
        views.showBackground(volumeNode)
        if not study.result:
            parameterNode.inputVolume = volumeNode
            return
        manifest = self._reviewed(self.folder.manifest(study.result))
        result = self.logic.showInScene(
            manifest, self.folder.contact_sheet(study.result), volumeNode,
            self.logic.resultOf(parameterNode))
        with slicer.util.NodeModify(parameterNode.parameterNode):
            parameterNode.inputVolume = volumeNode
            self.keepResult(parameterNode, result)
        self.showResult()


def toRas(point) -> tuple:
    """A point of a result (LPS, mm) as Slicer counts (RAS, mm)."""
    return -point[0], -point[1], point[2]


#
# HeadCTTriageLogic
#


@dataclass
class HeadCTTriageResult:
    """The nodes of one result.

    inputVolume - the CT.
    judgement - table of what is said about it, and of what the physician decided.
    points - the places that look like a finding.
    contactSheet - the picture of all slices, PNG in base64.
    report - what was run, and all numbers (the content of result.json).
    """

    # The parts that the parameter node refers to.
    NODES = ("judgement", "points", "contactSheet", "report")

    inputVolume: vtkMRMLScalarVolumeNode
    judgement: vtkMRMLTableNode
    points: vtkMRMLMarkupsFiducialNode
    contactSheet: vtkMRMLTextNode
    report: vtkMRMLTextNode

    @property
    def manifest(self) -> dict:
        return results.manifestOf(self.report)

    @property
    def pointsAreShown(self) -> bool:
        displayNode = self.points.GetDisplayNode() if self.points else None
        return bool(displayNode and displayNode.GetVisibility())


class HeadCTTriageLogic(ReadingRoomLogic):
    """
    Judges head CTs and puts the result into the scene. Needs no widget::

      result = HeadCTTriageLogic().process(volumeNode, wait=True)
      print(result.manifest["decision"], result.manifest["urgent_probability"])

    folder - the `TriageFolder` where every result is kept, and the audit log.
    """

    library = LIBRARY
    parameterNodeClass = HeadCTTriageParameterNode

    INPUT_ROLE = "inputVolume"
    INPUT_NAME = "CT"  # a file of this name names no patient
    POINT_COLOR = (0.9, 0.6, 0.0)  # seen by the colour-blind, on brain and on bone

    def __init__(self) -> None:
        super().__init__()
        self.folder = TriageFolder(triageFolder())

    def resultOf(self, parameterNode):
        """The result that a parameter node refers to; None when a needed part is not there."""
        if not parameterNode or not parameterNode.judgement or not parameterNode.report:
            return None
        return HeadCTTriageResult(
            parameterNode.report.GetNodeReference(self.INPUT_ROLE),
            **{name: getattr(parameterNode, name) for name in HeadCTTriageResult.NODES})

    def process(
        self,
        inputVolume: vtkMRMLScalarVolumeNode,
        model: str = "starter",
        recipe: str | None = None,
        mostMissed: float = 0.05,
        error: float = 0.05,
        device: str = "auto",
        seed: int = 0,
        previous: HeadCTTriageResult | None = None,
        wait: bool = False,
        onProgress=None,
        onFinished=None,
        onFailed=None,
    ):
        """
        Judge a head CT. Can be used without GUI widget.

        :param inputVolume: the CT.
        :param model: name of a model, or folder of one.
        :param recipe: what the model must have been trained as, "modern" or "seed"; None for any.
        :param mostMissed: share of urgent heads that may be missed, 0.001 to 0.5.
        :param error: share of heads whose true tag may be excluded, 0.001 to 0.5.
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
            raise ValueError(_("There is no image to judge."))

        def load(manifest):
            return self.showInScene(
                manifest, self.folder.contact_sheet(manifest["result"]), inputVolume, previous)

        return self._judge(
            lambda folder: self._writeVolume(inputVolume, folder), load,
            {"model": model, "recipe": recipe, "most-missed": mostMissed, "error": error,
             "age": dicom.ageOf(inputVolume), "device": device, "seed": seed},
            onFinished, onFailed, onProgress, wait)

    def judgeStudy(self, study, model: str, mostMissed: float, error: float, device: str,
                   seed: int, onProgress=None, onFinished=None, onFailed=None) -> None:
        """
        Judge a study of the worklist; nothing goes into the scene.

        :param study: `HeadCTTriageLib.worklist.Study`.
        :param onFinished: called with the manifest.
        :raises RuntimeError: when its images are not there, or it cannot be started.

        The other parameters are those of `process`.
        """
        def write(folder):
            if study.key.startswith(worklist_panel.SERIES):
                return self._copySeries(study.key.removeprefix(worklist_panel.SERIES), folder)
            volumeNode = worklist_panel.volumeOf(study)
            if not volumeNode or not volumeNode.GetImageData():
                raise RuntimeError(worklist_panel.NOT_IN_SCENE)
            return self._writeVolume(volumeNode, folder)

        volumeNode = worklist_panel.volumeOf(study)  # of files, the command reads the age itself
        age = dicom.ageOf(volumeNode) if volumeNode else None
        self._judge(write, lambda manifest: manifest,
                    {"model": model, "most-missed": mostMissed, "error": error, "age": age,
                     "device": device, "seed": seed}, onFinished, onFailed, onProgress)

    def _judge(self, write, load, options, onFinished, onFailed, onProgress, wait=False):
        """Run the command; its result is kept in the folder, and the log tells how it ended.

        :param write: called with a temporary folder; writes the image and returns its path.
        :param load: called with the manifest; returns what ``onFinished`` gets.
        """
        output = self.folder.new_result()
        known = {}

        def prepare(folder):
            path = write(folder)
            known["inputs"] = [{"sha256": file_sha256(path)}]
            given = [part for name, value in options.items() if value is not None
                     for part in (f"--{name}", value)]
            return ["judge", path, "--output", output, *given, "--progress", "json"]

        def loaded(_manifest):
            manifest = self.folder.manifest(output.name)
            self.folder.log.add("judged", manifest)
            return load(manifest)

        def failed(code, sentence, log):
            if code != "CANCELLED":
                try:
                    self.folder.log.add("refused", known, reason=f"{code}: {sentence}")
                except OSError as error:
                    sentence = f"{sentence} {error}"
            if onFailed:
                onFailed(code, sentence, log)

        return self._runner.runInFolder(prepare, loaded, onFinished, failed, onProgress, wait)

    def _writeVolume(self, volumeNode, folder) -> str:
        path = os.path.join(folder, f"{self.INPUT_NAME}.nrrd")
        volumes.writeVolume(volumeNode, path)
        return path

    def _copySeries(self, uid, folder) -> str:
        """Put the files of a series into a folder of their own."""
        files = dicom.filesOf(uid)
        if not files:
            raise RuntimeError(_("The files of this series are gone from the DICOM database."))
        target = os.path.join(folder, self.INPUT_NAME)
        os.mkdir(target)
        for number, path in enumerate(files):
            shutil.copyfile(path, os.path.join(target, f"{number:05}.dcm"))
        return target

    # Results

    def showInScene(self, manifest, picture: str, inputVolume,
                    previous=None) -> HeadCTTriageResult:
        """
        Put a result into the scene, where its CT is.

        :param manifest: content of result.json, with the name of its folder as ``result``.
        :param picture: path of the contact sheet.
        :param previous: as for `process`.
        """
        if inputVolume.GetScene() is not slicer.mrmlScene:
            raise RuntimeError(_("the CT is no longer in the scene"))
        if previous and previous.inputVolume != inputVolume:
            previous = None
        result = self._resultNodes(inputVolume, previous)
        result.report.SetNodeReferenceID(self.INPUT_ROLE, inputVolume.GetID())
        self.keepManifest(result, manifest)
        with open(picture, "rb") as file:
            result.contactSheet.SetText(base64.b64encode(file.read()).decode("ascii"))
        self._setPoints(result.points, manifest["reasons"]["regions"])
        for name in HeadCTTriageResult.NODES:
            volumes.placeWith(getattr(result, name), inputVolume)
        views.showBackground(inputVolume)
        return result

    def _resultNodes(self, inputVolume, previous) -> HeadCTTriageResult:
        """The nodes to fill: those of the previous result where they still have their names."""
        parts = {
            "judgement": ("vtkMRMLTableNode", _("{name} judgement")),
            "points": ("vtkMRMLMarkupsFiducialNode", _("{name} findings")),
            "contactSheet": ("vtkMRMLTextNode", _("{name} contact sheet")),
            "report": ("vtkMRMLTextNode", _("{name} triage")),
        }
        return HeadCTTriageResult(inputVolume, **{
            part: results.nodeFor(className, text.format(name=inputVolume.GetName()),
                                  previous and getattr(previous, part))
            for part, (className, text) in parts.items()})

    def keepManifest(self, result, manifest) -> None:
        """Keep what is said about a CT, and what the physician decided, in the scene."""
        results.keepManifest(result.report, manifest)
        pairs = judgement_view.itemsAndValues(manifest)
        tables.setColumns(result.judgement, {
            "Item": [item for item, _value in pairs], "Value": [value for _item, value in pairs]})

    def _setPoints(self, pointsNode, regions) -> None:
        pointsNode.SetLocked(False)
        pointsNode.RemoveAllControlPoints()
        for region in regions:
            pointsNode.AddControlPoint(vtk.vtkVector3d(*toRas(region["centre_mm"])),
                                       judgement_view.regionName(region))
        pointsNode.SetLocked(True)  # they are the program's, and stay where it put them
        pointsNode.CreateDefaultDisplayNodes()
        displayNode = pointsNode.GetDisplayNode()
        displayNode.SetSelectedColor(*self.POINT_COLOR)
        displayNode.SetGlyphScale(2.0)
        displayNode.SetTextScale(2.5)

    def pictureOf(self, result) -> str:
        """Path of a file with the contact sheet of a result; empty where it has none."""
        if not result.contactSheet or not result.contactSheet.GetText():
            return ""
        path = os.path.join(slicer.app.temporaryPath, "HeadCTTriage-contact-sheet.png")
        with open(path, "wb") as file:
            file.write(base64.b64decode(result.contactSheet.GetText()))
        return path

    def export(self, result: HeadCTTriageResult, folder: str) -> str:
        """
        Write a result as files: what the command line writes, and the judgement as a table.

        :param folder: a new folder, named after the judgement, is made in it.
        :return: path of the new folder.
        """
        target = results.makeFolder(result.judgement, folder)
        picture = self.pictureOf(result)
        if picture:
            shutil.copyfile(picture, os.path.join(target, "contact_sheet.png"))
        columns = tables.columns(result.judgement)
        rows = [{"item": item, "value": value}
                for item, value in zip(columns["Item"], columns["Value"], strict=True)]
        tables.writeRows(rows, os.path.join(target, "judgement.csv"))
        results.writeManifest(result.report, os.path.join(target, "result.json"))
        return target


#
# HeadCTTriageTest
#


class HeadCTTriageTest(ScriptedLoadableModuleTest):
    """The module's own test: a head of simple shapes through the real computation."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_headOfSimpleShapes()

    def test_headOfSimpleShapes(self):
        """Judge a head, and find every node where a user looks for it; box of air is refused."""
        import tempfile

        volumeNode = self._addHead()
        with tempfile.TemporaryDirectory() as folder:
            logic = HeadCTTriageLogic()
            logic.folder = TriageFolder(folder)
            try:
                self.delayDisplay("Refusing what is no head")
                air = slicer.util.addVolumeFromArray(
                    slicer.util.arrayFromVolume(volumeNode) * 0 - 1000, name="Air")
                with self.assertRaises(RuntimeError):
                    logic.process(air, device="cpu", wait=True)
                self.assertEqual(logic.folder.log.entries()[-1].event, "refused")

                if not self._hasModel():
                    self.delayDisplay("Test passed; no model is installed")
                    return
                self.delayDisplay("Judging")
                result = logic.process(volumeNode, device="cpu", wait=True)
                self.assertEqual(result.manifest["status"], "completed")
                self.assertGreater(result.judgement.GetNumberOfRows(), 5)
                self.assertTrue(logic.pictureOf(result))
                self.assertEqual(logic.folder.log.entries()[-1].event, "judged")
                self.assertTrue(audit_log.verify(logic.folder.log.path).intact)
            finally:
                logic.shutdown()
        self.delayDisplay("Test passed")

    def _hasModel(self) -> bool:
        from ReadingRoomLib.models import available_models

        registry = os.path.join(jobs.libraryFolder(LIBRARY), LIBRARY, "models.json")
        try:
            return bool(available_models(registry))
        except ReadingRoomError:
            return False

    def _addHead(self):
        """A brain in a skull in a scalp, as ellipsoids."""
        import numpy as np

        z, y, x = np.meshgrid(np.arange(-110, 110, 4), np.arange(-120, 120, 2),
                              np.arange(-100, 100, 2), indexing="ij")

        def ball(more):
            return (x / (68 + more))**2 + (y / (82 + more))**2 + (z / (66 + more))**2 < 1

        density = np.select([ball(0), ball(8), ball(14)], [35, 1000, 0], -1000).astype(np.int16)
        toRas = np.diag([-2.0, -2.0, 4.0, 1.0])
        toRas[:3, 3] = 100, 120, -110
        return slicer.util.addVolumeFromArray(density, toRas, "Head of simple shapes")
