# SPDX-License-Identifier: Apache-2.0
"""Where voxels lie in the patient: orientation, obliqueness and resampling of volumes.

All positions are in millimetres in the LPS frame (x grows to the patient's left, y to the back,
z to the head), as SimpleITK and DICOM have it. A volume is a 3D ``SimpleITK.Image``; the columns
of its direction matrix point along its index axes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

AIR_HU = -1000.0
TINY_COSINE = 1e-12  # turns a voxel a metre away by less than a picometre
"""Hounsfield units of air, by definition of the scale."""

_INTERPOLATORS = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear}


@dataclass(frozen=True)
class AxisOrder:
    """How the axes of a grid are exchanged and turned round to run along L, P and S.

    Attributes
    ----------
    permutation
        Axis ``i`` of the aligned volume is axis ``permutation[i]`` of the input.
    flips
        Whether aligned axis ``i`` runs against the input axis.
    grid
        The input's size, spacing, origin and direction, in SimpleITK's order.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    grid: tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...]]

    def apply(self, image: sitk.Image) -> sitk.Image:
        """Return ``image``, which lies on the input grid, with aligned axes. No resampling."""
        if self._changes_nothing:
            return image
        size, spacing, _, _ = self.grid
        direction = _direction_matrix(image)
        corner = [0, 0, 0]
        for axis, flip in zip(self.permutation, self.flips, strict=True):
            corner[axis] = size[axis] - 1 if flip else 0
        signs = np.where(self.flips, -1.0, 1.0)
        aligned = self._reorder(image, self.permutation, self.flips)
        aligned.SetSpacing([spacing[axis] for axis in self.permutation])
        aligned.SetOrigin(image.TransformIndexToPhysicalPoint(corner))
        aligned.SetDirection((direction[:, self.permutation] * signs).ravel().tolist())
        return aligned

    def undo(self, aligned: sitk.Image) -> sitk.Image:
        """Return ``aligned`` on the input grid: same voxels, and exactly the input's geometry.

        Raises
        ------
        ValueError
            When ``aligned`` has not the size that :meth:`apply` gives.
        """
        size, spacing, origin, direction = self.grid
        if aligned.GetSize() != tuple(size[axis] for axis in self.permutation):
            raise ValueError(f"size {aligned.GetSize()} does not fit the input grid {size}")
        if self._changes_nothing:
            image = sitk.Image(aligned)  # shares the voxels; only the geometry is set below
        else:
            inverse = tuple(self.permutation.index(axis) for axis in range(3))
            image = self._reorder(aligned, inverse, tuple(self.flips[axis] for axis in inverse))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        return image

    @property
    def _changes_nothing(self) -> bool:
        return self.permutation == (0, 1, 2) and not any(self.flips)

    @staticmethod
    def _reorder(image: sitk.Image, permutation: tuple, flips: tuple) -> sitk.Image:
        if permutation != (0, 1, 2):
            image = sitk.PermuteAxes(image, list(permutation))
        if any(flips):
            image = sitk.Flip(image, list(flips))
        return image


def image_like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    """Return an array as an image on the grid of another one.

    Parameters
    ----------
    array
        (z, y, x), or (z, y, x, c) for an image of vectors; its number type is kept.
    image
        Has the same size.
    """
    result = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    result.CopyInformation(image)
    return result


def to_lps_axes(image: sitk.Image) -> tuple[sitk.Image, AxisOrder]:
    """Return the volume with its axes nearest to L, P and S, and the way back.

    Axes are exchanged and turned round, never resampled: voxels keep their values and their
    places in the patient. A tilt of less than 45 degrees stays (see :func:`straighten`).

    Parameters
    ----------
    image : SimpleITK.Image
        3D.

    Returns
    -------
    aligned : SimpleITK.Image
        The same voxels; the input itself when there is nothing to change.
    order : AxisOrder
        ``order.undo(result)`` puts a result on the aligned grid back on the input grid, exactly.
    """
    direction = _direction_matrix(image)
    permutation = _nearest_axes(direction)
    flips = tuple(bool(direction[i, axis] < 0) for i, axis in enumerate(permutation))
    grid = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    order = AxisOrder(permutation, flips, grid)
    return order.apply(image), order


def obliqueness_degrees(image: sitk.Image) -> float:
    """Return the largest angle between an axis of the grid and the patient axis nearest to it.

    0 for an upright grid, whichever way its axes run; about 20 for a gantry tilted by 20 degrees.
    """
    direction = _direction_matrix(image)
    cosines = [abs(direction[i, axis]) for i, axis in enumerate(_nearest_axes(direction))]
    return float(np.degrees(np.arccos(np.clip(min(cosines), 0.0, 1.0))))


def straighten(
    image: sitk.Image,
    tolerance_degrees: float = 5.0,
    fill: float = AIR_HU,
    interpolation: str = "linear",
) -> sitk.Image:
    """Return the volume on an upright axial grid that holds all of it.

    Parameters
    ----------
    image : SimpleITK.Image
        3D.
    tolerance_degrees : float
        Up to this obliqueness the input itself is returned.
    fill : float
        Value of voxels that the input does not cover.
    interpolation : {"linear", "nearest"}
        Nearest for label maps.

    Returns
    -------
    SimpleITK.Image
        Axes along L, P and S, spacing of the nearest input axis. :func:`resample_like` puts
        results back on the input grid.
    """
    if obliqueness_degrees(image) <= tolerance_degrees:
        return image
    image = _without_tiny_cosines(image)
    spacing = np.asarray(image.GetSpacing())[list(_nearest_axes(_direction_matrix(image)))]
    bounds = physical_bounds(image)
    size = np.maximum(np.ceil((bounds[:, 1] - bounds[:, 0]) / spacing - 1e-6), 1).astype(int)
    origin = bounds.mean(axis=1) - (size - 1) / 2 * spacing
    return sitk.Resample(
        image, size.tolist(), sitk.Transform(), _interpolator(interpolation),
        origin.tolist(), spacing.tolist(), np.eye(3).ravel().tolist(), fill,
    )


