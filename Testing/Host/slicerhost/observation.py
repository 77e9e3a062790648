# SPDX-License-Identifier: Apache-2.0
"""Observing VTK objects from Qt widgets without either keeping the other alive."""

from __future__ import annotations

import weakref


class Observations:
    """The VTK observers of one owner; ``release`` ends them all.

    A QWidget can be deleted by Qt while its Python object lives on, so a widget connects its
    ``destroyed`` signal to ``release``.
    """

    def __init__(self):
        self._tags = []

    def add(self, observed, event, method) -> None:
        """Calls a bound method at each event; it gets no arguments."""
        reference = weakref.WeakMethod(method)

        def call(*_):
            target = reference()
            if target is not None:
                target()

        self._tags.append((observed, observed.AddObserver(event, call)))

    def release(self, *_) -> None:
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags.clear()
