# SPDX-License-Identifier: Apache-2.0
"""Downloads against a real server that misbehaves in every way that servers and networks do."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ReadingRoomLib import downloads
from ReadingRoomLib.downloads import download
from ReadingRoomLib.errors import Cancelled, DownloadFailed, OutputFailed

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next of the server's answers, the last one again and again."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(dict(self.headers))
        self.close_connection = True
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client went away

    def log_message(self, *_):
        pass

    @property
    def offset(self) -> int:
        text = self.headers.get("Range", "bytes=0-")
        return int(text.removeprefix("bytes=").removesuffix("-"))

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests = []
    server.answers = [good()]
    server.address = f"http://127.0.0.1:{server.server_address[1]}/model.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def good(content: bytes = CONTENT, etag: str | None = '"one"', stop: int | None = None) -> Answer:
    """A server as it should be; with ``stop`` the connection breaks off after that byte."""

    def answer(handler: Handler) -> None:
        mark = {"ETag": etag} if etag else {}
        start = handler.offset
        if handler.headers.get("If-Range") not in (None, etag):
            start = 0
        total = len(content)
        if start >= total:
            handler.head(416, Content_Length=0, Content_Range=f"bytes */{total}")
        elif start:
            span = f"bytes {start}-{total - 1}/{total}"
            handler.head(206, Content_Length=total - start, Content_Range=span, **mark)
        else:
            handler.head(200, Content_Length=total, **mark)
        handler.wfile.write(content[start:stop])

    return answer


def without_ranges(stop: int | None = None) -> Answer:
    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:stop])

    return answer


def status(code: int, **headers: object) -> Answer:
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def get(server, target: Path, **options) -> Path:
    options = {"pause": 0.01, "timeout": 5.0, **options}
    return download(server.address, target, SHA256, len(CONTENT), **options)


def assert_complete(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    leftovers = {path.name for path in target.parent.iterdir()} - {target.name}
    assert leftovers <= {f"{target.name}.lock"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "Modell für Zoë" / "model.zip"


def test_a_good_server(server, target):
    seen = []
    assert get(server, target, progress=lambda done, size: seen.append((done, size))) == target
    assert_complete(target)
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_file_that_is_there_is_not_fetched_again(server, target):
    get(server, target)
    get(server, target)
    assert len(server.requests) == 1


def test_an_altered_file_is_replaced(server, target):
    get(server, target)
    target.write_bytes(b"!" + CONTENT[1:])
    get(server, target)
    assert_complete(target)


def test_goes_on_where_the_connection_broke_off(server, target):
    server.answers = [good(stop=100_000), good(stop=250_000), good()]
    get(server, target)
    assert_complete(target)
    assert [r.get("Range") for r in server.requests] == [None, "bytes=100000-", "bytes=250000-"]
    assert server.requests[1]["If-Range"] == '"one"'


def test_a_poor_line_that_makes_headway_is_not_given_up(server, target):
    server.answers = [*(good(stop=70_000 * n) for n in (1, 2, 3, 4)), good()]
    get(server, target, attempts=2)
    assert_complete(target)


def test_another_call_goes_on_where_the_last_one_ended(server, target):
    server.answers = [good(stop=120_000), status(404)]
    with pytest.raises(DownloadFailed):
        get(server, target)
    assert not target.exists()
    server.answers = [good()]
    get(server, target)
    assert server.requests[-1]["Range"] == "bytes=120000-"
    assert_complete(target)


def test_a_server_that_ignores_range_begins_anew(server, target):
    server.answers = [without_ranges(stop=100_000), without_ranges()]
    get(server, target)
    assert server.requests[1]["Range"] == "bytes=100000-"
    assert_complete(target)


def test_a_changed_etag_begins_anew(server, target):
    old = bytes(len(CONTENT))
    server.answers = [good(old, '"old"', stop=100_000), good()]
    get(server, target)
    assert server.requests[1]["If-Range"] == '"old"'
    assert_complete(target)


def test_a_weak_etag_is_not_used_for_resuming(server, target):
    server.answers = [good(etag='W/"one"', stop=100_000), good()]
    get(server, target)
    assert "If-Range" not in server.requests[1]
    assert_complete(target)


def test_pieces_of_two_versions_are_fetched_again_in_one_go(server, target):
    old = bytes(len(CONTENT))
    server.answers = [good(old, etag=None, stop=100_000), good(etag=None)]
    get(server, target)
    assert [r.get("Range") for r in server.requests] == [None, "bytes=100000-", None]
    assert_complete(target)


def test_a_range_that_was_not_asked_for_is_dropped(server, target):
    def wrong_range(handler: Handler) -> None:
        span = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.head(206, Content_Length=len(CONTENT), Content_Range=span)
        handler.wfile.write(CONTENT)

    server.answers = [good(stop=100_000), wrong_range, good()]
    get(server, target)
    assert "Range" not in server.requests[2]
    assert_complete(target)


def test_a_partial_file_longer_than_the_servers_is_dropped(server, target):
    target.parent.mkdir()
    Path(f"{target}.part").write_bytes(CONTENT + b"more")
    get(server, target)
    assert_complete(target)


def test_content_length_too_small_is_made_up_for(server, target):
    def lie(handler: Handler) -> None:
        handler.head(200, Content_Length=1000, ETag='"one"')
        handler.wfile.write(CONTENT)

    server.answers = [lie, good()]
    get(server, target)
    assert server.requests[1]["Range"] == "bytes=1000-"
    assert_complete(target)


def test_content_length_too_large_does_not_matter(server, target):
    def lie(handler: Handler) -> None:
        handler.head(200, Content_Length=10 * len(CONTENT))
        handler.wfile.write(CONTENT)

    server.answers = [lie]
    get(server, target)
    assert_complete(target)


def test_an_endless_answer_is_cut_off_and_refused(server, target):
    def endless(handler: Handler) -> None:
        handler.head(200)
        while True:
            handler.wfile.write(bytes(65_536))

    server.answers = [endless]
    with pytest.raises(DownloadFailed, match="not the one that was published"):
        get(server, target)
    assert not target.exists() and not Path(f"{target}.part").exists()


def test_wrong_bytes_are_refused_at_once(server, target):
    server.answers = [good(b"?" + CONTENT[1:])]
    with pytest.raises(DownloadFailed) as caught:
        get(server, target)
    assert len(server.requests) == 1
    assert caught.value.message == (
        '"model.zip" could not be downloaded from 127.0.0.1: '
        "the server's file is not the one that was published."
    )
    assert not target.exists() and not Path(f"{target}.part").exists()


def test_a_server_that_swaps_versions_for_ever_is_given_up(server, target):
    def swapping(handler: Handler) -> None:
        version = CONTENT if handler.offset == 0 else bytes(len(CONTENT))
        good(version, etag=None, stop=None if handler.offset else 100_000)(handler)

    server.answers = [swapping]
    with pytest.raises(DownloadFailed):
        get(server, target, attempts=3)
    assert len(server.requests) < 10


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_a_server_out_of_order_is_asked_again(server, target, code):
    server.answers = [status(code), status(code), good()]
    get(server, target)
    assert_complete(target)


def test_a_server_that_stays_out_of_order_is_given_up(server, target):
    server.answers = [status(500)]
    with pytest.raises(DownloadFailed, match="HTTP 500"):
        get(server, target, attempts=3)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (404, "no longer has the file"),
        (403, "access is denied"),
        (400, "does not give the file"),
        (204, "does not give the file"),
    ],
)
def test_a_refusal_is_final(server, target, code, reason):
    server.answers = [status(code)]
    with pytest.raises(DownloadFailed, match=reason):
        get(server, target)
    assert len(server.requests) == 1


def test_a_silent_server_is_given_up(server, target):
    def silent(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT))
        time.sleep(0.6)

    server.answers = [silent]
    with pytest.raises(DownloadFailed, match="does not answer in time"):
        get(server, target, attempts=2, timeout=0.1)
    assert len(server.requests) == 2


def test_a_server_that_says_nothing_at_all_is_given_up(server, target):
    server.answers = [lambda handler: time.sleep(0.4)]
    with pytest.raises(DownloadFailed, match="does not answer in time"):
        get(server, target, attempts=2, timeout=0.1)


def test_a_server_that_hangs_up_is_given_up(server, target):
    server.answers = [lambda handler: None]
    with pytest.raises(DownloadFailed, match="the connection broke off"):
        get(server, target, attempts=2)
    assert len(server.requests) == 2


def test_no_answer_while_connecting():
    failure = urllib.error.URLError(TimeoutError("timed out"))
    with (
        pytest.raises(downloads._Interrupted, match="does not answer in time"),
        downloads._network_errors(),
    ):
        raise failure


def test_an_error_of_the_caller_is_not_mistaken_for_the_networks(server, target):
    def progress(done: int, _: int) -> None:
        raise OSError(errno.EIO, "the screen is gone")

    with pytest.raises(OSError, match="the screen is gone"):
        get(server, target, progress=progress)
    assert server.requests == []


def test_a_slow_server_is_waited_for(server, target):
    def slow(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT))
        for start in range(0, len(CONTENT), 50_000):
            handler.wfile.write(CONTENT[start : start + 50_000])
            time.sleep(0.05)

    server.answers = [slow]
    get(server, target, timeout=0.5)
    assert len(server.requests) == 1
    assert_complete(target)


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(DownloadFailed, match="check the network and the proxy"):
        download("http://127.0.0.1:9/x", tmp_path / "x", SHA256, 10, attempts=2, pause=0.0)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirections_are_followed(server, target, code):
    server.answers = [status(code, Location="/elsewhere"), good()]
    get(server, target)
    assert_complete(target)


@pytest.mark.parametrize(
    "location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://x"]
)
def test_redirections_to_other_kinds_of_address_are_refused(server, target, location):
    server.answers = [status(302, Location=location)]
    with pytest.raises(DownloadFailed, match="are not allowed"):
        get(server, target)
    assert len(server.requests) == 1


def test_endless_redirections_end(server, target):
    server.answers = [status(302, Location="/again")]
    with pytest.raises(DownloadFailed):
        get(server, target)
    assert len(server.requests) < 30


def test_no_way_back_from_https_to_http():
    redirects = downloads._CarefulRedirects()
    request = urllib.request.Request("https://models.example/a")
    secure = redirects.redirect_request(request, None, 302, "", {}, "https://other.example/a")
    assert secure.full_url == "https://other.example/a"
    with pytest.raises(downloads._Hopeless, match="not secure"):
        redirects.redirect_request(request, None, 302, "", {}, "http://models.example/a")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/x", "/etc/hostname", ""])
def test_only_http_and_https(tmp_path, url):
    with pytest.raises(DownloadFailed, match="are not allowed"):
        download(url, tmp_path / "x", SHA256, 10)


def test_a_certificate_that_is_not_valid_is_final():
    failure = urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate"))
    with pytest.raises(downloads._Hopeless, match="certificate"), downloads._network_errors():
        raise failure


def test_cancel_keeps_what_has_arrived(server, target):
    arrived = threading.Event()

    def slow(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT), ETag='"one"')
        handler.wfile.write(CONTENT[:100_000])
        handler.wfile.flush()
        arrived.wait(5)
        time.sleep(0.1)
        handler.wfile.write(CONTENT[100_000:])

    def progress(done: int, _: int) -> None:
        if done >= 100_000:
            arrived.set()

    server.answers = [slow, good()]
    with pytest.raises(Cancelled):
        get(server, target, progress=progress, cancelled=arrived.is_set)
    assert not target.exists()
    get(server, target)
    assert server.requests[1]["Range"] == "bytes=100000-"
    assert_complete(target)


def test_cancel_ends_the_pause_between_attempts(server, target):
    server.answers = [status(500)]
    started = time.monotonic()
    with pytest.raises(Cancelled):
        get(server, target, pause=30.0, cancelled=lambda: time.monotonic() > started + 0.3)
    assert time.monotonic() < started + 5


def test_a_full_disk(server, target, monkeypatch):
    class FullDisk(type(Path())):
        def open(self, mode="r", *arguments, **options):
            if mode == "ab" and self.name.endswith(".part"):
                raise OSError(errno.ENOSPC, "No space left on device", str(self))
            return super().open(mode, *arguments, **options)

    monkeypatch.setattr(downloads, "Path", FullDisk)
    with pytest.raises(OutputFailed, match="disk is full"):
        get(server, target)


def test_too_little_space_is_noticed_before_the_download(server, target, monkeypatch):
    class Usage:
        free = len(CONTENT) - 1

    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(OutputFailed, match="disk is full"):
        get(server, target)
    assert server.requests == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputFailed):
        get(server, tmp_path / "file" / "model.zip")


def test_two_at_once_fetch_once(server, target):
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        good()(handler)

    server.answers = [slow]
    threads = [threading.Thread(target=get, args=(server, target)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert_complete(target)


def test_import_is_light():
    code = "import sys, ReadingRoomLib.downloads; print(sorted(sys.modules))"
    path = os.pathsep.join(p for p in sys.path if p)
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "'torch'" not in output and "'numpy'" not in output
