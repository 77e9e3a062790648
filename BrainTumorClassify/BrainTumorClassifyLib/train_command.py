# SPDX-License-Identifier: Apache-2.0
"""Patients with known tumours in, a model that ``classify`` takes out, with what it scored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle, arguments_of, verify_bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import PARTS, Item, check_apart, part_patients, read_datalist
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.learning_curves import HISTORY
from ReadingRoomLib.live_training import CURVES, claim_folder, train_with_curves
from ReadingRoomLib.training import TrainingSettings, steps_done

from . import engines
from .certainty import LEAST_PATIENTS, NEIGHBOURS, Certainty
from .classification import ERROR
from .cohort_files import says_simulated
from .evaluation import answers, features_of_patient, measure, without
from .experiment_data import Slices, fingerprint, patients_among, read_slices
from .experiment_splits import check_one_label
from .features import FEATURES
from .kinds import KINDS
from .model_writing import Origin, write_model
from .networks import SMALL, TumorNetwork
from .training_slices import (
    PIXELS,
    STEP_PATIENTS,
    STEP_SLICES,
    PatientBatches,
    PatientSlices,
    kind_loss,
)

MODEL, TRAINING = "model", "training"
MODEL_NAME = "trained"
RANDOM = "random"
SHARES = {"training": 0.6, "validation": 0.2, "test": 0.2}
LEAST = {"training": NEIGHBOURS, "validation": LEAST_PATIENTS, "test": 1}  # of each kind
SETTINGS = TrainingSettings(steps=500, learning_rate=1e-3, weight_decay=1e-2, decay_share=0.7,
                            average_decay=0.99, workers=0)
LOOKED_AT = 60  # patients at each look at the validation


@dataclass(frozen=True)
class Options:
    """What is to be trained, and how.

    Attributes:
        data: list of patients' images, see :mod:`.experiment_data`.
        classes: kinds of tumour.
        start: model whose network it begins with, or "random".
        steps: of training; 0: the usual number.
        name: under which the model is kept on this computer; empty: it is not.
        work: folder for images and the unfinished training.
        overwrite: a model of that name.
    """

    data: Path
    work: Path
    classes: tuple[str, ...] = KINDS
    start: str = "starter"
    steps: int = 0
    name: str = ""
    overwrite: bool = False


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
    if len(options.classes) < 2 or len(set(options.classes)) < len(options.classes):
        raise BadInput("Name at least two kinds, each once (--class).")
    if options.name:
        models.check_name(options.name, engines.REGISTRY, options.overwrite)
    job.progress.stage("list", 1, "Reading the list")
    parts = parts_of(options.data, options.classes, job.seed)
    start = None if options.start == RANDOM else engines.load_model(options.start)
    items = [item for part in PARTS for item in parts[part]]
    job.progress.stage("images", len(items), "Reading the images")
    images = fingerprint(items, PIXELS)
    slices = read_slices(items, options.classes, PIXELS,
                         options.work / f"images-{images[:12]}.npy", job.progress.advance)
    check_one_label(slices.items)
    patients = _patients(slices, parts, options.classes)
    settings = replace(SETTINGS, steps=options.steps or SETTINGS.steps, seed=job.seed)
    claim_folder(options.work / TRAINING, {
        "images": images, "classes": options.classes, "start": start.sha256 if start else RANDOM,
        "parts": {part: sorted({item.patient for item in parts[part]}) for part in PARTS},
        "settings": {name: value for name, value in asdict(settings).items() if name != "steps"}})
    network, arguments = _train(job, options, patients, start, settings)
    _write(job, options, slices, patients, network, arguments, start, settings.steps)
    measured = job.recorded()["measured"]
    say(f"{measured['patients']} patients that it was not trained on (95 % intervals): right "
        f"{measured['accuracy']}, balanced {measured['balanced_accuracy']}, area under the ROC "
        f"curve {measured['macro_auc']}")


def parts_of(path: Path, classes: Sequence[str], seed: int) -> dict[str, list[Item]]:
    """Training, validation and test of a list, by patient; without the latter two all is parted.

    Raises:
        BadInput: the list cannot be used, or a part has too few patients of a kind.
    """
    given = read_datalist(path, classes)
    check_apart(given)
    missing = [part for part in PARTS if not given.get(part)]
    if missing and len(missing) < 2:
        raise BadInput(f"The list lacks its part {missing[0]}: give training, validation and test, "
                       "or training alone.")
    parts = part_patients(given["training"], SHARES, lambda item: classes.index(item.label),
                          seed) if missing else given
    for part in PARTS:
        for kind in classes:
            count = len({item.patient for item in parts[part] if item.label == kind})
            if count < LEAST[part]:
                raise BadInput(f"There are too few patients with {kind}: {count} in the part {part}"
                               f", but at least {LEAST[part]} are needed there.")
    return {part: parts[part] for part in PARTS}


def _patients(slices: Slices, parts: Mapping[str, Sequence[Item]],
              kinds: Sequence[str]) -> dict[str, list[PatientSlices]]:
    """The patients of each part, named by their place in the list, which tells nobody."""
    images = np.load(slices.file, mmap_mode="r")
    owners = np.array([item.patient for item in slices.items])
    place = {patient: f"case {number}" for number, patient in
             enumerate(dict.fromkeys(owners.tolist()), 1)}
    found = {}
    for part, items in parts.items():
        own = {item.patient for item in items}
        chosen = np.flatnonzero([owner in own for owner in owners])
        found[part] = [
            replace(one, patient=place[owners[slices.patients == int(one.patient)][0]])
            for one in patients_among(images, slices.labels, slices.patients, slices.sizes_mm,
                                      kinds, chosen)]
    return found


# --------------------------------------------------------------------------------------- training


def _train(job: Job, options: Options, patients: Mapping[str, list[PatientSlices]],
           start: Bundle | None, settings: TrainingSettings) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network and what it is built with."""
    kinds = options.classes
    torch.manual_seed(job.seed)
    arguments = {"classes": len(kinds), "features": len(FEATURES), **SMALL}
    if start:
        given = arguments_of(start)
        arguments |= {name: given[name] for name in SMALL if name in given}
    network = TumorNetwork(**arguments)
    if start:
        begin_with(network, start)
    network.know_features(torch.from_numpy(np.stack([
        features_of_patient(one) for one in patients["training"]])))
    batches = PatientBatches(patients["training"], kinds, settings.steps, STEP_PATIENTS,
                             STEP_SLICES, settings.seed)
    seen = patients["validation"][:: max(1, len(patients["validation"]) // LOOKED_AT)]

    def look(network: nn.Module) -> dict[str, float]:
        found = answers(network, seen, kinds)
        logits, truth = torch.from_numpy(found.logits), torch.from_numpy(found.truth)
        return {"loss": kind_loss((logits,), truth), "accuracy": right((logits,), truth)}

    folder = options.work / TRAINING
    done = min(steps_done(folder), settings.steps)
    job.progress.stage("train", settings.steps - done,
                       f"Training{f' on from step {done}' if done else ''}")
    trained = train_with_curves(
        network, batches, kind_loss, look, right, settings, folder, job.device,
        lambda step, loss: job.progress.advance(step - done), "Patients, split by patient",
        ("present", "features"))
    return trained.cpu().eval(), arguments


def begin_with(network: TumorNetwork, start: Bundle) -> None:
    """Take over what a model knows of images; what tells kinds apart is learned anew."""
    own = network.state_dict()
    given = {name: value for name, value in start.network.state_dict().items()
             if name.startswith(("encoder.", "embed.", "attention."))}
    if any(own[name].shape != value.shape for name, value in given.items() if name in own):
        raise BadInput("The model to begin with is of another kind: choose another one (--start).")
    network.load_state_dict(own | {name: value.to(own[name].dtype)
                                   for name, value in given.items()})


def right(answer: Sequence[torch.Tensor], kinds: torch.Tensor) -> torch.Tensor:
    """Share of patients whose kind is the right one."""
    return (answer[0].argmax(1) == kinds).float().mean()


# ---------------------------------------------------------------------------------------- writing


def _write(job: Job, options: Options, slices: Slices,
           patients: Mapping[str, list[PatientSlices]], network: nn.Module,
           arguments: dict[str, Any], start: Bundle | None, steps: int) -> None:
    """Calibrate, measure, and write everything into the job's folder."""
    job.progress.stage("write", 1, "Writing the model")
    kinds = options.classes
    learned, known, fresh = (answers(network, patients[part], kinds) for part in PARTS)
    certainty = Certainty(kinds, known.logits, known.truth, known.codes, learned.codes,
                          learned.truth, tuple(f"{name} of the list" for name in learned.names))
    measured = (measure(certainty, fresh, ERROR)
                | without(network, patients["test"], certainty))
    listed_simulated = says_simulated(options.data)
    simulated = listed_simulated or bool(start and start.metadata["simulated"])
    of_a_list = "simulated patients" if listed_simulated else "patients"
    origin = Origin(
        options.name or MODEL_NAME,
        f"{len(learned.truth)} {of_a_list} of a list of {len(set(slices.patients))}, whose kinds "
        "its user gave",
        "Patients of the same list that it was not trained or calibrated on, by patient",
        simulated,
        f"It began with what the model {start.metadata['name']} knows of images "
        f"({start.metadata['trained_on']})" if start else "It began with random weights")
    write_model(job.folder / MODEL, network, arguments, steps, certainty, measured, origin)
    model = verify_bundle(job.folder / MODEL)
    for file in (HISTORY, CURVES):
        shutil.copyfile(options.work / TRAINING / file, job.folder / file)
    if options.name:
        models.keep_model(model.folder, engines.REGISTRY, options.name, options.overwrite)
    job.record(
        model=model.described() | {"card": f"{MODEL}/docs/README.md"},
        files={"model": MODEL, "curves": CURVES, "history": HISTORY}, measured=measured,
        steps=steps, data=slices.written(),
        parts={part: len(patients[part]) for part in PARTS}, kept_as=options.name or None)
