# SPDX-License-Identifier: Apache-2.0
"""A reader study, clicked through: from the folder with images to the table of the analysis."""

import json
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
import SimpleITK as sitk

CASES = ("Adams", "Baker", "Clark", "Davis")  # as an organiser must not, but may, name folders
ILL = ("Adams", "Clark")
LESION = (4.0, 5.0, 6.0)  # mm, LPS


def write_image(path, value):
    image = sitk.GetImageFromArray(np.full((6, 8, 9), value, np.int16))
    image.SetSpacing((2.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path))


@pytest.fixture
def folder(tmp_path):
    """Four cases whose CT have values of their own, so that a test knows which is shown."""
    for index, case in enumerate(CASES):
        (tmp_path / "study" / case).mkdir(parents=True)
        for offset, name in enumerate(("current.nrrd", "prior.nii.gz", "z.nrrd")):
            write_image(tmp_path / "study" / case / name, 100 * index + offset)
    truth = {case: [{"position": LESION, "radius": 4}] for case in ILL}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path / "study"


@pytest.fixture
def make_panel(slicer_scene):
    """``make_panel()`` opens the section, as often as Slicer is started in the test."""
    import qt

    from ReadingRoomSlicerLib.reader_study import ReaderStudyPanel

    made = []
    qt.QSettings().clear()  # the folders of other tests

    def make(open=True, **options):
        parent = qt.QWidget()
        parent.setLayout(qt.QVBoxLayout())
        panel = ReaderStudyPanel(**options)
        panel.addTo(parent.layout())
        parent.show()
        panel.ui.readerStudyCollapsibleButton.collapsed = not open
        panel.enter()
        made.append((panel, parent))
        return panel

    yield make
    for panel, parent in made:
        panel.cleanup()
        parent.deleteLater()
        qt.QCoreApplication.sendPostedEvents(parent, qt.QEvent.DeferredDelete)


def open_study(panel, folder, reader="Ann"):
    panel.ui.studyPathLineEdit.currentPath = str(folder)
    if not (folder / "study.json").exists():
        panel.ui.readersLineEdit.text = "Ann, Ben"
        panel.ui.createButton.click()
    panel.ui.readerComboBox.currentIndex = panel.ui.readerComboBox.findText(reader)


def change(folder, **entries):
    path = folder / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def layers():
    """The nodes in the slice views: background and foreground."""
    import slicer

    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {(c.GetBackgroundVolumeID(), c.GetForegroundVolumeID()) for c in composites}
    assert len(shown) == 1, "the views differ"
    return tuple(identifier and slicer.mrmlScene.GetNodeByID(identifier)
                 for identifier in shown.pop())


def value_of(node):
    import slicer

    return int(slicer.util.arrayFromVolume(node)[0, 0, 0])


