# SPDX-License-Identifier: Apache-2.0
"""How the models that come with the program were made: ``make models``.

Trunks are simulated, some to learn from, some to calibrate, some to measure. ``starter-seed`` is
the published recipe with 60 landmarks on them. ``starter`` is the modern one with all landmarks;
after the trunks it also learns from label maps of two real people, bent and painted anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import SimpleITK as sitk
import typer

from ReadingRoomLib.commands import DeviceOption, run_job
from ReadingRoomLib.datalists import content_of
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.trunk import PUBLISHED_COUNTS

from . import pretrain_command, simulate_command
from .engines import REGISTRY
from .landmark_files import write_markups
from .landmarks_command import read_named_labels
from .model_writing import Origin
from .real_anatomies import simulate_from_map
from .recipes import MODERN, SEED

FOLDER = Path(__file__).parent
TRAINED, CALIBRATED, MEASURED = 68, 12, 120  # simulated patients
MAPS, VARIANTS = ("s0327", "s0328"), 16  # of real anatomies
MAP_FOLDER = "labels_totalsegmentator_gt_s0327_s0328"
FIRST_MEASURED, FIRST_SEARCHED = 8, 4  # after the first stage, just to see
STEPS = {MODERN: 1000, SEED: 1500}
SECOND_STEPS = 600
SEARCHED = {MODERN: 30, SEED: 6}  # of the measured, in whom landmarks are looked for
LIST, FIRST_LIST, SECOND_LIST = "starter.json", "first.json", "second.json"
INVENTED = "simulated trunk CT of an anatomy that is invented anew for each patient"
ORIGINS = {
    SEED: Origin(
        "starter-seed", f"{INVENTED}; no real patient",
        "Simulated patients that it was not trained or calibrated on, by patient", True,
        "It began with random weights", "starter_card.md", "ReadingRoom contributors",
        "Apache-2.0"),
    MODERN: Origin(
        "starter", f"{INVENTED}, and of the organs of two real patients (label maps s0327 and "
        "s0328 of TotalSegmentator's dataset, CC BY 4.0), bent at random; no real CT",
        "Simulated patients of invented anatomy that it was not trained or calibrated on, by "
        "patient", True, "It began with what it had learned from the invented ones alone",
        "starter_card.md", "ReadingRoom contributors", "Apache-2.0"),
}

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
WorkOption = Annotated[Path, typer.Option(help="Folder for patients and trainings.")]


@app.command()
def patients(
    work: WorkOption,
    data: Annotated[Path, typer.Option(help="Folder with the label maps of real people.")],
) -> None:
    """Simulate the patients, unless they are there already, and part them."""
    folder = work / "trunks"
    if not folder.exists():
        with run_job(module="LandmarkPretrain", command="simulate", output=folder) as job:
            simulate_command.run(job, simulate_command.Options(
                "trunk", TRAINED + CALIBRATED + MEASURED), typer.echo)
    entries = content_of(folder / simulate_command.DATALIST)["training"]
    trained, calibrated, measured = (
        entries[:TRAINED], entries[TRAINED:TRAINED + CALIBRATED], entries[TRAINED + CALIBRATED:])
    real = list(_real(folder, data / MAP_FOLDER))
    for name, training, test in ((LIST, trained, measured),
                                 (FIRST_LIST, trained, measured[:FIRST_MEASURED]),
                                 (SECOND_LIST, trained + real, measured)):
        (folder / name).write_text(json.dumps({
            "simulated": True, "training": training, "validation": calibrated, "test": test},
            indent=1), "utf-8")


def _real(folder: Path, maps: Path) -> Iterable[dict[str, str]]:
    """Entries of the simulated CTs of real anatomies, which are made unless they are there."""
    target = folder / "real"
    target.mkdir(exist_ok=True)
    for who, name in enumerate(MAPS):
        labels, names, _ = read_named_labels(maps / f"{name}_labels.nii.gz",
                                             maps / f"{name}_labels.json")
        labels = sitk.Cast(labels, sitk.sitkUInt8)
        first = {number: each[0] for number, each in names.items()}
        for number in range(VARIANTS):
            stem = f"{name}-{number:02d}"
            if not (target / f"{stem}.mrk.json").exists():
                image, landmarks = simulate_from_map(labels, first, (31, who, number))
                sitk.WriteImage(image, str(target / f"{stem}.nrrd"), True)
                write_markups(target / f"{stem}.mrk.json", landmarks)
            # all that is made of one person is that person
            yield {"image": f"real/{stem}.nrrd", "landmarks": f"real/{stem}.mrk.json",
                   "patient": name}


@app.command()
def train(work: WorkOption, recipe: Literal["modern", "seed"] = MODERN,
          device: DeviceOption = "auto") -> None:
    """Train, calibrate and measure a model, or go on with it; then list it."""
    few, many = PUBLISHED_COUNTS
    options = pretrain_command.Options(
        work / "trunks" / LIST, work / f"{recipe}-work", recipe, steps=STEPS[recipe],
        searched=SEARCHED[recipe])
    if recipe == SEED:
        options = replace(options, landmarks=many, grown_from=few)
    else:
        first = work / "modern-first"
        _pretrain(first, replace(options, data=work / "trunks" / FIRST_LIST,
                                 searched=FIRST_SEARCHED), device, None)
        options = replace(
            options, data=work / "trunks" / SECOND_LIST, work=work / "modern-second-work",
            start=str(first / pretrain_command.MODEL), steps=SECOND_STEPS)
    origin = ORIGINS[recipe]
    _pretrain(work / recipe, options, device, origin)
    target = FOLDER / "Models" / origin.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(work / recipe / pretrain_command.MODEL, target)
    list_bundle(REGISTRY, target, "LandmarkPretrain")


def _pretrain(output: Path, options: pretrain_command.Options, device: str,
              origin: Origin | None) -> None:
    with run_job(module="LandmarkPretrain", command="pretrain", output=output, device=device,
                 overwrite=True) as job:
        pretrain_command.run(job, options, typer.echo, origin)


if __name__ == "__main__":
    app()
