# SPDX-License-Identifier: Apache-2.0
"""``python -m MuscleSegLib train``: it learns, is measured by patient, and goes on after a kill."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from MuscleSegLib import own_training, train_command
from MuscleSegLib.__main__ import app
from MuscleSegLib.evaluation import StructureScore
from MuscleSegLib.held_out import HeldOut, folds_of
from MuscleSegLib.networks import BayesianUNet, ContextUNet
from MuscleSegLib.own_training import dice_of
from MuscleSegLib.recipes import CLASSES, MODERN
from MuscleSegLib.segmentation import load_model
from MuscleSegLib.segmentation import run as segment
from MuscleSegLib.structures import STRUCTURES
from MuscleSegLib.train_command import Options
from MuscleSegLib.trained_model import limits_of
from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.errors import BadInput, Cancelled, ModelMissing
from ReadingRoomLib.learning_curves import read_history
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .muscle_factory import BONE, FILTERS, MUSCLE, as_image, thighs, write_tiny_bundle

SIZE = (50.0, 150.0, 270.0)
SHAPE = (5, 48, 48)
STEPS = 40


def write_case(folder, name, noise, names=(BONE, MUSCLE)):
    """A CT of a thigh and its segmentation."""
    calm, noisy = (thighs(size_mm=SIZE, noise=level)[:, :, :46] for level in (0.0, noise))
    labels = np.zeros(calm.shape, np.uint8)
    labels[calm == 55], labels[calm == 700] = MUSCLE, BONE
    sitk.WriteImage(as_image(noisy), str(folder / f"{name}.nrrd"))
    write_seg_nrrd(folder / f"{name}.seg.nrrd", as_image(labels), [
        SegmentDescription(s.value, s.name, s.display_name, s.color)
        for s in STRUCTURES if s.value in names])
    return {"image": f"{name}.nrrd", "segmentation": f"{name}.seg.nrrd", "patient": name[0]}


def write_list(folder, training, **further):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": training, "simulated": True, **further}), "utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four scans of three patients."""
    folder = tmp_path_factory.mktemp("data")
    return write_list(folder, [write_case(folder, name, noise) for name, noise in (
        ("a1", 5.0), ("a2", 9.0), ("b", 13.0), ("c", 17.0))])


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A small network that knows nothing yet, as a model."""
    torch.manual_seed(0)
    network = ContextUNet(MODERN.channels, CLASSES, FILTERS)
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "start", network))


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(own_training, "GENTLER", 2.5)
    monkeypatch.setattr(own_training, "LOOKED_AT", 4)
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def train(output, data, start, said=None, stop_at=("", 0), **options):
    """Train; with ``stop_at`` as if it were killed in that stage, when so much is done."""
    given = {"batch": 2, "samples": 2, "shape": SHAPE, "unnamed": "background", "folds": 0,
             "work": output.with_name(f"{output.name}-training")} | options
    with run_job(module="MuscleSeg", command="train", output=output, progress="none",
                 device="cpu", seed=1) as job:
        job.progress = Killed(job.progress, *stop_at)
        train_command.run(job, Options(data, start=start, **given),
                          (said if said is not None else []).append)
    return read_result(output)


class Killed:
    """A progress that ends the work in a stage."""

    def __init__(self, progress, name, done):
        self.progress, self.name, self.done, self.now = progress, name, done, ""

    def __getattr__(self, name):
        return getattr(self.progress, name)

    def stage(self, name, *arguments):
        self.now = name
        self.progress.stage(name, *arguments)
        self.advance(0)

    def advance(self, done):
        if self.now == self.name and done >= self.done:
            raise KeyboardInterrupt
        self.progress.advance(done)


@pytest.fixture(scope="module")
def trained(data, start, tmp_path_factory):
    """A training in two folds that ran to its end; its output, result and lines."""
    output, said = tmp_path_factory.mktemp("trained") / "out", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_training, "GENTLER", 2.5)
        patch.setattr(own_training, "LOOKED_AT", 4)
        patch.setenv("READINGROOM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        result = train(output, data, start, said, folds=2, steps=STEPS, name="ours")
    return output, result, said


def test_it_learns_what_patients_show_that_it_has_not_seen(trained):
    output, result, said = trained
    dice = result["estimates"]["all"]["dice"]
    assert dice["value"] > 0.7 and dice["n"] == 3
    with (output / "scores.csv").open(encoding="utf-8", newline="") as stream:
        scored = [(row["image"], row["structure"]) for row in csv.DictReader(stream)]
    assert len(scored) == len(set(scored)) == 8  # each scan once, by the fold that held it out
    assert "published" in said[0]
    for part in ("fold-1", "fold-2", "final"):
        history = read_history(output / f"{part}-history.jsonl")
        assert [entry["step"] for entry in history] == list(range(1, STEPS + 1))
        assert history[-1]["loss"] < 0.6 * history[0]["loss"]
        assert (output / f"{part}-curves.png").stat().st_size > 1000
        looked = [entry for entry in history if "validation_loss" in entry]
        assert bool(looked) == (part != "final")  # which learns from all
    assert result["files"]["curves"] == "final-curves.png"


def test_its_folds_have_no_patient_on_both_sides(trained):
    output, _, _ = trained
    held = [{one["patient"] for one in json.loads(path.read_text("utf-8"))} for path in sorted(
        (output.with_name("out-training") / "training").glob(f"fold-*/scored-after-{STEPS}.json"))]
    assert len(held) == 2 and not held[0] & held[1] and held[0] | held[1] == {"a", "b", "c"}


def test_the_model_is_kept_and_segments(trained, data, tmp_path):
    output, result, _ = trained
    assert result["kept_as"] == "ours"
    metadata = load_model("ours", "modern").metadata
    assert metadata["started_from"]["name"] == "tiny"
    assert metadata["simulated"] is True and metadata["taught"] == ["pelvis", "gluteus_maximus"]
    assert 0 < metadata["uncertainty_limit"] < 1
    assert 0 < metadata["lowest_confidence"] < metadata["low_confidence"] <= 1
    card = (output / "model" / "docs" / "README.md").read_text("utf-8")
    for text in ("4 simulated scans of 3 patients", "cross-validation by patient in 2 folds",
                 "says nothing about real", "| gluteus maximus | ", "Pelvis, Gluteus maximus"):
        assert text in card
    with run_job(module="MuscleSeg", command="segment", output=tmp_path / "out", progress="none",
                 device="cpu") as job:
        segment(job, data.parent / "b.nrrd", "ours", None, 2, False)
    assert {one["structure"] for one in read_result(tmp_path / "out")["structures"]} >= {
        "gluteus_maximus"}


def test_a_training_that_was_killed_again_and_again_ends_as_one_that_was_not(trained, data, start,
                                                                             tmp_path):
    whole, result, _ = trained
    output = tmp_path / "out"
    for stop_at in (("train fold-1", 17), ("score fold-1", 0), ("train fold-2", 1), ("write", 0)):
        with pytest.raises(Cancelled):
            train(output, data, start, stop_at=stop_at, folds=2, steps=STEPS)
        assert not output.exists()
    again = train(output, data, start, folds=2, steps=STEPS)
    assert again["estimates"] == result["estimates"]
    stored = [(folder / "model" / "models" / "model.safetensors").read_bytes()
              for folder in (whole, output)]
    assert stored[0] == stored[1]


def test_the_same_folder_takes_no_other_training(trained, data, start):
    output, _, _ = trained
    for other in ({"batch": 3}, {"folds": 3}, {"intensities": "random"}):
        with pytest.raises(BadInput, match="holds a training with other images"):
            train(output.with_name("other"), data, start, steps=STEPS, name="",
                  **({"folds": 2} | other), work=output.with_name("out-training"))


def test_the_validation_part_is_looked_at_and_measured(start, tmp_path):
    entries = [write_case(tmp_path, name, 5.0) for name in "abc"]
    path = write_list(tmp_path, entries[:1], validation=entries[1:2], test=entries[2:])
    result = train(tmp_path / "out", path, start, steps=10)
    looked = [entry for entry in read_history(tmp_path / "out" / "final-history.jsonl")
              if "validation_loss" in entry]
    assert looked and result["estimates"]["all"]["dice"]["n"] == 1
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["patient"] for row in csv.DictReader(stream)} == {"b"}  # never the test part
    assert "validation part" in result["measured_on"]


def test_the_published_network_from_nothing_and_in_any_contrast(tmp_path, monkeypatch):
    """Nothing is held out, so nothing is claimed; the card and the limits say so."""
    plan = own_training.PLANS["seed"]
    small = {"out_channels": CLASSES, "filters": 4, "levels": 3}
    monkeypatch.setitem(own_training.PLANS, "seed", type(plan)(**{
        **vars(plan), "arguments": small}))
    path = write_list(tmp_path, [write_case(tmp_path, "a", 5.0)])
    result = train(tmp_path / "out", path, "none", recipe="seed", steps=2, batch=1,
                   shape=(2, 32, 48), intensities="random")
    bundle = load_model(str(tmp_path / "out" / "model"), "seed")
    assert isinstance(bundle.network, BayesianUNet)
    assert bundle.metadata["pixel_mm"] == [2.4, 3.75]  # 3 mm, seen from 0.8 to 1.25 times as large
    assert bundle.metadata["intensities"] == "random"
    assert "lowest_confidence" not in bundle.metadata and "estimates" not in result
    card = (tmp_path / "out" / "model" / "docs" / "README.md").read_text("utf-8")
    assert "Nothing: it was trained on all patients" in card and "random grey values" in card
    assert "random weights" in card


# ------------------------------------------------------------------------------------------- parts

def pairs(*patients):
    return [Pair(f"{number}.nrrd", None, patient, "", f"item {number}")
            for number, patient in enumerate(patients, 1)]


@pytest.mark.parametrize("folds", [2, 3, 4, 5])
def test_folds_hold_every_patient_out_once(folds):
    listed = pairs(*"aabbbcdeeffgh")
    for seed in range(5):
        parts = folds_of(listed, folds, seed)
        patients = [{pair.patient for pair in part} for part in parts.values()]
        assert len(patients) == folds and all(patients)
        assert set.union(*patients) == set("abcdefgh") and sum(map(len, patients)) == 8
        assert max(map(len, patients)) - min(map(len, patients)) <= 1
        assert sum(map(len, parts.values())) == len(listed)
    assert folds_of(listed, 0, 0) == {}


def test_dice_counts_known_voxels_of_structures_that_are_there():
    target = torch.tensor([[[1, 1, 2, 0, 255, 255]]], dtype=torch.uint8)
    found = torch.tensor([1, 0, 2, 2, 3, 1])
    logits = torch.nn.functional.one_hot(found, 4).float().T.reshape(1, 4, 1, 6)
    assert dice_of(logits, target) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert dice_of(logits, torch.zeros_like(target)) == 0.0


def test_limits_follow_from_patients_that_were_held_out():
    def held(confidence, *found):
        return HeldOut("p", tuple(StructureScore("p", "x", "femur", dice, 1, 1, 1, 1, 1, doubt)
                                  for dice, doubt in found), confidence)

    found = limits_of([held(0.9, (0.95, 0.02), (0.5, 0.5)), held(0.95, (0.9, 0.03))], None,
                      "modern")
    assert 0.02 < found["uncertainty_limit"] <= 0.03  # that which failed does not count
    assert found["low_confidence"] == 0.9 and found["lowest_confidence"] == 0.87
    known = Bundle(folder=None, sha256="", model_card="", network=None, metadata={
        "uncertainty_limit": 0.3, "low_confidence": 0.6, "name": "x"})
    few = limits_of([held(0.9, (0.95, 0.02))], known, "modern")
    assert few["low_confidence"] == few["lowest_confidence"] == 0.6
    for nothing in ([], [held(0.2, (0.1, 0.4))]):
        assert limits_of(nothing, known, "modern") == {"uncertainty_limit": 0.3,
                                                       "low_confidence": 0.6}
    assert set(limits_of([], None, "modern")) == {"uncertainty_limit"}


# --------------------------------------------------------------------------------------- bad input

def test_what_cannot_be_trained_is_said_in_a_sentence(data, start, tmp_path):
    def refused(match, kind=BadInput, given=data, **options):
        with pytest.raises(kind, match=match):
            train(tmp_path / "out", given, options.pop("start", start), **options)
        assert not (tmp_path / "out").exists()

    refused("There are 3 patients to learn from, too few for 4 folds: choose 2 to 3, or 0",
            folds=4)
    refused("needs at least two folds", folds=1)
    refused("none.json cannot be found", given=tmp_path / "none.json")
    refused('There is no model "gone"', ModelMissing, start="gone")
    refused("trained with the recipe modern, not seed", recipe="seed")
    refused("no table of label names|cannot be found", names="gone.json")
    refused('"starter" is the name of another model', name="starter")
    entries = json.loads(data.read_text("utf-8"))["training"]
    for entry in entries:
        entry["image"] = str(data.parent / entry["image"])
        entry["segmentation"] = str(data.parent / entry["segmentation"])
    refused("The same patient is in two parts",
            given=write_list(tmp_path / "shared", entries[:1], validation=entries[1:2]))
    broken = tmp_path / "broken.nrrd"
    broken.write_bytes(b"NRRD0004\n")
    refused("broken.nrrd", given=write_list(
        tmp_path / "broken", [entries[0] | {"image": str(broken)}]))


def test_the_command_line_says_what_is_wrong(data, tmp_path):
    outcome = CliRunner().invoke(app, [
        "train", "--data", str(data), "--output", str(tmp_path / "out"), "--folds", "9",
        "--progress", "none", "--device", "cpu"])
    assert outcome.exit_code != 0
    assert not (tmp_path / "out").exists()
