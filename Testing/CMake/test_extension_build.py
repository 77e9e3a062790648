# SPDX-License-Identifier: Apache-2.0
"""The extension's own CMakeLists, configured with the stand-in for Slicer's build.

The files must land in one flat folder, as Slicer installs them; everything must be importable from
there and nowhere else; and ctest must run the modules' self-tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLAT_FOLDER = Path("lib/Slicer-5.12/qt-scripted-modules")

BESIDE_PYTHON = Path(sys.executable).parent / ("cmake.exe" if os.name == "nt" else "cmake")
CMAKE = str(BESIDE_PYTHON) if BESIDE_PYTHON.exists() else shutil.which("cmake")

pytestmark = pytest.mark.skipif(CMAKE is None, reason="cmake cannot be found: pip install cmake")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a command and return what it printed, both streams together."""
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def configure(source: Path, build: Path) -> subprocess.CompletedProcess:
    """Configure an extension; nothing is compiled, so no compiler is looked for."""
    return run(
        CMAKE,
        *("-S", str(source), "-B", str(build)),
        f"-DSlicer_DIR={HERE}",
        f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'no_compiler.cmake'}",
        f"-DPython3_EXECUTABLE={sys.executable}",
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """Return the build folder of the extension, configured."""
    folder = tmp_path_factory.mktemp("extension build")
    done = configure(ROOT, folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory) -> Path:
    """Return the flat folder of the installed extension."""
    prefix = tmp_path_factory.mktemp("installed extension")
    for command in (["--build", str(build)], ["--install", str(build), "--prefix", str(prefix)]):
        done = run(CMAKE, *command)
        assert done.returncode == 0, done.stdout
    return prefix / FLAT_FOLDER


def test_module_files_and_resources_are_installed_side_by_side(installed):
    for name in (
        "ReadingRoomCore.py",
        "MuscleSeg.py",
        "Resources/UI/MuscleSeg.ui",
        "Resources/Icons/MuscleSeg.png",
        "Resources/requirements.txt",
        "MuscleSegLib/models.json",
        "HeadCTTriage.py",
        "Resources/UI/HeadCTTriage.ui",
        "HeadCTTriageSlicerLib/worklist_panel.py",
        "HeadCTTriageLib/models.json",
        "BrainTumorClassify.py",
        "Resources/UI/BrainTumorClassify.ui",
        "BrainTumorClassifySlicerLib/experiment_section.py",
        "BrainTumorClassifyLib/models.json",
        "TemporalSubtraction.py",
        "Resources/UI/TemporalSubtraction.ui",
        "TemporalSubtractionLib/models.json",
        "LandmarkPretrain.py",
        "Resources/UI/LandmarkPretrain.ui",
        "LandmarkPretrainLib/models.json",
        "LandmarkPretrainLib/pseudo_landmarks.csv",
    ):
        assert (installed / name).is_file(), name
    assert not list(installed.rglob("__pycache__"))


def test_every_library_imports_from_the_installed_folder(installed, tmp_path):
    """A fresh Python that sees the installed folder alone imports every file of the libraries."""
    script = (
        "import importlib, pathlib, sys\n"
        "flat = pathlib.Path(sys.argv[1])\n"
        "for package in ('ReadingRoomLib', 'MuscleSegLib', 'HeadCTTriageLib',\n"
        "                'BrainTumorClassifyLib', 'TemporalSubtractionLib',\n"
        "                'LandmarkPretrainLib'):\n"
        "    for file in sorted((flat / package).rglob('*.py')):\n"
        "        parts = file.relative_to(flat).with_suffix('').parts\n"
        "        name = '.'.join(part for part in parts if part != '__init__')\n"
        "        if parts[-1] == '__main__':\n"
        "            continue\n"
        "        module = importlib.import_module(name)\n"
        "        assert pathlib.Path(module.__file__).is_relative_to(flat), module.__file__\n"
        "        print(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(installed)],
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"ReadingRoomLib.errors", "MuscleSegLib.structures"} <= set(done.stdout.split())


def test_the_command_line_works_from_the_installed_folder(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "MuscleSegLib", "segment", "--help"],
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout


@pytest.mark.timeout(900)
def test_ctest_runs_the_self_tests_of_the_modules(build):
    ctest = shutil.which("ctest", path=str(Path(CMAKE).parent))
    done = run(ctest, "--test-dir", str(build), "--output-on-failure")
    assert done.returncode == 0, done.stdout
    for name in (
        "py_MuscleSeg", "py_HeadCTTriage", "py_BrainTumorClassify", "py_TemporalSubtraction",
        "py_LandmarkPretrain", "py_ReadingRoomCore", "py_PackagingTest",
    ):
        assert name in done.stdout


@pytest.fixture
def small_extension(tmp_path) -> Path:
    """Return the folder of a correct extension with two small modules."""
    folder = tmp_path / "small"
    names = ("First", "Second")
    folder.mkdir()
    lines = ["cmake_minimum_required(VERSION 3.20)", "project(Small)"]
    lines += ["find_package(Slicer REQUIRED)", "include(${Slicer_USE_FILE})"]
    lines += [f"add_subdirectory({name})" for name in names]
    (folder / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
    for name in names:
        (folder / name).mkdir()
        (folder / name / f"{name}.py").touch()
        (folder / name / "CMakeLists.txt").write_text(
            f"slicerMacroBuildScriptedModule(NAME {name} SCRIPTS {name}.py RESOURCES)\n"
        )
    return folder


def test_the_stand_in_accepts_a_correct_extension(small_extension, tmp_path):
    done = configure(small_extension, tmp_path / "build")
    assert done.returncode == 0, done.stdout


def test_the_stand_in_refuses_a_file_that_is_not_listed(small_extension, tmp_path):
    (small_extension / "First" / "forgotten.py").touch()
    done = configure(small_extension, tmp_path / "build")
    assert done.returncode != 0
    assert "forgotten.py" in done.stdout


def test_the_stand_in_refuses_a_listed_file_that_does_not_exist(small_extension, tmp_path):
    (small_extension / "Second" / "Second.py").unlink()
    done = configure(small_extension, tmp_path / "build")
    assert done.returncode != 0
    assert "Second lists a file that does not exist: Second.py" in done.stdout


def test_the_stand_in_refuses_two_files_for_one_place(small_extension, tmp_path):
    for name in ("First", "Second"):
        (small_extension / name / "models.json").touch()
        lists = small_extension / name / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("RESOURCES", "RESOURCES models.json"))
    done = configure(small_extension, tmp_path / "build")
    assert done.returncode != 0
    assert "one would overwrite the other" in done.stdout
