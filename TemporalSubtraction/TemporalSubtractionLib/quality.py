# SPDX-License-Identifier: Apache-2.0
"""Where two aligned scans show the same bone."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .bones import bone_mask
from .registration import PATCH_MM, WINDOW_HU, on_cubes
from .rigid_patches import BoneMotion

NEIGHBOURHOOD_MM = 14.0
GOOD = 0.75  # below, the two scans must not be compared


def alignment_quality(current: sitk.Image, prior: sitk.Image, motion: BoneMotion) -> sitk.Image:
    """Correlation of the two scans around every voxel of bone, once they are aligned.

    It is taken over a cube of 14 mm, in which lesions are small and the outline of the bone is not:
    a new lesion lowers it little, a bone that is out of place much.

    Args:
        current, prior: HU; any grid, LPS.
        motion: from ``current`` to ``prior``.

    Returns:
        0 to 1 in bone, 0 elsewhere and where the prior scan does not reach; float32, on cubic
        voxels of 2 mm that cover ``current``.
    """
    fine = on_cubes(current, PATCH_MM)
    mask = sitk.GetArrayFromImage(bone_mask(fine)) > 0
    outside = float(WINDOW_HU[0]) - 1e4
    moved = sitk.GetArrayFromImage(sitk.Resample(
        on_cubes(prior, PATCH_MM), fine, motion.transform(fine), sitk.sitkLinear, outside,
        sitk.sitkFloat32))
    seen = (moved > outside / 2) & ndimage.binary_dilation(mask, iterations=2)
    a, b = (image.clip(*WINDOW_HU) for image in (sitk.GetArrayFromImage(fine), moved))
    quality = np.where(mask & seen, _local_correlation(a, b, seen.astype(np.float32)), 0.0)
    result = sitk.GetImageFromArray(quality.clip(0, 1).astype(np.float32))
    result.CopyInformation(fine)
    return result


def _local_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    size = int(round(NEIGHBOURHOOD_MM / PATCH_MM)) | 1

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values * weight, size, mode="constant") / total

    total = np.maximum(ndimage.uniform_filter(weight, size, mode="constant"), 1e-6)
    mean_a, mean_b = mean(a), mean(b)
    spread = (mean(a * a) - mean_a**2).clip(1.0) * (mean(b * b) - mean_b**2).clip(1.0)
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(spread)
