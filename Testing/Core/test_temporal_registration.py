# SPDX-License-Identifier: Apache-2.0
"""Bones of two scans are brought together one by one, and lesions stay where they are."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, physical_bounds
from ReadingRoomLib.images import ImageInput
from ReadingRoomLib.results import read_result
from TemporalSubtractionLib.__main__ import app
from TemporalSubtractionLib.bones import bone_mask
from TemporalSubtractionLib.contrast import contrast_filled
from TemporalSubtractionLib.follow_up import _points, simulate_follow_up
from TemporalSubtractionLib.pair_checks import doubts, doubts_once_aligned
from TemporalSubtractionLib.patch_registration import middles_of_cells, turn_between
from TemporalSubtractionLib.quality import WORST, alignment_quality, without_bent_bone
from TemporalSubtractionLib.registration import (
    LARGEST_TURN_DEGREES,
    PATCH_DISTANCE_MM,
    SMALLEST_PATCH_ML,
    find_motion,
    find_shifts,
)
from TemporalSubtractionLib.rigid_patches import BoneMotion, Patch, Rigid

from .dicom_factory import write_series
from .spine_factory import STEP, spine

EXAMPLES = Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator_examples"
PART = 64  # slices of the example CT, which has 112


@pytest.fixture(scope="module")
def pair():
    prior, labels = spine()
    return prior, simulate_follow_up(prior, labels, seed=1)


@pytest.fixture(scope="module")
def motion(pair):
    prior, follow_up = pair
    return find_motion(follow_up.current, prior)


def errors_mm(motion, follow_up) -> np.ndarray:
    """Distance between where a bone's voxel lies in the prior scan and where it was put."""
    bone = follow_up.bones > 0
    points = _points(follow_up.current)[bone]
    return np.linalg.norm(motion(points) - points - follow_up.displacement[bone], axis=1)


# --- motions -------------------------------------------------------------------------------------

# no header writes cosines of 1e-160, and no inverse can be had of such a matrix
angles = st.tuples(*[st.integers(-500, 500).map(lambda part: part / 1000)] * 3)
vectors = st.tuples(*[st.floats(-100, 100)] * 3)


def rigid(turn=(0, 0, 0), shift=(0, 0, 0), centre=(0, 0, 0)) -> Rigid:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*map(float, turn))
    return Rigid(np.reshape(transform.GetMatrix(), (3, 3)), np.array(centre, float),
                 np.array(shift, float))


@settings(max_examples=50, deadline=None)
@given(angles, vectors, vectors, vectors)
def test_a_rigid_motion_is_the_same_however_it_is_told(turn, shift, centre, other):
    motion = rigid(turn, shift, centre)
    points = np.array([(0, 0, 0), (10, -20, 30), other], float)
    np.testing.assert_allclose(motion.around(other)(points), motion(points), atol=1e-6)
    np.testing.assert_allclose(motion.inverse(motion(points)), points, atol=1e-6)
    transform = motion.transform()
    np.testing.assert_allclose([transform.TransformPoint(p.tolist()) for p in points],
                               motion(points), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(angles, vectors, st.integers(1, 4))
def test_patches_that_move_alike_are_one_rigid_motion(turn, shift, count):
    whole = rigid(turn, shift)
    random = np.random.default_rng(0)
    patches = [Patch(whole.around(random.uniform(-30, 30, 3)), 0.9) for _ in range(count)]
    points = random.uniform(-80, 80, (50, 3))
    np.testing.assert_allclose(BoneMotion(whole, patches)(points), whole(points), atol=1e-6)


def test_a_patch_holds_in_its_middle_and_the_whole_far_away():
    own = rigid((0, 0, 0.1), (2, 0, 0), (10, 0, 0))
    motion = BoneMotion(rigid(shift=(5, 5, 5)), [Patch(own, 1.0)])
    near, far = np.array([[12.0, 3, 0]]), np.array([[200.0, 0, 0]])
    np.testing.assert_allclose(motion(near), own(near), atol=1e-2)
    np.testing.assert_allclose(motion(far), far + 5)


def test_the_transform_is_the_motion(pair, motion):
    prior, follow_up = pair
    transform = motion.transform(follow_up.current)
    points = _points(follow_up.current)[follow_up.bones > 0][::97]
    np.testing.assert_allclose([transform.TransformPoint(p.tolist()) for p in points],
                               motion(points), atol=0.15)
    beyond = np.array([[500.0, 0, 0]])
    np.testing.assert_allclose(transform.TransformPoint(beyond[0].tolist()),
                               motion.whole(beyond)[0])


# --- registration --------------------------------------------------------------------------------


def test_bone_is_found_with_its_marrow():
    ct, labels = spine()
    truth = sitk.GetArrayFromImage(labels) > 0
    found = sitk.GetArrayFromImage(bone_mask(ct)) > 0
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.95


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(0.7, 6.0)] * 3), angles, vectors, st.sampled_from([2.0, 3.0, 6.0]))
def test_cubes_show_every_place_where_it_is(steps, turn, origin, spacing):
    """A density that grows linearly along an oblique line is the same on any grid."""
    size = [max(12, round(120 / step)) for step in steps]
    slope = np.array([3.0, -2.0, 1.0])
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(steps)
    image.SetOrigin(origin)
    image.SetDirection(rigid(turn).matrix.ravel().tolist())
    ramp = sitk.GetImageFromArray((_points(image) @ slope).astype(np.float32))
    ramp.CopyInformation(image)
    cubes = on_cubes(ramp, spacing)
    assert cubes.GetSpacing() == (spacing,) * 3
    points = _points(cubes)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size]))
    inner = np.linalg.norm(points - middle, axis=-1) < 25
    assert inner.sum() > 100
    found = sitk.GetArrayFromImage(cubes)[inner]
    np.testing.assert_allclose(found, points[inner] @ slope, atol=0.5)


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.integers(-10, 10)] * 3))
def test_the_shift_is_found_whatever_the_origins(steps):
    ct, _ = spine()
    moved = sitk.Image(ct)
    shift = np.array(steps) * 6.0
    moved.SetOrigin((np.array(ct.GetOrigin()) + shift).tolist())
    found, similarity = find_shifts(ct, moved)[0]
    np.testing.assert_allclose(found, shift, atol=0.1)
    assert similarity > 0.99


