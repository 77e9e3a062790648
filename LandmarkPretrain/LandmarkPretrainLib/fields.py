# SPDX-License-Identifier: Apache-2.0
"""How a field of landmarks is taught: two softmaxes over the same logits.

Over places: where in this image is landmark k (cross-entropy of the voxels' softmax against the
eight voxels around it, weighed trilinearly, so that fractions of a voxel count). Over names: which
landmark, if any, is at this place; asked at every landmark and at random voxels away from all. The
first localises, the second is the published classification of patches, now at every voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from .augmentation import Augmentation, shaded, turns
from .networks import NONE
from .patches import UNTURNED
from .prepared_cases import Extractors, PreparedCase
from .sampling import drawn_landmarks, known, places_of_none
from .training_patches import chosen_cases

ASKED = 48  # random voxels of each image that are asked for a name
APART = 3.0  # voxels: nearer to a landmark than this, no name is asked for
CUBE = 32  # voxels of a side
CUBES = 10  # of a step
EMPTY_SHARE = 0.1  # of the cubes lie anywhere
MARGIN = 1.0  # voxels: a landmark nearer to the border of an image is not asked for
MULTIPLE = 8  # of voxels of a side: what the coarse field can halve
LEAST_SHOWN = 0.55  # of the extent that a scan of a part shows
PART_PROBABILITY = 0.5
NOTHING_PROBABILITY = 0.08  # of an image that is no body at all
SHOWN_AROUND = 1.15  # of its extent: the image lies in a little air


class CubeBatches(Dataset):
    """Cubes for the fine field, each with a landmark somewhere in it; item k belongs to step k.

    They are turned at random, and as each body lies (``lying``, rotations from the shape's axes).
    ``label`` is (cubes, landmarks, 3): place of each landmark in voxels (z, y, x), NaN where it is
    not in the cube.
    """

    def __init__(self, cases: Sequence[PreparedCase], spacing_mm: float, steps: int, seed: int,
                 ranges: Augmentation | None = None, cubes: int = CUBES,
                 lying: Sequence[np.ndarray] | None = None) -> None:
        self._cases, self._spacing = cases, spacing_mm
        self._lying = [UNTURNED] * len(cases) if lying is None else lying
        self._steps, self._seed, self._cubes = steps, seed, cubes
        self._ranges = ranges or Augmentation()
        self._extractors = Extractors(cases)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        chosen = chosen_cases(len(self._cases), step, self._seed)
        random = np.random.default_rng([self._seed, 3, step])
        empty = int(random.binomial(self._cubes, EMPTY_SHARE))
        owners, names = drawn_landmarks(self._cases, chosen, self._cubes - empty, random)
        size = CUBE * self._spacing
        middles = [self._cases[owner].points[name] + random.uniform(-0.42, 0.42, 3) * size
                   for owner, name in zip(owners, names, strict=True)]
        for _ in range(empty):
            owner = int(random.choice(chosen))
            owners = np.append(owners, owner)
            middles.append(places_of_none(self._cases[owner], self._extractors, owner, 1, size,
                                          random, close_share=0.0)[0])
        turned = np.stack([self._lying[owner] for owner in owners]) @ turns(
            self._cubes, self._ranges, random)
        image = torch.cat([self._extractors[owner].cubes(middle, size, CUBE, matrix[None])
                           for owner, middle, matrix in zip(owners, middles, turned, strict=True)])
        places = np.stack([
            places_in(self._cases[owner].points, middle, matrix, self._spacing, (CUBE,) * 3)
            for owner, middle, matrix in zip(owners, middles, turned, strict=True)])
        return {"image": shaded(image, self._ranges, random),
                "label": torch.from_numpy(places.astype(np.float32))}


class VolumeBatches(Dataset):
    """Whole images on coarse voxels, or parts of them, for the coarse field; one a step."""

    def __init__(self, cases: Sequence[PreparedCase], spacing_mm: float, steps: int, seed: int,
                 ranges: Augmentation | None = None) -> None:
        self._cases, self._spacing = cases, spacing_mm
        self._steps, self._seed = steps, seed
        self._ranges = ranges or Augmentation()
        self._extractors = Extractors(cases)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        chosen = chosen_cases(len(self._cases), step, self._seed)
        random = np.random.default_rng([self._seed, 4, step])
        number = int(random.choice(chosen))
        case = self._cases[number]
        extent = case.size_mm * SHOWN_AROUND
        middle = np.array(case.origin) + (case.size_mm - case.spacing_mm) / 2
        if random.random() < PART_PROBABILITY:
            part = extent * random.uniform(LEAST_SHOWN, 1.0, 3)
            middle = middle + random.uniform(-0.5, 0.5, 3) * (extent - part)
            extent = part
        matrix = turns(1, self._ranges, random)
        shape = whole_shape(extent / np.abs(np.linalg.det(matrix[0])) ** (1 / 3), self._spacing)
        if random.random() < NOTHING_PROBABILITY:
            image, places = nothing(shape, random)[None], np.full(case.points.shape, np.nan)
        else:
            image = self._extractors[number].boxes(middle, shape[2] * self._spacing, shape,
                                                   matrix)[:, 0]
            places = places_in(case.points, middle, matrix[0], self._spacing, shape)
        return {"image": shaded(image[None], self._ranges, random),
                "label": torch.from_numpy(places[None].astype(np.float32))}


def nothing(shape: tuple[int, int, int], random: np.random.Generator) -> torch.Tensor:
    """An image (z, y, x) of noise, fine and coarse, between -1 and 1: what has no landmark."""
    image = torch.zeros(shape)
    for cell in random.choice((1, 2, 4, 8), 2, replace=False):
        coarse = [max(2, -(-size // int(cell))) for size in shape]
        noise = torch.from_numpy(random.standard_normal((1, 1, *coarse), dtype=np.float32))
        image += F.interpolate(noise, size=shape, mode="trilinear")[0, 0]
    return image.mul_(random.uniform(0.05, 0.5)).add_(random.uniform(-0.8, 0.5)).clamp_(-1, 1)


def whole_shape(extent_mm: np.ndarray, spacing_mm: float) -> tuple[int, int, int]:
    """Voxels (z, y, x) that hold an extent (x, y, z), each a multiple of what halving needs."""
    counts = np.ceil(np.asarray(extent_mm) / spacing_mm / MULTIPLE).astype(int) * MULTIPLE
    return tuple(int(count) for count in np.maximum(counts, 2 * MULTIPLE)[::-1])


def places_in(points: np.ndarray, middle: np.ndarray, matrix: np.ndarray, spacing_mm: float,
              shape: tuple[int, int, int]) -> np.ndarray:
    """Points in LPS mm as voxels (z, y, x) of a turned box; NaN where they are not in it.

    Args:
        points: (n, 3).
        middle: of the box, LPS mm.
        matrix: from shifts in the box to shifts in the patient, see :func:`.augmentation.turns`.
        spacing_mm: of the box.
        shape: of the box, voxels (z, y, x).
    """
    shifts = (points - middle) @ np.linalg.inv(matrix).T / spacing_mm
    places = shifts[:, ::-1] + (np.array(shape) - 1) / 2
    outside = ((places < MARGIN) | (places > np.array(shape) - 1 - MARGIN)).any(1)
    return np.where((outside | ~known(points))[:, None], np.nan, places)


def field_loss(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Sum of both cross-entropies, in nats.

    Args:
        logits: (n, landmarks + 1, z, y, x); channel 0 is none.
        places: (n, landmarks, 3) in voxels, NaN where a landmark is not there.
    """
    logits = logits.float()
    shape = torch.tensor(logits.shape[2:], device=logits.device)
    images, names = torch.nonzero(torch.isfinite(places).all(2), as_tuple=True)
    found = places[images, names]
    by_name, flat = logits.flatten(2), logits.new_zeros(())
    if len(images):
        channels = by_name[images, names + 1]
        corners, weights = _corners(found, shape)
        flat = -((torch.gather(channels, 1, corners) - channels.logsumexp(1, keepdim=True))
                 * weights).sum(1).mean()
    asked, who, names_there = _asked(places, images, names, found, shape, logits.shape[0])
    named = by_name[who, :, asked]
    return flat + _balanced(named, names_there)


def _balanced(named: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the names; those that are none count as much as all landmarks together."""
    each = F.cross_entropy(named, truth, reduction="none")
    none = truth == NONE
    parts = [each[mask].mean() for mask in (none, ~none) if mask.any()]
    return torch.stack(parts).mean()


def _corners(places: torch.Tensor, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The eight voxels around places (m, 3), as flat numbers, and their trilinear weights."""
    low = torch.minimum(places.floor().long().clamp_min(0), shape - 2)
    share = places - low
    numbers, weights = [], []
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=places.device)
        z, y, x = (low + step).unbind(1)
        numbers.append((z * shape[1] + y) * shape[2] + x)
        weights.append(torch.where(step.bool(), share, 1 - share).prod(1))
    return torch.stack(numbers, 1), torch.stack(weights, 1)


def _asked(places, images, names, found, shape, count):
    """Voxels that are asked for their name: flat number, image and truth of each."""
    at = torch.minimum(found.round().long().clamp_min(0), shape - 1)
    random = torch.stack([torch.randint(0, int(size), (count, ASKED), device=places.device)
                          for size in shape], -1)
    apart = (random[:, :, None].float() - places[:, None]).square().sum(-1).sqrt()
    far = torch.nan_to_num(apart, nan=torch.inf).amin(2) > APART
    who = torch.arange(count, device=places.device)[:, None].expand(-1, ASKED)[far]
    every = torch.cat([at, random[far]])
    flat = (every[:, 0] * shape[1] + every[:, 1]) * shape[2] + every[:, 2]
    truth = torch.cat([names + 1, torch.full_like(who, NONE)])
    return flat, torch.cat([images, who]), truth
