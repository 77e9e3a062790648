# SPDX-License-Identifier: Apache-2.0
"""The active-learning experiment for people: what was found in sentences, tables, one page.

All of it is drawn from what ``result.json`` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ReadingRoomLib import pages
from ReadingRoomLib.estimates import Estimate

from .active_learning import ARMS, BASELINE, PUBLISHED, WHOLE
from .active_learning_curves import AXES

PUBLISHED_RESULT = {
    "source": "Hiasa et al., IEEE TMI 2020, and the press release of NAIST and Osaka University",
    "finding": "Labelling only the most uncertain pixels of the least confident slices gave the "
               "same accuracy for 1/90 of the manual work. Published figure, of real CTs.",
}
OTHERS = ("In a study of four data sets, active learning beat plain random choice, but none of its "
          "kinds reliably beat foreground-aware random choice (Lüth et al., nnActive, arXiv "
          "2511.19183).")


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What the experiment shows, the comparison at equal cost first."""
    said = [_equal(axis, each) for axis, each in found.get("equal_cost", {}).items()]
    reached = found.get("cost_to_reach", {}).get(PUBLISHED)
    if reached:
        said += [_ninetieth(axis, own) for axis, own in reached.items()]
    return said


def lines(found: Mapping[str, Any]) -> list[str]:
    """What a person wants to know at once."""
    said = [f"Dice of {found['tested_patients']} held-out patients after the last round, "
            f"{found['seeds']} seeds (95 % interval over seeds):"]
    said += [f"  {ARMS[arm]:56} {Estimate.read(value)}" for arm, value in found["final"].items()]
    return said + sentences(found)


def _equal(axis: str, each: Mapping[str, Any]) -> str:
    if each["mean"] is None:
        return f"At equal cost in {AXES[axis]} nothing can be compared: no cost is common."
    mean = Estimate.read(each["mean"])
    verdict = ("one seed has no interval" if mean.n < 2 else
               "the interval includes 0, so no difference is shown" if mean.low <= 0 <= mean.high
               else "the interval leaves out 0")
    return (f"At equal cost in {AXES[axis]} ({each['low']:.0f} to {each['high']:.0f}) the Dice of "
            f"the published arm minus that of {ARMS[BASELINE]} is {_signed(mean)}, n = {mean.n} "
            f"seeds: {verdict}.")


def _signed(each: Estimate) -> str:
    if each.n < 2:
        return f"{each.value:+.3f}"
    return f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})"


def _ninetieth(axis: str, own: Sequence[Mapping[str, Any]]) -> str:
    said = [f"{each['of_dice']:.0%} {_share(each)}" for each in own]
    return (f"Cost of the published arm, in {AXES[axis]} relative to labelling everything, for a "
            f"share of the Dice that everything gives: {'; '.join(said)}.")


def _share(each: Mapping[str, Any]) -> str:
    if each["of_cost"] is None:
        return f"not reached by {each['seeds'] - each['reached']} of {each['seeds']} seeds"
    cost = Estimate.read(each["of_cost"])
    text = f"at {'less than ' if each['at_start'] else ''}1/{1 / cost.value:.1f}"
    return text if cost.n < 2 else f"{text} (1/{1 / cost.high:.1f} to 1/{1 / cost.low:.1f})"


# -------------------------------------------------------------------------------------------- page


def page(found: Mapping[str, Any], picture: Path, warnings: Sequence[str]) -> str:
    """The report as one HTML page, the picture inside.

    Args:
        found: what was measured.
        picture: PNG of the curves.
        warnings: shown at the top.
    """
    plan = found["plan"]
    body = [
        "<h1>What is it worth to label what the network is unsure of?</h1>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        *(f"<p><strong>{escape(sentence)}</strong></p>" for sentence in sentences(found)),
        f"<p>Published: {escape(PUBLISHED_RESULT['finding'])} "
        f"({escape(PUBLISHED_RESULT['source'])}.) {escape(OTHERS)}</p>",
        "<h2>Curves</h2>",
        pages.picture(picture, "Dice against slices, pixels and regions"),
        "<p>Shaded: 95 % intervals over seeds (Student's t). They say how much the first slices, "
        "the draws and the weights matter; the patients are the same in all runs, so they do not "
        "say how it would be with other patients.</p>",
        _rounds(found),
        "<h2>Cost to reach what everything gives</h2>",
        _reached(found),
        "<h2>How it was done</h2>",
        f"<p>{found['pool_patients']} patients to learn from ({found['pool']['slices']} slices, "
        f"{found['pool']['pixels']} pixels of the body), {found['tested_patients']} others to "
        f"measure on. {found['seeds']} seeds. All arms of a seed begin with the same "
        f"{plan['start']} slices and the same network, and each of {plan['rounds']} rounds doubles "
        "the labelled slices. "
        + _training(plan) + " The network is small "
        f"and its voxels are {' x '.join(f'{each:g}' for each in found['voxel_mm'])} mm: compare "
        "the arms with each other, not with a network for patients.</p>",
        "<p>Costs. Slices: each slice that is opened. Pixels: of the body, each that is labelled. "
        "Regions: connected pixels in which the labels that were filled in have to become one "
        "other structure, which takes one click or stroke. The published arm asks about the "
        f"{plan['share']:.0%} most uncertain pixels of its slices.</p>",
    ]
    return pages.page("Active learning", body)


def _training(plan: Mapping[str, Any]) -> str:
    steps = plan["first_steps"] + plan["rounds"] * plan["steps"]
    if not plan["continued"]:
        return (f"Each round begins with new weights and does {steps} steps of {plan['batch']} "
                "slices, so that the networks differ in their labels alone.")
    return (f"{plan['first_steps']} steps of {plan['batch']} slices at the start, {plan['steps']} "
            f"more in each round from the last weights, and {steps} with everything labelled. At "
            "equal cost in pixels or in regions the published arm has had more rounds than the "
            "arms that label whole slices, and so more steps: that favours it on these two axes, "
            "and in the cost to reach a Dice; --anew compares without it.")


def _rounds(found: Mapping[str, Any]) -> str:
    rows = [[ARMS[arm], str(point["round"]), *(f"{point[axis]:.0f}" for axis in AXES),
             str(Estimate.read(point["dice"]))]
            for arm, curve in found["curves"].items() for point in curve]
    return pages.table(["arm", "round", *AXES.values(), "Dice (95 % interval)"], rows)


def _reached(found: Mapping[str, Any]) -> str:
    reached = found.get("cost_to_reach", {})
    if not reached:
        return f"<p>Not measured: the arm {escape(ARMS[WHOLE])} was not run.</p>"
    shares = [f"{each['of_dice']:.0%}" for each in next(iter(reached.values()))["slices"]]
    rows = [[ARMS[arm], AXES[axis], *(_share(each) for each in each_axis)]
            for arm, own in reached.items() for axis, each_axis in own.items()]
    return pages.table(["arm", "cost", *(f"{share} of the Dice" for share in shares)], rows)
