# SPDX-License-Identifier: Apache-2.0
"""Patches against one interpolation after the other, and what is drawn from them for training."""

import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from LandmarkPretrainLib import augmentation, fields, sampling, training_patches
from LandmarkPretrainLib.evaluation import prepare_cases
from LandmarkPretrainLib.landmark_cases import Case
from LandmarkPretrainLib.landmark_files import Landmarks
from LandmarkPretrainLib.networks import NONE
from LandmarkPretrainLib.patches import PatchExtractor
from LandmarkPretrainLib.preparation import DENSITIES, SHOWN_AS, prepared
from LandmarkPretrainLib.prepared_cases import Extractors, prepare_case

from .landmark_factory import NAMES, toy_image


def image_of(shape=(24, 30, 28), seed=0, spacing=(1.5, 1.5, 1.5), origin=(-10.0, 20.0, 5.0),
             direction=None):
    array = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    return image


def interpolated(image, points):
    """Reference: SciPy, one voxel of fill beyond the image."""
    array = np.pad(sitk.GetArrayFromImage(image), 1,
                   constant_values=sitk.GetArrayViewFromImage(image).min())
    index = np.array([image.TransformPhysicalPointToContinuousIndex(point.tolist())
                      for point in points.reshape(-1, 3)]) + 1
    return map_coordinates(array, index[:, ::-1].T, order=1, mode="nearest").reshape(
        points.shape[:-1])


def rotation(angles):
    ranges = augmentation.UNCHANGED
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        matrix = matrix @ augmentation._about(axis, np.array([angle]))[0]
    assert ranges.rotation == 0
    return matrix


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-1.5, 1.5)] * 3), st.tuples(*[st.floats(-0.4, 1.4)] * 3),
       st.floats(6, 11), st.sampled_from([8, 9, 12]), st.booleans())
def test_planes_are_what_one_interpolation_after_the_other_gives(angles, share, size, pixels,
                                                                 turned_image):
    image = image_of(direction=rotation((0.2, -0.1, 2.0)) if turned_image else None)
    size = min(size, 1.49 * 2 * pixels)  # pixels no coarser than two voxels: nothing is averaged
    corner = np.array(image.TransformContinuousIndexToPhysicalPoint(
        [float(a * (n - 1)) for a, n in zip(share, image.GetSize(), strict=True)]))
    matrix = rotation(angles)
    found = PatchExtractor(image).planes(corner[None], size, pixels, matrix[None])[0].numpy()
    line = (np.arange(pixels) - (pixels - 1) / 2) * size / pixels
    down, along = np.meshgrid(line, line, indexing="ij")
    nothing = np.zeros_like(down)
    for plane, shifts in zip(found, ((along, down, nothing), (along, nothing, -down),
                                     (nothing, along, -down)), strict=True):
        points = np.stack(shifts, -1) @ matrix.T + corner
        assert np.allclose(plane, interpolated(image, points), atol=2e-4)


def test_a_cube_has_the_planes_in_its_middle():
    extractor = PatchExtractor(image_of())
    point = np.array([[9.0, 41.0, 21.0]])
    cube = extractor.cubes(point, 9.0, 9)[0, 0]
    axial, coronal, sagittal = extractor.planes(point, 9.0, 9)[0]
    assert torch.allclose(cube[4], axial, atol=1e-5)
    assert torch.allclose(cube[:, 4].flip(0), coronal, atol=1e-5)
    assert torch.allclose(cube[:, :, 4].flip(0), sagittal, atol=1e-5)


def test_threads_change_nothing():
    extractor, random = PatchExtractor(image_of()), np.random.default_rng(1)
    points = random.uniform(0, 40, (200, 3))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(extractor.planes(points, (12.0, 30.0)))
    finally:
        torch.set_num_threads(before)
    assert found[0].shape == (200, 6, 32, 32)
    assert torch.equal(*found)


def test_patches_can_be_taken_in_inference_mode_and_used_outside():
    with torch.inference_mode():
        patch = PatchExtractor(image_of()).planes(np.zeros((40, 3)), 20.0)
    patch.mul_(2)


def test_coarse_patches_are_means_and_not_single_voxels():
    array = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    extractor = PatchExtractor(sitk.GetImageFromArray(array))
    middle = np.array([[31.5, 31.5, 31.5]])
    fine, coarse = (extractor.planes(middle, size, 8).std() for size in (8.0, 32.0))
    assert coarse < 0.35 * fine  # 4 x 4 x 4 voxels: an eighth, but interpolated
    blocks = array.reshape(16, 4, 16, 4, 16, 4).mean((1, 3, 5))
    cube = extractor.cubes(middle, 32.0, 8)[0, 0].numpy()
    assert np.allclose(cube, blocks[4:12, 4:12, 4:12], atol=1e-5)


