# SPDX-License-Identifier: Apache-2.0
"""What Dice is expected of a structure: the scores behind it, the promise, the study, its use."""

from __future__ import annotations

import csv
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MuscleSegLib import (
    confidence_command,
    confidence_fitting,
    confidence_statistics,
    segmentation,
)
from MuscleSegLib.confidence import (
    KEY,
    Calibration,
    PredictedDice,
    Tables,
    features_of,
    read_calibration,
)
from MuscleSegLib.confidence_command import dice_of_labels
from MuscleSegLib.confidence_fitting import Aim, Case, calibrate, cross_fitted
from MuscleSegLib.confidence_statistics import (
    ScoredStructure,
    auroc,
    by_patient,
    coverage,
    detections,
    groups_by_site,
    risk_coverage,
)
from MuscleSegLib.expected_overlap import ExpectedOverlap
from MuscleSegLib.prediction import Prediction
from MuscleSegLib.sides import split_sides
from MuscleSegLib.structure_scores import (
    StructureScores,
    over_surface,
    structure_scores,
    surface_areas,
)
from MuscleSegLib.structures import LEFT_OFFSET, STRUCTURES, structure_named, terminology_entry
from ReadingRoomLib.calibration import conformal_limit
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput, ModelUntrusted
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .muscle_factory import BONE, MUSCLE, as_image, thighs, write_tiny_bundle

SHORT = (30.0, 150.0, 240.0)  # mm, so that the study is quick
AIM = Aim(coverage=0.9, level=0.8, uncertainty="variance", samples=10, simulated=True)



@pytest.fixture(autouse=True, scope="module")
def few_resamplings():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confidence_statistics, "RESAMPLINGS", 100)
        yield


# --- scores of a structure -----------------------------------------------------------------------


def test_expected_overlap_is_the_sum_over_voxels():
    random = np.random.default_rng(0)
    probability = torch.from_numpy(random.dirichlet(np.full(5, 0.3), (7, 4, 6))).float()
    probability = probability.movedim(-1, 0)  # (classes, slices, y, x)
    overlap = ExpectedOverlap(np.arange(7) * 2, np.arange(6) + 10.0, 5)
    strongest = torch.cat([overlap.add(z, probability[:, z:z + 3]) for z in (0, 3, 6)])
    assert torch.equal(strongest, probability.argmax(0))
    labels, p = strongest.numpy(), probability.numpy().astype(float)
    found = overlap.dice()
    for value in range(1, 5):
        inside = p[value][labels == value].sum()
        assert found[value] == pytest.approx(
            2 * inside / ((labels == value).sum() + p[value].sum()), rel=1e-5)
    assert overlap.confidence == pytest.approx(p.max(0)[labels > 0].mean(), rel=1e-5)

    middle = random.uniform(9, 17, 14)  # of each slice of the CT
    left = (np.arange(6) + 10.0)[None, None] > middle[::2, None, None]
    left = np.broadcast_to(left, labels.shape)
    parted = overlap.dice(middle)
    for value in (1, 2, 3, 4):
        paired = STRUCTURES[value - 1].paired
        for part, key in (((~left, value), (left, value + LEFT_OFFSET)) if paired else
                          ((left | True, value),)):
            voxels = ((labels == value) & part).sum()
            if voxels:
                inside = p[value][(labels == value) & part].sum()
                assert parted[key] == pytest.approx(
                    2 * inside / (voxels + p[value][part].sum()), rel=1e-5)
            else:
                assert key not in parted


def test_a_certain_structure_overlaps_whole_and_nothing_has_no_confidence():
    probability = torch.zeros(3, 1, 2, 4)
    probability[0] = 1
    overlap = ExpectedOverlap(np.arange(1), np.arange(4.0), 3)
    overlap.add(0, probability)
    assert overlap.dice() == {} and overlap.confidence == 0
    probability[:, 0, 0, 0] = torch.tensor([0.0, 1, 0])
    overlap.add(0, probability)
    assert overlap.dice() == {1: 1.0} and overlap.confidence == 1


