# SPDX-License-Identifier: Apache-2.0
"""Simulated CT: Hounsfield units painted onto a map of anatomical regions.

The map comes from real or invented anatomy; everything else is drawn at random for every image:
pose and shape, tissue densities and texture, fat infiltration, contrast agent, metal, noise,
reconstruction kernel, slice thickness and field of view. Networks that see only such images learn
shape and context rather than one scanner's grey values.

The method follows the generative training of Billot et al., "SynthSeg", Medical Image Analysis
2023 (contrast drawn per label, then deformation and acquisition), with Hounsfield units kept within
what tissue can have instead of fully random contrasts, because CT is quantitative.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from .acquisition import acquire, blur, limit_scan
from .densities import paint
from .randomness import Randomness
from .region_map import AIR_HU, IGNORED, METAL_HU, RealScan, RegionMap


@dataclass(frozen=True)
class SynthesisSettings:
    """Ranges of the simulation. Lengths in mm, angles in degrees, densities in HU.

    ``structure_share`` of the slabs are centred on a slice of a structure drawn at random, so that
    small structures are seen as often as large ones; the others lie anywhere. Planes of fat between
    touching muscles belong to no muscle: they are ignored by the loss. A rim of fat around muscles
    and bones lies towards what is invented beside them in ``fat_rim_probability`` of the images; up
    to ``most_vessels`` vessels, nerves or nodes run beside the muscles.
    """

    shape: tuple[int, int, int] = (8, 144, 192)
    spacing: tuple[float, float, float] = (3.0, 2.0, 2.0)
    rotation: tuple[float, float, float] = (15.0, 15.0, 15.0)
    scale: tuple[float, float] = (0.8, 1.25)
    displacement: float = 12.0
    metal_probability: float = 0.2
    contrast_probability: float = 0.5
    truncation_probability: float = 0.12
    scan_end_probability: float = 0.12
    table_probability: float = 0.6
    arm_probability: float = 0.1
    thickness: tuple[float, float] = (1.0, 6.0)
    noise: tuple[float, float] = (3.0, 25.0)
    structure_share: float = 0.5
    fat_rim_probability: float = 0.85
    most_vessels: int = 8


@dataclass
class Simulated:
    """A simulated CT: ``image`` float32 (z, y, x) in HU and ``target`` uint8 on the same grid."""

    image: torch.Tensor
    target: torch.Tensor
    metal: bool = False
    regions: torch.Tensor | None = field(default=None, repr=False)


def simulate(
    anatomy: RegionMap,
    settings: SynthesisSettings,
    seed: tuple[int, ...],
    centre: tuple[float, float, float] | None = None,
) -> Simulated:
    """Paint one simulated CT slab of ``anatomy``.

    Args:
        anatomy: what to paint.
        settings: ranges of the simulation and the grid of the result.
        seed: the same numbers give the same image.
        centre: point of the anatomy in mm (z, y, x) at the middle of the result; random along z
            or in a random structure, and near the middle of the body in plane when None.

    Returns:
        The image in HU, clipped to [-1024, 3071], and its labels.
    """
    random = Randomness(*seed)
    if centre is None and settings.structure_share and random.chance(settings.structure_share):
        centre = _within_a_structure(anatomy, random)
    regions = _deform(anatomy, settings, random, centre)
    tissue = torch.from_numpy(anatomy.tissue)[regions.long()]
    image, metal, planes = paint(regions, tissue, anatomy, settings, random)
    image = acquire(image, settings, random)
    target = torch.from_numpy(anatomy.target)[regions.long()]
    target[planes] = IGNORED
    image, target = limit_scan(image, target, settings, random)
    return Simulated(image.clamp_(AIR_HU, METAL_HU), target, metal is not None, regions)


def redraw(scan: RealScan, settings: SynthesisSettings, seed: tuple[int, ...]) -> Simulated:
    """A slab of a real CT in another pose, size and quality.

    Args:
        scan: what to show.
        settings: ranges of pose and deformation, and the grid of the result.
        seed: the same numbers give the same image.

    Returns:
        The image in HU, clipped to [-1024, 3071], and its labels.
    """
    random = Randomness(*seed)
    z, y, x = _positions(scan.size_mm, settings, random, None)
    extent = scan.hounsfield.shape
    index = [position / step for position, step in zip((z, y, x), scan.spacing, strict=True)]
    grid = torch.stack([2 * i / (n - 1) - 1 for i, n in
                        zip(reversed(index), reversed(extent), strict=True)], -1)
    # zeros beyond the scan are air, once everything is counted from air
    above_air = torch.from_numpy(scan.hounsfield).float().sub_(AIR_HU)[None, None]
    image = F.grid_sample(above_air, grid[None], align_corners=True)[0, 0] + AIR_HU
    plane = index[0].round().long().clamp_(0, extent[0] - 1)
    target = torch.from_numpy(scan.target)[plane]
    through = settings.thickness[1] * random.uniform(0, 1) / np.sqrt(12.0) / settings.spacing[0]
    in_plane = random.uniform(0.0, 1.6) / settings.spacing[1]
    image = blur(image, (through, in_plane, in_plane))
    image = image + random.normal(*image.shape) * random.uniform(0, settings.noise[1] / 2)
    image, target = limit_scan(image, target, settings, random)
    return Simulated(image.clamp_(AIR_HU, METAL_HU), target)


def _rotation(degrees: np.ndarray) -> np.ndarray:
    cz, cy, cx = np.cos(np.radians(degrees))
    sz, sy, sx = np.sin(np.radians(degrees))
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


MIDDLE = ((0.42, 0.58), (0.44, 0.56))  # where slabs are centred along y and x, as share of the size


def _within_a_structure(anatomy, random) -> tuple[float, float, float] | None:
    """Point in a slice of a random structure, near the middle of the body; None without any."""
    if not anatomy.slices_of:
        return None
    slices = anatomy.slices_of[int(random.numpy.integers(len(anatomy.slices_of)))]
    z = (float(random.numpy.choice(slices)) + 0.5) * anatomy.spacing[0]
    y, x = (random.uniform(*share) * size
            for share, size in zip(MIDDLE, anatomy.size_mm[1:], strict=True))
    return z, y, x


def _positions(size, settings, random, centre) -> list[torch.Tensor]:
    """Points in mm (z, y, x) of a rotated, scaled, mirrored and elastically deformed grid."""
    shape, spacing = settings.shape, np.array(settings.spacing)
    if centre is None:
        middle = random.numpy.uniform(*zip((0.0, 1.0), *MIDDLE, strict=True))
        centre = tuple(middle * size)
    angles = random.numpy.uniform(-1, 1, 3) * settings.rotation
    scale = random.uniform(*settings.scale) * random.numpy.uniform(0.92, 1.08, 3)
    mirror = np.array([1.0, 1.0, random.numpy.choice([-1.0, 1.0])])
    matrix = _rotation(angles) * (1.0 / scale) * mirror

    axes = [
        torch.arange(n, dtype=torch.float32) * s - (n - 1) * s / 2
        for n, s in zip(shape, spacing.tolist(), strict=True)
    ]
    grid = torch.meshgrid(*axes, indexing="ij")
    cell_mm = random.uniform(30.0, 140.0)
    amplitude = settings.displacement * random.uniform(0.0, 1.0) * cell_mm / 80.0
    positions = []
    for row, middle in zip(matrix, centre, strict=True):
        point = grid[0] * row[0] + grid[1] * row[1] + grid[2] * row[2] + middle
        if amplitude > 0:
            point = point + amplitude * random.smooth(shape, tuple(cell_mm / spacing))
        positions.append(point)
    return positions


def _deform(anatomy, settings, random, centre) -> torch.Tensor:
    """Region codes on the settings' grid, the anatomy in a random pose and shape."""
    shape = settings.shape
    positions = _positions(anatomy.size_mm, settings, random, centre)
    z, y, x = ((position / step).round_().long()
               for position, step in zip(positions, anatomy.spacing, strict=True))
    depth, height, width = anatomy.regions.shape
    inside = (z >= 0) & (z < depth) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = (z * height + y) * width + x
    index[~inside] = 0
    regions = torch.from_numpy(anatomy.regions).reshape(-1)[index.reshape(-1)].reshape(shape)
    return torch.where(inside, regions, torch.zeros_like(regions))
