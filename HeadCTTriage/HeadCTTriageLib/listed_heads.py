# SPDX-License-Identifier: Apache-2.0
"""Head CTs of a list, as the slices that networks learn from: parted by patient, cut once, kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReadingRoomLib.datalists import PARTS, Item, check_apart, part_patients, read_datalist
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import whole_file

from . import certainty
from .brain import locate_brain
from .slices import Sampling, cut_slices
from .triage import Tag

LABELS = tuple(tag.name.lower() for tag in Tag)
SHARE = 0.2  # of the patients, for validation and for the test each


@dataclass(frozen=True)
class Heads:
    """The heads of one part.

    Attributes:
        items: of the list.
        tags: theirs, (n,), 0 to 3.
    """

    items: tuple[Item, ...]
    tags: np.ndarray

    @classmethod
    def of(cls, items: Sequence[Item]) -> Heads:
        return cls(tuple(items), np.array([LABELS.index(item.label) for item in items], int))

    def written(self) -> dict[str, object]:
        """For ``result.json``: how many there are; nothing that tells a patient."""
        sites = sorted({item.site for item in self.items if item.site})
        return {
            "heads": len(self.items),
            "patients": len({item.patient for item in self.items}),
            "tags": {name: int((self.tags == number).sum()) for number, name in enumerate(LABELS)},
        } | ({"sites": {site: sum(item.site == site for item in self.items) for site in sites}}
             if sites else {})


def parts_of(path: Path, seed: int) -> dict[str, Heads]:
    """Training, validation and test of a list; what it does not give is taken from the training.

    Validation is also what probabilities are calibrated on, so it gets a fifth of the patients or
    as many as that needs.

    Args:
        path: the list, see :mod:`ReadingRoomLib.datalists`; labels are the names of the tags.
        seed: of the parting.

    Raises:
        BadInput: the list cannot be used; the sentence says why.
    """
    given = read_datalist(path, LABELS)
    check_apart(given)
    missing = [part for part in PARTS if not given.get(part)]
    parts = {part: given.get(part, []) for part in PARTS}
    if missing:
        parts |= _parted(given["training"], missing, seed)
    heads = {part: Heads.of(items) for part, items in parts.items()}
    for part, least in zip(PARTS, (1, certainty.LEAST_HEADS, 1), strict=True):
        _check_kinds(heads[part].tags, part, least)
    return heads


def _parted(items: Sequence[Item], missing: Sequence[str], seed: int) -> dict[str, list[Item]]:
    """The items that were given for training, by part."""
    urgent_patients = {item.patient for item in items if _tag(item).urgent}
    groups = {"urgent heads": [item for item in items if item.patient in urgent_patients],
              "other heads": [item for item in items if item.patient not in urgent_patients]}
    counts = {name: len({item.patient for item in group}) for name, group in groups.items()}
    least = 2 * certainty.LEAST_HEADS if "validation" in missing else 5
    if min(counts.values()) < least:
        raise BadInput(
            "There are too few patients to learn from: {} with urgent heads (red, black) and {} "
            "with others only, but {least} of each are needed.".format(
                *counts.values(), least=least))
    found: dict[str, list[Item]] = {part: [] for part in PARTS}
    for name, group in groups.items():
        shares = dict.fromkeys(missing, SHARE)
        if "validation" in shares:
            # one more, for the parting may be off by one
            shares["validation"] = max(SHARE, (certainty.LEAST_HEADS + 1) / counts[name])
        shares = {"training": 1 - sum(shares.values()), **shares}
        for part, chosen in part_patients(group, shares, _tag, seed).items():
            found[part] += chosen
    return {part: found[part] for part in ("training", *missing)}


def _tag(item: Item) -> Tag:
    return Tag[item.label.upper()]


def _check_kinds(tags: np.ndarray, part: str, least: int) -> None:
    urgent = int((tags >= Tag.RED).sum())
    others = len(tags) - urgent
    if min(urgent, others) < least:
        raise BadInput(f"The part {part} has {urgent} urgent heads (red, black) and {others} others"
                       f", but at least {least} of each are needed.")


class SliceStore:
    """Slices of listed heads, cut once and kept in a folder.

    Args:
        folder: gets a file for each head, named by a hash of where the CT lies.
        sampling: of the slices.
    """

    def __init__(self, folder: Path, sampling: Sampling) -> None:
        self.folder, self.sampling = folder, sampling
        folder.mkdir(parents=True, exist_ok=True)

    def key(self, item: Item) -> str:
        """Name of a head: that of another file, or of a changed one, is another."""
        image = item.image.resolve()
        files = sorted(path for path in image.rglob("*") if path.is_file()) if image.is_dir() else [
            image]
        known = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr((known, self.sampling)).encode()).hexdigest()[:24]

    def path(self, item: Item) -> Path:
        return self.folder / f"{self.key(item)}.npz"

    def slices(self, item: Item) -> np.ndarray:
        """Slices of a head that was cut, (slices, height, width), HU, int16."""
        with np.load(self.path(item)) as arrays:
            return arrays["slices"]

    def cut(self, heads: Mapping[str, Heads], on_head: Callable[[int], None]) -> None:
        """Cut all heads that are not there yet.

        Args:
            on_head: called with the number of heads that are done.

        Raises:
            BadInput: some cannot be used; all were looked at, and the first one is named.
        """
        items = [item for part in heads.values() for item in part.items]
        problems: list[str] = []
        for number, item in enumerate(items, 1):
            path = self.path(item)
            if not path.exists():
                try:
                    slices = self._cut(item)
                    with whole_file(path) as unfinished:
                        np.savez_compressed(unfinished, slices=slices)
                except BadInput as refused:
                    problems.append(f"{item.image.name} ({item.place}): {refused.message}")
            on_head(number)
        if problems:
            raise BadInput(f"{len(problems)} of {len(items)} images of the list cannot be used, "
                           f"take them out of it. The first is {problems[0]}")

    def _cut(self, item: Item) -> np.ndarray:
        ct = read_image(item.image, "CT").image
        return cut_slices(ct, locate_brain(ct), self.sampling).round().astype(np.int16)
