# SPDX-License-Identifier: Apache-2.0
"""The published experiment in one go: images with known tumours in, tables, plots and a report out.

Each training is a file in the work folder. An experiment that was killed goes on there, and so does
one that gets more repetitions, another network or the other split.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.live_training import claim_folder
from ReadingRoomLib.results import file_sha256

from . import experiment_report as report
from .experiment import Build, Recipe, Run, do_runs
from .experiment_data import Slices, fingerprint, listed_items, read_slices
from .experiment_patients import MODERN
from .experiment_splits import RATIO, SPLITS, SplitKind, check_splittable, split_images
from .experiment_statistics import (
    Answers,
    Comparison,
    accuracy,
    anova,
    balanced_accuracy,
    calibration_error,
    compare_all,
    estimate,
    macro_auc,
    median_and_quartiles,
    reliability,
    sensitivity_of,
    tukey,
)
from .kinds import KINDS
from .published_networks import PUBLISHED, build_network, fetch_imagenet_weights, take_over

LEAKS = ("Split by image, as published: other images of the tested patients were learned from, "
         "so these accuracies are too high for new patients.")
ALONE = ("No two images of the list are of one patient: if they are slices of fewer patients "
         "without their numbers, the split by patient leaks, too.")
FORMAT = 1
LEAST_PIXELS = 64
CLAIM = "experiment.txt"
Start = Literal["imagenet", "random"]


@dataclass(frozen=True)
class Options:
    """What the experiment is.

    Attributes:
        data: the list of images, see :mod:`.experiment_data`.
        models: names of the networks.
        splits: patient, image or both.
        repeats: of the 7:3 split, at least 2.
        start: with what the networks begin where ``weights`` names no file.
        weights: file by name of a network, see :func:`weights_of`.
        classes: what labels may be.
        pixels: side of the images.
        recipe: how networks are trained; its seed is the job's.
        jobs: processes at once.
        work: folder for images and trainings.
        build: makes a network.
    """

    data: Path
    work: Path
    models: tuple[str, ...] = tuple(PUBLISHED)
    splits: tuple[SplitKind, ...] = ("patient",)
    repeats: int = 10
    start: Start = "imagenet"
    weights: Mapping[str, Path] = field(default_factory=dict)
    classes: tuple[str, ...] = KINDS
    pixels: int = 224
    recipe: Recipe = Recipe()
    jobs: int = 1
    build: Build = build_network


def splits_of(choice: Literal["patient", "image", "both"]) -> tuple[SplitKind, ...]:
    """What the option ``--split`` means."""
    return tuple(SPLITS) if choice == "both" else (choice,)


def weights_of(texts: Sequence[str], models: Sequence[str]) -> dict[str, Path]:
    """What the option ``--weights`` means: ``alexnet=FILE``, or a file alone for one network.

    Raises:
        BadInput: the network is not one of those that begin with weights.
    """
    found = {}
    models = [model for model in models if model != MODERN]
    for text in texts:
        name, _, file = text.rpartition("=")
        if not name and len(models) == 1:
            name = models[0]
        if name not in models or not file:
            raise BadInput(f'"{Path(text).name}" does not say of which network the weights are: '
                           f"write {models[0] if models else 'alexnet'}=FILE.")
        found[name] = Path(file).expanduser()
    return found


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Do the experiment and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        options: what the experiment is.
        say: shows a person a line.

    Raises:
        BadInput: the list, an option or a file of weights cannot be used, or the work folder holds
            another experiment.
        DownloadFailed: ImageNet weights cannot be had.
        ModelUntrusted: a file of weights could run code.
    """
    report.check_drawing()  # what is missing is said before hours of work
    _check(options)
    options = replace(options, recipe=replace(options.recipe, seed=job.seed))
    job.progress.stage("list", 1, "Reading the list")
    items = listed_items(options.data, options.classes)
    starts = {model: _start_of(job, options, model) for model in options.models}
    job.progress.stage("images", len(items), "Reading the images")
    images = fingerprint(items, options.pixels)
    slices = read_slices(items, options.classes, options.pixels,
                         options.work / f"images-{images[:12]}.npy", job.progress.advance)
    check_splittable(slices.items, options.classes, options.splits)
    claim_folder(options.work, {"images": images, "classes": options.classes,
                                "recipe": asdict(options.recipe)}, options.work, CLAIM)
    for model, path in starts.items():
        claim_folder(options.work / model, {"start": file_sha256(path) if path else "random"},
                     file=CLAIM)
    if len(set(slices.patients)) == len(slices.items):
        job.warn(ALONE)
    if "image" in options.splits:
        job.warn(LEAKS)
    runs = _runs_of(options, slices, starts)
    done = sum(each.file.exists() for each in runs)
    job.progress.stage("train", len(runs),
                       f"Training{f' on from {done} of {len(runs)} runs' if done else ''}")
    do_runs(runs, job.device, options.jobs, job.progress.advance)
    job.progress.stage("measure", 1, "Measuring")
    found = measure(runs, slices, options)
    found["data"] = slices.written()
    found["start"] = {model: path.name if path else "random" for model, path in starts.items()}
    job.progress.stage("write", 1, "Writing the report")
    _write(job, found, options)
    for line in report.lines(found):
        say(line)


