# SPDX-License-Identifier: Apache-2.0
"""What the publication compares with: a mini-VGG that learned the photographs of CIFAR-10."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.results import file_sha256, whole_file
from ReadingRoomLib.training import TrainingSettings, train

from .arms import Arm, Features, mini_vgg_like
from .cifar import CLASSES, Photographs, read_cifar

BATCH = 64
MOST_SHIFT = 4  # pixels
HELD_OUT = 10  # every tenth photograph, to say how well it was learned


class PhotographBatches(Dataset):
    """Batches of photographs, mirrored and shifted; item k depends on the seed and k alone."""

    def __init__(self, photographs: Photographs, steps: int, seed: int) -> None:
        self.photographs, self.steps, self.seed = photographs, steps, seed
        self.learned = np.flatnonzero(np.arange(len(photographs.labels)) % HELD_OUT)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, step])
        chosen = random.choice(self.learned, BATCH)
        images = self.photographs.images[chosen]
        mirrored = random.random(BATCH) < 0.5
        images[mirrored] = images[mirrored][..., ::-1]
        shifts = random.integers(-MOST_SHIFT, MOST_SHIFT + 1, (BATCH, 2))
        images = np.stack([np.roll(image, shift, (1, 2))
                           for image, shift in zip(images, shifts, strict=True)])
        return {"image": shown(images), "label": torch.from_numpy(
            self.photographs.labels[chosen]).long()}


def shown(images: np.ndarray) -> torch.Tensor:
    """Bytes as values in [-1, 1], as patches have."""
    return torch.from_numpy(images.astype(np.float32)) / 127.5 - 1


def cifar_arm(archive: Path, bundle: Bundle, steps: int, seed: int, work: Path, device: str,
              on_step: Callable[[int], None] = lambda step: None) -> Arm:
    """Train on CIFAR-10, or take the network that was trained before.

    Args:
        archive: the binary version, see :mod:`.cifar`.
        bundle: of the landmarks, whose mini-VGG is built again.
        steps: of 64 photographs.
        seed: of weights and batches.
        work: keeps the training, which goes on where it was killed, and its network.
        device: torch device.
        on_step: called with the number of steps done.

    Raises:
        BadInput: the archive cannot be used.
    """
    network = mini_vgg_like(bundle, CLASSES)
    known = hashlib.sha256(f"{file_sha256(archive) if archive.is_file() else ''} {network} {steps} "
                           f"{seed}".encode()).hexdigest()
    path = work / f"cifar-{known[:16]}.pt"
    if not path.exists():
        photographs = read_cifar(archive)
        torch.manual_seed(seed)
        network = mini_vgg_like(bundle, CLASSES)
        settings = TrainingSettings(
            steps=steps, learning_rate=1e-3, weight_decay=1e-3,
            warmup_steps=max(1, steps // 20), decay_share=0.7, average_decay=0.99,
            checkpoint_every=max(100, steps // 10), workers=0, bfloat16=False, seed=seed)
        trained = train(network, PhotographBatches(photographs, steps, seed),
                        nn.functional.cross_entropy, settings, work / f"cifar-{known[:16]}",
                        device, lambda step, _: on_step(step))
        right = _share_right(trained, photographs, device)
        with whole_file(path) as unfinished:
            torch.save({"weights": trained.cpu().state_dict(), "right": right}, unfinished)
    kept = torch.load(path, weights_only=True)
    network.load_state_dict(kept["weights"])
    return Arm("cifar", f"a mini-VGG of the same build that learned the ten kinds of things in the "
               f"photographs of CIFAR-10 in {steps} steps; it names {100 * kept['right']:.0f} % of "
               "photographs that it has not seen", known, (Features(network, 3).eval(),))


def _share_right(network: nn.Module, photographs: Photographs, device: str) -> float:
    """Of the photographs that were held out."""
    held_out = np.flatnonzero(np.arange(len(photographs.labels)) % HELD_OUT == 0)[:2000]
    right = 0
    with torch.inference_mode():
        for part in np.array_split(held_out, max(1, len(held_out) // 256)):
            answers = network(shown(photographs.images[part]).to(device)).argmax(1).cpu().numpy()
            right += int((answers == photographs.labels[part]).sum())
    return right / len(held_out)
