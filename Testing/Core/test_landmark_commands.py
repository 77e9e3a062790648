# SPDX-License-Identifier: Apache-2.0
"""pretrain, search, detect and evaluate from end to end, on toy images and few steps."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from LandmarkPretrainLib import (
    detect_command,
    evaluate_command,
    pretrain_command,
    search_command,
    simulate_command,
)
from LandmarkPretrainLib.__main__ import app
from LandmarkPretrainLib.engines import load_model, model_of
from LandmarkPretrainLib.landmark_files import read_landmarks
from LandmarkPretrainLib.networks import MiniVGG
from LandmarkPretrainLib.patches import PatchExtractor
from LandmarkPretrainLib.pretraining import settings_of, train_recipe, widened
from LandmarkPretrainLib.recipes import Recipe
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput, ModelUntrusted
from ReadingRoomLib.results import read_result

from .landmark_factory import NAMES, toy_image, write_toy_list

PATCH_MM = 48.0
# two models are trained here, which takes minutes where other programs run beside it
pytestmark = pytest.mark.timeout(900)


class Options(pretrain_command.Options):
    """Small networks and steps, so that a test takes seconds."""

    @property
    def built(self):
        return replace(super().built, coarse=(8, 16, 32), fine=(8, 16), patches=56, cubes=4)


def say(text):
    pass


def run(command, options, output, **further):
    with run_job(module="LandmarkPretrain", command="test", output=output, progress="none",
                 device="cpu", **further) as job:
        command.run(job, options, say)
    return read_result(output)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_list(tmp_path_factory.mktemp("data"), 8)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A model of each recipe."""
    folder = tmp_path_factory.mktemp("trained")
    found = {}
    for recipe, steps in (("seed", 50), ("modern", 70)):
        options = Options(data, folder / f"{recipe}-work", recipe, steps=steps,
                                           patch_mm=PATCH_MM, modality="MR")
        found[recipe] = folder / recipe, run(pretrain_command, options, folder / recipe)
    return found


@pytest.mark.parametrize("recipe", ["seed", "modern"])
def test_pretraining_gives_a_model_its_scores_and_pictures(trained, recipe):
    folder, result = trained[recipe]
    for file in ("confusion.png", "gallery.png", result["files"]["curves"]):
        assert min(Image.open(folder / file).size) > 100
    assert result["simulated"] is True and result["model"]["simulated"] is True
    assert sum(result["parts"].values()) == 8 and result["parts"]["test"] >= 1
    assert {"top_1", "top_5", "mre_mm", "sdr_10_mm", "found"} <= set(result["estimates"])
    assert result["estimates"]["top_1"]["value"] > 0.3  # of 7 classes
    bundle = load_model(str(folder / "model"))
    model = model_of(bundle)
    assert model.names == NAMES and model.modality == "MR"
    assert "research software" in bundle.model_card.lower()
    assert "simulated" in bundle.model_card


def test_modern_learns_where_the_landmarks_are(trained):
    estimates = trained["modern"][1]["estimates"]
    assert estimates["sdr_10_mm"]["value"] > 0.5
    assert estimates["found"]["value"] > 0.6


def test_a_training_goes_on_and_gives_the_same(data, trained, tmp_path):
    work = tmp_path / "work"
    first = Options(data, work, "seed", steps=8, patch_mm=PATCH_MM,
                                     modality="MR")
    run(pretrain_command, first, tmp_path / "first")
    whole = Options(data, work, "seed", steps=8, patch_mm=PATCH_MM,
                                     modality="MR")
    again = run(pretrain_command, whole, tmp_path / "again")
    assert again["model"]["sha256"] == read_result(tmp_path / "first")["model"]["sha256"]
    other = Options(data, work, "seed", steps=8, patch_mm=60.0, modality="MR")
    with pytest.raises(BadInput, match="holds a training with other"):
        run(pretrain_command, other, tmp_path / "other")


