# SPDX-License-Identifier: Apache-2.0
"""From a list of volumes with lesions to curves, tables and a report, on small volumes."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchvision_schemas
from LandmarkPretrainLib import imagenet, transfer_samples
from LandmarkPretrainLib.arms import (
    AlexNetFeatures,
    Features,
    features_of,
    landmark_arm,
    mini_vgg_like,
    random_arm,
)
from LandmarkPretrainLib.cifar import read_cifar
from LandmarkPretrainLib.imagenet import ALEXNET, imagenet_arm
from LandmarkPretrainLib.lesion_sets import (
    Lesion,
    LesionCase,
    check_inside,
    lesions_in_mask,
    read_lesion_set,
)
from LandmarkPretrainLib.networks import LandmarkCascade, MiniVGG
from LandmarkPretrainLib.recipes import Recipe
from LandmarkPretrainLib.transfer_command import Options, run
from LandmarkPretrainLib.transfer_photographs import cifar_arm
from LandmarkPretrainLib.transfer_places import named, parted
from LandmarkPretrainLib.transfer_report import finding
from LandmarkPretrainLib.transfer_samples import Places, SampleSettings, gather
from ReadingRoomLib.bundles import load_bundle, write_bundle
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput, Cancelled
from ReadingRoomLib.phantoms.head_vessels import MRASettings, simulate_mra

torchvision_schemas.install()
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CONVOLUTIONS = DATA / "weights_imagenet_alexnet_features" / "alexnet_lpips.npz"
SEED_RECIPE = Recipe("seed", 48.0, depth=2, hidden=24)
MODERN_RECIPE = Recipe("modern", 48.0, coarse=(8, 8), fine=(8, 8))


# --- toys ----------------------------------------------------------------------------------------


def toy_case(seed, lesions):
    """A volume with straight bright lines; lesions are bright balls beside them. LPS mm."""
    random = np.random.default_rng([7, seed])
    values = random.normal(100, 12, (44, 48, 52)).astype(np.float32)
    z, y, x = np.indices(values.shape)
    lines = []
    for _ in range(3):
        row, column = random.integers(8, 36, 2)
        values += 160 * np.exp(-((z - row) ** 2 + (y - column) ** 2) / 4)
        lines.append((row, column))
    centres = []
    for number in range(lesions):
        row, column = lines[number]
        place = np.array([random.integers(12, 40), column + 2, row + 2])
        values += 180 * np.exp(-(((x - place[0]) ** 2 + (y - place[1]) ** 2
                                  + (z - place[2]) ** 2) / 10) ** 2)
        centres.append(place)
    image = sitk.GetImageFromArray(values.clip(0).round().astype(np.int16))
    image.SetOrigin((-20.0, 5.0, 30.0))
    to_mm = np.array(image.GetOrigin())
    return (image, [(place + to_mm).tolist() for place in centres],
            [(np.array([at, column, row]) + to_mm).tolist() for row, column in lines
             for at in range(6, 48, 6)])


def write_set(folder, cases=14, every=3, **parts):
    """A list of toy cases; every third has no lesion, the others one or two."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(cases):
        count = 0 if number % every == 2 else 1 + number % 2
        image, centres, _ = toy_case(number, count)
        sitk.WriteImage(image, folder / f"{number}.nrrd")
        write_points(folder / f"{number}.mrk.json", centres)
        entries.append({"image": f"{number}.nrrd", "lesions": f"{number}.mrk.json",
                        "patient": f"p{number}"})
    return write_list(folder, {"simulated": True, "training": entries} | parts)


def write_list(folder, content):
    path = folder / "list.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


def write_points(path, points):
    path.write_text(json.dumps({"markups": [{
        "type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
            {"label": f"lesion {number}", "position": list(point),
             "description": f"diameter_mm={4 + number}"}
            for number, point in enumerate(points)]}]}), "utf-8")


def toy_places(image, case, settings, seed):
    """Candidates on every lesion but the second, and on the lines."""
    _, _, normal = toy_case(int(case.image.stem), len(case.lesions))
    normal = np.array([point for point in normal if not len(case.lesions)
                       or np.linalg.norm(case.centres - point, axis=1).min() > 8])
    hit = case.centres[:1] + 0.7
    return Places(np.concatenate([hit, normal[::3]]),
                  np.concatenate([np.arange(len(hit)), np.full(len(normal[::3]), -1)]),
                  np.delete(normal, slice(None, None, 3), axis=0))


