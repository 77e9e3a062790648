# SPDX-License-Identifier: Apache-2.0
"""Parameter packs: several typed values under one parameter."""

import dataclasses
import typing

import slicer

from .serializers import (
    Serializer,
    ValidatedSerializer,
    createSerializer,
    parameterNodeSerializer,
)
from .typing_tools import splitAnnotations, splitDottedName, unannotatedType
from .validators import IsInstance, NotNone, extractDefault


@dataclasses.dataclass
class ParameterInfo:
    """What is known of one declared parameter."""

    basename: str
    serializer: Serializer
    default: typing.Any
    unalteredType: typing.Any


def readDeclaration(class_, name, annotatedType):
    """(serializer, Default or None) of an annotated class member."""
    type_, annotations = splitAnnotations(annotatedType)
    serializer, annotations = createSerializer(type_, annotations)
    default, _ = extractDefault(annotations)
    return serializer, default


def isParameterPack(obj):
    """Whether a class or an object is a parameter pack."""
    return getattr(obj, "_is_parameterPack", False)


def nestedParameterNames(parameterPackClassOrInstance):
    """Dotted names of all values in a pack and the packs in it."""
    names = []
    for name, info in unannotatedType(parameterPackClassOrInstance).allParameters.items():
        type_ = unannotatedType(info.unalteredType)
        if isParameterPack(type_):
            names += [f"{name}.{inner}" for inner in nestedParameterNames(type_)]
        else:
            names.append(name)
    return names


def parameterPack(classtype=None):
    """Class decorator that makes a parameter pack of a class with annotated members."""
    return _makePack if classtype is None else _makePack(classtype)


def checkMember(pack, name):
    """ValueError if a pack has no member of that dotted name."""
    top, rest = splitDottedName(name)
    if top not in pack.allParameters:
        raise ValueError(f"{pack} has no member '{top}'")
    if rest is None:
        return
    inner = unannotatedType(pack.allParameters[top].unalteredType)
    if not isParameterPack(inner):
        raise ValueError(f"{inner} is not a parameter pack but is asked for '{rest}'")
    checkMember(inner, rest)


def _storageName(name):
    return f"_parameterPack_{name}_impl"


def _makeMember(name, serializer):
    def read(self):
        return getattr(self, _storageName(name))

    def write(self, value):
        serializer.validate(value)
        object.__setattr__(self, _storageName(name), value)
        self._changed()

    return property(read, write)


def _makePack(class_):
    members = typing.get_type_hints(class_, include_extras=True)
    if not members:
        raise ValueError("Unable to find any members in parameterPack")
    allParameters = {}
    for name, annotatedType in members.items():
        serializer, default = readDeclaration(class_, name, annotatedType)
        if hasattr(class_, name):
            value = getattr(class_, name)
        else:
            value = default.value if default else serializer.default()
        try:
            serializer.validate(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"The default of '{name}' fails its validation: {error}") from error
        allParameters[name] = ParameterInfo(name, serializer, value, annotatedType)
        setattr(class_, name, _makeMember(name, serializer))
    _addMethods(class_, allParameters)
    return class_