def test_detect_writes_named_markups_with_confidence_and_errors(trained, tmp_path):
    image, points = toy_image(50)
    sitk.WriteImage(image, str(tmp_path / "ï mage.nrrd"))
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"coordinateSystem": "LPS",
                                 **dict(zip(NAMES, points.tolist(), strict=True))}), "utf-8")
    result = run(detect_command, detect_command.Options(
        tmp_path / "ï mage.nrrd", str(trained["modern"][0] / "model"), truth), tmp_path / "out")
    rows = {row["name"]: row for row in result["landmarks"]}
    read = read_landmarks(tmp_path / "out" / "landmarks.mrk.json")
    assert set(read.names) == set(rows)
    for name, point, confidence in zip(read.names, read.points, read.confidence, strict=True):
        assert np.allclose(point, rows[name]["position_lps_mm"], atol=0.01)
        assert confidence == pytest.approx(rows[name]["confidence"], abs=1e-3)
        assert rows[name]["error_mm"] == pytest.approx(
            np.linalg.norm(point - points[NAMES.index(name)]), abs=0.02)
    assert result["errors"]["n"] == len(rows) and result["errors"]["given"] == len(NAMES)
    assert set(rows) | set(result["not_found"]) == set(NAMES)
    unsure = sum(not row["sure"] for row in rows.values())
    assert bool(unsure) == any("not sure" in text for text in result["warnings"])


def test_a_flipped_and_oblique_volume_gives_the_same_landmarks(trained, tmp_path):
    """The same body on a grid whose axes run the other way."""
    image, _ = toy_image(51)
    flipped = sitk.Flip(image, [True, False, True])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    sitk.WriteImage(flipped, str(tmp_path / "b.nrrd"))
    found = []
    for name in "ab":
        result = run(detect_command, detect_command.Options(
            tmp_path / f"{name}.nrrd", str(trained["modern"][0] / "model")), tmp_path / name)
        found.append({row["name"]: row["position_lps_mm"] for row in result["landmarks"]})
    assert set(found[0]) == set(found[1])
    for name, point in found[0].items():
        assert np.linalg.norm(np.array(point) - found[1][name]) < 2.0


def test_an_image_without_any_landmark_is_refused(trained, tmp_path):
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(
        300, 60, (40, 40, 40)).astype(np.float32))
    noise.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(noise, str(tmp_path / "noise.nrrd"))
    model = str(trained["modern"][0] / "model")
    try:
        result = run(detect_command, detect_command.Options(tmp_path / "noise.nrrd", model),
                     tmp_path / "out")
    except BadInput as error:
        assert "none of the landmarks" in str(error)
    else:  # what it takes for landmarks it must not be sure of
        assert not any(row["sure"] for row in result["landmarks"])


def test_given_landmarks_of_other_names_are_refused(trained, tmp_path):
    image, points = toy_image(52)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    (tmp_path / "t.json").write_text(json.dumps({"coordinateSystem": "LPS",
                                                 "nobody": points[0].tolist()}), "utf-8")
    with pytest.raises(BadInput, match="None of the given landmarks"):
        run(detect_command, detect_command.Options(
            tmp_path / "a.nrrd", str(trained["modern"][0] / "model"), tmp_path / "t.json"),
            tmp_path / "out")


@pytest.mark.parametrize("recipe", ["seed", "modern"])
def test_a_model_that_says_other_than_it_is_is_refused(trained, recipe, tmp_path):
    """Tampered with by somebody who mends the hashes, too."""
    from ReadingRoomLib.bundles import arguments_of, write_bundle

    bundle = load_model(str(trained[recipe][0] / "model"))
    for change in ({"labels": {"0": "none", "1": "one"}},
                   {"shape": bundle.metadata["shape"] | {"error": [0.0] * len(NAMES)}},
                   {"built": {"name": recipe, "nonsense": 1}}):
        kind = type(bundle.network)
        write_bundle(tmp_path / "m", {"_target_": f"{kind.__module__}.{kind.__qualname__}",
                                      **arguments_of(bundle)}, bundle.network.state_dict(),
                     bundle.metadata | change, bundle.model_card, overwrite=True)
        with pytest.raises(ModelUntrusted):
            load_model(str(tmp_path / "m"))


