# SPDX-License-Identifier: Apache-2.0
"""Lists of images to learn from: MONAI datalists, parted by patient.

::

    {"training": [{"image": "scans/0001.nrrd", "label": "red", "patient": "17", "site": "north"}],
     "validation": [...], "test": [...]}

Instead of a label an image may have a file that says what is where in it, its companion: its
landmarks, or its lesions (:func:`read_pairs`). Paths are relative to the folder of the list.
``patient`` is needed, so that no patient is learned from and measured on; it may be any number or
word that stands for one patient. ``site`` may be left out. Parts that are not given are taken from
``training``, see :func:`part_patients`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .errors import BadInput

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Item:
    """An image to learn from.

    Attributes:
        image: file or folder, absolute.
        label: one of those that were allowed.
        patient: whose image it is.
        site: where it was taken; empty where that is not said.
        place: where it stands in the list, for messages.
    """

    image: Path
    label: str
    patient: str
    site: str
    place: str


@dataclass(frozen=True)
class Pair:
    """An image to learn from, and the file that says what is where in it.

    Attributes:
        image: file or folder, absolute.
        companion: the other file, absolute; None where it is not needed and not given.
        patient: whose image it is.
        site: where it was taken; empty where that is not said.
        place: where it stands in the list, for messages.
    """

    image: Path
    companion: Path | None
    patient: str
    site: str
    place: str


Listed = TypeVar("Listed", Item, Pair)


def read_datalist(path: str | Path, labels: Collection[str]) -> dict[str, list[Item]]:
    """The parts of a list that are given, in the order of :data:`PARTS`.

    Args:
        path: of the JSON file.
        labels: what an image may be labelled.

    Raises:
        BadInput: anything is missing, unknown, twice in it, or no longer on the disk.
    """
    def item(entry: Any, place: str, folder: Path) -> Item:
        _check_entry(entry, place, ("image", "label", "patient"))
        label = str(entry["label"]).strip()
        if label not in labels:
            raise BadInput(f'The list is wrong at {place}: its label is "{label}", but must be '
                           f"one of {', '.join(labels)}.")
        return Item(_file_of(entry, "image", place, folder), label, *_whose(entry), place)

    return _read(path, item)


def read_pairs(path: str | Path, companion: str, needed: bool = True) -> dict[str, list[Pair]]:
    """The parts of a list of images with companions, in the order of :data:`PARTS`.

    Args:
        path: of the JSON file.
        companion: the key of the second file, ``"landmarks"`` or ``"lesions"``.
        needed: whether every image must have one.

    Raises:
        BadInput: anything is missing, twice in it, or no longer on the disk.
    """
    def pair(entry: Any, place: str, folder: Path) -> Pair:
        _check_entry(entry, place, ("image", companion, "patient") if needed
                     else ("image", "patient"), ("image", companion, "patient"))
        image = _file_of(entry, "image", place, folder)
        other = _file_of(entry, companion, place, folder) if entry.get(companion) else None
        return Pair(image, other, *_whose(entry), place)

    return _read(path, pair)


def _read(path: str | Path, item: Callable[[Any, str, Path], Listed]) -> dict[str, list[Listed]]:
    path = Path(path).absolute()
    content = content_of(path)
    parts = {part: [item(entry, f"item {number} of {part}", path.parent)
                    for number, entry in enumerate(content[part], 1)]
             for part in PARTS if part in content}
    _check_once(item for items in parts.values() for item in items)
    return parts


def content_of(path: Path) -> dict[str, Any]:
    """What a list holds, with ``training`` and lists of entries that are not looked at yet.

    Raises:
        BadInput: it is no such list.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: check its name.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path.name} is no list of images: it must be a file of JSON, as MONAI's "
                       "datalists are.") from error
    if not isinstance(content, dict) or not content.get("training"):
        raise BadInput(f'{path.name} names no image to learn from: it needs a list "training".')
    for part in PARTS:
        if not isinstance(content.get(part, []), list):
            raise BadInput(f'"{part}" in {path.name} must be a list of images.')
    return content


def _check_entry(entry: Any, place: str, needed: Sequence[str],
                 keys: Sequence[str] = ()) -> None:
    if not isinstance(entry, dict):
        example = ", ".join(f'"{key}": ...' for key in keys or needed)
        raise BadInput(f"The list is wrong at {place}: write {{{example}}}.")
    for key in needed:
        if not isinstance(entry.get(key), str | int) or str(entry[key]).strip() == "":
            raise BadInput(f'The list is wrong at {place}: "{key}" is missing.')


def _file_of(entry: Mapping[str, Any], key: str, place: str, folder: Path) -> Path:
    file = folder / Path(str(entry[key])).expanduser()
    if not file.exists():
        what = "image" if key == "image" else f"file of {key}"
        raise BadInput(f"The {what} {file.name} ({place}) cannot be found: check its path, which "
                       "counts from the folder of the list.")
    return file


def _whose(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The patient and the site of an entry."""
    return str(entry["patient"]).strip(), str(entry.get("site") or "")


def _check_once(items: Iterable[Item | Pair]) -> None:
    seen: dict[Path, str] = {}
    for item in items:
        image = item.image.resolve()
        if image in seen:
            raise BadInput(f"{item.image.name} stands twice in the list ({seen[image]}, "
                           f"{item.place}): leave it in one place.")
        seen[image] = item.place


def measured_part(parts: Mapping[str, list[Any]], part: str) -> list[Any]:
    """The entries to measure on: of a part; without a name of the test part, or else all.

    Raises:
        BadInput: the list has no such part.
    """
    if part and not parts.get(part):
        raise BadInput(f"The list has no part {part}: choose one of "
                       f"{', '.join(name for name in PARTS if parts.get(name))} (--part).")
    return parts.get(part or "test") or [entry for own in parts.values() for entry in own]


def check_apart(parts: Mapping[str, Sequence[Item | Pair]]) -> None:
    """Refuse parts that share a patient.

    Raises:
        BadInput: a patient is in two parts.
    """
    first: dict[str, tuple[str, Item | Pair]] = {}
    for part, items in parts.items():
        for item in items:
            other_part, other = first.setdefault(item.patient, (part, item))
            if other_part != part:
                raise BadInput(f"The same patient is in two parts of the list ({other.place}, "
                               f"{item.place}): what is measured on patients that were learned "
                               "from is worth nothing.")


def part_patients(items: Sequence[Listed], shares: Mapping[str, float],
                  rank: Callable[[Listed], int], seed: int) -> dict[str, list[Listed]]:
    """Part items by patient, at random but so that each part gets its share of every rank.

    Args:
        items: to part.
        shares: of the patients, by name of the part; their sum is 1.
        rank: of an item, such as how ill the patient is; that of a patient is the highest.
        seed: of the random numbers.

    Returns:
        The items of each part, in their order.
    """
    ranks: dict[str, int] = {}
    for item in items:
        ranks[item.patient] = max(rank(item), ranks.get(item.patient, rank(item)))
    drawn = np.random.default_rng(seed).permutation(sorted(ranks))
    part_of: dict[str, str] = {}
    given = dict.fromkeys(shares, 0)
    for number, patient in enumerate(sorted(drawn.tolist(), key=ranks.__getitem__), 1):
        # to whom most is owed
        part = max(shares, key=lambda name: shares[name] * number - given[name])
        given[part] += 1
        part_of[patient] = part
    return {part: [item for item in items if part_of[item.patient] == part] for part in shares}
