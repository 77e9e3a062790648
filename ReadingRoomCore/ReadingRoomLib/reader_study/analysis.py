# SPDX-License-Identifier: Apache-2.0
"""Whether modalities differ, for these readers and cases or for others like them.

The analysis of variance of Obuchowski & Rockette (Communications in Statistics 1995) with the error
covariances from the jackknife and the degrees of freedom of Hillis (Statistics in Medicine 2007),
and that of Dorfman, Berbaum & Metz (Investigative Radiology 1992) of jackknife pseudovalues, in the
form of Hillis, Berbaum & Metz (Academic Radiology 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from ReadingRoomLib.errors import BadInput

from .figures_of_merit import Figure, areas
from .study import ReaderStudy

LEVEL = 0.95  # of the intervals
ROUNDING = 1e-12  # relative; what is smaller is no difference between readers


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval.

    Attributes:
        name: what is estimated: a modality, or ``A - B`` for a difference.
        value, standard_error, low, high: in units of the figure of merit.
        freedom: degrees of freedom of Student's t; infinite for the normal distribution.
        statistic, p: of the test that the value is 0; only of use for a difference.
    """

    name: str
    value: float
    standard_error: float
    freedom: float
    low: float
    high: float
    statistic: float
    p: float


@dataclass(frozen=True)
class Test:
    """Test of the hypothesis that all modalities are alike.

    Attributes:
        statistic: F, or chi-squared where ``error_freedom`` is infinite.
        freedom, error_freedom: degrees of freedom.
        p: probability of such a statistic when the hypothesis holds.
    """

    statistic: float
    freedom: float
    error_freedom: float
    p: float


@dataclass(frozen=True)
class Inference:
    """What follows for a population.

    Attributes:
        population: what was random: readers and cases, cases, or readers.
        test: that all modalities are alike; None with one modality.
        differences: of each pair of modalities.
        means: of each modality over the readers, from its own data only.
    """

    population: str
    test: Test | None
    differences: tuple[Estimate, ...]
    means: tuple[Estimate, ...]


@dataclass(frozen=True)
class Components:
    """Variances and covariances of the error of one area; they may come out below 0.

    Attributes:
        error: variance.
        modalities: covariance between two modalities of one reader (Cov1).
        readers: covariance between two readers in one modality (Cov2).
        both: covariance between two readers in two modalities (Cov3).
    """

    error: float
    modalities: float
    readers: float
    both: float


@dataclass(frozen=True)
class ObuchowskiRockette:
    """Analysis of a study by Obuchowski and Rockette's model.

    Attributes:
        figure: figure of merit.
        areas: of each reader in each modality, over cases like these; by modality, then reader.
        components: of the error.
        of_modality, of_reader: the components from one modality's or one reader's data only.
        reader_variance, interaction_variance: of readers, and of readers with modalities; NaN with
            one reader or one modality.
        mean_squares: of ``modality``, ``reader`` and ``modality x reader``.
        inferences: for readers and cases, for cases, for readers; with one reader only for cases.
        readers: difference of each pair of modalities for each reader alone.
    """

    figure: Figure
    areas: tuple[tuple[Estimate, ...], ...]
    components: Components
    of_modality: dict[str, Components]
    of_reader: dict[str, Components]
    reader_variance: float
    interaction_variance: float
    mean_squares: dict[str, float]
    inferences: tuple[Inference, ...]
    readers: dict[str, tuple[Estimate, ...]]


def obuchowski_rockette(study: ReaderStudy, figure: Figure) -> ObuchowskiRockette:
    """Analyse a study by Obuchowski and Rockette's model.

    Args:
        study: with any number of modalities and readers.
        figure: of merit.
    """
    area, jackknife = areas(study, figure)
    covariance = jackknife_covariance(jackknife)
    whole = _components(covariance)
    of_modality = {name: _components(covariance[i : i + 1, :, i : i + 1])
                   for i, name in enumerate(study.modalities)}
    of_reader = {name: _components(covariance[:, j : j + 1, :, j : j + 1])
                 for j, name in enumerate(study.readers)}
    squares = _mean_squares(area)
    interaction = squares["modality x reader"]
    estimates = tuple(
        tuple(_estimate(f"{modality}, {reader}", area[i, j], covariance[i, j, i, j], np.inf)
              for j, reader in enumerate(study.readers))
        for i, modality in enumerate(study.modalities))
    return ObuchowskiRockette(
        figure, estimates, whole, of_modality, of_reader,
        (squares["reader"] - interaction) / len(area) - whole.modalities + whole.both,
        interaction - whole.error + whole.modalities + max(whole.readers - whole.both, 0.0),
        squares, _inferences(study, area, whole, list(of_modality.values()), squares),
        {reader: tuple(_reader_difference(study, area[:, j], covariance[:, j, :, j], pair)
                       for pair in combinations(range(len(area)), 2))
         for j, reader in enumerate(study.readers)})


