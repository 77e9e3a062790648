# SPDX-License-Identifier: Apache-2.0
"""From scores of cases with known answers to probabilities and promises about new ones."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression


def venn_abers(scores: np.ndarray, positive: np.ndarray, score: float,
               ) -> tuple[float, float, float]:
    """Probability that a new case is positive, and the interval around it; 0 to 1.

    Source: inductive Venn-Abers prediction, Vovk & Petej, UAI 2014.

    Args:
        scores: of known cases, (n,); higher ones are more often positive.
        positive: whether they are, (n,).
        score: of the new case.
    """
    scores = np.append(scores, score)
    order = np.argsort(scores, kind="stable")
    # equal scores belong together: each gets the mean of its group
    groups = np.unique(scores[order], return_inverse=True)[1]
    counts = np.bincount(groups)
    here = groups[np.flatnonzero(order == len(scores) - 1)[0]]
    ends = []
    for supposed in (0.0, 1.0):
        happened = np.append(positive, supposed)[order]
        means = np.bincount(groups, happened) / counts
        ends.append(float(isotonic_regression(means, weights=counts).x[here]))
    low, high = ends
    return high / (1 - low + high), low, high


def conformal_limit(doubts: np.ndarray, error: float) -> float:
    """What a new case's doubt stays within but for a share ``error``; infinite for too few cases.

    Source: split conformal prediction, Vovk et al., Algorithmic Learning in a Random World, 2005.

    Args:
        doubts: of known cases, (n,).
        error: 0 to 1.
    """
    rank = int(np.ceil((len(doubts) + 1) * (1 - error)))
    return float(np.sort(doubts)[rank - 1]) if rank <= len(doubts) else np.inf


def expected_calibration_error(probability: np.ndarray, happened: np.ndarray,
                               bins: int = 10) -> float:
    """Mean distance between how sure and how often right, over bins of equal width.

    Source: Naeini et al., AAAI 2015.

    Args:
        probability: (n,), 0 to 1.
        happened: (n,), whether it was so.
    """
    probability, happened = np.asarray(probability, float), np.asarray(happened, float)
    place = np.minimum((probability * bins).astype(int), bins - 1)
    sums = [np.bincount(place, weights, bins) for weights in (probability, happened)]
    return float(np.abs(sums[0] - sums[1]).sum() / len(probability))
