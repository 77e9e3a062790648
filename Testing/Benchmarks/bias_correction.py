# SPDX-License-Identifier: Apache-2.0
"""What bias-field correction does to radiomic features: two real tumours, and simulated patients.

Two patients are too few for any correlation; what they say is how far values move. Twenty simulated
ones, each drawn at one of twelve sites with coils of their own, also say whether patients keep
their order, as scanned and with a stronger field on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainTumorClassifyLib.kinds import KINDS
from BrainTumorClassifyLib.perturbations import shaded
from BrainTumorClassifyLib.radiomics import Features, both_arms, tumour_mask
from BrainTumorClassifyLib.radiomics_study import Stability, stability_of, summary_of
from BrainTumorClassifyLib.simulated_patients import ENHANCING, NECROSIS, simulated_patient
from BrainTumorClassifyLib.study import make_study
from ReadingRoomLib.images import read_image
from ReadingRoomLib.phantoms.brain_template import fetch_brain_template

REAL = "mri_pyradiomics_tumour_samples"
PATIENTS, SEED = 20, 977
STRONGER = 60.0  # % that the field varies by in the brain
SEQUENCE = "t1c"
Found = tuple[str, Mapping[str, Features]]


def of_radiomics(data: Path) -> dict:
    """Numbers of features by their variation and correlation, and each feature's own."""
    result = {}
    if (data / REAL).is_dir():
        result["real"] = _described(stability_of(_real(data / REAL)))
    scanned, stronger = zip(*_simulated(), strict=True)
    result["simulated"] = _described(stability_of(scanned))
    result[f"simulated, {STRONGER:g} % more"] = _described(stability_of(stronger))
    return result


def _real(folder: Path) -> Iterator[Found]:
    for name in ("brain1", "brain2"):
        image = read_image(folder / f"{name}_image.nrrd", "MR").image
        mask = sitk.ReadImage(str(folder / f"{name}_label.nrrd"))
        yield SEQUENCE, both_arms(image, tumour_mask(mask, image), SEQUENCE)


def _simulated() -> Iterator[tuple[Found, Found]]:
    """Of each patient as scanned, and with a stronger field."""
    template = fetch_brain_template()
    for number in range(PATIENTS):
        brain = simulated_patient(template, KINDS[number % len(KINDS)], (SEED, number))
        solid = (brain.truth == ENHANCING) + (brain.truth == NECROSIS)
        study = make_study({SEQUENCE: brain.images[SEQUENCE]}, ("t1", "t2"), aligned=True)
        mask = tumour_mask(solid, study.reference)
        uneven = shaded(study, STRONGER, np.random.default_rng((SEED, number)))
        yield tuple((SEQUENCE, both_arms(image[SEQUENCE], mask, SEQUENCE))
                    for image in (study.images, uneven))


def _described(rows: list[Stability]) -> dict:
    return {
        "patients": max(row.patients for row in rows), **summary_of(rows),
        "features_by_variation": {
            row.feature: f"CV {row.variation:.3f}, ICC {row.icc}, concordance {row.concordance}"
            for row in sorted(rows, key=lambda row: -np.nan_to_num(row.variation, nan=np.inf))
            if not row.unchanged}}
