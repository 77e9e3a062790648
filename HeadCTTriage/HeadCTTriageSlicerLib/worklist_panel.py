# SPDX-License-Identifier: Apache-2.0
"""The section of the panel with the studies that wait: judged one after another, sorted by urgency.

In which order they are looked at, what is kept and what is exported is decided by
`HeadCTTriageLib.worklist`; here it is shown.
"""

import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import qt
import slicer
from slicer.i18n import tr as _

from HeadCTTriageLib import worklist
from HeadCTTriageLib.head_series import Series, head_cts
from HeadCTTriageLib.worklist import State, new_study
from ReadingRoomLib.errors import ReadingRoomError
from ReadingRoomSlicerLib import dicom, panel

from .judgement_view import colorOf, tagWord, textColorOn

STUDY_ATTRIBUTE = "HeadCTTriage.Study"
"""Of a volume node: the key of its study, also in another scene."""
SERIES, VOLUME = "series:", "volume:"
REFRESH_SECONDS = 20
NOT_IN_SCENE = _("The CT is no longer in the scene: load it and add it again.")

HEADERS = (
    (_("Study"), _("Double-click a study to see its images.")),
    (_("Decision"), _("What the program says, on the colour of the tag; the tag in words.")),
    (_("Urgent"), _("Probability of being urgent.")),
    (_("Waits"), _("Since it was put on the list.")),
    (_("State"), _("How far it is, and what the physician decided.")),
)


