# SPDX-License-Identifier: Apache-2.0
"""Networks: the published mini-VGG on 2.5D patches, and a field of landmarks in 3D."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ReadingRoomLib.layers import check_widths

NONE = 0
"""Class of what is no landmark; landmark number k of a model is class k + 1."""


class MiniVGG(nn.Module):
    """A small VGG (Simonyan & Zisserman 2015) for patches, as Nemoto (KAKENHI 17K17680) describes.

    The publication searched for depth and patch size and gives neither; these are ours.

    Args:
        classes: landmarks and one for none.
        channels: of a patch: three planes for each size.
        widths: channels of the blocks; each block halves the pixels.
        convolutions: of a block.
        hidden: width of the layer before the answer.
        dropout: before and after it.
        pixels: of a side of the patches.
    """

    def __init__(self, classes: int, channels: int = 3, widths: tuple[int, ...] = (32, 64, 128),
                 convolutions: int = 2, hidden: int = 256, dropout: float = 0.5,
                 pixels: int = 32) -> None:
        super().__init__()
        check_widths(tuple(widths))
        layers: list[nn.Module] = []
        before = channels
        for width in widths:
            for _ in range(convolutions):
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False),
                           nn.BatchNorm2d(width), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.encoder = nn.Sequential(*layers)
        side = pixels // 2 ** len(widths)
        self.embed = nn.Sequential(nn.Flatten(), nn.Dropout(dropout),
                                   nn.Linear(before * side**2, hidden), nn.ReLU())
        self.answer = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, classes))

    def features(self, patches: torch.Tensor) -> torch.Tensor:
        """What it knows of patches (n, channels, pixels, pixels): (n, hidden), at least 0."""
        # channels last: processors take half the time and less for small pictures so laid out
        return self.embed(self.encoder(patches.contiguous(memory_format=torch.channels_last)))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits of the classes, (n, classes)."""
        return self.answer(self.features(patches))


class _Double(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for before in (inputs, outputs):
            layers += [nn.Conv3d(before, outputs, 3, padding=1, bias=False),
                       nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01)]
        super().__init__(*layers)


class LandmarkField(nn.Module):
    """A U-Net (Ronneberger et al. 2015) whose answer is, at every voxel, which landmark is there.

    It is trained with two softmaxes over the same logits: over places (where in this image is
    landmark k) and over names (which landmark, if any, is at this place); see :mod:`.fields`.

    Args:
        landmarks: how many.
        widths: channels at full, half, a quarter, ... resolution; at least 8.
    """

    def __init__(self, landmarks: int, widths: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        check_widths(tuple(widths))
        self.down = nn.ModuleList(_Double(before, after) for before, after in
                                  zip((1, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(_Double(deep + flat, flat) for flat, deep in
                                zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.answer = nn.Conv3d(widths[0], landmarks + 1, 1)
        self.multiple = 2 ** (len(widths) - 1)

    def _levels(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Maps from the deepest to the finest, after the way up."""
        skipped = []
        for number, block in enumerate(self.down):
            image = block(F.max_pool3d(image, 2) if number else image)
            skipped.append(image)
        found = [skipped.pop()]
        for block in self.up:
            flat = skipped.pop()
            wide = F.interpolate(found[-1], size=flat.shape[2:], mode="nearest")
            found.append(block(torch.cat([wide, flat], 1)))
        return found

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, landmarks + 1, z, y, x) of an image (n, 1, z, y, x); channel 0 is none."""
        return self.answer(self._levels(image)[-1])

    def features(self, cubes: torch.Tensor) -> torch.Tensor:
        """What it knows of cubes (n, 1, p, p, p): every level's mean near the middle and over all.

        Returns:
            (n, 2 * sum of widths).
        """
        found = []
        for level in self._levels(cubes):
            side = level.shape[-1]
            near = slice(side // 2 - max(1, side // 8), side // 2 + max(1, side // 8))
            found += [level[:, :, near, near, near].mean((2, 3, 4)), level.mean((2, 3, 4))]
        return torch.cat(found, 1)


class LandmarkCascade(nn.Module):
    """Two fields: one sees the whole image on coarse voxels, one looks closely.

    Args:
        landmarks: how many.
        coarse, fine: widths of the two.
    """

    def __init__(self, landmarks: int, coarse: tuple[int, ...] = (16, 32, 64, 96),
                 fine: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.coarse = LandmarkField(landmarks, coarse)
        self.fine = LandmarkField(landmarks, fine)

    def features(self, cubes: torch.Tensor) -> torch.Tensor:
        """What the fine field knows of cubes (n, 1, p, p, p)."""
        return self.fine.features(cubes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the coarse field; see :class:`LandmarkField`."""
        return self.coarse(image)
