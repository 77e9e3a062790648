# SPDX-License-Identifier: Apache-2.0
"""Scans with known segmentations in, a model that ``segment`` takes out, with what it scored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle, verify_bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair, check_apart, content_of, read_pairs
from ReadingRoomLib.learning_curves import HISTORY
from ReadingRoomLib.live_training import CURVES, claim_folder
from ReadingRoomLib.training import TrainingSettings, steps_done

from . import heat_map
from .contrasts import Intensities
from .evaluation import measured, sentences, write_scores
from .held_out import HeldOut, Measurement, folds_of, read_held_out, write_held_out
from .label_names import NameTable, read_names
from .labelled_scans import LabelledScan, Unnamed
from .own_training import arguments_for, begin, fit, settings_of
from .recipes import RECIPES
from .scan_store import ScanStore
from .segmentation import REGISTRY, load_model
from .structures import STRUCTURES
from .trained_model import SIMULATED, Origin, limits_of, pixels_of, write_model

KEY = "segmentation"
MODEL, TRAINING, SCANS, FINAL = "model", "training", "scans", "final"
MODEL_NAME = "trained"
NONE = "none"
SCORES, PICTURE, SCORED = "scores.csv", "heat_map.png", "scored-after-{}.json"
STEPS = 100  # of the progress, for each scan that is measured
NEVER_SEEN = "The list names these structures in no scan, so they are not taught: {}."


@dataclass(frozen=True)
class Options:
    """What is to be trained, and how.

    Attributes:
        data: list of scans with their segmentations, see :mod:`ReadingRoomLib.datalists`; the key
            of the second file is ``segmentation``.
        work: folder for scans and the unfinished training.
        recipe: ``seed`` or ``modern``.
        start: model to begin with, by name or folder, or ``none``.
        steps: of each training; 0: as usual.
        batch: slabs a step; 0: as usual.
        folds: of the cross-validation by patient; 0: none.
        intensities: ``ct``, or ``random`` for images of any contrast.
        unnamed: see :func:`.labelled_scans.read_scan`.
        names: table of label names, see :func:`.label_names.read_names`.
        samples: Monte Carlo samples when held-out patients are segmented.
        name: under which the model is kept on this computer; empty: it is not.
        overwrite: a model of that name.
        shape: of the slabs, in voxels (z, y, x); None: as usual for the recipe.
    """

    data: Path
    work: Path
    recipe: str = "modern"
    start: str = "starter"
    steps: int = 0
    batch: int = 0
    folds: int = 4
    intensities: Intensities = "ct"
    unnamed: Unnamed = "unknown"
    names: str | None = None
    samples: int = 10
    name: str = ""
    overwrite: bool = False
    shape: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Scans:
    """The scans of a list, read once.

    Attributes:
        parts: entries of the list by part; the test part stays untouched.
        read: the scans of training and validation, by file.
        keys: of all that the training depends on.
        names: what labels mean that are not called as ours.
        simulated: whether the list says so.
    """

    parts: Mapping[str, list[Pair]]
    read: Mapping[Path, LabelledScan]
    keys: Mapping[Path, str]
    names: NameTable
    simulated: bool

    def of(self, pairs: Sequence[Pair]) -> list[LabelledScan]:
        return [self.read[pair.image] for pair in pairs]

    def part(self, name: str) -> list[Pair]:
        return self.parts.get(name) or []


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Train a model and write it into the job's folder.

    Args:
        job: gets the model, its curves, and what was measured.
        options: what is to be trained.
        say: shows a person a line.

    Raises:
        BadInput: the list, a scan or an option cannot be used.
        ModelMissing, ModelUntrusted: the model to begin with cannot be used.
        OutputFailed: there is a model of that name already.
    """
    if options.name:
        models.check_name(options.name, REGISTRY, options.overwrite)
    job.progress.stage("list", 1, "Reading the list")
    parts = read_pairs(options.data, KEY)
    check_apart(parts)
    folds = folds_of(parts["training"], options.folds, job.seed)
    names = read_names(options.names)
    start = None if options.start == NONE else load_model(options.start, options.recipe)
    if _says_simulated(options.data):
        job.warn(SIMULATED)
    scans = _read(job, options, parts, names)
    trainer = _Trainer(job, options, scans, start)
    held_out = [found for name, held in folds.items() for found in trainer.fold(name, held)]
    network = trainer.train(FINAL, scans.part("training"), scans.part("validation"))
    if not folds and scans.part("validation"):
        held_out = trainer.score(FINAL, network, scans.part("validation"))
    _write(job, options, scans, trainer, network, held_out)
    for line in sentences(job.recorded()) if held_out else ():
        say(line)


