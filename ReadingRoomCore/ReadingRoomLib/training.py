# SPDX-License-Identifier: Apache-2.0
"""Training on MONAI's engine: seeded, resumable after a kill, stopped early, with live curves.

The data and the random numbers (dropout) of step k depend on the seed and on k alone, so a run that
was killed and resumed ends with exactly the weights of an uninterrupted run (with the same number
of threads, which decides how sums are rounded).
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import EarlyStopping
from monai.engines import PrepareBatchExtraInput, SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils import set_determinism
from monai.utils.enums import CommonKeys as Keys
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from .devices import fast_in_bfloat16
from .learning_curves import HISTORY, read_history
from .montecarlo import sample_seed

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
TENSORBOARD = "tensorboard"


class OtherSettings(ValueError):
    """The folder holds a training with other settings."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. A step is one optimiser update on one batch.

    The learning rate is held until the last ``decay_share`` of the steps. Until then another number
    of steps gives the same weights, so a training may be resumed as a longer or shorter one.
    """

    steps: int
    batch_size: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    decay_share: float = 1.0
    average_decay: float = 0.999
    gradient_norm: float = 5.0
    checkpoint_every: int = 100
    workers: int = 1
    bfloat16: bool = True
    seed: int = 0

    # bfloat16 is used only where the device computes it faster: emulated it takes ten times as long

    @property
    def held_until(self) -> float:
        """Step from which the learning rate goes down."""
        return max(self.warmup_steps, self.steps * (1 - self.decay_share))


@dataclass(frozen=True)
class Validation:
    """Images that are not trained on: when to look at them, and when to stop because of them.

    Attributes:
        score: gets the averaged network in evaluation mode; higher is better. It may return several
            numbers by name for the curves; then that named ``score`` chooses.
        every: steps between two looks.
        patience: so many looks without a better score end the training.
        chooses: whether the score ends the training and chooses the weights. If not, the images
            are only looked at, and can still serve to calibrate what was trained.
    """

    score: Callable[[nn.Module], float | Mapping[str, float]]
    every: int = 200
    patience: int = 10
    chooses: bool = True


class StepSampler(Sampler[int]):
    """Item numbers from ``start`` on: item k belongs to step k // batch_size, resumed or not."""

    def __init__(self, start: int, stop: int) -> None:
        self.next = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.next

    def __iter__(self):
        return iter(range(self.next, self.stop))


class AutocastInferer(Inferer):
    """Forward pass in bfloat16, or as the network is."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs, network, *args, **kwargs):
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.enabled):
            return network(inputs, *args, **kwargs)


class WeightAverage:
    """Exponential moving average of the weights; what is shipped and evaluated.

    Source: Polyak & Juditsky, SIAM J. Control Optim. 1992. The decay grows with the number of
    steps, so that a short training is averaged too.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs.to(mine.dtype), 1 - decay)
            else:
                mine.copy_(theirs)


def rate_factor(settings: TrainingSettings) -> Callable[[int], float]:
    """Factor of the learning rate at a step: linear warm-up, held, then half a cosine to 1 %."""
    held = settings.held_until

    def factor(step: int) -> float:
        if step < settings.warmup_steps:
            return (step + 1) / settings.warmup_steps
        done = max(0.0, step - held) / max(1.0, settings.steps - held)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return factor


