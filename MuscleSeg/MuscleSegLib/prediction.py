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
    """Connected parts smaller than a share of the largest part of their structure.

    Args:
        labels: (z, y, x) uint8.
        smallest_share: 0 to 1; up to two large parts are expected, one a side.

    Returns:
        uint8 (z, y, x): the structure that a voxel must not have, 0 where there is none. One voxel
        of margin is in it, because borders on the CT's grid are finer than on this one; what has
        another label in the margin keeps it.
    """
    rejected = np.zeros(labels.shape, np.uint8)
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
        core = small[parts]
        margin = ndimage.binary_dilation(core) & (rejected[box] == 0)
        rejected[box][margin | core] = value
    return rejected