def toy_model(folder, recipe=SEED_RECIPE):
    """A model with random weights, as an untrained one would be."""
    torch.manual_seed(2)
    kind = LandmarkCascade if recipe.name == "modern" else MiniVGG
    arguments = recipe.arguments(3)
    tensor = {"type": "image", "format": "magnitude", "num_channels": 3, "dtype": "float32",
              "spatial_shape": [32, 32], "value_range": [-1, 1], "is_patch_data": True,
              "channel_def": {"0": "axial"}}
    metadata = {
        "name": "toy", "task": "landmarks", "description": "toy", "authors": "nobody",
        "copyright": "none", "network_data_format": {"inputs": {"image": tensor},
                                                     "outputs": {"pred": tensor}},
        "recipe": recipe.name, "labels": {str(k): f"landmark {k}" for k in range(4)},
        "spacing": None, "trained_on": "nothing", "simulated": True, "eval_metrics": {"top1": 0.1},
        "built": recipe.written(), "modality": "MR"}
    target = f"{kind.__module__}.{kind.__qualname__}"
    write_bundle(folder, {"_target_": target, **arguments}, kind(**arguments).state_dict(),
                 metadata, "# A toy\n", overwrite=True)
    return load_bundle(folder, [target])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


def options(listed, work, bundle, **changes):
    return Options(listed, work, **({
        "arms": ("landmarks", "random"), "normals": 8, "learners": 20, "compared": (1, 5, 20),
        "draws": 3, "sizes": (4, 6), "find": toy_places, "load": lambda name: bundle} | changes))


def transfer(options, output, said=None, seed=1):
    with run_job(module="LandmarkPretrain", command="transfer", output=output, device="cpu",
                 progress="none", seed=seed, overwrite=True, inputs=[options.lesions]) as job:
        run(job, options, (said if said is not None else []).append)
    return json.loads((output / "result.json").read_text("utf-8"))


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- the command ---------------------------------------------------------------------------------


def test_the_comparison_writes_curves_tables_and_a_report(tmp_path, listed, bundle):
    said = []
    found = transfer(options(listed, tmp_path / "work", bundle), tmp_path / "out", said)
    folder = tmp_path / "out"
    for file in found["files"].values():
        assert (folder / file).stat().st_size > 100
    data = found["data"]
    assert data["simulated"] and data["split"] == "by patient, drawn 2:1"
    assert data["training"]["patients"] + data["test"]["patients"] == 14
    assert data["test_patches"]["lesion"] == data["test"]["lesions"] > 2
    areas = rows(folder / "auc_by_learners.csv")
    assert len(areas) == 2 * 20 and {row["arm"] for row in areas} == {"landmarks", "random"}
    for row in areas:
        assert row["low"] == "" or float(row["low"]) <= float(row["auc"]) <= float(row["high"])
    assert max(float(row["auc"]) for row in areas) > 0.8, "balls are unlike lines"
    compared = rows(folder / "comparisons.csv")
    assert [int(row["weak_learners"]) for row in compared] == [1, 5, 20]
    by_stage = {(row["arm"], row["weak_learners"]): float(row["auc"]) for row in areas}
    for row in compared:
        stage = row["weak_learners"]
        assert float(row["difference"]) == pytest.approx(
            by_stage["landmarks", stage] - by_stage["random", stage])
        if row["p_holm"]:
            assert float(row["p_holm"]) >= float(row["p_clustered"])
    efficiency = rows(folder / "label_efficiency.csv")
    assert {(row["arm"], row["training_patients"]) for row in efficiency} == {
        (arm, size) for arm in ("landmarks", "random", "landmarks - random")
        for size in ("4", "6")}
    marks = found["free_response"]
    assert marks["reached"] < marks["lesions"] == data["test"]["lesions"]
    ceiling = marks["reached"] / marks["lesions"]
    for arm in marks["arms"].values():
        values = [each["value"] for each in arm["sensitivity"].values()]
        assert values == sorted(values) and values[-1] <= ceiling + 1e-9
    assert any("no candidate on them" in warning for warning in found["warnings"])
    page = (folder / "report.html").read_text("utf-8")
    for text in ("published", "simulated", "Nemoto", "Holm", "physician", *found["finding"]):
        assert text.lower() in page.lower().replace("&#x27;", "'")
    assert said and any(found["finding"][0][1:30] in line for line in said)
    told = re.sub("src=.*?>", "", page)
    assert not re.search(r"\bp1?\d\b|\d\.nrrd", told), "no patient and no file of one is named"


