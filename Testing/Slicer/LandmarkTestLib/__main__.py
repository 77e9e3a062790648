# SPDX-License-Identifier: Apache-2.0
"""A command line with the options and the results of the module's own, but no networks.

``detect`` "finds" the places that the file of LANDMARK_TEST_PLACES names (name, point LPS mm,
confidence); a given landmark of the same name is compared with them. The others write what the
panel reads of their results, from the options that they were given.
"""

import csv
import json
import os
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from LandmarkPretrainLib.landmark_files import Landmarks, read_landmarks, write_markups
from LandmarkPretrainLib.landmarks_command import Options
from LandmarkPretrainLib.landmarks_command import run as derive
from ReadingRoomLib.commands import (
    DeviceOption,
    OutputOption,
    ProgressOption,
    SeedOption,
    make_app,
    run_job,
)
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image

app = make_app("landmarktest", "Results as of LandmarkPretrainLib.", preload=())
SURE = 0.5


def started(command: str, output: Path, progress: str, seed: int, **parameters):
    return run_job(module="LandmarkPretrain", command=command, output=output, progress=progress,
                   device="cpu", seed=seed, overwrite=False, parameters=parameters)


@app.command()
def landmarks(segmentation: Path, output: OutputOption, table: Path | None = None,
              progress: ProgressOption = "bar") -> None:
    with started("landmarks", output, progress, 0) as job:
        derive(job, Options(segmentation, table), typer.echo)


@app.command()
def detect(volume: Path, output: OutputOption, model: str = "starter", truth: Path | None = None,
           device: DeviceOption = "auto", progress: ProgressOption = "bar",
           seed: SeedOption = 0) -> None:
    with started("detect", output, progress, seed, model=model) as job:
        image = read_image(volume, "other").image
        job.progress.stage("detect", 2, "Looking for the landmarks")
        places = json.loads(Path(os.environ["LANDMARK_TEST_PLACES"]).read_text("utf-8"))
        if places == "slow":
            time.sleep(60)
        if not places:
            raise BadInput("image.nrrd shows none of the landmarks that the model knows.")
        given = {} if truth is None else dict(zip(
            *(lambda found: (found.names, found.points))(read_landmarks(truth)), strict=True))
        names, points, confidence = zip(*places, strict=True)
        write_markups(job.folder / "landmarks.mrk.json",
                      Landmarks(names, np.array(points), np.array(confidence)))
        rows = [{"name": name, "position_lps_mm": list(point), "confidence": sure,
                 "sure": sure >= SURE} for name, point, sure in places]
        for row in rows:
            if row["name"] in given:
                row["error_mm"] = float(np.linalg.norm(
                    given[row["name"]] - np.array(row["position_lps_mm"])))
        job.warn("1 of 3 landmarks are not sure: check them.")
        job.warn("The image is coarse.")
        trained_on = {"starter": "simulated toys, bent at random"}.get(model, "CT of a list")
        job.record(model={"name": model, "simulated": model == "starter",
                          "trained_on": trained_on}, landmarks=rows, right_mm=10.0,
                   not_found={"carina": "outside the image"}, size=image.GetSize(),
                   files={"landmarks": "landmarks.mrk.json"})


@app.command()
def pretrain(data: Annotated[Path, typer.Option()], output: OutputOption,
             work: Annotated[Path, typer.Option()], recipe: str = "modern", start: str = "random",
             steps: int = 0, landmarks: int = 0, patch_mm: float = 0, depth: int = 3,
             modality: str = "CT", name: str = "", device: DeviceOption = "auto",
             progress: ProgressOption = "bar", seed: SeedOption = 0) -> None:
    given = dict(data=str(data), recipe=recipe, start=start, steps=steps, landmarks=landmarks,
                 patch_mm=patch_mm, depth=depth, modality=modality)
    with started("pretrain", output, progress, seed, **given) as job:
        training = work / "training" / "fine"
        training.mkdir(parents=True, exist_ok=True)
        (training / "history.jsonl").write_text("".join(
            json.dumps({"step": step, "loss": 1 / step, "accuracy": 0.5}) + "\n"
            for step in (1, 2, 3)))
        for file in ("confusion.png", "gallery.png", "fine-curves.png"):
            picture(job.folder / file)
        job.record(files={"confusion": "confusion.png", "gallery": "gallery.png",
                          "curves fine": "fine-curves.png"},
                   model={"name": name, "simulated": False}, kept_as=name or None,
                   measured={"top_1": "0.94 (0.90 to 0.97)", "mre_mm": "3.1 (2.0 to 4.0)"})


@app.command()
def search(data: Annotated[Path, typer.Option()], output: OutputOption,
           work: Annotated[Path, typer.Option()], trials: int = 20, steps: int = 300,
           landmarks: int = 0, modality: str = "CT", device: DeviceOption = "auto",
           progress: ProgressOption = "bar", seed: SeedOption = 0) -> None:
    with started("search", output, progress, seed, trials=trials, steps=steps) as job:
        table(job.folder / "trials.csv", ["trial", "patch_mm", "state"],
              [[number, 20.5 + number, "complete"] for number in range(trials)])
        picture(job.folder / "search.png")
        job.record(files={"trials": "trials.csv", "plot": "search.png"},
                   best={"patch_mm": 48.25, "depth": 3, "top_1": 0.87654})


@app.command()
def transfer(lesions: Annotated[Path, typer.Option()], output: OutputOption,
             work: Annotated[Path, typer.Option()],
             arms: Annotated[list[str] | None, typer.Option()] = None, model: str = "starter",
             cifar: Path | None = None, region: str = "vessels", classifier: str = "adaboost",
             patch_mm: float = 0, device: DeviceOption = "auto",
             progress: ProgressOption = "bar", seed: SeedOption = 0) -> None:
    given = dict(arms=arms, model=model, cifar=str(cifar), region=region, classifier=classifier,
                 patch_mm=patch_mm)
    with started("transfer", output, progress, seed, **given) as job:
        ends = [0.8, 0.7, 0.9, 50]
        table(job.folder / "auc_by_learners.csv",
              ["arm", "weak_learners", "auc", "low", "high", "test_patients"],
              [[arm, number, *ends] for arm in arms for number in (1, 2, 5)])
        table(job.folder / "label_efficiency.csv",
              ["arm", "training_patients", "auc", "low", "high", "draws"],
              [[arm, size, *ends] for arm in (*arms, f"{arms[0]} - x") for size in (10, 25)])
        table(job.folder / "froc.csv",
              ["arm", "false_marks_per_case", "sensitivity", "low", "high", "test_patients"],
              [[arm, rate, *ends] for arm in arms for rate in (0.5, 1, "mean")])
        table(job.folder / "comparisons.csv", ["first", "second", "difference"],
              [[arms[0], arm, 0.1] for arm in arms[1:]])
        for file in ("auc_by_learners.png", "label_efficiency.png", "froc.png", "gallery.png"):
            picture(job.folder / file)
        (job.folder / "report.html").write_text("<html>report</html>")
        job.record(finding=["the gain: 0.1 more area for landmarks."], files={
            file: file for file in sorted(path.name for path in job.folder.iterdir())})


def table(path: Path, head: list, rows: list) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def picture(path: Path) -> None:
    Image.new("RGB", (300, 200), (0, 90, 140)).save(path)


if __name__ == "__main__":
    app()
