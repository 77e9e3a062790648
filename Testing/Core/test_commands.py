# SPDX-License-Identifier: Apache-2.0
"""Commands in real processes: how they run, fail, are cancelled, killed, and stay warm."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import ERROR_TYPES, BadInput, OutputFailed
from ReadingRoomLib.logs import without_private_text
from ReadingRoomLib.processes import kill_process_tree, process_exists
from ReadingRoomLib.results import file_sha256, read_result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def wait_for(process: subprocess.Popen, text: str) -> str:
    """Return the line of the process's standard error that begins with ``text``."""
    for line in process.stderr:
        if line.startswith(text):
            return line
    raise AssertionError(f"the process ended before it said {text!r}")


# ---------------------------------------------------------------- help


def test_the_version_is_shown(toy):
    assert toy.run("--version").stdout == "ReadingRoom 0.1.0\n"


def test_help_is_written_for_people(toy):
    outcome = toy.run("work", "--help")
    assert outcome.exit_code == 0
    for words in ("Folder for the result", "graphics card", "same seed, same result", "[required]"):
        assert words in " ".join(outcome.stdout.replace("│", " ").split())
    assert "not a medical device" in toy.run("--help").stdout


@pytest.mark.parametrize("module", ["ReadingRoomLib.commands", "MuscleSegLib"])
def test_help_comes_at_once_and_loads_nothing_heavy(module):
    try:
        found = find_spec(module if "." in module else f"{module}.__main__")
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{module} is not here")
    code = "from ReadingRoomLib.commands import main; main()"
    run = ["-c", code] if module == "ReadingRoomLib.commands" else ["-m", module]
    times = []
    for _ in range(2):  # the first may have to compile
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *run, "--help"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(time.monotonic() - began)
    assert "Usage" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "monai", "SimpleITK", "numpy", "scipy"})
    assert min(times) < 1


# ---------------------------------------------------------------- a regular run


def test_a_run_leaves_a_result_that_says_how_it_came_about(toy, scan, tmp_path):
    output = tmp_path / "Ergebnis für 患者"
    outcome = toy.run("work", scan, "-o", output, "--seed", 5, "--slices", 101)
    assert outcome.exit_code == 0
    assert f"Result in {output}" in outcome.stdout
    assert "Counting: 0:" in outcome.stderr
    assert "Note: There were many slices." in outcome.stderr
    manifest = read_result(output)
    assert manifest["inputs"] == [{"name": scan.name, "sha256": file_sha256(scan)}]
    assert manifest["parameters"] == {"slices": 101, "image": scan.name}
    assert manifest["seed"] == 5 and manifest["device"] == "cpu"
    assert manifest["warnings"] == ["There were many slices."]
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert manifest["versions"]["readingroom"] == "0.1.0"
    assert list(manifest["timings"]) == ["count", "child", "total"]
    assert manifest["timings"]["total"] >= manifest["timings"]["count"] >= 0
    assert "not a medical device" in manifest["disclaimer"]
    assert str(scan.parent.name) not in json.dumps(manifest, ensure_ascii=False)


def test_the_same_seed_gives_the_same_result(toy, scan, tmp_path):
    contents = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        assert toy.run("work", scan, "-o", tmp_path / name, "--seed", seed).exit_code == 0
        contents.append((tmp_path / name / "count.txt").read_text())
    assert contents[0] == contents[1] != contents[2]


def test_a_program_reads_progress_and_then_the_manifest(toy, scan, tmp_path):
    outcome = toy.run("work", scan, "-o", tmp_path / "out", "--progress", "json")
    *progress, manifest = outcome.messages
    assert progress[0] == {"stage": "count", "done": 0, "total": 3, "message": "Counting"}
    assert all(message.keys() == progress[0].keys() for message in progress)
    assert manifest.pop("folder") == str(tmp_path / "out")
    assert manifest == read_result(tmp_path / "out")


def test_silence_is_silent(toy, scan, tmp_path):
    outcome = toy.run("work", scan, "-o", tmp_path / "out", "--progress", "none")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")