def jackknife_covariance(jackknife: np.ndarray) -> np.ndarray:
    """Covariance between the areas, from their values without each case.

    Args:
        jackknife: (modalities, readers, cases).

    Returns:
        (modalities, readers, modalities, readers).
    """
    cases = jackknife.shape[-1]
    centred = jackknife - jackknife.mean(-1, keepdims=True)
    return (cases - 1) / cases * np.einsum("ijk,lmk->ijlm", centred, centred)


def _components(covariance: np.ndarray) -> Components:
    """Means of a covariance (modalities, readers, modalities, readers) over its kinds of pairs."""
    modalities, readers = covariance.shape[:2]
    same_modality = np.eye(modalities, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]

    def mean(pairs: np.ndarray) -> float:
        chosen = covariance[np.broadcast_to(pairs, covariance.shape)]
        return float(chosen.mean()) if chosen.size else 0.0

    return Components(mean(same_modality & same_reader), mean(~same_modality & same_reader),
                      mean(same_modality & ~same_reader), mean(~same_modality & ~same_reader))


def _mean_squares(area: np.ndarray) -> dict[str, float]:
    """Mean squares of a two-way analysis of variance with one value a cell; NaN where undefined."""
    modalities, readers = area.shape
    by_modality, by_reader, mean = area.mean(1), area.mean(0), area.mean()
    rest = area - by_modality[:, None] - by_reader + mean
    sums = {
        "modality": (readers * ((by_modality - mean) ** 2).sum(), modalities - 1),
        "reader": (modalities * ((by_reader - mean) ** 2).sum(), readers - 1),
        "modality x reader": ((rest**2).sum(), (modalities - 1) * (readers - 1)),
    }
    return {name: _exact(total, (area**2).sum()) / freedom if freedom else np.nan
            for name, (total, freedom) in sums.items()}


def _exact(total: float, size: float) -> float:
    """A sum of squares, or 0 where it is only what rounding leaves of numbers of that size."""
    return float(total) if total > ROUNDING**2 * size else 0.0


def _difference(a: float, b: float) -> float:
    """a - b, or 0 where that is only what rounding leaves."""
    difference = a - b
    return float(difference) if abs(difference) > ROUNDING * max(abs(a), abs(b)) else 0.0


def _inferences(study: ReaderStudy, area: np.ndarray, whole: Components, alone: list[Components],
                squares: dict[str, float]) -> tuple[Inference, ...]:
    """The three analyses of Hillis; those that take readers as random need two of them."""
    modalities, readers = area.shape
    interaction = squares["modality x reader"]
    spread = np.array([_variance(row) for row in area])  # of the readers in each modality
    shared = readers * max(_difference(whole.readers, whole.both), 0.0)
    own = np.array([readers * max(part.readers, 0.0) for part in alone])
    fixed = (_difference(whole.error, whole.modalities)
             + (readers - 1) * max(_difference(whole.readers, whole.both), 0.0))
    fixed_alone = np.array([part.error + (readers - 1) * max(part.readers, 0.0) for part in alone])
    freedom = (modalities - 1) * (readers - 1)
    kinds = [("cases", fixed, np.inf, fixed_alone, np.full(modalities, np.inf))]
    if readers > 1:
        kinds.insert(0, ("readers and cases", interaction + shared,
                         _hillis(interaction, shared, freedom), spread + own,
                         _hillis(spread, own, readers - 1)))
        kinds.append(("readers", interaction, freedom, spread, np.full(modalities, readers - 1)))
    return tuple(
        Inference(
            population,
            _test(squares["modality"], error, modalities - 1, error_freedom)
            if modalities > 1 else None,
            tuple(_estimate(f"{study.modalities[a]} - {study.modalities[b]}",
                            area[a].mean() - area[b].mean(), 2 * error / readers, error_freedom)
                  for a, b in combinations(range(modalities), 2)),
            tuple(_estimate(name, row.mean(), variance / readers, own_freedom)
                  for name, row, variance, own_freedom
                  in zip(study.modalities, area, errors, freedoms, strict=True)))
        for population, error, error_freedom, errors, freedoms in kinds)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else np.nan


