# SPDX-License-Identifier: Apache-2.0
"""What the networks are trained by."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ReadingRoomLib.phantoms.head_findings import KINDS

from .networks import HALVED

DICE_WEIGHT = 0.5  # beside the cross-entropy
FINDING_WEIGHT = 3.0  # of a pixel with a finding: they are rare
KIND_WEIGHT, SHIFT_WEIGHT = 0.5, 0.3  # beside the tag


def map_loss(answer: tuple[torch.Tensor, torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and soft Dice (Milletari et al., 3DV 2016) of where findings lie.

    Args:
        answer: of the backbone; the logits are (n, kinds, height / 2, width / 2).
        truth: numbers of findings, (n, height, width), uint8.
    """
    logits = answer[0].float()
    wanted = kinds_of(truth)
    entropy = F.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=torch.tensor(FINDING_WEIGHT, device=logits.device))
    found = logits.sigmoid()
    both, either = (found * wanted).sum((0, 2, 3)), (found + wanted).sum((0, 2, 3))
    there = wanted.amax((0, 2, 3))  # a kind that no slice shows has no overlap
    overlap = (2 * both + 1) / (either + 1)
    dice = ((1 - overlap) * there).sum() / there.sum().clamp(min=1)
    return 10 * entropy + DICE_WEIGHT * dice


def kinds_of(truth: torch.Tensor) -> torch.Tensor:
    """Numbers of findings as one plane for each kind, on half of the pixels: where any lies."""
    numbers = torch.arange(1, len(KINDS) + 1, device=truth.device).view(1, -1, 1, 1)
    return F.max_pool2d((truth[:, None] == numbers).float(), HALVED)


def judge_loss(answer: tuple[torch.Tensor, ...], wanted: torch.Tensor) -> torch.Tensor:
    """Of the judgement of heads from the codes of their slices.

    Args:
        answer: of :meth:`.networks.TriageNetwork.judge`.
        wanted: (n, 2 + slices * kinds): tag, shift of the midline in cm, kinds in each slice.
    """
    tags, kinds, _, shift = answer
    steps = torch.arange(1, tags.shape[1] + 1, device=tags.device)
    at_least = (wanted[:, :1] >= steps).float()  # yellow, red, black (Frank & Hall, ECML 2001)
    return (F.binary_cross_entropy_with_logits(tags, at_least)
            + KIND_WEIGHT * F.binary_cross_entropy_with_logits(kinds.flatten(1), wanted[:, 2:])
            + SHIFT_WEIGHT * F.smooth_l1_loss(shift, wanted[:, 1], beta=0.2))


def tag_loss(logits: torch.Tensor, tag: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the published four classes; every slice has the tag of its patient."""
    return F.cross_entropy(logits, tag)
