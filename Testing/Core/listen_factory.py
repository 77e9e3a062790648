# SPDX-License-Identifier: Apache-2.0
"""What the tests of the DICOM node share: a toy model, toy heads as DICOM, nodes, and senders."""

from __future__ import annotations

import contextlib
import copy
import functools
import ipaddress
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
import pydicom
import SimpleITK as sitk
from onnx import TensorProto, helper
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from HeadCTTriageLib.exported import write_exported
from HeadCTTriageLib.listen.node import Node
from HeadCTTriageLib.listen.settings import (
    Completeness,
    Limits,
    Peer,
    Retries,
    Settings,
)

from .dicom_factory import write_series
from .test_head_certainty import heads
from .test_head_triage import toy_head

SCANNER, ELSEWHERE, NODE = "SCANNER", "ELSEWHERE", "READINGROOM"
QUICK = Completeness(silence=1.0, after_release=0.2, give_up=600.0)
ENDED = {"judged", "sent", "not judged", "incomplete"}


def write_model(folder: Path) -> Path:
    """Write an exported model whose network is a mean: small, quick, and made without PyTorch."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1, 4], [0.0, 1.0, 2.0, -1.0])
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["slices"], ["mean"], axes=[2, 3], keepdims=0),
         helper.make_node("Mul", ["mean", "weights"], ["tags"])],
        "toy", [helper.make_tensor_value_info("slices", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("tags", TensorProto.FLOAT, ["n", 4])], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True)
    write_exported(folder, model.SerializeToString(), {
        "name": "toy", "recipe": "seed", "version": "1", "trained_on": "nothing",
        "simulated": True, "precision": "float32", "certainty": heads(100, 0).written()})
    return folder


@functools.cache
def _head() -> tuple[pydicom.Dataset, ...]:
    head = toy_head((6.0, 6.0, 20.0))

    def place(dataset, index):
        dataset.PixelSpacing = list(head.GetSpacing()[:2])
        dataset.ConvolutionKernel = "STANDARD"

    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(Path(folder), sitk.GetArrayFromImage(head), spacing=20.0,
                             thickness=5.0, origin=head.GetOrigin(), edit=place)
        return tuple(pydicom.dcmread(path) for path in paths)


def head_series(study: str | None = None, count: int | None = None,
                edit: Callable[[pydicom.Dataset], None] = lambda dataset: None
                ) -> list[pydicom.Dataset]:
    """A toy head as a new series.

    Args:
        study: to which it belongs; by default a new one.
        count: so many of its slices, from below.
        edit: changes each image.
    """
    return new_series(_head()[:count], study, edit)


def new_series(datasets: Sequence[pydicom.Dataset], study: str | None = None,
               edit: Callable[[pydicom.Dataset], None] = lambda dataset: None
               ) -> list[pydicom.Dataset]:
    """Copies of images, as a series of their own; see :func:`head_series`."""
    copies = copy.deepcopy(list(datasets))
    study, series, frame = study or generate_uid(), generate_uid(), generate_uid()
    for dataset in copies:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        edit(dataset)
    return copies


def settings_for(folder: Path, model: Path, destinations=(), complete=QUICK, port=0,
                 limits=(), **changes) -> Settings:
    """Settings of a node on loopback ports that the system chooses."""
    return Settings(
        NODE, "127.0.0.1", port, model, folder / "data",
        (Peer(SCANNER, ipaddress.ip_network("127.0.0.1")),
         Peer(ELSEWHERE, ipaddress.ip_network("127.0.0.2"))), tuple(destinations), threads=1,
        complete=complete, limits=Limits(free_bytes=1, **dict(limits)), retries=Retries(0.2, 1.0),
        status_port=0, **changes)


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Node]:
    """A node that takes images, and is stopped in the end."""
    node = Node(settings)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def until(met: Callable[[], object], seconds: float = 30.0) -> object:
    """Wait for something to be true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := met()):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)
    return value


def of_study(node: Node, datasets) -> list[dict]:
    """What the status page says of the series of a study."""
    study = node.register.place(datasets[0].StudyInstanceUID, "", "").study[:8]
    return [each for each in node.status()["series"] if each["study"] == study]


def ended(node: Node, datasets, count: int = 1, seconds: float = 30.0) -> list[dict]:
    """Wait until so many series of a study have ended, and return all of it."""
    def met():
        series = of_study(node, datasets)
        return sum(each["state"] in ENDED for each in series) >= count and series
    return until(met, seconds)


def call(port: int, calling: str = SCANNER, called: str = NODE, kinds=(CTImageStorage,),
         syntaxes=(ExplicitVRLittleEndian,), address: str = "127.0.0.1"):
    """Ask for an association."""
    entity = AE(calling)
    entity.dimse_timeout = 5
    for kind in kinds:
        entity.add_requested_context(kind, list(syntaxes))
    return entity.associate("127.0.0.1", port, ae_title=called, bind_address=(address, 0))


def send(port: int, datasets, abort: bool = False, **options) -> list[int]:
    """Send images over one association; returns the status of each.

    Args:
        port: of the receiver.
        datasets: images.
        abort: break the association off after the last one.
    """
    for _ in range(5):
        association = call(port, **options)
        assert association.is_established
        statuses = [_status(association, dataset) for dataset in datasets]
        if None not in statuses:
            break
    if abort:
        association.abort()
    else:
        association.release()
    return statuses


def _status(association, dataset) -> int | None:
    """The answer to an object; None where there is none.

    On a busy machine pynetdicom's own thread may snatch the answer from who waits for it. So we
    begin again, as any sender does.
    """
    with contextlib.suppress(RuntimeError):  # the association was broken off over that
        return association.send_c_store(dataset).get("Status")
    return None


def free_port() -> int:
    """A port that nobody uses now, for a program that cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
