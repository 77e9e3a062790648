# SPDX-License-Identifier: Apache-2.0
"""Landmarks of segmentations: where they lie, and what gives none."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from LandmarkPretrainLib.landmark_files import read_landmarks
from LandmarkPretrainLib.landmarks_command import Options, read_named_labels, run
from LandmarkPretrainLib.pseudo_landmarks import derive_landmarks
from LandmarkPretrainLib.pseudo_landmarks_table import RULES, read_table
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.trunk import TrunkSettings, simulate_trunk
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = DATA / "labels_totalsegmentator_gt_s0327_s0328"
ORIGIN, SPACING = np.array([-60.0, -50.0, 100.0]), np.array([2.0, 2.0, 2.0])
NAMES = {1: ("kidney_left",), 2: ("Kidney right", "SCT-1"), 3: ("trachea",), 4: ("ring",)}


def places(size=(60, 50, 70)):
    """x, y, z of the voxels of a grid, LPS mm, as arrays (z, y, x)."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in size[::-1]], indexing="ij")
    return [ORIGIN[i] + SPACING[i] * axis for i, axis in enumerate((x, y, z))]


def image(array):
    labels = sitk.GetImageFromArray(array.astype(np.uint8))
    labels.SetSpacing(SPACING.tolist())
    labels.SetOrigin(ORIGIN.tolist())
    return labels


def body():
    """Two ellipsoids of 10 x 10 x 20 mm, and a tube that branches 150 mm up."""
    x, y, z = places()
    array = np.zeros(x.shape, np.uint8)
    for value, middle in ((1, (30, 0, 160)), (2, (-30, 0, 170))):
        array[((x - middle[0]) / 10) ** 2 + ((y - middle[1]) / 10) ** 2
              + ((z - middle[2]) / 20) ** 2 <= 1] = value
    aside = np.clip(150 - z, 0, None) * 0.5
    array[(np.minimum(abs(x - aside), abs(x + aside)) <= 5) & (abs(y - 20) <= 5)
          & (abs(z - 155) <= 30)] = 3
    return image(array)


def table(tmp_path, *lines):
    path = tmp_path / "table.csv"
    path.write_text("landmark,structures,rule,argument\n" + "\n".join(lines) + "\n", "utf-8")
    return read_table(path)


def found(derived):
    return dict(zip(derived.landmarks.names, derived.landmarks.points, strict=True))


LINES = ("left,kidney_left,centroid,", "right,sct_1,centroid,",
         "upper,kidney_left,extreme,superior", "outer,KIDNEY-LEFT,extreme,left",
         "far,kidney_left,farthest_from,kidney_right", "split,trachea,bifurcation,inferior",
         "top,kidney_left@superior 10,centroid,", "half,kidney_left,centroid_of_slice,superior 0.5",
         "between,left+right,mean,", "tip,kidney_left@superior 20@left 4,extreme,left")


def test_every_rule_finds_its_place(tmp_path):
    derived = derive_landmarks(body(), NAMES, table(tmp_path, *LINES))
    points = found(derived)
    assert derived.skipped == {}
    expected = {"left": (30, 0, 160), "right": (-30, 0, 170), "upper": (30, 0, 180),
                "outer": (40, 0, 160), "far": (38.5, 0, 149.6), "split": (0, 20, 140),
                "top": (30, 0, 174), "half": (30, 0, 160), "between": (0, 0, 165),
                "tip": (40, 0, 160)}
    for name, place in expected.items():
        assert points[name] == pytest.approx(place, abs=2.6), name
    assert points["left"] == pytest.approx((30, 0, 160), abs=1e-6)


