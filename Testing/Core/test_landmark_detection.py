# SPDX-License-Identifier: Apache-2.0
"""Sets of landmarks that a body can have, what is chosen among candidates, and how sure it is."""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from LandmarkPretrainLib import detection
from LandmarkPretrainLib.alignment import agreeing
from LandmarkPretrainLib.confidence import EVIDENCE, Confidence, learn_confidence
from LandmarkPretrainLib.detectors import Closer, CoarseMap, FieldDetector, Guess, PatchDetector
from LandmarkPretrainLib.landmark_errors import errors_by_patient, radial_errors
from LandmarkPretrainLib.networks import NONE
from LandmarkPretrainLib.patches import PatchExtractor
from LandmarkPretrainLib.shape_model import ShapeModel, learn_shape
from LandmarkPretrainLib.training_patches import PatchKind
from ReadingRoomLib.devices import MemoryFallback

COUNT = 24
BASE = np.random.default_rng(5).normal(0, 110, (COUNT, 3))
MODES = np.random.default_rng(6).normal(0, 6, (COUNT, 3, 2))


def body(seed, noise=2.0):
    random = np.random.default_rng(seed)
    points = BASE + MODES @ random.normal(size=2) + random.normal(0, noise, BASE.shape)
    return points @ (np.eye(3) + random.normal(0, 0.06, (3, 3))) + random.normal(0, 40, 3)


@pytest.fixture(scope="module")
def shape():
    cases = [body(seed) for seed in range(60)]
    random = np.random.default_rng(0)
    for case in cases:  # some landmarks are not known in some cases
        case[random.random(COUNT) < 0.15] = np.nan
    return learn_shape(cases)


@settings(max_examples=15, deadline=None)
@given(st.integers(1000, 9999), st.floats(0, 0.35), st.floats(0, 0.3))
def test_the_others_say_where_a_landmark_is_though_some_of_them_lie(shape, seed, lying, missing):
    random = np.random.default_rng(seed)
    truth = body(seed)
    found = truth.copy()
    wrong = random.random(COUNT) < lying
    found[wrong] += random.normal(0, 150, (wrong.sum(), 3))
    gone = random.random(COUNT) < missing
    found[gone] = np.nan
    assume((~wrong & ~gone).sum() >= max(12, 2 * (wrong & ~gone).sum()))
    places, spread = shape.predict(found)
    errors = np.linalg.norm(places - truth, axis=1)
    assert np.median(errors) < 12
    assert errors.max() < 45
    assert np.all(spread > 0) and np.all(spread < 30)


def test_what_is_predicted_has_the_error_that_it_says(shape):
    ratios = []
    for seed in range(2000, 2030):
        places, spread = shape.predict(body(seed))
        ratios.append(np.square(places - body(seed)).mean(1) / np.square(spread))
    assert 0.5 < np.mean(ratios) < 1.6


