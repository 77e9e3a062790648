# SPDX-License-Identifier: Apache-2.0
"""Simulated CT: reproducible, within what a scanner gives, and everything it promises occurs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ReadingRoomLib.phantoms import ct_synthesis, densities
from ReadingRoomLib.phantoms.acquisition import blur
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings, redraw, simulate
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.phantoms.region_map import (
    AIR_HU,
    IGNORED,
    METAL_HU,
    RealScan,
    RegionMap,
    Tissue,
)

SMALL = SynthesisSettings(shape=(4, 48, 56), spacing=(3.0, 4.0, 4.0))
PLAIN = replace(SMALL, rotation=(0.0, 0.0, 0.0), scale=(1.0, 1.0), displacement=0.0,
                metal_probability=0.0, truncation_probability=0.0, scan_end_probability=0.0,
                table_probability=0.0, arm_probability=0.0, fat_rim_probability=0.0,
                most_vessels=0)
UNKNOWN = 200


def anatomy() -> RegionMap:
    """A body with a block of every tissue; region code = tissue, and one that nobody named.

    The skin is thin, so that air shows through it.
    """
    regions = np.zeros((30, 44, 52), np.uint8)
    regions[:, 4:40, 4:48] = Tissue.SKIN
    regions[:, 6:38, 6:46] = Tissue.FAT
    kinds = [kind for kind in Tissue if kind > Tissue.FAT]
    for place, kind in enumerate([*kinds, UNKNOWN]):
        row, column = divmod(place, 4)
        regions[:, 8 + 10 * row : 16 + 10 * row, 8 + 9 * column : 16 + 9 * column] = kind
    tissue, target = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    for kind in Tissue:
        tissue[kind] = kind
    tissue[UNKNOWN] = Tissue.INTERMUSCULAR
    target[Tissue.BONE], target[Tissue.MUSCLE], target[UNKNOWN] = 2, 7, IGNORED
    return RegionMap(regions, (3.0, 4.0, 4.0), tissue, target, implants=(int(Tissue.BONE),))


ANATOMY = anatomy()
MIDDLE = tuple(ANATOMY.size_mm / 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_images_are_what_a_scanner_gives(seed, number):
    made = simulate(ANATOMY, SMALL, (seed, number))
    assert made.image.shape == made.target.shape == SMALL.shape
    assert made.image.dtype == torch.float32 and made.target.dtype == torch.uint8
    assert torch.isfinite(made.image).all()
    assert made.image.min() >= AIR_HU and made.image.max() <= METAL_HU
    assert set(made.target.unique().tolist()) <= {0, 2, 7, IGNORED}


def test_the_seed_decides_to_the_last_bit():
    first, again = (simulate(ANATOMY, SMALL, (3, 8)) for _ in range(2))
    assert first.image.numpy().tobytes() == again.image.numpy().tobytes()
    assert torch.equal(first.target, again.target)
    for other in ((3, 9), (4, 8), (38,)):
        assert not torch.equal(simulate(ANATOMY, SMALL, other).image, first.image)


def test_global_random_numbers_have_no_say_and_are_left_alone():
    first = simulate(ANATOMY, SMALL, (1,)).image
    torch.manual_seed(5)
    np.random.seed(5)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(simulate(ANATOMY, SMALL, (1,)).image, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def plane_apart(target: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether ``target`` holds these labels, but for planes of fat in the muscle, which is 7."""
    plane = (target == IGNORED) & (labels != IGNORED)
    return torch.equal(target[~plane], labels[~plane]) and bool((labels[plane] == 7).all())


def test_without_deformation_labels_are_the_anatomy_or_its_mirror():
    seen = set()
    for number in range(12):
        made = simulate(ANATOMY, PLAIN, (0, number), MIDDLE)
        expected = torch.from_numpy(ANATOMY.target)[made.regions.long()]
        assert plane_apart(made.target, expected)
        bone = (made.target == 2).nonzero()[:, 2].float().mean() - (56 - 1) / 2
        seen.add(bool(bone > 0))
        regions = made.regions.numpy()
        assert set(np.unique(regions)) == {*range(len(Tissue)), UNKNOWN}
    assert seen == {True, False}  # mirrored now and then


