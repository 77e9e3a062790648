# SPDX-License-Identifier: Apache-2.0
"""How well two images agree around every voxel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def local_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray, size) -> np.ndarray:
    """Correlation of two images around every voxel.

    Args:
        a, b: of one shape.
        weight: of the voxels, 0 or more.
        size: of the neighbourhood in voxels, one number or one for each axis.

    Returns:
        -1 to 1, of the same shape.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values * weight, size, mode="constant") / total

    total = np.maximum(ndimage.uniform_filter(weight, size, mode="constant"), 1e-6)
    mean_a, mean_b = mean(a), mean(b)
    spread = (mean(a * a) - mean_a**2).clip(1.0) * (mean(b * b) - mean_b**2).clip(1.0)
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(spread)
