# SPDX-License-Identifier: Apache-2.0
"""Parts of networks that several modules have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

LEAST_WIDTH = 8
"""Channels of a layer. The gradient of a 1x1 convolution with a stride is wrong for fewer on a
processor with AVX2, and may crash or never end there: oneDNN in PyTorch 2.13."""


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al., CVPR 2016); halves the pixels on demand."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def check_widths(widths: tuple[int, ...]) -> None:
    """Raise ValueError where a width is below `LEAST_WIDTH`."""
    if min(widths) < LEAST_WIDTH:
        raise ValueError(f"widths of {min(widths)} channels; at least {LEAST_WIDTH}, please")


def attention_scores(features: int) -> nn.Sequential:
    """From what is known of each part, (n, parts, features), how much it counts, (n, parts, 1).

    A softmax over the parts makes weights of it (Ilse et al., ICML 2018).
    """
    return nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, 1))
