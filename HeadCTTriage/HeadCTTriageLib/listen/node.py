# SPDX-License-Identifier: Apache-2.0
"""The node as a whole: receives, finds out what is complete, judges, sends, tells, forgets."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import signal
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynetdicom

from ReadingRoomLib.errors import BadInput, OutputFailed
from ReadingRoomLib.logs import write_log

from .choice import describe
from .incoming import Incoming
from .receive import Receiver
from .register import RECEIVED, Register
from .send import Sender
from .settings import GIGABYTE, Settings, read_settings
from .status import StatusPage, clock
from .work import Judging

LOG = logging.getLogger(__name__)
TICK_SECONDS = 0.2
FORGET_SECONDS = 3600.0  # between two looks for what is old
PAUSE_SECONDS = 30.0  # after the disk was full
PATIENCE_SECONDS = 10.0  # with those who are sending when the node is to stop
SHOWN = 200  # series
DAY = 86400.0


def run(path: Path) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    Args:
        path: of the configuration.

    Raises:
        BadInput: the configuration is wrong, or another node uses its folder.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    _quiet()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    node = Node(read_settings(path))
    with _until_signalled() as stopped:
        node.start()
        try:
            while not stopped.wait(1.0):  # Windows delivers signals only between waits
                pass
        finally:
            node.stop()


def _quiet() -> None:
    """Keep to themselves what libraries say: they quote headers."""
    warnings.simplefilter("ignore")
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextlib.contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set())
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Node:
    """All parts of a node, in one data folder.

    Args:
        settings: of the node.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.results = settings.data / "results"
        self._lock = _lock(settings.data)
        self.register = Register(settings.data / "register.sqlite", settings.complete)
        self.incoming = Incoming(settings.data / "incoming", settings.limits.free_bytes)
        self.receiver = Receiver(settings, self.register, self.incoming)
        self.judging = Judging(settings, self.register, self.incoming, self.results)
        self.senders = [Sender(settings, destination, self.register, self.results)
                        for destination in settings.destinations]
        self.page: StatusPage | None = None
        self.model: dict[str, Any] = {}
        self._began = time.time()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._run, name="watching", daemon=True)

    def start(self) -> None:
        """Begin, the ear last: what comes in can be worked on.

        Raises:
            BadInput: a port cannot be used.
            ReadingRoomError: of the kind that fits; the model cannot be used.
        """
        self.register.recover(time.time())
        settings = self.settings
        try:
            self.model = self.judging.start()
            with _address("status", settings.status_host, settings.status_port):
                self.page = StatusPage(settings.status_host, settings.status_port, self.status)
            with _address("node", settings.host, settings.port):
                self.receiver.start()
        except BaseException:
            self.stop()
            raise
        self.page.start()
        for sender in self.senders:
            sender.start()
        self._watch.start()
        LOG.info("listening as %s on port %d, status page on port %d", settings.ae_title,
                 self.receiver.port, self.page.port)

    def stop(self) -> None:
        """End in order; what is under way goes on after the next start."""
        self.receiver.stop(PATIENCE_SECONDS)
        self._stopping.set()
        if self._watch.ident is not None:
            self._watch.join()
        self.judging.stop()
        for sender in self.senders:
            sender.stop()
        if self.page is not None:
            self.page.stop()
        self.register.close()
        self._lock.close()
        LOG.info("stopped")

    # --- what is complete, what is old ---------------------------------------------------------

    def _run(self) -> None:
        forgot = 0.0
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self._look()
                if time.monotonic() - forgot > FORGET_SECONDS:
                    forgot = time.monotonic()
                    self.forget()
            except Exception as error:  # a full disk: it may not stay so
                LOG.error("the register cannot be written: is the disk full?")
                write_log(error, "HeadCTTriage listen")
                self._stopping.wait(PAUSE_SECONDS)

    def _look(self) -> None:
        self.receiver.end_visits()
        now = time.time()
        for key in self.register.give_up(now):
            LOG.warning("series %s is incomplete and given up", key[:8])
        for row in self.register.quiet_series(now):
            self._decide(row["key"], row["study"], row["images"], now)

    def _decide(self, key: str, study: str, images: int, now: float) -> None:
        """Queue a series to which nothing more comes, or say why not."""
        reason = "The series holds localizers or other pictures, no slices."
        if images:
            try:
                series = describe(self.incoming.series(study, key))
                reason = series.unsuitable()
            except Exception as error:  # what pydicom raises over a header, a dozen kinds
                write_log(error, "HeadCTTriage listen")
                reason = "The headers of the series cannot be understood."
        if reason is None:
            LOG.info("series %s is complete, %d images", key[:8], images)
            self.register.complete(key, images, series.rank, now)
        else:
            LOG.info("series %s is not judged", key[:8])
            self.register.refuse(key, RECEIVED, reason, images)

    def forget(self) -> None:
        """Remove images and results that are older than they are to be kept."""
        for study, key, revisions in self.register.outdated(
                time.time() - self.settings.keep_days * DAY):
            self.incoming.remove(study, key)
            for revision in range(1, revisions + 1):
                shutil.rmtree(self.results / f"{key}-{revision}", ignore_errors=True)
            self.register.forget(key)

    # --- what is told --------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For the status page."""
        return {
            "node": {
                "ae_title": self.settings.ae_title, "port": self.receiver.port,
                "since": clock(self._began),
                "model": f"{self.model['name']} {self.model['sha256'][:8]}",
                "worker_running": self.judging.worker.pid is not None,
                "free_gigabytes": round(self.incoming.free() / GIGABYTE, 2)},
            "states": self.register.counts(),
            "waiting": [{**each, "next": clock(each["next"])}
                        for each in self.register.waiting_sends()],
            "series": [_shown(row) for row in self.register.latest(SHOWN)],
        }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    judgement = json.loads(row["judgement"] or "{}")
    return {
        "series": row["key"][:8], "study": row["study"][:8], "state": row["state"],
        "reason": row["reason"], "images": row["images"], "revision": row["revision"],
        "interrupted": row["broken"] is not None, "arrived": clock(row["arrived"]),
        "judged": clock(row["judged"]), "decision": judgement.get("decision"),
        "urgent_probability": judgement.get("urgent_probability")}


def _lock(folder: Path) -> sqlite3.Connection:
    """Take a data folder for this process alone, until it ends, however it does."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / "lock.sqlite", timeout=0, isolation_level=None,
                               check_same_thread=False)
        lock.execute("BEGIN EXCLUSIVE")
    except OSError as error:
        raise OutputFailed(f"The data folder {folder} cannot be made: choose another one (data in "
                           "[node]).") from error
    except sqlite3.OperationalError as error:
        raise BadInput(f"The data folder {folder} is used by another node, or cannot be written: "
                       "stop that one, or choose another folder (data in [node]).") from error
    return lock


@contextlib.contextmanager
def _address(table: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"Port {port} of {host} cannot be used: choose another one (host and port "
                       f"in [{table}]).") from error