def legs(second: tuple[float, float, float] = (0, 0, 0)) -> sitk.Image:
    """Two shins, one the mirror image of the other, the second one moved."""
    step, texture = 4.0, np.random.default_rng(5)
    z, y, x = np.meshgrid(*[np.arange(n) * step for n in (80, 24, 48)], indexing="ij")
    ct = np.full(z.shape, -1000.0)
    for middle, side, (dx, dy, dz) in ((48, 1, (0, 0, 0)), (144, -1, second)):
        u, v, w = x - middle - dx, y - 48 - dy, z - 160 - dz
        ct[np.hypot(u, v) < 40] = 40
        bone = (np.hypot(u - side * 0.1 * w, v) < 14 + 8 * (w / 150) ** 3) & (np.abs(w) < 150)
        ct[bone] = 700
    ct += texture.normal(0, 15, ct.shape)
    image = sitk.GetImageFromArray(ct.astype(np.float32))
    image.SetSpacing([step] * 3)
    return image


@pytest.mark.parametrize("second", [(12, 16, -24), (16, 24, 0)])
def test_one_leg_is_not_laid_on_the_other(second):
    """Neither leg lies on itself under any one shift, but one of them lies well on the other."""
    found, _ = find_shifts(legs(second), legs())[0]
    assert np.linalg.norm(found) < 40


@pytest.mark.parametrize("turn", [(0, 8, 8), (0, -8, 0)])
def test_a_patient_who_turned_is_not_laid_one_leg_on_the_other(turn):
    """No shift alone lays both legs on themselves, and one on the other agrees at 0.85."""
    prior = legs()
    truth = sitk.Euler3DTransform()
    truth.SetCenter((94, 46, 160))
    truth.SetRotation(*np.radians(turn).tolist())
    truth.SetTranslation((15, -10, 5))
    current = sitk.Resample(prior, prior, truth, sitk.sitkLinear, -1000)
    # so even a phantom would be taken for contrast agent
    whole = find_motion(current, prior, mask=on_cubes(current, 2.0) > 300).whole
    points = np.array([[48.0, 46, 60], [144, 46, 260]])
    right = np.array([truth.TransformPoint(point) for point in points.tolist()])
    assert np.linalg.norm(whole(points) - right, axis=1).max() < 5


