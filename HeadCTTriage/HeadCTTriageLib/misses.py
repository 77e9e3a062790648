# SPDX-License-Identifier: Apache-2.0
"""What can be promised about urgent cases that a threshold misses.

Bounds are exact (Clopper & Pearson, Biometrika 1934): no miss in 59 urgent cases supports a miss
rate of at most 5 % with 95 % confidence, no miss in 299 one of at most 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """A probability from which a case counts as urgent.

    Attributes:
        value: 0 to 1; cases at it or above are urgent.
        missed, urgent: urgent cases below it, and all.
        highest_miss_rate: upper bound of the miss rate with 95 % confidence.
        sensitivity, specificity: in the cases that it was chosen on.
    """

    value: float
    missed: int
    urgent: int
    highest_miss_rate: float
    sensitivity: float
    specificity: float


def highest_rate(events: int, cases: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound of a rate.

    Raises:
        ValueError: more events than cases, or none of either to speak of.
    """
    from scipy.stats import beta

    if not 0 <= events <= cases or cases < 1 or not 0 < confidence < 1:
        raise ValueError(f"{events} of {cases} is no rate")
    return 1.0 if events == cases else float(beta.ppf(confidence, events + 1, cases - events))


def cases_needed(rate: float, misses: int = 0, confidence: float = CONFIDENCE) -> int:
    """How many urgent cases support a miss rate of at most ``rate`` when so many are missed."""
    if not 0 < rate < 1:
        raise ValueError(f"{rate} is no rate between 0 and 1")
    low = high = misses + 1
    while highest_rate(misses, high, confidence) > rate:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if highest_rate(misses, middle, confidence) > rate:
            low = middle + 1
        else:
            high = middle
    return high


def choose_threshold(probability: np.ndarray, urgent: np.ndarray, most_missed: float,
                     confidence: float = CONFIDENCE) -> Threshold | None:
    """The highest threshold whose miss rate is at most ``most_missed`` with confidence.

    The bound holds for a threshold that is fixed before. Chosen on the same cases it is a little
    too good, so what is reported must be measured on others.

    Args:
        probability: of being urgent, (n,), 0 to 1.
        urgent: whether each is, (n,).
        most_missed: share of urgent cases.

    Returns:
        None where there are too few urgent cases to promise this of any threshold.

    Raises:
        ValueError: the arrays do not fit together, or hold no number.
    """
    probability, urgent = np.asarray(probability, float), np.asarray(urgent, bool)
    if probability.shape != urgent.shape or probability.ndim != 1:
        raise ValueError(f"shapes {probability.shape} and {urgent.shape} do not fit together")
    if not np.isfinite(probability).all():
        raise ValueError("a probability is no number")
    cases = np.sort(probability[urgent])
    allowed = -1
    while allowed + 1 < len(cases) and highest_rate(
            allowed + 1, len(cases), confidence) <= most_missed:
        allowed += 1
    if allowed < 0:
        return None
    value = float(cases[allowed])
    missed = int((cases < value).sum())  # fewer than allowed where several are equal
    others = probability[~urgent]
    return Threshold(value, missed, len(cases), highest_rate(missed, len(cases), confidence),
                     1 - missed / len(cases),
                     float((others < value).mean()) if len(others) else float("nan"))
