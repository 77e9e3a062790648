# SPDX-License-Identifier: Apache-2.0
"""Simulated heads: what is said to be there is there, and pushes the brain the right way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.head import HeadSettings, simulate_head
from ReadingRoomLib.phantoms.head_findings import (
    KINDS,
    Finding,
    Place,
    draw_finding,
    on_skull,
    push_of,
    shape_of,
)
from ReadingRoomLib.phantoms.head_template import HeadTemplate, read_head_template
from ReadingRoomLib.phantoms.randomness import Randomness

from .head_factory import RADII, make_template

ATLAS = (Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator_examples"
         / "ct_brain_atlas_1mm.nii.gz")
QUIET = HeadSettings(spacing=(3.0, 1.5, 1.5), rotation=(0, 0, 0), scale=(1, 1), displacement=0,
                     atrophy=(0, 0), thickness=(1, 1), noise=(1, 1), artefacts={})


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return make_template()


def arrays(head):
    return sitk.GetArrayFromImage(head.image), sitk.GetArrayFromImage(head.truth)


def lateral(template, side=1.0):
    return on_skull(template, np.array([0.2, 0.0, side]))


EXAMPLES = {
    "epidural": lambda t: Finding("epidural", lateral(t), 35, 65, 20),
    "subdural": lambda t: Finding("subdural", lateral(t), 60, 65, 12),
    "intraparenchymal": lambda t: Finding("intraparenchymal", (5, 10, 32), 16, 65),
    "intraventricular": lambda t: Finding("intraventricular", (0, 20, 1), 30, 65),
    "subarachnoid": lambda t: Finding("subarachnoid", lateral(t), 35, 60),
    "infarct": lambda t: Finding("infarct", (10, 10, 40), 20, -12),
    "fracture": lambda t: Finding("fracture", lateral(t), 30, 40, 3),
    "calcification": lambda t: Finding("calcification", (0, 0, 20), 5, 250),
}


@pytest.fixture(scope="module")
def healthy(template):
    return simulate_head(template, [], (5,), QUIET)


def test_a_head_without_findings_has_brain_skull_and_air(template, healthy):
    image, truth = arrays(healthy)
    assert not truth.any() and healthy.volumes_ml == {} and healthy.midline_shift_mm == 0
    middle = image.shape[0] // 2
    assert image[middle, 0, 0] < -900  # air
    assert (image > 700).any(axis=(1, 2))[middle]  # skull
    brain = (image > 15) & (image < 60)
    brain = ndimage.binary_opening(brain, iterations=3)  # not the scalp
    assert 800 < brain.sum() * np.prod(QUIET.spacing) / 1000 < 1500  # mL


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_is_there_and_as_dense_as_it_was_asked(template, healthy, kind):
    finding = EXAMPLES[kind](template)
    head = simulate_head(template, [finding], (5,), QUIET)
    image, truth = arrays(head)
    before, _ = arrays(healthy)
    where = truth == finding.number
    assert where.any() and head.volumes_ml[kind] == pytest.approx(
        where.sum() * np.prod(QUIET.spacing) / 1000, rel=0.5, abs=0.4)
    change = np.median(image[where].astype(float) - before[where])
    if kind == "infarct":
        assert -16 < change < -6
    elif kind == "fracture":
        assert change < -100
    else:
        assert change > 10
    if kind in ("epidural", "intraparenchymal"):  # thick ones are not blurred away
        inner = ndimage.binary_erosion(where, iterations=2)
        assert image[inner].mean() == pytest.approx(65, abs=12)


def test_what_is_too_faint_to_be_seen_is_not_told(template):
    faint = replace(EXAMPLES["infarct"](template), density_hu=-3.0)
    head = simulate_head(template, [faint], (5,), QUIET)
    assert head.volumes_ml == {"infarct": 0.0} and not arrays(head)[1].any()


def test_a_haematoma_has_the_volume_of_its_ball(template):
    finding = Finding("intraparenchymal", (0, 20, 32), 15, 65)
    head = simulate_head(template, [finding], (2,), QUIET)
    assert head.volumes_ml["intraparenchymal"] == pytest.approx(4.19 * 1.5**3, rel=0.3)


@settings(max_examples=15, deadline=None)
@given(side=st.sampled_from([-1.0, 1.0]), kind=st.sampled_from(
    ["epidural", "subdural", "intraparenchymal"]), scale=st.floats(0.6, 1.4))
def test_the_midline_goes_away_from_blood_and_farther_from_more(template, side, kind, scale):
    def shift(factor):
        if kind == "intraparenchymal":
            finding = Finding(kind, (8, -8, side * 34), 22 * factor, 65)
        else:
            finding = Finding(kind, lateral(template, side), 60, 65, 14 * factor)
        return simulate_head(template, [finding], (1,), HeadSettings(
            spacing=(12.0, 6.0, 6.0), rotation=(0, 0, 0))).midline_shift_mm

    assert side * shift(scale) < 0
    assert abs(shift(1.5 * scale)) > abs(shift(scale))


def test_the_shift_that_is_told_is_that_of_the_image(template):
    """Calcium on the midline, as in the pineal gland, is seen where it is said to be."""
    density = template.density.copy()
    z, y, x = (int(c) for c in template.centre)
    density[z + 4:z + 13, y - 12:y - 3, x - 3:x + 4] = 250
    marked = replace(template, density=density)
    finding = Finding("subdural", lateral(template), 70, 65, 18)

    def across(simulated):
        image, _ = arrays(simulated)
        _, height, width = image.shape
        near = image[30:42, height // 2 - 15:height // 2 + 10, width // 2 - 15:width // 2 + 15]
        return np.argwhere(near > 130)[:, 2].mean() * QUIET.spacing[2]

    head = simulate_head(marked, [finding], (5,), QUIET)
    seen = across(head) - across(simulate_head(marked, [], (5,), QUIET))
    assert seen == pytest.approx(head.midline_shift_mm, abs=1.0)
    assert head.midline_shift_mm < -4


def test_subdural_blood_stays_on_its_side(template):
    for side in (-1.0, 1.0):
        finding = Finding("subdural", on_skull(template, np.array([0.9, 0.1, 0.4 * side])), 90, 65,
                          15)
        _, truth = arrays(simulate_head(template, [finding], (3,), QUIET))
        x = np.argwhere(truth > 0)[:, 2] - (truth.shape[2] - 1) / 2
        assert (side * x * QUIET.spacing[2] > -7).all()  # the head itself lies up to 5 mm aside


def test_blood_in_the_ventricles_sinks_to_the_back(template, healthy):
    finding = EXAMPLES["intraventricular"](template)
    image, truth = arrays(simulate_head(template, [finding], (5,), QUIET))
    fluid = (arrays(healthy)[0] < 20) & (arrays(healthy)[0] > 0)
    inner = ndimage.binary_opening(fluid, iterations=2)
    assert np.argwhere(truth > 0)[:, 1].mean() > np.argwhere(inner)[:, 1].mean()


def test_nothing_is_pushed_in_the_skull(template):
    shape = (4, 4, 4)
    outside = Place(np.random.default_rng(0).normal(0, 50, (3, *shape)).astype(np.float32),
                    np.full(shape, -1.0, np.float32), *np.ones((3, *shape), np.float32))
    for kind in ("epidural", "subdural", "intraparenchymal", "infarct"):
        push = push_of(EXAMPLES[kind](template), outside, np.array([0, 0, -1.0]))
        assert push.shape == (3, *shape) and not push.any()


def test_the_same_numbers_give_the_same_head(template):
    finding = [EXAMPLES["intraparenchymal"](template)]
    coarse = HeadSettings(spacing=(6.0, 3.0, 3.0))
    first, again, other = (arrays(simulate_head(template, finding, seed, coarse))[0]
                           for seed in ((1, 2), (1, 2), (1, 3)))
    assert (first == again).all() and (first != other).any()


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10**6))
def test_drawn_findings_lie_in_the_head(template, kind, seed):
    finding = draw_finding(kind, template, Randomness(seed))
    index = np.round(np.add(finding.place, template.centre)).astype(int)
    assert template.outside[tuple(index)] < 3
    assert finding.kind == kind and finding.size_mm > 0
    again = draw_finding(kind, template, Randomness(seed))
    assert again == finding


def test_a_shape_fills_no_more_than_the_voxel(template):
    random = np.random.default_rng(0)
    where = Place(random.normal(0, 40, (3, 20, 20, 20)).astype(np.float32),
                  *random.normal(0, 10, (4, 20, 20, 20)).astype(np.float32))
    for make in EXAMPLES.values():
        fill = shape_of(make(template), where)
        assert fill.shape == (20, 20, 20) and 0 <= fill.min() and fill.max() <= 1


# --- the real atlas ------------------------------------------------------------------------------


@pytest.mark.skipif(not ATLAS.is_file(), reason="the atlas is not here")
def test_the_atlas_of_the_brain_is_read():
    template = read_head_template(ATLAS)
    assert 1200 < (template.outside < 0).sum() / 1000 < 1500  # mL
    assert 10 < (template.fluid < 0).sum() / 1000 < 60
    z, y, x = (round(c) for c in template.centre)
    assert template.outside[z, y, x] < -30
    left, right = (template.outside[z, y, x + side * np.arange(1, 80)] for side in (1, -1))
    assert np.abs(left - right).mean() < 4  # the midline is in the middle


def test_another_image_is_no_atlas(tmp_path):
    file = tmp_path / "other.nii.gz"
    sitk.WriteImage(sitk.GaussianSource(sitk.sitkFloat32, [20, 20, 20]), str(file))
    with pytest.raises(BadInput, match=r"other\.nii\.gz is no CT atlas"):
        read_head_template(file)


@pytest.mark.parametrize("wider", [-1.0, 0.0, 4.0])
def test_the_index_of_the_ventricles_is_that_of_the_template(template, wider):
    settings = replace(QUIET, spacing=(6.0, 1.0, 1.0), atrophy=(wider, wider))
    head = simulate_head(template, (), (3, 3), settings)
    # its ventricles reach 19 mm aside, and a little less where the frontal horns end
    assert head.ventricle_index == pytest.approx((18.8 + wider) / RADII[2], abs=0.02)
