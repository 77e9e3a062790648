# SPDX-License-Identifier: Apache-2.0
"""The pictures of the demo, drawn by Slicer's display code from the scene that the module made."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from slicerhost import views
from slicerhost.libraries import MissingLibrary
from slicerhost.photo import photograph

from .page import Picture

SLICE_SIZE = (960, 640)
SPACE_SIZE = (1440, 1120)  # halved: smoother than drawn at that size
OVERVIEW_SIZE = (600, 420)  # of each of three pictures side by side
ZOOM = 0.95
MARGIN = 1.12  # of the field of view around what was found
ORIENTATIONS = {  # how each is seen, and the axis that it cuts (x, y, z in LPS)
    "axial": ("from the feet, the patient's right on the left", 2),
    "coronal": ("from the front, the patient's right on the left", 1),
    "sagittal": ("from the left side", 0),
}


def draw_pictures(widget, result, folder: Path) -> tuple[list[Picture], str]:
    """Draw what can be drawn; return the pictures, and why some are missing."""
    try:
        pictures, reason = [*draw_slices(result, folder), *draw_in_space(result, folder)], ""
        draw_overview(result, folder)
    except MissingLibrary as error:
        pictures, reason = [], str(error)
    return [*pictures, *draw_panel(widget, folder)], reason


def draw_image(volume) -> None:
    """Draw the image alone in all slice views, as a user sees it before there is a result.

    What is drawn first lies below: segments that are laid over the image later are transparent.
    """
    with contextlib.suppress(MissingLibrary):  # said when the result is drawn
        views.show_slices(volume)
        for orientation in ORIENTATIONS:
            views.slice_picture(orientation)


# --- slices ----------------------------------------------------------------------------------


def draw_slices(result, folder: Path) -> list[Picture]:
    """Draw three planes, each with the segments and with the uncertainty."""
    planes = Planes(folder / "labels.nrrd")
    colors = uncertainty_colors(result.uncertaintyVolume)
    pictures = []
    for orientation, (seen_from, _) in ORIENTATIONS.items():
        for uncertain in (False, True):
            name = f"{orientation}_{'uncertainty' if uncertain else 'segments'}.png"
            picture = draw_slice(result, planes, orientation, uncertain, SLICE_SIZE)
            views.save_png(picture, folder / name)
            pictures.append(slice_text(name, orientation, seen_from, colors if uncertain else ()))
    return pictures


def draw_slice(
    result, planes: Planes, orientation: str, uncertain: bool, size: tuple[int, int]
) -> np.ndarray:
    """Draw the best plane of an orientation, with filled segments or with the uncertainty."""
    axis = ORIENTATIONS[orientation][1]
    map_node = result.uncertaintyVolume if uncertain else None
    views.show_slices(result.inputVolume, map_node, opacity=0.8)
    segments = result.segmentation.GetDisplayNode()
    segments.SetVisibility2DFill(not uncertain)
    picture = views.slice_picture(
        orientation,
        size,
        centre=planes.centre_of(axis),
        field_of_view=planes.field_of_view(axis, size),
    )
    segments.SetVisibility2DFill(True)
    return picture


class Planes:
    """Where to cut: the planes that show the most structures, and how much to show of them."""

    def __init__(self, label_map: Path) -> None:
        import SimpleITK as sitk

        self.image = sitk.DICOMOrient(sitk.ReadImage(str(label_map)), "LPS")
        self.labels = sitk.GetArrayFromImage(self.image).transpose()  # x, y, z
        found = np.argwhere(self.labels > 0)
        self.first, self.last = found.min(0), found.max(0)

    def best(self, axis: int) -> int:
        """Return the index of the plane across ``axis`` with the most structures, well cut.

        Every structure counts with the root of its area, so that many small ones outweigh a
        large one.
        """
        planes = np.moveaxis(self.labels, axis, 0)
        score = np.zeros(len(planes))
        for value in np.unique(self.labels)[1:]:
            score += np.sqrt((planes == value).sum((1, 2)))
        return int(score.argmax())

    def centre_of(self, axis: int) -> tuple[float, float, float]:
        """Return the point (RAS, mm) in the best plane, in the middle of what was found."""
        index = ((self.first + self.last) / 2).tolist()
        index[axis] = self.best(axis)
        left, posterior, superior = self.image.TransformContinuousIndexToPhysicalPoint(index)
        return -left, -posterior, superior

    def field_of_view(self, axis: int, size: tuple[int, int]) -> float:
        """Return the width in mm that shows all that was found in a picture of this shape."""
        extent = (self.last - self.first + 1) * np.array(self.image.GetSpacing())
        width, height = [extent[other] for other in range(3) if other != axis]
        return float(MARGIN * max(width, height * size[0] / size[1]))


def uncertainty_colors(map_node) -> tuple[str, ...]:
    """Return some colours of a map's colour table, from low to high, as HTML writes them."""
    table = map_node.GetDisplayNode().GetColorNode()
    colors = []
    for share in np.linspace(0, 1, 9):
        color = [0.0] * 4
        table.GetColor(round(share * (table.GetNumberOfColors() - 1)), color)
        colors.append("#" + "".join(f"{round(255 * part):02x}" for part in color[:3]))
    return tuple(colors)


