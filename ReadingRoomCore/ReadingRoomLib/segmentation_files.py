# SPDX-License-Identifier: Apache-2.0
"""Label maps that know what their labels mean: Slicer's ``.seg.nrrd``, and NIfTI with names.

Format of the former: Slicer developer guide, "Segmentation labelmap file format (.seg.nrrd)", and
what Slicer's vtkMRMLSegmentationStorageNode writes and reads. The file is written here and not by
a library: ITK does not tell why it could not write (disk full), and pynrrd writes ASCII only.
"""

from __future__ import annotations

import gzip
import html
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import BadInput
from .volume_files import file_format, plain_paths, quiet, read_volume_file

_COMPRESSION_LEVEL = 6
_TERMINOLOGY_TAG = "TerminologyEntry"
_NIFTI_HEADER_BYTES, _NIFTI_NAMES_BYTES = 348, 1 << 20
_NIFTI_LABEL = re.compile(
    rb'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))\s*</Label>', re.DOTALL)
_GREY = (128, 128, 128)


@dataclass(frozen=True)
class SegmentDescription:
    """What one label of a label map means.

    Attributes
    ----------
    value : int
        Label value, from 1.
    identifier : str
        Name for programs, unique in the file: ``femur_left``.
    name : str
        Name for people: ``Femur, left``.
    color : tuple of int
        Red, green, blue, each 0 to 255.
    terminology : str
        Slicer's terminology entry, ``context~category~type~modifier~...``; empty when unknown.
    """

    value: int
    identifier: str
    name: str
    color: tuple[int, int, int]
    terminology: str = ""


def write_seg_nrrd(
    path: str | os.PathLike, labels: sitk.Image, segments: Sequence[SegmentDescription]
) -> None:
    """Write a label map as a Slicer segmentation.

    Parameters
    ----------
    path : path
        Ends with ``.seg.nrrd``, by which Slicer knows that it is a segmentation.
    labels : SimpleITK.Image
        3D, integer, 0 where there is nothing.
    segments : sequence of SegmentDescription
        In the order in which Slicer lists them. A segment without voxels is listed, empty.

    Raises
    ------
    ValueError
        When values or identifiers repeat, or labels are not whole numbers from 0 to 65535.
    OSError
        When the file cannot be written.
    """
    _check_unique("values", [segment.value for segment in segments])
    _check_unique("identifiers", [segment.identifier for segment in segments])
    planes = sitk.GetArrayViewFromImage(labels)
    highest = max([int(planes.max()), *(segment.value for segment in segments)])
    if planes.dtype.kind not in "iu" or planes.min() < 0 or highest > 0xFFFF:
        raise ValueError("labels are whole numbers from 0 to 65535")
    voxel_type = np.dtype(np.uint8 if highest <= 0xFF else "<u2")
    fields = [*_grid_fields(labels, voxel_type), *_segment_fields(labels, segments)]
    header = "NRRD0004\n" + "\n".join(fields) + "\n\n"
    with open(path, "wb") as file:
        file.write(header.encode("utf-8"))
        with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, file, mtime=0) as voxels:
            for plane in planes:
                voxels.write(np.ascontiguousarray(plane, voxel_type))


def read_seg_nrrd(path: str | os.PathLike) -> tuple[sitk.Image, list[SegmentDescription]]:
    """Read a segmentation that Slicer or :func:`write_seg_nrrd` wrote.

    Returns
    -------
    labels : SimpleITK.Image
        3D; its grid is that of the file, which Slicer crops to the segments.
    segments : list of SegmentDescription

    Raises
    ------
    BadInput
        When the file cannot be read, describes no segments, or its segments overlap.
    """
    path = Path(path)
    if path.is_file() and file_format(path) == "NRRD" and _number_of_layers(path) > 1:
        raise BadInput(
            f"{path.name} has segments that overlap, which cannot be read here: "
            "export it from Slicer as a label map."
        )
    labels = read_volume_file(path).image
    try:
        segments = list(_described_segments(labels))
    except ValueError as error:
        raise BadInput(
            f"{path.name} describes a segment in a way that cannot be read: save it from Slicer's "
            "Segmentations module as .seg.nrrd."
        ) from error
    if not segments:
        raise BadInput(
            f"{path.name} does not say what its labels mean: save it from Slicer's Segmentations "
            "module as .seg.nrrd."
        )
    return labels, segments


