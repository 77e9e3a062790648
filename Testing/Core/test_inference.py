# SPDX-License-Identifier: Apache-2.0
"""From a CT to labels: nothing shifts between the grids, and a seed gives the same samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from MuscleSegLib import inference
from MuscleSegLib.body import find_body
from MuscleSegLib.inference import (
    Axis,
    WorkingGrid,
    _refine,
    _strongest,
    _Writer,
    segment,
    segment_modern,
)
from MuscleSegLib.networks import ContextUNet
from MuscleSegLib.prediction import PIT_MM, pits, without_islands
from MuscleSegLib.recipes import MODERN
from ReadingRoomLib.errors import BadInput

from .muscle_factory import BONE, MUSCLE, process_context, thighs, tiny_network

SPACING = (5.0, 3.0, 3.0)
AXIS_NAMES = ("z", "y", "x")


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Exact comparisons need the same arithmetic on every processor."""
    monkeypatch.setattr(inference, "fast_in_bfloat16", lambda device: False)


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def ct():
    return thighs(SPACING)


# --- where voxels lie ----------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(1, 700), st.floats(0.3, 12), st.floats(1, 4),
       st.floats(-5, 800))
def test_the_two_directions_of_an_axis_undo_each_other(first, count, spacing, working, place):
    axis = Axis.over(first, count, spacing, working)
    assert axis.in_working(axis.in_ct(place)) == pytest.approx(place, abs=1e-6)
    # the working voxels cover the CT's, with less than one to spare
    assert axis.in_ct(-0.5) == pytest.approx(first - 0.5)
    assert axis.size >= count * spacing / working - 1e-6
    assert axis.size < max(count * spacing / working, 1) + 1


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.floats(0.5, 12), st.floats(0.35, 5), st.floats(0.35, 5)),
    st.tuples(st.integers(1, 40), st.integers(0, 60), st.integers(0, 60)),
)
@example((1.0, 1.0, 1.703125), (1, 0, 0))
@pytest.mark.parametrize("axis", range(3))
def test_a_ramp_keeps_its_places_on_the_working_grid_and_back(axis, spacing, extra):
    body = [0, *(int(np.ceil(30 / step)) for step in spacing[1:])]  # no patient is smaller
    ramp_stays_in_place(axis, spacing, tuple(n + m for n, m in zip(body, extra, strict=True)))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(("spacing", "shape"), [
    ((10.0, 0.4, 0.4), (12, 120, 110)), ((0.6, 0.8, 0.8), (40, 60, 64)),
    ((3.0, 2.0, 2.0), (9, 30, 31)), ((5.0, 0.9, 0.9), (1, 64, 64)), ((1.0, 4.0, 4.0), (25, 20, 9)),
])
def test_a_ramp_keeps_its_places_on_odd_grids(axis, spacing, shape):
    ramp_stays_in_place(axis, spacing, shape)


def ramp_stays_in_place(axis, spacing, shape):
    """Resample a volume whose values are places in mm, there and back."""
    steps = np.arange(shape[axis], dtype=np.float32) * spacing[axis]
    ct = np.zeros(shape, np.float32) + steps.reshape([-1 if n == axis else 1 for n in range(3)])
    grid = WorkingGrid(ct, spacing, MODERN)
    working = grid.slab(0, grid.depth)

    # near the ends the neighbours that would balance a mean are missing
    end = max(spacing[axis], MODERN.spacing[axis])
    # averaging over a little more than a pixel misses the place by up to this share of a voxel
    tolerance = 0.072 * end
    along = working.movedim(axis, 0)
    places = np.array([grid.axes[axis].in_ct(i) for i in range(len(along))]) * spacing[axis]
    inside = (places > end) & (places < steps[-1] - end)
    for place, plane in zip(places[inside], along[torch.from_numpy(inside)], strict=True):
        assert float((plane - place).abs().max()) <= tolerance

    writer = _Writer(grid)
    for start in range(0, grid.depth, 3):  # slabs of three slices
        slab = working[start : start + 3]
        writer.add(start, torch.ones(1, *slab.shape), slab[None])
    back = np.moveaxis(writer.finish().uncertainty, axis, 0)
    assert back.shape[0] == shape[axis]
    inner = (steps > 2 * end) & (steps < steps[-1] - 2 * end)
    apart = np.abs(back - steps.reshape(-1, 1, 1)).max(axis=(1, 2))
    assert (apart[inner] <= tolerance).all()
    assert (apart <= 1.6 * end).all()


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.tuples(st.integers(0, 9), st.integers(1, 40), st.floats(0.3, 4))] * 2),
       st.integers(2, 23), st.integers(0, 10_000), st.floats(0.2, 8))
