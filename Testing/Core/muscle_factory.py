# SPDX-License-Identifier: Apache-2.0
"""A small CT of two thighs, and a network set by hand that knows what is in it.

The network is a real :class:`ContextUNet`, only that its weights were chosen instead of trained:
what is as bright as bone becomes pelvis, what is as bright as muscle gluteus maximus. One feature
map of the decoder passes a dropout layer, so that Monte Carlo samples differ.
"""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.forkserver
import os
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch

from MuscleSegLib.contrasts import PERCENTILES
from MuscleSegLib.networks import BayesianUNet, ContextUNet
from MuscleSegLib.recipes import CLASSES, MODERN
from ReadingRoomLib.bundles import write_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
FILTERS = (8, 16, 16, 16, 16)
BONE, MUSCLE = 1, 4
AIR_HU, FAT_HU, MUSCLE_HU, BONE_HU = -1000, -100, 55, 700


@functools.cache
def process_context() -> multiprocessing.context.BaseContext:
    """Starts processes that have PyTorch and our libraries imported already, where that exists."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["MuscleSegLib.segmentation", "ReadingRoomLib.training"])
    # the server looks modules up with its environment alone, not with our sys.path
    paths = [str(REPOSITORY / "ReadingRoomCore"), str(REPOSITORY / "MuscleSeg")]
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS="1"):
        multiprocessing.forkserver.ensure_running()
    return context


def tiny_network(out_channels: int = CLASSES, finds: bool = True) -> ContextUNet:
    """The network set by hand; with ``finds`` off it sees background everywhere."""
    network = ContextUNet(MODERN.channels, out_channels, FILTERS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.fill_(1)
        soft, bone = MODERN.context, 3 * MODERN.context + 1  # windows of the slice in the middle
        levels = len(FILTERS)
        first, last = network.down[0], network.up[-1]
        for feature, channel in enumerate((soft, bone)):
            first.conv1.conv.weight[feature, channel, 1, 1] = 1
            first.conv2.conv.weight[feature, feature, 1, 1] = 1
            last.conv1.conv.weight[feature, feature, 1, 1] = 1
            last.conv2.conv.weight[feature, feature, 1, 1] = 1
        # feature 2: a constant that is dropped now and then on its way up
        network.up[levels - 4].norm2.bias[0] = 1
        for step, feature in ((levels - 3, 0), (levels - 2, 2)):
            network.upsample[step].conv.weight[0, 0] = 1
            skip = network.upsample[step].conv.weight.shape[1]
            network.up[step].conv1.conv.weight[feature, skip, 1, 1] = 1
            network.up[step].conv2.conv.weight[feature, feature, 1, 1] = 1
        if finds:
            head = network.head
            head.bias.fill_(-30)
            head.bias[0] = 0
            head.weight[MUSCLE, :3, 0, 0] = torch.tensor([40.0, 0.0, -2.0])
            head.bias[MUSCLE] = -40 * 0.35
            head.weight[BONE, :3, 0, 0] = torch.tensor([40.0, 160.0, -2.0])
            head.bias[BONE] = -40 * 0.35 - 160 * 0.40
        else:
            network.head.bias[0] = 30
    return network.eval()


def write_tiny_bundle(folder: Path, network: torch.nn.Module | None = None, **metadata) -> Path:
    """Write a network, by default the one set by hand, as a bundle and return its folder."""
    network = network or tiny_network()
    classes = network.head.out_channels
    arguments = {"in_channels": MODERN.channels, "filters": list(FILTERS)}
    channels = MODERN.channels
    if isinstance(network, BayesianUNet):
        arguments, channels = {"filters": network.head.in_channels}, 1
    tensor = {"type": "image", "format": "hounsfield", "spatial_shape": [16, 16],
              "dtype": "float32", "value_range": [0, 1], "is_patch_data": True}
    write_bundle(
        folder,
        {"_target_": f"MuscleSegLib.networks.{type(network).__name__}", "out_channels": classes,
         **arguments},
        network.state_dict(),
        {"name": "tiny", "version": "0.0.1", "task": "test", "description": "set by hand",
         "authors": "ReadingRoom contributors", "copyright": "Apache-2.0", "recipe": "modern",
         "labels": {"0": "background"}, "spacing": list(MODERN.spacing), "trained_on": "nothing",
         "simulated": True, "eval_metrics": {}, "uncertainty_limit": 0.5,
         "network_data_format": {
             "inputs": {"image": {**tensor, "num_channels": channels, "channel_def": {
                 str(i): "slice" for i in range(channels)}}},
             "outputs": {"pred": {**tensor, "num_channels": classes, "channel_def": {
                 str(i): "class" for i in range(classes)}}},
         }, **metadata},
        "# A network set by hand\n",
    )
    return folder


def thighs(spacing=(5.0, 3.0, 3.0), size_mm=(120.0, 180.0, 270.0), noise: float = 5.0,
           legs=("right", "left")) -> np.ndarray:
    """CT (z, y, x) in LPS axes, int16 HU: two thighs in air, the left one with the thicker bone.

    Args:
        spacing: mm, (z, y, x).
        size_mm: of the volume.
        noise: standard deviation in HU.
        legs: which are there.
    """
    shape = [max(1, round(length / step)) for length, step in zip(size_mm, spacing, strict=True)]
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) * s - n * s / 2
                            for n, s in zip(shape, spacing, strict=True)],
                          indexing="ij", sparse=True)
    ct = np.full(shape, float(AIR_HU))
    for side, name, bone_radius in ((-1, "right", 14.0), (1, "left", 20.0)):
        if name not in legs:
            continue
        distance = np.hypot(y + 0.1 * z, x - side * 65.0) * np.ones(shape)
        for radius, density in ((60.0, FAT_HU), (50.0, MUSCLE_HU), (bone_radius, BONE_HU)):
            ct[distance < radius] = density
    ct += np.random.default_rng(0).normal(0, noise, shape)
    return ct.round().astype(np.int16)


def as_mr(hounsfield: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """An image like an MR of the same thighs, and the range that :mod:`MuscleSegLib.contrasts`
    must scale it to, so that the network set by hand, which knows HU, sees about those."""
    tissue = hounsfield > -500
    values = hounsfield[tissue]
    mr = np.where(tissue, hounsfield - values.min() + 300, 3).astype(np.int16)
    return mr, tuple(np.percentile(values, PERCENTILES))


def as_image(array: np.ndarray, spacing=(5.0, 3.0, 3.0), origin=(-130.0, -90.0, 10.0)):
    """The array (z, y, x) in LPS axes as an image."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in spacing[::-1]])
    image.SetOrigin(origin)
    return image
