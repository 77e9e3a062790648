# SPDX-License-Identifier: Apache-2.0
"""What a folder of DICOM files holds, by patient, study and series; headers are read once.

Of each image little more than its path is kept, so that a department's archive fits into memory.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ReadingRoomLib.deidentification import MR_IMAGES, age_of, seconds_of, sex_of
from ReadingRoomLib.dicom_series import acquired_on
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.volume_files import file_format, quiet

from .sequences import TAGS, Series, series_of

if TYPE_CHECKING:
    import datetime

    import pydicom

PERSON = ("PatientID", "PatientName", "PatientBirthDate", "InstitutionName")
_MORE_TAGS = (*PERSON, "StudyInstanceUID", "SOPInstanceUID", "StudyDate", "SeriesDate",
              "AcquisitionDate", "StudyTime", "ContentTime", "PatientAge", "PatientSex",
              "BurnedInAnnotation", "ConversionType", "SamplesPerPixel", "EncapsulatedDocument",
              "InstanceNumber")
_TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")
_LIGHT = ("EchoTime", "NumberOfFrames", "InstanceNumber")
NO_PATIENT = "images without a patient number"
TWICE = "images that were there twice"
DAMAGED = "damaged files"


@dataclass
class ImageSeries:
    """Files of one series.

    Attributes:
        header: of the first file.
        files: paths, in no order.
        light: of each file its InstanceNumber and what :func:`.sequences.series_of` needs of it.
        instances: SOPInstanceUIDs, to find what is there twice.
    """

    header: pydicom.Dataset = field(repr=False)
    files: list[str] = field(default_factory=list, repr=False)
    light: list[dict] = field(default_factory=list, repr=False)
    instances: set[str] = field(default_factory=set, repr=False)

    def in_order(self) -> list[str]:
        """Its files by their numbers."""
        return [path for _, path in sorted(
            (int(light.get("InstanceNumber", 0)), path)
            for path, light in zip(self.files, self.light, strict=True))]

    def recognised(self) -> Series:
        """What it is, by its headers."""
        first, *others = zip(map(Path, self.files), self.light, strict=True)
        return series_of([(first[0], self.header), *others])


@dataclass
class Examination:
    """A study of one patient.

    Attributes:
        series: MR images, by SeriesInstanceUID.
        others: what was left aside, counted by kind.
        day: of the study, the earliest that its images tell.
        earliest, latest: of the times in it, seconds of the day.
        institution, age, sex: as the first image tells them.
    """

    uid: str = field(repr=False)
    series: dict[str, ImageSeries] = field(default_factory=dict, repr=False)
    others: Counter = field(default_factory=Counter)
    day: datetime.date | None = field(default=None, repr=False)
    earliest: float = 86_399.0
    latest: float = 0.0
    institution: str = field(default="", repr=False)
    age: str = ""
    sex: str = ""


@dataclass
class PatientFiles:
    """All of a patient.

    Attributes:
        identifier: PatientID.
        persons: pairs of name and date of birth in the headers, to find one under two numbers.
        studies: by StudyInstanceUID.
    """

    identifier: str = field(repr=False)
    persons: set[tuple[str, str]] = field(default_factory=set, repr=False)
    studies: dict[str, Examination] = field(default_factory=dict, repr=False)


@dataclass
class Archive:
    """All of a folder.

    Attributes:
        patients: by PatientID.
        others: files that belong to no patient, counted by kind.
    """

    patients: dict[str, PatientFiles] = field(default_factory=dict, repr=False)
    others: Counter = field(default_factory=Counter)

    def shared_studies(self) -> set[str]:
        """StudyInstanceUIDs that stand under more than one patient number."""
        count = Counter(uid for one in self.patients.values() for uid in one.studies)
        return {uid for uid, number in count.items() if number > 1}

    def same_persons(self) -> dict[str, set[str]]:
        """By PatientID, other numbers with the same name and date of birth."""
        owners: dict[tuple[str, str], set[str]] = {}
        for one in self.patients.values():
            for person in one.persons:
                owners.setdefault(person, set()).add(one.identifier)
        same: dict[str, set[str]] = {}
        for identifiers in owners.values():
            for identifier in identifiers:
                same.setdefault(identifier, set()).update(identifiers - {identifier})
        return {identifier: others for identifier, others in same.items() if others}


def read_archive(folder: Path, on_file: Callable[[int], None] = lambda done: None) -> Archive:
    """Look through a folder and its subfolders.

    Args:
        folder: with any number of files; what is no DICOM is passed over.
        on_file: called with how many files were looked at.

    Raises:
        BadInput: there is no DICOM image of a patient.
    """
    archive = Archive()
    with quiet():
        for number, path in enumerate(_files(folder), 1):
            _add(archive, path)
            on_file(number)
    if not archive.patients:
        raise BadInput("The folder holds no DICOM images with a patient number: choose the folder "
                       "that the studies were exported to (--dicom).")
    return archive


def _files(folder: Path) -> Iterator[str]:
    """All files below; links are followed, but in no circle."""
    seen: set[str] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        yield from (path for name in sorted(names)
                    if os.path.isfile(path := os.path.join(parent, name)))


def _add(archive: Archive, path: str) -> None:
    import pydicom
    from pydicom.uid import MediaStorageDirectoryStorage

    try:
        if file_format(Path(path)) != "DICOM":
            return
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True,
                                 specific_tags=[*TAGS, *_MORE_TAGS])
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return  # the directory of a disc
        if not header.get("SOPClassUID"):
            archive.others[DAMAGED] += 1
            return
        identifier = plain_text(header.get("PatientID"))
        study_uid, series_uid, instance = (
            str(header.get(name) or "")
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        if not (study_uid and series_uid and instance):
            archive.others[DAMAGED] += 1
            return
        if not identifier:
            archive.others[NO_PATIENT] += 1
            return
        patient = archive.patients.setdefault(identifier, PatientFiles(identifier))
        study = patient.studies.setdefault(study_uid, Examination(study_uid))
        _note(patient, study, header)
        kind = left_aside(header)
        series = study.series.get(series_uid)
        if kind is None and series is not None and instance in series.instances:
            kind = TWICE
        if kind is not None:
            study.others[kind] += 1
            return
        if series is None:
            series = study.series[series_uid] = ImageSeries(_shortened(header))
        series.files.append(path)
        series.instances.add(instance)
        series.light.append({name: header.get(name) for name in _LIGHT
                             if header.get(name) not in (None, "")})
    except Exception:  # over damaged files pydicom raises a dozen kinds
        archive.others[DAMAGED] += 1


def _note(patient: PatientFiles, study: Examination, header: pydicom.Dataset) -> None:
    """What an image, of whatever kind, tells of its patient and its study."""
    name = plain_text(header.get("PatientName")).replace("^", " ").replace("=", " ").casefold()
    born = plain_text(header.get("PatientBirthDate"))
    if name and born:
        patient.persons.add((" ".join(name.split()), born))
    day = acquired_on(header)
    if day is not None:
        study.day = min(study.day or day, day)
    times = [seconds for each in _TIMES
             if (seconds := seconds_of(str(header.get(each) or ""))) is not None]
    study.earliest, study.latest = min([study.earliest, *times]), max([study.latest, *times])
    study.institution = study.institution or plain_text(header.get("InstitutionName"))
    study.age, study.sex = study.age or age_of(header), study.sex or sex_of(header)


def left_aside(header: pydicom.Dataset) -> str | None:
    """What an object is when it does not come into question; None for an image of MR."""
    sop_class = str(header.get("SOPClassUID"))
    if "EncapsulatedDocument" in header or sop_class.startswith("1.2.840.10008.5.1.4.1.1.104."):
        return "documents"
    if sop_class.startswith("1.2.840.10008.5.1.4.1.1.7") or header.get("ConversionType"):
        return "pictures of the screen"
    if "Rows" not in header:
        return "reports and other objects without an image"
    if header.get("Modality") != "MR" or sop_class not in MR_IMAGES:
        modality = str(header.get("Modality") or "")
        known = modality if modality in ("CT", "PT", "US", "CR", "DX", "XA", "NM", "SEG") else ""
        return f"{known} images" if known else "images of other kinds"
    if str(header.get("BurnedInAnnotation") or "").upper() == "YES":
        return "images with burnt-in text, as their headers say"
    if int(header.get("SamplesPerPixel") or 1) > 1:
        return "pictures in colour"
    image_type = [str(value).upper() for value in header.get("ImageType") or []]
    if "DERIVED" in image_type[:1]:
        return "images derived from others"
    return None


def _shortened(header: pydicom.Dataset) -> pydicom.Dataset:
    """Without what thousands of frames tell: the first is enough."""
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames:
        header.PerFrameFunctionalGroupsSequence = list(frames)[:1]
    for name in PERSON:
        if name in header:
            delattr(header, name)
    return header


def plain_text(value: object) -> str:
    """A text with full-width letters as plain ones, without blanks around it."""
    return unicodedata.normalize("NFKC", str(value or "")).strip(" \0\t\r\n")
