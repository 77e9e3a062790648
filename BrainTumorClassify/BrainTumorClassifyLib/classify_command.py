# SPDX-License-Identifier: Apache-2.0
"""The main job: three sequences and a region in, a result folder out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.devices import MemoryFallback

from .answer_page import ANSWER, PSEUDO_RGB, write_page
from .classification import Classification
from .engines import (
    check_missing,
    classifier_of,
    doubts_of_skull,
    load_model,
    may_be_missing,
)
from .evaluation import MOST_SLICES
from .pseudo_rgb import pseudo_rgb
from .regions import (
    Region,
    check_region,
    few_slices,
    markups_of,
    proposed_region,
    read_region,
)
from .saliency import saliency_volume
from .sequences import SEQUENCES
from .study import Study, read_study
from .training_slices import PIXELS, extent_mm

SALIENCY, REGION = "saliency.nrrd", "region.mrk.json"
IMAGE = "{}.nrrd"  # of a sequence, on the grid of all
STAGES = ("read", "region", "classify", "write")


@dataclass(frozen=True)
class Options:
    """What to classify, and how.

    Attributes:
        images: by sequence, file or DICOM folder; or the folder of a whole study.
        roi: file with a box, a mask, or None to look for the tumour.
        model: name in the registry or folder of a bundle.
        error: share of patients of each kind whose set of kinds may lack the true one.
        bias_field: whether to take the bias field out (N4).
        brain_only: whether to take skull and scalp away.
    """

    images: Mapping[str, Path] | Path
    roi: Path | None
    model: str
    error: float
    bias_field: bool = False
    brain_only: bool = False


def run(job: Job, options: Options) -> None:
    """Classify a tumour and write everything into the job's folder.

    Raises:
        BadInput: the images or the region cannot be used.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    begun = time.perf_counter()
    seconds: dict[str, float] = {}

    def stage(number: int, sentence: str) -> None:
        nonlocal begun
        if number:
            seconds[STAGES[number - 1]] = round(time.perf_counter() - begun, 3)
            begun = time.perf_counter()
            job.progress.advance(number)
        if number < len(STAGES):
            job.progress.stage(STAGES[number], len(STAGES), sentence)

    stage(0, "Reading and aligning the sequences")
    bundle = load_model(options.model)
    job.record(model=bundle.described())
    study = read_study(options.images, may_be_missing(bundle), options.bias_field, job.seed,
                       options.brain_only)
    study.warnings.extend(doubts_of_skull(bundle, options.brain_only))
    check_missing(bundle, study.missing)
    job.record(inputs=[{"name": study.names[name], "sequence": name, "sha256": study.sha256[name]}
                       for name in study.images])
    stage(1, "Looking at the region")
    region, doubts = _region(study, options.roi, job)
    stage(2, "Classifying")
    looked_at = few_slices(study.reference, region, MOST_SLICES)
    found, slices = _classified(job, bundle, options.error, study, looked_at, doubts)
    stage(3, "Writing the answer")
    _write(job, study, region, looked_at, found, slices, bundle)
    stage(4, "")
    job.record(timings=seconds, **found.written())


def _region(study: Study, roi: Path | None, job: Job) -> tuple[Region, list[str]]:
    """Where to look, and what makes that doubtful."""
    if roi:
        region = read_region(study, roi)
    else:
        region, reason = proposed_region(study)
        job.warn(f"The region was proposed and not drawn: {reason} Look whether it is the "
                 "tumour.")
    doubts = [*study.warnings, *check_region(study, region)]
    for doubt in doubts:
        job.warn(doubt)
    return region, doubts


def _classified(job: Job, bundle: Bundle, error: float, study: Study, region: Region,
                doubts: list[str]) -> tuple[Classification, np.ndarray]:
    """The answer, and the slices that it rests on, evenly over the region."""
    slices = pseudo_rgb(study, region, PIXELS)
    present = [name in study.images for name in SEQUENCES]

    def compute(_: int, device: str) -> Classification:
        return classifier_of(bundle, device, error)(
            slices, present, region.side_mm, extent_mm(study, region), doubts)

    fallback = MemoryFallback(1, job.device, job.warn)
    found = fallback.run(compute)
    job.device = fallback.device
    return found, slices


def _write(job: Job, study: Study, region: Region, looked_at: Region, found: Classification,
           slices: np.ndarray, bundle: Bundle) -> None:
    volume = saliency_volume(study.reference, looked_at, found.saliency)
    sitk.WriteImage(volume, str(job.folder / SALIENCY), True)
    files = {"saliency": SALIENCY, "answer": ANSWER, "pseudo_rgb": PSEUDO_RGB, "region": REGION}
    (job.folder / REGION).write_text(
        json.dumps(markups_of(study.reference, region), indent=1) + "\n", "utf-8")
    for name, image in study.images.items():
        files[name] = IMAGE.format(name)
        sitk.WriteImage(image, str(job.folder / files[name]), True)
    write_page(job.folder, study, looked_at, found, slices, bundle.metadata["simulated"])
    job.record(files=files, region=region.written(), missing=list(study.missing),
               displacements_mm={name: round(value, 1)
                                 for name, value in study.displacements_mm.items()})
