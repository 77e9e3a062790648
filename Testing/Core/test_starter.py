# SPDX-License-Identifier: Apache-2.0
"""The starter models can be made again: trained, exported, found and small enough."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from MuscleSegLib import starter
from MuscleSegLib.confidence import FEATURES, KEY, Calibration, Tables
from MuscleSegLib.segmentation import NETWORKS, load_model
from ReadingRoomLib.bundles import load_bundle
from ReadingRoomLib.errors import ModelUntrusted
from ReadingRoomLib.montecarlo import DROPOUT_LAYERS
from ReadingRoomLib.phantoms.region_map import RealScan, RegionMap, Tissue

MEBIBYTE = 1024**2


def anatomy() -> RegionMap:
    regions = np.zeros((20, 30, 40), np.uint8)
    regions[:, 4:26, 5:35] = 1
    tissue, target = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    tissue[1], target[1] = Tissue.MUSCLE, 4
    return RegionMap(regions, (3.0, 4.0, 4.0), tissue, target)


def scan() -> RealScan:
    return RealScan(np.zeros((20, 30, 40), np.int16), (3.0, 4.0, 4.0), np.zeros(20, np.uint8))


@pytest.fixture
def small(monkeypatch):
    """Plans with the real networks, of two steps on small slabs of an invented anatomy."""
    plans = {
        name: replace(
            plan,
            slabs=replace(plan.slabs, shape=(5, 32, 48), spacing=(3.0, 4.0, 4.0)),
            settings=replace(plan.settings, steps=2, batch_size=1, workers=0))
        for name, plan in starter.PLANS.items()
    }
    monkeypatch.setattr(starter, "PLANS", plans)
    asked = []

    def read_bodies(data, without=None):
        asked.append(without)
        return [(anatomy(), 0.8), (scan(), 0.2)]

    monkeypatch.setattr(starter, "read_bodies", read_bodies)
    return asked


def call(*arguments: object) -> None:
    if arguments[0] == "train":
        arguments = (*arguments, "--workers", 0, "--device", "cpu")
    result = CliRunner().invoke(starter.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("recipe", ["modern", "seed"])
def test_a_model_is_trained_exported_and_loaded(small, tmp_path, recipe):
    work, output = tmp_path / "work", tmp_path / "bundle"
    call("train", "--data", tmp_path, "--work", work, "--recipe", recipe, "--without", "002")
    assert small == ["002"]
    listed = (starter.FOLDER / "models.json").read_bytes()
    call("export", "--work", work, "--recipe", recipe, "--output", output)
    assert (starter.FOLDER / "models.json").read_bytes() == listed
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    assert size < 10 * MEBIBYTE

    bundle = load_model(str(output), recipe)
    plan = starter.PLANS[recipe]
    assert isinstance(bundle.network, plan.network)
    assert bundle.metadata["training_steps"] == 2 and bundle.metadata["simulated"] is True
    assert bundle.metadata["name"] == plan.bundle
    # pixels of 4 mm of bodies drawn at 0.8 to 1.25 times their size
    assert bundle.metadata.get("pixel_mm") == ([3.2, 5.0] if recipe == "seed" else None)
    assert plan.how_it_works[:40] in bundle.model_card and "{" not in bundle.model_card
    trained = torch.load(work / "checkpoint.pt", weights_only=True)["average"]
    for name, tensor in bundle.network.state_dict().items():
        step = trained[name].float().abs().max() / 100  # int8 rounds to 1/254
        assert (tensor - trained[name]).abs().max() <= step, name


def test_a_fold_is_stored_in_half_the_room(small, tmp_path):
    call("train", "--data", tmp_path, "--work", tmp_path / "work")
    sizes = []
    for stored in ("float16", "int8"):
        call("export", "--work", tmp_path / "work", "--output", tmp_path / stored,
             "--stored", stored)
        load_model(str(tmp_path / stored), "modern")
        sizes.append((tmp_path / stored / "models" / "model.safetensors").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


def test_equal_trainings_give_equal_bundles_and_seeds_differ(small, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        call("train", "--data", tmp_path, "--work", tmp_path / name, "--seed", seed)
        call("export", "--work", tmp_path / name, "--output", tmp_path / f"{name}-bundle")
    weights = [(tmp_path / f"{name}-bundle" / "models" / "model.safetensors").read_bytes()
               for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_a_training_begins_with_the_weights_of_a_bundle(small, tmp_path):
    call("train", "--data", tmp_path, "--work", tmp_path / "first", "--steps", 3)
    call("export", "--work", tmp_path / "first", "--output", tmp_path / "before")
    call("train", "--data", tmp_path, "--work", tmp_path / "second", "--steps", 1,
         "--start", tmp_path / "before")
    call("export", "--work", tmp_path / "second", "--output", tmp_path / "after")
    before, after = (load_model(str(tmp_path / name), "modern") for name in ("before", "after"))
    assert after.metadata["training_steps"] == 4
    assert after.metadata["started_from"]["sha256"] == before.sha256
    assert before.sha256[:12] in after.model_card
    # one step of warm-up moves a weight by a hundredth of the learning rate
    for name, weights in before.network.named_parameters():
        assert (after.network.state_dict()[name] - weights).abs().max() < 2e-3, name


@pytest.mark.parametrize("recipe", ["modern", "seed"])
def test_larger_pixels_show_as_much_of_the_body(small, recipe, tmp_path):
    plan = starter.PLANS[recipe]
    plan = replace(plan, slabs=replace(plan.slabs, shape=(5, 64, 96)))
    starter.PLANS[recipe] = plan
    larger = plan.at_larger_pixels(2)
    assert larger.slabs.shape == (5, 32, 48) and larger.slabs.spacing == (3.0, 8.0, 8.0)
    assert plan.at_larger_pixels(1) == plan
    for name, arguments in (("large", ["--larger-pixels", 2]), ("own", [])):
        call("train", "--data", tmp_path, "--work", tmp_path / name, "--recipe", recipe, *arguments)
    losses = {(tmp_path / name / "history.jsonl").read_bytes() for name in ("large", "own")}
    assert len(losses) == 2


@pytest.mark.parametrize("recipe", ["modern", "seed"])
def test_a_training_may_drop_less_than_the_network_that_it_makes(small, recipe, tmp_path):
    def probabilities(network):
        return {layer.p for layer in network.modules() if isinstance(layer, DROPOUT_LAYERS)}

    for name, arguments in (("less", ["--dropout", 0.1]), ("own", [])):
        call("train", "--data", tmp_path, "--work", tmp_path / name, "--recipe", recipe, *arguments)
        call("export", "--work", tmp_path / name, "--recipe", recipe, "--output",
             tmp_path / f"{name}-bundle")
    less, own = (load_model(str(tmp_path / f"{name}-bundle"), recipe).network
                 for name in ("less", "own"))
    assert probabilities(less) == probabilities(own) == {0.5 if recipe == "seed" else 0.2}
    assert not all(torch.equal(a, b) for a, b in
                   zip(less.parameters(), own.parameters(), strict=True))


def test_a_bundle_of_another_network_is_no_beginning(small, tmp_path):
    call("train", "--data", tmp_path, "--work", tmp_path / "seed", "--recipe", "seed")
    call("export", "--work", tmp_path / "seed", "--recipe", "seed", "--output", tmp_path / "b")
    with pytest.raises(ModelUntrusted):
        call("train", "--data", tmp_path, "--work", tmp_path / "w", "--start", tmp_path / "b")


def test_a_bundle_of_the_module_is_listed(small, tmp_path, monkeypatch):
    monkeypatch.setattr(starter, "FOLDER", tmp_path / "Lib")
    (tmp_path / "Lib").mkdir()
    registry = tmp_path / "Lib" / "models.json"
    other = {"name": "another", "path": "Models/another"}
    registry.write_text(json.dumps({"models": [other, {"name": "starter", "sha256": "old"}]}))
    card = starter.Path(starter.__file__).parent / "starter_card.md"
    (tmp_path / "Lib" / "starter_card.md").write_bytes(card.read_bytes())
    call("train", "--data", tmp_path, "--work", tmp_path / "work")
    call("export", "--work", tmp_path / "work")
    listed = json.loads(registry.read_text())["models"]
    assert listed[0] == other and [entry["name"] for entry in listed] == ["another", "starter"]
    bundle = load_bundle(tmp_path / "Lib" / listed[1]["path"], NETWORKS, listed[1]["sha256"])
    assert bundle.metadata["recipe"] == listed[1]["recipe"] == "modern"

    weights = (bundle.folder / "models" / "model.safetensors").read_bytes()
    (tmp_path / "held-out.json").write_text(json.dumps({
        "dataset": "three people", "samples": 10,
        "structures": {"femur": {"dice": 0.812, "asd_mm": 1.234}}}))
    call("rescore", "--scores", tmp_path)
    [entry] = [e for e in json.loads(registry.read_text())["models"] if e["name"] == "starter"]
    again = load_bundle(bundle.folder, NETWORKS, entry["sha256"])
    assert (again.folder / "models" / "model.safetensors").read_bytes() == weights
    assert "| femur | 0.81 | 1.23 |" in again.model_card
    scores = ("eval_metrics", "monai_version", "pytorch_version", "numpy_version")
    assert ({key: value for key, value in again.metadata.items() if key not in scores}
            == {key: value for key, value in bundle.metadata.items() if key not in scores})

    written = Calibration(
        *[Tables(value, *[(np.zeros(1),) * len(FEATURES)] * 2) for value in (0.95, 0.9)],
        0.9, 0.8, "variance", 4, {"femur": 100.0}, 8, 200, True).written()
    (tmp_path / "calibration.json").write_text(json.dumps(written))
    call("calibrate", "--calibration", tmp_path / "calibration.json")
    call("rescore", "--scores", tmp_path)  # which keeps it
    [entry] = [e for e in json.loads(registry.read_text())["models"] if e["name"] == "starter"]
    calibrated = load_bundle(bundle.folder, NETWORKS, entry["sha256"])
    assert (calibrated.folder / "models" / "model.safetensors").read_bytes() == weights
    assert calibrated.metadata[KEY] == written
    assert "8 simulated patients" in " ".join(calibrated.model_card.split())
    assert "| femur | 0.81 | 1.23 |" in calibrated.model_card


def test_scores_are_printed_on_the_card_with_their_data(small, tmp_path):
    scores = tmp_path / "scores"
    scores.mkdir()
    (scores / "held-out.json").write_text(json.dumps({
        "dataset": "three people", "samples": 10, "mean_dice": "0.8 (0.7 to 0.9)",
        "structures": {"gluteus_maximus": {"dice": 0.812, "asd_mm": 1.234}}}))
    call("train", "--data", tmp_path, "--work", tmp_path / "work")
    call("export", "--work", tmp_path / "work", "--output", tmp_path / "b", "--scores", scores)
    card = (tmp_path / "b" / "docs" / "README.md").read_text("utf-8")
    assert "three people" in card and "0.8 (0.7 to 0.9)" in card
    assert "| gluteus maximus | 0.81 | 1.23 |" in card


def test_a_model_that_train_made_is_included(small, tmp_path, monkeypatch):
    """Under another name, with other words on what it learned from, and the same weights."""
    call("train", "--data", tmp_path, "--work", tmp_path / "work")
    call("export", "--work", tmp_path / "work", "--output", tmp_path / "made")
    made = load_model(str(tmp_path / "made"), "modern")
    module = tmp_path / "module"
    module.mkdir()
    (module / "models.json").write_text('{"models": []}')
    monkeypatch.setattr(starter, "FOLDER", module)
    call("include", "--model", tmp_path / "made", "--name", "starter-other",
         "--trained-on", "capsules of nobody")
    [listed] = json.loads((module / "models.json").read_text("utf-8"))["models"]
    assert (listed["name"], listed["trained_on"]) == ("starter-other", "capsules of nobody")
    found = load_model(str(module / "Models" / "starter-other"), "modern")
    assert found.model_card.startswith("# MuscleSeg starter-other\n")
    assert found.metadata["training_steps"] == made.metadata["training_steps"]
    for name, weights in made.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], weights), name
