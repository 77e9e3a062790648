# SPDX-License-Identifier: Apache-2.0
"""The node's ear: takes CT images from peers that may send, and says what became of each.

An image is answered with success only when it is on the disk and in the register. What is no slice
(localizers, pictures without a place in the patient) is answered with success and not kept: its
sender can do nothing about it, and must not repeat the whole series for it.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO

import pydicom
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification

from ReadingRoomLib.logs import write_log

from .incoming import DiskFull, Incoming
from .register import Place, Register
from .settings import Limits, Peer, Settings

LOG = logging.getLogger(__name__)
CLASSES = (CTImageStorage, EnhancedCTImageStorage)
SYNTAXES = [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian, JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless,
    RLELossless, JPEGLSNearLossless, JPEG2000, JPEGExtended12Bit, JPEGBaseline8Bit]
"""What GDCM decodes."""
SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
CALLING_NOT_RECOGNISED = 0x01, 0x01, 0x03  # rejected for good, by the service user
REQUEST_SECONDS = 10.0  # from a connection to a request for an association
LARGEST_PDU = 2**20
"""Bytes; pynetdicom would read whatever length is claimed. We ask for less."""
_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
         "ImageType", "Rows", "SamplesPerPixel", "ImagePositionPatient",
         "ImageOrientationPatient", "PixelSpacing", "PerFrameFunctionalGroupsSequence"]


class Refused(Exception):
    """An object that is not taken.

    Args:
        status: of the answer.
        comment: for it, at most 64 characters, without a word about the patient.
    """

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status, self.comment = status, comment


@dataclass
class _Visit:
    """An association, and the series that it brought."""

    association: object
    began: float
    last: float
    brought: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


class Receiver:
    """Takes images while it is started.

    Args:
        settings: of the node.
        register, incoming: where images go.
    """

    def __init__(self, settings: Settings, register: Register, incoming: Incoming) -> None:
        self.settings, self.register, self.incoming = settings, register, incoming
        self._visits: dict[object, _Visit] = {}
        self._lock = threading.Lock()
        self._keeping = [threading.Lock() for _ in range(64)]
        self._allowances: dict[Peer, Allowance] = {
            peer: Allowance(settings.limits.per_minute) for peer in settings.peers}
        self._entity = AE(settings.ae_title)
        self._entity.require_called_aet = True
        self._entity.maximum_pdu_size = LARGEST_PDU // 4
        self._entity.maximum_associations = settings.limits.associations
        self._entity.acse_timeout = REQUEST_SECONDS
        self._entity.network_timeout = 2 * settings.complete.silence + 60
        self._entity.add_supported_context(Verification)
        for kind in CLASSES:
            self._entity.add_supported_context(kind, SYNTAXES)
        self._server = None

    @property
    def port(self) -> int:
        """On which it listens."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or the address is not ours.
        """
        handlers = [
            (evt.EVT_CONN_OPEN, _prepare_connection),
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_ACCEPTED, self._welcome),
            (evt.EVT_PDU_RECV, _LimitObjects(self.settings.limits)),
            (evt.EVT_C_STORE, self._store),
        ]
        self._server = self._entity.start_server(
            (self.settings.host, self.settings.port), block=False, evt_handlers=handlers)

    def stop(self, patience: float) -> None:
        """Take nobody new, wait for those who are sending, then break off.

        Args:
            patience: seconds.
        """
        if self._server is None:
            return
        self._server.shutdown()
        deadline = time.monotonic() + patience
        with self._lock:
            sending = list(self._visits)
        for association in sending:
            association.join(max(0.0, deadline - time.monotonic()))
            if association.is_established:
                association.abort()
        self.end_visits(all_of_them=True)

    def end_visits(self, all_of_them: bool = False) -> None:
        """Note in the register how the associations ended that did so since the last call."""
        with self._lock:
            ended = [visit for visit in self._visits.values()
                     if all_of_them or not visit.association.is_alive()]
            for visit in ended:
                del self._visits[visit.association]
            still = set().union(*(visit.brought for visit in self._visits.values()))
            for visit in ended:
                in_order = visit.association.is_released
                interrupted = visit.refused if in_order else visit.brought | visit.refused
                self.register.end_visit(visit.brought - interrupted - still, interrupted,
                                        visit.began, visit.last, time.time())
                if not in_order:
                    LOG.warning("an association broke off, series open: %d", len(interrupted))

    def _admit(self, event: evt.Event) -> None:
        """Reject who is not on the list."""
        title = event.assoc.requestor.primitive.calling_ae_title.strip()
        if find_peer(self.settings.peers, title, event.assoc.requestor.address) is None:
            LOG.warning("rejected an association from %s", event.assoc.requestor.address)
            event.assoc.acse.send_reject(*CALLING_NOT_RECOGNISED)
            event.assoc.kill()

    def _welcome(self, event: evt.Event) -> None:
        with self._lock:
            self._visits[event.assoc] = _Visit(event.assoc, time.time(), time.time())

    # --- one object ----------------------------------------------------------------------------

    def _store(self, event: evt.Event) -> int | pydicom.Dataset:
        """Answer a C-STORE."""
        visit = self._visits[event.assoc]
        visit.last = time.time()
        place: list[Place] = []
        try:
            self._take(event, visit, place)
            return SUCCESS
        except Refused as refusal:
            failure = refusal
        except DiskFull:
            failure = Refused(OUT_OF_RESOURCES, "The disk is full.")
        except (OSError, sqlite3.Error, MemoryError) as error:
            write_log(error, "HeadCTTriage listen")
            failure = Refused(OUT_OF_RESOURCES, "The object could not be written.")
        except Exception as error:  # whatever a peer sends, the node goes on
            write_log(error, "HeadCTTriage listen")
            failure = Refused(NOT_UNDERSTOOD, "The object could not be understood.")
        if failure.status == OUT_OF_RESOURCES and place:
            visit.refused.add(place[0].series)
        LOG.warning("refused an object (%04X): %s", failure.status, failure.comment)
        answer = pydicom.Dataset()
        answer.Status, answer.ErrorComment = failure.status, failure.comment
        return answer

    def _take(self, event: evt.Event, visit: _Visit, found: list[Place]) -> None:
        """Keep an object; raises :class:`Refused`. ``found`` gets where it belongs, once known."""
        content = event.encoded_dataset()
        header = _header(content, event.request)
        place = self.register.place(header.StudyInstanceUID, header.SeriesInstanceUID,
                                    header.SOPInstanceUID)
        found.append(place)
        self._check_limits(event, place)
        visit.brought.add(place.series)
        if not _is_slice(header):
            self.register.add_other(place, time.time())
            return
        # two senders of one image must not both find it new, nor remove it for each other
        with self._keeping[int(place.image[:4], 16) % len(self._keeping)]:
            if self.register.knows(place.image):
                self.register.add_again(place, time.time())
                return
            path = self.incoming.keep(place, content)
            try:
                self.register.add_image(place, time.time())
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def _check_limits(self, event: evt.Event, place: Place) -> None:
        limits = self.settings.limits
        requestor = event.assoc.requestor
        peer = find_peer(self.settings.peers, requestor.ae_title.strip(), requestor.address)
        if not self._allowances[peer].take():
            raise Refused(OUT_OF_RESOURCES, "Too many objects in a minute: try again later.")
        if event.request.DataSet.getbuffer().nbytes > limits.object_bytes:
            raise Refused(OUT_OF_RESOURCES, "The object is larger than is taken here.")
        if (self.register.images_of(place.series) >= limits.objects
                and not self.register.knows(place.image)):
            raise Refused(OUT_OF_RESOURCES, "The series has more objects than are taken here.")


def find_peer(peers: tuple[Peer, ...], ae_title: str, address: str) -> Peer | None:
    """Who calls by that title from that address, if it is allowed."""
    where = ipaddress.ip_address(address.partition("%")[0])
    if where.version == 6 and where.ipv4_mapped:
        where = where.ipv4_mapped
    return next((peer for peer in peers if peer.ae_title == ae_title and where in peer.network),
                None)


class Allowance:
    """So many objects a minute, and no more at once than in a minute.

    Args:
        per_minute: objects.
        clock: seconds, rising.
    """

    def __init__(self, per_minute: int, clock=time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self._left, self._at = float(per_minute), clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may come now."""
        with self._lock:
            now = self.clock()
            gained = (now - self._at) * self.per_minute / 60
            self._left, self._at = min(self.per_minute, self._left + gained), now
            if self._left < 1:
                return False
            self._left -= 1
            return True


