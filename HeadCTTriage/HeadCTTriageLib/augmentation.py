# SPDX-License-Identifier: Apache-2.0
"""What slices of a simulated head are turned into before a network learns from them.

The published augmentation (Watanabe, KAKENHI 18K16600) made 17 images of each slice by flips,
rotations, scaling and noise; which ones is not said, so the amounts are ours. For our own network
scanners, windows and pictures of screens differ further, so that real scans are only one more way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ReadingRoomLib.geometry import AIR_HU

from .photo_training import photographed
from .slices import WINDOWS_HU


@dataclass(frozen=True)
class Variant:
    """One image that is made of a slice: turned by degrees, scaled, flipped, with noise."""

    degrees: float = 0.0
    scale: float = 1.0
    flips: tuple[int, ...] = ()
    noise: float = 0.0


VARIANTS = (
    Variant(), Variant(flips=(-1,)), Variant(flips=(-2,)), Variant(flips=(-2, -1)),
    *(Variant(degrees=degrees) for degrees in (-15, -10, -5, 5, 10, 15)),
    *(Variant(scale=scale) for scale in (0.85, 0.92, 1.08, 1.15)),
    *(Variant(noise=noise) for noise in (0.02, 0.04, 0.08)),
)
"""The 17 images of a slice; noise as share of the window."""


def published_variant(picture: torch.Tensor, number: int, seed: int) -> torch.Tensor:
    """One of the :data:`VARIANTS` of pictures (n, 1, height, width), 0 to 1."""
    variant = VARIANTS[number]
    moved = picture
    if variant.degrees or variant.scale != 1:
        moved = F.grid_sample(picture, _grid(picture, variant.degrees, variant.scale),
                              align_corners=False)
    moved = moved.flip(variant.flips) if variant.flips else moved
    if variant.noise:
        generator = torch.Generator().manual_seed(seed)
        moved = moved + variant.noise * torch.randn(moved.shape, generator=generator)
    return moved.clamp(0, 1)


@dataclass(frozen=True)
class Ranges:
    """What is drawn for each head; degrees, pixels, HU.

    ``camera_share`` of its slices are shown as photos of a monitor, see :mod:`.photo_training`.
    """

    degrees: float = 15.0
    scale: tuple[float, float] = (0.85, 1.18)
    shift: float = 12.0
    blur: tuple[float, float] = (0.0, 1.1)
    sharpen: float = 1.0
    noise: tuple[float, float] = (0.0, 6.0)
    gain: tuple[float, float] = (0.88, 1.12)
    offset: float = 5.0
    picture_share: float = 0.5
    camera_share: float = 0.0


USUAL = Ranges()


def vary(density: torch.Tensor, truth: torch.Tensor, random: np.random.Generator,
         ranges: Ranges = USUAL) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Show slices of one head as another scanner would, in another position.

    Args:
        density: HU, (n, height, width).
        truth: numbers of findings, the same shape, uint8.
        random: draws.
        ranges: of the draws.

    Returns:
        Density and truth of the same shapes, and whether left and right were swapped.
    """
    flipped = bool(random.random() < 0.5)
    low, high = ranges.scale
    grid = _grid(density[:, None], random.uniform(-1, 1) * ranges.degrees,
                 random.uniform(low, high), random.uniform(-1, 1, 2) * ranges.shift, flipped)
    # densities are moved to above air, so that what lies beyond the image is air
    moved = F.grid_sample(density[:, None] - AIR_HU, grid, align_corners=False) + AIR_HU
    there = F.grid_sample(truth[:, None].float(), grid, mode="nearest", align_corners=False)
    moved = _scanned(moved, random, ranges)
    if random.random() < ranges.picture_share:
        moved = _as_picture(moved, random)
    if ranges.camera_share:
        moved = _photographed(moved, random, ranges.camera_share)
    return moved[:, 0], there[:, 0].to(torch.uint8), flipped


def _scanned(density: torch.Tensor, random: np.random.Generator, ranges: Ranges) -> torch.Tensor:
    """Another sharpness, calibration and noise."""
    sigma = random.uniform(*ranges.blur)
    if sigma > 0.2:
        density = _blurred(density, sigma)
    if random.random() < 0.4:  # sharp kernels overshoot
        soft = density.clamp(-100, 200)
        density = density + random.uniform(0, ranges.sharpen) * (soft - _blurred(soft, 1.0))
    soft = density.clamp(-30, 130)  # bone and air keep what they are
    density = density + (soft - 30) * (random.uniform(*ranges.gain) - 1)
    density = density + random.uniform(-1, 1) * ranges.offset
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    noise = torch.randn(density.shape, generator=generator)
    grain = random.uniform(0.0, 0.9)
    if grain > 0.3:
        noise = _blurred(noise, grain)
    return density + random.uniform(*ranges.noise) * noise / noise.std()


def _as_picture(density: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """What remains where somebody chose a window and stored 256 levels, read as the usual one."""
    low, high = WINDOWS_HU["brain"]
    width = 60 * 4 ** random.random()
    level = random.uniform(28, 48)
    shown = ((density - level) / width + 0.5).clamp(0, 1) ** random.uniform(0.75, 1.3)
    shown = (shown * 255).round() / 255
    return low + shown * (high - low)


def _photographed(density: torch.Tensor, random: np.random.Generator,
                  share: float) -> torch.Tensor:
    """Some of the slices (n, 1, height, width), each as a photo of its own shows it."""
    low, high = WINDOWS_HU["brain"]
    chosen, seeds = random.random(len(density)) < share, random.integers(2**62, size=len(density))
    return torch.stack([
        low + (high - low) * torch.from_numpy(
            photographed(((one[0] - low) / (high - low)).clamp(0, 1).numpy(), int(seed)))[None]
        if photo else one for one, photo, seed in zip(density, chosen, seeds, strict=True)])


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = torch.arange(-3, 4)
    kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _grid(image: torch.Tensor, degrees: float, scale: float, shift=(0.0, 0.0),
          flipped: bool = False) -> torch.Tensor:
    """Where each pixel comes from, all slices alike."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    side = -1.0 if flipped else 1.0
    x, y = (2 * amount / size for amount, size in zip(shift, image.shape[:-3:-1], strict=True))
    matrix = torch.tensor([[side * cos, -side * sin, x], [sin, cos, y]], dtype=torch.float32)
    return F.affine_grid(matrix.expand(len(image), 2, 3), list(image.shape), align_corners=False)
