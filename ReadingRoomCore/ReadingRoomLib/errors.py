# SPDX-License-Identifier: Apache-2.0
"""Errors that a clinician can act on, and the exit codes that scripts can act on.

Every failure of a computation reaches its user as a :class:`ReadingRoomError`: a code for
programs (``code``, ``exit_code``) and one sentence for people (``message``). The modules of this
package raise the subclass that fits; :func:`typed_error` turns everything else into one.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path


class ReadingRoomError(Exception):
    """Something went wrong that the program did not foresee.

    Parameters
    ----------
    message : str
        One sentence for a clinician: what happened, and what to do about it.
    """

    code = "INTERNAL"
    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(ReadingRoomError):
    """An image, file or option that cannot be used as it is."""

    code = "BAD_INPUT"
    exit_code = 10


class ModelMissing(ReadingRoomError):
    """The model is not on this computer and is not known."""

    code = "MODEL_MISSING"
    exit_code = 11


class ModelUntrusted(ReadingRoomError):
    """The model differs from what was published, or could run foreign code."""

    code = "MODEL_UNTRUSTED"
    exit_code = 12


class OutOfMemory(ReadingRoomError):
    """Neither the graphics card nor the computer has enough memory."""

    code = "OUT_OF_MEMORY"
    exit_code = 13


class OutputFailed(ReadingRoomError):
    """The result cannot be written: read-only, disk full, or something is already there."""

    code = "OUTPUT_FAILED"
    exit_code = 14


class DownloadFailed(ReadingRoomError):
    """A file could not be downloaded, or arrived damaged."""

    code = "DOWNLOAD_FAILED"
    exit_code = 15


class DependencyMissing(ReadingRoomError):
    """A Python package that the computation needs is not installed."""

    code = "DEPENDENCY_MISSING"
    exit_code = 16


class Cancelled(ReadingRoomError):
    """The user, or the program that started the computation, ended it."""

    code = "CANCELLED"
    exit_code = 130  # what shells report after Ctrl-C (128 + SIGINT)

    def __init__(self, message: str = "The computation was cancelled.") -> None:
        super().__init__(message)


ERROR_TYPES: dict[str, type[ReadingRoomError]] = {
    error_type.code: error_type
    for error_type in (
        ReadingRoomError,
        BadInput,
        ModelMissing,
        ModelUntrusted,
        OutOfMemory,
        OutputFailed,
        DownloadFailed,
        DependencyMissing,
        Cancelled,
    )
}
"""Error class by code, for programs that read the code from a worker's output."""


def typed_error(
    error: BaseException, output_folders: Iterable[str | os.PathLike] = ()
) -> ReadingRoomError:
    """Return the :class:`ReadingRoomError` that says what ``error`` means to the user.

    Parameters
    ----------
    error : BaseException
        Anything that a computation raised.
    output_folders : iterable of path, optional
        Where the computation writes. A refused permission there is an output that failed;
        anywhere else it is not.
    """
    if isinstance(error, ReadingRoomError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled()
    if is_out_of_memory(error):
        return OutOfMemory(
            "There is not enough memory for this computation: close other programs, "
            "or choose a smaller image or the CPU."
        )
    if isinstance(error, ModuleNotFoundError):
        return DependencyMissing(
            f"The Python package {error.name} is not installed: install the requirements first."
        )
    if isinstance(error, OSError):
        output_error = output_failure(error, output_folders)
        if output_error is not None:
            return output_error
    return ReadingRoomError(
        f"The program met a problem that it did not foresee ({type(error).__name__})."
    )


DISK_FULL = "The disk is full: free some space, or choose another output folder."
_DISK_FULL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE_NUMBERS = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
_WINDOWS_DISK_FULL = {39, 112}  # ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL


def output_failure(
    error: OSError, output_folders: Iterable[str | os.PathLike] = ()
) -> OutputFailed | None:
    """Return the :class:`OutputFailed` that ``error`` means, None when it is not about writing.

    Only writing meets a full or write-protected disk. A refused permission can also come from
    reading, so it counts only when the refused path lies in one of ``output_folders``.
    """
    if error.errno in _DISK_FULL_NUMBERS or getattr(error, "winerror", 0) in _WINDOWS_DISK_FULL:
        return OutputFailed(DISK_FULL)
    if error.errno == errno.EROFS:
        return OutputFailed("The output folder is write-protected: choose another output folder.")
    if error.errno in _NOT_WRITABLE_NUMBERS and _lies_in(error.filename, output_folders):
        return OutputFailed(
            f"Nothing can be written to {error.filename}: choose another output folder."
        )
    return None


def _lies_in(path: object, folders: Iterable[str | os.PathLike]) -> bool:
    """Whether ``path`` is one of ``folders``, inside one, or one of their parents."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    path = Path(path).absolute()
    for folder in (Path(folder).absolute() for folder in folders):
        if path == folder or path in folder.parents or folder in path.parents:
            return True
    return False


_OUT_OF_MEMORY_PHRASES = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # PyTorch on Linux
    "not enough memory",  # PyTorch on Windows
    "failed to allocate memory",  # ITK
    "bad_alloc",  # C++
    "cublas_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out, of the computer or of the graphics card.

    Python has MemoryError for this; PyTorch and ITK raise a RuntimeError of which only the text
    differs. PyTorch is looked up, not imported.
    """
    if isinstance(error, MemoryError):
        return True
    torch_error = getattr(sys.modules.get("torch"), "OutOfMemoryError", None)
    if torch_error is not None and isinstance(error, torch_error):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(p in text for p in _OUT_OF_MEMORY_PHRASES)
