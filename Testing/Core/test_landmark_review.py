# SPDX-License-Identifier: Apache-2.0
"""What a sceptical reading of the landmark library found wrong, held so that it stays right."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from LandmarkPretrainLib import search_command, transfer_command
from LandmarkPretrainLib.__main__ import app
from LandmarkPretrainLib.arms import AlexNetFeatures, Arm
from LandmarkPretrainLib.boosting import STRENGTHS, boost, probe
from LandmarkPretrainLib.candidates import find_candidates
from LandmarkPretrainLib.cifar import RECORD, read_cifar
from LandmarkPretrainLib.free_response import FreeResponse, Marked
from LandmarkPretrainLib.imagenet import imagenet_arm
from LandmarkPretrainLib.landmark_cases import read_cases
from LandmarkPretrainLib.landmark_files import read_landmarks
from LandmarkPretrainLib.landmark_formats import confidence_in
from LandmarkPretrainLib.landmark_sides import problems_of
from LandmarkPretrainLib.landmarks_command import read_named_labels
from LandmarkPretrainLib.lesion_sets import Lesion, LesionCase, LesionSet, read_lesion_set
from LandmarkPretrainLib.pseudo_landmarks import derive_landmarks
from LandmarkPretrainLib.pseudo_landmarks_table import read_table
from LandmarkPretrainLib.region import search_region
from LandmarkPretrainLib.transfer_bootstrap import draw_patients
from LandmarkPretrainLib.transfer_fits import Task
from LandmarkPretrainLib.transfer_report import _comparisons
from LandmarkPretrainLib.transfer_samples import Places, SampleSettings, gather
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd


def written(path, text):
    path.write_text(text, "utf-8")
    return path


def volume(array, spacing=1.0):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing,) * 3)
    return image


def tilted(image, degrees):
    """About the axis that runs to the left."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    image.SetDirection((1, 0, 0, 0, cosine, -sine, 0, sine, cosine))
    return image


# --- files of points -----------------------------------------------------------------------------


@pytest.mark.parametrize("content, said", [
    ('{"a": [1' + "0" * 400 + ", 0, 0]}", "no valid position"),
    ('{"carina": [1, 2, 3], "carina": [4, 5, 6]}', 'has "carina" twice'),
])
def test_numbers_beyond_all_bounds_and_names_given_twice(tmp_path, content, said):
    with pytest.raises(BadInput, match=said):
        read_landmarks(written(tmp_path / "a.json", content))


@pytest.mark.parametrize("text, confidence", [
    ("confidence 0.93", 0.93), ("confidence=1, by eye", 1.0), ("confidence: .5", 0.5),
    ("confidence 0,93", 0.93), ("confidence 5e-05", 5e-5), ("confidence 10 %", None),
    ("confidence 12", None), ("confidence 1.5", None), ("confidence high", None),
])
def test_all_of_a_number_is_the_confidence(text, confidence):
    assert confidence_in(text) == confidence


def test_little_confidence_is_not_taken_for_much(tmp_path):
    found = read_landmarks(written(tmp_path / "a.csv",
                                   "name,l,p,s,confidence\na,1,2,3,5e-05\nb,2,3,4,0.5\n"))
    np.testing.assert_allclose(found.confidence, [5e-5, 0.5])
    found = read_landmarks(written(tmp_path / "b.csv", "name;l;p;s;confidence\na;1;2;3;0,3\n"))
    np.testing.assert_allclose(found.confidence, [0.3])


def write_list(folder, **images):
    """A list of images, each with its points."""
    folder.mkdir(exist_ok=True)
    entries = []
    for name, (image, points) in images.items():
        sitk.WriteImage(image, folder / f"{name}.nrrd")
        written(folder / f"{name}.json", json.dumps(points))
        entries.append({"image": f"{name}.nrrd", "landmarks": f"{name}.json", "patient": name})
    return written(folder / "list.json", json.dumps({"training": entries}))


