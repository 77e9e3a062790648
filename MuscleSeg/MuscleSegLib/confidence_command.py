# SPDX-License-Identifier: Apache-2.0
"""How far the confidence of a model can be trusted, and a calibration that makes it a Dice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair, content_of, measured_part, read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.montecarlo import UNCERTAINTIES

from . import confidence_report
from .confidence_fitting import (
    LEAST_PATIENTS,
    Aim,
    Case,
    applied,
    calibrate,
    check_fitting,
    cross_fitted,
)
from .confidence_report import OwnPromise
from .confidence_statistics import BY_MEAN, BY_SURFACE, ScoredStructure
from .contrasts import read_for
from .grids import on_input_grid, upright
from .named_labels import reference_on
from .segmentation import calibration_for, load_model, predict
from .sides import midline, split_sides
from .structure_scores import StructureScores, over_surface, structure_scores, surface_areas
from .structures import STRUCTURES, LabelledStructure, labels_of

KEY = "segmentation"
CALIBRATION, SCORES, REPORT = "calibration.json", "scores.csv", "report.html"
STEPS = 100  # of the progress, for each CT
SIMULATED = ("These CTs are simulated: on real ones the confidence may be worth less, and the "
             "promise of the lower bound does not hold.")


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        data: list of CTs with their segmentations, see :mod:`ReadingRoomLib.datalists`; one without
            ``segmentation`` shows none of the structures. CTs of several sites (``site``) are
            reported apart, and compared with the first of them where patients are the same.
        model: name of a model, or folder of one.
        recipe: what the model must have been trained as, or None.
        samples: Monte Carlo samples.
        part: of the list; empty: the test part where there is one, otherwise all.
        coverage: share of structures whose Dice shall be at least the lower bound.
        level: Dice below which a structure is bad.
    """

    data: Path
    model: str = "starter"
    recipe: str | None = None
    samples: int = 10
    part: str = ""
    coverage: float = 0.9
    level: float = 0.8


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Segment the CTs of a list, learn what the confidence is worth, and report.

    Args:
        job: gets ``report.html``, ``scores.csv``, ``calibration.json`` and pictures.
        options: what is measured.
        say: shows a person a line.

    Raises:
        BadInput: the list, a CT or a segmentation cannot be used, patients are too few, or a
            library is missing.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    check_fitting()  # what is missing is said before the work
    job.progress.stage("list", 1, "Reading the list")
    listed = measured_part(read_pairs(options.data, KEY, needed=False), options.part)
    patients = {pair.patient for pair in listed}
    if len(patients) < LEAST_PATIENTS:
        raise BadInput(f"The list names {len(patients)} patients, but learning what the confidence "
                       f"is worth needs at least {LEAST_PATIENTS}: add patients to it.")
    simulated = content_of(options.data.absolute()).get("simulated") is True
    if simulated:
        job.warn(SIMULATED)
    bundle = load_model(options.model, options.recipe)
    job.progress.stage("cases", STEPS * len(listed), "Segmenting and comparing")
    found: list[tuple[ScoredStructure, Case]] = []
    counts = {"scans": len(listed), "patients": len(patients), "refused": 0, "missed": 0}
    for number, pair in enumerate(listed):
        def advance(share: float, number: int = number) -> None:
            job.progress.advance(round(STEPS * (number + share)))

        found += _scored(job, bundle, pair, options, advance, counts)
        advance(1.0)
    if not found:
        raise BadInput("The model found no structure in these CTs: there is nothing to learn from.")
    job.progress.stage("learn", 1, "Learning what the confidence is worth")
    scored, cases = zip(*found, strict=True)
    aim = Aim(options.coverage, options.level, UNCERTAINTIES[0], options.samples, simulated)
    held_out = cross_fitted(cases, aim, job.seed)
    own = _own_promise(job, bundle, scored, cases, options)
    scored = _told(scored, held_out)
    calibration = calibrate(cases, aim, job.seed)
    job.progress.stage("write", 1, "Writing the result")
    (job.folder / CALIBRATION).write_text(json.dumps(calibration.written(), indent=1), "utf-8")
    _write_scores(job.folder / SCORES, scored)
    result = confidence_report.measured(scored, options.level, options.coverage)
    pictures = confidence_report.draw(scored, options.level, job.folder, job.warn)
    (job.folder / REPORT).write_text(
        confidence_report.page(result, own, counts, job.folder, pictures, job.warnings), "utf-8")
    job.record(model=bundle.described(), files={
        "report": REPORT, "scores": SCORES, "calibration": CALIBRATION, **pictures},
        simulated=simulated, counts=counts, **result.written(),
        **({"own_promise": own.written()} if own else {}))
    for line in [*result.sentences(counts), *([own.sentence] if own else [])]:
        say(line)


