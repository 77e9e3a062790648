# SPDX-License-Identifier: Apache-2.0
"""The panel of BrainTumorClassify, clicked, with the real computation and the starter model."""

import csv
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ..Core.tumor_factory import ENHANCING, NECROSIS, TUMOUR, TUMOUR_MM, anatomy, scan
from ..Core.tumor_toys import write_toy_list

SPACING = (2.0, 2.0, 6.0)
NAMES = {"t1": "Ax T1", "t2": "Ax T2 TSE", "t1c": "Ax T1 +Gd"}
TO_WORLD = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])
CENTRE = np.array(TUMOUR) * [-1, -1, 1]  # RAS


def process_events(until, seconds=180.0):
    import slicer

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.03)


def matrix_of(image):
    """From voxels to RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ matrix


def add(image, name):
    import slicer

    return slicer.util.addVolumeFromArray(
        sitk.GetArrayFromImage(image), matrix_of(image), name)


@pytest.fixture(scope="module")
def images():
    return {name: scan(name, spacing=SPACING, seed=number)
            for number, name in enumerate(NAMES)}


@pytest.fixture
def sequences(slicer_scene, images):
    """The toy head as volume nodes; pressed by no panel yet."""
    return {name: add(image, NAMES[name]) for name, image in images.items()}


@pytest.fixture(scope="module")
def warm(slicer_host):
    """One worker for all tests: importing PyTorch takes longer than classifying."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other are slower
        runner = JobRunner("BrainTumorClassifyLib")
        yield runner
        runner.shutdown()


@pytest.fixture
def widget(module_widget, warm, monkeypatch):
    widget = module_widget("BrainTumorClassify")
    widget.logic._runner = warm
    monkeypatch.setattr(warm, "shutdown", warm.cancel)  # the panel goes, the worker stays
    widget.parent.enter()
    return widget


def choose(widget, **nodes):
    for name in NAMES:
        setattr(widget._parameterNode, f"{name}Volume", nodes.get(name))


def add_box(centre=CENTRE, side=50.0):
    import slicer

    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    box.SetSize(side, side, side)
    box.SetCenter(*centre)
    return box


def apply(widget):
    widget.ui.applyButton.click()
    assert widget.logic.running, widget.ui.applyButton.toolTip
    process_events(lambda: not widget.logic.running)
    return widget.logic.resultOf(widget._parameterNode)


def applied(widget):
    result = apply(widget)
    assert widget.ui.messageLabel.text == "", widget.panel._log
    return result


# Opening, and before Apply


def test_opening_is_quick_and_imports_nothing_heavy(open_alone):
    seconds, modules = open_alone("BrainTumorClassify")
    assert not {"torch", "monai", "SimpleITK", "typer", "pydicom", "scipy"} & modules
    assert seconds < 0.3  # of the processor, whatever else runs on this computer


def test_apply_is_grey_and_says_why(widget, sequences, tmp_path):
    import slicer

    button = widget.ui.applyButton

    def reason():
        assert not button.enabled
        return button.toolTip

    choose(widget)
    assert "Choose the contrast-enhanced T1" in reason()
    choose(widget, t1c=sequences["t1c"])
    assert "Choose T1 or T2" in reason()
    choose(widget, t1=sequences["t1c"], t1c=sequences["t1c"])
    assert "same volume" in reason()
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    choose(widget, t1=empty, t1c=sequences["t1c"])
    assert "no image" in reason()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemAttribute(
        hierarchy.GetItemByDataNode(sequences["t2"]), "DICOM.Modality", "CT")
    choose(widget, t2=sequences["t2"], t1c=sequences["t1c"])
    assert "is CT, but an MRI is needed" in reason()
    choose(widget, t1=sequences["t1"], t1c=sequences["t1c"])
    widget.ui.regionSelector.setCurrentNode(
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nothing"))
    assert "no segment" in reason()
    widget.ui.regionSelector.setCurrentNode(None)
    assert button.enabled and "Say which kind" in button.toolTip
    (tmp_path / "models.json").write_text('{"models": []}')
    widget.panel.registryPath = str(tmp_path / "models.json")
    widget._parameterNode.seed = 3
    assert "No model is installed" in reason()


def test_different_patients_are_refused(widget, sequences):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for number, name in enumerate(("t1", "t1c")):
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"P{number}")
        hierarchy.SetItemAttribute(patient, "DICOM.PatientID", f"{number}")
        study = hierarchy.CreateStudyItem(patient, "Study")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(sequences[name]), study)
    choose(widget, t1=sequences["t1"], t1c=sequences["t1c"])
    assert "different patient numbers" in widget.ui.applyButton.toolTip
    assert not widget.ui.applyButton.enabled


