# SPDX-License-Identifier: Apache-2.0
"""The DICOM node as it is run, killed and used: its command, DCMTK, Orthanc, many senders."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from HeadCTTriageLib.listen.settings import Completeness, Destination

from .listen_factory import (
    ENDED,
    NODE,
    SCANNER,
    free_port,
    head_series,
    of_study,
    running,
    send,
    settings_for,
    until,
    write_model,
)

HEADS = Path(__file__).parents[3] / "shared" / "data" / "ct_head_volumes"
STORESCU = shutil.which("storescu")
ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
NO_TORCH = "raise ImportError('PyTorch is not installed here')\n"
CONFIG = """
[node]
ae_title = "READINGROOM"
host = "127.0.0.1"
port = 0
model = "{model}"
data = "data"
threads = 1
[[peers]]
ae_title = "SCANNER"
address = "127.0.0.1"
[complete]
silence_seconds = 1
after_release_seconds = 0.2
[limits]
free_gigabytes = 0.001
[status]
port = 0
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "toy")


# --- the command ---------------------------------------------------------------------------------


class Command:
    """``headcttriage listen`` in a process of its own, where PyTorch cannot be imported."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.config, self.log = folder / "node.toml", folder / "log.txt"
        self.config.write_text(CONFIG.format(model=model.as_posix()), "utf-8")
        without = folder / "without"
        without.mkdir()
        for name in ("torch", "monai"):
            (without / f"{name}.py").write_text(NO_TORCH, "utf-8")
        self.environment = {
            **os.environ, "READINGROOM_LOGS": str(folder / "logs"),
            "PYTHONPATH": os.pathsep.join([str(without), os.environ["PYTHONPATH"]])}
        self.process: subprocess.Popen | None = None
        self.port = self.page = 0

    def start(self) -> None:
        before = self.log.read_text("utf-8") if self.log.exists() else ""
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "HeadCTTriageLib", "listen", str(self.config)],
                stdout=log, stderr=log, env=self.environment, start_new_session=True)

        def ports():
            assert self.process.poll() is None, self.log.read_text("utf-8")
            return re.search(r"on port (\d+), status page on port (\d+)",
                             self.log.read_text("utf-8")[len(before):])
        self.port, self.page = map(int, until(ports).groups())

    def status(self) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/status.json",
                                    timeout=10) as answer:
            return json.load(answer)

    def states(self) -> list[str]:
        return [each["state"] for each in self.status()["series"]]

    def stop(self, number: int) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def command(tmp_path, model):
    command = Command(tmp_path, model)
    command.start()
    yield command
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.process.pid, signal.SIGKILL)
    command.process.wait()


def children(pid: int) -> list[int]:
    """Processes that a process has started (Linux)."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks into /proc (Linux)")
def test_a_node_that_is_killed_while_it_judges_goes_on_and_judges_once(command):
    head = head_series()
    send(command.port, head)
    until(lambda: command.states() == ["judging"])
    [worker] = children(command.process.pid)
    assert command.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not Path(f"/proc/{worker}").exists())  # nobody is left who judges
    command.start()
    until(lambda: command.states() == ["judged"])
    # what was judged is not judged again after the next one
    command.stop(signal.SIGKILL)
    command.start()
    assert command.states() == ["judged"]
    [result] = (command.config.parent / "data" / "results").iterdir()
    assert json.loads((result / "result.json").read_text("utf-8"))["status"] == "completed"
    assert command.stop(signal.SIGTERM) == 0
    log = command.log.read_text("utf-8")
    assert log.count("INFO judged series") == 1 and log.rstrip().endswith("stopped")
    for secret in ("Secret", "SECRET", head[0].StudyInstanceUID, head[0].SeriesInstanceUID,
                   head[0].SOPInstanceUID):
        assert secret not in log


def test_a_wrong_configuration_is_told_at_once(tmp_path):
    config = tmp_path / "node.toml"
    config.write_text("[node]\nhost = 'x'\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "HeadCTTriageLib", "listen", str(config)], check=False,
        capture_output=True, text=True, env={**os.environ, "READINGROOM_LOGS": str(tmp_path)})
    assert done.returncode == 10
    assert "node.toml lacks ae_title in [node]" in done.stderr


# --- other programs ------------------------------------------------------------------------------


