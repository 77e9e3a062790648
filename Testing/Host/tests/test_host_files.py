# SPDX-License-Identifier: Apache-2.0
"""Files go into the scene and come out of it again unchanged."""

import http.server
import threading

import numpy as np
import pytest

# Oblique and left-handed: nothing may be lost of it.
ANGLE = np.deg2rad(20)
IJK_TO_RAS = np.array(
    [
        [-0.8 * np.cos(ANGLE), 0.0, 3.0 * np.sin(ANGLE), 12.5],
        [0.0, -0.9, 0.0, -30.0],
        [0.8 * np.sin(ANGLE), 0.0, 3.0 * np.cos(ANGLE), 700.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@pytest.fixture
def volume(slicer_scene):
    import slicer

    array = np.random.default_rng(1).integers(-1000, 2000, (4, 6, 8)).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(array, IJK_TO_RAS, "CT")
    volume.CreateDefaultDisplayNodes()
    return volume


@pytest.fixture
def segmentation(volume, slicer_scene):
    import slicer

    node = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Seg")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for number, name in enumerate(("femur", "sacrum")):
        node.GetSegmentation().AddEmptySegment(name, name.title(), (0.2, 0.4, number))
        mask = np.zeros((4, 6, 8), np.uint8)
        mask[1:3, 1:4, 1 + 3 * number : 3 + 3 * number] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
    return node


def geometry(node):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.nii.gz", "ct.mha", "mit Leerzeichen é.nrrd"])
def test_volume(volume, tmp_path, name):
    import slicer

    path = str(tmp_path / name)
    assert slicer.util.saveNode(volume, path)
    loaded = slicer.util.loadVolume(path)
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    assert np.allclose(geometry(loaded), IJK_TO_RAS, atol=1e-4)
    selected = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert selected.GetBackgroundVolumeID() == loaded.GetID()


def test_volume_properties(volume, tmp_path):
    import slicer

    path = str(tmp_path / "ct.nrrd")
    slicer.util.saveNode(volume, path)
    loaded = slicer.util.loadVolume(path, {"name": "Named", "show": False, "labelmap": True})
    assert loaded.GetName() == "Named" and loaded.IsA("vtkMRMLLabelMapVolumeNode")


def test_segmentation(segmentation, volume, tmp_path):
    import slicer

    path = str(tmp_path / "seg.seg.nrrd")
    assert slicer.util.saveNode(segmentation, path)
    loaded = slicer.util.loadSegmentation(path)
    assert loaded.GetSegmentation().GetSegmentIDs() == ("femur", "sacrum")
    assert loaded.GetSegmentation().GetSegment("sacrum").GetName() == "Sacrum"
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(loaded, "femur", volume)
    assert mask.sum() == 12 and mask[1, 1, 1] == 1


def test_table(slicer_scene, tmp_path):
    import slicer

    table = slicer_scene.AddNewNodeByClass("vtkMRMLTableNode", "Measurements")
    slicer.util.updateTableFromArray(table, (np.array([1.5, 2.5]), np.array([3, 4])), ["a", "b"])
    path = str(tmp_path / "m.csv")
    assert slicer.util.saveNode(table, path)
    loaded = slicer.util.loadTable(path)
    assert loaded.GetNumberOfColumns() == 2 and loaded.GetCellText(1, 0) == "2.5"


def test_text_model_markups_and_transform(slicer_scene, tmp_path):
    import slicer
    import vtk

    text = slicer_scene.AddNewNodeByClass("vtkMRMLTextNode", "Note")
    text.SetText("grün")
    assert slicer.util.saveNode(text, str(tmp_path / "note.txt"))
    assert slicer.util.loadText(str(tmp_path / "note.txt")).GetText() == "grün"

    sphere = vtk.vtkSphereSource()
    sphere.Update()
    model = slicer.modules.models.logic().AddModel(sphere.GetOutput())
    assert slicer.util.saveNode(model, str(tmp_path / "ball.vtp"))
    loaded = slicer.util.loadModel(str(tmp_path / "ball.vtp"))
    assert loaded.GetPolyData().GetNumberOfPoints() == model.GetPolyData().GetNumberOfPoints()

    points = slicer_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    points.AddControlPoint(1, 2, 3)
    assert slicer.util.saveNode(points, str(tmp_path / "points.mrk.json"))
    loaded = slicer.util.loadMarkups(str(tmp_path / "points.mrk.json"))
    assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(loaded), [[1, 2, 3]])

    transform = slicer_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Move")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1, 1, 2, 1.0])))
    assert slicer.util.saveNode(transform, str(tmp_path / "move.h5"))
    loaded = slicer.util.loadTransform(str(tmp_path / "move.h5"))
    assert slicer.util.arrayFromTransformMatrix(loaded)[2, 2] == pytest.approx(2)


@pytest.mark.parametrize("name", ["scene.mrb", "scene.mrml", "folder"])
def test_scene(segmentation, volume, slicer_scene, tmp_path, name):
    import slicer

    volume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileInferno.txt")
    values = slicer.util.arrayFromVolume(volume).copy()
    hierarchy = slicer_scene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    for node in (volume, segmentation):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    if name.endswith("mrml"):
        for node, file in ((volume, "ct.nrrd"), (segmentation, "seg.seg.nrrd")):
            assert slicer.util.saveNode(node, str(tmp_path / file))
    path = tmp_path / name
    assert slicer.util.saveScene(str(path))
    slicer_scene.Clear(False)
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    if name == "folder":
        path = next(path.rglob("*.mrml"))
    slicer.util.loadScene(str(path))
    loaded = slicer.util.getNode("CT")
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), values)
    assert np.allclose(geometry(loaded), IJK_TO_RAS, atol=1e-4)
    assert loaded.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeFileInferno.txt"
    ids = slicer.util.getNode("Seg").GetSegmentation().GetSegmentIDs()
    assert ids == ("femur", "sacrum")
    hierarchy = slicer_scene.GetSubjectHierarchyNode()
    for node in (loaded, slicer.util.getNode("Seg")):
        study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        assert hierarchy.GetItemName(study) == "Study"
    assert hierarchy.GetNumberOfItems() == 3


