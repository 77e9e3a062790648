# SPDX-License-Identifier: Apache-2.0
"""How the models that come with the program were made: ``make models``.

Trunks are simulated, some to learn from, some to calibrate, some to measure, and ``pretrain`` does
the rest: ``starter`` is the modern recipe with all landmarks, ``starter-seed`` the published one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from ReadingRoomLib.commands import DeviceOption, run_job
from ReadingRoomLib.datalists import content_of
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.trunk import PUBLISHED_COUNTS

from . import pretrain_command, simulate_command
from .engines import REGISTRY
from .model_writing import Origin
from .recipes import MODERN, SEED

FOLDER = Path(__file__).parent
TRAINED, CALIBRATED, MEASURED = 68, 12, 120  # patients
NAMES = {MODERN: "starter", SEED: "starter-seed"}
STEPS = {MODERN: 1000, SEED: 1500}
SEARCHED = {MODERN: 0, SEED: 24}  # patients of the measured in whom landmarks are looked for
LIST = "starter.json"
ORIGIN = Origin(
    "", "simulated trunk CT, of an anatomy that is invented anew for each patient; no real patient",
    "Simulated patients that it was not trained or calibrated on, by patient", True,
    "It began with random weights", "starter_card.md", "ReadingRoom contributors", "Apache-2.0")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
WorkOption = Annotated[Path, typer.Option(help="Folder for patients and trainings.")]


@app.command()
def patients(work: WorkOption) -> None:
    """Simulate the patients, unless they are there already, and part them."""
    folder = work / "trunks"
    if not folder.exists():
        with run_job(module="LandmarkPretrain", command="simulate", output=folder) as job:
            simulate_command.run(job, simulate_command.Options(
                "trunk", TRAINED + CALIBRATED + MEASURED), typer.echo)
    entries = content_of(folder / simulate_command.DATALIST)["training"]
    (folder / LIST).write_text(json.dumps({
        "simulated": True, "training": entries[:TRAINED],
        "validation": entries[TRAINED:TRAINED + CALIBRATED],
        "test": entries[TRAINED + CALIBRATED:]}, indent=1), "utf-8")


@app.command()
def train(work: WorkOption, recipe: Literal["modern", "seed"] = MODERN,
          device: DeviceOption = "auto") -> None:
    """Train, calibrate and measure a model, or go on with it; then list it."""
    output, name = work / recipe, NAMES[recipe]
    few, many = PUBLISHED_COUNTS
    options = pretrain_command.Options(
        work / "trunks" / LIST, work / f"{recipe}-work", recipe, steps=STEPS[recipe],
        landmarks=0 if recipe == MODERN else many, grown_from=0 if recipe == MODERN else few,
        searched=SEARCHED[recipe])
    target = FOLDER / "Models" / name
    with run_job(module="LandmarkPretrain", command="pretrain", output=output, device=device,
                 overwrite=True) as job:
        pretrain_command.run(job, options, typer.echo, replace(ORIGIN, name=name))
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(output / pretrain_command.MODEL, target)
    list_bundle(REGISTRY, target, "LandmarkPretrain")


if __name__ == "__main__":
    app()