def test_the_strongest_class_is_that_of_the_whole_interpolation(axes, classes, seed, sharpness):
    """Classes are interpolated in boxes only, which must not show."""
    y_axis, x_axis = (Axis.over(first, count, spacing, 2.0) for first, count, spacing in axes)
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, y_axis.size, x_axis.size, generator=random)
    probability = torch.softmax(sharpness * logits, 0)
    whole = _refine(probability, y_axis, x_axis)
    chosen = _strongest(probability, y_axis, x_axis)
    assert chosen.shape == (y_axis.count, x_axis.count)
    torch.testing.assert_close(whole.gather(0, chosen.long()[None])[0], whole.amax(0))


def test_every_slice_is_written_whatever_the_slabs(ct):
    grid = WorkingGrid(ct, SPACING, MODERN)
    for size in (1, 2, 5, grid.depth):
        writer = _Writer(grid)
        for start in range(0, grid.depth, size):
            depth = min(size, grid.depth - start)
            probability = torch.zeros(2, depth, *(a.size for a in grid.axes[1:]))
            probability[1] = 1
            writer.add(start, probability, torch.full((1, *probability.shape[1:]), 0.5))
        prediction = writer.finish()
        assert (prediction.labels[:, grid.rows, grid.columns] == 1).all()
        assert (prediction.uncertainty[:, grid.rows, grid.columns] == 0.5).all()


def test_thin_slices_are_averaged_over_the_working_slice():
    ct = np.zeros((30, 20, 20), np.int16)
    ct[::3] = 90  # every third slice of 1 mm: each working slice of 3 mm holds exactly one
    slab = WorkingGrid(ct, (1.0, 2.0, 2.0), MODERN).slab(0, 10)
    assert torch.allclose(slab, torch.full_like(slab, 30.0))


def test_beyond_the_ends_is_air(ct):
    grid = WorkingGrid(ct, SPACING, MODERN)
    slab = grid.slab(-2, grid.depth + 2)
    assert (slab[:2] == -1024).all() and (slab[-2:] == -1024).all() and (slab[2] > -1024).any()


# --- what is found -------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(5.0, 3.0, 3.0), (10.0, 1.5, 1.5), (2.0, 1.2, 2.6)])
def test_bones_and_muscles_are_found_where_they_are(network, spacing):
    ct = thighs(spacing)
    labels = segment_modern(ct, spacing, network, MODERN, samples=1).labels
    clean = thighs(spacing, noise=0)
    for value, density in ((BONE, 700), (MUSCLE, 55)):
        truth, found = clean == density, labels == value
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.9
    assert set(np.unique(labels)) == {0, BONE, MUSCLE}


def test_results_lie_on_the_grid_of_the_ct(network, ct):
    prediction = segment_modern(ct, SPACING, network, MODERN, samples=3)
    assert prediction.labels.shape == prediction.uncertainty.shape == ct.shape
    assert prediction.labels.dtype == np.uint8 and prediction.uncertainty.dtype == np.float32


def test_the_work_is_told_slice_by_slice(network, ct):
    told = []
    segment_modern(ct, SPACING, network, MODERN, samples=1,
                   on_slices=lambda *counts: told.append(counts))
    total = WorkingGrid(ct, SPACING, MODERN).depth
    assert told[0] == (0, total) and told[-1] == (total, total)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_without_dropout_the_batch_changes_nothing(network, ct, monkeypatch, batch):
    expected = segment_modern(ct, SPACING, network, MODERN, samples=1)
    monkeypatch.setattr(inference, "BATCH", batch)
    found = segment_modern(ct, SPACING, network, MODERN, samples=1)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_air_around_the_body_changes_nothing(network, ct):
    expected = segment_modern(ct, SPACING, network, MODERN, samples=1).labels
    # twelve columns of 3 mm are eighteen working ones, so that the working grid falls alike
    wide = np.pad(ct, ((0, 0), (8, 12), (12, 20)), constant_values=-1000)
    found = segment_modern(wide, SPACING, network, MODERN, samples=1).labels[:, 8:-12, 12:-20]
    assert (found != expected).mean() < 0.01


def test_part_of_a_scan_gives_part_of_the_result(network):
    ct = thighs((3.0, 2.0, 2.0))
    whole = segment_modern(ct, (3.0, 2.0, 2.0), network, MODERN, samples=1).labels
    part = segment_modern(ct[10:30], (3.0, 2.0, 2.0), network, MODERN, samples=1).labels
    np.testing.assert_array_equal(part, whole[10:30])