def shown_case():
    return CASES[value_of(layers()[0]) // 100]


def names():
    import slicer

    return sorted(node.GetName() for kind in ("vtkMRMLVolumeNode", "vtkMRMLMarkupsNode")
                  for node in slicer.util.getNodesByClass(kind))


def place(panel, position=LESION):
    """Mark a lesion as a click in a view does, position in mm, LPS."""
    import slicer

    panel.ui.markButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert selection.GetActivePlaceNodeClassName() == "vtkMRMLMarkupsFiducialNode"
    marks = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    marks.AddControlPointWorld((-position[0], -position[1], position[2]))
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    return marks


def rate_images(panel, word="good"):
    panel.ui.qualityComboBox.currentIndex = panel.ui.qualityComboBox.findText(word)


def answers(folder, reader="Ann"):
    lines = (folder / "answers" / f"{reader}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def let_time_pass(folder, reader="Ann", days=28):
    """Move what was answered into the past."""
    given = answers(folder, reader)
    for answer in given:
        finished = datetime.fromisoformat(answer["finished"]) - timedelta(days=days)
        answer["finished"] = finished.isoformat()
    path = folder / "answers" / f"{reader}.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in given))


def read_session(panel, marks=lambda case, aided: []):
    """Read until there is nothing more to read now."""
    panel.ui.nextButton.click()
    while not panel.ui.readingWidget.isHidden():
        case, aided = shown_case(), layers()[1] is not None
        for position, confidence in marks(case, aided):
            place(panel, position)
            panel.ui.confidenceSlider.value = confidence
        rate_images(panel, "excellent" if aided else "fair")
        assert panel.ui.doneButton.enabled, panel.ui.doneButton.toolTip
        panel.ui.doneButton.click()


# Before reading


def test_the_section_is_closed_at_first(slicer_scene):
    import slicer

    from ReadingRoomSlicerLib.resources import resourcePath

    file = slicer.util.loadUI(resourcePath("UI", "ReadingRoomReaderStudy.ui"))
    ui = slicer.util.childWidgetVariables(file)
    assert ui.readerStudyCollapsibleButton.collapsed and ui.analysisCollapsibleButton.collapsed


def test_the_section_has_its_place_in_a_panel(make_panel):
    import qt

    layout = qt.QVBoxLayout()
    label = qt.QLabel("Research software")
    layout.addWidget(label)
    layout.addStretch(1)
    above, last = make_panel(), make_panel()
    above.addTo(layout, before=label)
    last.addTo(layout)
    places = [layout.indexOf(widget) for widget in (above.widget, label, last.widget)]
    assert places == [0, 1, 3]  # the stretch is at 2


def test_a_closed_section_reads_no_study(make_panel, folder):
    open_study(make_panel(), folder)
    panel = make_panel(open=False)
    assert panel.ui.studyPathLineEdit.currentPath and panel.ui.readerComboBox.count == 0
    panel.ui.readerStudyCollapsibleButton.collapsed = False
    assert panel.ui.readerComboBox.count == 2


def test_what_is_missing_is_said(make_panel, folder):
    panel = make_panel()
    assert not panel.ui.nextButton.enabled and "folder" in panel.ui.nextButton.toolTip
    assert panel.ui.readersWidget.isHidden() and panel.ui.readingWidget.isHidden()
    panel.ui.studyPathLineEdit.currentPath = str(folder)
    assert "No study" in panel.ui.messageLabel.text and not panel.ui.readersWidget.isHidden()
    panel.ui.createButton.click()
    assert "no readers" in panel.ui.messageLabel.text
    panel.ui.readersLineEdit.text = " Ann,Ben ,"
    panel.ui.createButton.click()
    assert panel.ui.readersWidget.isHidden() and panel.ui.readerComboBox.count == 2
    assert panel.ui.readerComboBox.currentText == ""
    assert not panel.ui.nextButton.enabled and "who reads" in panel.ui.nextButton.toolTip
    panel.ui.readerComboBox.currentIndex = 0
    assert panel.ui.nextButton.enabled and "0 of 8" in panel.ui.messageLabel.text
    assert not (folder / "answers").exists()


def test_a_broken_study_is_one_sentence(make_panel, folder):
    (folder / "study.json").write_text("{}")
    panel = make_panel()
    panel.ui.studyPathLineEdit.currentPath = str(folder)
    assert "lacks the entry" in panel.ui.messageLabel.text
    assert not panel.ui.nextButton.enabled and not panel.ui.analyseButton.enabled


def test_the_last_study_is_there_again(make_panel, folder):
    open_study(make_panel(), folder)
    again = make_panel()
    assert again.ui.studyPathLineEdit.currentPath == str(folder)
    assert again.ui.readerComboBox.count == 2 and again.ui.readerComboBox.currentText == ""


# A case


def test_a_case_is_shown_without_its_name(make_panel, folder):
    import slicer

    panel = make_panel()
    open_study(panel, folder)
    panel.ui.nextButton.click()
    assert names() == sorted(["Case 1", "Case 1 marks", "Case 1 prior"]
                             + (["Case 1 z"] if layers()[1] else []))
    nodes = [slicer.mrmlScene.GetNthNode(index)
             for index in range(slicer.mrmlScene.GetNumberOfNodes())]
    visible = [panel.ui.caseLabel.text, *(panel.ui.imageComboBox.itemText(i) for i in range(2))]
    for node in nodes:
        visible += [node.GetName() or "", node.GetDescription() or ""]
        if node.IsA("vtkMRMLStorageNode"):
            visible.append(node.GetFileName() or "")
    for word in (*CASES, "nrrd", "nii", str(folder)):
        assert not any(word in text for text in visible), word
    assert "Case 1 of 4" in panel.ui.caseLabel.text
    assert "session 1 of 2" in panel.ui.caseLabel.text


def test_the_aid_is_over_the_image_in_its_modality_only(make_panel, folder):
    colored = []
    panel = make_panel(colorOverlay=colored.append)
    open_study(panel, folder)
    panel.ui.nextButton.click()
    seen = set()
    for _number in CASES:
        background, foreground = layers()
        aided = panel.ui.caseLabel.text.endswith(": with")
        seen.add(aided)
        assert panel.ui.overlayButton.isHidden() != aided
        assert (foreground is not None) == aided
        if aided:
            assert value_of(foreground) == value_of(background) + 2
            assert colored.pop() is foreground
            panel.ui.overlayButton.click()
            assert layers() == (background, None)
            panel.ui.overlayButton.click()
            assert layers() == (background, foreground)
        panel.ui.imageComboBox.currentIndex = 1
        assert value_of(layers()[0]) == value_of(background) + 1 and layers()[1] is foreground
        rate_images(panel)
        panel.ui.doneButton.click()
    assert seen == {True, False} and not colored


def test_the_grey_scale_is_that_of_the_study(make_panel, folder):
    panel = make_panel()
    open_study(panel, folder)
    change(folder, window=[-200, 1000])
    panel.ui.studyPathLineEdit.currentPath = ""
    open_study(panel, folder)
    panel.ui.nextButton.click()
    for index in range(2):
        panel.ui.imageComboBox.currentIndex = index
        display = layers()[0].GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-200, 1000)


def test_done_waits_for_all_that_is_needed(make_panel, folder):
    panel = make_panel()
    open_study(panel, folder)
    panel.ui.nextButton.click()
    assert not panel.ui.confidenceSlider.enabled
    assert not panel.ui.doneButton.enabled and "how good" in panel.ui.doneButton.toolTip
    rate_images(panel)
    assert panel.ui.doneButton.enabled
    place(panel)
    assert not panel.ui.doneButton.enabled and "mark 1" in panel.ui.doneButton.toolTip
    assert panel.ui.confidenceSlider.enabled and panel.ui.confidenceValueLabel.text == "–"
    panel.ui.confidenceSlider.value = 70
    assert panel.ui.doneButton.enabled
    assert panel.ui.marksTable.item(0, 1).text() == "70"
    place(panel, (8, 8, 9))
    assert "mark 2" in panel.ui.doneButton.toolTip
    panel.ui.removeButton.click()
    assert panel.ui.doneButton.enabled and panel.ui.marksTable.rowCount == 1


def test_a_confidence_of_0_can_be_said(make_panel, folder):
    """The slider stands at 0 already: to take it and let it go says so."""
    panel = make_panel()
    open_study(panel, folder)
    change(folder, free_response=False, quality=[])
    panel.ui.studyPathLineEdit.currentPath = ""
    open_study(panel, folder)
    panel.ui.nextButton.click()
    assert panel.ui.marksWidget.isHidden() and panel.ui.qualityWidget.isHidden()
    assert "ill" in panel.ui.confidenceLabel.text and "how sure" in panel.ui.doneButton.toolTip
    panel.ui.confidenceSlider.sliderReleased()
    assert panel.ui.doneButton.enabled and panel.ui.confidenceValueLabel.text == "0"
    panel.ui.doneButton.click()
    assert answers(folder)[0]["rating"] == 0 and answers(folder)[0]["quality"] is None
    assert panel.ui.confidenceValueLabel.text == "–" and not panel.ui.doneButton.enabled


def test_marks_are_chosen_rated_and_removed_one_by_one(make_panel, folder):
    import slicer

    panel = make_panel()
    open_study(panel, folder)
    panel.ui.nextButton.click()
    marks = None
    for position, confidence in (((2, 2, 3), 10), ((6, 6, 6), 20), ((9, 9, 9), 30)):
        marks = place(panel, position)
        assert not panel.ui.markButton.checked
        panel.ui.confidenceSlider.value = confidence
    panel.ui.marksTable.setCurrentCell(1, 0)
    assert "mark 2" in panel.ui.confidenceLabel.text and panel.ui.confidenceSlider.value == 20
    panel.ui.marksTable.cellClicked(1, 0)
    node = slicer.util.getNode("vtkMRMLSliceNodeRed")
    assert node.GetSliceOffset() == pytest.approx(6)
    panel.ui.confidenceSlider.value = 25
    panel.ui.marksTable.setCurrentCell(0, 0)
    panel.ui.removeButton.click()
    assert [marks.GetNthControlPointLabel(index) for index in range(2)] == ["1", "2"]
    marks.RemoveNthControlPoint(1)  # as with the right mouse button in a view
    assert panel.ui.marksTable.rowCount == 1
    rate_images(panel)
    panel.ui.doneButton.click()
    assert answers(folder)[0]["marks"] == [{"position": [6.0, 6.0, 6.0], "rating": 25}]


def test_only_nodes_of_the_case_are_removed(make_panel, folder):
    import slicer

    panel = make_panel()
    open_study(panel, folder)
    own = slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16), np.eye(4), "Case 1")
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Case 1 marks")
    points.AddControlPointWorld((1, 2, 3))
    slicer.util.setSliceViewerLayers(background=own, foreground=own)
    panel.ui.nextButton.click()
    assert own not in layers()
    place(panel)
    panel.ui.confidenceSlider.value = 5
    rate_images(panel)
    panel.ui.doneButton.click()
    assert {"Case 1", "Case 1 marks", "Case 2", "Case 2 marks"} <= set(names())
    assert "Case 1 prior" not in names()
    panel.ui.stopButton.click()
    assert names() == ["Case 1", "Case 1 marks"]
    assert own.GetScene() and points.GetNumberOfControlPoints() == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsDisplayNode")) == 1
    panel.ui.nextButton.click()
    panel.cleanup()
    assert names() == ["Case 1", "Case 1 marks"]


