# SPDX-License-Identifier: Apache-2.0
"""Points laid onto other points: affine, or less where there are few; also where many are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from .sampling import known

FOR_SCALE, FOR_AFFINE = 3, 8  # points that are needed to tell so much
FLAT = 1e-3  # of the variance along the longest direction: points lie in a plane or on a line
TRIPLES = 60  # samples of the rough fit
TRIES = 600  # samples of candidates
AGREEING = 0.1  # of the size of a shape: so near points agree


@dataclass(frozen=True)
class Affine:
    """``points @ matrix + shift``."""

    matrix: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix + self.shift

    def back(self, points: np.ndarray) -> np.ndarray:
        """The inverse."""
        return (points - self.shift) @ np.linalg.inv(self.matrix)

    @property
    def scale(self) -> float:
        """How much longer lengths become, in the mean over directions."""
        return float(np.abs(np.linalg.det(self.matrix)) ** (1 / 3))

    @property
    def turn(self) -> np.ndarray:
        """The rotation (3, 3) that is in it, from shifts in the target to those in the source.

        The nearest one (polar decomposition, Higham 1986), of columns.
        """
        left, _, right = np.linalg.svd(self.matrix)
        return left * np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right


def fitted(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Affine:
    """What lays ``source`` onto ``target`` best, by weighted least squares.

    Affine with enough points that spread in all directions, else a shift with a common scale, or
    a shift alone.

    Args:
        source, target: (n, 3), NaN where not known.
        weights: (n,), not negative.
    """
    used = (weights > 1e-3) & known(target) & known(source)
    if not used.any():
        return Affine(np.eye(3), np.zeros(3))
    share = weights[used] / weights[used].sum()
    before, after = source[used], target[used]
    middle, aim = share @ before, share @ after
    inner, outer = before - middle, after - aim
    spread = (share[:, None] * inner).T @ inner
    count = int(used.sum())
    values = np.linalg.eigvalsh(spread)
    matrix = np.eye(3)
    if count >= FOR_AFFINE and values[0] >= FLAT * values[-1]:
        matrix = np.linalg.solve(spread, (share[:, None] * inner).T @ outer)
    elif count >= FOR_SCALE and values[-1] > 1e-9:
        matrix = np.eye(3) * np.sqrt((share @ np.square(outer)).sum() / np.trace(spread))
    if abs(np.linalg.det(matrix)) < 1e-9:  # all of them meet in one plane
        matrix = np.eye(3)
    return Affine(matrix, aim - middle @ matrix)


def roughly_fitted(source: np.ndarray, target: np.ndarray, there: np.ndarray,
                   spread: float) -> Affine:
    """What lays ``source`` onto ``target`` roughly, though many of the points may be wrong.

    The best of a shift with a scale by medians, as bodies mostly lie, and of what triples of the
    points say, which may be turned (consensus of random samples, Fischler & Bolles 1981).

    Args:
        source, target: (n, 3).
        there: (n,) which are known.
        spread: mm, how far points that agree lie apart.
    """
    best = _by_medians(source[there], target[there])
    numbers = np.flatnonzero(there)
    if len(numbers) < FOR_AFFINE:
        return best

    def agreement(laid: Affine) -> float:
        apart = np.linalg.norm(laid(source[numbers]) - target[numbers], axis=1)
        return float(np.exp(-np.square(apart / spread) / 2).sum())

    most = agreement(best)
    random = np.random.default_rng(0)
    for _ in range(TRIPLES):
        three = random.choice(numbers, 3, replace=False)
        laid = similar(source[three], target[three])
        found = agreement(laid)
        # a turned body must be clearly better, because bodies mostly are not
        if found > most * 1.1 + 1:
            best, most = laid, found
    return best


def agreeing(places: np.ndarray, chances: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Which of its candidates each point is, so that most agree on how the body lies.

    Where bodies may lie in any way, left and right look alike, and the best candidates are a
    mixture of both, which no turn lays onto the target. So triples of candidates are drawn, each as
    likely as it looks, and the turn is taken that brings some candidate of most points near the
    target (consensus of random samples, over all candidates).

    Args:
        places: (n, candidates, 3).
        chances: (n, candidates), logarithms.
        target: (n, 3).

    Returns:
        (n,) numbers of candidates.
    """
    best = chances.argmax(1)
    if len(target) < FOR_SCALE:
        return best
    share = softmax(chances / 2, 1)  # the root: what looks a little less like it is tried, too
    spread = np.sqrt(np.square(target - target.mean(0)).sum(1).mean()) * AGREEING
    random, most = np.random.default_rng(0), 0.0
    for _ in range(TRIES):
        three = random.choice(len(target), FOR_SCALE, replace=False)
        drawn = [random.choice(share.shape[1], p=share[number]) for number in three]
        laid = similar(places[three, drawn], target[three])
        apart = np.linalg.norm(laid(places) - target[:, None], axis=2) / spread
        near = np.exp(-np.square(apart) / 2) * np.sqrt(share / share.max(1, keepdims=True))
        if (found := float(near.max(1).sum())) > most:
            best, most = near.argmax(1), found
    return best


def similar(source: np.ndarray, target: np.ndarray) -> Affine:
    """The turn, scale and shift between points (Umeyama 1991)."""
    inner, outer = source - source.mean(0), target - target.mean(0)
    left, values, right = np.linalg.svd(inner.T @ outer)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    scale = max((values * sign).sum() / max(np.square(inner).sum(), 1e-9), 1e-6)
    matrix = (left * sign @ right) * scale
    return Affine(matrix, target.mean(0) - source.mean(0) @ matrix)


def _by_medians(source: np.ndarray, target: np.ndarray) -> Affine:
    """A shift, and a scale alike along all axes, by medians, which half of the points may spoil."""
    scale = 1.0
    if len(source) >= FOR_SCALE:
        first, second = np.triu_indices(len(source), 1)
        own, aim = (np.linalg.norm(some[first] - some[second], axis=1) for some in (source, target))
        ratios = aim[own > 1e-6] / own[own > 1e-6]
        scale = float(np.median(ratios)) if len(ratios) else 1.0
        scale = scale if scale > 1e-6 else 1.0
    return Affine(np.eye(3) * scale, np.median(target - source * scale, axis=0))