def test_a_picture_of_two_dimensions_is_refused_in_a_sentence(tmp_path):
    flat = sitk.GetImageFromArray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    points = {"a": [1, 2, 0], "b": [3, 2, 0]}
    cases = read_cases(write_list(tmp_path, one=(flat, points), two=(flat, points)), "MR")
    with pytest.raises(BadInput, match="only one slice"):
        cases.parts["training"][0].read()


@pytest.mark.timeout(100)
def test_many_landmarks_are_checked_in_little_time(tmp_path):
    # took minutes for each of the three files
    points = np.random.default_rng(0).uniform(1, 60, (60_000, 3)).round(6)
    image = volume(np.zeros((64, 64, 64), np.uint8))
    known = {f"p {number}": point for number, point in enumerate(points.tolist())}
    path = write_list(tmp_path, one=(image, known), two=(image, known))
    assert len(read_cases(path, "MR").names) == 60_000
    known["p 7"] = known["p 19000"]
    with pytest.raises(BadInput, match='"p 7" and "p 19000" of one.nrrd lie at one place'):
        read_cases(write_list(tmp_path, one=(image, known)), "MR", least_patients=1)


@pytest.mark.timeout(60)
def test_sides_of_many_landmarks_are_compared_in_little_time():
    names = [f"{number} {side}" for number in range(40_000) for side in ("left", "right")]
    case = dict(zip(names, np.random.default_rng(0).normal(0, 50, (len(names), 3)), strict=True))
    assert problems_of([case, case]) == ({}, {})


# --- landmarks of a segmentation -----------------------------------------------------------------

TABLE = "landmark,structures,rule,argument\n"


def reaching_up(degrees=0):
    """A label map whose structure is cut off at its upper end."""
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[30:, 20:40, 20:40] = 1
    return tilted(volume(labels, 2.0), degrees)


@pytest.mark.parametrize("degrees", [0, 4, 20, -20, 40])
def test_what_is_cut_off_is_known_in_tilted_volumes_too(tmp_path, degrees):
    rules = read_table(written(tmp_path / "t.csv", TABLE + "top,liver,extreme,superior\n"
                               "middle,liver,centroid,\nbottom,liver,extreme,inferior\n"))
    found = derive_landmarks(reaching_up(degrees), {1: ("liver",)}, rules)
    assert found.landmarks.names == ("bottom",)
    assert all("cut off" in why and "superior" in why for why in found.skipped.values())


def test_ends_of_structures_that_may_be_missing(tmp_path):
    rules = read_table(written(
        tmp_path / "t.csv", TABLE + "a,liver@inferior 10+spleen?,centroid,\n"
        "b,liver@inferior 10+spleen?@superior 5,centroid,\nc,liver@inferior 10,centroid,\n"
        "d,spleen?@superior 5,centroid,\n"))
    found = derive_landmarks(reaching_up(), {1: ("liver",)}, rules)
    assert found.landmarks.names == ("a", "b", "c")
    np.testing.assert_array_equal(found.landmarks.points, found.landmarks.points[[2, 2, 2]])
    assert found.skipped == {"d": "spleen is not in the segmentation"}


@pytest.mark.parametrize("structures", ["a+b?", "a@superior 5"])
def test_a_mean_of_parts_of_landmarks_is_refused(tmp_path, structures):
    path = written(tmp_path / "t.csv", f"{TABLE}a,liver,centroid,\nb,liver,centroid,\n"
                   f"m,{structures},mean,\n")
    with pytest.raises(BadInput, match="line 4: mean takes landmarks as they are"):
        read_table(path)


@pytest.mark.timeout(60)
def test_a_long_table_is_read_in_little_time(tmp_path):
    # 3000 lines took two minutes on a busy machine
    path = written(tmp_path / "t.csv", TABLE + "".join(
        f"n{number},liver,centroid,\n" for number in range(20_000)))
    assert len(read_table(path)) == 20_000


