# SPDX-License-Identifier: Apache-2.0
"""What is done to an MR image before it is compared or shown: grid, masks, bias field, grey values.

An MR image has no unit, so grey values are fixed by what they belong to: the lowest
:data:`LOW_PERCENT` of the voxels of the brain become black, the highest white (see :func:`window`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, resample_like

HEAD_MM, BRAIN_MM, BIAS_MM = 4.0, 2.0, 6.0  # voxels on which masks and the bias field are found
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.8
"""Percentiles of the brain (of the head where there is no brain) that become 0 and 1."""
SHARE_OF_BRIGHT = 0.12  # of the head's bright tissue; what is darker over air is noise
BRIDGE_MM, CLOSED_MM = 6.0, 8.0
THIN_MM = 4.0  # half the width of what is no head: tubes, markers
DEEP_MM, SCALP_MM = 30.0, 5.0  # below the surface of the head
DARK, BRIGHT, DARK_T2 = 0.4, 1.5, 0.6  # skull and fat in T1, muscle in T2; in medians of the deep
N4_STEPS = (30, 30, 20)


# Grids


def coarse(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Return the image as float32, whole voxels averaged along axes that are finer than that."""
    factors = [max(1, round(spacing_mm / step)) for step in image.GetSpacing()]
    factors = [min(factor, size) for factor, size in zip(factors, image.GetSize(), strict=True)]
    image = image if image.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(image, sitk.sitkFloat32)
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def on_grid(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None = None,
            nearest: bool = False) -> sitk.Image:
    """Return an image on the voxels of another, averaged where those are larger.

    Linear between voxels, 0 where the image does not reach.

    Args:
        image: any grid.
        grid: gives size, spacing, origin and direction.
        transform: of points of ``grid`` to those of ``image``.
        nearest: for masks and labels.
    """
    if nearest:
        return sitk.Resample(image, grid, transform or sitk.Transform(), sitk.sitkNearestNeighbor,
                             0.0, image.GetPixelID())
    image = sitk.Cast(image, sitk.sitkFloat32)
    directions = [np.reshape(each.GetDirection(), (3, 3)) for each in (grid, image)]
    # extent of a voxel of the grid along each axis of the image
    wanted = np.abs(directions[1].T @ directions[0]) @ np.array(grid.GetSpacing())
    for axis, (step, size) in enumerate(zip(image.GetSpacing(), image.GetSize(), strict=True)):
        if wanted[axis] > 1.5 * step and size >= 4:
            smooth = sitk.RecursiveGaussianImageFilter()
            smooth.SetDirection(axis)
            # a Gaussian with the variance that a voxel of the grid has more than one of the image
            smooth.SetSigma(float(np.sqrt((wanted[axis] ** 2 - step**2) / 12)))
            image = smooth.Execute(image)
    return sitk.Resample(image, grid, transform or sitk.Transform(), sitk.sitkLinear, 0.0,
                         sitk.sitkFloat32)


def everywhere(image: sitk.Image) -> sitk.Image:
    """Return ones on the grid of an image, uint8: moved with it, they tell where it reaches."""
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return ones


# Masks


def head_mask(image: sitk.Image) -> sitk.Image:
    """Return the head, with all that lies within it, against air; uint8 on the image's grid.

    Raises:
        BadInput: nothing stands out of the background.
    """
    small = coarse(image, HEAD_MM)
    values = sitk.GetArrayFromImage(small)
    low, high = values.min(), np.percentile(values, 98)
    bright = values > low + SHARE_OF_BRIGHT * (high - low)
    head = _filled(_closed(_largest(opened(bright, small, THIN_MM)), small, CLOSED_MM))
    if not head.any():
        raise BadInput("There is no head in the image: choose an MRI of the brain.")
    return resample_like(image_like(head.astype(np.uint8), small), image)


