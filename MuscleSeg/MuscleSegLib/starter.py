# SPDX-License-Identifier: Apache-2.0
"""The starter models: ``python -m MuscleSegLib.starter --help`` (``make models``).

``train`` fits a network to simulated CT of real anatomies, ``export`` makes the bundle that the
module carries. Everything is seeded; a killed training resumes where its last checkpoint is.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from torch import nn

from ReadingRoomLib.bundles import arguments_of, load_bundle, write_bundle
from ReadingRoomLib.commands import DeviceOption
from ReadingRoomLib.devices import resolve_device
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings, redraw, simulate
from ReadingRoomLib.phantoms.region_map import RealScan, RegionMap
from ReadingRoomLib.training import CHECKPOINT
from ReadingRoomLib.training import train as fit

from .anatomy import read_elsewhere, read_pelvic_reference, read_trunk_labels
from .confidence import KEY, Calibration, read_calibration
from .model_metadata import metadata
from .plans import PLANS, Plan
from .recipes import SimulatedSlabs, Source, segmentation_loss

FOLDER = Path(__file__).parent
AUTHORS, LICENCE = "ReadingRoom contributors", "Apache-2.0"
START = "start.json"  # in a training's folder: the bundle whose weights it began with

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make the starter models.")
RecipeOption = Annotated[Literal["modern", "seed"], typer.Option(help="Which network.")]

PELVIC_CASES = ("001", "002", "005")
TRUNK_CASES = ("s0327", "s0328")
# shares of the slabs: the trunk shows organs, the real scans what is none of the structures
TRUNK_SHARE, ELSEWHERE_SHARE = 0.2, 0.08


def read_bodies(data: Path, without: str | None = None) -> list[tuple[RegionMap | RealScan, float]]:
    """What the training slabs show, with the share of slabs that shows each.

    Args:
        data: folder that holds ``pelvic_muscle_labels``, ``labels_totalsegmentator_*`` and the
            real scans of other regions.
        without: pelvic case to hold out.
    """
    folder = data / "labels_totalsegmentator_gt_s0327_s0328"
    groups = [
        ([read_pelvic_reference(data / "pelvic_muscle_labels" / f"Pelvic-Ref-{case}")
          for case in PELVIC_CASES if case != without], 1 - TRUNK_SHARE - ELSEWHERE_SHARE),
        ([read_trunk_labels(folder / f"{case}_labels.nii.gz", folder / f"{case}_labels.json")
          for case in TRUNK_CASES], TRUNK_SHARE),
        (read_elsewhere(data), ELSEWHERE_SHARE),
    ]
    return [(body, share / len(bodies)) for bodies, share in groups for body in bodies]


def sources_of(bodies: list[tuple[RegionMap | RealScan, float]],
               settings: SynthesisSettings) -> list[tuple[Source, float]]:
    """What makes slabs of the bodies, and how often."""
    return [(partial(redraw if isinstance(body, RealScan) else simulate, body, settings), share)
            for body, share in bodies]


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder with the label maps.")],
    work: Annotated[Path, typer.Option(help="Folder for checkpoints and history.")],
    recipe: RecipeOption = "modern",
    steps: Annotated[int, typer.Option(help="Training steps; 0: as the starter model.")] = 0,
    without: Annotated[str, typer.Option(help="Pelvic case to hold out: 001, 002 or 005.")] = "",
    seed: Annotated[int, typer.Option(help="Start of the random numbers.")] = 0,
    start: Annotated[Path | None, typer.Option(
        help="Bundle of the same network whose weights the training begins with.")] = None,
    larger_pixels: Annotated[int, typer.Option(
        min=1, max=4, help="Draw the slabs with pixels this many times as large, for the first and "
                           "longest part of a training, which takes a fraction of the time.")] = 1,
    dropout: Annotated[float | None, typer.Option(
        min=0, max=0.9, help="Probability of dropout in this training, by default the network's; "
                             "a network that drops half of its activations learns sooner when it "
                             "drops few at first.")] = None,
    device: DeviceOption = "auto",
    workers: Annotated[int, typer.Option(
        min=0, help="Processes that simulate; a graphics card keeps a dozen busy.")] = 1,
) -> None:
    """Train a network on simulated CT of the reference anatomies."""
    plan = PLANS[recipe].at_larger_pixels(larger_pixels)
    settings = replace(plan.settings, steps=steps or plan.settings.steps, seed=seed,
                       workers=workers)
    arguments = plan.arguments | ({} if dropout is None else {"dropout": dropout})
    plan = replace(plan, settings=settings, arguments=arguments)
    sources = sources_of(read_bodies(data, without or None), plan.slabs)
    slabs = SimulatedSlabs(sources, settings.steps * settings.batch_size, plan.recipe, seed)
    started = time.monotonic()

    def report(step: int, loss: float) -> None:
        if step % 20 == 0:
            print(f"{step}/{settings.steps} loss {loss:.3f} {time.monotonic() - started:.0f} s",
                  file=sys.stderr, flush=True)

    # what is resumed has begun already, with the weights noted then
    begins = start and not (work / CHECKPOINT).exists()
    network = _begin_with(plan, start, work) if begins else plan.build()
    fit(network, slabs, segmentation_loss, settings, work, resolve_device(device), report)


def _begin_with(plan: Plan, bundle: Path, work: Path) -> nn.Module:
    """The network of a plan with the weights of a bundle, which is noted in ``work``."""
    start = load_bundle(bundle, [plan.definition["_target_"]])
    network = plan.build()
    network.load_state_dict(start.network.state_dict())
    work.mkdir(parents=True, exist_ok=True)
    (work / START).write_text(json.dumps(
        {"name": start.metadata["name"], "sha256": start.sha256,
         "training_steps": start.metadata["training_steps"]}, indent=1), "utf-8")
    return network


@app.command()
def export(
    work: Annotated[Path, typer.Option(help="Folder of the training.")],
    recipe: RecipeOption = "modern",
    output: Annotated[Path | None, typer.Option(
        help="Folder of the bundle; by default the module's own, which is listed in "
             "models.json.")] = None,
    scores: Annotated[Path | None, typer.Option(
        help="Folder with what make bench measured of this model, for the card.")] = None,
    stored: Annotated[Literal["float16", "int8"] | None, typer.Option(
        help="Number type of the weights; by default the recipe's.")] = None,
) -> None:
    """Write the averaged weights as a bundle."""
    plan = PLANS[recipe]
    state = torch.load(work / CHECKPOINT, map_location="cpu", weights_only=True)
    started = json.loads((work / START).read_text("utf-8")) if (work / START).exists() else None
    _write(plan, state["average"], state["step"], started, _measured(plan, scores), output,
           getattr(torch, stored) if stored else plan.stored)


@app.command()
def rescore(
    scores: Annotated[Path, typer.Option(help="Folder with what make bench measured anew.")],
    recipe: RecipeOption = "modern",
) -> None:
    """Put new scores into the bundle that the module carries; its weights stay as they are."""
    plan = PLANS[recipe]
    _write_again(plan, _measured(plan, scores), None)


@app.command()
def calibrate(
    calibration: Annotated[Path, typer.Option(
        help="calibration.json that the command confidence wrote for this model.")],
    recipe: RecipeOption = "modern",
) -> None:
    """Put a calibration into the bundle that the module carries; its weights stay as they are."""
    _write_again(PLANS[recipe], {}, read_calibration(calibration))


@app.command()
def include(
    model: Annotated[Path, typer.Option(help="Bundle that the command train wrote.")],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    trained_on: Annotated[str, typer.Option(help="On what, in a sentence, with licences.")],
) -> None:
    """Put a model that the command train made among those that the module carries."""
    bundle = load_bundle(model, [plan.definition["_target_"] for plan in PLANS.values()])
    plan = PLANS[bundle.metadata["recipe"]]
    own = {"name": name, "trained_on": trained_on, "authors": AUTHORS, "copyright": LICENCE}
    card = bundle.model_card.replace(f"# MuscleSeg {bundle.metadata['name']}",
                                     f"# MuscleSeg {name}", 1)
    card = card.replace(bundle.metadata["trained_on"], textwrap.fill(trained_on, 100), 1)
    _write_bundle(FOLDER / "Models" / name, plan.definition | arguments_of(bundle),
                  bundle.network.state_dict(), bundle.metadata | own, card, plan.stored, True)


def _write_again(plan: Plan, measured: dict, calibration: Calibration | None) -> None:
    """The bundle that the module carries with new scores, or with another calibration."""
    bundle = load_bundle(FOLDER / "Models" / plan.bundle, [plan.definition["_target_"]])
    known = bundle.metadata
    if calibration is None and KEY in known:
        calibration = Calibration.read(known[KEY])
    started = known.get("started_from")
    steps = known["training_steps"] - (started["training_steps"] if started else 0)
    _write(plan, bundle.network.state_dict(), steps, started, known["eval_metrics"] | measured,
           None, plan.stored, calibration)


def _measured(plan: Plan, scores: Path | None) -> dict:
    """What ``make bench`` measured of a plan's model, as far as it is there."""
    return {path.stem: json.loads(path.read_text("utf-8"))
            for name in plan.measured if scores
            for path in [scores / f"{name}.json"] if path.exists()}


