# SPDX-License-Identifier: Apache-2.0
"""Expectation by a network, on its own error too."""

from __future__ import annotations

from collections.abc import Sequence
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
from .comparison import Compared, Finding
from .networks import ResidualCNN
from .recipes import RECIPES, Recipe, changes_of, channels_of, split_answer, unit_of

REGISTRY = Path(__file__).parent / "models.json"
UNET = "monai.networks.nets.UNet"
NETWORK_OF = {"modern": UNET,
              "seed": f"{ResidualCNN.__module__}.{ResidualCNN.__qualname__}"}
BLOCK, MARGIN = 64, 16  # voxels computed at a time, and what the network sees around them
WITHIN_2 = 0.9545  # share of a standard normal within 2
SCALES = (0.5, 4.0)  # range of what is believed; with more, much of the bone has changed
LEAST_Z = 3.0  # of a neighbourhood, from which it is a candidate: there are many thousands
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
    """Whether the network takes what its recipe gives, and every answer is calibrated."""
    recipe = RECIPES[bundle.metadata["recipe"]]
    curves = _calibrations(bundle)
    with torch.inference_mode():
        answer = bundle.network(torch.zeros(1, recipe.in_channels, *3 * [2 * MULTIPLE]))
    return answer.shape[1] == recipe.out_channels == 2 * len(curves)


def _calibrations(bundle: Bundle) -> list[Calibration]:
    return [Calibration.read(curve) for curve in bundle.metadata["calibrations"]]


class Learned:
    """A network as a method of comparison.

    Args:
        network: of ``recipe``.
        recipe: what it sees and answers.
        calibrations: of z of voxels, and of every neighbourhood.
        device: torch device.
    """

    def __init__(self, network: torch.nn.Module, recipe: Recipe,
                 calibrations: Sequence[Calibration], device: str = "cpu") -> None:
        self.network = network.to(device).eval()
        self.recipe, self.calibrations, self.device = recipe, calibrations, device
        self.name, self.matched = recipe.name, recipe.matched

    @classmethod
    def of(cls, bundle: Bundle, device: str) -> Learned:
        return cls(bundle.network, RECIPES[bundle.metadata["recipe"]], _calibrations(bundle),
                   device)

    def __call__(self, pair: Compared) -> Finding:
        expected, error, z = self.raw(pair)
        calibrated = self.calibrations[0](z[0])
        if not self.recipe.sizes_mm:
            strength = self.calibrations[0](strength_of(z[0], pair.where, pair.spacing))
            return Finding(expected, error, calibrated, strength)
        strength = np.zeros_like(calibrated)
        for calibration, size in zip(self.calibrations[1:], z[1:], strict=True):
            mean = calibration(size)
            strength = np.where(np.abs(mean) > np.abs(strength), mean, strength)
        return Finding(expected, error, calibrated, strength, LEAST_Z)

    def raw(self, pair: Compared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected density and its error in HU, and z before calibration of voxels and sizes.

        All are measured against this pair's own bone: z of voxels by
        :meth:`.calibration.Calibration.of_pair`, those of sizes, whose tails are what counts, by
        having 95.45 % of the bone within 2.
        """
        answer, log_error = self._answer(channels_of(pair, self.recipe), pair.where)
        unit = unit_of(pair, self.recipe)
        z = (changes_of(pair, self.recipe) - answer) * np.exp(-log_error) * pair.where
        z[1:] /= np.reshape([_scale(size[pair.where]) for size in z[1:]], (-1, 1, 1, 1))
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


def _scale(z: np.ndarray) -> float:
    """Factor by which the errors of a pair were foreseen too small."""
    return float(np.clip(np.quantile(np.abs(z), WITHIN_2) / 2, *SCALES)) if z.size else 1.0
