# SPDX-License-Identifier: Apache-2.0
"""What changed in bone stands out, and nothing else does."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import norm

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import read_result
from TemporalSubtractionLib import classical, sample_pair, starter
from TemporalSubtractionLib.__main__ import app
from TemporalSubtractionLib.bone_parts import bone_parts
from TemporalSubtractionLib.bones import bone_mask
from TemporalSubtractionLib.calibration import Calibration
from TemporalSubtractionLib.candidates import (
    Candidate,
    add_mixed,
    find_candidates,
    ranked,
    strength_of,
)
from TemporalSubtractionLib.comparison import Classical, Compared, compare
from TemporalSubtractionLib.follow_up import simulate_follow_up
from TemporalSubtractionLib.harmonisation import harmonise
from TemporalSubtractionLib.lesions import in_follow_up, insert_lesions
from TemporalSubtractionLib.shifts import weighed_scores
from TemporalSubtractionLib.simulated_pairs import CTS, simulated_pair
from TemporalSubtractionLib.subtraction import CALIBRATIONS, read_calibration
from TemporalSubtractionLib.training_pairs import read_pair, save_pair

from .spine_factory import STEP, spine

SPACING = (STEP,) * 3


def arrays(*images):
    return [sitk.GetArrayFromImage(image) for image in images]


def like(array, image) -> sitk.Image:
    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    return result


@pytest.fixture(scope="module")
def patient():
    return spine()


@pytest.fixture(scope="module")
def changed(patient):
    """A prior CT, and a current one in which every bone moved and three lesions are new."""
    prior, labels = patient
    lesions = insert_lesions(prior, bone_mask(prior), 3, 5, (11, 14), (250, 350),
                             ("denser", "thinner"), apart_mm=20)
    follow_up = simulate_follow_up(lesions.image, labels, seed=3)
    return prior, follow_up.current, lesions, in_follow_up(lesions, follow_up)


@dataclass(frozen=True)
class Result:
    folder: Path
    manifest: dict


def subtract(tmp_path, prior, current, *options) -> Result:
    paths = [str(tmp_path / name) for name in ("prior.nrrd", "current.nrrd")]
    for image, path in zip((prior, current), paths, strict=True):
        sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), path)
    app.run(["subtract", *paths, "--output", str(tmp_path / "result"), "--progress", "none",
             *map(str, options)])
    return Result(tmp_path / "result", read_result(tmp_path / "result"))


def candidates_of(result: Result) -> list[dict]:
    with (result.folder / "candidates.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- lesions -------------------------------------------------------------------------------------

@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["denser", "thinner", "mixed"]))
def test_lesions_change_bone_only_and_in_their_own_way(patient, seed, kind):
    prior, _ = patient
    bone = bone_mask(prior)
    made = insert_lesions(prior, bone, 3, seed, (8, 15), (100, 300), (kind,))
    before, after, truth, inside = arrays(prior, made.image, made.truth, bone)
    assert not (after != before)[inside == 0].any()
    assert not truth[inside == 0].any()
    assert set(np.unique(truth)) == {0, *(lesion.number for lesion in made.lesions)}
    for lesion in made.lesions:
        change = (after - before)[truth == lesion.number]
        assert np.abs(change).mean() == pytest.approx(lesion.hu_change, rel=1e-4)
        assert kind != "denser" or (change >= 0).all()
        assert kind != "thinner" or (change <= 0).all()
        assert after[truth == lesion.number].min() > min(30, before.min())


def test_a_lesion_has_the_volume_of_its_diameter_where_bone_has_room():
    ball = sum((axis - 20.0) ** 2 for axis in np.indices((41, 41, 41))) < 19**2
    ct = sitk.GetImageFromArray(np.where(ball, 500.0, 40.0).astype(np.float32))
    bone = sitk.GetImageFromArray(ball.astype(np.uint8))
    for seed in range(8):
        made = insert_lesions(ct, bone, 1, seed, (12, 12), (200, 200), ("thinner",))
        whole = np.pi / 6 * 12**3
        assert 0.45 * whole < arrays(made.truth)[0].sum() < 1.2 * whole


def test_the_same_number_gives_the_same_lesions(patient):
    prior, _ = patient
    first, second, other = (insert_lesions(prior, bone_mask(prior), 4, seed) for seed in (1, 1, 2))
    assert first.lesions == second.lesions
    assert (arrays(first.image)[0] == arrays(second.image)[0]).all()
    assert first.lesions != other.lesions


def test_bones_that_narrow_joints_part_get_their_own_number(patient):
    prior, labels = patient
    parts, true = arrays(bone_parts(prior), labels)
    assert len(np.unique(parts)) - 1 == len(np.unique(true)) - 1
    for bone in np.unique(true)[1:]:
        values, counts = np.unique(parts[(true == bone) & (parts > 0)], return_counts=True)
        assert counts.max() > 0.99 * counts.sum()


# --- harmonisation -------------------------------------------------------------------------------

def test_another_calibration_and_tube_voltage_are_taken_out(patient):
    prior, _ = patient
    bent = prior * 1.15 + 12
    made = harmonise(prior, bent, sitk.Transform())
    assert made.gain == pytest.approx(1 / 1.15, rel=0.01)
    assert np.abs(made.current - made.prior)[made.bone].mean() < 3


@pytest.mark.parametrize("smoother", ["current", "prior"])
def test_the_sharper_scan_is_smoothed(patient, smoother):
    sharp, _ = patient
    smooth = sitk.SmoothingRecursiveGaussian(sharp, 2.0)
    current, prior = (smooth, sharp) if smoother == "current" else (sharp, smooth)
    made = harmonise(current, prior, sitk.Transform())
    assert (made.blur_mm > 1) if smoother == "current" else (made.blur_mm < -1)
    unlike = np.abs(arrays(current)[0] - arrays(prior)[0])[made.bone].mean()
    assert np.abs(made.current - made.prior)[made.bone].mean() < 0.5 * unlike


def test_thick_slices_are_compared_with_thin_ones(patient):
    thin, _ = patient
    thick = sitk.BinShrink(thin, [1, 1, 2])
    for current, prior, share in ((thin, thick, 0.8), (thick, thin, 0.3)):
        made = harmonise(current, prior, sitk.Transform())
        assert made.current.shape == arrays(current)[0].shape
        assert made.gain == pytest.approx(1, abs=0.07)
        plain = arrays(sitk.Resample(prior, current, sitk.Transform(), sitk.sitkBSpline))[0]
        unlike = np.abs(arrays(current)[0] - plain)
        made_alike = np.abs(made.current - made.prior)
        assert made_alike[made.bone].mean() < share * unlike[made.bone].mean()


def test_slices_that_hide_lesions_are_refused(patient):
    prior, _ = patient
    with pytest.raises(BadInput, match="current CT are 7.5 mm thick"):
        harmonise(sitk.BinShrink(prior, [1, 1, 3]), prior, sitk.Transform())


def test_wires_outside_the_body_are_no_bone(patient):
    prior, _ = patient
    with_wire = arrays(prior)[0]
    with_wire[:, 2:4, 2:4] = 1500
    bone = harmonise(like(with_wire, prior), prior, sitk.Transform()).bone
    assert bone.any()
    assert not bone[:, :6, :6].any()


# --- expectation ---------------------------------------------------------------------------------

def test_the_brain_is_no_marrow():
    z, y, x = np.indices((20, 90, 90)) - np.reshape((10, 45, 45), (3, 1, 1, 1))
    radius = np.hypot(y, x) * 2.0 + np.maximum(z - 4, 0) * 12  # a dome
    ct = np.where(radius < 80, np.where(radius < 74, 35.0, 900.0), -1000.0)
    small = np.hypot(y - 10, x) * 2.0
    ct[small < 16] = np.where(small < 12, 90.0, 600.0)[small < 16]  # as of the skull base
    image = sitk.GetImageFromArray(ct.astype(np.float32))
    image.SetSpacing([2.0] * 3)
    bone = sitk.GetArrayFromImage(bone_mask(image)) > 0
    assert bone[10, 45 + 10, 45] and bone[(radius > 75) & (radius < 79)].all()
    assert not bone[(radius < 70) & (small > 18)].any()


@pytest.mark.parametrize("matched", [True, False])
def test_what_lies_beside_metal_is_not_compared(patient, matched):
    prior, _ = patient
    before, bone = arrays(prior, bone_mask(prior))
    middle = np.argwhere(bone > 0)[int((bone > 0).sum() / 2)]
    distance = np.linalg.norm(np.indices(bone.shape) - middle.reshape(3, 1, 1, 1), axis=0) * STEP
    now = before + np.where(distance < 4, 6000, 0).astype(np.float32)  # a screw that is new
    pair, fit = compare(now, before, bone > 0, SPACING, matched)
    assert not pair.where[distance < 6].any() and (fit[distance < 6] == fit.min()).all()
    far = (bone > 0) & (distance > 25)
    assert pair.where[far].mean() > 0.95


def test_what_was_left_out_of_place_is_matched(patient):
    prior, _ = patient
    moved = sitk.Resample(prior, prior, sitk.TranslationTransform(3, (1.5, -1.0, 1.2)),
                          sitk.sitkBSpline, -1000.0, sitk.sitkFloat32)
    before, now, bone = arrays(prior, moved, bone_mask(moved))
    bone = ndimage.binary_erosion(bone > 0, np.ones((3, 3, 3))) | (bone > 0)
    bone[:4], bone[-4:] = False, False
    left = np.abs(now - classical.match(now, before, bone, SPACING)[0])[bone].mean()
    assert left < 0.25 * np.abs(now - before)[bone].mean()


def test_a_lesion_is_not_matched_away(changed):
    prior, _, lesions, _ = changed
    before, now, truth, bone = arrays(prior, lesions.image, lesions.truth, bone_mask(prior))
    matched, _ = classical.match(now, before, bone > 0, SPACING)
    for lesion in lesions.lesions:
        inside = truth == lesion.number
        assert (np.abs(now - matched)[inside].sum() > 0.8 * np.abs(now - before)[inside].sum())


def test_blocks_leave_no_seams(patient, monkeypatch):
    prior, _ = patient
    moved = sitk.Resample(prior, prior, sitk.TranslationTransform(3, (1.0, 0.5, 1.0)),
                          sitk.sitkLinear, -1000.0, sitk.sitkFloat32)
    before, now, bone = arrays(prior, moved, bone_mask(moved))
    whole, _ = classical.match(now, before, bone > 0, SPACING)
    monkeypatch.setattr(classical, "BLOCK", 32)
    parts, _ = classical.match(now, before, bone > 0, SPACING)
    assert np.abs(whole - parts)[bone > 0].mean() < 1.0


def test_the_error_is_that_of_noise_where_only_noise_differs():
    random = np.random.default_rng(0)
    expected = ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 2) * 2000
    bone = np.ones(expected.shape, bool)
    error = classical.spread(random.normal(0, 20, expected.shape), expected,
                             np.zeros_like(expected), bone, SPACING)
    assert error.mean() == pytest.approx(20, rel=0.05)


def test_what_was_found_far_away_has_a_larger_error():
    random = np.random.default_rng(0)
    expected = ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 2) * 2000
    bone = np.ones(expected.shape, bool)
    distance = np.full(expected.shape, 0.1)
    distance[:8, :8, :8] = 2.0  # a small part, which is also worse
    residual = random.normal(0, 20, expected.shape) * (1 + 4 * (distance > 1))
    error = classical.spread(residual, expected, distance, bone, SPACING)
    assert error[:8, :8, :8].mean() > 2.5 * error[12:].mean()
    assert error[12:].mean() == pytest.approx(20, rel=0.15)


def test_a_lesion_does_not_excuse_itself_where_all_bone_is_in_place():
    """Found a quarter of a voxel away it is the farthest of all, and differs most."""
    random = np.random.default_rng(0)
    expected = ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 2) * 2000
    bone = np.ones(expected.shape, bool)
    distance, residual = np.full(expected.shape, 0.05), random.normal(0, 20, expected.shape)
    lesion = np.s_[10:16, 10:16, 10:16]
    distance[lesion] = 0.25 * np.mean(SPACING)
    residual[lesion] += 200
    error = classical.spread(residual, expected, distance, bone, SPACING)
    assert error[lesion].mean() < 30


def test_matching_tells_how_far_it_had_to_look():
    random = np.random.default_rng(3)
    prior = ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 2).astype(np.float32) * 2000
    bone = np.zeros(prior.shape, bool)
    bone[8:32, 8:32, 8:32] = True
    current = ndimage.shift(prior, (0, 1, 0), order=3, mode="nearest")
    _, distance = classical.match(current, prior, bone, (1.5, 1.5, 1.5))
    assert np.median(distance[bone]) == pytest.approx(1.5, abs=0.2)
    assert (distance[:4] == 0).all()


# --- calibration and candidates ------------------------------------------------------------------

@settings(max_examples=20, deadline=None)
@given(st.floats(2.5, 30), st.floats(0.3, 3), st.integers(0, 1000))
def test_calibrated_z_is_standard_normal(freedom, scale, seed):
    random = np.random.default_rng(seed)
    calibration = Calibration.of(random.standard_t(freedom, 60_000) * scale)
    z = calibration(random.standard_t(freedom, 60_000) * scale)
    for limit in (1, 2, 3):
        assert (np.abs(z) < limit).mean() == pytest.approx(1 - 2 * norm.sf(limit), abs=0.01)


@given(st.lists(st.floats(-60, 60), min_size=2, max_size=30))
def test_calibration_keeps_sign_and_order(values):
    calibration = read_calibration()
    z = calibration(np.array(sorted(values)))
    assert (np.diff(z) >= 0).all()
    assert (z * np.sort(values) >= 0).all()


def blob(shape, centre, radius):
    return sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), centre, strict=True)) \
        < radius**2


def test_bodies_are_found_and_noise_and_edges_are_not():
    random = np.random.default_rng(3)
    shape = (50, 50, 50)
    bone = np.zeros(shape, bool)
    bone[5:45, 5:45, 5:45] = True
    z = random.normal(size=shape) * bone
    denser, thinner = blob(shape, (15, 15, 15), 4), blob(shape, (33, 33, 33), 4)
    z[denser] += 5
    z[thinner] -= 5
    z[5:45, 25, 5:45] += 4  # an edge out of place: both signs side by side
    z[5:45, 26, 5:45] -= 4
    spacing = (1.5, 1.5, 1.5)
    found, labels = find_candidates(strength_of(z, bone, spacing), z, z * 20, spacing)
    assert {(c.kind, bool(denser[c.index]), bool(thinner[c.index])) for c in found[:2]} == {
        ("denser", True, False), ("thinner", False, True)}
    assert all(c.score < 0.5 * found[1].score for c in found[2:])
    for candidate in found[:2]:
        assert labels[candidate.index] == candidate.number
        inside = labels == candidate.number
        assert candidate.volume_ml == pytest.approx(inside.sum() * 1.5**3 / 1000)
        assert abs(candidate.mean_z) > 2
        assert np.sign(candidate.hu_change) == np.sign(candidate.mean_z)


def test_a_mixed_body_is_found_though_its_mean_is_nothing():
    random = np.random.default_rng(5)
    shape, spacing = (40, 40, 40), (1.5, 1.5, 1.5)
    bone = np.zeros(shape, bool)
    bone[4:36, 4:36, 4:36] = True
    z = random.normal(size=shape) * bone
    body = blob(shape, (20, 20, 20), 4)
    z[body] += 5 * random.choice([-1, 1], body.sum())
    signed, labels = find_candidates(strength_of(z, bone, spacing), z, z * 20, spacing)
    found = add_mixed(signed, labels, z, z * 20, bone, spacing)
    mixed = [candidate for candidate in found if candidate.kind == "mixed"]
    assert len(mixed) == 1 and body[mixed[0].index]
    assert labels[mixed[0].index] == mixed[0].number == len(signed) + 1
    alone = random.normal(size=shape) * bone
    assert add_mixed([], np.zeros(shape, np.uint16), alone, alone, bone, spacing) == []


def test_candidates_are_numbered_by_what_is_left_of_their_scores():
    labels = np.array([[[0, 1, 2, 3, 3]]], np.uint16)
    candidates = [Candidate(number, "denser", 9.0 - number, *[1.0] * 5, (0, 0, number))
                  for number in (1, 2, 3)]
    found, numbers = ranked(candidates, labels, [0.4, 2.0, 7.0], 0.5)
    assert [(c.number, c.score, c.index[2]) for c in found] == [(1, 7.0, 3), (2, 2.0, 2)]
    assert numbers.tolist() == [[[0, 0, 2, 1, 1]]] and numbers.dtype == labels.dtype


def compared_block(shift_voxels: float, lesion: bool):
    """A block of bone out of place, and perhaps with a lesion in it."""
    random = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 2)
    prior = np.where(blob(texture.shape, (20, 20, 20), 11), 500 + 900 * texture, 20.0)
    current = ndimage.shift(prior, (0, 0, shift_voxels), order=1, mode="nearest")
    truth = blob(texture.shape, (20, 20, 22), 3)
    if lesion:
        current[truth] += 250
    where = ndimage.binary_dilation(np.maximum(prior, current) > 200)
    zero = np.zeros(prior.shape, np.float32)
    return Compared(current.astype(np.float32), prior.astype(np.float32),
                    prior.astype(np.float32), zero, zero + 30, where, (1.5, 1.5, 1.5)), truth


@pytest.mark.parametrize("lesion", [True, False])
def test_a_motion_explains_an_edge_and_no_lesion(lesion):
    pair, truth = compared_block(2.0, lesion)
    region = truth if lesion else (pair.current - pair.prior > 250) & pair.where
    labels = region.astype(np.uint16)
    index = tuple(np.argwhere(region)[len(np.argwhere(region)) // 2])
    candidate = Candidate(1, "denser", 10.0, *[1.0] * 5, index)
    (score,) = weighed_scores([candidate], labels, pair, pair.expected)
    assert score > 5 if lesion else score < 1


def test_without_bone_there_are_no_candidates():
    nothing = np.zeros((10, 10, 10))
    found, labels = find_candidates(strength_of(nothing, nothing > 0, SPACING), nothing, nothing,
                                    SPACING)
    assert found == []
    assert not labels.any()


# --- the command ---------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def result(changed, tmp_path_factory):
    prior, current, _, _ = changed
    return subtract(tmp_path_factory.mktemp("subtract"), prior, current)


def test_new_lesions_are_the_first_candidates(changed, result):
    _, current, lesions, truth = changed
    [labels] = arrays(sitk.ReadImage(str(result.folder / "candidates.nrrd")))
    [true] = arrays(truth)
    first = {int(row["number"]): row["kind"] for row in candidates_of(result)[:4]}
    for lesion in lesions.lesions:
        numbers = np.unique(labels[true == lesion.number])
        assert any(first.get(int(number)) == lesion.kind for number in numbers)


def test_a_large_new_lesion_in_a_small_bone_is_compared(patient, tmp_path):
    """It lowers the agreement of the scans around it, as a bone out of place does."""
    prior, labels = patient
    one = like((arrays(labels)[0] == 3).astype(np.uint8), prior)
    lesions = insert_lesions(prior, one, 1, 2, (18, 18), (400, 400), ("denser",))
    made = subtract(tmp_path, prior, lesions.image)
    [z] = arrays(sitk.ReadImage(str(made.folder / "z.nrrd")))
    inside = arrays(lesions.truth)[0] > 0
    assert inside.any()
    assert (z[inside] > 3).mean() > 0.5


def test_every_file_lies_on_the_current_ct(changed, result):
    _, current, _, _ = changed
    assert set(result.manifest["files"]) == {
        "z", "expected", "error", "quality", "prior_aligned", "transform", "candidates",
        "candidate_labels", "bone"}
    z, expected, error, bone = (sitk.ReadImage(str(result.folder / f"{name}.nrrd"))
                                for name in ("z", "expected", "error", "bone"))
    for image in (z, expected, error, bone):
        assert image.GetSize() == current.GetSize()
        np.testing.assert_allclose(image.GetOrigin(), current.GetOrigin())
    values, errors, inside = arrays(z, error, bone)
    assert not values[inside == 0].any()
    assert (errors[values != 0] > 0).all()
    for row in candidates_of(result):
        point = [float(row[name]) for name in ("x_mm", "y_mm", "z_mm")]
        index = current.TransformPhysicalPointToIndex(point)
        labels = sitk.ReadImage(str(result.folder / "candidates.nrrd"))
        assert labels[index] == int(row["number"])


def test_where_the_scans_do_not_agree_nothing_is_compared_and_the_quality_map_says_so(
        patient, tmp_path):
    prior, labels = patient
    voxels, bones = arrays(prior, labels)
    voxels[ndimage.binary_dilation(bones == 3, iterations=2)] = 40  # a bone is gone
    sitk.WriteTransform(sitk.TranslationTransform(3), str(tmp_path / "none.h5"))
    made = subtract(tmp_path, prior, like(voxels, prior), "--transform", tmp_path / "none.h5")
    quality, z = (sitk.ReadImage(str(made.folder / f"{name}.nrrd")) for name in ("quality", "z"))
    [values], [changes] = arrays(quality), arrays(z)
    of_bone, good = values[values != 0], made.manifest["good_quality"]
    assert 0.01 <= of_bone.min() < good < of_bone.max() <= 1
    assert made.manifest["aligned_share"] == pytest.approx((of_bone >= good).mean(), abs=1e-4)
    gone = ndimage.binary_erosion(bones == 3, iterations=2)
    assert gone.any() and not changes[gone].any()
    there = sitk.Resample(quality, z, sitk.Transform(), sitk.sitkNearestNeighbor)
    seen = arrays(there)[0][gone]
    assert (seen > 0).all() and (seen < good).all()


def test_the_same_scan_twice_has_not_changed(patient, tmp_path):
    prior, _ = patient
    result = subtract(tmp_path, prior, prior)
    assert any("same scan" in warning for warning in result.manifest["warnings"])
    [z] = arrays(sitk.ReadImage(str(result.folder / "z.nrrd")))
    assert np.abs(z).max() < 0.5
    assert candidates_of(result) == []


def test_prior_and_current_exchanged_gives_the_opposite(changed, tmp_path, result):
    prior, current, lesions, _ = changed
    back = subtract(tmp_path, current, prior)
    [labels] = arrays(sitk.ReadImage(str(back.folder / "candidates.nrrd")))
    [true] = arrays(lesions.truth)
    kinds = {int(row["number"]): row["kind"] for row in candidates_of(back)}
    opposite = {"denser": "thinner", "thinner": "denser"}
    for lesion in lesions.lesions:
        found = {kinds.get(int(number)) for number in np.unique(labels[true == lesion.number])}
        assert opposite[lesion.kind] in found


def test_a_transform_made_elsewhere_is_used(changed, result, tmp_path):
    prior, current, _, _ = changed
    again = subtract(tmp_path, prior, current, "--transform", result.folder / "transform.h5")
    first, second = (candidates_of(each)[0] for each in (result, again))
    for name in ("x_mm", "y_mm", "z_mm"):
        assert float(first[name]) == pytest.approx(float(second[name]), abs=2 * STEP)


# --- the recipes ---------------------------------------------------------------------------------

def test_every_bone_of_a_follow_up_has_moved_as_a_whole(patient):
    prior, labels = patient
    follow_up = simulate_follow_up(prior, labels, seed=7)
    places = np.moveaxis(np.indices(follow_up.bones.shape)[::-1], 0, -1) * float(STEP)
    for bone in np.unique(follow_up.bones)[1:]:
        inside = ndimage.binary_erosion(follow_up.bones == bone)  # beside the surface is the next
        here, displacement = places[inside], follow_up.displacement[inside]
        there = here @ np.reshape(prior.GetDirection(), (3, 3)).T + displacement
        here, there = here - here.mean(0), there - there.mean(0)
        left, _, right = np.linalg.svd(here.T @ there)
        off = np.linalg.norm(there - here @ left @ right, axis=1)
        assert np.quantile(off, 0.95) < 0.1
        assert np.linalg.norm(displacement.mean(0)) > 1


def test_the_ends_of_a_long_bone_do_not_pass_through_its_neighbours():
    rod = np.zeros((90, 12, 12), np.uint8)
    rod[5:85, 4:8, 4:8] = 1
    labels = sitk.GetImageFromArray(rod)
    labels.SetSpacing((3.0, 3.0, 3.0))
    prior = like(np.where(rod, 500, 0).astype(np.float32), labels)
    ends = []
    for seed in range(8):
        follow_up = simulate_follow_up(prior, labels, seed, turn_degrees=0, shift_mm=0)
        inside = follow_up.bones > 0
        moved = np.where(inside[..., None], follow_up.displacement, np.nan)
        top, middle, bottom = (np.nanmean(moved[part], (0, 1, 2))
                               for part in (slice(5, 15), slice(40, 50), slice(75, 85)))
        ends += [top - middle, bottom - middle]
    # 2 degrees would move them by 4 mm; the middle itself moves by 2
    assert 0.5 < np.std(ends) < 2.5


@pytest.fixture(scope="module")
def training(patient, tmp_path_factory):
    """Folder with stable pairs of the phantom in the place of a patient."""
    folder = tmp_path_factory.mktemp("training")
    file = folder / "data" / next(iter(CTS.values()))
    file.parent.mkdir(parents=True)
    sitk.WriteImage(sitk.Cast(patient[0], sitk.sitkInt16), str(file))
    starter.pairs(folder / "data", folder)
    return folder


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 30), st.floats(0.6, 2.0), st.integers(0, 2**16))
def test_z_is_measured_against_the_bone_of_its_own_pair(freedom, scale, seed):
    z = np.random.default_rng(seed).standard_t(freedom, 40_000) * scale
    usual = Calibration.of_pair(z)(z)
    assert (np.abs(usual) < 1).mean() == pytest.approx(0.6827, abs=0.005)
    assert (np.abs(usual) < 2).mean() == pytest.approx(0.9545, abs=0.005)
    assert (np.diff(usual[np.argsort(z)]) >= 0).all()


def test_where_nothing_differs_or_everything_does_z_is_not_made_usual():
    z = np.random.default_rng(0).normal(size=10_000)
    assert np.abs(Calibration.of_pair(z * 1e-3)(z * 1e-3)).max() < 0.02
    assert (np.abs(Calibration.of_pair(z * 100)(z * 100)) > 3).mean() > 0.8
    assert Calibration.of_pair(z[:0])(z[:3]) == pytest.approx(z[:3])


def test_the_calibration_is_learned_from_stable_pairs(patient, training, tmp_path):
    output = tmp_path / "calibrations.json"
    starter.calibrate(training, output)
    written = json.loads(output.read_text("utf-8"))["classical"]
    assert written["patients"] == [next(iter(CTS))]
    ct = sitk.DICOMOrient(sitk.Cast(patient[0], sitk.sitkFloat32), "LPS")
    pair = starter.alike(simulated_pair("phantom", ct, 103)).pair
    z = Classical(Calibration.read(written))(pair).z[pair.where]
    shares = starter.shares_within(z)
    assert shares["within_1"] == pytest.approx(68.3, abs=6)
    assert shares["within_2"] == pytest.approx(95.4, abs=4)


def test_a_pair_on_disk_is_the_pair(training, tmp_path):
    pair = read_pair(starter.pairs_of(training, next(iter(CTS)))[0])
    save_pair(pair, tmp_path / "again.npz")
    again = read_pair(tmp_path / "again.npz")
    assert again.spacing == pair.spacing
    for name in ("current", "prior", "expected", "where", "distance", "error"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pair, name))


def test_the_calibration_that_comes_along_names_its_patients():
    known = json.loads(CALIBRATIONS.read_text("utf-8"))["classical"]["patients"]
    assert len(known) >= 4
    assert set(known) <= set(CTS)


# --- the sample ----------------------------------------------------------------------------------

def test_the_sample_is_made_once_and_whole(patient, tmp_path, monkeypatch):
    calls = []

    def fetch(folder):
        calls.append(folder)
        path = folder / "example.nrrd"
        sitk.WriteImage(sitk.Cast(patient[0], sitk.sitkInt16), str(path))
        return path

    monkeypatch.setattr(sample_pair, "fetch_example_ct", fetch)
    prior, current, truth = (sitk.ReadImage(str(sample_pair.make(tmp_path, which)))
                             for which in ("prior", "current", "truth"))
    assert len(calls) == 1
    assert prior.GetSize() == current.GetSize() == truth.GetSize()
    assert len(np.unique(arrays(truth)[0])) > 3
    assert not list(tmp_path.glob("unfinished*"))
