# SPDX-License-Identifier: Apache-2.0
"""Pictures of planes through volumes, drawn from their voxels; they need no view and no screen."""

import base64

import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

AXIAL, CORONAL, SAGITTAL = "axial", "coronal", "sagittal"

# What lies to the right and what lies up in a picture, RAS: as radiologists look at it.
_AXES = {
    AXIAL: ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    CORONAL: ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    SAGITTAL: ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
}


def plane(volumeNode, point, orientation: str, width: float, pixels: int, outside: float):
    """Sample a square plane through a point.

    :param point: its middle, RAS, mm, in the volume's own coordinates (no transform above it).
    :param width: of the square, mm.
    :param pixels: number along each side.
    :param outside: value beyond the volume.
    :returns: float array, pixels x pixels, first row on top.
    """
    import numpy as np
    from scipy import ndimage

    steps = ((np.arange(pixels) + 0.5) / pixels - 0.5) * width
    right, up = (np.array(axis) for axis in _AXES[orientation])
    points = (np.array(point) + steps[None, :, None] * right - steps[:, None, None] * up)
    toIjk = vtk.vtkMatrix4x4()
    volumeNode.GetRASToIJKMatrix(toIjk)
    matrix = slicer.util.arrayFromVTKMatrix(toIjk)
    ijk = points @ matrix[:3, :3].T + matrix[:3, 3]
    return ndimage.map_coordinates(
        slicer.util.arrayFromVolume(volumeNode), np.moveaxis(ijk, -1, 0)[::-1], float, order=1,
        cval=outside)


def grey(values, low: float, high: float):
    """Values as an RGB picture: black at ``low``, white at ``high``."""
    import numpy as np

    levels = ((values - low) / (high - low)).clip(0, 1) * 255
    return np.repeat(levels.round().astype(np.uint8)[..., None], 3, axis=-1)


def overlay(picture, values, ramp, threshold: float, opacity: float = 0.7):
    """Lay a map over a picture, where its values are large.

    :param ramp: ``vtkColorTransferFunction`` of the values.
    :param threshold: size of the smallest value that is drawn.
    """
    import numpy as np

    numbers = np.ascontiguousarray(values, np.float32)
    colors = vtk_to_numpy(ramp.MapScalars(
        numpy_to_vtk(numbers.ravel(), deep=True), vtk.VTK_COLOR_MODE_MAP_SCALARS, -1))
    mixed = (1 - opacity) * picture + opacity * colors[:, :3].reshape(picture.shape)
    return np.where((abs(numbers) >= threshold)[..., None], mixed.round(), picture).astype(np.uint8)


def asDataAddress(picture) -> str:
    """A picture (uint8, height x width x 3) as the address of an image inside an HTML page."""
    import numpy as np

    height, width, _channels = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    pixels = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(pixels, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.WriteToMemoryOn()
    writer.Write()
    content = vtk_to_numpy(writer.GetResult()).tobytes()
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
