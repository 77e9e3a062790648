# SPDX-License-Identifier: Apache-2.0
"""Detectors of lesions: fitted on training cases, and what they say of all patches of test cases.

Each fit is a file in the work folder, so that a comparison that was killed goes on, and so does one
that gets another arm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ReadingRoomLib.results import whole_file

from .arms import Arm
from .boosting import Scorer, boost, probe
from .transfer_finetuning import fine_tune
from .transfer_samples import Samples

Classifier = Literal["adaboost", "probe", "finetune"]
CLASSIFIERS: dict[Classifier, str] = {
    "adaboost": "AdaBoost of decision stumps on the features of the frozen network",
    "probe": "logistic regression on the features of the frozen network",
    "finetune": "all weights of the network, trained on",
}


@dataclass(frozen=True)
class Task:
    """A fit.

    Attributes:
        arm: whose features.
        repetition: number of its network.
        classifier: what is fitted.
        learners: most weak learners of AdaBoost.
        steps: of fine-tuning.
        seed: of the fit.
        patients: numbers of the training patients to learn from; None: all.
    """

    arm: Arm
    repetition: int
    classifier: Classifier
    learners: int
    steps: int
    seed: int
    patients: tuple[int, ...] | None = None

    def key(self, samples: Samples) -> str:
        """Changes with anything that the scores depend on."""
        size = {"adaboost": self.learners, "finetune": self.steps, "probe": 0}[self.classifier]
        known = [self.arm.name, self.arm.fingerprint, self.repetition, self.classifier, size,
                 self.seed, self.patients, samples.patients(False).tolist(), samples.fingerprint]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:20]


def scores_of(task: Task, samples: Samples, features: np.ndarray, folder: Path, device: str,
              on_part: Callable[[float], None] = lambda share: None) -> np.ndarray:
    """Fit and score the patches of the test cases, or take the scores that were made before.

    Args:
        task: what to fit.
        samples: all patches.
        features: of the repetition of the arm, (n, d); not looked at in fine-tuning.
        folder: of the work.
        device: torch device.
        on_part: called with the share of the fit that is done.

    Returns:
        (stages, patches of test cases), float32: AdaBoost has a stage for each number of weak
        learners, other classifiers have one.
    """
    path = folder / f"scores-{task.arm.name}-{task.key(samples)}.npy"
    if not path.exists():
        scores = _fitted(task, samples, features, folder, device, on_part)
        with whole_file(path) as unfinished, open(unfinished, "wb") as file:
            np.save(file, scores.astype(np.float32))
    on_part(1.0)
    return np.load(path, allow_pickle=False)


def _fitted(task: Task, samples: Samples, features: np.ndarray, folder: Path, device: str,
            on_part: Callable[[float], None]) -> np.ndarray:
    learned = samples.used & ~samples.test
    if task.patients is not None:
        learned &= np.isin(samples.patient, task.patients)
    lesion = samples.lesion[learned]
    if task.classifier == "finetune":
        scorer: Scorer = fine_tune(
            task.arm.networks[task.repetition], samples.patches[learned], lesion, task.steps,
            task.seed, folder / f"finetune-{task.key(samples)}", device,
            lambda step, _: on_part(step / task.steps))
        return scorer(samples.patches[samples.test])
    if task.classifier == "probe":
        scorer = probe(features[learned], lesion, samples.patient[learned], task.seed)
    else:
        scorer = boost(features[learned], lesion, task.learners, task.seed)
    return scorer(features[samples.test])


def weak_learners(classifier: Classifier, learners: int, chosen: Sequence[int]) -> list[int]:
    """At which numbers of weak learners arms are compared; [1] where there are none."""
    if classifier != "adaboost":
        return [1]
    return [each for each in chosen if each <= learners] or [learners]
