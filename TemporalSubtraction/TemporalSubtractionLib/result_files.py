# SPDX-License-Identifier: Apache-2.0
"""What every command that finds candidates writes in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import SimpleITK as sitk

from ReadingRoomLib.commands import Job

from .candidate_table import CandidateRow, write_rows
from .candidates import Candidate


def write_result(job: Job, images: Mapping[str, Callable[[], sitk.Image]],
                 candidates: Sequence[Candidate], grid: sitk.Image) -> None:
    """Write images, one in memory at a time, and the table of candidates.

    Args:
        job: gets files, progress and the manifest's entries.
        images: what makes each, by the name of its file; ``candidates`` are their numbers.
        candidates: of the table.
        grid: image whose voxels the candidates name.
    """
    job.progress.stage("write", len(images) + 1, "Writing the result")
    files = {"candidates": "candidates.csv"}
    for done, (name, make) in enumerate(images.items(), 1):
        files["candidate_labels" if name == "candidates" else name] = f"{name}.nrrd"
        sitk.WriteImage(make(), str(job.folder / f"{name}.nrrd"), useCompression=True,
                        compressionLevel=1)
        job.progress.advance(done)
    write_rows((_row(candidate, grid) for candidate in candidates), job.folder / "candidates.csv")
    job.record(files=files)
    job.progress.advance(len(images) + 1)


def _row(candidate: Candidate, grid: sitk.Image) -> CandidateRow:
    values = asdict(candidate)
    point = grid.TransformIndexToPhysicalPoint(values.pop("index")[::-1])
    return CandidateRow(**values, **dict(zip(("x_mm", "y_mm", "z_mm"), point, strict=True)))