def brain_mask(images: Mapping[str, sitk.Image], head: sitk.Image) -> sitk.Image:
    """Return the brain with its fluid; uint8 on the grid of the head.

    Brain is neither as dark as skull nor as bright as fat in T1, nor as dark as muscle in T2. Of
    what is left without thin bridges the part that lies deepest in the head is taken. Good enough
    to take percentiles from, not to measure volumes. The head itself where no brain is found.

    Args:
        images: one or more of t1, t2 and t1c, on one grid.
        head: on the same grid.
    """
    small = coarse(next(iter(images.values())), BRAIN_MM)
    inside = sitk.GetArrayFromImage(on_grid(head, small, nearest=True)) > 0
    below = depth_mm(inside, small)
    deep = below > min(DEEP_MM, 0.6 * below.max())
    like_brain = inside & (below > SCALP_MM)
    t1 = next((name for name in ("t1", "t1c") if name in images), "")
    for name, low, high in ((t1, 0.0 if "t2" in images else DARK, BRIGHT), ("t2", DARK_T2, np.inf)):
        if name in images:
            values = sitk.GetArrayFromImage(coarse(images[name], BRAIN_MM))
            values /= max(float(np.median(values[deep])), 1e-6)
            like_brain &= (values >= low) & (values < high)
    labels, count = ndimage.label(depth_mm(like_brain, small) > BRIDGE_MM)
    if not count:
        return sitk.Image(head)
    depths = ndimage.sum_labels(deep, labels, np.arange(1, count + 1))
    brain = like_brain & grown(labels == 1 + depths.argmax(), small, BRIDGE_MM + 1.0)
    brain = _filled(_closed(brain, small, CLOSED_MM) & inside)
    return resample_like(image_like(brain.astype(np.uint8), small), head)


def depth_mm(mask: np.ndarray, image: sitk.Image) -> np.ndarray:
    """Return how far each voxel of a mask (z, y, x) is from its outside, on the grid of an image.

    0 outside. What the image cuts off does not count as outside.
    """
    if mask.all():  # there is no outside to measure from
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(mask, sampling=image.GetSpacing()[::-1])


def opened(mask: np.ndarray, image: sitk.Image, radius_mm: float) -> np.ndarray:
    """Return a mask (z, y, x) without what is thinner than a ball, on the grid of an image."""
    return grown(depth_mm(mask, image) > radius_mm, image, radius_mm) & mask


def grown(mask: np.ndarray, image: sitk.Image, radius_mm: float) -> np.ndarray:
    """Return a mask (z, y, x) and all within a distance of it, on the grid of an image."""
    return depth_mm(~mask, image) <= radius_mm


def _closed(mask: np.ndarray, image: sitk.Image, radius_mm: float) -> np.ndarray:
    return mask | (depth_mm(grown(mask, image, radius_mm), image) > radius_mm)


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else mask


def _filled(mask: np.ndarray) -> np.ndarray:
    """Holes filled in each plane of each axis: skull, air and fluid are open somewhere in 3D."""
    mask = mask.copy()
    for axis in range(3):
        if mask.shape[axis] < 3:
            continue
        for plane in np.moveaxis(mask, axis, 0):
            plane |= ndimage.binary_fill_holes(plane)
    return mask


# Grey values


def correct_bias(image: sitk.Image, head: sitk.Image) -> sitk.Image:
    """Return the image without its bias field, as float32, by N4.

    Tustison et al., *N4ITK: improved N3 bias correction*, IEEE TMI 2010, on voxels of
    :data:`BIAS_MM`, which is enough for a field that is smooth over centimetres.

    Args:
        image: any scale; negative values are taken as 0.
        head: where the field is found, on the same grid.
    """
    image = sitk.Clamp(image, sitk.sitkFloat32, 0.0)
    small = coarse(image, BIAS_MM)
    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetMaximumNumberOfIterations(list(N4_STEPS))
    method.SetConvergenceThreshold(1e-4)
    method.Execute(small, on_grid(head, small, nearest=True))
    field = sitk.Exp(method.GetLogBiasFieldAsImage(image))
    return image / sitk.Cast(field, sitk.sitkFloat32)


def window(image: sitk.Image, mask: sitk.Image) -> tuple[float, float]:
    """Return the values that become 0 and 1: percentiles within the brain, or the head.

    Vessels are within the brain's highest, so a tumour that enhances is not cut off, nor does it
    set the scale by itself.

    Raises:
        BadInput: all of it has one value.
    """
    values = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) > 0]
    low, high = np.percentile(values, [LOW_PERCENT, HIGH_PERCENT]) if values.size else (0.0, 0.0)
    if not high > low:
        raise BadInput("There is no head in the image: choose an MRI of the brain.")
    return float(low), float(high)