def test_what_is_printed_does_not_come_between_the_messages(toy, tmp_path):
    outcome = toy.run("babble", "-o", tmp_path / "out", "--progress", "json")
    assert outcome.exit_code == 0
    assert [set(message) & {"stage", "status"} for message in outcome.messages] == [
        {"stage"},
        {"status"},
    ]
    for words in ("before", "by Python", "by C", "by a child", "to the original stdout", "after"):
        assert f"printed {words}\n" in outcome.stderr


def test_a_command_that_makes_no_folder_answers_too(toy):
    assert toy.run("loaded", "torch", stdin=subprocess.DEVNULL).stdout == ""


def test_a_job_runs_without_a_command_line_too(tmp_path, capfd):
    with run_job(module="Toy", command="x", output=tmp_path / "out", progress="none") as job:
        (job.folder / "a.txt").write_text("a")
        job.record(files={"a": "a.txt"}, structures=["pelvis"], model={"name": "starter"})
        (job.folder / "b.txt").write_text("b")
        job.record(files={"b": "b.txt"})
        job.warn("Twice.")
        job.warn("Twice.")
    manifest = read_result(tmp_path / "out")
    assert manifest["files"] == {"a": "a.txt", "b": "b.txt"}
    assert manifest["structures"] == ["pelvis"]
    assert manifest["model"] == {"name": "starter"}
    assert manifest["warnings"] == ["Twice."]
    assert capfd.readouterr() == ("", "")


def test_a_job_that_uses_a_device_seeds_pytorch(tmp_path):
    import torch

    drawn = []
    for name in "ab":
        with run_job(
            module="Toy", command="x", output=tmp_path / name, progress="none", device="auto"
        ) as job:
            assert job.device in ("cpu", "cuda", "mps")
            drawn.append(torch.rand(1).item())
        assert read_result(tmp_path / name)["device"] == job.device
    assert drawn[0] == drawn[1]


def test_a_command_cannot_claim_that_it_ended_otherwise(tmp_path):
    with (
        pytest.raises(ERROR_TYPES["INTERNAL"]),
        run_job(module="Toy", command="x", output=tmp_path / "out", progress="none") as job,
    ):
        job.record(status="perhaps")


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("kind", "code"),
    [(code, code) for code in ERROR_TYPES]
    + [
        ("memory", "OUT_OF_MEMORY"),
        ("import", "DEPENDENCY_MISSING"),
        ("exit", "INTERNAL"),
        ("unwritten", "INTERNAL"),
        ("end of file", "INTERNAL"),
    ],
)
def test_a_failure_is_typed_and_leaves_no_result(toy, tmp_path, kind, code):
    outcome = toy.run("fail", kind, "-o", tmp_path / "out", "--progress", "json")
    assert outcome.exit_code == ERROR_TYPES[code].exit_code
    assert len(outcome.messages) == 1
    assert outcome.last["error"] == code
    assert outcome.last["message"].endswith(".")
    assert (outcome.last["log"] is None) == (code == "CANCELLED")
    assert names_in(tmp_path) == set()


def test_a_person_reads_one_sentence_and_where_the_details_are(toy, tmp_path):
    outcome = toy.run("fail", "BAD_INPUT", "-o", tmp_path / "out")
    assert outcome.exit_code == 10
    sentence, details = outcome.stderr.splitlines()
    assert sentence == "Error: One sentence."
    log = Path(details.removeprefix("Details for the developers: "))
    assert "BAD_INPUT" in log.read_text()
    assert "toy_command.py" in log.read_text()


def test_a_log_holds_the_traceback_but_no_patient(toy, tmp_path):
    output = tmp_path / "Müller Jürgen 1950"
    outcome = toy.run("fail", "private", "-o", output, "--progress", "json")
    log = Path(outcome.last["log"]).read_text(encoding="utf-8")
    assert "ValueError: cannot parse [hidden " in log
    assert 'raise ValueError(f"cannot parse {output}/labels.nrrd of {output.name}")' in log
    assert "Müller" not in log and "labels.nrrd of [hidden" not in log


