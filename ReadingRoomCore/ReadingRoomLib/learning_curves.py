# SPDX-License-Identifier: Apache-2.0
"""The learning curves of a training: read while it runs, put into a table, drawn.

A training writes a line of JSON after each step, ``{"step": 12, "loss": 0.7, "accuracy": 0.5}``;
what was seen in images that are not trained on is added to some of them under names that begin with
``validation_``. Nothing heavy is imported, so a panel can read along.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

HISTORY = "history.jsonl"
VALIDATION = "validation_"
QUANTITIES = ("accuracy", "loss")
ROWS = 100  # of a table without validation
COLORS = {"": (31, 119, 180), VALIDATION: (214, 90, 0)}
"""Of training and validation; told apart by the colour-blind, too."""


def read_history(path: str | Path) -> list[dict[str, float]]:
    """The steps that a training has noted, none before it began; a line half written is left out.

    Args:
        path: of ``history.jsonl``.
    """
    try:
        lines = Path(path).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "step" in entry:
            entries.append(entry)
    return entries


def table_of(history: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The curves as columns of equal length: ``step``, and each quantity that was noted.

    There is a row for each look at the validation images, or, without any, a row for each of a
    hundred equal parts. Quantities of training are means since the row before.

    Args:
        history: from :func:`read_history`.
    """
    ends = [int(entry["step"]) for entry in history
            if any(name.startswith(VALIDATION) for name in entry)]
    if history and not ends:
        last = int(history[-1]["step"])
        rows = min(ROWS, last)
        ends = [round(last * (row + 1) / rows) for row in range(rows)]
    names = [prefix + quantity for quantity in QUANTITIES for prefix in COLORS
             if any(prefix + quantity in entry for entry in history)]
    table: dict[str, list[float]] = {"step": []} | {name: [] for name in names}
    waiting = iter(sorted(history, key=lambda entry: entry["step"]))
    entry = next(waiting, None)
    for end in ends:
        part = []
        while entry is not None and entry["step"] <= end:
            part.append(entry)
            entry = next(waiting, None)
        means = {name: _mean([one[name] for one in part if name in one]) for name in names}
        if all(mean is not None for mean in means.values()):
            table["step"].append(end)
            for name, mean in means.items():
                table[name].append(mean)
    return table


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


# ----------------------------------------------------------------------------------------- drawing

WIDTH, HEIGHT, TOP = 480, 184, 26  # of a plot, and of the line above; pixels
LEFT, RIGHT, ABOVE, BELOW = 44, 20, 22, 24  # of the axes
FINE = 2  # drawn so much larger, for screens with small pixels
GRID, TEXT = (222, 222, 222), (40, 40, 40)


def draw_curves(table: Mapping[str, Sequence[float]], path: str | Path, title: str = "") -> None:
    """Draw accuracy and loss of training and validation against steps, one plot below the other.

    Args:
        table: from :func:`table_of`.
        path: PNG; it appears at once, whoever is looking.
        title: above the plots.
    """
    from PIL import Image, ImageDraw

    shown = [quantity for quantity in QUANTITIES
             if any(prefix + quantity in table for prefix in COLORS)] or ["loss"]
    picture = Image.new("RGB", (FINE * WIDTH, FINE * (TOP + HEIGHT * len(shown))), "white")
    draw = ImageDraw.Draw(picture)
    _legend(draw, title, [prefix for prefix in COLORS if any(
        prefix + quantity in table for quantity in QUANTITIES)])
    for number, quantity in enumerate(shown):
        _plot(draw, table, quantity, TOP + number * HEIGHT)
    path = Path(path)
    unfinished = path.with_name(f".{path.name}")
    picture.save(unfinished, format="PNG")
    unfinished.replace(path)


def _legend(draw, title: str, prefixes: Sequence[str]) -> None:
    draw.text((FINE * LEFT, FINE * 5), title, fill=TEXT, font=_font(12))
    x = WIDTH - RIGHT
    for prefix in reversed(prefixes):
        name = "validation" if prefix else "training"
        x -= round(draw.textlength(name, font=_font(12)) / FINE)
        draw.text((FINE * x, FINE * 5), name, fill=COLORS[prefix], font=_font(12))
        x -= 14


def _plot(draw, table: Mapping[str, Sequence[float]], quantity: str, top: int) -> None:
    steps = table.get("step", [])
    curves = {prefix: table[prefix + quantity] for prefix in COLORS if prefix + quantity in table}
    highest = max((value for curve in curves.values() for value in curve), default=0.0) or 1.0
    step = _ceiling(highest / 4)
    most = 1.0 if quantity == "accuracy" else step * math.ceil(highest / step)
    last = max(steps, default=1)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - ABOVE - BELOW

    def place(step: float, value: float) -> tuple[float, float]:
        return (FINE * (LEFT + wide * step / last),
                FINE * (top + ABOVE + high * (1 - min(value / most, 1.0))))

    for value in _ticks(most):
        draw.line([place(0, value), place(last, value)], fill=GRID, width=FINE)
        x, y = place(0, value)
        draw.text((x - FINE * 5, y), f"{value:g}", fill=TEXT, font=_font(11), anchor="rm")
    for step in _ticks(last):
        x, y = place(step, 0)
        draw.text((x, y + FINE * 3), f"{step:g}", fill=TEXT, font=_font(11), anchor="mt")
    draw.text((FINE * LEFT, FINE * (top + 4)), f"{quantity}, by step", fill=TEXT, font=_font(12))
    for prefix, curve in curves.items():
        points = [place(step, value) for step, value in zip(steps, curve, strict=True)]
        if len(points) == 1:
            points = [(points[0][0] - 2, points[0][1]), points[0]]
        draw.line(points, fill=COLORS[prefix], width=2 * FINE, joint="curve")


def _ticks(most: float) -> list[float]:
    """Four to nine round numbers from 0 to ``most``."""
    step = _ceiling(most / 8)
    return [step * number for number in range(int(most / step * (1 + 1e-9)) + 1)]


def _ceiling(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(FINE * size)
