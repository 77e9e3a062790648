# SPDX-License-Identifier: Apache-2.0
"""``make demo``: MuscleSeg on a real CT, from the image to one page that shows everything.

The module runs as it does in Slicer: its panel and logic in the host, its computation in a process
of its own, its result in a MRML scene that Slicer's display code draws.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import slicerhost
from ReadingRoomLib.errors import DownloadFailed

from .page import Page, Row
from .pictures import draw_pictures

STEPS = 6
SOFT_TISSUE = (400, 40)  # window and level in HU
GROUPS = {"bone": "Bones", "hip": "Muscles of the hip", "thigh": "Muscles of the thigh"}


@dataclass(frozen=True)
class Sample:
    """The CT of the demo: where it is, what it is, and what must be said about it."""

    path: Path
    name: str
    description: str
    note: str = ""


def main() -> int:
    """Run the demo; return how the program should exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the page")
    parser.add_argument("--samples", type=int, default=10, help="Monte Carlo samples")
    parser.add_argument("--simulated", action="store_true", help="take the simulated CT at once")
    arguments = parser.parse_args()

    began = time.monotonic()
    keep_library_messages(arguments.output / "libraries.log")
    folder = arguments.output / "muscleseg"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    with step(1, "Getting the CT"):
        sample = get_sample(folder, arguments.simulated)
        print(f"      {sample.description}")
    with step(2, "Starting the host and opening the module"):
        slicerhost.start()
        slicerhost.load_module("ReadingRoomCore", panel=False)
        widget = slicerhost.load_module("MuscleSeg")
    with step(3, "Segmenting: this takes longest"):
        result = segment(widget, sample, arguments.samples)
    with step(4, "Writing the files"):
        files = write_files(widget, result, folder)
    with step(5, "Drawing the pictures"):
        pictures, reason = draw_pictures(widget, result, folder)
        print(f"      {reason or f'{len(pictures)} pictures'}")
    with step(6, "Writing the page"):
        page = make_page(sample, result, pictures, reason, files)
        index = arguments.output / "index.html"
        index.write_text(page.render(), encoding="utf-8")
    widget.logic.shutdown()
    slicerhost.stop()

    print(f"\nDone in {time.monotonic() - began:.0f} s. Look at: {index.resolve().as_uri()}")
    print(f"All files are in: {folder}")
    return 0


def keep_library_messages(path: Path) -> None:
    """Send what VTK and Slicer's libraries say to a file, away from the steps on the screen."""
    import vtk

    path.parent.mkdir(parents=True, exist_ok=True)
    window = vtk.vtkFileOutputWindow()
    window.SetFileName(str(path))
    vtk.vtkOutputWindow.SetInstance(window)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)


@contextmanager
def step(number: int, text: str) -> Iterator[None]:
    """Say which step begins, and how long it took."""
    print(f"[{number}/{STEPS}] {text}", flush=True)
    began = time.monotonic()
    yield
    print(f"      {time.monotonic() - began:.0f} s", flush=True)


# --- image -----------------------------------------------------------------------------------


def get_sample(folder: Path, simulated: bool) -> Sample:
    """Return the real example CT, or a simulated one where it cannot be had."""
    if not simulated:
        from ReadingRoomLib.sampledata import fetch_example_ct

        try:
            path = fetch_example_ct()
        except DownloadFailed as error:
            print(f"      {error.message} Taking a simulated CT instead.")
        else:
            return Sample(
                path,
                "Example CT",
                "A real CT from lower chest to hips, 3 mm, prone, with one metal hip "
                "(example of TotalSegmentator 2.18.0, Apache-2.0).",
            )
    return Sample(
        simulated_ct(folder / "simulated_ct.nrrd"),
        "Simulated CT",
        "A simulated CT, drawn from simple shapes.",
        "This is not a patient: the example CT could not be fetched, so the CT was simulated from "
        "simple shapes. The pictures show how the module works, and nothing about how well.",
    )


def simulated_ct(path: Path) -> Path:
    """Write a simulated CT and return its path."""
    import SimpleITK as sitk

    from ReadingRoomLib.phantoms.pelvis import simulate_pelvis

    sitk.WriteImage(simulate_pelvis({}).image, str(path), useCompression=True)
    return path


# --- computation -----------------------------------------------------------------------------


def segment(widget, sample: Sample, samples: int):
    """Load the CT, run the module's logic on it and give the result to its panel."""
    import slicer

    volume = slicer.util.loadVolume(str(sample.path), {"name": sample.name})
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(*SOFT_TISSUE)
    parameters = widget.logic.getParameterNode()
    parameters.inputVolume = volume
    parameters.samples = samples
    result = widget.logic.process(
        volume,
        model=parameters.model,
        samples=samples,
        sides=parameters.sides,
        seed=parameters.seed,
        wait=True,
        onProgress=ProgressLine(),
    )
    widget.onFinished(result)
    return result


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
            print(f"      {message}", flush=True)
        self.stage = stage


