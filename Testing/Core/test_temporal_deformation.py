# SPDX-License-Identifier: Apache-2.0
"""What lies between the bones is deformed to fit, and the bones keep their rigid motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.results import read_result
from TemporalSubtractionLib.bones import bone_mask
from TemporalSubtractionLib.deformation import LEVELS_MM, with_soft_tissue
from TemporalSubtractionLib.follow_up import _points

from .spine_factory import spine
from .test_temporal_registration import register

TURN_DEGREES = 3.0


def with_bowel(ct: sitk.Image, middle: tuple[float, float, float], radius: float) -> sitk.Image:
    """Gas within the trunk."""
    array = sitk.GetArrayFromImage(ct)
    array[np.linalg.norm(_points(ct) - np.array(middle), axis=-1) < radius] = -700
    return image_like(ndimage.gaussian_filter(array, 0.5).astype(np.float32), ct)


def around_gas(array: np.ndarray) -> np.ndarray:
    """Within the trunk, and the air around it left out."""
    gas = ndimage.binary_dilation((array < -300) & (array > -900), iterations=3)
    return gas & ndimage.binary_erosion(array > -900, iterations=2)


@pytest.fixture(scope="module")
def scans() -> tuple[sitk.Image, sitk.Image, sitk.Transform]:
    """Prior CT, current one with gas elsewhere, a hole in a vertebra and a turn, and the turn."""
    ct, labels = spine()
    turn = sitk.Euler3DTransform()
    turn.SetCenter(_points(ct).reshape(-1, 3).mean(0).tolist())
    turn.SetRotation(0, 0, np.radians(TURN_DEGREES))
    prior = with_bowel(ct, (-45.0, -25.0, 400.0), 16)
    changed = with_bowel(ct, (-37.0, -29.0, 406.0), 19)
    array, vertebra = sitk.GetArrayFromImage(changed), sitk.GetArrayFromImage(labels) == 3
    points = _points(ct)
    hole = np.linalg.norm(points - points[vertebra].mean(0), axis=-1) < 9
    array[hole & vertebra] = 40
    current = sitk.Resample(image_like(array, changed), ct, turn, sitk.sitkLinear, -1000.0)
    return prior, current, turn


@pytest.fixture(scope="module")
def deformed(scans) -> tuple[sitk.Transform, sitk.Image, list]:
    prior, current, turn = scans
    before = sitk.Resample(bone_mask(prior), current, turn, sitk.sitkNearestNeighbor)
    bone = sitk.Resample(bone_mask(current), current, sitk.Transform(),
                         sitk.sitkNearestNeighbor) | before
    told: list = []
    found = with_soft_tissue(current, prior, turn, bone, lambda *levels: told.append(levels))
    return found, bone, told


def test_soft_tissue_comes_to_lie_on_its_like(scans, deformed):
    prior, current, turn = scans
    now = sitk.GetArrayFromImage(current)
    apart = [np.abs(sitk.GetArrayFromImage(sitk.Resample(
        prior, current, transform, sitk.sitkLinear, -1000.0)) - now)
        for transform in (turn, deformed[0])]
    gas = around_gas(now)
    assert gas.sum() > 500
    assert apart[1][gas].mean() < 0.5 * apart[0][gas].mean()
    assert deformed[2] == [(done, len(LEVELS_MM)) for done in range(len(LEVELS_MM) + 1)]


def test_bone_does_not_deform_not_even_where_it_is_gone(scans, deformed):
    _, current, turn = scans
    found, bone, _ = deformed
    index = np.argwhere(sitk.GetArrayViewFromImage(bone) > 0)[::7, ::-1]
    points = [current.TransformIndexToPhysicalPoint(i.tolist()) for i in index]
    np.testing.assert_allclose([found.TransformPoint(p) for p in points],
                               [turn.TransformPoint(p) for p in points], atol=1e-9)


def test_where_the_prior_scan_does_not_reach_nothing_is_made_up(scans):
    """Half of the prior scan is missing: there, nothing pulls."""
    prior, current, turn = scans
    half = prior[:, :, :43]
    none = sitk.Image(current.GetSize(), sitk.sitkUInt8)
    none.CopyInformation(current)
    found = with_soft_tissue(current, half, turn, none)
    beyond = _points(current)[70:].reshape(-1, 3)[::503]
    moved = np.array([found.TransformPoint(p.tolist()) for p in beyond])
    still = np.array([turn.TransformPoint(p.tolist()) for p in beyond])
    assert np.linalg.norm(moved - still, axis=1).max() < 1.0


def test_the_command_deforms_soft_tissue_and_leaves_bones(scans, tmp_path):
    prior, current, _ = scans
    paths = []
    for name, options in (("bones", []), ("all", ["--soft-tissue"])):
        (tmp_path / name).mkdir()
        exit_code, output = register(tmp_path / name, prior, current, *options)
        assert exit_code == 0
        paths.append(output)
    assert read_result(paths[1])["soft_tissue"] is True and "soft_tissue" not in read_result(
        paths[0])
    rigid, free = (sitk.ReadTransform(str(path / "transform.h5")) for path in paths)
    bone = np.argwhere(sitk.GetArrayFromImage(sitk.ReadImage(str(paths[0] / "quality.nrrd"))) > 0.9)
    quality = sitk.ReadImage(str(paths[0] / "quality.nrrd"))
    points = [quality.TransformIndexToPhysicalPoint(i[::-1].tolist()) for i in bone[::31]]
    np.testing.assert_allclose([free.TransformPoint(p) for p in points],
                               [rigid.TransformPoint(p) for p in points], atol=1e-6)
    now = sitk.GetArrayFromImage(current)
    errors = [np.abs(sitk.GetArrayFromImage(sitk.ReadImage(str(path / "prior_aligned.nrrd"))) - now)
              for path in paths]
    assert errors[1][around_gas(now)].mean() < 0.6 * errors[0][around_gas(now)].mean()


def test_a_transform_that_is_given_is_not_deformed(tmp_path, capfd):
    ct, _ = spine(bones=2)
    file: Path = tmp_path / "given.h5"
    sitk.WriteTransform(sitk.Euler3DTransform(), str(file))
    exit_code, output = register(tmp_path, ct, ct, "--transform", file, "--soft-tissue")
    assert exit_code == BadInput.exit_code and not output.exists()
    assert "given.h5 is taken as it is" in capfd.readouterr().err
