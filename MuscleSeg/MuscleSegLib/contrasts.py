# SPDX-License-Identifier: Apache-2.0
"""Images of any contrast: how one is read, and what a network sees of it.

A network that was trained with ``intensities`` ``random`` saw its training scans repainted, see
:mod:`.repainting`, and works on any CT or MR contrast. Its input is scaled by the image's own
percentiles to the range of the soft-tissue window, on one scale with the windows of the recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import ImageInput, read_image

from .body import BODY_HU

Intensities = Literal["ct", "random"]
RANGE = (-160.0, 240.0)  # of scaled tissue, on the scale of HU
AIR = -1000.0
AIR_SHARE = 0.08  # of the range of an image; what is darker counts as air
PERCENTILES = (1.0, 99.0)  # of the body's voxels, which become the ends of the range
_SAMPLES = 500_000
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