def test_what_was_done_is_not_done_again_and_another_arm_changes_nothing(
        tmp_path, listed, bundle, monkeypatch):
    one = options(listed, tmp_path / "work", bundle, arms=("landmarks",))
    first = transfer(one, tmp_path / "first")

    def never(*_):
        raise AssertionError("taken again")

    monkeypatch.setattr(transfer_samples, "_take", never)
    both = transfer(replace(one, arms=("landmarks", "random")), tmp_path / "both")
    assert both["areas"]["landmarks"] == first["areas"]["landmarks"]
    assert both["free_response"]["arms"]["landmarks"] == first["free_response"]["arms"]["landmarks"]
    anew = transfer(replace(one, find=toy_places), tmp_path / "anew")
    assert anew["areas"] == first["areas"]


def test_a_killed_comparison_ends_as_if_it_had_not_been(tmp_path, listed, bundle, monkeypatch):
    whole = transfer(options(listed, tmp_path / "whole", bundle), tmp_path / "a")
    broken = options(listed, tmp_path / "broken", bundle)
    take, count = transfer_samples._take, []

    def killed(*arguments):
        count.append(1)
        if len(count) == 6:
            raise KeyboardInterrupt
        return take(*arguments)

    monkeypatch.setattr(transfer_samples, "_take", killed)
    with pytest.raises(Cancelled):
        transfer(broken, tmp_path / "b")
    again = transfer(broken, tmp_path / "b")
    assert 14 < len(count) < 14 + 6, "some cases were kept"
    assert again["areas"] == whole["areas"] and again["efficiency"] == whole["efficiency"]


def test_a_linear_probe_has_one_area(tmp_path, listed, bundle):
    found = transfer(options(listed, tmp_path / "work", bundle, classifier="probe", draws=1,
                             sizes=(6,)), tmp_path / "out")
    assert found["compared"] == [1]
    assert [len(curve) for curve in found["areas"].values()] == [1, 1]
    assert found["areas"]["landmarks"][0]["value"] > 0.7
    assert len(found["finding"]) == 1 and "landmarks and random weights" in found["finding"][0]


def test_all_weights_are_trained_on(tmp_path, listed, bundle):
    before = {name: value.clone() for name, value in bundle.network.state_dict().items()}
    found = transfer(options(listed, tmp_path / "work", bundle, arms=("landmarks",), draws=1,
                             classifier="finetune", sizes=(6,), finetune_steps=8),
                     tmp_path / "out")
    assert found["areas"]["landmarks"][0]["value"] > 0.7 and found["finding"] == []
    assert list(found["efficiency"]["areas"]["landmarks"]) == ["6"]
    assert not list((tmp_path / "work").glob("finetune-*")), "checkpoints are large"
    assert all(torch.equal(before[name], value)
               for name, value in bundle.network.state_dict().items())


def test_networks_that_see_space(tmp_path):
    listed = write_set(tmp_path / "set", 10)
    model = toy_model(tmp_path / "toy", MODERN_RECIPE)
    found = transfer(options(listed, tmp_path / "work", model, arms=("landmarks",), draws=0,
                             normals=4), tmp_path / "out")
    assert found["efficiency"] is None and "label_efficiency.csv" not in found["files"].values()
    assert found["areas"]["landmarks"][-1]["value"] > 0.7
    with pytest.raises(BadInput, match="see cubes"):
        transfer(options(listed, tmp_path / "work", model, classifier="finetune"),
                 tmp_path / "other")


@pytest.mark.parametrize("changes, said", [
    ({"arms": ("landmarks", "wordnet")}, 'no arm "wordnet"'),
    ({"arms": ("random", "random")}, "each arm once"),
    ({"arms": ("landmarks", "cifar")}, "needs the archive"),
    ({"classifier": "forest"}, 'no classifier "forest"'),
    ({"patch_mm": 0.1}, "1 to 500 mm"),
    ({"sizes": ()}, "at least one number"),
])
def test_options_that_cannot_be(tmp_path, listed, bundle, changes, said):
    with pytest.raises(BadInput, match=said):
        transfer(options(listed, tmp_path / "work", bundle, **changes), tmp_path / "out")
    assert not (tmp_path / "work").exists()


