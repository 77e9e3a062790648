# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping the host, and what ``slicer.app`` answers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slicerhost import libraries

HOST_FOLDER = Path(__file__).resolve().parents[1]


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HOST_FOLDER), **environment},
    )


def test_importing_the_host_loads_neither_qt_nor_vtk():
    done = run_python(
        "import sys, slicerhost, slicerhost.views, slicerhost.drawing;"
        "print([n for n in sys.modules if n.split('.')[0] in ('PySide6', 'vtkmodules', 'slicer')])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_start_stop_start_ends_cleanly(slicer_host):
    done = run_python(
        "import slicerhost\n"
        "for _ in range(2):\n"
        "    slicerhost.start()\n"
        "    import slicer, qt\n"
        "    button = qt.QPushButton('x'); button.show()\n"
        "    volume = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLScalarVolumeNode')\n"
        "    folder = slicer.app.temporaryPath\n"
        "    slicerhost.stop()\n"
        "import os; print(os.path.exists(folder), slicerhost.is_started())\n"
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False False", "")


def test_forgotten_stop_ends_cleanly(slicer_host):
    done = run_python("import slicerhost; slicerhost.start(); print('done')")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "done", "")


def test_many_calls_do_not_abort_python(slicer_host):
    import qt
    import slicer

    button = qt.QPushButton()
    for _ in range(20000):
        slicer.app.processEvents()
        button.checkable = True
    if sys.version_info < (3, 12):
        assert min(map(sys.getrefcount, (None, True, False))) > 1 << 30


def test_application(slicer_scene):
    import slicer

    assert slicer.app.mrmlScene() is slicer.mrmlScene is slicer_scene
    assert slicer.app.majorVersion == 5
    assert slicer.app.testingEnabled() is True
    assert os.path.isdir(slicer.app.temporaryPath)
    assert os.path.isdir(slicer.app.slicerHome)
    assert slicer.app.processEvents() is None
    assert slicer.app.connect("startupCompleted()", lambda: None) is True
    assert slicer.app.connect("nosuch()", lambda: None) is False
    assert slicer.app.layoutManager().className() == "qSlicerLayoutManager"
    logic = slicer.modules.segmentations.logic()
    assert logic.GetClassName() == "vtkSlicerSegmentationsModuleLogic"
    assert os.path.exists(slicer.modules.data.path)
    assert slicer.util.errorDisplay("x") is None
    assert slicer.util.startupEnvironment()["PATH"]


def test_an_exception_in_a_slot_is_reported_and_the_others_run(slicer_scene, monkeypatch):
    import slicer

    reported, called = [], []
    monkeypatch.setattr(sys, "excepthook", lambda *details: reported.append(details[0]))

    def fails():
        raise ValueError

    for slot in (fails, lambda: called.append(1)):
        slicer.app.connect("startupCompleted()", slot)
    slicer.app.startupCompleted.emit()
    assert (reported, called) == ([ValueError], [1])
    slicer.app.startupCompleted.disconnect()


def test_settings_are_not_the_users_own(slicer_scene):
    import qt
    import slicer

    assert qt.QSettings().fileName().startswith(slicer.app.temporaryPath)
    assert slicer.util.settingsValue("ReadingRoom/nosuch", 3) == 3
    qt.QSettings().setValue("ReadingRoom/threads", 4)
    assert slicer.util.settingsValue("ReadingRoom/threads", 3, converter=int) == 4
    slicer.app.userSettings().setValue("a", 1)
    assert int(slicer.app.userSettings().value("a")) == 1


def test_python_slicer_runs_this_interpreter(slicer_scene):
    import slicer

    executable = shutil.which("PythonSlicer")
    code = "import sys; print(sys.prefix)"
    process = slicer.util.launchConsoleProcess([executable, "-c", code])
    assert process.stdout.read().strip() == sys.prefix
    assert process.wait() == 0


def test_failing_process_is_told(slicer_scene, capsys):
    import slicer

    executable = shutil.which("PythonSlicer")
    code = "print('ä'); raise SystemExit(3)"
    process = slicer.util.launchConsoleProcess([executable, "-c", code])
    with pytest.raises(subprocess.CalledProcessError) as error:
        slicer.util.logProcessOutput(process)
    assert error.value.returncode == 3
    assert capsys.readouterr().out == "ä\n"


def test_process_that_does_not_block(slicer_scene):
    import slicer

    lines, codes = [], []
    slicer.util.launchConsoleProcess(
        [shutil.which("PythonSlicer"), "-c", "print(1); print(2); raise SystemExit(5)"],
        blocking=False,
        logCallback=lines.append,
        completedCallback=codes.append,
    )
    while not codes:
        slicer.app.processEvents()
    assert (lines, codes) == (["1", "2"], [5])


def test_missing_libraries_are_named(monkeypatch):
    for check in (libraries.panel_problem, libraries.picture_problem):
        check.cache_clear()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(libraries, "_loads", lambda library: library != "libEGL.so.1")
    monkeypatch.setattr(libraries.sys, "platform", "linux")
    try:
        with pytest.raises(libraries.MissingLibrary, match="apt-get install libegl1"):
            libraries.require_pictures()
    finally:
        libraries.picture_problem.cache_clear()


def test_widgets_that_cannot_be_loaded_are_told(monkeypatch):
    libraries.panel_problem.cache_clear()
    monkeypatch.setattr(libraries, "_loads", lambda library: library != "libGL.so.1")
    monkeypatch.setitem(sys.modules, "PySide6.QtUiTools", None)
    try:
        assert "apt-get install libgl1" in libraries.panel_problem()
    finally:
        libraries.panel_problem.cache_clear()


WITHOUT_QT = """
import sys
sys.modules["PySide6"] = sys.modules["shiboken6"] = None
import numpy as np, slicerhost
from slicerhost import libraries, views
print("apt-get" in libraries.panel_problem() or "see the reason" in libraries.panel_problem())
try:
    slicerhost.start()
except slicerhost.MissingLibrary as error:
    print("refused")
slicerhost.start(panels=False)
import slicer
volume = slicer.util.addVolumeFromArray(np.arange(27.0).reshape(3, 3, 3), name="CT")
volume.CreateDefaultDisplayNodes()
print(slicer.util.saveScene(slicer.app.temporaryPath + "/scene.mrb"))
slicerhost.clear()
slicer.util.loadScene(slicer.app.temporaryPath + "/scene.mrb")
print(slicer.util.arrayFromVolume(slicer.util.getNode("CT")).sum())
if libraries.picture_problem() is None:
    views.show_slices(slicer.util.getNode("CT"))
    assert views.layout_picture((200, 160)).shape == (160, 200, 3)
try:
    slicerhost.load_module("MuscleSeg")
except slicerhost.MissingLibrary:
    print("no panel")
slicerhost.stop()
"""


def test_scene_and_files_without_qt():
    done = run_python(WITHOUT_QT)
    assert done.stdout.split() == ["True", "refused", "True", "351.0", "no", "panel"], done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_cursors_and_messages_of_util(slicer_scene):
    import qt
    import slicer

    with slicer.util.WaitCursor():
        assert qt.QApplication.overrideCursor().shape() == qt.Qt.WaitCursor
    assert qt.QApplication.overrideCursor() is None
    with slicer.util.MessageDialog("Working"):
        pass
    with pytest.raises(ValueError):
        with slicer.util.tryWithErrorDisplay("failed", waitCursor=True):
            raise ValueError
    assert qt.QApplication.overrideCursor() is None
