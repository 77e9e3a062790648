# SPDX-License-Identifier: Apache-2.0
"""Expectation without any model: the most similar place nearby, and a robust spread.

What registration leaves is a fraction of a voxel, but beside cortex even that makes a difference
of hundreds of HU. So the prior scan is searched around every voxel for the place whose
neighbourhood agrees best (after the voxel matching of Onoue et al., Eur Radiol 2021; the place is
found to a fraction of a voxel by Lucas and Kanade's method, IJCAI 1981). The residual that is usual
at places with so steep a density is the error to expect.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage

from .blocks import Place, blocks, within

REACH_MM = 4.0  # farthest place looked at: less than a lesion, so that none is explained away
ROUNDS = ((8.0, 150.0),) * 3 + ((5.0, 80.0),) * 3
"""First coarsely, then finely: standard deviation in mm of the neighbourhood that has to agree, and
the difference in HU from which a voxel counts less, because what changed must not decide the
place."""
FLAT_HU_PER_MM = 10.0  # where density is flatter, it does not say where a place went
COARSE_MM = 3.0  # grid on which places are found: neighbourhoods are larger
BLOCK = 96  # voxels along each axis that are matched at a time, which bounds the memory
EVENLY = np.linspace(0, 1, 25)
AT_THE_END = np.array([0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1])
"""Shares of the bone between which places count as alike."""
NEARBY = 0.35
"""Share of a voxel within which a place counts as found where it belongs. A lesion draws it so far,
too: where all bone lies in place, what is found farthest away would be the lesions, and they would
excuse themselves."""
AROUND_MM = 40.0  # how far the spread of a place is averaged
LARGEST_RESIDUAL = 2.5  # in errors; a lesion counts no more in the spread around it
LEAST_ERROR_HU = 6.0


def match(current: np.ndarray, prior: np.ndarray, bone: np.ndarray,
          spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The prior scan where it agrees best with the current one, within 4 mm.

    Args:
        current, prior: HU, float32, (z, y, x), aligned and made alike.
        bone: where to search; far from it the prior scan comes back as it is.
        spacing: mm, (z, y, x).

    Returns:
        The prior scan so searched, HU, and how far each place was found, mm; both (z, y, x).
    """
    matched, distance = prior.copy(), np.zeros_like(prior)
    near = ndimage.binary_dilation(bone, iterations=2)
    widest = max(sigma for sigma, _ in ROUNDS)
    margin = [int(np.ceil(2.5 * widest / step)) + 2 for step in spacing]

    def match_block(block: tuple[Place, Place]) -> None:
        inner, outer = block
        place = within(inner, outer)
        for values, found in zip((matched, distance), _match_block(
                current[outer], prior[outer], near[outer], spacing), strict=True):
            values[inner] = found[place]

    wanted = [block for block in blocks(bone.shape, BLOCK, margin) if bone[block[0]].any()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the filters run beside each other
        list(pool.map(match_block, wanted))
    return matched, distance


def _match_block(current, prior, near, spacing) -> tuple[np.ndarray, np.ndarray]:
    coefficients = ndimage.spline_filter(prior, 3, output=np.float32)
    start = np.stack(np.nonzero(near)).astype(np.float32)
    factors = [max(1, int(COARSE_MM / step + 0.1)) for step in spacing]
    on_coarse = np.stack([(axis + 0.5) / factor - 0.5
                          for axis, factor in zip(start, factors, strict=True)])
    where = np.nonzero(_pooled(near, factors))
    motion = np.zeros((3, *_pooled(near, factors).shape), np.float32)  # mm
    moved = prior.copy()

    def average(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(_pooled(values, factors), sigma, truncate=2.5)[where]

    for width, outlier in ROUNDS:
        sigma = [width / step / factor for step, factor in zip(spacing, factors, strict=True)]
        slope = [ndimage.gaussian_filter1d(moved, 0.6, axis, order=1) / spacing[axis]
                 for axis in range(3)]
        residual = current - moved
        weight = near / (1 + (residual / outlier) ** 2)
        motion[:, *where] += np.clip(_step(slope, residual, weight, average), -1.5, 1.5)
        motion *= np.minimum(1, REACH_MM / np.maximum(np.linalg.norm(motion, axis=0), 1e-6))
        shifts = [ndimage.map_coordinates(part, on_coarse, order=1, mode="nearest")
                  for part in motion]
        places = [axis + shift / step
                  for axis, shift, step in zip(start, shifts, spacing, strict=True)]
        moved[near] = ndimage.map_coordinates(coefficients, places, order=3, prefilter=False,
                                              mode="nearest")
    distance = np.zeros_like(prior)
    distance[near] = np.linalg.norm(shifts, axis=0)
    return moved, distance


def _step(slope, residual, weight, average) -> np.ndarray:
    """The shifts in mm, (3, n), that explain the residual best around each of n places."""
    flat = FLAT_HU_PER_MM**2 * average(weight) + 1e-3
    normal = np.empty((len(flat), 3, 3), np.float32)
    force = np.empty((len(flat), 3, 1), np.float32)
    for i in range(3):
        weighted = weight * slope[i]
        force[:, i, 0] = average(weighted * residual)
        for j in range(i, 3):
            normal[:, i, j] = normal[:, j, i] = average(weighted * slope[j])
        normal[:, i, i] += flat
    return np.linalg.solve(normal, force)[..., 0].T


def _pooled(values: np.ndarray, factors) -> np.ndarray:
    """Means of boxes of voxels, float32; the last box of an axis is filled up with zeros."""
    missing = [(0, -size % factor) for size, factor in zip(values.shape, factors, strict=True)]
    values = np.pad(values, missing).astype(np.float32, copy=False)
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = (*values.shape[:axis], -1, factor, *values.shape[axis + 1:])
            values = values.reshape(shape).mean(axis + 1)
    return values


def spread(residual: np.ndarray, expected: np.ndarray, distance: np.ndarray, bone: np.ndarray,
           spacing: tuple[float, float, float]) -> np.ndarray:
    """Standard deviation to expect of a residual, from how large it is at places like each.

    Alike are places where density is as steep, and which were found as far away: what registration
    left out of place is matched badly.

    Args:
        residual: current minus expected density, HU, (z, y, x).
        expected: HU.
        distance: how far each place was found, mm.
        bone: where the residual counts; 0 comes back elsewhere.
        spacing: mm, (z, y, x).
    """
    steep = np.sqrt(sum(
        ndimage.gaussian_filter1d(ndimage.gaussian_filter(expected, 0.5), 0.7, axis, order=1)[bone]
        ** 2 for axis in range(3)))
    values = np.abs(residual[bone])
    usual = np.maximum(_growing(steep, values, EVENLY), LEAST_ERROR_HU)
    far = np.maximum(distance[bone], NEARBY * np.mean(spacing))
    usual *= np.maximum(_growing(far, values / usual, AT_THE_END), 1)
    # some places are aligned worse, or noisier, than others
    error = np.zeros_like(residual)
    local = np.zeros_like(residual)
    local[bone] = np.minimum(values / usual, LARGEST_RESIDUAL)
    size = [max(3, int(round(AROUND_MM / step)) | 1) for step in spacing]
    weight = ndimage.uniform_filter(bone.astype(np.float32), size)[bone]
    factor = ndimage.uniform_filter(local, size)[bone] / np.maximum(weight, 1e-6)
    error[bone] = usual * np.clip(factor / NORMAL_MEAN, 0.7, 3.0)
    return error


def _growing(by: np.ndarray, values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Standard deviation of ``values`` as it grows with ``by``, from medians between quantiles."""
    edges = np.quantile(by, shares)
    bins = np.clip(np.searchsorted(edges, by) - 1, 0, len(shares) - 2)
    middles, spreads = [], []
    for number in range(len(shares) - 1):
        part = bins == number
        if part.sum() > 30:
            middles.append(np.median(by[part]))
            spreads.append(1.4826 * np.median(values[part]))
    if not middles:
        return np.full(by.shape, 1.4826 * np.median(values))
    return np.interp(by, middles, np.maximum.accumulate(spreads))


def _mean_of_normal(limit: float) -> float:
    """Mean of min(\\|x\\|, limit) of a normal distribution."""
    from scipy.stats import norm

    return float(2 * (norm.pdf(0) - norm.pdf(limit)) + 2 * limit * norm.sf(limit))


NORMAL_MEAN = _mean_of_normal(LARGEST_RESIDUAL)