def test_nothing_normal_in_the_region_is_said(tmp_path, listed, bundle):
    def only_lesions(image, case, settings, seed):
        return Places(case.centres, np.arange(len(case.lesions)), np.empty((0, 3)))

    with pytest.raises(BadInput, match="nothing normal in the training cases"):
        transfer(options(listed, tmp_path / "work", bundle, find=only_lesions), tmp_path / "out")


def comparison(learners, value, low, high, holm=0.5):
    return {"pair": ["landmarks", "cifar"], "learners": learners, "p": {"holm": holm},
            "difference": {"value": value, "low": low, "high": high, "n": 50}}


def test_the_finding_follows_from_the_intervals():
    found = {"classifier": "adaboost", "areas": {"landmarks": [], "cifar": []}, "comparisons": [
        comparison(1, 0.08, -0.01, 0.17), comparison(5, 0.10, 0.02, 0.18, 0.04),
        comparison(100, 0.01, -0.03, 0.05), comparison(200, -0.01, -0.04, 0.02)]}
    [text] = finding(found)
    assert "few weak learners (1 and 5)" in text and "0.090 higher than that of CIFAR-10" in text
    assert "leaves out 0 where it was higher with 5, and" in text
    assert "adjusted for all comparisons, is below 0.05 with 5;" in text
    assert "many weak learners (100 and 200)" in text and "includes 0, so none is shown" in text
    found["comparisons"][3] = comparison(200, -0.05, -0.08, -0.02)
    [text] = finding(found)
    assert "lower with 200" in text and text.endswith("is below 0.05 with none.")


# --- lesion sets ---------------------------------------------------------------------------------


def test_points_masks_and_cases_without_lesions(tmp_path):
    listed = write_set(tmp_path, 7)
    content = json.loads(listed.read_text())
    mask = sitk.GetImageFromArray(np.zeros((44, 48, 52), np.uint8))
    mask.SetOrigin((-20.0, 5.0, 30.0))
    array = sitk.GetArrayFromImage(mask)
    array[10:14, 10:14, 10:14] = 3
    array[30:32, 30:32, 30:32] = 1
    painted = sitk.GetImageFromArray(array)
    painted.CopyInformation(mask)
    sitk.WriteImage(painted, tmp_path / "mask.nrrd")
    content["training"][0]["lesions"] = "mask.nrrd"
    del content["training"][2]["lesions"]
    content["test"] = [content["training"].pop() for _ in range(3)]
    found = read_lesion_set(write_list(tmp_path, content))
    assert found.given and len(found.training) == 4 and len(found.test) == 3
    large, small = found.training[0].lesions
    assert large.centre == pytest.approx((-8.5, 16.5, 41.5))
    assert large.diameter_mm == pytest.approx((6 * 64 / np.pi) ** (1 / 3))
    assert small.centre == pytest.approx((10.5, 35.5, 60.5))
    assert found.training[2].lesions == () and found.training[1].lesions[1].diameter_mm == 5
    written = found.written()
    assert written["test"]["cases"] == 3 and written["training"]["cases_without_lesion"] == 1


def test_the_split_is_by_patient_and_seeded(tmp_path):
    listed = write_set(tmp_path, 18)
    content = json.loads(listed.read_text())
    for number in (3, 4, 5):
        content["training"][number]["patient"] = "same"
    write_list(tmp_path, content)
    found, again, other = (read_lesion_set(listed, seed) for seed in (0, 0, 1))
    assert found == again != other
    sides = [{case.patient for case in part} for part in (found.training, found.test)]
    assert not sides[0] & sides[1] and len(sides[1]) == pytest.approx(16 / 3, abs=1)
    assert abs(sum(bool(case.lesions) for case in found.test) - 4) <= 1


def refused(tmp_path, change, cases=8):
    content = json.loads(write_set(tmp_path, cases).read_text())
    change(content)
    read_lesion_set(write_list(tmp_path, content))