def test_the_sequences_are_recognised_and_can_be_corrected(widget, sequences):
    flair = add(scan("flair", spacing=SPACING), "Ax T2 FLAIR")
    choose(widget)
    widget.ui.recogniseButton.click()
    for name, node in sequences.items():
        assert getattr(widget._parameterNode, f"{name}Volume") == node
    assert "T1 with contrast agent:" in widget.ui.recognisedLabel.text
    widget.ui.t2VolumeSelector.setCurrentNode(flair)
    assert widget._parameterNode.t2Volume == flair
    # what was chosen is not taken away when the panel is entered again
    widget.parent.exit()
    widget.parent.enter()
    assert widget._parameterNode.t2Volume == flair


def test_loaded_sequences_are_taken_when_the_panel_opens(sequences, module_widget):
    widget = module_widget("BrainTumorClassify")
    widget.parent.enter()
    assert widget._parameterNode.t1cVolume == sequences["t1c"]
    assert widget._parameterNode.t2Volume == sequences["t2"]


def test_a_new_box_lies_where_the_user_looks(widget, sequences):
    import slicer

    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, *CENTRE, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    widget.ui.newBoxButton.click()
    box = widget._parameterNode.box
    centre = [0.0, 0.0, 0.0]
    box.GetCenterWorld(centre)
    assert np.allclose(centre, CENTRE, atol=3.5)
    assert box.GetDisplayNode().GetHandlesInteractive()
    assert widget.ui.regionSelector.currentNode() == box
    widget.ui.regionSelector.setCurrentNode(None)
    assert widget._parameterNode.box is None and box.GetScene()


# The real computation