# --- files -----------------------------------------------------------------------------------


def write_files(widget, result, folder: Path) -> list[tuple[str, str]]:
    """Write everything that needs no picture; return each file's path on the page and content."""
    import slicer

    exported = Path(widget.logic.export(result, str(folder)))
    for path in exported.iterdir():
        path.replace(folder / path.name)
    exported.rmdir()
    write_label_map(folder, result.manifest["labels"])
    if not slicer.util.saveScene(str(folder / "scene.mrb")):
        raise OSError("The scene could not be saved.")
    described = {
        "scene.mrb": "the whole scene; open it in 3D Slicer",
        "segmentation.seg.nrrd": "the segmentation, with names, colours and terminology",
        "labels.nrrd": "the label map on the grid of the CT; its numbers are named in result.json",
        "uncertainty.nrrd": "the uncertainty of each voxel, 0 to 1",
        "measurements.csv": "the table above",
        "result.json": "what was run on what: parameters, versions, model, image, times",
    }
    return [(f"muscleseg/{name}", text) for name, text in described.items()]


def write_label_map(folder: Path, labels: dict[str, str]) -> None:
    """Write ``labels.nrrd`` from the exported segmentation, on the grid of the CT."""
    import SimpleITK as sitk

    from ReadingRoomLib.segmentation_files import read_seg_nrrd

    image, _ = read_seg_nrrd(folder / "segmentation.seg.nrrd")
    grid = sitk.ReadImage(str(folder / "uncertainty.nrrd"))
    image = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    values = {int(value) for value in labels}
    found = set(sitk.GetArrayViewFromImage(image).ravel().tolist()) - {0}
    if not found <= values:
        raise ValueError(f"labels without a name: {sorted(found - values)}")
    sitk.WriteImage(image, str(folder / "labels.nrrd"), useCompression=True)


# --- page ------------------------------------------------------------------------------------


def make_page(sample: Sample, result, pictures, no_pictures: str, files) -> Page:
    """Put everything into the page."""
    manifest = result.manifest
    rows = make_rows(manifest)
    checks = [f"{row.name}: {row.flag}." for row in rows if row.flag]
    model = manifest["model"]
    return Page(
        title="MuscleSeg",
        summary="Muscles and bones of hip and thigh on one CT, measured, and how sure the program "
        "is of each.",
        facts=[
            ("Image", sample.description),
            ("Found", f"{len(rows)} structures"),
            ("Model", f"{model['name']} ({model['recipe']} recipe)"),
            ("Monte Carlo samples", str(manifest["parameters"]["samples"])),
            ("Computed on", f"{manifest['device']}, {manifest['timings']['total']:.0f} s"),
        ],
        notes=[sample.note] if sample.note else [],
        flags=[*manifest["warnings"], *checks],
        pictures=pictures,
        no_pictures=no_pictures,
        rows=rows,
        model=model_sentences(model),
        files=files,
        disclaimer=manifest["disclaimer"],
    )


def make_rows(manifest: dict) -> list[Row]:
    """Return the measured structures: bones, hip, thigh; left below right."""
    from MuscleSegLib.structures import STRUCTURES, labels_of

    labels = {
        (label.structure.name, label.side or ""): label
        for sides in (False, True)
        for label in labels_of(sides)
    }
    order = {structure.name: number for number, structure in enumerate(STRUCTURES)}
    rows = []
    for row in sorted(
        manifest["structures"], key=lambda row: (order[row["structure"]], row["side"])
    ):
        label = labels[row["structure"], row["side"]]
        rows.append(
            Row(
                label.display_name,
                GROUPS[label.structure.group],
                label.structure.color,
                row["volume_ml"],
                row["mean_hu"],
                row["uncertainty"],
                row["check"],
            )
        )
    return rows


def model_sentences(model: dict) -> list[str]:
    """Return what a reader must know about the model."""
    sentences = [f"The model {model['name']} learned from {model['trained_on']}."]
    if model["simulated"]:
        sentences.append(
            "It was trained on simulated intensities: no CT of a patient was used. Its outlines "
            "and numbers are for trying the module, not for decisions about a patient."
        )
    sentences.append(
        "Uncertainty is how much the model's answers differ when parts of it are left out at "
        "random: 0 where they agree, higher where they do not. A low value is no proof that an "
        "outline is right; a high one is a reason to look."
    )
    return sentences


if __name__ == "__main__":
    sys.exit(main())
