# SPDX-License-Identifier: Apache-2.0
"""Candidates get the name of the bone they lie in, or lie near."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.nifti1 import Nifti1Extension

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.segmentation_files import (
    SegmentDescription,
    read_segmentation,
    write_seg_nrrd,
)
from TemporalSubtractionLib import subtraction
from TemporalSubtractionLib.__main__ import app
from TemporalSubtractionLib.bone_names import name_candidates, read_bones
from TemporalSubtractionLib.candidate_table import DENSER, CandidateRow, read_rows, write_rows

NAMES = {5: "vertebrae_L3", 9: "rib_left_4", 30: "aorta"}
TABLE = """<?xml version="1.0" encoding="UTF-8"?> <CaretExtension> <VolumeInformation Index="0">
<LabelTable><Label Key="5" Red="0.1" Green="0.2" Blue="0.3"><![CDATA[vertebrae_L3]]></Label>
<Label Key="9" Red="1" Green="0" Blue="0" Alpha="1">rib_left_4</Label>
<Label Key="0" Red="1" Green="0" Blue="0" Alpha="1"><![CDATA[background]]></Label>
<Label Red="1" Key="30"><![CDATA[aorta]]></Label></LabelTable></VolumeInformation></CaretExtension>
"""


def image(shape, boxes, spacing, origin=(0.0, 0.0, 0.0), kind=np.uint16):
    """Labels with boxes of (z, y, x) slices."""
    array = np.zeros(shape, kind)
    for value, box in boxes.items():
        array[box] = value
    result = sitk.GetImageFromArray(array)
    result.SetSpacing(spacing)
    result.SetOrigin(origin)
    return result


def bones_image():
    """On a grid of its own, reversed: L3 at x 20 to 40 mm, a rib at 60 to 70, the aorta between."""
    grid = image((30, 30, 50), {5: np.s_[:, :, 10:20], 9: np.s_[:, :, 30:35],
                                30: np.s_[:, :, 20:29]}, (2.0, 2.0, 2.0), kind=np.uint8)
    return sitk.Flip(grid, [True, False, True])


def write_bones(path):
    write_seg_nrrd(path, bones_image(), [SegmentDescription(value, f"Segment_{value}", name,
                                                            (1, 2, 3))
                                         for value, name in NAMES.items()])
    return path


def named(folder, boxes, bones):
    """The bones of candidates that lie in boxes of a grid of 1 mm."""
    sitk.WriteImage(image((40, 40, 100), boxes, (1.0, 1.0, 1.0)),
                    str(folder / "candidates.nrrd"))
    write_rows([CandidateRow(number, DENSER, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
                for number in boxes], folder / "candidates.csv")
    warnings = []
    name_candidates(SimpleNamespace(folder=folder, warn=warnings.append), read_bones(bones))
    return [row.bone for row in read_rows(folder / "candidates.csv")], warnings


def test_the_bone_that_holds_most_of_it_else_the_nearest_within_10_mm(tmp_path):
    bones = write_bones(tmp_path / "bones.seg.nrrd")
    found, warnings = named(tmp_path, {
        1: np.s_[10:14, 10:14, 25:30],  # within L3
        2: np.s_[10:14, 10:14, 36:50],  # half of it in the aorta, which is no bone
        3: np.s_[10:14, 10:14, 52:55],  # 5 mm from the rib, 12 mm from L3
        4: np.s_[10:14, 10:14, 77:79],  # 7 mm beyond the rib
        5: np.s_[10:14, 10:14, 85:90],  # 15 mm beyond
    }, bones)
    assert found == ["vertebrae_L3", "vertebrae_L3", "rib_left_4", "rib_left_4", ""]
    assert warnings == []


def test_a_segmentation_of_another_ct_is_said(tmp_path):
    bones = write_bones(tmp_path / "bones.seg.nrrd")
    found, [warning] = named(tmp_path, {1: np.s_[10:14, 10:14, 90:95]}, bones)
    assert found == [""]
    assert warning.startswith("bones.seg.nrrd names no bone at any candidate")


def test_names_that_are_not_understood_count_where_no_other_is(tmp_path):
    path = tmp_path / "bones.seg.nrrd"
    write_seg_nrrd(path, bones_image(), [SegmentDescription(5, "a", "Os hamatum", (1, 2, 3))])
    assert read_bones(path).names == {5: "Os hamatum"}


def test_no_candidates_no_names(tmp_path):
    assert named(tmp_path, {}, write_bones(tmp_path / "bones.seg.nrrd")) == ([], [])


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_totalsegmentators_names_are_read(tmp_path, ending):
    path = tmp_path / f"bones.{ending}"
    array = sitk.GetArrayFromImage(bones_image()).T
    volume = nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0]))
    volume.header.extensions.append(Nifti1Extension(0, TABLE.encode()))
    nibabel.save(volume, path)
    labels, segments = read_segmentation(path)
    assert {segment.value: segment.name for segment in segments} == NAMES
    assert np.array_equal(sitk.GetArrayFromImage(labels), array.T)
    assert read_bones(path).names == {5: "vertebrae_L3", 9: "rib_left_4"}


def test_files_without_names_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)),
                 tmp_path / "labels.nii.gz")
    sitk.WriteImage(bones_image(), str(tmp_path / "labels.nrrd"))
    for name in ("labels.nii.gz", "labels.nrrd"):
        with pytest.raises(BadInput, match="does not say what its labels mean"):
            read_bones(tmp_path / name)
    with pytest.raises(BadInput, match="nothing.nrrd cannot be found"):
        read_bones(tmp_path / "nothing.nrrd")


def test_subtract_names_bones_and_says_at_once_when_it_cannot(tmp_path, monkeypatch, capsys):
    def compare(job, *_arguments):
        sitk.WriteImage(image((40, 40, 100), {1: np.s_[10:14, 10:14, 25:30]}, (1.0, 1.0, 1.0)),
                        str(job.folder / "candidates.nrrd"))
        write_rows([CandidateRow(1, DENSER, *[1.0] * 9)], job.folder / "candidates.csv")

    monkeypatch.setattr(subtraction, "run", compare)
    output = tmp_path / "result"
    command = ["subtract", "prior.nrrd", "current.nrrd", "--output", str(output),
               "--progress", "none", "--bones"]
    assert app.run([*command, str(tmp_path / "nothing.seg.nrrd")]) == 10
    assert "nothing.seg.nrrd cannot be found" in capsys.readouterr().err
    assert app.run([*command, str(write_bones(tmp_path / "bones.seg.nrrd"))]) == 0
    assert [row.bone for row in read_rows(output / "candidates.csv")] == ["vertebrae_L3"]
