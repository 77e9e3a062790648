# SPDX-License-Identifier: Apache-2.0
"""Segmentations as other programs keep them: DICOM SEG, and a folder with a mask a structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, same_geometry, to_lps_axes
from ReadingRoomLib.volume_files import file_format, read_volume_file

from .label_names import OURS, UNKNOWN, NameTable, without_side
from .named_labels import Named, read_named

SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
GEOMETRY_MM = 0.05  # by which the grids of masks may differ, as rounding does


def stem_of(path: Path) -> str:
    """The name of a file without what says its format; of a folder its name."""
    suffix = next((one for one in SUFFIXES if path.name.lower().endswith(one)), "")
    return path.name if path.is_dir() or not suffix else path.name[: -len(suffix)]


def read_source(path: Path, table: NameTable) -> tuple[Named, bool]:
    """Read a segmentation of any kind.

    Args:
        path: ``.seg.nrrd``, NIfTI with names, DICOM SEG, or a folder with one mask for each
            structure, whose names are those of the files, as TotalSegmentator writes them.
        table: of names.

    Returns:
        the labels with names; and whether other commands read the file as it is.

    Raises:
        BadInput: it cannot be read, its structures overlap, or its labels have no names.
    """
    if path.is_dir():
        return _read_masks(path, table), False
    if path.exists() and file_format(path) == "DICOM":
        return _read_dicom(path), False
    named = read_named(path, table)
    return named, named.names is not table.values


def _read_masks(folder: Path, table: NameTable) -> Named:
    files = {stem_of(path): path for path in sorted(folder.iterdir())
             if path.is_file() and path.name.lower().endswith(SUFFIXES[1:-1])}
    wanted = [name for name in files if _is_known(name, table)]
    if not wanted:
        raise BadInput(f"{folder.name} holds no mask whose name is that of a muscle or bone: name "
                       "the files as the command structures lists them, or give a table (--names).")
    labels = grid = None
    for value, name in enumerate(wanted, 1):
        image = read_volume_file(files[name]).image
        if grid is None:
            grid, labels = image, np.zeros(image.GetSize()[::-1], np.uint8)
        if not same_geometry(image, grid, GEOMETRY_MM):
            raise BadInput(f"{files[name].name} in {folder.name} has another grid than "
                           f"{files[wanted[0]].name}: masks of a case must have the same one.")
        labels[sitk.GetArrayViewFromImage(image) > 0.5] = value
    return Named(image_like(labels, grid),
                 {value: (name,) for value, name in enumerate(wanted, 1)})


def _is_known(name: str, table: NameTable) -> bool:
    plain, _ = without_side(name)
    return plain in OURS or plain == UNKNOWN or plain in table.together or bool(
        table.part_of(plain))


def _read_dicom(path: Path) -> Named:
    """DICOM SEG by highdicom, with the side of a segment as its code says it."""
    from highdicom.seg import segread
    from pydicom.errors import InvalidDicomError

    try:
        stored = segread(path)
        volume = stored.get_volume(combine_segments=True, dtype=np.uint16)
    except (InvalidDicomError, ValueError, TypeError, AttributeError, KeyError, IndexError,
            NotImplementedError, EOFError) as error:
        raise BadInput(f"{path.name} is no DICOM Segmentation of a volume that can be read here: "
                       "choose one with binary segments on parallel slices.") from error
    except RuntimeError as error:
        raise BadInput(f"{path.name} has segments that overlap, which cannot be read here: export "
                       "it with segments that do not.") from error
    return Named(_as_image(volume.array, volume.affine),
                 {int(item.SegmentNumber): _names_of(item) for item in stored.SegmentSequence})


def _as_image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """An array (slice, row, column) with the affine matrix to LPS as an image in LPS axes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    axes = affine[:3, [2, 1, 0]]  # image axes: column, row, slice
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return to_lps_axes(image)[0]


def _names_of(item) -> tuple[str, ...]:
    label = str(item.SegmentLabel)
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence") or []
    sides = [each.CodeMeaning for each in modifiers
             if each.CodeMeaning.casefold() in ("left", "right")]
    side = f" {sides[0]}" if len(sides) == 1 and not without_side(label)[1] else ""
    return f"{label}{side}", f"{kind.CodeMeaning}{side}"
