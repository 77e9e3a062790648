# SPDX-License-Identifier: Apache-2.0
"""Which sets of landmarks a body can have, and what the others say of one.

The landmarks that were found are laid onto the mean shape by a robust affine transform (Tukey's
weights; only shifted and scaled alike where few were found), so that pose and size do not count.
What is left is Gaussian: some directions in which bodies of the training set vary (probabilistic
PCA, Tipping & Bishop 1999) and an error of each landmark's own. The others then predict each
landmark with an error that is known, and one that lies far outside is impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .alignment import Affine, fitted, roughly_fitted
from .sampling import known

MODES = 10  # directions in which shapes vary, at most
PER_MODE = 6  # cases that each of them needs
ROUNDS = 16  # of reweighting
CUT = 4.685  # of Tukey's weights: 95 % efficient where errors are Gaussian
LEAST_ERROR = 0.01  # of the shape's size: no landmark is known better than that
START_SHARE = 0.12  # of the shape's size: how far off a landmark may lie before the fit
NARROWED = 0.75  # of that, from round to round
LEARNING_ROUNDS = 4
PRIOR_CASES = 5  # so many cases the usual error counts as, beside a landmark's own


@dataclass(frozen=True)
class ShapeModel:
    """Mean shape (n, 3) in mm, factors (n, 3, modes) and the own error (n,) of each landmark."""

    mean: np.ndarray
    factors: np.ndarray
    error: np.ndarray

    @property
    def size(self) -> float:
        """Root mean square distance from the middle, mm."""
        return size_of(self.mean)

    def predict(self, points: np.ndarray, weights: np.ndarray | None = None,
                rough_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Where each landmark should be, judged by the others.

        Args:
            points: (n, 3) LPS mm, NaN where none was found.
            weights: (n,) trust in each, 0 to 1.
            rough_mm: standard deviation of the points' own error along an axis, where they are
                rough and shapes differ by less.

        Returns:
            Places (n, 3) in LPS mm and their standard deviation (n,) along an axis. Without any
            landmark both are NaN.
        """
        trust = np.where(known(points), 1.0 if weights is None else weights, 0.0)
        if not trust.any():
            return np.full_like(self.mean, np.nan), np.full(len(self.mean), np.nan)
        laid, trust = self._laid(points, trust, rough_mm)
        places, spread = self._conditional(laid(points), trust)
        return laid.back(places), spread / laid.scale

    def turn(self, points: np.ndarray, weights: np.ndarray, rough_mm: float = 0.0) -> np.ndarray:
        """How a body lies: the rotation (3, 3) from shifts along the shape's axes to LPS mm.

        Args as for :meth:`predict`; without any landmark the body is not turned.
        """
        trust = np.where(known(points), weights, 0.0)
        return self._laid(points, trust, rough_mm)[0].turn if trust.any() else np.eye(3)

    def _laid(self, points: np.ndarray, trust: np.ndarray,
              rough_mm: float) -> tuple[Affine, np.ndarray]:
        """What lays the points onto the mean shape, and what trust is left in each of them."""
        there = trust > 0
        start = max(START_SHARE * self.size, 1e-6)
        laid = roughly_fitted(points, self.mean, there, start)
        varied = np.zeros_like(self.mean)
        weights = trust
        for turn in range(ROUNDS):
            apart = np.linalg.norm(np.where(there[:, None], laid(points) - self.mean - varied, 0.0),
                                   axis=1)
            limit = CUT * np.maximum(start * NARROWED**turn, np.hypot(self.error, rough_mm))
            weights = trust * np.square(np.clip(1 - np.square(apart / limit), 0, None))
            if (weights > 0.05).sum() < 1:
                weights = trust * np.exp(-apart / start)
            laid = fitted(points, self.mean + varied, weights)
            varied = self.factors @ self._amounts(laid(points) - self.mean, weights)
        return laid, weights

    def _amounts(self, rest: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(modes,) how much of each direction explains what is left, with its prior."""
        used = weights > 0
        pull = self.factors[used] * (weights[used] / np.square(self.error[used]))[:, None, None]
        inner = np.einsum("iam,ian->mn", pull, self.factors[used])
        return np.linalg.solve(inner + np.eye(len(inner)),
                               np.einsum("iam,ia->m", pull, rest[used]))

    def _conditional(self, points: np.ndarray, trust: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prediction of each landmark from the others: Gaussian, by leaving one out."""
        modes = self.factors.shape[2]
        rest = np.where(known(points)[:, None], points - self.mean, 0.0)
        precision = trust / np.square(self.error)
        gram = np.einsum("iam,ian->imn", self.factors, self.factors) * precision[:, None, None]
        pull = np.einsum("iam,ia->im", self.factors, rest) * precision[:, None]
        covariance = np.linalg.inv(np.eye(modes) + gram.sum(0) - gram)  # without each itself
        amounts = np.einsum("imn,in->im", covariance, pull.sum(0) - pull)
        places = self.mean + np.einsum("iam,im->ia", self.factors, amounts)
        shared = np.einsum("iam,imn,ian->i", self.factors, covariance, self.factors) / 3
        return places, np.sqrt(shared + np.square(self.error))

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return {name: np.round(getattr(self, name), 3).tolist()
                for name in ("mean", "factors", "error")}

    @classmethod
    def read(cls, written: dict[str, Any]) -> ShapeModel:
        """From what :meth:`written` gave.

        Raises:
            ValueError, KeyError: it is none.
        """
        mean, error = np.array(written["mean"], float), np.array(written["error"], float)
        factors = np.array(written["factors"], float).reshape(len(mean), 3, -1)
        finite = all(np.isfinite(values).all() for values in (mean, factors, error))
        if mean.shape != (len(error), 3) or not finite or (error <= 0).any():
            raise ValueError("no shape model")
        return cls(mean, factors, error)


def size_of(points: np.ndarray) -> float:
    """Root mean square distance of points (n, 3) from their middle."""
    return float(np.sqrt(np.square(points - points.mean(0)).sum(1).mean()))


def learn_shape(cases: Sequence[np.ndarray]) -> ShapeModel:
    """The shape model of a training set.

    Directions, what each case has of them, and how it is laid on are found in turn, so that what is
    not known of a case is filled in by what is.

    Args:
        cases: points (n, 3) LPS mm of each case, NaN where a landmark is not known.
    """
    points = np.stack(cases)
    there = known(points)
    mean = _mean_shape(points, there)
    least = max(LEAST_ERROR * size_of(mean), 1e-6)
    modes = min(MODES, len(points) // PER_MODE)
    shape = ShapeModel(mean, np.zeros((len(mean), 3, 0)), np.full(len(mean), least))
    for _ in range(LEARNING_ROUNDS):
        rest, off = np.zeros_like(points), np.zeros_like(points)
        for number, (own, has) in enumerate(zip(points, there, strict=True)):
            weights = has.astype(float)
            laid = fitted(own, shape.mean, weights)
            varied = shape.factors @ shape._amounts(laid(own) - shape.mean, weights)
            laid = fitted(own, shape.mean + varied, weights)
            moved = np.where(has[:, None], laid(own) - shape.mean, varied)
            rest[number] = moved
            off[number] = np.where(has[:, None], moved - varied, 0.0)
        shape = ShapeModel(mean, _factors(rest, modes), _errors(off, there, least))
    return shape


def _errors(off: np.ndarray, there: np.ndarray, least: float) -> np.ndarray:
    """(n,) standard deviation of each landmark along an axis, with what few cases cannot tell."""
    counts = there.sum(0)
    variance = np.square(off).sum((0, 2)) / np.maximum(counts, 1) / 3
    usual = np.median(variance[counts > 0])
    shared = (counts * variance + PRIOR_CASES * usual) / (counts + PRIOR_CASES)
    # what was fitted to a case cannot be told from its error
    fresh = len(off) / max(len(off) - 1, 1)
    return np.sqrt(np.maximum(shared * fresh, least**2))


def _factors(rest: np.ndarray, modes: int) -> np.ndarray:
    """Directions of variation times their standard deviation beyond the noise."""
    count, landmarks = rest.shape[:2]
    if not modes:
        return np.zeros((landmarks, 3, 0))
    _, values, rows = np.linalg.svd(rest.reshape(count, -1), full_matrices=False)
    variances = np.square(values) / max(count - 1, 1)
    noise = variances[modes:].sum() / max(landmarks * 3 - modes, 1)
    amounts = np.sqrt(np.maximum(variances[:modes] - noise, 0.0))
    return (rows[:modes] * amounts[:, None]).T.reshape(landmarks, 3, modes)


def _mean_shape(points: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean of the cases, each laid onto the mean so far; begins with the fullest one."""
    mean = points[there.sum(1).argmax()].copy()
    for _ in range(4):
        laid = np.stack([np.where(has[:, None], fitted(
            own, mean, (has & known(mean)).astype(float))(own), np.nan)
            for own, has in zip(points, there, strict=True)])
        some = known(laid).any(0)
        mean = np.full_like(mean, np.nan)
        mean[some] = np.nanmean(laid[:, some], axis=0)
    middle = np.nanmean(mean, axis=0)
    return np.where(known(mean)[:, None], mean, middle)