def test_surfaces_are_the_faces_between_labels():
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    spacing = (3.0, 2.0, 0.5)
    expected = np.zeros(256)
    faces = (2.0 * 0.5, 3.0 * 0.5, 3.0 * 2.0)
    for axis, face in enumerate(faces):
        for place in np.ndindex(labels.shape):
            beside = list(place)
            beside[axis] += 1
            if beside[axis] < labels.shape[axis] and labels[place] != labels[tuple(beside)]:
                expected[labels[place]] += face
                expected[labels[tuple(beside)]] += face
    np.testing.assert_allclose(surface_areas(labels, spacing), expected)


def prediction_of(labels, doubts, probability=0.9):
    overlap = ExpectedOverlap(np.arange(len(labels)), np.arange(float(labels.shape[2])), 23)
    chances = torch.full((23, *labels.shape), 0.0)
    chances.scatter_(0, torch.from_numpy(labels.astype(np.int64))[None], probability)
    overlap.add(0, chances)
    return Prediction(labels, doubts, overlap)


def test_scores_of_a_box_by_hand():
    labels = np.zeros((8, 10, 12), np.uint8)
    labels[2:6, 3:8, 2:6] = 4
    doubt = np.where(labels == 4, 0.3, 0.0).astype(np.float32)
    doubt[2, 3, 2] = 1.0
    found = structure_scores(prediction_of(labels, {"variance": doubt, "entropy": 2 * doubt}),
                             0.012)
    [(value, scores)] = found.items()
    volume, area = 4 * 5 * 4 * 12.0, 2 * (20 * 4 + 16 * 6 + 20 * 6)
    assert value == 4 and scores.volume_ml == pytest.approx(volume / 1000)
    assert scores.cut_off is False
    mean = (79 * 0.3 + 1) / 80
    assert scores.uncertainty == pytest.approx({"variance": mean, "entropy": 2 * mean})
    assert surface_areas(labels, (3.0, 2.0, 2.0))[4] == area
    assert over_surface(scores, area)["entropy"] == pytest.approx(2 * mean * volume / area)
    assert over_surface(scores, 0.0)["variance"] == 0
    assert scores.expected_dice == pytest.approx(2 * 0.9 / 1.9)
    labels[0, 3, 2] = 4
    assert structure_scores(prediction_of(labels, {"variance": doubt}), 0.012)[4].cut_off


def test_sides_have_scores_of_their_own():
    labels = np.zeros((4, 6, 10), np.uint8)
    labels[1:3, 2:4, 1:4], labels[1:3, 2:4, 6:9] = 4, 4
    doubt = np.zeros(labels.shape, np.float32)
    doubt[:, :, 5:] = 0.5
    prediction = prediction_of(labels, {"variance": doubt})
    middle = np.full(4, 4.5)
    split_sides(prediction.labels, middle)
    found = structure_scores(prediction, 0.001, middle)
    assert found[4].uncertainty["variance"] == 0
    assert found[4 + LEFT_OFFSET].uncertainty["variance"] == 0.5
    assert found[4].expected_dice == pytest.approx(found[104].expected_dice)


def test_dice_of_labels_is_that_of_masks():
    random = np.random.default_rng(2)
    one, other = random.integers(0, 4, (2, 5, 6, 7)).astype(np.uint8)
    found = dice_of_labels(one, other)
    for value in range(4):
        a, b = one == value, other == value
        assert found[value] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert math.isnan(found[9])


# --- learning ------------------------------------------------------------------------------------


