# SPDX-License-Identifier: Apache-2.0
"""A simulated CT from the iliac crest to above the knee, drawn from capsules alone.

It needs no data: demo and tests have a scan with known truth on any machine, without internet.
The shapes stand where an adult's bones and muscles stand and touch as they do, but no patient looks
like this: use it to see that something works, never to say how well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

Point = tuple[float, float, float]

LOWEST, HIGHEST = -300.0, 150.0  # z in mm; 0 is the centre of the hip joints
HALF_WIDTH, HALF_DEPTH = 195.0, 125.0
AIR_HU, FAT_HU, MUSCLE_HU, ORGAN_HU, MARROW_HU, CORTEX_HU = -1000, -100, 55, 35, 220, 850
CORTEX_MM = 4.0
NOISE_HU = 12.0
BONES = ("pelvis", "femur", "sacrum")


@dataclass(frozen=True)
class Capsule:
    """All points nearer to the line from ``start`` to ``end`` than a radius; lengths in mm.

    The radius grows or shrinks from ``radius`` to ``end_radius`` along the line.
    """

    start: Point
    end: Point
    radius: float
    end_radius: float

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the distance to the surface in mm, negative inside."""
        start = np.array(self.start, dtype=np.float32)
        axis = np.array(self.end, dtype=np.float32) - start
        offsets = (x - start[0], y - start[1], z - start[2])
        along = sum(o * a for o, a in zip(offsets, axis, strict=True)) / max(axis @ axis, 1e-6)
        along = np.clip(along, 0, 1)
        squares = sum((o - along * a) ** 2 for o, a in zip(offsets, axis, strict=True))
        return np.sqrt(squares) - (self.radius + along * (self.end_radius - self.radius))


def rod(start: Point, end: Point, radius: float, end_radius: float | None = None) -> list[Capsule]:
    """Return one capsule from ``start`` to ``end``."""
    return [Capsule(start, end, radius, radius if end_radius is None else end_radius)]


def sheet(upper: tuple[Point, Point], lower: tuple[Point, Point], radius: float) -> list[Capsule]:
    """Return a plate without gaps: capsules side by side, from one line to the other."""
    widest = max(np.linalg.norm(np.subtract(*line)) for line in (upper, lower))
    capsules = []
    for t in np.linspace(0, 1, 2 + int(widest / radius)):
        start, end = (tuple((1 - t) * np.array(a) + t * np.array(b)) for a, b in (upper, lower))
        capsules += rod(start, end, radius)
    return capsules


# One side of the body in mm: x from the middle outwards, y to the back, z to the head.
SHAPES: dict[str, list[Capsule]] = {
    "femur": [
        *rod((88, 0, 0), (88, 0, 0), 23),
        *rod((88, 0, 0), (138, 8, -32), 15, 18),
        *rod((146, 10, -6), (136, 8, -60), 13, 16),
        *rod((136, 8, -60), (100, -4, -330), 15, 15),
    ],
    "pelvis": [
        *sheet(((116, -66, 88), (48, 66, 92)), ((88, -14, 34), (78, 26, 34)), 6),
        *sheet(((110, -20, 128), (70, 46, 126)), ((116, -66, 88), (48, 66, 92)), 6),
        *sheet(((88, -16, 36), (78, 26, 36)), ((60, -22, 2), (62, 22, -4)), 9),
        *rod((60, -22, 2), (12, -48, -18), 9),
        *rod((64, 22, -4), (60, 36, -46), 13, 15),
        *rod((60, 36, -46), (10, -38, -38), 7),
        *rod((8, -48, -18), (8, -44, -34), 9),
    ],
    "sacrum": [
        *sheet(((0, 42, 104), (40, 58, 96)), ((0, 84, 34), (26, 78, 44)), 15),
        *rod((0, 84, 34), (0, 72, -8), 14, 7),
    ],
    "gluteus_maximus": sheet(((42, 90, 84), (20, 98, 6)), ((140, 52, -14), (126, 34, -100)), 15),
    "gluteus_medius": sheet(((124, -30, 118), (78, 60, 112)), ((154, -8, 4), (150, 26, 4)), 12),
    "gluteus_minimus": sheet(((118, -34, 80), (92, 34, 66)), ((140, -14, 4), (136, 8, 8)), 8),
    "iliacus": sheet(((100, -40, 112), (66, 26, 108)), ((90, -42, 8), (74, -26, 26)), 11),
    "psoas_major": [
        *rod((42, 6, 160), (70, -38, 40), 20, 14),
        *rod((70, -38, 40), (110, 2, -58), 13, 7),
    ],
    "piriformis": rod((22, 66, 34), (134, 18, 2), 10, 6),
    "obturator_internus": [
        *sheet(((50, -24, 14), (50, 22, 18)), ((40, -24, -30), (48, 20, -36)), 6),
        *rod((52, 40, -10), (132, 18, -6), 6, 5),
    ],
    "obturator_externus": rod((34, -22, -34), (122, 14, -22), 11, 6),
    "pectineus": rod((34, -48, -14), (114, -2, -84), 12, 9),
    "adductors": [
        *rod((26, -26, -52), (96, 2, -230), 18, 14),
        *rod((46, 26, -60), (90, 14, -290), 22, 12),
    ],
    "gracilis": rod((16, -18, -50), (40, 8, -330), 9, 8),
    "sartorius": [
        *rod((116, -74, 80), (72, -62, -110), 9),
        *rod((72, -62, -110), (40, -14, -330), 10),
    ],
    "rectus_femoris": [
        *rod((102, -58, 18), (104, -64, -150), 10, 19),
        *rod((104, -64, -150), (100, -54, -330), 19, 11),
    ],
    "tensor_fasciae_latae": rod((134, -56, 84), (158, -30, -100), 13, 9),
    "vastus_lateralis_intermedius": [
        *rod((148, -8, -40), (134, -12, -330), 14, 26),
        *rod((118, -26, -80), (106, -30, -330), 14, 18),
    ],
    "vastus_medialis": rod((98, -24, -110), (72, -16, -330), 10, 24),
    "biceps_femoris": rod((62, 48, -46), (112, 42, -330), 10, 20),
    "semitendinosus": rod((54, 54, -46), (80, 54, -330), 11, 14),
    "semimembranosus": rod((58, 40, -60), (58, 38, -330), 6, 22),
}
SPINE = rod((0, 36, 112), (0, 34, 170), 25)


