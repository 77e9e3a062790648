# SPDX-License-Identifier: Apache-2.0
"""What spoils simulated heads does what its name says; what is dense in healthy ones is there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ReadingRoomLib.phantoms import head_artefacts, head_normal
from ReadingRoomLib.phantoms.head import share_beyond
from ReadingRoomLib.phantoms.head_artefacts import ARTEFACTS, add_artefacts
from ReadingRoomLib.phantoms.head_findings import Place
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.phantoms.region_map import AIR_HU

SPACING = (5.0, 2.0, 2.0)
BRAIN, BONE = 30.0, 1000.0


def round_head(slices=12, spacing=SPACING):
    """A cylinder of brain in a ring of bone."""
    y, x = (np.arange(-100, 100, step) for step in spacing[1:])
    radius = np.hypot(*np.meshgrid(y, x, indexing="ij"))
    plane = np.select([radius < 66, radius < 74, radius < 80], [BRAIN, BONE, 10.0], AIR_HU)
    return np.repeat(plane[None], slices, 0).astype(np.float32)


@pytest.fixture(scope="module")
def head():
    return round_head()


def soft(image):
    return (image > 0) & (image < 60)


def test_hard_rays_leave_a_dark_band_between_two_bones():
    image = round_head(4)
    image[1, 40:60, 22:30] = image[1, 40:60, 70:78] = 1500.0  # as the petrous bones lie
    spoiled = head_artefacts.harden(image, SPACING, Randomness(1))
    change = spoiled - image
    between, before = change[1, 44:56, 42:58].mean(), change[1, 22:30, 42:58].mean()
    assert between < before - 2
    assert abs(change[3][soft(image[3])]).mean() < 0.5 * abs(change[1][soft(image[1])]).mean()


def test_electrodes_lie_on_the_skin_and_send_out_streaks(head):
    spoiled = next(found for seed in range(20) if (found := head_artefacts.add_metal(
        head, SPACING, Randomness(seed)))[4:].max() > 5000 and found[:3].max() < 5000)
    metal = spoiled > 5000
    distance = ndimage.distance_transform_edt(head < -300, sampling=SPACING)
    assert (distance[metal] < 12).all() and (head[metal] < 300).all()
    with_metal = metal.any((1, 2))
    noise = [spoiled[z][soft(head[z])].std() for z in range(len(head))]
    assert min(np.array(noise)[with_metal]) > 1.5 * max(np.array(noise)[~with_metal], default=0)


def test_fillings_lie_in_front_in_the_lowest_slices(head):
    metal = head_artefacts._fillings(head, SPACING, Randomness(2))
    z, y, _ = np.argwhere(metal).T
    assert len(z) and z.max() * SPACING[0] < 20 and y.max() < head.shape[1] / 2


def test_rings_lie_around_one_place_and_are_alike_in_neighbouring_slices(head):
    spoiled = head_artefacts.add_rings(head, SPACING, Randomness(3))
    change = spoiled - head
    where = np.flatnonzero(np.abs(change).max((1, 2)) > 1)
    assert len(where) and (np.diff(where) == 1).all()
    ring = change[where[0]]
    assert all(np.allclose(change[z], ring, atol=1e-3) for z in where)
    assert 4 < np.abs(ring).max() <= 18.1
    y, x = np.mgrid[:ring.shape[0], :ring.shape[1]]

    def uneven(middle):
        radius = np.hypot(y - middle[0], x - middle[1]).astype(int).ravel()
        counts = np.maximum(np.bincount(radius), 1)
        mean = np.bincount(radius, ring.ravel()) / counts
        return np.mean((ring.ravel() - mean[radius]) ** 2) / ring.var()

    assert min(uneven((50 + a, 50 + b)) for a in range(-8, 9) for b in range(-8, 9)) < 0.5


def test_a_low_dose_is_noise_and_nothing_else(head):
    spoiled = head_artefacts.lower_dose(head, SPACING, Randomness(4))
    inside = soft(head)
    change = (spoiled - head)[inside]
    assert 3 < change.std() < 20 and abs(change.mean()) < 1


def test_windmills_stand_where_slices_differ():
    image = round_head(12)
    assert np.allclose(head_artefacts.wind(image, SPACING, Randomness(5)), image)
    image[6:] = np.where(image[6:] > 0, image[6:] + 200, image[6:])
    change = head_artefacts.wind(image, SPACING, Randomness(5)) - image
    inside = soft(round_head(1))[0]
    assert np.abs(change[5:7][:, inside]).max() > 3 and not change[:4].any()
    assert change[5:7][:, inside].max() > 1 and change[5:7][:, inside].min() < -1


@pytest.mark.parametrize("seed", range(6))
def test_motion_moves_what_is_known_of_findings_too(seed):
    image, truth = round_head(20), np.zeros((20, 100, 100), np.uint8)
    image[:, 40:50, 55:65], truth[:, 40:50, 55:65] = 75.0, 3
    moved, there = head_artefacts.moved(image, truth, SPACING, Randomness(seed))
    changed = np.flatnonzero(np.abs(moved - image).max((1, 2)) > 50)
    assert len(changed) and (np.diff(changed) == 1).all() and len(changed) < 10
    middle = changed[0]
    if (there == truth).all():  # seen at two places: contours are doubled
        skull = (image[middle] > 900) & (moved[middle] < 700)
        assert skull.any() and (moved[middle] > 300).sum() > (image[middle] > 300).sum()
    else:
        blood = ndimage.binary_erosion(there[middle] == 3)
        assert moved[middle][blood].mean() == pytest.approx(75, abs=4)
        assert (there[middle] != truth[middle]).any()


def test_a_narrow_field_cuts_off_a_part_of_the_head_and_changes_no_other(head):
    narrow = head_artefacts.narrow(head, SPACING, Randomness(6))
    changed = narrow != head
    assert (narrow[changed] == AIR_HU).all() and (head[changed] > -300).any()
    assert changed[:, 50, 50].sum() == 0


def test_artefacts_occur_as_often_as_they_are_asked_for(head):
    truth = np.zeros(head.shape, np.uint8)
    clean, _, none = add_artefacts(head, truth, SPACING, {}, Randomness(7))
    assert none == () and (clean == head).all()
    everything = dict.fromkeys(ARTEFACTS, 1.0)
    first, _, names = add_artefacts(head, truth, SPACING, everything, Randomness(8))
    again, _, _ = add_artefacts(head, truth, SPACING, everything, Randomness(8))
    assert names == ARTEFACTS and (first == again).all() and np.isfinite(first).all()
    seen = sum(bool(add_artefacts(head[:1, ::8, ::8], truth[:1, ::8, ::8], (5, 16, 16),
                                  {"rings": 0.3}, Randomness(k))[2]) for k in range(200))
    assert seen / 200 == pytest.approx(0.3, abs=0.1)


def test_a_thick_voxel_of_slanted_bone_is_the_mean_of_what_lies_in_it():
    slope, thickness = 1.2, 5.0
    middle = np.linspace(-8, 8, 33)
    fine = middle[:, None] + slope * np.linspace(-thickness / 2, thickness / 2, 400)
    wanted = (fine > 0).mean(1)
    assert share_beyond(middle, np.full(33, slope * thickness)) == pytest.approx(wanted, abs=0.02)
    assert ((wanted > 0) & (wanted < 1)).sum() > 10  # partial volume as broad as it is in a CT


# --- what is dense, or uneven, in healthy heads --------------------------------------------------


@pytest.fixture(scope="module")
def place():
    """A ball of brain of 80 mm, on voxels of 2 mm."""
    axis = np.arange(-90, 90, 2.0, np.float32)
    at = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    depth = 80 - np.sqrt((at**2).sum(0))
    far = np.full(depth.shape, 60.0, np.float32)
    return Place(at, depth, far, far, np.zeros_like(depth))


def test_sinus_falx_and_tentorium_are_denser_than_brain_and_lie_where_they_do(place):
    brain = np.full(place.depth.shape, 30.0)
    image = head_normal.add_dense_structures(brain, place, place.at, Randomness(1))
    dense = image > 34
    assert (place.depth[dense] > 0).all() and dense.mean() < 0.05
    up, back, left = place.at
    assert dense[(np.abs(left) < 1.1) & (place.depth < 3) & (place.depth > 0) & (up > 50)].all()
    assert not dense[(np.abs(left) > 14) & (up > 20)].any()  # only the midline above
    assert dense[(up < 10) & (back > 30) & (np.abs(left) > 14)].any()  # tentorium


def test_ventricles_may_be_uneven_and_hold_a_cavum(place, monkeypatch):
    monkeypatch.setattr(head_normal, "UNEVEN_SHARE", 1.0)
    monkeypatch.setattr(head_normal, "CAVUM_SHARE", 1.0)
    fluid = head_normal.vary_ventricles(np.full(place.depth.shape, 20.0), place.at, Randomness(2))
    inside = place.at[:, fluid < 0]
    assert inside.size and np.abs(inside[2]).max() < 6
    far = np.abs(place.at[2]) > 30
    left, right = (fluid[far & (np.sign(place.at[2]) == side)].mean() for side in (1, -1))
    assert abs(left - right) > 0.05 and left + right == pytest.approx(40, abs=0.01)
