# SPDX-License-Identifier: Apache-2.0
"""The published experiment: splits, images, networks, trainings that go on, and the report."""

from __future__ import annotations

import csv
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import torchvision_schemas
from BrainTumorClassifyLib import experiment, experiment_command, simulate_command
from BrainTumorClassifyLib.__main__ import app
from BrainTumorClassifyLib.experiment import Batches, Recipe, vary
from BrainTumorClassifyLib.experiment_command import Options, run, splits_of, weights_of
from BrainTumorClassifyLib.experiment_data import listed_items, read_slices
from BrainTumorClassifyLib.experiment_splits import check_splittable, split_images
from BrainTumorClassifyLib.published_networks import (
    PUBLISHED,
    build_network,
    fetch_imagenet_weights,
    take_over,
)
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.datalists import Item
from ReadingRoomLib.errors import BadInput, ModelUntrusted, ReadingRoomError

from .tumor_toys import CLASSES, SIDE, toy_network, toy_slices, write_toy_list

torchvision_schemas.install()
DATA = Path(__file__).parents[3] / "shared" / "data"
STEPS = 80
CONVOLUTIONS = DATA / "weights_imagenet_alexnet_features" / "alexnet_lpips.npz"


def items_of(patients):
    """One item for each slice; patients are (label, slices)."""
    return [Item(Path(f"{number}"), CLASSES[label], str(number), "", f"item {number}")
            for number, (label, count) in enumerate(patients) for _ in range(count)]


# --- splits --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=1, max_size=30),
       st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_every_split_holds_each_image_once_and_no_patient_twice(more, seed):
    items = items_of([(label, 2) for label in range(3) for _ in range(4)] + more)
    check_splittable(items, CLASSES, ("patient", "image"))
    for kind in ("patient", "image"):
        training, test = split_images(items, CLASSES, kind, seed, 0)
        assert sorted([*training, *test]) == list(range(len(items)))
        units = [item.patient if kind == "patient" else number
                 for number, item in enumerate(items)]
        parts = [{units[number] for number in part} for part in (training, test)]
        assert not parts[0] & parts[1]
        assert abs(len(parts[1]) - 0.3 * len(set(units))) <= 1
        for label in CLASSES:
            of_class = {units[number] for number, item in enumerate(items) if item.label == label}
            assert abs(len(parts[1] & of_class) - 0.3 * len(of_class)) <= 1.5
            assert parts[0] & of_class and parts[1] & of_class


def test_splits_depend_on_seed_and_repetition_alone():
    items = items_of([(number % 3, 3) for number in range(30)])
    drawn = {(seed, repetition): tuple(split_images(items, CLASSES, "patient", seed, repetition)[1])
             for seed in (0, 1) for repetition in (0, 1, 2)}
    assert len(set(drawn.values())) == 6
    assert tuple(split_images(items, CLASSES, "patient", 1, 2)[1]) == drawn[1, 2]
    image = split_images(items, CLASSES, "image", 0, 0)
    patients = [{items[number].patient for number in part} for part in image]
    assert patients[0] & patients[1], "images of one patient on both sides: this leaks"


@pytest.mark.parametrize("items, said", [
    (items_of([(0, 9)] * 3 + [(1, 1)] * 4 + [(2, 1)] * 4), "too few of glioblastoma: 3 patients"),
    ([*items_of([(0, 1)] * 4 + [(1, 1)] * 4 + [(2, 1)] * 4),
      Item(Path("x"), "lymphoma", "0", "", "item 99")], "same patient is labelled glioblastoma"),
])
def test_what_cannot_be_split_is_refused(items, said):
    with pytest.raises(BadInput, match=said):
        check_splittable(items, CLASSES, ("patient",))


# --- images --------------------------------------------------------------------------------------


def read(folder, entries, pixels=SIDE, name="images.npy"):
    path = folder / "list.json"
    path.write_text(json.dumps({"training": entries}), "utf-8")
    items = listed_items(path, CLASSES)
    return read_slices(items, CLASSES, pixels, folder / name)


