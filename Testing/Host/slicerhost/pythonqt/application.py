# SPDX-License-Identifier: Apache-2.0
"""The one application object, and the modules ``qt`` and ``ctk``."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import ctkwidgets, manners, qtclasses, surface  # noqa: F401 (manners enters itself)
from .signals import Signal
from .ui import register_widget_class
from .wrapper import make_class


def application() -> QtWidgets.QApplication:
    """The QApplication, made on first use; without a screen unless QT_QPA_PLATFORM names one."""
    existing = QtWidgets.QApplication.instance()
    if existing is not None:
        return existing
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    made = QtWidgets.QApplication(["Slicer"])
    _silence(HARMLESS)
    made.setStyle("Fusion")
    made.setPalette(_light_palette())
    _ensure_font()
    return made


# What the platform without a screen says each time a window of fixed size is shown.
HARMLESS = "This plugin does not support propagateSizeHints()"


def _silence(message: str) -> None:
    """Leave out one message; the others go to stderr as Qt would write them."""

    def handle(_kind, _context, text: str) -> None:
        if text != message:
            sys.stderr.write(f"{text}\n")

    QtCore.qInstallMessageHandler(handle)
    # Qt still talks while the interpreter shuts down, when Python can no longer listen.
    atexit.register(QtCore.qInstallMessageHandler, None)


def _light_palette() -> QtGui.QPalette:
    """The light palette of the desktop's own style."""
    palette = QtGui.QPalette(QtGui.QColor(239, 239, 239))
    palette.setColor(QtGui.QPalette.ColorRole.Highlight, QtGui.QColor(48, 140, 198))
    palette.setColor(QtGui.QPalette.ColorRole.HighlightedText, QtGui.QColor("white"))
    return palette


def _ensure_font() -> None:
    """On a machine without fonts, take the one that comes with matplotlib."""
    if QtGui.QFontDatabase.families():
        return
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    number = QtGui.QFontDatabase.addApplicationFont(str(fonts / "DejaVuSans.ttf"))
    family = QtGui.QFontDatabase.applicationFontFamilies(number)[0]
    QtWidgets.QApplication.setFont(QtGui.QFont(family, 9))


def _slot(*_types: Any, **_options: Any):
    """``qt.Slot``: a decorator that only declares types."""
    return lambda function: function


FUNCTIONS = {
    "SIGNAL": lambda signature: "2" + signature,
    "SLOT": lambda signature: "1" + signature,
    "Signal": Signal,
    "Slot": _slot,
    "qCritical": QtCore.qCritical,
    "qDebug": QtCore.qDebug,
    "qVersion": QtCore.qVersion,
    "qWarning": QtCore.qWarning,
}


def _qt_attribute(name: str) -> Any:
    if name in FUNCTIONS and name in surface.namespace():
        return FUNCTIONS[name]
    native = qtclasses.find(name)
    if not name.startswith("Q") or native is None:
        raise AttributeError(f"module 'qt' has no attribute '{name}'")
    return make_class(name, native)


def _ctk_attribute(name: str) -> Any:
    native = ctkwidgets.NATIVES.get(name)
    if native is None:
        raise AttributeError(f"module 'ctk' has no attribute '{name}' in this host")
    return make_class(name, native)


def _module(name: str, doc: str, attribute) -> types.ModuleType:
    module = types.ModuleType(name, doc)

    def __getattr__(wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(f"module '{name}' has no attribute '{wanted}'")
        found = attribute(wanted)
        setattr(module, wanted, found)
        return found

    module.__getattr__ = __getattr__
    return module


@functools.cache
def install() -> None:
    """Put ``qt`` and ``ctk`` into ``sys.modules`` and make the application. Does so once."""
    application()
    sys.modules["qt"] = _module("qt", "Qt, with PythonQt's manners.", _qt_attribute)
    sys.modules["ctk"] = _module("ctk", "CTK's widgets, with PythonQt's manners.", _ctk_attribute)
    for name, native in ctkwidgets.NATIVES.items():
        register_widget_class(name, native)
