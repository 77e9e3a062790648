# SPDX-License-Identifier: Apache-2.0
"""The class decorator ``@parameterNodeWrapper``."""

import typing
import weakref

import qt
import slicer
import vtk

from .connectors import GuiConnector, createGuiConnector, packWidgets
from .packs import ParameterInfo, checkMember, isParameterPack, readDeclaration
from .typing_tools import splitDottedName, unannotatedType
from .validators import Default

SlicerParameterNamePropertyName = "SlicerParameterName"

# Methods and attributes which a wrapper class gets; its parameters cannot have these names.
_RESERVED = (
    "allParameters",
    "default",
    "isCached",
    "dataType",
    "getValue",
    "setValue",
    "connectGui",
    "connectParametersToGui",
    "disconnectGui",
    "StartModify",
    "EndModify",
    "AddObserver",
    "RemoveObserver",
    "Modified",
)


def isParameterNodeWrapper(classOrObj):
    """Whether a class or an object was made by ``@parameterNodeWrapper``."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(classtype=None):
    """Class decorator: annotated members become typed parameters of a parameter node."""
    return _makeWrapper if classtype is None else _makeWrapper(classtype)


def findChildWidgetForParameter(widget, parameter):
    """The child widget whose SlicerParameterName is that of the parameter, or None."""
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    top, rest = splitDottedName(parameter)
    if rest is None:
        return None
    packWidget = findChildWidgetForParameter(widget, top)
    return packWidgets(packWidget).get(rest) if packWidget else None


class _Parameter:
    """One parameter in one node, kept in memory until the node is modified."""

    def __init__(self, info, parameterNode, prefix):
        self.info = info
        self.name = f"{prefix or ''}{info.basename}"
        self.node = parameterNode
        self.cached = info.serializer.supportsCaching()
        self._writing = False
        if not info.serializer.isIn(parameterNode, self.name):
            info.serializer.write(parameterNode, self.name, info.default.value)
        if self.cached:
            self._value = info.serializer.read(parameterNode, self.name)
            # The observer must not keep this object alive: it is removed when the object goes.
            reference = weakref.ref(self)
            tag = parameterNode.AddObserver(
                vtk.vtkCommand.ModifiedEvent, lambda *_: _refresh(reference)
            )
            weakref.finalize(self, parameterNode.RemoveObserver, tag)

    def read(self):
        if self.cached:
            return self._value
        return self._readNode()

    def _readNode(self):
        if not self.info.serializer.isIn(self.node, self.name):
            self.info.serializer.write(self.node, self.name, self.info.default.value)
        return self.info.serializer.read(self.node, self.name)

    def refresh(self):
        if not self._writing:
            self._value = self._readNode()

    def write(self, value):
        self._writing = True
        try:
            # The new value is in place before any observer of the node is called.
            with slicer.util.NodeModify(self.node):
                self.info.serializer.write(self.node, self.name, value)
                if self.cached:
                    self._value = self.info.serializer.read(self.node, self.name)
        finally:
            self._writing = False


def _refresh(reference):
    parameter = reference()
    if parameter is not None:
        parameter.refresh()


class _WrapperMethods:
    """Methods of every wrapper class."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._parameters = {
            name: _Parameter(info, parameterNode, prefix)
            for name, info in self.allParameters.items()
        }
        self._guiConnectors = {}
        self._guiObservers = {}
        self._updatingGui = False

    def default(self, paramName):
        _checkName(self, paramName)
        return self.allParameters[paramName].default

    def isCached(self, paramName):
        _checkName(self, paramName)
        return self._parameters[paramName].cached

    def getValue(self, name):
        _checkName(self, name)
        top, rest = splitDottedName(name)
        value = self._parameters[top].read()
        return value if rest is None else value.getValue(rest)

    def setValue(self, name, value):
        _checkName(self, name)
        top, rest = splitDottedName(name)
        if rest is None:
            self._parameters[top].write(value)
        else:
            self._parameters[top].read().setValue(rest, value)

    def connectGui(self, gui):
        """Ties every widget with a SlicerParameterName to its parameter; returns a tag."""
        isWidget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if isWidget else list(vars(gui).values())
        mapping = {}
        for widget in widgets:
            name = widget.property(SlicerParameterNamePropertyName)
            if name:
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping):
        """Ties parameters to widgets or connectors: {parameter name: widget}; returns a tag."""
        for name in mapping:
            _checkName(self, name)
        connectors = {
            name: item
            if isinstance(item, GuiConnector)
            else createGuiConnector(item, self.dataType(name))
            for name, item in mapping.items()
        }
        tag = max(self._guiConnectors, default=-1) + 1
        self._guiConnectors[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._makeCallback(name, connector))
        self._guiObservers[tag] = self.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateGui()
        )
        return tag

    def disconnectGui(self, guiTag):
        for connector in self._guiConnectors.pop(guiTag, {}).values():
            connector.onChanged(None)
        if guiTag in self._guiObservers:
            self.RemoveObserver(self._guiObservers.pop(guiTag))

    def _makeCallback(self, name, connector):
        def callback():
            with slicer.util.NodeModify(self):
                if not self._updatingGui:
                    self.setValue(name, connector.read())

        return callback

    def _updateGui(self):
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in tuple(self._guiConnectors.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


def _checkName(wrapper, name):
    top, rest = splitDottedName(name)
    if top not in wrapper.allParameters:
        raise ValueError(
            f"Cannot find a param with the given name: {top}, found {list(wrapper.allParameters)}"
        )
    if rest is not None:
        pack = unannotatedType(wrapper.allParameters[top].unalteredType)
        if not isParameterPack(pack):
            raise ValueError(f"{top} is not a parameter pack but is asked for '{rest}'")
        checkMember(pack, rest)


def _dataType(class_, name):
    _checkName(class_, name)
    top, rest = splitDottedName(name)
    type_ = class_.allParameters[top].unalteredType
    return type_ if rest is None else unannotatedType(type_).dataType(rest)


def _makeProperty(name):
    return property(
        lambda self: self._parameters[name].read(),
        lambda self, value: self._parameters[name].write(value),
    )


def _makeWrapper(class_):
    members = typing.get_type_hints(class_, include_extras=True)
    for name in _RESERVED:
        if name in members or hasattr(class_, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    allParameters = {}
    for name, annotatedType in members.items():
        try:
            serializer, default = readDeclaration(class_, name, annotatedType)
        except Exception as error:
            raise TypeError(f"Unable to create serializer for {class_} member {name}") from error
        if hasattr(class_, name):
            default = Default(getattr(class_, name))
        default = default or Default(serializer.default())
        allParameters[name] = ParameterInfo(name, serializer, default, annotatedType)
        setattr(class_, name, _makeProperty(name))
    class_.allParameters = allParameters
    class_._is_parameter_node_wrapper = True
    class_.dataType = staticmethod(lambda name: _dataType(class_, name))
    for name, method in vars(_WrapperMethods).items():
        if callable(method):
            setattr(class_, name, method)
    return class_
