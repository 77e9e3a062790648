# SPDX-License-Identifier: Apache-2.0
"""Findings as DICOM: where they are (Segmentation), and what was measured (Structured Report).

The report follows the template for measurement reports (TID 1500, DICOM PS3.16) with one group for
each finding, which refers to its segment. Patient, study and frame of reference are those of the
series in which the findings lie.

The same findings give the same objects, but for the time and the unique identifiers: DICOM wants
new ones for each object that is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK as sitk
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from . import __version__
from .dicom_series import Slice, find_slices
from .errors import BadInput
from .volume_files import file_format, plain_paths, quiet

MANUFACTURER = "ReadingRoom"
DESCRIPTION = "Findings (research software, not a medical device)"  # shown in lists of series
LABEL_CHARACTERS = 64  # of a segment's label, DICOM's Long String
UTF_8 = "ISO_IR 192"  # the CT may have a narrower set, without the letters of a bone's name

# Must be in every image (DICOM type 2), empty where unknown; programs that take out names leave
# them out altogether.
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
                 "StudyID", "StudyDate", "StudyTime")
_MUST_BE_THERE = {
    "StudyInstanceUID": "study", "SeriesInstanceUID": "series", "SOPInstanceUID": "image",
    "SOPClassUID": "kind of image", "FrameOfReferenceUID": "frame of reference",
}


@dataclass(frozen=True)
class Quantity:
    """One number about a finding.

    Attributes:
        name, unit: coded.
        derivation: how one number came of many voxels, such as their mean.
        method: how it was measured.
    """

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None
    method: Code | None = None


@dataclass(frozen=True)
class Finding:
    """What was found in one place.

    Attributes:
        value: its number in the label image.
        name: for people; also the tracking identifier.
        quantities: what was measured.
        evaluations: pairs of a coded question and its coded answer.
        site, side: the part of the body.
        category, kind: what it is; by default a lesion, from DICOM's context groups 7150 and 7151.
        color: red, green, blue, 0 to 255.
    """

    value: int
    name: str
    quantities: Sequence[Quantity]
    evaluations: Sequence[tuple[Code, Code]] = ()
    site: Code | None = None
    side: Code | None = None
    category: Code = codes.SCT.MorphologicallyAbnormalStructure
    kind: Code = codes.SCT.Lesion
    color: tuple[int, int, int] = (255, 0, 0)


@dataclass(frozen=True)
class Algorithm:
    """What found it.

    Attributes:
        name, version: of the program.
        family: coded, from DICOM's context group 7162.
        parameters: by name.
    """

    name: str
    version: str
    family: Code
    parameters: dict[str, str]


@dataclass(frozen=True)
class SourceSeries:
    """The DICOM series in which findings lie.

    Attributes:
        name: for messages.
        slices: by their place.
    """

    name: str
    slices: list[Slice]

    @property
    def is_multiframe(self) -> bool:
        return self.slices[0].frame is not None

    def header(self, one: Slice) -> pydicom.Dataset:
        """Return the header of the file that holds a slice, fit to be referred to.

        Raises:
            BadInput: it lacks what no image may lack.
        """
        header = pydicom.dcmread(one.path, stop_before_pixels=True, force=True)
        for keyword, meaning in _MUST_BE_THERE.items():
            if not header.get(keyword):
                raise BadInput(
                    f"{self.name} does not say which {meaning} it is ({keyword}), so nothing can "
                    "refer to it: export the series again.")
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, None)
        return header


def read_series(path: Path, modality: str = "CT") -> SourceSeries:
    """Find the slices of a DICOM series.

    Args:
        path: folder with the series, or one of its files.
        modality: as DICOM names it.

    Raises:
        BadInput: there is no such series, or not exactly one.
    """
    if not path.exists():
        raise BadInput(f"{path.name} cannot be found: check its name.")
    if path.is_file() and file_format(path) != "DICOM":
        raise BadInput(
            f"{path.name} is not DICOM, so findings cannot be filed with it: choose the DICOM "
            "series that it was made from.")
    source = SourceSeries(*find_slices(path, modality))
    if source.is_multiframe:
        frames = source.header(source.slices[0]).NumberOfFrames
        if frames != len(source.slices):  # several files, or frames twice in a place
            raise BadInput(
                f"{source.name} is not one multi-frame file with each frame in a place of its own, "
                "so findings cannot refer to it: export it as single slices.")
    return source


def write_findings(labels: sitk.Image, findings: Sequence[Finding], source: SourceSeries,
                   algorithm: Algorithm, segmentation: Path, report: Path) -> None:
    """Write findings as DICOM.

    Args:
        labels: numbers of the findings, 0 elsewhere, on any grid over the source.
        findings: one segment and one group of measurements for each.
        source: its slices become those of the segmentation.
        algorithm: what found them.
        segmentation, report: the files to write.

    Raises:
        BadInput: a finding does not lie in the source, or the source lacks what DICOM wants.
    """
    with quiet():
        slices, numbers = _on_slices(labels, findings, source)
        headers = [source.header(one) for one in _files(slices, source)]
        tracking = [hd.UID() for _ in findings]
        segments = _segmentation(numbers, findings, tracking, headers, algorithm)
        sheet = _report(segments, findings, tracking, headers, algorithm)
        for dataset, path in ((segments, segmentation), (sheet, report)):
            with plain_paths([path.parent]):
                dataset.save_as(path)


def _files(slices: Sequence[Slice], source: SourceSeries) -> Sequence[Slice]:
    return slices[:1] if source.is_multiframe else slices


# Where the findings lie


def _on_slices(labels: sitk.Image, findings: Sequence[Finding],
               source: SourceSeries) -> tuple[list[Slice], np.ndarray]:
    """Return slices, and on their pixels the number of the segment, from 1, in their order.

    Of single slices only those with a finding; a multi-frame file has to be covered as a whole.
    Every slice looks for its own pixels in the patient: labels may lie in another order or
    direction than the files, and between slices that are uneven or tilted.
    """
    segments = _segment_numbers(labels, findings)
    slices, planes = [], []
    for one in sorted(source.slices, key=lambda one: one.frame or 0):
        plane = _on_slice(segments, one)
        if source.is_multiframe or plane.any():
            slices.append(one)
            planes.append(plane)
    found = set(np.unique(planes)) if planes else set()
    for number, finding in enumerate(findings, 1):
        if number not in found:
            raise BadInput(
                f"{finding.name} does not lie in {source.name}: choose the series in which it was "
                "found.")
    return slices, np.stack(planes)


def _segment_numbers(labels: sitk.Image, findings: Sequence[Finding]) -> sitk.Image:
    """Return the box around the findings, each with the number of its segment."""
    array = sitk.GetArrayViewFromImage(labels)
    numbers = np.zeros(int(array.max()) + 1, np.uint8 if len(findings) < 256 else np.uint16)
    for number, finding in enumerate(findings, 1):
        if finding.value >= len(numbers) or not (array == finding.value).any():
            raise BadInput(f"{finding.name} has no place in the image of labels: "
                           "run the computation again.")
        numbers[finding.value] = number
    segments = numbers[array]
    box = []
    for axis in range(3):
        inside = np.flatnonzero(segments.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    image = sitk.GetImageFromArray(segments[tuple(box)])
    corner = [side.start for side in box[::-1]]
    image.SetOrigin(labels.TransformIndexToPhysicalPoint(corner))
    image.SetSpacing(labels.GetSpacing())
    image.SetDirection(labels.GetDirection())
    return image


def _on_slice(segments: sitk.Image, one: Slice) -> np.ndarray:
    """Return what lies on the pixels of a slice, rows x columns."""
    rows, columns = one.size
    row_spacing, column_spacing = one.pixel_spacing
    axes = np.column_stack([*one.orientation, np.cross(*one.orientation)])
    plane = sitk.Resample(
        segments, [columns, rows, 1], sitk.Transform(), sitk.sitkNearestNeighbor,
        one.position.tolist(), [column_spacing, row_spacing, 1.0], axes.ravel().tolist(), 0)
    return sitk.GetArrayFromImage(plane)[0]


# The two objects


def _segmentation(numbers: np.ndarray, findings: Sequence[Finding], tracking: Sequence[str],
                  headers: Sequence[pydicom.Dataset],
                  algorithm: Algorithm) -> hd.seg.Segmentation:
    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm.name, family=algorithm.family, version=algorithm.version,
        source=MANUFACTURER, parameters=algorithm.parameters)
    return hd.seg.Segmentation(
        source_images=headers,
        pixel_array=numbers,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=finding.name[:LABEL_CHARACTERS],
                segmented_property_category=finding.category,
                segmented_property_type=finding.kind,
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=identification,
                tracking_uid=uid,
                tracking_id=finding.name,
                anatomic_regions=[finding.site] if finding.site else None,
                display_color=hd.color.CIELabColor.from_rgb(*finding.color),
            ) for number, (finding, uid) in enumerate(zip(findings, tracking, strict=True), 1)
        ],
        series_instance_uid=hd.UID(),
        series_number=series_number(headers[0], 1),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=__version__,
        device_serial_number=__version__,  # must not be empty; programs have no other
        content_label="FINDINGS",
        series_description=DESCRIPTION,
        specific_character_set=UTF_8,
    )


def _report(segmentation: hd.seg.Segmentation, findings: Sequence[Finding],
            tracking: Sequence[str], headers: Sequence[pydicom.Dataset],
            algorithm: Algorithm) -> hd.sr.ComprehensiveSR:
    device = device_observer(algorithm.name, algorithm.version)
    groups = [
        _group(finding, uid, algorithm, hd.sr.ReferencedSegment(
            segmentation.SOPClassUID, segmentation.SOPInstanceUID, number,
            source_series=hd.sr.SourceSeriesForSegmentation(headers[0].SeriesInstanceUID)))
        for number, (finding, uid) in enumerate(zip(findings, tracking, strict=True), 1)
    ]
    return hd.sr.ComprehensiveSR(
        evidence=[*headers, segmentation],
        content=hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=codes.SCT.ComputedTomography,
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        ),
        series_instance_uid=hd.UID(),
        series_number=series_number(headers[0], 2),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,  # and not verified: that is for the physician who signs it
        series_description=DESCRIPTION,
        specific_character_set=UTF_8,
    )


def _group(finding: Finding, tracking: str, algorithm: Algorithm,
           segment: hd.sr.ReferencedSegment
           ) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(tracking, finding.name),
        referenced_segment=segment,
        finding_category=finding.category,
        finding_type=finding.kind,
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=algorithm.name, version=algorithm.version, family=algorithm.family,
            manufacturer=MANUFACTURER,
            parameters=[f"{name}: {value}" for name, value in algorithm.parameters.items()]),
        finding_sites=[hd.sr.FindingSite(_concept(finding.site), _concept(finding.side))]
        if finding.site else None,
        measurements=[
            hd.sr.Measurement(
                name=quantity.name, value=quantity.value, unit=quantity.unit,
                derivation=quantity.derivation, method=quantity.method)
            for quantity in finding.quantities
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(question, answer)
            for question, answer in finding.evaluations
        ],
    )


def _concept(code: Code | None) -> CodedConcept | None:
    """Return a code as an item of a dataset; more than 16 characters need a field of their own."""
    return None if code is None else CodedConcept.from_code(code)


def device_observer(name: str, version: str) -> hd.sr.ObserverContext:
    """Say in a report that a program observed, not a person."""
    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[name, version]),
            name=name, manufacturer_name=MANUFACTURER, model_name=name,
        ))


def series_number(header: pydicom.Dataset, offset: int) -> int:
    """Return a number that lists the new series near the source and apart from it."""
    return 100 * int(header.get("SeriesNumber") or 0) + offset
