# SPDX-License-Identifier: Apache-2.0
"""Left or right: which side of the body a labelled voxel is on.

The networks know no sides; anatomy in the patient's coordinates does. The middle is found slice
by slice, so that a patient who lies askew or has the pelvis rotated is divided along the body.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .structures import FEMUR, LEFT_OFFSET, STRUCTURES

SACRUM = next(s.value for s in STRUCTURES if s.name == "sacrum")
MEDIAL_OF_FEMUR = tuple(
    s.value for s in STRUCTURES if s.name in ("adductors", "gracilis", "vastus_medialis")
)
PAIRED = tuple(s.value for s in STRUCTURES if s.paired)


def midline(labels: np.ndarray) -> np.ndarray:
    """Column of the body's middle in every slice.

    Args:
        labels: (z, y, x) in LPS axes with values of :data:`STRUCTURES`; at least one voxel is
            labelled.

    Returns:
        float array (z,), in voxels along x; columns above it are on the patient's left.
    """
    middle = _overall_middle(labels)
    columns = np.arange(labels.shape[2])
    paired = np.isin(labels, PAIRED)
    counts = paired.sum(1).astype(float)  # (z, x)
    positions = np.full(len(labels), np.nan)
    for z, count in enumerate(counts):
        right, left = count * (columns < middle), count * (columns > middle)
        # both halves must be there, or the middle would be drawn into the one that is
        if min(right.sum(), left.sum()) > 0.4 * max(right.sum(), left.sum()) > 0:
            positions[z] = (np.average(columns, weights=right)
                            + np.average(columns, weights=left)) / 2
    known = np.flatnonzero(~np.isnan(positions))
    if not len(known):
        return np.full(len(labels), middle)
    filled = np.interp(np.arange(len(labels)), known, positions[known])
    return ndimage.gaussian_filter1d(filled, 4.0, mode="nearest")


def _overall_middle(labels: np.ndarray) -> float:
    """Column of the middle of the body: the sacrum, else between the femurs, else from one leg."""
    sacrum = np.argwhere(labels == SACRUM)
    if len(sacrum) > 20:
        return float(sacrum[:, 2].mean())
    parts, count = ndimage.label(labels == FEMUR)
    if count:
        sizes = np.bincount(parts.ravel())[1:]
        centres = [c[2] for c, size in zip(
            ndimage.center_of_mass(parts > 0, parts, range(1, count + 1)), sizes, strict=True
        ) if size > 0.2 * sizes.max()]
        if max(centres) - min(centres) > 0.1 * labels.shape[2]:
            return float((max(centres) + min(centres)) / 2)
        medial = np.argwhere(np.isin(labels, MEDIAL_OF_FEMUR))
        if len(medial):
            # a single leg: these muscles lie between the femur and the middle of the body
            return -1.0 if medial[:, 2].mean() < centres[0] else float(labels.shape[2])
    return float(np.argwhere(labels > 0)[:, 2].mean())


def split_sides(labels: np.ndarray, middle: np.ndarray) -> None:
    """Add the offset of left structures in place.

    Args:
        labels: uint8 (z, y, x) in LPS axes.
        middle: column of the middle per slice, see :func:`midline`.
    """
    columns = np.arange(labels.shape[2])
    paired = np.zeros(256, bool)
    paired[list(PAIRED)] = True
    for plane, centre in zip(labels, middle, strict=True):
        left = paired[plane] & (columns > centre)[None]
        plane[left] += LEFT_OFFSET
