# SPDX-License-Identifier: Apache-2.0
"""How much the classifier's answer changes when images do: measured patient by patient.

The sequences are aligned and the region is found once; only what they show is changed, and the grey
values are fixed anew, as they would be for such images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import stats

from ReadingRoomLib.estimates import Estimate
from ReadingRoomLib.metrics import bootstrap_interval
from ReadingRoomLib.perturbations import Perturbation

from .classification import Classification
from .preparation import window
from .pseudo_rgb import pseudo_rgb
from .regions import Region
from .sequences import SEQUENCES
from .study import Study
from .training_slices import PIXELS, extent_mm

Classify = Callable[[np.ndarray, Sequence[bool], float, float, Sequence[str]], Classification]
"""As :class:`.classification.Classifier` is called."""
UNCHANGED = "as scanned"


@dataclass(frozen=True)
class Patient:
    """What is classified: a study, where its tumour is, and what makes that doubtful."""

    study: Study
    region: Region
    doubts: Sequence[str] = ()


@dataclass(frozen=True)
class Answer:
    """What is said of one patient after one strength of one perturbation.

    Attributes:
        patient: number of the patient, from 1.
        perturbation, unit, strength: what was done; UNCHANGED with 0 where nothing was.
        probabilities: by kind.
        prediction_set: kinds that are not excluded.
        decision: the one kind that is left, or "uncertain".
    """

    patient: int
    perturbation: str
    unit: str
    strength: float
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    decision: str

    @property
    def most_probable(self) -> str:
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Change:
    """What one strength of one perturbation does to all patients, against images as scanned.

    Attributes:
        perturbation, unit, strength: what was done.
        decisions: share of patients whose decision is another one, exact interval.
        kinds: share of patients whose most probable kind is another one, exact interval.
        probability: mean of the probability of the kind that was most probable as scanned,
            interval by resampling patients.
        largest: change of that probability in one patient.
    """

    perturbation: str
    unit: str
    strength: float
    decisions: Estimate
    kinds: Estimate
    probability: Estimate
    largest: float

    def written(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {name: value.written() if isinstance(value, Estimate) else value
                for name, value in vars(self).items()}


def answers_of(number: int, patient: Patient, classify: Classify,
               perturbations: Sequence[Perturbation], seed: int = 0) -> Iterator[Answer]:
    """What is said of a patient as scanned, and after every strength of every perturbation.

    Args:
        number: of the patient, from 1.
        patient: whom.
        classify: says what it is.
        perturbations: to measure.
        seed: with the number of the patient, of what is drawn; the same for all strengths.
    """
    yield _answer(number, patient, classify, UNCHANGED, "", 0.0, patient.study.images)
    for each in perturbations:
        for strength in each.strengths:
            images = each.apply(patient.study, strength, np.random.default_rng((seed, number)))
            yield _answer(number, patient, classify, each.name, each.unit, float(strength), images)


def _answer(number: int, patient: Patient, classify: Classify, perturbation: str, unit: str,
            strength: float, images: dict[str, sitk.Image]) -> Answer:
    study, region = patient.study, patient.region
    shown = replace(study, images=images, windows={
        name: window(image, study.brain) for name, image in images.items()})
    found = classify(pseudo_rgb(shown, region, PIXELS), [name in images for name in SEQUENCES],
                     region.side_mm, extent_mm(study, region), patient.doubts)
    return Answer(number, perturbation, unit, strength,
                  dict(zip(found.kinds, map(float, found.probabilities), strict=True)),
                  tuple(found.prediction_set), found.decision)


def changes_of(answers: Sequence[Answer]) -> list[Change]:
    """What the perturbations do, in their order.

    Args:
        answers: of all patients; each has been asked as scanned.
    """
    before = {each.patient: each for each in answers if each.perturbation == UNCHANGED}
    groups: dict[tuple[str, str, float], list[Answer]] = {}
    for each in answers:
        if each.perturbation != UNCHANGED:
            groups.setdefault((each.perturbation, each.unit, each.strength), []).append(each)
    found = []
    for key, group in groups.items():
        pairs = [(before[each.patient], each) for each in group]
        of_first = np.array([after.probabilities[old.most_probable] for old, after in pairs])
        moved = of_first - [old.probabilities[old.most_probable] for old, _ in pairs]
        found.append(Change(
            *key, _share([old.decision != after.decision for old, after in pairs]),
            _share([old.most_probable != after.most_probable for old, after in pairs]),
            bootstrap_interval(of_first), float(moved[np.abs(moved).argmax()])))
    return found


def _share(happened: Sequence[bool]) -> Estimate:
    """With its exact interval (Clopper & Pearson, Biometrika 1934); none of a single patient."""
    count, value = len(happened), float(np.mean(happened))
    if count < 2:
        return Estimate(value, np.nan, np.nan, count)
    ends = stats.binomtest(sum(happened), count).proportion_ci(0.95, "exact")
    return Estimate(value, float(ends.low), float(ends.high), count)
