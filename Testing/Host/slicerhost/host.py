# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping the host, and loading modules into it."""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import os
import shlex
import shutil
import sys
import tempfile
import types
from importlib import import_module
from pathlib import Path

from .libraries import MissingLibrary, panel_problem, require_panels
from .names import namespace_names

# Python modules of the desktop -> where the host keeps them; in the order of their dependencies.
_DESKTOP_MODULES = {
    "slicer.i18n": "i18n",
    "slicer.packaging": "packaging",
    "SampleData": "SampleData",
}
_DESKTOP_MODULES_ON_QT = {
    "slicer.ScriptedLoadableModule": "ScriptedLoadableModule",
    "slicer.parameterNodeWrapper": "parameterNodeWrapper",
}


class _Host:
    """What is alive between start and stop."""

    def __init__(self):
        self.core = None
        self.panels = True
        self.temporary_path: Path | None = None
        self.path_before = ""


_host = _Host()
_installed = set()


def is_started() -> bool:
    """Whether the host runs."""
    return _host.core is not None


def start(testing: bool = True, panels: bool = True) -> None:
    """Makes the application: scene, logics, ``qt``, ``ctk`` and all that ``slicer`` has.

    testing: what ``slicer.app.testingEnabled()`` answers; with True no dialog waits for a user.
    panels: False leaves Qt out, and with it modules and all that needs ``qt``: the scene, its
    logics, files and ``slicer.util`` then work on a machine where Qt's widgets cannot be loaded.
    Starting twice changes nothing. MissingLibrary if Qt's widgets are asked for and cannot be
    loaded; pictures need OpenGL, which is looked for when the first one is drawn.
    """
    if is_started():
        if panels:
            _require_panels_started()
        return
    if panels:
        require_panels()
    _host.panels = panels
    _host.temporary_path = Path(tempfile.mkdtemp(prefix="slicerhost-"))
    _provide_python_slicer()
    _install()
    if panels:
        _install_widgets()
    _create_application(testing)
    _load_desktop_modules()
    atexit.register(stop)


def stop() -> None:
    """Takes everything down: modules, views, scene, temporary files. A later start is possible."""
    if not is_started():
        return
    import slicer

    unload_modules()
    if _host.panels:
        _delete_widgets()
    slicer.app._layout_manager._close()
    slicer.app.aboutToQuit.emit()
    _host.core.close()
    _host.core = None
    slicer.mrmlScene = None
    slicer.app = None
    gc.collect()
    os.environ["PATH"] = _host.path_before
    shutil.rmtree(_host.temporary_path, ignore_errors=True)
    atexit.unregister(stop)


def clear() -> None:
    """Empties the scene, as File / Close Scene does."""
    import slicer

    slicer.mrmlScene.Clear(False)
    slicer.app.processEvents()


def unload_modules() -> None:
    """Unloads all scripted modules; their widgets are told to clean up."""
    import slicer

    slicer.app._module_manager._unload_scripted()


def module_file(name: str) -> Path:
    """File of a module of this extension, or of one in the folders of ``sys.path``."""
    root = Path(__file__).resolve().parents[3]
    candidates = [root / name / f"{name}.py"]
    candidates += [Path(folder) / f"{name}.py" for folder in sys.path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no module file {name}.py in {root / name} or on sys.path")


def load_module(name: str, path: str | os.PathLike | None = None, panel: bool = True):
    """Loads a scripted module and opens its panel; returns the module's widget object.

    path: the module's file; by default ``<Module>/<Module>.py`` of this extension. Modules that it
    depends on are loaded, too.
    panel: False loads the module without making its panel, and returns None.
    """
    import slicer

    start()
    _require_panels_started()
    file = Path(path).resolve() if path else module_file(name)
    module = slicer.app.moduleManager()._load_scripted(name, file)
    for dependency in module.dependencies:
        if slicer.app.moduleManager().module(dependency) is None:
            load_module(dependency, panel=False)
    if not panel:
        return None
    representation = module.widgetRepresentation()
    return representation.self() if representation is not None else None


def _require_panels_started() -> None:
    if not _host.panels:
        raise MissingLibrary(panel_problem() or "the host was started without panels")


def _log_vtk_messages() -> None:
    """Sends what VTK and Slicer's libraries say to the logger ``slicerhost.vtk``."""
    from vtkmodules.vtkCommonCore import VTK_STRING, vtkLogger, vtkOutputWindow

    def make_observer(level):
        def log(window, event, text):
            logging.getLogger("slicerhost.vtk").log(level, text.strip())

        log.CallDataType = VTK_STRING
        return log

    window = vtkOutputWindow()
    window.SetDisplayModeToNever()
    window.AddObserver("ErrorEvent", make_observer(logging.ERROR))
    window.AddObserver("WarningEvent", make_observer(logging.WARNING))
    window.AddObserver("MessageEvent", make_observer(logging.DEBUG))
    vtkOutputWindow.SetInstance(window)
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)


