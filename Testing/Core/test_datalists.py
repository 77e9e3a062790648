# SPDX-License-Identifier: Apache-2.0
"""Lists of images to learn from: what is refused, and patients that stay together."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ReadingRoomLib.datalists import Item, check_apart, part_patients, read_datalist, read_pairs
from ReadingRoomLib.errors import BadInput

LABELS = ("ill", "well")


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.nrrd").write_bytes(b"image")
    return tmp_path


def written(folder, content):
    path = folder / "list.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def entry(image="a.nrrd", **more):
    return {"image": image, "label": "ill", "patient": 1} | more


def test_what_a_list_says_is_read(folder):
    parts = read_datalist(written(folder, {
        "training": [entry(), entry("b.nrrd", label="well", patient=" P 2 ", site="north")],
        "test": [entry("c.nrrd", patient=3)], "name": "something else"}), LABELS)
    assert list(parts) == ["training", "test"]
    second = parts["training"][1]
    assert (second.image, second.label, second.patient, second.site) == (
        folder / "b.nrrd", "well", "P 2", "north")
    assert parts["test"][0].place == "item 1 of test"


@pytest.mark.parametrize("content, said", [
    ("no json", "is no list of images"),
    ("[]", 'needs a list "training"'),
    ({"validation": [entry()]}, 'needs a list "training"'),
    ({"training": [entry()], "test": {"a": 1}}, '"test" in list.json must be a list'),
    ({"training": ["a.nrrd"]}, "wrong at item 1 of training"),
    ({"training": [entry(), entry("b.nrrd", patient="")]}, 'item 2 of training: "patient" is miss'),
    ({"training": [{"image": "a.nrrd", "patient": 1}]}, '"label" is missing'),
    ({"training": [entry(label="sick")]}, 'its label is "sick", but must be one of ill, well'),
    ({"training": [entry("gone.nrrd")]}, "gone.nrrd .item 1 of training. cannot be found"),
    ({"training": [entry()], "test": [entry("./a.nrrd", patient=2)]},
     "twice in the list .item 1 of training, item 1 of test"),
])
def test_what_is_wrong_is_said_in_one_sentence(content, said, folder):
    with pytest.raises(BadInput, match=said) as refused:
        read_datalist(written(folder, content), LABELS)
    assert "\n" not in refused.value.message and refused.value.message.endswith(".")


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="none.json cannot be found"):
        read_datalist(tmp_path / "none.json", LABELS)


def test_no_patient_may_be_on_both_sides(folder):
    parts = read_datalist(written(folder, {
        "training": [entry(), entry("b.nrrd")], "test": [entry("c.nrrd", patient="1")]}), LABELS)
    with pytest.raises(BadInput, match="same patient .*item 1 of training, item 1 of test"):
        check_apart(parts)
    check_apart({"training": parts["training"]})


@given(patients=st.lists(st.integers(0, 60), min_size=20, max_size=120), seed=st.integers(0, 99))
def test_patients_stay_together_and_every_rank_gets_its_share(patients, seed):
    items = [Item(f"{number}.nrrd", "ill", str(patient), "", "")
             for number, patient in enumerate(patients)]
    ranks = {str(patient): patient % 3 for patient in patients}
    shares = {"training": 0.6, "validation": 0.2, "test": 0.2}
    parts = part_patients(items, shares, lambda item: ranks[item.patient], seed)
    assert sorted(items, key=str) == sorted(sum(parts.values(), []), key=str)
    members = {part: {item.patient for item in chosen} for part, chosen in parts.items()}
    assert sum(map(len, members.values())) == len(ranks)
    for rank in range(3):
        count = sum(known == rank for known in ranks.values())
        for part, share in shares.items():
            here = sum(ranks[patient] == rank for patient in members[part])
            assert abs(here - share * count) <= 2
    assert parts == part_patients(items, shares, lambda item: ranks[item.patient], seed)


def pair(image="a.nrrd", **more):
    return {"image": image, "landmarks": "points.json", "patient": 1} | more


def test_pairs_are_read_with_their_companions(folder):
    (folder / "points.json").write_text("{}")
    parts = read_pairs(written(folder, {
        "training": [pair()], "test": [pair("b.nrrd", patient=" 2 ", site="north")]}), "landmarks")
    assert list(parts) == ["training", "test"]
    found = parts["test"][0]
    assert (found.image, found.companion, found.patient, found.site, found.place) == (
        folder / "b.nrrd", folder / "points.json", "2", "north", "item 1 of test")
    check_apart(parts)
    with pytest.raises(BadInput, match="same patient"):
        check_apart({"training": parts["training"], "test": parts["training"]})
    shares = part_patients(parts["training"] + parts["test"], {"a": 0.5, "b": 0.5},
                           lambda item: 0, 1)
    assert sorted(len(items) for items in shares.values()) == [1, 1]


@pytest.mark.parametrize("content, said", [
    ({"training": ["a.nrrd"]}, 'write {"image": ..., "landmarks": ..., "patient": ...}'),
    ({"training": [{"image": "a.nrrd", "patient": 1}]}, '"landmarks" is missing'),
    ({"training": [pair(landmarks="gone.json")]},
     "The file of landmarks gone.json (item 1 of training) cannot be found"),
    ({"training": [pair(), pair("./a.nrrd")]}, "stands twice in the list"),
])
def test_what_is_wrong_with_pairs_is_said(content, said, folder):
    (folder / "points.json").write_text("{}")
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        read_pairs(written(folder, content), "landmarks")
    assert "\n" not in refused.value.message and refused.value.message.endswith(".")


def test_a_companion_may_be_left_out_where_none_is_needed(folder):
    path = written(folder, {"training": [{"image": "a.nrrd", "patient": 1}]})
    assert read_pairs(path, "lesions", needed=False)["training"][0].companion is None