@pytest.mark.parametrize("change, said", [
    (lambda content: content.update(training=content["training"][:1]), "of one patient"),
    (lambda content: [entry.pop("lesions") for entry in content["training"]], "no lesion at all"),
    (lambda content: content.update(test=[content["training"].pop(2)]),
     "no patients with a lesion to test on"),
    (lambda content: content.update(training=content["training"][:4]),
     "is 1 patient with a lesion to test on"),
    (lambda content: content.update(test=[content["training"][0]]), "stands twice|two parts"),
])
def test_sets_that_cannot_be_used(tmp_path, change, said):
    with pytest.raises(BadInput, match=said):
        refused(tmp_path, change)


def test_an_empty_mask_is_no_case_without_lesions(tmp_path):
    sitk.WriteImage(sitk.Image(52, 48, 44, sitk.sitkUInt8), tmp_path / "empty.nrrd")
    with pytest.raises(BadInput, match="mask empty.nrrd .* is empty: draw the lesion"):
        refused(tmp_path, lambda content: content["training"][0].update(lesions="empty.nrrd"))


def test_lesions_outside_their_volume(tmp_path, listed):
    case = read_lesion_set(listed).training[0]
    image, _, _ = toy_case(int(case.image.stem), 1)
    check_inside(case, image)
    with pytest.raises(BadInput, match="lies outside the volume"):
        check_inside(replace(case, lesions=(Lesion((0.0, 0.0, 0.0)),)), image)


def test_parts_that_touch_at_a_corner_are_one_lesion():
    array = np.zeros((8, 8, 8), np.uint8)
    array[1:3, 1:3, 1:3] = array[3, 3, 3] = 1
    assert len(lesions_in_mask(sitk.GetImageFromArray(array))) == 1


# --- patches -------------------------------------------------------------------------------------


def test_patches_are_where_lesions_are(tmp_path, listed):
    found = read_lesion_set(listed)
    settings = SampleSettings("MR", "toy", (24.0,), normals=6, copies=3)
    samples = gather(found, settings, toy_places, tmp_path)
    assert samples.patches.shape[1:] == (3, 32, 32)
    training, test = samples.used & ~samples.test, samples.used & samples.test
    for part, cases, times in ((training, found.training, 4), (test, found.test, 1)):
        lesions = sum(len(case.lesions) for case in cases)
        assert (samples.lesion & part).sum() == times * lesions
        assert (~samples.lesion & part).sum() == 6 * len(cases)
    assert not samples.candidate[~samples.test].any()
    middle = samples.patches[:, :, 14:18, 14:18].astype(float).mean((1, 2, 3))
    assert middle[test & samples.lesion].mean() > middle[test & ~samples.lesion].mean() + 0.1
    for number, case in enumerate(samples.cases):
        here = (samples.case == number) & samples.lesion
        if here.any():
            apart = np.linalg.norm(samples.points[here][:, None] - case.centres, axis=2).min(1)
            assert apart.max() <= 24 * 0.08 * 3**0.5
    turned = np.abs(samples.turns - np.eye(3)).max((1, 2)) > 1e-6
    assert not turned[samples.test].any() and turned[~samples.test].all()


@pytest.mark.parametrize("region, kind, place, said", [
    ("vessels", "vessels", "vessels", "vessels"),
    ("lung=/scans/x/7.nrrd", "lung", "/scans/x/7.nrrd", "7.nrrd, drawn (lung)"),
    ("/scans/x/7.nrrd", "other", "/scans/x/7.nrrd", "7.nrrd, drawn"),
    ("/scans/a=b/7.nrrd", "other", "/scans/a=b/7.nrrd", "7.nrrd, drawn"),
])
def test_what_a_region_is(region, kind, place, said):
    assert parted(region) == (kind, place) and named(region) == said


def test_candidates_and_normal_places_of_an_angiogram(tmp_path):
    scan = simulate_mra((5, 1), MRASettings(field=(76.0, 76.0, 50.0), spacing=(1.0, 1.0, 1.0),
                                            aneurysms=((None, 7.0),)))
    sitk.WriteImage(scan.vessels, tmp_path / "1.nrrd")
    [known] = scan.aneurysms
    case = LesionCase(Path("elsewhere") / "1.nrrd", (Lesion(known.centre, known.diameter_mm),),
                      "1", "", "item 1")
    settings = SampleSettings("MR", f"vessels={tmp_path}", (24.0,))
    found = Options.find(scan.image, case, settings, 0)
    on_lesion = found.candidates[found.lesion_of == 0]
    assert len(on_lesion) and np.linalg.norm(on_lesion - known.centre, axis=1).max() <= 3.6
    assert (found.lesion_of == -1).sum() > 10 and len(found.normals) == 20
    assert np.linalg.norm(found.normals - known.centre, axis=1).min() >= 3.5 + 8 - 1e-6
    index = [scan.vessels.TransformPhysicalPointToIndex(point.tolist()) for point in found.normals]
    assert all(scan.vessels[place] for place in index)
    sitk.WriteImage(scan.vessels * 0, tmp_path / "1.nrrd")
    with pytest.raises(BadInput, match="1.nrrd .item 1.: The region 1.nrrd is empty"):
        Options.find(scan.image, case, settings, 0)


