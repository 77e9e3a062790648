# SPDX-License-Identifier: Apache-2.0
"""The panel of HeadCTTriage, clicked, with the real computation and a toy model."""

import csv
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from HeadCTTriageLib.audit_log import verify
from HeadCTTriageLib.worklist import State, Study, new_study

from ..Core.head_factory import toy_head, write_toy_registry

HERE = Path(__file__).parent
SHIFTED = (12.0, -7.0)  # mm along L and P, of the toy head


def process_events(until, seconds=120.0):
    import slicer

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.03)


def add_head(name="CT"):
    """The toy head as a volume node, not in the middle."""
    import slicer

    image = toy_head(spacing=(3.0, 3.0, 5.0), shift=SHIFTED)
    spacing, origin = image.GetSpacing(), image.GetOrigin()
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = -origin[0], -origin[1], origin[2]
    return slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(image), matrix, name)


def add_air(name="Air"):
    import slicer

    return slicer.util.addVolumeFromArray(
        np.full((12, 40, 40), -1000, np.int16), np.diag([-4.0, -4.0, 5.0, 1.0]), name)


def apply(widget, volume):
    widget._parameterNode.inputVolume = volume
    widget.ui.applyButton.click()
    assert widget.logic.running, widget.ui.applyButton.toolTip
    process_events(lambda: not widget.logic.running)
    assert widget.ui.messageLabel.text == "", widget.panel._log
    return widget.logic.resultOf(widget._parameterNode)


