# SPDX-License-Identifier: Apache-2.0
"""From what a network answers to probabilities that hold, and to the courage to say "uncertain".

A network that is right in 95 of 100 heads is rarely as sure as that. What it answered on heads with
a known tag, which it was not trained on, turns its answers into probabilities:

- the binary one by inductive Venn-Abers prediction (Vovk & Petej, UAI 2014), which gives an
  interval that is wide where few such heads were seen;
- those of the four tags by Platt's method for each step from one tag to the next;
- sets of tags that hold the true one in a given share of heads by split conformal prediction
  (Vovk et al. 2005; by class, so that the promise holds for urgent heads by themselves).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ReadingRoomLib.calibration import conformal_limit, venn_abers

from .misses import Threshold, choose_threshold
from .triage import Tag

RED = int(Tag.RED) - 1  # column of the scores of being urgent
LEAST_HEADS = 20  # of each kind, urgent or not
RIDGE = 1e-2  # keeps Platt's slope finite where scores part the heads without error


@dataclass(frozen=True)
class Certainty:
    """What is known about a network's answers.

    Attributes:
        scores: of heads of known tag, (n, 3): logits that the tag is at least yellow, red, black.
        tags: of these heads, (n,), 0 to 3.
    """

    scores: np.ndarray
    tags: np.ndarray

    def __post_init__(self) -> None:
        urgent = int((self.tags >= Tag.RED).sum())
        if (self.scores.ndim != 2 or self.scores.shape != (len(self.tags), len(Tag) - 1)
                or not np.isfinite(self.scores).all()
                or not np.isin(self.tags, [int(tag) for tag in Tag]).all()
                or min(urgent, len(self.tags) - urgent) < LEAST_HEADS):
            raise ValueError("these are no scores of heads with known tags, or too few")

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Certainty:
        """From the metadata of a model; raises ValueError, KeyError or TypeError if it is none."""
        return cls(np.array(written["scores"], float), np.array(written["tags"], int))

    def written(self) -> dict[str, Any]:
        return {"scores": np.round(self.scores, 4).tolist(), "tags": self.tags.tolist()}

    def urgent(self, score: float) -> tuple[float, float, float]:
        """Probability of being urgent, and the interval that Venn-Abers gives it; 0 to 1.

        Args:
            score: logit of being at least red.
        """
        return venn_abers(self.scores[:, RED], self.tags >= Tag.RED, score)

    def tag_probabilities(self, scores: Sequence[float]) -> np.ndarray:
        """Of the four tags, (4,), of sum 1."""
        at_least = 1 / (1 + np.exp(-(self._slopes * np.asarray(scores, float) + self._offsets)))
        at_least = np.minimum.accumulate(at_least)  # a black head is also a red one
        return np.append(1.0, at_least) - np.append(at_least, 0.0)

    def tags_within(self, scores: Sequence[float], error: float) -> list[Tag]:
        """Tags of which the true one is one, but for a share ``error`` of the heads of each tag."""
        doubt = 1 - self.tag_probabilities(scores)
        known = {tag: self._doubts[self.tags == tag] for tag in Tag}
        return [tag for tag in Tag if doubt[tag] <= conformal_limit(known[tag], error)]

    def may_be(self, score: float, error: float) -> tuple[bool, bool]:
        """Whether a head may be not urgent, and may be urgent.

        For all but a share ``error`` of urgent heads the second is true, for all but such a share
        of the others the first.
        """
        red, urgent = self.scores[:, RED], self.tags >= Tag.RED
        return (bool(score <= conformal_limit(red[~urgent], error)),
                bool(-score <= conformal_limit(-red[urgent], error)))

    def threshold(self, most_missed: float) -> Threshold | None:
        """The threshold of :func:`.misses.choose_threshold`, of the logit of being urgent."""
        return choose_threshold(self.scores[:, RED], self.tags >= Tag.RED, most_missed)

    @cached_property
    def _doubts(self) -> np.ndarray:
        """What was missing to certainty of each head's true tag."""
        return np.array([1 - self.tag_probabilities(scores)[tag]
                         for scores, tag in zip(self.scores, self.tags, strict=True)])

    @cached_property
    def _platt(self) -> np.ndarray:
        return np.array([_platt(self.scores[:, step], self.tags > step)
                         for step in range(self.scores.shape[1])])

    @property
    def _slopes(self) -> np.ndarray:
        return self._platt[:, 0]

    @property
    def _offsets(self) -> np.ndarray:
        return self._platt[:, 1]


def _platt(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Slope, above 0, and offset that make logits probabilities (Platt 1999, with his targets)."""
    count = positive.sum(), (~positive).sum()
    target = np.where(positive, (count[0] + 1) / (count[0] + 2), 1 / (count[1] + 2))

    def loss(parameters: np.ndarray) -> float:
        logit = np.exp(parameters[0]) * scores + parameters[1]
        return float(np.mean(np.logaddexp(0, logit) - target * logit)
                     + RIDGE * parameters[0] ** 2)

    found = minimize(loss, np.zeros(2), method="L-BFGS-B").x
    return np.array([np.exp(found[0]), found[1]])
