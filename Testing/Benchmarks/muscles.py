# SPDX-License-Identifier: Apache-2.0
"""The recipes and the multi-atlas baseline side by side, on a cohort of simulated patients.

What is done stays in the folder of the results, patient by patient: a run that was cut off goes on,
and a run with more patients adds to what is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MuscleSegLib import evaluate_command, simulate_command
from MuscleSegLib.comparison import Evaluated, compare
from MuscleSegLib.evaluation import CASES, SCORES, measured, read_scores, read_times
from ReadingRoomLib.commands import run_job

PATIENTS, SEED, SAMPLES = 20, 0, 10
NO_DOUBT = {"samples": 1}  # labels alone, which is all that atlases give
ANATOMIES = "pelvic_muscle_labels"
SEED_PIXEL_MM = 1.0  # the published network knows no pixels as large as the cohort's
NOTE = ("Simulated patients, made by deformation of the label maps of three people. The starter "
        "models learned from these three maps, and the atlases of a patient are of the same three "
        "people: see the arms held-out for models and atlases of other people than the patient.")


@dataclass(frozen=True)
class Arm:
    """A method to measure.

    Attributes:
        options: of :class:`MuscleSegLib.evaluate_command.Options`, for an entry of the list.
        fine: the CT is interpolated to pixels of SEED_PIXEL_MM, and its reference, too.
    """

    options: Callable[[dict], dict[str, Any] | None]
    fine: bool = False


def side_by_side(output: Path, data: Path, folds: Path | None, patients: int, slow: int,
                 seed_patients: int) -> dict:
    """Dice, distance, time of each arm, and the modern recipe against each of the others.

    Args:
        output: the results are kept in ``muscles`` in this folder.
        data: folder of the label maps.
        folds: models that were trained without one of the people: 001, 002.
        patients: of the cohort of 20 that the modern recipe is measured on with one sample.
        slow: how many of them the multi-atlas arms and ten samples are measured on.
        seed_patients: how many of them the published network is measured on.
    """
    folder = output / "muscles"
    cohort = _cohort(folder / "cohort", data / ANATOMIES)
    entries = json.loads((cohort / simulate_command.DATALIST).read_text("utf-8"))["training"]

    def held_out_model(entry: dict) -> dict[str, Any] | None:
        model = folds / entry["made_from"][-3:] if folds else None
        return NO_DOUBT | {"model": str(model)} if model and model.is_dir() else None

    def held_out_atlases(entry: dict) -> dict[str, Any]:
        others = [other for other in entries if other["made_from"] != entry["made_from"]]
        return {"method": "multi-atlas",
                "atlases": _list(folder / "lists" / f"without-{entry['made_from']}.json", cohort,
                                 others)}

    arms = {
        "modern, one sample": (Arm(lambda entry: NO_DOUBT), patients),
        "multi-atlas": (Arm(lambda entry: {
            "method": "multi-atlas", "atlases": cohort / simulate_command.DATALIST}), slow),
        "seed, one sample": (Arm(lambda entry: NO_DOUBT | {"model": "starter-seed"}, fine=True),
                             seed_patients),
        "modern": (Arm(lambda entry: {"model": "starter"}), slow),
        "modern, one sample, held-out": (Arm(held_out_model), patients),
        "multi-atlas, held-out": (Arm(held_out_atlases), slow),
    }
    found = {name: _measured(folder, name, cohort, entries[:count], arm)
             for name, (arm, count) in arms.items()}
    result = {"dataset": NOTE, "arms": {
        name: _summary(one) for name, one in found.items() if one.scores}}
    for name, other in (("modern", "multi-atlas"), ("modern, one sample", "multi-atlas"),
                        ("modern, one sample", "seed, one sample"),
                        ("modern, one sample, held-out", "multi-atlas, held-out")):
        if name in result["arms"] and other in result["arms"]:
            compared = compare(found[name], found[other])
            compared["better_in_every_group"] = all(
                row["asd_ratio"]["value"] < 1 and row["dice_difference"]["value"] > 0
                for row in compared["groups"].values())
            result[f"{name} against {other}"] = compared
    return result


def _cohort(folder: Path, anatomies: Path) -> Path:
    if not folder.exists():
        with run_job(module="MuscleSeg", command="simulate", output=folder, progress="none",
                     seed=SEED) as job:
            simulate_command.run(job, simulate_command.Options(anatomies, PATIENTS), print)
    return folder


def _measured(folder: Path, name: str, cohort: Path, entries: list[dict], arm: Arm) -> Evaluated:
    """The arm's scores of each patient, measured now where they are not there yet."""
    scores, times = [], []
    for entry in entries:
        options = arm.options(entry)
        if options is None:
            continue
        patient = entry["patient"].split()[-1]
        result = folder / re.sub(r"\W+", "-", name) / patient
        if not result.exists():
            own = _interpolated(folder / "fine" / patient, cohort, entry) if arm.fine else entry
            listed = _list(folder / "lists" / f"{result.parent.name}-{patient}.json", cohort, [own])
            with run_job(module="MuscleSeg", command="evaluate", output=result, progress="none",
                         device="cpu", seed=SEED) as job:
                evaluate_command.run(job, evaluate_command.Options(
                    listed, **{"samples": SAMPLES, **options}), lambda line: None)
        scores += read_scores(result / SCORES)
        times += read_times(result / CASES)
    return Evaluated(name, scores, times)


def _list(path: Path, cohort: Path, entries: list[dict]) -> Path:
    """A list of some patients of the cohort."""
    path.parent.mkdir(parents=True, exist_ok=True)
    absolute = [entry | {key: str((cohort / entry[key]).absolute())
                         for key in ("image", "segmentation")} for entry in entries]
    path.write_text(json.dumps({"simulated": True, "training": absolute}), "utf-8")
    return path


def _interpolated(folder: Path, cohort: Path, entry: dict) -> dict:
    """The entry with smaller pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    fine = {}
    for key, interpolator, fill in (("image", sitk.sitkLinear, -1024),
                                    ("segmentation", sitk.sitkNearestNeighbor, 0)):
        image = sitk.ReadImage(str(cohort / entry[key]))
        x, y, z = image.GetSpacing()
        size = [round(image.GetWidth() * x / SEED_PIXEL_MM),
                round(image.GetHeight() * y / SEED_PIXEL_MM), image.GetDepth()]
        made = sitk.Resample(image, size, sitk.Transform(), interpolator, image.GetOrigin(),
                             (SEED_PIXEL_MM, SEED_PIXEL_MM, z), image.GetDirection(), fill)
        for name in image.GetMetaDataKeys():  # the names of the segments
            made.SetMetaData(name, image.GetMetaData(name))
        fine[key] = str((folder / Path(entry[key]).name).absolute())
        sitk.WriteImage(made, fine[key], useCompression=True)
    return entry | fine


def _summary(found: Evaluated) -> dict:
    result = measured(found.scores)
    seconds, processor = zip(*((t.seconds, t.cpu_seconds) for t in found.times), strict=True)
    return {"patients": result["patients"], "measured": result["measured"],
            "muscles_within_1_mm": f"{result['muscles_within_1_mm']} of {result['muscles']}",
            "missed": result["missed"],
            "seconds_per_case": round(sum(seconds) / len(seconds), 1),
            "cpu_seconds_per_case": round(sum(processor) / len(processor), 1),
            "by_structure": {
                name: {measure: row[measure]["value"] for measure in ("dice", "asd_mm")}
                for name, row in result["by_structure"].items()}}
