# SPDX-License-Identifier: Apache-2.0
"""What ``pip install`` puts on a computer without Slicer: the libraries with their data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import pytest

NEEDED = ["pyproject.toml", "README.md", "LICENSE", "ReadingRoomCore", "MuscleSeg",
          "HeadCTTriage", "BrainTumorClassify", "TemporalSubtraction", "LandmarkPretrain"]


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> zipfile.ZipFile:
    """Return the wheel, built from a copy so that nothing is left in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in NEEDED:
        if (root / name).is_dir():
            shutil.copytree(
                root / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(root / name, source / name)
    script = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_libraries_is_in_the_wheel(wheel, root):
    expected = {
        path.relative_to(library.parent).as_posix()
        for library in (
            root / "ReadingRoomCore" / "ReadingRoomLib",
            root / "MuscleSeg" / "MuscleSegLib",
            root / "HeadCTTriage" / "HeadCTTriageLib",
            root / "BrainTumorClassify" / "BrainTumorClassifyLib",
            root / "TemporalSubtraction" / "TemporalSubtractionLib",
            root / "LandmarkPretrain" / "LandmarkPretrainLib",
        )
        for path in library.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packaged == expected


def test_the_models_are_in_the_wheel(wheel):
    assert "MuscleSegLib/models.json" in wheel.namelist()
    assert "MuscleSegLib/Models/starter/models/model.safetensors" in wheel.namelist()


def test_the_commands_are_registered(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    entries = wheel.read(name).decode()
    assert "readingroom = ReadingRoomLib.commands:main" in entries
    assert "muscleseg = MuscleSegLib.__main__:app" in entries
    assert "headcttriage = HeadCTTriageLib.__main__:app" in entries
