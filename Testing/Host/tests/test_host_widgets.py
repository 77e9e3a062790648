# SPDX-License-Identifier: Apache-2.0
"""MRML widgets show the scene and change it as on the desktop."""

import numpy as np
import pytest


def add_volume(scene, name):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


@pytest.fixture
def combo_box(slicer_scene):
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    return box


def test_recorded_answers(combo_box, slicer_scene):
    volume = add_volume(slicer_scene, "V")
    combo_box.setMRMLScene(slicer_scene)
    assert combo_box.currentNode() is None
    assert combo_box.currentNodeID == ""
    assert combo_box.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    combo_box.setCurrentNode(volume)
    assert combo_box.currentNode().GetName() == "V"
    assert combo_box.currentNodeID == "vtkMRMLScalarVolumeNode1"
    assert combo_box.addNode().GetClassName() == "vtkMRMLScalarVolumeNode"
    assert combo_box.nodeCount() == 2


def test_disabled_without_a_scene(combo_box, slicer_scene):
    assert combo_box.enabled is False
    combo_box.setMRMLScene(slicer_scene)
    assert combo_box.enabled is True
    assert combo_box.mrmlScene() is slicer_scene


def test_signals(combo_box, slicer_scene):
    combo_box.setMRMLScene(slicer_scene)
    nodes, flags, ids = [], [], []
    assert combo_box.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    assert combo_box.connect("currentNodeChanged(bool)", flags.append)
    assert combo_box.connect("currentNodeIDChanged(QString)", ids.append)
    volume = add_volume(slicer_scene, "V")
    combo_box.setCurrentNode(volume)
    combo_box.setCurrentNode(volume)
    combo_box.setCurrentNode(None)
    assert nodes == [volume, None]
    assert flags == [True, False]
    assert ids == [volume.GetID(), ""]


def test_only_nodes_that_fit_are_listed(combo_box, slicer_scene):
    combo_box.setMRMLScene(slicer_scene)
    hidden = add_volume(slicer_scene, "Hidden")
    hidden.SetHideFromEditors(1)
    slicer_scene.AddNewNodeByClass("vtkMRMLModelNode", "Model")
    slicer_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    assert combo_box.nodeCount() == 1
    combo_box.showChildNodeTypes = False
    assert combo_box.nodeCount() == 0
    combo_box.showHidden = True
    assert combo_box.nodeCount() == 1
    combo_box.addAttribute("vtkMRMLScalarVolumeNode", "Map", "1")
    assert combo_box.nodeCount() == 0
    hidden.SetAttribute("Map", "1")
    combo_box.removeAttribute("vtkMRMLScalarVolumeNode", "nosuch")
    assert combo_box.nodeCount() == 1
    assert combo_box.addNode().GetAttribute("Map") == "1"


def test_none_item_and_removed_nodes(combo_box, slicer_scene):
    combo_box.noneEnabled = True
    combo_box.setMRMLScene(slicer_scene)
    first, second = add_volume(slicer_scene, "A"), add_volume(slicer_scene, "B")
    assert combo_box.currentNode() is None
    combo_box.setCurrentNode(first)
    slicer_scene.RemoveNode(first)
    assert combo_box.currentNode() is second
    slicer_scene.RemoveNode(second)
    assert combo_box.currentNode() is None


def test_first_node_of_a_plain_list_is_chosen(combo_box, slicer_scene):
    combo_box.addEnabled = combo_box.removeEnabled = False
    combo_box.setMRMLScene(slicer_scene)
    volume = add_volume(slicer_scene, "A")
    assert combo_box.currentNode() is volume
    add_volume(slicer_scene, "B")
    assert combo_box.currentNode() is volume
    slicer_scene.Clear(False)
    assert combo_box.currentNode() is None


def test_node_chosen_before_the_scene(combo_box, slicer_scene):
    volume = add_volume(slicer_scene, "A")
    combo_box.setCurrentNode(volume)
    combo_box.setMRMLScene(slicer_scene)
    assert combo_box.currentNode() is volume


def test_new_name_is_shown(combo_box, slicer_scene):
    import qt

    combo_box.setMRMLScene(slicer_scene)
    volume = add_volume(slicer_scene, "A")
    combo_box.setCurrentNode(volume)
    volume.SetName("Renamed")
    assert combo_box.findChild(qt.QComboBox).currentText == "Renamed"


