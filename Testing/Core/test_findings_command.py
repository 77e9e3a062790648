# SPDX-License-Identifier: Apache-2.0
"""``temporalsubtraction findings``: from decisions in candidates.csv to DICOM objects."""

from __future__ import annotations

import json

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import read_result, write_manifest
from TemporalSubtractionLib.__main__ import app
from TemporalSubtractionLib.candidate_table import (
    ACCEPTED,
    DENSER,
    REJECTED,
    THINNER,
    CandidateRow,
    write_rows,
)

from .dicom_factory import body, write_series

BOXES = {1: np.s_[2:4, 8:12, 8:12], 2: np.s_[4:6, 8:10, 12:14], 3: np.s_[5:7, 14:16, 8:10]}
ROWS = [
    CandidateRow(1, DENSER, 5.0, 1.25, 13.4, 6.0, 9.5, 210.0, 1.0, -2.0, 3.0, "vertebrae_L3",
                 ACCEPTED),
    CandidateRow(2, DENSER, 4.0, 0.5, 9.8, 5.0, 7.5, 110.0, 1.0, -2.0, 3.0, "", REJECTED),
    CandidateRow(3, THINNER, 3.0, 0.25, 7.8, -4.0, -6.5, -95.0, 1.0, -2.0, 3.0, "hip_left",
                 ACCEPTED),
]


def textured(seed):
    """The body of the factory with bone of a texture of its own."""
    slices = body(8)
    texture = np.random.default_rng(seed).integers(-150, 150, slices.shape)
    return np.where(slices > 500, slices + texture, slices).astype(np.int16)


@pytest.fixture
def ct(tmp_path):
    write_series(tmp_path / "ct", textured(0))
    return tmp_path / "ct"


@pytest.fixture
def result(tmp_path, ct):
    """What subtract writes, as far as it is needed, on the grid of the CT turned over."""
    image = sitk.Flip(read_image(ct).image, [False, True, True])
    array = sitk.GetArrayFromImage(image)
    noise = np.random.default_rng(1).normal(0, 30, array.shape)
    labels = np.zeros(array.shape, np.uint16)
    for number, box in BOXES.items():
        labels[box] = number
    images = {"expected": np.where(array > 300, array + noise, 0).astype(np.int16),
              "candidates": labels}
    folder = tmp_path / "result"
    folder.mkdir()
    for name, values in images.items():
        written = sitk.GetImageFromArray(values)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(folder / f"{name}.nrrd"))
    write_rows(ROWS, folder / "candidates.csv")
    write_manifest(folder, {
        "schema": 1, "status": "completed", "method": "classical",
        "versions": {"readingroom": "0.1.0"},
        "files": {"expected": "expected.nrrd", "candidate_labels": "candidates.nrrd",
                  "candidates": "candidates.csv"}})
    return folder


def run(*arguments):
    return app.run(["findings", *map(str, arguments), "--progress", "none"])


def test_accepted_candidates_become_segments_and_groups(tmp_path, ct, result):
    output = tmp_path / "dicom"
    assert run(result, ct, "--output", output) == 0
    segmentation = hd.seg.segread(output / "findings_seg.dcm")
    labels = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
    assert labels == ["1 denser, vertebrae_L3", "3 thinner, hip_left"]
    assert segmentation.pixel_array.sum() == sum(
        np.zeros((8, 24, 32))[BOXES[number]].size for number in (1, 3))
    report = hd.sr.MeasurementReport.from_sequence([hd.sr.srread(output / "findings_sr.dcm")])
    groups = report.get_volumetric_roi_measurement_groups()
    assert [group.finding_sites[0].value.meaning for group in groups] == ["L3 vertebra", "Pelvis"]
    assert groups[1].finding_sites[0].laterality.meaning == "Left"
    values = [(m.name.meaning, m.derivation.meaning if m.derivation else "", m.value, m.unit.value)
              for m in groups[1].get_measurements()]
    assert values == [
        ("Volume", "", 0.25, "cm3"), ("Diameter", "", 7.8, "mm"),
        ("Change of attenuation since the prior CT", "Mean", -95.0, "[hnsf'U]"),
        ("Z-score", "Mean", -4.0, "1"), ("Z-score", "Peak Value Within ROI", -6.5, "1")]
    manifest = read_result(output)
    assert manifest["accepted"] == [1, 3] and manifest["command"] == "findings"
    patient = pydicom.dcmread(next(ct.iterdir())).PatientID
    assert segmentation.PatientID == patient and patient not in json.dumps(manifest)


def test_numbers_count_instead_of_decisions(tmp_path, ct, result):
    output = tmp_path / "dicom"
    assert run(result, next(ct.iterdir()), "--output", output, "--accepted", "2") == 0
    [segment] = hd.seg.segread(output / "findings_seg.dcm").SegmentSequence
    assert segment.SegmentLabel == "2 denser"
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Bone"


def refusal(capsys, *arguments):
    """The sentence that the user reads."""
    assert run(*arguments) == 10
    return capsys.readouterr().err.splitlines()[0]


def test_what_cannot_be_written_is_one_sentence(tmp_path, ct, result, capsys):
    output = ("--output", tmp_path / "dicom")
    assert "There is no candidate 7" in refusal(capsys, result, ct, *output, "--accepted", "1,7")
    assert "is no list of numbers" in refusal(capsys, result, ct, *output, "--accepted", "1;3")

    write_series(tmp_path / "other", textured(5))
    sentence = refusal(capsys, result, tmp_path / "other", *output)
    assert "does not show what was compared: choose the current CT" in sentence

    sitk.WriteImage(read_image(ct).image, str(tmp_path / "ct.nii.gz"))
    assert "ct.nii.gz is not DICOM" in refusal(capsys, result, tmp_path / "ct.nii.gz", *output)

    table = result / "candidates.csv"
    table.write_text(table.read_text("utf-8").replace(",", ";"), "utf-8")
    assert "with commas between them" in refusal(capsys, result, ct, *output)

    write_rows([ROWS[1]], result / "candidates.csv")
    assert "No candidate is accepted" in refusal(capsys, result, ct, *output)

    write_manifest(result, read_result(result) | {"files": {"expected": "expected.nrrd"}})
    assert "result holds no candidates" in refusal(capsys, result, ct, *output)
    assert not (tmp_path / "dicom").exists()
