# SPDX-License-Identifier: Apache-2.0
"""How often a model names a patch right: top-1 and top-5, by patient, and what it confuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .engines import LandmarkModel
from .networks import NONE
from .prepared_cases import Extractors, PreparedCase
from .sampling import known, labels_of, places_of_none

NONE_SHARE = 0.2  # of a case's patches, as many as a fifth of its landmarks, show none
TOP = 5


@dataclass(frozen=True)
class PatchAnswers:
    """What a model said of the patches of test cases.

    Attributes:
        truth: (n,) classes; 0 is none.
        logits: (n, classes).
        cases: (n,) number of each patch's case.
        points: (n, 3) LPS mm.
        patients: of the cases.
    """

    truth: np.ndarray
    logits: np.ndarray
    cases: np.ndarray
    points: np.ndarray
    patients: tuple[str, ...]

    @property
    def ranks(self) -> np.ndarray:
        """(n,) how many classes were thought more likely than the true one."""
        own = np.take_along_axis(self.logits, self.truth[:, None], 1)
        return (self.logits > own).sum(1)

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) patches of each true class (rows) by what was said."""
        classes = self.logits.shape[1]
        found = np.zeros((classes, classes), int)
        np.add.at(found, (self.truth, self.logits.argmax(1)), 1)
        return found


def patch_answers(model: LandmarkModel, cases: Sequence[PreparedCase], seed: int, device: str,
                  advance: Callable[[int], None] = lambda done: None) -> PatchAnswers:
    """Ask for every landmark of the cases, and for places that are none (seeded).

    Args:
        model: to be measured.
        cases: that it was not trained on.
        seed: of the places that are none.
        device: to compute on.
        advance: told how many cases are done.
    """
    extractors = Extractors(cases)
    parts: dict[str, list[np.ndarray]] = {"truth": [], "logits": [], "cases": [], "points": []}
    for number, case in enumerate(cases):
        there = np.flatnonzero(known(case.points))
        count = max(1, round(len(there) * NONE_SHARE))
        none = places_of_none(case, extractors, number, count, model.recipe.patch_mm,
                              np.random.default_rng([seed, 5, number]))
        points = np.concatenate([case.points[there], none])
        parts["truth"].append(labels_of(there, count))
        turn = model.turn_in(extractors[number], np.array(case.origin), case.size_mm, device)
        parts["logits"].append(model.classify(extractors[number], points, device, turn).numpy())
        parts["cases"].append(np.full(len(points), number))
        parts["points"].append(points)
        advance(number + 1)
    return PatchAnswers(*(np.concatenate(parts[name])
                          for name in ("truth", "logits", "cases", "points")),
                        tuple(case.patient for case in cases))


def shares_by_patient(answers: PatchAnswers) -> dict[str, list[float]]:
    """Top-1 and top-5 of each patient, by name: of all classes, and of landmarks and none alone."""
    ranks, landmark = answers.ranks, answers.truth != NONE
    every = np.ones_like(landmark)
    owners = np.array(answers.patients)[answers.cases]
    found: dict[str, list[float]] = {}
    for name, right, counted in (
        ("top_1", ranks < 1, every), ("top_5", ranks < TOP, every),
        ("top_1_landmarks", ranks < 1, landmark), ("top_1_none", ranks < 1, ~landmark),
    ):
        found[name] = [float(right[counted & (owners == patient)].mean())
                       for patient in dict.fromkeys(owners.tolist())]
    return found
