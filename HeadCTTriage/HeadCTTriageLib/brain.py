# SPDX-License-Identifier: Apache-2.0
"""Where the brain lies in a CT, or that the CT shows no head.

What is soft and enclosed by bone nearly all around, and as large as a brain, is what lies in a
skull. Elsewhere in the body soft tissue is next to bone at half of its surface at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import AIR_HU, image_like

CUBE_MM = 3.0
BONE_HU, SOFT_HU = 250.0, (-20.0, 120.0)
CONTENT_HU = (-50.0, 150.0)  # also blood and air-laden edges
CLOSED = 3  # cubes: sutures and small openings of the skull are bridged
PARTED = 2  # cubes: what hangs together by less, such as through the foramen magnum, is apart
NEAR_MM = 9.0  # from bone, what counts as enclosed
LEAST_ENCLOSED = 0.8  # share of the surface; brains have 0.99, other parts of the body 0.5 at most
LEAST_ML, MOST_ML = 250.0, 2200.0  # a newborn; the largest
LEAST_BRAIN_ML = 850.0  # of a whole one; an infant's is smaller and has other proportions
LEAST_AREA = 0.1  # of a slice against the largest; the canal of the spine has less
MOST_CUT = 0.35  # share of the surface that may lie at the end of the scan
REVERSED = 0.09  # of the brain's length, by which its lower part lies in front of the upper one
_BALL = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True)
class Brain:
    """The inside of a skull.

    Attributes:
        mask: 1 inside, on cubes of 3 mm along L, P and S that cover the CT.
        volume_ml: of what the CT shows of it.
        lowest_mm, highest_mm: first and last height along S where its cross-section has a tenth of
            the largest, in the patient.
        cut_below, cut_above: whether the scan ends before it does.
        back_in_front: whether the back of it lies where the image says that the front is.
    """

    mask: sitk.Image
    volume_ml: float
    lowest_mm: float
    highest_mm: float
    cut_below: bool
    cut_above: bool
    back_in_front: bool


def locate_brain(ct: sitk.Image) -> Brain:
    """Find the brain.

    Args:
        ct: HU; any grid, LPS.

    Raises:
        BadInput: the CT shows no head, or too little of one.
    """
    cubes = on_cubes(sitk.Cast(ct, sitk.sitkFloat32), CUBE_MM)
    density = np.pad(sitk.GetArrayFromImage(cubes), CLOSED + 1, constant_values=AIR_HU)
    bone = density > BONE_HU
    skull = ndimage.binary_closing(bone, _BALL, iterations=CLOSED)
    parts, count = ndimage.label(ndimage.binary_erosion(
        (density > SOFT_HU[0]) & (density < SOFT_HU[1]) & ~skull, _BALL, iterations=PARTED))
    content = ~skull & (density > CONTENT_HU[0]) & (density < CONTENT_HU[1])
    seen = np.pad(np.ones(cubes.GetSize()[::-1], bool), CLOSED + 1)
    to_bone = ndimage.distance_transform_edt(~bone) * CUBE_MM if bone.any() else np.full(
        bone.shape, np.inf)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    for number in 1 + np.argsort(sizes)[::-1]:
        part = content & seen & ndimage.binary_dilation(parts == number, _BALL,
                                                        iterations=PARTED + 1)
        volume = part.sum() * CUBE_MM**3 / 1000
        if volume < LEAST_ML:
            break
        surface = ndimage.binary_dilation(part, _BALL) & ~part
        cut = surface & ~seen
        enclosed = to_bone[surface & seen] <= NEAR_MM
        if (volume <= MOST_ML and enclosed.size and enclosed.mean() >= LEAST_ENCLOSED
                and cut.sum() <= MOST_CUT * surface.sum()):
            return _brain(part, cubes, volume)
    raise BadInput("No brain within a skull can be found: choose a CT of a head, in Hounsfield "
                   "units, that shows most of the brain.")


def _brain(padded: np.ndarray, cubes: sitk.Image, volume: float) -> Brain:
    mask = padded[(slice(CLOSED + 1, -CLOSED - 1),) * 3]
    area = mask.sum((1, 2))
    slices = np.flatnonzero(area >= LEAST_AREA * area.max())
    first, last = int(slices[0]), int(slices[-1])
    bottom = cubes.GetOrigin()[2]
    return Brain(
        image_like(mask.astype(np.uint8), cubes), float(volume),
        bottom + (first - 0.5) * CUBE_MM, bottom + (last + 0.5) * CUBE_MM,
        cut_below=first == 0, cut_above=last == len(mask) - 1,
        back_in_front=_back_in_front(mask))


def _back_in_front(mask: np.ndarray) -> bool:
    """Whether the lower part, most of which is at the back of a head, lies at the front."""
    heights, rows = np.flatnonzero(mask.any((1, 2))), np.flatnonzero(mask.any((0, 2)))
    high = heights[-1] - heights[0]
    z, y, _ = np.nonzero(mask)
    lower, upper = (y[part].mean() for part in (
        z < heights[0] + high / 3, z > heights[0] + high / 2))
    return bool(upper - lower > REVERSED * (rows[-1] - rows[0]))
