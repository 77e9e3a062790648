# SPDX-License-Identifier: Apache-2.0
"""The section "Measure": what a clinician wants to know of each muscle, side beside side."""

import os
import shutil

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import dicom, segmentations, tables, volumes

from . import measured_nodes
from .command_section import CommandSection, fileOf
from .section_parts import TableRow, fixed, nodeSelector, percent, pushButton, showRows, table

SAVED = "muscle-measurements"  # names no patient
HEADERS = (
    (_("Structure"), _("Muscle or bone. An asterisk: it is cut off by the end of the scan.")),
    (_("Left mL"), _("Volume of the left one.")),
    (_("Right mL"), _("Volume of the right one, or of what has no sides.")),
    (_("Differ"), _("Difference of the volumes over their mean.")),
    (_("Left fat"), _("Share of voxels of the left muscle with the density of fat.")),
    (_("Right fat"), _("Share of voxels of the right muscle with the density of fat.")),
)
CT, SEGMENTATION = "CT.nrrd", "segmentation.seg.nrrd"  # name no patient


class MeasureSection(CommandSection):
    """Which segmentation; table, chart, picture, and the files of what was measured.

    :param owner: as for `CommandSection`; it has ``inputVolume()``, too: the CT of the panel.
    """

    deepLearning = False
    further = ("matplotlib>=3.9", "scikit-image>=0.24")

    def __init__(self, library: str, owner) -> None:
        super().__init__(library, owner, _("Measure"), _(
            "Size, density and fat of each muscle, and how the sides compare. What you corrected"
            " in the segmentation counts."), _("Measure"))
        self._kept = ""
        self._picture = ""
        self.selector = nodeSelector(
            "vtkMRMLSegmentationNode", _("Segment a CT first"),
            _("What is measured: the result above, corrected or not, or any segmentation whose"
              " segments carry the names of our muscles and bones."))
        self.addRow(_("Segmentation:"), self.selector)
        self.selector.connect("currentNodeChanged(vtkMRMLNode*)", self._onChosen)
        self.table = table(HEADERS)
        self.resultLayout.insertWidget(0, self.table)
        self.chartButton = pushButton(
            _("Show chart"), _("Show the volumes in Slicer's plot view."), self.onChartButton)
        self.saveButton = pushButton(_("Save files..."), "", self.onSaveButton)
        self.pictureButton = pushButton(
            _("Open picture"), _("Open the picture as large as it is."), self.onPictureButton)
        for button in (self.chartButton, self.pictureButton, self.saveButton):
            self.buttonsLayout.addWidget(button)
        self.showMeasured()

    # What the module's widget calls

    def offer(self, segmentationNode) -> None:
        """Measure this one next: there is a new result."""
        if segmentationNode and segmentationNode != self.selector.currentNode():
            self.selector.setCurrentNode(segmentationNode)

    def onSceneClosed(self) -> None:
        self.runner.cancel()
        self._forget()
        self.showMessage("")
        self.showMeasured()

    def cleanup(self) -> None:
        super().cleanup()
        self._forget()

    def _forget(self) -> None:
        """Remove the files of the last measurement, which are the patient's."""
        if self._kept:
            shutil.rmtree(self._kept, ignore_errors=True)
        self._kept = self._picture = ""

    # Start

    def _onChosen(self, node=None) -> None:
        self._forget()
        self.showMessage("")
        self.showMeasured()

    def volume(self):
        """The CT of the chosen segmentation: that of its grid, else that of the panel."""
        node = self.selector.currentNode()
        own = node and node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        return own or self._owner.inputVolume()

    def reasonNotToStart(self) -> str:
        node, volumeNode = self.selector.currentNode(), self.volume()
        if not node:
            return _("Segment a CT first, or choose a segmentation.")
        if not node.GetSegmentation().GetNumberOfSegments():
            return _("The segmentation has no segment.")
        if not volumeNode or not volumeNode.GetImageData():
            return _("Choose the CT of the segmentation above.")
        if node.GetTransformNodeID() != volumeNode.GetTransformNodeID():
            return _("CT and segmentation are under different transforms: put both under the"
                     " same.")
        return ""

    def startToolTip(self) -> str:
        return _("Measure the segmentation on {name}.").format(name=self.volume().GetName())

    def start(self) -> None:
        node, volumeNode = self.selector.currentNode(), self.volume()
        self._forget()
        self._kept = kept = slicer.util.tempDirectory(key="MuscleSeg-measured-")

        def prepare(folder):
            path = os.path.join(folder, SEGMENTATION)
            completeGeometry(node, volumeNode)
            segmentations.writeAsOneLayer(node, path)
            ct = dicom.fileOf(volumeNode)  # so that DICOM objects of its study can be written
            if not ct:
                ct = os.path.join(folder, CT)
                volumes.writeVolume(volumeNode, ct)
            return ["measure", ct, path, "--output", os.path.join(kept, SAVED)]

        def load(manifest):
            if not node.GetScene() or not volumeNode.GetScene():
                raise RuntimeError(_("CT or segmentation is no longer in the scene"))
            measured_nodes.show(
                tables.readRows(fileOf(manifest, "muscles")), node, volumeNode)
            return manifest

        self.runInFolder(prepare, load, self._onFinished)

    def onFailed(self, code: str) -> None:
        self._forget()

    def _onFinished(self, manifest) -> None:
        self._picture = fileOf(manifest, "asymmetry")
        self.showMeasured()
        self.showMessage("\n".join(filter(None, [
            summaryOf(self.measured()), *map(self.spoken, manifest["warnings"])])))

    def spoken(self, sentence: str) -> str:
        """A sentence about our files, about what the scene holds."""
        node, volumeNode = self.selector.currentNode(), self.volume()
        for file, owner in ((SEGMENTATION, node), (CT, volumeNode)):
            if owner:
                sentence = sentence.replace(file, owner.GetName())
        return sentence

    # What came of it

    def measured(self):
        """The table of the chosen segmentation; None where it was not measured."""
        return measured_nodes.measuredOf(self.selector.currentNode())

    def showMeasured(self) -> None:
        """Show what the scene holds of the chosen segmentation."""
        tableNode = self.measured()
        self.resultWidget.visible = tableNode is not None
        if tableNode:
            showRows(self.table, rowsOf(tableNode))
            self.showPicture(self._picture)
        self.check()

    def onChecked(self) -> None:
        kept = bool(self._kept) and not self.runner.running
        self.pictureButton.visible = bool(self._picture)
        self.saveButton.enabled = kept
        self.saveButton.toolTip = _(
            "Save all of this as files: table, picture, meshes and, of a CT from DICOM, a DICOM"
            " segmentation and report.") if kept else _("Measure first: the files are not kept.")

    def onChartButton(self, checked=False) -> None:
        """Show the volumes in Slicer's plot view."""
        if chart := measured_nodes.chartOf(self.measured()):
            slicer.modules.plots.logic().ShowChartInLayout(chart)
        else:
            self.showMessage(_("The chart was removed from the scene: measure again."))

    def onPictureButton(self, checked=False) -> None:
        """Open the picture in the program for such."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._picture))

    def onSaveButton(self, checked=False) -> None:
        """Save the files of what was measured."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the measurements"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The files cannot be written.")):
                self._offerToDatabase(self.save(folder))

    def save(self, folder: str) -> str:
        """Copy the files of what was measured into a new folder; return its path.

        :raises OSError: they cannot be written.
        """
        target, number = os.path.join(folder, SAVED), 1
        while os.path.exists(target):
            number += 1
            target = os.path.join(folder, f"{SAVED}-{number}")
        shutil.copytree(os.path.join(self._kept, SAVED), target)
        self.showMessage(_("Written to {folder}").format(folder=target))
        return target


    def _offerToDatabase(self, folder: str) -> None:
        isDicom = any(name.endswith(".dcm") for name in os.listdir(folder))
        if isDicom and dicom.hasDatabase() and slicer.util.confirmYesNoDisplay(
                _("Add the segmentation and the report to Slicer's DICOM database, beside the"
                  " CT?")):
            with slicer.util.tryWithErrorDisplay(
                    _("The DICOM database did not take the files."), waitCursor=True):
                dicom.addToDatabase(folder)