def test_apply_to_answer_and_back_from_a_scene_file(widget, sequences, images, tmp_path,
                                                    monkeypatch):
    """One run, looked at from all sides."""
    import qt
    import slicer

    from ReadingRoomSlicerLib import tables, views

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(TO_WORLD))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(
        hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient"), "Study")
    for node in sequences.values():
        node.SetAndObserveTransformNodeID(transform.GetID())
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    sequences["t1c"].SetName("Müller, Hans")
    choose(widget, **sequences)
    # drawn in the world, where the image is seen
    widget._parameterNode.box = add_box((TO_WORLD @ [*CENTRE, 1])[:3], 54.0)
    widget.ui.errorPercentSpinBox.value = 20.0
    result = applied(widget)

    # what is read
    manifest, ui = result.manifest, widget.ui
    assert manifest["status"] == "completed" and manifest["parameters"]["error"] == 0.2
    assert manifest["parameters"]["region"] == "given"
    assert np.allclose(manifest["region"]["centre_mm"][:2], TUMOUR[:2], atol=1.0)
    assert manifest["region"]["side_mm"] == pytest.approx(54.0, abs=1.0)
    assert manifest["decision"].split()[0] in ui.decisionLabel.text.lower()
    assert ui.resultTable.rowCount == 3
    best = max(manifest["probabilities"], key=manifest["probabilities"].get)
    assert ui.resultTable.item(0, 0).text() == best
    assert f"{manifest['probabilities'][best]:.1%}" in ui.resultTable.item(0, 1).text()
    assert "learned from simulated images only" in ui.doubtsLabel.text
    for sentence in manifest["doubts"] + manifest["warnings"]:
        assert sentence.split(":")[0][:30] in ui.doubtsLabel.text.replace("&#x27;", "'")
    for caution in manifest["cautions"]:
        assert caution[:20] in ui.cautionsLabel.text
    assert manifest["nearest"][0]["name"] in ui.likenessLabel.text
    assert ui.pseudoRgbLabel.pixmap.width() > 100

    # nodes
    nodes = [getattr(result, name) for name in type(result).NODES]
    assert all(nodes)
    for node in nodes:
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    columns = tables.columns(result.probabilities)
    assert dict(zip(columns["Kind"], columns["Probability"], strict=True)) == pytest.approx(
        manifest["probabilities"])
    assert slicer.util.arrayFromVolume(result.saliency).shape == slicer.util.arrayFromVolume(
        sequences["t1c"]).shape
    assert result.saliency.GetParentTransformNode() == transform
    heat = slicer.util.arrayFromVolume(result.saliency)
    assert heat.max() > 0.5 and heat.min() >= 0
    centre, size = [0.0, 0.0, 0.0], result.regionBox.GetSize()
    result.regionBox.GetCenterWorld(centre)
    assert np.allclose(centre, (TO_WORLD @ [*CENTRE, 1])[:3], atol=3.1)
    assert np.allclose(size, [54, 54, len(manifest["region"]["slices"]) * SPACING[2]], atol=1.0)
    # the others lie on it
    own = slicer.util.arrayFromVolume(result.alignedT2)
    given = sitk.GetArrayFromImage(images["t2"])
    assert np.corrcoef(own.ravel(), given.ravel())[0, 1] > 0.98

    # the views
    slice_node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    shown = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 3]
    assert np.allclose(shown, centre, atol=SPACING[2])
    assert views.isOverlay(result.saliency) and ui.overlayButton.checked
    ui.overlayButton.click()
    assert not views.isOverlay(result.saliency)
    ui.sideBySideButton.click()
    shown = {view: slicer.mrmlScene.GetNodeByID(
        f"vtkMRMLSliceCompositeNode{view}").GetBackgroundVolumeID()
        for view in ("Red", "Yellow", "Green")}
    assert shown == {"Red": result.alignedT1.GetID(), "Yellow": result.alignedT2.GetID(),
                     "Green": sequences["t1c"].GetID()}
    yellow = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeYellow")
    assert yellow.GetOrientation() == "Axial"
    ui.sideBySideButton.click()
    assert yellow.GetOrientation() == "Sagittal" and views.isBackground(sequences["t1c"])

    # the page and the files
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url))
    ui.answerPageButton.click()
    page = Path(opened[0].toLocalFile()).read_text("utf-8")
    assert "trained on simulated" in page or "learned from simulated" in page
    folder = Path(widget.logic.export(result, str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "answer.html", "probabilities.csv", "pseudo_rgb.png", "result.json", "saliency.nrrd",
        "t1.nrrd", "t2.nrrd"]
    assert json.loads((folder / "result.json").read_text("utf-8")) == manifest
    with open(folder / "probabilities.csv", encoding="utf-8") as file:
        assert [row["Kind"] for row in csv.DictReader(file)] == list(manifest["probabilities"])
    for path in folder.iterdir():
        # the pictures in the page are base64, in which any four letters come up by chance
        words = re.sub(rb"base64,[^\"']*", b"", path.read_bytes())
        assert b"M\xc3\xbcller" not in words and b"Hans" not in words

    # scene file
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    ui.sideBySideButton.click()
    slicer.mrmlScene.Clear(False)
    assert not ui.sideBySideButton.checked
    assert ui.resultHeadWidget.isHidden() and not ui.resultHintLabel.isHidden()
    slicer.util.loadScene(path)
    process_events(lambda: widget._parameterNode is not None)
    restored = widget.logic.resultOf(widget._parameterNode)
    assert restored.manifest == manifest
    assert restored.mainVolume.GetName() == "Müller, Hans"
    assert np.allclose(restored.regionBox.GetSize(), size)
    assert ui.resultTable.rowCount == 3 and not ui.pseudoRgbLabel.isHidden()
    assert ui.errorPercentSpinBox.value == 20.0

    # a result that the user deleted
    slicer.mrmlScene.RemoveNode(restored.probabilities)
    widget.enter()
    assert ui.resultHeadWidget.isHidden()


def test_a_segment_is_the_region_and_t1_may_be_missing(widget, sequences, images):
    import slicer

    truth = sitk.Resample(anatomy(), images["t1c"], sitk.Transform(), sitk.sitkNearestNeighbor)
    labels = sitk.GetArrayFromImage(truth)
    tumour = np.isin(labels, (ENHANCING, NECROSIS)).astype(np.uint8)
    label_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(label_node, tumour)
    label_node.CopyOrientation(sequences["t1c"])
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tumour")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(sequences["t1c"])
    segmentation.GetSegmentation().AddEmptySegment("other", "other")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_node, segmentation)
    slicer.mrmlScene.RemoveNode(label_node)
    choose(widget, t2=sequences["t2"], t1c=sequences["t1c"])
    widget.ui.regionSelector.setCurrentNode(segmentation)
    assert widget._parameterNode.segmentation == segmentation and not widget._parameterNode.box
    assert widget.ui.segmentComboBox.count == 2 and not widget.ui.segmentComboBox.isHidden()
    widget.ui.segmentComboBox.currentIndex = 1
    widget.ui.brainOnlyCheckBox.checked = True
    result = applied(widget)
    assert result.manifest["parameters"]["brain_only"] is True
    assert "trained with skull" in widget.ui.doubtsLabel.text
    shown = slicer.util.arrayFromVolume(result.alignedT2)
    assert (shown == shown[0, 0, 0]).mean() > 0.5  # what is no brain is black
    assert result.manifest["missing"] == ["t1"] and result.alignedT1 is None
    held = np.flatnonzero(tumour.any((1, 2)))
    assert result.manifest["region"]["slices"] == held.tolist()
    assert result.manifest["region"]["side_mm"] == pytest.approx(2 * TUMOUR_MM + 10, abs=8)
    widget.ui.sideBySideButton.click()
    assert widget.ui.sideBySideButton.checked

    # without a region the tumour is looked for, which is doubted; the nodes are used again
    choose(widget, **sequences)
    widget.ui.brainOnlyCheckBox.checked = False
    widget.ui.regionSelector.setCurrentNode(None)
    again = applied(widget)
    assert again.probabilities == result.probabilities and again.regionBox == result.regionBox
    assert "proposed and not drawn" in widget.ui.doubtsLabel.text
    assert np.allclose(again.manifest["region"]["centre_mm"], TUMOUR, atol=8)


