# SPDX-License-Identifier: Apache-2.0
"""What the networks of both recipes say of a head, in the same words. No torch in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .slices import PUBLISHED, SEVERAL_WINDOWS, Sampling
from .triage import Tag

LARGEST_LOGIT = 12.0  # of the mean of probabilities, which may be 0 or 1


@dataclass(frozen=True)
class Answer:
    """What a network says of a head.

    Attributes:
        scores: logits that the tag is at least yellow, red, black, (3,).
        attention: weight of each slice in that, (slices,), of sum 1.
        kinds: probability that each slice shows each kind of finding, (slices, kinds), or None.
        maps: where they are, 0 to 1, (slices, kinds, height / 2, width / 2), or None.
        shift_mm: of the midline, to the left above 0, or None.
    """

    scores: np.ndarray
    attention: np.ndarray
    kinds: np.ndarray | None = None
    maps: np.ndarray | None = None
    shift_mm: float | None = None


@dataclass(frozen=True)
class Recipe:
    """What a network sees, and how its outputs are read.

    Attributes:
        name: seed or modern.
        sampling: of the slices.
        read: from the outputs for one head.
        outputs: their names.
    """

    name: str
    sampling: Sampling
    read: Callable[[Sequence[np.ndarray]], Answer]
    outputs: tuple[str, ...]

    def inputs(self, slices: np.ndarray) -> np.ndarray:
        """From slices (slices, windows, height, width) to what the network takes."""
        return slices if self.name == "seed" else slices[None]


def _read_published(outputs: Sequence[np.ndarray]) -> Answer:
    """The mean over slices of the probabilities of each; a head has no answer of its own."""
    logits = outputs[0]
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponent / exponent.sum(1, keepdims=True)
    at_least = np.cumsum(probabilities[:, ::-1], 1)[:, -2::-1]  # yellow, red, black
    urgent = at_least[:, Tag.RED - 1]
    return Answer(_logit(at_least.mean(0)), urgent / max(float(urgent.sum()), 1e-9))


def _read_ours(outputs: Sequence[np.ndarray]) -> Answer:
    tags, kinds, maps, attention, shift_cm = (output[0] for output in outputs)
    return Answer(tags.astype(float), attention, _sigmoid(kinds), _sigmoid(maps),
                  10 * float(shift_cm))


RECIPES = {recipe.name: recipe for recipe in (
    Recipe("seed", PUBLISHED, _read_published, ("tags",)),
    Recipe("modern", SEVERAL_WINDOWS, _read_ours,
           ("tags", "kinds", "maps", "attention", "shift")),
)}


def _logit(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return (np.log(probability) - np.log1p(-probability)).clip(-LARGEST_LOGIT, LARGEST_LOGIT)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.clip(-30, 30)))
