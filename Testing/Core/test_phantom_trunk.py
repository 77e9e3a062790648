# SPDX-License-Identifier: Apache-2.0
"""Simulated trunks: landmarks lie where their structures are drawn, images look like CT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.phantoms.trunk import (
    LANDMARKS,
    MEANINGS,
    PUBLISHED_COUNTS,
    TrunkSettings,
    paint_trunk,
    simulate_trunk,
)
from ReadingRoomLib.phantoms.trunk_grid import Grid, Placement
from ReadingRoomLib.phantoms.trunk_limb_bones import build_limb_bones
from ReadingRoomLib.phantoms.trunk_names import CODES, PUBLIC
from ReadingRoomLib.phantoms.trunk_patient import draw_patient
from ReadingRoomLib.phantoms.trunk_shapes import Canvas

REAL = Path(__file__).parents[3] / "shared" / "data" / "labels_totalsegmentator_gt_s0327_s0328"
COARSE = TrunkSettings(spacing=(4.0, 4.0, 4.0), noise=(4.0, 5.0), thickness=(0.5, 1.0),
                       table_probability=0)
SEEDS = (0, 1, 2)

# landmark to the structures that it lies in or at; {side} is filled in
STRUCTURES = {
    "carina": ("trachea",),
    "aortic_bifurcation": ("aorta", "iliac_artery_left", "iliac_artery_right"),
    "suprasternal_notch": ("sternum",), "sternal_angle": ("sternum",),
    "xiphoid_tip": ("sternum",), "symphysis_pubis_superior": ("costal_cartilages", "hip_left"),
    "sacral_promontory": ("sacrum",), "celiac_trunk_origin": ("aorta",),
    "liver_inferior_tip": ("liver",), "heart_apex": ("heart",), "aortic_arch_top": ("aorta",),
    "superior_mesenteric_artery_origin": ("aorta",), "spleen_inferior_tip": ("spleen",),
    "brachiocephalic_trunk_origin": ("brachiocephalic_trunk", "aorta"),
    "common_carotid_artery_left_origin": ("common_carotid_artery_left", "aorta"),
    "subclavian_artery_left_origin": ("subclavian_artery_left", "aorta"),
    "brachiocephalic_trunk_bifurcation": ("brachiocephalic_trunk",
                                          "common_carotid_artery_right"),
    "gastro_oesophageal_junction": ("esophagus", "stomach"),
    "gallbladder_fundus": ("gallbladder",), "urinary_bladder_dome": ("urinary_bladder",),
    "coccyx_tip": ("sacrum",), "portal_confluence": ("portal_vein_and_splenic_vein",),
    "iliac_vein_confluence": ("inferior_vena_cava", "iliac_vena_left", "iliac_vena_right"),
    "cavoatrial_junction": ("superior_vena_cava", "heart"),
    "inferior_vena_cava_atrial_end": ("inferior_vena_cava", "heart"),
    "brachiocephalic_vein_confluence": ("superior_vena_cava", "brachiocephalic_vein_left",
                                        "brachiocephalic_vein_right"),
    "pylorus": ("stomach", "duodenum"), "aortic_root": ("aorta", "heart"),
    "spinous_process_C7_tip": ("vertebrae_C7",), "spinous_process_T6_tip": ("vertebrae_T6",),
    "spinous_process_L3_tip": ("vertebrae_L3",),
    "femoral_head": ("femur_{side}",), "anterior_superior_iliac_spine": ("hip_{side}",),
    "posterior_superior_iliac_spine": ("hip_{side}",), "iliac_crest": ("hip_{side}",),
    "ischial_tuberosity": ("hip_{side}",), "sacroiliac_joint": ("hip_{side}", "sacrum"),
    "lung_apex": ("lung_upper_lobe_{side}",), "lung_base": ("liver", "stomach",
                                                            "lung_lower_lobe_{side}",
                                                            "lung_upper_lobe_{side}",
                                                            "lung_middle_lobe_right"),
    "costophrenic_recess": ("lung_lower_lobe_{side}",),
    "kidney_upper_pole": ("kidney_{side}",), "kidney_lower_pole": ("kidney_{side}",),
    "renal_artery_origin": ("aorta",),
    "common_iliac_artery_bifurcation": ("iliac_artery_{side}",),
    "clavicle_sternal_end": ("clavicula_{side}",), "acromion": ("scapula_{side}",),
    "glenoid": ("scapula_{side}", "humerus_{side}"),
    "scapula_inferior_angle": ("scapula_{side}",), "greater_trochanter": ("femur_{side}",),
    "lesser_trochanter": ("femur_{side}",), "upper_lobe_bronchus": ("trachea",),
    "rib_1_tip": ("rib_{side}_1",), "rib_6_tip": ("rib_{side}_6",),
    "rib_12_tip": ("rib_{side}_12",),
}
UNLABELLED = {"kidney_hilum", "pulmonary_trunk_bifurcation"}  # their structures have no label
NEAR_MM = 4.0  # one voxel


@pytest.fixture(scope="module")
def trunks():
    return {seed: simulate_trunk((seed,), COARSE) for seed in SEEDS}


def base_of(name: str) -> tuple[str, str]:
    """Name of a landmark without its side, and the side."""
    for side in ("left", "right"):
        if name.endswith(f"_{side}") and name not in STRUCTURES:
            return name.removesuffix(f"_{side}"), side
    return name, ""


def structures_of(name: str) -> tuple[str, ...]:
    if name.startswith("vertebra_"):
        return (f"vertebrae_{name.split('_')[1]}",)
    base, side = base_of(name)
    return tuple(text.format(side=side) for text in STRUCTURES[base])


def mask_of(trunk, names) -> np.ndarray:
    codes = [code for code, name in trunk.label_names.items() if name in names]
    return np.isin(sitk.GetArrayFromImage(trunk.labels), codes)


def distance_mm(trunk, mask: np.ndarray, point) -> float:
    """From a point to the nearest voxel of a mask, less half a voxel's diagonal; >= 0."""
    spacing = np.array(trunk.labels.GetSpacing())
    at = np.array(trunk.labels.TransformPhysicalPointToContinuousIndex(point)) * spacing
    voxels = np.argwhere(mask)[:, ::-1] * spacing
    if not len(voxels):
        return np.inf
    gaps = np.maximum(np.abs(voxels - at) - spacing / 2, 0)
    return float(np.linalg.norm(gaps, axis=1).min())


