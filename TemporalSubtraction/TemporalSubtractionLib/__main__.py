# SPDX-License-Identifier: Apache-2.0
"""The command line of this module: ``python -m TemporalSubtractionLib --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ReadingRoomLib.commands import (
    OutputOption,
    OverwriteOption,
    ProgressOption,
    make_app,
    run_job,
)

app = make_app(
    "temporalsubtraction",
    "What changed in the bones since the last CT.",
    preload=("SimpleITK", "TemporalSubtractionLib.alignment"),
)


@app.command()
def register(
    prior: Annotated[Path, typer.Argument(help="The earlier CT: DICOM folder, NIfTI, NRRD, "
                                               "MetaImage.")],
    current: Annotated[Path, typer.Argument(help="The later CT of the same patient.")],
    output: OutputOption,
    transform: Annotated[Path | None, typer.Option(
        help="Take this transform from the current to the prior CT instead of searching for one; "
             "any that 3D Slicer saves as .h5 or .tfm.")] = None,
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

        run(job, prior, current, transform)


if __name__ == "__main__":
    app()
