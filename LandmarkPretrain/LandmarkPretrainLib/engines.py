# SPDX-License-Identifier: Apache-2.0
"""Models of this module: found, verified, built, asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle, BundleDescription
from ReadingRoomLib.devices import MemoryFallback

from .confidence import Confidence
from .detection import look_first
from .detectors import TOGETHER, FieldDetector, PatchDetector, answer
from .networks import LandmarkCascade, MiniVGG
from .patches import PIXELS, UNTURNED, PatchExtractor
from .preparation import MODALITIES
from .recipes import MODERN, Recipe
from .shape_model import ShapeModel

REGISTRY = Path(__file__).parent / "models.json"
NETWORKS = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in (MiniVGG, LandmarkCascade))
CUBES_TOGETHER = 12
CENTRE = slice(PIXELS // 2 - 1, PIXELS // 2 + 1)


@dataclass(frozen=True)
class LandmarkModel:
    """A network with all that is needed to ask it.

    Attributes:
        network: a :class:`MiniVGG` or a :class:`LandmarkCascade`, in evaluation mode.
        names: of the landmarks, in the order of its classes.
        recipe: how it is built.
        modality: of the images that it knows.
        shape: which sets of landmarks there are; None before it is learned.
        confidence: None before it is calibrated.
    """

    network: nn.Module
    names: tuple[str, ...]
    recipe: Recipe
    modality: str
    shape: ShapeModel | None = None
    confidence: Confidence | None = None

    def detector(self, device: str,
                 warn: Callable[[str], None] = lambda text: None) -> PatchDetector | FieldDetector:
        """What finds landmarks with it; ``warn`` is told when memory is short."""
        fallback = MemoryFallback(TOGETHER, device, warn)
        if self.recipe.name == MODERN:
            return FieldDetector(self.network, self.recipe.coarse_mm, self.recipe.fine_mm, fallback,
                                 self.recipe.any_way)
        return PatchDetector(self.network, self.recipe.kind, fallback, self.recipe.any_way)

    def turn_in(self, extractor: PatchExtractor, low: np.ndarray, size_mm: np.ndarray,
                device: str = "cpu") -> np.ndarray:
        """How the body lies in an image, as far as the model asks; see :func:`.look_first`."""
        if not self.recipe.posed:
            return UNTURNED
        return look_first(extractor, low, size_mm, self.detector(device), self.shape).turn

    def classify(self, extractor: PatchExtractor, points: np.ndarray, device: str = "cpu",
                 turn: np.ndarray = UNTURNED) -> torch.Tensor:
        """Which landmark, if any, is in the middle of the patches at points (n, 3) in LPS mm.

        Args:
            extractor: of the prepared image.
            points: where to look.
            device: to compute on.
            turn: how the body lies, from :meth:`turn_in`.

        Returns:
            Logits (n, landmarks + 1); class 0 is none.
        """
        found = []
        # a cube's answer is 13 MB for a hundred landmarks
        together = CUBES_TOGETHER if self.recipe.name == MODERN else TOGETHER
        for some in np.array_split(points, max(1, -(-len(points) // together))):
            if self.recipe.name == MODERN:
                cubes = extractor.cubes(some, self.recipe.patch_mm, rotations=turn)
                found.append(answer(self.network.fine, cubes, device)[
                    :, :, CENTRE, CENTRE, CENTRE].mean((2, 3, 4)))
            else:
                patches = extractor.planes(some, self.recipe.kind.sizes_mm)
                found.append(answer(self.network, patches, device))
        return torch.cat(found)


def load_model(name: str) -> Bundle:
    """Find, verify and build a model.

    Args:
        name: in the registry, or folder of a bundle.

    Raises:
        ModelMissing, ModelUntrusted: it cannot be used.
    """
    return models.load_model(name, REGISTRY, NETWORKS, None, _fits)


def model_of(bundle: Bundle) -> LandmarkModel:
    """What a bundle holds, ready to be asked."""
    metadata = bundle.metadata
    return LandmarkModel(
        bundle.network, model_names(bundle), Recipe.read(metadata["built"]), metadata["modality"],
        ShapeModel.read(metadata["shape"]), Confidence.read(metadata["confidence"]))


def model_names(bundle: BundleDescription) -> tuple[str, ...]:
    """The landmarks that a bundle knows, in the order of its classes."""
    labels = bundle.metadata["labels"]
    return tuple(labels[str(number)] for number in range(1, len(labels)))


def _fits(bundle: Bundle) -> bool:
    """Whether the network answers for the landmarks that its metadata name."""
    model = model_of(bundle)
    if (model.modality not in MODALITIES or len(set(model.names)) != len(model.names)
            or len(model.shape.mean) != len(model.names) or not model.recipe.patch_mm > 0
            or (model.recipe.name == MODERN) != isinstance(bundle.network, LandmarkCascade)):
        return False
    classes = len(model.names) + 1
    with torch.inference_mode():
        if model.recipe.name == MODERN:
            image = torch.zeros(1, 1, 16, 16, 16)
            return all(field(image).shape[1] == classes
                       for field in (bundle.network.coarse, bundle.network.fine))
        patches = torch.zeros(2, model.recipe.kind.channels, PIXELS, PIXELS)
        return bundle.network(patches).shape == (2, classes)