# --- arms ----------------------------------------------------------------------------------------


def test_the_arms_of_random_weights_are_alike_but_for_their_seeds(bundle):
    patches = np.random.default_rng(0).normal(size=(40, 3, 32, 32)).astype(np.float16)
    arm, same, other = random_arm(bundle, 0), random_arm(bundle, 0), random_arm(bundle, 1)
    found = [features_of(network, patches, "cpu") for network in arm.networks]
    assert arm.fingerprint == same.fingerprint != other.fingerprint
    assert (features_of(same.networks[1], patches, "cpu") == found[1]).all()
    assert not np.allclose(found[0], found[1])
    alive = np.mean([each.std(0) > 1e-3 for each in found])
    assert alive > 0.5 and 0.1 < np.mean(found) < 10, "signals neither vanish nor explode"


def test_the_landmark_arm_is_the_network_of_the_model(bundle):
    patches = torch.randn(5, 3, 32, 32)
    arm = landmark_arm(bundle)
    with torch.inference_mode():
        assert torch.equal(arm.networks[0](patches), bundle.network.features(patches))
    assert "3 landmarks" in arm.said and "simulated" in arm.said
    wide = mini_vgg_like(bundle, 10)
    assert type(wide) is MiniVGG and wide(patches).shape == (5, 10)
    assert Features(wide, 3)(torch.randn(2, 9, 32, 32)).shape == (2, 24)


def test_alexnet_is_that_of_torchvision():
    import torchvision

    ours, theirs = AlexNetFeatures().eval(), torchvision.models.alexnet()
    kinds = torch.nn.Conv2d
    for mine, other in zip((layer for layer in ours.layers if isinstance(layer, kinds)),
                           (layer for layer in theirs.features if isinstance(layer, kinds)),
                           strict=True):
        mine.load_state_dict(other.state_dict())
    pictures = torch.randn(2, 3, 128, 128)
    with torch.inference_mode():
        assert torch.equal(ours.layers(pictures), theirs.features[:-1](pictures))
        assert ours(torch.randn(2, 6, 32, 32)).shape == (2, 256)


def packaged(path, arrays):
    """A file with numbers where the package has them."""
    content = bytearray(ALEXNET.size)
    for starts, pair in zip(imagenet.STARTS, arrays, strict=True):
        for start, array in zip(starts, pair, strict=True):
            content[start:start + array.nbytes] = array.tobytes()
    path.write_bytes(content)
    return path


