# SPDX-License-Identifier: Apache-2.0
"""From a CT to labels and uncertainty, slab by slab, on the CT's own grid.

The network sees thick slices on a grid of its own (`Recipe.spacing`); its probabilities are
interpolated to the voxels of the CT before the strongest structure is chosen, so that borders are
finer than the network's grid. Only one slab is in memory at a time: what grows with the scan is
the result alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F

from ReadingRoomLib.devices import fast_in_bfloat16
from ReadingRoomLib.montecarlo import dropout_active, sample_seed, summarise_uncertainties

from .body import AIR_HU, find_body
from .expected_overlap import ExpectedOverlap
from .networks import ContextUNet
from .prediction import Prediction, pits, without_islands
from .recipes import CLASSES, Recipe, to_channels
from .structures import FEMUR

BATCH = 8  # working slices labelled at once
VARIANCE = ("variance",)


@dataclass(frozen=True)
class Axis:
    """One axis of the working grid over the same axis of the CT.

    Attributes:
        first: index of the first CT voxel that is used.
        count: number of CT voxels used.
        ratio: CT voxels per working voxel.
        size: number of working voxels, padding excluded.
    """

    first: int
    count: int
    ratio: float
    size: int

    @classmethod
    def over(cls, first: int, count: int, spacing: float, working: float) -> Axis:
        ratio = working / spacing
        return cls(first, count, ratio, max(1, int(np.ceil(count / ratio))))

    def in_ct(self, index: float) -> float:
        """CT voxel coordinate of the centre of a working voxel."""
        return self.first + (index + 0.5) * self.ratio - 0.5

    def in_working(self, voxel: np.ndarray) -> np.ndarray:
        """Working coordinates of the centres of CT voxels."""
        return (voxel - self.first + 0.5) / self.ratio - 0.5

    @property
    def voxels(self) -> np.ndarray:
        """The CT voxels that are used."""
        return np.arange(self.first, self.first + self.count)

    @cached_property
    def interpolation(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower working index and weight of the upper one, for each CT voxel that is used."""
        position = self.in_working(self.voxels).clip(0, self.size - 1)
        lower = np.minimum(position.astype(int), max(self.size - 2, 0))
        return lower, (position - lower).astype(np.float32)


class WorkingGrid:
    """The network's view of a CT: body cropped, resampled to the recipe's spacing."""

    def __init__(self, ct: np.ndarray, spacing: tuple[float, float, float],
                 recipe: Recipe) -> None:
        self.ct, self.spacing, self.recipe = ct, spacing, recipe
        rows, columns = find_body(ct, spacing)
        extents = [(0, ct.shape[0]), (rows.start, rows.stop - rows.start),
                   (columns.start, columns.stop - columns.start)]
        self.axes = [Axis.over(first, count, s, w) for (first, count), s, w in
                     zip(extents, spacing, recipe.spacing, strict=True)]
        self.rows, self.columns = rows, columns
        self.depth = self.axes[0].size

    def slab(self, start: int, stop: int) -> torch.Tensor:
        """HU of working slices ``start`` to ``stop``, (z, y, x) float32; air beyond the ends.

        CT slices thinner than the working ones are averaged over the working slice's thickness
        (a box), CT pixels smaller than the working ones likewise.
        """
        planes = [self._plane(index) for index in range(start, stop)]
        return torch.stack(planes)

    def _plane(self, index: int) -> torch.Tensor:
        z_axis, y_axis, x_axis = self.axes
        if not 0 <= index < z_axis.size:
            return torch.full((y_axis.size, x_axis.size), AIR_HU)
        centre = z_axis.in_ct(index)
        reach = max(z_axis.ratio, 1.0) / 2
        plane = 0.0
        total = 0.0
        for z in range(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1):
            # overlap of the CT slice with the working slice, or linear weight when it is thicker
            if z_axis.ratio > 1:
                weight = min(z + 0.5, centre + reach) - max(z - 0.5, centre - reach)
            else:
                weight = 1 - abs(z - centre)
            if weight > 1e-6:
                inside = min(max(z, 0), self.ct.shape[0] - 1)
                plane = plane + weight * self.ct[inside, self.rows, self.columns].astype(np.float32)
                total += weight
        image = torch.from_numpy(np.asarray(plane / total, np.float32))[None, None]
        return _resize(image, (y_axis, x_axis))[0, 0]


def _resize(image: torch.Tensor, axes: tuple[Axis, Axis]) -> torch.Tensor:
    """Resample (1, 1, y, x) from the CT's pixels to the working grid, averaging when coarser."""
    for dimension, axis in zip((2, 3), axes, strict=True):
        matrix = _averaging_matrix(axis)
        image = torch.tensordot(image, matrix, dims=([dimension], [1])).movedim(-1, dimension)
    return image


