# SPDX-License-Identifier: Apache-2.0
"""A judgement as DICOM: a Structured Report, and the contact sheet as Secondary Capture.

Both belong to the patient and the study of the CT, each in a series of its own. The report is
complete, preliminary and not verified: verifying is for the physician who signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ReadingRoomLib import __version__
from ReadingRoomLib.bone_codes import PRIVATE_SCHEME
from ReadingRoomLib.dicom_findings import (
    MANUFACTURER,
    UTF_8,
    SourceSeries,
    device_observer,
    series_number,
)
from ReadingRoomLib.results import DISCLAIMER
from ReadingRoomLib.volume_files import quiet

REPORT, SHEET = "report.dcm", "contact_sheet.dcm"
DEVICE = "ReadingRoom HeadCTTriage"
DESCRIPTION = "Head CT triage (research, not a medical device)"  # shown in lists of series
CONTAINS = RelationshipTypeValues.CONTAINS


def _code(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


TITLE = _code("HEADTRIAGE", "Head CT triage")
DECISION, TAG = _code("DECISION", "Decision"), _code("TAG", "Triage tag")
URGENT = _code("URGENT", "Probability of being urgent")
LOW = _code("URGENTLOW", "Probability of being urgent, low end of interval")
HIGH = _code("URGENTHIGH", "Probability of being urgent, high end of interval")
SHIFT, IMAGES = _code("SHIFT", "Midline shift to the left"), _code("IMAGES", "Images judged")
INDEX = _code("EVANSINDEX", "Evans index of the ventricles")
DOUBT, PROMISE = _code("DOUBT", "Doubt"), _code("PROMISE", "What the threshold promises")
RATIO = Code("{ratio}", "UCUM", "ratio")
MODEL_HASH, NOTICE = _code("MODELSHA256", "SHA-256 of the model"), _code("NOTICE", "Notice")


def write_reports(manifest: Mapping[str, Any], picture: np.ndarray, source: SourceSeries,
                  folder: Path) -> None:
    """Write both objects.

    Args:
        manifest: entries of the result: the judgement as written, and ``model``.
        picture: contact sheet, (rows, columns, 3), uint8.
        source: what was judged.
        folder: gets :data:`REPORT` and :data:`SHEET`.

    Raises:
        BadInput: the source lacks what DICOM wants of it.
    """
    with quiet():
        files = source.slices[:1] if source.is_multiframe else source.slices
        headers = [source.header(one) for one in files]
        sheet = _sheet(picture, headers)
        sheet.save_as(folder / SHEET)
        _report(manifest, headers, sheet).save_as(folder / REPORT)


def _sheet(picture: np.ndarray, headers: Sequence[pydicom.Dataset]) -> hd.sc.SCImage:
    sheet = hd.sc.SCImage.from_ref_dataset(
        headers[0], np.ascontiguousarray(picture), "RGB", 8, "PATIENT",
        series_instance_uid=hd.UID(), series_number=series_number(headers[0], 3),
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer=MANUFACTURER,
        patient_orientation=("L", "P"), manufacturer_model_name=DEVICE,
        software_versions=__version__, device_serial_number=__version__,
        series_description=DESCRIPTION, specific_character_set=UTF_8,
        transfer_syntax_uid=pydicom.uid.ExplicitVRLittleEndian)
    sheet.BurnedInAnnotation = "NO"  # nothing that tells whose it is
    sheet.SourceImageSequence = [_reference(header) for header in headers]
    return sheet


def _reference(header: pydicom.Dataset) -> pydicom.Dataset:
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return reference


def _report(manifest: Mapping[str, Any], headers: Sequence[pydicom.Dataset],
            sheet: pydicom.Dataset) -> hd.sr.ComprehensiveSR:
    root = ContainerContentItem(name=TITLE, relationship_type=None)
    root.ContentSequence = hd.sr.ContentSequence(
        [*_context(), *_content(manifest, len(headers), sheet)])
    return hd.sr.ComprehensiveSR(
        evidence=[*headers, sheet], content=root, series_instance_uid=hd.UID(),
        series_number=series_number(headers[0], 4), sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer=MANUFACTURER, is_complete=True, is_final=False,
        series_description=DESCRIPTION, specific_character_set=UTF_8)


def _context() -> list[pydicom.Dataset]:
    language = CodeContentItem(
        codes.DCM.LanguageOfContentItemAndDescendants, Code("en", "RFC5646", "English"),
        RelationshipTypeValues.HAS_CONCEPT_MOD)
    observation = hd.sr.ObservationContext(
        observer_device_context=device_observer(DEVICE, __version__))
    return [language, *observation]


def _content(manifest: Mapping[str, Any], images: int,
             sheet: pydicom.Dataset) -> list[pydicom.Dataset]:
    model, reasons = manifest["model"], manifest["reasons"]
    low, high = manifest["interval"]
    items = [
        _text(NOTICE, DISCLAIMER),
        _text(DECISION, manifest["decision"]),
        _text(TAG, manifest["triage"]),
        *(_percent(name, value) for name, value in (
            (URGENT, manifest["urgent_probability"]), (LOW, low), (HIGH, high))),
        *(_text(DOUBT, doubt) for doubt in manifest["doubts"]),
        *(_text(codes.DCM.Finding, f"{region['name']}, about {region['volume_ml']:.1f} mL, "
                                   f"contact sheet {region['best_slice']}")
          for region in reasons["regions"]),
    ]
    if reasons["midline_shift_mm"] is not None:
        items.append(_number(SHIFT, reasons["midline_shift_mm"], codes.UCUM.Millimeter))
    if reasons["ventricle_index"] is not None:
        items.append(_number(INDEX, reasons["ventricle_index"], RATIO))
    learned = " Learned from simulated heads." if model["simulated"] else ""
    return [
        *items,
        _text(PROMISE, manifest["promise"]),
        _text(codes.DCM.AlgorithmName, f"{model['name']} ({model['recipe']}).{learned}"),
        _text(codes.DCM.AlgorithmVersion, model["version"]),
        _text(MODEL_HASH, model["sha256"]),
        _number(IMAGES, images, codes.UCUM.NoUnits),
        ImageContentItem(_code("SHEET", "Contact sheet"), sheet.SOPClassUID,
                         sheet.SOPInstanceUID, relationship_type=CONTAINS),
    ]


def _text(name: Code, value: str) -> TextContentItem:
    return TextContentItem(name, value, CONTAINS)


def _percent(name: Code, share: float) -> NumContentItem:
    return _number(name, round(100 * share, 2), Code("%", "UCUM", "percent"))


def _number(name: Code, value: float, unit: Code) -> NumContentItem:
    return NumContentItem(name, value, unit, relationship_type=CONTAINS)