def invented(patients, seed, structures=STRUCTURES, prefix="p"):
    """Structures whose expected Dice tells much of their Dice, worse in some patients."""
    random = np.random.default_rng(seed)
    cases = []
    for patient in range(patients):
        trouble = random.uniform(0, 0.3) * (random.random() < 0.4)
        for structure in structures:
            dice = float(np.clip(0.95 - abs(random.normal(0, 0.03)) - trouble * random.random(),
                                 0, 1))
            expected = float(np.clip(dice + random.normal(0, 0.02), 0, 1))
            doubt = max(0.0, (1 - expected) / 3 + random.normal(0, 0.02))
            cases.append(Case(f"{prefix}{patient}", structure, False, StructureScores(
                random.uniform(20, 200), bool(random.random() < 0.2), {"variance": doubt},
                expected), dice))
    return cases


def test_the_promise_holds_for_other_patients():
    calibration = calibrate(invented(60, 0), AIM, seed=0)
    new = invented(80, 1)
    found = [calibration.predict(c.structure, c.scores, 10, c.together) for c in new]
    dice = np.array([case.dice for case in new])
    bound = np.array([one.at_least for one in found])
    assert 0.86 <= (dice >= bound).mean() <= 0.94
    assert np.corrcoef(dice, [one.dice for one in found])[0, 1] > 0.85
    # a bound that means something: where all is well it lies close below
    assert np.median(dice - bound) < 0.06
    assert all(one.at_least <= one.dice for one in found)


def test_the_bound_is_that_of_split_conformal_prediction():
    """MAPIE's against our own few lines, on the half of the patients that was not fitted."""
    cases = invented(12, 3)
    patients = sorted({case.patient for case in cases})
    held = np.random.default_rng(5).permutation(patients)[len(patients) // 2:]
    own = [case for case in cases if case.patient in held]
    for share in (0.7, 0.9):
        calibration = calibrate(cases, replace(AIM, coverage=share), seed=5)
        below = calibration.bound(np.array([features_of(
            c.structure, c.scores, "variance", 10, calibration.typical_ml, False) for c in own]))
        # moved by what conformal prediction asks for, nothing more is asked for
        assert conformal_limit(below - np.array([case.dice for case in own]),
                               1 - share) == pytest.approx(0, abs=1e-9)


def test_learning_writes_no_log_of_a_library_to_the_screen(monkeypatch, capfd):
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own would hide it
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    calibrate(invented(12, 3), AIM, seed=7)  # MAPIE finds the ends in the wrong order
    assert not logging.root.handlers and logging.root.level == logging.WARNING
    assert capfd.readouterr().err == ""


def test_no_patient_is_predicted_by_what_was_learned_from_him():
    cases = invented(6, 4, STRUCTURES[:8])
    before = cross_fitted(cases, AIM, seed=0)
    changed = [replace(case, dice=0.0) if case.patient == "p2" else case for case in cases]
    after = cross_fitted(changed, AIM, seed=0)
    own = np.array([case.patient == "p2" for case in cases])
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).any() and np.isfinite(before).all()


def test_more_doubt_never_means_a_higher_dice():
    calibration = calibrate(invented(20, 5), AIM, seed=0)
    for tables in (calibration.predicted, calibration.bound):
        for number, sign in enumerate((1, -1)):
            assert (sign * np.diff(tables.values[number]) >= -1e-12).all()


def test_too_few_structures_for_the_promise_are_refused():
    with pytest.raises(BadInput, match="too few to promise a Dice for 99%"):
        calibrate(invented(4, 6, STRUCTURES[:3]), replace(AIM, coverage=0.99), seed=0)


def test_a_calibration_is_the_same_after_writing_and_reading(tmp_path):
    calibration = calibrate(invented(8, 7), AIM, seed=0)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(calibration.written(), allow_nan=False), "utf-8")
    again = read_calibration(path)
    features = np.array([features_of(c.structure, c.scores, "variance", 10,
                                     calibration.typical_ml, False) for c in invented(3, 8)])
    np.testing.assert_allclose(again(features), calibration(features), atol=1e-4)
    assert again.summary == calibration.summary


def flat(bound=0.9, predicted=0.95, **changes) -> Calibration:
    """A calibration that expects the same of everything."""
    tables = [Tables(value, *[(np.zeros(1),) * 5] * 2) for value in (predicted, bound)]
    return replace(Calibration(*tables, 0.9, 0.8, "variance", 4, {"femur": 100.0}, 8, 200, True),
                   **changes)