def _check(options: Options) -> None:
    if options.repeats < 2:
        raise BadInput("One repetition says nothing about how much accuracies vary: choose at "
                       "least 2 (--repeats).")
    for name, chosen in (("network", options.models), ("class", options.classes)):
        if len(set(chosen)) != len(chosen) or not chosen:
            raise BadInput(f"Name each {name} once.")
    if len(options.classes) < 2:
        raise BadInput("At least two classes are needed to tell them apart.")
    if options.build is build_network and (unknown := set(options.models) - {*PUBLISHED, MODERN}):
        raise BadInput(f'There is no network "{sorted(unknown)[0]}": choose from '
                       f"{', '.join((*PUBLISHED, MODERN))}.")
    if options.build is build_network and options.pixels < LEAST_PIXELS:
        raise BadInput(f"The published networks need images of at least {LEAST_PIXELS} pixels "
                       "(--pixels).")


def _start_of(job: Job, options: Options, model: str) -> Path | None:
    """The file that a network begins with, tried once before the work begins."""
    if model == MODERN:
        return None
    path = options.weights.get(model)
    if path is None and options.start == "imagenet":
        job.progress.stage("weights", PUBLISHED[model].size, f"Fetching {PUBLISHED[model].title}")
        path = fetch_imagenet_weights(model, lambda done, total: job.progress.advance(done))
    if path is not None:
        take_over(options.build(model, len(options.classes)), path)
    return path


def _runs_of(options: Options, slices: Slices, starts: Mapping[str, Path | None]) -> list[Run]:
    """All runs; each repetition is finished for all networks and splits before the next."""
    labels = slices.labels
    runs = []
    for repetition in range(options.repeats):
        for split in options.splits:
            training, test = split_images(slices.items, slices.classes, split,
                                          options.recipe.seed, repetition)
            runs += [Run(model, split, repetition, slices.file, labels, training, test,
                         len(slices.classes), options.recipe, starts[model],
                         options.work / model, slices.patients, slices.sizes_mm,
                         options.build) for model in options.models]
    return runs


# ---------------------------------------------------------------------------------------- measuring


