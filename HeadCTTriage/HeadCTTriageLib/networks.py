# SPDX-License-Identifier: Apache-2.0
"""The networks: the published one slice by slice, and ours over all slices of a head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ReadingRoomLib.layers import Residual, attention_scores, check_widths
from ReadingRoomLib.phantoms.head_findings import KINDS, SOFT

from .slices import BONE_HU, WINDOWS_HU
from .triage import Tag

HALVED = 2  # side of the pixels' squares that the first layer of our network sees at once
BONE = (BONE_HU - WINDOWS_HU["bone"][0]) / (WINDOWS_HU["bone"][1] - WINDOWS_HU["bone"][0])
"""Where bone begins in its window; what is white in a picture is below it."""


class AlexNet(nn.Module):
    """AlexNet (Krizhevsky et al., NIPS 2012) for one slice, as Watanabe (KAKENHI 18K16600) took it.

    The report says that it was adapted and not how. The five convolutions are those of AlexNet, for
    one channel; in place of its fully connected layers, 58 million weights made for a thousand
    classes, stand the mean and maximum of every feature, brought to a common scale, and one hidden
    layer.

    Args:
        classes: number of logits.
        hidden: width of the hidden layer.
        dropout: as in AlexNet, before both last layers.
    """

    def __init__(self, classes: int = len(Tag), hidden: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(512, affine=False), nn.Dropout(dropout), nn.Linear(512, hidden),
            nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of slices (n, 1, height, width), 0 to 1, in the brain window."""
        return self.classifier(self.pooled(slices))

    def pooled(self, slices: torch.Tensor) -> torch.Tensor:
        """Mean and maximum of every feature, (n, 512), which the classifier decides by."""
        features = self.features(slices * 2 - 1)
        return torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)


class SliceBackbone(nn.Module):
    """Shows where in a slice each kind of finding lies; what it saw on the way is the slice's code.

    A residual encoder and a decoder that adds (as in feature pyramids, Lin et al., CVPR 2017).

    Args:
        windows: channels of a slice; the last one is that of bone.
        widths: channels at a half, a quarter, ... of the pixels; at least 8.
        kinds: of findings.

    Raises:
        ValueError: a width is less.
    """

    def __init__(self, windows: int = 3, widths: tuple[int, ...] = (16, 32, 64, 128),
                 kinds: int = len(KINDS)) -> None:
        super().__init__()
        check_widths(widths)
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(HALVED),
            nn.Conv2d(windows * HALVED**2, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]), nn.ReLU(), Residual(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(Residual(before, after, 2), Residual(after, after))
            for before, after in zip(widths[:-1], widths[1:], strict=True))
        self.across = nn.ModuleList(
            nn.Conv2d(after, before, 1)
            for before, after in zip(widths[:-1], widths[1:], strict=True))
        self.mix = nn.ModuleList(Residual(width, width) for width in widths[:-1])
        self.maps = nn.Conv2d(widths[0], kinds, 1)
        self.code_size = 2 * widths[-1] + 2 * kinds
        nn.init.constant_(self.maps.bias, -4.0)  # findings are rare
        soft = torch.tensor([float(kind in SOFT) for kind in KINDS[:kinds]]).view(1, -1, 1, 1)
        self.register_buffer("soft", soft, persistent=False)

    def forward(self, slices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Look at slices.

        Args:
            slices: (n, windows, height, width), 0 to 1; sides are multiples of 16.

        Returns:
            Logits of where findings are, (n, kinds, height / 2, width / 2), and codes of the
            slices, (n, ``code_size``).
        """
        levels = [self.stem(slices * 2 - 1)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = deepest = levels[-1]
        for level, across, mix in reversed(list(zip(
                levels[:-1], self.across, self.mix, strict=True))):
            x = mix(level + F.interpolate(across(x), level.shape[-2:], mode="nearest"))
        maps = self.maps(x)
        # skull cut at a slant looks like blood on its edge; what lies in bone is none
        bone = (F.avg_pool2d(slices[:, -1:], HALVED) > BONE).to(maps.dtype)
        found = maps.sigmoid() * (1 - bone * self.soft)
        # a tenth of the area counts as much as a certain place
        code = torch.cat([deepest.mean((2, 3)), deepest.amax((2, 3)), found.amax((2, 3)),
                          (10 * found.mean((2, 3))).clamp(max=10)], 1)
        return maps, code


class TriageNetwork(nn.Module):
    """A head from its slices: attention over them decides (Ilse et al., ICML 2018).

    Args:
        windows, widths: of the backbone.
        hidden: width of what is known of a slice.
        dropout: before the answers.
    """

    def __init__(self, windows: int = 3, widths: tuple[int, ...] = (16, 32, 64, 128),
                 hidden: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.backbone = SliceBackbone(windows, tuple(widths))
        code = self.backbone.code_size
        # parts of a code differ a hundredfold in size
        self.usual = nn.BatchNorm1d(code, affine=False)
        self.slice_kinds = nn.Linear(code, len(KINDS))
        self.embed = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.attention = attention_scores(hidden)
        self.answer = nn.Sequential(
            nn.Linear(3 * hidden + len(KINDS), hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, len(Tag)))

    def forward(self, slices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Judge heads.

        Args:
            slices: (n, slices, windows, height, width), 0 to 1.

        Returns:
            Logits that the tag is at least yellow, red and black (n, 3); logits of each kind in
            each slice (n, slices, kinds); where each lies, logits
            (n, slices, kinds, height / 2, width / 2); attention (n, slices), of sum 1; shift of
            the midline in cm (n,).
        """
        maps, codes = self.backbone(slices.flatten(0, 1))
        maps = maps.unflatten(0, slices.shape[:2])
        tags, kinds, attention, shift = self.judge(codes.unflatten(0, slices.shape[:2]))
        return tags, kinds, maps, attention, shift

    def judge(self, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The same from the codes of slices (n, slices, code), without the maps."""
        areas = codes[..., -len(KINDS):]  # of findings, over all slices their volume
        codes = self.usual(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        known = self.embed(codes)
        attention = self.attention(known).squeeze(-1).softmax(1)
        head = torch.cat([(attention[..., None] * known).sum(1), known.mean(1), known.amax(1),
                          areas.mean(1)], 1)
        answer = self.answer(head)
        return answer[:, :-1], self.slice_kinds(codes), attention, answer[:, -1]
