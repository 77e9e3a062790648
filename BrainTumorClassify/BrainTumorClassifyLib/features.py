# SPDX-License-Identifier: Apache-2.0
"""Radiomic features of a region that our network gets beside the images.

First-order statistics by the definitions of the Image Biomarker Standardisation Initiative
(IBSI reference manual, Zwanenburg et al., Radiology 2020, section 3.3): few of them, because more
vary with the scanner, and computed here, because a library for all of them is larger than the rest
of what a classification needs.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from .sequences import SEQUENCES

STATISTICS = ("mean", "deviation", "skewness", "kurtosis", "10th percentile", "90th percentile")
FEATURES = (
    *(f"{sequence} {name}" for sequence in SEQUENCES for name in STATISTICS),
    *(f"enhancement {name}" for name in STATISTICS), "side", "extent")
"""Names; the last two are sizes of the region in mm, across and along the slices."""


def features_of(slices: np.ndarray, present: np.ndarray, side_mm: float,
                extent_mm: float) -> np.ndarray:
    """Features of a region, (len(FEATURES),), float32; NaN for what a missing sequence would tell.

    Args:
        slices: as the network gets them, (slices, sequences, height, width), 0 to 1.
        present: which sequences are there, (sequences,).
        side_mm, extent_mm: size of the region across and along the slices.
    """
    middle = _middle(slices)
    found = [_statistics(middle[:, number]) if there else [np.nan] * len(STATISTICS)
             for number, there in enumerate(present)]
    before, after = SEQUENCES.index("t1"), SEQUENCES.index("t1c")
    both = present[before] and present[after]
    found.append(_statistics(middle[:, after] - middle[:, before]) if both
                 else [np.nan] * len(STATISTICS))
    return np.array([*np.concatenate(found), side_mm, extent_mm], np.float32)


def _middle(slices: np.ndarray) -> np.ndarray:
    """The inner half of each slice, where the tumour is and healthy brain mostly is not."""
    height, width = slices.shape[-2:]
    return slices[..., height // 4:height - height // 4, width // 4:width - width // 4]


def _statistics(values: np.ndarray) -> list[float]:
    values = values.ravel().astype(float)
    if values.std() < 1e-6:  # skewness and kurtosis of one value are 0 by IBSI
        return [values.mean(), 0.0, 0.0, 0.0, values[0], values[0]]
    return [values.mean(), values.std(), stats.skew(values), stats.kurtosis(values),
            *np.percentile(values, (10, 90))]
