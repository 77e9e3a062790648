# SPDX-License-Identifier: Apache-2.0
"""Learning what Dice to expect from patients whose segmentation is known.

How far the Dice lies from what the probabilities let expect, on average and in the worst cases, is
a sum of one function for each feature, fitted by gradient boosting without interactions
(scikit-learn) on one half of the patients; with little to learn from, the probabilities are
believed. On the other half the bound is moved until it holds for the share of structures that was
asked for: conformal quantile regression (Romano, Patterson & Candès, NeurIPS 2019), by MAPIE.
Structures of a patient are alike, so whole patients are put into one half or the other. The promise
is about structures of patients like these, all taken together; it is none about a single structure,
nor about other patients.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.logs import no_library_log

from .confidence import DIGITS, FEATURES, RISES, Calibration, Tables, features_of
from .structure_scores import StructureScores
from .structures import Structure

NEEDED = ("Learning what the confidence is worth needs the Python packages MAPIE and scikit-learn: "
          "install them with pip install 'readingroom[confidence]'.")
FOLDS = 5
LEAST_PATIENTS = 6  # of a study: where a fold is left out, two to fit and two to hold it against
KNOTS = 40  # of a table
EXPECTED, STRUCTURE = FEATURES.index("expected_dice"), FEATURES.index("structure")


@dataclass(frozen=True)
class Case:
    """A structure whose Dice is known.

    Attributes:
        patient: whose it is.
        structure: which it is.
        together: whether it is of both sides together.
        scores: what the network was unsure of.
        dice: with the reference, 0 to 1.
    """

    patient: str
    structure: Structure
    together: bool
    scores: StructureScores
    dice: float


@dataclass(frozen=True)
class Aim:
    """What a calibration shall promise, see :class:`.confidence.Calibration`."""

    coverage: float
    level: float
    uncertainty: str
    samples: int
    simulated: bool


def check_fitting() -> None:
    """Look for the libraries that learn, which the segmentation needs none of.

    Raises:
        BadInput: one is not installed.
    """
    for name in ("mapie", "sklearn"):
        if importlib.util.find_spec(name) is None:
            raise BadInput(NEEDED)


def calibrate(cases: Sequence[Case], aim: Aim, seed: int) -> Calibration:
    """Learn a calibration.

    Args:
        cases: structures of at least two patients.
        aim: what it shall promise.
        seed: of the halves.

    Raises:
        BadInput: the structures are too few.
    """
    patients = sorted({case.patient for case in cases})
    drawn = np.random.default_rng(seed).permutation(patients)
    first = set(drawn[: len(drawn) // 2].tolist())
    typical = _typical_volumes(cases)
    features = np.array([features_of(case.structure, case.scores, aim.uncertainty, aim.samples,
                                     typical, case.together) for case in cases])
    dice = np.array([case.dice for case in cases])
    fitted = np.array([case.patient in first for case in cases])
    predicted = _fit(features[fitted], dice[fitted], None)
    low = _fit(features[fitted], dice[fitted], 1 - aim.coverage)
    offset = _conformal_offset(low, features[~fitted], dice[~fitted], aim.coverage)
    bound = Tables(low.constant - offset, low.knots, low.values)
    return Calibration(predicted, bound, aim.coverage, aim.level, aim.uncertainty, aim.samples,
                       typical, len(patients), len(cases), aim.simulated)


def cross_fitted(cases: Sequence[Case], aim: Aim, seed: int) -> np.ndarray:
    """Expected Dice and lower bound of each case, (n, 2), from the other patients.

    The patients are parted into :data:`FOLDS` folds; each is predicted by a calibration that has
    seen no patient of it.
    """
    patients = sorted({case.patient for case in cases})
    drawn = np.random.default_rng(seed).permutation(patients)
    result = np.full((len(cases), 2), np.nan)
    for fold in range(min(FOLDS, len(drawn))):
        own = set(drawn[fold::FOLDS].tolist())
        calibration = calibrate([case for case in cases if case.patient not in own], aim, seed)
        rows = [number for number, case in enumerate(cases) if case.patient in own]
        result[rows] = applied(calibration, [cases[row] for row in rows], aim.samples)
    return result


def applied(calibration: Calibration, cases: Sequence[Case], samples: int) -> np.ndarray:
    """Expected Dice and lower bound of each case by a calibration, (n, 2)."""
    found = [calibration.predict(case.structure, case.scores, samples, case.together)
             for case in cases]
    return np.array([(one.dice, one.at_least) for one in found]).reshape(-1, 2)


def _typical_volumes(cases: Sequence[Case]) -> dict[str, float]:
    """Median volume of one side of each structure that is whole, or of its parts where none is."""
    volumes: dict[str, list[tuple[bool, float]]] = {}
    for case in cases:
        sides = 2 if case.together and case.structure.paired else 1
        volumes.setdefault(case.structure.name, []).append(
            (case.scores.cut_off, case.scores.volume_ml / sides))
    return {name: float(np.median([volume for cut, volume in own if not cut]
                                  or [volume for _, volume in own]))
            for name, own in volumes.items()}


def _fit(features: np.ndarray, dice: np.ndarray, quantile: float | None) -> Tables:
    """Tables of the mean, or of a quantile, of the Dice."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="squared_error" if quantile is None else "quantile", quantile=quantile,
        learning_rate=0.06, max_iter=60, max_leaf_nodes=4, min_samples_leaf=20,
        l2_regularization=5.0, interaction_cst="no_interactions",
        categorical_features=[STRUCTURE], early_stopping=False, random_state=0)
    model.fit(features, dice - features[:, EXPECTED])

    def of(rows: np.ndarray) -> np.ndarray:
        return model.predict(rows) + rows[:, EXPECTED]

    usual = np.median(features, 0)
    usual[STRUCTURE] = features[0, STRUCTURE]
    constant = float(of(usual[None])[0])
    knots, values = [], []
    for number, column in enumerate(features.T):
        places = np.unique(np.round(column if number == STRUCTURE else
                                    np.quantile(column, np.linspace(0, 1, KNOTS)), DIGITS))
        if number == EXPECTED:
            places = np.unique(np.r_[0.0, places, 1.0])
        rows = np.repeat(usual[None], len(places), 0)
        rows[:, number] = places
        adds = of(rows) - constant
        if RISES[number]:  # more doubt shall never mean a higher Dice
            adds = RISES[number] * np.maximum.accumulate(RISES[number] * adds)
        knots.append(places)
        values.append(adds)
    return Tables(constant, tuple(knots), tuple(values))