def _averaging_matrix(axis: Axis) -> torch.Tensor:
    """Weights (working, CT) of linear interpolation, widened to a tent when going coarser."""
    voxels = torch.arange(axis.count, dtype=torch.float32)
    centres = (torch.arange(axis.size, dtype=torch.float32) + 0.5) * axis.ratio - 0.5
    width = max(1.0, axis.ratio)
    weights = (1 - (voxels[None] - centres[:, None].clamp(0, axis.count - 1)).abs() / width)
    weights = weights.clamp_min_(0)
    return weights / weights.sum(1, keepdim=True)


def sample_slabs(
    grid: WorkingGrid, network: ContextUNet, recipe: Recipe, samples: int, device: str, seed: int,
    kinds: Sequence[str] = VARIANCE,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Mean probability and uncertainty of the working slices, from the feet up.

    Half of the samples see the slices mirrored, left for right, and are mirrored back: structures
    carry no side, so both are equally right, and what only one of them finds is doubtful (Wang et
    al., Neurocomputing 2019).

    Yields:
        (first working slice, probabilities (classes, slices, y, x), uncertainties (kinds, slices,
        y, x)).
    """
    bfloat16 = fast_in_bfloat16(device)
    for start in range(0, grid.depth, BATCH):
        stop = min(start + BATCH, grid.depth)
        slab = grid.slab(start - recipe.context, stop + recipe.context)
        channels = to_channels(slab, recipe)
        torch.manual_seed(sample_seed(seed, start))
        with torch.inference_mode(), dropout_active(network, samples > 1), torch.autocast(
            device.split(":")[0], torch.bfloat16, enabled=bfloat16
        ):
            mean, uncertainties = summarise_uncertainties(
                chain(_decode(network, channels, samples - samples // 2, device),
                      (logits.flip(-1) for logits in
                       _decode(network, channels.flip(-1), samples // 2, device))),
                kinds,
            )
        yield start, mean.cpu(), uncertainties.cpu()


def _decode(network: ContextUNet, channels: torch.Tensor, samples: int, device: str
            ) -> Iterator[torch.Tensor]:
    """Logits (classes, slices, y, x) of each sample; all share one pass of the encoder."""
    if not samples:
        return
    height, width = channels.shape[-2:]
    image = _pad(channels, network.multiple).to(device)
    features = network.encode(image.contiguous(memory_format=torch.channels_last))
    for _ in range(samples):
        yield network.decode(features)[..., :height, :width].movedim(1, 0)


def _pad(channels: torch.Tensor, multiple: int) -> torch.Tensor:
    height, width = channels.shape[-2:]
    return F.pad(channels, (0, -width % multiple, 0, -height % multiple))


def segment_modern(
    ct: np.ndarray, spacing: tuple[float, float, float], network: ContextUNet, recipe: Recipe,
    samples: int = 10, device: str = "cpu", seed: int = 0,
    on_slices: Callable[[int, int], None] = lambda done, total: None,
    kinds: Sequence[str] = VARIANCE,
) -> Prediction:
    """Labels and uncertainty of a CT in LPS axes.

    Args:
        ct: (z, y, x) in HU, z to the head, y to the back, x to the left.
        spacing: mm, (z, y, x).
        network: as trained for ``recipe``, on ``device``.
        recipe: the network's grid and windows.
        samples: Monte Carlo samples; 1 switches dropout off.
        device: torch device.
        seed: of the samples.
        on_slices: called with slices done and in all, first with none done.
        kinds: of uncertainty that are wanted, see :mod:`ReadingRoomLib.montecarlo`.

    Raises:
        BadInput: there is no body in the CT.
    """
    network = network.to(device=device, memory_format=torch.channels_last)
    grid = WorkingGrid(ct, spacing, recipe)
    writer = _Writer(grid, kinds)
    on_slices(0, grid.depth)
    for start, mean, uncertainties in sample_slabs(grid, network, recipe, samples, device, seed,
                                                   kinds):
        writer.add(start, mean, uncertainties)
        on_slices(start + mean.shape[1], grid.depth)
    return writer.finish()


class _Writer:
    """Interpolates slabs of probabilities to the voxels of the CT as they come."""

    def __init__(self, grid: WorkingGrid, kinds: Sequence[str] = VARIANCE) -> None:
        self.grid = grid
        self.labels = np.zeros(grid.ct.shape, np.uint8)
        self.uncertainties = {kind: np.zeros(grid.ct.shape, np.float32) for kind in kinds}
        self.working_labels = np.zeros([axis.size for axis in grid.axes], np.uint8)
        self.lower, self.weight = grid.axes[0].interpolation
        z_axis, _, x_axis = grid.axes
        slices = np.rint([z_axis.in_ct(z) for z in range(z_axis.size)]).astype(int)
        self.overlap = ExpectedOverlap(slices.clip(0, len(self.labels) - 1),
                                       np.array([x_axis.in_ct(x) for x in range(x_axis.size)]),
                                       CLASSES)
        self.next = 0
        self.last: tuple[torch.Tensor, torch.Tensor] | None = None

    def add(self, start: int, mean: torch.Tensor, uncertainties: torch.Tensor) -> None:
        depth = mean.shape[1]
        self.working_labels[start : start + depth] = self.overlap.add(start, mean).numpy()

        def at(index: int) -> tuple[torch.Tensor, torch.Tensor]:
            """What is known of a working slice: of this slab, or the last of the one before."""
            if index < start:
                return self.last
            return mean[:, index - start], uncertainties[:, index - start]

        stop = start + depth
        final = stop >= self.grid.depth
        while self.next < len(self.lower) and (self.lower[self.next] + 1 < stop or final):
            lower, weight = int(self.lower[self.next]), float(self.weight[self.next])
            here = at(lower)
            if weight:
                above = at(min(lower + 1, stop - 1))
                here = tuple(torch.lerp(*pair, weight) for pair in zip(here, above, strict=True))
            self._write(self.next, *here)
            self.next += 1
        self.last = at(stop - 1)

    def _write(self, z: int, probability: torch.Tensor, uncertainties: torch.Tensor) -> None:
        place = (z, self.grid.rows, self.grid.columns)
        self.labels[place] = _strongest(probability, *self.grid.axes[1:]).numpy()
        fine = _refine(uncertainties, *self.grid.axes[1:])
        for volume, plane in zip(self.uncertainties.values(), fine, strict=True):
            volume[place] = plane.numpy()

    def finish(self) -> Prediction:
        self._tidy()
        return Prediction(self.labels, self.uncertainties, self.overlap)

    def _tidy(self) -> None:
        """Drop parts of a structure that are far smaller than its largest part; fill the femurs.

        Judged on the working grid, where it costs little. Near an island only the labels that are
        there without it remain.
        """
        cleaned, near = without_islands(self.working_labels)
        hollow = pits(cleaned, self.grid.recipe.spacing, FEMUR)
        z_axis, y_axis, x_axis = self.grid.axes
        nearest = [
            np.rint(axis.in_working(axis.voxels)).astype(int).clip(0, axis.size - 1)
            for axis in (z_axis, y_axis, x_axis)
        ]
        fine = np.ix_(nearest[1], nearest[2])
        for z in range(len(self.labels)):
            working = nearest[0][z]
            view = self.labels[z, self.grid.rows, self.grid.columns]
            if near[working].any():
                view[near[working][fine] & (view != cleaned[working][fine])] = 0
            if hollow[working].any():
                view[hollow[working][fine] & (view == 0)] = FEMUR


def _strongest(probability: torch.Tensor, y_axis: Axis, x_axis: Axis) -> torch.Tensor:
    """The strongest class at each pixel of the CT, uint8, of (classes, y, x) on the working grid.

    Probabilities are interpolated only where their class can be the strongest: the strongest of n
    has at least 1 / n, and so has, then, one of the four working pixels around.
    """
    best = _refine(probability[:1], y_axis, x_axis)[0]
    chosen = torch.zeros(best.shape, dtype=torch.uint8)
    possible = probability >= 1 / len(probability)
    rows, columns = possible.any(2).numpy(), possible.any(1).numpy()
    for value in range(1, len(probability)):
        if not rows[value].any():
            continue
        box = _around(rows[value], y_axis), _around(columns[value], x_axis)
        [fine] = _refine(probability[value : value + 1], y_axis, x_axis, *box)
        before = best[box]
        stronger = fine > before
        chosen[box].masked_fill_(stronger, value)
        torch.maximum(before, fine, out=before)
    return chosen


def _around(there: np.ndarray, axis: Axis) -> slice:
    """The CT's voxels along an axis whose interpolation sees any of the working voxels."""
    lower, _ = axis.interpolation
    seen = np.flatnonzero(there[lower] | there[np.minimum(lower + 1, axis.size - 1)])
    return slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)


