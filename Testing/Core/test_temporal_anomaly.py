# SPDX-License-Identifier: Apache-2.0
"""Unusual bone in one CT stands out; flows are invertible and their densities are densities."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from ReadingRoomLib.bundles import load_bundle, write_bundle
from ReadingRoomLib.models import available_models
from ReadingRoomLib.results import read_result
from TemporalSubtractionLib import anomaly_starter as starter
from TemporalSubtractionLib.__main__ import app
from TemporalSubtractionLib.anomaly import REGISTRY, anomaly_of, load_model
from TemporalSubtractionLib.anomaly_networks import (
    VOI,
    BoneAutoencoder,
    Flow,
    LikelihoodRatio,
    squeeze,
    unsqueeze,
)
from TemporalSubtractionLib.anomaly_scan import VOXEL_MM, Scan, scan_of, seen
from TemporalSubtractionLib.anomaly_scores import SCORES, unusual
from TemporalSubtractionLib.calibration import Calibration
from TemporalSubtractionLib.simulated_pairs import CTS

from .spine_factory import spine


def flow_with_weights(seed: int = 0, **arguments) -> Flow:
    """A small flow that changes what it gets; an untrained one only mixes channels."""
    torch.manual_seed(seed)
    flow = Flow(**arguments).double()
    for weight in flow.parameters():
        weight.data += 0.06 * torch.randn_like(weight)
    return flow


# --- flows ---------------------------------------------------------------------------------------

def test_cubes_become_channels_and_back():
    x = torch.randn(2, 3, 4, 6, 8)
    assert squeeze(x).shape == (2, 24, 2, 3, 4)
    assert (unsqueeze(squeeze(x)) == x).all()
    cube = squeeze(x)[0, :8, 0, 0, 0]  # the voxels of one cube lie together
    assert set(cube.tolist()) == set(x[0, 0, :2, :2, :2].flatten().tolist())


def test_a_flow_can_be_undone():
    flow = flow_with_weights()
    voi = torch.randn(2, 1, VOI, VOI, VOI, dtype=torch.float64)
    latents, _ = flow.encode(voi)
    assert not torch.allclose(torch.cat([z.flatten() for z in latents]), voi.flatten(), atol=0.1)
    torch.testing.assert_close(flow.decode(latents), voi, rtol=1e-7, atol=1e-7)


def test_the_density_of_a_flow_is_that_of_its_jacobian():
    flow = flow_with_weights(steps=2, hidden=(6, 8))
    voi = torch.randn(1, 1, 4, 4, 4, dtype=torch.float64)

    def latent(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([z.flatten() for z in flow.encode(x)[0]])

    jacobian = torch.autograd.functional.jacobian(latent, voi).reshape(64, 64)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(latent(voi)).sum()
    expected = normal + jacobian.slogdet()[1]
    assert flow(voi).sum().item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_flow_learns_what_is_likely():
    torch.manual_seed(0)
    flow = Flow(steps=2, hidden=(8, 8))
    usual = torch.randn(8, 1, VOI, VOI, VOI) * 0.2 + 1
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.03)
    for _ in range(15):
        optimizer.zero_grad()
        starter.flow_loss(flow(usual), usual).backward()
        optimizer.step()
    with torch.inference_mode():
        assert flow(usual).sum() > flow(usual + 1).sum() + 1000


def test_the_ratio_of_two_likelihoods():
    networks = LikelihoodRatio(steps=1, hidden=(4, 4))
    networks.bone, networks.background = (
        flow_with_weights(seed, steps=1, hidden=(4, 4)) for seed in (1, 2))
    voi = torch.randn(2, 1, VOI, VOI, VOI, dtype=torch.float64)
    ratio = networks(voi)
    assert ratio.shape == (2, 4, 4, 4)
    torch.testing.assert_close(ratio, networks.background(voi) - networks.bone(voi))
    networks.background = networks.bone
    assert (networks(voi) == 0).all()


# --- maps ----------------------------------------------------------------------------------------

class Mirror(BoneAutoencoder):
    """Reconstructs whatever it gets."""

    def forward(self, voi):
        return voi, self.encode(voi)


def scan(density: np.ndarray, bone: np.ndarray) -> Scan:
    grid = sitk.GetImageFromArray(bone.astype(np.uint8))
    grid.SetSpacing([VOXEL_MM] * 3)
    return Scan(density.astype(np.float32), bone, grid)


def test_overlapping_vois_are_put_together_without_seams():
    random = np.random.default_rng(0)
    bone = np.zeros((30, 41, 37), bool)
    bone[:9, 5:39, 20:] = True  # up to two of the borders
    density = random.uniform(-100, 1200, bone.shape)
    scores, change = unusual(Mirror(), scan(density, bone))
    assert np.abs(change).max() < 0.1  # HU
    assert np.abs(scores["cosine"]).max() < 1e-3
    assert all(not each[~bone].any() for each in scores.values())
    assert (scores["code"][bone] != 0).any()


def even_bone_with_a_lesion(change: float) -> tuple[Scan, np.ndarray]:
    """A block of spongy bone in soft tissue, with a ball of another density."""
    random = np.random.default_rng(1)
    shape = (56, 56, 56)
    bone = np.zeros(shape, bool)
    bone[8:48, 8:48, 8:48] = True
    shell = bone & ~ndimage.binary_erosion(bone, iterations=2)
    density = np.where(bone, 220.0, 40.0) + 500 * shell
    ball = sum((axis - 28.0) ** 2 for axis in np.indices(shape)) < 5**2
    density[ball] += change
    density = ndimage.gaussian_filter(density, 0.6) + random.normal(0, 15, shape)
    return scan(density, bone), ball


@pytest.mark.parametrize("change", [400, -170])
def test_a_lesion_in_even_bone_is_more_unusual_than_the_bone_was(change):
    network = load_model("anomaly-autoencoder", "autoencoder").network
    (before, _), (after, hu_change) = (unusual(network, even_bone_with_a_lesion(each)[0])
                                       for each in (0, change))
    ball = even_bone_with_a_lesion(0)[1]
    assert np.sign(hu_change[ball].mean()) == np.sign(change)
    for name in SCORES["autoencoder"]:
        assert np.abs(after[name][ball]).mean() > 1.1 * np.abs(before[name][ball]).mean(), name


def test_what_is_foreign_to_bone_is_more_likely_to_the_second_flow():
    source = starter.Source.of(even_bone_with_a_lesion(0)[0])
    torch.manual_seed(0)
    networks = LikelihoodRatio(steps=1, hidden=(8, 16))
    for flow, foreign in ((networks.bone, False), (networks.background, True)):
        vois = starter.BoneVois([source], 60, size=8, seed=0, foreign=foreign)
        optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
        for batch in (vois[number] for number in range(len(vois))):
            optimizer.zero_grad()
            starter.flow_loss(flow(batch["image"]), batch["label"]).backward()
            optimizer.step()
    with torch.inference_mode():
        plain, foreign = (networks(starter.BoneVois([source], 1, 64, seed=1, foreign=each)[0]
                                   ["image"]).sum((1, 2, 3)) for each in (False, True))
    assert (foreign[:, None] > plain).float().mean() > 0.6  # area under the curve


def test_what_is_unusual_becomes_a_candidate():
    case, ball = even_bone_with_a_lesion(300)
    score = np.random.default_rng(0).normal(size=case.bone.shape) * case.bone
    score[ball] -= 4
    found = anomaly_of(score.astype(np.float32), score * 100, case, Calibration())
    assert ball[found.candidates[0].index] and found.candidates[0].kind == "thinner"
    assert not found.z[~case.bone].any()


# --- the command ---------------------------------------------------------------------------------

def look(ct: Path | str, output: Path, *options) -> int:
    return app.run(["anomaly", str(ct), "--output", str(output), "--device", "cpu",
                    "--progress", "none", *map(str, options)])


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    """Turned axes, so that grids cannot be mistaken for each other."""
    image = sitk.PermuteAxes(sitk.Cast(spine(bones=2)[0], sitk.sitkInt16), [1, 2, 0])
    path = tmp_path_factory.mktemp("ct") / "spine.nrrd"
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(("method", "score"), [("autoencoder", "cosine"), ("flow", None)])
def test_the_result_lies_on_the_ct(ct, tmp_path, method, score):
    output = tmp_path / "result"
    options = ["--method", method, *(["--score", score] if score else [])]
    assert look(ct, output, *options) == 0
    manifest = read_result(output)
    assert manifest["files"] == {"z": "z.nrrd", "candidate_labels": "candidates.nrrd",
                                 "bone": "bone.nrrd", "candidates": "candidates.csv"}
    assert manifest["method"] == manifest["model"]["recipe"] == method
    assert manifest["score"] == (score or "ratio")
    source = sitk.ReadImage(str(ct))
    z, labels, bone = (sitk.ReadImage(str(output / f"{name}.nrrd"))
                       for name in ("z", "candidates", "bone"))
    for image in (z, labels, bone):
        assert image.GetSize() == source.GetSize()
        assert image.GetDirection() == source.GetDirection()
    values, inside = sitk.GetArrayFromImage(z), sitk.GetArrayFromImage(bone) > 0
    assert inside.any() and values[inside].any() and not values[~inside].any()
    with (output / "candidates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == manifest["candidates"]
    for row in rows:
        point = [float(row[name]) for name in ("x_mm", "y_mm", "z_mm")]
        near = labels[tuple(slice(max(i - 1, 0), i + 2)
                            for i in labels.TransformPhysicalPointToIndex(point))]
        assert int(row["number"]) in sitk.GetArrayFromImage(near)


def test_the_seed_decides_the_noise_of_the_flows(ct):
    spongy = scan_of(sitk.ReadImage(str(ct))).around_bone()
    network = load_model("anomaly-flow", "flow").network
    first, again, other = (unusual(network, spongy, seed)[0]["ratio"] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def soft_tissue(folder: Path) -> Path:
    body = np.full((20, 40, 40), -1000.0)
    body[2:-2, 5:-5, 5:-5] = 40
    return save(body.astype(np.int16), folder / "soft.nrrd")


def magnetic_resonance(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 900, (20, 40, 40))
    return save(values.astype(np.uint16), folder / "t1.nrrd")


def not_a_number(folder: Path) -> Path:
    return save(np.full((20, 40, 40), np.nan, np.float32), folder / "nan.nrrd")


def thick_slices(folder: Path) -> Path:
    image = sitk.BinShrink(spine(bones=3)[0], [1, 1, 3])
    sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(folder / "thick.nrrd"))
    return folder / "thick.nrrd"


def save(array: np.ndarray, path: Path) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([2.0] * 3)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(("make", "words"), [
    (soft_tissue, "no bone"), (magnetic_resonance, "Hounsfield"), (not_a_number, "nan.nrrd"),
    (thick_slices, "7.5 mm thick"), (lambda folder: folder / "nowhere.nrrd", "cannot be found"),
])
def test_what_is_no_ct_of_bone_is_refused(tmp_path, capsys, make, words):
    assert look(make(tmp_path), tmp_path / "result") == 10
    assert words in capsys.readouterr().err
    assert not (tmp_path / "result").exists()


def test_a_score_of_the_other_method_is_refused(ct, tmp_path, capsys):
    assert look(ct, tmp_path / "result", "--score", "ratio") == 10
    assert "choose code or error or cosine" in capsys.readouterr().err


# --- models --------------------------------------------------------------------------------------

def test_both_methods_have_a_model_that_is_small():
    models = {model.name: model for model in available_models(REGISTRY)}
    for method in SCORES:
        model = models[f"anomaly-{method}"]
        assert model.recipe == method and model.built_in and model.size < 3e6
        bundle = load_bundle(model.folder, starter_targets(), model.sha256)
        assert set(bundle.metadata["patients"]) <= set(CTS)


def starter_targets() -> list[str]:
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in (BoneAutoencoder, LikelihoodRatio)]


@pytest.fixture
def own_model(tmp_path) -> Path:
    [model] = [m for m in available_models(REGISTRY) if m.name == "anomaly-flow"]
    return Path(shutil.copytree(model.folder, tmp_path / "model"))


def test_a_model_that_was_altered_is_refused(ct, own_model, tmp_path):
    path = own_model / "models" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert look(ct, tmp_path / "result", "--method", "flow", "--model", own_model) == 12


def test_a_model_whose_scores_are_not_calibrated_is_refused(ct, own_model, tmp_path):
    bundle = load_bundle(own_model, starter_targets())
    for number, curves in enumerate(({}, {"ratio": {"computed": "no"}})):
        odd = tmp_path / str(number)
        write_bundle(odd, {"_target_": starter_targets()[1]}, bundle.network.state_dict(),
                     bundle.metadata | {"calibrations": curves}, "A card.")
        assert look(ct, tmp_path / "result", "--method", "flow", "--model", odd) == 12


def test_a_model_that_is_missing_or_of_the_other_method_is_said(ct, tmp_path, capsys):
    assert look(ct, tmp_path / "result", "--model", "no-such-model") == 11
    assert look(ct, tmp_path / "result", "--model", "anomaly-flow") == 10
    assert "was trained with the recipe flow" in capsys.readouterr().err


# --- the recipe ----------------------------------------------------------------------------------

def test_vois_are_drawn_from_seed_and_number_alone():
    random = np.random.default_rng(0)
    bone = np.zeros((20, 30, 40), bool)
    bone[8:12, 10:20, 5:35] = True
    density = np.where(bone, 700, random.normal(40, 10, bone.shape))
    source = starter.Source.of(scan(density, bone))
    vois = starter.BoneVois([source], 5, size=6, seed=3)
    first = vois[2]["image"]
    assert first.shape == (6, 1, VOI, VOI, VOI)
    assert (first == vois[2]["image"]).all() and (first != vois[3]["image"]).any()
    assert (first[:, 0, 7:9, 7:9, 7:9].amax((1, 2, 3)) > seen(np.array(400.0))).all()  # bone


def test_what_is_foreign_to_bone_fills_a_ball():
    bone = np.zeros((40, 40, 40), bool)
    bone[4:36, 4:36, 4:30] = True
    source = starter.Source.of(scan(np.where(bone, 700.0, 40.0), bone))
    plain, foreign = (starter.BoneVois([source], 1, size=40, seed=3, foreign=each)[0]["image"]
                      for each in (False, True))
    limit = float(seen(np.array(350.0)))
    soft = (foreign < limit).float().mean() - (plain < limit).float().mean()
    largest = 4 / 3 * np.pi * starter.FOREIGN_VOXELS[1] ** 3 / VOI**3
    assert 0.01 < soft < largest


def test_the_recipe_makes_bundles_of_both_methods(ct, tmp_path, monkeypatch):
    names = list(CTS)[:2]
    for name in names:
        path = tmp_path / "data" / CTS[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.ReadImage(str(ct)), str(path))
    monkeypatch.setattr(starter, "CTS", dict.fromkeys(names))
    monkeypatch.setattr(starter, "HELD_OUT", tuple((name,) for name in names))
    monkeypatch.setattr(starter, "FOLDER", tmp_path)
    monkeypatch.setattr(starter, "REGISTRY", tmp_path / "models.json")
    (tmp_path / "models.json").write_text('{"models": []}', "utf-8")
    shutil.copy(REGISTRY.parent / "anomaly_card.md", tmp_path)
    for fold in (0, 1, None):
        starter.train(tmp_path / "data", tmp_path / "work", fold, steps=2, device="cpu")
    (tmp_path / "anomaly.json").write_text(
        json.dumps({"dataset": "two CTs", "ratio": {"sensitivity_at_1": "0.1"}}), "utf-8")
    starter.export(tmp_path / "data", tmp_path / "work", tmp_path / "folds", tmp_path)
    assert {m.name for m in available_models(tmp_path / "models.json")} >= {
        "anomaly-autoencoder", "anomaly-flow"}
    for fold, shown in enumerate(reversed(names)):
        bundle = load_model(str(tmp_path / "folds" / f"flow-{fold}"), "flow")
        assert bundle.metadata["patients"] == [shown]
    whole = load_model(str(tmp_path / "Models" / "anomaly-flow"), "flow")
    assert "sensitivity at 1: 0.1" in whole.model_card
    assert whole.metadata["training_steps"] == {"bone": 2, "background": 2}
