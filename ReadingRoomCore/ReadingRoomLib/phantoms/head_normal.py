# SPDX-License-Identifier: Apache-2.0
"""What is dense, or unlike the average, in a healthy head: membranes, venous sinuses, ventricles.

Falx, tentorium and sinuses are as dense as fresh blood and lie where it lies, too. Places are those
of :mod:`.head_findings`: mm from the centre of the template along S, P and L.
"""

from __future__ import annotations

import numpy as np

from .head_findings import Place
from .randomness import Randomness

CAVUM_SHARE, UNEVEN_SHARE = 0.08, 0.4  # of heads
CAVUM_AT, CAVUM_MM = (10.0, -12.0, 0.0), (6.0, 13.0, 2.5)  # of the septum between the ventricles
MOST_UNEVEN_MM = 1.5  # one side of the ventricles is as much wider, the other as much narrower
FALX_ABOVE_MM, FALX_DEPTH_MM = 18.0, 26.0  # the falx ends at the corpus callosum
TENTORIUM_FRONT_MM = 22.0  # behind the centre, where the tentorium leaves room for the brain stem
SINUS_LOW_MM = -12.0  # where the sinuses meet at the back of the head


def vary_ventricles(fluid: np.ndarray, brain: np.ndarray, random: Randomness) -> np.ndarray:
    """Sometimes one side is wider, sometimes the septum between both holds fluid.

    Args:
        fluid: distance from ventricles and cisterns, mm, (z, y, x).
        brain: places in the brain before it was pushed, (3, z, y, x).
    """
    if random.chance(UNEVEN_SHARE):
        fluid = fluid - random.uniform(-1, 1) * MOST_UNEVEN_MM * np.tanh(brain[2] / 8)
    if random.chance(CAVUM_SHARE):
        wide = random.uniform(0.7, 1.3)
        away = np.sqrt(sum(((axis - middle) / (size * wide)) ** 2 for axis, middle, size in zip(
            brain, CAVUM_AT, CAVUM_MM, strict=True)))
        fluid = np.minimum(fluid, (away - 1) * CAVUM_MM[2] * wide)
    return fluid.astype(np.float32)


def add_dense_structures(image: np.ndarray, where: Place, brain: np.ndarray,
                         random: Randomness) -> np.ndarray:
    """Put falx, tentorium and venous sinuses into a brain.

    Args:
        image: HU within the skull, (z, y, x).
        where: places in the head.
        brain: places in the brain before it was pushed, (3, z, y, x): membranes move with it.
    """
    inside = where.depth > 0
    membrane, vein = random.uniform(36, 62), random.uniform(42, 72)
    up, back, left = brain
    thick = random.uniform(0.4, 1.6)
    falx = thick / 2 - np.abs(left)
    falx = np.minimum(falx, np.maximum(up - FALX_ABOVE_MM, FALX_DEPTH_MM - where.depth))
    falx = np.minimum(falx, up - SINUS_LOW_MM)
    tent = thick / 2 - 0.8 * np.abs(up - _tentorium(brain))
    tent = np.minimum(tent, back - TENTORIUM_FRONT_MM)
    image = _filled(image, np.maximum(falx, tent), 1.0, membrane, inside)

    size = random.uniform(4.0, 8.5)
    up, back, left = where.at  # sinuses stay at the skull
    upper = np.minimum(size * (1 - np.abs(left) / size) - where.depth, up - SINUS_LOW_MM)
    lower = np.minimum(0.7 * size - where.depth, 0.5 * size - np.abs(up - _tentorium(where.at)))
    lower = np.minimum(lower, back - TENTORIUM_FRONT_MM)
    return _filled(image, np.maximum(upper, lower), 1.5, vein, inside)


def _tentorium(at: np.ndarray) -> np.ndarray:
    """Height of the tentorium above each place: a tent, highest in front and on the midline."""
    _, back, left = at
    return -9 + 0.6 * (72 - back) * np.exp(-((left / 22) ** 2)) - 0.12 * np.abs(left)


def _filled(image, within, fading_mm: float, density: float, inside) -> np.ndarray:
    """The image with a structure that each place lies ``within`` by so many mm."""
    share = np.clip(0.5 + within / fading_mm, 0, 1) * inside
    return image + share * np.maximum(density - image, 0)
