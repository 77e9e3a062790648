# SPDX-License-Identifier: Apache-2.0
"""Pictures show what is in the scene, where it is, in its colours."""

import numpy as np
import pytest

SIZE = (200, 150)
RED, GREEN = (0.9, 0.1, 0.1), (0.1, 0.9, 0.1)


@pytest.fixture
def volume(slicer_pictures):
    """A box of 40 x 40 x 40 mm about the origin; brighter in its left half."""
    import slicer

    array = np.zeros((20, 20, 20), np.int16)
    array[:, :, :10] = 100  # i runs to the right of the patient below
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = -19
    matrix[0] *= -1
    volume = slicer.util.addVolumeFromArray(array, matrix, "Box")
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(200, 100)
    return volume


@pytest.fixture
def segmentation(volume, slicer_scene):
    import slicer

    node = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Seg")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("ball", "Ball", GREEN)
    k, j, i = np.mgrid[:20, :20, :20] - 9.5
    mask = (i**2 + j**2 + k**2 < 36).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "ball", volume)
    return node


def dominant(picture, channel):
    """Where one colour channel stands out."""
    others = np.delete(picture.astype(int), channel, axis=2).max(axis=2)
    return picture[..., channel].astype(int) > others + 40


def test_left_of_the_patient_is_on_the_right_of_the_picture(slicer_pictures, volume):
    import slicer

    slicer_pictures.show_slices(volume)
    for view in ("axial", "coronal"):
        picture = slicer_pictures.slice_picture(view, SIZE)
        assert picture.shape == (150, 200, 3) and picture.dtype == np.uint8
        left = picture[75, 60, 0], picture[75, 140, 0]
        values = slicer.util.arrayFromVolume(volume)
        # Array index i=0 lies at RAS x = +19 mm, the patient's right; it is the bright half.
        assert values[10, 10, 0] == 100
        assert left[0] > 100 > left[1], view


def test_centre_and_field_of_view(slicer_pictures, volume):
    slicer_pictures.show_slices(volume)
    picture = slicer_pictures.slice_picture("axial", SIZE, centre=(19, 19, 0), field_of_view=20)
    # Centred on a corner of the box: air is above and on the left, the box below on the right.
    assert picture[20, 20].max() == 0 and picture[130, 180].max() > 100


def test_foreground_has_its_colours_and_opacity(slicer_pictures, volume, slicer_scene):
    import slicer

    overlay = slicer.modules.volumes.logic().CloneVolume(slicer_scene, volume, "Overlay")
    overlay.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    slicer_pictures.show_slices(volume, overlay, opacity=0.0)
    without = slicer_pictures.slice_picture("axial", SIZE)
    assert not dominant(without, 0).any()
    slicer_pictures.show_slices(volume, overlay, opacity=0.9)
    assert dominant(slicer_pictures.slice_picture("axial", SIZE), 0).mean() > 0.1


def test_segments_are_filled_and_outlined(slicer_pictures, volume, segmentation):
    slicer_pictures.show_slices(volume)
    picture = slicer_pictures.slice_picture("axial", SIZE)
    filled = dominant(picture, 1)
    assert filled[75, 100] and not filled[75, 40]
    segmentation.GetDisplayNode().SetVisibility2DFill(False)
    outlined = dominant(slicer_pictures.slice_picture("axial", SIZE), 1)
    assert 0 < outlined.sum() < 0.3 * filled.sum() and not outlined[75, 100]


def test_surfaces_in_3d(slicer_pictures, segmentation):
    empty = slicer_pictures.three_d_picture(SIZE)
    assert not dominant(empty, 1).any()
    segmentation.CreateClosedSurfaceRepresentation()
    picture = slicer_pictures.three_d_picture(SIZE, box=False)
    shown = dominant(picture, 1)
    assert shown[75, 100] and not shown[5, 5]
    nearer = dominant(slicer_pictures.three_d_picture(SIZE, zoom=1.5), 1)
    assert nearer.sum() > 1.5 * shown.sum()


def test_views_look_away_while_a_scene_is_loaded(slicer_pictures, segmentation, slicer_scene,
                                                 tmp_path):
    import slicer

    # in a folder, and shown: what made a displayable manager ask for ever
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer_scene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(segmentation), subject)
    segmentation.CreateClosedSurfaceRepresentation()
    before = slicer_pictures.three_d_picture(SIZE)
    assert dominant(before, 1).sum() > 1000
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer_scene.Clear(False)
    assert not dominant(slicer_pictures.three_d_picture(SIZE), 1).any()

    drawing = slicer.app.layoutManager().threeDWidget(0)._drawing()
    followed = []
    tag = slicer_scene.AddObserver(
        slicer_scene.NodeAddedEvent,
        lambda *_: followed.append(drawing._managers.GetMRMLDisplayableNode()))
    slicer.util.loadScene(path)
    slicer_scene.RemoveObserver(tag)
    assert len(followed) > 5 and not any(followed)
    assert drawing._managers.GetMRMLDisplayableNode() is not None
    after = slicer_pictures.three_d_picture(SIZE)
    assert np.abs(after.astype(int) - before).mean() < 3


