# SPDX-License-Identifier: Apache-2.0
"""Head CTs with known tags in, a model that ``judge`` takes out, with what it scored."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle, arguments_of, verify_bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.learning_curves import HISTORY
from ReadingRoomLib.live_training import CURVES, claim_folder
from ReadingRoomLib.progress import format_duration
from ReadingRoomLib.training import TrainingSettings, steps_done

from . import engines
from .answers import RECIPES
from .certainty import Certainty
from .evaluation import measure
from .image_splits import SPLITS, Split, measure_images
from .judging import ERROR, MOST_MISSED
from .listed_heads import LABELS, Heads, SliceStore, parts_of
from .networks import AlexNet
from .own_training import (
    VARIATIONS,
    CodeStore,
    pictures_of_heads,
    settings_of,
    train_judgement,
    train_published,
)
from .plans import (
    PLANS,
    Origin,
    scores_of_codes,
    scores_of_pictures,
    start_from,
    write_model,
)

MODEL = "model"
SLICES, TRAINING = "slices", "training"
MODEL_NAME = "trained"
LEAKS = ("Split by image, as published: other images of the same patients were learned from, so "
         "the accuracy of single images is too high.")


@dataclass(frozen=True)
class Options:
    """What is to be trained, and how.

    Attributes:
        data: the list of heads, see :mod:`.listed_heads`.
        recipe: seed or modern.
        split: of the single images of seed: patient, or image, which leaks.
        start: model to begin with, or .npz with convolutions of AlexNet; None: the usual.
        steps: of training; 0: the usual number.
        compare_splits: train a second network with the other split, too.
        name: under which the model is kept on this computer; empty: it is not.
        work: folder for slices and the unfinished training.
        overwrite: a model of that name.
    """

    data: Path
    recipe: str
    split: Split
    start: str | None
    steps: int
    compare_splits: bool
    name: str
    work: Path
    overwrite: bool


@dataclass
class Trained:
    """A trained network, and what it says of the heads.

    Attributes:
        network, arguments: its weights, and what its class is built with.
        steps: of training.
        scores: logits of validation and test, (n, 3).
        images: accuracy of single images by split; none of heads judged as a whole.
        simulated: whether any image that it learned from was simulated.
        began_with: in words, for the card.
    """

    network: nn.Module
    arguments: dict[str, Any]
    steps: int
    scores: dict[str, np.ndarray]
    images: dict[str, dict[str, str] | None]
    simulated: bool
    began_with: str


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Train a model and write it into the job's folder.

    Args:
        job: gets the model, its curves, and what was measured.
        options: what is to be trained.
        say: shows a person a line.

    Raises:
        BadInput: the list or an option cannot be used.
        ModelMissing, ModelUntrusted: the model to begin with cannot be used.
        OutputFailed: there is a model of that name already.
    """
    if options.recipe == "modern" and (options.split == "image" or options.compare_splits):
        raise BadInput("The modern recipe judges whole heads, so they can only be split by "
                       "patient: single images are what the recipe seed is for.")
    if options.name:
        models.check_name(options.name, engines.REGISTRY, options.overwrite)
    job.progress.stage("list", 1, "Reading the list")
    heads = parts_of(options.data, job.seed)
    begin = _begin_modern if options.recipe == "modern" else _begin_published
    train = begin(job, options)  # a model that cannot be had is said before the work begins
    for tag in LABELS:
        if not any((part.tags == LABELS.index(tag)).any() for part in heads.values()):
            job.warn(f"No head of the list is {tag}, so the model cannot tell which is.")
    store = SliceStore(options.work / SLICES, RECIPES[options.recipe].sampling)
    job.progress.stage("slices", sum(len(part.items) for part in heads.values()), "Cutting slices")
    store.cut(heads, job.progress.advance)
    trained = train(heads, store)
    _write(job, options, heads, trained)
    for line in _lines(job, trained):
        say(line)


# ------------------------------------------------------------------------------------------- ours