def _own_promise(job: Job, bundle: Bundle, scored: Sequence[ScoredStructure],
                 cases: Sequence[Case], options: Options) -> OwnPromise | None:
    """What the calibration that the model came with says of these patients, if it has one."""
    def warn(sentence: str) -> None:
        job.warn(f"The model's own promise is not held against these patients. {sentence}")

    calibration = calibration_for(bundle, None, options.samples, UNCERTAINTIES[0], warn)
    if calibration is None:
        return None
    told = _told(scored, applied(calibration, cases, options.samples))
    return OwnPromise(calibration.summary, confidence_report.measured(
        told, options.level, calibration.coverage))


def _told(scored: Sequence[ScoredStructure], told: np.ndarray) -> list[ScoredStructure]:
    """The structures with a predicted Dice and a lower bound, (n, 2)."""
    return [replace(one, predicted_dice=float(predicted), dice_lower_bound=float(bound))
            for one, (predicted, bound) in zip(scored, told, strict=True)]


def _scored(job: Job, bundle: Bundle, pair: Pair, options: Options,
            advance: Callable[[float], None], counts: dict[str, int]
            ) -> list[tuple[ScoredStructure, Case]]:
    """The structures that were found in a CT; those that were not, and scans without, are counted.
    """
    def warn(sentence: str) -> None:
        job.warn(f"{pair.image.name}: {sentence}")

    source = read_for(bundle.metadata, pair.image)
    for sentence in source.warnings:
        warn(sentence)
    if pair.companion is None:
        reference = np.zeros(source.image.GetSize()[::-1], np.uint8)
        named = frozenset(structure.value for structure in STRUCTURES)
    else:
        labels, named = reference_on(source, pair.companion, warn)
        reference = sitk.GetArrayFromImage(labels)
    volume, order = upright(source, bundle.metadata)
    try:
        prediction = predict(job, bundle, volume, options.samples,
                             lambda done, total: advance(0.9 * done / max(total, 1)), UNCERTAINTIES,
                             pair.image.name)
    except BadInput:
        counts["refused"] += 1
        return []
    middle = midline(prediction.labels)
    split_sides(prediction.labels, middle)
    spacing = volume.GetSpacing()[::-1]
    scores = structure_scores(prediction, float(np.prod(spacing)) / 1000, middle)
    areas = surface_areas(prediction.labels, spacing)
    ours = sitk.GetArrayFromImage(on_input_grid(prediction.labels, source, order, "nearest"))
    dice = dice_of_labels(ours, reference)
    found = []
    for label in labels_of(sides=True):
        if label.structure.value not in named:
            continue
        if label.value in scores:
            found.append(_found(pair, label, scores[label.value], areas[label.value],
                                dice[label.value]))
        elif dice[label.value] == 0:
            counts["missed"] += 1
    return found


def _found(pair: Pair, label: LabelledStructure, scores: StructureScores, area_mm2: float,
           dice: float) -> tuple[ScoredStructure, Case]:
    uncertainties = {(kind, how): own[kind] for kind in scores.uncertainty
                     for how, own in ((BY_MEAN, scores.uncertainty),
                                      (BY_SURFACE, over_surface(scores, area_mm2)))}
    scored = ScoredStructure(
        pair.patient, pair.image.name, pair.site, label.structure.name, label.side or "", dice,
        scores.volume_ml, scores.cut_off, scores.expected_dice, uncertainties, np.nan, np.nan)
    return scored, Case(pair.patient, label.structure, False, scores, dice)


def dice_of_labels(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Dice of every label, (256,); NaN where neither has it.

    Args:
        predicted, reference: uint8 of one shape, (z, y, x).
    """
    both, sizes = np.zeros((2, 256))
    for one, other in zip(predicted, reference, strict=True):
        both += np.bincount(one[one == other], minlength=256)
        sizes += np.bincount(one.ravel(), minlength=256)
        sizes += np.bincount(other.ravel(), minlength=256)
    return np.divide(2 * both, sizes, out=np.full(256, np.nan), where=sizes > 0)


def _write_scores(path: Path, scored: Sequence[ScoredStructure]) -> None:
    """One line for each structure of each CT."""
    rows = [_row(one) for one in scored]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _row(one: ScoredStructure) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in vars(one).items():
        if name == "uncertainties":
            for (kind, how), own in value.items():
                unit = "" if how == BY_MEAN else "_over_surface_mm"
                row[kind.replace("-", "_") + unit] = f"{own:.5f}"
        elif isinstance(value, bool):
            row[name] = "yes" if value else ""
        else:
            row[name] = f"{value:.4f}" if isinstance(value, float) else value
    return row
