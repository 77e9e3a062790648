# SPDX-License-Identifier: Apache-2.0
"""Structures and what was measured in them as DICOM Segmentation and Structured Report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
import SimpleITK as sitk
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode

from ReadingRoomLib import __version__
from ReadingRoomLib.bone_codes import PRIVATE_SCHEME
from ReadingRoomLib.dicom_findings import (
    Algorithm,
    Finding,
    Quantity,
    SourceSeries,
    write_findings,
)

from .muscle_composition import FAT_HU, LOW_HU, NORMAL_HU, MuscleMeasurement
from .structures import SIDE_CODES, Code, LabelledStructure, labels_of

ALGORITHM = "ReadingRoom MuscleSeg"
MILLILITRE = DicomCode("mL", "UCUM", "milliliter")

# What neither SNOMED CT nor DICOM has; at most 16 characters each.
FAT_FRACTION = DicomCode("FATFRACTION", PRIVATE_SCHEME, "Share of voxels with the density of fat")
LOW_FRACTION = DicomCode("LOWATTENUATION", PRIVATE_SCHEME,
                         "Share of low attenuation in the muscle")
AXIAL_AREA = DicomCode("AXIALAREA", PRIVATE_SCHEME, "Axial cross-sectional area")
VOLUME_ASYMMETRY = DicomCode("VOLASYMMETRY", PRIVATE_SCHEME, "Difference of volume between sides")
HU_ASYMMETRY = DicomCode("HUASYMMETRY", PRIVATE_SCHEME, "Difference of density between sides")
INSIDE = DicomCode("INSIDE", PRIVATE_SCHEME, "Without the outermost voxel of each slice")
COMPLETENESS = DicomCode("COMPLETENESS", PRIVATE_SCHEME, "Part of the structure in the scan")
CUT_OFF = DicomCode("CUTOFF", PRIVATE_SCHEME, "Cut off by the end of the scan, not comparable")

_LABELS = {(item.structure.name, item.side or ""): item for item in labels_of(True)}
_QUANTITIES = (
    # field, name, unit, derivation, method, factor
    ("volume_ml", codes.SCT.Volume, MILLILITRE, None, None, 1),
    ("mean_hu", codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit, codes.SCT.Mean, None,
     1),
    ("sd_hu", codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit,
     codes.SCT.StandardDeviation, None, 1),
    ("fat_fraction", FAT_FRACTION, codes.UCUM.Percent, None, None, 100),
    ("fat_fraction_inside", FAT_FRACTION, codes.UCUM.Percent, None, INSIDE, 100),
    ("low_attenuation_fraction", LOW_FRACTION, codes.UCUM.Percent, None, None, 100),
    ("low_attenuation_fraction_inside", LOW_FRACTION, codes.UCUM.Percent, None, INSIDE, 100),
    ("max_area_cm2", AXIAL_AREA, codes.UCUM.SquareCentimeter, codes.SCT.Maximum, None, 1),
    ("volume_asymmetry_percent", VOLUME_ASYMMETRY, codes.UCUM.Percent, None, None, 1),
    ("hu_asymmetry_percent", HU_ASYMMETRY, codes.UCUM.Percent, None, None, 1),
    ("hu_difference", HU_ASYMMETRY, codes.UCUM.HounsfieldUnit, None, None, 1),
)


def write_dicom(labels: sitk.Image, found: Sequence[MuscleMeasurement], source: SourceSeries,
                segmentation: Path, report: Path) -> None:
    """Write one segment, and one group of measurements that refers to it, for each structure.

    Args:
        labels: uint8, values of ``labels_of(True)``.
        found: what was measured in them.
        source: the CT's series, whose study they are filed with.
        segmentation, report: the files to write.

    Raises:
        BadInput: the series lacks what DICOM wants of one that others refer to.
    """
    ranges = {"fat": FAT_HU, "low attenuation": LOW_HU, "normal attenuation": NORMAL_HU}
    algorithm = Algorithm(
        ALGORITHM, __version__, codes.DCM.ArtificialIntelligence,
        {name: f"{low} to {high} HU" for name, (low, high) in ranges.items()})
    items = [_LABELS[one.structure, one.side] for one in found]
    findings = [_finding(item, one) for item, one in zip(items, found, strict=True)]
    write_findings(labels, findings, source, algorithm, segmentation, report)
    _add_sides(segmentation, items)


def _finding(item: LabelledStructure, one: MuscleMeasurement) -> Finding:
    code = _code(item.structure.code)
    quantities = [
        Quantity(name, round(getattr(one, field) * factor, 3), unit, derivation, method)
        for field, name, unit, derivation, method, factor in _QUANTITIES
        if getattr(one, field) is not None
    ]
    return Finding(
        value=item.value, name=item.display_name, quantities=quantities,
        evaluations=[(COMPLETENESS, CUT_OFF)] if one.cut_off else [],
        site=code, side=_code(SIDE_CODES[item.side]) if item.side else None,
        category=_code(item.structure.category), kind=code, color=item.structure.color)


def _code(code: Code) -> DicomCode:
    return DicomCode(code.value, code.scheme, code.meaning)


def _add_sides(path: Path, items: Sequence[LabelledStructure]) -> None:
    """Say the side of each segment in code, as a modifier of its type, where Slicer reads it.

    highdicom writes modifiers in reports only.
    """
    dataset = pydicom.dcmread(path)
    for segment, item in zip(dataset.SegmentSequence, items, strict=True):
        if item.side:
            kind = segment.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = [
                CodedConcept.from_code(_code(SIDE_CODES[item.side]))]
    dataset.save_as(path)
