# SPDX-License-Identifier: Apache-2.0
"""Annotations that a parameter's value must fulfil, and its default."""

import abc
import dataclasses


class Default:
    """The value a parameter has at first; a generator is called anew each time."""

    def __init__(self, value=None, *, generator=None):
        self._value = value
        self._generator = generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value

    def __repr__(self):
        return f"Default(value={self._value}, generator={self._generator})"

    def __eq__(self, other):
        if not isinstance(other, Default):
            return False
        return (self._value, self._generator) == (other._value, other._generator)


class Validator(abc.ABC):
    """Base of all validators."""

    @abc.abstractmethod
    def validate(self, value) -> None:
        """Raises ValueError or TypeError if the value is not allowed."""


class NotNone(Validator):
    def validate(self, value) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsNone(Validator):
    def validate(self, value) -> None:
        if value is not None:
            raise ValueError("Value must be None")


class IsInstance(Validator):
    """None passes; NotNone forbids it."""

    def __init__(self, classtype):
        self.classtype = classtype

    def validate(self, value) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type '{self.classtype}', is {value!r}")


@dataclasses.dataclass
class WithinRange(Validator):
    """Both ends belong to the range."""

    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(
                f"Value must be within range [{self.minimum}, {self.maximum}], is {value}"
            )


@dataclasses.dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclasses.dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclasses.dataclass
class Choice(Validator):
    choices: list

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


@dataclasses.dataclass
class Exclude(Validator):
    excludedValues: list

    def validate(self, value) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must be none of {self.excludedValues}")


@dataclasses.dataclass
class RangeBounds(Validator):
    """Both ends of a FloatRange lie within the bounds."""

    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if value.minimum < self.minimum or value.maximum > self.maximum:
            raise ValueError(
                f"Range must be within [{self.minimum}, {self.maximum}], "
                f"is [{value.minimum}, {value.maximum}]"
            )


def extractValidators(annotations):
    """(validators, all other annotations)."""
    validators = [item for item in annotations if isinstance(item, Validator)]
    return validators, [item for item in annotations if not isinstance(item, Validator)]


def extractDefault(annotations):
    """(the one Default or None, all other annotations)."""
    defaults = [item for item in annotations if isinstance(item, Default)]
    if len(defaults) > 1:
        raise ValueError("Multiple defaults found")
    rest = [item for item in annotations if not isinstance(item, Default)]
    return (defaults[0] if defaults else None), rest