def test_views_stay_usable_after_closing_the_scene(slicer_scene):
    import slicer

    slicer_scene.Clear(False)
    orientations = [
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().GetOrientation()
        for name in slicer.app.layoutManager().sliceViewNames()
    ]
    assert orientations == ["Axial", "Coronal", "Sagittal"]


def test_export_leaves_the_scene_as_it_is(volume, slicer_scene, tmp_path):
    import slicer

    before = slicer_scene.GetNumberOfNodes()
    slicer.util.exportNode(volume, str(tmp_path / "ct.nii.gz"))
    assert (tmp_path / "ct.nii.gz").stat().st_size > 0
    assert slicer_scene.GetNumberOfNodes() == before and volume.GetStorageNode() is None


def test_missing_and_broken_files_are_errors(slicer_scene, tmp_path):
    import slicer

    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadVolume(str(tmp_path / "nosuch.nrrd"))
    broken = tmp_path / "broken.nrrd"
    broken.write_bytes(b"NRRD0004\ntype: short\n")
    with pytest.raises(RuntimeError):
        slicer.util.loadVolume(str(broken))
    with pytest.raises(RuntimeError, match="No reader"):
        slicer.util.loadNodeFromFile(str(broken), "NoSuchFile")
    with pytest.raises(slicer.util.MRMLNodeNotFoundException):
        slicer.util.getNode("nosuch")


def test_subject_hierarchy_and_terminology(segmentation, volume, slicer_scene):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer_scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume)) == study
    assert hierarchy.GetItemOwnerPluginName(hierarchy.GetItemByDataNode(segmentation)) == (
        "Segmentations"
    )
    slicer_scene.RemoveNode(segmentation)
    assert hierarchy.GetNumberOfItems() == 2
    names = slicer.modules.terminologies.logic()
    assert names.IsTerminologyContextLoaded(
        "Segmentation category and type - 3D Slicer General Anatomy list"
    )


# Sample data


@pytest.fixture
def sample(volume, slicer_scene, tmp_path):
    import slicer

    path = tmp_path / "sample.nrrd"
    slicer.util.saveNode(volume, str(path))
    yield path, "SHA256:" + slicer.util.computeChecksum("SHA256", str(path))
    for name in ("sampleDataSources", "sampleDataSourceCategories"):
        vars(slicer.modules).pop(name, None)


