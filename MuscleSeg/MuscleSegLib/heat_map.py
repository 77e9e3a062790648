# SPDX-License-Identifier: Apache-2.0
"""The picture of the publication: patients down, structures across, colour is the error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.results import DISCLAIMER

from .evaluation import StructureScore
from .structures import STRUCTURES

PANELS = (
    # field, title, colours, lowest, highest: the ends of the scale are the same in every picture
    ("asd_mm", "Average surface distance (mm)", "viridis_r", 0.0, 3.0),
    ("dice", "Dice", "viridis", 0.5, 1.0),
)
MOST_WRITTEN = 25  # patients; with more the numbers in the cells cannot be read
CELL = 0.52  # inches
NARROWEST = 7.0  # inches, so that the sentence below is not cut off


def check_drawing() -> None:
    """Raise ModuleNotFoundError where the picture cannot be drawn."""
    import matplotlib  # noqa: F401


def draw_heat_map(scores: Sequence[StructureScore], path: Path) -> None:
    """Draw the surface distance and the Dice of every structure of every CT.

    A structure that was missed is crossed out; one that a reference does not know is white.

    Args:
        scores: one row for each CT, in their order.
        path: of the picture, PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys((score.patient, score.image) for score in scores))
    names = [structure.name for structure in STRUCTURES
             if any(score.structure == structure.name for score in scores)]
    width = max(NARROWEST, 3.2 + CELL * len(names))
    figure = Figure(figsize=(width, 2.6 + 2 * (1.6 + 0.3 * max(3, len(rows)))),
                    layout="constrained")
    for axes, (field, title, colors, low, high) in zip(
            figure.subplots(len(PANELS), 1, sharex=True), PANELS, strict=True):
        table = np.full((len(rows), len(names)), np.nan)
        for score in scores:
            table[rows.index((score.patient, score.image)),
                  names.index(score.structure)] = getattr(score, field)
        _draw_table(axes, table, colors, low, high)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_yticks(range(len(rows)), [f"patient {patient}" for patient, _ in rows], fontsize=8)
    display = {structure.name: structure.display_name for structure in STRUCTURES}
    axes.set_xticks(range(len(names)), [display[name] for name in names], rotation=60, ha="right",
                    rotation_mode="anchor", fontsize=8)
    figure.supxlabel(f"x: found in one of the two only. {DISCLAIMER}", fontsize=8, color="#444444")
    figure.savefig(path, dpi=130)


def _draw_table(axes: Any, table: np.ndarray, colors: str, low: float, high: float) -> None:
    shown = axes.imshow(np.where(np.isinf(table), high, table), cmap=colors, vmin=low, vmax=high,
                        aspect="auto")
    axes.figure.colorbar(shown, ax=axes, extend="max" if low == 0 else "min", pad=0.01)
    axes.tick_params(length=0)
    if len(table) > MOST_WRITTEN:
        return
    for (row, column), value in np.ndenumerate(table):
        if math.isnan(value):
            continue
        text = "x" if math.isinf(value) else f"{value:.2f}"
        share = min(max((value - low) / (high - low), 0), 1)
        dark = share < 0.5 if low else share > 0.5
        axes.text(column, row, text, ha="center", va="center", fontsize=7,
                  color="white" if dark else "black")


def drawn(scores: Sequence[StructureScore], path: Path, warn: Callable[[str], None]) -> bool:
    """Draw, or warn that the package is missing that does it; whether there is a picture."""
    try:
        check_drawing()
    except ModuleNotFoundError as error:
        warn(f"There is no heat map: the Python package {error.name} is not installed.")
        return False
    draw_heat_map(scores, path)
    return True
