# SPDX-License-Identifier: Apache-2.0
"""Installs what the computations need, when they are needed, and leaves Slicer's own packages be.

PyTorch comes through the PyTorch extension, which picks the build that suits the graphics card;
everything else through `slicer.packaging`. A computer without internet installs both from the
folder of the settings.
"""

import contextlib
import importlib.metadata
import os
import pathlib
import re
import tempfile

import slicer
from slicer.i18n import tr as _

from . import settings
from .resources import resourcePath

TORCH = "torch>=2.6"

DEEP_LEARNING = ("torch", "monai", "pytorch-ignite", "safetensors")
"""Packages that only models need."""

KEPT_PACKAGES = ("numpy", "scipy", "SimpleITK", "pydicom", "vtk")
"""Packages that Slicer itself is built with: whatever is installed, their version stays."""


def missingRequirements(deepLearning: bool = True, further=()) -> list:
    """What is not installed or too old, as texts such as ``monai>=1.5``. Looks, imports nothing.

    :param deepLearning: whether a model is to be run.
    :param further: requirements of one task alone.
    """
    import slicer.packaging

    requirements = [TORCH, *map(str, slicer.packaging.load_requirements(
        resourcePath("requirements.txt"))), *further]
    return [text for text in requirements
            if (deepLearning or re.match(r"[\w.-]+", text)[0] not in DEEP_LEARNING)
            and not slicer.packaging.pip_check(text)]


def ensureDependencies(requester: str, deepLearning: bool = True, further=()) -> None:
    """Install what is missing, after asking.

    :param requester: title of the module that asks, for the windows that are shown.
    :param deepLearning: whether a model is to be run; PyTorch is large, and nothing else needs it.
    :param further: requirements of one task alone, such as ``matplotlib>=3.9``.
    :raises RuntimeError: when the user declines, or PyTorch cannot be installed.
    :raises subprocess.CalledProcessError: when the installation fails.
    """
    missing = missingRequirements(deepLearning, further)
    if not missing:
        return
    with _constraintsFile() as constraints, _pipEnvironment(constraints):
        if TORCH in missing and not settings.wheelFolder() and not slicer.app.testingEnabled():
            _installTorch()
            missing.remove(TORCH)
        slicer.packaging.pip_ensure(missing, constraints=constraints, requester=requester)


def _installTorch() -> None:
    if not hasattr(slicer.modules, "pytorchutils"):
        raise RuntimeError(_(
            "PyTorch is needed: please install the extension 'PyTorch' in the Extensions Manager"
            " and restart Slicer."))
    import PyTorchUtils

    installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
        askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch"))
    if installed is None:
        raise RuntimeError(_("PyTorch was not installed, so nothing can be computed."))


def keptVersions() -> list:
    """Constraints that keep Slicer's own packages, such as ``numpy==2.2.6``."""
    kept = []
    for name in KEPT_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            kept.append(f"{name}=={importlib.metadata.version(name)}")
    return kept


@contextlib.contextmanager
def _constraintsFile():
    with tempfile.TemporaryDirectory(prefix="ReadingRoom-") as folder:
        path = os.path.join(folder, "constraints.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(keptVersions()) + "\n")
        yield path


@contextlib.contextmanager
def _pipEnvironment(constraints):
    """Let every pip, that of PyTorchUtils too, keep the constraints and use the wheel folder."""
    # pip splits these variables at spaces; a URL has none.
    wanted = {"PIP_CONSTRAINT": pathlib.Path(constraints).as_uri()}
    if settings.wheelFolder():
        wanted["PIP_NO_INDEX"] = "1"
        wanted["PIP_FIND_LINKS"] = pathlib.Path(settings.wheelFolder()).as_uri()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
