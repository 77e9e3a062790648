# SPDX-License-Identifier: Apache-2.0
"""Where PySide6 keeps the classes that PythonQt gathers in the one module ``qt``."""

from __future__ import annotations

import functools
import importlib

MODULES = ("QtCore", "QtGui", "QtWidgets", "QtNetwork", "QtUiTools")


@functools.cache
def find(name: str) -> type | None:
    """The PySide6 class of that name, or None where Qt 6 has none."""
    for module in MODULES:
        found = getattr(importlib.import_module(f"PySide6.{module}"), name, None)
        if isinstance(found, type):
            return found
    return None


def properties(native: type) -> set[str]:
    """Names of the Qt properties of a class, by its meta-object; empty for a value class."""
    meta = getattr(native, "staticMetaObject", None)
    if meta is None:
        return set()
    return {meta.property(index).name() for index in range(meta.propertyCount())}