def events(widget):
    return [entry.event for entry in widget.folder.log.entries()]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return write_toy_registry(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def warm(slicer_host, registry):
    """One worker for all tests: importing PyTorch takes longer than judging."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAGE_TEST_REGISTRY", str(registry))
        patch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other are slower
        patch.syspath_prepend(HERE)
        runner = JobRunner("TriageTestLib")
        yield runner
        runner.shutdown()


@pytest.fixture
def widget(module_widget, registry, warm, tmp_path, monkeypatch):
    """The panel, its folder empty, with the toy as its only model."""
    import qt

    qt.QSettings().setValue("ReadingRoom/TriageFolder", str(tmp_path / "triage"))
    widget = module_widget("HeadCTTriage")
    widget.panel.registryPath = str(registry)
    widget.logic._runner = widget.training.runner = warm
    monkeypatch.setattr(warm, "shutdown", warm.cancel)  # the panel goes, the worker stays
    widget.parent.enter()
    yield widget
    widget.worklist.stop()
    widget.view.close()
    qt.QSettings().setValue("ReadingRoom/TriageFolder", "")


# Opening, and before Apply

def test_opening_is_quick_and_imports_nothing_heavy(open_alone):
    seconds, modules = open_alone("HeadCTTriage")
    assert not {"torch", "monai", "SimpleITK", "typer", "pydicom", "scipy"} & modules
    assert seconds < 0.3  # of the processor, whatever else runs on this computer


def test_apply_is_grey_and_says_why(widget):
    import slicer

    button = widget.ui.applyButton
    assert not button.enabled and "Choose a CT" in button.toolTip
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    widget._parameterNode.inputVolume = empty
    assert not button.enabled and "no image" in button.toolTip
    widget._parameterNode.inputVolume = add_air()
    assert button.enabled and "how urgently" in button.toolTip


def test_a_missing_model_is_said(widget, tmp_path):
    from HeadCTTriage import Recipe

    widget._parameterNode.inputVolume = add_air()
    widget._parameterNode.recipe = Recipe.SEED
    assert not widget.ui.applyButton.enabled
    assert "no model of the chosen recipe" in widget.ui.applyButton.toolTip
    (tmp_path / "models.json").write_text('{"models": []}')
    widget.panel.registryPath = str(tmp_path / "models.json")
    widget._parameterNode.recipe = Recipe.MODERN
    assert not widget.ui.applyButton.enabled
    assert "No model is installed" in widget.ui.applyButton.toolTip
    widget.worklist.ui.addVolumeButton.click()
    assert not widget.worklist.ui.judgeButton.enabled
    assert "No model is installed" in widget.worklist.ui.judgeButton.toolTip


def test_the_panel_says_what_it_is(widget):
    assert "not a medical device" in widget.ui.disclaimerLabel.text
    assert "simulated" in widget.ui.modelNoteLabel.text
    assert widget.ui.advancedCollapsibleButton.collapsed
    widget.ui.mostMissedSpinBox.value = 1.0
    widget.ui.errorSpinBox.value = 2.5
    assert widget._options()["mostMissed"] == pytest.approx(0.01)
    assert widget._options()["error"] == pytest.approx(0.025)


# The real computation


def test_apply_to_judgement_and_back_from_a_scene_file(widget, tmp_path):
    """One run, looked at from all sides."""
    import slicer

    from ReadingRoomSlicerLib import tables

    volume = add_head("Müller, Hans")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    toWorld = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(toWorld))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), volume), study)
    widget.ui.mostMissedSpinBox.value = 10.0
    result = apply(widget, volume)

    # what is read
    manifest = result.manifest
    assert manifest["status"] == "completed" and manifest["parameters"]["most_missed"] == 0.1
    ui = widget.ui
    assert manifest["decision"].upper() in ui.decisionLabel.text
    assert manifest["triage"] in ui.decisionLabel.text
    assert f"{manifest['urgent_probability']:.0%}" in ui.probabilityLabel.text
    assert all(tag in ui.tagsLabel.text for tag in manifest["tag_probabilities"])
    assert manifest["promise"] in ui.promiseLabel.text
    assert "idline" in ui.shiftLabel.text
    assert not ui.contactSheetButton.isHidden() and ui.contactSheetButton.iconSize.width() > 400
    ui.contactSheetButton.click()
    assert widget.view._window.visible

    # nodes
    for node in (result.judgement, result.points, result.contactSheet, result.report):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    columns = tables.columns(result.judgement)
    values = dict(zip(columns["Item"], columns["Value"], strict=True))
    assert values["Decision"] == manifest["decision"] and values["Promise"] == manifest["promise"]
    assert "not a medical device" in values["Note"]
    (region,) = manifest["reasons"]["regions"]
    assert result.points.GetNumberOfControlPoints() == 1
    assert "calcification" in result.points.GetNthControlPointLabel(0)
    ras = np.array([*region["centre_mm"], 1]) * [-1, -1, 1, 1]
    assert np.allclose(result.points.GetNthControlPointPosition(0), ras[:3])
    assert result.points.GetParentTransformNode() == transform
    assert abs(ras[0] + SHIFTED[0]) < 15  # where the head is, and on its side

    # click the place
    ui.resultTable.cellClicked(0, 0)
    slice_node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    shown = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 3]
    assert np.allclose(shown, (toWorld @ ras)[:3], atol=0.1)

    # the folder and the log name no patient
    assert events(widget) == ["judged", "shown"]
    kept = widget.folder.path / "results" / manifest["result"]
    assert (kept / "contact_sheet.png").is_file()
    texts = [(kept / "result.json").read_text("utf-8"), widget.folder.log.path.read_text("utf-8")]
    assert not any("Hans" in text for text in texts)

    # the physician
    assert ui.tagComboBox.count == 3 and ui.tagComboBox.currentIndex == -1
    ui.overruleButton.click()
    assert "give a reason" in ui.reviewLabel.text and events(widget) == ["judged", "shown"]
    ui.tagComboBox.currentIndex = 0
    ui.overruleButton.click()
    assert "give a reason" in ui.reviewLabel.text and events(widget) == ["judged", "shown"]
    given = ui.tagComboBox.itemData(0)
    ui.readerLineEdit.text = "Dr. Anna"
    ui.reasonLineEdit.text = "motion artefact"
    ui.overruleButton.click()
    entry = widget.folder.log.entries()[-1]
    assert (entry.event, entry.tag, entry.who) == ("overruled", given, "Dr. Anna")
    assert entry.reason == "motion artefact" and entry.result == manifest["result"]
    assert entry.input_sha256 == manifest["inputs"][0]["sha256"]
    assert entry.shown["triage"] == manifest["triage"]
    assert "Overruled by Dr. Anna" in ui.reviewLabel.text
    assert result.manifest["review"]["tag"] == given
    assert "Overruled" in tables.columns(result.judgement)["Value"][
        tables.columns(result.judgement)["Item"].index("Physician")]

    # files
    folder = Path(widget.logic.export(result, str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "contact_sheet.png", "judgement.csv", "result.json"]
    assert (folder / "contact_sheet.png").read_bytes() == (kept / "contact_sheet.png").read_bytes()
    assert json.loads((folder / "result.json").read_text("utf-8")) == result.manifest

    # scene file
    manifest = result.manifest
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert ui.resultHeadWidget.isHidden() and not ui.resultHintLabel.isHidden()
    slicer.util.loadScene(path)
    process_events(lambda: widget._parameterNode is not None)
    restored = widget.logic.resultOf(widget._parameterNode)
    assert restored.manifest == manifest
    assert restored.inputVolume.GetName() == "Müller, Hans"
    assert restored.points.GetNumberOfControlPoints() == 1
    assert not ui.resultHeadWidget.isHidden() and not ui.contactSheetButton.isHidden()
    assert "Overruled by Dr. Anna" in ui.reviewLabel.text
    assert ui.mostMissedSpinBox.value == 10.0
    ui.overlayButton.click()
    assert restored.points.GetDisplayNode().GetVisibility() == ui.overlayButton.checked
    ui.volumeRenderingButton.click()
    from ReadingRoomSlicerLib import views
    assert views.isVolumeRendered(restored.inputVolume)
    assert ui.show3DButton.isHidden()

    # confirmed after all
    ui.confirmButton.click()
    assert events(widget)[-1] == "confirmed"
    assert restored.manifest["review"]["tag"] == manifest["triage"]
    assert verify(widget.folder.log.path).intact

    # a result that the user deleted
    slicer.mrmlScene.RemoveNode(restored.judgement)
    widget.enter()
    assert ui.resultHeadWidget.isHidden()


def made_up_result(widget, **changes):
    """A result as the command writes it, with what a test wants to see; its manifest."""
    from PIL import Image

    folder = widget.folder.new_result()
    folder.mkdir(parents=True)
    Image.new("RGB", (600, 400)).save(folder / "contact_sheet.png")
    regions = [{"kind": "epidural", "name": "epidural blood", "volume_ml": 20.0 + number,
                "confidence": 0.9, "first_slice": 3, "last_slice": 5, "best_slice": 4,
                "centre_mm": [10.0, 20.0, 30.0]} for number in range(3)]
    manifest = {
        "schema": 1, "status": "completed", "disclaimer": "Not a medical device.",
        "inputs": [{"name": "CT.nrrd", "sha256": "ab" * 32}],
        "model": {"name": "starter", "sha256": "cd" * 32},
        "files": {"contact_sheet": "contact_sheet.png"}, "warnings": [],
        "urgent_probability": 0.913, "interval": [0.8, 0.95], "triage": "red",
        "decision": "urgent", "possible_tags": ["red", "black"], "threshold": 0.4,
        "tag_probabilities": {"green": 0.02, "yellow": 0.07, "red": 0.61, "black": 0.3},
        "promise": "At most 5% of urgent heads are missed.", "doubts": [],
        "reasons": {"regions": regions, "midline_shift_mm": 6.4, "slices": [],
                    "ventricle_index": 0.34,
                    "brain_volume_ml": 1300}} | changes
    (folder / "result.json").write_text(json.dumps(manifest), "utf-8")
    return widget.folder.manifest(folder.name)


def show(widget, volume=None, **changes):
    """Put a made-up result into the scene, as after Apply."""
    manifest = made_up_result(widget, **changes)
    result = widget.logic.showInScene(
        manifest, widget.folder.contact_sheet(manifest["result"]), volume or add_air("CT"))
    widget.onFinished(result)
    return result


@pytest.mark.parametrize(("changes", "words", "color"), [
    ({}, ["URGENT", "red: urgent care"], "rgb(205, 45, 45)"),
    ({"triage": "black"}, ["URGENT", "black: care is thought not"], "rgb(40, 40, 40)"),
    ({"triage": "green", "decision": "can wait"}, ["CAN WAIT", "green"], "rgb(60, 160, 80)"),
    ({"triage": "yellow", "decision": "can wait"}, ["CAN WAIT", "yellow"], "rgb(225, 175, 30)"),
    ({"triage": "green", "decision": "uncertain: look first"},
     ["UNCERTAIN: LOOK FIRST", "most like green"], "rgb(95, 95, 105)"),
])
def test_the_decision_is_said_in_words_and_in_colour(widget, changes, words, color):
    show(widget, **changes)
    label = widget.ui.decisionLabel
    assert all(word in label.text for word in words)
    assert f"background-color: {color}" in label.styleSheet


def test_every_number_of_a_judgement_is_there(widget):
    show(widget, doubts=["The brain is cut off."], warnings=["Memory was short."])
    ui = widget.ui
    assert ui.probabilityLabel.text == "Urgent with a probability of 91% (80% to 95%)."
    assert "red 61%" in ui.tagsLabel.text and "Not excluded: red or black." in ui.tagsLabel.text
    assert ui.doubtsLabel.text == "The brain is cut off." and not ui.doubtsLabel.isHidden()
    assert "Memory was short." in ui.promiseLabel.text
    assert ui.shiftLabel.text == (
        "Midline shift of about 6 mm to the left. Evans' index of the ventricles 0.34; above 0.3"
        " they count as enlarged.")
    assert [ui.resultTable.item(row, 1).text().strip() for row in range(3)] == [
        "20.0", "21.0", "22.0"]


def test_a_model_that_says_no_place_leaves_the_table_out(widget):
    show(widget, reasons={"regions": [], "midline_shift_mm": None, "slices": [],
                          "brain_volume_ml": 1300})
    assert widget.ui.resultTable.isHidden() and widget.ui.shiftLabel.isHidden()
    assert "without saying where" in widget.ui.resultSummaryLabel.text


def test_what_cannot_be_written_to_the_log_is_not_decided(widget, monkeypatch):
    result = show(widget)

    def full(*args, **kwargs):
        raise OSError("The disk is full.")

    monkeypatch.setattr(widget.folder.log, "add", full)
    widget.ui.confirmButton.click()
    assert "Not kept: The disk is full." in widget.ui.reviewLabel.text
    assert "review" not in result.manifest and events(widget) == ["shown"]


def test_showing_the_same_result_again_is_one_event(widget):
    show(widget)
    widget.parent.exit()
    widget.parent.enter()
    assert events(widget) == ["shown"]
    show(widget)
    assert events(widget) == ["shown", "shown"]


def test_a_second_result_replaces_the_first_and_keeps_a_renamed_one(widget):
    volume = add_head()
    first = show(widget, volume)
    first.judgement.SetName("Mine")
    second = apply(widget, volume)
    assert second.report == first.report and second.points == first.points
    assert second.judgement != first.judgement


def test_no_head_is_refused_in_one_sentence_and_logged(widget):
    import slicer

    widget._parameterNode.inputVolume = add_air("Meier")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    widget.ui.applyButton.click()
    process_events(lambda: not widget.logic.running)
    sentence = widget.ui.messageLabel.text
    assert sentence and "\n" not in sentence and "Meier" not in sentence
    (entry,) = widget.folder.log.entries()
    assert entry.event == "refused" and entry.reason.endswith(sentence)
    assert len(entry.input_sha256) == 64
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert widget.logic.resultOf(widget._parameterNode) is None


def test_cancel_leaves_nothing(widget):
    import slicer

    widget._parameterNode.inputVolume = add_head()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    widget.ui.applyButton.click()
    process_events(lambda: widget.ui.messageLabel.text == "Reading the CT"
                   or not widget.logic.running)
    widget.ui.cancelButton.click()
    assert not widget.logic.running and "cancelled" in widget.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert not widget.folder.log.path.exists()
    assert widget.ui.applyButton.enabled


# The worklist


def rows_of(ui):
    table = ui.worklistTable
    return [[table.item(row, column).text() for column in range(table.columnCount)]
            for row in range(table.rowCount)]


def judge_all(widget):
    widget.worklist.ui.judgeButton.click()
    process_events(lambda: not widget.worklist.judging)


def keep(widget, *studies):
    widget.folder.keep(list(studies))
    widget.worklist.reload()


def test_studies_are_judged_one_after_another_and_decided_upon(widget, tmp_path, monkeypatch):
    import qt
    import slicer

    ui = widget.ui
    heads = [add_head("Head 1"), add_air("Air"), add_head("Head 2")]
    for volume in (*heads, heads[0]):
        widget._parameterNode.inputVolume = volume
        widget.worklist.ui.addVolumeButton.click()
    assert "On the list already" in widget.worklist.ui.worklistMessageLabel.text
    list_ui = widget.worklist.ui
    assert [row[0] for row in rows_of(list_ui)] == ["Head 1", "Air", "Head 2"]
    assert {row[4] for row in rows_of(list_ui)} == {"waiting"}

    list_ui.judgeButton.click()
    assert widget.worklist.judging and list_ui.judgeButton.text == "Stop"
    assert not ui.applyButton.enabled and "running" in ui.applyButton.toolTip
    assert rows_of(list_ui)[0][4] == "judging"
    process_events(lambda: not widget.worklist.judging)
    assert ui.applyButton.enabled
    states = {row[0]: row[4] for row in rows_of(list_ui)}
    assert states == {"Head 1": "judged", "Air": "refused", "Head 2": "judged"}
    assert events(widget) == ["judged", "refused", "judged"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0

    # a row shows its judgement
    row = [row[0] for row in rows_of(list_ui)].index("Head 2")
    assert not list_ui.worklistTable.item(row, 0).icon().isNull()
    list_ui.worklistTable.selectRow(row)
    study = widget.worklist.study(widget.worklist.selectedKey())
    assert study.name == "Head 2" and events(widget)[-1] == "shown"
    assert not ui.resultHeadWidget.isHidden() and study.decision.upper() in ui.decisionLabel.text
    assert not ui.exportButton.enabled  # nothing of it is in the scene yet
    ui.confirmButton.click()
    assert [row[0] for row in rows_of(list_ui)][-1] == "Head 2"  # it waits no longer
    assert rows_of(list_ui)[-1][4] == "confirmed"
    assert widget.worklist.selectedKey() == study.key

    # one that was refused says why
    row = [row[0] for row in rows_of(list_ui)].index("Air")
    list_ui.worklistTable.selectRow(row)
    assert ui.resultHeadWidget.isHidden()
    assert list_ui.worklistMessageLabel.text == widget.worklist.study(
        widget.worklist.selectedKey()).remark != ""

    # a double click shows the images, and puts the judgement beside them
    slicer.mrmlScene.RemoveNode(heads[1])
    list_ui.worklistTable.cellDoubleClicked(len(states) - 1, 0)
    result = widget.logic.resultOf(widget._parameterNode)
    assert result.inputVolume == heads[2] == widget._parameterNode.inputVolume
    assert result.manifest["review"]["event"] == "confirmed"
    assert widget.worklist.selectedKey() == ""  # that was the one that was refused
    assert ui.exportButton.enabled and "Confirmed" in ui.reviewLabel.text

    # a table for spreadsheets
    path = tmp_path / "list.csv"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *args: str(path))
    list_ui.csvButton.click()
    with open(path, encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert [line["study"] for line in written] == [row[0] for row in rows_of(list_ui)]

    # the log
    list_ui.verifyButton.click()
    assert "as it was written: 5 entries" in list_ui.worklistMessageLabel.text
    content = widget.folder.log.path.read_bytes()
    widget.folder.log.path.write_bytes(content.replace(b"refused", b"judged!", 1))
    list_ui.verifyButton.click()
    assert "changed at line 2" in list_ui.worklistMessageLabel.text

    # what is taken from the list stays in the folder
    list_ui.worklistTable.selectRow(0)
    list_ui.removeButton.click()
    assert len(rows_of(list_ui)) == 2
    assert len(list((widget.folder.path / "results").iterdir())) == 2


def made_up(name, tag, decision, minutes, **known):
    added = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    return Study(f"volume:{name}", name, added, State.JUDGED, f"r-{name}", tag, decision, 0.5,
                 **known)


def test_the_list_is_sorted_by_urgency_then_by_waiting_and_survives(widget):
    keep(widget, made_up("green", "green", "can wait", 500),
         made_up("red, new", "red", "urgent", 1), new_study("volume:w", "waits"),
         made_up("red, old", "red", "urgent", 125), made_up("black", "black", "urgent", 300),
         made_up("unsure", "green", "uncertain: look first", 2))
    shown = rows_of(widget.worklist.ui)
    assert [row[0] for row in shown] == [
        "red, old", "red, new", "unsure", "black", "waits", "green"]
    assert shown[0][1:4] == ["urgent\nred", "50%", "2 h 5 min"]
    assert shown[2][1] == "uncertain\nmost like green"
    color = widget.worklist.ui.worklistTable.item(3, 1).background().color()
    assert (color.red(), color.green(), color.blue()) == (40, 40, 40)
    assert "before or after red" in widget.worklist.ui.orderLabel.text
    # a result that is gone is said
    widget.worklist.ui.worklistTable.selectRow(0)
    assert "not a result folder" in widget.worklist.ui.worklistMessageLabel.text


def test_a_folder_with_another_list_can_be_chosen(widget, tmp_path):
    from HeadCTTriageLib.triage_folder import TriageFolder

    TriageFolder(tmp_path / "other").keep([new_study("volume:x", "there")])
    widget.worklist.ui.folderPathLineEdit.currentPath = str(tmp_path / "other")
    assert [row[0] for row in rows_of(widget.worklist.ui)] == ["there"]
    (tmp_path / "other" / "worklist.json").write_text("[")
    widget.worklist.reload()
    assert "holds no worklist" in widget.worklist.ui.worklistMessageLabel.text


def test_judging_can_be_stopped_and_a_lost_volume_is_said(widget):
    import slicer

    keep(widget, new_study("volume:gone", "Gone"))
    judge_all(widget)
    assert rows_of(widget.worklist.ui)[0][4] == "refused"
    assert "no longer in the scene" in widget.worklist.studies[0].remark
    widget._parameterNode.inputVolume = add_head()
    widget.worklist.ui.addVolumeButton.click()
    widget.worklist.ui.judgeButton.click()
    widget.worklist.ui.judgeButton.click()
    process_events(lambda: not widget.logic.running)
    assert {study.name: study.state for study in widget.worklist.studies}["CT"] is State.WAITING
    slicer.app.processEvents()
    assert not widget.worklist.judging and "stopped" in widget.worklist.ui.worklistMessageLabel.text


def test_reload_while_judging_lets_the_study_wait_again(widget):
    import slicer

    widget._parameterNode.inputVolume = add_head()
    widget.worklist.ui.addVolumeButton.click()
    widget.worklist.ui.judgeButton.click()
    assert widget.logic.running
    widget.cleanup()
    assert not widget.logic.running
    slicer.app.processEvents()
    assert [study.state for study in widget.folder.studies()] == [State.WAITING]


# DICOM


class StandInDatabase:
    """What the panel asks of Slicer's DICOM database (ctkDICOMDatabase)."""

    isOpen = True

    def __init__(self, series):
        self.series = series  # headers and files by UID

    def patients(self):
        return ("1",)

    def studiesForPatient(self, patient):
        return tuple(sorted({one["study"] for one in self.series.values()}))

    def seriesForStudy(self, study):
        return tuple(uid for uid, one in self.series.items() if one["study"] == study)

    def filesForSeries(self, uid):
        return tuple(self.series[uid]["files"])

    def fileValue(self, path, tag):
        (one,) = [one for one in self.series.values() if path in one["files"]]
        return one["tags"].get(tag, "")

    def fileForInstance(self, uid):
        return ""


def write_dicom(folder):
    """The toy head as a series, its slices from above to below; the paths."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    image = toy_head(spacing=(3.0, 3.0, 5.0))
    voxels = sitk.GetArrayFromImage(image)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for number, plane in enumerate(voxels):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID, dataset.Modality = frame, "CT"
        dataset.PatientID, dataset.PatientName = "4711", "Meier^Karl"
        dataset.SeriesNumber, dataset.InstanceNumber = 3, number + 1
        dataset.ImagePositionPatient = list(
            image.TransformIndexToPhysicalPoint((0, 0, number)))
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [3.0, 3.0], 5.0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = (plane.astype(int) + 1024).astype("<u2").tobytes()
        paths.append(str(folder / f"{number:03}.dcm"))
        pydicom.dcmwrite(paths[-1], dataset, enforce_file_format=True)
    return paths


@pytest.fixture
def database(widget, tmp_path, monkeypatch):
    import slicer

    paths = write_dicom(tmp_path / "ct")
    tags = {"0008,0060": "CT", "0018,0015": "HEAD", "0010,0010": "Meier^Karl",
            "0008,0020": "20260102", "0008,103E": "Routine 5 mm"}
    database = StandInDatabase({
        "1.2": {"study": "s1", "files": paths, "tags": tags},
        "1.3": {"study": "s1", "files": ["topogram"], "tags": {**tags, "0008,103E": "Topogram"}},
        "1.4": {"study": "s2", "files": [f"chest{n}" for n in range(40)],
                "tags": {**tags, "0018,0015": "CHEST"}},
        "1.5": {"study": "s2", "files": ["mr"], "tags": {**tags, "0008,0060": "MR"}},
    })
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    widget.worklist.checkButtons()
    return database


def test_without_a_database_the_buttons_say_so(widget):
    button = widget.worklist.ui.addAllButton
    assert not button.enabled and "database is not open" in button.toolTip


def test_head_cts_of_the_database_are_judged_and_opened(widget, database, monkeypatch):
    import slicer

    from ReadingRoomSlicerLib import dicom

    ui = widget.worklist.ui
    ui.addAllButton.click()
    assert [row[0] for row in rows_of(ui)] == ["Meier Karl, 20260102, Routine 5 mm"]
    judge_all(widget)
    assert rows_of(ui)[0][4] == "judged", widget.worklist.studies[0].remark
    kept = widget.folder.path / "results" / widget.worklist.studies[0].result
    for path in (kept / "result.json", widget.folder.log.path):
        text = path.read_text("utf-8")
        assert not any(word in text for word in ("Meier", "4711", '"1.2'))
    loaded = []

    def load(uid):
        loaded.append(uid)
        return add_head("3: Routine")

    monkeypatch.setattr(dicom, "loadSeries", load)
    ui.worklistTable.cellDoubleClicked(0, 0)
    assert loaded == ["1.2"]
    assert widget._parameterNode.inputVolume.GetName() == "3: Routine"
    ui.worklistTable.cellDoubleClicked(0, 0)
    assert loaded == ["1.2"]  # it is in the scene
    ui.addVolumeButton.click()  # the same study
    assert len(rows_of(ui)) == 1
    slicer.mrmlScene.Clear(False)
    database.series["1.2"]["files"] = ["gone"]
    keep(widget, new_study("series:1.2", "again"))
    judge_all(widget)
    assert "files of this series are gone" in widget.worklist.studies[0].remark


def test_a_child_is_known_by_the_database_and_its_age_is_not_written(widget, database, monkeypatch):
    volume = add_head()
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.1 1.2.2")
    path = database.series["1.2"]["files"][0]
    monkeypatch.setattr(database, "fileForInstance", lambda uid: path if uid == "1.2.1" else "")
    # born twelve years before the scan
    database.series["1.2"]["tags"]["0010,0030"] = "20140101"
    result = apply(widget, volume)
    assert any("child" in doubt for doubt in result.manifest["doubts"])
    assert "child" in widget.ui.doubtsLabel.text
    assert not any(word in json.dumps(result.manifest) for word in ("20140101", "12 years", "12.0"))
    database.series["1.2"]["tags"]["0010,1010"] = "044Y"
    result = apply(widget, volume)
    assert not any("child" in doubt for doubt in result.manifest["doubts"])


def test_series_are_chosen_by_hand(widget, database, monkeypatch):
    import qt

    seen = []

    def accept(dialog):
        view = next(child for child in dialog.children() if child.className() == "QListWidget")
        seen.extend((view.item(row).text(), view.item(row).isSelected())
                    for row in range(view.count))
        view.item(2).setSelected(True)
        return qt.QDialog.Accepted

    monkeypatch.setattr(qt.QDialog, "exec", accept)
    widget.worklist.ui.addSeriesButton.click()
    assert [selected for _text, selected in seen] == [True, False, False]  # MR is not offered
    assert "(44 slices)" in seen[0][0] and "(40 slices)" in seen[2][0]
    assert {study.key for study in widget.worklist.studies} == {"series:1.2", "series:1.4"}


def test_a_series_is_loaded_by_slicers_dicom_module(slicer_scene, monkeypatch):
    from types import ModuleType, SimpleNamespace

    from ReadingRoomSlicerLib import dicom

    volume = add_air()
    module = ModuleType("DICOMLib")
    module.DICOMUtils = SimpleNamespace(
        loadSeriesByUID=lambda uids: ["nonsense", volume.GetID()] if uids == ["1.2"] else [])
    monkeypatch.setitem(sys.modules, "DICOMLib", module)
    assert dicom.loadSeries("1.2") == volume
    with pytest.raises(RuntimeError, match="could not be loaded"):
        dicom.loadSeries("1.3")


# Without a panel


def test_sample_is_offered(slicer_scene):
    import slicer

    import slicerhost

    slicerhost.load_module("HeadCTTriage", panel=False)
    import HeadCTTriage

    HeadCTTriage.registerSampleData()
    (source,) = slicer.modules.sampleDataSources["HeadCTTriage"]
    assert source.sampleName == "CTHeadSimulated" and source.customDownloader
    assert Path(source.thumbnailFileName).is_file()
