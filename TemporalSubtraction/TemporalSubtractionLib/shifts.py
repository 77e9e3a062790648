# SPDX-License-Identifier: Apache-2.0
"""What a small motion of the bone explains of a candidate.

Registration leaves some bone out of place, above all thin bones and the ends of what a scan shows,
and a bone out of place looks like one that changed. A lesion does not: however the bone around it
is moved, it is still there. So the surroundings of each candidate are aligned once more, by
themselves, and the candidate counts by how much of its change is left, and by how well the
surroundings agree at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .candidates import Candidate
from .comparison import Compared
from .patch_registration import register_rigid, windowed
from .rigid_patches import Rigid

AROUND_MM, ROOM_MM = 9.0, 7.0  # beyond a candidate: what is aligned, and how far it may move
LARGEST_RADIUS_MM = 20.0  # of a candidate; the rest of a larger one is left out
BONE_HU = 200.0  # or denser, in either scan
OUTSIDE_HU = -10000.0
LEFT_POWER, AGREEMENT_POWER = 2, 1  # of the two shares by which a score is multiplied
MIXED_AGREEMENT_POWER = 8
"""A bone out of place is thinner and denser side by side, too, so more agreement is asked for. The
powers were chosen on simulated follow-ups; those next to them find about as much."""


@dataclass(frozen=True)
class Left:
    """What a motion of the surroundings leaves of a candidate.

    Attributes:
        share: of its change, 0 to 1.
        agreement: correlation of the surroundings after the motion, 0 to 1.
    """

    share: float
    agreement: float


def weighed_scores(candidates: Sequence[Candidate], labels: np.ndarray, pair: Compared,
                   expected: np.ndarray) -> list[float]:
    """Scores of candidates, less what a motion of the bone explains.

    Args:
        candidates: of ``pair``.
        labels: number of the candidate in every voxel, (z, y, x).
        pair: what was compared.
        expected: HU, by the method that found the candidates.
    """
    regions = ndimage.find_objects(labels, max(len(candidates), 1))

    def score(candidate: Candidate) -> float:
        left = left_after_motion(candidate, regions[candidate.number - 1], labels, pair, expected)
        power = MIXED_AGREEMENT_POWER if candidate.kind == "mixed" else AGREEMENT_POWER
        return candidate.score * left.share**LEFT_POWER * left.agreement**power

    with ThreadPoolExecutor(cpu_count()) as pool:  # registration runs beside Python
        return list(pool.map(score, candidates))


def left_after_motion(candidate: Candidate, region: tuple[slice, ...], labels: np.ndarray,
                      pair: Compared, expected: np.ndarray) -> Left:
    """Align the surroundings of a candidate by themselves, and see what is left of it.

    Args:
        candidate: one of those in ``labels``.
        region: where its label is.
        labels, pair, expected: as for :func:`weighed_scores`.
    """
    spacing = np.array(pair.spacing)
    middle = np.array(candidate.index)
    box = _around(region, middle, AROUND_MM, spacing)
    wide = _around(region, middle, AROUND_MM + ROOM_MM, spacing)
    current, prior = _image(pair.current, box, spacing), _image(pair.prior, wide, spacing)
    bone = (pair.where[box] | (pair.current[box] > BONE_HU) | (pair.prior[box] > BONE_HU))
    mask = sitk.GetImageFromArray(bone.astype(np.uint8))
    mask.CopyInformation(current)
    start = Rigid(np.eye(3), (middle * spacing)[::-1], np.zeros(3))
    motion, agreement = register_rigid(windowed(current), windowed(prior), mask, start, step=0.5,
                                       most_steps=40)
    moved = sitk.GetArrayFromImage(sitk.Resample(
        prior, current, motion.transform(), sitk.sitkLinear, OUTSIDE_HU))
    inside = (labels[box] == candidate.number) & (moved > OUTSIDE_HU / 2)
    if not inside.any():
        return Left(1.0, max(agreement, 0.0))
    before = (pair.current[box] - expected[box])[inside]
    after = (pair.current[box] - moved)[inside]
    if candidate.kind == "mixed":
        before, after = np.abs(before), np.abs(after)
    share = float(after.mean() / before.mean()) if before.mean() else 1.0
    return Left(float(np.clip(share, 0, 1)), float(np.clip(agreement, 0, 1)))


def _around(region: tuple[slice, ...], middle: np.ndarray, more_mm: float,
            spacing: np.ndarray) -> tuple[slice, ...]:
    """The box of a region, and so much around it; of a large one what lies around its middle."""
    box = []
    for side, centre, step in zip(region, middle, spacing, strict=True):
        reach, more = round(LARGEST_RADIUS_MM / step), round(more_mm / step)
        first, last = max(side.start, centre - reach), min(side.stop, centre + reach + 1)
        box.append(slice(int(max(0, first - more)), int(last + more)))
    return tuple(box)


def _image(values: np.ndarray, box: tuple[slice, ...], spacing: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(values[box].astype(np.float32))
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin([side.start * step for side, step in zip(box, spacing, strict=True)][::-1])
    return image
