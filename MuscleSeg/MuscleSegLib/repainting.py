# SPDX-License-Identifier: Apache-2.0
"""Training slabs in grey values drawn at random, so that a network learns shapes and edges.

Each structure, compact bone, and each tissue beside them gets a grey value of its own, with noise
and a bias field. Source: Billot et al., "SynthSeg", Medical Image Analysis 2023.
"""

from __future__ import annotations

import numpy as np
import torch

from ReadingRoomLib.phantoms.acquisition import blur
from ReadingRoomLib.phantoms.randomness import Randomness

from .body import BODY_HU
from .contrasts import FAT_HU, scaled
from .structures import STRUCTURES

BONES = [structure.value for structure in STRUCTURES if structure.group == "bone"]
MUSCLES = [structure.value for structure in STRUCTURES if structure.group != "bone"]
CORTEX, CLUSTERS, REGIONS = 30, 60, 80  # codes: labels, cortex of bones, clusters of tissue
SHARED_SHARE = 0.6  # of the draws, in which all muscles are nearly alike, as in a real image
TRUE_SHARE = 0.2  # of the draws, which keep the image's own contrast
MARBLED_SHARE = 0.7  # of the draws, in which fat inside a muscle is as grey as fat beside it


def repaint(image: np.ndarray, target: np.ndarray, tissue_edges: np.ndarray, cortex_hu: float,
            random: Randomness) -> np.ndarray:
    """Draw the contrast of a slab anew.

    Args:
        image: (z, y, x) HU, or scaled already.
        target: uint8, labels of the 22 structures, 255 where nothing is known.
        tissue_edges: HU that part the tissues beside the structures into clusters.
        cortex_hu: bone above it is compact.
        random: of this slab.

    Returns:
        int16, scaled as :func:`scaled` does.
    """
    percentiles = (random.uniform(0.2, 3.0), random.uniform(97.0, 99.8))
    if random.chance(TRUE_SHARE):
        return scaled(image, percentiles)
    regions = _regions(image, target, tissue_edges, cortex_hu, random.chance(MARBLED_SHARE))
    mean, deviation = _grey_values(random)
    grey = torch.from_numpy(mean[regions]) + random.normal(*image.shape) * torch.from_numpy(
        deviation[regions])
    grey = grey * torch.exp(0.35 * random.uniform(0, 1) * random.smooth(image.shape, (4, 60, 60)))
    softness = random.uniform(0.2, 1.2)
    grey = blur(grey, (0.5 * softness, softness, softness))
    grey = (grey + 0.04 * random.uniform(0, 1) * random.normal(*image.shape)).clamp_min_(0)
    return scaled(grey.numpy(), percentiles)


def _regions(image, target, tissue_edges, cortex_hu, marbled: bool) -> np.ndarray:
    """Code of every voxel: 0 air, a structure's label, compact bone, or a cluster of tissue."""
    beside = (target == 0) | (target > len(STRUCTURES))
    if marbled:
        beside |= np.isin(target, MUSCLES) & (image < FAT_HU)
    tissue = CLUSTERS + np.searchsorted(tissue_edges, image)
    regions = np.where(beside, np.where(image > BODY_HU, tissue, 0), target)
    regions[np.isin(regions, BONES) & (image > cortex_hu)] += CORTEX
    return regions


def _grey_values(random: Randomness) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every region, 0 to 1; air is dark."""
    draw = random.numpy
    mean = draw.uniform(0.05, 1.0, REGIONS).astype(np.float32)
    deviation = draw.uniform(0.0, 0.1, REGIONS).astype(np.float32)
    if random.chance(SHARED_SHARE):
        for group in (MUSCLES, BONES, [bone + CORTEX for bone in BONES]):
            mean[group] = mean[group[0]] + draw.normal(0, 0.03, len(group))
            deviation[group] = deviation[group[0]]
    mean[0], deviation[0] = draw.uniform(0.0, 0.03), draw.uniform(0.0, 0.02)
    return mean, deviation