def test_pose_and_size_do_not_count(shape):
    truth = body(77)
    turned = truth @ np.array([[0, 1.2, 0], [-1.2, 0, 0], [0, 0, 1.2]]) + [300, -20, 5]
    before, _ = shape.predict(truth)
    after, _ = shape.predict(turned)
    again = before @ np.array([[0, 1.2, 0], [-1.2, 0, 0], [0, 0, 1.2]]) + [300, -20, 5]
    assert np.linalg.norm(after - again, axis=1).mean() < 3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_how_a_body_lies_is_told_though_some_landmarks_lie(shape, seed):
    random = np.random.default_rng(seed)
    turn = Rotation.random(random_state=random).as_matrix()
    upright = body(seed)
    found = upright @ turn.T * random.uniform(0.7, 1.4) + random.normal(0, 80, 3)
    wrong = random.choice(COUNT, 5, replace=False)
    found[wrong] += random.normal(0, 150, (5, 3))
    told = shape.turn(found, np.ones(COUNT))
    expected = turn @ shape.turn(upright, np.ones(COUNT))
    assert np.allclose(told @ told.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(told) == pytest.approx(1.0)
    assert np.degrees(Rotation.from_matrix(told @ expected.T).magnitude()) < 6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_left_and_right_are_told_apart_by_how_the_others_lie(seed):
    """Each landmark and its mirror image look alike, and there is a third place now and then."""
    random = np.random.default_rng(seed)
    side = BASE[:10] * [1, 1, 1] + [120, 0, 0]
    whole = np.concatenate([side, side * [-1, 1, 1], BASE[:4] * [0, 1, 1]])
    mirrored = np.concatenate([np.arange(10, 20), np.arange(10), np.arange(20, 24)])
    turn = Rotation.random(random_state=random).as_matrix()
    truth = (whole + random.normal(0, 3, whole.shape)) @ turn.T + random.normal(0, 50, 3)
    places = np.stack([truth, truth[mirrored], truth + random.normal(0, 150, truth.shape)], 1)
    chances = np.column_stack([random.normal(0, 0.3, (24, 2)), random.normal(-1, 0.3, 24)])
    order = random.permuted(np.tile(np.arange(3), (24, 1)), axis=1)
    chosen = agreeing(np.take_along_axis(places, order[..., None], 1),
                      np.take_along_axis(chances, order, 1), whole)
    found = np.take_along_axis(order, chosen[:, None], 1)[:, 0]
    right = (found == 0) | ((found == 1) & (mirrored == np.arange(24)))
    assert right.mean() > 0.9


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_landmarks_are_no_failure(shape, count):
    found = np.full((COUNT, 3), np.nan)
    truth = body(42)
    found[:count] = truth[:count]
    places, spread = shape.predict(found)
    assert np.isfinite(places).all() == (count > 0)
    if count == 5:
        assert np.median(np.linalg.norm(places - truth, axis=1)) < 40


def test_a_shape_model_can_be_written_and_read_and_rubbish_cannot(shape):
    again = ShapeModel.read(shape.written())
    assert np.allclose(again.mean, shape.mean, atol=1e-3)
    assert again.factors.shape == shape.factors.shape
    few = learn_shape([body(seed) for seed in range(3)])
    assert ShapeModel.read(few.written()).factors.shape == (COUNT, 3, 0)
    with pytest.raises((ValueError, KeyError)):
        ShapeModel.read({"mean": [[0, 0, 0]], "factors": [[[], [], []]], "error": [0.0]})


def test_a_landmark_that_no_training_case_had_is_no_failure():
    cases = [body(seed) for seed in range(8)]
    for case in cases:
        case[3] = np.nan
    places, _ = learn_shape(cases).predict(body(50))
    assert np.isfinite(places).all()


# ---------------------------------------------------------------------------- choosing, rejecting

STEP = 6.0
NAMES = tuple(f"landmark {number}" for number in range(COUNT))


class Oracle:
    """Stands for a network: bright places where landmarks are, and brighter ones elsewhere."""

    posed = any_way = False

    def __init__(self, truth, impostors=(), absent=()):
        self.truth, self.impostors, self.absent = truth, set(impostors), set(absent)
        self.step_mm = STEP

    def coarse(self, extractor, low, size_mm, advance):
        counts = np.ceil(size_mm / STEP).astype(int)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in counts[::-1]], indexing="ij"),
                        -1)[..., ::-1] * STEP + low
        places, names = [], []
        random = np.random.default_rng(0)
        for number, point in enumerate(self.truth):
            chance = np.full(grid.shape[:3], -12.0)
            if number not in self.absent:
                chance = np.maximum(chance, 4 - np.square(grid - point).sum(-1) / (2 * STEP**2))
            if number in self.impostors:
                other = low + random.uniform(0.1, 0.9, 3) * size_mm
                chance = np.maximum(chance, 6 - np.square(grid - other).sum(-1) / (2 * STEP**2))
            flat = torch.from_numpy(chance.astype(np.float32))
            places.append(flat.flatten().log_softmax(0).reshape(flat.shape))
            names.append(torch.nn.functional.logsigmoid(flat))
        advance(1.0)
        return CoarseMap(torch.stack(places), torch.stack(names), low, STEP)

    def closer(self, extractor, guess, which):
        return Closer(self.truth[which].copy(), np.full(len(which), 0.9),
                      np.full(len(which), 0.8))


