# SPDX-License-Identifier: Apache-2.0
"""Left and right: mirrored, turned, cut and single-legged patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from MuscleSegLib.sides import midline, split_sides
from MuscleSegLib.structures import LEFT_OFFSET, STRUCTURES, structure_named

PELVIS, FEMUR, SACRUM, ADDUCTORS, VASTUS_MEDIALIS, GLUTEUS = (
    structure_named(name).value for name in
    ("pelvis", "femur", "sacrum", "adductors", "vastus_medialis", "gluteus_maximus")
)
SHAPE = (24, 40, 101)


def patient(sacrum=True, legs=("right", "left"), centre=50) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a patient, z to the head, and the same with the sides told apart."""
    labels = np.zeros(SHAPE, np.uint8)
    truth = np.zeros(SHAPE, np.uint8)
    for direction, name in ((-1, "right"), (1, "left")):
        if name not in legs:
            continue

        def put(value, z, y, nearest, farthest, side=direction, offset=LEFT_OFFSET):
            columns = sorted((centre + side * nearest, centre + side * farthest))
            place = np.s_[z, y, columns[0] : columns[1] + 1]
            labels[place] = value
            truth[place] = value + (offset if side > 0 else 0)

        put(PELVIS, slice(12, 24), slice(10, 26), 10, 28)
        put(GLUTEUS, slice(8, 22), slice(26, 34), 3, 34)
        put(FEMUR, slice(0, 14), slice(14, 22), 26, 34)
        put(ADDUCTORS, slice(0, 10), slice(12, 26), 6, 18)
        put(VASTUS_MEDIALIS, slice(0, 6), slice(6, 12), 12, 24)
    if sacrum:
        labels[16:24, 20:30, centre - 8 : centre + 9] = SACRUM
        truth[16:24, 20:30, centre - 8 : centre + 9] = SACRUM
    return labels, truth


def split(labels: np.ndarray) -> np.ndarray:
    result = labels.copy()
    split_sides(result, midline(result))
    return result


def agreement(result: np.ndarray, truth: np.ndarray) -> float:
    return float((result == truth)[truth > 0].mean())


@pytest.mark.parametrize("sacrum", [True, False])
@pytest.mark.parametrize("centre", [42, 50, 58])
def test_both_sides_are_told_apart(sacrum, centre):
    labels, truth = patient(sacrum, centre=centre)
    np.testing.assert_array_equal(split(labels), truth)


def mirrored(sided: np.ndarray) -> np.ndarray:
    """The mirror image of a patient whose sides are apart: what was left is right."""
    swap = np.arange(256, dtype=np.uint8)
    for structure in STRUCTURES:
        if structure.paired:
            left, right = structure.value + LEFT_OFFSET, structure.value
            swap[left], swap[right] = right, left
    return swap[sided[..., ::-1]]


@settings(max_examples=15, deadline=None)
@given(st.integers(40, 60), st.booleans(), st.integers(0, 2**31))
def test_a_mirrored_patient_has_mirrored_sides(centre, sacrum, seed):
    labels, _ = patient(sacrum, centre=centre)
    labels[np.random.default_rng(seed).random(SHAPE) < 0.1] = 0  # what a network leaves out
    first, second = split(labels), split(np.ascontiguousarray(labels[..., ::-1]))
    assert agreement(mirrored(first), second) > 0.995


@pytest.mark.parametrize("degrees", [-25, -10, 10, 25])
@pytest.mark.parametrize("axes", [(1, 2), (0, 2)])
def test_a_turned_patient(degrees, axes):
    """Rolled to one side, and lying askew on the table."""
    labels, truth = patient()
    turned, expected = (ndimage.rotate(volume, degrees, axes, order=0) for volume in
                        (labels, truth))
    assert agreement(split(turned), expected) > 0.96


@pytest.mark.parametrize("legs", [("left",), ("right",)])
@pytest.mark.parametrize("part", [slice(None), slice(0, 12), slice(0, 6)])
def test_a_single_leg_is_all_one_side(legs, part):
    labels, truth = patient(sacrum=False, legs=legs)
    np.testing.assert_array_equal(split(labels[part]), truth[part])


def test_a_single_leg_without_adductors_goes_by_the_vastus_medialis():
    for legs in (("left",), ("right",)):
        labels, truth = patient(sacrum=False, legs=legs)
        for volume in (labels, truth):
            volume[volume % LEFT_OFFSET == ADDUCTORS] = 0
        np.testing.assert_array_equal(split(labels[:6]), truth[:6])


def test_a_field_of_view_that_cuts_one_side():
    labels, truth = patient()
    for volume in (labels, truth):
        volume[..., 76:] = 0  # the left femur is gone in part
    assert agreement(split(labels), truth) == 1


def test_a_bent_body_has_a_bent_middle():
    labels, truth = patient(sacrum=False)
    bent, expected = np.zeros_like(labels), np.zeros_like(truth)
    for z in range(len(labels)):
        shift = round(14 * (z / 23 - 0.5))
        bent[z], expected[z] = np.roll(labels[z], shift, 1), np.roll(truth[z], shift, 1)
    middle = midline(bent)
    assert middle[-1] - middle[0] > 8
    assert agreement(split(bent), expected) > 0.97


def test_sacrum_and_background_keep_their_values():
    labels, _ = patient()
    result = split(labels)
    assert ((result == SACRUM) == (labels == SACRUM)).all()
    assert ((result == 0) == (labels == 0)).all()
    assert set(np.unique(result // LEFT_OFFSET)) == {0, 1}


def test_a_slice_without_labels_does_no_harm():
    labels, truth = patient()
    labels[5], truth[5] = 0, 0
    np.testing.assert_array_equal(split(labels), truth)
    assert np.isfinite(midline(labels)).all() and midline(labels).shape == (24,)
