# SPDX-License-Identifier: Apache-2.0
"""Helpers to write a widget of the desktop as a PySide6 class."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from PySide6 import QtCore, QtWidgets


class StoredProperty(QtCore.Property):
    """A Qt property that is kept on the object, and may act on the widget when it is set.

    Args:
        kind: Qt's type of the property, as ``QtCore.Property`` takes it.
        default: value before anything is set.
        apply: called as ``apply(widget, value)`` after each change.
    """

    def __init__(self, kind: Any, default: Any, apply: Callable[[Any, Any], None] | None = None):
        key = f"_stored_{id(self)}"

        def read(widget: Any) -> Any:
            return widget.__dict__.get(key, default)

        def write(widget: Any, value: Any) -> None:
            widget.__dict__[key] = value
            if apply is not None:
                apply(widget, value)

        super().__init__(kind, read, write)


def forwarded(part: str, name: str, kind: Any) -> QtCore.Property:
    """A property that is the one of a part of the widget, for example of its spin box."""

    def read(widget: Any) -> Any:
        value = getattr(widget, part).property(name)
        return getattr(value, "value", value)

    def write(widget: Any, value: Any) -> None:
        getattr(widget, part).setProperty(name, value)

    return QtCore.Property(kind, read, write)


def row_layout(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    """Put the parts of a widget side by side, without margins."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    return layout


def fill_width(widget: QtWidgets.QWidget) -> None:
    """Let the widget take the width it gets, at its own height."""
    policy = QtWidgets.QSizePolicy.Policy
    widget.setSizePolicy(policy.Expanding, policy.Fixed)


@contextmanager
def quiet(*parts: QtCore.QObject):
    """Set parts of a widget without hearing their signals."""
    blockers = [QtCore.QSignalBlocker(part) for part in parts]
    try:
        yield
    finally:
        for blocker in blockers:
            blocker.unblock()


def split_arguments(arguments: tuple) -> tuple[list, QtWidgets.QWidget | None]:
    """The leading constructor arguments, and the parent that Qt takes last."""
    values = list(arguments)
    parent = None
    if values and (values[-1] is None or isinstance(values[-1], QtWidgets.QWidget)):
        parent = values.pop()
    return values, parent
