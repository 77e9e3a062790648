# SPDX-License-Identifier: Apache-2.0
"""How the models that come with the program were made: ``make models``.

``patients`` simulates heads, ``train`` fits a network to six tenths of them. Two tenths are for
calibration and two for measuring; ``export`` does both and makes the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from torch import nn

from ReadingRoomLib.bundles import arguments_of
from ReadingRoomLib.commands import DeviceOption
from ReadingRoomLib.devices import resolve_device
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.head_findings import BLEEDING, KINDS
from ReadingRoomLib.phantoms.head_template import fetch_head_template
from ReadingRoomLib.training import CHECKPOINT, TrainingSettings, say_steps
from ReadingRoomLib.training import train as fit

from .answers import RECIPES
from .augmentation import Ranges
from .certainty import Certainty
from .engines import REGISTRY, TorchEngine, load_model
from .evaluation import measure
from .image_splits import SPLITS, images_of, measure_images
from .judging import ERROR, MOST_MISSED
from .losses import judge_loss, map_loss, tag_loss
from .networks import AlexNet, TriageNetwork
from .picture_certainty import CAMERA, camera_certainty_of
from .pictures import measure_photos, measure_pictures
from .plans import (
    HEADS,
    PICTURES,
    PLANS,
    SEED,
    JudgementPart,
    scores_of_codes,
    scores_of_pictures,
    start_from,
    write_model,
)
from .training_slices import (
    BackboneSlices,
    HeadCodes,
    SlicePictures,
    codes_of,
    make_patient,
    pictures_of,
    read_patient,
    save_patient,
)

PATIENTS = 1800
GROUPS = {"train": range(0, 6), "calibrate": range(6, 8), "test": range(8, 10)}
"""Last digit of the numbers of the patients in each group."""
VARIATIONS = 2  # of each head that the judgement is learned from
SETTINGS = {
    "backbone": TrainingSettings(steps=2000, batch_size=4, learning_rate=2e-3, decay_share=0.6,
                                 average_decay=0.995),
    "judgement": TrainingSettings(steps=1500, learning_rate=1e-3, weight_decay=1e-2,
                                  decay_share=0.7, average_decay=0.99, bfloat16=False),
    "seed": TrainingSettings(steps=500, learning_rate=5e-5, weight_decay=5e-4, decay_share=0.6,
                             average_decay=0.99),
    "classifier": TrainingSettings(steps=1000, learning_rate=1e-3, weight_decay=1e-2,
                                   decay_share=0.6, average_decay=0.99, workers=0),
}
CLASSIFIER_PICTURES = 256  # in a step of the classifier of the published network alone
CLASSIFIER_IMAGES = 6400  # whose features it learns from before all layers do

FOLDER = Path(__file__).parent
app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

WorkOption = Annotated[Path, typer.Option(help="Folder for patients and trainings.")]
StepsOption = Annotated[int, typer.Option(help="Training steps; 0: as the starter model.")]


@app.command()
def patients(
    work: WorkOption,
    first: Annotated[int, typer.Option(help="Number of the first patient.")] = 0,
    count: Annotated[int, typer.Option(help="How many.")] = PATIENTS,
    only: Annotated[list[str] | None, typer.Option(
        help="Of these only the group: train, calibrate or test; may be repeated.")] = None,
) -> None:
    """Simulate patients; those that are there already are kept."""
    simulate(work, [number for number in range(first, first + count)
                    if not only or group_of(number) in only])


def simulate(work: Path, numbers: Iterable[int]) -> None:
    """Simulate the patients of these numbers, but for those that are there already."""
    folder = work / "patients"
    folder.mkdir(parents=True, exist_ok=True)
    missing = {number: path for number in numbers
               if not (path := folder / f"{number:05d}.npz").exists()}
    template = fetch_head_template() if missing else None
    for number, path in missing.items():
        try:
            save_patient(make_patient(template, (SEED, number)), path)
        except BadInput as refused:
            typer.echo(f"{number}: {refused}", err=True)


def group_of(number: int) -> str:
    """Group of a patient: train, calibrate or test."""
    return next(name for name, digits in GROUPS.items() if number % 10 in digits)


def patients_of(work: Path, group: str) -> list[Path]:
    """Files of the patients of a group, by number."""
    return [path for path in sorted((work / "patients").glob("[0-9]*.npz"))
            if group_of(int(path.stem)) == group]


@app.command()
def train(
    work: WorkOption,
    recipe: Annotated[Literal["modern", "seed"], typer.Option(help="Which network.")] = "modern",
    split: Annotated[Literal["patient", "image"], typer.Option(
        help="Of seed: by patient; or by image, as published, which leaks.")] = "patient",
    start: Annotated[Path | None, typer.Option(
        help="Of seed: file with convolutions of AlexNet to begin with (.npz).")] = None,
    steps: StepsOption = 0,
    camera: Annotated[float, typer.Option(
        min=0, max=1, help="Of modern: share of the slices that are shown through a simulated "
                           "camera.")] = 0.0,
    device: DeviceOption = "auto",
) -> None:
    """Train a network on the patients in a folder."""
    if not patients_of(work, "train"):
        raise typer.BadParameter(f"There are no patients in {work}: make them first.")
    device = resolve_device(device)
    if recipe == "seed":
        train_published(work, split, start, steps, device)
    else:
        network = train_backbone(work, steps, device, Ranges(camera_share=camera))
        train_judgement(work, network, device)


@app.command()
def export(
    work: WorkOption,
    recipe: Annotated[Literal["modern", "seed"], typer.Option(help="Which network.")] = "modern",
    split: Annotated[Literal["patient", "image"], typer.Option(help="Of seed.")] = "patient",
    output: Annotated[Path | None, typer.Option(
        help="Folder of the bundle; by default the module's own, listed in models.json.")] = None,
    pictures: Annotated[Path | None, typer.Option(
        help="Folder of real pictures with labels.csv, to measure on, for the card.")] = None,
    photos: Annotated[int, typer.Option(
        min=0, help="Simulated photos to calibrate camera input with; 0: none.")] = 0,
) -> None:
    """Calibrate a network, measure it on heads it was not shown, and write its bundle."""
    plan = PLANS[recipe]
    network, steps = plan.trained(work, split)
    certainty = Certainty(*scores_of(work, recipe, network, "calibrate"))
    scores, tags = scores_of(work, recipe, network, "test")
    measured = measure(certainty, scores, tags, MOST_MISSED, ERROR)
    if recipe == "seed":
        measured |= measure_splits(work)
    if pictures:
        measured |= measure_pictures(recipe, TorchEngine(network), pictures)
        measured |= measure_photos(recipe, TorchEngine(network), pictures) if photos else {}
    for name, value in measured.items():
        typer.echo(f"{name}: {value}")
    bundle = output or FOLDER / "Models" / plan.bundle
    shown = len(patients_of(work, "train"))
    sha256 = write_model(
        bundle, plan.arguments, network,
        {**plan.metadata(steps, certainty, measured),
         **camera_calibration(work, recipe, network, photos)},
        plan.card(steps, certainty, measured, patients=shown))
    if output is None:
        list_bundle(REGISTRY, bundle, "HeadCTTriage")
    typer.echo(f"{bundle}: {sha256}")


@app.command("camera")
def calibrate_camera(
    work: WorkOption,
    model: Annotated[Path | None, typer.Option(
        help="Folder of the bundle; by default the module's own, listed in models.json.")] = None,
    patients: Annotated[int, typer.Option(min=1, help="Simulated patients to photograph.")] = 100,
) -> None:
    """Calibrate a bundle for photos; needs no training, only patients it was not trained on.

    Patients of the calibration group that are not in the folder yet are simulated. Of each, one or
    two slices are photographed. Everything else in the bundle stays as it is.
    """
    bundle = load_model(str(model or FOLDER / "Models" / PLANS["modern"].bundle))
    numbers = [number for number in range(10 * patients) if number % 10 in GROUPS["calibrate"]]
    simulate(work, numbers[:patients])
    try:
        certainty = camera_calibration(work, bundle.metadata["recipe"], bundle.network,
                                       2 * patients)
    except ValueError as error:
        raise typer.BadParameter("Too few of the photos are good enough: give more --patients."
                                 ) from error
    sha256 = write_model(bundle.folder, arguments_of(bundle), bundle.network,
                         {**bundle.metadata, **certainty}, bundle.model_card)
    if model is None:
        list_bundle(REGISTRY, bundle.folder, "HeadCTTriage")
    written = certainty[CAMERA]
    typer.echo(f"{len(written['scores'])} photos that were good enough, {sum(written['bleeding'])} "
               f"with bleeding\n{bundle.folder}: {sha256}")


def scores_of(work: Path, recipe: str, network: nn.Module, group: str,
              ) -> tuple[np.ndarray, np.ndarray]:
    """Logits of at least yellow, red and black of all patients of a group, and their tags."""
    if recipe == "modern":
        codes, wanted = codes_of_group(work, network.backbone, group, 0)
        return scores_of_codes(network, codes), wanted[:, 0].astype(int)
    pictures, tags = pictures_of(patients_of(work, group))
    return scores_of_pictures(network, pictures), tags


def camera_calibration(work: Path, recipe: str, network: nn.Module, photos: int,
                       ) -> dict[str, Any]:
    """What goes into the metadata for photos: one or two slices of each calibration patient.

    One of the slices shows bleeding, where there is one.
    """
    if not photos:
        return {}
    random = np.random.default_rng(SEED)
    numbers = [1 + KINDS.index(kind) for kind in BLEEDING]
    slices, truth = [], []
    for path in patients_of(work, "calibrate"):
        patient = read_patient(path)
        bleeds = np.isin(patient.truth, numbers).any((1, 2))
        for chosen in (np.flatnonzero(bleeds), np.flatnonzero(~bleeds)):
            if len(chosen) and len(slices) < photos:
                number = random.choice(chosen)
                slices.append(patient.several[number])
                truth.append(patient.truth[number])
    certainty = camera_certainty_of(RECIPES[recipe], TorchEngine(network),
                                    np.stack(slices).astype(np.float32), np.stack(truth), SEED)
    return {CAMERA: certainty.written()}


def measure_splits(work: Path) -> dict[str, str]:
    """Accuracy of single images where images are parted, as published, and where patients are.

    In the first case other images of the same patient were learned from, so it leaks. Both are
    measured on images of networks trained alike; a split whose training is missing is left out.
    """
    measured = {}
    for split in SPLITS:
        if not (work / f"seed-{split}" / CHECKPOINT).exists():
            continue
        network, _ = PLANS["seed"].trained(work, split)
        pictures, tags = pictures_of(patients_of(work, "train" if split == "image" else "test"))
        measured |= measure_images(network, pictures, tags, split, SEED)
    return measured


def train_backbone(work: Path, steps: int, device: str, ranges: Ranges) -> TriageNetwork:
    """Learn where findings lie; returns the network whose judgement is not trained yet."""
    settings, network = _settings("backbone", steps), PLANS["modern"].build()
    slices = BackboneSlices(patients_of(work, "train"), settings.steps * settings.batch_size,
                            settings.seed, ranges)
    network.backbone = fit(network.backbone, slices, map_loss, settings, work / "backbone", device,
                           say_steps(settings))
    return network


def train_judgement(work: Path, network: TriageNetwork, device: str) -> TriageNetwork:
    """Learn to judge a head from the codes of its slices, which no camera took."""
    settings = _settings("judgement", 0)
    codes, wanted = codes_of_group(work, network.backbone, "train", VARIATIONS)
    heads = HeadCodes(codes, wanted, settings.steps, HEADS, settings.seed)
    judgement = JudgementPart(network)
    fit(judgement, heads, judge_loss, settings, work / "judgement", device, say_steps(settings))
    return network


def codes_of_group(work: Path, backbone: nn.Module, group: str,
                   variations: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all patients of a group, kept on disk: it takes minutes."""
    kept = work / f"codes-{group}.npz"
    paths = patients_of(work, group)
    names = [path.stem for path in paths]
    checkpoint = work / "backbone" / CHECKPOINT
    if kept.exists() and kept.stat().st_mtime > checkpoint.stat().st_mtime:
        with np.load(kept) as arrays:
            if arrays["names"].tolist() == names:
                return arrays["codes"], arrays["wanted"]
    backbone.eval()
    found = [codes_of(patient, backbone, (SEED, int(path.stem), number) if variations else None)
             for path in paths for patient in [read_patient(path)]
             for number in range(max(1, variations))]
    codes, wanted = (np.stack(part) for part in zip(*found, strict=True))
    np.savez(kept, names=names, codes=codes, wanted=wanted)
    return codes, wanted


