# SPDX-License-Identifier: Apache-2.0
"""A small CT of a trunk with vertebrae that can move by themselves."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

STEP = 2.5


def spine(seed: int = 0, bones: int = 5) -> tuple[sitk.Image, sitk.Image]:
    """CT of a trunk with vertebrae and a pair of ribs each, and the labels of the vertebrae."""
    random = np.random.default_rng(seed)
    shape = (26 + 12 * bones, 56, 64)
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2) * STEP for n in shape], indexing="ij")
    ct = np.where((y / 62) ** 2 + (x / 74) ** 2 < 1, 40.0, -1000.0)
    labels = np.zeros(shape, np.uint8)
    for bone in range(bones):
        middle = (bone - (bones - 1) / 2) * 30.0
        shift, width = random.normal(0, 2, 2), random.uniform(0.9, 1.15)
        u, v, w = z - middle, y - 12 - shift[0], x - shift[1]
        body = ((v / (17 * width)) ** 2 + (w / (21 * width)) ** 2 < 1) & (np.abs(u) < 11)
        spike = (np.abs(w) < 5) & (v > 10) & (v < 40) & (np.abs(u + 0.3 * (v - 10)) < 6)
        arms = (np.abs(v - 18) < 5) & (np.abs(w) < 36 * width) & (np.abs(u) < 5)
        whole = body | spike | arms
        inner = ndimage.binary_erosion(whole, iterations=1)
        ct[whole] = random.uniform(500, 800)
        ct[inner] = random.uniform(180, 260)
        labels[whole] = bone + 1
    texture = ndimage.gaussian_filter(random.normal(size=shape), 1.0)
    ct[labels > 0] += (texture / texture.std() * 60)[labels > 0]
    image = sitk.GetImageFromArray(ndimage.gaussian_filter(ct, 0.4).astype(np.float32))
    numbers = sitk.GetImageFromArray(labels)
    for volume in (image, numbers):
        volume.SetSpacing([STEP] * 3)
        volume.SetOrigin([-80.0, -70.0, 300.0])
    return image, numbers
