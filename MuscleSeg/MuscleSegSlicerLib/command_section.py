# SPDX-License-Identifier: Apache-2.0
"""A section of the panel that runs a command of the library.

It says what it is for, has a form, Start with progress and Cancel, a message, and what came of it:
a table, a picture and buttons. What is special about a section stands in a class built on this.
"""

import contextlib
import os
import types

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import dependencies, jobs
from ReadingRoomSlicerLib.panel import ProgressDisplay

from .section_parts import purpose

PICTURE_WIDTH = 440  # pixels
FORBIDDEN = set('/\\:*?"<>|')


class CommandSection:
    """A collapsible section, closed at first.

    A module's own class has ``reasonNotToStart()``, ``startToolTip()`` and ``start()``.

    :param library: importable name of the library that has the command.
    :param owner: the module's widget. It has ``moduleName`` and ``computeOptions()``, device and
      seed.
    :param title: of the section.
    :param sentence: what it is for.
    :param startText: what is on the button.
    """

    further = ()
    """Requirements that only this needs."""

    deepLearning = True
    """Whether the command runs a model."""

    def __init__(self, library: str, owner, title: str, sentence: str, startText: str) -> None:
        self._owner = owner
        self.library = library
        self.runner = jobs.JobRunner(library)
        self.widget = ctk.ctkCollapsibleButton()
        self.widget.text = title
        self.widget.collapsed = True
        # as all sections call theirs
        self.ui = types.SimpleNamespace(trainingCollapsibleButton=self.widget)
        layout = qt.QVBoxLayout(self.widget)
        layout.addWidget(purpose(sentence))
        self.formWidget = qt.QWidget()
        self.form = qt.QFormLayout(self.formWidget)
        self.form.setContentsMargins(0, 0, 0, 0)
        self.form.setFieldGrowthPolicy(qt.QFormLayout.AllNonFixedFieldsGrow)
        layout.addWidget(self.formWidget)
        layout.addLayout(self._runRow(startText))
        self.messageLabel = purpose("")
        layout.addWidget(self.messageLabel)
        self.resultWidget = qt.QWidget()
        self.resultLayout = qt.QVBoxLayout(self.resultWidget)
        self.resultLayout.setContentsMargins(0, 0, 0, 0)
        self.pictureLabel = qt.QLabel()
        self.pictureLabel.setAlignment(qt.Qt.AlignCenter)
        self.resultLayout.addWidget(self.pictureLabel)
        self.buttonsLayout = qt.QHBoxLayout()
        self.resultLayout.addLayout(self.buttonsLayout)
        layout.addWidget(self.resultWidget)
        self.resultWidget.visible = False
        self.widget.connect("contentsCollapsed(bool)", self.check)
        self.showMessage("")

    def _runRow(self, startText: str):
        layout = qt.QHBoxLayout()
        self.startButton = qt.QPushButton(startText)
        self.startButton.enabled = False
        self.startButton.setMinimumWidth(110)
        self.startButton.connect("clicked(bool)", self.onStartButton)
        self.progressBar = qt.QProgressBar()
        self.progressBar.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Preferred)
        self.cancelButton = qt.QPushButton(_("Cancel"))
        self.cancelButton.toolTip = _("Stop now.")
        self.cancelButton.connect("clicked(bool)", self.onCancelButton)
        for part in (self.startButton, self.progressBar, self.cancelButton):
            layout.addWidget(part)
        self.progressBar.visible = self.cancelButton.visible = False
        self._progress = ProgressDisplay(self.progressBar)
        return layout

    # What a module's own class has

    def reasonNotToStart(self) -> str:
        """What is missing, in a sentence; empty when nothing is."""
        return ""

    def startToolTip(self) -> str:
        """What Start will do."""
        return ""

    def start(self) -> None:
        """Run the command, with `run` or `runInFolder`."""
        raise NotImplementedError

    def onChecked(self) -> None:
        """Called after `check`, to grey other buttons, too."""

    # What the module's widget calls

    def addTo(self, layout, before) -> None:
        """Put the section into a vertical layout, before another widget."""
        layout.insertWidget(layout.indexOf(before), self.widget)
        self.check()

    def cleanup(self) -> None:
        """The panel goes."""
        self.runner.shutdown()

    def onSceneClosed(self) -> None:
        """The scene was closed."""
        self.check()

    # Form

    def addRow(self, label: str, part, *changes) -> None:
        """Put a row into the form.

        :param changes: signals of the part upon which Start is looked at again.
        """
        self.form.addRow(label, part)
        for signal in changes:
            part.connect(signal, self.check)

    def showRow(self, part, shown: bool) -> None:
        """Show a row of the form, or hide it."""
        part.visible = shown
        if label := self.form.labelForField(part):
            label.visible = shown

    def check(self, changed=None) -> None:
        """Grey Start and say why, or let it be pressed."""
        running = self.runner.running
        reason = _("It is running.") if running else self.reasonNotToStart()
        self.startButton.enabled = not reason
        self.startButton.toolTip = reason or self.startToolTip()
        self.formWidget.enabled = not running
        self.progressBar.visible = self.cancelButton.visible = running
        self.onChecked()

    # Start and Cancel

    def onStartButton(self, checked=False) -> None:
        """Start."""
        self.showMessage("")
        with slicer.util.tryWithErrorDisplay(_("It could not be started.")):
            dependencies.ensureDependencies(
                self._owner.moduleName, self.deepLearning, self.further)
            self.start()
        self.check()

    def onCancelButton(self, checked=False) -> None:
        """Stop at once."""
        self.runner.cancel()

    def run(self, arguments, onFinished) -> None:
        """Run a command.

        :param onFinished: called with the manifest.
        """
        self.runner.start([*arguments, "--progress", "json"],
                          lambda manifest: self._finished(onFinished, manifest),
                          self._failed, self._showProgress)
        self._progress.start()

    def runInFolder(self, prepare, load, onFinished) -> None:
        """Run a command in a temporary folder, see `jobs.JobRunner.runInFolder`.

        :param onFinished: called with what ``load`` returns.
        """
        self.runner.runInFolder(
            lambda folder: [*prepare(folder), "--progress", "json"], load,
            lambda result: self._finished(onFinished, result), self._failed, self._showProgress)
        self._progress.start()

    def _showProgress(self, stage, done, total, message) -> None:
        self.showMessage(message or stage)
        self._progress.show(done, total)

    def _finished(self, onFinished, result) -> None:
        self.showMessage("")
        with slicer.util.tryWithErrorDisplay(_("The result cannot be shown.")):
            onFinished(result)
        self.check()

    def _failed(self, code, sentence, log) -> None:
        self.showMessage(self.spoken(sentence), isError=code != "CANCELLED")
        self.onFailed(code)
        self.check()
        if code == "INTERNAL":
            slicer.util.errorDisplay(sentence, detailedText=log)

    def spoken(self, sentence: str) -> str:
        """A sentence of the command about its files, about what they are to the user."""
        return sentence

    def onFailed(self, code: str) -> None:
        """Called when there is no result."""

    @contextlib.contextmanager
    def busy(self, sentence: str):
        """Say what is being done while Slicer itself does it and cannot answer."""
        self.showMessage(sentence)
        slicer.app.processEvents()
        try:
            yield
        finally:
            self.showMessage("")

    # What came of it

    def showMessage(self, sentence: str, isError: bool = False) -> None:
        """Show what is being done, or what came of it."""
        self.messageLabel.text = sentence
        self.messageLabel.setStyleSheet("color: #b00020;" if isError else "")
        self.messageLabel.visible = bool(sentence)

    def showPicture(self, path: str) -> None:
        """Show a picture, or none where there is no such file."""
        pixmap = qt.QPixmap(path if os.path.isfile(path) else "")
        self.pictureLabel.visible = not pixmap.isNull()
        if not pixmap.isNull():
            self.pictureLabel.setPixmap(
                pixmap.scaledToWidth(PICTURE_WIDTH, qt.Qt.SmoothTransformation))


def reasonForFolder(folder: str, name: str) -> str:
    """Why a result cannot go into a new folder of this name; empty when it can."""
    if not os.path.isdir(folder):
        return _("Choose a folder for the result.")
    if not name or name.startswith(".") or FORBIDDEN & set(name):
        return _("Give the new folder a name.")
    if os.path.exists(os.path.join(folder, name)):
        return _("There is something of this name in the folder already: choose another name.")
    return ""


def fileOf(manifest, role: str) -> str:
    """Path of a file of a result; empty where it has none."""
    name = manifest.get("files", {}).get(role)
    return os.path.join(manifest["folder"], name) if name else ""
