# SPDX-License-Identifier: Apache-2.0
"""Anatomy for simulated CT: maps of regions, and real scans to be seen between painted ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

AIR_HU = -1024.0
METAL_HU = 3071.0
IGNORED = 255  # target value of voxels whose truth is unknown


class Tissue(IntEnum):
    """What a region of the map is made of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    INTERMUSCULAR = 5  # fat with vessels, nerves and small muscles between the named muscles
    CAVITY = 6  # abdomen and pelvis: bowel, bladder, vessels and fat, invented anew every time
    ORGAN = 7  # parenchyma and other soft tissue
    FLUID = 8
    VESSEL = 9
    BOWEL = 10
    LUNG = 11
    CARTILAGE = 12


@dataclass(frozen=True)
class RegionMap:
    """Anatomy to paint: a map of region codes and what each code means.

    Attributes:
        regions: uint8 array (z, y, x) in LPS axes (x to the left, y to the back, z to the head);
            0 is air.
        spacing: voxel size in mm, in array order (z, y, x).
        tissue: uint8 array of 256: region code to :class:`Tissue`.
        target: uint8 array of 256: region code to training label; 255 is ignored by the loss.
        implants: codes of the bones that may carry a prosthesis or a nail.
    """

    regions: np.ndarray
    spacing: tuple[float, float, float]
    tissue: np.ndarray
    target: np.ndarray
    implants: tuple[int, ...] = ()

    @property
    def size_mm(self) -> np.ndarray:
        return np.array(self.regions.shape) * np.array(self.spacing)

    @cached_property
    def slices_of(self) -> list[np.ndarray]:
        """For every training label but 0 and 255 that occurs: the slices it occurs in."""
        occurs = np.zeros((len(self.regions), 256), bool)
        for row, plane in zip(occurs, self.regions, strict=True):
            row[self.target[np.bincount(plane.ravel(), minlength=256) > 0]] = True
        return [np.flatnonzero(column) for column in occurs.T[1:IGNORED] if column.any()]


@dataclass(frozen=True)
class RealScan:
    """A real CT with one training label for each of its slices, to be seen between painted ones.

    Attributes:
        hounsfield: int16 array (z, y, x) in LPS axes, HU.
        spacing: voxel size in mm, in array order (z, y, x).
        target: uint8 array (z,): label of every voxel of a slice; 255 is ignored by the loss.
    """

    hounsfield: np.ndarray
    spacing: tuple[float, float, float]
    target: np.ndarray

    @property
    def size_mm(self) -> np.ndarray:
        return np.array(self.hounsfield.shape) * np.array(self.spacing)