def test_a_changed_byte_is_noticed(trained, tmp_path):
    shutil.copytree(trained["seed"][0] / "model", tmp_path / "m")
    file = tmp_path / "m" / "models" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelUntrusted):
        load_model(str(tmp_path / "m"))


def test_evaluate_measures_by_patient_and_lists_each_landmark(data, trained, tmp_path):
    result = run(evaluate_command, evaluate_command.Options(
        data, tmp_path / "work", str(trained["modern"][0] / "model")), tmp_path / "out")
    assert result["cases"] == 8
    with (tmp_path / "out" / "errors.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["landmark"] for row in rows] == list(NAMES)
    assert all(int(row["given"]) == 8 for row in rows)
    assert result["estimates"]["top_1"]["n"] == 8


def test_evaluate_refuses_a_list_of_other_landmarks(data, trained, tmp_path):
    content = json.loads(data.read_text("utf-8"))
    for number, entry in enumerate(content["training"]):
        _, points = toy_image(number)
        (tmp_path / f"{number}.json").write_text(json.dumps(
            {"coordinateSystem": "LPS", **{f"other {k}": p for k, p in enumerate(
                points.tolist())}}), "utf-8")
        entry["landmarks"] = str(tmp_path / f"{number}.json")
        entry["image"] = str(data.parent / entry["image"])
    (tmp_path / "list.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(BadInput, match="none of the model's landmarks"):
        run(evaluate_command, evaluate_command.Options(
            tmp_path / "list.json", tmp_path / "w", str(trained["seed"][0] / "model")),
            tmp_path / "out")


def test_a_search_goes_on_where_it_was_cut_off(data, tmp_path):
    def options(trials):
        return search_command.Options(data, tmp_path / "work", trials, 6, modality="MR")

    first = run(search_command, options(2), tmp_path / "first")
    assert first["trials"] == 2
    second = run(search_command, options(3), tmp_path / "second")
    rows = []
    for folder in ("first", "second"):
        with (tmp_path / folder / "trials.csv").open(encoding="utf-8") as stream:
            rows.append(list(csv.DictReader(stream)))
    assert rows[1][:2] == rows[0] and len(rows[1]) == 3
    assert {"patch_mm", "depth", "convolutions", "sizes", "dropout", "top_1"} <= set(rows[1][0])
    assert Image.open(tmp_path / "second" / "search.png").size[0] > 500
    assert second["best"]["top_1"] == pytest.approx(max(
        float(row["top_1"]) for row in rows[1] if row["state"] == "complete"), abs=1e-3)
    with pytest.raises(BadInput, match="holds a training with other"):
        run(search_command, search_command.Options(data, tmp_path / "work", 3, 9, modality="MR"),
            tmp_path / "other")


def test_a_network_that_grew_knows_what_the_small_one_knew():
    import torch

    recipe = Recipe("seed", PATCH_MM)
    few = MiniVGG(**recipe.arguments(3)).eval()
    many = widened(few, recipe, 6).eval()
    patches = torch.rand(5, 3, 32, 32)
    assert torch.allclose(many(patches)[:, :4], few(patches), atol=1e-6)


def test_growing_trains_twice(data, tmp_path):
    options = Options(data, tmp_path / "work", "seed", steps=4, grown_from=3,
                                       patch_mm=PATCH_MM, modality="MR")
    result = run(pretrain_command, options, tmp_path / "out")
    assert {"curves patches-3", "curves patches"} <= set(result["files"])


@pytest.mark.parametrize("change, said", [
    ({"landmarks": 40}, "40"),
    ({"grown_from": 6}, "Growing from 6"),
    ({"recipe": "modern", "grown_from": 3}, "recipe seed"),
    ({"landmarks": 2}, "at least 3"),
])
def test_options_that_do_not_go_together_are_refused(data, tmp_path, change, said):
    options = Options(**{"data": data, "work": tmp_path / "w", "recipe": "seed",
                                          "modality": "MR", **change})
    with pytest.raises(BadInput, match=said):
        run(pretrain_command, options, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_case_is_too_few(tmp_path):
    path = write_toy_list(tmp_path, 1)
    with pytest.raises(BadInput, match="1 patient"):
        run(pretrain_command, Options(path, tmp_path / "w", modality="MR"),
            tmp_path / "out")


def test_another_recipe_cannot_be_begun_with(data, trained, tmp_path):
    options = Options(data, tmp_path / "w", "modern", modality="MR", steps=2,
                                       start=str(trained["seed"][0] / "model"))
    with pytest.raises(BadInput, match="recipe seed"):
        run(pretrain_command, options, tmp_path / "out")


def test_training_can_begin_with_a_model(data, trained, tmp_path):
    options = Options(data, tmp_path / "w", "seed", modality="MR", steps=2,
                                       patch_mm=PATCH_MM, start=str(trained["seed"][0] / "model"))
    run(pretrain_command, options, tmp_path / "out")
    card = (tmp_path / "out" / "model" / "docs" / "README.md").read_text("utf-8")
    assert "It began with the model trained" in card


def test_bodies_that_lie_in_any_way_can_be_learned_from(data, tmp_path):
    """A few steps teach nothing; but the turned close look runs in training, measuring, search."""
    options = Options(data, tmp_path / "w", "modern", modality="MR", steps=3, patch_mm=PATCH_MM,
                      rotation=180)
    result = run(pretrain_command, options, tmp_path / "out")
    assert {"top_1", "found"} <= set(result["estimates"])
    model = model_of(load_model(str(tmp_path / "out" / "model")))
    assert model.recipe.posed and model.detector("cpu").posed
    assert not replace(model.recipe, rotation=18.0).posed
    assert not replace(model.recipe, name="seed").posed
    extractor = PatchExtractor(toy_image(9)[0])
    turn = model.turn_in(extractor, np.zeros(3), np.full(3, 60.0))
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_every_command_has_its_help(capsys):
    for command in ("detect", "landmarks", "pretrain", "search", "evaluate", "simulate",
                    "transfer"):
        assert app.run([command, "--help"]) == 0
        assert "--output" in capsys.readouterr().out


def test_a_recipe_trains_the_same_twice(data, tmp_path):
    import torch

    from LandmarkPretrainLib.evaluation import prepare_cases
    from LandmarkPretrainLib.landmark_cases import read_cases

    cases = read_cases(data, "MR")
    recipe = Recipe("modern", PATCH_MM, coarse=(8, 16), fine=(8, 16))
    prepared = prepare_cases(cases.parts["training"], cases.names, recipe.fine_mm, tmp_path / "i")
    states = [train_recipe(recipe, prepared, [], len(NAMES), settings_of("modern", 3, 0),
                           tmp_path / str(turn), "cpu", lambda *a: None).state_dict()
              for turn in range(2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_simulated_trunks_can_be_learned_from(tmp_path):
    from LandmarkPretrainLib.landmark_cases import read_cases

    result = run(simulate_command, simulate_command.Options("trunk", 2, first=4, spacing_mm=7.0),
                 tmp_path / "out")
    assert any("simulated" in text for text in result["warnings"])
    cases = read_cases(tmp_path / "out" / "datalist.json", "CT")
    assert len(cases.names) >= 60 and len(cases.parts["training"]) == 2
    for case in cases.parts["training"]:
        assert case.read().image.GetSpacing()[0] == 7.0  # and no landmark lies outside it
    again = run(simulate_command, simulate_command.Options("trunk", 1, first=5, spacing_mm=7.0),
                tmp_path / "again")
    assert again["patients"] == 1
    assert (tmp_path / "again/patients/0005.mrk.json").read_bytes() == (
        tmp_path / "out/patients/0005.mrk.json").read_bytes()


def test_simulated_arteries_have_aneurysms_of_known_size(tmp_path):
    from LandmarkPretrainLib.lesion_sets import read_lesion_set

    run(simulate_command, simulate_command.Options("mra", 12, spacing_mm=1.6), tmp_path / "out")
    found = read_lesion_set(tmp_path / "out" / "datalist.json", 0)
    lesions = [lesion for case in (*found.training, *found.test) for lesion in case.lesions]
    assert len(lesions) >= 4
    assert all(1.5 < lesion.diameter_mm < 15 for lesion in lesions)