def test_the_same_seed_gives_the_same_and_another_seed_another_result(network, ct):
    first, again, other = (
        segment_modern(ct, SPACING, network, MODERN, samples=4, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.uncertainty, again.uncertainty)
    assert (first.uncertainty != other.uncertainty).any()


def test_uncertainty_is_a_share_and_nothing_for_a_single_sample(network, ct):
    many = segment_modern(ct, SPACING, network, MODERN, samples=6).uncertainty
    assert many.min() >= 0 and 0.01 < many.max() <= 1
    assert not segment_modern(ct, SPACING, network, MODERN, samples=1).uncertainty.any()


def test_a_mirrored_ct_gives_the_mirrored_result():
    ct, spacing = thighs((3.0, 2.0, 2.0)), (3.0, 2.0, 2.0)
    torch.manual_seed(0)  # left and right differ to a network with random weights
    network = ContextUNet(filters=[8, 16], dropout=0.0).eval()
    result, mirrored = (segment_modern(image, spacing, network, MODERN, samples=2)
                        for image in (ct, ct[:, :, ::-1].copy()))
    alone = segment_modern(ct, spacing, network, MODERN, samples=1)
    assert (mirrored.labels[:, :, ::-1] == result.labels).mean() > 0.9999
    np.testing.assert_allclose(mirrored.uncertainty[:, :, ::-1], result.uncertainty, atol=1e-5)
    # without dropout the two samples differ by the mirroring alone
    assert result.uncertainty.max() > 0.001 and (result.labels != alone.labels).any()


def test_the_network_is_left_in_evaluation_mode(network, ct):
    segment_modern(ct, SPACING, network, MODERN, samples=2)
    assert not any(module.training for module in network.modules())


def test_nothing_but_air_is_refused(network):
    with pytest.raises(BadInput, match="nothing but air"):
        segment(np.full((9, 40, 40), -1000, np.int16), SPACING, network, MODERN)


def test_the_body_is_found_beside_a_thin_table():
    ct = np.full((10, 100, 100), -1000, np.int16)
    ct[:, 30:60, 25:70] = 40
    ct[:, 90:92, :] = 200
    rows, columns = find_body(ct, (3.0, 2.0, 2.0))
    assert rows.start <= 30 <= 60 <= rows.stop < 80
    assert columns.start <= 25 <= 70 <= columns.stop < 90 and columns.start > 5


# --- islands -------------------------------------------------------------------------------------


def test_small_parts_are_islands_and_large_ones_are_not():
    labels = np.zeros((12, 20, 40), np.uint8)
    labels[2:10, 2:12, 2:12] = 5  # 800 voxels
    labels[2:10, 2:8, 30:36] = 5  # 288: the other side
    labels[5, 17, 20:23] = 5  # an island
    labels[4:8, 15:19, 26:30] = 9  # another structure's only part, however small
    cleaned, near = without_islands(labels)
    expected = labels.copy()
    expected[5, 17, 20:23] = 0
    np.testing.assert_array_equal(cleaned, expected)
    assert near.sum() == 3 * 3 * 5 and near[4:7, 16:19, 19:24].all()


def test_a_small_true_part_is_no_island_beside_the_large_one_of_the_other_side():
    """A scan that ends askew shows much of a muscle on one side and its tip on the other."""
    labels = np.zeros((12, 20, 60), np.uint8)
    for x in (10, 50):
        labels[:, 8:12, x - 2 : x + 2] = 2  # femurs, between which the middle is
    labels[0:9, 2:7, 4:18] = 15  # 630 voxels on the right
    labels[0:2, 2:5, 44:49] = 15  # 30 on the left, where the scan ends
    labels[11, 18, 6:8] = 15  # an island on the right
    labels[11, 18, 50:52] = 15  # one on the left, small beside both
    cleaned, _ = without_islands(labels)
    expected = labels.copy()
    expected[11, 18] = 0
    np.testing.assert_array_equal(cleaned, expected)
    assert not without_islands(np.zeros((3, 4, 5), np.uint8))[1].any()


def test_an_island_within_another_structure_costs_that_structure_nothing():
    labels = np.full((9, 15, 30), 4, np.uint8)
    labels[:, :, 20:] = 6
    labels[4, 7, 8] = 6
    cleaned, near = without_islands(labels)
    assert (cleaned != labels).sum() == 1 and cleaned[4, 7, 8] == 0
    assert near.sum() == 27


def shaft(spacing: tuple[float, float, float]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """A solid bone, 30 mm thick, and the places of its voxels in mm from its axis."""
    counts = [round(size / step) for size, step in zip((90, 60, 60), spacing, strict=True)]
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * step
                            for n, step in zip(counts, spacing, strict=True)], indexing="ij")
    return (np.hypot(x, y) < 15) & (np.abs(z) < 40), (z, y, x)


