# SPDX-License-Identifier: Apache-2.0
"""What makes one doubt that two CTs should be compared: patient, order in time, new metal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from ReadingRoomLib.geometry import physical_bounds
from ReadingRoomLib.images import ImageInput

METAL_HU = 2500  # denser than bone and teeth
MUCH_METAL_ML, LITTLE_METAL_ML = 0.5, 0.05  # a screw, a clip
LARGE_TURN_DEGREES = 60.0


def doubts(prior: ImageInput, current: ImageInput) -> Iterator[str]:
    """Sentences for the user, none of which tells anything of the patient."""
    if prior.sha256 == current.sha256:
        yield "Prior and current are the same scan."
    if prior.patient and current.patient and prior.patient != current.patient:
        yield "The two CTs carry different patient numbers: check that they are of one patient."
    if prior.acquired and current.acquired and prior.acquired > current.acquired:
        yield ("The prior CT was taken after the current one: exchange them, or new and healed "
               "lesions are mistaken for each other.")


def doubts_once_aligned(prior: sitk.Image, current: sitk.Image,
                        transform: sitk.Transform, grid: sitk.Image) -> Iterator[str]:
    """The same, where it takes the places of one scan in the other.

    Args:
        prior, current: HU; any grid.
        transform: from the current to the prior CT.
        grid: image with a coarser grid that covers the current CT.
    """
    if _turn_degrees(transform, current) > LARGE_TURN_DEGREES:
        yield ("The two CTs lie turned by about half a turn against each other, so the patient's "
               "position may be wrong in one: check left and right.")
    before, now = _metal_ml(prior, current, transform, grid)
    for first, second, where in ((before, now, "prior"), (now, before, "current")):
        if first >= MUCH_METAL_ML and second <= LITTLE_METAL_ML:
            yield (f"Only the {where} CT shows metal: do not read changes beside it as lesions.")


def _turn_degrees(transform: sitk.Transform, image: sitk.Image) -> float:
    """By how much a transform turns the middle of an image, apart from how it deforms it."""
    low, high = physical_bounds(image).T
    points = np.array([low + np.array(share) * (high - low)
                       for share in itertools.product((0.3, 0.7), repeat=3)])
    moved = np.array([transform.TransformPoint(point) for point in points.tolist()])
    turn, _ = Rotation.align_vectors(moved - moved.mean(0), points - points.mean(0))
    return float(np.degrees(turn.magnitude()))


def _metal_ml(prior: sitk.Image, current: sitk.Image, transform: sitk.Transform,
              grid: sitk.Image) -> tuple[float, float]:
    """Metal in the prior and in the current CT, mL, where they show the same place."""
    metal = [sitk.Greater(image, METAL_HU) for image in (prior, current)]
    if not any(sitk.GetArrayViewFromImage(mask).any() for mask in metal):
        return 0.0, 0.0
    ways = (transform, sitk.Transform(3, sitk.sitkIdentity))
    shares = [sitk.GetArrayFromImage(sitk.Resample(mask, grid, way, sitk.sitkLinear, -1.0,
                                                   sitk.sitkFloat32))
              for mask, way in zip(metal, ways, strict=True)]
    both = (shares[0] >= 0) & (shares[1] >= 0)
    before, now = (float(share[both].sum() * np.prod(grid.GetSpacing()) / 1000)
                   for share in shares)
    return before, now
