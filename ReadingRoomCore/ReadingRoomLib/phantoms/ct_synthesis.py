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
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

AIR_HU = -1024.0
METAL_HU = 3071.0
IGNORED = 255  # target value of voxels whose truth is unknown


class Tissue(IntEnum):
    """What a region of the map is made of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    INTERMUSCULAR = 5  # fat with vessels, nerves and small muscles between the named muscles
    CAVITY = 6  # abdomen and pelvis: bowel, bladder, vessels and fat, invented anew every time
    ORGAN = 7  # parenchyma and other soft tissue
    FLUID = 8
    VESSEL = 9
    BOWEL = 10
    LUNG = 11
    CARTILAGE = 12


@dataclass(frozen=True)
class RegionMap:
    """Anatomy to paint: a map of region codes and what each code means.

    Attributes:
        regions: uint8 array (z, y, x) in LPS axes (x to the left, y to the back, z to the head);
            0 is air.
        spacing: voxel size in mm, in array order (z, y, x).
        tissue: uint8 array of 256: region code to :class:`Tissue`.
        target: uint8 array of 256: region code to training label; 255 is ignored by the loss.
        implants: codes of the bones that may carry a prosthesis or a nail.
    """

    regions: np.ndarray
    spacing: tuple[float, float, float]
    tissue: np.ndarray
    target: np.ndarray
    implants: tuple[int, ...] = ()

    @property
    def size_mm(self) -> np.ndarray:
        return np.array(self.regions.shape) * np.array(self.spacing)

    @cached_property
    def slices_of(self) -> list[np.ndarray]:
        """For every training label but 0 and 255 that occurs: the slices it occurs in."""
        occurs = np.zeros((len(self.regions), 256), bool)
        for row, plane in zip(occurs, self.regions, strict=True):
            row[self.target[np.bincount(plane.ravel(), minlength=256) > 0]] = True
        return [np.flatnonzero(column) for column in occurs.T[1:IGNORED] if column.any()]


@dataclass(frozen=True)
class RealScan:
    """A real CT with one training label for each of its slices, to be seen between painted ones.

    Attributes:
        hounsfield: int16 array (z, y, x) in LPS axes, HU.
        spacing: voxel size in mm, in array order (z, y, x).
        target: uint8 array (z,): label of every voxel of a slice; 255 is ignored by the loss.
    """

    hounsfield: np.ndarray
    spacing: tuple[float, float, float]
    target: np.ndarray

    @property
    def size_mm(self) -> np.ndarray:
        return np.array(self.hounsfield.shape) * np.array(self.spacing)


@dataclass(frozen=True)
class SynthesisSettings:
    """Ranges of the simulation. Lengths in mm, angles in degrees, densities in HU.

    ``structure_share`` of the slabs are centred on a slice of a structure drawn at random, so that
    small structures are seen as often as large ones; the others lie anywhere. Planes of fat between
    touching muscles belong to no muscle: they are ignored by the loss unless ``planes_taught``,
    which gives them to the muscle whose label they carry.
    """

    shape: tuple[int, int, int] = (8, 144, 192)
    spacing: tuple[float, float, float] = (3.0, 2.0, 2.0)
    rotation: tuple[float, float, float] = (15.0, 15.0, 15.0)
    scale: tuple[float, float] = (0.78, 1.25)
    displacement: float = 9.0
    metal_probability: float = 0.15
    contrast_probability: float = 0.5
    truncation_probability: float = 0.12
    scan_end_probability: float = 0.12
    table_probability: float = 0.6
    arm_probability: float = 0.1
    thickness: tuple[float, float] = (1.0, 6.0)
    noise: tuple[float, float] = (3.0, 35.0)
    structure_share: float = 0.5
    planes_taught: bool = False


@dataclass
class Simulated:
    """A simulated CT: ``image`` float32 (z, y, x) in HU and ``target`` uint8 on the same grid."""

    image: torch.Tensor
    target: torch.Tensor
    metal: bool = False
    regions: torch.Tensor | None = field(default=None, repr=False)


class Randomness:
    """Seeded draws; one object per image, so that image number k is the same in every run."""

    def __init__(self, *seed: int) -> None:
        self.numpy = np.random.default_rng(list(seed))
        self.torch = torch.Generator().manual_seed(int(self.numpy.integers(2**62)))

    def uniform(self, low: float, high: float) -> float:
        return float(self.numpy.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.numpy.random() < probability)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.torch)

    def smooth(self, shape: tuple[int, ...], cell: tuple[float, ...]) -> torch.Tensor:
        """Smooth unit-variance noise of ``shape`` whose blobs are about ``cell`` voxels wide."""
        coarse = [max(2, round(n / c) + 2) for n, c in zip(shape, cell, strict=True)]
        field_ = F.interpolate(
            self.normal(1, 1, *coarse), size=list(shape), mode="trilinear", align_corners=True
        )[0, 0]
        return field_ / field_.std().clamp_min(1e-3)


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
    image, metal, planes = _paint(regions, tissue, anatomy, settings, random)
    image = _acquire(image, metal, settings, random)
    target = torch.from_numpy(anatomy.target)[regions.long()]
    if not settings.planes_taught:
        target[planes] = IGNORED
    image, target = _limit_scan(image, target, settings, random)
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
    in_plane = random.uniform(0.0, 0.8)
    image = _blur(image, (through, in_plane, in_plane))
    image = image + random.normal(*image.shape) * random.uniform(0, settings.noise[1] / 2)
    image, target = _limit_scan(image, target, settings, random)
    return Simulated(image.clamp_(AIR_HU, METAL_HU), target)


# --- shape ---------------------------------------------------------------------------------------


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


# --- densities -----------------------------------------------------------------------------------


def _cells(shape, random, kinds: list[tuple[float, float, float]], cell: float) -> torch.Tensor:
    """Invented soft structures: overlapping blobs, each with one density.

    ``kinds`` are (probability, lowest HU, highest HU).
    """
    probability = np.array([kind[0] for kind in kinds])
    strongest = torch.full(shape, -torch.inf)
    image = torch.zeros(shape)
    for chosen in random.numpy.choice(len(kinds), 7, p=probability / probability.sum()):
        field_ = random.smooth(shape, (cell * 0.7, cell, cell))
        density = random.uniform(kinds[chosen][1], kinds[chosen][2])
        image[field_ > strongest] = density
        torch.maximum(strongest, field_, out=strongest)
    return image


_CAVITY_KINDS = [(0.40, -120, -80), (0.34, 15, 70), (0.10, -5, 20), (0.08, -950, -400),
                 (0.05, 80, 350)]
_INTERMUSCULAR_KINDS = [(0.62, -120, -75), (0.26, 10, 75), (0.12, 20, 250)]


def _paint(regions, tissue, anatomy, settings, random):
    """Give every voxel a density.

    Returns the image, the mask of metal or None, and the mask of fat planes between muscles.
    """
    shape = tuple(regions.shape)
    fat = random.uniform(-125, -85)
    muscle = random.uniform(30, 72)
    contrast = random.chance(settings.contrast_probability)

    mean = torch.full((256,), muscle)
    # neighbouring muscles mostly share one density: their border shows as a fat plane or not at all
    muscle_spread = 12 * random.uniform(0, 1) ** 2
    for code in range(256):
        kind = anatomy.tissue[code]
        if kind == Tissue.AIR:
            mean[code] = AIR_HU + 24
        elif kind == Tissue.SKIN:
            mean[code] = random.uniform(-20, 60)
        elif kind == Tissue.FAT:
            mean[code] = fat
        elif kind == Tissue.MUSCLE:
            mean[code] = muscle + random.uniform(-1, 1) * muscle_spread
        elif kind == Tissue.ORGAN:
            mean[code] = random.uniform(20, 75) + (random.uniform(0, 110) if contrast else 0)
        elif kind == Tissue.FLUID:
            mean[code] = random.uniform(-8, 25) + (random.uniform(0, 300)
                                                   if contrast and random.chance(0.3) else 0)
        elif kind == Tissue.VESSEL:
            mean[code] = random.uniform(25, 60) + (random.uniform(0, 300) if contrast else 0)
        elif kind == Tissue.BOWEL:
            mean[code] = random.uniform(-60, 70)
        elif kind == Tissue.LUNG:
            mean[code] = random.uniform(-900, -700)
        elif kind == Tissue.CARTILAGE:
            mean[code] = random.uniform(40, 250)
    image = mean[regions.long()]

    texture = random.smooth(shape, (1.5, 2.2, 2.2))
    slow = random.smooth(shape, (8, 18, 18))
    image += texture * random.uniform(2, 10) * (tissue != Tissue.AIR)
    soft = (tissue == Tissue.MUSCLE) | (tissue == Tissue.ORGAN) | (tissue == Tissue.INTERMUSCULAR)
    image += slow * random.uniform(0, 7) * soft

    _infiltrate(image, regions, tissue, texture, slow, fat, random)
    planes = _separate(image, regions, tissue, slow, fat, random)
    for kind, kinds, cell in (
        (Tissue.CAVITY, _CAVITY_KINDS, random.uniform(7, 18)),
        (Tissue.BOWEL, _CAVITY_KINDS, random.uniform(5, 10)),
        (Tissue.INTERMUSCULAR, _INTERMUSCULAR_KINDS, random.uniform(3.5, 9)),
    ):
        mask = tissue == kind
        if mask.any():
            image[mask] = (_cells(shape, random, kinds, cell) + texture * 6)[mask]
    _fill_bladder(image, tissue, settings, random)
    _paint_bone(image, regions, tissue, texture, slow, random)
    _surround(image, tissue, settings, random)
    metal = None
    if anatomy.implants and random.chance(settings.metal_probability):
        metal = _implant(image, regions, anatomy, settings, random)
    return image, metal, planes


def _infiltrate(image, regions, tissue, texture, slow, fat, random) -> None:
    """Replace part of each muscle by fat: streaks, worse in some patients and some muscles."""
    severity = random.uniform(0, 1) ** 2
    per_region = torch.from_numpy(random.numpy.beta(1.2, 4, 256).astype(np.float32))
    fraction = (per_region * severity * 1.1)[regions.long()]
    # the texture is unit-variance noise: above this threshold lies about that fraction of it
    threshold = 2.2 - 3.0 * fraction
    amount = torch.sigmoid((texture + 0.5 * slow - threshold) * 4.0)
    amount = amount * (tissue == Tissue.MUSCLE)
    image += amount * (fat - image)


VISIBLE_PLANE = 0.35  # share of fat from which a plane is seen as one


def _separate(image, regions, tissue, slow, fat, random) -> torch.Tensor:
    """Thin planes of fat between touching muscles, present here and absent there; their mask."""
    strength = random.uniform(0, 0.9)
    border = torch.zeros_like(regions, dtype=torch.bool)
    border[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    border[:, :, 1:] |= regions[:, :, 1:] != regions[:, :, :-1]
    border &= tissue == Tissue.MUSCLE
    presence = torch.sigmoid(2.0 * slow + random.uniform(-2, 2)) * strength * border
    image += presence * (fat - image)
    return presence > VISIBLE_PLANE


def _fill_bladder(image, tissue, settings, random) -> None:
    """A large ellipsoid of one density in the cavity: bladder, uterus, fluid-filled bowel."""
    if not random.chance(0.45):
        return
    cavity = (tissue == Tissue.CAVITY).nonzero()
    if not len(cavity):
        return
    middle = cavity[int(random.numpy.integers(len(cavity)))].tolist()
    total = torch.zeros(1, 1, 1)
    for axis, (position, step) in enumerate(zip(middle, settings.spacing, strict=True)):
        shape = [1, 1, 1]
        shape[axis] = -1
        offset = (torch.arange(image.shape[axis]) - position) * step / random.uniform(15, 50)
        total = total + offset.square().reshape(shape)
    image[(total < 1) & (tissue == Tissue.CAVITY)] = random.uniform(-5, 65)


def _shell(mask: torch.Tensor, width: float) -> torch.Tensor:
    """Weight in [0, 1] of the outer layer of ``mask``, about ``width`` voxels thick in plane."""
    outside = (~mask).float()[None, None]
    total = torch.zeros_like(outside)
    reach = outside
    whole, rest = int(width), width - int(width)
    for step in range(whole + 1):
        reach = F.max_pool3d(reach, (1, 3, 3), 1, (0, 1, 1))
        weight = 1.0 if step < whole else rest
        total = torch.maximum(total, reach * weight)
    return total[0, 0] * mask


def _paint_bone(image, regions, tissue, texture, slow, random) -> None:
    bone = tissue == Tissue.BONE
    if not bone.any():
        return
    cortex = random.uniform(350, 1300)
    marrow = torch.from_numpy(random.numpy.uniform(-60, 330, 256).astype(np.float32))
    inner = marrow[regions.long()] + texture * random.uniform(10, 60)
    inner += slow * random.uniform(10, 120)
    # bones are seen through their edge towards other bones too, so the shell is drawn per region
    shell = torch.zeros_like(image)
    for code in torch.unique(regions[bone]).tolist():
        width = random.uniform(0.5, 2.2)
        mask = regions == code
        shell = torch.maximum(shell, _shell(mask, width) * random.uniform(0.55, 1.0))
    value = inner + shell * (cortex - inner)
    image[bone] = value[bone]


def _surround(image, tissue, settings, random) -> None:
    """Table, clothing and arms, which lie outside the body."""
    depth, height, width = image.shape
    outside = tissue == Tissue.AIR
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None]
    if random.chance(settings.table_probability):
        side = 1.0 if random.chance(0.75) else -1.0  # prone patients have the table in front
        edge = height * (0.5 + side * random.uniform(0.3, 0.5))
        curve = random.uniform(-0.004, 0.004)
        line = edge + curve * (x - width / 2) ** 2
        board = ((y - line).abs() < random.uniform(0.6, 2.5)).expand(depth, -1, -1)
        image[board & outside] = random.uniform(-850, 100)
    if random.chance(settings.arm_probability):
        for side in (-1.0, 1.0):
            middle_x = width * (0.5 + side * random.uniform(0.4, 0.5))
            middle_y = height * random.uniform(0.3, 0.7)
            distance = torch.sqrt((x - middle_x) ** 2 + ((y - middle_y) * 1.1) ** 2)
            radius = random.uniform(12, 22)
            for limit, density in ((1.0, -100.0), (0.8, random.uniform(30, 60)), (0.28, 600.0)):
                disc = (distance < radius * limit).expand(depth, -1, -1)
                image[disc & outside] = density


def _implant(image, regions, anatomy, settings, random) -> torch.Tensor | None:
    """A hip prosthesis or nail where the femur is, with streaks in every slice that holds it."""
    code = int(random.numpy.choice(anatomy.implants))
    bone = (regions == code).nonzero()
    if not len(bone):
        return None
    seed_voxel = bone[int(random.numpy.integers(len(bone)))].float()
    spacing = torch.tensor(settings.spacing)
    axes = [torch.arange(n, dtype=torch.float32) for n in image.shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    offset = (grid - seed_voxel) * spacing
    radius = random.uniform(4, 24)
    ball = offset.square().sum(-1) < radius**2
    stem_width = random.uniform(3, 9)
    lean = torch.tensor([random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3)])
    stem = ((offset[..., 1:] - offset[..., :1] * lean).square().sum(-1) < stem_width**2) & (
        offset[..., 0] < 0
    )
    metal = ball | (stem if random.chance(0.6) else torch.zeros_like(ball))
    strength = random.uniform(40, 350)
    angle = torch.atan2(offset[..., 1], offset[..., 2])
    distance = offset[..., 1:].square().sum(-1).sqrt().clamp_min(2.0)
    rays = random.smooth((image.shape[0], 3, 180), (1.5, 3, 2.0))[:, 1]
    position = ((angle + torch.pi) / (2 * torch.pi) * 179).round().long()
    streak = torch.gather(rays, 1, position.reshape(len(rays), -1)).reshape(position.shape)
    present = metal.flatten(1).any(1)[:, None, None]
    image += present * streak * strength * (radius / distance).clamp_max(1.2) * 0.8
    image[metal] = METAL_HU
    return metal


# --- acquisition ---------------------------------------------------------------------------------


def _blur(image: torch.Tensor, sigma: tuple[float, float, float]) -> torch.Tensor:
    """Separable Gaussian blur, sigma in voxels."""
    volume = image[None, None]
    for axis, width in enumerate(sigma):
        if width < 0.15:
            continue
        reach = max(1, int(np.ceil(2.5 * width)))
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        kernel = kernel / kernel.sum()
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        padding = [0, 0, 0, 0, 0, 0]
        padding[4 - 2 * axis] = padding[5 - 2 * axis] = reach
        volume = F.conv3d(F.pad(volume, padding, mode="replicate"), kernel.reshape(shape))
    return volume[0, 0]


def _acquire(image, metal, settings, random) -> torch.Tensor:
    """Partial volume, slice thickness, reconstruction kernel and noise."""
    # a slice of thickness t averages over t: a Gaussian with the box's standard deviation
    thickness = random.uniform(*settings.thickness)
    through = thickness / np.sqrt(12.0) / settings.spacing[0]
    in_plane = random.uniform(0.25, 1.1)
    image = _blur(image, (through, in_plane, in_plane))
    if random.chance(0.25):  # sharp kernels overshoot at edges
        image = image + random.uniform(0.2, 0.9) * (image - _blur(image, (0.0, 1.0, 1.0)))
    noise = random.normal(*image.shape)
    grain = random.uniform(0.0, 1.0)
    noise = _blur(noise, (0.0, grain, grain))
    sigma = settings.noise[0] * (settings.noise[1] / settings.noise[0]) ** random.uniform(0, 1)
    image = image + noise / noise.std() * sigma
    return image + random.uniform(-8, 8)


def _limit_scan(image, target, settings, random):
    """Sometimes the field of view is smaller than the body, or the scan ends within the slab."""
    if random.chance(settings.truncation_probability):
        image, target = _truncate(image, target, random)
    if random.chance(settings.scan_end_probability):
        slices = int(random.numpy.integers(1, max(2, len(image) // 2 + 1)))
        beyond = slice(None, slices) if random.chance(0.5) else slice(-slices, None)
        image[beyond] = AIR_HU
        target[beyond] = IGNORED
    return image, target


def _truncate(image, target, random):
    """A field of view smaller than the body: nothing is known outside the circle."""
    depth, height, width = image.shape
    y = torch.arange(height, dtype=torch.float32)[:, None] - height * random.uniform(0.4, 0.6)
    x = torch.arange(width, dtype=torch.float32)[None] - width * random.uniform(0.4, 0.6)
    radius = random.uniform(0.35, 0.55) * width
    outside = (y.square() + x.square() > radius**2).expand(depth, -1, -1)
    image = torch.where(outside, torch.full_like(image, AIR_HU), image)
    target = torch.where(outside, torch.zeros_like(target), target)
    return image, target
