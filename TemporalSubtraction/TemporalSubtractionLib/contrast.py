# SPDX-License-Identifier: Apache-2.0
"""Blood and organs that contrast agent has made as dense as bone."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.geometry import image_like

VOXEL_MM = 2.0
ENHANCED_HU, DENSEST_HU = 130.0, 700.0
WITHIN_MM = 4.0  # from the surface of what is dense; thin cortex has no such inside
EVEN, NEARLY_EVEN = 0.12, 0.2  # standard deviation within 10 mm, as a share of the mean
LARGE_ML = 10.0  # spongy bone is as even only in smaller places
MOST_GROWTH = 5.0  # of an even core to what is dense around it; more is spongy bone
EVEN_REACH_MM, REACH_MM = 24.0, 12.0  # from a core through what is even, and what is only dense
SIMILAR = (0.6, 1.5)  # density of a vessel's edge and branches, as a share of that of its core


def contrast_filled(ct: sitk.Image) -> sitk.Image:
    """Vessels, heart chambers and organs with contrast agent.

    Bone is a dense shell around lighter marrow with coarse texture; blood is even. So a large even
    core that is dense is no bone, and neither is what is nearly as dense around it. Vessels of less
    than about 10 mm that lead to no such core are not found.

    Args:
        ct: HU, any grid.

    Returns:
        1 where there is contrast agent, 0 elsewhere; uint8, on cubic voxels of 2 mm.
    """
    fine = on_cubes(ct, VOXEL_MM)
    array = sitk.GetArrayFromImage(fine)
    found = np.zeros(array.shape, bool)
    radius = [round(WITHIN_MM / VOXEL_MM)] * 3
    inside = sitk.GetArrayFromImage(sitk.BinaryErode(fine > ENHANCED_HU, radius)) > 0
    if inside.sum() * VOXEL_MM**3 / 1000 >= LARGE_ML:
        spread = _spread(array)
        inside &= spread < NEARLY_EVEN
        cores, _ = ndimage.label(inside & (spread < EVEN))
        for number, box in enumerate(ndimage.find_objects(cores), 1):
            box = _wider(box, round((EVEN_REACH_MM + REACH_MM) / VOXEL_MM))
            found[box] |= _around(cores[box] == number, inside[box], array[box])
    return image_like(found.astype(np.uint8), fine)


def _spread(array: np.ndarray) -> np.ndarray:
    """Standard deviation within 10 mm as a share of the mean; large where that is no blood."""
    size = int(10 / VOXEL_MM) | 1
    mean = ndimage.uniform_filter(array, size)
    variance = ndimage.uniform_filter(array * array, size) - mean**2
    blood = (mean > ENHANCED_HU) & (mean < DENSEST_HU)
    return np.where(blood, np.sqrt(variance.clip(0)) / np.maximum(mean, 1), np.inf)


def _around(core: np.ndarray, nearly_even: np.ndarray, array: np.ndarray) -> np.ndarray:
    """What is filled as the core is, with its blurred edge; nothing when the core is bone."""
    volume = core.sum()
    low, high = np.median(array[core]) * np.array(SIMILAR)
    near = ndimage.binary_dilation(core, iterations=round(10 / VOXEL_MM), mask=array > low)
    if volume * VOXEL_MM**3 / 1000 < LARGE_ML or near.sum() > MOST_GROWTH * volume:
        return np.zeros_like(core)
    filled = core
    for reach, where in ((EVEN_REACH_MM, nearly_even), (REACH_MM, (array > low) & (array < high))):
        filled = ndimage.binary_dilation(filled, iterations=round(reach / VOXEL_MM), mask=where)
    return filled | (ndimage.binary_dilation(filled, iterations=2) & (array <= low))


def _wider(box: tuple[slice, ...], by: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, part.start - by), part.stop + by) for part in box)
