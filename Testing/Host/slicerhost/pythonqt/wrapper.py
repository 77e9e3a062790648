# SPDX-License-Identifier: Apache-2.0
"""The wrapper around a PySide6 object, and the wrapper classes, as PythonQt makes them.

A wrapper class knows the PySide6 class it stands for (its *native* class) and what was recorded of
the desktop's class. A ``Member`` says what a name means there, worked out once per class; reading,
writing and calling follow from it in PythonQt's order: Python attributes of a subclass, then
property, method, signal and enum, then dynamic property, then child by object name.
"""

from __future__ import annotations

import enum
import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from PySide6 import QtCore
from shiboken6 import Shiboken

from . import calls, enums, properties, qtclasses, surface, text
from .signals import Signal, signal_names

# Operators that PythonQt passes on where the C++ class has them.
OPERATORS = (
    "add", "sub", "mul", "truediv", "and", "or", "xor", "mod", "lshift", "rshift", "invert", "neg",
    "getitem", "setitem", "len", "lt", "le", "gt", "ge",
)  # fmt: skip

_class_of_native: dict[type, PythonQtClassWrapper] = {}


class Member:
    """What one name means on one class, and what stands for it."""

    def on_class(self, cls: PythonQtClassWrapper) -> Any:
        """The attribute of the class."""
        raise AttributeError

    def on_object(self, wrapper: PythonQtInstanceWrapper) -> Any:
        """The attribute of the object."""
        return self.on_class(type(wrapper))


class PropertyMember(Member):
    kind = "Property"

    def __init__(self, name: str):
        self.name = name

    def on_class(self, cls):
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{self.name}'")

    def on_object(self, wrapper):
        return wrap(properties.read(native_of(wrapper), self.name, type(wrapper)._recorded.name))


class SlotMember(Member):
    kind = "Slot"

    def __init__(self, name: str, function: Callable, is_static: bool):
        self.name = name
        self.function = function
        self.is_static = is_static

    def on_class(self, cls):
        return Slot(self, cls, None)

    def on_object(self, wrapper):
        return Slot(self, type(wrapper), wrapper)


class SignalMember(Member):
    kind = "Signal"

    def __init__(self, name: str):
        self.name = name

    def on_class(self, cls):
        return Signal.bound(self.name, cls)

    def on_object(self, wrapper):
        return Signal.bound(self.name, wrapper)


class EnumMember(Member):
    """An enum (``kind`` "Enum") or a value of one (``kind`` "EnumValue")."""

    def __init__(self, kind: str, value: Any):
        self.kind = kind
        self.value = value

    def on_class(self, cls):
        return self.value


class AbsentMember(Member):
    kind = "Slot"

    def __init__(self, name: str):
        self.name = name

    def on_class(self, cls):
        raise AttributeError(
            f"'{self.name}' of {cls._recorded.name} exists on the desktop, "
            "but this host does not offer it"
        )


class Slot:
    """A method of a class or of an object, called with what PythonQt accepts."""

    def __init__(self, member: SlotMember, cls: PythonQtClassWrapper, wrapper: Any):
        self._member = member
        self._class = cls
        self.__name__ = member.name
        self.__self__ = wrapper

    def __call__(self, *args, **kwargs):
        title = f"{self._class._recorded.name}.{self.__name__}"
        if kwargs:
            raise ValueError(
                f"Called {title} with keyword arguments, but called slot does not support kwargs."
            )
        if self.__self__ is not None and not self._member.is_static:
            if not Shiboken.isValid(native_of(self.__self__)):
                raise ValueError(
                    f"Trying to call '{self.__name__}' on a destroyed "
                    f"{self._class._recorded.name} object"
                )
            args = (self.__self__, *args)
        return self._member.function(title, *args)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Slot):
            return NotImplemented
        return self.__self__ is other.__self__ and self._member is other._member

    def __hash__(self) -> int:
        return hash((id(self.__self__), id(self._member)))

    def __repr__(self) -> str:
        kind = self._class.__name__
        if self.__self__ is None:
            return f"<unbound qt slot {self.__name__} of {kind} type>"
        return f"<qt slot {self.__name__} of {kind} instance at 0x{id(self.__self__):x}>"


