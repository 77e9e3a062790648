# SPDX-License-Identifier: Apache-2.0
"""The audit log: what is written stays, and what is changed is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from HeadCTTriageLib import audit_log
from HeadCTTriageLib.audit_log import AuditLog, Verification, verify
from ReadingRoomLib.errors import BadInput

MANIFEST = {
    "result": "20260102-030405-abcdef", "inputs": [{"name": "CT.nrrd", "sha256": "11" * 32}],
    "model": {"name": "starter", "sha256": "22" * 32, "trained_on": "simulated heads"},
    "decision": "urgent", "urgent_probability": 0.9, "triage": "red", "promise": "...",
}
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "new folder" / "audit.jsonl")


def fill(log, count=4):
    for number in range(count):
        log.add("shown", MANIFEST, who="anna", now=NOON.replace(minute=number))
    return log.path.read_bytes().split(b"\n")[:-1]


def test_an_entry_tells_what_was_shown_to_whom_and_names_no_patient(log):
    log.add("judged", MANIFEST, now=NOON)
    entry = log.add("overruled", MANIFEST, who=" Anna ", tag="green", reason=" artefact ", now=NOON)
    assert log.entries()[1] == entry
    line = json.loads(log.path.read_text().splitlines()[1])
    assert line["time"] == "2026-01-02T12:00:00.000+00:00" and line["who"] == "Anna"
    assert line["result"] == MANIFEST["result"] and line["input_sha256"] == "11" * 32
    assert line["model"] == {"name": "starter", "sha256": "22" * 32}
    assert line["shown"] == {"decision": "urgent", "urgent_probability": 0.9, "triage": "red"}
    assert (line["event"], line["tag"], line["reason"]) == ("overruled", "green", "artefact")
    assert "CT.nrrd" not in log.path.read_text()
    assert log.entries()[0].who == audit_log.user_name() != ""


def test_each_line_knows_the_one_before(log):
    lines = fill(log, 3)
    before = [json.loads(line)["previous"] for line in lines]
    assert before[0] == audit_log.BEGINNING
    assert before[1:] == [audit_log._sha256(line) for line in lines[:2]]
    assert verify(log.path) == Verification(3, (), None)


@pytest.mark.parametrize("reason", ["", "  "])
def test_overruling_needs_a_reason_and_another_tag(log, reason):
    for tag, words in (("green", reason), ("", "why")):
        with pytest.raises(BadInput, match="reason"):
            log.add("overruled", MANIFEST, tag=tag, reason=words)
    assert not log.path.exists()


def test_unknown_events_and_endless_reasons_are_refused(log):
    with pytest.raises(BadInput, match="no event"):
        log.add("guessed", MANIFEST)
    with pytest.raises(BadInput, match="too long"):
        log.add("overruled", MANIFEST, tag="red", reason="x" * 70_000)


def test_a_refused_image_is_logged_with_what_is_known(log):
    log.add("refused", {"inputs": [{"sha256": "33" * 32}]}, reason="BAD_INPUT: no head.")
    (entry,) = log.entries()
    assert entry.input_sha256 == "33" * 32 and entry.shown == {} and entry.model == {}


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_found(tmp_path, data):
    log = AuditLog(tmp_path / "audit.jsonl")
    if not log.path.exists():
        fill(log)
    whole = log.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(whole[:place] + bytes([other]) + whole[place + 1:])
    found = verify(changed)
    line = whole[:place].count(b"\n") + 1
    if place == len(whole) - 1:  # the end of the last line is as after a crash
        assert found == Verification(3, (4,), None)
    else:
        assert found == Verification(line - 1, (), line)
    # nothing that is added afterwards hides it
    if place < len(whole) - 1:
        AuditLog(changed).add("shown", MANIFEST)
        assert verify(changed) == found


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lines_that_are_removed_doubled_or_moved_are_found(tmp_path, data):
    log = AuditLog(tmp_path / "audit.jsonl")
    lines = log.path.read_bytes().split(b"\n")[:-1] if log.path.exists() else fill(log, 5)
    order = data.draw(st.lists(st.integers(0, 4), max_size=7).filter(
        lambda order: order != list(range(len(order)))))  # all but a shorter log
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(b"".join(lines[index] + b"\n" for index in order))
    wrong = next(place for place, index in enumerate(order) if index != place)
    assert verify(changed) == Verification(wrong, (), wrong + 1)


def test_a_line_written_by_hand_is_found(log):
    fill(log)
    with open(log.path, "ab") as file:
        file.write(b'{"event": "confirmed"}\n')
    log.add("shown", MANIFEST)
    assert verify(log.path).broken_line == 5


@pytest.mark.parametrize("left", [1, 40, 300, -1])
def test_a_crash_costs_one_entry_and_no_more(log, left):
    """What was half written stays as it is, and the next entry begins on a line of its own."""
    *whole, last = fill(log)
    log.path.write_bytes(b"".join(line + b"\n" for line in whole) + last[:left])
    assert verify(log.path) == Verification(3, (4,), None)
    log.add("confirmed", MANIFEST)
    log.add("shown", MANIFEST)
    assert log.path.read_bytes().split(b"\n")[3] == last[:left]
    assert verify(log.path) == Verification(5, (4,), None)
    assert [entry.event for entry in log.entries()] == ["shown"] * 3 + ["confirmed", "shown"]
    lines = log.path.read_bytes().split(b"\n")
    for gone in (2, 3):  # before the unfinished line, and that line
        log.path.write_bytes(b"\n".join(lines[:gone] + lines[gone + 1:]))
        assert not verify(log.path).intact


def test_a_crash_at_the_first_entry(log):
    log.path.parent.mkdir()
    log.path.write_bytes(b'{"ti')
    log.add("shown", MANIFEST)
    assert verify(log.path) == Verification(1, (1,), None)


def test_an_entry_that_cannot_be_written_is_said(log, monkeypatch):
    fill(log, 1)
    monkeypatch.setattr(os, "write", lambda descriptor, content: 10)
    with pytest.raises(OSError, match="disk is full"):
        log.add("confirmed", MANIFEST)


WRITER = """
import sys
from HeadCTTriageLib.audit_log import AuditLog
for number in range(25):
    AuditLog(sys.argv[1]).add("shown", {"result": sys.argv[2] + str(number)})
"""


def test_processes_write_at_the_same_time(log):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(log.path), name])
               for name in ("a", "b", "c")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert verify(log.path) == Verification(75, (), None)
    by_writer = [[entry.result for entry in log.entries() if entry.result[0] == name]
                 for name in "abc"]
    assert by_writer == [[f"{name}{number}" for number in range(25)] for name in "abc"]


def test_who_waits_too_long_for_another_writer_is_told(log, monkeypatch):
    monkeypatch.setattr(audit_log, "_PATIENCE", 0.05)
    log.path.parent.mkdir()
    with audit_log._alone(log.path), pytest.raises(OSError, match="another program"):
        log.add("shown", MANIFEST)
    log.add("shown", MANIFEST)  # the lock is given back
