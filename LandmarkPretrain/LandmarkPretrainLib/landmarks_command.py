# SPDX-License-Identifier: Apache-2.0
"""The job of ``landmarks``: a segmentation in, the landmarks that it gives out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import resample_like
from ReadingRoomLib.segmentation_files import read_segmentation
from ReadingRoomLib.volume_files import MAX_VOXELS, read_volume_file

from .landmark_files import write_csv, write_markups
from .pseudo_landmarks import derive_landmarks
from .pseudo_landmarks_table import read_table

TOTALSEGMENTATOR = Path(__file__).with_name("totalsegmentator_v2.json")
FILES = {"landmarks": "landmarks.mrk.json", "table": "landmarks.csv"}
MOST_LABELS = 0xFFFF
_MAX_BYTES = 4 << 20
_GEOMETRY = "Reference image geometry|"  # in what Slicer notes of how a segmentation was made

Names = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class Options:
    """What landmarks are made from.

    Attributes:
        segmentation: label map (NIfTI, NRRD, MetaImage) or Slicer's ``.seg.nrrd``.
        table: of landmarks; None for the default one.
        names: JSON with the names of the labels; None for those that the file, or one of the same
            name beside it, has, and TotalSegmentator's where there are none.
    """

    segmentation: Path
    table: Path | None = None
    names: Path | None = None


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Write ``landmarks.mrk.json`` and ``landmarks.csv`` into the job's folder.

    Args:
        job: gets files and the manifest's entries; ``skipped`` says why of each landmark that the
            segmentation does not give.
        options: what to read.
        say: shows a person a line.

    Raises:
        BadInput: a file cannot be used, or the segmentation gives no landmark at all.
    """
    rules = read_table(options.table)
    job.progress.stage("read", 1, "Reading the segmentation")
    labels, names, assumed = read_named_labels(options.segmentation, options.names)
    if assumed:
        job.warn(f"{options.segmentation.name} does not name its labels: they were taken for "
                 "those of TotalSegmentator version 2.")
    job.progress.stage("derive", 1, "Finding the landmarks")
    derived = derive_landmarks(labels, names, rules)
    if not len(derived.landmarks):
        reason = Counter(derived.skipped.values()).most_common(1)[0][0]
        raise BadInput(f"{options.segmentation.name} gives none of the {len(rules)} landmarks: "
                       f"for one, {reason}.")
    write_markups(job.folder / FILES["landmarks"], derived.landmarks)
    write_csv(job.folder / FILES["table"], derived.landmarks)
    job.record(files=dict(FILES), count=len(derived.landmarks),
               landmarks=[{"name": name, "position_lps_mm": point.tolist()} for name, point in
                          zip(derived.landmarks.names, derived.landmarks.points, strict=True)],
               skipped=derived.skipped)
    say(f"{len(derived.landmarks)} of {len(rules)} landmarks; result.json says why not the others.")


def read_named_labels(path: Path, names: Path | None = None) -> tuple[sitk.Image, Names, bool]:
    """Read a segmentation with the names of its labels.

    Args:
        path: of the segmentation.
        names: JSON, ``{"1": "liver"}``, ``{"1": {"name": "liver"}}`` or ``{"liver": 1}``.

    Returns:
        labels: 3D, on the whole grid of the image where the file tells it.
        names: of each label, its identifier and what people call it.
        assumed: whether the names are only assumed to be TotalSegmentator's.

    Raises:
        BadInput: a file cannot be read, or is no segmentation.
    """
    beside = path.with_name(path.name.removesuffix(".gz").rpartition(".")[0] + ".json")
    if names is None and beside.is_file() and not path.name.endswith(".seg.nrrd"):
        names = beside
    if names is None:
        try:
            labels, segments = read_segmentation(path)
        except BadInput as error:
            if "does not say what its labels mean" not in error.message:
                raise
            return _checked(read_volume_file(path).image, path), _names_in(TOTALSEGMENTATOR), True
        return (_uncropped(_checked(labels, path)),
                {segment.value: (segment.identifier, segment.name) for segment in segments}, False)
    if not path.exists():
        raise BadInput(f"{path.name} cannot be found: check its name.")
    return _uncropped(_checked(read_volume_file(path).image, path)), _names_in(names), False


def _checked(labels: sitk.Image, path: Path) -> sitk.Image:
    """The labels as whole numbers; many programs write them as floating-point numbers."""
    values = sitk.GetArrayViewFromImage(labels)
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= MOST_LABELS) or (
            values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))):
        raise BadInput(f"{path.name} is no segmentation: its values must be whole numbers from 0.")
    if highest == 0:
        raise BadInput(f"{path.name} is empty: segment the structures first.")
    small = sitk.sitkUInt8 if highest <= 0xFF else sitk.sitkUInt16
    return labels if labels.GetPixelID() == small else _cast(labels, small)


def _cast(labels: sitk.Image, kind: int) -> sitk.Image:
    cast = sitk.Cast(labels, kind)
    for key in labels.GetMetaDataKeys():
        cast.SetMetaData(key, labels.GetMetaData(key))
    return cast


def _names_in(path: Path) -> Names:
    wrong = BadInput(f'{path.name} does not name labels: write {{"1": "liver", "2": ...}}.')
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise wrong
        content = json.loads(path.read_text("utf-8-sig"))
        pairs = [(key, value["name"] if isinstance(value, dict) else value)
                 for key, value in content.items()]
        return {int(value if isinstance(value, int) else key):
                (str(key if isinstance(value, int) else value),) for key, value in pairs}
    except FileNotFoundError as error:
        raise BadInput(f"{path.name} cannot be found: check its name.") from error
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise wrong from error


def _uncropped(labels: sitk.Image) -> sitk.Image:
    """The labels on the grid of the image they were drawn on, which Slicer crops to the segments.

    Without this, every structure would seem cut off by the border of the volume.
    """
    key = "Segmentation_ConversionParameters"
    text = labels.GetMetaData(key) if labels.HasMetaDataKey(key) else ""
    _, _, after = text.partition(_GEOMETRY)
    try:
        numbers = [float(number) for number in after.split("|")[0].split(";") if number.strip()]
        matrix, extent = np.reshape(numbers[:16], (4, 4)), np.reshape(numbers[16:22], (3, 2))
    except ValueError:
        return labels
    axes = np.diag([-1, -1, 1]) @ matrix[:3, :3]  # RAS in the file
    spacing = np.linalg.norm(axes, axis=0)
    size = extent[:, 1] - extent[:, 0] + 1
    if not (np.isfinite(numbers).all() and min(size) >= 1 and np.prod(size) <= MAX_VOXELS
            and abs(np.linalg.det(axes)) > 0.5 * np.prod(spacing)):
        return labels  # no grid of an image
    if not 0.9 < np.prod(spacing) / np.prod(labels.GetSpacing()) < 1.1:
        return labels  # drawn finer or coarser than the image: not only cropped
    grid = sitk.Image(size.astype(int).tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection((axes / spacing).ravel().tolist())
    grid.SetOrigin((matrix[:3, 3] * [-1, -1, 1] + axes @ extent[:, 0]).tolist())
    return resample_like(labels, grid)
