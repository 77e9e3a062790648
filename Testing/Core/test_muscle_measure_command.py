# SPDX-License-Identifier: Apache-2.0
"""``python -m MuscleSegLib measure``: everything it writes, read back by others; and bad input."""

from __future__ import annotations

import csv
import itertools
import json
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.uid import generate_uid

from MuscleSegLib.__main__ import app
from MuscleSegLib.measure_command import Options, run
from MuscleSegLib.muscle_composition import measure_muscles
from MuscleSegLib.named_labels import labels_on, structure_of
from MuscleSegLib.structures import STRUCTURES, labels_of, structure_named
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .dicom_factory import write_series
from .muscle_body import (
    BOXES,
    MUSCLE,
    ORIGIN,
    SPACING,
    body,
    descriptions,
    image_of,
    value_of,
    write_pair,
)


def measure(ct, segmentation, output):
    """Run it in this process; the manifest and the rows of the table by structure and side."""
    with run_job(module="MuscleSeg", command="measure", output=output, progress="none") as job:
        run(job, Options(ct, segmentation), lambda line: None)
    with open(output / "muscles.csv", encoding="utf-8", newline="") as stream:
        rows = {(row["structure"], row["side"]): row for row in csv.DictReader(stream)}
    return read_result(output), rows


def measured(ct, segmentation):
    """What the command puts into its table, and its warnings, without writing anything."""
    warnings = []
    image = read_image(ct)
    return warnings, measure_muscles(image.image, labels_on(image, segmentation, warnings.append))


def write_dicom(folder, ct, **more):
    """The CT as a DICOM series on the very grid of :func:`image_of`."""
    def place(dataset, index):
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.FrameOfReferenceUID = frame
        more.get("edit", lambda *_: None)(dataset, index)

    frame = generate_uid()
    write_series(folder, ct, spacing=SPACING[2], origin=ORIGIN, edit=place)
    return folder


@pytest.fixture(scope="module")
def of_dicom(tmp_path_factory):
    """CT folder, segmentation, output, manifest and rows of a measured DICOM series."""
    folder = tmp_path_factory.mktemp("Müller 患者")
    ct, labels = body()
    series = write_dicom(folder / "ct", ct)
    write_seg_nrrd(folder / "muscles.seg.nrrd", image_of(labels), descriptions(labels))
    manifest, rows = measure(series, folder / "muscles.seg.nrrd", folder / "out")
    return series, folder / "muscles.seg.nrrd", folder / "out", manifest, rows


# --- what it writes -------------------------------------------------------------------------------

def test_the_command_line_measures(tmp_path, capfd):
    ct, segmentation = write_pair(tmp_path)
    code = app.run(["measure", str(ct), str(segmentation), "--output", str(tmp_path / "out"),
                    "--progress", "json"])
    out, _ = capfd.readouterr()
    last = json.loads(out.splitlines()[-1])
    assert (code, last["status"], last["command"]) == (0, "completed", "measure")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "muscles.csv", "asymmetry.png", "meshes", "result.json"}
    dicom = [warning for warning in last["warnings"] if "DICOM" in warning]
    assert dicom == ["ct.nrrd is not DICOM, so no DICOM objects were written."]


def test_the_manifest_names_files_ranges_inputs_and_units(of_dicom):
    *_, output, manifest, rows = of_dicom
    assert set(manifest["files"]) == {"muscles", "asymmetry", "segmentation", "report", "meshes"}
    assert manifest["hounsfield_ranges"] == {
        "fat": [-190, -30], "low_attenuation": [-29, 29], "normal_attenuation": [30, 150]}
    assert (manifest["surfaces"]["coordinates"], manifest["surfaces"]["unit"]) == ("LPS", "mm")
    assert all(len(each["sha256"]) == 64 for each in manifest["inputs"])
    assert len(manifest["structures"]) == len(rows) == len(BOXES)
    assert any("reach an end of the scan" in warning for warning in manifest["warnings"])
    assert "SECRET" not in json.dumps(manifest)
    meshes = set(manifest["surfaces"]["files"].values())
    assert meshes | {"README.txt"} == {path.name for path in (output / "meshes").iterdir()}
    assert "gluteus_maximus_left.stl" in meshes and "sacrum.stl" in meshes


