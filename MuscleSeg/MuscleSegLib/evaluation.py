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

from ReadingRoomLib.estimates import Estimate
from ReadingRoomLib.metrics import Score, bootstrap_interval

from .prediction import Prediction
from .structures import STRUCTURES, structure_named

PUBLISHED = {
    "source": "Hiasa et al., IEEE TMI 2020: 20 real patients, cross-validation; published figures",
    "dice": "0.891 (SD 0.016)", "asd_mm": "0.994 (SD 0.230)",
    "muscles_within_1_mm": "11 of 19",
}
WITHIN_MM = 1.0
MEASURES = ("dice", "asd_mm", "nsd", "hd95_mm")


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

    @classmethod
    def of(cls, patient: str, image: str, value: int, score: Score, volume_ml: float,
           reference_ml: float, uncertainty: float) -> StructureScore:
        """From the score of a label."""
        return cls(patient, image, STRUCTURES[value - 1].name, **asdict(score),
                   volume_ml=volume_ml, reference_ml=reference_ml, uncertainty=uncertainty)

    @property
    def missed(self) -> bool:
        """Whether it is in one of the two only."""
        return math.isinf(self.asd_mm)


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
    groups = {"all": names, "muscles": [name for name in names if _is_muscle(name)],
              "bones": [name for name in names if not _is_muscle(name)]}
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


def _is_muscle(name: str) -> bool:
    return structure_named(name).group != "bone"


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
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(StructureScore)])
        writer.writeheader()
        for score in scores:
            writer.writerow({name: _written(value) for name, value in asdict(score).items()})


def _written(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4f}" if math.isfinite(value) else ""