def _write(plan: Plan, weights: dict, steps: int, started: dict | None, measured: dict,
           output: Path | None, dtype: torch.dtype,
           calibration: Calibration | None = None) -> None:
    """Write a bundle with its card; the module's own is listed where no other folder is named."""
    card = (FOLDER / "starter_card.md").read_text("utf-8").format(
        name=plan.bundle, how_it_works=textwrap.fill(plan.how_it_works, 100),
        training=textwrap.fill(_training_text(plan, steps, started), 100),
        scores=f"{_scores_text(measured)}\n\n{_calibration_text(calibration)}".strip())
    described = _metadata(plan, steps, started, measured)
    _write_bundle(output or FOLDER / "Models" / plan.bundle, plan.definition, weights,
                  described | ({KEY: calibration.written()} if calibration else {}), card, dtype,
                  output is None)


def _write_bundle(folder: Path, definition: dict, weights: dict, described: dict,
                  card: str, dtype: torch.dtype, listed: bool) -> None:
    sha256 = write_bundle(folder, definition, weights, described, card, dtype=dtype,
                          overwrite=True)
    if listed:
        list_bundle(FOLDER / "models.json", folder, "MuscleSeg")
    typer.echo(f"{folder}: {sha256}")


TRAINED_ON = (
    "simulated intensities on three published label maps of the pelvis (Hiasa et al., MIT licence) "
    "and two of the trunk (TotalSegmentator dataset, CC BY 4.0); four real CT of head, chest and "
    "lower legs as what is none of the structures (Visible Human Project, public domain; "
    "Lung-PET-CT-Dx, CC BY 4.0; TotalSegmentator's example of the aorta, Apache-2.0)"
)


