# SPDX-License-Identifier: Apache-2.0
"""The panel of LandmarkPretrain, clicked; its results are those of a toy, its derived points real.
"""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest

from LandmarkPretrainLib.landmark_files import Landmarks, read_landmarks, write_markups
from LandmarkPretrainLib.pseudo_landmarks_table import read_table

from ..Core.landmark_factory import NAMES as TOY_NAMES
from ..Core.landmark_factory import toy_image

HERE = Path(__file__).parent
PLACES = [["liver tip", [-30.0, 10.0, 40.0], 0.93], ["hip left", [25.0, -5.0, -20.0], 0.81],
          ["hip right", [-25.0, -5.0, -20.0], 0.12]]
TO_WORLD = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])


def process_events(until, seconds=120.0):
    import slicer

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.03)


def add_volume(name="Image", shape=(30, 40, 50)):
    import slicer

    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    matrix = np.diag([2.0, 2, 4, 1])
    matrix[:3, 3] = -50, -40, -60
    return slicer.util.addVolumeFromArray(array, matrix, name)


def add_points(names, points, name="Points", volume=None):
    """Points given in RAS."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for label, point in zip(names, points, strict=True):
        number = node.AddControlPoint(*point)
        node.SetNthControlPointLabel(number, label)
        node.SetNthControlPointAssociatedNodeID(number, volume.GetID() if volume else "")
    return node


def place(node, parent):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), parent)
    return hierarchy


@pytest.fixture(scope="module")
def warm(slicer_host, tmp_path_factory):
    """One worker of the toy for all tests."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("LANDMARK_TEST_PLACES", str(tmp_path_factory.mktemp("places") / "places"))
        runner = JobRunner("LandmarkTestLib")
        yield runner
        runner.shutdown()


@pytest.fixture
def finds(warm):
    """Says what the toy finds."""
    import os

    def says(places):
        Path(os.environ["LANDMARK_TEST_PLACES"]).write_text(json.dumps(places), "utf-8")

    says(PLACES)
    return says


@pytest.fixture
def widget(module_widget, warm, finds, tmp_path, monkeypatch):
    """The panel with a toy as its only model of each recipe."""
    entry = {"module": "LandmarkPretrain", "path": "toy", "sha256": "0" * 64, "size": 1,
             "licence": "Apache-2.0", "card": "card.md", "trained_on": "nothing",
             "simulated": True}
    (tmp_path / "models.json").write_text(json.dumps({"models": [
        entry | {"name": "starter", "recipe": "modern"},
        entry | {"name": "starter-seed", "recipe": "seed"}]}), "utf-8")
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "cache"))
    widget = module_widget("LandmarkPretrain")
    widget.panel.registryPath = str(tmp_path / "models.json")
    widget.logic._runner = warm
    monkeypatch.setattr(warm, "shutdown", warm.cancel)  # the panel goes, the worker stays
    widget.parent.enter()
    return widget


def applied(widget):
    widget.ui.applyButton.click()
    assert widget.logic.running, widget.ui.applyButton.toolTip
    process_events(lambda: not widget.logic.running)
    assert widget.ui.messageLabel.text == "", widget.panel._log
    return widget.logic.resultOf(widget._parameterNode)


# Files


def test_slicer_reads_what_the_library_writes_and_the_other_way_round(slicer_scene, tmp_path):
    import slicer

    landmarks = Landmarks(('a, "b"', "ü"), np.array([[1, 2, 3], [-4.5, 5, 6]]), [0.9, 0.2])
    write_markups(tmp_path / "x.mrk.json", landmarks)
    node = slicer.util.loadMarkups(str(tmp_path / "x.mrk.json"))
    assert [node.GetNthControlPointLabel(number) for number in range(2)] == list(landmarks.names)
    assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(node),
                       landmarks.points * [-1, -1, 1])
    assert [bool(node.GetNthControlPointSelected(number)) for number in range(2)] == [True, False]
    assert [bool(node.GetNthControlPointLocked(number)) for number in range(2)] == [True, False]
    assert node.GetNthControlPointDescription(1) == "confidence 0.2000"
    assert slicer.util.saveNode(node, str(tmp_path / "y.mrk.json"))
    node.AddControlPoint(7, 8, 9)
    node.UnsetNthControlPointPosition(2)
    storage = slicer.vtkMRMLMarkupsFiducialStorageNode()
    storage.SetFileName(str(tmp_path / "y.fcsv"))
    assert storage.WriteData(node)
    for name in ("y.mrk.json", "y.fcsv"):
        back = read_landmarks(tmp_path / name)
        assert back.names == landmarks.names and np.allclose(back.points, landmarks.points)
        assert back.confidence.tolist() == [0.9, 0.2]


