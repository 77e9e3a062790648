# SPDX-License-Identifier: Apache-2.0
"""Download one known file: resumed where it broke off, and in place only when every byte is right.

A file is known by its size and SHA-256, so neither server nor network needs to be trusted. What
has arrived waits beside the target as ``<name>.part`` with the server's version mark in
``<name>.etag``; the next call, even of another process, goes on from there.

Resuming after RFC 9110: a request with ``Range`` asks for the missing rest, ``If-Range`` asks for
the whole file instead when the server has another version by now.

Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import DISK_FULL, Cancelled, DownloadFailed, OutputFailed, output_failure

BLOCK = 256 * 1024
# An attempt that brought at least this many bytes does not count as failed: a long download over
# a poor line may break off many times.
WORTHWHILE = 64 * 1024
LONGEST_PAUSE = 60.0
WRONG_FILE = "the server's file is not the one that was published"
# Request timeout, too early, too many requests; and every error of the server's own (5xx).
PASSING_STATUS = {408, 425, 429}

ProgressCallback = Callable[[int, int], None]


class _Interrupted(Exception):
    """The attempt failed and another one may succeed."""


class _Hopeless(Exception):
    """Another attempt would fail as well."""


@dataclass(frozen=True)
class _Source:
    """The file that is wanted, and where it is."""

    url: str
    sha256: str
    size: int
    timeout: float

    def is_right(self, path: Path) -> bool:
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True)
class _Partial:
    """What has arrived so far, and which version of the file it belongs to."""

    content: Path
    etag: Path

    @property
    def size(self) -> int:
        return self.content.stat().st_size if self.content.exists() else 0

    @property
    def version(self) -> str | None:
        return self.etag.read_text("latin-1") if self.etag.exists() else None

    def start(self, version: str | None) -> None:
        """Begin anew."""
        self.content.write_bytes(b"")
        if _is_strong(version):
            self.etag.write_text(version, "latin-1")
        else:
            self.etag.unlink(missing_ok=True)

    def drop(self) -> None:
        self.content.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)


def download(
    url: str,
    target: str | Path,
    sha256: str,
    size: int,
    progress: ProgressCallback | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    attempts: int = 5,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Download ``url`` to ``target`` unless the right file is there already.

    Args:
        url: http or https. From https no redirection leads back to http.
        target: the file; it appears at once and complete.
        sha256: what its SHA-256 must be, hexadecimal.
        size: its size in bytes.
        progress: called with (bytes so far, ``size``).
        cancelled: asked between blocks; what has arrived is kept for the next call.
        attempts: how many in a row may bring nothing before the download is given up.
        pause: seconds before the second attempt; doubled before each further one.
        timeout: seconds that the server may stay silent.

    Returns:
        ``target``.

    Raises:
        DownloadFailed: the file cannot be had, or is not the one that was asked for.
        OutputFailed: ``target`` cannot be written.
        Cancelled: ``cancelled`` said so.
    """
    target = Path(target)
    source = _Source(url, sha256.lower(), size, timeout)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, size)
        _stop_if(cancelled)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_beside(target, "lock"), cancelled):
            if not source.is_right(target):
                partial = _Partial(_beside(target, "part"), _beside(target, "etag"))
                _fill(partial, source, report, attempts, lambda n: _wait(pause * 2**n, cancelled))
                os.replace(partial.content, target)
                partial.drop()
    except (_Interrupted, _Hopeless) as error:
        host = urllib.parse.urlsplit(url).hostname or "its source"
        sentence = f'"{target.name}" could not be downloaded from {host}: {error}.'
        raise DownloadFailed(sentence) from error
    except OSError as error:
        failure = output_failure(error, [target.parent])
        if failure is None:
            raise
        raise failure from error
    return target


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f"{target.name}.{suffix}")


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The download was cancelled.")


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    end = time.monotonic() + min(seconds, LONGEST_PAUSE)
    while (remaining := end - time.monotonic()) > 0:
        _stop_if(cancelled)
        time.sleep(min(remaining, 0.1))


# ------------------------------------------------------------------- one process at a time per file


