# SPDX-License-Identifier: Apache-2.0
"""z made standard normal in bone that did not change.

An error that was estimated well still leaves tails that are too heavy. What share of stable bone
has which \\|z\\| is learned from pairs of scans without any change, and travels with the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NULL_SHARES = (0.6827, 0.9545)  # of a standard normal within 1 and 2
BELIEVED = (0.25, 4.0)  # range of what is within 1, in standard deviations as they were foreseen
# shares of stable bone beyond each knot; what is rarer is bone out of place, and a curve through
# that would press lesions together with it
TAILS = (0.8, 0.6, 0.45, 0.3173, 0.2, 0.1, 0.0455, 0.02, 0.01)


@dataclass(frozen=True)
class Calibration:
    """A monotone curve through pairs of \\|z\\| as computed, and as it should be.

    Attributes:
        computed, normal: both rising from 0; beyond the last pair the curve goes on straight.
    """

    computed: tuple[float, ...] = (0.0, 1.0)
    normal: tuple[float, ...] = (0.0, 1.0)

    @classmethod
    def of(cls, z: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
        """From the z of stable bone; ``weights`` lets every patient count alike."""
        from scipy.stats import norm

        size = np.abs(z).ravel()
        order = np.argsort(size, kind="stable")
        share = np.cumsum((np.ones(len(size)) if weights is None else weights.ravel())[order])
        computed = np.interp(1 - np.array(TAILS), share / share[-1], size[order])
        computed = np.maximum.accumulate(computed + 1e-6 * np.arange(1, len(TAILS) + 1))
        return cls((0.0, *computed.round(4).tolist()),
                   (0.0, *norm.isf(np.array(TAILS) / 2).round(4).tolist()))

    @classmethod
    def of_pair(cls, z: np.ndarray) -> Calibration:
        """The curve that puts 68.3 % of the bone of one pair of scans within 1, and 95.4 within 2.

        How well two scans can be compared differs from pair to pair more than can be foreseen, and
        bone that changed is a small part of it: z is measured against the distribution that most
        of the bone shows, the empirical null of Efron (JASA 2004).

        Args:
            z: of the bone that is compared. Where it is much larger than foreseen, much of the bone
                has changed, and only a part of that is believed.
        """
        if not z.size:
            return cls()
        one, two = np.quantile(np.abs(z), NULL_SHARES)
        least, most = BELIEVED
        one = float(np.clip(one, least, most))
        two = float(np.clip(two, max(1.2 * one, 2 * least), 2 * most))
        return cls((0.0, one, two), (0.0, 1.0, 2.0))

    @classmethod
    def read(cls, values: dict) -> Calibration:
        """From what :meth:`written` gave; raises KeyError, TypeError or ValueError."""
        return cls(*(tuple(map(float, values[name])) for name in ("computed", "normal")))

    def written(self) -> dict[str, list[float]]:
        return {"computed": list(self.computed), "normal": list(self.normal)}

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Calibrated z, of any shape, float32."""
        size = np.abs(z)
        slope = ((self.normal[-1] - self.normal[-2])
                 / max(self.computed[-1] - self.computed[-2], 1e-6))
        curve = np.where(size <= self.computed[-1],
                         np.interp(size, self.computed, self.normal),
                         self.normal[-1] + slope * (size - self.computed[-1]))
        return (np.sign(z) * curve).astype(np.float32)
