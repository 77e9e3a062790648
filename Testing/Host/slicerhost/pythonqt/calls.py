# SPDX-License-Identifier: Apache-2.0
"""Calls into PySide6 that accept what PythonQt accepts.

PythonQt takes an integer where C++ wants an enum and text where it wants bytes; PySide6 does not.
An argument list that PySide6 refuses is therefore converted after PySide6's own signatures and
tried once more, and what is refused then raises PythonQt's ``ValueError``.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore

from . import enums

PYTHON_FUNCTIONS = (types.FunctionType, types.MethodType)


def call(title: str, function: Callable, arguments: list) -> Any:
    """Call with natives, return natives.

    Args:
        title: ``Class.method`` for the message when no overload accepts the arguments.
    """
    if isinstance(function, PYTHON_FUNCTIONS):
        return function(*arguments)
    try:
        return function(*arguments)
    except TypeError as refusal:
        for converted in _conversions(function, arguments):
            try:
                return function(*converted)
            except TypeError:
                continue
        raise ValueError(f"Called {title} with wrong arguments: {tuple(arguments)}") from refusal
    except NotImplementedError as refusal:
        raise ValueError(f"No constructors available for {title}") from refusal


def _conversions(function: Callable, arguments: list) -> Iterator[list]:
    """The argument lists that PySide6's signatures suggest instead."""
    for signature in _signatures(function):
        wanted = [
            parameter.annotation
            for parameter in signature.parameters.values()
            if parameter.name != "self" and parameter.kind is not parameter.KEYWORD_ONLY
        ]
        bound = isinstance(function, (types.MethodDescriptorType, types.WrapperDescriptorType))
        given, rest = (arguments[:1], arguments[1:]) if bound else ([], arguments)
        if len(rest) > len(wanted):
            continue
        converted = [_convert(value, kind) for value, kind in zip(rest, wanted, strict=False)]
        if any(new is not old for new, old in zip(converted, rest, strict=True)):
            yield given + converted


def _signatures(function: Callable) -> list[inspect.Signature]:
    # Not a public module, but the one that PySide6 itself makes its error messages with.
    from shibokensupport.signature import get_signature

    found = get_signature(function)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _convert(value: Any, kind: Any) -> Any:
    """One argument as the annotated type, or unchanged."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return enums.to_native(value, kind) if isinstance(value, int) else value
    if isinstance(value, enum.Enum) and kind in (int, float):
        return kind(value.value)
    if isinstance(value, str) and _accepts_bytes(kind):
        return QtCore.QByteArray(value.encode())
    return value


def _accepts_bytes(kind: Any) -> bool:
    return QtCore.QByteArray in (kind, *getattr(kind, "__args__", ()))
