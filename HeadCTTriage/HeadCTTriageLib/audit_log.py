# SPDX-License-Identifier: Apache-2.0
"""What was judged, shown and decided, in a file to which lines are only ever added.

Every line is an entry in JSON with the SHA-256 of itself and of the line before, so a line that was
changed, removed, added or moved in the middle is found by :func:`verify`. Lines that were removed
at the end can only be told by someone who kept the last SHA-256, and who can write the file can
also write all of it anew: the chain shows accidents and careless changes, it is no signature.

No name or number of a patient is written; what is judged is named by the SHA-256 of its voxels.
Standard library only.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ReadingRoomLib.errors import BadInput

EVENTS = ("judged", "shown", "confirmed", "overruled", "refused")
BEGINNING = "0" * 64  # what stands for the line before the first
_SEAL = ', "sha256": "'
_AFTER_CRASH = "after_unfinished_line"
_LONGEST_LINE = 1 << 16  # bytes
_PATIENCE = 10.0  # seconds, for another process that is writing


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        time: UTC, ISO 8601.
        who: name of the user.
        event: one of :data:`EVENTS`; ``refused`` when the program gave no judgement.
        result: name of the result folder; empty where there is none.
        input_sha256: of the voxels that were judged, as in ``result.json``; of a refused image,
            that of its files.
        model: ``name`` and ``sha256``.
        shown: what the user saw: ``decision``, ``urgent_probability``, ``triage``.
        tag: that the user gave; empty but for ``overruled``.
        reason: why it was overruled, or refused.
    """

    time: str
    who: str
    event: str
    result: str
    input_sha256: str
    model: Mapping[str, str]
    shown: Mapping[str, Any]
    tag: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found.

    Attributes:
        entries: number of entries before the first line that is not as it was written, or all.
        unfinished: numbers of lines, from 1, that a crash left half written.
        broken_line: number of the first line, from 1, that was changed, or before which one was
            removed or added; None when there is none.
    """

    entries: int
    unfinished: tuple[int, ...]
    broken_line: int | None

    @property
    def intact(self) -> bool:
        return self.broken_line is None


class AuditLog:
    """A log that several processes may write at the same time.

    Args:
        path: of the file; it and its folder are made with the first entry.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def add(self, event: str, manifest: Mapping[str, Any], *, who: str = "", tag: str = "",
            reason: str = "", now: datetime | None = None) -> Entry:
        """Write an entry; it is on the disk when this returns.

        Args:
            event: one of :data:`EVENTS`.
            manifest: content of ``result.json``, with the name of its folder as ``result``. Of a
                refused image, as much of it as is known.
            who: empty for the operating system's name of the user.
            tag: that the user gives instead, to overrule.
            reason: needed to overrule.
            now: None for the time of the clock.

        Raises:
            BadInput: there is no such event, or what is needed to overrule is missing.
            OSError: it cannot be written, or another process does not stop writing.
        """
        if event not in EVENTS:
            raise BadInput(f'The audit log knows no event "{event}".')
        if event == "overruled" and not (tag and reason.strip()):
            raise BadInput("Give another tag and a reason to overrule the judgement.")
        when = (now or datetime.now(UTC)).astimezone(UTC)
        entry = Entry(when.isoformat(timespec="milliseconds"), who.strip() or user_name(), event,
                      manifest.get("result", ""), _input_sha256(manifest),
                      _of(manifest.get("model"), "name", "sha256"),
                      _of(manifest, "decision", "urgent_probability", "triage"), tag,
                      reason.strip())
        self._append(asdict(entry))
        return entry

    def entries(self) -> list[Entry]:
        """All whole entries, the oldest first."""
        found = []
        for line in _lines(self.path):
            with contextlib.suppress(ValueError, TypeError):
                content = json.loads(line)
                found.append(Entry(**{name: content[name] for name in content
                                      if name not in ("previous", "sha256", _AFTER_CRASH)}))
        return found

    def _append(self, content: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(self.path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.path, flags, 0o600)
            try:
                before, ends = _last_lines(descriptor)
                mark = {} if ends else {_AFTER_CRASH: True}
                line = _sealed({**content, "previous": _before(before), **mark})
                if len(line) > _LONGEST_LINE:
                    raise BadInput("The reason is too long: shorten it.")
                # what a crash left half written keeps its line, and does not swallow this one
                line = line + b"\n" if ends else b"\n" + line + b"\n"
                if os.write(descriptor, line) < len(line):
                    raise OSError(f"The audit log {self.path.name} cannot be written: the disk "
                                  "is full.")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def verify(path: str | os.PathLike) -> Verification:
    """Look whether a log is as it was written.

    Raises:
        OSError: it cannot be read.
    """
    lines = Path(path).read_bytes().split(b"\n")
    rest = lines.pop()  # nothing, or a last line without its end
    before: list[bytes] = []  # the last whole line, and what is unreadable since
    unfinished: list[int] = []
    count = 0
    for number, line in enumerate(lines, 1):
        written = _unsealed(line)
        if written is None:
            before.append(line)
            unfinished.append(number)
        elif (written.get("previous") != _before(before)
              or (number - 1 in unfinished) != written.get(_AFTER_CRASH, False)):
            return _broken(count, unfinished, number)
        else:
            before, count = [line], count + 1
    if unfinished and unfinished[-1] == len(lines):  # nothing was added to it
        return _broken(count, unfinished, len(lines))
    return Verification(count, (*unfinished, *([len(lines) + 1] if rest else ())), None)


def _broken(count: int, unfinished: list[int], number: int) -> Verification:
    """A log that is broken at a line, or at the unreadable lines before it."""
    while unfinished and unfinished[-1] in (number, number - 1):
        number = unfinished.pop()
    return Verification(count, tuple(unfinished), number)


def user_name() -> str:
    """The operating system's name of the user; "unknown" where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _before(lines: list[bytes]) -> str:
    """What an entry says of the lines it was added to: the last whole one, and what came since."""
    return _sha256(b"\n".join(lines)) if lines else BEGINNING


def _sealed(content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content, allow_nan=False)
    return f'{body[:-1]}{_SEAL}{_sha256(body.encode())}"}}'.encode()


def _unsealed(line: bytes) -> dict[str, Any] | None:
    """The content of a line; None when it is not what was written."""
    body, seal, rest = line.rpartition(_SEAL.encode())
    body += b"}"
    if not seal or rest != f'{_sha256(body)}"}}'.encode():
        return None
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _input_sha256(manifest: Mapping[str, Any]) -> str:
    inputs = manifest.get("inputs") or [{}]
    return inputs[0].get("sha256", "")


def _of(content: Mapping[str, Any] | None, *names: str) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content} if content else {}


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n") if path.exists() else []


def _last_lines(descriptor: int) -> tuple[list[bytes], bool]:
    """The last whole line and what is unreadable since, and whether the file ends with a line."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    read = 0
    while True:
        read = min(size, read + _LONGEST_LINE)
        os.lseek(descriptor, size - read, os.SEEK_SET)
        tail = _read(descriptor, read)
        ends = not tail or tail.endswith(b"\n")
        lines = (tail[:-1] if ends else tail).split(b"\n") if tail else []
        whole = [index for index, line in enumerate(lines) if _unsealed(line) is not None]
        if whole or read == size:
            return lines[whole[-1] if whole else 0:], ends


def _read(descriptor: int, count: int) -> bytes:
    parts = []
    while count > 0 and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing: a lock on a file beside the log, which a crash frees."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = time.monotonic() + _PATIENCE
        while not _try_lock(descriptor):
            if time.monotonic() > end:
                raise OSError(f"The audit log {path.name} is being written by another program: "
                              "try again.")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)  # gives the lock back


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
