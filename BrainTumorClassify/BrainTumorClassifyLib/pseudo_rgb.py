# SPDX-License-Identifier: Apache-2.0
"""The pseudo-RGB images that networks see: T1, T2 and contrast-enhanced T1 as three channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from .regions import Region, plane_of, slice_places, slices_in_order
from .sequences import SEQUENCES

if TYPE_CHECKING:
    from .study import Study

GAP = 4  # pixels between the pictures of a contact sheet


def pseudo_rgb(study: Study, region: Region, pixels: int = 224) -> np.ndarray:
    """Cut the square of a region out of the three sequences.

    In the plane of the slices of the contrast-enhanced T1, linear between voxels, averaged where
    pixels are larger than voxels.

    Args:
        study: what is shown, between its windows.
        region: where.
        pixels: width and height.

    Returns:
        (slices, 3, pixels, pixels), float32, 0 to 1, channels in the order of ``SEQUENCES``. The
        lowest slice first (the hindmost of coronal ones, the rightmost of sagittal ones), the
        patient's left on the right, the front or the top up. A missing sequence, see
        ``study.missing``, is 0 throughout, and so is what a sequence does not reach.
    """
    plane = plane_of(study.reference)
    places = slice_places(study.reference, plane)
    spacing = np.delete(study.reference.GetSpacing(), plane.axis).min()
    finer = math.ceil(region.side_mm / pixels / spacing - 1e-6)  # pixels cut for each one
    size = pixels * finer
    step = region.side_mm / size
    across_down = (plane.across + plane.down) * (step - region.side_mm) / 2
    direction = np.column_stack([plane.across, plane.down,
                                 np.cross(plane.across, plane.down)]).ravel().tolist()
    result = np.zeros((len(region.slices), len(SEQUENCES), pixels, pixels), np.float32)
    in_order = slices_in_order(study.reference, region)
    for channel, name in enumerate(SEQUENCES):
        if name not in study.images:
            continue
        low, high = study.windows[name]
        for place, number in enumerate(in_order):
            centre = np.array(region.centre_mm, float)
            centre += (places[number] - centre @ plane.along) * plane.along
            cut = sitk.Resample(study.images[name], [size, size, 1], sitk.Transform(),
                                sitk.sitkLinear, (centre + across_down).tolist(), [step, step, 1.0],
                                direction, low)
            values = sitk.GetArrayFromImage(cut)[0].reshape(pixels, finer, pixels, finer)
            result[place, channel] = ((values.mean((1, 3)) - low) / (high - low)).clip(0, 1)
    return result


def picture_of(images: np.ndarray, columns: int = 6) -> np.ndarray:
    """Return a contact sheet of pseudo-RGB images, in the colours that go into the network.

    Args:
        images: (slices, 3, pixels, pixels), 0 to 1, from :func:`pseudo_rgb`.
        columns: at most, of the sheet.

    Returns:
        (height, width, 3), uint8: red is T1, green T2, blue contrast-enhanced T1.
    """
    count, _, height, width = images.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), np.uint8)
    for number, image in enumerate(images):
        y, x = number // columns * (height + GAP), number % columns * (width + GAP)
        sheet[y:y + height, x:x + width] = np.rint(255 * image.clip(0, 1)).transpose(1, 2, 0)
    return sheet