def test_what_cannot_be_judged_is_said_and_nothing_is_left(widget, sequences):
    import slicer

    before = slicer.mrmlScene.GetNumberOfNodes()
    choose(widget, **sequences)
    widget._parameterNode.box = add_box((0, 0, 200))
    assert apply(widget) is None
    assert "slice" in widget.ui.messageLabel.text or "head" in widget.ui.messageLabel.text
    assert "b00020" in widget.ui.messageLabel.styleSheet
    assert widget.ui.applyButton.enabled
    assert slicer.mrmlScene.GetNumberOfNodes() <= before + 3  # the box with its display


def test_exchanged_sequences_are_refused(widget, sequences):
    choose(widget, t1=sequences["t2"], t2=sequences["t1"], t1c=sequences["t1c"])
    widget._parameterNode.box = add_box()
    assert apply(widget) is None
    assert "T1 and T2 were exchanged" in widget.ui.messageLabel.text


def test_cancel_leaves_nothing(widget, sequences):
    choose(widget, **sequences)
    widget.ui.applyButton.click()
    process_events(lambda: widget.ui.progressBar.maximum > 0)
    widget.ui.cancelButton.click()
    assert not widget.logic.running and "ancelled" in widget.ui.messageLabel.text
    assert widget.logic.resultOf(widget._parameterNode) is None
    assert widget.ui.applyButton.enabled


# A model of one's own


def test_training_ends_in_a_model_that_can_be_chosen(widget, tmp_path, monkeypatch):
    from ReadingRoomSlicerLib.jobs import JobRunner

    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "cache"))
    training = widget.training
    training.runner = JobRunner("BrainTumorClassifyLib")  # with that cache
    ui = training.ui
    write_toy_list(tmp_path, patients=156, slices=1, clear=3.0)
    content = json.loads((tmp_path / "list.json").read_text("utf-8"))
    content["training"] += content.pop("validation")
    (tmp_path / "list.json").write_text(json.dumps(content), "utf-8")
    ui.trainingCollapsibleButton.collapsed = False
    ui.trainingDataPathLineEdit.currentPath = str(tmp_path / "list.json")
    ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    ui.trainingNameLineEdit.text = "ours"
    training.kindsLineEdit.text = "lymphoma, lymphoma"
    assert not ui.startTrainingButton.enabled and "two kinds" in ui.startTrainingButton.toolTip
    training.kindsLineEdit.text = "glioblastoma, lymphoma,meningioma"
    training.startComboBox.currentIndex = 1
    assert training.options() == {
        "class": ["glioblastoma", "lymphoma", "meningioma"], "start": "random"}
    ui.trainingStepsSpinBox.value = 2
    ui.startTrainingButton.click()
    process_events(lambda: not training.runner.running)
    said = ui.trainingMessageLabel.text
    assert "patients that it was not trained on" in said and "ours can now be chosen" in said, said
    menu = widget.ui.modelComboBox
    assert "ours" in [menu.itemText(index) for index in range(menu.count)]
    assert not ui.trainingCurvesWidget.isHidden()


