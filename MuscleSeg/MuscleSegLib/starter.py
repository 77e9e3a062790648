# SPDX-License-Identifier: Apache-2.0
"""The starter model: ``python -m MuscleSegLib.starter --help`` (``make models``).

``train`` fits the network to simulated CT of real anatomies, ``export`` makes the bundle that the
module carries. Everything is seeded; a killed training resumes where its last checkpoint is.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from ReadingRoomLib.bundles import SIZE_LIMITS, write_bundle
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings, redraw, simulate
from ReadingRoomLib.training import CHECKPOINT, TrainingSettings
from ReadingRoomLib.training import train as fit

from .anatomy import read_elsewhere, read_pelvic_reference, read_trunk_labels
from .networks import ContextUNet
from .recipes import CLASSES, MODERN, SimulatedSlabs, Source, segmentation_loss
from .structures import STRUCTURES

FOLDER = Path(__file__).parent

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make the starter model.")

PELVIC_CASES = ("001", "002", "005")
TRUNK_CASES = ("s0327", "s0328")
# shares of the slabs: the trunk shows organs, the real scans what is none of the structures
TRUNK_SHARE, ELSEWHERE_SHARE = 0.2, 0.08


def read_sources(data: Path, without: str | None = None) -> list[tuple[Source, float]]:
    """What makes the training slabs, with the share of slabs that each makes.

    Args:
        data: folder that holds ``pelvic_muscle_labels``, ``labels_totalsegmentator_*`` and the
            real scans of other regions.
        without: pelvic case to hold out.
    """
    folder = data / "labels_totalsegmentator_gt_s0327_s0328"
    pelvic = [read_pelvic_reference(data / "pelvic_muscle_labels" / f"Pelvic-Ref-{case}")
              for case in PELVIC_CASES if case != without]
    trunk = [read_trunk_labels(folder / f"{case}_labels.nii.gz", folder / f"{case}_labels.json")
             for case in TRUNK_CASES]
    elsewhere = read_elsewhere(data)
    settings = SynthesisSettings()
    groups = [
        ([partial(simulate, anatomy, settings) for anatomy in pelvic],
         1 - TRUNK_SHARE - ELSEWHERE_SHARE),
        ([partial(simulate, anatomy, settings) for anatomy in trunk], TRUNK_SHARE),
        ([partial(redraw, scan, settings) for scan in elsewhere], ELSEWHERE_SHARE),
    ]
    return [(source, share / len(sources)) for sources, share in groups for source in sources]


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder with the label maps.")],
    work: Annotated[Path, typer.Option(help="Folder for checkpoints and history.")],
    steps: Annotated[int, typer.Option(help="Training steps of 20 slices each.")] = 8000,
    without: Annotated[str, typer.Option(help="Pelvic case to hold out: 001, 002 or 005.")] = "",
    seed: Annotated[int, typer.Option(help="Start of the random numbers.")] = 0,
) -> None:
    """Train the modern network on simulated CT of the reference anatomies."""
    sources = read_sources(data, without or None)
    settings = TrainingSettings(steps=steps, batch_size=5, learning_rate=2e-3, seed=seed)
    slabs = SimulatedSlabs(sources, steps * settings.batch_size, MODERN, seed)
    torch.manual_seed(seed)
    network = ContextUNet(MODERN.channels, CLASSES).to(memory_format=torch.channels_last)
    started = time.monotonic()

    def report(step: int, loss: float) -> None:
        if step % 20 == 0:
            print(f"{step}/{steps} loss {loss:.3f} {time.monotonic() - started:.0f} s",
                  file=sys.stderr, flush=True)

    fit(network, slabs, segmentation_loss, settings, work, on_step=report)


@app.command()
def export(
    work: Annotated[Path, typer.Option(help="Folder of the training.")],
    scores: Annotated[Path | None, typer.Option(
        help="Folder with example.json and held-out.json of make bench, for the card.")] = None,
    uncertainty_limit: Annotated[float, typer.Option(
        help="Mean uncertainty above which a structure is to be checked.")] = 0.1,
    lowest_confidence: Annotated[float, typer.Option(
        help="Mean confidence below which a scan shows no hip or thigh.")] = 0.86,
    low_confidence: Annotated[float, typer.Option(
        help="Mean confidence below which everything is to be checked.")] = 0.89,
) -> None:
    """Write the averaged weights as the starter bundle and list it in models.json."""
    state = torch.load(work / CHECKPOINT, map_location="cpu", weights_only=True)
    limits = {"uncertainty_limit": uncertainty_limit, "lowest_confidence": lowest_confidence,
              "low_confidence": low_confidence}
    measured = {path.stem: json.loads(path.read_text("utf-8"))
                for name in ("example", "held-out") if scores
                for path in [scores / f"{name}.json"] if path.exists()}
    bundle = FOLDER / "Models" / "starter"
    sha256 = write_bundle(
        bundle,
        {"_target_": "MuscleSegLib.networks.ContextUNet", "in_channels": MODERN.channels,
         "out_channels": CLASSES},
        state["average"],
        _metadata(state["step"], measured, limits),
        (FOLDER / "starter_card.md").read_text("utf-8").format(scores=_scores_text(measured)),
        dtype=torch.float16,
        overwrite=True,
    )
    _list_bundle(bundle, sha256)
    typer.echo(f"{bundle}: {sha256}")


TRAINED_ON = (
    "simulated intensities on three published label maps of the pelvis (Hiasa et al., MIT licence) "
    "and two of the trunk (TotalSegmentator dataset, CC BY 4.0); four real CT of head, chest and "
    "lower legs as what is none of the structures (Visible Human Project, public domain; "
    "Lung-PET-CT-Dx, CC BY 4.0; TotalSegmentator's example of the aorta, Apache-2.0)"
)


def _metadata(steps: int, scores: dict, limits: dict[str, float]) -> dict:
    offsets = range(-MODERN.context, MODERN.context + 1)
    channels = [f"slice {offset:+d}, {low:g} to {high:g} HU"
                for low, high in MODERN.windows for offset in offsets]
    return {
        "name": "starter",
        "version": "0.1.0",
        "task": "Muscles and bones of hip and thigh in CT",
        "description": "22 structures of hip and thigh with Monte Carlo dropout uncertainty.",
        "authors": "ReadingRoom contributors",
        "copyright": "Apache-2.0",
        "recipe": MODERN.name,
        "labels": {"0": "background", **{str(s.value): s.name for s in STRUCTURES}},
        "spacing": list(MODERN.spacing),
        "trained_on": TRAINED_ON,
        "simulated": True,
        "training_steps": steps,
        **limits,
        "eval_metrics": scores,
        "network_data_format": {
            "inputs": {"image": {
                "type": "image", "format": "hounsfield", "modality": "CT",
                "num_channels": len(channels), "spatial_shape": [16, 16], "dtype": "float32",
                "value_range": [0, 1], "is_patch_data": True,
                "channel_def": {str(i): channel for i, channel in enumerate(channels)},
            }},
            "outputs": {"pred": {
                "type": "image", "format": "segmentation", "num_channels": CLASSES,
                "spatial_shape": [16, 16], "dtype": "float32", "value_range": [],
                "is_patch_data": True,
                "channel_def": {"0": "background", **{str(s.value): s.name for s in STRUCTURES}},
            }},
        },
    }


def _scores_text(measured: dict) -> str:
    """The scores as Markdown, each with its data set and its n."""
    parts = []
    for name, scores in measured.items():
        columns = [c for c in ("dice", "asd_mm") if c in next(iter(scores["structures"].values()))]
        parts += [f"**{name}**: {scores['dataset']}; {scores['samples']} Monte Carlo samples.", ""]
        parts += [f"{field}: {scores[field]}  " for field in ("mean_dice", "mean_asd_mm")
                  if field in scores]
        parts += ["", "| structure | " + " | ".join(columns) + " |",
                  "|---|" + "---|" * len(columns)]
        parts += [f"| {row.replace('_', ' ')} | " + " | ".join(f"{values[c]:.2f}" for c in columns)
                  + " |" for row, values in scores["structures"].items()]
        parts.append("")
    return "\n".join(parts).strip() or "Not measured yet."


def _list_bundle(bundle: Path, sha256: str) -> None:
    """Put the bundle's hash and size into the module's list of models."""
    entry = {
        "name": bundle.name, "module": "MuscleSeg", "recipe": MODERN.name,
        "path": bundle.relative_to(FOLDER).as_posix(), "sha256": sha256,
        "size": sum((bundle / name).stat().st_size for name in SIZE_LIMITS),
        "licence": "Apache-2.0", "card": f"Models/{bundle.name}/docs/README.md",
        "trained_on": TRAINED_ON, "simulated": True,
    }
    text = json.dumps({"models": [entry]}, indent=2) + "\n"
    (FOLDER / "models.json").write_text(text, "utf-8")


if __name__ == "__main__":
    app()