@pytest.mark.parametrize(
    "text",
    [
        "[Errno 2] No such file or directory: '/data/Müller Jürgen/ct.nrrd'",
        "cannot read C:\\Patients\\Müller Jürgen\\ct.nrrd",
        "cannot read \\\\server\\Müller Jürgen\\ct.nrrd",
        "cannot read ../Müller/ct.nrrd",
        "cannot read archive/Müller/ct.nrrd",
        "no rescale slope in series Müller Jürgen",
        "no rescale slope in Müller Jürgen.nrrd",
    ],
)
def test_paths_and_what_the_user_typed_are_hidden(text):
    hidden = without_private_text(text, ["segment", "/scans/Müller Jürgen.nrrd"])
    assert "Müller" not in hidden and "Jürgen" not in hidden
    assert "[hidden " in hidden


def test_only_the_latest_logs_are_kept(toy, tmp_path):
    folder = Path(toy.environment["READINGROOM_LOGS"])
    for number in range(30):
        (folder / f"2020-01-{number:02}.log").write_text("old")
    log = toy.run("fail", "INTERNAL", "-o", tmp_path / "out", "--progress", "json").last["log"]
    assert Path(log).exists()
    assert len(list(folder.iterdir())) == 20


def test_a_log_that_cannot_be_written_does_not_hide_the_failure(toy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    toy.environment["READINGROOM_LOGS"] = str(tmp_path / "file")
    outcome = toy.run("fail", "BAD_INPUT", "-o", tmp_path / "out", "--progress", "json")
    assert outcome.last == {"error": "BAD_INPUT", "message": "One sentence.", "log": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["work"], "Missing argument"),
        (["work", "ct.nrrd"], "--output"),
        (["work", "ct.nrrd", "-o", "out", "--device", "tpu"], "tpu"),
        (["work", "ct.nrrd", "-o", "out", "--seed", "-1"], "greater than or equal to 0"),
        (["wrk"], "wrk"),
        (["work", "--serve"], "--serve"),
        (["--serve", "work"], "stands alone"),
    ],
)
def test_wrong_arguments_are_explained(toy, arguments, words):
    outcome = toy.run(*arguments)
    assert outcome.exit_code == 2
    assert "Usage:" in outcome.stderr and words in outcome.stderr
    assert outcome.stdout == ""


def test_wrong_arguments_are_explained_to_programs(toy):
    for progress in (["--progress", "json"], ["--progress=json"]):
        outcome = toy.run("work", *progress)
        assert outcome.exit_code == 2
        assert outcome.last["error"] == "BAD_INPUT"
        assert "Missing argument" in outcome.last["message"]


def test_a_missing_input_is_named(toy, tmp_path):
    outcome = toy.run("work", tmp_path / "nö.nrrd", "-o", tmp_path / "out", "--progress=json")
    assert outcome.last["error"] == "BAD_INPUT"
    assert f"{tmp_path / 'nö.nrrd'} cannot be found" in outcome.last["message"]
    assert names_in(tmp_path) == set()


def test_a_device_that_is_not_there_is_said_before_anything_is_computed(toy, scan, tmp_path):
    device = "cuda" if sys.platform == "darwin" else "mps"
    outcome = toy.run("work", scan, "-o", tmp_path / "out", "--device", device, "--progress=json")
    assert [message["error"] for message in outcome.messages] == ["BAD_INPUT"]
    assert not (tmp_path / "out").exists()


def test_a_result_that_is_there_stays_unless_it_may_be_overwritten(toy, scan, tmp_path):
    arguments = ["work", scan, "-o", tmp_path / "out", "--progress", "json"]
    assert toy.run(*arguments).exit_code == 0
    refused = toy.run(*arguments, "--slices", 7)
    assert (refused.exit_code, refused.last["error"]) == (14, "OUTPUT_FAILED")
    assert (tmp_path / "out/count.txt").read_text().startswith("3 ")
    assert toy.run(*arguments, "--slices", 7, "--overwrite").exit_code == 0
    assert (tmp_path / "out/count.txt").read_text().startswith("7 ")
    assert names_in(tmp_path) == {"out", scan.parent.name}


