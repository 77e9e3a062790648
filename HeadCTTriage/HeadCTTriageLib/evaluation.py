# SPDX-License-Identifier: Apache-2.0
"""How good judgements are on heads of known tag that nothing was learned or calibrated on."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ReadingRoomLib.calibration import expected_calibration_error

from .certainty import RED, Certainty
from .triage import Tag

RESAMPLINGS = 2000
CHANCES = 300  # how often outcomes are drawn from the probabilities themselves


def measure(certainty: Certainty, scores: np.ndarray, tags: np.ndarray, most_missed: float,
            error: float) -> dict[str, str | int]:
    """All numbers for the model card, each with its 95 % interval.

    Args:
        certainty: what the judgements rest on.
        scores: logits of at least yellow, red and black, (n, 3).
        tags: true ones, (n,).
        most_missed, error: as for :class:`.judging.Judge`.
    """
    urgent = tags >= Tag.RED
    probability = np.array([certainty.urgent(score)[0] for score in scores[:, RED]])
    raw = 1 / (1 + np.exp(-scores[:, RED]))
    shown = np.array([certainty.tag_probabilities(each).argmax() for each in scores])
    may = np.array([certainty.may_be(score, error) for score in scores[:, RED]])
    sets = [certainty.tags_within(each, error) for each in scores]
    measured: dict[str, str | int] = {
        "heads": len(tags), "urgent_heads": int(urgent.sum()),
        "four_class_accuracy": share(shown == tags),
        "binary_accuracy": share((probability >= 0.5) == urgent),
        "binary_auc": auc_with_interval(scores[:, RED], urgent),
        "calibration_error_before": f"{expected_calibration_error(raw, urgent):.3f}",
        "calibration_error_after": f"{expected_calibration_error(probability, urgent):.3f}",
        "calibration_error_by_chance": f"{calibration_error_by_chance(probability):.3f}",
        "uncertain": share(may[:, 0] == may[:, 1]),
        "urgent_heads_that_may_be_urgent": share(may[urgent, 1]),
        "other_heads_that_may_wait": share(may[~urgent, 0]),
        "true_tag_among_the_possible": share(
            np.array([tag in possible for tag, possible in zip(tags, sets, strict=True)])),
    }
    if threshold := certainty.threshold(most_missed):
        above = scores[:, RED] >= threshold.value
        measured["sensitivity_at_threshold"] = share(above[urgent])
        measured["specificity_at_threshold"] = share(~above[~urgent])
    return measured


def calibration_error_by_chance(probability: np.ndarray) -> float:
    """The mean calibration error of so many heads if every probability were exactly right.

    Few heads scatter about the truest probability, so an error of this size says nothing against it
    (consistency resampling, Broecker & Smith, Weather and Forecasting 2007).
    """
    drawn = np.random.default_rng(0).random((CHANCES, len(probability))) < probability
    return float(np.mean([expected_calibration_error(probability, each) for each in drawn]))


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve (Hanley & McNeil, Radiology 1982), ties by half."""
    ranks = stats.rankdata(scores)
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2)
                 / (count * (len(scores) - count)))


def auc_with_interval(scores: np.ndarray, positive: np.ndarray) -> str:
    """The area with its 95 % interval by resampling the heads of each kind."""
    random = np.random.default_rng(0)
    places = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    drawn = []
    for _ in range(RESAMPLINGS):
        again = np.concatenate([random.choice(place, len(place)) for place in places])
        drawn.append(auc(scores[again], positive[again]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{auc(scores, positive):.3f} ({low:.3f} to {high:.3f})"


def share(right: np.ndarray) -> str:
    """A share with its exact 95 % interval (Clopper & Pearson, Biometrika 1934)."""
    found = stats.binomtest(int(right.sum()), len(right)).proportion_ci(0.95, "exact")
    return f"{right.mean():.3f} ({found.low:.3f} to {found.high:.3f})"


def share_of_patients(right: np.ndarray, patients: np.ndarray) -> str:
    """A share of images with its 95 % interval by resampling patients.

    Images of one patient are alike: taken one by one they would make the interval too narrow.

    Args:
        right: (n,), of each image.
        patients: (n,), whose image it is.
    """
    groups = np.unique(patients, return_inverse=True)[1]
    sums, counts = np.bincount(groups, right), np.bincount(groups)
    drawn = np.random.default_rng(0).integers(0, len(counts), (RESAMPLINGS, len(counts)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return f"{right.mean():.3f} ({low:.3f} to {high:.3f})"
