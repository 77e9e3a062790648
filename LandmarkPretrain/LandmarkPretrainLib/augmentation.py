# SPDX-License-Identifier: Apache-2.0
"""How patches vary in training: turned and scaled in 3D, shifted, brighter or darker, noisy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

ANY_WAY = 180.0  # degrees
USUAL_ROTATION = 18.0


@dataclass(frozen=True)
class Augmentation:
    """Ranges. Angles in degrees; values are those of :func:`.preparation.prepared`.

    Attributes:
        rotation: about each axis, at most; 180: turned in any way, each as often.
        scale: smallest and largest; the same along all axes.
        stretch: further factor along each axis, at most this much more or less than 1.
        contrast: factor of the values, at most this much more or less than 1.
        brightness: added, at most.
        noise: highest standard deviation.
    """

    rotation: float = USUAL_ROTATION
    scale: tuple[float, float] = (0.85, 1.2)
    stretch: float = 0.08
    contrast: float = 0.25
    brightness: float = 0.12
    noise: float = 0.12


UNCHANGED = Augmentation(0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


def turns(count: int, ranges: Augmentation, random: np.random.Generator) -> np.ndarray:
    """Matrices (count, 3, 3) from a patch's shifts in mm to the patient's: turned and scaled."""
    x, y, z = np.radians(random.uniform(-ranges.rotation, ranges.rotation, (3, count)))
    matrix = (_about(0, x) @ _about(1, y) @ _about(2, z) if ranges.rotation < ANY_WAY
              else Rotation.random(count, random).as_matrix())
    size = random.uniform(*ranges.scale, (count, 1)) * (
        1 + random.uniform(-ranges.stretch, ranges.stretch, (count, 3)))
    return matrix / size[:, None, :]


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    first, second = (other for other in range(3) if other != axis)
    matrix = np.tile(np.eye(3), (len(angles), 1, 1))
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angles)
    matrix[:, first, second] = -np.sin(angles)
    matrix[:, second, first] = np.sin(angles)
    return matrix


def shaded(patches: torch.Tensor, ranges: Augmentation,
           random: np.random.Generator) -> torch.Tensor:
    """Patches (n, ...) with other contrast, brightness and noise; changed in place."""
    each = (len(patches),) + (1,) * (patches.ndim - 1)

    def drawn(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(random.uniform(low, high, each).astype(np.float32))

    patches.mul_(drawn(1 - ranges.contrast, 1 + ranges.contrast))
    patches.add_(drawn(-ranges.brightness, ranges.brightness))
    if ranges.noise:
        noise = torch.from_numpy(random.standard_normal(patches.shape, dtype=np.float32))
        patches.add_(noise.mul_(drawn(0.0, ranges.noise)))
    return patches
