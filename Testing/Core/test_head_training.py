# SPDX-License-Identifier: Apache-2.0
"""How head models are made: what slices are turned into, what networks are trained by, and all of
it from patients to a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from HeadCTTriageLib import starter
from HeadCTTriageLib.augmentation import VARIANTS, Ranges, published_variant, vary
from HeadCTTriageLib.engines import load_model
from HeadCTTriageLib.evaluation import share, share_of_patients
from HeadCTTriageLib.image_splits import groups_of_images, measure_images
from HeadCTTriageLib.losses import judge_loss, kinds_of, map_loss, tag_loss
from HeadCTTriageLib.networks import AlexNet, SliceBackbone
from HeadCTTriageLib.training_slices import (
    BackboneSlices,
    PatientSlices,
    SlicePictures,
    make_patient,
    pictures_of,
    read_patient,
    save_patient,
)
from HeadCTTriageLib.triage import Tag
from ReadingRoomLib.phantoms.head_findings import KINDS

from .head_factory import make_template

STILL = Ranges(degrees=0, scale=(1, 1), shift=0, blur=(0, 0), sharpen=0, noise=(0, 0.01),
               gain=(1, 1), offset=0, picture_share=0)


def patient_with_spot(number, side=64, slices=6):
    """A grey head whose spot is the brighter the more urgent its tag is."""
    random = np.random.default_rng(number)
    tag = Tag(int(random.integers(4)))
    density = np.full((slices, side, side), 30.0) + random.normal(0, 3, (slices, side, side))
    truth = np.zeros((slices, side, side), np.uint8)
    if tag:
        y, x = random.integers(8, side - 20, 2)
        truth[1:4, y:y + 12, x:x + 12] = 3
        density[truth > 0] = 30 + 15 * tag
    density = density.astype(np.int16)
    return PatientSlices(density[::2], density, truth, tag, float(random.uniform(-9, 9)),
                         ("intraparenchymal",) if tag else (), (3.0,) if tag else ())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "patients").mkdir()
    for number in range(300):
        save_patient(patient_with_spot(number), folder / "patients" / f"{number:05d}.npz")
    return folder


# --- what slices are turned into -----------------------------------------------------------------


def test_there_are_seventeen_images_of_a_slice_and_all_differ():
    picture = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.avg_pool2d(picture, 5, 1, 2)
    made = [published_variant(picture, number, 1) for number in range(17)]
    assert len(VARIANTS) == 17 and (made[0] == picture).all()
    for first in range(17):
        assert 0 <= made[first].min() and made[first].max() <= 1
        assert all((made[first] - made[other]).abs().mean() > 1e-3 for other in range(first))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_findings_stay_where_the_truth_says(seed):
    density = torch.full((2, 96, 96), 30.0)
    truth = torch.zeros((2, 96, 96), dtype=torch.uint8)
    truth[:, 30:52, 36:58] = 2
    density[truth > 0] = 70.0
    made, there, _ = vary(density, truth, np.random.default_rng(seed))
    there = there.bool()
    assert made.shape == density.shape and there.any()
    inner = torch.nn.functional.max_pool2d((~there).float()[:, None], 7, 1, 3)[:, 0] == 0
    far = torch.nn.functional.max_pool2d(there.float()[:, None], 7, 1, 3)[:, 0] == 0
    tissue = far & (made > 0)
    assert made[inner].mean() > made[tissue].mean() + 8


def test_the_side_of_a_finding_is_known():
    density, truth = torch.zeros(1, 64, 64), torch.zeros((1, 64, 64), dtype=torch.uint8)
    truth[0, 20:40, 45:60] = 1
    for seed in range(12):
        _, there, flipped = vary(density, truth, np.random.default_rng(seed), STILL)
        assert there[0, 30, 52 if not flipped else 11] == 1
        assert there[0, 30, 11 if not flipped else 52] == 0


def test_the_same_seed_gives_the_same_slices(work):
    paths = starter.patients_of(work, "train")
    first, second = (BackboneSlices(paths, 4, 9)[2] for _ in range(2))
    other = BackboneSlices(paths, 4, 9)[3]
    assert (first["image"] == second["image"]).all() and (first["label"] == second["label"]).all()
    assert (first["image"] != other["image"]).any()


def test_a_patient_survives_being_saved(tmp_path):
    patient = make_patient(make_template(), (3, 1))
    save_patient(patient, tmp_path / "00000.npz")
    again = read_patient(tmp_path / "00000.npz")
    assert (again.several == patient.several).all() and again.several.shape == (24, 224, 224)
    assert (again.truth == patient.truth).all() and again.published.shape == (8, 256, 256)
    assert (again.tag, again.kinds, again.midline_shift_mm) == (
        patient.tag, patient.kinds, patient.midline_shift_mm)
    assert [path.name for path in tmp_path.iterdir()] == ["00000.npz"]


def test_pictures_have_the_tag_of_their_patient(work):
    pictures, tags = pictures_of(starter.patients_of(work, "train")[:10])
    each = pictures.shape[1] * 17
    data = SlicePictures(pictures, tags, np.arange(10 * each), 5, 16, 0)
    item = data[3]
    assert item["image"].shape == (16, 1, 64, 64) and len(item["label"]) == 16
    only_fourth = SlicePictures(pictures, tags, np.arange(3 * each, 4 * each), 5, 8, 0)[0]
    assert (only_fourth["label"] == tags[3]).all()
    plain = torch.from_numpy(pictures[3, 1])[None, None] / 255
    assert torch.allclose(data.image(3 * each + 17), plain)


# --- groups --------------------------------------------------------------------------------------


def test_no_patient_is_in_two_groups(work):
    groups = [set(starter.patients_of(work, group)) for group in starter.GROUPS]
    assert [len(group) for group in groups] == [180, 60, 60]
    assert len(set.union(*groups)) == 300


def test_images_of_a_patient_are_in_all_groups_where_images_are_parted():
    images = np.arange(40 * 8 * 17)
    groups = groups_of_images(images, 7)
    assert (groups == "train").mean() == pytest.approx(0.8, abs=0.02)
    assert {"train", "validate", "test"} == set(groups[:8 * 17])  # of one patient
    assert (groups_of_images(images[500:600], 7) == groups[500:600]).all()


def test_the_interval_of_single_images_counts_patients():
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 50)
    right = np.repeat(random.random(20) < 0.6, 50)  # all images of a patient alike
    found = share_of_patients(right, patients)
    low, high = (float(end.strip("()")) for end in found.split()[1::2])
    alone = share(right[::50])
    assert low < right.mean() < high and high - low > 0.3
    assert low == pytest.approx(float(alone.split()[1].strip("(")), abs=0.08)


def test_images_that_were_learned_by_heart_are_told_by_the_split():
    """What knows patients by heart is right where images are parted, and nowhere else."""
    brightness = np.arange(6) * 40  # tells a patient, whatever the variant
    pictures = np.ones((6, 3, 16, 16), np.uint8) * brightness[:, None, None, None].astype(np.uint8)
    tags = np.array([2, 0, 1, 3, 0, 2])

    class ByHeart(torch.nn.Module):
        def forward(self, images):
            shown = 255 * images.flatten(1).median(1).values
            nearest = (shown[:, None] - torch.from_numpy(brightness)).abs().argmin(1)
            return torch.nn.functional.one_hot(torch.from_numpy(tags)[nearest], 4).float()

    leaking = measure_images(ByHeart(), pictures, tags, "image", 7)
    honest = measure_images(ByHeart(), pictures + np.uint8(9), np.roll(tags, 1), "patient", 7)
    assert all(value.endswith(", leaks") for value in leaking.values())
    assert all(value.endswith("does not leak") for value in honest.values())
    share_of = [float(next(iter(found.values())).split()[0]) for found in (leaking, honest)]
    assert share_of[0] == 1 and share_of[1] < 0.6


# --- losses --------------------------------------------------------------------------------------


def test_the_right_map_has_the_least_loss():
    truth = torch.zeros((1, 32, 32), dtype=torch.uint8)
    truth[0, 8:16, 8:16] = 4
    right = torch.where(kinds_of(truth) > 0, 8.0, -8.0)
    empty, elsewhere = torch.full_like(right, -8.0), right.roll(4, -1)
    losses = [float(map_loss((logits, None), truth)) for logits in (right, empty, elsewhere)]
    assert losses[0] < 0.05 < losses[1] < losses[2]


def test_a_pixel_of_half_the_size_has_every_kind_that_lies_in_it():
    truth = torch.zeros((1, 4, 4), dtype=torch.uint8)
    truth[0, 0, 1], truth[0, 1, 0] = 1, 8
    planes = kinds_of(truth)
    assert planes.shape == (1, len(KINDS), 2, 2)
    assert planes[0, 0, 0, 0] == planes[0, 7, 0, 0] == 1 and planes.sum() == 2


def test_the_further_the_tag_the_larger_the_loss():
    wanted = torch.zeros(1, 2 + 2 * 8)
    wanted[0, 0] = 3  # black

    def loss(yellow, red, black):
        tags = torch.tensor([[yellow, red, black]])
        return float(judge_loss((tags, torch.full((1, 2, 8), -9.0), None, torch.zeros(1)), wanted))

    steps = [loss(6.0, 6.0, 6.0), loss(6.0, 6.0, -6.0), loss(6.0, -6.0, -6.0),
             loss(-6.0, -6.0, -6.0)]
    assert steps == sorted(steps) and steps[0] < 0.05


def test_the_shift_counts_by_its_size():
    wanted = torch.zeros(1, 2 + 8)

    def loss(shift):
        return float(judge_loss((torch.full((1, 3), -9.0), torch.full((1, 1, 8), -9.0), None,
                                 torch.tensor([shift])), wanted))

    assert loss(0.0) < loss(0.5) < loss(-1.5)


def test_a_network_too_narrow_for_the_processor_is_refused():
    with pytest.raises(ValueError, match="widths of 4 channels"):
        SliceBackbone(widths=(4, 8, 8, 8))


@pytest.mark.parametrize("inputs, outputs", [(8, 8), (16, 32), (32, 64), (64, 128)])
def test_a_strided_convolution_has_the_gradient_that_it_should(inputs, outputs):
    """As in `Residual`; with four channels oneDNN's is wrong where there is only AVX2."""
    x = torch.randn(4, inputs, 32, 32, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.Conv2d(inputs, outputs, 1, 2, bias=False).to(memory_format=torch.channels_last)
    found = layer(x.to(memory_format=torch.channels_last))
    found.square().sum().backward()
    right = 2 * torch.einsum("nihw,nohw->oi", x[:, :, ::2, ::2], found.detach())
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0], right, rtol=1e-3, atol=1e-2)


