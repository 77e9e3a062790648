# SPDX-License-Identifier: Apache-2.0
"""A photo of a monitor: the screen is found and made straight, bad photos are sent back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from HeadCTTriageLib import engines, picture_certainty, starter
from HeadCTTriageLib.__main__ import app
from HeadCTTriageLib.answers import RECIPES
from HeadCTTriageLib.augmentation import Ranges, vary
from HeadCTTriageLib.camera import check, look, read_photo
from HeadCTTriageLib.engines import NETWORKS, load_model
from HeadCTTriageLib.photo_quality import LIMITS, measure_quality
from HeadCTTriageLib.photo_simulation import ASPECTS, MILD, USUAL, simulate_photo
from HeadCTTriageLib.photo_training import photographed
from HeadCTTriageLib.picture_certainty import (
    BLEEDS,
    NOT_SEEN,
    UNCERTAIN,
    PictureCertainty,
    camera_certainty_of,
)
from HeadCTTriageLib.pictures import measure_photos, slice_of_picture
from HeadCTTriageLib.projection import aspect_of, homography, project
from HeadCTTriageLib.screen_finding import find_screen
from HeadCTTriageLib.training_slices import PatientSlices, save_patient
from HeadCTTriageLib.triage import Tag
from ReadingRoomLib.bundles import load_bundle
from ReadingRoomLib.errors import BadInput, ModelUntrusted
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.phantoms.head_findings import KINDS

from .head_factory import write_toy_bundle

SMALL = {"pixels": 640, "fill": (0.85, 0.93)}
CAREFUL, EVERYDAY = replace(MILD, **SMALL), replace(USUAL, **SMALL)
NOTHING_ELSE = replace(EVERYDAY, glare=(0, 0), window=(0, 0), moire=(0, 0), blur=(0.2, 0.4),
                       motion=(0, 0), tilt=(0, 12), noise=(0.003, 0.006))


def toy_slice(blood=False, size=320):
    """A picture of a slice: skull, brain with some texture, ventricles."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    far = np.hypot(rows / 0.47, columns / 0.38)
    grain = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(size, size)), 3)
    picture = 0.42 + 0.06 * grain / grain.std()
    picture[(abs(columns) > 0.02) & (np.hypot(rows / 0.15, columns / 0.07) < 1)] = 0.12
    if blood:
        picture[np.hypot(rows - 0.05, columns - 0.2) < 0.1] = 0.85
    return np.where(far < 0.9, picture, 1.0).clip(0, 1) * (far < 1)


def light(photo):
    return photo.mean(-1, dtype=np.float32) / 255


def away(found, photo):
    """Largest distance of a corner from the truth, share of the photo's width."""
    return np.linalg.norm(found - photo.corners, axis=1).max() / photo.photo.shape[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_toy_bundle(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture
def listed(bundle, monkeypatch):
    """A list of models, so that nothing depends on the starter having been made."""
    registry = bundle.parent / "models.json"
    if not registry.exists():
        registry.write_text('{"models": []}', "utf-8")
        list_bundle(registry, bundle, "HeadCTTriage")
    monkeypatch.setattr(engines, "REGISTRY", registry)


@pytest.fixture(scope="module")
def good():
    return simulate_photo(toy_slice(), 1, CAREFUL).photo


# --- perspective ---------------------------------------------------------------------------------


@given(tilt=st.floats(0, 25), towards=st.floats(0, 360), focal=st.floats(0.7, 1.0),
       aspect=st.sampled_from(ASPECTS), aside=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)))
