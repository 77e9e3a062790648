# SPDX-License-Identifier: Apache-2.0
"""Writing typed values into a vtkMRMLScriptedModuleNode and reading them back."""

import abc
import collections.abc
import enum
import importlib
import pathlib
import types
import typing

import slicer

from .typing_tools import isUnion, splitAnnotations
from .validators import IsInstance, IsNone, NotNone, extractValidators


class Serializer(abc.ABC):
    """Writes values of one type under a name, which it may extend with ``.suffixes``."""

    @staticmethod
    @abc.abstractmethod
    def canSerialize(type_) -> bool:
        """Whether this class of serializers is for that type."""

    @staticmethod
    @abc.abstractmethod
    def create(type_):
        """A serializer for that type."""

    @abc.abstractmethod
    def default(self):
        """Value of a parameter for which no default is given."""

    @abc.abstractmethod
    def isIn(self, parameterNode, name: str) -> bool: ...

    @abc.abstractmethod
    def write(self, parameterNode, name: str, value) -> None: ...

    @abc.abstractmethod
    def read(self, parameterNode, name: str): ...

    @abc.abstractmethod
    def remove(self, parameterNode, name: str) -> None: ...

    def supportsCaching(self) -> bool:
        """Whether a value read once may be kept until the node is modified.

        True only if changing the value in place is impossible or is written to the node at once.
        """
        return False


class ValidatedSerializer(Serializer):
    """A serializer which first asks validators; nested ones become one, inner validators first."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return False

    @staticmethod
    def create(type_):
        raise TypeError("ValidatedSerializer wraps another serializer")

    def __init__(self, serializer, validators):
        isValidated = isinstance(serializer, ValidatedSerializer)
        self.serializer = serializer.serializer if isValidated else serializer
        self.validators = [*(serializer.validators if isValidated else ()), *validators]

    def validate(self, value):
        for validator in self.validators:
            validator.validate(value)

    def default(self):
        return self.serializer.default()

    def isIn(self, parameterNode, name):
        return self.serializer.isIn(parameterNode, name)

    def write(self, parameterNode, name, value):
        self.validate(value)
        self.serializer.write(parameterNode, name, value)

    def read(self, parameterNode, name):
        return self.serializer.read(parameterNode, name)

    def remove(self, parameterNode, name):
        self.serializer.remove(parameterNode, name)

    def supportsCaching(self):
        return self.serializer.supportsCaching()


_serializers = []


def parameterNodeSerializer(classtype=None):
    """Class decorator that makes a serializer known; the first that fits a type is used."""

    def register(class_):
        if not issubclass(class_, Serializer):
            raise TypeError("Must be a serializer type.")
        _serializers.append(class_)
        return class_

    return register if classtype is None else register(classtype)


def createSerializer(type_, annotations):
    """(validated serializer for the type, annotations that were not used)."""
    validators, annotations = extractValidators(annotations)
    given = [item for item in annotations if isinstance(item, Serializer)]
    rest = [item for item in annotations if not isinstance(item, Serializer)]
    if len(given) > 1:
        raise ValueError("Multiple serializers found")
    serializer = given[0] if given else _serializer_for(type_)
    return ValidatedSerializer(serializer, validators), rest


def createSerializerFromAnnotatedType(annotatedType):
    type_, annotations = splitAnnotations(annotatedType)
    return createSerializer(type_, annotations)[0]


def _serializer_for(type_):
    for candidate in _serializers:
        if candidate.canSerialize(type_):
            return candidate.create(type_)
    raise TypeError(f"Unable to create serializer for type: {type_}")


class _TextSerializer(Serializer):
    """Base of those whose value is one text under one name."""

    def __init__(self, type_):
        self.type = type_

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [NotNone(), IsInstance(type_)])

    def default(self):
        return self.type()

    def toText(self, value) -> str:
        return str(value)

    def fromText(self, text: str):
        return self.type(text)

    def isIn(self, parameterNode, name):
        return bool(parameterNode.HasParameter(name))

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, self.toText(value))

    def read(self, parameterNode, name):
        return self.fromText(parameterNode.GetParameter(name))

    def remove(self, parameterNode, name):
        parameterNode.UnsetParameter(name)

    def supportsCaching(self):
        return True


@parameterNodeSerializer
class NumberSerializer(_TextSerializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ in (int, float)

    @classmethod
    def create(cls, type_):
        accepted = (int, float) if type_ is float else int
        return ValidatedSerializer(cls(type_), [NotNone(), IsInstance(accepted)])

    def default(self):
        return 0


@parameterNodeSerializer
class StringSerializer(_TextSerializer):
    def __init__(self, type_=str):
        super().__init__(type_)

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is str


@parameterNodeSerializer
class PathSerializer(_TextSerializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, pathlib.PurePath)


@parameterNodeSerializer
class BoolSerializer(_TextSerializer):
    def __init__(self, type_=bool):
        super().__init__(type_)

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is bool

    def toText(self, value):
        return "True" if value else "False"

    def fromText(self, text):
        return text == "True"


@parameterNodeSerializer
class EnumSerializer(_TextSerializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, enum.Enum)

    def default(self):
        return next(iter(self.type))

    def toText(self, value):
        return value.name

    def fromText(self, text):
        try:
            return self.type[text]
        except KeyError as error:
            raise ValueError(f"{text!r} is not a name in {self.type!r}") from error


@parameterNodeSerializer
class NodeSerializer(Serializer):
    """A node reference; an empty parameter of the same name tells "None" from "not there"."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)

    @staticmethod
    def create(type_):
        return ValidatedSerializer(NodeSerializer(), [IsInstance(type_)])

    def default(self):
        return None

    def isIn(self, parameterNode, name):
        return bool(parameterNode.HasParameter(name))

    def write(self, parameterNode, name, value):
        parameterNode.SetParameter(name, "")
        parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, parameterNode, name):
        return parameterNode.GetNodeReference(name)

    def remove(self, parameterNode, name):
        parameterNode.UnsetParameter(name)
        parameterNode.RemoveNodeReferenceIDs(name)

    def supportsCaching(self):
        return True


