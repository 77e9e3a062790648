# SPDX-License-Identifier: Apache-2.0
"""The simulated CT that demo and tests use where no real one can be had."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.phantoms.pelvis import SHAPES, simulate_pelvis

VALUES = {structure.name: structure.value for structure in STRUCTURES}
SPACING = (5.0, 5.0, 10.0)


@pytest.fixture(scope="module")
def phantom():
    return simulate_pelvis(VALUES, SPACING)


@pytest.fixture(scope="module")
def arrays(phantom):
    return sitk.GetArrayFromImage(phantom.image), sitk.GetArrayFromImage(phantom.labels)


def test_it_has_every_structure_of_the_module(arrays):
    assert set(SHAPES) == set(VALUES)
    assert set(np.unique(arrays[1])) == {0, *VALUES.values()}


def test_image_and_labels_lie_on_one_grid(phantom):
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(phantom.image, name)() == getattr(phantom.labels, name)()
    assert phantom.image.GetSpacing() == SPACING
    assert phantom.image.GetPixelID() == sitk.sitkInt16


def test_it_is_the_same_on_both_sides(phantom):
    # The body's middle, x = 0, lies on a voxel: mirror the columns around it.
    labels = sitk.GetArrayFromImage(phantom.labels)
    middle = round(-phantom.labels.GetOrigin()[0] / SPACING[0])
    right, left = labels[..., 1 : middle + 1], labels[..., middle : 2 * middle]
    assert np.array_equal(right, left[..., ::-1])


def test_tissues_have_their_hounsfield_units(arrays):
    hounsfield, labels = arrays
    deep = sitk.GetArrayFromImage(
        sitk.BinaryErode(sitk.GetImageFromArray((labels == VALUES["gluteus_maximus"]) * 1), [1] * 3)
    )
    assert hounsfield[deep > 0].mean() == pytest.approx(55, abs=5)
    assert hounsfield[labels == VALUES["femur"]].mean() > 200
    assert hounsfield[0, 0, 0] < -900


def test_the_head_end_is_up_and_the_sacrum_is_at_the_back(phantom):
    def centre(name):
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(phantom.labels)
        return shape.GetCentroid(VALUES[name])

    assert centre("sacrum")[1] > centre("rectus_femoris")[1]  # y to the back
    assert centre("psoas_major")[2] > centre("gracilis")[2]  # z to the head


def test_the_noise_depends_on_the_seed_alone(phantom):
    def noise(seed):
        image = simulate_pelvis({}, (20.0, 20.0, 50.0), seed).image
        return sitk.GetArrayFromImage(image)

    assert np.array_equal(noise(1), noise(1))
    assert not np.array_equal(noise(1), noise(2))