def test_beyond_the_image_there_is_its_lowest_value():
    image = image_of()
    lowest = float(sitk.GetArrayViewFromImage(image).min())
    found = PatchExtractor(image).planes(np.array([[500.0, 0, 0]]), 10.0)
    assert torch.allclose(found, torch.full_like(found, lowest), atol=1e-6)
    assert PatchExtractor(image).values(np.array([[500.0, 0, 0]])) == pytest.approx([lowest])


def test_ct_gives_soft_tissue_half_of_what_is_seen_and_knows_no_scanner():
    array = np.tile(np.array([-1024, *DENSITIES, 3000], np.int16)[:, None, None], (1, 6, 6))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 2.0, 2.0))
    shown = sitk.GetArrayFromImage(prepared(image, "CT", 2.0))[:, 0, 0]
    assert np.allclose(shown, [-1, *SHOWN_AS, 1])


def test_images_without_unit_are_scaled_by_themselves():
    image, _ = toy_image(0)
    one = sitk.GetArrayFromImage(prepared(image, "MR", 2.0))
    other = sitk.GetArrayFromImage(prepared(image * 37.0, "MR", 2.0))
    assert np.allclose(one, other, atol=1e-4)
    assert one.min() == -1 and 0.9 < np.percentile(one, 99.8) <= 1.5


# --------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    missing = {0: ("dark",), 1: ("dark", "corner")}
    return [prepare_case(f"p{number}", lambda number=number: toy_image(
        number, missing.get(number, ()))[0], toy_image(number, missing.get(number, ()))[1], "MR",
        2.0, folder, str(number)) for number in range(3)]


def test_a_prepared_case_is_read_again_and_not_made_again(cases, tmp_path):
    case = cases[0]
    again = prepare_case("p0", lambda: pytest.fail("made again"), case.points, "MR", 2.0,
                         case.file.parent, "0")
    assert again.file == case.file
    image = prepared(toy_image(0, ("dark",))[0], "MR", 2.0)
    assert np.allclose(sitk.GetArrayFromImage(again.image()), sitk.GetArrayFromImage(image),
                       atol=1e-3)
    assert np.allclose(again.image().GetOrigin(), image.GetOrigin())
    other = prepare_case("p0", lambda: toy_image(0)[0], case.points, "MR", 3.0, tmp_path, "0")
    assert other.file.name != case.file.name


def test_memory_of_extractors_is_bounded(cases):
    size = PatchExtractor(cases[0].image()).voxels * 4
    extractors = Extractors(cases, kept_bytes=int(size * 1.5))
    for number in (0, 1, 2, 1):
        extractors[number]
        assert extractors._bytes <= size * 1.5
    assert list(extractors._kept) == [1]


def test_a_batch_is_balanced_and_known_by_its_step_alone(cases):
    kind = training_patches.PatchKind((24.0,))
    batches = training_patches.PatchBatches(cases, len(NAMES), kind, 4, seed=3, patches=80)
    fresh = training_patches.PatchBatches(cases, len(NAMES), kind, 4, seed=3, patches=80)
    item = batches[2]
    assert item["image"].shape == (80, 3, 32, 32)
    assert all(torch.equal(item[name], fresh[2][name]) for name in item)
    assert not torch.equal(item["image"], batches[3]["image"])
    counts = np.bincount(item["label"].numpy(), minlength=len(NAMES) + 1)
    assert counts[NONE] == 20
    assert counts[1:].min() >= 10 and counts[1:].max() <= 10


def test_landmarks_that_a_case_has_not_are_taken_from_others(cases):
    random = np.random.default_rng(0)
    owners, names = sampling.drawn_landmarks(cases, [0, 1, 2], 60, random)
    dark = NAMES.index("dark")
    assert (names == dark).sum() == 10
    assert set(owners[names == dark]) == {2}


def test_places_of_none_are_in_the_body_and_away_from_landmarks(cases):
    case, extractors = cases[2], Extractors(cases)
    points = sampling.places_of_none(case, extractors, 2, 40, 24.0, np.random.default_rng(0))
    apart = np.linalg.norm(points[:, None] - case.points, axis=-1).min(1)
    assert apart.min() >= sampling.NEAREST * 24.0
    assert (apart < sampling.SHELL * 24.0).sum() >= 20
    assert (extractors[2].values(points) > sampling.BODY).mean() > 0.9