def _without_tiny_cosines(image: sitk.Image) -> sitk.Image:
    """The image with direction cosines of next to nothing set to 0: ITK cannot invert 1e-306."""
    direction = np.asarray(image.GetDirection())
    if not (tiny := (direction != 0) & (abs(direction) < TINY_COSINE)).any():
        return image
    image = sitk.Image(image)
    image.SetDirection(np.where(tiny, 0.0, direction).tolist())
    return image


def resample_like(
    result: sitk.Image, reference: sitk.Image, interpolation: str = "nearest", fill: float = 0.0
) -> sitk.Image:
    """Return ``result`` on the grid of ``reference``; the input itself when it is there already.

    Parameters
    ----------
    result : SimpleITK.Image
        3D labels or values.
    reference : SimpleITK.Image
        3D, gives size, spacing, origin and direction.
    interpolation : {"nearest", "linear"}
        Nearest for label maps.
    fill : float
        Value where ``result`` does not reach.
    """
    if same_geometry(result, reference, tolerance=0.0):
        return result
    return sitk.Resample(
        result, reference, sitk.Transform(), _interpolator(interpolation), fill,
        result.GetPixelID(),
    )


def shear_degrees(image: sitk.Image) -> float:
    """Return how far the axes of the grid are from being at right angles to each other.

    More than 0 for slices that were stacked along a table while the gantry was tilted.
    """
    direction = _direction_matrix(image)
    cosines = np.abs(direction.T @ direction)[np.triu_indices(3, k=1)]
    return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0.0, 1.0))))


def unshear(image: sitk.Image, fill: float = AIR_HU) -> sitk.Image:
    """Return a sheared stack of slices on a grid with right angles.

    The slices stay where they are, with their tilt; each is shifted within its own plane, so
    that nothing is interpolated between slices. The grid grows so that nothing is cut off.

    Parameters
    ----------
    image : SimpleITK.Image
        3D; the third axis is the one that slices are stacked along.
    fill : float
        Value of voxels that the input does not cover.
    """
    direction = _direction_matrix(image)
    row = direction[:, 0]
    column = direction[:, 1] - direction[:, 1].dot(row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    normal *= np.sign(normal.dot(direction[:, 2]))
    upright = np.column_stack([row, column, normal])

    spacing = np.array(image.GetSpacing())
    spacing[2] *= normal.dot(direction[:, 2])
    origin = np.asarray(image.GetOrigin())
    corners = (_corner_points(image) - origin) @ upright / spacing  # in voxels of the new grid
    first = np.floor(corners.min(axis=0) + 1e-6)
    last = np.ceil(corners.max(axis=0) - 1e-6)
    return sitk.Resample(
        image, (last - first + 1).astype(int).tolist(), sitk.Transform(), sitk.sitkLinear,
        (origin + upright @ (first * spacing)).tolist(), spacing.tolist(),
        upright.ravel().tolist(), fill,
    )


def physical_bounds(image: sitk.Image) -> np.ndarray:
    """Return the box around the volume, voxel edges included: 3 x 2, LPS mm, lower and upper."""
    corners = _corner_points(image, edge=0.5)
    return np.column_stack([corners.min(axis=0), corners.max(axis=0)])


def same_geometry(first: sitk.Image, second: sitk.Image, tolerance: float = 1e-3) -> bool:
    """Return whether two volumes have the same grid: no voxel apart by more than ``tolerance`` mm.

    Both must have the same size. It is enough to look at the corners: places in between follow
    linearly.
    """
    if first.GetSize() != second.GetSize():
        return False
    apart = _corner_points(first) - _corner_points(second)
    return bool(np.linalg.norm(apart, axis=1).max() <= tolerance)


def _direction_matrix(image: sitk.Image) -> np.ndarray:
    if image.GetDimension() != 3:
        raise ValueError(f"a volume has 3 dimensions, not {image.GetDimension()}")
    return np.asarray(image.GetDirection()).reshape(3, 3)


def _nearest_axes(direction: np.ndarray) -> tuple[int, int, int]:
    """Return for L, P and S the index axis nearest to each, every axis used once."""
    return max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(direction[i, axis]) for i, axis in enumerate(axes)),
    )


def _corner_points(image: sitk.Image, edge: float = 0.0) -> np.ndarray:
    """Return the 8 corners (8 x 3, mm), ``edge`` voxels outside the outermost voxel centres."""
    ends = [(-edge, size - 1 + edge) for size in image.GetSize()]
    return np.array([
        image.TransformContinuousIndexToPhysicalPoint(index) for index in itertools.product(*ends)
    ])


def _interpolator(name: str) -> int:
    if name not in _INTERPOLATORS:
        raise ValueError(f"interpolation is nearest or linear, not {name!r}")
    return _INTERPOLATORS[name]
