# SPDX-License-Identifier: Apache-2.0
"""Log files of failed computations, fit to be sent to the developers: no patient data in them.

A log holds the versions, the error's type and the lines of code that led to it. The folder and
file names of the images, which often hold a patient's name, are replaced by a short hash; the
sentences of our own errors, which name files and series, are left out (the user saw them).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import os
import platform
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import __version__
from .errors import ReadingRoomError

KEPT_LOGS = 20
"""Number of log files that are kept; older ones are removed."""


def log_folder() -> Path:
    """Return the user's folder for log files: where this operating system keeps them.

    The environment variable READINGROOM_LOGS overrides it.
    """
    chosen = os.environ.get("READINGROOM_LOGS")
    if chosen:
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "ReadingRoom/Logs"
    if sys.platform == "darwin":
        return home / "Library/Logs/ReadingRoom"
    return Path(os.environ.get("XDG_STATE_HOME", home / ".local/state")) / "readingroom/log"


def write_log(error: BaseException, title: str, arguments: Iterable[str] = ()) -> Path | None:
    """Write the log file of a failure; return its path, None when it cannot be written.

    Parameters
    ----------
    error : BaseException
        What happened; its cause and context are logged too.
    title : str
        What was run, such as ``"MuscleSeg segment"``.
    arguments : iterable of str
        What the user typed; whatever of it turns up in the log is replaced by a hash.
    """
    text = "\n".join(
        [
            f"ReadingRoom {__version__}: {title}",
            f"Python {platform.python_version()} on {platform.platform()}",
            "",
            *_describe(error, list(arguments)),
        ]
    )
    now = datetime.datetime.now().strftime("%Y-%m-%dT%H%M%S.%f")
    # A log that cannot be written must not hide the failure that it is about.
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home folder
        folder = log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{now}-{os.getpid()}.log"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        _remove_old_logs(folder)
        return path
    return None


def _describe(error: BaseException, arguments: list[str]) -> list[str]:
    """Return the lines on ``error`` and, before it, on the errors that it came from."""
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += [*_describe(cause, arguments), "", "which led to", ""]
    lines += [line.rstrip("\n") for line in traceback.format_tb(error.__traceback__)]
    if isinstance(error, ReadingRoomError):
        lines.append(error.code)
    else:
        lines.append(f"{type(error).__name__}: {without_private_text(str(error), arguments)}")
    return lines


_PATH = re.compile(
    r"(?:[A-Za-z]:[\\/]|[\\/]{1,2}|~[\\/]|\.{1,2}[\\/])[^\n'\"<>|*?]+"  # absolute or relative
    r"|[^\s'\"<>|*?]*[\\/][^\s'\"<>|*?]*"  # whatever else has a slash
)


def without_private_text(text: str, private: Iterable[str]) -> str:
    """Return ``text`` with all paths, and the ``private`` texts, replaced by a hash each.

    Of a private path, also its file name, its name without extension and its parent folder's.
    """
    names = {name for item in private for name in _names_of(item)}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, _hash_of(name))
    return _PATH.sub(lambda match: _hash_of(match[0]), text)


def _names_of(text: str) -> set[str]:
    path = Path(text)
    names = {text, str(path.absolute()), path.name, path.stem, path.absolute().parent.name}
    # Shorter ones are ordinary words and numbers ("ct", "10") of the message itself.
    return {name for name in names if len(name) >= 4}


def _hash_of(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f"[hidden {digest[:8]}]"


def _remove_old_logs(folder: Path) -> None:
    for path in sorted(folder.glob("*.log"))[:-KEPT_LOGS]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def no_library_log() -> Iterator[None]:
    """Keep a library from setting up the log of the whole process: where there is a handler, it
    sets up none."""
    nowhere = logging.NullHandler()
    logging.getLogger().addHandler(nowhere)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(nowhere)
