# SPDX-License-Identifier: Apache-2.0
"""What ``slicer.util`` of the desktop has and that of slicer-core still lacks.

Everything else in ``slicer.util`` is Slicer's own file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable


def launchConsoleProcess(
    args: list[str],
    useStartupEnvironment: bool = True,
    updateEnvironment: dict[str, str] | None = None,
    cwd: str | None = None,
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> subprocess.Popen[str]:
    """Starts a process whose output (stdout and stderr in one) is read as text lines.

    Not blocking: the lines go to ``logCallback``, then the exit code to ``completedCallback``, both
    called from the Qt event loop.
    """
    import slicer

    environment = slicer.util.startupEnvironment() if useStartupEnvironment else dict(os.environ)
    environment.update(updateEnvironment or {})
    process = subprocess.Popen(
        args,
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if not blocking:
        _report_from_event_loop(process, logCallback or print, completedCallback)
    return process


def _report_from_event_loop(process, log, completed) -> None:
    from PySide6.QtCore import QTimer

    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    timer = QTimer()

    def poll():
        ended = not reader.is_alive()
        while lines:
            log(lines.pop(0).rstrip())
        if ended:
            timer.stop()
            code = process.wait()
            if completed:
                completed(code)

    timer.timeout.connect(poll)
    timer.start(20)


def logProcessOutput(proc, logCallback=None):
    """Prints a process's output line by line; CalledProcessError if it fails."""
    import slicer

    for line in proc.stdout:
        print(line.rstrip())
        if logCallback:
            logCallback(line.rstrip())
        slicer.app.processEvents()
    if proc.wait() != 0:
        raise subprocess.CalledProcessError(proc.returncode, proc.args)


def executePythonModule(
    module: str,
    args: list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    """Runs ``python -m module args`` in Slicer's Python environment."""
    import slicer

    interpreter = shutil.which("PythonSlicer")
    if interpreter is None:
        raise RuntimeError("PythonSlicer executable not found")
    process = slicer.util.launchConsoleProcess(
        [interpreter, "-m", module, *args],
        useStartupEnvironment=False,
        blocking=blocking,
        logCallback=logCallback,
        completedCallback=completedCallback,
    )
    if blocking:
        slicer.util.logProcessOutput(process, logCallback)


def pip_install(requirements, **kwargs):
    """Installs packages: ``slicer.packaging.pip_install``."""
    import slicer

    return slicer.packaging.pip_install(requirements, **kwargs)


def pip_uninstall(requirements, **kwargs):
    """Uninstalls packages: ``slicer.packaging.pip_uninstall``."""
    import slicer

    return slicer.packaging.pip_uninstall(requirements, **kwargs)


def loadUI(path):
    """The widget of a .ui file; RuntimeError if there is none.

    Slicer's own loadUI leaves this to Qt's loader, which here could not pass on the MRML scene.
    """
    from . import pythonqt

    if not os.path.isfile(path):
        raise RuntimeError(f"Could not load UI file: file not found {path}\n\n")
    try:
        return pythonqt.load_ui(path)
    except ValueError as error:
        raise RuntimeError(f"Could not load UI file: {path}\n\n{error}") from error


ADDITIONS = (
    loadUI,
    launchConsoleProcess,
    logProcessOutput,
    executePythonModule,
    pip_install,
    pip_uninstall,
)
