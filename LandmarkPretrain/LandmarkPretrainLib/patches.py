# SPDX-License-Identifier: Apache-2.0
"""Small pictures around points, many at once: three planes (2.5D) or cubes.

A plane through a point is an outer sum of two lines of coordinates, so nothing but additions makes
the places to look at; the values come by trilinear interpolation, a hundred patches at a time. That
is ten times as fast as one interpolation after the other (``make bench``), and the same but for the
rounding of places to some thousandths of a voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

PIXELS = 32
TOGETHER = 400_000  # places at a time: enough to share among threads, few enough for the cache
PLANES = ((1, 0), (2, 0), (2, 1))  # axes (x 0, y 1, z 2) of rows and columns
"""Axial, coronal and sagittal; rows go to the back or to the feet, columns to the left or back."""
UNTURNED = np.eye(3)


class PatchExtractor:
    """Takes patches out of one image.

    Args:
        image: scalar; any spacing and direction.
        fill: value beyond the image; None: the lowest in it.
    """

    def __init__(self, image: sitk.Image, fill: float | None = None) -> None:
        array = torch.from_numpy(sitk.GetArrayFromImage(image).astype(np.float32))
        fill = float(array.min()) if fill is None else fill
        self._levels = [_Level(array, 1, fill)]
        spacing = np.array(image.GetSpacing())
        direction = np.array(image.GetDirection()).reshape(3, 3)
        self._to_index = (direction / spacing).T  # rows: index i, j, k of a shift in mm
        self._origin = np.array(image.GetOrigin())
        self._voxel_mm = float(spacing.min())
        self.voxels = self._levels[0].voxels

    def planes(self, points: np.ndarray, size_mm: float | Sequence[float], pixels: int = PIXELS,
               rotations: np.ndarray | None = None) -> torch.Tensor:
        """Three orthogonal planes through each point.

        Args:
            points: (n, 3) LPS mm.
            size_mm: side of the patches, or several.
            pixels: along a side.
            rotations: (n, 3, 3) matrices, or (3, 3), that turn the patches about their points;
                they may scale, too.

        Returns:
            float32 (n, 3 * number of sizes, pixels, pixels): axial, coronal, sagittal.
        """
        def fill(out: torch.Tensor, level: _Level, matrices: torch.Tensor, middles: torch.Tensor,
                 line: torch.Tensor) -> None:
            places = torch.empty(3, *out.shape)
            for axis, place in enumerate(places):
                for number, (row, column) in enumerate(PLANES):
                    down = matrices[:, axis, row, None] * _direction(row, line)
                    along = matrices[:, axis, column, None] * line
                    torch.add((down + middles[:, axis, None])[:, :, None], along[:, None],
                              out=place[:, number])
            level.read(places, out)

        return self._taken(points, size_mm, pixels, rotations, (3, pixels, pixels), fill).flatten(
            1, 2)

    def cubes(self, points: np.ndarray, size_mm: float | Sequence[float], pixels: int = PIXELS,
              rotations: np.ndarray | None = None) -> torch.Tensor:
        """Cubes around each point, axes (z, y, x) along S, P and L.

        Args as for :meth:`planes`.

        Returns:
            float32 (n, number of sizes, pixels, pixels, pixels).
        """
        return self.boxes(points, size_mm, (pixels,) * 3, rotations)

    def boxes(self, points: np.ndarray, size_mm: float | Sequence[float],
              shape: tuple[int, int, int], rotations: np.ndarray | None = None) -> torch.Tensor:
        """Boxes of ``shape`` voxels (z, y, x), of which the last axis is ``size_mm`` long.

        Returns:
            float32 (n, number of sizes, *shape).
        """
        def fill(out: torch.Tensor, level: _Level, matrices: torch.Tensor, middles: torch.Tensor,
                 line: torch.Tensor) -> None:
            step = line[1] - line[0]
            lines = [(torch.arange(count, dtype=torch.float32) - (count - 1) / 2) * step
                     for count in shape]
            places = torch.empty(3, *out.shape)
            for axis, place in enumerate(places):
                z, y, x = (matrices[:, axis, which, None] * along
                           for which, along in zip((2, 1, 0), lines, strict=True))
                plane = (y + middles[:, axis, None])[:, :, None] + x[:, None]
                torch.add(z[:, :, None, None], plane[:, None], out=place)
            level.read(places, out)

        return self._taken(points, size_mm, shape[2], rotations, shape, fill)

    def values(self, points: np.ndarray) -> np.ndarray:
        """The image at points (n, 3) in LPS mm; float32 (n,)."""
        found = torch.empty(len(points))
        self._levels[0].read(self._levels[0].places(self._indices(points)).T.contiguous(), found)
        return found.numpy()

    def _indices(self, points: np.ndarray) -> np.ndarray:
        return (np.asarray(points, float).reshape(-1, 3) - self._origin) @ self._to_index.T

    # the caller may be in inference mode, but what is taken must serve outside it, too
    @torch.inference_mode(False)
    @torch.no_grad()
    def _taken(self, points: np.ndarray, size_mm: float | Sequence[float], pixels: int,
               rotations: np.ndarray | None, shape: tuple[int, ...],
               fill: Callable) -> torch.Tensor:
        """Patches of each size, filled some at a time; (n, sizes, *shape)."""
        points = np.asarray(points, float).reshape(-1, 3)
        sizes = np.atleast_1d(np.asarray(size_mm, float))
        turned = np.broadcast_to(UNTURNED if rotations is None else rotations,
                                 (len(points), 3, 3))
        middles = self._indices(points)
        found = torch.empty(len(points), len(sizes), *shape)
        count = max(1, TOGETHER // int(np.prod(shape)))
        for number, size in enumerate(sizes):
            step = size / pixels
            level = self._level(step)
            matrices, places = level.steps(self._to_index @ turned), level.places(middles)
            line = (torch.arange(pixels, dtype=torch.float32) - (pixels - 1) / 2) * step
            for first in range(0, len(points), count):
                some = slice(first, first + count)
                fill(found[some, number], level, matrices[some], places[some], line)
        return found

    def _level(self, step_mm: float) -> _Level:
        """The image, averaged as long as its voxels stay finer than the patches' pixels."""
        level = 0
        while self._voxel_mm * 2 ** (level + 1) <= step_mm * 1.01:
            level += 1
            if level == len(self._levels):
                self._levels.append(self._levels[-1].halved())
        return self._levels[level]


