# SPDX-License-Identifier: Apache-2.0
"""The voxels of a simulated angiogram, and how far each is from the walls of vessels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .head_vessel_aneurysms import Dome

COARSE_MM = 1.7  # voxels of what changes slowly
_ID = np.int64(1) << 24  # more than the points of a tree
_CHUNK = 2_000_000  # distances at once


@dataclass(frozen=True)
class Grid:
    """Voxels along L, P and S, and how the head lies in them.

    Attributes:
        shape: (z, y, x).
        spacing, origin: mm, (x, y, z).
        pose: rotation, head to patient.
        shift: mm, of the head's origin.
        scale: of the head along L, P, S.
    """

    shape: tuple[int, int, int]
    spacing: np.ndarray
    origin: np.ndarray
    pose: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    def to_patient(self, points: np.ndarray) -> np.ndarray:
        """Places of the head (n, 3) in the patient."""
        return points @ self.pose.T + self.shift

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Places of the head as continuous index (n, 3), z, y, x."""
        return ((self.to_patient(points) - self.origin) / self.spacing)[:, ::-1]

    def coarse(self) -> Grid:
        """The same field in larger voxels; first and last planes on those of this one."""
        extent = (np.array(self.shape[::-1]) - 1) * self.spacing
        count = np.maximum(2, np.ceil(extent / COARSE_MM).astype(int) + 1)
        return Grid(tuple(count[::-1].tolist()), extent / (count - 1), self.origin, self.pose,
                    self.shift, self.scale)

    def head(self) -> np.ndarray:
        """Place in the unscaled head of every voxel, (3, z, y, x): lateral, anterior, superior."""
        axes = [o + s * np.arange(n) for o, s, n in
                zip(self.origin, self.spacing, self.shape[::-1], strict=True)]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
        turned = [self.pose[0, k] * (x - self.shift[0]) + self.pose[1, k] * (y - self.shift[1])
                  + self.pose[2, k] * (z - self.shift[2]) for k in range(3)]
        lateral, posterior, superior = (t / s for t, s in zip(turned, self.scale, strict=True))
        return np.stack([lateral, -posterior, superior]).astype(np.float32)


def walls(points: np.ndarray, radii: np.ndarray, grid: Grid, reach: float
          ) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every voxel from the wall of tubes, mm, below 0 inside, and the nearest point.

    Args:
        points: (n, 3) of the head, close together.
        radii: (n,), mm.
        grid: where.
        reach: mm; farther voxels have this distance and point -1.
    """
    index = grid.to_index(points)
    best = np.full(grid.shape, (np.int64(round(reach * 1000)) + 100_000) * _ID, np.int64).ravel()
    step = grid.spacing[::-1]
    half = np.ceil((radii + reach)[:, None] / step).astype(int)
    for box in np.unique(half, axis=0):
        members = np.flatnonzero((half == box).all(1))
        offsets = np.stack(np.meshgrid(*[np.arange(-h, h + 1) for h in box], indexing="ij"),
                           -1).reshape(-1, 3)
        for part in np.array_split(members, max(1, len(members) * len(offsets) // _CHUNK)):
            nearest = np.round(index[part]).astype(int)
            at = nearest[:, None] + offsets
            apart = (at - index[part][:, None]) * step
            distance = np.sqrt(np.square(apart).sum(-1)) - radii[part][:, None]
            valid = ((at >= 0) & (at < grid.shape)).all(-1) & (distance < reach)
            flat = np.ravel_multi_index(tuple(at[valid].T), grid.shape)
            key = (np.round(distance[valid] * 1000).astype(np.int64) + 100_000) * _ID
            key += np.broadcast_to(part[:, None], distance.shape)[valid]
            np.minimum.at(best, flat, key)
    distance = (best // _ID - 100_000).astype(np.float32) / 1000
    which = np.where(distance < reach, best % _ID, -1).astype(np.int32)
    return distance.reshape(grid.shape), which.reshape(grid.shape)


def dome_walls(domes: Iterable[Dome], grid: Grid, reach: float) -> np.ndarray:
    """Distance from the wall of each aneurysm, (domes, z, y, x); ``reach`` where it is farther."""
    domes = list(domes)
    out = np.full((len(domes), *grid.shape), reach, np.float32)
    for wall, dome in zip(out, domes, strict=True):
        middle = grid.to_index(dome.centre[None])[0]
        half = (dome.reach + reach) / grid.spacing[::-1]
        box = tuple(slice(max(0, int(m - h)), max(0, min(n, int(m + h) + 2)))
                    for m, h, n in zip(middle, half, grid.shape, strict=True))
        at = np.stack(np.mgrid[box], -1).reshape(-1, 3)[:, ::-1] * grid.spacing + grid.origin
        values = dome.wall((at - grid.shift) @ grid.pose)
        wall[box] = np.minimum(values, reach).reshape(wall[box].shape)
    return out
