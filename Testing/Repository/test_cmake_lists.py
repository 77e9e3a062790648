# SPDX-License-Identifier: Apache-2.0
"""Every file of a module is listed for packaging, and every listed one exists."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "CMake" / "list_files.py"
_spec = importlib.util.spec_from_file_location("list_files", SCRIPT)
list_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(list_files)


@pytest.fixture
def module(tmp_path) -> Path:
    """Return a small module folder whose lists are right."""
    folder = tmp_path / "Small"
    (folder / "SmallLib").mkdir(parents=True)
    (folder / "Small.py").touch()
    (folder / "SmallLib" / "__init__.py").touch()
    (folder / "SmallLib" / "models.json").touch()
    (folder / "CMakeLists.txt").write_text(
        "set(MODULE_NAME Small)\n"
        "set(MODULE_PYTHON_SCRIPTS\n  ${MODULE_NAME}.py\n  SmallLib/__init__.py\n  )\n"
        "set(MODULE_PYTHON_RESOURCES\n  SmallLib/models.json\n  )\n"
        "slicerMacroBuildScriptedModule(NAME ${MODULE_NAME})\n"
    )
    return folder


@pytest.mark.parametrize("folder", list_files.module_folders(), ids=lambda path: path.name)
def test_every_file_is_listed_and_every_listed_file_exists(folder):
    lines = list_files.differences(folder)
    assert not lines, "\n".join([*lines, "mend with: python Testing/CMake/list_files.py --write"])


def test_all_modules_are_found():
    found = {path.name for path in list_files.module_folders()}
    assert {"BrainTumorClassify", "HeadCTTriage", "LandmarkPretrain", "MuscleSeg",
            "ReadingRoomCore", "TemporalSubtraction"} <= found


def test_a_correct_module_has_no_differences(module):
    assert list_files.differences(module) == []


def test_what_is_missing_doubled_or_gone_is_named_and_mended(module):
    (module / "SmallLib" / "new.py").touch()
    (module / "SmallLib" / "models.json").unlink()
    lines = "\n".join(list_files.differences(module))
    assert "MODULE_PYTHON_SCRIPTS lacks SmallLib/new.py" in lines
    assert "lists SmallLib/models.json, which does not exist" in lines

    list_files.write_lists(module)
    assert list_files.differences(module) == []
    assert "${MODULE_NAME}.py" in (module / "CMakeLists.txt").read_text()


def test_caches_and_hidden_files_need_no_listing(module):
    (module / "SmallLib" / "__pycache__").mkdir()
    (module / "SmallLib" / "__pycache__" / "x.cpython-311.pyc").touch()
    (module / ".DS_Store").touch()
    assert list_files.differences(module) == []
