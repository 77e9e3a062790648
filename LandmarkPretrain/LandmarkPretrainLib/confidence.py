# SPDX-License-Identifier: Apache-2.0
"""How likely a found landmark is right: a logistic regression on what speaks for it.

Learned on cases that the network was not trained on. Right means nearer to the given landmark than
a distance that the model states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

EVIDENCE = ("name, coarse", "name, close", "mass, close", "distance from the shape, coarse",
            "distance from the shape, close", "shift of the close look")
SPEAKS_FOR = (1, 1, 1, -1, -1, -1)
"""What speaks for a landmark, and whether more of it does: :func:`.detection.evidence_of`."""
PENALTY = 1.0  # of squared weights, so that few cases give no wild ones


@dataclass(frozen=True)
class Confidence:
    """Weights (1 + evidence,), usual values and spreads (evidence,), and the distance in mm."""

    weights: np.ndarray
    usual: np.ndarray
    spread: np.ndarray
    right_mm: float

    def __call__(self, evidence: np.ndarray) -> np.ndarray:
        """Chances (n,) that landmarks with this evidence (n, evidence) are right."""
        scaled = (evidence - self.usual) / self.spread
        return expit(self.weights[0] + scaled @ self.weights[1:])

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return {name: np.round(getattr(self, name), 5).tolist()
                for name in ("weights", "usual", "spread")} | {"right_mm": self.right_mm}

    @classmethod
    def read(cls, written: dict[str, Any]) -> Confidence:
        """From what :meth:`written` gave.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        weights, usual, spread = (np.array(written[name], float)
                                  for name in ("weights", "usual", "spread"))
        lengths = {len(weights) - 1, len(usual), len(spread)}
        if lengths != {len(EVIDENCE)} or (spread <= 0).any():
            raise ValueError("no confidence")
        return cls(weights, usual, spread, float(written["right_mm"]))


def learn_confidence(evidence: np.ndarray, right: np.ndarray, right_mm: float) -> Confidence:
    """From evidence (n, evidence) and whether each landmark was right (n,)."""
    usual, spread = evidence.mean(0), np.maximum(evidence.std(0), 1e-3)
    scaled = np.column_stack([np.ones(len(evidence)), (evidence - usual) / spread])
    sign = np.where(right, 1.0, -1.0)

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (scaled @ weights)
        slope = -sign * expit(-margin)
        return (np.logaddexp(0, -margin).sum() + PENALTY / 2 * np.square(weights[1:]).sum(),
                scaled.T @ slope + PENALTY * np.r_[0.0, weights[1:]])

    # few cases may seem to say that a landmark is the surer the less it looks like one
    bounds = [(None, None)] + [(0, None) if sign > 0 else (None, 0) for sign in SPEAKS_FOR]
    found = minimize(cost, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    return Confidence(found.x, usual, spread, right_mm)
