# SPDX-License-Identifier: Apache-2.0
"""Geometry helpers: every orientation, exactly."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from ReadingRoomLib import geometry

ORIENTATIONS = [
    np.eye(3)[:, permutation] * signs
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product([1.0, -1.0], repeat=3)
]
SIZE, SPACING, ORIGIN = (3, 4, 5), (0.7, 1.3, 2.9), (-11.25, 32.1, -203.4)


def make_image(direction=None, size=SIZE, spacing=SPACING, origin=ORIGIN) -> sitk.Image:
    """A volume whose voxels are all different."""
    values = np.arange(np.prod(size), dtype=np.int16).reshape(size[::-1])
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.asarray(np.eye(3) if direction is None else direction).ravel().tolist())
    return image


def rotation(axis: int, degrees: float) -> np.ndarray:
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(3)
    angle = np.radians(degrees)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def place_of_values(image: sitk.Image) -> dict[int, tuple]:
    """Where in the patient each value lies."""
    array = sitk.GetArrayViewFromImage(image)
    return {
        int(array[k, j, i]): image.TransformIndexToPhysicalPoint((i, j, k))
        for k, j, i in np.ndindex(array.shape)
    }


def assert_same_places(first: sitk.Image, second: sitk.Image) -> None:
    places, others = place_of_values(first), place_of_values(second)
    assert places.keys() == others.keys()
    assert max(np.abs(np.subtract(places[v], others[v])).max() for v in places) < 1e-9


def assert_identical(first: sitk.Image, second: sitk.Image) -> None:
    assert np.array_equal(sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(second))
    assert first.GetSpacing() == second.GetSpacing()
    assert first.GetOrigin() == second.GetOrigin()
    assert first.GetDirection() == second.GetDirection()


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_every_orientation_is_aligned_and_put_back_exactly(direction):
    image = make_image(direction)
    aligned, order = geometry.to_lps_axes(image)

    assert np.array_equal(np.reshape(aligned.GetDirection(), (3, 3)), np.eye(3))
    assert_same_places(image, aligned)
    assert_identical(order.undo(aligned), image)
    assert geometry.obliqueness_degrees(image) == 0.0


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_left_stays_left(direction):
    image = make_image(direction, size=(7, 7, 7), spacing=(1, 1, 1), origin=(0, 0, 0))
    center = np.asarray(image.TransformContinuousIndexToPhysicalPoint((3, 3, 3)))
    left_point = image.TransformPhysicalPointToIndex((center + [2, 0, 0]).tolist())
    marked = sitk.Image(image) * 0
    marked[left_point] = 1

    aligned, order = geometry.to_lps_axes(marked)

    [[_, _, x]] = np.argwhere(sitk.GetArrayFromImage(aligned))
    assert x == 5  # beyond the middle, 3, towards the patient's left
    assert order.undo(aligned)[left_point] == 1


angles = st.tuples(*[st.floats(-20, 20)] * 3)


@settings(deadline=None, max_examples=40)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    degrees=angles,
    size=st.tuples(*[st.integers(1, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    origin=st.tuples(*[st.floats(-1000, 1000)] * 3),
)
def test_oblique_grids_keep_their_places_and_come_back_exactly(
    orientation, degrees, size, spacing, origin
):
    tilt = rotation(0, degrees[0]) @ rotation(1, degrees[1]) @ rotation(2, degrees[2])
    image = make_image(tilt @ orientation, size, spacing, origin)
    aligned, order = geometry.to_lps_axes(image)

    assert_same_places(image, aligned)
    assert_identical(order.undo(aligned), image)
    assert np.all(np.diag(np.reshape(aligned.GetDirection(), (3, 3))) > 0)
    assert geometry.obliqueness_degrees(aligned) == pytest.approx(
        geometry.obliqueness_degrees(image), abs=1e-6
    )


def test_nothing_to_change_shares_the_voxels_and_leaves_the_input_alone():
    image = make_image()
    aligned, order = geometry.to_lps_axes(image)
    assert aligned is image
    moved = sitk.Image(aligned)
    moved.SetOrigin((1, 2, 3))
    assert_identical(order.undo(moved), image)
    assert moved.GetOrigin() == (1, 2, 3)


def test_undo_refuses_a_result_of_another_size():
    _, order = geometry.to_lps_axes(make_image(ORIENTATIONS[13]))
    with pytest.raises(ValueError, match="does not fit"):
        order.undo(make_image(size=(9, 9, 9)))


@pytest.mark.parametrize("degrees", [0.0, 3.0, 20.0, -17.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_obliqueness_is_the_tilt(axis, degrees):
    image = make_image(rotation(axis, degrees) @ ORIENTATIONS[29])
    assert geometry.obliqueness_degrees(image) == pytest.approx(abs(degrees), abs=1e-5)


def test_straighten_keeps_what_is_nearly_upright():
    image = make_image(rotation(0, 4.0))
    assert geometry.straighten(image) is image


def ramp(direction, size=(20, 22, 24)) -> sitk.Image:
    """Values that grow along x, y and z of the patient: linear interpolation is exact."""
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(np.asarray(direction).ravel().tolist())
    k, j, i = np.indices(size[::-1])
    index = np.stack([i, j, k]).reshape(3, -1) * np.array([[1.0], [1.5], [2.0]])
    points = np.asarray(direction) @ index + np.array([[10.0], [-20.0], [30.0]])
    values = sitk.GetImageFromArray(
        np.dot([1.0, 10.0, 100.0], points).reshape(size[::-1]).astype(np.float32)
    )
    values.CopyInformation(image)
    return values


def test_straighten_holds_everything_and_comes_back():
    image = ramp(rotation(0, 18.0) @ ORIENTATIONS[20])
    upright = geometry.straighten(image, fill=-9999)

    assert np.array_equal(np.reshape(upright.GetDirection(), (3, 3)), np.eye(3))
    bounds, new_bounds = geometry.physical_bounds(image), geometry.physical_bounds(upright)
    assert np.all(new_bounds[:, 0] <= bounds[:, 0] + 1e-4)
    assert np.all(new_bounds[:, 1] >= bounds[:, 1] - 1e-4)

    # Compare inside, where no fill value takes part in the interpolation.
    back = geometry.resample_like(upright, image, "linear")
    inside = (slice(3, -3),) * 3
    difference = sitk.GetArrayFromImage(back)[inside] - sitk.GetArrayFromImage(image)[inside]
    assert np.abs(difference).max() < 0.05


def test_resample_like_of_labels_invents_no_value_and_knows_its_own_grid():
    labels = make_image()
    assert geometry.resample_like(labels, make_image()) is labels
    finer = make_image(size=(9, 9, 9), spacing=(0.3, 0.6, 1.1))
    moved = geometry.resample_like(labels, finer, "nearest", fill=-5)
    assert geometry.same_geometry(moved, finer)
    assert moved.GetPixelID() == labels.GetPixelID()
    assert set(np.unique(sitk.GetArrayFromImage(moved))) <= {-5, *range(60)}
    with pytest.raises(ValueError, match="interpolation"):
        geometry.resample_like(labels, finer, "cubic")


@pytest.mark.parametrize("degrees", [15.0, -22.0])
def test_unshear_moves_slices_within_their_plane_only(degrees):
    angle = np.radians(degrees)
    sheared = np.eye(3)
    sheared[:, 2] = (0.0, np.sin(angle), np.cos(angle))
    image = ramp(sheared)
    assert geometry.shear_degrees(image) == pytest.approx(abs(degrees), abs=1e-6)

    upright = geometry.unshear(image, fill=-9999)

    assert geometry.shear_degrees(upright) < 1e-6
    assert upright.GetSize()[2] == image.GetSize()[2]
    array = sitk.GetArrayFromImage(upright)
    k, j, i = np.indices(array.shape)
    index = np.stack([i, j, k]).reshape(3, -1) * np.array(upright.GetSpacing())[:, None]
    points = index + np.array(upright.GetOrigin())[:, None]
    expected = np.dot([1.0, 10.0, 100.0], points).reshape(array.shape)
    error = np.abs(array - expected)[array != -9999]
    # Nothing is lost: 21 of 22 rows of a slice are exact, its edge is off by half a pixel at most.
    assert np.count_nonzero(error < 0.01) >= 20 * 21 * 24
    assert error.max() <= 0.75 * 10 + 0.01


def test_physical_bounds_reach_to_voxel_edges():
    image = make_image(size=(2, 3, 4), spacing=(1, 2, 3), origin=(0, 0, 0))
    assert np.allclose(geometry.physical_bounds(image), [[-0.5, 1.5], [-1, 5], [-1.5, 10.5]])


def test_same_geometry_measures_in_millimetres():
    image, other = make_image(), make_image()
    assert geometry.same_geometry(image, other)
    other.SetOrigin((ORIGIN[0] + 0.01, *ORIGIN[1:]))
    assert not geometry.same_geometry(image, other)
    assert geometry.same_geometry(image, other, tolerance=0.02)
    assert not geometry.same_geometry(image, make_image(size=(3, 4, 6)))
    other = make_image(spacing=(SPACING[0], SPACING[1], SPACING[2] + 0.01))
    assert not geometry.same_geometry(image, other, tolerance=0.02)
    assert geometry.same_geometry(image, other, tolerance=0.05)


def test_pictures_are_no_volumes():
    with pytest.raises(ValueError, match="3 dimensions"):
        geometry.obliqueness_degrees(sitk.Image(4, 4, sitk.sitkInt16))