def completeGeometry(segmentationNode, volumeNode) -> None:
    """Give a segmentation without a grid that of its image."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    if not segmentationNode.GetSegmentation().GetConversionParameter(name):
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def rowsOf(tableNode) -> list:
    """A line for each structure, both sides in one."""
    rows = []
    for structure, sides in measured_nodes.pairs(tableNode).items():
        left, right = sides.get("left"), sides.get("right") or sides.get("")
        lines = [line for line in (left, right) if line]
        differ = lines[0][measured_nodes.ASYMMETRY]
        cutOff = any(line["Cut off"] for line in lines)
        values = [
            f"{structure} *" if cutOff else structure,
            *(fixed(line[measured_nodes.VOLUME], 1) if line else "" for line in (left, right)),
            percent(differ / 100),
            *(percent(line[measured_nodes.FAT]) if line else "" for line in (left, right)),
        ]
        remarks = dict.fromkeys(line[measured_nodes.REMARK] for line in lines)
        toolTip = "\n".join(filter(None, [*(_("{side}: {hu} HU").format(
            side=line[measured_nodes.SIDE] or structure,
            hu=fixed(line[measured_nodes.DENSITY], 0)) for line in lines), *remarks]))
        rows.append(TableRow(values, toolTip))
    return rows


def summaryOf(tableNode) -> str:
    """The largest difference of the sides, in a sentence."""
    structure, value = measured_nodes.largestAsymmetry(tableNode)
    if not structure:
        return _("No structure has both sides wholly in the scan.")
    return _("The sides differ most in volume at {structure}: {value} %.").format(
        structure=structure, value=round(value))