def test_the_shape_of_a_rectangle_is_seen_from_any_side(tilt, towards, focal, aspect, aside):
    angle, axis = np.radians(tilt), np.radians(towards)
    u = np.array([np.cos(axis), np.sin(axis), 0])
    cross = np.cross(np.eye(3), u)
    turn = np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    points = np.array([[-aspect, -1, 0], [aspect, -1, 0], [aspect, 1, 0], [-aspect, 1, 0]]) / 2
    x, y, z = (points @ turn).T + np.array([[*aside, 2.2]]).T
    corners = np.stack([x / z, y / z], 1) * focal * 1000 + [499.5, 374.5]
    assert aspect_of(corners, (1000, 750)) == pytest.approx(aspect, rel=0.06)


@given(st.lists(st.floats(-0.2, 0.2), min_size=8, max_size=8))
def test_a_homography_brings_corners_to_corners_and_keeps_lines(moves):
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    moved = square + np.reshape(moves, (4, 2))
    matrix = homography(square, moved)
    assert np.stack(project(matrix, *square.T), 1) == pytest.approx(moved, abs=1e-9)
    a, b, c = np.stack(project(matrix, np.array([0.0, 0.3, 1]), np.array([0.0, 0.3, 1])), 1)
    assert np.cross([*(b - a), 0], [*(c - a), 0])[2] == pytest.approx(0, abs=1e-9)


# --- the screen ----------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), tilt=st.floats(0, 20), fill=st.floats(0.65, 0.93))
def test_a_screen_is_found_in_a_careful_photo(seed, tilt, fill):
    photo = simulate_photo(toy_slice(), seed, replace(
        CAREFUL, tilt=(tilt, tilt), fill=(fill, fill)))
    found = find_screen(light(photo.photo))
    assert away(found, photo) < 0.015
    assert aspect_of(found, photo.photo.shape[1::-1]) == pytest.approx(photo.aspect, rel=0.06)


def test_a_screen_is_found_in_nearly_all_usual_photos():
    found = []
    for seed in range(20):
        photo = simulate_photo(toy_slice(), seed, EVERYDAY)
        try:
            found.append(away(find_screen(light(photo.photo)), photo) < 0.03)
        except BadInput:
            found.append(False)
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize("picture", [
    np.full((480, 640), 0.6), np.zeros((480, 640)), np.tile(np.linspace(0, 1, 640), (480, 1)),
    np.random.default_rng(0).random((480, 640)),
    np.hypot(*(np.mgrid[:480, :640] - np.array([240, 320])[:, None, None])) > 150,
], ids=["wall", "night", "gradient", "noise", "plate"])
def test_where_there_is_no_screen_none_is_found(picture):
    with pytest.raises(BadInput, match="No screen can be found"):
        find_screen(picture.astype(np.float32))


def test_a_screen_without_a_head_is_sent_back():
    photo = simulate_photo(np.zeros((200, 200)), 4, CAREFUL).photo
    with pytest.raises(BadInput, match="No head can be found on the screen"):
        look(photo)
    photo = simulate_photo(toy_slice(), 4, replace(CAREFUL, head=(0.3, 0.3))).photo
    with pytest.raises(BadInput, match="hold the camera closer"):
        look(photo)


@pytest.mark.parametrize("seed", range(4))
def test_what_a_network_gets_from_a_mild_photo_is_what_was_shown(seed):
    picture = toy_slice(blood=True)
    shot = look(simulate_photo(picture, seed, CAREFUL).photo)
    check(shot.quality)
    sampling = RECIPES["modern"].sampling
    wanted, seen = (slice_of_picture(each, sampling)[0, 0] for each in (picture, shot.picture))
    alike = np.corrcoef(wanted.ravel(), seen.ravel())[0, 1]
    swapped = np.corrcoef(wanted.ravel(), seen[:, ::-1].ravel())[0, 1]
    assert alike > 0.95 and swapped < alike - 0.02


# --- quality -------------------------------------------------------------------------------------


