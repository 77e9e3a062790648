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

from MuscleSegLib import evaluate_command, simulate_command
from MuscleSegLib.comparison import Evaluated, compare
from MuscleSegLib.evaluation import CASES, SCORES, measured, read_scores, read_times
from ReadingRoomLib.commands import run_job

PATIENTS, SEED, SAMPLES = 20, 0, 10
NO_DOUBT = {"samples": 1}  # labels alone, which is all that atlases give
ANATOMIES = "pelvic_muscle_labels"
COMPARED = (("modern, one sample", "multi-atlas"), ("modern, one sample", "seed, one sample"),
            ("modern", "multi-atlas"), ("modern, one sample", "multi-atlas, all atlases"),
            ("modern", "seed"), ("modern, one sample, held-out", "multi-atlas, held-out"))
SPACING = (3.0, 1.0, 1.0)  # pixels as of a clinical CT, and as the published network knows them
NOTE = ("Simulated patients, made by deformation of the label maps of three people. The starter "
        "models learned from these three maps, and the atlases of a patient are of the same three "
        "people: see the arms held-out for models and atlases of other people than the patient.")


@dataclass(frozen=True)
class Arm:
    """A method to measure.

    Attributes:
        options: of :class:`MuscleSegLib.evaluate_command.Options`, for an entry of the list; None
            where the method cannot be measured on it.
        slow: whether it is measured on few patients.
    """

    options: Callable[[dict], dict[str, Any] | None]
    slow: bool = False


def side_by_side(output: Path, data: Path, folds: Path | None, patients: int, slow: int) -> dict:
    """Dice, distance, time of each arm, and the modern recipe against each of the others.

    Args:
        output: the results are kept in ``muscles`` in this folder.
        data: folder of the label maps.
        folds: models that were trained without one of the people: 001, 002, 005.
        patients: of the cohort of 20.
        slow: how many of them the slow methods are measured on, too: ten samples, all atlases.
    """
    folder, cohort = output / "muscles", cohort_of(output, data)
    entries = json.loads((cohort / simulate_command.DATALIST).read_text("utf-8"))["training"]
    arms = arms_of(folder, cohort, entries, folds)
    found = {name: Evaluated(name, [], []) for name in arms}
    for number, entry in enumerate(entries):  # all methods in turn: they share how busy it is here
        for name, arm in arms.items():
            if number < (slow if arm.slow else patients):
                one = measured_arm(folder, name, cohort, entry, arm)
                found[name].scores.extend(one.scores)
                found[name].times.extend(one.times)
    result = {"dataset": NOTE, "arms": {
        name: _summary(one) for name, one in found.items() if one.scores}}
    for name, other in COMPARED:
        if name in result["arms"] and other in result["arms"]:
            compared = compare(found[name], found[other])
            compared["better_in_every_group"] = all(
                row["asd_ratio"]["value"] < 1 and row["dice_difference"]["value"] > 0
                for row in compared["groups"].values())
            result[f"{name} against {other}"] = compared
    return result


def arms_of(folder: Path, cohort: Path, entries: list[dict], folds: Path | None
            ) -> dict[str, Arm]:
    """What is measured, by name."""
    def held_out_model(entry: dict) -> dict[str, Any] | None:
        model = folds / entry["made_from"][-3:] if folds else None
        return NO_DOUBT | {"model": str(model)} if model and model.is_dir() else None

    def held_out_atlases(entry: dict) -> dict[str, Any]:
        others = [other for other in entries if other["made_from"] != entry["made_from"]]
        return {"method": "multi-atlas",
                "atlases": _list(folder / "lists" / f"without-{entry['made_from']}.json", cohort,
                                 others)}

    listed = cohort / simulate_command.DATALIST
    by_atlases = {"method": "multi-atlas", "atlases": listed}
    return {
        "modern, one sample": Arm(lambda entry: NO_DOUBT),
        "multi-atlas": Arm(lambda entry: by_atlases),
        "seed, one sample": Arm(lambda entry: NO_DOUBT | {"model": "starter-seed"}),
        "modern, one sample, held-out": Arm(held_out_model),
        "modern": Arm(lambda entry: {"model": "starter"}, slow=True),
        "seed": Arm(lambda entry: {"model": "starter-seed"}, slow=True),
        "multi-atlas, all atlases": Arm(
            lambda entry: by_atlases | {"most_atlases": len(entries)}, slow=True),
        "multi-atlas, held-out": Arm(held_out_atlases, slow=True),
    }


def cohort_of(output: Path, data: Path) -> Path:
    """The simulated patients, made when they are not there yet."""
    folder = output / "muscles" / "cohort"
    if not folder.exists():
        with run_job(module="MuscleSeg", command="simulate", output=folder, progress="none",
                     seed=SEED) as job:
            simulate_command.run(
                job, simulate_command.Options(data / ANATOMIES, PATIENTS, SPACING), print)
    return folder


def measured_arm(folder: Path, name: str, cohort: Path, entry: dict, arm: Arm) -> Evaluated:
    """The arm's scores of a patient, measured now unless they are there already."""
    options = arm.options(entry)
    if options is None:
        return Evaluated(name, [], [])
    patient = entry["patient"].split()[-1]
    result = folder / re.sub(r"\W+", "-", name) / patient
    if not result.exists():
        listed = _list(folder / "lists" / f"{result.parent.name}-{patient}.json", cohort, [entry])
        with run_job(module="MuscleSeg", command="evaluate", output=result, progress="none",
                     device="cpu", seed=SEED) as job:
            evaluate_command.run(job, evaluate_command.Options(
                listed, **{"samples": SAMPLES, **options}), lambda line: None)
    return Evaluated(name, read_scores(result / SCORES), read_times(result / CASES))


def _list(path: Path, cohort: Path, entries: list[dict]) -> Path:
    """A list of some patients of the cohort."""
    path.parent.mkdir(parents=True, exist_ok=True)
    absolute = [entry | {key: str((cohort / entry[key]).absolute())
                         for key in ("image", "segmentation")} for entry in entries]
    path.write_text(json.dumps({"simulated": True, "training": absolute}), "utf-8")
    return path


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
