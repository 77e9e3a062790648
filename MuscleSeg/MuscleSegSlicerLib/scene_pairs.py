# SPDX-License-Identifier: Apache-2.0
"""Images of the scene with their segmentations, and the list of them, to learn from or measure on.

No file is named after a patient, and a patient is a number.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import segmentations, volumes

from .measure_section import completeGeometry

LIST = "datalist.json"
SIMULATED = "ReadingRoom.Simulated"
"""Attribute of a volume node: the image shows no patient."""


@dataclass
class ScenePair:
    """A segmentation of the scene, its image, and a word that stands for the patient.

    volume - None where the scene does not tell which image the segmentation is of.
    known - how many of its segments carry the name of one of our structures.
    """

    segmentation: object
    volume: object
    known: int
    patient: str

    @property
    def isThere(self) -> bool:
        """Whether both are in the scene still."""
        return bool(self.segmentation.GetScene() and self.volume and self.volume.GetScene())

    def reason(self) -> str:
        """Why it cannot be used, in a sentence; empty when it can."""
        if not self.volume or not self.volume.GetImageData():
            return _("Its image is not known: choose the source volume of the segmentation in the"
                     " Segment Editor.")
        if not self.known:
            return _("None of its segments carries the name of one of our muscles or bones.")
        if self.segmentation.GetTransformNodeID() != self.volume.GetTransformNodeID():
            return _("Image and segmentation are under different transforms: put both under the"
                     " same.")
        return ""


def pairsOfScene() -> list:
    """All segmentations of the scene with their images, as `ScenePair`."""
    found = []
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        content = node.GetSegmentation()
        if content.GetNumberOfSegments() and not node.GetHideFromEditors():
            volumeNode = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
            found.append(ScenePair(node, volumeNode, _known(content), _patient(volumeNode, found)))
    return found


def _known(content) -> int:
    """How many segments have a name that is understood, ours or of a program that we know."""
    from MuscleSegLib.label_names import ready_tables, understand

    names = {number: (segmentId, content.GetSegment(segmentId).GetName())
             for number, segmentId in enumerate(content.GetSegmentIDs(), 1)}
    return len(understand(names, ready_tables(), "").known)


def _patient(volumeNode, pairs) -> str:
    """A number: that of another image of the same patient, or a new one."""
    subject = _subject(volumeNode) if volumeNode else 0
    for pair in pairs:
        if pair.volume and volumeNode and (
                pair.volume == volumeNode or (subject and _subject(pair.volume) == subject)):
            return pair.patient
    taken = {pair.patient for pair in pairs}
    return next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)


def _subject(volumeNode) -> int:
    """The patient's item in the subject hierarchy; 0 where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemAncestorAtLevel(
        hierarchy.GetItemByDataNode(volumeNode),
        slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient())


def writeList(pairs, folder: str, name: str, simulated: bool = False) -> str:
    """Write images, segmentations and the list of them into a new folder; on failure none stays.

    :param simulated: whether images are; where their nodes say so, they are in any case.
    :return: path of the list.
    :raises FileExistsError: there is a folder of this name.
    :raises RuntimeError: an image or a segmentation cannot be written.
    """
    target = os.path.join(folder, name)
    os.makedirs(target)
    try:
        entries = []
        for number, pair in enumerate(pairs, 1):
            image, labels = _imageFile(number), f"case-{number:03}.seg.nrrd"
            volumes.writeVolume(pair.volume, os.path.join(target, image))
            completeGeometry(pair.segmentation, pair.volume)
            segmentations.writeAsOneLayer(pair.segmentation, os.path.join(target, labels))
            entries.append({"image": image, "segmentation": labels, "patient": pair.patient})
        simulated = simulated or any(pair.volume.GetAttribute(SIMULATED) for pair in pairs)
        path = os.path.join(target, LIST)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(({"simulated": True} if simulated else {}) | {"training": entries}, file,
                      indent=1)
    except Exception:
        shutil.rmtree(target)
        raise
    return path


def checkList(path: str) -> int:
    """How many patients a list has.

    :raises ReadingRoomError: a program that learns from it would refuse it.
    """
    from ReadingRoomLib.datalists import read_pairs

    parts = read_pairs(Path(path), "segmentation")
    return len({pair.patient for pairs in parts.values() for pair in pairs})


def _imageFile(number: int) -> str:
    return f"case-{number:03}.nrrd"
