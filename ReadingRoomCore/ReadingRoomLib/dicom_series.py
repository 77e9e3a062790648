# SPDX-License-Identifier: Apache-2.0
"""Reading one DICOM series as a volume.

pydicom reads the headers, GDCM (inside SimpleITK) the pixels, compressed or not. The geometry is
computed here from the position of every slice, because a series reader takes even spacing and
right angles for granted: it would squeeze the body where slices are missing and bend it where
the gantry was tilted.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from .errors import BadInput
from .volume_files import MAX_VOXELS, RawVolume, plain_paths, quiet

if TYPE_CHECKING:
    import pydicom

SAME_PLACE_MM = 0.01
"""Slices nearer to each other than this lie in the same place."""

MISSING_GAP = 1.5
"""A gap wider than this many usual gaps is one where slices are missing."""

EVEN, NEARLY_EVEN = 0.02, 0.1
"""Slices out of place by less, in units of the spacing, pass as even, and with a warning."""

MAX_FILES = 50_000
"""A folder with more is a disc or an archive, not an export."""

_MIN_SLICES = 3  # fewer are no volume, when there is a choice
_PARALLEL = 2e-3  # greatest difference of direction cosines, a tenth of a degree
_OUT_OF_LINE_MM = 1.0
_DICOMDIR = "1.2.840.10008.1.3.10"
_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType",
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PixelSpacing", "SliceThickness",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PatientID", "AcquisitionDateTime", "AcquisitionDate", "SeriesDate", "StudyDate",
    "PatientAge", "PatientBirthDate", "ConvolutionKernel",
]
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}  # by unit of PatientAge
_SALT = secrets.token_bytes(16)  # of this process, so that no list of numbers can be tried out


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series; of a multi-frame file, one frame.

    Attributes
    ----------
    frame
        Number within a multi-frame file, None for a file of its own.
    position
        Centre of the first pixel, 3, mm.
    orientation
        Directions of its rows and of its columns, 2 x 3.
    pixel_spacing
        Between rows and between columns, mm.
    rescale
        Slope and intercept; None when the header does not give both.
    """

    path: Path
    frame: int | None
    position: np.ndarray
    orientation: np.ndarray
    pixel_spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float
    rescale: tuple[float, float] | None

    @property
    def place(self) -> float:
        """Position along the direction the slices face, mm."""
        return float(self.position @ np.cross(*self.orientation))


@dataclass
class _Series:
    """The usable slices of one series, and what else it holds, counted by kind."""

    number: str = ""
    slices: list[Slice] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)
    acquired: datetime.date | None = field(default=None, repr=False)
    patient: str | None = field(default=None, repr=False)
    age: float | None = field(default=None, repr=False)
    kernel: str = ""

    @property
    def label(self) -> str:
        return f"series {self.number}" if self.number else "the series without a number"

    @property
    def is_volume(self) -> bool:
        return len({round(s.place / SAME_PLACE_MM) for s in self.slices}) >= _MIN_SLICES


def read_dicom(path: Path, modality: str) -> RawVolume:
    """Read the series in a folder, or the series that a file belongs to.

    A folder is searched with its subfolders; scouts, reports, colour pictures and images of
    other modalities are left aside. What then is more than one volume must be chosen from.

    Parameters
    ----------
    path : Path
        Folder or file.
    modality : str
        DICOM modality, such as ``"CT"``.

    Raises
    ------
    BadInput
        When there is not exactly one volume, or when it is not complete.
    """
    warnings: list[str] = []
    name, series = _find_series(path, modality, warnings)
    volume = _volume(name, series.slices, modality, warnings)
    volume.acquired, volume.patient = series.acquired, series.patient
    volume.age, volume.kernel = series.age, series.kernel
    return volume


def find_slices(path: Path, modality: str) -> tuple[str, list[Slice]]:
    """Return what :func:`read_dicom` would stack: the name of the series, and its slices in order.

    Raises
    ------
    BadInput
        When there is not exactly one volume.
    """
    name, series = _find_series(path, modality, [])
    slices = sorted(series.slices, key=lambda s: s.place)
    return name, _without_duplicates(name, slices, [])


# Which files belong together


def _find_series(path: Path, modality: str, warnings: list[str]) -> tuple[str, _Series]:
    """Return the series that a path means, with slices, and its name for messages."""
    with quiet():
        if path.is_file() and not _is_directory_file(path):
            series = _series_of_file(path, modality)
        else:
            series = _only_volume(path if path.is_dir() else path.parent, modality, warnings)
    name = f"{path.name} ({series.label})"
    if not series.slices:
        raise BadInput(f"{name} {_nothing_usable(series.others, modality)}")
    return name, series


