# SPDX-License-Identifier: Apache-2.0
"""What Dice to expect of each structure, and what it is at least, from how sure the network was.

A calibration is learned from patients whose segmentation is known (:mod:`.confidence_fitting`) and
kept as tables of numbers, so that using it needs no library, and reading one can run no code. It is
a sum of one piecewise linear function for each feature of a structure. The lower bound is another
such sum, moved by the amount that conformal prediction asks for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.errors import BadInput

from .structure_scores import StructureScores
from .structures import STRUCTURES, Structure

KEY = "confidence_calibration"  # in the metadata of a bundle
FEATURES = ("expected_dice", "uncertainty", "relative_volume", "cut_off", "structure")
RISES = (1, -1, 0, 0, 0)
"""Whether more of each feature means a higher Dice, a lower one, or either."""
NAMES = tuple(structure.name for structure in STRUCTURES)
MOST_KNOTS = 1000
DIGITS = 6  # of what is written


@dataclass(frozen=True)
class PredictedDice:
    """What is expected of a structure, 0 to 1.

    Attributes:
        dice: the Dice with what an expert would outline, as it was on average where the network
            was as sure as here.
        at_least: what it is at least, in as large a share of structures as the calibration says.
        level: below this it should be looked at.
    """

    dice: float
    at_least: float
    level: float

    @property
    def remark(self) -> str:
        """Why to look at it, or nothing."""
        low = math.floor(100 * self.at_least) / 100  # what is below the level never looks like it
        return "" if self.at_least >= self.level else f"Dice may be only {low:.2f}"


@dataclass(frozen=True)
class Tables:
    """A sum of piecewise linear functions of the features, see :data:`FEATURES`.

    Attributes:
        constant: is added to the sum.
        knots, values: of each feature, both (n,); beyond the ends the function goes on level.
    """

    constant: float
    knots: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The sums (n,) for features (n, features)."""
        return self.constant + sum(
            np.interp(column, knots, values)
            for column, knots, values in zip(features.T, self.knots, self.values, strict=True))

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return {"constant": round(self.constant, DIGITS), "tables": {
            name: {"knots": np.round(knots, DIGITS).tolist(),
                   "values": np.round(values, DIGITS).tolist()}
            for name, knots, values in zip(FEATURES, self.knots, self.values, strict=True)}}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Tables:
        """From what :meth:`written` gave; ValueError, KeyError or TypeError where it is none."""
        tables = [written["tables"][name] for name in FEATURES]
        knots, values = (tuple(np.array(table[part], float) for table in tables)
                         for part in ("knots", "values"))
        for k, v in zip(knots, values, strict=True):
            if not (k.ndim == 1 and k.shape == v.shape and 0 < len(k) <= MOST_KNOTS
                    and np.isfinite([k, v]).all() and (np.diff(k) > 0).all()):
                raise ValueError("no table")
        return cls(_number(written["constant"]), knots, values)


@dataclass(frozen=True)
class Calibration:
    """What turns scores of structures into an expected Dice and a lower bound.

    Attributes:
        predicted: tables of the expected Dice.
        bound: tables of what the Dice is at least.
        coverage: share of structures whose Dice is at least the bound, as it was asked for.
        level: Dice below which a structure should be looked at.
        uncertainty: kind of uncertainty that was used, see :mod:`ReadingRoomLib.montecarlo`.
        samples: Monte Carlo samples that were drawn; with fewer it does not hold.
        typical_ml: volume of each structure (of one side where it is paired), mL.
        patients, structures: how many it was learned from.
        simulated: whether they were simulated.
    """

    predicted: Tables
    bound: Tables
    coverage: float
    level: float
    uncertainty: str
    samples: int
    typical_ml: Mapping[str, float]
    patients: int
    structures: int
    simulated: bool

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected Dice and its lower bound, both (n,) in 0 to 1, for features (n, features)."""
        predicted = self.predicted(features).clip(0, 1)
        return predicted, np.minimum(self.bound(features).clip(0, 1), predicted)

    def predict(self, structure: Structure, scores: StructureScores, samples: int, together: bool
                ) -> PredictedDice:
        """What to expect of a structure.

        Args:
            structure: which it is.
            scores: of it.
            samples: Monte Carlo samples.
            together: whether they are of both sides together.
        """
        row = features_of(structure, scores, self.uncertainty, samples, self.typical_ml, together)
        [dice], [bound] = self(np.array([row]))
        return PredictedDice(float(dice), float(bound), self.level)

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"predicted": self.predicted.written(), "bound": self.bound.written(),
                             "typical_ml": {name: round(volume, 3)
                                            for name, volume in self.typical_ml.items()}}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Calibration:
        """From what :meth:`written` gave; ValueError, KeyError or TypeError where it is none."""
        typical = {name: _number(written["typical_ml"][name]) for name in NAMES
                   if name in written["typical_ml"]}
        if not all(volume > 0 for volume in typical.values()):
            raise ValueError("no volumes")
        return cls(
            predicted=Tables.read(written["predicted"]), bound=Tables.read(written["bound"]),
            coverage=_number(written["coverage"]), level=_number(written["level"]),
            uncertainty=str(written["uncertainty"]), samples=int(written["samples"]),
            typical_ml=typical, patients=int(written["patients"]),
            structures=int(written["structures"]), simulated=bool(written["simulated"]))

    @property
    def summary(self) -> dict[str, Any]:
        """What ``result.json`` says of it."""
        return {name: getattr(self, name) for name in
                ("coverage", "level", "samples", "patients", "structures", "simulated")}


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


def read_calibration(path: Path) -> Calibration:
    """Read ``calibration.json``.

    Raises:
        BadInput: it is no calibration.
    """
    try:
        return Calibration.read(json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: check its name.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path.name} is no calibration: choose the calibration.json that the "
                       "command confidence wrote.") from error


def features_of(structure: Structure, scores: StructureScores, kind: str, samples: int,
                typical_ml: Mapping[str, float], together: bool) -> list[float]:
    """Features of a structure, in the order of :data:`FEATURES`.

    Args:
        structure: which it is.
        scores: of it.
        kind: of uncertainty.
        samples: Monte Carlo samples, at least 2; the variance of few is too small, which is undone.
        typical_ml: of one side.
        together: whether the scores are of both sides together.
    """
    typical = typical_ml.get(structure.name, scores.volume_ml)
    sides = 2 if together and structure.paired else 1
    unbiased = samples / (samples - 1) if kind == "variance" else 1.0
    return [scores.expected_dice, scores.uncertainty[kind] * unbiased,
            math.log(max(scores.volume_ml, 1e-3) / (sides * typical)), float(scores.cut_off),
            float(structure.value)]