def _addMethods(class_, allParameters):
    for name in ("allParameters", "getValue", "setValue", "dataType"):
        if hasattr(class_, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterPack")
    ownInit = vars(class_).get("__init__")

    def initialize(self, *args, **kwargs):
        _fill(self, () if ownInit else args, {} if ownInit else kwargs)
        if ownInit:
            ownInit(self, *args, **kwargs)

    class_.allParameters = allParameters
    class_._is_parameterPack = True
    class_._changed = lambda self: None
    class_.__init__ = initialize
    class_.getValue = _getValue
    class_.setValue = _setValue
    class_.dataType = staticmethod(lambda name: _dataType(class_, name))
    for name, method in (("__eq__", _equal), ("__repr__", _text), ("__str__", _text)):
        if name not in vars(class_):
            setattr(class_, name, method)


def _fill(pack, args, kwargs):
    names = list(pack.allParameters)
    if len(args) > len(names):
        raise TypeError(f"__init__() takes at most {len(names)} arguments")
    values = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
        if name in values:
            raise TypeError(f"__init__() got multiple values for argument '{name}'")
        values[name] = value
    for name, info in pack.allParameters.items():
        value = values.get(name, info.default)
        info.serializer.validate(value)
        object.__setattr__(pack, _storageName(name), value)


def _getValue(self, membername):
    """The value of a (dotted) member name."""
    top, rest = splitDottedName(membername)
    checkMember(self, top)
    value = getattr(self, top)
    return value if rest is None else value.getValue(rest)


def _setValue(self, membername, value):
    """Sets the value of a (dotted) member name."""
    top, rest = splitDottedName(membername)
    checkMember(self, top)
    if rest is None:
        setattr(self, top, value)
    else:
        getattr(self, top).setValue(rest, value)
        self._changed()


def _dataType(class_, membername):
    top, rest = splitDottedName(membername)
    checkMember(class_, membername)
    type_ = class_.allParameters[top].unalteredType
    return type_ if rest is None else unannotatedType(type_).dataType(rest)


def _equal(self, other):
    if self.allParameters is not getattr(other, "allParameters", None):
        return False
    return all(
        getattr(self, _storageName(name)) == getattr(other, _storageName(name))
        for name in self.allParameters
    )


def _text(self):
    values = (f"{name}={getattr(self, _storageName(name))!r}" for name in self.allParameters)
    return f"{type(self).__name__}({', '.join(values)})"


_observedClasses = {}


def _observedClass(packType):
    """The pack's class, with every change written to the parameter node."""
    if packType in _observedClasses:
        return _observedClasses[packType]

    class ObservedParameterPack(packType):
        def __init__(self, parameterNode, serializer, name, values):
            object.__setattr__(self, "_observed", None)
            _fill(self, (), values)
            object.__setattr__(self, "_observed", (parameterNode, serializer, name))

        def __setattr__(self, key, value):
            if not hasattr(self, key):
                raise AttributeError(f"{packType.__name__} has no attribute '{key}'")
            object.__setattr__(self, key, value)

        def _changed(self):
            if self._observed:
                parameterNode, serializer, name = self._observed
                serializer.write(parameterNode, name, self)
                # Reading back makes nested lists and packs observed, too.
                for member, value in serializer.readMembers(parameterNode, name).items():
                    object.__setattr__(self, _storageName(member), value)

    ObservedParameterPack.__name__ = packType.__name__
    _observedClasses[packType] = ObservedParameterPack
    return ObservedParameterPack


@parameterNodeSerializer
class ParameterPackSerializer(Serializer):
    """Each member under ``name.member``."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return bool(isParameterPack(type_))

    @staticmethod
    def create(type_):
        return ValidatedSerializer(ParameterPackSerializer(type_), [NotNone(), IsInstance(type_)])

    def __init__(self, type_):
        self.type = type_

    def default(self):
        return self.type()

    def _members(self):
        return [(name, info.serializer) for name, info in self.type.allParameters.items()]

    def isIn(self, parameterNode, name):
        member, serializer = self._members()[0]
        return serializer.isIn(parameterNode, f"{name}.{member}")

    def write(self, parameterNode, name, value):
        with slicer.util.NodeModify(parameterNode):
            for member, serializer in self._members():
                content = getattr(value, _storageName(member))
                serializer.write(parameterNode, f"{name}.{member}", content)

    def readMembers(self, parameterNode, name):
        return {
            member: serializer.read(parameterNode, f"{name}.{member}")
            for member, serializer in self._members()
        }

    def read(self, parameterNode, name):
        values = self.readMembers(parameterNode, name)
        return _observedClass(self.type)(parameterNode, self, name, values)

    def remove(self, parameterNode, name):
        for member, serializer in self._members():
            serializer.remove(parameterNode, f"{name}.{member}")

    def supportsCaching(self):
        return all(serializer.supportsCaching() for _, serializer in self._members())


@parameterPack
class FloatRange:
    """Two numbers, the first not above the second."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum=0, maximum=0):
        self.setRange(minimum, maximum)

    @property
    def minimum(self) -> float:
        return self._minimum

    @minimum.setter
    def minimum(self, value):
        self.setRange(value, self._maximum)

    @property
    def maximum(self) -> float:
        return self._maximum

    @maximum.setter
    def maximum(self, value):
        self.setRange(self._minimum, value)

    def setRange(self, minimum, maximum):
        if minimum > maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")
        self._minimum = minimum
        self._maximum = maximum
