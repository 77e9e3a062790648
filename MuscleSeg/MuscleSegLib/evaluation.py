# SPDX-License-Identifier: Apache-2.0
"""Scores of structures and patients, and what they add up to.

Means are over patients: the structures of a patient are averaged first, and patients are resampled
for the intervals. Sides are scored together, as published (Hiasa et al., IEEE TMI 2020). What a
reference does not name is left out; what it names and was not found has Dice 0, no distance, and is
counted as missed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.estimates import Estimate
from ReadingRoomLib.metrics import bootstrap_interval, score_labels

from .prediction import Prediction
from .structures import LEFT_OFFSET, STRUCTURES

PUBLISHED = {
    "source": "Hiasa et al., IEEE TMI 2020: 20 real patients, cross-validation; published figures",
    "dice": "0.891 (SD 0.016)", "asd_mm": "0.994 (SD 0.230)",
    "muscles_within_1_mm": "11 of 19",
}
WITHIN_MM = 1.0
MEASURES = ("dice", "asd_mm", "nsd", "hd95_mm")
SCORES, CASES = "scores.csv", "cases.csv"
GROUPS = {
    "all": tuple(s.name for s in STRUCTURES),
    "muscles": tuple(s.name for s in STRUCTURES if s.group != "bone"),
    "bones": tuple(s.name for s in STRUCTURES if s.group == "bone"),
    "hip_muscles": tuple(s.name for s in STRUCTURES if s.group == "hip"),
    "thigh_muscles": tuple(s.name for s in STRUCTURES if s.group == "thigh"),
}
"""Structures that are averaged together."""


@dataclass(frozen=True)
class StructureScore:
    """Agreement of one structure of one CT with its reference.

    Attributes:
        patient, image: whose it is, and the file's name.
        structure: identifier, such as ``gluteus_maximus``.
        dice, asd_mm, nsd, hd95_mm: see :class:`ReadingRoomLib.metrics.Score`; NaN where neither
            has the structure, infinite distances where one of them has it not.
        volume_ml, reference_ml: as it was segmented, and as it is.
        uncertainty: mean of the voxels that were given to it, 0 to 1 (PSV of Hiasa et al. up to a
            constant); NaN where there are none.
    """

    patient: str
    image: str
    structure: str
    dice: float
    asd_mm: float
    nsd: float
    hd95_mm: float
    volume_ml: float
    reference_ml: float
    uncertainty: float

    @property
    def missed(self) -> bool:
        """Whether it is in one of the two only."""
        return math.isinf(self.asd_mm)


@dataclass(frozen=True)
class CaseTime:
    """How long the segmentation of a CT took; None where nobody knows.

    Attributes:
        patient, image: whose it is, and the file's name.
        seconds: by the clock.
        cpu_seconds: of the processors together, which other work on the computer changes little.
    """

    patient: str
    image: str
    seconds: float | None
    cpu_seconds: float | None


def scores_of_case(
    case: Pair, labels: sitk.Image, reference: sitk.Image, structures: Iterable[int],
    tolerance_mm: float, uncertainty: np.ndarray,
) -> list[StructureScore]:
    """Scores of the structures of a case, sides together, as published.

    Args:
        case: whose image it is.
        labels: as they were segmented, values of ``STRUCTURES``.
        reference: on the same grid, its sides apart or together.
        structures: values of ``STRUCTURES`` that both sides know.
        tolerance_mm: distance up to which surfaces count as the same, for the NSD.
        uncertainty: mean of each label, (labels + 1,).
    """
    predicted, truth = sitk.GetArrayViewFromImage(labels), sitk.GetArrayFromImage(reference)
    truth[truth > LEFT_OFFSET] -= LEFT_OFFSET
    spacing = labels.GetSpacing()[::-1]
    found = score_labels(predicted, truth, sorted(structures), spacing, tolerance_mm)
    ours_ml, theirs_ml = (_millilitres(array, spacing) for array in (predicted, truth))
    return [StructureScore(
        case.patient, case.image.name, STRUCTURES[value - 1].name, **asdict(score),
        volume_ml=float(ours_ml[value]), reference_ml=float(theirs_ml[value]),
        uncertainty=float(uncertainty[value])) for value, score in found.items()]


def _millilitres(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Volume of each label; slice by slice, because NumPy counts 8 bytes a voxel at a time."""
    count = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)
    return count * float(np.prod(spacing)) / 1000


