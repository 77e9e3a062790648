# SPDX-License-Identifier: Apache-2.0
"""Lists of volumes with landmarks: what is matched, warned of and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from LandmarkPretrainLib.landmark_cases import read_cases
from LandmarkPretrainLib.landmark_files import Landmarks, write_markups
from LandmarkPretrainLib.landmark_sides import by_key, other_side, pairs_of, problems_of
from ReadingRoomLib.errors import BadInput

MOUSE = (Path(__file__).resolve().parents[3] / "shared" / "data"
         / "landmarks_mouse_skull_microct")
BODY = {"carina": (2, 5, 80), "liver_tip": (-60, -30, -20), "heart_apex": (55, -50, 40),
        "navel": (0, -80, -60), "L1": (0, 40, 0), "kidney_left": (50, 30, -10),
        "kidney_right": (-50, 30, -25), "hip_left": (80, 0, -85), "hip_right": (-80, 0, -85),
        "shoulder_left": (90, 20, 85), "shoulder_right": (-90, 20, 85)}
SWAPPED = {"left": "right", "right": "left"}


def exchanged(name):
    head, _, side = name.rpartition("_")
    return f"{head}_{SWAPPED[side]}" if side in SWAPPED else name


def patient(seed, noise=3.0, turn=0.0, mirror=False, swap=lambda name: False):
    """The body, a little different: names and (n, 3) points."""
    random = np.random.default_rng(seed)
    points = np.array(list(BODY.values()), float) * random.uniform(0.9, 1.05)
    points += random.normal(0, noise, points.shape)
    if mirror:
        points[:, 0] *= -1
    cosine, sine = np.cos(turn), np.sin(turn)
    points = points @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    return tuple(exchanged(name) if swap(name) else name for name in BODY), points


class Lists:
    """Writes volumes, landmarks and a list."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0

    def item(self, names, points, **more):
        self.count += 1
        name = f"case{self.count}"
        image = sitk.GetImageFromArray(np.arange(1000, dtype=np.int16).reshape(10, 10, 10))
        image.SetSpacing([25.0] * 3)
        image.SetOrigin([-112.5] * 3)
        sitk.WriteImage(image, str(self.folder / f"{name}.nii.gz"))
        write_markups(self.folder / f"{name}.mrk.json", Landmarks(tuple(names), points))
        return {"image": f"{name}.nii.gz", "landmarks": f"{name}.mrk.json", "patient": name} | more

    def read(self, *items, modality="MR", wanted=None, **parts):
        path = self.folder / "list.json"
        path.write_text(json.dumps({"training": items} | parts))
        return read_cases(path, modality, wanted)


@pytest.fixture
def lists(tmp_path):
    return Lists(tmp_path)


def test_names_are_matched_and_classes_are_those_of_training(lists):
    names, points = patient(0)
    other = [name.upper().replace("_", " ") for name in names]
    cases = lists.read(lists.item(names[:-1], points[:-1]), lists.item(other, patient(1)[1]),
                       test=[lists.item([*names, "extra"], np.vstack([patient(2)[1], [1, 2, 3]]))])
    assert cases.names == (*names[:-1], "SHOULDER RIGHT")
    assert cases.parts["training"][1].landmarks.names[:2] == names[:2]
    assert [case.patient for case in cases.parts["test"]] == ["case3"]
    found = cases.parts["training"][0].points_of(cases.names)
    assert np.array_equal(found[:-1], points[:-1]) and np.isnan(found[-1]).all()
    assert '1 of 11 landmarks are missing in some cases, most often "SHOULDER RIGHT" (in 1 of 3)' \
        in cases.warnings[0]
    assert '"extra" cannot be learned' in cases.warnings[1]


def test_the_most_frequent_landmarks_are_taken(lists):
    names, points = patient(0)
    items = [lists.item(names[2:], points[2:]), lists.item(names, patient(1)[1])]
    assert lists.read(*items, wanted=9).names == names[2:]
    with pytest.raises(BadInput, match="60 landmarks were asked for, .* only 11: ask for fewer"):
        lists.read(*items, wanted=60)


def test_an_image_is_read_when_it_is_asked_for(lists):
    cases = lists.read(*[lists.item(*patient(seed)) for seed in range(2)])
    assert cases.parts["training"][0].read().image.GetSize() == (10, 10, 10)
    (lists.folder / "case1.nii.gz").write_bytes(b"x")
    with pytest.raises(BadInput, match="case1.nii.gz"):
        cases.parts["training"][0].read()


def refused(lists, said, *items, **options):
    with pytest.raises(BadInput, match=re.escape(said)) as error:
        lists.read(*items, **options)
    assert error.value.message.endswith(".") and "\n" not in error.value.message


def test_one_case_is_not_enough(lists):
    refused(lists, "holds 1 patient, but at least 2", lists.item(*patient(0)))
    refused(lists, "holds 1 patient, but at least 2",
            *[lists.item(*patient(seed), patient="x") for seed in range(2)])


