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
    for plane in array:
        ndimage.binary_fill_holes(plane, output=plane)
    parts, _ = ndimage.label(array)
    large = np.bincount(parts.ravel()) * np.prod(ct.GetSpacing()) / 1000 >= SMALLEST_ML
    large[0] = False
    return image_like(large[parts].astype(np.uint8), ct)
