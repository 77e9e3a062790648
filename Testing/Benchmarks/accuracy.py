# SPDX-License-Identifier: Apache-2.0
"""Accuracy and confidence: on simulated CT with known truth, and on the real example CT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, stats

from MuscleSegLib.anatomy import read_pelvic_reference
from MuscleSegLib.inference import segment
from MuscleSegLib.prediction import Prediction
from MuscleSegLib.recipes import RECIPES
from MuscleSegLib.segmentation import load_model
from MuscleSegLib.starter import PELVIC_CASES
from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.metrics import Score, bootstrap_interval, score_labels, score_mask
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings, simulate
from ReadingRoomLib.phantoms.region_map import RegionMap
from ReadingRoomLib.sampledata import EXAMPLE_CT, fetch_packaged_file

EXAMPLE_LABELS = replace(
    EXAMPLE_CT,
    member="totalsegmentator-2.18.0/tests/reference_files/example_seg_fast_force_split.nii.gz",
    sha256="e8097758e56e73099075b6caaebce23ef11bc6fad66a4ec3753b9406846558c7",
    size=112_591,
)
METAL_HU = 2500
SLICE_STEP = 9.0  # mm, for networks that take seconds a slice
MUSCLE_HU, FAT_HU = (0, 110), -25  # half-way between fat and muscle lies -25
BODY_HU = -300
NUMBER = {structure.name: structure.value for structure in STRUCTURES}
# structures that both programs name: ours, theirs (left and right), and the Dice asked for; their
# label 26 is the first sacral vertebra, which is a part of our sacrum and not of their label 25
COMMON = {
    "hip bone": (("pelvis",), (77, 78), 0.90),
    "femur": (("femur",), (75, 76), 0.90),
    "sacrum": (("sacrum",), (25, 26), 0.85),
    "gluteus maximus": (("gluteus_maximus",), (80, 81), 0.88),
    "gluteus medius": (("gluteus_medius",), (82, 83), 0.88),
    "iliopsoas": (("iliacus", "psoas_major"), (88, 89), 0.82),
    "gluteus minimus": (("gluteus_minimus",), (84, 85), 0.75),
}
BONES = ("hip bone", "femur", "sacrum")
# the whole of a reference subject, as it is: intensities are simulated, the pose is hardly changed
WHOLE = {"spacing": (3.0, 1.0, 1.0), "rotation": (0.0, 0.0, 0.0), "scale": (1.0, 1.0),
         "displacement": 0.0, "truncation_probability": 0.0, "scan_end_probability": 0.0}


def _predict(bundle: Bundle, ct: np.ndarray, spacing, samples: int, seed: int = 0) -> Prediction:
    recipe = RECIPES[bundle.metadata["recipe"]]
    return segment(ct.astype(np.int16), spacing, bundle.network, recipe, samples, "cpu", seed)


# --- the real example CT -------------------------------------------------------------------------


def read_lps(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]


def example_ct(model: str, samples: int) -> dict:
    """Agreement on the real example CT with the labels of another program (TotalSegmentator).

    Those labels are a model's output, not truth: agreement is measured, not accuracy.
    """
    bundle = load_model(model, None)
    ct, spacing = read_lps(fetch_packaged_file(EXAMPLE_CT))
    theirs, _ = read_lps(fetch_packaged_file(EXAMPLE_LABELS))
    note = ""
    if "pixel_mm" in bundle.metadata:  # a network that works on the CT's own pixels
        ct, theirs, spacing = _with_pixels(ct, theirs, spacing,
                                           float(np.mean(bundle.metadata["pixel_mm"])))
        note = f", a slice every {SLICE_STEP:g} mm interpolated to pixels of {spacing[1]:.2f} mm"
    result = _predict(bundle, ct, spacing, samples)
    rows = {}
    for name, (ours, values, asked) in COMMON.items():
        mask = np.isin(result.labels, [NUMBER[n] for n in ours])
        score = score_mask(mask, np.isin(theirs, values), spacing)
        rows[name] = {"dice": round(score.dice, 3), "asked": asked,
                      "asd_mm": round(score.asd_mm, 2)}
        if name != "sacrum":
            rows[name]["dice_left_right"] = [
                round(score_mask(mask & _half(theirs, v), theirs == v, spacing).dice, 3)
                for v in values
            ]
        if name not in BONES:
            rows[name] |= _whose_border(ct, mask, result.labels, np.isin(theirs, values), theirs,
                                        spacing)
    return {
        "dataset": f"real example CT of totalsegmentator 2.18.0 (one metal hip){note}, n = 1 "
                   "patient; the reference is TotalSegmentator's own output, not truth",
        "samples": samples,
        "structures": rows,
        "uncertainty": _near_metal(ct, result, spacing),
    }


def _with_pixels(ct: np.ndarray, labels: np.ndarray, spacing, pixel_mm: float):
    """Some slices of a CT and its labels with pixels of another size; and the new spacing."""
    step = max(1, round(SLICE_STEP / spacing[0]))
    factors = (1, spacing[1] / pixel_mm, spacing[2] / pixel_mm)
    fine = ndimage.zoom(ct[::step], factors, order=1)
    return (fine, ndimage.zoom(labels[::step], factors, order=0),
            (spacing[0] * step, pixel_mm, pixel_mm))


def _whose_border(ct: np.ndarray, mask: np.ndarray, labels: np.ndarray, reference: np.ndarray,
                  their_labels: np.ndarray, spacing) -> dict:
    """Whether ours or theirs runs where the muscle ends.

    ``dice_without_unlabelled_muscle`` leaves out what we give to the muscle, what is as dense as
    muscle, and what they give to no structure at all. ``fat_just_outside`` is the share of the
    voxels around the outline (in plane, in no other structure) that are fat: near 1 where it
    runs along the border of the muscle, low where it runs inside.
    """
    smooth = ndimage.gaussian_filter(ct.astype(np.float32), 0.6)
    is_muscle = (smooth > MUSCLE_HU[0]) & (smooth < MUSCLE_HU[1])
    kept = mask & ~((their_labels == 0) & is_muscle)
    in_plane = np.ones((1, 3, 3), bool)

    def fat_outside(inside: np.ndarray, all_labels: np.ndarray) -> float:
        around = ndimage.binary_dilation(inside, in_plane) & (all_labels == 0)
        return round(float((ct[around] < FAT_HU).mean()), 2)

    return {
        "dice_without_unlabelled_muscle": round(score_mask(kept, reference, spacing).dice, 3),
        "fat_just_outside": {"ours": fat_outside(mask, labels),
                             "reference": fat_outside(reference, their_labels)},
    }


def _half(labels: np.ndarray, value: int) -> np.ndarray:
    """Mask of the half of the volume, left or right, that holds the structure."""
    middle = labels.shape[2] / 2
    columns = np.arange(labels.shape[2]) >= middle
    is_left = np.argwhere(labels == value)[:, 2].mean() > middle
    return np.broadcast_to(columns if is_left else ~columns, labels.shape)


def _near_metal(ct: np.ndarray, result: Prediction, spacing) -> dict:
    """Mean uncertainty of labelled voxels within 40 mm of the metal, and of its mirror image.

    Mirrored about the middle of the body lies the other hip: same anatomy, no metal.
    """
    metal = np.argwhere(ct > METAL_HU)
    if not len(metal):
        return {}
    body = np.argwhere(ct > BODY_HU)[:, 2]
    centre = metal.mean(0)
    other = centre * [1, 1, -1] + [0, 0, body.min() + body.max()]
    position = np.indices(ct.shape).transpose(1, 2, 3, 0) * np.array(spacing)
    values = {}
    for name, point in (("metal hip", centre), ("other hip", other)):
        near = np.linalg.norm(position - point * np.array(spacing), axis=-1) < 40
        values[name] = round(float(result.uncertainty[near & (result.labels > 0)].mean()), 4)
    return values


# --- simulated CT of subjects that were held out -------------------------------------------------


def held_out(data: Path, models: dict[str, str], samples: int, scans: int = 3) -> dict:
    """Leave one subject out: each model on simulated CT of the subject that it has not seen.

    Args:
        data: folder of the label maps.
        models: case that was held out -> folder of the bundle trained without it.
        samples: Monte Carlo samples.
        scans: simulated CTs per subject.
    """
    scores: dict[str, list[dict[int, Score]]] = {}
    doubts: list[tuple[float, float]] = []
    steps: set[int] = set()
    anatomies = {case: read_pelvic_reference(data / "pelvic_muscle_labels" / f"Pelvic-Ref-{case}")
                 for case in PELVIC_CASES}
    for case, anatomy in anatomies.items():
        if case not in models:
            continue
        bundle = load_model(models[case], None)
        steps.add(bundle.metadata["training_steps"])
        settings = SynthesisSettings(shape=_whole_grid(anatomy.size_mm), **WHOLE)
        for scan in range(scans):
            made = simulate(anatomy, settings, (11, int(case), scan), tuple(anatomy.size_mm / 2))
            # the label map itself, which counts the planes of fat between muscles as muscle
            truth = anatomy.target[made.regions.numpy()]
            result = _predict(bundle, made.image.numpy(), settings.spacing, samples, scan)
            found = score_labels(result.labels, truth, NUMBER.values(), settings.spacing, 1.0)
            scores.setdefault(case, []).append(found)
            doubts += _doubt_and_dice(result, found)
    return {
        "dataset": f"simulated CT (intensities) of the {len(scores)} pelvic reference subjects, "
                   f"each held out of its model's training, {scans} scans a subject; these models "
                   f"were trained for {' to '.join(f'{n:,}' for n in sorted(steps))} steps",
        "samples": samples,
        **_summary(scores),
        **_where_shown(scores, {case: _volumes_ml(a) for case, a in anatomies.items()}),
        "uncertainty_against_dice": _correlation(doubts),
        "worth_a_check": _worth_a_check(doubts),
    }


def _whole_grid(size_mm: np.ndarray) -> tuple[int, ...]:
    return tuple(int(np.ceil(s / step)) for s, step in zip(size_mm, WHOLE["spacing"], strict=True))


def _summary(scores: dict[str, list[dict[int, Score]]]) -> dict:
    """Per structure and over all: means over subjects, a subject being the mean of its scans.

    A structure that was missed has a Dice of 0 and no distance; ``missed`` counts these.
    """

    def of(value: int, field: str) -> list[float]:
        means = [_mean(getattr(scan[value], field) for scan in scans) for scans in scores.values()]
        return [mean for mean in means if not np.isnan(mean)]

    rows = {
        name: {field: _rounded(_mean(of(value, field)))
               for field in ("dice", "asd_mm", "nsd", "hd95_mm")} | {"n": len(of(value, "dice"))}
        for name, value in NUMBER.items()
    }
    per_subject = {
        field: [_mean(getattr(scan[v], field) for scan in scans for v in scan)
                for scans in scores.values()]
        for field in ("dice", "asd_mm")
    }
    return {
        "structures": rows,
        "mean_dice": bootstrap_interval(per_subject["dice"]).in_full(),
        "mean_asd_mm": bootstrap_interval(per_subject["asd_mm"]).in_full(),
        "missed": sum(bool(np.isinf(score.asd_mm)) for scans in scores.values()
                      for scan in scans for score in scan.values()),
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def _mean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN without any."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _volumes_ml(anatomy: RegionMap) -> np.ndarray:
    """Volume of every label in the anatomy."""
    voxels = np.bincount(anatomy.regions.ravel(), minlength=256)
    return np.bincount(anatomy.target, voxels, 256) * float(np.prod(anatomy.spacing)) / 1000


def _where_shown(scores: dict[str, list[dict[int, Score]]], volumes: dict[str, np.ndarray]) -> dict:
    """Mean Dice without the structures that a fold cannot learn or hardly has.

    The label maps end at different heights of the thigh: what two of them cut off, a training on
    these two hardly sees.
    """
    least_taught, least_asked = 50.0, 20.0
    left_out, found = [], {}
    for case, scans in scores.items():
        taught = sum(volume for other, volume in volumes.items() if other != case)
        for name, value in NUMBER.items():
            if taught[value] < least_taught or volumes[case][value] < least_asked:
                left_out.append(f"{name} of {case}: {taught[value]:.0f} mL taught, "
                                f"{volumes[case][value]:.0f} mL asked")
            else:
                found.setdefault(case, []).append(_mean(scan[value].dice for scan in scans))
    per_subject = [float(np.mean(values)) for values in found.values()]
    return {"mean_dice_where_shown": bootstrap_interval(per_subject).in_full(),
            "not_shown": left_out}


def _doubt_and_dice(result: Prediction, found: dict[int, Score]) -> Iterable[tuple[float, float]]:
    """Mean uncertainty and Dice of every structure that was predicted and is there."""
    count = np.bincount(result.labels.ravel(), minlength=len(NUMBER) + 1)
    doubt = np.bincount(result.labels.ravel(), result.uncertainty.ravel(), len(NUMBER) + 1)
    return [(doubt[v] / count[v], score.dice) for v, score in found.items()
            if count[v] and not np.isnan(score.dice)]


def _correlation(pairs: list[tuple[float, float]]) -> dict:
    """Pearson's and Spearman's correlation with 95 % intervals (Fisher's z)."""
    doubt, accuracy = np.array(pairs).T
    pearson = stats.pearsonr(doubt, accuracy)
    interval = pearson.confidence_interval(0.95)
    return {"n_structures": len(pairs), "pearson": round(float(pearson.statistic), 3),
            "interval": [round(float(interval.low), 3), round(float(interval.high), 3)],
            "spearman": round(float(stats.spearmanr(doubt, accuracy).statistic), 3)}


def _worth_a_check(pairs: list[tuple[float, float]], good_dice: float = 0.7) -> dict:
    """Mean uncertainty that best parts structures below ``good_dice`` from the others (Youden)."""
    doubt, accuracy = np.array(pairs).T
    bad = accuracy < good_dice
    if bad.all() or not bad.any():
        return {}
    limits = np.unique(doubt)
    flagged = doubt[None] >= limits[:, None]
    sensitivity = (flagged & bad).sum(1) / bad.sum()
    specificity = (~flagged & ~bad).sum(1) / (~bad).sum()
    best = int((sensitivity + specificity).argmax())
    return {"uncertainty_limit": round(float(limits[best]), 4), "dice_below": good_dice,
            "sensitivity": round(float(sensitivity[best]), 2),
            "specificity": round(float(specificity[best]), 2), "n_structures": len(pairs)}
