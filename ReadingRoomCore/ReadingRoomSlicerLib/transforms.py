# SPDX-License-Identifier: Apache-2.0
"""Transforms between the scene and files.

Slicer's node holds how an image moves; a file of ITK (.h5) holds the way back, from the points of
the fixed image to those of the moving one, in LPS. Slicer's own storage turns one into the other.
Transforms above the node stay out, as with volumes.
"""

import os

import slicer
import vtk

GRID_MM = 4.0
"""Distance of the displacements that stand for a deformation which has no file format."""


def readTransform(transformNode, path: str) -> None:
    """Read a transform for resampling; the node then moves the moving image onto the fixed one.

    :raises RuntimeError: when it cannot be read.
    """
    storageNode = slicer.vtkMRMLTransformStorageNode()
    storageNode.SetFileName(path)
    if not storageNode.ReadData(transformNode):
        raise RuntimeError(f"The transform {os.path.basename(path)} could not be read.")


def writeTransform(transformNode, path: str, fixedVolume=None) -> None:
    """Write a transform for resampling the moving image onto the fixed one.

    :param fixedVolume: where the transform is needed.
    :raises RuntimeError: when it cannot be written.
    """
    if fixedVolume and not _canBeWritten(transformNode):
        transformNode = _asGrid(transformNode, fixedVolume)
    storageNode = slicer.vtkMRMLTransformStorageNode()
    storageNode.SetFileName(path)
    if not storageNode.WriteData(transformNode):
        raise RuntimeError(
            f"The transform '{transformNode.GetName()}' could not be written to {path}.")


def _canBeWritten(transformNode) -> bool:
    """Whether a file can hold it: ITK has no inverse of a deformation, nor thin plates as ours."""
    ready = transformNode.GetTransformFromParentAs("vtkAbstractTransform", False, True)
    return transformNode.IsLinear() or (
        ready is not None and not ready.IsA("vtkThinPlateSplineTransform"))


def _asGrid(transformNode, fixedVolume):
    """The transform as displacements on a grid over an image; a node of no scene."""
    bounds = [0.0] * 6
    fixedVolume.GetRASBounds(bounds)
    lengths = [bounds[2 * axis + 1] - bounds[2 * axis] for axis in range(3)]
    image = vtk.vtkImageData()
    image.SetDimensions([int(length / GRID_MM) + 2 for length in lengths])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    grid = slicer.vtkMRMLScalarVolumeNode()
    grid.SetAndObserveImageData(image)
    grid.SetSpacing(GRID_MM, GRID_MM, GRID_MM)
    grid.SetOrigin(*bounds[::2])
    converted = slicer.vtkMRMLTransformNode()
    converted.SetName(transformNode.GetName())
    slicer.modules.transforms.logic().ConvertToGridTransform(transformNode, grid, converted)
    return converted
