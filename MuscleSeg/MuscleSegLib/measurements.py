# SPDX-License-Identifier: Apache-2.0
"""What is measured in each segmented structure."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from .confidence import PredictedDice
from .structures import LabelledStructure

LEAST_ML = 1.0  # of a structure whose other side is asked for


@dataclass(frozen=True)
class Measurement:
    """One structure of one patient.

    Attributes:
        structure: identifier, such as ``gluteus_maximus``.
        side: ``left``, ``right`` or empty.
        volume_ml: in millilitres.
        mean_hu: mean density in Hounsfield units.
        uncertainty: mean uncertainty of its voxels, 0 to 1 (the structure-wise score PSV of
            Hiasa et al. 2020 up to a constant).
        check: why a reader should look at it before using it, or empty.
        cut_off: ``yes`` when it goes on beyond the scan's ends, so that the volume is a part's.
        predicted_dice, dice_lower_bound: see :class:`.confidence.PredictedDice`; None where the
            model is not calibrated.
    """

    structure: str
    side: str
    volume_ml: float
    mean_hu: float
    uncertainty: float
    check: str
    cut_off: str = ""
    predicted_dice: float | None = None
    dice_lower_bound: float | None = None

    @property
    def row(self) -> dict[str, Any]:
        """What is known, by column."""
        return {name: value for name, value in vars(self).items() if value is not None}


def measure(
    ct: np.ndarray,
    labels: np.ndarray,
    uncertainty: np.ndarray,
    voxel_ml: float,
    structures: Iterable[LabelledStructure],
    uncertainty_limit: float,
    expected: Mapping[int, PredictedDice] = MappingProxyType({}),
) -> list[Measurement]:
    """Measure every structure that is there, in the order given.

    Args:
        ct, labels, uncertainty: (z, y, x) on one grid; HU, label values, 0 to 1.
        voxel_ml: volume of a voxel in mL.
        structures: what the values mean.
        uncertainty_limit: mean uncertainty above which a structure is to be checked, where nothing
            better is known.
        expected: what Dice is expected of the values, as far as the model is calibrated.
    """
    count, hounsfield, doubt, ends = (np.zeros(256) for _ in range(4))
    for z in range(len(labels)):  # slice by slice: no second copy of the scan
        plane = labels[z]
        box = occupied(plane)
        if box is None:
            continue
        values = plane[box].ravel()
        count += np.bincount(values, minlength=256)
        hounsfield += np.bincount(values, ct[z][box].ravel(), minlength=256)
        doubt += np.bincount(values, uncertainty[z][box].ravel(), minlength=256)
        if z in (0, len(labels) - 1):
            ends += np.bincount(values, minlength=256)
    found = []
    for item in structures:
        n = count[item.value]
        if n == 0:
            continue
        mean_doubt = doubt[item.value] / n
        dice = expected.get(item.value)
        check = dice.remark if dice else "uncertain" if mean_doubt > uncertainty_limit else ""
        found.append(
            Measurement(item.structure.name, item.side or "", round(n * voxel_ml, 2),
                        round(hounsfield[item.value] / n, 1), round(mean_doubt, 4), check,
                        "yes" if ends[item.value] else "",
                        *((round(dice.dice, 3), round(dice.at_least, 3)) if dice else ()))
        )
    return found


def found_on_one_side(found: Iterable[Measurement]) -> list[Measurement]:
    """Structures whose other side was not found, though others of that side were.

    What goes on beyond the scan's ends is left out: the other side may end just before; so are
    specks.
    """
    paired = [measurement for measurement in found if measurement.side]
    if len({measurement.side for measurement in paired}) < 2:
        return []  # a scan of one leg
    counts = Counter(measurement.structure for measurement in paired)
    return [measurement for measurement in paired
            if counts[measurement.structure] == 1 and not measurement.cut_off
            and measurement.volume_ml >= LEAST_ML]


def occupied(plane: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of a slice of labels between which there are any; None in an empty one."""
    rows = np.flatnonzero(plane.any(1))
    if not len(rows):
        return None
    columns = np.flatnonzero(plane.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def write_csv(path: Path, measurements: list[Measurement]) -> None:
    """One line a structure, with a header; columns that no structure has are left out."""
    rows = [measurement.row for measurement in measurements]
    known = {name for row in rows for name in row}
    columns = [field.name for field in fields(Measurement)
               if field.default is not None or field.name in known]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
