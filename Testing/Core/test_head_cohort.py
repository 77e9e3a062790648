# SPDX-License-Identifier: Apache-2.0
"""Repeats and scans after surgery are listed, not dropped."""

from __future__ import annotations

import csv
import datetime
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from HeadCTTriageLib.__main__ import app
from HeadCTTriageLib.cohort import AFTER_SURGERY, Examination, curate
from HeadCTTriageLib.cohort_command import examinations_of
from ReadingRoomLib.dicom_series import files_below
from ReadingRoomLib.errors import BadInput

from .dicom_factory import write_series

DAY = datetime.date(2020, 1, 1)


def scan(name, patient="a", day=0, description="CT head"):
    return Examination(name, patient, DAY + datetime.timedelta(day), description)


def names(parted):
    kept, left_out = parted
    return [one.name for one in kept], {out.examination.name: out.reason for out in left_out}


def test_repeats_within_a_short_time_are_left_out_and_named():
    kept, left_out = names(curate([scan("1"), scan("2", day=3), scan("3", day=40)]))
    assert kept == ["1", "3"] and left_out == {"2": "it repeats 1 within 14 days"}


def test_daily_scans_of_a_month_are_one_examination():
    kept, left_out = names(curate([scan(f"{day:02}", day=day) for day in range(30)]))
    assert kept == ["00"] and len(left_out) == 29


def test_a_repeat_is_one_of_the_same_patient():
    kept, _ = names(curate([scan("1"), scan("2", patient="b", day=1)]))
    assert kept == ["1", "2"]


def test_scans_after_surgery_are_left_out_and_so_are_later_ones():
    kept, left_out = names(curate([
        scan("before"), scan("after", day=100, description="CT head post-op"),
        scan("later", day=400)]))
    assert kept == ["before"]
    assert left_out["after"] == 'its description says "post-op"'
    assert "after, which is earlier, was taken after surgery" in left_out["later"]


def test_a_scan_without_a_day_is_left_out():
    kept, left_out = names(curate([replace(scan("1"), acquired=None), scan("2")]))
    assert kept == ["2"] and "day is not known" in left_out["1"]


@pytest.mark.parametrize("text", [
    "Head CT POSTOP", "post operative control", "post_op day 2", "CT brain s/p craniotomy",
    "status post clipping", "after surgery", "VP shunt check", "EVD in place", "頭部CT 術後",
    "Postoperative Kontrolle", "hematoma evacuation"])
def test_words_for_surgery_are_known(text):
    assert AFTER_SURGERY.search(text)


@pytest.mark.parametrize("text", [
    "CT head without contrast", "Stroke", "trauma, fall", "posterior fossa", "post traumatic",
    "spiral thin", "topogram", "optic nerve", "recoil injury", "postictal", "頭部CT"])
def test_other_words_are_not(text):
    assert not AFTER_SURGERY.search(text)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60),
                          st.sampled_from(["", "postop"])), max_size=20), st.integers(0, 30))
def test_every_scan_is_kept_or_named_and_those_kept_are_far_apart(archive, days):
    scans = [scan(str(number), patient, day, text)
             for number, (patient, day, text) in enumerate(archive)]
    kept, left_out = curate(scans, days)
    assert sorted(map(str, [*kept, *(out.examination for out in left_out)])) == sorted(
        map(str, scans))
    assert (kept, left_out) == curate(reversed(scans), days)
    for first, second in zip(kept, kept[1:], strict=False):
        if first.patient == second.patient:
            assert (second.acquired - first.acquired).days > days


def test_a_negative_time_is_refused():
    with pytest.raises(ValueError):
        curate([], -1)


# --- an archive ----------------------------------------------------------------------------------


def test_an_archive_is_parted_and_listed(tmp_path):
    def study(name, patient, date, description, modality="CT"):
        uid = generate_uid()

        def edit(dataset, index):
            dataset.PatientID, dataset.StudyInstanceUID = patient, uid
            dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = date
            dataset.StudyDescription = description

        write_series(tmp_path / "archive" / name, count=3, edit=edit, modality=modality)

    study("a/first", "A", "20200101", "CT head")
    study("a/again", "A", "20200104", "CT head")
    study("a/operated", "A", "20200601", "CT head post-op")
    study("b", "B", "20200102", "CT head")
    study("c", "C", "20200102", "MR head", modality="MR")
    (tmp_path / "archive" / "notes.txt").write_text("nothing", "utf-8")
    with pytest.raises(SystemExit) as ended:
        app(["cohort", str(tmp_path / "archive"), "--output", str(tmp_path / "out"),
             "--progress", "none"])
    assert ended.value.code == 0
    with (tmp_path / "out" / "cohort.csv").open(encoding="utf-8") as file:
        rows = {row["examination"]: row for row in csv.DictReader(file)}
    assert {name: row["in_study"] for name, row in rows.items()} == {
        "a/first": "yes", "b": "yes", "a/again": "no", "a/operated": "no"}
    assert rows["a/again"]["reason"] == "it repeats a/first within 14 days"
    assert "post-op" in rows["a/operated"]["reason"]
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["left_out"] == 2


def test_scans_without_a_patient_number_are_not_each_others_repeats(tmp_path):
    for name in "ab":
        uid = generate_uid()

        def edit(dataset, index, uid=uid):
            dataset.PatientID, dataset.StudyInstanceUID = "", uid
            dataset.AcquisitionDate = dataset.StudyDate = "20200101"

        write_series(tmp_path / name, count=2, edit=edit)
    found = examinations_of(files_below(tmp_path), tmp_path)
    assert len({one.patient for one in found}) == 2


def test_an_archive_without_ct_is_refused(tmp_path):
    (tmp_path / "archive").mkdir()
    with pytest.raises(SystemExit) as ended:
        app(["cohort", str(tmp_path / "archive"), "--output", str(tmp_path / "out"),
             "--progress", "none"])
    assert ended.value.code == BadInput.exit_code
