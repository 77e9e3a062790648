# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m BrainTumorClassifyLib --help``."""

from __future__ import annotations

import shutil
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
    brain_only: Annotated[bool, typer.Option(
        "--brain-only", help="Take skull and scalp away; brain, dura and tumours on it stay.",
    )] = False,
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
                    "brain_only": brain_only, "region": "given" if roi else "proposed"},
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .classify_command import Options, run

        run(job, Options(study or given, roi, model, error, bias_field, brain_only))


@app.command()
def experiment(
    data: Annotated[Path, typer.Option(
        "--data", help="List of slices with their kinds: a MONAI datalist (JSON).",
        show_default=False)],
    output: OutputOption,
    models: Annotated[list[str] | None, typer.Option(
        help="alexnet, googlenet, resnet50, and modern, our own; several may follow. By default "
             "the three that were published.",
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
    more_models: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Repeat the published experiment on images of your own; writes numbers, pictures, a report."""
    if more_models and not models:
        raise typer.BadParameter(f'"{more_models[0]}" follows no option: name networks after '
                                 "--models.")
    models = [*(models or ()), *(more_models or ())] or None
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


@app.command()
def train(
    data: Annotated[Path, typer.Option(
        "--data", help="List of patients' images with their kinds: a MONAI datalist (JSON), such "
                       "as 'database' makes.", show_default=False)],
    output: OutputOption,
    classes: Annotated[list[str] | None, typer.Option(
        "--class", help="Kinds to tell apart; may be repeated. By default glioblastoma, lymphoma "
                        "and meningioma.", show_default=False)] = None,
    start: Annotated[str, typer.Option(
        help="Model whose knowledge of images it begins with, or random.")] = "starter",
    steps: Annotated[int, typer.Option(
        min=0, max=1_000_000, help="Training steps; 0: as many as are usual.")] = 0,
    name: Annotated[str, typer.Option(
        help="Also keep the model on this computer, for --model NAME and the panel.")] = "",
    work: Annotated[Path | None, typer.Option(
        help="Folder for images and the training itself, so that one that was cut off goes on; by "
             "default beside the output, with \"-training\" added.", show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a model on patients of your own; writes the model, its curves and what it scored."""
    work = work or output.resolve().with_name(f"{output.resolve().name}-training")
    with run_job(
        module="BrainTumorClassify", command="train", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite, inputs=[data],
        parameters={"classes": classes, "start": Path(start).name, "steps": steps, "name": name},
    ) as job:
        from .train_command import Options, run

        chosen = {"classes": tuple(classes)} if classes else {}
        run(job, Options(data, work, start=start, steps=steps, name=name, overwrite=overwrite,
                         **chosen),
            (lambda line: None) if progress == "none" else lambda line: typer.echo(line, err=True))


@app.command()
def simulate(
    output: OutputOption,
    count: Annotated[list[str] | None, typer.Option(
        help="Patients of a kind, as glioblastoma=20; may be repeated. By default as many as were "
             "published: 114, 50 and 124.", show_default=False)] = None,
    slices: Annotated[int, typer.Option(
        min=1, max=200, help="Most images of a patient, evenly over the tumour.")] = 12,
    pixels: Annotated[int, typer.Option(min=32, max=1024, help="Side of the images.")] = 224,
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Simulate patients to try the experiment on; writes images and their list."""
    with run_job(
        module="BrainTumorClassify", command="simulate", output=output, progress=progress,
        seed=seed, overwrite=overwrite,
        parameters={"count": count, "slices": slices, "pixels": pixels},
    ) as job:
        from .simulate_command import counts_of, run

        run(job, counts_of(count or []), slices, pixels)


@app.command()
def radiomics(
    output: OutputOption,
    data: Annotated[Path | None, typer.Option(
        "--data", help="List of images with masks, patients and sequences: a MONAI datalist "
                       "(JSON).", show_default=False)] = None,
    images: Annotated[list[Path] | None, typer.Option(
        "--image", help="Instead of a list: an image of a head; may be repeated.",
        show_default=False)] = None,
    masks: Annotated[list[Path] | None, typer.Option(
        "--mask", help="Its tumour; one for each image.", show_default=False)] = None,
    sequences: Annotated[list[str] | None, typer.Option(
        "--sequence", help="t1, t2 or t1c: of each image, or of all; of a list, only these.",
        show_default=False)] = None,
    labels: Annotated[list[int] | None, typer.Option(
        "--label", min=1, help="Label of the masks that is tumour; may be repeated. By default "
                               "all above 0.", show_default=False)] = None,
    spacing: Annotated[float, typer.Option(
        min=0.0, max=10.0, help="Voxels that images are resampled to, mm; 0: as scanned.")] = 1.0,
    bins: Annotated[int, typer.Option(min=2, max=1024, help="Grey levels of textures.")] = 32,
    work: Annotated[Path | None, typer.Option(
        help="Folder for features, so that a study that was cut off goes on; by default beside the "
             "output, with \"-work\" added.", show_default=False)] = None,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Measure what bias-field correction (N4) does to radiomic features of tumours."""
    if bool(data) == bool(images):
        raise typer.BadParameter("Name a list (--data), or images with masks (--image, --mask), "
                                 "one of both.")
    unknown = sorted(set(sequences or ()) - {"t1", "t2", "t1c"})
    if unknown:
        raise typer.BadParameter(f"There is no sequence named {unknown[0]}: name t1, t2 or t1c.")
    if images and not sequences:
        raise typer.BadParameter("Name the sequence of the images (--sequence).")
    work = work or output.resolve().with_name(f"{output.resolve().name}-work")
    with run_job(
        module="BrainTumorClassify", command="radiomics", output=output, progress=progress,
        overwrite=overwrite, inputs=[data] if data else [*images, *(masks or ())],
        parameters={"sequences": sequences, "labels": labels, "spacing": spacing, "bins": bins},
    ) as job:
        from .radiomics import Recipe
        from .radiomics_command import Options, run
        from .radiomics_study import paired_cases, read_cases

        cases = (read_cases(data, sequences or ()) if data
                 else paired_cases(images, masks or (), sequences))
        run(job, Options(cases, tuple(labels or ()), Recipe(spacing, bins), work),
            (lambda line: None) if progress == "none" else lambda line: typer.echo(line, err=True))


@app.command()
def robustness(
    studies: Annotated[list[Path], typer.Argument(
        help="Folders of patients: t1, t2, t1c (files or DICOM folders) or a DICOM study, and roi "
             "(JSON or mask). The more, the more it says.")],
    output: OutputOption,
    model: ModelOption = "starter",
    error: Annotated[float, typer.Option(
        min=0.001, max=0.5, help="Share of patients of each kind whose kinds that are not excluded "
                                 "may lack the true one.")] = 0.1,
    only: Annotated[list[str] | None, typer.Option(
        help="jpeg, jpeg2000, bias, n4, noise, thickness or resolution; may be repeated. By "
             "default all.", show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Compress, shade, blur and disturb images more and more; writes what that changes."""
    with run_job(
        module="BrainTumorClassify", command="robustness", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"model": model, "error": error, "only": only},
    ) as job:
        from .robustness_command import Options, run

        run(job, Options(studies, model, error, tuple(only or ())))


@app.command()
def database(
    dicom: Annotated[Path, typer.Option(
        "--dicom", help="Folder with DICOM studies, however nested. It is only read.",
        show_default=False)],
    pathology: Annotated[Path, typer.Option(
        "--pathology", help="Table (CSV) with the columns patient and kind, and if you like date "
                            "and site.", show_default=False)],
    output: OutputOption,
    key: Annotated[Path | None, typer.Option(
        "--key", help="File, outside the output, for who is which number; a database that is made "
                      "later goes on with it. Without it nobody can tell afterwards.",
        show_default=False)] = None,
    classes: Annotated[list[str] | None, typer.Option(
        "--class", help="A kind of tumour, or NAME=OTHER,OTHER with other names that the table "
                        "uses; may be repeated. By default glioblastoma, lymphoma and meningioma.",
        show_default=False)] = None,
    roi: Annotated[Path | None, typer.Option(
        "--roi", help="Folder with a mask or a markups ROI for each patient, named by the patient "
                      "number. For who has none the tumour is looked for.",
        show_default=False)] = None,
    site: Annotated[str, typer.Option(
        help="Where patients were scanned of whom the table does not say it. By default sites are "
             "numbered by the institution in the header.", show_default=False)] = "",
    age_and_sex: Annotated[bool, typer.Option(
        "--age-and-sex", help="Keep age (90 for all above 89) and sex.")] = False,
    copies: Annotated[bool, typer.Option(
        help="Keep DICOM copies without the patient, and not only the images to learn from.",
    )] = True,
    work: Annotated[Path | None, typer.Option(
        help="Folder for what is done, so that a database that was cut off goes on; by default "
             "beside the output, with \"-work\" added. It is removed at the end.",
        show_default=False)] = None,
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a training set of a department's studies and pathology, without the patients."""
    work = work or output.resolve().with_name(f"{output.resolve().name}-work")
    with run_job(
        module="BrainTumorClassify", command="database", output=output, progress=progress,
        seed=seed, overwrite=overwrite,
        parameters={"classes": classes, "regions": "given" if roi else "proposed",
                    "age_and_sex": age_and_sex, "copies": copies},
    ) as job:
        from .database_command import Options, run

        run(job, output, Options(dicom, pathology, work, key, tuple(classes or ()), roi, site,
                                 age_and_sex, copies))
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    app()
