# SPDX-License-Identifier: Apache-2.0
"""pyproject.toml, constraints.txt, Slicer's requirements.txt, Makefile and README agree."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TARGETS = ["demo", "test", "lint", "models", "bench", "photos", "clean", "help"]
# What Slicer brings itself, or the PyTorch extension chooses for the computer: never from a list.
LEFT_TO_SLICER = {"numpy", "pillow", "scipy", "simpleitk", "pydicom", "torch"}


def read_requirements(path) -> list[Requirement]:
    """Return the requirements of a pip file, comments left out."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pins(root) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in read_requirements(root / "constraints.txt")}


def declared(project) -> list[Requirement]:
    """Return every requirement of the package and of its extras, but for the package itself."""
    texts = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    return [r for r in map(Requirement, texts) if r.name != project["name"]]


def test_every_requirement_has_a_floor_and_a_pin_above_it(project, pins):
    for requirement in declared(project):
        assert [spec.operator for spec in requirement.specifier] == [">="], str(requirement)
        pin = pins[canonicalize_name(requirement.name)]
        assert [spec.operator for spec in pin.specifier] == ["=="], str(pin)
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} is below {requirement}"


def imported_distributions(folders) -> set[str]:
    """Return the packages, as pip names them, that the Python files below the folders import."""
    imported = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    known = packages_distributions()
    return {canonicalize_name(known[name][0]) for name in imported & known.keys()}


def names_of(requirements: list[str]) -> set[str]:
    """Return the names of requirements, as pip compares them."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_every_package_that_the_libraries_import_is_declared_and_no_other(project, root):
    """Tools that only a part of the users need stand in extras."""
    libraries = [root / "ReadingRoomCore" / "ReadingRoomLib", root / "MuscleSeg" / "MuscleSegLib",
                 root / "HeadCTTriage" / "HeadCTTriageLib",
                 root / "BrainTumorClassify" / "BrainTumorClassifyLib",
                 root / "TemporalSubtraction" / "TemporalSubtractionLib",
                 root / "LandmarkPretrain" / "LandmarkPretrainLib"]
    needed = imported_distributions(libraries) - {project["name"]}
    # many packages make up the name "itk", of which elastix is one
    needed = {"itk-elastix" if name.startswith("itk-") else name for name in needed}
    always = names_of(project["dependencies"])
    extras = [project["optional-dependencies"][name]
              for name in ("atlas", "train", "export", "listen", "experiment", "radiomics",
                           "database", "search", "transfer", "confidence")]
    assert needed <= always | names_of(sum(extras, []))
    assert always <= needed


def test_every_package_that_the_tests_import_is_declared(project, root):
    brought_by = {"vtk": "slicer-core", "shiboken6": "pyside6-essentials", "packaging": "pytest"}
    needed = imported_distributions([root / "Testing"]) - {project["name"]}
    # a peer of the benchmarks, where it is installed: many packages make up the name "itk"
    brought_by |= {name: "itk-elastix" for name in needed if name.startswith("itk-")}
    texts = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    assert {brought_by.get(name, name) for name in needed} <= names_of(texts)


def test_torch_stays_at_the_version_that_was_tested(pins):
    assert str(pins["torch"].specifier) == "==2.13.0"


def test_slicer_installs_the_same_floors_and_keeps_its_own_packages(project, root):
    floors = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    listed = {
        canonicalize_name(r.name): r
        for r in read_requirements(root / "ReadingRoomCore" / "Resources" / "requirements.txt")
    }
    assert set(listed) == set(floors) - LEFT_TO_SLICER
    assert all(str(listed[name]) == str(floors[name]) for name in listed)


def test_the_versions_agree(project, root):
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    package = root / "ReadingRoomCore" / "ReadingRoomLib" / "__init__.py"
    code = package.read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE).group(1) == project["version"]
    assert re.search(r'^__version__ = "(.+)"$', code, re.MULTILINE).group(1) == project["version"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_makefile_has_the_target(root, target):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    ["make demo", "make test", "python -m MuscleSegLib segment", "readingroom muscleseg segment"],
)
def test_the_readme_names_the_command(root, command):
    assert command in (root / "README.md").read_text(encoding="utf-8")


def test_the_readme_gives_the_scores_of_the_model_that_is_there(root):
    model = root / "MuscleSeg" / "MuscleSegLib" / "Models" / "starter"
    metadata = json.loads((model / "configs" / "metadata.json").read_text(encoding="utf-8"))
    scores = metadata["eval_metrics"]["held-out"]
    readme = (root / "README.md").read_text(encoding="utf-8")
    for score in ("mean_dice", "mean_dice_where_shown"):
        assert f"| {scores[score]} |" in readme
    assert f"(correlation {scores['uncertainty_against_dice']['pearson']:.2f})" in readme


def test_links_in_the_documents_lead_somewhere(root, project_files):
    broken = []
    for path in (path for path in project_files if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            is_local = "://" not in target and not target.startswith("mailto:")
            if is_local and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(root)} -> {target}")
    assert broken == []


def test_ci_runs_the_tests_and_the_style_check(root):
    script = root / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert "make test" in text
    assert "make lint" in text
    assert script.stat().st_mode & 0o111
