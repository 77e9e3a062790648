# SPDX-License-Identifier: Apache-2.0
"""Two scans made alike: the same voxels, sharpness and densities, whatever made them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput

from .bones import bone_mask
from .contrast import contrast_filled
from .pair_checks import turn_of

FINEST_MM = 1.3  # finer voxels are averaged: lesions are larger, and noise and time fall
THICKEST_MM = 6.0  # thicker slices hide lesions that are to be found
BEYOND = -32768.0  # where the other scan does not reach
SKIN_HU, THIN_MM = -250.0, 18.0  # the body is denser, and what belongs to it is thicker
SMALLEST_PART = 0.1  # of the largest: arms and legs are parts of the body
DENSITY_BINS, FIT_BLUR_MM = 24, 3.0
MOST_SLICES = 60
GAIN = (0.7, 1.4)  # range of a density fit that is believed
BLURS_MM = np.array((0.0, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 1.8, 2.2))


@dataclass(frozen=True)
class Harmonised:
    """Two scans that can be compared voxel by voxel.

    Attributes:
        current, prior: HU, float32, (z, y, x), on one grid.
        bone: what is bone in one of the scans, where both are.
        grid: an image without content that has the geometry of the arrays.
        blur_mm: standard deviation of the Gaussian that the sharper scan was smoothed by; positive
            when that was the prior one.
        gain, offset: the prior densities were multiplied by and raised by this, HU.
    """

    current: np.ndarray
    prior: np.ndarray
    bone: np.ndarray
    grid: sitk.Image
    blur_mm: float
    gain: float
    offset: float


def harmonise(current: sitk.Image, prior: sitk.Image, transform: sitk.Transform,
              contrast: tuple[sitk.Image, sitk.Image] | None = None) -> Harmonised:
    """Bring a prior CT onto the grid of the current one, with the looks of the current one.

    The current scan is averaged to voxels of about 1.5 mm along its own axes, never interpolated.
    The scan with the thinner slices is smoothed to the thickness of the other, the sharper one to
    the sharpness of the other at the surface of bone, and the prior densities of bone are fitted to
    the current ones by a straight line, which takes out another tube voltage or calibration.

    Args:
        current, prior: HU.
        transform: from points of the current CT to points of the prior one.
        contrast: of :func:`.contrast.contrast_filled` for either, where it is known.

    Raises:
        BadInput: the slices are too thick, or the scans share no bone.
    """
    for name, scan in (("prior", prior), ("current", current)):
        if max(scan.GetSpacing()) > THICKEST_MM:
            raise BadInput(f"The slices of the {name} CT are {max(scan.GetSpacing()):.1f} mm "
                           f"thick, which hides what changed: choose a series of at most "
                           f"{THICKEST_MM:.0f} mm.")
    now, before = _same_thickness(_averaged(current), _averaged(prior), transform)
    aligned = sitk.Resample(before, now, transform, sitk.sitkBSpline, BEYOND, sitk.sitkFloat32)
    a, b = sitk.GetArrayFromImage(now), sitk.GetArrayFromImage(aligned)
    spacing = now.GetSpacing()[::-1]
    seen = ndimage.binary_erosion(b > BEYOND / 30)
    b[~seen] = a[~seen]
    mine, theirs = contrast or (contrast_filled(current), contrast_filled(prior))
    theirs = sitk.Resample(theirs, now, transform, sitk.sitkNearestNeighbor)
    mask = (_bone(now, mine) | _bone(aligned, theirs)) & seen & _body(a, spacing)
    if not mask.any():
        raise BadInput("The two scans share no bone: choose two CTs of the same part of the body.")
    gain, offset = _density_fit(a, b, mask, spacing)
    # densities that are stretched look sharper, so they are fitted first
    blur = _difference_of_sharpness(a, gain * b, mask, spacing)
    if blur > 0:
        b = _blurred(b, blur, spacing)
    elif blur < 0:
        a = _blurred(a, -blur, spacing)
    b = np.where(mask, gain * b + offset, b).astype(np.float32)
    grid = sitk.Image(now.GetSize(), sitk.sitkUInt8)
    grid.CopyInformation(now)
    return Harmonised(a, b, mask, grid, blur, gain, offset)


def _same_thickness(now: sitk.Image, before: sitk.Image, transform: sitk.Transform):
    """Smooth each scan along its axes where its voxels are thinner than those of the other."""
    current, prior = np.array(now.GetSpacing()), np.array(before.GetSpacing())
    turn = turn_of(transform, now).as_matrix()
    there = turn @ np.reshape(now.GetDirection(), (3, 3))  # axes of the current scan in the prior
    overlap = np.abs(np.reshape(before.GetDirection(), (3, 3)).T @ there)
    mine_for_theirs, theirs_for_mine = overlap.argmax(1), overlap.argmax(0)
    return (_smoothed(now, prior[theirs_for_mine] - 0.25),
            _smoothed(before, current[mine_for_theirs]))


def _smoothed(image: sitk.Image, widths) -> sitk.Image:
    """Averaged along each axis as voxels of the widths are, mm; finer widths change nothing."""
    image = sitk.Cast(image, sitk.sitkFloat32)
    for axis, (width, step) in enumerate(zip(widths, image.GetSpacing(), strict=True)):
        if width > 1.1 * step and image.GetSize()[axis] >= 4:
            smooth = sitk.RecursiveGaussianImageFilter()
            smooth.SetDirection(axis)
            smooth.SetSigma(float(np.sqrt(width**2 - step**2) / np.sqrt(12)))
            image = smooth.Execute(image)
    return image


def _averaged(image: sitk.Image) -> sitk.Image:
    """Neighbouring voxels made one, along the axes with finer ones than are needed."""
    factors = [max(1, round(FINEST_MM / step)) for step in image.GetSpacing()]
    return sitk.Cast(sitk.BinShrink(image, factors) if max(factors) > 1 else image,
                     sitk.sitkFloat32)


def _bone(image: sitk.Image, contrast: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(bone_mask(image, contrast)) > 0


def _body(ct: np.ndarray, spacing) -> np.ndarray:
    """The patient without what is thin: cables, tubes, clothes and the cover of the table."""
    widths = [max(1, round(THIN_MM / 2 / step)) for step in spacing]
    outer = [(width, width) for width in widths]  # what leaves the field of view is not thin
    solid = np.pad(ct > SKIN_HU, outer, mode="edge")
    inner = tuple(slice(width, -width) for width in widths)
    solid = sitk.GetArrayFromImage(sitk.BinaryMorphologicalOpening(
        sitk.GetImageFromArray(solid.astype(np.uint8)), widths[::-1], sitk.sitkBox))
    parts, _ = ndimage.label(solid)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = np.isin(parts, np.flatnonzero(sizes > SMALLEST_PART * sizes.max()))
    return ndimage.maximum_filter(body, [2 * width + 1 for width in widths])[inner]


def _difference_of_sharpness(a, b, mask, spacing) -> float:
    """Gaussian in mm that makes the surface of bone as steep in both; below 0 when ``a`` needs it.

    Steepness is measured after slight smoothing of both, so that noise has little part in it.
    """
    surface = mask & ~ndimage.binary_erosion(mask, iterations=2)
    box = [slice(max(0, s.start - 4), s.stop + 4)
           for s in ndimage.find_objects(surface.astype(np.uint8))[0]]
    if box[0].stop - box[0].start > MOST_SLICES:  # enough to judge sharpness by
        middle = int(np.median(np.nonzero(surface)[0]))
        box[0] = slice(max(0, middle - MOST_SLICES // 2), middle + MOST_SLICES // 2)
    box = tuple(box)
    a, b, surface = a[box], b[box], surface[box]

    def steepness(image: np.ndarray, blur: float) -> float:
        image = _blurred(image, np.hypot(blur, 0.6), spacing)
        return float(np.median(sum(d**2 for d in _gradient(image, spacing, surface))))

    wanted = steepness(a, 0), steepness(b, 0)
    sharper = b if wanted[1] > wanted[0] else a
    steep = np.array([steepness(sharper, blur) for blur in BLURS_MM])
    blur = float(np.interp(-min(wanted), -steep, BLURS_MM))
    return blur if sharper is b else -blur


def _gradient(image, spacing, where):
    index = np.nonzero(where)
    for axis in range(3):
        low, high = list(index), list(index)
        low[axis] = np.maximum(index[axis] - 1, 0)
        high[axis] = np.minimum(index[axis] + 1, image.shape[axis] - 1)
        yield (image[tuple(high)] - image[tuple(low)]) / (2 * spacing[axis])


def _blurred(image, sigma_mm, spacing):
    return ndimage.gaussian_filter(image, [sigma_mm / step for step in spacing])


def _density_fit(a, b, mask, spacing) -> tuple[float, float]:
    """Line through the median current density at each prior density: gain and offset.

    Both are smoothed, so that a sharper scan does not count as one with more contrast.
    """
    a, b = (_blurred(image, FIT_BLUR_MM, spacing)[mask] for image in (a, b))
    order = np.quantile(b, np.linspace(0.02, 0.98, DENSITY_BINS + 1))
    bins = np.clip(np.searchsorted(order, b) - 1, 0, DENSITY_BINS - 1)
    index = np.argsort(bins, kind="stable")
    parts = np.split(index, np.searchsorted(bins[index], np.arange(1, DENSITY_BINS)))
    there = [np.median(b[part]) for part in parts if len(part) > 20]
    here = [np.median(a[part]) for part in parts if len(part) > 20]
    if len(there) < 6:
        return 1.0, 0.0
    # both are noisy, and a line of one on the other would be too flat: the geometric mean of both
    slope, back = np.polyfit(there, here, 1)[0], np.polyfit(here, there, 1)[0]
    gain = float(np.sqrt(max(slope, 1e-3) / max(back, 1e-3)))
    if not GAIN[0] <= gain <= GAIN[1]:
        return 1.0, float(np.median(a) - np.median(b))
    return gain, float(np.median(here) - gain * np.median(there))
