# SPDX-License-Identifier: Apache-2.0
"""Signals as PythonQt shows them: ``connect`` answers True or False, slots may take less.

Connections are made on the signature that Qt's meta-object knows. Spellings of Qt 5 that Qt 6
renamed are in ``QT5_SIGNALS``; a pointer to a VTK object is Python's object in PySide6.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from . import qtclasses

# Signature on the desktop (Qt 5) -> signature in Qt 6.
QT5_SIGNALS = {
    ("QButtonGroup", "buttonClicked(int)"): "idClicked(int)",
    ("QButtonGroup", "buttonPressed(int)"): "idPressed(int)",
    ("QButtonGroup", "buttonReleased(int)"): "idReleased(int)",
    ("QButtonGroup", "buttonToggled(int,bool)"): "idToggled(int,bool)",
    ("QComboBox", "activated(QString)"): "textActivated(QString)",
    ("QComboBox", "currentIndexChanged(QString)"): "currentTextChanged(QString)",
    ("QComboBox", "highlighted(QString)"): "textHighlighted(QString)",
    ("QDoubleSpinBox", "valueChanged(QString)"): "textChanged(QString)",
    ("QSpinBox", "valueChanged(QString)"): "textChanged(QString)",
    ("QProcess", "error(QProcess::ProcessError)"): "errorOccurred(QProcess::ProcessError)",
}

# Where the signal that Qt 5 declares first, which attribute access means, is not Qt 6's first.
QT5_FIRST = {("QProcess", "finished"): "finished(int)"}

VTK_POINTER = re.compile(r"\bvtk\w+\s*\*")


class Signal:
    """``qt.Signal``: declares a signal in a Python class, and is what ``object.signal`` gives."""

    def __init__(self, *argument_types):
        self.argument_types = argument_types
        self.name = ""
        self.__self__ = None

    @classmethod
    def bound(cls, name: str, owner: Any) -> Signal:
        """The signal of an object, or of a class (then it can only be looked at)."""
        signal = cls()
        signal.name = name
        signal.__self__ = owner
        return signal

    def connect(self, slot: Callable) -> bool:
        native = _native(self.__self__)
        return connect(native, first_signature(native, self.name), slot)

    def disconnect(self, slot: Callable | None = None) -> bool:
        native = _native(self.__self__)
        return disconnect(native, first_signature(native, self.name), slot)

    def emit(self, *arguments) -> None:
        from .wrapper import unwrap

        native = _native(self.__self__)
        signal = getattr(native, self.name)
        signatures = [s for s in qtclasses.meta(type(native)).signals if _name(s) == self.name]
        if len(signatures) > 1:
            signal = signal[first_signature(native, self.name).split("(")[1].rstrip(")")]
        signal.emit(*map(unwrap, arguments))

    __call__ = emit

    def __repr__(self) -> str:
        if self.__self__ is None:
            return "Signal"
        if isinstance(self.__self__, type):
            return f"<unbound qt signal {self.name} of {self.__self__.__name__} type>"
        kind = type(self.__self__).__name__
        return f"<qt signal {self.name} of {kind} instance at 0x{id(self.__self__):x}>"


Signal.__module__ = "QtCore"


def _native(owner: Any) -> QtCore.QObject:
    from .wrapper import unwrap

    if not isinstance(owner, type):
        return unwrap(owner)
    raise AttributeError(f"{owner!r} is not an object: its signals cannot be connected")


@functools.cache
def signal_names(native_class: type) -> frozenset[str]:
    """Names of the signals of a PySide6 class; empty for a value class."""
    return frozenset(_name(signature) for signature in qtclasses.meta(native_class).signals)


def first_signature(native: QtCore.QObject, name: str) -> str:
    """The overload that attribute access means: the one declared first."""
    for (owner, renamed), signature in QT5_FIRST.items():
        if renamed == name and native.inherits(owner):
            return signature
    matches = [s for s in qtclasses.meta(type(native)).signals if _name(s) == name]
    # PythonQt shows destroyed(QObject*), which is Qt's first, but hands over a dead object.
    return matches[0] if matches else f"{name}()"


def known_signature(native: QtCore.QObject, spelled: str) -> str | None:
    """The signature in Qt 6 of a signal spelled as on the desktop, or None."""
    if spelled[:1].isdigit():  # the mark that Qt's SIGNAL() puts in front
        spelled = spelled[1:]
    signature = bytes(QtCore.QMetaObject.normalizedSignature(spelled)).decode()
    for (owner, renamed), current in QT5_SIGNALS.items():
        if renamed == signature and native.inherits(owner):
            return current
    known = qtclasses.meta(type(native)).signals
    for candidate in (signature, VTK_POINTER.sub("PyObject", signature)):
        if candidate in known:
            return candidate
    return None


def connect(native: QtCore.QObject, spelled: str, slot: Callable) -> bool:
    """Connect a Python callable; False, and a line on stderr, where there is no such signal."""
    signature = known_signature(native, spelled)
    if signature is None:
        from .wrapper import class_of

        kind = class_of(type(native)).__name__
        sys.stderr.write(f"QObject::connect() signal '{spelled}' does not exist on {kind}\n")
        return False
    target = receiver(slot)
    QtCore.QObject.connect(native, QtCore.SIGNAL(signature), target)
    _connections(native).append((signature, slot, target))
    return True


def disconnect(native: QtCore.QObject, spelled: str, slot: Callable | None = None) -> bool:
    """Disconnect one Python callable (its first connection), or all of them."""
    signature = known_signature(native, spelled)
    connections = _connections(native)
    matching = [c for c in connections if c[0] == signature and slot in (None, c[1])]
    for connection in matching[:1] if slot is not None else matching:
        QtCore.QObject.disconnect(native, QtCore.SIGNAL(signature), connection[2])
        connections.remove(connection)
    return bool(matching)


def _connections(native: QtCore.QObject) -> list[tuple[str, Callable, Callable]]:
    return native.__dict__.setdefault("_pythonqt_connections", [])


def receiver(slot: Callable) -> Callable:
    """What PySide6 calls: wraps the arguments, drops those the slot does not take."""
    from .wrapper import wrap

    if not callable(slot):
        raise ValueError(f"{slot!r} is not callable")
    limit = accepted_arguments(slot)

    def receive(*arguments):
        try:
            slot(*[wrap(argument) for argument in arguments[:limit]])
        except Exception:
            # As on the desktop: the error is shown, and whatever emitted the signal goes on.
            sys.excepthook(*sys.exc_info())

    return receive


def accepted_arguments(slot: Callable) -> int | None:
    """How many arguments PythonQt hands to a callable at most; None for all of them.

    Only plain functions and methods are looked into, and a default value counts as an argument.
    """
    is_method = isinstance(slot, types.MethodType)
    function = slot.__func__ if is_method else slot
    if not isinstance(function, types.FunctionType):
        return None
    if function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - is_method


def _name(signature: str) -> str:
    return signature.split("(")[0]