def _metadata(plan: Plan, steps: int, started: dict | None, scores: dict) -> dict:
    return metadata(
        plan.recipe, name=plan.bundle, authors=AUTHORS, copyright=LICENCE,
        **({} if plan.recipe.spacing else {"pixel_mm": _pixels_seen(plan.slabs)}),
        trained_on=TRAINED_ON, simulated=True,
        training_steps=steps + (started["training_steps"] if started else 0),
        **({"started_from": started} if started else {}), **plan.limits, eval_metrics=scores)


def _pixels_seen(slabs: SynthesisSettings) -> list[float]:
    """Smallest and largest pixel that the drawn sizes of the body amount to, mm."""
    smallest, largest = slabs.scale
    return [round(slabs.spacing[1] / largest, 2), round(slabs.spacing[1] / smallest, 2)]


def _training_text(plan: Plan, steps: int, started: dict | None) -> str:
    text = f"{steps:,} training steps of {plan.settings.batch_size} slabs, AdamW, averaged weights"
    if started:
        text += (f"; begun with the weights of {started['name']} {started['sha256'][:12]} after "
                 f"{started['training_steps']:,} steps")
    return f"{text}. The recipe from nothing has {plan.settings.steps:,} steps."


def _scores_text(measured: dict) -> str:
    """The scores as Markdown, each with its data set and its n."""
    parts = []
    for name, scores in measured.items():
        columns = [c for c in ("dice", "asd_mm") if c in next(iter(scores["structures"].values()))]
        parts += [f"**{name}**: {scores['dataset']}; {scores['samples']} Monte Carlo samples.", ""]
        means = ("mean_dice", "mean_dice_where_shown", "mean_asd_mm")
        parts += [f"{field}: {scores[field]}  " for field in means if field in scores]
        parts += ["", "| structure | " + " | ".join(columns) + " |",
                  "|---|" + "---|" * len(columns)]
        parts += [f"| {row.replace('_', ' ')} | " + " | ".join(_score_text(values[c])
                  for c in columns) + " |" for row, values in scores["structures"].items()]
        parts.append("")
    return "\n".join(parts).strip() or "Not measured yet."


def _calibration_text(calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    kind = "simulated " if calibration.simulated else ""
    return textwrap.fill(
        f"**Predicted Dice**: learned from {calibration.structures} structures of "
        f"{calibration.patients} {kind}patients with {calibration.samples} Monte Carlo samples, "
        f"so that the Dice is at least the lower bound in {calibration.coverage:.0%} of the "
        f"structures of patients like these. Nobody knows how far that holds for others.", 100)


def _score_text(score: float | None) -> str:
    return "missed" if score is None else f"{score:.2f}"


if __name__ == "__main__":
    app()
