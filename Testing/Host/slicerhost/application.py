# SPDX-License-Identifier: Apache-2.0
"""``slicer.app``: what scripted modules ask of the desktop's application object."""

from __future__ import annotations

import logging
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from .names import DesktopObject

_DOCUMENTATION_URL = "https://slicer.readthedocs.io/en/{version}/"


class qSlicerApplication(DesktopObject):  # noqa: N801  (the desktop's name)
    """The application object, around a MRML core and the one QApplication."""

    desktop_class = "qSlicerApplication"
    signals = {
        "startupCompleted": "startupCompleted()",
        "mrmlSceneChanged": "mrmlSceneChanged(vtkMRMLScene*)",
        "lastWindowClosed": "lastWindowClosed()",
        "aboutToQuit": "aboutToQuit()",
    }
    properties = {
        "applicationName": "Slicer",
        "applicationVersion": "",
        "arch": platform.machine(),
        "cachePath": "",
        "defaultScenePath": "",
        "documentationBaseUrl": "",
        "documentationLanguage": "en",
        "documentationVersion": "",
        "extensionsInstallPath": "",
        "isInstalled": True,
        "mainApplicationName": "Slicer",
        "majorVersion": 0,
        "minorVersion": 0,
        "organizationDomain": "slicer.org",
        "organizationName": "slicer.org",
        "os": platform.system().lower(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
        "releaseType": "Preview",
        "revision": "",
        "slicerHome": "",
        "slicerSharePath": "",
        "startupWorkingPath": "",
        "temporaryPath": "",
    }

    def __init__(self, core, temporary_path: Path, testing: bool):
        super().__init__()
        self._core = core
        self._testing = testing
        self._render_pauses = 0
        self._module_manager = None
        self._layout_manager = None
        self._io_manager = None
        self._settings = {}
        self._startup_environment = dict(os.environ)
        self._set_paths(temporary_path)
        self._set_version(version("slicer-core"))

    def _set_paths(self, temporary_path: Path) -> None:
        self._values["temporaryPath"] = str(temporary_path)
        self._values["slicerHome"] = self._core.application_logic.GetHomeDirectory()
        for name in ("cachePath", "defaultScenePath", "extensionsInstallPath"):
            self._values[name] = str(temporary_path / name)
            (temporary_path / name).mkdir(exist_ok=True)
        self._values["slicerSharePath"] = self._core.application_logic.GetShareDirectory()
        self._values["startupWorkingPath"] = os.getcwd()

    def _set_version(self, text: str) -> None:
        numbers = text.split(".")
        self._values.update(
            applicationVersion=".".join(numbers[:3]),
            revision=numbers[-1],
            majorVersion=int(numbers[0]),
            minorVersion=int(numbers[1]),
            documentationVersion=f"v{numbers[0]}.{numbers[1]}",
            documentationBaseUrl=_DOCUMENTATION_URL.format(version="latest"),
        )

    # MRML

    def mrmlScene(self):
        return self._core.scene

    def applicationLogic(self):
        return self._core.application_logic

    def moduleLogic(self, moduleName):
        return self._core.application_logic.GetModuleLogic(moduleName)

    # managers

    def moduleManager(self):
        return self._module_manager

    def layoutManager(self):
        return self._layout_manager

    def ioManager(self):
        return self._io_manager

    def coreIOManager(self):
        return self._io_manager

    # settings

    def settings(self):
        return self._settings_file("Slicer-revision.ini")

    def userSettings(self):
        return self._settings_file("Slicer.ini")

    def revisionUserSettings(self):
        return self._settings_file("Slicer-revision.ini")

    def _settings_file(self, name: str):
        import qt

        if name not in self._settings:
            path = os.path.join(self.temporaryPath, name)
            self._settings[name] = qt.QSettings(path, qt.QSettings.IniFormat)
        return self._settings[name]

    # life

    def testingEnabled(self):
        return self._testing

    def processEvents(self):
        if "qt" in sys.modules:
            sys.modules["qt"].QCoreApplication.processEvents()

    def exit(self, returnCode=0):
        raise SystemExit(returnCode)

    def quit(self):
        raise SystemExit(0)

    def restart(self):
        logging.info("the application would restart now")

    def arguments(self):
        return (self.applicationName,)

    def moduleDocumentationUrl(self, moduleName):
        return f"{self.documentationBaseUrl}user_guide/modules/{moduleName.lower()}.html"

    # environment

    def startupEnvironment(self):
        return _process_environment(self._startup_environment)

    def environment(self):
        return _process_environment(os.environ)

    def setEnvironmentVariable(self, key, value):
        os.environ[key] = value

    # widgets

    def topLevelWidgets(self):
        import qt

        return qt.QApplication.topLevelWidgets()

    def clipboard(self):
        import qt

        return qt.QApplication.clipboard()

    def keyboardModifiers(self):
        import qt

        return qt.QApplication.keyboardModifiers()

    def setOverrideCursor(self, cursor):
        import qt

        qt.QApplication.setOverrideCursor(qt.QCursor(cursor))

    def restoreOverrideCursor(self):
        import qt

        qt.QApplication.restoreOverrideCursor()

    def style(self):
        import qt

        return qt.QApplication.style()

    def palette(self):
        import qt

        return qt.QApplication.palette()

    def font(self):
        import qt

        return qt.QApplication.font()

    # rendering

    def pauseRender(self):
        self._render_pauses += 1
        return self._render_pauses

    def resumeRender(self):
        self._render_pauses = max(0, self._render_pauses - 1)
        return self._render_pauses

    def setRenderPaused(self, pause):
        self.pauseRender() if pause else self.resumeRender()

    # language

    def translate(self, context, text):
        return text

    def tr(self, text):
        return text


def _process_environment(values):
    import qt

    environment = qt.QProcessEnvironment()
    for name, value in values.items():
        environment.insert(name, value)
    return environment
