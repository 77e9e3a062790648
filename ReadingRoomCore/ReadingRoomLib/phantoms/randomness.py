# SPDX-License-Identifier: Apache-2.0
"""Random draws for one simulated image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


class Randomness:
    """Seeded draws; one object per image, so that image number k is the same in every run."""

    def __init__(self, *seed: int) -> None:
        self.numpy = np.random.default_rng(list(seed))
        self.torch = torch.Generator().manual_seed(int(self.numpy.integers(2**62)))

    def uniform(self, low: float, high: float) -> float:
        return float(self.numpy.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.numpy.random() < probability)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.torch)

    def smooth(self, shape: tuple[int, ...], cell: tuple[float, ...]) -> torch.Tensor:
        """Smooth unit-variance noise of ``shape`` whose blobs are about ``cell`` voxels wide."""
        coarse = [max(2, round(n / c) + 2) for n, c in zip(shape, cell, strict=True)]
        field_ = F.interpolate(
            self.normal(1, 1, *coarse), size=list(shape), mode="trilinear", align_corners=True
        )[0, 0]
        return field_ / field_.std().clamp_min(1e-3)
