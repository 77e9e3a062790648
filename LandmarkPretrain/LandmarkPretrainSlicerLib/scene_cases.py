# SPDX-License-Identifier: Apache-2.0
"""Cases in the scene: images with their landmarks, whose names match, and the list of them."""

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import results, volumes

from . import points

LIST = "list.json"
SIMULATED = "ReadingRoom.Simulated"
"""Attribute of a volume node, or key in the header of a NRRD file: the image shows no patient."""
_HEADER_BYTES = 65_536


@dataclass
class SceneCase:
    """An image of the scene, its points, and a word that stands for the patient."""

    volume: object
    markups: object
    patient: str

    @property
    def isThere(self) -> bool:
        """Whether both are in the scene still."""
        return bool(self.volume.GetScene() and self.markups.GetScene())


def volumesOfScene() -> list:
    """The images of the scene."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetImageData() and not node.IsA("vtkMRMLLabelMapVolumeNode")]


def isSimulated(volumeNode) -> bool:
    """Whether an image is marked as simulated: its node, or the NRRD file that it came from.

    Slicer's general reader takes no key of the header over to the node.
    """
    if volumeNode.GetAttribute(SIMULATED):
        return True
    storageNode = volumeNode.GetStorageNode()
    path = storageNode.GetFullNameFromFileName() if storageNode else ""
    if not (path and os.path.isfile(path)):
        return False
    with open(path, "rb") as file:
        start = file.read(_HEADER_BYTES)
    return start.startswith(b"NRRD") and f"\n{SIMULATED}:=".encode() in start.replace(
        b"\r", b"").partition(b"\n\n")[0]


def pairsOfScene() -> list:
    """Pairs of image and list of points that belong together."""
    found = []
    for markupsNode in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        if points.placed(markupsNode):
            if volumeNode := volumeOf(markupsNode):
                found.append((volumeNode, markupsNode))
    return found


def volumeOf(markupsNode):
    """The image that points belong to: on which they were placed, that lies with them in a study or
    folder, or whose name theirs begins with; None where that is not clear."""
    candidates = volumesOfScene()
    byId = {node.GetID(): node for node in candidates}
    placedOn = Counter(markupsNode.GetNthControlPointAssociatedNodeID(number)
                       for number in points.placed(markupsNode))
    for nodeId, _count in placedOn.most_common():
        if nodeId in byId:
            return byId[nodeId]
    beside = [node for node in candidates if _parent(node) == _parent(markupsNode)]
    if len(beside) == 1 and _parent(markupsNode) != _hierarchy().GetSceneItemID():
        return beside[0]
    named = [node for node in candidates if _begins(markupsNode.GetName(), node.GetName())]
    return max(named, key=lambda node: len(node.GetName())) if named else None


def _begins(name: str, start: str) -> bool:
    """Whether a name is another one, alone or with more behind it: not "case 10" for "case 1"."""
    return name.startswith(start) and not name[len(start):len(start) + 1].isalnum()


def _hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _parent(node) -> int:
    hierarchy = _hierarchy()
    return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))


def patientOf(volumeNode, cases) -> str:
    """A number for the patient of an image: that of another image of the same one, or a new one."""
    subject = _subject(volumeNode)
    for case in cases:
        if case.volume == volumeNode or (subject and _subject(case.volume) == subject):
            return case.patient
    taken = {case.patient for case in cases}
    return next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)


def _subject(volumeNode) -> int:
    """The patient's item in the subject hierarchy; 0 where there is none."""
    hierarchy = _hierarchy()
    return hierarchy.GetItemAncestorAtLevel(
        hierarchy.GetItemByDataNode(volumeNode),
        slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient())


def commonNames(cases) -> tuple:
    """In how many cases a landmark is, by how it is written first; and the same for each case.

    :return: two things: counts by name, and for each case how many of its names all have.
    """
    from LandmarkPretrainLib.landmark_files import key_of

    spelling, keys = {}, []
    for case in cases:
        names = points.namesOf(case.markups)
        keys.append({key_of(name) for name in names})
        for name in names:
            spelling.setdefault(key_of(name), name)
    counts = Counter(key for found in keys for key in found)
    everywhere = {key for key, count in counts.items() if count == len(cases)}
    return ({spelling[key]: counts[key] for key in spelling},
            [len(found & everywhere) for found in keys])


def namesSentence(cases) -> str:
    """Which landmarks the cases have in common, in a sentence or two."""
    if not cases:
        return ""
    counts, _common = commonNames(cases)
    everywhere = sum(count == len(cases) for count in counts.values())
    sentence = _("{count} landmarks are in all {cases} cases.").format(
        count=everywhere, cases=len(cases))
    some = sorted((count, name) for name, count in counts.items() if count < len(cases))
    if some:
        shown = ", ".join(f"{name} ({count})" for count, name in some[:6])
        sentence += " " + _("{count} are only in some: {names}").format(
            count=len(some), names=shown) + (", ..." if len(some) > 6 else ".")
    return sentence


def writeList(cases, folder: str, name: str) -> str:
    """Write images, points and the list of them into a new folder; nothing stays on failure.

    The list says when some of the images are simulated.

    :return: path of the list.
    :raises FileExistsError: there is a folder of this name.
    :raises RuntimeError: an image cannot be written.
    """
    target = os.path.join(folder, name)
    os.makedirs(target)
    try:
        entries = []
        for number, case in enumerate(cases, 1):
            image, landmarks = _imageFile(number), f"case-{number:03}.mrk.json"
            volumes.writeVolume(case.volume, os.path.join(target, image))
            points.write(case.markups, case.volume, os.path.join(target, landmarks))
            entries.append({"image": image, "landmarks": landmarks, "patient": case.patient})
        content = {"simulated": True} if any(isSimulated(case.volume) for case in cases) else {}
        path = os.path.join(target, LIST)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content | {"training": entries}, file, indent=1)
    except Exception:
        shutil.rmtree(target)
        raise
    return path


def _imageFile(number: int) -> str:
    return f"case-{number:03}.nrrd"  # names no patient


def withNames(sentence: str, cases) -> str:
    """A sentence about the files of a list, about the images of the scene."""
    for number, case in enumerate(cases, 1):
        sentence = sentence.replace(_imageFile(number), case.volume.GetName())
    return sentence


def checkList(path: str) -> list:
    """What the program that learns from a list would warn of.

    :return: sentences.
    :raises ReadingRoomError: it would refuse the list.
    """
    from LandmarkPretrainLib.landmark_cases import read_cases
    from ReadingRoomLib.datalists import content_of

    simulated = [_("Some images are simulated; what is learned from this list says so.")] if (
        content_of(Path(path)).get("simulated")) else []
    return simulated + read_cases(path, "other", least_patients=1).warnings


def loadDerived(manifest, volumeNode, segmentationNode):
    """Put the landmarks that a segmentation gave into the scene, where the image is.

    They were derived in the segmentation's own coordinates.
    """
    markupsNode = results.nodeFor("vtkMRMLMarkupsFiducialNode",
                                  _("{name} landmarks").format(name=volumeNode.GetName()))
    points.read(markupsNode, os.path.join(manifest["folder"], manifest["files"]["landmarks"]),
                volumeNode)
    volumes.placeWith(markupsNode, volumeNode)
    markupsNode.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    return markupsNode
