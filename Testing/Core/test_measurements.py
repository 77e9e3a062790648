# SPDX-License-Identifier: Apache-2.0
"""Volumes, densities and doubts against direct sums, and the table they are written to."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MuscleSegLib.confidence import PredictedDice
from MuscleSegLib.measurements import Measurement, found_on_one_side, measure, write_csv
from MuscleSegLib.structures import labels_of


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.floats(0.001, 0.1))
def test_same_as_direct_sums(seed, sides, voxel_ml):
    random = np.random.default_rng(seed)
    known = labels_of(sides)
    values = random.choice([item.value for item in known], 4, replace=False)
    labels = random.choice([0, *values], (6, 9, 8)).astype(np.uint8)
    ct = random.integers(-1024, 3071, labels.shape).astype(np.int16)
    doubt = random.random(labels.shape).astype(np.float32)
    found = measure(ct, labels, doubt, voxel_ml, known, uncertainty_limit=0.5)
    expected = [item for item in known if (labels == item.value).any()]
    assert [(f.structure, f.side) for f in found] == [
        (item.structure.name, item.side or "") for item in expected]
    for result, item in zip(found, expected, strict=True):
        mask = labels == item.value
        assert result.volume_ml == pytest.approx(mask.sum() * voxel_ml, abs=0.0051)
        assert result.mean_hu == pytest.approx(ct[mask].mean(dtype=float), abs=0.051)
        assert result.uncertainty == pytest.approx(doubt[mask].mean(dtype=float), abs=6e-5)
        assert ("uncertain" in result.check) == (doubt[mask].mean(dtype=float) > 0.5)
        ends = mask[0].any() or mask[-1].any()
        assert result.cut_off == ("yes" if ends else "")


def single(z=slice(2, 4), doubt=0.0, limit=0.5) -> list[Measurement]:
    labels = np.zeros((6, 10, 10), np.uint8)
    labels[z, 3:7, 2:9] = 4
    return measure(np.full(labels.shape, 55, np.int16), labels,
                   np.full(labels.shape, doubt, np.float32), 0.01, labels_of(False), limit)


def test_reasons_to_look():
    assert single()[0].check == ""
    assert single(doubt=0.6)[0].check == "uncertain"
    assert single(z=slice(0, 3))[0].cut_off and not single(z=slice(0, 3))[0].check
    both = single(z=slice(3, 6), doubt=0.9)[0]
    assert both.check == "uncertain" and both.cut_off
    assert single(doubt=0.6, limit=1.0)[0].check == ""


def test_what_dice_is_expected_decides_where_it_is_known():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1:3, 1:3, 1:3], labels[1:3, 4:6, 4:6] = 4, 5
    doubt = np.full(labels.shape, 0.9, np.float32)
    first, second = measure(labels, labels, doubt, 0.01, labels_of(False), 0.5,
                            {4: PredictedDice(0.93, 0.8504, 0.8)})
    assert (first.predicted_dice, first.dice_lower_bound, first.check) == (0.93, 0.85, "")
    assert (second.predicted_dice, second.check) == (None, "uncertain")
    [low] = measure(labels, np.where(labels == 4, 4, 0).astype(np.uint8), 0 * doubt, 0.01,
                    labels_of(False), 0.5, {4: PredictedDice(0.93, 0.7996, 0.8)})
    assert low.check == "Dice may be only 0.79" and low.row["dice_lower_bound"] == 0.8


def test_a_structure_by_hand():
    assert single(doubt=0.25) == [Measurement("gluteus_maximus", "", 0.56, 55.0, 0.25, "")]


def test_nothing_found_gives_no_lines():
    empty = np.zeros((3, 4, 4))
    assert measure(empty, empty.astype(np.uint8), empty, 1.0, labels_of(True), 0.5) == []


def test_large_sums_are_exact():
    labels = np.full((40, 300, 300), 1, np.uint8)
    ct = np.full(labels.shape, 3071, np.int16)
    found = measure(ct, labels, np.full(labels.shape, 0.1, np.float32), 0.001, labels_of(False), 1)
    assert (found[0].volume_ml, found[0].mean_hu, found[0].uncertainty) == (3600.0, 3071.0, 0.1)


def test_a_side_that_was_missed_is_told():
    def line(name: str, side: str, cut_off: str = "", volume_ml: float = 10.0) -> Measurement:
        return Measurement(name, side, volume_ml, 50.0, 0.01, "", cut_off)

    both = [line("femur", "left"), line("femur", "right")]
    assert found_on_one_side([*both, line("sacrum", "")]) == []
    gracilis = line("gracilis", "right")
    assert found_on_one_side([*both, gracilis]) == [gracilis]
    assert found_on_one_side([*both, line("gracilis", "right", "yes")]) == []
    assert found_on_one_side([*both, line("gracilis", "right", volume_ml=0.03)]) == [], "a speck"
    assert found_on_one_side([line("femur", "left"), line("gracilis", "left")]) == [], "one leg"
    assert found_on_one_side([]) == []


def test_table(tmp_path):
    lines = [Measurement("femur", "left", 412.5, 310.2, 0.0123, ""),
             Measurement("psoas_major", "", 10.0, -3.5, 0.9, "uncertain", "yes")]
    write_csv(tmp_path / "measurements.csv", lines)
    with (tmp_path / "measurements.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["structure", "side", "volume_ml", "mean_hu", "uncertainty", "check",
                             "cut_off"]
    assert (rows[1]["check"], rows[1]["cut_off"], rows[0]["cut_off"]) == ("uncertain", "yes", "")
    assert float(rows[0]["mean_hu"]) == 310.2
    write_csv(tmp_path / "known.csv", [Measurement("femur", "", 1, 2, 0, "", "", 0.9, 0.8)])
    assert (tmp_path / "known.csv").read_text("utf-8").splitlines() == [
        "structure,side,volume_ml,mean_hu,uncertainty,check,cut_off,predicted_dice,"
        "dice_lower_bound", "femur,,1,2,0,,,0.9,0.8"]
    write_csv(tmp_path / "none.csv", [])
    assert (tmp_path / "none.csv").read_text("utf-8").count("\n") == 1
