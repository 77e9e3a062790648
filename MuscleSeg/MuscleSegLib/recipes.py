# SPDX-License-Identifier: Apache-2.0
"""How each network of this module sees a CT, is trained and is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ReadingRoomLib.phantoms.ct_synthesis import (
    IGNORED,
    RegionMap,
    SynthesisSettings,
    simulate,
)

CLASSES = 23  # 22 structures and background


@dataclass(frozen=True)
class Recipe:
    """Grid and intensity windows of a network.

    Attributes:
        name: ``seed`` or ``modern``.
        windows: (lowest, highest) HU of each input channel; scaled to [0, 1].
        spacing: voxel size in mm in array order (z, y, x); None keeps the CT's own grid.
        context: slices seen on either side of the one that is labelled.
    """

    name: str
    windows: tuple[tuple[float, float], ...]
    spacing: tuple[float, float, float] | None
    context: int = 0

    @property
    def channels(self) -> int:
        """Input channels of the network: windows times slices."""
        return len(self.windows) * (2 * self.context + 1)


SEED = Recipe("seed", windows=((-150.0, 350.0),), spacing=None)
MODERN = Recipe("modern", windows=((-160.0, 240.0), (-500.0, 1300.0)), spacing=(3.0, 2.0, 2.0),
                context=2)
RECIPES = {recipe.name: recipe for recipe in (SEED, MODERN)}


def to_channels(hounsfield: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """What the network gets for every slice that has its whole context.

    Args:
        hounsfield: (z, y, x) in HU.

    Returns:
        (z - 2 * context, channels, y, x), scaled to [0, 1].
    """
    windows = [((hounsfield - low) / (high - low)).clamp_(0, 1) for low, high in recipe.windows]
    count = hounsfield.shape[0] - 2 * recipe.context
    return torch.stack(
        [window[offset : offset + count] for window in windows
         for offset in range(2 * recipe.context + 1)], 1
    )


class SimulatedSlabs(Dataset):
    """Simulated slabs of neighbouring slices: item k is drawn from the seed and k alone.

    An item is a small batch: all slices of the slab that have their whole context.

    Args:
        anatomies: region maps and how often each is drawn.
        count: number of items.
        recipe: intensity windows of the network.
        settings: ranges of the simulation.
        seed: first number of every draw.
    """

    def __init__(self, anatomies: list[tuple[RegionMap, float]], count: int, recipe: Recipe,
                 settings: SynthesisSettings, seed: int) -> None:
        self.anatomies = [anatomy for anatomy, _ in anatomies]
        total = sum(weight for _, weight in anatomies)
        self.limits = torch.tensor([weight / total for _, weight in anatomies]).cumsum(0)
        self.count, self.recipe, self.settings, self.seed = count, recipe, settings, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        draw = torch.rand(1, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + index))
        which = int((draw > self.limits).sum().clamp_max(len(self.anatomies) - 1))
        made = simulate(self.anatomies[which], self.settings, (self.seed, index))
        context = self.recipe.context
        return {"image": to_channels(made.image, self.recipe),
                "label": made.target[context : len(made.target) - context]}


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice over the structures present, voxels of value 255 left out.

    Args:
        logits: (N, classes, ...).
        target: (N, ...) uint8.
    """
    logits = logits.float()
    classes = logits.shape[1]
    target = target.long()
    known = target != IGNORED
    log_probability = F.log_softmax(logits, 1)
    cross_entropy = F.nll_loss(log_probability, target, ignore_index=IGNORED)

    safe = torch.where(known, target, torch.zeros_like(target))
    probability = log_probability.exp()
    right = probability.gather(1, safe[:, None])[:, 0] * known
    predicted = (probability * known[:, None]).flatten(2).sum((0, 2))
    flat, weight = safe.flatten(), known.flatten().float()
    intersection = torch.zeros(classes, device=logits.device).index_add(0, flat, right.flatten())
    actual = torch.zeros(classes, device=logits.device).index_add(0, flat, weight)
    dice = (2 * intersection + 20) / (predicted + actual + 20)
    present = actual[1:] > 0
    if not present.any():
        return cross_entropy
    return cross_entropy + 1 - dice[1:][present].mean()
