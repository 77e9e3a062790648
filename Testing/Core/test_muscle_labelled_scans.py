# SPDX-License-Identifier: Apache-2.0
"""Scans with known segmentations on the network's grid, and slabs drawn from them."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MuscleSegLib import contrasts, repainting
from MuscleSegLib.contrasts import AIR, RANGE, read_for, scaled, shown_to
from MuscleSegLib.labelled_scans import Augmentation, LabelledScan, LabelledSlabs, read_scan
from MuscleSegLib.own_training import UNCHANGED
from MuscleSegLib.recipes import MODERN, SEED
from MuscleSegLib.repainting import repaint
from MuscleSegLib.structures import STRUCTURES, structure_named
from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .muscle_body import BOXES, SPACING, body, image_of, write_pair

GLUTEUS, ILIACUS = (structure_named(name).value for name in ("gluteus_maximus", "iliacus"))
SHAPE = (5, 32, 48)
CONTEXT = MODERN.context


def pair_of(image, segmentation, patient="p"):
    return Pair(image, segmentation, patient, "", "item 1 of training")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return pair_of(*write_pair(tmp_path_factory.mktemp("pair")))


@pytest.fixture(scope="module")
def scan(pair):
    return read_scan(pair, MODERN, lambda text: None, "background")


# ----------------------------------------------------------------------------------------- reading

@pytest.mark.parametrize(("recipe", "spacing"), [
    (MODERN, MODERN.spacing), (SEED, SPACING[::-1])])
def test_a_scan_lies_on_the_recipes_grid_with_the_sides_together(recipe, spacing, pair):
    read = read_scan(pair, recipe, lambda text: None, "background")
    assert read.hounsfield.dtype == np.int16 and read.target.dtype == np.uint8
    assert read.hounsfield.shape == read.target.shape and read.spacing == spacing
    assert read.patient == "p"
    _, labels = body()
    labels[labels > 100] -= 100
    voxel_ml = np.prod(read.spacing) / 1000
    for value in np.unique(labels[labels > 0]):
        truth = (labels == value).sum() * np.prod(SPACING) / 1000
        assert (read.target == value).sum() * voxel_ml == pytest.approx(truth, rel=0.3)
    assert read.named == set(np.unique(labels)) - {0}
    inside = read.hounsfield[read.target == structure_named("femur").value]
    assert np.median(inside) == 600
    assert set(read.slices_of) == read.named


def test_what_a_reference_does_not_name_is_unknown_but_for_fat_and_air(tmp_path):
    ct, labels = body()
    ct[6:9, 8:12, 27:33] = 60  # a muscle that nobody drew
    labels[labels > 100] -= 100
    sitk.WriteImage(image_of(ct), str(tmp_path / "ct.nrrd"))

    def read(names, unnamed, said):
        write_seg_nrrd(tmp_path / "x.seg.nrrd", image_of(labels), [
            SegmentDescription(s.value, s.name, s.name, s.color) for s in names])
        return read_scan(pair_of(tmp_path / "ct.nrrd", tmp_path / "x.seg.nrrd"), SEED,
                         said.append, unnamed)

    some = [structure_named(name) for name in dict.fromkeys(name for name, _ in BOXES)]
    said = []
    partial = read(some, "unknown", said)
    unlabelled = labels == 0
    assert partial.target.shape == ct.shape
    assert np.array_equal(partial.target == 255, unlabelled & (ct > -30))
    assert len(said) == 1 and "names 4 of 22 structures" in said[0]
    for whole in (read(some, "background", []), read(STRUCTURES, "unknown", said := [])):
        assert not (whole.target == 255).any() and not said


def test_bad_scans_are_refused(pair, tmp_path):
    noise = np.random.default_rng(0).integers(300, 900, body()[0].shape).astype(np.int16)
    sitk.WriteImage(image_of(noise), str(tmp_path / "mr.nrrd"))
    with pytest.raises(BadInput, match="does not look like Hounsfield units"):
        read_scan(pair_of(tmp_path / "mr.nrrd", pair.companion), MODERN, print)
    with pytest.raises(BadInput, match="gone.seg.nrrd cannot be found"):
        read_scan(pair_of(pair.image, tmp_path / "gone.seg.nrrd"), MODERN, print)


# ------------------------------------------------------------------------------------------- slabs

@pytest.mark.parametrize("intensities", ["ct", "random"])
@pytest.mark.parametrize("recipe", [MODERN, SEED])
def test_slabs_are_what_the_network_takes_and_follow_from_the_seed(recipe, intensities, pair):
    read = read_scan(pair, recipe, lambda text: None, "background")
    slabs = LabelledSlabs([read], 8, recipe, 3, SHAPE, intensities=intensities)
    slices = SHAPE[0] - 2 * recipe.context
    assert len(slabs) == 8
    for number in range(8):
        item = slabs[number]
        assert item["image"].shape == (slices, recipe.channels, *SHAPE[1:])
        assert item["image"].dtype == torch.float32
        assert item["image"].min() >= 0 and item["image"].max() <= 1
        assert item["label"].shape == (slices, *SHAPE[1:]) and item["label"].dtype == torch.uint8
    again = LabelledSlabs([read], 8, recipe, 3, SHAPE, intensities=intensities)[5]
    other = LabelledSlabs([read], 8, recipe, 4, SHAPE, intensities=intensities)[5]
    assert torch.equal(again["image"], slabs[5]["image"])
    assert torch.equal(again["label"], slabs[5]["label"])
    assert not torch.equal(other["image"], slabs[5]["image"])


def test_without_augmentation_a_slab_is_a_part_of_the_scan(scan):
    """Image and labels stay on each other, and on the scan, exactly."""
    slabs = LabelledSlabs([scan], 4, MODERN, 0, (5, scan.target.shape[1], scan.target.shape[2]),
                          UNCHANGED)
    low, high = MODERN.windows[1]
    for number in range(4):
        item = slabs[number]
        label = item["label"][0].numpy()
        [z] = [z for z, plane in enumerate(scan.target)
               if np.array_equal(plane, label) and np.array_equal(
                   (item["image"][0, 5 + CONTEXT] * (high - low) + low).round().numpy(),
                   scan.hounsfield[z].clip(low, high))][:1]
        assert label.any() and 0 <= z < len(scan.target)


def test_labels_follow_the_image_through_every_pose():
    """A scan whose HU are its labels: what is bright must be labelled, however it is turned."""
    z, y, x = np.ogrid[:12, :60, :80]
    disc = ((y - 30) ** 2 + (x - 25) ** 2 < 144) * np.uint8(GLUTEUS)
    target = np.broadcast_to(disc, (12, 60, 80))
    scan = LabelledScan(np.where(target, 240, -160).astype(np.int16), target.copy(),
                        (3.0, 2.0, 2.0), "p", frozenset({GLUTEUS}))
    quiet = Augmentation(noise=(0, 0), thickness=(0, 0), softness=(0, 0), offset=(0, 0),
                         gain=(1, 1), gamma=(1, 1))
    slabs = LabelledSlabs([scan], 40, MODERN, 1, (5, 48, 64), quiet)
    right = seen = 0
    sizes = set()
    for item in (slabs[number] for number in range(40)):
        bright = item["image"][0, CONTEXT] > 0.5
        labelled = item["label"][0] == GLUTEUS
        known = item["label"][0] != 255
        right += int((bright == labelled)[known].sum())
        seen += int(known.sum())
        sizes.add(int(labelled.sum()))
    assert right / seen > 0.99 and len(sizes) > 20


def test_small_structures_are_seen_and_every_patient_as_often(scan, pair):
    def shown(share):
        slabs = LabelledSlabs([scan], 100, MODERN, 0, SHAPE, Augmentation(structure_share=share))
        return [set(slabs[number]["label"].unique().tolist()) for number in range(100)]

    anywhere, centred = (sum(ILIACUS in values for values in shown(share)) for share in (0.0, 1.0))
    assert anywhere < 20 < centred  # it is in 3 of 20 slices, and is one of 4 structures
    many = [read_scan(pair_of(pair.image, pair.companion, who), MODERN, lambda text: None)
            for who in ("a", "b", "b", "b")]
    slabs = LabelledSlabs(many, 10, MODERN, 0, SHAPE)
    assert slabs.patients == ["a", "b"] and len(slabs.of_patient["b"]) == 3


# --------------------------------------------------------------------------------------- contrasts

def test_any_contrast_is_brought_to_one_scale():
    """The same picture in other units, or inverted gains, becomes the same picture."""
    random = np.random.default_rng(0)
    image = np.where(random.random((6, 40, 40)) < 0.3, 0.0, random.uniform(200, 800, (6, 40, 40)))
    first, second = scaled(image), scaled(image * 3.7)
    assert first.dtype == np.int16 and np.abs(first - second).max() <= 1
    assert np.array_equal(first == AIR, image == 0)
    tissue = first[first != AIR]
    assert tissue.min() == RANGE[0] and tissue.max() == RANGE[1]


def test_a_model_of_any_contrast_is_shown_scaled_images(tmp_path, pair):
    noise = np.random.default_rng(0).integers(300, 900, body()[0].shape).astype(np.int16)
    noise[:, :3] = 0
    sitk.WriteImage(image_of(noise), str(tmp_path / "mr.nrrd"))
    source = read_for({"intensities": "random"}, tmp_path / "mr.nrrd")
    array = sitk.GetArrayViewFromImage(source.image)
    assert np.array_equal(shown_to({"intensities": "random"}, array), scaled(array))
    assert shown_to({}, array) is array
    with pytest.raises(BadInput):
        read_for({}, tmp_path / "mr.nrrd")


def test_repainting_draws_every_contrast_and_keeps_shapes(scan):
    middle = slice(4, 9)
    image, target = scan.hounsfield[middle].astype(np.float32), scan.target[middle]
    air = image < -900
    gluteus = (target == GLUTEUS)
    fat = (target == 0) & ~air
    contrasts = []
    for number in range(30):
        painted = repaint(image, target, scan.tissue_edges, scan.cortex_hu, Randomness(0, number))
        assert painted.min() >= AIR and painted.max() <= RANGE[1]
        assert np.median(painted[air]) == AIR
        contrasts.append(float(np.median(painted[gluteus]) - np.median(painted[fat])))
    assert min(contrasts) < -50 and max(contrasts) > 50  # darker and brighter than the fat beside


def test_fat_inside_a_muscle_is_mostly_as_grey_as_fat_beside_it(scan, monkeypatch):
    """Without it a network took muscles with much fat in them for fat on simulated MR."""
    monkeypatch.setattr(repainting, "TRUE_SHARE", 0.0)
    middle = slice(4, 9)
    image, target = scan.hounsfield[middle].astype(np.float32), scan.target[middle]
    gluteus = target == GLUTEUS
    muscle, fat = float(np.median(image[gluteus])), -100.0
    marbling = gluteus & (np.random.default_rng(0).random(image.shape) < 0.4)
    image = np.where(marbling, fat, image)
    beside = (target == 0) & (image > -900)
    image = np.where(beside, fat, image)
    assert muscle > contrasts.FAT_HU
    monkeypatch.setattr(repainting, "blur", lambda grey, sigmas: grey)  # they lie side by side
    like_fat = 0
    for number in range(40):
        painted = repaint(image, target, scan.tissue_edges, scan.cortex_hu, Randomness(1, number))
        grey = [np.median(painted[where]) for where in (marbling, beside, gluteus & ~marbling)]
        like_fat += 4 * abs(grey[0] - grey[1]) < abs(grey[0] - grey[2])
    assert 40 * repainting.MARBLED_SHARE / 2 < like_fat < 40
