# SPDX-License-Identifier: Apache-2.0
"""The active-learning experiment: the annotator, the costs, the arms, and what they add up to."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MuscleSegLib import active_learning_command
from MuscleSegLib.active_learning import ARMS, Plan, Point, Scans, run_arm
from MuscleSegLib.active_learning_curves import (
    Curve,
    cost_to_reach,
    equal_cost,
    measured,
    over_seeds,
)
from MuscleSegLib.active_learning_network import mean_dice
from MuscleSegLib.active_learning_report import lines, page, sentences
from MuscleSegLib.labelled_scans import LabelledScan
from MuscleSegLib.review_queue import Candidate, least_confident
from MuscleSegLib.simulated_annotator import Cost, SimulatedAnnotator, corrected_regions
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .muscle_factory import BONE, MUSCLE, as_image, thighs

TINY = Plan(rounds=2, start=2, first_steps=2, steps=1, batch=1, samples=2, candidates=3)


def small_scan(patient, seed=0, slices=5):
    """A scan of a body with two structures that lie elsewhere in each slice."""
    random = np.random.default_rng(seed)
    hounsfield = np.full((slices, 24, 32), -1000, np.int16)
    target = np.zeros(hounsfield.shape, np.uint8)
    hounsfield[:, 2:22, 2:30] = 0
    for plane, labels in zip(hounsfield, target, strict=True):
        for value, density in ((BONE, 700), (MUSCLE, 60)):
            y, x = random.integers(4, 12), random.integers(4, 18)
            plane[y : y + 6, x : x + 6] = density
            labels[y : y + 6, x : x + 6] = value
    return LabelledScan(hounsfield, target, (9.0, 8.0, 8.0), patient, frozenset({BONE, MUSCLE}))


# ---------------------------------------------------------------------------------------- annotator


def test_the_annotator_reveals_no_more_than_was_asked():
    scan = small_scan("a")
    annotator = SimulatedAnnotator([scan, small_scan("b", 1)])
    asked = np.zeros(scan.target.shape[1:], bool)
    asked[5:9, 4:20] = True
    cost = annotator.answer(0, 2, asked, np.zeros(asked.shape, np.uint8))
    assert (annotator.known[0][2][asked] == scan.target[2][asked]).all()
    annotator.known[0][2][asked] = 255
    assert all((known == 255).all() for known in annotator.known)
    assert cost.slices == 1 and cost.pixels == asked.sum() == 64


def test_costs_are_counted_once_for_pixels_and_each_time_for_slices():
    scan = small_scan("a")
    scan.target[1, 3:6, 3:6] = 255
    annotator = SimulatedAnnotator([scan])
    everything = np.ones(scan.target.shape[1:], bool)
    shown = scan.target[1].copy()
    cost = annotator.answer(0, 1, everything, shown)
    body = (scan.hounsfield[1] > -300) & (scan.target[1] != 255)
    assert cost == Cost(1, int(body.sum()), 0)  # air needs no hand, nothing was wrong
    assert (annotator.known[0][1, 3:6, 3:6] == 255).all()  # the truth does not know
    assert annotator.answer(0, 1, everything, shown) == Cost(1, 0, 0)
    assert annotator.cost == Cost(2, int(body.sum()), 0)


def test_a_region_is_what_one_stroke_corrects():
    truth = np.zeros((8, 12), np.uint8)
    truth[1:4, 1:4], truth[1:4, 4:7] = 1, 2  # two structures side by side
    truth[4, 7] = 2  # touches the second at a corner
    asked = np.ones(truth.shape, bool)
    nothing = np.zeros_like(truth)
    assert corrected_regions(truth, truth, asked) == 0
    assert corrected_regions(nothing, truth, asked) == 2
    assert corrected_regions(np.where(truth == 1, 1, 0), truth, asked) == 1
    wrong = truth.copy()
    wrong[6, 1:3], wrong[6, 6:8] = 3, 3  # two places where nothing is
    assert corrected_regions(wrong, truth, asked) == 2
    asked[:, 5:] = False
    assert corrected_regions(wrong, truth, asked) == 1
    assert corrected_regions(nothing, truth, np.zeros_like(asked)) == 0


# --------------------------------------------------------------------------------------------- arms


@pytest.fixture(scope="module")
def scans():
    return Scans([small_scan(name, seed) for seed, name in enumerate("ab")],
                 [small_scan("c", 9, slices=3)])


def test_all_arms_are_equal_when_everything_is_labelled(scans, tmp_path):
    plan = Plan(rounds=3, start=2, first_steps=2, steps=1, batch=1, samples=2, candidates=2,
                share=1.0, continued=False)  # 2, 4, 8, and then all 10 slices
    ends = {arm: run_arm(arm, 3, scans, plan, tmp_path)[-1] for arm in ARMS}
    pixels = sum(int((scan.hounsfield > -300).sum()) for scan in scans.pool)
    for end in ends.values():
        assert (end.cost.slices, end.cost.pixels) == (10, pixels)
        assert end.dice == ends["everything"].dice


def test_arms_start_alike_ask_as_often_and_do_the_same_again(scans, tmp_path):
    runs = {arm: run_arm(arm, 0, scans, TINY, tmp_path) for arm in ARMS}
    starts = [points[0] for points in runs.values()]
    assert starts[1:] == starts[:-1]
    for arm, points in runs.items():
        slices = [point.cost.slices for point in points]
        assert slices == ([2, 10] if arm == "everything" else [2, 4, 8])
    start, *_, end = runs["pixels"]
    shown = end.cost.slices - start.cost.slices
    body = int((scans.pool[0].hounsfield[0] > -300).sum())
    assert 0 < end.cost.pixels - start.cost.pixels <= TINY.share * shown * body
    assert runs["entropy"][-1].cost.pixels == 8 * body
    assert run_arm("pixels", 0, scans, TINY, tmp_path / "other") == runs["pixels"]
    assert run_arm("random", 1, scans, TINY, tmp_path)[0] != starts[0]


def test_a_start_of_more_slices_than_have_structures_takes_those(scans, tmp_path):
    scans = Scans([small_scan("a"), small_scan("b", 1)], scans.tested)
    for scan in scans.pool:
        scan.target[1:] = 0
    plan = Plan(rounds=1, start=5, first_steps=1, steps=1, batch=1, samples=2, candidates=2)
    start, end = run_arm("entropy", 0, scans, plan, tmp_path)
    assert (start.cost.slices, end.cost.slices) == (2, 7)


def test_the_distance_of_slices_gives_way_to_their_number():
    pool = [Candidate(0, index, 9.0 * index, score) for index, score in enumerate(
        (0.9, 0.8, np.nan, 0.7, 0.1))]
    assert [each.index for each in least_confident(pool, 2, 18.0, [])] == [0, 3]
    assert [each.index for each in least_confident(pool, 3, 18.0, [])] == [0, 1, 3]
    assert len(least_confident(pool, 9, 18.0, [])) == 5
    shown = [Candidate(0, 5, 45.0, 0.0)]
    assert [each.index for each in least_confident(pool, 1, 36.0, shown)] == [0]


def test_the_dice_is_of_what_the_truth_has_and_knows():
    truth = np.zeros((2, 4, 4), np.uint8)
    truth[0, :2], truth[1, 0, 0] = 3, 255
    found = truth.copy()
    found[1, 0, 0], found[1, 3, 3] = 5, 7  # unknown, and a structure that is not there
    assert mean_dice(found, truth) == 1.0
    found[0, 1] = 0
    assert mean_dice(found, truth) == pytest.approx(2 * 4 / (8 + 4))


# ------------------------------------------------------------------------------------- statistics


def points(costs, dice):
    return [Point(number, Cost(cost, 10 * cost, 2 * cost), (value - 0.1, value + 0.1))
            for number, (cost, value) in enumerate(zip(costs, dice, strict=True))]


def test_a_curve_is_linear_in_the_logarithm_of_the_cost():
    curve = Curve.of(points((1, 10, 100), (0.2, 0.4, 0.8)), "slices")
    assert curve.at(math.sqrt(1000)) == pytest.approx(0.6)
    assert curve.cost_of(0.6) == pytest.approx(math.sqrt(1000))
    assert curve.cost_of(0.1) == 1 and math.isinf(curve.cost_of(0.9))
    held = Curve.of(points((1, 1, 10), (0.2, 0.3, 0.4)), "slices")  # a round that cost nothing
    assert held.at(1) == pytest.approx(0.3)


def test_an_interval_over_seeds_is_students():
    estimate = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445 * math.sqrt(2.5 / 5)  # t of 4 degrees of freedom
    assert (estimate.value, estimate.n) == (3.0, 5)
    assert estimate.low == pytest.approx(3 - half, abs=1e-4)
    assert estimate.high == pytest.approx(3 + half, abs=1e-4)
    assert math.isnan(over_seeds([1.0]).low)


def test_arms_are_compared_where_both_curves_are_and_paired_by_seed():
    first = {seed: points((10, 1000), (0.1 * seed + 0.3, 0.1 * seed + 0.5)) for seed in range(3)}
    second = {seed: points((1, 100), (0.1 * seed, 0.1 * seed + 0.4)) for seed in range(3)}
    found = equal_cost(first, second, "slices")
    assert (found["low"], found["high"]) == (10, 100)
    # 0.3 - 0.2 at 10 and 0.4 - 0.4 at 100, in every seed
    for name, value in (("mean", 0.05), ("end", 0.0)):
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["high"] - found[name]["low"] == pytest.approx(0, abs=1e-9)
    apart = equal_cost({0: points((1, 2), (0.1, 0.2))}, {0: points((3, 4), (0.1, 0.2))}, "slices")
    assert apart["mean"] is None


def test_the_cost_to_reach_is_a_share_of_that_of_everything_or_not_reached():
    whole = {seed: points((1, 1000), (0.1, 0.8)) for seed in range(2)}
    arm = {0: points((1, 10, 100), (0.1, 0.76, 0.79)), 1: points((1, 10, 100), (0.1, 0.2, 0.76))}
    found = cost_to_reach(arm, whole, "pixels", 0.95)
    assert found["reached"] == 2
    assert found["of_cost"]["value"] == pytest.approx(math.sqrt(0.01 * 0.1))
    assert found["of_cost"]["low"] < found["of_cost"]["value"] < found["of_cost"]["high"]
    assert cost_to_reach(arm, whole, "pixels", 0.98) == {
        "of_dice": 0.98, "reached": 1, "at_start": 0, "seeds": 2, "of_cost": None}
    easy = cost_to_reach(arm, whole, "pixels", 0.1)
    assert easy["at_start"] == 2 and easy["of_cost"]["value"] == pytest.approx(0.001)


def test_the_report_says_what_was_found_and_what_was_published():
    runs = {"foreground": {seed: points((4, 8), (0.5, 0.6 + 0.01 * seed)) for seed in range(2)},
            "pixels": {seed: points((4, 8), (0.5, 0.55)) for seed in range(2)},
            "everything": {seed: points((4, 100), (0.5, 0.8)) for seed in range(2)}}
    found = measured(runs, Cost(100, 1000)) | {"tested_patients": 2, "seeds": 2}
    said = sentences(found)
    assert "At equal cost in slices opened (4 to 8)" in said[0] and "-0.0" in said[0]
    assert "90% not reached by 2 of 2 seeds" in said[3]
    assert any("everything" in line and "0.800" in line for line in lines(found))
    without = measured({"random": runs["foreground"]}, Cost(100, 1000))
    assert sentences(without) == [] and "cost_to_reach" not in without


# ------------------------------------------------------------------------------------------ command


def write_case(folder, name, noise, values=(BONE, MUSCLE)):
    size = (60.0, 150.0, 240.0)
    calm = thighs(size_mm=size, noise=0.0)
    labels = np.zeros(calm.shape, np.uint8)
    labels[calm == 55], labels[calm == 700] = MUSCLE, BONE
    labels[~np.isin(labels, values)] = 0
    sitk.WriteImage(as_image(thighs(size_mm=size, noise=noise)), str(folder / f"{name}.nrrd"))
    names = {BONE: "pelvis", MUSCLE: "gluteus_maximus"}
    write_seg_nrrd(folder / f"{name}.seg.nrrd", as_image(labels), [
        SegmentDescription(value, names[value], names[value], (9, 9, 9)) for value in values])
    return {"image": f"{name}.nrrd", "segmentation": f"{name}.seg.nrrd", "patient": name}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    entries = [write_case(folder, name, noise) for name, noise in (("a", 5), ("b", 9), ("c", 14))]
    (folder / "list.json").write_text(json.dumps({"simulated": True, "training": entries}))
    (folder / "one.json").write_text(json.dumps({"training": entries[:1]}))
    (folder / "parted.json").write_text(json.dumps({"training": entries[:2],
                                                    "test": entries[2:]}))
    return folder


def run(data, output, work, arms=("foreground", "pixels", "everything"), plan=TINY, seeds=2):
    with run_job(module="MuscleSeg", command="active-learning", output=output,
                 progress="none") as job:
        active_learning_command.run(job, active_learning_command.Options(
            data, work, arms, seeds, plan), lambda line: None)
    return read_result(output)


def test_an_experiment_that_was_cut_off_ends_as_one_that_was_not(data, tmp_path, monkeypatch):
    result = run(data / "list.json", tmp_path / "whole", tmp_path / "w1")
    done = []

    def cut_off(arm, seed, *arguments):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arm)
        return run_arm(arm, seed, *arguments)

    monkeypatch.setattr(active_learning_command, "run_arm", cut_off)
    with pytest.raises(BaseException, match="cancelled"):
        run(data / "list.json", tmp_path / "again", tmp_path / "w2")
    monkeypatch.undo()
    asked = []
    monkeypatch.setattr(active_learning_command, "run_arm", lambda arm, seed, *arguments: (
        asked.append((arm, seed)), run_arm(arm, seed, *arguments))[1])
    run(data / "list.json", tmp_path / "again", tmp_path / "w2")
    assert asked == [("foreground", 1), ("pixels", 1), ("everything", 1)]
    for name in ("curves.csv", "curves.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()

    rows = list(csv.DictReader((tmp_path / "whole" / "curves.csv").open(encoding="utf-8")))
    assert len(rows) == 2 * (3 + 3 + 2) and {row["seed"] for row in rows} == {"0", "1"}
    assert result["pool_patients"] == 2 and result["tested_patients"] == 1
    warnings = " ".join(result["warnings"])
    assert "simulated" in warnings and "2 seeds are few" in warnings and "too little" in warnings
    text = (tmp_path / "whole" / "report.html").read_text("utf-8")
    assert "1/90" in text and "simulated" in text and "At equal cost in regions" in text
    assert min(Image.open(tmp_path / "whole" / "curves.png").size) > 300
    assert set(result["equal_cost"]) == {"slices", "pixels", "regions"}

    with pytest.raises(BadInput, match="another name|other images, weights or settings"):
        run(data / "list.json", tmp_path / "other", tmp_path / "w1",
            plan=Plan(rounds=1, start=2, first_steps=2, steps=1, batch=1))


def test_what_cannot_be_compared_is_refused(data, tmp_path):
    def refused(file, match, **options):
        with pytest.raises(BadInput, match=match):
            run(data / file, tmp_path / "out", tmp_path / "work", **options)
        assert not (tmp_path / "out").exists()

    refused("one.json", "one patient only")
    refused("list.json", 'no arm "oracle"', arms=("oracle",))
    refused("list.json", "each arm once", arms=("random", "random"))
    refused("none.json", "cannot be found")


def test_the_test_part_of_a_list_is_measured_on(data, tmp_path):
    plan = Plan(rounds=1, start=1, first_steps=1, steps=1, batch=1, samples=2, candidates=2)
    run(data / "parted.json", tmp_path / "out", tmp_path / "work", ("random",), plan, seeds=1)
    header = (tmp_path / "out" / "curves.csv").read_text("utf-8").splitlines()[0]
    assert header == "arm,seed,round,slices,pixels,regions,dice,dice_c"
    found = read_result(tmp_path / "out")
    assert "equal_cost" not in found and found["curves"]["random"][0]["dice"]["low"] is None
    assert "Not measured" in page(found, tmp_path / "out" / "curves.png", [])
