# SPDX-License-Identifier: Apache-2.0
"""Scans with a known segmentation, and the slabs that a network learns from.

A scan is read once, on the grid that the network sees it on. What a voxel is may be unknown (255):
such voxels teach nothing. A reference that names only some of the 22 structures says nothing of the
others, so what it leaves unlabelled is unknown too, except fat and air, which are none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.geometry import resample_like
from ReadingRoomLib.phantoms.acquisition import blur
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.phantoms.region_map import AIR_HU, IGNORED, METAL_HU

from .body import BODY_HU
from .contrasts import FAT_HU, Intensities, read_any, scaled
from .grids import upright
from .inference import Axis, WorkingGrid
from .label_names import NameTable
from .named_labels import target_on
from .recipes import Recipe, to_channels
from .repainting import repaint
from .seed_inference import body_crop
from .structures import STRUCTURES

Unnamed = Literal["unknown", "background"]
SLICES_APART_MM = 20.0  # of a network without context, so that a slab shows different places
TISSUES = 6  # clusters of what is none of the structures, for repainting
_SAMPLES = 200_000


@dataclass(frozen=True)
class LabelledScan:
    """A scan whose voxels are known, on the grid of a recipe.

    Attributes:
        hounsfield: int16 (z, y, x) in LPS axes, HU; of an image that is no CT, as
            :func:`.contrasts.scaled` gives it.
        target: uint8 on the same grid: value of :data:`.structures.STRUCTURES` with the sides
            together, 0 background, 255 unknown.
        spacing: of the voxels, mm, (z, y, x).
        patient: whose scan it is.
        named: values of the structures that its reference names.
    """

    hounsfield: np.ndarray
    target: np.ndarray
    spacing: tuple[float, float, float]
    patient: str
    named: frozenset[int] = frozenset()

    @cached_property
    def slices_of(self) -> dict[int, np.ndarray]:
        """The slices in which each structure occurs; only structures that occur."""
        occurs = np.stack([np.bincount(plane.ravel(), minlength=256) > 0 for plane in self.target])
        return {structure.value: np.flatnonzero(occurs[:, structure.value])
                for structure in STRUCTURES if occurs[:, structure.value].any()}

    @cached_property
    def tissue_edges(self) -> np.ndarray:
        """HU that part the tissue beside the structures into clusters of equal size."""
        hounsfield, target = self._sampled()
        tissue = hounsfield[((target == 0) | (target == IGNORED)) & (hounsfield > BODY_HU)]
        if not len(tissue):
            return np.linspace(-120.0, 300.0, TISSUES - 1)
        return np.quantile(tissue, np.linspace(0, 1, TISSUES + 1)[1:-1])

    @cached_property
    def cortex_hu(self) -> float:
        """HU above which the bones are compact; infinite without bones."""
        hounsfield, target = self._sampled()
        bones = hounsfield[np.isin(target, [s.value for s in STRUCTURES if s.group == "bone"])]
        return float(np.quantile(bones, 0.6)) if len(bones) else np.inf

    def _sampled(self) -> tuple[np.ndarray, np.ndarray]:
        step = max(1, self.target.size // _SAMPLES) | 1
        return self.hounsfield.reshape(-1)[::step], self.target.reshape(-1)[::step]


def read_scan(pair: Pair, recipe: Recipe, warn: Callable[[str], None],
              unnamed: Unnamed = "unknown", names: NameTable | None = None,
              intensities: Intensities = "ct") -> LabelledScan:
    """Read a scan with its segmentation on the grid of a recipe.

    Args:
        pair: the scan and the file of its segmentation.
        recipe: its grid; with ``spacing`` None the scan's own.
        warn: gets sentences about what was left out or should be looked at.
        unnamed: what voxels without a label are where the reference names only some of the
            structures: ``unknown`` (fat and air are still background), or ``background``.
        names: of labels that are not called as ours, see :mod:`.label_names`.
        intensities: ``random`` takes images of any modality, ``ct`` a CT.

    Raises:
        BadInput: the scan or its segmentation cannot be used, or the two do not fit.
    """
    source, is_ct = read_any(pair.image, intensities)
    for sentence in source.warnings:
        warn(sentence)
    labels, named = target_on(source, pair.companion, warn, names)
    volume, _ = upright(source, {"intensities": intensities})
    array = sitk.GetArrayViewFromImage(volume)
    if not is_ct:
        array = scaled(array)
    spacing = volume.GetSpacing()[::-1]
    aligned = resample_like(labels, volume)
    target = sitk.GetArrayViewFromImage(aligned)
    if recipe.spacing is None:
        box = (slice(None), *body_crop(array, spacing))
        hounsfield, known, step = array[box].copy(), target[box].copy(), spacing
    else:
        grid = WorkingGrid(array, spacing, recipe)
        hounsfield = grid.slab(0, grid.depth).round().numpy().astype(np.int16)
        known, step = target[np.ix_(*map(_nearest, grid.axes))], recipe.spacing
    if unnamed == "unknown" and len(named) < len(STRUCTURES):
        known[(known == 0) & (hounsfield > (FAT_HU if is_ct else BODY_HU))] = IGNORED
        warn(f"{pair.companion.name} names {len(named)} of {len(STRUCTURES)} structures: what it "
             "leaves unlabelled is not taught, except fat and air.")
    return LabelledScan(hounsfield, known, tuple(map(float, step)), pair.patient, named)


def _nearest(axis: Axis) -> np.ndarray:
    """Index of the CT voxel nearest to the centre of each working voxel."""
    centres = np.array([axis.in_ct(index) for index in range(axis.size)])
    return np.rint(centres).astype(int).clip(axis.first, axis.first + axis.count - 1)


@dataclass(frozen=True)
class Augmentation:
    """How slabs vary. Each pair is lowest and highest; lengths in mm, intensities in HU.

    Attributes:
        rotation: in plane, degrees either way.
        scale: of the body.
        stretch: of one axis in plane against the other.
        shift: in plane, either way, beyond where the slab is centred.
        mirrored: share of the slabs, left for right; the labels know no sides.
        offset, gain, gamma: of the intensities; the gain counts from air, the gamma is that of -200
            to 400 HU, whose ends stay.
        noise: standard deviation.
        thickness: of the slices through which the scan is seen; only between neighbours.
        softness: standard deviation of a blur in plane.
        structure_share: of the slabs that are centred on a structure drawn at random, so that small
            structures are seen as often as large ones.
    """

    rotation: float = 15.0
    scale: tuple[float, float] = (0.8, 1.25)
    stretch: tuple[float, float] = (0.92, 1.08)
    shift: float = 20.0
    mirrored: float = 0.5
    offset: tuple[float, float] = (-15.0, 15.0)
    gain: tuple[float, float] = (0.98, 1.02)
    gamma: tuple[float, float] = (0.85, 1.18)
    noise: tuple[float, float] = (0.0, 20.0)
    thickness: tuple[float, float] = (0.0, 6.0)
    softness: tuple[float, float] = (0.0, 1.5)
    structure_share: float = 0.5


GAMMA_HU = (-200.0, 400.0)


class LabelledSlabs(Dataset):
    """Slabs of labelled scans: item k is drawn from the seed and k alone.

    Args:
        scans: to draw from; every patient is drawn equally often.
        count: number of items.
        recipe: intensity windows and context of the network.
        seed: first number of every draw.
        shape: (z, y, x) of a slab, in voxels of the scans; its context included.
        augmentation: how the slabs vary.
        intensities: ``ct``, or ``random``: drawn anew for every slab, see :mod:`.repainting`.

    An item is a small batch: ``image`` (z - 2 * context, channels, y, x) float32 in [0, 1], and
    ``label`` (z - 2 * context, y, x) uint8, 255 where nothing is known.
    """

    def __init__(self, scans: Sequence[LabelledScan], count: int, recipe: Recipe, seed: int,
                 shape: tuple[int, int, int], augmentation: Augmentation | None = None,
                 intensities: Intensities = "ct") -> None:
        self.of_patient: dict[str, list[LabelledScan]] = {}
        for scan in scans:
            self.of_patient.setdefault(scan.patient, []).append(scan)
        self.patients = list(self.of_patient)
        self.count, self.recipe, self.seed, self.shape = count, recipe, seed, tuple(shape)
        self.augmentation = augmentation or Augmentation()
        self.intensities = intensities

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = Randomness(self.seed, index)
        scans = self.of_patient[_one_of(self.patients, random)]
        scan = _one_of(scans, random)
        image, target, step = self._cut(scan, random)
        if self.intensities == "random":
            image = torch.from_numpy(repaint(image.numpy(), target.numpy(), scan.tissue_edges,
                                             scan.cortex_hu, random)).float()
        else:
            image = _acquired(image, scan.spacing, step, self.augmentation, random)
        context = self.recipe.context
        return {"image": to_channels(image, self.recipe),
                "label": target[context : len(target) - context]}

    def _cut(self, scan: LabelledScan, random: Randomness
             ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """HU and labels of a slab in a random pose, and how many slices its slices lie apart."""
        depth, *plane = self.shape
        step = 1 if self.recipe.context else max(1, round(SLICES_APART_MM / scan.spacing[0]))
        z, y, x = _centre(scan, self.augmentation.structure_share, random)
        slices = z + step * (np.arange(depth) - depth // 2)
        there = (slices >= 0) & (slices < len(scan.target))
        inside = slices.clip(0, len(scan.target) - 1)
        grid = _pose((y, x), plane, scan, self.augmentation, random)

        def seen(volume: np.ndarray, mode: str) -> torch.Tensor:
            stack = torch.from_numpy(volume[inside].astype(np.float32))[None]
            # zeros beyond the scan's border are air, once HU are counted from air
            above = AIR_HU if volume is scan.hounsfield else 0.0
            return F.grid_sample(stack - above, grid, mode=mode, align_corners=True)[0] + above

        image, target = seen(scan.hounsfield, "bilinear"), seen(scan.target, "nearest")
        beyond = ~torch.from_numpy(there)
        image[beyond], target[beyond] = AIR_HU, IGNORED
        return image, target.to(torch.uint8), step


def _one_of(things: Sequence, random: Randomness):
    return things[int(random.numpy.integers(len(things)))]


def _centre(scan: LabelledScan, structure_share: float, random: Randomness
            ) -> tuple[int, float, float]:
    """Voxel that a slab is centred on: of a structure drawn at random, or anywhere."""
    if scan.slices_of and random.chance(structure_share):
        value = _one_of(list(scan.slices_of), random)
        z = int(_one_of(scan.slices_of[value], random))
        y, x = _one_of(np.argwhere(scan.target[z] == value), random)
        return z, float(y), float(x)
    z, y, x = (random.uniform(0, size - 1) for size in scan.target.shape)
    return round(z), y, x


def _pose(centre: tuple[float, float], plane: Sequence[int], scan: LabelledScan,
          augmentation: Augmentation, random: Randomness) -> torch.Tensor:
    """Where a slab's pixels lie in a slice, (1, y, x, 2) as `grid_sample` wants it: x, y."""
    angle = np.radians(random.uniform(-1, 1) * augmentation.rotation)
    stretch = random.uniform(*augmentation.stretch)
    scale = 1 / random.uniform(*augmentation.scale)
    mirror = -1.0 if random.chance(augmentation.mirrored) else 1.0
    pixel, size = np.array(scan.spacing[1:]), np.array(scan.target.shape[1:])
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * turned @ np.diag([stretch, mirror / stretch])
    # a slab shows the body as far as it can, and not the air beside the scan
    reach = np.minimum(np.array(plane) * scale / 2, (size - 1) / 2)
    middle = np.clip(centre, reach, size - 1 - reach) + random.numpy.uniform(
        -1, 1, 2) * augmentation.shift / pixel
    y, x = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in plane)
    # pixels are turned in mm, where a scan's rows and columns may lie unequally apart
    rows, columns = (
        y[:, None] * float(matrix[axis, 0] * pixel[0] / pixel[axis])
        + x[None] * float(matrix[axis, 1] * pixel[1] / pixel[axis]) + float(middle[axis])
        for axis in (0, 1))
    return torch.stack([2 * columns / max(size[1] - 1, 1) - 1,
                        2 * rows / max(size[0] - 1, 1) - 1], -1)[None]


def _acquired(image: torch.Tensor, spacing: tuple[float, float, float], step: int,
              augmentation: Augmentation, random: Randomness) -> torch.Tensor:
    """Another scanner, kernel and slice thickness; (z, y, x) in HU."""
    low, high = GAMMA_HU
    share = ((image - low) / (high - low)).clamp(0, 1)
    image = image + (share.pow(random.uniform(*augmentation.gamma)) - share) * (high - low)
    # air stays what it is
    image = AIR_HU + (image - AIR_HU) * random.uniform(*augmentation.gain)
    image = image + random.uniform(*augmentation.offset) * (image > low)
    # a slice of thickness t averages over t: a Gaussian with the box's standard deviation
    through = random.uniform(*augmentation.thickness) / np.sqrt(12.0) / spacing[0]
    softness = random.uniform(*augmentation.softness) / spacing[1]
    image = blur(image, (through if step == 1 else 0.0, softness, softness))
    image = image + random.normal(*image.shape) * random.uniform(*augmentation.noise)
    return image.clamp_(AIR_HU, METAL_HU)