class _Level:
    """Voxels of one size: what was given, or means of ``factor`` voxels along each axis.

    PyTorch interpolates in pictures with vector instructions, but not in volumes. So the slices
    are read as one tall picture, which has two channels: a slice, and the one above it.
    """

    def __init__(self, array: torch.Tensor, factor: int, fill: float) -> None:
        self.factor, self._fill = factor, fill
        self._inner = tuple(slice(1, 1 + size) for size in array.shape)
        # a layer of voxels beyond, where every place ends that lies outside; and another slice, so
        # that each has one above it
        self._array = F.pad(array, (1, 1, 1, 1, 1, 2), value=fill)
        self.voxels = self._array.numel()
        depth, height, width = self._array.shape
        slab = height * width
        self._slices = self._array.as_strided((1, 2, (depth - 1) * height, width),
                                              (0, slab, width, 1))
        # a picture reaches from -1 to 1, and its first pixel's middle is half a pixel from -1
        self._scale = np.array([2 / width, 2 / ((depth - 1) * height), 1.0])
        self._first = np.array([self._scale[0] / 2 - 1, self._scale[1] / 2 - 1, 0.0])
        self._last_row = self._first[1] + self._scale[1] * (height - 1)
        self._last_slice, self._slice = depth - 2, 2 / (depth - 1)

    def places(self, indices: np.ndarray) -> torch.Tensor:
        """What :meth:`read` takes for indices (n, 3) of the image."""
        inner = (indices + 0.5) / self.factor - 0.5 + 1
        return torch.from_numpy((inner * self._scale + self._first).astype(np.float32))

    def steps(self, matrices: np.ndarray) -> torch.Tensor:
        """What adds to places, for matrices (n, 3, 3) from mm to indices of the image."""
        return torch.from_numpy((matrices * (self._scale / self.factor)[:, None]).astype(
            np.float32))

    def halved(self) -> _Level:
        inner = self._array[self._inner]
        odd = [size % 2 for size in reversed(inner.shape)]
        inner = F.pad(inner, (0, odd[0], 0, odd[1], 0, odd[2]), value=self._fill)
        return _Level(F.avg_pool3d(inner[None], 2)[0], self.factor * 2, self._fill)

    def read(self, places: torch.Tensor, out: torch.Tensor) -> None:
        """Trilinear interpolation at places (3, ...) of x, y, z; ``places`` is used up."""
        _, y, z = places
        y.clamp_(self._first[1], self._last_row)
        z.clamp_(0, self._last_slice)
        low = z.floor()
        z.sub_(low)
        y.add_(low, alpha=self._slice)
        shape = (-1, *out.shape[-2:]) if out.ndim > 2 else (1, 1, -1)
        grid = places[:2].reshape(2, *shape).permute(1, 2, 3, 0)
        found = F.grid_sample(self._slices.expand(len(grid), -1, -1, -1), grid,
                              padding_mode="border", align_corners=False)
        near, far = (found[:, channel].view(out.shape) for channel in range(2))
        torch.lerp(near, far, z, out=out)


def _direction(axis: int, line: torch.Tensor) -> torch.Tensor:
    """Rows along z go from the head to the feet, as pictures are shown."""
    return -line if axis == 2 else line
