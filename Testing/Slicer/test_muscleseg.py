# SPDX-License-Identifier: Apache-2.0
"""The panel of MuscleSeg, clicked, with the real computation in a real process."""

import gc
import json
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MuscleSegLib.measurements import Measurement

SAMPLES = 2


def process_events(until, seconds=240.0):
    import slicer

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.01)


def run_until(widget, condition):
    """Let a run go on until something is true; it must become true before the run ends."""
    process_events(lambda: condition() or not widget.logic.running)
    assert condition(), widget.ui.messageLabel.text


def add_phantom(name="CT", spacing=(4.0, 4.0, 6.0)):
    """Eight centimetres of a simulated pelvis, at the height of the hips, as a volume node."""
    import slicer

    from ReadingRoomLib.phantoms.pelvis import simulate_pelvis

    image = simulate_pelvis({}, spacing).image
    first = round((-40 - image.GetOrigin()[2]) / spacing[2])
    image = image[:, :, first : first + round(80 / spacing[2])]
    origin = np.array(image.GetOrigin())
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = (-origin[0], -origin[1], origin[2])
    return slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(image), matrix, name)


def add_air():
    import slicer

    return slicer.util.addVolumeFromArray(
        np.full((12, 40, 40), -1000, np.int16), np.diag([-4.0, -4.0, 5.0, 1.0]), "Air")


def hierarchy_item(node):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy, item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def apply(widget):
    """Press Apply and wait for the end."""
    widget._parameterNode.samples = SAMPLES
    widget.ui.applyButton.click()
    assert widget.logic.running
    process_events(lambda: not widget.logic.running)


@pytest.fixture
def widget(module_widget):
    widget = module_widget("MuscleSeg")
    widget.parent.enter()
    yield widget
    widget.logic.cancel()


# Opening


def test_opening_is_quick_and_imports_nothing_heavy(open_alone):
    seconds, modules = open_alone("MuscleSeg")
    assert not {"torch", "monai", "SimpleITK", "typer", "pydicom"} & modules
    assert seconds < 0.3  # of the processor, whatever else runs on this computer


def test_module_file_needs_no_third_party_package():
    import ast

    root = Path(__file__).parents[2]
    files = [root / "MuscleSeg" / "MuscleSeg.py", root / "ReadingRoomCore" / "ReadingRoomCore.py",
             *(root / "ReadingRoomCore" / "ReadingRoomSlicerLib").glob("*.py")]
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            top = {name.split(".")[0] for name in names}
            assert not top & {"numpy", "SimpleITK", "torch", "monai", "typer", "scipy"}, file


# Before Apply


def test_apply_is_grey_and_says_why(widget):
    assert not widget.ui.applyButton.enabled
    assert "Choose a CT" in widget.ui.applyButton.toolTip
    widget._parameterNode.inputVolume = add_air()
    assert widget.ui.applyButton.enabled


def test_mr_series_is_refused(widget):
    volume = add_air()
    hierarchy, item = hierarchy_item(volume)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    widget._parameterNode.inputVolume = volume
    assert not widget.ui.applyButton.enabled
    assert "MR" in widget.ui.applyButton.toolTip


def test_mr_is_for_the_model_of_any_contrast(widget):
    volume = add_air()
    hierarchy, item = hierarchy_item(volume)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    widget._parameterNode.inputVolume = volume
    assert "starter-any-contrast" in widget.ui.applyButton.toolTip
    widget._parameterNode.model = "starter-any-contrast"
    assert widget.panel.modelName == "starter-any-contrast"
    assert "any contrast" in widget.ui.modelNoteLabel.text
    assert widget.ui.applyButton.enabled
    widget._parameterNode.model = "starter"
    assert not widget.ui.applyButton.enabled


def test_volume_without_image_is_refused(widget):
    import slicer

    widget._parameterNode.inputVolume = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", "Empty")
    assert not widget.ui.applyButton.enabled
    assert "no image" in widget.ui.applyButton.toolTip


def test_first_volume_is_chosen_on_entering(widget):
    volume = add_air()
    widget.enter()
    assert widget.ui.inputVolumeSelector.currentNode() == volume


