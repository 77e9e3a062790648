# SPDX-License-Identifier: Apache-2.0
"""The panel of TemporalSubtraction, clicked: mostly above a quick stand-in for its library."""

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

FOLDER = str(Path(__file__).parent)
SHIFT = np.array([-6.0, 3.0, 9.0])  # mm, RAS, from prior to current; the stand-in's, in RAS
SPACING = 3.0
DENSE, THIN = (12, 14, 12), (28, 14, 12)  # voxels (i, j, k) of the current CT


def process_events(until, seconds=120.0):
    import slicer

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.01)


def add_scan(name, origin=(60.0, 45.0, 0.0), lesions=()):
    """A block of bone in soft tissue, with balls that are denser or thinner."""
    import slicer

    k, j, i = np.indices((24, 30, 40))
    voxels = np.full(k.shape, 40, np.int16)
    voxels[6:18, 8:22, 6:34] = 400
    voxels[6:18, 8:22, 6:34] += ((i + 2 * j) % 5 * 2)[6:18, 8:22, 6:34].astype(np.int16)
    for place, change in lesions:
        ball = (i - place[0]) ** 2 + (j - place[1]) ** 2 + (k - place[2]) ** 2 <= 6
        voxels[ball] += change
    matrix = np.diag([-SPACING, -SPACING, SPACING, 1.0])
    matrix[:3, 3] = origin
    return slicer.util.addVolumeFromArray(voxels, matrix, name)


def add_pair():
    """Prior and current scan; the current one lies elsewhere and has two lesions."""
    prior = add_scan("Old CT")
    current = add_scan("Müller CT", np.array([60.0, 45.0, 0.0]) + SHIFT,
                       [(DENSE, 300), (THIN, -200)])
    return prior, current


def ras_of(voxel):
    """Where a voxel of the current CT lies."""
    return np.array([60.0, 45.0, 0.0]) + SHIFT + np.array([-1, -1, 1]) * SPACING * voxel


def in_study(volume, date):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), date)
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    return hierarchy, study


def apply(widget, prior, current):
    widget._parameterNode.priorVolume = prior
    widget._parameterNode.currentVolume = current
    assert widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip
    widget.ui.applyButton.click()
    assert widget.logic.running
    process_events(lambda: not widget.logic.running)
    assert widget.ui.messageLabel.text == "", widget.panel._log
    return widget.logic.resultOf(widget._parameterNode)


@pytest.fixture
def widget(module_widget):
    widget = module_widget("TemporalSubtraction")
    widget.parent.enter()
    yield widget
    widget.logic.cancel()


@pytest.fixture
def quick(widget, monkeypatch):
    """The panel above the stand-in."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    monkeypatch.syspath_prepend(FOLDER)
    widget.logic._runner = JobRunner("SubtractionTestLib")
    return widget


@pytest.fixture
def result(quick):
    return apply(quick, *add_pair())


# Opening


def test_opening_is_quick_and_imports_nothing_heavy(open_alone):
    seconds, modules = open_alone("TemporalSubtraction")
    assert not {"torch", "monai", "SimpleITK", "typer", "pydicom", "scipy"} & modules
    assert seconds < 0.3  # of the processor, whatever else runs on this computer


# Before Apply


def test_apply_is_grey_and_says_why(widget):
    import slicer

    parameters, button = widget._parameterNode, widget.ui.applyButton
    assert not button.enabled and "prior CT" in button.toolTip
    prior, current = add_pair()
    parameters.priorVolume = prior
    assert not button.enabled and "current CT" in button.toolTip
    parameters.currentVolume = prior
    assert not button.enabled and "the same" in button.toolTip
    parameters.currentVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert not button.enabled and "no image" in button.toolTip
    parameters.currentVolume = current
    assert button.enabled
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(current), "DICOM.Modality", "MR")
    parameters.currentVolume = None
    parameters.currentVolume = current
    assert not button.enabled and "MR" in button.toolTip


def test_the_only_two_scans_are_chosen_the_older_one_as_prior(widget):
    prior, current = add_pair()
    in_study(prior, "20240301")
    in_study(current, "20230105")
    widget.enter()
    assert widget.ui.priorVolumeSelector.currentNode() == current
    assert widget.ui.currentVolumeSelector.currentNode() == prior
    assert widget.ui.orderWidget.isHidden()


def test_wrong_order_is_said_and_can_be_swapped(widget):
    prior, current = add_pair()
    in_study(prior, "20240301")
    widget._parameterNode.priorVolume = prior
    widget._parameterNode.currentVolume = current
    assert widget.ui.orderWidget.isHidden()  # one date is not known
    in_study(current, "20230105")
    widget.enter()
    assert not widget.ui.orderWidget.isHidden()
    assert "(2024-03-01) is later than the current one (2023-01-05)" in widget.ui.orderLabel.text
    widget.ui.swapButton.click()
    assert widget._parameterNode.priorVolume == current
    assert widget._parameterNode.currentVolume == prior
    assert widget.ui.orderWidget.isHidden()


def of_patient(volume, date, number, made_up=False):
    """Put a volume where Slicer's DICOM module would, under its patient and study."""
    import slicer

    hierarchy, study = in_study(volume, date)
    uid = f"1.2.{date}"
    hierarchy.SetItemUID(study, "DICOM", uid)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "No name")
    hierarchy.SetItemAttribute(
        patient, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMPatientIDAttributeName(),
        f"Patient-{uid}" if made_up else number)
    hierarchy.SetItemParent(study, patient)


