# SPDX-License-Identifier: Apache-2.0
"""What the experiment says: accuracies, and whether they differ, with intervals by patient.

Tests of whole sets of accuracies are scipy's. scikit-learn has the scores, but none with weights
for a thousand resamplings at once, and no corrected test; so these are ours, each held against
published or independently computed values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ReadingRoomLib.estimates import Estimate

RESAMPLINGS = 1000
BINS = 10
TAILS = (0.025, 0.975)
MOST_WEIGHTS = 5_000_000  # at once, for the memory's sake


@dataclass(frozen=True)
class Answers:
    """What a trained network said of images, or of patients, that it was tested on.

    Attributes:
        labels: numbers of the true classes, (n,).
        patients: numbers of the patients, (n,).
        probabilities: (n, classes), of sum 1.
    """

    labels: np.ndarray
    patients: np.ndarray
    probabilities: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether the most probable class is the true one, (n,)."""
        return self.probabilities.argmax(1) == self.labels

    def by_patient(self) -> Answers:
        """The same of each patient: mean of the probabilities of the images that were tested."""
        patients, first, place = np.unique(self.patients, return_index=True, return_inverse=True)
        sums = np.zeros((len(patients), self.probabilities.shape[1]))
        np.add.at(sums, place, self.probabilities)
        return Answers(self.labels[first], patients, sums / np.bincount(place)[:, None])


Statistic = Callable[[Answers, np.ndarray], np.ndarray]
"""Gets what was tested and weights (resamplings, n); returns (resamplings,), NaN where it cannot
be told."""


# ----------------------------------------------------------------------------------------- scores


def accuracy(tested: Answers, weights: np.ndarray) -> np.ndarray:
    """Share of right answers."""
    return _share(tested.right, weights)


def sensitivity_of(number: int) -> Statistic:
    """Share of right answers among those that truly are of a class."""
    def sensitivity(tested: Answers, weights: np.ndarray) -> np.ndarray:
        true = tested.labels == number
        return _share(tested.right[true], weights[:, true])

    return sensitivity


def balanced_accuracy(tested: Answers, weights: np.ndarray) -> np.ndarray:
    """Mean of the sensitivities (Brodersen et al., ICPR 2010); NaN where a class is missing."""
    return np.mean([sensitivity_of(number)(tested, weights)
                    for number in range(tested.probabilities.shape[1])], 0)


def macro_auc(tested: Answers, weights: np.ndarray) -> np.ndarray:
    """Mean over the classes of the area under the ROC curve of a class against the others.

    Source: Hanley & McNeil, Radiology 1982, ties by half; classes as Provost & Domingos 2000, each
    counted once.
    """
    return np.mean([_auc(tested.probabilities[:, number], tested.labels == number, weights)
                    for number in range(tested.probabilities.shape[1])], 0)


