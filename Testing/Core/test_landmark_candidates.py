# SPDX-License-Identifier: Apache-2.0
"""Regions, candidates in them, which of them are lesions, and normal places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from LandmarkPretrainLib.candidates import (
    AWAY_MM,
    TOLERANCE_MM,
    find_candidates,
    match,
    normal_points,
)
from LandmarkPretrainLib.region import search_region
from LandmarkPretrainLib.vesselness import find_vessels
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.phantoms.head_vessels import MRASettings, SimulatedMRA, simulate_mra

DATA = Path(__file__).parents[3] / "shared" / "data"
PATIENT = MRASettings(aneurysms=(("MCA bifurcation left", 6.0), ("basilar tip", 4.0)),
                      field=(110.0, 130.0, 80.0), spacing=(0.9, 0.9, 0.9))


@dataclass(frozen=True)
class Lesion:
    centre: tuple[float, float, float]
    diameter_mm: float | None = None


def volume(array: np.ndarray, spacing=(1.0, 1.0, 1.0), turned: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-31.0, 12.0, 5.0))
    if turned:
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def at(image: sitk.Image) -> np.ndarray:
    """LPS of all voxels, (z, y, x, 3)."""
    index = np.stack(np.mgrid[tuple(map(slice, image.GetSize()[::-1]))], -1)[..., ::-1]
    turn = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return index @ turn.T + image.GetOrigin()


def tubes(ball_mm: float = 3.2) -> tuple[sitk.Image, sitk.Image, tuple[float, float, float]]:
    """Two straight tubes 3 mm wide, a ball on one of them: image, mask, centre of the ball."""
    blank = volume(np.zeros((48, 60, 60), np.float32), (0.8, 0.8, 1.0), turned=True)
    place = at(blank)
    middle = place.reshape(-1, 3).mean(0)
    apart = place - middle
    inside = np.hypot(apart[..., 0] - 8, apart[..., 1]) < 1.5
    inside |= np.hypot(apart[..., 1] - 9, apart[..., 2]) < 1.5
    ball = middle + np.array([8 - 1.5 - 0.6 * ball_mm, 0, 2])
    inside |= np.linalg.norm(place - ball, axis=-1) < ball_mm
    noise = 8 * np.random.default_rng(1).normal(size=inside.shape)
    image = image_like((100 + 200 * inside + noise).astype(np.float32), blank)
    return image, image_like(inside.astype(np.uint8), blank), tuple(ball)


@pytest.fixture(scope="module")
def patient() -> tuple[SimulatedMRA, sitk.Image]:
    mra = simulate_mra((21,), PATIENT)
    return mra, search_region(mra.image, "vessels", "MR")


# Regions


def test_vessels_are_found_with_their_aneurysms(patient):
    mra, region = patient
    found, truth, sacs = (sitk.GetArrayFromImage(image) for image in (
        region, mra.vessels, mra.aneurysm_mask))
    assert region.GetPixelID() == sitk.sitkUInt8 and set(np.unique(found)) == {0, 1}
    assert found[truth > 0].mean() > 0.7
    assert found.mean() < 0.03
    for aneurysm in mra.aneurysms:
        assert found[sacs == aneurysm.number].mean() > 0.8


def test_the_signal_of_blood_is_read_off_the_image(patient):
    mra, _ = patient
    brighter = sitk.Cast(mra.image, sitk.sitkFloat32) * 3.0
    one, other = find_vessels(mra.image), find_vessels(brighter)
    assert other.blood == pytest.approx(3 * one.blood, rel=0.01)
    values, vessels = (sitk.GetArrayFromImage(image) for image in (mra.image, mra.vessels))
    assert one.blood == pytest.approx(np.quantile(values[vessels > 0], 0.8), rel=0.25)
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (one.mask, other.mask)))


@pytest.mark.parametrize("array", [
    np.zeros((30, 40, 40)), np.full((30, 40, 40), 7.0),
    np.random.default_rng(0).normal(100, 5, (30, 40, 40))], ids=["empty", "flat", "noise"])
def test_an_image_without_vessels_is_refused(array):
    with pytest.raises(BadInput, match="No vessels can be found"):
        search_region(volume(array.astype(np.float32)), "vessels", "MR")


@pytest.mark.parametrize(("kind", "modality"), [
    ("vessels", "CT"), ("lung", "MR"), ("bone", "MR"), ("brain", "other")])
def test_a_region_that_the_modality_does_not_show_is_refused(kind, modality):
    with pytest.raises(BadInput, match=f"{kind} cannot be found in an image of modality"):
        search_region(volume(np.zeros((9, 9, 9), np.float32)), kind, modality)


def body_ct() -> tuple[sitk.Image, np.ndarray, np.ndarray]:
    """A body in air with two lungs, a nodule in one of them, and a vertebra; lungs; vertebra."""
    image = volume(np.full((40, 80, 96), -1000, np.int16), (3.0, 3.0, 3.0))
    place = at(image) - at(image).reshape(-1, 3).mean(0)
    x, y = place[..., 0], place[..., 1]
    body = (x / 130) ** 2 + (y / 100) ** 2 < 1
    lungs = ((np.abs(x) - 60) / 40) ** 2 + (y / 60) ** 2 + (place[..., 2] / 90) ** 2 < 1
    bone = np.hypot(x, y - 70) < 16
    array = sitk.GetArrayFromImage(image)
    array[body] = 40
    array[lungs] = -850
    array[np.linalg.norm(place - (60, 0, 0), axis=-1) < 7] = 50
    array[bone] = 200
    array[bone & (np.hypot(x, y - 70) > 12)] = 700
    return image_like(array, image), lungs, bone


def test_lung_holds_its_nodules_and_bone_its_marrow():
    ct, lungs, bone = body_ct()
    for kind, truth in (("lung", lungs), ("bone", bone)):
        found = sitk.GetArrayFromImage(search_region(ct, kind, "CT")) > 0
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9, kind
    middle = tuple(n // 2 for n in lungs.shape)
    assert sitk.GetArrayFromImage(search_region(ct, "lung", "CT"))[middle[0], middle[1], -28]


def head(values: tuple[float, float, float], around: float) -> tuple[sitk.Image, np.ndarray]:
    """A head of brain, skull and scalp with these values; and the brain."""
    image = volume(np.zeros((64, 72, 64), np.float32), (3.0, 3.0, 3.0))
    place = at(image) - at(image).reshape(-1, 3).mean(0)
    apart = np.sqrt((place[..., 0] / 0.85) ** 2 + place[..., 1] ** 2 + place[..., 2] ** 2)
    shells = [apart < 74, (apart >= 74) & (apart < 82), (apart >= 82) & (apart < 90)]
    array = np.select(shells, values, around) + np.random.default_rng(2).normal(0, 5, apart.shape)
    return image_like(array.astype(np.float32), image), shells[0]


@pytest.mark.parametrize(("modality", "values", "around"), [
    ("CT", (35.0, 900.0, -60.0), -1000.0), ("MR", (200.0, 20.0, 300.0), 8.0)])
def test_brain_is_what_the_skull_encloses(modality, values, around):
    image, brain = head(values, around)
    found = sitk.GetArrayFromImage(search_region(image, "brain", modality)) > 0
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.93


@pytest.mark.parametrize("kind", ["lung", "brain", "bone"])
def test_what_a_ct_does_not_show_is_not_found(kind):
    with pytest.raises(BadInput, match=f"No {kind} can be found"):
        search_region(volume(np.full((30, 40, 40), 30, np.int16), (3.0, 3.0, 3.0)), kind, "CT")


def test_a_region_from_a_file_comes_on_the_grid_of_the_image(tmp_path):
    image = volume(np.zeros((20, 30, 40), np.float32))
    labels = np.zeros((10, 15, 20), np.uint8)
    labels[3:6, 4:9, 5:12] = 7
    mask = volume(labels, (2.0, 2.0, 2.0))
    sitk.WriteImage(mask, str(tmp_path / "region.nrrd"))
    found = search_region(image, str(tmp_path / "region.nrrd"), "MR")
    assert found.GetSize() == image.GetSize() and set(np.unique(
        sitk.GetArrayFromImage(found))) == {0, 1}
    assert sitk.GetArrayFromImage(found).sum() == pytest.approx(8 * (labels > 0).sum(), rel=0.1)


def test_files_that_hold_no_region_are_refused(tmp_path):
    image = volume(np.zeros((20, 30, 40), np.float32))
    with pytest.raises(BadInput, match="no region liver"):
        search_region(image, "liver", "CT")
    sitk.WriteImage(sitk.Cast(image, sitk.sitkUInt8), str(tmp_path / "empty.nrrd"))
    with pytest.raises(BadInput, match="empty.nrrd is empty"):
        search_region(image, tmp_path / "empty.nrrd", "CT")
    far = volume(np.ones((20, 30, 40), np.uint8))
    far.SetOrigin((900.0, 0.0, 0.0))
    sitk.WriteImage(far, str(tmp_path / "far.nrrd"))
    with pytest.raises(BadInput, match="far.nrrd lies outside"):
        search_region(image, tmp_path / "far.nrrd", "CT")


# Candidates


def test_a_ball_on_a_tube_is_the_first_candidate():
    image, mask, ball = tubes()
    found = find_candidates(image, mask)
    assert np.linalg.norm(found.points[0] - ball) < TOLERANCE_MM
    assert 1.5 < found.radii_mm[0] < 6
    assert (np.diff(found.scores) <= 0).all() and len(found) <= 60
    apart = np.linalg.norm(found.points[:, None] - found.points, axis=-1)
    assert apart[np.triu_indices(len(found), 1)].min() > 2.0


def test_the_number_of_candidates_is_limited(patient):
    mra, region = patient
    few, many = (find_candidates(mra.image, region, most=most) for most in (7, 60))
    assert len(few) == 7 and 7 < len(many) <= 60
    np.testing.assert_array_equal(few.points, many.points[:7])


def test_aneurysms_are_among_the_candidates(patient):
    mra, region = patient
    found = find_candidates(mra.image, region)
    assert set(match(found.points, mra.aneurysms)) == {-1, 0, 1}


@pytest.mark.parametrize("sign", [1, -1], ids=["bright", "dark"])
def test_blobs_are_found_in_other_regions(sign):
    blank = volume(np.zeros((40, 50, 60), np.float32), (1.5, 1.5, 2.0), turned=True)
    place = at(blank)
    middle = place.reshape(-1, 3).mean(0)
    apart = np.linalg.norm(place - middle - (9.0, -6.0, 8.0), axis=-1)
    array = 50 + sign * 120 * (apart < 5) + 10 * np.random.default_rng(0).normal(size=apart.shape)
    region = image_like((np.linalg.norm(place - middle, axis=-1) < 30).astype(np.uint8), blank)
    found = find_candidates(image_like(array.astype(np.float32), blank), region, "lung")
    assert np.linalg.norm(found.points[0] - middle - (9.0, -6.0, 8.0)) < 2.0
    assert 3 < found.radii_mm[0] < 8


def test_an_empty_region_is_refused(patient):
    mra, region = patient
    for kind in ("vessels", "lung"):
        with pytest.raises(BadInput, match="region to search is empty"):
            find_candidates(mra.image, region * 0, kind)
    with pytest.raises(BadInput, match="region to search is empty"):
        normal_points(region * 0, [], 5, 0)


# Which candidates are lesions


@given(st.floats(0, 20), st.floats(1, 14), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_candidate_hits_within_the_radius_but_at_least_2_mm(away, diameter, seed):
    direction = np.random.default_rng(seed).normal(size=3)
    point = np.array([3.0, -4.0, 5.0]) + away * direction / np.linalg.norm(direction)
    hit = match(point[None], [Lesion((3.0, -4.0, 5.0), diameter)])
    limit = max(diameter / 2, TOLERANCE_MM)
    if abs(away - limit) > 1e-3:
        assert hit[0] == (0 if away < limit else -1)


def test_a_candidate_belongs_to_the_nearest_lesion():
    lesions = [Lesion((0, 0, 0), 10.0), Lesion((6, 0, 0), 10.0), Lesion((50, 0, 0))]
    hits = match([(2, 0, 0), (4, 0, 0), (53.5, 0, 0), (30, 0, 0)], lesions)
    assert hits.tolist() == [0, 1, 2, -1]
    assert match(np.empty((0, 3)), lesions).shape == (0,)
    assert match([(1, 2, 3)], []).tolist() == [-1]


def test_with_a_mask_the_shape_counts():
    array = np.zeros((20, 40, 40), np.uint8)
    array[10, 10, 5:30] = 1  # long and thin
    array[10, 30, 30] = 1
    mask = volume(array)
    ends = [mask.TransformIndexToPhysicalPoint(index) for index in (
        (6, 10, 10), (29, 11, 10), (17, 14, 10), (30, 31, 10))]
    lesions = [Lesion(mask.TransformIndexToPhysicalPoint((30, 30, 10)), 1.0),
               Lesion(mask.TransformIndexToPhysicalPoint((17, 10, 10)), 3.0)]
    assert match(ends, lesions, mask).tolist() == [1, 1, -1, 0]


# Normal places


def test_normal_places_lie_in_the_region_away_from_lesions(patient):
    mra, region = patient
    places = normal_points(region, mra.aneurysms, 40, 3)
    assert places.shape == (40, 3) and len(np.unique(places, axis=0)) == 40
    inside = [region[region.TransformPhysicalPointToIndex(place)] for place in places.tolist()]
    assert all(inside)
    for aneurysm in mra.aneurysms:
        apart = np.linalg.norm(places - aneurysm.centre, axis=1)
        assert apart.min() >= aneurysm.diameter_mm / 2 + AWAY_MM - 1e-6
    np.testing.assert_array_equal(places, normal_points(region, mra.aneurysms, 40, 3))
    assert not np.array_equal(places, normal_points(region, mra.aneurysms, 40, 4))


def test_half_of_the_normal_places_are_near_what_is_confusable(patient):
    _, region = patient
    confusable = np.array([region.TransformContinuousIndexToPhysicalPoint(
        [float(i) for i in index[::-1]])
        for index in np.argwhere(sitk.GetArrayFromImage(region))[::400]])
    places = normal_points(region, [], 60, 1, confusable)
    near = np.linalg.norm(places[:, None] - confusable, axis=-1).min(1) <= 2.0
    assert near.sum() >= 30
    assert (~near).sum() >= 10


def test_where_all_is_near_a_lesion_there_are_no_normal_places():
    _, mask, ball = tubes()
    assert normal_points(mask, [Lesion(ball, 200.0)], 10, 0).shape == (0, 3)


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data are absent")
def test_bone_and_brain_of_a_real_head_ct():
    ct = sitk.ReadImage(str(DATA / "ct_head_volumes" / "invesalius_cranium_ct.nii.gz"))
    bone = sitk.ReadImage(str(DATA / "ct_head_volumes" / "invesalius_cranium_mask0.nii.gz")) > 0
    found = sitk.GetArrayFromImage(search_region(ct, "bone", "CT")) > 0
    truth = sitk.GetArrayFromImage(bone) > 0
    assert found[truth].mean() > 0.9
    brain = search_region(ct, "brain", "CT")
    millilitres = sitk.GetArrayFromImage(brain).sum() * np.prod(ct.GetSpacing()) / 1000
    assert 900 < millilitres < 1900
