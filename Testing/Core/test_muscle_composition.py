# SPDX-License-Identifier: Apache-2.0
"""Volumes, densities, fat, areas and sides of muscles whose truth is known, however they lie."""

from __future__ import annotations

import csv
import itertools
from dataclasses import asdict, fields

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from MuscleSegLib.muscle_composition import (
    CUT_OFF,
    OTHER_CUT_OFF,
    OTHER_MISSING,
    MuscleMeasurement,
    measure_muscles,
    write_muscles,
)

from .muscle_body import (
    BOXES,
    LEAN_HU,
    LOW_HU,
    MUSCLE,
    ORIGIN,
    SHAPE,
    SPACING,
    body,
    image_of,
    value_of,
)

VOXEL_ML = np.prod(SPACING) / 1000


def measured(ct, labels) -> dict[tuple[str, str], MuscleMeasurement]:
    return {(one.structure, one.side): one for one in measure_muscles(image_of(ct),
                                                                      image_of(labels))}


@pytest.fixture(scope="module")
def found():
    return measured(*body())


def test_every_structure_is_measured_once_in_anatomical_order_right_before_left():
    ct, labels = body()
    assert [(one.structure, one.side) for one in measure_muscles(image_of(ct), image_of(labels))] \
        == [("femur", "right"), ("femur", "left"), ("sacrum", ""), (MUSCLE, "right"),
            (MUSCLE, "left"), ("iliacus", "right")]


def test_volume_and_centroid_are_those_of_the_boxes(found):
    for key, box in BOXES.items():
        slices, rows, columns = box
        lengths = [side.stop - side.start for side in (columns, rows, slices)]
        middle = [(side.start + side.stop - 1) / 2 for side in (columns, rows, slices)]
        one = found[key]
        assert one.volume_ml == pytest.approx(np.prod(lengths) * VOXEL_ML, abs=1e-3)
        assert (one.centroid_l_mm, one.centroid_p_mm, one.centroid_s_mm) == pytest.approx(
            np.array(ORIGIN) + np.array(middle) * SPACING, abs=0.01)


def test_density_and_fat_are_those_of_the_rows(found):
    right = found[MUSCLE, "right"]
    values = np.repeat([-100, LOW_HU, LOW_HU, *[LEAN_HU] * 9], 120)
    assert right.mean_hu == pytest.approx(values.mean(), abs=0.01)
    assert right.sd_hu == pytest.approx(values.std(), abs=0.01)
    assert right.fat_fraction == pytest.approx(1 / 12, abs=1e-4)
    assert right.low_attenuation_fraction == pytest.approx(2 / 11, abs=1e-4)
    # inside: ten of twelve rows are left, without the row of fat and one of lean muscle
    assert right.fat_fraction_inside == 0
    assert right.low_attenuation_fraction_inside == pytest.approx(2 / 10, abs=1e-4)
    left = found[MUSCLE, "left"]
    assert (left.fat_fraction, left.low_attenuation_fraction, left.sd_hu) == (0, 0, 0)


@pytest.mark.parametrize(("hu", "fat", "low"), [
    (-191, 0, None), (-190, 1, None), (-30, 1, None), (-29, 0, 1), (29, 0, 1), (30, 0, 0),
    (150, 0, 0), (151, 0, None)])
def test_limits_of_the_ranges_belong_to_them(hu, fat, low):
    ct, labels = body()
    ct[labels == value_of("iliacus", "right")] = hu
    one = measured(ct, labels)["iliacus", "right"]
    assert (one.fat_fraction, one.low_attenuation_fraction) == (fat, low)


def test_what_lies_against_a_neighbour_is_no_inside():
    ct, labels = body()
    box = BOXES["iliacus", "right"]
    labels[box] = 0
    labels[5:8, 34:38, 20:24] = value_of("iliacus", "right")
    labels[5:8, 34:38, 24:28] = value_of("psoas_major", "right")
    ct[5:8, 34:38, 20:28] = LEAN_HU
    ct[5:8, 34:38, 23] = -100  # fat between the two
    one = measured(ct, labels)["iliacus", "right"]
    assert (one.fat_fraction, one.fat_fraction_inside) == (0.25, 0)


def test_a_muscle_one_voxel_thin_has_no_inside():
    ct, labels = body()
    labels[BOXES["iliacus", "right"]] = 0
    labels[5:8, 34:36, 20:24] = value_of("iliacus", "right")
    one = measured(ct, labels)["iliacus", "right"]
    assert one.fat_fraction is not None and one.fat_fraction_inside is None
    assert one.low_attenuation_fraction_inside is None


def test_the_largest_area_is_found_where_it_is():
    ct, labels = body()
    labels[9, 18:20, 6:18] = value_of(MUSCLE, "right")  # two more rows in one slice
    one = measured(ct, labels)[MUSCLE, "right"]
    assert one.max_area_cm2 == pytest.approx(14 * 12 * SPACING[0] * SPACING[1] / 100, abs=1e-3)
    assert one.max_area_s_mm == pytest.approx(ORIGIN[2] + 9 * SPACING[2])


def test_bones_have_volume_and_density_but_nothing_of_muscles(found):
    one = found["femur", "left"]
    assert (one.mean_hu, one.volume_ml > 0) == (600, True)
    assert {one.fat_fraction, one.fat_fraction_inside, one.low_attenuation_fraction,
            one.low_attenuation_fraction_inside, one.max_area_cm2, one.max_area_s_mm} == {None}


