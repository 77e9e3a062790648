# SPDX-License-Identifier: Apache-2.0
"""Training on a user's own images: curves meanwhile, and a folder that knows whose it is.

Validation images do not choose the weights, so that what was trained can be calibrated on them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from .errors import BadInput
from .learning_curves import HISTORY, draw_curves, read_history, table_of
from .results import whole_file
from .training import OtherSettings, TrainingSettings, Validation, train

LOOKS = 40  # at the validation images, during a training, at most
APART = 10  # steps between two of them, so that a short training is not mostly looks
REDRAWN_AFTER = 2.0  # seconds; a training may take more looks in them
CURVES = "curves.png"
LEARNED_FROM = "learned_from.txt"


def train_with_curves(
    network: nn.Module, data: Dataset, loss: Callable, look: Callable[[nn.Module], Mapping] | None,
    accuracy: Callable, settings: TrainingSettings, folder: Path, device: str,
    on_step: Callable[[int, float], None], title: str, further: Sequence[str] = (),
) -> nn.Module:
    """Train, with the curves of training and validation in the folder meanwhile.

    Args:
        network, data, loss, settings, folder, device, further: as for :func:`.training.train`.
        look: at the validation images: gets the averaged network in evaluation mode, and gives
            numbers by name, such as ``loss`` and ``accuracy``. None where there are none.
        accuracy: of a batch, from answer and label, 0 to 1.
        on_step: called after each step with its number and loss.
        title: of the picture.

    Raises:
        BadInput: the folder holds a training with other settings.
    """
    every = settings.steps // max(1, min(LOOKS, settings.steps // APART))
    drawn = 0.0

    def draw() -> None:
        draw_curves(table_of(read_history(folder / HISTORY)), folder / CURVES, title)

    def score(network: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            return {f"validation_{name}": float(value) for name, value in look(network).items()}

    def after_step(step: int, value: float) -> None:
        nonlocal drawn
        if step % every == 0 and time.monotonic() - drawn > REDRAWN_AFTER:
            draw()
            drawn = time.monotonic()
        on_step(step, value)

    try:
        trained = train(network, data, loss, settings, folder, device, after_step,
                        Validation(score, every, chooses=False) if look else None, accuracy,
                        further)
    except OtherSettings as error:
        raise _of_another(folder.parent) from error
    draw()
    return trained


def claim_folder(folder: Path, learned_from: Mapping[str, Any], named: Path | None = None,
                 file: str = LEARNED_FROM) -> None:
    """Note in a folder what belongs into it; only the same may go on there.

    Args:
        folder: of a training.
        learned_from: whatever must stay the same.
        named: the folder that the user knows; by default the one above.
        file: in the folder, for a mark of that.

    Raises:
        BadInput: there is something else in it.
    """
    text = json.dumps(learned_from, sort_keys=True)
    known = hashlib.sha256(text.encode()).hexdigest()
    path = folder / file
    if path.exists():
        if path.read_text("utf-8").strip() != known:
            raise _of_another(named or folder.parent)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(known + "\n", "utf-8")


def _of_another(folder: Path) -> BadInput:
    """What is said of a folder in which something else was begun."""
    return BadInput(f"{folder} holds a training with other images, weights or settings: delete "
                    "that folder to begin anew, or name another one (--work).")
