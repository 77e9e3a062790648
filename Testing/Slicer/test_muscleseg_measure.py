# SPDX-License-Identifier: Apache-2.0
"""The section Measure of MuscleSeg, clicked: real command, nodes, files, DICOM, scene file."""

import csv
from pathlib import Path

import pytest

from ..Core import muscle_body
from ..Core.dicom_factory import write_series
from .test_muscleseg import hierarchy_item, process_events

PATIENT = "Müller Anna"


@pytest.fixture(scope="module")
def warm_runner(slicer_host):
    """Runs the commands of all tests of a file in one process: its start is what takes time."""
    from ReadingRoomSlicerLib.jobs import JobRunner

    class WarmRunner(JobRunner):
        def shutdown(self):
            self.cancel()

    runner = WarmRunner("MuscleSegLib")
    yield runner
    JobRunner.shutdown(runner)


@pytest.fixture
def widget(module_widget, warm_runner, monkeypatch):
    from ReadingRoomSlicerLib import jobs

    monkeypatch.setattr(jobs, "JobRunner", lambda library: warm_runner)
    widget = module_widget("MuscleSeg")
    widget.parent.enter()
    yield widget
    widget.sections.cleanup()


@pytest.fixture
def section(widget):
    widget.sections.title("measure").collapsed = False
    return widget.sections["measure"]


def load_body(folder):
    """The CT of the small body and its segmentation in the scene, as a patient's study."""
    import slicer

    ct, labels = muscle_body.write_pair(folder)
    volume = slicer.util.loadVolume(str(ct), {"name": PATIENT})
    segmentation = slicer.util.loadSegmentation(str(labels))
    segmentation.SetName(f"{PATIENT} muscles")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    hierarchy, item = hierarchy_item(volume)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), PATIENT)
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemParent(item, study)
    return volume, segmentation


def measure(section):
    section.startButton.click()
    assert section.runner.running and not section.cancelButton.isHidden()
    assert not section.startButton.enabled and not section.formWidget.enabled
    process_events(lambda: not section.runner.running)


def test_the_section_says_what_is_missing(widget, section, tmp_path):
    import slicer

    assert widget.sections.title("measure").isHidden()
    assert not section.startButton.enabled
    assert "Segment a CT first" in section.startButton.toolTip
    assert section.resultWidget.isHidden()
    lonely = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lonely")
    section.selector.setCurrentNode(lonely)
    assert "no segment" in section.startButton.toolTip
    lonely.GetSegmentation().AddEmptySegment("femur_left")
    section.check()
    assert "Choose the CT" in section.startButton.toolTip

    volume, segmentation = load_body(tmp_path)
    section.selector.setCurrentNode(segmentation)
    assert section.startButton.enabled and PATIENT in section.startButton.toolTip
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    section.check()
    assert "different transforms" in section.startButton.toolTip


