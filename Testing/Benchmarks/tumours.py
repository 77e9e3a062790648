# SPDX-License-Identifier: Apache-2.0
"""BrainTumorClassify: the published experiment, fine-tuning on real images, seconds of an answer.

The images of the published experiment are not public, so that its size is repeated on simulated
patients; what is measured there says how much splitting by image flatters a network, and nothing
about real tumours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1] / "Host"))
import torchvision_schemas  # noqa: E402

torchvision_schemas.install()

from BrainTumorClassifyLib import experiment_command, simulate_command  # noqa: E402
from BrainTumorClassifyLib.cohort_files import DATALIST, write_datalist  # noqa: E402
from BrainTumorClassifyLib.experiment import Recipe  # noqa: E402
from BrainTumorClassifyLib.experiment_patients import MODERN  # noqa: E402
from BrainTumorClassifyLib.published_networks import PUBLISHED  # noqa: E402
from BrainTumorClassifyLib.simulated_patients import simulated_patient, study_of  # noqa: E402
from ReadingRoomLib.commands import run_job  # noqa: E402
from ReadingRoomLib.devices import available_cores  # noqa: E402
from ReadingRoomLib.phantoms.brain_mri import BrainSettings  # noqa: E402
from ReadingRoomLib.phantoms.brain_template import fetch_brain_template  # noqa: E402

MODULE = "BrainTumorClassify"
SIDE, SLICES, STEPS = 64, 6, 120
REAL_SIDE, REAL_REPEATS, REAL_STEPS = 96, 5, 60
REAL_COUNTS = (50, 100, 200)  # images of a class
CONVOLUTIONS = Path("weights_imagenet_alexnet_features", "alexnet_lpips.npz")
PICTURES = Path("mri_brain_tumour_4class_jpg", "Training")
_CLASSIFY = """
import json, sys, time
begun = time.perf_counter()
from pathlib import Path
from BrainTumorClassifyLib.classify_command import Options, run
from ReadingRoomLib.commands import run_job
folder, rounds, region = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "region"
seconds, stages = [], []
for number in range(rounds):
    started = time.perf_counter()
    with run_job(module="BrainTumorClassify", command="classify", progress="none",
                 output=folder / f"{region}-{number}") as job:
        run(job, Options({name: folder / f"{name}.nrrd" for name in ("t1", "t2", "t1c")},
                         folder / "roi.json" if region else None, "starter", 0.1))
    seconds.append(time.perf_counter() - (started if number else begun))
    result = json.loads((folder / f"{region}-{number}" / "result.json").read_text("utf-8"))
    stages.append(result["timings"])
print(json.dumps({"seconds": seconds, "stages": stages}))
"""


def of_the_experiment(output: Path, data: Path | None) -> dict:
    """The published experiment on simulated patients, as many as published, in both splits.

    AlexNet begins with ImageNet's convolutions where they are at hand, GoogLeNet and ResNet50 with
    random weights, so that this does not say which of the three is best. All have few steps; how
    it is after the usual number of them is seen in two of them, with fewer repetitions.
    """
    convolutions = data and data / CONVOLUTIONS
    weights = {"alexnet": convolutions} if convolutions and convolutions.exists() else {}
    cohort = output / "published-size"
    if not cohort.exists():
        with run_job(module=MODULE, command="simulate", output=cohort) as job:
            simulate_command.run(job, simulate_command.PUBLISHED, SLICES, 96)
    options = experiment_command.Options(
        cohort / DATALIST, output / "experiment-work", (*PUBLISHED, MODERN), ("patient", "image"),
        10, "random", weights, pixels=SIDE, recipe=Recipe(STEPS, learning_rate=3e-4),
        jobs=available_cores())
    longer = replace(options, work=output / "longer-work", models=("googlenet", MODERN),
                     repeats=3, recipe=Recipe(learning_rate=3e-4))
    return {"short": _experiment(output, "experiment", options),
            "as long as usual": _experiment(output, "longer", longer)}


def of_fine_tuning(data: Path, output: Path) -> dict:
    """AlexNet on real slices of four kinds, from ImageNet's convolutions and from random weights.

    The images carry no patient numbers, so they are split by image, and these accuracies are too
    high for new patients; they only compare the two beginnings, after as many steps.
    """
    classes = tuple(sorted(path.name for path in (data / PICTURES).iterdir() if path.is_dir()))
    found: dict = {"classes": classes, "repeats": REAL_REPEATS}
    for count in REAL_COUNTS:
        listed = output / f"real-{count}.json"
        write_datalist(listed, [
            {"image": str(path.absolute()), "label": kind, "patient": f"{kind}-{path.stem}"}
            for kind in classes for path in sorted((data / PICTURES / kind).iterdir())[:count]])
        for start, weights in (("imagenet", {"alexnet": data / CONVOLUTIONS}), ("random", {})):
            measured = _experiment(output, f"real-{count}-{start}", experiment_command.Options(
                listed, output / f"real-{count}-{start}-work", ("alexnet",), ("image",),
                REAL_REPEATS, "random", weights, classes, REAL_SIDE, Recipe(REAL_STEPS),
                available_cores()))
            found[f"{count} per class, {start}"] = (
                measured["splits"]["image"]["models"]["alexnet"]["images"]["accuracy"])
    return found


def _experiment(output: Path, name: str, options: experiment_command.Options) -> dict:
    """Do an experiment, or go on with it; returns what ``experiment.json`` says, and seconds."""
    begun = time.perf_counter()
    with run_job(module=MODULE, command="experiment", output=output / name, overwrite=True) as job:
        experiment_command.run(job, options, print)
    found = json.loads((output / name / "experiment.json").read_text("utf-8"))
    return found | {"seconds_of_what_was_not_done_yet": round(time.perf_counter() - begun)}


def of_classifying(rounds: int = 6) -> dict:
    """Seconds of one classification, in a new process and in one that is warm."""
    with tempfile.TemporaryDirectory() as folder:
        brain = simulated_patient(fetch_brain_template(), "glioblastoma", (1, 2), BrainSettings())
        for name, image in brain.images.items():
            sitk.WriteImage(image, str(Path(folder) / f"{name}.nrrd"))
        (Path(folder) / "roi.json").write_text(json.dumps(study_of(brain)[1].written()), "utf-8")
        found: dict = {"sizes": {name: image.GetSize() for name, image in brain.images.items()}}
        for region in ("region", "proposed"):
            done = subprocess.run([sys.executable, "-c", _CLASSIFY, folder, str(rounds), region],
                                  capture_output=True, text=True, check=True)
            measured = json.loads(done.stdout.splitlines()[-1])
            found[region] = {
                "cold": round(measured["seconds"][0], 2),
                "warm_median": round(float(np.median(measured["seconds"][1:])), 2),
                "stages": {stage: round(float(np.median(
                    [each[stage] for each in measured["stages"][1:]])), 2)
                    for stage in measured["stages"][0]}}
    return found
