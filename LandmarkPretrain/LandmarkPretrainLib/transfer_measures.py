# SPDX-License-Identifier: Apache-2.0
"""What the comparison of arms says, from the scores of test patches alone.

Intervals are for other patients like the tested ones, with detectors as they were fitted. Areas
have intervals of DeLong's method for clustered data on the logit scale; differences have the
percentile interval of drawing patients again, the same for both arms, and p-values of three tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ReadingRoomLib.estimates import Estimate

from .delong import Areas, Placements, areas, compare, holm, interval, placements
from .free_response import RATES, FreeResponse, estimates, mark
from .label_efficiency import efficiency
from .transfer_bootstrap import Wins, draw_patients, estimate, two_sided_p, wins_of
from .transfer_samples import Samples

DRAWN_RATES = tuple(np.geomspace(0.0625, 16, 49).tolist())  # points of the drawn curves


@dataclass(frozen=True)
class Tested:
    """The test patches that are lesions or normal, as the statistics need them.

    Attributes:
        lesion: (n,) bool.
        patient: (n,) numbers below ``patients``.
        patients: how many.
        chosen: which of all patches of test cases these are.
    """

    lesion: np.ndarray
    patient: np.ndarray
    patients: int
    chosen: np.ndarray

    @classmethod
    def of(cls, samples: Samples) -> Tested:
        used = samples.used[samples.test]
        return cls(samples.lesion[samples.test][used], samples.patient[samples.test][used],
                   int(samples.patients(True).max()) + 1, used)

    def areas(self, scores: Mapping[str, Sequence[np.ndarray]]) -> Areas:
        """Areas of all stages of all arms, one arm after the other; repetitions are averaged."""
        found = [[placements(each[:, self.chosen], self.lesion) for each in repetitions]
                 for repetitions in scores.values()]
        joined = Placements(*(np.concatenate(
            [np.mean([getattr(one, part) for one in repetitions], 0) for repetitions in found])
            for part in ("positive", "negative")))
        return areas(joined, self.patient[self.lesion], self.patient[~self.lesion])

    def wins(self, scores: Sequence[np.ndarray], stages: Sequence[int]) -> Wins:
        """Wins at some stages (numbers from 0); repetitions are averaged."""
        found = [wins_of(each[list(stages)][:, self.chosen], self.lesion, self.patient,
                         self.patients) for each in scores]
        return Wins(np.mean([one.wins for one in found], 0), found[0].lesions, found[0].normals)


def measure_areas(tested: Tested, scores: Mapping[str, Sequence[np.ndarray]],
                  compared: Sequence[int], seed: int) -> dict[str, Any]:
    """Areas by number of weak learners, and differences between arms at some numbers.

    Args:
        tested: the patches.
        scores: by arm, for each repetition (stages, patches of test cases).
        compared: numbers of weak learners.
        seed: of the resampling.

    Returns:
        ``areas``: by arm, an estimate for each stage. ``comparisons``: a list with the pair, the
        number of weak learners, the difference with its interval, and p-values: ``delong`` takes
        all patches for independent, ``clustered`` and ``bootstrap`` do not, ``holm`` is
        ``clustered`` adjusted for all that are in the list.
    """
    arms = list(scores)
    stages = len(next(iter(scores.values()))[0])
    found = tested.areas(scores)
    independent = [_independent(tested, scores, number - 1) for number in compared]
    weights = draw_patients(tested.patients, (seed, 1))
    again = {arm: tested.wins(scores[arm], [number - 1 for number in compared]).resampled(weights)
             for arm in arms}
    comparisons = []
    for first, second in itertools.combinations(range(len(arms)), 2):
        for place, number in enumerate(compared):
            one = compare(found, first * stages + number - 1, second * stages + number - 1)
            resampled = again[arms[first]][place] - again[arms[second]][place]
            comparisons.append({
                "pair": [arms[first], arms[second]], "learners": number,
                "difference": estimate(one.value, resampled, tested.patients).written(),
                "clustered_interval": [_number(one.low), _number(one.high)],
                "p": {"delong": _number(compare(independent[place], first, second).p),
                      "clustered": _number(one.p), "bootstrap": _number(two_sided_p(resampled))}})
    adjusted = holm([np.nan if each["p"]["clustered"] is None else each["p"]["clustered"]
                     for each in comparisons])
    for each, p in zip(comparisons, adjusted, strict=True):
        each["p"]["holm"] = _number(p)
    curves = {arm: [Estimate(float(found.values[k]), *interval(found.values[k],
                                                              found.covariance[k, k]),
                             tested.patients).written()
                    for k in range(place * stages, (place + 1) * stages)]
              for place, arm in enumerate(arms)}
    return {"areas": curves, "comparisons": comparisons}


def _independent(tested: Tested, scores: Mapping[str, Sequence[np.ndarray]], stage: int) -> Areas:
    """Areas of the arms at one stage with DeLong's own covariance."""
    at_stage = {arm: [each[stage:stage + 1] for each in repetitions]
                for arm, repetitions in scores.items()}
    alone = Tested(tested.lesion, np.arange(len(tested.patient)), len(tested.patient),
                   tested.chosen)
    return alone.areas(at_stage)


