# SPDX-License-Identifier: Apache-2.0
"""Dependencies point one way, Slicer-free code stays so, and opening a module imports little.

``<Module>.py`` -> ``ReadingRoomSlicerLib`` -> ``ReadingRoomLib`` <- ``<Module>Lib``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLICER = {"slicer", "qt", "ctk", "vtk"}
# What Slicer's own modules import at file scope: the standard library, Slicer and Qt.
FREE_AT_FILE_SCOPE = SLICER | set(sys.stdlib_module_names) | {"SampleData"}


def imported_packages(code: str, file_scope_only: bool = False) -> set[str]:
    """Return the top-level packages that ``code`` imports, relative imports left out.

    Imports inside functions count unless ``file_scope_only``; those guarded by
    ``if TYPE_CHECKING:`` never run and never count.
    """
    packages: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if file_scope_only and isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ):
            return
        if isinstance(node, ast.Import):
            packages.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            packages.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(code))
    return packages


def module_folders() -> list[Path]:
    """Return the folders of the Slicer modules, each with a CMakeLists.txt of its own."""
    return sorted(
        path.parent
        for path in ROOT.glob("*/CMakeLists.txt")
        if path.parent != ROOT and path.parent.name != "Testing"
    )


def libraries() -> list[Path]:
    """Return every ``<Something>Lib`` package, also of modules that have no panel yet."""
    return sorted(folder for folder in ROOT.glob("[A-Z]*/*Lib") if folder.is_dir())


MODULE_LIBRARIES = [path for path in libraries() if path.name == f"{path.parent.name}Lib"]
SLICER_FREE = [path for path in libraries() if not path.name.endswith("SlicerLib")]
SLICER_SIDE = {path.name for path in libraries() if path not in SLICER_FREE}
MODULE_FILES = [folder / f"{folder.name}.py" for folder in module_folders()]


def violations(folder: Path, forbidden: set[str]) -> list[str]:
    """Return one line for each file below ``folder`` that imports a forbidden package."""
    lines = []
    for path in sorted(folder.rglob("*.py")):
        found = imported_packages(path.read_text(encoding="utf-8")) & forbidden
        lines += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(found)]
    return lines


def test_the_libraries_are_found():
    assert {"ReadingRoomLib", "ReadingRoomSlicerLib", "MuscleSegLib", "HeadCTTriageLib",
            "BrainTumorClassifyLib", "TemporalSubtractionLib", "LandmarkPretrainLib"} <= {
                path.name for path in libraries()}


@pytest.mark.parametrize(
    ("code", "file_scope_only", "expected"),
    [
        ("import slicer.util", False, {"slicer"}),
        ("def f():\n    from vtk import vtkImageData", False, {"vtk"}),
        ("def f():\n    import torch", True, set()),
        ("class A:\n    import torch", True, {"torch"}),
        ("try:\n    import torch\nexcept ImportError:\n    pass", True, {"torch"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", True, {"typing"}),
        ("from . import qt", False, set()),
    ],
)
def test_the_import_reader_itself(code, file_scope_only, expected):
    assert imported_packages(code, file_scope_only) == expected


@pytest.mark.parametrize("folder", SLICER_FREE, ids=lambda path: path.name)
def test_slicer_free_code_imports_nothing_of_slicer(folder):
    assert violations(folder, SLICER | SLICER_SIDE | {"SampleData"}) == []


@pytest.mark.parametrize("folder", MODULE_LIBRARIES, ids=lambda path: path.name)
def test_no_module_library_imports_another(folder):
    others = {path.name for path in MODULE_LIBRARIES} - {folder.name}
    modules = {path.name for path in module_folders()}
    assert violations(folder, others | modules) == []


def test_the_core_knows_no_module():
    modules = {path.name for path in module_folders()}
    of_modules = modules | {path.name for path in MODULE_LIBRARIES} | SLICER_SIDE
    assert violations(ROOT / "ReadingRoomCore" / "ReadingRoomLib", of_modules) == []


def test_the_glue_knows_no_module():
    modules = {path.name for path in module_folders()}
    of_modules = modules | {path.name for path in MODULE_LIBRARIES}
    of_modules |= SLICER_SIDE - {"ReadingRoomSlicerLib"}
    assert violations(ROOT / "ReadingRoomCore" / "ReadingRoomSlicerLib", of_modules) == []


@pytest.mark.parametrize("path", MODULE_FILES, ids=lambda path: path.name)
def test_a_module_file_imports_no_third_party_package_at_file_scope(path):
    ours = {folder.name for folder in libraries()}
    found = imported_packages(path.read_text(encoding="utf-8"), file_scope_only=True)
    assert found - FREE_AT_FILE_SCOPE - ours == set()


@pytest.mark.parametrize(
    "path",
    [path for folder in libraries() for path in sorted(folder.rglob("__init__.py"))],
    ids=lambda path: str(path.relative_to(ROOT).parent),
)
def test_a_package_init_imports_nothing(path):
    found = imported_packages(path.read_text(encoding="utf-8"), file_scope_only=True)
    assert found <= {"__future__"}


def test_what_a_panel_imports_brings_no_heavy_package():
    """Opening a panel may import these parts of the core, so they must stay light."""
    code = (
        "import sys\n"
        "import ReadingRoomLib.errors, ReadingRoomLib.progress, ReadingRoomLib.protocol\n"
        "import ReadingRoomLib.models, MuscleSegLib.measurement_table\n"
        "import TemporalSubtractionLib.candidate_table\n"
        "import HeadCTTriageLib.colors, HeadCTTriageLib.head_series\n"
        "import HeadCTTriageLib.triage_folder\n"
        "heavy = {'torch', 'monai', 'typer', 'SimpleITK', 'scipy', 'numpy', 'ignite'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    path = [str(folder) for folder in module_folders()]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_importable_names_are_unique_in_one_flat_folder():
    """Slicer puts all modules into one folder: no package may hide another, nor a module file."""
    names = [path.stem for path in MODULE_FILES] + [path.name for path in libraries()]
    assert len(names) == len({name.lower() for name in names})
    assert not set(names) & set(sys.stdlib_module_names)
