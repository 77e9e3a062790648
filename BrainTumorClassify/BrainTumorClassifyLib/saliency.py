# SPDX-License-Identifier: Apache-2.0
"""From what counted in the squares to a volume that lies on the images."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .regions import Region, plane_of, slices_in_order


def saliency_volume(reference: sitk.Image, region: Region, saliency: np.ndarray) -> sitk.Image:
    """Put squares where they were cut.

    Args:
        reference: gives the grid.
        region: of the squares.
        saliency: in the order and orientation of :func:`.pseudo_rgb.pseudo_rgb`,
            (slices, pixels, pixels), 0 to 1.

    Returns:
        float32 on the grid of ``reference``, 0 outside the squares.
    """
    plane = plane_of(reference)
    volume = np.zeros(reference.GetSize()[::-1], np.float32)
    step = np.reshape(reference.GetDirection(), (3, 3)) * np.array(reference.GetSpacing())
    pixels = saliency.shape[-1]
    for square, number in zip(saliency, slices_in_order(reference, region), strict=True):
        inside = [slice(None)] * 3
        inside[2 - plane.axis] = slice(number, number + 1)
        index = np.moveaxis(np.indices(volume.shape)[(slice(None), *inside)][::-1], 0, -1)
        points = index @ step.T + np.array(reference.GetOrigin()) - np.array(region.centre_mm)
        pixel = [(points @ way) * pixels / region.side_mm + (pixels - 1) / 2
                 for way in (plane.down, plane.across)]
        volume[tuple(inside)] = ndimage.map_coordinates(square, pixel, order=1, cval=0.0)
    image = sitk.GetImageFromArray(volume)
    image.CopyInformation(reference)
    return image