# Detect


def test_opening_is_quick_and_imports_nothing_heavy(open_alone):
    seconds, modules = open_alone("LandmarkPretrain")
    assert not {"torch", "monai", "SimpleITK", "typer", "scipy", "sklearn", "optuna", "PIL",
                "LandmarkPretrainLib"} & modules
    assert seconds < 0.3  # of the processor, whatever else runs on this computer


def test_apply_is_grey_and_says_why(widget, tmp_path):
    import slicer

    button = widget.ui.applyButton
    assert not button.enabled and "Choose an image first" in button.toolTip
    widget._parameterNode.inputVolume = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", "Empty")
    assert "no image" in button.toolTip
    widget._parameterNode.inputVolume = add_volume()
    assert button.enabled and "Find the landmarks" in button.toolTip
    widget._parameterNode.truth = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLMarkupsFiducialNode", "None yet")
    assert not button.enabled and "no point yet" in button.toolTip
    widget._parameterNode.truth = None
    (tmp_path / "models.json").write_text('{"models": []}')
    widget._parameterNode.seed = 3
    assert not button.enabled and "no model of the chosen recipe" in button.toolTip


def test_a_loaded_image_is_taken_and_the_recipe_chooses_the_model(slicer_scene, module_widget,
                                                                  widget):
    widget.parent.exit()
    volume = add_volume()
    widget.parent.enter()
    assert widget._parameterNode.inputVolume == volume
    assert widget.panel.modelName == "starter"
    widget.ui.recipeComboBox.currentIndex = 1
    assert widget.panel.modelName == "starter-seed"
    assert "simulated" in widget.ui.modelNoteLabel.text