def test_what_meets_gives_the_middle_of_the_contact(tmp_path):
    x, y, z = places()
    array = np.zeros(x.shape, np.uint8)
    block = (abs(y) <= 10) & (abs(z - 170) <= 10)
    array[block & (abs(x + 10) < 10)], array[block & (abs(x - 12) < 10)] = 1, 2
    rules = table(tmp_path, "joint,kidney_left,closest_between,Kidney right")
    assert found(derive_landmarks(image(array), NAMES, rules))["joint"] == pytest.approx(
        (1, 0, 170), abs=0.01)
    array[array == 2] = 0
    array[block & (abs(x - 30) < 10)] = 2
    assert "do not meet" in derive_landmarks(image(array), NAMES, rules).skipped["joint"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_what_the_border_cuts_off_gives_nothing_there(axis, end, tmp_path):
    x, y, z = places()
    middle = [ORIGIN[i] + SPACING[i] * n / 2 for i, n in enumerate((60, 50, 70))]
    middle[axis] = ORIGIN[axis] + (SPACING[axis] * ((60, 50, 70)[axis] - 1) if end else 0)
    array = sum((a - m) ** 2 for a, m in zip((x, y, z), middle, strict=True)) <= 15 ** 2
    names = [["right", "left"], ["anterior", "posterior"], ["inferior", "superior"]]
    cut = names[axis][bool(end)]
    lines = [f"{n},kidney_left,extreme,{n}" for pair in names for n in pair]
    derived = derive_landmarks(image(array), NAMES, table(tmp_path, *lines,
                                                          "middle,kidney_left,centroid,"))
    assert list(found(derived)) == [names[axis][not end]]  # the only end that is surely inside
    assert all(f"cut off by the border of the volume ({cut})" in why
               for why in derived.skipped.values()) and len(derived.skipped) == 6


def test_fragments_and_pieces(tmp_path):
    labels = body()
    array = sitk.GetArrayFromImage(labels)
    array[68, 48, 58] = 1  # one voxel far away
    rules = table(tmp_path, "upper,kidney_left,extreme,superior", "c,trachea,centroid,")
    assert found(derive_landmarks(image(array), NAMES, rules))["upper"][2] < 182
    array[(array == 3) & (places()[2] > 138) & (places()[2] < 160)] = 0
    assert "in 2 pieces" in derive_landmarks(image(array), NAMES, rules).skipped["c"]
    array[array == 3] = 0
    array[30, 30, 30:33] = 3
    assert "too small" in derive_landmarks(image(array), NAMES, rules).skipped["c"]
    array[array == 3] = 0
    assert "not in the segmentation" in derive_landmarks(image(array), NAMES, rules).skipped["c"]


def test_a_thin_rib_with_small_gaps_is_one_structure(tmp_path):
    x, y, z = places()
    array = ((abs(y) <= 2) & (abs(z - 170) <= 2) & (abs(x) < 50) & (x % 20 != 0))
    rules = table(tmp_path, "end,kidney_left,extreme,left")
    derived = derive_landmarks(image(array), NAMES, rules)
    assert found(derived)["end"][0] == pytest.approx(48, abs=2)


def test_a_vessel_with_a_gap_has_no_branching(tmp_path):
    labels = body()
    array = sitk.GetArrayFromImage(labels)
    x, _, z = places()
    rules = table(tmp_path, "split,trachea@superior 60,bifurcation,inferior")
    assert len(derive_landmarks(labels, NAMES, rules).landmarks) == 1
    array[(array == 3) & (z > 132) & (z < 148) & (x > 0)] = 0  # one branch begins too late
    skipped = derive_landmarks(image(array), NAMES, rules).skipped
    assert "does not branch" in skipped["split"] or "pieces" in skipped["split"]


@given(order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=12, deadline=None)
def test_how_voxels_are_stored_changes_nothing(tmp_path_factory, order, flips):
    rules = table(tmp_path_factory.getbasetemp(), *LINES)
    expected = derive_landmarks(body(), NAMES, rules)
    stored = sitk.Flip(sitk.PermuteAxes(body(), order), flips)
    derived = derive_landmarks(stored, NAMES, rules)
    assert derived.landmarks.names == expected.landmarks.names
    assert np.allclose(derived.landmarks.points, expected.landmarks.points, atol=1e-6)


@pytest.mark.parametrize("line, said", [
    ("a,b,middle,", 'there is no rule "middle"'),
    ("a,b,extreme,up", '"up" is no direction'),
    ("a,b,extreme,", '"" is no direction'),
    (",b,centroid,", "name the landmark"),
    ("a,,centroid,", "name the landmark"),
    ("a,b,centroid,left", "takes no argument"),
    ("a,b,closest_between,", "needs the other structure"),
    ("a,b,centroid_of_slice,inferior 3", "from 0 to 1"),
    ("a,b@superior,centroid,", "must be a direction and a number"),
    ("a,b@superior x,centroid,", "must be a direction and a number"),
    ("a,b+c,mean,", "no landmark of a line above"),
    ("z,b,centroid,", "stands in a line above"),
])
def test_a_wrong_line_is_named(line, said, tmp_path):
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        table(tmp_path, "# a comment", "Z,b,centroid,", line)
    assert refused.value.message.startswith("table.csv is wrong in line 4")
    assert refused.value.message.endswith(".")


def test_tables_that_are_none_are_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be found"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_text("a;b\n")
    with pytest.raises(BadInput, match="lacks columns"):
        read_table(tmp_path / "x.csv")
    with pytest.raises(BadInput, match="names no landmark"):
        table(tmp_path)


def test_a_table_that_a_german_spreadsheet_saved_is_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("\ufefflandmark;structures;rule;argument\r\n"
                     "a;b@left 1,5;centroid;\r\n".encode())
    assert read_table(path)[0].parts[0].ends == (("left", 1.5),)


def test_the_default_table_names_what_totalsegmentator_has():
    rules = read_table()
    known = set(json.loads((Path(read_table.__code__.co_filename)
                            .with_name("totalsegmentator_v2.json")).read_text()).values())
    assert len(rules) >= 60 and {rule.kind for rule in rules} <= set(RULES)
    assert {part.structure for rule in rules for part in rule.parts + rule.others
            if rule.kind != "mean"} <= known
    names = {rule.landmark for rule in rules}
    assert all(name.replace("_left", "_right") in names for name in names
               if name.endswith("_left"))


def command(tmp_path, **options):
    with run_job(module="LandmarkPretrain", command="landmarks", output=tmp_path / "out",
                 progress="none", device="cpu", seed=0, overwrite=True, parameters={}) as job:
        run(job, Options(**options), lambda line: None)
    return json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))


