# SPDX-License-Identifier: Apache-2.0
"""What the confidence of a model is worth, for people: numbers, a page, its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib import pages
from ReadingRoomLib.estimates import Estimate

from .confidence_statistics import (
    EXPECTED,
    PREDICTED,
    Detection,
    Group,
    ScoredStructure,
    by_patient,
    coverage,
    detections,
    flagged,
    groups_by_site,
)
from .structures import STRUCTURES

CHANGES = ("dice", "variance, mean", "variance, over the surface", EXPECTED, PREDICTED)
HOW = ("Every structure was scored by a calibration that had seen no scan of its patient (five "
       "folds of patients; in each, half of the others to fit and half to hold the promise "
       "against). Intervals are of 95 %, by drawing patients again. Structures that the model did "
       "not find have no score and no line in a result's table; they are counted as missed. AUROC: "
       "how often a bad structure scores worse than a good one. Risk: area under the risk-coverage "
       "curve, the mean of 1 - Dice over what is kept when the least trusted is set aside, "
       "averaged over how much is kept. Uncertainty over the surface is its sum over the voxels of "
       "a structure, in mm, so that a thin one does not seem worse than a thick one.")


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        level: Dice below which a structure is bad.
        promised: share of structures whose Dice shall be at least the bound.
        detection: of each score.
        coverage: share for which the bound held.
        margin: mean of the Dice less its bound.
        flags: counts, see :func:`.confidence_statistics.flagged`.
        structures: name, and its scored ones.
        sites: the sites of the list; of one site there is nothing to tell.
    """

    level: float
    promised: float
    detection: Mapping[str, Detection]
    coverage: Estimate
    margin: Estimate
    flags: Mapping[str, int]
    structures: Mapping[str, Sequence[ScoredStructure]]
    sites: Sequence[Group]

    def written(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "level": self.level, "coverage_promised": self.promised, "flags": dict(self.flags),
            "coverage": self.coverage.written(), "margin": self.margin.written(),
            "detection": {name: {field: value.written() for field, value in vars(own).items()}
                          for name, own in self.detection.items()},
            "sites": {group.name: {"structures": len(group.scored),
                                   "dice": float(np.mean([one.dice for one in group.scored])),
                                   "coverage": coverage(group.scored).written(),
                                   "changes": {name: value.written()
                                               for name, value in group.changes.items()}}
                      for group in self.sites}}

    def sentences(self, counts: Mapping[str, int]) -> list[str]:
        """What a person reads of it at once."""
        found = self.detection[PREDICTED]
        flags = self.flags
        return [
            f"{counts['patients']} patients, {counts['scans']} scans, {flags['structures']} "
            f"structures; {flags['below']} have a Dice below {self.level:g}; "
            f"{counts['missed']} were missed and {counts['refused']} scans refused",
            f"Finding them by the predicted Dice: AUROC {found.auroc}",
            f"The lower bound holds for {self.coverage.per_cent()} of the structures; promised "
            f"{self.promised:.0%}",
            f"To be checked: {flags['to_check']} of {flags['structures']}, among them "
            f"{flags['below_and_to_check']} of the {flags['below']} bad ones"]


@dataclass(frozen=True)
class OwnPromise:
    """How the calibration that a model came with does on these patients.

    Attributes:
        calibration: see :attr:`.confidence.Calibration.summary`.
        result: what was measured with it.
    """

    calibration: Mapping[str, Any]
    result: Result

    def written(self) -> dict[str, Any]:
        """For ``result.json``."""
        found = self.result.written()
        sites = {name: {"structures": own["structures"], "coverage": own["coverage"]}
                 for name, own in found["sites"].items()}
        return {"calibration": dict(self.calibration), "coverage": found["coverage"],
                "margin": found["margin"], "flags": found["flags"],
                "detection": found["detection"][PREDICTED], "sites": sites}

    @property
    def sentence(self) -> str:
        """What a person reads of it at once."""
        kind = "simulated patients" if self.calibration["simulated"] else "patients"
        return (f"What the model promises already, learned from {self.calibration['patients']} "
                f"{kind}, holds for {self.result.coverage.per_cent()} of the structures; promised "
                f"{self.result.promised:.0%}")


def measured(scored: Sequence[ScoredStructure], level: float, promised: float) -> Result:
    """Measure what the scores are worth.

    Args:
        scored: with what calibrations say that had not seen their patients.
        level: Dice below which a structure is bad.
        promised: share of structures whose Dice shall be at least the bound.
    """
    above = np.array([one.dice - one.dice_lower_bound for one in scored])
    [margin] = by_patient(lambda rows: [above[rows].mean()], [one.patient for one in scored])
    structures = {structure.display_name: own for structure in STRUCTURES
                  if (own := [one for one in scored if one.structure == structure.name])}
    return Result(level, promised, detections(scored, level), coverage(scored), margin,
                  flagged(scored, level), structures, groups_by_site(scored))


