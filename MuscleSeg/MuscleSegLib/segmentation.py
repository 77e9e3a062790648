# SPDX-License-Identifier: Apache-2.0
"""The main job: a CT in, a result folder out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.devices import MemoryFallback
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .confidence import KEY, Calibration, PredictedDice, read_calibration
from .contrasts import intensities_of, is_any_contrast, read_any, shown_to
from .grids import on_input_grid, upright
from .inference import VARIANCE, Prediction, segment
from .measurements import found_on_one_side, measure, write_csv
from .networks import BayesianUNet, ContextUNet
from .recipes import CLASSES, RECIPES
from .sides import midline, split_sides
from .structure_scores import structure_scores
from .structures import STRUCTURES, LabelledStructure, labels_of, structure_named

REGISTRY = Path(__file__).parent / "models.json"
NETWORK_OF = {"modern": ContextUNet, "seed": BayesianUNet}
NETWORKS = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in NETWORK_OF.values())

METAL_HU = 2500
SMALLEST_ML = 100.0  # of all structures together: 4 mm of two thighs; less is no hip or thigh
NO_HU = "This image is no CT: what stands under mean HU is the mean of its grey values."
BONES = tuple(s.value for s in STRUCTURES if s.group == "bone")


def run(job: Job, ct: Path, model: str, recipe: str | None, samples: int, sides: bool,
        uncertainty: str = "variance", calibration: Path | None = None) -> None:
    """Segment ``ct`` and write everything into the job's folder.

    Args:
        job: gets files, measurements, warnings and the manifest's entries.
        ct: image file or DICOM folder.
        model: name in the registry or folder of a bundle.
        recipe: what the model must have been trained as, or None.
        samples: Monte Carlo samples, 1 to 100.
        sides: whether to tell left from right.
        uncertainty: kind that is written, see :mod:`ReadingRoomLib.montecarlo`.
        calibration: file of the command ``confidence``; None takes the model's own, if it has one.

    Raises:
        BadInput: the image is not a CT that holds hip or thigh, or the file no calibration.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("read", 2, "Reading the CT")
    bundle = load_model(model, recipe)
    job.record(model=bundle.described())
    calibrated = calibration_for(bundle, calibration, samples, uncertainty, job.warn)
    job.progress.advance(1)
    source, is_ct = read_any(ct, intensities_of(bundle.metadata))
    for warning in source.warnings:
        job.warn(warning)
    job.record(inputs=[{"name": source.name, "sha256": source.sha256}])
    if not is_ct:
        job.warn(NO_HU)
    job.progress.advance(2)

    def on_slices(done: int, total: int) -> None:
        if done == 0:
            job.progress.stage("segment", total, "Segmenting")
        job.progress.advance(done)

    volume, order = upright(source, bundle.metadata)
    prediction = predict(job, bundle, volume, samples, on_slices, (uncertainty,))
    job.record(confidence=round(prediction.confidence, 4))
    array, spacing = sitk.GetArrayViewFromImage(volume), volume.GetSpacing()[::-1]
    middle = midline(prediction.labels) if sides else None
    if sides:
        split_sides(prediction.labels, middle)
    if is_ct and _has_metal(array, spacing):
        job.warn("There is metal in this scan: what lies near it is less certain.")

    job.progress.stage("measure", 1, "Measuring")
    known = labels_of(sides)
    expected = {}
    if calibrated:
        job.record(calibration=calibrated.summary)
        expected = _expected(calibrated, prediction, float(np.prod(spacing)) / 1000, samples,
                             middle, known)
    limit = bundle.metadata.get("uncertainty_limit", 1.0) if uncertainty == "variance" else 1.0
    found = measure(array, prediction.labels, prediction.uncertainty,
                    float(np.prod(spacing)) / 1000, known, limit, expected)
    parts = sum(bool(measurement.cut_off) for measurement in found)
    if parts:
        job.warn(f"{parts} of {len(found)} structures go on beyond the ends of the scan: their "
                 "volumes are of the part that is seen.")
    if alone := found_on_one_side(found):
        names = "; ".join(f"{structure_named(one.structure).display_name}, {one.side}"
                          for one in alone)
        job.warn(f"Found on one side only: {names}. Look whether the other side was missed, or "
                 "what was found is something else.")
    job.progress.advance(1)
    job.progress.stage("write", 4, "Writing the result")
    _write(job, source, order, prediction, known, found)


