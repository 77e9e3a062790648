# SPDX-License-Identifier: Apache-2.0
"""Runs scripted modules of 3D Slicer without the desktop application.

MRML, segmentations, markups, volume rendering and their display are those of Slicer itself (the
slicer-core package). This package adds what only the desktop has: ``slicer.app``,
``slicer.modules``, ``slicer.ScriptedLoadableModule``, ``slicer.parameterNodeWrapper``,
``SampleData``, and ``qt``, ``ctk`` and ``slicer.qMRML...`` on PySide6::

    import slicerhost

    slicerhost.start()
    widget = slicerhost.load_module("MuscleSeg")
    widget.ui.applyButton.click()
    slicerhost.stop()

It is strict: a name which the desktop lacks fails here, too. Importing it loads neither Qt nor VTK.
"""

from .host import clear, is_started, load_module, module_file, start, stop, unload_modules
from .libraries import MissingLibrary

__all__ = [
    "MissingLibrary",
    "clear",
    "is_started",
    "load_module",
    "module_file",
    "start",
    "stop",
    "unload_modules",
]
