# SPDX-License-Identifier: Apache-2.0
"""Pictures for Docs/LandmarkPretrain.md: ``python -m demo.landmark_pretrain FOLDER``.

The module finds the landmarks of its sample, the CT of a simulated trunk.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import slicerhost
from demo.temporal_subtraction import wait_while, with_caption
from slicerhost import views
from slicerhost.photo import photograph

SIZE = (400, 560)
FIELD_OF_VIEW = 560.0  # mm


def main(folder: Path) -> None:
    """Save LandmarkPretrain-panel.png and LandmarkPretrain-overview.png."""
    slicerhost.start()
    widget = slicerhost.load_module("LandmarkPretrain")
    widget.parent.enter()
    widget.ui.sampleButton.click()
    wait_while(lambda: widget.sampleLoader.running)
    widget.ui.applyButton.click()
    wait_while(lambda: widget.logic.running)
    result = widget.logic.resultOf(widget.logic.getParameterNode())
    if result is None:
        raise RuntimeError(widget.ui.messageLabel.text)
    print(photograph("LandmarkPretrain", folder / "LandmarkPretrain-panel.png"))
    print(views.save_png(draw_overview(result), folder / "LandmarkPretrain-overview.png"))
    widget.logic.shutdown()
    slicerhost.stop()


def draw_overview(result) -> np.ndarray:
    """Draw the trunk from the front and from the side, and its bones with all landmarks."""
    import slicer

    points = np.array([result.landmarks.GetNthControlPointPositionWorld(number)
                       for number in range(result.landmarks.GetNumberOfControlPoints())])
    centre = points.mean(0).tolist()
    display = result.landmarks.GetDisplayNode()
    display.SetPointLabelsVisibility(False)
    display.SetGlyphScale(1.6)
    display.SetSliceProjection(True)
    # what is projected has the colour of points that are not selected, here those not sure
    display.SetColor(*display.GetSelectedColor())
    display.SetSliceProjectionUseFiducialColor(True)
    display.SetSliceProjectionOpacity(0.7)
    volume = result.inputVolume.GetDisplayNode()
    volume.AutoWindowLevelOff()
    volume.SetWindowLevelMinMax(-200, 350)
    views.show_slices(result.inputVolume)
    parts = [with_caption(views.slice_picture(view, SIZE, centre, FIELD_OF_VIEW), caption)
             for view, caption in (("coronal", "all landmarks, from the front"),
                                   ("sagittal", "from the side"))]
    views.show_volume_rendering(result.inputVolume, "CT-Bone")
    parts.append(with_caption(views.three_d_picture(SIZE, zoom=1.3), "and in 3D"))
    slicer.app.processEvents()
    return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    main(*[Path(argument).resolve() for argument in sys.argv[1:]])
