# SPDX-License-Identifier: Apache-2.0
"""How wide the ventricles are: Evans' index, measured in the CT itself and not by a network.

The largest width of the frontal horns against the largest width of the inside of the skull in the
same slice (Evans, Archives of Neurology and Psychiatry 1942); above 0.3 ventricles count as
enlarged. Slices lie across the head as it lies, turned about its long axis or leaning to a side.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import AIR_HU, image_like
from ReadingRoomLib.volume_files import quiet

from .brain import CUBE_MM, LEAST_BRAIN_ML, Brain

MOST_TILTED = 20.0  # degrees, beyond which the head is not laid straight

PIXEL_MM, SLICE_MM, BLUR = 1.0, 3.0, (0.4, 1.2, 1.2)  # voxels; of what is measured in
HEIGHTS_MM = (26.0, 100.0)  # below the top of the brain, between which its ventricles are
FRONT, BACK, WIDEST = 0.16, 0.45, 0.7
"""Of the brain's length from its front: the frontal horns lie between the first two, and the skull
is widest before the third."""
BESIDE_MM = 9.0  # the brain, for the skull on both sides

SKULL_HU, GAS_HU = 250.0, -15.0
DEEP_MM = 24.0  # below the skull, where no sulci are
LEAST_HU, MOST_HU = 12.0, 30.0  # from fluid to brain
BLOOD_HU, BLOOD_ML = 50.0, 2.0  # that deep it lies at the ventricles
ROOF_MM2 = 80.0  # of fluid deep in a slice, from which on it is the roof of the ventricles
HORNS_MM = 27.0  # from there down to below the frontal horns
ASIDE_MM, MIDDLE_MM = 42.0, 15.0  # from the midline: frontal horns end before, begin before
LEAST_ML, TIP_MM = 0.5, 3.0  # thinner is noise
RIM_MM, SHARP = (3, 6), 0.55  # around fluid; that share of the contrast is reached there


def ventricle_index(ct: sitk.Image, brain: Brain) -> float | None:
    """Evans' index, 0 to 1.

    None where it cannot be measured: part of the brain or its contrast to fluid is missing, the
    brain is an infant's, the head lies much tilted or upside down, blood lies at the ventricles,
    they are slits.

    Args:
        ct: HU; any grid, LPS.
        brain: of the CT.
    """
    if (brain.cut_above or brain.cut_below or brain.back_in_front
            or brain.volume_ml < LEAST_BRAIN_ML):
        return None
    axes = _axes(brain)
    if axes is None:
        return None
    density, depth, back = _straight(ct, brain, axes)
    fluid = _fluid(density[:, :back], depth[:, :back])
    if fluid is None:
        return None
    first, horns = fluid
    # what noise joins to them in one slice is not in its neighbours
    widths = ndimage.median_filter([_width(plane) for plane in horns], 3, mode="constant")
    widest = int(np.argmax(widths))
    skull = _skull_width(density[first + widest])
    return float(widths[widest] / skull) if widths[widest] and skull else None


def _axes(brain: Brain) -> np.ndarray | None:
    """Directions of the head to its left, back and top, as columns, LPS; None if much tilted."""
    mask = sitk.GetArrayViewFromImage(brain.mask) > 0
    heights = np.flatnonzero(mask.any((1, 2)))
    z, y, x = np.nonzero(mask[(heights[0] + heights[-1]) // 2:])
    # where a head leans to a side, the middle of its slices moves there with their height
    lean = np.polyfit(z, x, 1)[0]
    (xx, xy), (_, yy) = np.cov(x - lean * z, y)
    turned = 0.5 * np.arctan2(2 * xy, yy - xx)  # of the long axis of the brain
    if max(abs(turned), abs(np.arctan(lean))) > np.radians(MOST_TILTED):
        return None
    up = np.array([lean, 0.0, 1.0]) / np.hypot(lean, 1)
    back = np.array([np.sin(turned), np.cos(turned), 0.0])
    back -= back @ up * up
    back /= np.linalg.norm(back)
    return np.column_stack([np.cross(back, up), back, up])


def _straight(ct: sitk.Image, brain: Brain,
              axes: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The part with the ventricles along those axes, (z, y, x), the midline in its middle.

    Returns HU, depth below the skull in mm, and the row where the frontal horns end.
    """
    mask = sitk.GetArrayViewFromImage(brain.mask) > 0
    at = (np.argwhere(mask)[:, ::-1] * CUBE_MM + brain.mask.GetOrigin()) @ axes
    low, high = at.min(0), at.max(0)
    length = high[1] - low[1]
    high = np.array([high[0] + BESIDE_MM, low[1] + WIDEST * length, high[2] - HEIGHTS_MM[0]])
    low = np.array([low[0] - BESIDE_MM, low[1] + FRONT * length,
                    high[2] + HEIGHTS_MM[0] - HEIGHTS_MM[1]])
    steps = np.array([PIXEL_MM, PIXEL_MM, SLICE_MM])
    size = np.ceil((high - low) / steps).astype(int).tolist()
    depth = image_like(
        (CUBE_MM * ndimage.distance_transform_edt(mask)).astype(np.float32), brain.mask)

    def cut(image: sitk.Image, beyond: float) -> np.ndarray:
        with quiet():
            return sitk.GetArrayFromImage(sitk.Resample(
                image, size, sitk.Transform(), sitk.sitkLinear, (axes @ low).tolist(),
                steps.tolist(), axes.ravel().tolist(), beyond, sitk.sitkFloat32))

    return cut(ct, AIR_HU), cut(depth, 0.0), round((BACK - FRONT) * length / PIXEL_MM)