# The experiment


@pytest.fixture
def experiment(widget, warm, tmp_path):
    """The section, opened, with a list of small images."""
    write_toy_list(tmp_path, patients=12, slices=2, clear=3.0)
    experiment = widget.experiment
    experiment.runner = warm
    experiment.ui.trainingCollapsibleButton.collapsed = False
    experiment.ui.trainingDataPathLineEdit.currentPath = str(tmp_path / "list.json")
    experiment.ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    return experiment


def test_the_experiment_is_made_when_it_is_opened(widget):
    lazy = widget._experimentSection
    assert not lazy.isMade and not lazy.title.isHidden()
    lazy.title.collapsed = False
    assert lazy.isMade and lazy.title.isHidden()


def test_an_experiment_ends_in_tables_chart_and_report(experiment, tmp_path, monkeypatch):
    import qt
    import slicer

    from ReadingRoomSlicerLib import tables

    ui = experiment.ui
    assert ui.startTrainingButton.enabled and "Takes hours" in ui.startTrainingButton.toolTip
    for checkBox in experiment.networkCheckBoxes.values():
        checkBox.checked = False
    assert not ui.startTrainingButton.enabled
    assert "at least one network" in ui.startTrainingButton.toolTip
    experiment.networkCheckBoxes["modern"].checked = True
    experiment.splitComboBox.currentIndex = experiment.splitComboBox.findData("both")
    experiment.repeatsSpinBox.value = 2
    ui.trainingStepsSpinBox.value = 1
    assert experiment.options() == {
        "models": ["modern"], "split": "both", "repeats": 2, "start": "imagenet"}
    ui.startTrainingButton.click()
    assert not ui.cancelTrainingButton.isHidden()
    process_events(lambda: not experiment.runner.running)
    said = ui.trainingMessageLabel.text
    assert "Ours, split by patient:" in said and "by image, leaking" in said, said

    summary = tables.columns(slicer.util.getNode("experiment, summary"))
    assert summary["Split"] == ["patient", "patient", "image", "image"]
    result = json.loads((tmp_path / "experiment" / "result.json").read_text("utf-8"))
    assert summary["Accuracy"][1] == pytest.approx(
        result["summary"]["patient"]["modern"]["patients"]["value"])
    chart = experiment.chart
    series = [slicer.mrmlScene.GetNodeByID(chart.GetNthPlotSeriesNodeID(index))
              for index in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [node.GetTableNode().GetNumberOfRows() for node in series] == [2, 2]
    with open(tmp_path / "experiment" / "accuracy.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == "patients"]
    shown = [value for node in series
             for value in tables.columns(node.GetTableNode())["Accuracy"]]
    assert shown == pytest.approx([float(row["accuracy"]) for row in rows])
    assert not ui.trainingCurvesWidget.isHidden()
    ui.showCurvesButton.click()
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url))
    experiment.reportButton.click()
    assert "The published experiment" in Path(opened[0].toLocalFile()).read_text("utf-8")
    # the same name would overwrite it
    assert "something of this name" in ui.startTrainingButton.toolTip


def test_an_experiment_that_was_stopped_goes_on(experiment, tmp_path):
    ui = experiment.ui
    for name in ("alexnet", "googlenet", "resnet50"):
        experiment.networkCheckBoxes[name].checked = False
    ui.trainingStepsSpinBox.value = 2
    ui.startTrainingButton.click()
    work = tmp_path / "experiment-training"
    process_events(lambda: list(work.glob("modern/*.npz")))
    ui.cancelTrainingButton.click()
    assert "Start goes on where it was" in ui.trainingMessageLabel.text
    assert ui.startTrainingButton.enabled and "Go on" in ui.startTrainingButton.toolTip
    assert not (tmp_path / "experiment").exists()
