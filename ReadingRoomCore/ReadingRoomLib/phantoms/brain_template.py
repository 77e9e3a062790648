# SPDX-License-Identifier: Apache-2.0
"""The average head from which MRIs of the brain are simulated.

It is the T1 of the ICBM 2009c nonlinear asymmetric template (Fonov et al., *Unbiased average
age-appropriate atlases for pediatric studies*, NeuroImage 2011), with skull and scalp, 1 mm. The
source distribution of the Python package ``afids_cnn`` (MIT) carries it. The template's notice:
"Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. Permission to use, copy, modify, and distribute this software and its
documentation for any purpose and without fee is hereby granted, provided that the above copyright
notice appear in all copies."

What an average does not show, but images with contrast agent do, is drawn at its usual place in
the template's coordinates: dura with falx and tentorium, arteries, venous sinuses and plexus.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.spatial import cKDTree

from ..errors import BadInput
from ..geometry import to_lps_axes
from ..sampledata import PackagedFile, fetch_packaged_file

BRAIN_TEMPLATE = PackagedFile(
    package="afids_cnn",
    version="0.2.1",
    archive_sha256="44bcf46ff03a22101c52b17d5c056a69edb84696a3cb9b2ba05019448c81a118",
    archive_size=13_714_358,
    member="afids_cnn-0.2.1/afids_cnn/resources/tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz",
    sha256="1f27aabea9f7183dc0c69dafa71e1787b921ca778d655d9c1bf302b273d5627a",
    size=13_685_075,
)
COARSE = 2  # mm, voxels of the maps of distance
INSIDE_ML = (1000.0, 2400.0)  # of a skull
WHITE_AT = ((24.0, -10.0, 26.0), (24.0, -10.0, -26.0))  # S, P, L: white matter in any brain
GREY, FLUID = 0.76, 0.45  # T1 against that of white matter

# Polylines of vessels: radius in mm, then points (right, anterior, superior) in mm from the
# anterior commissure, as the template's coordinates are commonly written; one side of pairs.
_MIDLINE_VESSELS = (
    (1.6, ((0, -38, -62), (0, -28, -48), (0, -22, -36), (0, -18, -22))),  # basilar artery
    (0.9, ((0, 10, -18), (0, 28, -6), (0, 36, 6), (0, 28, 20), (0, 8, 31), (0, -15, 34))),
    (1.6, ((0, -33, 8), (0, -44, 8), (0, -52, 2))),  # great vein, into the straight sinus
    (2.0, ((0, -52, 2), (0, -70, -6), (0, -90, -16))),
)
_PAIRED_VESSELS = (
    (1.9, ((14, 2, -42), (14, 6, -32), (11, 6, -24), (14, 4, -18))),  # internal carotid artery
    (1.3, ((14, 4, -18), (26, 4, -18), (36, 3, -16), (41, -2, -6), (41, -14, 6))),
    (1.0, ((14, 4, -18), (6, 8, -18), (1, 14, -16))),
    (1.0, ((0, -18, -22), (10, -20, -20), (20, -30, -14), (14, -52, -4))),  # posterior cerebral
    (0.9, ((3, -5, 14), (3, -20, 14), (2, -32, 10))),  # internal cerebral veins
    (2.2, ((5, -4, 14), (12, -22, 17), (20, -38, 12), (24, -42, 5), (30, -32, -6))),  # plexus
)
_SINUS_TURNS = ((0, 48, 20), (0, 45, 50), (0, 15, 75), (0, -25, 78), (0, -60, 65), (0, -85, 35),
                (0, -95, 5), (0, -92, -17))
_TRANSVERSE_TURNS = ((0, -92, -17), (20, -90, -20), (42, -74, -24), (56, -50, -28),
                     (52, -38, -38), (36, -38, -52))
_SINUS_RADIUS = 3.0


@dataclass(frozen=True)
class BrainTemplate:
    """An average head; arrays (z, y, x) along S, P and L, places in mm from the anterior
    commissure.

    Attributes:
        t1: T1-weighted, white matter 1, air 0; float32, voxels of 1 mm.
        distances: in mm, float32, on every second voxel: see :data:`DISTANCES`.
        origin: place of the first voxel.
    """

    t1: np.ndarray
    distances: dict[str, np.ndarray]
    origin: tuple[float, float, float]

    def sample_t1(self, at: np.ndarray) -> np.ndarray:
        """The T1 at places (3, ...)."""
        return _sampled(self.t1[None], at, self.origin, 1)[0]

    def sample(self, at: np.ndarray, *names: str) -> list[np.ndarray]:
        """Distances at places (3, ...), one array for each name; the nearest beyond the edge."""
        return list(_sampled(np.stack([self.distances[name] for name in names]), at, self.origin,
                             COARSE))


DISTANCES = ("outside", "dura", "ventricle", "vessel")
"""``outside``: from the inner surface of the skull, below 0 inside. ``dura``: from that surface,
falx or tentorium. ``ventricle``: from lateral and third ventricles, below 0 inside. ``vessel``:
from the walls of vessels and plexus, below 0 inside them."""


def fetch_brain_template(cache: Path | None = None) -> BrainTemplate:
    """The template, downloaded (14 MB) when it is not in the cache; raises as the download does."""
    return read_brain_template(fetch_packaged_file(BRAIN_TEMPLATE, cache))


def read_brain_template(path: Path) -> BrainTemplate:
    """Read a T1 of an average head in the coordinates of the ICBM templates, voxels of 1 mm.

    Raises:
        BadInput: the image is no such template.
    """
    image, _ = to_lps_axes(sitk.ReadImage(str(path), sitk.sitkFloat32))
    t1 = sitk.GetArrayFromImage(image)
    origin = image.GetOrigin()[::-1]
    refusal = f"{path.name} is no T1 template of a head on voxels of 1 mm."
    if not np.allclose(image.GetSpacing(), 1.0):
        raise BadInput(refusal)
    places = [np.round(np.subtract(place, origin)).astype(int) for place in WHITE_AT]
    if any((place < 3).any() or (place >= np.array(t1.shape) - 3).any() for place in places):
        raise BadInput(refusal)
    white = np.median([t1[tuple(slice(i - 2, i + 3) for i in place)] for place in places])
    t1 = (t1 / max(float(white), 1e-6)).astype(np.float32)
    coarse = t1[::COARSE, ::COARSE, ::COARSE]
    inside = _inside_skull(coarse)
    if not INSIDE_ML[0] < inside.sum() * COARSE**3 / 1000 < INSIDE_ML[1]:
        raise BadInput(refusal)
    at = np.stack(np.meshgrid(*(start + COARSE * np.arange(count) for start, count in
                                zip(origin, coarse.shape, strict=True)), indexing="ij"))
    outside = _signed(inside)
    distances = {
        "outside": outside,
        "dura": np.minimum(np.abs(outside), _sheets(at)).astype(np.float32),
        "ventricle": _signed(_ventricles(coarse, at, outside)),
        "vessel": _vessels(outside, at, origin),
    }
    return BrainTemplate(t1, distances, tuple(origin))


def _inside_skull(t1: np.ndarray) -> np.ndarray:
    """What the skull encloses: the largest bright body, and the fluid around it."""
    core = ndimage.binary_erosion(t1 > 0.62, iterations=2)
    labels, _ = ndimage.label(core)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    brain = ndimage.binary_dilation(labels == sizes.argmax(), iterations=4) & (t1 > 0.36)
    room = 10  # else closing would fill from the edge of the image
    filled = ndimage.binary_closing(np.pad(brain, room), iterations=5)[(slice(room, -room),) * 3]
    opened = ndimage.binary_opening(ndimage.binary_fill_holes(filled), iterations=5)
    return ndimage.gaussian_filter(opened.astype(np.float32), 1.0) > 0.5


def _ventricles(t1: np.ndarray, at: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Lateral and third ventricles: fluid in the depth, above the cisterns."""
    up, back, left = at
    fluid = ((t1 < (GREY + FLUID) / 2) & (outside < -20) & (np.abs(left) < 42)
             & (up > -8 + 0.25 * np.maximum(back - 30, 0)) & (up < 34) & (back > -45) & (back < 62))
    third = (back > -4) & (back < 32) & (up < 8)
    fluid &= third | (np.abs(left) > 3)
    fluid &= (back < 34) | (np.abs(left) > 8)  # behind: the cistern of the great vein
    labels, _ = ndimage.label(fluid)
    sizes = np.bincount(labels.ravel())
    return fluid & (sizes >= 40)[labels]


