# SPDX-License-Identifier: Apache-2.0
"""What a network says about a CT, and tidying it up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .expected_overlap import ExpectedOverlap
from .sides import PAIRED, midline

PIT_MM = 6.0  # a femur has no pit that a ball of this radius does not fit into


@dataclass
class Prediction:
    """What a network says about a CT.

    Attributes:
        labels: uint8 (z, y, x) on the grid of the CT.
        uncertainties: float32 in [0, 1] on the same grid, by kind (see
            :mod:`ReadingRoomLib.montecarlo`), in the order in which they were asked for.
        overlap: what the probabilities say of each structure.
    """

    labels: np.ndarray
    uncertainties: dict[str, np.ndarray]
    overlap: ExpectedOverlap

    @property
    def uncertainty(self) -> np.ndarray:
        """The first kind that was asked for."""
        return next(iter(self.uncertainties.values()))

    @property
    def confidence(self) -> float:
        """Mean probability of the chosen structure over all labelled voxels, 0 when there are none.

        On scans of another part of the body it is low: nothing fits well there.
        """
        return self.overlap.confidence


def without_islands(
    labels: np.ndarray, share_of_side: float = 0.1, share_of_all: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Drop connected parts far smaller than the largest part of their structure.

    Sides are judged apart: where a scan ends below the origin of a muscle on one side only, a
    small true part there is no island beside the large one of the other side.

    Args:
        labels: (z, y, x) uint8 in LPS axes, sides together.
        share_of_side: 0 to 1, of the largest part on the same side of the body.
        share_of_all: of the largest part on either side.

    Returns:
        The labels without islands, and a mask of the islands with one voxel of margin, because
        borders on the CT's grid are finer than on this one.
    """
    cleaned = labels.copy()
    near = np.zeros(labels.shape, bool)
    if not labels.any():
        return cleaned, near
    side = np.sign(np.arange(labels.shape[2]) - midline(labels)[:, None])  # (z, x): 1 is left
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        box = tuple(slice(max(0, own.start - 1), own.stop + 1) for own in box)
        parts, count = ndimage.label(labels[box] == value, np.ones((3, 3, 3)))
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        of_side = np.full(len(sizes), sizes.max())
        if value in PAIRED:
            weight = np.broadcast_to(side[box[0], None, box[2]], parts.shape)
            there = parts > 0
            lies = np.bincount(parts[there], weight[there])  # above 0: most of it on the left
            of_side[lies > 0] = sizes[lies > 0].max(initial=0)
            of_side[lies < 0] = sizes[lies < 0].max(initial=0)
        small = (sizes < share_of_side * of_side) | (sizes < share_of_all * sizes.max())
        small[0] = False
        island = small[parts]
        cleaned[box][island] = 0
        near[box] |= ndimage.binary_dilation(island, np.ones((3, 3, 3)))
    return cleaned, near


def pits(
    labels: np.ndarray, spacing: tuple[float, float, float], value: int, radius_mm: float = PIT_MM
) -> np.ndarray:
    """Holes and narrow pits of a structure that belong to nothing else: a morphological closing.

    Streaks of metal black out parts of a bone, and an arthritic joint hides its edge; bone itself
    has no such holes. A closing with a ball of 6 mm adds less than 0.7 % to femurs that people
    outlined, fossae included.

    Args:
        labels: (z, y, x) uint8.
        spacing: of the voxels along z, y, x, mm.
        value: of the structure.
        radius_mm: of the ball.

    Returns:
        Mask of background voxels that the structure encloses.
    """
    found = np.zeros(labels.shape, bool)
    [box] = ndimage.find_objects((labels == value).view(np.uint8)) or [None]
    if box is None:
        return found
    margin = [(int(np.ceil(radius_mm / step)) + 1,) * 2 for step in spacing]
    structure = np.pad(labels[box] == value, margin)
    grown = ndimage.distance_transform_edt(~structure, sampling=spacing) <= radius_mm
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > radius_mm
    inner = tuple(slice(before, -after) for before, after in margin)
    found[box] = closed[inner] & (labels[box] == 0)
    return found
