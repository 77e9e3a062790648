# SPDX-License-Identifier: Apache-2.0
"""A study folder is understood or refused with a reason, and is analysed as it was read."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import openpyxl
import pytest

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.reader_study.__main__ import app
from ReadingRoomLib.reader_study.conduct import Lesion, Mark
from ReadingRoomLib.reader_study.folder import (
    QUALITY,
    Presentation,
    StudyFolder,
    create_study,
    read_truth,
)
from ReadingRoomLib.results import read_result

CASES = ("P1", "P2", "P3", "P4")
TRUTH = {"P1": [{"position": [1, 2, 3], "radius": 5}],
         "P2": [{"position": [0, 0, 0], "radius": 5, "weight": 2},
                {"position": [50, 0, 0], "radius": 5, "weight": 1}]}


@pytest.fixture
def images(tmp_path):
    """A folder with the images of four cases; nothing here looks into them."""
    folder = tmp_path / "study"
    for case in CASES:
        (folder / case).mkdir(parents=True)
        for name in ("current.nrrd", "prior.nii.gz", "z.nrrd"):
            (folder / case / name).write_bytes(b"")
    return folder


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(TRUTH))
    return path


def change(folder: Path, **entries) -> None:
    path = folder / "study.json"
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({key: value for key, value in content.items() if value != "gone"}))


def read_all(study: StudyFolder) -> None:
    """Every reader finds every lesion with the aid, and half of them without; Ann is quicker."""
    for reader in study.plan.readers:
        log, now = study.log(reader), datetime(2026, 1, 5)
        while reading := log.next:
            now = max(now, log.washout_until() or now) + timedelta(minutes=1)
            marks = [Mark(tuple(lesion["position"]), 80) for lesion in TRUTH.get(reading.case, ())]
            if reading.modality == "without":
                marks = marks[:1] if reading.case == "P1" else [Mark((99, 0, 0), 30)]
            log.add(reading, marks, None, 10 if reader == "Ann" else 30, now,
                    QUALITY[reading.modality == "without"])


def test_a_study_is_made_of_the_images_in_a_folder(images):
    (images / "notes").mkdir()
    study = create_study(images, ["Ann", "Ben"])
    assert study.plan.cases == CASES and study.plan.modalities == ("with", "without")
    assert study.presentations["with"] == Presentation(("current", "prior"), "z")
    reading = next(r for r in study.log("Ann").readings.values() if r.modality == "with")
    assert study.images(reading) == {
        "current": images / reading.case / "current.nrrd",
        "prior": images / reading.case / "prior.nii.gz", "z": images / reading.case / "z.nrrd"}
    assert str(images) not in (images / "study.json").read_text()
    with pytest.raises(BadInput, match="already"):
        create_study(images, ["Ann"])


def test_without_all_priors_none_is_shown(images):
    (images / "P3" / "prior.nii.gz").unlink()
    assert create_study(images, ["Ann"]).presentations["without"] == Presentation(("current",))


@pytest.mark.parametrize(("readers", "said"), [
    (["Ann", "Ann"], "different names"), ([], "no readers"), (["a/b"], "file name"),
    (["Ann."], "file name")])
def test_names_of_readers_must_be_of_use(images, readers, said):
    with pytest.raises(BadInput, match=said):
        create_study(images, readers)
    assert not (images / "study.json").exists()


def test_a_folder_without_cases_or_aid_is_refused(images, tmp_path):
    with pytest.raises(BadInput, match="No case"):
        create_study(tmp_path, ["Ann"])
    (images / "P2" / "z.nrrd").unlink()
    with pytest.raises(BadInput, match="P2 has no image z"):
        create_study(images, ["Ann"])


@pytest.mark.parametrize(("entries", "said"), [
    ({"readers": "gone"}, "lacks the entry 'readers'"),
    ({"readers": "Ann"}, "not as"),
    ({"readers": ["a:b"]}, "file name"),
    ({"modalities": {"with": {"images": []}}}, "not as"),
    ({"modalities": {"with": {"images": ["mr"]}}}, "lacks the entry 'mr'"),
    ({"cases": [{"patient": "P1"}]}, "lacks the entry 'current'"),
    ({"cases": []}, "no cases"),
    ({"window": [1]}, "not as"),
    ({"window": [2, 1]}, "not as"),
    ({"free_response": "false"}, "not as"),
    ({"seed": -1}, "not as"),
    ({"washout_days": -1}, "not as"),
    ({"washout_days": float("nan")}, "not as"),
    ({"washout_days": "long"}, "not as"),
])
def test_what_is_wrong_with_a_study_is_said(images, entries, said):
    create_study(images, ["Ann"])
    change(images, **entries)
    with pytest.raises(BadInput, match=said):
        StudyFolder(images)


def test_an_image_that_is_gone_is_noticed_before_anybody_reads(images):
    create_study(images, ["Ann"])
    (images / "P3" / "prior.nii.gz").unlink()
    with pytest.raises(BadInput, match="'prior' of case 3") as raised:
        StudyFolder(images)
    assert "P3" not in raised.value.message  # a reader may see it
    with pytest.raises(BadInput, match=r"no study\.json"):
        StudyFolder(images / "P1")


def test_lesions_are_read(images, truth):
    plan = create_study(images, ["Ann"]).plan
    assert read_truth(truth, plan)["P2"][0] == Lesion((0, 0, 0), 5, 2)
    for wrong, said in (({"P9": []}, "P9"), ({"P1": [{"position": [1, 2], "radius": 5}]}, "not as"),
                        ({"P1": [{"position": [1, 2, 3]}]}, "not as"), ([], "not as"),
                        ({"P1": [{"position": [1, 2, 3], "radius": 0}]}, "not as")):
        truth.write_text(json.dumps(wrong))
        with pytest.raises(BadInput, match=said):
            read_truth(truth, plan)


def analyse(folder: Path, *more: str) -> tuple[int, Path]:
    output = folder / "analysis"
    return app.run(["analyse", str(folder), "--output", str(output), "--progress", "none",
                    *more]), output


def test_the_command_analyses_a_study_folder(images, truth, capfd):
    arguments = ["create", str(images), "--reader", "Ann", "--reader", "Ben"]
    assert app.run(arguments) == 0
    assert "4 cases for 2 readers" in capfd.readouterr().out
    study = StudyFolder(images)
    exit_code, output = analyse(images, "--truth", str(truth))
    assert exit_code == BadInput.exit_code and "Ann has not read all" in capfd.readouterr().err
    read_all(study)
    exit_code, output = analyse(images, "--truth", str(truth))
    assert exit_code == 0
    manifest = read_result(output)
    assert {entry["name"] for entry in manifest["inputs"]} == {
        "study.json", "Ann.jsonl", "Ben.jsonl", "truth.json"}
    assert manifest["study"]["diseased_cases"] == 2
    with open(output / "figures_of_merit.csv", newline="") as file:
        areas = {(row["modality"], row["reader"]): float(row["wAFROC"])
                 for row in csv.DictReader(file)}
    # with: both cases' lesions before every healthy case. without: P1's lesion before the two
    # healthy cases, each with a false mark of 30, and nothing of P2
    assert areas == {("with", "Ann"): 1, ("with", "Ben"): 1, ("without", "Ann"): 0.5,
                     ("without", "Ben"): 0.5}
    with open(output / "readings.csv", newline="") as file:
        readings = list(csv.DictReader(file))
    assert len(readings) == 16
    assert {row["quality"] for row in readings if row["modality"] == "with"} == {"excellent"}
    page = (output / "report.html").read_text("utf-8")
    assert "20 (10 to 30)" in page and "8 (100.0 %)" in page and "0 (0.0 %)" in page
    picture = ElementTree.parse(output / "curves.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert "wAFROC" in page and "Weighted share of lesions found" in "".join(picture.itertext())
    book = openpyxl.load_workbook(output / "ratings.xlsx")
    assert book["TP"].max_row == 1 + 2 * (3 + 1)


def test_folder_and_truth_belong_together(images, truth, capfd):
    create_study(images, ["Ann"])
    assert analyse(images)[0] == BadInput.exit_code
    assert analyse(truth, "--truth", str(truth))[0] == BadInput.exit_code
    assert "give both" in capfd.readouterr().err