def _provide_python_slicer() -> None:
    """Puts an executable PythonSlicer, which runs this interpreter, first on PATH."""
    folder = _host.temporary_path / "bin"
    folder.mkdir()
    if os.name == "nt":
        (folder / "PythonSlicer.bat").write_text(f'@"{sys.executable}" %*\n', encoding="utf-8")
    else:
        script = folder / "PythonSlicer"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    _host.path_before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join((str(folder), _host.path_before))


def _protect_constants() -> None:
    """Lets None, True and False never be freed, as Python 3.12 and later do themselves.

    PySide6 6.12.0 takes one reference too many of them with many calls, so that Python 3.11 aborts
    after some thousand calls of ``processEvents``; 6.11.3 does not.
    """
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _once(step: str) -> bool:
    """True the first time in this process."""
    is_first = step not in _installed
    _installed.add(step)
    return is_first


def _install() -> None:
    """Once per process: a ``slicer`` with the desktop's names only."""
    if not _once("slicer"):
        return
    _log_vtk_messages()
    import slicer

    from . import utilities

    _keep_desktop_names(slicer, "slicer")
    for addition in utilities.ADDITIONS:
        setattr(slicer.util, addition.__name__, addition)
    for name in ("modules", "moduleNames"):
        module = types.ModuleType(name)
        setattr(slicer, name, module)
        sys.modules[f"slicer.{name}"] = module


def _install_widgets() -> None:
    """Once per process: ``qt``, ``ctk`` and the MRML widgets."""
    if not _once("widgets"):
        return
    _protect_constants()
    import slicer

    from . import pythonqt, qmrml
    from .panel import ScriptedModuleWidget

    pythonqt.install()
    for name, widget_class in qmrml.register().items():
        setattr(slicer, name, widget_class)
    slicer.qSlicerScriptedLoadableModuleWidget = pythonqt.register_widget_class(
        "qSlicerScriptedLoadableModuleWidget", ScriptedModuleWidget
    )


def _keep_desktop_names(module, namespace: str) -> None:
    """Takes away what slicer-core's package offers beyond the desktop's."""
    kept = namespace_names(namespace) | {"util"}
    extension = sys.modules.get("slicer_layer_dm")
    extension_names = set(dir(extension)) - set(dir(sys.modules["slicer_core"]))
    for name in tuple(vars(module)):
        is_vtk_class = name.startswith("vtk") and name not in extension_names
        if not (name.startswith("__") or is_vtk_class or name in kept):
            delattr(module, name)


def _create_application(testing: bool) -> None:
    import slicer

    from .application import qSlicerApplication
    from .io import qSlicerIOManager
    from .layout import qSlicerLayoutManager
    from .modules import qSlicerModuleManager
    from .mrml import MRMLCore

    core = MRMLCore(_host.temporary_path)
    _host.core = core
    slicer.mrmlScene = core.scene
    slicer.app = qSlicerApplication(core, _host.temporary_path, testing)
    if _host.panels:
        _redirect_default_settings()
    slicer.app._module_manager = qSlicerModuleManager(core)
    slicer.app._io_manager = qSlicerIOManager(core)
    slicer.app._layout_manager = qSlicerLayoutManager(core)


def _redirect_default_settings() -> None:
    """Keeps ``qt.QSettings()`` away from the user's own settings."""
    from PySide6.QtCore import QCoreApplication, QSettings

    QCoreApplication.setOrganizationName("slicer.org")
    QCoreApplication.setApplicationName("Slicer")
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    scopes = (QSettings.Scope.UserScope, QSettings.Scope.SystemScope)
    for scope in scopes:
        QSettings.setPath(QSettings.Format.IniFormat, scope, str(_host.temporary_path))


def _load_desktop_modules() -> None:
    import slicer

    modules = _DESKTOP_MODULES | (_DESKTOP_MODULES_ON_QT if _host.panels else {})
    for name, own_name in modules.items():
        if name in sys.modules:
            continue
        module = import_module(f".desktop.{own_name}", __package__)
        sys.modules[name] = module
        if name.startswith("slicer."):
            setattr(slicer, name.removeprefix("slicer."), module)


def _delete_widgets() -> None:
    from PySide6.QtCore import QCoreApplication, QEvent
    from shiboken6 import isValid

    from .pythonqt import application as qt_application

    application = qt_application()
    for widget in application.topLevelWidgets():
        if isValid(widget):  # the list of a combo box goes with the panel that it belongs to
            widget.close()
            widget.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    application.processEvents()
