# SPDX-License-Identifier: Apache-2.0
"""A case under review in the scene: its image, the labels to correct, and what is doubtful."""

import os
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import segmentations, views, volumes

REVIEW = "MuscleSeg.review"
"""Attribute of a segmentation under review: of which queue and case it is."""

MARKS = "MuscleSeg.marks"  # role of the reference to what is doubtful
MARKED = "to_review"
MARK_COLOR = (255, 230, 0)
MARK_THICKNESS = 3  # pixels of the screen
EDITOR, EDITOR_CLASS = "SegmentEditor", "vtkMRMLSegmentEditorNode"


@dataclass
class OpenedCase:
    """The nodes of a case under review.

    case - its name.
    volume, segmentation - the image, and the labels that are corrected.
    marks - the doubtful pixels, outlined; None when the user removed them.
    changed - time of the last change of the labels that is kept in a file.
    """

    case: str
    volume: object
    segmentation: object
    marks: object
    changed: int = 0

    @property
    def isThere(self) -> bool:
        """Whether what is needed is in the scene still."""
        return bool(self.volume.GetScene() and self.segmentation.GetScene())

    @property
    def isChanged(self) -> bool:
        """Whether there are corrections that are in no file yet."""
        return self.isThere and self._lastChange() > self.changed

    def keepChanges(self) -> None:
        """The labels are in a file now as they are."""
        self.changed = self._lastChange()

    def _lastChange(self) -> int:
        # a segmentation itself does not notice when voxels of its segments change
        segmentation = self.segmentation.GetSegmentation()
        labelmaps = [segmentation.GetSegment(segmentId).GetRepresentation("Binary labelmap")
                     for segmentId in segmentation.GetSegmentIDs()]
        return max([segmentation.GetMTime(), *(one.GetMTime() for one in labelmaps if one)])

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        for node in (self.marks, self.segmentation, self.volume):
            if node and node.GetScene():
                slicer.mrmlScene.RemoveNode(node)


def openCase(key: str, case: str, image: str, labels: str, marks: str) -> OpenedCase:
    """Load a case of the pool.

    :param key: of the queue.
    :param image: file, or folder of a DICOM series.
    :param labels: .seg.nrrd file with what is to be corrected.
    :param marks: label map of what is doubtful, 1, on the grid of the image.
    :raises RuntimeError: one of them cannot be read.
    """
    nodes = []
    try:
        nodes.append(_loadImage(image))
        nodes.append(_newSegmentation(_("Review of {case}").format(case=case)))
        segmentations.readSegmentation(nodes[1], labels, nodes[0])
        nodes.append(_newSegmentation(_("Doubtful in {case}").format(case=case)))
        segmentations.readLabels(
            nodes[2], marks, {1: (MARKED, _("To review"), MARK_COLOR)}, nodes[0])
    except Exception:
        for node in nodes:
            slicer.mrmlScene.RemoveNode(node)
        raise
    volumeNode, segmentationNode, marksNode = nodes
    segmentationNode.GetDisplayNode().SetOpacity2DFill(0.35)
    segmentationNode.SetAttribute(REVIEW, f"{key}/{case}")
    segmentationNode.SetNodeReferenceID(MARKS, marksNode.GetID())
    _showAsOutline(marksNode)
    for node in nodes[1:]:
        volumes.placeWith(node, volumeNode)
    opened = OpenedCase(case, *nodes)
    opened.keepChanges()
    return opened


def caseOfScene(key: str, case: str):
    """A case that is in the scene already, as after a scene file was loaded; None otherwise."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetAttribute(REVIEW) == f"{key}/{case}":
            volumeNode = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
            if volumeNode:
                return OpenedCase(case, volumeNode, node, node.GetNodeReference(MARKS))
    return None


def _newSegmentation(name: str):
    return slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))


def _loadImage(path: str):
    name = os.path.basename(path)
    if os.path.isdir(path):  # Slicer's reader takes the series that a file belongs to
        path = _dicomFileIn(path)
    try:
        return slicer.util.loadVolume(
            path, {"name": name.partition(".")[0], "singleFile": False, "show": False})
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            _("The image {name} of the pool cannot be read.").format(name=name)) from error


def _dicomFileIn(folder: str) -> str:
    from ReadingRoomLib.volume_files import file_format

    files = sorted(path for path in Path(folder).iterdir()
                   if path.is_file() and not path.name.startswith("."))
    return str(next((path for path in files if file_format(path) == "DICOM"), folder))


def _showAsOutline(marksNode) -> None:
    displayNode = marksNode.GetDisplayNode()
    displayNode.SetVisibility2DFill(False)
    displayNode.SetVisibility2DOutline(True)
    displayNode.SetSliceIntersectionThickness(MARK_THICKNESS)
    displayNode.SetVisibility3D(False)


def show(opened: OpenedCase, position) -> None:
    """Show a case in the slice views, at a slice, and let Slicer's Segment Editor edit it.

    :param position: in the slice, LPS, mm.
    """
    views.showBackground(opened.volume)
    left, posterior, superior = position
    views.jumpTo(volumes.toWorld(opened.volume, (-left, -posterior, superior)))
    editor = editorNode()
    editor.SetAndObserveSegmentationNode(opened.segmentation)
    editor.SetAndObserveSourceVolumeNode(opened.volume)


def editorNode():
    """The node of Slicer's Segment Editor module, which takes it when it is opened."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR, EDITOR_CLASS)
    if not node:
        node = slicer.mrmlScene.CreateNodeByClass(EDITOR_CLASS)
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR)
        node = slicer.mrmlScene.AddNode(node)
    return node


def openEditor() -> None:
    """Open Slicer's Segment Editor module."""
    slicer.util.selectModule(EDITOR)


def save(opened: OpenedCase, path: Path) -> None:
    """Write the labels of a case; what was there is replaced when they are written whole.

    :raises RuntimeError, OSError: they cannot be written.
    """
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    try:
        segmentations.writeAsOneLayer(opened.segmentation, str(unfinished))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    opened.keepChanges()
