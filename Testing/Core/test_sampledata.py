# SPDX-License-Identifier: Apache-2.0
"""The example CT, fetched from a package index on this computer, and once from the real one."""

import dataclasses
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest
import SimpleITK as sitk

from ReadingRoomLib import sampledata
from ReadingRoomLib.errors import DependencyMissing, DownloadFailed, OutputFailed
from ReadingRoomLib.sampledata import PackagedFile, fetch_example_ct, fetch_packaged_file

CONTENT = b"a scan" * 1000
MEMBER = "some_package-1.0/data/scan.nii.gz"


def make_archive(trap: Path, content: bytes = CONTENT, link: str = "") -> bytes:
    """A source distribution whose build script leaves a trace when anybody runs it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:

        def add(name: str, data: bytes, **properties) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in properties.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))

        add("some_package-1.0/setup.py", f"open({str(trap)!r}, 'w')".encode())
        add("some_package-1.0/PKG-INFO", b"Metadata-Version: 2.1\nName: some-package\n")
        if link:
            add(MEMBER, b"", type=tarfile.SYMTYPE, linkname=link)
        else:
            add(MEMBER, content)
    return stream.getvalue()


def described(archive: bytes) -> PackagedFile:
    return PackagedFile(
        package="some-package",
        version="1.0",
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        archive_size=len(archive),
        member=MEMBER,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )


class Index:
    """A package index (PEP 503) with whatever files it is given."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks_off = False
        self.requests: list[str] = []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802  name given by http.server
                index.answer(self)

            def log_message(self, *arguments) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        name = handler.path.rsplit("/", 1)[-1]
        if handler.path == "/simple/some-package/":
            links = "".join(f'<a href="/files/{file}">{file}</a>' for file in self.files)
            body, kind = f"<!DOCTYPE html><body>{links}</body>".encode(), "text/html"
        elif handler.path.startswith("/files/") and name in self.files:
            body, kind = self.files[name], "application/octet-stream"
        else:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        cut = self.breaks_off and kind != "text/html"
        handler.wfile.write(body[: len(body) // 2] if cut else body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def index(monkeypatch):
    """The only index pip knows, through the environment as users set it."""
    index = Index()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    yield index
    index.close()


@pytest.fixture
def archive(index, tmp_path) -> bytes:
    """A source distribution that the index has, beside a wheel of the same version."""
    archive = make_archive(trap=tmp_path / "trap")
    index.files["some_package-1.0.tar.gz"] = archive
    index.files["some_package-1.0-py3-none-any.whl"] = b"not what is wanted"
    index.files["some_package-1.1.tar.gz"] = b"newer"
    return archive


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_file_is_fetched_and_no_code_is_run(index, archive, tmp_path):
    reports = []
    cache = tmp_path / "cache ü"
    path = fetch_packaged_file(described(archive), cache, lambda *report: reports.append(report))

    assert path.read_bytes() == CONTENT
    assert path.name == "scan.nii.gz"
    assert files_in(cache) == ["scan.nii.gz"]  # the archive is not kept
    assert reports[-1] == (len(archive), len(archive))
    assert not (tmp_path / "trap").exists()
    assert "/files/some_package-1.0-py3-none-any.whl" not in index.requests


def test_the_build_script_would_leave_a_trace(archive, tmp_path):
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        exec(opened.extractfile("some_package-1.0/setup.py").read())
    assert (tmp_path / "trap").exists()


def test_what_is_in_the_cache_needs_no_index(index, archive, tmp_path):
    first = fetch_packaged_file(described(archive), tmp_path / "cache")
    index.files.clear()
    asked = len(index.requests)
    assert fetch_packaged_file(described(archive), tmp_path / "cache") == first
    assert len(index.requests) == asked


def test_a_damaged_cache_is_mended(archive, tmp_path):
    path = fetch_packaged_file(described(archive), tmp_path / "cache")
    path.write_bytes(b"x" + CONTENT[1:])
    fetch_packaged_file(described(archive), tmp_path / "cache")
    assert path.read_bytes() == CONTENT


def test_a_changed_archive_is_not_taken(index, archive, tmp_path):
    changed = bytearray(archive)
    changed[len(changed) // 2] ^= 1
    for bad in (bytes(changed), archive + b"x", make_archive(tmp_path / "trap", b"other")):
        index.files["some_package-1.0.tar.gz"] = bad
        with pytest.raises(DownloadFailed, match="some-package 1.0|broke off"):
            fetch_packaged_file(described(archive), tmp_path / "cache")
        assert files_in(tmp_path / "cache") == []
        assert not (tmp_path / "trap").exists()


def test_a_second_index_helps_out(index, archive, tmp_path, monkeypatch):
    changed = bytearray(archive)
    changed[-20] ^= 1
    good = tmp_path / "wheelhouse"
    good.mkdir()
    (good / "some_package-1.0.tar.gz").write_bytes(archive)
    index.files["some_package-1.0.tar.gz"] = bytes(changed)
    monkeypatch.setenv("PIP_FIND_LINKS", str(good))
    path = fetch_packaged_file(described(archive), tmp_path / "cache")
    assert path.read_bytes() == CONTENT


def test_a_folder_of_packages_serves_without_any_index(archive, tmp_path, monkeypatch):
    (tmp_path / "some_package-1.0.tar.gz").write_bytes(archive)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    path = fetch_packaged_file(described(archive), tmp_path / "cache")
    assert path.read_bytes() == CONTENT


def test_a_member_of_another_content_is_not_taken(index, tmp_path):
    other = make_archive(tmp_path / "trap", content=b"y" * len(CONTENT))
    link = make_archive(tmp_path / "trap", link="/etc/hostname")
    good = make_archive(tmp_path / "trap")
    cases = [(other, {}), (link, {}), (good, {"member": "some_package-1.0/data"})]
    for archive, changes in cases:
        index.files["some_package-1.0.tar.gz"] = archive
        wanted = dataclasses.replace(described(archive), **changes)
        with pytest.raises(DownloadFailed, match="changed or damaged"):
            fetch_packaged_file(wanted, tmp_path / "cache")
        assert files_in(tmp_path / "cache") == []


def test_a_broken_connection_is_said(index, archive, tmp_path):
    index.breaks_off = True
    with pytest.raises(DownloadFailed, match="broke off"):
        fetch_packaged_file(described(archive), tmp_path / "cache")
    assert files_in(tmp_path / "cache") == []


def test_an_index_without_the_version_or_out_of_reach(index, archive, tmp_path, monkeypatch):
    del index.files["some_package-1.0.tar.gz"]
    with pytest.raises(DownloadFailed, match="some-package 1.0 cannot be reached"):
        fetch_packaged_file(described(archive), tmp_path / "cache")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(DownloadFailed, match="cannot be reached") as caught:
        fetch_packaged_file(described(archive), tmp_path / "cache")
    assert "127.0.0.1" not in caught.value.message


def test_without_pip(index, archive, tmp_path, monkeypatch):
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()  # hides the real one
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DependencyMissing, match="install pip"):
        fetch_packaged_file(described(archive), tmp_path / "cache")


def test_a_cache_that_cannot_be_written(archive, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OutputFailed):
        fetch_packaged_file(described(archive), tmp_path / "cache")


def test_the_cache_is_that_of_the_models(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "mine"))
    path = fetch_packaged_file(described(archive))
    assert path == tmp_path / "mine" / "samples" / "some-package-1.0" / "scan.nii.gz"


def test_inside_slicer_its_own_python_is_used(monkeypatch):
    monkeypatch.setattr(sampledata.sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    monkeypatch.setattr(sampledata.shutil, "which", lambda name: f"/opt/Slicer/bin/{name}")
    assert sampledata._python() == "/opt/Slicer/bin/PythonSlicer"
    monkeypatch.setattr(sampledata.sys, "executable", "/usr/bin/python3.12")
    assert sampledata._python() == "/usr/bin/python3.12"


def test_the_real_example_ct(tmp_path):
    try:
        path = fetch_example_ct(tmp_path)
    except DownloadFailed as error:
        pytest.skip(error.message)
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == (122, 101, 112)
    assert image.GetSpacing() == (3.0, 3.0, 3.0)