def test_names_are_many_unique_and_explained():
    assert PUBLISHED_COUNTS == (20, 60) and len(LANDMARKS) >= 60
    assert len(set(LANDMARKS)) == len(LANDMARKS) and set(LANDMARKS) == set(MEANINGS)
    assert all(len(text) > 10 for text in MEANINGS.values())
    explained = {base_of(name)[0] for name in LANDMARKS if not name.startswith("vertebra_")}
    assert explained == set(STRUCTURES) | UNLABELLED


@pytest.mark.parametrize("seed", SEEDS)
def test_landmarks_lie_in_or_at_their_structures(trunks, seed):
    trunk = trunks[seed]
    assert len(trunk.landmarks) >= 85
    away = {}
    for name, point in trunk.landmarks.items():
        if base_of(name)[0] in UNLABELLED:
            continue
        away[name] = distance_mm(trunk, mask_of(trunk, structures_of(name)), point)
    assert {name: mm for name, mm in away.items() if mm > NEAR_MM} == {}
    assert np.mean([mm < 1e-6 for mm in away.values()]) > 0.6


def test_left_is_left_and_up_is_up(trunks):
    for trunk in trunks.values():
        for name, (x, _, _) in trunk.landmarks.items():
            if name.endswith("_left") and (other := name[:-4] + "right") in trunk.landmarks:
                assert x > trunk.landmarks[other][0], name
        spine = [trunk.landmarks[f"vertebra_{level}_centre"][2] for level in
                 ("L5", "L1", "T12", "T6", "T1", "C7")]
        assert spine == sorted(spine)
        liver, spleen = (np.argwhere(mask_of(trunk, (name,)))[:, 2].mean()
                         for name in ("liver", "spleen"))
        assert liver < spleen  # voxels run to the left