def test_every_tissue_looks_like_itself():
    limits = {Tissue.AIR: (-1024, -900), Tissue.FAT: (-150, -60), Tissue.MUSCLE: (-130, 90),
              Tissue.BONE: (-120, 1500), Tissue.LUNG: (-950, -600), Tissue.ORGAN: (0, 220),
              Tissue.FLUID: (-40, 370), Tissue.VESSEL: (0, 400), Tissue.CARTILAGE: (10, 530),
              Tissue.SKIN: (-500, 100), Tissue.CAVITY: (-960, 400), Tissue.BOWEL: (-960, 400),
              Tissue.INTERMUSCULAR: (-140, 300)}
    assert set(limits) == set(Tissue)
    # pixels as in training: on coarser ones a sharp kernel overshoots in a layer as thin as skin
    clean = replace(PLAIN, shape=(4, 96, 112), spacing=(3.0, 2.0, 2.0), noise=(0.1, 0.1),
                    thickness=(0.1, 0.1))
    medians = {kind: [] for kind in Tissue}
    for number in range(12):
        made = simulate(ANATOMY, clean, (1, number), MIDDLE)
        for kind in Tissue:
            medians[kind].append(float(made.image[made.regions == kind].median()))
    for kind, (low, high) in limits.items():
        assert low <= min(medians[kind]) and max(medians[kind]) <= high, kind
        if kind != Tissue.AIR:
            assert np.std(medians[kind]) > 3, f"{kind!r} looks the same in every image"
    assert np.median(medians[Tissue.FAT]) < 0 < np.median(medians[Tissue.MUSCLE])
    assert np.median(medians[Tissue.BONE]) > np.median(medians[Tissue.MUSCLE])


def test_metal_occurs_as_often_as_asked_and_makes_streaks():
    quiet = replace(PLAIN, noise=(3.0, 3.0))
    never = [simulate(ANATOMY, quiet, (2, n), MIDDLE) for n in range(24)]
    always = [simulate(ANATOMY, replace(quiet, metal_probability=1.0), (2, n), MIDDLE)
              for n in range(24)]
    assert not any(made.metal for made in never) and all(made.metal for made in always)
    assert all(float(made.image.max()) < 2500 for made in never)
    assert sum(float(made.image.max()) > 2500 for made in always) >= 16
    often = [simulate(ANATOMY, replace(SMALL, metal_probability=0.5), (3, n)).metal
             for n in range(60)]
    assert 15 <= sum(often) <= 45
    # where there is no metal its streaks still show: the air far from the skin is no longer even
    def unevenness(made):
        near = F.max_pool3d((made.regions > 0).float()[None], (1, 7, 7), 1, (0, 3, 3))[0] > 0
        air = made.image[~near]
        return float((air - air.median()).abs().quantile(0.7))

    spread = [np.mean([unevenness(made) for made in group]) for group in (never, always)]
    assert spread[1] > 1.3 * spread[0]


def test_anatomy_without_implants_has_no_metal():
    bare = replace(ANATOMY, implants=())
    assert not simulate(bare, replace(PLAIN, metal_probability=1.0), (0,), MIDDLE).metal


def test_truncation_hides_image_and_labels():
    hidden = 0
    for number in range(30):
        made = simulate(ANATOMY, replace(PLAIN, truncation_probability=1.0), (4, number), MIDDLE)
        whole = torch.from_numpy(ANATOMY.target)[made.regions.long()]
        outside = (made.target == 0) & (whole != 0)
        assert (made.image[outside] == AIR_HU).all()
        assert plane_apart(made.target[~outside], whole[~outside])
        hidden += int(outside.any())
    assert hidden >= 9


def two_muscles() -> RegionMap:
    regions = np.zeros((20, 40, 50), np.uint8)
    regions[:, 4:36, 4:46] = 1
    regions[:, 6:34, 6:25], regions[:, 6:34, 25:44] = 2, 3
    regions[14:, 10:20, 10:20] = 4  # a small muscle in the upper slices
    tissue, target = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    tissue[[1, 2, 3, 4]] = Tissue.FAT, Tissue.MUSCLE, Tissue.MUSCLE, Tissue.MUSCLE
    target[[2, 3, 4]] = 5, 6, 7
    return RegionMap(regions, (3.0, 4.0, 4.0), tissue, target)


