# SPDX-License-Identifier: Apache-2.0
"""A judgement as DICOM: what it says, whose it is, what it refers to."""

from __future__ import annotations

import shutil
import subprocess

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from HeadCTTriageLib.listen.reports import REPORT, SHEET, write_reports
from ReadingRoomLib.dicom_findings import read_series
from ReadingRoomLib.results import DISCLAIMER

from .dicom_factory import write_series

MANIFEST = {
    "decision": "urgent", "triage": "red", "urgent_probability": 0.8123,
    "interval": [0.7, 0.9], "doubts": ["The scan ends within the brain at its top."],
    "promise": "At most 5% of urgent heads are missed.",
    "model": {"name": "toy", "recipe": "modern", "version": "1.2", "simulated": True,
              "sha256": "ab" * 32},
    "reasons": {"regions": [{"name": "subdural blood", "volume_ml": 12.34, "best_slice": 7}],
                "midline_shift_mm": -3.5, "ventricle_index": 0.34},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    study = generate_uid()

    def edit(dataset, index):
        dataset.StudyInstanceUID = study
        del dataset.PatientSex  # as programs do that take out names

    sources = [pydicom.dcmread(path) for path in write_series(folder, edit=edit)]
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    out = tmp_path_factory.mktemp("out")
    write_reports(MANIFEST, picture, read_series(folder), out)
    return sources, picture, out


def test_both_belong_to_the_patient_and_study_in_series_of_their_own(written):
    sources, _, folder = written
    report, sheet = (pydicom.dcmread(folder / name) for name in (REPORT, SHEET))
    first = sources[0]
    for made in (report, sheet):
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID",
                        "StudyDate", "AccessionNumber"):
            assert made[keyword].value == first[keyword].value
        assert made.Manufacturer == "ReadingRoom" and "research" in made.SeriesDescription
    series = {each.SeriesInstanceUID for each in (first, report, sheet)}
    numbers = {each.SeriesNumber for each in (first, report, sheet)}
    assert len(series) == 3 and len(numbers) == 3


def test_the_report_says_what_was_judged_and_that_the_physician_decides(written):
    sources, _, folder = written
    report = hd.sr.srread(folder / REPORT)
    texts, numbers = {}, {}
    for item in report.ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "TEXT":
            texts[name] = item.TextValue
        elif item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            numbers[name] = (float(value.NumericValue),
                             value.MeasurementUnitsCodeSequence[0].CodeValue)
    assert texts["Notice"] == DISCLAIMER and texts["Decision"] == "urgent"
    assert texts["Triage tag"] == "red" and texts["Doubt"] == MANIFEST["doubts"][0]
    assert texts["Finding"].startswith("subdural blood, about 12.3 mL")
    assert "simulated heads" in texts["Algorithm Name"]
    assert texts["Algorithm Version"] == "1.2" and texts["SHA-256 of the model"] == "ab" * 32
    assert numbers["Probability of being urgent"] == (81.23, "%")
    assert numbers["Midline shift to the left"] == (-3.5, "mm")
    assert numbers["Evans index of the ventricles"] == (0.34, "{ratio}")
    assert numbers["Images judged"][0] == len(sources)
    assert report.CompletionFlag == "COMPLETE" and report.VerificationFlag == "UNVERIFIED"


def test_the_report_refers_to_every_image_and_to_the_contact_sheet(written):
    sources, _, folder = written
    report, sheet = (pydicom.dcmread(folder / name) for name in (REPORT, SHEET))
    referred = {
        item.ReferencedSOPInstanceUID
        for keyword in ("CurrentRequestedProcedureEvidenceSequence",
                        "PertinentOtherEvidenceSequence")
        for study in report.get(keyword, []) for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence}
    images = {source.SOPInstanceUID for source in sources}
    assert referred == images | {sheet.SOPInstanceUID}
    assert {each.ReferencedSOPInstanceUID for each in sheet.SourceImageSequence} == images


def test_the_contact_sheet_shows_the_picture(written):
    _, picture, folder = written
    sheet = pydicom.dcmread(folder / SHEET)
    assert np.array_equal(sheet.pixel_array, picture)
    assert sheet.BurnedInAnnotation == "NO" and sheet.Modality == "OT"


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="DCMTK is not installed")
def test_dcmtk_reads_the_report(written):
    _, _, folder = written
    done = subprocess.run(["dsrdump", str(folder / REPORT)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0 and "E:" not in done.stderr
    assert "Comprehensive SR Document" in done.stdout and "PRELIMINARY" in done.stdout
