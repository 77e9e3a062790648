# SPDX-License-Identifier: Apache-2.0
"""Bones told apart by their shape, where nobody has labelled them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import image_like

from .bones import bone_mask

SMALLEST_ML = 1.0
MOST = 250


def bone_parts(ct: sitk.Image) -> sitk.Image:
    """Parts of the skeleton that narrow joints separate, for simulated motion.

    Bones that touch each other broadly stay one part.

    Args:
        ct: HU.

    Returns:
        A number from 1 for every part, 0 elsewhere; uint8, on the grid of ``ct``.
    """
    bone = sitk.GetArrayFromImage(bone_mask(ct)) > 0
    cores, count = ndimage.label(ndimage.binary_erosion(bone))
    volume_ml = np.bincount(cores.ravel(), minlength=count + 1) * np.prod(ct.GetSpacing()) / 1000
    kept = [part for part in range(1, count + 1) if volume_ml[part] >= SMALLEST_ML]
    number = np.zeros(count + 1, np.uint8)
    number[kept[:MOST]] = np.arange(1, len(kept[:MOST]) + 1)
    cores = number[cores]
    parts = np.zeros(bone.shape, np.uint8)
    if cores.any():
        nearest = ndimage.distance_transform_edt(cores == 0, return_distances=False,
                                                 return_indices=True)
        parts[bone] = cores[tuple(nearest)][bone]
    return image_like(parts, ct)