@pytest.mark.parametrize("spacing", [(3.0, 2.0, 2.0), (5.0, 1.0, 1.5)])
def test_holes_and_pits_of_a_bone_are_found_and_other_structures_kept(spacing):
    bone, (z, y, x) = shaft(spacing)
    hole = np.sqrt(x**2 + y**2 + z**2) < 5
    pit = (np.abs(x) < 4) & (y > 5) & (np.abs(z - 20) < 6) & bone
    muscle = (np.abs(x) < 4) & (y < -8) & (np.abs(z + 20) < 6) & bone
    labels = np.where(bone & ~hole & ~pit, 2, 0).astype(np.uint8)
    labels[muscle] = 7
    found = pits(labels, spacing, 2)
    assert found[hole].all() and not found[muscle].any()
    # a pit is filled but for what a ball still reaches from its mouth
    deep = pit & (y < 10)
    assert deep.sum() > 10 and found[deep].all()
    assert not (found & ~bone).any()


def test_a_bay_that_a_ball_fits_into_is_no_pit():
    spacing = (3.0, 2.0, 2.0)
    bone, (z, y, x) = shaft(spacing)
    bay = (np.abs(z) < PIT_MM + 4) & (x > 0)
    found = pits(np.where(bone & ~bay, 2, 0).astype(np.uint8), spacing, 2)
    assert not found[(np.abs(z) < 3) & (x > 5)].any()
    assert not pits(np.zeros((4, 5, 6), np.uint8), spacing, 2).any()


def test_a_bone_that_metal_blacked_out_is_whole_on_the_grid_of_the_ct():
    """As a nail's streaks do: a part of the shaft is taken for nothing."""
    _, (z, y, x) = shaft((1.0, 1.0, 1.0))
    ct = np.where(np.hypot(x, y) < 28, 40, -1000).astype(np.int16)
    grid = WorkingGrid(ct, (1.0, 1.0, 1.0), MODERN)
    writer = _Writer(grid)
    sizes = [axis.size for axis in grid.axes]
    centres = np.meshgrid(*[[axis.in_ct(i) for i in range(n)] for axis, n in zip(
        grid.axes, sizes, strict=True)], indexing="ij")
    z, y, x = (place - (n - 1) / 2 for place, n in zip(centres, ct.shape, strict=True))
    shown = (np.hypot(x, y) < 15) & (np.abs(z) < 40) & ~((np.abs(x) < 4) & (np.abs(z) < 8))
    probability = torch.zeros(23, *sizes)
    probability[2] = torch.from_numpy(shown.astype(np.float32))
    probability[0] = 1 - probability[2]
    writer.add(0, probability, torch.zeros(1, *sizes))
    labels = writer.finish().labels
    inside = np.hypot(*np.meshgrid(*[np.arange(60) - 29.5] * 2)) < 8
    assert (labels[10:80, inside] == 2).all()


def test_an_island_is_removed_on_the_grid_of_the_ct_too(network):
    spacing = (5.0, 1.0, 1.0)
    ct = thighs(spacing, noise=0)
    ct[10:12, 45:52, 130:140] = 700  # a fragment of bone in the air between the legs
    labels = segment_modern(ct, spacing, network, MODERN, samples=1).labels
    assert not (labels[8:14, 40:57, 128:142] == BONE).any()
    assert (labels == BONE).sum() > 0.85 * (thighs(spacing, noise=0) == 700).sum()


# --- memory --------------------------------------------------------------------------------------

MEASURE_PEAK = """
import resource, sys
import numpy as np, torch
from MuscleSegLib.inference import segment_modern
from MuscleSegLib.networks import ContextUNet
from MuscleSegLib.recipes import MODERN
torch.set_num_threads(1)
network = ContextUNet(MODERN.channels, 23, (8, 16, 16, 16, 16)).eval()
def run(slices):
    ct = np.full((slices, 128, 160), 40, np.int16)
    segment_modern(ct, MODERN.spacing, network, MODERN, samples=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
connection.send([run(12), run(12), run(108)])
"""


def test_only_the_result_grows_with_the_scan():
    context = process_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=exec, args=(MEASURE_PEAK, {"connection": theirs}))
    process.start()
    theirs.close()
    _, short, long = ours.recv()
    process.join()
    voxels = (108 - 12) * 128 * 160
    # a voxel: CT 2 bytes, labels 1, uncertainty 4, and some 20 while islands are looked for;
    # the probabilities of 23 structures alone would be 92
    assert long - short < 60 * voxels
