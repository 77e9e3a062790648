# SPDX-License-Identifier: Apache-2.0
"""How PythonQt prints Qt objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken


def _numbers(*names: str) -> Callable[[Any], str]:
    return lambda value: ", ".join(f"{getattr(value, name)():g}" for name in names)


def _iso(value: Any) -> str:
    return value.toString(QtCore.Qt.DateFormat.ISODate)


VALUES: dict[type, Callable[[Any], str]] = {
    QtCore.QByteArray: lambda value: repr(value.data()),
    QtCore.QSize: _numbers("width", "height"),
    QtCore.QSizeF: _numbers("width", "height"),
    QtCore.QPoint: _numbers("x", "y"),
    QtCore.QPointF: _numbers("x", "y"),
    QtCore.QRect: _numbers("x", "y", "width", "height"),
    QtCore.QRectF: _numbers("x", "y", "width", "height"),
    QtCore.QDate: _iso,
    QtCore.QTime: _iso,
    QtCore.QDateTime: _iso,
    QtCore.QUrl: lambda value: value.toString(),
    QtGui.QColor: lambda value: value.name(),
    QtGui.QKeySequence: lambda value: value.toString(),
    QtGui.QPixmap: lambda value: "Pixmap " + _numbers("width", "height")(value),
    QtGui.QImage: lambda value: "Image " + _numbers("width", "height")(value),
}


def describe(native: Any, class_name: str) -> str:
    """``str`` of a wrapper."""
    if not Shiboken.isValid(native):
        return f"{class_name} (QObject (nil))"
    if isinstance(native, QtWidgets.QWidget):
        name = native.objectName()
        named = f', name="{name}"' if name else ""
        return f"{class_name}({_address(native)}{named}) "
    if isinstance(native, QtCore.QObject):
        return f"{class_name} (QObject {_address(native)})"
    if type(native) in VALUES:
        return VALUES[type(native)](native)
    return f"{class_name} (C++ Object {_address(native)})"


def represent(native: Any, class_name: str) -> str:
    """``repr`` of a wrapper."""
    described = describe(native, class_name)
    if described.startswith(class_name):
        return described
    return f"{class_name} ({described}, at: {_address(native)})"


def _address(native: Any) -> str:
    return f"0x{Shiboken.getCppPointer(native)[0]:x}"
