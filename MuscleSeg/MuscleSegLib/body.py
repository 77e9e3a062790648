# SPDX-License-Identifier: Apache-2.0
"""Where the body is in a CT."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ReadingRoomLib.errors import BadInput

AIR_HU = -1024.0
BODY_HU = -300.0  # everything but air and lung is above


def find_body(ct: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """Rows and columns that hold the body, 10 mm of air around it.

    Args:
        ct: (z, y, x) in HU.
        spacing: mm, (z, y, x).

    Raises:
        BadInput: there is nothing but air.
    """
    steps = [max(1, round(6.0 / s)) for s in spacing]
    coarse = ct[:: steps[0], :: steps[1], :: steps[2]] > BODY_HU
    opened = ndimage.binary_opening(coarse, np.ones((1, 3, 3)))  # the table is thin
    if not opened.any():
        raise BadInput(
            "There is nothing but air in this CT: check that the right series was chosen."
        )
    parts, count = ndimage.label(opened)
    sizes = np.bincount(parts.ravel())[1:]
    largest = np.isin(parts, 1 + np.flatnonzero(sizes > 0.05 * sizes.max()))
    result = []
    for axis in (1, 2):
        hits = np.flatnonzero(largest.any(tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(10.0 / spacing[axis])) + steps[axis]
        low = max(0, hits[0] * steps[axis] - margin)
        high = min(ct.shape[axis], (hits[-1] + 1) * steps[axis] + margin)
        result.append(slice(low, high))
    return tuple(result)