def _conformal_offset(low: Tables, features: np.ndarray, dice: np.ndarray, coverage: float
                      ) -> float:
    """How much the quantile must be lowered to hold for ``coverage`` of the structures.

    MAPIE knows intervals with two ends, each of which may fail in half of the cases that are
    allowed to; of one with twice as many the lower end is what is wanted.
    """
    from mapie.regression import ConformalizedQuantileRegressor

    with warnings.catch_warnings(), no_library_log():
        warnings.simplefilter("ignore")  # about the upper end, which nobody asked for
        conformal = ConformalizedQuantileRegressor(
            [_regressor(low)] * 3, confidence_level=2 * coverage - 1, prefit=True)
        try:
            conformal.conformalize(features, dice)
            _, interval = conformal.predict_interval(features[:1], symmetric_correction=False)
        except ValueError as error:
            raise BadInput(f"{len(dice)} structures are too few to promise a Dice for "
                           f"{coverage:.0%} of them: add patients to the list.") from error
    return float(low(features[:1])[0] - np.ravel(interval)[0])


def _regressor(tables: Tables):
    """Tables as scikit-learn and MAPIE know a fitted regressor."""
    from sklearn.base import BaseEstimator, RegressorMixin

    class Regressor(RegressorMixin, BaseEstimator):
        n_features_in_ = len(FEATURES)

        def fit(self, features, dice):
            return self

        def predict(self, features):
            return tables(np.asarray(features))

    return Regressor()
