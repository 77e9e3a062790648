# SPDX-License-Identifier: Apache-2.0
"""What the tests of the core share: commands in real processes, and file systems that refuse."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "ReadingRoomCore"
TOY = Path(__file__).with_name("toy_command.py")


@dataclass
class Outcome:
    """How a command ended: exit code, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def messages(self) -> list[dict]:
        """The lines of standard output, each of which must be a JSON object."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def last(self) -> dict:
        """The last message: manifest or failure."""
        return self.messages[-1]


class Toy:
    """Runs the commands of ``toy_command.py`` in processes of their own."""

    def __init__(self, log_folder: Path) -> None:
        self.command = [sys.executable, str(TOY)]
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(CORE),
            "READINGROOM_LOGS": str(log_folder),
            "COLUMNS": "100",
        }
        self.processes: list[subprocess.Popen] = []

    def run(self, *arguments: object, wrapper: tuple[str, ...] = (), **options) -> Outcome:
        """Run a command to its end."""
        done = subprocess.run(
            [*wrapper, *self.command, *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            env=self.environment,
            timeout=60,
            check=False,
            **options,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen:
        """Start a command, pipes to it as text; it is killed at the end of the test."""
        process = subprocess.Popen(
            [*self.command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=self.environment | environment,
            start_new_session=True,  # a Ctrl-C of the test must not reach the tests
        )
        self.processes.append(process)
        return process

    def kill_all(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@pytest.fixture
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """Give the runner of the toy commands; whatever it started is killed afterwards."""
    runner = Toy(tmp_path_factory.mktemp("logs"))
    yield runner
    runner.kill_all()


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Return an input file whose path holds spaces and other than ASCII characters."""
    folder = tmp_path / "Müller, Jürgen 患者"
    folder.mkdir()
    path = folder / "CT Hüfte.nrrd"
    path.write_bytes(b"hounsfield")
    return path


@pytest.fixture
def in_mount(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Return a function that makes a command's wrapper, which mounts a folder for it alone.

    The command runs in a mount namespace of its own, so nothing needs to be unmounted. What the
    folder holds after the command is listed on standard error. Linux only; skipped where the
    kernel does not let us.
    """
    namespace = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    if not shutil.which("unshare"):
        pytest.skip("needs the program unshare (Linux)")

    def make(mount: str, folder: Path) -> tuple[str, ...]:
        script = f'{mount} && "$@"; code=$?; ls -A "{folder}" >&2; exit $code'
        wrapper = (*namespace, script, "sh")
        trial = subprocess.run([*wrapper, "true"], capture_output=True, check=False)
        if trial.returncode != 0:
            pytest.skip(f"cannot mount here: {trial.stderr.decode().strip()}")
        return wrapper

    return make
