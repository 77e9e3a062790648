# SPDX-License-Identifier: Apache-2.0
"""Rigid registration of two small images of bone."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .rigid_patches import Rigid

WINDOW_HU = (-150.0, 900.0)  # soft tissue to cortex
PATCH_MM = 2.0  # cubic voxels of what is aligned place by place


def windowed(image: sitk.Image) -> sitk.Image:
    return sitk.Clamp(image, sitk.sitkFloat32, *WINDOW_HU)


def box_around(image: sitk.Image, centre: np.ndarray, radius: float) -> sitk.Image | None:
    """The part of an image with cubic voxels around a point; None when little of it is there."""
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    middle = (centre - image.GetOrigin()) / spacing
    first = np.clip(np.floor(middle - radius / spacing), 0, size).astype(int)
    last = np.clip(np.ceil(middle + radius / spacing) + 1, 0, size).astype(int)
    if (last - first < 8).any():
        return None
    return image[tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))]


def middles_of_cells(mask: sitk.Image, distance: float, smallest_ml: float = 0.0) -> np.ndarray:
    """Middles of what is marked in the cells of a coarse grid, (n, 3) in mm, LPS.

    Args:
        mask: on voxels along L, P and S.
        distance: between cells, mm.
        smallest_ml: cells with less are left out.
    """
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    if not len(index):
        return np.zeros((0, 3))
    points = index * np.array(mask.GetSpacing()) + mask.GetOrigin()
    cells, cell_of, count = np.unique(np.round(points / distance), axis=0,
                                      return_inverse=True, return_counts=True)
    cell_of = cell_of.ravel()
    middles = np.stack([np.bincount(cell_of, points[:, axis]) / count for axis in range(3)], 1)
    return middles[count * np.prod(mask.GetSpacing()) / 1000 >= smallest_ml]


def turn_between(first: Rigid, second: Rigid) -> float:
    """Angle of the rotation that leads from one motion to another, degrees."""
    trace = np.trace(first.matrix.T @ second.matrix)
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def register_rigid(current: sitk.Image, prior: sitk.Image, mask: sitk.Image, start: Rigid,
                   step: float, most_steps: int) -> tuple[Rigid, float]:
    """Rigid registration within the mask and a voxel around it; motion and correlation.

    Where the images do not overlap the start comes back, with a correlation of -1.
    """
    mask = sitk.Resample(mask, current, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(sitk.BinaryDilate(mask, [1, 1, 1]))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step, 0.01, most_steps, 0.6, 1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = start.transform()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(current, prior)
    except RuntimeError:  # no voxel of the mask lies within the other image
        return start, -1.0
    agreement = -method.GetMetricValue()
    return (Rigid.of(transform), agreement) if np.isfinite(agreement) else (start, -1.0)
