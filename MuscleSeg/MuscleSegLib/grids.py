# SPDX-License-Identifier: Apache-2.0
"""The grid that networks and atlases see an image on, and the way back to the one that was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import SimpleITK as sitk

from ReadingRoomLib.geometry import AxisOrder, resample_like, straighten, to_lps_axes
from ReadingRoomLib.images import ImageInput

from .contrasts import beside

OBLIQUE_DEGREES = 20.0  # what the training's rotations cover; more is straightened first


def upright(source: ImageInput, metadata: Mapping[str, Any] | None = None
            ) -> tuple[sitk.Image, AxisOrder]:
    """An image as networks see it, with axes along L, P and S, and the way back to what was read.

    Args:
        source: as it was read.
        metadata: of the model that is to see it; None of one for CT.
    """
    fill = beside(metadata or {}, source.image)
    return to_lps_axes(straighten(source.image, OBLIQUE_DEGREES, fill))


def on_input_grid(array, source: ImageInput, order: AxisOrder, interpolation: str) -> sitk.Image:
    """An array in LPS axes as an image on the very grid that was read."""
    result = order.undo(sitk.GetImageFromArray(array))
    return resample_like(result, source.image, interpolation)
