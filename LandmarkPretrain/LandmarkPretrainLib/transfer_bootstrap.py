# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves when patients are drawn again: intervals for other patients like these.

Patches of a patient are alike, so patients are drawn, with all their patches, the same ones for
all that is compared. An area is a mean over pairs of a lesion and a normal sample; counted once for
each pair of patients, a thousand resamplings cost as much as one product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ReadingRoomLib.estimates import Estimate

RESAMPLINGS = 2000
TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Wins:
    """Which lesion samples score higher than which normal samples, by patient.

    Attributes:
        wins: (..., patients, patients): pairs of a lesion sample of the first patient that scores
            higher than a normal sample of the second, equal ones by half.
        lesions, normals: samples of each patient, (patients,).
    """

    wins: np.ndarray
    lesions: np.ndarray
    normals: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        return self.wins.sum((-2, -1)) / (self.lesions.sum() * self.normals.sum())

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """Areas (..., resamplings) where patients count ``weights`` (resamplings, patients) times.

        NaN where a resampling has no lesion, or nothing normal.
        """
        weights = weights.astype(float)
        sums = np.einsum("rp,...pr->...r", weights, self.wins @ weights.T)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / ((weights @ self.lesions) * (weights @ self.normals))


def wins_of(scores: np.ndarray, lesion: np.ndarray, patients: np.ndarray, count: int) -> Wins:
    """Count the wins.

    Args:
        scores: (k, n).
        lesion: (n,) bool.
        patients: number of the patient of each sample, (n,), below ``count``.
        count: of the patients.
    """
    of_lesion = np.eye(count)[patients[lesion]]
    of_normal = np.eye(count)[patients[~lesion]]
    found = []
    for row in np.atleast_2d(scores):
        above, below = row[lesion][:, None], row[~lesion]
        pairs = (above > below) + 0.5 * (above == below)
        found.append(of_lesion.T @ (pairs @ of_normal))
    return Wins(np.stack(found), of_lesion.sum(0), of_normal.sum(0))


def draw_patients(count: int, seed: tuple[int, ...], resamplings: int = RESAMPLINGS) -> np.ndarray:
    """How often each patient is drawn, (resamplings, count)."""
    return np.random.default_rng(list(seed)).multinomial(
        count, np.full(count, 1 / count), resamplings)


def estimate(value: float, resampled: np.ndarray, n: int) -> Estimate:
    """A value with the percentile interval of its resamplings; no interval where half failed."""
    known = resampled[np.isfinite(resampled)]
    if len(known) < max(2, len(resampled) / 2):
        return Estimate(float(value), np.nan, np.nan, n)
    low, high = np.quantile(known, TAILS)
    return Estimate(float(value), float(low), float(high), n)


def two_sided_p(resampled: np.ndarray) -> float:
    """How often a difference changes its sign when patients are drawn again, twice the rarer side.

    NaN where the difference never varies. Source: Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, section 15.4 (a test that belongs to the percentile interval).
    """
    known = resampled[np.isfinite(resampled)]
    if len(known) < 2 or np.ptp(known) == 0:
        return float("nan")
    least = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (least + 1) / (len(known) + 1)))