def read_segmentation(path: str | os.PathLike) -> tuple[sitk.Image, list[SegmentDescription]]:
    """Read labels with their names from a file of either kind.

    Parameters
    ----------
    path : path
        ``.seg.nrrd``, or NIfTI with names in its header as TotalSegmentator (``--ml``) and
        Connectome Workbench write them.

    Returns
    -------
    labels : SimpleITK.Image
        3D, integer.
    segments : list of SegmentDescription

    Raises
    ------
    BadInput
        When the file cannot be read, or does not name its labels.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path.name} cannot be found: check its name.")
    if path.is_dir() or file_format(path) != "NIfTI":
        return read_seg_nrrd(path)
    labels = read_volume_file(path).image
    segments = [SegmentDescription(value, name, name, _GREY)
                for value, name in _nifti_names(path).items()]
    if not segments:
        raise BadInput(
            f"{path.name} does not say what its labels mean: save it from Slicer's Segmentations "
            "module as .seg.nrrd."
        )
    return sitk.Cast(labels, sitk.sitkUInt16), segments


def _nifti_names(path: Path) -> dict[int, str]:
    """Return the names by label value, from the table that extends the header."""
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with (gzip.open if compressed else open)(path, "rb") as file:
        file.seek(_NIFTI_HEADER_BYTES)
        extension = file.read(_NIFTI_NAMES_BYTES)
    found = {}
    for value, verbatim, escaped in _NIFTI_LABEL.findall(extension):
        name = (verbatim.decode("utf-8", "replace")
                or html.unescape(escaped.decode("utf-8", "replace"))).strip()
        if int(value) and name:
            found[int(value)] = name
    return found


def _check_unique(what: str, values: list) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"segments have {what} of their own")


def _grid_fields(labels: sitk.Image, voxel_type: np.dtype) -> list[str]:
    directions = np.reshape(labels.GetDirection(), (3, 3)) * labels.GetSpacing()
    vectors = " ".join(_vector(column) for column in directions.T)
    return [
        f"type: {'unsigned char' if voxel_type.itemsize == 1 else 'unsigned short'}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, labels.GetSize()))}",
        f"space directions: {vectors}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(labels.GetOrigin())}",
    ]


def _vector(values: Sequence[float]) -> str:
    return "(" + ",".join(f"{float(value) + 0.0:.17g}" for value in values) + ")"


def _segment_fields(
    labels: sitk.Image, segments: Sequence[SegmentDescription]
) -> Iterator[str]:
    # Slicer cuts a whole layer to the extent of its first segment, so all have the layer's own.
    extent = " ".join(f"0 {size - 1}" for size in labels.GetSize())
    for number, segment in enumerate(segments):
        tags = f"{_TERMINOLOGY_TAG}:{segment.terminology}|" if segment.terminology else ""
        values = {
            "Color": " ".join(f"{part / 255:.6g}" for part in segment.color),
            "ColorAutoGenerated": "0",
            "Extent": extent,
            "ID": segment.identifier,
            "LabelValue": str(segment.value),
            "Layer": "0",
            "Name": segment.name,
            "NameAutoGenerated": "0",
            "Tags": tags,
        }
        for key, value in values.items():
            yield f"Segment{number}_{key}:={' '.join(value.split())}"
    yield "Segmentation_ContainedRepresentationNames:=Binary labelmap|"
    yield "Segmentation_ConversionParameters:="
    yield "Segmentation_MasterRepresentation:=Binary labelmap"
    yield "Segmentation_ReferenceImageExtentOffset:=0 0 0"


def _number_of_layers(path: Path) -> int:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")
    with plain_paths([path]) as [plain_path], quiet():
        reader.SetFileName(plain_path)
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            return 1  # read_volume_file says what is wrong with it
    return reader.GetNumberOfComponents()


def _described_segments(labels: sitk.Image) -> Iterator[SegmentDescription]:
    number = 0
    while labels.HasMetaDataKey(f"Segment{number}_ID"):
        fields = {
            key: labels.GetMetaData(f"Segment{number}_{key}")
            for key in ("ID", "Name", "LabelValue", "Color", "Tags")
            if labels.HasMetaDataKey(f"Segment{number}_{key}")
        }
        tags = (tag.partition(":") for tag in fields.get("Tags", "").split("|"))
        color = [float(part) for part in fields.get("Color", "0.5 0.5 0.5").split()]
        if len(color) != 3 or not all(0 <= part <= 1 for part in color):
            raise ValueError(f"the color of segment {number} is not three parts of 0 to 1")
        yield SegmentDescription(
            value=int(fields.get("LabelValue", 1)),
            identifier=fields["ID"],
            name=fields.get("Name", fields["ID"]),
            color=tuple(round(255 * part) for part in color),
            terminology={key: value for key, _, value in tags}.get(_TERMINOLOGY_TAG, ""),
        )
        number += 1