class PythonQtClassWrapper(type):
    """Metaclass of the classes in ``qt`` and ``ctk`` and of those registered beside them."""

    _native_class: type
    _recorded: surface.RecordedClass

    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        cls._members: dict[str, Member | None] = {}
        if "_native_class" not in namespace:  # a Python class derived from a Qt class
            cls._native_class = _derived_native(cls, namespace)

    def __getattr__(cls, name: str) -> Any:
        member = find_member(cls, name)
        if member is None:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        return member.on_class(cls)

    def __dir__(cls) -> list[str]:
        return sorted({*super().__dir__(), *cls._recorded.names})


class PythonQtInstanceWrapper(metaclass=PythonQtClassWrapper):
    """What a module holds in its hands instead of the Qt object."""

    _native_class: ClassVar[type] = Shiboken.Object
    _recorded: ClassVar[surface.RecordedClass] = surface.RecordedClass(
        "PythonQtInstanceWrapper", frozenset(), frozenset(), False
    )

    def __init__(self, *args, **kwargs):
        cls = type(self)
        if kwargs:
            raise ValueError(f"Called {cls.__name__} with keyword arguments")
        arguments = [unwrap(argument) for argument in args]
        _attach(self, calls.call(cls._recorded.name, cls._native_class, arguments))

    def __getattr__(self, name: str) -> Any:
        if name == "_pythonqt_native":
            raise AttributeError(f"{type(self).__name__}.__init__ of the base class was not called")
        member = find_member(type(self), name)
        if member is not None:
            return member.on_object(self)
        native = native_of(self)
        if isinstance(native, QtCore.QObject) and Shiboken.isValid(native):
            if name in properties.dynamic_names(native):
                return wrap(native.property(name))
            for child in native.children():
                if child.objectName() == name:
                    return wrap(child)
        raise AttributeError(f"{type(self)._recorded.name} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        member = find_member(cls, name)
        if isinstance(member, PropertyMember):
            properties.write(native_of(self), member.name, unwrap(value), cls.__name__)
        elif member is not None:
            raise AttributeError(
                f"{member.kind} '{name}' can not be overwritten on {cls.__name__} object"
            )
        elif not is_derived(cls):
            native = native_of(self)
            if name not in properties.dynamic_names(native):
                raise AttributeError(
                    f"'{name}' does not exist on {cls.__name__} and creating new attributes "
                    "on C++ objects is not allowed"
                )
            native.setProperty(name, unwrap(value))
        else:
            object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *type(self)._recorded.names})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PythonQtInstanceWrapper):
            return NotImplemented
        mine, theirs = native_of(self), native_of(other)
        return mine is theirs or (not isinstance(mine, QtCore.QObject) and mine == theirs)

    def __hash__(self) -> int:
        return hash(id(native_of(self)))

    def __bool__(self) -> bool:
        return Shiboken.isValid(native_of(self))

    def __str__(self) -> str:
        return text.describe(native_of(self), type(self).__name__)

    def __repr__(self) -> str:
        return text.represent(native_of(self), type(self).__name__)

    def className(self) -> str:
        """The name of the C++ class."""
        return type(self)._recorded.name

    def inherits(self, name: str) -> bool:
        """Whether the C++ class is, or derives from, the named one."""
        classes = (cls for cls in type(self).__mro__ if isinstance(cls, PythonQtClassWrapper))
        return name in {cls._recorded.name for cls in classes}

    def help(self) -> None:
        """Print what the class has."""
        print("\n".join(sorted(type(self)._recorded.names)))

    def delete(self) -> None:
        """Destroy the C++ object now."""
        Shiboken.delete(native_of(self))


