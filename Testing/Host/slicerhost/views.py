# SPDX-License-Identifier: Apache-2.0
"""Pictures of the scene, drawn off-screen by Slicer's own display code.

::

    views.show_slices(background=ct, foreground=uncertainty, opacity=0.6)
    views.save_png(views.slice_picture("Red", size=(512, 512)), "axial.png")
    views.save_png(views.three_d_picture(size=(800, 600), look_from="Anterior"), "surfaces.png")
    views.save_png(views.layout_picture(size=(1200, 900)), "layout.png")

A picture is a uint8 array, height x width x 3. Every function that draws raises MissingLibrary
where no OpenGL library can be loaded.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from .layout import SLICE_VIEW_NAMES
from .libraries import panel_problem

_ORIENTATION_VIEWS = {"axial": "Red", "coronal": "Green", "sagittal": "Yellow"}
_AXIS_LETTERS = {"Axial": "S: ", "Coronal": "A: ", "Sagittal": "R: "}
_CONTROLLER_HEIGHT = 22
_GAP = 2


def _layout_manager():
    import slicer

    return slicer.app.layoutManager()


def slice_view(name: str):
    """The slice widget of a view name ("Red") or an orientation ("axial")."""
    return _layout_manager().sliceWidget(_ORIENTATION_VIEWS.get(name, name))


def show_slices(background=None, foreground=None, label=None, opacity: float = 0.5) -> None:
    """Puts volumes into all slice views; None empties a layer. opacity: of the foreground."""
    for name in SLICE_VIEW_NAMES:
        composite = slice_view(name).mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(_node_id(background))
        composite.SetForegroundVolumeID(_node_id(foreground))
        composite.SetLabelVolumeID(_node_id(label))
        composite.SetForegroundOpacity(opacity)


def _node_id(node) -> str | None:
    return None if node is None else node.GetID()


def slice_picture(
    view: str = "Red",
    size: tuple[int, int] = (512, 512),
    centre: tuple[float, float, float] | None = None,
    field_of_view: float | None = None,
    fit: bool = True,
) -> np.ndarray:
    """A slice view at width x height pixels.

    view: "Red", "Green", "Yellow" or "axial", "coronal", "sagittal".
    centre: RAS point in mm to go to and to centre on.
    field_of_view: width of the picture in mm.
    fit: first fits the view to the volumes in it; else it stays as it is.
    """
    widget = slice_view(view)
    drawing = widget._drawing()
    drawing.resize(*size)
    if fit:
        widget.fitSliceToBackground()
    if field_of_view is not None:
        depth = widget.mrmlSliceNode().GetFieldOfView()[2]
        height = field_of_view * size[1] / size[0]
        widget.mrmlSliceNode().SetFieldOfView(field_of_view, height, depth)
    if centre is not None:
        widget.mrmlSliceNode().JumpSliceByCentering(*centre)
    return drawing.pixels()


def three_d_picture(
    size: tuple[int, int] = (512, 512),
    look_from: str | None = "Anterior",
    zoom: float = 1.0,
    fit: bool = True,
    box: bool | None = None,
) -> np.ndarray:
    """The 3D view at width x height pixels.

    look_from: "Anterior", "Posterior", "Left", "Right", "Superior", "Inferior", or None to leave
    the camera as it is. zoom: beyond fitting; 2 shows half the width. box: shows or hides the box
    and the letters around the scene.
    """
    widget = _layout_manager().threeDWidget(0)
    drawing = widget._drawing()
    drawing.resize(*size)
    if box is not None:
        widget.mrmlViewNode().SetBoxVisible(box)
        widget.mrmlViewNode().SetAxisLabelsVisible(box)
    if look_from is not None:
        drawing.look_from(look_from)
    if fit:
        drawing.reset_focal_point()
        drawing.reset_camera()
        drawing.renderer.GetActiveCamera().Zoom(zoom)
    return drawing.pixels()


def show_volume_rendering(volume, preset: str = "CT-Muscle", visible: bool = True):
    """Shows a volume in 3D with one of Slicer's presets; returns its display node."""
    import slicer

    logic = slicer.modules.volumerendering.logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(volume)
    if display is None:
        display = logic.CreateDefaultVolumeRenderingNodes(volume)
    if preset:
        node = logic.GetPresetByName(preset)
        if node is None:
            raise ValueError(f"Slicer has no volume rendering preset {preset!r}")
        display.GetVolumePropertyNode().Copy(node)
    display.SetVisibility(visible)
    return display


