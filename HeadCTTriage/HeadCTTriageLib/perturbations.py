# SPDX-License-Identifier: Apache-2.0
"""What happens to images on their way, and what somebody could do to them on purpose."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch

from ReadingRoomLib.geometry import AIR_HU
from ReadingRoomLib.perturbations import Perturbation, stored_as_jpeg

from .certainty import RED
from .slices import WINDOWS_HU

STORED_HU = (-50.0, 205.0)  # in 256 levels, of what is compressed with loss
PGD_STEPS = 5

Slices = np.ndarray
"""(slices, height, width), HU."""


def noisy(density: Slices, sigma: float, random: np.random.Generator) -> Slices:
    """Add Gaussian noise of a standard deviation in HU."""
    return density + sigma * random.standard_normal(density.shape, np.float32)


def shifted(density: Slices, offset: float, random: np.random.Generator) -> Slices:
    """As if the window lay elsewhere, or the scanner were off: all densities move by HU."""
    return density + (offset if random.random() < 0.5 else -offset)


def turned(density: Slices, degrees: float, random: np.random.Generator) -> Slices:
    """Turn the head in its slices."""
    angle = np.radians(degrees if random.random() < 0.5 else -degrees)
    middle = [(size - 1) / 2 for size in density.shape[:0:-1]]
    turn = sitk.Euler2DTransform(middle, float(angle))
    return np.stack([sitk.GetArrayFromImage(sitk.Resample(
        sitk.GetImageFromArray(plane), turn, sitk.sitkLinear, AIR_HU)) for plane in density])


def compressed(density: Slices, loss: float, random: np.random.Generator) -> Slices:
    """Store as JPEG of quality 100 less the loss; what is brighter or darker is cut off."""
    low, high = STORED_HU
    levels = np.rint((density - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    stored = stored_as_jpeg(levels, max(1, round(100 - loss)))
    return low + stored.astype(np.float32) / 255 * (high - low)


def dropped(density: Slices, share: float, random: np.random.Generator) -> Slices:
    """Lose slices; at least one is left."""
    count = max(1, round(len(density) * (1 - share)))
    return density[np.sort(random.choice(len(density), count, replace=False))]


EVERYDAY = (
    Perturbation("noise", "HU", (2, 5, 10, 20), noisy),
    Perturbation("window", "HU", (2, 5, 10, 20), shifted),
    Perturbation("rotation", "degrees", (5, 10, 20, 40), turned),
    Perturbation("compression", "loss of quality", (10, 50, 80, 95), compressed),
    Perturbation("dropped slices", "share", (0.1, 0.25, 0.5, 0.75), dropped),
)


def adversarial(network: torch.nn.Module, windows: tuple[str, ...], over_heads: bool,
                ) -> tuple[Perturbation, ...]:
    """Changes that no reader sees and that are made to change the answer.

    Each pixel changes by at most the strength in HU, in the direction that moves the probability of
    being urgent away from where it is: in one step (FGSM, Goodfellow et al., ICLR 2015) or in
    several (PGD, Madry et al., ICLR 2018).

    Args:
        network: whose gradient is known to the attacker.
        windows: that it sees.
        over_heads: whether it takes heads of slices, or slices.
    """

    def urgent(density: torch.Tensor) -> torch.Tensor:
        """Above 0 where the head looks urgent."""
        slices = torch.stack([((density - low) / (high - low)).clamp(0, 1)
                              for low, high in map(WINDOWS_HU.get, windows)], 1)
        if over_heads:
            return network(slices[None])[0][0, RED]
        tags = network(slices)
        return (tags[:, RED + 1:].logsumexp(1) - tags[:, :RED + 1].logsumexp(1)).mean()

    def attacked(density: Slices, most: float, steps: int) -> Slices:
        begun = torch.from_numpy(density.astype(np.float32))
        with torch.no_grad():
            towards = -float(urgent(begun).sign())
        now, step = begun, most if steps == 1 else 2.5 * most / steps
        for _ in range(steps):
            here = now.clone().requires_grad_()
            (slope,) = torch.autograd.grad(urgent(here), here)
            now = begun + (now + step * towards * slope.sign() - begun).clamp(-most, most)
        return now.numpy()

    strengths = (0.5, 1, 2, 5)
    return (
        Perturbation("adversarial, one step (FGSM)", "HU", strengths,
                     lambda density, most, random: attacked(density, most, 1)),
        Perturbation("adversarial, several steps (PGD)", "HU", strengths,
                     lambda density, most, random: attacked(density, most, PGD_STEPS)),
    )