def geometry(matrix, extent):
    numbers = [*np.ravel(matrix), *extent]
    return f"Reference image geometry|{';'.join(f'{number:g}' for number in numbers)};|whatever&"


RAS = np.diag([-2.0, -2.0, 2.0, 1.0])
WHOLE = (0, 59, 0, 59, -20, 59)


@pytest.mark.parametrize("matrix, extent", [
    (RAS, (0, 10**6, 0, 10**6, 0, 10**6)),
    (RAS[:, [0, 0, 2, 3]], WHOLE),
    (RAS, (0, np.inf, 0, 59, 0, 59)),
    (RAS + np.nan * np.eye(4, k=3), WHOLE),
    (RAS, WHOLE),
])
def test_a_segmentation_that_tells_no_grid_is_taken_as_it_is(tmp_path, matrix, extent):
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(path, reaching_up(), [SegmentDescription(1, "liver", "liver", (1, 2, 3))])
    content = path.read_bytes().replace(
        b"Segmentation_ConversionParameters:=",
        b"Segmentation_ConversionParameters:=" + geometry(matrix, extent).encode())
    path.write_bytes(content)
    labels, _, _ = read_named_labels(path)
    told = matrix is RAS and extent is WHOLE
    assert labels.GetSize() == ((60, 60, 80) if told else (60, 60, 60))


# --- lesions and regions -------------------------------------------------------------------------


def test_voxels_without_a_value_are_no_lesion_and_no_region(tmp_path):
    mask = np.full((20, 20, 20), np.nan, np.float32)
    mask[5:8, 5:8, 5:8] = 1
    image = volume(np.arange(8000, dtype=np.float32).reshape(20, 20, 20))
    entries = []
    for number in range(6):
        sitk.WriteImage(image, tmp_path / f"{number}.nrrd")
        sitk.WriteImage(volume(mask), tmp_path / f"{number}-mask.nrrd")
        entries.append({"image": f"{number}.nrrd", "lesions": f"{number}-mask.nrrd",
                        "patient": str(number)})
    found = read_lesion_set(written(tmp_path / "l.json", json.dumps({"training": entries})))
    for case in found.training + found.test:
        [lesion] = case.lesions
        assert lesion.centre == (6, 6, 6) and lesion.diameter_mm == pytest.approx(3.7221, abs=1e-3)
    region = search_region(image, tmp_path / "0-mask.nrrd", "MR")
    assert sitk.GetArrayFromImage(region).sum() == 27


@pytest.mark.parametrize("text, diameter", [("4,7", 4.7), ("12.5", 12.5), ("9" * 400, None)])
def test_diameters_with_a_comma_and_beyond_all_bounds(tmp_path, text, diameter):
    entries = []
    for number in range(6):
        sitk.WriteImage(volume(np.zeros((4, 4, 4), np.uint8)), tmp_path / f"{number}.nrrd")
        written(tmp_path / f"{number}.csv", "name;x;y;z;description\n"
                                            f"a;1,5;1;1;diameter_mm={text}\n")
        entries.append({"image": f"{number}.nrrd", "lesions": f"{number}.csv",
                        "patient": str(number)})
    found = read_lesion_set(written(tmp_path / "l.json", json.dumps({"training": entries})))
    assert found.training[0].lesions == (Lesion((1.5, 1.0, 1.0), diameter),)


@pytest.mark.parametrize("scale, offset", [(1 / 630, 0), (1 / 200, -1)])
def test_the_brain_is_found_in_tilted_images_of_any_scale(scale, offset):
    z, y, x = np.indices((60, 70, 64))
    inside = ((z - 30) / 22) ** 2 + ((y - 35) / 26) ** 2 + ((x - 32) / 24) ** 2 < 1
    values = (600 * inside + np.random.default_rng(0).normal(30, 10, inside.shape)).clip(0)
    image = tilted(volume((values * scale + offset).astype(np.float32), 3.0), 20)
    found = sitk.GetArrayFromImage(search_region(image, "brain", "MR")) > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.95


