# SPDX-License-Identifier: Apache-2.0
"""The published network's Monte Carlo samples, at a fraction of the work.

Run as published, every sample is a full float32 pass over a 512x512 slice. Here the same samples
are computed with less: batch normalisation is folded into the convolutions, the air around the
body is left out, the first block up to its dropout is shared by all samples, and processors that
have bfloat16 matrix units use them.

Dropout is always on, for a single sample too, as published: the batch normalisation was trained on
activations half of which are missing and twice as large, whose variance is another without dropout
(Li et al., "Understanding the disharmony between dropout and batch normalization by variance
shift", CVPR 2019), so that a network of nine such blocks finds nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ReadingRoomLib.devices import fast_in_bfloat16
from ReadingRoomLib.montecarlo import half_dropout_mask, sample_seed, summarise_uncertainties

from .body import AIR_HU, find_body
from .expected_overlap import ExpectedOverlap
from .networks import BayesianUNet
from .prediction import Prediction, without_islands
from .recipes import CLASSES, Recipe, to_channels

MULTIPLE = 16  # four halvings
SAMPLES_AT_ONCE = 5


class FusedBayesianUNet:
    """A :class:`BayesianUNet` prepared for sampling; same function up to rounding.

    Args:
        network: trained, in any mode; it is not changed.
        device: torch device.
        dtype: of weights and activations.
    """

    def __init__(self, network: BayesianUNet, device: str = "cpu",
                 dtype: torch.dtype | None = None) -> None:
        if dtype is None:
            dtype = torch.bfloat16 if fast_in_bfloat16(device) else torch.float32
        self.device, self.dtype = device, dtype
        self.down = [self._fuse(block) for block in network.down]
        self.up = [self._fuse(block) for block in network.up]
        self.upsample = [self._prepare(layer) for layer in network.upsample]
        # logits as large as ours have a coarse grid in bfloat16, and are a small part of the work
        self.head = self._prepare(network.head).float()
        self.dropout = network.down[0][-1].p

    def _fuse(self, block: nn.Sequential) -> list[nn.Conv2d]:
        layers = list(block)
        pairs = [(c, n) for c, n in zip(layers, layers[1:], strict=False)
                 if isinstance(c, nn.Conv2d)]
        return [self._prepare(fuse_conv_bn_eval(copy.deepcopy(conv).eval(),
                                                copy.deepcopy(norm).eval()))
                for conv, norm in pairs]

    def _prepare(self, layer: nn.Module) -> nn.Module:
        # a copy: the network itself may be trained on
        clone = copy.deepcopy(layer).to(self.device, self.dtype).requires_grad_(False)
        return clone.to(memory_format=torch.channels_last)

    def samples(self, image: torch.Tensor, count: int, seed: int) -> list[torch.Tensor]:
        """Logits of ``count`` samples for one slice.

        Args:
            image: (1, H, W) in [0, 1], H and W divisible by 16.
            count: Monte Carlo samples.
            seed: of the dropout masks, which do not depend on the number type.

        Returns:
            ``count`` tensors (classes, H, W).
        """
        x = image[None].to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        shared = self._convolve(self.down[0], x)
        generator = torch.Generator(self.device).manual_seed(seed)
        logits: list[torch.Tensor] = []
        for first in range(0, count, SAMPLES_AT_ONCE):
            batch = min(SAMPLES_AT_ONCE, count - first)
            logits += list(self._sample(shared.expand(batch, -1, -1, -1), generator))
        return logits

    def _sample(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        x = self._drop(x, generator)
        skips = [x]
        for convolutions in self.down[1:]:
            x = self._drop(self._convolve(convolutions, F.max_pool2d(x, 2)), generator)
            skips.append(x)
        for upsample, convolutions, skip in zip(self.upsample, self.up, skips[-2::-1],
                                                strict=True):
            x = self._convolve(convolutions, torch.cat([skip, upsample(x)], 1))
            x = self._drop(x, generator)
        return self.head(x.float())

    def _convolve(self, convolutions: list[nn.Conv2d], x: torch.Tensor) -> torch.Tensor:
        for layer in convolutions:
            x = F.relu_(layer(x))
        return x

    def _drop(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if not self.dropout:
            return x
        return x * self._mask(x.shape, generator)

    def _mask(self, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
        """Dropout mask (N, C, H, W), channels last: 0 or 1 / (1 - dropout)."""
        if self.dropout == 0.5:
            return half_dropout_mask(shape, self.dtype, self.device, generator)
        n, channels, height, width = shape
        mask = torch.empty(shape.numel(), device=self.device)
        mask.bernoulli_(1 - self.dropout, generator=generator).div_(1 - self.dropout)
        return mask.to(self.dtype).view(n, height, width, channels).permute(0, 3, 1, 2)


def segment_seed(
    ct: np.ndarray, spacing: tuple[float, float, float], network: BayesianUNet, recipe: Recipe,
    samples: int = 10, device: str = "cpu", seed: int = 0,
    on_slices: Callable[[int, int], None] = lambda done, total: None,
    kinds: Sequence[str] = ("variance",),
) -> Prediction:
    """Labels and uncertainty of a CT in LPS axes, slice by slice on the CT's own grid.

    Arguments and result as :func:`MuscleSegLib.inference.segment_modern`, but that a single sample
    is drawn with dropout as well, see above.
    """
    fused = FusedBayesianUNet(network, device)
    rows, columns = body_crop(ct, spacing)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    labels = np.zeros(ct.shape, np.uint8)
    uncertainties = {kind: np.zeros(ct.shape, np.float32) for kind in kinds}
    overlap = ExpectedOverlap(np.arange(len(ct)), np.arange(columns.start, columns.stop), CLASSES)
    on_slices(0, len(ct))
    with torch.inference_mode():
        for z, plane in enumerate(ct):
            body = torch.from_numpy(plane[rows, columns].astype(np.float32))
            padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
            image = to_channels(F.pad(body, padding, value=AIR_HU)[None], recipe)[0]
            mean, doubts = summarise_uncertainties(
                fused.samples(image, samples, sample_seed(seed, z)), kinds)
            [strongest] = overlap.add(z, mean[:, None, :height, :width])
            labels[z, rows, columns] = strongest.cpu().numpy()
            for volume, doubt in zip(uncertainties.values(), doubts, strict=True):
                volume[z, rows, columns] = doubt[:height, :width].cpu().numpy()
            on_slices(z + 1, len(ct))
    labels, _ = without_islands(labels)
    return Prediction(labels, uncertainties, overlap)


def body_crop(ct: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of a CT that the network is shown, see :func:`segment_seed`."""
    rows, columns = (_widen(s, size) for s, size in
                     zip(find_body(ct, spacing), ct.shape[1:], strict=True))
    return rows, columns


def _widen(body: slice, size: int) -> slice:
    """A little more than the body, so that the edge of the crop lies in air.

    It begins at a multiple of the network's halvings: the same pixels are pooled as without a crop.
    """
    start = max(0, body.start - MULTIPLE) // MULTIPLE * MULTIPLE
    return slice(start, min(size, body.stop + MULTIPLE))
