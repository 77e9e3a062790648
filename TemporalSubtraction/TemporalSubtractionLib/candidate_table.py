# SPDX-License-Identifier: Apache-2.0
"""The candidates as people read them in a table, and as programs read them in a file.

Needs Python alone, so that a panel opens at once.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

DENSER, THINNER, MIXED = "denser", "thinner", "mixed"
ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", ""

# columns of candidates.csv, and how people call them
TITLES = {
    "number": "Number",
    "kind": "Kind",
    "score": "Score",
    "volume_ml": "Volume (mL)",
    "diameter_mm": "Diameter (mm)",
    "mean_z": "Mean z",
    "peak_z": "Peak z",
    "hu_change": "HU change",
    "x_mm": "Left (mm)",
    "y_mm": "Posterior (mm)",
    "z_mm": "Superior (mm)",
    "bone": "Bone",
    "status": "Status",
}
DECIMALS = 3  # in the file


@dataclass(frozen=True)
class CandidateRow:
    """A place that changed, and what the physician decided: a line of the table or the file.

    Attributes:
        number: its value among the labels, from 1, the most suspicious first.
        kind: DENSER, THINNER or MIXED.
        score: the higher, the more suspicious.
        volume_ml, diameter_mm: of its voxels, and of the ball of that volume.
        mean_z, peak_z: change in standard deviations of what stable bone shows.
        hu_change: mean change.
        x_mm, y_mm, z_mm: a point inside, LPS, in the current CT's own coordinates.
        bone: its name, empty where it is not known.
        status: ACCEPTED, REJECTED or UNDECIDED.
    """

    number: int
    kind: str
    score: float
    volume_ml: float
    diameter_mm: float
    mean_z: float
    peak_z: float
    hu_change: float
    x_mm: float
    y_mm: float
    z_mm: float
    bone: str = ""
    status: str = UNDECIDED

    @property
    def key(self) -> str:
        """Identifier of its segment."""
        return str(self.number)

    @property
    def name(self) -> str:
        """Name of its segment."""
        return f"{self.number} {self.kind}"

    @property
    def point_ras(self) -> tuple[float, float, float]:
        """The point inside in Slicer's directions."""
        return -self.x_mm, -self.y_mm, self.z_mm


_TYPES = get_type_hints(CandidateRow)


def columns_of(rows: Iterable[CandidateRow]) -> dict[str, list]:
    """Candidates as columns of a table, by title."""
    rows = list(rows)
    return {title: [getattr(row, name) for row in rows] for name, title in TITLES.items()}


def rows_of(columns: dict[str, list]) -> list[CandidateRow]:
    """The inverse of :func:`columns_of`; numbers may have become floats on the way."""
    lines = zip(*(columns[title] for title in TITLES.values()), strict=True)
    return [_row(dict(zip(TITLES, line, strict=True))) for line in lines]


def write_rows(rows: Iterable[CandidateRow], path: Path | str) -> None:
    """Write ``candidates.csv``."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(TITLES))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: round(value, DECIMALS) if isinstance(value, float) else value
                             for name, value in asdict(row).items()})


def read_rows(path: Path | str) -> list[CandidateRow]:
    """Read ``candidates.csv``, in the order of its lines."""
    with open(path, encoding="utf-8", newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(values: dict) -> CandidateRow:
    return CandidateRow(**{name: _TYPES[name](values[name]) for name in TITLES})