def test_same_seed_same_patient_and_another_seed_another(trunks):
    again = simulate_trunk((0,), COARSE)
    assert again.landmarks == trunks[0].landmarks
    for name in ("image", "labels"):
        first, second = getattr(again, name), getattr(trunks[0], name)
        assert first.GetOrigin() == second.GetOrigin()
        assert np.array_equal(sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(second))
    length = {}
    for seed, trunk in trunks.items():
        top, bottom = (np.array(trunk.landmarks[f"vertebra_{level}_centre"])
                       for level in ("T1", "L5"))
        length[seed] = float(np.linalg.norm(top - bottom))
    assert len({round(mm) for mm in length.values()}) == len(SEEDS)
    assert all(340 < mm < 560 for mm in length.values())


def test_image_and_labels_share_a_grid_and_types(trunks):
    for trunk in trunks.values():
        assert trunk.image.GetPixelID() == sitk.sitkInt16
        assert trunk.labels.GetPixelID() == sitk.sitkUInt8
        for one in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(trunk.image, one)() == getattr(trunk.labels, one)()
        codes = set(np.unique(sitk.GetArrayFromImage(trunk.labels)).tolist()) - {0}
        assert codes == set(trunk.label_names)
        hidden = {name for name, public in PUBLIC.items() if public is None}
        assert not hidden & set(trunk.label_names.values())
        assert sum(name.startswith("rib_") for name in trunk.label_names.values()) == 24


def test_codes_fit_a_byte_and_are_unique():
    assert len(set(CODES.values())) == len(CODES) and max(CODES.values()) < 256


@pytest.mark.parametrize("seed", SEEDS)
def test_densities_are_those_of_tissues(trunks, seed):
    trunk = trunks[seed]
    image = sitk.GetArrayFromImage(trunk.image)

    def median(*names, depth=1):
        inside = ndimage.binary_erosion(mask_of(trunk, names), iterations=depth)
        return np.median(image[inside])

    assert 5 < median("liver") < 160
    assert -950 < median("lung_upper_lobe_left", "lung_lower_lobe_left") < -700
    assert 25 < median("autochthon_left", "iliopsoas_left") < 90
    assert median("vertebrae_L3", "vertebrae_L4") > median("autochthon_left") + 20
    hips = image[mask_of(trunk, ("hip_left", "hip_right", "femur_left"))]
    assert np.percentile(hips, 75) > 200
    assert -1024 <= image.min() < -960 and image.max() < 2500
    # fat under the skin: the commonest density below water in the slices of the pelvis
    z = trunk.image.TransformPhysicalPointToIndex(trunk.landmarks["sacral_promontory"])[2]
    fat = image[z - 2:z + 3]
    fat = fat[(fat > -180) & (fat < -20)]
    assert -125 < np.median(fat) < -75
    contrast = median("aorta") - 42
    assert contrast > 60 if trunk.patient.phase in ("arterial", "portal") else contrast < 160


def test_ribs_lie_around_the_lungs_and_organs_within_the_belly(trunks):
    for trunk in trunks.values():
        lungs = mask_of(trunk, [n for n in trunk.label_names.values() if n.startswith("lung_")])
        ribs = mask_of(trunk, [n for n in trunk.label_names.values() if n.startswith("rib_")])
        assert lungs.sum() * 0.064 > 1500  # mL
        planes = np.flatnonzero(lungs.sum((1, 2)) > 400)
        for z in planes[8:]:
            cage = ribs[z - 5:z + 6].any(0)  # what is between two ribs is bounded by both
            for axis in (0, 1):
                inner, outer = np.flatnonzero(lungs[z].any(axis)), np.flatnonzero(cage.any(axis))
                assert inner[-1] <= outer[-1]
                if axis == 0:
                    assert inner[0] >= outer[0]
        image = sitk.GetArrayFromImage(trunk.image)
        organs = mask_of(trunk, ("liver", "spleen", "kidney_left", "kidney_right"))
        assert np.median(image[organs]) > 0
        top = np.argwhere(mask_of(trunk, ("liver",)))[:, 0].max()
        assert top < np.argwhere(mask_of(trunk, ("trachea",)))[:, 0].min()