def slice_text(name: str, orientation: str, seen_from: str, colors: tuple[str, ...]) -> Picture:
    """Say what a slice shows."""
    file = f"muscleseg/{name}"
    if colors:
        return Picture(
            file,
            f"{orientation.capitalize()}, uncertainty",
            "The same plane. Colour lies where the model was unsure; where there is none, it was "
            "sure. Lines are the borders that it drew.",
            scale=colors,
        )
    return Picture(
        file,
        f"{orientation.capitalize()}, segments",
        f"Seen {seen_from}. Each structure has the colour of its row in the table below.",
    )


# --- space and panel -------------------------------------------------------------------------


def draw_in_space(result, folder: Path) -> list[Picture]:
    """Draw the surfaces, and the image itself, from the front and from behind."""
    import slicer

    from MuscleSeg import RENDERING_PRESET
    from ReadingRoomSlicerLib import views as module_views

    view = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
    for set_color in (view.SetBackgroundColor, view.SetBackgroundColor2):
        set_color(0.0, 0.0, 0.0)
    pictures = []

    def take(name: str, look_from: str, title: str, caption: str) -> None:
        picture = views.three_d_picture(SPACE_SIZE, look_from, zoom=ZOOM, box=False)
        views.save_png(halved(picture), folder / name)
        pictures.append(Picture(f"muscleseg/{name}", title, caption))

    surfaces = "Every structure that was found, as a surface."
    module_views.showIn3D(result.segmentation, True)
    take("surfaces_front.png", "Anterior", "Surfaces, from the front", surfaces)
    take("surfaces_back.png", "Posterior", "Surfaces, from behind", surfaces)
    module_views.showIn3D(result.segmentation, False)
    module_views.showVolumeRendering(result.inputVolume, True, RENDERING_PRESET)
    take(
        "volume_rendering.png",
        "Posterior",
        "Volume rendering, from behind",
        "The CT itself, without the segmentation.",
    )
    module_views.showVolumeRendering(result.inputVolume, False, RENDERING_PRESET)
    module_views.showIn3D(result.segmentation, True)
    return pictures


def halved(picture: np.ndarray) -> np.ndarray:
    """Return a picture at half its size, each pixel the mean of four."""
    height, width, colors = picture.shape
    return picture.reshape(height // 2, 2, width // 2, 2, colors).mean((1, 3)).astype(np.uint8)


def draw_overview(result, folder: Path) -> None:
    """Draw an axial plane twice and the surfaces, side by side: one picture to show around."""
    planes = Planes(folder / "labels.nrrd")
    parts = [
        draw_slice(result, planes, "axial", uncertain, OVERVIEW_SIZE) for uncertain in (False, True)
    ]
    parts.append(views.three_d_picture(OVERVIEW_SIZE, "Posterior", zoom=ZOOM, box=False))
    views.save_png(np.concatenate(parts, axis=1), folder / "overview.png")


def draw_panel(widget, folder: Path) -> list[Picture]:
    """Photograph the module's panel with the result in it."""
    widget.showResult()
    photograph("MuscleSeg", folder / "panel.png")
    return [
        Picture(
            "muscleseg/panel.png",
            "The panel of the module",
            "What stands beside the views in 3D Slicer: the CT, the model, Apply, and the result.",
            light=True,
        )
    ]
