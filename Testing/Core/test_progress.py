# SPDX-License-Identifier: Apache-2.0
"""Progress is told often enough and not too often; the time left is what will pass."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ReadingRoomLib.progress import (
    BarProgress,
    JsonProgress,
    Progress,
    RemainingTime,
    format_duration,
    make_progress,
)
from ReadingRoomLib.protocol import Channel, decode


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder(Progress):
    """Keeps what it is told to show."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.shown: list[tuple] = []

    def show(self, *shown) -> None:
        self.shown.append(shown)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@given(
    total=st.integers(2, 10**6),
    seconds_per_unit=st.floats(1e-3, 1e3),
    steps=st.lists(st.integers(1, 1000), min_size=1, max_size=30),
)
def test_at_constant_speed_the_time_left_is_exact(total, seconds_per_unit, steps):
    clock = Clock()
    remaining = RemainingTime(patience=0, clock=clock)
    assert remaining.update(0, total) is None
    done = 0
    for step in steps:
        done = min(done + step, total)
        clock.now = 1000 + done * seconds_per_unit
        expected = (total - done) * seconds_per_unit
        assert remaining.update(done, total) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(
    total=st.integers(0, 10**4),
    moves=st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 500)), max_size=50),
)
def test_whatever_the_pace_the_time_left_is_a_sensible_number(total, moves):
    clock = Clock()
    remaining = RemainingTime(clock=clock)
    done = 0
    for passed, worked in moves:
        clock.now += passed
        done = min(done + worked, total)
        seconds = remaining.update(done, total)
        assert seconds is None or 0 <= seconds < 1e9
        if done == total:
            assert seconds == 0


def test_a_slow_start_is_forgotten():
    clock = Clock()
    remaining = RemainingTime(clock=clock)
    remaining.update(0, 1000)
    clock.now += 60  # loading
    remaining.update(1, 1000)
    for done in range(2, 202):
        clock.now += 1
        seconds = remaining.update(done, 1000)
    assert seconds == pytest.approx(1000 - 201, rel=0.02)


def test_it_counts_down_between_updates_but_a_standstill_promises_no_end():
    clock = Clock()
    remaining = RemainingTime(clock=clock)
    assert remaining.seconds is None
    remaining.update(0, 10)
    clock.now += 20
    assert remaining.update(2, 10) == pytest.approx(80)
    clock.now += 4
    assert remaining.seconds == pytest.approx(76)
    clock.now += 3600
    assert remaining.seconds == pytest.approx(70)  # the seven after the one that hangs


def test_nothing_is_promised_before_there_is_something_to_go_by():
    clock = Clock()
    remaining = RemainingTime(patience=1, clock=clock)
    remaining.update(0, 100)
    clock.now += 0.5
    assert remaining.update(1, 100) is None
    clock.now += 0.5
    assert remaining.update(2, 100) == pytest.approx(49)


@pytest.mark.parametrize(("done", "total"), [(0, 50), (1, 100)])
def test_a_new_stage_begins_anew(done, total):
    clock = Clock()
    remaining = RemainingTime(clock=clock)
    remaining.update(0, 100)
    clock.now += 10
    remaining.update(50, 100)
    assert remaining.update(done, total) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (-3, "0:00"), (0.2, "0:01"), (41, "0:41"), (725, "12:05"), (3723, "1:02:03")],
)
def test_durations_read_like_a_clock(seconds, text):
    assert format_duration(seconds) == text


def test_begin_and_end_are_always_told_and_between_them_not_too_often():
    clock = Clock()
    progress = Recorder(clock)
    progress.stage("segment", 1000, "Segmenting")
    for done in range(1, 1001):
        clock.now += 0.01
        progress.advance(done)
    assert progress.shown[0] == ("segment", 0, 1000, "Segmenting")
    assert progress.shown[-1] == ("segment", 1000, 1000, "Segmenting")
    assert 90 <= len(progress.shown) <= 110  # 10 seconds, 10 times a second


def test_each_stage_is_timed_and_one_that_comes_again_adds_up():
    clock = Clock()
    progress = Recorder(clock)
    for name, seconds in [("read", 2), ("segment", 30), ("read", 3)]:
        progress.stage(name, 1)
        clock.now += seconds
    progress.close()
    progress.close()
    assert progress.timings == {"read": 5, "segment": 30}


def test_a_program_gets_json_lines():
    stream = io.BytesIO()
    progress = JsonProgress(Channel(stream))
    progress.stage("segment", 2, "Segmentieren für Müller")
    progress.advance(2, "Fertig")
    assert [decode(line) for line in stream.getvalue().splitlines()] == [
        {"stage": "segment", "done": 0, "total": 2, "message": "Segmentieren für Müller"},
        {"stage": "segment", "done": 2, "total": 2, "message": "Fertig"},
    ]


def test_a_person_sees_a_bar_that_says_how_long_it_will_take():
    clock, terminal = Clock(), Terminal()
    progress = BarProgress(terminal, clock)
    progress.stage("segment", 4, "Segmenting")
    clock.now += 10
    progress.advance(1)
    first, second = terminal.getvalue().split("\r")[1:]
    assert "Segmenting" in first and "0%" in first and "left" not in first
    assert "25%" in second and "0:30 left" in second
    assert second.count("#") == round(BarProgress.WIDTH / 4)
    progress.close()
    assert terminal.getvalue().endswith("\n")


def test_the_bar_survives_a_stage_with_nothing_to_do():
    terminal = Terminal()
    progress = BarProgress(terminal, Clock())
    progress.stage("download", 0)
    progress.advance(0)
    progress.close()
    assert "100%" in terminal.getvalue()


def test_in_a_log_file_each_stage_is_one_line():
    clock, log = Clock(), io.StringIO()
    progress = BarProgress(log, clock)
    progress.stage("segment", 4, "Segmenting")
    for done in range(5):
        clock.now += 10
        progress.advance(done)
    progress.close()
    assert log.getvalue() == "Segmenting: 0:50\n"


def test_nobody_is_told_when_nobody_wants_to_know(capfd):
    progress = make_progress("none")
    progress.stage("segment", 1)
    progress.advance(1)
    progress.close()
    assert capfd.readouterr() == ("", "")


def test_another_way_to_tell_is_refused():
    with pytest.raises(ValueError, match="spinner"):
        make_progress("spinner")
