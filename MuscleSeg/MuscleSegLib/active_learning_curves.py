# SPDX-License-Identifier: Apache-2.0
"""What the runs of the active-learning experiment add up to: curves, equal costs, cost to reach.

A run is one arm with one seed. Intervals are over seeds, by Student's t: they say how much the
first slices, the draws and the weights matter, with the same patients. Between two rounds the Dice
is taken to be linear in the logarithm of the cost.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ReadingRoomLib.estimates import Estimate

from .active_learning import ARMS, BASELINE, PUBLISHED, WHOLE, Point
from .simulated_annotator import Cost

AXES = {"slices": "slices opened", "pixels": "pixels labelled", "regions": "regions corrected"}
TARGETS = (0.9, 0.95, 0.99)  # of the Dice with everything labelled
PLACES = 41  # at which two curves are compared

Runs = Mapping[str, Mapping[int, Sequence[Point]]]
"""Points by arm and seed."""


@dataclass(frozen=True)
class Curve:
    """Dice against a cost of one run; costs ascend."""

    costs: np.ndarray
    dice: np.ndarray

    @classmethod
    def of(cls, points: Sequence[Point], axis: str) -> Curve:
        costs = np.array([getattr(point.cost, axis) for point in points], float)
        dice = np.array([np.mean(point.dice) for point in points])
        last = np.append(np.diff(costs) > 0, True)  # of equal costs the later round counts
        return cls(costs[last], dice[last])

    def at(self, cost: float | np.ndarray) -> np.ndarray:
        """The Dice at a cost within the curve."""
        return np.interp(np.log(cost), np.log(self.costs), self.dice)

    def cost_of(self, dice: float) -> float:
        """The least cost at which the Dice is reached; infinite when it never is."""
        reached = np.flatnonzero(self.dice >= dice)
        if not len(reached):
            return np.inf
        last = reached[0]
        if last == 0:
            return float(self.costs[0])
        share = (dice - self.dice[last - 1]) / (self.dice[last] - self.dice[last - 1])
        low, high = np.log(self.costs[last - 1 : last + 1])
        return float(np.exp(low + share * (high - low)))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean with its 95 % interval by Student's t; no interval of fewer than two values."""
    known = np.asarray(values, float)
    n = len(known)
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if n < 2:
        return Estimate(mean, np.nan, np.nan, n)
    half = float(stats.t.ppf(0.975, n - 1) * known.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def measured(runs: Runs, pool: Cost) -> dict[str, Any]:
    """What ``result.json`` says of the runs.

    Args:
        runs: all arms with the same seeds.
        pool: what labelling all of the pool costs by slices and pixels.

    Returns:
        ``curves``: of each arm and round mean costs and the Dice. ``equal_cost``: on each cost axis
        the difference of the published arm to foreground-aware random slices. ``cost_to_reach``: of
        each arm and axis the share of the cost of everything at which shares of its Dice are
        reached. Parts whose arms were not run are left out.
    """
    found: dict[str, Any] = {
        "pool": {"slices": pool.slices, "pixels": pool.pixels},
        "curves": {arm: _curve(own) for arm, own in runs.items()},
        "final": {arm: over_seeds([float(np.mean(points[-1].dice)) for points in own.values()]
                                  ).written() for arm, own in runs.items()},
    }
    if PUBLISHED in runs and BASELINE in runs:
        found["equal_cost"] = {axis: equal_cost(runs[PUBLISHED], runs[BASELINE], axis)
                               for axis in AXES}
    if WHOLE in runs:
        found["cost_to_reach"] = {arm: {axis: [cost_to_reach(own, runs[WHOLE], axis, share)
                                               for share in TARGETS] for axis in AXES}
                                  for arm, own in runs.items() if arm != WHOLE}
    return found


def _curve(own: Mapping[int, Sequence[Point]]) -> list[dict[str, Any]]:
    return [{"round": points[0].round,
             **{axis: float(np.mean([getattr(point.cost, axis) for point in points]))
                for axis in AXES},
             "dice": over_seeds([float(np.mean(point.dice)) for point in points]).written()}
            for points in zip(*own.values(), strict=True)]


def equal_cost(first: Mapping[int, Sequence[Point]], second: Mapping[int, Sequence[Point]],
               axis: str) -> dict[str, Any]:
    """Dice of one arm minus that of another at equal cost, paired by seed.

    Costs are compared where both curves of all seeds are: from the highest of the first costs to
    the lowest of the last ones.

    Returns:
        ``low`` and ``high``, the compared costs; ``mean``, the difference averaged over them (over
        the logarithm of the cost); ``end``, the difference at ``high``. The estimates are None
        where no cost is common.
    """
    pairs = [(Curve.of(first[seed], axis), Curve.of(second[seed], axis)) for seed in first]
    low = max(curve.costs[0] for pair in pairs for curve in pair)
    high = min(curve.costs[-1] for pair in pairs for curve in pair)
    if high <= low:
        return {"low": float(low), "high": float(high), "mean": None, "end": None}
    places = np.geomspace(low, high, PLACES)
    differences = [one.at(places) - other.at(places) for one, other in pairs]
    return {"low": float(low), "high": float(high),
            "mean": over_seeds([float(each.mean()) for each in differences]).written(),
            "end": over_seeds([float(each[-1]) for each in differences]).written()}


def cost_to_reach(own: Mapping[int, Sequence[Point]], whole: Mapping[int, Sequence[Point]],
                  axis: str, share: float) -> dict[str, Any]:
    """At which share of the cost of everything an arm has a share of everything's Dice.

    Returns:
        ``of_dice``, the share of the Dice; ``reached``, by how many of the ``seeds``, and
        ``at_start``, by how many before any question, so that the cost is less than is said;
        ``of_cost``, the geometric mean with its interval, None where a seed did not reach it.
    """
    ratios, at_start = [], 0
    for seed, points in own.items():
        everything, curve = Curve.of(whole[seed], axis), Curve.of(points, axis)
        target = share * everything.dice[-1]
        ratios.append(curve.cost_of(target) / everything.costs[-1])
        at_start += bool(curve.dice[0] >= target)
    reached = int(np.isfinite(ratios).sum())
    estimate = None
    if reached == len(ratios):
        logarithm = over_seeds(np.log(ratios).tolist())
        estimate = Estimate(*(float(np.exp(value)) for value in (
            logarithm.value, logarithm.low, logarithm.high)), logarithm.n).written()
    return {"of_dice": share, "reached": reached, "at_start": at_start, "seeds": len(ratios),
            "of_cost": estimate}


def write_csv(path: Path, runs: Runs, patients: Sequence[str]) -> None:
    """One line for each arm, seed and round: costs, mean Dice, and the Dice of each patient."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arm", "seed", "round", *AXES, "dice",
                         *(f"dice_{patient}" for patient in patients)])
        for arm, own in runs.items():
            for seed, points in own.items():
                for point in points:
                    writer.writerow([arm, seed, point.round,
                                     *(getattr(point.cost, axis) for axis in AXES),
                                     f"{np.mean(point.dice):.4f}",
                                     *(f"{value:.4f}" for value in point.dice)])


def draw_curves(found: Mapping[str, Any], path: Path) -> None:
    """Dice against each of the three costs, logarithmic; shaded: 95 % intervals over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(AXES), sharey=True)
    for plot, (axis, title) in zip(axes, AXES.items(), strict=True):
        for arm, curve in found["curves"].items():
            _draw_arm(plot, arm, curve, axis)
        plot.set_xscale("log")
        plot.set_xlabel(title)
        plot.grid(True, which="major", color="#dddddd")
        plot.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("Dice of held-out patients")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False)
    figure.savefig(path)