def _read(job: Job, options: Options, parts: Mapping[str, list[Pair]],
          names: NameTable) -> Scans:
    store = ScanStore(options.work / SCANS, RECIPES[options.recipe], options.unnamed, names,
                      options.intensities)
    pairs = [pair for part in ("training", "validation") for pair in parts.get(part) or []]
    job.progress.stage("scans", len(pairs), "Reading the scans")
    read, keys = {}, {}
    for done, pair in enumerate(pairs, 1):
        keys[pair.image] = store.key(pair)
        read[pair.image] = store.read(
            pair, keys[pair.image], lambda text, pair=pair: job.warn(f"{pair.image.name}: {text}"))
        job.progress.advance(done)
    named = {value for scan in read.values() for value in scan.named}
    absent = [structure.display_name for structure in STRUCTURES if structure.value not in named]
    if absent:
        job.warn(NEVER_SEEN.format(", ".join(absent)))
    return Scans(parts, read, keys, names, _says_simulated(options.data))


def _says_simulated(data: Path) -> bool:
    return content_of(data.absolute()).get("simulated") is True


class _Trainer:
    """Trains and measures the networks of a command, each in a folder of its own."""

    def __init__(self, job: Job, options: Options, scans: Scans, start: Bundle | None) -> None:
        self.job, self.options, self.scans, self.start = job, options, scans, start
        self.recipe = RECIPES[options.recipe]
        self.settings: TrainingSettings = settings_of(
            options.recipe, options.steps, options.batch, start is not None, job.seed, job.device)
        self.folder = options.work / TRAINING
        unchanged = {key: value for key, value in asdict(self.settings).items()
                     if key not in ("steps", "workers")}
        claim_folder(self.folder, {
            "recipe": options.recipe, "start": start.sha256 if start else NONE,
            "intensities": options.intensities, "folds": options.folds, "settings": unchanged,
            "shape": options.shape, "samples": options.samples,
            "scans": {part: sorted([scans.keys[pair.image], pair.patient] for pair in
                                   scans.part(part)) for part in ("training", "validation")}})

    def fold(self, name: str, held: Sequence[Pair]) -> list[HeldOut]:
        """Train without some patients, and measure on them."""
        learned = [pair for pair in self.scans.part("training") if pair not in held]
        return self.score(name, self.train(name, learned, held), held)

    def train(self, name: str, learned: Sequence[Pair], seen: Sequence[Pair]) -> nn.Module:
        """The network of a fold, or the final one."""
        folder, settings = self.folder / name, self.settings
        done = min(steps_done(folder), settings.steps)
        self.job.progress.stage(f"train {name}", settings.steps - done,
                                f"Training {_spoken(name)}{f', from step {done}' if done else ''}")
        return fit(begin(self.recipe.name, self.start, settings.seed), self.scans.of(learned),
                   self.scans.of(seen), self.recipe, settings, folder, self.job.device,
                   lambda step, loss: self.job.progress.advance(step - done),
                   self.options.intensities, self.options.shape)

    def score(self, name: str, network: nn.Module, pairs: Sequence[Pair]) -> list[HeldOut]:
        """Segment scans that the network has not learned from; what was done already is kept."""
        kept = self.folder / name / SCORED.format(self.settings.steps)
        if not kept.exists():
            job, measurement = self.job, Measurement(
                self.recipe, self.options.intensities, self.scans.names, self.options.samples,
                self.job.device, self.job.seed)
            job.progress.stage(f"score {name}", STEPS * len(pairs), f"Measuring {_spoken(name)}")
            write_held_out(kept, [measurement.of(
                network, pair, lambda share, done=done: job.progress.advance(
                    round(STEPS * (done + share)))) for done, pair in enumerate(pairs)])
        return read_held_out(kept)


