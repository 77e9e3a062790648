# SPDX-License-Identifier: Apache-2.0
"""``python -m MuscleSegLib collect``: folders of scans and segmentations become a list."""

import csv
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from MuscleSegLib.__main__ import app
from MuscleSegLib.collect_command import Options, run
from MuscleSegLib.dicom_measurements import write_dicom
from MuscleSegLib.muscle_composition import measure_muscles
from MuscleSegLib.named_labels import target_on
from MuscleSegLib.structures import structure_named
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.datalists import read_pairs
from ReadingRoomLib.dicom_findings import read_series
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import read_segmentation

from .dicom_factory import write_series
from .muscle_body import BOXES, ORIGIN, SPACING, body, image_of, write_pair


def collect(output, images, segmentations=None, said=None, **options):
    with run_job(module="MuscleSeg", command="collect", output=output, progress="none") as job:
        run(job, Options(images, segmentations, **options), (said if said is not None else
                                                             []).append)
    return read_result(output)


def rows_of(output):
    with (output / "collected.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def entries_of(output):
    return read_pairs(output / "datalist.json", "segmentation")["training"]


def together():
    _, labels = body()
    labels[labels > 100] -= 100
    return labels


def target_in(entry):
    """What a training would learn from an entry."""
    target, named = target_on(read_image(entry.image), entry.companion, lambda text: None)
    return sitk.GetArrayFromImage(target), named


def write_masks(folder, names=None):
    """As TotalSegmentator's data set has it: a file for each structure, many of them empty."""
    folder.mkdir(parents=True)
    _, labels = body()
    for structure, side in BOXES:
        value = structure_named(structure).value + (100 if side == "left" else 0)
        name = (names or {}).get(structure, structure) + (f"_{side}" if side else "")
        sitk.WriteImage(image_of((labels == value).astype(np.uint8)),
                        str(folder / f"{name}.nii.gz"))
    for name in ("liver", "gluteus_medius_left", "gluteus_medius_right"):
        sitk.WriteImage(image_of(np.zeros_like(labels)), str(folder / f"{name}.nii.gz"))


def test_files_are_matched_by_name_and_what_is_not_is_told(tmp_path):
    images, segmentations = tmp_path / "scans", tmp_path / "outlines"
    segmentations.mkdir()
    for case in ("hip_1_ct", "hip_2", "ohne ümlaut", "alone"):
        ct, segmentation = write_pair(tmp_path / "made")
        images.mkdir(exist_ok=True)
        shutil.copy(ct, images / f"{case}.nrrd")
        if case != "alone":
            name = {"hip_1_ct": "hip-1_seg", "hip_2": "hip_2"}.get(case, case)
            shutil.copy(segmentation, segmentations / f"{name}.seg.nrrd")
    (segmentations / "stray.seg.nrrd").write_bytes(b"NRRD")
    (segmentations / "notes.txt").write_text("x", "utf-8")
    said = []
    result = collect(tmp_path / "out", images, segmentations, said, simulated=True)
    rows = rows_of(tmp_path / "out")
    assert set(rows) == {"hip_1_ct", "hip_2", "ohne ümlaut", "alone", "stray"}
    assert rows["alone"]["remark"] == "no segmentation of this name"
    assert rows["stray"]["remark"] == "no scan of this name"
    assert [row["used"] for row in rows.values()].count("yes") == 3
    assert rows["hip_2"]["structures"] == "4" and rows["hip_2"]["patient"] == "hip_2"
    entries = entries_of(tmp_path / "out")
    assert [entry.companion.name for entry in entries] == [
        "hip-1_seg.seg.nrrd", "hip_2.seg.nrrd", "ohne ümlaut.seg.nrrd"]  # as they lie there
    assert result["scans"] == 3 and result["left_out"] == 2 and result["simulated"] is True
    assert json.loads((tmp_path / "out" / "datalist.json").read_text("utf-8"))["simulated"] is True
    assert said == ["3 scans of 3 patients with segmentations, 2 left out."]


def test_folders_of_cases_with_a_mask_a_structure(tmp_path):
    """TotalSegmentator's data set: case/ct.nii.gz and case/segmentations/*.nii.gz."""
    ct, labels = body()
    for case in ("s0001", "s0002"):
        write_masks(tmp_path / "set" / case / "segmentations", {"iliacus": "iliopsoas"})
        sitk.WriteImage(image_of(ct), str(tmp_path / "set" / case / "ct.nii.gz"))
    collect(tmp_path / "out", tmp_path / "set")
    rows = rows_of(tmp_path / "out")
    assert {row["image"] for row in rows.values()} == {"ct.nii.gz"}
    assert "Iliacus and Psoas major" in rows["s0001"]["remark"]
    first, _ = entries_of(tmp_path / "out")
    assert first.companion == tmp_path / "out" / "segmentations" / "s0001.seg.nrrd"
    target, named = target_in(first)
    expected, iliacus = together(), structure_named("iliacus").value
    expected[expected == iliacus] = 255
    assert np.array_equal(target, expected)
    # a mask without a voxel says that there is none of it
    assert structure_named("gluteus_medius").value in named and iliacus not in named


def write_dicom_case(folder, case, patient):
    """A series, and its segmentation as DICOM SEG with the sides in code."""
    ct, labels = body()

    def about(dataset, _):
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.PatientID, dataset.PatientName = patient, "Doe^Jane"
        dataset.FrameOfReferenceUID = f"1.2.3.{ord(case)}"

    write_series(folder / "scans" / case, ct, spacing=SPACING[2], origin=ORIGIN, edit=about)
    (folder / "segs").mkdir(exist_ok=True)
    found = measure_muscles(image_of(ct), image_of(labels))
    write_dicom(image_of(labels), found, read_series(folder / "scans" / case),
                folder / "segs" / f"{case}.dcm", folder / f"{case}-report.dcm")


def test_dicom_series_with_dicom_seg(tmp_path):
    """Patients are told apart by DICOM, and their numbers are not written."""
    for case, patient in (("a", "SECRET-1"), ("b", "SECRET-2"), ("c", "SECRET-1")):
        write_dicom_case(tmp_path, case, patient)
    collect(tmp_path / "out", tmp_path / "scans", tmp_path / "segs")
    entries = entries_of(tmp_path / "out")
    assert [entry.patient for entry in entries] == ["patient-1", "patient-2", "patient-1"]
    text = "".join(path.read_text("utf-8") for path in (tmp_path / "out").glob("*.*"))
    assert "SECRET" not in text and "Doe" not in text
    target, _ = target_in(entries[1])
    assert np.array_equal(target, together())
    named, _ = read_segmentation(entries[1].companion)
    # the sides are kept, too; DICOM SEG has no slices without a segment
    assert np.array_equal(sitk.GetArrayFromImage(named), body()[1][:18])


def test_a_table_names_values_and_patients(tmp_path):
    ct, _ = write_pair(tmp_path / "made")
    for case in ("a", "b"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        shutil.copy(ct, tmp_path / "scans" / f"{case}.nrrd")
        sitk.WriteImage(image_of(together()), str(tmp_path / "scans" / f"{case}_seg.nii.gz"))
    table, patients = tmp_path / "names.json", tmp_path / "patients.csv"
    femur = structure_named("femur").value
    table.write_text(json.dumps({"values": {str(femur): "femur"}}), "utf-8")
    patients.write_text("image,patient\na.nrrd,17\nb.nrrd,17\n", "utf-8")
    collect(tmp_path / "out", tmp_path / "scans", names=str(table), patients=patients)
    entries = entries_of(tmp_path / "out")
    assert [entry.patient for entry in entries] == ["17", "17"]
    target, named = target_in(entries[0])
    assert named == {femur} and np.array_equal(target > 0, together() == femur)
    patients.write_text("image,patient\na.nrrd,17\n", "utf-8")
    collect(tmp_path / "again", tmp_path / "scans", names=str(table), patients=patients)
    assert "does not name b" in rows_of(tmp_path / "again")["b"]["remark"]


def test_nothing_to_collect_is_said_in_a_sentence(tmp_path):
    with pytest.raises(BadInput, match="gone is no folder"):
        collect(tmp_path / "out", tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty holds no scan"):
        collect(tmp_path / "out", tmp_path / "empty")
    ct, segmentation = write_pair(tmp_path / "made")
    with pytest.raises(BadInput, match="no segmentation of this name"):
        collect(tmp_path / "out", ct.parent, tmp_path / "empty")
    (tmp_path / "far").mkdir()
    image = sitk.ReadImage(str(segmentation))
    image.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / "far" / "ct.seg.nrrd"))
    with pytest.raises(BadInput, match="do not overlap"):
        collect(tmp_path / "out", ct.parent, tmp_path / "far")
    with pytest.raises(BadInput, match="columns image and patient"):
        collect(tmp_path / "out", ct.parent, patients=segmentation)
    (tmp_path / "masks" / "ct").mkdir(parents=True)
    with pytest.raises(BadInput, match="holds no mask whose name"):
        collect(tmp_path / "out", ct.parent, tmp_path / "masks")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "ct.dcm").write_bytes(bytes(128) + b"DICM" + bytes(40))
    with pytest.raises(BadInput, match="no DICOM Segmentation"):
        collect(tmp_path / "out", ct.parent, tmp_path / "bad")
    assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path):
    ct, segmentation = write_pair(tmp_path / "scans")
    segmentation.rename(segmentation.with_name("ct.seg.nrrd"))
    outcome = CliRunner().invoke(app, ["collect", str(ct.parent), "--output",
                                       str(tmp_path / "out"), "--progress", "none"])
    assert outcome.exit_code == 0, outcome.output
    assert len(entries_of(tmp_path / "out")) == 1
