# SPDX-License-Identifier: Apache-2.0
"""Results on disk: a folder that is either complete or not there.

A computation writes into a temporary folder beside the result's place, on the same disk. At the
end this folder gets the result's name, which is one step for the file system: nobody ever sees
half a result. What a killed computation leaves behind is recognised by its name, and removed by
the next one that writes to the same place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import DISK_FULL, BadInput, OutputFailed, ReadingRoomError, output_failure
from .processes import process_exists
from .protocol import as_plain

MANIFEST = "result.json"
SCHEMA = 1
DISCLAIMER = "Research software, not a medical device. The physician decides."

_UNFINISHED, _REPLACED = "unfinished", "replaced"
_TEMPORARY_NAME = re.compile(
    rf"\.(?P<name>.+)\.readingroom-(?P<kind>{_UNFINISHED}|{_REPLACED})"
    r"-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)"
)
_LEAST_FREE_SPACE = 64 * 1024
"""Bytes; with less, a failure to write is taken for that of a full disk."""
_FOREIGN_HOST_PATIENCE = 7 * 24 * 3600.0
"""Seconds without a change after which another computer's temporary folder is left over."""


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; the file gets its own name when it is whole.

    So a name that is there stands for a whole file, whenever the program is killed.
    """
    unfinished = path.with_name(f"unfinished-{path.name}")
    yield unfinished
    unfinished.replace(path)


@contextlib.contextmanager
def result_folder(output: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes ``output`` when all goes well.

    Parameters
    ----------
    output : path
        Where the result shall be; absent, an empty folder, or a result with ``overwrite``.
        Missing parent folders are made.
    overwrite : bool
        Replace the result that is there. This is done at the very end: when the computation
        fails, the old result is still there. A folder with anything else than a result is never
        replaced, so that a mistyped name costs nothing.

    Yields
    ------
    Path
        The temporary folder. It is removed when the ``with`` block raises.

    Raises
    ------
    OutputFailed
        When there is something at ``output`` already, or it cannot be written.
    """
    output = Path(output).resolve()
    _check_replaceable(output, overwrite)
    temporary = _temporary_path(output, _UNFINISHED)
    replaced = _temporary_path(output, _REPLACED)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output.parent)
        _tidy_up(output, temporary, replaced)
        temporary.mkdir()
        yield temporary
        _flush_to_disk(temporary)
        _check_replaceable(output, overwrite)  # another run may have been faster
        # No file system can exchange two folders by name alone, so the old one steps aside.
        if output.exists():
            output.rename(replaced)
        temporary.rename(output)
        _tidy_up(output, temporary, replaced)
    except BaseException as error:  # also when cancelled, at any of the lines above
        failure = _output_failure_of(error, [output, temporary])  # while the disk is still full
        _tidy_up(output, temporary, replaced)
        if failure is not None:
            raise failure from error
        raise


def _tidy_up(output: Path, temporary: Path, replaced: Path) -> None:
    """Leave nothing but ``output``: the new result if it got there, otherwise the old one."""
    if replaced.exists() and not output.exists():
        replaced.rename(output)
    _remove(replaced)
    _remove(temporary)


def _output_failure_of(error: BaseException, folders: list[Path]) -> OutputFailed | None:
    """Return the :class:`OutputFailed` that ``error`` means, None when it is something else.

    ITK says only that writing failed, not why, so the disk is asked whether it is full.
    """
    if isinstance(error, ReadingRoomError) or not isinstance(error, Exception):
        return None
    if isinstance(error, OSError):
        return output_failure(error, folders)
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folders[0].parent).free < _LEAST_FREE_SPACE:
            return OutputFailed(DISK_FULL)
    return None


def _check_replaceable(output: Path, overwrite: bool) -> None:
    if not output.name:
        raise OutputFailed("Name a folder for the result: this is the root of the disk.")
    try:
        empty = not any(output.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        if output.is_file():
            raise OutputFailed(
                f"{output} is a file: choose another name for the output folder."
            ) from error
        raise OutputFailed(
            f"The output folder {output} cannot be opened: choose another output folder."
        ) from error
    if empty:
        return
    if not overwrite:
        raise OutputFailed(
            f"There is something in {output} already: choose another output folder, "
            "or overwrite it (--overwrite)."
        )
    if not _is_result(output):
        raise OutputFailed(
            f"{output} holds other files than a result, so it is not overwritten: "
            "choose another output folder."
        )


def _is_result(folder: Path) -> bool:
    try:
        return "schema" in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _temporary_path(output: Path, kind: str) -> Path:
    # Hidden, so that no one takes it for a result; the process id tells whether it is in use.
    return output.with_name(f".{output.name}.readingroom-{kind}-{_host()}-{os.getpid()}")


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def remove_leftovers(parent: Path) -> None:
    """Remove what killed computations left in the folder ``parent``.

    A result that was stepping aside when its replacement was killed gets its name back.
    """
    with os.scandir(parent) as entries:
        found = [(entry, _TEMPORARY_NAME.fullmatch(entry.name)) for entry in entries]
    for entry, match in found:
        if match and _is_left_over(entry, match):
            place = parent / match["name"]
            if match["kind"] == _REPLACED and not place.exists():
                Path(entry.path).rename(place)
            else:
                _remove(Path(entry.path))


def _is_left_over(entry: os.DirEntry, match: re.Match) -> bool:
    if match["host"] == _host():
        return not process_exists(int(match["pid"]))
    try:
        return time.time() - entry.stat().st_mtime > _FOREIGN_HOST_PATIENCE
    except OSError:
        return False  # its owner was just removing it


def _remove(folder: Path) -> None:
    # What cannot be removed now (a virus scanner holds a file) is a leftover for the next run.
    shutil.rmtree(folder, ignore_errors=True)


def _flush_to_disk(folder: Path) -> None:
    """Wait until all files are on the disk: a network drive says only then that it is full."""
    mode = "rb+" if sys.platform == "win32" else "rb"  # Windows flushes only what it may write
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, mode) as file:
                os.fsync(file.fileno())


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``manifest`` as the ``result.json`` of ``folder``; return it as it was written."""
    plain = as_plain(manifest)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Names of files that are not valid Unicode must not keep a result from being written.
    (folder / MANIFEST).write_text(text, encoding="utf-8", errors="backslashreplace")
    return plain


def read_result(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the ``result.json`` of a result folder.

    Raises
    ------
    BadInput
        When the folder is not a result, not a finished one, or one of its files is missing.
    """
    folder = Path(folder)
    if _TEMPORARY_NAME.fullmatch(folder.resolve().name):
        raise BadInput(f"{folder} is an unfinished result: run the computation again.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{folder} is not a result folder: it has no readable {MANIFEST}."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("status") != "completed":
        raise BadInput(f"{folder} is an unfinished result: run the computation again.")
    if manifest.get("schema") != SCHEMA:
        raise BadInput(f"{folder} was written by another version of this software.")
    for name in manifest.get("files", {}).values():
        if not (folder / name).exists():
            raise BadInput(f"{folder} is incomplete, {name} is missing: run the computation again.")
    return manifest


def file_sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    For a folder (a DICOM series), it is that of the sorted SHA-256 of all its files, so names
    and order do not matter.

    Raises
    ------
    BadInput
        When the file is missing or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = sorted(file_sha256(file) for file in path.rglob("*") if file.is_file())
            return hashlib.sha256("\n".join(files).encode()).hexdigest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise BadInput(f"{path} cannot be found: check its name.") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: check its permissions.") from error
