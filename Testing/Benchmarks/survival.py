# SPDX-License-Identifier: Apache-2.0
"""Whether a lesion survives registration: its z under every mode, against that under the truth.

Simulated lesions in simulated follow-ups of real CTs, whose motion is known. The z mass of a lesion
is the sum of its z, each with the sign that it has under the true motion, and its change the same
in HU. A mode that follows a new lesion instead of the bone loses of both; one that is less exact
than the truth loses of z, because its error is larger. elastix's registrations stand for transforms
that a user brings (``--transform``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from registration import all_methods

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.volume_files import quiet
from TemporalSubtractionLib.comparison import Classical, Compared
from TemporalSubtractionLib.lesions import in_follow_up
from TemporalSubtractionLib.quality import alignment_quality, without_bent_bone
from TemporalSubtractionLib.simulated_pairs import changed_scan, patients
from TemporalSubtractionLib.subtraction import AlikeScans, make_alike, read_calibration

SEED, LESIONS = 1, 10
SPINES = ("TotalSegmentator trunk", "TotalSegmentator thorax", "LungDx A0001")
OFFERED = ("ours", "ours_soft_tissue")  # what is not ours is looked at for bent bone
RESAMPLINGS = 2000


def of_all_modes(data: Path) -> dict:
    """Share of the lesions' z mass that remains under each mode.

    Args:
        data: folder with the CTs.
    """
    methods = all_methods()
    shares: dict[str, dict[str, list[list[float]]]] = {name: {} for name in methods}
    bent: dict[str, dict[str, float]] = {name: {} for name in methods if name not in OFFERED}
    for patient, prior in ((name, ct) for name, ct in patients(data) if name in SPINES):
        grown, follow_up = changed_scan(prior, SEED, LESIONS)
        current, truth = follow_up.current, in_follow_up(grown, follow_up)
        reference = _scans(current, prior, follow_up.transform(), False)[0]
        for name, register in methods.items():
            try:
                scans, bent_share = _scans(current, prior, register(current, prior),
                                           name not in OFFERED)
            except (BadInput, RuntimeError) as refused:
                print(f"{patient}, {name}: {refused}", file=sys.stderr)
                continue
            shares[name][patient] = _masses(reference, scans, truth)
            if name in bent:
                bent[name][patient] = round(bent_share, 3)
        print(f"{patient}: measured", file=sys.stderr)
    result = {name: _summary(by_patient) for name, by_patient in shares.items()}
    for name, by_patient in bent.items():
        result[name]["share_of_bone_bent"] = by_patient
    return result


def _scans(current: sitk.Image, prior: sitk.Image, transform: sitk.Transform,
           given: bool) -> tuple[AlikeScans, float]:
    """The scans as ``subtract`` compares them, and the share of bone that is left out as bent."""
    with quiet():
        quality = alignment_quality(current, prior, transform)
        quality, bent = without_bent_bone(quality, transform) if given else (quality, 0.0)
        return make_alike(current, prior, transform, quality, matched=True), bent


def _masses(reference: AlikeScans, scans: AlikeScans, truth: sitk.Image) -> list[list[float]]:
    """z mass of each lesion under the true motion and under another, and its change likewise."""
    method = Classical(read_calibration())
    z, other = method(reference.pair).z, method(scans.pair).z
    change, changed = _change(reference.pair), _change(scans.pair)
    grid = reference.harmonised.grid
    numbers = sitk.GetArrayFromImage(sitk.Resample(truth, grid, sitk.Transform(),
                                                   sitk.sitkNearestNeighbor, 0))
    lesions = [numbers == number for number in np.unique(numbers[numbers > 0])]
    sign = np.sign(z)
    return [[float((sign * values)[where].sum()) for values in (z, other, change, changed)]
            for where in lesions if np.abs(z[where]).sum() > 0]


def _change(pair: Compared) -> np.ndarray:
    """HU, 0 where nothing is compared."""
    return np.where(pair.where, pair.current - pair.expected, 0)


def _summary(by_patient: dict[str, list[list[float]]]) -> dict:
    """What remains of all z mass, with its 95 % interval by patient, and of single lesions."""
    if not by_patient:
        return {}
    names = list(by_patient)
    random = np.random.default_rng(0)

    def remaining(chosen: list[str], column: int = 0) -> float:
        total = np.concatenate([by_patient[name] for name in chosen]).sum(0)
        return float(total[column + 1] / total[column])

    draws = [remaining(random.choice(names, len(names)).tolist()) for _ in range(RESAMPLINGS)]
    low, high = np.quantile(draws, (0.025, 0.975))
    lesions = np.concatenate([by_patient[name] for name in names])
    return {
        "lesions": len(lesions), "patients": len(names),
        "z_mass_remaining": f"{remaining(names):.3f} ({low:.3f} to {high:.3f})",
        "change_remaining": round(remaining(names, 2), 3),
        "median_of_lesions": {"z_mass": round(float(np.median(lesions[:, 1] / lesions[:, 0])), 3),
                              "change": round(float(np.median(lesions[:, 3] / lesions[:, 2])), 3)},
        "by_patient": {name: {"z_mass": round(remaining([name]), 3),
                              "change": round(remaining([name], 2), 3)} for name in names},
    }