@pytest.mark.parametrize("score, disturbed", [
    ("blur", [{"blur": (amount, amount)} for amount in (0.3, 2.5, 6.0)]),
    ("blur", [{"motion": (amount, amount)} for amount in (0.0, 10.0, 20.0)]),
    ("glare", [{"window": (amount, amount)} for amount in (0.0, 0.16, 0.3)]),
    ("moire", [{"moire": (amount, amount), "pitch": (1.1, 1.1)} for amount in (0.0, 0.15, 0.5)]),
], ids=["blur", "motion", "window", "moire"])
def test_the_stronger_the_disturbance_the_higher_the_score(score, disturbed):
    means = []
    for amounts in disturbed:
        shots = [look(simulate_photo(toy_slice(), seed, replace(
            NOTHING_ELSE, wall=(0.5, 0.8), **amounts)).photo) for seed in (0, 2)]
        means.append(np.mean([getattr(shot.quality, score) for shot in shots]))
    assert means[0] < means[1] < means[2]
    assert means[0] < LIMITS[score] < means[2]


@pytest.mark.parametrize("amounts, said", [
    ({"blur": (6.0, 6.0)}, "The photo is blurred: hold the camera still"),
    ({"moire": (0.5, 0.5), "pitch": (1.1, 1.1)}, "Lines .moire. lie over the image: change the"),
])
def test_a_bad_photo_is_sent_back_with_the_reason(amounts, said):
    shot = look(simulate_photo(toy_slice(), 2, replace(NOTHING_ELSE, **amounts)).photo)
    with pytest.raises(BadInput, match=said):
        check(shot.quality)


def test_a_lamp_beside_the_head_and_one_in_it_are_glare_and_blood_is_not():
    plain = simulate_photo(toy_slice(blood=True), 1, CAREFUL)
    assert look(plain.photo).quality.glare < LIMITS["glare"]
    rows, columns = np.mgrid[:plain.photo.shape[0], :plain.photo.shape[1]]
    middle, side = plain.head_corners.mean(0), plain.head_corners[[0, 3]].mean(0)
    size = np.linalg.norm(plain.head_corners[0] - plain.head_corners[1])
    for place in (middle, 0.8 * side + 0.2 * middle):
        lamp = 400 * np.exp(-((columns - place[0])**2 + (rows - place[1])**2) / (0.13 * size)**2)
        lit = (plain.photo + lamp[..., None]).clip(0, 255).astype(np.uint8)
        with pytest.raises(BadInput, match="There is glare on the screen: turn the monitor"):
            check(look(lit).quality)


@pytest.mark.parametrize("seed, amount, told", [
    (2, 0.7, "The outline is not that of a head: show the whole slice"),
    # so bright that it is glare beside the head, too, which is told first
    (5, 1.0, "There is glare on the screen: turn the monitor"),
])
def test_a_window_so_bright_that_it_merges_with_the_head_is_seen(seed, amount, told):
    photo = simulate_photo(toy_slice(), seed, replace(
        NOTHING_ELSE, wall=(0.5, 0.8), window=(amount, amount))).photo
    shot = look(photo)
    assert shot.quality.outline > LIMITS["outline"]
    with pytest.raises(BadInput, match=told):
        check(shot.quality)


def test_a_slice_that_is_cut_off_is_not_an_oval_and_a_turned_one_with_a_nose_is():
    size = np.arange(400)
    rows, columns = np.meshgrid(size - 200, size - 200, indexing="ij")
    head = (rows / 170)**2 + (columns / 140)**2 < 1
    nose = (abs(columns) < 12) & (rows < -150) & (rows > -185)
    turned = ndimage.rotate((head | nose).astype(float), 25, reshape=False) > 0.5
    assert measure_quality(turned * 0.5, turned).outline < LIMITS["outline"]
    cut = head & (abs(columns) < 100) & (abs(rows) < 130)
    assert measure_quality(cut * 0.5, cut).outline > 3 * LIMITS["outline"]