def test_weights_of_the_package_are_read_without_unpickling(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    arrays, inputs = [], 3
    for outputs, side in zip(AlexNetFeatures.WIDTHS, AlexNetFeatures.KERNELS, strict=True):
        arrays.append((random.normal(size=(side, side, inputs, outputs)).astype(np.float32),
                       random.normal(size=outputs).astype(np.float32)))
        inputs = outputs
    path = packaged(tmp_path / "alexnet.ckpt", arrays)
    monkeypatch.setattr(imagenet, "fetch_packaged_file", lambda file, progress: path)
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
    arm = imagenet_arm()
    weight = arm.networks[0].layers[3].weight
    assert weight[7, 5, 1, 2].item() == arrays[1][0][1, 2, 5, 7]
    np.savez(tmp_path / "same.npz", **{
        f"AlexNet_0__Conv_{number}__{part}": array for number, pair in enumerate(arrays)
        for part, array in zip(("kernel", "bias"), pair, strict=True)})
    assert imagenet_arm(tmp_path / "same.npz").fingerprint == arm.fingerprint
    np.savez(tmp_path / "other.npz", **{"AlexNet_0__Conv_0__kernel": arrays[0][0]})
    with pytest.raises(BadInput, match="other.npz does not hold the convolutions"):
        imagenet_arm(tmp_path / "other.npz")


@pytest.mark.skipif(not CONVOLUTIONS.exists(), reason="no ../shared/data")
def test_real_weights_see_edges():
    arm = imagenet_arm(CONVOLUTIONS)
    stripes = np.zeros((2, 3, 32, 32), np.float32)
    stripes[0, :, :, ::4] = 1
    stripes[1, :, ::4, :] = 1
    across, down = features_of(arm.networks[0], stripes, "cpu")
    assert np.corrcoef(across, down)[0, 1] < 0.9 and across.min() >= 0


# --- CIFAR-10 ------------------------------------------------------------------------------------


def archive(path, members, damage=None):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    if damage:
        path.write_bytes(path.read_bytes()[:damage])
    return path


def photographs(count, seed=0):
    """Records of two labels, dark and bright."""
    random = np.random.default_rng(seed)
    labels = random.choice([1, 8], count)
    images = (labels[:, None] * 24 + random.integers(0, 20, (count, 3072))).astype(np.uint8)
    return np.column_stack([labels.astype(np.uint8), images]).tobytes()


def test_the_binary_version_is_read(tmp_path):
    path = archive(tmp_path / "cifar.tar.gz", {
        "cifar-10-batches-bin/data_batch_2.bin": photographs(5, 2),
        "cifar-10-batches-bin/data_batch_1.bin": photographs(7, 1),
        "cifar-10-batches-bin/test_batch.bin": photographs(9, 3),
        "cifar-10-batches-bin/batches.meta.txt": b"airplane\n"})
    found = read_cifar(path)
    assert found.images.shape == (12, 3, 32, 32)
    first = np.frombuffer(photographs(7, 1), np.uint8).reshape(7, -1)
    assert (found.images[:7].reshape(7, -1) == first[:, 1:]).all()
    assert (found.labels[:7] == first[:, 0]).all()


@pytest.mark.parametrize("members, damage, said", [
    ({"cifar-10-batches-py/data_batch_1": pickle.dumps({b"data": 1})}, None,
     "pickles.* take the binary version, cifar-10-binary.tar.gz"),
    ({"cifar-10-batches-py/batches.meta": pickle.dumps([])}, None, "binary version"),
    ({"data_batch_1.bin": photographs(2)[:-5]}, None, "not of 3073 bytes"),
    ({"data_batch_1.bin": bytes([10]) + bytes(3072)}, None, "labels beyond 9"),
    ({"data_batch_1.bin": photographs(300)}, 2000, "damaged"),
    ({"readme.txt": b"hello"}, None, "holds no CIFAR-10"),
])
def test_other_archives_are_refused(tmp_path, members, damage, said):
    with pytest.raises(BadInput, match=said):
        read_cifar(archive(tmp_path / "cifar.tar.gz", members, damage))


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.tar.gz").write_text("hello")
    with pytest.raises(BadInput, match="no archive that can be read"):
        read_cifar(tmp_path / "text.tar.gz")
    with pytest.raises(BadInput, match="cannot be found"):
        read_cifar(tmp_path / "none.tar.gz")


def test_photographs_are_learned_once(tmp_path, bundle, monkeypatch):
    path = archive(tmp_path / "cifar.tar.gz", {"data_batch_1.bin": photographs(400)})
    steps = []
    arm = cifar_arm(path, bundle, 16, 0, tmp_path, "cpu", steps.append)
    assert steps[-1] == 16 and "ten kinds" in arm.said
    again = cifar_arm(path, bundle, 16, 0, tmp_path, "cpu", lambda step: pytest.fail("again"))
    patches = np.zeros((3, 3, 32, 32), np.float32)
    assert (features_of(arm.networks[0], patches, "cpu")
            == features_of(again.networks[0], patches, "cpu")).all()
    assert arm.fingerprint == again.fingerprint
    share = float(arm.said.split("names ")[1].split(" %")[0])
    assert share > 80, "brightness is easily learned"


def test_cifar_is_an_arm(tmp_path, listed, bundle):
    path = archive(tmp_path / "cifar.tar.gz", {"data_batch_1.bin": photographs(200)})
    found = transfer(options(listed, tmp_path / "work", bundle, arms=("landmarks", "cifar"),
                             cifar=path, cifar_steps=2, draws=0), tmp_path / "out")
    assert set(found["areas"]) == {"landmarks", "cifar"} and "CIFAR-10" in found["finding"][0]


