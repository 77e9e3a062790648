# SPDX-License-Identifier: Apache-2.0
"""Our network in the experiment: it answers for a patient, from all slices of the tumour.

It learns on the same splits as the published networks. The images of a patient that it may learn
from are one patient to it, and so are those that it is tested on; each tested image gets the answer
for its patient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from ReadingRoomLib.training import TrainingSettings, train

from .evaluation import answers, features_of_patient
from .experiment_data import patients_among
from .features import FEATURES
from .networks import SMALL, TumorNetwork
from .training_slices import (
    PIXELS,
    STEP_PATIENTS,
    STEP_SLICES,
    PatientBatches,
    PatientSlices,
    kind_loss,
)

if TYPE_CHECKING:
    from .experiment import Run

MODERN = "modern"
TITLE = "Ours (modern)"
PASSES = 30  # through the patients, where the number of steps is not given
LEARNING_RATE = 1e-3
FOLDED = 16  # sides of images are multiples of it


def steps_for(run: Run) -> int:
    """Training steps of our network."""
    learned = len(np.unique(run.patients[run.training]))
    return run.recipe.steps or max(1, -(-PASSES * learned // STEP_PATIENTS))


def train_on_patients(run: Run, device: str,
                      on_step: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train our network on the patients of a run."""
    kinds = _kinds(run)
    learned, pixels = patients_of(run, run.training), pixels_of(run)
    steps = steps_for(run)
    network = TumorNetwork(run.classes, len(FEATURES), **SMALL)
    network.know_features(torch.from_numpy(np.stack([
        features_of_patient(one, pixels) for one in learned])))
    batches = PatientBatches(learned, kinds, steps, STEP_PATIENTS, STEP_SLICES, run.seed,
                             pixels=pixels)
    settings = TrainingSettings(
        steps=steps, learning_rate=LEARNING_RATE, weight_decay=1e-2,
        warmup_steps=max(1, steps // 20), decay_share=0.7, average_decay=0.99,
        checkpoint_every=max(100, steps // 4), workers=0, bfloat16=False, seed=run.seed)
    return train(network, batches, kind_loss, settings, run.folder / run.name, device, on_step,
                 further=("present", "features"))


def predict_patients(network: nn.Module, run: Run) -> np.ndarray:
    """Probabilities (n, classes), float32, of the tested images: those of their patients."""
    tested = patients_of(run, run.test)
    found = softmax(answers(network, tested, _kinds(run), pixels=pixels_of(run)).logits, 1)
    of_patient = {one.patient: row for one, row in zip(tested, found, strict=True)}
    return np.stack([of_patient[str(run.patients[image])] for image in run.test]).astype(np.float32)


def patients_of(run: Run, chosen: np.ndarray) -> list[PatientSlices]:
    """Patients with those of their images that are chosen, in their order."""
    return patients_among(np.load(run.images, mmap_mode="r"), run.labels, run.patients,
                          run.sizes_mm, _kinds(run), chosen)


def pixels_of(run: Run) -> int:
    """Side of the images that our network sees."""
    side = np.load(run.images, mmap_mode="r").shape[-1]
    return min(PIXELS, max(FOLDED, side // FOLDED * FOLDED))


def _kinds(run: Run) -> tuple[str, ...]:
    return tuple(map(str, range(run.classes)))