def draw(scored: Sequence[ScoredStructure], level: float, folder: Path,
         warn: Callable[[str], None]) -> dict[str, str]:
    """Draw the pictures into a folder; their file names, none where matplotlib is missing."""
    try:
        from . import confidence_plots
    except ModuleNotFoundError as error:
        warn(f"There are no pictures: the Python package {error.name} is not installed.")
        return {}
    return confidence_plots.draw_all(scored, level, folder)


def page(result: Result, own: OwnPromise | None, counts: Mapping[str, int], folder: Path,
         pictures: Mapping[str, str], warnings: Sequence[str]) -> str:
    """The report as one HTML page, pictures inside."""
    body = [
        "<h1>What is the confidence worth?</h1>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in result.sentences(counts)) + "</ul>",
        "<h2>Does a score find bad outlines?</h2>",
        pages.table(["score", f"AUROC, Dice < {result.level:g}", "risk", "r with Dice",
                     "rank r with Dice"],
                    ([name, *map(str, vars(own).values())]
                     for name, own in result.detection.items())),
        *_picture(folder, pictures, "scatter", "Scores against Dice"),
        *_picture(folder, pictures, "risk_coverage", "Risk against coverage"),
        "<h2>Does the promise hold?</h2>",
        f"<p>Promised: the Dice is at least the lower bound in {result.promised:.0%} of the "
        f"structures. It was in {escape(result.coverage.per_cent())}. On average the Dice lay "
        f"{escape(str(result.margin))} above its bound.</p>",
        *_picture(folder, pictures, "calibration", "Dice by predicted Dice"),
        *(_own_promise(own) if own else []),
        "<h2>By structure</h2>",
        pages.table(["structure", "n", f"Dice < {result.level:g}", "mean Dice",
                     "mean predicted Dice", "bound holds"],
                    ([name, *_means(own, result.level)]
                     for name, own in result.structures.items())),
        *(_sites(result) if len(result.sites) > 1 else []),
        "<h2>How it was measured</h2>",
        f"<p>{escape(HOW)}</p>",
    ]
    return pages.page("Confidence of the segmentation", body)


def _own_promise(own: OwnPromise) -> list[str]:
    """Whether what ``segment`` says already, without a new calibration, holds for these patients.
    """
    found = own.result
    rows = [[group.name or "not said", str(len(group.scored)), coverage(group.scored).per_cent()]
            for group in found.sites]
    return [
        "<h2>Does the model's own promise hold here?</h2>",
        f"<p>{escape(own.sentence)}. AUROC of its predicted Dice {found.detection[PREDICTED].auroc}"
        f"; {found.flags['to_check']} of {found.flags['structures']} are to be checked by it, "
        f"among them {found.flags['below_and_to_check']} of the {found.flags['below']} bad ones. "
        "Where patients of this list are among those that it was learned from, this is too "
        "kind.</p>",
        *([pages.table(["site", "n", "own bound holds"], rows)] if len(rows) > 1 else [])]


def _picture(folder: Path, pictures: Mapping[str, str], name: str, meaning: str) -> list[str]:
    return [pages.picture(folder / pictures[name], meaning)] if name in pictures else []


def _means(own: Sequence[ScoredStructure], level: float) -> list[str]:
    dice = np.array([one.dice for one in own])
    return [str(len(own)), str(int((dice < level).sum())), f"{dice.mean():.3f}",
            f"{np.mean([one.predicted_dice for one in own]):.3f}",
            f"{np.mean([one.dice >= one.dice_lower_bound for one in own]):.0%}"]


def _sites(result: Result) -> list[str]:
    """Sites beside each other, with what changed in the same structures of the same patients."""
    heading = ["site", "n", "mean Dice", "bound holds",
               *(f"change of {'Dice' if name == 'dice' else name}" for name in CHANGES)]
    rows = []
    for group in result.sites:
        n, _, dice, _, holds = _means(group.scored, result.level)
        changes = [str(group.changes[name]) if group.changes else "" for name in CHANGES]
        rows.append([group.name or "not said", n, dice, holds, *changes])
    return ["<h2>By site</h2>", "<p>Changes are against the first site, in the same structures of "
            "the same patients.</p>", pages.table(heading, rows)]
