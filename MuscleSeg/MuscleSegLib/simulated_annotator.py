# SPDX-License-Identifier: Apache-2.0
"""An annotator who answers with the truth, no more than is asked, and counts what it costs.

Counting pixels alone hides the work of looking (Lüth et al., "nnActive", arXiv 2511.19183), so
three costs are counted: slices that were opened, pixels that were labelled, and regions that were
corrected, each of which takes a click or a stroke of the brush.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ReadingRoomLib.phantoms.region_map import IGNORED

from .body import BODY_HU
from .labelled_scans import LabelledScan

_EIGHT_NEIGHBOURS = np.ones((3, 3))


@dataclass(frozen=True)
class Cost:
    """What labels cost.

    Attributes:
        slices: that were opened; one that is opened again counts again.
        pixels: of the body that were labelled, each counted once. Air needs no hand.
        regions: that were corrected, see :func:`corrected_regions`.
    """

    slices: int = 0
    pixels: int = 0
    regions: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.slices + other.slices, self.pixels + other.pixels,
                    self.regions + other.regions)


class SimulatedAnnotator:
    """Labels slices of scans whose truth it alone knows.

    Attributes:
        known: of each scan uint8 (z, y, x): what was answered so far, 255 elsewhere.
        cost: of all answers so far.
    """

    def __init__(self, scans: Sequence[LabelledScan]) -> None:
        self._scans = scans
        self.known = [np.full(scan.target.shape, IGNORED, np.uint8) for scan in scans]
        self.cost = Cost()

    def answer(self, scan: int, z: int, asked: np.ndarray, shown: np.ndarray) -> Cost:
        """Label pixels of a slice.

        Args:
            scan, z: which slice.
            asked: bool (y, x), the pixels to label.
            shown: uint8 (y, x), the labels that the annotator finds filled in.

        Returns:
            What this answer cost. What the truth does not know stays unknown and costs nothing.
        """
        truth, known = self._scans[scan].target[z], self.known[scan][z]
        answered = asked & (truth != IGNORED)
        body = self._scans[scan].hounsfield[z] > BODY_HU
        new = answered & (known == IGNORED) & body
        cost = Cost(1, int(np.count_nonzero(new)), corrected_regions(shown, truth, answered))
        known[answered] = truth[answered]
        self.cost = self.cost + cost
        return cost


def corrected_regions(shown: np.ndarray, truth: np.ndarray, asked: np.ndarray) -> int:
    """Regions that have to be corrected: connected wrong pixels that become one structure.

    Args:
        shown, truth: integer labels (y, x).
        asked: bool (y, x); what is outside is not looked at.

    Returns:
        Number of 8-connected parts, for each true label on its own: two structures are two clicks.
    """
    wrong = asked & (shown != truth)
    return sum(ndimage.label(wrong & (truth == value), _EIGHT_NEIGHBOURS)[1]
               for value in np.unique(truth[wrong]))
