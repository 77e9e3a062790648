# SPDX-License-Identifier: Apache-2.0
"""The parts of a module panel that are the same in all modules.

A module's own .ui file holds its inputs and its advanced settings; this adds the model with its
card, the device and seed, Apply with progress and Cancel, the result table with its buttons, and
the disclaimer. Who knows one module knows all.
"""

import contextlib
import os

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib import models
from ReadingRoomLib.errors import ReadingRoomError
from ReadingRoomLib.progress import RemainingTime, format_duration

from . import settings, volumes
from .resources import resourcePath

CHECK_BACKGROUND = (255, 214, 150)
CHECK_TEXT = (120, 50, 0)
DIMMED_TEXT = (150, 150, 150)


class ReadingRoomPanel:
    """Completes the panel of a module.

    :param moduleWidget: what was loaded from the module's .ui file. It has an ``inputsWidget``
      and an ``advancedCollapsibleButton``, each with a form layout, in a vertical layout. It may
      have a ``resultHeadWidget`` and a ``resultToolsWidget``, which go above and below the result
      table.
    :param registryPath: the module's ``models.json``.
    :param onModelChanged: called when the user chooses another model.
    """

    def __init__(self, moduleWidget, registryPath: str, onModelChanged) -> None:
        self.registryPath = registryPath
        self._onModelChanged = onModelChanged
        self._models = []
        self._log = ""
        self._cardBrowser = None
        shared = slicer.util.loadUI(resourcePath("UI", "ReadingRoomPanel.ui"))
        self.ui = self._assemble(moduleWidget, shared)
        self._alignLabels()
        self._progress = ProgressDisplay(self.ui.progressBar)
        self.ui.cardButton.connect("clicked()", self.showCard)
        self.ui.logButton.connect("clicked()", self.showLog)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self._onModelIndexChanged)
        self.ui.modelNoteLabel.enabled = False  # grey, as a remark is
        self.ui.disclaimerLabel.enabled = False
        self._setUpTable()
        self.setRunning(False)
        self.showMessage("")

    def _assemble(self, moduleWidget, shared):
        """Move the shared parts to their places among the module's own; return all of them."""
        parts = slicer.util.childWidgetVariables(shared)
        own = slicer.util.childWidgetVariables(moduleWidget)
        own.inputsWidget.layout().addRow(_("Model:"), parts.modelWidget)
        advanced = own.advancedCollapsibleButton.layout()
        advanced.addRow(_("Device:"), parts.deviceComboBox)
        advanced.addRow(_("Seed:"), parts.seedSpinBox)
        layout = moduleWidget.layout()
        for part in (parts.runWidget, parts.resultCollapsibleButton, parts.disclaimerLabel):
            layout.addWidget(part)
        layout.addStretch(1)
        self._resultParts = [parts.resultTable, parts.resultButtonsWidget]
        result = parts.resultCollapsibleButton.layout()
        for name, following in (("resultHeadWidget", parts.resultSummaryLabel),
                                ("resultToolsWidget", parts.resultButtonsWidget)):
            if hasattr(own, name):
                result.insertWidget(result.indexOf(following), getattr(own, name))
                self._resultParts.append(getattr(own, name))
        shared.setParent(moduleWidget)  # empty and hidden now; it goes when the panel goes
        for name, part in vars(parts).items():
            setattr(own, name, part)
        return own

    def addSection(self, section) -> None:
        """Put a section for researchers below the result.

        :param section: has ``addTo(layout, before)``, such as `reader_study.ReaderStudyPanel`.
        """
        disclaimer = self.ui.disclaimerLabel
        section.addTo(disclaimer.parent().layout(), disclaimer)

    def addLazySection(self, title: str, make):
        """Put the title of a closed section there, whose contents are made when it is opened.

        What few users open must not make the panel slower for all.

        :param make: called without arguments; returns the section, which is closed, such as
          `training_panel.TrainingPanel`.
        :return: the `LazySection`.
        """
        return LazySection(self.ui.disclaimerLabel, title, make)

    def _alignLabels(self) -> None:
        """Give the labels of inputs and advanced settings the same width."""
        labels = []
        for form in (self.ui.inputsWidget.layout(), self.ui.advancedCollapsibleButton.layout()):
            for row in range(form.rowCount()):
                labels.append(form.itemAt(row, qt.QFormLayout.LabelRole).widget())
        width = max(label.sizeHint.width() for label in labels)
        for label in labels:
            label.setMinimumWidth(width)

    # Model

    def recipes(self) -> set:
        """The recipes for which there is a model."""
        return {model.recipe for model in self._availableModels()}

    def modelNames(self, recipe=None) -> list:
        """Names of all models, which another one cannot have; or of those of a recipe."""
        return [model.name for model in self._availableModels()
                if recipe in (None, model.recipe)]

    def _availableModels(self) -> list:
        try:
            with settings.modelFolderInUse():
                return models.available_models(self.registryPath)
        except ReadingRoomError as error:
            self.ui.modelComboBox.toolTip = error.message
            return []

    def showModels(self, recipe, chosen: str) -> None:
        """List the models of a recipe and choose one by name, or the first if it is not there.

        :param recipe: None for a method that needs no model; what only models need is then hidden.
        """
        for part, form in ((self.ui.modelWidget, self.ui.inputsWidget),
                           (self.ui.deviceComboBox, self.ui.advancedCollapsibleButton),
                           (self.ui.seedSpinBox, self.ui.advancedCollapsibleButton)):
            for shown in (part, form.layout().labelForField(part)):
                shown.visible = recipe is not None
        self._models = [model for model in self._availableModels() if model.recipe == recipe]
        names = [model.name for model in self._models]
        comboBox = self.ui.modelComboBox
        blocked = comboBox.blockSignals(True)
        comboBox.clear()
        comboBox.addItems(names)
        comboBox.currentIndex = names.index(chosen) if chosen in names else 0
        comboBox.blockSignals(blocked)
        self._showModelNote()

    @property
    def model(self):
        """The chosen model (`ReadingRoomLib.models.Model`), None when there is none."""
        index = self.ui.modelComboBox.currentIndex
        return self._models[index] if 0 <= index < len(self._models) else None

    @property
    def anyContrastName(self) -> str:
        """Name of the first listed model that takes images of any contrast, empty without one."""
        return next((model.name for model in self._models if model.any_contrast), "")

    @property
    def modelName(self) -> str:
        """Name of the chosen model, empty when there is none."""
        return self.model.name if self.model else ""

    def _onModelIndexChanged(self, index) -> None:
        self._showModelNote()
        self._onModelChanged()

    def _showModelNote(self) -> None:
        model = self.model
        notes = []
        if model and model.simulated:
            notes.append(_("trained on simulated images"))
        if model and model.any_contrast:
            notes.append(_("for CT and MRI of any contrast"))
        if model and not model.installed:
            notes.append(_("will be downloaded, {size} MB").format(size=round(model.size / 1e6)))
        self.ui.modelNoteLabel.text = ", ".join(notes) if model else _("no model is installed")
        self.ui.cardButton.enabled = model is not None
        self.ui.modelComboBox.enabled = model is not None

    def showCard(self) -> None:
        """Show the model card in a window of its own."""
        card = self.model.card if self.model else ""
        if card.startswith("http"):
            qt.QDesktopServices.openUrl(qt.QUrl(card))
            return
        path = os.path.join(os.path.dirname(self.registryPath), card)
        with slicer.util.tryWithErrorDisplay(_("The model card cannot be read.")):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self._cardBrowser = qt.QTextBrowser()
            self._cardBrowser.setWindowTitle(_("Model card"))
            self._cardBrowser.setMarkdown(text)
            self._cardBrowser.openExternalLinks = True
            self._cardBrowser.resize(700, 800)
            self._cardBrowser.show()

    # Apply, progress, Cancel

    def setCanApply(self, reason: str, toolTip: str) -> None:
        """Grey Apply and say why, or let it be pressed.

        :param reason: what is missing; empty when nothing is.
        :param toolTip: what Apply will do.
        """
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or toolTip

    def setRunning(self, running: bool) -> None:
        """Show progress and Cancel, or only Apply; settings cannot be changed during a run."""
        self.ui.progressBar.visible = running
        self.ui.cancelButton.visible = running
        for part in (self.ui.inputsWidget, self.ui.advancedCollapsibleButton):
            part.enabled = not running
        self.ui.applyButton.setSizePolicy(
            qt.QSizePolicy.Fixed if running else qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        if running:
            self._progress.start()
            self.showMessage(_("Starting..."))

    def showProgress(self, stage: str, done: float, total: float, message: str) -> None:
        """Show how far a stage is: a bar with per cent and time left, and what is being done.

        :param total: 0 while it is not known, which shows a bar that only moves.
        """
        self.showMessage(message or stage)
        self._progress.show(done, total)

    def showMessage(self, sentence: str, log: str = "", isError: bool = False) -> None:
        """Show one sentence below Apply; with a log, a button shows it."""
        self._log = log
        self.ui.messageLabel.text = sentence
        self.ui.messageLabel.setStyleSheet("color: #b00020;" if isError else "")
        self.ui.messageWidget.visible = bool(sentence)
        self.ui.logButton.visible = bool(log)

    @contextlib.contextmanager
    def busy(self, sentence: str):
        """Say what is being done while Slicer itself does it and cannot answer."""
        self.showMessage(sentence)
        slicer.app.processEvents()
        try:
            yield
        finally:
            self.showMessage("")

    def showLog(self) -> None:
        """Show the details of the last failure."""
        slicer.util.errorDisplay(self.ui.messageLabel.text, detailedText=self._log)

    # Result

    def nameOverlay(self, text: str, toolTip: str) -> None:
        """Say on its button which map can be drawn over the image."""
        self.ui.overlayButton.text = text
        self.ui.overlayButton.toolTip = toolTip

    def _setUpTable(self) -> None:
        table = self.ui.resultTable
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        table.horizontalHeader().setHighlightSections(False)

    def showResult(self, headers, rows, summary: str = "") -> None:
        """Show the result table, or the hint that there is none yet.

        :param headers: pairs of column title and explanation.
        :param rows: list of `ResultRow`, in the order to show them; None for no result.
        :param summary: what to know about the result as a whole, above the table.
        """
        table = self.ui.resultTable
        hasResult = rows is not None
        for part in self._resultParts:
            part.visible = hasResult
        self.ui.resultHintLabel.visible = not hasResult
        self.ui.resultSummaryLabel.text = summary
        self.ui.resultSummaryLabel.visible = bool(summary)
        table.setSortingEnabled(False)
        table.setRowCount(0)
        if not hasResult:
            return
        table.setColumnCount(len(headers))
        table.setHorizontalHeaderLabels([title for title, _explanation in headers])
        for column, (_title, explanation) in enumerate(headers):
            table.horizontalHeaderItem(column).setToolTip(explanation)
            mode = qt.QHeaderView.Stretch if column == 0 else qt.QHeaderView.ResizeToContents
            table.horizontalHeader().setSectionResizeMode(column, mode)
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            self._showRow(index, row)
        table.horizontalHeader().setSortIndicator(-1, qt.Qt.AscendingOrder)
        table.setSortingEnabled(True)

    def _showRow(self, index: int, row) -> None:
        for column, value in enumerate(row.values):
            item = qt.QTableWidgetItem()
            item.setData(qt.Qt.DisplayRole, value)
            item.setData(qt.Qt.UserRole, row.key)
            item.setToolTip(row.toolTip)
            if 0 < column < len(row.values) - 1:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if row.check:
                item.setBackground(qt.QBrush(qt.QColor(*CHECK_BACKGROUND)))
                item.setForeground(qt.QBrush(qt.QColor(*CHECK_TEXT)))
            elif row.dimmed:
                item.setForeground(qt.QBrush(qt.QColor(*DIMMED_TEXT)))
            if column == 0 and row.color:
                item.setIcon(_swatch(row.color))
            self.ui.resultTable.setItem(index, column, item)

    def updateRow(self, row) -> None:
        """Show a `ResultRow` anew, in place of that with the same key."""
        table = self.ui.resultTable
        table.setSortingEnabled(False)  # or it would move while it is being filled
        for index in range(table.rowCount):
            if self.keyOfRow(index) == row.key:
                self._showRow(index, row)
        table.setSortingEnabled(True)

    def selectedKey(self) -> str:
        """The key of the `ResultRow` that the user has selected; empty when there is none."""
        selected = self.ui.resultTable.selectedItems()
        return selected[0].data(qt.Qt.UserRole) if selected else ""

    def keyOfRow(self, index: int) -> str:
        """The key of the `ResultRow` that is shown in a row of the table, however it is sorted."""
        item = self.ui.resultTable.item(index, 0)
        return item.data(qt.Qt.UserRole) if item else ""


class LazySection:
    """A closed section that is made when it is needed first, and takes the place of its title.

    :param before: the widget that it stands above.
    """

    def __init__(self, before, title: str, make) -> None:
        self._make = make
        self._section = None
        self.title = ctk.ctkCollapsibleButton()
        self.title.text = title
        self.title.collapsed = True
        layout = before.parent().layout()
        layout.insertWidget(layout.indexOf(before), self.title)
        self.title.connect("contentsCollapsed(bool)", self._onToggled)

    @property
    def isMade(self) -> bool:
        return self._section is not None

    @property
    def section(self):
        """What ``make`` returned."""
        if self._section is None:
            self._section = self._make()
            self._section.addTo(self.title.parent().layout(), self.title)
            self.title.hide()
        return self._section

    def cleanup(self) -> None:
        """The panel goes."""
        if self.isMade:
            self._section.cleanup()

    def _onToggled(self, collapsed) -> None:
        if not collapsed:
            self.section.ui.trainingCollapsibleButton.collapsed = False


class ProgressDisplay:
    """A bar with per cent and time left.

    :param bar: the ``QProgressBar``.
    """

    def __init__(self, bar) -> None:
        self._bar = bar
        self._remaining = RemainingTime()

    def start(self) -> None:
        """A computation begins."""
        self._remaining = RemainingTime()
        self.show(0, 0)

    def show(self, done: float, total: float) -> None:
        """Show how far a stage is.

        :param total: 0 while it is not known, which shows a bar that only moves.
        """
        if total <= 0:
            self._bar.setRange(0, 0)
            self._bar.format = ""
            return
        seconds = self._remaining.update(done, total)
        left = _("{time} left").format(time=format_duration(seconds)) if seconds else ""
        self._bar.setRange(0, 1000)
        self._bar.value = round(1000 * min(done / total, 1.0))
        self._bar.format = f"%p %  {left}".rstrip()


def reasonNotCT(volumeNode) -> str:
    """Why a volume cannot be taken for a CT, in a sentence; empty when it can."""
    return _reasonNot("CT", _("The chosen volume is {modality}, but a CT is needed."), volumeNode)


def reasonNotMR(volumeNode) -> str:
    """Why a volume cannot be taken for an MRI, in a sentence; empty when it can."""
    return _reasonNot("MR", _("The chosen volume is {modality}, but an MRI is needed."), volumeNode)


def reasonNotImage(volumeNode) -> str:
    """Why a volume cannot be taken for an image at all, in a sentence; empty when it can."""
    return "" if volumeNode.GetImageData() else _("The chosen volume holds no image.")


def _reasonNot(wanted: str, sentence: str, volumeNode) -> str:
    if reason := reasonNotImage(volumeNode):
        return reason
    kind = volumes.modality(volumeNode)
    return sentence.format(modality=kind) if kind and kind != wanted else ""


class ResultRow:
    """One line of the result table.

    :param key: what the line is about, for the module.
    :param values: texts and numbers, one for each column.
    :param check: whether the physician should look at it; the line stands out.
    :param color: red, green, blue, 0 to 255, of the swatch before the first column.
    :param dimmed: whether the line is done with; it is grey.
    """

    def __init__(self, key, values, check=False, color=None, toolTip="", dimmed=False) -> None:
        self.key = key
        self.values = values
        self.check = check
        self.color = color
        self.toolTip = toolTip
        self.dimmed = dimmed


def _swatch(color):
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*color))
    return qt.QIcon(pixmap)
