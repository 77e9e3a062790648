# SPDX-License-Identifier: Apache-2.0
"""A reader study is conducted fairly, nothing that a reader said is lost, and marks are scored."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.reader_study.analysis import obuchowski_rockette
from ReadingRoomLib.reader_study.conduct import (
    Answer,
    Lesion,
    Mark,
    ReaderLog,
    ReadingClock,
    StudyPlan,
    collect,
    reading_order,
)
from ReadingRoomLib.reader_study.figures_of_merit import Figure

MONDAY = datetime(2026, 1, 5, 9, 0, 0)
plans = st.builds(
    lambda cases, modalities, readers, seed: StudyPlan(
        tuple(f"case {i}" for i in range(cases)), tuple(f"m{i}" for i in range(modalities)),
        tuple(f"r{i}" for i in range(readers)), seed),
    st.integers(1, 30), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))


@pytest.fixture
def plan():
    return StudyPlan(tuple("abcdefgh"), ("without", "with"), ("Ann", "Ben"), seed=4)


# --- order ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(plans)
def test_every_reader_reads_every_case_once_in_every_modality(plan):
    for reader in plan.readers:
        sessions = reading_order(plan, reader)
        assert len(sessions) == len(plan.modalities)
        read = Counter((r.case, r.modality) for session in sessions for r in session)
        assert set(read.values()) == {1}
        assert len(read) == len(plan.cases) * len(plan.modalities)
        for index, session in enumerate(sessions, 1):
            assert {r.session for r in session} == {index}
            assert sorted(r.case for r in session) == sorted(plan.cases)
            assert [r.number for r in session] == list(range(1, len(plan.cases) + 1))
            shares = Counter(r.modality for r in session)
            counts = [shares[modality] for modality in plan.modalities]
            assert max(counts) - min(counts) <= 1


def test_the_order_is_the_plans_and_differs_between_readers_sessions_and_seeds(plan):
    def order(plan, reader, session):
        return [r.case for r in reading_order(plan, reader)[session]]

    assert order(plan, "Ann", 0) == order(replace(plan), "Ann", 0)
    others = {tuple(order(plan, "Ben", 0)), tuple(order(plan, "Ann", 1)),
              tuple(order(replace(plan, seed=5), "Ann", 0)), tuple(order(plan, "Ann", 0))}
    assert len(others) == 4


def test_no_modality_is_favoured_over_many_readers():
    plan = StudyPlan(("a",), ("x", "y"), tuple(f"r{i}" for i in range(400)))
    first = Counter(reading_order(plan, reader)[0][0].modality for reader in plan.readers)
    assert 160 < first["x"] < 240


@pytest.mark.parametrize("wrong", [{"cases": ()}, {"readers": ("a", "a")}, {"modalities": (" ",)}])
def test_names_must_tell_apart(plan, wrong):
    with pytest.raises(BadInput):
        replace(plan, **wrong)


# --- answers -------------------------------------------------------------------------------------


def read_all(log: ReaderLog, marks=lambda reading: [], count: int | None = None) -> None:
    now = MONDAY
    while (reading := log.next) and (count is None or len(log.answers) < count):
        now = max(now, log.washout_until() or now) + timedelta(minutes=3)
        log.add(reading, marks(reading), None, 42.5, now)


def test_a_study_goes_on_where_it_was_left(plan, tmp_path):
    path = tmp_path / "Ann.jsonl"
    log = ReaderLog(path, plan, "Ann")
    expected = [r for session in reading_order(plan, "Ann") for r in session]
    assert log.next == expected[0] and log.washout_until() is None
    read_all(log, count=5)
    again = ReaderLog(path, plan, "Ann")
    assert again.answers == log.answers and again.next == expected[5]
    assert again.answers[0].seconds == 42.5
    read_all(again)
    assert again.next is None and again.washout_until() is None
    assert [(a.case, a.modality) for a in again.answers] == [(r.case, r.modality) for r in expected]


def test_between_the_sessions_lies_a_washout(plan, tmp_path):
    log = ReaderLog(tmp_path / "a.jsonl", plan, "Ann")
    read_all(log, count=len(plan.cases))
    last = datetime.fromisoformat(log.answers[-1].finished)
    until = log.washout_until()
    assert until == last + timedelta(days=28)
    with pytest.raises(BadInput, match=f"{until:%Y-%m-%d}"):
        log.add(log.next, [], None, 1, until - timedelta(seconds=1))
    assert f"{until:%Y-%m-%d}" in log.reason_to_wait(until - timedelta(seconds=1))
    assert log.reason_to_wait(until) == "" and log.reason_to_wait(until - timedelta(days=99))
    log.add(log.next, [], None, 1, until)
    assert log.washout_until() is None
    read_all(log)
    assert "All cases are read" in log.reason_to_wait(until)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_what_a_crash_left_half_written_is_read_again(plan, tmp_path, cut):
    path = tmp_path / "a.jsonl"
    read_all(ReaderLog(path, plan, "Ann"), count=3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    log = ReaderLog(path, plan, "Ann")
    kept = 3 if cut == 1 else 2
    assert len(log.answers) == kept
    read_all(log, count=4)
    assert [a.case for a in ReaderLog(path, plan, "Ann").answers] == [
        r.case for r in reading_order(plan, "Ann")[0][:4]]


def test_an_answer_that_cannot_be_written_is_not_kept(plan, tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    log = ReaderLog(path, plan, "Ann")
    read_all(log, count=2)
    before, reading = path.read_bytes(), log.next

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("os.fsync", full)
        log.add(reading, [], None, 1, MONDAY)
    assert path.read_bytes() == before and log.next == reading and len(log.answers) == 2
    log.add(reading, [], None, 1, MONDAY)
    assert len(ReaderLog(path, plan, "Ann").answers) == 3


def test_answers_of_others_are_refused(plan, tmp_path):
    path = tmp_path / "a.jsonl"
    read_all(ReaderLog(path, plan, "Ann"), count=1)
    with pytest.raises(BadInput, match="another reader"):
        ReaderLog(path, plan, "Ben")
    with pytest.raises(BadInput, match="another reader or study"):
        ReaderLog(path, replace(plan, cases=tuple("xyz")), "Ann")
    path.write_text(json.dumps({"reader": "Ann", "marks": []}) + "\n")
    with pytest.raises(BadInput, match="does not hold"):
        ReaderLog(path, plan, "Ann")


def test_answers_are_checked(plan, tmp_path):
    log = ReaderLog(tmp_path / "a.jsonl", plan, "Ann")
    first, second = reading_order(plan, "Ann")[0][:2]
    for reading, marks, rating, said in (
        (second, [], None, "Another case"),
        (first, [], 50, "Mark the lesions"),
        (first, [Mark((0, 0, 0), 101)], None, "between 0 and 100"),
        (first, [Mark((0, 0, 0), float("nan"))], None, "between 0 and 100"),
    ):
        with pytest.raises(BadInput, match=said):
            log.add(reading, marks, rating, 1, MONDAY)
    rated = replace(plan, free_response=False)
    log = ReaderLog(tmp_path / "b.jsonl", rated, "Ann")
    for marks, rating in (([], None), ([Mark((0, 0, 0), 5)], None), ([Mark((0, 0, 0), 5)], 5)):
        with pytest.raises(BadInput, match="how sure"):
            log.add(log.next, marks, rating, 1, MONDAY)
    assert not (tmp_path / "a.jsonl").exists() and not (tmp_path / "b.jsonl").exists()
    log.add(log.next, [], 0, 1, MONDAY)
    assert log.answers[0].rating == 0


def test_what_is_missing_is_asked_for(plan):
    assert plan.missing([], None, None) == "" and plan.missing([0, 100], None, None) == ""
    assert "mark 2" in plan.missing([0, None, 100], None, None)
    assert "ill" in replace(plan, free_response=False).missing([], None, None)
    assert replace(plan, free_response=False).missing([], 0, None) == ""
    asks = replace(plan, quality=("good", "poor"))
    assert "how good" in asks.missing([1], None, None) and "how good" in asks.missing([], None, "")
    assert asks.missing([1], None, "poor") == ""


def test_the_quality_of_the_images_is_kept(plan, tmp_path):
    log = ReaderLog(tmp_path / "a.jsonl", replace(plan, quality=("good", "poor")), "Ann")
    for quality in (None, "excellent"):
        with pytest.raises(BadInput, match="how good"):
            log.add(log.next, [], None, 1, MONDAY, quality)
    log.add(log.next, [], None, 1, MONDAY, "poor")
    assert ReaderLog(log.path, log.plan, "Ann").answers[0].quality == "poor"
    unasked = ReaderLog(tmp_path / "b.jsonl", plan, "Ann")
    with pytest.raises(BadInput, match="does not ask"):
        unasked.add(unasked.next, [], None, 1, MONDAY, "poor")


def test_answers_from_before_quality_was_asked_are_understood(plan, tmp_path):
    log = ReaderLog(tmp_path / "a.jsonl", plan, "Ann")
    read_all(log, count=1)
    entry = json.loads(log.path.read_text())
    del entry["quality"]
    log.path.write_text(json.dumps(entry) + "\n")
    assert ReaderLog(log.path, plan, "Ann").answers == log.answers


def test_the_clock_counts_only_while_it_runs():
    time = [100.0]
    clock = ReadingClock(lambda: time[0])

    def wait(seconds):
        time[0] += seconds

    wait(5)
    assert clock.seconds == 0 and not clock.running
    clock.run()
    wait(3)
    clock.run()  # runs already
    wait(1)
    assert clock.seconds == 4 and clock.running
    clock.pause()
    wait(7)
    clock.pause()
    assert clock.seconds == 4
    clock.run()
    wait(2)
    assert clock.seconds == 6
    clock.reset()
    wait(2)
    assert clock.seconds == 0 and not clock.running


# --- scoring -------------------------------------------------------------------------------------


def answers_of(plan: StudyPlan, marks) -> dict[str, list[Answer]]:
    return {reader: [Answer(case, modality, tuple(marks(reader, case, modality)), None, 1.0,
                            MONDAY.isoformat())
                     for case in plan.cases for modality in plan.modalities]
            for reader in plan.readers}


def test_marks_are_lesions_or_false(plan):
    truth = {"a": [Lesion((0, 0, 0), 10, 3), Lesion((12, 0, 0), 10, 1)],
             "b": [Lesion((5, 5, 5), 4)], "c": []}

    def marks(reader, case, modality):
        if case == "a":  # the second lies within both and nearer to the second; the third nowhere
            return [Mark((-9, 0, 0), 40), Mark((8, 0, 0), 70), Mark((0, 30, 0), 20),
                    Mark((1, 1, 0), 55)]
        return [Mark((0, 0, 0), 10)] if case in "bd" else []

    study = collect(plan, answers_of(plan, marks), truth)
    assert study.diseased.tolist() == [True, True] + [False] * 6
    assert study.weights[0].tolist() == [0.75, 0.25]
    assert study.lesion_ratings[0, 0, 0].tolist() == [55, 70]
    assert study.other_ratings[0, 0, 0].tolist() == [20]
    assert study.lesion_ratings[0, 0, 1, 0] == -np.inf  # the mark lies 8.7 mm away
    assert study.other_ratings[1, 1, [1, 3], 0].tolist() == [10, 10]


def test_cases_that_were_rated_become_a_roc_study(plan):
    plan = replace(plan, free_response=False)
    answers = {reader: [replace(a, rating=ord(a.case)) for a in given]
               for reader, given in answers_of(plan, lambda *names: []).items()}
    truth = {"a": [Lesion((0, 0, 0), 1), Lesion((9, 0, 0), 1)], "h": [Lesion((0, 0, 0), 1)]}
    study = collect(plan, answers, truth)
    assert not study.free_response
    assert study.case_ratings[0, 0].tolist() == [ord(case) for case in plan.cases]


def test_an_unfinished_reader_is_named(plan):
    answers = answers_of(plan, lambda *names: [])
    answers["Ben"].pop()
    with pytest.raises(BadInput, match="Ben"):
        collect(plan, answers, {"a": [Lesion((0, 0, 0), 1)], "b": [Lesion((0, 0, 0), 1)]})


def test_a_better_modality_is_found_from_conduct_to_analysis(tmp_path):
    """Simulated readers who find more with the aid, and whose marks go through the log."""
    random = np.random.default_rng(0)
    plan = StudyPlan(tuple(f"case {i}" for i in range(40)), ("without", "with"),
                     ("Ann", "Ben", "Cem", "Dea"), washout_days=1)
    truth = {case: [Lesion((0, 0, 0), 5)] for case in plan.cases[:20]}
    answers = {}
    for reader in plan.readers:
        log = ReaderLog(tmp_path / f"{reader}.jsonl", plan, reader)

        def marks(reading):
            hit = 0.9 if reading.modality == "with" else 0.5
            found = [Mark((1, 0, 0), random.uniform(40, 100))] if random.random() < hit else []
            wrong = [Mark((50, 0, 0), random.uniform(0, 70))] if random.random() < 0.2 else []
            return (found if reading.case in truth else []) + wrong

        read_all(log, marks)
        answers[reader] = ReaderLog(log.path, plan, reader).answers
    result = obuchowski_rockette(collect(plan, answers, truth), Figure.WAFROC)
    difference = result.inferences[0].differences[0]
    assert difference.name == "without - with" and difference.high < 0
