# SPDX-License-Identifier: Apache-2.0
"""A small CT of a pelvis and its labels with everything known: volumes, densities, fat, sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MuscleSegLib.structures import LEFT_OFFSET, structure_named
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

SPACING = (2.0, 1.5, 3.0)  # mm along x, y, z
SHAPE = (20, 40, 60)  # slices, rows, columns
ORIGIN = (-59.0, -30.0, 100.0)
MUSCLE, LEAN_HU, LOW_HU, FAT_HU, BONE_HU = "gluteus_maximus", 55, 10, -100, 600
# boxes (slices, rows, columns) of each structure and side; columns grow to the patient's left
BOXES = {
    (MUSCLE, "right"): (slice(4, 14), slice(20, 32), slice(6, 18)),
    (MUSCLE, "left"): (slice(4, 14), slice(20, 30), slice(40, 52)),
    ("femur", "right"): (slice(0, 10), slice(8, 14), slice(10, 18)),
    ("femur", "left"): (slice(0, 10), slice(8, 14), slice(42, 50)),
    ("iliacus", "right"): (slice(5, 8), slice(34, 38), slice(20, 24)),
    ("sacrum", ""): (slice(12, 18), slice(14, 20), slice(27, 33)),
}


def value_of(structure: str, side: str) -> int:
    return structure_named(structure).value + (LEFT_OFFSET if side == "left" else 0)


def body() -> tuple[np.ndarray, np.ndarray]:
    """CT (z, y, x; int16 HU) and labels (uint8, sides apart).

    Of the right gluteus the first of twelve rows is fat and the next two are of low attenuation;
    the left one is lean.
    """
    ct = np.full(SHAPE, -1000, np.int16)
    ct[:, 3:39, 3:57] = FAT_HU
    labels = np.zeros(SHAPE, np.uint8)
    for (structure, side), box in BOXES.items():
        labels[box] = value_of(structure, side)
        ct[box] = BONE_HU if structure in ("femur", "sacrum") else LEAN_HU
    slices, rows, columns = BOXES[MUSCLE, "right"]
    ct[slices, rows.start:rows.start + 1, columns] = FAT_HU
    ct[slices, rows.start + 1:rows.start + 3, columns] = LOW_HU
    return ct, labels


def image_of(array: np.ndarray, direction=None) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    return image


def descriptions(labels: np.ndarray) -> list[SegmentDescription]:
    found = []
    for structure, side in BOXES:
        value = value_of(structure, side)
        if (labels == value).any():
            name = f"{structure}_{side}" if side else structure
            found.append(SegmentDescription(value, name, name, (200, 80, 60)))
    return found


def write_pair(folder: Path) -> tuple[Path, Path]:
    """The CT as NRRD and its segmentation; their paths."""
    ct, labels = body()
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image_of(ct), str(folder / "ct.nrrd"))
    write_seg_nrrd(folder / "muscles.seg.nrrd", image_of(labels), descriptions(labels))
    return folder / "ct.nrrd", folder / "muscles.seg.nrrd"