def test_apply_to_landmarks_and_back_from_a_scene_file(widget, tmp_path):
    """One run, looked at from all sides."""
    import slicer

    from ReadingRoomSlicerLib import tables, views

    volume = add_volume("Müller, Hans")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(TO_WORLD))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(
        hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient"), "Study")
    place(volume, study)
    # given in the world, where the image is seen, 3 mm off
    given = add_points(["hip left"], [(TO_WORLD @ [-25, 5, -17, 1])[:3]], "Given")
    widget._parameterNode.inputVolume = volume
    widget._parameterNode.truth = given
    result = applied(widget)

    # nodes
    manifest = result.manifest
    for name in type(result).NODES:
        node = getattr(result, name)
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert result.landmarks.GetName() == "Müller, Hans landmarks"
    for number, (name, point, _sure) in enumerate(PLACES):
        world = [0.0, 0.0, 0.0]
        result.landmarks.GetNthControlPointPositionWorld(number, world)
        assert np.allclose(world, (TO_WORLD @ [-point[0], -point[1], point[2], 1])[:3])
        assert result.landmarks.GetNthControlPointLabel(number) == name
        assert result.landmarks.GetNthControlPointAssociatedNodeID(number) == volume.GetID()
    sure = [bool(result.landmarks.GetNthControlPointSelected(number)) for number in range(3)]
    assert sure == [True, True, False]
    display = result.landmarks.GetDisplayNode()
    assert display.GetColor() != display.GetSelectedColor()
    columns = tables.columns(result.landmarkTable)
    assert columns["Landmark"] == [name for name, *_ in PLACES]
    assert columns["R"] == [30.0, -25.0, 25.0] and columns["Sure"] == ["yes", "yes", "no"]
    assert columns["Error mm"] == ["", "3.00", ""]

    # what is read
    ui = widget.ui
    table = ui.resultTable
    assert [table.item(0, column).text().strip() for column in range(table.columnCount)] == [
        "hip right", "25, 5, -20", "", "no: check"]
    assert [table.item(2, column).text().strip() for column in (0, 2, 3)] == [
        "hip left", "3.0", "yes"]
    assert [table.item(3, column).text() for column in (0, 3)] == ["carina", "not found"]
    assert "3 landmarks were found. 1 of them are not sure" in ui.resultSummaryLabel.text
    assert "1 were not found" in ui.resultSummaryLabel.text
    assert "1 given ones: mean 3.0 mm" in ui.resultSummaryLabel.text
    assert views.isBackground(volume)

    # what was learned from simulated images promises no per cent, and all of it can be moved
    assert "calibrated on simulated toys. In a real patient" in ui.doubtsLabel.text
    assert "within 10 mm" in ui.doubtsLabel.toolTip and "bent at random" in ui.doubtsLabel.toolTip
    assert "coarse" in ui.doubtsLabel.text
    assert not any("%" in table.item(row, column).text()
                   for row in range(table.rowCount) for column in range(table.columnCount))
    assert not any(result.landmarks.GetNthControlPointLocked(number) for number in range(3))

    # a click says why a landmark is missing, or jumps to where the point is now
    widget.onResultClicked(3, 0)
    assert ui.messageLabel.text == "carina was not found: outside the image."
    result.landmarks.SetNthControlPointPositionWorld(2, 1.0, 2.0, 3.0)
    widget.onResultClicked(0, 0)
    assert ui.messageLabel.text == ""
    slice_node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    shown = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 3]
    assert np.allclose(shown, [1, 2, 3], atol=4.1)

    # files: the moved point in the image's own coordinates, and no name of the patient
    folder = Path(widget.logic.export(result, str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "landmarks.csv", "landmarks.mrk.json", "result.json"]
    exported = read_landmarks(folder / "landmarks.mrk.json")
    local = np.linalg.inv(TO_WORLD) @ [1, 2, 3, 1]
    assert np.allclose(exported.points[2], local[:3] * [-1, -1, 1])
    assert exported.confidence.tolist() == [0.93, 0.81, 0.12]
    with open(folder / "landmarks.csv", encoding="utf-8") as file:
        assert [row["Landmark"] for row in csv.DictReader(file)] == [name for name, *_ in PLACES]
    for path in folder.iterdir():
        assert b"Hans" not in path.read_bytes()

    # scene file
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert not ui.resultHintLabel.isHidden()
    slicer.util.loadScene(path)
    process_events(lambda: widget._parameterNode is not None)
    restored = widget.logic.resultOf(widget._parameterNode)
    assert restored.manifest == manifest
    assert table.rowCount == 4 and restored.landmarks.GetNumberOfControlPoints() == 3

    # what was corrected is kept, other nodes are used again; a landmark that was removed is said
    widget._parameterNode.truth = None
    first = applied(widget)
    assert first.landmarks != restored.landmarks and first.report == restored.report
    assert first.landmarks.GetName() == "Müller, Hans landmarks"
    assert restored.landmarks.GetName() == "Müller, Hans landmarks, corrected"
    again = applied(widget)
    assert again.landmarks == first.landmarks
    assert table.columnCount == 3
    again.landmarks.RemoveAllControlPoints()
    widget.onResultClicked(0, 0)
    assert "removed or renamed" in ui.messageLabel.text
    slicer.mrmlScene.RemoveNode(again.landmarks)
    widget.enter()
    assert not ui.resultHintLabel.isHidden()


def test_only_what_learned_from_real_images_says_per_cent(widget, finds):
    finds([[name, place, chance] for (name, place, _), chance in
           zip(PLACES, (0.9996, 0.851, 0.12), strict=True)])
    widget._parameterNode.inputVolume = add_volume()
    widget._parameterNode.recipe = type(widget._parameterNode.recipe).SEED
    result = applied(widget)
    table = widget.ui.resultTable
    assert [table.horizontalHeaderItem(column).text() for column in range(4)] == [
        "Landmark", "R, A, S", "Chance", "Sure"]
    assert "CT of a list" in table.horizontalHeaderItem(3).toolTip()
    assert [table.item(row, 2).text().strip() for row in range(4)] == ["12 %", "> 99 %", "85 %", ""]
    assert "calibrated" not in widget.ui.doubtsLabel.text
    assert [bool(result.landmarks.GetNthControlPointLocked(number)) for number in range(3)] == [
        True, True, False]


def test_what_was_found_is_no_truth_for_itself(widget):
    widget._parameterNode.inputVolume = add_volume()
    result = applied(widget)
    widget._parameterNode.truth = result.landmarks
    assert "are those that were found" in widget.ui.applyButton.toolTip


def test_what_shows_no_landmark_is_refused_and_nothing_is_left(widget, finds):
    import slicer

    widget._parameterNode.inputVolume = add_volume()
    before = slicer.mrmlScene.GetNumberOfNodes()
    finds([])
    widget.ui.applyButton.click()
    process_events(lambda: not widget.logic.running)
    assert "shows none of the landmarks" in widget.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert widget.logic.resultOf(widget._parameterNode) is None


def test_cancel_leaves_nothing(widget, finds):
    widget._parameterNode.inputVolume = add_volume()
    finds("slow")
    widget.ui.applyButton.click()
    process_events(lambda: widget.ui.progressBar.maximum > 0)
    widget.ui.cancelButton.click()
    assert not widget.logic.running and "ancelled" in widget.ui.messageLabel.text
    assert widget.ui.applyButton.enabled


# 1 Landmarks


@pytest.fixture
def cases(widget, warm):
    """The section, opened."""
    lazy = widget._sections["cases"]
    assert not lazy.isMade
    lazy.title.collapsed = False
    section = widget.cases
    assert lazy.isMade and not section.ui.casesCollapsibleButton.collapsed
    section.runner = warm
    return section


RAS = {"carina": (2, 5, 40), "tip": (-30, 30, -20), "apex": (25, 20, 30), "navel": (0, -20, -30),
       "hip_left": (-40, 0, -35), "hip_right": (40, 0, -35)}


def add_case(number, names=tuple(RAS), shift=0.0, **more):
    volume = add_volume(f"Case {number}")
    points = [np.array(RAS[name.lower().replace(" ", "_")]) + shift for name in names]
    return volume, add_points(names, points, f"Marks {number}", **more)


def test_a_list_is_gathered_written_and_learned_from(widget, cases, tmp_path):
    ui = cases.ui
    assert "two patients" in ui.writeListButton.toolTip and not ui.addCaseButton.enabled
    volume, marks = add_case(1)
    assert "image of the case" in ui.addCaseButton.toolTip
    ui.caseVolumeSelector.setCurrentNode(volume)
    assert "landmarks of the image" in ui.addCaseButton.toolTip
    ui.caseLandmarksSelector.setCurrentNode(marks)
    assert ui.addCaseButton.enabled and ui.rulesWidget.isHidden()
    ui.addCaseButton.click()
    assert "in the list already" in ui.addCaseButton.toolTip
    other, marks = add_case(2, ["Carina", "tip", "apex", "HIP left", "hip_right"], 2.0)
    cases.add(other, marks)
    table = ui.casesTable
    assert [table.item(1, column).text() for column in range(4)] == ["Case 2", "2", "5", "5"]
    assert "5 landmarks are in all 2 cases. 1 are only in some: navel (1)." == (
        ui.casesNamesLabel.text)
    table.item(1, 1).setText("1")
    assert "two patients" in ui.writeListButton.toolTip
    table.item(1, 1).setText("anna")
    ui.listFolderPathLineEdit.currentPath = str(tmp_path)
    ui.listNameLineEdit.text = "a/b"
    assert "Give the new folder a name" in ui.writeListButton.toolTip
    ui.listNameLineEdit.text = "ours"
    assert ui.writeListButton.enabled
    ui.writeListButton.click()
    path = tmp_path / "ours" / "list.json"
    assert [entry["patient"] for entry in json.loads(path.read_text())["training"]] == [
        "1", "anna"]
    first = read_landmarks(tmp_path / "ours" / "case-001.mrk.json")
    assert first.points[0].tolist() == [-2, -5, 40]
    assert "Written to" in ui.casesMessageLabel.text
    assert '1 of 6 landmarks are missing in some cases, most often "navel"' in (
        ui.casesMessageLabel.text)
    assert "something of this name" in ui.writeListButton.toolTip
    assert widget.pretraining.ui.trainingDataPathLineEdit.currentPath == str(path)
    # what is removed from the scene is gone, what is removed from the list is not
    import slicer

    slicer.mrmlScene.RemoveNode(marks)
    cases.show()
    assert table.rowCount == 1
    assert "Select a case" in ui.removeCaseButton.toolTip
    table.selectRow(0)
    ui.removeCaseButton.click()
    assert table.rowCount == 0 and volume.GetScene()


def test_a_list_that_would_be_refused_is_not_kept(cases, tmp_path):
    for number in (1, 2):
        cases.add(*add_case(number))
    marks = cases.cases[1].markups
    marks.SetNthControlPointPosition(3, 0.0, 500.0, 0.0)
    cases.ui.listFolderPathLineEdit.currentPath = str(tmp_path)
    cases.ui.writeListButton.click()
    assert '"navel" of Case 2 lies' in cases.ui.casesMessageLabel.text
    assert not (tmp_path / "landmark-cases").exists()


def test_a_list_that_cannot_be_written_leaves_nothing(cases, tmp_path):
    resource = pytest.importorskip("resource")

    for number in (1, 2):
        cases.add(*add_case(number))
    cases.ui.listFolderPathLineEdit.currentPath = str(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # as a disk that is full
    try:
        cases.ui.writeListButton.click()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cases.ui.casesMessageLabel.text == ""
    assert not (tmp_path / "landmark-cases").exists()
    cases.ui.writeListButton.click()
    assert "Written to" in cases.ui.casesMessageLabel.text


@pytest.mark.timeout(900)  # a trunk is simulated
def test_a_list_says_that_images_are_simulated(widget, cases, tmp_path):
    """That of the sample is in its file; a node that says so itself may come from anywhere."""
    import slicer

    from LandmarkPretrainSlicerLib import scene_cases

    def written(name, *volumes):
        cases.cases = []
        for number, volume in enumerate(volumes):
            bounds = [0.0] * 6
            volume.GetRASBounds(bounds)
            shift = np.reshape(bounds, (3, 2)).mean(1)
            cases.add(volume, add_points(RAS, [place + shift for place in RAS.values()],
                                         f"Points {number}"))
        cases.ui.listFolderPathLineEdit.currentPath = str(tmp_path)
        cases.ui.listNameLineEdit.text = name
        cases.ui.writeListButton.click()
        said = "simulated" in cases.ui.casesMessageLabel.text
        content = json.loads((tmp_path / name / "list.json").read_text())
        assert len(content["training"]) == len(volumes) and said == bool(content.get("simulated"))
        return content

    real = [add_volume("A"), add_volume("B")]
    saved = add_volume("C")
    assert slicer.util.saveNode(saved, str(tmp_path / "C.nrrd"))
    assert "simulated" not in written("real", *real, saved)
    widget.ui.sampleButton.click()
    process_events(lambda: not widget.sampleLoader.running, 600)
    sample = widget._parameterNode.inputVolume
    assert scene_cases.isSimulated(sample) and not sample.GetAttribute(scene_cases.SIMULATED)
    assert written("with-sample", real[0], sample)["simulated"] is True
    real[1].SetAttribute(scene_cases.SIMULATED, "yes")
    assert written("marked", *real)["simulated"] is True


def test_what_belongs_together_is_found(cases):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P")
    placed_on = add_case(1)
    for number in range(len(RAS)):
        placed_on[1].SetNthControlPointAssociatedNodeID(number, placed_on[0].GetID())
    in_study = add_case(2)
    study = hierarchy.CreateStudyItem(patient, "Study")
    for node in in_study:
        place(node, study)
    second_study = add_case(3)
    for node in second_study:
        place(node, hierarchy.CreateStudyItem(patient, "Other"))
    named = add_case(4)
    named[1].SetName("Case 4 landmarks")
    add_volume("Case 40")
    add_points(["x"], [(0, 0, 0)], "Nobody's")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(second_study[1]),
                            hierarchy.GetItemParent(hierarchy.GetItemByDataNode(second_study[0])))
    cases.ui.findCasesButton.click()
    assert {(case.volume.GetName(), case.markups.GetName()) for case in cases.cases} == {
        ("Case 1", "Marks 1"), ("Case 2", "Marks 2"), ("Case 3", "Marks 3"),
        ("Case 4", "Case 4 landmarks")}
    patients = {case.volume.GetName(): case.patient for case in cases.cases}
    assert patients["Case 2"] == patients["Case 3"] and len(set(patients.values())) == 3
    assert "4 cases were added" in cases.ui.casesMessageLabel.text
    cases.ui.findCasesButton.click()
    assert "No more lists" in cases.ui.casesMessageLabel.text


def test_a_segmentation_becomes_landmarks(cases, tmp_path, monkeypatch):
    import qt
    import slicer

    volume = add_volume("Scan")
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[10:20, 10:20, 10:20], labels[12:22, 20:30, 30:40] = 1, 2
    label_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(label_node, labels)
    label_node.CopyOrientation(volume)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    segmentation.CreateDefaultDisplayNodes()
    ui = cases.ui
    ui.caseVolumeSelector.setCurrentNode(volume)
    ui.caseLandmarksSelector.setCurrentNode(segmentation)
    assert "no segment" in ui.addCaseButton.toolTip and not ui.rulesWidget.isHidden()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_node, segmentation)
    for segment_id, name in zip(segmentation.GetSegmentation().GetSegmentIDs(),
                                ("kidney_left", "Spleen"), strict=True):
        segmentation.GetSegmentation().GetSegment(segment_id).SetName(name)
    slicer.mrmlScene.RemoveNode(label_node)
    cases._check()
    assert ui.addCaseButton.enabled and "Derive" in ui.addCaseButton.toolTip
    ui.addCaseButton.click()
    assert not ui.casesRunWidget.isHidden() and not ui.addCaseButton.enabled
    ui.cancelCaseButton.click()
    assert cases._running is None and not cases.cases and ui.addCaseButton.enabled
    assert ui.casesRunWidget.isHidden()
    ui.addCaseButton.click()
    process_events(lambda: cases._running is None)
    assert f"4 landmarks; not derived: {len(read_table()) - 4}." in ui.casesMessageLabel.text
    marks = cases.cases[0].markups
    assert marks.GetName() == "Scan landmarks"
    from LandmarkPretrainSlicerLib import points

    found = dict(zip(points.namesOf(marks), points.pointsIn(marks, volume), strict=True))
    assert found["kidney_upper_pole_left"] == pytest.approx([-50 + 2 * 14.5, -40 + 2 * 14.5,
                                                             -60 + 4 * 19])
    # with a table of one's own, in place of the first
    chosen = tmp_path / "rules.csv"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *given: str(chosen))
    ui.rulesCopyButton.click()
    assert ui.rulesPathLineEdit.currentPath == str(chosen) and "carina" in chosen.read_text()
    chosen.write_text("landmark,structures,rule,argument\nmiddle,spleen,centroid,\n")
    ui.addCaseButton.click()
    process_events(lambda: cases._running is None)
    assert points.namesOf(cases.cases[0].markups) == ["middle"] and len(cases.cases) == 1
    chosen.write_text("landmark,structures,rule,argument\nmiddle,spleen,core,\n")
    ui.addCaseButton.click()
    process_events(lambda: cases._running is None)
    assert 'rules.csv is wrong in line 2: there is no rule "core"' in ui.casesMessageLabel.text
    ui.rulesPathLineEdit.currentPath = str(tmp_path / "gone.csv")
    assert "cannot be found" in ui.addCaseButton.toolTip
    slicer.mrmlScene.Clear(False)
    assert ui.casesTable.rowCount == 0


