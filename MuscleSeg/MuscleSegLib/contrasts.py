# SPDX-License-Identifier: Apache-2.0
"""Images of any contrast: how one is read, seen by a network, and drawn anew for training.

A network that was trained with ``intensities`` ``random`` saw its training scans repainted: each
structure and each tissue beside it in a grey value drawn at random, so that it had to learn shapes
and edges and works on any CT or MR contrast. Source: Billot et al., "SynthSeg", Medical Image
Analysis 2023. Its input is scaled by the image's own percentiles to the range of the soft-tissue
window, on one scale with the windows of the recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
import torch

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import ImageInput, read_image
from ReadingRoomLib.phantoms.acquisition import blur
from ReadingRoomLib.phantoms.randomness import Randomness

from .body import BODY_HU
from .structures import STRUCTURES

Intensities = Literal["ct", "random"]
RANGE = (-160.0, 240.0)  # of scaled tissue, on the scale of HU
AIR = -1000.0
AIR_SHARE = 0.08  # of the range of an image; what is darker counts as air
PERCENTILES = (1.0, 99.0)  # of the body's voxels, which become the ends of the range
_SAMPLES = 500_000

BONES = [structure.value for structure in STRUCTURES if structure.group == "bone"]
MUSCLES = [structure.value for structure in STRUCTURES if structure.group != "bone"]
CORTEX, CLUSTERS, REGIONS = 30, 60, 80  # codes: labels, cortex of bones, clusters of tissue
SHARED_SHARE = 0.6  # of the draws, in which all muscles are nearly alike, as in a real image
TRUE_SHARE = 0.2  # of the draws, which keep the image's own contrast
MARBLED_SHARE = 0.7  # of the draws, in which fat inside a muscle is as grey as fat beside it
FAT_HU = -30.0  # fat and air are below: neither muscle nor bone, whoever named what


def is_any_contrast(metadata: Mapping[str, Any]) -> bool:
    """Whether a model was trained on repainted scans, so that any contrast may be shown to it."""
    return metadata.get("intensities") == "random"


def intensities_of(metadata: Mapping[str, Any]) -> Intensities:
    """What a model may be shown."""
    return "random" if is_any_contrast(metadata) else "ct"


def read_for(metadata: Mapping[str, Any], path: Path) -> ImageInput:
    """Read an image for a model: a CT, or anything for a model of any contrast.

    Raises:
        BadInput: it is not what the model knows, or cannot be read.
    """
    return read_any(path, intensities_of(metadata))[0]


def read_any(path: Path, intensities: Intensities) -> tuple[ImageInput, bool]:
    """An image, and whether it is a CT; with ``ct`` nothing else will do."""
    try:
        return read_image(path, "CT"), True
    except BadInput:
        if intensities == "ct":
            raise
        return read_image(path, "MR"), False


def shown_to(metadata: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
    """What a model sees of an image: its HU, or for a model of any contrast :func:`scaled`."""
    return scaled(array) if is_any_contrast(metadata) else array


def body_in(image: sitk.Image, is_ct: bool) -> np.ndarray:
    """Which voxels are neither air nor lung, (z, y, x) bool; in MR, which are not dark."""
    array = sitk.GetArrayViewFromImage(image)
    return (array if is_ct else scaled(array)) > BODY_HU


def beside(metadata: Mapping[str, Any], image: sitk.Image) -> float:
    """What lies beside an image once it is straightened: air, or its darkest value if that is less
    dark, as in MR."""
    if not is_any_contrast(metadata):
        return AIR
    return max(AIR, float(sitk.GetArrayViewFromImage(image).min()))


def scaled(array: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> np.ndarray:
    """An image of any contrast on one scale, that of the HU of soft tissue.

    Args:
        array: (z, y, x), any units.
        percentiles: of the body's values, which become the ends of :data:`RANGE`.

    Returns:
        int16: air is -1000, everything else lies in :data:`RANGE`.
    """
    sample = array.reshape(-1)[:: max(1, array.size // _SAMPLES) | 1].astype(np.float32)
    lowest, highest = np.percentile(sample, (0.1, 99.9))
    air = lowest + AIR_SHARE * (highest - lowest)
    body = sample[sample > air]
    dark, bright = np.percentile(body, percentiles) if len(body) else (0.0, 1.0)
    gain = (RANGE[1] - RANGE[0]) / max(float(bright - dark), 1e-6)
    result = np.empty(array.shape, np.int16)
    for plane, out in zip(array, result, strict=True):
        value = (plane.astype(np.float32) - dark) * gain + RANGE[0]
        out[...] = np.where(plane > air, value.clip(*RANGE), AIR).round()
    return result


# ------------------------------------------------------------------------------------ drawn anew


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
