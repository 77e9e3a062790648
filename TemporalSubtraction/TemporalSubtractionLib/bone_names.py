# SPDX-License-Identifier: Apache-2.0
"""In which bone a candidate lies, told by a segmentation of the current CT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.bone_codes import is_bone
from ReadingRoomLib.commands import Job
from ReadingRoomLib.segmentation_files import read_segmentation

from .candidate_table import read_rows, write_rows

NEAR_MM = 10.0  # from a candidate that lies in no bone of the segmentation to the nearest one


@dataclass(frozen=True)
class NamedBones:
    """Labels of the current CT, and the names of those that are bones.

    Attributes:
        file: name of the file.
        labels: in the patient's coordinates, on any grid.
        names: by label value.
    """

    file: str
    labels: sitk.Image
    names: dict[int, str]


def read_bones(path: Path) -> NamedBones:
    """Read a segmentation that names bones, as TotalSegmentator, MuscleSeg and Slicer write them.

    Of a file that names bones and other organs only the bones count; where no name is understood,
    everything does.

    Raises:
        BadInput: the file cannot be read, or names nothing.
    """
    labels, segments = read_segmentation(path)
    names = {segment.value: segment.name for segment in segments}
    bones = {value: name for value, name in names.items() if is_bone(name)}
    return NamedBones(path.name, labels, bones or names)


def name_candidates(job: Job, bones: NamedBones) -> None:
    """Write the names of their bones into ``candidates.csv``, where ``candidates.nrrd`` lies."""
    table = job.folder / "candidates.csv"
    rows = read_rows(table)
    labels = sitk.ReadImage(str(job.folder / "candidates.nrrd"))
    boxes = ndimage.find_objects(sitk.GetArrayViewFromImage(labels))
    named = [replace(row, bone=bone_of(labels, row.number, boxes[row.number - 1], bones))
             if row.number <= len(boxes) and boxes[row.number - 1] else row for row in rows]
    write_rows(named, table)
    if rows and not any(row.bone for row in named):
        job.warn(f"{bones.file} names no bone at any candidate: check that it belongs to the "
                 "current CT.")


def bone_of(labels: sitk.Image, number: int, box: tuple[slice, slice, slice],
            bones: NamedBones) -> str:
    """Return the name of the bone that holds most of a candidate, or that is near it.

    Args:
        labels: numbers of candidates.
        number: of this one.
        box: around it, (z, y, x).
        bones: that may be named.

    Returns:
        Empty when no bone lies within 10 mm.
    """
    spacing = labels.GetSpacing()[::-1]
    first = [max(side.start - int(np.ceil(NEAR_MM / step)), 0)
             for side, step in zip(box, spacing, strict=True)]
    last = [min(side.stop + int(np.ceil(NEAR_MM / step)), size)
            for side, step, size in zip(box, spacing, labels.GetSize()[::-1], strict=True)]
    around = sitk.RegionOfInterest(
        labels, [int(b - a) for a, b in zip(first, last, strict=True)][::-1], first[::-1])
    inside = sitk.GetArrayViewFromImage(around) == number
    there = sitk.GetArrayFromImage(sitk.Resample(
        bones.labels, around, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    there[~np.isin(there, list(bones.names))] = 0
    covered = np.bincount(there[inside])
    covered[0] = 0
    if covered.any():
        return bones.names[int(covered.argmax())]
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
    distance[there == 0] = np.inf
    nearest = np.unravel_index(distance.argmin(), distance.shape)
    return bones.names[int(there[nearest])] if distance[nearest] <= NEAR_MM else ""
