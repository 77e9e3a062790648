# SPDX-License-Identifier: Apache-2.0
"""How good a detector is after fewer training cases: the same draws of patients for all arms.

The draws are nested: the 25 patients of a draw include its 10. So a curve rises because of more
patients, and not because of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ReadingRoomLib.estimates import Estimate

from .transfer_bootstrap import Wins, estimate

SIZES = (10, 25, 50, 100)
DRAWS = 10


@dataclass(frozen=True)
class Draw:
    """Some of the training patients.

    Attributes:
        number: of the draw.
        size: how many patients.
        patients: their numbers.
    """

    number: int
    size: int
    patients: tuple[int, ...]


def nested_draws(ill: np.ndarray, sizes: Sequence[int] = SIZES, count: int = DRAWS,
                 seed: int = 0) -> list[Draw]:
    """Draws of patients, in each the share of those with a lesion that there is in all.

    Args:
        ill: whether each training patient has a lesion, (patients,); at least one has.
        sizes: as many patients are drawn; more than there are means all, and all are one draw.
        count: of draws of each size.
        seed: draw k depends on it and on k alone.
    """
    ill = np.asarray(ill, bool)
    sizes = sorted({min(size, len(ill)) for size in sizes})
    found = []
    for number in range(count):
        order = _order(ill, np.random.default_rng([seed, number]))
        found += [Draw(number, size, tuple(sorted(order[:size].tolist())))
                  for size in sizes if size < len(ill) or number == 0]
    return found


def _order(ill: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """All patients at random, but so that each beginning has its share with a lesion."""
    waiting = {True: list(random.permutation(np.flatnonzero(ill))),
               False: list(random.permutation(np.flatnonzero(~ill)))}
    share, given = ill.mean(), 0
    order = []
    for place in range(len(ill)):
        next_ill = bool(waiting[True]) and (given < share * (place + 1) or not waiting[False])
        given += next_ill
        order.append(waiting[next_ill].pop())
    return np.array(order)


def efficiency(wins: Mapping[int, Wins], weights: np.ndarray, seed: int,
               minus: Mapping[int, Wins] | None = None) -> dict[int, Estimate]:
    """Mean area over the draws of each size, with intervals over draws and test patients.

    Args:
        wins: by size, with one entry for each draw, (draws, patients, patients).
        weights: how often each test patient is drawn, (resamplings, patients).
        seed: of drawing the draws again; the same for all that is compared.
        minus: of another arm, the same draws: the estimate is the mean difference.

    Returns:
        By size; n is the number of draws.
    """
    found = {}
    for size, of_size in wins.items():
        values, resampled = of_size.areas, of_size.resampled(weights)
        if minus is not None:
            values = values - minus[size].areas
            resampled = resampled - minus[size].resampled(weights)
        draws = len(values)
        again = np.random.default_rng([seed, size]).multinomial(
            draws, np.full(draws, 1 / draws), len(weights)) / draws
        found[size] = estimate(values.mean(), (again.T * resampled).sum(0), draws)
    return found
