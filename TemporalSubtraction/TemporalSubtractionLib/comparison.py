# SPDX-License-Identifier: Apache-2.0
"""Two scans that were made alike, compared; and what a method makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from . import classical
from .calibration import Calibration
from .candidates import LEAST_STRENGTH, strength_of
from .correlation import local_correlation
from .pair_checks import METAL_HU
from .patch_registration import WINDOW_HU
from .quality import WORST

FIT_MM = 20.0  # neighbourhood in which the scans must agree: larger than most lesions
METAL_MM = 4.0  # around metal, where nothing is compared
LEAST_FIT = 0.5  # correlation there; stable bone has 0.8 once it is matched, a large lesion less


@dataclass(frozen=True)
class Compared:
    """Two scans made alike, as far as they are compared; arrays (z, y, x).

    Attributes:
        current, prior: HU, float32, aligned.
        expected: HU, ``prior`` where it agrees best with ``current``; ``prior`` itself where
            nothing was matched.
        distance: how far from its place ``expected`` was found, mm; 0 where nothing was matched.
        error: usual size of the difference of ``current`` and ``expected``, HU; 0 elsewhere.
        where: bone that is compared.
        spacing: mm, (z, y, x).
    """

    current: np.ndarray
    prior: np.ndarray
    expected: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    where: np.ndarray
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Prediction:
    """What a method says of two scans; arrays (z, y, x), 0 where nothing is compared.

    Attributes:
        expected, error: density to expect and its standard deviation, HU.
        z: standard normal where nothing changed, above 0 where denser.
        strength: how much the neighbourhood of a voxel changed, with sign.
        least: strength from which a place is a candidate.
    """

    expected: np.ndarray
    error: np.ndarray
    z: np.ndarray
    strength: np.ndarray
    least: float = LEAST_STRENGTH


class Method(Protocol):
    """A way to foresee the current scan.

    Attributes:
        name: "classical" or a recipe's.
        matched: whether it wants the prior scan matched.
    """

    name: str
    matched: bool

    def __call__(self, pair: Compared) -> Prediction: ...


@dataclass(frozen=True)
class Classical:
    """Without any model: the matched prior scan, and how well it usually agrees."""

    calibration: Calibration
    name: str = "classical"
    matched: bool = True

    def __call__(self, pair: Compared) -> Prediction:
        error, z, usual = self.raw(pair)
        # the curves would press strong neighbourhoods together before they are weighed
        strength = self.calibration(strength_of(z, pair.where, pair.spacing))
        return Prediction(pair.expected, error, self.calibration(usual(z)), strength)

    @staticmethod
    def raw(pair: Compared) -> tuple[np.ndarray, np.ndarray, Calibration]:
        """Error in HU, z as foreseen, and the curve that this pair's bone gives for it."""
        z = np.where(pair.where, pair.current - pair.expected, 0) / np.where(
            pair.where, pair.error, 1)
        usual = Calibration.of_pair(z[pair.where])
        return pair.error * np.float32(usual.computed[1]), z, usual


def compare(current: np.ndarray, prior: np.ndarray, bone: np.ndarray,
            spacing: tuple[float, float, float], matched: bool) -> tuple[Compared, np.ndarray]:
    """Find where two scans agree, and how well.

    Args:
        current, prior: HU, float32, (z, y, x), aligned and made alike.
        bone: of either scan; what lies within 4 mm of metal is left out.
        spacing: mm, (z, y, x).
        matched: whether the prior scan is searched for the place that agrees best.

    Returns:
        The comparison, and the correlation of the scans around each voxel of bone, 0.01 to 1;
        the lowest beside metal, too.
    """
    bone = bone & ~_near_metal(current, prior, spacing)
    expected, distance = (classical.match(current, prior, bone, spacing) if matched else
                          (prior, np.zeros_like(prior)))
    fit = np.where(bone, _fit(current, expected, bone, spacing), WORST).clip(WORST, 1)
    where = bone & (fit >= LEAST_FIT)
    error = classical.spread(current - expected, expected, distance, where, spacing)
    return Compared(current, prior, expected, distance, error, where, spacing), fit


def _near_metal(current, prior, spacing) -> np.ndarray:
    """Where metal, its blurred edge or the end of the scale is, which say nothing about bone."""
    metal = np.maximum(current, prior) > METAL_HU
    size = [2 * max(1, round(METAL_MM / step)) + 1 for step in spacing]
    return ndimage.maximum_filter(metal, size) if metal.any() else metal


def _fit(current, expected, bone, spacing) -> np.ndarray:
    """How well the scans agree around each voxel, -1 to 1."""
    size = [int(round(FIT_MM / step)) | 1 for step in spacing]
    near = ndimage.binary_dilation(bone, iterations=2).astype(np.float32)
    return local_correlation(current.clip(*WINDOW_HU), expected.clip(*WINDOW_HU), near, size)