@dataclass(frozen=True)
class SimulatedPelvis:
    """A simulated CT in HU (int16) and its labels (uint8), on one grid in LPS."""

    image: sitk.Image
    labels: sitk.Image


def simulate_pelvis(
    values: Mapping[str, int],
    spacing: tuple[float, float, float] = (2.5, 2.5, 5.0),
    seed: int = 0,
) -> SimulatedPelvis:
    """Draw the phantom.

    Parameters
    ----------
    values : mapping of str to int
        Label value, 1 to 255, of each structure of `SHAPES` that the labels shall show.
    spacing : tuple of float
        Voxel size in mm (x, y, z). A few seconds with the default.
    seed : int
        Seed of the noise.
    """
    x, y, z = _grid(spacing)
    distances = {name: _distance(shapes, abs(x), y, z) for name, shapes in SHAPES.items()}
    structure = _nearest(distances)
    hounsfield = _body(x, y, z)
    names = list(SHAPES)
    for index, name in enumerate(names, start=1):
        inside = structure == index
        hounsfield[inside] = _bone(distances[name])[inside] if name in BONES else MUSCLE_HU
    spine = _distance(SPINE, abs(x), y, z)
    only_spine = (spine < 0) & (structure == 0)
    hounsfield[only_spine] = _bone(spine)[only_spine]

    # What a scanner adds: a point is seen about 2 mm wide, and quanta are counted.
    hounsfield = ndimage.gaussian_filter(hounsfield, [1.0 / s for s in reversed(spacing)])
    hounsfield += np.random.default_rng(seed).normal(0, NOISE_HU, hounsfield.shape)
    lookup = np.array([0, *(values.get(name, 0) for name in names)], dtype=np.uint8)
    return SimulatedPelvis(
        _image(np.round(hounsfield).astype(np.int16), spacing),
        _image(lookup[structure], spacing),
    )


def _grid(spacing: tuple[float, float, float]) -> list[np.ndarray]:
    """Return x, y and z in mm of each voxel, shaped to be broadcast as (z, y, x)."""
    limits = ((-HALF_WIDTH, HALF_WIDTH), (-HALF_DEPTH, HALF_DEPTH), (LOWEST, HIGHEST))
    axes = [
        np.arange(low, high, step, dtype=np.float32)
        for (low, high), step in zip(limits, spacing, strict=True)
    ]
    z, y, x = np.meshgrid(*reversed(axes), indexing="ij", sparse=True)
    return [x, y, z]


def _distance(capsules: list[Capsule], x, y, z) -> np.ndarray:
    return np.minimum.reduce([capsule.distance(x, y, z) for capsule in capsules])


def _nearest(distances: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the number, from 1, of the structure that each voxel lies deepest in; 0 in none.

    Bones are as large as they are: a muscle that would overlap one ends at its surface.
    """
    number = np.zeros(next(iter(distances.values())).shape, dtype=np.uint8)
    deepest = np.zeros(number.shape)
    for index, (name, distance) in enumerate(distances.items(), start=1):
        depth = np.where(distance < 0, distance - 1000 * (name in BONES), 0)
        number[depth < deepest] = index
        deepest = np.minimum(deepest, depth)
    return number


def _body(x, y, z) -> np.ndarray:
    """Return air, the fat of trunk and legs, and the organs, in HU."""
    trunk = (x / 182) ** 2 + ((y - 8) / 116) ** 2 < 1
    leg_radius = 92 + 0.06 * z  # at z = 0; thinner towards the knee
    legs = ((abs(x) - 96) ** 2 + (y - 2) ** 2) < leg_radius**2
    inside = np.where(z > -55, trunk, legs) | (legs & (z > -100) & trunk)
    organs = (x / 62) ** 2 + ((y + 12) / 58) ** 2 + ((z - 60) / 95) ** 2 < 1
    hounsfield = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), float(AIR_HU))
    hounsfield[np.broadcast_to(inside, hounsfield.shape)] = FAT_HU
    hounsfield[np.broadcast_to(organs & inside, hounsfield.shape)] = ORGAN_HU
    return hounsfield


def _bone(distance: np.ndarray) -> np.ndarray:
    """Return marrow inside and cortex outside, in HU."""
    return np.where(distance < -CORTEX_MM, MARROW_HU, CORTEX_HU)


def _image(array: np.ndarray, spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-HALF_WIDTH, -HALF_DEPTH, LOWEST))
    return image
