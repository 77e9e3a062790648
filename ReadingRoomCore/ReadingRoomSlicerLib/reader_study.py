# SPDX-License-Identifier: Apache-2.0
"""The section of a panel in which a reader study is read and analysed.

What is read when, what has still to be said and what is kept is decided by
`ReadingRoomLib.reader_study`; here it is shown, and here the reader answers.
"""

import contextlib
import logging
import os
import pathlib

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ReadingRoomLib.errors import ReadingRoomError, typed_error
from ReadingRoomLib.reader_study.conduct import Mark, ReadingClock
from ReadingRoomLib.reader_study.folder import STUDY_FILE, StudyFolder, create_study

from . import dependencies, jobs, tables, views
from .resources import resourcePath

LIBRARY = "ReadingRoomLib.reader_study"
ANALYSIS_FOLDER = "analysis"
NOT_SAID = "–"


class ReaderStudyPanel(VTKObservationMixin):
    """The collapsible section "Reader study", closed at first.

    The module's widget puts it into its panel with `addTo`, and calls `enter`, `exit` and
    `cleanup` in its own methods of these names; reading time is counted only in between.

    :param colorOverlay: called with the volume node of an aid, to give it its colours.
    """

    def __init__(self, colorOverlay=None) -> None:
        VTKObservationMixin.__init__(self)
        self._colorOverlay = colorOverlay
        self._study = None
        self._log = None
        self._reading = None
        self._case = None
        self._rating = None
        self._isEntered = False
        self._clock = ReadingClock()
        self.widget = slicer.util.loadUI(resourcePath("UI", "ReadingRoomReaderStudy.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.analysis = _AnalysisSection(self.ui, lambda: self._study)
        self._setUpWidgets()
        self._connect()
        self._showState()

    def addTo(self, layout, before=None) -> None:
        """Put the section into a vertical layout: before another widget, or at the end."""
        layout.insertWidget(layout.indexOf(before) if before else layout.count(), self.widget)

    def enter(self) -> None:
        """The module's panel is shown."""
        self._isEntered = True
        self._onShownChanged()

    def exit(self) -> None:
        """The module's panel is hidden."""
        self._isEntered = False
        self._onShownChanged()

    def cleanup(self) -> None:
        """The panel goes: the case that is being read is left without an answer."""
        self._leaveCase()
        self.analysis.cleanup()

    @property
    def seconds(self) -> float:
        """For how long the case was looked at."""
        return self._clock.seconds

    def _setUpWidgets(self) -> None:
        table = self.ui.marksTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Mark"), _("Confidence")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        _setUpTable(table)
        label = self.ui.confidenceValueLabel
        label.setMinimumWidth(label.sizeHint.width())  # the slider stays as long as it is

    def _connect(self) -> None:
        ui = self.ui
        ui.readerStudyCollapsibleButton.connect("contentsCollapsed(bool)", self._onShownChanged)
        ui.studyPathLineEdit.connect("currentPathChanged(QString)", self._onStudyPathChanged)
        ui.createButton.connect("clicked(bool)", self.onCreateButton)
        ui.readerComboBox.connect("currentIndexChanged(int)", self._onReaderChanged)
        ui.nextButton.connect("clicked(bool)", self.onNextButton)
        ui.imageComboBox.connect("currentIndexChanged(int)", self._onImageChanged)
        ui.overlayButton.connect("toggled(bool)", self._onOverlayToggled)
        ui.markButton.connect("toggled(bool)", self._onMarkToggled)
        ui.removeButton.connect("clicked(bool)", self.onRemoveButton)
        ui.marksTable.connect("currentCellChanged(int,int,int,int)", self._onMarkChosen)
        ui.marksTable.connect("cellClicked(int,int)", self._onMarkClicked)
        ui.confidenceSlider.connect("valueChanged(int)", self._onConfidenceGiven)
        # Who means the value that the slider shows already takes it and lets it go.
        ui.confidenceSlider.connect("sliderReleased()", self._onConfidenceGiven)
        ui.qualityComboBox.connect("currentIndexChanged(int)", self._checkCanFinish)
        ui.doneButton.connect("clicked(bool)", self.onDoneButton)
        ui.stopButton.connect("clicked(bool)", self.onStopButton)

    # Study and reader

    def _onShownChanged(self, collapsed=None) -> None:
        isShown = self._isEntered and not self.ui.readerStudyCollapsibleButton.collapsed
        if isShown and self._study is None:
            self._onStudyPathChanged()
        if isShown and self._case:
            self._clock.run()
        else:
            self._clock.pause()
        self._showState()  # a washout may have ended meanwhile

    def _onStudyPathChanged(self, path=None) -> None:
        self._study = None
        self.analysis.forget()
        chosen = self.ui.studyPathLineEdit.currentPath
        isFolder = bool(chosen) and os.path.isdir(chosen)
        isNew = isFolder and not os.path.exists(os.path.join(chosen, STUDY_FILE))
        self.ui.readersLabel.visible = isNew
        self.ui.readersWidget.visible = isNew
        with self._saidInOneSentence() as outcome:
            if isFolder and not isNew:
                self._study = StudyFolder(pathlib.Path(chosen))
                self.ui.studyPathLineEdit.addCurrentPathToHistory()
        self._showReaders()
        if isNew:
            self._showMessage(_(
                "No study is in this folder yet: name the readers and press Create study."))
        else:
            self._showMessage(outcome.sentence, isError=True)

    def onCreateButton(self) -> None:
        """Make a study of the images in the folder."""
        names = [name.strip() for name in self.ui.readersLineEdit.text.split(",")]
        with self._saidInOneSentence() as outcome:
            create_study(pathlib.Path(self.ui.studyPathLineEdit.currentPath),
                         [name for name in names if name])
            self._onStudyPathChanged()
        if outcome.sentence:
            self._showMessage(outcome.sentence, isError=True)

    def _showReaders(self) -> None:
        comboBox = self.ui.readerComboBox
        blocked = comboBox.blockSignals(True)
        comboBox.clear()
        comboBox.addItems(list(self._study.plan.readers) if self._study else [])
        comboBox.currentIndex = -1  # readers say themselves who they are
        comboBox.blockSignals(blocked)
        self._onReaderChanged()

    def _onReaderChanged(self, index=None) -> None:
        self._log = None
        reader = self.ui.readerComboBox.currentText
        with self._saidInOneSentence() as outcome:
            if self._study and reader:
                self._log = self._study.log(reader)
        self._showMessage(outcome.sentence, isError=True)

    def _showMessage(self, sentence: str, isError: bool = False) -> None:
        """Show a sentence; without one, how far the reader is."""
        self.ui.messageLabel.text = sentence or self._progress()
        self.ui.messageLabel.setStyleSheet("color: #b00020;" if sentence and isError else "")
        self.ui.messageLabel.visible = bool(self.ui.messageLabel.text)
        self._showState()

    def _progress(self) -> str:
        if not self._log or self._case:
            return ""
        return self._log.reason_to_wait() or _("{done} of {all} cases are read.").format(
            done=len(self._log.answers), all=len(self._log.readings))

    def _showState(self) -> None:
        """Show the parts that are of use now."""
        isReading = self._case is not None
        self.ui.studyWidget.enabled = not isReading
        self.ui.readingWidget.visible = isReading
        self.ui.nextButton.visible = not isReading
        reason = self._reasonNotToRead()
        self.ui.nextButton.enabled = not reason
        self.ui.nextButton.toolTip = reason or _(
            "Show the next case. The time is counted from then on.")
        self.analysis.checkCanAnalyse()

    def _reasonNotToRead(self) -> str:
        if not self._study:
            return _("Choose the folder of a study first.")
        if not self._log:
            return _("Choose who reads.")
        return self._log.reason_to_wait()

    # A case

    def onNextButton(self) -> None:
        """Show the case that is to be read next."""
        self._onReaderChanged()  # answers may have been given in another window meanwhile
        if self._reasonNotToRead():
            return
        reading = self._log.next
        plan = self._study.plan
        with self._saidInOneSentence() as outcome, slicer.util.WaitCursor():
            self._case = CaseInScene(
                _("Case {number}").format(number=reading.number), self._study.images(reading),
                self._study.presentations[reading.modality].overlay, self._study.window,
                self._colorOverlay)
        if outcome.sentence:
            self._showMessage(outcome.sentence, isError=True)
            return
        self._reading = reading
        self._rating = None
        self.ui.caseLabel.text = _(
            "<b>Case {number} of {cases}</b>, session {session} of {sessions}: {modality}").format(
            number=reading.number, cases=len(plan.cases), session=reading.session,
            sessions=len(plan.modalities), modality=reading.modality)
        self._showChoices(plan)
        self._observeCase()
        self._showMessage("")
        self._showMarks()
        self._clock.reset()
        self._onShownChanged()

    def _showChoices(self, plan) -> None:
        """Offer what can be chosen and said about this case."""
        images = list(self._case.images)
        for comboBox, words in ((self.ui.imageComboBox, images),
                                (self.ui.qualityComboBox, list(plan.quality))):
            blocked = comboBox.blockSignals(True)
            comboBox.clear()
            comboBox.addItems(words)
            comboBox.blockSignals(blocked)
        self.ui.qualityComboBox.currentIndex = -1  # nothing is said for the reader
        blocked = self.ui.overlayButton.blockSignals(True)
        self.ui.overlayButton.checked = True
        self.ui.overlayButton.blockSignals(blocked)
        self.ui.imageLabel.visible = len(images) > 1
        self.ui.imageComboBox.visible = len(images) > 1
        self.ui.overlayButton.visible = self._case.overlay is not None
        self.ui.marksWidget.visible = plan.free_response
        self.ui.qualityWidget.visible = bool(plan.quality)

    def _observeCase(self) -> None:
        scene, marks = slicer.mrmlScene, self._case.marks
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(marks, marks.PointPositionDefinedEvent, self._onMarkPlaced)
        self.addObserver(marks, marks.PointPositionUndefinedEvent, self._showMarks)
        self.addObserver(marks, marks.PointRemovedEvent, self._onMarkRemoved)
        interactionNode = _interactionNode()
        self.addObserver(interactionNode, interactionNode.InteractionModeChangedEvent,
                         self._onInteractionModeChanged)

    def _onSceneStartClose(self, caller=None, event=None) -> None:
        self._leaveCase(removeNodes=False)
        self._showMessage(_("The scene was closed, so this case was left without an answer."))

    def _onNodeRemoved(self, caller=None, event=None) -> None:
        if self._case and not self._case.isComplete:
            self._leaveCase()
            self._showMessage(_(
                "A part of the case was removed, so it was left without an answer."))

    def _leaveCase(self, removeNodes: bool = True) -> None:
        """Take the case away from the scene, whatever became of it."""
        self.removeObservers()
        self._clock.reset()
        case, self._case, self._reading = self._case, None, None
        if case:
            self._stopPlacing()
            if removeNodes:
                case.remove()
        self._showState()

    def onStopButton(self) -> None:
        """Leave the case without an answer."""
        self._leaveCase()
        self._showMessage("")

    def onDoneButton(self) -> None:
        """Keep the answer, and show the next case if there is one for now."""
        confidences = self._case.confidences()
        positions = self._case.positions()
        with self._saidInOneSentence() as outcome:
            self._log.add(
                self._reading,
                [Mark(place, rating) for place, rating in zip(positions, confidences, strict=True)],
                self._rating, self._clock.seconds, quality=self._quality())
        if outcome.sentence:
            self._showMessage(outcome.sentence, isError=True)
            return
        self._leaveCase()
        self._showMessage("")
        if self.ui.nextButton.enabled:
            self.onNextButton()

    def _quality(self):
        return self.ui.qualityComboBox.currentText or None

    def _checkCanFinish(self, index=None) -> None:
        reason = self._study.plan.missing(self._case.confidences(), self._rating, self._quality())
        self.ui.doneButton.enabled = not reason
        self.ui.doneButton.toolTip = reason or _(
            "Keep the answer and show the next case. It cannot be changed afterwards.")

    # Images

    def _onImageChanged(self, index) -> None:
        self._case.showImage(self.ui.imageComboBox.currentText)

    def _onOverlayToggled(self, show) -> None:
        views.showOverlay(self._case.overlay, show)

    # Marks

    def _onMarkToggled(self, place) -> None:
        if not place:
            self._stopPlacing()
            return
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(self._case.marks)
        logic.StartPlaceMode(False)  # one mark at a time: each is rated before the next

    def _stopPlacing(self) -> None:
        interactionNode = _interactionNode()
        if interactionNode.GetCurrentInteractionMode() == interactionNode.Place:
            interactionNode.SetCurrentInteractionMode(interactionNode.ViewTransform)

    def _onInteractionModeChanged(self, caller=None, event=None) -> None:
        interactionNode = _interactionNode()
        blocked = self.ui.markButton.blockSignals(True)
        self.ui.markButton.checked = (
            interactionNode.GetCurrentInteractionMode() == interactionNode.Place)
        self.ui.markButton.blockSignals(blocked)

    def _onMarkPlaced(self, caller=None, event=None) -> None:
        self._showMarks(chosen=len(self._case.confidences()) - 1)

    def _onMarkRemoved(self, caller=None, event=None) -> None:
        self._case.numberMarks()
        self._showMarks()

    def _showMarks(self, caller=None, event=None, chosen=None) -> None:
        """List the marks; the chosen one stays chosen where another is not given."""
        table = self.ui.marksTable
        confidences = self._case.confidences()
        row = table.currentRow() if chosen is None else chosen
        blocked = table.blockSignals(True)
        table.setRowCount(len(confidences))
        for index, confidence in enumerate(confidences):
            for column, text in enumerate((str(index + 1), _textOf(confidence))):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(qt.Qt.AlignCenter)
                table.setItem(index, column, item)
        table.setCurrentCell(min(row, len(confidences) - 1), 0)
        table.blockSignals(blocked)
        self._showConfidence()

    def _onMarkChosen(self, row, column, previousRow, previousColumn) -> None:
        self._showConfidence()

    def _onMarkClicked(self, row, column) -> None:
        self._case.jumpTo(row)

    def onRemoveButton(self) -> None:
        """Remove the chosen mark."""
        self._case.removeMark(self.ui.marksTable.currentRow())

    # Confidence

    def _showConfidence(self) -> None:
        """Let the slider be that of the chosen mark or, where cases are rated, of the case."""
        row = self.ui.marksTable.currentRow()
        if not self._study.plan.free_response:
            question, confidence = _("How sure are you that this patient is ill?"), self._rating
        elif row >= 0:
            question = _("How sure are you that mark {number} is a lesion?").format(number=row + 1)
            confidence = self._case.confidences()[row]
        else:
            question, confidence = _("Mark every lesion you see, if there is any."), None
        isAsked = row >= 0 or not self._study.plan.free_response
        self.ui.removeButton.enabled = row >= 0
        self.ui.confidenceLabel.text = question
        slider = self.ui.confidenceSlider
        slider.enabled = isAsked
        slider.toolTip = _("0: certainly not. 100: certain.")
        blocked = slider.blockSignals(True)
        slider.value = confidence or 0
        slider.blockSignals(blocked)
        self.ui.confidenceValueLabel.text = _textOf(confidence) if isAsked else ""
        self._checkCanFinish()

    def _onConfidenceGiven(self, value=None) -> None:
        confidence = self.ui.confidenceSlider.value
        if self._study.plan.free_response:
            self._case.setConfidence(self.ui.marksTable.currentRow(), confidence)
            self._showMarks()
        else:
            self._rating = confidence
            self._showConfidence()

    @contextlib.contextmanager
    def _saidInOneSentence(self):
        """Catch what goes wrong; its ``sentence`` is empty when nothing does."""
        outcome = _Outcome()
        try:
            yield outcome
        except Exception as error:
            if not isinstance(error, (ReadingRoomError, _CannotShow)):
                logging.exception("Reader study")  # for the log; the reader gets one sentence
            folder = self.ui.studyPathLineEdit.currentPath
            outcome.sentence = (str(error) if isinstance(error, _CannotShow)
                                else typed_error(error, [folder]).message)


class _Outcome:
    sentence = ""


class _CannotShow(RuntimeError):
    """An image cannot be read; the sentence names neither file nor patient."""


def _setUpTable(table) -> None:
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(22)
    table.horizontalHeader().setHighlightSections(False)


def _textOf(confidence) -> str:
    return NOT_SAID if confidence is None else str(confidence)


def _interactionNode():
    return slicer.app.applicationLogic().GetInteractionNode()


class CaseInScene:
    """The volumes and marks of the case that is being read.

    The nodes carry the number that the case has for this reader, and do not know their files, so
    that neither patient nor file is named anywhere.

    :param name: of the case, as the reader may see it.
    :param paths: files of the images by name.
    :param overlay: name of the image that is drawn over the others; None without.
    :param window: lowest and highest value of the grey scale; None for Slicer's choice.
    :param colorOverlay: called with the overlay; None leaves it grey.
    :raises RuntimeError: when an image cannot be read; nothing is left in the scene then.
    """

    def __init__(self, name: str, paths: dict, overlay, window, colorOverlay=None) -> None:
        self._nodes = []
        self.images = {}
        self.overlay = None
        try:
            for role, path in paths.items():
                node = self._load(role, path, f"{name} {role}" if self.images else name)
                if role == overlay:
                    self.overlay = node
                else:
                    self.images[role] = node
            self._setDisplay(window, colorOverlay)
        except Exception:
            self.remove()
            raise
        self.marks = self._add("vtkMRMLMarkupsFiducialNode", _("{name} marks").format(name=name))
        self.marks.CreateDefaultDisplayNodes()
        self.marks.SetControlPointLabelFormat("%d")

    def _setDisplay(self, window, colorOverlay) -> None:
        for node in self.images.values() if window else ():
            node.GetDisplayNode().AutoWindowLevelOff()
            node.GetDisplayNode().SetWindowLevelMinMax(*window)
        if self.overlay and colorOverlay:
            colorOverlay(self.overlay)
        first = next(iter(self.images.values()))
        slicer.util.setSliceViewerLayers(background=first, foreground=None, label=None, fit=True)
        if self.overlay:
            views.showOverlay(self.overlay, True)

    def _add(self, className, name):
        self._nodes.append(slicer.mrmlScene.AddNewNodeByClass(className, name))
        return self._nodes[-1]

    def _load(self, role, path, name):
        node = self._add("vtkMRMLScalarVolumeNode", name)
        storageNode = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storageNode.SetFileName(str(path))
        storageNode.SetSingleFile(True)  # files beside it with like names are other images
        if not storageNode.ReadData(node):
            raise _CannotShow(_(
                "The image '{role}' of this case cannot be read: tell who organises the study."
            ).format(role=role))
        node.CreateDefaultDisplayNodes()
        return node

    @property
    def isComplete(self) -> bool:
        """Whether all of it is still in the scene."""
        return all(node.GetScene() for node in self._nodes)

    def remove(self) -> None:
        """Remove what is left of it from the scene."""
        nodes, self._nodes = self._nodes, []
        for node in nodes:
            if node.GetScene():
                slicer.mrmlScene.RemoveNode(node)

    def showImage(self, role: str) -> None:
        """Show another image in the slice views, which stay where they are."""
        slicer.util.setSliceViewerLayers(background=self.images[role])

    def _points(self) -> list:
        """Indices of the points that are placed; the one that follows the mouse is not."""
        marks = self.marks
        return [index for index in range(marks.GetNumberOfControlPoints())
                if marks.GetNthControlPointPositionStatus(index) == marks.PositionDefined]

    def confidences(self) -> list:
        """Of each mark, 0 to 100, or None where it was not given yet."""
        # kept with the point itself, so that it moves and goes with it
        words = [self.marks.GetNthControlPointDescription(index) for index in self._points()]
        return [int(word) if word else None for word in words]

    def setConfidence(self, number: int, confidence: int) -> None:
        """Say how sure the reader is of a mark, counted from 0."""
        self.marks.SetNthControlPointDescription(self._points()[number], str(confidence))

    def positions(self) -> list:
        """Of each mark, mm, LPS."""
        world = [self.marks.GetNthControlPointPositionWorld(index) for index in self._points()]
        return [(-right, -anterior, superior) for right, anterior, superior in world]

    def removeMark(self, number: int) -> None:
        """Remove a mark, counted from 0."""
        self.marks.RemoveNthControlPoint(self._points()[number])

    def numberMarks(self) -> None:
        """Let the views show the numbers of the list, also after a mark was removed there."""
        for index, point in enumerate(self._points(), 1):
            self.marks.SetNthControlPointLabel(point, str(index))
        self.marks.SetLastUsedControlPointNumber(len(self._points()))

    def jumpTo(self, number: int) -> None:
        """Centre the slice views on a mark, counted from 0."""
        views.jumpTo(self.marks.GetNthControlPointPositionWorld(self._points()[number]))


class _AnalysisSection:
    """The part for the person who organises the study."""

    def __init__(self, ui, study) -> None:
        self.ui = ui
        self._study = study
        self._report = ""
        self._picture = None
        self.runner = jobs.JobRunner(LIBRARY)
        ui.truthPathLineEdit.connect("currentPathChanged(QString)", self.checkCanAnalyse)
        ui.analyseButton.connect("clicked(bool)", self.onAnalyseButton)
        ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        ui.reportButton.connect("clicked(bool)", self.onReportButton)
        _setUpTable(ui.analysisTable)

    def cleanup(self) -> None:
        """End what runs."""
        self.runner.shutdown()

    def forget(self) -> None:
        """Another study is chosen: take away what was found in the last one."""
        self.runner.cancel()
        self._showResult(None)

    def checkCanAnalyse(self, path=None) -> None:
        """Grey Analyse and say why, or let it be pressed."""
        reason = self._reasonNotToAnalyse()
        self.ui.analyseButton.enabled = not reason
        self.ui.analyseButton.toolTip = reason or _(
            "Compare the modalities when all readers have read all cases.")
        self.ui.analysisProgressBar.visible = self.runner.running
        self.ui.cancelButton.visible = self.runner.running

    def _reasonNotToAnalyse(self) -> str:
        if self.runner.running:
            return _("The analysis is running.")
        if not self._study():
            return _("Choose the folder of a study first.")
        if not os.path.isfile(self.ui.truthPathLineEdit.currentPath):
            return _("Choose the file that says where the lesions are.")
        return ""

    def onAnalyseButton(self) -> None:
        """Start the analysis; its result stays in the study's folder."""
        self._showResult(None)
        with slicer.util.tryWithErrorDisplay(_("The analysis could not be started.")):
            dependencies.ensureDependencies(_("Reader study"), deepLearning=False)
            folder = self._study().folder
            self.runner.start(
                ["analyse", folder, "--truth", self.ui.truthPathLineEdit.currentPath,
                 "--output", folder / ANALYSIS_FOLDER, "--overwrite", "--progress", "json"],
                self._onFinished, self._onFailed, self._onProgress)
            self.ui.truthPathLineEdit.addCurrentPathToHistory()
        self.checkCanAnalyse()

    def onCancelButton(self) -> None:
        """End the analysis."""
        self.runner.cancel()

    def onReportButton(self) -> None:
        """Open the report in the web browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))

    def _onProgress(self, stage, done, total, message) -> None:
        self.ui.analysisProgressBar.setRange(0, round(total))
        self.ui.analysisProgressBar.value = round(done)

    def _onFailed(self, code, sentence, log) -> None:
        self._showSentences([sentence], isError=code != "CANCELLED")
        self.checkCanAnalyse()
        if code == "INTERNAL":
            slicer.util.errorDisplay(sentence, detailedText=log)

    def _onFinished(self, manifest) -> None:
        self._showSentences([*manifest["sentences"], *manifest["warnings"]])
        self._showResult(manifest)
        self.checkCanAnalyse()

    def _showSentences(self, sentences, isError: bool = False) -> None:
        self.ui.analysisMessageLabel.text = "\n".join(sentences)
        self.ui.analysisMessageLabel.setStyleSheet("color: #b00020;" if isError else "")

    def _showResult(self, manifest) -> None:
        """Show table and curves of an analysis, or take those of the last one away."""
        hasResult = manifest is not None
        for part in (self.ui.analysisTable, self.ui.curvesWidget, self.ui.reportButton):
            part.visible = hasResult
        if not hasResult:
            self._showSentences([])
            return
        files = {role: os.path.join(manifest["folder"], name)
                 for role, name in manifest["files"].items()}
        self._report = files["report"]
        self._showFigures(tables.readRows(files["figures_of_merit"]), manifest["figure"])
        if self._picture is None:
            self._picture = qt.QSvgWidget()
            self.ui.curvesLayout.addWidget(self._picture)
        self._picture.load(files["picture"])
        self._picture.renderer().setAspectRatioMode(qt.Qt.KeepAspectRatio)

    def _showFigures(self, rows, figure) -> None:
        """A line for each reader, a column for each modality."""
        readers = list(dict.fromkeys(row["reader"] for row in rows))
        modalities = list(dict.fromkeys(row["modality"] for row in rows))
        table = self.ui.analysisTable
        table.setRowCount(len(readers))
        table.setColumnCount(1 + len(modalities))
        table.setHorizontalHeaderLabels([figure, *modalities])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        for index, reader in enumerate(readers):
            table.setItem(index, 0, qt.QTableWidgetItem(reader))
        for row in rows:
            item = qt.QTableWidgetItem("{:.3f} ({:.3f} – {:.3f})".format(
                *(float(row[name]) for name in (figure, "low", "high"))))
            item.setTextAlignment(qt.Qt.AlignCenter)
            table.setItem(readers.index(row["reader"]), 1 + modalities.index(row["modality"]), item)