def test_a_segmentation_without_a_grid_is_taken_on_that_of_its_image(cases):
    import slicer

    volume = add_volume("Scan")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    label_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "spleen")
    slicer.util.updateVolumeFromArray(label_node, labels)
    label_node.CopyOrientation(volume)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_node, segmentation)
    part = segmentation.GetSegmentation().GetNthSegment(0)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.GetSegmentation().SetConversionParameter(name, "")
    part.SetName("elbow")
    cases.ui.caseVolumeSelector.setCurrentNode(volume)
    cases.ui.caseLandmarksSelector.setCurrentNode(segmentation)
    cases.ui.addCaseButton.click()
    process_events(lambda: cases._running is None)
    assert "Organs gives none of the" in cases.ui.casesMessageLabel.text
    part.SetName("kidney_left")
    segmentation.GetSegmentation().SetConversionParameter(name, "")
    cases.ui.addCaseButton.click()
    process_events(lambda: cases._running is None)
    assert "landmarks; not derived" in cases.ui.casesMessageLabel.text
    assert len(cases.cases) == 1


# 2 Pretrain and 3 Transfer


def choose(section, tmp_path, name):
    (tmp_path / "given.json").write_text("{}")
    section.ui.trainingCollapsibleButton.collapsed = False
    section.ui.trainingDataPathLineEdit.currentPath = str(tmp_path / "given.json")
    section.ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    section.ui.trainingNameLineEdit.text = name


