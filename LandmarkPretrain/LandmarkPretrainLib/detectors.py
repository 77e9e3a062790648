# SPDX-License-Identifier: Apache-2.0
"""What a network sees: first everywhere on a coarse lattice, then closely around a place.

The published network classifies patches, so it is asked at every point of a lattice. The field is
fully convolutional and answers for all voxels at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ReadingRoomLib.devices import MemoryFallback, fast_in_bfloat16

from .fields import CUBE, SHOWN_AROUND, whole_shape
from .networks import NONE, LandmarkCascade, MiniVGG
from .patches import PatchExtractor
from .sampling import BODY
from .training_patches import PatchKind

LATTICE = 8  # points along the side of a patch
AROUND = 5  # points of a side of the small lattices around a place
CLOSER = (2.0, 3.0, 5.0)  # times as fine as the first lattice, one after the other
NOTHING = -30.0  # logit of a landmark where there is air
TOGETHER = 512  # patches at a time, where memory allows
PATCHES_OF_A_CUBE = 32  # that need as much memory


@dataclass(frozen=True)
class CoarseMap:
    """Which landmark is where.

    Attributes:
        places: (landmarks, z, y, x) logarithm of the chance that the landmark is at this place of
            all.
        names: the same shape: logarithm of the chance that what is here is this landmark.
        origin: LPS mm of the first place.
        step_mm: between places.
    """

    places: torch.Tensor
    names: torch.Tensor
    origin: np.ndarray
    step_mm: float


@dataclass(frozen=True)
class Closer:
    """What a closer look gave for each landmark that was asked for.

    Attributes:
        points: (n, 3) LPS mm.
        names: (n,) chance that what is there is this landmark.
        mass: (n,) share of the chance over places that lies close to the point.
    """

    points: np.ndarray
    names: np.ndarray
    mass: np.ndarray


class PatchDetector:
    """Asks a classifier of patches at the points of lattices.

    Args:
        network: of the recipe "seed".
        kind: of its patches.
        fallback: runs a batch where it fits, see :mod:`ReadingRoomLib.devices`.
    """

    def __init__(self, network: MiniVGG, kind: PatchKind, fallback: MemoryFallback) -> None:
        self.network, self.kind, self._fallback = network, kind, fallback
        self.step_mm = kind.sizes_mm[0] / LATTICE

    def coarse(self, extractor: PatchExtractor, low: np.ndarray, size_mm: np.ndarray,
               advance: Callable[[float], None]) -> CoarseMap:
        """Ask everywhere in the body.

        Args:
            extractor: of the prepared image.
            low, size_mm: (3,) its first voxel in LPS mm, and its extent.
            advance: told the share that is done, 0 to 1.
        """
        step = self.step_mm
        counts = np.maximum(np.ceil(size_mm / step).astype(int), 1)
        origin = low + (size_mm - (counts - 1) * step) / 2
        grid = np.stack(np.meshgrid(*[np.arange(count) for count in counts[::-1]], indexing="ij"),
                        -1)[..., ::-1].reshape(-1, 3) * step + origin
        body = extractor.values(grid) > BODY
        logits = None
        asked = np.flatnonzero(body)
        done = 0
        for part in np.array_split(asked, max(1, len(asked) // 4096)):
            found = self._logits(extractor, grid[part])
            if logits is None:
                logits = torch.full((len(grid), found.shape[1]), NOTHING)
                logits[:, NONE] = 0.0
            logits[torch.from_numpy(part)] = found
            done += len(part)
            advance(done / max(len(asked), 1))
        shape = tuple(counts[::-1].tolist())
        names = logits.log_softmax(1)[:, NONE + 1:].T
        return CoarseMap(names.log_softmax(1).reshape(-1, *shape), names.reshape(-1, *shape),
                         origin, step)

    def closer(self, extractor: PatchExtractor, points: np.ndarray, which: np.ndarray) -> Closer:
        """Look closely for the landmarks ``which`` around points (n, 3) in LPS mm."""
        points = points.copy()
        name, mass = np.zeros(len(points)), np.zeros(len(points))
        line = np.arange(AROUND) - AROUND // 2
        shifts = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
        for finer in CLOSER:
            step = self.step_mm / finer
            places = points[:, None] + shifts * step
            logits = self._logits(extractor, places.reshape(-1, 3))
            names = logits.softmax(1)[:, NONE + 1:].reshape(len(points), len(shifts), -1).numpy()
            own = np.take_along_axis(names, which[:, None, None], 2)[..., 0]
            share = own / np.maximum(own.sum(1, keepdims=True), 1e-12)
            points = np.einsum("ns,nsa->na", share, places)
            name = own.max(1)
            mass = np.take_along_axis(
                own, len(shifts) // 2 * np.ones((len(own), 1), int), 1)[:, 0]
        return Closer(points, name, mass)

    def _logits(self, extractor: PatchExtractor, points: np.ndarray) -> torch.Tensor:
        def some(first: int, count: int, device: str) -> torch.Tensor:
            patches = extractor.planes(points[first:first + count], self.kind.sizes_mm,
                                       self.kind.pixels)
            return _answer(self.network, patches, device)

        return _by_batches(self._fallback, len(points), some)


class FieldDetector:
    """Asks the two fields of the recipe "modern".

    Args:
        network: both.
        coarse_mm, fine_mm: their voxels.
        fallback: see :class:`PatchDetector`.
    """

    def __init__(self, network: LandmarkCascade, coarse_mm: float, fine_mm: float,
                 fallback: MemoryFallback) -> None:
        self.network, self._fallback = network, fallback
        self.step_mm, self._fine_mm = coarse_mm, fine_mm

    def coarse(self, extractor: PatchExtractor, low: np.ndarray, size_mm: np.ndarray,
               advance: Callable[[float], None]) -> CoarseMap:
        """See :meth:`PatchDetector.coarse`."""
        shape = whole_shape(size_mm * SHOWN_AROUND, self.step_mm)
        middle = low + size_mm / 2
        image = extractor.boxes(middle[None], shape[2] * self.step_mm, shape)
        logits = self._fallback.run(
            lambda batch, device: _answer(self.network.coarse, image, device))[0]
        advance(1.0)
        flat = logits.flatten(1)
        names = flat.log_softmax(0)[NONE + 1:]
        places = flat[NONE + 1:].log_softmax(1)
        origin = middle - (np.array(shape[::-1]) - 1) / 2 * self.step_mm
        return CoarseMap(places.reshape(-1, *shape), names.reshape(-1, *shape), origin,
                         self.step_mm)

    def closer(self, extractor: PatchExtractor, points: np.ndarray, which: np.ndarray) -> Closer:
        """See :meth:`PatchDetector.closer`."""
        size = CUBE * self._fine_mm
        own = torch.from_numpy(which)

        def some(first: int, count: int, device: str) -> torch.Tensor:
            count = max(1, count // PATCHES_OF_A_CUBE)
            cubes = extractor.cubes(points[first:first + count], size, CUBE)
            logits = _answer(self.network.fine, cubes, device)
            number = torch.arange(len(cubes))
            places = logits[number, own[first:first + count] + 1]
            names = logits.log_softmax(1)[number, own[first:first + count] + 1]
            return torch.stack([places, names], 1)

        found = _by_batches(self._fallback, len(points), some)
        line = (np.arange(CUBE) - (CUBE - 1) / 2) * self._fine_mm
        chance = found[:, 0].flatten(1).softmax(1).reshape(found[:, 0].shape).numpy()
        peak = chance.reshape(len(points), -1).argmax(1)
        places, mass, names = [], [], []
        for number, flat in enumerate(peak):
            at = np.unravel_index(flat, (CUBE,) * 3)
            near = tuple(slice(max(0, index - 2), index + 3) for index in at)
            part = chance[number][near]
            mass.append(float(part.sum()))
            places.append([(part * line[cut].reshape([-1 if axis == other else 1
                                                      for other in range(3)])).sum() / part.sum()
                           for axis, cut in reversed(list(enumerate(near)))])
            names.append(float(found[number, 1][at].exp()))
        return Closer(points + np.array(places).reshape(-1, 3), np.array(names), np.array(mass))


def _answer(network: nn.Module, image: torch.Tensor, device: str) -> torch.Tensor:
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16,
                                                enabled=fast_in_bfloat16(device)):
        return network.to(device)(image.to(device)).float().cpu()


def _by_batches(fallback: MemoryFallback, total: int,
                some: Callable[[int, int, str], torch.Tensor]) -> torch.Tensor:
    """Results of some items at a time, one after the other."""
    found, first = [], 0
    while first < total:
        part = fallback.run(lambda count, device, first=first: some(first, count, device))
        found.append(part)
        first += len(part)
    return torch.cat(found)