def test_model_says_that_it_saw_simulated_images_only(widget):
    assert widget.ui.modelComboBox.currentText == "starter"
    assert "simulated" in widget.ui.modelNoteLabel.text
    widget.ui.cardButton.click()
    assert widget.panel._cardBrowser.plainText.strip()
    widget.panel._cardBrowser.close()


def test_recipe_without_a_model_is_said(widget):
    from MuscleSeg import Recipe
    from ReadingRoomLib.models import available_models

    widget._parameterNode.inputVolume = add_air()
    recipes = {model.recipe for model in available_models(widget.panel.registryPath)}
    for recipe in Recipe:
        widget._parameterNode.recipe = recipe
        assert widget.ui.applyButton.enabled == (recipe.value in recipes)
        if recipe.value not in recipes:
            assert "no model" in widget.ui.applyButton.toolTip


def test_advanced_settings_are_closed_and_connected(widget):
    from ReadingRoomSlicerLib import settings

    assert widget.ui.advancedCollapsibleButton.collapsed
    widget.ui.samplesSpinBox.value = 7
    widget.ui.sidesCheckBox.checked = False
    widget.ui.seedSpinBox.value = 3
    widget.ui.deviceComboBox.currentIndex = 1
    parameters = widget._parameterNode
    assert (parameters.samples, parameters.sides, parameters.seed) == (7, False, 3)
    assert parameters.device == settings.Device.CPU


def test_disclaimer_is_there(widget):
    assert widget.ui.disclaimerLabel.text == (
        "Research software, not a medical device. The physician decides.")


def test_entering_again_and_again_leaves_nothing_behind(widget):
    import slicer

    def wrappers():
        gc.collect()
        return sum(type(thing).__name__ == "MuscleSegParameterNode" for thing in gc.get_objects())

    counts = []
    for _ in range(4):
        widget.parent.exit()
        widget.parent.enter()
        slicer.mrmlScene.Clear(False)
        counts.append(wrappers())
    assert counts[-1] == counts[0] <= 2


# The real computation


