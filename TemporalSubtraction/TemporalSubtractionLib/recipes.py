# SPDX-License-Identifier: Apache-2.0
"""What each network sees of two aligned scans, what it answers, and how it is judged.

A network never sees the current scan itself, or it would explain away what is new: only the prior
one, as registration or matching left it, how far it had to be searched, and how large the residual
usually is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from .comparison import Compared

SPONGY_HU, DENSITY_HU = 200.0, 400.0  # middle and width of the densities of bone
UNIT_HU = 50.0  # of the answer of a network that knows no usual error
USUAL_HU = 20.0
LARGEST_CHANGE = 8.0  # in usual errors; one voxel counts no more: streaks are not lesions
DISTANCE_MM, USUAL_MM = (0.05, 4.0), 0.25  # of matching
LOG_ERROR = (-4.0, 4.0)  # range of the answer


@dataclass(frozen=True)
class Recipe:
    """Which scans a network compares, and at which sizes.

    Attributes:
        name: ``seed`` or ``modern``.
        matched: whether the prior scan was matched to the current one, see :mod:`.classical`.
        sizes_mm: full widths of neighbourhoods whose mean change is expected too, with its error.
    """

    name: str
    matched: bool
    sizes_mm: tuple[float, ...]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the network sees, see :func:`channels_of`."""
        names = ("prior CT", "compared bone")
        if not self.matched:
            return names
        return (*names, "usual error", "change by matching", "distance of matching")

    @property
    def in_channels(self) -> int:
        return len(self.channel_names)

    @property
    def out_channels(self) -> int:
        """Expected change and logarithm of its error, of voxels and of each neighbourhood."""
        return 2 * (1 + len(self.sizes_mm))


SEED = Recipe("seed", matched=False, sizes_mm=())
MODERN = Recipe("modern", matched=True, sizes_mm=(5.0, 8.0, 12.0))
RECIPES = {recipe.name: recipe for recipe in (SEED, MODERN)}


def channels_of(pair: Compared, recipe: Recipe) -> torch.Tensor:
    """What the network gets, (channels, z, y, x), float32, about -3 to 6."""
    where = pair.where.astype(np.float32)
    density = ((pair.expected - SPONGY_HU) / DENSITY_HU).clip(-3, 6)
    planes = [density, where]
    if recipe.matched:
        error = np.where(pair.where, pair.error, USUAL_HU)
        planes += [np.log(error / USUAL_HU) * where,
                   ((pair.expected - pair.prior) / error).clip(-6, 6) * where,
                   np.log(pair.distance.clip(*DISTANCE_MM) / USUAL_MM) * where]
    return torch.from_numpy(np.stack(planes).astype(np.float32, copy=False))


def unit_of(pair: Compared, recipe: Recipe) -> np.ndarray:
    """HU that 1 in the answer about a voxel stands for, (z, y, x) or one number."""
    return np.where(pair.where, pair.error, USUAL_HU) if recipe.matched else np.float32(UNIT_HU)


def changes_of(pair: Compared, recipe: Recipe) -> np.ndarray:
    """What the network shall foresee: change of voxels and of neighbourhoods.

    The mean of a neighbourhood weighs every voxel by the inverse square of its usual error, so
    that the sharp edges of bone count little.

    Returns:
        (1 + sizes, z, y, x), float32, in usual errors; 0 outside the bone that is compared.
    """
    where = pair.where.astype(np.float32)
    unit = unit_of(pair, recipe)
    change = where * ((pair.current - pair.expected) / unit).clip(-LARGEST_CHANGE, LARGEST_CHANGE)
    changes = [change]
    if recipe.sizes_mm:
        certainty = where * (USUAL_HU / unit)
    for size in recipe.sizes_mm:
        sigma = [size / 2.355 / step for step in pair.spacing]
        total = ndimage.gaussian_filter(certainty * certainty, sigma)
        weight = ndimage.gaussian_filter(where, sigma)
        changes.append(where * ndimage.gaussian_filter(certainty * change, sigma)
                       / np.sqrt(np.maximum(total * weight, 1e-9)))
    return np.stack(changes).astype(np.float32, copy=False)


def split_answer(answer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected changes, and logarithms of their errors; each (N, 1 + sizes, D, H, W), float32."""
    expected, log_error = answer.float().chunk(2, 1)
    return expected, log_error.clamp(*LOG_ERROR)


def likelihood_loss(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Negative logarithm of the Gaussian likelihood, without its constant.

    Source: Nix & Weigend, ICNN 1994.

    Args:
        answer: (N, 2 * maps, D, H, W).
        target: (N, maps + 1, D, H, W): changes as of :func:`changes_of`, and at the end 1 where
            they count.
    """
    expected, log_error = split_answer(answer)
    changes, counts = target[:, :-1], target[:, -1:]
    loss = 0.5 * ((changes - expected) * torch.exp(-log_error)).square() + log_error
    return (loss * counts).sum() / (counts.sum() * changes.shape[1]).clamp_min(1)
