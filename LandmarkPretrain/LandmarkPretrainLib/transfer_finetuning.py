# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: all weights of an arm's network learn to tell lesions from normal places."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ReadingRoomLib.training import TrainingSettings, train

from .arms import features_of
from .boosting import Scorer

BATCH = 64
LEARNING_RATE = 3e-4


@dataclass(frozen=True)
class Balanced(Dataset):
    """Batches, half of them lesions; item k depends on the seed and k alone.

    Attributes:
        patches: (n, channels, p, p).
        lesion: (n,) bool.
        steps: how many batches.
        seed: of what is drawn.
    """

    patches: np.ndarray
    lesion: np.ndarray
    steps: int
    seed: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, step])
        chosen = np.concatenate([random.choice(np.flatnonzero(self.lesion == kind), BATCH // 2)
                                 for kind in (True, False)])
        return {"image": torch.from_numpy(self.patches[chosen].astype(np.float32)),
                "label": torch.from_numpy(self.lesion[chosen].astype(np.float32))[:, None]}


class Detector(nn.Module):
    """Features, then one number; higher for lesions."""

    def __init__(self, features: nn.Module, patches: torch.Tensor) -> None:
        super().__init__()
        self.features = features
        with torch.inference_mode():
            width = features.eval()(patches).shape[1]
        self.answer = nn.Linear(width, 1)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.answer(self.features(patches))


def fine_tune(network: nn.Module, patches: np.ndarray, lesion: np.ndarray, steps: int, seed: int,
              folder: Path, device: str,
              on_step: Callable[[int, float], None] | None = None) -> Scorer:
    """Train a copy of an arm's network; what was killed goes on in ``folder``.

    Args:
        network: that sees planes; it stays as it is.
        patches: of the training cases, (n, channels, p, p).
        lesion: (n,) bool.
        steps: of 64 patches.
        seed: of the batches.
        folder: for checkpoints; removed at the end.
        device: torch device.
        on_step: called with the steps done and the loss.
    """
    torch.manual_seed(seed)
    detector = Detector(copy.deepcopy(network).cpu(),
                        torch.from_numpy(patches[:2].astype(np.float32)))
    settings = TrainingSettings(
        steps=steps, learning_rate=LEARNING_RATE, warmup_steps=max(1, steps // 10),
        average_decay=0.98, checkpoint_every=100, workers=0, bfloat16=False, seed=seed)
    trained = train(detector, Balanced(patches, lesion, steps, seed),
                    nn.functional.binary_cross_entropy_with_logits, settings, folder, device,
                    on_step)
    shutil.rmtree(folder, ignore_errors=True)
    return lambda given: features_of(trained, given, device)[:, 0][None]
