# SPDX-License-Identifier: Apache-2.0
"""How well a model segments CTs whose segmentation is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair, content_of, measured_part, read_pairs
from ReadingRoomLib.images import read_image
from ReadingRoomLib.metrics import score_labels

from . import heat_map
from .evaluation import (
    PUBLISHED,
    StructureScore,
    mean_uncertainties,
    measured,
    sentences,
    write_scores,
)
from .named_labels import reference_on
from .segmentation import load_model, on_input_grid, predict, upright
from .structures import LEFT_OFFSET, STRUCTURES

KEY = "segmentation"
SCORES, PICTURE = "scores.csv", "heat_map.png"
STEPS = 100  # of the progress, for each case
SIMULATED = "These CTs are simulated: what is measured on them says nothing about real patients."


@dataclass(frozen=True)
class Options:
    """What is to be measured.

    Attributes:
        data: list of CTs with their segmentations, see :mod:`ReadingRoomLib.datalists`; the key of
            the second file is ``segmentation``.
        model: name of a model, or folder of one.
        recipe: what the model must have been trained as, or None.
        samples: Monte Carlo samples.
        part: of the list; empty: the test part where there is one, otherwise all.
        tolerance_mm: distance up to which surfaces count as the same, for the NSD.
    """

    data: Path
    model: str = "starter"
    recipe: str | None = None
    samples: int = 10
    part: str = ""
    tolerance_mm: float = 1.0


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Segment the CTs of a list, compare, and write table and picture into the job's folder.

    Args:
        job: gets ``scores.csv``, ``heat_map.png`` and what was measured.
        options: what is to be measured.
        say: shows a person a line.

    Raises:
        BadInput: the list, a CT or a segmentation cannot be used.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("list", 1, "Reading the list")
    cases = measured_part(read_pairs(options.data, KEY), options.part)
    simulated = content_of(options.data.absolute()).get("simulated") is True
    if simulated:
        job.warn(SIMULATED)
    bundle = load_model(options.model, options.recipe)
    job.progress.stage("cases", STEPS * len(cases), "Segmenting and comparing")
    scores: list[StructureScore] = []
    seconds = []
    for number, case in enumerate(cases):
        def advance(share: float, number: int = number) -> None:
            job.progress.advance(round(STEPS * (number + share)))

        found, took = _scored(job, bundle, case, options, advance)
        scores += found
        seconds.append(took)
        advance(1.0)
    job.progress.stage("write", 1, "Writing the result")
    write_scores(job.folder / SCORES, scores)
    files = {"scores": SCORES}
    if _draw(job, scores):
        files["heat_map"] = PICTURE
    result = measured(scores)
    job.record(model=bundle.described(), files=files, cases=len(cases), simulated=simulated,
               tolerance_mm=options.tolerance_mm, seconds_per_case=round(np.mean(seconds), 2),
               published=PUBLISHED, **result)
    for line in sentences(result):
        say(line)


def _scored(job: Job, bundle: Bundle, case: Pair, options: Options,
            advance: Callable[[float], None]) -> tuple[list[StructureScore], float]:
    """The scores of a case, and how many seconds its segmentation took."""
    def warn(sentence: str) -> None:
        job.warn(f"{case.image.name}: {sentence}")

    source = read_image(case.image, "CT")
    for sentence in source.warnings:
        warn(sentence)
    labels, named = reference_on(source, case.companion, warn)
    reference = sitk.GetArrayFromImage(labels)
    reference[reference > LEFT_OFFSET] -= LEFT_OFFSET  # as published: sides together
    begun = time.perf_counter()
    volume, order = upright(source)
    prediction = predict(job, bundle, volume, options.samples,
                         lambda done, total: advance(0.8 * done / max(total, 1)))
    took = time.perf_counter() - begun
    doubt = mean_uncertainties(prediction)
    ours = on_input_grid(prediction.labels, source, order, "nearest")
    spacing = ours.GetSpacing()[::-1]
    values = [structure.value for structure in STRUCTURES if structure.value in named]
    predicted = sitk.GetArrayViewFromImage(ours)
    scores = score_labels(predicted, reference, values, spacing, options.tolerance_mm)
    counts = [np.bincount(array.ravel(), minlength=len(STRUCTURES) + 1)
              for array in (predicted, reference)]
    voxel_ml = float(np.prod(spacing)) / 1000
    return [StructureScore.of(case.patient, case.image.name, value, score,
                              counts[0][value] * voxel_ml, counts[1][value] * voxel_ml,
                              doubt[value]) for value, score in scores.items()], took


def _draw(job: Job, scores: list[StructureScore]) -> bool:
    try:
        heat_map.check_drawing()
    except ModuleNotFoundError as error:
        job.warn(f"There is no heat map: the Python package {error.name} is not installed.")
        return False
    heat_map.draw_heat_map(scores, job.folder / PICTURE)
    return True
