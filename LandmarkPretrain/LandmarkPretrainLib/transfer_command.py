# SPDX-License-Identifier: Apache-2.0
"""The publication's comparison in one go: volumes with known lesions in, curves and a report out.

The chain is that of the publication: preprocessing, region, candidates, features of a frozen
network, classification. Patches, features and fits are files in the work folder, named after all
that they depend on. So what was killed goes on there, and what gets another arm does only that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import content_of
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import whole_file

from . import transfer_plots as plots
from . import transfer_report as report
from .arms import (
    ARMS,
    TITLES,
    Arm,
    features_file,
    features_of,
    kept_features,
    landmark_arm,
    random_arm,
)
from .boosting import LEARNERS
from .imagenet import imagenet_arm
from .label_efficiency import DRAWS, SIZES, Draw, nested_draws
from .lesion_sets import LesionSet, read_lesion_set
from .pictures import EACH, Tile, draw_tiles
from .recipes import MODERN, Recipe
from .region import KINDS, parted
from .transfer_fits import CLASSIFIERS, Classifier, Task, scores_of, weak_learners
from .transfer_measures import Tested, measure_areas, measure_efficiency, measure_free_response
from .transfer_photographs import cifar_arm
from .transfer_places import MODALITIES, PATCH_MM, find_places, named
from .transfer_samples import Finder, Samples, SampleSettings, cube_features, gather
from .transfer_tables import write_tables

GALLERY = "gallery.png"
COMPARED = (1, 2, 5, 10, 20, 50, 100, 200)
SIMULATED = "These patients are simulated: what is measured on them says nothing about real ones."
EFFICIENCY_LEARNERS = 50
FINETUNE_STEPS = 150
CIFAR_STEPS = 2000


def _load(name: str) -> Bundle:
    from .engines import load_model

    return load_model(name)


@dataclass(frozen=True)
class Options:
    """What is compared.

    Attributes:
        lesions: the list, see :mod:`.lesion_sets`.
        work: folder for patches, features and fits.
        arms: names, see :data:`.arms.ARMS`; differences are those of the first to the others.
        model: that learned landmarks.
        cifar: the archive, where CIFAR-10 is an arm.
        imagenet: ``.npz`` with AlexNet's convolutions; None: they are fetched.
        region: in which candidates are looked for, see :func:`.region.parted`.
        classifier: what is fitted on the features.
        patch_mm: side of the patches; None: what suits the region.
        modality: CT, MR or other; None: what the region is mostly seen in.
        normals: normal places of each case.
        learners: most weak learners.
        compared: numbers of weak learners at which arms are compared.
        sizes, draws: of the label-efficiency curves, patients and repetitions; no draws, no curves.
        finetune_steps, cifar_steps: of training.
        find: says where to look in a case.
        load: finds and verifies a model.
    """

    lesions: Path
    work: Path
    arms: tuple[str, ...] = ("landmarks", "imagenet", "random")
    model: str = "starter"
    cifar: Path | None = None
    imagenet: Path | None = None
    region: str = "vessels"
    classifier: Classifier = "adaboost"
    patch_mm: float | None = None
    modality: str | None = None
    normals: int = 20
    learners: int = LEARNERS
    compared: tuple[int, ...] = COMPARED
    sizes: tuple[int, ...] = SIZES
    draws: int = DRAWS
    finetune_steps: int = FINETUNE_STEPS
    cifar_steps: int = CIFAR_STEPS
    find: Finder = find_places
    load: Callable[[str], Bundle] = _load


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Compare the arms and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        options: what is compared.
        say: shows a person a line.

    Raises:
        BadInput: the list, an image, an option or an archive cannot be used.
        ModelMissing, ModelUntrusted: the model cannot be used.
        DownloadFailed: ImageNet's weights cannot be had.
    """
    plots.check_drawing()  # what is missing is said before the work
    _check(options)
    job.progress.stage("list", 1, "Reading the list")
    found = read_lesion_set(options.lesions, job.seed)
    _check_masks(found, options.region)
    simulated = bool(content_of(options.lesions).get("simulated"))
    if simulated:
        job.warn(SIMULATED)
    bundle = options.load(options.model)
    settings = _settings(options, bundle, job.seed)
    job.progress.stage("patches", len(found.training) + len(found.test), "Taking patches")
    samples = gather(found, settings, options.find, options.work, job.progress.advance, job.warn)
    arms = [_arm(job, name, options, bundle) for name in options.arms]
    features = {arm.name: _features(job, arm, samples, settings, options) for arm in arms}
    measured = _measure(job, arms, features, samples, options)
    measured |= {
        "classifier": options.classifier, "published": report.PUBLISHED,
        "compared": weak_learners(options.classifier, options.learners, options.compared),
        "arms": {arm.name: arm.said for arm in arms},
        "settings": asdict(settings) | {"region": named(options.region)},
        "model": bundle.described(), "data": _data(found, samples, simulated)}
    measured["finding"] = report.finding(measured)
    job.progress.stage("write", 1, "Writing the report")
    _write(job, measured)
    for line in report.lines(measured):
        say(line)


