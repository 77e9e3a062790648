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


def test_labels_become_segments_on_the_grid_of_the_image(volume, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import segmentations, volumes

    volumes.writeVolume(volume, str(tmp_path / "ct.nrrd"))
    voxels = np.zeros((4, 5, 6), np.uint16)
    voxels[1, 2, 3:5], voxels[3, 1:3, 0] = 7, 300
    labels = sitk.GetImageFromArray(voxels)
    labels.CopyInformation(sitk.ReadImage(str(tmp_path / "ct.nrrd")))
    sitk.WriteImage(labels, str(tmp_path / "labels.nrrd"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    segments = {7: ("a", "First", (255, 0, 51)), 300: ("b", "Second", (0, 255, 0))}
    for _ in range(2):  # the second replaces the first
        segmentations.readLabels(node, str(tmp_path / "labels.nrrd"), segments, volume)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes + 1  # its display
    content = node.GetSegmentation()
    assert list(content.GetSegmentIDs()) == ["a", "b"]
    assert content.GetSegment("a").GetName() == "First"
    assert np.allclose(content.GetSegment("a").GetColor(), (1, 0, 0.2))
    for segment, value in (("a", 7), ("b", 300)):
        read = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
        assert np.array_equal(read > 0, voxels == value)
    point = np.linalg.inv(ijk_to_ras(volume)) @ np.append(segmentations.pointInside(node, "b"), 1)
    assert voxels[tuple(np.round(point[2::-1]).astype(int))] == 300


def test_some_segments_of_a_segmentation_can_be_written(segmentation, tmp_path):
    from ReadingRoomLib.segmentation_files import read_seg_nrrd
    from ReadingRoomSlicerLib import segmentations

    node, voxels = segmentation
    segmentations.writeSegmentation(node, str(tmp_path / "part.seg.nrrd"), ["femur_left"])
    image, segments = read_seg_nrrd(tmp_path / "part.seg.nrrd")
    assert [segment.name for segment in segments] == ["Femur, left"]
    assert np.array_equal(sitk.GetArrayFromImage(image) > 0, voxels == 102)
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_a_transform_is_written_and_read_as_itk_resamples(slicer_scene, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import transforms

    matrix = rotation(30, 2)
    matrix[:3, 3] = (5, 6, 7)
    node = linear_transform(matrix)
    path = str(tmp_path / "t.h5")
    transforms.writeTransform(node, path)
    # a file holds the way from the fixed to the moving image, the node how the moving one moves
    point = np.array([11.0, -3.0, 20.0, 1.0])
    back = LPS_TO_RAS @ np.linalg.inv(matrix) @ LPS_TO_RAS @ point
    assert np.allclose(sitk.ReadTransform(path).TransformPoint(point[:3]), back[:3])
    assert node.GetStorageNode() is None
    read = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transforms.readTransform(read, path)
    moved = matrix @ point
    assert np.allclose(read.GetTransformToParent().TransformPoint(*point[:3]), moved[:3])


def test_a_deformation_is_read_and_written_either_way_round(volume, tmp_path):
    import slicer

    from ReadingRoomSlicerLib import transforms

    field = sitk.Image([30, 30, 30], sitk.sitkVectorFloat64, 3)
    field.SetOrigin((-150.0, -150.0, -100.0))
    field.SetSpacing((10.0, 10.0, 10.0))
    index = np.indices((30, 30, 30)).astype(float)
    array = np.stack([3 * np.sin(index[0] / 5), 2 * np.cos(index[1] / 6), index[2] / 10], -1)
    values = sitk.GetImageFromArray(array, isVector=True)
    values.CopyInformation(field)
    motion = sitk.DisplacementFieldTransform(values)
    sitk.WriteTransform(motion, str(tmp_path / "field.h5"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transforms.readTransform(node, str(tmp_path / "field.h5"))
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    middle = np.array([(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2],
                                                              strict=True)])
    there = np.array(motion.TransformPoint(middle * (-1, -1, 1))) * (-1, -1, 1)
    # Slicer interpolates between displacements by cubics, ITK linearly
    assert np.allclose(node.GetTransformFromParent().TransformPoint(middle), there, atol=0.05)
    for name, point, expected in (("same.h5", middle, there), ("inverse.h5", there, middle)):
        transforms.writeTransform(node, str(tmp_path / name), volume)
        written = sitk.ReadTransform(str(tmp_path / name))
        found = np.array(written.TransformPoint(point * (-1, -1, 1))) * (-1, -1, 1)
        assert np.allclose(found, expected, atol=0.1)
        node.Inverse()  # of a deformation there is no file
    with pytest.raises(RuntimeError, match="nothing.h5"):
        transforms.readTransform(node, str(tmp_path / "nothing.h5"))


def test_pictures_show_the_voxels_where_they_are(volume):
    from ReadingRoomSlicerLib import pictures

    matrix, inside = ijk_to_ras(volume), np.array([3, 2, 1])
    point = (matrix @ np.append(inside, 1))[:3]
    value = np.arange(4 * 5 * 6).reshape(4, 5, 6)[1, 2, 3]
    for orientation in (pictures.AXIAL, pictures.CORONAL, pictures.SAGITTAL):
        plane = pictures.plane(volume, point, orientation, 0.3, 3, -1000)
        assert plane.shape == (3, 3) and plane[1, 1] == pytest.approx(value)
    far = pictures.plane(volume, point + 500, pictures.AXIAL, 10, 4, -1000)
    assert (far == -1000).all()


def test_pictures_are_seen_as_radiologists_do(slicer_scene):
    import slicer

    from ReadingRoomSlicerLib import pictures

    k, j, i = np.indices((9, 9, 9))
    for orientation, (right, up) in {
        # towards the patient's left (-R), posterior (-A), anterior (A), superior (S)
        pictures.AXIAL: (-i, j), pictures.CORONAL: (-i, k), pictures.SAGITTAL: (-j, k),
    }.items():
        for towards, gradient in ((lambda p: p[0, -1] > p[0, 0] and p[-1, -1] > p[-1, 0], right),
                                  (lambda p: p[0, 0] > p[-1, 0] and p[0, -1] > p[-1, -1], up)):
            volume = slicer.util.addVolumeFromArray(gradient.astype(np.int16), np.eye(4))
            assert towards(pictures.plane(volume, (4, 4, 4), orientation, 6, 5, 0))


def test_a_map_is_laid_over_a_picture_from_its_threshold_on(slicer_scene):
    import base64

    from ReadingRoomSlicerLib import colors, pictures

    picture = pictures.grey(np.array([[-50.0, 0.0, 25.0, 50.0, 99.0]]), 0, 50)
    assert picture[0].tolist() == [[0] * 3, [0] * 3, [128] * 3, [255] * 3, [255] * 3]
    values = np.array([[-9.0, -2.9, 0.0, 2.9, 9.0]])
    drawn = pictures.overlay(picture, values, colors.changeRamp(3), 3, opacity=1.0)
    assert (drawn[0, 1:4] == picture[0, 1:4]).all()
    assert drawn[0, 0, 0] > drawn[0, 0, 1] > drawn[0, 0, 2]  # orange
    assert drawn[0, 4, 1] > drawn[0, 4, 0] and drawn[0, 4, 1] > drawn[0, 4, 2]  # green
    address = pictures.asDataAddress(drawn)
    content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert content.startswith(b"\x89PNG")


def test_a_report_is_one_page_and_shows_text_as_it_is(slicer_scene):
    from ReadingRoomSlicerLib import reports

    page = reports.page("A < B", ["1 & 2"], [
        reports.Finding("<b>", "x", [("here", "data:image/png;base64,AAAA")])])
    assert "A &lt; B" in page and "1 &amp; 2" in page and "&lt;b&gt;" in page
    assert 'src="data:image/png;base64,AAAA"' in page and "http" not in page
    assert "not a medical device" in page


def test_date_of_the_study(volume):
    from ReadingRoomSlicerLib import volumes

    assert volumes.studyDate(volume) == ""
    hierarchy, item = hierarchy_item(volume)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(item, study)
    assert volumes.studyDate(volume) == ""
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", "20240301")
    assert volumes.studyDate(volume) == "20240301"
