# SPDX-License-Identifier: Apache-2.0
"""Expectation by a network, on its own error too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.errors import ModelMissing

from .blocks import blocks, within
from .calibration import Calibration
from .candidates import strength_of
from .comparison import Compared, Prediction
from .networks import ResidualCNN
from .recipes import RECIPES, Recipe, changes_of, channels_of, split_answer, unit_of

REGISTRY = Path(__file__).parent / "models.json"
UNET = "monai.networks.nets.UNet"
NETWORK_OF = {"modern": UNET,
              "seed": f"{ResidualCNN.__module__}.{ResidualCNN.__qualname__}"}
BLOCK, MARGIN = 64, 16  # voxels computed at a time, and what the network sees around them
LEAST_Z = 5.0  # of neighbourhoods, from which a place is a candidate: there are many thousands
MULTIPLE = 4  # of the voxels along each axis: the U-Net halves them twice


def load_model(name: str | None, recipe: str) -> Bundle:
    """Find, verify and build a model.

    Args:
        name: in the registry, or folder of a bundle; None: the first one of the recipe.
        recipe: what it must have been trained as.

    Raises:
        BadInput: it was trained as something else.
        ModelMissing, ModelUntrusted: it cannot be used.
    """
    if not name:
        of_recipe = [m.name for m in models.available_models(REGISTRY) if m.recipe == recipe]
        if not of_recipe:
            raise ModelMissing(f"There is no model of the method {recipe}: choose another method.")
        name = of_recipe[0]
    return models.load_model(name, REGISTRY, NETWORK_OF.values(), recipe, _fits)


def _fits(bundle: Bundle) -> bool:
    """Whether the network takes and answers what its recipe says, and is calibrated."""
    recipe = RECIPES[bundle.metadata["recipe"]]
    _calibration(bundle)
    with torch.inference_mode():
        answer = bundle.network(torch.zeros(1, recipe.in_channels, *3 * [2 * MULTIPLE]))
    return answer.shape[1] == recipe.out_channels


def _calibration(bundle: Bundle) -> Calibration:
    return Calibration.read(bundle.metadata["calibration"])


class Learned:
    """A network as a method of comparison.

    Args:
        network: of ``recipe``.
        recipe: what it sees and answers.
        calibration: of z of voxels.
        device: torch device.
    """

    def __init__(self, network: torch.nn.Module, recipe: Recipe,
                 calibration: Calibration, device: str = "cpu") -> None:
        self.network = network.to(device).eval()
        self.recipe, self.calibration, self.device = recipe, calibration, device
        self.name, self.matched = recipe.name, recipe.matched

    @classmethod
    def of(cls, bundle: Bundle, device: str) -> Learned:
        return cls(bundle.network, RECIPES[bundle.metadata["recipe"]], _calibration(bundle), device)

    def __call__(self, pair: Compared) -> Prediction:
        expected, error, z = self.raw(pair)
        calibrated = self.calibration(z[0])
        if not self.recipe.sizes_mm:
            strength = self.calibration(strength_of(z[0], pair.where, pair.spacing))
            return Prediction(expected, error, calibrated, strength)
        return Prediction(expected, error, calibrated, z[1:].mean(0), LEAST_Z)

    def raw(self, pair: Compared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected density and its error in HU, and z before calibration of voxels and sizes.

        That of voxels is measured against this pair's own bone, see
        :meth:`.calibration.Calibration.of_pair`. Those of neighbourhoods are as the network
        foresaw them: several lesions in a short scan are a good part of its tails.
        """
        answer, log_error = self._answer(channels_of(pair, self.recipe), pair.where)
        unit = unit_of(pair, self.recipe)
        z = (changes_of(pair, self.recipe) - answer) * np.exp(-log_error) * pair.where
        expected = np.where(pair.where, pair.expected + unit * answer[0], pair.expected)
        error = np.where(pair.where, unit * np.exp(log_error[0]), 0)
        # of a voxel the whole change counts, however large
        change = np.where(pair.where, pair.current - expected, 0) / np.where(pair.where, error, 1)
        usual = Calibration.of_pair(change[pair.where])
        z[0] = usual(change)
        error *= usual.computed[1]
        return expected.astype(np.float32), error.astype(np.float32), z

    def _answer(self, channels: torch.Tensor, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected changes and logarithms of their errors, block by block where there is bone."""
        shape = (self.recipe.out_channels // 2, *where.shape)
        expected, log_error = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for inner, outer in blocks(where.shape, BLOCK, [MARGIN] * 3):
            if not where[inner].any():
                continue
            part = channels[:, *outer][None]
            fill = [n for size in part.shape[:1:-1] for n in (0, -size % MULTIPLE)]
            with torch.inference_mode():
                answer = self.network(F.pad(part, fill).to(self.device)).cpu()
            place = within(inner, outer)
            for values, into in zip(split_answer(answer), (expected, log_error), strict=True):
                into[:, *inner] = values[0][:, *place].numpy()
        return expected, log_error
