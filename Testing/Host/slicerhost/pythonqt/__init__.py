# SPDX-License-Identifier: Apache-2.0
"""The modules ``qt`` and ``ctk`` of the desktop application, on PySide6, with PythonQt's manners.

PythonQt shows a Qt property as an attribute (``button.text``, not ``button.text()``), answers
``connect`` with True or False, gives enums as plain integers and refuses what the C++ class does
not have. Every object a module sees here is a thin wrapper around a PySide6 object (its
*native*), and what the wrapper offers is decided by two things: Qt's meta-object of the native,
and the names recorded from the desktop (``surface.json``). A name that the desktop lacks fails
here too.

How to add a widget of the desktop (for example ``qMRMLNodeComboBox``): write the native as an
ordinary PySide6 class, its properties as ``PySide6.QtCore.Property``, its signals as
``Signal`` (``Signal(object)`` for VTK objects: it answers to ``'changed(vtkMRMLNode*)'`` too), its
enums as ``enum.IntEnum`` or ``enum.IntFlag`` inside the class, and register it::

    class NodeComboBox(QtWidgets.QComboBox):
        currentNodeChanged = Signal(object)
        noneEnabled = Property(bool, _noneEnabled, _setNoneEnabled)
        def currentNode(self): ...

    slicer.qMRMLNodeComboBox = pythonqt.register_widget_class("qMRMLNodeComboBox", NodeComboBox)

Natives speak PySide6 among themselves: their methods receive and return natives, and VTK or other
Python objects pass through untouched. The wrapper takes care of the rest: what is a property, what
raises, tuples instead of lists, enums as integers.
"""

from __future__ import annotations

from .application import application, install
from .ui import load_ui, register_widget_class, uic_class_registry
from .wrapper import (
    PythonQtClassWrapper,
    PythonQtInstanceWrapper,
    make_class,
    unwrap,
    wrap,
)

__all__ = [
    "PythonQtClassWrapper",  # the metaclass: isinstance(cls, PythonQtClassWrapper) is a Qt class
    "PythonQtInstanceWrapper",  # base of every wrapper: isinstance(obj, ...) is a Qt object
    "application",  # () -> the one QApplication (native), made on first use
    "install",  # () -> None: puts qt and ctk into sys.modules; idempotent
    "load_ui",  # (path) -> wrapper of the top widget; connections and tool tips as on the desktop
    "make_class",  # (name, native class) -> wrapper class; name must be one the desktop has
    "register_widget_class",  # (name, native class) -> wrapper class, and .ui files can name it
    "uic_class_registry",  # dict: class name in .ui files -> native class
    "unwrap",  # wrapper -> native (anything else unchanged; containers too)
    "wrap",  # native -> wrapper (the same one each time; anything else unchanged)
]