def undeformed(low, high, spacing: float) -> Canvas:
    """An empty map of a box of standard coordinates, x, y, z."""
    still = Placement((1, 1, 1), (0, 0, 0), 0.0, (0, 0, 0), Randomness(0))
    shape = tuple(int((b - a) / spacing) for a, b in zip(low[::-1], high[::-1], strict=True))
    return Canvas(Grid(shape, (spacing,) * 3, tuple(map(float, low))), still, CODES)


def places_of(canvas: Canvas, name: str) -> np.ndarray:
    """Standard points (n, 3) of a structure."""
    return canvas.at[:, canvas.regions == CODES[name]].T


def test_the_pubic_bones_are_as_close_as_those_of_adults():
    canvas = undeformed((-30, -90, -125), (30, -45, -85), 0.5)
    random = Randomness(0)
    canvas.draw(build_limb_bones(draw_patient(random)[0], random)[0])
    left, right = places_of(canvas, "hip_left"), places_of(canvas, "hip_right")
    inner = left[:, 0].min(), right[:, 0].max()
    # means of its middle part in images: Becker et al., J Anat 2010, table 2
    assert 2.6 <= inner[0] - inner[1] <= 5.9
    assert inner[0] == pytest.approx(-inner[1], abs=0.5)
    x, y, z = left[left[:, 0].argmin()]
    disc = places_of(canvas, "costal_cartilages")
    assert np.any(np.all(np.isclose(disc, (0, y, z)), axis=1))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), largest=st.floats(0, 12))
def test_deformation_is_undone_exactly(seed, largest):
    random = Randomness(seed)
    place = Placement((0.9, 1.05, 1.1), (4, -4, 5), largest, (8, 10, 10), random)
    points = random.numpy.uniform((-180, -120, -220), (180, 120, 520), (300, 3))
    back = place.image(place.standard(points))
    assert np.abs(back - points).max() < 0.01
    rough = place.image(place.standard(points), tolerance_mm=0.3)
    assert np.abs(rough - points).max() < 0.6
    # no displacement is beyond what was asked for, with that of the bending
    still = points @ place.rotation.T / place.scale
    moved = np.abs((place.standard(points) - still) * place.scale)
    assert np.all(moved.max(0) <= np.array([8, 10, 10]) + largest + 1e-6)


def test_grid_and_points_are_deformed_alike():
    place = Placement((1, 1, 1), (2, 3, -4), 9.0, (7, 9, 9), Randomness(3))
    grid = Grid((5, 4, 6), (90.0, 50.0, 40.0), (-100.0, -80, -150))
    at = place.standard_of_grid(grid)
    z, y, x = np.meshgrid(*grid.axes(), indexing="ij")
    expected = place.standard(np.stack([x, y, z], -1).reshape(-1, 3))
    assert np.allclose(at.reshape(3, -1).T, expected, atol=2e-3)


@pytest.mark.parametrize(("field", "seen", "unseen"), [
    ("chest", {"carina", "lung_apex_left"}, {"femoral_head_left", "ischial_tuberosity_right"}),
    ("abdomen_pelvis", {"femoral_head_right", "aortic_bifurcation"}, {"lung_apex_left", "carina"}),
])
def test_field_of_view_drops_what_lies_beyond(field, seen, unseen):
    trunk = simulate_trunk((4,), replace(COARSE, field_of_view=field))
    assert seen <= set(trunk.landmarks) and not unseen & set(trunk.landmarks)
    size = trunk.image.GetSize()
    for point in trunk.landmarks.values():
        index = np.array(trunk.image.TransformPhysicalPointToContinuousIndex(point))
        assert np.all(index >= -0.5) and np.all(index <= np.array(size) - 0.5)


