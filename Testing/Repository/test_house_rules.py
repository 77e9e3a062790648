# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for every file: licence line, no machine's paths, no huge file, no loose end."""

from __future__ import annotations

import re

import pytest

LICENCE_LINE = "SPDX-License-Identifier: Apache-2.0"
WITH_LICENCE_LINE = {".py", ".cmake", ".toml"}
WITH_LICENCE_LINE_NAMES = {"CMakeLists.txt", "Makefile", "requirements.txt", "constraints.txt"}
TEXT = {".py", ".md", ".txt", ".toml", ".cmake", ".json", ".ui", ".cff", ".yml", ".sh", ""}
# Written in pieces so that this file does not find itself.
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:" + "|".join(["work", "farm", "root", r"home/\w+", r"Users/\w+"]) + r")/"
)
LOOSE_ENDS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
MEGABYTES = 10


def text_files(project_files):
    """Return the files that people wrote, as (path, text)."""
    return [
        (path, path.read_text(encoding="utf-8")) for path in project_files if path.suffix in TEXT
    ]


def lines_matching(project_files, root, pattern):
    """Return ``file:line: text`` for every line that matches ``pattern``."""
    return [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path, text in text_files(project_files)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_every_source_file_names_its_licence(project_files, root):
    missing = [
        str(path.relative_to(root))
        for path in project_files
        if (path.suffix in WITH_LICENCE_LINE or path.name in WITH_LICENCE_LINE_NAMES)
        and LICENCE_LINE not in "\n".join(path.read_text(encoding="utf-8").splitlines()[:3])
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("line", "is_a_machine_path"),
    [
        ("see /wo" + "rk/shared/x", True),
        ("'/ho" + "me/anna/data'", True),
        ("/net" + "work/x", False),
        ("frame/wo" + "rk/", False),
    ],
)
def test_the_search_for_machine_paths_itself(line, is_a_machine_path):
    assert bool(MACHINE_PATHS.search(line)) is is_a_machine_path


def test_no_file_names_a_path_of_one_machine(project_files, root):
    assert lines_matching(project_files, root, MACHINE_PATHS) == []


def test_no_file_is_left_unfinished(project_files, root):
    assert lines_matching(project_files, root, LOOSE_ENDS) == []


def test_no_file_is_larger_than_a_starter_model_may_be(project_files, root):
    large = [
        f"{path.relative_to(root)}: {path.stat().st_size / 2**20:.1f} MB"
        for path in project_files
        if path.stat().st_size > MEGABYTES * 2**20
    ]
    assert large == []


def test_no_pickled_weights_are_in_the_repository(project_files, root):
    pickles = {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
    assert [str(p.relative_to(root)) for p in project_files if p.suffix in pickles] == []


def test_packages_are_named_and_no_registry_is(project_files, root):
    hosts = ["py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)"]
    assert lines_matching(project_files, root, re.compile("|".join(hosts))) == []