def test_every_bone_is_put_where_it_was(pair, motion):
    _, follow_up = pair
    errors = errors_mm(motion, follow_up)
    before = np.linalg.norm(follow_up.displacement[follow_up.bones > 0], axis=1)
    assert before.mean() > 10
    assert errors.mean() < 0.5 * STEP
    # the bones moved by themselves, which one motion of the whole does not follow
    alone = errors_mm(motion.whole, follow_up)
    assert alone.mean() > 1.5 * errors.mean()


def with_rib(image: sitk.Image, x: float, z: float) -> tuple[sitk.Image, np.ndarray]:
    """A thin bone beside a vertebra, and where it lies."""
    points = _points(image)
    across = np.hypot(points[..., 0] - x, points[..., 2] - z)
    rib = (across < 5) & (np.abs(points[..., 1] - 30) < 15)
    array = sitk.GetArrayFromImage(image)
    array[rib] = 700
    return image_like(ndimage.gaussian_filter(array, 0.4).astype(np.float32), image), rib


def test_a_small_bone_that_moved_by_itself_is_found_again():
    ct, _ = spine(2)
    shift = np.array([4.0, 6.0])
    prior, _ = with_rib(ct, 46.0, 405.0)
    current, rib = with_rib(ct, *(np.array([46.0, 405.0]) + shift))
    motion = find_motion(current, prior)
    points = _points(ct)[rib]

    def apart(move) -> float:
        across = (move(points) - points)[:, [0, 2]] + shift
        return float(np.median(np.linalg.norm(across, axis=1)))

    assert len(motion.loose) > 0
    assert apart(BoneMotion(motion.whole, motion.patches)) > 4
    assert apart(motion) < 1.0


def test_the_grid_of_the_scans_changes_nothing(pair, motion):
    prior, follow_up = pair
    turned = sitk.PermuteAxes(sitk.Flip(prior, [True, False, True]), [2, 0, 1])
    thick = sitk.Resample(follow_up.current, [64, 56, 43], sitk.Transform(), sitk.sitkLinear,
                          follow_up.current.GetOrigin(), [STEP, STEP, 2 * STEP])
    for current, before in ((follow_up.current, turned), (thick, prior)):
        found = find_motion(current, before)
        assert errors_mm(found, follow_up).mean() < 0.7 * STEP


def test_a_scan_of_half_the_spine_is_found_in_the_whole(pair):
    prior, follow_up = pair
    part = follow_up.current[:, :, 30:]
    motion = find_motion(part, prior)
    bone = follow_up.bones[30:] > 0
    points = _points(part)[bone]
    error = np.linalg.norm(motion(points) - points - follow_up.displacement[30:][bone], axis=1)
    assert error.mean() < 0.6 * STEP


def test_a_bent_spine_is_followed_from_bone_to_bone():
    """No motion of the whole comes near to both its ends, but each bone leads to the next."""
    prior, labels = spine(3, bones=9)
    points = _points(prior)
    _, y, z = np.moveaxis(points - points.mean((0, 1, 2)), -1, 0)
    radius = 330.0  # an arc of 47 degrees
    angle = z / radius
    displacement = np.stack([np.zeros_like(y), (radius + y) * np.cos(angle) - radius - y,
                             (radius + y) * np.sin(angle) - z], -1)
    field = sitk.GetImageFromArray(displacement, isVector=True)
    field.CopyInformation(prior)
    truth = sitk.DisplacementFieldTransform(field)
    current = sitk.Resample(prior, prior, truth, sitk.sitkLinear, -1000.0)
    bones = sitk.GetArrayFromImage(sitk.Resample(labels, prior, truth,
                                                 sitk.sitkNearestNeighbor)) > 0
    motion = find_motion(current, prior)
    error = np.linalg.norm(motion(points[bones]) - points[bones] - displacement[bones], axis=1)
    assert error.mean() < 0.6 * STEP and np.quantile(error, 0.95) < 2 * STEP
    turns = [turn_between(motion.whole, patch.motion) for patch in motion.patches]
    assert max(turns) > LARGEST_TURN_DEGREES


def test_the_same_scan_does_not_move():
    ct, _ = spine(2)
    motion = find_motion(ct, ct)
    points = _points(ct).reshape(-1, 3)[::501]
    assert np.abs(motion(points) - points).max() < 0.5
    assert len(motion.loose) == 0 and len(motion.settled) > 50