@pytest.mark.parametrize("change", [
    lambda c: c["bound"]["tables"].pop("uncertainty"),
    lambda c: c["bound"]["tables"]["cut_off"].update(knots=[1, 0], values=[0, 0]),
    lambda c: c["bound"]["tables"]["cut_off"].update(values=["x"]),
    lambda c: c["bound"]["tables"]["cut_off"].update(values=[float("nan")]),
    lambda c: c["bound"]["tables"]["cut_off"].update(knots=[], values=[]),
    lambda c: c.update(level=float("inf")),
    lambda c: c["typical_ml"].update(femur=0),
    lambda c: c.pop("samples"),
    lambda c: c.clear(),
])
def test_what_is_no_calibration_is_refused(tmp_path, change):
    written = flat().written()
    change(written)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(written), "utf-8")
    with pytest.raises(BadInput, match="calibration.json is no calibration"):
        read_calibration(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BadInput, match="cannot be found"):
        read_calibration(tmp_path / "none.json")


def test_few_samples_and_sides_together_are_allowed_for():
    femur = structure_named("femur")
    scores = StructureScores(200.0, False, {"variance": 0.1, "entropy": 0.1},
                             0.9)
    assert features_of(femur, scores, "variance", 5, {"femur": 100.0}, True) == pytest.approx(
        [0.9, 0.125, 0.0, 0.0, femur.value])
    assert features_of(femur, scores, "entropy", 5, {"femur": 100.0}, False) == pytest.approx(
        [0.9, 0.1, math.log(2), 0.0, femur.value])
    assert PredictedDice(0.9, 0.8, 0.8).remark == ""
    assert PredictedDice(0.9, 0.79999, 0.8).remark == "Dice may be only 0.79"


# --- statistics ----------------------------------------------------------------------------------


def test_area_counts_pairs_and_risk_is_a_mean():
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 6, 60), random.random(60) < 0.3
    wins = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(wins))
    assert math.isnan(auroc(scores, np.zeros(60, bool)))
    kept, risk = risk_coverage(np.array([1.0, 3, 2]), np.array([0.2, 1.0, 0.6]))
    assert kept.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk.tolist() == pytest.approx([0, 0.2, 0.4])


def test_intervals_are_by_patient():
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(0, 1, 30), 40)
    patients = np.repeat([f"p{n}" for n in range(30)], 40)
    [mean] = by_patient(lambda rows: [values[rows].mean()], patients)
    # forty copies of a patient tell no more than one
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(30), rel=0.3)
    assert mean.n == 30
    [alone] = by_patient(lambda rows: [values[rows].mean()], ["x"] * len(values))
    assert math.isnan(alone.low)


def scored(patient, dice, doubt, site="", bound=0.5):
    return ScoredStructure(patient, "x", site, "femur", "left", dice, 1.0, False, 1 - doubt,
                           {("variance", "mean"): doubt, ("variance", "over the surface"): doubt},
                           1 - doubt, bound)


def test_sites_are_compared_in_the_same_structures_of_the_same_patients():
    before = [scored(p, 0.9, 0.1, "as it was") for p in "abcd"]
    after = [scored(p, 0.6, 0.3 + 0.01 * n, "metal") for n, p in enumerate("abx")]
    groups = groups_by_site([*before, *after])
    assert [group.name for group in groups] == ["as it was", "metal"] and not groups[0].changes
    assert groups[1].changes["dice"].value == pytest.approx(-0.3)
    assert groups[1].changes["variance, mean"].value == pytest.approx(0.205)
    assert groups[1].changes["dice"].n == 2


