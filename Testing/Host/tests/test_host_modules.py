# SPDX-License-Identifier: Apache-2.0
"""Loading, reloading, testing and photographing a scripted module."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import slicerhost

sys.path.insert(0, str(Path(__file__).parent))
from host_toy import write_toy  # noqa: E402

HOST_FOLDER = Path(__file__).resolve().parents[1]


@pytest.fixture
def toy_file(tmp_path):
    return write_toy(tmp_path)


@pytest.fixture
def toy(module_widget, toy_file):
    return module_widget("HostToy", toy_file)


def test_module_and_widget_are_in_slicer_modules(toy):
    import slicer

    module = slicer.modules.hosttoy
    assert (module.name, module.title) == ("HostToy", "Host Toy")
    assert module.categories == ["Segmentation"]
    assert slicer.modules.HostToyWidget is toy
    assert slicer.modules.HostToyInstance.parent is module
    assert module.widgetRepresentation().self() is toy
    assert slicer.moduleNames.HostToy == "HostToy"
    assert slicer.util.modulePath("HostToy") == module.path
    assert slicer.util.getModuleWidget("HostToy") is toy
    assert "HostToy" in slicer.util.moduleNames()


def test_module_attributes_are_those_of_the_desktop(toy):
    import slicer

    slicer.modules.hosttoy.hidden = True
    with pytest.raises(AttributeError, match="'nosuch' does not exist"):
        slicer.modules.hosttoy.nosuch = True


def test_panel_and_parameter_node_go_together(toy):
    import numpy as np
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    # The list held nothing before, so the first volume is chosen, as on the desktop.
    assert toy.ui.inputSelector.currentNode() is volume
    assert toy.parameters.inputVolume is volume
    toy.ui.samplesBox.value = 7
    assert toy.parameters.samples == 7
    toy.parameters.samples = 9
    toy.parameters.device = "cpu"
    assert (toy.ui.samplesBox.value, toy.ui.deviceBox.currentText) == (9, "cpu")
    toy.ui.sidesBox.checked = False
    assert toy.parameters.sides is False
    toy.ui.applyButton.click()
    assert toy.events == ["apply"]


def test_closing_the_scene_is_seen(toy):
    slicerhost.clear()
    assert toy.events == ["close"]


def test_enter(toy):
    import slicer

    slicer.modules.hosttoy.widgetRepresentation().enter()
    assert toy.events == ["enter"]
    assert slicer.modules.hosttoy.widgetRepresentation().isEntered()


def test_unloading_cleans_up(toy):
    import slicer

    slicerhost.unload_modules()
    assert toy.events == ["cleanup"]
    assert not hasattr(slicer.modules, "hosttoy")
    assert not hasattr(slicer.modules, "HostToyWidget")


def test_unloaded_module_is_freed(slicer_scene, toy_file):
    import gc
    import weakref

    toy = slicerhost.load_module("HostToy", toy_file)
    alive = [weakref.ref(item) for item in (toy, toy.logic, toy.parameters, toy.ui.inputSelector)]
    slicerhost.unload_modules()
    del toy
    gc.collect()
    assert [item() for item in alive] == [None] * 4


def test_reloading_takes_the_new_source(toy, toy_file):
    import slicer

    source = toy_file.read_text(encoding="utf-8")
    toy_file.write_text(source.replace("self.events = []", "self.events = ['new']"), "utf-8")
    os.utime(toy_file, (1, 1))
    toy.onReload()
    assert slicer.modules.HostToyWidget is not toy
    assert slicer.modules.HostToyWidget.events == ["new"]
    assert toy.events == ["cleanup"]


def test_developer_section(module_widget, toy_file):
    import qt
    import slicer

    qt.QSettings().setValue("Developer/DeveloperMode", True)
    try:
        toy = module_widget("HostToy", toy_file)
        assert toy.reloadCollapsibleButton.text == "Reload && Test"
        toy.reloadButton.click()
        assert slicer.modules.HostToyWidget is not toy
    finally:
        qt.QSettings().remove("Developer/DeveloperMode")


def test_without_panel(slicer_scene, toy_file):
    import slicer

    assert slicerhost.load_module("HostToy", toy_file, panel=False) is None
    assert not hasattr(slicer.modules, "HostToyWidget")
    slicer.selfTests["HostToy"]()


def test_dependencies_are_loaded(slicer_scene, tmp_path):
    first = tmp_path / "HostNeeded.py"
    first.write_text(
        "from slicer.ScriptedLoadableModule import *\n"
        "class HostNeeded(ScriptedLoadableModule):\n    pass\n",
        encoding="utf-8",
    )
    sys.path.insert(0, str(tmp_path))
    try:
        file = write_toy(tmp_path, dependencies='"HostNeeded", "Volumes"')
        slicerhost.load_module("HostToy", file, panel=False)
        import slicer

        assert slicer.modules.hostneeded.name == "HostNeeded"
    finally:
        sys.path.remove(str(tmp_path))


def test_missing_module_is_told(slicer_scene):
    with pytest.raises(FileNotFoundError, match="NoSuchModule.py"):
        slicerhost.load_module("NoSuchModule")


def run_host(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "slicerhost", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HOST_FOLDER)},
    )


def test_self_test_from_the_command_line(slicer_host, tmp_path):
    done = run_host("test", "HostToy", "--file", write_toy(tmp_path))
    assert done.returncode == 0 and "self test passed" in done.stdout, done.stderr
    done = run_host("test", "HostToy", "--file", write_toy(tmp_path, answer=41))
    assert done.returncode == 1 and "AssertionError: 41 != 42" in done.stderr


def test_photo_from_the_command_line(slicer_host, toy_file, tmp_path):
    picture = tmp_path / "panel.png"
    done = run_host("photo", "HostToy", picture, "--file", toy_file, "--width", 420)
    assert done.returncode == 0, done.stderr
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert width == 420
    # Module row, help section and five rows of the panel, and not much below them.
    assert 150 < height < 400
