# SPDX-License-Identifier: Apache-2.0
"""From DICOM studies and a table of pathology to a training set without patients."""

from __future__ import annotations

import csv
import datetime
import json
import stat
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from BrainTumorClassifyLib.__main__ import app
from BrainTumorClassifyLib.database_archive import Examination, read_archive
from BrainTumorClassifyLib.database_key import Key, check_place, open_key, write_key
from BrainTumorClassifyLib.database_pathology import (
    classes_of,
    read_pathology,
    rows_without_images,
)
from BrainTumorClassifyLib.database_patient import _description
from BrainTumorClassifyLib.database_plan import choose_study
from BrainTumorClassifyLib.experiment_data import listed_items, read_slices
from BrainTumorClassifyLib.kinds import KINDS
from BrainTumorClassifyLib.sequences import recognise
from ReadingRoomLib.burnt_in_text import TextReader
from ReadingRoomLib.errors import BadInput

from .dicom_factory import write_report, write_series
from .tumor_factory import TUMOUR, scan

DATA = Path(__file__).parents[3] / "shared" / "data"
TIMES = {"t1": {"EchoTime": 9.1, "RepetitionTime": 520, "ScanningSequence": "SE"},
         "t2": {"EchoTime": 98, "RepetitionTime": 4500, "ScanningSequence": "SE"}}
TIMES["t1c"] = TIMES["t1"] | {"ContrastBolusAgent": "Gadovist Zq7wKAgent"}
NAMES = {"t1": "T1 tra Zq7wKSeries", "t2": "T2 TSE tra", "t1c": "T1 tra KM Zq7wKSeries"}
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"
SECRETS = ("Zq7wK", "ZQ7WK", "0087654321", "山田", "太郎", "やまだ", "Yamada", "Müller", "19500203",
           "20200110", "2020-01-15", "20210301", "Chiyoda", "9.8.7.6.5", "SECRET", "19000101")


# A department


def _write(folder: Path, sequence: str, patient: str, *, study: str = "", number: int = 1,
           text: str = "", name: str = "Zq7wKName^Anna", day: str = "20200110",
           thickness: float = 10.0, **header) -> list:
    image = scan(sequence, seed=number, spacing=(2.0, 1.5, thickness), field=(200.0, 240.0, 112.0))
    slices = sitk.GetArrayFromImage(image)
    if text:
        slices = _with_text(slices, text)

    def edit(dataset, index):
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"] if "=" in name else (
            "ISO_IR 192")
        dataset.PatientName, dataset.PatientID = name, patient
        dataset.PatientBirthDate = "19500203"
        dataset.StudyInstanceUID = study or f"9.8.7.6.5.1{int(patient.encode().hex(), 16)}"
        dataset.StudyDate = dataset.SeriesDate = day
        dataset.InstitutionName, dataset.InstitutionAddress = "Zq7wKHospital", "Chiyoda 1"
        dataset.OtherPatientIDs = "Zq7wKOther"
        dataset.ReferringPhysicianName = "" if "=" in name else "Müller^Ute"
        dataset.ScanOptions = "ZQ7WKOTHER"  # a code that is none
        dataset.SeriesDescription = NAMES[sequence]
        dataset.RequestAttributesSequence = [Dataset()]
        dataset.RequestAttributesSequence[0].PatientComments = "Zq7wKNested"
        dataset.private_block(0x29, "Zq7wKMaker", create=True).add_new(1, "LO", "Zq7wKPrivate")
        dataset.file_meta.SourceApplicationEntityTitle = "Zq7wKStation"
        for key, value in (TIMES[sequence] | header).items():
            setattr(dataset, key, value)

    return write_series(folder, slices, origin=image.GetOrigin(), spacing=thickness,
                        thickness=thickness, modality="MR", number=number,
                        prefix=f"Zq7wKName_{number}_", edit=edit)


def _with_text(slices: np.ndarray, text: str, size: int = 11) -> np.ndarray:
    picture = Image.new("L", slices.shape[:0:-1])
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"
    draw.text((3, 2), text, fill=255, font=ImageFont.load_default(size))
    slices = slices.copy()
    slices[:, np.asarray(picture) > 0] = slices.max()
    return slices


def _edit(paths: list[Path], change) -> None:
    for path in paths:
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)