def test_the_picture_shows_both_sides(of_dicom):
    with Image.open(of_dicom[2] / "asymmetry.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for color in ((0, 114, 178), (213, 94, 0)):
        assert (pixels == color).all(1).sum() > 500


@pytest.mark.parametrize(("missing", "name", "sentence"), [
    ("matplotlib", "asymmetry.png", "There is no picture of the sides: the Python package "
                                    "matplotlib is not installed."),
    ("skimage.measure", "meshes", "There are no meshes: the Python package scikit-image is not "
                                  "installed."),
])
def test_without_an_optional_package_the_rest_is_there(tmp_path, monkeypatch, missing, name,
                                                       sentence):
    pair = write_pair(tmp_path)
    def absent(*_):
        raise ModuleNotFoundError(name=missing)
    finder = type("Absent", (), {"find_spec": staticmethod(
        lambda full, *_: absent() if full == missing else None)})
    for module in [each for each in sys.modules if each.split(".")[0] == missing.split(".")[0]]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    manifest, rows = measure(*pair, tmp_path / "out")
    assert sentence in manifest["warnings"] and len(rows) == len(BOXES)
    assert not (tmp_path / "out" / name).exists()


# --- DICOM, read back -----------------------------------------------------------------------------

def contents(item, name):
    """The items of a structured report below one, by the meaning of their name."""
    return [each for each in item.get("ContentSequence", [])
            if each.get("ConceptNameCodeSequence", [{}])[0].get("CodeMeaning") == name]


def code_of(item):
    code = item[0]
    return code.CodeValue, code.CodingSchemeDesignator


def test_the_report_says_what_the_table_says(of_dicom):
    series, _, output, _, rows = of_dicom
    report = pydicom.dcmread(output / "measurements.dcm")
    segments = pydicom.dcmread(output / "segmentation.dcm")
    ct = pydicom.dcmread(next(iter(sorted(series.iterdir()))))
    assert report.PatientID == ct.PatientID and report.StudyInstanceUID == ct.StudyInstanceUID
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    [measured] = contents(report, "Imaging Measurements")
    groups = contents(measured, "Measurement Group")
    assert len(groups) == len(rows)
    numbers = set()
    for group in groups:
        name = contents(group, "Tracking Identifier")[0].TextValue
        structure, side = structure_of(name)
        row = rows[structure.name, side]
        [site] = contents(group, "Finding Site")
        assert code_of(site.ConceptCodeSequence) == (structure.code.value, "SCT")
        sides = [code_of(each.ConceptCodeSequence)[0] for each in contents(site, "Laterality")]
        assert sides == {"left": ["7771000"], "right": ["24028007"], "": []}[side]
        [segment] = contents(group, "Referenced Segment")
        reference = segment.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segments.SOPInstanceUID
        number = int(reference.ReferencedSegmentNumber)
        numbers.add(number)
        assert segments.SegmentSequence[number - 1].SegmentLabel == name
        found = {}
        for each in (item for item in group.ContentSequence if item.ValueType == "NUM"):
            value = each.MeasuredValueSequence[0]
            derivation = [code_of(d.ConceptCodeSequence)[0]
                          for d in contents(each, "Derivation")]
            inside = bool(contents(each, "Measurement Method"))
            key = (each.ConceptNameCodeSequence[0].CodeValue, *derivation, inside,
                   value.MeasurementUnitsCodeSequence[0].CodeValue)
            assert value.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"
            assert key not in found
            found[key] = float(value.NumericValue)
        expected = {
            ("118565006", False, "mL"): ("volume_ml", 1),
            ("112031", "373098007", False, "[hnsf'U]"): ("mean_hu", 1),
            ("112031", "386136009", False, "[hnsf'U]"): ("sd_hu", 1),
            ("FATFRACTION", False, "%"): ("fat_fraction", 100),
            ("FATFRACTION", True, "%"): ("fat_fraction_inside", 100),
            ("LOWATTENUATION", False, "%"): ("low_attenuation_fraction", 100),
            ("LOWATTENUATION", True, "%"): ("low_attenuation_fraction_inside", 100),
            ("AXIALAREA", "56851009", False, "cm2"): ("max_area_cm2", 1),
            ("VOLASYMMETRY", False, "%"): ("volume_asymmetry_percent", 1),
            ("HUASYMMETRY", False, "%"): ("hu_asymmetry_percent", 1),
            ("HUASYMMETRY", False, "[hnsf'U]"): ("hu_difference", 1),
        }
        expected = {key: float(row[field]) * factor for key, (field, factor) in expected.items()
                    if row[field]}
        assert found == pytest.approx(expected, abs=1e-3)
        flags = [each.ConceptCodeSequence[0].CodeValue for each in group.ContentSequence
                 if each.ValueType == "CODE" and
                 each.ConceptNameCodeSequence[0].CodeValue == "COMPLETENESS"]
        assert flags == (["CUTOFF"] if row["cut_off"] else [])
    assert numbers == set(range(1, len(rows) + 1))


def test_the_segmentation_lies_where_the_labels_lie(of_dicom):
    """Read by pydicom: places of pixels, sides in code; and by ITK: the same pixels."""
    series, _, output, _, rows = of_dicom
    _, labels = body()
    image = image_of(labels)
    segments = pydicom.dcmread(output / "segmentation.dcm")
    ct = {str(pydicom.dcmread(path).SOPInstanceUID) for path in series.iterdir()}
    frames = segments.pixel_array
    shared = segments.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [SPACING[1], SPACING[0]]
    found = {}
    for frame, about in zip(frames, segments.PerFrameFunctionalGroupsSequence, strict=True):
        number = about.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = [float(v) for v in about.PlanePositionSequence[0].ImagePositionPatient]
        index = image.TransformPhysicalPointToIndex(place)
        assert index[:2] == (0, 0)
        found.setdefault(number, np.zeros(labels.shape, bool))[index[2]] = frame
        source = about.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID in ct
    for segment in segments.SegmentSequence:
        structure, side = structure_of(segment.SegmentLabel)
        kind = segment.SegmentedPropertyTypeCodeSequence
        assert code_of(kind) == (structure.code.value, "SCT")
        modifiers = [each.CodeMeaning for each in
                     kind[0].get("SegmentedPropertyTypeModifierCodeSequence", [])]
        assert modifiers == ([side.capitalize()] if side else [])
        assert np.array_equal(found[segment.SegmentNumber],
                              labels == value_of(structure.name, side))
    read = sitk.ReadImage(str(output / "segmentation.dcm"), imageIO="GDCMImageIO")
    assert np.array_equal(sitk.GetArrayViewFromImage(read) > 0, frames > 0)
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(read)))
    total = sum(float(row["volume_ml"]) for row in rows.values())
    assert voxels * np.prod(SPACING) / 1000 == pytest.approx(total, abs=0.01)


