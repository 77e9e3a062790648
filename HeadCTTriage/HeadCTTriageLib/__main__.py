# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m HeadCTTriageLib --help``."""

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
    "headcttriage",
    "Which head CT cannot wait.",
    preload=("torch", "HeadCTTriageLib.judge_command"),
)

RecipeOption = Annotated[Literal["seed", "modern"] | None, typer.Option(
    help="seed: the published network of Watanabe, slice by slice; modern: ours, over all slices. "
         "By default what the model was trained as.")]


@app.command()
def judge(
    ct: Annotated[Path, typer.Argument(help="CT of a head without contrast agent: DICOM folder, "
                                            "NIfTI, NRRD, MetaImage.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: RecipeOption = None,
    most_missed: Annotated[float, typer.Option(
        min=0.001, max=0.5, help="Share of urgent heads that may be missed.")] = 0.05,
    error: Annotated[float, typer.Option(
        min=0.001, max=0.5, help="Share of heads for which the tags that are not excluded may "
                                 "not hold the true one; less makes \"uncertain\" more frequent.",
    )] = 0.05,
    age: Annotated[float | None, typer.Option(
        min=0, max=130, help="Age of the patient in years, where the image does not tell it; it "
                             "is not written into the result.")] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Judge how urgent a head CT is; writes the judgement, its reasons and a contact sheet."""
    with run_job(
        module="HeadCTTriage", command="judge", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "most_missed": most_missed, "error": error},
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .judge_command import run

        run(job, ct, model, recipe, most_missed, error, age)


@app.command()
def photo(
    photo: Annotated[Path, typer.Argument(help="Photo of a monitor that shows one slice of a head "
                                               "CT in a window for the brain: JPEG or PNG.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: RecipeOption = None,
    most_missed: Annotated[float, typer.Option(
        min=0.001, max=0.5, help="Share of slices with bleeding that may be missed.")] = 0.05,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Say whether a slice on a monitor looks like bleeding; asks for another photo of a bad one."""
    with run_job(
        module="HeadCTTriage", command="photo", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "most_missed": most_missed},
    ) as job:
        from .photo_command import run

        run(job, photo, model, recipe, most_missed)


@app.command()
def export(
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: RecipeOption = None,
    precision: Annotated[Literal["float32", "float16", "int8"], typer.Option(
        help="Of weights and computation. int8 is the smallest and fastest; it needs examples.",
    )] = "float32",
    examples: Annotated[list[Path] | None, typer.Option(
        "--example", help="CT of a head; may be given several times.")] = None,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Write a model as ONNX for small devices, compared with the original."""
    with run_job(
        module="HeadCTTriage", command="export", output=output, progress=progress,
        overwrite=overwrite, parameters={"model": model, "precision": precision},
    ) as job:
        from .export_command import run

        run(job, model, recipe, precision, examples or [])


@app.command()
def robustness(
    cts: Annotated[list[Path], typer.Argument(help="CTs of heads; the more, the more it says.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: RecipeOption = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Disturb images a little and more, by accident and on purpose; writes what that changes."""
    with run_job(
        module="HeadCTTriage", command="robustness", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite, parameters={"model": model},
    ) as job:
        from .robustness import run

        run(job, cts, model, recipe)


@app.command()
def cohort(
    archive: Annotated[Path, typer.Argument(help="Folder with DICOM files, in any arrangement.")],
    output: OutputOption,
    repeat_days: Annotated[int, typer.Option(
        min=0, help="A scan so many days after the patient's last one, or fewer, is a repeat.",
    )] = 14,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """List which examinations belong into a study, and which are repeats or after surgery."""
    with run_job(
        module="HeadCTTriage", command="cohort", output=output, progress=progress,
        overwrite=overwrite, parameters={"repeat_days": repeat_days},
    ) as job:
        from .cohort_command import run

        run(job, archive, repeat_days)


@app.command()
def train(
    data: Annotated[Path, typer.Option(
        "--data", help="List of head CTs with their tags: a MONAI datalist (JSON).",
        show_default=False)],
    output: OutputOption,
    recipe: Annotated[Literal["seed", "modern"], typer.Option(
        help="seed: the published network, slice by slice; modern: how ours judges a head from "
             "what it sees.")] = "modern",
    split: Annotated[Literal["patient", "image"], typer.Option(
        help="Of the images of seed: by patient; or image by image, as published, which leaks.",
    )] = "patient",
    start: Annotated[str | None, typer.Option(
        help="Model to begin with, by default the starter model of modern; for seed also a file "
             "with convolutions of AlexNet (.npz).")] = None,
    steps: Annotated[int, typer.Option(
        min=0, max=1_000_000, help="Training steps; 0: as many as are usual for the recipe.")] = 0,
    compare_splits: Annotated[bool, typer.Option(
        "--compare-splits", help="Train seed a second time with the other split, to show both.",
    )] = False,
    name: Annotated[str, typer.Option(
        help="Also keep the model on this computer, for --model NAME and the panel.")] = "",
    work: Annotated[Path | None, typer.Option(
        help="Folder for slices and for the training itself, so that one that was cut off goes "
             "on; by default beside the output, with \"-training\" added.",
        show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a model on head CTs of your own; writes the model, its curves and what it scored."""
    work = work or output.resolve().with_name(f"{output.resolve().name}-training")
    with run_job(
        module="HeadCTTriage", command="train", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite, inputs=[data],
        parameters={"recipe": recipe, "split": split, "start": start and Path(start).name,
                    "steps": steps, "compare_splits": compare_splits, "name": name},
    ) as job:
        from .train_command import Options, run

        run(job, Options(data, recipe, split, start, steps, compare_splits, name, work, overwrite),
            (lambda line: None) if progress == "none" else lambda line: typer.echo(line, err=True))


@app.command()
def listen(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML), see Docs/listen.md.")],
) -> None:
    """Receive head CTs over the network (DICOM), judge them, and send the judgements on."""
    from .listen.node import run

    run(config)


if __name__ == "__main__":
    app()
