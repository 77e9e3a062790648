# SPDX-License-Identifier: Apache-2.0
"""Train the starter model: ``python -m MuscleSegLib.starter --help`` (``make models``).

Everything is seeded; a killed training resumes where its last checkpoint is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
import typer
from ReadingRoomLib.phantoms.ct_synthesis import RegionMap, SynthesisSettings
from ReadingRoomLib.training import TrainingSettings, train

from .anatomy import read_pelvic_reference, read_trunk_labels
from .networks import ContextUNet
from .recipes import CLASSES, MODERN, SimulatedSlabs, segmentation_loss

PELVIC_CASES = ("001", "002", "005")
TRUNK_CASES = ("s0327", "s0328")
TRUNK_SHARE = 0.22  # of the slabs, so that organs, chest and head are known as "not these"


def read_anatomies(data: Path, without: str | None = None) -> list[tuple[RegionMap, float]]:
    """Region maps of the training subjects with the share of slabs each gives.

    Args:
        data: folder that holds ``pelvic_muscle_labels`` and ``labels_totalsegmentator_*``.
        without: pelvic case to hold out.
    """
    cases = [case for case in PELVIC_CASES if case != without]
    pelvic = [read_pelvic_reference(data / "pelvic_muscle_labels" / f"Pelvic-Ref-{case}")
              for case in cases]
    folder = data / "labels_totalsegmentator_gt_s0327_s0328"
    trunk = [read_trunk_labels(folder / f"{case}_labels.nii.gz", folder / f"{case}_labels.json")
             for case in TRUNK_CASES]
    return [(a, (1 - TRUNK_SHARE) / len(pelvic)) for a in pelvic] + [
        (a, TRUNK_SHARE / len(trunk)) for a in trunk
    ]


def main(
    data: Path = typer.Option(..., help="Folder with the label maps."),
    work: Path = typer.Option(..., help="Folder for checkpoints and history."),
    steps: int = typer.Option(5500, help="Training steps of 16 slices each."),
    without: str = typer.Option("", help="Pelvic case to hold out (001, 002 or 005)."),
    seed: int = typer.Option(0),
) -> None:
    """Train the modern network on simulated CT of the reference anatomies."""
    anatomies = read_anatomies(data, without or None)
    slabs = SimulatedSlabs(anatomies, steps, MODERN, SynthesisSettings(), seed)
    torch.manual_seed(seed)
    network = ContextUNet(len(MODERN.windows), CLASSES).to(memory_format=torch.channels_last_3d)
    settings = TrainingSettings(steps=steps, learning_rate=1.5e-3, seed=seed)
    started = time.monotonic()

    def report(step: int, loss: float) -> None:
        if step % 20 == 0:
            print(f"{step}/{steps} loss {loss:.3f} {time.monotonic() - started:.0f} s",
                  file=sys.stderr, flush=True)

    train(network, slabs, segmentation_loss, settings, work, on_step=report)


if __name__ == "__main__":
    typer.run(main)
