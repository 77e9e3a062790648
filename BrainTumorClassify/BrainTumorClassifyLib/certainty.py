# SPDX-License-Identifier: Apache-2.0
"""From what a network answers to probabilities that hold, sets of kinds, and "never seen before".

All of it rests on patients of known kind that the network was not trained on:

- one temperature for all logits (Guo et al., ICML 2017), and for each kind the interval of
  inductive Venn-Abers prediction (Vovk & Petej, UAI 2014), wide where few such patients were seen;
- sets of kinds that hold the true one in a given share of the patients of each kind (split
  conformal prediction by class, Sadinle et al., JASA 2019);
- how far the patient lies from the nearest ones that were learned from (Sun et al., ICML 2022): who
  lies further than nearly all patients did is unlike them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from ReadingRoomLib.calibration import conformal_limit, venn_abers

LEAST_PATIENTS = 10  # of each kind
NEIGHBOURS = 5  # whose mean distance says how unlike a patient is
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Neighbour:
    """A patient that was learned from and is like the new one.

    Attributes:
        name: of the patient in the training data.
        kind: of the tumour.
        distance: 0 for the same, 2 for the opposite; of what the network knows of both.
    """

    name: str
    kind: str
    distance: float


@dataclass(frozen=True)
class Certainty:
    """What is known about a network's answers.

    Attributes:
        kinds: names of the classes.
        logits: of patients of known kind, (n, classes).
        truth: number of their kind, (n,).
        codes: what the network knows of these patients, (n, code).
        learned_codes: the same of patients that it learned from, (m, code).
        learned_truth: number of their kind, (m,).
        learned_names: their names in the training data.
    """

    kinds: tuple[str, ...]
    logits: np.ndarray
    truth: np.ndarray
    codes: np.ndarray
    learned_codes: np.ndarray
    learned_truth: np.ndarray
    learned_names: tuple[str, ...]

    def __post_init__(self) -> None:
        count, classes = len(self.truth), len(self.kinds)
        numbers = np.arange(classes)
        arrays = (self.logits, self.codes, self.learned_codes)
        if (classes < 2 or self.logits.shape != (count, classes)
                or not np.isin(self.truth, numbers).all()
                or not np.isin(self.learned_truth, numbers).all()
                or min(np.bincount(self.truth, minlength=classes)) < LEAST_PATIENTS
                or any(array.ndim != 2 or not np.isfinite(array).all() for array in arrays)
                or self.codes.shape != (count, self.learned_codes.shape[1])
                or not len(self.learned_truth) == len(self.learned_names)
                == len(self.learned_codes) >= NEIGHBOURS):
            raise ValueError("these are no answers for patients of known kinds, or too few")

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Certainty:
        """From the metadata of a model; raises ValueError, KeyError or TypeError if it is none."""
        return cls(
            tuple(map(str, written["kinds"])), np.array(written["logits"], float),
            np.array(written["truth"], int), np.array(written["codes"], float),
            np.array(written["learned_codes"], float), np.array(written["learned_truth"], int),
            tuple(map(str, written["learned_names"])))

    def written(self) -> dict[str, Any]:
        """For the metadata of a model; codes as directions, which is all that is compared."""
        return {
            "kinds": list(self.kinds), "logits": np.round(self.logits, 4).tolist(),
            "truth": self.truth.tolist(), "codes": _directions(self.codes).round(3).tolist(),
            "learned_codes": _directions(self.learned_codes).round(3).tolist(),
            "learned_truth": self.learned_truth.tolist(),
            "learned_names": list(self.learned_names),
        }

    @cached_property
    def temperature(self) -> float:
        """What all logits are divided by."""

        def loss(log_temperature: float) -> float:
            scaled = log_softmax(self.logits / np.exp(log_temperature), axis=1)
            # each kind counts alike, however many patients of it there are
            picked = scaled[np.arange(len(self.truth)), self.truth]
            return -float(np.mean([picked[self.truth == kind].mean()
                                   for kind in range(len(self.kinds))]))

        return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))

    def probabilities(self, logits: Sequence[float]) -> np.ndarray:
        """Of each kind, (classes,), of sum 1."""
        return softmax(np.asarray(logits, float) / self.temperature)

    def interval(self, logits: Sequence[float], kind: int) -> tuple[float, float]:
        """Low and high end of the probability of a kind, 0 to 1."""
        low, high = venn_abers(self._probabilities[:, kind], self.truth == kind,
                               float(self.probabilities(logits)[kind]))[1:]
        return low, high

    def kinds_within(self, logits: Sequence[float], error: float) -> list[int]:
        """Kinds of which the true one is one, but for a share ``error`` of the patients of each."""
        doubt = 1 - self.probabilities(logits)
        return [kind for kind in range(len(self.kinds))
                if doubt[kind] <= conformal_limit(self._doubts[self.truth == kind], error)]

    def unlike(self, code: np.ndarray) -> float:
        """Share of known patients that lie at least as far from those that were learned from.

        Small for a patient whose like was never seen; 0 to 1.
        """
        distance = self._unlikeness(code[None])[0]
        return float((1 + (self._known_unlikeness >= distance).sum())
                     / (1 + len(self._known_unlikeness)))

    def nearest(self, code: np.ndarray, count: int = NEIGHBOURS) -> list[Neighbour]:
        """The patients that were learned from and are most like this one, nearest first."""
        distances = self._distances(code[None])[0]
        return [Neighbour(self.learned_names[place], self.kinds[self.learned_truth[place]],
                          float(distances[place]))
                for place in np.argsort(distances, kind="stable")[:count]]

    @cached_property
    def _probabilities(self) -> np.ndarray:
        return softmax(self.logits / self.temperature, axis=1)

    @cached_property
    def _doubts(self) -> np.ndarray:
        """What was missing to certainty of each patient's true kind."""
        return 1 - self._probabilities[np.arange(len(self.truth)), self.truth]

    @cached_property
    def _known_unlikeness(self) -> np.ndarray:
        return self._unlikeness(self.codes)

    def _unlikeness(self, codes: np.ndarray) -> np.ndarray:
        """Mean distance of patients from the nearest ones that were learned from, (n,)."""
        return np.sort(self._distances(codes), axis=1)[:, :NEIGHBOURS].mean(1)

    def _distances(self, codes: np.ndarray) -> np.ndarray:
        return 1 - _directions(codes) @ _directions(self.learned_codes).T


def _directions(codes: np.ndarray) -> np.ndarray:
    """Codes of length 1."""
    return codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-9)
