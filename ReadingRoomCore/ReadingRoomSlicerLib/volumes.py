# SPDX-License-Identifier: Apache-2.0
"""Volumes between the scene and files, and maps of numbers over an image.

Files hold the volume in its own coordinates (its IJK to RAS matrix, written as LPS). A transform
above the volume stays out of them: results are put under the same transform, so they lie where
the image lies, whatever kind of transform it is.
"""

import os

import slicer
import vtk

UNCERTAINTY_TABLE = "Uncertainty"


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


def _hierarchyItem(hierarchy, node):
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), node)


def modality(volumeNode) -> str:
    """DICOM modality of a volume loaded from DICOM, such as ``CT``; empty when unknown."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemAttribute(_hierarchyItem(hierarchy, volumeNode), "DICOM.Modality")


def showAsUncertainty(volumeNode, threshold: float, maximum: float) -> None:
    """Colour a map of values from 0 to 1 and make it transparent where values are low.

    :param threshold: values below it are not drawn.
    :param maximum: values from it on have the last colour.
    """
    volumeNode.CreateDefaultDisplayNodes()
    displayNode = volumeNode.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(uncertaintyColors().GetID())
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(0.0, maximum)
    displayNode.AutoThresholdOff()
    displayNode.SetThreshold(threshold, 1.0)
    displayNode.ApplyThresholdOn()
    displayNode.SetInterpolate(True)


def uncertaintyColors():
    """The colour table of uncertainty maps: made once per scene, saved and restored with it."""
    existing = slicer.mrmlScene.GetFirstNode(
        UNCERTAINTY_TABLE, "vtkMRMLColorTableNode", False, True)
    if existing:
        return existing
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", UNCERTAINTY_TABLE)
    colors.SetTypeToUser()
    colors.SetNumberOfColors(256)
    ramp = vtk.vtkColorTransferFunction()
    ramp.SetColorSpaceToLab()
    # Dark violet over magenta and orange to pale yellow: even in brightness, safe for colour-blind
    # readers, and none of the colours of bone or soft tissue in a grey image.
    for value, color in ((0.0, (0.28, 0.06, 0.47)), (0.35, (0.72, 0.21, 0.47)),
                         (0.7, (0.98, 0.55, 0.24)), (1.0, (0.98, 0.99, 0.65))):
        ramp.AddRGBPoint(value, *color)
    for index in range(256):
        value = index / 255
        colors.SetColor(index, f"{value:.2f}", *ramp.GetColor(value), 1.0)
    return colors
