# SPDX-License-Identifier: Apache-2.0
"""Training on a list of one's own patients: parts, going on, the model, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from BrainTumorClassifyLib import engines, train_command
from BrainTumorClassifyLib.cohort_files import write_datalist
from BrainTumorClassifyLib.engines import classifier_of, load_model
from BrainTumorClassifyLib.networks import TumorNetwork
from BrainTumorClassifyLib.train_command import Options, begin_with, parts_of, run
from ReadingRoomLib import live_training
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput, OutputFailed

from .classify_factory import KINDS, TOY, write_toy_model
from .tumor_toys import toy_slices

SIDE = 32


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Few steps on small images, and a cache and a registry of the test's own."""
    monkeypatch.setenv("READINGROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(train_command, "SETTINGS", replace(
        train_command.SETTINGS, steps=12, warmup_steps=1, checkpoint_every=4))
    monkeypatch.setattr(live_training, "LOOKS", 3)
    monkeypatch.setattr(live_training, "APART", 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_list(folder, per_kind=51, kinds=KINDS, simulated=False, sizes=True):
    """Patients of three slices, whose kind their colours tell."""
    entries = []
    for number in range(per_kind * len(kinds)):
        label = number % len(kinds)
        array = toy_slices(label, number, 3, clear=3.0).repeat(2, 1).repeat(2, 2)
        own = {"side_mm": 40.0 + 10 * label, "extent_mm": 30.0} if sizes else {}
        np.savez_compressed(folder / f"{number}.npz", slices=array, **own)
        entries.append({"image": f"{number}.npz", "label": kinds[label],
                        "patient": f"Secret-{number}"})
    write_datalist(folder / "list.json", entries, simulated)
    return folder / "list.json"


def do(tmp_path, listed, said=None, output="out", seed=0, **changed):
    with run_job(module="BrainTumorClassify", command="train", output=tmp_path / output,
                 progress="none", seed=seed) as job:
        run(job, Options(listed, tmp_path / "work", **{"start": "random"} | changed),
            (said if said is not None else []).append)
    return json.loads((tmp_path / output / "result.json").read_text("utf-8"))


def test_patients_are_parted_by_kind_and_none_is_in_two_parts(tmp_path):
    parts = parts_of(write_list(tmp_path), KINDS, 3)
    patients = {part: {item.patient for item in items} for part, items in parts.items()}
    assert not patients["training"] & patients["validation"]
    assert not (patients["training"] | patients["validation"]) & patients["test"]
    assert sum(map(len, patients.values())) == 153
    assert all(abs(len(patients[part]) - share * 153) <= 1
               for part, share in train_command.SHARES.items())
    for items in parts.values():
        assert {item.label for item in items} == set(KINDS)
    assert parts_of(tmp_path / "list.json", KINDS, 3) == parts


def test_too_few_patients_are_refused(tmp_path):
    with pytest.raises(BadInput, match="too few patients with glioblastoma.*validation"):
        parts_of(write_list(tmp_path, per_kind=20), KINDS, 0)
    content = json.loads((tmp_path / "list.json").read_text("utf-8"))
    content["test"] = content["training"][50:]
    content["training"] = content["training"][:50]
    (tmp_path / "list.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(BadInput, match="lacks its part validation"):
        parts_of(tmp_path / "list.json", KINDS, 0)


def test_from_a_list_to_a_model_of_ones_own(tmp_path, monkeypatch):
    # after a dozen steps it depends on the processor whether anything was learned
    monkeypatch.setattr(train_command, "SETTINGS", replace(train_command.SETTINGS, steps=90))
    listed, said = write_list(tmp_path), []
    result = do(tmp_path, listed, said, name="ours")
    assert result["kept_as"] == "ours" and sum(result["parts"].values()) == 153
    assert float(result["measured"]["accuracy"].split()[0]) > 0.5, "a third by chance"
    assert said and result["measured"]["accuracy"] in said[0]
    bundle = load_model("ours")
    assert bundle.metadata["simulated"] is False
    assert "whose kinds its user gave" in bundle.metadata["trained_on"]
    assert "random weights" in bundle.model_card and "glioblastoma" in bundle.model_card
    known = classifier_of(bundle, "cpu", 0.1).certainty
    assert len(known.learned_names) == result["parts"]["training"]
    assert known.learned_names[0].startswith("case ")
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"Secret" not in path.read_bytes()
    with pytest.raises(OutputFailed, match="already"):
        do(tmp_path, listed, output="again", name="ours")

    # the same again goes on and gives the same; other settings do not
    again = do(tmp_path, listed, output="again")
    assert again["measured"] == result["measured"]
    with pytest.raises(BadInput, match="other images, weights or settings"):
        do(tmp_path, listed, output="other", seed=1)


def test_two_kinds_of_simulated_patients_begun_with_a_model(tmp_path):
    start = write_toy_model(tmp_path / "toy")
    listed = write_list(tmp_path, kinds=("schwannoma", "metastasis"), simulated=True, sizes=False)
    result = do(tmp_path, listed, start=str(start), classes=("schwannoma", "metastasis"))
    bundle = load_model(str(tmp_path / "out" / "model"))
    assert bundle.metadata["simulated"] and result["model"]["simulated"]
    assert bundle.metadata["labels"] == {"0": "schwannoma", "1": "metastasis"}
    assert "It began with what the model starter knows" in bundle.model_card
    found = classifier_of(bundle, "cpu", 0.1)(
        np.full((2, 3, SIDE, SIDE), 0.5, np.float32), [True] * 3, 40.0, 30.0)
    assert set(found.kinds) == {"schwannoma", "metastasis"}


def test_what_a_model_knows_of_images_is_taken_over_and_its_kinds_are_not(tmp_path):
    start = load_model(str(write_toy_model(tmp_path / "toy")))
    network = TumorNetwork(**{**TOY, "classes": 2})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    begin_with(network, start)
    after, given = network.state_dict(), start.network.state_dict()
    taken = [name for name in after if name.startswith("encoder.")]
    assert all(torch.equal(after[name], given[name]) for name in taken)
    assert torch.equal(after["answer.3.weight"], before["answer.3.weight"])
    with pytest.raises(BadInput, match="of another kind"):
        begin_with(TumorNetwork(**{**TOY, "widths": [16, 8, 8, 8]}), start)


def test_wrong_options_are_said_before_any_work(tmp_path):
    listed = write_list(tmp_path, per_kind=1)
    for changed, sentence in (({"classes": ("lymphoma",)}, "at least two kinds"),
                              ({"name": "starter"}, "name of another model|cannot be called"),
                              ({"classes": KINDS[:2]}, "its label is")):
        with pytest.raises(BadInput, match=sentence):
            do(tmp_path, listed, **changed)
    assert not (tmp_path / "out").exists() and engines.REGISTRY.exists()