def test_detection_and_coverage():
    random = np.random.default_rng(0)
    own = [scored(f"p{n % 9}", d, (1 - d) * random.uniform(0.9, 1.1), bound=0.7)
           for n, d in enumerate(random.uniform(0.5, 1, 90))]
    found = detections(own, 0.8)
    assert set(found) == {"variance, mean", "variance, over the surface", "expected Dice",
                          "predicted Dice", "lower bound"}
    assert found["predicted Dice"].auroc.value > 0.97
    assert found["predicted Dice"].pearson.value > 0.9
    assert found["lower bound"].auroc.value == 0.5 and math.isnan(
        found["lower bound"].pearson.value)
    assert found["predicted Dice"].risk.value < found["lower bound"].risk.value
    held = coverage(own)
    assert held.value == pytest.approx(np.mean([one.dice >= 0.7 for one in own]))
    assert held.low < held.value < held.high


# --- the study and its use -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


def write_study(folder, patients):
    """Scans of two thighs in noise of many strengths, and one of nothing that is known."""
    entries = []
    calm = thighs(size_mm=SHORT, noise=0.0)
    labels = np.zeros(calm.shape, np.uint8)
    labels[calm == 55], labels[calm == 700] = MUSCLE, BONE
    for number in range(patients):
        ct = thighs(size_mm=SHORT, noise=5.0 + 12.0 * (number % 4)).clip(-1000, None)
        sitk.WriteImage(as_image(ct), str(folder / f"{number}.nrrd"))
        write_seg_nrrd(folder / f"{number}.seg.nrrd", as_image(labels), [
            SegmentDescription(s.value, s.name, s.display_name, s.color, terminology_entry(s))
            for s in STRUCTURES if s.value in (BONE, MUSCLE)])
        entries.append({"image": f"{number}.nrrd", "segmentation": f"{number}.seg.nrrd",
                        "patient": number, "site": "loud" if number % 4 else "quiet"})
    sitk.WriteImage(as_image(np.where(calm > 0, -100, calm)), str(folder / "fat.nrrd"))
    entries.append({"image": "fat.nrrd", "patient": "fat", "site": "loud"})
    path = folder / "list.json"
    path.write_text(json.dumps({"training": entries, "simulated": True}), "utf-8")
    return path


def study(data, model, output, said=None, **options):
    with run_job(module="MuscleSeg", command="confidence", output=output, progress="none",
                 device="cpu") as job:
        confidence_command.run(
            job, confidence_command.Options(data, model, samples=2, **options),
            (said if said is not None else []).append)
    return read_result(output)


@pytest.fixture(scope="module")
def studied(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    said = []
    result = study(write_study(folder, 8), model, folder / "out", said, coverage=0.7)
    return folder / "out", result, said


def test_a_study_writes_a_report_a_table_and_a_calibration(studied):
    folder, result, said = studied
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "scores.csv", "calibration.json", "scatter.png", "risk_coverage.png",
        "calibration.png", "result.json"}
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 * 4 and {row["side"] for row in rows} == {"left", "right"}
    for row in rows:
        assert 0 <= float(row["dice_lower_bound"]) <= float(row["predicted_dice"]) <= 1
        assert float(row["variance"]) <= 1 and float(row["mutual_information_over_surface_mm"]) >= 0
    assert result["counts"] == {"scans": 9, "patients": 9, "refused": 1, "missed": 0}
    assert set(result["sites"]) == {"quiet", "loud"}
    held = np.mean([float(row["dice"]) >= float(row["dice_lower_bound"]) for row in rows])
    assert result["coverage"]["value"] == pytest.approx(held, abs=0.04)
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/png") == 3 and "simulated" in page and "AUROC" in page
    assert "1 scans refused" in said[0]