@pytest.mark.parametrize(("numbers", "differ"), [
    (("4711", "0815"), True),
    (("4711", "4711"), False),
    (("4711", "4711 "), False),  # DICOM fills up with a space
    (("4711", ""), False),
    (("4711", None), False),  # this scan did not come as DICOM
    (("Patient-7", "Patient-8"), True),
])
def test_different_patients_are_said_without_naming_them(widget, numbers, differ):
    pair = add_pair()
    for volume, number, date in zip(pair, numbers, ("20230105", "20240301"), strict=True):
        if number is not None:
            of_patient(volume, date, number)
    label = widget.ui.patientLabel
    assert label.isHidden()
    widget._parameterNode.priorVolume, widget._parameterNode.currentVolume = pair
    assert label.isHidden() is not differ
    assert widget.ui.applyButton.enabled  # the physician decides
    assert "different patient numbers" in label.text
    assert not any(number and number in label.text for number in numbers)
    widget._parameterNode.currentVolume = None
    assert label.isHidden()


def test_patient_numbers_that_slicer_made_up_say_nothing(widget):
    pair = add_pair()
    for volume, date in zip(pair, ("20230105", "20240301"), strict=True):
        of_patient(volume, date, "", made_up=True)
    widget._parameterNode.priorVolume, widget._parameterNode.currentVolume = pair
    assert widget.ui.patientLabel.isHidden()


def offered(widget):
    box = widget.ui.methodComboBox
    return [box.itemText(index) for index in range(box.count)]


def test_only_methods_that_can_be_run_are_offered(widget, tmp_path):
    from TemporalSubtraction import Method

    models = json.loads(Path(widget.panel.registryPath).read_text(encoding="utf-8"))["models"]
    recipes = {model["recipe"] for model in models}
    assert offered(widget) == [
        method.label() for method in Method if method is Method.CLASSICAL
        or method.value in recipes]

    entry = {"name": "starter", "module": "TemporalSubtraction", "recipe": "modern",
             "path": "nowhere", "sha256": "0" * 64, "size": 1, "licence": "Apache-2.0",
             "card": "nowhere", "trained_on": "nothing", "simulated": True}
    registry = tmp_path / "models.json"
    registry.write_text(json.dumps({"models": [entry]}))
    widget.panel.registryPath = str(registry)
    widget.enter()
    assert offered(widget) == [Method.CLASSICAL.label(), Method.MODERN.label()]
    ui = widget.ui
    needed = (ui.modelWidget, ui.deviceComboBox, ui.seedSpinBox,
              ui.inputsWidget.layout().labelForField(ui.modelWidget))
    assert all(part.isHidden() for part in needed)  # classical needs none of them
    widget.ui.methodComboBox.currentIndex = 1
    assert widget._parameterNode.method is Method.MODERN
    assert not any(part.isHidden() for part in needed)
    assert widget.panel.modelName == "starter"

    registry.write_text('{"models": []}')
    widget._parameterNode.priorVolume, widget._parameterNode.currentVolume = add_pair()
    assert "no model" in widget.ui.applyButton.toolTip and not widget.ui.applyButton.enabled


def test_model_device_and_seed_go_along_with_a_method_that_needs_them(quick):
    options = quick.logic.process(*add_pair(), method="modern", model="starter", device="cpu",
                                  seed=7, wait=True).manifest
    assert options["method"] == "modern"
    assert options["options"] == {"model": "starter", "device": "cpu", "asked_seed": 7}


# Result