_STYLE: dict[str, tuple[str, str]] = {
    "random": ("#999999", "s"), "foreground": ("#0072b2", "o"), "entropy": ("#009e73", "^"),
    "pixels": ("#d55e00", "D"), "pixels-filled": ("#cc79a7", "v"), "everything": ("#000000", "*")}


def _draw_arm(plot, arm: str, curve: Sequence[Mapping[str, Any]], axis: str) -> None:
    color, marker = _STYLE[arm]
    points = curve[-1:] if arm == WHOLE else curve
    costs = [point[axis] for point in points]
    value, low, high = _limits(points)
    if arm == WHOLE:
        plot.axhline(value[0], color=color, linestyle=":", linewidth=1)
        plot.errorbar(costs, value, [value - low, high - value], color=color, marker=marker,
                      markersize=9, linestyle="", capsize=3, label=ARMS[arm])
        return
    plot.plot(costs, value, color=color, marker=marker, markersize=5, label=ARMS[arm])
    plot.fill_between(costs, low, high, color=color, alpha=0.15, linewidth=0)


def _limits(points: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dice and its limits; where there is no interval, the limits are the Dice."""
    estimates = [Estimate.read(point["dice"]) for point in points]
    value = np.array([each.value for each in estimates])
    limits = np.array([[each.low, each.high] for each in estimates]).T
    low, high = np.where(np.isnan(limits), value, limits)
    return value, low, high
