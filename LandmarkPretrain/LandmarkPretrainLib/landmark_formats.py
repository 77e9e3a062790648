# SPDX-License-Identifier: Apache-2.0
"""The formats of files of points: text in, points out, and what is wrong in one sentence.

Formats: Slicer's markups JSON schema 1.0.3 and developer guide, "Markups".
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ReadingRoomLib.errors import BadInput

MAX_MM = 1e5  # no scanner reaches so far

_SYSTEMS = {"lps": "LPS", "1": "LPS", "ras": "RAS", "0": "RAS"}
_TO_LPS = {"LPS": (1.0, 1.0, 1.0), "RAS": (-1.0, -1.0, 1.0)}
_SYSTEM_KEYS = ("coordinatesystem", "coordinate_system", "system")
_AXES = {("l", "p", "s"): "LPS", ("r", "a", "s"): "RAS", ("x", "y", "z"): None}
_COMMENT = re.compile(r"#\s*([A-Za-z ]+?)\s*[=:]\s*(.*?)[\s,;]*$")
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FCSV_DEFINED = "2"  # vtkMRMLMarkupsNode::PositionDefined
_CONFIDENCE = re.compile(  # all of a number: how "5e-05" and "10 %" begin is no confidence
    r"\bconfidence\s*[=:]?\s*((?>(?:\d+(?:[.,]\d+)?|[.,]\d+)(?:e[+-]?\d+)?))(?!\s*%)",
    re.IGNORECASE)
_FACT = re.compile(r"\s*(confidence|diameter_mm)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")


@dataclass
class Point:
    """One point of a file; LPS mm."""

    name: str
    position: tuple[float, float, float]
    description: str = ""


def _system(text: Any, name: str) -> str:
    system = _SYSTEMS.get(str(text).strip().strip(",").lower())
    if system is None:
        raise BadInput(f'{name} has the coordinate system "{str(text).strip()[:20]}", but only '
                       "LPS and RAS can be read: save it again in one of them.")
    return system


def _position(values: Any, system: str, what: str, name: str) -> tuple[float, float, float]:
    try:
        if isinstance(values, str | Mapping) or any(isinstance(v, bool) for v in values):
            raise ValueError
        position = np.array([float(value) for value in values])
    except (TypeError, ValueError, OverflowError):
        position = np.empty(0)
    if position.shape != (3,) or not np.all(np.abs(position) < MAX_MM):  # NaN is not less
        raise BadInput(f"{what} in {name} has no valid position: it must be three numbers in mm.")
    return tuple((position * _TO_LPS[system]).tolist())


def confidence_in(description: str) -> float | None:
    """What a description says of how sure the point is, 0 to 1; None where it does not."""
    found = _CONFIDENCE.search(description)
    confidence = float(found[1].replace(",", ".")) if found else -1.0
    return confidence if 0 <= confidence <= 1 else None


def _named(points: list[Point]) -> list[Point]:
    """Take the descriptions for names where labels only count, as the AFIDs have it."""
    descriptions = [point.description.strip() for point in points]
    if (points and all(_NUMBER.fullmatch(point.name) for point in points)
            and all(descriptions) and len(set(descriptions)) == len(points)
            and not any(_NUMBER.fullmatch(text) or _FACT.match(text) for text in descriptions)):
        return [Point(text, point.position) for text, point in zip(descriptions, points,
                                                                    strict=True)]
    return points


def read_json(text: str, name: str) -> list[Point]:
    """Points of Slicer's markups, or of ``{name: [x, y, z]}``."""
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, name))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name} is no valid JSON: export the landmarks again.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{name} holds no landmarks: it must be Slicer markups or "
                       '{"name": [x, y, z], ...}.')
    if "markups" not in content:
        return _plain(content, name)
    lists = content["markups"]
    if not isinstance(lists, list) or not all(isinstance(markup, dict) for markup in lists):
        raise BadInput(f"{name} is a damaged markups file: save it from Slicer again.")
    chosen = [markup for markup in lists if markup.get("type") in ("Fiducial", "PointList")]
    if lists and not chosen:
        kinds = ", ".join(sorted({str(markup.get("type"))[:20] for markup in lists}))
        raise BadInput(f"{name} holds no list of points but {kinds}: save the point list.")
    return [point for markup in chosen for point in _named(_control_points(markup, name))]