def test_a_series_that_nothing_can_refer_to_still_gets_its_table(tmp_path):
    def edit(dataset, _):
        del dataset.StudyInstanceUID

    ct, labels = body()
    write_dicom(tmp_path / "ct", ct, edit=edit)
    write_seg_nrrd(tmp_path / "m.seg.nrrd", image_of(labels), descriptions(labels))
    manifest, rows = measure(tmp_path / "ct", tmp_path / "m.seg.nrrd", tmp_path / "out")
    assert any(w.startswith("No DICOM objects were written.") for w in manifest["warnings"])
    assert len(rows) == len(BOXES) and "report" not in manifest["files"]


# --- what it reads --------------------------------------------------------------------------------

def test_names_of_structures_are_understood():
    for item in itertools.chain(labels_of(True), labels_of(False)):
        for name in (item.name, item.display_name, item.name.upper()):
            assert structure_of(name) == (item.structure, item.side or "")
    assert structure_of("Left gluteus maximus") == (structure_named("gluteus_maximus"), "left")
    assert structure_of("sacrum left") == (structure_named("sacrum"), "")
    for name in ("liver", "left", "", "femur left right", "femurs", "tibia_left"):
        assert structure_of(name) is None


def test_all_names_are_apart():
    assert len({structure_of(s.name)[0] for s in STRUCTURES}) == len(STRUCTURES)