def test_an_image_that_cannot_be_read_leaves_nothing(make_panel, folder):
    panel = make_panel()
    open_study(panel, folder)
    for case in CASES:
        (folder / case / "prior.nii.gz").write_bytes(b"nothing")
    panel.ui.nextButton.click()
    sentence = panel.ui.messageLabel.text
    assert "'prior'" in sentence and not any(case in sentence for case in CASES)
    assert names() == [] and panel.ui.readingWidget.isHidden()
    assert panel.ui.nextButton.enabled


def test_colours_that_cannot_be_given_leave_nothing(make_panel, folder):
    def fail(node):
        raise ValueError("no such table")

    panel = make_panel(colorOverlay=fail)
    open_study(panel, folder)
    panel.ui.nextButton.click()
    while not panel.ui.readingWidget.isHidden():  # those without the aid
        rate_images(panel)
        panel.ui.doneButton.click()
    assert "did not foresee" in panel.ui.messageLabel.text and names() == []


def test_answers_of_another_window_are_not_asked_again(make_panel, folder):
    first, second = make_panel(), make_panel()
    for panel in (first, second):
        open_study(panel, folder)
    first.ui.nextButton.click()
    rate_images(first)
    first.ui.doneButton.click()
    case = shown_case()
    first.ui.stopButton.click()
    second.ui.nextButton.click()
    assert shown_case() == case and "Case 2 of 4" in second.ui.caseLabel.text


