# SPDX-License-Identifier: Apache-2.0
"""Patients that the starter model learned from and is measured on."""

from __future__ import annotations

import SimpleITK as sitk

from ReadingRoomLib.phantoms.brain_mri import BrainSettings, SimulatedBrain, simulate_brain
from ReadingRoomLib.phantoms.brain_template import BrainTemplate
from ReadingRoomLib.phantoms.brain_tumours import draw_tumour
from ReadingRoomLib.phantoms.randomness import Randomness

from .regions import Region, region_from_mask
from .study import Study, make_study
from .training_slices import PatientSlices, cut_patient

SETTINGS = BrainSettings(motion=0.5)
"""What is left of motion once the sequences were aligned; to align each would take much longer."""
ENHANCING, NECROSIS = 1, 2  # of the truth: tumour without the oedema around it


def simulated_patient(template: BrainTemplate, kind: str, seed: tuple[int, ...],
                      settings: BrainSettings = SETTINGS) -> SimulatedBrain:
    """Draw a tumour of a kind and simulate the sequences; the same numbers give the same."""
    return simulate_brain(template, draw_tumour(kind, template, Randomness(*seed, 1)), (*seed, 2),
                          settings)


def study_of(brain: SimulatedBrain) -> tuple[Study, Region]:
    """The sequences, and the region as somebody would draw it who outlined the tumour."""
    study = make_study(brain.images, aligned=True)
    solid = (brain.truth == ENHANCING) + (brain.truth == NECROSIS)
    return study, region_from_mask(study, sitk.Cast(solid, sitk.sitkUInt8))


def slices_of(brain: SimulatedBrain, patient: str) -> PatientSlices:
    """The region of the tumour, cut for training."""
    return cut_patient(*study_of(brain), brain.kind, patient, brain.site, brain.atypical or "")
