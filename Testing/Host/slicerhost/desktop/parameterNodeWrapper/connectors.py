# SPDX-License-Identifier: Apache-2.0
"""Tying a parameter to a widget: which widget can show which type, and how."""

import abc
import dataclasses
import enum
import math
import pathlib

import ctk
import qt
import slicer

from .packs import FloatRange, isParameterPack, nestedParameterNames
from .typing_tools import (
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    splitAnnotations,
    unannotatedType,
)
from .validators import Choice, Maximum, Minimum, RangeBounds, WithinRange

SlicerPackParameterNamePropertyName = "SlicerPackParameterName"
_LARGEST_INT = 2**31 - 1


def _classes(*names):
    """Widget classes by name; those which the host does not offer are left out."""
    found = (getattr(module, name, None) for name in names for module in (qt, ctk, slicer))
    return tuple(class_ for class_ in found if class_ is not None)


@dataclasses.dataclass
class Decimals:
    """How many decimals a number's widget shows."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """How far one click on a number's widget goes."""

    value: float


class GuiConnector(abc.ABC):
    """Reads and writes one widget as one type, and tells of its changes."""

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget, datatype) -> bool:
        """Whether such a widget can show such a (possibly annotated) type."""

    @staticmethod
    @abc.abstractmethod
    def create(widget, datatype):
        """A connector of the widget to the type."""

    def __init__(self):
        super().__init__()
        self._callback = None

    def onChanged(self, callback):
        """Calls back at each change; None ends that."""
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self, *_):
        if self._callback:
            self._callback()

    @abc.abstractmethod
    def _connect(self): ...

    @abc.abstractmethod
    def _disconnect(self): ...

    @abc.abstractmethod
    def widget(self):
        """The widget."""

    @abc.abstractmethod
    def read(self):
        """The widget's value."""

    @abc.abstractmethod
    def write(self, value) -> None:
        """Shows a value in the widget."""


_connectors = []


def parameterNodeGuiConnector(classtype=None):
    """Class decorator that makes a connector known; the first that fits is used."""

    def register(class_):
        if not issubclass(class_, GuiConnector):
            raise TypeError("Must be a GuiConnector subclass")
        _connectors.append(class_)
        return class_

    return register if classtype is None else register(classtype)


def createGuiConnector(widget, datatype) -> GuiConnector:
    """The connector of a widget to a type; RuntimeError if there is none."""
    for candidate in _connectors:
        if candidate.canRepresent(widget, datatype):
            return candidate.create(widget, datatype)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{datatype}' to widget type "
        f"'{type(widget)}'."
    )


class _WidgetConnector(GuiConnector):
    """Base: one widget, one signal, the value in one property."""

    widgetTypes = ()
    dataTypes = ()
    signalName = ""
    propertyName = ""

    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        return type(widget) in cls.widgetTypes and unannotatedType(datatype) in cls.dataTypes

    @classmethod
    def create(cls, widget, datatype):
        return cls(widget, datatype)

    def __init__(self, widget, datatype):
        super().__init__()
        self._widget = widget
        self._type, self._annotations = splitAnnotations(datatype)

    def _connect(self):
        if self.signalName:
            getattr(self._widget, self.signalName).connect(self.changed)

    def _disconnect(self):
        if self.signalName:
            getattr(self._widget, self.signalName).disconnect(self.changed)

    def widget(self):
        return self._widget

    def read(self):
        return getattr(self._widget, self.propertyName)

    def write(self, value):
        setattr(self._widget, self.propertyName, value)

    def _annotation(self, type_):
        return findFirstAnnotation(self._annotations, type_)


@parameterNodeGuiConnector
class _CheckBoxConnector(_WidgetConnector):
    widgetTypes = _classes("QCheckBox", "ctkCheckBox")
    dataTypes = (bool,)
    signalName = "stateChanged"
    propertyName = "checked"


@parameterNodeGuiConnector
class _CheckableButtonConnector(_WidgetConnector):
    widgetTypes = _classes("QPushButton", "ctkCheckablePushButton")
    dataTypes = (bool,)
    signalName = "toggled"
    propertyName = "checked"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.checkable = True


