# SPDX-License-Identifier: Apache-2.0
"""The region of interest and the pseudo-RGB images that are cut out of it."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from BrainTumorClassifyLib.pseudo_rgb import picture_of, pseudo_rgb
from BrainTumorClassifyLib.regions import (
    Region,
    check_region,
    markups_of,
    plane_of,
    propose_region,
    read_region,
    slice_places,
)
from BrainTumorClassifyLib.sequences import SEQUENCES
from BrainTumorClassifyLib.study import Study, make_study
from ReadingRoomLib.errors import BadInput

from .tumor_factory import ENHANCING, NECROSIS, TUMOUR, TUMOUR_MM, anatomy, scan

DATA = Path(__file__).parents[3] / "shared" / "data"
BOX = [10, 50, -10, 34, 2, 34]  # around the tumour


@functools.cache
def toy(tumour: bool = True, cavity: bool = False) -> Study:
    return make_study({name: scan(name, spacing=(2, 2, 5), seed=number, tumour=tumour,
                                  cavity=cavity) for number, name in enumerate(SEQUENCES)})


def study_of(images: dict[str, sitk.Image], windows=None) -> Study:
    """A study of images that lie on one grid, without any of the checks."""
    reference = images.get("t1c") or next(iter(images.values()))
    ones = sitk.Image(reference.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(reference)
    return Study({name: sitk.Cast(image, sitk.sitkFloat32) for name, image in images.items()},
                 ones, ones, dict.fromkeys(images, ones),
                 windows or dict.fromkeys(images, (0.0, 1.0)), dict.fromkeys(images, 0.0),
                 tuple(name for name in SEQUENCES if name not in images))


def field(spacing, direction, size, values) -> sitk.Image:
    """An image around the middle of the patient; ``values`` are of its points, (..., 3), LPS mm."""
    direction, spacing, size = (np.asarray(each, float) for each in (direction, spacing, size))
    image = sitk.Image([int(n) for n in size], sitk.sitkFloat32)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((-direction @ (spacing * (size - 1) / 2)).tolist())
    index = np.stack(np.meshgrid(*[np.arange(int(n)) for n in size], indexing="ij"), -1)
    points = index * spacing @ direction.T + np.array(image.GetOrigin())
    result = sitk.GetImageFromArray(values(points).transpose(2, 1, 0).astype(np.float32))
    result.CopyInformation(image)
    return result


# Pseudo-RGB

TURNS = st.sampled_from([np.diag(signs)[:, list(order)] for order in
                         itertools.permutations(range(3))
                         for signs in itertools.product((1.0, -1.0), repeat=3)])


@settings(max_examples=20, deadline=None)
@given(order=TURNS, tilt=st.floats(-20, 20), pixels=st.sampled_from([16, 33, 64]),
       centre=st.tuples(*[st.floats(-12, 12)] * 3), side=st.floats(20, 60))
def test_however_the_grid_is_stored_the_same_square_is_cut(order, tilt, pixels, centre, side):
    """Channels that hold the place itself must show the place of each pixel."""
    turn = Rotation.from_euler("x", tilt, degrees=True).as_matrix()
    spacing = np.abs(np.array([1.0, 1.5, 5.0]) @ order)
    size = np.abs(np.array([100, 70, 12]) @ order)
    images = {name: field(spacing, turn @ order, size, lambda p, axis=axis: p[..., axis])
              for axis, name in enumerate(SEQUENCES)}
    study = study_of(images, dict.fromkeys(SEQUENCES, (-100.0, 100.0)))
    box = [value for middle in centre for value in (middle - side / 2, middle + side / 2)]
    region = read_region(study, box)
    assert region.side_mm == pytest.approx(side)
    cut = pseudo_rgb(study, region, pixels) * 200 - 100  # places, mm
    steps = (np.arange(pixels) + 0.5) / pixels * side - side / 2
    across, down, along = turn.T[0], turn.T[1], turn.T[2]
    places = np.sort(slice_places(study.reference, plane_of(study.reference)))
    shown = cut.mean((2, 3)) @ along
    assert np.all(np.diff(shown) > 0)  # lowest first
    assert np.abs(places[:, None] - shown).min(0).max() < 0.01  # and each is a slice
    middle = np.array(centre)
    for image, place in zip(cut, shown, strict=True):
        truth = (middle + (place - middle @ along) * along + steps[:, None, None] * down
                 + steps[None, :, None] * across)
        assert np.abs(image.transpose(1, 2, 0) - truth).max() < 0.05


@settings(max_examples=8, deadline=None)
@given(order=TURNS, pixel=st.floats(0.7, 1.1))
def test_storage_and_voxel_size_of_the_inputs_hardly_change_the_image(order, pixel):
    def waves(points):
        x, y, z = np.moveaxis(points, -1, 0)
        return 0.5 + 0.2 * np.sin(x / 6) * np.cos(y / 7) + 0.02 * z / 10

    def image(spacing, order):
        spacing = np.array(spacing)
        return field(np.abs(spacing @ order), order,
                     np.round(np.abs(np.array([90, 90, 50]) / spacing @ order)), waves)

    plain = pseudo_rgb(study_of({"t1c": image((0.9, 0.9, 5.0), np.eye(3))}), REGION, 48)
    other = pseudo_rgb(study_of({"t1c": image((pixel, pixel, 5.0), order)}), REGION_AT(order), 48)
    assert np.abs(plain - other).max() < 0.03


REGION = Region((3.0, -4.0, 0.0), 40.0, (3, 4, 5, 6))


def REGION_AT(order: np.ndarray) -> Region:
    """The same slices of a grid whose axes are stored in another way."""
    axis = int(np.abs(order[2]).argmax())
    slices = REGION.slices if order[2, axis] > 0 else tuple(9 - n for n in REGION.slices)
    return Region(REGION.centre_mm, REGION.side_mm, tuple(sorted(slices)))


def test_coarse_pixels_are_averaged_and_not_picked():
    stripes = field((1, 1, 5), np.eye(3), (80, 80, 8), lambda p: np.floor(p[..., 0]) % 2)
    cut = pseudo_rgb(study_of({"t1c": stripes}), Region((0, 0, 0), 64.0, (3,)), 16)
    assert np.abs(cut[0, 2] - 0.5).max() < 0.05


def test_a_missing_sequence_is_black_and_the_others_stay():
    images = {name: scan(name, spacing=(2, 2, 5), seed=number)
              for number, name in enumerate(SEQUENCES)}
    study = make_study({"t2": images["t2"], "t1c": images["t1c"]}, may_be_missing=("t1",))
    cut = pseudo_rgb(study, read_region(study, BOX), 32)
    assert cut.shape[1:] == (3, 32, 32) and cut.dtype == np.float32
    assert not cut[:, 0].any() and cut[:, 1].any() and cut[:, 2].any()
    assert cut.min() >= 0 and cut.max() <= 1


def test_the_square_shows_the_same_tissue_in_all_sequences():
    """The tumour's necrosis is the darkest in T1c and bright in T2, at one and the same place."""
    cut = pseudo_rgb(toy(), read_region(toy(), BOX), 48)
    image = cut[np.abs(slice_places(toy().reference, plane_of(toy().reference))[
        list(read_region(toy(), BOX).slices)] - TUMOUR[2]).argmin()]
    y, x = (round((TUMOUR[axis] - centre) / 44 * 48 + 23.5)
            for axis, centre in ((1, 12.0), (0, 30.0)))
    middle, ring = image[:, y, x], image[:, y, x + 14]
    assert middle[2] < 0.5 * ring[2]  # dark within the ring that enhances
    assert middle[1] > ring[1]


