# SPDX-License-Identifier: Apache-2.0
"""Which slices a person should look at first, and which of their pixels.

As published (Hiasa et al., IEEE TMI 2020): Monte Carlo dropout says how unsure the network is of
every pixel, the slices that it is least sure of are shown, and only the most uncertain pixels of
them are to be labelled. Neighbouring slices are alike, so slices of one scan are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

SMALLEST_MM2 = 500.0  # of structures in a slice; with less there is nothing to be unsure of
BINS = 8192  # of the histogram of uncertainties


@dataclass(frozen=True)
class Candidate:
    """A slice that could be shown.

    Attributes:
        case: which scan, as the caller numbers or names it.
        index: of the slice in it.
        place_mm: along the axis that the slices are stacked on.
        score: how unsure the network is of it, higher is shown first; NaN: never.
    """

    case: int | str
    index: int
    place_mm: float
    score: float


def slice_score(labels: np.ndarray, uncertainty: np.ndarray, pixel_mm2: float) -> float:
    """Mean uncertainty of what is labelled in a slice.

    Args:
        labels: integer (y, x), 0 where there is no structure.
        uncertainty: (y, x), variance over the samples.
        pixel_mm2: area of a pixel.

    Returns:
        The mean, NaN where less than 5 cm2 are labelled.
    """
    labelled = labels > 0
    count = np.count_nonzero(labelled)
    if count * pixel_mm2 < SMALLEST_MM2:
        return np.nan
    return float(uncertainty[labelled].mean())


def choose_apart(candidates: Iterable[Candidate], count: int, apart_mm: float,
                 shown: Iterable[Candidate] = ()) -> list[Candidate]:
    """The slices with the highest scores, those of one scan at least ``apart_mm`` apart.

    Args:
        candidates: to choose from; those without a score are left out.
        count: how many at most.
        apart_mm: smallest distance between two slices of a scan.
        shown: slices that were shown before; what is nearer to them is left out too.

    Returns:
        At most ``count`` slices, the least confident first. Of equal scores the first comes first.
    """
    taken: dict[int | str, list[float]] = {}
    for each in shown:
        taken.setdefault(each.case, []).append(each.place_mm)
    scored = [each for each in candidates if not np.isnan(each.score)]
    chosen: list[Candidate] = []
    for each in sorted(scored, key=lambda candidate: -candidate.score):
        if len(chosen) == count:
            break
        places = taken.setdefault(each.case, [])
        if all(abs(each.place_mm - place) >= apart_mm - 1e-6 for place in places):
            chosen.append(each)
            places.append(each.place_mm)
    return chosen


def least_confident(candidates: Sequence[Candidate], count: int, apart_mm: float,
                    shown: Sequence[Candidate] = ()) -> list[Candidate]:
    """As :func:`choose_apart`, but ``count`` of them wherever there are so many.

    The distance is halved until there are enough; slices without a score come last.
    """
    known = [replace(each, score=-1.0) if np.isnan(each.score) else each for each in candidates]
    count = min(count, len(known))
    while len(chosen := choose_apart(known, count, apart_mm, shown)) < count:
        apart_mm = apart_mm / 2 if apart_mm > 1 else 0.0
    return chosen


def level_of_share(uncertainties: Iterable[np.ndarray], share: float) -> float:
    """The uncertainty that the most uncertain share of pixels lies above.

    One level for all slices: a slice that is doubtful as a whole gets more pixels marked than one
    that is doubtful in a corner.

    Args:
        uncertainties: of the body's pixels of the slices that are shown, any shape, 0 to 1.
        share: of the pixels, above 0; with 1 all are meant.

    Returns:
        The level, below 0 where all pixels are meant; right to 1/4096.
    """
    if share >= 1:
        return -1.0
    counts = np.zeros(BINS, np.int64)
    for each in uncertainties:
        # by the square root, because the doubts of most pixels are small and differ, too
        roots = np.sqrt(np.ravel(each), dtype=np.float64)
        binned = (roots * BINS).astype(np.int64).clip(0, BINS - 1)
        counts += np.bincount(binned, minlength=BINS)
    above = counts[::-1].cumsum()[::-1]  # pixels in this bin or a higher one
    enough = np.flatnonzero(above <= share * counts.sum())
    return float((enough[0] / BINS) ** 2) if len(enough) else 1.0


def marked(uncertainty: np.ndarray, body: np.ndarray, level: float) -> np.ndarray:
    """The pixels to be labelled: those of the body that are less certain than the level.

    Pixels of which all samples say the same (uncertainty 0) are marked only where all pixels are.
    """
    return body & (uncertainty >= level) & ((uncertainty > 0) | (level < 0))


def pixel_area(spacing: Sequence[float]) -> float:
    """Of a slice's pixel in mm2, from the spacing (z, y, x) of the scan."""
    return float(spacing[1] * spacing[2])