class WorklistPanel:
    """The collapsible section "Worklist", closed at first.

    :param uiPath: its .ui file.
    :param owner: the module's widget. It has

      - ``folder``: the `TriageFolder`; ``chooseFolder(path)`` takes another one;
      - ``currentVolume()``: the chosen CT, or None;
      - ``reasonNotToJudge()``: why nothing can be judged, empty when it can;
      - ``prepareToJudge()``: called once before a row of studies, may raise;
      - ``judgeStudy(study, **callbacks)``: starts to judge one; ``onFinished`` gets its manifest;
      - ``cancelStudy()``: ends that; ``onJudgingEnded()``: no other one follows;
      - ``showStudy(study)``: its judgement is wanted; None when no study is selected any more;
      - ``openStudy(study)``: its images are wanted.
    """

    def __init__(self, uiPath: str, owner) -> None:
        self._owner = owner
        self.studies = []
        self._isJudging = False
        self._isClosed = False
        self.widget = slicer.util.loadUI(uiPath)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._timer = qt.QTimer()
        self._timer.setInterval(REFRESH_SECONDS * 1000)
        self._timer.connect("timeout()", self._showWaiting)
        self._setUpTable()
        self._connect()
        self.reload()

    def addTo(self, layout, before) -> None:
        """Put the section into a vertical layout, before another widget."""
        layout.insertWidget(layout.indexOf(before), self.widget)

    def enter(self) -> None:
        """The module's panel is shown."""
        self._timer.start()
        self._showWaiting()
        self.checkButtons()

    def exit(self) -> None:
        """The module's panel is hidden; judging goes on."""
        self._timer.stop()

    def cleanup(self) -> None:
        """The panel goes."""
        self._timer.stop()
        self._isJudging = False
        self._isClosed = True

    @property
    def judging(self) -> bool:
        """Whether studies are being judged one after another."""
        return self._isJudging

    def _setUpTable(self) -> None:
        table = self.ui.worklistTable
        table.setColumnCount(len(HEADERS))
        table.setHorizontalHeaderLabels([title for title, _explanation in HEADERS])
        header = table.horizontalHeader()
        for column, (_title, explanation) in enumerate(HEADERS):
            table.horizontalHeaderItem(column).setToolTip(explanation)
            header.setSectionResizeMode(
                column, qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch)
        header.setHighlightSections(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(40)

    def _connect(self) -> None:
        ui = self.ui
        ui.addVolumeButton.connect("clicked(bool)", self.onAddVolumeButton)
        ui.addSeriesButton.connect("clicked(bool)", self.onAddSeriesButton)
        ui.addAllButton.connect("clicked(bool)", self.onAddAllButton)
        ui.worklistTable.connect("itemSelectionChanged()", self._onSelectionChanged)
        ui.worklistTable.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)
        ui.judgeButton.connect("clicked(bool)", self.onJudgeButton)
        ui.removeButton.connect("clicked(bool)", self.onRemoveButton)
        ui.csvButton.connect("clicked(bool)", self.onCsvButton)
        ui.verifyButton.connect("clicked(bool)", self.onVerifyButton)
        ui.folderPathLineEdit.connect("currentPathChanged(QString)", self._onFolderChanged)

    # The list

    def reload(self) -> None:
        """Read the list that is kept in the folder."""
        sentence = ""
        try:
            self.studies = self._owner.folder.studies()
        except ReadingRoomError as error:
            self.studies, sentence = [], error.message
        blocked = self.ui.folderPathLineEdit.blockSignals(True)
        self.ui.folderPathLineEdit.currentPath = str(self._owner.folder.path)
        self.ui.folderPathLineEdit.blockSignals(blocked)
        self._show()
        self.showMessage(sentence, isError=True)

    def _onFolderChanged(self, path=None) -> None:
        chosen = self.ui.folderPathLineEdit.currentPath
        if not self._isJudging and os.path.isdir(chosen):  # it is being typed
            self._owner.chooseFolder(chosen)
            self.reload()

    def study(self, key: str):
        """The study with a key; None when it is not on the list."""
        return next((study for study in self.studies if study.key == key), None)

    def add(self, keysAndNames) -> int:
        """Put studies on the list that are not on it; returns how many."""
        known = {study.key for study in self.studies}
        fresh = [new_study(key, name) for key, name in keysAndNames if key not in known]
        self._keep([*self.studies, *fresh])
        return len(fresh)

    def replace(self, study) -> None:
        """Let a study take the place of that with its key, if that is still on the list."""
        self._keep([study if other.key == study.key else other for other in self.studies])

    def reviewed(self, result: str, event: str, tag: str, reason: str) -> None:
        """Note what the physician decided on a result, if a study on the list has it."""
        for study in self.studies:
            if study.result == result:
                self.replace(study.reviewed(event, tag, reason))

    def _keep(self, studies) -> None:
        self.studies = studies
        try:
            self._owner.folder.keep(studies)
        except OSError as error:
            self.showMessage(_("The worklist cannot be kept: {error}").format(error=error),
                             isError=True)
        self._show()

    # What is shown

    def _show(self) -> None:
        table, selected = self.ui.worklistTable, self.selectedKey()
        shown = worklist.in_order(self.studies)
        blocked = table.blockSignals(True)
        table.clearSelection()
        table.setRowCount(len(shown))
        for row, study in enumerate(shown):
            self._showRow(row, study)
            if study.key == selected:
                table.selectRow(row)
        table.blockSignals(blocked)
        self.checkButtons()

    def _showRow(self, row: int, study) -> None:
        probability = study.urgent_probability
        toolTip = "\n".join(filter(None, (study.name, study.remark, _(
            "Select it to see the judgement, double-click to see the images."))))
        texts = [study.name, self._decisionText(study),
                 "" if probability is None else f"{probability:.0%}", self._waited(study),
                 self._stateText(study)]
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setData(qt.Qt.UserRole, study.key)
            item.setToolTip(toolTip)
            if study.state in worklist.DECIDED:
                item.setForeground(qt.QBrush(qt.QColor(*panel.DIMMED_TEXT)))
            self.ui.worklistTable.setItem(row, column, item)
        tag = study.physician_tag or study.tag
        if tag:
            item = self.ui.worklistTable.item(row, 1)
            color = colorOf(tag, "" if study.physician_tag else study.decision)
            item.setBackground(qt.QBrush(qt.QColor(*color)))
            item.setForeground(qt.QBrush(qt.QColor(*textColorOn(color))))
        picture = self._owner.folder.contact_sheet(study.result)
        if picture:
            self.ui.worklistTable.item(row, 0).setIcon(qt.QIcon(picture))

    def _decisionText(self, study) -> str:
        if study.physician_tag:
            return tagWord(study.physician_tag)
        if not study.tag:
            return ""
        if study.uncertain:
            return _("uncertain\nmost like {tag}").format(tag=tagWord(study.tag))
        return f"{study.decision}\n{tagWord(study.tag)}"

    def _stateText(self, study) -> str:
        return {
            State.WAITING: _("waiting"), State.JUDGING: _("judging"), State.JUDGED: _("judged"),
            State.REFUSED: _("refused"), State.CONFIRMED: _("confirmed"),
            State.OVERRULED: _("overruled"),
        }[study.state]

    def _waited(self, study) -> str:
        return worklist.waited_text(study.waited(datetime.now(UTC)))

    def _showWaiting(self) -> None:
        for row in range(self.ui.worklistTable.rowCount):
            study = self.study(self._keyOfRow(row))
            self.ui.worklistTable.item(row, 3).setText(self._waited(study))

    def _keyOfRow(self, row: int) -> str:
        item = self.ui.worklistTable.item(row, 0)
        return item.data(qt.Qt.UserRole) if item else ""

    def selectedKey(self) -> str:
        """Key of the selected study; empty when there is none."""
        selected = self.ui.worklistTable.selectedItems()
        return selected[0].data(qt.Qt.UserRole) if selected else ""

    def keepSelectionOf(self, result: str) -> None:
        """Another judgement is shown: select no study but that with this result, tell no one."""
        study = self.study(self.selectedKey())
        if study is None or study.result == result:
            return
        blocked = self.ui.worklistTable.blockSignals(True)
        self.ui.worklistTable.clearSelection()
        self.ui.worklistTable.blockSignals(blocked)
        self.checkButtons()

    def _onSelectionChanged(self) -> None:
        self.checkButtons()
        study = self.study(self.selectedKey())
        self.showMessage(study.remark if study and study.state is State.REFUSED else "")
        self._owner.showStudy(study)

    def _onDoubleClicked(self, row, column) -> None:
        study = self.study(self._keyOfRow(row))
        with slicer.util.tryWithErrorDisplay(_("The images cannot be shown."), waitCursor=True):
            self._owner.openStudy(study)

    def showMessage(self, sentence: str, isError: bool = False) -> None:
        """Show one sentence below the list."""
        label = self.ui.worklistMessageLabel
        label.text = sentence
        label.setStyleSheet("color: #b00020;" if isError else "")
        label.visible = bool(sentence)

    def checkButtons(self) -> None:
        """Grey what cannot be pressed, and say why."""
        ui = self.ui
        volumeNode = self._owner.currentVolume()
        reason = panel.reasonNotCT(volumeNode) if volumeNode else _("Choose a CT above first.")
        _enable(ui.addVolumeButton, reason, _("Put the CT that is chosen above on the list."))
        reason = "" if dicom.hasDatabase() else _("Slicer's DICOM database is not open.")
        _enable(ui.addSeriesButton, reason, _("Choose series of Slicer's DICOM database."))
        _enable(ui.addAllButton, reason, _(
            "Put one head CT of each study in Slicer's DICOM database on the list."))
        ui.judgeButton.checked = self._isJudging
        ui.judgeButton.text = _("Stop") if self._isJudging else _("Judge all")
        reason = "" if self._isJudging else self._reasonNotToJudge()
        _enable(ui.judgeButton, reason, _("Judge the studies that wait, one after another."))
        key = self.selectedKey()
        study = self.study(key)
        ui.removeButton.enabled = bool(study and study.state is not State.JUDGING)
        ui.csvButton.enabled = bool(self.studies)
        ui.folderWidget.enabled = not self._isJudging

    def _reasonNotToJudge(self) -> str:
        if not worklist.next_waiting(self.studies):
            return _("No study on the list waits to be judged.")
        return self._owner.reasonNotToJudge()

    # Adding and removing

    def onAddVolumeButton(self, checked=False) -> None:
        """Put the chosen CT on the list."""
        volumeNode = self._owner.currentVolume()
        self._say(self.add([(keyOf(volumeNode), volumeNode.GetName())]))

    def onAddSeriesButton(self, checked=False) -> None:
        """Let the user choose series of the DICOM database."""
        found = [Series(**one) for one in dicom.series()]
        found = [one for one in found if one.modality == "CT"]
        if not found:
            self.showMessage(_("There is no CT in Slicer's DICOM database."))
            return
        chosen = chooseSeries(found)
        if chosen:
            self._addSeries(chosen)

    def onAddAllButton(self, checked=False) -> None:
        """Put the head CTs of the DICOM database on the list."""
        found = head_cts(Series(**one) for one in dicom.series())
        if not found:
            self.showMessage(_("No head CT was found in Slicer's DICOM database: choose series"
                               " by hand."))
            return
        self._addSeries(found)

    def _addSeries(self, series) -> None:
        self._say(self.add([(f"{SERIES}{one.uid}", one.label) for one in series]))

    def _say(self, count: int) -> None:
        self.showMessage(_("{count} added.").format(count=count) if count
                         else _("On the list already."))

    def onRemoveButton(self, checked=False) -> None:
        """Take the selected study from the list."""
        key = self.selectedKey()
        self._keep([study for study in self.studies if study.key != key])
        self._onSelectionChanged()

    # Judging

    def onJudgeButton(self, checked=False) -> None:
        """Judge all that wait, or stop after the user has enough."""
        if self._isJudging:
            self.stop()
            return
        with slicer.util.tryWithErrorDisplay(_("The judging could not be started.")):
            self._owner.prepareToJudge()
            self._isJudging = True
            self._judgeNext()
        self.checkButtons()

    def stop(self) -> None:
        """End judging; what was under way waits again."""
        self._isJudging = False
        self._owner.cancelStudy()
        self.checkButtons()

    def _judgeNext(self) -> None:
        if self._isClosed:
            return
        study = worklist.next_waiting(self.studies) if self._isJudging else None
        if study is None:
            self._isJudging = False
            self._owner.onJudgingEnded()
            self.checkButtons()
            return
        self.replace(replace(study, state=State.JUDGING))
        key = study.key

        def failed(code, sentence, log):
            self._onFailed(key, code, sentence)

        try:
            self._owner.judgeStudy(
                study, onProgress=lambda *progress: self._onProgress(key, *progress),
                onFinished=lambda manifest: self._onJudged(key, manifest), onFailed=failed)
        except Exception as error:  # no image, no file: this one only
            failed("BAD_INPUT", str(error), "")

    def _onProgress(self, key, stage, done, total, message) -> None:
        study = self.study(key)
        if study:
            open_ = sum(other.state in (State.WAITING, State.JUDGING) for other in self.studies)
            self.showMessage(_("{name}: {message} ({count} to judge)").format(
                name=study.name, message=message or stage, count=open_))

    def _onJudged(self, key, manifest) -> None:
        study = self.study(key)
        if study:
            self.showMessage("")
            self.replace(study.judged(manifest))
            if self.selectedKey() == key:
                self._onSelectionChanged()
        qt.QTimer.singleShot(0, self._judgeNext)

    def _onFailed(self, key, code, sentence) -> None:
        study = self.study(key)
        if study and code == "CANCELLED":
            self.replace(replace(study, state=State.WAITING))
            self._isJudging = False
            self.showMessage(_("The judging was stopped."))
        elif study:
            self.replace(study.refused(sentence))
        qt.QTimer.singleShot(0, self._judgeNext)

    # Files

    def onCsvButton(self, checked=False) -> None:
        """Write the list as a table."""
        path = qt.QFileDialog.getSaveFileName(
            None, _("Save the worklist"), "worklist.csv", _("Table (*.csv)"))
        if not path:
            return
        with slicer.util.tryWithErrorDisplay(_("The list cannot be written.")):
            worklist.write_csv(self.studies, path)
            self.showMessage(_("Written to {path}").format(path=path))

    def onVerifyButton(self, checked=False) -> None:
        """Say whether the audit log is as it was written."""
        from HeadCTTriageLib.audit_log import verify

        path = self._owner.folder.log.path
        if not path.exists():
            self.showMessage(_("The audit log has no entry yet."))
            return
        with slicer.util.tryWithErrorDisplay(_("The audit log cannot be read.")):
            found = verify(path)
            self.showMessage(*_verificationSentence(found))


