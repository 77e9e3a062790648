# SPDX-License-Identifier: Apache-2.0
"""LandmarkPretrain: patches a second, seconds of a detection, and what each recipe scores.

Real are the skulls of mice only; trunks and arteries are simulated, and what is measured on them
says nothing about patients.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from LandmarkPretrainLib import pretrain_command, simulate_command, transfer_command
from LandmarkPretrainLib.augmentation import Augmentation, turns
from LandmarkPretrainLib.engines import load_model, model_of
from LandmarkPretrainLib.evaluation import prepare_cases
from LandmarkPretrainLib.label_efficiency import DRAWS
from LandmarkPretrainLib.landmark_cases import read_cases
from LandmarkPretrainLib.landmark_files import read_landmarks
from LandmarkPretrainLib.patch_evaluation import PatchAnswers, patch_answers, shares_by_patient
from LandmarkPretrainLib.patches import PIXELS, PatchExtractor
from LandmarkPretrainLib.preparation import prepared
from LandmarkPretrainLib.starter import CALIBRATED, MEASURED, TRAINED
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.metrics import bootstrap_interval
from ReadingRoomLib.phantoms.trunk import PUBLISHED_COUNTS, TrunkSettings, simulate_trunk

MODULE = "LandmarkPretrain"
PATCHES, PATCH_MM = 4000, 64.0
ROUNDS = 5
SKULLS = "landmarks_mouse_skull_microct"
SKULL_PATCH_MM, SKULL_WITHIN_MM, FOLDS = 6.4, (0.2, 0.4, 1.0), 5
SKULL_STEPS = {"seed": 600, "modern": 700}  # of each training
ARTERIES = 150  # 100 to learn from and 50 to test, as published
COMPARISONS = (("starter-seed", "adaboost"), ("starter-seed", "probe"),
               ("starter-seed", "finetune"), ("starter", "adaboost"))
LARGE = (400, 512, 512), (1.25, 0.78, 0.78)  # voxels (z, y, x) and their sides in mm
PUBLISHED_TOP_1 = 0.944
_DETECT = """
import json, resource, sys, time
begun = time.perf_counter()
from pathlib import Path
status = Path("/proc/self/status")  # its peak does not count what the parent process held
from LandmarkPretrainLib.detect_command import Options, run
from ReadingRoomLib.commands import run_job
folder, seconds = Path(sys.argv[1]), []
for number in range(3):
    started = time.perf_counter()
    with run_job(module="LandmarkPretrain", command="detect", progress="none",
                 output=folder / str(number)) as job:
        run(job, Options(folder / "ct.nrrd"), lambda text: None)
    seconds.append(time.perf_counter() - (started if number else begun))
peak = (int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps({"cold": seconds[0], "warm": min(seconds[1:]), "peak_mb": peak / 1024,
                  "stages": json.loads((folder / "2" / "result.json").read_text())["timings"]}))
"""


def of_extraction() -> dict:
    """2.5D patches a second, turned and scaled at random, against plain SciPy and MONAI."""
    image = prepared(simulate_trunk((7, 0)).image, "CT", PATCH_MM / PIXELS)
    random = np.random.default_rng(0)
    low, size = np.array(image.GetOrigin()), np.array(image.GetSize()) * image.GetSpacing()[0]
    points = low + size * random.uniform(0.25, 0.75, (PATCHES, 3))
    matrices = turns(PATCHES, Augmentation(), random)
    extractor = PatchExtractor(image)
    ways: dict[str, tuple[Callable[[int], np.ndarray], int]] = {
        "ours": (lambda count: extractor.planes(points[:count], PATCH_MM, PIXELS,
                                                matrices[:count]).numpy(), PATCHES),
        "scipy": (lambda count: _with_scipy(image, points[:count], matrices[:count]), 400),
        "monai": (lambda count: _with_monai(image, points[:count], matrices[:count]), 200),
    }
    expected = ways["scipy"][0](20)
    found: dict = {"patches": PATCHES, "pixels": PIXELS, "threads": torch.get_num_threads()}
    found["largest_difference_from_scipy"] = float(np.abs(ways["ours"][0](20) - expected).max())
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turn, because the clock of a shared machine drifts
        for name, (way, count) in ways.items():
            begun = time.perf_counter()
            way(count)
            rates[name].append(count / (time.perf_counter() - begun))
    found["patches_a_second"] = {name: round(float(np.median(rate)))
                                 for name, rate in rates.items()}
    for peer in ("scipy", "monai"):
        ratios = np.array(rates["ours"]) / rates[peer]
        found[f"times_as_fast_as_{peer}"] = [round(float(value), 1) for value in (
            ratios.min(), np.median(ratios), ratios.max())]
    found["extractor_mb"] = round(extractor.voxels * 4 / 2**20)
    found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def _shifts() -> np.ndarray:
    """Shifts (3, pixels, pixels, 3) in mm of the planes' pixels from their middle."""
    line = (np.arange(PIXELS) - (PIXELS - 1) / 2) * PATCH_MM / PIXELS
    down, along = np.meshgrid(line, line, indexing="ij")
    none = np.zeros_like(down)
    return np.stack([np.stack(axes, -1) for axes in
                     ((along, down, none), (along, none, -down), (none, along, -down))])


