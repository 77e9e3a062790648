# SPDX-License-Identifier: Apache-2.0
"""What is done to CTs to make a model unsure: to the picture and to the labels alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MuscleSegLib import stress_command
from MuscleSegLib.stress import KINDS, THIGH, Body, stressed
from MuscleSegLib.structures import FEMUR, LEFT_OFFSET
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.datalists import read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import read_result

from . import muscle_body

MUSCLE = THIGH[0]


def body(slices: int = 20) -> Body:
    """Two thighs of fat, each with a muscle around a femur."""
    ct = np.full((slices, 60, 110), -1000, np.float32)
    labels = np.zeros(ct.shape, np.uint8)
    y, x = np.mgrid[:60, :110]
    for side, middle in ((0, 30), (LEFT_OFFSET, 80)):
        distance = np.hypot(y - 30, x - middle)
        for radius, hu, value in ((24, -100, 0), (18, 50, MUSCLE), (6, 600, FEMUR)):
            ct[:, distance < radius] = hu
            labels[:, distance < radius] = value + side if value else 0
    return Body(ct, labels, (5.0, 2.5, 2.5))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "elsewhere"])
def test_the_same_seed_does_the_same_and_the_body_stays(kind):
    before = body(slices=4)
    first, second, other = (stressed(before, kind, (seed, 1)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.hounsfield, second.hounsfield)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.spacing == second.spacing
    assert first.spacing != other.spacing or (first.hounsfield != other.hounsfield).any()
    np.testing.assert_array_equal(before.hounsfield, body(slices=4).hounsfield)
    np.testing.assert_array_equal(before.labels, body(slices=4).labels)
    assert first.hounsfield.min() >= -1024 and first.hounsfield.max() <= 3071
    assert first.labels.dtype == np.uint8


def test_a_tumour_pushes_the_tissue_aside_without_loss():
    before = body()
    found = stressed(before, "swollen", (0, 1))
    changed = {value: np.count_nonzero(found.labels == value) / np.count_nonzero(
        before.labels == value) for value in (MUSCLE, MUSCLE + LEFT_OFFSET)}
    swollen, healthy = sorted(changed, key=lambda value: abs(changed[value] - 1), reverse=True)
    tissue = [np.count_nonzero(one.hounsfield > -300) for one in (before, found)]
    assert tissue[1] > 1.03 * tissue[0]  # the leg is thicker
    assert 0.7 < changed[swollen] < 1.15 and changed[healthy] == pytest.approx(1, abs=0.1)
    mass = (found.labels == 0) & (found.hounsfield > 0)
    assert mass.sum() * np.prod(before.spacing) / 1000 > 40  # mL, of no structure


def test_metal_lies_in_a_femur_and_its_streaks_beside_it():
    before = body(slices=8)
    found = stressed(before, "metal", (0, 1))
    metal = found.hounsfield == 3071
    assert 0.3 < np.isin(before.labels[metal], (FEMUR, FEMUR + LEFT_OFFSET)).mean() <= 1
    np.testing.assert_array_equal(found.labels, before.labels)
    beside = (before.labels > 0) & ~metal
    error = np.abs(found.hounsfield - before.hounsfield)[beside]
    assert 20 < error.mean() < 1000


def test_beyond_a_small_field_of_view_nothing_is_to_be_found():
    before = body()
    found = stressed(before, "truncation", (0, 1))
    lost = (before.labels > 0) & (found.labels == 0)
    assert lost.any() and (found.hounsfield[lost] == -1024).all()
    kept = found.labels > 0
    assert kept.any() and (found.labels[kept] == before.labels[kept]).all()


def test_contrast_agent_makes_vessels_and_muscles_denser():
    before = body()
    found = stressed(before, "contrast", (0, 1))
    muscle = (before.labels == MUSCLE) & (found.hounsfield < 230)
    assert 20 < (found.hounsfield - before.hounsfield)[muscle].mean() < 120
    vessels = (found.hounsfield >= 250) & (before.hounsfield < 250)
    assert vessels.any((1, 2)).all()


def test_noise_is_as_strong_as_it_says():
    before = body()
    difference = stressed(before, "noise", (0, 1)).hounsfield - before.hounsfield
    assert 60 < difference[before.labels == MUSCLE].std() < 130


def test_a_child_is_half_as_large():
    found = stressed(body(), "child", (0, 1))
    assert 0.45 * 5 <= found.spacing[0] <= 0.6 * 5
    assert found.spacing[1] / found.spacing[0] == pytest.approx(0.5)


def test_what_cannot_be_done_is_said():
    empty = Body(body().hounsfield, np.zeros((20, 60, 110), np.uint8), (5.0, 2.5, 2.5))
    with pytest.raises(BadInput, match="No femur"):
        stressed(empty, "metal", (0,))
    with pytest.raises(BadInput, match="No muscle of the thigh"):
        stressed(empty, "swollen", (0,))
    with pytest.raises(BadInput, match='kind "flood" .* choose one of swollen, metal'):
        stressed(empty, "flood", (0,))


def make(data, output, kinds, said):
    with run_job(module="MuscleSeg", command="stress", output=output, progress="none") as job:
        stress_command.run(job, stress_command.Options(data, kinds), said.append)
    return read_result(output)


def test_a_stress_set_is_a_list_with_sites(tmp_path):
    ct, segmentation = muscle_body.write_pair(tmp_path / "a")
    data = tmp_path / "list.json"
    data.write_text(json.dumps({"simulated": True, "training": [
        {"image": str(ct), "segmentation": str(segmentation), "patient": "7"}]}), "utf-8")
    said = []
    result = make(data, tmp_path / "out", ("noise", "child"), said)
    assert result["scans"] == 3 and "1 CTs" in said[0]
    written = json.loads((tmp_path / "out" / "datalist.json").read_text("utf-8"))
    assert written["simulated"] is True
    pairs = read_pairs(tmp_path / "out" / "datalist.json", "segmentation")["training"]
    assert [(pair.site, pair.patient) for pair in pairs] == [
        ("as it was", "7"), ("noise", "7"), ("child", "7")]
    unchanged, _, child = (sitk.ReadImage(str(pair.image)) for pair in pairs)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(unchanged), muscle_body.body()[0])
    assert child.GetSpacing()[0] < 0.61 * unchanged.GetSpacing()[0]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(pairs[0].companion)))
    np.testing.assert_array_equal(labels > 0, muscle_body.body()[1] > 0)
    with pytest.raises(BadInput, match="choose one of"):
        make(data, tmp_path / "no", ("flood",), said)
    assert not (tmp_path / "no").exists()
