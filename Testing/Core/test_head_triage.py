# SPDX-License-Identifier: Apache-2.0
"""Finding the brain in a CT, cutting slices out of it, and what may be promised of misses."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from HeadCTTriageLib.brain import locate_brain
from HeadCTTriageLib.misses import cases_needed, choose_threshold, highest_rate
from HeadCTTriageLib.simulated_patients import (
    BOTH_SIDES,
    CALCIFIED,
    CONDITIONS,
    draw_findings,
    simulated_patient,
)
from HeadCTTriageLib.slices import (
    PUBLISHED,
    SEVERAL_WINDOWS,
    Sampling,
    sample_slices,
    slice_heights,
)
from HeadCTTriageLib.triage import Tag, tag_of
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image
from ReadingRoomLib.phantoms.head import HeadSettings, SimulatedHead, simulate_head
from ReadingRoomLib.phantoms.head_findings import Finding
from ReadingRoomLib.phantoms.randomness import Randomness

from .head_factory import TOY_RADII, make_template, toy_head

DATA = Path(__file__).parents[3] / "shared" / "data"
HEADS = DATA / "ct_head_volumes"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not here")


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def toy_template():
    return make_template()


# --- the brain -----------------------------------------------------------------------------------


def test_the_brain_of_a_toy_is_found_where_it_is(head):
    brain = locate_brain(head)
    assert brain.volume_ml == pytest.approx(4.19 * np.prod(TOY_RADII) / 1000, rel=0.12)
    assert brain.lowest_mm == pytest.approx(-TOY_RADII[0], abs=8)
    assert brain.highest_mm == pytest.approx(TOY_RADII[0], abs=8)
    assert not brain.cut_below and not brain.cut_above


@settings(max_examples=12, deadline=None)
@given(turned=st.permutations([0, 1, 2]), flips=st.tuples(*3 * [st.booleans()]),
       spacing=st.sampled_from([(1.0, 1.0, 5.0), (2.0, 2.0, 2.0), (1.5, 1.5, 8.0)]))
def test_the_brain_is_found_whatever_the_order_of_the_voxels(turned, flips, spacing):
    straight = toy_head(spacing)
    stored = sitk.Flip(sitk.PermuteAxes(straight, turned), flips)
    brain, same = locate_brain(straight), locate_brain(stored)
    assert same.volume_ml == pytest.approx(brain.volume_ml, rel=0.02)
    assert same.highest_mm == pytest.approx(brain.highest_mm, abs=3.1)


def test_a_brain_that_is_cut_is_told():
    above = locate_brain(toy_head(highest=30.0))
    assert above.cut_above and not above.cut_below
    below = locate_brain(toy_head(lowest=-25.0))
    assert below.cut_below and not below.cut_above


@pytest.mark.parametrize("change", ["no skull", "small", "air", "one slice", "thin part"])
def test_what_is_no_head_is_refused(change, head):
    image = {
        "no skull": lambda: toy_head(skull_hu=50.0),
        "small": lambda: _shrunk(head, 0.4),
        "air": lambda: sitk.Image(head.GetSize(), sitk.sitkInt16) - 1000,
        "one slice": lambda: head[:, :, 28:29],
        "thin part": lambda: toy_head(lowest=-6.0, highest=6.0),
    }[change]()
    with pytest.raises(BadInput, match="No brain within a skull"):
        locate_brain(image)


def _shrunk(image, factor):
    small = sitk.Image(image)
    small.SetSpacing([factor * step for step in image.GetSpacing()])
    return small


@real
@pytest.mark.parametrize("name, volume", [
    ("ct_head_volumes/invesalius_cranium_ct.nii.gz", 1421),
    ("ct_visible_human/vhm_head_ct_1.5mm.nii.gz", 1304)])
def test_real_brains_are_found(name, volume):
    brain = locate_brain(read_image(DATA / name).image)
    assert brain.volume_ml == pytest.approx(volume, rel=0.1)
    assert not brain.cut_above


@real
def test_a_head_scanned_with_a_tilted_gantry_and_uneven_slices_is_found(tmp_path):
    with zipfile.ZipFile(HEADS / "dcm_qa_ct_GE_head_28slices_dicom.zip") as archive:
        archive.extractall(tmp_path)
    found = read_image(tmp_path)
    assert any("tilted" in warning for warning in found.warnings)
    assert 1200 < locate_brain(found.image).volume_ml < 1600


@real
@pytest.mark.parametrize("name", [
    "ct_totalsegmentator_examples/example_ct.nii.gz",
    "ct_totalsegmentator_examples/aorta_case/ct.nii.gz",
    "ct_chest_lungdx_A0001/ct_256x256x64.nii.gz",
    "ct_visible_human/vhf_lower_leg_ct_1.5mm.nii.gz"])
def test_other_parts_of_the_body_are_no_head(name):
    with pytest.raises(BadInput, match="No brain within a skull"):
        locate_brain(sitk.ReadImage(str(DATA / name), sitk.sitkFloat32))


# --- slices --------------------------------------------------------------------------------------


def test_the_published_slices_are_eight_of_the_whole_brain(head):
    brain = locate_brain(head)
    slices = sample_slices(head, brain, PUBLISHED)
    assert slices.shape == (8, 1, 256, 256) and slices.dtype == np.float32
    assert 0 <= slices.min() and slices.max() <= 1
    heights = slice_heights(brain, 8)
    assert np.allclose(np.diff(heights), np.diff(heights)[0])
    assert brain.lowest_mm < heights[0] and heights[-1] < brain.highest_mm


def test_left_is_on_the_right_and_the_front_is_up(head):
    middle = sample_slices(head, locate_brain(head), PUBLISHED)[4, 0]
    assert middle[128, 150] == pytest.approx(0.5, abs=0.02)  # the denser half, 40 of 80 HU
    assert middle[128, 106] == pytest.approx(30 / 80, abs=0.02)
    nose_above, nose_below = middle[:30].sum(), middle[-30:].sum()
    assert nose_above > nose_below


@settings(max_examples=10, deadline=None)
@given(turned=st.permutations([0, 1, 2]), flips=st.tuples(*3 * [st.booleans()]))
def test_slices_are_the_same_whatever_the_order_of_the_voxels(turned, flips):
    straight = toy_head((2.0, 2.0, 3.0))
    stored = sitk.Flip(sitk.PermuteAxes(straight, turned), flips)
    brain = locate_brain(straight)
    small = Sampling(3, 64, 230.0, ("brain",), 0.0)
    assert np.allclose(sample_slices(straight, brain, small), sample_slices(stored, brain, small),
                       atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(x=st.floats(-25, 25), y=st.floats(-25, 25))
def test_slices_follow_the_head(x, y):
    aside = toy_head((3.0, 3.0, 4.0), shift=(x, y))
    slices = sample_slices(aside, locate_brain(aside), Sampling(4, 64, 230.0, ("bone",), 0.0))
    skull = np.argwhere(slices[2, 0] > 0.5)
    assert np.abs((skull.min(0) + skull.max(0)) / 2 - 31.5).max() < 2.0  # pixels of 3.6 mm


def test_thick_slices_in_several_windows(head):
    slices = sample_slices(head, locate_brain(head), SEVERAL_WINDOWS)
    assert slices.shape == (24, 3, 224, 224)
    assert slices[12, 2, 112, 130] == pytest.approx(440 / 2400, abs=0.02)


def test_a_sharp_detail_is_averaged_over_a_thick_slice():
    head = toy_head((2.0, 2.0, 1.0))
    brain = locate_brain(head)
    height = slice_heights(brain, 3)[1]
    array = sitk.GetArrayFromImage(head)
    array[round(height - head.GetOrigin()[2])] = 80
    marked = image_like(array, head)
    thin = sample_slices(marked, brain, Sampling(3, 32, 230.0, ("brain",), 0.0))[1, 0, 16, 20]
    thick = sample_slices(marked, brain, Sampling(3, 32, 230.0, ("brain",), 10.0))[1, 0, 16, 20]
    assert thin > 0.7 > 0.6 > thick


# --- misses --------------------------------------------------------------------------------------


def test_so_many_cases_without_a_miss_are_needed():
    assert cases_needed(0.05) == 59 and cases_needed(0.01) == 299
    assert highest_rate(0, 59) <= 0.05 < highest_rate(0, 58)


@given(events=st.integers(0, 30), more=st.integers(1, 300), confidence=st.floats(0.8, 0.99))
def test_the_bound_is_that_of_clopper_and_pearson(events, more, confidence):
    cases = events + more
    bound = highest_rate(events, cases, confidence)
    assert stats.binom.cdf(events, cases, bound) == pytest.approx(1 - confidence, abs=1e-6)


@given(rate=st.floats(0.01, 0.3), misses=st.integers(0, 4))
def test_one_case_less_would_not_do(rate, misses):
    needed = cases_needed(rate, misses)
    assert highest_rate(misses, needed) <= rate
    assert needed == misses + 1 or highest_rate(misses, needed - 1) > rate


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=60, max_size=200),
       st.sampled_from([0.05, 0.1, 0.3]))
def test_the_threshold_keeps_its_promise_and_no_higher_one_would(cases, most_missed):
    probability = np.array([value for value, _ in cases])
    urgent = np.array([is_urgent for _, is_urgent in cases])
    assume(urgent.any())
    found = choose_threshold(probability, urgent, most_missed)
    if found is None:
        assert highest_rate(0, int(urgent.sum())) > most_missed
        return
    assert found.missed == (probability[urgent] < found.value).sum()
    assert found.highest_miss_rate <= most_missed
    higher = probability[urgent][probability[urgent] > found.value]
    if len(higher):
        missed = int((probability[urgent] < higher.min()).sum())
        assert highest_rate(missed, int(urgent.sum())) > most_missed


@pytest.mark.parametrize("call", [
    lambda: highest_rate(3, 2), lambda: highest_rate(0, 0), lambda: cases_needed(0.0),
    lambda: choose_threshold(np.array([0.1, np.nan]), np.array([True, False]), 0.1),
    lambda: choose_threshold(np.array([0.1]), np.array([True, False]), 0.1)])
def test_what_is_no_rate_is_refused(call):
    with pytest.raises(ValueError):
        call()


# --- simulated patients --------------------------------------------------------------------------


def test_patients_are_drawn_as_often_as_they_should_be(toy_template):
    drawn = [draw_findings(toy_template, Randomness(seed)) for seed in range(600)]
    kinds = [tuple(f.kind for f in each if f.kind != "calcification") for each in drawn]
    total = sum(weight for weight, _ in CONDITIONS)
    for weight, wanted in CONDITIONS:
        assert kinds.count(wanted) / 600 == pytest.approx(weight / total, abs=0.06)
    assert draw_findings(toy_template, Randomness(5)) == drawn[5]


def test_calcium_beside_the_midline_is_mostly_on_both_sides(toy_template):
    drawn = [draw_findings(toy_template, Randomness(seed)) for seed in range(600)]
    calcium = [[f for f in each if f.kind == "calcification"] for each in drawn]
    assert sum(map(bool, calcium)) / 600 == pytest.approx(CALCIFIED, abs=0.06)
    at_a_side = [each for each in calcium if each and abs(each[0].place[2]) > 5]
    both = [each for each in at_a_side if len(each) == 2]
    assert len(both) / len(at_a_side) == pytest.approx(BOTH_SIDES, abs=0.08)
    assert all(a.place[:2] == b.place[:2] and a.place[2] == -b.place[2] for a, b in both)
    assert all(len(each) == 1 for each in calcium if each and each not in at_a_side)


def test_a_patient_has_the_tag_of_what_the_scan_shows(toy_template):
    coarse = HeadSettings(spacing=(6.0, 4.0, 4.0))
    tags = set()
    for number in range(12):
        patient = simulated_patient(toy_template, (4, number), coarse)
        assert patient.tag is tag_of(patient.head, patient.findings)
        assert set(patient.head.volumes_ml) == {f.kind for f in patient.findings}
        tags.add(patient.tag)
    assert len(tags) > 1
    same = simulated_patient(toy_template, (4, 3), coarse)
    again = simulated_patient(toy_template, (4, 3), coarse)
    assert (sitk.GetArrayFromImage(same.head.image)
            == sitk.GetArrayFromImage(again.head.image)).all()


def test_the_brain_of_a_simulated_head_is_found(toy_template):
    head = simulate_head(toy_template, [], (8,), HeadSettings(spacing=(4.0, 2.0, 2.0)))
    assert 800 < locate_brain(head.image).volume_ml < 1800


# --- tags ----------------------------------------------------------------------------------------

PLACE = (0.0, 0.0, 60.0)


@pytest.mark.parametrize("findings, volumes, shift, tag", [
    ([], {}, 0.0, Tag.GREEN),
    ([Finding("calcification", PLACE, 3, 200)], {"calcification": 0.2}, 0.0, Tag.GREEN),
    ([Finding("fracture", PLACE, 30, 40, 2)], {"fracture": 2.0}, 0.0, Tag.YELLOW),
    ([Finding("subarachnoid", PLACE, 15, 55)], {"subarachnoid": 1.0}, 0.0, Tag.YELLOW),
    ([Finding("subdural", PLACE, 60, 20, 7)], {"subdural": 40.0}, 2.0, Tag.YELLOW),
    ([Finding("subdural", PLACE, 60, 20, 12)], {"subdural": 60.0}, 3.0, Tag.RED),
    ([Finding("epidural", PLACE, 30, 65, 12)], {"epidural": 20.0}, -2.0, Tag.RED),
    ([Finding("infarct", PLACE, 12, -8)], {"infarct": 8.0}, 0.0, Tag.YELLOW),
    ([Finding("infarct", PLACE, 40, -8)], {"infarct": 130.0}, -1.0, Tag.RED),
    ([Finding("subdural", PLACE, 90, 70, 20)], {"subdural": 160.0}, -11.0, Tag.BLACK),
    ([Finding("intraparenchymal", PLACE, 26, 60), Finding("intraventricular", PLACE, 50, 60)],
     {"intraparenchymal": 75.0, "intraventricular": 30.0}, -5.0, Tag.BLACK),
    ([Finding("intraparenchymal", PLACE, 3, 60)], {"intraparenchymal": 0.01}, 0.0, Tag.GREEN),
])
def test_tags_follow_the_rules(findings, volumes, shift, tag):
    image = sitk.Image(1, 1, 1, sitk.sitkInt16)
    head = SimulatedHead(image, image, volumes, shift, 0.25)
    assert tag_of(head, findings) is tag
    assert tag.urgent == (tag in (Tag.RED, Tag.BLACK))
