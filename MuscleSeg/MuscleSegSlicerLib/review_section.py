# SPDX-License-Identifier: Apache-2.0
"""The section "Review": the slices that a model is least sure of, corrected one by one."""

import os

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib.errors import ReadingRoomError
from ReadingRoomLib.models import NAME_PATTERN
from ReadingRoomSlicerLib.training_panel import asArguments, chosen, menu, offer

from . import review_scene
from .command_section import CommandSection, fileOf, reasonForFolder
from .review_bar import ReviewBar
from .review_work import ReviewWork, Round
from .section_parts import TableRow, folderLineEdit, pushButton, showRows, table
from .slice_review import SliceReview

MARKS_DONE = _("done")
HEADERS = (
    (_("Image"), _("Double-click a slice to open it.")),
    (_("Slice"), _("Number of the slice, from 0.")),
    (_("Patient"), _("Whose image it is.")),
    (_("Doubt"), _("Mean uncertainty of what is labelled in the slice, 0 to 1.")),
    (_("State"), _("What was done with it.")),
)


class ReviewSection(CommandSection):
    """Scores a pool, opens the slices of the queue, keeps corrections, goes on with training.

    :param owner: as for `CommandSection`; it has ``modelNames(recipe=None)``, ``recipes()`` and
      ``onTrained()``, too.
    """

    further = ("matplotlib>=3.9",)

    def __init__(self, library: str, owner) -> None:
        super().__init__(library, owner, _("Review"), _(
            "Which slices of many CTs should a person correct first? Those that the model is least"
            " sure of; only their uncertain pixels need a look. Training then goes on from the"
            " corrections."), _("Score the pool"))
        self.work = None
        self.opened = SliceReview()
        self._steps = []
        self._sentence = ""
        self.bar = None
        self._addForm()
        self.progressLabel = qt.QLabel()
        self.resultLayout.insertWidget(0, self.progressLabel)
        self.table = table(HEADERS)
        self.table.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)
        self.resultLayout.insertWidget(1, self.table)
        self.pictureLabel.visible = False
        self.wholeCheckBox = qt.QCheckBox(_("All of the slice is right now, not only the marks"))
        self.wholeCheckBox.toolTip = _(
            "Otherwise only the pixels within the yellow outlines are learned from.")
        self.resultLayout.insertWidget(2, self.wholeCheckBox)
        self.nextButton = pushButton(_("Next"), "", self.onNextButton)
        self.doneButton = pushButton(_("Done with this slice"), "", self.onDoneButton)
        self.continueButton = pushButton(_("Continue training"), "", self.onContinueButton)
        for button in (self.nextButton, self.doneButton, self.continueButton):
            self.buttonsLayout.addWidget(button)
        self.showModels()
        self.refresh()

    def _addForm(self) -> None:
        self.poolLineEdit = folderLineEdit(_(
            "Folder of CTs that need no segmentation (of MRI for a model of any contrast): files,"
            " DICOM folders, or a folder for each case."), "MuscleSegPool")
        self.addRow(_("Pool:"), self.poolLineEdit, "currentPathChanged(QString)")
        self.modelComboBox = menu((), _("The model that looks at the pool, and goes on learning."))
        self.addRow(_("Model:"), self.modelComboBox)
        self.slicesSpinBox = qt.QSpinBox()
        self.slicesSpinBox.setRange(1, 10_000)
        self.slicesSpinBox.value = 20
        self.slicesSpinBox.toolTip = _("How many slices are put into the queue.")
        self.addRow(_("Slices:"), self.slicesSpinBox)
        self.stepsSpinBox = qt.QSpinBox()
        self.stepsSpinBox.setRange(0, 1_000_000)
        self.stepsSpinBox.singleStep = 100
        self.stepsSpinBox.specialValueText = _("as usual")
        self.stepsSpinBox.toolTip = _("How long training goes on after a review.")
        self.addRow(_("Steps:"), self.stepsSpinBox)
        self.folderLineEdit = folderLineEdit(
            _("Where the review goes, into a folder of its own; or where one is that was begun."),
            "MuscleSegReviews")
        self.folderLineEdit.connect("currentPathChanged(QString)", self.refresh)
        self.form.addRow(_("Folder:"), self.folderLineEdit)
        self.nameLineEdit = qt.QLineEdit("review")
        self.nameLineEdit.toolTip = _(
            "Name of the folder of the review; models that come of it are called so, too.")
        self.nameLineEdit.connect("textChanged(QString)", self.refresh)
        self.form.addRow(_("Name:"), self.nameLineEdit)

    # What the module's widget calls

    def showModels(self) -> None:
        """Offer the models that there are."""
        offer(self.modelComboBox, self._owner.modelNames())
        self.check()

    def onSceneClosed(self) -> None:
        self.opened.forget()
        if self.bar:
            self.bar.hide()
        self.refresh()

    def cleanup(self) -> None:
        super().cleanup()
        if self.bar:
            self.bar.close()

    # The queue

    @property
    def folder(self) -> str:
        """Folder of the queue."""
        return os.path.join(self.folderLineEdit.currentPath, self.nameLineEdit.text.strip())

    def refresh(self, changed=None) -> None:
        """Show the queue as it is in its folder now."""
        if self.runner.running:
            return
        self.work = None
        if self.nameLineEdit.text.strip() and os.path.isfile(
                os.path.join(self.folder, "queue.json")):
            self._read()
        if self.work is None and self.bar:
            self.bar.hide()
        self.resultWidget.visible = self.work is not None
        if self.work:
            self.progressLabel.text = self.work.progressSentence()
            showRows(self.table, [self._row(each) for each in self.work.slices])
        self.check()

    def _read(self) -> None:
        try:
            self.work = ReviewWork(self.folder)
        except ReadingRoomError as error:
            self.showMessage(error.message, isError=True)

    def _row(self, each) -> TableRow:
        isOpen = self.opened.isOpen(self.work) and each == self.opened.slice
        state = MARKS_DONE if self.work.isDone(each) else _("open") if isOpen else ""
        return TableRow([each.case, str(each.slice), self.work.queue.case(each.case).patient,
                         f"{each.score:.2f}", state],
                        _("{count} pixels are marked. Double-click to open it.").format(
                            count=each.marked), check=isOpen)

    # Score the pool

    def reasonNotToStart(self) -> str:
        if not os.path.isdir(self.poolLineEdit.currentPath):
            return _("Choose the folder of the CTs.")
        if not chosen(self.modelComboBox):
            return _("No model is installed.")
        if not NAME_PATTERN.fullmatch(self.nameLineEdit.text.strip()):
            return _("Give the review a name of letters, digits and hyphens.")
        if self.work:
            return ""
        return reasonForFolder(self.folderLineEdit.currentPath, self.nameLineEdit.text.strip())

    def startToolTip(self) -> str:
        if self.work:
            return _("Score the pool anew with the chosen model; what was reviewed is kept.")
        return _("Let the model look at all CTs, and queue the slices that it is least sure of.")

    def start(self) -> None:
        for pathLineEdit in (self.poolLineEdit, self.folderLineEdit):
            pathLineEdit.addCurrentPathToHistory()
        self.opened.leave(self.work)
        if self._mayReplace():
            self._steps = [(self._queueCommand(chosen(self.modelComboBox)), self._onQueued)]
            self._startStep()

    def _mayReplace(self) -> bool:
        """Ask where slices were begun and are not done: the new queue forgets these."""
        begun = self.work.begun() if self.work else []
        return not begun or slicer.util.confirmOkCancelDisplay(_(
            "Slices of {cases} were corrected but are not done: what was changed in them is lost."
            " Go on?").format(cases=", ".join(begun)))

    def _queueCommand(self, model: str) -> list:
        return ["queue", self.poolLineEdit.currentPath, *asArguments({
            "output": self.folder, "model": model, "slices": self.slicesSpinBox.value,
            "overwrite": True if self.work else None, **self._owner.computeOptions()})]

    def _startStep(self) -> None:
        """Run the next of the commands that follow each other."""
        (arguments, done), *self._steps = self._steps

        def finished(manifest):
            done(manifest)
            if self._steps:
                self._startStep()

        self.run(arguments, finished)

    def _onQueued(self, manifest) -> None:
        self.refresh()
        self.showMessage("\n".join(filter(None, [
            self._sentence, _("{count} slices are in the queue: press Next.").format(
                count=manifest["slices"]) if manifest["slices"] else _(
                "The queue is empty: all slices were reviewed, or none shows a muscle."),
            *manifest["warnings"]])))
        self._sentence = ""

    def onFailed(self, code: str) -> None:
        self._steps = []
        self._sentence = ""

    # Slice after slice

    def onChecked(self) -> None:
        for button, reason, toolTip in (
            (self.nextButton, self._reasonForNoNext(), _(
                "Open the next slice in the Segment Editor, with what the model found and the"
                " doubtful pixels in yellow outlines.")),
            (self.doneButton, self._reasonNotDone(), _(
                "Save the correction and open the next slice.")),
            (self.continueButton, self._reasonNotToContinue(), _(
                "Learn from all corrections, beginning with the chosen model, and score the pool"
                " anew.")),
        ):
            button.enabled = not reason
            button.toolTip = reason or toolTip
        self.wholeCheckBox.enabled = self.doneButton.enabled

    def _reasonForNoNext(self) -> str:
        if self.runner.running:
            return _("It is running.")
        if not self.work:
            return _("Score a pool first.")
        if not self.work.next():
            return _("All slices of the queue are done.")
        return ""

    def _reasonNotDone(self) -> str:
        if self.runner.running:
            return _("It is running.")
        return self.opened.reasonNotDone(self.work)

    def _reasonNotToContinue(self) -> str:
        if self.runner.running:
            return _("It is running.")
        if not self.work or not self.work.progress.pool_reviewed:
            return _("Correct some slices first.")
        return self.reasonNotToStart()

    def onNextButton(self, checked=False) -> None:
        """Open the next slice that is not done."""
        self.refresh()  # the folder may have gone meanwhile
        if self.work and (following := self.work.next(self.opened.slice)):
            self._open(following)

    def _onDoubleClicked(self, row, column) -> None:
        if self.work and not self.runner.running:
            self._open(self.work.slices[row])

    def _open(self, each) -> None:
        with slicer.util.tryWithErrorDisplay(_("The slice cannot be opened."), waitCursor=True):
            try:
                with self.busy(_("Loading {case}...").format(case=each.case)):
                    self.opened.open(self.work, each)
            except (ReadingRoomError, RuntimeError, OSError) as error:
                self.showMessage(str(getattr(error, "message", error)), isError=True)
                self.refresh()
                return
            self.wholeCheckBox.checked = False
            self.refresh()
            self._showBar()
            review_scene.openEditor()

    def _showBar(self) -> None:
        if not self.bar:
            self.bar = ReviewBar(self)
        each = self.opened.slice
        self.bar.show(_("{case}, slice {number} ({rank} of {count}).\n{progress}").format(
            case=each.case, number=each.slice, rank=each.rank, count=len(self.work.slices),
            progress=self.work.progressSentence()))

    def onDoneButton(self, checked=False) -> None:
        """Save the correction of the slice, and open the next one."""
        isWhole = self.wholeCheckBox.checked or bool(
            self.bar and self.bar.wholeCheckBox.checked)
        self.refresh()  # the folder may have gone meanwhile
        if reason := self._reasonNotDone():
            self.showMessage(reason, isError=True)
            return
        done = self.opened.slice
        with slicer.util.tryWithErrorDisplay(_("The correction cannot be saved."),
                                             waitCursor=True):
            self.opened.finish(self.work, isWhole)
            self.refresh()
            if following := self.work.next(done):
                self._open(following)
            else:
                self._finish()

    def _finish(self) -> None:
        """The queue is done."""
        self.opened.leave(self.work)
        self.refresh()
        self.bar.hide()
        self.showMessage(_("All slices of the queue are done: continue training."))
        self.onBackButton()

    def onBackButton(self, checked=False) -> None:
        """Go back to this module; the slice stays open."""
        slicer.util.selectModule(self._owner.moduleName)

    # Training goes on

    def onContinueButton(self, checked=False) -> None:
        """Train from the corrections, and score the pool with what came of it."""
        with slicer.util.tryWithErrorDisplay(_("The training could not be started.")):
            self.opened.leave(self.work)
            if not self._mayReplace():
                return
            self._steps = self._continuation(chosen(self.modelComboBox))
            self._startStep()
        self.check()

    def _continuation(self, model: str) -> list:
        """The commands by which training goes on from a model, each with what follows it."""
        round_ = Round(self.folder, self._owner.modelNames())
        os.makedirs(round_.folder, exist_ok=True)
        reviewed = self.work.progress.pool_reviewed
        options = round_.trainOptions(reviewed) | {
            "start": model, "steps": self.stepsSpinBox.value, **self._owner.computeOptions(),
            "recipe": next(recipe for recipe in self._owner.recipes()
                           if model in self._owner.modelNames(recipe))}

        def collected(manifest):
            options["data"] = fileOf(manifest, "list")
            self._steps[0] = (["train", *asArguments(options)], trained)

        def trained(manifest):
            self._sentence = _("{name} has learned from {count} slices and can be chosen as"
                               " model.").format(name=round_.name, count=reviewed)
            self._owner.onTrained(manifest)
            self.modelComboBox.currentIndex = self.modelComboBox.findData(round_.name)

        return [(round_.correctionsCommand(), collected), ([], trained),
                (self._queueCommand(round_.name), self._onQueued)]
