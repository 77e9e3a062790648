# SPDX-License-Identifier: Apache-2.0
"""Observing VTK objects from Qt widgets without either keeping the other alive."""

from __future__ import annotations

import weakref

from shiboken6 import Shiboken


class Observations:
    """The VTK observers of one widget; ``release`` ends them all.

    They end with the widget's Python object. Where Qt has deleted the widget before, they end at
    the next event. (Qt's own ``destroyed`` signal comes too late to call into Python safely.)
    """

    def __init__(self, widget):
        self._tags = []
        weakref.finalize(widget, _remove, self._tags)

    def add(self, observed, event, method) -> None:
        """Calls a bound method of the widget at each event; it gets no arguments."""
        reference = weakref.WeakMethod(method)
        tags = self._tags

        def call(*_):
            target = reference()
            if target is None or not Shiboken.isValid(target.__self__):
                _remove(tags)
            else:
                target()

        self._tags.append((observed, observed.AddObserver(event, call)))

    def release(self) -> None:
        _remove(self._tags)


def _remove(tags: list) -> None:
    for observed, tag in tags:
        observed.RemoveObserver(tag)
    tags.clear()
