# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 (Krizhevsky 2009), from the archive that the user has: what the published comparison is.

Only the binary version is read. The version for Python is a pickle, which could run foreign code.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReadingRoomLib.errors import BadInput

ARCHIVE = "cifar-10-binary.tar.gz"
SIDE = 32
CLASSES = 10
RECORD = 1 + 3 * SIDE * SIDE  # bytes: the label, then red, green and blue row by row
MOST_RECORDS = 10_000  # of a member
_MEMBER = re.compile(r"(?:.*/)?(data_batch_[1-5])\.bin")
_PICKLES = re.compile(r"(?:.*/)?(data_batch_[1-5]|batches\.meta)")


@dataclass(frozen=True)
class Photographs:
    """Small photographs of ten kinds of things.

    Attributes:
        images: (n, 3, 32, 32), uint8.
        labels: (n,), 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


def read_cifar(path: Path) -> Photographs:
    """Read the training images; the test images are left out.

    Args:
        path: of ``cifar-10-binary.tar.gz``.

    Raises:
        BadInput: it is another file, the version for Python, or damaged.
    """
    if not path.is_file():
        raise BadInput(f"The archive {path.name} cannot be found: name {ARCHIVE} (--cifar).")
    parts: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if _PICKLES.fullmatch(member.name) and member.isfile():
                    raise BadInput(f"{path.name} is CIFAR-10 as pickles, which could run foreign "
                                   f"code and are not read: take the binary version, {ARCHIVE}.")
                match = _MEMBER.fullmatch(member.name)
                if match and member.isfile():
                    content = archive.extractfile(member)
                    parts[match[1]] = _records(content.read(RECORD * MOST_RECORDS + 1), path)
            while archive.fileobj.read(1 << 20):
                pass  # the checksum is looked at where the file ends
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise BadInput(f"{path.name} is no archive that can be read, or is damaged: take the "
                       f"binary version of CIFAR-10, {ARCHIVE}.") from error
    if not parts:
        raise BadInput(f"{path.name} holds no CIFAR-10 (no data_batch_1.bin): take the binary "
                       f"version, {ARCHIVE}.")
    records = np.concatenate([parts[name] for name in sorted(parts)])
    return Photographs(records[:, 1:].reshape(-1, 3, SIDE, SIDE), records[:, 0].astype(int))


def _records(content: bytes, path: Path) -> np.ndarray:
    if not content or len(content) % RECORD or len(content) > RECORD * MOST_RECORDS:
        raise BadInput(f"{path.name} is damaged: its images are not of {RECORD} bytes each; take "
                       f"{ARCHIVE} again.")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= CLASSES:
        raise BadInput(f"{path.name} is damaged: it has labels beyond {CLASSES - 1}; take "
                       f"{ARCHIVE} again.")
    return records
