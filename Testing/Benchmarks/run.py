# SPDX-License-Identifier: Apache-2.0
"""Measure accuracy, speed and memory: ``make bench``.

Speed is a ratio against a named peer, timed in turn with it in the same run, because the clock of
a shared machine drifts. Nothing here is a test: numbers are printed and kept in build/bench.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import accuracy
import active_learning_bench
import anomaly
import bias_correction
import contrasts
import detection
import evaluation_speed
import landmarks
import latency
import listen_load
import muscles
import registration
import same_masks
import speed
import survival
import tumours
import typer

from ReadingRoomLib.devices import import_torch
from ReadingRoomLib.errors import ModelMissing

OUTPUT = Path("build/bench")


def main(
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = "starter",
    samples: Annotated[int, typer.Option(help="Monte Carlo samples.")] = 10,
    only: Annotated[str, typer.Option(
        help="example, example-seed, held-out, seed-labels, speed, memory, registration, "
             "survival, detection, anomaly, radiomics, latency, listen, tumour, "
             "tumour-experiment, fine-tuning, patches, landmarks, skulls, trunks, transfer, "
             "evaluation, muscles, contrasts or active-learning; by default all that can be "
             "run.")] = "",
    data: Annotated[Path | None, typer.Option(
        help="Folder of the label maps and CTs, for all that is measured on them.")] = None,
    seed_model: Annotated[str, typer.Option(
        help="Name or folder of a model of the published network.")] = "starter-seed",
    folds: Annotated[Path | None, typer.Option(
        help="Folder with the bundles trained without one subject: 001, 002, 005.")] = None,
    patients: Annotated[int, typer.Option(
        min=1, help="Simulated patients of muscles and contrasts, of 20.")] = 20,
    slow_patients: Annotated[int, typer.Option(
        min=0, help="How many of them the slow methods of muscles see, too.")] = 4,
) -> None:
    """Run the measurements and print them as JSON."""
    import_torch()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    measurements = {
        "example": lambda: accuracy.example_ct(model, samples),
        "example-seed": lambda: accuracy.example_ct(seed_model, samples),
        "seed-labels": lambda: same_masks.against_published(seed_model, samples),
        "speed": lambda: speed.against_published(samples),
        "evaluation": evaluation_speed.of_one_case,
        "latency": latency.of_judging,
        "listen": listen_load.of_listening,
        "tumour": tumours.of_classifying,
        "tumour-experiment": lambda: tumours.of_the_experiment(OUTPUT, data),
        "patches": landmarks.of_extraction,
        "landmarks": landmarks.of_finding,
        "trunks": lambda: landmarks.of_trunks(OUTPUT),
        "transfer": lambda: landmarks.of_transfer(OUTPUT),
        "memory": lambda: [speed.whole_scan(slices, samples) for slices in (125, 250, 500)],
    }
    if data and folds:
        models = {folder.name: str(folder) for folder in sorted(folds.iterdir())}
        measurements["held-out"] = lambda: accuracy.held_out(data, models, samples)
    if data:
        measurements["active-learning"] = lambda: active_learning_bench.of_arms(OUTPUT, data)
        measurements["contrasts"] = lambda: contrasts.of_any_contrast(
            OUTPUT, muscles.cohort_of(OUTPUT, data), "starter-any-contrast", patients)
        measurements["muscles"] = lambda: muscles.side_by_side(
            OUTPUT, data, folds, patients, slow_patients)
        measurements["registration"] = lambda: registration.against_elastix(data)
        measurements["survival"] = lambda: survival.of_all_modes(data)
        measurements["fine-tuning"] = lambda: tumours.of_fine_tuning(data, OUTPUT)
        measurements["skulls"] = lambda: landmarks.of_skulls(data, OUTPUT)
        measurements["anomaly"] = lambda: anomaly.in_one_ct(data)
        measurements["radiomics"] = lambda: bias_correction.of_radiomics(data)
        measurements["detection"] = lambda: detection.of_all_methods(data, OUTPUT)
    for name, measure in measurements.items():
        if only and name != only:
            continue
        try:
            result = measure()
        except ModelMissing as missing:  # the others can still be measured
            typer.echo(f"{name}: not measured. {missing}", err=True)
            continue
        text = json.dumps(result, indent=2)
        (OUTPUT / f"{name}.json").write_text(text + "\n", "utf-8")
        typer.echo(f"{name}\n{text}")
    typer.echo(f"Kept in {OUTPUT}")


if __name__ == "__main__":
    typer.run(main)
