# SPDX-License-Identifier: Apache-2.0
"""What disturbing images did, for people: a page that needs nothing else, and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ReadingRoomLib import pages

from .robustness import UNCHANGED, Answer, Change

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
COLUMNS = 4  # of plots
NOTE = ("All was done to sequences that were read, aligned and put on one grid as scanned; the "
        "region stayed the same, and the grey values were fixed anew. JPEG is baseline JPEG in 8 "
        "bits over the whole range of a series. JPEG 2000 is the lossy one, in 12 bits, and its "
        "ratio counts against 16 bits a pixel, as archives store them. A bias field of 20 % lies "
        "between 0.9 and 1.1 in the brain and is the same for all sequences. Noise is Rician; its "
        "standard deviation counts against the median of the brain. Thicker slices and wider "
        "pixels are averages.")


def check_drawing() -> None:
    """Raise ModuleNotFoundError where the curves cannot be drawn."""
    import matplotlib  # noqa: F401


def page(answers: Sequence[Answer], changes: Sequence[Change], folder: Path,
         files: Mapping[str, str], warnings: Sequence[str]) -> str:
    """The report as one HTML page, curves inside.

    Args:
        answers, changes: as measured.
        folder, files: where the picture ``curves`` is.
        warnings: shown at the top.
    """
    count = len({each.patient for each in answers})
    several = count > 1
    body = [
        "<h1>How much does the answer change when the images do?</h1>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        f"<p>{count} {'patients' if several else 'patient'}. {_worst(changes, count)}</p>",
        pages.picture(folder / files["curves"], "Curves of what the perturbations do"),
        "<h2>As scanned</h2>",
        _as_scanned(answers),
        "<h2>All strengths</h2>",
        "<p>Decision: the one kind that is left, or uncertain. "
        + ("Intervals are of 95 %, of the shares exact, of the mean by resampling patients."
           if several else "One patient gives no interval.") + "</p>",
        pages.table(
            ["", "strength", "another decision", "another most probable kind",
             "probability of the kind that was most probable", "largest change of it"],
            ([each.perturbation, f"{each.strength:g} {each.unit}", each.decisions.per_cent(),
              each.kinds.per_cent(), each.probability.per_cent(), f"{100 * each.largest:+.1f}"]
             for each in changes)),
        "<h2>How it was done</h2>",
        f"<p>{escape(NOTE)}</p>",
    ]
    return pages.page("Robustness of the classification", body)


def _worst(changes: Sequence[Change], count: int) -> str:
    moved = [each for each in changes if each.decisions.value > 0]
    if not moved:
        return "No perturbation changed a decision."
    worst = max(moved, key=lambda each: each.decisions.value)
    changed = round(worst.decisions.value * count)
    return escape(f"Most decisions were changed by {worst.perturbation} ({worst.strength:g} "
                  f"{worst.unit}): {changed} of {count}.")


def _as_scanned(answers: Sequence[Answer]) -> str:
    kinds = list(answers[0].probabilities)
    return pages.table(["study", *kinds, "decision"], (
        [str(each.patient), *(f"{100 * each.probabilities[kind]:.1f} %" for kind in kinds),
         each.decision] for each in answers if each.perturbation == UNCHANGED))


def draw_curves(answers: Sequence[Answer], changes: Sequence[Change], path: Path) -> None:
    """One plot for each perturbation; of one patient the probability of each kind, of several how
    probable the kind that was most probable remains, and how many decisions change."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(each.perturbation for each in changes))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, 2.9 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    single = len({each.patient for each in answers}) == 1
    for axes, name in zip(panels.flat, names, strict=False):
        own = [each for each in changes if each.perturbation == name]
        if single:
            _draw_kinds(axes, answers, name)
        else:
            _draw_patients(axes, answers, own)
        first = [] if own[0].strength == 0 else ["0"]
        ticks = [*first, *(f"{each.strength:g}" for each in own)]
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_title(name, fontsize=10)
        axes.set(xlabel=own[0].unit, ylim=(-3, 103))
        axes.grid(color="#eeeeee")
        axes.set_axisbelow(True)
    for axes in panels.flat[len(names):]:
        axes.axis("off")
    for axes in panels[:, 0]:
        axes.set_ylabel("per cent")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def _draw_kinds(axes, answers: Sequence[Answer], name: str) -> None:
    shown = [each for each in answers if each.perturbation in (UNCHANGED, name)]
    if shown[1].strength == 0:  # the perturbation begins with a 0 of its own
        shown = shown[1:]
    for color, kind in zip(COLORS, shown[0].probabilities, strict=False):
        axes.plot([100 * each.probabilities[kind] for each in shown], "o-", color=color,
                  label=kind, markersize=4)


def _draw_patients(axes, answers: Sequence[Answer], own: Sequence[Change]) -> None:
    before = np.array([max(each.probabilities.values()) for each in answers
                       if each.perturbation == UNCHANGED])
    begins = own[0].strength > 0
    values = [before.mean()] * begins + [each.probability.value for each in own]
    places = np.arange(len(values))
    axes.plot(places, 100 * np.array(values), "o-", color=COLORS[0], markersize=4,
              label="probability of the kind that was most probable, mean")
    axes.fill_between(places[begins:], [100 * each.probability.low for each in own],
                      [100 * each.probability.high for each in own], color=COLORS[0], alpha=0.2,
                      linewidth=0)
    changed = [0.0] * begins + [100 * each.decisions.value for each in own]
    axes.plot(places, changed, "s--", color=COLORS[1], markersize=4, label="another decision")
    axes.fill_between(places[begins:], [100 * each.decisions.low for each in own],
                      [100 * each.decisions.high for each in own], color=COLORS[1], alpha=0.15,
                      linewidth=0)