def test_transparent_surface_shows_what_is_behind(slicer_pictures, segmentation, slicer_scene):
    import slicer
    import vtk

    segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetDisplayNode().SetOpacity3D(0.3)
    inner = vtk.vtkSphereSource()
    inner.SetRadius(4)
    inner.Update()
    model = slicer.modules.models.logic().AddModel(inner.GetOutput())
    model.GetDisplayNode().SetColor(*RED)
    picture = slicer_pictures.three_d_picture(SIZE, box=False).astype(int)
    middle, rim = picture[75, 100], picture[75, 78]
    assert middle[0] > middle[1] and rim[1] > rim[0]


def test_volume_rendering(slicer_pictures, volume):
    without = slicer_pictures.three_d_picture((80, 60), box=False)
    display = slicer_pictures.show_volume_rendering(volume, "CT-Muscle")
    assert display.GetVolumePropertyNode().GetName().startswith("CT-Muscle")
    shown = slicer_pictures.three_d_picture((80, 60), box=False)
    assert (np.abs(shown.astype(int) - without).max(axis=2) > 10).mean() > 0.05
    slicer_pictures.show_volume_rendering(volume, "", visible=False)
    hidden = slicer_pictures.three_d_picture((80, 60), box=False)
    assert (np.abs(hidden.astype(int) - without).max(axis=2) > 10).mean() < 0.01
    with pytest.raises(ValueError, match="NoSuchPreset"):
        slicer_pictures.show_volume_rendering(volume, "NoSuchPreset")


def test_color_legend(slicer_pictures, volume):
    slicer_pictures.show_slices(volume)
    pictures = []
    for visible in (False, True, False):
        slicer_pictures.show_color_legend(volume, visible, "Uncertainty")
        pictures.append(slicer_pictures.slice_picture("sagittal", SIZE))
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])


def test_color_legend_from_before_the_first_picture(slicer_host):
    import subprocess
    import sys

    from slicerhost import libraries

    if libraries.picture_problem():
        pytest.skip(libraries.picture_problem())
    code = (
        "import numpy as np, slicerhost; slicerhost.start(); from slicerhost import views\n"
        "import slicer\n"
        "v = slicer.util.addVolumeFromArray(np.arange(27.0).reshape(3, 3, 3))\n"
        "v.CreateDefaultDisplayNodes()\n"
        "views.show_slices(v); legend = views.show_color_legend(v)\n"
        "first = views.slice_picture('axial', (200, 150)); legend.SetVisibility(False)\n"
        "print((first != views.slice_picture('axial', (200, 150))).any())\n"
        "slicerhost.stop()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True", "")


def test_layout(slicer_pictures, volume):
    import slicer

    slicer_pictures.show_slices(volume)
    four_up = slicer_pictures.layout_picture((400, 300))
    assert four_up.shape == (300, 400, 3)
    # The bars of the four views have the desktop's colours: red, blue, green, yellow.
    bars = four_up[4, 100], four_up[4, 300], four_up[155, 100], four_up[155, 300]
    assert [tuple(int(value) for value in bar) for bar in bars] == [
        (243, 74, 51), (116, 131, 233), (110, 176, 75), (237, 213, 76),
    ]  # fmt: skip
    manager = slicer.app.layoutManager()
    try:
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
        single = slicer_pictures.layout_picture((400, 300))
    finally:
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert tuple(single[4, 200]) == (243, 74, 51) and single[150, 150].max() > 0


def test_png(slicer_pictures, tmp_path):
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOImage import vtkPNGReader

    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    path = slicer_pictures.save_png(picture, tmp_path / "é x.png")
    reader = vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    values = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).reshape(5, 7, 3)
    assert np.array_equal(values[::-1], picture)


def test_utilities_that_reach_the_views(slicer_pictures, volume):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.util.resetSliceViews()
    slicer.util.resetThreeDViews()
    slicer.util.forceRenderAllViews()
    with slicer.util.RenderBlocker():
        pass
    widget = slicer.app.layoutManager().sliceWidget("Red")
    assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
    assert widget.sliceLogic().GetBackgroundLayer().GetVolumeNode() is volume
    assert slicer.app.layoutManager().sliceWidget("NoSuch") is None
    camera = slicer.app.layoutManager().threeDWidget(0).threeDView().cameraNode()
    assert camera.IsA("vtkMRMLCameraNode")
