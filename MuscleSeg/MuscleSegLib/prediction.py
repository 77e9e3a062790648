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


def islands(labels: np.ndarray, smallest_share: float = 0.15) -> np.ndarray:
    """Mask of connected parts smaller than a share of the largest part of their structure."""
    rejected = np.zeros(labels.shape, bool)
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        parts, count = ndimage.label(labels[box] == value, np.ones((3, 3, 3)))
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        small = sizes < smallest_share * sizes.max()
        small[0] = False
        # one voxel of margin, because borders on the CT's grid are finer than on this one
        rejected[box] |= ndimage.binary_dilation(small[parts]) & ~(
            (parts > 0) & ~small[parts]
        )
    return rejected
