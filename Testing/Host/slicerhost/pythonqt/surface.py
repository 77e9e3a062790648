# SPDX-License-Identifier: Apache-2.0
"""What the desktop's classes offer, read from ``surface.json`` (written by ``record.py``)."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

SURFACE = Path(__file__).with_name("surface.json")


@dataclass(frozen=True)
class RecordedClass:
    """One class of the desktop.

    ``names`` holds every name an instance has, ``properties`` those read as attributes. Only
    where ``told`` is true did the recording tell the two apart; otherwise a name may be a
    property although it is not listed as one.
    """

    name: str
    names: frozenset[str]
    properties: frozenset[str]
    told: bool


@functools.cache
def _content() -> dict:
    return json.loads(SURFACE.read_text("utf-8"))


def class_names() -> list[str]:
    """Names of all recorded classes."""
    return list(_content()["classes"])


def namespace() -> frozenset[str]:
    """What the module ``qt`` has beside its classes."""
    return frozenset(_content()["namespace"].split())


@functools.cache
def find(name: str) -> RecordedClass:
    """The recorded class of that name.

    Raises:
        AttributeError: the desktop has no such class, or the extract leaves it out.
    """
    entry = _content()["classes"].get(name)
    if entry is None:
        raise AttributeError(
            f"{name} is not among the recorded classes of the desktop (see surface.json; "
            "record.py adds classes that a module needs)"
        )
    properties = frozenset(entry.get("properties", "").split())
    names = frozenset(entry.get("names", "").split()) | properties
    if "base" in entry:
        base = find(entry["base"])
        names |= base.names
        properties |= base.properties
    return RecordedClass(name, names, properties, entry.get("recorded", False))


def has(name: str) -> bool:
    """Whether the class was recorded."""
    return name in _content()["classes"]
