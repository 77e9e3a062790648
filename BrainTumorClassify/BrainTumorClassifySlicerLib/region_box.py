# SPDX-License-Identifier: Apache-2.0
"""The region of interest between the scene and files: a box, or a segment."""

import json

import slicer
import vtk
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import segmentations

NEW_BOX_MM = 50.0
HANDLE_SIZE = 2.0
COLOR = (1.0, 0.77, 0.0)  # as on the answer page


def isSegmentation(regionNode) -> bool:
    return bool(regionNode) and regionNode.IsA("vtkMRMLSegmentationNode")


def segmentsOf(segmentationNode) -> list:
    """Pairs of ID and name of the segments of a segmentation, or of None."""
    if not segmentationNode:
        return []
    segmentation = segmentationNode.GetSegmentation()
    return [(segmentId, segmentation.GetSegment(segmentId).GetName())
            for segmentId in segmentation.GetSegmentIDs()]


def newBox(name: str):
    """Add a box in the middle of what the red slice view shows, to be moved by its handles."""
    sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    matrix = sliceNode.GetSliceToRAS()
    boxNode = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLMarkupsROINode", slicer.mrmlScene.GenerateUniqueName(name))
    boxNode.CreateDefaultDisplayNodes()
    boxNode.SetSize(NEW_BOX_MM, NEW_BOX_MM, NEW_BOX_MM)
    boxNode.SetCenter(*(matrix.GetElement(row, 3) for row in range(3)))
    letBeMoved(boxNode, True)
    return boxNode


def letBeMoved(boxNode, handles: bool) -> None:
    """Show a box in its colour, with handles to move it or without."""
    displayNode = boxNode.GetDisplayNode()
    displayNode.SetSelectedColor(*COLOR)
    displayNode.SetColor(*COLOR)
    displayNode.SetFillOpacity(0.0)
    displayNode.SetPropertiesLabelVisibility(False)
    displayNode.SetHandlesInteractive(handles)
    displayNode.SetGlyphScale(HANDLE_SIZE if handles else 0.2)  # its middle hides what is there


def write(regionNode, segmentId: str, volumeNode, folder) -> str:
    """Write a region for the command, in the coordinates of a volume's own file.

    :param regionNode: box or segmentation.
    :param segmentId: which segment holds the tumour.
    :param volumeNode: the image that the region is on.
    :return: path of the file.
    :raises RuntimeError: when it cannot be written.
    """
    import os

    if isSegmentation(regionNode):
        path = os.path.join(folder, "region.nrrd")
        segmentations.writeLabels(regionNode, {segmentId: 1}, volumeNode, path)
        return path
    path = os.path.join(folder, "region.mrk.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"markups": [_boxIn(regionNode, volumeNode)]}, file)
    return path


def _boxIn(boxNode, volumeNode) -> dict:
    """A box in the coordinates of a volume, as a markups file has it."""
    import numpy as np

    toVolume = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        boxNode.GetParentTransformNode(), volumeNode.GetParentTransformNode(), toVolume)
    matrix = (slicer.util.arrayFromVTKMatrix(toVolume)
              @ slicer.util.arrayFromVTKMatrix(boxNode.GetObjectToNodeMatrix()))
    scales = np.linalg.norm(matrix[:3, :3], axis=0)
    return {"type": "ROI", "coordinateSystem": "RAS", "center": matrix[:3, 3].tolist(),
            "orientation": (matrix[:3, :3] / scales).ravel().tolist(),
            "size": (scales * np.array(boxNode.GetSize())).tolist()}


def read(boxNode, path: str) -> None:
    """Make a box that of a markups file, without a link to the file.

    :raises RuntimeError: when it cannot be read.
    """
    storageNode = slicer.vtkMRMLMarkupsROIJsonStorageNode()
    storageNode.SetFileName(path)
    if not storageNode.ReadData(boxNode):
        raise RuntimeError(_("The region of the result could not be read."))
    boxNode.CreateDefaultDisplayNodes()
    letBeMoved(boxNode, False)
