# SPDX-License-Identifier: Apache-2.0
"""The line protocol between a computation and the program that started it.

A command run with ``--progress json`` writes one JSON object per line to standard output, and
nothing else::

    {"stage": "segment", "done": 3, "total": 40, "message": "Segmenting"}      progress
    {"error": "BAD_INPUT", "message": "one sentence", "log": "path or null"}   failure, last line
    {"status": "completed", "folder": "out", ...}                              result, last line

A worker started with ``--serve`` writes ``{"ready": true, "pid": 4711}`` once. Then it reads one
request per line from standard input, ``{"id": 1, "arguments": ["segment", "ct.nrrd", ...]}``, and
answers each with the lines above, ``"id"`` added to every one of them. It ends at the end of its
input or at ``{"shutdown": true}``.

This module needs nothing but the standard library, so that both sides can import it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from .errors import Cancelled, ReadingRoomError


class ProtocolError(ValueError):
    """A line that is not a message of this protocol."""


def encode(message: Mapping[str, Any]) -> str:
    """Return ``message`` as one line of JSON, line end included.

    The line is pure ASCII (other characters as ``\\uXXXX``): it passes unharmed through every
    console code page, and carries file names that are not valid Unicode.
    """
    return json.dumps(as_plain(message), allow_nan=False, separators=(", ", ": ")) + "\n"


def decode(line: str | bytes) -> dict[str, Any]:
    """Return the message in ``line``; raise :class:`ProtocolError` when there is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a line of JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"not a JSON object: {line[:80]!r}")
    return message


def as_plain(value: Any) -> Any:
    """Return ``value`` made of what JSON knows: dict, list, str, int, float, bool and None.

    Paths become strings, numpy scalars and arrays become Python's, sets become sorted lists.
    A number that JSON lacks (NaN, infinity) becomes None.

    Raises
    ------
    TypeError
        When there is no plain form, so that nothing is written that cannot be read back.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [as_plain(item) for item in sorted(value)]
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return as_plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no plain form")


def progress_message(stage: str, done: float, total: float, message: str = "") -> dict[str, Any]:
    """Return the message that says how far a stage has come."""
    return {"stage": stage, "done": done, "total": total, "message": message}


def failure_message(error: ReadingRoomError, log: str | os.PathLike | None) -> dict[str, Any]:
    """Return the message that ends a failed computation; ``log`` is the path of its log file."""
    return {"error": error.code, "message": error.message, "log": log}


def request_message(arguments: list[str], request_id: Any) -> dict[str, Any]:
    """Return the message that asks a warm worker to run a command."""
    return {"id": request_id, "arguments": arguments}


def ready_message() -> dict[str, Any]:
    """Return the message by which a warm worker says that it takes requests."""
    return {"ready": True, "pid": os.getpid()}


SHUTDOWN_MESSAGE = {"shutdown": True}


def message_kind(message: Mapping[str, Any]) -> str:
    """Return which message this is.

    One of ``progress``, ``failure``, ``result``, ``ready``, ``request``, ``shutdown``, ``other``.
    A computation has ended when it says ``failure`` or ``result``.
    """
    for key, kind in _KIND_BY_KEY.items():
        if key in message:
            return kind
    return "other"


_KIND_BY_KEY = {
    "error": "failure",
    "status": "result",
    "stage": "progress",
    "ready": "ready",
    "shutdown": "shutdown",
    "arguments": "request",
}


class LineDecoder:
    """Puts messages together from the pieces in which a pipe delivers them.

    Examples
    --------
    >>> decoder = LineDecoder()
    >>> decoder.feed(b'{"stage": "read", "do')
    []
    >>> decoder.feed(b'ne": 1, "total": 2, "message": ""}\\n')
    [{'stage': 'read', 'done': 1, 'total': 2, 'message': ''}]
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[dict[str, Any]]:
        """Return the messages that ``piece`` completes.

        Lines that are no messages are left out: a worker writes none, but the programs around
        it (a launcher, a profiler) might.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        messages = []
        for line in lines:
            with contextlib.suppress(ProtocolError):
                messages.append(decode(line))
        return messages


class Channel:
    """Where a computation writes its messages.

    Parameters
    ----------
    stream : binary file
        Opened for writing.
    request_id : any, optional
        Added to each message as ``"id"``; for answers to a request.
    """

    _NO_ID = object()

    def __init__(self, stream: BinaryIO, request_id: Any = _NO_ID) -> None:
        self._stream = stream
        self._request_id = request_id
        self.ended = False
        """Whether the last message of the computation (failure or result) has been sent."""

    def for_request(self, request_id: Any) -> Channel:
        """Return a channel on the same stream for the answers to one request."""
        return Channel(self._stream, request_id)

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message.

        Raises
        ------
        Cancelled
            When nobody reads any more: the program that wanted the result has ended.
        """
        if self._request_id is not self._NO_ID:
            message = {"id": self._request_id, **message}
        line = encode(message).encode("ascii")
        # Noted before it is written: a signal between the two must not lead to a second end.
        self.ended = self.ended or message_kind(message) in ("failure", "result")
        try:
            self._write(line)
        except (OSError, ValueError) as error:  # a closed pipe, a closed file
            raise Cancelled("The program that wanted the result has ended.") from error

    def _write(self, line: bytes) -> None:
        # A raw pipe may take only a part of the line at a time.
        while line:
            line = line[self._stream.write(line) :]
        self._stream.flush()


@contextlib.contextmanager
def exclusive_stdout() -> Iterator[Channel]:
    """Give the one channel on standard output; whatever else is printed goes to standard error.

    This is done with the file descriptors of the process, so that it also holds for what
    libraries written in C++ print.
    """
    sys.stdout.flush()
    descriptor = os.dup(1)  # not inherited by child processes: they print to standard error too
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr), _unbuffered(descriptor) as stream:
            yield Channel(stream)
    finally:
        sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.dup2(descriptor, 1)
        os.close(descriptor)


def _unbuffered(descriptor: int) -> BinaryIO:
    # Without a buffer nothing is left to be written when the reader has gone.
    return open(descriptor, "wb", buffering=0, closefd=False)
