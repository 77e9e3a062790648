# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves, their intervals, and whether two of them differ (DeLong's method).

scikit-learn has the area alone. The covariance of several areas on the same samples is that of
DeLong, DeLong & Clarke-Pearson, Biometrics 1988, computed with midranks as Sun & Xu, IEEE Signal
Processing Letters 2014, do. Patches of one patient are no independent samples; where patients are
given, the covariance is that for clustered data of Obuchowski, Biometrics 1997, which is DeLong's
where each patient has one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Areas:
    """Areas under the ROC curves of several scores of the same samples.

    Attributes:
        values: (k,).
        covariance: of the areas, (k, k); NaN where there are fewer than two patients with, or
            without, a positive sample.
    """

    values: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Placements:
    """What each sample contributes to the areas, (k, ...) for k scores.

    Placements of repetitions, such as several random networks, may be averaged: the area is linear
    in them, and so the result is the mean area.

    Attributes:
        positive: share of negatives that score lower, ties by half, (k, m).
        negative: share of positives that score higher, ties by half, (k, n).
    """

    positive: np.ndarray
    negative: np.ndarray


def placements(scores: np.ndarray, positive: np.ndarray) -> Placements:
    """Placements of all samples, in O(n log n).

    Args:
        scores: (k, samples), higher is more positive.
        positive: (samples,) bool.

    Raises:
        ValueError: there are no positive or no negative samples.
    """
    scores, positive = np.atleast_2d(scores), np.asarray(positive, bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        raise ValueError("An area needs positive and negative samples.")
    both = stats.rankdata(scores, axis=1)
    above = (both[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / n
    below = 1 - (both[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / m
    return Placements(above, below)


def areas(found: Placements, positive_of: np.ndarray | None = None,
          negative_of: np.ndarray | None = None) -> Areas:
    """Areas and their covariance.

    Args:
        found: of :func:`placements`.
        positive_of, negative_of: number of the patient of each positive (m,) and negative (n,)
            sample; left out: all samples are independent.
    """
    (k, m), n = found.positive.shape, found.negative.shape[1]
    if positive_of is None or negative_of is None:
        positive_of, negative_of = np.arange(m), m + np.arange(n)
    values = found.positive.mean(1)
    patients, place = np.unique(np.concatenate([positive_of, negative_of]), return_inverse=True)
    up = _sums(found.positive - values[:, None], place[:m], len(patients))
    down = _sums(found.negative - values[:, None], place[m:], len(patients))
    has_positive, has_negative = len(np.unique(positive_of)), len(np.unique(negative_of))
    if min(has_positive, has_negative) < 2:
        return Areas(values, np.full((k, k), np.nan))
    mixed = up @ down.T * len(patients) / (len(patients) - 1)
    covariance = (up @ up.T * has_positive / (has_positive - 1) / m**2
                  + down @ down.T * has_negative / (has_negative - 1) / n**2
                  + (mixed + mixed.T) / (m * n))
    return Areas(values, covariance)


def _sums(values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """Sums (k, count) of the columns that belong to the same place."""
    sums = np.zeros((count, len(values)))
    np.add.at(sums, place, values.T)
    return sums.T


def interval(area: float, variance: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of an area on the logit scale, so that it stays between 0 and 1.

    Source: Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2.

    Returns:
        Lower and upper limit; NaN for an area of 0 or 1, whose variance cannot be told.
    """
    if not 0 < area < 1 or not np.isfinite(variance):
        return np.nan, np.nan
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt(max(variance, 0)) / (area * (1 - area))
    middle = np.log(area / (1 - area))
    low, high = 1 / (1 + np.exp(-(middle - half))), 1 / (1 + np.exp(-(middle + half)))
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """An area minus another one on the same samples.

    Attributes:
        value: of the difference.
        low, high: of its 95 % interval.
        z, p: of the two-sided test; NaN where the two do not vary.
    """

    value: float
    low: float
    high: float
    z: float
    p: float


def compare(found: Areas, first: int, second: int, level: float = LEVEL) -> Difference:
    """Compare two areas (DeLong's paired test); numbers of the scores."""
    value = float(found.values[first] - found.values[second])
    variance = (found.covariance[first, first] + found.covariance[second, second]
                - 2 * found.covariance[first, second])
    if not variance > 1e-15:  # scores that rank alike leave what rounding leaves
        return Difference(value, np.nan, np.nan, np.nan, np.nan)
    error = float(np.sqrt(variance))
    half = stats.norm.ppf((1 + level) / 2) * error
    z = value / error
    return Difference(value, value - half, value + half, z, float(2 * stats.norm.sf(abs(z))))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values (Scand. J. Stat. 1979); NaN stays NaN, and is not counted."""
    given = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    adjusted = np.full(len(given), np.nan)
    grown = np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(grown, 1.0)
    return adjusted
