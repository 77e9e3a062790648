# SPDX-License-Identifier: Apache-2.0
"""Whether the quick samples of the published network give the labels of its own full passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from accuracy import read_lps
from scipy import ndimage
from torch import nn

from MuscleSegLib.networks import BayesianUNet
from MuscleSegLib.prediction import without_islands
from MuscleSegLib.recipes import SEED, to_channels
from MuscleSegLib.seed_inference import MULTIPLE, SAMPLES_AT_ONCE, body_crop, segment_seed
from MuscleSegLib.segmentation import load_model
from ReadingRoomLib.montecarlo import half_dropout_mask, sample_seed, summarise_samples
from ReadingRoomLib.sampledata import EXAMPLE_CT, fetch_packaged_file

SIZE, PIXEL_MM = 512, 0.9
MASK_SEED = 0


def hips(slices: int) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Slices of the hips of the real example CT on 512x512 pixels of 0.9 mm; HU and spacing."""
    ct, (step, *pixel) = read_lps(fetch_packaged_file(EXAMPLE_CT))
    chosen = np.linspace(0, len(ct) // 3, slices).round().astype(int)
    fine = ndimage.zoom(ct[chosen], (1, *(size / PIXEL_MM for size in pixel)), order=1)
    missing = [SIZE - size for size in fine.shape[1:]]
    padding = [(0, 0), *((size // 2, size - size // 2) for size in missing)]
    return np.pad(fine, padding, constant_values=-1000), (step, PIXEL_MM, PIXEL_MM)


class GivenDropout(nn.Module):
    """Dropout of p = 0.5 whose mask is given for a part of the image and drawn for the rest."""

    def __init__(self, crop: tuple[slice, slice], size: int) -> None:
        super().__init__()
        self.crop, self.size, self.mask = crop, size, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.size // x.shape[-1]
        mask = half_dropout_mask(x.shape, x.dtype, x.device).clone()
        top, left = (part.start // scale for part in self.crop)
        height, width = self.mask.shape[-2:]
        mask[..., top : top + height, left : left + width] = self.mask
        return x * mask


def masks_of_slice(z: int, samples: int, widths: list[int], shape: tuple[int, int]
                   ) -> Iterator[list[torch.Tensor]]:
    """The masks that `segment_seed` draws for slice ``z``: a list of one a layer for each sample.

    Args:
        z: slice.
        samples: Monte Carlo samples.
        widths: filters of the levels.
        shape: of the crop that the network is shown.
    """
    generator = torch.Generator().manual_seed(sample_seed(MASK_SEED, z))
    levels = [*range(len(widths)), *range(len(widths) - 2, -1, -1)]
    for first in range(0, samples, SAMPLES_AT_ONCE):
        count = min(SAMPLES_AT_ONCE, samples - first)
        masks = [half_dropout_mask((torch.Size((count, widths[level], shape[0] >> level,
                                                shape[1] >> level))),
                                   torch.float32, "cpu", generator) for level in levels]
        for sample in range(count):
            yield [mask[sample : sample + 1] for mask in masks]


def published_labels(ct: np.ndarray, crop: tuple[slice, slice], network: BayesianUNet,
                     samples: int) -> np.ndarray:
    """Labels of full float32 passes over whole slices, with the masks of `segment_seed`."""
    published = copy.deepcopy(network).eval()
    layers = []
    for block in [*published.down, *published.up]:
        block[-1] = GivenDropout(crop, ct.shape[-1])
        layers.append(block[-1])
    widths = [block[0].out_channels for block in published.down]
    shape = tuple(-(-(part.stop - part.start) // MULTIPLE) * MULTIPLE for part in crop)
    labels = np.zeros(ct.shape, np.uint8)
    torch.manual_seed(1)
    for z, plane in enumerate(ct):
        image = to_channels(torch.from_numpy(plane.astype(np.float32))[None], SEED)

        def passes(z=z, image=image):
            for masks in masks_of_slice(z, samples, widths, shape):
                for layer, mask in zip(layers, masks, strict=True):
                    layer.mask = mask
                yield published(image)[0]

        with torch.inference_mode():
            labels[z] = summarise_samples(passes())[0].argmax(0).numpy()
    return without_islands(labels)[0]


def against_published(model: str, samples: int = 10, slices: int = 6) -> dict:
    """Share of foreground voxels (of either) whose label differs.

    Beside it stands the share that differs between two runs of the quick way with other masks:
    what the samples themselves leave open.
    """
    ct, spacing = hips(slices)
    network = load_model(model, "seed").network
    quick, other = (segment_seed(ct, spacing, network, SEED, samples, seed=seed).labels
                    for seed in (MASK_SEED, MASK_SEED + 1))
    full = published_labels(ct, body_crop(ct, spacing), network, samples)
    return {
        "dataset": f"{slices} slices of 512x512 of the real example CT",
        "samples": samples,
        "labels_that_differ": _differing(quick, full),
        "labels_that_differ_with_other_masks": _differing(quick, other),
    }


def _differing(first: np.ndarray, second: np.ndarray) -> float:
    foreground = (first > 0) | (second > 0)
    return float((first != second)[foreground].mean())