def finished(section, tmp_path, name):
    section.ui.startTrainingButton.click()
    process_events(lambda: not section.runner.running, 600)
    result = tmp_path / name / "result.json"
    assert result.exists(), section.ui.trainingMessageLabel.text
    return json.loads(result.read_text("utf-8"))


def test_pretraining_ends_in_a_model_with_its_pictures(widget, warm, tmp_path, monkeypatch):
    import qt
    import slicer

    section = widget.pretraining
    section.runner = warm
    choose(section, tmp_path, "starter")
    assert "model of this name" in section.ui.startTrainingButton.toolTip
    section.ui.trainingNameLineEdit.text = "ours"
    section.landmarksSpinBox.value = 2
    assert "at least three" in section.ui.startTrainingButton.toolTip
    section.landmarksSpinBox.value = 20
    assert section.depthSpinBox.isHidden() and section.trialsSpinBox.isHidden()
    section.recipeComboBox.currentIndex = 1
    assert not section.depthSpinBox.isHidden()
    names = [section.startComboBox.itemData(n) for n in range(section.startComboBox.count)]
    assert "starter-seed" in names and "starter" not in names
    section.startComboBox.currentIndex = section.startComboBox.findData("starter-seed")
    section.patchSpinBox.value = 30.5
    section.modalityComboBox.currentIndex = 2
    section.ui.trainingStepsSpinBox.value = 7
    said = finished(section, tmp_path, "ours")["parameters"]
    assert (said["recipe"], said["start"], said["steps"], said["landmarks"], said["patch_mm"],
            said["depth"], said["modality"]) == ("seed", "starter-seed", 7, 20, 30.5, 3, "other")
    message = section.ui.trainingMessageLabel.text
    assert "patches named right 0.94 (0.90 to 0.97)" in message
    assert "mean radial error (mm) 3.1" in message and "ours can now be chosen" in message
    combo = section.pictureComboBox
    assert [combo.itemText(index) for index in range(combo.count)] == [
        "What is confused", "Patches: right, wrong, unsure", "Curves: fine"]
    assert not combo.isHidden() and section.ui.trainingCurvesLabel.pixmap.width() == 440
    combo.currentIndex = 1
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url))
    section.openButton.click()
    assert opened[0].toLocalFile() == str(tmp_path / "ours" / "gallery.png")
    section.ui.showCurvesButton.click()
    table = slicer.util.getNode("LandmarkPretrain training, table")
    assert table.GetNumberOfRows() == 3


