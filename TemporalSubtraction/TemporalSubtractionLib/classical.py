# SPDX-License-Identifier: Apache-2.0
"""Expectation without any model: the most similar place nearby, and a robust spread.

What registration leaves is a fraction of a voxel, but beside cortex even that makes a difference
of hundreds of HU. So the prior scan is searched around every voxel for the place whose
neighbourhood agrees best (after the voxel matching of Onoue et al., Eur Radiol 2021; the place is
found to a fraction of a voxel by Lucas and Kanade's method, IJCAI 1981). The residual that is usual
at places with so steep a density is the error to expect.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

MATCH_MM = 5.0  # standard deviation of the neighbourhood that has to agree
REACH_MM = 2.0  # farthest place looked at: less than a lesion, so that none is explained away
ROUNDS = 3
FLAT_HU_PER_MM = 10.0  # where density is flatter, it does not say where a place went
OUTLIER_HU = 80.0  # a larger difference counts less: what changed must not decide the place
BLOCK = 96  # voxels along each axis that are matched at a time, which bounds the memory
STEEPNESS_BINS = 24
AROUND_MM = 40.0  # how far the spread of a place is averaged
LARGEST_RESIDUAL = 2.5  # in errors; a lesion counts no more in the spread around it
LEAST_ERROR_HU = 6.0


def expect(current: np.ndarray, prior: np.ndarray, bone: np.ndarray,
           spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """What the current scan should show where nothing changed, and how far off that may be.

    Args:
        current, prior: HU, float32, (z, y, x), aligned and made alike.
        bone: where to compare; elsewhere the values that come back have no meaning.
        spacing: mm, (z, y, x).

    Returns:
        Expected density and its standard deviation, HU, float32.
    """
    expected = _matched(current, prior, bone, spacing)
    return expected, _spread(current - expected, expected, bone, spacing)


def _matched(current, prior, bone, spacing) -> np.ndarray:
    expected = prior.copy()
    near = ndimage.binary_dilation(bone, iterations=2)
    sigma = [MATCH_MM / step for step in spacing]
    for inner, outer in _blocks(bone.shape, [int(np.ceil(2.5 * each)) + 2 for each in sigma]):
        if bone[inner].any():
            block = _match_block(current[outer], prior[outer], near[outer], spacing, sigma)
            expected[inner] = block[tuple(slice(i.start - o.start, i.stop - o.start)
                                          for i, o in zip(inner, outer, strict=True))]
    return expected


def _blocks(shape, margin) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Blocks that tile a volume, and each with a margin around it."""
    for place in np.ndindex(*[-(-size // BLOCK) for size in shape]):
        inner = tuple(slice(i * BLOCK, min((i + 1) * BLOCK, size))
                      for i, size in zip(place, shape, strict=True))
        yield inner, tuple(slice(max(side.start - m, 0), min(side.stop + m, size))
                           for side, m, size in zip(inner, margin, shape, strict=True))


def _match_block(current, prior, near, spacing, sigma) -> np.ndarray:
    coefficients = ndimage.spline_filter(prior, 3, output=np.float32)
    where = np.nonzero(near)
    start = np.stack(where).astype(np.float32)
    moved = prior.copy()
    motion = np.zeros_like(start)  # mm

    def average(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, sigma, truncate=2.5)[where]

    for _ in range(ROUNDS):
        slope = [ndimage.gaussian_filter1d(moved, 0.6, axis, order=1) / spacing[axis]
                 for axis in range(3)]
        residual = current - moved
        weight = near / (1 + (residual / OUTLIER_HU) ** 2)
        normal = np.empty((start.shape[1], 3, 3), np.float32)
        force = np.empty((start.shape[1], 3, 1), np.float32)
        flat = FLAT_HU_PER_MM**2 * average(weight) + 1e-3
        for i in range(3):
            force[:, i, 0] = average(weight * slope[i] * residual)
            for j in range(i, 3):
                normal[:, i, j] = normal[:, j, i] = average(weight * slope[i] * slope[j])
            normal[:, i, i] += flat
        motion += np.clip(np.linalg.solve(normal, force)[..., 0].T, -1, 1)
        motion *= np.minimum(1, REACH_MM / np.maximum(np.linalg.norm(motion, axis=0), 1e-6))
        places = start + motion / np.array(spacing, np.float32)[:, None]
        moved[where] = ndimage.map_coordinates(coefficients, places, order=3, prefilter=False,
                                               mode="nearest")
    return moved


def _spread(residual, expected, bone, spacing) -> np.ndarray:
    steep = np.sqrt(sum(
        ndimage.gaussian_filter1d(ndimage.gaussian_filter(expected, 0.5), 0.7, axis, order=1)[bone]
        ** 2 for axis in range(3)))
    values = residual[bone]
    edges = np.quantile(steep, np.linspace(0, 1, STEEPNESS_BINS + 1))
    bins = np.clip(np.searchsorted(edges, steep) - 1, 0, STEEPNESS_BINS - 1)
    middles, spreads = [], []
    for number in range(STEEPNESS_BINS):
        part = bins == number
        if part.sum() > 30:
            middles.append(np.median(steep[part]))
            spreads.append(1.4826 * np.median(np.abs(values[part])))
    spreads = np.maximum.accumulate(np.maximum(spreads, LEAST_ERROR_HU))
    usual = np.interp(steep, middles, spreads)
    # some places are aligned worse, or noisier, than others
    error = np.zeros_like(residual)
    local = np.zeros_like(residual)
    local[bone] = np.minimum(np.abs(values) / usual, LARGEST_RESIDUAL)
    size = [max(3, int(round(AROUND_MM / step)) | 1) for step in spacing]
    weight = ndimage.uniform_filter(bone.astype(np.float32), size)[bone]
    factor = ndimage.uniform_filter(local, size)[bone] / np.maximum(weight, 1e-6)
    error[bone] = usual * np.clip(factor / NORMAL_MEAN, 0.7, 3.0)
    return error


def _mean_of_normal(limit: float) -> float:
    """Mean of min(\\|x\\|, limit) of a normal distribution."""
    from scipy.stats import norm

    return float(2 * (norm.pdf(0) - norm.pdf(limit)) + 2 * limit * norm.sf(limit))


NORMAL_MEAN = _mean_of_normal(LARGEST_RESIDUAL)