def measure(runs: Sequence[Run], slices: Slices, options: Options) -> dict[str, Any]:
    """All that the runs say, as it stands in ``experiment.json``.

    Args:
        runs: whose files are there.
        slices: what they were trained and tested on.
        options: of the experiment.
    """
    labels, patients, seed = slices.labels, slices.patients, options.recipe.seed
    tested: dict[str, dict[str, list[Answers]]] = {}
    for each in runs:
        with np.load(each.file, allow_pickle=False) as arrays:
            test, probabilities = arrays["test"], arrays["probabilities"].astype(float)
        if not np.array_equal(test, each.test):
            raise BadInput(f"{each.file} does not belong to this experiment: delete it.")
        tested.setdefault(each.split, {}).setdefault(each.model, []).append(
            Answers(labels[test], patients[test], probabilities))
    found: dict[str, Any] = {
        "format": FORMAT, "repeats": options.repeats, "classes": list(options.classes),
        "recipe": asdict(options.recipe), "pixels": options.pixels,
        "published": report.PUBLISHED_RESULTS,
        "splits": {split: _measure_split(split, of_model, options.classes, seed)
                   for split, of_model in tested.items()}}
    if len(tested) == 2:
        found["inflation"] = {model: {
            level: estimate(_at(level, tested["image"][model]), accuracy, seed,
                            _at(level, tested["patient"][model])).written()
            for level in ("images", "patients")} for model in options.models}
    return found


def _at(level: str, runs: Sequence[Answers]) -> list[Answers]:
    return [each.by_patient() for each in runs] if level == "patients" else list(runs)


def _measure_split(split: SplitKind, tested: Mapping[str, list[Answers]], classes: Sequence[str],
                   seed: int) -> dict[str, Any]:
    accuracies = {model: [float(each.right.mean()) for each in runs]
                  for model, runs in tested.items()}
    f = anova(accuracies)
    return {
        "meaning": SPLITS[split], "leaks": split == "image",
        "models": {model: _measure_model(runs, classes, seed) for model, runs in tested.items()},
        "anova": f and {"F": f[0], "p": f[1]},
        "tukey": [_written(each) for each in tukey(accuracies)],
        "corrected": [_written(each) for each in compare_all(accuracies, RATIO)],
    }


def _measure_model(runs: list[Answers], classes: Sequence[str], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for level in ("images", "patients"):
        group = _at(level, runs)
        values = [float(each.right.mean()) for each in group]
        middle, low, high = median_and_quartiles(values)
        found[level] = {
            "tested": [len(each.labels) for each in group],
            "accuracy_by_repetition": values,
            "median": middle, "lower_quartile": low, "upper_quartile": high,
            "accuracy": estimate(group, accuracy, seed).written(),
            "balanced_accuracy": estimate(group, balanced_accuracy, seed).written(),
            "macro_auc": estimate(group, macro_auc, seed).written(),
            "sensitivity": {name: estimate(group, sensitivity_of(number), seed).written()
                            for number, name in enumerate(classes)},
            "calibration_error": estimate(group, calibration_error, seed).written(),
            "reliability": reliability(group),
        }
    return found


def _written(comparison: Comparison) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {"pair": list(comparison.pair), "difference": comparison.difference.written(),
            "t": number(comparison.statistic), "p": number(comparison.p)}


# ------------------------------------------------------------------------------------------ writing


def _write(job: Job, found: Mapping[str, Any], options: Options) -> None:
    files = {"experiment": "experiment.json", "accuracy": "accuracy.csv", "report": "report.html",
             "box_plot": "accuracy.png", "calibration": "calibration.png"}
    (job.folder / files["experiment"]).write_text(
        json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")
    with open(job.folder / files["accuracy"], "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "leaks", "model", "repetition", "level", "tested", "accuracy"])
        for split, of_split in found["splits"].items():
            for model, of_model in of_split["models"].items():
                for level, measured in of_model.items():
                    for number, (n, value) in enumerate(zip(
                            measured["tested"], measured["accuracy_by_repetition"], strict=True)):
                        writer.writerow([split, of_split["leaks"], model, number + 1, level, n,
                                         f"{value:.6f}"])
    report.draw_accuracies(found, job.folder / files["box_plot"])
    report.draw_calibration(found, job.folder / files["calibration"])
    (job.folder / files["report"]).write_text(
        report.page(found, job.folder, files, job.warnings), "utf-8")
    job.record(files=files, data=found["data"], start=found["start"], summary={
        split: {model: {level: measured["accuracy"] | {"median": measured["median"]}
                        for level, measured in of_model.items()}
                for model, of_model in of_split["models"].items()}
        for split, of_split in found["splits"].items()}, inflation=found.get("inflation"))