def test_scans_alike_have_the_same_dice(studied):
    """Labels were once read from an image that was gone already, and could be anything."""
    with (studied[0] / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    dice = np.reshape([float(row["dice"]) for row in rows], (8, 4))
    np.testing.assert_array_equal(dice[:4], dice[4:])  # the noise of the second four is the same
    assert dice.min() > 0.95


def test_segment_says_what_dice_to_expect(studied, model, tmp_path):
    folder, _, _ = studied
    sitk.WriteImage(as_image(thighs(size_mm=SHORT)), str(tmp_path / "ct.nrrd"))

    def segment(output, samples=2, model=model, uncertainty="variance",
                calibration=folder / "calibration.json", sides=True):
        with run_job(module="MuscleSeg", command="segment", output=tmp_path / output,
                     progress="none", device="cpu") as job:
            segmentation.run(job, tmp_path / "ct.nrrd", str(model), None, samples, sides,
                             uncertainty, calibration)
        return read_result(tmp_path / output)

    result = segment("known")
    assert result["calibration"]["patients"] == 8 and result["calibration"]["simulated"] is True
    with (tmp_path / "known" / "measurements.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    for row, entry in zip(rows, result["structures"], strict=True):
        assert float(row["predicted_dice"]) == entry["predicted_dice"] > 0.5
        low = float(row["dice_lower_bound"])
        assert 0 <= low <= float(row["predicted_dice"])
        assert row["check"].startswith("Dice may be only") == (low < 0.8)
    assert len(segment("together", sides=False)["structures"]) == 2

    other = segment("other", uncertainty="mutual-information")
    assert any("another uncertainty, the variance" in text for text in other["warnings"])
    assert "predicted_dice" not in other["structures"][0] and "calibration" not in other
    few = segment("few", samples=1)
    assert any("at least 2 samples" in text for text in few["warnings"])
    maps = [sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name / "uncertainty.nrrd")))
            for name in ("known", "other")]
    assert (maps[0] != maps[1]).any() and 0 < maps[1].max() <= 1

    low = flat(bound=0.4, samples=2)
    own = write_tiny_bundle(tmp_path / "calibrated", **{KEY: low.written()})
    rows = segment("own", model=own, calibration=None)["structures"]
    assert {row["check"] for row in rows} == {"Dice may be only 0.40"}
    wrong = write_tiny_bundle(tmp_path / "damaged", **{KEY: {"level": 1}})
    with pytest.raises(ModelUntrusted, match="not made for this module"):
        segment("no", model=wrong, calibration=None)


def test_the_promise_that_a_model_came_with_is_held_against_the_patients(studied, tmp_path):
    folder, result, _ = studied
    assert "own_promise" not in result  # of a model that promises nothing
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    dice = {site: np.array([float(row["dice"]) for row in rows if row["site"] == site])
            for site in ("quiet", "loud")}
    bound = float(np.median(np.concatenate(list(dice.values())))) + 1e-4  # of rounded numbers
    promise = flat(bound, predicted=1.0, samples=2)
    promising = write_tiny_bundle(tmp_path / "promising", **{KEY: promise.written()})
    data = write_study(tmp_path, 8)
    said = []
    own = study(data, str(promising), tmp_path / "out", said, coverage=0.7)["own_promise"]
    for site, here in dice.items():
        assert own["sites"][site]["coverage"]["value"] == pytest.approx(np.mean(here >= bound))
    assert 0.2 < own["coverage"]["value"] < 0.8 and own["coverage"]["n"] == 8
    assert own["flags"]["to_check"] == 0  # the bound is above the level
    assert own["calibration"] == promise.summary
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "own promise hold here" in page and "own bound holds" in page
    assert "promises already" in said[-1]

    more = write_tiny_bundle(tmp_path / "more", **{KEY: flat(samples=9).written()})
    result = study(data, str(more), tmp_path / "few", coverage=0.7)
    assert "own_promise" not in result
    assert any("own promise is not held against" in text and "at least 9 samples" in text
               for text in result["warnings"])


def test_few_patients_are_refused_before_anything_is_computed(model, tmp_path):
    with pytest.raises(BadInput, match="names 5 patients, but .* at least 6"):
        study(write_study(tmp_path, 4), model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_said_before_anything_is_computed(model, tmp_path, monkeypatch):
    monkeypatch.setattr(confidence_fitting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="MAPIE and scikit-learn: install them"):
        study(tmp_path / "no-list.json", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
