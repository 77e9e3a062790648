# SPDX-License-Identifier: Apache-2.0
"""What a network sees: first everywhere on a coarse lattice, then closely around a place.

The published network classifies patches, so it is asked at every point of a lattice. The field is
fully convolutional and answers for all voxels at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from ReadingRoomLib.devices import MemoryFallback, fast_in_bfloat16

from .fields import CUBE, SHOWN_AROUND, whole_shape
from .networks import NONE, LandmarkCascade, MiniVGG
from .patches import UNTURNED, PatchExtractor
from .sampling import BODY
from .training_patches import PatchKind

LATTICE = 8  # points along the side of a patch
AROUND = 5  # points of a side of the small lattices around a place
CLOSER = (2.0, 3.0, 5.0)  # times as fine as the first lattice, one after the other
NEAR = 2.5  # voxels: what lies so close to the best place is of the same peak
COARSE_SHARE = 0.6  # of a step of the coarse map: its error, as a standard deviation
LEAST_SPREAD = 0.4  # of such a step: the shape is not trusted more than that
WIDENED = 1.5  # the shape's error, for bodies unlike those it was learned from
NOTHING = -30.0  # logit of a landmark where there is air
TOGETHER = 128  # patches at a time: what they become stays in the cache
PATCHES_OF_A_CUBE = 8  # that need as much memory


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
class Guess:
    """Where landmarks are thought to be before the close look.

    A close look alone mistakes one vertebra for its neighbour; weighed by what the coarse map and
    the shape say it does not.

    Attributes:
        points: (n, 3) LPS mm, from the coarse map.
        expected, error: where the shape has them, (n, 3) LPS mm, and its standard deviation (n,).
        turn: how the body lies, see :meth:`.shape_model.ShapeModel.turn`.
    """

    points: np.ndarray
    expected: np.ndarray
    error: np.ndarray
    turn: np.ndarray = field(default_factory=UNTURNED.copy)

    def log_chance(self, line: np.ndarray, step_mm: float, start: np.ndarray) -> np.ndarray:
        """Logarithm, but for a constant, of the chance of places on cubic grids.

        Args:
            line: (m,) mm, the grid's coordinates from ``start`` (n, 3) LPS mm along each axis,
                turned as the body lies.
            step_mm: of the coarse map.

        Returns:
            (n, m, m, m) for z, y and x.
        """
        def squared(middles: np.ndarray) -> np.ndarray:  # (n, 3, m): a Gaussian sums over axes
            return np.square(((start - middles) @ self.turn)[:, :, None] + line)

        near = squared(self.points) / np.square(COARSE_SHARE * step_mm)
        spread = np.maximum(WIDENED * self.error, LEAST_SPREAD * step_mm)
        usual = squared(self.expected) / np.square(spread)[:, None, None]
        x, y, z = np.moveaxis(-(near + usual) / 2, 1, 0)
        return z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :]


@dataclass(frozen=True)
class Closer:
    """What a closer look gave for each landmark that was asked for.

    Attributes:
        points: (n, 3) LPS mm.
        names: (n,) chance that what is there is this landmark.
        mass: (n,) share of the chance over places, by the image alone, close to the point.
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
        any_way: bodies may lie turned in any way.
    """

    posed = False
    """Whether the close look is turned as the body lies."""

    def __init__(self, network: MiniVGG, kind: PatchKind, fallback: MemoryFallback,
                 any_way: bool = False) -> None:
        self.network, self.kind, self._fallback = network, kind, fallback
        self.any_way = any_way
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

    def closer(self, extractor: PatchExtractor, guess: Guess, which: np.ndarray) -> Closer:
        """Look closely for the landmarks ``which`` (n,) around where they are thought to be."""
        points = guess.points.copy()
        name, mass = np.zeros(len(points)), np.zeros(len(points))
        line = np.arange(AROUND) - AROUND // 2
        shifts = _grid(line)
        for finer in CLOSER:
            step = self.step_mm / finer
            places = points[:, None] + shifts * step
            logits = self._logits(extractor, places.reshape(-1, 3))
            names = logits.softmax(1)[:, NONE + 1:].reshape(len(points), len(shifts), -1).numpy()
            own = np.take_along_axis(names, which[:, None, None], 2)[..., 0]
            usual = guess.log_chance(line * step, self.step_mm, points)
            share = softmax(np.log(own + 1e-12) + usual.reshape(own.shape), 1)
            points = np.einsum("ns,nsa->na", share, places)
            name = own.max(1)
            mass = own.mean(1)
        return Closer(points, name, mass)

    def _logits(self, extractor: PatchExtractor, points: np.ndarray) -> torch.Tensor:
        def some(first: int, count: int, device: str) -> torch.Tensor:
            patches = extractor.planes(points[first:first + count], self.kind.sizes_mm,
                                       self.kind.pixels)
            return answer(self.network, patches, device)

        return _by_batches(self._fallback, len(points), some)


class FieldDetector:
    """Asks the two fields of the recipe "modern".

    Args:
        network: both.
        coarse_mm, fine_mm: their voxels.
        fallback: see :class:`PatchDetector`.
        any_way: bodies may lie turned in any way; then the close look is turned as each lies.
    """

    def __init__(self, network: LandmarkCascade, coarse_mm: float, fine_mm: float,
                 fallback: MemoryFallback, any_way: bool = False) -> None:
        self.network, self._fallback = network, fallback
        self.any_way = self.posed = any_way
        self.step_mm, self._fine_mm = coarse_mm, fine_mm

    def coarse(self, extractor: PatchExtractor, low: np.ndarray, size_mm: np.ndarray,
               advance: Callable[[float], None]) -> CoarseMap:
        """See :meth:`PatchDetector.coarse`."""
        shape = whole_shape(size_mm * SHOWN_AROUND, self.step_mm)
        middle = low + size_mm / 2
        image = extractor.boxes(middle[None], shape[2] * self.step_mm, shape)
        logits = self._fallback.run(
            lambda batch, device: answer(self.network.coarse, image, device))[0]
        advance(1.0)
        flat = logits.flatten(1)
        names = flat.log_softmax(0)[NONE + 1:]
        places = flat[NONE + 1:].log_softmax(1)
        origin = middle - (np.array(shape[::-1]) - 1) / 2 * self.step_mm
        return CoarseMap(places.reshape(-1, *shape), names.reshape(-1, *shape), origin,
                         self.step_mm)

    def closer(self, extractor: PatchExtractor, guess: Guess, which: np.ndarray) -> Closer:
        """See :meth:`PatchDetector.closer`."""
        size, points = CUBE * self._fine_mm, guess.points
        own = torch.from_numpy(which)

        def some(first: int, count: int, device: str) -> torch.Tensor:
            count = max(1, count // PATCHES_OF_A_CUBE)
            cubes = extractor.cubes(points[first:first + count], size, CUBE, guess.turn)
            logits = answer(self.network.fine, cubes, device)
            number = torch.arange(len(cubes))
            places = logits[number, own[first:first + count] + 1]
            names = logits.log_softmax(1)[number, own[first:first + count] + 1]
            return torch.stack([places, names], 1)

        found = _by_batches(self._fallback, len(points), some).numpy()
        line = (np.arange(CUBE) - (CUBE - 1) / 2) * self._fine_mm
        shifts = _grid(line)
        moved = np.empty((len(points), 3))
        names, mass = np.empty(len(points)), np.empty(len(points))
        usual = guess.log_chance(line, self.step_mm, points)
        for number, (places, name) in enumerate(found.reshape(len(points), 2, -1)):
            weighed = places + usual[number].ravel()
            peak = int(weighed.argmax())
            near = np.square(shifts - shifts[peak]).sum(1) <= np.square(NEAR * self._fine_mm)
            moved[number] = softmax(weighed[near]) @ shifts[near]
            names[number] = np.exp(name[peak])
            mass[number] = softmax(places)[near].sum()
        return Closer(points + moved @ guess.turn.T, names, mass)


def _grid(line: np.ndarray) -> np.ndarray:
    """Shifts (m * m * m, 3) in x, y, z of a cubic grid that is read in z, y, x."""
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)[..., ::-1].reshape(-1, 3)


def answer(network: nn.Module, image: torch.Tensor, device: str) -> torch.Tensor:
    """What a network says of a batch, float32 on the CPU; in bfloat16 where that is faster."""
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16,
                                                enabled=fast_in_bfloat16(device)):
        return network.to(device).eval()(image.to(device)).float().cpu()


def _by_batches(fallback: MemoryFallback, total: int,
                some: Callable[[int, int, str], torch.Tensor]) -> torch.Tensor:
    """Results of some items at a time, one after the other."""
    found, first = [], 0
    while first < total:
        part = fallback.run(lambda count, device, first=first: some(first, count, device))
        found.append(part)
        first += len(part)
    return torch.cat(found)
