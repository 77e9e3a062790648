# SPDX-License-Identifier: Apache-2.0
"""Places where bone changed more than chance explains, the most suspicious first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SIZES_MM = (4.0, 7.0, 12.0)  # of changes that are looked for: full widths of Gaussians
SEED = 3.0  # strength from which something is a candidate
GROWN = 0.5  # share of the strength in its middle where a candidate ends
REACH_MM = 40.0  # from its middle
SMALLEST_ML = 0.03
MOST = 200
LARGEST_Z = 8.0  # one voxel counts no more than this: streaks and edges are not lesions


@dataclass(frozen=True)
class Candidate:
    """A place that changed.

    Attributes:
        number: its value among the labels, from 1, the most suspicious first.
        kind: "denser" or "thinner".
        score: mean z of a neighbourhood where that is largest, in standard deviations of such means
            over all of the bone; larger is more suspicious.
        volume_ml, diameter_mm: of its voxels, and of the sphere of that volume.
        mean_z, peak_z: with sign.
        hu_change: mean of current minus expected density, HU.
        index: voxel (z, y, x) in its middle.
    """

    number: int
    kind: str
    score: float
    volume_ml: float
    diameter_mm: float
    mean_z: float
    peak_z: float
    hu_change: float
    index: tuple[int, int, int]


def find_candidates(z: np.ndarray, change: np.ndarray, bone: np.ndarray,
                    spacing: tuple[float, float, float]) -> tuple[list[Candidate], np.ndarray]:
    """Group what stands out into candidates.

    Noise is without neighbours and misaligned edges are thin, but a lesion is a body of some
    millimetres. So z is averaged over neighbourhoods of several sizes, and each size is judged by
    its own spread in this pair of scans (scale-normalised blobs, Lindeberg, IJCV 1998).

    Args:
        z: standard normal in unchanged bone, (z, y, x).
        change: current minus expected density, HU.
        bone: where z counts.
        spacing: mm, (z, y, x).

    Returns:
        Candidates by falling score, and their numbers in every voxel, uint16.
    """
    labels = np.zeros(z.shape, np.uint16)
    if not bone.any():
        return [], labels
    strength = _strength(z, bone, spacing)
    candidates: list[Candidate] = []
    # maxima among their neighbours, the strongest first; each takes what belongs to it
    level = np.abs(strength)
    peaks = np.argwhere((level > SEED) & (level == ndimage.maximum_filter(level, 3)))
    for peak in peaks[np.argsort(-level[tuple(peaks.T)], kind="stable")]:
        if labels[tuple(peak)] or len(candidates) == MOST:
            continue
        box, inside = _grown(strength, labels, peak, spacing)
        if inside.sum() * np.prod(spacing) / 1000 >= SMALLEST_ML:
            labels[box][inside] = len(candidates) + 1
            candidates.append(_measured(len(candidates) + 1, float(strength[tuple(peak)]), peak,
                                        box, inside, z, change, spacing))
    return candidates, labels


def _grown(strength, labels, peak, spacing):
    """Box around a peak, and what in it is connected with the peak and about as strong."""
    reach = [int(REACH_MM / step) for step in spacing]
    box = tuple(slice(max(p - r, 0), p + r + 1) for p, r in zip(peak, reach, strict=True))
    top = strength[tuple(peak)]
    parts, _ = ndimage.label((strength[box] / top > GROWN) & (labels[box] == 0))
    middle = tuple(p - side.start for p, side in zip(peak, box, strict=True))
    return box, parts == parts[middle]


def _strength(z, bone, spacing) -> np.ndarray:
    """The largest mean z of the neighbourhoods around each voxel, in spreads of such means."""
    weight = bone.astype(np.float32)
    values = np.clip(z, -LARGEST_Z, LARGEST_Z) * weight
    best = np.zeros_like(values)
    for size in SIZES_MM:
        sigma = [size / 2.355 / step for step in spacing]
        # with a floor, so that a single voxel of bone is not a neighbourhood
        mean = (ndimage.gaussian_filter(values, sigma)
                / np.maximum(ndimage.gaussian_filter(weight, sigma), 0.25))
        mean *= bone
        inside = mean[bone]
        low, middle, high = np.quantile(inside, (0.1587, 0.5, 0.8413))
        mean = (mean - middle) / max((high - low) / 2, 0.1)
        best = np.where(np.abs(mean) > np.abs(best), mean, best)
    return best * bone


def _measured(number, strength, peak, box, inside, z, change, spacing) -> Candidate:
    sign = np.sign(strength)
    values = z[box][inside]
    volume = inside.sum() * np.prod(spacing) / 1000
    return Candidate(number, "denser" if sign > 0 else "thinner", abs(strength), float(volume),
                     float((6 * volume * 1000 / np.pi) ** (1 / 3)), float(values.mean()),
                     float(sign * (sign * values).max()), float(change[box][inside].mean()),
                     tuple(int(i) for i in peak))
