# SPDX-License-Identifier: Apache-2.0
"""A database of a department: DICOM studies and pathology in, images to learn from out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ReadingRoomLib.burnt_in_text import TextReader
from ReadingRoomLib.commands import Job
from ReadingRoomLib.deidentification import Deidentifier
from ReadingRoomLib.errors import BadInput, OutOfMemory, OutputFailed, typed_error
from ReadingRoomLib.results import whole_file
from ReadingRoomLib.volume_files import quiet

from .cohort_files import DATALIST, write_datalist
from .database_archive import Archive, read_archive
from .database_key import SECRET_FILE, check_place, open_key, write_key
from .database_pathology import Pathology, classes_of, read_pathology, rows_without_images
from .database_patient import (
    COPIES,
    IMAGES,
    THUMBNAIL,
    Entry,
    build_patient,
    entry_of,
    left_out,
    regions_in,
)
from .database_plan import Plan, plan_patients
from .database_quality import PAGE, TABLE, write_quality

ENTRY, FINGERPRINT, PATIENTS = "entry.json", "fingerprint", "patients"
FACES = ("The DICOM copies of heads show faces when they are rendered in 3D: give them to nobody "
         "who must not know the patients.")


@dataclass(frozen=True)
class Options:
    """What a database is made of.

    Attributes:
        dicom: folder with studies.
        pathology: table, CSV.
        work: folder for what is done, so that a database that was cut off goes on.
        key: file for the key; None for none.
        classes: as typed, see :func:`.database_pathology.classes_of`.
        roi: folder with regions, named by PatientID.
        site: of all patients of whom the table gives none.
        age_and_sex: whether they are kept.
        copies: whether DICOM copies are kept, and not only the images to learn from.
    """

    dicom: Path
    pathology: Path
    work: Path
    key: Path | None = None
    classes: tuple[str, ...] = ()
    roi: Path | None = None
    site: str = ""
    age_and_sex: bool = False
    copies: bool = True


def run(job: Job, output: Path, options: Options) -> None:
    """Make a database in the job's folder.

    Raises:
        BadInput: folder or table cannot be used, or no patient is left.
        OutputFailed: something cannot be written.
    """
    with _silent():
        _run(job, output, options)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Let pydicom tell nothing of values that it finds odd: they may be names."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with quiet():
            yield
    finally:
        logger.disabled = before


def _run(job: Job, output: Path, options: Options) -> None:
    _check_folders(output, options)
    classes, names = classes_of(options.classes)
    pathology = read_pathology(options.pathology, names)
    reader = TextReader()  # that it is missing is said before hours have gone
    archive = _read_archive(job, options.dicom)
    _open_work(options.work)
    key = open_key(options.key, options.work)
    matched, zeros = pathology.matched(archive.patients)
    plans = plan_patients(archive, pathology, matched, key, options.site)
    if options.key:
        write_key(options.key, key)
    _warn(job, archive, pathology, matched, zeros)
    deidentifier = Deidentifier(key.secret, options.age_and_sex)
    _keep_what_fits(options.work, _fingerprint(archive, plans, options, job.seed, deidentifier))
    regions = regions_in(options.roi) if options.roi else {}
    job.progress.stage("patients", len(plans), "Copying without the patient")
    entries = []
    for number, plan in enumerate(plans, 1):
        entries.append(_one(plan, options.work, deidentifier, reader,
                            regions.get(plan.identifier), job.seed))
        job.progress.advance(number)
    _assemble(job, entries, options, classes)


def _check_folders(output: Path, options: Options) -> None:
    for folder, option in ((options.dicom, "--dicom"), (options.roi, "--roi")):
        if folder is not None and not folder.is_dir():
            raise BadInput(f"The folder that was named cannot be found: check it ({option}).")
    inside = options.dicom.resolve()
    if any(place.resolve().is_relative_to(inside) for place in (output, options.work)):
        raise BadInput("The output must not lie among the images: choose another folder "
                       "(--output).")
    if options.key:
        check_place(options.key, (output, options.work, options.dicom))


def _read_archive(job: Job, folder: Path) -> Archive:
    job.progress.stage("headers", sum(len(files) for *_, files in os.walk(folder)),
                       "Reading headers")
    return read_archive(folder, job.progress.advance)


def _open_work(work: Path) -> None:
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    work.chmod(0o700)
    if any(one.name not in (SECRET_FILE, FINGERPRINT, PATIENTS)
           and not one.name.startswith("unfinished-") for one in work.iterdir()):
        raise OutputFailed("The working folder holds other files: choose another one (--work).")


def _warn(job: Job, archive: Archive, pathology: Pathology, matched: dict[str, str],
          zeros: bool) -> None:
    for warning in (*pathology.warnings, rows_without_images(pathology, matched.values())):
        if warning:
            job.warn(warning)
    if zeros:
        job.warn("Some numbers in the table lack leading zeros, as Excel takes them away; they "
                 "were matched without them.")
    for kind, count in sorted(archive.others.items()):
        job.warn(f"Not looked at: {kind} ({count}).")
    if archive.same_persons():
        job.warn("Some patients may be the same person under two numbers; the quality list says "
                 "which. Remove one of them, or a split by patient leaks.")


def _fingerprint(archive: Archive, plans: Sequence[Plan], options: Options, seed: int,
                 deidentifier: Deidentifier) -> str:
    """What a finished patient depends on, telling nothing of it."""
    files = sorted((path, os.stat(path).st_size, os.stat(path).st_mtime_ns)
                   for patient in archive.patients.values() for study in patient.studies.values()
                   for series in study.series.values() for path in series.files)
    regions = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns)
                     for file in options.roi.iterdir()) if options.roi else []
    known = (files, regions, seed, options.age_and_sex,
             [(plan.number, plan.identifier, plan.kind, plan.site, plan.left_out, plan.doubts)
              for plan in plans])
    return deidentifier.digest("fingerprint", repr(known)).hex()


def _keep_what_fits(work: Path, fingerprint: str) -> None:
    """Forget patients that were made of anything else."""
    file = work / FINGERPRINT
    if not file.exists() or file.read_text() != fingerprint:
        shutil.rmtree(work / PATIENTS, ignore_errors=True)
        with whole_file(file) as unfinished:
            unfinished.write_text(fingerprint)
    (work / PATIENTS).mkdir(exist_ok=True)


def _one(plan: Plan, work: Path, deidentifier: Deidentifier, reader: TextReader,
         roi: Path | None, seed: int) -> Entry:
    """A patient, now or in a run before."""
    if plan.left_out:
        return left_out(plan)
    folder = work / PATIENTS / plan.number
    if (folder / ENTRY).exists():
        return entry_of(json.loads((folder / ENTRY).read_text("utf-8")))
    unfinished = folder.with_name(f"unfinished-{plan.number}")
    for one in (folder, unfinished):
        shutil.rmtree(one, ignore_errors=True)
    unfinished.mkdir()
    try:
        entry = build_patient(plan, unfinished, deidentifier, reader, roi, seed)
    except Exception as error:  # one patient never stops the others
        failure = typed_error(error, [work])
        if isinstance(failure, OutputFailed | OutOfMemory):
            raise failure from error
        entry = left_out(plan)
        entry.left_out = failure.message
    if entry.left_out:  # nothing stays of who is not taken
        shutil.rmtree(unfinished)
        unfinished.mkdir()
    (unfinished / ENTRY).write_text(json.dumps(entry.written()), "utf-8")
    unfinished.rename(folder)
    return entry


def _assemble(job: Job, entries: Sequence[Entry], options: Options,
              classes: Sequence[str]) -> None:
    taken = [entry for entry in entries if not entry.left_out]
    if not taken:
        raise BadInput("No patient can be used: " + "; ".join(
            f"{reason} ({count})" for reason, count in
            Counter(entry.left_out.rstrip(".") for entry in entries).most_common(5)) + ".")
    job.progress.stage("write", len(taken), "Writing the database")
    (job.folder / PATIENTS).mkdir()
    thumbnails = {}
    for number, entry in enumerate(taken, 1):
        made = options.work / PATIENTS / entry.number
        _link(str(made / IMAGES), str(job.folder / PATIENTS / f"{entry.number}.npz"))
        if options.copies:
            shutil.copytree(made / COPIES, job.folder / COPIES / entry.number,
                            copy_function=_link)
        thumbnails[entry.number] = made / THUMBNAIL
        job.progress.advance(number)
    write_datalist(job.folder / DATALIST, [
        {"image": f"{PATIENTS}/{entry.number}.npz", "label": entry.kind, "patient": entry.number}
        | ({"site": entry.site} if entry.site else {}) for entry in taken])
    if options.copies:
        job.warn(FACES)
    write_quality(job.folder, entries, thumbnails, job.warnings)
    count = Counter(entry.kind for entry in taken)
    job.record(
        files={"datalist": DATALIST, "quality": TABLE, "page": PAGE, "images": PATIENTS}
        | ({"copies": COPIES} if options.copies else {}),
        patients={"taken": len(taken), "left_out": len(entries) - len(taken),
                  "kinds": {kind: count[kind] for kind in classes},
                  "sites": dict(sorted(Counter(entry.site for entry in taken
                                               if entry.site).items()))})


def _link(source: str, target: str) -> None:
    """A second name for a file where the disk allows it, otherwise a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