def _verificationSentence(found) -> tuple:
    if not found.intact:
        return _("The audit log was changed at line {line}: {count} entries before it are as they"
                 " were written.").format(line=found.broken_line, count=found.entries), True
    sentence = _("The audit log is as it was written: {count} entries.").format(
        count=found.entries)
    if found.unfinished:
        sentence += " " + _("A crash left line {lines} unfinished.").format(
            lines=", ".join(map(str, found.unfinished)))
    return sentence, False


def _enable(button, reason: str, toolTip: str) -> None:
    button.enabled = not reason
    button.toolTip = reason or toolTip


def keyOf(volumeNode) -> str:
    """What tells a volume from all others, kept in its node: its DICOM series, where it has one."""
    key = volumeNode.GetAttribute(STUDY_ATTRIBUTE)
    if not key:
        uid = dicom.seriesOf(volumeNode)
        key = f"{SERIES}{uid}" if uid else f"{VOLUME}{uuid.uuid4().hex}"
        volumeNode.SetAttribute(STUDY_ATTRIBUTE, key)
    return key


def volumeOf(study):
    """The volume of a study that is in the scene; None when there is none."""
    for volumeNode in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if volumeNode.GetAttribute(STUDY_ATTRIBUTE) == study.key:
            return volumeNode
    return None