def test_a_lesion_is_not_deformed_away(pair):
    """A dense lesion in one vertebra: nearly all of it remains when the prior is subtracted."""
    prior, follow_up = pair
    bone = follow_up.bones == 3
    points = _points(follow_up.current)
    middle = points[ndimage.binary_erosion(bone, iterations=2)].mean(0)
    lesion = (np.linalg.norm(points - middle, axis=-1) < 7) & bone
    array = sitk.GetArrayFromImage(follow_up.current)
    array[lesion] += 400
    current = sitk.GetImageFromArray(array)
    current.CopyInformation(follow_up.current)

    def remaining(image: sitk.Image) -> float:
        motion = find_motion(image, prior)
        aligned = sitk.Resample(prior, image, motion.transform(image), sitk.sitkLinear, -1000.0)
        difference = sitk.GetArrayFromImage(image) - sitk.GetArrayFromImage(aligned)
        return float(difference[lesion].sum())

    added = 400.0 * lesion.sum()
    assert (remaining(current) - remaining(follow_up.current)) / added > 0.95


def test_progress_is_told_place_by_place(pair):
    prior, follow_up = pair
    told = []
    find_motion(follow_up.current, prior, lambda done, total: told.append((done, total)))
    mask = bone_mask(on_cubes(follow_up.current, 2.0))
    count = len(middles_of_cells(mask, PATCH_DISTANCE_MM, SMALLEST_PATCH_ML))
    assert told == [(done, count) for done in range(count + 1)]


def test_quality_is_high_where_bones_fit_and_low_where_they_do_not(pair, motion):
    prior, follow_up = pair
    good = sitk.GetArrayFromImage(alignment_quality(follow_up.current, prior, motion))
    bone = good > 0
    assert 0 <= good.min() and good.max() <= 1 and np.median(good[bone]) > 0.85
    wrong = BoneMotion(Rigid(motion.whole.matrix, motion.whole.centre,
                             motion.whole.translation + [0, 0, 15]), [])
    bad = sitk.GetArrayFromImage(alignment_quality(follow_up.current, prior, wrong))
    assert np.median(bad[bone]) < 0.5


def half_turn(image: sitk.Image, axis: int) -> sitk.Image:
    """The image as it were if its header told the wrong position: turned about its own middle."""
    turned = sitk.Flip(image, [other != axis for other in range(3)])
    turned.SetOrigin(image.GetOrigin())
    turned.SetDirection(image.GetDirection())
    return turned


@pytest.mark.parametrize("axis, position", [(2, "face down"), (1, "feet first"), (0, "upside")])
def test_a_scan_turned_by_half_a_turn_is_found(pair, motion, axis, position):
    prior, follow_up = pair
    found = find_motion(follow_up.current, half_turn(prior, axis))
    turn = -np.eye(3)
    turn[axis, axis] = 1
    middle = physical_bounds(prior).mean(1)

    def back(points):
        return (found(points) - middle) @ turn + middle

    assert errors_mm(back, follow_up).mean() < 0.5 * STEP


def test_a_turned_scan_is_warned_of(pair, tmp_path):
    prior, follow_up = pair
    exit_code, output = register(tmp_path, half_turn(prior, 2), follow_up.current)
    assert exit_code == 0
    [warning] = read_result(output)["warnings"]
    assert "half a turn" in warning and "left and right" in warning


# --- what makes one doubt the pair ---------------------------------------------------------------


def scan(seed: int = 0, **values) -> ImageInput:
    return ImageInput(sitk.Image(4, 4, 4, sitk.sitkInt16), "ct", [], f"{seed}", **values)


DAY, LATER = datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)


@pytest.mark.parametrize("prior, current, word", [
    ({"patient": "a", "acquired": DAY}, {"patient": "a", "acquired": LATER}, None),
    ({"patient": "a", "acquired": DAY}, {"patient": "a", "acquired": DAY}, None),
    ({"patient": "a"}, {"patient": "b"}, "different patient numbers"),
    ({"patient": "a"}, {}, None),
    ({"acquired": LATER}, {"acquired": DAY}, "taken after the current"),
    ({"acquired": LATER}, {}, None),
])
def test_patient_and_day_are_compared_where_both_are_known(prior, current, word):
    sentences = list(doubts(scan(1, **prior), scan(2, **current)))
    assert len(sentences) == (word is not None)
    assert word is None or word in sentences[0]


