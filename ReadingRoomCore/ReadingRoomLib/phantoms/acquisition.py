# SPDX-License-Identifier: Apache-2.0
"""What a scanner makes of a body: blur, noise, slice thickness, a limited field of view."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from .region_map import AIR_HU, IGNORED


def blur(image: torch.Tensor, sigma: tuple[float, float, float]) -> torch.Tensor:
    """Separable Gaussian blur of an image (z, y, x), sigma in voxels; edges are repeated.

    By SciPy: PyTorch's convolution with one channel takes ten times as long on a processor.
    """
    found = image.numpy()
    for axis, width in enumerate(sigma):
        if width >= 0.15:
            found = ndimage.gaussian_filter1d(found, width, axis, mode="nearest",
                                              radius=max(1, int(np.ceil(2.5 * width))))
    return torch.from_numpy(found)


def acquire(image, settings, random) -> torch.Tensor:
    """Partial volume, slice thickness, reconstruction kernel and noise.

    Arguments as those of :func:`~ReadingRoomLib.phantoms.densities.paint`; the image is in HU.
    """
    # a slice of thickness t averages over t: a Gaussian with the box's standard deviation
    thickness = random.uniform(*settings.thickness)
    through = thickness / np.sqrt(12.0) / settings.spacing[0]
    in_plane = random.uniform(0.5, 2.2) / settings.spacing[1]
    image = blur(image, (through, in_plane, in_plane))
    if random.chance(0.25):  # sharp kernels overshoot at edges
        sharp = 2.0 / settings.spacing[1]
        image = image + random.uniform(0.2, 0.9) * (image - blur(image, (0.0, sharp, sharp)))
    noise = random.normal(*image.shape)
    grain = random.uniform(0.0, 2.0) / settings.spacing[1]
    noise = blur(noise, (0.0, grain, grain))
    sigma = settings.noise[0] * (settings.noise[1] / settings.noise[0]) ** random.uniform(0, 1)
    image = image + noise / noise.std() * sigma
    return image + random.uniform(-8, 8)


def limit_scan(image, target, settings, random):
    """Sometimes the field of view is smaller than the body, or the scan ends within the slab.

    What is not seen is air; beyond the field of view nothing is there to be found (label 0), beyond
    the scan's end nothing is taught (255).
    """
    if random.chance(settings.truncation_probability):
        image, target = _truncate(image, target, random)
    if random.chance(settings.scan_end_probability):
        slices = int(random.numpy.integers(1, max(2, len(image) // 2 + 1)))
        beyond = slice(None, slices) if random.chance(0.5) else slice(-slices, None)
        image[beyond] = AIR_HU
        target[beyond] = IGNORED
    return image, target


def _truncate(image, target, random):
    """A field of view smaller than the body: nothing is known outside the circle."""
    depth, height, width = image.shape
    y = torch.arange(height, dtype=torch.float32)[:, None] - height * random.uniform(0.4, 0.6)
    x = torch.arange(width, dtype=torch.float32)[None] - width * random.uniform(0.4, 0.6)
    radius = random.uniform(0.35, 0.55) * width
    outside = (y.square() + x.square() > radius**2).expand(depth, -1, -1)
    image = torch.where(outside, torch.full_like(image, AIR_HU), image)
    target = torch.where(outside, torch.zeros_like(target), target)
    return image, target
