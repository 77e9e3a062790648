# SPDX-License-Identifier: Apache-2.0
"""Skull and scalp taken away: they are black, and neither brain nor tumour is."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from BrainTumorClassifyLib.__main__ import app
from BrainTumorClassifyLib.brain_only import cut_off, kept_brain
from BrainTumorClassifyLib.engines import doubts_of_skull, load_model
from BrainTumorClassifyLib.preparation import on_grid
from BrainTumorClassifyLib.pseudo_rgb import pseudo_rgb
from BrainTumorClassifyLib.regions import Region, check_region, cut_off_share, read_region
from BrainTumorClassifyLib.sequences import SEQUENCES
from BrainTumorClassifyLib.study import make_study, without_skull
from ReadingRoomLib.geometry import image_like

from .classify_factory import write_toy_model
from .tumor_factory import (
    ENHANCING,
    FAT,
    FLUID,
    GREY,
    MUSCLE,
    NECROSIS,
    OEDEMA,
    SKULL,
    TUMOUR,
    VALUES,
    WHITE,
    anatomy,
    scan,
    write_study,
)

SURFACE = (60.0, 10.0, 20.0)  # on the inner side of the skull, LPS mm
NOSE = (0.0, -95.0, -20.0)
BOX = [10, 50, -10, 34, 2, 34]  # around the tumour of the toy


@functools.cache
def scans() -> dict[str, sitk.Image]:
    return {name: scan(name, spacing=(2, 2, 4), seed=number)
            for number, name in enumerate(SEQUENCES)}


@functools.cache
def study(brain_only: bool):
    return make_study(scans(), aligned=True, brain_only=brain_only)


def tissues(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(on_grid(anatomy(), image, nearest=True))


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def away_mm(image: sitk.Image, place: tuple[float, ...]) -> np.ndarray:
    """Distance of every voxel of an image whose axes are L, P and S."""
    axes = [(np.arange(size) * step + start - at) ** 2 for size, step, start, at in
            zip(image.GetSize(), image.GetSpacing(), image.GetOrigin(), place, strict=True)]
    return np.sqrt(axes[2][:, None, None] + axes[1][:, None] + axes[0])


def with_ball(radius: float, within: tuple[int, ...]) -> tuple[dict[str, sitk.Image], np.ndarray]:
    """Scans with a tumour at the surface of the brain, in these tissues; and where it is."""
    label = tissues(scans()["t1c"])
    ball = (away_mm(scans()["t1c"], SURFACE) < radius) & np.isin(label, within)
    return {name: image_like(np.where(ball, VALUES[name][ENHANCING], array(image)), image)
            for name, image in scans().items()}, ball


def gone(name: str) -> np.ndarray:
    stripped = study(True)
    return array(stripped.images[name]) == np.float32(stripped.windows[name][0])


@pytest.mark.parametrize("name", SEQUENCES)
def test_skull_and_scalp_are_black(name):
    # the nose of the toy reaches into its skull
    label = np.where(away_mm(study(True).reference, NOSE) > 21, tissues(study(True).reference), 0)
    for tissue, least in ((FAT, 0.99), (MUSCLE, 0.95), (SKULL, 0.25)):
        assert gone(name)[label == tissue].mean() > least


@pytest.mark.parametrize("name", SEQUENCES)
def test_brain_and_tumour_stay_as_they_were(name):
    label = tissues(study(True).reference)
    brain = np.isin(label, (GREY, WHITE, FLUID, ENHANCING, NECROSIS, OEDEMA))
    before, after = (array(study(brain_only).images[name]) for brain_only in (False, True))
    assert (before == after)[brain].mean() > 0.999
    assert (before == after)[np.isin(label, (ENHANCING, NECROSIS))].all()
    assert (before == after)[~gone(name)].all()


def test_by_default_nothing_is_taken_away():
    plain, stripped = study(False), study(True)
    for name, image in scans().items():  # on one grid, so at most interpolated by nothing
        assert array(plain.images[name]) == pytest.approx(array(image), abs=0.01)
    assert (array(plain.images["t1c"]) == array(scans()["t1c"])).all()
    assert plain.cut_off is None
    assert plain.windows == stripped.windows and plain.warnings == stripped.warnings
    for mask in ("head", "brain"):
        assert (array(getattr(plain, mask)) == array(getattr(stripped, mask))).all()


def test_the_network_sees_black_outside():
    middle = study(True).reference.TransformPhysicalPointToIndex(SURFACE)[2]
    region = Region(SURFACE, 60.0, (middle,))
    before, after = (pseudo_rgb(study(brain_only), region, 60)[0] for brain_only in (False, True))
    # 1 mm pixels; in this slice the scalp begins 7 mm beyond SURFACE
    assert before[:, 30, 42:50].max() > 0.5
    assert after[:, 25:35, 42:].max() == 0
    assert (after == before)[:, 25:35, :25].all()


@pytest.mark.parametrize("missing", ["", "t1", "t2"])
def test_a_tumour_of_the_meninges_stays(missing):
    images, ball = with_ball(16.0, (GREY, WHITE, FLUID, OEDEMA))
    images.pop(missing, None)
    found = make_study(images, [missing], aligned=True)
    if missing == "t1":  # what is that bright in t1c is no brain to the mask
        assert (array(found.brain) > 0)[ball].mean() < 0.9
    kept = array(kept_brain(found.images, found.brain)) > 0
    assert kept[ball].mean() >= 0.99
    assert kept[tissues(found.reference) == FAT].mean() < 0.1


def test_a_tumour_that_is_cut_through_is_told():
    plain = study(False)
    half = (away_mm(plain.reference, (-200.0, *TUMOUR[1:])) < 200 + TUMOUR[0]).astype(np.uint8)
    lost = cut_off(plain.images, plain.brain, image_like(half, plain.reference))
    tumour = np.isin(tissues(plain.reference), (ENHANCING, NECROSIS))
    assert (array(lost) > 0)[tumour & (half == 0)].mean() > 0.9
    assert not array(lost)[half > 0].any()
    region = read_region(plain, BOX)
    told = check_region(replace(plain, cut_off=lost), region)
    assert any("taken away" in doubt for doubt in told)
    assert 0.4 < cut_off_share(replace(plain, cut_off=lost), region) < 0.7


def test_a_tumour_within_the_brain_is_not_doubted():
    region = read_region(study(True), BOX)
    assert check_region(study(True), region) == check_region(study(False), region) == []
    assert cut_off_share(study(True), region) == 0


def test_without_a_brain_nothing_is_taken_away():
    whole = replace(study(False), brain=study(False).head)
    left = without_skull(whole)
    assert "was not found" in left.warnings[-1] and left.cut_off is None
    assert all((array(left.images[name]) == array(whole.images[name])).all() for name in SEQUENCES)


def test_a_model_is_doubted_where_it_learned_otherwise(tmp_path):
    with_it = load_model(str(write_toy_model(tmp_path / "model")))
    without = replace(with_it, metadata=with_it.metadata | {"brain_only": True})
    assert doubts_of_skull(with_it, False) == doubts_of_skull(without, True) == []
    assert "trained with skull" in doubts_of_skull(with_it, True)[0]
    assert "trained without skull" in doubts_of_skull(without, False)[0]


def test_the_command_takes_the_skull_away_and_says_so(tmp_path):
    paths = write_study(tmp_path, ("t1", "t1c"), spacing=(2.5, 2.5, 6.0))
    bounds = np.stack([np.array(TUMOUR) - 20, np.array(TUMOUR) + 20], 1).ravel().tolist()
    (tmp_path / "roi.json").write_text(json.dumps(bounds), "utf-8")
    given = [part for name, path in paths.items() for part in (f"--{name}", path)]
    output = tmp_path / "out"
    code = app.run(["classify", *given, "--roi", str(tmp_path / "roi.json"), "--model",
                    str(write_toy_model(tmp_path / "model")), "--brain-only", "--output",
                    str(output), "--progress", "none"])
    assert code == 0
    result = json.loads((output / "result.json").read_text("utf-8"))
    assert result["parameters"]["brain_only"] is True
    assert any("trained with skull" in doubt for doubt in result["doubts"])
    image = sitk.ReadImage(str(output / "t1c.nrrd"))
    values, label = array(image), tissues(image)
    assert np.mean(values[label == FAT] == np.median(values[label == FAT])) > 0.8