def register(uri, checksum, name="ToyCT"):
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MuscleSeg",
        sampleName=name,
        uris=uri,
        fileNames=f"{name}.nrrd",
        checksums=checksum,
        nodeNames=name,
        loadFileType="VolumeFile",
    )


def test_sample_is_loaded_from_a_file(sample):
    import SampleData

    path, checksum = sample
    for _ in range(2):
        register(path.as_uri(), checksum)
    assert len(SampleData.SampleDataLogic.sampleDataSourcesByCategory("MuscleSeg")) == 1
    node = SampleData.downloadSample("ToyCT")
    assert (node.GetName(), node.GetStorageNode()) == ("ToyCT", None)
    assert np.allclose(geometry(node), IJK_TO_RAS, atol=1e-4)


def test_sample_with_a_wrong_checksum_is_not_loaded(sample, slicer_scene):
    import SampleData

    path, _ = sample
    register(path.as_uri(), "SHA256:" + "0" * 64, "Wrong")
    with pytest.raises(IndexError):
        SampleData.downloadSample("Wrong")
    assert not slicer_scene.GetFirstNodeByName("Wrong")


def test_sample_is_loaded_from_a_server_once(sample):
    import SampleData

    path, checksum = sample
    served = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(path.parent))

        def log_message(self, *arguments):
            served.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        register(f"http://127.0.0.1:{server.server_port}/sample.nrrd", checksum, "Served")
        for _ in range(2):
            assert SampleData.downloadSample("Served").IsA("vtkMRMLScalarVolumeNode")
        server.shutdown()
    assert served == ["/sample.nrrd"]


def test_custom_downloader_is_kept(slicer_scene):
    import SampleData
    import slicer

    def fetch(source):
        return source.sampleName

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        sampleName="Own", uris="file:///nosuch", customDownloader=fetch
    )
    source = SampleData.SampleDataLogic().sourceForSampleName("Own")
    assert source.customDownloader(source) == "Own"
    vars(slicer.modules).pop("sampleDataSources")


# Python packages


def test_requirements_file(slicer_scene, tmp_path):
    import slicer

    path = tmp_path / "requirements.txt"
    path.write_text("# first\nnumpy>=1.20  # the arrays\n\n--index-url x\nnosuchpackage==1\n")
    requirements = slicer.packaging.load_requirements(path)
    assert [str(requirement) for requirement in requirements] == [
        "numpy>=1.20",
        "nosuchpackage==1",
    ]
    assert slicer.packaging.pip_check(requirements[0])
    assert not slicer.packaging.pip_check(requirements)


@pytest.mark.parametrize(
    ("requirement", "satisfied"),
    [
        ("numpy", True),
        ("numpy<1", False),
        ("numpy pytest", True),
        ("nosuchpackage; python_version < '3'", True),
        ("nosuchpackage", False),
        ("hypothesis[nosuchextra]", True),
    ],
)
def test_pip_check(slicer_scene, requirement, satisfied):
    import slicer

    assert slicer.packaging.pip_check(requirement) is satisfied


def test_pip_ensure_installs_nothing_in_testing_mode(slicer_scene):
    import slicer

    assert slicer.packaging.pip_ensure("numpy") is None
    assert slicer.packaging.pip_ensure("nosuchpackage") is None


def test_pip_is_that_of_this_interpreter(slicer_scene):
    import slicer

    lines = []
    slicer.packaging.pip_install(
        ["--dry-run", "--disable-pip-version-check", "pytest"], logCallback=lines.append
    )
    assert any("already satisfied: pytest" in line for line in lines)
    assert not slicer.packaging.isPipInstallInProgress()


def test_pip_ensure_gives_pip_what_is_missing(slicer_scene, monkeypatch, tmp_path):
    import slicer

    calls = []
    monkeypatch.setattr(
        slicer.util, "executePythonModule", lambda module, args, *rest: calls.append((module, args))
    )
    slicer.packaging.pip_ensure(
        ["numpy", "nosuchpackage>=2"],
        constraints=tmp_path / "constraints.txt",
        prompt_install=False,
        skip_in_testing=False,
        requester="MuscleSeg",
    )
    constraints = str(tmp_path / "constraints.txt")
    assert calls == [("pip", ["install", "nosuchpackage>=2", "-c", constraints])]
