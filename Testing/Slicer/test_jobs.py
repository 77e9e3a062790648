# SPDX-License-Identifier: Apache-2.0
"""The job runner: real processes, driven by the event loop as in the application."""

import sys
import time
from pathlib import Path

import pytest

from ReadingRoomLib.processes import process_exists

FOLDER = str(Path(__file__).parent)


class Outcome:
    """What the runner told."""

    def __init__(self):
        self.progress, self.manifests, self.failures = [], [], []

    def callbacks(self):
        return {
            "onFinished": self.manifests.append,
            "onFailed": lambda *failure: self.failures.append(failure),
            "onProgress": lambda *progress: self.progress.append(progress),
        }


@pytest.fixture
def runner(slicer_scene, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from ReadingRoomSlicerLib.jobs import JobRunner

    runner = JobRunner("JobsTestLib")
    yield runner
    runner.shutdown()


def run(runner, *arguments):
    outcome = Outcome()
    runner.start([*arguments, "--progress", "json"], **outcome.callbacks())
    runner.wait()
    assert len(outcome.manifests) + len(outcome.failures) == 1
    return outcome


def wait_until(condition, seconds=30.0):
    import slicer

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.01)


def test_progress_and_manifest(runner, tmp_path):
    outcome = run(runner, "count", "--to", 5, "--output", tmp_path / "out")
    assert outcome.progress[0] == ("count", 0, 5, "Counting")
    assert outcome.progress[-1] == ("count", 5, 5, "Counting")
    manifest = outcome.manifests[0]
    assert manifest["status"] == "completed"
    assert (Path(manifest["folder"]) / manifest["files"]["number"]).read_text() == "5"
    assert "number 5" in runner.log  # what a command prints does not disturb its messages


def test_paths_with_spaces_and_other_letters(runner, tmp_path):
    output = tmp_path / "Müller, 股関節 (2)"
    outcome = run(runner, "count", "--output", output)
    assert Path(outcome.manifests[0]["folder"]) == output


def test_second_run_uses_the_warm_process(runner, tmp_path):
    first = run(runner, "count", "--output", tmp_path / "1").manifests[0]
    second = run(runner, "count", "--output", tmp_path / "2").manifests[0]
    assert first["process"] == second["process"]


def test_failure_is_one_sentence(runner, tmp_path):
    code, sentence, log = run(runner, "fail", "--output", tmp_path / "out").failures[0]
    assert (code, sentence) == ("BAD_INPUT", "This image cannot be used: choose another one.")
    assert "BadInput" in log
    assert not (tmp_path / "out").exists()
    assert run(runner, "count", "--output", tmp_path / "out").manifests


def test_wrong_option_is_a_failure(runner, tmp_path):
    code, sentence, _ = run(runner, "count", "--nonsense", "--output", tmp_path / "x").failures[0]
    assert code == "BAD_INPUT" and "--nonsense" in sentence


def test_crash_is_one_sentence_and_the_next_run_works(runner, tmp_path):
    code, sentence, log = run(runner, "crash", "--output", tmp_path / "out").failures[0]
    assert code == "INTERNAL"
    assert "ended unexpectedly" in sentence and "\n" not in sentence
    assert "terribly wrong" in log
    assert not (tmp_path / "out").exists()
    assert run(runner, "count", "--output", tmp_path / "out").manifests


def test_killed_from_outside(runner, tmp_path):
    from ReadingRoomLib.processes import kill_process_tree

    outcome = Outcome()
    runner.start(["count", "--to", "1000", "--seconds", "0.05", "--output", tmp_path / "out",
                  "--progress", "json"], **outcome.callbacks())
    wait_until(lambda: outcome.progress)
    kill_process_tree(runner.processId(), grace=0)
    runner.wait()
    assert [failure[0] for failure in outcome.failures] == ["INTERNAL"]


def test_cancel_ends_the_process_and_what_it_started(runner, tmp_path):
    outcome = Outcome()
    pids = tmp_path / "pids"
    runner.start(["hang", pids, "--output", tmp_path / "out", "--progress", "json"],
                 **outcome.callbacks())
    wait_until(lambda: outcome.progress)
    family = [int(pid) for pid in pids.read_text().split()]
    assert all(map(process_exists, family))
    began = time.monotonic()
    runner.cancel()
    assert time.monotonic() - began < 2
    assert not any(map(process_exists, family))
    assert [failure[0] for failure in outcome.failures] == ["CANCELLED"]
    assert not runner.running and not (tmp_path / "out").exists()


def test_cancel_before_the_process_is_ready(runner, tmp_path):
    outcome = Outcome()
    runner.start(["count", "--output", tmp_path / "out"], **outcome.callbacks())
    runner.cancel()
    assert [failure[0] for failure in outcome.failures] == ["CANCELLED"]
    assert run(runner, "count", "--output", tmp_path / "out").manifests


def test_cancel_without_a_run_does_nothing(runner):
    runner.cancel()
    runner.shutdown()
    assert not runner.running and runner.processId() == 0


def test_shutdown_lets_the_warm_process_go(runner, tmp_path):
    process = run(runner, "count", "--output", tmp_path / "1").manifests[0]["process"]
    assert process_exists(process)
    runner.shutdown()
    assert not process_exists(process)


def test_one_run_at_a_time(runner, tmp_path):
    outcome = Outcome()
    runner.start(["count", "--output", tmp_path / "1"], **outcome.callbacks())
    with pytest.raises(RuntimeError, match="already"):
        runner.start(["count", "--output", tmp_path / "2"], **outcome.callbacks())
    runner.wait()
    assert len(outcome.manifests) == 1


def test_event_loop_goes_on_during_a_run(runner, tmp_path):
    import qt
    import slicer

    ticks = []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(time.monotonic()))
    outcome = Outcome()
    runner.start(["count", "--to", "20", "--seconds", "0.05", "--output", tmp_path / "out",
                  "--progress", "json"], **outcome.callbacks())
    wait_until(lambda: outcome.progress)
    timer.start()
    while runner.running:
        slicer.app.processEvents()
    timer.stop()
    gaps = [later - earlier for earlier, later in zip(ticks, ticks[1:], strict=False)]
    assert len(ticks) > 20 and max(gaps) < 0.5


def test_missing_python_is_said(runner, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="PythonSlicer"):
        runner.start(["count", "--output", tmp_path / "out"], print, print)
    assert not runner.running


def test_libraries_are_found_where_the_modules_are(slicer_scene):
    from ReadingRoomSlicerLib import jobs

    root = Path(__file__).parents[2]
    assert Path(jobs.libraryFolder("MuscleSegLib")) == root / "MuscleSeg"
    assert Path(jobs.libraryFolder("ReadingRoomLib")) == root / "ReadingRoomCore"
    path = jobs.environment("MuscleSegLib").value("PYTHONPATH").split(":" if sys.platform != "win32"
                                                                      else ";")
    assert path[:2] == [str(root / "ReadingRoomCore"), str(root / "MuscleSeg")]
