# SPDX-License-Identifier: Apache-2.0
"""What is measured in a head without a network: ventricles, motion, noise, which way it lies."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from HeadCTTriageLib.brain import locate_brain
from HeadCTTriageLib.motion import motion_mm
from HeadCTTriageLib.unusual import MOST_MOTION_MM, MOST_NOISE_HU, noise_hu, unusual_features
from HeadCTTriageLib.ventricles import ventricle_index
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image

from .head_factory import TOY_RADII, toy_head

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real images are not here")


def coordinates(image):
    """Of the middles of voxels, z, y, x, mm, before the image is turned."""
    axes = [np.arange(size) * step + start for size, step, start in zip(
        image.GetSize(), image.GetSpacing(), image.GetOrigin(), strict=True)]
    return np.meshgrid(*axes[::-1], indexing="ij")


def head_with_ventricles(width, fluid=8.0, noise=2.0, turned=0.0, leaning=0.0):
    """A toy whose frontal horns are that wide, mm; turned and leaning by degrees; and its index."""
    image = toy_head(spacing=(2.0, 2.0, 4.0))
    z, y, x = coordinates(image)
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    aside, radius = width / 4, width / 4 + 1e-3
    horns = ((np.abs(x) - aside) / radius) ** 2 + ((y + 24) / 24) ** 2 + ((z - 8) / 18) ** 2 < 1
    array[(array > 20) & (array < 50)] = 34.0
    array[horns] = fluid
    array += noise * np.random.default_rng(0).standard_normal(array.shape, np.float32)
    image = image_like(array.round().astype(np.int16), image)
    inner = 2 * TOY_RADII[2] * np.sqrt(1 - (8 / TOY_RADII[0]) ** 2)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.0, np.radians(leaning), np.radians(turned))
    image.SetOrigin(turn.TransformPoint(image.GetOrigin()))
    image.SetDirection(turn.GetMatrix())
    return image, width / inner


def index_of(image):
    return ventricle_index(image, locate_brain(image))


# --- ventricles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width, options", [
    (28, {}), (64, {}), (44, {"noise": 6.0}), (36, {"turned": -12.0, "leaning": 8.0})])
def test_the_index_is_that_of_the_head(width, options):
    image, index = head_with_ventricles(width, **options)
    assert index_of(image) == pytest.approx(index, abs=0.025)


@pytest.mark.parametrize("options", [
    {"fluid": 34.0}, {"fluid": 70.0}, {"fluid": 27.0}, {"turned": 30.0}])
def test_what_cannot_be_told_is_not_measured(options):
    """No ventricles, blood in them, next to no contrast, a head that lies askew."""
    assert index_of(head_with_ventricles(44, **options)[0]) is None


def test_parts_of_brains_and_infants_are_not_measured():
    image, _ = head_with_ventricles(44)
    brain = locate_brain(image)
    assert ventricle_index(image, brain) is not None
    for change in ({"cut_above": True}, {"cut_below": True}, {"volume_ml": 700.0},
                   {"back_in_front": True}):
        assert ventricle_index(image, replace(brain, **change)) is None


# --- motion --------------------------------------------------------------------------------------


def moved(image, mm, first, last, axis=1):
    """The head lay ``mm`` farther to a side (axis 1: back, 2: left) in some of its slices."""
    array = sitk.GetArrayFromImage(image)
    step = round(mm / image.GetSpacing()[2 - axis])
    array[first:last] = np.roll(array[first:last], step, axis)
    return image_like(array, image)


@pytest.fixture(scope="module")
def still():
    return toy_head(spacing=(2.0, 2.0, 5.0))


@pytest.mark.parametrize("mm, slices, axis", [
    (4, (26, 30), 1), (-4, (25, 45), 2), (6, (27, 28), 2)])
def test_a_head_that_moved_is_doubted(still, mm, slices, axis):
    image = moved(still, mm, *slices, axis)
    brain = locate_brain(still)
    assert motion_mm(still, brain) < MOST_MOTION_MM / 2 < MOST_MOTION_MM < motion_mm(image, brain)
    assert any("moved" in doubt for doubt in unusual_features(image, brain))


def test_motion_is_seen_in_any_order_of_the_axes(still):
    image = sitk.DICOMOrient(moved(still, 4, 26, 30), "SPL")
    assert motion_mm(image, locate_brain(image)) > MOST_MOTION_MM


def test_a_few_slices_do_not_tell_of_motion():
    thick = toy_head(spacing=(2.0, 2.0, 12.0))
    assert motion_mm(thick, locate_brain(thick)) == 0.0


# --- noise, kernel, orientation ------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, 3.0, 10.0, 30.0])
def test_noise_is_measured_beside_edges(sigma):
    slices = np.full((6, 90, 90), 30.0)
    slices[:, 30:60] = 8.0
    slices[:, :, ::45] = 900.0
    slices = slices + sigma * np.random.default_rng(0).standard_normal(slices.shape)
    assert noise_hu(slices) == pytest.approx(sigma, rel=0.12, abs=0.01)


def test_slices_without_brain_have_no_noise():
    assert noise_hu(np.full((3, 20, 20), -1000.0)) == 0.0


def test_what_lies_back_to_front_is_said():
    head = toy_head()
    z, y, x = coordinates(head)
    inside = sum((a / r) ** 2 for a, r in zip((z, y, x), TOY_RADII, strict=True)) < 1
    array = sitk.GetArrayFromImage(head)
    array[inside & (z < -10) & (y < 15)] = 700  # the base slopes down to the back
    usual = image_like(array, head)
    reverse = image_like(array[:, ::-1], head)
    assert unusual_features(usual, locate_brain(usual)) == []
    (doubt,) = unusual_features(reverse, locate_brain(reverse))
    assert "back of the head" in doubt


# --- real heads ----------------------------------------------------------------------------------


def real_heads(folder):
    with zipfile.ZipFile(
            REAL_DATA / "ct_head_volumes" / "dcm_qa_ct_GE_head_28slices_dicom.zip") as archive:
        archive.extractall(folder / "ge")
    yield "old", read_image(folder / "ge").image
    yield "dead", read_image(REAL_DATA / "ct_visible_human" / "vhm_head_ct_1.5mm.nii.gz").image
    yield "reversed", read_image(
        REAL_DATA / "ct_head_volumes" / "invesalius_cranium_ct.nii.gz").image


@needs_data
def test_real_heads_lay_still_and_one_is_stored_back_to_front(tmp_path):
    indices = {}
    for name, image in real_heads(tmp_path):
        brain = locate_brain(image)
        assert brain.back_in_front == (name == "reversed")
        assert motion_mm(image, brain) < MOST_MOTION_MM / 2
        indices[name] = ventricle_index(image, brain)
    # wide ones of an old patient; the dead one's have next to no contrast
    assert 0.28 < indices["old"] < 0.36
    assert indices["dead"] is None and indices["reversed"] is None
    assert MOST_NOISE_HU > 0
