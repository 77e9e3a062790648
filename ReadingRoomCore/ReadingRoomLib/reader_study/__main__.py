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

app = make_app(
    "reader-study",
    "Studies in which several readers read the same cases with and without an aid.",
    preload=("scipy.stats", "openpyxl"),
)


@app.command()
def analyse(
    workbook: Annotated[Path, typer.Argument(help="Ratings as a JAFROC workbook (.xlsx).")],
    output: OutputOption,
    figure: Annotated[Literal["ROC", "FROC", "AFROC", "wAFROC"] | None, typer.Option(
        help="Figure of merit; by default ROC where cases were rated, wAFROC where places were "
             "marked.")] = None,
    progress: ProgressOption = "bar",
    overwrite: OverwriteOption = False,
) -> None:
    """Compare the modalities of a study; writes a report, tables and curves."""
    with run_job(
        module="ReadingRoomCore", command="analyse", output=output, progress=progress,
        overwrite=overwrite, parameters={"figure": figure}, inputs=[workbook],
    ) as job:
        # heavy imports only now: help and wrong options are answered at once
        from .report import run

        run(job, workbook, figure)


if __name__ == "__main__":
    app()