def test_a_search_ends_in_a_table(widget, warm, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import tables

    section = widget.pretraining
    section.runner = warm
    choose(section, tmp_path, "search-1")
    section.workComboBox.currentIndex = 1
    assert section.recipeComboBox.isHidden() and not section.trialsSpinBox.isHidden()
    section.ui.trainingStepsSpinBox.value = 2
    assert "three steps" in section.ui.startTrainingButton.toolTip
    section.ui.trainingStepsSpinBox.value = 0
    section.trialsSpinBox.value = 4
    said = finished(section, tmp_path, "search-1")["parameters"]
    assert said == {"trials": 4, "steps": 300}
    trials = tables.columns(slicer.util.getNode("search-1, trials"))
    assert trials["patch_mm"] == [20.5, 21.5, 22.5, 23.5] and trials["state"][0] == "complete"
    assert "patch_mm 48.2, depth 3, top_1 0.877." in section.ui.trainingMessageLabel.text
    assert section.pictureComboBox.itemText(0) == "The search"


def test_transfer_ends_in_tables_charts_and_report(widget, warm, tmp_path, monkeypatch):
    import qt
    import slicer

    from ReadingRoomSlicerLib import tables

    section = widget.transfer
    section.runner = warm
    choose(section, tmp_path, "compared")
    button = section.ui.startTrainingButton
    assert button.enabled and "Takes long" in button.toolTip
    section.armCheckBoxes["cifar"].checked = True
    assert "archive of CIFAR-10" in button.toolTip and not section.cifarPathLineEdit.isHidden()
    for name in ("cifar", "imagenet", "random", "landmarks"):
        section.armCheckBoxes[name].checked = False
    assert "at least one" in button.toolTip and section.cifarPathLineEdit.isHidden()
    for name in ("landmarks", "random"):
        section.armCheckBoxes[name].checked = True
    section.regionComboBox.currentIndex = section.regionComboBox.findData("file")
    assert "mask of the region" in button.toolTip
    section.regionComboBox.currentIndex = section.regionComboBox.findData("lung")
    section.classifierComboBox.currentIndex = 1
    said = finished(section, tmp_path, "compared")["parameters"]
    assert said == {"arms": ["landmarks", "random"], "model": "starter", "cifar": "None",
                    "region": "lung", "classifier": "probe", "patch_mm": 0}
    assert "The gain: 0.1 more area for landmarks." in section.ui.trainingMessageLabel.text
    titles = [section.chartComboBox.itemText(index)
              for index in range(section.chartComboBox.count)]
    assert titles == ["AUC by weak learners", "AUC by training patients",
                      "Sensitivity by false marks", "Patches: right, wrong, unsure"]
    for title, points in zip(titles, (3, 2, 2), strict=False):
        chart = section.charts[title]
        series = [slicer.mrmlScene.GetNodeByID(chart.GetNthPlotSeriesNodeID(index))
                  for index in range(chart.GetNumberOfPlotSeriesNodes())]
        assert len(series) == 6  # two arms, each with the ends of its interval
        assert {node.GetTableNode().GetNumberOfRows() for node in series} == {points}
        assert [node.GetName() for node in series][::3] == ["landmarks", "random weights"]
    assert section.charts[titles[0]].GetXAxisLogScale()
    compared = tables.columns(slicer.util.getNode("compared, comparisons"))
    assert compared == {"first": ["landmarks"], "second": ["random"], "difference": [0.1]}
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemChildWithName(hierarchy.GetSceneItemID(), "compared")
    assert hierarchy.GetNumberOfItemChildren(folder) == 1 + 3 * (1 + 2 * (1 + 3))
    section.chartComboBox.currentIndex = 3
    assert not section.ui.showCurvesButton.enabled
    section.chartComboBox.currentIndex = 1
    section.ui.showCurvesButton.click()
    active = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
    assert active == section.charts[titles[1]].GetID()
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url))
    section.reportButton.click()
    assert opened[0].toLocalFile() == str(tmp_path / "compared" / "report.html")
    slicer.mrmlScene.RemoveNode(section.charts[titles[1]])
    section.ui.showCurvesButton.click()
    assert "removed from the scene" in section.ui.trainingMessageLabel.text


