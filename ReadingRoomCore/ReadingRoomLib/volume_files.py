# SPDX-License-Identifier: Apache-2.0
"""Reading a volume from one file: NIfTI, NRRD or MetaImage.

ITK fills what a truncated NIfTI or a damaged compressed file lacks with zeros and says nothing,
and believes a header that claims terabytes. So the header and the data are held against each
other here before ITK may allocate anything.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import BadInput

MAX_VOXELS = 2**31
"""Larger volumes are refused: 4 GiB of int16, six times a CT of 700 slices of 512 x 512."""

_MAX_DEFLATE_RATIO = 1032  # no zlib or gzip stream grows by more (zlib's technical notes)
_HEADER_BYTES = 1 << 20
_CHUNK = 1 << 20
_ITK_READERS = {"NIfTI": "NiftiImageIO", "NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
_ANATOMICAL_SPACES = ("left", "right", "lps", "ras", "las")


@dataclass
class RawVolume:
    """A volume as it was stored, before it is judged.

    Attributes
    ----------
    image : SimpleITK.Image
        3D, one component. Its axes may be sheared against each other.
    warnings : list of str
        One sentence each.
    calibrated : bool
        Whether the file says that its values are in the units of its modality (for CT: HU).
    modality : str or None
        DICOM modality where the file tells it.
    acquired : datetime.date or None
        Day of the scan where the file tells it. Like ``patient`` for comparisons only: it must
        not reach a log, a result or a message.
    patient : str or None
        Equal for two scans with the same patient number that this process reads; a hash with a
        salt, which tells nothing else.
    age : float or None
        Of the patient, years, where the file tells it; to be used and not to be written, as above.
    kernel : str
        Of the reconstruction, as the scanner names it; empty where the file does not tell it.
    """

    image: sitk.Image
    warnings: list[str] = field(default_factory=list)
    calibrated: bool = False
    modality: str | None = None
    acquired: datetime.date | None = field(default=None, repr=False)
    patient: str | None = field(default=None, repr=False)
    age: float | None = field(default=None, repr=False)
    kernel: str = ""


@dataclass
class _Data:
    """Where the voxels lie: ``offset`` bytes into ``file``, compressed or not."""

    file: Path
    offset: int
    compressed: bool


def file_format(path: Path) -> str | None:
    """Return NIfTI, NRRD, MetaImage or DICOM by what the file contains; None for anything else."""
    start, compressed = _start(path)
    if start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2"):
        return "NIfTI"
    if compressed:  # of the others nobody compresses whole files
        return None
    if start[128:132] == b"DICM" or start[:2] in (b"\x08\x00", b"\x02\x00"):
        return "DICOM"  # the latter two: files without preamble begin with group 8 or 2
    if start[:4] == b"NRRD":
        return "NRRD"
    if b"NDims" in start and b"=" in start:
        return "MetaImage"
    return None


def read_volume_file(path: Path) -> RawVolume:
    """Read a NIfTI, NRRD or MetaImage file.

    Raises
    ------
    BadInput
        When the file is of another type, damaged, truncated, too large, in colour, or not 3D.
    """
    name = path.name
    kind = file_format(path)
    if kind not in _ITK_READERS:
        raise BadInput(
            f"{name} is not an image that can be read here: "
            "choose a DICOM folder, or a NIfTI, NRRD or MetaImage file."
        )
    data = _data_of(path, kind)  # before ITK follows a header to files elsewhere
    with plain_paths([path]) as [plain_path], quiet():
        reader = sitk.ImageFileReader()
        reader.SetImageIO(_ITK_READERS[kind])
        reader.SetFileName(plain_path)
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise _unreadable(name, kind, error) from error
        _check_header(name, reader)
        if kind == "NIfTI" and not data.compressed:
            data.offset = int(float(reader.GetMetaData("vox_offset")))
        _check_data(name, data, _data_bytes(reader))
        _keep_three_dimensions(reader)
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise _unreadable(name, kind, error) from error
    volume = RawVolume(image)
    if not _knows_sides(path, kind, reader):
        volume.warnings.append(
            f"{name} does not say how the patient lies in it: check left and right in the result."
        )
    return volume


@contextlib.contextmanager
def plain_paths(paths: Sequence[Path]) -> Iterator[list[str]]:
    """Yield names of the files that ITK can open.

    SimpleITK ends the whole process over a name that is no valid Unicode, as old archives on
    Linux have them. Such files get a link with a plain name for as long as they are read.
    """
    try:
        for path in paths:
            os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            yield [_link(path, Path(folder), number) for number, path in enumerate(paths)]
    else:
        yield [os.fspath(path) for path in paths]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of ITK and pydicom off the terminal: what matters is said in ours."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _link(path: Path, folder: Path, number: int) -> str:
    suffixes = "".join(path.suffixes)
    plain = folder / (f"{number:06}" + (suffixes if suffixes.isascii() else ""))
    try:
        plain.symlink_to(path.absolute())
    except OSError:
        shutil.copyfile(path, plain)
    return os.fspath(plain)


def _first_bytes(path: Path, count: int = 4096) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise BadInput(
            f"{path.name} cannot be opened: check that it exists and may be read."
        ) from error


def _start(path: Path) -> tuple[bytes, bool]:
    """Return how the content of a file begins, and whether the file is compressed as a whole."""
    start = _first_bytes(path)
    if start[:2] != b"\x1f\x8b":
        return start, False
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(start, 4096), True
    except zlib.error:
        return b"", True


def _unreadable(name: str, kind: str, error: RuntimeError) -> BadInput:
    if "orthonormal" in str(error).lower():
        return BadInput(
            f"{name} has axes that are not at right angles to each other: "
            "save it again resampled to a regular grid."
        )
    return _damaged(name, kind)


def _damaged(name: str, kind: str) -> BadInput:
    return BadInput(f"{name} is a damaged {kind} file: copy or export it again.")


def _check_header(name: str, reader: sitk.ImageFileReader) -> None:
    if reader.GetNumberOfComponents() != 1:
        raise BadInput(
            f"{name} holds a colour or vector image: choose a grey-value image with one value "
            "per voxel."
        )
    size = reader.GetSize()
    if len(size) > 3 and max(size[3:]) > 1:
        raise BadInput(
            f"{name} holds {math.prod(size[3:])} volumes (time points or phases): "
            "save the one you need as a file of its own."
        )
    if len(size) < 3 or min(size[:3]) < 2:
        raise BadInput(f"{name} has only one slice: choose a volume with many slices.")
    if math.prod(size) > MAX_VOXELS:
        raise BadInput(
            f"{name} claims to hold {' x '.join(map(str, size))} voxels, more than can be "
            "handled: crop it, or export it again if that is not its size."
        )
    spacing = np.asarray(reader.GetSpacing()[:3])
    numbers = [*spacing, *reader.GetOrigin(), *reader.GetDirection()]
    if not np.all(np.isfinite(numbers)) or spacing.min() <= 0:
        raise BadInput(f"{name} gives no valid voxel size or position: export it again.")


def _data_bytes(reader: sitk.ImageFileReader) -> int:
    """Return how many bytes of voxels the header announces."""
    if reader.HasMetaDataKey("bitpix"):  # NIfTI: ITK tells the type after rescaling
        voxel_bytes = int(reader.GetMetaData("bitpix")) // 8
    else:
        voxel_bytes = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    return math.prod(reader.GetSize()) * voxel_bytes


def _keep_three_dimensions(reader: sitk.ImageFileReader) -> None:
    size = reader.GetSize()
    if len(size) > 3:
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])


def _data_of(path: Path, kind: str) -> _Data:
    if kind == "NIfTI":
        return _nifti_data(path)
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    if kind == "NRRD":
        return _nrrd_data(path, head)
    return _meta_data(path, head)


def _nifti_data(path: Path) -> _Data:
    start, compressed = _start(path)
    if start[4:7] in (b"n+2", b"ni2"):
        raise BadInput(
            f"{path.name} is a NIfTI-2 file, which cannot be read here: save it as NIfTI-1."
        )
    if start[344:347] == b"ni1":
        raise BadInput(
            f"{path.name} is one half of a pair of files (.hdr and .img): "
            "save the image as one file (.nii.gz)."
        )
    return _Data(path, 0, compressed)


def _nrrd_fields(head: bytes) -> tuple[dict[str, str], int]:
    """Return the fields of an NRRD header (names in lower case) and where the data begin."""
    text, ends = head, len(head)
    for line_end in (b"\n\n", b"\r\n\r\n"):
        position = head.find(line_end)
        if 0 <= position < ends:
            text, ends = head[:position], position + len(line_end)
    lines = text.decode("latin-1").splitlines()
    fields = (line.partition(":") for line in lines if not line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, _, value in fields}, ends


def _nrrd_data(path: Path, head: bytes) -> _Data:
    fields, data_begin = _nrrd_fields(head)
    if "encoding" not in fields:
        raise _damaged(path.name, "NRRD")
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise BadInput(
            f"{path.name} stores its voxels in a way that is not supported ({encoding}): "
            "save it again with gzip compression, or without compression."
        )
    data_file = fields.get("data file", fields.get("datafile"))
    compressed = encoding != "raw"
    if data_file is None:
        return _Data(path, data_begin, compressed)
    return _Data(_file_beside(path, data_file), 0, compressed)


def _meta_data(path: Path, head: bytes) -> _Data:
    fields: dict[str, str] = {}
    position = 0
    while position < len(head) and "elementdatafile" not in fields:
        line_end = head.find(b"\n", position)
        line_end = len(head) if line_end < 0 else line_end
        key, _, value = head[position:line_end].decode("latin-1").partition("=")
        fields[key.strip().lower()] = value.strip()
        position = line_end + 1
    data_file = fields.get("elementdatafile", "")
    compressed = fields.get("compresseddata", "false").lower() == "true"
    if data_file.upper() == "LOCAL":
        return _Data(path, position, compressed)
    return _Data(_file_beside(path, data_file), 0, compressed)


def _file_beside(path: Path, name: str) -> Path:
    """Return the data file that a header names: one plain file in its own folder, nothing else."""
    beside = path.parent / name.removeprefix("./")
    if beside.parent != path.parent or not name or "%" in name or name.upper().startswith("LIST"):
        raise BadInput(
            f"{path.name} has its voxels in several files or in another folder: "
            "save the image as one file."
        )
    if not beside.is_file():
        raise BadInput(
            f"{path.name} needs the file {beside.name}, which is missing: copy both together."
        )
    return beside


def _check_data(name: str, data: _Data, needed: int) -> None:
    """Refuse data that cannot hold, or do not hold, what the header announces."""
    incomplete = BadInput(
        f"{name} is damaged or incomplete (its data do not fit its header): "
        "copy or export it again."
    )
    available = data.file.stat().st_size - data.offset
    if needed > available * (_MAX_DEFLATE_RATIO if data.compressed else 1):
        raise incomplete
    if data.compressed:
        try:
            with open(data.file, "rb") as file:
                file.seek(data.offset)
                _check_compressed(file, needed)
        except (zlib.error, EOFError) as error:
            raise incomplete from error


def _check_compressed(file, needed: int) -> None:
    """Decompress and forget, chunk by chunk: zlib compares the checksums on the way.

    Raises
    ------
    zlib.error, EOFError
        When the data are damaged, or fewer than ``needed`` bytes.
    """
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    found = 0
    while chunk := file.read(_CHUNK):
        while chunk:
            found += len(decoder.decompress(chunk, 4 * _CHUNK))
            chunk = decoder.unconsumed_tail
            if decoder.eof:
                if found >= needed:
                    return
                chunk = decoder.unused_data  # gzip files may be several streams in a row
                decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    raise EOFError


def _knows_sides(path: Path, kind: str, reader: sitk.ImageFileReader) -> bool:
    """Whether the file relates its axes to the patient, without which left is a guess."""
    if kind == "NIfTI":
        codes = [reader.GetMetaData(k) for k in ("qform_code", "sform_code")
                 if reader.HasMetaDataKey(k)]
        return not codes or any(int(code) > 0 for code in codes)
    if kind == "NRRD":
        with open(path, "rb") as file:
            fields, _ = _nrrd_fields(file.read(_HEADER_BYTES))
        return fields.get("space", "").lower().startswith(_ANATOMICAL_SPACES)
    return True  # MetaImage: LPS by convention
