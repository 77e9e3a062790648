# SPDX-License-Identifier: Apache-2.0
"""What the review of a queue teaches: a list for ``train`` in which all else is unknown.

What nobody reviewed is taught to nobody: it becomes the label ``unknown`` (255), which training
leaves out. Air alone is background in any case. PyTorch is not imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, same_geometry
from ReadingRoomLib.images import ImageInput
from ReadingRoomLib.phantoms.region_map import IGNORED
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd
from ReadingRoomLib.volume_files import read_volume_file

from .contrasts import body_in, read_any
from .label_names import UNKNOWN
from .named_labels import target_on
from .review_folder import (
    CASES,
    CORRECTIONS,
    UNCERTAIN,
    QueuedCase,
    ReviewedSlice,
    planes,
    progress_of,
    read_queue,
    reviewed_cases,
)
from .structures import labels_of

LIST, TAUGHT = "datalist.json", "segmentations"
GREY = (128, 128, 128)

Rest = Literal["unknown", "shown"]


@dataclass(frozen=True)
class Taught:
    """What the review of a case teaches, on the grid of its CT.

    Attributes:
        source: the CT.
        body: bool array, see :func:`.contrasts.body_in`.
        labels: uint8 array as :func:`.named_labels.target_on` gives it, after the review.
        known: bool array: what was reviewed.
    """

    source: ImageInput
    body: np.ndarray
    labels: np.ndarray
    known: np.ndarray


def taught_by(folder: Path, case: QueuedCase, reviewed: Sequence[ReviewedSlice], rest: Rest,
              warn: Callable[[str], None], earlier: Sequence[ReviewedSlice] = ()) -> Taught:
    """What the review of a case says.

    Args:
        folder: of the queue.
        case: which.
        reviewed: its slices that were reviewed in this queue.
        rest: of the reviewed slices; ``unknown``, or ``shown``: the unmarked pixels count as
            reviewed, too.
        warn: gets sentences about what should be looked at.
        earlier: its slices that were reviewed in earlier queues; their marked pixels are in the
            folder.

    Raises:
        BadInput: the CT, its correction or a mask is missing, or they do not belong together.
    """
    source, is_ct = read_any(Path(case.image), "random")
    if source.sha256 != case.sha256:
        raise BadInput(f"{source.name} has changed since the queue was made: make the queue anew.")
    corrected = folder / CORRECTIONS / f"{case.case}.seg.nrrd"
    if not corrected.exists():
        raise BadInput(f"Slices of {case.case} count as reviewed, but its correction is missing: "
                       f"save it as {CORRECTIONS}/{corrected.name}.")
    labels = sitk.GetArrayFromImage(target_on(source, corrected, warn)[0])
    before = folder / CORRECTIONS / f"{case.case}.known.nrrd"
    known = _mask_of(before, source) if before.exists() else np.zeros(labels.shape, bool)
    for each in earlier if rest == "shown" else ():
        planes(known, case.axis)[each.slice] = True
    uncertain = None
    for each in reviewed:
        if each.pixels == "all" or rest == "shown":
            planes(known, case.axis)[each.slice] = True
            continue
        if uncertain is None:
            uncertain = _mask_of(folder / CASES / case.case / UNCERTAIN, source)
        planes(known, case.axis)[each.slice] |= planes(uncertain, case.axis)[each.slice]
    known &= labels != IGNORED
    return Taught(source, body_in(source.image, is_ct), labels, known)


def _mask_of(path: Path, source: ImageInput) -> np.ndarray:
    if not path.exists():
        raise BadInput(f"{path.parent.name}/{path.name} of the queue is missing: make the queue "
                       "anew.")
    image = read_volume_file(path).image
    if not same_geometry(image, source.image):
        raise BadInput(f"{path.name} does not lie on {source.name}: make the queue anew.")
    return sitk.GetArrayViewFromImage(image) > 0


def write_labels(path: Path, labels: np.ndarray, source: ImageInput) -> None:
    """Write labels on the grid of a CT under their names, 255 as ``unknown``; sides together.

    All 22 structures are listed, so that background is background and not something unnamed.
    """
    segments = [SegmentDescription(item.value, item.name, item.display_name, item.structure.color,
                                   item.terminology) for item in labels_of(False)]
    if (labels == IGNORED).any():
        segments.append(SegmentDescription(IGNORED, UNKNOWN, "Unknown", GREY))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_seg_nrrd(path, image_like(labels, source.image), segments)


@dataclass(frozen=True)
class Options:
    """Which corrections are collected.

    Attributes:
        queue: its folder.
        rest: what the unmarked pixels of reviewed slices are, see :func:`taught_by`.
    """

    queue: Path
    rest: Rest = "unknown"


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Turn a reviewed queue into a list for ``train``, with all that was not reviewed unknown.

    Args:
        job: gets ``datalist.json`` and the folder ``segmentations``.
        options: which.
        say: shows a person a line.

    Raises:
        BadInput: there is no queue, nothing was reviewed, or a file is missing.
    """
    job.progress.stage("queue", 1, "Reading the queue")
    queue = read_queue(options.queue)
    reviewed = reviewed_cases(options.queue, queue)
    if not reviewed:
        raise BadInput(f"Nothing of {options.queue.name} was reviewed yet: review slices first.")
    job.progress.stage("cases", len(reviewed), "Collecting the corrections")
    entries: list[dict[str, Any]] = []
    pixels = 0
    for done, (name, slices) in enumerate(reviewed.items(), 1):
        case = queue.case(name)
        taught = taught_by(options.queue, case, slices, options.rest, job.warn,
                           [each for each in queue.earlier if each.case == name])
        target = np.where(taught.known, taught.labels, 0).astype(np.uint8)
        target[~taught.known & taught.body] = IGNORED
        pixels += int(np.count_nonzero(taught.known & taught.body))
        if ((target > 0) & (target != IGNORED)).any():
            write_labels(job.folder / TAUGHT / f"{name}.seg.nrrd", target, taught.source)
            entries.append({"image": case.image, "segmentation": f"{TAUGHT}/{name}.seg.nrrd",
                            "patient": case.patient})
        else:
            job.warn(f"{name} was left out: what was reviewed of it is background alone.")
        job.progress.advance(done)
    if not entries:
        raise BadInput("What was reviewed is background alone: review slices that show muscles or "
                       "bones.")
    content = {"training": entries} | ({"simulated": True} if queue.simulated else {})
    (job.folder / LIST).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n",
                                   "utf-8")
    progress = progress_of(options.queue)
    pool_pixels = sum(each.pixels for each in queue.cases)
    job.record(files={"list": LIST, "segmentations": TAUGHT}, cases=len(entries),
               simulated=queue.simulated, reviewed_slices=progress.pool_reviewed,
               reviewed_share_of_slices=round(progress.share, 6), labelled_pixels=pixels,
               labelled_share_of_pixels=round(pixels / max(pool_pixels, 1), 6))
    say(f"{progress.pool_reviewed} of {progress.pool_slices} slices reviewed "
        f"({progress.share:.2%}), {pixels} pixels labelled "
        f"({pixels / max(pool_pixels, 1):.2%} of the body), {len(entries)} CTs to learn from.")
