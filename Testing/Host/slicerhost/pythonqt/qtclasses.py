# SPDX-License-Identifier: Apache-2.0
"""PySide6's classes: where they are, and what Qt's meta-object says of them."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

from PySide6.QtCore import QMetaMethod

MODULES = ("QtCore", "QtGui", "QtWidgets", "QtNetwork", "QtSvg", "QtSvgWidgets", "QtUiTools")


@functools.cache
def find(name: str) -> type | None:
    """The PySide6 class of that name, or None where Qt 6 has none."""
    for module in MODULES:
        found = getattr(importlib.import_module(f"PySide6.{module}"), name, None)
        if isinstance(found, type):
            return found
    return None


@dataclass(frozen=True)
class Property:
    """A declared property: its C++ type, and whether it is an enum and can be set."""

    type_name: str
    is_enum: bool
    is_writable: bool


@dataclass(frozen=True)
class Meta:
    """What the meta-object of a class holds; signatures in declaration order, bases first."""

    properties: dict[str, Property]
    signals: tuple[str, ...]
    methods: frozenset[str]


@functools.cache
def meta(native: type) -> Meta:
    """The meta-object of a PySide6 class, copied; empty for a value class.

    A copy, because PySide6 may hand out one Python object for the meta-object of a class and of
    an instance, and that object ends with the instance.
    """
    source = getattr(native, "staticMetaObject", None)
    if source is None:
        return Meta({}, (), frozenset())
    properties = (source.property(index) for index in range(source.propertyCount()))
    methods = [source.method(index) for index in range(source.methodCount())]
    return Meta(
        {
            declared.name(): Property(
                declared.typeName(), declared.isEnumType(), declared.isWritable()
            )
            for declared in properties
        },
        tuple(
            _signature(method)
            for method in methods
            if method.methodType() == QMetaMethod.MethodType.Signal
        ),
        frozenset(_signature(method) for method in methods),
    )


def _signature(method: QMetaMethod) -> str:
    return bytes(method.methodSignature()).decode()


def properties(native: type) -> set[str]:
    """Names of the Qt properties of a class."""
    return set(meta(native).properties)
