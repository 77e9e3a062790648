# SPDX-License-Identifier: Apache-2.0
"""The job that disturbs studies: folders of patients in, a table, curves and a report out."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.devices import MemoryFallback
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.perturbations import Perturbation

from . import robustness_report as report
from .engines import check_missing, classifier_of, load_model, may_be_missing
from .evaluation import MOST_SLICES
from .perturbations import PERTURBATIONS
from .regions import check_region, few_slices, proposed_region, read_region
from .robustness import Answer, Classify, Patient, answers_of, changes_of
from .sequences import SEQUENCES
from .study import read_study

ROI = "roi"
FILES = {"answers": "robustness.csv", "curves": "robustness.png", "report": "report.html"}


@dataclass(frozen=True)
class Options:
    """What to disturb, and how.

    Attributes:
        studies: folders, see :func:`images_in`.
        model: name in the registry or folder of a bundle.
        error: share of patients of each kind whose set of kinds may lack the true one.
        only: names in PERTURBATIONS; all when none are given.
    """

    studies: Sequence[Path]
    model: str
    error: float
    only: tuple[str, ...] = ()


def run(job: Job, options: Options) -> None:
    """Measure a model on patients, and write table, curves and report into the job's folder.

    Raises:
        BadInput: a study or a region cannot be used.
        ModelMissing, ModelUntrusted: the model cannot be used.
        ModuleNotFoundError: matplotlib is not installed.
    """
    report.check_drawing()
    chosen = chosen_perturbations(options.only)
    bundle = load_model(options.model)
    job.record(model=bundle.described())
    strengths = 1 + sum(len(each.strengths) for each in chosen)
    job.progress.stage("disturb", len(options.studies) * strengths, "Disturbing images")
    classify = _classify_with(job, bundle, options.error)
    answers: list[Answer] = []
    for number, folder in enumerate(options.studies, 1):  # one at a time, for the memory's sake
        patient = _patient(job, folder, number, bundle)
        for answer in answers_of(number, patient, classify, chosen, job.seed):
            answers.append(answer)
            job.progress.advance(len(answers))
    if bundle.metadata["simulated"]:
        job.warn("The model learned from simulated tumours only: what moves it says little about "
                 "other models.")
    _write(job, answers, chosen)


def chosen_perturbations(names: Sequence[str]) -> list[Perturbation]:
    """Those of these names in PERTURBATIONS, once each; all when none are given.

    Raises:
        BadInput: there is none of a name.
    """
    unknown = [name for name in names if name not in PERTURBATIONS]
    if unknown:
        raise BadInput(f'"{unknown[0]}" is nothing that images can be disturbed by (--only): '
                       f"choose from {', '.join(PERTURBATIONS)}.")
    return [PERTURBATIONS[name] for name in dict.fromkeys(names or PERTURBATIONS)]


def images_in(folder: Path) -> Mapping[str, Path] | Path:
    """The sequences of a study: files or DICOM folders named t1, t2 and t1c, or else the folder.

    Raises:
        BadInput: there is no such folder, or there are two of a name.
    """
    named = [_named(folder, name) for name in SEQUENCES]
    found = {name: path for name, path in zip(SEQUENCES, named, strict=True) if path}
    return found or folder


def region_in(folder: Path) -> Path | None:
    """The region of a study: the file named roi (``roi.mrk.json``, ``roi.nrrd`` ...), or None.

    Raises:
        BadInput: as :func:`images_in`.
    """
    return _named(folder, ROI)


def _named(folder: Path, name: str) -> Path | None:
    """What is called so, whatever its type."""
    if not folder.is_dir():
        raise BadInput(f"{folder.name} is not a folder: name the folder of a study.")
    found = [path for path in sorted(folder.iterdir()) if path.name.lower().split(".")[0] == name]
    if len(found) > 1:
        raise BadInput(f"There are {found[0].name} and {found[1].name} in {folder.name}: leave one "
                       "of them.")
    return found[0] if found else None


def _patient(job: Job, folder: Path, number: int, bundle: Bundle) -> Patient:
    """A study with its region."""
    try:
        study = read_study(images_in(folder), may_be_missing(bundle), seed=job.seed)
        check_missing(bundle, study.missing)
        roi = region_in(folder)
        if roi:
            region = read_region(study, roi)
        else:
            region, _ = proposed_region(study)
            job.warn(f"Study {number} has no file named roi, so where its tumour is was proposed "
                     "and not drawn.")
    except BadInput as refused:
        raise BadInput(f"Study {number}: {refused.message}") from refused
    doubts = [*study.warnings, *check_region(study, region)]
    for doubt in doubts:
        job.warn(f"Study {number}: {doubt}")
    return Patient(study, few_slices(study.reference, region, MOST_SLICES), doubts)


def _classify_with(job: Job, bundle: Bundle, error: float) -> Classify:
    """The model, on the processor when the graphics card has too little memory."""
    classifier = functools.cache(lambda device: classifier_of(bundle, device, error))
    fallback = MemoryFallback(1, job.device, job.warn)

    def classify(*arguments):
        found = fallback.run(lambda _, device: classifier(device)(*arguments, explain=False))
        job.device = fallback.device
        return found

    return classify


def _write(job: Job, answers: Sequence[Answer], chosen: Sequence[Perturbation]) -> None:
    changes = changes_of(answers)
    kinds = list(answers[0].probabilities)
    with (job.folder / FILES["answers"]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "perturbation", "unit", "strength", *kinds, "not excluded",
                         "decision"])
        writer.writerows([
            each.patient, each.perturbation, each.unit, f"{each.strength:g}",
            *(f"{each.probabilities[kind]:.4f}" for kind in kinds),
            " ".join(each.prediction_set), each.decision] for each in answers)
    report.draw_curves(answers, changes, job.folder / FILES["curves"])
    (job.folder / FILES["report"]).write_text(
        report.page(answers, changes, job.folder, FILES, job.warnings), "utf-8")
    job.record(files=FILES, studies=max(each.patient for each in answers),
               changes=[each.written() for each in changes],
               perturbations=[each.name for each in chosen])