def _check(options: Options) -> None:
    unknown = [name for name in options.arms if name not in ARMS]
    if unknown or not options.arms:
        raise BadInput(f'There is no arm "{(unknown or [""])[0]}": choose from {", ".join(ARMS)} '
                       "(--arms).")
    if len(set(options.arms)) != len(options.arms):
        raise BadInput("Name each arm once (--arms).")
    if "cifar" in options.arms and options.cifar is None:
        raise BadInput("The arm cifar needs the archive of CIFAR-10, cifar-10-binary.tar.gz: name "
                       "it (--cifar), or leave the arm out.")
    if options.classifier not in CLASSIFIERS:
        raise BadInput(f'There is no classifier "{options.classifier}": choose from '
                       f"{', '.join(CLASSIFIERS)}.")
    if options.patch_mm is not None and not 1 <= options.patch_mm <= 500:
        raise BadInput("Patches must be 1 to 500 mm wide (--patch-mm).")
    if options.draws and not options.sizes:
        raise BadInput("Name at least one number of training patients for the label efficiency.")


def _check_masks(found: LesionSet, region: str) -> None:
    """Refuse a folder of masks where two images have one name, and so would have one mask."""
    _, place = parted(region)
    if place in KINDS or not Path(place).is_dir():
        return
    names = Counter(case.image.name for case in (*found.training, *found.test))
    name, count = names.most_common(1)[0]
    if count > 1:
        raise BadInput(f"{count} images are named {name}, so the folder {Path(place).name} cannot "
                       "have a mask for each: give every image a name of its own.")


def _settings(options: Options, bundle: Bundle, seed: int) -> SampleSettings:
    """Patches as large as asked for; a model that looks at several sizes keeps their ratio."""
    recipe = Recipe.read(bundle.metadata["built"])
    kind, _ = parted(options.region)
    side = options.patch_mm or PATCH_MM[kind]
    sizes = (1.0,) if recipe.name == MODERN else recipe.kind.sizes_mm
    return SampleSettings(
        options.modality or MODALITIES.get(kind, bundle.metadata["modality"]),
        options.region, tuple(side * size / sizes[0] for size in sizes), options.normals,
        seed=seed)


def _arm(job: Job, name: str, options: Options, bundle: Bundle) -> Arm:
    if name == "landmarks":
        arm = landmark_arm(bundle)
    elif name == "random":
        arm = random_arm(bundle, job.seed)
    elif name == "imagenet":
        job.progress.stage("weights", 1, "Getting the weights of ImageNet")
        arm = imagenet_arm(options.imagenet, lambda done, total: job.progress.advance(done / total))
    else:
        job.progress.stage("cifar", options.cifar_steps, "Learning the photographs of CIFAR-10")
        arm = cifar_arm(options.cifar, bundle, options.cifar_steps, job.seed, options.work,
                        job.device, job.progress.advance)
    if options.classifier == "finetune" and arm.cubes:
        raise BadInput(f"Fine-tuning is for networks that see planes, and {TITLES[name]} of this "
                       "model see cubes: choose a model of the recipe seed, or another "
                       "classifier.")
    return arm


def _features(job: Job, arm: Arm, samples: Samples, settings: SampleSettings,
              options: Options) -> list[np.ndarray]:
    """Of each repetition, (patches, d); none of them where all weights are trained."""
    if options.classifier == "finetune":
        return [np.empty((len(samples.points), 0))] * len(arm.networks)
    message = f"Computing the features of {TITLES[arm.name]}"
    if not arm.cubes:
        job.progress.stage("features", len(arm.networks), message)
        return _finite(arm, kept_features(arm, samples.patches, samples.fingerprint, options.work,
                                          job.device, job.progress.advance))
    files = [features_file(arm, number, samples.fingerprint, options.work)
             for number in range(len(arm.networks))]
    if not all(file.exists() for file in files):
        job.progress.stage("features", len(samples.cases), message)
        found = cube_features(samples, settings, lambda cubes: np.stack(
            [features_of(network, cubes, job.device) for network in arm.networks], 1),
            job.progress.advance)
        for number, file in enumerate(files):
            with whole_file(file) as unfinished, open(unfinished, "wb") as stream:
                np.save(stream, found[:, number])
    return _finite(arm, [np.load(file, allow_pickle=False) for file in files])


def _finite(arm: Arm, features: list[np.ndarray]) -> list[np.ndarray]:
    """Refuse features that are no numbers: a classifier would call them chance, or fail."""
    if not all(np.isfinite(each).all() for each in features):
        raise BadInput(f"The network of {TITLES[arm.name]} gives features that are no numbers: "
                       "choose another model, or leave that arm out (--arms).")
    return features


# --------------------------------------------------------------------------------------- measuring


