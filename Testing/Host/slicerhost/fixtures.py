# SPDX-License-Identifier: Apache-2.0
"""pytest plugin: the host for a test run, an empty scene and open panels for a test.

A ``conftest.py`` takes it in with ``from slicerhost.fixtures import *``.
"""

from __future__ import annotations

import pytest

import slicerhost
from slicerhost import libraries

__all__ = ["module_widget", "slicer_host", "slicer_pictures", "slicer_scene"]


@pytest.fixture(scope="session")
def slicer_host():
    """The running host; a test that needs it is skipped where Qt's widgets cannot be loaded."""
    if libraries.panel_problem():
        pytest.skip(libraries.panel_problem())
    slicerhost.start()
    yield slicerhost
    slicerhost.stop()


@pytest.fixture
def slicer_scene(slicer_host):
    """The scene, empty; modules that the test loads are unloaded after it."""
    slicer_host.clear()
    import slicer

    yield slicer.mrmlScene
    slicer_host.unload_modules()
    slicer_host.clear()


@pytest.fixture
def module_widget(slicer_scene):
    """``module_widget("MuscleSeg")`` loads a module, opens its panel and returns its widget."""
    return slicerhost.load_module


@pytest.fixture
def slicer_pictures(slicer_scene):
    """``slicerhost.views``; a test that draws is skipped where no OpenGL library can be loaded."""
    if libraries.picture_problem():
        pytest.skip(libraries.picture_problem())
    from slicerhost import views

    return views
