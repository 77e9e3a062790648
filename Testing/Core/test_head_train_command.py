# SPDX-License-Identifier: Apache-2.0
"""Training on heads of one's own: from a list to a model that judges, by command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from HeadCTTriageLib import answers, certainty, engines, listed_heads, own_training
from HeadCTTriageLib.__main__ import app
from HeadCTTriageLib.listed_heads import SliceStore, parts_of
from HeadCTTriageLib.own_training import wanted_of
from ReadingRoomLib import live_training, models
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.learning_curves import read_history, table_of

from .head_factory import toy_head, write_toy_registry

TAGS = ("green", "yellow", "red", "black")
PATIENTS = 16


def write_heads(folder, patients=PATIENTS):
    """Coarse heads whose brain is the denser the more urgent they are; returns their list."""
    head = toy_head(spacing=(6.0, 6.0, 13.0))
    density = sitk.GetArrayFromImage(head)
    entries = []
    for patient in range(patients):
        tag = patient % 4
        changed = np.where((density > 20) & (density < 60), density + 12 * tag, density)
        image = sitk.GetImageFromArray((changed + patient % 3).astype(np.int16))
        image.CopyInformation(head)
        sitk.WriteImage(image, str(folder / f"{patient}.nrrd"))
        entries.append({"image": f"{patient}.nrrd", "label": TAGS[tag], "patient": patient,
                        "site": "north" if patient % 2 else "south"})
    return entries


def write_list(folder, content):
    path = folder / "list.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Heads, their list, and a folder with their slices, cut once for all tests."""
    folder = tmp_path_factory.mktemp("heads")
    entries = write_heads(folder)
    return folder, entries, folder / "cut"


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Few and small slices, few steps, and a calibration that is content with two of a kind."""
    monkeypatch.setattr(certainty, "LEAST_HEADS", 2)
    for name, slices in (("modern", 4), ("seed", 2)):
        recipe = answers.RECIPES[name]
        monkeypatch.setitem(answers.RECIPES, name, replace(
            recipe, sampling=replace(recipe.sampling, slices=slices, pixels=64)))
    monkeypatch.setattr(own_training, "SETTINGS", {
        name: replace(usual, steps=20, warmup_steps=2, checkpoint_every=5)
        for name, usual in own_training.SETTINGS.items()})
    monkeypatch.setattr(own_training, "LOOKED_AT", 16)
    monkeypatch.setattr(live_training, "LOOKS", 4)
    for module in ("HeadCTTriageLib.own_training.PICTURES", "HeadCTTriageLib.own_training.HEADS"):
        monkeypatch.setattr(module, 4)
    monkeypatch.setattr("HeadCTTriageLib.image_splits.MOST_IMAGES", 40)
    monkeypatch.setattr(engines, "REGISTRY", write_toy_registry(tmp_path))
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "cache"))


def run(archive, output, *options, content=None):
    """Exit code of ``train``; slices that were cut for another test are taken over."""
    folder, entries, cut = archive
    work = output.with_name(f"{output.name}-training")
    if cut.exists() and not work.exists():
        shutil.copytree(cut, work / "slices")
    path = write_list(folder, content or {"training": entries})
    with pytest.raises(SystemExit) as ended:
        app(["train", "--data", str(path), "--output", str(output), "--device", "cpu",
             "--progress", "none", *map(str, options)])
    if not cut.exists() and (work / "slices").exists():
        shutil.copytree(work / "slices", cut)
    return ended.value.code


def result_of(output):
    return json.loads((output / "result.json").read_text("utf-8"))


# --- the list ------------------------------------------------------------------------------------


def parts(archive, content):
    return parts_of(write_list(archive[0], content), 0)


def test_what_is_not_given_is_taken_from_the_training(archive):
    folder, entries, _ = archive
    found = parts(archive, {"training": entries})
    assert [len(part.items) for part in found.values()] == [6, 6, 4]
    assert found["validation"].tags.tolist().count(0) in (1, 2)
    given = parts(archive, {"training": entries[4:], "test": entries[:4]})
    assert [item.image.name for item in given["test"].items] == [f"{n}.nrrd" for n in range(4)]
    assert sum(len(part.items) for part in given.values()) == len(entries)
    written = found["training"].written()
    assert written["heads"] == written["patients"] == 6 == sum(written["tags"].values())
    assert sum(written["sites"].values()) == 6


@pytest.mark.parametrize("chosen, said", [
    (lambda entries: {"training": [one for one in entries if one["label"] in ("green", "yellow")]},
     "too few patients.* 0 with urgent heads .red, black. and 8 with others only, but 4 of each"),
    (lambda entries: {"training": entries[:6], "validation": []}, "too few patients"),
    (lambda entries: {"training": entries[4:], "validation": entries[:1], "test": entries[1:4]},
     "validation has 0 urgent heads .red, black. and 1 others, but at least 2 of each"),
    (lambda entries: {"training": entries[1:], "test": [entries[0] | {"patient": 1}]},
     "same patient is in two parts"),
    (lambda entries: {"training": [entries[0] | {"label": "blue"}]}, "green, yellow, red, black"),
])
def test_a_list_that_cannot_be_used_is_refused(chosen, said, archive):
    with pytest.raises(BadInput, match=said) as refused:
        parts(archive, chosen(archive[1]))
    assert refused.value.message.count(".") <= 2  # sentences, and the name of a file


def test_what_is_no_head_is_named_and_the_others_are_kept(archive, tmp_path):
    found = parts(archive, {"training": archive[1]})
    for item in found["test"].items[1:3]:
        body = sitk.GetImageFromArray(np.random.default_rng(0).normal(
            30, 20, (20, 40, 40)).astype(np.int16))
        body.SetSpacing((6, 6, 6))
        sitk.WriteImage(body, str(tmp_path / item.image.name))
    bad = replace(found["test"], items=tuple(
        replace(item, image=tmp_path / item.image.name) if (
            tmp_path / item.image.name).exists() else item for item in found["test"].items))
    store = SliceStore(tmp_path / "slices", answers.RECIPES["seed"].sampling)
    done = []
    with pytest.raises(BadInput, match="2 of 4 images .*cannot be used.*first is") as refused:
        store.cut({"test": bad}, done.append)
    assert bad.items[1].image.name in refused.value.message and done == [1, 2, 3, 4]
    assert len(list((tmp_path / "slices").glob("*.npz"))) == 2


def test_a_head_is_cut_once_until_it_changes(archive, tmp_path, monkeypatch):
    shutil.copyfile(archive[0] / "0.nrrd", tmp_path / "head.nrrd")
    item = replace(parts(archive, {"training": archive[1]})["training"].items[0],
                   image=tmp_path / "head.nrrd")
    heads = {"training": listed_heads.Heads.of([item])}
    store = SliceStore(tmp_path / "slices", answers.RECIPES["seed"].sampling)
    store.cut(heads, lambda done: None)
    before = store.slices(item)
    assert before.shape == (2, 64, 64) and before.dtype == np.int16
    monkeypatch.setattr(listed_heads, "read_image", None)
    store.cut(heads, lambda done: None)
    monkeypatch.undo()
    shutil.copyfile(archive[0] / "3.nrrd", tmp_path / "head.nrrd")
    store.cut(heads, lambda done: None)
    assert (store.slices(item) != before).any()


# --- ours ----------------------------------------------------------------------------------------


def test_a_model_that_judges_comes_of_it(archive, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(archive, output, "--name", "ours", "--steps", 24) == 0
    result = result_of(output)
    assert result["measured"]["heads"] == 4 and result["split"] == "patient"
    assert " to " in result["measured"]["four_class_accuracy"]
    assert result["single_images"] is None and result["steps"] == 24
    assert sum(part["heads"] for part in result["parts"].values()) == PATIENTS
    bundle = engines.load_model(str(output / "model"), "modern")
    assert bundle.metadata["simulated"], "its backbone learned from simulated heads"
    assert bundle.metadata["trained_on"].startswith("6 head CTs of 6 patients, tagged by its user")
    assert "{" not in bundle.model_card and "began with the model starter" in bundle.model_card
    assert "four class accuracy: " in bundle.model_card
    # the backbone and what it is asked for stay; how to judge is learned
    start = engines.load_model("starter").network.state_dict()
    changed = {name for name, weight in bundle.network.state_dict().items()
               if not torch.allclose(weight, start[name], atol=2e-3)}
    assert changed and not any(name.startswith("backbone") for name in changed)
    # curves
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = table_of(read_history(output / "history.jsonl"))
    assert table["step"][-1] == 24 and set(table) == {
        "step", "loss", "accuracy", "validation_loss", "validation_accuracy"}
    # it can be chosen by its name, and judges
    names = [model.name for model in models.available_models(engines.REGISTRY)]
    assert names == ["starter", "ours"]
    with pytest.raises(SystemExit) as ended:
        app(["judge", str(archive[0] / "1.nrrd"), "--output", str(tmp_path / "judged"),
             "--model", "ours", "--progress", "none"])
    assert ended.value.code == 0
    assert result_of(tmp_path / "judged")["model"]["sha256"] == result["model"]["sha256"]
    # not trained twice under one name
    assert run(archive, tmp_path / "again", "--name", "ours") == 14


def test_cut_off_and_begun_again_it_ends_as_if_it_had_not_been(archive, tmp_path, monkeypatch):
    assert run(archive, tmp_path / "whole") == 0
    steps = iter(range(13))
    drawn = own_training.HeadCodes.__getitem__

    def until(self, index):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return drawn(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(own_training.HeadCodes, "__getitem__", until)
        assert run(archive, tmp_path / "cut") == 130
    assert not (tmp_path / "cut").exists()
    assert run(archive, tmp_path / "cut") == 0
    weights = [(tmp_path / name / "model/models/model.safetensors").read_bytes()
               for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    assert [entry["step"] for entry in read_history(tmp_path / "cut/history.jsonl")] == list(
        range(1, 21))


def test_another_list_does_not_go_on_with_a_training(archive, tmp_path, capsys):
    assert run(archive, tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "out")
    fewer = {"training": archive[1][:-1]}
    assert run(archive, tmp_path / "out", content=fewer) == 10
    assert "holds a training with other images" in capsys.readouterr().err
    assert run(archive, tmp_path / "out", "--seed", 3) == 10


def test_what_nobody_marked_is_not_unlearned(archive):
    network = engines.load_model("starter").network
    codes = np.random.default_rng(0).normal(
        size=(5, 4, network.backbone.code_size)).astype(np.float32)
    wanted = wanted_of(network, codes, np.array([0, 1, 2, 3, 1]))
    assert wanted[:, 0].tolist() == [0, 1, 2, 3, 1]
    with torch.inference_mode():
        _, kinds, _, shift = network.judge(torch.from_numpy(codes))
    assert wanted[:, 1] == pytest.approx(shift.numpy())
    assert wanted[:, 2:] == pytest.approx(torch.sigmoid(kinds).flatten(1).numpy())


@pytest.mark.parametrize("options, said", [
    (["--split", "image"], "can only be split by patient"),
    (["--compare-splits"], "can only be split by patient"),
    (["--start", "none"], 'no model "none"'),
    (["--name", "starter"], "name of another model"),
    (["--name", "a b"], 'cannot be called "a b"'),
    (["--recipe", "seed", "--start", "none.npz"], "none.npz cannot be found"),
])
def test_a_wrong_option_is_said_before_any_work(options, said, archive, tmp_path, capsys):
    assert run(archive, tmp_path / "out", *options) in (10, 11)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- the published -------------------------------------------------------------------------------


def test_both_splits_are_shown_side_by_side(archive, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(archive, output, "--recipe", "seed", "--split", "image", "--compare-splits",
               "--steps", 4) == 0
    result = result_of(output)
    for split, note in (("image", "leaks"), ("patient", "does not leak")):
        found = result["single_images"][split]
        assert len(found) == 2 and all(value.endswith(f", {note}") for value in found.values())
        assert found.items() <= result["measured"].items()
    assert any("too high" in warning for warning in result["warnings"])
    bundle = engines.load_model(str(output / "model"), "seed")
    assert not bundle.metadata["simulated"] and bundle.metadata["split"] == "image"
    assert "which leaks" in bundle.metadata["trained_on"]
    assert "accuracy of single images is too high" in bundle.model_card
    work = output.with_name("out-training")
    assert {"training", "training-patient"} <= {path.name for path in work.iterdir()}


def test_what_was_not_measured_says_what_it_costs(archive, tmp_path, capsys):
    begins = tmp_path / "alexnet.npz"
    np.savez(begins, nothing=np.zeros(3))
    assert run(archive, tmp_path / "out", "--recipe", "seed", "--start", begins) == 10
    assert "does not hold the convolutions of AlexNet" in capsys.readouterr().err
    assert run(archive, tmp_path / "out", "--recipe", "seed", "--steps", 3,
               "--progress", "bar") == 0
    said = capsys.readouterr().err
    assert "split by image   not measured: --compare-splits" in said
    assert "does not leak" in said and " more" in said
    result = result_of(tmp_path / "out")
    assert result["single_images"]["image"] is None
    assert not any("too high" in warning for warning in result["warnings"])


def test_tags_that_no_head_has_are_said(archive, tmp_path):
    content = {"training": [one for one in archive[1] if one["label"] != "black"]
               + [one | {"label": "red"} for one in archive[1] if one["label"] == "black"]}
    assert run(archive, tmp_path / "out", "--steps", 2, content=content) == 0
    assert any("No head of the list is black" in one for one in result_of(
        tmp_path / "out")["warnings"])
