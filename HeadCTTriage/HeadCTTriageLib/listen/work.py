# SPDX-License-Identifier: Apache-2.0
"""Complete series are judged, one after the other, by the process of :mod:`.worker`."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ReadingRoomLib.errors import (
    ERROR_TYPES,
    BadInput,
    OutputFailed,
    ReadingRoomError,
    typed_error,
)
from ReadingRoomLib.logs import write_log
from ReadingRoomLib.protocol import ProtocolError, decode, encode
from ReadingRoomLib.results import read_result

from .incoming import Incoming
from .register import JUDGING, Claim, Register
from .settings import Settings

LOG = logging.getLogger(__name__)
START_SECONDS = 120.0
PAUSE_SECONDS = 30.0  # after what is no fault of a series
POLL_SECONDS = 0.1


class WorkerDied(Exception):
    """The process ended, or took too long, before it answered."""


class Worker:
    """The process.

    Args:
        model: folder of an exported model.
        threads: of the computation; 0: as many as there are processors.
    """

    def __init__(self, model: Path, threads: int) -> None:
        self._command = [sys.executable, "-m", "HeadCTTriageLib.listen.worker", str(model),
                         str(threads)]
        self._process: subprocess.Popen | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None when there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> dict[str, Any]:
        """Start the process and wait until it has read the model; returns what the model is.

        Raises:
            ReadingRoomError: of the kind that fits; the model cannot be used.
            WorkerDied: it did not come up.
        """
        self.stop()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return _checked(self._answer(START_SECONDS))["model"]

    def judge(self, images: Path, output: Path, seconds: float) -> None:
        """Have a series judged into a result folder.

        Raises:
            ReadingRoomError: of the kind that fits.
            WorkerDied: the process ended, or had not answered after ``seconds`` and was ended.
        """
        try:
            self._process.stdin.write(encode({"images": images, "output": output}).encode())
            self._process.stdin.flush()
        except (OSError, ValueError, AttributeError) as error:  # ended, or being stopped
            raise WorkerDied from error
        _checked(self._answer(seconds))

    def stop(self) -> None:
        """End the process; what it was computing is lost, and nothing of it is left."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # a request that nobody has read
                    pipe.close()

    def _answer(self, seconds: float) -> dict[str, Any]:
        process = self._process
        limit = threading.Timer(seconds, process.kill)
        limit.daemon = True
        limit.start()
        try:
            return decode(process.stdout.readline())
        except (ProtocolError, OSError, ValueError) as error:
            raise WorkerDied from error
        finally:
            limit.cancel()


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise ERROR_TYPES.get(answer["error"], ReadingRoomError)(answer["message"])
    return answer


class Judging:
    """The thread that gives the worker its series.

    Args:
        settings: of the node.
        register, incoming: where series are.
        results: folder of the result folders.
    """

    def __init__(self, settings: Settings, register: Register, incoming: Incoming,
                 results: Path) -> None:
        self.settings, self.register, self.incoming = settings, register, incoming
        self.results = results
        self.worker = Worker(settings.model, settings.threads)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="judging", daemon=True)

    def start(self) -> dict[str, Any]:
        """Begin; returns what the model is, raises what :meth:`Worker.start` does."""
        model = self.worker.start()
        self._thread.start()
        return model

    def stop(self) -> None:
        """End at once; a series that is being judged will be judged after the next start."""
        self._stopping.set()
        self.worker.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self.worker.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except Exception as error:  # a full disk, a model that was taken away: it may pass
                if not self._stopping.is_set():
                    LOG.error("judging is paused: %s", typed_error(error).message)
                    write_log(error, "HeadCTTriage listen")
                    self._stopping.wait(PAUSE_SECONDS)
                    self._put_back()

    def _step(self) -> None:
        if self.worker.pid is None:
            self.worker.start()
        claim = self.register.claim()
        if claim is None:
            self._stopping.wait(POLL_SECONDS)
        else:
            self._judge(claim)

    def _put_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.register.put_back()

    def _judge(self, claim: Claim) -> None:
        short = claim.key[:8]
        output = self.results / claim.result
        LOG.info("judging series %s, %d images", short, claim.images)
        try:
            self.worker.judge(self.incoming.series(claim.study, claim.key), output,
                              self.settings.limits.judge_seconds)
            self._note(claim, read_result(output))
        except BadInput as error:
            LOG.info("series %s is not judged", short)
            self.register.refuse(claim.key, JUDGING, error.message, revision=claim.revision)
        except OutputFailed:
            raise
        except ReadingRoomError as error:
            self._crashed(claim, error.message)
        except WorkerDied:
            if not self._stopping.is_set():
                self.worker.stop()  # what has closed its pipes may not have ended yet
                self._crashed(claim, "The computation ended by itself, or took too long, "
                                     "several times.")

    def _note(self, claim: Claim, result: dict[str, Any]) -> None:
        shown = {key: result[key] for key in
                 ("decision", "triage", "urgent_probability", "interval", "doubts")}
        to = [destination.ae_title for destination in self.settings.destinations]
        objects = [result["files"][role] for role in ("report", "sheet")]
        if self.register.judged(claim, shown, objects, to, time.time()):
            LOG.info("judged series %s: %s", claim.key[:8], result["decision"])
        else:
            LOG.info("more images of series %s came meanwhile", claim.key[:8])

    def _crashed(self, claim: Claim, reason: str) -> None:
        again = self.register.crashed(claim, reason)
        LOG.error("the computation of series %s failed%s", claim.key[:8],
                  ", again" if again else " too often")