def test_a_segmentation_on_another_grid_in_the_same_frame(tmp_path):
    """Cropped as Slicer does it, its axes exchanged and turned: not one number changes."""
    ct, segmentation = write_pair(tmp_path)
    _, rows = measured(ct, segmentation)
    _, labels = body()
    part = sitk.Flip(sitk.PermuteAxes(image_of(labels)[4:, 6:, :], [2, 0, 1]), [True, False, True])
    write_seg_nrrd(tmp_path / "turned.seg.nrrd", part, descriptions(labels))
    assert measured(ct, tmp_path / "turned.seg.nrrd")[1] == rows


def test_labels_without_sides_get_them_as_segment_does(tmp_path):
    ct, segmentation = write_pair(tmp_path)
    _, labels = body()
    labels[labels > 100] -= 100
    names = [SegmentDescription(structure_named(name).value, name, name, (9, 9, 9))
             for name in dict.fromkeys(structure for structure, _ in BOXES)]
    write_seg_nrrd(tmp_path / "whole.seg.nrrd", image_of(labels), names)
    _, rows = measured(ct, segmentation)
    assert measured(ct, tmp_path / "whole.seg.nrrd")[1] == rows


def test_the_label_map_of_a_result_takes_its_names_from_the_manifest(tmp_path):
    ct, segmentation = write_pair(tmp_path)
    array, labels = body()
    names = {int(v): next(d.identifier for d in descriptions(labels) if d.value == v)
             for v in np.unique(labels) if v}
    with run_job(module="MuscleSeg", command="segment", output=tmp_path / "result",
                 progress="none") as job:
        sitk.WriteImage(image_of(labels), str(job.folder / "labels.nrrd"))
        job.record(files={"labels": "labels.nrrd"}, labels=names,
                   inputs=[{"name": "other.nrrd", "sha256": "0" * 64}])
    _, rows = measured(ct, segmentation)
    warnings, found = measured(ct, tmp_path / "result" / "labels.nrrd")
    assert found == rows
    assert any("was made from another file" in warning for warning in warnings)


def test_segments_of_others_are_left_out_with_a_warning(tmp_path):
    ct, segmentation = write_pair(tmp_path)
    _, labels = body()
    labels[0, 0, 0] = 200
    write_seg_nrrd(tmp_path / "more.seg.nrrd", image_of(labels),
                   [*descriptions(labels), SegmentDescription(200, "liver", "Liver", (1, 2, 3))])
    _, rows = measured(ct, segmentation)
    warnings, found = measured(ct, tmp_path / "more.seg.nrrd")
    assert found == rows
    assert any(warning.startswith("1 of 7 segments") for warning in warnings)


def test_a_part_outside_the_ct_is_said(tmp_path):
    ct, segmentation = write_pair(tmp_path)
    sitk.WriteImage(image_of(body()[0])[:, :, 8:], str(tmp_path / "upper.nrrd"))
    warnings, found = measured(tmp_path / "upper.nrrd", segmentation)
    assert any("lies within upper.nrrd" in warning for warning in warnings)
    assert [one.cut_off for one in found if one.structure == MUSCLE] == ["yes", "yes"]


def test_tilted_slices_are_said(tmp_path):
    turn = np.array([[1, 0, 0], [0, 0.9659258, -0.2588190], [0, 0.2588190, 0.9659258]])
    ct, labels = body()
    sitk.WriteImage(image_of(ct, turn), str(tmp_path / "ct.nrrd"))
    write_seg_nrrd(tmp_path / "m.seg.nrrd", image_of(labels, turn), descriptions(labels))
    manifest, rows = measure(tmp_path / "ct.nrrd", tmp_path / "m.seg.nrrd", tmp_path / "out")
    assert any("tilted by 15 degrees" in warning for warning in manifest["warnings"])
    assert len(rows) == len(BOXES)


