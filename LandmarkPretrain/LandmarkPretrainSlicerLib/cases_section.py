# SPDX-License-Identifier: Apache-2.0
"""The section "1 Landmarks": cases of the scene become a list to learn from."""

import os
import shutil

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib.errors import ReadingRoomError
from ReadingRoomSlicerLib import dependencies, jobs, segmentations, views
from ReadingRoomSlicerLib.panel import ProgressDisplay

from . import points, scene_cases
from .scene_cases import SceneCase

VOLUME, PATIENT, LANDMARKS, COMMON = range(4)
HEADERS = (
    (_("Image"), _("Click a case to see it.")),
    (_("Patient"), _("Cases of one patient have the same number or word here; it can be edited.")),
    (_("Landmarks"), _("How many points the case has.")),
    (_("In all"), _("How many of them all cases have.")),
)
STRUCTURES = "structures.seg.nrrd"  # names no patient
_FORBIDDEN = set('/\\:*?"<>|')


class CasesPanel:
    """Gathers images with landmarks, shows which names match, and writes the list.

    :param library: importable name of the library that derives landmarks of segmentations.
    :param uiPath: of the section's .ui file.
    :param owner: the module's widget; it has ``onListWritten(path)``.
    """

    def __init__(self, library: str, uiPath: str, owner) -> None:
        self._library = library
        self._owner = owner
        self._running = None
        self.cases = []
        self.runner = jobs.JobRunner(library)
        self.widget = slicer.util.loadUI(uiPath)
        self.ui = ui = slicer.util.childWidgetVariables(self.widget)
        ui.trainingCollapsibleButton = ui.casesCollapsibleButton  # as all sections call theirs
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._progress = ProgressDisplay(ui.casesProgressBar)
        self._setUpTable()
        for selector in (ui.caseVolumeSelector, ui.caseLandmarksSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._onChosen)
        ui.rulesPathLineEdit.connect("currentPathChanged(QString)", self._check)
        ui.listFolderPathLineEdit.connect("currentPathChanged(QString)", self._check)
        ui.listNameLineEdit.connect("textChanged(QString)", self._check)
        ui.rulesCopyButton.connect("clicked(bool)", self.onRulesCopyButton)
        ui.addCaseButton.connect("clicked(bool)", self.onAddCaseButton)
        ui.findCasesButton.connect("clicked(bool)", self.onFindCasesButton)
        ui.removeCaseButton.connect("clicked(bool)", self.onRemoveCaseButton)
        ui.writeListButton.connect("clicked(bool)", self.onWriteListButton)
        ui.cancelCaseButton.connect("clicked(bool)", self.onCancelCaseButton)
        ui.casesTable.connect("cellChanged(int,int)", self._onCellChanged)
        ui.casesTable.connect("cellClicked(int,int)", self._onCellClicked)
        ui.casesTable.connect("itemSelectionChanged()", self._check)
        self.showMessage("")
        self._onChosen()

    def _setUpTable(self) -> None:
        table = self.ui.casesTable
        table.setColumnCount(len(HEADERS))
        table.setHorizontalHeaderLabels([title for title, _explanation in HEADERS])
        for column, (_title, explanation) in enumerate(HEADERS):
            table.horizontalHeaderItem(column).setToolTip(explanation)
            mode = qt.QHeaderView.Stretch if column == VOLUME else qt.QHeaderView.ResizeToContents
            table.horizontalHeader().setSectionResizeMode(column, mode)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        table.horizontalHeader().setHighlightSections(False)

    # What the module's widget calls

    def addTo(self, layout, before) -> None:
        """Put the section into a vertical layout, before another widget."""
        layout.insertWidget(layout.indexOf(before), self.widget)
        self.show()

    def cleanup(self) -> None:
        """The panel goes."""
        self.runner.shutdown()

    def onSceneClosed(self) -> None:
        """The scene was closed, and the cases with it."""
        self.runner.cancel()
        self.cases = []
        self.showMessage("")
        self.show()

    # What is there

    def show(self) -> None:
        """Show the cases that are in the scene still, and which names match."""
        self.cases = [case for case in self.cases if case.isThere]
        table = self.ui.casesTable
        blocked = table.blockSignals(True)
        table.setRowCount(len(self.cases))
        common = scene_cases.commonNames(self.cases)[1] if self.cases else []
        for row, (case, count) in enumerate(zip(self.cases, common, strict=True)):
            texts = (case.volume.GetName(), case.patient, str(len(points.placed(case.markups))),
                     str(count))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                if column != PATIENT:
                    item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
                item.setToolTip(case.markups.GetName())
                table.setItem(row, column, item)
        table.blockSignals(blocked)
        names = scene_cases.namesSentence(self.cases)
        self.ui.casesNamesLabel.text = names
        self.ui.casesNamesLabel.visible = bool(names)
        self._check()

    def showMessage(self, sentence: str, isError: bool = False) -> None:
        """Show what is being done, or what came of it."""
        label = self.ui.casesMessageLabel
        label.text = sentence
        label.setStyleSheet("color: #b00020;" if isError else "")
        label.visible = bool(sentence)

    def _check(self, changed=None) -> None:
        """Grey buttons and say why, or let them be pressed."""
        ui, running = self.ui, self._running is not None
        for button, reason, toolTip in (
            (ui.addCaseButton, self._reasonNotToAdd(), self._addToolTip()),
            (ui.writeListButton, self._reasonNotToWrite(), _(
                "Write the images, their landmarks and the list, to learn from in the next"
                " section.")),
            (ui.removeCaseButton,
             "" if self._selected() else _("Select a case of the table first."),
             _("Take the selected cases out of this list; they stay in the scene.")),
        ):
            button.enabled = not reason
            button.toolTip = reason or toolTip
        ui.caseWidget.enabled = not running
        ui.casesRunWidget.visible = running

    def _reasonNotToAdd(self) -> str:
        if self._running is not None:
            return _("Landmarks are being derived.")
        volumeNode = self.ui.caseVolumeSelector.currentNode()
        node = self.ui.caseLandmarksSelector.currentNode()
        if not volumeNode or not volumeNode.GetImageData():
            return _("Choose the image of the case first.")
        if not node:
            return _("Choose the landmarks of the image, or its segmentation.")
        if _isSegmentation(node):
            if not node.GetSegmentation().GetNumberOfSegments():
                return _("The chosen segmentation has no segment.")
            path = self.ui.rulesPathLineEdit.currentPath
            return _("The table of landmarks cannot be found.") if path and not os.path.isfile(
                path) else ""
        if not points.placed(node):
            return _("The chosen list has no point yet.")
        if any(case.volume == volumeNode for case in self.cases):
            return _("This image is in the list already.")
        return ""

    def _addToolTip(self) -> str:
        if _isSegmentation(self.ui.caseLandmarksSelector.currentNode()):
            return _("Derive the landmarks of the segmentation, and add them to the cases.")
        return _("Add the image with its landmarks to the cases.")

    def _reasonNotToWrite(self) -> str:
        name = self.ui.listNameLineEdit.text.strip()
        folder = self.ui.listFolderPathLineEdit.currentPath
        if len({case.patient for case in self.cases}) < 2:
            return _("Add cases of at least two patients, so that one can be measured on who was"
                     " not learned from.")
        if not os.path.isdir(folder):
            return _("Choose a folder for the list.")
        if not name or name.startswith(".") or _FORBIDDEN & set(name):
            return _("Give the new folder a name.")
        if os.path.exists(os.path.join(folder, name)):
            return _("There is something of this name in the folder already: choose another name.")
        return ""

    def _selected(self) -> list:
        return sorted({item.row() for item in self.ui.casesTable.selectedItems()})

    # Cases

    def _onChosen(self, node=None) -> None:
        isSegmentation = _isSegmentation(self.ui.caseLandmarksSelector.currentNode())
        self.ui.rulesWidget.visible = isSegmentation
        self.ui.rulesLabel.visible = isSegmentation
        self._check()

    def onAddCaseButton(self, checked=False) -> None:
        """Add the chosen image with its points, or with those that its segmentation gives."""
        volumeNode = self.ui.caseVolumeSelector.currentNode()
        node = self.ui.caseLandmarksSelector.currentNode()
        self.showMessage("")
        if _isSegmentation(node):
            self._derive(volumeNode, node)
        else:
            self.add(volumeNode, node)

    def add(self, volumeNode, markupsNode) -> None:
        """Add a case."""
        self.cases.append(SceneCase(volumeNode, markupsNode,
                                    scene_cases.patientOf(volumeNode, self.cases)))
        self.show()

    def onFindCasesButton(self, checked=False) -> None:
        """Add what belongs together in the scene."""
        known = {case.volume.GetID() for case in self.cases}
        before = len(self.cases)
        for volumeNode, markupsNode in scene_cases.pairsOfScene():
            if volumeNode.GetID() not in known:
                known.add(volumeNode.GetID())
                self.add(volumeNode, markupsNode)
        count = len(self.cases) - before
        self.showMessage(_("{count} cases were added.").format(count=count) if count else _(
            "No more lists of points belong to an image of the scene: choose both above."))

    def onRemoveCaseButton(self, checked=False) -> None:
        """Take the selected cases out of the list."""
        chosen = self._selected()
        self.cases = [case for row, case in enumerate(self.cases) if row not in chosen]
        self.ui.casesTable.clearSelection()
        self.show()

    def _onCellChanged(self, row, column) -> None:
        if column == PATIENT:
            text = self.ui.casesTable.item(row, column).text().strip()
            self.cases[row].patient = text or self.cases[row].patient
            self.show()

    def _onCellClicked(self, row, column) -> None:
        case = self.cases[row]
        if case.isThere and column != PATIENT:
            views.showBackground(case.volume)
            points.jumpTo(case.markups, points.namesOf(case.markups)[0])

    # Segmentations

    def onRulesCopyButton(self, checked=False) -> None:
        """Save the usual table of landmarks, to be edited."""
        path = qt.QFileDialog.getSaveFileName(
            None, _("Table of landmarks"), "landmarks-of-structures.csv", "CSV (*.csv)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table cannot be written.")):
                shutil.copyfile(os.path.join(jobs.libraryFolder(self._library), self._library,
                                             "pseudo_landmarks.csv"), path)
                self.ui.rulesPathLineEdit.currentPath = path

    def _derive(self, volumeNode, segmentationNode) -> None:
        rules = self.ui.rulesPathLineEdit.currentPath
        previous = next((case for case in self.cases if case.volume == volumeNode), None)

        def prepare(folder):
            path = os.path.join(folder, STRUCTURES)
            _completeGeometry(segmentationNode, volumeNode)
            segmentations.writeAsOneLayer(segmentationNode, path)
            return ["landmarks", path, "--output", os.path.join(folder, "result"),
                    *(["--table", rules] if rules else []), "--progress", "json"]

        def load(manifest):
            return scene_cases.loadDerived(manifest, volumeNode, segmentationNode), manifest

        def finished(result):
            self._running = None
            markupsNode, manifest = result
            if previous in self.cases:
                previous.markups = markupsNode
                self.show()
            else:
                self.add(volumeNode, markupsNode)
            self.showMessage("\n".join([
                _("{count} landmarks; not derived: {skipped}.").format(
                    count=manifest["count"], skipped=len(manifest["skipped"])),
                *manifest["warnings"]]))

        def failed(code, sentence, log):
            self._running = None
            self.showMessage(sentence.replace(STRUCTURES, segmentationNode.GetName()),
                             isError=code != "CANCELLED")
            self._check()

        with slicer.util.tryWithErrorDisplay(_("The landmarks could not be derived.")):
            dependencies.ensureDependencies(self._owner.moduleName, deepLearning=False)
            self.runner.runInFolder(prepare, load, finished, failed, self._onProgress)
            self._running = segmentationNode
            self._progress.start()
        self._check()

    def onCancelCaseButton(self, checked=False) -> None:
        """Stop deriving landmarks; the cases stay as they are."""
        self.runner.cancel()

    def _onProgress(self, stage, done, total, message) -> None:
        self.showMessage(message or stage)
        self._progress.show(done, total)

    # The list

    def onWriteListButton(self, checked=False) -> None:
        """Write the list, and say what is wrong with it."""
        folder = self.ui.listFolderPathLineEdit.currentPath
        with slicer.util.tryWithErrorDisplay(_("The list cannot be written."), waitCursor=True):
            self.showMessage(_("Writing the images..."))
            slicer.app.processEvents()
            self.showMessage("")  # seen until this is done, or when it cannot be
            path = scene_cases.writeList(self.cases, folder, self.ui.listNameLineEdit.text.strip())
            self.ui.listFolderPathLineEdit.addCurrentPathToHistory()
            try:
                warnings = scene_cases.checkList(path)
            except ReadingRoomError as error:
                shutil.rmtree(os.path.dirname(path))
                self.showMessage(scene_cases.withNames(error.message, self.cases), isError=True)
            else:
                self.showMessage("\n".join([
                    _("Written to {path}, from which section 2 now learns.").format(path=path),
                    *(scene_cases.withNames(sentence, self.cases) for sentence in warnings)]))
                self._owner.onListWritten(path)
        self._check()


def _completeGeometry(segmentationNode, volumeNode) -> None:
    """Give a segmentation without a grid that of its image; else all structures seem cut off."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    if not segmentationNode.GetSegmentation().GetConversionParameter(name):
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def _isSegmentation(node) -> bool:
    return bool(node) and node.IsA("vtkMRMLSegmentationNode")
