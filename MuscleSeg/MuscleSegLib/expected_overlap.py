# SPDX-License-Identifier: Apache-2.0
"""How far the mean probabilities let each structure overlap with its truth: the expected Dice.

If every voxel belonged to a structure with the probability that the network states, the overlap of
what is labelled with the truth would be the probability inside it, and the size of the truth all of
its probability, inside and outside. What is left out and what is too much both lower the ratio, in
thin structures and in thick ones alike. Roy et al., *Bayesian QuickNAT*, NeuroImage 2019, compare
the samples' label maps for the same end; this needs their mean alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .sides import PAIRED
from .structures import LEFT_OFFSET

if TYPE_CHECKING:
    import torch


class ExpectedOverlap:
    """Gathers probabilities, slab by slab, as sums over the rows of each slice.

    The sums keep slices and columns apart, so that they can be parted along the body's middle
    once it is known.

    Args:
        slices: slice of the CT that each slice of the network's grid lies in, (z,).
        columns: place in the CT of each column of the network's grid, in voxels, (x,).
        classes: of the network, at most.
    """

    def __init__(self, slices: np.ndarray, columns: np.ndarray, classes: int) -> None:
        self.slices, self.columns = slices, columns
        shape = (classes, len(slices), len(columns))
        self.probability, self.inside, self.voxels = (np.zeros(shape, np.float32)
                                                      for _ in range(3))

    def add(self, start: int, probability: torch.Tensor) -> torch.Tensor:
        """Take note of some slices.

        Args:
            start: the first of them.
            probability: (classes, slices, y, x), means over the samples.

        Returns:
            The strongest class (slices, y, x).
        """
        import torch  # what measures without a network reads this file, too

        highest, strongest = probability.max(0)
        depth = probability.shape[1]
        place = slice(len(probability)), slice(start, start + depth)
        self.probability[place] = probability.sum(2).cpu().numpy()
        shape = (len(probability), depth, len(self.columns))
        row = torch.arange(depth * shape[2], device=strongest.device).view(depth, 1, shape[2])
        index = (strongest * (depth * shape[2]) + row).flatten()
        for sums, weights in ((self.inside, highest.flatten()), (self.voxels, None)):
            counted = torch.bincount(index, weights, minlength=int(np.prod(shape)))
            sums[place] = counted.view(shape).cpu().numpy()
        return strongest

    @property
    def confidence(self) -> float:
        """Mean probability of the chosen structure over all labelled voxels, 0 without any."""
        voxels = self.voxels[1:].sum(dtype=float)
        return float(self.inside[1:].sum(dtype=float) / voxels) if voxels else 0.0

    def dice(self, middle: np.ndarray | None = None) -> dict[int, float]:
        """Expected Dice of the structures that were found, by label value; 0 to 1.

        Args:
            middle: column of the body's middle in each slice of the CT, see
                :func:`.sides.midline`; None leaves the sides together.
        """
        values = range(1, len(self.voxels))
        everywhere = np.ones(self.voxels.shape[1:], bool)
        if middle is None:
            return self._dice(everywhere, values)
        left = self.columns > middle[self.slices][:, None]
        paired = [value for value in values if value in PAIRED]
        lefts = {value + LEFT_OFFSET: dice for value, dice in self._dice(left, paired).items()}
        return (self._dice(everywhere, [value for value in values if value not in PAIRED])
                | self._dice(~left, paired) | lefts)

    def _dice(self, part: np.ndarray, values) -> dict[int, float]:
        found = {}
        for value in values:
            probability, inside, voxels = (float(sums[value][part].sum(dtype=float)) for sums in
                                           (self.probability, self.inside, self.voxels))
            if voxels:
                found[value] = 2 * inside / (voxels + probability)
        return found
