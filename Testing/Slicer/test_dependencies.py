# SPDX-License-Identifier: Apache-2.0
"""Installing what is missing: Slicer's own packages stay, a wheel folder replaces the internet."""

import importlib.metadata
import os
import subprocess
import sys
import zipfile

import pytest


@pytest.fixture
def dependencies(slicer_scene):
    from ReadingRoomSlicerLib import dependencies

    return dependencies


@pytest.fixture
def wheel_folder(slicer_scene, tmp_path):
    """A folder with one small package, set in the settings; its name has spaces and letters."""
    import qt

    from ReadingRoomSlicerLib import settings

    folder = tmp_path / "Räder für Slicer"
    folder.mkdir()
    with zipfile.ZipFile(folder / "rr_tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("rr_tiny.py", "answer = 42\n")
        wheel.writestr("rr_tiny-1.0.dist-info/METADATA",
                       "Metadata-Version: 2.1\nName: rr-tiny\nVersion: 1.0\n")
        wheel.writestr("rr_tiny-1.0.dist-info/WHEEL",
                       "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                       "Tag: py3-none-any\n")
        wheel.writestr("rr_tiny-1.0.dist-info/RECORD", "")
    qt.QSettings().setValue(settings.WHEEL_FOLDER, str(folder))
    yield folder
    qt.QSettings().setValue(settings.WHEEL_FOLDER, "")


def test_nothing_is_missing_here(dependencies):
    assert dependencies.missingRequirements() == []
    dependencies.ensureDependencies("Test")


def test_what_is_missing_is_named(dependencies, monkeypatch, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# a remark\nnumpy>=1.0\nnot-a-package-of-anybody>=3.1\nmonai>=99\n")
    monkeypatch.setattr(dependencies, "resourcePath", lambda *parts: str(requirements))
    assert dependencies.missingRequirements() == ["not-a-package-of-anybody>=3.1", "monai>=99"]


def test_pytorch_is_not_asked_for_where_no_model_runs(dependencies, monkeypatch):
    import slicer.packaging

    monkeypatch.setattr(slicer.packaging, "pip_check", lambda requirement: False)
    assert dependencies.TORCH in dependencies.missingRequirements()
    names = [text.split(">=")[0] for text in dependencies.missingRequirements(deepLearning=False)]
    assert names == ["highdicom", "openpyxl", "typer"]


def test_slicers_own_packages_are_constrained_to_what_is_there(dependencies):
    kept = dependencies.keptVersions()
    for name in ("numpy", "SimpleITK", "pydicom", "vtk"):
        assert f"{name}=={importlib.metadata.version(name)}" in kept


def test_constraints_hold_in_every_pip_meanwhile_and_not_after(dependencies):
    before = dict(os.environ)
    with dependencies._constraintsFile() as path, dependencies._pipEnvironment(path):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "numpy==1.0"],
            capture_output=True, text=True)
        assert done.returncode != 0
        assert "constraint" in done.stdout + done.stderr
    assert dict(os.environ) == before


def test_wheel_folder_is_used_without_any_index(dependencies, wheel_folder, tmp_path, monkeypatch):
    import slicer.packaging

    target = tmp_path / "site"
    monkeypatch.setenv("PIP_TARGET", str(target))
    with dependencies._constraintsFile() as path, dependencies._pipEnvironment(path):
        assert os.environ["PIP_NO_INDEX"] == "1"
        slicer.packaging.pip_install("rr-tiny")
    assert (target / "rr_tiny.py").read_text() == "answer = 42\n"
    assert "PIP_NO_INDEX" not in os.environ


def test_missing_pytorch_extension_is_said(dependencies):
    import slicer

    assert not hasattr(slicer.modules, "pytorchutils")
    with pytest.raises(RuntimeError, match="extension 'PyTorch'"):
        dependencies._installTorch()


def test_settings_page(slicer_scene):
    import qt

    import slicerhost
    from ReadingRoomSlicerLib import settings

    slicerhost.load_module("ReadingRoomCore", panel=False)
    import ReadingRoomCore
    from ReadingRoomSlicerLib.resources import resourcePath

    page = ReadingRoomCore.ReadingRoomSettingsPanel(resourcePath("UI"))
    assert page.ui.deviceComboBox.count == len(settings.Device)
    assert settings.device() == settings.Device.AUTO
    qt.QSettings().setValue(settings.DEVICE, "cpu")
    assert settings.device() == settings.Device.CPU
    qt.QSettings().setValue(settings.DEVICE, "nonsense")
    assert settings.device() == settings.Device.AUTO
    qt.QSettings().setValue(settings.WHEEL_FOLDER, "/no/such/folder")
    assert settings.wheelFolder() == ""
    for key in (settings.DEVICE, settings.WHEEL_FOLDER):
        qt.QSettings().setValue(key, "")
