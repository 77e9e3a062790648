# SPDX-License-Identifier: Apache-2.0
"""A review queue that was worked on: what was reviewed stays reviewed, its corrections stay."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like

from .corrections import taught_by, write_labels
from .review_folder import (
    CASES,
    CORRECTIONS,
    SEGMENTATION,
    Queue,
    QueuedCase,
    ReviewedSlice,
    read_queue,
    reviewed_cases,
)


class EarlierQueue:
    """An earlier queue, or none.

    Attributes:
        slices: that were reviewed in it or before it.
        pixels: of the body that were labelled; counted while they are kept.
    """

    def __init__(self, folder: Path | None, queue: Queue | None) -> None:
        self.folder, self.queue = folder, queue
        self.reviewed = reviewed_cases(folder, queue) if queue else {}
        own = [each for slices in self.reviewed.values() for each in slices]
        known = {(each.case, each.slice): each for each in (*(queue.earlier if queue else ()),
                                                            *own)}
        self.slices: list[ReviewedSlice] = list(known.values())
        self.pixels = 0

    @classmethod
    def read(cls, folder: Path | None) -> EarlierQueue:
        return cls(folder, read_queue(folder) if folder else None)

    def check(self, case: QueuedCase) -> None:
        """Refuse corrections of another image of the same name."""
        if case.case in self.reviewed and self.queue.case(case.case).sha256 != case.sha256:
            raise BadInput(f"{case.case} is another image than in the earlier queue "
                           f"{self.folder.name}, where it was reviewed: give it another name.")

    def check_all_there(self, cases: Sequence[QueuedCase]) -> None:
        """Refuse to lose corrections of a CT that is no longer in the pool."""
        lost = sorted(set(self.reviewed) - {case.case for case in cases})
        if lost:
            raise BadInput(f"{lost[0]} was reviewed in the earlier queue {self.folder.name}, but "
                           "cannot be used from this pool: add it to the pool, or collect the "
                           "corrections and begin a new queue.")

    def keep(self, job: Job, case: QueuedCase, queued: bool) -> None:
        """Take a case's corrections over, and show them where its labels are shown."""
        if case.case not in self.reviewed:
            return
        taught = taught_by(self.folder, self.queue.case(case.case), self.reviewed[case.case],
                           "unknown", job.warn)
        self.pixels += int(np.count_nonzero(taught.known & taught.body))
        corrections = job.folder / CORRECTIONS
        corrections.mkdir(exist_ok=True)
        shutil.copyfile(self.folder / CORRECTIONS / f"{case.case}.seg.nrrd",
                        corrections / f"{case.case}.seg.nrrd")
        sitk.WriteImage(image_like(taught.known.astype(np.uint8), taught.source.image),
                        str(corrections / f"{case.case}.known.nrrd"), True)
        if queued:
            shown = job.folder / CASES / case.case / SEGMENTATION
            labels = sitk.GetArrayFromImage(sitk.ReadImage(str(shown)))
            labels[taught.known] = taught.labels[taught.known]
            write_labels(shown, labels, taught.source)
