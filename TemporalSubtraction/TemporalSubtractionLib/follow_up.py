# SPDX-License-Identifier: Apache-2.0
"""Simulated follow-ups: one CT turned into two, with the motion of every bone known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import AIR_HU, image_like

NEAR_MM = 40.0  # from a bone, within which what lies there moves along
FAR_STEP_MM = 8.0
INVERSIONS, STILL_MM = 5, 0.05


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

    def transform(self) -> sitk.Transform:
        """From points of ``current`` to those of the prior CT."""
        return sitk.DisplacementFieldTransform(image_like(self.displacement, self.current))


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
        bone_degrees, bone_mm: standard deviation of the turn and shift of each bone; a long one
            turns less, so that its ends move by no more than ``bone_mm``.
        noise: range of its standard deviation, HU.
    """
    random = np.random.default_rng(seed)
    labels = sitk.GetArrayFromImage(bones)
    points = _points(prior)
    motion = _bone_motion(labels, points, prior, random, bone_degrees, bone_mm)
    centre = points.reshape(-1, 3).mean(0)
    turn = _turn(random.uniform(-1, 1, 3) * turn_degrees)
    patient = (points - centre) @ turn.T + centre + random.uniform(-1, 1, 3) * shift_mm
    moved = _before(motion, patient.reshape(-1, 3), prior).reshape(points.shape)
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


def _bone_motion(labels, points, image, random, degrees, shift) -> np.ndarray:
    """Motion in mm of every bone, turned and shifted rigidly; what lies between moves smoothly."""
    spacing = np.array(image.GetSpacing()[::-1])
    # far from a bone its motion fades so slowly that coarse voxels do; near it a box does
    every = [max(1, int(FAR_STEP_MM / step)) for step in spacing]
    coarse = tuple(slice(None, None, step) for step in every)
    far_total, far_weight = np.zeros_like(points[coarse]), np.zeros(labels[coarse].shape)
    total, weights = np.zeros_like(points), np.zeros(labels.shape)
    for value, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        box = tuple(slice(max(0, int(side.start - NEAR_MM / step)), int(side.stop + NEAR_MM / step))
                    for side, step in zip(box, spacing, strict=True))
        bone, here = labels[box] == value, points[box]
        middle = here[bone].mean(0)
        # neighbours touch: a bone does not turn so far that its ends would pass through them
        reach = np.linalg.norm(here[bone] - middle, axis=1).max()
        own = min(degrees, np.degrees(shift / max(reach, 1.0)))
        turn = _turn(random.normal(0, own, 3))
        by = middle + random.normal(0, shift, 3)

        def motion(places, turn=turn, middle=middle, by=by):
            return (places - middle) @ turn.T + by - places

        # rigid within the bone, and fading into the neighbours' motion between them
        distance = ndimage.distance_transform_edt(~bone, sampling=spacing)
        weight = np.maximum(np.exp(-distance / 4.0) - np.exp(-NEAR_MM / 4.0), 0)
        weight[(labels[box] > 0) & ~bone] = 0
        total[box] += weight[..., None] * motion(here)
        weights[box] += weight
        distance = np.linalg.norm(points[coarse] - middle, axis=-1)
        weight = 1e-6 * np.exp(-distance / 40.0)
        far_total += weight[..., None] * motion(points[coarse])
        far_weight += weight
    index = [np.arange(size) / step for size, step in zip(labels.shape, every, strict=True)]
    places = np.meshgrid(*index, indexing="ij")
    weights += ndimage.map_coordinates(far_weight, places, order=1, mode="nearest")
    for axis in range(3):
        total[..., axis] += ndimage.map_coordinates(far_total[..., axis], places, order=1,
                                                    mode="nearest")
    return total / np.maximum(weights, 1e-12)[..., None]


def _before(motion: np.ndarray, places: np.ndarray, image: sitk.Image) -> np.ndarray:
    """Where what is at some places was before the motion, (n, 3) in mm.

    A bone moves as a whole from where it lies in the prior CT, so its way back has to be looked
    for: by repetition, until a place moves no more.
    """
    before, moving = places.copy(), np.arange(len(places))
    for _ in range(INVERSIONS):
        last = before[moving]
        before[moving] = places[moving] - _sampled(motion, last, image)
        moving = moving[np.abs(before[moving] - last).max(1) > STILL_MM]
    return before


def _sampled(field: np.ndarray, places: np.ndarray, image: sitk.Image) -> np.ndarray:
    """A field on the grid of an image at places in mm, LPS."""
    matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    index = np.moveaxis((places - image.GetOrigin()) @ np.linalg.inv(matrix).T, -1, 0)[::-1]
    return np.stack([ndimage.map_coordinates(field[..., axis], index, order=1, mode="nearest")
                     for axis in range(3)], -1)


def _turn(degrees: np.ndarray) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    return np.reshape(transform.GetMatrix(), (3, 3))
