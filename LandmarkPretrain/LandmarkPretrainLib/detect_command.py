# SPDX-License-Identifier: Apache-2.0
"""The landmarks of an image as named markups, each with how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput

from . import engines
from .detection import Found, detect
from .landmark_cases import check_inside, read_volume
from .landmark_errors import WITHIN_MM, radial_errors
from .landmark_files import SURE, Landmarks, key_of, read_landmarks, write_csv, write_markups
from .preparation import prepared
from .sampling import known

MARKUPS, TABLE = "landmarks.mrk.json", "landmarks.csv"
FEW = 3  # landmarks: with fewer the image is hardly one that the model knows


@dataclass(frozen=True)
class Options:
    """What is to be searched.

    Attributes:
        volume: file, or folder of a DICOM series.
        model: name of a model, or folder of one.
        truth: file of given landmarks that the found ones are compared with; None: there is none.
    """

    volume: Path
    model: str = "starter"
    truth: Path | None = None


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Find the landmarks of a volume and write them into the job's folder.

    Args:
        job: gets ``landmarks.mrk.json`` and ``landmarks.csv``.
        options: what is to be searched.
        say: shows a person a line.

    Raises:
        BadInput: the volume or the given landmarks cannot be used, or no landmark was found.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("read", 1, "Reading the volume")
    bundle = engines.load_model(options.model)
    model = engines.model_of(bundle)
    volume = read_volume(options.volume, model.modality)
    for sentence in volume.warnings:
        job.warn(sentence)
    truth = read_landmarks(options.truth) if options.truth else None
    if truth is not None:
        check_inside(truth, volume.image, options.truth.name)
    job.progress.stage("detect", 100, "Looking for the landmarks")
    image = prepared(volume.image, model.modality, model.recipe.fine_mm)
    found = detect(image, model.names, model.detector(job.device, job.warn), model.shape,
                   model.confidence, lambda share: job.progress.advance(round(100 * share)))
    there = np.flatnonzero(known(found.points))
    if len(there) < FEW:
        raise BadInput(f"{volume.name} shows none of the landmarks that the model knows: choose an "
                       f"image of the same region, or another model ({options.model}).")
    landmarks = Landmarks(tuple(found.names[number] for number in there), found.points[there],
                          found.confidence[there])
    write_markups(job.folder / MARKUPS, landmarks)
    write_csv(job.folder / TABLE, landmarks)
    rows, errors = _rows(found, there, truth)
    unsure = sum(not row["sure"] for row in rows)
    if unsure:
        job.warn(f"{unsure} of {len(rows)} landmarks are not sure: check them.")
    job.record(
        model=bundle.described(), files={"landmarks": MARKUPS, "table": TABLE}, landmarks=rows,
        not_found=found.reasons, right_mm=model.confidence.right_mm,
        input={"name": volume.name, "sha256": volume.sha256}, **errors)
    say(f"{len(rows)} of {len(model.names)} landmarks found, {unsure} of them not sure.")
    if errors:
        say(f"Mean radial error {errors['errors']['mre_mm']:.1f} mm, n = {errors['errors']['n']}")


def _rows(found: Found, there: np.ndarray, truth: Landmarks | None) -> tuple[list[dict], dict]:
    """What ``result.json`` says of each landmark, and of all of them where they are given."""
    given = {} if truth is None else {
        key_of(name): point for name, point in zip(truth.names, truth.points, strict=True)}
    rows, errors = [], []
    for number in there:
        row = {"name": found.names[number],
               "position_lps_mm": np.round(found.points[number], 2).tolist(),
               "confidence": round(float(found.confidence[number]), 3),
               "sure": bool(found.confidence[number] >= SURE)}
        point = given.get(key_of(found.names[number]))
        if point is not None:
            error = float(radial_errors(found.points[number][None], point[None])[0])
            row["error_mm"] = round(error, 2)
            errors.append(error)
        rows.append(row)
    if truth is None:
        return rows, {}
    if not errors:
        raise BadInput("None of the given landmarks has the name of one that the model knows: "
                       "rename them, or leave them out (--truth).")
    common = {key_of(name) for name in found.names} & set(given)
    return rows, {"errors": {
        "mre_mm": float(np.mean(errors)), "median_mm": float(np.median(errors)), "n": len(errors),
        "given": len(common),
        **{f"sdr_{limit:g}_mm": float((np.array(errors) <= limit).sum() / len(common))
           for limit in WITHIN_MM}}}