# --- bad input ------------------------------------------------------------------------------------

def elsewhere(folder, ct, labels):
    image = image_of(labels)
    image.SetOrigin((500, 500, 500))
    write_seg_nrrd(folder / "muscles.seg.nrrd", image, descriptions(labels))


def other_frame(folder, ct, labels):
    image = image_of(labels)
    image.SetOrigin((ORIGIN[0], ORIGIN[1] - 40, ORIGIN[2]))
    write_seg_nrrd(folder / "muscles.seg.nrrd", image, descriptions(labels))
    ct[:, :24] = -1000
    sitk.WriteImage(image_of(ct), str(folder / "ct.nrrd"))


def no_structure(folder, ct, labels):
    write_seg_nrrd(folder / "muscles.seg.nrrd", image_of(labels),
                   [SegmentDescription(4, "liver", "Liver", (1, 2, 3))])


def empty(folder, ct, labels):
    write_seg_nrrd(folder / "muscles.seg.nrrd", image_of(0 * labels), descriptions(labels))


def no_names(folder, ct, labels):
    sitk.WriteImage(image_of(labels), str(folder / "muscles.seg.nrrd"))


def some_sides(folder, ct, labels):
    names = [d if d.identifier != "femur_left" else SegmentDescription(
        d.value, "femur", "Femur", d.color) for d in descriptions(labels)]
    write_seg_nrrd(folder / "muscles.seg.nrrd", image_of(labels), names)


def not_hounsfield(folder, ct, labels):
    sitk.WriteImage(image_of(np.clip(ct // 8 + 128, 0, 255).astype(np.uint8)),
                    str(folder / "ct.nrrd"))


def magnetic_resonance(folder, ct, labels):
    (folder / "ct.nrrd").unlink()
    write_series(folder / "ct.nrrd", ct - ct.min(), spacing=SPACING[2], origin=ORIGIN,
                 modality="MR")


def no_labels(folder, ct, labels):
    image = sitk.ReadImage(str(folder / "muscles.seg.nrrd"))
    broken = sitk.Cast(image, sitk.sitkFloat32) * 0.3
    for key in image.GetMetaDataKeys():
        if key.startswith("Segment"):
            broken.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(broken, str(folder / "muscles.seg.nrrd"))


def no_file(folder, ct, labels):
    (folder / "muscles.seg.nrrd").unlink()


def a_folder(folder, ct, labels):
    no_file(folder, ct, labels)
    (folder / "muscles.seg.nrrd").mkdir()


@pytest.mark.parametrize(("spoil", "sentence"), [
    (elsewhere, "muscles.seg.nrrd and ct.nrrd do not overlap: choose"),
    (other_frame, "muscles.seg.nrrd lies over air in ct.nrrd, so the two have not the same frame"),
    (no_structure, "muscles.seg.nrrd names no muscle and no bone that MuscleSeg knows: give"),
    (empty, "muscles.seg.nrrd is empty: none of its muscles and bones has a voxel."),
    (no_names, "muscles.seg.nrrd does not say what its labels mean: save"),
    (some_sides, "muscles.seg.nrrd tells left from right in some of its segments only: name"),
    (not_hounsfield, "ct.nrrd does not look like Hounsfield units"),
    (magnetic_resonance, "ct.nrrd holds no CT slices but MR images"),
    (no_labels, "muscles.seg.nrrd is no label map, its values are not whole numbers: choose"),
    (no_file, "muscles.seg.nrrd cannot be found: check its name."),
    (a_folder, "muscles.seg.nrrd is a folder: choose"),
])
def test_bad_input_is_refused_in_one_sentence(tmp_path, spoil, sentence):
    pair = write_pair(tmp_path)
    spoil(tmp_path, *body())
    with pytest.raises(BadInput) as refused:
        measure(*pair, tmp_path / "out")
    assert refused.value.message.startswith(sentence)
    assert refused.value.message.count(". ") == 0
    assert not (tmp_path / "out").exists()
