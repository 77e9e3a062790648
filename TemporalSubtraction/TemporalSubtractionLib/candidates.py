# SPDX-License-Identifier: Apache-2.0
"""Places where bone changed more than chance explains, the most suspicious first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

SIZES_MM = (5.0, 8.0, 12.0)  # of changes that are looked for: full widths of Gaussians
LEAST_STRENGTH = 1.5  # of :func:`strength_of`, from which something is a candidate
DEPTH_MM = 3.5  # below the surface of bone, where z counts in full
LEAST_BONE = 0.35  # of a neighbourhood; with less, the mean falls
GROWN = 0.5  # share of the strength in its middle where a candidate ends
REACH_MM = 40.0  # from its middle
SMALLEST_ML = 0.06
MOST = 200
LARGEST_Z = 8.0  # one voxel counts no more than this: streaks and edges are not lesions
MEAN_OF_NORMAL = 0.8  # of |z| where nothing changed


@dataclass(frozen=True)
class Candidate:
    """A place that changed.

    Attributes:
        number: its value among the labels, from 1, the most suspicious first.
        kind: "denser", "thinner", or "mixed": both, side by side.
        score: the larger, the more suspicious: strength in its middle, or what is left of it.
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


def find_candidates(strength: np.ndarray, z: np.ndarray, change: np.ndarray,
                    spacing: tuple[float, float, float], least: float = LEAST_STRENGTH,
                    ) -> tuple[list[Candidate], np.ndarray]:
    """Group what stands out into candidates.

    Args:
        strength: how much the neighbourhood of every voxel changed, with sign, (z, y, x); 0 where
            nothing is compared. :func:`strength_of` is one.
        z: standard normal in unchanged bone.
        change: current minus expected density, HU.
        spacing: mm, (z, y, x).
        least: strength from which something is a candidate.

    Returns:
        Candidates by falling strength, and their numbers in every voxel, uint16.
    """
    labels = np.zeros(z.shape, np.uint16)
    return _grouped(strength, labels, z, change, spacing, least), labels


def add_mixed(candidates: list[Candidate], labels: np.ndarray, z: np.ndarray, change: np.ndarray,
              bone: np.ndarray, spacing: tuple[float, float, float],
              least: float = LEAST_STRENGTH) -> list[Candidate]:
    """Candidates that are thinner and denser side by side, behind those there are.

    In the mean of a neighbourhood the two cancel, so what counts is the mean size of z.

    Args:
        candidates, labels: of :func:`find_candidates`; the labels are added to.
        z, change, spacing: as there.
        bone: where z counts.
        least: strength from which something was a candidate there; strengths here are scaled alike.
    """
    strength = uneven_strength(z, bone, spacing) * (least / LEAST_STRENGTH)
    mixed = _grouped(strength, labels, z, change, spacing, least, len(candidates))
    return candidates + [replace(candidate, kind="mixed") for candidate in mixed]


def ranked(candidates: list[Candidate], labels: np.ndarray, scores: list[float], least: float,
           ) -> tuple[list[Candidate], np.ndarray]:
    """Candidates with other scores, numbered anew by them; those below ``least`` are dropped."""
    order = [index for index in np.argsort(-np.array(scores), kind="stable")
             if scores[index] >= least][:MOST]
    number = np.zeros(len(candidates) + 1, labels.dtype)
    kept = []
    for new, index in enumerate(order, 1):
        number[candidates[index].number] = new
        kept.append(replace(candidates[index], number=new, score=float(scores[index])))
    return kept, number[labels]


def _grouped(strength, labels, z, change, spacing, least, before: int = 0) -> list[Candidate]:
    """Candidates by falling strength, numbered after ``before`` others, and noted in the labels."""
    candidates: list[Candidate] = []
    # maxima among their neighbours, the strongest first; each takes what belongs to it
    level = np.abs(strength)
    peaks = np.argwhere((level > least) & (level == ndimage.maximum_filter(level, 3)))
    for peak in peaks[np.argsort(-level[tuple(peaks.T)], kind="stable")]:
        if labels[tuple(peak)] or len(candidates) == MOST:
            continue
        box, inside = _grown(strength, labels, peak, spacing)
        if inside.sum() * np.prod(spacing) / 1000 >= SMALLEST_ML:
            number = before + len(candidates) + 1
            labels[box][inside] = number
            candidates.append(_measured(number, float(strength[tuple(peak)]), peak, box, inside, z,
                                        change, spacing))
    return candidates


