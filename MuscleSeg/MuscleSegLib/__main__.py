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
    uncertainty: Annotated[Literal["variance", "entropy", "mutual-information"], typer.Option(
        help="What uncertainty.nrrd holds: variance as published; entropy rises, too, where each "
             "sample alone is unsure; mutual-information where they disagree.")] = "variance",
    calibration: Annotated[Path | None, typer.Option(
        help="calibration.json of the command confidence; by default the model's own, if it has "
             "one.")] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Segment 22 structures; writes labels, segmentation, uncertainty and measurements."""
    with run_job(
        module="MuscleSeg", command="segment", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "samples": samples, "sides": sides,
                    "uncertainty": uncertainty},
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .segmentation import run

        run(job, ct, model, recipe, samples, sides, uncertainty, calibration)


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
    method: Annotated[Literal["model", "multi-atlas", "predictions"], typer.Option(
        help="What segments: a model; atlases that are registered and vote; or the files of "
             "another program.")] = "model",
    atlases: Annotated[Path | None, typer.Option(
        help="List of CTs with their segmentations for multi-atlas; by default the list itself. "
             "An atlas of the same patient is never used.", show_default=False)] = None,
    most_atlases: Annotated[int, typer.Option(
        min=1, help="Atlases that are registered to a CT, those most like it.")] = 5,
    predictions: Annotated[Path | None, typer.Option(
        help="Folder of segmentations, named as the CTs or the patients.",
        show_default=False)] = None,
    names: Annotated[str, typer.Option(
        help="What labels mean that are not called as ours: totalsegmentator, musclemap, or a "
             "JSON file.")] = "",
    against: Annotated[Path | None, typer.Option(
        help="Result folder of another evaluation of the same CTs to compare with.",
        show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure a model or another method on CTs with known segmentation; writes a heat map."""
    with run_job(
        module="MuscleSeg", command="evaluate", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "samples": samples, "part": part,
                    "tolerance_mm": tolerance_mm, "method": method, "atlases": atlases,
                    "most_atlases": most_atlases, "predictions": predictions,
                    "names": Path(names).name, "against": against},
    ) as job:
        from .evaluate_command import Options, run

        run(job, Options(data, model, recipe, samples, part, tolerance_mm, method, atlases,
                         most_atlases, predictions, names, against), typer.echo)