def _sheets(at: np.ndarray) -> np.ndarray:
    """Distance from falx and tentorium, mm, about; far from them where they end."""
    up, back, left = at
    side = np.abs(left)
    beyond_callosum = (np.hypot((back - 8) / 52, (up - 2) / 40) - 1) * 40  # its free edge
    falx = np.maximum(side, np.maximum(-beyond_callosum, -6 - up))
    tent_up = 7 - 0.5 * side - 0.28 * (back - 45)
    notch = np.maximum(20 - side, 0) * (back < 48)  # where the brainstem passes
    petrous = side - back - 5  # the ridge that it is fixed to
    tent = np.maximum(np.abs(up - tent_up) * 0.85, np.maximum(notch, petrous))
    return np.minimum(falx, tent)


def _vessels(outside: np.ndarray, at: np.ndarray, origin) -> np.ndarray:
    """Distance from the walls of vessels, mm, below 0 in them."""
    transverse = (_SINUS_RADIUS, _to_skull(_TRANSVERSE_TURNS, outside, origin))
    paired = [*_PAIRED_VESSELS, transverse]
    lines = [*_MIDLINE_VESSELS, (_SINUS_RADIUS, _to_skull(_SINUS_TURNS, outside, origin)), *paired]
    lines += [(radius, [(-x, y, z) for x, y, z in points]) for radius, points in paired]
    wall = np.full(outside.shape, 60.0, np.float32)
    for radius, points in lines:
        line = np.concatenate([np.linspace(a, b, 24) for a, b in zip(points, points[1:],
                                                                     strict=False)])
        index = (np.stack([line[:, 2], -line[:, 1], -line[:, 0]], 1) - origin) / COARSE
        reach = 8  # voxels; farther ones only need to be known as far
        low = np.maximum(np.floor(index.min(0)).astype(int) - reach, 0)
        high = np.ceil(index.max(0)).astype(int) + reach
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        places = np.stack([axis[box] for axis in at], -1)
        near, _ = cKDTree(index * COARSE + origin).query(places, workers=1)
        wall[box] = np.minimum(wall[box], near - radius)
    return wall


