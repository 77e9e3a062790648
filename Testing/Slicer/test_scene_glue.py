# SPDX-License-Identifier: Apache-2.0
"""Volumes, segmentations and tables between the scene and files: nothing moves, nothing is lost."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(degrees, axis):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(4)
    i, j = [k for k in range(3) if k != axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


GRIDS = {
    "standard": np.diag([-0.8, -0.9, 2.5, 1.0]),
    "flipped": np.diag([0.8, 0.9, -2.5, 1.0]),
    "oblique": rotation(20, 0) @ rotation(35, 2) @ np.diag([-0.8, -0.9, 2.5, 1.0]),
    "sagittal": np.array([[0, 0, 3.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]]),
}


@pytest.fixture(params=GRIDS)
def volume(request, slicer_scene):
    """A small volume with a number for each voxel, on a grid that lies anywhere."""
    import slicer

    ijk_to_ras = GRIDS[request.param].copy()
    ijk_to_ras[:3, 3] = (12.5, -30, 44)
    voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    return slicer.util.addVolumeFromArray(voxels, ijk_to_ras, "CT")


def hierarchy_item(node):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy, item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def ijk_to_ras(node):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def matrix_of_image(image):
    """Index to RAS matrix of a SimpleITK image."""
    direction = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = direction, image.GetOrigin()
    return LPS_TO_RAS @ matrix


def linear_transform(matrix):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def test_written_volume_lies_where_the_node_lies(volume, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import volumes

    path = tmp_path / "股 ct.nrrd"
    volumes.writeVolume(volume, str(path))
    image = sitk.ReadImage(str(path))
    assert np.allclose(matrix_of_image(image), ijk_to_ras(volume), atol=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(image), slicer.util.arrayFromVolume(volume))
    assert volume.GetStorageNode() is None  # the node does not think that this is its file


def test_read_volume_lies_where_the_file_says(volume, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import volumes

    path = str(tmp_path / "ct.nrrd")
    volumes.writeVolume(volume, path)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Read")
    volumes.readVolume(node, path)
    assert np.allclose(ijk_to_ras(node), ijk_to_ras(volume), atol=1e-6)
    assert np.array_equal(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(volume))
    assert node.GetName() == "Read" and node.GetStorageNode() is None


def test_missing_volume_is_said(slicer_scene, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import volumes

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(RuntimeError, match="nothing.nrrd"):
        volumes.readVolume(node, str(tmp_path / "nothing.nrrd"))


def test_transform_stays_out_of_the_file_and_over_the_result(volume, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import volumes

    transform = linear_transform(rotation(90, 2))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    path = str(tmp_path / "ct.nrrd")
    volumes.writeVolume(volume, path)
    assert np.allclose(matrix_of_image(sitk.ReadImage(path)), ijk_to_ras(volume), atol=1e-6)
    result = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Result")
    volumes.readVolume(result, path)
    volumes.placeWith(result, volume)
    before, after = [0.0] * 6, [0.0] * 6
    volume.GetRASBounds(before)
    result.GetRASBounds(after)
    assert np.allclose(before, after) and result.GetParentTransformNode() == transform


def test_result_is_in_the_study_of_its_image(volume):
    import slicer

    from ReadingRoomSlicerLib import volumes

    hierarchy, item = hierarchy_item(volume)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemParent(item, study)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Measurements")
    volumes.placeWith(table, volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table)) == study


def test_modality_of_a_dicom_series(volume):
    from ReadingRoomSlicerLib import volumes

    assert volumes.modality(volume) == ""
    hierarchy, item = hierarchy_item(volume)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert volumes.modality(volume) == "MR"


def test_uncertainty_is_transparent_below_a_threshold_and_has_its_own_colours(volume):
    import slicer

    from ReadingRoomSlicerLib import volumes

    volumes.showAsUncertainty(volume, 0.15, 1.0)
    display = volume.GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.15)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    colors = display.GetColorNode()
    assert colors.GetName() == "Uncertainty" and colors.GetNumberOfColors() == 256
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volumes.showAsUncertainty(other, 0.15, 1.0)
    assert other.GetDisplayNode().GetColorNode() == colors  # one table for all


@pytest.fixture
def segmentation(volume, tmp_path):
    """A segmentation read from a file: two blocks left and right, and one curved structure."""
    import slicer

    from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd
    from ReadingRoomSlicerLib import segmentations, volumes

    volumes.writeVolume(volume, str(tmp_path / "ct.nrrd"))
    ct = sitk.ReadImage(str(tmp_path / "ct.nrrd"))
    voxels = np.zeros((4, 5, 6), np.uint8)
    voxels[1:3, 1:4, 0] = voxels[1:3, 1:4, 5] = 1  # a pair: nothing in the middle
    voxels[3, 4, 2:4] = 102
    labels = sitk.GetImageFromArray(voxels)
    labels.CopyInformation(ct)
    write_seg_nrrd(tmp_path / "s.seg.nrrd", labels, [
        SegmentDescription(1, "pelvis", "Pelvis", (241, 214, 145), "a~b~c~d~e~f~g"),
        SegmentDescription(102, "femur_left", "Femur, left", (255, 238, 170)),
    ])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Seg")
    segmentations.readSegmentation(node, str(tmp_path / "s.seg.nrrd"), volume)
    return node, voxels


def test_segments_keep_identity_names_colours_and_grid(segmentation, volume):
    import slicer

    node, voxels = segmentation
    content = node.GetSegmentation()
    assert list(content.GetSegmentIDs()) == ["pelvis", "femur_left"]
    pelvis = content.GetSegment("pelvis")
    assert pelvis.GetName() == "Pelvis"
    assert np.allclose(pelvis.GetColor(), np.array((241, 214, 145)) / 255, atol=0.003)
    assert content.GetSegment("femur_left").GetName() == "Femur, left"
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) == volume
    assert node.GetStorageNode() is None
    read = slicer.util.arrayFromSegmentBinaryLabelmap(node, "pelvis", volume)
    assert np.array_equal(read > 0, voxels == 1)


def test_point_is_inside_the_structure_even_of_a_pair_and_under_a_transform(segmentation, volume):
    from ReadingRoomSlicerLib import segmentations, volumes

    node, voxels = segmentation
    transform = rotation(30, 1)
    transform[:3, 3] = (5, 6, 7)
    volume.SetAndObserveTransformNodeID(linear_transform(transform).GetID())
    volumes.placeWith(node, volume)
    for segment, value in (("pelvis", 1), ("femur_left", 102)):
        point = np.append(segmentations.pointInside(node, segment), 1.0)
        index = np.linalg.inv(transform @ ijk_to_ras(volume)) @ point
        i, j, k = np.round(index[:3]).astype(int)
        assert np.allclose(index[:3], (i, j, k), atol=1e-3)
        assert voxels[k, j, i] == value


def test_no_point_in_what_is_not_there(segmentation):
    from ReadingRoomSlicerLib import segmentations

    assert segmentations.pointInside(segmentation[0], "spleen") is None


def test_segmentation_survives_a_file(segmentation, tmp_path):
    from ReadingRoomLib.segmentation_files import read_seg_nrrd
    from ReadingRoomSlicerLib import segmentations

    path = tmp_path / "out.seg.nrrd"
    segmentations.writeSegmentation(segmentation[0], str(path))
    _, segments = read_seg_nrrd(path)
    assert [(s.identifier, s.name) for s in segments] == [
        ("pelvis", "Pelvis"), ("femur_left", "Femur, left")]
    assert segmentation[0].GetStorageNode() is None


def test_table_columns(slicer_scene, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import tables

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Measurements")
    columns = {"Structure": ["Femur, left", "Sacrum"], "Volume (mL)": [1.5, 2.0]}
    tables.setColumns(node, {"Old": [1.0]})
    tables.setColumns(node, columns)
    assert tables.columns(node) == columns
    path = tmp_path / "m.csv"
    tables.writeRows([{"structure": "femur, left", "ml": 1.5}, {"structure": "å", "ml": 2}], path)
    assert tables.readRows(str(path)) == [
        {"structure": "femur, left", "ml": "1.5"}, {"structure": "å", "ml": "2"}]


def test_labels_of_segments_lie_on_the_grid_of_the_image(slicer_scene, tmp_path):
    import SimpleITK as sitk
    import slicer

    from ReadingRoomSlicerLib import segmentations

    matrix = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])
    volume = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), matrix, "CT")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    expected = np.zeros((4, 5, 6), np.uint8)
    for number, name in enumerate(("femur", "pelvis_left", "mine")):
        mask = np.zeros((4, 5, 6), np.uint8)
        mask[number, 1:4, 2 : 4 + number] = 1
        node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
        expected[mask > 0] = (2, 101, 0)[number]
    # under a transform both move together
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(
        np.array([[1, 0, 0, 40], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])))
    for moved in (volume, node):
        moved.SetAndObserveTransformNodeID(transform.GetID())
    path = tmp_path / "labels.nrrd"
    before = slicer.mrmlScene.GetNumberOfNodes()
    segmentations.writeLabels(node, {"femur": 2, "pelvis_left": 101}, volume, str(path))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    written = sitk.ReadImage(str(path))
    assert (sitk.GetArrayFromImage(written) == expected).all()
    lps = np.diag([-1, -1, 1]) @ matrix[:3, :3] / [1.5, 2, 3]
    assert np.allclose(np.reshape(written.GetDirection(), (3, 3)), lps)
    assert np.allclose(written.GetSpacing(), (1.5, 2, 3))
    assert np.allclose(written.GetOrigin(), (-5, 7, 11))


def test_a_result_node_is_used_again_unless_it_was_renamed_or_removed(slicer_scene):
    import slicer

    from ReadingRoomSlicerLib import results

    first = results.nodeFor("vtkMRMLTextNode", "CT result")
    assert results.nodeFor("vtkMRMLTextNode", "CT result", first) == first
    other = results.nodeFor("vtkMRMLTextNode", "CT result")
    assert other != first and other.GetName() != first.GetName()
    first.SetName("mine")
    assert results.nodeFor("vtkMRMLTextNode", "CT result", first) != first
    slicer.mrmlScene.RemoveNode(other)
    assert results.nodeFor("vtkMRMLTextNode", "CT result", other).GetScene()
