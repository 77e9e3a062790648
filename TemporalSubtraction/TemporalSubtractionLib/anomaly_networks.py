# SPDX-License-Identifier: Apache-2.0
"""Networks that know normal bone: an autoencoder, and two flows whose likelihoods are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets import AutoEncoder
from torch import nn

VOI = 16  # voxels along each side of what a network sees


class BoneAutoencoder(AutoEncoder):
    """MONAI's convolutional autoencoder, without normalisation, so that densities are kept.

    Args:
        channels: of each level; the last one is the code's.
        strides: of each level.

    Shapes: input (n, 1, 16, 16, 16); output the same reconstructed, and the code
    (n, channels[-1], 16 / product of the strides, ...).
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 16),
                 strides: Sequence[int] = (2, 2, 2, 1)) -> None:
        super().__init__(3, 1, 1, tuple(channels), tuple(strides), norm=None)

    def forward(self, voi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        code = self.encode(voi)
        return self.decode(self.intermediate(code)), code


class Scale(nn.Module):
    """A factor and a shift for each channel (Glow's activation normalisation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.zeros(1, channels, 1, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x + self.shift) * self.log_factor.exp(), self.log_factor.sum()

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return y * (-self.log_factor).exp() - self.shift


class Mixing(nn.Module):
    """An invertible matrix over the channels (Glow's 1 x 1 convolution)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.conv3d(x, self.matrix[..., None, None, None]), self.matrix.slogdet()[1]

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return F.conv3d(y, self.matrix.inverse()[..., None, None, None])


class Coupling(nn.Module):
    """Half of the channels tell the factor and the shift of the other half.

    The factor lies between 1/e^2 and e^2, so that no VOI, however odd, gives a number that is not
    finite.
    """

    LARGEST_LOG_FACTOR = 2.0

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv3d(channels // 2, hidden, 3, padding=1), nn.ReLU(),
            nn.Conv3d(hidden, hidden, 1), nn.ReLU(),
            nn.Conv3d(hidden, channels, 1),
        )
        nn.init.zeros_(self.net[-1].weight)  # begins as the identity
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told, kept = x.chunk(2, 1)
        log_factor, shift = self._told_by(kept)
        return torch.cat([told * log_factor.exp() + shift, kept], 1), log_factor.sum(1)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        told, kept = y.chunk(2, 1)
        log_factor, shift = self._told_by(kept)
        return torch.cat([(told - shift) * (-log_factor).exp(), kept], 1)

    def _told_by(self, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_factor, shift = self.net(kept).chunk(2, 1)
        limit = self.LARGEST_LOG_FACTOR
        return limit * torch.tanh(log_factor / limit), shift


class Flow(nn.Module):
    """A normalising flow of VOIs: Glow (Kingma & Dhariwal, NeurIPS 2018) in three dimensions.

    Cubes of 2 x 2 x 2 voxels become channels, then steps of scale, mixing and coupling follow; half
    of the channels are done then, the others go through the same again at half the resolution.

    Args:
        steps: of each level.
        hidden: channels inside the couplings of each level.

    Shapes: input (n, 1, 16, 16, 16); output the log-density of the VOI, in nats, parted over its
    cells (n, 4, 4, 4) of 4 x 4 x 4 voxels: their sum is that of the VOI, and each tells how well
    the cell fits to what lies around it.
    """

    def __init__(self, steps: int = 4, hidden: Sequence[int] = (16, 32)) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        channels = 1
        for width in hidden:
            channels *= 8
            self.levels.append(nn.ModuleList(
                part for _ in range(steps)
                for part in (Scale(channels), Mixing(channels), Coupling(channels, width))))
            channels //= 2

    def forward(self, voi: torch.Tensor) -> torch.Tensor:
        return self.encode(voi)[1]

    def encode(self, voi: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The standard normal numbers that stand for a VOI, level by level, and its log-density."""
        latents, parts, x = [], [], voi
        for level in self.levels:
            x = squeeze(x)
            log_det = torch.zeros_like(x[:, 0])
            for part in level:
                x, change = part(x)
                log_det = log_det + change
            latent, x = x.chunk(2, 1) if level is not self.levels[-1] else (x, x)
            latents.append(latent)
            parts.append(log_det - 0.5 * (latent**2 + math.log(2 * math.pi)).sum(1))
        size = parts[-1].shape[-3:]
        cells = [F.adaptive_avg_pool3d(part, size) * (part[0].numel() / parts[-1][0].numel())
                 for part in parts]
        return latents, sum(cells)

    def decode(self, latents: list[torch.Tensor]) -> torch.Tensor:
        """The VOI that the numbers stand for: the inverse of :meth:`encode`."""
        x = None
        for level, latent in zip(reversed(self.levels), reversed(latents), strict=True):
            x = latent if x is None else torch.cat([latent, x], 1)
            for part in reversed(level):
                x = part.inverse(x)
            x = unsqueeze(x)
        return x


class LikelihoodRatio(nn.Module):
    """Two flows of the same kind: one knows bone, the other bone with something foreign in it.

    A likelihood alone is large wherever there is little to see; what both flows find likely or
    unlikely, such as noise and sharp edges, cancels in the ratio (Ren et al., NeurIPS 2019, where
    the second model learns from mutated input; Serra et al., ICLR 2020).

    Shapes: as of :class:`Flow`; output log background density minus log bone density.
    """

    def __init__(self, steps: int = 4, hidden: Sequence[int] = (16, 32)) -> None:
        super().__init__()
        self.bone = Flow(steps, hidden)
        self.background = Flow(steps, hidden)

    def forward(self, voi: torch.Tensor) -> torch.Tensor:
        return self.background(voi) - self.bone(voi)


def squeeze(x: torch.Tensor) -> torch.Tensor:
    """Cubes of 2 x 2 x 2 voxels as channels: (n, c, z, y, x) to (n, 8 c, z / 2, y / 2, x / 2)."""
    n, c, *size = x.shape
    depth, height, width = (side // 2 for side in size)
    cubes = x.reshape(n, c, depth, 2, height, 2, width, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return cubes.reshape(n, 8 * c, depth, height, width)


def unsqueeze(x: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`squeeze`."""
    n, c, depth, height, width = x.shape
    cubes = x.reshape(n, c // 8, 2, 2, 2, depth, height, width).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cubes.reshape(n, c // 8, 2 * depth, 2 * height, 2 * width)
