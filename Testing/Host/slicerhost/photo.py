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
    panel = pythonqt.unwrap(module.widgetRepresentation())
    frame = _frame(module, panel)
    try:
        _fit(frame, width)
        if not frame.grab().save(os.fspath(path)):
            raise OSError(f"the picture could not be written: {path}")
    finally:
        panel.setParent(None)
        frame.deleteLater()
    return Path(path)


def _frame(module, panel):
    """A widget with the desktop's module row, its help section and the panel below."""
    from PySide6.QtWidgets import QVBoxLayout, QWidget

    from . import pythonqt

    frame = QWidget()
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(*[_FRAME_MARGIN] * 4)
    layout.addWidget(_module_row(module))
    section = pythonqt.uic_class_registry["ctkCollapsibleButton"]()
    section.setProperty("text", "Help && Acknowledgement")
    section.setProperty("collapsed", True)
    layout.addWidget(section)
    layout.addWidget(panel)
    layout.addStretch(1)
    return frame


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
