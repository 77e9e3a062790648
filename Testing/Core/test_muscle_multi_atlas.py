# SPDX-License-Identifier: Apache-2.0
"""Atlases that are registered and vote, and two results compared."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MuscleSegLib import atlas_registration, comparison, multi_atlas
from MuscleSegLib.atlas_registration import place, register, windowed
from MuscleSegLib.comparison import Evaluated, compare
from MuscleSegLib.evaluation import (
    CaseTime,
    StructureScore,
    read_scores,
    read_times,
    write_scores,
    write_times,
)
from MuscleSegLib.multi_atlas import MultiAtlas, fuse, likeness
from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.region_map import IGNORED

from .muscle_factory import as_image, thighs

BONE, MUSCLE = 1, 4
STILL = sitk.TranslationTransform(3)


def labels_of(calm: np.ndarray) -> np.ndarray:
    labels = np.zeros(calm.shape, np.uint8)
    labels[calm == 55], labels[calm == 700] = MUSCLE, BONE
    return labels


def flat(value: float, shape=(10, 12, 14)) -> sitk.Image:
    return as_image(np.full(shape, value, np.float32), (4.0, 4.0, 4.0))


def test_votes_count_by_weight_and_unknown_labels_have_none():
    volume = as_image(np.zeros((20, 12, 14), np.int16))
    first, second, third = (as_image(np.full((20, 12, 14), value, np.uint8))
                            for value in (3, 7, IGNORED))
    weak, strong = (as_image(np.full((20, 12, 14), value, np.float32)) for value in (0.4, 0.5))

    def fused(*voters):
        return set(np.unique(sitk.GetArrayFromImage(fuse(volume, voters))))

    assert fused((first, STILL, weak), (second, STILL, strong)) == {7}
    assert fused((first, STILL, weak), (first, STILL, weak), (second, STILL, strong)) == {3}
    assert fused((first, STILL, weak), (third, STILL, strong)) == {3}
    assert fused((third, STILL, strong)) == {0}


def test_likeness_falls_with_the_difference_and_beyond_the_image():
    target = flat(50.0)
    same, near, far = (likeness(target, flat(value), STILL) for value in (50.0, 80.0, 400.0))
    means = [sitk.GetArrayFromImage(image).mean() for image in (same, near, far)]
    assert means[0] == pytest.approx(1) and means[0] > means[1] > means[2] > 0
    away = sitk.TranslationTransform(3, (1000.0, 0.0, 0.0))
    assert sitk.GetArrayFromImage(likeness(target, flat(50.0), away)).max() < 0.01


@pytest.mark.parametrize(("first", "last"), [(0, 24), (6, 24)])
def test_a_scan_is_placed_by_its_content(first, last):
    whole = np.full((24, 20, 30), -200, np.float32)
    random = np.random.default_rng(0)
    whole[:, 4:16, 6:24] = random.uniform(-100, 400, (24, 1, 1)).astype(np.float32)
    target = as_image(whole, (12.0, 12.0, 12.0))
    other = as_image(whole[first:last], (12.0, 12.0, 12.0), (-100.0, -80.0, 500.0))
    move, alike = place(target, other)
    # slice `first` of the whole is the first one of the other
    assert move == pytest.approx([30, 10, 490 - 12 * first], abs=7) and alike > 0.95


@pytest.fixture(scope="module")
def pair():
    """A CT of two thighs, and another one that is thicker, moved, and brighter."""
    pytest.importorskip("itk")
    target = thighs((4.0, 3.0, 3.0), (80.0, 160.0, 250.0), 5.0)
    calm = thighs((4.0, 3.0, 3.0), (80.0, 160.0, 250.0), 0.0)
    volume = as_image(target, (4.0, 3.0, 3.0))
    truth = labels_of(calm)
    bend = sitk.AffineTransform(3)
    bend.Scale((0.93, 0.93, 1.0))
    bend.Translate((4.0, -3.0, 0.0))
    moved = sitk.Resample(volume, volume, bend, sitk.sitkLinear, -1000)
    atlas = sitk.Resample(as_image(truth, (4.0, 3.0, 3.0)), volume, bend,
                          sitk.sitkNearestNeighbor)
    return volume, truth, moved + 10, atlas


def dice(found: sitk.Image, truth: np.ndarray, value: int) -> float:
    one, other = sitk.GetArrayFromImage(found) == value, truth == value
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_registration_carries_labels_over_and_is_the_same_for_the_same_seed(pair, monkeypatch):
    if not hasattr(sys.modules["itk"], "elastix_registration_method"):
        pytest.skip("itk-elastix is not installed")
    monkeypatch.setattr(atlas_registration, "ITERATIONS", 30)
    monkeypatch.setattr(atlas_registration, "POINTS", 1000)
    volume, truth, moving, labels = pair
    target, atlas = windowed(volume), windowed(moving)
    transform = register(target, atlas, np.zeros(3), 3)
    before = fuse(volume, [(labels, STILL, likeness(target, atlas, STILL))])
    after = fuse(volume, [(labels, transform, likeness(target, atlas, transform))])
    assert dice(before, truth, BONE) < 0.85
    assert dice(after, truth, BONE) > 0.9 and dice(after, truth, MUSCLE) > 0.93
    again = register(target, atlas, np.zeros(3), 3)
    points = [(0.0, 0.0, 40.0), (30.0, -20.0, 60.0)]
    assert all(transform.TransformPoint(point) == again.TransformPoint(point) for point in points)


def pairs_of(*patients: str) -> list[Pair]:
    return [Pair(Path(f"{number}.nrrd"), Path(f"{number}.seg.nrrd"), patient, "", "")
            for number, patient in enumerate(patients)]


def test_an_atlas_of_the_same_patient_is_never_used(monkeypatch):
    monkeypatch.setattr(multi_atlas, "import_elastix", lambda: None)
    used = []

    def register(target, moving, move, seed):
        return STILL

    def read(self, pair):
        used.append(pair.patient)
        image = flat(50.0 + 10 * len(used))
        return multi_atlas.Atlas(pair.image.name, image, sitk.Cast(image > 0, sitk.sitkUInt8))

    monkeypatch.setattr(multi_atlas, "register", register)
    monkeypatch.setattr(MultiAtlas, "_read", read)
    atlases = MultiAtlas(pairs_of("a", "b", "a", "c"), most=5)
    found = atlases.segment(flat(50.0), "a")
    assert set(used) == {"b", "c"} and set(np.unique(sitk.GetArrayFromImage(found))) == {1}
    with pytest.raises(BadInput, match="another patient"):
        MultiAtlas(pairs_of("a", "a")).segment(flat(50.0), "a")


def test_an_atlas_that_cannot_be_registered_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(multi_atlas, "import_elastix", lambda: None)

    def register(*_):
        raise RuntimeError("too many samples map outside")

    monkeypatch.setattr(multi_atlas, "register", register)
    monkeypatch.setattr(MultiAtlas, "_read", lambda self, pair: multi_atlas.Atlas(
        pair.image.name, flat(0.0), sitk.Cast(flat(0.0), sitk.sitkUInt8)))
    said = []
    with pytest.raises(BadInput, match="No atlas"):
        MultiAtlas(pairs_of("b"), warn=said.append).segment(flat(50.0), "a")
    assert "0.nrrd" in said[0]


def test_without_elastix_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(BadInput, match="itk-elastix"):
        MultiAtlas(pairs_of("a", "b"))


# --- two results ---------------------------------------------------------------------------------


def score(patient: str, structure: str, dice: float, asd: float) -> StructureScore:
    return StructureScore(patient, f"{patient}.nrrd", structure, dice, asd, dice, asd, 1, 1, 0.1)


def evaluated(name: str, asd: float, seconds: float | None, **missing) -> Evaluated:
    scores = [score(patient, structure, 1 - asd / 10, asd + offset)
              for patient, offset in (("a", 0.0), ("b", 0.1), ("c", 0.3))
              for structure in ("femur", "iliacus", "gracilis")]
    times = [CaseTime(patient, f"{patient}.nrrd", seconds, None) for patient in "abc"]
    return Evaluated(name, scores, times)


def test_errors_and_times_are_compared_patient_by_patient():
    found = compare(evaluated("model", 0.9, 10.0), evaluated("multi-atlas", 1.9, 120.0))
    muscles = found["groups"]["muscles"]
    ratio = (0.9 + 0.4 / 3) / (1.9 + 0.4 / 3)
    assert muscles["asd_ratio"]["value"] == pytest.approx(ratio)
    assert muscles["asd_ratio"]["low"] <= ratio <= muscles["asd_ratio"]["high"] < 1
    assert muscles["dice_difference"]["value"] == pytest.approx(0.1)
    assert muscles["asd_ratio"]["n"] == 3 and set(found["groups"]) == {
        "all", "muscles", "bones", "hip_muscles", "thigh_muscles"}
    assert found["time_ratio"]["value"] == pytest.approx(12)
    assert "cpu_time_ratio" not in found
    assert any("multi-atlas" in line and "12.0" in line for line in comparison.sentences(found))


def test_what_one_missed_shows_in_dice_and_not_in_distance():
    ours, theirs = evaluated("model", 1.0, None), evaluated("atlas", 1.0, None)
    theirs.scores[1] = score("a", "iliacus", 0.0, np.inf)
    hip = compare(ours, theirs)["groups"]["hip_muscles"]
    assert hip["missed"] == [0, 1] and hip["asd_ratio"]["n"] == 2
    assert hip["asd_ratio"]["value"] == pytest.approx(1) and hip["dice"][1] == pytest.approx(0.6)
    with pytest.raises(BadInput, match="no CT in common"):
        compare(ours, Evaluated("other", [score("z", "femur", 1, 1)], []))


def test_tables_are_read_as_they_were_written(tmp_path):
    scores = [score("a", "femur", 0.5, 1.5), score("a", "iliacus", 0.0, np.inf),
              score("b", "femur", np.nan, np.nan)]
    write_scores(tmp_path / "scores.csv", scores)
    read = read_scores(tmp_path / "scores.csv")
    assert read[0] == scores[0] and read[1].missed and np.isnan(read[2].dice)
    assert not read[2].missed
    times = [CaseTime("a", "a.nrrd", 1.5, None), CaseTime("b", "b.nrrd", None, 2.0)]
    write_times(tmp_path / "cases.csv", times)
    assert read_times(tmp_path / "cases.csv") == times
