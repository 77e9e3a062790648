# SPDX-License-Identifier: Apache-2.0
"""The structures of a segmentation as voxels and their places, and where a border cuts them off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import straighten, to_lps_axes

from .landmark_files import key_of
from .pseudo_landmarks_table import DIRECTIONS, Part

LEAST_VOXELS = 20
LEAST_PIECE = 0.6  # of a structure that is its largest piece; of less, nobody knows which is it
BRIDGED_VOXELS = 2
TOUCHING = np.ones((3, 3, 3), bool)


class Skipped(Exception):
    """Why a landmark is not given."""


@dataclass
class Body:
    """Voxels of a structure, its largest piece only.

    Attributes:
        name: for messages.
        indices: (n, 3) of the voxels, x, y, z.
        points: (n, 3) of their centres, LPS mm.
        borders: the directions in which the border of the volume touches them.
    """

    name: str
    indices: np.ndarray
    points: np.ndarray
    borders: frozenset[str]


class Segmentation:
    """The structures of a label map, each looked for once, on a grid along L, P and S."""

    def __init__(self, labels: sitk.Image, names: Mapping[int, Sequence[str]]) -> None:
        given, _ = to_lps_axes(labels)
        self._given_size = np.array(given.GetSize())
        self._given_origin = np.array(given.GetOrigin())
        self._to_given = np.linalg.inv(
            np.reshape(given.GetDirection(), (3, 3)) * given.GetSpacing())
        labels, _ = to_lps_axes(straighten(labels, fill=0, interpolation="nearest"))
        self._labels = labels  # the array is a view of it
        self.array = sitk.GetArrayViewFromImage(labels)
        if self.array.dtype.kind == "f":
            self.array = self.array.astype(np.uint16)
        self.spacing = np.array(labels.GetSpacing())
        self._origin = np.array(labels.GetOrigin())
        self._axes = np.reshape(labels.GetDirection(), (3, 3)) * self.spacing
        self._boxes = ndimage.find_objects(self.array)
        self._values: dict[str, int] = {}
        for value, known in names.items():
            if 0 < value <= len(self._boxes) and self._boxes[value - 1]:
                self._values |= {key_of(name): value for name in known}
        self._bodies: dict[tuple[Part, ...], Body] = {}

    def body(self, parts: tuple[Part, ...]) -> Body:
        """The voxels of structures, together.

        Raises:
            Skipped: they are not there, too small, or in pieces.
        """
        if parts not in self._bodies:
            ends = any(part.ends for part in parts)
            self._bodies[parts] = self._ends(parts) if ends else self._largest(parts)
        return self._bodies[parts]

    def points_of(self, indices: np.ndarray) -> np.ndarray:
        """LPS mm of voxel indices (n, 3), x, y, z, which may be fractions."""
        return self._origin + indices @ self._axes.T

    def touched(self, indices: np.ndarray) -> frozenset[str]:
        """In which directions voxels reach the border of the volume, that which was given."""
        given = np.rint((self.points_of(indices) - self._given_origin) @ self._to_given.T)
        lowest, highest = given.min(axis=0), given.max(axis=0)
        return frozenset(
            name for name, (axis, sign) in DIRECTIONS.items()
            if (highest[axis] >= self._given_size[axis] - 1 if sign > 0 else lowest[axis] <= 0))

    def _largest(self, parts: tuple[Part, ...]) -> Body:
        """The largest piece of structures that were put together."""
        name = " and ".join(part.structure for part in parts)
        values = []
        for part in parts:
            if key_of(part.structure) in self._values:
                values.append(self._values[key_of(part.structure)])
            elif not part.optional:
                raise Skipped(f"{part.structure} is not in the segmentation")
        if not values:
            raise Skipped(f"{name} is not in the segmentation")
        boxes = [self._boxes[value - 1] for value in values]
        box = tuple(slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes))
                    for axis in range(3))
        mask = np.isin(self.array[box], values)
        pieces, count, sizes = _pieces(mask, mask)
        if sizes.max() < LEAST_PIECE * sizes.sum():  # thin ribs have gaps of a voxel or two
            pieces, count, sizes = _pieces(
                mask, ndimage.binary_dilation(mask, TOUCHING, BRIDGED_VOXELS))
        if sizes.max() < LEAST_VOXELS:
            raise Skipped(f"{name} is too small")
        if sizes.max() < LEAST_PIECE * sizes.sum():
            raise Skipped(f"{name} is in {count} pieces")
        return self._body(name, np.argwhere(pieces == 1 + sizes.argmax()), box)

    def _body(self, name: str, found: np.ndarray, box: tuple[slice, ...]) -> Body:
        indices = (found + [side.start for side in box])[:, ::-1]
        return Body(name, indices, self.points_of(indices), self.touched(indices))

    def _ends(self, parts: tuple[Part, ...]) -> Body:
        bodies = [self._end(part) for part in parts
                  if not part.optional or key_of(part.structure) in self._values]
        if not bodies:
            raise Skipped(f"{' and '.join(part.structure for part in parts)} is not in the "
                          "segmentation")
        indices = np.concatenate([body.indices for body in bodies])
        return Body(" and ".join(body.name for body in bodies), indices,
                     np.concatenate([body.points for body in bodies]), self.touched(indices))

    def _end(self, part: Part) -> Body:
        body = self.body((Part(part.structure),))
        for direction, extent_mm in part.ends:
            if direction in body.borders:
                raise Skipped(cut_off(body, {direction}))
            axis, sign = DIRECTIONS[direction]
            along = sign * body.points[:, axis]
            which = along >= along.max() - extent_mm
            body = Body(body.name, body.indices[which], body.points[which],
                         self.touched(body.indices[which]))
        return body


def _pieces(mask: np.ndarray, joined: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """The pieces of a mask, where what touches in the other counts as one, and their sizes."""
    pieces, count = ndimage.label(joined, TOUCHING)
    pieces[~mask] = 0
    return pieces, count, np.bincount(pieces.ravel(), minlength=count + 1)[1:]


def cut_off(body: Body, directions: set[str] | frozenset[str]) -> str:
    return (f"{body.name} is cut off by the border of the volume ("
            f"{', '.join(sorted(directions))})")
