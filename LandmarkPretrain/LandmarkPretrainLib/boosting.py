# SPDX-License-Identifier: Apache-2.0
"""Classifiers on the features of a frozen network: AdaBoost of decision stumps, and a linear one.

As published, AdaBoost chooses among the features: each weak learner is a threshold on one of them
(Freund & Schapire, J. Comput. Syst. Sci. 1997; both classes weigh alike at the beginning, as in
Viola & Jones, CVPR 2001). One fit gives the scores of all numbers of weak learners.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

LEARNERS = 200
FOLDS = 5
STRENGTHS = tuple(10.0 ** np.arange(-5, 2))  # C of the logistic regression

Scorer = Callable[[np.ndarray], np.ndarray]
"""Gets features (n, d), returns scores (stages, n), higher for lesions; AdaBoost has one stage for
each number of weak learners, other classifiers have one."""


class Standard:
    """Features to mean 0 and standard deviation 1 as they have in training cases.

    Args:
        features: of training samples, (n, d).
    """

    def __init__(self, features: np.ndarray) -> None:
        self.mean = features.mean(0, dtype=np.float64)
        deviation = features.std(0, dtype=np.float64)
        self.scale = np.where(deviation > 1e-6, deviation, 1.0)  # dead units stay 0

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return ((features - self.mean) / self.scale).astype(np.float32)


def boost(features: np.ndarray, lesion: np.ndarray, learners: int = LEARNERS,
          seed: int = 0) -> Scorer:
    """Fit AdaBoost of decision stumps.

    Args:
        features: (n, d).
        lesion: (n,) bool, both classes are there.
        learners: most weak learners. Where fewer separate all training samples, no more are added,
            and later stages score alike.
        seed: decides between stumps that are equally good.
    """
    weights = np.where(lesion, 0.5 / lesion.sum(), 0.5 / (~lesion).sum())
    ensemble = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=learners,
                                  random_state=seed)
    standard = Standard(features)
    try:
        ensemble.fit(standard(features), lesion.astype(int), sample_weight=weights)
    except ValueError as error:
        if "worse than random" not in str(error):
            raise
        # no threshold on any feature is better than chance
        return lambda given: np.zeros((learners, len(given)))

    def score(given: np.ndarray) -> np.ndarray:
        staged = np.stack(list(ensemble.staged_decision_function(standard(given))))
        return np.concatenate([staged, np.repeat(staged[-1:], learners - len(staged), axis=0)])

    return score


def probe(features: np.ndarray, lesion: np.ndarray, patients: np.ndarray, seed: int = 0) -> Scorer:
    """Fit a logistic regression; its strength is chosen by cross-validation by patient.

    Args:
        features: (n, d).
        lesion: (n,) bool.
        patients: numbers, (n,).
        seed: of the folds.
    """
    standard = Standard(features)
    folds = min(FOLDS, len(np.unique(patients[lesion])), len(np.unique(patients[~lesion])))
    model = LogisticRegression(class_weight="balanced", max_iter=2000)
    if folds > 1:
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        # a fold of one class has no area, and with it no strength would have one
        parts = [part for part in split.split(features, lesion, patients)
                 if all(0 < lesion[half].mean() < 1 for half in part)]
    if folds > 1 and parts:
        model = GridSearchCV(model, {"C": STRENGTHS}, scoring="roc_auc", cv=parts)
        model.fit(standard(features), lesion)
    else:
        model.set_params(C=1e-3).fit(standard(features), lesion)
    return lambda given: model.decision_function(standard(given))[None]
