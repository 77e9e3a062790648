# SPDX-License-Identifier: Apache-2.0
"""The folder of a review queue: what is to be reviewed, and what was.

::

    queue.json                             what is shown, in order; see :class:`Queue`
    cases/CASE/segmentation.seg.nrrd       labels as the model sees them, on the grid of the CT
    cases/CASE/uncertain.nrrd              1: to be labelled; on the grid of the CT
    corrections/CASE.seg.nrrd              the segmentation after the review, written by the panel
    corrections/CASE.known.nrrd            1: reviewed in an earlier queue; on the grid of the CT
    reviewed.json                          which slices were reviewed; see :func:`mark_reviewed`

Nothing heavy is imported, so a panel can use this.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import whole_file

QUEUE, REVIEWED = "queue.json", "reviewed.json"
CASES, CORRECTIONS = "cases", "corrections"
SEGMENTATION, UNCERTAIN = "segmentation.seg.nrrd", "uncertain.nrrd"
Pixels = Literal["marked", "all"]


@dataclass(frozen=True)
class QueuedCase:
    """A CT of the pool.

    Attributes:
        case: its name in the queue, and of its files.
        image: file or folder, absolute.
        sha256: of its voxels and geometry.
        patient: whose it is.
        axis: of the image as it was read (0: i, 1: j, 2: k) that slices are counted along.
        slices: how many it has.
        pixels: of the body in all of them.
        queued: whether it has slices in the queue, and so files under ``cases``.
    """

    case: str
    image: str
    sha256: str
    patient: str
    axis: int
    slices: int
    pixels: int
    queued: bool


@dataclass(frozen=True)
class QueuedSlice:
    """A slice to review.

    Attributes:
        rank: 1 for the least confident.
        case: of which CT.
        slice: index along the axis of the case, from 0.
        position_mm: middle of the slice, LPS.
        score: mean uncertainty of what is labelled, 0 to 1.
        marked: pixels to be labelled.
        pixels: of the body.
    """

    rank: int
    case: str
    slice: int
    position_mm: tuple[float, float, float]
    score: float
    marked: int
    pixels: int


@dataclass(frozen=True)
class ReviewedSlice:
    """A slice that was reviewed: only its marked pixels, or all of it."""

    case: str
    slice: int
    pixels: Pixels = "marked"


@dataclass(frozen=True)
class Queue:
    """What ``queue.json`` holds.

    Attributes:
        cases: of the pool.
        slices: to review, in order.
        earlier: slices that were reviewed in earlier queues.
        simulated: whether the CTs are simulated.
    """

    cases: tuple[QueuedCase, ...]
    slices: tuple[QueuedSlice, ...]
    earlier: tuple[ReviewedSlice, ...] = ()
    simulated: bool = False

    def case(self, name: str) -> QueuedCase:
        """The case of that name; KeyError when there is none."""
        return next((each for each in self.cases if each.case == name), None) or _no_case(name)


def _no_case(name: str):
    raise KeyError(name)


def write_queue(folder: Path, queue: Queue) -> None:
    """Write ``queue.json`` into a folder."""
    (folder / QUEUE).write_text(json.dumps(asdict(queue), indent=1, ensure_ascii=False) + "\n",
                                "utf-8")


def read_queue(folder: Path) -> Queue:
    """The queue of a folder.

    Raises:
        BadInput: it holds none.
    """
    try:
        content = json.loads((folder / QUEUE).read_text("utf-8"))
        queue = Queue(
            tuple(QueuedCase(**each) for each in content["cases"]),
            tuple(QueuedSlice(**each | {"position_mm": tuple(each["position_mm"])})
                  for each in content["slices"]),
            tuple(ReviewedSlice(**each) for each in content["earlier"]),
            bool(content["simulated"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder.name} holds no review queue: choose a folder that the command "
                       "queue wrote.") from error
    if any("/" in each.case or "\\" in each.case or each.case in ("", ".", "..")
           for each in queue.cases):
        raise BadInput(f"{folder.name}/{QUEUE} was changed: a case has no valid name.")
    return queue


def read_reviewed(folder: Path) -> list[ReviewedSlice]:
    """The slices of this queue that were reviewed; none before the first.

    Raises:
        BadInput: the file was damaged.
    """
    path = folder / REVIEWED
    if not path.exists():
        return []
    try:
        found = [ReviewedSlice(str(each["case"]), int(each["slice"]),
                               each.get("pixels", "marked"))
                 for each in json.loads(path.read_text("utf-8"))["slices"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder.name}/{REVIEWED} cannot be read: delete it, and mark again what "
                       "was reviewed.") from error
    if any(each.pixels not in ("marked", "all") for each in found):
        raise BadInput(f'{folder.name}/{REVIEWED} is wrong: pixels must be "marked" or "all".')
    return found


def mark_reviewed(folder: Path, case: str, index: int, pixels: Pixels | None = "marked") -> None:
    """Note that a slice was reviewed; with ``pixels`` None, that it was not after all.

    Args:
        folder: of the queue; gets ``reviewed.json``,
            ``{"slices": [{"case": "17", "slice": 57, "pixels": "marked"}]}``.
        case, index: of the slice.
        pixels: ``marked`` where only the uncertain pixels were looked at, ``all`` where the whole
            slice is right now.
    """
    kept = [each for each in read_reviewed(folder) if (each.case, each.slice) != (case, index)]
    if pixels is not None:
        kept.append(ReviewedSlice(case, index, pixels))
    with whole_file(folder / REVIEWED) as unfinished:
        unfinished.write_text(json.dumps({"slices": [asdict(each) for each in kept]}, indent=1)
                              + "\n", "utf-8")


@dataclass(frozen=True)
class Progress:
    """How far a review is; of this queue, and of the pool with earlier queues."""

    reviewed: int
    queued: int
    pool_reviewed: int
    pool_slices: int

    @property
    def share(self) -> float:
        """Of the pool's slices that were reviewed."""
        return self.pool_reviewed / max(self.pool_slices, 1)


def progress_of(folder: Path) -> Progress:
    """How far the review of a queue is; reads no image."""
    queue = read_queue(folder)
    reviewed = {(each.case, each.slice) for each in read_reviewed(folder)}
    earlier = {(each.case, each.slice) for each in queue.earlier}
    own = {(each.case, each.slice) for each in queue.slices}
    return Progress(len(reviewed & own), len(own), len(reviewed | earlier),
                    sum(each.slices for each in queue.cases))


def reviewed_cases(folder: Path, queue: Queue) -> dict[str, list[ReviewedSlice]]:
    """The slices reviewed in this queue, by case; of earlier ones the case alone.

    Raises:
        BadInput: a reviewed slice is none of the queue's.
    """
    found: dict[str, list[ReviewedSlice]] = {each.case: [] for each in queue.earlier}
    known = {each.case: each for each in queue.cases}
    for each in read_reviewed(folder):
        if each.case not in known or not 0 <= each.slice < known[each.case].slices:
            raise BadInput(f"{folder.name}/{REVIEWED} names slice {each.slice} of {each.case}, "
                           "which the queue does not have.")
        found.setdefault(each.case, []).append(each)
    return found


def planes(array: np.ndarray, axis: int) -> np.ndarray:
    """A view of an array (z, y, x) with the image axis (0: i, 1: j, 2: k) first."""
    return np.moveaxis(array, 2 - axis, 0)