def test_exchanged_scans_of_two_patients_as_dicom(tmp_path):
    """Through the command; the manifest tells of the doubt, and nothing of the patients."""
    ct, _ = spine(bones=3)
    array = sitk.GetArrayFromImage(ct).astype(np.int16)
    for name, number, day in (("prior", "SECRET-1", "20210304"), ("current", "SECRET-2",
                                                                 "20200304")):
        def edit(dataset, index, number=number, day=day):
            dataset.PatientID, dataset.AcquisitionDate = number, day
        write_series(tmp_path / name, array + (name == "prior"), spacing=STEP, edit=edit)
    output = tmp_path / "result"
    exit_code = app.run(["register", str(tmp_path / "prior"), str(tmp_path / "current"),
                         "--output", str(output), "--progress", "none"])
    assert exit_code == 0
    text = (output / "result.json").read_text("utf-8")
    assert "different patient numbers" in text and "taken after the current" in text
    assert not any(secret in text for secret in ("SECRET", "20200304", "2020-03", "2021-03"))


def with_metal(image: sitk.Image, place: tuple[float, float, float]) -> sitk.Image:
    """A rod of 1 mL."""
    array = sitk.GetArrayFromImage(image)
    x, y, z = image.TransformPhysicalPointToIndex(place)
    array[z - 4:z + 4, y - 1:y + 1, x - 2:x + 2] = 3000
    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    return result


def test_metal_in_one_scan_only_is_told():
    ct, _ = spine(bones=3)
    grid = on_cubes(ct, 4.0)
    no_contrast = sitk.Image(grid.GetSize(), sitk.sitkUInt8)
    no_contrast.CopyInformation(grid)
    shift = sitk.TranslationTransform(3, (0.0, 0.0, 30.0))
    middle = np.array(ct.TransformContinuousIndexToPhysicalPoint(
        [(n - 1) / 2 for n in ct.GetSize()]))
    here, there = with_metal(ct, middle), with_metal(ct, middle + [0, 0, 30])
    unseen = with_metal(ct, middle - [0, 0, 62])  # below what the other scan shows

    def words(prior, current):
        return [sentence.split(" CT")[0] for sentence in
                doubts_once_aligned(ImageInput(prior, ""), ImageInput(current, ""), shift,
                                    (no_contrast, no_contrast))]

    assert words(ct, ct) == words(there, here) == []
    assert words(ct, here) == ["Only the current"]
    assert words(there, ct) == ["Only the prior"]
    assert words(unseen, ct) == []


def with_aorta(ct: sitk.Image, density: float) -> sitk.Image:
    """An aorta of 26 mm and a branch, 3 mm before the spine."""
    points = _points(ct)
    x, y, z = np.moveaxis(points - points.reshape(-1, 3).mean(0), -1, 0)
    vessel = (x**2 + (y + 21) ** 2 < 13**2) | ((z**2 + (y + 21) ** 2 < 5**2) & (np.abs(x) < 55))
    array = sitk.GetArrayFromImage(ct)
    array[vessel & (array < 100)] = density
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(ct)
    return image


@pytest.mark.parametrize("density", [180, 350, 550])
def test_vessels_with_contrast_agent_are_no_bone(density):
    ct, labels = spine()
    rng = np.random.default_rng(0)
    enhanced = with_aorta(ct, density)
    noise = sitk.GetImageFromArray(rng.normal(0, 12, ct.GetSize()[::-1]).astype(np.float32))
    noise.CopyInformation(ct)
    mask = sitk.GetArrayFromImage(bone_mask(enhanced + noise)) > 0
    bone = sitk.GetArrayFromImage(labels) > 0
    vessel = sitk.GetArrayFromImage(enhanced - ct) > 0
    assert mask[bone].mean() > 0.95
    assert mask[vessel].mean() < 0.1
    without_search = sitk.Image(4, 4, 4, sitk.sitkUInt8)
    taken = sitk.GetArrayFromImage(bone_mask(enhanced + noise, without_search)) > 0
    assert density < 250 or taken[vessel].mean() > 0.8  # it would have been taken for bone


@pytest.mark.parametrize("density, texture", [(850, 20), (500, 100)])
def test_a_vertebra_that_became_dense_stays_bone(density, texture):
    ct, labels = spine()
    array, bone = sitk.GetArrayFromImage(ct), sitk.GetArrayFromImage(labels) == 3
    grain = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=array.shape), 1)
    array[bone] = (density + texture * grain / grain.std())[bone]
    dense = sitk.GetImageFromArray(array.astype(np.float32))
    dense.CopyInformation(ct)
    assert sitk.GetArrayFromImage(bone_mask(dense))[bone].mean() > 0.95


