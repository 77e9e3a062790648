# SPDX-License-Identifier: Apache-2.0
"""Pairs of scans without any change that networks learn from, on disk and as patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import Dataset

from ReadingRoomLib.results import whole_file

from .comparison import Compared
from .recipes import Recipe, changes_of, channels_of

PATCH = (40, 48, 48)  # voxels, (z, y, x)
MARGIN = 8  # voxels kept around the bone


def save_pair(pair: Compared, path: Path) -> None:
    """Write what surrounds the bone of a pair; densities are rounded to whole HU."""
    found = ndimage.find_objects(pair.where.astype(np.uint8))[0]
    box = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in found)
    with whole_file(path) as unfinished:
        np.savez(unfinished, where=pair.where[box], spacing=pair.spacing,
                 **{name: np.rint(getattr(pair, name)[box]).astype(np.int16)
                    for name in ("current", "prior", "expected")},
                 **{name: getattr(pair, name)[box].astype(np.float16)
                    for name in ("distance", "error")})


def read_pair(path: Path) -> Compared:
    with np.load(path) as arrays:
        numbers = {name: arrays[name].astype(np.float32)
                   for name in ("current", "prior", "expected", "distance", "error")}
        return Compared(**numbers, where=arrays["where"],
                        spacing=tuple(arrays["spacing"].tolist()))


class PairPatches(Dataset):
    """Patches around bone: item k is drawn from the seed and k alone, every patient as often.

    Args:
        paths: of the pairs of each patient.
        recipe: of the network.
        count: number of items.
        seed: first number of every draw.
    """

    def __init__(self, paths: list[list[Path]], recipe: Recipe, count: int, seed: int) -> None:
        self.patients = [[_prepared(path, recipe) for path in of_patient] for of_patient in paths]
        self.recipe, self.count, self.seed = recipe, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((self.seed, index))
        pairs = self.patients[random.integers(len(self.patients))]
        planes, bone = pairs[random.integers(len(pairs))]
        middle = bone[random.integers(len(bone))]
        start = [int(np.clip(m - size // 2, 0, max(0, there - size)))
                 for m, size, there in zip(middle, PATCH, planes.shape[1:], strict=True)]
        patch = planes[:, *(slice(s, s + size) for s, size in zip(start, PATCH, strict=True))]
        missing = [(0, size - there) for size, there in zip(PATCH, patch.shape[1:], strict=True)]
        patch = np.pad(patch, [(0, 0), *missing]).astype(np.float32)
        flips = [axis for axis in (1, 2, 3) if random.integers(2)]
        patch = torch.from_numpy(np.flip(patch, flips).copy())[None]
        return {"image": patch[:, :self.recipe.in_channels],
                "label": patch[:, self.recipe.in_channels:]}


def _prepared(path: Path, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """What the network gets, what it shall foresee and where that counts; and voxels of bone."""
    pair = read_pair(path)
    planes = np.concatenate([channels_of(pair, recipe).numpy(), changes_of(pair, recipe),
                             pair.where[None]])
    return planes.astype(np.float16), np.argwhere(pair.where).astype(np.int16)