def _series_of_file(path: Path, modality: str) -> _Series:
    header = _header(path)
    if header is None:
        raise BadInput(f"{path.name} is a damaged DICOM file: copy or export it again.")
    beside = [file for file in sorted(path.parent.iterdir()) if file.is_file()]
    groups, _ = _group(beside, modality)
    return groups[_series_uid(header)]


def _only_volume(folder: Path, modality: str, warnings: list[str]) -> _Series:
    groups, damaged = _group(files_below(folder), modality)
    if damaged:
        warnings.append(f"{folder.name} holds DICOM files that cannot be read ({damaged}).")
    if not groups:
        raise BadInput(
            f"{folder.name} holds no DICOM images: choose the folder that the series was "
            "exported to, or an image file."
        )
    others = sum((series.others for series in groups.values()), Counter())
    with_slices = [series for series in groups.values() if series.slices]
    if not with_slices:
        raise BadInput(f"{folder.name} {_nothing_usable(others, modality)}")
    volumes = [series for series in with_slices if series.is_volume] or with_slices
    if len(volumes) > 1:
        found = ", ".join(f"{s.label} ({len(s.slices)} slices)" for s in volumes)
        raise BadInput(
            f"{folder.name} holds {len(volumes)} {modality} volumes, {found}: "
            "choose one file of the series you need."
        )
    outside = sum(len(series.slices) for series in with_slices if series is not volumes[0])
    others += Counter({f"{modality} images outside the volume": outside})
    if others:
        warnings.append(f"{folder.name} also holds {_listed(others)}, which were left out.")
    return volumes[0]


def _nothing_usable(others: Counter, modality: str) -> str:
    return f"holds no {modality} slices but {_listed(others)}: choose a {modality} series."


def _listed(others: Counter) -> str:
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders; links are followed, but in no circle."""
    files: list[Path] = []
    seen: set[str] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        files.extend(Path(parent, name) for name in sorted(names))
        if len(files) > MAX_FILES:
            raise BadInput(
                f"{folder.name or folder} holds too many files to look through: "
                "choose the folder of the series."
            )
    return [file for file in files if file.is_file()]


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(132)
    except OSError:
        return b""


def _header(path: Path) -> pydicom.Dataset | None:
    """Return the header without the pixels; None when it is damaged."""
    import pydicom

    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS)
        )
        _series_uid(header)
    except Exception:  # over damaged files pydicom raises a dozen kinds, struct.error to KeyError
        return None
    return header if "SOPClassUID" in header or "Rows" in header else None


def _series_uid(header: pydicom.Dataset) -> str:
    return str(header.get("SeriesInstanceUID"))


def _is_directory_file(path: Path) -> bool:
    """Whether the file is the DICOMDIR of a disc, which stands for its folder."""
    import pydicom

    try:
        meta = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=[])
        return meta.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR
    except Exception:  # as in _header
        return False


def _group(files: Sequence[Path], modality: str) -> tuple[dict[str, _Series], int]:
    """Return the series by their UID, and the number of damaged files."""
    groups: dict[str, _Series] = defaultdict(_Series)
    damaged = 0
    for path in files:
        start = _first_bytes(path)
        has_preamble = start[128:] == b"DICM"
        if not has_preamble and start[:2] not in (b"\x08\x00", b"\x02\x00"):
            continue
        header = _header(path)
        if header is None:
            damaged += has_preamble and not _is_directory_file(path)
            continue
        series = groups[_series_uid(header)]
        try:
            number = header.get("SeriesNumber")
            series.number = "" if number is None else str(number)
            kind = _other_kind(header, modality)
            if kind is None:
                series.slices += _slices(path, header)
                series.acquired, series.patient = acquired_on(header), patient_hash(header)
                series.age, series.kernel = age_years(header), _kernel(header)
        except Exception:  # pydicom converts values when asked for them; see _header
            kind = "images without valid position and pixel size"
        if kind is not None:
            series.others[kind] += 1
    return dict(groups), damaged


def acquired_on(header: pydicom.Dataset) -> datetime.date | None:
    """Return the day of the scan, by the most precise of the dates that are valid."""
    days = (_day(header.get(name)) for name in (
        "AcquisitionDateTime", "AcquisitionDate", "SeriesDate", "StudyDate"))
    return next((day for day in days if day is not None), None)


def _day(value: object) -> datetime.date | None:
    text = str(value or "").replace(".", "")[:8]  # dots come from before DICOM 3
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def age_years(header: pydicom.Dataset) -> float | None:
    """Return the patient's age when scanned, by what the header says or by the date of birth."""
    text = str(header.get("PatientAge") or "").strip().upper()
    if text[:-1].isdigit() and text[-1] in _YEARS:
        return int(text[:-1]) * _YEARS[text[-1]]
    born, scanned = _day(header.get("PatientBirthDate")), acquired_on(header)
    if born is None or scanned is None or born > scanned:
        return None
    return (scanned - born).days / 365.25


