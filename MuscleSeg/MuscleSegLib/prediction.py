# SPDX-License-Identifier: Apache-2.0
"""What a network says about a CT, and tidying it up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass
class Prediction:
    """Labels uint8 and uncertainty float32 in [0, 1] on the grid of the CT, (z, y, x)."""

    labels: np.ndarray
    uncertainty: np.ndarray


def without_islands(
    labels: np.ndarray, smallest_share: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Drop connected parts far smaller than the largest part of their structure.

    Args:
        labels: (z, y, x) uint8.
        smallest_share: 0 to 1; a structure has up to two large parts, one a side.

    Returns:
        The labels without islands, and a mask of the islands with one voxel of margin, because
        borders on the CT's grid are finer than on this one.
    """
    cleaned = labels.copy()
    near = np.zeros(labels.shape, bool)
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        parts, count = ndimage.label(labels[box] == value, np.ones((3, 3, 3)))
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        small = sizes < smallest_share * sizes.max()
        small[0] = False
        island = small[parts]
        cleaned[box][island] = 0
        near[box] |= ndimage.binary_dilation(island, np.ones((3, 3, 3)))
    return cleaned, near
