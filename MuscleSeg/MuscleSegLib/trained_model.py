# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a model that `segment` takes: limits, metadata, card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from torch import nn

from ReadingRoomLib.bundles import Bundle, write_bundle
from ReadingRoomLib.estimates import Estimate

from .contrasts import RANGE
from .evaluation import MEASURES
from .held_out import HeldOut
from .labelled_scans import Augmentation, LabelledScan
from .model_metadata import metadata
from .plans import PLANS
from .recipes import RECIPES
from .structures import structure_named

CARD = Path(__file__).with_name("trained_card.md")
GOOD_DICE = 0.8  # a structure with less is one to check
GOOD_SHARE = 0.95  # of the good structures, whose uncertainty is below the limit
BELOW_HELD_OUT = 0.03  # confidence below which a scan is of something else, as of the starter


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, for its metadata and its card.

    Attributes:
        name, recipe: of the model.
        intensities: ``ct`` or ``random``.
        scans, patients: how many it learned from.
        structures: identifiers that it was taught.
        simulated: whether any scan that it, or the model it began with, learned from was.
        listed_simulated: whether its own scans were.
        start: the model it began with, or None.
        steps: of its own training.
        measured_on: in words; empty when nothing was measured.
        measured: from :func:`.evaluation.measured`; empty when nothing was measured.
        limits: see :func:`limits_of`.
        pixel_mm: of a network on the scan's own grid, smallest and largest pixel.
    """

    name: str
    recipe: str
    intensities: str
    scans: int
    patients: int
    structures: tuple[str, ...]
    simulated: bool
    listed_simulated: bool
    start: Bundle | None
    steps: int
    measured_on: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    pixel_mm: tuple[float, float] | None = None

    @property
    def trained_on(self) -> str:
        kind = "simulated scans" if self.listed_simulated else "scans"
        return (f"{self.scans} {kind} of {self.patients} patients with segmentations of "
                f"{len(self.structures)} structures, from a list that its user gave")

    @property
    def began_with(self) -> str:
        if self.start is None:
            return "It began with random weights"
        known = self.start.metadata
        return f"It began with the model {known['name']} ({known['trained_on']})"


def limits_of(held_out: Sequence[HeldOut], start: Bundle | None, recipe: str) -> dict[str, float]:
    """From what on an answer is to be checked, and when a scan shows no hip or thigh.

    ``uncertainty_limit`` lies above the mean uncertainty of 95 % of the held-out structures that
    were found well, ``low_confidence`` is the lowest confidence of a held-out scan, and
    ``lowest_confidence`` lies a little below it. A few patients do not show how low a good scan can
    get, so the latter two never rise above those of the model that the training began with. Without
    held-out patients all are its limits, or of the recipe's starter model.
    """
    known = start.metadata if start else {
        "uncertainty_limit": PLANS[recipe].limits["uncertainty_limit"]}
    before = {name: known[name] for name in PLANS[recipe].limits if name in known}
    good = [score.uncertainty for one in held_out for score in one.scores
            if score.dice >= GOOD_DICE and np.isfinite(score.uncertainty)]
    if not good:
        return before
    found = min(one.confidence for one in held_out)
    low = min(found, before.get("low_confidence", 1.0))
    lowest = min(max(0.0, found - BELOW_HELD_OUT), low, before.get("lowest_confidence", 1.0))
    return {"uncertainty_limit": round(float(np.quantile(good, GOOD_SHARE)), 4),
            "lowest_confidence": round(lowest, 4), "low_confidence": round(low, 4)}


def pixels_of(scans: Sequence[LabelledScan], recipe: str,
              start: Bundle | None) -> tuple[float, float] | None:
    """Smallest and largest pixel that a network on the scan's own grid has seen, mm."""
    if RECIPES[recipe].spacing is not None:
        return None
    smallest, largest = Augmentation().scale
    seen = [step for scan in scans for step in scan.spacing[1:]]
    low, high = min(seen) / largest, max(seen) / smallest
    if start and "pixel_mm" in start.metadata:
        before = start.metadata["pixel_mm"]
        low, high = min(low, before[0]), max(high, before[1])
    return round(low, 2), round(high, 2)