class _NumberConnector(_WidgetConnector):
    signalName = "valueChanged"
    propertyName = "value"
    # Widgets which have no meaning without both ends.
    boundedTypes = ()
    unbounded = (-math.inf, math.inf)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        self._applyStep()
        minimum, maximum = self._bounds()
        if type(widget) in self.boundedTypes and None in (minimum, maximum):
            name = type(widget).__name__
            raise RuntimeError(f"Cannot have a connection to {name} without bounds")
        widget.minimum = self.unbounded[0] if minimum is None else minimum
        widget.maximum = self.unbounded[1] if maximum is None else maximum

    def _applyStep(self):
        step = self._annotation(SingleStep)
        if step is not None:
            self._widget.singleStep = step.value

    def _bounds(self):
        range_ = self._annotation(WithinRange)
        if range_ is not None:
            return range_.minimum, range_.maximum
        minimum, maximum = self._annotation(Minimum), self._annotation(Maximum)
        return minimum and minimum.minimum, maximum and maximum.maximum

    def read(self):
        return self._type(self._widget.value)

    def write(self, value):
        self._widget.value = self._type(value)


@parameterNodeGuiConnector
class _IntegerConnector(_NumberConnector):
    widgetTypes = _classes("QSlider", "QSpinBox")
    dataTypes = (int,)
    boundedTypes = _classes("QSlider")
    unbounded = (-_LARGEST_INT - 1, _LARGEST_INT)


@parameterNodeGuiConnector
class _FloatConnector(_NumberConnector):
    widgetTypes = _classes(
        "QDoubleSpinBox",
        "ctkSliderWidget",
        "qMRMLSliderWidget",
        "ctkDoubleSlider",
        "ctkDoubleSpinBox",
        "qMRMLSpinBox",
    )
    dataTypes = (float, int)
    boundedTypes = _classes("ctkSliderWidget", "qMRMLSliderWidget")

    def _applyStep(self):
        if not self._widget.inherits("ctkDoubleSlider"):
            decimals = Decimals(0) if self._type is int else self._annotation(Decimals)
            if decimals is not None:
                self._widget.decimals = decimals.value
        super()._applyStep()


class _ChoiceConnector(_WidgetConnector):
    widgetTypes = _classes("QComboBox", "ctkComboBox")
    signalName = "currentIndexChanged"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        self._choices = self._findChoices()
        selected = widget.currentIndex
        widget.clear()
        for choice in self._choices:
            widget.addItem(self._label(choice))
        if 0 <= selected < len(self._choices):
            widget.currentIndex = selected

    @abc.abstractmethod
    def _findChoices(self): ...

    def _label(self, choice) -> str:
        return str(choice)

    def read(self):
        return self._choices[self._widget.currentIndex]

    def write(self, value):
        if value not in self._choices:
            raise ValueError(f"Unable to find value {value} in choices {self._choices}")
        self._widget.currentIndex = self._choices.index(value)


@parameterNodeGuiConnector
class _ChoiceOfValuesConnector(_ChoiceConnector):
    dataTypes = (int, float, str, bool)

    def _findChoices(self):
        choice = self._annotation(Choice)
        if choice is None:
            raise RuntimeError("A combo box needs the Choice annotation")
        return list(choice.choices)


@parameterNodeGuiConnector
class _EnumConnector(_ChoiceConnector):
    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        type_ = unannotatedType(datatype)
        isEnum = isinstance(type_, type) and issubclass(type_, enum.Enum)
        return type(widget) in cls.widgetTypes and isEnum

    def _findChoices(self):
        return list(self._type)

    def _label(self, choice):
        return getattr(self._type, "label", lambda member: member.name)(choice)


@parameterNodeGuiConnector
class _LineEditConnector(_WidgetConnector):
    widgetTypes = _classes("QLineEdit")
    dataTypes = (str,)
    signalName = "textChanged"
    propertyName = "text"

    def write(self, value):
        # Setting the same text would move the cursor while the user types.
        if value != self._widget.text:
            self._widget.text = value


