# SPDX-License-Identifier: Apache-2.0
"""The widget that holds a scripted module's panel."""

from __future__ import annotations

import sys

from PySide6.QtCore import Property, Slot
from PySide6.QtWidgets import QVBoxLayout

from .qmrml import MRMLWidget


class ScriptedModuleWidget(MRMLWidget):
    """qSlicerScriptedLoadableModuleWidget: parent of the widget class in the module's file."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._module = None
        self._python_widget = None
        self._entered = False
        QVBoxLayout(self)

    def _open(self, module):
        """Makes the module's widget object and lets it set up its panel."""
        import slicer

        from . import pythonqt

        self._module = module
        source = sys.modules[module.name]
        self.setObjectName(f"{module.name}ModuleWidget")
        widget_class = getattr(source, f"{module.name}Widget")
        self._python_widget = widget_class(pythonqt.wrap(self))
        setattr(slicer.modules, f"{module.name}Widget", self._python_widget)
        self.setMRMLScene(slicer.mrmlScene)
        self._python_widget.setup()

    @Slot(result=bool)
    def reload(self):
        self._open(self._module)
        return True

    def self(self):
        return self._python_widget

    def module(self):
        return self._module

    @Slot()
    def enter(self):
        self._entered = True
        if hasattr(self._python_widget, "enter"):
            self._python_widget.enter()

    @Slot()
    def exit(self):
        self._entered = False
        if hasattr(self._python_widget, "exit"):
            self._python_widget.exit()

    def isEntered(self):
        return self._entered

    moduleName = Property(str, lambda self: self._module.name if self._module else "")


def make_module_widget(module):
    """The widget representation of a scripted module."""
    from . import pythonqt

    native = ScriptedModuleWidget()
    native._open(module)
    return pythonqt.wrap(native)


def delete_module_widget(representation) -> None:
    """Deletes a widget representation now, with all that is in it."""
    from PySide6.QtCore import QCoreApplication, QEvent

    from . import pythonqt

    native = pythonqt.unwrap(representation)
    native._python_widget = native._module = None
    native.deleteLater()
    QCoreApplication.sendPostedEvents(native, QEvent.Type.DeferredDelete)
