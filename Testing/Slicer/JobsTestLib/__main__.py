# SPDX-License-Identifier: Apache-2.0
"""Commands that count, fail, crash, hang and start other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ReadingRoomLib.commands import OutputOption, ProgressOption, make_app, run_job
from ReadingRoomLib.errors import BadInput

app = make_app("jobstest", "Quick commands for tests.", preload=())


@app.command()
def count(
    output: OutputOption,
    to: int = 3,
    seconds: float = 0.0,
    progress: ProgressOption = "bar",
) -> None:
    """Count, and write the last number."""
    with run_job(module="JobsTest", command="count", output=output, progress=progress) as job:
        job.progress.stage("count", to, "Counting")
        for number in range(1, to + 1):
            time.sleep(seconds)
            print("number", number)
            job.progress.advance(number)
        (job.folder / "number.txt").write_text(str(to))
        job.record(files={"number": "number.txt"}, process=os.getpid())


@app.command()
def fail(output: OutputOption, progress: ProgressOption = "bar") -> None:
    """Refuse the input."""
    with run_job(module="JobsTest", command="fail", output=output, progress=progress):
        raise BadInput("This image cannot be used: choose another one.")


@app.command()
def crash(output: OutputOption, progress: ProgressOption = "bar") -> None:
    """End as a library written in C++ does when it fails."""
    with run_job(module="JobsTest", command="crash", output=output, progress=progress):
        print("something went terribly wrong", file=sys.stderr, flush=True)
        os._exit(7)


@app.command()
def hang(
    pids: Annotated[Path, typer.Argument(help="File for the two process numbers.")],
    output: OutputOption,
    progress: ProgressOption = "bar",
) -> None:
    """Start another process and wait for it without end."""
    with run_job(module="JobsTest", command="hang", output=output, progress=progress) as job:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pids.write_text(f"{os.getpid()} {child.pid}")
        job.progress.stage("wait", 1, "Waiting")
        child.wait()


if __name__ == "__main__":
    app()
