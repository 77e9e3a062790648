# SPDX-License-Identifier: Apache-2.0
"""Where images are kept: a file is there as a whole and on the disk, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from .register import Place

SUFFIX = ".dcm"


class DiskFull(OSError):
    """There is no room for another image."""


class Incoming:
    """The folder, ``<study>/<series>/<image>.dcm`` below it, all names hashes.

    Args:
        folder: is made when absent; what a kill left half-written in it is removed.
        free_bytes: that must be left on its disk.
    """

    def __init__(self, folder: Path, free_bytes: int) -> None:
        self.folder, self.free_bytes = folder, free_bytes
        self._unfinished = folder / ".unfinished"
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._unfinished.mkdir(parents=True)

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.folder).free

    def series(self, study: str, key: str) -> Path:
        """The folder of a series."""
        return self.folder / study / key

    def keep(self, place: Place, content: bytes) -> Path:
        """Write an image; it is on the disk when this returns.

        Raises:
            DiskFull: less would be left than must be.
            OSError: it cannot be written.
        """
        if self.free() - len(content) < self.free_bytes:
            raise DiskFull
        folder = self.series(place.study, place.series)
        # beside all series: nobody may read half an image as one of theirs
        temporary = self._unfinished / secrets.token_hex(16)
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / (place.image + SUFFIX)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        for changed in (folder, folder.parent, self.folder) if new else (folder,):
            _flush(changed)
        return path

    def remove(self, study: str, key: str) -> None:
        """Remove a series, and its study when it was the last."""
        shutil.rmtree(self.series(study, key), ignore_errors=True)
        with contextlib.suppress(OSError):  # holds another series, or is gone
            (self.folder / study).rmdir()


def _flush(folder: Path) -> None:
    """Put a folder's new names on the disk; Windows does so by itself and cannot be asked."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
