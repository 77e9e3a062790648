# SPDX-License-Identifier: Apache-2.0
"""``python -m MuscleSegLib evaluate``: scores by patient, and what they add up to."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MuscleSegLib import evaluate_command, segmentation
from MuscleSegLib.evaluation import StructureScore, measured, sentences
from MuscleSegLib.structures import STRUCTURES, terminology_entry
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .muscle_factory import BONE, MUSCLE, as_image, thighs, write_tiny_bundle

FEMUR = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


def write_case(folder, name, values=(BONE, MUSCLE), noise=5.0):
    """A CT of two thighs, and what the network set by hand should find in it."""
    ct = thighs(noise=noise)
    labels = np.zeros(ct.shape, np.uint8)
    calm = thighs(noise=0.0)
    if MUSCLE in values:
        labels[calm == 55] = MUSCLE
    labels[calm == 700] = BONE
    if FEMUR in values:
        labels[:, 2:4, 2:4] = FEMUR
    sitk.WriteImage(as_image(ct), str(folder / f"{name}.nrrd"))
    write_seg_nrrd(folder / f"{name}.seg.nrrd", as_image(labels), [
        SegmentDescription(s.value, s.name, s.display_name, s.color,
                           terminology_entry(s))
        for s in STRUCTURES if s.value in values])
    return {"image": f"{name}.nrrd", "segmentation": f"{name}.seg.nrrd", "patient": name}


def write_list(folder, entries, **further):
    path = folder / "list.json"
    path.write_text(json.dumps({"training": entries, **further}), "utf-8")
    return path


def run(data, model, output, said=None, **options):
    with run_job(module="MuscleSeg", command="evaluate", output=output, progress="none",
                 device="cpu") as job:
        evaluate_command.run(job, evaluate_command.Options(data, model, samples=2, **options),
                             (said if said is not None else []).append)
    return read_result(output)


def rows_of(output):
    with (output / "scores.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_model_is_measured_by_patient_and_structure(model, tmp_path):
    data = write_list(tmp_path, [write_case(tmp_path, name, noise=noise) for name, noise in (
        ("a", 5.0), ("b", 10.0), ("ç d", 15.0))], simulated=True)
    said = []
    result = run(data, model, tmp_path / "out", said)
    rows = rows_of(tmp_path / "out")
    assert [(row["patient"], row["structure"]) for row in rows] == [
        (name, structure) for name in ("a", "b", "ç d")
        for structure in ("pelvis", "gluteus_maximus")]
    for row in rows:
        assert float(row["dice"]) > 0.85 and float(row["asd_mm"]) < 3
        assert float(row["volume_ml"]) == pytest.approx(float(row["reference_ml"]), rel=0.2)
        assert 0 <= float(row["uncertainty"]) <= 1
    assert result["patients"] == 3 and result["missed"] == 0 and result["muscles"] == 1
    overall = result["estimates"]["all"]["dice"]
    assert overall["n"] == 3
    mean = np.mean([float(row["dice"]) for row in rows])
    assert overall["value"] == pytest.approx(mean, abs=1e-3)
    assert any("simulated" in text for text in result["warnings"]) and result["simulated"] is True
    assert "published" in said[0] and "11 of 19" in said[2]
    assert min(Image.open(tmp_path / "out" / "heat_map.png").size) > 300


def test_what_a_reference_does_not_name_is_not_scored_and_what_is_missed_is(model, tmp_path):
    data = write_list(tmp_path, [write_case(tmp_path, "a", (BONE,)),
                                 write_case(tmp_path, "b", (BONE, FEMUR))])
    result = run(data, model, tmp_path / "out")
    rows = {(row["patient"], row["structure"]): row for row in rows_of(tmp_path / "out")}
    assert set(rows) == {("a", "pelvis"), ("b", "pelvis"), ("b", "femur")}
    missed = rows["b", "femur"]
    assert float(missed["dice"]) == 0 and missed["asd_mm"] == "" and missed["uncertainty"] == ""
    assert result["missed"] == 1 and result["muscles"] == 0
    assert result["by_structure"]["femur"]["dice"]["value"] == 0
    assert result["by_structure"]["femur"]["asd_mm"]["value"] is None


def test_the_test_part_is_taken_where_there_is_one(model, tmp_path):
    first, second = (write_case(tmp_path, name) for name in "ab")
    data = write_list(tmp_path, [first], test=[second])
    run(data, model, tmp_path / "out")
    assert {row["patient"] for row in rows_of(tmp_path / "out")} == {"b"}
    with pytest.raises(BadInput, match="no part validation"):
        run(data, model, tmp_path / "none", part="validation")
    assert not (tmp_path / "none").exists()


def test_a_case_that_cannot_be_used_is_named(model, tmp_path):
    entry = write_case(tmp_path, "a")
    other = write_case(tmp_path, "b")
    image = sitk.ReadImage(str(tmp_path / "b.seg.nrrd"))
    image.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / "b.seg.nrrd"))
    with pytest.raises(BadInput, match="b.seg.nrrd"):
        run(write_list(tmp_path, [entry, other]), model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_case_that_the_model_refuses_counts_as_missed(model, tmp_path, monkeypatch):
    data = write_list(tmp_path, [write_case(tmp_path, name) for name in "ab"])
    predict, seen = segmentation.predict, []

    def refusing(*arguments, **named):
        seen.append(arguments)
        if len(seen) == 1:
            raise BadInput("No hip or thigh was found.")
        return predict(*arguments, **named)

    monkeypatch.setattr(segmentation, "predict", refusing)
    result = run(data, model, tmp_path / "out")
    assert result["refused"] == 1 and result["missed"] == 2 and result["patients"] == 2
    assert any("a.nrrd" in text and "No hip" in text for text in result["warnings"])
    assert {row["dice"] for row in rows_of(tmp_path / "out")[:2]} == {"0.0000"}
    with monkeypatch.context() as all_refused, pytest.raises(BadInput, match="No hip"):
        all_refused.setattr(segmentation, "predict", lambda *_, **__: seen.clear() or refusing())
        run(data, model, tmp_path / "none")


def test_a_scan_that_the_model_is_unsure_of_is_named(tmp_path):
    unsure = write_tiny_bundle(tmp_path / "unsure", lowest_confidence=0.0, low_confidence=1.0)
    data = write_list(tmp_path, [write_case(tmp_path, name) for name in "ab"])
    warnings = run(data, str(unsure), tmp_path / "out")["warnings"]
    for name in "ab":
        assert any(text.startswith(f"{name}.nrrd: The model is unsure") for text in warnings)


def test_files_of_another_program_are_scored_and_compared(model, tmp_path):
    data = write_list(tmp_path, [write_case(tmp_path, name, noise=noise) for name, noise in (
        ("a", 5.0), ("b", 10.0))])
    ours = run(data, model, tmp_path / "ours")
    assert ours["method"] == "model" and ours["seconds_per_case"] > 0
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name, found in (("a", "a.seg.nrrd"), ("b", "b.seg.nrrd")):
        labels = sitk.ReadImage(str(tmp_path / found))
        array = np.roll(sitk.GetArrayFromImage(labels), 2, 2)  # 6 mm beside the truth
        moved = as_image(array)
        write_seg_nrrd(theirs / f"{name}.seg.nrrd", moved, [
            SegmentDescription(BONE, "hip", "hip", (1, 2, 3)),
            SegmentDescription(MUSCLE, "gluteus_maximus", "GMax", (1, 2, 3))])
    said = []
    result = run(data, model, tmp_path / "out", said, method="predictions", predictions=theirs,
                 against=tmp_path / "ours")
    rows = rows_of(tmp_path / "out")
    assert {row["structure"] for row in rows} == {"pelvis", "gluteus_maximus"}
    assert all(float(row["dice"]) < 0.95 and row["uncertainty"] == "" for row in rows)
    assert result["method"] == "predictions" and result["seconds_per_case"] is None
    compared = result["comparison"]
    assert compared["against"] == "model" and "time_ratio" not in compared
    muscles = compared["groups"]["muscles"]
    assert muscles["asd_ratio"]["value"] > 1.2 and muscles["dice_difference"]["value"] < 0
    assert muscles["asd_ratio"]["n"] == 2 and any("ratio" in line for line in said)
    (theirs / "b.seg.nrrd").unlink()
    with pytest.raises(BadInput, match="no segmentation of b.nrrd"):
        run(data, model, tmp_path / "none", method="predictions", predictions=theirs)
    with pytest.raises(BadInput, match="--predictions"):
        run(data, model, tmp_path / "none", method="predictions")
    with pytest.raises(BadInput, match="theirs"):
        run(data, model, tmp_path / "none", against=theirs)


def test_atlases_are_those_of_the_list_without_the_patient(model, tmp_path, monkeypatch):
    data = write_list(tmp_path, [write_case(tmp_path, name) for name in "ab"])
    asked = []

    class Atlases:
        def __init__(self, pairs, most, seed, warn):
            asked.append((len(pairs), most))

        def prepare(self):
            pass

        def segment(self, volume, patient, advance):
            asked.append(patient)
            array = sitk.GetArrayFromImage(volume)
            return sitk.GetImageFromArray(np.where(array > 400, BONE, 0).astype(np.uint8))

    monkeypatch.setattr(evaluate_command, "MultiAtlas", Atlases)
    result = run(data, model, tmp_path / "out", method="multi-atlas", most_atlases=7)
    assert asked == [(2, 7), "a", "b"] and result["method"] == "multi-atlas"
    rows = {row["structure"]: row for row in rows_of(tmp_path / "out")}
    assert float(rows["pelvis"]["dice"]) > 0.95 and float(rows["gluteus_maximus"]["dice"]) == 0


def score(patient, structure, dice, asd):
    return StructureScore(patient, "x", structure, dice, asd, dice, asd, 1.0, 1.0, 0.1)


def test_means_are_over_patients_and_count_what_was_missed():
    scores = [score("a", "femur", 1.0, 0.5), score("a", "iliacus", 0.8, 0.9),
              score("b", "femur", 0.6, 1.5), score("b", "iliacus", 0.0, math.inf),
              score("b", "gracilis", math.nan, math.nan)]
    found = measured(scores)
    assert found["estimates"]["all"]["dice"]["value"] == pytest.approx((0.9 + 0.3) / 2)
    assert found["estimates"]["all"]["asd_mm"]["value"] == pytest.approx((0.7 + 1.5) / 2)
    assert found["missed"] == 1 and found["muscles"] == 1 and found["patients"] == 2
    assert found["muscles_within_1_mm"] == 1
    assert "gracilis" not in found["by_structure"]
    assert len(sentences(found)) == 4 and "Dice 0" in sentences(found)[-1]
