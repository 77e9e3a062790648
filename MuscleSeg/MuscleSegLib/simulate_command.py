# SPDX-License-Identifier: Apache-2.0
"""A cohort of simulated patients in files: to try everything before one's own data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .cohort import SimulatedPatient, read_anatomies, simulate_patient
from .structures import labels_of

DATALIST, PATIENTS = "datalist.json", "patients"
WARNING = "These patients are simulated: what is measured on them says nothing about real ones."


@dataclass(frozen=True)
class Options:
    """What is simulated.

    Attributes:
        anatomies: see :func:`.cohort.read_anatomies`.
        patients: how many.
        spacing: voxel size in mm, (z, y, x).
        validation: how many of them, the last ones, are the validation part of the list.
    """

    anatomies: Path | None = None
    patients: int = 20
    spacing: tuple[float, float, float] = (3.0, 2.0, 2.0)
    validation: int = 0


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Simulate patients and write CTs, segmentations and the list of them.

    The patients take turns with the anatomies; number and seed alone decide what one is like.

    Args:
        job: gets ``datalist.json`` and the folder ``patients``.
        options: what is simulated.
        say: shows a person a line.

    Raises:
        BadInput: there is nothing to make patients from, or none is left to train on.
    """
    if options.validation >= options.patients:
        raise BadInput("Nobody is left to train on: simulate more patients than the validation "
                       "part has (--patients, --validation).")
    job.progress.stage("read", 1, "Reading the anatomies")
    anatomies = list(read_anatomies(options.anatomies).items())
    job.progress.stage("simulate", options.patients, "Simulating the patients")
    (job.folder / PATIENTS).mkdir()
    entries = []
    for number in range(options.patients):
        name, anatomy = anatomies[number % len(anatomies)]
        patient = simulate_patient(anatomy, options.spacing, (job.seed, number))
        entries.append(_written(job.folder, f"{number + 1:03d}", patient)
                       | {"patient": f"simulated {number + 1:03d}", "made_from": name})
        job.progress.advance(number + 1)
    learned = options.patients - options.validation
    listed = {"simulated": True, "training": entries[:learned]}
    if options.validation:
        listed["validation"] = entries[learned:]
    (job.folder / DATALIST).write_text(json.dumps(listed, indent=1), "utf-8")
    job.warn(WARNING)
    job.record(files={"data": DATALIST}, patients=options.patients, simulated=True,
               anatomies=[name for name, _ in anatomies], spacing_mm=list(options.spacing))
    say(f"{options.patients} simulated patients, listed in {DATALIST}")


def _written(folder: Path, name: str, patient: SimulatedPatient) -> dict[str, str]:
    """Write a patient; the entry of the list that names the files."""
    image, segmentation = f"{PATIENTS}/{name}.nrrd", f"{PATIENTS}/{name}.seg.nrrd"
    sitk.WriteImage(patient.image, str(folder / image), useCompression=True)
    write_seg_nrrd(folder / segmentation, patient.labels, [
        SegmentDescription(label.value, label.name, label.display_name, label.structure.color,
                           label.terminology) for label in labels_of(False)])
    return {"image": image, "segmentation": segmentation}
