# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m MuscleSegLib --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ReadingRoomLib.commands import (
    DeviceOption,
    ModelOption,
    OutputOption,
    OverwriteOption,
    ProgressOption,
    SeedOption,
    make_app,
    run_job,
)

app = make_app(
    "muscleseg",
    "Muscles and bones of hip and thigh from CT, with a confidence for every voxel.",
    preload=("torch", "MuscleSegLib.segmentation"),
)


@app.command()
def segment(
    ct: Annotated[Path, typer.Argument(help="CT of pelvis or thigh: DICOM folder, NIfTI, NRRD, "
                                            "MetaImage.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: Annotated[Literal["seed", "modern"] | None, typer.Option(
        help="seed: the published network of Hiasa et al. 2020; modern: ours. By default what "
             "the model was trained as.")] = None,
    samples: Annotated[int, typer.Option(
        min=1, max=100, help="Monte Carlo samples; more make the uncertainty smoother, 1 gives "
                             "none.")] = 10,
    sides: Annotated[bool, typer.Option(help="Tell left from right.")] = False,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Segment 22 structures; writes labels, segmentation, uncertainty and measurements."""
    with run_job(
        module="MuscleSeg", command="segment", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "samples": samples, "sides": sides},
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .segmentation import run

        run(job, ct, model, recipe, samples, sides)


@app.command()
def measure(
    ct: Annotated[Path, typer.Argument(help="CT: DICOM folder, NIfTI, NRRD, MetaImage.")],
    segmentation: Annotated[Path, typer.Argument(
        help="Its segmentation: labels.nrrd or segmentation.seg.nrrd of a result, or any file that "
             "names its muscles.")],
    output: OutputOption,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Measure each muscle and compare the sides; writes a table, a picture, DICOM and meshes."""
    with run_job(
        module="MuscleSeg", command="measure", output=output, progress=progress,
        overwrite=overwrite,
    ) as job:
        from .measure_command import Options, run

        run(job, Options(ct, segmentation), typer.echo)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(
        help="List of CTs with their segmentations and patients, a JSON file.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: Annotated[Literal["seed", "modern"] | None, typer.Option(
        help="What the model must have been trained as; by default any.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=100, help="Monte Carlo samples.")] = 10,
    part: Annotated[str, typer.Option(
        help="training, validation or test; by default test where there is one, otherwise "
             "all.")] = "",
    tolerance_mm: Annotated[float, typer.Option(
        min=0, help="Distance up to which surfaces count as the same (NSD).")] = 1.0,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure a model on CTs with known segmentation; writes scores and a heat map."""
    with run_job(
        module="MuscleSeg", command="evaluate", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "samples": samples, "part": part,
                    "tolerance_mm": tolerance_mm},
    ) as job:
        from .evaluate_command import Options, run

        run(job, Options(data, model, recipe, samples, part, tolerance_mm), typer.echo)


@app.command()
def structures() -> None:
    """List the 22 structures with their label values."""
    from .structures import STRUCTURES

    for structure in STRUCTURES:
        typer.echo(f"{structure.value:3d}  {structure.name:30s} {structure.display_name}")


if __name__ == "__main__":
    app()
