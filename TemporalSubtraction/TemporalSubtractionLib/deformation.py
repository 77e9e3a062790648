# SPDX-License-Identifier: Apache-2.0
"""What lies between the bones, deformed freely; the bones keep the motion that was found for them.

Symmetric demons (Vercauteren et al., NeuroImage 2009; SimpleITK's) from coarse to fine. Every few
steps the deformation is set to nothing in the bone of either scan, so that bone moves rigidly and
no lesion in it can be deformed away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.geometry import image_like

LEVELS_MM, STEPS = (16.0, 8.0, 3.0), 60  # voxels of each level, and steps there
STEPS_BETWEEN = 5  # of setting the deformation to nothing in bone
SMOOTHING = 2.0  # of the deformation after every step: standard deviation in voxels
DENSITIES_HU = (-900.0, 100.0)  # lung to soft tissue
LONGEST_STEP = 2.0  # voxels
SHARE, TRACE = 0.3, 0.02  # of bone in a voxel, from which it does not deform; on the finest level
BEYOND_HU = -3000.0  # where the prior scan does not reach


def with_soft_tissue(
    current: sitk.Image, prior: sitk.Image, motion: sitk.Transform, bone: sitk.Image,
    on_levels: Callable[[int, int], None] = lambda done, total: None,
) -> sitk.CompositeTransform:
    """The motion of the bones, and what lies between them deformed to fit.

    Args:
        current, prior: HU; any grid.
        motion: of the bones, from points of the current CT to those of the prior one.
        bone: of either scan, 0 and 1, along with ``current``.
        on_levels: called with levels done and in all.

    Returns:
        From points of the current CT to those of the prior one; in bone that of ``motion``.
    """
    deformation = None
    for level, spacing in enumerate(LEVELS_MM):
        on_levels(level, len(LEVELS_MM))
        fixed = on_cubes(current, spacing)
        held = _held(bone, fixed, finest=spacing == LEVELS_MM[-1])
        moved = sitk.Resample(on_cubes(prior, spacing), fixed, motion, sitk.sitkLinear, BEYOND_HU,
                              sitk.sitkFloat32)
        start = _field(np.zeros((*held.shape, 3)), fixed) if deformation is None else sitk.Resample(
            deformation, fixed)
        deformation = _demons(*_comparable(fixed, moved), start, held)
    on_levels(len(LEVELS_MM), len(LEVELS_MM))
    result = sitk.CompositeTransform(motion)
    result.AddTransform(sitk.DisplacementFieldTransform(deformation))
    return result


def _demons(fixed: sitk.Image, moved: sitk.Image, deformation: sitk.Image,
            held: np.ndarray) -> sitk.Image:
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(STEPS_BETWEEN)
    demons.SetStandardDeviations(SMOOTHING)
    demons.SetMaximumUpdateStepLength(LONGEST_STEP)
    for _ in range(STEPS // STEPS_BETWEEN):
        values = sitk.GetArrayFromImage(demons.Execute(fixed, moved, deformation))
        values[held] = 0
        deformation = _field(values, fixed)
    return deformation


def _held(bone: sitk.Image, grid: sitk.Image, finest: bool) -> np.ndarray:
    """Voxels that do not deform; at last also those beside, from which bone is interpolated."""
    share = sitk.Resample(on_cubes(sitk.Cast(bone, sitk.sitkFloat32), grid.GetSpacing()[0]), grid,
                          sitk.Transform(), sitk.sitkLinear, 0.0)
    held = sitk.GetArrayFromImage(share) > (TRACE if finest else SHARE)
    return ndimage.binary_dilation(held, np.ones((3, 3, 3))) if finest else held


def _comparable(fixed: sitk.Image, moved: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
    """Both within one range of densities; alike where the prior scan does not reach."""
    now, before = sitk.GetArrayFromImage(fixed), sitk.GetArrayFromImage(moved)
    before = np.where(before > BEYOND_HU / 2, before, now)
    return tuple(image_like(array.clip(*DENSITIES_HU).astype(np.float32), fixed)
                 for array in (now, before))


def _field(values: np.ndarray, grid: sitk.Image) -> sitk.Image:
    return image_like(values.astype(np.float64), grid)