def test_the_command_writes_markups_and_why_not(tmp_path):
    sitk.WriteImage(body(), str(tmp_path / "seg.nii.gz"))
    (tmp_path / "seg.json").write_text(json.dumps({"1": {"name": "kidney_left"}, "liver": 2}))
    result = command(tmp_path, segmentation=tmp_path / "seg.nii.gz")
    landmarks = read_landmarks(tmp_path / "out" / result["files"]["landmarks"])
    assert landmarks.names[:2] == ("kidney_upper_pole_left", "kidney_lower_pole_left")
    assert result["count"] == len(landmarks) == len(result["landmarks"])
    assert result["skipped"]["carina"] == "trachea is not in the segmentation"
    assert result["warnings"] == []


def test_labels_without_names_are_taken_for_totalsegmentators_and_this_is_said(tmp_path):
    array = sitk.GetArrayFromImage(body())
    array[array == 1], array[array == 2] = 103, 101  # 2 is the right kidney, 3 the left one
    array[array == 3], array[array == 103] = 0, 3
    array[array == 101] = 2
    sitk.WriteImage(image(array), str(tmp_path / "seg.nii.gz"))
    result = command(tmp_path, segmentation=tmp_path / "seg.nii.gz")
    assert "TotalSegmentator version 2" in result["warnings"][0]
    assert "kidney_upper_pole_left" in [entry["name"] for entry in result["landmarks"]]


@pytest.mark.parametrize("write, said", [
    (lambda p: sitk.WriteImage(sitk.Cast(body(), sitk.sitkFloat32) * 0.5, str(p)), "whole numbers"),
    (lambda p: sitk.WriteImage(body() * 0, str(p)), "is empty"),
    (lambda p: sitk.WriteImage(sitk.Cast(body(), sitk.sitkInt16) - 1, str(p)), "whole numbers"),
    (lambda p: None, "cannot be found"),
    (lambda p: p.write_bytes(b"x"), "seg.nrrd"),
])
def test_what_is_no_segmentation_is_refused(write, said, tmp_path):
    write(tmp_path / "seg.nrrd")
    with pytest.raises(BadInput, match=said):
        command(tmp_path, segmentation=tmp_path / "seg.nrrd")


