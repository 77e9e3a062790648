# SPDX-License-Identifier: Apache-2.0
"""The main job: a head CT in, a result folder out."""

from __future__ import annotations

import time
from pathlib import Path

from ReadingRoomLib.commands import Job
from ReadingRoomLib.devices import MemoryFallback
from ReadingRoomLib.images import read_image

from .contact_sheet import CONTACT_SHEET, draw
from .engines import judge_of, load_model
from .judging import Judgement

STAGES = {"locate": "Finding the brain", "slices": "Cutting slices", "judge": "Judging",
          "reasons": "Looking for reasons"}


def run(job: Job, ct: Path, model: str, recipe: str | None, most_missed: float,
        error: float, age: float | None = None) -> None:
    """Judge ``ct`` and write everything into the job's folder.

    Args:
        job: gets files, the judgement, warnings and the manifest's entries.
        ct: image file or DICOM folder.
        model: name in the registry or folder of a bundle.
        recipe: what the model must have been trained as, or None.
        most_missed: share of urgent heads that may be missed.
        error: share of heads of which the sets of tags may not hold the true one.
        age: of the patient, years, where the image does not tell it. It is not written.

    Raises:
        BadInput: the image is no CT of a head.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    begun = time.perf_counter()
    job.progress.stage("read", 2, "Reading the CT")
    source = read_image(ct, "CT")
    for warning in source.warnings:
        job.warn(warning)
    job.record(inputs=[{"name": source.name, "sha256": source.sha256}])
    read = time.perf_counter() - begun
    job.progress.advance(1)
    bundle = load_model(model, recipe)
    job.record(model=bundle.described())
    job.progress.advance(2)

    def compute(_: int, device: str) -> Judgement:
        job.progress.stage("judge", len(STAGES) + 1, "Judging")
        stages = list(STAGES)
        return judge_of(bundle, device, most_missed, error)(
            source.image, lambda stage: job.progress.advance(stages.index(stage)),
            source.age if age is None else age, source.kernel)

    fallback = MemoryFallback(1, job.device, job.warn)
    judgement = fallback.run(compute)
    job.device = fallback.device
    drawn = time.perf_counter()
    draw(judgement, bundle.metadata["simulated"], job.folder / CONTACT_SHEET)
    judgement.timings.update(
        read=read, contact_sheet=time.perf_counter() - drawn, total=time.perf_counter() - begun)
    job.progress.advance(len(STAGES) + 1)
    job.record(files={"contact_sheet": CONTACT_SHEET}, **judgement.written())