def train(
    network: nn.Module,
    data: Dataset,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    settings: TrainingSettings,
    folder: Path,
    device: str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
    validation: Validation | None = None,
    accuracy: Callable[[Any, torch.Tensor], float] | None = None,
    further: Sequence[str] = (),
) -> nn.Module:
    """Train ``network`` and return the averaged network, resuming from ``folder`` when possible.

    Args:
        network: trained in place.
        data: map-style dataset; item k is made from k and is a small batch itself, a dictionary
            with "image" (n, channels, ...) and "label" (n, ...).
        loss: gets (logits, label), returns a scalar.
        settings: how to train.
        folder: gets ``checkpoint.pt``, ``history.jsonl``, ``settings.json``, with validation
            ``best.pt``, and the curves for TensorBoard where that is installed.
        device: torch device.
        on_step: called after every step with the number of steps done and the loss.
        validation: without it all steps are done and the last weights are returned.
        accuracy: of a batch, from answer and label, 0 to 1; for the curves.
        further: names of what else of an item the network gets, after the image.

    Returns:
        The network with averaged weights, in evaluation mode; with validation that chooses, those
        of the step with the best score.

    Raises:
        OtherSettings: the folder holds a training with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_same_settings(folder, settings)
    set_determinism(settings.seed)
    network.to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor(settings))
    average = WeightAverage(network, settings.average_decay)
    watch = _Watch(validation, folder / BEST)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule,
             "average": average.network, "watch": watch}
    start = _resume(folder / CHECKPOINT, parts, device)
    if start >= settings.steps or watch.has_ended:
        return watch.best(average.network)

    loader = DataLoader(
        data,
        batch_size=settings.batch_size,
        sampler=StepSampler(start * settings.batch_size, settings.steps * settings.batch_size),
        num_workers=settings.workers,
        collate_fn=concatenate,
        prefetch_factor=4 if settings.workers else None,
    )
    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=PrepareBatchExtraInput(tuple(further)),
        inferer=AutocastInferer(settings.bfloat16 and fast_in_bfloat16(device)),
        optim_set_to_none=True,
    )

    @trainer.on(Events.ITERATION_STARTED)
    def seed_step(engine) -> None:
        torch.manual_seed(sample_seed(settings.seed, start + engine.state.iteration))

    entry: dict[str, float] = {}

    @trainer.on(IterationEvents.FORWARD_COMPLETED)
    def after_forward(engine) -> None:
        if accuracy:
            output = engine.state.output
            entry["accuracy"] = round(float(accuracy(output[Keys.PRED], output[Keys.LABEL])), 5)

    @trainer.on(Events.ITERATION_COMPLETED)
    def after_step(engine) -> None:
        step = start + engine.state.iteration
        value = float(engine.state.output[0]["loss"])  # the engine lists its output per item
        if not math.isfinite(value):
            raise FloatingPointError(f"The loss is not a number at step {step}.")
        entry["loss"] = round(value, 5)
        learning_rate = schedule.get_last_lr()[0]
        schedule.step()
        average.update(network, step)
        looked = validation is not None and step % validation.every == 0
        if looked:
            entry.update(watch.look(trainer, average.network))
        # the history first: resuming drops the lines after the checkpoint, but cannot invent any
        with (folder / HISTORY).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **entry}) + "\n")
        curves.add(step, learning_rate=learning_rate, **entry)
        entry.clear()
        if looked or step % settings.checkpoint_every == 0 or step == settings.steps:
            _save(folder / CHECKPOINT, parts, step)
        if on_step:
            on_step(step, value)

    @trainer.on(IterationEvents.BACKWARD_COMPLETED)
    def clip(engine) -> None:
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)

    with _Curves(folder / TENSORBOARD, start) as curves:
        trainer.run()
    return watch.best(average.network)


def say_steps(settings: TrainingSettings, every: int = 20) -> Callable[[int, float], None]:
    """What tells a person in a terminal how a training goes, for ``on_step`` of :func:`train`."""
    def say(step: int, loss: float) -> None:
        if step % every == 0:
            print(f"{step}/{settings.steps} loss {loss:.3f}", file=sys.stderr, flush=True)

    return say


class _Watch:
    """Keeps the weights with the best score, and ends a training that gets no better."""

    def __init__(self, validation: Validation | None, best_file: Path) -> None:
        self.validation, self.best_file = validation, best_file
        self.stopping: EarlyStopping | None = None
        self.state: dict = {}

    @property
    def has_ended(self) -> bool:
        return bool(self.validation) and self.state.get("counter", 0) >= self.validation.patience

    def look(self, trainer: SupervisedTrainer, network: nn.Module) -> dict[str, float]:
        found = self.validation.score(network)
        numbers = {name: round(float(number), 5) for name, number in (
            found if isinstance(found, Mapping) else {"score": found}).items()}
        if not self.validation.chooses:
            return numbers
        if self.stopping is None:
            self.stopping = EarlyStopping(
                self.validation.patience, lambda engine: engine.state.score, trainer)
            if self.state:
                self.stopping.load_state_dict(self.state)
        trainer.state.score = numbers["score"]
        self.stopping(trainer)
        self.state = dict(self.stopping.state_dict())
        if self.state["counter"] == 0:
            _replace(self.best_file, network.state_dict())
        return numbers

    def best(self, network: nn.Module) -> nn.Module:
        """``network`` with the best weights, or as it is when there was no look at any."""
        if self.state:
            network.load_state_dict(torch.load(self.best_file, weights_only=True))
        return network

    def state_dict(self) -> dict:
        return self.state

    def load_state_dict(self, state: dict) -> None:
        self.state = dict(state)


class _Curves:
    """Sends the numbers of a step to TensorBoard, if that is installed."""

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.writer = None
        else:
            # what a killed run wrote after its last checkpoint is written again
            self.writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def __enter__(self) -> _Curves:
        return self

    def __exit__(self, *_) -> None:
        if self.writer:
            self.writer.close()

    def add(self, step: int, **numbers: float) -> None:
        for name, number in numbers.items():
            if self.writer:
                self.writer.add_scalar(name, number, step)


def concatenate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One batch from small batches."""
    return {name: torch.cat([item[name] for item in items]) for name in items[0]}


def _check_same_settings(folder: Path, settings: TrainingSettings) -> None:
    """Refuse to go on with other settings; other steps are no others while they change nothing."""
    path = folder / "settings.json"
    if path.exists():
        # how many processes make the images changes none of them
        before = replace(TrainingSettings(**json.loads(path.read_text("utf-8"))),
                         workers=settings.workers)
        done = steps_done(folder)
        held = done <= min(before.held_until, settings.held_until)
        if replace(before, steps=settings.steps) != settings or (before != settings and not held):
            raise OtherSettings(f"{folder} holds a training with other settings; use a new folder.")
    path.write_text(json.dumps(asdict(settings), indent=1), "utf-8")


def steps_done(folder: Path) -> int:
    """Steps of the last checkpoint in a folder, 0 where there is none."""
    path = folder / CHECKPOINT
    return torch.load(path, weights_only=True, mmap=True)["step"] if path.exists() else 0


def _save(path: Path, parts: dict, step: int) -> None:
    _replace(path, {"step": step, **{k: v.state_dict() for k, v in parts.items()}})


def _replace(path: Path, content: dict) -> None:
    """Write a file at once: a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".partial")
    torch.save(content, temporary)
    temporary.replace(path)


def _resume(path: Path, parts: dict, device: str) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state.get(name, {}) if name == "watch" else state[name])
    history = path.parent / HISTORY
    lines = [json.dumps(entry) for entry in read_history(history)
             if entry["step"] <= state["step"]]
    history.write_text("".join(line + "\n" for line in lines), "utf-8")
    return state["step"]