def train_published(work: Path, split: str, start: Path | None, steps: int,
                    device: str) -> nn.Module:
    """Train the published network, slice by slice."""
    settings = _settings("seed", steps)
    pictures, tags = pictures_of(patients_of(work, "train"))
    images = images_of(pictures, split, "train", SEED)
    data = SlicePictures(pictures, tags, images, settings.steps, PICTURES, settings.seed)
    network = PLANS["seed"].build()
    if start:
        start_from(network, start)
        train_classifier(network, pictures, tags, images, work / f"seed-{split}-classifier", device)
    return fit(network, data, tag_loss, settings, work / f"seed-{split}", device,
               say_steps(settings))


def train_classifier(network: AlexNet, pictures: np.ndarray, tags: np.ndarray, images: np.ndarray,
                     folder: Path, device: str) -> None:
    """Learn to classify what the convolutions make of images, before these change themselves.

    Convolutions that have seen photographs lose what they know where a classifier that knows
    nothing yet corrects them: all slices then get the most frequent tag. Their features are
    computed once, so this costs next to nothing.
    """
    settings = _settings("classifier", 0)
    data = SlicePictures(pictures, tags, images, CLASSIFIER_IMAGES // PICTURES, PICTURES,
                         settings.seed)
    features, wanted = [], []
    with torch.inference_mode():
        for item in map(data.__getitem__, range(len(data))):
            features.append(network.pooled(item["image"]).numpy())
            wanted.append(item["label"].numpy())
    codes = HeadCodes(np.concatenate(features), np.concatenate(wanted), settings.steps,
                      CLASSIFIER_PICTURES, settings.seed)
    trained = fit(network.classifier, codes, tag_loss, settings, folder, device,
                  say_steps(settings))
    network.classifier.load_state_dict(trained.state_dict())


def _settings(name: str, steps: int) -> TrainingSettings:
    settings = SETTINGS[name]
    return replace(settings, steps=steps or settings.steps)


if __name__ == "__main__":
    app()
