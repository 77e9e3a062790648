# SPDX-License-Identifier: Apache-2.0
"""Scores against hand-computed shapes, against MONAI's own functions, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

from ReadingRoomLib.metrics import (
    ABSENT,
    MISSED,
    bootstrap_interval,
    paired_interval,
    score_labels,
    score_mask,
    surface,
    surface_distances,
)


def box(shape, *sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def ball(shape, radius_mm: float, spacing) -> np.ndarray:
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 <= radius_mm**2


def test_a_structure_agrees_with_itself():
    mask = box((9, 9, 9), (2, 7), (1, 8), (3, 6))
    score = score_mask(mask, mask, (3.0, 1.0, 1.0))
    assert (score.dice, score.asd_mm, score.nsd, score.hd95_mm) == (1, 0, 1, 0)


@pytest.mark.parametrize(("axis", "shift_mm"), [(0, 4.0), (1, 0.5), (2, 2.0)])
def test_shifted_planes_are_apart_by_the_spacing_of_their_axis(axis, shift_mm):
    # one voxel thick planes: every voxel is surface, each exactly one voxel from the other plane
    spacing = (4.0, 0.5, 2.0)
    first, second = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    first[(slice(None),) * axis + (3,)] = True
    second[(slice(None),) * axis + (4,)] = True
    score = score_mask(first, second, spacing, tolerance_mm=1.0)
    assert score.dice == 0
    assert score.asd_mm == pytest.approx(shift_mm)
    assert score.hd95_mm == pytest.approx(shift_mm)
    assert score.nsd == (1 if shift_mm <= 1.0 else 0)


def test_dice_of_overlapping_boxes():
    first = box((10, 10, 10), (0, 4), (0, 5), (0, 5))  # 100 voxels
    second = box((10, 10, 10), (2, 6), (0, 5), (0, 5))  # 100 voxels, 50 in common
    assert score_mask(first, second, (1, 1, 1)).dice == pytest.approx(0.5)


def test_average_and_percentile_of_a_wire_with_an_outlier():
    # reference: 20 voxels in a row; prediction: the same and one voxel 10 mm beside it
    reference = box((3, 21, 21), (1, 2), (0, 1), (0, 20))
    predicted = reference.copy()
    predicted[1, 10, 0] = True
    score = score_mask(predicted, reference, (1, 1, 1), tolerance_mm=9.9)
    assert score.asd_mm == pytest.approx(10 / 41)
    assert score.nsd == pytest.approx(40 / 41)
    # of 21 distances, twenty 0 and one 10, the 95th percentile is the twentieth
    assert score.hd95_mm == pytest.approx(0.0)
    predicted[1, 12, 0] = True  # 22 distances: 95 % lies between the twentieth and the next
    assert score_mask(predicted, reference, (1, 1, 1)).hd95_mm == pytest.approx(0.95 * 21 % 1 * 10)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (5.0, 0.8, 0.8)])
def test_concentric_balls_are_apart_by_the_difference_of_their_radii(spacing):
    shape = tuple(int(70 / s) | 1 for s in spacing)
    score = score_mask(ball(shape, 30, spacing), ball(shape, 25, spacing), spacing)
    assert score.asd_mm == pytest.approx(5.0, abs=0.35 * max(spacing))
    assert score.dice == pytest.approx(2 * 25**3 / (25**3 + 30**3), abs=0.02)
    assert score.nsd < 0.2
    assert score_mask(ball(shape, 30, spacing), ball(shape, 25, spacing), spacing, 9).nsd == 1


@example(0, (1.0, 1.0, 0.4510225507125063), 0.4510225507125063)  # a distance equal to the tolerance
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.tuples(*[st.floats(0.3, 8.0)] * 3), st.floats(0.2, 6.0))
def test_same_as_monai_on_the_whole_volume(seed, spacing, tolerance):
    random = np.random.default_rng(seed)
    labels = [random.integers(0, 3, (5, 7, 6)).astype(np.uint8) for _ in range(2)]
    for label in labels:
        label[2, 3, 3] = 1
    score = score_labels(*labels, [1], spacing, tolerance)[1]
    masks = [torch.from_numpy(label == 1)[None, None] for label in labels]
    options = {"include_background": True, "spacing": list(spacing)}
    # MONAI computes in float32
    assert score.asd_mm == pytest.approx(
        float(compute_average_surface_distance(*masks, symmetric=True, **options)), rel=1e-4)
    assert score.hd95_mm == pytest.approx(
        float(compute_hausdorff_distance(*masks, percentile=95, **options)), rel=1e-4)
    assert score.nsd == pytest.approx(
        float(compute_surface_dice(*masks, class_thresholds=[tolerance], **options)), rel=1e-4)


def test_labels_are_scored_one_by_one_in_the_order_given():
    predicted = np.zeros((6, 6, 6), np.uint8)
    reference = np.zeros((6, 6, 6), np.uint8)
    predicted[1:3] = reference[1:3] = 4
    predicted[4] = 2
    reference[5] = 2
    scores = score_labels(predicted, reference, [4, 2], (2, 1, 1))
    assert list(scores) == [4, 2]
    assert scores[4].dice == 1 and scores[2].dice == 0
    assert scores[2].asd_mm == pytest.approx(2.0)


def test_missing_structures():
    labels = np.zeros((4, 4, 4), np.uint8)
    other = labels.copy()
    other[1, 1, 1] = 7
    both, one = score_labels(labels, other, [3, 7], (1, 1, 1)).values()
    assert all(np.isnan(value) for value in vars(both).values())
    assert one == MISSED and one.dice == 0 and one.asd_mm == np.inf
    assert score_labels(other, labels, [7], (1, 1, 1))[7] == MISSED
    assert score_labels(other, labels, [250], (1, 1, 1))[250] is ABSENT


def test_two_dimensions():
    first, second = box((8, 8), (0, 8), (2, 3)), box((8, 8), (0, 8), (5, 6))
    assert score_mask(first, second, (1.0, 0.5)).asd_mm == pytest.approx(1.5)


@pytest.mark.parametrize(("shape", "spacing"), [((4, 4, 5), (1, 1, 1)), ((4, 4, 4), (1, 1))])
def test_what_does_not_fit_is_refused(shape, spacing):
    with pytest.raises(ValueError, match="differ|fit"):
        score_labels(np.ones((4, 4, 4), np.uint8), np.ones(shape, np.uint8), [1], spacing)


def test_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    hits = 0
    for repetition in range(120):
        interval = bootstrap_interval(random.normal(5, 2, 30), resamples=400, seed=repetition)
        hits += interval.low <= 5 <= interval.high
    assert 105 <= hits <= 119


def test_interval_of_a_known_case():
    values = np.arange(1, 101)
    interval = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 10  # what the normal approximation says
    assert interval.value == 50.5 and interval.n == 100
    assert interval.low == pytest.approx(50.5 - half, abs=0.4)
    assert interval.high == pytest.approx(50.5 + half, abs=0.4)
    assert interval == bootstrap_interval(values)
    assert "50.500 (95 % interval 4" in interval.in_full() and "n = 100" in interval.in_full()


def test_interval_of_few_equal_missing_or_infinite_values():
    assert bootstrap_interval([]).n == 0 and np.isnan(bootstrap_interval([]).value)
    single = bootstrap_interval([0.8, np.nan])
    assert (single.value, single.n) == (0.8, 1) and np.isnan(single.low)
    equal = bootstrap_interval([0.9, 0.9, 0.9])
    assert equal.low == equal.high == equal.value == pytest.approx(0.9)
    missed = bootstrap_interval([1.0, np.inf, 2.0])
    assert missed.value == np.inf and np.isnan(missed.high) and missed.n == 3
    assert bootstrap_interval([1, 5, 9, 2], np.median).value == 3.5


def test_surface_is_what_has_a_neighbour_outside_the_mask_or_the_image():
    mask = box((5, 6, 7), (0, 4), (1, 5), (1, 6))
    found = surface(mask)
    inner = box((5, 6, 7), (1, 3), (2, 4), (2, 5))
    assert np.array_equal(found, mask & ~inner)
    assert np.array_equal(surface(np.ones((1, 3, 3), bool)), np.ones((1, 3, 3), bool))


def test_distances_are_those_of_a_distance_transform():
    random = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(random.normal(0, 1, (12, 20, 22)), 2)
    first, second, spacing = noise > 0.02, np.roll(noise, 2, 1) > 0.03, (3.0, 0.9, 1.1)
    found = surface_distances(first, second, spacing)
    edges = surface(first), surface(second)
    for own, other, distances in zip(edges, reversed(edges), found, strict=True):
        expected = ndimage.distance_transform_edt(~other, sampling=spacing)[own]
        assert np.sort(distances) == pytest.approx(np.sort(expected))


def ratio(first, second, axis=-1):
    return np.mean(first, axis) / np.mean(second, axis)


def test_a_paired_interval_is_narrow_where_units_differ_and_methods_do_not():
    random = np.random.default_rng(0)
    hard = random.uniform(1, 5, 40)
    first, second = hard * 0.5, hard * random.uniform(0.95, 1.05, 40)
    found = paired_interval(first, second, ratio)
    assert found.value == pytest.approx(0.5, abs=0.02) and found.n == 40
    assert found.low < found.value < found.high and found.high - found.low < 0.02
    assert found == paired_interval(first, second, ratio)
    shuffled = paired_interval(first, random.permutation(second), ratio)
    assert shuffled.high - shuffled.low > 5 * (found.high - found.low)


def test_a_paired_interval_of_few_or_proportional_values():
    single = paired_interval([1.0], [2.0], ratio)
    assert single.value == 0.5 and np.isnan(single.low) and single.n == 1
    equal = paired_interval([1.0, 2.0, 4.0], [2.0, 4.0, 8.0], ratio)
    assert (equal.value, equal.low, equal.high) == pytest.approx((0.5, 0.5, 0.5))