def _grown(strength, labels, peak, spacing):
    """Box around a peak, and what in it is connected with the peak and about as strong."""
    reach = [int(REACH_MM / step) for step in spacing]
    box = tuple(slice(max(p - r, 0), p + r + 1) for p, r in zip(peak, reach, strict=True))
    top = strength[tuple(peak)]
    parts, _ = ndimage.label((strength[box] / top > GROWN) & (labels[box] == 0))
    middle = tuple(p - side.start for p, side in zip(peak, box, strict=True))
    return box, parts == parts[middle]


def strength_of(z: np.ndarray, bone: np.ndarray,
                spacing: tuple[float, float, float]) -> np.ndarray:
    """The largest mean z of the neighbourhoods around each voxel, for a neighbourhood of 8 mm.

    Noise is without neighbours, and an edge out of place is thin, lies at the surface of bone and
    has another of the opposite sign beside it; a lesion is a body of some millimetres. So z is
    averaged over neighbourhoods of several sizes, with the surface of bone counting less and
    neighbourhoods of both signs too (blobs of several scales, Lindeberg, IJCV 1998).

    Args:
        z: standard normal in unchanged bone, (z, y, x).
        bone: where z counts.
        spacing: mm, (z, y, x).
    """
    if not bone.any():
        return np.zeros(z.shape, np.float32)
    weight = _weight(bone, spacing)
    values = np.clip(z, -LARGEST_Z, LARGEST_Z).astype(np.float32) * weight
    best = np.zeros_like(values)
    for size in SIZES_MM:
        sigma = np.array([size / 2.355 / step for step in spacing])
        mean = (ndimage.gaussian_filter(values, sigma)
                / np.maximum(ndimage.gaussian_filter(weight, sigma), LEAST_BONE))
        around = ndimage.gaussian_filter(values, 1.5 * sigma)
        both_signs = ndimage.gaussian_filter(np.abs(values), 1.5 * sigma)
        of_one_sign = np.abs(around) / np.maximum(both_signs, 1e-3)
        # the mean of a larger neighbourhood falls less by chance
        mean *= np.sqrt(of_one_sign * size / 8)
        best = np.where(np.abs(mean) > np.abs(best), mean, best)
    return best * bone


def uneven_strength(z: np.ndarray, bone: np.ndarray,
                    spacing: tuple[float, float, float]) -> np.ndarray:
    """The largest mean size of z of the neighbourhoods around each voxel, beyond the usual one.

    Arguments as for :func:`strength_of`, of whose scale it is.
    """
    if not bone.any():
        return np.zeros(z.shape, np.float32)
    weight = _weight(bone, spacing)
    values = np.minimum(np.abs(z), LARGEST_Z).astype(np.float32) * weight
    best = np.zeros_like(values)
    for size in SIZES_MM:
        sigma = np.array([size / 2.355 / step for step in spacing])
        mean = (ndimage.gaussian_filter(values, sigma)
                / np.maximum(ndimage.gaussian_filter(weight, sigma), LEAST_BONE))
        best = np.maximum(best, (mean - MEAN_OF_NORMAL) * np.sqrt(size / 8))
    return best * bone


def _weight(bone: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """How much z counts, 0 to 1: less at the surface of bone."""
    depth = ndimage.distance_transform_edt(bone, sampling=spacing)
    return np.clip(depth / DEPTH_MM, 0, 1).astype(np.float32)


def _measured(number, strength, peak, box, inside, z, change, spacing) -> Candidate:
    sign = np.sign(strength)
    values = z[box][inside]
    volume = inside.sum() * np.prod(spacing) / 1000
    return Candidate(number, "denser" if sign > 0 else "thinner", abs(strength), float(volume),
                     float((6 * volume * 1000 / np.pi) ** (1 / 3)), float(values.mean()),
                     float(sign * (sign * values).max()), float(change[box][inside].mean()),
                     tuple(int(i) for i in peak))