def test_pictures_arrays_and_folders_hold_the_same_slices(tmp_path):
    array = toy_slices(0, 1, 3)
    np.savez(tmp_path / "all.npz", slices=array)
    np.save(tmp_path / "all.npy", array)
    np.save(tmp_path / "one.npy", array[0])
    (tmp_path / "folder").mkdir()
    for number, each in enumerate(array):
        Image.fromarray(each).save(tmp_path / "folder" / f"{number:02}.png")
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    entries = [{"image": name, "label": "lymphoma", "patient": name}
               for name in ("all.npz", "all.npy", "one.npy", "folder")]
    found = read(tmp_path, entries)
    images = np.load(found.file)
    wanted = array.transpose(0, 3, 1, 2)
    assert images.dtype == np.uint8
    assert (images == np.concatenate([wanted, wanted, wanted[:1], wanted])).all()
    assert found.patients.tolist() == [1] * 3 + [0] * 3 + [3] + [2] * 3
    assert found.written()["classes"]["lymphoma"] == {"patients": 4, "images": 10}


def test_other_sizes_are_padded_to_a_square_and_resized(tmp_path):
    Image.fromarray(np.full((20, 40), 200, np.uint8)).save(tmp_path / "wide.png")
    images = np.load(read(tmp_path, [
        {"image": "wide.png", "label": "lymphoma", "patient": 1}]).file)
    assert images.shape == (1, 3, SIDE, SIDE)
    assert (images[0, :, SIDE // 2] == 200).all() and (images[0, :, 0] == 0).all()


@pytest.mark.parametrize("write, said", [
    (lambda path: np.save(path, np.zeros((9, 9, 3))), "must hold whole numbers"),
    (lambda path: np.save(path, np.zeros((9, 9), np.uint8)), "must hold whole numbers"),
    (lambda path: np.save(path, np.array([{}], object)), "cannot be read"),
    (lambda path: path.write_bytes(b"\x93NUMPY"), "cannot be read"),
    (lambda path: path.mkdir(), "holds no image"),
])
def test_what_is_no_image_is_named(write, said, tmp_path):
    write(tmp_path / "one.npy")
    with pytest.raises(BadInput, match=f"one.npy .item 1 of training. {said}"):
        read(tmp_path, [{"image": "one.npy", "label": "lymphoma", "patient": 1}])


# --- trainings -----------------------------------------------------------------------------------


def options_of(folder, output, **changed):
    return replace(Options(
        folder / "list.json", output.with_name(f"{output.name}-work"), ("quick", "slow"),
        ("patient", "image"), 2, "random", pixels=SIDE,
        recipe=Recipe(steps=STEPS, batch=8, learning_rate=1e-2), build=toy_network), **changed)


def do(folder, output, said=None, seed=0, **changed):
    """Do the experiment; returns what ``experiment.json`` and ``result.json`` say."""
    with run_job(module="BrainTumorClassify", command="experiment", output=output,
                 progress="none", seed=seed) as job:
        run(job, options_of(folder, output, **changed), (said if said is not None else []).append)
    return [json.loads((output / name).read_text("utf-8"))
            for name in ("experiment.json", "result.json")]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums are rounded differently with another number of threads, as a process of two has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Images that show the patient and nothing of the tumour, and an experiment on them."""
    folder = tmp_path_factory.mktemp("archive")
    write_toy_list(folder, clear=0.0)
    said = []
    return folder, folder / "out", *do(folder, folder / "out", said), said


def test_both_splits_stand_side_by_side_and_the_leaking_one_says_so(archive):
    _, output, found, result, said = archive
    assert set(found["splits"]) == {"patient", "image"}
    assert found["splits"]["image"]["leaks"] and not found["splits"]["patient"]["leaks"]
    assert "leaking" in found["splits"]["image"]["meaning"]
    assert any("too high for new patients" in one for one in result["warnings"])
    for of_split in found["splits"].values():
        for measured in of_split["models"].values():
            assert len(measured["images"]["accuracy_by_repetition"]) == 2
            assert all(24 <= n <= 32 for n in measured["images"]["tested"])
            assert sum(measured["patients"]["tested"]) <= 2 * 24
            whole = measured["images"]["accuracy"]
            assert whole["value"] == pytest.approx(np.mean(
                measured["images"]["accuracy_by_repetition"]))
            assert whole["low"] <= whole["value"] <= whole["high"]
    gain = found["inflation"]["slow"]["images"]
    assert gain["low"] > 0.1, "the images show the patient alone"
    honest = found["splits"]["patient"]["models"]["slow"]["patients"]["accuracy"]
    assert honest["low"] < 1 / 3 < honest["high"], "which is worth nothing with new patients"
    assert len(found["splits"]["patient"]["corrected"]) == 1
    assert result["files"]["report"] == "report.html"
    assert sum("Split by" in line for line in said) == 2 and any("leaks" in line for line in said)
    with open(output / "accuracy.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2 * 2
    assert {row["leaks"] for row in rows if row["split"] == "image"} == {"True"}


def test_the_report_needs_nothing_else_and_tells_what_leaks(archive):
    _, output, found, *_ = archive
    page = (output / "report.html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "<script" not in page
    assert page.count("data:image/png;base64,") == 2
    assert "published, split by image (leaks)" in page and "96.2 (95.3 to 96.9)" in page
    assert "ours, split by image (leaks)" in page and "ours, split by patient" in page
    assert "Research software, not a medical device" in page
    assert "F = 56.18" in page and "percentage points" in page
    words = re.sub(r"base64,[^\"]*", "", page)
    assert not re.search(r"\bnan\b|None|p <", words)
    for name in ("accuracy.png", "calibration.png"):
        with Image.open(output / name) as picture:
            assert min(picture.size) > 300
    for patient in range(24):
        assert f"{patient}.npz" not in page  # names of files may name patients


def test_two_experiments_give_the_same_and_another_seed_another(archive, tmp_path):
    folder, _, found, *_ = archive
    chosen = {"models": ("slow",), "splits": ("image",)}
    wanted = found["splits"]["image"]["models"]["slow"]
    one, other = (do(folder, tmp_path / str(seed), seed=seed, **chosen)[0]["splits"]["image"][
        "models"]["slow"] for seed in (0, 1))
    assert one == wanted != other


def test_what_was_killed_goes_on_and_nothing_is_done_twice(archive, tmp_path, monkeypatch):
    folder, _, found, *_ = archive
    drawn, trained = iter(range(2 * STEPS + STEPS // 2)), []  # half of the third run
    do_run, item = experiment.do_run, Batches.__getitem__

    def until(self, step):
        if next(drawn, None) is None:
            raise KeyboardInterrupt
        return item(self, step)

    def noted(run, *arguments):
        trained.append((run.model, run.name))
        return do_run(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__getitem__", until)
        with pytest.raises(ReadingRoomError, match="cancelled"):
            do(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = list((tmp_path / "out-work").glob("*/*.npz"))
    assert len(done) == 2
    monkeypatch.setattr(experiment, "do_run", noted)
    assert do(folder, tmp_path / "out")[0] == found
    assert len(trained) == 6
    # more repetitions go on, too; other settings do not
    trained.clear()
    with run_job(module="m", command="c", output=tmp_path / "more", progress="none") as job:
        run(job, options_of(folder, tmp_path / "out", repeats=3, models=("quick",)), print)
    assert trained == [("quick", "patient-002"), ("quick", "image-002")]
    with pytest.raises(BadInput, match="other images, weights or settings"):
        do(folder, tmp_path / "new", work=tmp_path / "out-work", recipe=Recipe(steps=9))


@pytest.mark.timeout(900)  # on a busy machine two more imports of PyTorch take minutes
def test_two_processes_do_what_one_does(archive, tmp_path, monkeypatch):
    folder, _, found, *_ = archive
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    one = do(folder, tmp_path / "out", jobs=2, models=("quick",), splits=("patient",))[0]
    mine, theirs = (each["splits"]["patient"]["models"]["quick"]["images"]["reliability"]
                    for each in (one, found))
    assert [bin["right"] for bin in mine] == pytest.approx([bin["right"] for bin in theirs])


def test_our_network_answers_for_a_patient_on_the_same_splits(tmp_path):
    folder = tmp_path
    write_toy_list(folder, patients=30, clear=3.0)
    found, result = do(folder, tmp_path / "out", models=("modern", "quick"), splits=("patient",),
                       recipe=Recipe(steps=30, batch=8))
    runs = {path.parent.name: path for path in tmp_path.glob("out-work/*/patient-000.npz")}
    ours, theirs = (np.load(runs[model]) for model in ("modern", "quick"))
    assert (ours["test"] == theirs["test"]).all()
    slices = read_slices(listed_items(folder / "list.json", CLASSES), CLASSES, SIDE,
                         next(tmp_path.glob("out-work/images-*[0-9a-f].npy")))
    of_patient = {}
    for image, row in zip(ours["test"], ours["probabilities"], strict=True):
        of_patient.setdefault(slices.patients[image], set()).add(tuple(row))
    assert len(of_patient) > 3 and all(len(rows) == 1 for rows in of_patient.values())
    assert len(set().union(*of_patient.values())) == len(of_patient)
    accuracy = found["splits"]["patient"]["models"]["modern"]["patients"]["accuracy"]["value"]
    assert accuracy > 0.6  # a third by chance
    assert "Ours (modern)" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert result["start"]["modern"] == "random"


def test_the_size_of_a_region_reaches_our_network(tmp_path):
    array = toy_slices(0, 1, 3)
    np.savez(tmp_path / "sized.npz", slices=array, side_mm=40.0, extent_mm=25.0)
    np.savez(tmp_path / "not.npz", slices=array)
    found = read(tmp_path, [{"image": name, "label": "lymphoma", "patient": name}
                            for name in ("sized.npz", "not.npz")])
    assert found.sizes_mm[:3].tolist() == [[40.0, 25.0]] * 3 and np.isnan(found.sizes_mm[3:]).all()


def test_each_pass_shows_every_image_once_and_varied(archive):
    folder, output, *_ = archive
    options = options_of(folder, output)
    items = listed_items(options.data, CLASSES)
    slices = read_slices(items, CLASSES, SIDE, next(options.work.glob("images-*[0-9a-f].npy")))
    one = experiment_command._runs_of(options, slices, dict.fromkeys(options.models))[0]
    batches = Batches(np.load(one.images), one, 100)
    seen = np.concatenate([batches.chosen(step) for step in range(100)])[:2 * len(one.training)]
    first, second = np.split(seen, 2)
    assert sorted(first) == sorted(second) == sorted(one.training)
    assert first.tolist() != second.tolist()
    batch = batches[3]
    assert batch["image"].shape == (8, 3, SIDE, SIDE) and float(batch["image"].max()) <= 1
    assert (batch["label"].numpy() == one.labels[batches.chosen(3)]).all()
    assert torch.equal(batch["image"], batches[3]["image"])
    ramp = np.arange(SIDE, dtype=np.uint8)[None, None].repeat(SIDE, 1)
    varied = [vary(ramp, np.random.default_rng(seed))[0, SIDE // 2] for seed in range(20)]
    assert len({tuple(each) for each in varied}) == 6  # mirrored or not, one to either side


def test_a_simulated_cohort_can_be_tried(tmp_path):
    """The list fits the experiment, patients are whole, and the same seed gives the same."""
    first, again = tmp_path / "first", tmp_path / "again"
    for output in (first, again):
        with run_job(module="m", command="c", output=output, progress="none", seed=4) as job:
            simulate_command.run(job, {"lymphoma": 1, "schwannoma": 1}, 3, 64)
    kinds = (*CLASSES, "schwannoma")
    items = listed_items(first / "datalist.json", kinds)
    assert [item.label for item in items] == ["lymphoma", "schwannoma"]
    assert len({item.patient for item in items}) == 2 and all(item.site for item in items)
    slices = read_slices(items, kinds, 64, tmp_path / "images.npy")
    assert np.load(slices.file).std((2, 3)).min() > 1  # every sequence shows something
    assert 0 < (slices.patients == 0).sum() <= 3 and np.isfinite(slices.sizes_mm).all()
    for name in ("0001", "0002"):
        one, other = (np.load(folder / "patients" / f"{name}.npz")["slices"]
                      for folder in (first, again))
        assert (one == other).all()
    result = json.loads((first / "result.json").read_text("utf-8"))
    assert any("simulated" in warning for warning in result["warnings"])


def test_patients_of_a_simulated_cohort_are_counted_by_kind():
    assert simulate_command.counts_of([]) == {
        "glioblastoma": 114, "lymphoma": 50, "meningioma": 124}
    assert simulate_command.counts_of(["metastasis=3", "lymphoma=2"]) == {
        "metastasis": 3, "lymphoma": 2}
    for wrong in (["glioma=3"], ["cavity=3"], ["lymphoma=0"], ["lymphoma"], ["lymphoma=-1"],
                  ["lymphoma=2", "lymphoma=3"]):
        with pytest.raises(BadInput, match="write each kind once"):
            simulate_command.counts_of(wrong)


# --- options -------------------------------------------------------------------------------------


def test_weights_are_named_by_network():
    assert weights_of(["alexnet=a.pth"], ["alexnet", "resnet50"]) == {"alexnet": Path("a.pth")}
    assert weights_of(["a.pth"], ["resnet50"]) == {"resnet50": Path("a.pth")}
    for wrong in ("a.pth", "vgg=a.pth", "alexnet="):
        with pytest.raises(BadInput, match="write alexnet=FILE"):
            weights_of([wrong], ["alexnet", "resnet50"])
    assert splits_of("both") == ("patient", "image") and splits_of("image") == ("image",)


@pytest.mark.parametrize("models", [
    ["--models", "alexnet", "modern"], ["--models", "alexnet", "--models", "modern"]])
def test_networks_are_named_one_after_the_other(models, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(experiment_command, "run", lambda job, options, say: asked.append(options))
    write_toy_list(tmp_path)
    code = app.run(["experiment", "--data", str(tmp_path / "list.json"), *models, "--repeats", "3",
                    "--output", str(tmp_path / "out"), "--progress", "none"])
    assert code == 0 and asked[0].models == ("alexnet", "modern") and asked[0].repeats == 3


def test_a_word_that_follows_no_option_is_refused(tmp_path, capsys):
    assert app.run(["experiment", "googlenet", "--data", "list.json",
                    "--output", str(tmp_path / "out")]) != 0
    assert "name networks after --models" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("changed, said", [
    ({"repeats": 1}, "at least 2"),
    ({"models": ("quick", "quick")}, "each network once"),
    ({"models": ("vgg",), "build": build_network}, 'no network "vgg"'),
    ({"models": ("alexnet",), "build": build_network}, "at least 64 pixels"),
    ({"classes": ("lymphoma",)}, "two classes"),
    ({"classes": ("lymphoma", "meningioma")}, 'its label is "glioblastoma"'),
])
def test_a_wrong_option_is_said_before_any_work(changed, said, archive, tmp_path):
    with pytest.raises(BadInput, match=said):
        do(archive[0], tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out-work").exists()


def test_single_images_of_unknown_patients_are_pointed_out(tmp_path):
    write_toy_list(tmp_path, patients=15, slices=1)
    _, result = do(tmp_path, tmp_path / "out", models=("quick",), splits=("patient",),
                   recipe=Recipe(steps=2, batch=4))
    assert any("No two images" in one for one in result["warnings"])


# --- the published networks ----------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_take_a_step_with_small_images(name):
    torch.manual_seed(0)
    network = build_network(name, 3).train()
    images = torch.rand(2, 3, 64, 64)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    loss = torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 2]))
    loss.backward()
    before = network.state_dict()["network." + PUBLISHED[name].last + ".weight"].clone()
    optimizer.step()
    after = network.state_dict()["network." + PUBLISHED[name].last + ".weight"]
    assert after.shape[0] == 3 and not torch.equal(before, after)
    with torch.inference_mode():
        assert torch.isfinite(network.eval()(images)).all()


def test_the_weights_are_those_that_torchvision_names():
    from torchvision import models

    for name, published in PUBLISHED.items():
        theirs = models.get_model_weights(name).IMAGENET1K_V1
        assert published.url == theirs.url
        # the name of the file ends with the first digits of its SHA-256
        assert published.sha256.startswith(published.file.split("-")[-1].removesuffix(".pth"))
        assert len(published.sha256) == 64
        assert published.size / 2**20 == pytest.approx(theirs.meta["_file_size"], abs=5e-4)
        mean, deviation = published.normalisation
        if name != "googlenet":  # whose own input transform undoes the usual one
            assert theirs.transforms().mean == list(mean)
            assert theirs.transforms().std == list(deviation)


def test_the_input_of_googlenet_is_what_torchvision_makes_of_it():
    from torchvision import models

    images = torch.rand(2, 3, 8, 8)
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1)
                       for each in PUBLISHED["alexnet"].normalisation)
    theirs = models.GoogLeNet(transform_input=True, aux_logits=False, init_weights=False)
    ours = build_network("googlenet", 3)
    assert torch.allclose(theirs._transform_input((images - mean) / deviation),
                          (images - ours.mean) / ours.deviation, atol=1e-5)


def test_weights_are_downloaded_into_the_cache_and_checked(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path))
    monkeypatch.setattr("BrainTumorClassifyLib.published_networks.download",
                        lambda *arguments: asked.append(arguments) or arguments[1])
    path = fetch_imagenet_weights("resnet50")
    one = PUBLISHED["resnet50"]
    assert path == tmp_path / "imagenet" / "resnet50-0676ba61.pth"
    assert asked == [(one.url, path, one.sha256, one.size, None)]


@pytest.fixture(scope="module")
def googlenet(tmp_path_factory):
    """Weights as torchvision's file has them: a thousand classes and the auxiliary answers."""
    from torchvision import models

    folder = tmp_path_factory.mktemp("weights")
    state = models.googlenet(weights=None, aux_logits=True, init_weights=False).state_dict()
    torch.save(state, folder / "googlenet.pth")
    save_file({key: value.contiguous() for key, value in state.items()},
              folder / "googlenet.safetensors")
    return state, folder


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_come_from_a_file_but_for_the_last_layer(suffix, googlenet):
    state, folder = googlenet
    network = build_network("googlenet", 3)
    last = network.network.fc.weight.clone()
    assert take_over(network, folder / f"googlenet.{suffix}") == ["fc"]
    assert torch.equal(network.network.conv1.conv.weight, state["conv1.conv.weight"])
    assert torch.equal(network.network.inception5b.branch4[1].conv.weight,
                       state["inception5b.branch4.1.conv.weight"])
    assert torch.equal(network.network.fc.weight, last)
    whole = build_network("googlenet", 1000)
    assert take_over(whole, folder / f"googlenet.{suffix}") == []
    assert torch.equal(whole.network.fc.weight, state["fc.weight"])


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_a_file_that_could_run_code_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = build_network("resnet50", 3)
    torch.save({"conv1.weight": Harmful()}, tmp_path / "harmful.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harmful()))
    for name in ("harmful.pth", "plain.pth"):
        with pytest.raises(ModelUntrusted, match="could run foreign code"):
            take_over(network, tmp_path / name)
    assert not (tmp_path / "harmed").exists()


def test_files_that_do_not_fit_are_named(tmp_path, googlenet):
    network = build_network("resnet50", 3)
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "text.npz").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, said in (("none.pth", "cannot be found"), ("text.safetensors", "can be read"),
                       ("list.pth", "can be read"), ("text.npz", "is for AlexNet")):
        with pytest.raises(BadInput, match=f"{name} .*{said}"):
            take_over(network, tmp_path / name)
    with pytest.raises(BadInput, match="does not hold the weights of ResNet50"):
        take_over(network, googlenet[1] / "googlenet.pth")


def test_alexnet_begins_with_convolutions_alone(tmp_path):
    random = np.random.default_rng(0)
    network = build_network("alexnet", 3)
    arrays = {}
    for number, layer in enumerate(network.network.features[index] for index in (0, 3, 6, 8, 10)):
        outputs, inputs, height, width = layer.weight.shape
        arrays[f"AlexNet_0__Conv_{number}__kernel"] = random.normal(
            size=(height, width, inputs, outputs)).astype(np.float32)
        arrays[f"AlexNet_0__Conv_{number}__bias"] = random.normal(size=outputs).astype(np.float32)
    np.savez(tmp_path / "alexnet.npz", **arrays)
    assert take_over(network, tmp_path / "alexnet.npz") == ["classifier"]
    weight = network.network.features[3].weight.detach()
    assert float(weight[7, 5, 1, 2]) == arrays["AlexNet_0__Conv_1__kernel"][1, 2, 5, 7]
    assert network.network.features[10].bias.tolist() == pytest.approx(
        arrays["AlexNet_0__Conv_4__bias"])
    np.savez(tmp_path / "less.npz", nothing=np.zeros(3))
    with pytest.raises(BadInput, match="less.npz does not hold the convolutions"):
        take_over(network, tmp_path / "less.npz")


@pytest.mark.skipif(not CONVOLUTIONS.exists(), reason="needs the weights of the shared data")
def test_the_real_convolutions_see_edges():
    """The first layer of a network trained on photographs holds gratings: less white than noise."""
    network = build_network("alexnet", 3)
    take_over(network, CONVOLUTIONS)
    kernels = network.network.features[0].weight.detach()
    smooth = (kernels[..., 1:] * kernels[..., :-1]).mean() / (kernels**2).mean()
    assert float(smooth) > 0.3