@pytest.mark.parametrize("before, after, word", [
    (40, 40, None), (350, 320, None), (40, 350, "Only the current"), (180, 40, "Only the prior"),
    (400, 180, "different phases"),
])
def test_another_phase_of_contrast_agent_is_told(before, after, word):
    ct, _ = spine()
    prior, current = (with_aorta(ct, density) for density in (before, after))
    sentences = list(doubts_once_aligned(
        ImageInput(prior, ""), ImageInput(current, ""), sitk.TranslationTransform(3),
        (contrast_filled(prior), contrast_filled(current))))
    assert len(sentences) == (word is not None)
    assert word is None or word in sentences[0]


# --- what cannot be aligned ----------------------------------------------------------------------


def test_a_scan_without_bone_is_refused():
    ct, _ = spine()
    soft = sitk.Clamp(ct, ct.GetPixelID(), -1000, 60)
    with pytest.raises(BadInput, match="no bone in the current"):
        find_motion(soft, ct)
    with pytest.raises(BadInput, match="same part of the body"):
        find_motion(ct, soft)


def test_another_part_of_the_body_is_refused():
    ct, _ = spine()
    shape = sitk.GetArrayFromImage(ct).shape
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2) * STEP for n in shape], indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    skull = np.where(radius < 60, 35.0, -1000.0)
    skull[(radius > 54) & (radius < 60)] = 900
    head = sitk.GetImageFromArray(skull.astype(np.float32))
    head.CopyInformation(ct)
    with pytest.raises(BadInput, match="same part of the body|brought together"):
        find_motion(ct, head)


# --- the command ---------------------------------------------------------------------------------


def register(folder: Path, prior: sitk.Image, current: sitk.Image,
             *options: object) -> tuple[int, Path]:
    for name, image in (("prior", prior), ("current", current)):
        sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(folder / f"{name}.nrrd"))
    output = folder / "result"
    return app.run(["register", str(folder / "prior.nrrd"), str(folder / "current.nrrd"),
                    "--output", str(output), "--progress", "none", *map(str, options)]), output


def test_the_command_writes_transform_quality_and_the_aligned_scan(pair, tmp_path):
    prior, follow_up = pair
    exit_code, output = register(tmp_path, prior, follow_up.current)
    assert exit_code == 0
    manifest = read_result(output)
    assert [scan["name"] for scan in manifest["inputs"]] == ["prior.nrrd", "current.nrrd"]
    assert manifest["aligned_share"] > 0.7 and not manifest["warnings"]
    transform = sitk.ReadTransform(str(output / "transform.h5"))
    bone = follow_up.bones > 0
    points = _points(prior)[bone][::31]
    true = points + follow_up.displacement[bone][::31]
    moved = np.array([transform.TransformPoint(p.tolist()) for p in points])
    assert np.linalg.norm(moved - true, axis=1).mean() < 0.5 * STEP
    truth = sitk.DisplacementFieldTransform(image_like(follow_up.displacement.copy(), prior))
    aligned, best, now = (sitk.GetArrayFromImage(image)[bone] for image in (
        sitk.ReadImage(str(output / "prior_aligned.nrrd")),
        sitk.Resample(prior, prior, truth, sitk.sitkLinear, -1000.0), follow_up.current))
    assert np.corrcoef(aligned, now)[0, 1] > 0.8 * np.corrcoef(best, now)[0, 1]
    quality = sitk.ReadImage(str(output / "quality.nrrd"))
    assert (sitk.GetArrayFromImage(quality) > 0.75).sum() * 8 > 0.6 * bone.sum() * STEP**3


def test_the_same_scan_twice_is_said(tmp_path):
    ct, _ = spine()
    exit_code, output = register(tmp_path, ct, ct)
    assert exit_code == 0
    assert "same scan" in " ".join(read_result(output)["warnings"])


def test_scans_that_do_not_fit_end_with_one_sentence_and_no_folder(tmp_path, capfd):
    ct, _ = spine()
    exit_code, output = register(tmp_path, sitk.Clamp(ct, ct.GetPixelID(), -1000, 60), ct)
    assert exit_code == BadInput.exit_code and not output.exists()
    assert "same part of the body" in capfd.readouterr().err


# --- a transform made elsewhere ------------------------------------------------------------------


