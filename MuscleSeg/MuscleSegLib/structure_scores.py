# SPDX-License-Identifier: Apache-2.0
"""Scores of a whole structure that say how far to trust it, without a reference.

- ``uncertainty``: mean over the voxels of the structure (predictive structure-wise variance, PSV,
  of Hiasa et al., IEEE TMI 2020, up to a constant);
- ``expected_dice``: see :mod:`.expected_overlap`;
- the uncertainty spread over the structure's surface, :func:`over_surface`. Every border is
  uncertain, so a thin structure has a higher mean than a thick one that is outlined as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .prediction import Prediction


@dataclass(frozen=True)
class StructureScores:
    """Scores of one label.

    Attributes:
        volume_ml: of what was segmented, mL.
        cut_off: whether it goes on beyond the ends of the scan.
        uncertainty: mean of each kind of uncertainty that was computed, 0 to 1, by kind.
        expected_dice: 0 to 1.
    """

    volume_ml: float
    cut_off: bool
    uncertainty: Mapping[str, float]
    expected_dice: float


def structure_scores(
    prediction: Prediction, voxel_ml: float, middle: np.ndarray | None = None
) -> dict[int, StructureScores]:
    """Scores of every label that was found.

    Args:
        prediction: its labels may have their sides apart.
        voxel_ml: volume of a voxel in mL.
        middle: where its sides were parted, see :func:`.sides.midline`; None: they are together.
    """
    labels = prediction.labels
    counts = np.zeros(256)
    sums = {kind: np.zeros(256) for kind in prediction.uncertainties}
    ends = np.zeros(256)
    for z, plane in enumerate(labels):
        values = plane.ravel()
        counted = np.bincount(values, minlength=256)
        counts += counted
        ends += counted * (z in (0, len(labels) - 1))
        for kind, volume in prediction.uncertainties.items():
            sums[kind] += np.bincount(values, volume[z].ravel(), 256)
    expected = prediction.overlap.dice(middle)
    return {value: StructureScores(
        volume_ml=counts[value] * voxel_ml,
        cut_off=bool(ends[value]),
        uncertainty={kind: own[value] / counts[value] for kind, own in sums.items()},
        expected_dice=expected.get(value, 0.0),
    ) for value in map(int, np.flatnonzero(counts)) if value}


def over_surface(scores: StructureScores, area_mm2: float) -> dict[str, float]:
    """How thick a layer of full uncertainty would be at the surface of a structure, mm, by kind.

    Args:
        scores: of the structure.
        area_mm2: of its surface, see :func:`surface_areas`.
    """
    thickness = 1000 * scores.volume_ml / area_mm2 if area_mm2 else 0.0
    return {kind: mean * thickness for kind, mean in scores.uncertainty.items()}


def surface_areas(labels: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Surface of every label in mm2, (256,): the faces between its voxels and others.

    Faces of voxels make an oblique surface up to 1.7 times as large as it is, whatever the size of
    the voxels. The ends of the scan are no surface.

    Args:
        labels: uint8 (z, y, x).
        spacing: mm, (z, y, x).
    """
    z_mm, y_mm, x_mm = spacing
    areas = np.zeros(256)
    for z, plane in enumerate(labels):
        pairs = [(plane[1:], plane[:-1], z_mm * x_mm), (plane[:, 1:], plane[:, :-1], z_mm * y_mm)]
        if z:
            pairs.append((plane, labels[z - 1], y_mm * x_mm))
        for one, other, face in pairs:
            border = one != other
            for side in (one, other):
                areas += face * np.bincount(side[border], minlength=256)
    return areas