def test_cases_without_a_common_landmark_are_refused_with_what_differs(lists):
    names, points = patient(0)
    numbers = [str(number) for number in range(len(names))]
    refused(lists, 'case2.nii.gz (item 2 of training) and case1.nii.gz (item 1 of training) have '
                   'no landmark in common: "0", "1", "2", "3" and 7 more against "carina"',
            *[lists.item(names, points), lists.item(numbers, points), lists.item(names, points)])


@pytest.mark.parametrize("number", [0, 2])
def test_exchanged_sides_name_the_case(lists, number):
    items = [lists.item(*patient(seed, turn=0.2 * seed,
                                 swap=lambda name, seed=seed: seed == number))
             for seed in range(4)]
    refused(lists, f"Compared with the other cases, case{number + 1}.nii.gz "
                   f"(item {number + 1} of training) does not fit: left and right are exchanged",
            *items)


def test_a_mirrored_volume_names_the_case(lists):
    items = [lists.item(*patient(seed, mirror=seed == 1)) for seed in range(4)]
    refused(lists, "case2.nii.gz (item 2 of training) does not fit: it is mirrored", *items)


def test_of_two_cases_nobody_knows_which_is_wrong(lists):
    refused(lists, "Compared with case2.nii.gz, case1.nii.gz", lists.item(*patient(0)),
            lists.item(*patient(1, swap=lambda name: True)))


def test_a_single_pair_is_warned_of(lists):
    cases = lists.read(*[lists.item(*patient(
        seed, swap=lambda name, seed=seed: seed == 1 and "hip" in name)) for seed in range(4)])
    assert len(cases.warnings) == 1
    assert '"hip left" may be exchanged in case2.nii.gz' in cases.warnings[0]


def test_all_cases_exchanged_are_warned_of_where_left_is_known(lists):
    items = [lists.item(*patient(seed, swap=lambda name: True)) for seed in range(3)]
    assert "in all cases" in lists.read(*items).warnings[0]
    assert lists.read(*items, modality="other").warnings == []


def test_points_outside_the_volume_name_the_landmark(lists):
    names, points = patient(0)
    points[3, 1] = -140.0
    refused(lists, 'The landmark "navel" of case1.nii.gz lies 15.0 mm outside the volume (1 of 11',
            lists.item(names, points), lists.item(*patient(1)))


def test_two_landmarks_at_one_place_are_refused(lists):
    names, points = patient(0)
    points[2] = points[0]
    refused(lists, '"carina" and "heart_apex" of case1.nii.gz lie at one place',
            lists.item(names, points), lists.item(*patient(1)))


def test_a_patient_in_two_parts_is_refused(lists):
    items = [lists.item(*patient(seed)) for seed in range(2)]
    refused(lists, "same patient", *items, test=[lists.item(*patient(3), patient="case1")])


def test_dicom_needs_its_modality(lists, tmp_path):
    (tmp_path / "series").mkdir()
    items = [lists.item(*patient(seed), image="series") for seed in range(1)]
    cases = lists.read(*items, lists.item(*patient(2)), modality="other")
    with pytest.raises(BadInput, match="say whether it is CT or MR"):
        cases.parts["training"][0].read()


@given(seed=st.integers(0, 10_000), noise=st.floats(0, 12), turn=st.floats(-3.1, 3.1))
@settings(max_examples=60, deadline=None)
def test_no_pose_and_no_usual_difference_raises_an_alarm(seed, noise, turn):
    cases = [by_key(*patient((seed, number), noise, turn * number)) for number in range(4)]
    assert problems_of(cases)[0] == {}


@given(seed=st.integers(0, 10_000), noise=st.floats(0, 8), turn=st.floats(-3.1, 3.1))
@settings(max_examples=60, deadline=None)
def test_in_every_pose_a_mirror_is_seen(seed, noise, turn):
    cases = [by_key(*patient((seed, number), noise, turn * number, mirror=number == 2))
             for number in range(4)]
    assert problems_of(cases)[0] == {2: "mirrored"}


def test_sides_are_known_by_their_words():
    assert other_side("kidney left upper") == "kidney right upper"
    assert [other_side(key) for key in ("l1", "left right", "carina")] == ["", "", ""]
    assert pairs_of(["hip l", "hip r", "leg left"]) == [("hip l", "hip r")]


@pytest.mark.skipif(not MOUSE.exists(), reason="the shared data are not here")
def test_real_specimens_agree(tmp_path):
    items = [{"image": str(path), "landmarks": str(path).replace(".nii.gz", ".mrk.json"),
              "patient": path.name} for path in sorted(MOUSE.glob("*.nii.gz"))]
    (tmp_path / "list.json").write_text(json.dumps({"training": items}))
    cases = read_cases(tmp_path / "list.json", "other")
    assert len(cases.names) == 45 and len(cases.parts["training"]) == 10 and not cases.warnings
    assert cases.parts["training"][0].read().image.GetPixelID() == sitk.sitkUInt8
