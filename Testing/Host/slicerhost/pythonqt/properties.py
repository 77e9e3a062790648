# SPDX-License-Identifier: Apache-2.0
"""Qt properties, read and written through the meta-object, with PythonQt's conversions."""

from __future__ import annotations

import enum
import numbers
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken

from . import qtclasses

NUMBERS = {"bool": bool, "int": int, "uint": int, "qlonglong": int, "double": float, "float": float}


def dynamic_names(native: Any) -> list[str]:
    """Names given with ``setProperty`` that the class does not declare."""
    if not isinstance(native, QtCore.QObject):
        return []
    return [bytes(name).decode() for name in native.dynamicPropertyNames()]


def read(native: QtCore.QObject, name: str, class_name: str) -> Any:
    """The value of a property; an enum as a plain integer, as PythonQt gives it."""
    if not Shiboken.isValid(native):
        raise ValueError(f"Trying to read property '{name}' from a destroyed {class_name} object")
    value = native.property(name)
    return value.value if isinstance(value, enum.Enum) else value


def write(native: QtCore.QObject, name: str, value: Any, class_name: str) -> None:
    """Set a property.

    Raises:
        AttributeError: the object is destroyed, the property read-only or the value unfit.
    """
    if not Shiboken.isValid(native):
        raise AttributeError(f"Trying to set property '{name}' on a destroyed {class_name} object")
    declared = qtclasses.meta(type(native)).properties[name]
    if not declared.is_writable:
        raise AttributeError(f"Property '{name}' of {class_name} object is not writable")
    try:
        accepted = native.setProperty(name, _convert(value, declared))
    except (TypeError, ValueError):
        accepted = False
    if not accepted:
        raise AttributeError(
            f"Property '{name}' of type '{declared.type_name}' does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )
    if name == "toolTip":
        word_wrap_tool_tip(native)


def _convert(value: Any, declared: qtclasses.Property) -> Any:
    """The value as PythonQt would put it into the QVariant of the property."""
    kind = declared.type_name
    if kind == "QString":
        return value if isinstance(value, str) else str(value)
    if declared.is_enum:
        return value if isinstance(value, str) else int(getattr(value, "value", value))
    if kind in NUMBERS:
        number = getattr(value, "value", value)
        if not isinstance(number, numbers.Real):  # NumPy's numbers too
            raise TypeError(kind)
        return NUMBERS[kind](number)
    return value


def word_wrap_tool_tip(native: QtCore.QObject) -> None:
    """Make a plain tool tip rich text, as Slicer's application does so that long ones wrap."""
    if not isinstance(native, QtWidgets.QWidget):
        return
    tip = native.toolTip()
    if tip and not QtGui.Qt.mightBeRichText(tip):
        mode = QtCore.Qt.WhiteSpaceMode.WhiteSpaceNormal
        native.setToolTip(QtGui.Qt.convertFromPlainText(tip, mode))
