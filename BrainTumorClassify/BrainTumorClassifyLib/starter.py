# SPDX-License-Identifier: Apache-2.0
"""How the model that comes with the program was made: ``make models``.

``patients`` simulates patients with tumours, ``train`` fits the network to six tenths of them. Two
tenths are for calibration and two for measuring; ``export`` does both and makes the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from ReadingRoomLib.commands import DeviceOption
from ReadingRoomLib.devices import resolve_device
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.brain_template import fetch_brain_template
from ReadingRoomLib.training import CHECKPOINT, TrainingSettings, say_steps
from ReadingRoomLib.training import train as fit

from .certainty import Certainty
from .classification import ERROR
from .engines import REGISTRY
from .evaluation import answers, features_of_patient, measure, without
from .features import FEATURES
from .kinds import KINDS
from .model_writing import Origin, write_model
from .networks import SMALL, TumorNetwork
from .simulated_patients import simulated_patient, slices_of
from .training_slices import (
    STEP_PATIENTS,
    STEP_SLICES,
    PatientBatches,
    PatientSlices,
    kind_loss,
    read_patient,
    save_patient,
)

SEED = 11
PATIENTS = 420
GROUPS = {"train": range(0, 6), "calibrate": range(6, 8), "test": range(8, 10)}
"""Last digit of the numbers of the patients in each group."""
ARGUMENTS: dict[str, Any] = {"classes": len(KINDS), "features": len(FEATURES), **SMALL}
SETTINGS = TrainingSettings(steps=500, learning_rate=1e-3, weight_decay=1e-2, decay_share=0.7,
                            average_decay=0.99)
FOLDER = Path(__file__).parent
TRAINED_ON = ("simulated MRI of tumours in the brain, made from the average head of MNI "
              "(ICBM 152); no real patient")
MEASURED_ON = "Simulated patients that it was not trained or calibrated on, by patient"
ORIGIN = Origin("starter", TRAINED_ON, MEASURED_ON, True, card="starter_card.md",
                authors="ReadingRoom contributors", rights="Apache-2.0")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
WorkOption = Annotated[Path, typer.Option(help="Folder for patients and the training.")]


@app.command()
def patients(
    work: WorkOption,
    first: Annotated[int, typer.Option(help="Number of the first patient.")] = 0,
    count: Annotated[int, typer.Option(help="How many.")] = PATIENTS,
) -> None:
    """Simulate patients, of each kind as many; those that are there already are kept."""
    simulate(work, range(first, first + count))


def simulate(work: Path, numbers: Iterable[int]) -> None:
    """Simulate the patients of these numbers, but for those that are there already."""
    folder = work / "patients"
    folder.mkdir(parents=True, exist_ok=True)
    missing = {number: path for number in numbers
               if not (path := folder / f"{number:05d}.npz").exists()}
    template = fetch_brain_template() if missing else None
    for number, path in missing.items():
        # the last digit chooses the group, so the kind must not depend on it
        kind = KINDS[(number // 10 + number) % len(KINDS)]
        try:
            brain = simulated_patient(template, kind, (SEED, number))
            save_patient(slices_of(brain, f"{number:05d}"), path)
        except BadInput as refused:  # a tumour that no slice shows
            typer.echo(f"{number}: {refused}", err=True)


def patients_of(work: Path, group: str) -> list[PatientSlices]:
    """The patients of a group, by number."""
    return [read_patient(path) for path in sorted((work / "patients").glob("[0-9]*.npz"))
            if int(path.stem) % 10 in GROUPS[group]]


@app.command()
def train(
    work: WorkOption,
    steps: Annotated[int, typer.Option(help="Training steps; 0: as the starter model.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Train the network on the patients in a folder."""
    learned = patients_of(work, "train")
    if not learned:
        raise typer.BadParameter(f"There are no patients in {work}: make them first.")
    settings = replace(SETTINGS, steps=steps or SETTINGS.steps)
    network = build()
    network.know_features(torch.from_numpy(np.stack([features_of_patient(one) for one in learned])))
    batches = PatientBatches(learned, KINDS, settings.steps, STEP_PATIENTS, STEP_SLICES,
                             settings.seed)

    fit(network, batches, kind_loss, settings, work / "network", resolve_device(device),
        say_steps(settings), further=("present", "features"))


@app.command()
def export(
    work: WorkOption,
    output: Annotated[Path | None, typer.Option(
        help="Folder of the bundle; by default the module's own, listed in models.json.")] = None,
) -> None:
    """Calibrate the network, measure it on patients it was not shown, and write its bundle."""
    network, steps = trained(work)
    groups = {group: patients_of(work, group) for group in GROUPS}
    learned, known, fresh = (answers(network, groups[group], KINDS)
                             for group in ("train", "calibrate", "test"))
    certainty = Certainty(KINDS, known.logits, known.truth, known.codes, learned.codes,
                          learned.truth, tuple(f"simulated {name}" for name in learned.names))
    measured = (measure(certainty, fresh, ERROR)
                | without(network, groups["test"], certainty))
    for name, value in measured.items():
        typer.echo(f"{name}: {value}")
    bundle = output or FOLDER / "Models" / "starter"
    sha256 = write_model(bundle, network, ARGUMENTS, steps, certainty, measured, ORIGIN)
    if output is None:
        list_bundle(REGISTRY, bundle, "BrainTumorClassify")
    typer.echo(f"{bundle}: {sha256}")


def build() -> TumorNetwork:
    """The network, untrained, the same every time."""
    torch.manual_seed(SEED)
    return TumorNetwork(**ARGUMENTS)


def trained(work: Path) -> tuple[TumorNetwork, int]:
    """The averaged network of a training, and how many steps it had."""
    state = torch.load(work / "network" / CHECKPOINT, map_location="cpu", weights_only=True)
    network = build()
    network.load_state_dict(state["average"])
    return network.eval(), state["step"]


if __name__ == "__main__":
    app()
