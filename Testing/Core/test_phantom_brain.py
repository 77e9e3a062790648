# SPDX-License-Identifier: Apache-2.0
"""Simulated brains: tumours look as their kind does, and no single sign tells the kinds apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.brain_mri import (
    SEQUENCES,
    BrainSettings,
    SimulatedBrain,
    simulate_brain,
)
from ReadingRoomLib.phantoms.brain_template import read_brain_template
from ReadingRoomLib.phantoms.brain_tumours import (
    ATYPICAL,
    ATYPICAL_SHARE,
    ENHANCING,
    KINDS,
    NECROSIS,
    NO_CORE,
    OEDEMA,
    Lesion,
    Surroundings,
    Tumour,
    draw_tumour,
    layers_of,
    push_of,
)
from ReadingRoomLib.phantoms.mr_signal import TISSUES, Tissue, scanner, signal
from ReadingRoomLib.phantoms.randomness import Randomness

from .brain_factory import draw_t1, make_brain_template

REAL = (Path(__file__).parents[3] / "shared" / "data" / "landmarks_afids_mni2009c"
        / "tpl-MNI152NLin2009cAsym_res-01_T1w_uint8.nii.gz")
CALM = BrainSettings(sites=("site 5",), bend=0.3, age=(0.2, 0.3), motion=0.0, noise=0.3)
"""A scanner with thin slices, whose three series have one contrast mechanism."""
LYMPHOMA = Tumour("lymphoma", (Lesion((((24.0, 0.0, 30.0), 14.0),)),),
                  Tissue(0.80, (1050, 1380), 92), TISSUES["fluid"], agent=0.4, oedema_mm=12)
GLIOBLASTOMA = replace(LYMPHOMA, kind="glioblastoma", solid=Tissue(0.86, (1250, 1550), 140),
                       core=Tissue(0.95, (2000, 2200), 300), rim_mm=5, lesions=(
                           Lesion((((24.0, 0.0, 30.0), 18.0),)),))


@pytest.fixture(scope="module")
def template():
    return make_brain_template()


def on_truth(brain: SimulatedBrain) -> dict[str, np.ndarray]:
    """The three sequences on the grid of the truth."""
    return {name: sitk.GetArrayFromImage(sitk.Resample(image, brain.truth, sitk.Transform(),
                                                       sitk.sitkLinear)).astype(float)
            for name, image in brain.images.items()}


def means(brain: SimulatedBrain) -> dict[tuple[str, int], float]:
    truth = sitk.GetArrayFromImage(brain.truth)
    return {(name, label): float(array[truth == label].mean())
            for name, array in on_truth(brain).items() for label in np.unique(truth)}


@pytest.fixture(scope="module")
def glioblastoma(template):
    return simulate_brain(template, GLIOBLASTOMA, (3,), CALM)


@pytest.fixture(scope="module")
def lymphoma(template):
    return simulate_brain(template, LYMPHOMA, (3,), CALM)


# ------------------------------------------------------------------------------------- signal


def test_the_signal_of_a_spin_echo_is_that_of_its_equation():
    protocol = replace(scanner("site 5").protocols["t2"], repetition=2000, echo=80)
    expected = 0.7 * (1 - np.exp(-2000 / 600)) * np.exp(-80 / 75)
    assert signal(Tissue(0.7, (600, 600), 75), protocol, 1.5) == pytest.approx(expected)


def test_a_flip_of_90_degrees_saturates_a_gradient_echo_as_a_spin_echo():
    protocol = replace(scanner("site 5").protocols["t1"], flip=90.0)
    echoes = [signal(TISSUES["white"], replace(protocol, kind=kind), 3.0)
              for kind in ("spin echo", "gradient echo")]
    assert echoes[0] == pytest.approx(echoes[1])


@pytest.mark.parametrize("number", range(1, 13))
def test_every_site_shows_tissues_in_the_order_of_the_sequence(number):
    machine = scanner(f"site {number}")

    def seen(sequence, tissue, agent=0.0):
        return signal(TISSUES[tissue], machine.protocols[sequence], machine.tesla, agent)

    for sequence in ("t1", "t1c"):
        assert seen(sequence, "white") > seen(sequence, "grey") > seen(sequence, "fluid")
        assert seen(sequence, "fat") > seen(sequence, "white")
        assert seen(sequence, "grey", 0.3) > 1.2 * seen(sequence, "grey")
    assert seen("t2", "fluid") > seen("t2", "oedema") > seen("t2", "grey") > seen("t2", "white")


def test_a_site_is_one_scanner():
    assert scanner("site 1") == scanner("site 1")
    assert len({scanner(f"site {number}").gain for number in range(1, 13)}) == 12


# ----------------------------------------------------------------------------------- template


def test_an_image_that_is_no_head_is_refused(tmp_path):
    path = tmp_path / "noise.nrrd"
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((193, 229, 193), np.float32))
    image.SetOrigin((-96, -96, -78))
    sitk.WriteImage(image, str(path))
    with pytest.raises(BadInput, match=r"noise\.nrrd is no T1 template"):
        read_brain_template(path)


def test_a_template_of_other_voxels_is_refused(tmp_path):
    path = tmp_path / "coarse.nrrd"
    image = draw_t1()
    image.SetSpacing((1.5, 1.5, 1.5))
    sitk.WriteImage(image, str(path))
    with pytest.raises(BadInput, match=r"coarse\.nrrd"):
        read_brain_template(path)


def check_template(template, inside_ml, ventricle_ml):
    places = {"white": (24, -10, 26), "air": (0, 20, 95), "ventricle": (15, -14, 8),
              "falx": (60, 0, 0)}
    at = np.array(list(places.values()), float).T
    outside, dura, ventricle, _ = template.sample(at, "outside", "dura", "ventricle", "vessel")
    assert outside[0] < -20 and outside[1] > 5
    assert dura[3] < 2 < dura[0]
    assert ventricle[2] < 0 < ventricle[0]
    for name, (low, high) in (("outside", inside_ml), ("ventricle", ventricle_ml)):
        assert low < (template.distances[name] < 0).sum() * 8 / 1000 < high
    assert template.sample_t1(at)[0] == pytest.approx(1, abs=0.12)


def test_the_template_knows_where_skull_dura_and_ventricles_are(template):
    check_template(template, (1500, 2200), (5, 30))


@pytest.mark.skipif(not REAL.is_file(), reason="the template of the brain is not here")
def test_the_real_template_serves_and_its_brain_looks_like_one():
    template = read_brain_template(REAL)
    check_template(template, (1600, 2200), (10, 40))
    brain = simulate_brain(template, draw_tumour("glioblastoma", template, Randomness(2)), (2,),
                           CALM)
    assert (sitk.GetArrayFromImage(brain.truth) > 0).any()


# ------------------------------------------------------------------------------------- series


def test_the_same_seed_gives_the_same_patient_and_another_another(template, lymphoma):
    again = simulate_brain(template, LYMPHOMA, (3,), CALM)
    other = simulate_brain(template, LYMPHOMA, (4,), CALM)
    for name in SEQUENCES:
        first, second, third = (sitk.GetArrayFromImage(brain.images[name])
                                for brain in (lymphoma, again, other))
        assert np.array_equal(first, second) and not np.array_equal(first, third)


def test_series_are_int16_on_their_own_grids_and_the_truth_lies_on_that_of_t1c(lymphoma):
    assert tuple(lymphoma.images) == SEQUENCES
    assert all(image.GetPixelID() == sitk.sitkInt16 for image in lymphoma.images.values())
    assert lymphoma.truth.IsSameImageGeometryAs(lymphoma.images["t1c"])
    assert not lymphoma.truth.IsSameImageGeometryAs(lymphoma.images["t2"])
    for image in lymphoma.images.values():
        direction = np.reshape(image.GetDirection(), (3, 3))
        assert np.allclose(direction @ direction.T, np.eye(3), atol=1e-6)
        assert 3.0 <= image.GetSpacing()[2] <= 8.0


def test_without_motion_the_series_show_the_same_place(template, lymphoma):
    # the tumour enhances where it is brighter on t2 than white matter, to a voxel
    arrays = on_truth(lymphoma)
    truth = sitk.GetArrayFromImage(lymphoma.truth)
    gain = arrays["t1c"] - arrays["t1"] * np.median(arrays["t1c"][truth == OEDEMA]) / np.median(
        arrays["t1"][truth == OEDEMA])
    bright = (gain > gain[truth == ENHANCING].mean() / 2) & (truth > 0)
    overlap = 2 * (bright & (truth == ENHANCING)).sum() / (
        bright.sum() + (truth == ENHANCING).sum())
    assert overlap > 0.9


def test_motion_shifts_the_series_by_millimetres(template, lymphoma):
    """The middle of the enhancing tumour differs between two draws of the motion."""
    moved = simulate_brain(template, LYMPHOMA, (3,), replace(CALM, motion=6.0))

    def middle(brain):
        truth = sitk.GetArrayFromImage(brain.truth) == ENHANCING
        index = np.argwhere(truth).mean(0)[::-1]
        return np.array(brain.truth.TransformContinuousIndexToPhysicalPoint(index.tolist()))

    assert 0.5 < np.linalg.norm(middle(moved) - middle(lymphoma)) < 12


@pytest.fixture(scope="module")
def healthy(template):
    return simulate_brain(template, None, (5,), CALM)


def test_a_healthy_head_has_no_truth(healthy):
    assert healthy.kind is None and not sitk.GetArrayFromImage(healthy.truth).any()


def test_without_contrast_agent_t1c_is_a_second_t1(template, lymphoma):
    plain = means(simulate_brain(template, LYMPHOMA, (3,), replace(CALM, contrast=False)))
    given = means(lymphoma)

    def against_oedema(values, name):
        return values[name, ENHANCING] / values[name, OEDEMA]

    assert against_oedema(plain, "t1c") == pytest.approx(against_oedema(plain, "t1"), rel=0.06)
    assert against_oedema(given, "t1c") > 1.4 * against_oedema(given, "t1")


def test_a_cavity_after_an_operation_holds_fluid_and_no_tumour(template, healthy):
    """Against the healthy head of the same seed it is darker on t1 and brighter on t2."""
    radius = 15.0
    cavity = replace(draw_tumour("cavity", template, Randomness(1)), rough=0.0, lesions=(
        Lesion((((40.0, 10.0, 45.0), radius),), (0.0, 0.0, -1.0)),))
    brain = simulate_brain(template, cavity, (5,), CALM)
    assert brain.kind == "cavity" and not sitk.GetArrayFromImage(brain.truth).any()
    before, after = on_truth(healthy), on_truth(brain)
    fluid = (after["t1"] < 0.75 * before["t1"]) & (after["t2"] > 1.5 * before["t2"])
    volume = fluid.sum() * np.prod(brain.truth.GetSpacing())
    assert 0.3 < volume / (4 / 3 * np.pi * radius**3) < 1.3


# ------------------------------------------------------------------------------------ tumours


def test_a_ring_enhances_and_necrosis_does_not(glioblastoma):
    seen = means(glioblastoma)
    ratio = {label: seen["t1c", label] / seen["t1", label] for label in (ENHANCING, NECROSIS)}
    assert ratio[ENHANCING] > 1.4 * ratio[NECROSIS]
    assert seen["t2", NECROSIS] > 1.2 * seen["t2", ENHANCING]
    truth = sitk.GetArrayFromImage(glioblastoma.truth)
    assert set(np.unique(truth)) == {0, ENHANCING, NECROSIS, OEDEMA}


def test_lymphoma_is_dark_on_t2_and_the_oedema_around_it_bright(lymphoma, glioblastoma):
    dense, loose = means(lymphoma), means(glioblastoma)
    assert dense["t2", OEDEMA] > 1.4 * dense["t2", ENHANCING]
    assert loose["t2", ENHANCING] / loose["t2", OEDEMA] > 1.1 * (
        dense["t2", ENHANCING] / dense["t2", OEDEMA])


def surroundings(white: Callable[[np.ndarray], np.ndarray]) -> Surroundings:
    """A block of brain below a flat dura at S = 40 mm, of which ``white`` of a place is white."""
    axis = np.arange(-40.0, 44.0, 2.0, dtype=np.float32)
    at = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    depth = 40 - at[0]
    return Surroundings(at, depth, np.abs(depth), np.full_like(depth, 30.0),
                        white(at).astype(np.float32), (2.0, 2.0, 2.0))


def shares(tumour: Tumour, where: Surroundings) -> dict[str, np.ndarray]:
    """How much of each voxel is what, by name of the tissue or the number in the truth."""
    found = {}
    for layer in reversed(layers_of(tumour, where, Randomness(3))):
        found[layer.label or (layer.tissue if isinstance(layer.tissue, str) else "tail")] = (
            layer.share)
    return found


def test_oedema_keeps_to_white_matter_and_to_its_side_of_the_falx():
    where = surroundings(lambda at: at[1] > 0)
    tumour = replace(LYMPHOMA, oedema_mm=20.0, follow_mm=0.0,
                     lesions=(Lesion((((0.0, 0.0, 16.0), 8.0),)),))
    oedema = shares(tumour, where)[OEDEMA]
    distance = np.sqrt(where.at[0] ** 2 + where.at[1] ** 2 + (where.at[2] - 16) ** 2)
    near = (distance > 10) & (distance < 15) & (where.at[2] > 4)
    assert oedema[near & (where.at[1] > 1)].mean() > 0.6
    assert oedema[near & (where.at[1] < -1)].mean() < 0.1
    assert oedema[where.at[2] < -3].max() == 0


def test_a_meningioma_has_a_tail_along_the_dura_and_fluid_towards_the_brain():
    where = surroundings(lambda at: at[0] < 35)
    tumour = replace(LYMPHOMA, kind="meningioma", compartment="dura", oedema_mm=0.0, rough=0.0,
                     tail_mm=15.0, cleft_mm=2.0, lesions=(Lesion((((36.0, 0.0, 14.0), 12.0),)),))
    found = shares(tumour, where)
    tail = found["tail"] * (found[ENHANCING] == 0)
    assert tail.max() > 0.5 and where.dura[tail > 0].max() < 4
    from_middle = np.hypot(where.at[1], where.at[2] - 14)
    assert 14 < from_middle[tail > 0.2].max() < 12 + 1.3 * 15 + 2
    cleft = found["fluid"] > 0.5
    assert cleft.sum() > 50 and (where.depth[cleft] > 0).all()
    assert found[ENHANCING][where.depth < -1].max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_tumours_are_of_the_stated_sizes_and_in_the_head(template, kind):
    for number in range(8):
        tumour = draw_tumour(kind, template, Randomness(number, 7))
        assert tumour.kind == kind
        largest = max(tumour.lesions, key=lambda lesion: lesion.radius)
        assert 6 <= 2 * largest.radius <= 85
        centre = template.sample(largest.centre.reshape(3, 1), "outside")[0]
        assert centre < (8 if tumour.compartment == "dura" or kind == "cavity" else 0)


def test_the_share_of_atypical_tumours_is_as_stated(template):
    drawn = [draw_tumour("lymphoma", template, Randomness(number, 1)).atypical
             for number in range(160)]
    share = np.mean([way is not None for way in drawn])
    assert share == pytest.approx(ATYPICAL_SHARE, abs=3.5 * np.sqrt(0.15 * 0.85 / 160))
    assert set(drawn) == {None, *ATYPICAL["lymphoma"]}


def test_the_kinds_differ_in_the_way_their_reviews_say_and_the_atypical_ones_do_not(template):
    def all_of(kind, atypical):
        return [draw_tumour(kind, template, Randomness(number, 2), atypical)
                for number in range(30)]

    def with_core(tumours):
        return [tumour for tumour in tumours if tumour.rim_mm < NO_CORE]

    typical = {kind: all_of(kind, 0.0) for kind in ATYPICAL}
    atypical = {kind: all_of(kind, 1.0) for kind in ATYPICAL}
    assert len(with_core(typical["glioblastoma"])) == 30
    assert not with_core(typical["lymphoma"]) and not with_core(typical["meningioma"])
    assert {one.atypical for one in atypical["lymphoma"]} == set(
        ATYPICAL["lymphoma"])
    for kind in ("lymphoma", "meningioma"):
        assert 5 < len(with_core(atypical[kind])) < 25
    assert 5 < len(with_core(atypical["glioblastoma"])) < 25
    t2 = {kind: np.median([tumour.solid.t2 for tumour in typical[kind]]) for kind in typical}
    assert t2["lymphoma"] < 1.15 * TISSUES["grey"].t2 < t2["glioblastoma"]


def test_mean_signals_tell_more_than_chance_and_do_not_tell_the_kinds_apart(template):
    """The nearest class mean, leave one out, of what tumours without their core look like."""
    seen, kinds = [], []
    for kind in ATYPICAL:
        for number in range(25):
            random = Randomness(number, 11, len(kind))
            tumour = draw_tumour(kind, template, random)
            machine = scanner(f"site {int(random.numpy.integers(12)) + 1}")
            seen.append([signal(tumour.solid, protocol, machine.tesla,
                                tumour.agent * machine.agent * (name == "t1c"))
                         / signal(TISSUES["white"], protocol, machine.tesla)
                         for name, protocol in machine.protocols.items()])
            kinds.append(kind)
    seen, kinds = np.array(seen) / np.std(seen, axis=0), np.array(kinds)
    hits = 0
    for index, (values, kind) in enumerate(zip(seen, kinds, strict=True)):
        others = np.arange(len(kinds)) != index
        hits += kind == min(ATYPICAL, key=lambda one, values=values, others=others: float(
            np.linalg.norm(seen[others & (kinds == one)].mean(0) - values)))
    assert 0.4 < hits / len(kinds) < 0.9


def test_a_meningioma_touches_the_dura_and_pushes_the_brain_inwards(template):
    for number in range(2):
        tumour = draw_tumour("meningioma", template, Randomness(number, 3), atypical=0.0)
        lesion = tumour.lesions[0]
        brain = simulate_brain(template, tumour, (number,), replace(
            CALM, bend=0.0, scale=(1.0, 1.0), rotation=(0, 0, 0)))
        truth = sitk.GetArrayFromImage(brain.truth)
        index = np.argwhere(truth == ENHANCING)
        points = np.array([brain.truth.TransformIndexToPhysicalPoint(place[::-1].tolist())
                           for place in index[:: max(1, len(index) // 800)]]).T[::-1]
        dura = template.sample(points, "dura")[0]
        assert np.quantile(dura, 0.05) < 4.5
        axis = np.array(lesion.axis)
        ahead = lesion.centre + 1.2 * lesion.radius * axis
        at = ahead.reshape(3, 1, 1, 1).astype(np.float32)
        depth = -template.sample(at, "outside")[0]
        if depth.min() > 4:
            assert push_of(tumour, at, depth).ravel() @ axis > 0.5


# the mass of the push is what its volume says: a ball that was r³ - share R³
@settings(deadline=None, max_examples=30)
@given(st.floats(4, 30), st.floats(0.05, 0.9), st.floats(1.05, 4))
def test_what_lies_around_a_growing_ball_keeps_its_volume(radius, mass, away):
    tumour = replace(LYMPHOMA, mass=mass, lesions=(Lesion((((0.0, 0.0, 0.0), radius),)),))
    at = np.array([away * radius, 0, 0], np.float64).reshape(3, 1, 1, 1)
    was = at - push_of(tumour, at, np.full((1, 1, 1), 50.0))
    assert np.linalg.norm(was) ** 3 == pytest.approx(
        (away * radius) ** 3 - mass * radius**3, rel=1e-3)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(KINDS))
def test_every_tumour_can_be_drawn_again(number, kind):
    template = make_brain_template()
    assert draw_tumour(kind, template, Randomness(number)) == draw_tumour(
        kind, template, Randomness(number))
