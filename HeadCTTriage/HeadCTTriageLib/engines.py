# SPDX-License-Identifier: Apache-2.0
"""What computes a network: PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle

from .answers import RECIPES, Recipe
from .certainty import Certainty
from .networks import AlexNet, TriageNetwork
from .picture_certainty import CAMERA, PictureCertainty

REGISTRY = Path(__file__).parent / "models.json"
NETWORK_OF = {"modern": TriageNetwork, "seed": AlexNet}
NETWORKS = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in NETWORK_OF.values())
SMALL = 64  # pixels of the slices on which a model is tried


def load_model(name: str, recipe: str | None = None) -> Bundle:
    """Find, verify and build a model.

    Args:
        name: in the registry, or folder of a bundle. Models that are not ``modern`` have their
            recipe behind the name of their family: ``starter-seed``.
        recipe: what it must have been trained as, or None.

    Raises:
        BadInput: it was trained as something else.
        ModelMissing, ModelUntrusted: it cannot be used.
    """
    if recipe not in (None, "modern") and not Path(name).expanduser().is_dir():
        name = f"{name.removesuffix(f'-{recipe}')}-{recipe}"
    return models.load_model(name, REGISTRY, NETWORKS, recipe, _fits)


def _fits(bundle: Bundle) -> bool:
    """Whether the network takes and answers what its recipe says, and its answers are known."""
    recipe = RECIPES.get(bundle.metadata["recipe"])
    if recipe is None or not isinstance(bundle.network, NETWORK_OF[recipe.name]):
        return False
    Certainty.read(bundle.metadata["certainty"])
    if CAMERA in bundle.metadata:
        PictureCertainty.read(bundle.metadata[CAMERA])
    small = np.zeros((2, len(recipe.sampling.windows), SMALL, SMALL), np.float32)
    answer = recipe.read(TorchEngine(bundle.network)(recipe.inputs(small)))
    return answer.scores.shape == (3,) and answer.attention.shape == (2,)


class TorchEngine:
    """A network in PyTorch that takes and gives arrays.

    Args:
        network: of a recipe.
        device: torch device.
    """

    def __init__(self, network: torch.nn.Module, device: str = "cpu") -> None:
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.device = device

    def __call__(self, inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(inputs).to(self.device))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.float().cpu().numpy() for output in outputs]


def judge_of(bundle: Bundle, device: str, most_missed: float, error: float):
    """The model of a bundle, ready to judge heads."""
    from .judging import Judge

    recipe: Recipe = RECIPES[bundle.metadata["recipe"]]
    return Judge(recipe, TorchEngine(bundle.network, device),
                 Certainty.read(bundle.metadata["certainty"]), most_missed, error)