# ---------------------------------------------------------------- disks that refuse


@pytest.mark.parametrize("name", ["big.bin", "big.nrrd", "big.nii", "big.mha"])
def test_a_full_disk_is_said_and_leaves_no_result(toy, tmp_path, in_mount, name):
    disk = tmp_path / "disk"
    disk.mkdir()
    wrapper = in_mount(f'mount -t tmpfs -o size=128k tmpfs "{disk}"', disk)
    outcome = toy.run(
        "fill", "-o", disk / "out", "--name", name, "--progress=json", wrapper=wrapper
    )
    assert outcome.exit_code == 14
    assert outcome.last["error"] == "OUTPUT_FAILED"
    assert "disk is full" in outcome.last["message"]
    assert "out" not in outcome.stderr.splitlines()  # the listing of the disk
    assert ".out" not in outcome.stderr


def test_a_file_larger_than_allowed_is_said_and_leaves_no_result(toy, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    outcome = toy.run("fill", "-o", tmp_path / "out", "--progress=json", preexec_fn=limit)
    assert (outcome.exit_code, outcome.last["error"]) == (14, "OUTPUT_FAILED")
    assert names_in(tmp_path) == set()


def test_a_write_protected_folder_is_said(toy, scan, tmp_path, in_mount):
    disk = tmp_path / "disk"
    disk.mkdir()
    wrapper = in_mount(f'mount -t tmpfs -o ro tmpfs "{disk}"', disk)
    outcome = toy.run("work", scan, "-o", disk / "out", "--progress=json", wrapper=wrapper)
    assert (outcome.exit_code, outcome.last["error"]) == (14, "OUTPUT_FAILED")
    assert "write-protected" in outcome.last["message"]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_said(toy, scan, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o500)
    outcome = toy.run("work", scan, "-o", tmp_path / "theirs/out", "--progress=json")
    assert (outcome.exit_code, outcome.last["error"]) == (14, "OUTPUT_FAILED")


def test_a_file_in_the_place_of_the_folder_is_said(toy, scan, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file", tmp_path / "file" / "out"):
        outcome = toy.run("work", scan, "-o", output, "--progress=json")
        assert (outcome.exit_code, outcome.last["error"]) == (14, "OUTPUT_FAILED")
    assert (tmp_path / "file").read_text() == "in the way"


def test_output_to_a_full_pipe_of_the_terminal_is_no_crash(toy, scan, tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*toy.command, "work", scan, "-o", tmp_path / "out", "--progress", "json"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=toy.environment,
            check=False,
        )
    assert done.returncode == 130
    assert b"Traceback" not in done.stderr
    assert names_in(tmp_path) == {scan.parent.name}


# ---------------------------------------------------------------- cancelled and killed

STAGES = ["start", "job", "slice 0", "slice 2", "written", "child"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("means", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_cancels_at_every_stage(toy, scan, tmp_path, stage, means):
    process = toy.start("work", scan, "-o", tmp_path / "out", "--progress", "json", "--hold", stage)
    wait_for(process, f"holding {stage}")
    process.send_signal(means)
    stdout, stderr = process.communicate(timeout=20)  # returns when the child has ended too
    assert process.returncode == 130
    assert json.loads(stdout.splitlines()[-1])["error"] == "CANCELLED"
    assert "Traceback" not in stderr
    assert names_in(tmp_path) == {scan.parent.name}


def test_a_person_who_presses_ctrl_c_reads_one_sentence(toy, scan, tmp_path):
    process = toy.start("work", scan, "-o", tmp_path / "out", "--hold", "slice 1")
    wait_for(process, "holding")
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "Error: The computation was cancelled."


def test_an_impatient_second_ctrl_c_does_not_disturb_the_cleaning_up(toy, scan, tmp_path):
    process = toy.start("work", scan, "-o", tmp_path / "out", "--hold", "written")
    wait_for(process, "holding")
    for _ in range(20):
        process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert names_in(tmp_path) == {scan.parent.name}


@pytest.mark.parametrize("grace", [3.0, 0.0])
def test_cancel_ends_what_the_command_started(toy, scan, tmp_path, grace):
    process = toy.start("work", scan, "-o", tmp_path / "out", "--hold", "child")
    child = int(wait_for(process, "child").split()[1])
    wait_for(process, "holding")
    assert process_exists(child)
    kill_process_tree(process.pid, grace=grace)
    assert not process_exists(child)
    assert process.wait() == (130 if grace else -signal.SIGKILL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_killed_run_leaves_is_not_a_result_and_goes_with_the_next_run(
    toy, scan, tmp_path, stage
):
    process = toy.start("work", scan, "-o", tmp_path / "out", "--hold", stage)
    wait_for(process, f"holding {stage}")
    kill_process_tree(process.pid, grace=0)
    process.wait()
    left = names_in(tmp_path) - {scan.parent.name}
    assert all(name.startswith(".out.readingroom-unfinished-") for name in left)
    assert len(left) == (0 if stage == "start" else 1)
    for name in left:
        with pytest.raises(BadInput, match="unfinished"):
            read_result(tmp_path / name)
    assert toy.run("work", scan, "-o", tmp_path / "other", "--progress=json").exit_code == 0
    assert names_in(tmp_path) == {scan.parent.name, "other"}


def test_a_run_leaves_the_folder_of_another_that_is_running_alone(toy, scan, tmp_path):
    process = toy.start("work", scan, "-o", tmp_path / "out", "--hold", "written")
    wait_for(process, "holding")
    assert toy.run("work", scan, "-o", tmp_path / "out").exit_code == 0
    assert len(names_in(tmp_path)) == 3
    kill_process_tree(process.pid)
    assert read_result(tmp_path / "out")


@pytest.mark.parametrize("means", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_at_whatever_moment_of_the_end_it_is_stopped_the_folder_is_the_old_result_or_the_new(
    toy, scan, tmp_path, means
):
    arguments = ["work", scan, "-o", tmp_path / "out", "--overwrite", "--progress", "json"]
    assert toy.run(*arguments).exit_code == 0
    moments = random.Random(1)
    for _ in range(10):
        process = toy.start(*arguments)
        while '"stage": "child"' not in process.stdout.readline():
            pass  # from here on the result is put in its place, within a few milliseconds
        time.sleep(moments.uniform(0, 0.01))
        process.send_signal(means)
        process.communicate(timeout=20)
        if means != signal.SIGKILL:
            assert names_in(tmp_path) == {"out", scan.parent.name}
        if (tmp_path / "out").exists():
            read_result(tmp_path / "out")
    assert toy.run("work", scan, "-o", tmp_path / "other", "--progress", "json").exit_code == 0
    assert names_in(tmp_path) == {"out", "other", scan.parent.name}
    read_result(tmp_path / "out")


def test_a_command_ends_when_nobody_reads_its_messages(toy, scan, tmp_path):
    process = toy.start(
        "work", scan, "-o", tmp_path / "out", "--progress=json", "--slices=1000", "--pause=0.05"
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=20) == 130
    assert "Traceback" not in process.stderr.read()
    assert names_in(tmp_path) == {scan.parent.name}


# ---------------------------------------------------------------- the warm worker


class Worker:
    """A warm worker, as the program that uses it sees it."""

    def __init__(self, toy, **environment: str) -> None:
        self.process = toy.start("--serve", **environment)
        self.ready = self.read()

    def read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def write(self, message: object) -> None:
        line = message if isinstance(message, str) else json.dumps(message)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, request_id: object, *arguments: object) -> list[dict]:
        """Send a request; return all answers to it."""
        self.write({"id": request_id, "arguments": [str(a) for a in arguments]})
        answers = [self.read()]
        while "error" not in answers[-1] and "status" not in answers[-1]:
            answers.append(self.read())
        assert all(answer.pop("id", "none") == request_id for answer in answers)
        return answers

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait(timeout=20)


@pytest.fixture
def worker(toy):
    return Worker(toy)


def test_a_worker_says_that_it_is_ready(worker):
    assert worker.ready == {"ready": True, "pid": worker.process.pid}


def test_a_worker_runs_one_command_after_the_other(worker, scan, tmp_path):
    first = worker.ask(1, "work", scan, "-o", tmp_path / "eins", "--slices", 5)
    second = worker.ask("two", "work", scan, "-o", tmp_path / "二 zwei")
    assert first[0] == {"stage": "count", "done": 0, "total": 5, "message": "Counting"}
    assert first[-1].pop("folder") == str(tmp_path / "eins")
    assert first[-1] == read_result(tmp_path / "eins")
    assert second[-1]["folder"] == str(tmp_path / "二 zwei")
    assert worker.end() == 0


def test_requests_may_be_sent_before_they_can_be_answered(worker, scan, tmp_path):
    for name in "abc":
        worker.write({"id": name, "arguments": ["work", str(scan), "-o", str(tmp_path / name)]})
    assert worker.end() == 0
    answers = [json.loads(line) for line in worker.process.stdout]
    assert [answer["id"] for answer in answers if "status" in answer] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [code for code in ERROR_TYPES if code != "CANCELLED"])
def test_a_worker_survives_a_failure(worker, scan, tmp_path, kind):
    answers = worker.ask(1, "fail", kind, "-o", tmp_path / "out")
    assert [answer["error"] for answer in answers] == [kind]
    assert worker.ask(2, "work", scan, "-o", tmp_path / "out")[-1]["status"] == "completed"
    assert worker.end() == 0


@pytest.mark.parametrize(
    "arguments",
    [["fail", "exit", "-o", "out"], ["nonsense"], [], ["work"], ["--serve"], ["--serve", "work"]],
)
def test_a_worker_survives_wrong_arguments(worker, tmp_path, arguments):
    assert "error" in worker.ask(1, *arguments)[-1]
    assert worker.ask(2, "loaded", "torch")[-1]["status"] == "completed"


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "[1, 2]",
        '{"id": null}',
        '{"id": null, "arguments": "work"}',
        '{"id": null, "arguments": [1]}',
        "[" * 50_000,
    ],
)
def test_a_worker_survives_a_request_that_is_none(worker, line):
    worker.write(line)
    answer = worker.read()
    assert (answer["id"], answer["error"]) == (None, "BAD_INPUT")
    assert worker.ask(2, "loaded", "torch")[-1]["status"] == "completed"


def test_empty_lines_are_no_requests(worker):
    worker.write("\n  \n")
    assert worker.ask(1, "--version")[-1] == {"status": "completed"}


def test_what_is_printed_does_not_come_between_the_answers_of_a_worker(worker, tmp_path):
    answers = worker.ask(1, "babble", "-o", tmp_path / "out")
    assert [set(answer) & {"stage", "status"} for answer in answers] == [{"stage"}, {"status"}]
    assert worker.end() == 0
    assert "printed by C\n" in worker.process.stderr.read()


def test_a_command_cannot_eat_the_next_request(worker):
    worker.write({"id": 1, "arguments": ["loaded", "torch"]})
    worker.write({"id": 2, "arguments": ["loaded", "torch"]})
    answers = [worker.read(), worker.read()]
    assert [(answer["id"], answer["input"]) for answer in answers] == [(1, ""), (2, "")]


@pytest.mark.parametrize("bar", ["bar", "none", "json"])
def test_a_worker_always_answers_in_json(worker, scan, tmp_path, bar):
    answers = worker.ask(1, "work", scan, "-o", tmp_path / "out", "--progress", bar)
    assert answers[-1]["status"] == "completed"
    assert (len(answers) == 1) == (bar == "none")


def test_a_worker_imports_what_is_slow_before_it_is_needed(toy):
    worker = Worker(toy, TOY_PRELOAD="no_such_module torch")
    assert worker.ask(1, "loaded", "torch")[-1]["loaded"] is True
    assert worker.end() == 0


def test_a_worker_ends_when_it_is_told_to(worker):
    worker.write({"shutdown": True})
    assert worker.process.wait(timeout=20) == 0
    assert worker.process.stdout.read() == ""


def test_a_worker_finishes_its_command_when_its_input_ends(worker, scan, tmp_path):
    worker.write(
        {
            "id": 1,
            "arguments": ["work", str(scan), "-o", str(tmp_path / "out"), "--pause", "0.1"],
        }
    )
    assert worker.end() == 0
    assert read_result(tmp_path / "out")


@pytest.mark.parametrize("means", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_ends_quietly_when_cancelled(worker, means):
    worker.ask(1, "loaded", "torch")
    worker.process.send_signal(means)
    stdout, stderr = worker.process.communicate(timeout=20)
    assert (worker.process.returncode, stdout, stderr) == (130, "", "")


def test_cancel_ends_the_worker_and_leaves_no_result(worker, scan, tmp_path):
    worker.write(
        {
            "id": 1,
            "arguments": ["work", str(scan), "-o", str(tmp_path / "out"), "--hold", "written"],
        }
    )
    wait_for(worker.process, "holding")
    kill_process_tree(worker.process.pid)
    assert worker.process.wait() == 130
    last = json.loads(worker.process.stdout.read().splitlines()[-1])
    assert (last["id"], last["error"]) == (1, "CANCELLED")
    assert names_in(tmp_path) == {scan.parent.name}


def test_a_worker_ends_when_nobody_reads_its_answers(worker, scan, tmp_path):
    worker.process.stdout.close()
    worker.write(
        {
            "id": 1,
            "arguments": ["work", str(scan), "-o", str(tmp_path / "out"), "--slices", "3"],
        }
    )
    assert worker.process.wait(timeout=20) == 130
    assert "Traceback" not in worker.process.stderr.read()
    assert names_in(tmp_path) == {scan.parent.name}


# ---------------------------------------------------------------- readingroom


READINGROOM = """
import importlib.metadata, sys
sys.path.insert(0, sys.argv.pop(1))
entries = [
    importlib.metadata.EntryPoint("toy", "toy_command:app", "readingroom.commands"),
    importlib.metadata.EntryPoint("broken", "no_such_package:app", "readingroom.commands"),
]
importlib.metadata.entry_points = lambda group: [e for e in entries if e.group == group]
from ReadingRoomLib.commands import main
main()
"""


@pytest.fixture
def readingroom(toy):
    """Return the toy behind the command ``readingroom``, beside a module that is broken."""
    toy.command = [sys.executable, "-c", READINGROOM, str(Path(__file__).parent)]
    return toy


def test_readingroom_gathers_the_modules(readingroom, scan, tmp_path):
    outcome = readingroom.run("--help")
    assert "toy" in outcome.stdout and "A toy." in outcome.stdout
    assert "broken cannot be loaded" in outcome.stderr
    outcome = readingroom.run("toy", "work", scan, "-o", tmp_path / "out", "--progress", "json")
    assert outcome.last["status"] == "completed"
    assert readingroom.run("--version").stdout == "ReadingRoom 0.1.0\n"


@pytest.mark.parametrize("prefix", [[], ["toy"]])
def test_readingroom_serves_its_modules(readingroom, scan, tmp_path, prefix):
    process = readingroom.start(*prefix, "--serve")
    module = [] if prefix else ["toy"]
    request = {"id": 1, "arguments": [*module, "work", str(scan), "-o", str(tmp_path / "out")]}
    stdout, _ = process.communicate(json.dumps(request) + "\n", timeout=30)
    assert json.loads(stdout.splitlines()[-1])["status"] == "completed"
    assert process.returncode == 0


def test_output_failed_is_raised_to_python_code_too(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OutputFailed),
        run_job(module="Toy", command="x", output=tmp_path / "file", progress="none"),
    ):
        pass