@parameterNodeGuiConnector
class _LabelConnector(_WidgetConnector):
    widgetTypes = _classes("QLabel")
    dataTypes = (str,)
    propertyName = "text"


@parameterNodeGuiConnector
class _TextEditConnector(_WidgetConnector):
    widgetTypes = _classes("QTextEdit")
    dataTypes = (str,)
    signalName = "textChanged"

    def read(self):
        return self._widget.toPlainText()

    def write(self, value):
        self._widget.setPlainText(value)


@parameterNodeGuiConnector
class _RangeConnector(_WidgetConnector):
    widgetTypes = _classes("ctkRangeWidget", "ctkDoubleRangeSlider", "qMRMLRangeWidget")
    dataTypes = (FloatRange,)
    signalName = "valuesChanged"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        bounds = self._annotation(RangeBounds)
        if bounds is None:
            raise RuntimeError("A range widget needs the RangeBounds annotation")
        if not widget.inherits("ctkDoubleRangeSlider") and self._annotation(Decimals):
            widget.decimals = self._annotation(Decimals).value
        if self._annotation(SingleStep):
            widget.singleStep = self._annotation(SingleStep).value
        widget.setRange(bounds.minimum, bounds.maximum)

    def read(self):
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


_PATH_TYPES = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class _PathConnector(_WidgetConnector):
    dataTypes = _PATH_TYPES

    def read(self):
        return self._type(super().read())

    def write(self, value):
        super().write(str(value))


@parameterNodeGuiConnector
class _PathLineEditConnector(_PathConnector):
    widgetTypes = _classes("ctkPathLineEdit")
    signalName = "currentPathChanged"
    propertyName = "currentPath"


@parameterNodeGuiConnector
class _DirectoryButtonConnector(_PathConnector):
    widgetTypes = _classes("ctkDirectoryButton")
    signalName = "directoryChanged"
    propertyName = "directory"


@parameterNodeGuiConnector
class _NodeConnector(_WidgetConnector):
    widgetTypes = _classes("qMRMLNodeComboBox")
    signalName = "currentNodeChanged"

    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        return type(widget) in cls.widgetTypes and isNodeOrUnionOfNodes(datatype)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.nodeTypes = getNodeTypes(datatype)

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


def packWidgets(widget):
    """{dotted member name: widget} of the children with a SlicerPackParameterName."""
    found = {}
    for child in widget.findChildren(qt.QWidget):
        names = []
        step = child
        while step is not None and step != widget:
            name = step.property(SlicerPackParameterNamePropertyName)
            if name:
                names.insert(0, name)
            step = step.parent()
        if child.property(SlicerPackParameterNamePropertyName):
            found[".".join(names)] = child
    return {
        name: child
        for name, child in found.items()
        if not any(other.startswith(f"{name}.") for other in found)
    }


@parameterNodeGuiConnector
class _PackConnector(GuiConnector):
    """A parameter pack, shown by the children of one widget."""

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        if not isParameterPack(unannotatedType(datatype)):
            return False
        return set(nestedParameterNames(datatype)) <= set(packWidgets(widget))

    @staticmethod
    def create(widget, datatype):
        return _PackConnector(widget, unannotatedType(datatype))

    def __init__(self, widget, datatype):
        super().__init__()
        self._widget = widget
        self._type = datatype
        children = packWidgets(widget)
        self._members = {
            name: createGuiConnector(children[name], datatype.dataType(name))
            for name in nestedParameterNames(datatype)
        }

    def _connect(self):
        for member in self._members.values():
            member.onChanged(self.changed)

    def _disconnect(self):
        for member in self._members.values():
            member.onChanged(None)

    def widget(self):
        return self._widget

    def read(self):
        pack = self._type()
        for name, member in self._members.items():
            pack.setValue(name, member.read())
        return pack

    def write(self, value):
        for name, member in self._members.items():
            member.write(value.getValue(name))