def native_of(wrapper: PythonQtInstanceWrapper) -> Any:
    """The PySide6 object of a wrapper."""
    return wrapper._pythonqt_native


def is_derived(cls: PythonQtClassWrapper) -> bool:
    """Whether a Python class derives from a Qt class, rather than standing for one."""
    return "_recorded" not in vars(cls)


def _attach(wrapper: PythonQtInstanceWrapper, native: Any) -> None:
    """Tie a wrapper and its native to each other.

    The native of a Python subclass keeps its wrapper alive, because Python attributes live there;
    any other wrapper is made anew when it is needed again.
    """
    object.__setattr__(wrapper, "_pythonqt_native", native)
    derived = is_derived(type(wrapper))
    native.__dict__["_pythonqt_wrapper"] = (lambda: wrapper) if derived else weakref.ref(wrapper)


def wrap(value: Any) -> Any:
    """PySide6 value -> what PythonQt gives for it."""
    if isinstance(value, Shiboken.Object):
        wrapper = value.__dict__.get("_pythonqt_wrapper", lambda: None)()
        if wrapper is None:
            cls = class_of(type(value))
            wrapper = cls.__new__(cls)
            _attach(wrapper, value)
        return wrapper
    if isinstance(value, enum.Enum) and isinstance(value.value, int):
        return enums.to_python(value)
    if type(value) in (list, tuple):
        return tuple(wrap(item) for item in value)
    if type(value) is dict:
        return {key: wrap(item) for key, item in value.items()}
    return value


def unwrap(value: Any) -> Any:
    """What a module hands over -> PySide6 value."""
    if isinstance(value, PythonQtInstanceWrapper):
        return native_of(value)
    if isinstance(value, PythonQtClassWrapper):
        return value._native_class
    if isinstance(value, enums.EnumValue):
        return enums.to_native(value, type(value)._native_enum)
    if type(value) in (list, tuple):
        return [unwrap(item) for item in value]
    if type(value) is dict:
        return {key: unwrap(item) for key, item in value.items()}
    return value


def class_of(native: type) -> PythonQtClassWrapper:
    """The wrapper class of a native class, or of its nearest base that the desktop has."""
    cls = _nearest_class(native.__mro__)
    if cls is PythonQtInstanceWrapper:
        raise AttributeError(f"the desktop's Qt classes, as recorded, hold no {native.__name__}")
    return cls


def _nearest_class(natives: tuple[type, ...]) -> PythonQtClassWrapper:
    for native in natives:
        if native in _class_of_native:
            return _class_of_native[native]
        if qtclasses.find(native.__name__) is native and surface.has(native.__name__):
            return make_class(native.__name__, native)
    return PythonQtInstanceWrapper


def make_class(name: str, native: type) -> PythonQtClassWrapper:
    """The wrapper class that stands for a native class under the desktop's name for it.

    Args:
        name: the desktop's class name, for example ``ctkSliderWidget``.
        native: a PySide6 class, or one derived from it.

    Raises:
        AttributeError: the desktop has no class of that name.
    """
    if native not in _class_of_native:
        base = _nearest_class(native.__mro__[1:])
        namespace = {"_native_class": native, "_recorded": surface.find(name)}
        namespace["__module__"] = "PythonQt"
        for dunder in (f"__{operator}__" for operator in OPERATORS):
            if getattr(native, dunder, None) is not getattr(object, dunder, None):
                namespace[dunder] = _operator(dunder)
        _class_of_native[native] = PythonQtClassWrapper(name, (base,), namespace)
    return _class_of_native[native]


def _operator(dunder: str) -> Callable:
    def operate(self, *operands):
        function = getattr(native_of(self), dunder)
        return wrap(function(*[unwrap(operand) for operand in operands]))

    return operate


def find_member(cls: PythonQtClassWrapper, name: str) -> Member | None:
    """What a name means on a class; None where the desktop's class has no such name."""
    if name not in cls._members:
        cls._members[name] = _make_member(cls, name)
    return cls._members[name]


