# SPDX-License-Identifier: Apache-2.0
"""One patient of a database: copied without name, looked through for text, cut out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.burnt_in_text import TextReader
from ReadingRoomLib.deidentification import (
    Deidentifier,
    Pseudonym,
    cleaned_description,
    identifying_words,
)
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image
from ReadingRoomLib.volume_files import quiet

from .answer_page import whole_slice
from .cohort_files import save_patient_images
from .database_archive import ImageSeries, plain_text
from .database_plan import Plan
from .regions import Region, check_region, proposed_region, read_region, slices_in_order
from .sequences import NAMES, SEQUENCES, recognise
from .study import Study, make_study

if TYPE_CHECKING:
    import pydicom

COPIES, IMAGES, THUMBNAIL = "dicom", "patient.npz", "thumbnail.png"
MAY_BE_MISSING = ("t1", "t2")  # one of them
IN_ORDER = ("t1c", "t1", "t2")  # what cannot be missing comes first
ROI_ENDINGS = (".seg.nrrd", ".mrk.json", ".nii.gz", ".nrrd", ".nii", ".mha", ".mhd", ".json")
_DESCRIPTIONS = {"t1": "T1", "t2": "T2", "t1c": "T1 +C"}
_PLANES = {"AX", "AXIAL", "TRA", "COR", "CORONAL", "SAG", "SAGITTAL", "3D"}
_THUMBNAIL_PIXELS = 200


@dataclass
class Entry:
    """A patient in the quality list.

    Attributes:
        number, kind, site: under which the patient leaves.
        sequences: of each that was found, how sure that is.
        region: "given", "proposed", or empty.
        slices, side_mm: of the region.
        left_out: why the patient is; empty for who is in the list to learn from.
        doubts: sentences.
        age, sex: where they are kept.
    """

    number: str
    kind: str
    site: str
    sequences: dict[str, str] = field(default_factory=dict)
    region: str = ""
    slices: int = 0
    side_mm: float = 0.0
    left_out: str = ""
    doubts: list[str] = field(default_factory=list)
    age: str = ""
    sex: str = ""

    def written(self) -> dict:
        """For a file; :class:`Entry` takes it as arguments."""
        return asdict(self)


def regions_in(folder: Path) -> dict[str, Path]:
    """Files with regions, by the PatientID that they are named by."""
    found = {}
    for file in sorted(folder.iterdir()):
        ending = next((one for one in ROI_ENDINGS if file.name.lower().endswith(one)), None)
        if ending and file.is_file():
            found.setdefault(plain_text(file.name[:-len(ending)]), file)
    return found


def build_patient(plan: Plan, folder: Path, deidentifier: Deidentifier, reader: TextReader,
                  roi: Path | None, seed: int) -> Entry:
    """Write the copies, the images to learn from and a small picture of a patient.

    Args:
        plan: of a patient that is not left out.
        folder: empty; gets :data:`COPIES`, :data:`IMAGES` and :data:`THUMBNAIL`.
        reader: of burnt-in text.
        roi: the region that somebody drew.

    Returns:
        How it went. A patient who turns out not to be usable is left out, with the reason.
    """
    entry = Entry(plan.number, plan.kind, plan.site, doubts=list(plan.doubts))
    if deidentifier.age_and_sex:
        entry.age, entry.sex = plan.study.age, plan.study.sex
    entry.doubts += [f"Not copied: {kind} ({count})."
                     for kind, count in sorted(plan.study.others.items())]
    try:
        _build(plan, entry, folder, deidentifier, reader, roi, seed)
    except BadInput as error:
        entry.left_out = error.message
    return entry


def _build(plan: Plan, entry: Entry, folder: Path, deidentifier: Deidentifier,
           reader: TextReader, roi: Path | None, seed: int) -> None:
    pseudonym = deidentifier.pseudonym(plan.identifier, plan.number, plan.study.earliest,
                                       plan.study.latest)
    images: dict[str, sitk.Image] = {}
    for name in IN_ORDER:
        image = _sequence(name, plan, entry, folder / COPIES / name, deidentifier, reader,
                          pseudonym)
        if image is not None:
            images[name] = image
        elif name not in MAY_BE_MISSING:
            break
    if "t1c" not in images:
        raise BadInput("Contrast-enhanced T1 is missing.")
    missing = [name for name in SEQUENCES if name not in images]
    if len(missing) > 1:
        raise BadInput(f"{' and '.join(NAMES[name] for name in missing)} are missing.")
    entry.doubts += [f"{NAMES[name]} is missing." for name in missing]
    study = make_study(images, MAY_BE_MISSING, seed=seed)
    entry.doubts += study.warnings
    region = _region(study, roi, entry, folder)
    entry.doubts += check_region(study, region)
    entry.slices, entry.side_mm = len(region.slices), round(region.side_mm, 1)
    _save_thumbnail(study, region, folder / THUMBNAIL)
    save_patient_images(folder / IMAGES, study, region)


def _sequence(name: str, plan: Plan, entry: Entry, folder: Path, deidentifier: Deidentifier,
              reader: TextReader, pseudonym: Pseudonym) -> sitk.Image | None:
    """The best series that can be used, copied; None where there is none."""
    for series, certainty in plan.candidates.get(name, ()):
        try:
            entry.doubts += _copy_series(name, series, folder, deidentifier, reader, pseudonym)
            found = read_image(folder, "MR")
        except BadInput as error:
            shutil.rmtree(folder, ignore_errors=True)
            entry.doubts.append(f"A series that could be {NAMES[name]} was left out: "
                                f"{error.message}")
            continue
        entry.sequences[name] = certainty
        if certainty != "sure":
            entry.doubts.append(f"It is not sure that a series is {NAMES[name]} ({certainty}).")
        entry.doubts += found.warnings
        return found.image
    return None


def _copy_series(name: str, series: ImageSeries, folder: Path, deidentifier: Deidentifier,
                 reader: TextReader, pseudonym: Pseudonym) -> list[str]:
    """Copy a series without the patient; sentences on what was taken off.

    Raises:
        BadInput: an image cannot be copied, or there is text in one.
    """
    folder.mkdir(parents=True)
    overlays = 0
    for number, path in enumerate(series.in_order(), 1):
        source = _read(path)
        overlays += any(0x6000 <= tag.group <= 0x60FF for tag in source.keys())
        cleaned = deidentifier.deidentified(source, pseudonym, _description(name, source))
        cleaned.save_as(folder / f"{number:05}.dcm", enforce_file_format=True)
        frames = cleaned.pixel_array.reshape(-1, cleaned.Rows, cleaned.Columns)
        if any(map(reader.has_text, frames)):
            raise BadInput("There is text in its pixels.")
    return [f"Overlays were taken off {NAMES[name]}."] if overlays else []


def _read(path: str) -> pydicom.Dataset:
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        with quiet():
            image = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in image.file_meta:  # from before there were file headers
            implicit, _ = image.original_encoding
            image.file_meta.TransferSyntaxUID = (ImplicitVRLittleEndian if implicit
                                                 else ExplicitVRLittleEndian)
        return image
    except Exception:  # over damaged files pydicom raises a dozen kinds
        raise BadInput("It has a file that is damaged.") from None


def _description(name: str, source: pydicom.Dataset) -> str:
    """What is left of a description, with words that tell what was recognised."""
    try:
        text = str(source.get("SeriesDescription") or "")
    except Exception:  # over damaged values pydicom raises a dozen kinds
        text = ""
    left = cleaned_description(text, identifying_words(source))
    if recognise({"SeriesDescription": left}).sequence == name:
        return left
    return " ".join([_DESCRIPTIONS[name], *(word for word in left.split() if word in _PLANES)])


def _region(study: Study, roi: Path | None, entry: Entry, folder: Path) -> Region:
    if roi is None:
        region, reason = proposed_region(study)
        entry.region = "proposed"
        entry.doubts.append(f"The region was proposed and not drawn: {reason}")
        return region
    ending = next(one for one in ROI_ENDINGS if roi.name.lower().endswith(one))
    # under a name that tells nobody, because messages repeat names
    named = folder / f"region{ending}"
    if ending == ".mhd":  # names another file
        raise BadInput("The region of interest is a .mhd file, which names another one: save it as "
                       ".mha or .nrrd.")
    shutil.copyfile(roi, named)
    try:
        entry.region = "given"
        return read_region(study, named)
    finally:
        named.unlink()


def _save_thumbnail(study: Study, region: Region, path: Path) -> None:
    """The middle slice in all sequences with the square."""
    from PIL import Image

    in_order = slices_in_order(study.reference, region)
    panels = whole_slice(study, region, in_order[len(in_order) // 2])
    side = _THUMBNAIL_PIXELS
    Image.fromarray(np.concatenate(panels, axis=1)).resize(
        (side * len(panels), side), Image.Resampling.BILINEAR).save(path)


def left_out(plan: Plan) -> Entry:
    """The entry of a patient of whom nothing is copied."""
    return Entry(plan.number, plan.kind, plan.site, left_out=plan.left_out,
                 doubts=[doubt for doubt in plan.doubts if doubt != plan.left_out])


def entry_of(written: Mapping) -> Entry:
    """What :meth:`Entry.written` gave."""
    return Entry(**written)
