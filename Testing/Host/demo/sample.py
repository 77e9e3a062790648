# SPDX-License-Identifier: Apache-2.0
"""The CT of the demo: a real one, or a simulated one where the real one cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ReadingRoomLib.errors import DownloadFailed

from .steps import say


@dataclass(frozen=True)
class Sample:
    """Where the CT is, what it is, and what must be said about it."""

    path: Path
    name: str
    description: str
    note: str = ""


def get_sample(folder: Path, simulated: bool) -> Sample:
    """Return the real example CT, or a simulated one that is written to ``folder``."""
    if not simulated:
        from ReadingRoomLib.sampledata import fetch_example_ct

        try:
            path = fetch_example_ct(progress=_say_download())
        except DownloadFailed as error:
            say(f"{error.message} A simulated CT is taken instead.")
        else:
            return Sample(
                path,
                "Example CT",
                "A real CT from lower chest to hips, 3 mm, with one metal hip "
                "(example of TotalSegmentator 2.18.0, Apache-2.0).",
            )
    return Sample(
        _simulate(folder / "simulated_ct.nrrd"),
        "Simulated CT",
        "A simulated CT, drawn from simple shapes.",
        "This is not a patient: the CT was simulated from simple shapes, because the real example "
        "could not be fetched. The page shows how the module works, and nothing about how well.",
    )


def _say_download():
    """Return a function that says once how much is downloaded."""
    said = []

    def report(done: int, total: int) -> None:
        if not said:
            said.append(say(f"Downloading {total / 1e6:.0f} MB, once"))

    return report


def _simulate(path: Path) -> Path:
    import SimpleITK as sitk

    from ReadingRoomLib.phantoms.pelvis import simulate_pelvis

    sitk.WriteImage(simulate_pelvis({}).image, str(path), useCompression=True)
    return path
