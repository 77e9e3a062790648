# SPDX-License-Identifier: Apache-2.0
"""The table that says which landmarks a segmentation gives.

A CSV file with the columns ``landmark,structures,rule,argument`` that a spreadsheet edits:

- ``structures``: names as the segmentation has them; ``a+b`` is both together, ``a+b?`` the same
  where b may be missing, ``femur_left@superior 50`` only the 50 mm that lie furthest up, and
  ``femur_left@superior 50@right 42`` of these the 42 mm furthest to the patient's right.
- ``rule`` and ``argument``:

  ============================ ==========================================================
  ``centroid``                 of the voxels
  ``extreme``                  ``left``, ``right``, ``anterior``, ``posterior``, ``superior`` or
                               ``inferior``: the outermost layer of voxels
  ``farthest_from``            structures: the voxels farthest from the centroid of those
  ``closest_between``          structures: where both come nearest to each other
  ``bifurcation``              direction: where one cross-section becomes two on the way there
  ``centroid_of_slice``        direction and share: ``inferior 0.5`` is half-way
  ``mean``                     none; ``structures`` are landmarks of lines above: ``a+b``
  ============================ ==========================================================

Lines that begin with ``#`` are comments. The default table is for the 117 structures of
TotalSegmentator v2; the first version, of 104, is that of Wasserthal et al., Radiology: Artificial
Intelligence 2023.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ReadingRoomLib.errors import BadInput

from .landmark_files import key_of

DEFAULT_TABLE = Path(__file__).with_name("pseudo_landmarks.csv")

COLUMNS = ("landmark", "structures", "rule", "argument")
DIRECTIONS = {"left": (0, 1), "right": (0, -1), "posterior": (1, 1), "anterior": (1, -1),
              "superior": (2, 1), "inferior": (2, -1)}
"""Axis of LPS and sign, by the patient's directions."""

_OF_DIRECTION = ("extreme", "bifurcation")
_OF_STRUCTURES = ("farthest_from", "closest_between")
RULES = ("centroid", *_OF_DIRECTION, *_OF_STRUCTURES, "centroid_of_slice", "mean")
_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Part:
    """A structure, or an end of it.

    Attributes:
        structure: its name.
        ends: directions (:data:`DIRECTIONS`) and mm, of each of which only what lies furthest
            there is left; none for the whole structure.
        optional: whether a segmentation may lack it.
    """

    structure: str
    ends: tuple[tuple[str, float], ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        landmark: name of the point.
        parts: of which structures; of the rule ``mean`` the landmarks.
        kind: one of :data:`RULES`.
        direction: for the rules that go somewhere, one of :data:`DIRECTIONS`.
        others: the second structures, for the rules that have them.
        share: for ``centroid_of_slice``, 0 to 1.
    """

    landmark: str
    parts: tuple[Part, ...]
    kind: str
    direction: str = ""
    others: tuple[Part, ...] = ()
    share: float = 0.0


def read_table(path: str | Path | None = None) -> list[Rule]:
    """Read a table; the default one without a path.

    Raises:
        BadInput: it cannot be read, or a line says nothing that can be done.
    """
    path = Path(path or DEFAULT_TABLE)
    rules: list[Rule] = []
    names: set[str] = set()
    for number, row in _rows(path):
        rule = _rule(row, f"{path.name} is wrong in line {number}")
        if key_of(rule.landmark) in names:
            raise BadInput(f'{path.name} is wrong in line {number}: "{rule.landmark}" stands in a '
                           "line above, too.")
        for part in rule.parts if rule.kind == "mean" else ():
            if key_of(part.structure) not in names:
                raise BadInput(f'{path.name} is wrong in line {number}: "{part.structure}" is no '
                               "landmark of a line above.")
        rules.append(rule)
        names.add(key_of(rule.landmark))
    if not rules:
        raise BadInput(f"{path.name} names no landmark: give it lines of {','.join(COLUMNS)}.")
    return rules


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The lines with their numbers, cells by name of their column."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadInput(f"{path.name} is too large for a table of landmarks.")
        lines = path.read_text("utf-8-sig").splitlines()
        numbered = [(number, line) for number, line in enumerate(lines, 1)
                    if line.strip(" \t,;") and not line.startswith("#")]
        delimiter = max(",;\t", key=numbered[0][1].count) if numbered else ","
        rows = [(number, next(csv.reader(io.StringIO(line), delimiter=delimiter)))
                for number, line in numbered]
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: check its name.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path.name} cannot be read as a table: save it as CSV (UTF-8).") from error
    head = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if not set(COLUMNS) <= set(head):
        raise BadInput(f"{path.name} lacks columns: its first line must be {','.join(COLUMNS)}.")
    return [(number, dict.fromkeys(COLUMNS, "") | dict(zip(head, map(str.strip, row),
                                                           strict=False)))
            for number, row in rows[1:]]


def _rule(row: dict[str, str], wrong: str) -> Rule:
    landmark, kind, argument = row["landmark"], row["rule"].lower(), row["argument"]
    parts = _parts(row["structures"], wrong)
    if not landmark or not parts:
        raise BadInput(f"{wrong}: name the landmark and its structures.")
    if kind not in RULES:
        raise BadInput(f'{wrong}: there is no rule "{kind}", only {", ".join(RULES)}.')
    if kind in _OF_DIRECTION:
        return Rule(landmark, parts, kind, _direction(argument, wrong))
    if kind in _OF_STRUCTURES:
        others = _parts(argument, wrong)
        if not others:
            raise BadInput(f"{wrong}: {kind} needs the other structure as its argument.")
        return Rule(landmark, parts, kind, others=others)
    if kind == "centroid_of_slice":
        direction, share = _direction_and_number(argument, wrong)
        if share > 1:
            raise BadInput(f"{wrong}: the share must be from 0 to 1, as in inferior 0.5.")
        return Rule(landmark, parts, kind, direction, share=share)
    if argument:
        raise BadInput(f"{wrong}: {kind} takes no argument.")
    if kind == "mean" and any(part.ends or part.optional for part in parts):
        raise BadInput(f"{wrong}: mean takes landmarks as they are, without @ and ?.")
    return Rule(landmark, parts, kind)


def _parts(text: str, wrong: str) -> tuple[Part, ...]:
    parts = []
    for word in filter(None, map(str.strip, text.split("+"))):
        structure, *ends = map(str.strip, word.split("@"))
        name = structure.rstrip("?").strip()
        parts.append(Part(name, tuple(_direction_and_number(end, wrong) for end in ends),
                          optional=name != structure))
    return tuple(parts)


def _direction(text: str, wrong: str) -> str:
    direction = text.strip().lower()
    if direction not in DIRECTIONS:
        raise BadInput(f'{wrong}: "{text}" is no direction, use {", ".join(DIRECTIONS)}.')
    return direction


def _direction_and_number(text: str, wrong: str) -> tuple[str, float]:
    words: Sequence[str] = text.split()
    try:
        number = float(words[1].replace(",", ".")) if len(words) == 2 else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e4:
        raise BadInput(f'{wrong}: "{text}" must be a direction and a number, as superior 35.')
    return _direction(words[0], wrong), number
