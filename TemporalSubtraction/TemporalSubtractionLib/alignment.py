# SPDX-License-Identifier: Apache-2.0
"""Two CTs in, the transform between them out, with where it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import AIR_HU, physical_bounds, same_geometry
from ReadingRoomLib.images import ImageInput, read_image
from ReadingRoomLib.results import file_sha256
from ReadingRoomLib.volume_files import plain_paths, quiet

from .bones import bone_mask
from .contrast import contrast_filled
from .deformation import with_soft_tissue
from .pair_checks import doubts, doubts_once_aligned
from .patch_registration import PATCH_MM
from .quality import GOOD, alignment_quality, without_bent_bone
from .registration import NO_BONE, find_motion

LITTLE_ALIGNED = 0.7  # share of the bone below which the user is told
MUCH_BENT = 0.05  # share of the bone above which the user is told


@dataclass(frozen=True)
class Alignment:
    """Two CTs of a patient, and where the points of one lie in the other.

    Attributes:
        current, prior: the scans as they were read.
        transform: from points of the current CT to those of the prior one, mm, LPS; resamples the
            prior CT onto the current one.
        quality: how well the two fit, from :mod:`.quality`.
        contrast: what contrast agent fills in the current and the prior CT, from :mod:`.contrast`.
    """

    current: ImageInput
    prior: ImageInput
    transform: sitk.Transform
    quality: sitk.Image
    contrast: tuple[sitk.Image, sitk.Image]


def run(job: Job, prior: Path, current: Path, transform: Path | None = None,
        soft_tissue: bool = False) -> None:
    """Align ``prior`` with ``current`` and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        prior, current, transform, soft_tissue: as for :func:`align`.

    Raises:
        BadInput: as from :func:`align`.
    """
    alignment = align(job, prior, current, transform, soft_tissue)
    _tell_share(job, alignment.quality, transform)
    job.progress.stage("write", 2, "Writing the result")
    now, before = alignment.current.image, alignment.prior.image
    sitk.WriteTransform(alignment.transform, str(job.folder / "transform.h5"))
    sitk.WriteImage(alignment.quality, str(job.folder / "quality.nrrd"), useCompression=True)
    job.progress.advance(1)
    aligned = sitk.Resample(before, now, alignment.transform, sitk.sitkLinear, AIR_HU,
                            sitk.sitkInt16)
    sitk.WriteImage(aligned, str(job.folder / "prior_aligned.nrrd"), useCompression=True,
                    compressionLevel=1)
    job.record(
        files={"transform": "transform.h5", "quality": "quality.nrrd",
               "prior_aligned": "prior_aligned.nrrd"},
        same_grid=same_geometry(before, now),
    )
    job.progress.advance(2)


def align(job: Job, prior: Path, current: Path, transform: Path | None = None,
          soft_tissue: bool = False) -> Alignment:
    """Read two CTs and find where the bones of the current one lie in the prior one.

    Args:
        job: gets stages, warnings, and the manifest's entries about scans and quality.
        prior, current: image files or DICOM folders of CTs of one patient.
        transform: a transform file that is taken as it is, from points of the current CT to those
            of the prior one, as 3D Slicer and :func:`run` write it.
        soft_tissue: whether what lies between the bones is deformed, too.

    Raises:
        BadInput: an image is no CT, the two do not show the same bones, or the transform cannot be
            read or belongs to other scans; soft tissue is to be deformed on top of a transform.
    """
    if transform and soft_tissue:
        raise BadInput(f"{transform.name} is taken as it is: leave it out, or do not deform soft "
                       "tissue.")
    before, now = _read(job, prior, current)
    job.progress.stage("bone", 1, "Looking for bone")
    cubes = [on_cubes(scan.image, PATCH_MM) for scan in (now, before)]
    contrasts = [contrast_filled(image) for image in cubes]
    mask, prior_mask = (bone_mask(image, contrast)
                        for image, contrast in zip(cubes, contrasts, strict=True))
    if not sitk.GetArrayViewFromImage(mask).any():
        raise BadInput(NO_BONE)
    job.progress.advance(1)
    if transform is None:
        found = _register(job, *cubes, mask)
    else:
        found = read_transform(transform, now.image)
        job.record(transform={"name": transform.name, "sha256": file_sha256(transform)})
        if found.IsLinear():
            job.warn(f"{transform.name} moves all bones as one. Those that moved by themselves are "
                     "compared less exactly, and a lesion in them stands out less: leave the "
                     "transform out to have each bone aligned.")
    job.progress.stage("quality", 1, "Looking how well the bones fit")
    with quiet():
        quality = alignment_quality(*cubes, found, mask, prior_mask)
        for sentence in doubts_once_aligned(before, now, found, (contrasts[1], contrasts[0])):
            job.warn(sentence)
        bent_share = 0.0
        if transform is not None:  # ours moves every place of the skeleton rigidly
            quality, bent_share = without_bent_bone(quality, found)
    if not (sitk.GetArrayViewFromImage(quality) > 0).any():
        raise BadInput(
            "There is no bone that both scans show: choose two CTs of the skeleton that overlap."
            if transform is None else
            f"{transform.name} does not take the bones of the current CT into the prior one: "
            "choose the transform from the current to the prior CT.")
    if bent_share > MUCH_BENT:
        job.warn(f"{transform.name} bends {bent_share:.0%} of the bone, which could hide a lesion: "
                 "those places are left out in the quality map.")
    job.progress.advance(1)
    if soft_tissue:
        found = _with_soft_tissue(job, now.image, before.image, found, mask, prior_mask)
    return Alignment(now, before, found, quality, (contrasts[0], contrasts[1]))


def read_transform(path: Path, current: sitk.Image) -> sitk.Transform:
    """Read a transform of any kind from a file.

    Args:
        path: ``.h5``, ``.tfm``, ``.txt`` or ``.mat``.
        current: CT whose points it must take somewhere.

    Raises:
        BadInput: it cannot be read, or is no transform of space.
    """
    if not path.is_file():
        raise BadInput(f"{path.name} cannot be found: check its name.")
    try:
        with plain_paths([path]) as [plain_path], quiet():
            transform = sitk.ReadTransform(plain_path)
    except RuntimeError as error:
        raise BadInput(f"{path.name} is not a transform that can be read here: save the transform "
                       "from the current to the prior CT as .h5 or .tfm.") from error
    if transform.GetDimension() != 3:
        raise BadInput(f"{path.name} is a transform of {transform.GetDimension()} dimensions: "
                       "choose one of 3.")
    corners = physical_bounds(current).T
    if not np.isfinite([transform.TransformPoint(corner) for corner in corners.tolist()]).all():
        raise BadInput(f"{path.name} holds values that are no numbers: make the transform again.")
    return transform


def _read(job: Job, prior: Path, current: Path) -> tuple[ImageInput, ImageInput]:
    job.progress.stage("read", 2, "Reading the CTs")
    scans = []
    for path in (prior, current):
        scans.append(read_image(path, "CT"))
        for warning in scans[-1].warnings:
            job.warn(f"{scans[-1].name}: {warning}")
        job.progress.advance(len(scans))
    job.record(inputs=[{"name": scan.name, "sha256": scan.sha256} for scan in scans])
    for sentence in doubts(*scans):
        job.warn(sentence)
    return scans[0], scans[1]


def _register(job: Job, now: sitk.Image, before: sitk.Image, mask: sitk.Image) -> sitk.Transform:
    def on_patches(done: int, total: int) -> None:
        if done == 0:
            job.progress.stage("register", total, "Aligning the bones")
        job.progress.advance(done)

    with quiet():  # ITK would tell of every place that lies beyond the other scan
        motion = find_motion(now, before, on_patches, mask)
    job.record(patches=len(motion.patches))
    return motion.transform(now)


def _with_soft_tissue(job: Job, now: sitk.Image, before: sitk.Image, motion: sitk.Transform,
                      mask: sitk.Image, prior_mask: sitk.Image) -> sitk.Transform:
    def on_levels(done: int, total: int) -> None:
        if done == 0:
            job.progress.stage("deform", total, "Deforming what lies between the bones")
        job.progress.advance(done)

    with quiet():
        bone = mask | sitk.Resample(prior_mask, mask, motion, sitk.sitkNearestNeighbor, 0)
        found = with_soft_tissue(now, before, motion, bone, on_levels)
    job.record(soft_tissue=True)
    return found


def _tell_share(job: Job, quality: sitk.Image, transform: Path | None) -> None:
    """Record how much of the bone fits, and warn when that is little."""
    values = sitk.GetArrayViewFromImage(quality)
    share = float((values[values > 0] >= GOOD).mean())
    job.record(aligned_share=round(share, 4), good_quality=GOOD)
    if share < LITTLE_ALIGNED:
        advice = ("look at the quality map before comparing" if transform is None else
                  f"check that {transform.name} goes from the current to the prior CT")
        job.warn(f"Only {share:.0%} of the bone could be aligned well: {advice}.")
