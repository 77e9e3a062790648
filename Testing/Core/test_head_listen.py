# SPDX-License-Identifier: Apache-2.0
"""The DICOM node over real connections: who may send, what is complete, judged, and told."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
import struct

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import EnhancedCTImageStorage, ImplicitVRLittleEndian, RLELossless, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    CTImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from HeadCTTriageLib.listen import receive
from HeadCTTriageLib.listen.settings import Completeness, Destination
from ReadingRoomLib.errors import BadInput

from .dicom_factory import write_enhanced
from .listen_factory import (
    ELSEWHERE,
    NODE,
    SCANNER,
    call,
    ended,
    files_below,
    free_port,
    head_series,
    of_study,
    running,
    send,
    settings_for,
    until,
    write_model,
)
from .test_head_triage import toy_head


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="module")
def node(tmp_path_factory, model):
    with running(settings_for(tmp_path_factory.mktemp("node"), model)) as node:
        yield node


@pytest.fixture
def port(node):
    return node.receiver.port


def images(node, datasets):
    """The files of a series."""
    place = node.register.place(datasets[0].StudyInstanceUID, datasets[0].SeriesInstanceUID, "")
    return files_below(node.incoming.series(place.study, place.series))


def results(node):
    return sorted(path.name for path in node.results.glob("*"))


# --- who may send --------------------------------------------------------------------------------


def test_an_echo_is_answered_and_ct_in_all_encodings_is_taken_nothing_else(port):
    entity = AE(SCANNER)
    entity.add_requested_context(Verification)
    entity.add_requested_context(MRImageStorage)
    for kind in (CTImageStorage, EnhancedCTImageStorage):
        for syntax in receive.SYNTAXES:  # one context each, so that each is answered
            entity.add_requested_context(kind, [syntax])
    association = entity.associate("127.0.0.1", port, ae_title=NODE)
    assert association.send_c_echo().Status == 0
    assert [each.abstract_syntax for each in association.rejected_contexts] == [MRImageStorage]
    association.release()


@pytest.mark.parametrize("wrong", [{"calling": "STRANGER"}, {"called": "ANOTHER"},
                                   {"calling": ELSEWHERE}])
def test_who_is_not_on_the_list_is_rejected(port, wrong):
    association = call(port, **wrong)
    assert association.is_rejected
    assert not association.is_established


def test_a_peer_is_known_by_its_address(port):
    association = call(port, calling=ELSEWHERE, address="127.0.0.2")
    assert association.is_established
    association.release()


def test_a_message_that_claims_gigabytes_is_not_waited_for(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 2**31))
        assert connection.recv(100) == b""  # closed


# --- what is judged ------------------------------------------------------------------------------


def test_a_head_is_judged_and_nothing_but_its_images_and_reports_tells_whose(node, port):
    head = head_series()
    assert set(send(port, head)) == {0}
    [series] = ended(node, head)
    assert series["state"] == "judged" and series["images"] == len(head)
    assert series["decision"] and 0 <= series["urgent_probability"] <= 1

    kept = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, images(node, head))}
    assert all(kept[each.SOPInstanceUID].PixelData == each.PixelData for each in head)

    told = [json.dumps(node.status()), *map(str, files_below(node.settings.data))]
    register = b"".join(path.read_bytes()
                        for path in node.settings.data.glob("register.sqlite*"))
    result = next(node.results.glob("*/result.json")).read_text()
    for secret in ("Secret", "SECRET", head[0].StudyInstanceUID, head[0].SeriesInstanceUID,
                   head[0].SOPInstanceUID):
        assert secret.encode() not in register
        assert all(secret not in text for text in [*told, result])


def test_the_same_study_twice_is_kept_and_judged_once(node, port):
    head = head_series()
    send(port, head)
    [first] = ended(node, head)
    before = results(node)
    assert set(send(port, head)) == {0}
    until(lambda: not node.receiver._visits)
    assert of_study(node, head) == [first]
    assert len(images(node, head)) == len(head) and results(node) == before


def test_a_broken_transfer_is_not_judged_until_it_was_repeated(node, port):
    head = head_series()
    send(port, head[:9], abort=True)
    until(lambda: of_study(node, head)[0]["interrupted"])
    # another one that is sent later is judged meanwhile: silence was long enough
    other = head_series()
    send(port, other)
    ended(node, other)
    [series] = of_study(node, head)
    assert series["state"] == "received" and series["images"] == 9
    send(port, head)
    [series] = ended(node, head)
    assert series["state"] == "judged" and series["images"] == len(head)
    assert series["revision"] == 1


def test_a_sender_that_keeps_its_association_open_is_done_when_it_is_silent(node, port):
    head = head_series()
    association = call(port)
    for each in head:
        association.send_c_store(each)
    [series] = ended(node, head)
    assert series["state"] == "judged"
    association.release()


def test_images_that_come_late_are_judged_with_the_others(node, port):
    head = head_series()
    send(port, head[:9])
    [first] = ended(node, head)
    assert first["state"] == "judged"
    send(port, head[9:])
    until(lambda: of_study(node, head)[0]["revision"] == 2)
    [second] = ended(node, head)
    assert second["state"] == "judged" and second["images"] == len(head)


def changed(**values):
    def edit(dataset):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
    return edit


def test_of_a_study_the_thinnest_plain_series_is_judged(node, port):
    study = generate_uid()
    thick, thin, bone, agent = (
        head_series(study, edit=changed(**values)) for values in (
            {"SliceThickness": 5.0}, {"SliceThickness": 3.0},
            {"SliceThickness": 1.0, "ConvolutionKernel": "H60s"},
            {"SliceThickness": 1.0, "ContrastBolusAgent": "Iomeprol"}))
    send(port, [*thick, *bone, *agent, *thin])
    found = {each["reason"]: each for each in ended(node, thick, 4)}
    assert len(found) == 4
    judged = node.register.place(study, thin[0].SeriesInstanceUID, "").series[:8]
    assert found[""]["state"] == "judged" and found[""]["series"] == judged
    assert sum(each["state"] == "not judged" for each in found.values()) == 3
    assert any("contrast agent" in reason for reason in found)
    assert any("sharp kernel" in reason for reason in found)
    assert any("Another series" in reason for reason in found)


def test_where_the_best_series_is_no_head_the_next_is_judged(node, port):
    study = generate_uid()
    head = head_series(study, edit=changed(SliceThickness=5.0))

    def empty(dataset):
        dataset.SliceThickness = 1.0
        dataset.PixelData = np.full((dataset.Rows, dataset.Columns), 1074, "<u2").tobytes()
        dataset.pixel_array[0, 0] = 0

    send(port, [*head_series(study, edit=empty), *head])
    found = ended(node, head, 2)
    assert sorted(each["state"] for each in found) == ["judged", "not judged"]
    assert {each["reason"] == "" for each in found if each["state"] == "judged"} == {True}


@pytest.mark.parametrize("kind, reason", [("localizer", "localizers"), ("one slice", "one slice"),
                                          ("coronal", "not axial")])
def test_what_is_no_head_scan_is_not_judged(node, port, kind, reason):
    datasets = {
        "localizer": lambda: head_series(
            count=2, edit=changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        "one slice": lambda: head_series(count=1),
        "coronal": lambda: head_series(edit=changed(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])),
    }[kind]()
    assert set(send(port, datasets)) == {0}
    [series] = ended(node, datasets)
    assert series["state"] == "not judged" and reason in series["reason"]
    assert len(images(node, datasets)) == (0 if kind == "localizer" else len(datasets))


def test_compressed_and_multi_frame_images_are_judged(node, port, tmp_path):
    packed = head_series()
    for dataset in packed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    assert set(send(port, packed, syntaxes=[RLELossless])) == {0}

    head = toy_head((2.0, 1.5, 16.0))
    path = write_enhanced(tmp_path / "enhanced.dcm", sitk.GetArrayFromImage(head),
                          16.0 * np.arange(head.GetDepth()))
    frames = [pydicom.dcmread(path)]
    assert send(port, frames, kinds=[EnhancedCTImageStorage]) == [0]
    for sent in (packed, frames):
        [series] = ended(node, sent)
        assert series["state"] == "judged", series["reason"]
    report = pydicom.dcmread(next(node.results.glob(
        f"{node.register.place(frames[0].StudyInstanceUID, frames[0].SeriesInstanceUID, '').series}"
        "-1/report.dcm")))
    assert report.StudyInstanceUID == frames[0].StudyInstanceUID


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("edit, status", [
    (changed(Modality="MR"), 0xA900), (changed(SeriesInstanceUID=""), 0xC000),
    (changed(StudyInstanceUID=None), 0xC000)])
def test_what_cannot_be_filed_is_refused(node, port, edit, status):
    before = node.status()["states"]
    assert send(port, head_series(count=1, edit=edit)) == [status]
    assert node.status()["states"] == before


def test_limits_are_kept(tmp_path, model):
    limits = {"objects": 10, "object_bytes": 20_000, "per_minute": 40}
    with running(settings_for(tmp_path, model, limits=limits)) as node:
        head = head_series()
        statuses = send(node.receiver.port, head)
        assert statuses == 10 * [0] + (len(head) - 10) * [0xA700]
        large = head_series(count=1, edit=changed(PixelData=bytes(25_000)))
        assert send(node.receiver.port, large) == [0xA700]
        huge = head_series(count=1, edit=changed(PixelData=bytes(900_000)))
        association = call(node.receiver.port)
        assert not association.send_c_store(huge[0])  # broken off before it was read
        until(lambda: not association.is_established)
        flood = send(node.receiver.port, head_series() + head_series())
        assert flood[0] == 0 and flood[-1] == 0xA700
        # a series of which some images were refused is never judged as if it were whole
        until(lambda: of_study(node, head)[0]["interrupted"])
        assert len(images(node, head)) == 10


def test_a_full_disk_is_told_and_leaves_nothing_half_written(node, port, monkeypatch):
    head = head_series()
    with monkeypatch.context() as patch:
        patch.setattr(node.incoming, "free_bytes", 2**62)
        assert set(send(port, head)) == {0xA700}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("HeadCTTriageLib.listen.incoming.os.fsync", full)
        assert set(send(port, head)) == {0xA700}
    assert images(node, head) == []
    assert list((node.incoming.folder / ".unfinished").iterdir()) == []
    send(port, head)
    [series] = ended(node, head)
    assert series["state"] == "judged" and series["images"] == len(head)


# --- what is killed ------------------------------------------------------------------------------


def test_a_worker_that_is_killed_while_it_judges_is_replaced(node, port):
    head = head_series()
    send(port, head)
    until(lambda: of_study(node, head)[0]["state"] == "judging")
    killed = node.judging.worker.pid
    os.kill(killed, signal.SIGKILL)
    [series] = ended(node, head)
    assert series["state"] == "judged"
    assert node.judging.worker.pid != killed


def test_one_data_folder_is_for_one_node(node):
    with pytest.raises(BadInput, match="used by another node"):
        type(node)(node.settings)


def test_a_node_that_was_stopped_begins_where_it_was(tmp_path, model):
    # nothing is complete before the stop
    slow = settings_for(tmp_path, model, complete=Completeness(60, 60, 600))
    broken, whole = head_series(), head_series()
    with running(slow) as node:
        send(node.receiver.port, broken[:9], abort=True)
        send(node.receiver.port, whole)
        until(lambda: not node.receiver._visits)
    with running(settings_for(tmp_path, model)) as node:
        [series] = ended(node, whole)
        assert series["state"] == "judged"
        assert of_study(node, broken)[0]["state"] == "received"
        assert len(results(node)) == 1


# --- what is sent --------------------------------------------------------------------------------


class Archive:
    """A destination that counts what it gets, and refuses the first objects."""

    def __init__(self, port: int, refusals: int = 0) -> None:
        self.got, self.refusals = [], refusals
        entity = AE("ARCHIVE")
        for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            entity.add_supported_context(kind, [ImplicitVRLittleEndian])
        self.server = entity.start_server(("127.0.0.1", port), block=False,
                                          evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def _store(self, event):
        if self.refusals:
            self.refusals -= 1
            return 0xA700
        self.got.append(event.dataset)
        return 0


def test_an_archive_that_was_down_gets_every_result_once(tmp_path, model, caplog):
    port = free_port()
    destination = Destination("ARCHIVE", "127.0.0.1", port)
    with running(settings_for(tmp_path, model, [destination])) as node:
        head = head_series()
        send(node.receiver.port, head)
        until(lambda: [each["attempts"] >= 2 for each in node.status()["waiting"]] == [True])
        assert of_study(node, head)[0]["state"] == "judged"
    # the node may be restarted meanwhile
    with running(settings_for(tmp_path, model, [destination])) as node:
        archive = Archive(port, refusals=1)
        until(lambda: of_study(node, head)[0]["state"] == "sent")
        assert node.status()["waiting"] == []
        other = head_series()
        send(node.receiver.port, other)
        until(lambda: of_study(node, other)[0]["state"] == "sent")
    archive.server.shutdown()
    got = {each.SOPInstanceUID: (each.Modality, each.StudyInstanceUID) for each in archive.got}
    assert sorted(got.values()) == sorted(
        (modality, each[0].StudyInstanceUID) for each in (head, other)
        for modality in ("SR", "OT"))
    # but for those whose answer was lost on the way
    assert len(archive.got) - len(got) <= caplog.text.count("did not answer")


# --- what is told --------------------------------------------------------------------------------


def ask(node, method="GET", path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", node.page.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, body


def test_the_page_shows_states_and_forbids_everything(node):
    code, headers, body = ask(node)
    assert code == 200 and "HeadCTTriage" in body and "not a medical device" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store" and "Python" not in headers["Server"]
    code, headers, body = ask(node, path="/status.json")
    assert code == 200 and json.loads(body)["states"] == node.status()["states"]


@pytest.mark.parametrize("request_, code", [
    ({"path": "/results"}, 404), ({"path": "/../register.sqlite"}, 404), ({"path": "/?x=1"}, 404),
    ({"method": "POST"}, 405), ({"method": "DELETE"}, 405), ({"Host": "evil.example"}, 421)])
def test_the_page_answers_nothing_else(node, request_, code):
    found, headers, body = ask(node, **request_)
    assert found == code
    assert "evil" not in body and headers["X-Frame-Options"] == "DENY"


def test_what_is_old_is_forgotten(tmp_path, model):
    with running(settings_for(tmp_path, model)) as node:
        head = head_series()
        send(node.receiver.port, head)
        ended(node, head)
        node.forget()
        assert images(node, head) and results(node)
        object.__setattr__(node.settings, "keep_days", 0)
        node.forget()
        assert not files_below(node.incoming.folder) and not results(node)
        assert node.status()["series"] == []