def test_nodes_lie_where_the_current_ct_lies(quick):
    import slicer

    prior, current = add_pair()
    hierarchy, study = in_study(current, "20240301")
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(
        np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])))
    current.SetAndObserveTransformNodeID(moved.GetID())
    temporary = Path(slicer.app.temporaryPath)
    before = set(temporary.iterdir())
    result = apply(quick, prior, current)
    assert set(temporary.iterdir()) == before

    assert result.currentVolume == current
    change = slicer.util.arrayFromVolume(result.changeVolume)
    assert change[DENSE[::-1]] == pytest.approx(15) and change[THIN[::-1]] == pytest.approx(-10)
    for node in (result.changeVolume, result.expectedVolume, result.errorVolume,
                 result.alignedVolume):
        bounds = [0.0] * 6, [0.0] * 6
        node.GetRASBounds(bounds[0])
        current.GetRASBounds(bounds[1])
        assert np.allclose(*bounds)
    from TemporalSubtractionSlicerLib.comparison_result import TemporalSubtractionResult

    for name in TemporalSubtractionResult.NODES:
        node = getattr(result, name)
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study, name
        assert node.GetName().startswith("Müller CT")
        if node.IsA("vtkMRMLTransformableNode"):
            assert node.GetParentTransformNode() == moved, name
    assert np.allclose(slicer.util.arrayFromVolume(result.alignedVolume)[6:12, 8:20, 6:30],
                       slicer.util.arrayFromVolume(prior)[6:12, 8:20, 6:30])
    assert result.manifest["status"] == "completed" and "folder" not in result.manifest

    # under the transform of the result the prior CT lies on the current one, in the world
    prior.SetAndObserveTransformNodeID(result.transform.GetID())
    places = [[0.0] * 3, [0.0] * 3]
    prior.TransformPointToWorld(ras_of(DENSE) - SHIFT, places[0])
    current.TransformPointToWorld(ras_of(DENSE), places[1])
    assert np.allclose(*places)


def test_candidates_are_segments_and_lines_of_the_table(quick, result):
    from ReadingRoomSlicerLib import colors

    table = quick.ui.resultTable
    assert table.rowCount == 2 and not table.isHidden()
    texts = [[table.item(row, column).text() for column in range(table.columnCount)]
             for row in range(2)]
    assert [text[0].strip() for text in texts] == ["1 denser, L3", "2 thinner"]
    assert [text[3].strip() for text in texts] == ["+15.0", "-10.0"]
    assert [text[5].strip() for text in texts] == ["+300", "-200"]
    segmentation = result.segmentation.GetSegmentation()
    segments = [segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()]
    assert [segment.GetName() for segment in segments] == ["1 denser", "2 thinner"]
    for segment, color in zip(segments, (colors.DENSER, colors.THINNER), strict=True):
        assert np.allclose(segment.GetColor(), np.array(color) / 255)
    summary = quick.ui.resultSummaryLabel.text
    assert summary.startswith("2 candidates: 1 denser, 1 thinner.")
    assert "92 % of the bone" in summary and "only a test" in summary


def test_click_and_arrow_keys_jump_all_views_there(quick, result):
    import slicer

    def middles():
        for name in ("Red", "Green", "Yellow"):
            node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
            yield slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3]

    quick.ui.resultTable.cellClicked(1, 0)
    assert all(np.linalg.norm(middle - ras_of(THIN)) <= 2 * SPACING for middle in middles())
    quick.ui.resultTable.selectRow(0)
    assert all(np.linalg.norm(middle - ras_of(DENSE)) <= 2 * SPACING for middle in middles())


def test_decisions_stay_in_the_table_and_survive_sorting(quick, result):
    import qt

    from ReadingRoomSlicerLib import tables

    ui, table = quick.ui, quick.ui.resultTable
    assert not ui.acceptButton.enabled
    table.sortItems(4, qt.Qt.DescendingOrder)
    keys = [quick.panel.keyOfRow(row) for row in range(2)]
    table.selectRow(keys.index("2"))
    assert ui.acceptButton.enabled and ui.rejectButton.enabled and ui.undoButton.enabled
    ui.rejectButton.click()
    assert tables.columns(result.candidates)["Status"] == ["", "rejected"]
    assert quick.panel.selectedKey() == "2"  # still the same one
    display = result.segmentation.GetDisplayNode()
    assert display.GetSegmentVisibility("1") and not display.GetSegmentVisibility("2")
    ui.acceptButton.click()
    assert tables.columns(result.candidates)["Status"] == ["", "accepted"]
    assert display.GetSegmentVisibility("2")
    shown = {quick.panel.keyOfRow(row): table.item(row, 6).text() for row in range(2)}
    assert shown == {"1": "", "2": "accepted"}
    ui.undoButton.click()
    assert tables.columns(result.candidates)["Status"] == ["", ""]


