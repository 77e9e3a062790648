# SPDX-License-Identifier: Apache-2.0
"""How well a segmentation agrees with a reference, and how sure a mean of such scores is.

Surfaces are those of MONAI's metrics: the voxels of a structure that have a neighbour outside, with
what is beyond the image outside. Distances run between voxel centres in mm. Definitions follow
Maier-Hein et al., "Metrics reloaded", Nature Methods 2024.

What happens when a structure is missing is the same everywhere:

- in both the prediction and the reference: every score is NaN, and means leave it out;
- in one of the two: Dice and NSD are 0, the distances are infinite.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats
from scipy.spatial import KDTree

from .estimates import Estimate


@dataclass(frozen=True)
class Score:
    """Agreement of one structure with its reference.

    Attributes:
        dice: twice the overlap over the sum of the two volumes, 0 to 1.
        asd_mm: average symmetric surface distance, the mean over the voxels of both surfaces.
        nsd: normalised surface Dice, the share of both surfaces that lies within the tolerance of
            the other, 0 to 1.
        hd95_mm: the larger of the 95th percentiles of the distances in the two directions.
    """

    dice: float
    asd_mm: float
    nsd: float
    hd95_mm: float


ABSENT = Score(np.nan, np.nan, np.nan, np.nan)
MISSED = Score(0.0, np.inf, 0.0, np.inf)


def score_labels(
    predicted: np.ndarray,
    reference: np.ndarray,
    values: Iterable[int],
    spacing: Sequence[float],
    tolerance_mm: float = 2.0,
) -> dict[int, Score]:
    """Score every label of a label map.

    Args:
        predicted, reference: integer label maps of one shape, 2D or 3D.
        values: labels to score, each above 0.
        spacing: voxel size in mm, in array order (z, y, x).
        tolerance_mm: distance up to which surfaces count as the same, for the NSD.

    Returns:
        Label to score, in the order of ``values``.

    Raises:
        ValueError: shapes or spacing do not fit.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"label maps of shapes {predicted.shape} and {reference.shape} differ")
    if len(spacing) != predicted.ndim:
        raise ValueError(f"spacing {tuple(spacing)} does not fit shape {predicted.shape}")
    boxes = [ndimage.find_objects(labels) for labels in (predicted, reference)]
    scores = {}
    for value in values:
        box = _common_box([found[value - 1] for found in boxes if value <= len(found)])
        if box is None:
            scores[value] = ABSENT
        else:
            scores[value] = score_mask(predicted[box] == value, reference[box] == value, spacing,
                                       tolerance_mm)
    return scores


def score_mask(
    predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float],
    tolerance_mm: float = 2.0,
) -> Score:
    """Score one structure given as two boolean masks; see :func:`score_labels`."""
    volumes = np.count_nonzero(predicted), np.count_nonzero(reference)
    if not all(volumes):
        return MISSED if any(volumes) else ABSENT
    overlap = np.count_nonzero(predicted & reference)
    directions = surface_distances(predicted, reference, spacing)
    distances = np.concatenate(directions)
    return Score(
        dice=2 * overlap / sum(volumes),
        asd_mm=float(distances.mean()),
        # a distance of exactly the tolerance counts, though it was rounded
        nsd=float((distances <= tolerance_mm * (1 + 1e-6)).mean()),
        hd95_mm=max(float(np.percentile(each, 95)) for each in directions),
    )


def surface_distances(
    predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm of every surface voxel of either mask to the nearest one of the other.

    The surfaces are looked up in trees. A distance transform would give the same numbers for every
    voxel around the structure, of which there are a hundred for each on its surface.

    Args:
        predicted, reference: boolean masks of one shape, neither empty.
        spacing: voxel size in mm, in array order.

    Returns:
        Of the predicted surface and of the reference's, in no particular order.
    """
    surfaces = surface(predicted), surface(reference)
    shared = surfaces[0] & surfaces[1]
    common = np.zeros(np.count_nonzero(shared))  # these lie on the other surface
    # trees whose boxes shrink onto the points take longer to build and far less to ask
    trees = [KDTree(_places(each, spacing), leafsize=32, balanced_tree=False) for each in surfaces]
    return tuple(
        np.concatenate([common, tree.query(_places(each & ~shared, spacing))[0]])
        for tree, each in zip(reversed(trees), surfaces, strict=True))


def _places(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Where the voxels of a mask are, (n, axes) in mm."""
    index = np.unravel_index(np.flatnonzero(mask), mask.shape)  # far quicker than argwhere
    return np.stack([i * float(step) for i, step in zip(index, spacing, strict=True)], 1)


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a boolean mask with a neighbour (across a face) outside of it."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        before, after = [(slice(None),) * axis + (side,) for side in
                         (slice(None, -1), slice(1, None))]
        inside[after] &= mask[before]
        inside[before] &= mask[after]
        for end in (0, -1):  # beyond the image is outside
            inside[(slice(None),) * axis + (end,)] = False
    return mask & ~inside


def _common_box(boxes: Sequence[tuple[slice, ...] | None]) -> tuple[slice, ...] | None:
    """The box around all boxes; what is outside has neither mask and changes no score."""
    present = [box for box in boxes if box is not None]
    if not present:
        return None
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*present, strict=True)
    )


def bootstrap_interval(
    values: Iterable[float],
    statistic: Callable[..., float] = np.mean,
    resamples: int = 5000,
    seed: int = 0,
) -> Estimate:
    """A statistic with its 95 % interval by the bias-corrected and accelerated bootstrap.

    Args:
        values: one per independent unit, which for scores is the patient: average the structures
            of a patient first. NaN is left out.
        statistic: takes values and ``axis``, such as ``numpy.mean`` or ``numpy.median``.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        The estimate; its limits are NaN with fewer than two values, and where an infinite value
        leaves none.
    """
    known = np.array([value for value in values if not np.isnan(value)], dtype=float)
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan, 0)
    value = float(statistic(known, axis=0))
    if len(known) < 2 or not np.isfinite(known).all():
        return Estimate(value, np.nan, np.nan, len(known))
    if np.ptp(known) == 0:  # nothing to resample
        return Estimate(value, value, value, len(known))
    interval = stats.bootstrap(
        (known,), statistic, n_resamples=resamples, method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), len(known))


def paired_interval(
    first: Iterable[float],
    second: Iterable[float],
    statistic: Callable[..., float],
    resamples: int = 5000,
    seed: int = 0,
) -> Estimate:
    """A statistic of two methods on the same units with its 95 % interval (BCa, paired).

    Args:
        first, second: one finite value of each method per independent unit, in the same order.
        statistic: takes both and ``axis``, such as a ratio of means.
        resamples: bootstrap samples, of units.
        seed: of the resampling.

    Returns:
        The estimate; its limits are NaN with fewer than two units.
    """
    pair = tuple(np.array(list(values), dtype=float) for values in (first, second))
    value, count = float(statistic(*pair, axis=-1)), len(pair[0])
    if count < 2:
        return Estimate(value, np.nan, np.nan, count)

    def interval(method: str):
        return stats.bootstrap(
            pair, statistic, n_resamples=resamples, method=method, paired=True,
            random_state=np.random.default_rng(seed),
        ).confidence_interval

    with warnings.catch_warnings():  # SciPy says that it found no interval, which is looked at
        warnings.simplefilter("ignore")
        found = interval("BCa")
    if np.isnan(found.low):  # it is the same whatever is drawn, or nearly so
        found = interval("percentile")
    return Estimate(value, float(found.low), float(found.high), count)