def _kernel(header: pydicom.Dataset) -> str:
    """Return the name of the reconstruction kernel; empty when the header gives none."""
    groups = [header, *(shared.get("CTReconstructionSequence", [{}])[0]
                        for shared in header.get("SharedFunctionalGroupsSequence") or [])]
    values = next(filter(None, (group.get("ConvolutionKernel") for group in groups)), "")
    return values if isinstance(values, str) else str(values[0])  # others are its variants


def patient_hash(header: pydicom.Dataset) -> str | None:
    """Return the patient's number as a salted hash, None without a number."""
    number = str(header.get("PatientID") or "").strip()
    return hashlib.sha256(_SALT + number.encode()).hexdigest() if number else None


def _other_kind(header: pydicom.Dataset, modality: str) -> str | None:
    """Return what the object is, or None when it is a slice of the wanted modality."""
    if "Rows" not in header:
        return "reports and other objects without an image"
    if header.get("Modality") != modality:
        return f"{header.get('Modality') or 'unknown'} images"
    if int(header.get("SamplesPerPixel") or 1) > 1:
        return "colour pictures"
    if "LOCALIZER" in (header.get("ImageType") or []):
        return "scouts"
    return None


def _slices(path: Path, header: pydicom.Dataset) -> list[Slice]:
    if "PerFrameFunctionalGroupsSequence" not in header:
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise ValueError("frames without a position")
        return [_slice(path, None, header, header, header, header)]
    shared = header.SharedFunctionalGroupsSequence[0]

    def group(frame: pydicom.Dataset, name: str) -> pydicom.Dataset:
        found = frame.get(name) or shared.get(name)
        return found[0] if found else header

    return [
        _slice(
            path, number, header, group(frame, "PixelMeasuresSequence"),
            group(frame, "PixelValueTransformationSequence"),
            group(frame, "PlaneOrientationSequence"), group(frame, "PlanePositionSequence"),
        )
        for number, frame in enumerate(header.PerFrameFunctionalGroupsSequence)
    ]