def _spoken(name: str) -> str:
    """The name of a training, for people."""
    return "the final network" if name == FINAL else name.replace("-", " ")


# ---------------------------------------------------------------------------------------- writing


def _write(job: Job, options: Options, scans: Scans, trainer: _Trainer, network: nn.Module,
           held_out: Sequence[HeldOut]) -> None:
    """Write the model, its curves and what was measured into the job's folder."""
    job.progress.stage("write", 1, "Writing the model")
    origin = _origin(options, scans, trainer, held_out)
    write_model(job.folder / MODEL, network, arguments_for(options.recipe, trainer.start), origin)
    bundle = verify_bundle(job.folder / MODEL)
    files = {"model": MODEL}
    for part in trained_parts(trainer.folder):
        for role, file in (("curves", CURVES), ("history", HISTORY)):
            target = f"{part.name}-{file}"
            shutil.copyfile(part / file, job.folder / target)
            # that of the final network under the plain name, too
            files |= {f"{role} {part.name}": target} | (
                {role: target} if part.name == FINAL else {})
    scores = [score for one in held_out for score in one.scores]
    if scores:
        write_scores(job.folder / SCORES, scores)
        files["scores"] = SCORES
        if heat_map.drawn(scores, job.folder / PICTURE, job.warn):
            files["heat_map"] = PICTURE
    if options.name:
        models.keep_model(bundle.folder, REGISTRY, options.name, options.overwrite)
    job.record(
        model=bundle.described() | {"card": f"{MODEL}/docs/README.md"}, files=files,
        **origin.measured, measured_on=origin.measured_on, limits=dict(origin.limits),
        steps=trainer.settings.steps, batch=trainer.settings.batch_size, folds=options.folds,
        simulated=scans.simulated, taught=list(origin.structures),
        parts={part: {"scans": len(own), "patients": len({pair.patient for pair in own})}
               for part, own in scans.parts.items()}, kept_as=options.name or None)


def trained_parts(folder: Path) -> list[Path]:
    """Folders of the trainings in a folder, in the order in which they were begun."""
    return sorted((path.parent for path in folder.glob(f"*/{HISTORY}")),
                  key=lambda part: (part / "settings.json").stat().st_mtime)


def _origin(options: Options, scans: Scans, trainer: _Trainer,
            held_out: Sequence[HeldOut]) -> Origin:
    start, training = trainer.start, scans.part("training")
    read = scans.of(training)
    named = {value for scan in read for value in scan.named}
    on = (f"cross-validation by patient in {options.folds} folds, each with a network that had not "
          "learned from the patients it was measured on; the model itself learned from all"
          if options.folds else "the validation part, which did not choose the weights")
    kind = "Simulated patients" if scans.simulated else "Patients"
    return Origin(
        options.name or MODEL_NAME, options.recipe, options.intensities, len(training),
        len({pair.patient for pair in training}),
        tuple(structure.name for structure in STRUCTURES if structure.value in named),
        scans.simulated or bool(start and start.metadata["simulated"]), scans.simulated, start,
        trainer.settings.steps, f"{kind} of the list: {on}." if held_out else "",
        measured([score for one in held_out for score in one.scores]) if held_out else {},
        limits_of(held_out, start, options.recipe), pixels_of(read, options.recipe, start))
