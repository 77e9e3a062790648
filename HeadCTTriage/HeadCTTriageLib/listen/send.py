# SPDX-License-Identifier: Apache-2.0
"""Results go out, to each destination until it has them: an archive may be down for a weekend."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from ReadingRoomLib.logs import write_log

from .register import Register, Send
from .settings import Destination, Settings

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.2
ANSWER_SECONDS = 30.0
TAKEN = {0x0000, 0xB000, 0xB006, 0xB007}  # success, and warnings with which it is stored
GONE = "The result is no longer on the disk."


class Sender:
    """The thread that serves one destination, so that none waits for another.

    Args:
        settings: of the node.
        destination: who gets results.
        register: what is to be sent.
        results: folder of the result folders.
    """

    def __init__(self, settings: Settings, destination: Destination, register: Register,
                 results: Path) -> None:
        self.destination, self.register, self.results = destination, register, results
        self.retries = settings.retries
        self._entity = AE(settings.ae_title)
        for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            self._entity.add_requested_context(
                kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        self._entity.connection_timeout = self._entity.acse_timeout = ANSWER_SECONDS
        self._entity.dimse_timeout = self._entity.network_timeout = ANSWER_SECONDS
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"sending to {destination.ae_title}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the object that is under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(ANSWER_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                due = self.register.due_sends(self.destination.ae_title, time.time())
                if due:
                    self._serve(due)
            except Exception as error:  # a full disk, an answer that is none: it may pass
                LOG.error("sending to %s is paused", self.destination.ae_title)
                write_log(error, "HeadCTTriage listen")
                self._stopping.wait(self.retries.first)

    def _serve(self, due: list[Send]) -> None:
        """Send what can be sent, postpone the rest."""
        title = self.destination.ae_title
        association = self._entity.associate(
            self.destination.host, self.destination.port, ae_title=title)
        if not association.is_established:
            rejected = association.is_rejected
            self._postpone(due, "It rejects associations of this node." if rejected
                           else "It cannot be reached.")
            return
        try:
            for number, send in enumerate(due):
                if self._stopping.is_set():
                    return
                if not association.is_established:
                    self._postpone(due[number:], "The connection broke off.")
                    return
                self._send(association, send)
        finally:
            if association.is_established:
                association.release()

    def _send(self, association, send: Send) -> None:
        try:
            dataset = pydicom.dcmread(self.results / send.result / send.object)
        except OSError:
            self._postpone([send], GONE)
            return
        try:
            status = association.send_c_store(dataset).get("Status")
        except (ValueError, RuntimeError):  # no context for it, or the association has ended
            self._postpone([send], "It does not take this kind of object.")
            return
        if status in TAKEN:
            self.register.sent(send, time.time())
            LOG.info("sent %s of series %s to %s", send.object, send.series[:8],
                     self.destination.ae_title)
        else:
            self._postpone([send], "It did not answer." if status is None
                           else f"It refused an object (status {status:04X}).")

    def _postpone(self, sends: list[Send], reason: str) -> None:
        LOG.warning("%s: %s Objects waiting: %d", self.destination.ae_title, reason, len(sends))
        self.register.postpone(sends, reason, self.retries, time.time())
