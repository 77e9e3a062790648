# SPDX-License-Identifier: Apache-2.0
"""The few members where PythonQt's answer does not follow from PySide6's.

Each is a function of the wrapper (or of the arguments alone, where the member is static), entered
for the PySide6 class that has it; subclasses inherit it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import properties, qtclasses, signals
from .wrapper import PythonQtClassWrapper, manners, native_of, unwrap, wrap


def manner(native: type, name: str, is_static: bool = False) -> Callable:
    """Enter the function as the manner of one member."""

    def enter(function: Callable) -> Callable:
        function.is_static = is_static
        manners[native, name] = function
        return function

    return enter


@manner(QtCore.QObject, "connect")
def connect(sender: Any, signal: Any, *receiver_and_slot: Any) -> bool:
    """``connect(signal, callable)``, ``connect(signal, receiver, slot)``, or both with the sender
    repeated in front, which is how the static function of ``qt.QObject`` is called."""
    native = unwrap(sender)
    if len(receiver_and_slot) == 1:
        return signals.connect(native, str(signal), receiver_and_slot[0])
    receiver, slot = receiver_and_slot[:2]
    return connect_by_name(native, str(signal), unwrap(receiver), str(slot))


@manner(QtCore.QObject, "disconnect")
def disconnect(sender: Any, signal: Any, *receiver_and_slot: Any) -> bool:
    native = unwrap(sender)
    if len(receiver_and_slot) < 2:
        return signals.disconnect(native, str(signal), *receiver_and_slot)
    receiver, slot = receiver_and_slot[:2]
    return QtCore.QObject.disconnect(
        native, _marked("2", str(signal)), unwrap(receiver), _marked("1", str(slot))
    )


def connect_by_name(
    sender: QtCore.QObject, signal: str, receiver: QtCore.QObject, slot: str
) -> bool:
    """Connect a signal to a slot, both given by their C++ signature.

    A slot that only Python knows (a native written in Python, or an argument that is a VTK object)
    is called by its name, with as many arguments as its signature has.
    """
    known = signals.known_signature(sender, signal)
    methods = qtclasses.meta(type(receiver)).methods
    slot_signature = _marked("", slot)
    if known is not None and slot_signature in methods and "PyObject" not in known:
        connection = QtCore.QObject.connect(
            sender, _marked("2", known), receiver, _marked("1", slot_signature)
        )
        return bool(connection)
    name, arguments = slot_signature.rstrip(")").split("(", 1)
    method = getattr(receiver, name, None)
    if method is None:
        return False
    count = len(arguments.split(",")) if arguments else 0
    return signals.connect(sender, signal, lambda *args: method(*map(unwrap, args[:count])))


def _marked(mark: str, signature: str) -> str:
    """A signature, normalised, behind the digit that Qt's SIGNAL() and SLOT() put in front."""
    bare = signature[1:] if signature[:1].isdigit() else signature
    return mark + bytes(QtCore.QMetaObject.normalizedSignature(bare)).decode()


@manner(QtCore.QObject, "findChildren")
def find_children(parent: Any, kind: Any, name: Any = None) -> tuple:
    """All descendants of a class (a class or its name), and of an object name if one is given."""
    matching = []
    for child in native_of(parent).children():
        wrapper = wrap(child)
        if _is_a(wrapper, kind) and name in (None, child.objectName()):
            matching.append(wrapper)
        matching.extend(find_children(wrapper, kind, name))
    return tuple(matching)


@manner(QtCore.QObject, "findChild")
def find_child(parent: Any, kind: Any, name: Any = None) -> Any:
    """The first such child; children before grandchildren, as in PythonQt."""
    children = [wrap(child) for child in native_of(parent).children()]
    for child in children:
        if _is_a(child, kind) and name in (None, "", native_of(child).objectName()):
            return child
    below = (find_child(child, kind, name) for child in children)
    return next((found for found in below if found is not None), None)


def _is_a(wrapper: Any, kind: Any) -> bool:
    if isinstance(kind, PythonQtClassWrapper):
        return isinstance(wrapper, kind)
    return wrapper.inherits(str(kind))


@manner(QtWidgets.QWidget, "setToolTip")
def set_tool_tip(widget: Any, tip: str) -> None:
    native_of(widget).setToolTip(tip)
    properties.word_wrap_tool_tip(native_of(widget))


@manner(QtWidgets.QApplication, "setOverrideCursor", is_static=True)
def set_override_cursor(cursor: Any) -> None:
    # PySide6 returns a context manager here, which neither Qt nor PythonQt knows.
    QtWidgets.QApplication.setOverrideCursor(unwrap(cursor))


@manner(QtCore.QTimer, "singleShot", is_static=True)
def single_shot(milliseconds: int, slot: Callable) -> None:
    QtCore.QTimer.singleShot(milliseconds, signals.receiver(slot))


def _first_of_result(native: type, name: str) -> None:
    """PySide6 returns (answer, detail) where C++ fills in a pointer, which PythonQt leaves out."""
    function = getattr(native, name)

    @manner(native, name, is_static=True)
    @functools.wraps(function)
    def answer(*args: Any) -> Any:
        return wrap(function(*[unwrap(argument) for argument in args])[0])


for _name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName"):
    _first_of_result(QtWidgets.QFileDialog, _name)
for _name in ("getDouble", "getInt", "getItem", "getMultiLineText", "getText"):
    _first_of_result(QtWidgets.QInputDialog, _name)


@manner(QtUiTools.QUiLoader, "load")
def load(loader: Any, device: Any, parent: Any = None) -> Any:
    """Load a .ui file from an open device, with the classes of the host."""
    from . import ui

    return ui.load_ui_text(bytes(native_of(device).readAll().data()), unwrap(parent))