def test_planes_of_fat_between_muscles_are_no_muscle():
    anatomy = two_muscles()
    whole = replace(PLAIN, shape=(4, 44, 54))
    middle = (15.0, 80.0, 100.0)
    planes = 0
    for number in range(12):
        made = simulate(anatomy, whole, (9, number), middle)
        labels = torch.from_numpy(anatomy.target)[made.regions.long()]
        plane = made.target == IGNORED
        assert torch.equal(made.target[~plane], labels[~plane])
        inside = torch.isin(labels, torch.tensor([5, 6], dtype=torch.uint8))
        assert inside[plane].all()  # of a muscle, and at its border
        assert plane.sum() < 0.3 * inside.sum()
        planes += bool(plane.any())
    assert 3 <= planes < 12  # seen in some patients and not in others


def test_a_rim_of_fat_parts_muscles_from_what_is_invented_beside_them():
    anatomy = two_muscles()
    anatomy.regions[anatomy.regions == 3] = 5  # the neighbour is a cavity now
    anatomy.tissue[5] = Tissue.CAVITY
    whole = replace(PLAIN, shape=(4, 44, 54), noise=(0.1, 0.1), thickness=(0.1, 0.1))
    beside = {}
    for share in (0.0, 1.0):
        settings = replace(whole, fat_rim_probability=share)
        values = []
        for number in range(16):
            made = simulate(anatomy, settings, (12, number), (15.0, 80.0, 100.0))
            muscle, cavity = made.regions == 2, made.regions == 5
            near = cavity & (muscle.roll(1, 2) | muscle.roll(-1, 2))
            assert near.any() and not made.target[cavity].any()
            values.append(float(made.image[near].median()))
        beside[share] = np.array(values)
    # the image is blurred, and a thin rim is less than a voxel wide
    assert (beside[1.0] < -10).mean() > 0.85 and (beside[0.0] < -10).mean() < 0.7
    assert beside[1.0].mean() < beside[0.0].mean() - 20


def test_vessels_lie_beside_muscles_and_never_in_them():
    anatomy = two_muscles()
    anatomy.regions[anatomy.regions == 3] = 5
    anatomy.tissue[5] = Tissue.CAVITY
    shape = torch.zeros(4, 44, 54, dtype=torch.uint8)
    shape[:, 6:34, 6:25], shape[:, 6:34, 25:44] = Tissue.MUSCLE, Tissue.CAVITY
    changed = 0
    for number in range(10):
        image = torch.zeros(shape.shape)
        densities._add_vessels(image, shape, -100.0, True, SMALL, Randomness(13, number))
        assert not image[shape != Tissue.CAVITY].any()
        assert set(image.sign().unique().tolist()) <= {-1.0, 0.0, 1.0}
        vessel = image > 0
        assert image[vessel].min() >= 25 if vessel.any() else True
        changed += bool(vessel.any())
    assert changed >= 6
    nothing = torch.zeros_like(shape)
    densities._add_vessels(torch.zeros(shape.shape), nothing, -100.0, True, SMALL, Randomness(1))


def test_small_structures_are_in_the_middle_as_often_as_large_ones():
    anatomy = two_muscles()
    assert [slices.tolist() for slices in anatomy.slices_of] == [
        [*range(20)], [*range(20)], [*range(14, 20)]]
    seen = {share: sum(
        bool((simulate(anatomy, replace(PLAIN, structure_share=share), (10, n)).target == 7).any())
        for n in range(40)) for share in (0.0, 1.0)}
    assert seen[1.0] > seen[0.0]
    bare = replace(anatomy, target=np.zeros(256, np.uint8))
    assert bare.slices_of == []
    made = simulate(bare, replace(SMALL, structure_share=1.0), (0,))
    assert set(made.target.unique().tolist()) <= {0, IGNORED}