def test_a_lamp_that_touches_the_skull_is_glare_and_blood_there_is_not():
    size = np.arange(400)
    rows, columns = np.meshgrid(size - 200, size - 200, indexing="ij")
    far = np.hypot(rows / 178, columns / 150)
    head = far < 1
    picture = np.where(far < 0.92, 0.42, 1.0) * head
    away = np.hypot(rows, columns - 95)
    blood = np.where(away < 45, 1.0, picture)
    lit = (picture + 1.5 * np.exp(-(away / 45)**2)).clip(0, 1)
    for sigma in (1.0, 3.5):  # pixels of half a millimetre: in focus, and as blurred as may be
        assert measure_quality(ndimage.gaussian_filter(blood, sigma), head).glare == 0
        assert measure_quality(ndimage.gaussian_filter(lit, sigma), head).glare > LIMITS["glare"]


# --- slices to train with ------------------------------------------------------------------------


def test_what_is_photographed_to_train_with_stays_in_its_place():
    picture = toy_slice(blood=True, size=224).astype(np.float32)
    for seed in range(3):
        seen = photographed(picture, seed)
        assert seen.shape == picture.shape and seen.dtype == np.float32
        assert 0 <= seen.min() and seen.max() <= 1
        alike = np.corrcoef(picture.ravel(), seen.ravel())[0, 1]
        moved = np.corrcoef(picture.ravel(), np.roll(seen, 6, 1).ravel())[0, 1]
        assert 0.85 < alike < 0.9999 and moved < alike - 0.01
    assert (photographed(picture, 2) == seen).all()
    assert (photographed(np.zeros_like(picture), 0) == 0).all()


def test_a_share_of_the_slices_is_shown_through_the_camera_and_nothing_else_changes():
    density = torch.from_numpy(np.stack([80 * toy_slice(size=224)] * 6).astype(np.float32))
    truth = (density > 60).to(torch.uint8)
    plain, photos = (vary(density, truth, np.random.default_rng(3), Ranges(camera_share=share))
                     for share in (0.0, 0.5))
    changed = (plain[0] != photos[0]).any(-1).any(-1)
    assert 0 < changed.sum() < len(changed)
    assert (plain[1] == photos[1]).all() and plain[2] == photos[2]
    assert photos[0][changed].min() >= 0 and photos[0][changed].max() <= 80


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation, turn", [(3, 2), (6, 1), (8, 3)])
def test_the_orientation_that_the_camera_noted_is_obeyed(good, tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.rot90(good, turn)).save(tmp_path / "a.png", exif=exif)
    assert (read_photo(tmp_path / "a.png") == good).all()


def test_large_photos_are_read_smaller_and_colours_are_kept(tmp_path):
    large = np.zeros((2400, 3200, 3), np.uint8)
    large[:, 1600:, 0] = 200
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95)
    read = read_photo(tmp_path / "a.jpg")
    assert max(read.shape) <= 2400 and read.shape[1] * 3 == read.shape[0] * 4
    assert abs(int(read[100, -100, 0]) - 200) < 5 and read[100, -100, 2] < 5