def test_measuring_a_corrected_segmentation_and_back_from_a_scene_file(
        widget, section, tmp_path):
    import numpy as np
    import slicer

    from MuscleSegSlicerLib import measured_nodes
    from ReadingRoomSlicerLib import tables

    volume, segmentation = load_body(tmp_path / "in")
    section.selector.setCurrentNode(segmentation)
    # corrected by hand: half of the left gluteus is taken away
    name = f"{muscle_body.MUSCLE}_left"
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume)
    before = voxels.sum()
    voxels[:, :, 46:] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, segmentation, name, volume)
    temporary = Path(slicer.app.temporaryPath)
    known = set(temporary.rglob("*"))
    measure(section)
    assert "sides differ most in volume at Gluteus maximus: 82 %" in section.messageLabel.text
    assert not section.resultWidget.isHidden() and not section.pictureLabel.isHidden()

    # table: of the scene, beside the CT
    tableNode = measured_nodes.measuredOf(segmentation)
    hierarchy, item = hierarchy_item(volume)
    assert hierarchy.GetItemParent(hierarchy_item(tableNode)[1]) == hierarchy.GetItemParent(item)
    columns = tables.columns(tableNode)
    voxel_ml = np.prod(muscle_body.SPACING) / 1000
    row = [columns["Structure"][i] + columns["Side"][i] for i in range(
        tableNode.GetNumberOfRows())].index("Gluteus maximusleft")
    assert columns["Volume (mL)"][row] == pytest.approx(before / 2 * voxel_ml)
    assert np.isnan(columns["Fat"][columns["Structure"].index("Sacrum")])

    # table: of the panel
    shown = {section.table.item(index, 0).text(): index for index in range(section.table.rowCount)}
    line = [section.table.item(shown["Gluteus maximus"], column).text() for column in range(6)]
    assert line[1] == f"{before / 2 * voxel_ml:.1f}" and line[3:5] == ["82 %", "0 %"]
    assert line[5] == "8 %"  # one of twelve rows
    assert "Femur *" in shown and "cut off" in section.table.item(shown["Femur *"], 0).toolTip()

    # chart
    section.chartButton.click()
    chart = measured_nodes.chartOf(tableNode)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == chart.GetID()
    series = [chart.GetNthPlotSeriesNode(index) for index in range(2)]
    assert [one.GetYColumnName() for one in series] == ["left", "right"]
    plotted = tables.columns(series[0].GetTableNode())
    assert plotted["Structure"] == ["Femur", "Gluteus maximus"]  # what has both sides
    assert plotted["left"][1] == columns["Volume (mL)"][row]

    # files: nothing is named after the patient
    saved = Path(section.save(str(tmp_path)))
    assert section.save(str(tmp_path)) == str(tmp_path / "muscle-measurements-2")
    assert {path.name for path in saved.iterdir()} == {
        "muscles.csv", "asymmetry.png", "meshes", "result.json"}
    assert len(list((saved / "meshes").glob("*.stl"))) == tableNode.GetNumberOfRows()
    with open(saved / "muscles.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == tableNode.GetNumberOfRows()
    written = [*saved.rglob("*"), *(set(temporary.rglob("*")) - known)]
    assert len(written) > 6
    for path in written:
        assert "Müller" not in path.name
        assert path.is_dir() or "Müller".encode() not in path.read_bytes()

    # measured again: the same nodes
    measure(section)
    assert measured_nodes.measuredOf(segmentation) is tableNode
    assert measured_nodes.chartOf(tableNode) is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2

    # scene file
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert section.resultWidget.isHidden() and set(temporary.rglob("*")) <= known
    slicer.util.loadScene(path)
    section.selector.setCurrentNode(slicer.util.getNode(f"{PATIENT} muscles"))
    assert not section.resultWidget.isHidden()
    assert section.table.rowCount == len(shown) and section.pictureLabel.isHidden()
    assert not section.saveButton.enabled and "Measure first" in section.saveButton.toolTip
    section.chartButton.click()
    again = measured_nodes.chartOf(section.measured())
    slicer.mrmlScene.RemoveNode(again)
    section.chartButton.click()
    assert "removed from the scene" in section.messageLabel.text
    slicer.mrmlScene.RemoveNode(section.measured())
    section.showMeasured()
    assert section.resultWidget.isHidden()


class StandInDatabase:
    isOpen = True

    def __init__(self, path):
        self.path = path

    def fileForInstance(self, uid):
        return self.path if uid == "1.2.3" else ""


def test_a_ct_from_dicom_gets_dicom_objects_of_its_study(section, tmp_path, monkeypatch):
    import pydicom
    import qt
    import slicer

    from ReadingRoomSlicerLib import dicom

    volume, segmentation = load_body(tmp_path / "in")

    def place(dataset, index):
        dataset.PixelSpacing = [muscle_body.SPACING[1], muscle_body.SPACING[0]]

    ct, _labels = muscle_body.body()
    write_series(tmp_path / "ct", ct, spacing=muscle_body.SPACING[2],
                 origin=muscle_body.ORIGIN, edit=place)
    first = sorted((tmp_path / "ct").iterdir())[0]
    monkeypatch.setattr(slicer, "dicomDatabase", StandInDatabase(str(first)), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    section.selector.setCurrentNode(segmentation)
    measure(section)
    added = []
    monkeypatch.setattr(dicom, "addToDatabase", added.append)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_args, **_options: True)
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_args: str(tmp_path))
    section.saveButton.click()
    target = tmp_path / "muscle-measurements"
    assert added == [str(target)] and str(target) in section.messageLabel.text
    study = pydicom.dcmread(first).StudyInstanceUID
    for name in ("segmentation.dcm", "measurements.dcm"):
        assert pydicom.dcmread(target / name).StudyInstanceUID == study


def test_a_ct_that_goes_meanwhile_and_cancel(section, tmp_path):
    import slicer

    volume, segmentation = load_body(tmp_path)
    section.selector.setCurrentNode(segmentation)
    temporary = Path(slicer.app.temporaryPath)
    known, nodes = set(temporary.iterdir()), slicer.mrmlScene.GetNumberOfNodes()
    section.startButton.click()
    slicer.mrmlScene.RemoveNode(volume)
    process_events(lambda: not section.runner.running)
    assert "no longer in the scene" in section.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() <= nodes
    assert set(temporary.iterdir()) == known

    slicer.mrmlScene.Clear(False)
    _volume, segmentation = load_body(tmp_path / "again")
    section.selector.setCurrentNode(segmentation)
    section.startButton.click()
    section.cancelButton.click()
    assert not section.runner.running and "cancelled" in section.messageLabel.text
    assert section.cancelButton.isHidden() and section.startButton.enabled
    assert set(temporary.iterdir()) == known
