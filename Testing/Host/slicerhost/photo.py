# SPDX-License-Identifier: Apache-2.0
"""Photographs of panels, framed as on the left side of the desktop's window."""

from __future__ import annotations

import os
from pathlib import Path

_FRAME_MARGIN = 6


def photograph(module_name: str, path: str | os.PathLike, width: int = 500) -> Path:
    """Saves a picture of a loaded module's panel; returns its path.

    The picture is as wide as the desktop's panel (pixels) and as high as the panel's content.
    """
    import slicer

    from . import pythonqt

    module = slicer.app.moduleManager().module(module_name)
    section = pythonqt.uic_class_registry["ctkCollapsibleButton"]()
    section.setProperty("text", "Help && Acknowledgement")
    section.setProperty("collapsed", True)
    panel = pythonqt.unwrap(module.widgetRepresentation())
    return _save([_module_row(module), section, panel], path, width)


def photograph_part(widget, path: str | os.PathLike, width: int = 500) -> Path:
    """Saves a picture of a part of a panel, which has no parent; returns its path."""
    from . import pythonqt

    return _save([pythonqt.unwrap(widget)], path, width)


def _save(parts: list, path: str | os.PathLike, width: int) -> Path:
    """Saves a picture of widgets, one below the other; the last one is kept."""
    from PySide6.QtWidgets import QVBoxLayout, QWidget

    frame = QWidget()
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(*[_FRAME_MARGIN] * 4)
    for part in parts:
        layout.addWidget(part)
    layout.addStretch(1)
    try:
        _fit(frame, width)
        if not frame.grab().save(os.fspath(path)):
            raise OSError(f"the picture could not be written: {path}")
    finally:
        parts[-1].setParent(None)
        frame.deleteLater()
    return Path(path)


def _module_row(module):
    from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

    from . import pythonqt

    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(QLabel("Modules:"))
    box = QComboBox()
    if module.icon is None:
        box.addItem(module.title)
    else:
        box.addItem(pythonqt.unwrap(module.icon), module.title)
    layout.addWidget(box, 1)
    return row


def _fit(frame, width: int) -> None:
    """Gives the frame its width and the height that its content then needs."""
    from PySide6.QtWidgets import QApplication

    frame.setFixedWidth(width)
    frame.show()
    QApplication.processEvents()
    layout = frame.layout()
    height = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else -1
    frame.setFixedHeight(max(height, layout.totalSizeHint().height()))
    QApplication.processEvents()
