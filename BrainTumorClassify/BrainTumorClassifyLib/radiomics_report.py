# SPDX-License-Identifier: Apache-2.0
"""The radiomics study for people: a page that needs nothing else, its pictures, lines for a
terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ReadingRoomLib import pages

from .radiomics import CLASSES
from .radiomics_study import (
    GOOD_CORRELATION,
    LEAST_PATIENTS,
    PUBLISHED,
    SMALL_VARIATION,
    Stability,
)
from .sequences import NAMES

COLORS = dict(zip(CLASSES.values(), (
    "#000000", "#999999", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"),
    strict=True))
LOWEST, HIGHEST = 1e-4, 10.0  # of the variations that are drawn; others lie on the border
Summaries = Mapping[str, Mapping[str, int | None]]


def check_drawing() -> None:
    """Raise ModuleNotFoundError where the pictures cannot be drawn."""
    import matplotlib  # noqa: F401


def has_agreement(rows: Sequence[Stability]) -> bool:
    """Whether there are intraclass correlations to show."""
    return any(np.isfinite(row.icc.value) for row in rows)


def lines(rows: Sequence[Stability], summaries: Summaries) -> list[str]:
    """What a person wants to know at once."""
    said = []
    for sequence, each in summaries.items():
        patients = max(row.patients for row in rows if row.sequence == sequence)
        said.append(f"{NAMES[sequence]}, {patients} patients: of {each['changed']} features that "
                    f"N4 changes, {each['small_variation']} have a coefficient of variation below "
                    f"{SMALL_VARIATION}{_poor(each)}.")
    return said


def _poor(each: Mapping[str, int | None]) -> str:
    if each["small_but_poor"] is None:
        return ""
    return f"; {each['small_but_poor']} of these have an ICC below {GOOD_CORRELATION}"


# -------------------------------------------------------------------------------------------- page


def page(rows: Sequence[Stability], summaries: Summaries, recipe: Mapping[str, object],
         folder: Path, files: Mapping[str, str], warnings: Sequence[str]) -> str:
    """The report as one HTML page, pictures inside.

    Args:
        rows: all features of all sequences.
        summaries: numbers of features by sequence.
        recipe: how features were computed.
        folder, files: where the pictures ``variation`` and perhaps ``agreement`` are.
        warnings: shown at the top.
    """
    body = [
        "<h1>Does bias-field correction change radiomic features?</h1>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        *(f"<p>{escape(line)}</p>" for line in lines(rows, summaries)),
        f"<p>Published: {escape(PUBLISHED['claim'])}, coefficient of variation below "
        f"{SMALL_VARIATION} ({escape(PUBLISHED['source'])}), on other images.</p>",
        _summary_table(summaries),
        "<p>Features that are the same in all patients with and without the correction, as those "
        "of shape are, say nothing about it and are counted apart.</p>",
        "<h2>How far values move</h2>",
        "<p>Coefficient of variation within patients: standard deviation over the size of the "
        "mean of a patient's two values, root mean square over the patients. It needs a scale "
        "whose zero means that nothing is there. Where values have both signs it is not given; "
        "where they come near zero it is large however little they move.</p>",
        pages.picture(folder / files["variation"],
                      "Coefficients of variation of all features, the largest first"),
        "<h2>Whether patients keep their order</h2>",
        *_agreement(rows, folder, files),
        "<h2>By class of features</h2>",
        *(part for sequence in summaries for part in _classes(rows, sequence)),
        "<h2>Feature by feature</h2>",
        "<p>With 95 % intervals. Names are those of mirp, which follow the IBSI.</p>",
        *(part for sequence in summaries for part in _features(rows, sequence)),
        "<h2>How it was done</h2>",
        pages.table(["", ""], [[name.replace("_", " "), str(value)]
                               for name, value in recipe.items()]),
        "<p>Both arms had the same mask and the same recipe; the field was taken out by N4 "
        "(Tustison et al., IEEE TMI 2010) within the head, before the grey values were "
        "normalised.</p>",
    ]
    return pages.page("Radiomic features and bias-field correction", body)


def _summary_table(summaries: Summaries) -> str:
    heading = ["sequence", "features", "the same", "changed", "of these both signs",
               f"CV below {SMALL_VARIATION}", f"and ICC below {GOOD_CORRELATION}",
               "and lower end of the ICC below"]
    return pages.table(heading, ([NAMES[sequence], *(
        "too few patients" if value is None else str(value) for value in each.values())]
        for sequence, each in summaries.items()), marked=[6])


def _agreement(rows: Sequence[Stability], folder: Path, files: Mapping[str, str]) -> list[str]:
    if "agreement" not in files:
        return [f"<p>Cannot be told: intraclass correlation and concordance need at least "
                f"{LEAST_PATIENTS} patients.</p>"]
    return ["<p>Intraclass correlation for absolute agreement, ICC(A,1), of a feature with and "
            "without the correction: 1 where the correction changes nothing against what patients "
            "differ by, 0 where it mixes them up. Below the dotted line and left of the dashed "
            "one are features that move little, and yet no longer tell patients apart as before: "
            "their coefficient of variation hides it.</p>",
            pages.picture(folder / files["agreement"],
                          "Intraclass correlation against coefficient of variation")]


def _classes(rows: Sequence[Stability], sequence: str) -> list[str]:
    lines_ = []
    for kind in CLASSES.values():
        own = [row for row in rows if (row.sequence, row.kind) == (sequence, kind)]
        changed = [row for row in own if not row.unchanged]
        iccs = [row.icc.value for row in changed if np.isfinite(row.icc.value)]
        variations = [row.variation for row in changed if np.isfinite(row.variation)]
        lines_.append([
            kind, str(len(own)), str(len(changed)),
            str(sum(value < SMALL_VARIATION for value in variations)),
            f"{np.median(variations):.3f}" if variations else "",
            f"{np.median(iccs):.3f}" if iccs else ""])
    return [f"<h3>{NAMES[sequence]}</h3>", pages.table(
        ["class", "features", "changed", f"CV below {SMALL_VARIATION}", "median CV", "median ICC"],
        lines_)]


def _features(rows: Sequence[Stability], sequence: str) -> list[str]:
    own = [row for row in rows if row.sequence == sequence and not row.unchanged]
    own.sort(key=lambda row: (np.isnan(row.variation), -row.variation))
    return [f"<h3>{NAMES[sequence]}</h3>", pages.table(
        ["feature", "class", "mean without N4", "with N4", "CV", "ICC(A,1)", "concordance"],
        ([row.feature, row.kind, f"{row.mean_without:.4g}", f"{row.mean_with:.4g}",
          "both signs" if np.isnan(row.variation) else f"{row.variation:.3f}",
          *("" if np.isnan(each.value) else str(each) for each in (row.icc, row.concordance))]
         for row in own))]


# ----------------------------------------------------------------------------------------- pictures


def draw_variation(rows: Sequence[Stability], path: Path) -> None:
    """Coefficients of variation as bars, the largest first, one plot for each sequence."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    sequences = list(dict.fromkeys(row.sequence for row in rows))
    figure = Figure(figsize=(9, 1 + 2.8 * len(sequences)), layout="constrained")
    for axes, sequence in zip(figure.subplots(len(sequences), 1, squeeze=False)[:, 0], sequences,
                              strict=True):
        own = [row for row in rows if row.sequence == sequence and not row.unchanged
               and np.isfinite(row.variation)]
        own.sort(key=lambda row: -row.variation)
        heights = np.clip([row.variation for row in own], LOWEST, HIGHEST)
        axes.bar(range(len(own)), heights, 1.0, color=[COLORS[row.kind] for row in own])
        axes.axhline(SMALL_VARIATION, color="black", linestyle="--", linewidth=1)
        small = sum(row.variation < SMALL_VARIATION for row in own)
        axes.set(yscale="log", ylim=(LOWEST, HIGHEST), xlim=(-1, max(len(own), 1)),
                 ylabel="coefficient of variation",
                 title=f"{NAMES[sequence]}: {small} of {len(own)} below {SMALL_VARIATION}")
        axes.set_xticks([])
    figure.axes[-1].set_xlabel("features that N4 changes, the largest first")
    drawn = {row.kind for row in rows if not row.unchanged}
    figure.legend([Patch(color=COLORS[kind]) for kind in COLORS if kind in drawn],
                  [kind for kind in COLORS if kind in drawn], loc="outside lower center", ncols=8,
                  frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def draw_agreement(rows: Sequence[Stability], path: Path) -> None:
    """Intraclass correlation against coefficient of variation, one plot for each sequence."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter

    shown = [row for row in rows if not row.unchanged and np.isfinite(row.icc.value)
             and np.isfinite(row.variation)]
    sequences = list(dict.fromkeys(row.sequence for row in rows))
    figure = Figure(figsize=(1 + 3.6 * len(sequences), 4.6), layout="constrained")
    panels = figure.subplots(1, len(sequences), squeeze=False, sharey=True)[0]
    legend = {}
    for axes, sequence in zip(panels, sequences, strict=True):
        axes.axvline(SMALL_VARIATION, color="black", linestyle="--", linewidth=1)
        axes.axhline(GOOD_CORRELATION, color="black", linestyle=":", linewidth=1)
        for kind, color in COLORS.items():
            own = [row for row in shown if (row.sequence, row.kind) == (sequence, kind)]
            if own:
                legend[kind] = axes.scatter(
                    np.clip([row.variation for row in own], LOWEST, HIGHEST),
                    [row.icc.value for row in own], 22, color=color, alpha=0.75,
                    edgecolors="none")
        axes.set(xscale="log", title=NAMES[sequence], xlabel="coefficient of variation")
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.grid(color="#eeeeee")
        axes.set_axisbelow(True)
    panels[0].set_ylabel("ICC(A,1) without and with N4")
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=8,
                  frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
