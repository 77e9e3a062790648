# SPDX-License-Identifier: Apache-2.0
"""Two CTs in, the transform between them out, with where it can be trusted."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.geometry import AIR_HU, same_geometry
from ReadingRoomLib.images import read_image

from .quality import GOOD, alignment_quality
from .registration import find_motion

LITTLE_ALIGNED = 0.7  # share of the bone below which the user is told


def run(job: Job, prior: Path, current: Path) -> None:
    """Align ``prior`` with ``current`` and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        prior, current: image files or DICOM folders of CTs of one patient.

    Raises:
        BadInput: an image is no CT, or the two do not show the same bones.
    """
    job.progress.stage("read", 2, "Reading the CTs")
    scans = {}
    for done, (name, path) in enumerate((("prior", prior), ("current", current)), 1):
        scans[name] = read_image(path, "CT")
        for warning in scans[name].warnings:
            job.warn(f"{scans[name].name}: {warning}")
        job.progress.advance(done)
    job.record(inputs=[{"name": scan.name, "sha256": scan.sha256} for scan in scans.values()])
    before, now = scans["prior"].image, scans["current"].image
    if scans["prior"].sha256 == scans["current"].sha256:
        job.warn("Prior and current are the same scan.")

    def on_patches(done: int, total: int) -> None:
        if done == 0:
            job.progress.stage("register", total, "Aligning the bones")
        job.progress.advance(done)

    # ITK would tell of every place that lies beyond the other scan; such places are left out
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    motion = find_motion(now, before, on_patches)
    job.progress.stage("write", 3, "Writing the result")
    quality = alignment_quality(now, before, motion)
    job.progress.advance(1)
    transform = motion.transform(now)
    sitk.WriteTransform(transform, str(job.folder / "transform.h5"))
    sitk.WriteImage(quality, str(job.folder / "quality.nrrd"), useCompression=True)
    job.progress.advance(2)
    aligned = sitk.Resample(before, now, transform, sitk.sitkLinear, AIR_HU, sitk.sitkInt16)
    sitk.WriteImage(aligned, str(job.folder / "prior_aligned.nrrd"), useCompression=True,
                    compressionLevel=1)
    share = _share_of_good(quality)
    if share < LITTLE_ALIGNED:
        job.warn(f"Only {share:.0%} of the bone could be aligned well: look at the quality map "
                 "before comparing.")
    job.record(
        files={"transform": "transform.h5", "quality": "quality.nrrd",
               "prior_aligned": "prior_aligned.nrrd"},
        aligned_share=round(share, 4), good_quality=GOOD, patches=len(motion.patches),
        same_grid=same_geometry(before, now),
    )
    job.progress.advance(3)


def _share_of_good(quality: sitk.Image) -> float:
    values = sitk.GetArrayViewFromImage(quality)
    bone = values > 0
    return float((values[bone] >= GOOD).mean()) if bone.any() else 0.0


