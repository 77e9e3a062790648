# SPDX-License-Identifier: Apache-2.0
"""How the calibrations that come with the program were made: ``make models``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import SimpleITK as sitk
import typer

from ReadingRoomLib.errors import BadInput

from .calibration import Calibration
from .simulated_pairs import SimulatedPair, patients, simulated_pair
from .subtraction import CALIBRATIONS, Subtraction, subtract

STABLE_SEEDS = (101, 102)
MOST_VOXELS = 50_000  # of a patient

app = typer.Typer(add_completion=False, help=__doc__)


@app.callback()
def main() -> None:
    """Recipes for what comes with the program."""


@app.command()
def calibrate(
    data: Annotated[Path, typer.Option(help="Folder with CTs.")],
    output: Annotated[Path, typer.Option(help="File to write.")] = CALIBRATIONS,
) -> None:
    """Learn from stable pairs how large z is where nothing changed."""
    z = {}
    for patient, ct in patients(data):
        pair = stable_pair(patient, ct)
        if pair:
            z[patient] = stable_z(compared(pair))
            typer.echo(f"{patient}: {shares_within(z[patient])}")
    made = by_patient(list(z.values()))
    output.write_text(json.dumps({"classical": {
        "computed": made.computed, "normal": made.normal, "patients": list(z)}}, indent=1) + "\n",
        "utf-8")
    typer.echo(f"Written to {output}")


def stable_pair(patient: str, ct: sitk.Image) -> SimulatedPair | None:
    """A pair without any change; the first that can be aligned, and what was refused is said."""
    for seed in STABLE_SEEDS:
        try:
            return simulated_pair(patient, ct, seed)
        except BadInput as refused:
            typer.echo(f"{patient}, {seed}: {refused}", err=True)
    return None


def compared(pair: SimulatedPair, calibration: Calibration | None = None) -> Subtraction:
    """What the subtraction says of a pair; without a calibration, z as computed."""
    return subtract(pair.current, pair.prior, pair.transform, pair.quality,
                    calibration or Calibration())


def stable_z(found: Subtraction, changed: np.ndarray | None = None) -> np.ndarray:
    """z of a random part of the bone that was compared, without what is known to have changed."""
    values = found.z[found.compared if changed is None else found.compared & ~changed]
    random = np.random.default_rng(0)
    return random.choice(values, min(len(values), MOST_VOXELS), replace=False)


def by_patient(z: list[np.ndarray]) -> Calibration:
    """A calibration in which every patient counts alike."""
    return Calibration.of(np.concatenate(z),
                          np.concatenate([np.full(len(part), 1 / len(part)) for part in z]))


def shares_within(z: np.ndarray) -> dict[str, float]:
    """Per cent of values within 1, 2 and 3; of a standard normal 68.3, 95.4 and 99.7."""
    return {f"within_{limit}": round(100 * float((np.abs(z) < limit).mean()), 1)
            for limit in (1, 2, 3)}


if __name__ == "__main__":
    app()
