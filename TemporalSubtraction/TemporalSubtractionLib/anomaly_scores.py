# SPDX-License-Identifier: Apache-2.0
"""How unusual each place of bone is to a network that knows normal bone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from .anomaly_networks import VOI, BoneAutoencoder, LikelihoodRatio
from .anomaly_scan import MIDDLE_HU, SEEN_HU, UNIT_HU, Scan, seen

SCORES = {"autoencoder": ("code", "error", "cosine"), "flow": ("ratio",)}
"""Scores of each method, the one that is used by default first."""
NETWORK_OF = {"autoencoder": BoneAutoencoder, "flow": LikelihoodRatio}

DEQUANTISED_HU = 10.0  # noise for the flows: without it air's one value has no density
LESION_MM = 8.0  # full width of the neighbourhoods whose pattern and density are compared
AROUND_MM = 30.0  # full width of the neighbourhood with whose bone density is compared
STEP = VOI // 2  # between VOIs, which overlap
SMALLEST_SCORE = 1e-3
LARGEST_LOG_RATIO = 20.0  # nats a voxel, so that its exponential stays a number


def unusual(network: torch.nn.Module, scan: Scan, seed: int = 0, batch: int = 64,
            device: str = "cpu", on_batch: Callable[[int, int], None] = lambda done, total: None,
            ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every score of a network for every voxel of bone.

    Args:
        network: a :class:`BoneAutoencoder` or a :class:`LikelihoodRatio`.
        scan: what to look at.
        seed: of the noise that the flows need.
        batch: VOIs looked at together.
        device: torch device.
        on_batch: called with the number of VOIs done and their number.

    Returns:
        By the name of the score how unusual each voxel is, in units of the median of this CT,
        because noise and sharpness raise the scores of whole CTs; with the sign of its change,
        not calibrated, and 0 where there is no bone. And that change, HU.
    """
    network = network.to(device).eval()
    if isinstance(network, BoneAutoencoder):
        reconstructed, code = _maps(network, scan, 0.0, seed, batch, device, on_batch)
        expected = reconstructed * UNIT_HU + MIDDLE_HU
        change = np.where(scan.bone, scan.density.clip(*SEEN_HU) - expected, 0)
        sign = np.sign(_sum(change, scan, LESION_MM))
        scores = {"error": change, "code": sign * code,
                  "cosine": sign * (1 - _cosine(seen(scan.density), reconstructed, scan))}
    else:
        [ratio] = _maps(network, scan, DEQUANTISED_HU, seed, batch, device, on_batch)
        density = scan.density.clip(*SEEN_HU)
        around = _sum(density, scan, AROUND_MM) / np.maximum(_sum(1, scan, AROUND_MM), 1e-3)
        change = np.where(scan.bone, density - around, 0)
        sign = np.sign(_sum(change, scan, LESION_MM))
        # of one voxel, and positive as the other scores are
        scores = {"ratio": sign * np.exp(ratio.clip(max=LARGEST_LOG_RATIO))}
    return ({name: _relative(score, scan.bone) for name, score in scores.items()},
            change.astype(np.float32))


def _relative(score: np.ndarray, bone: np.ndarray) -> np.ndarray:
    usual = max(float(np.median(np.abs(score[bone]))), SMALLEST_SCORE)
    return np.where(bone, score / usual, 0).astype(np.float32)


def _maps(network, scan, noise_hu, seed, batch, device, on_batch) -> np.ndarray:
    """What the network answers for each VOI, put together: (maps, z, y, x), 0 far from bone."""
    origins = _origins(scan.bone)
    # a VOI reaches half a step beyond the places it is taken for
    margin = [(STEP // 2, 2 * VOI)] * 3
    density = np.pad(scan.density, margin, mode="edge")
    ramp = 1 - np.abs((np.arange(VOI) + 0.5) / STEP - 1)
    weight = (ramp[:, None, None] * ramp[:, None] * ramp).astype(np.float32)
    total, weights = None, np.zeros(density.shape, np.float32)
    random = np.random.default_rng(seed)
    for first in range(0, len(origins), batch):
        boxes = [tuple(slice(o, o + VOI) for o in origin)
                 for origin in origins[first:first + batch]]
        vois = np.stack([density[box] for box in boxes])
        vois += noise_hu * random.standard_normal(vois.shape, np.float32)
        answers = _answers(network, torch.from_numpy(seen(vois))[:, None].to(device))
        if total is None:
            total = np.zeros((answers.shape[1], *density.shape), np.float32)
        for box, answer in zip(boxes, answers, strict=True):
            total[:, *box] += weight * answer
            weights[box] += weight
        on_batch(min(first + batch, len(origins)), len(origins))
    inside = tuple(slice(STEP // 2, STEP // 2 + size) for size in scan.density.shape)
    return total[:, *inside] / np.maximum(weights[inside], 1e-6)


def _origins(bone: np.ndarray) -> list[tuple[int, int, int]]:
    """First voxels of the VOIs, before the margin: one for each block of voxels with bone."""
    padded = np.pad(bone, [(0, -size % STEP) for size in bone.shape])
    blocks = padded.reshape(*[n for size in padded.shape for n in (size // STEP, STEP)])
    return [tuple(int(i) * STEP for i in block)
            for block in np.argwhere(blocks.any((1, 3, 5)))]


def _answers(network, vois: torch.Tensor) -> np.ndarray:
    """(n, maps, 16, 16, 16): reconstruction and norm of the code, or the log-ratio of a voxel."""
    with torch.inference_mode():
        if isinstance(network, BoneAutoencoder):
            reconstructed, code = network(vois)
            maps = [reconstructed, code.norm(dim=1, keepdim=True)]
        else:
            cells = network(vois)[:, None]
            maps = [cells * (cells[0].numel() / vois[0].numel())]
        return torch.cat([F.interpolate(each, vois.shape[2:], mode="trilinear")
                          for each in maps], 1).cpu().numpy()


def _sum(values: np.ndarray | float, scan: Scan, width_mm: float) -> np.ndarray:
    """Over the bone around each voxel, with Gaussian weights of the full width at half maximum."""
    sigma = [width_mm / 2.355 / step for step in scan.spacing]
    return ndimage.gaussian_filter((values * scan.bone).astype(np.float32), sigma, truncate=3)


def _cosine(first: np.ndarray, second: np.ndarray, scan: Scan) -> np.ndarray:
    """Of the angle between two patterns of the bone around each voxel."""
    one, other, both = (_sum(a * b, scan, LESION_MM)
                        for a, b in ((first, first), (second, second), (first, second)))
    return both / np.sqrt(np.maximum(one * other, 1e-6))
