# SPDX-License-Identifier: Apache-2.0
"""System libraries that panels and pictures need, and the Debian packages which hold them.

Neither MRML nor the logics need any of these: without them the host still computes and saves.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import lru_cache

# What Qt's widgets are linked with and the PySide6 wheel does not bring along.
_QT_LIBRARIES = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
}
# VTK looks for an X server, then for EGL (libegl1 with Mesa's software driver), then for OSMesa.
_OPENGL_LIBRARIES = {"libEGL.so.1": "libegl1"}
_PROBE = """
from vtkmodules.vtkRenderingCore import vtkRenderWindow
import vtkmodules.vtkRenderingOpenGL2
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.Render()
raise SystemExit(0 if window.SupportsOpenGL() else 3)
"""


class MissingLibrary(RuntimeError):
    """A system library is missing; the message names the package to install."""


@lru_cache(maxsize=1)
def panel_problem() -> str | None:
    """One sentence if Qt's widgets cannot be loaded, else None."""
    try:
        import PySide6.QtUiTools
        import PySide6.QtWidgets  # noqa: F401
    except ImportError as error:
        return _sentence("Panels", _missing(_QT_LIBRARIES), error)
    return None


@lru_cache(maxsize=1)
def picture_problem() -> str | None:
    """One sentence if VTK cannot draw, else None.

    VTK ends the process when it finds no OpenGL, so another process tries it.
    """
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        # Without a screen VTK need not look for one, and need not warn that there is none.
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        missing = _missing(_OPENGL_LIBRARIES)
        if missing:
            return _sentence("Pictures", missing, "no OpenGL library can be loaded")
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=120
    )
    if probe.returncode == 0:
        return None
    return _sentence("Pictures", ["libegl1", "libgl1-mesa-dri"], "VTK finds no OpenGL driver")


def require_panels() -> None:
    """MissingLibrary if Qt's widgets cannot be loaded."""
    if panel_problem():
        raise MissingLibrary(panel_problem())


def require_pictures() -> None:
    """MissingLibrary if VTK cannot draw."""
    if picture_problem():
        raise MissingLibrary(picture_problem())


def _missing(libraries: dict[str, str]) -> list[str]:
    return [package for library, package in libraries.items() if not _loads(library)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _sentence(what: str, packages: list[str], reason) -> str:
    command = f"apt-get install {' '.join(packages)}" if packages else "see the reason"
    return f"{what} need system libraries that are missing here ({reason}): {command}"
