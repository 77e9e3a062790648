# SPDX-License-Identifier: Apache-2.0
"""The pictures of the comparison of arms, drawn from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ReadingRoomLib.estimates import Estimate

from .arms import TITLES

COLORS = {"landmarks": "#0072b2", "imagenet": "#d55e00", "cifar": "#009e73", "random": "#666666"}
MARKERS = {"landmarks": "o", "imagenet": "s", "cifar": "^", "random": "D"}


def check_drawing() -> None:
    """Raise ModuleNotFoundError where the pictures cannot be drawn."""
    import matplotlib  # noqa: F401


def draw_areas(found: Mapping[str, Any], path: Path) -> None:
    """Area against number of weak learners with shaded intervals, or one point."""
    figure, axes = _axes()
    for arm, curve in found["areas"].items():
        values = [Estimate.read(each) for each in curve]
        style = {"color": COLORS.get(arm, "#cc79a7"), "label": TITLES.get(arm, arm)}
        if len(values) > 1:
            numbers = range(1, len(values) + 1)
            axes.plot(numbers, [each.value for each in values], linewidth=1.8, **style)
            axes.fill_between(numbers, [each.low for each in values],
                              [each.high for each in values], color=style["color"], alpha=0.13,
                              linewidth=0)
        else:
            _errorbar(axes, [list(found["areas"]).index(arm)], values, arm, **style)
    if len(next(iter(found["areas"].values()))) > 1:
        axes.set_xscale("log")
        axes.set_xticks(found["compared"], [str(number) for number in found["compared"]])
        axes.minorticks_off()
        axes.set_xlabel("weak learners")
    else:
        axes.set_xticks([])
    axes.set_ylabel("area under the ROC curve")
    _save(figure, axes, path)


def draw_efficiency(found: Mapping[str, Any], path: Path) -> None:
    """Area against number of training patients, with intervals; a point for each draw."""
    figure, axes = _axes()
    measured = found["efficiency"]
    for number, (arm, of_size) in enumerate(measured["areas"].items()):
        shift = 1 + 0.035 * (number - (len(measured["areas"]) - 1) / 2)
        sizes = [int(size) * shift for size in of_size]
        style = {"color": COLORS.get(arm, "#cc79a7"), "label": TITLES.get(arm, arm)}
        _errorbar(axes, sizes, [Estimate.read(each) for each in of_size.values()], arm, "-",
                  **style)
        for place, draws in zip(sizes, measured["each_draw"][arm].values(), strict=True):
            axes.plot([place] * len(draws), draws, ".", color=style["color"], alpha=0.3,
                      markersize=4)
    sizes = [int(size) for size in next(iter(measured["areas"].values()))]
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training patients")
    axes.set_ylabel("area under the ROC curve")
    _save(figure, axes, path)


def draw_free_response(found: Mapping[str, Any], path: Path) -> None:
    """Sensitivity against false marks per case, with intervals at those that are reported."""
    figure, axes = _axes()
    for number, (arm, each) in enumerate(found["free_response"]["arms"].items()):
        color, curve = COLORS.get(arm, "#cc79a7"), each["curve"]
        axes.plot(curve["false_marks_per_case"], curve["sensitivity"], color=color,
                  linewidth=1.6, drawstyle="steps-post", label=TITLES.get(arm, arm))
        shift = 1 + 0.05 * (number - (len(found["free_response"]["arms"]) - 1) / 2)
        _errorbar(axes, [float(rate) * shift for rate in each["sensitivity"]],
                  [Estimate.read(value) for value in each["sensitivity"].values()], arm,
                  color=color)
    measured = found["free_response"]
    reached = measured["reached"] / measured["lesions"]
    axes.axhline(reached, color="#999999", linestyle=":", linewidth=1)
    axes.text(0.0625, reached, " lesions with a candidate", fontsize=8, va="bottom",
              color="#666666")
    rates = [float(rate) for rate in next(iter(measured["arms"].values()))["sensitivity"]]
    axes.set_xscale("log", base=2)
    axes.set_xticks(rates, [f"1/{1 / rate:.0f}" if rate < 1 else f"{rate:.0f}" for rate in rates])
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("false marks per case")
    axes.set_ylabel("sensitivity")
    _save(figure, axes, path)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    return figure, figure.subplots()


def _errorbar(axes: Any, places: list[float], values: list[Estimate], arm: str, line: str = "",
              **style: Any) -> None:
    axes.errorbar(places, [each.value for each in values],
                  [[max(0.0, each.value - each.low) for each in values],
                   [max(0.0, each.high - each.value) for each in values]],
                  fmt=f"{MARKERS.get(arm, 'v')}{line}", capsize=3, markersize=5, linewidth=1.4,
                  **style)


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
