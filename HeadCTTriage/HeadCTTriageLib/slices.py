# SPDX-License-Identifier: Apache-2.0
"""The slices of a head that a network sees.

The published sampling (Watanabe, KAKENHI 18K16600): eight equally spaced slices over the whole
brain, 256x256, in the brain window. The report gives neither the window nor the field of view; the
window is the usual one, the field of view covers a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.geometry import AIR_HU
from ReadingRoomLib.volume_files import quiet

from .brain import Brain

WINDOWS_HU = {"brain": (0.0, 80.0), "subdural": (-20.0, 180.0), "stroke": (20.0, 50.0),
              "bone": (-400.0, 2000.0)}
"""Lowest and highest density shown, black to white."""
BONE_HU = 130.0  # denser than clotted blood
PLANE_MM = 2.5  # between the planes that a thick slice is the mean of


@dataclass(frozen=True)
class Sampling:
    """Which slices, how large, in which windows.

    Attributes:
        slices: number of slices, equally spaced over the brain.
        pixels: width and height.
        field_mm: width and height that they show.
        windows: names of :data:`WINDOWS_HU`.
        thickness_mm: over which each slice is averaged.
    """

    slices: int
    pixels: int
    field_mm: float
    windows: tuple[str, ...]
    thickness_mm: float


PUBLISHED = Sampling(8, 256, 230.0, ("brain",), 0.0)
SEVERAL_WINDOWS = Sampling(24, 224, 224.0, ("brain", "subdural", "bone"), 5.0)


def sample_slices(ct: sitk.Image, brain: Brain, sampling: Sampling) -> np.ndarray:
    """Cut the slices out of a head, across its S axis, around the middle of the brain.

    Args:
        ct: HU; any grid, LPS. Slices come out along L and P whatever the grid is.
        brain: of the CT.
        sampling: what is wanted.

    Returns:
        (slices, windows, pixels, pixels), float32, 0 to 1, lowest slice first; each slice with the
        front of the head up and its left side on the right. 0 where the CT does not reach.
    """
    return in_windows(cut_slices(ct, brain, sampling), sampling.windows)


def cut_slices(ct: sitk.Image, brain: Brain, sampling: Sampling) -> np.ndarray:
    """The same in HU: (slices, pixels, pixels), float32, air where the CT does not reach."""
    planes = max(1, round(sampling.thickness_mm / PLANE_MM))
    offsets = (np.arange(planes) - (planes - 1) / 2) * PLANE_MM
    corner = _corner(brain, sampling)
    with quiet():
        return np.stack([
            np.mean([_plane(ct, corner, sampling, height + offset) for offset in offsets], 0)
            for height in slice_heights(brain, sampling.slices)]).astype(np.float32)


def cut_labels(labels: sitk.Image, brain: Brain, sampling: Sampling) -> np.ndarray:
    """Labels in the middle of each slice: (slices, pixels, pixels), uint8, 0 beyond the image."""
    corner = _corner(brain, sampling)
    with quiet():
        return np.stack([_plane(labels, corner, sampling, height, sitk.sitkNearestNeighbor, 0)
                         for height in slice_heights(brain, sampling.slices)]).astype(np.uint8)


def in_windows(density: np.ndarray, windows: tuple[str, ...]) -> np.ndarray:
    """Slices (n, height, width) in HU as they are shown: (n, windows, height, width), 0 to 1."""
    shown = [(density - low) / (high - low) for low, high in map(WINDOWS_HU.get, windows)]
    return np.stack(shown, 1).clip(0, 1).astype(np.float32)


def slice_heights(brain: Brain, count: int) -> np.ndarray:
    """Heights along S, mm: the middles of equal parts of the brain, lowest first."""
    edges = np.linspace(brain.lowest_mm, brain.highest_mm, count + 1)
    return (edges[:-1] + edges[1:]) / 2


def slice_origin(brain: Brain, sampling: Sampling, pixel: float) -> tuple[float, float]:
    """Middle of the first pixel along L and P, mm, for pixels of a size that fill the field."""
    return tuple(middle - sampling.field_mm / 2 + pixel / 2 for middle in _middle(brain))


def _middle(brain: Brain) -> tuple[float, float]:
    """Of the brain along L and P, mm."""
    where = np.argwhere(sitk.GetArrayViewFromImage(brain.mask) > 0)[:, :0:-1]
    low, high = where.min(0), where.max(0)
    spacing, origin = brain.mask.GetSpacing(), brain.mask.GetOrigin()
    return tuple(float(origin[axis] + (low[axis] + high[axis]) / 2 * spacing[axis])
                 for axis in range(2))


def _corner(brain: Brain, sampling: Sampling) -> tuple[float, float]:
    """Middle of the first pixel along L and P, mm; finding it takes longer than cutting one."""
    return slice_origin(brain, sampling, sampling.field_mm / sampling.pixels)


def _plane(image: sitk.Image, corner: tuple[float, float], sampling: Sampling, height: float,
           interpolation: int = sitk.sitkLinear, outside: float = AIR_HU) -> np.ndarray:
    step = sampling.field_mm / sampling.pixels
    plane = sitk.Resample(image, [sampling.pixels, sampling.pixels, 1], sitk.Transform(),
                          interpolation, [*corner, height], [step, step, 1.0],
                          np.eye(3).ravel().tolist(), outside, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(plane)[0]
