# SPDX-License-Identifier: Apache-2.0
"""Segmentations between the scene and files, and where a structure lies."""

import os

import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from . import volumes


def readSegmentation(segmentationNode, path: str, volumeNode) -> None:
    """Replace the segments of a node by those of a .seg.nrrd file.

    The node keeps no link to the file; its grid is that of the image.

    :raises RuntimeError: when it cannot be read.
    """
    segmentationNode.GetSegmentation().RemoveAllSegments()
    storageNode = slicer.vtkMRMLSegmentationStorageNode()
    storageNode.SetFileName(path)
    if not storageNode.ReadData(segmentationNode):
        raise RuntimeError(f"The segmentation {os.path.basename(path)} could not be read.")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentationNode.CreateDefaultDisplayNodes()


def readLabels(segmentationNode, path: str, segments: dict, volumeNode) -> None:
    """Replace the segments of a node by the labels of a NRRD file.

    :param segments: ID, name and colour (red, green, blue, 0 to 255) by label value.
    :param volumeNode: its grid becomes that of the segmentation.
    :raises RuntimeError: when it cannot be read.
    """
    labelNode = slicer.vtkMRMLLabelMapVolumeNode()
    volumes.readVolume(labelNode, path)
    labelmap = slicer.vtkOrientedImageData()
    labelmap.ShallowCopy(labelNode.GetImageData())
    matrix = vtk.vtkMatrix4x4()
    labelNode.GetIJKToRASMatrix(matrix)
    labelmap.SetGeometryFromImageToWorldMatrix(matrix)
    segmentation = segmentationNode.GetSegmentation()
    segmentation.RemoveAllSegments()
    for value, (segmentId, name, color) in segments.items():
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor([part / 255 for part in color])
        segment.AddRepresentation("Binary labelmap", labelmap)  # one for all: they do not overlap
        segment.SetLabelValue(value)
        segmentation.AddSegment(segment, segmentId)
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentationNode.CreateDefaultDisplayNodes()


def writeSegmentation(segmentationNode, path: str, segmentIds=None) -> None:
    """Write a .seg.nrrd file without changing how and where the node itself is stored.

    :param segmentIds: the segments to write; None for all.
    :raises RuntimeError: when it cannot be written.
    """
    if segmentIds is not None:
        segmentationNode = _partOf(segmentationNode, segmentIds)
    storageNode = slicer.vtkMRMLSegmentationStorageNode()
    storageNode.SetFileName(path)
    if not storageNode.WriteData(segmentationNode):
        raise RuntimeError(f"The segmentation could not be written to {path}.")


def writeAsOneLayer(segmentationNode, path: str) -> None:
    """Write a .seg.nrrd file in which no segments overlap: of those that do, the later one counts.

    :raises RuntimeError: when it cannot be written.
    """
    part = _partOf(segmentationNode, segmentationNode.GetSegmentation().GetSegmentIDs())
    part.SetSourceRepresentationToBinaryLabelmap()
    part.GetSegmentation().CollapseBinaryLabelmaps(True)
    writeSegmentation(part, path)


def _partOf(segmentationNode, segmentIds):
    """Some of the segments; a node of no scene."""
    part = slicer.vtkMRMLSegmentationNode()
    segmentation = part.GetSegmentation()
    for segmentId in segmentIds:
        segmentation.CopySegmentFromSegmentation(segmentationNode.GetSegmentation(), segmentId)
    geometry = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.SetConversionParameter(
        geometry, segmentationNode.GetSegmentation().GetConversionParameter(geometry))
    return part


def writeLabels(segmentationNode, values: dict, volumeNode, path: str) -> None:
    """Write segments as one label map on the grid of an image.

    :param values: label value, up to 255, by segment ID; other segments are left out.
    :raises RuntimeError: when it cannot be written.
    """
    import numpy as np

    labels = np.zeros(slicer.util.arrayFromVolume(volumeNode).shape, np.uint8)
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        if segmentId in values:
            labels[slicer.util.arrayFromSegmentBinaryLabelmap(
                segmentationNode, segmentId, volumeNode) > 0] = values[segmentId]
    labelNode = slicer.vtkMRMLLabelMapVolumeNode()
    labelNode.CopyOrientation(volumeNode)
    image = vtk.vtkImageData()
    image.SetDimensions(labels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(labels.ravel(), array_type=vtk.VTK_UNSIGNED_CHAR))
    labelNode.SetAndObserveImageData(image)
    volumes.writeVolume(labelNode, path)


def pointInside(segmentationNode, segmentId: str):
    """A point to look at: inside the structure, in the slice where it is largest.

    :returns: world coordinates (RAS, mm), or None when the segment is empty.

    The centre of a pair, or of a curved structure, lies outside of it; this point does not.
    """
    import numpy as np

    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    labelmap = segment.GetRepresentation("Binary labelmap") if segment else None
    if not labelmap or not labelmap.GetNumberOfPoints():
        return None
    columns, rows, slices = labelmap.GetDimensions()
    voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(slices, rows, columns)
    inside = voxels == segment.GetLabelValue()
    areas = inside.sum(axis=(1, 2))
    if not areas.any():
        return None
    k = int(areas.argmax())
    points = np.argwhere(inside[k])
    distances = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    j, i = points[distances.argmin()]
    return _toWorld(segmentationNode, labelmap, (int(i), int(j), k))


def _toWorld(segmentationNode, labelmap, index):
    extent = labelmap.GetExtent()
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    ijk = [position + extent[2 * axis] for axis, position in enumerate(index)]
    local = matrix.MultiplyPoint([*ijk, 1.0])[:3]
    world = [0.0, 0.0, 0.0]
    segmentationNode.TransformPointToWorld(local, world)
    return tuple(world)