def mean_uncertainties(prediction: Prediction) -> np.ndarray:
    """Mean uncertainty of the voxels of each label, (labels + 1,); NaN where there are none."""
    count, doubt = np.zeros((2, len(STRUCTURES) + 1))
    for labels, uncertainty in zip(prediction.labels, prediction.uncertainty, strict=True):
        count += np.bincount(labels.ravel(), minlength=len(count))
        doubt += np.bincount(labels.ravel(), uncertainty.ravel(), len(count))
    return np.divide(doubt, count, out=np.full(len(count), np.nan), where=count > 0)


def measured(scores: Sequence[StructureScore]) -> dict[str, Any]:
    """What ``result.json`` says: means with 95 % intervals, overall and of each structure."""
    known = [score for score in scores if not math.isnan(score.dice)]
    names = [structure.name for structure in STRUCTURES
             if any(score.structure == structure.name for score in known)]
    groups = {group: [name for name in own if name in names] for group, own in GROUPS.items()}
    overall = {group: _estimates(known, own) for group, own in groups.items() if own}
    each = {name: _estimates(known, [name]) for name in names}
    muscles = [each[name]["asd_mm"].value for name in groups["muscles"]]
    return {
        "measured": {group: {name: str(value) for name, value in own.items()}
                     for group, own in overall.items()},
        "estimates": {group: {name: value.written() for name, value in own.items()}
                      for group, own in overall.items()},
        "by_structure": {name: {measure: value.written() for measure, value in own.items()}
                         for name, own in each.items()},
        "muscles_within_1_mm": sum(value <= WITHIN_MM for value in muscles),
        "muscles": len(muscles),
        "patients": len({score.patient for score in known}),
        "missed": sum(score.missed for score in known),
    }


def _estimates(scores: Iterable[StructureScore], names: Sequence[str]) -> dict[str, Estimate]:
    """Means over patients of the means over some structures."""
    of_patient: dict[str, list[StructureScore]] = {}
    for score in scores:
        if score.structure in names:
            of_patient.setdefault(score.patient, []).append(score)
    return {measure: bootstrap_interval(
        [_mean(getattr(score, measure) for score in own) for own in of_patient.values()])
        for measure in MEASURES}


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def sentences(result: dict[str, Any]) -> list[str]:
    """What a person reads of it at once."""
    found = {name: Estimate.read(value) for name, value in result["estimates"]["all"].items()}
    lines = [f"Dice {found['dice'].in_full()}; published {PUBLISHED['dice']}",
             f"Average surface distance, mm: {found['asd_mm'].in_full()}; "
             f"published {PUBLISHED['asd_mm']}",
             f"{result['muscles_within_1_mm']} of {result['muscles']} muscles at or under "
             f"{WITHIN_MM:g} mm; published {PUBLISHED['muscles_within_1_mm']}"]
    if result["missed"]:
        lines.append(f"{result['missed']} structures are in the segmentation or in the reference "
                     "only: they have Dice 0 and no distance.")
    return lines


def write_scores(path: Path, scores: Sequence[StructureScore]) -> None:
    """One line for each structure of each CT; what cannot be measured is empty."""
    _write(path, StructureScore, scores)


def write_times(path: Path, times: Sequence[CaseTime]) -> None:
    """One line for each CT."""
    _write(path, CaseTime, times)


def read_scores(path: Path) -> list[StructureScore]:
    """What :func:`write_scores` wrote: a structure that one of the two has not is missed again.

    Raises:
        OSError, ValueError, KeyError: the file cannot be read, or is another table.
    """
    scores = []
    for row in _rows(path):
        numbers = {field.name: float(row[field.name] or "nan") for field in fields(StructureScore)
                   if field.name not in ("patient", "image", "structure")}
        if numbers["dice"] == 0 and math.isnan(numbers["asd_mm"]):
            numbers |= {"asd_mm": math.inf, "hd95_mm": math.inf}
        scores.append(StructureScore(row["patient"], row["image"], row["structure"], **numbers))
    return scores


def read_times(path: Path) -> list[CaseTime]:
    """What :func:`write_times` wrote; raises as :func:`read_scores`."""
    return [CaseTime(row["patient"], row["image"], *(
        float(row[name]) if row[name] else None for name in ("seconds", "cpu_seconds")))
        for row in _rows(path)]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, kind: type, rows: Sequence[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(kind)])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _written(value) for name, value in asdict(row).items()})


def _written(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4f}" if value is not None and math.isfinite(value) else ""
