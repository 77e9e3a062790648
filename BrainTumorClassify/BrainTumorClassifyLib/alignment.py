# SPDX-License-Identifier: Apache-2.0
"""Bringing the sequences of one study onto each other: rigid, by mutual information.

Mutual information (Mattes et al., *PET-CT image registration in the chest using free-form
deformations*, IEEE TMI 2003, as in ITK) does not mind that fluid is dark in T1 and bright in T2.
The search begins where the scanner says the images lie, and, where that fits badly, with the heads
on each other. It is seeded and runs in one thread, so the same images give the same transform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.volume_files import quiet

from .preparation import coarse, everywhere, head_mask, on_grid

LEVELS_MM = (4.0, 2.0)  # voxels, as far as the images are finer
SAMPLES = 20_000  # of the voxels of the head, for each value of the metric
BINS = 32
STEPS = 60  # at most, of each level
LARGEST_SHIFT_MM, LARGEST_TURN_DEGREES = 200.0, 45.0
LEAST_OVERLAP = 0.3  # of the head in the fixed image, which the other one must show
# Simulated heads of different patients reach an agreement of 1.03 to 1.08 with each other, T1 and
# T2 of one patient 1.10 to 1.38 with the contrast-enhanced T1.
LEAST_AGREEMENT = 1.05  # below, they do not show the same head
GOOD_AGREEMENT = 1.09  # below, another start is tried, and the user should look


@dataclass(frozen=True)
class Alignment:
    """How an image was moved.

    Attributes:
        transform: of points of the fixed image to those of the moving one, LPS mm.
        displacement_mm: how far a point of the head was moved, mean over the head.
        agreement_before, agreement_after: normalised mutual information within the head of the
            fixed image, 1 (none) to 2; nan before when the images did not overlap.
        moved: False when the images lay better as they were, and were left so.
    """

    transform: sitk.Transform
    displacement_mm: float
    agreement_before: float
    agreement_after: float
    moved: bool


UNMOVED = Alignment(sitk.Transform(), 0.0, math.nan, math.nan, False)
"""Of images that lie on each other already."""


def align(fixed: sitk.Image, moving: sitk.Image, head: sitk.Image | None = None,
          name: str = "The image", seed: int = 0) -> Alignment:
    """Find the rigid motion of an image of the same head.

    Args:
        fixed, moving: 3D, any grids and fields of view, LPS mm.
        head: of ``fixed``, uint8; found when left out.
        name: of ``moving``, for messages.
        seed: of the sampling.

    Raises:
        BadInput: the images show too little in common, or cannot be brought together.
    """
    head = head_mask(fixed) if head is None else head
    still = sitk.Euler3DTransform()
    still.SetCenter(_middle(head).tolist())
    before = agreement(fixed, moving, head, still)
    best, best_agreement = still, before
    for start in _starts(fixed, moving, head, still):
        found = _register(fixed, moving, head, start, seed)
        value = agreement(fixed, moving, head, found)
        if not best_agreement >= value:  # also when it is nan
            best, best_agreement = found, value
        if best_agreement >= GOOD_AGREEMENT:
            break
    # where the scanner says that the images do not meet, only a good match may tell otherwise
    least = GOOD_AGREEMENT if np.isnan(before) else LEAST_AGREEMENT
    _check(best, best_agreement, least, head, moving, name)
    return Alignment(best, displacement_mm(best, head), before, best_agreement, best is not still)


def agreement(fixed: sitk.Image, moving: sitk.Image, head: sitk.Image,
              transform: sitk.Transform) -> float:
    """Return the normalised mutual information of two images within the head of the fixed one.

    (H(a) + H(b)) / H(a, b) of 32 grey values each (Studholme et al., *An overlap invariant entropy
    measure of 3D medical image alignment*, Pattern Recognition 1999): 1 for none, 2 for all. nan
    when less than a tenth of the head is in both.
    """
    grid = coarse(fixed, LEVELS_MM[0])
    inside = sitk.GetArrayFromImage(on_grid(head, grid, nearest=True)) > 0
    reached = sitk.Resample(everywhere(moving), grid, transform, sitk.sitkNearestNeighbor, 0)
    both = inside & (sitk.GetArrayViewFromImage(reached) > 0)
    if both.sum() < 0.1 * inside.sum() or both.sum() < 100:
        return float("nan")
    moved = sitk.Resample(coarse(moving, LEVELS_MM[0]), grid, transform, sitk.sitkLinear, 0.0)
    values = [sitk.GetArrayViewFromImage(image)[both] for image in (grid, moved)]
    bins = [np.linspace(*np.percentile(each, [0.5, 99.5]), BINS - 1) for each in values]
    first, second = (np.digitize(each, edges) for each, edges in zip(values, bins, strict=True))
    joint = np.bincount(first * BINS + second, minlength=BINS**2).reshape(BINS, BINS) / both.sum()
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / max(_entropy(joint), 1e-9))


def displacement_mm(transform: sitk.Transform, head: sitk.Image) -> float:
    """Return how far a transform moves the points of a head, mean, mm."""
    points = _points(head)
    moved = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return float(np.linalg.norm(moved - points, axis=1).mean())


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _starts(fixed: sitk.Image, moving: sitk.Image, head: sitk.Image,
            still: sitk.Euler3DTransform) -> list[sitk.Euler3DTransform]:
    """As the scanner says, and with the heads on each other; that which agrees better comes first.

    Those under which the images hardly overlap are left out.
    """
    shifted = sitk.Euler3DTransform(still)
    shifted.SetTranslation((_middle(head_mask(moving)) - _middle(head)).tolist())
    starts = [start for start in (still, shifted) if _overlap(head, moving, start) >= LEAST_OVERLAP]
    return sorted(starts, key=lambda start: -np.nan_to_num(
        agreement(fixed, moving, head, start), nan=0.0))


def _register(fixed: sitk.Image, moving: sitk.Image, head: sitk.Image,
              start: sitk.Euler3DTransform, seed: int) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform(start)
    for level in LEVELS_MM:
        transform = _register_level(coarse(fixed, level), coarse(moving, level), head, transform,
                                    level, seed)
    return transform


def _register_level(fixed: sitk.Image, moving: sitk.Image, head: sitk.Image,
                    start: sitk.Euler3DTransform, level: float, seed: int
                    ) -> sitk.Euler3DTransform:
    """One resolution; the start comes back when the images do not overlap there."""
    mask = on_grid(head, fixed, nearest=True)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    inside = max(1, int(np.count_nonzero(sitk.GetArrayViewFromImage(mask))))
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / inside), seed + 1)  # 0 is the clock
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(level, level / 500, STEPS, 0.8, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    with quiet():
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # too few samples lie within the other image
            return start
    return transform


def _check(transform: sitk.Euler3DTransform, value: float, least: float, head: sitk.Image,
           moving: sitk.Image, name: str) -> None:
    if _overlap(head, moving, transform) < LEAST_OVERLAP:
        raise BadInput(f"{name} shows less than {LEAST_OVERLAP:.0%} of the head that the "
                       "reference sequence shows: choose sequences of the same part of the head.")
    turn = np.degrees(np.arccos(np.clip((np.trace(
        np.reshape(transform.GetMatrix(), (3, 3))) - 1) / 2, -1, 1)))
    shift = np.linalg.norm(transform.GetTranslation())
    if not value >= least or turn > LARGEST_TURN_DEGREES or shift > LARGEST_SHIFT_MM:
        raise BadInput(f"{name} cannot be brought onto the reference sequence: check that both "
                       "show the head of one patient, the right way up.")


def _overlap(head: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """Share of the head that lies within the moving image."""
    points = [transform.TransformPoint(point) for point in _points(head).tolist()]
    index = np.array([moving.TransformPhysicalPointToContinuousIndex(point) for point in points])
    return float(((index >= -0.5) & (index <= np.array(moving.GetSize()) - 0.5)).all(1).mean())


def _points(head: sitk.Image, count: int = 400) -> np.ndarray:
    """About so many places evenly spread over a head, (n, 3), LPS mm."""
    index = np.argwhere(sitk.GetArrayViewFromImage(head) > 0)[:, ::-1]
    index = index[:: max(1, len(index) // count) | 1]
    direction = np.reshape(head.GetDirection(), (3, 3))
    return index * np.array(head.GetSpacing()) @ direction.T + np.array(head.GetOrigin())


def _middle(head: sitk.Image) -> np.ndarray:
    return _points(head, 4000).mean(0)