def picture_of(views, voxel):
    """The axial plane through a voxel of the current CT, and its colourfulness in the middle."""
    picture = views.slice_picture("axial", (200, 200), centre=ras_of(voxel), field_of_view=60)
    return picture[100, 100].astype(int)


def test_changes_are_drawn_green_and_orange_from_the_threshold_on(quick, result, slicer_pictures):
    result.segmentation.GetDisplayNode().SetVisibility2D(False)

    def is_grey(color):
        return np.ptp(color) <= 3

    red, green, blue = picture_of(slicer_pictures, DENSE)
    assert green > red + 30 and green > blue
    red, green, blue = picture_of(slicer_pictures, THIN)
    assert red > green + 20 > blue + 40
    assert is_grey(picture_of(slicer_pictures, (20, 14, 12)))  # stable bone
    from TemporalSubtractionSlicerLib.comparison_result import showChange

    showChange(result.changeVolume, 7.9, 0.7)
    assert not is_grey(picture_of(slicer_pictures, THIN))
    import slicer
    voxels = slicer.util.arrayFromVolume(result.changeVolume)
    voxels[voxels < 0] = -5
    slicer.util.arrayFromVolumeModified(result.changeVolume)
    assert is_grey(picture_of(slicer_pictures, THIN))
    quick.ui.thresholdSlider.value = 4.0
    assert not is_grey(picture_of(slicer_pictures, THIN))
    quick.ui.opacitySlider.value = 0.0
    assert is_grey(picture_of(slicer_pictures, THIN))
    quick.ui.opacitySlider.value = 1.0
    quick.ui.overlayButton.click()
    assert is_grey(picture_of(slicer_pictures, THIN))
    assert not quick.ui.overlayButton.checked


def test_threshold_reaches_table_and_volume_rendering(quick, result):
    import slicer

    from ReadingRoomSlicerLib import views

    quick.ui.volumeRenderingButton.click()
    assert views.isVolumeRendered(result.changeVolume)
    quick.ui.thresholdSlider.value = 5.0
    assert quick._parameterNode.threshold == 5.0
    table = result.changeVolume.GetDisplayNode().GetColorNode()
    color = [0.0] * 4
    drawn = []
    for index in range(table.GetNumberOfColors()):
        table.GetColor(index, color)
        drawn.append(color[3] > 0)
    assert drawn.count(False) == pytest.approx(128, abs=2)  # -5 to 5 of -10 to 10
    assert drawn[0] and drawn[-1] and not drawn[128]
    rendering = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(
        result.changeVolume)
    opacity = rendering.GetVolumePropertyNode().GetScalarOpacity()
    assert opacity.GetValue(4.0) == 0 and opacity.GetValue(5.0) > 0 and opacity.GetValue(-5.0) > 0


def test_views_are_linked_and_show_the_current_ct(quick, result):
    import slicer

    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert node.GetBackgroundVolumeID() == result.currentVolume.GetID()
        assert node.GetForegroundVolumeID() == result.changeVolume.GetID()
        assert node.GetForegroundOpacity() == pytest.approx(0.7)
        assert node.GetLinkedControl()


def test_flicker_shows_prior_and_current_in_turn_until_the_module_is_left(quick, result):
    from ReadingRoomSlicerLib import views

    quick.flicker.timer.setInterval(20)
    result.currentVolume.GetDisplayNode().AutoWindowLevelOff()
    result.currentVolume.GetDisplayNode().SetWindowLevelMinMax(-111, 777)
    quick.ui.flickerButton.click()
    for _ in range(2):
        process_events(lambda: views.isBackground(result.alignedVolume))
        assert quick.ui.flickerButton.text == "Flicker: prior"
        process_events(lambda: views.isBackground(result.currentVolume))
        assert quick.ui.flickerButton.text == "Flicker: current"
    display = result.alignedVolume.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-111, 777)
    process_events(lambda: views.isBackground(result.alignedVolume))
    quick.parent.exit()
    assert views.isBackground(result.currentVolume)
    assert not quick.flicker.timer.active and not quick.ui.flickerButton.checked
    quick.parent.enter()


def test_bone_and_candidates_in_3d(quick, result):
    from ReadingRoomSlicerLib import views

    quick.ui.show3DButton.click()
    assert views.isShownIn3D(result.bone) and views.isShownIn3D(result.segmentation)
    assert result.bone.GetDisplayNode().GetOpacity3D() < 0.5
    assert not result.bone.GetDisplayNode().GetVisibility2D()
    quick.ui.show3DButton.click()
    assert not views.isShownIn3D(result.bone) and not views.isShownIn3D(result.segmentation)