class ObservedList(collections.abc.MutableSequence):
    """A list whose every change is written to the parameter node."""

    def __init__(self, parameterNode, serializer, name, values):
        self._parameterNode = parameterNode
        self._serializer = serializer
        self._name = name
        self._list = values

    def _save(self):
        try:
            self._serializer.write(self._parameterNode, self._name, self._list)
        finally:
            # Reading back makes nested lists and packs observed, too.
            self._list = self._serializer.read(self._parameterNode, self._name)._list

    def __len__(self):
        return len(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def __setitem__(self, index, item):
        self._list[index] = item
        self._save()

    def __delitem__(self, index):
        del self._list[index]
        self._save()

    def insert(self, index, item):
        self._list.insert(index, item)
        self._save()

    def extend(self, other):
        self._list.extend(other)
        self._save()

    def clear(self):
        self._list.clear()
        self._save()

    def sort(self, *args, **kwargs):
        self._list.sort(*args, **kwargs)
        self._save()

    def __eq__(self, other):
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    def __repr__(self):
        return f"ObservedList({self._list})"


@parameterNodeSerializer
class ListSerializer(Serializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is list or typing.get_origin(type_) is list

    @staticmethod
    def create(type_):
        arguments = typing.get_args(type_) or (typing.Any,)
        return ListSerializer(createSerializerFromAnnotatedType(arguments[0]))

    def __init__(self, elementTypeSerializer):
        self._element = elementTypeSerializer
        self._length = NumberSerializer(int)

    def default(self):
        return []

    def isIn(self, parameterNode, name):
        return self._length.isIn(parameterNode, f"{name}.len")

    def write(self, parameterNode, name, value):
        with slicer.util.NodeModify(parameterNode):
            wasIn = self.isIn(parameterNode, name)
            before = list(self.read(parameterNode, name)) if wasIn else None
            try:
                self._writeAll(parameterNode, name, value)
            except Exception:
                self.remove(parameterNode, name)
                if before is not None:
                    self._writeAll(parameterNode, name, before)
                raise

    def _writeAll(self, parameterNode, name, values):
        lengthBefore = self._lengthOf(parameterNode, name)
        for index, value in enumerate(values):
            self._element.write(parameterNode, f"{name}.{index}", value)
        for index in range(len(values), lengthBefore):
            self._element.remove(parameterNode, f"{name}.{index}")
        self._length.write(parameterNode, f"{name}.len", len(values))

    def _lengthOf(self, parameterNode, name) -> int:
        if not self.isIn(parameterNode, name):
            return 0
        return self._length.read(parameterNode, f"{name}.len")

    def read(self, parameterNode, name):
        indices = range(self._lengthOf(parameterNode, name))
        values = [self._element.read(parameterNode, f"{name}.{index}") for index in indices]
        return ObservedList(parameterNode, self, name, values)

    def remove(self, parameterNode, name):
        with slicer.util.NodeModify(parameterNode):
            for index in range(self._lengthOf(parameterNode, name)):
                self._element.remove(parameterNode, f"{name}.{index}")
            self._length.remove(parameterNode, f"{name}.len")

    def supportsCaching(self):
        return self._element.supportsCaching()


@parameterNodeSerializer
class TupleSerializer(Serializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is tuple

    @staticmethod
    def create(type_):
        arguments = typing.get_args(type_)
        if not arguments:
            raise TypeError("A tuple needs the types of its members")
        return TupleSerializer([createSerializerFromAnnotatedType(arg) for arg in arguments])

    def __init__(self, serializers):
        self._serializers = serializers

    def default(self):
        return tuple(serializer.default() for serializer in self._serializers)

    def isIn(self, parameterNode, name):
        return self._serializers[0].isIn(parameterNode, f"{name}.0")

    def write(self, parameterNode, name, value):
        values = tuple(value)
        if len(values) != len(self._serializers):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(parameterNode):
            for index, serializer in enumerate(self._serializers):
                serializer.write(parameterNode, f"{name}.{index}", values[index])

    def read(self, parameterNode, name):
        return tuple(
            serializer.read(parameterNode, f"{name}.{index}")
            for index, serializer in enumerate(self._serializers)
        )

    def remove(self, parameterNode, name):
        with slicer.util.NodeModify(parameterNode):
            for index, serializer in enumerate(self._serializers):
                serializer.remove(parameterNode, f"{name}.{index}")

    def supportsCaching(self):
        return all(serializer.supportsCaching() for serializer in self._serializers)


class ObservedDict(collections.abc.MutableMapping):
    """A dictionary whose every change is written to the parameter node."""

    def __init__(self, parameterNode, serializer, name, values):
        self._parameterNode = parameterNode
        self._serializer = serializer
        self._name = name
        self._dict = values

    def _save(self):
        try:
            self._serializer.write(self._parameterNode, self._name, self._dict)
        finally:
            self._dict = self._serializer.read(self._parameterNode, self._name)._dict

    def __getitem__(self, key):
        return self._dict[key]

    def __setitem__(self, key, value):
        self._dict[key] = value
        self._save()

    def __delitem__(self, key):
        del self._dict[key]
        self._save()

    def __iter__(self):
        return iter(self._dict)

    def __len__(self):
        return len(self._dict)

    def __eq__(self, other):
        return self._dict == (other._dict if isinstance(other, ObservedDict) else other)

    def __repr__(self):
        return f"ObservedDict({self._dict})"


@parameterNodeSerializer
class DictSerializer(Serializer):
    """A dictionary as a list of (key, value), so that its order stays."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is dict or typing.get_origin(type_) is dict

    @staticmethod
    def create(type_):
        key, value = typing.get_args(type_) or (typing.Any, typing.Any)
        return DictSerializer(
            createSerializerFromAnnotatedType(key), createSerializerFromAnnotatedType(value)
        )

    def __init__(self, keySerializer, valueSerializer):
        self._items = ListSerializer(TupleSerializer([keySerializer, valueSerializer]))

    def default(self):
        return {}

    def isIn(self, parameterNode, name):
        return self._items.isIn(parameterNode, name)

    def write(self, parameterNode, name, value):
        self._items.write(parameterNode, name, list(value.items()))

    def read(self, parameterNode, name):
        return ObservedDict(parameterNode, self, name, dict(self._items.read(parameterNode, name)))

    def remove(self, parameterNode, name):
        self._items.remove(parameterNode, name)

    def supportsCaching(self):
        return self._items.supportsCaching()


@parameterNodeSerializer
class NoneSerializer(Serializer):
    """The one value None, as it occurs in ``Optional[...]``."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is types.NoneType

    @staticmethod
    def create(type_):
        return ValidatedSerializer(NoneSerializer(), [IsNone()])

    def __init__(self):
        self._flag = BoolSerializer()

    def default(self):
        return None

    def isIn(self, parameterNode, name):
        return self._flag.isIn(parameterNode, name)

    def write(self, parameterNode, name, value):
        self._flag.write(parameterNode, name, True)

    def read(self, parameterNode, name):
        return None

    def remove(self, parameterNode, name):
        self._flag.remove(parameterNode, name)

    def supportsCaching(self):
        return True


@parameterNodeSerializer
class UnionSerializer(Serializer):
    """One of several types; the member's index becomes part of the name."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return isUnion(type_)

    @staticmethod
    def create(type_):
        members = typing.get_args(type_)
        return UnionSerializer([createSerializerFromAnnotatedType(member) for member in members])

    def __init__(self, serializers):
        self._serializers = [ValidatedSerializer(serializer, []) for serializer in serializers]

    def default(self):
        last = self._serializers[-1].serializer
        if len(self._serializers) == 2 and isinstance(last, NoneSerializer):
            return None
        return self._serializers[0].default()

    def _memberFor(self, value):
        error = TypeError(f"Unable to write value '{value}' of type '{type(value)}'")
        for index, member in enumerate(self._serializers):
            if member.serializer.canSerialize(type(value)):
                try:
                    member.validate(value)
                    return index, member
                except (TypeError, ValueError) as refusal:
                    error = refusal
        raise error

    def isIn(self, parameterNode, name):
        return any(
            member.isIn(parameterNode, f"{name}.{index}")
            for index, member in enumerate(self._serializers)
        )

    def write(self, parameterNode, name, value):
        index, member = self._memberFor(value)
        with slicer.util.NodeModify(parameterNode):
            self.remove(parameterNode, name)
            member.write(parameterNode, f"{name}.{index}", value)

    def read(self, parameterNode, name):
        for index, member in enumerate(self._serializers):
            if member.isIn(parameterNode, f"{name}.{index}"):
                return member.read(parameterNode, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, parameterNode, name):
        with slicer.util.NodeModify(parameterNode):
            for index, member in enumerate(self._serializers):
                member.remove(parameterNode, f"{name}.{index}")

    def supportsCaching(self):
        return all(member.supportsCaching() for member in self._serializers)


@parameterNodeSerializer
class AnySerializer(Serializer):
    """``typing.Any``: the value's type is written beside it."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is typing.Any

    @staticmethod
    def create(type_):
        return AnySerializer()

    def __init__(self):
        self._type = TupleSerializer([StringSerializer(), StringSerializer()])

    def default(self):
        return None

    def isIn(self, parameterNode, name):
        return self._type.isIn(parameterNode, f"{name}.type")

    def write(self, parameterNode, name, value):
        self.remove(parameterNode, name)
        serializer = createSerializerFromAnnotatedType(type(value))
        serializer.write(parameterNode, f"{name}.value", value)
        self._type.write(
            parameterNode, f"{name}.type", (type(value).__module__, type(value).__name__)
        )

    def _valueSerializer(self, parameterNode, name):
        module, class_ = self._type.read(parameterNode, f"{name}.type")
        if class_ == "NoneType":
            return createSerializerFromAnnotatedType(types.NoneType)
        return createSerializerFromAnnotatedType(getattr(importlib.import_module(module), class_))

    def read(self, parameterNode, name):
        return self._valueSerializer(parameterNode, name).read(parameterNode, f"{name}.value")

    def remove(self, parameterNode, name):
        if self.isIn(parameterNode, name):
            serializer = self._valueSerializer(parameterNode, name)
            serializer.remove(parameterNode, f"{name}.value")
            self._type.remove(parameterNode, f"{name}.type")
