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
from pathlib import Path

from slicerhost.libraries import panel_problem

from .page import Page, Picture, Row
from .sample import Sample, get_sample
from .steps import keep_library_messages, say, step

GROUPS = {"bone": "Bones", "hip": "Muscles of the hip", "thigh": "Muscles of the thigh"}
FILES = {
    "scene.mrb": "the whole scene; open it in 3D Slicer",
    "segmentation.seg.nrrd": "the segmentation, with names, colours and terminology",
    "labels.nrrd": "the label map on the grid of the CT; its numbers are named in result.json",
    "uncertainty.nrrd": "the uncertainty of each voxel, 0 to 1",
    "measurements.csv": "the table above",
    "result.json": "what was run on what: parameters, versions, model, image, times",
    "simulated_ct.nrrd": "the simulated CT",
}


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the page")
    parser.add_argument("--samples", type=int, default=10, help="Monte Carlo samples")
    parser.add_argument("--simulated", action="store_true", help="take the simulated CT at once")
    arguments = parser.parse_args()

    began = time.monotonic()
    folder = arguments.output / "muscleseg"
    index = arguments.output / "index.html"
    index.unlink(missing_ok=True)  # an old page must not pass for that of a run that fails
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keep_library_messages(arguments.output / "libraries.log")

    with step(1, "Getting the CT"):
        sample = get_sample(folder, arguments.simulated)
        say(sample.description)
    problem = panel_problem()
    if problem:
        say(problem)
        from .without_host import run
    else:
        from .in_host import run
    manifest, pictures, reason = run(sample, arguments.samples, folder)
    with step(6, "Writing the page"):
        page = make_page(sample, manifest, pictures, problem or reason, folder)
        index.write_text(page.render(), encoding="utf-8")

    print(f"\nDone in {time.monotonic() - began:.0f} s. Look at: {index.resolve().as_uri()}")
    print(f"All files are in: {folder}")


def make_page(
    sample: Sample, manifest: dict, pictures: list[Picture], no_pictures: str, folder: Path
) -> Page:
    """Put everything into the page."""
    rows = make_rows(manifest)
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
        flags=[*manifest["warnings"], *check_sentences(rows)],
        pictures=pictures,
        no_pictures=no_pictures,
        rows=rows,
        model=model_sentences(model),
        files=[
            (f"muscleseg/{name}", text) for name, text in FILES.items() if (folder / name).exists()
        ],
        disclaimer=manifest["disclaimer"],
    )


def make_rows(manifest: dict) -> list[Row]:
    """Return the measured structures: bones, hip, thigh; left above right."""
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


def check_sentences(rows: list[Row]) -> list[str]:
    """Return one sentence for each reason to check, naming the structures it holds for."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for reason in filter(None, row.flag.split("; ")):
            names.setdefault(reason, []).append(row.name)
    return [f"{reason.capitalize()}: {'; '.join(found)}." for reason, found in names.items()]


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
    try:
        main()
    except RuntimeError as error:  # a sentence for the user, from the module
        sys.exit(f"\nThe demo cannot go on: {error}")