def test_every_case_is_learned_from_as_often_as_the_others():
    taken = [number for step in range(0, 16 * training_patches.SAME_CASES,
                                      training_patches.SAME_CASES)
             for number in training_patches.chosen_cases(21, step, 0)]
    counts = np.bincount(taken, minlength=21)
    assert counts.max() - counts.min() <= 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_places_in_a_turned_box_show_the_landmark(cases, seed):
    """What the box shows at a landmark's place is what the image shows at the landmark."""
    random = np.random.default_rng(seed)
    case = cases[2]
    extractor = PatchExtractor(case.image())
    matrix = augmentation.turns(1, augmentation.Augmentation(), random)[0]
    middle = case.points[random.integers(len(NAMES))] + random.uniform(-6, 6, 3)
    shape = (24, 20, 28)
    box = extractor.boxes(middle[None], shape[2] * 2.0, shape, matrix[None])[0, 0].numpy()
    places = fields.places_in(case.points, middle, matrix, 2.0, shape)
    for point, place in zip(case.points, places, strict=True):
        if np.isfinite(place).all():
            at = map_coordinates(box, place[:, None], order=1)[0]
            assert at == pytest.approx(float(extractor.values(point[None])[0]), abs=0.35)
            index = np.round(place)
            shift = matrix @ ((index - (np.array(shape) - 1) / 2)[::-1] * 2.0)
            assert np.allclose(box[tuple(index.astype(int))],
                               extractor.values((middle + shift)[None]), atol=1e-3)


def test_an_image_whose_voxels_changed_beside_its_header_is_made_ready_again(tmp_path):
    image, points = toy_image(4)
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    case = Case(tmp_path / "a.mhd", Landmarks(NAMES, points), "p", "", "a", "item 1", "MR")
    first, = prepare_cases([case], NAMES, 2.0, tmp_path / "ready")
    assert prepare_cases([case], NAMES, 2.0, tmp_path / "ready")[0].file == first.file
    sitk.WriteImage(image + 7, str(tmp_path / "b.mhd"))
    os.replace(tmp_path / "b.raw", tmp_path / "a.raw")
    again, = prepare_cases([case], NAMES, 2.0, tmp_path / "ready")
    assert again.file != first.file


def test_cubes_show_bodies_as_if_they_lay_alike(cases):
    """Whichever way a body lies, its cubes have the landmarks in the same directions."""
    case = cases[2]
    turn = rotation((0.4, -1.1, 2.6))
    turned = replace(case, points=case.points @ turn.T)
    apart = case.points[:, None] - case.points
    seen = 0
    for number in range(6):
        batch = fields.CubeBatches([turned], 3.0, 6, 0, augmentation.UNCHANGED, 4, [turn])[number]
        for places in batch["label"].double().numpy()[..., ::-1] * 3.0:
            found = places[:, None] - places
            both = np.isfinite(found)
            seen += both.all(2).sum() - np.isfinite(places).all(1).sum()
            assert np.allclose(found[both], apart[both], atol=1e-3)
    assert seen > 20


def test_the_loss_of_a_field_falls_where_it_should():
    places = torch.tensor([[[4.25, 5.0, 6.5], [float("nan")] * 3]])
    right = torch.zeros(1, 3, 12, 12, 12)
    right[0, NONE] = 5.0
    right[0, 1, 4:6, 5, 6:8] = 12.0
    wrong_place, wrong_name = right.clone(), right.clone()
    wrong_place[0, 1] = torch.roll(right[0, 1], 4, 0)
    wrong_name[0, 2, 4:6, 5, 6:8] = 20.0
    losses = []
    for logits in (right, wrong_place, wrong_name, torch.zeros_like(right)):
        torch.manual_seed(0)
        losses.append(float(fields.field_loss(logits, places)))
    assert losses[0] < 2.0
    assert all(loss > losses[0] + 2 for loss in losses[1:])


def test_the_gradient_of_a_field_leads_to_a_fraction_of_a_voxel():
    place = torch.tensor([[[5.3, 6.0, 4.8]]])
    logits = torch.zeros(1, 2, 12, 12, 12, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.3)
    for step in range(150):
        torch.manual_seed(step)
        optimizer.zero_grad()
        fields.field_loss(logits, place).backward()
        optimizer.step()
    chance = logits.detach()[0, 1].flatten().softmax(0).reshape(12, 12, 12)
    found = [float((chance.sum(tuple(a for a in range(3) if a != axis))
                    * torch.arange(12.0)).sum()) for axis in range(3)]
    assert np.allclose(found, place[0, 0].numpy(), atol=0.1)


def test_an_image_without_any_landmark_can_be_learned_from():
    loss = fields.field_loss(torch.zeros(2, 3, 8, 8, 8), torch.full((2, 2, 3), torch.nan))
    assert torch.isfinite(loss)