def test_a_shape_can_be_asked_for():
    trunk = simulate_trunk((4,), replace(COARSE, shape=(40, 70, 80), field_of_view="random"))
    assert trunk.image.GetSize() == (80, 70, 40)


def test_an_absent_kidney_has_no_landmarks_and_no_voxels():
    seed = next(seed for seed in range(200) if "kidney_right" in
                draw_of(seed).absent)
    trunk = simulate_trunk((seed,), COARSE)
    assert "kidney_right" not in trunk.label_names.values()
    assert not [name for name in trunk.landmarks if name.startswith(("kidney", "renal"))
                and name.endswith("right")]
    assert "kidney_hilum_left" in trunk.landmarks


def draw_of(seed):
    return draw_patient(Randomness(seed))[0]


def test_an_unknown_field_of_view_is_refused():
    with pytest.raises(BadInput, match="knee.*choose one of trunk"):
        simulate_trunk((0,), replace(COARSE, field_of_view="knee"))


def box_labels() -> tuple[np.ndarray, dict[int, str]]:
    labels = np.zeros((12, 50, 60), np.uint8)
    labels[:, 15:35, 10:25] = 1
    labels[:, 15:30, 35:50] = 2
    labels[:, 34:42, 26:34] = 3
    return labels, {1: "liver", 2: "spleen", 3: "vertebrae_L1"}


def test_a_label_map_is_painted_within_a_guessed_body():
    labels, names = box_labels()
    image = paint_trunk(labels, names, (4.0, 4.0, 4.0), (1,), phase="portal")
    assert image.shape == labels.shape and image.dtype == np.int16
    assert np.array_equal(image, paint_trunk(labels, names, (4.0, 4.0, 4.0), (1,), phase="portal"))
    assert 60 < np.median(image[labels == 1]) < 160
    assert np.percentile(image[labels == 3], 80) > 150
    assert image[:, 0, 0].max() < -850  # air
    gap = image[:, 22:26, 29:31]  # between the organs: the body goes on
    assert np.median(gap) > -150


def test_a_label_map_with_a_body_keeps_it():
    labels, names = box_labels()
    labels[(labels == 0) & (np.arange(60) < 40)] = 9
    names |= {9: "subcutaneous_fat"}
    image = paint_trunk(labels, names, (4.0, 4.0, 4.0), (1,))
    assert -130 < np.median(image[labels == 9]) < -75
    assert np.median(image[:, :10, 52:]) < -950


def test_label_maps_that_cannot_be_painted_are_refused():
    labels, names = box_labels()
    with pytest.raises(BadInput, match="holds 3, which has no name"):
        paint_trunk(labels, {1: "liver", 2: "spleen"}, (4.0, 4.0, 4.0), (1,))
    with pytest.raises(BadInput, match="no structure"):
        paint_trunk(np.zeros_like(labels), names, (4.0, 4.0, 4.0), (1,))


@pytest.mark.skipif(not REAL.exists(), reason="the shared label maps are absent")
def test_a_real_label_map_is_painted():
    volume = sitk.DICOMOrient(sitk.ReadImage(str(REAL / "s0327_labels.nii.gz")), "LPS")
    labels = sitk.GetArrayFromImage(volume)[::4, ::4, ::4].astype(np.uint8)
    entries = json.loads((REAL / "s0327_labels.json").read_text())
    names = {int(code): entry["name"] for code, entry in entries.items()}
    image = paint_trunk(labels, names, (6.0, 6.0, 6.0), (2,), phase="none")
    by_name = {name: code for code, name in names.items()}
    assert 20 < np.median(image[labels == by_name["liver"]]) < 90
    assert np.median(image[labels == by_name["lung_lower_lobe_left"]]) < -600
    assert np.percentile(image[labels == by_name["hip_left"]], 60) > 120
