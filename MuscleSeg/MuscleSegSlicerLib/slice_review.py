# SPDX-License-Identifier: Apache-2.0
"""The slice that is under review: opened, left, done. Nothing that was corrected gets lost."""

from slicer.i18n import tr as _

from . import review_scene


class SliceReview:
    """What is open.

    case - the nodes of its case, `review_scene.OpenedCase`; None where none was opened.
    slice - of the queue.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is open any more."""
        self.case = self.slice = self._queuedCase = None

    def isOf(self, work) -> bool:
        """Whether what is open is of a queue, wherever its folder lies now.

        :param work: `review_work.ReviewWork`, or None.
        """
        return bool(work) and self._queuedCase in work.queue.cases

    def isOpen(self, work) -> bool:
        """Whether a slice of a queue is open, and in the scene still."""
        return bool(self.slice and self.case and self.case.isThere) and self.isOf(work)

    def reasonNotDone(self, work) -> str:
        """Why there is no correction to save, in a sentence; empty when there is."""
        if not self.slice:
            return _("Open a slice first.")
        if not self.isOf(work):
            return _("The folder of the review was moved or removed: choose it again. The slice"
                     " stays open.")
        if not self.case.isThere:
            return _("The slice is no longer in the scene: press Next.")
        return ""

    def open(self, work, each) -> None:
        """Show a slice in the views and let it be edited.

        :raises BadInput, RuntimeError, OSError: its case cannot be loaded; then nothing is open.
        """
        if not self.case or not self.case.isThere or self.case.case != each.case:
            self.leave(work)
            self.case = review_scene.caseOfScene(work.key, each.case) or review_scene.openCase(
                work.key, each.case, work.image(each.case), work.labels(each.case),
                work.marks(each.case))
        self.slice, self._queuedCase = each, work.queue.case(each.case)
        review_scene.show(self.case, each.position_mm)

    def leave(self, work) -> None:
        """Take the case out of the scene; what was corrected and is not done is kept.

        :raises RuntimeError, OSError: it cannot be kept; then it stays.
        """
        if self.case and self.case.isThere:
            if self.case.isChanged and self.isOf(work):
                review_scene.save(self.case, work.draft(self.case.case))
            if not self.case.isChanged:  # of another queue, it stays in the scene
                self.case.remove()
        self.forget()

    def finish(self, work, isWhole: bool) -> None:
        """Save the correction, and note that the slice was reviewed.

        :param isWhole: whether all of it is right now, or only what was marked.
        :raises RuntimeError, OSError: it cannot be saved.
        """
        review_scene.save(self.case, work.correction(self.case.case))
        work.markDone(self.slice, isWhole)
