# SPDX-License-Identifier: Apache-2.0
"""What the names of other programs' labels mean: ``label_names.json``, or a table of the user's.

A table says of which labels a structure is made (``structures``: all of them together, such as the
three adductors), which labels hold several structures that cannot be parted (``together``), and
what the values of a file without names are (``values``)::

    {"structures": {"gluteus_maximus": ["GMax"], "adductors": ["AddMagnus", "AddLongus"]},
     "together": {"hamstrings": ["biceps_femoris", "semimembranosus", "semitendinosus"]},
     "values": {"1": "GMax left", "2": "GMax right"}}

Capitals, marks between words, and left and right (or a single L or R at the end) do not matter.
Our own names need no table. ``unknown`` is a name, too: of voxels that nobody knows what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ReadingRoomLib.errors import BadInput

from .structures import STRUCTURES, Structure

TABLES = Path(__file__).with_name("label_names.json")
READY = ("totalsegmentator", "musclemap")
UNKNOWN = "unknown"
_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right"}
_WORDS = re.compile(r"[^\W_]+")
_MOST_BYTES = 1 << 20


def words_of(name: str) -> list[str]:
    """The words of a name, without capitals and marks."""
    return _WORDS.findall(name.casefold())


def without_side(name: str) -> tuple[str, str]:
    """The name in one spelling, and ``left``, ``right``, both (``left right``), or nothing."""
    words = words_of(name)
    sides = [_SIDES[word] for place, word in enumerate(words) if word in ("left", "right")
             or (word in _SIDES and place and place == len(words) - 1)]
    plain = [word for place, word in enumerate(words) if word not in ("left", "right")
             and not (word in _SIDES and place and place == len(words) - 1)]
    return "_".join(plain), " ".join(sides)


OURS = {"_".join(words_of(name)): structure for structure in STRUCTURES
        for name in (structure.name, structure.display_name)}


@dataclass(frozen=True)
class NameTable:
    """What names mean beyond our own.

    Attributes:
        makes: of each structure (its value) the sets of labels that make it, each set enough.
        together: labels that hold several structures.
        values: names of the values of a file that does not name them.
        is_own: whether it says more than the ready tables.
    """

    makes: Mapping[int, tuple[frozenset[str], ...]] = field(default_factory=dict)
    together: Mapping[str, tuple[Structure, ...]] = field(default_factory=dict)
    values: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    is_own: bool = False

    def part_of(self, name: str) -> Structure | None:
        """The structure that a label, alone or with others, makes."""
        for value, sets in self.makes.items():
            if any(name in labels for labels in sets):
                return STRUCTURES[value - 1]
        return None


@cache
def ready_tables() -> NameTable:
    """The names of the programs that we know; they need not be asked for."""
    tables = [_table(content, TABLES.name) for content in _content(TABLES).values()]
    makes: dict[int, tuple[frozenset[str], ...]] = {}
    together: dict[str, tuple[Structure, ...]] = {}
    for table in tables:
        together |= table.together
        for value, sets in table.makes.items():
            makes[value] = makes.get(value, ()) + sets
    return NameTable(makes, together)


def read_names(choice: str | Path | None) -> NameTable:
    """A table by name, or from a file; what it does not say the ready tables do.

    Args:
        choice: ``totalsegmentator``, ``musclemap``, a JSON file, or None.

    Raises:
        BadInput: there is no such table, or it cannot be understood.
    """
    ready = ready_tables()
    if choice is None or str(choice) == "":
        return ready
    if str(choice) in READY:
        own = _table(_content(TABLES)[str(choice)], TABLES.name)
    else:
        own = _table(_content(Path(choice)), Path(choice).name)
    chosen = set(own.together) | {label for sets in own.makes.values() for one in sets
                                  for label in one}
    together = {name: held for name, held in ready.together.items() if name not in chosen}
    makes = {value: tuple(one for one in sets if not one & set(own.together))
             for value, sets in ready.makes.items() if value not in own.makes}
    return NameTable(makes | dict(own.makes), together | dict(own.together), own.values, True)


def _content(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: name a table of labels "
                       f"({', '.join(READY)}) or a file (--names).") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(path.name) from error
    if not isinstance(content, dict):
        raise _wrong(path.name)
    return content


def _wrong(file: str, why: str = "it is no JSON of the right form") -> BadInput:
    return BadInput(f'{file} is no table of label names, {why}: write {{"structures": '
                    '{"gluteus_maximus": ["GMax"]}, "values": {"1": "GMax left"}}.')


def _table(content: Mapping[str, Any], file: str) -> NameTable:
    foreign = set(content) - {"about", "structures", "together", "values"}
    if foreign:
        raise _wrong(file, f'it has a part "{min(foreign)}"')
    try:
        makes = {_structure(name, file).value: (frozenset(
            without_side(label)[0] for label in _texts(labels)),)
            for name, labels in content.get("structures", {}).items()}
        together = {without_side(label)[0]: tuple(_structure(name, file) for name in _texts(names))
                    for label, names in content.get("together", {}).items()}
        values = {int(value): (str(name),) for value, name in content.get("values", {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise _wrong(file) from error
    if not all(0 < value <= 0xFFFF for value in values):
        raise _wrong(file, "its values must be whole numbers from 1 to 65535")
    return NameTable(makes, together, values)


def _texts(value: Any) -> Iterable[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise TypeError("a name or a list of names")
    return texts


def _structure(name: str, file: str) -> Structure:
    found = OURS.get("_".join(words_of(name)))
    if found is None:
        raise _wrong(file, f'there is no structure "{name}"')
    return found


@dataclass(frozen=True)
class Meaning:
    """What the values of a label map mean.

    Attributes:
        known: of a value, the structure and its side (``left``, ``right`` or empty).
        unknown: values of voxels of which it cannot be said what structure they are.
        sentences: for the user, about what was left out.
    """

    known: dict[int, tuple[Structure, str]]
    unknown: frozenset[int]
    sentences: tuple[str, ...] = ()


def understand(names: Mapping[int, tuple[str, ...]], table: NameTable, file: str) -> Meaning:
    """What the values of a label map mean.

    Args:
        names: of each value; one may have a name for programs and one for people.
        table: see :func:`read_names`.
        file: for sentences.
    """
    known: dict[int, tuple[Structure, str]] = {}
    parts: dict[int, tuple[Structure, str, str]] = {}
    unknown: dict[int, str] = {}
    sentences = []
    for value, own in names.items():
        spelled = [without_side(name) for name in own]
        ours = [(OURS[name], side) for name, side in spelled
                if name in OURS and " " not in side]
        made = [(table.part_of(name), side, name) for name, side in spelled
                if table.part_of(name) and " " not in side]
        mixed = [name for name, _ in spelled if name in table.together or name == UNKNOWN]
        if ours:
            known[value] = ours[0]
        elif made:
            parts[value] = made[0]
        elif mixed:
            unknown[value] = mixed[0]
    whole = {structure.value for structure, _ in known.values()}
    present = {label for _, _, label in parts.values()}
    for structure in {structure.value: structure for structure, _, _ in parts.values()}.values():
        own = {value: part for value, part in parts.items() if part[0] is structure}
        if structure.value in whole or any(one <= present
                                           for one in table.makes[structure.value]):
            known |= {value: (structure, side) for value, (_, side, _) in own.items()}
        else:
            unknown |= {value: label for value, (_, _, label) in own.items()}
            sentences.append(f"{file} has only a part of {structure.display_name}: it was left "
                             "out.")
    for label in sorted({label for label in unknown.values() if label in table.together}):
        held = " and ".join(one.display_name for one in table.together[label])
        sentences.append(f"{file} has {held} in one label ({label}), or not surely: what is there "
                         "was left out.")
    known = {value: (structure, side if structure.paired else "")
             for value, (structure, side) in sorted(known.items())}
    return Meaning(known, frozenset(unknown), tuple(sentences))