@app.command()
def simulate(
    output: OutputOption,
    anatomies: Annotated[Path | None, typer.Option(
        help="Folder with label maps of real people, each a folder with label.mhd and mask.mhd; "
             "by default a phantom that needs no data.", show_default=False)] = None,
    patients: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    spacing: Annotated[tuple[float, float, float], typer.Option(
        min=0.5, max=20, help="Slice distance, height and width of a voxel, mm.")] = (
            3.0, 2.0, 2.0),
    validation: Annotated[int, typer.Option(
        min=0, help="How many of them are the validation part of the list.")] = 0,
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Simulate CTs of patients whose segmentation is known, and the list of them."""
    with run_job(
        module="MuscleSeg", command="simulate", output=output, progress=progress, seed=seed,
        overwrite=overwrite, parameters={"anatomies": anatomies, "patients": patients,
                                         "spacing": list(spacing), "validation": validation},
    ) as job:
        from .simulate_command import Options, run

        run(job, Options(anatomies, patients, spacing, validation), typer.echo)


@app.command()
def collect(
    images: Annotated[Path, typer.Argument(
        help="Folder of scans: files, DICOM folders, or a folder for each case.")],
    output: OutputOption,
    segmentations: Annotated[Path | None, typer.Option(
        help="Folder of their segmentations under the same names (NRRD, NIfTI, DICOM SEG, folders "
             "of masks); by default in the folder of each case.", show_default=False)] = None,
    names: Annotated[str, typer.Option(
        help="What labels mean that are not called as ours: totalsegmentator, musclemap, or a "
             "JSON file.")] = "",
    patients: Annotated[Path | None, typer.Option(
        help="CSV with the columns image and patient; by default as DICOM says, otherwise each "
             "scan is of a patient of its own.", show_default=False)] = None,
    simulated: Annotated[bool, typer.Option(
        "--simulated", help="The scans are simulated; every result will say so.")] = False,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Make a list for training from folders; writes datalist.json and a table with reasons."""
    with run_job(
        module="MuscleSeg", command="collect", output=output, progress=progress,
        overwrite=overwrite,
        parameters={"names": Path(names).name, "simulated": simulated},
    ) as job:
        from .collect_command import Options, run

        run(job, Options(images, segmentations, names, patients, simulated), typer.echo)


@app.command()
def train(
    data: Annotated[Path, typer.Option(
        "--data", help="List of scans with their segmentations and patients: a MONAI datalist "
                       "(JSON), such as 'collect' makes.", show_default=False)],
    output: OutputOption,
    recipe: Annotated[Literal["seed", "modern"], typer.Option(
        help="seed: the published network of Hiasa et al. 2020; modern: ours.")] = "modern",
    start: Annotated[str, typer.Option(
        help="Model that it begins with, by name or folder, or none.")] = "starter",
    folds: Annotated[int, typer.Option(
        min=0, help="Of the cross-validation by patient that measures the training; 0: none.")] = 4,
    steps: Annotated[int, typer.Option(
        min=0, max=1_000_000, help="Of each training; 0: as many as are usual.")] = 0,
    batch: Annotated[int, typer.Option(
        min=0, max=256, help="Slabs a step; 0: as many as are usual.")] = 0,
    intensities: Annotated[Literal["ct", "random"], typer.Option(
        help="random: repaint the scans in random grey values, so that the model may be shown any "
             "CT or MR.")] = "ct",
    unnamed: Annotated[Literal["unknown", "background"], typer.Option(
        help="What a voxel without a label is where a segmentation names only some of the 22 "
             "structures.")] = "unknown",
    names: Annotated[str, typer.Option(
        help="What labels mean that are not called as ours: totalsegmentator, musclemap, or a "
             "JSON file.")] = "",
    samples: Annotated[int, typer.Option(
        min=1, max=100, help="Monte Carlo samples when patients are measured.")] = 10,
    name: Annotated[str, typer.Option(
        help="Also keep the model on this computer, for --model NAME and the panel.")] = "",
    work: Annotated[Path | None, typer.Option(
        help="Folder for scans and the training itself, so that one that was cut off goes on; by "
             "default beside the output, with \"-training\" added.", show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a model on scans of your own; writes the model, its curves and what it scored."""
    work = work or output.resolve().with_name(f"{output.resolve().name}-training")
    with run_job(
        module="MuscleSeg", command="train", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite, inputs=[data],
        parameters={"recipe": recipe, "start": Path(start).name, "folds": folds, "steps": steps,
                    "batch": batch, "intensities": intensities, "unnamed": unnamed,
                    "names": Path(names).name, "samples": samples, "name": name},
    ) as job:
        from .train_command import Options, run

        run(job, Options(data, work, recipe, start, steps, batch, folds, intensities, unnamed,
                         names, samples, name, overwrite),
            (lambda line: None) if progress == "none" else lambda line: typer.echo(line, err=True))


@app.command()
def confidence(
    data: Annotated[Path, typer.Argument(
        help="List of CTs with their segmentations and patients, a JSON file; one without a "
             "segmentation shows none of the structures.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: Annotated[Literal["seed", "modern"] | None, typer.Option(
        help="What the model must have been trained as; by default any.")] = None,
    samples: Annotated[int, typer.Option(
        min=2, max=100,
        help="Monte Carlo samples; the calibration holds for as many or more.")] = 10,
    part: Annotated[str, typer.Option(
        help="training, validation or test; by default test where there is one, otherwise "
             "all.")] = "",
    coverage: Annotated[float, typer.Option(
        min=0.55, max=0.99, help="Share of structures whose Dice shall be at least the lower "
                                 "bound.")] = 0.9,
    level: Annotated[float, typer.Option(
        min=0.1, max=0.99, help="Dice below which a structure is to be checked.")] = 0.8,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure what the confidence of a model is worth; learn to predict each structure's Dice."""
    with run_job(
        module="MuscleSeg", command="confidence", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"model": model, "recipe": recipe, "samples": samples, "part": part,
                    "coverage": coverage, "level": level},
    ) as job:
        from .confidence_command import Options, run

        run(job, Options(data, model, recipe, samples, part, coverage, level), typer.echo)


@app.command()
def stress(
    data: Annotated[Path, typer.Argument(
        help="List of CTs with their segmentations and patients, a JSON file.")],
    output: OutputOption,
    kinds: Annotated[list[str] | None, typer.Option(
        "--kind", help="What to do to them: swollen, metal, truncation, contrast, noise, child, "
                       "elsewhere; again for several, by default all.")] = None,
    part: Annotated[str, typer.Option(
        help="training, validation or test; by default test where there is one, otherwise "
             "all.")] = "",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make CTs that a model should be unsure of, out of ones with a known segmentation."""
    with run_job(
        module="MuscleSeg", command="stress", output=output, progress=progress, seed=seed,
        overwrite=overwrite, parameters={"kinds": kinds, "part": part},
    ) as job:
        from .stress_command import Options, run

        run(job, Options(data, tuple(kinds or ()), part), typer.echo)


@app.command()
def queue(
    pool: Annotated[Path, typer.Argument(
        help="Folder of CTs (files, DICOM folders, or a folder for each case), or a list of "
             "them.")],
    output: OutputOption,
    model: ModelOption = "starter",
    recipe: Annotated[Literal["seed", "modern"] | None, typer.Option(
        help="What the model must have been trained as; by default any.")] = None,
    samples: Annotated[int, typer.Option(min=2, max=100, help="Monte Carlo samples.")] = 10,
    slices: Annotated[int, typer.Option(min=1, max=10_000, help="To review, at most.")] = 20,
    share: Annotated[float, typer.Option(
        min=0.001, max=1, help="Of the body's pixels in these slices that are marked.")] = 0.1,
    level: Annotated[float | None, typer.Option(
        min=0, max=1, help="Uncertainty from which pixels are marked, instead of a share.",
        show_default=False)] = None,
    apart: Annotated[float, typer.Option(
        min=0, help="Between two slices of a CT, mm.")] = 15.0,
    after: Annotated[Path | None, typer.Option(
        help="Earlier queue, whose reviewed slices are left out and whose corrections are kept; by "
             "default the one that is overwritten.", show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Find the slices of a pool that a model is least sure of, and mark their uncertain pixels."""
    if after is None and overwrite and (output / "queue.json").exists():
        after = output
    with run_job(
        module="MuscleSeg", command="queue", output=output, progress=progress, device=device,
        seed=seed, overwrite=overwrite,
        parameters={"pool": pool, "model": model, "recipe": recipe, "samples": samples,
                    "slices": slices, "share": share, "level": level, "apart": apart,
                    "after": after},
    ) as job:
        from .queue_command import Options, run

        run(job, Options(pool, model, recipe, samples, slices, share, level, apart, after),
            typer.echo)


@app.command()
def corrections(
    queue: Annotated[Path, typer.Argument(help="Folder that the command queue wrote.")],
    output: OutputOption,
    rest: Annotated[Literal["unknown", "shown"], typer.Option(
        help="What the pixels of a reviewed slice are that were not marked: unknown, or as they "
             "were shown.")] = "unknown",
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Make a list for train of what was reviewed; all that was not is left out of training."""
    with run_job(
        module="MuscleSeg", command="corrections", output=output, progress=progress,
        overwrite=overwrite, parameters={"queue": queue, "rest": rest},
    ) as job:
        from .corrections import Options, run

        run(job, Options(queue, rest), typer.echo)


@app.command("active-learning")
def active_learning(
    data: Annotated[Path, typer.Argument(
        help="List of CTs with their segmentations and patients, a JSON file; its test part is "
             "measured on, otherwise three in ten patients are.")],
    output: OutputOption,
    arms: Annotated[list[str] | None, typer.Option(
        "--arm", help="random, foreground, entropy, pixels (published), pixels-filled, everything; "
                      "again for several, by default all but pixels-filled.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Repetitions of each arm.")] = 5,
    rounds: Annotated[int, typer.Option(
        min=1, max=12, help="Of questions; each doubles the labelled slices.")] = 5,
    start: Annotated[int, typer.Option(min=1, help="Slices labelled at the start.")] = 4,
    share: Annotated[float, typer.Option(
        min=0.001, max=1,
        help="Of the pixels of a slice that the published arm asks about.")] = 0.1,
    first_steps: Annotated[int, typer.Option(min=1, help="Of training at the start.")] = 500,
    steps: Annotated[int, typer.Option(min=1, help="Of training in each round.")] = 500,
    anew: Annotated[bool, typer.Option(
        "--anew", help="Begin each round with new weights and do all steps; slower, but fair on "
                       "every axis.")] = False,
    work: Annotated[Path | None, typer.Option(
        help="Folder for finished runs, so that one that was cut off goes on; by default beside "
             "the output, with \"-runs\" added.", show_default=False)] = None,
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Compare ways to choose what is labelled, with a simulated annotator; writes a report."""
    work = work or output.resolve().with_name(f"{output.resolve().name}-runs")
    with run_job(
        module="MuscleSeg", command="active-learning", output=output, progress=progress, seed=seed,
        overwrite=overwrite, inputs=[data],
        parameters={"arms": arms, "seeds": seeds, "rounds": rounds, "start": start,
                    "share": share, "first_steps": first_steps, "steps": steps, "anew": anew},
    ) as job:
        from .active_learning_command import Options, Plan, run

        plan = Plan(rounds=rounds, start=start, first_steps=first_steps, steps=steps, share=share,
                    continued=not anew)
        chosen = {"arms": tuple(arms)} if arms else {}
        run(job, Options(data, work, seeds=seeds, plan=plan, **chosen), typer.echo)


@app.command()
def structures() -> None:
    """List the 22 structures with their label values."""
    from .structures import STRUCTURES

    for structure in STRUCTURES:
        typer.echo(f"{structure.value:3d}  {structure.name:30s} {structure.display_name}")


if __name__ == "__main__":
    app()
