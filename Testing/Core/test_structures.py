# SPDX-License-Identifier: Apache-2.0
"""The table of structures: values, names, colours, codes, and its twin for Slicer."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

import MuscleSegLib
from MuscleSegLib.structures import (
    LEFT_OFFSET,
    STRUCTURES,
    labels_of,
    structure_named,
    terminology_document,
    terminology_entry,
)

# Verhoeff's dihedral tables: the check digit of every SNOMED CT identifier.
_MULTIPLY = [
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
]
_PERMUTE = [
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
]


def _has_valid_check_digit(number: str) -> bool:
    check = 0
    for position, digit in enumerate(reversed(number)):
        check = int(_MULTIPLY[check][int(_PERMUTE[position % 8][int(digit)])])
    return check == 0


def test_published_list_in_label_order():
    groups = [structure.group for structure in STRUCTURES]
    assert [structure.value for structure in STRUCTURES] == list(range(1, 23))
    assert (groups.count("bone"), groups.count("hip"), groups.count("thigh")) == (3, 9, 10)
    assert [structure.name for structure in STRUCTURES[:4]] == [
        "pelvis", "femur", "sacrum", "gluteus_maximus"]
    assert STRUCTURES[-1].name == "vastus_medialis"


def test_sides_keep_right_and_offset_left():
    labels = {label.name: label for label in labels_of(sides=True)}
    assert len(labels) == 43
    assert labels["femur_right"].value == 2
    assert labels["femur_left"].value == 2 + LEFT_OFFSET
    assert labels["sacrum"].value == 3 and labels["sacrum"].side is None
    assert labels["femur_left"].display_name == "Femur, left"


def test_without_sides_one_label_per_structure():
    labels = labels_of(sides=False)
    assert [label.value for label in labels] == list(range(1, 23))
    assert {label.side for label in labels} == {None}


def test_colours_can_be_told_apart():
    for first, second in combinations(STRUCTURES, 2):
        distance = sum((a - b) ** 2 for a, b in zip(first.color, second.color, strict=True)) ** 0.5
        assert distance >= 25, (first.name, second.name)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.name)
def test_code_is_a_snomed_identifier(structure):
    assert _has_valid_check_digit(structure.code.value)
    assert structure.code.meaning and structure.code.scheme == "SCT"


def test_terminology_entry_has_the_seven_fields_slicer_reads():
    entry = terminology_entry(structure_named("femur"), "left").split("~")
    assert len(entry) == 7
    assert entry[2] == "SCT^71341001^Femur"
    assert entry[3] == "SCT^7771000^Left"
    assert terminology_entry(structure_named("sacrum")).split("~")[3] == "^^"


def test_unknown_structure():
    with pytest.raises(KeyError, match="spleen"):
        structure_named("spleen")


def test_terminology_file_is_the_table():
    path = Path(MuscleSegLib.__file__).with_name("terminology.json")
    assert json.loads(path.read_text(encoding="utf-8")) == terminology_document()


def test_importing_brings_no_third_party_module():
    code = ("import sys; before = set(sys.modules); import MuscleSegLib.structures;"
            "print(*(set(sys.modules) - before))")
    new = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"numpy", "torch", "monai", "SimpleITK", "typer"}
    assert not heavy & {name.split(".")[0] for name in new.stdout.split()}
