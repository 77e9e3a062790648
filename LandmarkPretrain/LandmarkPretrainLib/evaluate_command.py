# SPDX-License-Identifier: Apache-2.0
"""How well a model finds and names landmarks in a list of cases that it has not seen."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import measured_part
from ReadingRoomLib.errors import BadInput

from . import engines
from .detection import Found
from .evaluation import PICTURES, measured_on, prepare_cases
from .landmark_cases import read_cases
from .landmark_errors import WITHIN_MM, radial_errors
from .landmark_files import key_of
from .model_writing import stated
from .prepared_cases import PreparedCase

ERRORS = "errors.csv"


@dataclass(frozen=True)
class Options:
    """What is to be measured.

    Attributes:
        data: list of images with landmarks.
        work: folder for images as the network sees them.
        model: name of a model, or folder of one.
        part: of the list; empty: the test part where there is one, otherwise all.
        within_mm: distances of the success detection rates.
    """

    data: Path
    work: Path
    model: str = "starter"
    part: str = ""
    within_mm: tuple[float, ...] = WITHIN_MM


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Measure a model and write the table and the pictures into the job's folder.

    Raises:
        BadInput: the list cannot be used, or has none of the model's landmarks.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("list", 1, "Reading the list")
    bundle = engines.load_model(options.model)
    model = engines.model_of(bundle)
    cases = read_cases(options.data, model.modality, least_patients=1)
    for sentence in cases.warnings:
        job.warn(sentence)
    chosen = measured_part(cases.parts, options.part)
    names = _spelled(model.names, cases.names)
    job.progress.stage("images", len(chosen), "Reading the images")
    prepared = prepare_cases(chosen, names, model.recipe.fine_mm, options.work,
                             job.progress.advance)
    measured = measured_on(prepared, model, job, options.within_mm)
    _write_errors(job.folder / ERRORS, model.names, measured.found, prepared)
    job.record(model=bundle.described(), cases=len(prepared), **measured.recorded(),
               files={"errors": ERRORS, **PICTURES})
    for name, value in measured.estimates.items():
        say(f"{stated(name)}: {value.in_full()}")


def _spelled(names: Sequence[str], given: Sequence[str]) -> list[str]:
    """The model's landmarks as the list spells them."""
    spelled = {key_of(name): name for name in given}
    if not any(key_of(name) in spelled for name in names):
        raise BadInput("The list has none of the model's landmarks: their names differ, such as "
                       f'"{given[0]}" and "{names[0]}".')
    return [spelled.get(key_of(name), name) for name in names]


def _write_errors(path: Path, names: Sequence[str], found: Sequence[Found],
                  cases: Sequence[PreparedCase]) -> None:
    """A row for each landmark: in how many cases it is given and found, and how far off."""
    errors = np.stack([radial_errors(own.points, case.points)
                       for own, case in zip(found, cases, strict=True)])
    given = np.stack([np.isfinite(case.points).all(1) for case in cases])
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["landmark", "given", "found", "mean_error_mm", "median_error_mm",
                         "largest_error_mm"])
        for number, name in enumerate(names):
            own = errors[:, number][np.isfinite(errors[:, number])]
            numbers = [f"{value:.2f}" for value in (own.mean(), np.median(own), own.max())
                       ] if len(own) else ["", "", ""]
            writer.writerow([name, int(given[:, number].sum()), len(own), *numbers])
