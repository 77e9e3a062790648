# SPDX-License-Identifier: Apache-2.0
"""Region maps from label maps: every voxel gets a tissue, and only what is known is taught."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MuscleSegLib.anatomy import (
    CAVITY,
    ELSEWHERE,
    FAT,
    INTERMUSCULAR,
    JOINT,
    ORGAN_OFFSET,
    PELVIC_TARGETS,
    SKIN,
    TRUNK_TARGETS,
    UNKNOWN,
    _refine_slices,
    read_elsewhere,
    read_pelvic_reference,
    read_trunk_labels,
)
from MuscleSegLib.structures import STRUCTURES, structure_named
from ReadingRoomLib.phantoms.region_map import IGNORED, RegionMap, Tissue

REFERENCE = (Path(__file__).resolve().parents[3] / "shared" / "data" / "pelvic_muscle_labels"
             / "Pelvic-Ref-001")


def save(array: np.ndarray, path: Path, spacing, flip: bool = False) -> Path:
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(spacing)
    if flip:  # stored from head to feet
        image = sitk.Flip(image, [False, False, True])
    sitk.WriteImage(image, str(path))
    return path


def pelvic_labels() -> tuple[np.ndarray, np.ndarray]:
    """A pelvis of boxes in a body, 10 slices of 3 mm, feet first."""
    labels = np.zeros((10, 60, 80), np.uint8)
    body = np.zeros_like(labels)
    body[:, 5:55, 8:72] = 1
    for columns in (slice(14, 26), slice(54, 66)):
        labels[4:, 20:40, columns] = 1  # pelvis
        labels[:4, 25:35, columns] = 2  # femur
        labels[:, 42:50, columns] = 5  # a muscle
    labels[5:, 40:48, 34:46] = 3  # sacrum
    labels[5:, 12:15, 20:60] = 26  # wall of the abdomen
    return labels, body


@pytest.fixture(scope="module", params=[False, True])
def pelvic(request, tmp_path_factory) -> RegionMap:
    folder = tmp_path_factory.mktemp("case")
    labels, body = pelvic_labels()
    for array, name in ((labels, "label.mhd"), (body, "mask.mhd")):
        save(array, folder / name, (2.0, 2.0, 3.0), flip=request.param)
    return read_pelvic_reference(folder)


def taught(regions: RegionMap) -> np.ndarray:
    return regions.target[regions.regions]


def test_reference_labels_are_our_structures():
    assert sorted(PELVIC_TARGETS.values()) == [s.value for s in STRUCTURES]
    assert PELVIC_TARGETS[5] == structure_named("gluteus_maximus").value
    assert 4 not in PELVIC_TARGETS and max(PELVIC_TARGETS) == 23  # neither spine nor trunk
    for name, value in TRUNK_TARGETS.items():
        assert structure_named({"hip": "pelvis"}.get(name, name)).value == value


def test_every_second_slice_is_the_one_that_was_read(pelvic):
    labels, _ = pelvic_labels()
    assert pelvic.spacing == (1.5, 2.0, 2.0) and len(pelvic.regions) == 19
    named = np.where(pelvic.regions < SKIN, pelvic.regions, 0)[::2]
    rows, columns = (slice(5, 55), slice(8, 72))
    margin = (slice(None), slice(5, 55), slice(6, 70))
    body = named[:, 5:55, 6:70] if named.shape[1:] == (60, 76) else named[margin]
    assert (body == labels[:, rows, columns]).mean() > 0.99  # corners are rounded


def test_the_unnamed_part_of_the_body_is_filled(pelvic):
    codes = set(np.unique(pelvic.regions).tolist())
    assert {SKIN, FAT, INTERMUSCULAR, CAVITY} <= codes
    assert UNKNOWN not in codes
    lower, upper = pelvic.regions[:6], pelvic.regions[10:]
    assert not (lower == CAVITY).any() and (upper == CAVITY).any()
    # air is outside, skin is its neighbour
    middle = pelvic.regions[4, pelvic.regions.shape[1] // 2]
    inside = np.flatnonzero(middle)
    assert middle[inside[0]] == middle[inside[-1]] == SKIN


def test_only_our_structures_are_taught(pelvic):
    present = {1, 2, 3, 26, 5}
    assert present <= set(np.unique(pelvic.regions).tolist())
    assert set(np.unique(taught(pelvic)).tolist()) == {0, 1, 2, 3, 4}
    assert pelvic.target[26] == 0 and pelvic.tissue[26] == Tissue.MUSCLE
    assert (pelvic.tissue[[1, 2, 3, 4]] == Tissue.BONE).all()
    assert set(pelvic.implants) <= {1, 2, 3, 4}


def test_a_gap_between_bones_is_a_joint_of_cartilage(tmp_path):
    labels, body = pelvic_labels()
    labels[:, 20:40, 14:18] = 2
    labels[:, 20:40, 18:20] = 0
    labels[:, 20:40, 20:26] = 1
    for array, name in ((labels, "label.mhd"), (body, "mask.mhd")):
        save(array, tmp_path / name, (1.0, 1.0, 3.0))
    regions = read_pelvic_reference(tmp_path)
    joint = regions.regions == JOINT
    assert joint.any() and not joint[:, :, regions.regions.shape[2] // 2 :].any()
    assert regions.tissue[JOINT] == Tissue.CARTILAGE and regions.target[JOINT] == 0


def test_real_scans_of_other_regions_teach_background_where_nothing_else_can_be(tmp_path):
    values = np.arange(40, dtype=np.int16)[:, None, None] + np.zeros((40, 5, 6), np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 5.0))
    for name, _, _ in ELSEWHERE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(tmp_path / name))
    for scan, (_, feet, head) in zip(read_elsewhere(tmp_path), ELSEWHERE, strict=True):
        assert scan.spacing == (5.0, 2.0, 2.0) and scan.hounsfield.dtype == np.int16
        assert (scan.hounsfield[:, 0, 0] == np.arange(40)).all()
        first, last = feet // 5, 40 - head // 5
        assert not scan.target[first:last].any()
        assert (scan.target[:first] == IGNORED).all() and (scan.target[last:] == IGNORED).all()


def test_slices_in_between_follow_the_shape():
    regions = np.zeros((3, 20, 20), np.uint8)
    for z, width in enumerate((4, 8, 12)):
        regions[z, 5:15, 2 : 2 + width] = 9
    fine, spacing = _refine_slices(regions, (3.0, 1.0, 1.0))
    assert spacing == (1.5, 1.0, 1.0) and fine.shape == (5, 20, 20)
    widths = (fine[:, 10] == 9).sum(1)
    assert list(widths) == sorted(widths)
    assert 4 < widths[1] < 8 < widths[3] < 12
    assert set(np.unique(fine)) == {0, 9}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> tuple[RegionMap, dict[str, int]]:
    folder = tmp_path_factory.mktemp("trunk")
    names = ["hip_left", "hip_right", "sacrum", "vertebrae_S1", "gluteus_maximus_left",
             "iliopsoas_left", "liver", "lung_upper_lobe_left", "aorta", "urinary_bladder",
             "colon", "costal_cartilages", "humerus_left", "femur_right", "heart"]
    values = {name: value for value, name in enumerate(names, start=1)}
    labels = np.zeros((16, 50, 70), np.uint8)
    for row, name in enumerate(n for n in names if n != "humerus_left"):
        column = 12 + 12 * (row % 4)
        labels[2:14, 10 + 8 * (row // 4) : 16 + 8 * (row // 4), column : column + 8] = values[name]
    for name in ("hip_left", "hip_right", "sacrum", "femur_right"):  # below the crest only
        labels[8:][labels[8:] == values[name]] = 0
    labels[:, 5:9, 0:4] = values["humerus_left"]
    path = save(labels, folder / "labels.nii.gz", (2.0, 2.0, 2.0))
    document = {str(value): {"name": name} for name, value in values.items()}
    (folder / "names.json").write_text(json.dumps(document), "utf-8")
    # the NIfTI is read in LPS axes as it was written
    return read_trunk_labels(path, folder / "names.json"), values


def test_trunk_teaches_what_it_names(trunk):
    regions, values = trunk
    code = {name: value + ORGAN_OFFSET for name, value in values.items()}
    for name, target in (("hip_left", 1), ("hip_right", 1), ("sacrum", 3), ("vertebrae_S1", 3),
                         ("gluteus_maximus_left", 4), ("femur_right", 2), ("liver", 0),
                         ("iliopsoas_left", IGNORED)):
        assert regions.target[code[name]] == target, name
        assert (regions.regions == code[name]).any(), name
    for name, tissue in (("hip_left", Tissue.BONE), ("liver", Tissue.ORGAN),
                         ("lung_upper_lobe_left", Tissue.LUNG), ("aorta", Tissue.VESSEL),
                         ("urinary_bladder", Tissue.FLUID), ("colon", Tissue.BOWEL),
                         ("costal_cartilages", Tissue.CARTILAGE), ("heart", Tissue.ORGAN),
                         ("humerus_left", Tissue.BONE), ("iliopsoas_left", Tissue.MUSCLE)):
        assert regions.tissue[code[name]] == tissue, name


def test_what_the_trunk_does_not_name_is_ignored_below_the_crest_only(trunk):
    regions, values = trunk
    assert regions.target[UNKNOWN] == IGNORED
    lower, upper = regions.regions[:8], regions.regions[8:]
    assert (lower == UNKNOWN).any() and not (upper == UNKNOWN).any()
    assert (upper == CAVITY).any() and not (lower == CAVITY).any()
    assert regions.target[CAVITY] == 0


def test_above_the_crest_iliopsoas_is_psoas(trunk):
    regions, values = trunk
    code = values["iliopsoas_left"] + ORGAN_OFFSET
    assert (regions.regions[2:8] == code).any() and not (regions.regions[8:] == code).any()
    assert (regions.regions[8:14] == 59).any() and not (regions.regions[:8] == 59).any()
    assert regions.target[59] == structure_named("psoas_major").value


def test_arms_do_not_widen_the_trunk(trunk):
    regions, values = trunk
    rows, columns = np.nonzero(regions.regions[10] == CAVITY)
    assert columns.min() >= 12 + 30 - 1  # the padding is 30 voxels


def test_a_real_reference_case(tmp_path):
    if not REFERENCE.is_dir():
        pytest.skip("the reference labels are not here")
    for name in ("label.mhd", "mask.mhd"):  # every third row and column, to be quick
        image = sitk.ReadImage(str(REFERENCE / name))[::3, ::3]
        sitk.WriteImage(image, str(tmp_path / name))
    labels = sitk.ReadImage(str(tmp_path / "label.mhd"))
    regions = read_pelvic_reference(tmp_path)
    assert set(np.unique(taught(regions)).tolist()) == set(range(23))
    voxel_ml = np.prod(labels.GetSpacing()) / 1000
    before = np.bincount(sitk.GetArrayViewFromImage(labels).ravel(), minlength=24) * voxel_ml
    after = np.bincount(regions.regions.ravel(), minlength=24) * np.prod(regions.spacing) / 1000
    for label in PELVIC_TARGETS:
        assert after[label] == pytest.approx(before[label], rel=0.15)
