# SPDX-License-Identifier: Apache-2.0
"""Two CTs of a patient in, what changed in the bones out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.commands import Job
from ReadingRoomLib.geometry import AIR_HU, image_like
from ReadingRoomLib.volume_files import quiet

from . import classical
from .alignment import Alignment, align
from .calibration import Calibration
from .candidate_table import CandidateRow, write_rows
from .candidates import Candidate, find_candidates
from .harmonisation import Harmonised, harmonise
from .quality import WORST, local_correlation
from .registration import WINDOW_HU

CALIBRATIONS = Path(__file__).parent / "calibrations.json"
FIT_MM = 20.0  # neighbourhood in which the scans must agree: larger than most lesions
LEAST_FIT = 0.5  # correlation there; stable bone has 0.8 once it is matched, a large lesion less
THRESHOLD = 3.0  # |z| from which a place is shown


@dataclass(frozen=True)
class Subtraction:
    """What changed, on the grid where it was computed.

    Attributes:
        z: standard normal where nothing changed, above 0 where denser; 0 outside ``compared``.
        expected, error: density to expect and its standard deviation, HU.
        fit: correlation of current and expected around each voxel of bone, 0.01 to 1, the lowest
            also where the alignment bends bone; 0 where neither scan shows bone.
        compared: bone of either scan where the two fit.
        scans: what was compared.
        candidates: by falling score.
        labels: number of the candidate in every voxel.

    Arrays are (z, y, x).
    """

    z: np.ndarray
    expected: np.ndarray
    error: np.ndarray
    fit: np.ndarray
    compared: np.ndarray
    scans: Harmonised
    candidates: list[Candidate]
    labels: np.ndarray


def subtract(current: sitk.Image, prior: sitk.Image, transform: sitk.Transform,
             quality: sitk.Image, calibration: Calibration) -> Subtraction:
    """Compare two aligned CTs without any model.

    Args:
        current, prior: HU.
        transform: from points of the current CT to points of the prior one.
        quality: of the alignment, 0 to 1.
        calibration: of this method.

    Raises:
        BadInput: the scans cannot be compared.
    """
    scans = harmonise(current, prior, transform)
    spacing = scans.grid.GetSpacing()[::-1]
    bone = scans.bone & _unbent(quality, scans.grid)
    expected = classical.match(scans.current, scans.prior, bone, spacing)
    fit = np.where(bone, _fit(scans.current, expected, bone, spacing), WORST).clip(WORST, 1)
    fit = np.where(scans.bone, fit, 0)
    compared = fit >= LEAST_FIT
    error = classical.spread(scans.current - expected, expected, compared, spacing)
    change = np.where(compared, scans.current - expected, 0)
    z = np.where(compared, calibration(change / np.where(compared, error, 1)), 0)
    candidates, labels = find_candidates(z, change, compared, spacing)
    return Subtraction(z, expected, error, fit, compared, scans, candidates, labels)


def _unbent(quality: sitk.Image, grid: sitk.Image) -> np.ndarray:
    """Where the transform does not bend bone; also just outside the bone that was looked at."""
    with quiet():
        wider = sitk.GrayscaleDilate(quality, [1, 1, 1])
        values = sitk.Resample(wider, grid, sitk.Transform(), sitk.sitkLinear, 0, sitk.sitkFloat32)
    return sitk.GetArrayViewFromImage(values) > WORST


def _fit(current, expected, bone, spacing) -> np.ndarray:
    """How well the scans agree around each voxel once they are matched, -1 to 1."""
    size = [int(round(FIT_MM / step)) | 1 for step in spacing]
    near = ndimage.binary_dilation(bone, iterations=2).astype(np.float32)
    return local_correlation(current.clip(*WINDOW_HU), expected.clip(*WINDOW_HU), near, size)


def run(job: Job, prior: Path, current: Path, transform: Path | None = None,
        method: str = "classical") -> None:
    """Align two CTs, compare their bones, and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        prior, current, transform: as for :func:`.alignment.align`.
        method: name of a calibration.

    Raises:
        BadInput: the scans cannot be aligned or compared.
    """
    alignment = align(job, prior, current, transform)
    job.progress.stage("subtract", 1, "Comparing the bones")
    with quiet():
        found = subtract(alignment.current.image, alignment.prior.image, alignment.transform,
                         alignment.quality, read_calibration(method))
    job.progress.advance(1)
    scans = found.scans
    share = float(found.compared.sum() / scans.bone.sum())  # matching mends what registration left
    job.record(method=method, aligned_share=round(share, 4), good_quality=LEAST_FIT,
               threshold=THRESHOLD, candidates=len(found.candidates),
               smoothed_mm=round(scans.blur_mm, 2), gain=round(scans.gain, 3),
               offset_hu=round(scans.offset, 1))
    with quiet():
        _write(job, alignment, found)


def read_calibration(method: str) -> Calibration:
    values = json.loads(CALIBRATIONS.read_text("utf-8"))[method]
    return Calibration(tuple(values["computed"]), tuple(values["normal"]))


def _write(job: Job, alignment: Alignment, found: Subtraction) -> None:
    now = alignment.current.image
    compared = sitk.Resample(_image(found.compared.astype(np.uint8), found), now,
                             sitk.Transform(), sitk.sitkNearestNeighbor, 0)

    def on_current(array: np.ndarray, kind: int, linear: bool = True) -> sitk.Image:
        """On the grid of the current CT, within what was compared."""
        way = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
        return sitk.Mask(sitk.Resample(_image(array, found), now, sitk.Transform(), way, 0, kind),
                         compared)

    images = {
        "z": lambda: on_current(found.z.astype(np.float32), sitk.sitkFloat32),
        "expected": lambda: on_current(found.expected, sitk.sitkInt16),
        "error": lambda: on_current(found.error.astype(np.float32), sitk.sitkFloat32),
        "candidates": lambda: on_current(found.labels, sitk.sitkUInt16, linear=False),
        "bone": lambda: sitk.Resample(_image(found.scans.bone.astype(np.uint8), found), now,
                                      sitk.Transform(), sitk.sitkNearestNeighbor, 0),
        "quality": lambda: _image(found.fit.astype(np.float32), found),
        "prior_aligned": lambda: sitk.Resample(alignment.prior.image, now, alignment.transform,
                                               sitk.sitkLinear, AIR_HU, sitk.sitkInt16),
    }
    job.progress.stage("write", len(images) + 1, "Writing the result")
    files = {}
    for done, (name, make) in enumerate(images.items(), 1):
        files["candidate_labels" if name == "candidates" else name] = f"{name}.nrrd"
        sitk.WriteImage(make(), str(job.folder / f"{name}.nrrd"), useCompression=True,
                        compressionLevel=1)
        job.progress.advance(done)
    sitk.WriteTransform(alignment.transform, str(job.folder / "transform.h5"))
    write_rows((_row(candidate, found.scans.grid) for candidate in found.candidates),
               job.folder / "candidates.csv")
    job.record(files=files | {"transform": "transform.h5", "candidates": "candidates.csv"})
    job.progress.advance(len(images) + 1)


def _image(array: np.ndarray, found: Subtraction) -> sitk.Image:
    return image_like(array, found.scans.grid)


def _row(candidate: Candidate, grid: sitk.Image) -> CandidateRow:
    values = asdict(candidate)
    point = grid.TransformIndexToPhysicalPoint(values.pop("index")[::-1])
    return CandidateRow(**values, **dict(zip(("x_mm", "y_mm", "z_mm"), point, strict=True)))