def _make_member(cls: PythonQtClassWrapper, name: str) -> Member | None:
    recorded, native = cls._recorded, cls._native_class
    if name in _own_signals(cls):
        return SignalMember(name)
    if name not in recorded.names:
        return _alias(cls, name)
    known = qtclasses.properties(native)
    if name in known and (name in recorded.properties or not recorded.told):
        return PropertyMember(name)
    manner = next((found for base in native.__mro__ if (found := manners.get((base, name)))), None)
    if manner is not None:
        return SlotMember(name, lambda title, *args: manner(*args), manner.is_static)
    if name in signal_names(native):
        return SignalMember(name)
    values = enums.members(native)
    if name in values:
        return EnumMember("EnumValue", enums.to_python(values[name]))
    return _plain_member(native, name)


def _alias(cls: PythonQtClassWrapper, name: str) -> Member | None:
    """Names that PythonQt takes for others: ``name`` for objectName, ``exec_`` for exec."""
    if name == "name" and "objectName" in cls._recorded.properties:
        return find_member(cls, "objectName")
    if len(name) > 2 and name[-1] == "_" != name[-2]:
        member = find_member(cls, name[:-1])
        return member if isinstance(member, (SlotMember, SignalMember)) else None
    return None


def _plain_member(native: type, name: str) -> Member:
    """A method or an enum that PySide6 has under the same name, or with Python's underscore."""
    for spelled in (name, f"{name}_", name.rstrip("_")):
        found = getattr(native, spelled, None)
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return EnumMember("Enum", enums.enum_type(found))
        if callable(found):
            is_static = isinstance(inspect.getattr_static(native, spelled), staticmethod)
            return SlotMember(name, functools.partial(_call_native, found), is_static)
    return AbsentMember(name)


def _call_native(function: Callable, title: str, *args) -> Any:
    return wrap(calls.call(title, function, [unwrap(argument) for argument in args]))


def _own_signals(cls: PythonQtClassWrapper) -> frozenset[str]:
    """Signals that Python classes derived from a Qt class declare."""
    return cls._native_class.__dict__.get("_pythonqt_signals", frozenset())


def _derived_native(cls: PythonQtClassWrapper, namespace: dict[str, Any]) -> type:
    """The PySide6 class behind a Python subclass: calls the Python methods that override Qt's."""
    base = next(b for b in cls.__mro__[1:] if isinstance(b, PythonQtClassWrapper))._native_class
    body: dict[str, Any] = {
        name: _override(base, name)
        for name, value in namespace.items()
        if inspect.isfunction(value) and callable(getattr(base, name, None)) and name[:2] != "__"
    }
    signals = {name: value for name, value in namespace.items() if isinstance(value, Signal)}
    for name, declared in signals.items():
        body[name] = QtCore.Signal(*[_signal_type(kind) for kind in declared.argument_types])
        type.__delattr__(cls, name)
    body["_pythonqt_signals"] = frozenset(signals) | _inherited_signals(base)
    derived = type(base)(cls.__name__, (base,), body)
    _class_of_native[derived] = cls
    return derived


def _inherited_signals(base: type) -> frozenset[str]:
    return getattr(base, "_pythonqt_signals", frozenset())


def _signal_type(kind: Any) -> Any:
    return object if isinstance(kind, PythonQtClassWrapper) else kind


def _override(base: type, name: str) -> Callable:
    """Hands a virtual call of Qt over to the Python subclass."""

    def override(native, *args):
        wrapper = native.__dict__.get("_pythonqt_wrapper", lambda: None)()
        if wrapper is None:  # Qt calls while the object is being made
            return getattr(base, name)(native, *args)
        return unwrap(getattr(wrapper, name)(*[wrap(argument) for argument in args]))

    return override


# (native class, member) -> function(wrapper, *arguments); see manners.py.
manners: dict[tuple[type, str], Callable] = {}
