# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m LandmarkPretrainLib --help``."""

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
    "landmarkpretrain",
    "Landmarks of the body: found in images, and learned first to find lesions better.",
    preload=("torch", "LandmarkPretrainLib.detect_command"),
)

DataOption = Annotated[Path, typer.Option(
    "--data", help="List (JSON) of images with landmarks: {\"training\": [{\"image\": ..., "
                   "\"landmarks\": ..., \"patient\": ...}]}.", show_default=False)]
WorkOption = Annotated[Path | None, typer.Option(
    help="Folder for what is done, so that one that was cut off goes on; by default beside the "
         "output, with \"-work\" added.", show_default=False)]
ModalityOption = Annotated[Literal["CT", "MR", "other"], typer.Option(
    help="Of the images; values of MR and other ones have no unit.")]
LandmarksOption = Annotated[int, typer.Option(
    min=0, help="How many landmarks, the most frequent ones; 0: all.")]
WithinOption = Annotated[list[float] | None, typer.Option(
    "--within-mm", help="A distance of the success detection rates; may be repeated. By default "
                        "2, 4 and 10.", show_default=False)]


def _work(work: Path | None, output: Path) -> Path:
    return work or output.resolve().with_name(f"{output.resolve().name}-work")


@app.command()
def detect(
    volume: Annotated[Path, typer.Argument(help="File, or DICOM folder, of the trunk (CT); or "
                                                "what the model is for.")],
    output: OutputOption,
    model: ModelOption = "starter",
    truth: Annotated[Path | None, typer.Option(
        help="Landmarks that are known (markups, fcsv, csv): the errors are measured.",
        show_default=False)] = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Find all landmarks of a volume; writes named markups with how sure each is."""
    with run_job(
        module="LandmarkPretrain", command="detect", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite, parameters={"model": model},
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .detect_command import Options, run

        run(job, Options(volume, model, truth), typer.echo)


@app.command()
def landmarks(
    segmentation: Annotated[Path, typer.Argument(
        help="Label map, or Slicer's .seg.nrrd, such as TotalSegmentator writes.")],
    output: OutputOption,
    table: Annotated[Path | None, typer.Option(
        help="Table (CSV) of the landmarks to derive; without it that of the program.",
        show_default=False)] = None,
    names: Annotated[Path | None, typer.Option(
        help="Names of the labels (JSON), where the file does not have them.",
        show_default=False)] = None,
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Derive landmarks from a segmentation: centroids, extreme points, bifurcations."""
    with run_job(
        module="LandmarkPretrain", command="landmarks", output=output, progress=progress,
        seed=seed, overwrite=overwrite,
    ) as job:
        from .landmarks_command import Options, run

        run(job, Options(segmentation, table, names), typer.echo)


@app.command()
def pretrain(
    data: DataOption,
    output: OutputOption,
    recipe: Annotated[Literal["seed", "modern"], typer.Option(
        help="seed: the published mini-VGG on 2.5D patches; modern: fields in 3D.")] = "modern",
    start: Annotated[str, typer.Option(
        help="Model whose network it begins with, or random.")] = "random",
    steps: Annotated[int, typer.Option(
        min=0, help="Of each training; 0: the usual number.")] = 0,
    landmarks: LandmarksOption = 0,
    grown_from: Annotated[int, typer.Option(
        min=0, help="Recipe seed: learn so many landmarks first (published: 20, then 60); 0: all "
                    "at once.")] = 0,
    patch_mm: Annotated[float, typer.Option(
        min=0, help="Side of the patches; 0: the usual one, 64 mm. All other lengths follow.")] = 0,
    depth: Annotated[int, typer.Option(
        min=2, max=4, help="Recipe seed: blocks of the mini-VGG.")] = 3,
    sizes: Annotated[int, typer.Option(
        min=1, max=3, help="Recipe seed: sizes of patches, each twice the one before.")] = 1,
    rotation: Annotated[float, typer.Option(
        min=0, max=180, help="Degrees by which bodies may lie turned about each axis; 180: in any "
                             "way.")] = 18,
    modality: ModalityOption = "CT",
    within_mm: WithinOption = None,
    name: Annotated[str, typer.Option(
        help="Keep the model on this computer under this name.")] = "",
    work: WorkOption = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Learn landmarks from a list of images; writes a model, with what it scores by patient."""
    with run_job(
        module="LandmarkPretrain", command="pretrain", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"recipe": recipe, "steps": steps, "landmarks": landmarks, "modality": modality,
                    "grown_from": grown_from, "patch_mm": patch_mm, "depth": depth,
                    "sizes": sizes, "rotation": rotation},
    ) as job:
        from .landmark_errors import WITHIN_MM
        from .pretrain_command import Options, run

        run(job, Options(data, _work(work, output), recipe, start, steps, landmarks, grown_from,
                         patch_mm, depth, sizes, rotation, modality,
                         tuple(within_mm or WITHIN_MM), 0, name, overwrite), typer.echo)


@app.command()
def search(
    data: DataOption,
    output: OutputOption,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all.")] = 20,
    steps: Annotated[int, typer.Option(min=3, help="Of the training of each trial.")] = 300,
    landmarks: LandmarksOption = 0,
    modality: ModalityOption = "CT",
    work: WorkOption = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Search which size of patches and which depth suit a list best (recipe seed)."""
    with run_job(
        module="LandmarkPretrain", command="search", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"trials": trials, "steps": steps, "landmarks": landmarks, "modality": modality},
    ) as job:
        from .search_command import Options, run

        run(job, Options(data, _work(work, output), trials, steps, landmarks, modality), typer.echo)


@app.command()
def evaluate(
    data: DataOption,
    output: OutputOption,
    model: ModelOption = "starter",
    part: Annotated[Literal["", "training", "validation", "test"], typer.Option(
        help="Of the list; by default test where there is one, otherwise all.",
        show_default=False)] = "",
    within_mm: WithinOption = None,
    work: WorkOption = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure a model on images with known landmarks: errors in mm, top-1, what it confuses."""
    with run_job(
        module="LandmarkPretrain", command="evaluate", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite, parameters={"model": model, "part": part},
    ) as job:
        from .evaluate_command import Options, run
        from .landmark_errors import WITHIN_MM

        run(job, Options(data, _work(work, output), model, part, tuple(within_mm or WITHIN_MM)),
            typer.echo)


@app.command()
def simulate(
    kind: Annotated[Literal["trunk", "mra"], typer.Argument(
        help="trunk: CT with landmarks; mra: MRA of the head with aneurysms.")],
    output: OutputOption,
    count: Annotated[int, typer.Option(min=1, help="Patients.")] = 10,
    first: Annotated[int, typer.Option(
        min=0, help="Number of the first one; the same number and seed are the same patient.")] = 0,
    spacing_mm: Annotated[float, typer.Option(
        min=0, help="Side of the voxels; 0: the usual one.")] = 0,
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Simulate patients with known landmarks or lesions, and the list of them."""
    with run_job(
        module="LandmarkPretrain", command="simulate", output=output, progress=progress, seed=seed,
        overwrite=overwrite, parameters={"kind": kind, "count": count, "first": first,
                                         "spacing_mm": spacing_mm},
    ) as job:
        from .simulate_command import Options, run

        run(job, Options(kind, count, first, spacing_mm), typer.echo)


@app.command()
def transfer(
    lesions: Annotated[Path, typer.Option(
        "--lesions", help="List (JSON) of images with lesions: {\"training\": [{\"image\": ..., "
                          "\"lesions\": points or mask, \"patient\": ...}], \"test\": [...]}.",
        show_default=False)],
    output: OutputOption,
    arms: Annotated[list[str] | None, typer.Option(
        "--arms", help="What is compared: landmarks, imagenet, cifar, random; may be repeated. By "
                       "default all but cifar.", show_default=False)] = None,
    model: ModelOption = "starter",
    cifar: Annotated[Path | None, typer.Option(
        help="Archive of CIFAR-10, binary version, for the arm cifar.", show_default=False)] = None,
    imagenet: Annotated[Path | None, typer.Option(
        help="File (.npz) with AlexNet's convolutions; without it they are fetched.",
        show_default=False)] = None,
    region: Annotated[str, typer.Option(
        help="Where lesions are looked for: vessels, lung, brain, bone, or a mask; vessels=MASK "
             "looks in that mask as in vessels. A folder has a mask named as each image.",
    )] = "vessels",
    classifier: Annotated[Literal["adaboost", "probe", "finetune"], typer.Option(
        help="What is fitted: boosted weak learners (published), a linear probe, or all weights.",
    )] = "adaboost",
    patch_mm: Annotated[float, typer.Option(
        min=0, help="Side of the patches; 0: what suits the region.")] = 0,
    modality: Annotated[Literal["", "CT", "MR", "other"], typer.Option(
        help="Of the images; by default what the region is mostly seen in.",
        show_default=False)] = "",
    draws: Annotated[int, typer.Option(
        min=0, help="Repetitions of the label-efficiency curves; 0: none are made.")] = 10,
    work: WorkOption = None,
    device: DeviceOption = "auto",
    progress: ProgressOption = "bar",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Compare what landmarks, photographs and nothing teach a detector of lesions."""
    with run_job(
        module="LandmarkPretrain", command="transfer", output=output, progress=progress,
        device=device, seed=seed, overwrite=overwrite,
        parameters={"arms": arms, "model": model, "region": Path(region), "classifier": classifier,
                    "patch_mm": patch_mm, "draws": draws},
    ) as job:
        from .transfer_command import Options, run

        given = {"arms": tuple(arms)} if arms else {}
        run(job, Options(lesions, _work(work, output), model=model, cifar=cifar, imagenet=imagenet,
                         region=region, classifier=classifier, patch_mm=patch_mm or None,
                         modality=modality or None, draws=draws, **given), typer.echo)


if __name__ == "__main__":
    app()
