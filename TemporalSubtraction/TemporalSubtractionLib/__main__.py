# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m TemporalSubtractionLib --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ReadingRoomLib.commands import (
    DeviceOption,
    OutputOption,
    OverwriteOption,
    ProgressOption,
    SeedOption,
    make_app,
    run_job,
)

app = make_app(
    "temporalsubtraction",
    "What changed in the bones since the last CT.",
    preload=("SimpleITK", "TemporalSubtractionLib.subtraction"),
)

PriorArgument = Annotated[Path, typer.Argument(
    help="The earlier CT: DICOM folder, NIfTI, NRRD, MetaImage.")]
CurrentArgument = Annotated[Path, typer.Argument(help="The later CT of the same patient.")]
TransformOption = Annotated[Path | None, typer.Option(
    help="Take this transform from the current to the prior CT instead of searching for one; any "
         "that 3D Slicer saves as .h5 or .tfm.")]
SoftTissueOption = Annotated[bool, typer.Option(
    "--soft-tissue", help="Deform what lies between the bones, too, so that the aligned prior CT "
                          "looks alike there; bones keep their rigid motion.")]
BonesOption = Annotated[Path | None, typer.Option(
    help="Segmentation of the current CT that names bones, as .seg.nrrd or as NIfTI from "
         "TotalSegmentator: each candidate gets the name of its bone.")]


@app.command()
def register(
    prior: PriorArgument,
    current: CurrentArgument,
    output: OutputOption,
    transform: TransformOption = None,
    soft_tissue: SoftTissueOption = False,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Align the bones of two CTs; writes transform, quality map and the aligned prior CT."""
    with run_job(
        module="TemporalSubtraction", command="register", output=output, progress=progress,
        overwrite=overwrite,
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .alignment import run

        run(job, prior, current, transform, soft_tissue)


@app.command()
def subtract(
    prior: PriorArgument,
    current: CurrentArgument,
    output: OutputOption,
    transform: TransformOption = None,
    soft_tissue: SoftTissueOption = False,
    bones: BonesOption = None,
    method: Annotated[Literal["classical", "modern", "seed"], typer.Option(
        help="How the current CT is expected from the prior one. classical: matched, without any "
             "model; modern: our network on top of that; seed: a plain residual network.",
    )] = "classical",
    model: Annotated[str | None, typer.Option(
        "--model", "-m", help="Name of a model, or the folder of one; by default the one that "
                              "comes with the method.")] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Find what changed in the bones; writes z, expectation, error and a list of candidates."""
    with run_job(
        module="TemporalSubtraction", command="subtract", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"method": method, "model": model},
    ) as job:
        from .bone_names import name_candidates, read_bones
        from .subtraction import run

        named = read_bones(bones) if bones else None  # what cannot be read is said at once
        run(job, prior, current, transform, method, model, soft_tissue)
        if named:
            name_candidates(job, named)


@app.command()
def anomaly(
    ct: Annotated[Path, typer.Argument(help="CT: DICOM folder, NIfTI, NRRD, MetaImage.")],
    output: OutputOption,
    bones: BonesOption = None,
    method: Annotated[Literal["autoencoder", "flow"], typer.Option(
        help="What knows normal bone. autoencoder: a network that reconstructs it; flow: two "
             "networks that say how likely it is.")] = "autoencoder",
    score: Annotated[Literal["error", "code", "cosine", "ratio"] | None, typer.Option(
        help="What tells unusual bone. Of autoencoder: norm of the code (by default), error of "
             "the reconstruction, or cosine between both; of flow: ratio of the likelihoods.",
    )] = None,
    model: Annotated[str | None, typer.Option(
        "--model", "-m", help="Name of a model, or the folder of one; by default the one that "
                              "comes with the method.")] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Find unusual bone in one CT, without an earlier one; writes z and a list of candidates."""
    with run_job(
        module="TemporalSubtraction", command="anomaly", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"method": method, "score": score, "model": model},
    ) as job:
        from .anomaly import run
        from .bone_names import name_candidates, read_bones

        named = read_bones(bones) if bones else None
        run(job, ct, method, score, model)
        if named:
            name_candidates(job, named)


@app.command()
def findings(
    result: Annotated[Path, typer.Argument(help="Folder that subtract wrote.")],
    current: Annotated[Path, typer.Argument(
        help="The current CT: folder of its DICOM series, or one file of it.")],
    output: OutputOption,
    accepted: Annotated[str, typer.Option(
        help="Numbers of candidates, such as 1,3,5, instead of those that candidates.csv says "
             "are accepted.")] = "",
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Write accepted candidates as DICOM: a segmentation, and a report that refers to it."""
    with run_job(
        module="TemporalSubtraction", command="findings", output=output, progress=progress,
        overwrite=overwrite,
    ) as job:
        from .findings import parse_numbers, run

        run(job, result, current, parse_numbers(accepted))


if __name__ == "__main__":
    app()