def measure_efficiency(tested: Tested, scores: Mapping[str, Mapping[int, Sequence[np.ndarray]]],
                       seed: int) -> dict[str, Any]:
    """Areas after fewer training patients.

    Args:
        tested: the patches.
        scores: by arm and number of patients, for each draw (patches of test cases,).
        seed: of the resampling.

    Returns:
        ``areas`` by arm and number of patients, and ``differences`` of the first arm to others.
    """
    weights = draw_patients(tested.patients, (seed, 2))
    wins = {arm: {size: wins_of(np.stack(draws)[:, tested.chosen], tested.lesion, tested.patient,
                                tested.patients) for size, draws in of_size.items()}
            for arm, of_size in scores.items()}
    first, *others = wins
    found = {arm: efficiency(of_arm, weights, seed) for arm, of_arm in wins.items()}
    gains = {other: efficiency(wins[first], weights, seed, wins[other]) for other in others}
    return {
        "areas": {arm: _by_size(each) for arm, each in found.items()},
        "differences": {other: _by_size(each) for other, each in gains.items()},
        "each_draw": {arm: {str(size): each.areas.tolist() for size, each in of_arm.items()}
                      for arm, of_arm in wins.items()}}


def _by_size(found: Mapping[int, Estimate]) -> dict[str, Any]:
    return {str(size): each.written() for size, each in found.items()}


def measure_free_response(samples: Samples, scores: Mapping[str, Sequence[np.ndarray]],
                          seed: int) -> dict[str, Any]:
    """Lesions found against false marks per case on the whole test volumes, by arm.

    Args:
        samples: all patches.
        scores: by arm, for each repetition (patches of test cases,).
        seed: of the resampling.
    """
    patients = samples.patients(True)
    weights = draw_patients(int(patients.max()) + 1, (seed, 3))
    found = {}
    for arm, repetitions in scores.items():
        curves = [FreeResponse(_marks(samples, patients, each)) for each in repetitions]
        each, mean = estimates(curves, weights)
        found[arm] = {
            "sensitivity": {f"{rate:g}": value.written()
                            for rate, value in zip(RATES, each, strict=True)},
            "mean_sensitivity": mean.written(),
            "curve": {"false_marks_per_case": list(DRAWN_RATES), "sensitivity": np.mean(
                [curve.sensitivities(rates=DRAWN_RATES)[0] for curve in curves], 0).tolist()}}
    candidates = samples.candidate
    return {"arms": found, "cases": len(patients), "candidates": int(candidates.sum()),
            "lesions": sum(len(case.lesions) for case in samples.cases[samples.training_cases:]),
            "reached": len({(int(case), int(lesion)) for case, lesion in zip(
                samples.case[candidates], samples.lesion_of[candidates], strict=True)
                if lesion >= 0})}


def _marks(samples: Samples, patients: np.ndarray, scores: np.ndarray) -> list:
    place = np.cumsum(samples.test) - 1  # of a patch among those of test cases
    found = []
    for number, patient in enumerate(patients, samples.training_cases):
        here = np.flatnonzero(samples.candidate & (samples.case == number))
        found.append(mark(int(patient), scores[place[here]], samples.lesion_of[here],
                          len(samples.cases[number].lesions)))
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