def write_model(folder: Path, network: nn.Module, arguments: Mapping[str, Any],
                origin: Origin) -> str:
    """Write a bundle with its card; returns its SHA-256."""
    plan = PLANS[origin.recipe]
    card = CARD.read_text("utf-8").format(
        name=origin.name, structures=fill(", ".join(
            structure_named(name).display_name for name in origin.structures), 100),
        trained_on=origin.trained_on, began_with=fill(f"{origin.began_with}.", 100),
        begun=_BEGUN if origin.start else "",
        simulated=f"\n**{SIMULATED}**\n" if origin.listed_simulated else "",
        how_it_works=fill(plan.how_it_works.split(" Its training is ours")[0], 100),
        contrast=_ANY_CONTRAST if origin.intensities == "random" else "",
        steps=origin.steps, measured=_measured_text(origin), limits=_limits_text(origin.limits))
    target = plan.definition["_target_"]
    return write_bundle(folder, {"_target_": target, **arguments}, network.state_dict(),
                        metadata_of(origin), card, dtype=plan.stored, overwrite=True)


SIMULATED = ("These scans are simulated: what is measured on them says nothing about real "
             "patients.")
_BEGUN = """
- The model that it began with may have learned from people of the list already (its card says from
  whom): then they are no strangers to it, and the scores are too good."""
_ANY_CONTRAST = """
Its training scans were repainted in random grey values (Billot et al., SynthSeg, Medical Image
Analysis 2023), so that it may be shown CT and MR of any contrast. An image is first scaled by its
own percentiles.
"""


def metadata_of(origin: Origin) -> dict[str, Any]:
    """What a bundle says of itself; `segment` reads the limits."""
    own = {"pixel_mm": list(origin.pixel_mm)} if origin.pixel_mm else {}
    any_contrast = origin.intensities == "random"
    if any_contrast:
        own |= {"intensities": "random", "scaled_to": list(RANGE)}
    if origin.start:
        own["started_from"] = {"name": origin.start.metadata["name"],
                               "sha256": origin.start.sha256}
    return metadata(
        RECIPES[origin.recipe], any_contrast, name=origin.name,
        authors="the user of ReadingRoom who trained it", copyright="of whoever trained it",
        trained_on=origin.trained_on, simulated=origin.simulated, taught=list(origin.structures),
        training_steps=origin.steps, **own, **origin.limits,
        eval_metrics={"dataset": origin.measured_on, **{
            name: dict(value) for name, value in origin.measured.get("measured", {}).items()}})


def _measured_text(origin: Origin) -> str:
    """The scores as Markdown, each with its interval and n."""
    if not origin.measured:
        return ("Nothing: it was trained on all patients of the list. Measure it on others "
                "(`evaluate`) before its numbers are used.")
    names = {"dice": "Dice", "asd_mm": "ASD, mm", "nsd": "NSD", "hd95_mm": "HD95, mm"}
    found = origin.measured
    lines = [fill(f"{origin.measured_on} Means over patients with 95 % intervals:", 100), "",
             f"| structure | {' | '.join(names[one] for one in MEASURES)} | n |",
             "|---|" + "---|" * (len(MEASURES) + 1)]
    for group, own in [*found["estimates"].items(), *found["by_structure"].items()]:
        values = {one: Estimate.read(own[one]) for one in MEASURES}
        cells = " | ".join(str(values[one]) for one in MEASURES)
        lines.append(f"| {group.replace('_', ' ')} | {cells} | {values['dice'].n} |")
    return "\n".join(lines)


def _limits_text(limits: Mapping[str, float]) -> str:
    words = {"uncertainty_limit": "a structure is to be checked from a mean uncertainty of",
             "low_confidence": "a scan is to be checked as a whole below a mean confidence of",
             "lowest_confidence": "a scan shows no hip or thigh below a mean confidence of"}
    return "\n".join(f"- {words[name]} {value:g}" for name, value in limits.items()) or "- none"