def test_a_segmentation_that_gives_nothing_is_refused(tmp_path):
    sitk.WriteImage(body(), str(tmp_path / "seg.nrrd"))
    (tmp_path / "names.json").write_text('{"1": "x"}')
    with pytest.raises(BadInput, match="gives none of the [0-9]+ landmarks"):
        command(tmp_path, segmentation=tmp_path / "seg.nrrd", names=tmp_path / "names.json")
    for text in ("[", "[1]", '{"x": "y"}', '{"1": {"label": 3}}'):
        (tmp_path / "names.json").write_text(text)
        with pytest.raises(BadInput, match="does not name labels"):
            command(tmp_path, segmentation=tmp_path / "seg.nrrd", names=tmp_path / "names.json")


def test_slicers_cropped_segmentation_gets_its_grid_back(tmp_path):
    whole = body()
    write_seg_nrrd(tmp_path / "x.seg.nrrd", whole[20:, 5:40, 10:50],
                   [SegmentDescription(1, "S_1", "kidney_left", (1, 2, 3))])
    text = (tmp_path / "x.seg.nrrd").read_bytes()
    geometry = (b"x|y|z&Reference image geometry|-2;0;0;60;0;-2;0;50;0;0;2;100;0;0;0;1;"
                b"0;59;0;49;0;69;|text.&more|1|a&")
    (tmp_path / "x.seg.nrrd").write_bytes(text.replace(
        b"ConversionParameters:=", b"ConversionParameters:=" + geometry, 1))
    labels, names, assumed = read_named_labels(tmp_path / "x.seg.nrrd")
    assert labels.GetSize() == whole.GetSize() and names == {1: ("S_1", "kidney_left")}
    assert not assumed and labels.GetOrigin() == pytest.approx(whole.GetOrigin())
    expected = sitk.GetArrayFromImage(whole)
    expected[:10], expected[50:] = 0, 0
    expected[:, :5], expected[:, 40:], expected[:, :, :20] = 0, 0, 0
    assert np.array_equal(sitk.GetArrayFromImage(labels), expected)


def test_the_simulated_trunk_has_them_where_it_says():
    """Two programs that know nothing of each other: where the phantom puts a landmark, and what
    its labels give."""
    trunk = simulate_trunk((5, 1), TrunkSettings(spacing=(4.0, 4.0, 4.0)))
    names = {value: (name,) for value, name in trunk.label_names.items()}
    points = found(derive_landmarks(trunk.labels, names, read_table()))
    apart = {name: np.linalg.norm(points[name] - point)
             for name, point in trunk.landmarks.items() if name in points}
    assert len(apart) > 60
    exact = ("femoral_head", "anterior_superior_iliac_spine", "posterior_superior_iliac_spine",
             "vertebra", "spinous_process", "rib_12", "scapula_inferior_angle",
             "clavicle_sternal_end", "coccyx", "xiphoid")
    for name, distance in apart.items():
        assert distance < (8 if name.startswith(exact) else 30), name
    assert np.median(list(apart.values())) < 4


@pytest.mark.skipif(not REAL.exists(), reason="the shared data are not here")
def test_real_segmentations_give_dozens_quickly_and_on_their_side():
    labels, names, _ = read_named_labels(REAL / "s0327_labels.nii.gz")
    began = time.process_time()
    derived = derive_landmarks(labels, names, read_table())
    assert time.process_time() - began < 10
    points = found(derived)
    assert len(points) >= 85
    for name, point in points.items():
        if name.endswith("_left") and name[:-4] + "right" in points:
            assert point[0] > points[name[:-4] + "right"][0], name
    spine = [points[f"vertebra_{v}_centre"][2] for v in ("T2", "T6", "T12", "L1", "L5")]
    assert spine == sorted(spine, reverse=True)
    at = labels.TransformPhysicalPointToIndex(points["femoral_head_left"].tolist())
    assert names[labels[at]] == ("femur_left",)
    # Lang 1991: at L4
    assert abs(points["aortic_bifurcation"][2] - points["vertebra_L4_centre"][2]) < 40
    assert "does not branch" in derived.skipped["iliac_vein_confluence"]  # its label has a gap
