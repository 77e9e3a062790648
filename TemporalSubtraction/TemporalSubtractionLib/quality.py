# SPDX-License-Identifier: Apache-2.0
"""Where two aligned scans show the same bone."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.geometry import image_like

from .bones import bone_mask
from .correlation import local_correlation
from .patch_registration import PATCH_MM, WINDOW_HU
from .rigid_patches import BoneMotion

NEIGHBOURHOOD_MM = 14.0
GOOD = 0.75  # below, the two scans must not be compared
WORST = 0.01  # of bone that both scans show; 0 is where there is nothing to compare
MOST_STRAIN = 0.15  # of bone; more could make a lesion shrink or grow away


def alignment_quality(current: sitk.Image, prior: sitk.Image,
                      motion: BoneMotion | sitk.Transform,
                      mask: sitk.Image | None = None,
                      prior_mask: sitk.Image | None = None) -> sitk.Image:
    """Correlation of the two scans around every voxel of bone, once they are aligned.

    It is taken over a cube of 14 mm, in which lesions are small and the outline of the bone is not:
    a new lesion lowers it little, a bone that is out of place much.

    Args:
        current, prior: HU; any grid, LPS.
        motion: from ``current`` to ``prior``; any transform will do.
        mask, prior_mask: bone of either on cubic voxels of 2 mm, where it is known.

    Returns:
        0.01 to 1 where either shows bone, 0 elsewhere and where the prior scan does not reach;
        float32, on cubic voxels of 2 mm that cover ``current``.
    """
    transform = motion.transform(current) if isinstance(motion, BoneMotion) else motion
    fine, before = on_cubes(current, PATCH_MM), on_cubes(prior, PATCH_MM)
    mask = bone_mask(fine) if mask is None else mask
    prior_mask = bone_mask(before) if prior_mask is None else prior_mask
    either = mask | sitk.Resample(prior_mask, fine, transform, sitk.sitkNearestNeighbor)
    correlation, shown = agreement(fine, before, transform, either)  # also bone destroyed by now
    return image_like(np.where(shown, correlation.clip(WORST, 1), 0).astype(np.float32), fine)


def agreement(current: sitk.Image, prior: sitk.Image, transform: sitk.Transform,
              bone: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Correlation around every voxel of bone, -1 to 1, and the bone that both scans reach.

    Args:
        current, prior: HU, on cubic voxels of 2 mm along L, P and S.
        transform: from ``current`` to ``prior``.
        bone: on the grid of ``current``.

    Returns:
        Both (z, y, x); the correlation means nothing elsewhere.
    """
    outside = float(WINDOW_HU[0]) - 1e4
    moved = sitk.GetArrayFromImage(sitk.Resample(
        prior, current, transform, sitk.sitkLinear, outside, sitk.sitkFloat32))
    mask, seen = sitk.GetArrayFromImage(bone) > 0, moved > outside / 2
    near = seen & ndimage.binary_dilation(mask, iterations=2)
    a, b = (image.clip(*WINDOW_HU) for image in (sitk.GetArrayFromImage(current), moved))
    size = int(round(NEIGHBOURHOOD_MM / PATCH_MM)) | 1
    return local_correlation(a, b, near.astype(np.float32), size), mask & seen


def without_bent_bone(quality: sitk.Image, transform: sitk.Transform) -> tuple[sitk.Image, float]:
    """The quality map where bone that the transform stretches, squeezes or shears is worst.

    Bones do not bend, so a free deformation that bends one has followed something else, perhaps a
    lesion that is new. The measure is the largest principal strain.

    Args:
        quality: of :func:`alignment_quality`.
        transform: any, from the current to the prior CT.

    Returns:
        The map and the share of the bone that is bent, 0 to 1.
    """
    values = sitk.GetArrayFromImage(quality)
    bone = values > 0
    field = sitk.GetArrayFromImage(sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat32, quality.GetSize(), quality.GetOrigin(),
        quality.GetSpacing(), quality.GetDirection()))
    slopes = [np.gradient(field, PATCH_MM, axis=axis)[bone] for axis in (2, 1, 0)]  # along x, y, z
    stretches = np.linalg.svd(np.eye(3) + np.stack(slopes, -1), compute_uv=False)
    bent = np.zeros_like(bone)
    bent[bone] = np.abs(stretches - 1).max(-1) > MOST_STRAIN
    values[bent] = WORST
    return image_like(values, quality), float(bent.sum() / max(bone.sum(), 1))