def test_the_contact_sheet_shows_the_image_as_it_is():
    images = np.random.default_rng(0).random((7, 3, 10, 10)).astype(np.float32)
    sheet = picture_of(images, columns=3)
    assert sheet.dtype == np.uint8 and sheet.shape == (3 * 10 + 2 * 4, 3 * 10 + 2 * 4, 3)
    assert np.array_equal(sheet[14:24, 14:24], np.rint(255 * images[4]).transpose(1, 2, 0))


# Regions from users


def _roi(centre, size, **more) -> dict:
    return {"markups": [{"type": "ROI", "center": list(centre), "size": list(size), **more}]}


def test_a_box_gives_the_same_region_in_all_its_forms(tmp_path):
    study = toy()
    expected = read_region(study, BOX)
    assert expected.side_mm == 44
    assert expected.centre_mm[:2] == (30, 12)
    places = slice_places(study.reference, plane_of(study.reference))
    assert np.array_equal(expected.slices, np.flatnonzero((places >= 2) & (places <= 34)))
    centre, size = (30, 12, 18), (40, 44, 32)
    forms = [{"bounds": BOX}, _roi(centre, size), _roi(centre, size, coordinateSystem="LPS"),
             _roi((-30, -12, 18), size, coordinateSystem="RAS",
                  orientation=[-1, 0, 0, 0, -1, 0, 0, 0, 1]), expected.written()]
    for number, form in enumerate(forms):
        path = tmp_path / f"{number}.mrk.json"
        path.write_text(json.dumps(form), encoding="utf-8")
        assert read_region(study, form) == expected
        assert read_region(study, str(path)) == expected