def test_an_answer_that_cannot_be_kept_stays_on_the_screen(make_panel, folder, monkeypatch):
    panel = make_panel()
    open_study(panel, folder)
    panel.ui.nextButton.click()
    place(panel)
    panel.ui.confidenceSlider.value = 40
    rate_images(panel)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        panel.ui.doneButton.click()
    assert "disk is full" in panel.ui.messageLabel.text
    assert "Case 1 of 4" in panel.ui.caseLabel.text and panel.ui.marksTable.rowCount == 1
    panel.ui.doneButton.click()
    assert len(answers(folder)) == 1 and "Case 2 of 4" in panel.ui.caseLabel.text


@pytest.mark.parametrize("how", ["close", "remove"])
def test_a_case_that_is_gone_is_read_again(make_panel, folder, how):
    import slicer

    panel = make_panel()
    open_study(panel, folder)
    panel.ui.nextButton.click()
    case = shown_case()
    place(panel)
    if how == "close":
        slicer.mrmlScene.Clear(False)
    else:
        slicer.mrmlScene.RemoveNode(layers()[0])
    assert names() == [] and panel.ui.readingWidget.isHidden()
    assert "without an answer" in panel.ui.messageLabel.text
    panel.ui.nextButton.click()
    assert shown_case() == case and panel.ui.marksTable.rowCount == 0
    assert not (folder / "answers").exists()


# Time


def test_time_is_counted_while_the_case_is_on_the_screen(make_panel, folder):
    panel = make_panel()
    open_study(panel, folder)
    time.sleep(0.05)
    assert panel.seconds == 0
    panel.ui.nextButton.click()

    def passes():
        before = panel.seconds
        time.sleep(0.05)
        return panel.seconds > before

    assert passes()
    panel.exit()
    assert not passes()
    panel.enter()
    assert passes()
    panel.ui.readerStudyCollapsibleButton.collapsed = True
    assert not passes()
    panel.ui.readerStudyCollapsibleButton.collapsed = False
    assert passes()
    counted = panel.seconds
    rate_images(panel)
    panel.ui.doneButton.click()
    assert counted <= answers(folder)[0]["seconds"] < counted + 1
    assert panel.seconds < counted and passes()
    panel.ui.stopButton.click()
    assert not passes() and panel.seconds == 0


# The whole study


