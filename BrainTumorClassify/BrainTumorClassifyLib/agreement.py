# SPDX-License-Identifier: Apache-2.0
"""How far measurements of the same thing agree: intraclass correlation, concordance, variation.

Our own, because the one Python library that has the intraclass correlations (pingouin) is under the
GPL, which our licence does not allow us to depend on, and brings pandas, seaborn and statsmodels;
statsmodels and scipy have neither them nor Lin's coefficient. The tests hold ours against the table
that Shrout & Fleiss printed, against pingouin's intervals and against R's.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from ReadingRoomLib.estimates import Estimate

LEVEL = 0.95
CORRELATIONS = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")


def intraclass_correlations(ratings: np.ndarray) -> dict[str, Estimate]:
    """The six intraclass correlations with their 95 % intervals, by the names in `CORRELATIONS`.

    1: each target has other raters; 2: all targets have the same raters, a sample of all raters,
    whose offsets count as error; 3: these raters alone are of interest, and offsets do not count.
    ``,1`` is the reliability of one rating, ``,k`` that of the mean over the raters.

    Source: Shrout & Fleiss, Psychological Bulletin 1979; limits of the second kind with the degrees
    of freedom of their equation for it.

    Args:
        ratings: (targets, raters), at least 2 by 2, such as a radiomic feature of patients without
            and with a correction.

    Returns:
        Estimates whose n is the number of targets; NaN where nothing varies.

    Raises:
        ValueError: the table is too small or has gaps.
    """
    ratings = np.asarray(ratings, float)
    if ratings.ndim != 2 or min(ratings.shape) < 2 or not np.isfinite(ratings).all():
        raise ValueError("a whole table of at least two targets and two raters is needed")
    n, k = ratings.shape
    total = ((ratings - ratings.mean()) ** 2).sum()
    targets = k * ((ratings.mean(1) - ratings.mean()) ** 2).sum()
    raters = n * ((ratings.mean(0) - ratings.mean()) ** 2).sum()
    free_error = (n - 1) * (k - 1)
    between = targets / (n - 1)
    within = max(total - targets, 0.0) / (n * (k - 1))
    offsets = raters / (k - 1)
    error = max(total - targets - raters, 0.0) / free_error
    scale = np.finfo(float).eps * max(total, np.abs(ratings).max() ** 2) * n * k
    if total <= scale:
        nothing = Estimate(np.nan, np.nan, np.nan, n)
        return dict.fromkeys(CORRELATIONS, nothing)
    one = _consistency(between, within, n - 1, n * (k - 1), k)
    three = _consistency(between, error, n - 1, free_error, k)
    two = _agreement(between, offsets, error, n, k)
    single = (one, two, three)
    values = [*single, *(tuple(_spearman_brown(value, k) for value in each) for each in single)]
    return {name: Estimate(*map(float, value), n)
            for name, value in zip(CORRELATIONS, values, strict=True)}


def _consistency(between: float, error: float, free: int, free_error: int, k: int,
                 ) -> tuple[float, float, float]:
    """Value and limits of the first and third kind, which are functions of one F."""
    if error == 0:
        return 1.0, 1.0, 1.0
    f = between / error
    tail = (1 + LEVEL) / 2
    limits = (f, f / stats.f.ppf(tail, free, free_error), f * stats.f.ppf(tail, free_error, free))
    return tuple((each - 1) / (each + k - 1) for each in limits)


def _agreement(between: float, offsets: float, error: float, n: int, k: int,
               ) -> tuple[float, float, float]:
    """Value and limits of the second kind."""
    value = (between - error) / (between + (k - 1) * error + k * (offsets - error) / n)
    if error == 0 and offsets == 0:
        return 1.0, 1.0, 1.0
    # Satterthwaite's degrees of freedom, multiplied out so that an error of 0 does not divide
    a = k * value * offsets
    b = (n * (1 + (k - 1) * value) - k * value) * error
    below = (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1)))
    free = (a + b) ** 2 / below if below > 0 else (n - 1) * (k - 1)
    tail = (1 + LEVEL) / 2
    upper, lower = stats.f.ppf(tail, n - 1, free), stats.f.ppf(tail, free, n - 1)
    spread = k * offsets + (k * n - k - n) * error
    return (value, n * (between - upper * error) / (upper * spread + n * between),
            n * (lower * between - error) / (spread + n * lower * between))


def _spearman_brown(single: float, k: int) -> float:
    """Reliability of a mean over k from that of one; this is how the six belong together."""
    below = 1 + (k - 1) * single
    return k * single / below if below != 0 else -np.inf


def concordance(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Lin's concordance correlation coefficient of pairs, with its 95 % interval.

    1 when all pairs are equal; less where they scatter, and where one is always higher.

    Source: Lin, Biometrics 1989, variance corrected in Biometrics 2000, Fisher's transformation.

    Args:
        first, second: (n,), at least three pairs.

    Returns:
        The estimate; NaN where nothing varies.

    Raises:
        ValueError: there are fewer pairs, or gaps.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    n = len(first)
    if first.shape != second.shape or n < 3 or not np.isfinite([first, second]).all():
        raise ValueError("at least three whole pairs are needed")
    covariance = ((first - first.mean()) * (second - second.mean())).mean()
    apart = first.mean() - second.mean()
    spread = first.var() + second.var() + apart**2
    if spread == 0:
        return Estimate(np.nan, np.nan, np.nan, n)
    value = 2 * covariance / spread
    scale = first.std() * second.std()
    if scale == 0 or covariance == 0:
        return Estimate(float(value), np.nan, np.nan, n)
    r = covariance / scale
    if 1 - abs(value) < 1e-12:
        return Estimate(float(value), float(value), float(value), n)
    u2 = apart**2 / scale
    variance = ((1 - r**2) * value**2 * (1 - value**2) / r**2 + 2 * value**3 * (1 - value) * u2 / r
                - value**4 * u2**2 / (2 * r**2)) / (n - 2)
    half = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(max(variance, 0.0)) / (1 - value**2)
    middle = np.arctanh(value)
    return Estimate(float(value), float(np.tanh(middle - half)), float(np.tanh(middle + half)), n)


def coefficient_of_variation(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Standard deviation (n - 1) over the size of the mean; infinite where the mean is 0.

    Args:
        values: at least two along ``axis``, on a scale whose zero means nothing is there.
    """
    values = np.asarray(values, float)
    deviation, mean = values.std(axis, ddof=1), np.abs(values.mean(axis))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation == 0, 0.0, deviation / mean)


def within_subject_variation(values: np.ndarray) -> float:
    """Coefficient of variation within subjects: the root mean square of each one's.

    Source: Bland & Altman, BMJ 1996; Hyslop & White, Statistics in Medicine 2009.

    Args:
        values: (subjects, repeats).
    """
    return float(np.sqrt((coefficient_of_variation(values, 1) ** 2).mean()))