def test_files_that_are_no_photo_are_refused_in_a_sentence(good, tmp_path, monkeypatch):
    def refused(name, said):
        with pytest.raises(BadInput, match=said):
            read_photo(tmp_path / name)

    refused("none.jpg", "cannot be found")
    Image.fromarray(good).save(tmp_path / "a.gif")
    refused("a.gif", "no JPEG or PNG")
    (tmp_path / "a.gif").rename(tmp_path / "renamed.png")
    refused("renamed.png", "no JPEG or PNG")
    for name in ("a.png", "a.jpg"):
        Image.fromarray(good).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:len(whole) // 2])
        refused(name, "damaged")
    Image.fromarray(good[:100]).save(tmp_path / "thin.png")
    refused("thin.png", "too few pixels")
    Image.fromarray(good).save(tmp_path / "large.png")
    for most in (good.size // 4, good.size // 30):  # Pillow warns of the first, refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.warns(Image.DecompressionBombWarning) if most > good.size // 6 else _nothing():
            refused("large.png", "too many pixels")


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


# --- certainty -----------------------------------------------------------------------------------


def toy_certainty(count=300):
    random = np.random.default_rng(0)
    bleeding = random.random(count) < 0.5
    return PictureCertainty((0.3 + 0.4 * bleeding + 0.12 * random.normal(size=count)).clip(0, 1),
                            bleeding)


def test_scores_of_photos_become_probabilities_and_decisions():
    certainty = PictureCertainty.read(json.loads(json.dumps(toy_certainty().written())))
    found = [certainty.bleeds(score) for score in np.linspace(0, 1, 21)]
    assert (np.diff([probability for probability, _, _ in found]) >= -0.02).all()
    assert found[0][0] < 0.1 and found[-1][0] > 0.9
    assert all(low <= probability <= high for probability, low, high in found)
    assert certainty.decide(0.05, 0.05) == NOT_SEEN
    assert certainty.decide(0.95, 0.05) == BLEEDS
    assert certainty.decide(0.05, 0.001) == UNCERTAIN  # so little cannot be promised
    for wrong in ({"scores": [0.5], "bleeding": [1]}, {"scores": [np.nan] * 60,
                                                       "bleeding": [0, 1] * 30}):
        with pytest.raises(ValueError):
            PictureCertainty.read(wrong)


def sees_blood(inputs):
    """A network: urgent by how bright the picture's middle is at its brightest."""
    bright = ndimage.uniform_filter(inputs[0, 0], 15)[60:190, 90:185].max()
    return [np.array([[0.0, 0.0, 40 * (bright - 0.63), 0.0]])]


def test_simulated_photos_of_slices_calibrate_a_network(monkeypatch):
    monkeypatch.setattr(picture_certainty, "LEAST_HEADS", 2)
    slices = np.stack([80 * toy_slice(number % 2 == 1) for number in range(8)])
    truth = np.zeros(slices.shape, np.uint8)
    truth[1::2, 150:170, 200:220] = 1 + KINDS.index("epidural")
    truth[0, :50] = 1 + KINDS.index("fracture")  # bleeds not
    truth[2, 0, 0] = 1 + KINDS.index("epidural")  # too little to be seen or not
    certainty = camera_certainty_of(RECIPES["seed"], sees_blood, slices, truth, 5, CAREFUL)
    assert certainty.bleeding.tolist().count(True) == 4 and len(certainty.scores) == 7
    assert certainty.scores[certainty.bleeding].min() > certainty.scores[~certainty.bleeding].max()


def test_a_bundle_is_calibrated_for_photos_without_its_training(tmp_path, monkeypatch):
    def simulate(work, numbers):
        (work / "patients").mkdir(parents=True)
        for number in numbers:
            several = np.stack([80 * toy_slice(blood) for blood in (False, True)])
            truth = np.zeros(several.shape, np.uint8)
            truth[1, 150:170, 200:220] = 1 + KINDS.index("epidural")
            save_patient(PatientSlices(several[:, :8, :8].astype(np.int16),
                                       several.astype(np.int16), truth, Tag.RED, 0.0, (), ()),
                         work / "patients" / f"{number:05d}.npz")

    monkeypatch.setattr(starter, "simulate", simulate)
    monkeypatch.setattr(picture_certainty, "LEAST_HEADS", 2)
    monkeypatch.setattr(camera_certainty_of, "__defaults__", (CAREFUL,))
    bundle = write_toy_bundle(tmp_path / "toy")
    before = load_bundle(bundle, NETWORKS)
    starter.calibrate_camera(tmp_path / "work", bundle, 3)
    after = load_bundle(bundle, NETWORKS)
    calibration = PictureCertainty.read(after.metadata.pop("camera_certainty"))
    assert calibration.bleeding.tolist() == [True, False] * 3
    assert after.metadata == before.metadata and after.model_card == before.model_card
    for name, weight in after.network.state_dict().items():
        assert torch.allclose(weight, before.network.state_dict()[name], rtol=1e-3, atol=1e-6)
    names = sorted(path.stem for path in (tmp_path / "work" / "patients").iterdir())
    assert names == ["00006", "00007", "00016"]  # of the group that nothing is trained on


def test_pictures_are_measured_through_the_camera(tmp_path, monkeypatch):
    from HeadCTTriageLib import photo_simulation

    monkeypatch.setattr(photo_simulation.simulate_photo, "__defaults__", (CAREFUL,))
    rows = ["id, hemorrhage"]
    for number in range(6):
        shown = np.rint(255 * toy_slice(number % 2 == 1)).astype(np.uint8)
        Image.fromarray(shown).save(tmp_path / f"{number:03d}.png")
        rows.append(f"{number},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", "utf-8")
    measured = measure_photos("seed", sees_blood, tmp_path)
    assert measured["pictures"] == measured["good_photos_judged"] == 6
    assert measured["photos_taken_again"].startswith("0.000")
    for which in ("pictures", "all_photos", "good_photos"):
        assert measured[f"auc_of_bleeding_in_{which}"].startswith("1.000")


# --- the command ---------------------------------------------------------------------------------


def run_photo(*arguments):
    with pytest.raises(SystemExit) as ended:
        app(["photo", *map(str, arguments), "--progress", "none"])
    return ended.value.code


@pytest.mark.usefixtures("listed")
def test_the_command_from_photo_to_result(good, bundle, tmp_path):
    Image.fromarray(good).save(tmp_path / "photo.jpg", quality=95)
    assert run_photo(tmp_path / "photo.jpg", "--output", tmp_path / "out", "--model", bundle) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert 0 <= result["looks_like_bleeding"] <= 1 and "bleeding_probability" not in result
    assert result["decision"] == UNCERTAIN and "not a medical device" in result["disclaimer"]
    assert any("not calibrated for photos" in doubt for doubt in result["doubts"])
    assert all(result["quality"]["scores"][name] <= limit
               for name, limit in result["quality"]["limits"].items())
    outlined = np.asarray(Image.open(tmp_path / "out" / "found_screen.png"))
    assert outlined.shape == good.shape and (outlined == (255, 176, 0)).all(-1).sum() > 500
    assert np.asarray(Image.open(tmp_path / "out" / "rectified.png")).ndim == 2


@pytest.mark.usefixtures("listed")
def test_the_command_asks_for_another_photo(bundle, tmp_path, capsys):
    bad = simulate_photo(toy_slice(), 2, replace(NOTHING_ELSE, blur=(6.0, 6.0))).photo
    Image.fromarray(bad).save(tmp_path / "photo.png")
    code = run_photo(tmp_path / "photo.png", "--output", tmp_path / "out", "--model", bundle)
    assert code == BadInput.exit_code and not (tmp_path / "out").exists()
    assert "hold the camera still" in capsys.readouterr().err


@pytest.mark.usefixtures("listed")
def test_a_calibration_that_travels_with_the_model_is_used(good, tmp_path):
    Image.fromarray(good).save(tmp_path / "photo.png")
    certain = write_toy_bundle(tmp_path / "toy", more={"camera_certainty": {
        "scores": [0.0, 1.0] * 100, "bleeding": [0, 1] * 100}})
    assert run_photo(tmp_path / "photo.png", "--output", tmp_path / "out", "--model", certain) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    low, high = result["bleeding_interval"]
    assert low <= result["bleeding_probability"] <= high
    assert result["decision"] in (NOT_SEEN, UNCERTAIN, BLEEDS)
    assert not any("not calibrated" in doubt for doubt in result["doubts"])
    wrong = write_toy_bundle(tmp_path / "wrong", more={"camera_certainty": {"scores": [1]}})
    with pytest.raises(ModelUntrusted):
        load_model(str(wrong))
