# SPDX-License-Identifier: Apache-2.0
"""Closed, smooth surfaces of labels, for musculoskeletal models.

A label ends in steps. Its surface is that of the smoothed label, under the condition that every
voxel's centre stays on its own side, as constrained elastic surface nets have it (Gibson, MICCAI
1998). So no place of the surface is farther than half a voxel, along the axes of the grid, from
the border between the voxels, thin parts do not vanish, and steps become slopes. The level is
chosen so that the surface encloses the volume that is labelled, because smoothing alone shrinks
what is round.

The triangles are scikit-image's (marching cubes of Lewiner): closed by construction in a volume
with an empty border. VTK would do it as well, but only 3D Slicer has it at hand. Files are binary
STL, which OpenSim, FEBio, Blender, MeshLab and 3D Slicer read; the header names coordinates and
unit, the former in Slicer's spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

COORDINATES, UNIT = "LPS", "mm"
SMOOTHING = 1.0  # standard deviation, voxels along each axis
README = "README.txt"
README_TEXT = """Surfaces of muscles and bones, one file for each structure and side (binary STL).

Coordinates: LPS (x to the patient's left, y to the back, z to the head), those of the DICOM images.
Unit: millimetres. OpenSim expects metres: scale by 0.001.
Each surface is closed, its triangles face outwards. A structure that the end of the scan cuts off
has a flat end there.

Research software, not a medical device. The physician decides.
"""

_MARGIN = 4  # voxels around the label: what the smoothing reaches
_APART = 1e-3  # of the level: how far a centre stays on its side at least
_SAME_VOLUME, _ATTEMPTS = 0.01, 8


def check_meshing() -> None:
    """Raise ModuleNotFoundError where no surface can be made."""
    import skimage.measure  # noqa: F401


def surface(mask: np.ndarray, grid: sitk.Image, corner: tuple[int, int, int] = (0, 0, 0)
            ) -> tuple[np.ndarray, np.ndarray]:
    """Return the closed surface of a mask.

    Args:
        mask: bool (z, y, x), not empty; a part of the grid will do.
        grid: image that gives places to indices, any orientation.
        corner: index (x, y, z) of the mask's first voxel in the grid.

    Returns:
        vertices: float32 (n, 3), LPS, mm.
        faces: int (m, 3), indices of vertices, counter-clockwise from outside; each edge belongs to
            two faces.
    """
    padded = np.pad(mask, _MARGIN)
    field = ndimage.gaussian_filter(padded.astype(np.float32), SMOOTHING, truncate=_MARGIN - 0.5)
    wanted = int(mask.sum())
    level = float(np.partition(field, -wanted, axis=None)[-wanted])
    lowest, highest = 0.0, 1.0
    for _ in range(_ATTEMPTS):
        vertices, faces = _contour(field, padded, level)
        enclosed = abs(enclosed_volume(vertices, faces))
        if abs(enclosed - wanted) <= _SAME_VOLUME * wanted:
            break
        if enclosed > wanted:
            lowest = level
        else:
            highest = level
        level = (lowest + highest) / 2
    index = vertices[:, ::-1] - _MARGIN + np.array(corner)
    points = _to_patient(index, grid).astype(np.float32)
    return points, faces if enclosed_volume(points, faces) > 0 else faces[:, ::-1]


def _contour(field: np.ndarray, mask: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the field crosses the level, with the centres of the mask's voxels inside."""
    from skimage.measure import marching_cubes

    above, below = level * (1 + _APART), level * (1 - _APART)
    parted = np.where(mask, np.maximum(field, above), np.minimum(field, below))
    vertices, faces, _, _ = marching_cubes(parted.astype(np.float32), level)
    return vertices, faces


def _to_patient(index: np.ndarray, grid: sitk.Image) -> np.ndarray:
    axes = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    return index @ axes.T + grid.GetOrigin()


def enclosed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Return the volume within a closed surface; below 0 when its faces look inwards."""
    corners = np.asarray(vertices, float)[faces] - np.mean(vertices, axis=0, dtype=float)
    return float(np.linalg.det(corners).sum() / 6)


def write_stl(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a surface as binary STL."""
    facets = np.zeros(len(faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)),
                                   ("attribute", "<u2")])
    corners = np.asarray(vertices, "<f4")[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    facets["corners"] = corners
    # a header that begins with "solid" would pass for the text format
    header = f"ReadingRoom MuscleSeg. SPACE={COORDINATES} UNIT={UNIT}".encode("ascii")
    with path.open("wb") as file:
        file.write(header.ljust(80) + np.uint32(len(faces)).astype("<u4").tobytes())
        file.write(facets.tobytes())


def write_meshes(folder: Path, labels: sitk.Image, names: Mapping[int, str],
                 advance: Callable[[int], None] = lambda done: None) -> dict[str, str]:
    """Write a surface for each label, and what its numbers mean.

    Args:
        folder: is made.
        labels: uint8, any orientation.
        names: by value, of the files; only these labels are written.
        advance: gets how many are done.

    Returns:
        files by name, in the order of the names.
    """
    folder.mkdir()
    (folder / README).write_text(README_TEXT, encoding="utf-8")
    array = sitk.GetArrayViewFromImage(labels)
    boxes = ndimage.find_objects(array)
    files = {}
    for done, (value, name) in enumerate(names.items(), 1):
        box = boxes[value - 1]
        corner = tuple(side.start for side in box[::-1])
        vertices, faces = surface(array[box] == value, labels, corner)
        files[name] = f"{name}.stl"
        write_stl(folder / files[name], vertices, faces)
        advance(done)
    return files