def test_a_turned_roi_keeps_its_size():
    turn = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    region = read_region(toy(), _roi((30, 12, 18), (40, 44, 32), orientation=turn.ravel().tolist()))
    assert region == read_region(toy(), BOX)


@settings(deadline=None, max_examples=40)
@given(order=TURNS, tilt=st.floats(-20, 20), first=st.integers(0, 20), count=st.integers(1, 9),
       side=st.floats(12, 80), thickness=st.sampled_from([1.2, 5.0]))
def test_a_region_is_the_same_after_it_was_written_as_markups(order, tilt, first, count, side,
                                                              thickness):
    """However the grid is stored and turned: square and slices come back through Slicer's file."""
    direction = Rotation.from_euler("xz", [tilt, tilt / 2], degrees=True).as_matrix() @ order
    image = field((1.0, 1.0, thickness), direction, (90, 96, 30), lambda points: points[..., 0])
    study = study_of({"t1c": image})
    plane = plane_of(image)
    numbers = tuple(range(first, first + count))
    places = slice_places(image, plane)[list(numbers)]
    centre = 3 * plane.across - 4 * plane.down + places.mean() * plane.along
    region = Region(tuple(centre), side, numbers)
    again = read_region(study, json.loads(json.dumps(markups_of(image, region))))
    assert again.slices == region.slices
    assert again.side_mm == pytest.approx(side)
    assert np.allclose(again.centre_mm, centre, atol=1e-3)


@pytest.mark.parametrize("box", [[1, 2, 3], "text", {"bounds": ["a"] * 6}, [5, 1, 0, 9, 0, 9],
                                 [np.nan] * 6, {"side_mm": 3}, _roi((0, 0), (1, 1))])
def test_what_is_no_box_is_refused(box, tmp_path):
    if isinstance(box, str):
        path = tmp_path / "box.json"
        path.write_text(box)
        box = path
    with pytest.raises(BadInput):
        read_region(toy(), box)


def test_two_rois_in_a_file_and_a_region_of_other_images_are_refused():
    two = _roi((0, 0, 0), (9, 9, 9))
    two["markups"] *= 2
    with pytest.raises(BadInput, match="2 ROIs"):
        read_region(toy(), two)
    with pytest.raises(BadInput, match="does not fit"):
        read_region(toy(), {"centre_mm": [0, 0, 0], "side_mm": 40, "slices": [400]})
    with pytest.raises(BadInput, match="no slice"):
        read_region(toy(), [10, 50, -10, 34, 200, 240])


def _segment(grid: sitk.Image | None = None) -> sitk.Image:
    tissue = anatomy()
    mask = sitk.BinaryThreshold(tissue, ENHANCING, NECROSIS, 1, 0)
    return mask if grid is None else sitk.Resample(mask, grid, sitk.Transform(),
                                                   sitk.sitkNearestNeighbor)


