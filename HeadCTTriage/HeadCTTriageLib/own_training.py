# SPDX-License-Identifier: Apache-2.0
"""Training on the heads of a list: the published network, or the judging part of ours.

Where findings lie nobody has marked in them, so the backbone of ours stays as it is; what is
learned is how to judge a head from what the backbone saw. Validation heads do not choose the
weights, so that probabilities can be calibrated on them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ReadingRoomLib.live_training import train_with_curves
from ReadingRoomLib.results import whole_file
from ReadingRoomLib.training import TrainingSettings

from .augmentation import vary
from .image_splits import BATCH, Split, images_of
from .listed_heads import Heads, SliceStore
from .losses import judge_loss, tag_loss
from .networks import AlexNet, TriageNetwork
from .plans import HEADS, PICTURES, JudgementPart
from .training_slices import HeadCodes, SlicePictures, codes_of_slices, levels_of

SETTINGS = {
    "modern": TrainingSettings(steps=600, learning_rate=3e-4, weight_decay=1e-2, warmup_steps=50,
                               decay_share=0.7, average_decay=0.99, bfloat16=False, workers=0),
    "seed": TrainingSettings(steps=800, learning_rate=2e-4, weight_decay=5e-4, decay_share=0.6,
                             average_decay=0.99, checkpoint_every=20, workers=0),
}
LOOKED_AT = 256  # single images at each look
VARIATIONS = 3  # of each head that is learned from, beside the head as it is
OnStep = Callable[[int, float], None]


def settings_of(recipe: str, steps: int, seed: int) -> TrainingSettings:
    """The usual settings of a recipe; with 0 steps also the usual number of them."""
    usual = SETTINGS[recipe]
    return replace(usual, steps=steps or usual.steps, seed=seed)


# ------------------------------------------------------------------------------------------- ours


class CodeStore:
    """Codes of the slices of heads, made once by a backbone and kept beside the slices.

    Args:
        slices: of the heads.
        backbone: in evaluation mode, on ``device``.
        name: of the backbone: another one makes others.
        seed: of the variations.
        device: torch device.
    """

    def __init__(self, slices: SliceStore, backbone: nn.Module, name: str, seed: int,
                 device: str) -> None:
        self.slices, self.backbone, self.device = slices, backbone, device
        self.name, self.seed = f"{name[:16]}-{seed}", seed

    def codes(self, item, variations: int) -> np.ndarray:
        """Of a head as it is and of variations of it, (1 + variations, slices, code)."""
        path = self.slices.path(item).with_suffix(f".codes-{self.name}-{variations}.npy")
        if not path.exists():
            slices = self.slices.slices(item)
            key = int.from_bytes(hashlib.sha256(slices.tobytes()).digest()[:6], "big")
            density = torch.from_numpy(slices.astype(np.float32))
            made = [codes_of_slices(density, self.backbone, True, self.device)]
            for number in range(variations):
                varied = vary(density, torch.zeros_like(density, dtype=torch.uint8),
                              np.random.default_rng((self.seed, key, number)))[0]
                made.append(codes_of_slices(varied, self.backbone, False, self.device))
            with whole_file(path) as unfinished:
                np.save(unfinished, np.stack(made))
        return np.load(path, allow_pickle=False)


def wanted_of(network: TriageNetwork, codes: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """What :func:`.losses.judge_loss` wants of heads of which only the tag is known, (n, ...).

    Shift of the midline and kinds of findings are wanted as the network says them before it is
    trained, so that it does not unlearn them (Li & Hoiem, TPAMI 2018).

    Args:
        network: in evaluation mode.
        codes: (n, slices, code).
        tags: (n,).
    """
    with torch.inference_mode():
        _, kinds, _, shift_cm = network.judge(torch.from_numpy(codes))
    return np.concatenate([tags[:, None], shift_cm.numpy()[:, None],
                           kinds.sigmoid().flatten(1).numpy()], 1).astype(np.float32)


def train_judgement(network: TriageNetwork, codes: Mapping[str, np.ndarray],
                    tags: Mapping[str, np.ndarray], settings: TrainingSettings, folder: Path,
                    device: str, on_step: OnStep) -> TriageNetwork:
    """Learn to judge heads from the codes of their slices; returns a trained copy.

    Args:
        network: to begin with, in evaluation mode, on the CPU.
        codes: of ``training`` and ``validation``, (n, slices, code).
        tags: (n,).
        settings: how to train.
        folder: of the training; one that was cut off goes on.
        device: torch device.
        on_step: called after each step with its number and loss.
    """
    wanted = {part: wanted_of(network, codes[part], tags[part]) for part in
              ("training", "validation")}
    trained = copy.deepcopy(network)
    data = HeadCodes(codes["training"], wanted["training"], settings.steps, HEADS, settings.seed)
    looked_at = (torch.from_numpy(codes["validation"]).to(device),
                 torch.from_numpy(wanted["validation"]).to(device))

    def look(part: nn.Module) -> dict[str, float]:
        answer = part(looked_at[0])
        return {"loss": judge_loss(answer, looked_at[1]), "accuracy": judged_right(
            answer, looked_at[1])}

    part = train_with_curves(JudgementPart(trained), data, judge_loss, look, judged_right, settings,
                             folder, device, on_step, "Whole heads, split by patient")
    for name, module in part.named_children():
        getattr(trained, name).load_state_dict(module.state_dict())
    return trained.cpu().eval()


def judged_right(answer: Sequence[torch.Tensor], wanted: torch.Tensor) -> torch.Tensor:
    """Share of heads whose tag is the right one of four."""
    return ((answer[0] > 0).sum(1) == wanted[:, 0]).float().mean()


# ------------------------------------------------------------------------------------ the published


def pictures_of_heads(heads: Heads, store: SliceStore) -> np.ndarray:
    """Published slices of heads in 256 levels, (n, slices, height, width)."""
    return np.stack([levels_of(store.slices(item)) for item in heads.items])


def train_published(network: AlexNet, pictures: Mapping[str, np.ndarray],
                    tags: Mapping[str, np.ndarray], split: Split, settings: TrainingSettings,
                    folder: Path, device: str, on_step: OnStep) -> AlexNet:
    """Train the published network slice by slice; returns it in evaluation mode, on the CPU.

    Args:
        network: to begin with.
        pictures: of ``training`` and ``validation``, (n, slices, height, width), 256 levels.
        tags: (n,).
        split: by patient, validation images are those of the validation heads; by image they are
            other images of the heads that are learned from, which leaks.
        settings, folder, device, on_step: as for :func:`train_judgement`.
    """
    seed = settings.seed
    data = SlicePictures(
        pictures["training"], tags["training"],
        images_of(pictures["training"], split, "train", seed), settings.steps, PICTURES, seed)
    part = "training" if split == "image" else "validation"
    images = images_of(pictures[part], split, "validate", seed)
    seen = SlicePictures(pictures[part], tags[part], images, 1, min(LOOKED_AT, len(images)),
                         seed + 1)[0]

    def look(network: nn.Module) -> dict[str, float]:
        answer = torch.cat([network(some.to(device)).cpu()
                            for some in seen["image"].split(BATCH)])
        return {"loss": tag_loss(answer, seen["label"]),
                "accuracy": tag_right(answer, seen["label"])}

    title = f"Single images, split by {split}{' (leaks)' if split == 'image' else ''}"
    return train_with_curves(network, data, tag_loss, look, tag_right, settings, folder, device,
                             on_step, title).cpu().eval()


def tag_right(logits: torch.Tensor, tag: torch.Tensor) -> torch.Tensor:
    """Share of images whose tag is the right one of four."""
    return (logits.argmax(1) == tag).float().mean()
