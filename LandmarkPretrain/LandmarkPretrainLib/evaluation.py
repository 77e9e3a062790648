# SPDX-License-Identifier: Apache-2.0
"""A model asked for the landmarks of cases where they are known: to calibrate and to measure it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.estimates import Estimate
from ReadingRoomLib.metrics import bootstrap_interval

from .confidence import learn_confidence
from .detection import Found, detect
from .engines import LandmarkModel
from .fields import nothing
from .landmark_cases import Case
from .landmark_errors import WITHIN_MM, errors_by_patient, radial_errors
from .patch_evaluation import patch_answers, shares_by_patient
from .pictures import draw_confusion, draw_gallery
from .prepared_cases import PreparedCase, files_of, prepare_case
from .sampling import known

PICTURES = {"confusion": "confusion.png", "gallery": "gallery.png"}
NOISES = 3  # images of noise that are shown to calibrate


def prepare_cases(cases: Sequence[Case], names: Sequence[str], spacing_mm: float, folder,
                  advance: Callable[[int], None] = lambda done: None) -> list[PreparedCase]:
    """Make cases ready, each image once.

    Args:
        cases: read from a list.
        names: of the landmarks, in the order of their classes.
        spacing_mm: of the voxels that networks see.
        folder: keeps the images.
        advance: told how many are done.

    Raises:
        BadInput: an image cannot be used, or a landmark lies outside it.
    """
    found = []
    for number, case in enumerate(cases, 1):
        key = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
               for file in files_of(case.image)]
        found.append(prepare_case(case.patient, lambda case=case: case.read().image,
                                  case.points_of(names), case.modality, spacing_mm, folder, key))
        advance(number)
    return found


def found_in(model: LandmarkModel, cases: Sequence[PreparedCase], device: str,
             advance: Callable[[int], None] = lambda done: None) -> list[Found]:
    """What the model finds in each case."""
    detector = model.detector(device)
    found = []
    for number, case in enumerate(cases, 1):
        found.append(detect(case.image(), model.names, detector, model.shape, model.confidence))
        advance(number)
    return found


def calibrated(model: LandmarkModel, cases: Sequence[PreparedCase], found: Sequence[Found],
               device: str) -> LandmarkModel:
    """The model with a confidence learned from cases that its network was not trained on.

    Images of noise are shown, too: whatever is found in them is wrong.
    """
    evidence, right = [], []
    for case, own in zip(cases, found, strict=True):
        there = known(own.points)
        errors = radial_errors(own.points, case.points)[there]
        evidence.append(own.evidence[there])
        # found where none is, such as outside the image, is wrong, too
        right.append(np.nan_to_num(errors, nan=np.inf) <= model.recipe.right_mm)
    detector = model.detector(device)
    for number in range(NOISES):
        whole = np.load(cases[number % len(cases)].file, mmap_mode="r").shape
        shape = tuple(-(-size // 2) for size in whole)  # noise is alike everywhere
        noise = sitk.GetImageFromArray(nothing(shape, np.random.default_rng([9, number])).numpy())
        noise.SetSpacing((cases[0].spacing_mm,) * 3)
        own = detect(noise, model.names, detector, model.shape, believe=True)
        evidence.append(own.evidence[known(own.points)])
        right.append(np.zeros(len(evidence[-1]), bool))
    return replace(model, confidence=learn_confidence(
        np.concatenate(evidence), np.concatenate(right), model.recipe.right_mm))


@dataclass(frozen=True)
class Measured:
    """What a model did on cases that it was not trained on.

    Attributes:
        found: in each case in which landmarks were looked for.
        values: numbers by name, one of each patient.
    """

    found: list[Found]
    values: dict[str, list[float]]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Means over patients, with their intervals by resampling patients."""
        return {name: bootstrap_interval(each) for name, each in self.values.items()}

    def recorded(self) -> dict[str, Any]:
        """What ``result.json`` says of it."""
        found = self.estimates
        return {"measured": {name: str(value) for name, value in found.items()},
                "estimates": {name: value.written() for name, value in found.items()},
                "by_patient": {name: [None if math.isnan(value) else round(value, 4)
                                      for value in each] for name, each in self.values.items()}}


def measured_on(cases: Sequence[PreparedCase], model: LandmarkModel, job: Job,
                within_mm: Sequence[float] = WITHIN_MM, searched: int = 0) -> Measured:
    """Measure a model, and draw what it confuses and which patches it names right and wrong.

    Args:
        cases: that it was not trained on.
        model: calibrated.
        job: gets the pictures :data:`PICTURES`; its seed, device and progress are used.
        within_mm: distances of the success detection rates.
        searched: in at most so many cases landmarks are looked for; 0: in all.
    """
    looked = cases[:searched or None]
    job.progress.stage("measure", len(looked) + len(cases),
                       "Measuring on cases that it was not trained on")
    found = found_in(model, looked, job.device, job.progress.advance)
    answers = patch_answers(model, cases, job.seed, job.device,
                            lambda done: job.progress.advance(len(looked) + done))
    draw_confusion(answers, model.names, job.folder / PICTURES["confusion"])
    draw_gallery(answers, cases, model.recipe.kind.sizes_mm, model.names,
                 job.folder / PICTURES["gallery"], job.seed)
    return Measured(found, errors_by_patient(
        [own.points for own in found], [case.points for case in looked],
        [case.patient for case in looked], within_mm) | shares_by_patient(answers))