def _measure(job: Job, arms: Sequence[Arm], features: Mapping[str, list[np.ndarray]],
             samples: Samples, options: Options) -> dict[str, Any]:
    tested = Tested.of(samples)
    draws = _draws(samples, options, job.seed)
    total = sum(len(arm.networks) for arm in arms) + len(draws) * len(arms)
    job.progress.stage("fits", total, "Fitting the detectors")
    done = 0

    def fitted(arm: Arm, repetition: int, learners: int,
               patients: tuple[int, ...] | None) -> np.ndarray:
        nonlocal done
        task = Task(arm, repetition, options.classifier, learners, options.finetune_steps,
                    job.seed, patients)
        scores = scores_of(task, samples, features[arm.name][repetition], options.work, job.device,
                           lambda share: job.progress.advance(done + share))
        done += 1
        return scores

    whole = {arm.name: [fitted(arm, number, options.learners, None)
                        for number in range(len(arm.networks))] for arm in arms}
    few = min(EFFICIENCY_LEARNERS, options.learners)
    drawn: dict[str, dict[int, list[np.ndarray]]] = {arm.name: {} for arm in arms}
    for arm in arms:
        for draw in draws:
            # an arm with repetitions takes another one in each draw
            scores = fitted(arm, draw.number % len(arm.networks), few, draw.patients)
            drawn[arm.name].setdefault(draw.size, []).append(scores[-1])
    job.progress.stage("measure", 1, "Measuring")
    compared = weak_learners(options.classifier, options.learners, options.compared)
    last = {arm: [scores[-1] for scores in repetitions] for arm, repetitions in whole.items()}
    _draw_gallery(samples, last[arms[0].name][0], job.folder / GALLERY)
    return measure_areas(tested, whole, compared, job.seed) | {
        "efficiency": measure_efficiency(tested, drawn, job.seed) | {
            "learners": few, "draws": options.draws} if draws else None,
        "free_response": measure_free_response(samples, last, job.seed)
        if samples.candidate.any() else None}


def _draw_gallery(samples: Samples, scores: np.ndarray, path: Path) -> None:
    """Test patches that the first arm's detector judges right, wrong, and with least certainty.

    Args:
        samples: all patches.
        scores: of those of test cases, above 0 for lesions.
        path: PNG.
    """
    numbers = np.flatnonzero(samples.test)
    asked = samples.used[numbers]
    numbers, scores = numbers[asked], scores[asked]
    right = (scores > 0) == samples.lesion[numbers]
    surest = np.argsort(-np.abs(scores), kind="stable")
    shown = {"right": [place for place in surest if right[place]],
             "wrong": [place for place in surest if not right[place]], "unsure": surest[::-1]}
    # of what is right lesions and normal places in turn, or there would be lesions alone
    kinds = [[place for place in shown["right"] if samples.lesion[numbers[place]] == kind]
             for kind in (True, False)]
    shown["right"] = [place for pair in zip(*kinds, strict=False) for place in pair]
    draw_tiles({kind: [Tile(
        samples.patches[numbers[place]][:3].astype(np.float32),
        "is a lesion" if samples.lesion[numbers[place]] else "is normal",
        f"said {'lesion' if scores[place] > 0 else 'normal'}, score {scores[place]:+.2f}",
        bool(right[place])) for place in places[:EACH]] for kind, places in shown.items()}, path)


def _draws(samples: Samples, options: Options, seed: int) -> list[Draw]:
    """Draws of training patients with at least one that has a lesion."""
    patients = samples.patients(False)
    ill = np.zeros(patients.max() + 1, bool)
    for patient, case in zip(patients, samples.cases, strict=False):
        ill[patient] |= bool(case.lesions)
    return nested_draws(ill, options.sizes, options.draws, seed)


def _data(found: LesionSet, samples: Samples, simulated: bool) -> dict[str, Any]:
    tested = samples.used & samples.test
    return found.written() | {"simulated": simulated, "test_patches": {
        "lesion": int((tested & samples.lesion).sum()),
        "normal": int((tested & ~samples.lesion).sum())}}


# ------------------------------------------------------------------------------------------ writing


def _write(job: Job, measured: dict[str, Any]) -> None:
    pictures = {"areas": "auc_by_learners.png"}
    plots.draw_areas(measured, job.folder / pictures["areas"])
    if measured["efficiency"]:
        pictures["efficiency"] = "label_efficiency.png"
        plots.draw_efficiency(measured, job.folder / pictures["efficiency"])
    if measured["free_response"]:
        pictures["free_response"] = "froc.png"
        plots.draw_free_response(measured, job.folder / pictures["free_response"])
    tables = write_tables(measured, job.folder)
    (job.folder / "report.html").write_text(
        report.page(measured, job.folder, pictures, job.warnings), "utf-8")
    shown = {f"{name}_picture": file for name, file in pictures.items()}
    job.record(files={"report": "report.html", "gallery": GALLERY, **tables, **shown}, **measured)