@pytest.mark.parametrize("where", [np.s_[30, 30, 30], np.s_[30, 20:40, 30]])
def test_a_region_much_smaller_than_what_it_is_searched_with(where):
    image = volume(np.random.default_rng(0).normal(100, 10, (60, 60, 60)).astype(np.float32), 0.3)
    region = np.zeros((60, 60, 60), np.uint8)
    region[where] = 1
    found = find_candidates(image, volume(region, 0.3), "other")
    places = np.argwhere(region)[:, ::-1] * 0.3
    assert len(found)
    assert np.linalg.norm(found.points[:, None] - places, axis=2).min(1).max() < 2.5


# --- the work folder -----------------------------------------------------------------------------

SETTINGS = SampleSettings("MR", "lung", (8.0,), normals=2, copies=1)


def write_volume(path, seed):
    image = volume(np.random.default_rng(seed).normal(100, 10, (24, 24, 24)).astype(np.float32))
    sitk.WriteImage(image, path)


def cases_in(folder, count=4, ending="nrrd"):
    found = []
    for number in range(count):
        write_volume(folder / f"{number}.{ending}", number)
        found.append(LesionCase(folder / f"{number}.{ending}", (Lesion((12.0, 12.0, 12.0), 4.0),),
                                f"p{number}", "", f"item {number}"))
    return found


def somewhere(image, case, settings, seed):
    normals = np.random.default_rng(seed).uniform(4, 20, (4, 3))
    return Places(np.array([[12.0, 12, 12], [5.0, 5, 5]]), np.array([0, -1]), normals)


def test_the_order_of_a_list_draws_anew_whatever_the_work_folder_has(tmp_path):
    cases = cases_in(tmp_path)
    listed = LesionSet(tuple(cases[:2]), tuple(cases[2:]), True)
    turned = LesionSet(tuple(cases[1::-1]), tuple(cases[2:]), True)
    gather(turned, SETTINGS, somewhere, tmp_path / "used")
    used, fresh = (gather(listed, SETTINGS, somewhere, tmp_path / name)
                   for name in ("used", "fresh"))
    assert used.fingerprint == fresh.fingerprint
    np.testing.assert_array_equal(used.points, fresh.points)
    np.testing.assert_array_equal(used.patches, fresh.patches)


def counting(count):
    def find(*arguments):
        count.append(1)
        return somewhere(*arguments)

    return find


@pytest.mark.parametrize("name", ["mask.nrrd", "a=b/mask.nrrd", "vessels=mask.nrrd",
                                  "vessels=a=b/mask.nrrd", "masks", "a=b"])