def loadVolumeOf(study):
    """The volume of a study, loaded from the DICOM database if it has to be.

    :raises RuntimeError: when it cannot be had.
    """
    volumeNode = volumeOf(study)
    if volumeNode:
        return volumeNode
    if not study.key.startswith(SERIES):
        raise RuntimeError(NOT_IN_SCENE)
    volumeNode = dicom.loadSeries(study.key.removeprefix(SERIES))
    volumeNode.SetAttribute(STUDY_ATTRIBUTE, study.key)
    return volumeNode


def chooseSeries(series) -> list:
    """Let the user choose among series; those that look like a head CT are chosen already."""
    suggested = head_cts(series)
    dialog = qt.QDialog()
    dialog.setWindowTitle(_("Choose head CTs"))
    layout = qt.QVBoxLayout(dialog)
    listWidget = qt.QListWidget()
    listWidget.setSelectionMode(qt.QAbstractItemView.ExtendedSelection)
    for one in series:
        listWidget.addItem(_("{label} ({count} slices)").format(label=one.label, count=one.slices))
        listWidget.item(listWidget.count - 1).setSelected(one in suggested)
    layout.addWidget(listWidget)
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    layout.addWidget(buttons)
    dialog.resize(600, 400)
    if dialog.exec() != qt.QDialog.Accepted:
        return []
    return [one for row, one in enumerate(series) if listWidget.item(row).isSelected()]
