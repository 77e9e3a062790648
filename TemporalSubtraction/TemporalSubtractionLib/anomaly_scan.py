# SPDX-License-Identifier: Apache-2.0
"""A CT as the networks of :mod:`.anomaly_networks` see it: cubic voxels, and where bone is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.volume_files import quiet

from .bones import bone_mask

VOXEL_MM = 1.5
MARGIN = 12  # voxels around bone that a network sees
SEEN_HU = (-200.0, 1500.0)  # what is beyond looks alike
MIDDLE_HU, UNIT_HU = 300.0, 350.0  # about mean and standard deviation of bone


@dataclass(frozen=True)
class Scan:
    """A CT on voxels of 1.5 mm along L, P and S.

    Attributes:
        density: HU, float32, (z, y, x).
        bone: where bone with its marrow is.
        grid: an image that has the geometry of the arrays.
    """

    density: np.ndarray
    bone: np.ndarray
    grid: sitk.Image

    @property
    def spacing(self) -> tuple[float, float, float]:
        return (VOXEL_MM,) * 3

    def around_bone(self) -> Scan:
        """The part that shows bone, with what a network sees around it; there must be bone."""
        [box] = ndimage.find_objects(self.bone.astype(np.uint8))
        box = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in box)
        return Scan(self.density[box], self.bone[box], self.grid[box[::-1]])


def scan_of(ct: sitk.Image) -> Scan:
    """A CT of any grid, HU, as the networks see it."""
    with quiet():
        cubes = sitk.Cast(on_cubes(ct, VOXEL_MM), sitk.sitkFloat32)
        bone = bone_mask(cubes)
    density, inside = sitk.GetArrayFromImage(cubes), sitk.GetArrayFromImage(bone) > 0
    return Scan(density, inside, bone)


def seen(density: np.ndarray) -> np.ndarray:
    """Densities in HU as numbers for a network, about standard normal in bone."""
    return ((np.clip(density, *SEEN_HU) - MIDDLE_HU) / UNIT_HU).astype(np.float32)
