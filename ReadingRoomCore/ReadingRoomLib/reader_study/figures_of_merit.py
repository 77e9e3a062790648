# SPDX-License-Identifier: Apache-2.0
"""Empirical curves of a reader study and the areas under them, with their jackknife values.

Every area is a mean over pairs of a false mark and a lesion, in which the pair counts 1 when the
lesion was rated higher, 1/2 when both were rated alike, and 0 otherwise; what was not marked is
rated lowest. Sources: Bamber, Journal of Mathematical Psychology 1975 (ROC); Chakraborty & Berbaum,
Medical Physics 2004, and Chakraborty & Zhai, Medical Physics 2016 (AFROC, wAFROC).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .study import NOT_MARKED, ReaderStudy


class Figure(StrEnum):
    """Figure of merit.

    ROC: area under the curve of cases called diseased, from the surest mark of each case.
    FROC: area under the curve of lesions found against false marks per case, up to the curve's own
        end. It has no upper limit and grows with false marks, so it is to look at, not to test.
    AFROC: area under the curve of lesions found against healthy cases with a false mark.
    WAFROC: the same with each diseased case counting alike, however many lesions it has, and each
        lesion by its weight.
    """

    ROC = "ROC"
    FROC = "FROC"
    AFROC = "AFROC"
    WAFROC = "wAFROC"


@dataclass(frozen=True)
class Pairs:
    """What the cases contribute to a figure of merit of one reader in one modality.

    Attributes:
        scores: (cases, cases) sum over the pairs of a false mark of the first case with a lesion of
            the second.
        false: (cases,) what the first case counts in the denominator.
        lesions: (cases,) what the second counts.
    """

    scores: np.ndarray
    false: np.ndarray
    lesions: np.ndarray

    @property
    def area(self) -> float:
        """The figure of merit."""
        return float(self.scores.sum() / (self.false.sum() * self.lesions.sum()))

    @property
    def jackknife(self) -> np.ndarray:
        """(cases,) the figure of merit without each case."""
        # added up, not taken away from the total: what is 0 without a case comes out as 0
        others = 1 - np.eye(len(self.scores))
        scores = ((others @ self.scores) * others).sum(1)
        return scores / ((self.false.sum() - self.false) * (self.lesions.sum() - self.lesions))


def pairs_of(study: ReaderStudy, figure: Figure, modality: int, reader: int) -> Pairs:
    """Compare the false marks of every case with the lesions of every case.

    Args:
        study: the ratings.
        figure: which figure of merit.
        modality, reader: index.
    """
    read = modality, reader
    diseased = study.diseased.astype(float)
    if figure == Figure.ROC:
        false = lesion = study.case_ratings[read][:, None]
        weights, false_weights = diseased[:, None], 1 - diseased[:, None]
    else:
        lesion = study.lesion_ratings[read]
        weights = study.weights if figure == Figure.WAFROC else study.lesions.astype(float)
        if figure == Figure.FROC:
            false = study.other_ratings[read]
            false_weights = (false > NOT_MARKED).astype(float)
        else:
            false = study.highest_other[read][:, None]
            false_weights = 1 - diseased[:, None]
    scores = np.zeros((len(study.cases),) * 2)
    for column, weight in zip(false.T, false_weights.T, strict=True):
        for other, importance in zip(lesion.T, weights.T, strict=True):
            wins = (other > column[:, None]) + 0.5 * (other == column[:, None])
            scores += weight[:, None] * wins * importance
    counted = np.ones(len(study.cases)) if figure == Figure.FROC else 1 - diseased
    return Pairs(scores, counted, weights.sum(1))


def areas(study: ReaderStudy, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """The figure of merit of every reader in every modality, and without each case.

    Returns:
        (modalities, readers) and (modalities, readers, cases).
    """
    pairs = [[pairs_of(study, figure, modality, reader) for reader in range(len(study.readers))]
             for modality in range(len(study.modalities))]
    return (np.array([[p.area for p in row] for row in pairs]),
            np.array([[p.jackknife for p in row] for row in pairs]))


def curve(study: ReaderStudy, figure: Figure, modality: int, reader: int
          ) -> tuple[np.ndarray, np.ndarray]:
    """Operating points from the strictest threshold to the laxest.

    Returns:
        x and y, both beginning at 0: the share of healthy cases with a false mark (FROC: false
        marks per case) and the share of diseased cases or lesions found. But for FROC the curve
        ends at (1, 1), to which a straight line leads from the last rating. The area under the line
        through the points is the figure of merit.
    """
    read = modality, reader
    healthy = ~study.diseased
    if figure == Figure.ROC:
        false = study.case_ratings[read][healthy]
        found, weights = study.case_ratings[read][study.diseased], 1.0
    else:
        false = (study.other_ratings[read].ravel() if figure == Figure.FROC
                 else study.highest_other[read][healthy])
        found = study.lesion_ratings[read][study.lesions]
        weights = study.weights[study.lesions] if figure == Figure.WAFROC else 1.0
    weights = np.broadcast_to(weights, found.shape)
    thresholds = np.unique(np.concatenate([false, found]))[::-1]
    thresholds = thresholds[thresholds > NOT_MARKED]
    counted = len(study.cases) if figure == Figure.FROC else len(false)
    x = [(false >= threshold).sum() / counted for threshold in thresholds]
    y = [weights[found >= threshold].sum() / weights.sum() for threshold in thresholds]
    end = [] if figure == Figure.FROC else [1.0]
    return np.array([0.0, *x, *end]), np.array([0.0, *y, *end])
