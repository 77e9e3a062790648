# SPDX-License-Identifier: Apache-2.0
"""Writes DICOM series with pydicom: a body in air, valid unless a defect is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
ORIGIN = (-40.0, -30.0, 100.0)
PIXEL_SPACING = (1.5, 2.0)  # between rows, between columns
SIZE = (24, 32)  # rows, columns
INTERCEPT = -1024


def body(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Slices (count x rows x columns, int16 HU) of fat, muscle and bone in air, all different.

    A marker of bone lies on the side of the first columns.
    """
    rows, columns = size
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:columns * 1j]
    radius = np.hypot(x, y)
    slices = np.full((count, rows, columns), -1000, np.int16)
    slices[:, radius < 0.9] = -100
    slices[:, radius < 0.7] = 50
    slices[:, (radius < 0.3) & (x < 0)] = 700
    slices += (np.arange(count, dtype=np.int16) % 40)[:, None, None]
    return slices


def write_series(
    folder: Path,
    slices: np.ndarray | None = None,
    *,
    count: int = 8,
    spacing: float = 3.0,
    places: Sequence[float] | None = None,
    thickness: float = 3.0,
    orientation: Sequence[Sequence[float]] = AXIAL,
    origin: Sequence[float] = ORIGIN,
    along: Sequence[float] | None = None,
    modality: str = "CT",
    number: int | None = 3,
    uid: str | None = None,
    prefix: str = "IM",
    edit: Callable[[Dataset, int], None] = lambda dataset, index: None,
) -> list[Path]:
    """Write one file per slice and return their paths, in the order of the slices.

    Parameters
    ----------
    slices
        count x rows x columns, Hounsfield units; :func:`body` when left out.
    places
        Way of each slice from the first, mm; even ``spacing`` when left out.
    along
        Direction in which slices are stacked; at right angles to them when left out.
    edit
        Called with each dataset and its index before it is written: makes the defects.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slices = body(count if places is None else len(places)) if slices is None else slices
    places = spacing * np.arange(len(slices)) if places is None else places
    step = np.cross(*orientation) if along is None else np.asarray(along)
    uid = uid or generate_uid()
    study, frame_of_reference = generate_uid(), generate_uid()
    paths = []
    for index, (pixels, place) in enumerate(zip(slices, places, strict=True)):
        storage = MRImageStorage if modality == "MR" else CTImageStorage
        dataset = _dataset(storage, modality, number, uid, frame_of_reference)
        dataset.StudyInstanceUID = study
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [round(v, 6) for v in np.asarray(origin) + place * step]
        dataset.ImageOrientationPatient = [float(v) for axis in orientation for v in axis]
        dataset.PixelSpacing = list(PIXEL_SPACING)
        dataset.SliceThickness = thickness
        if modality == "CT":
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, INTERCEPT
            dataset.RescaleType = "HU"
            set_pixels(dataset, (pixels - INTERCEPT).astype(np.uint16))
        else:
            set_pixels(dataset, pixels.astype(np.int16))
        edit(dataset, index)
        paths.append(folder / f"{prefix}{index:04}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(path: Path, slices: np.ndarray, places: Sequence[float]) -> Path:
    """Write one multi-frame file, its frames in the order given."""
    dataset = _dataset(EnhancedCTImageStorage, "CT", 5, generate_uid(), generate_uid())
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(slices)
    shared, measures, values, plane = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(PIXEL_SPACING), 3.0
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, INTERCEPT, "HU"
    plane.ImageOrientationPatient = [v for axis in AXIAL for v in axis]
    shared.PixelMeasuresSequence = DicomSequence([measures])
    shared.PixelValueTransformationSequence = DicomSequence([values])
    shared.PlaneOrientationSequence = DicomSequence([plane])
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for place in places:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + float(place)]
        frame.PlanePositionSequence = DicomSequence([position])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    set_pixels(dataset, (slices - INTERCEPT).astype(np.uint16))
    dataset.save_as(path, enforce_file_format=True)
    return path


def set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Store grey values (rows x columns, or frames x rows x columns) of 16 bits."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def set_colour(dataset: Dataset) -> None:
    """Make it a colour picture."""
    rows, columns = dataset.Rows, dataset.Columns
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(rows * columns * 3)


def write_report(path: Path) -> Path:
    """Write a dose report: a DICOM object without an image."""
    dataset = _dataset("1.2.840.10008.5.1.4.1.1.88.67", "SR", 99, generate_uid(), generate_uid())
    dataset.save_as(path, enforce_file_format=True)
    return path


def _dataset(
    storage: str, modality: str, number: int | None, series: str, frame_of_reference: str
) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
    dataset.PatientBirthDate, dataset.PatientSex = "19000101", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), series
    dataset.FrameOfReferenceUID = frame_of_reference
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20200101", "120000", "SECRET"
    dataset.SeriesDescription = "SECRET-DESCRIPTION"
    dataset.Manufacturer, dataset.StudyID = "Test", "1"
    dataset.Modality = modality
    if number is not None:
        dataset.SeriesNumber = number
    return dataset
