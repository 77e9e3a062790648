# SPDX-License-Identifier: Apache-2.0
"""The section Review of MuscleSeg, clicked: queue, slices in the Segment Editor, training."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from ..Core.muscle_factory import as_image, thighs
from .test_muscleseg_lists import cache, finish, opened, widget  # noqa: F401 (fixtures)
from .test_muscleseg_measure import warm_runner  # noqa: F401 (a fixture)

CASES = ("a", "b")


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for number, name in enumerate(CASES):
        sitk.WriteImage(as_image(thighs(noise=5.0 + 10 * number)), str(folder / f"{name}.nrrd"))
    return folder


@pytest.fixture
def modules(monkeypatch):
    """The modules that were opened, one after the other; the host has no window to do so in."""
    import slicer

    found = []
    monkeypatch.setattr(slicer.util, "selectModule", found.append)
    return found


@pytest.fixture
def section(widget, modules, tmp_path, pool):  # noqa: F811 (the fixture from above)
    section = opened(widget, "review")
    section.poolLineEdit.currentPath = str(pool)
    section.folderLineEdit.currentPath = str(tmp_path)
    section.modelComboBox.currentIndex = section.modelComboBox.findData("tiny")
    section.slicesSpinBox.value = 3
    return section


def states(section):
    return [section.table.item(row, 4).text() for row in range(section.table.rowCount)]


def paint(section, name):
    """Correct the slice that is open: a structure gets a block more. Its voxels afterwards."""
    import slicer

    case = section.opened.case
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(case.segmentation, name, case.volume)
    assert not voxels[section.opened.slice.slice, 2:6, 2:6].any()
    voxels[section.opened.slice.slice, 2:6, 2:6] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, case.segmentation, name, case.volume)
    return voxels


def test_the_section_says_what_is_missing(widget, tmp_path, pool):  # noqa: F811
    section = opened(widget, "review")
    button = section.startButton
    assert "folder of the CTs" in button.toolTip and section.resultWidget.isHidden()
    section.poolLineEdit.currentPath = str(pool)
    section.nameLineEdit.text = "my review"
    assert "letters, digits and hyphens" in button.toolTip
    section.nameLineEdit.text = "review"
    assert "folder for the result" in button.toolTip
    section.folderLineEdit.currentPath = str(tmp_path)
    assert button.enabled
    section.nameLineEdit.text = "pool"
    assert "something of this name" in button.toolTip
    for other, reason in ((section.nextButton, "Score a pool"),
                          (section.doneButton, "Open a slice"),
                          (section.continueButton, "Correct some slices")):
        assert not other.enabled and reason in other.toolTip


def test_slices_are_corrected_one_by_one_and_training_goes_on(section, modules, tmp_path):
    import slicer

    from ReadingRoomLib.datalists import read_pairs
    from ReadingRoomLib.segmentation_files import read_segmentation

    section.startButton.click()
    assert section.runner.running and not section.cancelButton.isHidden()
    finish(section)
    assert "3 slices are in the queue" in section.messageLabel.text, section.messageLabel.text
    assert section.progressLabel.text == "0 of 3 slices; 0 % of the pool's pixels labelled."
    assert states(section) == ["", "", ""]
    assert section.nextButton.enabled and not section.continueButton.enabled

    # the first slice, in the Segment Editor
    section.nextButton.click()
    assert section.messageLabel.text == "" and modules == ["SegmentEditor"]
    assert states(section) == ["open", "", ""]
    case, first = section.opened.case, section.opened.slice
    editor = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert editor.GetSegmentationNode() is case.segmentation
    assert editor.GetSourceVolumeNode() is case.volume
    red = slicer.app.layoutManager().sliceWidget("Red")
    assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == case.volume.GetID()
    offset = red.mrmlSliceNode().GetSliceToRAS().GetElement(2, 3)
    assert offset == pytest.approx(first.position_mm[2], abs=2.6)  # half a slice
    assert case.segmentation.GetSegmentation().GetNumberOfSegments() == 22
    marks = slicer.util.arrayFromSegmentBinaryLabelmap(case.marks, "to_review", case.volume)
    assert marks[first.slice].sum() == first.marked
    display = case.marks.GetDisplayNode()
    assert display.GetVisibility2DOutline() and not display.GetVisibility2DFill()
    assert not section.bar.widget.isHidden() and "slice" in section.bar.label.text

    # corrected and done
    voxels = paint(section, "femur")
    section.bar.doneButton.click()
    written, segments = read_segmentation(
        tmp_path / "review" / "corrections" / f"{first.case}.seg.nrrd")
    assert {segment.identifier for segment in segments} >= {"femur", "gluteus_maximus", "sacrum"}
    value = next(one.value for one in segments if one.identifier == "femur")
    assert (sitk.GetArrayFromImage(written) == value).sum() == voxels.sum() > 0
    content = json.loads((tmp_path / "review" / "reviewed.json").read_text())
    assert content == {"slices": [{"case": first.case, "slice": first.slice,
                                   "pixels": "marked"}]}
    assert states(section) == ["done", "open", ""]
    assert section.progressLabel.text.startswith("1 of 3 slices; 0.")

    # the second one: left undone, its correction is kept for later
    second = section.opened.slice
    paint(section, "sacrum")
    third = next(each for each in section.work.slices if each.case != second.case)
    nodes = section.opened.case
    before = [nodes.volume, nodes.segmentation, nodes.marks]
    section._onDoubleClicked(section.work.slices.index(third), 0)
    assert all(node.GetScene() is None for node in before)
    section._onDoubleClicked(section.work.slices.index(second), 0)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(
        section.opened.case.segmentation, "sacrum",
        section.opened.case.volume)[second.slice, 2:6, 2:6].all()

    # what the user removes can be opened again
    slicer.mrmlScene.RemoveNode(section.opened.case.segmentation)
    section.check()
    assert not section.doneButton.enabled and "press Next" in section.doneButton.toolTip
    section._onDoubleClicked(section.work.slices.index(second), 0)
    assert section.doneButton.enabled
    section.wholeCheckBox.checked = True
    section.doneButton.click()
    assert section.work.reviewed[second.case, second.slice] == "all"

    # training goes on, and the queue is made anew without what was reviewed
    section.stepsSpinBox.value = 2
    assert section.continueButton.enabled
    section.continueButton.click()
    assert section.runner.running and not section.nextButton.enabled
    finish(section)
    message = section.messageLabel.text
    assert "review-1 has learned from 2 slices" in message, message
    assert section.modelComboBox.currentText == "review-1"
    pairs = read_pairs(tmp_path / "review-round-1" / "corrections" / "datalist.json",
                       "segmentation")["training"]
    assert {pair.patient for pair in pairs} == {first.case, second.case}
    assert not {(each.case, each.slice) for each in section.work.slices} & {
        (first.case, first.slice), (second.case, second.slice)}
    assert section.work.progress.pool_reviewed == 2
    assert "0 of" in section.progressLabel.text
    assert not section.progressLabel.text.endswith("0 % of the pool's pixels labelled.")
    kept = section.work.slices
    section.startButton.click()
    section.cancelButton.click()
    assert "cancelled" in section.messageLabel.text
    section.refresh()
    assert section.work.slices == kept and section.work.progress.pool_reviewed == 2


def write_queue(folder, pool, slices=((0, "a", 4), (1, "a", 9))):
    """A queue as the command writes it, of what a person would say; no network is asked."""
    from MuscleSegLib import review_folder
    from MuscleSegLib.corrections import write_labels
    from ReadingRoomLib.geometry import image_like
    from ReadingRoomLib.images import read_image

    source = read_image(pool / "a.nrrd", "CT")
    ct = sitk.GetArrayFromImage(source.image)
    case = folder / "cases" / "a"
    write_labels(case / "segmentation.seg.nrrd", (ct > 300).astype(np.uint8), source)
    marks = np.zeros(ct.shape, np.uint8)
    marks[:, 5:9, 5:9] = 1
    sitk.WriteImage(image_like(marks, source.image), str(case / "uncertain.nrrd"))
    review_folder.write_queue(folder, review_folder.Queue(
        (review_folder.QueuedCase("a", str(pool / "a.nrrd"), source.sha256, "7", 2, len(ct),
                                  int((ct > -500).sum()), True),),
        tuple(review_folder.QueuedSlice(
            rank + 1, name, index,
            source.image.TransformIndexToPhysicalPoint((30, 30, index)), 0.5, 16, 900)
            for rank, name, index in slices)))


def test_a_review_goes_on_after_the_scene_was_closed_or_loaded(section, pool, tmp_path, modules):
    import slicer

    write_queue(tmp_path / "review", pool)
    section.refresh()
    assert states(section) == ["", ""] and section.table.item(0, 2).text() == "7"
    section.nextButton.click()
    paint(section, "femur")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert states(section) == ["", ""] and section.bar.widget.isHidden()
    assert "Open a slice first" in section.doneButton.toolTip
    slicer.util.loadScene(path)
    section.nextButton.click()  # what is in the scene is taken, with what was corrected
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert slicer.util.arrayFromSegmentBinaryLabelmap(
        section.opened.case.segmentation, "femur", section.opened.case.volume)[4, 2:6, 2:6].all()

    # the folder is moved while a slice is open: nothing is lost, and nothing is written anywhere
    (tmp_path / "review").rename(tmp_path / "elsewhere")
    section.doneButton.click()
    assert "moved or removed" in section.messageLabel.text
    assert not (tmp_path / "review").exists() and section.opened.case.isThere
    write_queue(tmp_path / "other", pool, ((0, "a", 7),))  # of the same image
    section.nameLineEdit.text = "elsewhere"
    assert states(section) == ["open", ""]
    section.doneButton.click()
    assert (tmp_path / "elsewhere" / "corrections" / "a.seg.nrrd").exists()
    assert states(section) == ["done", "open"]
    section.doneButton.click()
    assert "All slices of the queue are done" in section.messageLabel.text
    assert modules[-1] == "MuscleSeg" and section.opened.case is None
    assert not section.nextButton.enabled and "are done" in section.nextButton.toolTip
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    # opened again, it shows what was corrected
    section._onDoubleClicked(0, 0)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(
        section.opened.case.segmentation, "femur", section.opened.case.volume)[4, 2:6, 2:6].all()
    section.bar.backButton.click()
    assert modules[-1] == "MuscleSeg"


def test_what_was_begun_is_not_lost_without_a_question(section, pool, tmp_path, monkeypatch):
    import slicer

    write_queue(tmp_path / "review", pool)
    section.refresh()
    section.nextButton.click()
    paint(section, "femur")
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay",
                        lambda text, *_args, **_options: asked.append(text) or False)
    section.startButton.click()
    assert "Slices of a were corrected but are not done" in asked[0]
    assert not section.runner.running and section.startButton.enabled
    section.nextButton.click()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(
        section.opened.case.segmentation, "femur", section.opened.case.volume)[4, 2:6, 2:6].all()


def test_what_is_damaged_or_gone_is_one_sentence(section, pool, tmp_path):
    import slicer

    write_queue(tmp_path / "review", pool)
    section.refresh()
    (pool / "a.nrrd").rename(pool / "b.nrrd")
    section.nextButton.click()
    assert "a.nrrd of the pool cannot be found" in section.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    (pool / "a.nrrd").write_bytes(b"NRRD0004\n")
    section.nextButton.click()
    assert section.messageLabel.text and section.opened.case is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    (tmp_path / "review" / "queue.json").write_text("{}")
    section.nextButton.click()
    assert "holds no review queue" in section.messageLabel.text
    assert section.resultWidget.isHidden() and not section.nextButton.enabled
    write_queue(tmp_path / "empty", restored(pool), slices=())
    section.nameLineEdit.text = "empty"
    assert section.table.rowCount == 0 and "are done" in section.nextButton.toolTip


def restored(pool):
    """The pool with its first case again."""
    shutil.copyfile(pool / "b.nrrd", pool / "a.nrrd")
    return pool