def test_export_writes_everything_and_the_accepted_findings(quick, result, tmp_path):
    from ReadingRoomLib.segmentation_files import read_seg_nrrd
    from ReadingRoomSlicerLib import tables

    quick.ui.resultTable.selectRow(1)
    quick.ui.acceptButton.click()
    folder = Path(quick.logic.export(result, str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "bone.nrrd", "candidates.csv", "candidates.nrrd", "error.nrrd", "expected.nrrd",
        "prior_aligned.nrrd", "quality.nrrd", "report.html", "result.json",
        "segmentation.seg.nrrd", "transform.h5", "z.nrrd"]
    rows = tables.readRows(folder / "candidates.csv")
    assert [row["status"] for row in rows] == ["", "accepted"]
    assert [row["bone"] for row in rows] == ["L3", ""] and rows[0]["number"] == "1"
    labels = sitk.ReadImage(str(folder / "candidates.nrrd"))
    assert labels[DENSE] == 1 and labels[THIN] == 2
    accepted, segments = read_seg_nrrd(folder / "segmentation.seg.nrrd")
    assert [segment.name for segment in segments] == ["2 thinner"]
    assert (sitk.GetArrayFromImage(accepted) > 0).sum() == (
        sitk.GetArrayFromImage(labels) == 2).sum()
    transform = sitk.ReadTransform(str(folder / "transform.h5"))
    assert np.allclose(transform.TransformPoint((0, 0, 0)), -SHIFT * (-1, -1, 1))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Müller CT" in page and "not a medical device" in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["2 thinner"]
    assert page.count("data:image/png;base64,") == 9
    assert "1 accepted, 0 rejected, 1 not decided" in page
    manifest = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert manifest == result.manifest


def test_result_comes_back_from_a_scene_file(quick, result, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import tables

    quick.ui.resultTable.selectRow(0)
    quick.ui.rejectButton.click()
    quick.ui.thresholdSlider.value = 4.0
    columns = tables.columns(result.candidates)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert quick.ui.resultTable.isHidden() and quick.ui.resultToolsWidget.isHidden()
    slicer.util.loadScene(path)
    process_events(lambda: quick._parameterNode is not None)
    restored = quick.logic.resultOf(quick._parameterNode)
    assert tables.columns(restored.candidates) == columns
    assert quick.ui.resultTable.item(0, 6).text() == "rejected"
    assert not restored.segmentation.GetDisplayNode().GetSegmentVisibility("1")
    assert restored.currentVolume == quick._parameterNode.currentVolume
    assert restored.changeVolume.GetDisplayNode().GetColorNode().GetName() == "Change"
    assert quick._parameterNode.threshold == 4.0
    inside = restored.transform.GetTransformToParent().TransformPoint(0, 0, 0)
    assert np.allclose(inside, SHIFT)
    assert quick.ui.overlayButton.checked
    quick.ui.volumeRenderingButton.click()
    quick.ui.flickerButton.click()
    slicer.mrmlScene.RemoveNode(restored.alignedVolume)
    quick.flicker.exchange()
    assert not quick.ui.flickerButton.checked and not quick.flicker.timer.active
    slicer.mrmlScene.RemoveNode(restored.candidates)
    quick.enter()
    assert quick.ui.resultTable.isHidden()


def test_second_run_replaces_the_result_and_forgets_decisions(quick, result):
    import slicer

    quick.ui.resultTable.selectRow(0)
    quick.ui.rejectButton.click()
    count = slicer.mrmlScene.GetNumberOfNodes()
    parameters = quick._parameterNode
    second = apply(quick, parameters.priorVolume, parameters.currentVolume)
    assert second == result and slicer.mrmlScene.GetNumberOfNodes() == count
    assert quick.ui.resultTable.item(0, 6).text() == ""
    assert second.segmentation.GetDisplayNode().GetSegmentVisibility("1")


def test_scans_without_change_give_an_empty_table(quick, tmp_path):
    prior = add_scan("Old CT")
    current = add_scan("New CT", np.array([60.0, 45.0, 0.0]) + SHIFT)
    result = apply(quick, prior, current)
    assert quick.ui.resultTable.rowCount == 0
    assert "No change was found" in quick.ui.resultSummaryLabel.text
    quick.ui.show3DButton.click()
    folder = Path(quick.logic.export(result, str(tmp_path)))
    assert not (folder / "segmentation.seg.nrrd").exists()
    assert (folder / "candidates.csv").read_text(encoding="utf-8").startswith("number,kind,score")


def test_wrong_input_is_one_sentence(quick):
    import slicer

    prior, current = add_pair()
    slicer.util.arrayFromVolume(current)[:] = 0
    quick._parameterNode.priorVolume, quick._parameterNode.currentVolume = prior, current
    quick.ui.applyButton.click()
    process_events(lambda: not quick.logic.running)
    assert quick.ui.messageLabel.text.startswith("There is no bone")
    assert quick.logic.resultOf(quick._parameterNode) is None


def test_reader_study_has_its_section_and_knows_when_the_panel_is_shown(widget):
    study = widget.readerStudy
    layout = widget.ui.disclaimerLabel.parent().layout()
    assert layout.indexOf(widget.ui.resultCollapsibleButton) < layout.indexOf(study.widget)
    assert layout.indexOf(study.widget) < layout.indexOf(widget.ui.disclaimerLabel)
    assert study.ui.readerStudyCollapsibleButton.collapsed
    shown = []
    study.enter, study.exit = lambda: shown.append(True), lambda: shown.append(False)
    widget.parent.exit()
    widget.parent.enter()
    assert shown == [False, True]


# Transforms that were made elsewhere


def given(quick, transform):
    """How far the stand-in is sent from the current CT into the prior one (LPS), and its result."""
    prior, current = add_pair()
    result = quick.logic.process(prior, current, transform=transform, wait=True)
    return result.manifest["displacements"], result


def test_given_transform_moves_the_prior_onto_the_current_ct(quick):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registered")
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    quick.ui.givenTransformSelector.setCurrentNode(node)
    assert quick._parameterNode.givenTransform == node
    displacements, result = given(quick, node)
    assert np.allclose(displacements, [-SHIFT * (-1, -1, 1)] * 2)
    assert result.candidates.GetNumberOfRows() == 2  # what would differ if it went the other way
    assert np.allclose(result.transform.GetTransformToParent().TransformPoint(0, 0, 0), SHIFT)


def test_given_deformation_that_no_file_can_hold_becomes_a_grid(quick):
    import slicer
    import vtk

    plates = vtk.vtkThinPlateSplineTransform()
    plates.SetBasisToR()
    corners = np.array([[x, y, z] for x in (-90, 90) for y in (-90, 90) for z in (-40, 110)], float)
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in corners:
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner + SHIFT)
    plates.SetSourceLandmarks(source)
    plates.SetTargetLandmarks(target)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Landmarks")
    node.SetAndObserveTransformToParent(plates)
    displacements, result = given(quick, node)
    assert np.allclose(displacements, [-SHIFT * (-1, -1, 1)] * 2, atol=0.05)
    assert result.candidates.GetNumberOfRows() == 2


def test_soft_tissue_is_deformed_when_asked_and_not_with_a_transform(quick):
    import slicer

    prior, current = add_pair()
    assert not apply(quick, prior, current).manifest["soft_tissue"]
    quick.ui.softTissueCheckBox.click()
    assert quick._parameterNode.softTissue
    assert apply(quick, prior, current).manifest["soft_tissue"]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registered")
    quick.ui.givenTransformSelector.setCurrentNode(node)
    assert not quick.ui.softTissueCheckBox.enabled
    assert "Registered is taken as it is" in quick.ui.softTissueCheckBox.toolTip
    assert not apply(quick, prior, current).manifest["soft_tissue"]


# DICOM


class StandInDatabase:
    """What the panel asks of Slicer's DICOM database (ctkDICOMDatabase)."""

    isOpen = True

    def __init__(self, files):
        self.files = files

    def fileForInstance(self, uid):
        return self.files.get(uid, "")


def write_dicom(folder, volume):
    """A series with the voxels of a volume, its slices from above to below; files by UID."""
    import pydicom
    import slicer
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    files = {}
    voxels = slicer.util.arrayFromVolume(volume)
    for number, plane in enumerate(voxels[::-1]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID, dataset.Modality = frame, "CT"
        dataset.PatientID, dataset.SeriesNumber, dataset.InstanceNumber = "4711", 3, number + 1
        x, y, z = ras_of((0, 0, len(voxels) - 1 - number)) * (-1, -1, 1)
        dataset.ImagePositionPatient = [x, y, z]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [SPACING, SPACING], SPACING
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = (plane + 1024).astype("<u2").tobytes()
        path = folder / f"{number:03}.dcm"
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        files[dataset.SOPInstanceUID] = str(path)
    return files


@pytest.fixture
def dicom_result(quick, tmp_path, monkeypatch):
    """A result whose current CT was loaded from DICOM, as far as Slicer can tell."""
    import slicer

    prior, current = add_pair()
    # the fixture's block of bone lies in soft tissue alone, which no CT scanner shows
    slicer.util.arrayFromVolume(current)[:, :3] = -1000
    files = write_dicom(tmp_path / "ct", current)
    current.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    monkeypatch.setattr(slicer, "dicomDatabase", StandInDatabase(files), raising=False)
    return apply(quick, prior, current)


def real_runner(quick):
    """Let the panel run the module's own commands; the comparison was the stand-in's."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    quick.logic.shutdown()
    quick.logic._runner = JobRunner("TemporalSubtractionLib")


def test_dicom_is_grey_and_says_why(quick, dicom_result, monkeypatch):
    import slicer

    button = quick.ui.dicomButton
    assert not button.enabled and "Accept a candidate first" in button.toolTip
    quick.ui.resultTable.selectRow(0)
    quick.ui.acceptButton.click()
    assert button.enabled and "DICOM report" in button.toolTip
    quick.ui.undoButton.click()
    assert not button.enabled
    quick.ui.acceptButton.click()
    monkeypatch.setattr(slicer.dicomDatabase, "files", {})
    quick.enter()
    assert not button.enabled and "not loaded from DICOM" in button.toolTip
    monkeypatch.delattr(slicer, "dicomDatabase")  # Slicer without DICOM
    quick.enter()
    assert not button.enabled and "not loaded from DICOM" in button.toolTip
    slicer.mrmlScene.RemoveNode(dicom_result.expectedVolume)
    quick.enter()
    assert not button.enabled and "no longer in the scene" in button.toolTip
    slicer.mrmlScene.RemoveNode(dicom_result.candidates)
    quick.enter()
    assert not button.enabled and "no result" in button.toolTip


def test_accepted_candidates_are_saved_as_dicom_and_offered_to_the_database(
        quick, dicom_result, tmp_path, monkeypatch):
    import pydicom
    import qt
    import slicer

    from ReadingRoomSlicerLib import dicom

    added, asked = [], []
    monkeypatch.setattr(dicom, "addToDatabase", added.append)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay",
                        lambda text, *_args, **_options: asked.append(text) or True)
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_args: str(tmp_path))
    quick.ui.resultTable.selectRow(1)
    quick.ui.acceptButton.click()
    real_runner(quick)
    quick.ui.dicomButton.click()
    assert quick.logic.running and not quick.ui.dicomButton.enabled
    process_events(lambda: not quick.logic.running)
    target = tmp_path / "Müller CT findings"
    assert quick.ui.messageLabel.text == f"Written to {target}", quick.panel._log
    assert sorted(path.name for path in target.iterdir()) == [
        "findings_seg.dcm", "findings_sr.dcm", "result.json"]
    segmentation = pydicom.dcmread(target / "findings_seg.dcm")
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["2 thinner"]
    assert segmentation.PatientID == "4711"
    places = [frame.PlanePositionSequence[0].ImagePositionPatient[2]
              for frame in segmentation.PerFrameFunctionalGroupsSequence]
    assert min(places) <= ras_of(THIN)[2] <= max(places)
    assert segmentation.pixel_array.sum() == (slicer.util.arrayFromSegmentBinaryLabelmap(
        dicom_result.segmentation, "2", dicom_result.currentVolume) > 0).sum()
    assert added == [str(target)] and "DICOM database" in asked[0]
    assert quick.ui.dicomButton.enabled

    quick.ui.dicomButton.click()  # once more: what is there is not overwritten
    process_events(lambda: not quick.logic.running)
    assert "choose another output folder" in quick.ui.messageLabel.text


def test_the_database_copies_the_files(slicer_scene, monkeypatch):
    from types import ModuleType, SimpleNamespace

    import slicer

    from ReadingRoomSlicerLib import dicom

    calls = []
    module = ModuleType("DICOMLib")
    module.DICOMUtils = SimpleNamespace(
        importDicom=lambda *arguments: calls.append(arguments) or len(calls) == 1)
    monkeypatch.setitem(sys.modules, "DICOMLib", module)
    assert not dicom.hasDatabase()
    monkeypatch.setattr(slicer, "dicomDatabase", StandInDatabase({}), raising=False)
    assert dicom.hasDatabase()
    dicom.addToDatabase("somewhere")
    assert calls == [("somewhere", slicer.dicomDatabase, True)]
    with pytest.raises(RuntimeError, match="could not be imported"):
        dicom.addToDatabase("somewhere")
    slicer.dicomDatabase.isOpen = False
    assert not dicom.hasDatabase()


def test_chosen_bones_go_along_and_name_the_candidates(quick):
    import slicer

    from ReadingRoomLib.segmentation_files import read_seg_nrrd
    from ReadingRoomSlicerLib import segmentations

    prior, current = add_pair()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "TotalSegmentator")
    node.SetReferenceImageGeometryParameterFromVolumeNode(current)
    shape = slicer.util.arrayFromVolume(current).shape
    for name, begin, end in (("L3 vertebra", 0, 22), ("Aorta", 10, 40), ("hip_left", 20, 40)):
        inside = np.zeros(shape, np.uint8)  # the later one counts where they overlap
        inside[:, :, begin:end] = 1
        segment = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(inside, node, segment, current)
    quick.ui.namedBonesSelector.setCurrentNode(node)
    assert quick._parameterNode.namedBones == node
    result = apply(quick, prior, current)
    assert result.manifest["bones"] == ["L3 vertebra", "Aorta", "hip_left"]
    layers = node.GetSegmentation().GetNumberOfLayers()
    assert layers > 1  # the user's own stay as they were
    path = Path(slicer.app.temporaryPath) / "one.seg.nrrd"
    segmentations.writeAsOneLayer(node, str(path))
    labels, segments = read_seg_nrrd(path)
    path.unlink()
    values = {segment.value: segment.name for segment in segments}
    places = [labels.TransformPhysicalPointToIndex((ras_of((i, 5, 5)) * (-1, -1, 1)).tolist())
              for i in (5, 15, 30)]
    assert [values[labels[place]] for place in places] == ["L3 vertebra", "Aorta", "hip_left"]


# Samples


def test_samples_are_offered(slicer_scene):
    import slicer

    import slicerhost

    slicerhost.load_module("TemporalSubtraction", panel=False)
    import TemporalSubtraction

    TemporalSubtraction.registerSampleData()
    sources = slicer.modules.sampleDataSources["TemporalSubtraction"]
    assert [source.sampleName for source in sources] == ["CTBonesPrior", "CTBonesCurrent"]
    assert all(Path(source.thumbnailFileName).is_file() for source in sources)


def test_sample_button_loads_both_scans(widget, tmp_path, monkeypatch):
    import TemporalSubtraction

    program = ("import sys; from pathlib import Path; import SimpleITK, TemporalSubtractionLib;"
               "path = Path(sys.argv[1]) / '{name}.nrrd';"
               "image = SimpleITK.Image(4, 4, {size}, SimpleITK.sitkInt16);"
               "SimpleITK.WriteImage(image, str(path)); print(path)")
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path))
    for name, size in (("PRIOR_SAMPLE", 3), ("CURRENT_SAMPLE", 5)):
        sample = getattr(TemporalSubtraction, name)
        monkeypatch.setattr(TemporalSubtraction, name, replace(
            sample, program=program.format(name=name, size=size)))
    widget.ui.sampleButton.click()
    assert not widget.ui.sampleButton.enabled
    process_events(lambda: widget.ui.sampleButton.enabled)
    parameters = widget._parameterNode
    assert parameters.priorVolume.GetName() == "CTBonesPrior"
    assert parameters.currentVolume.GetImageData().GetDimensions()[2] == 5
    assert widget.ui.messageLabel.text == ""


# The real computation


def test_real_command_takes_what_the_panel_gives(widget):
    """With a given transform, which takes less time; the self-test aligns by itself."""
    import slicer

    from ReadingRoomLib.phantoms.pelvis import simulate_pelvis

    image = simulate_pelvis({}, (3.0, 3.0, 4.0)).image
    first = round((-40 - image.GetOrigin()[2]) / 4.0)
    image = image[:, :, first : first + 25]
    voxels = sitk.GetArrayFromImage(image)
    matrix = np.diag([-3.0, -3.0, 4.0, 1.0])
    matrix[:3, 3] = np.array(image.GetOrigin()) * (-1, -1, 1)
    prior = slicer.util.addVolumeFromArray(voxels.copy(), matrix, "Prior")
    bone = np.argwhere((voxels > 150) & (voxels < 500))
    k, j, i = bone[len(bone) // 2]
    voxels[k - 1 : k + 2, j - 2 : j + 3, i - 2 : i + 3] += 400
    matrix[:3, 3] += SHIFT
    current = slicer.util.addVolumeFromArray(voxels, matrix, "Current")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = np.eye(4)
    moved[:3, 3] = SHIFT
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    widget._parameterNode.givenTransform = transform
    result = apply(widget, prior, current)
    from TemporalSubtractionSlicerLib.candidate_view import candidatesOf

    first = candidatesOf(result.candidates)[0]
    assert first.kind == "denser"
    place = (matrix @ (i, j, k, 1))[:3]
    assert np.linalg.norm(np.array(first.point_ras) - place) < 10
    change = slicer.util.arrayFromVolume(result.changeVolume)
    assert change.shape == voxels.shape and change[k, j, i] > 3
