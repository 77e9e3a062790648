# SPDX-License-Identifier: Apache-2.0
"""A drawn head that stands in for the template of the brain where only speed and shape matter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.phantoms.brain_template import BrainTemplate, read_brain_template

ORIGIN = (-78.0, -96.0, -96.0)  # S, P, L
SHAPE = (193, 229, 193)
MIDDLE = (8.0, 18.0, 0.0)
AXES = (74.0, 88.0, 68.0)  # of the inside of the skull, an ellipsoid


def draw_t1() -> sitk.Image:
    """T1 of a head with folded cortex, ventricles, skull and scalp; white matter 200."""
    at = np.stack(np.meshgrid(*(start + np.arange(count, dtype=np.float32) for start, count in
                                zip(ORIGIN, SHAPE, strict=True)), indexing="ij"))
    depth = (1 - np.sqrt(sum(((axis - middle) / length) ** 2 for axis, middle, length in
                             zip(at, MIDDLE, AXES, strict=True)))) * min(AXES)
    folds = depth + 3 * np.sin(at[0] / 4) * np.sin(at[1] / 4) * np.sin(at[2] / 4)
    t1 = np.select([depth > 12, depth < 0, folds > 8, folds > 2.5], [200, 0, 200, 152], 90.0)
    t1 = np.where((depth < -8) & (depth > -15), 170.0, np.where(depth < 0, 10.0, t1))
    horn = sum((((axis - middle) / length) ** 2 for axis, middle, length in
                zip((at[0], at[1], np.abs(at[2])), (14, 4, 11), (8, 32, 6), strict=True)))
    t1 = np.where(horn < 1, 86.0, t1).astype(np.float32)
    image = sitk.GetImageFromArray(t1)
    image.SetOrigin(ORIGIN[::-1])
    return image


@lru_cache(maxsize=1)
def make_brain_template() -> BrainTemplate:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.nrrd"
        sitk.WriteImage(draw_t1(), str(path))
        return read_brain_template(path)
