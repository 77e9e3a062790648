# SPDX-License-Identifier: Apache-2.0
"""How the network of each recipe is built, trained and stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ReadingRoomLib.montecarlo import draw_dropout_quickly
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings
from ReadingRoomLib.training import TrainingSettings

from .networks import BayesianUNet, ContextUNet
from .recipes import CLASSES, MODERN, SEED, Recipe


@dataclass(frozen=True)
class Plan:
    """How the starter model of a recipe is made.

    Attributes:
        bundle: name of its bundle.
        recipe: what the network sees.
        network: class of the network; ``arguments`` are given to it.
        slabs: what a training image is like.
        settings: of the training.
        stored: number type of the weights in the bundle, so that it stays under 10 MB.
        how_it_works: for the model card.
        measured: what ``make bench`` measures of it, for the card.
        limits: of its answers: mean uncertainty above which a structure is to be checked
            (``uncertainty_limit``), mean confidence below which a scan shows no hip or thigh
            (``lowest_confidence``) and below which everything is to be checked
            (``low_confidence``). They follow from ``make bench`` and from scans of other regions.
    """

    bundle: str
    recipe: Recipe
    network: type[nn.Module]
    arguments: dict[str, Any]
    slabs: SynthesisSettings
    settings: TrainingSettings
    stored: torch.dtype
    how_it_works: str
    measured: tuple[str, ...]
    limits: dict[str, float]

    def build(self) -> nn.Module:
        """The network, untrained, the same for the same seed."""
        torch.manual_seed(self.settings.seed)
        network = draw_dropout_quickly(self.network(**self.arguments))
        return network.to(memory_format=torch.channels_last)

    def at_larger_pixels(self, factor: int) -> Plan:
        """The same slabs, drawn with pixels ``factor`` times as large in plane."""
        (z, *plane), (thickness, *pixel) = self.slabs.shape, self.slabs.spacing
        return replace(self, slabs=replace(
            self.slabs, shape=(z, *(n // factor for n in plane)),
            spacing=(thickness, *(size * factor for size in pixel))))

    @property
    def definition(self) -> dict:
        """The bundle's ``network_def``."""
        name = f"{self.network.__module__}.{self.network.__qualname__}"
        return {"_target_": name, **self.arguments}


MODERN_PLAN = Plan(
    bundle="starter",
    recipe=MODERN,
    network=ContextUNet,
    arguments={"in_channels": MODERN.channels, "out_channels": CLASSES,
               "filters": [48, 96, 160, 224], "patch": 2},
    # one labelled slice a slab: its neighbours would show the same again, so that at the same cost
    # a batch shows ten places instead of four
    slabs=SynthesisSettings(shape=(1 + 2 * MODERN.context, 144, 192)),
    settings=TrainingSettings(steps=16000, batch_size=10, learning_rate=2e-3, decay_share=0.25),
    stored=torch.float16,
    how_it_works=(
        "A 2D U-Net (2.5 million weights) that sees a slice of 3 mm with two neighbours on either "
        "side, in two intensity windows, at 2 mm in plane. Dropout of feature maps (p = 0.2) in "
        "the bottleneck and the deep decoder stays on during inference: the mean of the samples "
        "gives the labels, their variance the uncertainty (Gal & Ghahramani 2016; Hiasa et al., "
        "IEEE TMI 2020). Half of the samples see the slices mirrored. The probabilities are "
        "interpolated to the voxels of the CT before the strongest is taken."
    ),
    measured=("example", "held-out"),
    limits={"uncertainty_limit": 0.07, "lowest_confidence": 0.86, "low_confidence": 0.89},
)
SEED_PLAN = Plan(
    bundle="starter-seed",
    recipe=SEED,
    network=BayesianUNet,
    arguments={"out_channels": CLASSES},
    # about the pixels of a clinical CT, of which the network labels one slice after another; the
    # two slices of a slab lie far apart, so that a batch shows six different places
    slabs=SynthesisSettings(shape=(2, 256, 320), spacing=(20.0, 0.9, 0.9)),
    settings=TrainingSettings(steps=3000, batch_size=3, learning_rate=1e-3, decay_share=0.25),
    stored=torch.int8,
    how_it_works=(
        "The network of Hiasa et al., IEEE TMI 2020, as published: a 2D U-Net of five levels (8.6 "
        "million weights) that labels slice after slice at the pixels of the CT, clipped to -150 "
        "to 350 HU, with dropout of single activations (p = 0.5) after every block, on during "
        "inference too. The mean of the samples gives the labels, their variance the uncertainty. "
        "Its training is ours, not the published one: simulated CT, cross-entropy with Dice, first "
        "at twice the pixel size and with less dropout."
    ),
    measured=("example-seed",),
    # full dropout leaves it less sure: 0.72 at the hips, at most 0.64 in other regions
    limits={"uncertainty_limit": 0.17, "lowest_confidence": 0.68, "low_confidence": 0.7},
)
PLANS = {plan.recipe.name: plan for plan in (MODERN_PLAN, SEED_PLAN)}
