# SPDX-License-Identifier: Apache-2.0
"""Why a head was judged as it was: places that look like a finding, and how large they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ReadingRoomLib.phantoms.head_findings import KINDS, SOFT, Kind

from .slices import BONE_HU

CERTAIN, POSSIBLE = 0.5, 0.2  # of a pixel: a region has one of the first and all of the second
LEAST_ML = 0.15
MOST = 12  # regions told
NAMES: Mapping[Kind, str] = {
    "epidural": "epidural blood", "subdural": "subdural blood",
    "intraparenchymal": "blood in the brain", "subarachnoid": "subarachnoid blood",
    "intraventricular": "blood in the ventricles", "infarct": "infarct",
    "fracture": "fracture of the skull", "calcification": "calcification",
}
"""As a reader reads them."""


@dataclass(frozen=True)
class Region:
    """A place that looks like a finding.

    Attributes:
        kind: of the finding.
        volume_ml: of what is told apart, about.
        confidence: largest probability of a pixel in it, 0 to 1.
        first_slice, last_slice: of the contact sheet, from 1, that show it.
        best_slice: that shows most of it.
        centre_mm: its centroid, LPS.
    """

    kind: Kind
    volume_ml: float
    confidence: float
    first_slice: int
    last_slice: int
    best_slice: int
    centre_mm: tuple[float, float, float]

    def written(self) -> dict[str, Any]:
        return {**asdict(self), "name": NAMES[self.kind]}


def without_bone(maps: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Maps without what lies in bone and can only lie in soft tissue.

    Near the top of the head the skull is cut at a slant and looks as dense as blood at its edge.

    Args:
        maps: probabilities, (slices, kinds, height, width).
        density: of the same slices, HU, (slices, k * height, k * width).
    """
    count, _, height, width = maps.shape
    times = density.shape[1] // height
    bone = density.reshape(count, height, times, width, times).mean((2, 4)) > BONE_HU
    soft = np.isin(KINDS, SOFT)
    return np.where(bone[:, None] & soft[:, None, None], 0, maps)


def regions_of(maps: np.ndarray, spacing: tuple[float, float, float],
               origin: tuple[float, float, float]) -> tuple[list[Region], np.ndarray]:
    """Part maps of findings into regions.

    Args:
        maps: probabilities, (slices, kinds, height, width).
        spacing: of the slices and of the pixels in them, mm, (z, y, x).
        origin: middle of the first pixel of the first slice, mm, (x, y, z), LPS.

    Returns:
        The regions, largest first; and the number of the kind from 1 in every pixel that belongs
        to one, 0 elsewhere, (slices, height, width), uint8.
    """
    voxel_ml = float(np.prod(spacing)) / 1000
    regions, shown = [], np.zeros((maps.shape[0], *maps.shape[2:]), np.uint8)
    for number, kind in enumerate(KINDS):
        likely = maps[:, number]
        if likely.max() < CERTAIN:
            continue
        labels, count = ndimage.label(likely >= POSSIBLE, np.ones((3, 3, 3)))
        for index, box in enumerate(ndimage.find_objects(labels), 1):
            inside = labels[box] == index
            region = _region(kind, inside, likely[box], box, spacing, origin, voxel_ml)
            if region.confidence >= CERTAIN and region.volume_ml >= LEAST_ML:
                regions.append(region)
                shown[box][inside] = number + 1
    regions.sort(key=lambda region: region.volume_ml, reverse=True)
    return regions[:MOST], shown


def _region(kind, inside, likely, box, spacing, origin, voxel_ml) -> Region:
    areas = inside.sum((1, 2))
    first = box[0].start
    middle = np.argwhere(inside).mean(0) + [side.start for side in box]
    place = np.array(origin) + (middle * spacing)[::-1]
    # a pixel counts by its probability, so that faint edges do not blow a region up
    volume = float(likely[inside].clip(0, 1).sum()) * voxel_ml
    return Region(kind, round(volume, 2), round(float(likely[inside].max()), 3), first + 1,
                  first + len(areas), first + 1 + int(areas.argmax()),
                  tuple(round(float(value), 1) for value in place))