def _header(content: bytes, request: C_STORE) -> pydicom.Dataset:
    """What decides about an object, checked for what no CT may lack."""
    try:
        header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=_TAGS)
        uids = [str(header[tag].value or "") for tag in
                ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")]
        kind, modality = str(header.get("SOPClassUID")), header.get("Modality")
    except Exception as error:  # pydicom raises a dozen kinds over damaged files
        raise Refused(NOT_UNDERSTOOD, "The object is damaged or lacks its identifiers.") from error
    if not all(uids):
        raise Refused(NOT_UNDERSTOOD, "The object lacks its unique identifiers.")
    if (kind != request.AffectedSOPClassUID or uids[0] != request.AffectedSOPInstanceUID
            or modality != "CT"):
        raise Refused(MISMATCH, "The object is not the CT image that was announced.")
    return header


def _is_slice(header: pydicom.Dataset) -> bool:
    """Whether it is grey, of the body, and has a place in it."""
    if "LOCALIZER" in (header.get("ImageType") or []) or "Rows" not in header:
        return False
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return False
    if header.SOPClassUID == EnhancedCTImageStorage:
        return bool(header.get("PerFrameFunctionalGroupsSequence"))
    return all(header.get(tag) for tag in
               ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))


def _prepare_connection(event: evt.Event) -> None:
    """Close a connection that announces more than a message can have, before it is read.

    And acknowledge at once what comes: a sender that waits for it before it sends the rest of an
    object (Nagle's algorithm) would lose 40 ms for each.
    """
    connection = event.assoc.dul.socket
    receive = connection.recv
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at_once = getattr(socket, "TCP_QUICKACK", None)  # Linux; holds for a while only

    def receive_limited(count: int) -> bytearray:
        if count > LARGEST_PDU:
            raise OSError("a PDU larger than was agreed")
        if at_once is not None:
            connection.socket.setsockopt(socket.IPPROTO_TCP, at_once, 1)
        return receive(count)

    connection.recv = receive_limited


class _LimitObjects:
    """Break off when an object grows far beyond what is taken, before it fills the memory.

    One that is a little too large is read to its end, so that it can be refused in order.
    """

    def __init__(self, limits: Limits) -> None:
        self.most = 2 * limits.object_bytes

    def __call__(self, event: evt.Event) -> None:
        if not isinstance(event.pdu, P_DATA_TF):
            return
        grown = getattr(event.assoc, "object_bytes", 0)
        for item in event.pdu.presentation_data_value_items:
            fragment = item.presentation_data_value
            grown = 0 if fragment[0] & 2 else grown + len(fragment)  # bit 2: the last of its kind
        event.assoc.object_bytes = grown
        if grown > self.most:
            LOG.warning("broke off an association: an object is far larger than is taken")
            event.assoc.abort()
