# SPDX-License-Identifier: Apache-2.0
"""The two networks of this module: the published one (``seed``) and today's (``modern``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks.dynunet_block import UnetBasicBlock, get_conv_layer
from torch import nn


class BayesianUNet(nn.Module):
    """The published 2D U-Net with dropout after every contraction and expansion block.

    Source: Hiasa et al., IEEE TMI 2020. Five levels of 32 to 512 filters; a block is two 3x3
    convolutions with reflect padding, each with batch normalisation and ReLU; max-pooling down,
    3x3 stride-2 transposed convolution (bilinear at the start) up; dropout of single activations
    with p = 0.5, on during inference too.

    Args:
        out_channels: number of classes with background.
        filters: filters of the first level; every level down has twice as many.
        levels: number of levels.
        dropout: probability of dropping an activation.

    Shapes: input (N, 1, H, W) with intensities scaled to [0, 1], H and W divisible by 16;
    output logits (N, out_channels, H, W).
    """

    def __init__(self, out_channels: int = 23, filters: int = 32, levels: int = 5,
                 dropout: float = 0.5) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(levels)]
        inputs = [1, *widths[:-1]]
        self.down = nn.ModuleList(
            _published_block(i, w, dropout) for i, w in zip(inputs, widths, strict=True)
        )
        self.upsample = nn.ModuleList(_bilinear_upsampling(w) for w in widths[:0:-1])
        self.up = nn.ModuleList(_published_block(2 * w, w, dropout) for w in widths[-2::-1])
        self.head = nn.Conv2d(filters, out_channels, 1)
        self.pool = nn.MaxPool2d(2)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        skips = []
        x = image
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for upsample, block, skip in zip(self.upsample, self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, upsample(x)], 1))
        return self.head(x)


def _published_block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, padding_mode="reflect"),
                   nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout))


def _bilinear_upsampling(channels: int) -> nn.ConvTranspose2d:
    """Transposed 3x3 convolution that halves the channels and starts as bilinear interpolation."""
    layer = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
    ramp = torch.tensor([0.5, 1.0, 0.5])
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel % (channels // 2)] = torch.outer(ramp, ramp) / 2
        layer.bias.zero_()
    return layer


class ContextUNet(nn.Module):
    """U-Net that sees a slice with its neighbours, small enough for an office computer.

    The neighbouring slices come in as channels, so that a structure is recognised in its context
    at the cost of a 2D network. Dropout of whole feature maps sits in the bottleneck and in the
    deep part of the decoder only, so that Monte Carlo samples share one pass of the encoder.

    With ``patch`` pixels of a square come in as channels and go out as channels (Shi et al., CVPR
    2016), so that no layer works at full resolution, where a network of few filters waits for
    memory: 2 x 2 takes two thirds of the time.

    Args:
        in_channels: intensity windows times slices, see :class:`MuscleSegLib.recipes.Recipe`.
        out_channels: number of classes with background.
        filters: filters of each level.
        patch: side of the square.
        dropout: probability of dropping a feature map; stays on for Monte Carlo samples.

    Shapes: input (N, in_channels, H, W), H and W divisible by ``multiple``; output logits
    (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int = 10, out_channels: int = 23,
                 filters: Sequence[int] = (16, 32, 96, 160, 224), patch: int = 1,
                 dropout: float = 0.2) -> None:
        super().__init__()
        self.patch = patch
        self.multiple = patch * 2 ** (len(filters) - 1)
        inputs = [in_channels * patch**2, *filters[:-1]]
        self.down = nn.ModuleList(
            _block(i, o, stride=2 if level else 1)
            for level, (i, o) in enumerate(zip(inputs, filters, strict=True))
        )
        ascending = range(len(filters) - 2, -1, -1)
        self.upsample = nn.ModuleList(
            get_conv_layer(2, filters[n + 1], filters[n], kernel_size=2, stride=2, conv_only=True,
                           is_transposed=True)
            for n in ascending
        )
        self.up = nn.ModuleList(_block(2 * filters[n], filters[n]) for n in ascending)
        self.dropout = nn.ModuleList(
            nn.Dropout2d(dropout) if n else nn.Identity() for n in ascending
        )
        self.head = nn.Conv2d(filters[0], out_channels * patch**2, 1)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features of every level, without any randomness."""
        features = []
        x = F.pixel_unshuffle(image, self.patch)
        for block in self.down:
            x = block(x)
            features.append(x)
        return features

    def decode(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Logits from the features; random while the dropout layers are in training mode."""
        x = features[-1]
        for dropout, upsample, block, skip in zip(
            self.dropout, self.upsample, self.up, features[-2::-1], strict=True
        ):
            x = block(torch.cat([skip, upsample(dropout(x))], 1))
        return F.pixel_shuffle(self.head(x), self.patch)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(image))


def _block(inputs: int, outputs: int, stride: int = 1) -> UnetBasicBlock:
    # batch normalisation with ReLU trains twice as fast in bfloat16 on a CPU as instance
    # normalisation with leaky ReLU, and costs nothing at inference
    return UnetBasicBlock(2, inputs, outputs, kernel_size=3, stride=stride, norm_name="BATCH",
                          act_name=("relu", {"inplace": True}))
