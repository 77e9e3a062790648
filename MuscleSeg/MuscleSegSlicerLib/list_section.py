# SPDX-License-Identifier: Apache-2.0
"""The section "List of images": images with segmentations, of the scene or of folders."""

import os
import shutil

import qt
from slicer.i18n import tr as _

from ReadingRoomLib.errors import ReadingRoomError
from ReadingRoomSlicerLib.training_panel import asArguments, chosen, menu

from . import scene_pairs
from .command_section import CommandSection, fileOf, reasonForFolder
from .section_parts import ROW_HEIGHT, fileLineEdit, folderLineEdit, pushButton, table

SCENE, FOLDERS = "scene", "folders"
OWN = "file"
IMAGE, PATIENT, KNOWN = range(3)
HEADERS = (
    (_("Segmentation of the scene"), _("Those that are ticked go into the list.")),
    (_("Patient"), _("Images of one patient have the same number or word here; it can be"
                     " edited. Use no names.")),
    (_("Structures"), _("How many of its segments carry the name of one of our muscles or"
                        " bones.")),
)


class ListSection(CommandSection):
    """Which images with their segmentations; the list of them.

    :param owner: as for `CommandSection`; it has ``onListWritten(path)``, too.
    """

    deepLearning = False

    def __init__(self, library: str, owner) -> None:
        super().__init__(library, owner, _("List of images"), _(
            "Images with segmentations that are right, from which a model can learn, or on which"
            " it is measured below."), _("Write list"))
        self.pairs = []
        self.sourceComboBox = menu(
            ((SCENE, _("segmentations of the scene")), (FOLDERS, _("files of two folders"))),
            _("Where the images are."))
        self.addRow(_("Made of:"), self.sourceComboBox)
        self._addScene()
        self._addFolders()
        self.simulatedCheckBox = qt.QCheckBox(_("the images are simulated"))
        self.simulatedCheckBox.toolTip = _("Every result then says so.")
        self.addRow("", self.simulatedCheckBox)
        self.folderLineEdit = folderLineEdit(
            _("Where the list goes, into a folder of its own."), "MuscleSegListFolder")
        self.addRow(_("Folder:"), self.folderLineEdit, "currentPathChanged(QString)")
        self.nameLineEdit = qt.QLineEdit("images")
        self.nameLineEdit.toolTip = _("Name of the new folder.")
        self.addRow(_("Name:"), self.nameLineEdit, "textChanged(QString)")
        self.sourceComboBox.connect("currentIndexChanged(int)", self._onSourceChanged)
        self._onSourceChanged()

    def _addScene(self) -> None:
        self.sceneWidget = qt.QWidget()
        layout = qt.QVBoxLayout(self.sceneWidget)
        layout.setContentsMargins(0, 0, 0, 0)
        self.table = table(HEADERS)
        self.table.setEditTriggers(
            qt.QAbstractItemView.DoubleClicked | qt.QAbstractItemView.EditKeyPressed)
        self.table.connect("cellChanged(int,int)", self._onCellChanged)
        layout.addWidget(self.table)
        self.findButton = pushButton(
            _("Look again"), _("Look for segmentations in the scene, and tick those that can be"
                               " used."), self.onFindButton)
        layout.addWidget(self.findButton)
        self.form.addRow(self.sceneWidget)

    def _addFolders(self) -> None:
        self.imagesLineEdit = folderLineEdit(_(
            "Folder of images: NRRD, NIfTI, MetaImage, or a folder of DICOM files for each."),
            "MuscleSegImagesFolder")
        self.addRow(_("Images:"), self.imagesLineEdit, "currentPathChanged(QString)")
        self.segmentationsLineEdit = folderLineEdit(_(
            "Folder of segmentations, each called as its image: NRRD, NIfTI, DICOM SEG, or a folder"
            " of masks. Leave it empty where each lies in a folder with its image."),
            "MuscleSegSegmentationsFolder")
        self.addRow(_("Segmentations:"), self.segmentationsLineEdit, "currentPathChanged(QString)")
        self.namesComboBox = menu(
            (("", _("as the files say")),
             ("totalsegmentator", _("values of TotalSegmentator")),
             ("musclemap", _("values of MuscleMap")), (OWN, _("a table of my own"))),
            _("What the labels are called. Names of TotalSegmentator and MuscleMap are understood"
              " without being asked for; files without names hold values only."))
        self.addRow(_("Names:"), self.namesComboBox)
        self.namesComboBox.connect("currentIndexChanged(int)", self._onSourceChanged)
        self.namesLineEdit = fileLineEdit(_(
            "Table of label names (JSON), see the documentation."), "MuscleSegNames")
        self.addRow(_("Table:"), self.namesLineEdit, "currentPathChanged(QString)")
        self.patientsLineEdit = fileLineEdit(_(
            "Table (CSV) with the columns image and patient. Leave it empty where DICOM says whose"
            " images they are, or each is of a patient of its own."), "MuscleSegPatients")
        self.addRow(_("Patients:"), self.patientsLineEdit, "currentPathChanged(QString)")

    @property
    def isOfScene(self) -> bool:
        """Whether the list is made of the scene."""
        return chosen(self.sourceComboBox) == SCENE

    @property
    def _hasOwnNames(self) -> bool:
        return chosen(self.namesComboBox) == OWN

    def names(self) -> str:
        """What the labels of files are called: a table by name, or its file."""
        return self.namesLineEdit.currentPath if self._hasOwnNames else (
            chosen(self.namesComboBox))

    def _onSourceChanged(self, index=None) -> None:
        for part in (self.imagesLineEdit, self.segmentationsLineEdit, self.namesComboBox,
                     self.patientsLineEdit):
            self.showRow(part, not self.isOfScene)
        self.showRow(self.namesLineEdit, not self.isOfScene and self._hasOwnNames)
        self.sceneWidget.visible = self.isOfScene
        self.showMessage("")
        self.check()

    def addTo(self, layout, before) -> None:
        super().addTo(layout, before)
        self.onFindButton()

    def onSceneClosed(self) -> None:
        self.runner.cancel()
        self.showMessage("")
        self.onFindButton()

    # Segmentations of the scene

    def onFindButton(self, checked=False) -> None:
        """Look for segmentations in the scene."""
        self.pairs = scene_pairs.pairsOfScene()
        blocked = self.table.blockSignals(True)
        self.table.setRowCount(len(self.pairs))
        for row, pair in enumerate(self.pairs):
            self._showPair(row, pair)
        self.table.blockSignals(blocked)
        self.table.setFixedHeight((max(2, min(len(self.pairs), 6)) + 1) * ROW_HEIGHT + 8)
        self.check()

    def _showPair(self, row: int, pair) -> None:
        reason = pair.reason()
        toolTip = reason or _("Image: {name}").format(name=pair.volume.GetName())
        for column, text in enumerate((pair.segmentation.GetName(), pair.patient,
                                       str(pair.known))):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(toolTip)
            flags = qt.Qt.ItemIsSelectable if reason else (
                qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            if column == IMAGE and not reason:
                flags |= qt.Qt.ItemIsUserCheckable
                item.setCheckState(qt.Qt.Checked)
            elif column == PATIENT and not reason:
                flags |= qt.Qt.ItemIsEditable
            item.setFlags(flags)
            self.table.setItem(row, column, item)

    def _onCellChanged(self, row, column) -> None:
        if column == PATIENT:
            text = self.table.item(row, PATIENT).text().strip()
            self.pairs[row].patient = text or self.pairs[row].patient
        self.check()

    def ticked(self) -> list:
        """The pairs that go into the list."""
        return [pair for row, pair in enumerate(self.pairs) if pair.isThere and not pair.reason()
                and self.table.item(row, IMAGE).checkState() == qt.Qt.Checked]

    # Start

    def reasonNotToStart(self) -> str:
        if self.isOfScene:
            if not self.pairs:
                return _("There is no segmentation in the scene.")
            if not self.ticked():
                return _("Tick at least one segmentation.")
        else:
            if not os.path.isdir(self.imagesLineEdit.currentPath):
                return _("Choose the folder of the images.")
            segmentations = self.segmentationsLineEdit.currentPath
            if segmentations and not os.path.isdir(segmentations):
                return _("The folder of the segmentations cannot be found.")
            if self._hasOwnNames and not os.path.isfile(self.namesLineEdit.currentPath):
                return _("Choose the table of label names.")
            patients = self.patientsLineEdit.currentPath
            if patients and not os.path.isfile(patients):
                return _("The table of patients cannot be found.")
        return reasonForFolder(self.folderLineEdit.currentPath, self.nameLineEdit.text.strip())

    def startToolTip(self) -> str:
        return _("Write the images, their segmentations and the list of them.") if (
            self.isOfScene) else _("Look which segmentation is of which image, and write the list.")

    def start(self) -> None:
        self.folderLineEdit.addCurrentPathToHistory()
        folder, name = self.folderLineEdit.currentPath, self.nameLineEdit.text.strip()
        if self.isOfScene:
            self._writeScene(folder, name)
            return
        self.run(["collect", self.imagesLineEdit.currentPath, *asArguments({
            "segmentations": self.segmentationsLineEdit.currentPath or None,
            "names": self.names() or None,
            "patients": self.patientsLineEdit.currentPath or None,
            "simulated": True if self.simulatedCheckBox.checked else None,
            "output": os.path.join(folder, name)})], self._onCollected)

    def _writeScene(self, folder: str, name: str) -> None:
        with self.busy(_("Writing the images...")):
            path = scene_pairs.writeList(
                self.ticked(), folder, name, self.simulatedCheckBox.checked)
        try:
            patients = scene_pairs.checkList(path)
        except ReadingRoomError as error:
            shutil.rmtree(os.path.dirname(path))
            self.showMessage(error.message, isError=True)
        else:
            self._written(path, [_("{count} patients.").format(count=patients)])

    def _onCollected(self, manifest) -> None:
        path = fileOf(manifest, "datalist") or os.path.join(manifest["folder"], scene_pairs.LIST)
        self._written(path, [_("{count} images of {patients} patients.").format(
            count=manifest["scans"], patients=manifest["patients"]), *manifest["warnings"]])

    def _written(self, path: str, sentences) -> None:
        self._owner.onListWritten(path)
        self.showMessage("\n".join([
            _("Written to {path}, which is now the list below.").format(path=path), *sentences]))
