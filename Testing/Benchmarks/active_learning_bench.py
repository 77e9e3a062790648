# SPDX-License-Identifier: Apache-2.0
"""Active learning with a simulated annotator on the cohort of simulated patients.

What is done stays in the folder of the results, run by run: what was cut off goes on.
"""

from __future__ import annotations

from pathlib import Path

import typer
from muscles import cohort_of

from MuscleSegLib import active_learning_command, simulate_command
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.results import read_result

SEEDS, SEED = 5, 0
NOTE = ("Simulated patients, made by deformation of the label maps of three people, who are behind "
        "the pool and behind the held-out patients alike; a small network, voxels of 9 x 8 x 8 mm.")


def of_arms(output: Path, data: Path) -> dict:
    """All arms at equal cost, and what a share of the Dice of everything costs.

    Args:
        output: gets ``active-learning`` with the report, and ``active-learning-runs``.
        data: folder of the label maps.
    """
    cohort = cohort_of(output, data)
    folder = output / "active-learning"
    with run_job(module="MuscleSeg", command="active-learning", output=folder, progress="none",
                 seed=SEED, overwrite=True) as job:
        active_learning_command.run(job, active_learning_command.Options(
            cohort / simulate_command.DATALIST, output / "active-learning-runs", seeds=SEEDS),
            typer.echo)
    found = read_result(folder)
    return {"dataset": NOTE, **{name: found[name] for name in (
        "pool_patients", "tested_patients", "seeds", "plan", "pool", "final", "equal_cost",
        "cost_to_reach", "finding", "published")}}
