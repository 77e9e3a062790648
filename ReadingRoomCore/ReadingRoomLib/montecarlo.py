# SPDX-License-Identifier: Apache-2.0
"""Monte Carlo dropout: several predictions with dropout left on, their mean and their spread.

Source: Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

DROPOUT_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@contextlib.contextmanager
def dropout_active(network: nn.Module, active: bool = True) -> Iterator[None]:
    """Evaluation mode for everything but the dropout layers, which draw while ``active``."""
    layers = [layer for layer in network.modules() if isinstance(layer, DROPOUT_LAYERS)]
    training = network.training
    network.eval()
    for layer in layers:
        layer.train(active)
    try:
        yield
    finally:
        network.train(training)


def half_dropout_mask(
    shape: torch.Size, dtype: torch.dtype, device: str | torch.device,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Dropout mask of p = 0.5: 0 or 2 at random, in a tenth of the time of `torch.bernoulli`.

    An activation needs one random bit, and one draw of an integer gives 64.

    Args:
        shape: (N, channels, H, W).
        dtype, device: of the mask.
        generator: of the bits; None takes torch's own.

    Returns:
        The mask, channels last in memory.
    """
    n, channels, height, width = shape
    words = torch.empty(-(-shape.numel() // 64), dtype=torch.int64, device=device)
    words.random_(-(2**63), None, generator=generator)
    byte = torch.arange(256, device=device)[:, None]
    bits = (((byte >> torch.arange(8, device=device)) & 1) * 2).to(dtype)
    mask = bits[words.view(torch.uint8).int()].view(-1)[: shape.numel()]
    return mask.view(n, height, width, channels).permute(0, 3, 1, 2)


class HalfDropout(nn.Dropout):
    """`nn.Dropout` with p = 0.5 on images (N, channels, H, W), whose masks are quick to draw."""

    def __init__(self) -> None:
        super().__init__(0.5)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return input
        return input * half_dropout_mask(input.shape, input.dtype, input.device)


def draw_dropout_quickly(network: nn.Module) -> nn.Module:
    """Let the dropout layers of p = 0.5 in ``network`` draw quick masks; it is changed in place."""
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if type(layer) is nn.Dropout and layer.p == 0.5:
                setattr(module, name, HalfDropout())
    return network


def sample_seed(*parts: int) -> int:
    """Seed of one random draw, a hash of the numbers that name it (run, slab, sample).

    Draws named this way do not depend on what was computed before them, so that a slab gets the
    same samples whether the scan is computed whole, in parts, or resumed.
    """
    digest = hashlib.sha256(",".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def summarise_samples(
    logits: Iterable[torch.Tensor], weight: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean probability and uncertainty of Monte Carlo samples.

    The uncertainty is the variance of the class probabilities over the samples, added up over the
    classes; Hiasa et al., IEEE TMI 2020, take the average over the classes instead, which is the
    same up to a constant. Here the constant makes it 0 where all samples agree and 1 where they
    are evenly torn between two classes.

    Args:
        logits: one tensor (classes, ...) a sample; at least one.
        weight: the constant.

    Returns:
        Mean probability (classes, ...) and uncertainty (...), float32. With one sample the
        uncertainty is zero everywhere.
    """
    count = 0
    mean = squares = None
    for sample in logits:
        probability = torch.softmax(sample.float(), 0)
        if mean is None:
            mean, squares = probability, probability.square().sum(0)
        else:
            mean += probability
            squares += probability.square().sum(0)
        count += 1
    if mean is None:
        raise ValueError("Monte Carlo dropout needs at least one sample.")
    mean /= count
    # the sum over classes commutes with the mean over samples, so one map of squares is enough
    variance = (squares / count - mean.square().sum(0)).clamp_(0.0)
    return mean, (variance * weight).clamp_(max=1.0)
