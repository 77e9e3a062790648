# SPDX-License-Identifier: Apache-2.0
"""Bone in a CT, by its density."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import image_like

from .contrast import contrast_filled

BONE_HU, BESIDE_BONE_HU = 250.0, 130.0  # certainly bone; bone when it touches what certainly is
GAP_MM = 2.0  # in the cortex, bridged before what it encloses is taken for marrow
LARGEST_MARROW_CM2 = 60.0  # in a slice; the skull encloses more, and that is brain
SMALLEST_ML = 1.0  # smaller parts are calcified vessels, stones, contrast agent
SOFT_HU = 40.0


def bone_mask(ct: sitk.Image, contrast: sitk.Image | None = None) -> sitk.Image:
    """Bone with its marrow.

    Cortex and dense spongy bone are found by hysteresis of their density; what they enclose, slice
    by slice, is marrow. Vessels full of contrast agent are left out.

    Args:
        ct: HU, axial slices along the third axis.
        contrast: of :func:`.contrast.contrast_filled`, where it is known.

    Returns:
        1 in bone, 0 elsewhere; uint8, on the grid of ``ct``.
    """
    contrast = contrast_filled(ct) if contrast is None else contrast
    if sitk.GetArrayViewFromImage(contrast).any():
        ct = sitk.Mask(ct, sitk.Resample(contrast, ct, sitk.Transform(),
                                         sitk.sitkNearestNeighbor), SOFT_HU, 1)
    dense = sitk.DoubleThreshold(ct, BESIDE_BONE_HU, BONE_HU, 1e6, 1e6)
    radius = [max(1, round(GAP_MM / step)) for step in ct.GetSpacing()]
    array = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(dense, radius)).astype(bool)
    array |= _marrow(array, float(np.prod(ct.GetSpacing()[:2])) / 100)
    parts, _ = ndimage.label(array)
    large = np.bincount(parts.ravel()) * np.prod(ct.GetSpacing()) / 1000 >= SMALLEST_ML
    large[0] = False
    return image_like(large[parts].astype(np.uint8), ct)


def _marrow(dense: np.ndarray, pixel_cm2: float) -> np.ndarray:
    """What bone encloses in a slice, but for the brain, up to where its slices are small."""
    holes, brain = np.zeros_like(dense), np.zeros_like(dense)
    for plane, inside, large in zip(dense, holes, brain, strict=True):
        inside[:] = ndimage.binary_fill_holes(plane) & ~plane
        numbers, _ = ndimage.label(inside)
        areas = np.bincount(numbers.ravel()) * pixel_cm2 > LARGEST_MARROW_CM2
        areas[0] = False
        large[:] = areas[numbers]
    if brain.any():
        parts, _ = ndimage.label(holes)
        holes &= ~np.isin(parts, np.unique(parts[brain]))
    return holes
