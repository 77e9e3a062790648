# SPDX-License-Identifier: Apache-2.0
"""How well bone lesions are found in one CT: simulated lesions in real CTs.

Every patient is read by models that were not shown the patient. The peer is the difference from the
mean density of the bone around, grouped into candidates in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from detection import LEAST_MM, LESIONS, Readings
from scipy import ndimage

from ReadingRoomLib.geometry import image_like
from TemporalSubtractionLib.anomaly import anomaly_of, calibrations_of, load_model
from TemporalSubtractionLib.anomaly_scan import Scan, scan_of
from TemporalSubtractionLib.anomaly_scores import SCORES, unusual
from TemporalSubtractionLib.anomaly_starter import HELD_OUT
from TemporalSubtractionLib.calibration import Calibration
from TemporalSubtractionLib.lesions import Lesion, insert_lesions
from TemporalSubtractionLib.simulated_pairs import patients
from TemporalSubtractionLib.starter import shares_within, voxels_of

FOLDS = Path(__file__).parent / "AnomalyFolds"
SEEDS = (1, 2)  # of the lesions of a patient, each in a case of its own
PEER = "density_around"


@dataclass(frozen=True)
class Case:
    """A CT with lesions, as the networks see it.

    Attributes:
        patient: name.
        lesions: in the order of their numbers.
        truth: number of the lesion in every voxel of ``scan``, 0 elsewhere.
        scan: the CT.
    """

    patient: str
    lesions: tuple[Lesion, ...]
    truth: np.ndarray
    scan: Scan


def in_one_ct(data: Path) -> dict:
    """FROC of every score, and how normal z is in what was not changed, by patient."""
    readings: dict[str, Readings] = {}
    normal_z: dict[str, dict[str, list[np.ndarray]]] = {}
    for case in _cases(data):
        normal = case.scan.bone & ~ndimage.binary_dilation(case.truth > 0, iterations=2)
        for name, score, change, calibration in _scores(case, normal):
            found = anomaly_of(score, change, case.scan, calibration)
            readings.setdefault(name, Readings()).add(
                case.patient, case.lesions, case.truth, found.candidates, found.labels)
            if name != PEER:
                normal_z.setdefault(name, {}).setdefault(case.patient, []).append(
                    voxels_of(found.z[normal]))
        print(f"{case.patient}: read", file=sys.stderr, flush=True)
    return {
        "dataset": f"real CTs with simulated lesions, {LESIONS} wanted in each; asked for are "
                   f"those of at least {LEAST_MM:g} mm",
        **{name: each.summary() for name, each in readings.items()},
        "calibration": {name: {patient: shares_within(np.concatenate(z))
                               for patient, z in by_patient.items()}
                        for name, by_patient in normal_z.items()},
    }


def _cases(data: Path) -> Iterator[Case]:
    for patient, ct in patients(data):
        healthy = scan_of(ct).around_bone()
        for seed in SEEDS:
            grown = insert_lesions(image_like(healthy.density, healthy.grid),
                                   image_like(healthy.bone.astype(np.uint8), healthy.grid),
                                   LESIONS, seed)
            scan = scan_of(sitk.Cast(grown.image, sitk.sitkFloat32))
            yield Case(patient, grown.lesions, sitk.GetArrayFromImage(grown.truth), scan)


def _scores(case: Case, normal: np.ndarray):
    """Name, values, change of density and calibration of every score."""
    [fold] = [number for number, names in enumerate(HELD_OUT) if case.patient in names]
    for method in SCORES:
        bundle = load_model(str(FOLDS / f"{method}-{fold}"), method)
        scores, change = unusual(bundle.network, case.scan)
        for name, score in scores.items():
            yield name, score, change, calibrations_of(bundle)[name]
    # the flows' change is the difference from the bone around
    yield PEER, change, change, Calibration((0.0, float(change[normal].std())), (0.0, 1.0))