def test_closing_slicer_goes_on_at_the_same_case(make_panel, folder):
    import slicer

    panel = make_panel()
    open_study(panel, folder)
    panel.ui.nextButton.click()
    rate_images(panel)
    panel.ui.doneButton.click()
    case, label = shown_case(), panel.ui.caseLabel.text
    panel.cleanup()
    slicer.mrmlScene.Clear(False)
    again = make_panel()
    open_study(again, folder)
    assert "1 of 8" in again.ui.messageLabel.text
    again.ui.nextButton.click()
    assert shown_case() == case and again.ui.caseLabel.text == label


def test_between_the_sessions_lies_a_washout(make_panel, folder):
    panel = make_panel()
    open_study(panel, folder)
    read_session(panel)
    assert len(answers(folder)) == 4
    last = datetime.fromisoformat(answers(folder)[-1]["finished"])
    until = f"{last + timedelta(days=28):%Y-%m-%d}"
    assert not panel.ui.nextButton.enabled and until in panel.ui.nextButton.toolTip
    assert until in panel.ui.messageLabel.text
    panel.ui.readerComboBox.currentIndex = 1  # the other reader need not wait
    assert panel.ui.nextButton.enabled
    let_time_pass(folder)
    open_study(panel, folder)
    assert panel.ui.nextButton.enabled
    panel.ui.nextButton.click()
    assert "session 2 of 2" in panel.ui.caseLabel.text


def test_a_whole_study_from_reading_to_report(make_panel, folder, tmp_path, monkeypatch):
    import qt
    import slicer

    def marks(case, aided):
        """With the aid all lesions are found; without it only those of Adams, and a false one."""
        if aided:
            return [(LESION, 90)] if case in ILL else []
        return [(LESION, 60)] if case == "Adams" else [((12, 12, 12), 40)]

    panel = make_panel()
    assert not panel.ui.analyseButton.enabled and "folder" in panel.ui.analyseButton.toolTip
    for reader in ("Ann", "Ben"):
        open_study(panel, folder, reader)
        read_session(panel, marks)
        let_time_pass(folder, reader)
        open_study(panel, folder, "")
        open_study(panel, folder, reader)
        read_session(panel, marks)
        assert "All cases are read" in panel.ui.messageLabel.text
        assert {(a["case"], a["modality"]) for a in answers(folder, reader)} == {
            (case, modality) for case in CASES for modality in ("without", "with")}
    assert names() == []

    assert not panel.ui.analyseButton.enabled and "lesions" in panel.ui.analyseButton.toolTip
    panel.ui.truthPathLineEdit.currentPath = str(tmp_path / "truth.json")
    panel.ui.analyseButton.click()
    assert panel.analysis.runner.running and not panel.ui.analyseButton.enabled
    panel.analysis.runner.wait()
    slicer.app.processEvents()
    table = panel.ui.analysisTable
    headings = [table.horizontalHeaderItem(column).text() for column in range(3)]
    assert headings == ["wAFROC", "with", "without"]
    assert [table.item(row, 0).text() for row in range(2)] == ["Ann", "Ben"]
    assert [table.item(0, column).text()[:5] for column in (1, 2)] == ["1.000", "0.500"]
    assert "Difference with - without: +0.500" in panel.ui.analysisMessageLabel.text
    assert "95 % interval" in panel.ui.analysisMessageLabel.text
    picture = panel.ui.curvesWidget.findChild(qt.QSvgWidget, "")
    assert picture.renderer().isValid()
    page = (folder / "analysis" / "report.html").read_text("utf-8")
    assert "images excellent" in page and "8 (100.0 %)" in page
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", opened.append, raising=False)
    panel.ui.reportButton.click()
    assert [url.toLocalFile() for url in opened] == [str(folder / "analysis" / "report.html")]

    panel.ui.analyseButton.click()
    panel.ui.cancelButton.click()
    assert "cancelled" in panel.ui.analysisMessageLabel.text and table.isHidden()
    assert panel.ui.analyseButton.enabled and panel.ui.cancelButton.isHidden()
    panel.ui.analyseButton.click()
    panel.analysis.runner.wait()
    assert not table.isHidden()
    panel.ui.studyPathLineEdit.currentPath = str(tmp_path)
    assert table.isHidden() and panel.ui.reportButton.isHidden()


def test_a_study_that_is_not_finished_is_not_analysed(make_panel, folder, tmp_path):
    panel = make_panel()
    open_study(panel, folder)
    panel.ui.truthPathLineEdit.currentPath = str(tmp_path / "truth.json")
    panel.ui.analyseButton.click()
    panel.analysis.runner.wait()
    assert "Ann has not read all cases" in panel.ui.analysisMessageLabel.text
    assert panel.ui.analyseButton.enabled and panel.ui.analysisTable.isHidden()
    assert not (folder / "analysis").exists()