@contextlib.contextmanager
def _locked(path: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other process downloads the same file: a cluster starts many at once.

    Closing the file ends the lock, and so does the end of the process. The file itself stays: to
    delete it would give two processes that wait for it two different locks.
    """
    with path.open("ab") as file:
        while not _try_lock(file):
            _stop_if(cancelled)
            time.sleep(0.1)
        yield


def _try_lock(file: BinaryIO) -> bool:
    """Whether the lock was free. True as well where the file system knows no locks: what two
    downloads at once would spoil, the SHA-256 finds out."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


# ----------------------------------------------------------------------------------------- attempts


def _fill(
    partial: _Partial,
    source: _Source,
    report: Callable[[int], None],
    attempts: int,
    wait: Callable[[int], None],
) -> None:
    """Let ``partial`` become the right file; ``wait(n)`` is the pause after the n-th failure."""
    failures = 0
    farthest = partial.size
    while True:
        try:
            in_one_go = _fetch(source, partial, report)
            if source.is_right(partial.content):
                return
            partial.drop()
            if in_one_go:
                raise _Hopeless(WRONG_FILE)
            # Pieces of two versions, perhaps: once more from the start.
            farthest = source.size
        except _Interrupted:
            # Counted from the farthest point, so that no server can keep us going for ever.
            failures = failures + 1 if partial.size < farthest + WORTHWHILE else 1
            farthest = max(farthest, partial.size)
            if failures >= attempts:
                raise
            wait(failures - 1)


def _fetch(source: _Source, partial: _Partial, report: Callable[[int], None]) -> bool:
    """Append what the server sends until ``partial`` has the right size.

    Returns:
        True when the whole file came in this one attempt.
    """
    done = partial.size
    report(done)
    if done == source.size:
        return False
    if shutil.disk_usage(partial.content.parent).free < source.size - done:
        raise OutputFailed(DISK_FULL)
    with _open(source, partial) as response:
        start = done = _accept(response, partial, source.size)
        with partial.content.open("ab") as file:
            while done < source.size:
                block = _receive(response)
                if not block:
                    raise _Interrupted("the connection broke off")
                # Never more than was asked for, however much the server sends.
                done += file.write(block[: source.size - done])
                report(done)
            file.flush()
            os.fsync(file.fileno())
    return start == 0


# --------------------------------------------------------------------------------------------- HTTP


def _open(source: _Source, partial: _Partial) -> http.client.HTTPResponse:
    _check_scheme(source.url)
    headers = {"User-Agent": "ReadingRoom", "Accept-Encoding": "identity"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
        if partial.version:
            headers["If-Range"] = partial.version
    request = urllib.request.Request(source.url, headers=headers)
    with _network_errors():
        try:
            return _opener().open(request, timeout=source.timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise _meaning(error, partial) from error


def _opener() -> urllib.request.OpenerDirector:
    """http and https only; urllib's usual opener also reads ``file:``, ``ftp:`` and ``data:``."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _CarefulRedirects(),
    ):
        opener.add_handler(handler)
    return opener


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections within http and https, and never from https back to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = _check_scheme(newurl)
        if req.type == "https" and scheme != "https":
            raise _Hopeless("the server redirects to an address that is not secure")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req, fp, code, msg, headers):
        # urllib refuses other schemes too, but with an error that says neither what nor why.
        address = headers.get("location") or headers.get("uri") or ""
        _check_scheme(urllib.parse.urljoin(req.full_url, address))
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _check_scheme(url: str) -> str:
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    if scheme not in ("http", "https"):
        raise _Hopeless(f'addresses of the kind "{scheme}:" are not allowed')
    return scheme


def _meaning(error: urllib.error.HTTPError, partial: _Partial) -> Exception:
    if error.code == 416:  # the range does not exist: the server's file is shorter by now
        partial.drop()
        return _Interrupted(WRONG_FILE)
    if error.code in PASSING_STATUS or error.code >= 500:
        return _Interrupted(f"the server is out of order at the moment (HTTP {error.code})")
    if error.code in (404, 410):
        return _Hopeless(f"the server no longer has the file (HTTP {error.code})")
    if error.code in (401, 403, 407):
        return _Hopeless(f"access is denied (HTTP {error.code})")
    return _Hopeless(f"the server does not give the file (HTTP {error.code})")


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    """Translate what sockets raise; around nothing but network calls, so that an OSError from
    anywhere else is a disk's."""
    try:
        yield
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _Hopeless("the server's certificate is not valid on this computer") from error
        if isinstance(error.reason, TimeoutError):
            raise _Interrupted("the server does not answer in time") from error
        raise _Interrupted("there is no connection; check the network and the proxy") from error
    except TimeoutError as error:
        raise _Interrupted("the server does not answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted("the connection broke off") from error


def _receive(response: http.client.HTTPResponse) -> bytes:
    with _network_errors():
        return response.read1(BLOCK)


def _accept(response: http.client.HTTPResponse, partial: _Partial, size: int) -> int:
    """Make ``partial`` fit the answer and return its size: 0 when the server begins anew."""
    if response.status == 206:
        if response.headers.get("Content-Range") == f"bytes {partial.size}-{size - 1}/{size}":
            return partial.size
        partial.drop()
        raise _Interrupted(WRONG_FILE)
    if response.status != 200:
        raise _Hopeless(f"the server does not give the file (HTTP {response.status})")
    partial.start(response.headers.get("ETag"))
    return 0


def _is_strong(etag: str | None) -> bool:
    """Weak marks (W/"...") promise the same meaning, not the same bytes."""
    return etag is not None and etag.startswith('"') and etag.isascii() and etag.isprintable()
