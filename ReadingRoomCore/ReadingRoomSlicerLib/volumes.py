# SPDX-License-Identifier: Apache-2.0
"""Volumes between the scene and files, and maps of numbers over an image.

Files hold the volume in its own coordinates (its IJK to RAS matrix, written as LPS). A transform
above the volume stays out of them: results are put under the same transform, so they lie where
the image lies, whatever kind of transform it is.
"""

import os

import slicer

from . import colors


def writeVolume(volumeNode, path: str) -> None:
    """Write a volume without changing how and where the node itself is stored.

    :raises RuntimeError: when it cannot be written.
    """
    storageNode = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storageNode.SetFileName(path)
    storageNode.SetUseCompression(0)
    if not storageNode.WriteData(volumeNode):
        raise RuntimeError(f"The volume '{volumeNode.GetName()}' could not be written to {path}.")


def readVolume(volumeNode, path: str) -> None:
    """Read image and geometry of a NRRD file into a node, which stays independent of the file.

    :raises RuntimeError: when it cannot be read.
    """
    # Unlike the general reader it keeps the order of the slices of a left-handed grid, so that
    # the voxels correspond to those of the image one by one.
    storageNode = slicer.vtkMRMLNRRDStorageNode()
    storageNode.SetFileName(path)
    if not storageNode.ReadData(volumeNode):
        raise RuntimeError(f"The volume {os.path.basename(path)} could not be read.")


def placeWith(node, volumeNode) -> None:
    """Put a result where its image is: under its transform, in its study or folder."""
    if node.IsA("vtkMRMLTransformableNode"):
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemParent(
        _hierarchyItem(hierarchy, node),
        hierarchy.GetItemParent(_hierarchyItem(hierarchy, volumeNode)))


def toWorld(volumeNode, point) -> tuple:
    """A point of a volume's own coordinates (RAS, mm) in those of the world."""
    world = [0.0, 0.0, 0.0]
    volumeNode.TransformPointToWorld(point, world)
    return tuple(world)


def planeOfSlices(volumeNode) -> str:
    """The plane in which an image was taken, the nearest: ``Axial``, ``Coronal`` or ``Sagittal``.

    Slices are stacked along the axis with the thickest voxels, which for cubes is the third.
    """
    spacing = volumeNode.GetSpacing()
    axis = max(range(3), key=lambda number: (round(spacing[number], 3), number))
    direction = [[0.0] * 3 for _row in range(3)]
    volumeNode.GetIJKToRASDirections(direction)
    along = [abs(row[axis]) for row in direction]
    return ("Sagittal", "Coronal", "Axial")[along.index(max(along))]


def _hierarchyItem(hierarchy, node):
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), node)


def modality(volumeNode) -> str:
    """DICOM modality of a volume loaded from DICOM, such as ``CT``; empty when unknown."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemAttribute(_hierarchyItem(hierarchy, volumeNode), "DICOM.Modality")


def studyDate(volumeNode) -> str:
    """Date of the DICOM study of a volume, YYYYMMDD; empty when unknown."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    return hierarchy.GetAttributeFromItemAncestor(
        _hierarchyItem(hierarchy, volumeNode), constants.GetDICOMStudyDateAttributeName(),
        constants.GetDICOMLevelStudy())


def ofDifferentPatients(volumeNode, otherNode) -> bool:
    """Whether the DICOM patient numbers of two volumes are known and differ."""
    numbers = [_patientNumber(node) for node in (volumeNode, otherNode)]
    return all(numbers) and numbers[0] != numbers[1]


def _patientNumber(volumeNode) -> str:
    """DICOM patient number (PatientID); empty when unknown."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    item = _hierarchyItem(hierarchy, volumeNode)
    number = hierarchy.GetAttributeFromItemAncestor(
        item, constants.GetDICOMPatientIDAttributeName(), constants.GetDICOMLevelPatient()).strip()
    study = hierarchy.GetItemAncestorAtLevel(item, constants.GetDICOMLevelStudy())
    # Slicer makes one up from the study where the files hold none.
    if study and number == f"Patient-{hierarchy.GetItemUID(study, constants.GetDICOMUIDName())}":
        return ""
    return number


def showAsUncertainty(volumeNode, threshold: float, maximum: float) -> None:
    """Colour a map of values from 0 to 1 and make it transparent where values are low.

    :param threshold: values below it are not drawn.
    :param maximum: values from it on have the last colour.
    """
    volumeNode.CreateDefaultDisplayNodes()
    displayNode = volumeNode.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(colors.uncertaintyColors().GetID())
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(0.0, maximum)
    displayNode.AutoThresholdOff()
    displayNode.SetThreshold(threshold, 1.0)
    displayNode.ApplyThresholdOn()
    displayNode.SetInterpolate(True)


def showAsChange(volumeNode, threshold: float) -> None:
    """Colour a map of changes (z): green denser, orange thinner, nothing below a threshold.

    All such maps of a scene have the threshold of the last call.
    """
    volumeNode.CreateDefaultDisplayNodes()
    displayNode = volumeNode.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(colors.changeColors(threshold).GetID())
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(-colors.LARGEST_CHANGE, colors.LARGEST_CHANGE)
    displayNode.SetInterpolate(True)


def copyWindowLevel(volumeNode, otherNode) -> None:
    """Give an image the brightness and contrast of another."""
    display, other = volumeNode.GetDisplayNode(), otherNode.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(other.GetWindowLevelMin(), other.GetWindowLevelMax())