def show_color_legend(node, visible: bool = True, title: str | None = None):
    """Shows or hides the colour legend of a volume or model; returns its display node."""
    import slicer

    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    legend.SetVisibility(visible)
    if title is not None:
        legend.SetTitleText(title)
    return legend


def layout_picture(size: tuple[int, int] = (1000, 800), fit: bool = True) -> np.ndarray:
    """All views of the current layout with their coloured bars, as the desktop arranges them."""
    logic = _layout_manager().layoutLogic()
    description = logic.GetLayoutNode().GetCurrentLayoutDescription()
    return _arrange(ElementTree.fromstring(description), size, fit)


def _arrange(element, size, fit):
    width, height = size
    if element.tag == "view":
        return _view_with_bar(element, size, fit)
    children = [item[0] for item in element.findall("item")]
    if element.get("type") == "tab":
        children = children[:1]
    if element.get("type") == "horizontal":
        widths = _shares(width, len(children))
        parts = [
            _arrange(child, (w, height), fit) for child, w in zip(children, widths, strict=True)
        ]
        return _joined(parts, axis=1)
    heights = _shares(height, len(children))
    parts = [_arrange(child, (width, h), fit) for child, h in zip(children, heights, strict=True)]
    return _joined(parts, axis=0)


def _shares(length: int, count: int) -> list[int]:
    usable = length - _GAP * (count - 1)
    return [usable // count + (index < usable % count) for index in range(count)]


def _joined(parts, axis):
    shape = list(parts[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    pieces = [piece for part in parts for piece in (part, gap)][:-1]
    return np.concatenate(pieces, axis=axis)


def _view_with_bar(element, size, fit):
    width, height = size
    name = element.get("singletontag")
    inner = (width, height - _CONTROLLER_HEIGHT)
    if element.get("class") == "vtkMRMLSliceNode":
        picture = slice_picture(name, inner, fit=fit)
        node = slice_view(name).mrmlSliceNode()
    else:
        picture = three_d_picture(inner, look_from="Anterior" if fit else None, fit=fit)
        node = _layout_manager().threeDWidget(0).mrmlViewNode()
    return np.concatenate([_bar(node, width), picture], axis=0)


def _bar(node, width: int) -> np.ndarray:
    """The coloured bar above a view: its letter and, for a slice, where it is."""
    if panel_problem():
        color = [round(255 * part) for part in node.GetLayoutColor()]
        return np.tile(np.array(color, np.uint8), (_CONTROLLER_HEIGHT, width, 1))
    from PySide6.QtCore import QRect, Qt
    from PySide6.QtGui import QColor, QImage, QPainter

    image = QImage(width, _CONTROLLER_HEIGHT, QImage.Format.Format_RGB888)
    image.fill(QColor.fromRgbF(*node.GetLayoutColor()))
    area = QRect(8, 0, width - 16, _CONTROLLER_HEIGHT)
    painter = QPainter(image)
    painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, node.GetLayoutLabel() or "")
    if node.IsA("vtkMRMLSliceNode"):
        axis = _AXIS_LETTERS.get(node.GetOrientation(), "")
        text = f"{axis}{node.GetSliceOffset():.4f}mm"
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, text)
    painter.end()
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(_CONTROLLER_HEIGHT, -1)
    return rows[:, : width * 3].reshape(_CONTROLLER_HEIGHT, width, 3).copy()


def save_png(picture: np.ndarray, path: str | os.PathLike) -> Path:
    """Writes a picture to a PNG file; returns its path."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkIOImage import vtkPNGWriter

    height, width, _ = picture.shape
    image = vtkImageData()
    image.SetDimensions(width, height, 1)
    values = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
    writer = vtkPNGWriter()
    writer.SetFileName(os.fspath(path))
    writer.SetInputData(image)
    writer.Write()
    return Path(path)
