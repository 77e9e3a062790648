# SPDX-License-Identifier: Apache-2.0
"""Write ``surface.json``, the names that the desktop's classes have, from a recording of it.

Run ``python -m slicerhost.pythonqt.record RECORDING`` where RECORDING is the folder that holds
``surface.json.gz``. A class is stored as its base and what it adds to it, so that a change of
the desktop reads well in a diff::

    "QPushButton": {"base": "QAbstractButton", "properties": "autoDefault default flat",
                    "names": "addAction ..."}

``properties`` are read as attributes; ``names`` are methods, signals, enums and enum values. Where
the recording holds no instance of a class (its properties were not told apart from its methods),
Qt's own meta-object tells.
"""

from __future__ import annotations

import functools
import gzip
import json
import sys
from pathlib import Path

from . import qtclasses

SURFACE = Path(__file__).with_name("surface.json")

# Whole families that a scripted module has no use for.
OMITTED = (
    "QAbstractState", "QAccessible", "QCbor", "QCommonStyle", "QDeferred", "QDns", "QDom", "QDtls",
    "QGesture", "QGraphics", "QHstsPolicy", "QHttp", "QIPv6", "QMatrix", "QNetwork", "QOpenGL",
    "QOcsp", "QPan", "QPinch", "QPrint", "QProxyStyle", "QQuaternion", "QSql", "QSsl",
    "QStyleOption", "QStyleHint", "QSwipe", "QTap", "QVector", "QXml", "QAbstractGraphics",
    "ctkDICOM", "ctkErrorLog", "ctkTransferFunction", "ctkWorkflow", "qSlicerExtensions",
)  # fmt: skip


def read_recording(folder: Path) -> dict:
    """The recording as it was written; ``folder`` holds ``surface.json.gz``."""
    with gzip.open(Path(folder) / "surface.json.gz", "rt", encoding="utf-8") as stream:
        return json.load(stream)


def recorded_classes(recording: dict) -> dict[str, dict]:
    """Class name -> recorded class, for every class the host may offer."""
    classes = {
        name: entry
        for group in ("qt", "ctk", "slicer_widgets")
        for name, entry in recording[group].items()
        if not name.startswith(OMITTED) and (group != "qt" or qtclasses.find(name) is not None)
    }
    classes["Qt"] = {"static": recording["Qt.Qt"]}
    return classes


class Surface:
    """Names, properties and bases of the recorded classes."""

    def __init__(self, recording: dict):
        self.classes = recorded_classes(recording)
        self.names = {
            name: set(entry["static"]) | set(entry.get("instance", ()))
            for name, entry in self.classes.items()
        }

    @functools.cache  # noqa: B019 (one object, one run)
    def base(self, name: str) -> str | None:
        """The Qt base class; for CTK's and Slicer's own the class most like it."""
        native = qtclasses.find(name)
        if native is not None:
            bases = [base.__name__ for base in native.__mro__[1:]]
        else:
            bases = sorted(self.names, key=self._by_size)
        alike = (other for other in bases if other in self.names and self._contains(name, other))
        return next(alike, None)

    def _by_size(self, name: str) -> tuple:
        """Most names first; among equals Qt's simplest class."""
        native = qtclasses.find(name)
        return -len(self.names[name]), len(native.__mro__) if native else 99, name

    def _contains(self, name: str, other: str) -> bool:
        """Whether the class has all that the other one has."""
        if not self.names[other] <= self.names[name]:
            return False
        if self.names[other] == self.names[name] and qtclasses.find(other) is None:
            return False  # two of CTK's or Slicer's own would name each other
        kinds = self._kinds(name)
        other_kinds = self._kinds(other)
        return not kinds or all(
            (kinds[member] == "call") == (kind == "call") for member, kind in other_kinds.items()
        )

    def _kinds(self, name: str) -> dict[str, str]:
        return self.classes[name].get("instance", {})

    @functools.cache  # noqa: B019 (one object, one run)
    def properties(self, name: str) -> frozenset[str]:
        """Names of the class that are read as attributes."""
        kinds = self._kinds(name)
        if kinds:
            # An enum value is recorded with the name of its enum, itself recorded as a call.
            return frozenset(m for m, kind in kinds.items() if kind != "call" and kind not in kinds)
        base = self.base(name)
        inherited = self.properties(base) if base else frozenset()
        own = self.names[name] - self.names.get(base, set())
        native = qtclasses.find(name)
        likely = qtclasses.properties(native) & own if native else set()
        return inherited | {member for member in likely if not self._is_method(native, member)}

    def _is_method(self, native: type, member: str) -> bool:
        """Whether a recorded subclass has the member as a method."""
        return any(
            self._kinds(other).get(member) == "call"
            for other in self.classes
            if (found := qtclasses.find(other)) is not None and issubclass(found, native)
        )

    def entry(self, name: str) -> dict:
        """One line of ``surface.json``."""
        base = self.base(name)
        own = self.properties(name) - (self.properties(base) if base else set())
        added = self.names[name] - self.names.get(base, set()) - own
        entry = {
            "base": base,
            "properties": " ".join(sorted(own)),
            "names": " ".join(sorted(added)),
            "recorded": bool(self._kinds(name)),
        }
        return {key: value for key, value in entry.items() if value}


def extract(recording: dict) -> dict:
    """The content of ``surface.json`` for one recording."""
    surface = Surface(recording)
    return {
        "version": recording["version"],
        "namespace": " ".join(sorted(set(recording["qt_namespace"]) - set(recording["qt"]))),
        "classes": {name: surface.entry(name) for name in sorted(surface.classes)},
    }


def main(folder: str) -> None:
    surface = extract(read_recording(Path(folder)))
    lines = (
        f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in surface.pop("classes").items()
    )
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in surface.items())
    text = ",\n".join(lines)
    SURFACE.write_text(f'{{{head}"classes": {{\n{text}\n}}}}\n', "utf-8")
    print(f"{SURFACE.name}: {SURFACE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
