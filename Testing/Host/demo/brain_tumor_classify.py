# SPDX-License-Identifier: Apache-2.0
"""Pictures for Docs/BrainTumorClassify.md: ``python -m demo.brain_tumor_classify FOLDER``.

The module classifies its sample, the three sequences of a simulated patient.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import slicerhost
from demo.temporal_subtraction import wait_while, with_caption
from slicerhost import views
from slicerhost.photo import photograph

SIZE = (330, 400)
FIELD_OF_VIEW = 190.0  # mm


def main(folder: Path) -> None:
    """Save BrainTumorClassify-panel.png and BrainTumorClassify-overview.png."""
    slicerhost.start()
    widget = slicerhost.load_module("BrainTumorClassify")
    widget.parent.enter()
    widget.ui.sampleButton.click()
    wait_while(lambda: widget.sampleLoader.running)
    widget.ui.applyButton.click()
    wait_while(lambda: widget.logic.running)
    result = widget.logic.resultOf(widget.logic.getParameterNode())
    if result is None:
        raise RuntimeError(widget.ui.messageLabel.text)
    print(photograph("BrainTumorClassify", folder / "BrainTumorClassify-panel.png"))
    print(views.save_png(draw_overview(result), folder / "BrainTumorClassify-overview.png"))
    widget.logic.shutdown()
    slicerhost.stop()


def draw_overview(result) -> np.ndarray:
    """Draw the middle of the tumour in the sequences, and where the answer comes from."""
    import slicer

    centre = [0.0, 0.0, 0.0]
    result.regionBox.GetCenterWorld(centre)
    parts = []
    for caption, background, heat in (
            ("T1", result.alignedT1, None), ("T2", result.alignedT2, None),
            ("T1 with contrast agent", result.mainVolume, None),
            ("where the answer comes from", result.mainVolume, result.saliency)):
        display = background.GetDisplayNode()
        display.AutoWindowLevelOff()
        values = slicer.util.arrayFromVolume(background)
        display.SetWindowLevelMinMax(0, float(np.quantile(values, 0.998)))
        views.show_slices(background, heat, opacity=0.6)
        parts.append(with_caption(
            views.slice_picture("axial", SIZE, centre, FIELD_OF_VIEW), caption))
    return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    main(*[Path(argument).resolve() for argument in sys.argv[1:]])
