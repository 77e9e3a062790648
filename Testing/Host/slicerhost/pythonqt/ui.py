# SPDX-License-Identifier: Apache-2.0
"""Loading .ui files into the classes of the host.

Qt's own loader builds the widgets; the classes it does not know come from ``uic_class_registry``.
The connections of the file are taken out and made here, because Qt can only make those whose
arguments C++ knows, and Slicer's files pass the MRML scene from widget to widget.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import enums, properties, qtclasses
from .wrapper import PythonQtClassWrapper, make_class, wrap

uic_class_registry: dict[str, type] = {}


def register_widget_class(name: str, native: type) -> PythonQtClassWrapper:
    """Offer a class under the desktop's name for it, in Python and to .ui files.

    Args:
        name: for example ``qMRMLNodeComboBox``.
        native: PySide6 class, or one derived from it, constructible with just a parent.

    Returns:
        The wrapper class, which is what ``slicer.qMRMLNodeComboBox`` must be.

    Raises:
        AttributeError: the desktop has no class of that name.
    """
    cls = make_class(name, native)
    uic_class_registry[name] = native
    return cls


class _Loader(QtUiTools.QUiLoader):
    """Qt's loader, which asks the registry first."""

    def __init__(self):
        super().__init__()
        self.made: list[QtCore.QObject] = []  # keeps the Python halves until the tree stands

    def createWidget(self, class_name, parent=None, name=""):  # noqa: N802 (overrides Qt)
        native = uic_class_registry.get(class_name)
        if native is None:
            return super().createWidget(class_name, parent, name)
        widget = native(parent)
        widget.setObjectName(name)
        self.made.append(widget)
        return widget


def load_ui(path: str | Path) -> Any:
    """The top widget of a .ui file, wrapped.

    Raises:
        FileNotFoundError: no such file.
        AttributeError: a class in it is neither Qt's nor registered.
        ValueError: the file cannot be loaded, a class lacks one of its properties, or a
            connection cannot be made.
    """
    return load_ui_text(Path(path).read_bytes())


def load_ui_text(text: bytes, parent: QtWidgets.QWidget | None = None) -> Any:
    """As ``load_ui``, from the content of the file."""
    root = ElementTree.fromstring(text)
    for element in root.iter("widget"):
        _prepare(element)
    connections = root.find("connections")
    if connections is not None:
        root.remove(connections)
    buffer = QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(root))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    loader = _Loader()
    top = loader.load(buffer, parent)
    if top is None:
        raise ValueError(loader.errorString())
    for widget in [top, *top.findChildren(QtWidgets.QWidget)]:
        properties.word_wrap_tool_tip(widget)
    for connection in connections if connections is not None else ():
        _connect(top, connection)
    return wrap(top)


def _prepare(element: ElementTree.Element) -> None:
    """Check the class and the properties of a widget, and turn names of enum values into numbers.

    Qt's loader would drop a property it cannot read, lose an exception raised inside it, and does
    not know the enums of a class written in Python.
    """
    name = element.get("class")
    if name == "Line":
        return
    native = uic_class_registry.get(name) or qtclasses.find(name)
    if native is None:
        raise AttributeError(f"no class {name} is registered for .ui files")
    declared = qtclasses.meta(native).properties
    for entry in element.findall("property"):
        title = entry.get("name")
        if entry.get("stdset") == "0":
            continue
        if title not in declared:
            raise ValueError(f"{name} '{element.get('name')}' has no property '{title}' here")
        value = entry[0]
        if value.tag in ("enum", "set") and not declared[title].is_enum:
            value.text = str(_enum_number(value.text or ""))
            value.tag = "number"


def _enum_number(names: str) -> int:
    """The number that ``Scope::Name|Scope::Name`` stands for."""
    number = 0
    for name in filter(None, names.split("|")):
        scope, _, member = name.strip().partition("::")
        native = uic_class_registry.get(scope) or qtclasses.find(scope)
        values = enums.members(native) if native is not None else {}
        if member.split("::")[-1] not in values:
            raise ValueError(f"{name} is not the name of an enum value")
        number |= values[member.split("::")[-1]].value
    return number


def _connect(top: QtWidgets.QWidget, connection: ElementTree.Element) -> None:
    from .manners import connect_by_name

    sender, signal, receiver, slot = (
        connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")
    )
    ends = [_named(top, sender), _named(top, receiver)]
    if None in ends or not connect_by_name(ends[0], signal, ends[1], slot):
        raise ValueError(f"cannot connect {sender}.{signal} to {receiver}.{slot}")


def _named(top: QtWidgets.QWidget, name: str) -> QtCore.QObject | None:
    return top if top.objectName() == name else top.findChild(QtCore.QObject, name)
