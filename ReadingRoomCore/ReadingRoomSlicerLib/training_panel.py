# SPDX-License-Identifier: Apache-2.0
"""The section of a panel in which a model is trained on images of one's own, with live curves.

The training is the command ``train`` of the module's library, in a process of its own, so the
module can be used meanwhile. What is special about a module stands in a class built on this one.
"""

import os

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib.learning_curves import HISTORY, read_history, table_of
from ReadingRoomLib.models import NAME_PATTERN

from . import dependencies, jobs, plots
from .panel import ProgressDisplay
from .resources import resourcePath

REFRESH_SECONDS = 2
PICTURE = "curves.png"
PICTURE_WIDTH = 440  # pixels


class TrainingPanel:
    """The collapsible section "Train", closed at first; or another one that trains for hours.

    A module's own class adds rows with `addOption`, and has ``options()``, ``reasonForOptions()``
    and ``summaryOf(manifest)``; one that does not end with a model has ``command``,
    ``startToolTip`` and ``showFinished(manifest)``, too.

    :param library: importable name of the library that has the command.
    :param title: of the module.
    :param owner: the module's widget. It has ``modelNames()``, the names that are taken,
      ``computeOptions()``, device and seed, and ``onTrained(manifest)``, called when there is a
      new model.
    """

    command = "train"
    """Of the library."""

    startToolTip = _("Train a model on the images of the list.")
    """What Start will do."""

    further = ()
    """Requirements that only this needs."""

    def __init__(self, library: str, title: str, owner) -> None:
        self._title = title
        self._owner = owner
        self._work = ""
        self._seen = None
        self.runner = jobs.JobRunner(library)
        self.plot = plots.CurvePlot(_("{module} training").format(module=title))
        self.widget = slicer.util.loadUI(resourcePath("UI", "ReadingRoomTraining.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._progress = ProgressDisplay(self.ui.trainingProgressBar)
        self._timer = qt.QTimer()
        self._timer.setInterval(REFRESH_SECONDS * 1000)
        self._timer.connect("timeout()", self.refresh)
        ui = self.ui
        for pathLineEdit in (ui.trainingDataPathLineEdit, ui.trainingFolderPathLineEdit):
            pathLineEdit.connect("currentPathChanged(QString)", self.checkCanStart)
        ui.trainingNameLineEdit.connect("textChanged(QString)", self.checkCanStart)
        ui.trainingCollapsibleButton.connect("contentsCollapsed(bool)", self.checkCanStart)
        ui.startTrainingButton.connect("clicked(bool)", self.onStartButton)
        ui.cancelTrainingButton.connect("clicked(bool)", self.onCancelButton)
        ui.showCurvesButton.connect("clicked(bool)", self.onShowCurvesButton)
        ui.trainingCurvesWidget.visible = False
        self.showMessage("")

    # What a module's own class has

    def options(self) -> dict:
        """Further options of the command, by name; those that are None are left out."""
        return {}

    def reasonForOptions(self) -> str:
        """Why the options do not go together; empty when they do."""
        return ""

    def summaryOf(self, manifest) -> str:
        """What came of it, in a sentence."""
        return ""

    def addOption(self, label: str, widget) -> None:
        """Put a row below the list of images."""
        layout = self.ui.trainingOptionsLayout
        layout.insertRow(layout.rowCount() - 3, label, widget)

    # What the module's widget calls

    def addTo(self, layout, before) -> None:
        """Put the section into a vertical layout, before another widget."""
        layout.insertWidget(layout.indexOf(before), self.widget)
        self.checkCanStart()

    def cleanup(self) -> None:
        """The panel goes: the training ends and can go on another time."""
        self._timer.stop()
        self.runner.shutdown()

    # Start and Cancel

    def checkCanStart(self, changed=None) -> None:
        """Grey Start and say why, or let it be pressed."""
        running = self.runner.running
        reason = _("The training is running.") if running else self._reasonNotToStart()
        self.ui.startTrainingButton.enabled = not reason
        self.ui.startTrainingButton.toolTip = reason or (
            _("Go on with the training that was begun.") if self._isBegun()
            else self.startToolTip)
        self.ui.trainingOptionsWidget.enabled = not running
        self.ui.trainingProgressBar.visible = running
        self.ui.cancelTrainingButton.visible = running

    def _reasonNotToStart(self) -> str:
        name = self.ui.trainingNameLineEdit.text.strip()
        if not os.path.isfile(self.ui.trainingDataPathLineEdit.currentPath):
            return _("Choose the file that lists the images first.")
        if not os.path.isdir(self.ui.trainingFolderPathLineEdit.currentPath):
            return _("Choose a folder for the result.")
        if not NAME_PATTERN.fullmatch(name):
            return _("Give the model a name of letters, digits and hyphens.")
        if self.command == "train" and name in self._owner.modelNames():
            return _("There is a model of this name already: choose another name.")
        if os.path.exists(self.output):
            return _("There is something of this name in the folder already: choose another name.")
        return self.reasonForOptions()

    @property
    def output(self) -> str:
        """Folder of the result."""
        return os.path.join(self.ui.trainingFolderPathLineEdit.currentPath,
                            self.ui.trainingNameLineEdit.text.strip())

    def _isBegun(self) -> bool:
        return os.path.exists(self._markIn(f"{self.output}-training"))

    def _markIn(self, work: str) -> str:
        """A file that is there once the work has begun."""
        return self._historyIn(work)

    @staticmethod
    def _historyIn(work: str) -> str:
        return os.path.join(work, "training", HISTORY)

    def onStartButton(self, checked=False) -> None:
        """Start training, or go on with it."""
        ui = self.ui
        self._work = f"{self.output}-training"
        self._seen = None
        self.plot.forget()
        self.showMessage("")
        options = {"data": ui.trainingDataPathLineEdit.currentPath, "output": self.output,
                   "work": self._work, "steps": ui.trainingStepsSpinBox.value,
                   **self._owner.computeOptions(), **self.options()}
        if self.command == "train":
            options["name"] = ui.trainingNameLineEdit.text.strip()
        given = asArguments(options)
        with slicer.util.tryWithErrorDisplay(_("The training could not be started.")):
            dependencies.ensureDependencies(self._title, further=self.further)
            self.runner.start([self.command, *given, "--progress", "json"],
                              self._onFinished, self._onFailed, self._onProgress)
            for pathLineEdit in (ui.trainingDataPathLineEdit, ui.trainingFolderPathLineEdit):
                pathLineEdit.addCurrentPathToHistory()
            self._progress.start()
            self._timer.start()
        self.checkCanStart()

    def onCancelButton(self, checked=False) -> None:
        """Stop training; what was learned so far is kept for the next Start."""
        self.runner.cancel()

    def onShowCurvesButton(self, checked=False) -> None:
        """Show the curves in Slicer's plot view."""
        self.plot.show()

    def _onProgress(self, stage, done, total, message) -> None:
        self.showMessage(message or stage)
        self._progress.show(done, total)

    def _onFinished(self, manifest) -> None:
        self._ended()
        self.showFinished(manifest)
        self.checkCanStart()

    def showFinished(self, manifest) -> None:
        """Say what came of it, and let the model be chosen."""
        self._owner.onTrained(manifest)
        self.showMessage("\n".join(filter(None, [
            self.summaryOf(manifest), *manifest["warnings"],
            _("{name} can now be chosen as model above.").format(name=manifest["kept_as"])])))

    def _onFailed(self, code, sentence, log) -> None:
        self._ended()
        if code == "CANCELLED":
            sentence = _("Stopped. Start goes on where it was.")
        self.showMessage(sentence, isError=code != "CANCELLED")
        self.checkCanStart()
        if code == "INTERNAL":
            slicer.util.errorDisplay(sentence, detailedText=log)

    def _ended(self) -> None:
        self._timer.stop()
        self.refresh()

    def showMessage(self, sentence: str, isError: bool = False) -> None:
        """Show what is being done, or what came of it."""
        label = self.ui.trainingMessageLabel
        label.text = sentence
        label.setStyleSheet("color: #b00020;" if isError else "")
        label.visible = bool(sentence)

    # Curves

    def refresh(self) -> None:
        """Show the curves as they are now."""
        path = self._historyIn(self._work)
        if not os.path.exists(path):
            return
        changed = os.path.getmtime(path)
        if changed == self._seen:
            return
        self._seen = changed
        self.plot.update(table_of(read_history(path)))
        picture = os.path.join(os.path.dirname(path), PICTURE)
        if os.path.exists(picture):
            self.showPicture(picture)

    def showPicture(self, path: str) -> None:
        """Show a picture of how it goes, or of what came of it."""
        self.ui.trainingCurvesLabel.setPixmap(
            qt.QPixmap(path).scaledToWidth(PICTURE_WIDTH, qt.Qt.SmoothTransformation))
        self.ui.trainingCurvesWidget.visible = True


def menu(entries, toolTip: str):
    """A combo box.

    :param entries: pairs of value and label.
    """
    comboBox = qt.QComboBox()
    for value, label in entries:
        comboBox.addItem(label, value)
    comboBox.toolTip = toolTip
    return comboBox


def chosen(comboBox):
    """The value of the chosen entry of a `menu`."""
    return comboBox.itemData(comboBox.currentIndex)


def offer(comboBox, names) -> None:
    """Put other names into a `menu`; what was chosen stays so where it is among them."""
    before = chosen(comboBox)
    comboBox.clear()
    for name in names:
        comboBox.addItem(name, name)
    if before in names:
        comboBox.currentIndex = names.index(before)


def asArguments(options: dict) -> list:
    """Options of the command line: a list is repeated, None left out, True a flag."""
    given = []
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is True:
                given.append(f"--{name}")
            elif each is not None:
                given += [f"--{name}", each]
    return given
