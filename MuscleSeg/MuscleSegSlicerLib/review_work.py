# SPDX-License-Identifier: Apache-2.0
"""The files of a review: which slice comes next, what is kept of it, and where training goes on.

What a queue's folder holds is said in `MuscleSegLib.review_folder`. Here is added what only the
panel needs: labels of a case that the user left before a slice was done, in ``drafts``.
"""

import json
import os
from pathlib import Path

from slicer.i18n import tr as _

from MuscleSegLib import review_folder
from ReadingRoomLib.errors import BadInput

DRAFTS = "drafts"
RESULT = "result.json"


class ReviewWork:
    """A queue and how far it is, read anew from its folder.

    :param folder: of the queue.
    :raises BadInput: there is no queue in it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.queue = review_folder.read_queue(self.folder)
        self.slices = self.queue.slices
        self.reviewed = {(each.case, each.slice): each.pixels
                         for each in review_folder.read_reviewed(self.folder)}
        self.progress = review_folder.progress_of(self.folder)

    @property
    def key(self) -> str:
        """What the nodes of this review are marked with."""
        return self.folder.name

    def isDone(self, each) -> bool:
        """Whether a slice was reviewed."""
        return (each.case, each.slice) in self.reviewed

    def next(self, after=None):
        """The next slice that was not reviewed, from the one after another on; None at the end."""
        start = self.slices.index(after) + 1 if after in self.slices else 0
        waiting = [each for each in (*self.slices[start:], *self.slices[:start])
                   if not self.isDone(each)]
        return waiting[0] if waiting else None

    def image(self, case: str) -> str:
        """Path of the image of a case.

        :raises BadInput: it is gone.
        """
        path = self.queue.case(case).image
        if not os.path.exists(path):
            raise BadInput(_("The image {name} of the pool cannot be found: bring the pool back to"
                             " where it was, or score it anew.").format(
                name=os.path.basename(path)))
        return path

    def labels(self, case: str) -> str:
        """Path of the labels of a case as they are now: as left, as corrected, or as predicted."""
        if self.draft(case).exists():
            return str(self.draft(case))
        if any(reviewed == case for reviewed, _slice in self.reviewed):
            return str(self.correction(case))
        return str(self.folder / review_folder.CASES / case / review_folder.SEGMENTATION)

    def marks(self, case: str) -> str:
        """Path of the map of what is doubtful."""
        return str(self.folder / review_folder.CASES / case / review_folder.UNCERTAIN)

    def correction(self, case: str) -> Path:
        """Where the corrected labels of a case go."""
        return self.folder / review_folder.CORRECTIONS / f"{case}.seg.nrrd"

    def draft(self, case: str) -> Path:
        """Where the labels of a case go that was left before it was done."""
        return self.folder / DRAFTS / f"{case}.seg.nrrd"

    def begun(self) -> list:
        """The cases that were left before a slice was done."""
        return sorted(path.name.removesuffix(".seg.nrrd")
                      for path in (self.folder / DRAFTS).glob("*.seg.nrrd"))

    def markDone(self, each, isWhole: bool) -> None:
        """Note that a slice was reviewed; its case's correction is saved already.

        :param isWhole: whether all of it is right now, or only what was marked.
        """
        review_folder.mark_reviewed(
            self.folder, each.case, each.slice, "all" if isWhole else "marked")
        self.draft(each.case).unlink(missing_ok=True)

    def progressSentence(self) -> str:
        """How far it is: slices of the queue, and the share of the pool's pixels."""
        labelled = self._labelledBefore() + sum(
            each.pixels if self.reviewed[each.case, each.slice] == "all" else each.marked
            for each in self.slices if self.isDone(each))
        pixels = sum(case.pixels for case in self.queue.cases)
        share = labelled / max(pixels, 1)
        return _("{done} of {count} slices; {share} % of the pool's pixels labelled.").format(
            done=self.progress.reviewed, count=self.progress.queued,
            share=f"{100 * share:.1f}" if share >= 0.001 else f"{100 * share:.2g}")

    def _labelledBefore(self) -> int:
        """Pixels that were labelled in earlier queues."""
        try:
            content = json.loads((self.folder / RESULT).read_text("utf-8"))
            return int(content.get("labelled_pixels", 0))
        except (OSError, ValueError, TypeError, AttributeError):
            return 0


class Round:
    """Where the training of a review goes: beside its queue, a folder for each round.

    :param folder: of the queue.
    :param takenNames: of models.
    """

    def __init__(self, folder: str, takenNames) -> None:
        self.number = 1
        while os.path.exists(os.path.join(f"{folder}-round-{self.number}", "model")) or (
                f"{os.path.basename(folder)}-{self.number}" in takenNames):
            self.number += 1
        self.folder = f"{folder}-round-{self.number}"
        self.name = f"{os.path.basename(folder)}-{self.number}"

        self._queue = folder

    def correctionsCommand(self) -> list:
        """The command that makes a list of what was corrected."""
        return ["corrections", self._queue, "--output",
                os.path.join(self.folder, "corrections"), "--overwrite"]

    def trainOptions(self, reviewed: int) -> dict:
        """Options of the command that trains a model.

        :param reviewed: number of slices; a training that was cut off goes on where it is the same.
        """
        return {"output": os.path.join(self.folder, "model"), "name": self.name, "folds": 0,
                "work": os.path.join(self.folder, f"training-on-{reviewed}-slices")}
