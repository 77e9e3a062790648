# SPDX-License-Identifier: Apache-2.0
"""Training one network on labelled scans: how it begins, what it sees, how it is watched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ReadingRoomLib.bundles import Bundle, arguments_of
from ReadingRoomLib.live_training import train_with_curves
from ReadingRoomLib.montecarlo import draw_dropout_quickly, dropout_active
from ReadingRoomLib.phantoms.region_map import IGNORED
from ReadingRoomLib.training import TrainingSettings

from .contrasts import Intensities
from .labelled_scans import Augmentation, LabelledScan, LabelledSlabs
from .plans import PLANS
from .recipes import Recipe, segmentation_loss

USUAL_STEPS = {"modern": 2000, "seed": 1000}  # of a training that begins with a model
GENTLER = 0.5  # factor of the learning rate of such a training
LOOKED_AT = 16  # slabs at each look
UNCHANGED = Augmentation(
    rotation=0.0, scale=(1.0, 1.0), stretch=(1.0, 1.0), shift=0.0, mirrored=0.0,
    offset=(0.0, 0.0), gain=(1.0, 1.0), gamma=(1.0, 1.0), noise=(0.0, 0.0),
    thickness=(0.0, 0.0), softness=(0.0, 0.0), structure_share=1.0)


def settings_of(recipe: str, steps: int, batch: int, begins_with_model: bool,
                seed: int, device: str) -> TrainingSettings:
    """How to train: as the starter model of the recipe, more gently where it begins with a model.

    Args:
        recipe: ``seed`` or ``modern``.
        steps: of training; 0: as usual.
        batch: slabs a step; 0: as usual.
        begins_with_model: or with random weights.
        seed: of all draws.
        device: where it is trained; a graphics card keeps several processes busy making slabs,
            which on Linux alone share the scans.
    """
    usual = PLANS[recipe].settings
    steps = steps or (USUAL_STEPS[recipe] if begins_with_model else usual.steps)
    rate = usual.learning_rate * (GENTLER if begins_with_model else 1.0)
    return replace(usual, steps=steps, batch_size=batch or usual.batch_size, learning_rate=rate,
                   warmup_steps=min(usual.warmup_steps, max(1, steps // 10)), seed=seed,
                   workers=4 if device == "cuda" and sys.platform == "linux" else 0)


def arguments_for(recipe: str, start: Bundle | None) -> dict[str, Any]:
    """What the network is built with."""
    return arguments_of(start) if start else PLANS[recipe].arguments


def begin(recipe: str, start: Bundle | None, seed: int) -> nn.Module:
    """The network before training: with the weights of a model, or random ones of the seed."""
    plan = PLANS[recipe]
    if start is None:
        return replace(plan, settings=replace(plan.settings, seed=seed)).build()
    network = draw_dropout_quickly(type(start.network)(**arguments_of(start)))
    network.load_state_dict(start.network.state_dict())
    return network.to(memory_format=torch.channels_last)


def dice_of(logits: torch.Tensor, target: torch.Tensor) -> float:
    """Mean Dice over the structures in the slabs, 0 to 1; unknown voxels are left out."""
    known = target != IGNORED
    found, truth = logits.argmax(1)[known], target[known].long()
    both = torch.bincount(truth[found == truth], minlength=logits.shape[1])[1:]
    total = sum(torch.bincount(labels, minlength=logits.shape[1])[1:] for labels in (found, truth))
    present = torch.bincount(truth, minlength=logits.shape[1])[1:] > 0
    return float((2 * both / total.clamp_min(1))[present].mean()) if present.any() else 0.0


def fit(network: nn.Module, learned: Sequence[LabelledScan], seen: Sequence[LabelledScan],
        recipe: Recipe, settings: TrainingSettings, folder: Path, device: str,
        on_step: Callable[[int, float], None], intensities: Intensities = "ct",
        shape: tuple[int, int, int] | None = None) -> nn.Module:
    """Train, with curves in the folder meanwhile; what is seen never chooses the weights.

    Args:
        network: trained in place.
        learned: scans to learn from.
        seen: scans to look at now and then; may be none.
        recipe, settings, device: of the network and its training.
        folder: of this training.
        on_step: called with the steps done and the loss.
        intensities: of the slabs.
        shape: of the slabs; by default that of the recipe's starter model.

    Returns:
        The trained network, averaged, on the processor, in evaluation mode.

    Raises:
        BadInput: the folder holds another training.
    """
    shape = shape or PLANS[recipe.name].slabs.shape
    slabs = LabelledSlabs(learned, settings.steps * settings.batch_size, recipe, settings.seed,
                          shape, intensities=intensities)
    shown = LabelledSlabs(seen, LOOKED_AT, recipe, settings.seed, shape, UNCHANGED, intensities)

    def look(network: nn.Module) -> dict[str, float]:
        losses, overlaps = [], []
        # the published network is one with its dropout only, see seed_inference
        with dropout_active(network, recipe.name == "seed"):
            for slab in (shown[number] for number in range(LOOKED_AT)):
                logits = network(slab["image"].to(device)).float().cpu()
                losses.append(float(segmentation_loss(logits, slab["label"])))
                overlaps.append(dice_of(logits, slab["label"]))
        return {"loss": sum(losses) / LOOKED_AT, "accuracy": sum(overlaps) / LOOKED_AT}

    return train_with_curves(network, slabs, segmentation_loss, look if seen else None, dice_of,
                             settings, folder, device, on_step, "Slabs of patients").cpu().eval()