def _with_scipy(image: sitk.Image, points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """One patch after the other, each by one call of map_coordinates."""
    array = sitk.GetArrayViewFromImage(image)
    origin, step, shifts = np.array(image.GetOrigin()), image.GetSpacing()[0], _shifts()
    lowest = float(array.min())
    found = np.empty((len(points), 3, PIXELS, PIXELS), np.float32)
    for number, (point, matrix) in enumerate(zip(points, matrices, strict=True)):
        index = (shifts @ matrix.T + point - origin) / step
        found[number] = map_coordinates(array, index[..., ::-1].reshape(-1, 3).T, order=1,
                                        mode="constant", cval=lowest).reshape(found[number].shape)
    return found


def _with_monai(image: sitk.Image, points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """One patch after the other: its cube cropped, turned by Affine, three planes taken."""
    from monai.transforms import Affine, SpatialCrop

    array = torch.from_numpy(sitk.GetArrayFromImage(image))[None]
    origin, step = np.array(image.GetOrigin()), image.GetSpacing()[0]
    found = np.empty((len(points), 3, PIXELS, PIXELS), np.float32)
    wide, middle = 2 * PIXELS, PIXELS // 2
    for number, (point, matrix) in enumerate(zip(points, matrices, strict=True)):
        centre = np.round((point - origin) / step)[::-1].astype(int)
        cube = SpatialCrop(roi_center=centre.tolist(), roi_size=[wide] * 3)(array)
        affine = np.eye(4)
        affine[:3, :3] = matrix[::-1, ::-1]
        turned = Affine(affine=torch.from_numpy(affine.copy()), spatial_size=[PIXELS] * 3,
                        padding_mode="border", image_only=True)(cube)[0].numpy()
        found[number] = turned[middle], turned[::-1, middle], turned[::-1, :, middle]
    return found


def of_finding() -> dict:
    """Seconds and memory of ``detect`` on a CT of 512 x 512 x 400 voxels, with what it missed."""
    with tempfile.TemporaryDirectory() as folder:
        shape, spacing = LARGE
        trunk = simulate_trunk((7, 1), TrunkSettings(spacing=spacing, shape=shape))
        sitk.WriteImage(trunk.image, str(Path(folder) / "ct.nrrd"))
        done = subprocess.run([sys.executable, "-c", _DETECT, folder], capture_output=True,
                              text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        landmarks = read_landmarks(Path(folder) / "2" / "landmarks.mrk.json")
        errors = [float(np.linalg.norm(point - trunk.landmarks[name])) for name, point in zip(
            landmarks.names, landmarks.points, strict=True) if name in trunk.landmarks]
    return {"voxels": shape[::-1], "landmarks_found": len(errors),
            "mean_radial_error_mm": round(float(np.mean(errors)), 2),
            **{name: round(value, 2) if isinstance(value, float) else value
               for name, value in found.items()}}


def of_skulls(data: Path, output: Path) -> dict:
    """Real landmarks: ten micro-CTs of mice, five folds by specimen, both recipes.

    The specimens lie turned against each other by up to 158 degrees, so any pose is taught.
    """
    entries = [{"image": str(path.resolve()), "patient": path.name.split(".")[0],
                "landmarks": str(path.resolve()).replace(".nii.gz", ".mrk.json")}
               for path in sorted((data / SKULLS).glob("*.nii.gz"))]
    each = len(entries) // FOLDS
    found: dict = {"specimens": len(entries), "split": f"{FOLDS} folds by specimen"}
    for recipe in SKULL_STEPS:
        parts = []
        for fold in range(FOLDS):
            test = entries[fold * each:(fold + 1) * each]
            rest = [entry for entry in entries if entry not in test]
            seen = [rest[(fold * each + number) % len(rest)] for number in range(each)]
            listed = output / f"skulls-{fold}.json"
            listed.write_text(json.dumps({
                "training": [entry for entry in rest if entry not in seen], "validation": seen,
                "test": test}), "utf-8")
            parts.append(_pretrained(output / f"skulls-{recipe}-{fold}", pretrain_command.Options(
                listed, output / f"skulls-{recipe}-{fold}-work", recipe, steps=SKULL_STEPS[recipe],
                patch_mm=SKULL_PATCH_MM, rotation=180,
                modality="other", within_mm=SKULL_WITHIN_MM)))
        # folds have as many specimens each; an interval comes from the ten of them
        found[recipe] = {name: bootstrap_interval(
            [np.nan if value is None else value for part in parts
             for value in part["by_patient"][name]]).in_full()
            for name in parts[0]["by_patient"]}
    return found


def of_trunks(output: Path) -> dict:
    """Simulated trunk CT that the starters were not trained on: 60 + 1 classes, by patient.

    The modern one knows more landmarks than 60; for the comparison it is asked for these and none.
    """
    cohort = output / "trunks"
    if not cohort.exists():
        with run_job(module=MODULE, command="simulate", output=cohort) as job:
            simulate_command.run(job, simulate_command.Options(
                "trunk", MEASURED, first=TRAINED + CALIBRATED), print)
    many = PUBLISHED_COUNTS[1]
    found: dict = {"patients": MEASURED, "classes": many + 1,
                   "published_top_1_on_real_ct": PUBLISHED_TOP_1}
    for name in ("starter-seed", "starter"):
        model = model_of(load_model(name))
        cases = read_cases(cohort / simulate_command.DATALIST, "CT").parts["training"]
        prepared = prepare_cases(cases, model.names, model.recipe.fine_mm, output / "trunks-work")
        answers = patch_answers(model, prepared, 0, "cpu")
        found[name] = _shares(answers)
        if len(model.names) > many:
            asked = answers.truth <= many
            found[f"{name}, asked for {many}"] = _shares(replace(
                answers, truth=answers.truth[asked], logits=answers.logits[asked, :many + 1],
                cases=answers.cases[asked], points=answers.points[asked]))
    return found


def _shares(answers: PatchAnswers) -> dict[str, str]:
    return {name: bootstrap_interval(values).in_full()
            for name, values in shares_by_patient(answers).items()}


def of_transfer(output: Path) -> dict:
    """Simulated MRA: aneurysms after landmarks, photographs, or nothing."""
    cohort = output / "arteries"
    if not cohort.exists():
        with run_job(module=MODULE, command="simulate", output=cohort) as job:
            simulate_command.run(job, simulate_command.Options("mra", ARTERIES), print)
    found = {}
    for model, classifier in COMPARISONS:
        target = output / f"transfer-{model}-{classifier}"
        begun = time.perf_counter()
        with run_job(module=MODULE, command="transfer", output=target, overwrite=True) as job:
            transfer_command.run(job, transfer_command.Options(
                cohort / simulate_command.DATALIST, output / "transfer-work", model=model,
                classifier=classifier,
                # all weights of each draw would take hours
                draws=0 if classifier == "finetune" else DRAWS), print)
        result = json.loads((target / "result.json").read_text("utf-8"))
        found[f"{model}, {classifier}"] = {name: result.get(name) for name in (
            "finding", "data", "areas", "comparisons", "efficiency")} | {
                "seconds": round(time.perf_counter() - begun)}
    return found


def _pretrained(output: Path, options: pretrain_command.Options) -> dict:
    """Do a training, or take one that was done; returns what ``result.json`` says."""
    if not (output / "result.json").exists():
        with run_job(module=MODULE, command="pretrain", output=output) as job:
            pretrain_command.run(job, options, print)
    return json.loads((output / "result.json").read_text("utf-8"))