@pytest.fixture(scope="module")
def department(tmp_path_factory) -> SimpleNamespace:
    """Studies of a department with all that goes wrong in one, and its table."""
    root = tmp_path_factory.mktemp("department")
    dicom, rois = root / "山田 Zq7wKName", root / "rois"
    whole = dicom / "1" / "Zq7wKName_Anna"
    for number, sequence in enumerate(("t1", "t2", "t1c"), 1):
        paths = _write(whole, sequence, "Zq7wK-A", number=number)
        if sequence == "t2":
            def overlay(dataset):
                dataset.add_new(0x60000022, "LO", "Zq7wKOverlay")
                dataset.add_new(0x60003000, "OW", b"Zq7wKOverlay")
            _edit(paths, overlay)
        if sequence == "t1":
            (whole / "again.dcm").write_bytes(paths[3].read_bytes())
    _write(dicom / "later", "t1c", "Zq7wK-A", study="9.8.7.6.5.77", day="20210301", number=9)
    screen = _write(dicom / "screen", "t1", "Zq7wK-A", number=20)[:1]
    _edit(screen, lambda dataset: setattr(dataset, "SOPClassUID", SecondaryCaptureImageStorage))
    write_report(dicom / "report.dcm")

    _write(dicom / "2", "t1", "0087654321", number=1, name=YAMADA, text="YAMADA 1950/02/03")
    without_header = _write(dicom / "2", "t2", "0087654321", number=2, name=YAMADA,
                            SeriesInstanceUID="../../../../9.8.7.6.5")
    for path in without_header:
        dataset = pydicom.dcmread(path)
        dataset.file_meta, dataset.preamble = FileMetaDataset(), None
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    _write(dicom / "2", "t1c", "0087654321", number=3, name=YAMADA)

    _write(dicom / "3", "t1c", "Zq7wK-C", number=3, name="Zq7wKOther^One")  # no pathology
    cut = _write(dicom / "4", "t1c", "Zq7wK-D", number=3, name="Zq7wKOther^Two")
    cut[5].write_bytes(cut[5].read_bytes()[:-900])
    _write(dicom / "5", "t2", "Zq7wK-E", number=2, name="Zq7wKOther^Three")  # no contrast agent
    _write(dicom / "6", "t1c", "Zq7wK-F", number=3)  # same name and birth as A, rows contradict
    for patient in ("Zq7wK-G", "Zq7wK-H"):
        _write(dicom / patient, "t1c", patient, study="9.8.7.6.5.4", number=3,
               name=f"{patient}^X")[1:]
    (dicom / "notes.txt").write_text("Zq7wKName was here")
    (dicom / "damaged.dcm").write_bytes(bytes(128) + b"DICM" + bytes(range(200)))

    rois.mkdir()
    (rois / "Zq7wK-A.json").write_text(json.dumps(
        {"bounds": [end for value in TUMOUR for end in (value - 18, value + 18)]}))
    table = root / "table.csv"
    table.write_bytes("\r\n".join([
        "患者ID;病理診断;病理日;施設;Zq7wKUnknown", "Zq7wK-A;GBM;2020-01-15;Zq7wKHospital;x",
        "87654321;髄膜腫;;山田病院;x", "Zq7wK-D;PCNSL;;;x", "Zq7wK-E;meningioma;;;x",
        "Zq7wK-F;GBM;;;x", "Zq7wK-F;meningioma;;;x", "Zq7wK-G;GBM;;;x", "Zq7wK-H;GBM;;;x",
        "Zq7wK-Gone;GBM;;;x", ""]).encode("cp932"))
    return SimpleNamespace(root=root, dicom=dicom, table=table, rois=rois)


def _command(department, output: Path, *more: str) -> list[str]:
    return ["database", "--dicom", str(department.dicom), "--pathology", str(department.table),
            "--output", str(output), "--roi", str(department.rois), "--progress", "none", *more]