def _fluid(density: np.ndarray, depth: np.ndarray) -> tuple[int, np.ndarray] | None:
    """The frontal horns, and the number of their lowest slice; None where they cannot be told."""
    soft = ndimage.gaussian_filter(density.clip(-50, 100), BLUR)
    core = (depth > DEEP_MM) & (soft > GAS_HU)
    if not core.any():
        return None
    deep = soft[core]
    darkest, usual = np.percentile(deep[deep < BLOOD_HU], [2, 60])
    contrast = min(usual - darkest, MOST_HU)
    voxel_ml = PIXEL_MM**2 * SLICE_MM / 1000
    if contrast < LEAST_HU or (deep > BLOOD_HU).sum() * voxel_ml > BLOOD_ML:
        return None
    fluid = ndimage.binary_opening(soft < usual - contrast / 2, np.ones((1, 3, 3)))
    roofed = np.flatnonzero((fluid & core).sum((1, 2)) * PIXEL_MM**2 > ROOF_MM2)
    if not len(roofed):
        return None
    first = max(0, roofed[-1] - round(HORNS_MM / SLICE_MM))
    middle, aside = fluid.shape[2] // 2, round(ASIDE_MM / PIXEL_MM)
    box = slice(first, roofed[-1] + 1), slice(None), slice(middle - aside, middle + aside + 1)
    horns = _near_midline(fluid[box], LEAST_ML / voxel_ml)
    if not horns.any() or not _is_sharp(soft[box], horns, contrast):
        return None
    return first, horns


def _near_midline(fluid: np.ndarray, least: float) -> np.ndarray:
    """What of it hangs together, is large enough and reaches near the midline."""
    labels, _ = ndimage.label(fluid)
    middle, near = fluid.shape[2] // 2, round(MIDDLE_MM / PIXEL_MM)
    sizes = np.bincount(labels.ravel())
    central = np.unique(labels[..., middle - near:middle + near + 1])
    return np.isin(labels, [each for each in central if each and sizes[each] >= least])


def _is_sharp(soft: np.ndarray, horns: np.ndarray, contrast: float) -> bool:
    """Whether there is an edge around them; a slow change of density, as of hard rays, has none."""
    plane = np.ones((1, 3, 3), bool)
    within, beyond = (ndimage.binary_dilation(horns, plane, round(reach / PIXEL_MM))
                      for reach in RIM_MM)
    rim = beyond & ~within
    return bool(rim.any() and np.median(soft[rim]) - np.median(soft[horns]) > SHARP * contrast)


def _width(plane: np.ndarray) -> float:
    """From the one side to the other of what reaches both, mm; 0 otherwise."""
    columns = np.flatnonzero(plane.sum(0) * PIXEL_MM >= TIP_MM)
    middle = plane.shape[1] // 2
    if not len(columns) or not columns[0] < middle < columns[-1]:
        return 0.0
    return float(columns[-1] - columns[0] + 1) * PIXEL_MM


def _skull_width(plane: np.ndarray) -> float | None:
    """Largest width of the inside of the skull in a slice, mm."""
    bone, middle = plane > SKULL_HU, plane.shape[1] // 2
    right, left = bone[:, :middle][:, ::-1], bone[:, middle:]
    closed = right.any(1) & left.any(1)
    if not closed.any():
        return None
    return float((right.argmax(1) + left.argmax(1))[closed].max()) * PIXEL_MM
