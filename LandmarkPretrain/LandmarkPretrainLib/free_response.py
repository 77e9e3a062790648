# SPDX-License-Identifier: Apache-2.0
"""Free-response curves (FROC): lesions found against false marks per case, on whole volumes.

A lesion is found at a threshold when one of its candidates scores at least as much; further
candidates on the same lesion count as nothing. Source: Bunch et al., SPIE 1977; the mean of the
sensitivities at 1/8 to 8 false marks per case is the competition performance metric (CPM) of
Niemeijer et al., IEEE TMI 2011. No interpolation: a sensitivity is that of a threshold that keeps
to the number of false marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ReadingRoomLib.estimates import Estimate

from .transfer_bootstrap import estimate

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TOGETHER = 100  # resamplings at a time: each needs as many numbers as there are false marks
MISSED = -np.inf  # the score of a lesion without a candidate


@dataclass(frozen=True)
class Marked:
    """What was marked in one case.

    Attributes:
        patient: its number.
        lesions: score of each lesion, that of its surest candidate; :data:`MISSED` without one.
        false: scores of the candidates that lie on no lesion.
    """

    patient: int
    lesions: np.ndarray
    false: np.ndarray


def mark(patient: int, scores: np.ndarray, lesion_of: np.ndarray, lesions: int) -> Marked:
    """Sort the scored candidates of a case.

    Args:
        patient: its number.
        scores: of the candidates, (n,).
        lesion_of: number of the lesion that each candidate lies on, -1 for none, (n,).
        lesions: how many the case has.
    """
    best = np.full(lesions, MISSED)
    on_lesion = lesion_of >= 0
    np.maximum.at(best, lesion_of[on_lesion], scores[on_lesion])
    return Marked(patient, best, scores[~on_lesion])


class FreeResponse:
    """The curve of many cases.

    Args:
        cases: at least one, with at least one lesion among them.

    Raises:
        ValueError: there is no lesion at all.
    """

    def __init__(self, cases: Sequence[Marked]) -> None:
        self._patients = np.array([case.patient for case in cases])
        self.lesions = np.concatenate([case.lesions for case in cases])
        if not len(self.lesions):
            raise ValueError("Cases without any lesion have no sensitivity.")
        self._lesion_patients = np.repeat(self._patients, [len(case.lesions) for case in cases])
        false = np.concatenate([case.false for case in cases])
        owners = np.repeat(self._patients, [len(case.false) for case in cases])
        order = np.argsort(-false, kind="stable")
        self.false, self._false_patients = false[order], owners[order]
        self.patients = int(self._patients.max()) + 1

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """False marks per case and sensitivity at all thresholds, from the strictest on."""
        thresholds = np.unique(np.concatenate([self.lesions, self.false]))[::-1]
        thresholds = thresholds[thresholds > MISSED]
        false = np.searchsorted(-self.false, -thresholds, side="right") / len(self._patients)
        found = (self.lesions >= thresholds[:, None]).mean(1)
        return np.concatenate([[0.0], false]), np.concatenate([[0.0], found])

    def sensitivities(self, weights: np.ndarray | None = None,
                      rates: Sequence[float] = RATES) -> np.ndarray:
        """Sensitivity at each number of false marks per case.

        Args:
            weights: how often each patient counts, (resamplings, patients); left out: once.
            rates: false marks per case.

        Returns:
            (resamplings, rates), NaN where a resampling has no lesion.
        """
        if weights is None:
            weights = np.ones((1, self.patients))
        if len(weights) > TOGETHER:
            return np.concatenate([self.sensitivities(weights[start:start + TOGETHER], rates)
                                   for start in range(0, len(weights), TOGETHER)])
        cases = weights[:, self._patients].sum(1)
        so_far = np.cumsum(weights[:, self._false_patients], axis=1)
        lesions = weights[:, self._lesion_patients].astype(float)
        found = np.empty((len(weights), len(rates)))
        for number, rate in enumerate(rates):
            # all above the first false mark that is too many; of equal scores none is kept
            allowed = (so_far <= rate * cases[:, None] + 1e-9).sum(1)
            first = np.append(self.false, MISSED)[allowed]
            hit = self.lesions > first[:, None]
            with np.errstate(invalid="ignore"):
                found[:, number] = (lesions * hit).sum(1) / lesions.sum(1)
        return found


def estimates(curves: Sequence[FreeResponse],
              weights: np.ndarray) -> tuple[list[Estimate], Estimate]:
    """Sensitivity at each of :data:`RATES`, and CPM, with intervals by patient.

    Args:
        curves: repetitions of the same cases; their mean counts.
        weights: of :func:`.transfer_bootstrap.draw_patients`.
    """
    values = np.mean([curve.sensitivities()[0] for curve in curves], 0)
    resampled = np.mean([curve.sensitivities(weights) for curve in curves], 0)
    n = curves[0].patients
    each = [estimate(value, column, n) for value, column in zip(values, resampled.T, strict=True)]
    return each, estimate(values.mean(), resampled.mean(1), n)
