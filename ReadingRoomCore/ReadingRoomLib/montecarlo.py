# SPDX-License-Identifier: Apache-2.0
"""Monte Carlo dropout: several predictions with dropout left on, their mean and their spread.

Source: Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.

Three kinds of uncertainty are known, each 0 where all samples are sure of the same class, and 1
where they are evenly torn between two classes, each sample sure of its own:

- ``variance`` of the class probabilities over the samples, added up over the classes. Hiasa et al.,
  IEEE TMI 2020, take the average over the classes instead, the same up to a constant;
- ``entropy`` of the mean probability, in bits. It is high, too, where every sample alone is unsure;
- ``mutual-information`` between the class and the network's weights: the entropy of the mean less
  the mean entropy of the samples, in bits. Only what the samples disagree about is left (BALD:
  Houlsby et al. 2011; Gal, Islam & Ghahramani, ICML 2017).

A bit is what tells two classes apart; voxels torn between more have 1 as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

UNCERTAINTIES = ("variance", "entropy", "mutual-information")
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


def summarise_samples(logits: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean probability and variance of Monte Carlo samples.

    Args:
        logits: one tensor (classes, ...) a sample; at least one.

    Returns:
        Mean probability (classes, ...) and variance (...), float32. With one sample the variance is
        zero everywhere.
    """
    mean, [variance] = summarise_uncertainties(logits, ("variance",))
    return mean, variance


def summarise_uncertainties(
    logits: Iterable[torch.Tensor], kinds: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean probability and several kinds of uncertainty of Monte Carlo samples.

    Only what the kinds need is computed; the samples are looked at one at a time.

    Args:
        logits: one tensor (classes, ...) a sample; at least one.
        kinds: of :data:`UNCERTAINTIES`.

    Returns:
        Mean probability (classes, ...) and uncertainties (kinds, ...), 0 to 1, float32. With one
        sample all but the entropy are zero everywhere.
    """
    # the sum over classes commutes with the mean over samples, so one map of each is enough
    of_sample = {"variance": lambda probability: probability.square().sum(0),
                 "mutual-information": _bits}
    wanted = [kind for kind in kinds if kind in of_sample]
    count, mean, totals = 0, None, {}
    for sample in logits:
        probability = _softmax(sample.float())
        count += 1
        if count == 1:
            mean = probability
            continue
        if count == 2:  # one sample alone would not need it
            totals = {kind: of_sample[kind](mean) for kind in wanted}
        for kind in wanted:
            totals[kind] += of_sample[kind](probability)
        mean += probability
    if mean is None:
        raise ValueError("Monte Carlo dropout needs at least one sample.")
    mean /= count
    entropy = _bits(mean) if set(kinds) & {"entropy", "mutual-information"} else None
    uncertainty = {
        "variance": lambda: 2 * (totals["variance"] / count - mean.square().sum(0)),
        "entropy": lambda: entropy,
        "mutual-information": lambda: entropy - totals["mutual-information"] / count,
    }
    if count == 1:
        uncertainty |= dict.fromkeys(of_sample, lambda: torch.zeros_like(mean[0]))
    return mean, torch.stack([uncertainty[kind]() for kind in kinds]).clamp_(0.0, 1.0)


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over the first axis; in half the time where the classes of a pixel lie together."""
    if logits.ndim > 1 and logits.stride(0) == 1:
        return torch.softmax(logits.movedim(0, -1), -1).movedim(-1, 0)
    return torch.softmax(logits, 0)


def _bits(probability: torch.Tensor) -> torch.Tensor:
    """Entropy over the first axis in bits."""
    return torch.special.entr(probability).sum(0) / math.log(2)
