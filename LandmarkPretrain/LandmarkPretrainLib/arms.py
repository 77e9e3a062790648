# SPDX-License-Identifier: Apache-2.0
"""What is compared: networks that learned landmarks, photographs or nothing.

All see the same patches. Where landmarks were learned by a mini-VGG, those for CIFAR-10 and with
random weights are of the same build, so that only what was learned differs. An arm may have
several networks, its repetitions: their areas are averaged, and not their scores, which would be an
ensemble.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ReadingRoomLib.bundles import Bundle, arguments_of
from ReadingRoomLib.results import whole_file

from .networks import LandmarkCascade, LandmarkField, MiniVGG

RANDOM, RANDOM_SEEDS = 60, 3
TOGETHER = 128  # patches at a time
ALEXNET_PIXELS = 128  # patches are enlarged to it: its first layer has strides of 4 pixels
CUBE_PIXELS = 24  # a third of the work of 32, and as fine as most scanners see
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
ARMS = ("landmarks", "imagenet", "cifar", "random")
TITLES = {"landmarks": "landmarks", "imagenet": "ImageNet", "cifar": "CIFAR-10",
          "random": "random weights"}


@dataclass(frozen=True)
class Arm:
    """A source of features.

    Attributes:
        name: one of :data:`ARMS`.
        said: what it is, a sentence for people.
        fingerprint: of all that its features depend on, apart from the patches.
        networks: repetitions; each gets patches and returns features (n, d).
        cubes: whether it sees cubes (n, 1, p, p, p) and not planes (n, channels, p, p).
    """

    name: str
    said: str
    fingerprint: str
    networks: tuple[nn.Module, ...]
    cubes: bool = False


class Features(nn.Module):
    """The part of a network that makes features, as a network of its own.

    Args:
        network: has ``features``.
        channels: of the patches that it looks at, the first ones; None: all.
    """

    def __init__(self, network: nn.Module, channels: int | None = None) -> None:
        super().__init__()
        self.network, self.channels = network, channels

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.network.features(patches[:, :self.channels])


class AlexNetFeatures(nn.Module):
    """The five convolutions of AlexNet (Krizhevsky 2014, as in torchvision) on 2.5D patches.

    The three planes are its red, green and blue. A feature is the mean of a channel over the
    middle of the last map, where the point is.
    """

    WIDTHS = (64, 192, 384, 256, 256)
    KERNELS = (11, 5, 3, 3, 3)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, (width, kernel) in enumerate(zip(self.WIDTHS, self.KERNELS, strict=True)):
            layers += [nn.Conv2d(before, width, kernel, 1 if number else 4, kernel // 2 if number
                                 else 2), nn.ReLU()]
            if number < 2:
                layers.append(nn.MaxPool2d(3, 2))
            before = width
        self.layers = nn.Sequential(*layers)
        for name, values in (("mean", IMAGENET_MEAN), ("deviation", IMAGENET_DEVIATION)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Features (n, 256) of patches (n, channels, p, p) in [-1, 1]; the first three are seen."""
        pictures = F.interpolate(patches[:, :3], size=(ALEXNET_PIXELS,) * 2, mode="bilinear",
                                 align_corners=False)
        shown = ((pictures + 1) / 2).clamp(0, 1)
        maps = self.layers((shown - self.mean) / self.deviation)
        first = maps.shape[-1] // 2 - 1
        return maps[:, :, first:first + 3, first:first + 3].mean((2, 3))


def landmark_arm(bundle: Bundle) -> Arm:
    """The arm of a model that learned landmarks."""
    metadata = bundle.metadata
    said = (f"the model {metadata['name']} ({metadata['recipe']}), which learned "
            f"{len(metadata['labels']) - 1} landmarks and places that are none")
    if metadata.get("simulated"):
        said += "; it learned from simulated images"
    return Arm("landmarks", said, bundle.sha256, (Features(bundle.network).eval(),),
               in_space(bundle.network))


def in_space(network: nn.Module) -> bool:
    """Whether a network sees cubes."""
    return isinstance(network, LandmarkField | LandmarkCascade)


def random_arm(bundle: Bundle, seed: int, count: int = RANDOM_SEEDS) -> Arm:
    """Networks built as that of the bundle, with random weights (He et al., ICCV 2015)."""
    build = build_of(bundle)
    networks = []
    for number in range(count):
        network = build()
        drawn = np.random.SeedSequence((seed, RANDOM, number)).generate_state(1)
        random_weights(network, int(drawn[0]))
        networks.append(Features(network).eval())
    return Arm("random", f"{count} networks of the same build with random weights, which learned "
               "nothing; the mean of their areas counts",
               _digest("random", seed, count, _built(bundle)), tuple(networks),
               in_space(bundle.network))


def build_of(bundle: Bundle) -> Callable[[], nn.Module]:
    """What makes a network as that of the bundle."""
    kind, arguments = type(bundle.network), arguments_of(bundle)
    return lambda: kind(**arguments)


def mini_vgg_like(bundle: Bundle, classes: int) -> MiniVGG:
    """A mini-VGG for pictures with three channels, built as that of the bundle where it is one."""
    arguments = arguments_of(bundle) if isinstance(bundle.network, MiniVGG) else {}
    return MiniVGG(**(arguments | {"classes": classes, "channels": 3}))


def random_weights(network: nn.Module, seed: int) -> None:
    """He's random weights, which keep the scale of what passes through; biases 0."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _built(bundle: Bundle) -> Any:
    return [type(bundle.network).__name__, arguments_of(bundle)]


def _digest(*known: Any) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def features_of(network: nn.Module, patches: Sequence[np.ndarray] | np.ndarray, device: str,
                on_batch: Callable[[int], None] = lambda done: None) -> np.ndarray:
    """Features of many patches.

    Args:
        network: of an arm.
        patches: (n, channels, p, p) or (n, 1, p, p, p), any floating type.
        device: torch device.
        on_batch: called with the number of patches done.

    Returns:
        float32 (n, d).
    """
    network = network.eval().to(device)
    found = []
    with torch.inference_mode():
        for start in range(0, len(patches), TOGETHER):
            part = torch.from_numpy(np.asarray(patches[start:start + TOGETHER], np.float32))
            found.append(network(part.to(device)).float().cpu().numpy())
            on_batch(min(len(patches), start + TOGETHER))
    return np.concatenate(found)


def kept_features(arm: Arm, patches: np.ndarray, of_patches: str, folder: Path, device: str,
                  on_done: Callable[[float], None] = lambda done: None) -> list[np.ndarray]:
    """Features of each repetition of an arm, computed once and kept in a folder.

    Args:
        arm: that sees planes.
        patches: (n, channels, p, p).
        of_patches: their fingerprint.
        folder: of the work.
        device: torch device.
        on_done: called with how many repetitions are done, in parts of one.
    """
    found = []
    for number, network in enumerate(arm.networks):
        path = features_file(arm, number, of_patches, folder)
        if not path.exists():
            features = features_of(network, patches, device,
                                   lambda done, n=number: on_done(n + done / len(patches)))
            with whole_file(path) as unfinished, open(unfinished, "wb") as file:
                np.save(file, features)
        found.append(np.load(path, allow_pickle=False))
        on_done(number + 1)
    return found


def features_file(arm: Arm, number: int, of_patches: str, folder: Path) -> Path:
    """Where the features of a repetition are kept."""
    known = _digest(arm.name, arm.fingerprint, number, of_patches, ALEXNET_PIXELS, CUBE_PIXELS)[:16]
    return folder / f"features-{arm.name}-{number}-{known}.npy"