def _to_skull(points, outside: np.ndarray, origin) -> tuple[tuple[float, float, float], ...]:
    """Points moved, as seen from the middle of the brain, to just inside the skull."""
    middle = np.array([0.0, -20.0, 10.0])
    moved = []
    for point in points:
        unit = (np.array(point) - middle) / np.linalg.norm(np.array(point) - middle)
        path = middle + np.arange(20.0, 130.0, 0.5)[:, None] * unit
        at = np.stack([path[:, 2], -path[:, 1], -path[:, 0]])
        beyond = _sampled(outside[None], at, origin, COARSE)[0] > -_SINUS_RADIUS * 0.7
        moved.append(tuple(path[beyond.argmax() if beyond.any() else -1]))
    return tuple(moved)


def _signed(mask: np.ndarray) -> np.ndarray:
    """Distance from the surface of a mask on the coarse voxels in mm, below 0 inside."""
    distance = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    # half a voxel of either side is the surface's
    return (COARSE * (distance - 0.5 * np.sign(distance))).astype(np.float32)


def _sampled(images: np.ndarray, at: np.ndarray, origin, step: int) -> np.ndarray:
    """Images (channels, z, y, x) at places (3, ...), linear; the nearest voxel beyond the edge."""
    places = at.reshape(3, 1, 1, -1) if at.ndim != 4 else at
    last = step * (np.array(images.shape[1:]) - 1)
    grid = np.empty((*places.shape[1:], 3), np.float32)
    for axis in range(3):
        np.multiply(places[axis] - np.float32(origin[axis]), np.float32(2 / last[axis]),
                    out=grid[..., 2 - axis])
    grid -= 1
    values = F.grid_sample(torch.from_numpy(images)[None], torch.from_numpy(grid)[None],
                           padding_mode="border", align_corners=True)[0].numpy()
    return values.reshape(len(images), *at.shape[1:])