@pytest.mark.skipif(STORESCU is None, reason="DCMTK is not installed")
@pytest.mark.skipif(not HEADS.is_dir(), reason="the real images are not here")
def test_a_real_head_that_dcmtk_sends_is_judged(tmp_path, model):
    scans = tmp_path / "scans"
    with zipfile.ZipFile(HEADS / "dcm_qa_ct_GE_head_28slices_dicom.zip") as archive:
        archive.extractall(scans)
    with running(settings_for(tmp_path, model)) as node:
        subprocess.run(
            [STORESCU, "-aet", SCANNER, "-aec", NODE, "+sd", "+r", "127.0.0.1",
             str(node.receiver.port), str(scans)], check=True, capture_output=True)
        def done():
            series = node.status()["series"]
            return series and series[0]["state"] in ENDED and series
        [series] = until(done)
        assert series["state"] == "judged" and series["images"] == 28, series["reason"]
        [result] = node.results.iterdir()
        manifest = json.loads((result / "result.json").read_text("utf-8"))
        assert any("tilted" in warning for warning in manifest["warnings"])


class Orthanc:
    """A real archive, with its own configuration and storage."""

    def __init__(self, folder: Path, node_port: int) -> None:
        self.http, self.dicom = free_port(), free_port()
        config = folder / "orthanc.json"
        config.write_text(json.dumps({
            "Name": "test", "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"), "Plugins": [],
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": SCANNER,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomModalities": {"node": [NODE, "127.0.0.1", node_port]}}), "utf-8")
        self.log = open(folder / "orthanc.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen([ORTHANC, str(config)], stdout=self.log, stderr=self.log)

    def ask(self, path: str, body: bytes | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return bool(self.ask("/system"))
        return False

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")
def test_orthanc_sends_a_study_and_gets_its_report_and_contact_sheet(tmp_path, model):
    node_port = free_port()
    archive = Orthanc(tmp_path, node_port)
    try:
        destination = Destination(SCANNER, "127.0.0.1", archive.dicom)
        settings = settings_for(tmp_path, model, [destination], port=node_port)
        with running(settings) as node:
            until(archive.is_up)
            head = head_series()
            for dataset in head:
                path = tmp_path / "one.dcm"
                dataset.save_as(path)
                stored = archive.ask("/instances", path.read_bytes())
            archive.ask("/modalities/node/store", stored["ParentStudy"].encode())
            until(lambda: of_study(node, head) and of_study(node, head)[0]["state"] == "sent")
        series = [archive.ask(f"/series/{each}")
                  for each in archive.ask(f"/studies/{stored['ParentStudy']}")["Series"]]
        found = {each["MainDicomTags"]["Modality"]: each for each in series}
        assert set(found) == {"CT", "OT", "SR"}
        [report] = found["SR"]["Instances"]
        tags = archive.ask(f"/instances/{report}/simplified-tags")
        assert tags["PatientName"] == "Secret^Name" and tags["PreliminaryFlag"] == "PRELIMINARY"
        assert tags["StudyInstanceUID"] == head[0].StudyInstanceUID
        texts = {item["ConceptNameCodeSequence"][0]["CodeMeaning"]: item.get("TextValue")
                 for item in tags["ContentSequence"]}
        assert texts["Decision"] and "not a medical device" in texts["Notice"]
        [sheet] = found["OT"]["Instances"]
        assert archive.ask(f"/instances/{sheet}/simplified-tags")["BurnedInAnnotation"] == "NO"
    finally:
        archive.stop()


# --- many at a time ------------------------------------------------------------------------------


def test_of_many_studies_from_five_senders_all_complete_ones_are_judged_once(tmp_path, model):
    rules = Completeness(silence=20.0, after_release=0.3, give_up=600.0)
    studies = [head_series() for _ in range(20)]
    broken = set(random.Random(0).sample(range(20), 2))
    with running(settings_for(tmp_path, model, complete=rules)) as node:
        port = node.receiver.port

        def bring(number):
            head = studies[number]
            if number in broken:
                return send(port, head[:7], abort=True)
            return send(port, head)

        with ThreadPoolExecutor(5) as senders:
            statuses = list(senders.map(bring, range(20)))
        assert all(status == 0 for sent in statuses for status in sent)
        until(lambda: node.register.counts()["judged"] == 18, 120)
        series = node.status()["series"]
        assert len(series) == 20 and all(each["revision"] == 1 for each in series)
        assert sum(each["images"] for each in series) == 18 * len(studies[0]) + 2 * 7
        for number, head in enumerate(studies):
            [one] = of_study(node, head)
            assert one["state"] == ("received" if number in broken else "judged")
        assert len(list(node.results.iterdir())) == 18