def test_a_scan_that_ends_in_the_slab_goes_on_as_air_of_which_nothing_is_taught():
    ends = set()
    for number in range(12):
        made = simulate(ANATOMY, replace(PLAIN, scan_end_probability=1.0), (8, number), MIDDLE)
        beyond = (made.target == IGNORED).flatten(1).all(1)
        assert 1 <= int(beyond.sum()) <= len(beyond) // 2
        assert bool(beyond[0]) != bool(beyond[-1])
        assert (made.image[beyond] == AIR_HU).all() and (made.image[~beyond] > -500).any()
        ends.add(bool(beyond[0]))
    assert ends == {True, False}


# --- real scans between them ---------------------------------------------------------------------

def ramp() -> RealScan:
    """HU that tell where they come from; the upper half is not taught."""
    shape = (30, 40, 44)
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    target = np.where(np.arange(30) < 15, 0, IGNORED).astype(np.uint8)
    return RealScan((z * 40 - 500 + 0 * y + x).astype(np.int16), (3.0, 4.0, 4.0), target)


def test_a_real_scan_is_redrawn_where_it_lies():
    scan, checked = ramp(), 0
    for number in range(8):
        made = redraw(scan, replace(PLAIN, noise=(0.0, 0.0), thickness=(0.0, 0.0)), (number,))
        middle = made.image[:, 18:30, 22:34]  # away from the edges, where air is mixed in
        for image, target, near in zip(middle[1:-1], made.target[1:-1, 18:30, 22:34],
                                       zip(middle[:-2], middle[2:], strict=True), strict=True):
            if min(float(plane.min()) for plane in near) < -510:
                continue
            height = (image + 500) / 40  # slice of the scan, within one for x
            assert (target[height < 13] == 0).all() and (target[height > 17] == IGNORED).all()
            checked += target.numel()
    assert checked > 500
    for number in range(8):
        made = redraw(scan, SMALL, (number,))
        assert set(np.unique(made.target)) <= {0, IGNORED}


def test_redrawn_scans_are_scans_and_their_seed_decides():
    scan = ramp()
    made = [redraw(scan, SMALL, (3, number)) for number in (0, 1, 0)]
    assert torch.equal(made[0].image, made[2].image) and torch.equal(made[0].target, made[2].target)
    assert not torch.equal(made[0].image, made[1].image)
    for one in made:
        assert one.image.shape == SMALL.shape and one.image.dtype == torch.float32
        assert one.target.dtype == torch.uint8 and torch.isfinite(one.image).all()
        assert one.image.min() >= AIR_HU and one.image.max() <= METAL_HU


def test_table_and_arms_lie_outside_the_body_and_are_background():
    surroundings = replace(PLAIN, table_probability=1.0, arm_probability=1.0)
    brighter = 0
    for number in range(6):
        made = simulate(ANATOMY, surroundings, (5, number), MIDDLE)
        assert not made.target[made.regions == 0].any()
        brighter += int((made.image[made.regions == 0] > -300).float().mean() > 0.02)
    assert brighter >= 4


@pytest.mark.parametrize("name", ["rotation", "scale", "displacement"])
def test_shapes_vary(name):
    value = {"rotation": (15.0, 15.0, 15.0), "scale": (0.8, 1.2), "displacement": 20.0}[name]
    varied = replace(PLAIN, **{name: value})
    shapes = {simulate(ANATOMY, varied, (6, n), MIDDLE).regions.numpy().tobytes()
              for n in range(6)}
    assert len(shapes) == 6


def test_rotations_are_rotations():
    matrix = ct_synthesis._rotation(np.array([10.0, -20.0, 30.0]))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_blurring_keeps_the_sum_and_has_the_width_asked_for():
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1
    blurred = blur(image, (0.0, 2.0, 0.0))[0, :, 20]
    offsets = torch.arange(41.0) - 20
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    # cut off at 2.5 standard deviations
    assert float((blurred * offsets**2).sum()) == pytest.approx(4.0, rel=0.15)


def test_noise_fields_have_unit_variance_and_draws_their_range():
    random = Randomness(7, 7)
    assert float(random.smooth((8, 30, 30), (2, 6, 6)).std()) == pytest.approx(1)
    draws = [random.uniform(2, 5) for _ in range(200)]
    assert 2 <= min(draws) < 2.3 and 4.7 < max(draws) <= 5
    assert 60 < sum(random.chance(0.5) for _ in range(200)) < 140
    assert not random.chance(0.0)