def _hillis(mean_square, shared, freedom):
    """Degrees of freedom of ``mean_square + shared``, of which only the first is uncertain."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (mean_square + shared) ** 2 / (np.square(mean_square) / freedom)


def _test(mean_square: float, error: float, freedom: float, error_freedom: float) -> Test:
    """Of modalities; without error (readers that agree throughout) there is nothing to test."""
    if not error > 0:
        return Test(np.nan, freedom, error_freedom, np.nan)
    ratio = mean_square / error
    if np.isinf(error_freedom):
        statistic = freedom * ratio
        return Test(statistic, freedom, np.inf, float(stats.chi2.sf(statistic, freedom)))
    return Test(ratio, freedom, float(error_freedom),
                float(stats.f.sf(ratio, freedom, error_freedom)))


def _estimate(name: str, value: float, variance: float, freedom: float) -> Estimate:
    error = float(np.sqrt(max(variance, 0.0)))
    # zero spread has no degrees of freedom, and no width whatever they are
    reach = stats.t.ppf((1 + LEVEL) / 2, freedom) * error if error else 0.0
    statistic = float(value) / error if error else np.nan
    return Estimate(name, float(value), error, float(freedom), float(value - reach),
                    float(value + reach), statistic, float(2 * stats.t.sf(abs(statistic), freedom)))


def _reader_difference(study: ReaderStudy, area: np.ndarray, covariance: np.ndarray,
                       pair: Sequence[int]) -> Estimate:
    """Difference of two modalities for one reader, from that reader's own errors.

    Args:
        area: (modalities,) of the reader.
        covariance: (modalities, modalities) of the reader.
        pair: the two modalities.
    """
    a, b = pair
    own = _components(covariance[np.ix_(pair, pair)][:, None, :, None])
    return _estimate(f"{study.modalities[a]} - {study.modalities[b]}", area[a] - area[b],
                     2 * (own.error - own.modalities), np.inf)


@dataclass(frozen=True)
class DorfmanBerbaumMetz:
    """Analysis of variance of jackknife pseudovalues.

    Attributes:
        figure: figure of merit.
        variances: components of ``reader``, ``case``, ``modality x reader``, ``modality x case``,
            ``reader x case`` and ``error``; they may come out below 0.
        tests: by what was random, as in :class:`Inference`.
    """

    figure: Figure
    variances: dict[str, float]
    tests: dict[str, Test]


def dorfman_berbaum_metz(study: ReaderStudy, figure: Figure) -> DorfmanBerbaumMetz:
    """Analyse a study by Dorfman, Berbaum and Metz's method.

    Args:
        study: with at least two modalities and two readers.
        figure: of merit.

    Raises:
        BadInput: fewer than two modalities or readers.
    """
    if min(len(study.modalities), len(study.readers)) < 2:
        raise BadInput("The analysis of pseudovalues needs two modalities and two readers.")
    area, jackknife = areas(study, figure)
    cases = len(study.cases)
    values = cases * area[..., None] - (cases - 1) * jackknife
    values += area[..., None] - values.mean(-1, keepdims=True)
    square = _three_way_mean_squares(values)
    t, r, c = values.shape
    variances = {
        "reader": (square["R"] - square["TR"] - square["RC"] + square["TRC"]) / (t * c),
        "case": (square["C"] - square["TC"] - square["RC"] + square["TRC"]) / (t * r),
        "modality x reader": (square["TR"] - square["TRC"]) / c,
        "modality x case": (square["TC"] - square["TRC"]) / r,
        "reader x case": (square["RC"] - square["TRC"]) / t,
        "error": square["TRC"],
    }
    shared = max(_difference(square["TC"], square["TRC"]), 0.0)
    freedom = (t - 1) * (r - 1)
    return DorfmanBerbaumMetz(figure, variances, {
        "readers and cases": _test(square["T"], square["TR"] + shared, t - 1,
                                   _hillis(square["TR"], shared, freedom)),
        "cases": _test(square["T"], square["TC"], t - 1, (t - 1) * (c - 1)),
        "readers": _test(square["T"], square["TR"], t - 1, freedom),
    })


def _three_way_mean_squares(values: np.ndarray) -> dict[str, float]:
    """Mean squares of all effects of (modalities T, readers R, cases C), one value a cell."""
    letters = "TRC"
    effects: dict[str, np.ndarray] = {"": values.mean(keepdims=True)}
    squares = {}
    for count in (1, 2, 3):
        for chosen in combinations(range(3), count):
            name = "".join(letters[axis] for axis in chosen)
            others = tuple(axis for axis in range(3) if axis not in chosen)
            effect = values.mean(others, keepdims=True) - sum(
                value for lower, value in effects.items() if set(lower) < set(name))
            effects[name] = effect
            freedom = np.prod([values.shape[axis] - 1 for axis in chosen])
            repeats = np.prod([values.shape[axis] for axis in others])
            squares[name] = _exact(repeats * (effect**2).sum(), (values**2).sum()) / freedom
    return squares
