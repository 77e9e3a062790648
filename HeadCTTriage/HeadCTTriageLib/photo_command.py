# SPDX-License-Identifier: Apache-2.0
"""The job of a photo: a photo of a monitor in, what the slice on it looks like out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import file_sha256

from .answers import RECIPES
from .camera import check, look, outlined, read_photo
from .decisions import UNCERTAIN
from .engines import TorchEngine, load_model
from .photo_quality import LIMITS
from .picture_certainty import CAMERA, PictureCertainty
from .pictures import picture_score

RECTIFIED, FOUND = "rectified.png", "found_screen.png"
ONE_SLICE = "A photo shows one slice; the rest of the head was not seen."
SIMULATED_ONLY = "Reading photos was tried on simulated photos only."
UNCALIBRATED = ("The model was not calibrated for photos: its score is no probability, and nothing "
                "is decided.")


def run(job: Job, photo: Path, model: str, recipe: str | None, most_missed: float) -> None:
    """Judge the slice in ``photo`` and write everything into the job's folder.

    Args:
        job: gets files, scores, doubts and the manifest's entries.
        photo: JPEG or PNG file.
        model: name in the registry or folder of a bundle.
        recipe: what the model must have been trained as, or None.
        most_missed: share of slices with bleeding that may be missed.

    Raises:
        BadInput: the file is no photo of a slice on a monitor, or has to be taken again.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("photo", 3, "Finding the screen")
    shot = look(read_photo(photo))
    check(shot.quality)
    job.record(inputs=[{"name": photo.name, "sha256": file_sha256(photo)}])
    job.progress.advance(1)
    bundle = load_model(model, recipe)
    job.record(model=bundle.described())
    job.progress.advance(2)
    score = picture_score(RECIPES[bundle.metadata["recipe"]],
                          TorchEngine(bundle.network, job.device), shot.picture)
    if not np.isfinite(score):
        raise BadInput("The model gives no numbers for this photo: choose another model.")
    _save(shot.picture, job.folder / RECTIFIED)
    _save(outlined(shot) / 255, job.folder / FOUND)
    job.record(files={"rectified": RECTIFIED, "found_screen": FOUND},
               looks_like_bleeding=round(score, 4),
               quality={"scores": shot.quality.written(), "limits": LIMITS},
               screen={"corners": np.round(shot.corners, 1).tolist(),
                       "aspect": round(shot.aspect, 3)},
               **_decision(bundle.metadata, score, most_missed))
    job.progress.advance(3)


def _decision(metadata: dict, score: float, most_missed: float) -> dict:
    """What is decided, with which doubts, and where it is known how probable bleeding is."""
    doubts = [ONE_SLICE, SIMULATED_ONLY]
    if CAMERA not in metadata:
        return {"decision": UNCERTAIN, "doubts": [*doubts, UNCALIBRATED]}
    certainty = PictureCertainty.read(metadata[CAMERA])
    probability, low, high = certainty.bleeds(score)
    return {"decision": certainty.decide(score, most_missed), "doubts": doubts,
            "bleeding_probability": round(probability, 4),
            "bleeding_interval": [round(low, 4), round(high, 4)]}


def _save(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(path)
