# SPDX-License-Identifier: Apache-2.0
"""What the desktop offers, and the base class that holds the host to it.

``desktop_names.json`` is a compact extract of names recorded from a running 3D Slicer desktop.
Everything public that the host defines is checked against it when the class or module is made, so
a name which the desktop lacks cannot even be written down here.
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import lru_cache
from pathlib import Path

NAMES_FILE = Path(__file__).with_name("desktop_names.json")

# Names of Qt's own bases are kept once, not in each of the classes built on them.
_BASES = ("QWidget", "QObject")

# Classes which the host stands in for; the recording holds many more.
_RECORDED_CLASSES = (
    "qMRMLNodeComboBox",
    "qMRMLRangeWidget",
    "qMRMLSegmentationShow3DButton",
    "qMRMLSegmentsTableView",
    "qMRMLSliceControllerWidget",
    "qMRMLSliceView",
    "qMRMLSliceWidget",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
    "qMRMLTableView",
    "qMRMLThreeDView",
    "qMRMLThreeDWidget",
    "qMRMLVolumeThresholdWidget",
    "qMRMLWidget",
    "qSlicerCoreIOManager",
    "qSlicerIOManager",
    "qSlicerLayoutManager",
    "qSlicerLoadableModule",
    "qSlicerModuleFactoryManager",
    "qSlicerModuleManager",
    "qSlicerScriptedLoadableModule",
    "qSlicerScriptedLoadableModuleWidget",
    "qSlicerWidget",
)
_RECORDED_MODULES = (
    "SampleData",
    "slicer.ScriptedLoadableModule",
    "slicer.i18n",
    "slicer.packaging",
    "slicer.parameterNodeWrapper",
)


@lru_cache(maxsize=1)
def recorded() -> dict:
    """The extract: ``namespaces`` and ``classes`` (name -> names), ``bases`` (class -> Qt base)."""
    with open(NAMES_FILE, encoding="utf-8") as file:
        content = json.load(file)
    return {
        kind: {key: frozenset(names) for key, names in content[kind].items()}
        for kind in ("namespaces", "classes")
    } | {"bases": content["bases"]}


def namespace_names(namespace: str) -> frozenset[str]:
    """Names recorded in a namespace such as ``slicer.util``; KeyError if it was not recorded."""
    return recorded()["namespaces"][namespace]


def class_names(class_name: str) -> frozenset[str]:
    """Names recorded on a desktop class, those of its Qt base included."""
    classes = recorded()["classes"]
    return classes[class_name] | classes.get(recorded()["bases"].get(class_name), frozenset())


def extract(surface_file: Path) -> dict:
    """Compact extract of a full recording (``surface.json.gz``)."""
    with gzip.open(surface_file, "rt", encoding="utf-8") as file:
        surface = json.load(file)
    recorded_names = {"qSlicerApplication": set(surface["slicer.app"])}
    for name in _RECORDED_CLASSES:
        entry = surface["slicer_widgets"][name]
        recorded_names[name] = set(entry.get("static", ())) | set(entry.get("instance", ()))
    qt_names = {base: set(surface["qt"][base]["static"]) for base in _BASES}
    classes = {base: sorted(names) for base, names in qt_names.items()}
    bases = {}
    for name, names in recorded_names.items():
        base = next((base for base in _BASES if qt_names[base] <= names), None)
        if base:
            bases[name] = base
        classes[name] = sorted(names - qt_names.get(base, set()))
    namespaces = {
        "slicer": sorted(n for n in surface["slicer_namespace"] if not n.startswith("__")),
        "slicer.util": sorted(surface["slicer.util"]),
        "slicer.modules": sorted(surface["slicer.modules"]),
    }
    for name in _RECORDED_MODULES:
        namespaces[name] = sorted(surface["modules"][name])
    return {
        "version": surface["version"],
        "namespaces": namespaces,
        "classes": classes,
        "bases": bases,
    }


class HostSignal:
    """A signal of a stand-in that is no Qt object, with PythonQt's ``connect`` answers."""

    def __init__(self):
        self._slots = []

    def connect(self, slot) -> bool:
        self._slots.append(slot)
        return True

    def disconnect(self, slot=None) -> bool:
        before = len(self._slots)
        self._slots = [] if slot is None else [known for known in self._slots if known != slot]
        return len(self._slots) < before

    def emit(self, *arguments) -> None:
        """Calls the slots; as in Qt, an exception in one is reported and the others still run."""
        for slot in tuple(self._slots):
            try:
                slot(*arguments)
            except Exception:
                sys.excepthook(*sys.exc_info())


class DesktopObject:
    """Stand-in for a C++ object of the desktop which is no widget.

    Subclasses name the recorded class in ``desktop_class``, their settable properties with defaults
    in ``properties`` and their signals with signatures in ``signals``.
    """

    desktop_class = ""
    properties: dict = {}
    signals: dict = {}

    _BOOKKEEPING = frozenset({"desktop_class", "properties", "signals"})

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if not cls.desktop_class:
            return
        public = {name for name in vars(cls) if not name.startswith("_")} - cls._BOOKKEEPING
        absent = public.union(cls.properties, cls.signals) - class_names(cls.desktop_class)
        if absent:
            raise TypeError(f"the desktop's {cls.desktop_class} has no {sorted(absent)}")

    def __init__(self):
        values = {
            name: list(value) if isinstance(value, list) else value
            for name, value in self.properties.items()
        }
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_signals", {name: HostSignal() for name in self.signals})

    def __getattr__(self, name):
        for store in ("_values", "_signals"):
            values = self.__dict__.get(store, {})
            if name in values:
                return values[name]
        raise AttributeError(f"{type(self).desktop_class} has no attribute named '{name}'")

    def __setattr__(self, name, value):
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        elif name in self._values:
            self._values[name] = value
        else:
            raise AttributeError(
                f"'{name}' does not exist on {type(self).desktop_class} and creating new "
                "attributes on C++ objects is not allowed"
            )

    def __dir__(self):
        own = (name for name in super().__dir__() if name not in self._BOOKKEEPING)
        return sorted({*own, *self._values, *self._signals})

    def __repr__(self):
        return f"{type(self).desktop_class} (QObject {id(self):#x})"

    def connect(self, signature: str, slot) -> bool:
        signal = self._signal(signature)
        return signal.connect(slot) if signal else False

    def disconnect(self, signature: str, slot) -> bool:
        signal = self._signal(signature)
        return signal.disconnect(slot) if signal else False

    def className(self) -> str:
        return type(self).desktop_class

    def isWidgetType(self) -> bool:
        return False

    def _signal(self, signature: str) -> HostSignal | None:
        for name, known in self.signals.items():
            if known == signature.replace(" ", ""):
                return self._signals[name]
        return None


def main(arguments: list[str]) -> int:
    """``python -m slicerhost.names surface.json.gz`` writes the extract anew."""
    text = json.dumps(extract(Path(arguments[0])), separators=(",", ":"))
    NAMES_FILE.write_text(text + "\n", encoding="utf-8")
    print(f"{NAMES_FILE}: {len(text)} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
