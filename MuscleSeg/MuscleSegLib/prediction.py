# SPDX-License-Identifier: Apache-2.0
"""What a network says about a CT, and tidying it up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage


@dataclass
class Prediction:
    """What a network says about a CT.

    Attributes:
        labels: uint8 (z, y, x) on the grid of the CT.
        uncertainty: float32 in [0, 1] on the same grid.
        confidence: mean probability of the chosen structure over all labelled voxels, 0 when there
            are none. On scans of another part of the body it is low: nothing fits well there.
    """

    labels: np.ndarray
    uncertainty: np.ndarray
    confidence: float = 0.0


class MeanConfidence:
    """Gathers the confidence of a prediction, part by part."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, probability: torch.Tensor) -> torch.Tensor:
        """Take note of mean probabilities (classes, ...); returns the strongest class."""
        highest, strongest = probability.max(0)
        labelled = strongest > 0
        self.total += float(highest[labelled].double().sum())
        self.count += int(labelled.sum())
        return strongest

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else 0.0


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
