# SPDX-License-Identifier: Apache-2.0
"""The sections List of images, Train and Evaluate of MuscleSeg, clicked, with real commands."""

import json
from pathlib import Path

import pytest

from ReadingRoomLib.estimates import Estimate

from ..Core.muscle_factory import write_tiny_bundle
from ..Core.test_muscle_confidence import write_study
from ..Core.test_muscle_evaluate import write_case, write_list
from .test_muscleseg import hierarchy_item, process_events
from .test_muscleseg_measure import PATIENT, load_body, warm_runner  # noqa: F401 (a fixture)

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Folder of models, with a small network that was set by hand."""
    from MuscleSegLib.segmentation import REGISTRY
    from ReadingRoomLib.models import keep_model

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("READINGROOM_CACHE", str(folder))
        keep_model(write_tiny_bundle(folder / "made" / "tiny"), REGISTRY, "tiny")
    return folder


@pytest.fixture
def widget(module_widget, cache, warm_runner, monkeypatch):  # noqa: F811 (the fixture from above)
    """The panel with that network among its models."""
    from ReadingRoomSlicerLib import jobs

    monkeypatch.setenv("READINGROOM_CACHE", str(cache))
    monkeypatch.setattr(jobs, "JobRunner", lambda library: warm_runner)
    widget = module_widget("MuscleSeg")
    widget.parent.enter()
    widget._parameterNode.device = type(widget._parameterNode.device).CPU
    yield widget
    widget.sections.cleanup()


def opened(widget, name):
    widget.sections.title(name).collapsed = False
    return widget.sections[name]


def finish(section):
    process_events(lambda: not section.runner.running)


# List of images


def test_segmentations_of_the_scene_become_a_list_that_names_no_patient(widget, tmp_path):
    import slicer

    from ReadingRoomLib.datalists import read_pairs
    from ReadingRoomSlicerLib import segmentations

    section = opened(widget, "list")
    assert "no segmentation in the scene" in section.startButton.toolTip
    volume, segmentation = load_body(tmp_path / "in")
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{PATIENT} again")
    segmentations.readSegmentation(again, str(tmp_path / "in" / "muscles.seg.nrrd"), volume)
    again.GetSegmentation().GetSegment("iliacus_right").SetName("somebody's own")
    lonely = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lonely")
    lonely.GetSegmentation().AddEmptySegment("femur_left")
    foreign = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Foreign")
    foreign.GetSegmentation().AddEmptySegment("liver", "liver")
    foreign.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    section.findButton.click()
    rows = {section.table.item(row, 0).text(): row for row in range(section.table.rowCount)}
    assert len(rows) == 4
    assert "source volume" in section.table.item(rows["Lonely"], 0).toolTip()
    assert "None of its segments" in section.table.item(rows["Foreign"], 0).toolTip()
    assert section.table.item(rows[f"{PATIENT} muscles"], 2).text() == "6"
    assert [pair.segmentation for pair in section.ticked()] == [segmentation, again]
    assert {pair.patient for pair in section.ticked()} == {"1"}  # the same patient

    assert "folder for the result" in section.startButton.toolTip
    section.folderLineEdit.currentPath = str(tmp_path)
    section.nameLineEdit.text = "a/b"
    assert "Give the new folder a name" in section.startButton.toolTip
    section.nameLineEdit.text = "in"
    assert "something of this name" in section.startButton.toolTip
    section.nameLineEdit.text = "images"
    assert section.startButton.enabled
    section.table.item(rows[f"{PATIENT} again"], 1).setText("2")
    section.startButton.click()
    path = tmp_path / "images" / "datalist.json"
    assert str(path) in section.messageLabel.text and "2 patients" in section.messageLabel.text
    pairs = read_pairs(path, "segmentation")["training"]
    assert [pair.patient for pair in pairs] == ["1", "2"]
    assert [pair.image.name for pair in pairs] == ["case-001.nrrd", "case-002.nrrd"]
    for file in path.parent.iterdir():
        assert "Müller" not in file.name and "Müller".encode() not in file.read_bytes()
    written = slicer.util.loadSegmentation(str(pairs[0].companion))
    assert written.GetSegmentation().GetNumberOfSegments() == 6

    # it is the list of the sections below, those that are there and those that come
    assert opened(widget, "evaluate").dataLineEdit.currentPath == str(path)
    assert opened(widget, "train").ui.trainingDataPathLineEdit.currentPath == str(path)

    # two pictures of one patient in different scenes stay one list; a transform keeps one out
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    again.SetAndObserveTransformNodeID(transform.GetID())
    slicer.mrmlScene.RemoveNode(segmentation)
    section.check()
    assert "Tick at least one" in section.startButton.toolTip
    slicer.mrmlScene.Clear(False)
    assert section.table.rowCount == 0


def test_patients_of_the_hierarchy_are_told_apart(widget, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import segmentations

    load_body(tmp_path / "in")
    volume = slicer.util.loadVolume(str(tmp_path / "in" / "ct.nrrd"))
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    segmentations.readSegmentation(other, str(tmp_path / "in" / "muscles.seg.nrrd"), volume)
    hierarchy, item = hierarchy_item(volume)
    hierarchy.SetItemParent(item, hierarchy.CreateSubjectItem(
        hierarchy.GetSceneItemID(), "Somebody else"))
    section = opened(widget, "list")
    assert [pair.patient for pair in section.ticked()] == ["1", "2"]


def test_folders_are_collected(widget, tmp_path):
    section = opened(widget, "list")
    section.sourceComboBox.currentIndex = 1
    assert section.sceneWidget.isHidden() and not section.imagesLineEdit.isHidden()
    assert "folder of the images" in section.startButton.toolTip
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for name in ("a", "b"):
        write_case(images, name)
        (images / f"{name}.seg.nrrd").rename(masks / f"{name}.seg.nrrd")
    section.imagesLineEdit.currentPath = str(images)
    section.segmentationsLineEdit.currentPath = str(masks / "none")
    assert "segmentations cannot be found" in section.startButton.toolTip
    section.segmentationsLineEdit.currentPath = str(masks)
    section.simulatedCheckBox.checked = True
    section.namesComboBox.currentIndex = 3
    assert "table of label names" in section.startButton.toolTip
    section.namesComboBox.currentIndex = 0
    section.folderLineEdit.currentPath = str(tmp_path)
    section.nameLineEdit.text = "collected"
    section.startButton.click()
    finish(section)
    path = tmp_path / "collected" / "datalist.json"
    assert str(path) in section.messageLabel.text, section.messageLabel.text
    assert "2 images of 2 patients" in section.messageLabel.text
    content = json.loads(path.read_text("utf-8"))
    assert len(content["training"]) == 2 and content["simulated"] is True


# Train


def test_training_says_what_is_missing_and_what_it_will_do(widget, tmp_path):
    panel = opened(widget, "train")
    ui, button = panel.ui, panel.ui.startTrainingButton
    assert not button.enabled and "file that lists the images" in button.toolTip
    ui.trainingDataPathLineEdit.currentPath = str(write_list(tmp_path, [{"image": "none"}]))
    ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    ui.trainingNameLineEdit.text = "own"
    assert button.enabled
    panel.foldsSpinBox.value = 1
    assert not button.enabled and "two folds" in button.toolTip
    panel.foldsSpinBox.value = 0
    assert panel.options() == {"recipe": "modern", "start": "tiny", "folds": 0,
                               "intensities": "ct", "unnamed": "unknown"} | {
        "start": panel.startComboBox.itemData(0)}
    names = [panel.startComboBox.itemData(index) for index in range(panel.startComboBox.count)]
    assert "tiny" in names and names[-1] == "none"
    panel.recipeComboBox.currentIndex = panel.recipeComboBox.findData("seed")
    names = [panel.startComboBox.itemData(index) for index in range(panel.startComboBox.count)]
    assert "tiny" not in names and names[-1] == "none"


def test_training_is_seen_and_ends_in_a_model(widget, tmp_path):
    import slicer

    panel = opened(widget, "train")
    evaluate = opened(widget, "evaluate")
    ui = panel.ui
    entries = [write_case(tmp_path, name) for name in ("a", "b")]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(
        {"training": entries[:1], "validation": entries[1:], "simulated": True}), "utf-8")
    ui.trainingDataPathLineEdit.currentPath = str(path)
    ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    ui.trainingNameLineEdit.text = "own"
    panel.startComboBox.currentIndex = panel.startComboBox.findData("tiny")
    panel.foldsSpinBox.value = 0
    ui.trainingStepsSpinBox.value = 2
    ui.startTrainingButton.click()
    assert not ui.startTrainingButton.enabled and not ui.cancelTrainingButton.isHidden()
    process_events(lambda: not panel.runner.running)
    message = ui.trainingMessageLabel.text
    assert "with 95 % intervals: Dice" in message and "simulated" in message, message
    assert "own can now be chosen" in message
    titles = [panel.pictureComboBox.itemText(index)
              for index in range(panel.pictureComboBox.count)]
    assert titles == ["Scores: patients and structures", "Curves: final"]
    panel.pictureComboBox.currentIndex = 1
    ui.showCurvesButton.click()
    chart = slicer.util.getNode("MuscleSeg training")
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() > 0
    assert "own" in [widget.ui.modelComboBox.itemText(index)
                     for index in range(widget.ui.modelComboBox.count)]
    assert evaluate.modelComboBox.findData("own") >= 0
    assert "model of this name" in ui.startTrainingButton.toolTip


# Evaluate


def test_evaluating_says_what_is_missing(widget, tmp_path):
    section = opened(widget, "evaluate")
    assert "file that lists the images" in section.startButton.toolTip
    section.dataLineEdit.currentPath = str(write_list(tmp_path, []))
    section.folderLineEdit.currentPath = str(tmp_path)
    assert section.startButton.enabled and not section.modelComboBox.isHidden()
    section.methodComboBox.currentIndex = 1
    assert section.modelComboBox.isHidden() and not section.atlasesLineEdit.isHidden()
    assert section.startButton.enabled  # the list itself, without the patient that is measured
    section.atlasesLineEdit.currentPath = str(tmp_path / "none.json")
    assert "list of the atlases cannot be found" in section.startButton.toolTip
    section.methodComboBox.currentIndex = 2
    assert section.atlasesLineEdit.isHidden() and not section.predictionsLineEdit.isHidden()
    assert "folder of the segmentations" in section.startButton.toolTip


def test_scores_become_tables_and_a_chart(widget, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import tables

    section = opened(widget, "evaluate")
    data = write_list(tmp_path, [write_case(tmp_path, name) for name in ("a", "b")],
                      simulated=True)
    section.dataLineEdit.currentPath = str(data)
    section.folderLineEdit.currentPath = str(tmp_path)
    section.modelComboBox.currentIndex = section.modelComboBox.findData("tiny")
    section.samplesSpinBox.value = 1
    section.startButton.click()
    assert section.runner.running and not section.cancelButton.isHidden()
    finish(section)
    message = section.messageLabel.text
    assert "2 patients, with 95 % intervals: Dice" in message and "simulated" in message
    assert not section.pictureLabel.isHidden() and section.reportButton.isHidden()
    assert "something of this name" in section.startButton.toolTip
    shown = [[section.table.item(row, column).text() for column in range(3)]
             for row in range(section.table.rowCount)]
    assert [line[0] for line in shown] == ["Pelvis", "Gluteus maximus"]

    summary = tables.columns(slicer.util.getNode("scores, structures"))
    assert summary["Structure"] == ["Pelvis", "Gluteus maximus"]
    assert all(0.8 < dice <= 1 for dice in summary["Dice"])
    assert shown[0][1].startswith(f"{summary['Dice'][0]:.3f} (")
    scores = tables.columns(slicer.util.getNode("scores, scores"))
    assert scores["patient"] == ["a", "a", "b", "b"] and scores["dice"][0] > 0.8
    section.chartButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == section.chart.GetID()
    series = [section.chart.GetNthPlotSeriesNode(index) for index in range(3)]
    assert [one.GetYColumnName() for one in series] == [
        "Dice", "Dice, low end of 95 %", "Dice, high end of 95 %"]
    hierarchy, item = hierarchy_item(section.chart)
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "scores"

    # they are saved with the scene
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    section.chartButton.click()
    assert "removed from the scene" in section.messageLabel.text
    slicer.util.loadScene(path)
    restored = tables.columns(slicer.util.getNode("scores, structures"))
    assert restored["Structure"] == summary["Structure"]
    assert restored["Dice"] == pytest.approx(summary["Dice"], abs=1e-5)


def test_files_of_others_are_measured(widget, tmp_path):
    section = opened(widget, "evaluate")
    data = write_list(tmp_path, [write_case(tmp_path, name) for name in ("a", "b")])
    (tmp_path / "theirs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "theirs" / f"{name}.seg.nrrd").write_bytes(
            (tmp_path / f"{name}.seg.nrrd").read_bytes())
    section.dataLineEdit.currentPath = str(data)
    section.folderLineEdit.currentPath = str(tmp_path)
    section.methodComboBox.currentIndex = 2
    section.predictionsLineEdit.currentPath = str(tmp_path / "theirs")
    section.startButton.click()
    finish(section)
    assert "2 patients" in section.messageLabel.text and "Dice 1.000" in section.messageLabel.text
    assert section.table.item(0, 1).text().startswith("1.000")


def test_what_confidence_is_worth_is_said_with_its_report(widget, tmp_path, monkeypatch):
    import qt

    section = opened(widget, "evaluate")
    data = write_list(tmp_path, [write_case(tmp_path, "a")])
    section.dataLineEdit.currentPath = str(data)
    section.folderLineEdit.currentPath = str(tmp_path)
    section.methodComboBox.currentIndex = 3
    section.modelComboBox.currentIndex = section.modelComboBox.findData("tiny")
    section.samplesSpinBox.value = 1
    assert "two samples" in section.startButton.toolTip
    section.samplesSpinBox.value = 2
    section.startButton.click()
    finish(section)
    assert "needs at least" in section.messageLabel.text  # the command looked at the list

    section.dataLineEdit.currentPath = str(write_study(tmp_path, 8))
    section.startButton.click()
    finish(section)
    message = section.messageLabel.text
    result = json.loads((tmp_path / "scores" / "result.json").read_text("utf-8"))
    held = Estimate.read(result["coverage"])
    assert "with an AUROC of" in message and "promised 90 %" in message and "simulated" in message
    assert f"{held.per_cent()} of the structures" in message
    assert section.table.isHidden() and section.chartButton.isHidden()
    assert not section.pictureLabel.isHidden()
    shown = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: shown.append(url))
    section.reportButton.click()
    [report] = [Path(url.toLocalFile()) for url in shown]
    assert report.parent == tmp_path / "scores" and "AUROC" in report.read_text("utf-8")


def test_atlases_are_measured(widget, tmp_path):
    section = opened(widget, "evaluate")
    for folder, name in (("measured", "a"), ("atlases", "b")):
        (tmp_path / folder).mkdir()
        write_list(tmp_path / folder, [write_case(tmp_path / folder, name)])
    section.dataLineEdit.currentPath = str(tmp_path / "measured" / "list.json")
    section.folderLineEdit.currentPath = str(tmp_path)
    section.methodComboBox.currentIndex = 1
    section.atlasesLineEdit.currentPath = str(tmp_path / "atlases" / "list.json")
    section.startButton.click()
    finish(section)
    assert "average surface distance" in section.messageLabel.text
    assert [section.table.item(row, 0).text() for row in range(section.table.rowCount)] == [
        "Pelvis", "Gluteus maximus"]
    assert float(section.table.item(1, 1).text().split()[0]) > 0.7


def test_cancel_at_once(widget, tmp_path):
    section = opened(widget, "evaluate")
    section.dataLineEdit.currentPath = str(write_list(tmp_path, [write_case(tmp_path, "a")]))
    section.folderLineEdit.currentPath = str(tmp_path)
    section.startButton.click()
    assert section.runner.running
    section.cancelButton.click()
    assert not section.runner.running and "cancelled" in section.messageLabel.text
    assert section.startButton.enabled and not (tmp_path / "scores").exists()
