# SPDX-License-Identifier: Apache-2.0
"""A CT on coarse cubic voxels, for what needs no detail."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .geometry import physical_bounds

BEYOND_HU = -150.0  # where the CT does not reach
UPRIGHT = tuple(np.eye(3).ravel().tolist())  # directions of axes along L, P and S


def on_cubes(image: sitk.Image, spacing: float) -> sitk.Image:
    """The image on cubic voxels along L, P and S, smoothed where it becomes coarser.

    Args:
        image: HU; any grid. What lies on such voxels comes back as it is.
        spacing: mm.
    """
    if image.GetSpacing() == (spacing,) * 3 and image.GetDirection() == UPRIGHT:
        return image
    bounds = physical_bounds(image)
    # whole voxels are averaged, which is quick; then smooth along the image's own axes as much as
    # each of them is still finer than the new voxels
    image = sitk.BinShrink(image, [max(1, int(spacing / step)) for step in image.GetSpacing()])
    steps = np.array(image.GetSpacing())
    sigma = np.sqrt(np.maximum(spacing**2 - steps**2, 0.0)) / 2.4
    image = sitk.Cast(image, sitk.sitkFloat32)
    for axis, width in enumerate(sigma):
        if width > 0.3 * steps[axis] and image.GetSize()[axis] >= 4:
            smooth = sitk.RecursiveGaussianImageFilter()
            smooth.SetDirection(axis)
            smooth.SetSigma(float(width))
            image = smooth.Execute(image)
    size = np.maximum(np.round((bounds[:, 1] - bounds[:, 0]) / spacing), 4).astype(int)
    return sitk.Resample(image, size.tolist(), sitk.Transform(), sitk.sitkLinear,
                         (bounds[:, 0] + spacing / 2).tolist(), [spacing] * 3,
                         UPRIGHT, BEYOND_HU)
