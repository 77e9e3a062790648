# SPDX-License-Identifier: Apache-2.0
"""Training in the panel: what is missing, live curves in the scene, Cancel and going on."""

import json
import time
from pathlib import Path

import pytest

from ..Core.head_factory import write_toy_registry
from ..Core.test_head_train_command import write_heads

HERE = Path(__file__).parent


def process_events(until, seconds=900.0):
    import slicer

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.03)


@pytest.fixture
def widget(module_widget, tmp_path, monkeypatch):
    """The panel, with a toy as its only model, coarse slices and few heads to calibrate on."""
    import qt

    from ReadingRoomSlicerLib.jobs import JobRunner

    registry = write_toy_registry(tmp_path)
    monkeypatch.setenv("TRIAGE_TEST_REGISTRY", str(registry))
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(HERE)
    qt.QSettings().setValue("ReadingRoom/TriageFolder", str(tmp_path / "triage"))
    widget = module_widget("HeadCTTriage")
    widget.panel.registryPath = str(registry)
    widget.training.runner = JobRunner("TriageTestLib")
    widget.parent.enter()
    yield widget
    widget.training.cleanup()
    qt.QSettings().setValue("ReadingRoom/TriageFolder", "")


@pytest.fixture
def ui(widget, tmp_path):
    """The section, opened, with a list that names no image that is there."""
    (tmp_path / "list.json").write_text(json.dumps({"training": [
        {"image": "none.nrrd", "label": "red", "patient": 1}]}))
    ui = widget.training.ui
    ui.trainingCollapsibleButton.collapsed = False
    ui.trainingDataPathLineEdit.currentPath = ""
    ui.trainingFolderPathLineEdit.currentPath = ""
    return ui


def choose(ui, tmp_path, name="ours"):
    ui.trainingDataPathLineEdit.currentPath = str(tmp_path / "list.json")
    ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    ui.trainingNameLineEdit.text = name


def test_start_is_grey_and_says_why(widget, ui, tmp_path):
    button = ui.startTrainingButton
    assert not button.enabled and "file that lists the images" in button.toolTip
    ui.trainingDataPathLineEdit.currentPath = str(tmp_path / "list.json")
    assert not button.enabled and "folder for the result" in button.toolTip
    ui.trainingFolderPathLineEdit.currentPath = str(tmp_path)
    ui.trainingNameLineEdit.text = "two words"
    assert not button.enabled and "letters, digits and hyphens" in button.toolTip
    ui.trainingNameLineEdit.text = "starter"
    assert not button.enabled and "model of this name" in button.toolTip
    ui.trainingNameLineEdit.text = "list.json"
    assert not button.enabled and "something of this name" in button.toolTip
    ui.trainingNameLineEdit.text = "ours"
    assert button.enabled and "Train a model" in button.toolTip


def test_the_section_is_made_when_it_is_opened(widget):
    lazy = widget._trainingSection
    assert lazy.isMade is lazy.title.isHidden()
    lazy.title.collapsed = False
    assert lazy.isMade and lazy.title.isHidden()
    assert not widget.training.ui.trainingCollapsibleButton.collapsed


def test_only_single_images_can_be_split_in_two_ways(widget, ui):
    training = widget.training
    assert training.recipe == "modern" and training.splitComboBox.isHidden()
    assert training.options() == {"recipe": "modern"}
    training.recipeComboBox.currentIndex = training.recipeComboBox.findData("seed")
    assert not training.splitComboBox.isHidden()
    assert training.options() == {"recipe": "seed", "split": "patient", "compare-splits": None}
    training.splitComboBox.currentIndex = 1
    assert training.options()["split"] == "image"
    assert "leaks" in training.splitComboBox.currentText
    training.splitComboBox.currentIndex = 2
    assert training.options() == {"recipe": "seed", "split": "patient", "compare-splits": True}


def test_training_is_seen_stopped_goes_on_and_ends_in_a_model(widget, ui, tmp_path):
    import slicer

    choose(ui, tmp_path)
    ui.startTrainingButton.click()
    assert not ui.startTrainingButton.enabled and not ui.cancelTrainingButton.isHidden()
    process_events(lambda: not widget.training.runner.running)
    assert "none.nrrd (item 1 of training) cannot be found" in ui.trainingMessageLabel.text
    assert ui.startTrainingButton.enabled and ui.trainingCurvesWidget.isHidden()

    (tmp_path / "list.json").write_text(json.dumps({"training": write_heads(tmp_path)}))
    ui.trainingStepsSpinBox.value = 400
    ui.startTrainingButton.click()
    widget.training._timer.setInterval(50)
    process_events(lambda: not ui.trainingCurvesWidget.isHidden())
    ui.cancelTrainingButton.click()
    assert "Start goes on where it was" in ui.trainingMessageLabel.text
    assert "Go on" in ui.startTrainingButton.toolTip and ui.startTrainingButton.enabled
    assert widget.ui.applyButton.toolTip != "The computation is running."

    ui.startTrainingButton.click()
    process_events(lambda: not widget.training.runner.running)
    assert "four tags right" in ui.trainingMessageLabel.text, ui.trainingMessageLabel.text
    assert "ours can now be chosen" in ui.trainingMessageLabel.text
    menu = widget.ui.modelComboBox
    assert [menu.itemText(index) for index in range(menu.count)] == ["starter", "ours"]
    assert "model of this name" in ui.startTrainingButton.toolTip

    # the curves are in the scene, and drawn when they are asked for
    chart = slicer.util.getNode("HeadCTTriage training")
    series = [slicer.mrmlScene.GetNodeByID(chart.GetNthPlotSeriesNodeID(index))
              for index in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [node.GetYColumnName() for node in series] == [
        "accuracy", "validation_accuracy", "loss", "validation_loss"]
    table = series[0].GetTableNode()
    assert table.GetNumberOfRows() == 40 and series[1].GetTableNode() is table
    ui.showCurvesButton.click()
    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    assert layout.GetViewArrangement() in (  # the one with a plot that is most like the last
        layout.SlicerLayoutConventionalPlotView, layout.SlicerLayoutFourUpPlotView)
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()


def test_curves_come_back_after_the_scene_was_closed(slicer_scene):
    import slicer

    from ReadingRoomSlicerLib.plots import CurvePlot

    plot = CurvePlot("Curves")
    plot.update({"step": [1, 2], "loss": [0.5, 0.4]})
    first = plot.chart
    plot.update({"step": [1, 2, 3], "loss": [0.5, 0.4, 0.3]})
    assert plot.chart is first and plot.table.GetNumberOfRows() == 3
    assert first.GetNumberOfPlotSeriesNodes() == 1
    plot.update({"step": [1], "accuracy": [0.5], "loss": [0.5]})
    shown = [slicer.mrmlScene.GetNodeByID(first.GetNthPlotSeriesNodeID(index)).GetYColumnName()
             for index in range(first.GetNumberOfPlotSeriesNodes())]
    assert shown == ["accuracy", "loss"]  # in the order of the table
    slicer.mrmlScene.Clear()
    plot.update({"step": [1], "loss": [0.5]})
    assert not plot.isInScene
    plot.show()
    assert plot.isInScene and plot.table.GetNumberOfRows() == 1
    plot.chart.SetName("kept")
    plot.forget()
    plot.update({"step": [1, 2], "loss": [0.9, 0.8]})
    assert plot.chart.GetName().startswith("Curves") and slicer.util.getNode("kept")
    again = plot.chart
    plot.forget()
    plot.update({"step": [1], "loss": [0.7]})
    assert plot.chart is again