@pytest.fixture(scope="module")
def made(department, tmp_path_factory) -> SimpleNamespace:
    before = {path: path.read_bytes() for path in department.root.rglob("*") if path.is_file()}
    root = tmp_path_factory.mktemp("made")
    output, key = root / "database", root / "keys" / "key.json"
    key.parent.mkdir()
    assert app.run(_command(department, output, "--key", str(key))) == 0
    after = {path: path.read_bytes() for path in department.root.rglob("*") if path.is_file()}
    with open(output / "quality.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    content = json.loads(key.read_text("utf-8"))
    numbers = {one["patient"]: number for number, one in content["patients"].items()}
    return SimpleNamespace(root=root, output=output, key=key, untouched=before == after, rows=rows,
                           numbers=numbers,
                           result=json.loads((output / "result.json").read_text("utf-8")))


def _row(made, patient: str) -> dict:
    return made.rows[made.numbers[patient]]


def _spellings(secret: str) -> list[bytes]:
    """As it may be written; shorter ones occur by chance."""
    found = [secret.encode(encoding, "ignore")
             for encoding in ("utf-8", "cp932", "iso2022_jp", "utf-16-le")]
    return [spelling for spelling in found if len(spelling) >= 5]


def test_what_is_looked_for_is_in_the_images_and_the_table(department):
    files = [path for path in department.root.rglob("*") if path.is_file()]
    given = b"".join(path.read_bytes() + str(path).encode() for path in files)
    for secret in SECRETS:
        assert any(spelling in given for spelling in _spellings(secret)), secret


def test_nothing_that_tells_a_patient_is_in_any_file_or_name(made):
    files = [path for path in made.output.rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret not in str(path.relative_to(made.output))
            for spelling in _spellings(secret):
                assert spelling not in content, (path.name, secret)


def test_the_originals_are_untouched_and_nothing_is_left_beside_the_output(made):
    assert made.untouched
    assert sorted(path.name for path in made.root.iterdir()) == ["database", "keys"]


def test_patients_are_taken_with_the_study_before_pathology_and_their_regions(made):
    assert made.result["patients"]["taken"] == 2 and len(made.rows) == 9
    row = _row(made, "Zq7wK-A")
    assert (row["taken"], row["kind"], row["region"]) == ("yes", "glioblastoma", "given")
    assert [row[name] for name in ("t1", "t2", "t1c")] == ["likely", "sure", "sure"]
    for told in ("The last one before pathology", "there twice (1)", "Overlays", "screen (1)"):
        assert told in row["doubts"], told
    other = _row(made, "0087654321")
    assert (other["taken"], other["kind"], other["region"]) == ("yes", "meningioma", "proposed")
    assert other["t1"] == "missing" and "There is text in its pixels." in other["doubts"]
    assert {row["site"], other["site"]} == {"site 1", "site 2"}


@pytest.mark.parametrize(("patient", "reason"), [
    ("Zq7wK-C", "no pathology"), ("Zq7wK-D", "Contrast-enhanced T1 is missing"),
    ("Zq7wK-E", "Contrast-enhanced T1 is missing"), ("Zq7wK-F", "contradict"),
    ("Zq7wK-G", "more than one patient number"), ("Zq7wK-H", "more than one patient number")])
def test_who_is_left_out_is_told_with_the_reason(made, patient, reason):
    row = _row(made, patient)
    assert row["taken"] == "no" and reason in row["left out because"]
    assert not list((made.output / "dicom").glob(row["number"]))


def test_doubts_of_the_whole_are_told(made):
    warnings = " ".join(made.result["warnings"])
    for told in ("row 10 ", "leading zeros", "damaged files (1)", "same person", "faces"):
        assert told in warnings, told
    assert made.numbers["Zq7wK-F"] in _row(made, "Zq7wK-A")["doubts"]
    assert "damaged or not complete" in _row(made, "Zq7wK-D")["doubts"]


def test_the_list_is_what_an_experiment_takes(made, tmp_path):
    items = listed_items(made.output / "datalist.json", KINDS)
    assert {item.label for item in items} == {"glioblastoma", "meningioma"}
    assert {item.patient for item in items} == {made.numbers["Zq7wK-A"], made.numbers["0087654321"]}
    slices = read_slices(items, KINDS, 224, tmp_path / "slices.npy")
    images = np.load(slices.file)
    assert images.shape[1:] == (3, 224, 224) and images.std() > 20
    with np.load(items[0].image) as arrays:
        assert arrays["slices"].dtype == np.uint8
        assert float(arrays["side_mm"]) > 20 and float(arrays["extent_mm"]) > 8
    missing = next(item for item in items if item.patient == made.numbers["0087654321"])
    with np.load(missing.image) as arrays:
        assert not arrays["slices"][..., 0].any() and arrays["slices"][..., 2].any()


def test_copies_are_valid_images_that_keep_their_place(made, department):
    number = made.numbers["Zq7wK-A"]
    files = sorted((made.output / "dicom" / number / "t2").iterdir())
    assert [file.name for file in files] == [f"{k:05}.dcm" for k in range(1, 12)]
    first = pydicom.dcmread(files[0])
    original = pydicom.dcmread(next((department.dicom / "1").rglob("Zq7wKName_2_0000.dcm")))
    np.testing.assert_array_equal(first.pixel_array, original.pixel_array)
    assert first.ImagePositionPatient == original.ImagePositionPatient
    assert first.PatientID == number and first.PatientIdentityRemoved == "YES"
    moved = json.loads(made.key.read_text("utf-8"))["patients"][number]["days"]
    day = datetime.datetime.strptime(first.StudyDate, "%Y%m%d")
    assert day - datetime.timedelta(moved) == datetime.datetime(2020, 1, 10)
    other = pydicom.dcmread(made.output / "dicom" / number / "t1c" / "00001.dcm")
    assert other.StudyInstanceUID == first.StudyInstanceUID
    assert other.SeriesInstanceUID != first.SeriesInstanceUID
    assert other.SeriesDescription == "T1 TRA KM"


def test_the_page_shows_who_was_taken(made):
    page = (made.output / "quality.html").read_text("utf-8")
    assert page.count("data:image/png") == 2
    assert all(f"<h3>{number}" in page for number in made.rows)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_only_its_owner_can_read_the_key(made):
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600


@pytest.fixture
def small(tmp_path) -> SimpleNamespace:
    """A department of three patients with few slices."""
    dicom, rois, table = tmp_path / "dicom", tmp_path / "rois", tmp_path / "table.csv"
    rois.mkdir()
    box = json.dumps({"bounds": [end for value in TUMOUR for end in (value - 18, value + 18)]})
    for patient in ("Zq7wK-1", "Zq7wK-2", "Zq7wK-3"):
        for number, sequence in enumerate(("t2", "t1c"), 1):
            _write(dicom / patient, sequence, patient, number=number, thickness=16.0,
                   name=f"{patient}^Anna")
        (rois / f"{patient}.mrk.json").write_text(box)
    table.write_text("id,diagnosis\nZq7wK-1,GBM\nZq7wK-2,PCNSL\nZq7wK-3,MNG\n")
    return SimpleNamespace(dicom=dicom, rois=rois, table=table)


def test_a_database_that_was_cut_off_goes_on(small, tmp_path, monkeypatch, capfd):
    from BrainTumorClassifyLib import database_command

    built = []
    original = database_command.build_patient

    def build(plan, *rest):
        if len(built) == 2:
            raise KeyboardInterrupt
        built.append(plan.number)
        return original(plan, *rest)

    monkeypatch.setattr(database_command, "build_patient", build)
    output = tmp_path / "out"
    command = _command(small, output, "--no-copies", "--age-and-sex", "--site", "A")
    assert app.run(command) == 130
    assert not output.exists()
    work = tmp_path / "out-work"
    assert stat.S_IMODE(work.stat().st_mode) & 0o077 == 0 or sys.platform == "win32"
    monkeypatch.setattr(database_command, "build_patient",
                        lambda plan, *rest: built.append(plan.number) or original(plan, *rest))
    assert app.run(command) == 0
    assert built == ["0001", "0002", "0003"]
    assert not work.exists() and not (output / "dicom").exists()
    rows = (output / "quality.csv").read_text("utf-8-sig")
    assert rows.count(",069Y,O") == 3 and rows.count(",A,yes,") == 3
    told = "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in told]


def test_an_unforeseen_problem_with_one_patient_stops_no_other(small, tmp_path, monkeypatch):
    from BrainTumorClassifyLib import database_command

    original = database_command.build_patient

    def build(plan, *rest):
        if plan.number == "0002":
            raise ValueError("Zq7wK")
        return original(plan, *rest)

    monkeypatch.setattr(database_command, "build_patient", build)
    output = tmp_path / "out"
    assert app.run(_command(small, output)) == 0
    rows = (output / "quality.csv").read_text("utf-8-sig")
    assert rows.count(",yes,") == 2 and "did not foresee (ValueError)" in rows
    assert "Zq7wK" not in rows


@pytest.mark.parametrize(("more", "told"), [
    (("--key", "{dicom}/key.json"), "must not lie"),
    (("--key", "{output}/key.json"), "must not lie"),
    (("--dicom", "{dicom}/none"), "cannot be found"),
    (("--work", "{dicom}/work"), "among the images"),
    (("--pathology", "none.csv"), "cannot be read"), (("--class", "astrocytoma"), "No patient")])
def test_what_cannot_be_done_is_said_and_leaves_nothing(small, tmp_path, capfd, more, told):
    output = tmp_path / "out"
    more = [text.format(dicom=small.dicom, output=output) for text in more]
    assert app.run([*_command(small, output), *more]) == 10
    said = capfd.readouterr().err
    assert told in said and "Zq7wK" not in said.split("Details")[0]
    assert not output.exists() and not (tmp_path / "key.json").exists()


# Parts of it


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader()


@pytest.mark.parametrize("size", [9, 14])
@pytest.mark.parametrize("text", ["SUZUKI HANAKO", "ID 445566"])
def test_text_is_found_and_heads_are_not_text(reader, text, size):
    head = sitk.GetArrayFromImage(scan("t2", spacing=(1.0, 1.0, 8.0), field=(200, 240, 16)))[0]
    assert not reader.has_text(head)
    assert reader.has_text(_with_text(head[None], text, size)[0])
    assert not reader.has_text(np.zeros_like(head))


@pytest.mark.skipif(not DATA.exists(), reason="no real images here")
def test_real_heads_are_not_text(reader):
    image = sitk.ReadImage(str(DATA / "mri_pyradiomics_tumour_samples" / "brain1_image.nrrd"))
    slices = sitk.GetArrayFromImage(image)
    assert not any(reader.has_text(each) for each in slices[::5])
    assert reader.has_text(_with_text(slices[10:11], "M 1950.02.03")[0])


def _table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_as_excel_writes_them(tmp_path, encoding, separator):
    lines = [["PatientID", "病理診断", "Date", "Site"], ["17", "膠芽腫", "2020/1/5", "東京"],
             ["18", "悪性リンパ腫", "2020年1月6日", ""], ["", "", "", ""]]
    path = _table(tmp_path, "\r\n".join(separator.join(line) for line in lines), encoding)
    found = read_pathology(path, classes_of(())[1]).findings
    assert {one: finding.kind for one, finding in found.items()} == {
        "17": "glioblastoma", "18": "lymphoma"}
    assert found["17"].date == datetime.date(2020, 1, 5) and found["17"].site == "東京"
    assert found["18"].date == datetime.date(2020, 1, 6)


def test_rows_are_told_by_number_and_never_by_what_they_say(tmp_path):
    path = _table(tmp_path, "patient,kind,date\nA1,GBM,2020-01-01\nA1,GBM,2020-02-01\nB2,GBM,\n"
                            "B2,PCNSL,\nC3,Zq7wK,\n,GBM,\nD4,GBM,31/12/20\n")
    table = read_pathology(path, classes_of(())[1])
    first = table.findings["A1"]
    assert (first.kind, first.date) == ("glioblastoma", datetime.date(2020, 1, 1))
    assert "2 rows" in first.doubts[0]
    assert "contradict" in table.findings["B2"].reason and not table.findings["B2"].kind
    assert table.findings["C3"].reason == "The kind in the table is none of the classes."
    for warning, rows in zip(table.warnings, ("row 7", "row 8", "rows 4, 5", "row 6"), strict=True):
        assert rows in warning
    assert rows_without_images(table, ["A1", "B2", "D4"]).startswith("There are no images to row 6")


@pytest.mark.parametrize(("content", "told"), [
    (b"", "empty"), (b"a,b\n1,2\n", "no column"), (b"PK\x03\x04rest", "workbook")])
def test_what_is_no_table_is_refused(tmp_path, content, told):
    path = tmp_path / "Zq7wK.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=told) as refused:
        read_pathology(path, {})
    assert "Zq7wK" not in refused.value.message


def test_classes_can_be_named_and_given_other_names():
    classes, names = classes_of(["astrocytoma=AA, Astro II", "lymphoma"])
    assert classes == ("astrocytoma", "lymphoma")
    assert names["astro ii"] == "astrocytoma" and names["pcnsl"] == "lymphoma"
    assert "gbm" not in names
    for wrong in (["=x"], ["a=x", "b=X"]):
        with pytest.raises(BadInput):
            classes_of(wrong)


@given(st.lists(st.integers(0, 50).map(str) | st.integers(0, 50).map("{:04}".format), unique=True),
       st.lists(st.integers(0, 50).map(str), unique=True))
def test_leading_zeros_match_only_where_one_patient_can_be_meant(images, rows):
    from BrainTumorClassifyLib.database_pathology import Finding, Pathology

    matched, _ = Pathology({row: Finding("x") for row in rows}).matched(images)
    for image, row in matched.items():
        assert image == row or image.lstrip("0") == row.lstrip("0")
    assert set(images) & set(rows) <= set(matched)
    assert max(Counter(matched.values()).values(), default=1) == 1


def _study(day: int | None) -> Examination:
    return Examination(str(day), day=day and datetime.date(2020, 1, day))


@pytest.mark.parametrize(("days", "pathology", "chosen"), [
    ([3, 9, 20], 15, 9), ([3, 9, 20], None, 3), ([20], 15, None), ([15, 3], 15, 15),
    ([None], 15, None), ([None, 4], None, 4)])
def test_the_last_study_before_pathology_is_chosen_or_the_first(days, pathology, chosen):
    date = pathology and datetime.date(2020, 1, pathology)
    study, sentence = choose_study([_study(day) for day in days], date)
    if days == [None]:
        assert study is not None and "not known" in sentence
    else:
        assert (study and study.day and study.day.day) == chosen
    assert sentence.endswith(".")


def test_keys_go_on_and_are_never_given_away(tmp_path):
    work, file = tmp_path / "work", tmp_path / "key.json"
    work.mkdir()
    key = open_key(None, work)
    key.number(["b", "a", "山田"])
    key.name_sites(["x"])
    write_key(file, key)
    again = open_key(file, work)
    again.number(["a", "c"])
    assert {one: again.numbers[one] for one in key.numbers} == key.numbers
    assert again.numbers["c"] == "0004" and again.sites == {"x": "site 1"}
    assert again.secret == key.secret and key.secret.hex() not in repr(key)
    with pytest.raises(BadInput):
        check_place(tmp_path / "out" / ".." / "out" / "k", [tmp_path / "out"])
    file.write_text('{"kind": "else"}')
    with pytest.raises(BadInput):
        open_key(file, work)
    assert file.read_text() == '{"kind": "else"}'


@pytest.mark.parametrize(("text", "name", "left"), [
    ("t1_se_tra KM Tanaka", "t1c", "T1 SE TRA KM"), ("造影T1強調 山田", "t1c", "T1 +C"),
    ("Ax T2 FRFSE", "t2", "AX T2 FRFSE"), ("山田 tra", "t1", "T1 TRA"), ("", "t2", "T2")])
def test_descriptions_tell_what_was_recognised_and_no_more(text, name, left):
    source = Dataset()
    source.SeriesDescription = text
    assert _description(name, source) == left
    assert recognise({"SeriesDescription": left}).sequence == name


def test_numbers_do_not_follow_the_order_of_patients():
    orders = set()
    for number in range(20):
        key = Key(bytes([number]) * 32)
        key.number("abcdef")
        orders.add("".join(sorted("abcdef", key=key.numbers.get)))
    assert len(orders) > 10


def test_an_archive_is_read_by_patient_with_what_was_left_aside(tmp_path):
    def edit(dataset, index):
        dataset.PatientID = "" if index == 0 else "P"
        if index == 1:
            dataset.BurnedInAnnotation = "YES"
        if index == 2:
            dataset.ImageType = ["DERIVED", "SECONDARY", "REFORMATTED"]
    write_series(tmp_path, count=6, modality="MR", uid=generate_uid(), edit=edit)
    write_series(tmp_path / "ct", count=3, edit=lambda dataset, index: setattr(
        dataset, "PatientID", "P"))
    archive = read_archive(tmp_path)
    assert archive.others == {"images without a patient number": 1}
    others = sum((study.others for study in archive.patients["P"].studies.values()), Counter())
    assert others == {"images with burnt-in text, as their headers say": 1,
                      "images derived from others": 1, "CT images": 3}
    with pytest.raises(BadInput):
        read_archive(tmp_path / "none")
