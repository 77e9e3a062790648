# SPDX-License-Identifier: Apache-2.0
"""Simulated follow-ups: one CT turned into two, with the motion of every bone known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import AIR_HU, image_like


@dataclass(frozen=True)
class FollowUp:
    """A simulated current CT of the patient of a real one.

    Attributes:
        current: HU, float32, on the grid of the prior CT.
        bones: label of the bone in every voxel of ``current``, (z, y, x).
        displacement: from each voxel of ``current`` to its place in the prior CT, mm, LPS,
            (z, y, x, 3).
    """

    current: sitk.Image
    bones: np.ndarray
    displacement: np.ndarray


def simulate_follow_up(
    prior: sitk.Image, bones: sitk.Image, seed: int, turn_degrees: float = 8.0,
    shift_mm: float = 25.0, bone_degrees: float = 2.0, bone_mm: float = 2.0,
    noise: tuple[float, float] = (5.0, 20.0),
) -> FollowUp:
    """Move the patient, and each bone by itself; then scan again with other noise and sharpness.

    Args:
        prior: HU; any grid.
        bones: labels of the bones on the same grid, 0 elsewhere.
        seed: the same number gives the same scan.
        turn_degrees, shift_mm: largest turn and shift of the patient.
        bone_degrees, bone_mm: standard deviation of the turn and shift of each bone.
        noise: range of its standard deviation, HU.
    """
    random = np.random.default_rng(seed)
    labels = sitk.GetArrayFromImage(bones)
    points = _points(prior)
    moved = _bones_moved(labels, points, prior, random, bone_degrees, bone_mm)
    centre = points.reshape(-1, 3).mean(0)
    turn = _turn(random.uniform(-1, 1, 3) * turn_degrees)
    moved = (moved - centre) @ turn.T + centre + random.uniform(-1, 1, 3) * shift_mm
    field = image_like(moved - points, prior)
    transform = sitk.DisplacementFieldTransform(field)
    scanned = sitk.Resample(prior, prior, transform, sitk.sitkBSpline, AIR_HU, sitk.sitkFloat32)
    array = sitk.GetArrayFromImage(scanned)
    array = ndimage.gaussian_filter(array, random.uniform(0, 0.5))
    grain = ndimage.gaussian_filter(random.normal(size=array.shape), random.uniform(0.3, 0.8))
    array += grain / grain.std() * random.uniform(*noise)
    current = image_like(array.clip(-1024, 3071).astype(np.float32), prior)
    there = sitk.Resample(bones, prior, transform, sitk.sitkNearestNeighbor, 0)
    return FollowUp(current, sitk.GetArrayFromImage(there), moved - points)


def _points(image: sitk.Image) -> np.ndarray:
    """Places of the voxels, (z, y, x, 3) in mm, LPS."""
    index = np.indices(image.GetSize()[::-1])[::-1]
    matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return np.moveaxis(index, 0, -1) @ matrix.T + image.GetOrigin()


def _bones_moved(labels, points, image, random, degrees, shift) -> np.ndarray:
    """Every bone turned and shifted rigidly, what lies between moved along smoothly."""
    spacing = image.GetSpacing()[::-1]
    total, weights = np.zeros_like(points), np.zeros(labels.shape)
    for value in np.unique(labels[labels > 0]):
        bone = labels == value
        distance = ndimage.distance_transform_edt(~bone, sampling=spacing)
        # all but rigid within the bone, and fading into the neighbours' motion
        weight = np.exp(-distance / 4.0) + 1e-6 * np.exp(-distance / 40.0)
        middle = points[bone].mean(0)
        turn = _turn(random.normal(0, degrees, 3))
        motion = (points - middle) @ turn.T + middle + random.normal(0, shift, 3) - points
        total += weight[..., None] * motion
        weights += weight
    return points + total / np.maximum(weights, 1e-12)[..., None]


def _turn(degrees: np.ndarray) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    return np.reshape(transform.GetMatrix(), (3, 3))
