# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m BrainTumorClassifyLib --help``."""

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
    "braintumorclassify",
    "Glioblastoma, CNS lymphoma or meningioma, and how far to trust it.",
    preload=("torch", "BrainTumorClassifyLib.classify_command"),
)

ImageOption = Annotated[Path | None, typer.Option(
    help="File (NIfTI, NRRD, MetaImage) or DICOM folder.", show_default=False)]


@app.command()
def classify(
    output: OutputOption,
    t1: ImageOption = None,
    t2: ImageOption = None,
    t1c: Annotated[Path | None, typer.Option(
        help="T1 with contrast agent; its slices are judged.", show_default=False)] = None,
    study: Annotated[Path | None, typer.Option(
        help="Instead of the three: DICOM folder of a study, whose series are recognised.",
        show_default=False)] = None,
    roi: Annotated[Path | None, typer.Option(
        help="Where the tumour is: markups ROI or bounds (JSON), or a mask. Without it the tumour "
             "is looked for.", show_default=False)] = None,
    model: ModelOption = "starter",
    error: Annotated[float, typer.Option(
        min=0.001, max=0.5, help="Share of patients of each kind whose kinds that are not excluded "
                                 "may lack the true one; less makes \"uncertain\" more frequent.",
    )] = 0.1,
    bias_field: Annotated[bool, typer.Option(
        "--bias-field", help="Take the bias field out first (N4).")] = False,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Say which kind of tumour it is and how sure that is; writes the answer and its reasons."""
    given = {name: path for name, path in (("t1", t1), ("t2", t2), ("t1c", t1c)) if path}
    if bool(study) == bool(given):
        raise typer.BadParameter("Name the sequences (--t1, --t2, --t1c) or the folder of a study "
                                 "(--study), one of both.")
    with run_job(
        module="BrainTumorClassify", command="classify", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"model": model, "error": error, "bias_field": bias_field,
                    "region": "given" if roi else "proposed"},
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .classify_command import Options, run

        run(job, Options(study or given, roi, model, error, bias_field))


@app.command()
def experiment(
    data: Annotated[Path, typer.Option(
        "--data", help="List of slices with their kinds: a MONAI datalist (JSON).",
        show_default=False)],
    output: OutputOption,
    models: Annotated[list[str] | None, typer.Option(
        help="alexnet, googlenet, resnet50; may be repeated. By default all three.",
        show_default=False)] = None,
    classes: Annotated[list[str] | None, typer.Option(
        "--class", help="What labels may be; may be repeated. By default glioblastoma, lymphoma "
                        "and meningioma.", show_default=False)] = None,
    split: Annotated[Literal["patient", "image", "both"], typer.Option(
        help="patient: no patient is in both parts; image: as published, which leaks.",
    )] = "patient",
    repeats: Annotated[int, typer.Option(
        min=2, max=1000, help="How often patients are split anew, 7:3.")] = 10,
    start: Annotated[Literal["imagenet", "random"], typer.Option(
        help="With what the networks begin; weights of ImageNet are downloaded once.",
    )] = "imagenet",
    weights: Annotated[list[str] | None, typer.Option(
        help="Instead of a download: NAME=FILE (.pth, .safetensors, or .npz with AlexNet's "
             "convolutions); may be repeated.", show_default=False)] = None,
    steps: Annotated[int, typer.Option(
        min=0, max=1_000_000, help="Training steps; 0: by the number of images.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images in a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(min=1e-7, max=1.0)] = 1e-4,
    pixels: Annotated[int, typer.Option(
        min=32, max=1024, help="Side of the images; 224 as published.")] = 224,
    jobs: Annotated[int, typer.Option(
        min=1, max=256, help="Trainings at once, over processor cores or graphics cards.")] = 1,
    work: Annotated[Path | None, typer.Option(
        help="Folder for images and trainings, so that an experiment that was cut off goes on; by "
             "default beside the output, with \"-work\" added.", show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Repeat the published experiment on images of your own; writes numbers, pictures, a report."""
    work = work or output.resolve().with_name(f"{output.resolve().name}-work")
    with run_job(
        module="BrainTumorClassify", command="experiment", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite, inputs=[data],
        parameters={"models": models, "split": split, "repeats": repeats, "start": start,
                    "steps": steps, "batch": batch, "learning_rate": learning_rate,
                    "pixels": pixels},
    ) as job:
        from .experiment import Recipe
        from .experiment_command import Options, run, splits_of, weights_of

        chosen = {name: tuple(given) for name, given in (("models", models), ("classes", classes))
                  if given}
        chosen["weights"] = weights_of(weights or [], chosen.get("models", Options.models))
        run(job, Options(data, work, splits=splits_of(split), repeats=repeats, start=start,
                         pixels=pixels, recipe=Recipe(steps, batch, learning_rate), jobs=jobs,
                         **chosen),
            (lambda line: None) if progress == "none" else lambda line: typer.echo(line, err=True))


if __name__ == "__main__":
    app()