def _refine(stack: torch.Tensor, y_axis: Axis, x_axis: Axis, rows: slice = slice(None),
            columns: slice = slice(None)) -> torch.Tensor:
    """Linear interpolation of (channels, y, x) from the working grid to the CT's pixels.

    Args:
        stack: on the working grid.
        y_axis, x_axis: of the two grids.
        rows, columns: of the CT's pixels that are used.
    """
    for dimension, axis, wanted in ((2, x_axis, columns), (1, y_axis, rows)):
        lower, weight = axis.interpolation
        index = torch.from_numpy(lower[wanted])
        shape = [1, 1, 1]
        shape[dimension] = -1
        weights = torch.from_numpy(weight[wanted]).reshape(shape)
        stack = torch.lerp(stack.index_select(dimension, index),
                           stack.index_select(dimension, (index + 1).clamp_max_(axis.size - 1)),
                           weights)
    return stack


def segment(ct, spacing, network, recipe: Recipe, *arguments, **options) -> Prediction:
    """Segment with the network's own recipe; see :func:`segment_modern` for the arguments."""
    if recipe.spacing is None:
        from .seed_inference import segment_seed

        return segment_seed(ct, spacing, network, recipe, *arguments, **options)
    return segment_modern(ct, spacing, network, recipe, *arguments, **options)
