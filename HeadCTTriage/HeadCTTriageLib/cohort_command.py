# SPDX-License-Identifier: Apache-2.0
"""An archive in, two lists out: what belongs into a study, and what does not and why."""

from __future__ import annotations

import csv
from pathlib import Path

import pydicom

from ReadingRoomLib.commands import Job
from ReadingRoomLib.dicom_series import acquired_on, files_below, patient_hash
from ReadingRoomLib.errors import BadInput

from .cohort import Examination, curate

TABLE = "cohort.csv"
TEXTS = ("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription",
         "PerformedProcedureStepDescription", "ReasonForStudy", "ReasonForTheRequestedProcedure")
TAGS = ("SOPClassUID", "Modality", "StudyInstanceUID", "PatientID", "AcquisitionDateTime",
        "AcquisitionDate", "SeriesDate", "StudyDate", *TEXTS)


def run(job: Job, archive: Path, repeat_days: int) -> None:
    """Part the CT examinations of a folder, and write the list into the job's folder.

    Args:
        job: gets the list and how many are in either part.
        archive: folder with DICOM files in any arrangement.
        repeat_days: a scan so soon after the patient's last one is a repeat.

    Raises:
        BadInput: there is no CT examination in the folder.
    """
    if not archive.is_dir():
        raise BadInput(f"{archive.name} is no folder: name the folder that holds the scans.")
    files = files_below(archive)
    job.progress.stage("read", len(files), "Reading headers")
    examinations = examinations_of(files, archive, job.progress.advance)
    if not examinations:
        raise BadInput(f"{archive.name} holds no CT in DICOM files: choose another folder.")
    kept, left_out = curate(examinations, repeat_days)
    with (job.folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["examination", "acquired", "in_study", "reason"])
        for one in kept:
            writer.writerow([one.name, one.acquired, "yes", ""])
        for out in left_out:
            writer.writerow([out.examination.name, out.examination.acquired or "", "no",
                             out.reason])
    job.record(files={"cohort": TABLE}, examinations=len(examinations), in_study=len(kept),
               left_out=len(left_out))


def examinations_of(files: list[Path], archive: Path, on_file=lambda done: None,
                    ) -> list[Examination]:
    """The CT examinations that files belong to, named by the folder of their first file."""
    found: dict[str, dict] = {}
    for number, path in enumerate(files, 1):
        on_file(number)
        header = _ct_header(path)
        if header is None:
            continue
        study = found.setdefault(str(header.get("StudyInstanceUID") or path.parent), {
            "name": path.parent.relative_to(archive).as_posix(),
            # without a number each is its own patient, or strangers would be each other's repeats
            "patient": patient_hash(header) or f"unknown {path.parent}",
            "acquired": acquired_on(header), "texts": []})
        study["texts"] += [text for name in TEXTS
                           if (text := str(header.get(name) or "").strip())
                           and text not in study["texts"]]
    return [Examination(study["name"], study["patient"], study["acquired"],
                        "; ".join(study["texts"])) for study in found.values()]


def _ct_header(path: Path) -> pydicom.Dataset | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        return header if header.get("Modality") == "CT" else None
    except Exception:  # over what is no DICOM or damaged pydicom raises a dozen kinds
        return None