def _slice(
    path: Path,
    frame: int | None,
    header: pydicom.Dataset,
    measures: pydicom.Dataset,
    values: pydicom.Dataset,
    orientation: pydicom.Dataset | None = None,
    position: pydicom.Dataset | None = None,
) -> Slice:
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    directions = np.array((orientation or header).ImageOrientationPatient, float).reshape(2, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    place = np.array((position or header).ImagePositionPatient, float).reshape(3)
    row_spacing, column_spacing = (float(value) for value in measures.PixelSpacing)
    size = (int(header.Rows), int(header.Columns))
    if (
        not np.all(np.isfinite([*place, *directions.ravel(), row_spacing, column_spacing]))
        or abs(directions[0] @ directions[1]) > _PARALLEL
        or min(row_spacing, column_spacing) <= 0
        or min(size) < 2
    ):
        raise ValueError("not a picture with a place")
    return Slice(
        path=path,
        frame=frame,
        position=place,
        orientation=directions,
        pixel_spacing=(row_spacing, column_spacing),
        size=size,
        thickness=float(measures.get("SliceThickness") or 0.0),
        rescale=None if slope is None or intercept is None else (float(slope), float(intercept)),
    )


# How the slices lie


def _volume(
    name: str, slices: list[Slice], modality: str, warnings: list[str]
) -> RawVolume:
    _check_alike(name, slices)
    rows, columns = slices[0].size
    if len(slices) * rows * columns > MAX_VOXELS:
        raise BadInput(f"{name} is larger than can be handled: export a part of it.")
    slices = _without_duplicates(name, sorted(slices, key=lambda s: s.place), warnings)
    if len(slices) < 2:
        raise BadInput(f"{name} has only one slice: choose a series with many slices.")
    places = np.array([s.place for s in slices])
    _check_in_line(name, slices, places)
    _check_complete(name, slices, places)

    pixels = _pixels(name, slices)
    components = pixels.GetNumberOfComponentsPerPixel()
    if pixels.GetSize() != (columns, rows, len(slices)) or components != 1:
        raise BadInput(f"{name} has pixels that do not fit its header: export it again.")
    image = _stacked(slices, pixels)
    regular = np.linspace(places[0], places[-1], len(places))
    spacing = (places[-1] - places[0]) / (len(places) - 1)
    out_of_place = float(np.abs(places - regular).max())
    if out_of_place > NEARLY_EVEN * spacing:
        new_spacing = _even_spacing(places)
        image = _even(image, places, new_spacing)
        warnings.append(
            f"{name} has unevenly spaced slices: it was resampled to one slice every "
            f"{new_spacing:.2f} mm."
        )
    elif out_of_place > max(EVEN * spacing, SAME_PLACE_MM):
        warnings.append(
            f"{name} has slightly uneven slices, out of place by up to {out_of_place:.2f} mm, "
            "which was ignored."
        )
    calibrated = all(s.rescale is not None for s in slices)
    return RawVolume(image, warnings, calibrated, modality)


def _check_alike(name: str, slices: Sequence[Slice]) -> None:
    first = slices[0]
    if any(s.size != first.size or s.pixel_spacing != first.pixel_spacing for s in slices):
        raise BadInput(
            f"{name} has slices of different sizes: export one reconstruction as a series of its "
            "own."
        )
    if any(np.abs(s.orientation - first.orientation).max() > _PARALLEL for s in slices):
        raise BadInput(
            f"{name} has slices that are not parallel to each other: "
            "export the axial slices as a series of their own."
        )


def _without_duplicates(name: str, slices: list[Slice], warnings: list[str]) -> list[Slice]:
    """Drop copies of slices; refuse different slices in one place.

    Nobody but the user can tell which of two phases or reconstructions is meant.
    """
    kept = slices[:1]
    for candidate in slices[1:]:
        if candidate.place - kept[-1].place >= SAME_PLACE_MM:
            kept.append(candidate)
        elif not _same_pixels(name, candidate, kept[-1]):
            raise BadInput(
                f"{name} has different slices in the same place ({candidate.place:.1f} mm), as "
                "when several phases share a series: export one phase as a series of its own."
            )
    if len(kept) < len(slices):
        warnings.append(
            f"{name} holds {len(slices) - len(kept)} slices twice; the copies were left out."
        )
    return kept


def _check_in_line(name: str, slices: Sequence[Slice], places: np.ndarray) -> None:
    first, last = slices[0].position, slices[-1].position
    along = (places - places[0]) / (places[-1] - places[0])
    expected = first + along[:, None] * (last - first)
    apart = np.linalg.norm([s.position for s in slices] - expected, axis=1)
    if apart.max() > _OUT_OF_LINE_MM:
        worst = int(apart.argmax())
        raise BadInput(
            f"{name} has slices shifted sideways against each other (near {places[worst]:.1f} mm): "
            "export one reconstruction as a series of its own."
        )


def _check_complete(name: str, slices: Sequence[Slice], places: np.ndarray) -> None:
    """Refuse a series where slices are missing.

    A wide gap alone does not tell: heads are scanned with thin slices below and thick ones
    above. There, several equally wide gaps follow each other, and the slices are thick enough
    to fill them.
    """
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    for index in np.flatnonzero(gaps > MISSING_GAP * usual):
        alike = np.abs(gaps - gaps[index]) < 0.1 * gaps[index]
        thickness = max(slices[index].thickness, slices[index + 1].thickness)
        if _run_length(alike, index) >= 3 and gaps[index] <= 1.1 * thickness:
            continue
        count = max(round(gaps[index] / usual) - 1, 1)
        raise BadInput(
            f"{name} lacks about {count} slice{'s' if count > 1 else ''} between "
            f"{places[index]:.1f} mm and {places[index + 1]:.1f} mm: export the whole series again."
        )


def _run_length(flags: np.ndarray, index: int) -> int:
    """Return how many true values stand in a row around ``index``."""
    false_before = np.flatnonzero(~flags[:index])
    false_after = np.flatnonzero(~flags[index:])
    begin = false_before[-1] + 1 if false_before.size else 0
    end = index + false_after[0] if false_after.size else len(flags)
    return int(end - begin)


def _stacked(slices: Sequence[Slice], image: sitk.Image) -> sitk.Image:
    """Give the pixels their place; with a tilted gantry the axes come out sheared."""
    row, column = slices[0].orientation
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    way = slices[-1].position - slices[0].position
    drift = np.linalg.norm(way - way.dot(normal) * normal)
    if drift < 0.5 * min(slices[0].pixel_spacing):  # rounded positions, no tilt
        way = way.dot(normal) * normal
    length = float(np.linalg.norm(way))
    row_spacing, column_spacing = slices[0].pixel_spacing
    image.SetSpacing((column_spacing, row_spacing, length / (len(slices) - 1)))
    image.SetOrigin(slices[0].position.tolist())
    image.SetDirection(np.column_stack([row, column, way / length]).ravel().tolist())
    return image


def _even_spacing(places: np.ndarray) -> float:
    """Return the spacing that keeps the detail of the finely sliced part of an uneven series.

    It is the smallest gap, leaving out exceptional ones as where two parts overlap.
    """
    gaps = np.diff(places)
    return float(gaps[gaps >= 0.5 * np.median(gaps)].min())


def _even(image: sitk.Image, places: np.ndarray, spacing: float) -> sitk.Image:
    """Return the volume with even slices, interpolated linearly between the two neighbours."""
    gaps = np.diff(places)
    count = int((places[-1] - places[0]) / spacing + 1e-6) + 1
    new_places = places[0] + spacing * np.arange(count)
    lower = np.clip(np.searchsorted(places, new_places, side="right") - 1, 0, len(gaps) - 1)
    weight = (new_places - places[lower]) / gaps[lower]

    planes = sitk.GetArrayViewFromImage(image)
    even = np.empty((count, *planes.shape[1:]), planes.dtype)
    for target, index, part in zip(even, lower, weight, strict=True):
        value = (1 - part) * planes[index] + part * planes[index + 1]
        target[...] = np.rint(value) if planes.dtype.kind in "iu" else value
    result = sitk.GetImageFromArray(even)
    result.SetOrigin(image.GetOrigin())
    result.SetDirection(image.GetDirection())
    *in_plane, step = image.GetSpacing()  # step is longer than the gap where slices are sheared
    mean_gap = (places[-1] - places[0]) / len(gaps)
    result.SetSpacing((*in_plane, step * spacing / mean_gap))
    return result


# Pixels


def _pixels(name: str, slices: Sequence[Slice]) -> sitk.Image:
    """Return the rescaled pixels of the slices, in their order."""
    if any(s.frame is not None for s in slices):
        return _frames(name, slices)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    with plain_paths([s.path for s in slices]) as paths, quiet():
        reader.SetFileNames(paths)
        try:
            return reader.Execute()
        except RuntimeError as error:
            raise _unreadable(name, slices) from error


def _frames(name: str, slices: Sequence[Slice]) -> sitk.Image:
    """Return the frames of multi-frame files in the order of their positions."""
    if len({s.rescale for s in slices}) > 1:
        raise BadInput(
            f"{name} has frames with different rescale values, which cannot be read here: "
            "export it as single slices."
        )
    files: dict[Path, sitk.Image] = {}
    for one in slices:
        if one.path not in files:
            files[one.path] = _read_file(name, one)
    [*_, last] = files.values()
    in_order = [s.frame for s in slices] == list(range(last.GetDepth()))
    if len(files) == 1 and in_order:
        return last
    planes = {path: sitk.GetArrayViewFromImage(image) for path, image in files.items()}
    return sitk.GetImageFromArray(np.stack([planes[s.path][s.frame or 0] for s in slices]))


def _same_pixels(name: str, first: Slice, second: Slice) -> bool:
    images = [_read_file(name, one) for one in (first, second)]
    frames = [one.frame or 0 for one in (first, second)]
    return np.array_equal(
        *(sitk.GetArrayViewFromImage(image)[k] for image, k in zip(images, frames, strict=True))
    )


def _read_file(name: str, one: Slice) -> sitk.Image:
    with plain_paths([one.path]) as [path], quiet():
        try:
            return sitk.ReadImage(path, imageIO="GDCMImageIO")
        except RuntimeError as error:
            raise _unreadable(name, [one]) from error


def _unreadable(name: str, slices: Sequence[Slice]) -> BadInput:
    """Find the file that cannot be read, to say which it is and how it is compressed."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for one in slices:
        with plain_paths([one.path]) as [path], quiet():
            reader.SetFileName(path)
            try:
                reader.Execute()
            except RuntimeError:
                return BadInput(
                    f"{name} has a slice that cannot be read, {one.path.name} "
                    f"({_transfer_syntax(one.path)}): copy it again, or export the series "
                    "without compression."
                )
    return BadInput(f"{name} cannot be put together: export the series again.")


def _transfer_syntax(path: Path) -> str:
    import pydicom

    meta = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=[]).file_meta
    return str(getattr(meta.get("TransferSyntaxUID"), "name", "unknown compression"))