# --- all of it -----------------------------------------------------------------------------------


def test_the_backbone_learns_to_see_a_spot(work):
    torch.manual_seed(0)
    backbone = SliceBackbone(widths=(8, 12, 16, 16))
    data = BackboneSlices(starter.patients_of(work, "train"), 60, 0, slices=4)
    optimizer = torch.optim.AdamW(backbone.parameters(), 5e-3)
    losses = []
    for step in range(60):
        item = data[step]
        loss = map_loss(backbone(item["image"]), item["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])


@pytest.mark.parametrize("recipe, split", [("modern", "patient"), ("seed", "image")])
def test_from_patients_to_a_model(recipe, split, work, tmp_path, monkeypatch):
    small = {name: starter.replace(value, steps=6, warmup_steps=2, workers=0)
             for name, value in starter.SETTINGS.items()}
    monkeypatch.setattr(starter, "SETTINGS", small)
    plans = {**starter.PLANS, "modern": starter.replace(
        starter.PLANS["modern"], arguments={"widths": [8, 8, 8, 8], "hidden": 8})}
    monkeypatch.setattr(starter, "PLANS", plans)
    training = tmp_path / "work"
    training.mkdir()
    (training / "patients").symlink_to(work / "patients")
    starter.train(training, recipe, split)
    starter.export(training, recipe, split, tmp_path / "model")
    bundle = load_model(str(tmp_path / "model"))
    assert bundle.metadata["recipe"] == recipe and bundle.metadata["simulated"]
    measured = bundle.metadata["eval_metrics"]
    assert measured["heads"] == 60 and "by patient" in measured["dataset"]
    assert "four class accuracy" in bundle.model_card
    history = next(training.rglob("history.jsonl")).read_text("utf-8").splitlines()
    assert len(history) == 6 and json.loads(history[-1])["step"] == 6


def test_alexnet_begins_with_what_saw_photographs(tmp_path):
    network = AlexNet()
    shapes = [(11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256),
              (3, 3, 256, 256)]
    random = np.random.default_rng(0)
    arrays = {}
    for number, shape in enumerate(shapes):
        arrays[f"AlexNet_0__Conv_{number}__kernel"] = random.normal(size=shape).astype(np.float32)
        arrays[f"AlexNet_0__Conv_{number}__bias"] = random.normal(size=shape[3]).astype(np.float32)
    np.savez(tmp_path / "weights.npz", **arrays)
    starter.start_from(network, tmp_path / "weights.npz")
    kernel = arrays["AlexNet_0__Conv_0__kernel"]
    assert network.features[0].weight[5, 0, 2, 3].item() == pytest.approx(
        kernel[2, 3, :, 5].sum(), rel=1e-5)
    assert network.features[3].weight[7, 11, 1, 4].item() == pytest.approx(
        arrays["AlexNet_0__Conv_1__kernel"][1, 4, 11, 7], rel=1e-5)


def test_the_tag_of_a_slice_is_learned_by_cross_entropy():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    assert float(tag_loss(logits, torch.tensor([2]))) == pytest.approx(np.log(4), rel=1e-4)


def test_real_pictures_are_measured_by_their_labels(tmp_path):
    from HeadCTTriageLib.pictures import measure_pictures

    (tmp_path / "heads").mkdir()
    rows = ["id, hemorrhage"]
    grid = np.hypot(*(np.mgrid[:120, :120] / 120 - 0.5))
    for number in range(12):
        bleeds = number % 2
        picture = np.where(grid < 0.35, 90, 255) * (grid < 0.4)
        if bleeds:
            picture[50:70, 50:70] = 200
        sitk.WriteImage(sitk.GetImageFromArray(picture.astype(np.uint8)),
                        str(tmp_path / "heads" / f"{number:03d}.png"))
        rows.append(f"{number},{bleeds}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", "utf-8")

    def sees_bright(inputs):  # urgent where the middle is bright
        bright = float(inputs[0, 0, 108:148, 108:148].mean())
        return [np.array([[0.0, 0.0, 20 * (bright - 0.5), 0.0]])]

    measured = measure_pictures("seed", sees_bright, tmp_path)
    assert measured["real_pictures"] == 12 and measured["real_pictures_with_bleeding"] == 6
    assert measured["auc_of_bleeding_in_real_pictures"].startswith("1.000")
