# SPDX-License-Identifier: Apache-2.0
"""What scanners and archives do to images of a tumour, and how much that changes the answer."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from BrainTumorClassifyLib import robustness_report as report
from BrainTumorClassifyLib.__main__ import app
from BrainTumorClassifyLib.classification import Classifier
from BrainTumorClassifyLib.perturbations import (
    PERTURBATIONS,
    as_jpeg,
    as_jpeg_2000,
    blurred,
    decoded,
    encoded_as_jpeg_2000,
    noisy,
    shaded,
    shaded_and_corrected,
    thicker,
)
from BrainTumorClassifyLib.regions import Region
from BrainTumorClassifyLib.robustness import (
    UNCHANGED,
    Answer,
    Patient,
    answers_of,
    changes_of,
)
from BrainTumorClassifyLib.robustness_command import (
    chosen_perturbations,
    images_in,
    region_in,
)
from BrainTumorClassifyLib.study import make_study
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.perturbations import Perturbation

from .classify_factory import KINDS, toy_certainty, toy_network, write_toy_model
from .tumor_factory import TUMOUR, scan, write_study

STILL = Perturbation("nothing", "times", (1, 2), lambda study, strength, random: study.images)


@pytest.fixture(scope="module")
def study():
    return make_study({name: scan(name, spacing=(2.5, 2.5, 6.0), seed=number)
                       for number, name in enumerate(("t1", "t2", "t1c"))}, aligned=True)


@pytest.fixture(scope="module")
def patient(study):
    middle = study.reference.TransformPhysicalPointToIndex(TUMOUR)[2]
    return Patient(study, Region(TUMOUR, 40.0, (middle - 1, middle, middle + 1)))


def drawn(seed=0):
    return np.random.default_rng(seed)


def arrays(images):
    return {name: sitk.GetArrayFromImage(image) for name, image in images.items()}


def inside(mask):
    return sitk.GetArrayFromImage(mask) > 0


# --- perturbations -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PERTURBATIONS if name != "n4"])
def test_stronger_disturbs_more_and_keeps_the_grid(name, study):
    each, before = PERTURBATIONS[name], arrays(study.images)
    changed = []
    for strength in each.strengths:
        images = each.apply(study, strength, drawn())
        assert set(images) == set(study.images)
        assert all(image.GetPixelID() == sitk.sitkFloat32
                   and image.GetOrigin() == study.reference.GetOrigin()
                   and image.GetSize() == study.reference.GetSize() for image in images.values())
        after = arrays(images)
        changed.append(np.mean([np.abs(after[key] - before[key]).mean() for key in before]))
    assert changed == sorted(changed) and changed[0] > 0
    assert arrays(study.images)["t1"] == pytest.approx(before["t1"])  # what was given is untouched


def test_jpeg_stores_the_range_of_a_series_in_eight_bits(study):
    for name, after in arrays(as_jpeg(study, 0.0, drawn())).items():
        before = sitk.GetArrayFromImage(study.images[name])
        step = np.ptp(before) / 255
        assert np.abs(after - before).mean() < step  # rounding alone: a quarter of a step
        levels = (after - before.min()) / step
        assert np.abs(levels - np.rint(levels)).max() < 1e-2


@given(ratio=st.sampled_from([4, 10, 25, 60]), seed=st.integers(0, 5))
@settings(max_examples=12, deadline=None)
def test_jpeg_2000_is_as_small_as_was_asked(ratio, seed):
    random = drawn(seed)
    plane = np.rint(2000 + 500 * random.standard_normal((256, 224))).clip(0, 4095)
    plane = plane.astype(np.uint16)
    content = encoded_as_jpeg_2000(plane, ratio)
    assert len(content) <= plane.nbytes / ratio + 200  # header
    assert len(content) >= 0.8 * plane.nbytes / ratio
    assert decoded(content).shape == plane.shape and decoded(content).dtype == np.uint16


def test_jpeg_2000_keeps_twelve_bits(study):
    for name, after in arrays(as_jpeg_2000(study, 2.0, drawn())).items():
        before = sitk.GetArrayFromImage(study.images[name])
        assert np.abs(after - before).max() < np.ptp(before) / 1000
    narrow = make_thin(study)
    assert as_jpeg_2000(narrow, 5.0, drawn())["t1"].GetSize() == narrow.reference.GetSize()


def make_thin(study):
    """A study of few columns, as a narrow field has."""
    images = {name: image[:9, :, :] for name, image in study.images.items()}
    return replace(study, images=images, brain=study.brain[:9, :, :], head=study.head[:9, :, :])


@pytest.mark.parametrize("strength", [10, 40, 80])
def test_a_bias_field_is_as_strong_as_was_said_and_smooth(study, strength):
    before, after = arrays(study.images), arrays(shaded(study, strength, drawn()))
    brain = inside(study.brain)
    fields = [after[name][brain] / before[name][brain] for name in ("t1", "t2")]
    assert fields[0] == pytest.approx(fields[1], rel=1e-4)  # one coil
    assert fields[0].min() == pytest.approx(1 - strength / 200, abs=1e-3)
    assert fields[0].max() == pytest.approx(1 + strength / 200, abs=1e-3)
    ones = {"t1": image_like(np.ones(brain.shape, np.float32), study.reference)}
    field = sitk.GetArrayFromImage(shaded(replace(study, images=ones), strength, drawn())["t1"])
    for step, spacing in zip(np.gradient(field), study.reference.GetSpacing()[::-1], strict=True):
        assert np.abs(step[brain]).max() / spacing < 3 * strength / 100 / 50  # per mm
    assert field.min() > 0


def test_n4_takes_a_bias_field_out_again(study):
    one = replace(study, images={"t1": study.images["t1"]})
    brain = inside(study.brain)
    true = sitk.GetArrayFromImage(study.images["t1"])[brain]
    before, after = (sitk.GetArrayFromImage(apply(one, 60.0, drawn(1))["t1"])[brain] / true
                     for apply in (shaded, shaded_and_corrected))
    assert after.std() / after.mean() < 0.5 * before.std() / before.mean()


def test_noise_is_rician(study):
    after = arrays(noisy(study, 10.0, drawn()))
    for name, image in study.images.items():
        before = sitk.GetArrayFromImage(image)
        deviation = 0.1 * np.median(before[inside(study.brain)])
        bright = before > 8 * deviation
        assert (after[name] - before)[bright].std() == pytest.approx(deviation, rel=0.1)
        empty = image_like(np.where(inside(study.brain), before, 0).astype(np.float32), image)
        noise = sitk.GetArrayFromImage(noisy(replace(study, images={name: empty}), 10.0,
                                             drawn())[name])[~inside(study.brain)]
        # Rayleigh's distribution: Gudbjartsson & Patz, Magn Reson Med 1995
        assert noise.mean() == pytest.approx(deviation * math.sqrt(math.pi / 2), rel=0.02)
        assert noise.std() == pytest.approx(deviation * math.sqrt(2 - math.pi / 2), rel=0.02)


@pytest.mark.parametrize("apply, along", [(thicker, True), (blurred, False)])
def test_averages_are_taken_along_slices_or_within(study, apply, along):
    size = study.reference.GetSize()[::-1]
    x, y, z = np.meshgrid(*map(np.arange, size[::-1]), indexing="ij")
    within = (np.sin(1.3 * x) + np.sin(1.3 * y)).T
    across = np.where(z % 4 < 2, 1.0, -1.0).T
    for pattern, averaged in ((within, not along), (across, along)):
        image = image_like((5 + pattern).astype(np.float32), study.reference)
        after = sitk.GetArrayFromImage(apply(replace(study, images={"t1": image}), 4.0,
                                             drawn())["t1"])
        inner = (slice(4, -4),) * 3
        left = (after - 5)[inner].std() / pattern[inner].std()
        assert left < 0.5 if averaged else left > 0.95
        assert after[inner].mean() == pytest.approx(5 + pattern[inner].mean(), abs=0.2)


# --- answers -------------------------------------------------------------------------------------


def classifier():
    return Classifier(toy_network(), toy_certainty())


def test_what_changes_nothing_changes_no_answer(patient):
    answers = list(answers_of(1, patient, classifier(), [STILL]))
    assert [(each.perturbation, each.strength) for each in answers] == [
        (UNCHANGED, 0.0), ("nothing", 1.0), ("nothing", 2.0)]
    assert all(each.probabilities == answers[0].probabilities for each in answers)
    for change in changes_of(answers):
        assert change.decisions.value == change.kinds.value == change.largest == 0
        assert math.isnan(change.decisions.low)  # of one patient


def test_the_answer_is_that_of_the_images_that_were_changed(patient):
    """Brighter images look the same, because grey values are fixed anew; mirrored ones do not."""
    brighter = Perturbation("gain", "times", (3,), lambda study, strength, random: {
        name: strength * image for name, image in study.images.items()})
    mirrored = Perturbation("mirror", "", (1,), lambda study, strength, random: {
        name: image_like(sitk.GetArrayFromImage(image)[:, ::-1].copy(), image)
        for name, image in study.images.items()})
    before, same, other = answers_of(1, patient, classifier(), [brighter, mirrored])
    assert same.probabilities == pytest.approx(before.probabilities, abs=1e-3)
    assert other.probabilities != pytest.approx(before.probabilities, abs=1e-3)


def test_the_same_seed_gives_the_same_answers(patient):
    strong = replace(PERTURBATIONS["noise"], strengths=(20,))

    def ask(seed):
        return list(answers_of(1, patient, classifier(), [strong], seed))

    assert ask(0) == ask(0) != ask(1)


def said(number, perturbation, strength, probability, decision):
    rest = (1 - probability) / 2
    return Answer(number, perturbation, "x", strength,
                  dict(zip(KINDS, (probability, rest, rest), strict=True)), (KINDS[0],), decision)


def test_changes_are_counted_by_patient_with_exact_intervals():
    answers = []
    for number in range(1, 11):
        answers.append(said(number, UNCHANGED, 0.0, 0.9, KINDS[0]))
        answers.append(said(number, "noise", 1.0, 0.8, KINDS[0]))
        worse = number <= 3
        answers.append(said(number, "noise", 2.0, 0.2 if worse else 0.7,
                            "uncertain" if worse or number == 4 else KINDS[0]))
    weak, strong = changes_of(answers)
    assert (weak.strength, weak.decisions.value, weak.decisions.n) == (1.0, 0.0, 10)
    assert weak.decisions.high == pytest.approx(1 - 0.025 ** (1 / 10))  # Clopper & Pearson
    assert weak.probability.value == pytest.approx(0.8) and weak.largest == pytest.approx(-0.1)
    assert strong.decisions.value == pytest.approx(0.4) and strong.kinds.value == pytest.approx(0.3)
    exact = stats.binomtest(4, 10).proportion_ci(0.95, "exact")
    assert (strong.decisions.low, strong.decisions.high) == pytest.approx((exact.low, exact.high))
    assert strong.probability.value == pytest.approx(0.55) and strong.largest == pytest.approx(-0.7)
    assert strong.probability.low < 0.55 < strong.probability.high


# --- folders, report, command --------------------------------------------------------------------


def test_a_folder_tells_its_sequences_and_its_region(tmp_path):
    assert images_in(tmp_path) == tmp_path and region_in(tmp_path) is None
    for name in ("T1.nii.gz", "t1c.nrrd", "roi.mrk.json", "report.txt"):
        (tmp_path / name).touch()
    (tmp_path / "t2").mkdir()
    assert {name: path.name for name, path in images_in(tmp_path).items()} == {
        "t1": "T1.nii.gz", "t2": "t2", "t1c": "t1c.nrrd"}
    assert region_in(tmp_path).name == "roi.mrk.json"
    (tmp_path / "t1.nrrd").touch()
    with pytest.raises(BadInput, match="leave one of them"):
        images_in(tmp_path)
    with pytest.raises(BadInput, match="is not a folder"):
        images_in(tmp_path / "t1.nrrd")


def test_only_some_perturbations_may_be_chosen():
    assert chosen_perturbations(()) == list(PERTURBATIONS.values())
    assert chosen_perturbations(("noise", "jpeg", "noise")) == [
        PERTURBATIONS["noise"], PERTURBATIONS["jpeg"]]
    with pytest.raises(BadInput, match='"rain" is nothing'):
        chosen_perturbations(("rain",))


@pytest.mark.parametrize("patients", [1, 4])
def test_curves_and_report(patients, tmp_path):
    answers = []
    for number in range(1, 1 + patients):
        answers.append(said(number, UNCHANGED, 0.0, 0.9, KINDS[0]))
        answers += [said(number, name, strength, 0.9 - strength / 10, "uncertain")
                    for name in ("noise", "bias & N4") for strength in (0.0, 1.0, 2.0)]
    changes = changes_of(answers)
    report.draw_curves(answers, changes, tmp_path / "curves.png")
    page = report.page(answers, changes, tmp_path, {"curves": "curves.png"}, ["A note"])
    root = ElementTree.fromstring(page.removeprefix("<!doctype html>"))
    text = " ".join(root.itertext())
    assert "bias & N4" in text and f"{patients} of {patients}" in text and "A note" in text
    assert len(root.findall(".//table")[1].findall("tr")) == 1 + 6
    assert "data:image/png;base64," in page


def test_the_command_writes_what_changed(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    write_study(folder, ("t1", "t1c"), spacing=(2.5, 2.5, 6.0))
    bounds = np.stack([np.array(TUMOUR) - 20, np.array(TUMOUR) + 20], 1)
    (folder / "roi.json").write_text(json.dumps(bounds.ravel().tolist()), "utf-8")
    model = write_toy_model(tmp_path / "model")
    output = tmp_path / "out"
    code = app.run(["robustness", str(folder), "--model", str(model), "--only", "noise", "--only",
                    "thickness", "--output", str(output), "--progress", "none"])
    assert code == 0
    result = json.loads((output / "result.json").read_text("utf-8"))
    assert result["studies"] == 1 and len(result["changes"]) == 5 + 3
    with (output / "robustness.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + 5 + 3 and rows[0]["perturbation"] == UNCHANGED
    assert all(sum(float(row[kind]) for kind in KINDS) == pytest.approx(1, abs=1e-3)
               for row in rows)
    assert {path.name for path in output.iterdir()} == {"result.json", *result["files"].values()}


def test_a_study_that_cannot_be_used_is_named_by_its_number(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    model = write_toy_model(tmp_path / "model")
    code = app.run(["robustness", str(tmp_path / "empty"), "--model", str(model), "--output",
                    str(tmp_path / "out"), "--progress", "none"])
    assert code == BadInput.exit_code and "Study 1:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
