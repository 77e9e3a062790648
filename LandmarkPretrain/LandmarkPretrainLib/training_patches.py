# SPDX-License-Identifier: Apache-2.0
"""Batches of 2.5D patches for the mini-VGG: balanced over the classes, streamed, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from .augmentation import Augmentation, shaded, turns
from .patches import PIXELS
from .prepared_cases import Extractors, PreparedCase
from .sampling import drawn_landmarks, labels_of, places_of_none

PATCHES = 192  # of a step
NONE_SHARE = 0.25  # of them that show no landmark
TOGETHER = 8  # cases of a step
SAME_CASES = 16  # steps from the same cases, so that images are not read for each step
SHIFT = 1 / 16  # of a patch: how far a landmark may lie from the middle


@dataclass(frozen=True)
class PatchKind:
    """What a patch is.

    Attributes:
        sizes_mm: sides; each size gives three planes.
        pixels: along a side.
    """

    sizes_mm: tuple[float, ...]
    pixels: int = PIXELS

    @property
    def channels(self) -> int:
        return 3 * len(self.sizes_mm)


class PatchBatches(Dataset):
    """Item k is the batch of step k: it depends on the seed and on k alone.

    Args:
        cases: to learn from.
        landmarks: the first so many of their names are learned; the others are no landmarks then.
        kind: of patches.
        steps: items.
        seed: of the random numbers.
        ranges: of the augmentation.
        patches: of a step.
    """

    def __init__(self, cases: Sequence[PreparedCase], landmarks: int, kind: PatchKind, steps: int,
                 seed: int, ranges: Augmentation | None = None, patches: int = PATCHES) -> None:
        self._cases = [_first(case, landmarks) for case in cases]
        self._kind, self._steps, self._seed = kind, steps, seed
        self._ranges = ranges or Augmentation()
        self._patches = patches
        self._extractors = Extractors(self._cases)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        chosen = chosen_cases(len(self._cases), step, self._seed)
        random = np.random.default_rng([self._seed, 1, step])
        none = round(self._patches * NONE_SHARE)
        owners, names = drawn_landmarks(self._cases, chosen, self._patches - none, random)
        points = np.stack([self._cases[owner].points[name]
                           for owner, name in zip(owners, names, strict=True)])
        patch_mm = self._kind.sizes_mm[0]
        points = points + random.uniform(-1, 1, points.shape) * SHIFT * patch_mm
        counts = np.bincount(np.arange(none) % len(chosen), minlength=len(chosen))
        others = [places_of_none(self._cases[owner], self._extractors, owner, count, patch_mm,
                                 random) for owner, count in zip(chosen, counts, strict=True)]
        owners = np.concatenate([owners, np.repeat(chosen, counts)])
        points = np.concatenate([points, *others])
        turned = turns(len(points), self._ranges, random)
        image = torch.empty(len(points), self._kind.channels, self._kind.pixels, self._kind.pixels)
        for owner in np.unique(owners):
            own = np.flatnonzero(owners == owner)
            image[torch.from_numpy(own)] = self._extractors[owner].planes(
                points[own], self._kind.sizes_mm, self._kind.pixels, turned[own])
        return {"image": shaded(image, self._ranges, random),
                "label": torch.from_numpy(labels_of(names, none))}


def chosen_cases(count: int, step: int, seed: int, together: int = TOGETHER) -> list[int]:
    """Numbers of the cases that a step learns from; each case is taken as often as the others."""
    turn = step // SAME_CASES * together
    return sorted({_nth(count, turn + number, seed) for number in range(min(together, count))})


def _nth(count: int, number: int, seed: int) -> int:
    """Entry of an endless sequence of shuffled rounds."""
    order = np.random.default_rng([seed, 2, number // count]).permutation(count)
    return int(order[number % count])


def _first(case: PreparedCase, landmarks: int) -> PreparedCase:
    return PreparedCase(case.patient, case.file, case.origin, case.spacing_mm,
                        case.points[:landmarks])
