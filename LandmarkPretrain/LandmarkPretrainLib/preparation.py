# SPDX-License-Identifier: Apache-2.0
"""Images as the networks see them: cubic voxels along L, P and S, values in about [-1, 1]."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.geometry import image_like

MODALITIES = ("CT", "MR", "other")
DENSITIES = (-1000.0, -150.0, 150.0, 1000.0)
SHOWN_AS = (-1.0, -0.5, 0.5, 1.0)
"""Half of what a network sees is the 300 HU of soft tissue; lung and bone share the rest."""
BRIGHTEST = 99.8  # per cent of the voxels are no brighter, in images without units
LIMIT = 1.5  # of values, so that a bright vessel keeps its shape


def prepared(image: sitk.Image, modality: str, spacing_mm: float) -> sitk.Image:
    """An image as the networks see it.

    Args:
        image: any grid; CT in HU.
        modality: one of :data:`MODALITIES`; values of "MR" and "other" have no unit.
        spacing_mm: of the cubic voxels that it gets.

    Returns:
        float32. CT: piecewise linear between the :data:`DENSITIES`. Otherwise 0 becomes -1 and
        what 99.8 % of the voxels do not exceed becomes 1.
    """
    coarse = on_cubes(image, spacing_mm)
    values = sitk.GetArrayViewFromImage(coarse)
    if modality == "CT":
        shown = np.interp(values, DENSITIES, SHOWN_AS)
    else:
        # what on_cubes puts where the image does not reach is below 0
        bright = max(float(np.percentile(values[values > 0], BRIGHTEST)) if (values > 0).any()
                     else 1.0, 1e-6)
        shown = np.clip(values / bright * 2 - 1, -1.0, LIMIT)
    return image_like(shown.astype(np.float32), coarse)