@pytest.mark.parametrize("where", ["own grid", "the study's", "upside down"])
def test_a_segment_gives_all_slices_that_hold_tumour(where, tmp_path):
    study = toy()
    mask = _segment(None if where == "own grid" else study.reference)
    if where == "upside down":
        mask = sitk.Flip(mask, [True, False, True])
    sitk.WriteImage(mask, str(tmp_path / "tumour.nrrd"))
    region = read_region(study, tmp_path / "tumour.nrrd", margin_mm=5.0)
    held = np.flatnonzero(sitk.GetArrayFromImage(_segment(study.reference)).any((1, 2)))
    assert set(held) <= set(region.slices) and len(region.slices) <= len(held) + 2
    assert region.side_mm == pytest.approx(2 * TUMOUR_MM + 10, abs=6)
    assert region.centre_mm == pytest.approx(TUMOUR, abs=3)


def test_segments_that_are_empty_or_elsewhere_are_refused():
    mask = _segment()
    with pytest.raises(BadInput, match="empty"):
        read_region(toy(), mask * 0)
    mask.SetOrigin((0, 0, 900))
    with pytest.raises(BadInput, match="beyond"):
        read_region(toy(), mask)


# What a region holds


def _region(centre, side=40.0, slices=5) -> Region:
    places = slice_places(toy().reference, plane_of(toy().reference))
    nearest = int(np.abs(places - centre[2]).argmin())
    return Region(tuple(centre), side, tuple(range(nearest - slices // 2,
                                                   nearest + (slices + 1) // 2)))


def test_a_good_region_is_not_doubted():
    assert check_region(toy(), read_region(toy(), BOX)) == []


@pytest.mark.parametrize(("region", "sentence"), [
    (((95, -115, 0), 15), "outside the head"), ((TUMOUR, 6), "too small"),
    ((TUMOUR, 230), "too large")])
def test_regions_of_no_use_are_refused(region, sentence):
    with pytest.raises(BadInput, match=sentence):
        check_region(toy(), _region(*region))


@pytest.mark.parametrize(("region", "sentence"), [
    ((TUMOUR, 40, 1), "one slice only"), (((-38, -5, 20), 25), "Nothing"),
    (((92, 10, 15), 50), "outside the head")])
def test_doubtful_regions_are_warned_of(region, sentence):
    assert any(sentence in warning for warning in check_region(toy(), _region(*region)))


def test_a_sequence_that_does_not_reach_is_told():
    images = {name: scan(name, spacing=(2, 2, 5), seed=number)
              for number, name in enumerate(SEQUENCES)}
    low = scan("t2", spacing=(2, 2, 5), field=(200, 240, 65), centre=(0, 0, -25))
    study = make_study(images | {"t2": low})
    assert any("does not reach" in warning for warning in check_region(study, _region(TUMOUR)))


def test_a_cavity_after_an_operation_is_told_and_ventricles_are_not():
    region = _region((44, 12, 18), 50)
    assert any("operation" in warning for warning in check_region(toy(False, True), region))
    assert not any("operation" in warning
                   for warning in check_region(toy(False), _region((11, -4, 8), 40)))


# Without a user


def test_the_tumour_is_proposed():
    found = propose_region(toy())
    assert found.region is not None, found.reason
    assert found.region.centre_mm == pytest.approx(TUMOUR, abs=4)
    assert 2 * TUMOUR_MM <= found.region.side_mm <= 2 * TUMOUR_MM + 22
    assert found.confidence > 0.3


def test_nothing_is_proposed_where_nothing_enhances():
    found = propose_region(toy(False))
    assert found.region is None and found.confidence == 0 and found.reason


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared images")
def test_a_region_around_a_real_tumour():
    folder = DATA / "mri_pyradiomics_tumour_samples"
    from BrainTumorClassifyLib.study import read_study

    study = read_study({"t1c": folder / "brain1_image.nrrd"}, may_be_missing=("t1", "t2"))
    region = read_region(study, folder / "brain1_label.nrrd")
    assert region.slices == tuple(range(11, 18))
    assert check_region(study, region) == []
    cut = pseudo_rgb(study, region, 64)
    assert cut.shape == (7, 3, 64, 64)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "brain1_label.nrrd"))) > 0
    values = sitk.GetArrayFromImage(study.images["t1c"])
    assert cut[:, 2].max() > 0.9 * min(1.0, values[mask].max() / study.windows["t1c"][1])
