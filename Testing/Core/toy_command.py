# SPDX-License-Identifier: Apache-2.0
"""A small command line that the tests run in processes of its own.

Made like that of a real module, except that it can be told to stop at a certain point, to fail in
a certain way, and to misbehave.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

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
from ReadingRoomLib.errors import ERROR_TYPES

app = make_app("toy", "A toy.", preload=os.environ.get("TOY_PRELOAD", "").split())

ImageArgument = Annotated[Path, typer.Argument(help="CT from pelvis to knee.")]


@app.command()
def work(
    image: ImageArgument,
    output: OutputOption,
    progress: ProgressOption = "bar",
    device: DeviceOption = "cpu",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    slices: int = 3,
    pause: float = 0.0,
    hold: str = "",
) -> None:
    """Count slices, and write how many there were."""

    def point(name: str) -> None:
        if name == hold:
            print(f"holding {name}", file=sys.stderr, flush=True)
            time.sleep(100)

    point("start")
    with run_job(
        module="Toy",
        command="work",
        output=output,
        progress=progress,
        device=device,
        seed=seed,
        overwrite=overwrite,
        parameters={"slices": slices, "image": image},
        inputs=[image],
    ) as job:
        point("job")
        job.progress.stage("count", slices, "Counting")
        for index in range(slices):
            time.sleep(pause)
            job.progress.advance(index + 1)
            point(f"slice {index}")
        (job.folder / "count.txt").write_text(f"{slices} {random.random()}\n")
        point("written")
        job.record(files={"count": "count.txt"})
        job.progress.stage("child", 1)
        if hold == "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
            print(f"child {child.pid}", file=sys.stderr, flush=True)
            point("child")
        if slices > 100:
            job.warn("There were many slices.")


@app.command()
def fail(kind: str, output: OutputOption, progress: ProgressOption = "bar") -> None:
    """Fail within a job: with one of our errors, or like a library."""
    with run_job(module="Toy", command="fail", output=output, progress=progress) as job:
        (job.folder / "half.txt").write_text("half")
        if kind in ERROR_TYPES:
            raise ERROR_TYPES[kind]("One sentence.")
        if kind == "memory":
            bytearray(2**60)
        if kind == "import":
            import no_such_package  # noqa: F401
        if kind == "exit":
            raise typer.Exit(3)
        if kind == "unwritten":
            job.record(files={"labels": "labels.nrrd"})
        if kind == "end of file":
            raise EOFError  # what numpy raises for a truncated file; Typer takes it for Ctrl-D
        if kind == "private":
            raise ValueError(f"cannot parse {output}/labels.nrrd of {output.name}")


@app.command()
def fill(output: OutputOption, name: str = "big.bin", progress: ProgressOption = "bar") -> None:
    """Write a file of 400 KB, by SimpleITK if the name is that of an image."""
    with run_job(module="Toy", command="fill", output=output, progress=progress) as job:
        path = job.folder / name
        if path.suffix == ".bin":
            path.write_bytes(os.urandom(400_000))
        else:
            import SimpleITK as sitk

            sitk.WriteImage(sitk.AdditiveGaussianNoise(sitk.Image(100, 100, 20, 2)), str(path))
        job.record(files={"big": name})


@app.command()
def babble(output: OutputOption, progress: ProgressOption = "bar") -> None:
    """Print in all the ways in which libraries do."""
    print("printed before")
    with run_job(module="Toy", command="babble", output=output, progress=progress) as job:
        job.progress.stage("talk", 1)
        print("printed by Python", flush=True)
        os.write(1, b"printed by C\n")
        subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
        sys.__stdout__.write("printed to the original stdout\n")
    typer.echo("printed after")


@app.command()
def loaded(module: str) -> dict:
    """Say whether a Python module has been imported."""
    return {"loaded": module in sys.modules, "input": sys.stdin.read()}


if __name__ == "__main__":
    app()
