# SPDX-License-Identifier: Apache-2.0
"""What readers said about cases whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ReadingRoomLib.errors import BadInput

NOT_MARKED = -np.inf


@dataclass(frozen=True)
class ReaderStudy:
    """Ratings of a study in which every reader read every case in every modality.

    A higher rating means more confidence that there is a lesion. In a free-response (FROC) study a
    reader marks any number of places in a case: a mark on a lesion is a rating of that lesion, any
    other mark is a false positive. In a ROC study a case has one rating, which stands in
    ``lesion_ratings`` where the case is diseased and in ``other_ratings`` where it is not.

    Attributes:
        modalities, readers, cases: names, all different.
        weights: (cases, lesions) importance of each lesion; a diseased case's weights sum to 1, a
            healthy case has none above 0, nor has a place where the case has no further lesion.
        lesion_ratings: (modalities, readers, cases, lesions), -inf where nothing was marked.
        other_ratings: (modalities, readers, cases, marks), -inf where there is no further mark.
        free_response: whether places were marked (FROC) or cases rated (ROC).

    Raises:
        BadInput: shapes do not fit, a rating is NaN or infinite, a healthy case has a lesion's
            rating, fewer than two cases are diseased or healthy, or a ROC study lacks a rating.
    """

    modalities: tuple[str, ...]
    readers: tuple[str, ...]
    cases: tuple[str, ...]
    weights: np.ndarray
    lesion_ratings: np.ndarray
    other_ratings: np.ndarray
    free_response: bool

    def __post_init__(self) -> None:
        read = len(self.modalities), len(self.readers), len(self.cases)
        if (self.lesion_ratings.shape != (*read, self.weights.shape[-1])
                or self.other_ratings.shape[:3] != read or self.other_ratings.ndim != 4
                or len(self.weights) != len(self.cases)):
            raise BadInput("The ratings of the reader study do not fit its cases and readers.")
        if not all(read):
            raise BadInput("The reader study has no modality, no reader or no case.")
        for ratings in (self.lesion_ratings, self.other_ratings):
            if np.isnan(ratings).any() or np.isposinf(ratings).any():
                raise BadInput("A rating of the reader study is no number.")
        if (self.lesion_ratings[..., ~self.lesions] > NOT_MARKED).any():
            raise BadInput("A lesion was rated that the truth of the reader study does not have.")
        healthy = int((~self.diseased).sum())
        if min(healthy, len(self.cases) - healthy) < 2:
            raise BadInput(f"The reader study has {len(self.cases) - healthy} diseased and "
                           f"{healthy} healthy cases; two of each are the least.")
        if not self.free_response:
            self._check_every_case_is_rated_once()

    @property
    def lesions(self) -> np.ndarray:
        """(cases, lesions) whether the case has that lesion."""
        return self.weights > 0

    @property
    def diseased(self) -> np.ndarray:
        """(cases,) whether the case has a lesion."""
        return self.lesions.any(1)

    @property
    def highest_other(self) -> np.ndarray:
        """(modalities, readers, cases) the surest false mark of a case, -inf without any."""
        return self.other_ratings.max(-1, initial=NOT_MARKED)

    @property
    def case_ratings(self) -> np.ndarray:
        """(modalities, readers, cases) the surest mark of a case: its rating in a ROC study."""
        return np.maximum(self.lesion_ratings.max(-1, initial=NOT_MARKED), self.highest_other)

    def _check_every_case_is_rated_once(self) -> None:
        marks = count_marks(self.lesion_ratings, self.other_ratings)
        for modality, reader, case in np.argwhere(marks != 1)[:1]:
            raise BadInput(
                f"Reader {self.readers[reader]} gave case {self.cases[case]} "
                f"{marks[modality, reader, case]} ratings in modality {self.modalities[modality]}; "
                "in a ROC study every case has one.")


def count_marks(lesion_ratings: np.ndarray, other_ratings: np.ndarray) -> np.ndarray:
    """(modalities, readers, cases) how many ratings were given."""
    return (lesion_ratings > NOT_MARKED).sum(-1) + (other_ratings > NOT_MARKED).sum(-1)


def as_other_ratings(marks: Mapping[tuple[int, int, int], Sequence[float]],
                     read: tuple[int, int, int]) -> np.ndarray:
    """The array :attr:`ReaderStudy.other_ratings` of the false marks by their place in it.

    Args:
        marks: ratings by (modality, reader, case).
        read: number of modalities, readers and cases.
    """
    ratings = np.full((*read, max(map(len, marks.values()), default=0)), NOT_MARKED)
    for place, given in marks.items():
        ratings[place][: len(given)] = given
    return ratings
