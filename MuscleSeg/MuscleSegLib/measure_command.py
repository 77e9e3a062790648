# SPDX-License-Identifier: Apache-2.0
"""What a clinician wants to know of each muscle, from a CT and its segmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import obliqueness_degrees
from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import file_sha256
from ReadingRoomLib.volume_files import file_format

from . import asymmetry_plot, meshes
from .muscle_composition import (
    AXIAL_DEGREES,
    FAT_HU,
    LOW_HU,
    NORMAL_HU,
    MuscleMeasurement,
    measure_muscles,
    write_muscles,
)
from .named_labels import labels_on
from .structures import labels_of

TABLE, PICTURE, MESHES = "muscles.csv", "asymmetry.png", "meshes"
SEGMENTATION, REPORT = "segmentation.dcm", "measurements.dcm"


@dataclass(frozen=True)
class Options:
    """What is to be measured.

    Attributes:
        ct: image file, or folder of a DICOM series.
        segmentation: ``labels.nrrd`` or ``segmentation.seg.nrrd`` of a result of ``segment``, or
            any file whose labels carry the names of our structures.
    """

    ct: Path
    segmentation: Path


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Measure every structure of a segmentation and write all into the job's folder.

    Args:
        job: gets ``muscles.csv``, ``asymmetry.png``, ``meshes`` and, of a DICOM series,
            ``segmentation.dcm`` and ``measurements.dcm``.
        options: what is to be measured.
        say: shows a person a line.

    Raises:
        BadInput: the CT or the segmentation cannot be used, or the two do not fit.
    """
    job.progress.stage("read", 2, "Reading the CT and the segmentation")
    ct = read_image(options.ct, "CT")
    for sentence in ct.warnings:
        job.warn(sentence)
    job.progress.advance(1)
    labels = labels_on(ct, options.segmentation, job.warn)
    job.record(inputs=[{"name": ct.name, "sha256": ct.sha256},
                       {"name": options.segmentation.name,
                        "sha256": file_sha256(options.segmentation)}])
    job.progress.advance(2)

    job.progress.stage("measure", 1, "Measuring")
    found = measure_muscles(ct.image, labels)
    _warn_about(job, ct.image, found)
    write_muscles(job.folder / TABLE, found)
    job.record(
        files={"muscles": TABLE}, structures=[vars(one) for one in found],
        hounsfield_ranges={"fat": FAT_HU, "low_attenuation": LOW_HU,
                           "normal_attenuation": NORMAL_HU})
    job.progress.advance(1)
    _draw(job, found)
    _write_dicom(job, options.ct, labels, found)
    _write_meshes(job, labels, found)
    say(_sentence(found))


def _warn_about(job: Job, ct: sitk.Image, found: list[MuscleMeasurement]) -> None:
    parts = sum(bool(one.cut_off) for one in found)
    if parts:
        job.warn(f"{parts} of {len(found)} structures reach an end of the scan: their volumes, "
                 "areas and asymmetries do not compare.")
    tilt = obliqueness_degrees(ct)
    if tilt > AXIAL_DEGREES:
        job.warn(f"The slices are tilted by {tilt:.0f} degrees: cross-sections were taken from the "
                 "straightened segmentation.")


def _draw(job: Job, found: list[MuscleMeasurement]) -> None:
    try:
        asymmetry_plot.check_drawing()
    except ModuleNotFoundError as error:
        job.warn(f"There is no picture of the sides: the Python package {error.name} is not "
                 "installed.")
        return
    asymmetry_plot.draw_asymmetry(found, job.folder / PICTURE)
    job.record(files={"asymmetry": PICTURE})


def _write_dicom(job: Job, ct: Path, labels: sitk.Image, found: list[MuscleMeasurement]) -> None:
    """Write the DICOM objects of a DICOM series; without one, or with a poor one, say so."""
    if not ct.is_dir() and file_format(ct) != "DICOM":
        job.warn(f"{ct.name} is not DICOM, so no DICOM objects were written.")
        return
    from ReadingRoomLib.dicom_findings import read_series

    from .dicom_measurements import write_dicom

    job.progress.stage("dicom", 1, "Writing DICOM")
    try:
        write_dicom(labels, found, read_series(ct), job.folder / SEGMENTATION, job.folder / REPORT)
    except BadInput as error:
        job.warn(f"No DICOM objects were written. {error.message}")
        return
    job.record(files={"segmentation": SEGMENTATION, "report": REPORT})
    job.progress.advance(1)


def _write_meshes(job: Job, labels: sitk.Image, found: list[MuscleMeasurement]) -> None:
    try:
        meshes.check_meshing()
    except ModuleNotFoundError:
        job.warn("There are no meshes: the Python package scikit-image is not installed.")
        return
    there = {(one.structure, one.side) for one in found}
    names = {item.value: item.name for item in labels_of(True)
             if (item.structure.name, item.side or "") in there}
    job.progress.stage("meshes", len(names), "Making surfaces")
    files = meshes.write_meshes(job.folder / MESHES, labels, names, job.progress.advance)
    job.record(files={"meshes": MESHES},
               surfaces={"coordinates": meshes.COORDINATES, "unit": meshes.UNIT, "files": files})


def _sentence(found: list[MuscleMeasurement]) -> str:
    pairs = {one.structure: one for one in found if one.volume_asymmetry_percent is not None}
    if not pairs:
        return f"{len(found)} structures measured."
    worst = max(pairs.values(), key=lambda one: one.volume_asymmetry_percent)
    return (f"{len(found)} structures measured; the sides differ most in volume at "
            f"{worst.structure} ({worst.volume_asymmetry_percent:.0f} %).")
