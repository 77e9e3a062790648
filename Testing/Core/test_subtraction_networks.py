# SPDX-License-Identifier: Apache-2.0
"""Networks as methods of subtraction: what they see, how they are trained, loaded and used."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ReadingRoomLib.bundles import load_bundle, write_bundle
from ReadingRoomLib.errors import BadInput, ModelMissing, ModelUntrusted
from ReadingRoomLib.results import read_result
from TemporalSubtractionLib import learned, starter, training_pairs
from TemporalSubtractionLib.__main__ import app
from TemporalSubtractionLib.bones import bone_mask
from TemporalSubtractionLib.calibration import Calibration
from TemporalSubtractionLib.candidates import find_candidates
from TemporalSubtractionLib.comparison import Compared
from TemporalSubtractionLib.follow_up import simulate_follow_up
from TemporalSubtractionLib.learned import Learned, load_model
from TemporalSubtractionLib.recipes import (
    MODERN,
    RECIPES,
    SEED,
    changes_of,
    channels_of,
    likelihood_loss,
)
from TemporalSubtractionLib.simulated_pairs import CTS
from TemporalSubtractionLib.training_pairs import PATCH, PairPatches, read_pair

from .spine_factory import spine

STEPS = 3
PATIENTS = list(CTS)[:2]  # of different folds


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Folder with trainings on a phantom in the place of two patients."""
    folder = tmp_path_factory.mktemp("trainings")
    file = folder / "data" / CTS[PATIENTS[0]]
    file.parent.mkdir(parents=True)
    sitk.WriteImage(sitk.Cast(spine()[0], sitk.sitkInt16), str(file))
    starter.pairs(folder / "data", folder)
    for seed in starter.SEEDS:
        shutil.copy(*(starter.pair_path(folder, patient, seed) for patient in PATIENTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_pairs, "PATCH", (24, 24, 24))  # quicker than the starter's
        for recipe in RECIPES:
            for fold in (None, 0, 1):
                starter.train(folder, recipe, fold, STEPS, "cpu")
            starter.export(folder, recipe, folder / f"bundle-{recipe}", None, None)
    return folder


@pytest.fixture(scope="module")
def pair(work) -> Compared:
    return read_pair(starter.pairs_of(work, PATIENTS[0])[0])


def method_of(work, recipe: str) -> Learned:
    return Learned.of(load_model(str(work / f"bundle-{recipe}"), recipe), "cpu")


# --- what a network sees and is asked ------------------------------------------------------------

@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_network_does_not_see_the_current_scan(work, pair, recipe):
    other = replace(pair, current=pair.current[::-1].copy())
    torch.testing.assert_close(channels_of(pair, recipe), channels_of(other, recipe),
                               rtol=0, atol=0)
    method = method_of(work, recipe.name)
    np.testing.assert_array_equal(method.raw(pair)[0], method.raw(other)[0])


class NothingChanges(torch.nn.Module):
    """Expects no change, and errors as they usually are."""

    def __init__(self, recipe):
        super().__init__()
        self.recipe = recipe

    def forward(self, channels):
        return torch.zeros(len(channels), self.recipe.out_channels, *channels.shape[2:])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_pair_that_agrees_worse_is_scaled_by_its_own_z(pair, recipe):
    method = Learned(NothingChanges(recipe), recipe, Calibration())
    expected, error, z = method.raw(pair)
    assert (np.abs(z[0][pair.where]) < 2).mean() == pytest.approx(0.9545, abs=0.01)
    worse = replace(pair, current=expected + 1.5 * (pair.current - expected))
    _, larger, same = method.raw(worse)
    np.testing.assert_allclose(larger, 1.5 * error, rtol=0.05)
    np.testing.assert_allclose(same[0], z[0], rtol=0.05, atol=1e-3)
    assert (np.abs(z[0][pair.where]) < 1).mean() == pytest.approx(0.6827, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.floats(-7, 7), st.floats(5, 200), st.tuples(*3 * [st.floats(0.5, 5)]))
def test_an_even_change_is_the_same_at_every_size(change, error, spacing):
    shape = (12, 14, 16)
    where = np.zeros(shape, bool)
    where[2:-1, 3:, 1:-2] = True
    prior = np.full(shape, 300, np.float32)
    even = Compared(prior + np.float32(change * error), prior, prior,
                    np.zeros_like(prior), np.full(shape, error, np.float32), where, spacing)
    found = changes_of(even, MODERN)
    assert found.shape == (1 + len(MODERN.sizes_mm), *shape)
    assert (found[:, ~where] == 0).all()
    np.testing.assert_allclose(found[:, where], change, rtol=1e-3, atol=1e-3)


def test_where_the_scans_usually_differ_a_change_counts_less():
    shape = (24, 24, 24)
    prior, where = np.zeros(shape, np.float32), np.ones(shape, bool)
    error = np.full(shape, 20, np.float32)
    current = prior.copy()
    current[10:14, 10:14, 10:14] = 100
    scans, steps = (current, prior, prior, np.zeros_like(prior)), (1.5,) * 3
    in_marrow = changes_of(Compared(*scans, error, where, steps), MODERN)
    at_edge = error.copy()
    at_edge[10:14, 10:14, 10:14] = 100
    on_surface = changes_of(Compared(*scans, at_edge, where, steps), MODERN)
    assert (on_surface[1:, 12, 12, 12] < 0.5 * in_marrow[1:, 12, 12, 12]).all()


def test_the_loss_is_least_for_the_truth():
    random = torch.Generator().manual_seed(0)
    target = torch.zeros(1, 3, 32, 32, 32)
    target[:, -1] = 1
    target[:, 0] = 2 + 0.5 * torch.randn(32, 32, 32, generator=random)
    target[:, 1] = -1 + 3.0 * torch.randn(32, 32, 32, generator=random)

    def loss(means, errors):
        answer = torch.cat([torch.tensor(means), torch.log(torch.tensor(errors))])
        return float(likelihood_loss(answer.view(1, 4, 1, 1, 1).expand(1, 4, 32, 32, 32), target))

    best = loss((2.0, -1.0), (0.5, 3.0))
    for means, errors in (((2.2, -1.0), (0.5, 3.0)), ((2.0, -1.0), (0.6, 3.0)),
                          ((2.0, -0.2), (0.5, 3.0)), ((2.0, -1.0), (0.5, 2.0))):
        assert loss(means, errors) > best
    target[:, -1, :16] = 0
    target[:, :2, :16] = 1e3  # what does not count has no say
    assert loss((2.0, -1.0), (0.5, 3.0)) == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_patch_is_drawn_from_the_seed_alone(work, recipe):
    paths = [starter.pairs_of(work, patient) for patient in PATIENTS]
    first, again = (PairPatches(paths, recipe, 10, seed=3) for _ in range(2))
    other = PairPatches(paths, recipe, 10, seed=4)
    for index in (0, 7):
        item = first[index]
        assert item["image"].shape == (1, recipe.in_channels, *PATCH)
        assert item["label"].shape == (1, recipe.out_channels // 2 + 1, *PATCH)
        assert item["label"][0, -1].any()
        torch.testing.assert_close(item["image"], again[index]["image"], rtol=0, atol=0)
        assert not torch.equal(item["image"], other[index]["image"])


# --- what it makes of two scans ------------------------------------------------------------------

@pytest.mark.parametrize("recipe", RECIPES)
def test_z_is_standard_normal_in_bone_that_did_not_change(work, pair, recipe):
    z = method_of(work, recipe)(pair).z[pair.where]
    for name, normal in (("within_1", 68.3), ("within_2", 95.4), ("within_3", 99.7)):
        assert starter.shares_within(z)[name] == pytest.approx(normal, abs=1.0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_new_lesion_is_the_first_candidate(work, pair, recipe):
    deep = np.argwhere(pair.where)
    centre = deep[len(deep) // 2]
    grid = np.indices(pair.where.shape).reshape(3, -1).T - centre
    lesion = ((grid * pair.spacing) ** 2).sum(1).reshape(pair.where.shape) < 8**2
    found = method_of(work, recipe)(
        replace(pair, current=pair.current + np.where(lesion, 400, 0).astype(np.float32)))
    for array in (found.expected, found.error, found.z, found.strength):
        assert array.shape == pair.where.shape and np.isfinite(array).all()
    assert (found.z[~pair.where] == 0).all() and (found.error[pair.where] > 0).all()
    first = find_candidates(found.strength, found.z, found.z, pair.spacing)[0][0]
    assert first.kind == "denser" and lesion[first.index]


@pytest.mark.parametrize("recipe", RECIPES)
def test_blocks_of_the_network_leave_no_seams(work, pair, recipe, monkeypatch):
    method = method_of(work, recipe)
    whole = method.raw(pair)[2]
    monkeypatch.setattr(learned, "BLOCK", 24)
    parts = method.raw(pair)[2]
    assert np.abs(whole - parts).mean() < 0.02 * np.abs(whole).mean()


# --- models --------------------------------------------------------------------------------------

def test_what_was_measured_and_shown_stands_in_the_bundle(work):
    bundle = load_model(str(work / "bundle-modern"), "modern")
    Calibration.read(bundle.metadata["calibration"])
    assert bundle.metadata["training_steps"] == STEPS
    assert "Not measured yet" in bundle.model_card
    assert bundle.metadata["simulated"] is True


def test_a_fold_is_calibrated_without_its_patients(work, tmp_path, monkeypatch):
    z = {patient: np.random.default_rng(number).normal(0, 1 + number, 900)
         for number, patient in enumerate(PATIENTS)}
    monkeypatch.setattr(starter, "held_out_z", lambda plan, work: z.items())
    monkeypatch.setattr(starter, "FOLDS", 2)
    starter.export(work, "seed", tmp_path / "bundle", tmp_path / "folds", None)
    for fold, other in ((0, 1), (1, 0)):  # that patient was shown, this one was not
        bundle = load_model(str(tmp_path / "folds" / f"seed-{fold}"), "seed")
        expected = starter.by_patient([z[PATIENTS[other]]]).written()
        assert bundle.metadata["calibration"] == expected


def test_new_scores_come_onto_the_card_and_leave_the_weights(work, tmp_path, monkeypatch):
    folder = tmp_path / "Lib"
    bundle = folder / "Models" / "starter"
    shutil.copytree(work / "bundle-modern", bundle)
    shutil.copy(starter.FOLDER / "starter_card.md", folder)
    (folder / "models.json").write_text(json.dumps({"models": []}))
    monkeypatch.setattr(starter, "FOLDER", folder)
    monkeypatch.setattr(starter, "REGISTRY", folder / "models.json")
    weights = (bundle / "models" / "model.safetensors").read_bytes()
    scores = {"dataset": "twelve cases", "modern": {"lesions": 99}}
    (tmp_path / "detection.json").write_text(json.dumps(scores))
    starter.rescore(tmp_path, "modern")
    [entry] = json.loads((folder / "models.json").read_text())["models"]
    again = load_bundle(bundle, learned.NETWORK_OF.values(), entry["sha256"])
    assert again.metadata["eval_metrics"] == scores
    assert "twelve cases" in again.model_card and "- lesions: 99" in again.model_card
    assert (bundle / "models" / "model.safetensors").read_bytes() == weights



def test_every_patient_is_held_out_once():
    held = [patient for fold in range(starter.FOLDS) for patient in starter.held_out(fold)]
    assert sorted(held) == sorted(CTS)


def test_a_model_of_another_method_is_refused(work):
    with pytest.raises(BadInput, match="trained with the recipe seed, not modern"):
        load_model(str(work / "bundle-seed"), "modern")
    with pytest.raises(ModelMissing, match='no model "nobody"'):
        load_model("nobody", "modern")


def test_a_model_without_its_calibration_is_refused(work, tmp_path):
    bundle = load_model(str(work / "bundle-modern"), "modern")
    for number, calibration in enumerate(([], {"computed": [0, 1]},
                                          {"computed": "no", "normal": []})):
        write_bundle(
            tmp_path / str(number),
            {"_target_": learned.NETWORK_OF["modern"], **starter.PLANS["modern"].arguments},
            bundle.network.state_dict(), bundle.metadata | {"calibration": calibration},
            bundle.model_card)
        with pytest.raises(ModelUntrusted, match="was not made for this module"):
            load_model(str(tmp_path / str(number)), "modern")


def test_a_model_that_was_tampered_with_is_refused(work, tmp_path):
    shutil.copytree(work / "bundle-seed", tmp_path / "bundle")
    card = tmp_path / "bundle" / "docs" / "README.md"
    card.write_text(card.read_text("utf-8") + "more", "utf-8")
    with pytest.raises(ModelUntrusted):
        load_model(str(tmp_path / "bundle"), "seed")


# --- the command ---------------------------------------------------------------------------------

@pytest.mark.parametrize("recipe", [MODERN.name, SEED.name])
def test_the_command_compares_by_a_network(work, tmp_path, recipe):
    prior, labels = spine(bones=3)
    sitk.WriteImage(sitk.Cast(prior, sitk.sitkInt16), str(tmp_path / "prior.nrrd"))
    current = simulate_follow_up(prior, labels, seed=5).current
    sitk.WriteImage(sitk.Cast(current, sitk.sitkInt16), str(tmp_path / "current.nrrd"))
    arguments = ["subtract", str(tmp_path / "prior.nrrd"),
                 str(tmp_path / "current.nrrd"), "--output", str(tmp_path / "out"),
                 "--progress", "none", "--device", "cpu"]
    bundle = work / f"bundle-{recipe}"
    app.run([*arguments, "--method", recipe, "--model", str(bundle)])
    manifest = read_result(tmp_path / "out")
    assert manifest["method"] == recipe
    assert manifest["model"]["recipe"] == recipe and len(manifest["model"]["sha256"]) == 64
    z, bone = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{name}.nrrd")))
               for name in ("z", "bone"))
    assert z.shape == bone.shape and (z[bone == 0] == 0).all() and (z != 0).any()
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["aligned_share"] > 0.3


def test_a_model_for_the_classical_method_is_refused(work, tmp_path, capsys):
    image = sitk.Cast(bone_mask(spine()[0]), sitk.sitkInt16)
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    app.run(["subtract", str(tmp_path / "ct.nrrd"), str(tmp_path / "ct.nrrd"), "--output",
             str(tmp_path / "out"), "--model", str(work / "bundle-seed"), "--progress", "none"])
    assert "uses no model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