def calibration_for(bundle: Bundle, path: Path | None, samples: int, uncertainty: str,
                    warn: Callable[[str], None]) -> Calibration | None:
    """The calibration of a file or of the model, where it holds for what is asked.

    Args:
        bundle: the model.
        path: of ``calibration.json``; None takes the model's own, if it has one.
        samples: Monte Carlo samples.
        uncertainty: kind of it.
        warn: gets the reason where a calibration does not hold.

    Raises:
        BadInput: the file is no calibration.
    """
    if path is not None:
        calibration = read_calibration(path)
    elif KEY in bundle.metadata:
        calibration = Calibration.read(bundle.metadata[KEY])
    else:
        return None
    if uncertainty != calibration.uncertainty:
        warn("Nothing says what Dice to expect: that was learned with another uncertainty, the "
             f"{calibration.uncertainty}.")
        return None
    if samples < calibration.samples:
        warn("Nothing says what Dice to expect: that needs at least "
             f"{calibration.samples} samples.")
        return None
    return calibration


def _expected(calibration: Calibration, prediction: Prediction, voxel_ml: float, samples: int,
              middle, known: Sequence[LabelledStructure]) -> dict[int, PredictedDice]:
    scores = structure_scores(prediction, voxel_ml, middle)
    return {item.value: calibration.predict(item.structure, scores[item.value], samples,
                                            middle is None)
            for item in known if item.value in scores}


def predict(job: Job, bundle: Bundle, volume: sitk.Image, samples: int,
            on_slices: Callable[[int, int], None], kinds: Sequence[str] = VARIANCE,
            of: str = "") -> Prediction:
    """Ask a network about a CT.

    Args:
        job: its device and seed are used; it is warned, and told where memory is short.
        bundle: the model.
        volume: from :func:`.grids.upright`.
        samples: Monte Carlo samples.
        on_slices: told the slices that are done, and all.
        kinds: of uncertainty that are wanted, see :mod:`ReadingRoomLib.montecarlo`.
        of: name of the CT for warnings, where there are several.

    Raises:
        BadInput: the model does not know such pixels, or finds no hip or thigh.
    """
    spacing = volume.GetSpacing()[::-1]
    _require_pixels(spacing[1:], bundle.metadata)
    array = shown_to(bundle.metadata, sitk.GetArrayViewFromImage(volume))
    prediction = _predict(job, bundle, array, spacing, samples, on_slices, kinds)
    _require_anatomy(prediction, float(np.prod(spacing)) / 1000, bundle.metadata,
                     lambda sentence: job.warn(f"{of}: {sentence}" if of else sentence))
    return prediction


def load_model(model: str, recipe: str | None) -> Bundle:
    """Find, verify and build a model.

    Args:
        model: name in the registry, or folder of a bundle. The models of a family share a name,
            those that are not ``modern`` with their recipe behind it: ``starter-seed``.
        recipe: what it must have been trained as, or None.
    """
    if recipe not in (None, "modern") and not Path(model).expanduser().is_dir():
        model = f"{model.removesuffix(f'-{recipe}')}-{recipe}"
    return models.load_model(model, REGISTRY, NETWORKS, recipe, _fits)


