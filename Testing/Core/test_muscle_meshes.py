# SPDX-License-Identifier: Apache-2.0
"""Surfaces of labels: closed, outwards, in place, of the right volume, read by another library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from MuscleSegLib.meshes import enclosed_volume, surface, write_meshes, write_stl

SEMI_AXES = (30.0, 14.0, 24.0)  # mm
SPACING = (1.0, 1.4, 3.0)
SIZE = (72, 46, 34)


def ellipsoid(angles, semi_axes=SEMI_AXES, spacing=SPACING, size=SIZE):
    """An upright ellipsoid on a grid that is turned; grid, mask (z, y, x) and middle in mm."""
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    grid.SetDirection(turn.ravel().tolist())
    grid.SetOrigin((-113.0, 45.0, 1000.0))
    middle = np.array(grid.TransformContinuousIndexToPhysicalPoint(
        [(n - 1) / 2 + 0.2 for n in size]))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    # the ellipsoid turns with the grid by half, so that it is oblique to it and fits it
    half = Rotation.from_euler("xyz", np.array(angles) / 2, degrees=True).as_matrix()
    places = (index @ (turn * spacing).T + grid.GetOrigin() - middle) @ half
    mask = ((places / semi_axes) ** 2).sum(-1) < 1
    return grid, np.ascontiguousarray(mask.transpose(2, 1, 0)), middle, half


def edges_of(faces):
    pairs = np.sort(np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0, return_counts=True)[1]


def read_stl(path):
    """Vertices, welded where they are equal, and faces, by the format's own definition."""
    content = path.read_bytes()
    count = int.from_bytes(content[80:84], "little")
    facets = np.frombuffer(content[84:], [("numbers", "<f4", 12), ("attribute", "<u2")])
    assert len(facets) == count and not content.startswith(b"solid")
    corners = facets["numbers"].reshape(-1, 4, 3)
    vertices, numbers = np.unique(corners[:, 1:].reshape(-1, 3), axis=0, return_inverse=True)
    return content[:80], vertices, numbers.reshape(-1, 3), corners[:, 0]


@settings(max_examples=5, deadline=None)
@given(st.tuples(*[st.floats(-40, 40)] * 3))
def test_an_ellipsoid_on_any_grid(angles):
    grid, mask, middle, half = ellipsoid(angles)
    vertices, faces = surface(mask, grid)
    assert set(edges_of(faces)) == {2}
    volume = enclosed_volume(vertices, faces)
    assert volume == pytest.approx(mask.sum() * np.prod(SPACING), rel=0.02)  # and so outwards
    assert volume == pytest.approx(4 / 3 * np.pi * np.prod(SEMI_AXES), rel=0.02)
    places = (vertices - middle) @ half
    share = np.linalg.norm(places / SEMI_AXES, axis=1)
    away = abs(share - 1) * share / np.linalg.norm(places / np.square(SEMI_AXES), axis=1)
    assert np.sqrt((away**2).mean()) < 0.3  # mm: a fifth of the mean voxel side
    assert away.max() < 1.6


def test_no_place_is_farther_than_half_a_voxel_from_the_border_of_the_label():
    """Of any label, also one that is nothing but corners and thin walls."""
    random = np.random.default_rng(3)
    mask = random.random((12, 12, 12)) < 0.4
    grid = sitk.Image((12, 12, 12), sitk.sitkUInt8)
    vertices, faces = surface(mask, grid)
    assert set(edges_of(faces)) == {2}
    padded = np.pad(mask, 2)
    low, high = np.floor(vertices + 1e-3), np.ceil(vertices - 1e-3)
    corners = [np.where(choice, high, low) for choice in itertools.product((0, 1), repeat=3)]
    around = np.array([padded[tuple((corner[:, ::-1] + 2).astype(int).T)] for corner in corners])
    # between centres some of which are inside and some outside, and so beside the border
    assert (around.any(0) & ~around.all(0)).all()
    assert len(faces) > 1000


@pytest.mark.parametrize(("semi_axes", "spacing", "size"), [
    ((40.0, 3.5, 40.0), (1.0, 1.0, 1.0), (84, 11, 84)),  # a thin plate
    ((9.0, 9.0, 110.0), (3.0, 3.0, 3.0), (14, 14, 80)),  # three voxels thick
    ((40.0, 8.0, 60.0), (0.9, 0.9, 5.0), (96, 26, 30)),  # thick slices
])
def test_volume_of_thin_structures_of_more_than_20_ml(semi_axes, spacing, size):
    grid, mask, _, _ = ellipsoid((0, 0, 0), semi_axes, spacing, size)
    volume = mask.sum() * np.prod(spacing)
    vertices, faces = surface(mask, grid)
    assert volume > 20_000 and set(edges_of(faces)) == {2}
    assert enclosed_volume(vertices, faces) == pytest.approx(volume, rel=0.02)


def test_steps_become_slopes():
    """Normals of a smooth thing with thick slices: nearer to its own than those of the voxels."""
    grid, mask, middle, half = ellipsoid((0, 0, 0))
    vertices, faces = surface(mask, grid)
    corners = vertices[faces].astype(float)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    true = (corners.mean(1) - middle) / np.square(SEMI_AXES)
    cosines = (normals * true).sum(1) / areas / np.linalg.norm(true, axis=1)
    off = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    assert np.average(off, weights=areas) < 12


def test_a_single_voxel_and_a_label_at_the_border_are_closed():
    grid = sitk.Image((4, 4, 4), sitk.sitkUInt8)
    for mask in (np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)):
        mask[1, 2, 3] = True
        vertices, faces = surface(mask, grid)
        assert set(edges_of(faces)) == {2} and enclosed_volume(vertices, faces) > 0


def test_files_state_units_and_are_read_by_another_library(tmp_path):
    from vtkmodules.vtkFiltersCore import vtkFeatureEdges, vtkMassProperties
    from vtkmodules.vtkIOGeometry import vtkSTLReader

    grid, mask, middle, _ = ellipsoid((20, -10, 30))
    labels = sitk.GetImageFromArray((mask * 4).astype(np.uint8))
    labels.CopyInformation(grid)
    files = write_meshes(tmp_path / "meshes", labels, {4: "gluteus_maximus_right"})
    path = tmp_path / "meshes" / files["gluteus_maximus_right"]
    header, vertices, faces, normals = read_stl(path)
    assert b"SPACE=LPS" in header and b"mm" in header
    assert set(edges_of(faces)) == {2}
    readme = (tmp_path / "meshes" / "README.txt").read_text("utf-8")
    assert "LPS" in readme and "millimetres" in readme and "not a medical device" in readme

    reader = vtkSTLReader()
    reader.SetFileName(str(path))
    mass = vtkMassProperties()
    mass.SetInputConnection(reader.GetOutputPort())
    assert mass.GetVolume() == pytest.approx(mask.sum() * np.prod(SPACING), rel=0.02)
    open_edges = vtkFeatureEdges()
    open_edges.SetInputConnection(reader.GetOutputPort())
    open_edges.FeatureEdgesOff()
    open_edges.ManifoldEdgesOff()
    open_edges.Update()
    assert open_edges.GetOutput().GetNumberOfCells() == 0
    assert reader.GetOutput().GetCenter() == pytest.approx(middle, abs=1.0)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-4)


def test_a_degenerate_triangle_gets_no_normal(tmp_path):
    write_stl(tmp_path / "flat.stl", np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]))
    assert np.isfinite(read_stl(tmp_path / "flat.stl")[3]).all()
