# SPDX-License-Identifier: Apache-2.0
"""``slicer.packaging``: installing Python packages with the interpreter's own pip."""

from __future__ import annotations

import importlib.metadata
import logging
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import slicer
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_installing = False


def load_requirements(path: str | Path) -> list[Requirement]:
    """Requirements of a requirements.txt; comments, blank lines and pip options are left out."""
    requirements = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        line = line.split(" #")[0].strip()
        if line and not line.startswith(("#", "-")):
            requirements.append(Requirement(line))
    return requirements


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """Requirements in ``project.dependencies`` of a pyproject.toml."""
    with open(path, "rb") as file:
        project = tomllib.load(file).get("project", {})
    return [Requirement(text) for text in project.get("dependencies", [])]


def pip_check(
    req: str | Requirement | list[str | Requirement],
    _seen: set[tuple[str, frozenset[str]]] | None = None,
) -> bool:
    """Whether requirements, and those of the extras they name, are installed."""
    seen = set() if _seen is None else _seen
    return all(_is_satisfied(requirement, seen) for requirement in _to_requirements(req))


def _is_satisfied(requirement, seen) -> bool:
    if requirement.marker and not requirement.marker.evaluate():
        return True
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if key in seen:
        return True
    seen.add(key)
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return False
    return all(_is_satisfied(needed, seen) for needed in _of_extras(distribution, requirement))


def _of_extras(distribution, requirement):
    """What the extras of a requirement need beyond the plain distribution."""
    for text in distribution.requires or ():
        needed = Requirement(text)
        if any(needed.marker and needed.marker.evaluate({"extra": e}) for e in requirement.extras):
            needed.marker = None
            yield needed


def isPipInstallInProgress() -> bool:
    """Whether pip runs now."""
    return _installing


def pip_ensure(
    requirements: str | Requirement | list[str | Requirement],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Installs what is missing of the requirements, after asking the user.

    RuntimeError if the user declines; CalledProcessError if pip fails. In testing mode nothing is
    installed unless ``skip_in_testing`` is False.
    """
    missing = [req for req in _to_requirements(requirements) if not pip_check(req)]
    if not missing:
        return None
    names = [str(req) for req in missing]
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("Testing mode is enabled: skipping pip_ensure for %s", names)
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        text = f"{len(names)} Python package(s) need to be installed. Continue?"
        if not slicer.util.confirmOkCancelDisplay(text, title, detailedText="\n".join(names)):
            raise RuntimeError("User declined package installation")
    return pip_install(
        names,
        constraints=constraints,
        skip_packages=skip_packages,
        show_progress=show_progress,
        requester=requester,
    )


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Installs packages with pip; RuntimeError if pip already runs, CalledProcessError if it fails.

    Leaving packages out (``skip_packages``) is not offered here: NotImplementedError.
    """
    global _installing
    if skip_packages:
        raise NotImplementedError("this host installs packages with all they need")
    if _installing:
        raise RuntimeError("Another pip install is in progress")
    options = ["-c", str(constraints)] if constraints else []
    runs = [["install", *_arguments(requirements), *options]]
    if no_deps_requirements:
        runs.append(["install", "--no-deps", *_arguments(no_deps_requirements)])
    _installing = True
    try:
        for arguments in runs:
            slicer.util.executePythonModule("pip", arguments, True, logCallback)
    finally:
        _installing = False
    importlib.invalidate_caches()
    if completedCallback:
        completedCallback(0)
    return None


def pip_uninstall(requirements, **kwargs) -> None:
    """Uninstalls packages with pip."""
    slicer.util.executePythonModule("pip", ["uninstall", *_arguments(requirements), "--yes"])


def _arguments(requirements: str | list[str]) -> list[str]:
    if isinstance(requirements, str):
        return shlex.split(requirements)
    return [str(requirement) for requirement in requirements]


def _to_requirements(requirements) -> list[Requirement]:
    if isinstance(requirements, Requirement):
        return [requirements]
    if isinstance(requirements, str):
        try:
            return [Requirement(requirements)]
        except InvalidRequirement:
            requirements = shlex.split(requirements)
    return [item if isinstance(item, Requirement) else Requirement(item) for item in requirements]