def _fits(bundle: Bundle) -> bool:
    """Whether the network takes what its recipe gives, and answers with our structures."""
    recipe = RECIPES.get(bundle.metadata["recipe"])
    if recipe is None or not isinstance(bundle.network, NETWORK_OF[recipe.name]):
        return False
    try:
        Calibration.read(bundle.metadata[KEY])
    except (ValueError, KeyError, TypeError):
        if KEY in bundle.metadata:
            return False
    with torch.inference_mode():
        logits = bundle.network(torch.zeros(1, recipe.channels, 32, 32))
    return logits.shape == (1, CLASSES, 32, 32)


def _require_pixels(pixel: tuple[float, float], metadata: dict) -> None:
    """Refuse pixels that a network which works on the CT's own grid has never seen.

    Such a model says from what size to what size they were (``pixel_mm``).
    """
    low, high = metadata.get("pixel_mm", (0.0, np.inf))
    if not low <= min(pixel) <= max(pixel) <= high:
        raise BadInput(
            f"The pixels of this CT are {max(pixel):.2g} mm wide, but the model {metadata['name']} "
            f"knows {low:g} to {high:g} mm: choose a model of the recipe Modern."
        )


def _predict(job: Job, bundle: Bundle, array, spacing, samples: int, on_slices,
             kinds: Sequence[str]) -> Prediction:
    recipe = RECIPES[bundle.metadata["recipe"]]

    def compute(_: int, device: str) -> Prediction:
        return segment(array, spacing, bundle.network, recipe, samples, device, job.seed,
                       on_slices, kinds)

    fallback = MemoryFallback(1, job.device, job.warn)
    prediction = fallback.run(compute)
    job.device = fallback.device
    return prediction


def _require_anatomy(prediction: Prediction, voxel_ml: float, metadata: dict, warn) -> None:
    """Refuse a scan of another part of the body, where the network finds little or guesses.

    The model says from what mean confidence on a scan is of hip or thigh at all
    (``lowest_confidence``) and up to what it deserves a warning (``low_confidence``).
    """
    labels = prediction.labels
    counts = sum(np.bincount(plane.ravel(), minlength=len(STRUCTURES) + 1) for plane in labels)
    enough = counts[1:].sum() * voxel_ml >= SMALLEST_ML and counts[list(BONES)].any()
    if not enough or prediction.confidence < metadata.get("lowest_confidence", 0.0):
        kind = "image" if is_any_contrast(metadata) else "CT"
        raise BadInput(
            f"No hip or thigh was found in this {kind}: choose a scan that shows the pelvis or the "
            "legs."
        )
    if prediction.confidence < metadata.get("low_confidence", 0.0):
        warn("The model is unsure of this scan as a whole: check every structure.")


def _has_metal(array: np.ndarray, spacing) -> bool:
    voxels = sum(int((plane > METAL_HU).sum()) for plane in array)
    return voxels * float(np.prod(spacing)) / 1000 > 1.0


def _write(job, source, order, prediction, known, found) -> None:
    present = {int(v) for v in np.unique(prediction.labels)}
    descriptions = [
        SegmentDescription(item.value, item.name, item.display_name, item.structure.color,
                           item.terminology)
        for item in known if item.value in present
    ]
    labels = on_input_grid(prediction.labels, source, order, "nearest")
    sitk.WriteImage(labels, str(job.folder / "labels.nrrd"), useCompression=True)
    job.progress.advance(1)
    write_seg_nrrd(job.folder / "segmentation.seg.nrrd", labels, descriptions)
    job.progress.advance(2)
    del labels
    prediction.labels = None
    uncertainty = on_input_grid(prediction.uncertainty, source, order, "linear")
    sitk.WriteImage(uncertainty, str(job.folder / "uncertainty.nrrd"), useCompression=True,
                    compressionLevel=1)
    job.progress.advance(3)
    write_csv(job.folder / "measurements.csv", found)
    job.record(
        files={"labels": "labels.nrrd", "segmentation": "segmentation.seg.nrrd",
               "uncertainty": "uncertainty.nrrd", "measurements": "measurements.csv"},
        labels={str(item.value): item.name for item in known if item.value in present},
        structures=[measurement.row for measurement in found],
    )
    job.progress.advance(4)
