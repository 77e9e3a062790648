# SPDX-License-Identifier: Apache-2.0
"""What a network answers for patients of known kind, and how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import softmax

from ReadingRoomLib.estimates import Estimate

from .certainty import Certainty
from .experiment_statistics import (
    Answers,
    Statistic,
    accuracy,
    balanced_accuracy,
    calibration_error,
    estimate,
    macro_auc,
    sensitivity_of,
)
from .features import features_of
from .networks import TumorNetwork
from .sequences import NAMES, SEQUENCES
from .training_slices import PIXELS, PatientSlices, middle_of

MOST_SLICES = 16  # of a patient, evenly over the region


@dataclass(frozen=True)
class PatientAnswers:
    """What a network answers for patients, one row each.

    Attributes:
        logits: (n, classes).
        codes: (n, code).
        truth: number of the true kind, (n,).
        names: of the patients.
        atypical: whether the tumour is unlike others of its kind, (n,).
    """

    logits: np.ndarray
    codes: np.ndarray
    truth: np.ndarray
    names: tuple[str, ...]
    atypical: np.ndarray


def features_of_patient(patient: PatientSlices, pixels: int = PIXELS) -> np.ndarray:
    """Radiomic features of a patient with all sequences, as the network gets them."""
    return features_of(middle_of(patient, MOST_SLICES, pixels), np.ones(len(SEQUENCES), bool),
                       patient.side_mm, patient.extent_mm)


def answers(network: TumorNetwork, patients: Sequence[PatientSlices], kinds: Sequence[str],
            absent: str | None = None, pixels: int = PIXELS) -> PatientAnswers:
    """Answers of a network for patients as they are, or without one of the sequences."""
    device = next(network.parameters()).device
    present = np.array([name != absent for name in SEQUENCES])
    logits, codes = [], []
    for patient in patients:
        slices = middle_of(patient, MOST_SLICES, pixels) * present[:, None, None]
        features = features_of(slices, present, patient.side_mm, patient.extent_mm)
        with torch.inference_mode():
            found, _, code = network(
                *(torch.from_numpy(part.astype(np.float32))[None].to(device)
                  for part in (slices, present, features)))
        logits.append(found[0].cpu().numpy())
        codes.append(code[0].cpu().numpy())
    return PatientAnswers(np.stack(logits).astype(float), np.stack(codes).astype(float),
                   np.array([list(kinds).index(one.kind) for one in patients]),
                   tuple(one.patient for one in patients),
                   np.array([bool(one.atypical) for one in patients]))


def measure(certainty: Certainty, found: PatientAnswers, error: float) -> dict[str, str | int]:
    """All numbers for the model card, each with its 95 % interval by resampling patients.

    Args:
        certainty: what the answers rest on.
        found: for patients that nothing was learned or calibrated on.
        error: of the sets of kinds.
    """
    tested = tested_by(certainty, found)
    raw = replace(tested, probabilities=softmax(found.logits, axis=1))
    sets = [certainty.kinds_within(each, error) for each in found.logits]
    single = np.array([len(each) == 1 for each in sets])
    held = np.array([kind in each for kind, each in zip(found.truth, sets, strict=True)])
    measured = {"patients": len(found.truth)}
    estimates: dict[str, Estimate] = {
        "accuracy": estimate([tested], accuracy),
        "balanced_accuracy": estimate([tested], balanced_accuracy),
        "macro_auc": estimate([tested], macro_auc),
        **{f"sensitivity_{kind}": estimate([tested], sensitivity_of(number))
           for number, kind in enumerate(certainty.kinds)},
        "accuracy_typical": _among(tested, ~found.atypical, accuracy),
        "accuracy_atypical": _among(tested, found.atypical, accuracy),
        "calibration_error_before": estimate([raw], calibration_error),
        "calibration_error_after": estimate([tested], calibration_error),
        "true_kind_in_the_set": _share(tested, held),
        "one_kind_left": _share(tested, single),
        "right_where_one_is_left": _among(tested, single, accuracy),
    }
    return measured | {name: str(value) for name, value in estimates.items()}


def tested_by(certainty: Certainty, found: PatientAnswers) -> Answers:
    """The same as calibrated probabilities, one image for each patient."""
    return Answers(found.truth, np.arange(len(found.truth)),
                  np.stack([certainty.probabilities(each) for each in found.logits]))


def without(network: TumorNetwork, patients: Sequence[PatientSlices], certainty: Certainty,
            ) -> dict[str, str]:
    """Accuracy where a sequence is missing, by sequence."""
    return {f"accuracy_without_{name}": str(estimate(
        [tested_by(certainty, answers(network, patients, certainty.kinds, name))], accuracy))
        for name in NAMES}


def _among(tested: Answers, chosen: np.ndarray, statistic: Statistic) -> Estimate:
    """A statistic of some of the patients."""
    if not chosen.any():
        return Estimate(np.nan, np.nan, np.nan, 0)
    return estimate([Answers(tested.labels[chosen], tested.patients[chosen],
                            tested.probabilities[chosen])], statistic)


def _share(tested: Answers, happened: np.ndarray) -> Estimate:
    """How often something happened."""
    def share(_: Answers, weights: np.ndarray) -> np.ndarray:
        return weights @ happened.astype(float) / weights.sum(1)

    return estimate([tested], share)
