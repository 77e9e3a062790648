# SPDX-License-Identifier: Apache-2.0
"""What makes one doubt that two CTs should be compared: patient, day, position, metal, contrast."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from ReadingRoomLib.geometry import physical_bounds
from ReadingRoomLib.images import ImageInput

METAL_HU = 2500  # denser than bone and teeth
MUCH_METAL_ML, LITTLE_METAL_ML = 0.5, 0.05  # a screw, a clip
MUCH_CONTRAST_ML, LITTLE_CONTRAST_ML = 30.0, 3.0
PHASE_RATIO = 1.6  # of the density of blood; early and late scans differ by more
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


def doubts_once_aligned(prior: ImageInput, current: ImageInput, transform: sitk.Transform,
                        contrasts: tuple[sitk.Image, sitk.Image]) -> Iterator[str]:
    """The same, where it takes the places of one scan in the other.

    Args:
        prior, current: the scans.
        transform: from the current to the prior CT.
        contrasts: of the prior and the current CT, from :func:`.contrast.contrast_filled`.
    """
    scans = (prior.image, current.image)
    if np.degrees(turn_of(transform, current.image).magnitude()) > LARGE_TURN_DEGREES:
        yield ("The two CTs lie turned by about half a turn against each other, so the patient's "
               "position may be wrong in one: check left and right.")
    where = _only_in_one(_shared_ml([scan > METAL_HU for scan in scans], transform, contrasts[1]),
                         MUCH_METAL_ML, LITTLE_METAL_ML)
    if where:
        yield f"Only the {where} CT shows metal: do not read changes beside it as lesions."
    where = _only_in_one(_shared_ml(contrasts, transform, contrasts[1]),
                         MUCH_CONTRAST_ML, LITTLE_CONTRAST_ML)
    if where:
        yield (f"Only the {where} CT was taken with contrast agent: do not read changes beside "
               "vessels as lesions.")
    elif _different_phases(scans, contrasts):
        yield ("The two CTs were taken in different phases of contrast agent: do not read changes "
               "beside vessels as lesions.")


def _only_in_one(volumes: tuple[float, float], much: float, little: float) -> str | None:
    before, now = volumes
    if before >= much and now <= little:
        return "prior"
    return "current" if now >= much and before <= little else None


def _different_phases(scans: Sequence[sitk.Image], contrasts: Sequence[sitk.Image]) -> bool:
    """Whether blood is much denser in one scan than in the other."""
    densities = []
    for scan, contrast in zip(scans, contrasts, strict=True):
        there = sitk.GetArrayViewFromImage(contrast) > 0
        if not there.any():
            return False
        values = sitk.Resample(scan, contrast, sitk.Transform(), sitk.sitkLinear, 0)
        densities.append(float(np.median(sitk.GetArrayViewFromImage(values)[there])))
    return max(densities) > PHASE_RATIO * min(densities)


def turn_of(transform: sitk.Transform, image: sitk.Image) -> Rotation:
    """How a transform turns the middle of an image, apart from how it deforms it."""
    low, high = physical_bounds(image).T
    points = np.array([low + np.array(share) * (high - low)
                       for share in itertools.product((0.3, 0.7), repeat=3)])
    moved = np.array([transform.TransformPoint(point) for point in points.tolist()])
    turn, _ = Rotation.align_vectors(moved - moved.mean(0), points - points.mean(0))
    return turn


def _shared_ml(masks: Sequence[sitk.Image], transform: sitk.Transform,
               grid: sitk.Image) -> tuple[float, float]:
    """Volume of a mask of the prior and one of the current CT, mL, where both scans reach.

    Args:
        masks: 1 and 0, of the prior and of the current CT.
        transform: from the current to the prior CT.
        grid: image with a coarse grid that covers the current CT.
    """
    if not any(sitk.GetArrayViewFromImage(mask).any() for mask in masks):
        return 0.0, 0.0
    shares = [sitk.GetArrayFromImage(sitk.Resample(mask, grid, way, sitk.sitkLinear, -1.0,
                                                   sitk.sitkFloat32))
              for mask, way in zip(masks, (transform, sitk.Transform()), strict=True)]
    both = (shares[0] >= 0) & (shares[1] >= 0)
    before, now = (float(share[both].sum() * np.prod(grid.GetSpacing()) / 1000)
                   for share in shares)
    return before, now
