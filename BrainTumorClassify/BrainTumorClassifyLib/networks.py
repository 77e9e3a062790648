# SPDX-License-Identifier: Apache-2.0
"""Our network: from all slices of a tumour in three sequences to one answer for the patient."""

from __future__ import annotations

import torch
from torch import nn

from ReadingRoomLib.layers import Residual, attention_scores, check_widths

from .sequences import SEQUENCES

SMALL = {"widths": [16, 32, 64, 128], "hidden": 32}
"""Arguments of a network for some hundred patients."""
FOLDED = 2  # side of the pixels' squares that the first layer sees at once


class TumorNetwork(nn.Module):
    """A patient from the slices of a tumour: attention over them decides (Ilse et al., ICML 2018).

    Each slice is looked at by the same residual encoder (2.5D: the slice and, as further channels,
    which sequences are there); what it saw is weighed over the slices and joined with radiomic
    features of the whole region.

    Args:
        classes: kinds of tumour.
        features: radiomic features of a patient.
        widths: channels at a half, a quarter, ... of the pixels; at least 8.
        hidden: width of what is known of a slice.
        dropout: before the answer.
    """

    def __init__(self, classes: int = 3, features: int = 0,
                 widths: tuple[int, ...] = (24, 48, 96, 160), hidden: int = 64,
                 dropout: float = 0.3) -> None:
        super().__init__()
        check_widths(tuple(widths))
        channels = 2 * len(SEQUENCES)
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(FOLDED),
            nn.Conv2d(channels * FOLDED**2, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]), nn.ReLU(), Residual(widths[0], widths[0])]
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [Residual(before, after, 2), Residual(after, after)]
        self.encoder = nn.Sequential(*layers)
        self.embed = nn.Sequential(nn.Linear(2 * widths[-1], hidden), nn.ReLU(),
                                   nn.Dropout(dropout))
        self.attention = attention_scores(hidden)
        self.register_buffer("usual", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.answer = nn.Sequential(
            nn.Linear(3 * hidden + features, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, classes))

    def forward(self, slices: torch.Tensor, present: torch.Tensor,
                features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Judge patients.

        Args:
            slices: (n, slices, sequences, height, width), 0 to 1; sides are multiples of 16.
            present: (n, sequences), 1 where a sequence is there, else 0.
            features: radiomic, (n, features); what cannot be known, as of a sequence that is not
                there, is NaN and counts as usual.

        Returns:
            Logits of the kinds (n, classes), attention (n, slices) of sum 1, and what is known of
            the patient, (n, hidden): patients that are alike lie near each other.
        """
        return self.judge(self.see(slices, present), features)

    def see(self, slices: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What the encoder sees where, (n, slices, code, height / 16, width / 16)."""
        there = present[:, None, :, None, None].expand_as(slices)
        x = torch.cat([(slices * 2 - 1) * there, there], 2).flatten(0, 1)
        seen = self.encoder(x.contiguous(memory_format=torch.channels_last))
        return seen.unflatten(0, slices.shape[:2])

    def judge(self, seen: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The answer of :meth:`forward` from what the encoder saw."""
        return self.decide(self.describe(seen.mean((3, 4)), seen.amax((3, 4))), features)

    def describe(self, mean: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
        """What is known of slices, (n, slices, hidden), from mean and maximum of what was seen."""
        return self.embed(torch.cat([mean, highest], 2))

    def decide(self, known: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The answer of :meth:`forward` from what is known of the slices."""
        weights = self.attention(known).squeeze(-1).softmax(1)
        unusual = ((features - self.usual) / self.spread).clamp(-4, 4).nan_to_num(0.0)
        patient = torch.cat([(weights[..., None] * known).sum(1), known.mean(1), known.amax(1),
                             unusual], 1)
        alike = self.answer[1](self.answer[0](patient))
        return self.answer[3](self.answer[2](alike)), weights, alike

    def know_features(self, features: torch.Tensor) -> None:
        """Learn what is usual from patients (n, features); NaN is left out."""
        known = ~features.isnan()
        count = known.sum(0).clamp(min=1)
        self.usual.copy_(features.nan_to_num(0.0).sum(0) / count)
        squares = ((features - self.usual).nan_to_num(0.0) ** 2).sum(0) / count
        self.spread.copy_(squares.sqrt().clamp(min=1e-6))
