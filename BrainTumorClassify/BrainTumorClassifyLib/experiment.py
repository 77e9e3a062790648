# SPDX-License-Identifier: Apache-2.0
"""The trainings of the experiment: each one a file, so that what was killed goes on.

A run is one network, fine-tuned on one split and tested on the rest. All networks of a repetition
have the same split. Nothing is chosen on the tested images: the number of steps is set beforehand
and the last weights count.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ReadingRoomLib.devices import available_cores, import_torch, release_memory
from ReadingRoomLib.errors import OutOfMemory
from ReadingRoomLib.results import whole_file
from ReadingRoomLib.training import TrainingSettings, train

from . import experiment_patients
from .experiment_patients import MODERN, predict_patients, train_on_patients
from .experiment_splits import SplitKind
from .published_networks import build_network, take_over

TESTED_AT_ONCE = 64
MOST_SHIFT = 1 / 16  # of the image's side
Build = Callable[[str, int], nn.Module]


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned; the same for all of an experiment.

    Attributes:
        steps: of training; 0: ten passes through the images.
        batch: images in a step.
        learning_rate: of AdamW.
        seed: of everything that is drawn.
    """

    steps: int = 0
    batch: int = 32
    learning_rate: float = 1e-4
    seed: int = 0

    PASSES = 10

    def steps_for(self, images: int) -> int:
        return self.steps or max(1, -(-self.PASSES * images // self.batch))


@dataclass(frozen=True)
class Run:
    """One training and its test; enough for another process to do it.

    Attributes:
        model: name that ``build`` knows.
        split, repetition: of the images.
        images: ``.npy``, (n, 3, pixels, pixels), uint8.
        labels: of all of them, (n,).
        training, test: numbers of images.
        classes: how many.
        recipe: how it is trained.
        start: file with weights to begin with; None: random ones.
        folder: where the run's file gets its place.
        patients: number of the patient of each image, (n,).
        sizes_mm: of the region of each image, across and along the slices, (n, 2); NaN: unknown.
        build: makes the network, with random weights, from its name and the number of classes.
    """

    model: str
    split: SplitKind
    repetition: int
    images: Path
    labels: np.ndarray
    training: np.ndarray
    test: np.ndarray
    classes: int
    recipe: Recipe
    start: Path | None
    folder: Path
    patients: np.ndarray
    sizes_mm: np.ndarray
    build: Build = build_network

    @property
    def name(self) -> str:
        return f"{self.split}-{self.repetition:03}"

    @property
    def file(self) -> Path:
        """``.npz`` with ``test`` (numbers of images) and ``probabilities`` (n, classes)."""
        return self.folder / f"{self.name}.npz"

    @property
    def seed(self) -> int:
        return int(np.random.SeedSequence((self.recipe.seed, self.repetition, 1)).generate_state(
            1)[0])


class Batches(Dataset):
    """Batches of images, each pass in another order, mirrored and shifted a little at random.

    Item k depends on the seed and k alone.
    """

    def __init__(self, images: np.ndarray, run: Run, steps: int) -> None:
        self.images, self.run, self.steps = images, run, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        chosen = self.chosen(step)
        random = np.random.default_rng((self.run.seed, 1, step))
        images = np.stack([vary(self.images[number], random) for number in chosen])
        return {"image": torch.from_numpy(images).float() / 255,
                "label": torch.from_numpy(self.run.labels[chosen]).long()}

    def chosen(self, step: int) -> np.ndarray:
        """Numbers of the images of a step."""
        training, batch = self.run.training, self.run.recipe.batch
        places = np.arange(step * batch, (step + 1) * batch)
        passes = places // len(training)
        orders = {each: np.random.default_rng((self.run.seed, 0, int(each))).permutation(training)
                  for each in np.unique(passes)}
        return np.array([orders[each][place % len(training)]
                         for each, place in zip(passes, places, strict=True)])


def vary(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An image (3, height, width) left and right swapped or not, and shifted by a sixteenth."""
    if random.random() < 0.5:
        image = image[:, :, ::-1]
    side = image.shape[-1]
    most = round(side * MOST_SHIFT)
    padded = np.pad(image, ((0, 0), (most, most), (most, most)))
    down, right = random.integers(0, 2 * most + 1, 2)
    return padded[:, down:down + image.shape[1], right:right + side]


def do_run(run: Run, device: str, on_step: Callable[[int, float], None] | None = None) -> None:
    """Train, test and write the run's file; what is there already is not done again."""
    if run.file.exists():
        return
    torch.manual_seed(run.seed)
    if run.model == MODERN:
        probabilities = predict_patients(train_on_patients(run, device, on_step), run)
    else:
        images = np.load(run.images, mmap_mode="r")
        probabilities = predict(_fine_tuned(run, images, device, on_step), images, run.test, device)
    with whole_file(run.file) as unfinished:
        np.savez(unfinished, test=run.test, probabilities=probabilities)
    shutil.rmtree(run.folder / run.name, ignore_errors=True)  # its checkpoint is large


def steps_for(run: Run) -> int:
    """Training steps of a run."""
    if run.model == MODERN:
        return experiment_patients.steps_for(run)
    return run.recipe.steps_for(len(run.training))


def _fine_tuned(run: Run, images: np.ndarray, device: str,
                on_step: Callable[[int, float], None] | None) -> nn.Module:
    """A published network, trained on the images of a run."""
    steps = steps_for(run)
    network = run.build(run.model, run.classes)
    if run.start is not None:
        take_over(network, run.start)
    settings = TrainingSettings(
        steps=steps, learning_rate=run.recipe.learning_rate, weight_decay=1e-4,
        warmup_steps=max(1, steps // 20), decay_share=0.7, average_decay=0.99,
        checkpoint_every=max(100, steps // 4), workers=0, bfloat16=False, seed=run.seed)
    return train(network, Batches(images, run, steps), nn.functional.cross_entropy, settings,
                 run.folder / run.name, device, on_step)


def predict(network: nn.Module, images: np.ndarray, chosen: np.ndarray, device: str) -> np.ndarray:
    """Probabilities (n, classes) of chosen images, float32."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(chosen), TESTED_AT_ONCE):
            part = torch.from_numpy(images[chosen[start:start + TESTED_AT_ONCE]])
            found.append(network(part.to(device).float() / 255).softmax(1).cpu())
    return torch.cat(found).numpy()


# ------------------------------------------------------------------------------------- in parallel


def do_runs(runs: Sequence[Run], device: str, jobs: int,
            on_done: Callable[[float], None] = lambda done: None) -> None:
    """Do all runs, several at once if asked for.

    With ``cuda`` the processes are dealt out to all graphics cards. On processors they share the
    cores; the number of cores that a process has decides how sums are rounded, and so the last
    digits.

    Args:
        runs: those whose file is there are left out.
        device: ``cpu``, ``cuda`` or ``mps``.
        jobs: processes.
        on_done: called with how many runs are done, in parts of a run where it is known.

    Raises:
        OutOfMemory: the computer ended a process.
    """
    waiting = [run for run in runs if not run.file.exists()]
    done = len(runs) - len(waiting)
    on_done(done)
    if jobs == 1 or len(waiting) < 2:
        for number, run in enumerate(waiting, done):
            steps = steps_for(run)
            do_run(run, device, lambda step, _, n=number, all=steps: on_done(n + step / all))
            release_memory()
            on_done(number + 1)
        return
    try:
        with _processes(min(jobs, len(waiting)), device) as pool:
            for future in as_completed([pool.submit(_do_here, run) for run in waiting]):
                future.result()
                done += 1
                on_done(done)
    except BrokenProcessPool as error:
        raise OutOfMemory("A process of the experiment was ended by the computer, mostly because "
                          "memory ran out: start again with fewer at once (--jobs); what is done "
                          "is kept.") from error


@contextlib.contextmanager
def _processes(jobs: int, device: str) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not outlive a fork
    devices = context.SimpleQueue()
    cards = torch.cuda.device_count() if device == "cuda" else 0
    for number in range(jobs):
        devices.put(f"cuda:{number % cards}" if cards else device)
    threads = max(1, available_cores() // jobs)
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(jobs, context, _begin, (devices, threads))
    try:
        yield pool
    except BaseException:  # cancelled, or one failed: nobody waits for the rest
        for process in multiprocessing.active_children():
            if process not in others:
                process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_here: dict[str, Any] = {}  # of a process that does runs


def _begin(devices: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it cleans up
    import_torch().set_num_threads(threads)
    _here["device"] = devices.get()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _do_here(run: Run) -> None:
    do_run(run, _here["device"])
    release_memory()
