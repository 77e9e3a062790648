# SPDX-License-Identifier: Apache-2.0
"""Two results of ``evaluate`` on the same CTs: whose error is smaller, and who is faster.

Only what both were asked for counts, patient by patient. A distance is compared where both found
the structure; what one of them missed shows in Dice, where it is 0, and is counted.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.estimates import Estimate
from ReadingRoomLib.metrics import paired_interval
from ReadingRoomLib.results import read_result

from .evaluation import CASES, GROUPS, SCORES, CaseTime, StructureScore, read_scores, read_times


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        name: of the method, for people.
        scores: of each structure of each CT.
        times: of each CT.
        tolerance_mm: of the NSD.
    """

    name: str
    scores: Sequence[StructureScore]
    times: Sequence[CaseTime]
    tolerance_mm: float = 1.0

    @classmethod
    def read(cls, folder: Path) -> Evaluated:
        """From the result folder of ``evaluate``.

        Raises:
            BadInput: it is none.
        """
        result = read_result(folder)
        if result.get("module") != "MuscleSeg" or result.get("command") != "evaluate":
            raise BadInput(f"{folder.name} is no result of the command evaluate: choose another "
                           "folder to compare with (--against).")
        try:
            return cls(str(result.get("method", "model")), read_scores(folder / SCORES),
                       read_times(folder / CASES), float(result["tolerance_mm"]))
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise BadInput(f"{folder.name} is not whole, or of an older version: evaluate "
                           "again.") from error


def compare(ours: Evaluated, theirs: Evaluated) -> dict[str, Any]:
    """Ratios and differences with paired 95 % intervals over patients.

    Returns:
        For each group of structures ``asd_ratio`` (our mean distance over theirs; below 1 ours is
        nearer), ``dice_difference`` (ours minus theirs), ``asd_mm`` and ``dice`` of both on what
        they share, and what each missed; and ``time_ratio`` (their seconds a case over ours),
        ``cpu_time_ratio`` (the same of the processors).

    Raises:
        BadInput: they have no CT in common.
    """
    own, other = ({(s.patient, s.image, s.structure): s for s in side.scores
                   if not math.isnan(s.dice)} for side in (ours, theirs))
    keys = [key for key in own if key in other]
    if not keys:
        raise BadInput("The two results have no CT in common: compare results on the same list.")
    found: dict[str, Any] = {"against": theirs.name, "groups": {}}
    for group, names in GROUPS.items():
        shared = [(own[key], other[key]) for key in keys if key[2] in names]
        if shared:
            found["groups"][group] = _compared(shared)
    for name, field in (("time_ratio", "seconds"), ("cpu_time_ratio", "cpu_seconds")):
        if seconds := _paired_seconds(ours.times, theirs.times, field):
            first, second = zip(*seconds, strict=True)
            found[name] = paired_interval(second, first, _ratio).written()
    return found


def _compared(shared: Sequence[tuple[StructureScore, StructureScore]]) -> dict[str, Any]:
    both = [pair for pair in shared if all(math.isfinite(score.asd_mm) for score in pair)]
    row: dict[str, Any] = {"missed": [sum(pair[side].missed for pair in shared) for side in (0, 1)]}
    for field, pairs, name, statistic in (("asd_mm", both, "asd_ratio", _ratio),
                                          ("dice", shared, "dice_difference", _difference)):
        means = _by_patient(pairs, field)
        if means:
            first, second = zip(*means, strict=True)
            row[name] = paired_interval(first, second, statistic).written()
            row[field] = [float(np.mean(first)), float(np.mean(second))]
    return row


def _by_patient(pairs: Iterable[tuple[StructureScore, StructureScore]],
                field: str) -> list[tuple[float, float]]:
    """Our mean and theirs, of each patient."""
    of_patient: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs:
        of_patient.setdefault(pair[0].patient, []).append(
            (getattr(pair[0], field), getattr(pair[1], field)))
    return [tuple(np.mean(values, axis=0).tolist()) for values in of_patient.values()]


def _paired_seconds(ours: Iterable[CaseTime], theirs: Iterable[CaseTime],
                    field: str) -> list[tuple[float, float]]:
    other = {(time.patient, time.image): getattr(time, field) for time in theirs}
    of_patient: dict[str, list[tuple[float, float]]] = {}
    for time in ours:
        pair = getattr(time, field), other.get((time.patient, time.image))
        if None not in pair:
            of_patient.setdefault(time.patient, []).append(pair)
    return [tuple(np.mean(values, axis=0).tolist()) for values in of_patient.values()]


def _ratio(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(first, axis=axis) / np.mean(second, axis=axis)


def _difference(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def sentences(found: dict[str, Any]) -> list[str]:
    """What a person reads of it at once."""
    lines = []
    for group, row in found["groups"].items():
        if "asd_ratio" in row:
            lines.append(f"{group}: surface distance {row['asd_mm'][0]:.2f} mm against "
                         f"{row['asd_mm'][1]:.2f} mm, ratio {_in_full(row['asd_ratio'])}")
        lines.append(f"{group}: Dice {row['dice'][0]:.3f} against {row['dice'][1]:.3f}, difference "
                     f"{_in_full(row['dice_difference'])}")
    if "time_ratio" in found:
        lines.append(f"Time of {found['against']} over ours: {_in_full(found['time_ratio'])}")
    return lines


def _in_full(written: dict[str, Any]) -> str:
    return Estimate.read(written).in_full()