def image_around(points, margin=40.0):
    low, high = points.min(0) - margin, points.max(0) + margin
    size = np.ceil((high - low) / 8).astype(int)
    image = sitk.Image(*[int(n) for n in size], sitk.sitkFloat32)
    image.SetSpacing((8.0, 8.0, 8.0))
    image.SetOrigin(low.tolist())
    return image


def test_impostors_are_not_believed(shape):
    truth = body(300)
    found = detection.detect(image_around(truth), NAMES, Oracle(truth, impostors=range(0, 9)),
                             shape)
    errors = radial_errors(found.points, truth)
    assert np.nanmax(errors) < 1e-6
    assert np.isfinite(errors).sum() >= COUNT - 1
    plain = detection.candidates_of(Oracle(truth, range(0, 9)).coarse(
        None, *box_of(image_around(truth)), lambda share: None))
    alone = plain.points[np.arange(COUNT), plain.places.argmax(1)]
    assert (np.linalg.norm(alone - truth, axis=1) > 30).sum() >= 7  # the test is a test


def box_of(image):
    return np.array(image.GetOrigin()), np.array(image.GetSize()) * np.array(image.GetSpacing())


def test_a_landmark_that_is_only_where_it_cannot_be_is_left_out(shape):
    truth = body(301)
    found = detection.detect(image_around(truth), NAMES, Oracle(truth, [2, 7], [2, 7]), shape)
    assert {NAMES[2], NAMES[7]} == set(found.reasons)
    assert not np.isfinite(found.points[[2, 7]]).any()
    assert (found.confidence[[2, 7]] == 0).all()
    # and the others still say where it should be
    assert np.linalg.norm(found.expected[2] - truth[2]) < 30


def test_what_lies_outside_a_part_of_the_body_is_said_to(shape):
    truth = body(302)
    order = truth[:, 2].argsort()
    inside = order[COUNT // 3:]
    image = image_around(truth[inside], 12.0)
    absent = [number for number in range(COUNT) if number not in inside]
    low, size = box_of(image)
    beyond = [number for number in absent
              if ((truth[number] < low - 20) | (truth[number] > low + size + 20)).any()]
    found = detection.detect(image, NAMES, Oracle(truth, absent, absent), shape)
    for number in absent:
        assert NAMES[number] in found.reasons
    assert sum(found.reasons[NAMES[number]] == "outside the image" for number in beyond) >= (
        len(beyond) - 1)


def test_an_image_with_nothing_in_it_has_no_landmarks(shape):
    truth = body(303)
    found = detection.detect(image_around(truth), NAMES, Oracle(truth, (), range(COUNT)), shape)
    assert not np.isfinite(found.points).any()
    assert len(found.reasons) == COUNT


def test_a_peak_between_voxels_is_found_between_them():
    truth = np.array([[31.0, 44.5, 52.0]])
    low, size = np.zeros(3), np.full(3, 96.0)
    coarse = Oracle(truth).coarse(None, low, size, lambda share: None)
    best = detection.candidates_of(coarse)
    assert np.allclose(best.points[0, 0], truth[0], atol=0.3)


class Named(torch.nn.Module):
    """A network for patches: class 1 where the middle is bright."""

    def forward(self, patches):
        bright = patches[:, :, 14:18, 14:18].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 12 * (bright - 0.4)], 1)


