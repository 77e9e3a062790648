# SPDX-License-Identifier: Apache-2.0
"""The module as in Slicer: its panel and logic in the host, its result in a scene that is drawn."""

from __future__ import annotations

from pathlib import Path

import slicerhost

from .pictures import draw_image, draw_pictures
from .sample import Sample
from .steps import ProgressLine, say, step

SOFT_TISSUE = (400, 40)  # window and level in HU


def run(sample: Sample, samples: int, folder: Path) -> tuple[dict, list, str]:
    """Segment the sample, write every file to ``folder`` and draw the pictures.

    Returns the content of result.json, the pictures, and why some are missing.
    """
    with step(2, "Starting the host and opening the module"):
        slicerhost.start()
        slicerhost.load_module("ReadingRoomCore", panel=False)
        widget = slicerhost.load_module("MuscleSeg")
    with step(3, "Segmenting: this takes longest"):
        result = _segment(widget.logic, sample, samples)
        widget.onFinished(result)
    with step(4, "Writing the files"):
        _write_files(widget.logic, result, folder)
    with step(5, "Drawing the pictures"):
        pictures, reason = draw_pictures(widget, result, folder)
        say(reason or f"{len(pictures)} pictures")
    manifest = result.manifest
    widget.logic.shutdown()
    slicerhost.stop()
    return manifest, pictures, reason


def _segment(logic, sample: Sample, samples: int):
    """Load the CT, run the module's logic on it and return the result."""
    import slicer

    volume = slicer.util.loadVolume(str(sample.path), {"name": sample.name})
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(*SOFT_TISSUE)
    draw_image(volume)
    parameters = logic.getParameterNode()
    parameters.inputVolume = volume
    parameters.samples = samples
    return logic.process(
        volume,
        model=parameters.model,
        samples=samples,
        sides=parameters.sides,
        seed=parameters.seed,
        wait=True,
        onProgress=ProgressLine(),
    )


def _write_files(logic, result, folder: Path) -> None:
    """Write what the module exports, and the scene."""
    import slicer

    exported = Path(logic.export(result, str(folder)))
    for path in exported.iterdir():
        path.replace(folder / path.name)
    exported.rmdir()
    if not slicer.util.saveScene(str(folder / "scene.mrb")):
        raise RuntimeError("The scene could not be saved.")
