# SPDX-License-Identifier: Apache-2.0
"""Pictures for Docs/TemporalSubtraction.md: ``python -m demo.temporal_subtraction FOLDER``.

The module compares its sample: a real CT, and a simulated follow-up with lesions.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import slicerhost
from slicerhost import views
from slicerhost.photo import photograph

SIZE = (440, 440)
FIELD_OF_VIEW = 150.0  # mm
BONE_WINDOW = (1500, 350)  # width and level, HU


def main(folder: Path) -> None:
    """Save TemporalSubtraction-panel.png and TemporalSubtraction-overview.png."""
    slicerhost.start()
    widget = slicerhost.load_module("TemporalSubtraction")
    widget.parent.enter()
    widget.ui.sampleButton.click()
    wait_while(lambda: widget.sampleLoader.running)
    widget.ui.applyButton.click()
    wait_while(lambda: widget.logic.running)
    result = widget.logic.resultOf(widget.logic.getParameterNode())
    if result is None:
        raise RuntimeError(widget.ui.messageLabel.text)
    table = widget.ui.resultTable
    last = len(places(result.candidates)) - 1
    for row, button in ((0, "acceptButton"), (last, "rejectButton"), (1, "acceptButton")):
        table.selectRow(row)
        getattr(widget.ui, button).click()
    print(photograph("TemporalSubtraction", folder / "TemporalSubtraction-panel.png"))
    point = places(result.candidates)[1]
    print(views.save_png(draw_overview(result, point), folder / "TemporalSubtraction-overview.png"))
    slicerhost.stop()


def places(table) -> list:
    """Places of the candidates, RAS."""
    from TemporalSubtractionSlicerLib.candidate_view import candidatesOf

    return [candidate.point_ras for candidate in candidatesOf(table)]


def wait_while(condition) -> None:
    """Let the application work until something is over."""
    import slicer

    while condition():
        slicer.app.processEvents()
        time.sleep(0.02)


def draw_overview(result, point) -> np.ndarray:
    """Draw one plane as it was, as it is, and with the changes, side by side."""
    display = result.currentVolume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(*BONE_WINDOW)
    result.alignedVolume.GetDisplayNode().SetAutoWindowLevel(False)
    result.alignedVolume.GetDisplayNode().SetWindowLevel(*BONE_WINDOW)
    outlines = result.segmentation.GetDisplayNode()
    parts = []
    for caption, background, change in (
            ("prior, aligned", result.alignedVolume, None), ("current", result.currentVolume, None),
            ("current with what changed", result.currentVolume, result.changeVolume)):
        outlines.SetVisibility(False)
        views.show_slices(background, change, opacity=0.8)
        picture = views.slice_picture("axial", SIZE, point, FIELD_OF_VIEW)
        parts.append(with_caption(picture, caption))
    outlines.SetVisibility(True)
    return np.concatenate(parts, axis=1)


def with_caption(picture: np.ndarray, caption: str) -> np.ndarray:
    """The picture with words in its upper left corner."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    ImageDraw.Draw(image).text((12, 10), caption, fill=(255, 255, 255),
                               font=ImageFont.load_default(size=20))
    return np.asarray(image)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
