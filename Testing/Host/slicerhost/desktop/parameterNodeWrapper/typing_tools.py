# SPDX-License-Identifier: Apache-2.0
"""Taking annotated types apart."""

import types
import typing

import slicer


def splitAnnotations(possiblyAnnotatedType):
    """``Annotated[T, a, b]`` -> ``(T, (a, b))``; a plain ``T`` -> ``(T, ())``."""
    if typing.get_origin(possiblyAnnotatedType) is typing.Annotated:
        actual, *annotations = typing.get_args(possiblyAnnotatedType)
        return actual, tuple(annotations)
    return possiblyAnnotatedType, ()


def unannotatedType(possiblyAnnotatedType):
    """The type without its annotations."""
    return splitAnnotations(possiblyAnnotatedType)[0]


def findFirstAnnotation(annotationsList, annotationType):
    """The first annotation of a type, or None."""
    return next((item for item in annotationsList if isinstance(item, annotationType)), None)


def isUnion(type_):
    return typing.get_origin(type_) in (typing.Union, types.UnionType)


def nodeClasses(datatype):
    """MRML node classes of a type or a union of them with None; empty if it is anything else."""
    actual = unannotatedType(datatype)
    members = [unannotatedType(arg) for arg in typing.get_args(actual)] if isUnion(actual) else []
    members = [member for member in members or [actual] if member is not type(None)]
    if all(isinstance(m, type) and issubclass(m, slicer.vtkMRMLNode) for m in members):
        return members
    return []


def isNodeOrUnionOfNodes(datatype) -> bool:
    """True for a MRML node class, and for a union of such classes with or without None."""
    return bool(nodeClasses(datatype))


def getNodeTypes(datatype):
    """MRML class names of a node type or union of node types; TypeError for anything else."""
    classes = nodeClasses(datatype)
    if not classes:
        raise TypeError(f"Cannot handle type {datatype}")
    return tuple(class_().GetClassName() for class_ in classes)


def splitDottedName(name: str):
    """``"x.y.z"`` -> ``("x", "y.z")``, ``"x"`` -> ``("x", None)``."""
    top, dot, rest = name.partition(".")
    return top, rest if dot else None
