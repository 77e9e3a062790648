# SPDX-License-Identifier: Apache-2.0
"""The application settings that all modules of the extension share."""

import contextlib
import enum
import os

import qt
from slicer.i18n import tr as _

MODEL_FOLDER = "ReadingRoom/ModelFolder"
DEVICE = "ReadingRoom/Device"
WHEEL_FOLDER = "ReadingRoom/WheelFolder"


class Device(enum.Enum):
    """Where to compute; the value is that of the command line's ``--device``."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """Name in menus."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CPU: _("Processor (CPU)"),
            Device.CUDA: _("NVIDIA graphics card (CUDA)"),
            Device.MPS: _("Apple graphics (MPS)"),
        }[self]


def modelFolder() -> str:
    """Folder for downloaded models and sample data; empty for the core's own choice."""
    return _text(MODEL_FOLDER)


@contextlib.contextmanager
def modelFolderInUse():
    """Let the core look for models in here where the computations put them."""
    before = os.environ.get("READINGROOM_CACHE")
    if modelFolder():
        os.environ["READINGROOM_CACHE"] = modelFolder()
    try:
        yield
    finally:
        if before is not None:
            os.environ["READINGROOM_CACHE"] = before
        elif modelFolder():
            os.environ.pop("READINGROOM_CACHE", None)


def device() -> Device:
    """Device that a new scene starts with."""
    value = _text(DEVICE)
    return Device(value) if value in {device.value for device in Device} else Device.AUTO


def wheelFolder() -> str:
    """Folder with Python packages for computers without internet; empty where there is none."""
    folder = _text(WHEEL_FOLDER)
    return folder if os.path.isdir(folder) else ""


def _text(key: str) -> str:
    return str(qt.QSettings().value(key, "") or "").strip()
