# SPDX-License-Identifier: Apache-2.0
"""Named points in files: Slicer's markups, legacy ``.fcsv``, CSV and plain JSON.

All points are LPS, mm, once they are read. Files come from anywhere, so what they hold is checked
before it is used.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import whole_file

from .landmark_formats import confidence_in, read_csv, read_fcsv, read_json

SURE = 0.8
"""Landmarks with less confidence are to be looked at."""

SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
          "Resources/Schema/markups-schema-v1.0.3.json#")
MAX_BYTES = 32 << 20
MAX_POINTS = 100_000

_READERS = {".json": read_json, ".fcsv": read_fcsv, ".csv": read_csv, ".tsv": read_csv}


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points of one volume.

    Attributes:
        names: of the points; runs of white space are one blank, here and in descriptions.
        points: (n, 3), float64, LPS mm.
        confidence: (n,), 0 to 1; None where nobody said.
        descriptions: of each point, as the file has it; empty for none at all.
    """

    names: tuple[str, ...]
    points: np.ndarray
    confidence: np.ndarray | None = None
    descriptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        points = np.asarray(self.points, np.float64).reshape(-1, 3)
        object.__setattr__(self, "names", tuple(" ".join(str(name).split())
                                                for name in self.names))
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "descriptions", tuple(" ".join(text.split())
                                                       for text in self.descriptions))
        if self.confidence is not None:
            object.__setattr__(self, "confidence", np.asarray(self.confidence, np.float64))
            if self.confidence.shape != (len(self.names),):
                raise ValueError("every point has one confidence")
        if len(points) != len(self.names) or len(self.descriptions) not in (0, len(points)):
            raise ValueError("every point has one name and one description")

    def __len__(self) -> int:
        return len(self.names)

    def chosen(self, numbers: Sequence[int]) -> Landmarks:
        """The points with these numbers, in this order."""
        numbers = list(numbers)
        return Landmarks(
            tuple(self.names[number] for number in numbers), self.points[numbers],
            None if self.confidence is None else self.confidence[numbers],
            tuple(self.descriptions[number] for number in numbers) if self.descriptions else ())


def key_of(name: str) -> str:
    """By what names are the same: ``Kidney_Left`` is ``kidney left``."""
    return " ".join(re.split(r"[\s_\-]+", name.strip().casefold())).strip()


def read_landmarks(path: str | Path) -> Landmarks:
    """Read the landmarks of a volume.

    Args:
        path: ``.mrk.json`` or ``.json``, ``.fcsv``, ``.csv`` or ``.tsv``. Several lists of points
            in one file are joined; points without a position are left out. CSV has a column
            ``name`` or ``label`` and either ``l,p,s``, ``r,a,s`` or ``x,y,z``; the last are LPS
            unless a column ``coordinateSystem`` or a line ``# CoordinateSystem = RAS`` says
            otherwise. Plain JSON is ``{"coordinateSystem": "LPS", "carina": [x, y, z], ...}``.

    Raises:
        BadInput: the file cannot be read, has no point, or names two points alike.
    """
    landmarks = read_points(path)
    name = Path(path).name
    if not len(landmarks):
        raise BadInput(f"{name} holds no point with a position: place the landmarks, or choose "
                       "another file.")
    seen: dict[str, str] = {}
    for number, label in enumerate(landmarks.names, 1):
        if not label:
            raise BadInput(f"Point {number} in {name} has no name: give every landmark its name.")
        if key_of(label) in seen:
            raise BadInput(f'{name} has two points named "{seen[key_of(label)]}" (and "{label}"): '
                           "give every landmark a name of its own.")
        seen[key_of(label)] = label
    return landmarks


def read_points(path: str | Path) -> Landmarks:
    """Read points that may be none at all, and need no names of their own, such as lesions.

    Args:
        path: as of :func:`read_landmarks`.

    Raises:
        BadInput: the file cannot be read, or a position is no position.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise BadInput(f"{path.name} is no file of points that can be read here: choose "
                       ".mrk.json, .json, .fcsv or .csv.")
    found = _READERS[suffix](_text_of(path), path.name)
    if len(found) > MAX_POINTS:
        raise BadInput(f"{path.name} holds {len(found)} points, more than {MAX_POINTS}: choose a "
                       "file of landmarks.")
    confidence = [confidence_in(point.description) for point in found]
    return Landmarks(
        tuple(point.name for point in found), np.array([point.position for point in found]),
        np.array(confidence) if found and None not in confidence else None,
        tuple(point.description for point in found))


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path.name} is larger than {MAX_BYTES >> 20} MB, which no list of "
                           "landmarks is: choose another file.")
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: check its name.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} cannot be read as text: export the landmarks "
                       "again.") from error


def write_markups(path: str | Path, landmarks: Landmarks) -> None:
    """Write landmarks as a list of points that Slicer opens.

    Points with a confidence under :data:`SURE` are not locked and not selected, so that Slicer
    shows them in the other of the list's two colours and lets them be moved.

    Args:
        path: ``.mrk.json``.
        landmarks: to write.
    """
    content = {"@schema": SCHEMA, "markups": [{
        "type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm",
        "locked": False, "fixedNumberOfControlPoints": False, "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(landmarks),
        "controlPoints": [_written(number, landmarks) for number in range(len(landmarks))],
        "display": {"visibility": True, "color": [1.0, 0.65, 0.0],
                    "selectedColor": [0.2, 0.8, 0.4], "pointLabelsVisibility": True,
                    "textScale": 2.0, "glyphType": "Sphere3D", "glyphScale": 2.0,
                    "useGlyphScale": True},
    }]}
    with whole_file(Path(path)) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")


def _written(number: int, landmarks: Landmarks) -> dict[str, Any]:
    sure = landmarks.confidence is None or bool(landmarks.confidence[number] >= SURE)
    return {"id": str(number + 1), "label": landmarks.names[number],
            "description": _description(number, landmarks),
            "position": landmarks.points[number].tolist(), "selected": sure,
            "locked": sure and landmarks.confidence is not None, "visibility": True,
            "positionStatus": "defined"}


def _description(number: int, landmarks: Landmarks) -> str:
    text = landmarks.descriptions[number] if landmarks.descriptions else ""
    if landmarks.confidence is None or confidence_in(text) is not None:
        return text
    return f"confidence {landmarks.confidence[number]:.4f} {text}".strip()


def write_csv(path: str | Path, landmarks: Landmarks) -> None:
    """Write landmarks as a table: ``name,l,p,s,confidence,description``, LPS mm."""
    rows: Iterable[Sequence[object]] = (
        [name, *map(repr, point.tolist()),
         "" if landmarks.confidence is None else f"{landmarks.confidence[number]:.4f}",
         landmarks.descriptions[number] if landmarks.descriptions else ""]
        for number, (name, point) in enumerate(zip(landmarks.names, landmarks.points,
                                                   strict=True)))
    with whole_file(Path(path)) as unfinished, open(unfinished, "w", encoding="utf-8",
                                                    newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["name", "l", "p", "s", "confidence", "description"])
        writer.writerows(rows)
