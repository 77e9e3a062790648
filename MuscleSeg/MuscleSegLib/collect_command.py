# SPDX-License-Identifier: Apache-2.0
"""Folders of scans and segmentations in, a list that ``train`` and ``evaluate`` take out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import resample_like
from ReadingRoomLib.images import ImageInput
from ReadingRoomLib.phantoms.region_map import IGNORED
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .case_folders import matching, scans_in, segmentations_in, within_cases
from .contrasts import read_any
from .label_names import UNKNOWN, Meaning, NameTable, read_names
from .named_labels import check_place, own_labels
from .segmentation_sources import read_source, stem_of
from .structures import labels_of

LIST, TABLE, CONVERTED = "datalist.json", "collected.csv", "segmentations"
GREY = (128, 128, 128)


@dataclass(frozen=True)
class Options:
    """What is to be collected.

    Attributes:
        images: folder with scans: files, folders of DICOM series, or a folder for each case.
        segmentations: folder with their segmentations under the same names; None: each lies in
            the folder of its case.
        names: table of label names, see :func:`.label_names.read_names`.
        patients: CSV with the columns ``image`` and ``patient``, or None: DICOM tells whose scans
            they are, and of other files each is of a patient of its own.
        simulated: whether the scans are simulated.
    """

    images: Path
    segmentations: Path | None = None
    names: str | None = None
    patients: Path | None = None
    simulated: bool = False


@dataclass
class Row:
    """What became of a scan or of a segmentation; a line of the table."""

    case: str
    image: str = ""
    segmentation: str = ""
    patient: str = ""
    structures: int = 0
    used: bool = False
    remark: str = ""


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Match, check and list scans with their segmentations.

    Args:
        job: gets ``datalist.json``, ``collected.csv`` and segmentations that had to be converted.
        options: what is to be collected.
        say: shows a person a line.

    Raises:
        BadInput: a folder or table cannot be used, or nothing fits together.
    """
    table = read_names(options.names)
    given = _read_patients(options.patients)
    job.progress.stage("find", 1, "Looking for scans and segmentations")
    images = scans_in(options.images)
    found = (segmentations_in(options.segmentations) if options.segmentations
             else within_cases(options.images))
    job.progress.stage("read", len(images), "Reading and checking")
    rows, entries, owners, used = [], [], {}, set()
    for done, (case, image) in enumerate(images.items(), 1):
        row = Row(case, image.name)
        rows.append(row)
        segmentation = matching(case, found)
        if segmentation is None:
            row.remark = "no segmentation of this name"
        else:
            used.add(segmentation)
            row.segmentation = segmentation.name
            try:
                entries.append(_entry(job, row, image, segmentation, table, given, owners))
            except BadInput as error:
                row.remark = error.message
        job.progress.advance(done)
    rows += [Row(stem, segmentation=path.name, remark="no scan of this name")
             for stem, path in found.items() if path not in used]
    if not entries:
        reason = next((row.remark for row in rows), "there is none")
        raise BadInput(f"No scan in {options.images.name} could be taken with a segmentation; of "
                       f"{rows[0].case if rows else 'the first'}: {reason}")
    _write(job, rows, entries, options.simulated)
    left_out = sum(not row.used for row in rows)
    if left_out:
        job.warn(f"{left_out} scans or segmentations were left out; {TABLE} says why.")
    patients = len({entry["patient"] for entry in entries})
    job.record(scans=len(entries), patients=patients, left_out=left_out,
               simulated=options.simulated)
    say(f"{len(entries)} scans of {patients} patients with segmentations, {left_out} left out.")


# ---------------------------------------------------------------------------------------- checking


def _read_patients(path: Path | None) -> dict[str, str]:
    """Patients by case, from a table."""
    if path is None:
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {stem_of(Path(row["image"].strip())): row["patient"].strip() for row in rows}
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: check its name (--patients).") from error
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise BadInput(f"{path.name} does not say whose scans they are: it must be a CSV with the "
                       "columns image and patient (--patients).") from error


def _entry(job: Job, row: Row, image: Path, segmentation: Path, table: NameTable,
           given: dict[str, str], owners: dict[str, str]) -> dict[str, str]:
    """The entry of the list; what cannot be read as it is gets converted."""
    remarks: list[str] = []
    source, is_ct = read_any(image, "random")
    if not is_ct:
        remarks.append("It is no CT: train on it with --intensities random.")
    remarks += source.warnings
    named, readable = read_source(segmentation, table)
    own, meaning = own_labels(named, table, segmentation.name, remarks.append)
    check_place(own, resample_like(own, source.image), source, segmentation.name, remarks.append)
    row.structures = len({structure.value for structure, _ in meaning.known.values()})
    row.patient = _patient_of(row.case, source, given, owners)
    place = str(segmentation.resolve())
    if not readable or table.is_own:
        place = f"{CONVERTED}/{row.case}.seg.nrrd"
        _convert(job.folder / place, own, meaning)
    row.used, row.remark = True, " ".join(remarks)
    return {"image": str(image.resolve()), "segmentation": place, "patient": row.patient}


def _patient_of(case: str, source: ImageInput, given: dict[str, str],
                owners: dict[str, str]) -> str:
    """Whose scan it is: as the table says, by DICOM's patient number, or one of its own.

    DICOM's number itself is not written: patients are numbered as they come.
    """
    if given:
        if not given.get(case):
            raise BadInput(f"The table of patients does not name {case}: add it (--patients).")
        return given[case]
    if source.patient is None:
        return case
    return owners.setdefault(source.patient, f"patient-{len(owners) + 1}")


def _convert(path: Path, own: sitk.Image, meaning: Meaning) -> None:
    sides = any(side for _, side in meaning.known.values())
    there = {(structure.value, side) for structure, side in meaning.known.values()}
    segments = [SegmentDescription(item.value, item.name, item.display_name, item.structure.color,
                                   item.terminology)
                for item in labels_of(sides) if (item.structure.value, item.side or "") in there]
    if meaning.unknown:
        segments.append(SegmentDescription(IGNORED, UNKNOWN, UNKNOWN, GREY))
    path.parent.mkdir(exist_ok=True)
    write_seg_nrrd(path, own, segments)


# ----------------------------------------------------------------------------------------- writing


def _write(job: Job, rows: Sequence[Row], entries: Sequence[dict[str, str]],
           simulated: bool) -> None:
    content = {"training": list(entries)} | ({"simulated": True} if simulated else {})
    (job.folder / LIST).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n",
                                   "utf-8")
    with (job.folder / TABLE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(vars(rows[0])))
        writer.writeheader()
        writer.writerows(vars(row) | {"used": "yes" if row.used else "no"} for row in rows)
    files = {"list": LIST, "table": TABLE}
    if (job.folder / CONVERTED).exists():
        files["segmentations"] = CONVERTED
    job.record(files=files)