def test_items_that_make_and_delete_nodes(combo_box, slicer_scene):
    import qt

    combo_box.setMRMLScene(slicer_scene)
    inner = combo_box.findChild(qt.QComboBox)
    create = inner.findText("Create new Volume")
    inner.setCurrentIndex(create)
    inner.activated.emit(create)
    made = combo_box.currentNode()
    assert made is not None
    inner.activated.emit(inner.findText("Delete current Volume"))
    assert made.GetScene() is None and combo_box.nodeCount() == 0


def test_deleted_widget_is_forgotten(slicer_scene):
    import qt
    import slicer

    parent = qt.QWidget()
    box = slicer.qMRMLNodeComboBox(parent)
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(slicer_scene)
    parent.deleteLater()
    qt.QCoreApplication.sendPostedEvents(None, 52)  # QEvent::DeferredDelete
    slicer.app.processEvents()
    add_volume(slicer_scene, "A")
    assert not box


@pytest.mark.parametrize("name", ["qMRMLNodeComboBox", "qMRMLSegmentsTableView", "qMRMLWidget"])
def test_names_that_the_desktop_lacks_fail(slicer_scene, name):
    import slicer

    widget = getattr(slicer, name)()
    with pytest.raises(AttributeError, match=f"{name} has no attribute named 'noSuchThing'"):
        _ = widget.noSuchThing
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects"):
        widget.noSuchThing = 1


@pytest.fixture
def segmentation(slicer_scene):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((4, 6, 8), np.int16), name="CT")
    node = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Seg")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("femur", "sacrum"):
        node.GetSegmentation().AddEmptySegment(name, name.title(), (1, 0, 0))
        mask = np.zeros((4, 6, 8), np.uint8)
        mask[1:3, 2:5, 3:7] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
    return node


def test_segments_table(segmentation):
    import qt
    import slicer

    table = slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(segmentation)
    assert (table.segmentCount, table.segmentIDForRow(1)) == (2, "sacrum")
    selections = []
    table.connect(
        "selectionChanged(QItemSelection,QItemSelection)", lambda *_: selections.append(1)
    )
    table.setSelectedSegmentIDs(["sacrum"])
    assert table.selectedSegmentIDs() == ("sacrum",) and selections
    table.showOnlySelectedSegments()
    display = segmentation.GetDisplayNode()
    assert not display.GetSegmentVisibility("femur") and display.GetSegmentVisibility("sacrum")
    segmentation.GetSegmentation().RemoveSegment("femur")
    assert table.displayedSegmentIDs() == ("sacrum",)
    table.textFilter = "nothing"
    assert table.segmentCount == 0
    table.textFilter = ""
    table.hideSegments(["sacrum"])
    assert table.segmentCount == 0
    assert isinstance(table.tableWidget(), qt.QTableWidget)


def test_segments_table_jumps(segmentation):
    import slicer

    table = slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(segmentation)
    table.setSelectedSegmentIDs(["femur"])
    table.jumpSlices()
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert red.GetSliceOffset() == pytest.approx(1.5, abs=0.6)


def test_show_3d_button(segmentation):
    import slicer

    button = slicer.qMRMLSegmentationShow3DButton()
    assert button.enabled is False
    button.setSegmentationNode(segmentation)
    assert button.enabled is True and button.checked is False
    button.click()
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.click()
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_table_view(slicer_scene):
    import slicer

    node = slicer_scene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(node, (np.array([1.5, 2.0]), np.array([3, 4])), ["a", "b"])
    node.SetColumnUnitLabel("a", "mL")
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    model = view.tableModel()
    assert (model.rowCount(), model.columnCount()) == (2, 2)
    assert model.item(0, 0).text() == "1.5"
    assert model.horizontalHeaderItem(0).text() == "a [mL]"
    node.AddEmptyRow()
    assert model.rowCount() == 3
    view.setMRMLTableNode(None)
    assert model.rowCount() == 0


def test_threshold(slicer_scene):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.arange(8.0).reshape(2, 2, 2))
    volume.CreateDefaultDisplayNodes()
    widget = slicer.qMRMLVolumeThresholdWidget()
    widget.setMRMLVolumeNode(volume)
    changes = []
    widget.connect("thresholdValuesChanged(double,double)", lambda *values: changes.append(values))
    widget.setThreshold(2, 5)
    assert (widget.lowerThreshold, widget.upperThreshold) == (2, 5) and changes[-1] == (2, 5)
    assert volume.GetDisplayNode().GetLowerThreshold() == 2
