# SPDX-License-Identifier: Apache-2.0
"""Smooth shapes of a simulated trunk, and drawing them into a map, each within its own box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .trunk_grid import Grid, Placement

LOOSE = 1.3  # a box is so much larger than its shape, for the deformation stretches it
MARGIN_MM = 3.0


@dataclass(frozen=True)
class Tube:
    """Balls along a line of points, radii between them: vessels, bowel, ribs, plates of bone.

    Attributes:
        name: of the structure.
        points: (n, 3) standard mm, n >= 1.
        radii: (n,) mm.
        stretch: distances along L, P, S are multiplied by it first: above 1 flattens.
        within: name of the mask that the shape is cut to.
        over: names of the only structures that it may replace.
    """

    name: str
    points: np.ndarray
    radii: np.ndarray
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    within: str | None = None
    over: tuple[str, ...] = ()

    def parts(self):
        """Pairs of neighbouring points with their radii; a single point with itself."""
        last = max(1, len(self.points) - 1)
        for i in range(last):
            j = min(i + 1, len(self.points) - 1)
            yield self.points[i], self.points[j], float(self.radii[i]), float(self.radii[j])


@dataclass(frozen=True)
class Solid:
    """An ellipsoid, or a cylinder of elliptic section.

    Attributes:
        name, within, over: as those of :class:`Tube`.
        centre: standard mm.
        axes: half lengths along its own axes.
        frame: its own axes in its columns.
        round: whether it is an ellipsoid.
    """

    name: str
    centre: np.ndarray
    axes: tuple[float, float, float]
    frame: np.ndarray = field(default_factory=lambda: np.eye(3))
    round: bool = True
    within: str | None = None
    over: tuple[str, ...] = ()


Shape = Tube | Solid


def tube(name: str, *balls: Sequence[float], **more) -> Tube:
    """A tube from balls ``(x, y, z, radius)``."""
    values = np.asarray(balls, float)
    return Tube(name, values[:, :3], values[:, 3], **more)


def smooth_tube(name: str, *balls: Sequence[float], step_mm: float = 10.0, **more) -> Tube:
    """A tube along a smooth line through balls ``(x, y, z, radius)`` (centripetal Catmull-Rom)."""
    return tube(name, *smooth_line(np.asarray(balls, float), step_mm), **more)


def smooth_line(balls: np.ndarray, step_mm: float) -> np.ndarray:
    """Points of a smooth line through the given ones, about ``step_mm`` apart; ends included."""
    if len(balls) < 3:
        return balls
    lengths = np.maximum(np.linalg.norm(np.diff(balls[:, :3], axis=0), axis=1), 1e-6)
    knots = np.concatenate([[0], np.cumsum(np.sqrt(lengths))])
    slopes = np.gradient(balls, knots, axis=0)
    pieces = []
    for i, length in enumerate(lengths):
        width = knots[i + 1] - knots[i]
        t = np.arange(0, 1, 1 / max(1, round(length / step_mm)))[:, None]
        pieces.append((2 * t**3 - 3 * t**2 + 1) * balls[i] + (t**3 - 2 * t**2 + t) * width
                      * slopes[i] + (3 * t**2 - 2 * t**3) * balls[i + 1]
                      + (t**3 - t**2) * width * slopes[i + 1])
    return np.concatenate([*pieces, balls[-1:]])


class Canvas:
    """A map of codes on a grid, and the standard coordinates of its voxels.

    Args:
        grid: of the image.
        placement: of the standard trunk in it.
        codes: by name of structure.
        masks: by name: where shapes that ask for it are cut to.
    """

    def __init__(self, grid: Grid, placement: Placement, codes: dict[str, int]) -> None:
        self.grid = grid
        self.placement = placement
        self.codes = codes
        self.regions = np.zeros(grid.shape, np.uint8)
        self.at = placement.standard_of_grid(grid)
        self.masks: dict[str, np.ndarray] = {}

    def draw(self, shapes: Sequence[Shape]) -> None:
        """Draw shapes over each other, the last one on top."""
        ends = [np.stack([p for part in shape.parts() for p in part[:2]])
                if isinstance(shape, Tube) else shape.centre[None] for shape in shapes]
        if not ends:
            return
        placed = self.placement.image(np.concatenate(ends), tolerance_mm=0.3)
        first = 0
        for shape, points in zip(shapes, ends, strict=True):
            where = placed[first:first + len(points)]
            first += len(points)
            if isinstance(shape, Tube):
                self._draw_tube(shape, where.reshape(-1, 2, 3))
            else:
                self._draw_solid(shape, where)

    def _draw_tube(self, shape: Tube, placed: np.ndarray) -> None:
        stretch = np.asarray(shape.stretch)
        for (a, b, ra, rb), where in zip(shape.parts(), placed, strict=True):
            box = self._box(where, max(ra, rb) / stretch)
            if box is None:
                continue
            x, y, z = self.at[(slice(None), *box)]
            start = (a * stretch).astype(np.float32)
            way = ((b - a) * stretch).astype(np.float32)
            length = float(way @ way)
            # stretching leaves most tubes as they are, and multiplying by 1 takes time
            dx, dy, dz = (axis * s - o if s != 1 else axis - o for axis, s, o in
                          zip((x, y, z), stretch.astype(np.float32), start, strict=True))
            if length < 1e-6:
                inside = dx * dx + dy * dy + dz * dz < ra * ra
            else:
                t = (dx * way[0] + dy * way[1] + dz * way[2]) / length
                np.clip(t, 0, 1, out=t)
                dx -= t * way[0]
                dy -= t * way[1]
                dz -= t * way[2]
                inside = dx * dx + dy * dy + dz * dz < np.square(ra + t * (rb - ra))
            self._put(shape, box, inside)

    def _draw_solid(self, shape: Solid, placed: np.ndarray) -> None:
        axes = np.asarray(shape.axes, np.float32)
        reach = np.sqrt(np.square(shape.frame * axes).sum(1)) if shape.round else \
            np.abs(shape.frame * axes).sum(1)
        box = self._box(placed, reach)
        if box is None:
            return
        offset = self.at[(slice(None), *box)] - shape.centre.astype(np.float32)[:, None, None, None]
        own = np.tensordot((shape.frame / axes).T.astype(np.float32), offset, 1)
        own *= own
        inside = own[0] + own[1] + own[2] < 1 if shape.round else \
            (own[0] + own[1] < 1) & (own[2] < 1)
        self._put(shape, box, inside)

    def _put(self, shape: Shape, box, inside: np.ndarray) -> None:
        part = self.regions[box]
        if shape.within:
            inside &= self.masks[shape.within][box]
        if shape.over:
            allowed = np.zeros(256, bool)
            allowed[[self.codes[name] for name in shape.over]] = True
            inside &= allowed[part]
        part[inside] = self.codes[shape.name]

    def _box(self, placed: np.ndarray, reach: np.ndarray) -> tuple[slice, ...] | None:
        """Voxels around points of the image up to a reach in standard mm; None beyond the image."""
        reach = np.asarray(reach) * self.placement.scale * LOOSE + MARGIN_MM
        low = (placed.min(0) - reach - self.grid.origin) / self.grid.spacing[::-1]
        high = (placed.max(0) + reach - self.grid.origin) / self.grid.spacing[::-1]
        low = np.maximum(np.floor(low), 0).astype(int)
        high = np.minimum(np.ceil(high) + 1, self.grid.shape[::-1]).astype(int)
        if np.any(high <= low):
            return None
        return tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