def test_a_mask_that_changed_is_read_again(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = cases_in(tmp_path)
    kind, _, place = name.rpartition("vessels=")
    place = Path(place)
    masks = [place] if place.suffix else [place / case.image.name for case in cases]
    for mask in masks:
        mask.parent.mkdir(exist_ok=True)
        write_volume(mask, 7)
    listed = LesionSet(tuple(cases[:2]), tuple(cases[2:]), True)
    count = []
    for _ in range(2):
        gather(listed, replace(SETTINGS, region=name), counting(count), tmp_path / "work")
    assert len(count) == 4
    os.utime(masks[0], (1, 1))
    gather(listed, replace(SETTINGS, region=name), counting(count), tmp_path / "work")
    assert len(count) == (8 if place.suffix else 5), "of a folder the one mask alone is looked at"


def test_voxels_beside_their_header_that_changed_are_read_again(tmp_path):
    cases = cases_in(tmp_path, ending="mhd")
    listed = LesionSet(tuple(cases[:2]), tuple(cases[2:]), True)
    before = gather(listed, SETTINGS, somewhere, tmp_path / "work")
    voxels = np.random.default_rng(50).normal(100, 10, (24, 24, 24)).astype("<f4")
    (tmp_path / "0.raw").write_bytes(voxels.tobytes())
    after = gather(listed, SETTINGS, somewhere, tmp_path / "work")
    same = [np.array_equal(*(each.patches[each.case == number] for each in (before, after)))
            for number in range(4)]
    assert same == [False, True, True, True]


def test_a_fit_belongs_to_the_patients_of_its_list(tmp_path):
    cases = cases_in(tmp_path)
    samples = gather(LesionSet(tuple(cases[:3]), tuple(cases[3:]), True), SETTINGS, somewhere,
                     tmp_path / "work")
    corrected = replace(samples, cases=(cases[0], replace(cases[1], patient="p0"), *cases[2:]))
    task = Task(Arm("random", "", "f", ()), 0, "probe", 1, 1, 0)
    assert task.key(samples) == task.key(replace(samples))
    assert task.key(samples) != task.key(corrected)


def test_images_of_one_name_cannot_have_a_mask_each(tmp_path):
    entries = []
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_volume(folder / "ct.nrrd", number)
        written(folder / "l.csv", "name,x,y,z\na,12,12,12\n")
        entries.append({"image": f"{number}/ct.nrrd", "lesions": f"{number}/l.csv",
                        "patient": str(number)})
    listed = written(tmp_path / "l.json", json.dumps({"training": entries}))
    (tmp_path / "masks").mkdir()
    options = transfer_command.Options(listed, tmp_path / "work", region=str(tmp_path / "masks"))
    with pytest.raises(BadInput, match="6 images are named ct.nrrd"), run_job(
            module="LandmarkPretrain", command="transfer", output=tmp_path / "out", device="cpu",
            progress="none", seed=0) as job:
        transfer_command.run(job, options, str)


def test_a_result_names_the_mask_and_not_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer_command, "run", lambda job, options, say: None)
    place = tmp_path / "Jane Doe" / "mask.nrrd"
    done = CliRunner().invoke(app, [
        "transfer", "--lesions", str(tmp_path / "l.json"), "--output", str(tmp_path / "out"),
        "--region", f"vessels={place}", "--device", "cpu", "--progress", "none"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "result.json").read_text("utf-8")
    assert "mask.nrrd" in text and "Jane Doe" not in text


# --- fits and weights ----------------------------------------------------------------------------


def test_features_that_are_no_numbers_are_not_called_chance():
    features = np.random.default_rng(0).normal(size=(50, 5))
    lesion = np.arange(50) % 2 == 0
    assert not boost(np.ones((50, 5)), lesion, 3)(features).any(), "chance is"
    features[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        boost(features, lesion, 3)
    with pytest.raises(BadInput, match="network of ImageNet gives features that are no numbers"):
        transfer_command._finite(Arm("imagenet", "", "", ()), [features])


def uneven_patients():
    """Patients of whom grouped folds put all with a lesion into some, and none into another."""
    random = np.random.default_rng(26)
    patients = random.integers(3, 14)
    ill = random.integers(2, min(patients, 6) + 1)
    of, lesion = [], []
    for patient in range(patients):
        cases = random.integers(1, 4)
        normal = 20 * cases if random.random() < 0.7 else random.integers(1, 20)
        found = 6 * random.integers(1, 6) if patient < ill else 0
        of += [patient] * (normal + found)
        lesion += [False] * normal + [True] * found
    return np.array(of), np.array(lesion)


def test_a_fold_of_one_class_does_not_decide_on_the_strength():
    from sklearn.model_selection import StratifiedGroupKFold

    patients, lesion = uneven_patients()
    folds = StratifiedGroupKFold(4, shuffle=True, random_state=0)
    assert any(not lesion[judged].any() for _, judged in folds.split(lesion, lesion, patients))
    random = np.random.default_rng(1)
    features = random.normal(size=(len(lesion), 60))
    features[lesion, 0] += 3  # one feature tells, the others are noise that weak fits average
    scorer = probe(features, lesion, patients, 0)
    weakest = np.abs(scorer(np.eye(60)) - scorer(np.zeros((1, 60)))).max()
    assert weakest > 0.1, f"a strength of {STRENGTHS[0]} was taken unseen"


def npz(path, change=lambda name, array: array, save=np.savez_compressed):
    arrays, inputs = {}, 3
    random = np.random.default_rng(0)
    for number, (width, side) in enumerate(zip(AlexNetFeatures.WIDTHS, AlexNetFeatures.KERNELS,
                                               strict=True)):
        for part, shape in (("kernel", (side, side, inputs, width)), ("bias", (width,))):
            name = f"AlexNet_0__Conv_{number}__{part}"
            arrays[name] = change(name, random.random(shape).astype(np.float32))
        inputs = width
    save(path, **arrays)
    return path


@pytest.mark.parametrize("damage", ["empty", "bytes", "nan"])
def test_damaged_weights_are_refused(tmp_path, damage):
    path = npz(tmp_path / "a.npz", (lambda name, array: array * np.nan) if damage == "nan"
               else lambda name, array: array)
    content = bytearray(path.read_bytes())
    if damage == "bytes":
        content[3000:3100] = b"\xff" * 100
    path.write_bytes(b"" if damage == "empty" else content)
    with pytest.raises(BadInput, match="does not hold the convolutions"):
        imagenet_arm(path)


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_a_damaged_archive_of_photographs_is_refused(tmp_path, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        content = np.random.default_rng(0).integers(0, 10, RECORD * 40).astype(np.uint8)
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.tobytes()))
    whole = buffer.getvalue()
    path = tmp_path / f"a.tar.{kind}"
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_cifar(path).labels, content.reshape(40, -1)[:, 0])
    for seed in range(10):
        damaged = bytearray(whole)
        place = np.random.default_rng(seed).integers(1000, len(whole) - 100)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="damaged"):
            read_cifar(path)


