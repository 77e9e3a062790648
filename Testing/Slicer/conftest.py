# SPDX-License-Identifier: Apache-2.0
"""Modules, logics and widgets are tested in the host."""

import functools
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from slicerhost.fixtures import *  # noqa: F403

OPENING = """
import sys, time
import slicerhost
slicerhost.start()
began = time.process_time()
slicerhost.load_module(sys.argv[1])
print(time.process_time() - began)
print(*sorted({name.split(".")[0] for name in sys.modules}))
slicerhost.stop()
"""


@pytest.fixture
def open_alone():
    """Open a module in processes of its own: seconds of the processor, and what was imported.

    The least of three counts, because the other tests that run beside it only add to it.
    """
    def opened(name: str) -> tuple[float, set[str]]:
        seconds, modules = [], set()
        for _ in range(3):
            done = subprocess.run([sys.executable, "-c", OPENING, name], capture_output=True,
                                  text=True, check=True)
            spent, imported = done.stdout.splitlines()[-2:]
            seconds.append(float(spent))
            modules |= set(imported.split())
        return min(seconds), modules

    return opened


SLICERS_OWN = ("numpy", "scipy", "SimpleITK", "pydicom", "pillow", "vtk", "requests", "packaging",
               "setuptools", "pip")
"""Packages that Slicer brings, as far as we count on them."""


@pytest.fixture(scope="session")
def hidden_packages(tmp_path_factory) -> Path:
    """A file that a process looks into which one test has started and the next one uses."""
    return tmp_path_factory.mktemp("packages") / "hidden.json"


@pytest.fixture(autouse=True)
def only_what_was_asked_for(request, monkeypatch, hidden_packages):
    """A panel's computations find what Slicer brings and what the panel asked to install.

    Everything is installed here, so that a package which a panel forgot to ask for would be missed
    on a clinician's computer alone.
    """
    if "slicer_scene" not in request.fixturenames:
        return
    request.getfixturevalue("slicer_scene")
    from ReadingRoomSlicerLib import dependencies, jobs

    def hide(deepLearning=True, further=()):
        hidden_packages.write_text(
            json.dumps(_not_among(_requirements(deepLearning, tuple(further)))), "utf-8")

    def ensure(requester, deepLearning=True, further=()):
        hide(deepLearning, further)  # a process that waits for work has been started before
        return ensured(requester, deepLearning, further)

    def environment(library):
        own = surroundings(library)
        own.insert("READINGROOM_TEST_HIDDEN", str(hidden_packages))
        own.insert("PYTHONPATH", os.pathsep.join(
            [own.value("PYTHONPATH"), str(Path(__file__).parent / "HiddenPackages")]))
        return own

    hide()
    ensured, surroundings = dependencies.ensureDependencies, jobs.environment
    monkeypatch.setattr(dependencies, "ensureDependencies", ensure)
    monkeypatch.setattr(jobs, "environment", environment)


def _requirements(deepLearning, further) -> tuple[str, ...]:
    """What a panel's computations may import, each with what it needs itself."""
    import slicer.packaging

    from ReadingRoomSlicerLib import dependencies
    from ReadingRoomSlicerLib.resources import resourcePath

    core = map(str, slicer.packaging.load_requirements(resourcePath("requirements.txt")))
    return tuple(text for text in (dependencies.TORCH, *core, *further, *SLICERS_OWN)
                 if deepLearning or Requirement(text).name not in dependencies.DEEP_LEARNING)


@functools.cache
def _not_among(requirements: tuple[str, ...]) -> list[str]:
    """Importable names of what is installed and belongs to no requirement."""
    allowed, left = set(), [Requirement(text) for text in requirements]
    while left:
        name = canonicalize_name(left.pop().name)
        if name in allowed:
            continue
        allowed.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        left += [one for one in map(Requirement, needs)
                 if one.marker is None or one.marker.evaluate({"extra": ""})]
    return sorted(
        package for package, owners in importlib.metadata.packages_distributions().items()
        if not allowed & set(map(canonicalize_name, owners)) and "readingroom" not in owners)
