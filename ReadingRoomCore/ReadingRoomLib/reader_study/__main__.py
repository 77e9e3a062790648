# SPDX-License-Identifier: Apache-2.0
"""The command line of reader studies: ``python -m ReadingRoomLib.reader_study --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ReadingRoomLib.commands import (
    OutputOption,
    OverwriteOption,
    ProgressOption,
    make_app,
    run_job,
)
from ReadingRoomLib.errors import BadInput

app = make_app(
    "reader-study",
    "Studies in which several readers read the same cases with and without an aid.",
    preload=("scipy.stats", "openpyxl"),
)


@app.command()
def analyse(
    source: Annotated[Path, typer.Argument(
        metavar="STUDY", help="Ratings as a JAFROC workbook (.xlsx), or a study folder.")],
    output: OutputOption,
    truth: Annotated[Path | None, typer.Option(
        help="Where the lesions are (.json); for a study folder.")] = None,
    figure: Annotated[Literal["ROC", "FROC", "AFROC", "wAFROC"] | None, typer.Option(
        help="Figure of merit; by default ROC where cases were rated, wAFROC where places were "
             "marked.")] = None,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Compare the modalities of a study; writes a report, tables and curves."""
    # heavy imports only now: help and wrong options are answered at once
    from .folder import STUDY_FILE, StudyFolder

    if (truth is None) == source.is_dir():
        raise BadInput("The truth belongs to a study folder: give both, or a workbook alone.")
    inputs = [source] if truth is None else [
        source / STUDY_FILE, *StudyFolder(source).answer_files(), truth]
    with run_job(
        module="ReadingRoomCore", command="analyse", output=output, progress=progress,
        overwrite=overwrite, parameters={"figure": figure}, inputs=inputs,
    ) as job:
        from .report import run

        run(job, source, truth, figure)


@app.command()
def create(
    folder: Annotated[Path, typer.Argument(
        help="Holds a folder for each case with the images current, z and perhaps prior.")],
    reader: Annotated[list[str], typer.Option(help="Name of a reader; once for each.")],
) -> None:
    """Make a study of the cases in a folder, to be read in 3D Slicer."""
    from .folder import STUDY_FILE, create_study

    plan = create_study(folder, reader).plan
    typer.echo(f"{STUDY_FILE}: {len(plan.cases)} cases for {len(plan.readers)} readers")


if __name__ == "__main__":
    app()
