# SPDX-License-Identifier: Apache-2.0
"""What the names of other programs' labels mean: merged, not to be parted, or none of ours."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MuscleSegLib.label_names import READY, TABLES, read_names, understand
from MuscleSegLib.named_labels import reference_on, structure_of, target_on
from MuscleSegLib.structures import STRUCTURES, structure_named
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .muscle_body import BOXES, body, image_of, write_pair

GLUTEUS, FEMUR, SACRUM = (structure_named(name).value
                          for name in ("gluteus_maximus", "femur", "sacrum"))


def meaning(*names, table=None):
    """Of labels 1, 2, ... with these names: structures by value, unknown values, sentences."""
    found = understand({value: (name,) for value, name in enumerate(names, 1)},
                       table or read_names(None), "x.nrrd")
    return ({value: (structure.name, side) for value, (structure, side) in found.known.items()},
            set(found.unknown), found.sentences)


def test_sides_are_understood_in_every_spelling():
    for name in ("Left femur", "femur_left", "Femur, left", "FEMUR L", "femur-l"):
        assert structure_of(name) == (structure_named("femur"), "left")
    assert structure_of("L femur") is None and structure_of("femur left right") is None


def test_names_of_totalsegmentator():
    known, unknown, sentences = meaning("hip_left", "hip_right", "femur_left", "sacrum",
                                        "vertebrae_S1", "gluteus_medius_right", "iliopsoas_left",
                                        "liver", "quadriceps_femoris_right")
    assert known == {1: ("pelvis", "left"), 2: ("pelvis", "right"), 3: ("femur", "left"),
                     4: ("sacrum", ""), 5: ("sacrum", ""), 6: ("gluteus_medius", "right")}
    assert unknown == {7, 9}
    assert any("Iliacus and Psoas major in one label" in text for text in sentences)


def test_parts_make_a_structure_only_together():
    names = ["adductor magnus left", "Adductor Longus L", "adductor brevis left"]
    known, unknown, _ = meaning(*names)
    assert set(known.values()) == {("adductors", "left")} and not unknown
    known, unknown, sentences = meaning(*names[:2], "gracilis left")
    assert known == {3: ("gracilis", "left")} and unknown == {1, 2}
    assert sentences == ("x.nrrd has only a part of Adductors: it was left out.",)


def test_names_and_values_of_musclemap():
    table = read_names("musclemap")
    known, unknown, _ = meaning("Left Ilium", "Vastus Lateralis R", "vastus intermedius right",
                                "Biceps Femoris Long Head L", "biceps femoris short head l")
    assert known == {2: ("vastus_lateralis_intermedius", "right"),
                     3: ("vastus_lateralis_intermedius", "right"), 4: ("biceps_femoris", "left"),
                     5: ("biceps_femoris", "left")}
    assert unknown == {1}  # which part of the hip bone it is nobody says
    found = understand(table.values, table, "x.nii.gz")
    named = {structure.name for structure, _ in found.known.values()}
    assert named == {structure.name for structure in STRUCTURES} - {"pelvis"}
    assert found.known[7102] == (structure_named("vastus_lateralis_intermedius"), "right")
    assert found.unknown == {6151, 6152}


def test_every_ready_table_speaks_of_our_structures_only():
    content = json.loads(TABLES.read_text("utf-8"))
    assert set(content) == set(READY)
    for name in READY:
        table = read_names(name)
        known = understand(table.values, table, name)
        assert known.known and len(known.known) + len(known.unknown) == len(table.values)


def test_a_table_of_ones_own(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({
        "structures": {"Gluteus maximus": ["GMax"], "pelvis": ["ilium", "ischium"]},
        "together": {"hams": ["biceps_femoris", "semitendinosus"]},
        "values": {"3": "GMax left"}}), "utf-8")
    table = read_names(path)
    known, unknown, _ = meaning("GMax left", "ilium left", "ischium left", "hams left", "hip_left",
                                table=table)
    assert known == {1: ("gluteus_maximus", "left"), 2: ("pelvis", "left"), 3: ("pelvis", "left")}
    assert unknown == {4}  # its own pelvis stands for that of the ready tables
    assert table.values == {3: ("GMax left",)}


@pytest.mark.parametrize(("text", "why"), [
    ("[]", "no JSON of the right form"), ("{", "no JSON of the right form"),
    ('{"structure": {}}', 'it has a part "structure"'),
    ('{"structures": {"liver": ["x"]}}', 'there is no structure "liver"'),
    ('{"structures": {"femur": 3}}', "no JSON of the right form"),
    ('{"values": {"one": "femur"}}', "no JSON of the right form"),
    ('{"values": {"0": "femur"}}', "whole numbers from 1"),
])
def test_a_table_that_is_wrong_is_refused(text, why, tmp_path):
    (tmp_path / "names.json").write_text(text, "utf-8")
    with pytest.raises(BadInput, match="names.json is no table of label names") as caught:
        read_names(tmp_path / "names.json")
    assert why in caught.value.message
    with pytest.raises(BadInput, match=r"none.json cannot be found: name a table"):
        read_names("none.json")


def renamed(folder, names):
    """The body's segmentation with its segments called otherwise."""
    ct, _ = write_pair(folder)
    _, labels = body()
    labels[labels > 100] -= 100
    path = folder / "renamed.seg.nrrd"
    write_seg_nrrd(path, image_of(labels), [
        SegmentDescription(structure_named(structure).value, names.get(structure, structure),
                           names.get(structure, structure), (9, 9, 9))
        for structure in dict.fromkeys(structure for structure, _ in BOXES)])
    return read_image(ct), path


def test_unknown_voxels_are_not_scored_and_not_taught(tmp_path):
    ct, path = renamed(tmp_path, {"iliacus": "iliopsoas", "gluteus_maximus": "unknown"})
    said = []
    target, named = target_on(ct, path, said.append)
    array = sitk.GetArrayFromImage(target)
    _, truth = body()
    truth[truth > 100] -= 100
    ignored = np.isin(truth, [GLUTEUS, structure_named("iliacus").value])
    assert np.array_equal(array == 255, ignored)
    assert np.array_equal(array[~ignored], truth[~ignored])
    assert named == {FEMUR, SACRUM}
    assert len(said) == 1 and "Iliacus and Psoas major" in said[0]
    reference, scored = reference_on(ct, path, lambda text: None)
    assert not sitk.GetArrayFromImage(reference)[ignored].any() and scored == named


def test_values_of_a_file_without_names(tmp_path):
    ct, _ = write_pair(tmp_path)
    _, labels = body()
    labels[labels > 100] -= 100
    sitk.WriteImage(image_of(labels), str(tmp_path / "plain.nii.gz"))
    with pytest.raises(BadInput, match="does not say what its labels mean"):
        target_on(read_image(ct), tmp_path / "plain.nii.gz", print)
    (tmp_path / "names.json").write_text(json.dumps({"values": {
        str(FEMUR): "femur", str(SACRUM): "sacrum"}}), "utf-8")
    target, named = target_on(read_image(ct), tmp_path / "plain.nii.gz", print,
                              read_names(tmp_path / "names.json"))
    assert named == {FEMUR, SACRUM}
    assert np.array_equal(sitk.GetArrayFromImage(target),
                          np.where(np.isin(labels, [FEMUR, SACRUM]), labels, 0))
