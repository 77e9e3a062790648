# SPDX-License-Identifier: Apache-2.0
"""ReadingRoom.json and CMakeLists.txt obey the rules of Slicer's extension index.

The rules are those of ``scripts/check_description_files.py`` and of the catalogue entry schema
1.0.2 in github.com/Slicer/ExtensionsIndex, without the ones that ask a server.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest

NAME = "ReadingRoom"
SCHEMA = "slicer-extension-catalog-entry-schema-v1.0.2.json"
PROPERTY_TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = {"$schema", "category", "scm_url"}
# Of the accepted categories, those that could describe this extension.
CATEGORIES = {"Analysis", "Informatics", "Quantification", "Segmentation"}
SIZE_LIMIT_MB = 100


@pytest.fixture(scope="module")
def description(root) -> dict:
    return json.loads((root / f"{NAME}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cmake(root) -> str:
    return (root / "CMakeLists.txt").read_text(encoding="utf-8")


def cmake_value(cmake: str, name: str) -> str:
    """Return what CMakeLists.txt sets ``EXTENSION_<name>`` to, read as the index reads it."""
    found = re.search(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"[ ]*\)', cmake)
    assert found, f"EXTENSION_{name} is not set"
    return found.group(1)


def test_the_schema_is_met(description):
    assert REQUIRED <= set(description) <= set(PROPERTY_TYPES)
    for key, value in description.items():
        assert type(value) is PROPERTY_TYPES[key], key
    assert description["$schema"].split("#")[0].endswith(SCHEMA)
    assert 1 <= description["tier"] <= 5


def test_lines_end_with_a_line_feed_only(root):
    assert b"\r" not in (root / f"{NAME}.json").read_bytes()


def test_the_name_does_not_start_with_slicer_and_the_repository_does(description):
    assert not NAME.lower().startswith("slicer")
    repository = urlsplit(description["scm_url"]).path.rsplit("/", 1)[-1].removesuffix(".git")
    assert repository == f"Slicer{NAME}"


def test_the_address_is_of_a_kind_the_index_can_clone(description):
    assert urlsplit(description["scm_url"]).scheme in {"git", "https"}


def test_the_category_is_an_accepted_one(description):
    assert description["category"] in CATEGORIES


def test_cmake_names_the_same_extension(cmake):
    assert re.search(r"project\s*\(\s*([^\s\)\n\r]+)", cmake).group(1) == NAME


def test_cmake_and_description_name_the_same_dependencies(cmake, description):
    assert cmake_value(cmake, "DEPENDS").split() == description["build_dependencies"]


def test_homepage_and_repository_agree(cmake, description):
    assert cmake_value(cmake, "HOMEPAGE") == description["scm_url"]


def test_icon_and_screenshots_are_pictures_in_the_repository(cmake, root):
    urls = [cmake_value(cmake, "ICONURL"), *cmake_value(cmake, "SCREENSHOTURLS").split()]
    prefix = f"https://raw.githubusercontent.com/{NAME}/Slicer{NAME}/main/"
    for url in urls:
        assert url.startswith(prefix)
        picture = root / url.removeprefix(prefix)
        assert picture.is_file(), f"{picture.name} is named in CMakeLists.txt and does not exist"
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_icon_is_128_pixels_wide_and_high(root):
    header = (root / f"{NAME}.png").read_bytes()[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (128, 128)


def test_the_licence_is_there_and_named_on_the_homepage(root):
    assert "Apache License" in (root / "LICENSE").read_text(encoding="utf-8")
    assert "Apache" in (root / "README.md").read_text(encoding="utf-8")


def test_the_description_is_short_and_says_what_it_is_not(cmake):
    text = cmake_value(cmake, "DESCRIPTION")
    assert len(text) < 300
    assert "not a medical device" in text


def test_the_checkout_is_small_enough(project_files):
    total = sum(path.stat().st_size for path in project_files) / 2**20
    assert total < SIZE_LIMIT_MB, f"the files of the repository add up to {total:.0f} MB"
