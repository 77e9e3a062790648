# SPDX-License-Identifier: Apache-2.0
"""Two CTs of a patient in, what changed in the bones out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import AIR_HU, image_like
from ReadingRoomLib.volume_files import quiet

from .alignment import Alignment, align
from .calibration import Calibration
from .candidates import Candidate, add_mixed, find_candidates, ranked
from .comparison import LEAST_FIT, Classical, Compared, Method, Prediction, compare
from .harmonisation import Harmonised, harmonise
from .quality import WORST
from .result_files import write_result
from .shifts import weighed_scores

CALIBRATIONS = Path(__file__).parent / "calibrations.json"
CLASSICAL = "classical"
LITTLE_COMPARED = 0.7  # share of the bone below which the user is told
THRESHOLD = 3.0  # |z| from which a place is shown
LEAST_LEFT = 0.5  # of the least strength, below which a candidate is explained by motion


@dataclass(frozen=True)
class AlikeScans:
    """Two aligned scans made alike, and how far they agree.

    Attributes:
        harmonised: both on one grid.
        pair: what is compared of them.
        fit: correlation of the two around each voxel of bone, 0.01 to 1, the lowest also where the
            alignment bends bone; 0 where neither scan shows bone; (z, y, x).
    """

    harmonised: Harmonised
    pair: Compared
    fit: np.ndarray


@dataclass(frozen=True)
class Subtraction:
    """What changed, on the grid where it was compared.

    Attributes:
        scans: what was compared.
        prediction: what the method says of it.
        candidates: the strongest first.
        labels: number of the candidate in every voxel, (z, y, x).
    """

    scans: AlikeScans
    prediction: Prediction
    candidates: list[Candidate]
    labels: np.ndarray


def make_alike(current: sitk.Image, prior: sitk.Image, transform: sitk.Transform,
               quality: sitk.Image, matched: bool,
               contrast: tuple[sitk.Image, sitk.Image] | None = None) -> AlikeScans:
    """Bring two aligned CTs to where they can be compared.

    Args:
        current, prior: HU.
        transform: from points of the current CT to points of the prior one.
        quality: of the alignment, 0 to 1.
        matched: whether every place of the prior CT is searched for the most similar one.
        contrast: as for :func:`.harmonisation.harmonise`.

    Raises:
        BadInput: the scans cannot be compared.
    """
    scans = harmonise(current, prior, transform, contrast)
    bone = scans.bone & _unbent(quality, scans.grid)
    pair, fit = compare(scans.current, scans.prior, bone, scans.grid.GetSpacing()[::-1], matched)
    return AlikeScans(scans, pair, np.where(scans.bone, fit, 0))


def subtract(scans: AlikeScans, method: Method) -> Subtraction:
    """Find what changed between two scans that were made alike as the method wants it."""
    prediction = method(scans.pair)
    change = np.where(scans.pair.where, scans.pair.current - prediction.expected, 0)
    pair, least = scans.pair, prediction.least
    candidates, labels = find_candidates(prediction.strength, prediction.z, change, pair.spacing,
                                         least)
    candidates = add_mixed(candidates, labels, prediction.z, change, pair.where, pair.spacing,
                           least)
    scores = weighed_scores(candidates, labels, pair, prediction.expected)
    candidates, labels = ranked(candidates, labels, scores, LEAST_LEFT * least)
    return Subtraction(scans, prediction, candidates, labels)


def _unbent(quality: sitk.Image, grid: sitk.Image) -> np.ndarray:
    """Where the transform does not bend bone; also just outside the bone that was looked at."""
    with quiet():
        wider = sitk.GrayscaleDilate(quality, [1, 1, 1])
        values = sitk.Resample(wider, grid, sitk.Transform(), sitk.sitkLinear, 0, sitk.sitkFloat32)
    return sitk.GetArrayViewFromImage(values) > WORST


def run(job: Job, prior: Path, current: Path, transform: Path | None = None,
        method: str = "classical", model: str | None = None, soft_tissue: bool = False) -> None:
    """Align two CTs, compare their bones, and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        prior, current, transform, soft_tissue: as for :func:`.alignment.align`.
        method: "classical", or what a model was trained as.
        model: as for :func:`.learned.load_model`.

    Raises:
        BadInput: the scans cannot be aligned or compared.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    foresee = _method(job, method, model)  # a model that is missing is said at once
    alignment = align(job, prior, current, transform, soft_tissue)
    job.progress.stage("subtract", 2, "Comparing the bones")
    with quiet():
        scans = make_alike(alignment.current.image, alignment.prior.image, alignment.transform,
                           alignment.quality, foresee.matched, alignment.contrast)
        job.progress.advance(1)
        found = subtract(scans, foresee)
    job.progress.advance(2)
    harmonised = scans.harmonised
    share = float(scans.pair.where.sum() / harmonised.bone.sum())
    if share < LITTLE_COMPARED:
        job.warn(f"Only {share:.0%} of the bone could be compared: nothing is said about the rest, "
                 "see the quality map.")
    job.record(method=method, aligned_share=round(share, 4), good_quality=LEAST_FIT,
               threshold=THRESHOLD, candidates=len(found.candidates),
               smoothed_mm=round(harmonised.blur_mm, 2), gain=round(harmonised.gain, 3),
               offset_hu=round(harmonised.offset, 1))
    with quiet():
        _write(job, alignment, found)


def _method(job: Job, method: str, model: str | None) -> Method:
    if method == CLASSICAL:
        if model:
            raise BadInput("The classical method uses no model: leave the model out.")
        return Classical(read_calibration())
    from .learned import Learned, load_model  # PyTorch takes seconds, which classical needs not

    bundle = load_model(model, method)
    job.record(model=bundle.described())
    return Learned.of(bundle, job.device)


def read_calibration() -> Calibration:
    """Of the classical method."""
    return Calibration.read(json.loads(CALIBRATIONS.read_text("utf-8"))[CLASSICAL])


def _write(job: Job, alignment: Alignment, found: Subtraction) -> None:
    now = alignment.current.image
    compared = sitk.Resample(_image(found.scans.pair.where.astype(np.uint8), found), now,
                             sitk.Transform(), sitk.sitkNearestNeighbor, 0)

    def on_current(array: np.ndarray, kind: int, linear: bool = True) -> sitk.Image:
        """On the grid of the current CT, within what was compared."""
        way = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
        return sitk.Mask(sitk.Resample(_image(array, found), now, sitk.Transform(), way, 0, kind),
                         compared)

    images = {
        "z": lambda: on_current(found.prediction.z, sitk.sitkFloat32),
        "expected": lambda: on_current(found.prediction.expected, sitk.sitkInt16),
        "error": lambda: on_current(found.prediction.error, sitk.sitkFloat32),
        "candidates": lambda: on_current(found.labels, sitk.sitkUInt16, linear=False),
        "bone": lambda: sitk.Resample(
            _image(found.scans.harmonised.bone.astype(np.uint8), found), now, sitk.Transform(),
            sitk.sitkNearestNeighbor, 0),
        "quality": lambda: _image(found.scans.fit.astype(np.float32), found),
        "prior_aligned": lambda: sitk.Resample(alignment.prior.image, now, alignment.transform,
                                               sitk.sitkLinear, AIR_HU, sitk.sitkInt16),
    }
    write_result(job, images, found.candidates, found.scans.harmonised.grid)
    sitk.WriteTransform(alignment.transform, str(job.folder / "transform.h5"))
    job.record(files={"transform": "transform.h5"})


def _image(array: np.ndarray, found: Subtraction) -> sitk.Image:
    return image_like(array, found.scans.harmonised.grid)