def test_sides_are_compared(found):
    right, left = found[MUSCLE, "right"], found[MUSCLE, "left"]
    assert right.volume_asymmetry_percent == pytest.approx(100 * 2 / 11, abs=0.01)  # 12, 10 rows
    mean = (right.mean_hu + LEAN_HU) / 2
    assert right.hu_asymmetry_percent == pytest.approx(100 * (LEAN_HU - right.mean_hu) / mean,
                                                       abs=0.01)
    assert right.hu_difference == pytest.approx(LEAN_HU - right.mean_hu)
    assert left.volume_asymmetry_percent == right.volume_asymmetry_percent
    assert right.remark == left.remark == ""


def test_no_share_of_a_mean_density_below_zero():
    ct, labels = body()
    ct[labels == value_of(MUSCLE, "left")] = -40
    one = measured(ct, labels)[MUSCLE, "left"]
    assert one.hu_asymmetry_percent is None and one.volume_asymmetry_percent is not None
    assert one.hu_difference < -60


def test_what_the_end_of_the_scan_cuts_off_does_not_compare(found):
    assert found["femur", "left"].cut_off == "yes" and found["femur", "left"].remark == CUT_OFF
    assert found["femur", "left"].volume_asymmetry_percent is None
    assert found[MUSCLE, "left"].cut_off == ""
    assert found["iliacus", "right"].remark == OTHER_MISSING
    assert found["sacrum", ""].remark == ""


@pytest.mark.parametrize("end", [np.s_[-1, 5, 5], np.s_[5, 0, 5], np.s_[5, -1, 5], np.s_[5, 5, 0],
                                 np.s_[5, 5, -1]])
def test_every_face_of_the_scan_cuts_off(end):
    ct, labels = body()
    labels[end] = value_of(MUSCLE, "right")
    found = measured(ct, labels)
    assert found[MUSCLE, "right"].remark == CUT_OFF
    assert found[MUSCLE, "left"].remark == OTHER_CUT_OFF
    assert found[MUSCLE, "left"].hu_difference is None


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.integers(0, 2**32 - 1))
def test_nothing_changes_when_the_axes_of_the_grid_do(axes, flips, seed):
    """The same voxels in the same places, stored in another order."""
    random = np.random.default_rng(seed)
    ct, labels = body()
    ct[...] = random.integers(-250, 200, SHAPE)
    labels[:, 20:, :][random.random((SHAPE[0], 20, SHAPE[2])) < 0.4] = 0
    pair = [image_of(array) for array in (ct, labels)]
    turned = [sitk.Flip(sitk.PermuteAxes(image, list(axes)), list(flips)) for image in pair]
    assert measure_muscles(*turned) == measure_muscles(*pair)


@settings(max_examples=5, deadline=None)
@given(st.tuples(*[st.floats(-25, 25)] * 3))
@example((0.0, 15.0, 4.854629255835697e-306))  # which ITK cannot invert
def test_an_oblique_grid_changes_no_volume_and_no_density(angles):
    ct, labels = body()
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    upright = {(one.structure, one.side): one
               for one in measure_muscles(image_of(ct), image_of(labels))}
    for one in measure_muscles(image_of(ct, turn), image_of(labels, turn)):
        straight = upright[one.structure, one.side]
        for name in ("volume_ml", "mean_hu", "sd_hu", "fat_fraction", "fat_fraction_inside",
                     "volume_asymmetry_percent"):
            assert getattr(one, name) == getattr(straight, name), name


def test_areas_of_tilted_slices_are_axial_ones():
    """A cylinder along the body has the same axial area whatever the grid's tilt."""
    radius = 20.0
    for tilt in (0.0, 4.0, 25.0):
        turn = Rotation.from_euler("x", tilt, degrees=True).as_matrix()
        shape = (40, 60, 60)
        image = sitk.GetImageFromArray(np.zeros(shape, np.uint8))
        image.SetSpacing((1.5, 1.5, 2.0))
        image.SetDirection(turn.ravel().tolist())
        index = np.stack(np.meshgrid(*[np.arange(n) for n in shape[::-1]], indexing="ij"), -1)
        places = index @ (turn * image.GetSpacing()).T
        middle = places.reshape(-1, 3).mean(0)
        inside = (np.hypot(*(places - middle)[..., :2].transpose(3, 0, 1, 2)) < radius) & (
            abs(places - middle)[..., 2] < 15)
        labels = sitk.GetImageFromArray(
            np.where(inside, value_of(MUSCLE, "right"), 0).astype(np.uint8).transpose(2, 1, 0))
        labels.CopyInformation(image)
        ct = sitk.Cast(labels, sitk.sitkInt16)
        [one] = measure_muscles(ct, labels)
        allowed = 0.015 if tilt != 4.0 else 0.05  # nearly upright slices are taken as they are
        assert one.max_area_cm2 == pytest.approx(np.pi * radius**2 / 100, rel=allowed), tilt


def test_the_table_can_be_read_back(tmp_path, found):
    write_muscles(tmp_path / "muscles.csv", list(found.values()))
    with open(tmp_path / "muscles.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [field.name for field in fields(MuscleMeasurement)]
    for row, one in itertools.zip_longest(rows, found.values()):
        written = {name: "" if value is None else str(value) for name, value in asdict(one).items()}
        assert row == written
