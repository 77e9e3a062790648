# SPDX-License-Identifier: Apache-2.0
"""The network of the ``seed`` recipe; ``modern`` is MONAI's residual U-Net."""

from __future__ import annotations

import torch
from torch import nn


class ResidualCNN(nn.Module):
    """Plain residual CNN in 3D that keeps the resolution.

    After the network of Hanaoka's KAKENHI report 18K12095, which predicts every voxel of the
    current CT from the prior one together with its own error; the report gives no layers.

    Args:
        in_channels, out_channels: of input and answer.
        features: of every layer.
        blocks: of two 3x3x3 convolutions each; a voxel sees 2 + 4 * ``blocks`` neighbours.

    Shapes: (N, in_channels, D, H, W) to (N, out_channels, D, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, features: int = 16,
                 blocks: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv3d(in_channels, features, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Conv3d(features, features, 3, padding=1),
                          nn.ReLU(), nn.Conv3d(features, features, 3, padding=1))
            for _ in range(blocks))
        self.last = nn.Conv3d(features, out_channels, 1)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        x = self.first(channels)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)