def test_patches_are_asked_for_on_lattices_that_become_finer():
    grid = np.stack(np.meshgrid(*[np.arange(60.0)] * 3, indexing="ij"), -1)[..., ::-1]
    target = np.array([33.4, 25.8, 40.2])
    array = np.exp(-np.square(grid - target).sum(-1) / (2 * 4.0**2)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    detector = PatchDetector(Named(), PatchKind((32.0,)), MemoryFallback(
        64, "cpu", pytest.fail))
    extractor = PatchExtractor(image)
    shares = []
    coarse = detector.coarse(extractor, np.zeros(3), np.full(3, 60.0), shares.append)
    assert shares[-1] == 1.0
    at = np.array(np.unravel_index(int(coarse.places[0].argmax()), coarse.places[0].shape))
    first = at[::-1] * coarse.step_mm + coarse.origin
    assert np.linalg.norm(first - target) <= coarse.step_mm
    peak = detection.candidates_of(coarse).points[0, :1]
    unsure = Guess(peak, peak, np.array([50.0]))
    close = detector.closer(extractor, unsure, np.array([0]))
    assert np.linalg.norm(close.points[0] - target) < 0.75
    assert close.names[0] > 0.9
    assert torch.isfinite(coarse.names).all() and NONE == 0


class Beside(torch.nn.Module):
    """A field: the landmark is where, six voxels to the body's left of it, there is a light."""

    def forward(self, cubes):
        moved = 12 * torch.roll(cubes, -6, dims=4)
        return torch.cat([torch.zeros_like(moved) + 4, moved], 1)


def test_the_close_look_is_turned_as_the_body_lies():
    turn = Rotation.from_euler("xyz", (140, -30, 75), degrees=True).as_matrix()
    target, spacing = np.array([41.3, 38.6, 44.1]), 1.0
    light = target + turn @ [6.0, 0.0, 0.0]
    grid = np.stack(np.meshgrid(*[np.arange(80.0)] * 3, indexing="ij"), -1)[..., ::-1]
    array = np.exp(-np.square(grid - light).sum(-1) / (2 * 2.0**2)).astype(np.float32)
    extractor = PatchExtractor(sitk.GetImageFromArray(array))
    detector = FieldDetector(SimpleNamespace(fine=Beside()), 4.0, spacing,
                             MemoryFallback(64, "cpu", pytest.fail), any_way=True)
    start = target[None] + [2.0, -1.0, 1.5]
    for known_turn, limit in ((turn, True), (np.eye(3), False)):
        guess = Guess(start, start, np.array([50.0]), known_turn)
        found = detector.closer(extractor, guess, np.array([0])).points[0]
        assert (np.linalg.norm(found - target) < 0.5) == limit


# ------------------------------------------------------------------------- confidence and errors


def test_confidence_is_what_it_says():
    random = np.random.default_rng(0)
    evidence = random.normal(size=(4000, len(EVIDENCE)))
    chance = 1 / (1 + np.exp(-(0.5 + evidence[:, 0] - 1.5 * evidence[:, 3])))
    right = random.random(4000) < chance
    found = learn_confidence(evidence[:2000], right[:2000], 10.0)
    said = found(evidence[2000:])
    assert np.abs(said - chance[2000:]).mean() < 0.04
    again = Confidence.read(found.written())
    assert np.allclose(again(evidence), found(evidence), atol=1e-3)
    with pytest.raises(ValueError):
        Confidence.read(found.written() | {"spread": [0.0] * len(EVIDENCE)})


def test_all_right_gives_no_infinite_confidence():
    evidence = np.random.default_rng(1).normal(size=(30, len(EVIDENCE)))
    found = learn_confidence(evidence, np.ones(30, bool), 10.0)
    assert np.isfinite(found.weights).all()
    assert (found(evidence) > 0.9).all()


def test_errors_are_counted_by_hand():
    given = [np.array([[0.0, 0, 0], [0, 0, 0], [np.nan] * 3, [5, 5, 5]]),
             np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 0], [5, 5, 5]])]
    found = [np.array([[1.0, 0, 0], [0, 3, 0], [0, 0, 0], [np.nan] * 3]),
             np.array([[0.0, 0, 8], [0, 0, 0], [0, 0, 0], [5, 5, 5]])]
    result = errors_by_patient(found, given, ["a", "b"])
    assert result["mre_mm"] == pytest.approx([2.0, 2.0])
    assert result["sdr_2_mm"] == pytest.approx([1 / 3, 3 / 4])
    assert result["sdr_10_mm"] == pytest.approx([2 / 3, 1])
    assert result["found"] == pytest.approx([2 / 3, 1])
    assert result["invented"][0] == 1.0 and np.isnan(result["invented"][1])
