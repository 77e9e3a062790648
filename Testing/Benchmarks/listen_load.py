# SPDX-License-Identifier: Apache-2.0
"""How much a DICOM node takes: many studies at once, some of them broken off.

A simulated head of a usual size is sent as ever new studies, by processes of their own, to a node
in a process of its own, which sends its judgements to a receiver in this one. What the node did is
read from its register, its log and what it sent. Its peer, in the same run, judges such heads one
after the other without a network: half of them before, half after. Memory is read on Linux, which
shares a busy machine out by session: so node and peer have one each.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from latency import SIZE, SLICES, judge_in_turn, write_head, write_onnx
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, SecondaryCaptureImageStorage

sys.path.insert(0, str(Path(__file__).parents[2]))

CONFIG = """
[node]
ae_title = "READINGROOM"
host = "127.0.0.1"
port = 0
model = "{model}"
data = "data"
[[peers]]
ae_title = "SCANNER"
address = "127.0.0.1"
[[destinations]]
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = {archive}
[limits]
free_gigabytes = 0.1
[status]
port = 0
"""
ALONE = 4  # heads that are judged without a node, before and after
COMMANDS = 1  # of `judge`, before and after, each a process that loads PyTorch
PATIENCE_SECONDS = 3600.0
_series: list[pydicom.Dataset] = []  # of a process that sends


def of_listening(studies: int = 50, senders: int = 5, broken_share: float = 0.1,
                 model: str = "starter") -> dict:
    """Load a node; what became of the studies, how fast, and with how much memory.

    Args:
        studies: how many are sent.
        senders: at a time, each over an association of its own for each study.
        broken_share: of the studies, whose association breaks off in the middle.
        model: name or folder of a bundle; the node gets it as ONNX.
    """
    broken = [number % round(1 / broken_share) == 0 for number in range(studies)]
    complete = broken.count(False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = write_head(folder / "series")
        exported = write_onnx(model, folder / "onnx")
        before = _one_by_one(model, exported, series)
        pool = ProcessPoolExecutor(senders, multiprocessing.get_context("spawn"), _read, (series,))
        with pool, _archive() as (archive, got), _node(folder, exported, archive) as (node, port):
            list(pool.map(_idle, range(senders)))  # they have read the head before the clock runs
            began = time.time()
            taken = sum(pool.map(_bring, [port] * studies, broken))
            received = time.time() - began
            _wait_until(lambda: len(set(got)) >= 2 * complete, node)
            sent = time.time() - began
            used = {"node": _used(node.pid), "worker": _used(_child(node.pid))}
        after = _one_by_one(model, exported, series)
        log = (folder / "log.txt").read_text("utf-8")
        rows = _rows(folder / "data" / "register.sqlite")
    judged = [row for row in rows if row["judged"] is not None]
    waited = [row["judged"] - row["arrived"] for row in judged]
    seconds = max(row["judged"] for row in judged) - began
    alone = {kind: (before[kind] + after[kind]) / 2 for kind in before}
    return {
        "ct": f"simulated head, {SIZE}x{SIZE}x{SLICES}", "associations_at_a_time": senders,
        "studies": studies, "broken_off": studies - complete, "complete": complete,
        "judged": len(judged),
        "judged_over_all_images": sum(row["images"] == SLICES for row in judged),
        "judged_once": list(collections.Counter(
            re.findall(r"judged series (\w+):", log)).values()).count(1),
        "broken_off_and_not_judged": sum(
            row["broken"] is not None and row["judged"] is None for row in rows),
        "images_taken": taken, "images_in_register": sum(row["images"] for row in rows),
        "objects_sent": len(got), "objects_sent_once": len(set(got)),
        "images_received_per_minute": round(60 * taken / received),
        "studies_judged_per_minute": round(60 * len(judged) / seconds, 1),
        "studies_sent_per_minute": round(60 * len(judged) / sent, 1),
        "seconds_from_last_image": _quantiles(waited),
        "seconds_judging_alone": {kind: round(value, 2) for kind, value in alone.items()},
        "speed_by_judging_alone": {kind: round(value * len(judged) / seconds, 2)
                                   for kind, value in alone.items()},
        "processor_seconds_per_study": {
            part: round(use["seconds"] / len(judged), 2) for part, use in used.items()},
        "peak_megabytes": {part: use["megabytes"] for part, use in used.items()},
    }


def _one_by_one(model: str, exported: Path, series: Path) -> dict[str, float]:
    """Seconds for a head: warm as the node's worker, and by the command, which starts anew."""
    warm = judge_in_turn("onnx", os.cpu_count() or 1, str(exported), series, ALONE + 1)["seconds"]
    began = time.perf_counter()
    for number in range(COMMANDS):
        subprocess.run(
            [sys.executable, "-m", "HeadCTTriageLib", "judge", str(series), "--model", model,
             "--output", str(series.with_name(f"judged-{number}")), "--overwrite",
             "--progress", "none"], check=True, stderr=subprocess.DEVNULL,
            start_new_session=True)
    return {"warm": float(np.mean(warm)),
            "command": (time.perf_counter() - began) / COMMANDS}


# --- who sends -----------------------------------------------------------------------------------


def _read(folder: Path) -> None:
    """Begin a process that sends."""
    _series.extend(pydicom.dcmread(path) for path in sorted(folder.iterdir()))


def _idle(number: int) -> None:
    time.sleep(1.0)  # or one process would answer for all


def _bring(port: int, broken: bool) -> int:
    """Send a new study; returns how many of its images were taken."""
    from Testing.Core.listen_factory import new_series, send

    images = new_series(_series[:SLICES // 2] if broken else _series)
    return send(port, images, abort=broken).count(0)


# --- who receives --------------------------------------------------------------------------------


@contextlib.contextmanager
def _archive() -> Iterator[tuple[int, list[str]]]:
    """A receiver of results; yields its port, and the identifiers of what came, as it comes."""
    got: list[str] = []

    def keep(event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    entity = AE("ARCHIVE")
    for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
        entity.add_supported_context(kind)
    server = entity.start_server(("127.0.0.1", 0), block=False,
                                 evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()


# --- the node ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _node(folder: Path, model: Path, archive: int) -> Iterator[tuple[subprocess.Popen, int]]:
    """A node with its data and log in a folder; yields it and its port."""
    config, log = folder / "node.toml", folder / "log.txt"
    config.write_text(CONFIG.format(model=model.as_posix(), archive=archive), "utf-8")
    with log.open("wb") as stream:
        node = subprocess.Popen([sys.executable, "-m", "HeadCTTriageLib", "listen", str(config)],
                                stderr=stream, start_new_session=True)
    try:
        listening = re.compile(r"listening as \w+ on port (\d+)")
        _wait_until(lambda: listening.search(log.read_text("utf-8")), node)
        yield node, int(listening.search(log.read_text("utf-8"))[1])
    finally:
        node.terminate()
        node.wait(60)


def _wait_until(met: Callable[[], object], node: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        if node.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the node ended, or did not do its work in an hour")
        time.sleep(0.2)


def _child(pid: int) -> int:
    return next(int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split())


def _used(pid: int) -> dict[str, float]:
    """Processor time and largest memory of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return {"seconds": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
            "megabytes": round(int(peak[1]) / 1024)}


def _rows(path: Path) -> list[sqlite3.Row]:
    """What the register says of each series."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM series").fetchall()


def _quantiles(seconds: list[float]) -> dict[str, float]:
    median, high = np.quantile(seconds, (0.5, 0.95))
    return {"median": round(float(median), 1), "95th_percentile": round(float(high), 1)}
