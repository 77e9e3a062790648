# SPDX-License-Identifier: Apache-2.0
"""Judging a head: what is unusual, what looks like a finding, the picture, the command, ONNX."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from HeadCTTriageLib.__main__ import app
from HeadCTTriageLib.answers import RECIPES
from HeadCTTriageLib.brain import locate_brain
from HeadCTTriageLib.certainty import RED
from HeadCTTriageLib.contact_sheet import COLORS, TAG_COLORS, draw_contact_sheet
from HeadCTTriageLib.decisions import CAN_WAIT, UNCERTAIN, URGENT
from HeadCTTriageLib.export_command import score_difference, to_onnx
from HeadCTTriageLib.exported import read_exported, write_exported
from HeadCTTriageLib.judging import Judge
from HeadCTTriageLib.networks import AlexNet, SliceBackbone, TriageNetwork
from HeadCTTriageLib.pictures import bleeding_score, slice_of_picture
from HeadCTTriageLib.reasons import regions_of, without_bone
from HeadCTTriageLib.slices import SEVERAL_WINDOWS, in_windows, sample_slices, slice_origin
from HeadCTTriageLib.triage import Tag
from HeadCTTriageLib.unusual import unusual_features
from ReadingRoomLib.errors import BadInput, ModelMissing, ModelUntrusted
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image
from ReadingRoomLib.phantoms.head_findings import KINDS, SOFT

from . import dicom_factory
from .head_factory import TOY_RADII, toy_certainty, toy_head, write_toy_bundle

SLICES = RECIPES["modern"].sampling.slices


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_toy_bundle(tmp_path_factory.mktemp("model") / "toy")


def answering(score, blood=None):
    """A network that says the same of every head; ``blood`` lies in these pixels of slice 13."""
    maps = np.full((1, SLICES, len(KINDS), 112, 112), -9.0, np.float32)
    if blood is not None:
        maps[0, 12:14, KINDS.index("intraparenchymal"), *blood] = 4.0
    tags = np.array([[score + 2, score, score - 2]], np.float32)
    outputs = [tags, np.zeros((1, SLICES, len(KINDS)), np.float32), maps,
               np.full((1, SLICES), 1 / SLICES, np.float32), np.array([0.7], np.float32)]
    return lambda inputs: outputs


def judge_with(score, **settings):
    return Judge(RECIPES["modern"], answering(score), toy_certainty(), **settings)


# --- what is unusual -----------------------------------------------------------------------------


def test_a_usual_head_is_not_doubted(head):
    assert unusual_features(head, locate_brain(head)) == []


def painted(head, where, density):
    """The head with other density where a function of (z, y, x) in mm is true."""
    axes = [np.arange(size) * step + start for size, step, start in zip(
        head.GetSize(), head.GetSpacing(), head.GetOrigin(), strict=True)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    array = sitk.GetArrayFromImage(head)
    inside = where(z, y, x)
    array[inside] = density
    return image_like(array, head)


@pytest.mark.parametrize("where, density, said", [
    (lambda z, y, x: (np.abs(z - 30) < 6) & (np.hypot(y + 82, x) < 8), 3000, "metal"),
    (lambda z, y, x: (np.hypot(y, x) < 12) & (np.abs(z) < 30), 180, "contrast agent"),
    (lambda z, y, x: (z > -15) & (x > 25) & (np.abs(y) < 55) & (
        sum((a / r) ** 2 for a, r in zip((z, y, x), TOY_RADII, strict=True)) > 1),
     -100, "Bone is missing"),
])
def test_what_is_unusual_is_said(head, where, density, said):
    image = painted(head, where, density)
    assert any(said in doubt for doubt in unusual_features(image, locate_brain(image)))


def test_metal_in_teeth_is_usual():
    head = toy_head(lowest=-140.0)
    array = painted(head, lambda z, y, x: (z < -125) & (np.hypot(y + 40, x) < 10), 3000)
    assert unusual_features(array, locate_brain(array)) == []


def test_a_part_of_the_brain_and_an_infant_are_doubted(head):
    cut = toy_head(highest=30.0)
    assert any("top" in doubt for doubt in unusual_features(cut, locate_brain(cut)))
    small = sitk.Image(head)
    small.SetSpacing([0.75 * step for step in head.GetSpacing()])
    assert any("infant" in doubt for doubt in unusual_features(small, locate_brain(small)))


@pytest.mark.parametrize("age, scale, child, infant", [
    (7.0, 1.0, True, False), (15.9, 1.0, True, False), (16.0, 1.0, False, False),
    (40.0, 0.75, False, False), (0.1, 0.75, True, False), (None, 0.75, False, True)])
def test_a_child_is_known_by_its_age_and_without_it_by_the_brain(head, age, scale, child, infant):
    image = sitk.Image(head)
    image.SetSpacing([scale * step for step in head.GetSpacing()])
    doubts = unusual_features(image, locate_brain(image), age)
    assert any("child below 16 years" in doubt for doubt in doubts) == child
    assert any("infant" in doubt for doubt in doubts) == infant
    assert not any(str(age) in doubt for doubt in doubts)


# --- reasons -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(place=st.tuples(st.integers(4, 18), st.integers(15, 95), st.integers(15, 95)),
       radius=st.integers(6, 13), number=st.integers(0, len(KINDS) - 1))
def test_a_ball_is_found_with_its_volume_and_place(place, radius, number):
    spacing = (5.0, 2.0, 2.0)
    grid = np.meshgrid(*map(np.arange, (24, 112, 112)), indexing="ij")
    inside = sum(((axis - middle) * step) ** 2 for axis, middle, step in zip(
        grid, place, spacing, strict=True)) <= radius**2
    maps = np.zeros((24, len(KINDS), 112, 112))
    maps[:, number][inside] = 0.9
    (region,), marks = regions_of(maps, spacing, (-100.0, -120.0, -50.0))
    assert region.kind == KINDS[number]
    assert region.volume_ml == pytest.approx(0.9 * inside.sum() * 0.02, abs=0.01)
    assert region.centre_mm == pytest.approx(
        (-100 + 2 * place[2], -120 + 2 * place[1], -50 + 5 * place[0]), abs=0.1)
    assert region.first_slice <= place[0] + 1 <= region.last_slice
    assert ((marks == number + 1) == inside).all()


def test_faint_and_tiny_places_are_no_reason():
    maps = np.zeros((24, len(KINDS), 112, 112))
    maps[3, 0, 10:40, 10:40] = 0.45  # large, but nowhere sure
    maps[9, 2, 60, 60] = 0.99  # sure, but a single pixel
    assert regions_of(maps, (5.0, 2.0, 2.0), (0.0, 0.0, 0.0))[0] == []


def test_blood_does_not_lie_in_bone_but_fractures_do():
    maps = np.full((2, len(KINDS), 4, 4), 0.9)
    density = np.full((2, 8, 8), 60.0)
    density[1, :4] = 900
    left = without_bone(maps, density)
    assert (left[0] == 0.9).all() and (left[1, :, 2:] == 0.9).all()
    in_bone = dict(zip(KINDS, left[1, :, 0, 0], strict=True))
    assert in_bone["fracture"] == in_bone["calcification"] == 0.9
    assert in_bone["subdural"] == in_bone["infarct"] == 0


def test_what_looks_like_blood_in_bone_is_no_part_of_the_judgement():
    import torch

    backbone = SliceBackbone(widths=(8, 8)).eval()
    with torch.no_grad():
        backbone.maps.weight.zero_()
        backbone.maps.bias.fill_(3.0)  # every kind everywhere
    density = np.full((2, 32, 32), 30.0, np.float32)
    density[1] = 80.0  # white, as bone in a picture
    density[0, :, 16:] = 900.0

    def areas(density):
        slices = torch.from_numpy(in_windows(density, SEVERAL_WINDOWS.windows))
        with torch.inference_mode():
            return backbone(slices)[1][:, -len(KINDS):].numpy()

    found, soft = areas(density), np.isin(KINDS, SOFT)
    assert found[1] == pytest.approx(10 / (1 + np.exp(-3)), rel=1e-3)
    assert found[0, soft] == pytest.approx(found[1, soft] / 2, rel=1e-3)
    assert found[0, ~soft] == pytest.approx(found[1, ~soft], rel=1e-3)  # fractures stay
    density[0] = 900.0
    assert not areas(density)[0, soft].any()


# --- judging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("score, decision, tags", [
    (9.0, URGENT, (Tag.RED, Tag.BLACK)), (-9.0, CAN_WAIT, (Tag.GREEN, Tag.YELLOW)),
    (0.0, UNCERTAIN, tuple(Tag))])
def test_what_is_decided(head, score, decision, tags):
    judged = judge_with(score)(head)
    assert judged.decision == decision and judged.triage in tags
    assert judged.interval[0] <= judged.urgent_probability <= judged.interval[1]
    assert judged.written()["reasons"]["midline_shift_mm"] == 7.0


def test_an_unusual_head_is_never_decided():
    cut = toy_head(highest=30.0)
    for score in (-9.0, 9.0):
        judged = judge_with(score)(cut)
        assert judged.decision == UNCERTAIN and judged.doubts


def test_images_of_a_bone_kernel_are_never_decided(head):
    judge = judge_with(9.0)
    assert judge(head).decision == URGENT
    named = judge(head, kernel="H60s")
    assert named.decision == UNCERTAIN and "sharp kernel" in named.doubts[0]
    array = sitk.GetArrayFromImage(head) + np.random.default_rng(0).normal(
        0, 60, head.GetSize()[::-1])
    noisy = judge(image_like(array.round().astype(np.int16), head))
    assert noisy.decision == UNCERTAIN and any("so noisy" in doubt for doubt in noisy.doubts)


def write_head(folder, head, feet_first=False, **values):
    """The toy as a DICOM series; feet first, its rows run to the right and its slices down."""
    array, spacing = sitk.GetArrayFromImage(head), head.GetSpacing()
    origin, orientation = list(head.GetOrigin()), dicom_factory.AXIAL
    if feet_first:
        array = array[::-1, :, ::-1]
        origin = [origin[0] + spacing[0] * (array.shape[2] - 1), origin[1],
                  origin[2] + spacing[2] * (array.shape[0] - 1)]
        orientation = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))

    def edit(dataset, index):
        dataset.PatientPosition = "FFS" if feet_first else "HFS"
        dataset.PixelSpacing = [spacing[1], spacing[0]]
        for name, value in values.items():
            setattr(dataset, name, value)

    dicom_factory.write_series(folder, array, spacing=spacing[2], origin=origin,
                               orientation=orientation, edit=edit)
    return folder


def test_feet_first_is_judged_as_head_first(head, tmp_path):
    judge = judge_with(0.0)
    slices = [judge(read_image(write_head(tmp_path / str(feet), head, feet)).image).slices
              for feet in (False, True)]
    assert np.allclose(*slices, atol=1e-4)
    left, right = slices[0][12, 0, 100:124, 124:], slices[0][12, 0, 100:124, :100]
    assert left[left < 1].mean() > right[right < 1].mean()  # the toy is denser on its left


def test_where_no_miss_rate_can_be_promised_nothing_can_wait(head):
    judge = judge_with(-9.0, most_missed=0.001)
    judged = judge(head)
    assert judge.threshold is None and "needs 2995 urgent heads" in judged.promise
    assert judged.decision != CAN_WAIT
    assert "At most 5% of urgent heads" in judge_with(0.0).promise


def test_what_is_found_lies_where_the_network_saw_it(head):
    judged = Judge(RECIPES["modern"], answering(5.0, (slice(50, 60), slice(70, 80))),
                   toy_certainty())(head)
    (region,) = judged.regions
    assert region.best_slice in (13, 14)
    brain = locate_brain(head)
    x, y = slice_origin(brain, RECIPES["modern"].sampling, 2.0)
    assert region.centre_mm[:2] == pytest.approx((x + 149, y + 109), abs=0.1)
    assert region.centre_mm[0] > 0  # right in the picture is left of the patient


def test_a_head_that_a_little_noise_decides_is_uncertain(head):
    certainty = toy_certainty()
    limit = certainty.threshold(0.05).value

    outputs = answering(0.0)(None)

    def network(inputs):
        # urgent by how even the picture is, and just above the threshold as it is
        uneven = np.abs(np.diff(inputs[0, :, 0], axis=-1))[:, 90:130, 80:100].mean()
        return [np.full((1, 3), limit + 0.05 - 2 * uneven, np.float32), *outputs[1:]]

    judged = Judge(RECIPES["modern"], network, certainty)(head)
    assert judged.decision == UNCERTAIN
    assert any("little noise" in doubt for doubt in judged.doubts)
    far = Judge(RECIPES["modern"], answering(9.0), certainty)(head)
    assert not far.doubts


def test_a_network_without_numbers_is_not_believed(head):
    judge = Judge(RECIPES["modern"], answering(np.nan), toy_certainty())
    with pytest.raises(BadInput, match="gives no numbers"):
        judge(head)


# --- the picture ---------------------------------------------------------------------------------


def test_the_contact_sheet_shows_outlines_and_weights(tmp_path):
    slices = np.full((8, 64, 64), 0.4)
    marks = np.zeros((8, 32, 32), np.uint8)
    marks[2, 10:20, 10:20] = KINDS.index("epidural") + 1
    attention = np.array([0.05] * 7 + [0.65])
    draw_contact_sheet(slices, marks, attention, "red", "URGENT", ["a line"], tmp_path / "a.png")
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png")))
    assert (picture[5, 300] == TAG_COLORS["red"]).all()
    third = picture[34:98, 4 + 2 * 68:4 + 2 * 68 + 64]
    assert (third == COLORS["epidural"]).all(-1).sum() > 60
    assert not (picture[34:98, 4:68] == COLORS["epidural"]).all(-1).any()
    assert (third[25, 25] == third[50, 50]).all()  # outlined, not filled


# --- pictures of a slice -------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(size=st.sampled_from([180, 256, 420, 700]), x=st.floats(-0.1, 0.1), y=st.floats(-0.1, 0.1))
def test_a_head_in_a_picture_comes_out_in_the_same_size_and_place(size, x, y):
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    far = np.hypot((rows - y) / 0.36, (columns - x) / 0.29)
    picture = np.where(far < 0.9, 0.4, 1.0) * (far < 1)
    shown = slice_of_picture(picture.astype(np.float32), RECIPES["modern"].sampling)
    assert shown.shape == (1, 3, 224, 224)
    rows, columns = (np.flatnonzero((shown[0, 0] > 0.2).any(axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] == pytest.approx(178, abs=4)
    assert (rows[-1] + rows[0]) / 2 == pytest.approx(111.5, abs=2)
    assert (columns[-1] + columns[0]) / 2 == pytest.approx(111.5, abs=2)


@pytest.mark.parametrize("picture, said", [
    (np.zeros((90, 90)), "black"), (np.eye(90), "No head can be found")])
def test_a_picture_without_a_head_is_refused(picture, said):
    with pytest.raises(BadInput, match=said):
        slice_of_picture(picture.astype(np.float32), RECIPES["seed"].sampling)


def test_bleeding_of_any_kind_counts():
    def score(**kinds):
        outputs = answering(0.0)(None)
        outputs[1] = np.full((1, 1, len(KINDS)), -9.0)
        for kind, logit in kinds.items():
            outputs[1][..., KINDS.index(kind)] = logit
        return bleeding_score(RECIPES["modern"].read(outputs))

    assert score() < 0.01 and score(fracture=9.0) < 0.01
    assert score(subdural=0.0) == pytest.approx(0.5, abs=0.01)
    assert score(subdural=0.0, epidural=0.0) == pytest.approx(0.75, abs=0.01)


# --- networks ------------------------------------------------------------------------------------


def test_heads_are_judged_by_all_slices_in_any_order():
    import torch

    torch.manual_seed(0)
    network = TriageNetwork(widths=(8, 8, 8, 8), hidden=8).eval()
    slices = torch.rand(2, 6, 3, 32, 32)
    with torch.inference_mode():
        tags, kinds, maps, attention, shift = network(slices)
        turned = network(slices[:, [3, 1, 5, 0, 2, 4]])
    assert tags.shape == (2, 3) and kinds.shape == (2, 6, 8) and shift.shape == (2,)
    assert maps.shape == (2, 6, 8, 16, 16)
    assert torch.allclose(attention.sum(1), torch.ones(2))
    assert torch.allclose(turned[0], tags, atol=1e-5)
    assert torch.allclose(turned[1][:, 0], kinds[:, 3], atol=1e-5)


def test_the_published_network_has_the_convolutions_of_alexnet():
    from torch import nn

    layers = [layer for layer in AlexNet().features if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [64, 192, 384, 256, 256]
    assert [layer.kernel_size[0] for layer in layers] == [11, 5, 3, 3, 3]


# --- the command ---------------------------------------------------------------------------------


def judged(arguments):
    """Exit code of a command that is called as from the command line."""
    with pytest.raises(SystemExit) as ended:
        app(["judge", *map(str, arguments), "--progress", "none"])
    return ended.value.code


@pytest.mark.parametrize("recipe", ["modern", "seed"])
def test_the_command_writes_the_judgement(recipe, head, tmp_path):
    sitk.WriteImage(head, str(tmp_path / "head.nrrd"))
    model = write_toy_bundle(tmp_path / "toy", recipe)
    code = judged([tmp_path / "head.nrrd", "--output", tmp_path / "out", "--model", model])
    assert code == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["decision"] in (URGENT, UNCERTAIN, CAN_WAIT)
    assert 0 <= result["interval"][0] <= result["urgent_probability"] <= result["interval"][1] <= 1
    assert sum(result["tag_probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert {"read", "locate", "slices", "judge", "reasons", "total"} <= set(result["timings"])
    assert result["model"]["recipe"] == recipe and result["model"]["simulated"]
    sheet = sitk.ReadImage(str(tmp_path / "out" / result["files"]["contact_sheet"]))
    assert min(sheet.GetSize()) > 400


def test_the_judgement_is_the_same_twice(head, bundle, tmp_path):
    sitk.WriteImage(head, str(tmp_path / "head.nrrd"))
    results = []
    for name in "ab":
        judged([tmp_path / "head.nrrd", "--output", tmp_path / name, "--model", bundle])
        result = json.loads((tmp_path / name / "result.json").read_text("utf-8"))
        results.append({key: result[key] for key in ("urgent_probability", "reasons", "decision")})
    assert results[0] == results[1]


def test_the_command_refuses_what_is_no_head(bundle, tmp_path):
    body = sitk.GetImageFromArray(np.random.default_rng(0).normal(
        0, 30, (40, 60, 60)).astype(np.int16) - 1000)
    array = sitk.GetArrayFromImage(body)
    array[:, 10:50, 10:50] += 1040
    sitk.WriteImage(image_like(array, body), str(tmp_path / "body.nrrd"))
    code = judged([tmp_path / "body.nrrd", "--output", tmp_path / "out", "--model", bundle])
    assert code == BadInput.exit_code and not (tmp_path / "out").exists()


def test_a_child_in_the_header_is_doubted_and_its_dates_are_not_written(head, bundle, tmp_path):
    folder = write_head(tmp_path / "ct", head, PatientBirthDate="20121224", PatientAge="")
    assert judged([folder, "--output", tmp_path / "out", "--model", bundle]) == 0
    text = (tmp_path / "out" / "result.json").read_text("utf-8")
    assert "child below 16 years" in text and json.loads(text)["decision"] == UNCERTAIN
    assert "20121224" not in text and "2012" not in text
    assert judged([folder, "--output", tmp_path / "told", "--model", bundle, "--age", "40"]) == 0
    text = (tmp_path / "told" / "result.json").read_text("utf-8")
    assert "child" not in text and '"age"' not in text


@pytest.mark.parametrize("kind, said", [
    ("localizer", "scouts"), ("one slice", "only one slice"), ("two series", "2 CT volumes")])
def test_the_command_refuses_folders_that_are_no_head_scan(kind, said, bundle, tmp_path, capsys):
    def edit(dataset, index):
        if kind == "localizer":
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    folder = tmp_path / "ct"
    dicom_factory.write_series(folder, count=1 if kind == "one slice" else 8, edit=edit)
    if kind == "two series":
        dicom_factory.write_series(folder, prefix="B", number=4)
    code = judged([folder, "--output", tmp_path / "out", "--model", bundle])
    assert code == BadInput.exit_code and not (tmp_path / "out").exists()
    assert said in " ".join(capsys.readouterr().err.split())


# --- small devices -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision, most", [("float32", 1e-3), ("float16", 0.02), ("int8", 0.3)])
@pytest.mark.parametrize("recipe", ["modern", "seed"])
def test_an_exported_network_answers_alike(recipe, precision, most, head):
    import torch

    torch.manual_seed(1)
    network = TriageNetwork(widths=(8, 8, 8, 8), hidden=8) if recipe == "modern" else AlexNet()
    slices = [sample_slices(head, locate_brain(head), RECIPES[recipe].sampling)]
    graph = to_onnx(network.eval(), RECIPES[recipe], precision, slices)
    assert score_difference(network, graph, RECIPES[recipe], slices) <= most


def test_a_small_device_judges_without_torch(head, bundle, tmp_path):
    sitk.WriteImage(head, str(tmp_path / "head.nrrd"))
    with pytest.raises(SystemExit) as ended:
        app(["export", "--output", str(tmp_path / "small"), "--model", str(bundle),
             "--progress", "none"])
    assert ended.value.code == 0
    with_torch = tmp_path / "with"
    judged([tmp_path / "head.nrrd", "--output", with_torch, "--model", bundle])
    script = (
        "import sys, json\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'monai'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from pathlib import Path\n"
        "from ReadingRoomLib.images import read_image\n"
        "from HeadCTTriageLib.exported import read_exported\n"
        "judge = read_exported(Path(sys.argv[1])).judge()\n"
        "print(json.dumps(judge(read_image(sys.argv[2], 'CT').image).written()))\n")
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "small"), str(tmp_path / "head.nrrd")],
        capture_output=True, text=True, check=True)
    small = json.loads(answer.stdout)
    wanted = json.loads((with_torch / "result.json").read_text("utf-8"))
    assert small["decision"] == wanted["decision"]
    assert small["urgent_probability"] == pytest.approx(wanted["urgent_probability"], abs=0.01)


def test_an_exported_model_that_was_changed_is_refused(bundle, tmp_path):
    with pytest.raises(ModelMissing, match="export a model first"):
        read_exported(tmp_path)
    from HeadCTTriageLib.engines import load_model
    from HeadCTTriageLib.export_command import description_of

    model = load_model(str(bundle))
    write_exported(tmp_path, b"no graph", description_of(model, "float32"))
    with pytest.raises(ModelUntrusted):  # whole, and no network
        read_exported(tmp_path).judge()
    (tmp_path / "model.onnx").write_bytes(b"No graph")
    with pytest.raises(ModelUntrusted):
        read_exported(tmp_path)


def test_the_score_of_being_urgent_is_that_of_at_least_red():
    assert RED == 1 and TOY_RADII[0] > 0
    assert RECIPES["modern"].read(answering(1.5)(None)).scores[RED] == 1.5