def test_apply_to_result_and_back_from_a_scene_file(widget, tmp_path):
    """One run, looked at from all sides: the computation takes the time."""
    import slicer

    from ReadingRoomSlicerLib import tables, views

    volume = add_phantom("Müller CT")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(
        np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy, item = hierarchy_item(volume)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemParent(item, study)
    parameters = widget._parameterNode
    parameters.inputVolume = volume
    temporary = Path(slicer.app.temporaryPath)
    before = set(temporary.iterdir())

    # running
    parameters.samples = SAMPLES
    widget.ui.applyButton.click()
    assert widget.logic.running
    assert not widget.ui.applyButton.enabled and not widget.ui.inputsWidget.enabled
    assert not widget.ui.cancelButton.isHidden() and not widget.ui.progressBar.isHidden()
    shown = set()

    def ended():
        if widget.ui.progressBar.maximum:
            shown.add(widget.ui.messageLabel.text)
        return not widget.logic.running

    process_events(ended)
    assert widget.ui.messageLabel.text == "", widget.panel._log
    assert "Segmenting" in shown
    assert widget.ui.applyButton.enabled and widget.ui.cancelButton.isHidden()
    assert set(temporary.iterdir()) == before  # nothing is left behind

    # nodes
    result = widget.logic.resultOf(parameters)
    assert result.inputVolume == volume
    segmentation, uncertainty = result.segmentation, result.uncertaintyVolume
    assert segmentation.GetName() == "Müller CT muscles"
    for node in (segmentation, uncertainty):
        assert node.GetParentTransformNode() == transform
    for node in (segmentation, uncertainty, result.measurements, result.report):
        assert hierarchy.GetItemParent(hierarchy_item(node)[1]) == study
        assert node.GetStorageNode() is None or not node.GetStorageNode().GetFileName()
    values = slicer.util.arrayFromVolume(uncertainty)
    assert values.shape == slicer.util.arrayFromVolume(volume).shape
    assert 0 <= values.min() and 0 < values.max() <= 1
    bounds = [0.0] * 6, [0.0] * 6
    volume.GetRASBounds(bounds[0])
    uncertainty.GetRASBounds(bounds[1])
    assert np.allclose(*bounds)
    content = segmentation.GetSegmentation()
    count = content.GetNumberOfSegments()
    assert count >= 2
    pelvis = content.GetSegment("pelvis_right")
    assert "SCT^118645006^Pelvis~SCT^24028007^Right" in pelvis.GetTerminology()
    # right is right: the smaller R coordinate is left, before the transform
    assert center(segmentation, "pelvis_right")[0] > center(segmentation, "pelvis_left")[0]

    # table
    columns = tables.columns(result.measurements)
    expected = ["Predicted Dice", "At least"] if "At least" in columns else []  # if calibrated
    assert list(columns) == ["Structure", "Volume (mL)", "Mean HU", "Uncertainty", *expected,
                             "Check", "Cut off", "Segment"]
    assert set(columns["Segment"]) == set(content.GetSegmentIDs())
    assert columns["Structure"][:2] == ["Pelvis, left", "Pelvis, right"]
    assert all(volume_ml > 0 for volume_ml in columns["Volume (mL)"])
    table = widget.ui.resultTable
    assert table.rowCount == count and not table.isHidden()
    flagged = [reason != "" for reason in columns["Check"]]
    assert [table.item(row, table.columnCount - 1).text() == "check"
            for row in range(count)] == flagged
    manifest = result.manifest
    assert manifest["status"] == "completed" and manifest["model"]["name"] == "starter"
    assert "folder" not in manifest and "not a medical device" in manifest["disclaimer"]

    # click a structure
    row = columns["Segment"].index("pelvis_left")
    table.cellClicked(row, 0)
    sliceNode = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    toRas = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
    ijk = to_ijk(volume, toRas[:3, 3])
    k = int(round(ijk[2]))
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "pelvis_left", volume)
    assert voxels[k].sum() == voxels.sum(axis=(1, 2)).max()

    # a structure that the user deleted
    content.RemoveSegment("pelvis_right")
    table.cellClicked(columns["Segment"].index("pelvis_right"), 0)
    count -= 1

    # files
    folder = Path(widget.logic.export(result, str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "labels.nrrd", "measurements.csv", "result.json", "segmentation.seg.nrrd",
        "uncertainty.nrrd"]
    rows = tables.readRows(folder / "measurements.csv")
    assert list(rows[0]) == [field.name for field in fields(Measurement)
                             if expected or field.default is not None]  # as the command line
    labels = sitk.GetArrayFromImage(sitk.ReadImage(folder / "labels.nrrd"))
    assert labels.shape == values.shape
    assert (labels == 101).sum() == voxels.sum() > 0  # the left hip bone
    assert not (labels == 1).any()  # the right one was deleted
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == manifest
    with pytest.raises(FileExistsError):
        widget.logic.export(result, str(tmp_path))

    # scene file
    widget.ui.show3DButton.click()
    assert views.isShownIn3D(segmentation)
    path = str(tmp_path / "scene.mrb")
    widget.ui.samplesSpinBox.value = 4
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert table.isHidden() and not widget.ui.resultHintLabel.isHidden()
    slicer.util.loadScene(path)
    process_events(lambda: widget._parameterNode is not None)
    restored = widget.logic.resultOf(widget._parameterNode)
    assert widget._parameterNode.samples == 4
    assert restored.inputVolume.GetName() == "Müller CT"
    assert restored.inputVolume == widget._parameterNode.inputVolume
    assert restored.segmentation.GetSegmentation().GetNumberOfSegments() == count
    assert restored.segmentation.GetParentTransformNode().GetName() == "Moved"
    assert np.allclose(slicer.util.arrayFromVolume(restored.uncertaintyVolume), values)
    assert restored.uncertaintyVolume.GetDisplayNode().GetColorNode().GetName() == "Uncertainty"
    assert tables.columns(restored.measurements) == columns
    assert restored.manifest == manifest
    assert table.rowCount == len(columns["Segment"]) and not table.isHidden()

    # buttons, on what came back
    widget.ui.overlayButton.click()
    assert views.isOverlay(restored.uncertaintyVolume)
    assert widget.ui.show3DButton.checked and views.isShownIn3D(restored.segmentation)
    widget.ui.show3DButton.click()
    assert not views.isShownIn3D(restored.segmentation)
    widget.ui.volumeRenderingButton.click()
    assert views.isVolumeRendered(restored.inputVolume)
    widget.ui.volumeRenderingButton.click()
    widget.ui.overlayButton.click()
    assert not views.isVolumeRendered(restored.inputVolume)
    assert not views.isOverlay(restored.uncertaintyVolume)

    # a result that the user deleted
    slicer.mrmlScene.RemoveNode(restored.measurements)
    widget.enter()
    assert table.isHidden() and widget.logic.resultOf(widget._parameterNode) is None


def center(segmentation, segment):
    import slicer

    from ReadingRoomSlicerLib import segmentations

    transform = slicer.util.arrayFromTransformMatrix(segmentation.GetParentTransformNode())
    point = np.append(segmentations.pointInside(segmentation, segment), 1.0)
    return np.linalg.inv(transform) @ point


def to_ijk(volume, point):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    transform = slicer.util.arrayFromTransformMatrix(volume.GetParentTransformNode())
    toWorld = transform @ slicer.util.arrayFromVTKMatrix(matrix)
    return np.linalg.inv(toWorld) @ np.append(point, 1.0)


def test_second_run_replaces_the_result_and_keeps_a_renamed_one(widget):
    import slicer

    widget._parameterNode.inputVolume = add_phantom()
    apply(widget)
    process = widget.logic._runner.processId()
    first = widget.logic.resultOf(widget._parameterNode)
    apply(widget)
    assert widget.logic._runner.processId() == process  # still warm
    second = widget.logic.resultOf(widget._parameterNode)
    assert second.segmentation == first.segmentation
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    second.segmentation.SetName("Corrected by hand")
    widget.ui.sidesCheckBox.checked = False
    apply(widget)
    third = widget.logic.resultOf(widget._parameterNode)
    assert third.segmentation != second.segmentation
    assert "pelvis" in third.segmentation.GetSegmentation().GetSegmentIDs()


def test_wrong_input_is_one_sentence_with_a_log(widget):
    widget._parameterNode.inputVolume = add_air()
    apply(widget)
    sentence = widget.ui.messageLabel.text
    assert sentence.startswith("Air.nrrd is empty") and "\n" not in sentence
    assert not widget.ui.logButton.isHidden() and widget.panel._log
    widget.ui.logButton.click()
    assert widget.logic.resultOf(widget._parameterNode) is None
    assert widget.ui.applyButton.enabled


def test_a_calibration_is_chosen_and_checked(widget, tmp_path):
    edit = widget.ui.calibrationPathLineEdit
    widget._parameterNode.inputVolume = add_phantom()
    edit.currentPath = str(tmp_path / "none.json")
    assert not widget.ui.applyButton.enabled
    assert "calibration cannot be found" in widget.ui.applyButton.toolTip
    (tmp_path / "calibration.json").write_text("{}")
    edit.currentPath = str(tmp_path / "calibration.json")
    assert widget.ui.applyButton.enabled
    widget.parent.exit()
    widget.parent.enter()  # it is kept with the scene
    assert edit.currentPath == str(tmp_path / "calibration.json")
    apply(widget)
    assert "calibration.json" in widget.ui.messageLabel.text  # the command read it
    assert widget.logic.resultOf(widget._parameterNode) is None
    edit.currentPath = ""
    assert widget._parameterNode.calibration == "" and widget.ui.applyButton.enabled


def test_cancel_at_every_stage(widget):
    import slicer

    widget._parameterNode.inputVolume = add_phantom()
    widget._parameterNode.samples = 50
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    temporary = Path(slicer.app.temporaryPath)
    before = set(temporary.iterdir())
    for stage in ("Starting...", "Reading the CT", "Segmenting"):
        widget.ui.applyButton.click()
        run_until(widget, lambda stage=stage: widget.ui.messageLabel.text == stage)
        widget.ui.cancelButton.click()
        assert not widget.logic.running
        assert "cancelled" in widget.ui.messageLabel.text
        assert widget.ui.logButton.isHidden() and widget.ui.applyButton.enabled
        assert slicer.mrmlScene.GetNumberOfNodes() == nodes
        assert set(temporary.iterdir()) == before


def test_closing_the_scene_during_a_run_cancels_it(widget):
    import slicer

    widget._parameterNode.inputVolume = add_phantom()
    widget.ui.applyButton.click()
    run_until(widget, lambda: widget.ui.messageLabel.text == "Reading the CT")
    slicer.mrmlScene.Clear(False)
    assert not widget.logic.running
    slicer.app.processEvents()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not widget.ui.applyButton.enabled
    assert widget.ui.messageLabel.text == ""


def test_ct_removed_during_a_run_gives_no_result(widget):
    import slicer

    volume = add_phantom()
    widget._parameterNode.inputVolume = volume
    widget._parameterNode.samples = SAMPLES
    widget.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(volume)
    process_events(lambda: not widget.logic.running)
    assert "no longer in the scene" in widget.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_reload_during_a_run_ends_it(widget):
    import slicer

    from ReadingRoomLib.processes import process_exists

    widget._parameterNode.inputVolume = add_phantom()
    widget.ui.applyButton.click()
    logic = widget.logic
    process = logic._runner.processId()
    widget.cleanup()
    assert not logic.running and not process_exists(process)
    slicer.app.processEvents()


def test_logic_without_widget(slicer_scene):
    import slicer

    import slicerhost

    slicerhost.load_module("MuscleSeg", panel=False)
    from MuscleSeg import MuscleSegLogic

    logic = MuscleSegLogic()
    stages = []
    try:
        result = logic.process(add_phantom(), samples=1, sides=False, device="cpu", wait=True,
                               onProgress=lambda stage, *_: stages.append(stage))
        assert "pelvis" in result.segmentation.GetSegmentation().GetSegmentIDs()
        assert stages[0] == "read" and "segment" in stages
        with pytest.raises(RuntimeError, match="is empty"):
            logic.process(add_air(), wait=True)
        with pytest.raises(ValueError, match="no image"):
            logic.process(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    finally:
        logic.shutdown()


# What to check


def result_of(scene_of, at_least=None, checks=("", "expected Dice 0.61")):
    """A segmentation of two segments, and its table as a computation leaves it."""
    import slicer

    from ReadingRoomSlicerLib import tables

    volume = add_air()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Muscles")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("pelvis_left", "femur_left"):
        segmentation.GetSegmentation().AddEmptySegment(name)
    measurements = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Measurements")
    tables.setColumns(measurements, {
        "Structure": ["Pelvis, left", "Femur, left"], "Volume (mL)": [100.0, 50.0],
        "Mean HU": [300.0, 400.0], "Uncertainty": [0.1, 0.4],
        **({"Predicted Dice": [0.93, 0.7], "At least": list(at_least)} if at_least else {}),
        "Check": list(checks), "Cut off": ["", ""], "Segment": ["pelvis_left", "femur_left"]})
    with slicer.util.NodeModify(scene_of.parameterNode):
        scene_of.inputVolume = volume
        scene_of.segmentation = segmentation
        scene_of.measurements = measurements
    return segmentation, measurements


def headers(table):
    return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]


def test_the_least_overlap_is_shown_where_the_model_is_calibrated(widget):
    import slicer

    _segmentation, measurements = result_of(widget._parameterNode, (0.9, float("nan")))
    table = widget.ui.resultTable
    assert headers(table) == ["Structure", "mL", "HU", "At least", "Check"]
    assert [table.item(row, 3).text() for row in range(2)] == ["0.90", ""]
    assert table.item(0, 0).toolTip() == (
        "Expected overlap (Dice) 0.93, at least 0.90; uncertainty 0.10.")
    assert "Check: expected Dice 0.61" in table.item(1, 0).toolTip()
    slicer.mrmlScene.RemoveNode(measurements)
    result_of(widget._parameterNode)  # of an older version
    assert headers(table) == ["Structure", "mL", "HU", "Uncertainty", "Check"]


@pytest.mark.parametrize("simulated", [True, False])
def test_a_bound_that_was_learned_from_simulated_patients_says_so(slicer_scene, simulated):
    from MuscleSegSlicerLib.result_view import summaryOf

    said = summaryOf([], {"calibration": {"simulated": simulated}})
    assert ("learned from simulated patients" in said) == simulated
    assert "learned from" not in summaryOf([], {})


def test_only_what_to_check_is_shown_when_that_is_wanted(widget):
    segmentation, _measurements = result_of(widget._parameterNode)
    display, button = segmentation.GetDisplayNode(), widget.ui.onlyCheckButton

    def shown():
        return [name for name in segmentation.GetSegmentation().GetSegmentIDs()
                if display.GetSegmentVisibility(name)]

    assert button.enabled and not button.checked
    button.click()
    assert shown() == ["femur_left"] and button.checked
    widget.enter()  # as after a look at another module
    assert button.checked
    button.click()
    assert shown() == ["pelvis_left", "femur_left"]
    result_of(widget._parameterNode, checks=("", ""))
    assert not button.enabled and "No structure has to be checked" in button.toolTip


# Samples and terminology


def test_samples_are_offered_with_their_checksum(slicer_scene):
    import slicer

    import slicerhost
    from ReadingRoomLib import sampledata

    slicerhost.load_module("MuscleSeg", panel=False)
    import MuscleSeg

    MuscleSeg.registerSampleData()
    registered = slicer.modules.sampleDataSources["MuscleSeg"]
    sources = {source.sampleName: source for source in registered}
    assert set(sources) == {"CTPelvisExample", "CTPelvisSimulated"}
    assert sources["CTPelvisExample"].checksums == [f"SHA256:{sampledata.EXAMPLE_CT.sha256}"]
    assert all(source.customDownloader for source in sources.values())
    assert all(Path(source.thumbnailFileName).is_file() for source in sources.values())


def test_sample_button_loads_the_cached_example(widget, tmp_path, monkeypatch):
    """The download itself is the core's; here the file is in the cache already."""
    from ReadingRoomLib import sampledata

    shared = Path(__file__).parents[3] / "shared/data/ct_totalsegmentator_examples"
    if not shared.is_dir():
        pytest.skip("the example CT is not at hand")
    example = sampledata.EXAMPLE_CT
    folder = tmp_path / "samples" / f"{example.package}-{example.version}"
    folder.mkdir(parents=True)
    (folder / example.name).write_bytes((shared / "example_ct.nii.gz").read_bytes())
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path))
    widget.ui.sampleButton.click()
    assert not widget.ui.sampleButton.enabled
    process_events(lambda: not widget.sampleLoader.running)
    assert widget.ui.messageLabel.text == ""
    volume = widget._parameterNode.inputVolume
    assert volume.GetName() == "CTPelvisExample"
    assert volume.GetImageData().GetDimensions() == (122, 101, 112)
    assert widget.ui.applyButton.enabled and widget.ui.sampleButton.enabled


def test_sample_that_cannot_be_had_is_one_sentence(widget, tmp_path, monkeypatch):
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "cache"))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    widget.ui.sampleButton.click()
    process_events(lambda: not widget.sampleLoader.running)
    sentence = widget.ui.messageLabel.text
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    assert not widget.ui.logButton.isHidden()
    assert widget.ui.sampleButton.enabled


def test_slicer_knows_our_terminology(slicer_scene):
    import slicer

    import slicerhost
    from MuscleSegLib.structures import TERMINOLOGY_CONTEXT, labels_of

    slicerhost.load_module("MuscleSeg", panel=False)
    import MuscleSeg

    MuscleSeg.registerTerminology()
    logic = slicer.modules.terminologies.logic()
    entry = slicer.vtkSlicerTerminologyEntry()
    for label in labels_of(sides=True):
        assert logic.DeserializeTerminologyEntry(label.terminology, entry)
        assert entry.GetTerminologyContextName() == TERMINOLOGY_CONTEXT
        assert entry.GetTypeObject().GetCodeValue() == label.structure.code.value
