# SPDX-License-Identifier: Apache-2.0
"""The small network of the active-learning experiment, and what it says of a slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ReadingRoomLib.montecarlo import dropout_active, sample_seed, summarise_samples
from ReadingRoomLib.phantoms.region_map import AIR_HU, IGNORED

from .body import BODY_HU
from .labelled_scans import LabelledScan
from .networks import ContextUNet
from .recipes import CLASSES, MODERN, Recipe
from .review_queue import pixel_area, slice_score

RECIPE = Recipe("modern", MODERN.windows, spacing=(9.0, 8.0, 8.0), context=1)
FILTERS, PATCH = (32, 64, 96, 128), 2
BATCH = 16  # slices looked at together


def new_network(seed: int) -> ContextUNet:
    """The small network before it has learned anything."""
    torch.manual_seed(seed)
    network = ContextUNet(RECIPE.channels, CLASSES, FILTERS, PATCH)
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Look:
    """What the network says of a slice: labels, doubt, and how unsure it is of it as a whole."""

    place: tuple[int, int]
    labels: np.ndarray
    uncertainty: np.ndarray
    score: float
    entropy: float

    @classmethod
    def at(cls, place: tuple[int, int], mean: torch.Tensor, uncertainty: torch.Tensor,
           scan: LabelledScan) -> Look:
        labels, doubt = mean.argmax(0).numpy().astype(np.uint8), uncertainty.numpy()
        body = scan.hounsfield[place[1]] > BODY_HU
        entropy = -torch.special.xlogy(mean, mean).sum(0).numpy()
        return cls(place, labels, doubt, slice_score(labels, doubt, pixel_area(scan.spacing)),
                   float(entropy[body].mean()) if body.any() else np.nan)


def looked(network: ContextUNet, scan: LabelledScan, slices: Sequence[int], samples: int,
           seed: int) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Mean probability and uncertainty of slices of a scan.

    Args:
        network: of :data:`RECIPE`.
        scan: on the recipe's grid.
        slices: which.
        samples: of Monte Carlo dropout; 1 switches it off.
        seed: of the samples.

    Yields:
        (slices, probabilities (classes, slices, y, x), uncertainty (slices, y, x)).
    """
    height, width = scan.target.shape[1:]
    padding = (0, -width % network.multiple, 0, -height % network.multiple)
    for start in range(0, len(slices), BATCH):
        own = list(slices[start : start + BATCH])
        image = torch.nn.functional.pad(_channels(scan.hounsfield, own), padding)
        torch.manual_seed(sample_seed(seed, start))
        with torch.inference_mode(), dropout_active(network, samples > 1):
            features = network.encode(image)
            mean, uncertainty = summarise_samples(
                network.decode(features)[..., :height, :width].movedim(1, 0)
                for _ in range(samples))
        yield own, mean, uncertainty


def _channels(hounsfield: np.ndarray, slices: Sequence[int]) -> torch.Tensor:
    """As :func:`.recipes.to_channels`, of slices that need not be neighbours; air at the ends."""
    around = np.asarray(slices)[:, None] + np.arange(-RECIPE.context, RECIPE.context + 1)
    there = (around >= 0) & (around < len(hounsfield))
    stacks = hounsfield[around.clip(0, len(hounsfield) - 1)].astype(np.float32)
    stacks[~there] = AIR_HU
    return torch.cat([((torch.from_numpy(stacks) - low) / (high - low)).clamp_(0, 1)
                      for low, high in RECIPE.windows], 1)


def mean_dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean Dice of the structures that the truth has, what it does not know left out.

    Args:
        predicted, truth: uint8 label maps of one shape.
    """
    known = truth != IGNORED
    values = [np.bincount(array[chosen], minlength=CLASSES)[1:CLASSES] for array, chosen in (
        (predicted, known), (truth, known), (truth, known & (predicted == truth)))]
    present = values[1] > 0
    return float(np.mean(2 * values[2][present] / (values[0] + values[1])[present]))
