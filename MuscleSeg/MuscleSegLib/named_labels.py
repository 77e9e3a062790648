# SPDX-License-Identifier: Apache-2.0
"""Labels of any file whose names we know, as our own label values on the grid of a CT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, resample_like, straighten, to_lps_axes
from ReadingRoomLib.images import ImageInput
from ReadingRoomLib.phantoms.region_map import IGNORED
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import read_segmentation
from ReadingRoomLib.volume_files import read_volume_file

from .label_names import OURS, Meaning, NameTable, ready_tables, understand, without_side
from .sides import midline, split_sides
from .structures import LEFT_OFFSET, Structure

STRAIGHT_DEGREES = 20.0  # as for `segment`, which finds the sides on what is no more oblique
AIR_HU, MOST_AIR = -300, 0.2  # of a segmentation on its own CT, next to nothing is air
LEAST_INSIDE = 0.95  # share of the segmentation within the CT; less deserves a warning


@dataclass(frozen=True)
class Named:
    """Labels as they were stored.

    Attributes:
        image: 3D.
        names: what its values mean, by value; of one value there may be a name for programs and
            one for people.
        made_from: SHA-256 of the image that they were made from, where a result tells it.
    """

    image: sitk.Image
    names: Mapping[int, tuple[str, ...]]
    made_from: str = ""


def structure_of(name: str) -> tuple[Structure, str] | None:
    """Understand the name of a segment.

    Args:
        name: such as ``femur_left``, ``Femur, left`` or ``Left femur``; capitals and marks between
            words do not matter.

    Returns:
        the structure and ``left``, ``right`` or an empty text; None when it is none of ours.
    """
    plain, side = without_side(name)
    structure = OURS.get(plain)
    if structure is None or " " in side:
        return None
    return structure, side if structure.paired else ""


def read_named(path: Path, table: NameTable | None = None) -> Named:
    """Read a segmentation with names: ``.seg.nrrd``, NIfTI with names, or a result's label map.

    Args:
        path: of the file.
        table: names the values of a file that does not do so itself.

    Raises:
        BadInput: it cannot be read, or its labels have no names.
    """
    if path.is_dir():
        raise BadInput(f"{path.name} is a folder: choose the segmentation in it "
                       "(segmentation.seg.nrrd or labels.nrrd).")
    manifest = _manifest_of(path)
    inputs = manifest.get("inputs") or [{}]
    made_from = str(inputs[0].get("sha256", ""))
    if manifest.get("files", {}).get("labels") == path.name and path.is_file():
        names = {int(value): (name,) for value, name in manifest.get("labels", {}).items()}
        return Named(read_volume_file(path).image, names, made_from)
    try:
        image, segments = read_segmentation(path)
    except BadInput as error:
        if table is None or not table.values or "does not say what" not in error.message:
            raise
        return Named(read_volume_file(path).image, table.values)
    return Named(image, {each.value: (each.identifier, each.name) for each in segments}, made_from)


def _manifest_of(path: Path) -> dict:
    """The ``result.json`` of the whole result that a file belongs to, else nothing."""
    try:
        manifest = read_result(path.parent)
    except BadInput:
        return {}
    return manifest if path.name in manifest["files"].values() else {}


def labels_on(ct: ImageInput, path: Path, warn: Callable[[str], None]) -> sitk.Image:
    """As :func:`reference_on`, without what the file names."""
    return reference_on(ct, path, warn)[0]


def reference_on(ct: ImageInput, path: Path, warn: Callable[[str], None],
                 table: NameTable | None = None) -> tuple[sitk.Image, frozenset[int]]:
    """Read a segmentation as our labels on the grid of a CT, with left and right apart.

    Args:
        ct: what it lies over.
        path: see :func:`read_named`.
        warn: gets sentences about what was left out or should be looked at.
        table: what names that are not ours mean, see :mod:`.label_names`.

    Returns:
        uint8, values of ``labels_of(True)``; and the structures that the file names, values of
        :data:`.structures.STRUCTURES`: of the others it says nothing.

    Raises:
        BadInput: the file cannot be read, knows none of our structures, is empty, or does not lie
            on this CT.
    """
    labels, named = _read_on(ct, path, warn, table, sides=True)
    return sitk.Mask(labels, labels != IGNORED), named


def target_on(ct: ImageInput, path: Path, warn: Callable[[str], None],
              table: NameTable | None = None) -> tuple[sitk.Image, frozenset[int]]:
    """As :func:`reference_on`, to learn from: sides together, 255 where nothing is known.

    Unknown are labels called ``unknown``, and labels that hold several structures in one.
    """
    return _read_on(ct, path, warn, table, sides=False)


def _read_on(ct: ImageInput, path: Path, warn: Callable[[str], None], table: NameTable | None,
             sides: bool) -> tuple[sitk.Image, frozenset[int]]:
    table = table or ready_tables()
    named = read_named(path, table)
    own, meaning = own_labels(named, table, path.name, warn)
    if not sides:
        own = _sides_together(own)
    elif not any(side for _, side in meaning.known.values()):
        own = with_sides(own)
    labels = resample_like(own, ct.image)
    check_place(own, labels, ct, path.name, warn)
    if named.made_from not in ("", ct.sha256):
        warn(f"{path.name} was made from another file than {ct.name}: check that both are of the "
             "same scan.")
    return labels, frozenset(structure.value for structure, _ in meaning.known.values())


def own_labels(named: Named, table: NameTable, file: str,
               warn: Callable[[str], None]) -> tuple[sitk.Image, Meaning]:
    """Labels as they were stored, as ours on their own grid.

    Returns:
        uint8: values of ``labels_of(True)`` where the names tell sides, otherwise of
        ``labels_of(False)``; 255 where nothing is known. And what the stored values mean.

    Raises:
        BadInput: there is none of our structures in it.
    """
    meaning = _meaning(named, table, file, warn)
    own = _renumbered(named.image, meaning, file)
    voxels = sitk.GetArrayViewFromImage(own)
    if not ((voxels > 0) & (voxels != IGNORED)).any():
        raise BadInput(f"{file} is empty: none of its muscles and bones has a voxel.")
    return own, meaning


def _sides_together(labels: sitk.Image) -> sitk.Image:
    array = sitk.GetArrayFromImage(labels)
    array[(array > LEFT_OFFSET) & (array != IGNORED)] -= LEFT_OFFSET
    return image_like(array, labels)


def with_sides(labels: sitk.Image) -> sitk.Image:
    """Tell left from right as `segment` does: along the body's own middle.

    Args:
        labels: uint8, values of ``labels_of(False)``, any orientation, not empty.
    """
    aligned, order = to_lps_axes(straighten(labels, STRAIGHT_DEGREES, 0, "nearest"))
    array = sitk.GetArrayFromImage(aligned)
    split_sides(array, midline(array))
    return resample_like(order.undo(image_like(array, aligned)), labels)


def _meaning(named: Named, table: NameTable, file: str, warn: Callable[[str], None]) -> Meaning:
    meaning = understand(named.names, table, file)
    if not meaning.known:
        raise BadInput(f"{file} names no muscle and no bone that MuscleSeg knows: give its "
                       "segments the names that the command structures lists.")
    for sentence in meaning.sentences:
        warn(sentence)
    foreign = len(named.names) - len(meaning.known) - len(meaning.unknown)
    if foreign:
        warn(f"{foreign} of {len(named.names)} segments of {file} are none "
             "of the structures of MuscleSeg and were left out.")
    paired = [side for structure, side in meaning.known.values() if structure.paired]
    if any(paired) and not all(paired):
        raise BadInput(f"{file} tells left from right in some of its segments only: name the side "
                       "of all of them, or of none.")
    return meaning


def _renumbered(image: sitk.Image, meaning: Meaning, file: str) -> sitk.Image:
    """The labels with our values, 255 where it is unknown, slice by slice; all others become 0."""
    own = {value: structure.value + (LEFT_OFFSET if side == "left" else 0)
           for value, (structure, side) in meaning.known.items()}
    own |= dict.fromkeys(meaning.unknown, IGNORED)
    planes = sitk.GetArrayViewFromImage(image)
    result = np.zeros(planes.shape, np.uint8)
    table = np.zeros(max(own) + 2, np.uint8)  # the last one stands for all values beyond
    table[list(own)] = list(own.values())
    for plane, target in zip(planes, result, strict=True):
        if plane.dtype.kind == "f" and not np.array_equal(plane, np.rint(plane)):
            raise BadInput(f"{file} is no label map, its values are not whole numbers: choose a "
                           "segmentation.")
        target[...] = table[plane.astype(np.intp).clip(0, len(table) - 1)]
    return image_like(result, image)


def check_place(own: sitk.Image, labels: sitk.Image, ct: ImageInput, file: str,
                warn: Callable[[str], None]) -> None:
    """Refuse a segmentation that lies beside the CT, or over its air.

    Args:
        own: the labels on their own grid, and ``labels`` on that of the CT.
        ct, file, warn: as for :func:`reference_on`.

    Raises:
        BadInput: it does not lie on this CT.
    """
    inside = _millilitres(labels) / _millilitres(own)
    if inside == 0:
        raise BadInput(f"{file} and {ct.name} do not overlap: choose the CT that the segmentation "
                       "was made from.")
    if inside < LEAST_INSIDE:
        warn(f"Only {inside:.0%} of {file} lies within {ct.name}: what lies beyond is not "
             "measured.")
    planes = zip(sitk.GetArrayViewFromImage(ct.image), sitk.GetArrayViewFromImage(labels),
                 strict=True)
    voxels = np.sum([[((hu < AIR_HU) & (plane > 0)).sum(), (plane > 0).sum()]
                     for hu, plane in planes], axis=0)
    if voxels[0] > MOST_AIR * voxels[1]:
        raise BadInput(f"{file} lies over air in {ct.name}, so the two have not the same frame of "
                       "reference: choose the CT that the segmentation was made from.")


def _millilitres(labels: sitk.Image) -> float:
    voxels = sum(int(np.count_nonzero(plane)) for plane in sitk.GetArrayViewFromImage(labels))
    return voxels * float(np.prod(labels.GetSpacing())) / 1000
