# SPDX-License-Identifier: Apache-2.0
"""Which kind of tumour: probabilities that hold, sets that hold the true kind, and the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from BrainTumorClassifyLib import starter
from BrainTumorClassifyLib.__main__ import app
from BrainTumorClassifyLib.certainty import NEIGHBOURS, Certainty
from BrainTumorClassifyLib.classification import UNCERTAIN, Classifier
from BrainTumorClassifyLib.engines import classifier_of, load_model
from BrainTumorClassifyLib.evaluation import answers, measure, without
from BrainTumorClassifyLib.features import FEATURES, features_of
from BrainTumorClassifyLib.kinds import CAUTIONS
from BrainTumorClassifyLib.pseudo_rgb import pseudo_rgb
from BrainTumorClassifyLib.regions import Region
from BrainTumorClassifyLib.saliency import left_out, saliency_volume
from BrainTumorClassifyLib.training_slices import (
    PIXELS,
    WIDER,
    PatientBatches,
    PatientSlices,
    Ranges,
    middle_of,
    read_patient,
    save_patient,
    vary,
)
from ReadingRoomLib.errors import BadInput

from .classify_factory import KINDS, TOY, toy_certainty, toy_network, write_toy_model
from .dicom_factory import write_series
from .tumor_factory import TUMOUR, TUMOUR_MM, scan, write_study

STILL = Ranges(degrees=0, scale=(1, 1), shift=0, gain=(1, 1), gamma=(1, 1), noise=(0, 0),
               absent=(0, 0, 0))


# --- certainty -----------------------------------------------------------------------------------


def test_probabilities_hold_on_new_patients():
    known, fresh = toy_certainty(600, 1, sure=8), toy_certainty(600, 2, sure=8)
    assert known.temperature == pytest.approx(4, rel=0.15)  # by Bayes, twice what is seen is right

    def error(temperature):
        found = replace(known, logits=fresh.logits, truth=fresh.truth)
        shares = np.stack([np.exp(each / temperature) / np.exp(each / temperature).sum()
                           for each in found.logits])
        sure, right = shares.max(1), shares.argmax(1) == fresh.truth
        return abs(sure.mean() - right.mean())

    assert error(known.temperature) < 0.03 < 0.06 < error(1.0)
    assert known.probabilities(fresh.logits[0]).sum() == pytest.approx(1)


@pytest.mark.parametrize("error", [0.05, 0.1, 0.3])
def test_sets_hold_the_true_kind_as_often_as_promised(error):
    known, fresh = toy_certainty(900, 3), toy_certainty(900, 4)
    for kind in range(3):
        held = [kind in known.kinds_within(each, error)
                for each in fresh.logits[fresh.truth == kind]]
        # binomial scatter of both, the known and the new patients
        assert np.mean(held) >= 1 - error - 4 * np.sqrt(2 * error * (1 - error) / len(held))
    sizes = [len(known.kinds_within(each, error)) for each in fresh.logits]
    more = [len(known.kinds_within(each, error / 2)) for each in fresh.logits]
    assert np.mean(more) > np.mean(sizes)


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
@settings(deadline=None, max_examples=30)
def test_every_probability_lies_within_its_interval_or_beside_it(logits):
    known = toy_certainty(300)
    for kind in range(3):
        low, high = known.interval(logits, kind)
        assert 0 <= low <= high <= 1


def test_intervals_are_wide_where_few_patients_are_known():
    widths = [np.ptp(toy_certainty(count).interval([0.0, 0.0, 0.0], 0)) for count in (60, 1500)]
    assert widths[0] > 2 * widths[1]


def test_what_lies_far_from_all_that_was_learned_is_unlike_it():
    known = toy_certainty(400)
    assert known.unlike(-np.ones(8)) < 0.01
    inside = [known.unlike(code) for code in toy_certainty(400, 7).codes]
    assert np.mean(np.array(inside) < 0.05) == pytest.approx(0.05, abs=0.04)


def test_the_nearest_is_the_patient_itself():
    known = toy_certainty()
    found = known.nearest(known.learned_codes[17], 3)
    assert found[0].name == "patient 17" and found[0].distance == pytest.approx(0, abs=1e-9)
    assert found[0].kind == KINDS[known.learned_truth[17]]
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_certainty_survives_being_written():
    known = toy_certainty()
    again = Certainty.read(json.loads(json.dumps(known.written())))
    logits = [1.0, -2.0, 0.5]
    assert again.probabilities(logits) == pytest.approx(known.probabilities(logits), abs=1e-3)
    assert again.kinds_within(logits, 0.1) == known.kinds_within(logits, 0.1)
    assert again.unlike(np.eye(8)[0]) == pytest.approx(known.unlike(np.eye(8)[0]), abs=0.03)


@pytest.mark.parametrize("change", [
    {"logits": np.zeros((3, 3))}, {"truth": np.full(150, 3)}, {"truth": np.zeros(150, int)},
    {"codes": np.full((150, 8), np.nan)}, {"learned_names": ("one",)},
    {"learned_codes": np.zeros((150, 7))}, {"kinds": ("one",)}])
def test_what_is_no_certainty_is_refused(change):
    with pytest.raises(ValueError):
        replace(toy_certainty(), **change)


# --- features ------------------------------------------------------------------------------------


def test_features_are_those_of_ibsi():
    random = np.random.default_rng(0)
    slices = random.gamma(2.0, 0.1, (4, 3, 32, 32)).clip(0, 1).astype(np.float32)
    found = dict(zip(FEATURES, features_of(slices, np.ones(3, bool), 40.0, 25.0), strict=True))
    middle = slices[:, 1, 8:24, 8:24].ravel().astype(float)
    assert found["t2 mean"] == pytest.approx(middle.mean(), rel=1e-5)
    assert found["t2 skewness"] == pytest.approx(stats.skew(middle), rel=1e-4)
    assert found["t2 kurtosis"] == pytest.approx(stats.kurtosis(middle), rel=1e-4)  # excess
    assert found["t2 90th percentile"] == pytest.approx(np.percentile(middle, 90), rel=1e-5)
    change = slices[:, 2, 8:24, 8:24] - slices[:, 0, 8:24, 8:24]
    assert found["enhancement mean"] == pytest.approx(change.mean(), abs=1e-6)
    assert found["side"] == 40 and found["extent"] == 25


def test_features_of_a_missing_sequence_are_unknown_and_those_of_a_blank_one_finite():
    slices = np.zeros((2, 3, 32, 32), np.float32)
    found = dict(zip(FEATURES, features_of(slices, np.array([False, True, True]), 40, 25),
                     strict=True))
    assert np.isnan(found["t1 mean"]) and np.isnan(found["enhancement mean"])
    assert np.isfinite([found["t2 kurtosis"], found["t1c mean"]]).all()


# --- network -------------------------------------------------------------------------------------


def ask(network, slices, present=(1, 1, 1), features=None):
    features = np.zeros(len(FEATURES)) if features is None else features
    with torch.inference_mode():
        return [part[0].numpy() for part in network(
            torch.from_numpy(np.asarray(slices, np.float32))[None],
            torch.tensor([present]).float(), torch.tensor(features).float()[None])]


def test_what_is_missing_is_not_looked_at():
    random = np.random.default_rng(1)
    slices = random.random((3, 3, 32, 32))
    other = slices.copy()
    other[:, 0] = random.random((3, 32, 32))
    network = toy_network()
    assert ask(network, slices, (0, 1, 1))[0] == pytest.approx(ask(network, other, (0, 1, 1))[0])
    assert ask(network, slices)[0] != pytest.approx(ask(network, other)[0], abs=1e-6)
    black = slices * np.array([0, 1, 1])[:, None, None]
    assert ask(network, black)[0] != pytest.approx(ask(network, black, (0, 1, 1))[0], abs=1e-6)


def test_slices_count_in_any_order():
    slices = np.random.default_rng(2).random((5, 3, 32, 32))
    network = toy_network()
    logits, weights, code = ask(network, slices)
    back = ask(network, slices[::-1])
    assert back[0] == pytest.approx(logits, abs=1e-5) and back[2] == pytest.approx(code, abs=1e-5)
    assert back[1] == pytest.approx(weights[::-1], abs=1e-5)
    assert weights.sum() == pytest.approx(1)


def test_unknown_features_count_as_usual():
    network = toy_network()
    known = torch.randn(20, len(FEATURES)) * 3 + 7
    known[:5, 0] = np.nan
    network.know_features(known)
    assert float(network.usual[0]) == pytest.approx(float(known[5:, 0].mean()), abs=1e-4)
    slices = np.full((2, 3, 32, 32), 0.4)
    usual = network.usual.numpy()
    assert ask(network, slices, features=usual)[0] == pytest.approx(
        ask(network, slices, features=np.full(len(FEATURES), np.nan))[0], abs=1e-5)


# --- decision ------------------------------------------------------------------------------------


def classified(logits, code=None, doubts=(), **options):
    classifier = Classifier(toy_network(), toy_certainty(600), **options)
    code = np.eye(8)[int(np.argmax(logits))] if code is None else code
    classifier._look = lambda *_: (np.array(logits, float), np.array([1.0]), code,
                                   np.zeros((1, 8, 8)))
    return classifier(np.zeros((1, 3, 8, 8)), [True] * 3, 30.0, 20.0, doubts)


def test_one_kind_that_is_left_is_the_decision():
    found = classified([20.0, -10.0, -10.0])
    assert found.decision == "glioblastoma" and found.prediction_set == ["glioblastoma"]
    assert found.cautions == [CAUTIONS["glioblastoma"]] and not found.doubts
    json.dumps(found.written())


def test_several_kinds_are_no_decision_and_each_has_its_caution():
    found = classified([3.0, 3.0, -20.0])
    assert found.decision == UNCERTAIN and set(found.prediction_set) == {"glioblastoma", "lymphoma"}
    assert any("steroids before the biopsy" in caution for caution in found.cautions)


def test_what_was_never_seen_is_not_decided():
    found = classified([20.0, -10.0, -10.0], code=-np.ones(8))
    assert found.decision == UNCERTAIN and "hardly seen" in found.doubts[0]


def test_a_doubt_of_the_images_forbids_a_decision():
    found = classified([20.0, -10.0, -10.0], doubts=["No contrast agent."])
    assert found.decision == UNCERTAIN and found.doubts == ["No contrast agent."]
    assert found.prediction_set == ["glioblastoma"]


def test_a_network_without_numbers_is_not_believed():
    network = toy_network()
    with torch.no_grad():
        network.answer[3].bias.fill_(np.nan)
    classifier = Classifier(network, toy_certainty())
    with pytest.raises(BadInput, match="gives no numbers"):
        classifier(np.full((2, 3, 32, 32), 0.5), [True] * 3, 30.0, 20.0)


def test_saliency_is_that_of_what_the_answer_hangs_on():
    classifier = Classifier(toy_network(), toy_certainty())
    slices = np.full((3, 3, 64, 64), 0.3, np.float32)
    slices[1, :, 20:40, 20:40] = 0.9
    found = classifier(slices, [True] * 3, 30.0, 20.0)
    assert found.saliency.shape == (3, 64, 64)
    assert found.saliency.min() >= 0 and found.saliency.max() <= 1
    assert len(found.nearest) == NEIGHBOURS and found.attention.sum() == pytest.approx(1)


def test_what_is_left_out_is_not_counted():
    """One slice: the answer of the cells that remain, computed anew for each place."""
    network = toy_network()
    torch.manual_seed(1)
    seen, features = torch.rand(1, 1, TOY["widths"][-1], 4, 5), torch.zeros(1, TOY["features"])
    with torch.inference_mode():
        logits = network.judge(seen, features)[0][0]
        kind = int(logits.argmax())
        found = left_out(network, seen, features, kind)
        others = [number for number in range(3) if number != kind]
        for y, x in np.ndindex(4, 5):
            rest = torch.ones(4, 5, dtype=torch.bool)
            rest[max(0, y - 1):y + 2, max(0, x - 1):x + 2] = False
            left = network.judge(seen[..., rest][..., None, :], features)[0][0]
            fall = (logits[kind] - logits[others].logsumexp(0)) - (
                left[kind] - left[others].logsumexp(0))
            assert float(found[0, y, x]) == pytest.approx(max(0.0, float(fall)), abs=1e-5)


def test_the_answer_hangs_on_the_place_that_makes_it():
    network = toy_network()
    torch.manual_seed(2)
    usual = 0.1 * torch.rand(1, 5, TOY["widths"][-1], 8, 8)
    features = torch.zeros(1, TOY["features"])
    with torch.inference_mode():
        seen = usual.clone()
        seen[0, 2, :, 5, 1] = 12.0
        before, after = (network.judge(each, features)[0][0] for each in (usual, seen))
        kind = int((after - before).argmax())
        found = left_out(network, seen, features, kind).numpy()
    place = np.unravel_index(found.argmax(), found.shape)
    assert np.abs(np.subtract(place, (2, 5, 1))).max() <= 1
    far = found.copy()
    far[1:4, 4:7, 0:3] = 0
    assert far.max() < 0.2 * found.max()


# --- saliency in the images ----------------------------------------------------------------------


class _Shown:
    """As much of a study as cutting needs."""

    def __init__(self, image):
        self.reference, self.images, self.windows = image, {"t1c": image}, {"t1c": (0.0, 1.0)}


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3),
       st.floats(-8, 8), st.floats(-8, 8))
@settings(deadline=None, max_examples=15)
def test_squares_are_put_back_where_they_were_cut(order, flips, x, y):
    grid = sitk.Image([48, 52, 9], sitk.sitkFloat32)
    grid.SetSpacing([2.0, 2.0, 6.0])
    grid.SetOrigin([-47.0, -51.0, -24.0])
    grid = sitk.Flip(sitk.PermuteAxes(grid, order), [flip < 0 for flip in flips])
    region = Region((x, y, 0.0), 40.0, (3, 4, 5))
    smooth = np.outer(np.hanning(40), np.hanning(40)) ** 0.5
    saliency = np.stack([smooth * share for share in (0.3, 1.0, 0.6)])
    volume = saliency_volume(grid, region, saliency)
    again = pseudo_rgb(_Shown(volume), region, 40)[:, 2]
    assert np.abs(again - saliency)[:, 3:-3, 3:-3].max() < 0.06
    assert volume.GetDirection() == grid.GetDirection()
    # slices that were passed over lie between
    between = saliency_volume(grid, replace(region, slices=(3, 5)), saliency[[0, 2]])
    middle = pseudo_rgb(_Shown(between), replace(region, slices=(4,)), 40)[0, 2]
    assert np.abs(middle - 0.45 * smooth)[3:-3, 3:-3].max() < 0.06


# --- training ------------------------------------------------------------------------------------


def toy_patient(kind="lymphoma", count=4, seed=0):
    wide = round(WIDER * PIXELS)
    random = np.random.default_rng(seed)
    slices = np.zeros((count, 3, wide, wide), np.uint8)
    slices[:, :, 60:100, 50:90] = random.integers(100, 250, (count, 3, 1, 1))
    return PatientSlices(slices, 42.0, 24.0, kind, f"p{seed}", "site 1", "")


def test_a_patient_survives_being_saved(tmp_path):
    patient = toy_patient()
    save_patient(patient, tmp_path / "p.npz")
    again = read_patient(tmp_path / "p.npz")
    assert (again.slices == patient.slices).all()
    assert replace(again, slices=patient.slices) == patient


def test_slices_that_are_not_varied_are_the_middle():
    patient = toy_patient()
    random = np.random.default_rng(0)
    seen = {bool(np.allclose(vary(patient.slices, random, STILL)[0], middle_of(patient, 9),
                             atol=0.01)) for _ in range(8)}
    assert True in seen  # and mirrored otherwise
    assert len(middle_of(toy_patient(count=30), 16)) == 16


def test_the_same_number_gives_the_same_batch_of_all_kinds():
    patients = [toy_patient(kind, 3, seed) for seed, kind in enumerate(KINDS * 2)]
    batches = PatientBatches(patients, KINDS, 9, 20, 2, seed=1)
    items = [batches[number] for number in range(9)]
    again = PatientBatches(patients, KINDS, 9, 20, 2, seed=1)[7]
    assert all(np.array_equal(items[7][name], again[name], equal_nan=True) for name in again)
    assert again["image"].shape == (20, 2, 3, PIXELS, PIXELS)
    labels = torch.cat([item["label"] for item in items])
    assert torch.bincount(labels, minlength=3).min() > 35  # of 180
    present = torch.cat([item["present"] for item in items])
    assert (present[:, 1] == 0).float().mean() == pytest.approx(Ranges().absent[1], abs=0.09)
    assert ((present[:, 0] + present[:, 2]) > 0).all()


def test_what_is_left_out_is_black_and_unknown():
    patients = [toy_patient(kind, 3, seed) for seed, kind in enumerate(KINDS)]
    batches = PatientBatches(patients, KINDS, 4, 6, 3, 0, replace(STILL, absent=(1, 0, 0)))
    item = batches[0]
    assert (item["present"][:, 0] == 0).all() and (item["image"][:, :, 0] == 0).all()
    assert item["features"][:, FEATURES.index("t1 mean")].isnan().all()


def test_everything_a_card_says_is_measured():
    patients = [toy_patient(kind, 3, seed) for seed, kind in enumerate(KINDS * 4)]
    network, certainty = toy_network(), toy_certainty()
    found = answers(network, patients, KINDS)
    assert found.truth.tolist() == [0, 1, 2] * 4 and found.codes.shape == (12, 8)
    measured = measure(certainty, found, 0.1)
    right = (found.logits.argmax(1) == found.truth).mean()
    assert float(measured["accuracy"].split()[0]) == pytest.approx(right, abs=1e-3)
    assert measured["patients"] == 12 and measured["accuracy_atypical"] == "cannot be measured"
    assert set(without(network, patients, certainty)) == {
        f"accuracy_without_{name}" for name in ("t1", "t2", "t1c")}


def test_from_patients_to_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr(starter, "SETTINGS", replace(
        starter.SETTINGS, steps=3, warmup_steps=1, workers=0))
    monkeypatch.setattr(starter, "ARGUMENTS", TOY)
    (tmp_path / "patients").mkdir()
    for number in range(160):
        kind = KINDS[number // 10 % 3]
        save_patient(replace(toy_patient(kind, 2, number), patient=f"{number:05d}"),
                     tmp_path / "patients" / f"{number:05d}.npz")
    starter.train(tmp_path, device="cpu", steps=0)
    starter.export(tmp_path, tmp_path / "model")
    bundle = load_model(str(tmp_path / "model"))
    measured = bundle.metadata["eval_metrics"]
    assert measured["patients"] == 32 and "by patient" in measured["dataset"]
    assert "accuracy without t2" in bundle.model_card and "96 patients" in bundle.model_card
    known = classifier_of(bundle, "cpu", 0.1).certainty
    assert len(known.truth) == 32 and known.learned_names[0] == "simulated 00000"
    assert not {int(name.split()[1]) % 10 for name in known.learned_names} & {6, 7, 8, 9}


# --- command -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    paths = write_study(folder)
    low, high = (np.array(TUMOUR) - TUMOUR_MM - 4, np.array(TUMOUR) + TUMOUR_MM + 4)
    (folder / "roi.json").write_text(json.dumps(np.stack([low, high], 1).ravel().tolist()))
    return {**paths, "roi": str(folder / "roi.json")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy")


def options(study, *names):
    return [part for name in names for part in (f"--{name}", study[name])]


def test_the_command_writes_the_answer(given_study, model, tmp_path):
    code = app.run(["classify", *options(given_study, "t1", "t2", "t1c", "roi"), "--model",
                    str(model), "--output", str(tmp_path / "out"), "--progress", "none"])
    assert code == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert set(result["probabilities"]) == set(result["intervals"]) == set(KINDS)
    assert result["region"]["side_mm"] == pytest.approx(2 * (TUMOUR_MM + 4), abs=0.1)
    assert result["decision"] in (*KINDS, UNCERTAIN) and result["missing"] == []
    saliency = sitk.ReadImage(str(tmp_path / "out" / result["files"]["saliency"]))
    t1c = sitk.ReadImage(given_study["t1c"])
    assert saliency.GetSize() == t1c.GetSize() and saliency.GetOrigin() == t1c.GetOrigin()
    assert 0 < sitk.GetArrayFromImage(saliency).max() <= 1
    page = (tmp_path / "out" / "answer.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2 and "<svg" in page
    assert "simulated images only" in page
    assert "not a medical device" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "result.json", *result["files"].values()}


def test_without_a_region_the_tumour_is_looked_for(given_study, model, tmp_path):
    code = app.run(["classify", *options(given_study, "t1", "t2", "t1c"), "--model", str(model),
                    "--output", str(tmp_path / "out"), "--progress", "none"])
    assert code == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["region"]["centre_mm"] == pytest.approx(TUMOUR, abs=6)
    assert any("proposed and not drawn" in warning for warning in result["warnings"])


def test_one_sequence_may_be_missing_and_two_may_not(given_study, model, tmp_path, capsys):
    base = ["classify", *options(given_study, "roi"), "--model", str(model), "--progress", "none"]
    assert app.run([*base, *options(given_study, "t1", "t1c"), "--output",
                    str(tmp_path / "one")]) == 0
    result = json.loads((tmp_path / "one" / "result.json").read_text("utf-8"))
    assert result["missing"] == ["t2"]
    assert "T2 is missing" in (tmp_path / "one" / "answer.html").read_text("utf-8")
    code = app.run([*base, *options(given_study, "t1c"), "--output", str(tmp_path / "two")])
    assert code == BadInput.exit_code and not (tmp_path / "two").exists()
    assert "one of them at most" in capsys.readouterr().err


def test_no_sequences_or_both_ways_is_said_at_once(given_study, model, tmp_path, capsys):
    for given_too in ([], [*options(given_study, "t1c"), "--study", str(tmp_path)]):
        code = app.run(["classify", *given_too, "--output", str(tmp_path / "out")])
        assert code == 2 and "one of both" in " ".join(capsys.readouterr().err.split())


def test_the_folder_of_a_dicom_study_is_classified(model, tmp_path):
    """Series are recognised; nothing that tells the patient is in any file of the result."""
    folder = tmp_path / "study"
    for number, (sequence, header) in enumerate((
            ("t1", {"SeriesDescription": "T1 TSE tra"}),
            ("t2", {"SeriesDescription": "T2 TSE tra"}),
            ("flair", {"SeriesDescription": "T2 FLAIR"}),
            ("t1c", {"SeriesDescription": "T1 TSE +KM", "ContrastBolusAgent": "Gadovist"}),
    ), 1):
        image = scan(sequence, spacing=(2.0, 1.5, 5.0), seed=number)

        def edit(dataset, index, header=header):
            dataset.PatientName, dataset.PatientID = "Mustermann^Erika", "ID-471108154711"
            for name, value in header.items():
                setattr(dataset, name, value)

        write_series(folder, sitk.GetArrayFromImage(image), origin=image.GetOrigin(), spacing=5.0,
                     thickness=5.0, modality="MR", number=number, prefix=f"S{number}_", edit=edit)
    code = app.run(["classify", "--study", str(folder), "--model", str(model),
                    "--output", str(tmp_path / "out"), "--progress", "none"])
    assert code == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert {one["sequence"]: one["name"] for one in result["inputs"]} == {
        "t1": "series 1", "t2": "series 2", "t1c": "series 4"}
    assert np.allclose(result["region"]["centre_mm"], TUMOUR, atol=8)
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert not any(word in content for word in (
            b"Mustermann", b"471108154711", b"Gadovist"))
