# SPDX-License-Identifier: Apache-2.0
"""Cases with landmarks in, a model that ``detect`` and ``transfer`` take out, with its scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle, verify_bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import PARTS, content_of, part_patients
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.learning_curves import HISTORY
from ReadingRoomLib.live_training import CURVES, claim_folder

from . import engines
from .augmentation import USUAL_ROTATION
from .engines import LandmarkModel, model_names
from .evaluation import PICTURES, calibrated, found_in, measured_on, prepare_cases
from .landmark_cases import Case, Cases, read_cases
from .landmark_errors import WITHIN_MM
from .model_writing import Origin, write_model
from .prepared_cases import PreparedCase
from .pretraining import settings_of, train_recipe
from .recipes import MODERN, PATCH_MM, Recipe
from .shape_model import learn_shape

MODEL, IMAGES, TRAINING = "model", "images", "training"
MODEL_NAME = "trained"
RANDOM = "random"
SHARES = {"training": 0.6, "validation": 0.2, "test": 0.2}
FEWEST = 3  # landmarks, so that their set has a shape
FEWEST_PATIENTS = 4


@dataclass(frozen=True)
class Options:
    """What is to be trained, and how.

    Attributes:
        data: list of images with landmarks, see :mod:`.landmark_cases`.
        work: folder for images and the unfinished training.
        recipe: "seed" or "modern".
        start: model whose network it begins with, or "random".
        steps: of each training; 0: the usual number.
        landmarks: how many, the most frequent ones; 0: all.
        grown_from: landmarks of a first training of the seed recipe; 0: none.
        patch_mm: side of the patches; 0: the usual one.
        depth: blocks of the mini-VGG.
        sizes: patches of so many sizes, each twice the one before (seed recipe).
        rotation: degrees by which bodies may lie turned about each axis; 180: in any way.
        modality: of the images.
        within_mm: distances of the success detection rates.
        searched: in at most so many cases of the validation and of the test landmarks are looked
            for, which takes longer than naming patches; 0: in all.
        name: under which the model is kept on this computer; empty: it is not.
        overwrite: a model of that name.
    """

    data: Path
    work: Path
    recipe: str = MODERN
    start: str = RANDOM
    steps: int = 0
    landmarks: int = 0
    grown_from: int = 0
    patch_mm: float = 0.0
    depth: int = 3
    sizes: int = 1
    rotation: float = USUAL_ROTATION
    modality: str = "CT"
    within_mm: tuple[float, ...] = WITHIN_MM
    searched: int = 0
    name: str = ""
    overwrite: bool = False

    @property
    def built(self) -> Recipe:
        return Recipe(self.recipe, self.patch_mm or PATCH_MM, self.sizes, self.depth,
                      rotation=self.rotation)


def run(job: Job, options: Options, say: Callable[[str], None],
        origin: Origin | None = None) -> None:
    """Train a model and write it into the job's folder.

    Args:
        job: gets the model, its curves, pictures, and what was measured.
        options: what is to be trained.
        say: shows a person a line.
        origin: for metadata and card; by default that of a user's own model.

    Raises:
        BadInput: the list or an option cannot be used.
        ModelMissing, ModelUntrusted: the model to begin with cannot be used.
        OutputFailed: there is a model of that name already.
    """
    if options.name:
        models.check_name(options.name, engines.REGISTRY, options.overwrite)
    job.progress.stage("list", 1, "Reading the list")
    cases = read_cases(options.data, options.modality, options.landmarks or None, FEWEST_PATIENTS)
    for sentence in cases.warnings:
        job.warn(sentence)
    _check(options, cases)
    parts = parts_of(cases, job.seed)
    start = None if options.start == RANDOM else engines.load_model(options.start)
    if start and start.metadata["recipe"] != options.recipe:
        raise BadInput(f"The model to begin with is of the recipe {start.metadata['recipe']}: "
                       "choose the same recipe, or another model (--start).")
    prepared = _prepared(job, options, parts, cases.names)
    model, steps = _train(job, options, cases.names, prepared, start)
    _write(job, options, prepared, model, steps, start, origin)
    found = job.recorded()["measured"]
    say(f"{len(prepared['test'])} cases that it was not trained on (95 % intervals): "
        f"top-1 {found['top_1']}, mean radial error {found['mre_mm']} mm")


def _check(options: Options, cases: Cases) -> None:
    count = len(cases.names)
    if count < FEWEST:
        raise BadInput(f"The cases have {count} landmarks with the same names, but at least "
                       f"{FEWEST} are needed.")
    if options.grown_from and (options.recipe == MODERN or options.grown_from >= count):
        raise BadInput(f"Growing from {options.grown_from} landmarks is for the recipe seed, and "
                       f"for more landmarks than that: there are {count} (--grown-from).")


def parts_of(cases: Cases, seed: int) -> dict[str, list[Case]]:
    """Training, validation and test of a list, by patient; without the latter two all is parted.

    Raises:
        BadInput: only one of the two is given, or a part stays empty.
    """
    missing = [part for part in PARTS if not cases.parts.get(part)]
    if len(missing) == 1:
        raise BadInput(f"The list lacks its part {missing[0]}: give training, validation and test, "
                       "or training alone.")
    if not missing:
        return cases.parts
    parts = part_patients(cases.parts["training"], SHARES, lambda case: 0, seed)
    if not all(parts.values()):
        raise BadInput("There are too few patients to train on some and measure on others: give at "
                       f"least {FEWEST_PATIENTS + 1}.")
    return parts


def _prepared(job: Job, options: Options, parts: dict[str, list[Case]],
              names: Sequence[str]) -> dict[str, list[PreparedCase]]:
    total = sum(len(part) for part in parts.values())
    job.progress.stage("images", total, "Reading the images")
    found, done = {}, 0
    for part, cases in parts.items():
        found[part] = prepare_cases(
            cases, names, options.built.fine_mm, options.work / IMAGES,
            lambda number, done=done: job.progress.advance(done + number))
        done += len(cases)
    return found


def _train(job: Job, options: Options, names: tuple[str, ...],
           cases: dict[str, list[PreparedCase]],
           start: Bundle | None) -> tuple[LandmarkModel, int]:
    """The trained model, calibrated, and the steps of its trainings."""
    recipe = options.built
    settings = settings_of(recipe.name, options.steps, job.seed)
    folder = options.work / TRAINING
    claim_folder(folder, {
        "names": names, "recipe": recipe.written(), "grown_from": options.grown_from,
        "start": start.sha256 if start else RANDOM,
        "cases": {part: [[case.file.name, case.points.tolist()] for case in own]
                  for part, own in cases.items() if part != "test"},
        "settings": {part: {name: value for name, value in asdict(one).items() if name != "steps"}
                     for part, one in settings.items()}})
    stage = ""

    def say(part: str, done: int, steps: int) -> None:
        nonlocal stage
        if part != stage:
            stage = part
            job.progress.stage(f"train {part}", steps, f"Training ({part})")
        job.progress.advance(done)

    network = train_recipe(recipe, cases["training"], cases["validation"], len(names), settings,
                           folder, job.device, say, start.network if start else None,
                           options.grown_from, bool(start) and model_names(start) == names)
    shape = learn_shape([case.points for case in cases["training"]])
    model = LandmarkModel(network, names, recipe, options.modality, shape)
    known = cases["validation"][:options.searched or None]
    job.progress.stage("calibrate", len(known), "Calibrating the confidence")
    found = found_in(model, known, job.device, job.progress.advance)
    return (calibrated(model, known, found, job.device),
            sum(one.steps for one in settings.values()))


def trained_parts(folder: Path) -> list[Path]:
    """Folders of the trainings in a folder, in the order in which they were begun."""
    return sorted((path.parent for path in folder.glob(f"*/{HISTORY}")),
                  key=lambda part: (part / "settings.json").stat().st_mtime)


def _write(job: Job, options: Options, prepared: dict[str, list[PreparedCase]],
           model: LandmarkModel, steps: int, start: Bundle | None, origin: Origin | None) -> None:
    """Measure, and write everything into the job's folder."""
    measured = measured_on(prepared["test"], model, job, options.within_mm, options.searched)
    job.progress.stage("write", 1, "Writing the model")
    patients = len({case.patient for case in prepared["training"]})
    origin = origin or _origin(options, model, len(prepared["test"]), start)
    write_model(job.folder / MODEL, model, steps, patients, measured.estimates, origin)
    bundle = verify_bundle(job.folder / MODEL)
    files = {"model": MODEL, **PICTURES}
    for part in trained_parts(options.work / TRAINING):
        for role, name in (("curves", CURVES), ("history", HISTORY)):
            target = f"{part.name}-{name}"
            shutil.copyfile(part / name, job.folder / target)
            # that of the last training under the plain name, too
            files |= {f"{role} {part.name}": target, role: target}
    if options.name:
        models.keep_model(bundle.folder, engines.REGISTRY, options.name, options.overwrite)
    job.record(
        model=bundle.described() | {"card": f"{MODEL}/docs/README.md"}, files=files,
        **measured.recorded(),
        landmarks=list(model.names), steps=steps, simulated=origin.simulated,
        parts={part: len(own) for part, own in prepared.items()}, kept_as=options.name or None)


def _origin(options: Options, model: LandmarkModel, measured_on: int,
            start: Bundle | None) -> Origin:
    """What is said of a user's own model."""
    simulated = content_of(options.data).get("simulated") is True
    return Origin(
        options.name or MODEL_NAME,
        f"{'simulated ' if simulated else ''}{model.modality} with {len(model.names)} landmarks of "
        "a list that its user gave",
        f"{measured_on} cases of the same list that it was not trained or calibrated on, by "
        "patient", simulated or bool(start and start.metadata["simulated"]),
        f"It began with the model {start.metadata['name']} ({start.metadata['trained_on']})"
        if start else "It began with random weights")
