# SPDX-License-Identifier: Apache-2.0
"""Enums as PythonQt shows them: integers of a type named after the enum, without members.

``qt.Qt.AlignLeft`` is an ``AlignmentFlag`` that prints as ``1``; combining two with ``|`` gives a
plain ``int``, as it does on the desktop.
"""

from __future__ import annotations

import enum
import functools


class EnumValue(int):
    """A value of a C++ enum; ``_native_enum`` on its type is the PySide6 enum."""

    _native_enum: type[enum.Enum]


@functools.cache
def enum_type(native: type[enum.Enum]) -> type[EnumValue]:
    """The integer type that stands for a PySide6 (or Python) enum."""
    return type(native.__name__, (EnumValue,), {"_native_enum": native})


def to_python(value: enum.Enum) -> EnumValue:
    """PySide6 enum value -> PythonQt enum value."""
    return enum_type(type(value))(value.value)


def to_native(value: int, native: type[enum.Enum]) -> enum.Enum | int:
    """Integer -> PySide6 enum value; unchanged where the enum has no such value."""
    try:
        return native(int(value))
    except ValueError:
        return int(value)


@functools.cache
def members(native: type) -> dict[str, enum.Enum]:
    """Names of all enum values reachable from a class, without their enum's name."""
    found: dict[str, enum.Enum] = {}
    for owner in reversed(native.__mro__):
        for nested in vars(owner).values():
            if isinstance(nested, type) and issubclass(nested, enum.Enum):
                found.update(nested.__members__)
    return found
