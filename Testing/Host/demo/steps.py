# SPDX-License-Identifier: Apache-2.0
"""What the demo says while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STEPS = 6


@contextmanager
def step(number: int, text: str) -> Iterator[None]:
    """Say which step begins, and how long it took."""
    print(f"[{number}/{STEPS}] {text}", flush=True)
    began = time.monotonic()
    yield
    print(f"      {time.monotonic() - began:.0f} s", flush=True)


def say(text: str) -> None:
    """Say something about the step."""
    print(f"      {text}", flush=True)


class ProgressLine:
    """Shows one line that is overwritten, or one line for each stage where that cannot be."""

    def __init__(self) -> None:
        self.stage = ""

    def __call__(self, stage: str, done: int, total: int, message: str) -> None:
        share = f"{100 * done // total:3d} %" if total else ""
        if sys.stdout.isatty():
            print(f"\r      {message}: {share}".ljust(60), end="", flush=True)
            if stage == "write" and done == total:
                print()
        elif stage != self.stage:
            say(message)
        self.stage = stage


def keep_library_messages(path: Path) -> None:
    """Send what VTK and Slicer's libraries say to a file, away from the steps on the screen."""
    import vtk

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    window = vtk.vtkFileOutputWindow()
    window.SetFileName(str(path))
    vtk.vtkOutputWindow.SetInstance(window)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