def _begin_modern(job: Job, options: Options) -> Callable[[dict, SliceStore], Trained]:
    start = engines.load_model(options.start or "starter", "modern")

    def train(heads: dict[str, Heads], store: SliceStore) -> Trained:
        codes, tags = _codes(job, start, heads, store)
        settings = settings_of("modern", options.steps, job.seed)
        network = train_judgement(
            start.network.cpu(), codes, tags, settings,
            _folder(options, TRAINING, heads, store, settings, start.sha256), job.device,
            _on_step(job, options, TRAINING, settings))
        return Trained(
            network, arguments_of(start), settings.steps,
            {part: scores_of_codes(network, codes[part]) for part in ("validation", "test")},
            {}, start.metadata["simulated"],
            f"It began with the model {start.metadata['name']} ({start.metadata['trained_on']}), "
            "whose eyes for findings it kept")

    return train


def _codes(job: Job, start: Bundle, heads: dict[str, Heads], store: SliceStore,
           ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Codes and tags of all parts; of what is learned from, of variations, too."""
    job.progress.stage("codes", sum(len(part.items) for part in heads.values()),
                       "Looking at the slices")
    made = CodeStore(store, start.network.backbone.to(job.device).eval(), start.sha256, job.seed,
                     job.device)
    codes, tags, done = {}, {}, 0
    for part, group in heads.items():
        variations = VARIATIONS if part == "training" else 0
        found = []
        for item in group.items:
            found.append(made.codes(item, variations))
            job.progress.advance(done := done + 1)
        codes[part] = np.concatenate(found)
        tags[part] = np.repeat(group.tags, 1 + variations)
    return codes, tags


# ------------------------------------------------------------------------------------ the published


def _begin_published(job: Job, options: Options) -> Callable[[dict, SliceStore], Trained]:
    build, simulated, began_with, sha256 = _published_start(options.start)

    def train(heads: dict[str, Heads], store: SliceStore) -> Trained:
        settings = settings_of("seed", options.steps, job.seed)
        pictures = {part: pictures_of_heads(group, store) for part, group in heads.items()}
        tags = {part: group.tags for part, group in heads.items()}
        networks = {}
        for split in sorted(SPLITS, key=lambda split: split != options.split):
            if split == options.split or options.compare_splits:
                name = TRAINING if split == options.split else f"{TRAINING}-{split}"
                networks[split] = train_published(
                    build(), pictures, tags, split, settings,
                    _folder(options, name, heads, store, settings, f"{split} {sha256}"),
                    job.device, _on_step(job, options, name, settings))
        job.progress.stage("measure", 1, "Measuring")
        images = {split: measure_images(
            network, *(arrays["training" if split == "image" else "test"]
                       for arrays in (pictures, tags)), split, job.seed)
            for split, network in networks.items()}
        network = networks[options.split]
        return Trained(
            network, PLANS["seed"].arguments, settings.steps,
            {part: scores_of_pictures(network, pictures[part]) for part in ("validation", "test")},
            {split: images.get(split) for split in SPLITS}, simulated, began_with)

    return train


def _published_start(start: str | None) -> tuple[Callable[[], AlexNet], bool, str, str]:
    """How the published network begins: built anew each time, the same for both splits."""
    if start is None:
        return PLANS["seed"].build, False, "It began with random weights", "random"
    if start.endswith(".npz"):
        path = Path(start).expanduser()
        if not path.is_file():
            raise BadInput(f"{path.name} cannot be found: check its name (--start).")

        def build() -> AlexNet:
            network = PLANS["seed"].build()
            try:
                start_from(network, path)
            except (KeyError, ValueError, RuntimeError, OSError, zipfile.BadZipFile) as error:
                raise BadInput(f"{path.name} does not hold the convolutions of AlexNet.") from error
            return network

        build()
        return build, False, f"Its convolutions began with those in {path.name}", path.name
    bundle = engines.load_model(start, "seed")

    def again() -> AlexNet:
        network = AlexNet(**arguments_of(bundle))
        network.load_state_dict(bundle.network.state_dict())
        return network

    return (again, bundle.metadata["simulated"], f"It began with the model "
            f"{bundle.metadata['name']} ({bundle.metadata['trained_on']})", bundle.sha256)


# --------------------------------------------------------------------------------------------- both


def _folder(options: Options, name: str, heads: dict[str, Heads], store: SliceStore,
            settings: TrainingSettings, begins_with: str) -> Path:
    """The folder of a training, in which only the same training goes on."""
    unchanged = {key: value for key, value in asdict(settings).items() if key != "steps"}
    folder = options.work / name
    claim_folder(folder, {
        "recipe": options.recipe, "begins_with": begins_with, "settings": unchanged,
        "heads": {part: [[store.key(item), item.label] for item in group.items]
                  for part, group in heads.items()}})
    return folder


def _on_step(job: Job, options: Options, name: str, settings: TrainingSettings):
    """Tells how far a training is; one that goes on counts what is left."""
    done = min(steps_done(options.work / name), settings.steps)
    again = f" on from step {done}" if done else ""
    split = f", split by {options.split if name == TRAINING else name.rpartition('-')[2]}" if (
        options.recipe == "seed") else ""
    job.progress.stage("train", settings.steps - done, f"Training{again}{split}")
    return lambda step, loss: job.progress.advance(step - done)


def _write(job: Job, options: Options, heads: dict[str, Heads], trained: Trained) -> None:
    """Calibrate, measure, and write everything into the job's folder."""
    job.progress.stage("write", 1, "Writing the model")
    certainty = Certainty(trained.scores["validation"], heads["validation"].tags)
    measured = measure(certainty, trained.scores["test"], heads["test"].tags, MOST_MISSED, ERROR)
    for images in trained.images.values():
        measured |= images or {}
    if options.split == "image":
        job.warn(LEAKS)
    origin, name = _origin(options, heads, trained), options.name or MODEL_NAME
    plan = PLANS[options.recipe]
    write_model(
        job.folder / MODEL, trained.arguments, trained.network,
        plan.metadata(trained.steps, certainty, measured, origin, name) | {"split": options.split},
        plan.card(trained.steps, certainty, measured, origin, name, trained_on=origin.trained_on,
                  began_with=trained.began_with,
                  leaks=f"\n**{LEAKS}**\n" if options.split == "image" else ""))
    model = verify_bundle(job.folder / MODEL)
    for file in (HISTORY, CURVES):
        shutil.copyfile(options.work / TRAINING / file, job.folder / file)
    if options.name:
        models.keep_model(model.folder, engines.REGISTRY, options.name, options.overwrite)
    job.record(
        model=model.described() | {"card": f"{MODEL}/docs/README.md"},
        files={"model": MODEL, "curves": CURVES, "history": HISTORY},
        measured=measured, split=options.split, single_images=trained.images or None,
        steps=trained.steps, parts={part: group.written() for part, group in heads.items()},
        kept_as=options.name or None)


def _origin(options: Options, heads: dict[str, Heads], trained: Trained) -> Origin:
    learned, tested = heads["training"].written(), heads["test"].written()
    leaks = ", split by image, which leaks" if options.split == "image" else ""
    return Origin(
        f"{learned['heads']} head CTs of {learned['patients']} patients, tagged by its user{leaks}",
        f"{tested['heads']} head CTs of {tested['patients']} patients of the same list that it was "
        "not trained or calibrated on", trained.simulated, "trained_card.md",
        "the user of ReadingRoom who trained it", "of whoever trained it")


def _lines(job: Job, trained: Trained) -> list[str]:
    """What a person wants to know at once."""
    recorded = job.recorded()
    measured = recorded["measured"]
    lines = [f"{measured['heads']} heads of {recorded['parts']['test']['patients']} patients that "
             f"it was not trained on (95 % intervals): four tags right "
             f"{measured['four_class_accuracy']}, urgent or not {measured['binary_accuracy']}, "
             f"area under the ROC curve {measured['binary_auc']}"]
    if trained.images:
        lines.append("Single images, four tags right | urgent or not:")
    for split, images in trained.images.items():
        name = f"  split by {split:<8}"
        if images:
            lines.append(name + " | ".join(images.values()))
        else:
            seconds = recorded["timings"].get("train", 0.0)
            lines.append(f"{name}not measured: --compare-splits trains a second network, about "
                         f"{format_duration(seconds)} more")
    return lines