# --- statistics ----------------------------------------------------------------------------------


def test_free_response_of_many_cases_needs_little_memory():
    random = np.random.default_rng(0)
    curve = FreeResponse([Marked(number, random.normal(1, 1, 1), random.normal(0, 1, 40))
                          for number in range(200)])
    weights = draw_patients(200, (0,), 2000)
    few = np.concatenate([curve.sensitivities(part) for part in np.split(weights, 40)])
    tracemalloc.start()
    found = curve.sensitivities(weights)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, few)
    assert most < 2000 * 8000 * 8, "less than one number for each false mark of each resampling"


def test_arms_that_differ_without_variance_are_not_called_alike():
    p = dict.fromkeys(("delong", "clustered", "bootstrap", "holm"))
    pairs = [{"pair": ["landmarks", "random"], "learners": 1, "p": p,
              "difference": {"value": value, "low": None, "high": None, "n": 9}}
             for value in (0.5, 0.0)]
    rows = _comparisons({"classifier": "adaboost", "comparisons": pairs})[-1].split("<tr>")[2:]
    assert "alike" not in rows[0] and rows[0].count("cannot be measured") == 4
    assert rows[1].count("alike") == 4


# --- search --------------------------------------------------------------------------------------


def test_a_trial_that_was_killed_comes_anew(tmp_path):
    optuna = pytest.importorskip("optuna")
    study = search_command._study(optuna, tmp_path / "j.jsonl", 0)
    study.optimize(lambda trial: trial.suggest_float("patch_mm", 20, 90), 2)
    study.ask()  # and killed
    study = search_command._study(optuna, tmp_path / "j.jsonl", 0)
    assert len(study.trials) == 3 and study.trials[2].state.name == "FAIL"
    assert [trial.number for trial in search_command._done(study)] == [0, 1]
