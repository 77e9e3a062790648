# SPDX-License-Identifier: Apache-2.0
"""Ending a process ends everything that it started, however it resists."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ReadingRoomLib import processes
from ReadingRoomLib.processes import descendants, kill_process_tree, process_exists

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")

# A process that starts a process that starts a process, and each says its id.
FAMILY = """
import os, signal, subprocess, sys, time
generation, manners = int(sys.argv[1]), sys.argv[2]
if manners == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if generation:
    subprocess.Popen([sys.executable, __file__, str(generation - 1), manners])
print(os.getpid(), flush=True)
time.sleep(100)
"""


@pytest.fixture
def family(tmp_path):
    """Return a function that starts a family of four and returns (eldest, its four ids)."""
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    started = []

    def start(manners):
        eldest = subprocess.Popen(
            [sys.executable, str(script), "3", manners], stdout=subprocess.PIPE, text=True
        )
        started.append(eldest)
        return eldest, [int(eldest.stdout.readline()) for _ in range(4)]

    yield start
    for eldest in started:
        kill_process_tree(eldest.pid, grace=0)
        eldest.communicate()


@pytest.mark.parametrize("grace", [0, 5])
def test_the_whole_family_ends(family, grace):
    eldest, pids = family("polite")
    began = time.monotonic()
    kill_process_tree(eldest.pid, grace=grace)
    assert not any(map(process_exists, pids))
    assert time.monotonic() - began < 2  # the grace is not sat out
    assert eldest.wait() == (-15 if grace else -9)  # its exit code is still there to be collected


def test_who_ignores_the_request_is_killed(family):
    eldest, pids = family("stubborn")
    kill_process_tree(eldest.pid, grace=0.3)
    assert not any(map(process_exists, pids))
    assert eldest.wait() == -9


def test_other_processes_live_on(family):
    eldest, _ = family("polite")
    _, others = family("polite")
    kill_process_tree(eldest.pid)
    assert all(map(process_exists, others))
    assert process_exists(os.getpid())


def test_a_process_that_has_ended_already_is_no_error():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kill_process_tree(ended.pid)
    assert not process_exists(ended.pid)


def test_an_ended_process_that_nobody_waited_for_does_not_exist():
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while process_exists(zombie.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process_exists(zombie.pid)
    os.kill(zombie.pid, 0)  # the system still knows it
    zombie.wait()


def test_descendants_are_listed_nearest_first(family):
    eldest, pids = family("polite")
    found = descendants(eldest.pid)
    assert {eldest.pid, *found} == set(pids)
    # Each is the parent of the next, so each has one descendant fewer.
    assert [len(descendants(pid)) for pid in found] == [2, 1, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="compares the two ways of Linux")
def test_where_there_is_no_proc_the_program_ps_tells_the_same(family):
    eldest, pids = family("polite")
    by_ps, by_proc = processes._processes_of_ps(), processes._processes_of_proc()
    assert {pair for pair in by_ps if pair[0] in pids} == {p for p in by_proc if p[0] in pids}
    assert len({pair for pair in by_proc if pair[0] in pids}) == 4
