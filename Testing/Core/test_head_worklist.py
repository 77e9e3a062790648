# SPDX-License-Identifier: Apache-2.0
"""The worklist: who is looked at first, what is kept and exported; which series are heads."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from HeadCTTriageLib import judging, worklist
from HeadCTTriageLib.colors import COLORS, TAG_COLORS
from HeadCTTriageLib.head_series import Series, head_cts, is_head_ct
from HeadCTTriageLib.triage import Tag
from HeadCTTriageLib.worklist import (
    State,
    Study,
    in_order,
    new_study,
    next_waiting,
    read_worklist,
    waited_text,
    write_csv,
    write_worklist,
)
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.head_findings import KINDS

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def study(name, minutes=0, **known):
    """A study that was put on the list some minutes before noon."""
    return replace(new_study(name, name, NOON - timedelta(minutes=minutes)), **known)


def judged(name, tag, decision="urgent", minutes=0):
    return study(name, minutes).judged({"result": f"r-{name}", "triage": tag, "decision": decision,
                                        "urgent_probability": 0.5})


ALL = [
    judged("red", "red"), judged("uncertain", "green", judging.UNCERTAIN),
    study("refused").refused("It shows no head."), judged("black", "black"),
    study("judging", minutes=1, state=State.JUDGING), study("waiting"),
    judged("yellow", "yellow", "can wait"), judged("green", "green", "can wait"),
    judged("done red", "green", "can wait").reviewed("overruled", "red", "seen"),
    judged("done green", "green", "can wait").reviewed("confirmed", "green", ""),
]


def test_words_and_colours_are_those_of_the_judgement():
    assert worklist.UNCERTAIN == judging.UNCERTAIN
    assert set(worklist.TAGS) == set(TAG_COLORS) == {tag.name.lower() for tag in Tag}
    assert set(COLORS) == set(KINDS)


def test_the_order_is_the_stated_one():
    assert [one.name for one in in_order(reversed(ALL))] == [one.name for one in ALL]


@given(order=st.permutations([replace(one, key=f"{one.key}{copy}") for one in ALL
                              for copy in range(2)]))
def test_any_order_of_entries_sorts_the_same(order):
    assert in_order(order) == in_order(sorted(order, key=lambda one: one.key))


@given(minutes=st.lists(st.integers(0, 10_000), unique=True, min_size=2),
       kind=st.sampled_from(ALL))
def test_who_waits_longest_comes_first_among_the_equally_urgent(minutes, kind):
    waiting = [replace(study(str(minute), minute), **{
        name: getattr(kind, name) for name in ("state", "tag", "decision", "physician_tag")})
        for minute in minutes]
    assert [one.name for one in in_order(waiting)] == [
        str(minute) for minute in sorted(minutes, reverse=True)]


def test_an_uncertain_green_comes_before_every_black_and_yellow():
    uncertain = judged("uncertain", "green", worklist.UNCERTAIN)
    others = [judged("black", "black", minutes=99), judged("yellow", "yellow", minutes=99)]
    assert in_order([*others, uncertain])[0] is uncertain


def test_who_has_waited_longest_is_judged_next():
    assert next_waiting(ALL).name == "waiting"
    assert next_waiting([study("b", 5), study("a", 9), judged("c", "red", minutes=20)]).name == "a"
    assert next_waiting([judged("c", "red")]) is None


def test_a_study_is_judged_again_after_it_was_refused():
    again = study("a").refused("no head").judged(
        {"result": "r", "triage": "red", "decision": "urgent", "urgent_probability": 1.0})
    assert (again.state, again.remark, again.tag) == (State.JUDGED, "", "red")


@pytest.mark.parametrize(("minutes", "text"), [
    (0.9, "0 min"), (59, "59 min"), (60, "1 h 0 min"), (1439, "23 h 59 min"), (1440, "1 day"),
    (4500, "3 days")])
def test_waiting_is_told_in_words(minutes, text):
    assert waited_text(minutes) == text


def test_the_list_survives_the_program(tmp_path):
    path = tmp_path / "new" / "worklist.json"
    assert read_worklist(path) == []
    write_worklist(ALL, path)
    again = {one.name: one for one in read_worklist(path)}
    assert again.pop("judging").state is State.WAITING  # nobody judges it any more
    assert again == {one.name: one for one in ALL if one.name != "judging"}
    assert [child.name for child in path.parent.iterdir()] == ["worklist.json"]


@pytest.mark.parametrize("text", [
    "", "[]", '{"studies": [{"key": "a"}]}', '{"studies": [3]}',
    '{"studies": [{"key": "a", "name": "a", "added": "soon"}]}',
    '{"studies": [{"key": "a", "name": "a", "added": "2026-01-02", "state": "judged", "tag": "x"}]}'
])
def test_what_is_no_worklist_is_refused(tmp_path, text):
    (tmp_path / "worklist.json").write_text(text)
    with pytest.raises(BadInput, match="holds no worklist"):
        read_worklist(tmp_path / "worklist.json")


def test_the_csv_has_a_line_for_each_study_in_order(tmp_path):
    path = tmp_path / "list.csv"
    write_csv([study("=HYPERLINK(1)", 90), *ALL], path, NOON)
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["study"] for row in rows]
    assert names == [*[one.name for one in ALL[:4]], "'=HYPERLINK(1)",  # which does not run
                     *[one.name for one in ALL[4:]]]
    assert rows[0]["urgent_probability"] == "0.5000" and rows[0]["result"] == "r-red"
    assert rows[4]["waited_min"] == "90" and rows[4]["urgent_probability"] == ""
    assert rows[-2]["physician_tag"] == "red" and rows[-2]["remark"] == "seen"
    assert "not a medical device" in rows[0]["disclaimer"]


# --- which series are heads ----------------------------------------------------------------------


def series(uid="1", study="s", modality="CT", body_part="", description="", study_description="",
           image_type="ORIGINAL\\PRIMARY\\AXIAL", slices=30):
    return Series(uid, study, modality, body_part, description, study_description, image_type,
                  slices)


@pytest.mark.parametrize("header", [
    {"body_part": "HEAD"}, {"description": "Brain 5 mm"}, {"study_description": "CT Schädel nativ"},
    {"study_description": "頭部CT"}])
def test_head_cts_are_found_by_their_header(header):
    assert is_head_ct(series(**header))
    assert not is_head_ct(series(**header, modality="MR"))
    assert not is_head_ct(series(**header, slices=2))
    assert not is_head_ct(series(**header, image_type="ORIGINAL\\PRIMARY\\LOCALIZER"))


@pytest.mark.parametrize("description", [
    "CTA Head", "Head Topogram", "Perfusion", "Knochen 1 mm", "Head with contrast", "Face bones"])
def test_what_is_no_plain_head_is_left_out(description):
    assert not is_head_ct(series(body_part="HEAD", description=description))
    assert not is_head_ct(series(body_part="CHEST", description="Lung"))


def test_one_series_of_each_study_is_taken():
    found = head_cts([
        series("1", "a", body_part="HEAD", slices=20), series("2", "a", body_part="HEAD"),
        series("3", "b", body_part="HEAD"), series("4", "c", body_part="PELVIS"),
        series("0", "b", body_part="HEAD")])
    assert sorted(one.uid for one in found) == ["0", "2"]


def test_a_study_is_not_changed_in_place():
    one = study("a")
    assert one.judged({"result": "r", "triage": "red", "decision": "urgent",
                       "urgent_probability": 1.0}) is not one
    assert one == Study("a", "a", NOON.isoformat())
