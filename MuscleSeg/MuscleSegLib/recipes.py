# SPDX-License-Identifier: Apache-2.0
"""How each network of this module sees a CT, is trained and is sampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from ReadingRoomLib.phantoms.ct_synthesis import Simulated
from ReadingRoomLib.phantoms.region_map import IGNORED

CLASSES = 23  # 22 structures and background
Source = Callable[[tuple[int, ...]], Simulated]  # makes a slab from seed numbers


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
    """Slabs of neighbouring slices: item k is drawn from the seed and k alone.

    An item is a small batch: all slices of the slab that have their whole context.

    Args:
        sources: what makes a slab from seed numbers, and how often each is drawn.
        count: number of items.
        recipe: intensity windows of the network.
        seed: first number of every draw.
    """

    def __init__(self, sources: list[tuple[Source, float]], count: int, recipe: Recipe,
                 seed: int) -> None:
        self.sources = [source for source, _ in sources]
        total = sum(share for _, share in sources)
        self.limits = torch.tensor([share / total for _, share in sources]).cumsum(0)
        self.count, self.recipe, self.seed = count, recipe, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        draw = torch.rand(1, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + index))
        which = int((draw > self.limits).sum().clamp_max(len(self.sources) - 1))
        made = self.sources[which]((self.seed, index))
        context = self.recipe.context
        return {"image": to_channels(made.image, self.recipe),
                "label": made.target[context : len(made.target) - context]}


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice over the structures present, voxels of value 255 left out.

    Args:
        logits: (N, classes, H, W).
        target: (N, H, W) uint8.

    Returns:
        A scalar; 0 with a gradient of 0 where every voxel is left out.
    """
    return _CrossEntropyAndDice.apply(logits, target)


class _CrossEntropyAndDice(torch.autograd.Function):
    """The loss with its gradient written out, image by image so that it stays in the cache.

    Takes a third of the time that autograd's own gradient takes on a CPU.
    """

    SMOOTH = 20.0

    @staticmethod
    def forward(ctx, logits, target):
        classes = logits.shape[1]
        known = target != IGNORED
        count = known.sum().clamp_min(1)
        index = target.long().masked_fill_(~known, 0)
        probability = torch.empty_like(logits, dtype=torch.float32)
        predicted, actual, intersection = torch.zeros(3, classes, device=logits.device)
        log_likelihood, tiny = 0.0, torch.finfo(torch.float32).tiny
        for image, p, i, k in zip(logits, probability, index, known.float(), strict=True):
            torch.softmax(image.float(), 0, out=p)
            right = p.gather(0, i[None])[0] * k
            log_likelihood += (right + (1 - k)).clamp_min_(tiny).log_().sum()
            predicted += p.flatten(1) @ k.flatten()
            intersection.index_add_(0, i.flatten(), right.flatten())
            actual.index_add_(0, i.flatten(), k.flatten())
        present = actual > 0
        present[0] = False
        share = present / present.sum().clamp_min(1)
        numerator = 2 * intersection + _CrossEntropyAndDice.SMOOTH
        total = predicted + actual + _CrossEntropyAndDice.SMOOTH
        ctx.save_for_backward(probability, index, known, count, share * numerator / total.square(),
                              -2 * share / total)
        ctx.dtype = logits.dtype
        return (share * (1 - numerator / total)).sum() - log_likelihood / count

    @staticmethod
    def backward(ctx, gradient):
        probability, index, known, count, by_predicted, by_intersection = ctx.saved_tensors
        by_predicted, by_intersection = by_predicted * gradient, by_intersection * gradient
        by_log = gradient / count
        result = torch.empty_like(probability, dtype=ctx.dtype)
        for p, i, k, out in zip(probability, index, known.float(), result, strict=True):
            # softmax: d loss / d logit_c = p_c (g_c - sum_k p_k g_k), with g = d loss / d p
            own = p.gather(0, i[None])[0] * by_intersection[i] - by_log
            mean = (by_predicted @ p.flatten(1)).view_as(k) + own
            part = (by_predicted[:, None, None] - mean).mul_(p)
            part.scatter_add_(0, i[None], own[None])
            out.copy_(part.mul_(k))
        return result, None