def as_displacements(transform: sitk.Transform, image: sitk.Image) -> sitk.Transform:
    return sitk.DisplacementFieldTransform(sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, image.GetSize(), image.GetOrigin(), image.GetSpacing(),
        image.GetDirection()))


def as_affine(transform: sitk.Euler3DTransform) -> sitk.Transform:
    affine = sitk.AffineTransform(3)
    affine.SetCenter(transform.GetCenter())
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.GetTranslation())
    return affine


def as_spline(transform: sitk.Euler3DTransform, image: sitk.Image) -> sitk.Transform:
    spline = sitk.BSplineTransformInitializer(image, [4, 4, 6])
    places = _points(spline.GetCoefficientImages()[0]).reshape(-1, 3)
    spline.SetParameters((Rigid.of(transform)(places) - places).T.ravel().tolist())
    return spline


FORMS = {
    "rigid": lambda motion, image: motion.whole.transform(),
    "affine": lambda motion, image: as_affine(motion.whole.transform()),
    "spline": lambda motion, image: as_spline(motion.whole.transform(), image),
    "displacements": lambda motion, image: as_displacements(motion.whole.transform(), image),
    "composite": lambda motion, image: motion.transform(image),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["h5", "tfm"])
def test_a_transform_made_elsewhere_is_taken_as_it_is(pair, motion, tmp_path, form, suffix):
    prior, follow_up = pair
    given = FORMS[form](motion, follow_up.current)
    file = tmp_path / f"made elsewhere.{suffix}"
    sitk.WriteTransform(given, str(file))
    exit_code, output = register(tmp_path, prior, follow_up.current, "--transform", file)
    assert exit_code == 0
    manifest = read_result(output)
    assert manifest["transform"]["name"] == file.name and manifest["aligned_share"] > 0.5
    # one that is the same everywhere is less suitable, which is said
    assert ("moves all bones as one" in " ".join(manifest["warnings"])) == given.IsLinear()
    written = sitk.ReadTransform(str(output / "transform.h5"))
    for point in _points(follow_up.current)[follow_up.bones > 0][::997].tolist():
        np.testing.assert_allclose(written.TransformPoint(point), given.TransformPoint(point),
                                   atol=1e-3)


def test_a_transform_in_the_wrong_direction_is_warned_of(pair, motion, tmp_path):
    prior, follow_up = pair
    file = tmp_path / "inverse.h5"
    sitk.WriteTransform(motion.whole.transform().GetInverse(), str(file))
    exit_code, output = register(tmp_path, prior, follow_up.current, "--transform", file)
    assert exit_code == 0
    warnings = " ".join(read_result(output)["warnings"])
    assert "check that inverse.h5 goes from the current" in warnings


def broken(file: Path) -> None:
    file.write_text("no transform")


def cut_off(file: Path) -> None:
    sitk.WriteTransform(sitk.Euler3DTransform(), str(file))
    file.write_bytes(file.read_bytes()[:300])


def of_two_dimensions(file: Path) -> None:
    sitk.WriteTransform(sitk.Euler2DTransform(), str(file))


def without_numbers(file: Path) -> None:
    shift = sitk.TranslationTransform(3, (0.0, float("nan"), 0.0))
    sitk.WriteTransform(shift, str(file))


def far_away(file: Path) -> None:
    sitk.WriteTransform(sitk.TranslationTransform(3, (5000.0, 0.0, 0.0)), str(file))


@pytest.mark.parametrize("make, sentence", [
    (lambda file: None, "cannot be found"),
    (broken, "is not a transform that can be read"),
    (cut_off, "is not a transform that can be read"),
    (of_two_dimensions, "is a transform of 2 dimensions"),
    (without_numbers, "holds values that are no numbers"),
    (far_away, "does not take the bones of the current CT into the prior one"),
])
def test_a_transform_that_cannot_be_used_ends_with_one_sentence(tmp_path, capfd, make, sentence):
    ct, _ = spine(bones=2)
    file = tmp_path / "given.h5"
    make(file)
    exit_code, output = register(tmp_path, ct, ct, "--transform", file)
    assert exit_code == BadInput.exit_code and not output.exists()
    assert f"given.h5 {sentence}" in capfd.readouterr().err


def swelling(image: sitk.Image, centre: np.ndarray, reach: float, most: float) -> sitk.Transform:
    """Everything near a point is drawn towards it."""
    points = _points(image)
    away = points - centre
    share = most * np.exp(-(away**2).sum(-1) / (2 * reach**2))
    field = sitk.GetImageFromArray(-share[..., None] * away, isVector=True)
    field.CopyInformation(image)
    return sitk.DisplacementFieldTransform(field)


