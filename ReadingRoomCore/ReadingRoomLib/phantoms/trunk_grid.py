# SPDX-License-Identifier: Apache-2.0
"""From the standard trunk to one patient and back: size, pose, bent spine, elastic deformation.

Shapes are drawn in standard coordinates (mm along L, P, S from the middle of the upper face of S1's
level). A point p of the image belongs to the standard point

    q = (R p + u(p) + b(p_z)) / s

with a rotation R, a scale s along each axis, a smooth elastic field u and a bending b that depends
on the height alone (longer neck, rounder back, scoliosis). u and b are cubic B-splines and are
evaluated exactly, at voxels and at points alike, so that landmarks lie where the shapes are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .randomness import Randomness

CELL_MM = 75.0  # between the control points of the elastic field
BEND_CELL_MM = 110.0  # and of the bending
INVERSIONS = 60  # at most; the field's slope is far below 1, so that every step comes closer


@dataclass(frozen=True)
class Grid:
    """A volume's geometry along L, P, S: no directions, for the axes are those of the patient.

    Attributes:
        shape: voxels, (z, y, x).
        spacing: mm, (z, y, x).
        origin: middle of the first voxel, (x, y, z) LPS mm.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    def axes(self, box: tuple[slice, ...] | None = None) -> list[np.ndarray]:
        """LPS positions of the voxels along z, y and x, float32."""
        box = box or (slice(None),) * 3
        return [(np.arange(n, dtype=np.float64) * step + start)[part].astype(np.float32)
                for n, step, start, part in zip(self.shape, self.spacing, self.origin[::-1], box,
                                                strict=True)]

    def coarser(self, step_mm: float) -> Grid:
        """Over the same extent, from the first voxel's middle to the last one's, at about step."""
        shape, spacing = [], []
        for n, step in zip(self.shape, self.spacing, strict=True):
            count = max(2, min(n, int(np.ceil((n - 1) * step / step_mm)) + 1))
            shape.append(count)
            spacing.append(max((n - 1) * step, 1e-3) / (count - 1))
        return Grid(tuple(shape), tuple(spacing), self.origin)

    def contains(self, point) -> bool:
        """Whether a point (x, y, z) lies within a voxel of the volume."""
        index = (np.asarray(point) - self.origin) / self.spacing[::-1]
        return bool(np.all(index >= -0.5) and np.all(index < np.array(self.shape[::-1]) - 0.5))


class Placement:
    """Where the standard trunk lies in the image of one patient.

    Args:
        scale: of the patient against the standard one, along L, P, S.
        angles: of the pose in degrees, about L, P and S.
        displacement_mm: largest of the elastic field along each axis.
        bend_mm: largest of the bending along L, P, S.
        random: draws the fields.
    """

    LOW = np.array([-330.0, -280.0, -420.0])  # of the space that the fields are drawn for
    HIGH = np.array([330.0, 280.0, 760.0])

    def __init__(self, scale, angles, displacement_mm: float, bend_mm, random: Randomness) -> None:
        self.scale = np.asarray(scale, float)
        self.rotation = _rotation(np.radians(angles))
        counts = np.ceil((self.HIGH - self.LOW) / CELL_MM).astype(int) + 3
        self.elastic = _within(random.numpy.standard_normal((3, *counts[::-1])), displacement_mm)
        count = int(np.ceil((self.HIGH[2] - self.LOW[2]) / BEND_CELL_MM)) + 3
        bend = random.numpy.standard_normal((3, count))
        self.bend = bend / np.abs(bend).max(1, keepdims=True) * np.reshape(bend_mm, (3, 1))

    def standard_of_grid(self, grid: Grid, box: tuple[slice, ...] | None = None) -> np.ndarray:
        """Standard coordinates of the voxels of a grid, (3, z, y, x) float32, x first."""
        z, y, x = grid.axes(box)
        basis = [_basis(axis, low, CELL_MM, n).astype(np.float32) for axis, low, n in
                 zip((z, y, x), self.LOW[::-1], self.elastic.shape[1:], strict=True)]
        heights = _basis(z, self.LOW[2], BEND_CELL_MM, self.bend.shape[1])
        result = np.empty((3, len(z), len(y), len(x)), np.float32)
        for i, out in enumerate(result):
            rows = basis[1] @ (self.elastic[i].astype(np.float32) @ basis[2].T)
            np.matmul(basis[0], rows.reshape(len(rows), -1), out=out.reshape(len(z), -1))
            turned = self.rotation[i]
            along = (turned[2] * z + heights @ self.bend[i]).astype(np.float32)
            plane = turned[1] * y[:, None] + turned[0] * x
            out += along[:, None, None]
            out += plane.astype(np.float32)
            out *= np.float32(1 / self.scale[i])
        return result

    def standard(self, points: np.ndarray) -> np.ndarray:
        """Standard coordinates of points (n, 3) of the image."""
        points = np.asarray(points, float).reshape(-1, 3)
        return (points @ self.rotation.T + self._displacement(points)) / self.scale

    def image(self, points: np.ndarray, tolerance_mm: float = 1e-4) -> np.ndarray:
        """Where standard points (n, 3) lie in the image: :meth:`standard` undone.

        Found by fixed-point iteration, to about the tolerance.
        """
        wanted = np.asarray(points, float).reshape(-1, 3) * self.scale
        found = wanted @ self.rotation
        for _ in range(INVERSIONS):
            last = found
            found = (wanted - self._displacement(found)) @ self.rotation
            if not len(found) or np.abs(found - last).max() < tolerance_mm:
                break
        return found

    def _displacement(self, points: np.ndarray) -> np.ndarray:
        # 64 control points act on a point
        at, weights = zip(*(_weights(points[:, axis], self.LOW[axis], CELL_MM, n)
                            for axis, n in enumerate(self.elastic.shape[:0:-1])), strict=True)
        x, y, z = (first[:, None] + np.arange(4) for first in at)
        near = self.elastic[:, z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
        for along in weights:  # x, y, z: the last axis first
            near = np.einsum("cn...k,nk->cn...", near, along)
        moved = near.T
        heights = _basis(points[:, 2], self.LOW[2], BEND_CELL_MM, self.bend.shape[1])
        return moved + heights @ self.bend.T


def _within(field: np.ndarray, largest: float) -> np.ndarray:
    """Control points scaled so that no displacement is above ``largest``; a spline stays within."""
    return field * (largest / np.abs(field).max(axis=(1, 2, 3), keepdims=True))


def _rotation(angles) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _weights(position: np.ndarray, low: float, cell: float,
             count: int) -> tuple[np.ndarray, np.ndarray]:
    """First of the four control points of a uniform cubic B-spline that act; their weights (n, 4).

    Beyond the control points the border's value goes on.
    """
    at = np.clip((np.asarray(position, float) - low) / cell, 0, count - 3 - 1e-9)
    first = at.astype(int)
    t = at - first
    return first, np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4,
                            -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6


def _basis(position: np.ndarray, low: float, cell: float, count: int) -> np.ndarray:
    """Weights (n, count) of all control points."""
    first, weights = _weights(position, low, cell, count)
    basis = np.zeros((len(first), count))
    np.put_along_axis(basis, first[:, None] + np.arange(4), weights, axis=1)
    return basis