def _once(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    """An object of JSON; of two members with one name Python would take the last in silence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadInput(f'{name} has "{twice[:40]}" twice in one place: give every landmark a name '
                       "of its own.")
    return content


def _control_points(markup: Mapping[str, Any], name: str) -> list[Point]:
    system = _system(markup.get("coordinateSystem", "LPS"), name)
    units = markup.get("coordinateUnits", "mm")
    if (units[0] if isinstance(units, list) and units else units) != "mm":
        raise BadInput(f"{name} is not in millimetres: save it again with mm.")
    points = markup.get("controlPoints") or []
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise BadInput(f"{name} is a damaged markups file: save it from Slicer again.")
    return [Point(str(point.get("label") or ""),
                   _position(point.get("position"), system, f"Point {number}", name),
                   str(point.get("description") or ""))
            for number, point in enumerate(points, 1)
            if point.get("positionStatus", "defined") == "defined"]


def _plain(content: Mapping[str, Any], name: str) -> list[Point]:
    system = _system(content.get("coordinateSystem", "LPS"), name)
    return [Point(label, _position(position, system, f'The point "{label[:40]}"', name))
            for label, position in content.items() if label != "coordinateSystem"]


def read_fcsv(text: str, name: str) -> list[Point]:
    """Points of the files that Slicer 4 wrote, which Slicer 5 still does."""
    comments = _comments(text)
    system = _system(comments.get("coordinatesystem", "RAS"), name)  # RAS: before 4.x said it
    columns = [column.strip() for column in comments.get("columns", _FCSV_COLUMNS).split(",")]
    if not {"x", "y", "z", "label"} <= set(columns):
        raise BadInput(f"{name} is a damaged markups file: save it from Slicer again.")
    points = []
    for number, row in enumerate(_rows(text, ",", name), 1):
        cells = dict(zip(columns, row, strict=False))  # 5.x adds columns that it does not name
        if row[len(columns):] and row[len(columns)] not in ("", _FCSV_DEFINED):
            continue
        position = [cells.get(axis) for axis in "xyz"]
        points.append(Point(cells.get("label", ""),
                             _position(position, system, f"Point {number}", name),
                             cells.get("desc", "")))
    return _named(points)


def read_csv(text: str, name: str) -> list[Point]:
    """Points of a table."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    head, *rows = _rows(text, delimiter, name) or [[]]
    columns = [column.strip().lower() for column in head]
    label = next((key for key in ("name", "label", "landmark") if key in columns), None)
    axes = [names for names in _AXES if set(names) <= set(columns)]
    if label is None or not axes:
        raise BadInput(f"{name} lacks columns: its first line must name them, as name,l,p,s or "
                       "name,r,a,s or name,x,y,z.")
    stated = _comments(text).get("coordinatesystem")
    points = []
    for number, row in enumerate(rows, 2):
        cells = dict(zip(columns, row, strict=False))
        if cells.get("defined", "1").strip().lower() in ("0", "false"):
            continue
        system = _system_of_row(axes, stated, cells, name)
        position = [_number(cells.get(axis, ""), delimiter) for axis in axes[0]]
        description = cells.get("description", "")
        if cells.get("confidence") and confidence_in(description) is None:
            description = f"confidence {cells['confidence'].strip()} {description}".strip()
        points.append(Point(cells.get(label, ""),
                             _position(position, system, f"Line {number} of the table", name),
                             description))
    return points


def _system_of_row(axes: list[tuple[str, ...]], stated: str | None, cells: Mapping[str, str],
                   name: str) -> str:
    said = {_AXES[names] for names in axes} - {None}
    said |= {_system(text, name) for text in
             [stated, *(cells.get(key) for key in _SYSTEM_KEYS)] if text}
    if len(said) > 1 or len(axes) > 1:
        raise BadInput(f"{name} says both LPS and RAS: keep one coordinate system (x,y,z alone "
                       "are taken as LPS).")
    return next(iter(said), "LPS")


def _number(text: str, delimiter: str) -> str:
    return text.replace(",", ".") if delimiter != "," else text


def _comments(text: str) -> dict[str, str]:
    found = (_COMMENT.match(line) for line in text.splitlines() if line.startswith("#"))
    return {match[1].replace(" ", "").lower(): match[2] for match in found if match}


def _rows(text: str, delimiter: str, name: str) -> list[list[str]]:
    lines = (line for line in io.StringIO(text, newline="") if not line.startswith("#"))
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise BadInput(f"{name} is no valid table: export the landmarks again.") from error
    return [row for row in rows if any(cell.strip() for cell in row)]