def calibration_error(tested: Answers, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error of the most probable class (Guo et al., ICML 2017), ten bins."""
    sure, right, count = _binned(tested, weights)
    with np.errstate(invalid="ignore"):
        return np.abs(sure - right).sum(1) / count.sum(1)


def reliability(runs: Sequence[Answers]) -> list[dict[str, float]]:
    """How often the most probable class is right, by how probable it was, over all runs.

    Returns:
        For each tenth of the probability that has answers: ``probability`` and ``right`` (means, 0
        to 1) and ``share`` of all answers.
    """
    all_runs = Answers(*(np.concatenate([getattr(run, name) for run in runs])
                        for name in ("labels", "patients", "probabilities")))
    sure, right, count = (sums[0] for sums in _binned(all_runs, np.ones((1, len(all_runs.labels)))))
    return [{"probability": float(s / c), "right": float(r / c), "share": float(c / count.sum())}
            for s, r, c in zip(sure, right, count, strict=True) if c]


def _binned(tested: Answers, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of probability, right answers and weights by bin, each (resamplings, bins)."""
    sure = tested.probabilities.max(1)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    member = (place[:, None] == np.arange(BINS)).astype(float)
    return (weights @ (member * sure[:, None]), weights @ (member * tested.right[:, None]),
            weights @ member)


def _share(right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return weights @ right.astype(float) / weights.sum(1)


def _auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    weights, positive = weights[:, order].astype(float), positive[order]
    # equal scores belong together
    good = np.add.reduceat(weights * positive, starts, axis=1)
    bad = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(bad, 1) - bad
    with np.errstate(invalid="ignore", divide="ignore"):
        return (good * (below + bad / 2)).sum(1) / (good.sum(1) * bad.sum(1))


# -------------------------------------------------------------------------------------- intervals


def estimate(runs: Sequence[Answers], statistic: Statistic, seed: int = 0,
             minus: Sequence[Answers] = ()) -> Estimate:
    """Mean of a statistic over the runs, with its 95 % interval by resampling patients.

    Images of a patient are alike, so patients are drawn, with all their images in all runs. The
    interval is for other patients like these and the networks as they were trained.

    Args:
        runs: of the repetitions.
        statistic: such as :func:`accuracy`.
        seed: of the resampling.
        minus: runs whose mean is taken off, of the same patients: the estimate is a difference.

    Returns:
        The estimate; its n is the number of patients.
    """
    patients = np.unique(np.concatenate([run.patients for run in (*runs, *minus)]))
    drawn = np.random.default_rng(seed).multinomial(
        len(patients), np.full(len(patients), 1 / len(patients)), RESAMPLINGS)
    counts = np.concatenate([np.ones((1, len(patients)), int), drawn])  # the first: as it is

    def values_of(run: Answers) -> np.ndarray:
        place = np.searchsorted(patients, run.patients)
        parts = np.array_split(counts, 1 + counts.shape[0] * len(place) // MOST_WEIGHTS)
        return np.concatenate([statistic(run, part[:, place]) for part in parts])

    def mean(group: Sequence[Answers]) -> np.ndarray:
        found = np.array([values_of(run) for run in group])
        known = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            return np.where(known, found, 0).sum(0) / known.sum(0)

    values = mean(runs) - (mean(minus) if minus else 0)
    resampled = values[1:][np.isfinite(values[1:])]
    if len(patients) < 2 or len(resampled) < RESAMPLINGS / 2:
        return Estimate(float(values[0]), np.nan, np.nan, len(patients))
    low, high = np.quantile(resampled, TAILS)
    return Estimate(float(values[0]), float(low), float(high), len(patients))


def median_and_quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile (linear interpolation, as in R's type 7)."""
    low, middle, high = np.quantile(np.asarray(values, float), (0.25, 0.5, 0.75))
    return float(middle), float(low), float(high)


# ------------------------------------------------------------------------------------------ tests


@dataclass(frozen=True)
class Comparison:
    """A difference between two groups of accuracies.

    Attributes:
        pair: names of the two; the difference is the first minus the second.
        difference: with its 95 % interval; n is the number of repetitions.
        statistic: t where there is one, else NaN.
        p: two-sided; NaN where nothing varies.
    """

    pair: tuple[str, str]
    difference: Estimate
    statistic: float
    p: float


def anova(groups: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """F and p of one-way analysis of variance; None where nothing varies within the groups."""
    if len(groups) < 2 or all(np.ptp(values) == 0 for values in groups.values()) or (
            min(map(len, groups.values())) < 2):
        return None
    found = stats.f_oneway(*groups.values())
    return float(found.statistic), float(found.pvalue)


def tukey(groups: Mapping[str, Sequence[float]]) -> list[Comparison]:
    """Tukey's honestly significant difference of all pairs; none where nothing varies."""
    if anova(groups) is None:
        return []
    found = stats.tukey_hsd(*groups.values())
    limits = found.confidence_interval(0.95)
    n = min(map(len, groups.values()))
    return [Comparison((first, second),
                       Estimate(float(found.statistic[i, j]), float(limits.low[i, j]),
                                float(limits.high[i, j]), n), np.nan, float(found.pvalue[i, j]))
            for (i, first), (j, second) in itertools.combinations(enumerate(groups), 2)]


def corrected_t_test(first: Sequence[float], second: Sequence[float], ratio: float,
                     pair: tuple[str, str] = ("first", "second")) -> Comparison:
    """Corrected resampled t-test of two models on the same repeated splits.

    Splits overlap, so the accuracies of repetitions are not independent, and the usual tests take
    chance for a difference. Here the variance grows by the ratio of tested to learned.

    Source: Nadeau & Bengio, Machine Learning 2003.

    Args:
        first, second: accuracies in the same repetitions, (n,), at least two.
        ratio: of the sizes of test and training part.
        pair: their names.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    n, mean, variance = len(differences), differences.mean(), differences.var(ddof=1)
    if np.ptp(differences) == 0:
        return Comparison(pair, Estimate(float(mean), np.nan, np.nan, n), np.nan, np.nan)
    error = np.sqrt((1 / n + ratio) * variance)
    half = stats.t.ppf(TAILS[1], n - 1) * error
    return Comparison(pair, Estimate(float(mean), float(mean - half), float(mean + half), n),
                      float(mean / error), float(2 * stats.t.sf(abs(mean / error), n - 1)))


def compare_all(groups: Mapping[str, Sequence[float]], ratio: float) -> list[Comparison]:
    """The corrected test of all pairs, p adjusted by Holm's method (Scand. J. Stat. 1979)."""
    if min(map(len, groups.values())) < 2:
        return []
    found = [corrected_t_test(groups[a], groups[b], ratio, (a, b))
             for a, b in itertools.combinations(groups, 2)]
    adjusted = holm([each.p for each in found])
    return [Comparison(each.pair, each.difference, each.statistic, p)
            for each, p in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values; NaN stays NaN, and is not counted."""
    p_values = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]
    adjusted = np.full(len(p_values), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted.tolist()
