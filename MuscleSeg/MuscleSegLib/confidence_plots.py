# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the confidence of a model is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ReadingRoomLib.results import DISCLAIMER

from .confidence_statistics import (
    EXPECTED,
    PREDICTED,
    ScoredStructure,
    risk_coverage,
    trust_by_score,
)

GOOD, BAD = "#0072b2", "#d55e00"  # told apart by colour-blind readers, too
SHOWN = ("variance, mean", "variance, over the surface", EXPECTED, PREDICTED)
COLORS = ("#999999", "#e69f00", "#009e73", "#0072b2")
BINS = 10


def draw_all(scored: Sequence[ScoredStructure], level: float, folder: Path) -> dict[str, str]:
    """Draw all pictures; their file names.

    Args:
        scored: with what calibrations say that had not seen their patients.
        level: Dice below which a structure is bad.
        folder: gets the pictures, PNG.
    """
    drawn = {}
    for name, plot in (("scatter", _scatter), ("risk_coverage", _risk_coverage),
                       ("calibration", _calibration)):
        figure = plot(scored, level)
        figure.supxlabel(DISCLAIMER, fontsize=8, color="#444444")
        figure.savefig(folder / f"{name}.png", dpi=110)
        drawn[name] = f"{name}.png"
    return drawn


def _scatter(scored: Sequence[ScoredStructure], level: float) -> Figure:
    """Every structure as a point: a score against its Dice."""
    trust = trust_by_score(scored)
    dice = np.array([one.dice for one in scored])
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(SHOWN), sharey=True), SHOWN, strict=True):
        values = abs(trust[name])
        for part, color, label in ((dice >= level, GOOD, f"Dice from {level:g}"),
                                   (dice < level, BAD, f"Dice below {level:g}")):
            axes.plot(values[part], dice[part], ".", color=color, markersize=3, alpha=0.5,
                      label=label)
        r = np.corrcoef(values, dice)[0, 1] if np.ptp(values) and np.ptp(dice) else np.nan
        axes.set_title(f"{name}\nr = {r:.2f}", fontsize=10)
        axes.axhline(level, color="#444444", linewidth=0.8, linestyle=":")
        if name in (EXPECTED, PREDICTED):
            axes.plot([0, 1], [0, 1], color="#444444", linewidth=0.8)
            axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("mm" if "surface" in name else "")
        axes.set_ylim(-0.02, 1.02)
    figure.axes[0].set_ylabel("Dice")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def _risk_coverage(scored: Sequence[ScoredStructure], level: float) -> Figure:
    """Mean error of what is kept, against how much is kept."""
    dice = np.array([one.dice for one in scored])
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    trust = trust_by_score(scored)
    for name, color in zip(SHOWN, COLORS, strict=True):
        kept, risk = risk_coverage(trust[name], dice)
        axes.plot(100 * kept, risk, color=color, label=name)
    kept, risk = risk_coverage(dice, dice)
    axes.plot(100 * kept, risk, color="black", linestyle=":", label="best possible")
    axes.axhline(1 - dice.mean(), color="black", linewidth=0.8, linestyle="--",
                 label="by chance")
    axes.set(xlabel="structures kept, the most trusted first (%)", ylabel="mean of 1 - Dice",
             xlim=(0, 100), ylim=(0, None))
    axes.grid(color="#eeeeee")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _calibration(scored: Sequence[ScoredStructure], level: float) -> Figure:
    """Dice and lower bounds where about the same Dice was predicted."""
    predicted, bound, dice = (np.array([getattr(one, field) for one in scored]) for field in
                              ("predicted_dice", "dice_lower_bound", "dice"))
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    parts = [rows for rows in np.array_split(np.argsort(predicted, kind="stable"), BINS)
             if len(rows)]
    places = [predicted[rows].mean() for rows in parts]
    quantiles = np.array([np.quantile(dice[rows], (0.1, 0.5, 0.9)) for rows in parts]).T
    axes.fill_between(places, quantiles[0], quantiles[2], color=GOOD, alpha=0.2,
                      label="Dice, middle 80 %")
    axes.plot(places, quantiles[1], color=GOOD, marker="o", markersize=3, label="Dice, median")
    axes.plot(places, [np.median(bound[rows]) for rows in parts], color=BAD, marker="v",
              markersize=3, label="lower bound, median")
    axes.plot([0, 1], [0, 1], color="#444444", linewidth=0.8)
    axes.axhline(level, color="#444444", linewidth=0.8, linestyle=":")
    axes.set(xlabel="predicted Dice", ylabel="Dice", xlim=(max(0, min(places) - 0.05), 1),
             ylim=(max(0, min(quantiles[0].min(), bound.min()) - 0.05), 1))
    axes.grid(color="#eeeeee")
    axes.legend(frameon=False, fontsize=9)
    return figure
