# SPDX-License-Identifier: Apache-2.0
"""Whether a head moved while it was scanned: its skull jumps from slice to slice.

The vault of the skull is smooth, so its outline changes evenly from slice to slice. Where the head
moved between two slices, opposite sides of the outline are shifted in the same direction. A vault
that closes, or slices that were interpolated between thick ones, shift one side, or both apart.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .brain import CUBE_MM, Brain

HEIGHTS_MM = (25.0, 75.0)  # below the top of the brain: the vault, where it is steep
SLICE_MM = 2.5  # between slices that are compared, at least
LEAST_SLICES, MOST_TILTED = 6, 0.9  # of slices along S; cosine
ANGLES, NEAREST_MM, FARTHEST_MM, STEP_MM = 72, 25.0, 125.0, 0.5  # rays from the middle
SKULL_HU = 200.0
NEIGHBOURS = 2  # on each side, that tell what is usual
WINDOW = 6  # rays on each side, over which the median is taken: 30 degrees


def motion_mm(ct: sitk.Image, brain: Brain) -> float:
    """How far the vault of the skull jumps sideways between neighbouring slices, mm.

    0 where too few slices show it, or they are not axial. What moved within a slice doubles its
    outline, and is measured as half of the movement at most.

    Args:
        ct: HU; any grid, LPS.
        brain: of the CT.
    """
    bone = _rays(ct, brain)
    if len(bone) < LEAST_SLICES:
        return 0.0
    inner = np.where(bone.any(2), bone.argmax(2) * STEP_MM, np.nan)
    one, other = np.split(_unusual(np.diff(inner, axis=0)), 2, axis=1)
    along = np.where(one * other < 0, np.sign(one) * np.minimum(abs(one), abs(other)), 0.0)
    return float(np.abs(_medians(np.concatenate([along, -along], 1))).max())


def _rays(ct: sitk.Image, brain: Brain) -> np.ndarray:
    """Bone on rays from the middle of the brain: (slices, ANGLES, steps)."""
    directions = np.reshape(ct.GetDirection(), (3, 3))
    axis = int(np.argmax(np.abs(directions[2])))
    if abs(directions[2, axis]) < MOST_TILTED:
        return np.zeros((0, ANGLES, 1), bool)
    size, spacing = ct.GetSize(), ct.GetSpacing()
    where = np.argwhere(sitk.GetArrayViewFromImage(brain.mask) > 0)[:, ::-1] * CUBE_MM
    low, high = where.min(0), where.max(0)
    top = np.array(brain.mask.GetOrigin()) + [*(low + high)[:2] / 2, high[2]]
    ends = np.array([ct.TransformPhysicalPointToContinuousIndex((top - [0, 0, below]).tolist())
                     for below in HEIGHTS_MM])
    step = max(1, int(np.ceil(SLICE_MM / spacing[axis] - 0.01)))
    begin, end = sorted(ends[:, axis])
    numbers = np.arange(max(0, int(np.ceil(begin))), min(size[axis] - 1, int(end)) + 1, step)
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    reach = np.arange(NEAREST_MM, FARTHEST_MM, STEP_MM)
    # of the two axes of a slice the later one runs along the rows of its array
    column, row = (
        np.rint(ends[:, other].mean() + np.outer(side, reach) / spacing[other]).astype(int).clip(
            0, size[other] - 1)
        for other, side in zip([each for each in range(3) if each != axis],
                               (np.cos(angles), np.sin(angles)), strict=True))
    planes = np.moveaxis(sitk.GetArrayViewFromImage(ct), 2 - axis, 0)
    return planes[numbers[:, None, None], row, column] > SKULL_HU


def _unusual(values: np.ndarray) -> np.ndarray:
    """Values (slices, angles) without what is usual in slices around; 0 where nothing is known."""
    padded = np.pad(values, ((NEIGHBOURS, NEIGHBOURS), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[shift:shift + len(values)] for shift in range(2 * NEIGHBOURS + 1)])
    known = np.isfinite(around).sum(0) > NEIGHBOURS
    usual = np.nanmedian(np.where(known, around, 0.0), 0)
    return np.nan_to_num(np.where(known, values - usual, 0.0))


def _medians(values: np.ndarray) -> np.ndarray:
    """Of each angle and those around it: (slices, angles)."""
    return np.median([np.roll(values, shift, 1) for shift in range(-WINDOW, WINDOW + 1)], 0)