def test_lists_of_lesions_and_of_landmarks_are_remembered_apart(widget, tmp_path):
    """And a section opens with the paths of last time."""
    def opened(section):
        lists = section.ui.trainingDataPathLineEdit
        path = tmp_path / f"{lists.settingKey}.json"
        path.write_text("{}")
        return lists, str(path)

    paths = []
    for section in (widget.pretraining, widget.transfer):
        lists, path = opened(section)
        lists.currentPath = path
        lists.addCurrentPathToHistory()
        section.ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
        section.ui.trainingFolderPathLineEdit.addCurrentPathToHistory()
        paths.append(path)
    again = [widget._makePretraining(), widget._makeTransfer()]
    assert [section.ui.trainingDataPathLineEdit.currentPath for section in again] == paths
    assert len(set(paths)) == 2
    for section in again:
        assert section.ui.startTrainingButton.enabled, section.ui.startTrainingButton.toolTip
        section.cleanup()


def test_without_a_model_nothing_can_be_transferred(widget, tmp_path):
    (tmp_path / "models.json").write_text('{"models": []}')
    section = widget.transfer
    choose(section, tmp_path, "compared")
    assert "pretrain one first" in section.ui.startTrainingButton.toolTip


# All of it, with the real commands


@pytest.fixture
def real(slicer_host, tmp_path, monkeypatch):
    """The real commands, with small networks and the models of the test."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("LANDMARK_TEST_REGISTRY", str(tmp_path / "models.json"))
    runner = JobRunner("LandmarkSmallTestLib")
    yield runner
    runner.shutdown()


@pytest.mark.timeout(900)  # on a busy machine imports of PyTorch take minutes
def test_from_points_of_the_scene_to_landmarks_of_another_image(widget, cases, real, tmp_path):
    """Six toy images with their points become a list, a small model, and points again."""
    for seed in range(6):
        add_toy(seed)
    given, truth = add_toy(50)
    cases.ui.findCasesButton.click()
    cases.cases.pop()
    cases.show()
    cases.ui.listFolderPathLineEdit.currentPath = str(tmp_path)
    cases.ui.writeListButton.click()
    section = widget.pretraining
    section.runner = real
    section.ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    section.ui.trainingNameLineEdit.text = "ours"
    section.recipeComboBox.currentIndex = section.recipeComboBox.findData("seed")
    section.modalityComboBox.currentIndex = section.modalityComboBox.findData("MR")
    section.patchSpinBox.value = 48.0
    section.ui.trainingStepsSpinBox.value = 10
    result = finished(section, tmp_path, "ours")
    assert len(result["landmarks"]) == 6 and result["kept_as"] == "ours"
    assert "patches named right" in section.ui.trainingMessageLabel.text
    assert section.pictureComboBox.count == 3
    widget.ui.recipeComboBox.currentIndex = 1
    widget._parameterNode.model = "ours"
    assert widget.panel.modelName == "ours"
    widget._parameterNode.inputVolume = given
    widget._parameterNode.truth = truth
    widget.logic._runner = real
    found = applied(widget)
    errors = [one["error_mm"] for one in found.manifest["landmarks"]]
    assert len(errors) >= 3 and np.median(errors) < 15


def add_toy(seed):
    """A toy image with the points that were placed on it."""
    import SimpleITK as sitk
    import slicer

    image, places = toy_image(seed)
    matrix = np.diag([*image.GetSpacing(), 1.0])
    matrix[:3, 3] = image.GetOrigin()
    volume = slicer.util.addVolumeFromArray(
        sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ matrix, f"Toy {seed}")
    return volume, add_points(TOY_NAMES, places * [-1, -1, 1], f"Toy {seed} points", volume)