def test_bone_that_a_free_deformation_bends_is_not_trusted(tmp_path):
    """A transform that shrinks a part of one vertebra, as one that hides a lesion would."""
    ct, labels = spine()
    array = sitk.GetArrayFromImage(labels)
    points = _points(ct)
    middle = points[array == 3].mean(0)
    transform = swelling(ct, middle, reach=7.0, most=0.6)
    quality = alignment_quality(ct, ct, transform)
    judged, share = without_bent_bone(quality, transform)
    before, after = map(sitk.GetArrayFromImage, (quality, judged))
    distance = np.linalg.norm(_points(judged) - middle, axis=-1)
    bone = before > 0
    np.testing.assert_allclose(after[bone & (distance < 5)], WORST)
    np.testing.assert_allclose(after[distance > 25], before[distance > 25])
    assert 0.02 < share < 0.2
    turned, none = without_bent_bone(quality, rigid((0.2, -0.3, 0.1), (9, 9, 9)).transform())
    assert none == 0 and np.array_equal(sitk.GetArrayFromImage(turned), before)
    file = tmp_path / "free.h5"
    sitk.WriteTransform(swelling(ct, middle, reach=15.0, most=0.6), str(file))
    exit_code, output = register(tmp_path, ct, ct, "--transform", file)
    assert exit_code == 0
    assert "free.h5 bends" in " ".join(read_result(output)["warnings"])
    assert read_result(output)["aligned_share"] < 0.95


# --- a real CT -----------------------------------------------------------------------------------


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the example CT is absent")
def test_bones_of_a_real_ct_with_simulated_motion():
    ct = sitk.ReadImage(str(EXAMPLES / "example_ct.nii.gz"), sitk.sitkFloat32)
    labels = sitk.ReadImage(str(EXAMPLES / "example_seg_fast_force_split.nii.gz"))
    ct, labels = ct[:, :, :PART], labels[:, :, :PART]
    array = sitk.GetArrayFromImage(labels)
    is_bone = ((array >= 25) & (array <= 50)) | ((array >= 69) & (array <= 78))
    bones = sitk.GetImageFromArray(np.where(is_bone, array, 0))
    bones.CopyInformation(ct)
    follow_up = simulate_follow_up(ct, bones, seed=0)
    assert errors_mm(find_motion(follow_up.current, ct), follow_up).mean() < 0.5 * 3.0


def long_bones(moves_mm, noise_seed):
    """Two long bones with knobs at their ends, side by side, each moved along itself."""
    shape, step = (150, 40, 70), 2.0
    z, y, x = np.indices(shape) * step
    image = np.full(shape, -20.0)
    for side, (middle, move) in enumerate(zip((36.0, 104.0), moves_mm, strict=True)):
        random = np.random.default_rng(side)
        marrow = ndimage.gaussian_filter(random.normal(size=(400, 40, 70)), [3, 2, 2])
        along = z - move
        marrow = ndimage.map_coordinates(
            marrow, [np.clip(along / step + 100, 0, 398), y / step, x / step], order=1)
        knobs = 6 * np.exp(-((along - 40) / 14) ** 2) + 8 * np.exp(-((along - 255) / 16) ** 2)
        out = np.hypot(y - 40, x - middle) - 12 - knobs
        inside = (out < 0) & (along > 25) & (along < 275)
        image = np.where(inside, 60 + 120 * marrow / marrow.std(), image)
        image[inside & ((out > -4) | (along < 29) | (along > 271))] = 1000.0
    image += np.random.default_rng(noise_seed + 10).normal(0, 12, shape)
    bones = sitk.GetImageFromArray(ndimage.gaussian_filter(image, 0.6).astype(np.float32))
    bones.SetSpacing([step] * 3)
    return bones


def test_shafts_do_not_slide_along_themselves():
    motion = find_motion(long_bones((9.0, -9.0), 1), long_bones((0.0, 0.0), 0))
    heights = np.arange(50.0, 250.0, 10.0)
    for middle, moved in ((36.0, 9.0), (104.0, -9.0)):
        points = np.stack([np.full_like(heights, middle), np.full_like(heights, 40.0), heights], 1)
        slid = motion(points)[:, 2] - heights + moved
        assert np.abs(slid).max() < 6  # each patch by itself slides by 15 mm
