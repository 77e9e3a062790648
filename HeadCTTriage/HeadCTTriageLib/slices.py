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
    heights = slice_heights(brain, sampling.slices)
    step = sampling.field_mm / sampling.pixels
    middle = _middle(brain)
    origin = [middle[axis] - sampling.field_mm / 2 + step / 2 for axis in range(2)]
    planes = max(1, round(sampling.thickness_mm / 2.5))
    offsets = (np.arange(planes) - (planes - 1) / 2) * 2.5
    with quiet():
        slices = [np.mean([_plane(ct, (*origin, height + offset), step, sampling.pixels)
                           for offset in offsets], 0) for height in heights]
    return np.stack([[_shown(density, *WINDOWS_HU[name]) for name in sampling.windows]
                     for density in slices]).astype(np.float32)


def slice_heights(brain: Brain, count: int) -> np.ndarray:
    """Heights along S, mm: the middles of equal parts of the brain, lowest first."""
    edges = np.linspace(brain.lowest_mm, brain.highest_mm, count + 1)
    return (edges[:-1] + edges[1:]) / 2


def _middle(brain: Brain) -> tuple[float, float]:
    """Of the brain along L and P, mm."""
    where = np.argwhere(sitk.GetArrayViewFromImage(brain.mask) > 0)[:, :0:-1]
    low, high = where.min(0), where.max(0)
    spacing, origin = brain.mask.GetSpacing(), brain.mask.GetOrigin()
    return tuple(float(origin[axis] + (low[axis] + high[axis]) / 2 * spacing[axis])
                 for axis in range(2))


def _plane(ct: sitk.Image, origin: tuple[float, ...], step: float, pixels: int) -> np.ndarray:
    plane = sitk.Resample(ct, [pixels, pixels, 1], sitk.Transform(), sitk.sitkLinear, origin,
                          [step, step, 1.0], np.eye(3).ravel().tolist(), AIR_HU, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(plane)[0]


def _shown(density: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((density - low) / (high - low)).clip(0, 1)
