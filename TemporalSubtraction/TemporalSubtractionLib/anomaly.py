# SPDX-License-Identifier: Apache-2.0
"""One CT in, what is unusual in its bones out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.devices import MemoryFallback
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image
from ReadingRoomLib.volume_files import quiet

from .anomaly_networks import VOI
from .anomaly_scan import Scan, scan_of
from .anomaly_scores import NETWORK_OF, SCORES, unusual
from .calibration import Calibration
from .candidates import Candidate, find_candidates, strength_of
from .harmonisation import THICKEST_MM
from .result_files import write_result

REGISTRY = Path(__file__).parent / "models.json"
BATCH = 64  # VOIs looked at together
THRESHOLD = 3.0  # |z| from which a place is shown
NO_BONE = "There is no bone in this CT: choose a scan of the skeleton."


@dataclass(frozen=True)
class Anomaly:
    """What is unusual in a CT, on the voxels that the network saw.

    Attributes:
        z: standard normal in normal bone, far from 0 where it is unusual: above 0 where it is
            denser than expected, below 0 where it is thinner; 0 outside bone.
        candidates: by falling score.
        labels: number of the candidate in every voxel.
    """

    z: np.ndarray
    candidates: list[Candidate]
    labels: np.ndarray


def anomaly_of(score: np.ndarray, change: np.ndarray, scan: Scan,
               calibration: Calibration) -> Anomaly:
    """Find what is unusual.

    Args:
        score: of :func:`.anomaly_scores.unusual`.
        change: of density, HU.
        scan: what was looked at.
        calibration: of the score.
    """
    z = calibration(score) * scan.bone
    candidates, labels = find_candidates(strength_of(z, scan.bone, scan.spacing), z, change,
                                         scan.spacing)
    return Anomaly(z, candidates, labels)


def run(job: Job, ct: Path, method: str, score: str | None = None,
        model: str | None = None) -> None:
    """Look for unusual bone in ``ct`` and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        ct: image file or DICOM folder.
        method: "autoencoder" or "flow".
        score: of :data:`.anomaly_scores.SCORES`; None: the method's first.
        model: name in the registry or folder of a bundle; None: the one that comes along.

    Raises:
        BadInput: the image is no CT of bone, or the options do not fit each other.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    score = score or SCORES[method][0]
    if score not in SCORES[method]:
        raise BadInput(f"The method {method} has no score {score}: choose "
                       f"{' or '.join(SCORES[method])}.")
    bundle = load_model(model or f"anomaly-{method}", method)
    job.record(model=bundle.described(), method=method, score=score)
    job.progress.stage("read", 2, "Reading the CT")
    source = read_image(ct, "CT")
    for warning in source.warnings:
        job.warn(warning)
    job.record(inputs=[{"name": source.name, "sha256": source.sha256}])
    if max(source.image.GetSpacing()) > THICKEST_MM:
        raise BadInput(f"The slices of this CT are {max(source.image.GetSpacing()):.1f} mm thick, "
                       f"which hides lesions: choose a series of at most {THICKEST_MM:.0f} mm.")
    job.progress.advance(1)
    scan = scan_of(source.image)
    if not scan.bone.any():
        raise BadInput(NO_BONE)
    scan = scan.around_bone()
    job.progress.advance(2)
    scores, change = _scores(job, bundle, scan)
    found = anomaly_of(scores[score], change, scan, calibrations_of(bundle)[score])
    job.record(threshold=THRESHOLD, candidates=len(found.candidates))
    with quiet():
        _write(job, source.image, scan, found)


def load_model(name: str, method: str) -> Bundle:
    """Find, verify and build a model.

    Args:
        name: in the registry, or folder of a bundle.
        method: what it must be made for.

    Raises:
        BadInput: it is made for another method.
        ModelMissing, ModelUntrusted: it cannot be used.
    """
    targets = [f"{each.__module__}.{each.__qualname__}" for each in NETWORK_OF.values()]
    return models.load_model(name, REGISTRY, targets, method, _fits)


def _fits(bundle: Bundle) -> bool:
    """Whether the network takes a VOI, and every score is calibrated."""
    method = bundle.metadata["recipe"]
    if not isinstance(bundle.network, NETWORK_OF[method]):
        return False
    with torch.inference_mode():
        bundle.network(torch.zeros(1, 1, VOI, VOI, VOI))
    return bool(calibrations_of(bundle))


def calibrations_of(bundle: Bundle) -> dict[str, Calibration]:
    """By the name of the score; raises KeyError, TypeError or ValueError where one is missing."""
    written = bundle.metadata["calibrations"]
    return {score: Calibration.read(written[score])
            for score in SCORES[bundle.metadata["recipe"]]}


def _scores(job: Job, bundle: Bundle, scan: Scan) -> tuple[dict[str, np.ndarray], np.ndarray]:
    def on_batch(done: int, total: int) -> None:
        if done <= BATCH:
            job.progress.stage("anomaly", total, "Looking for unusual bone")
        job.progress.advance(done)

    fallback = MemoryFallback(BATCH, job.device, job.warn)
    found = fallback.run(lambda batch, device: unusual(
        bundle.network, scan, job.seed, batch, device, on_batch))
    job.device = fallback.device
    return found


def _write(job: Job, ct: sitk.Image, scan: Scan, found: Anomaly) -> None:
    def on_ct(array: np.ndarray, kind: int, way: int = sitk.sitkNearestNeighbor) -> sitk.Image:
        return sitk.Resample(image_like(array, scan.grid), ct, sitk.Transform(), way, 0, kind)

    bone = on_ct(scan.bone.astype(np.uint8), sitk.sitkUInt8)
    images = {
        "z": lambda: sitk.Mask(on_ct(found.z, sitk.sitkFloat32, sitk.sitkLinear), bone),
        "candidates": lambda: on_ct(found.labels, sitk.sitkUInt16),
        "bone": lambda: bone,
    }
    write_result(job, images, found.candidates, scan.grid)
