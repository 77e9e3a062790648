# SPDX-License-Identifier: Apache-2.0
"""What spoils CTs of heads: motion, hard rays, metal, rings, a helical scan, noise, a narrow field.

All work on the image, (z, y, x) in HU, as it was scanned. Streaks come from errors of projections
that are brought back as the scanner does it (filtered back-projection), those of hard rays by
their usual model: the error grows with the square of the bone that a ray passes (Joseph & Spital,
J Comput Assist Tomogr 1978). The others are drawn as they look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from .randomness import Randomness
from .region_map import AIR_HU

Artefact = Literal["beam hardening", "metal", "rings", "low dose", "helical", "motion",
                   "field of view"]
ARTEFACTS: tuple[Artefact, ...] = get_args(Artefact)

BONE_HU, SOFT_HU = 300.0, (-100.0, 150.0)
METAL_HU = 6000.0  # clipped at the end
STREAK_MM, ANGLES = 4.0, 40  # of the grid and of the half circle, for streaks
BROAD_MM = 25.0  # what hard rays change more broadly, scanners correct
LEADS = (4, 16)  # electrodes on the scalp
LEAD_MM, FILLING_MM = 2.5, 3.5
FILLING_DEPTH_MM = 14.0  # from the lowest slice


def add_artefacts(
    image: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float],
    shares: Mapping[Artefact, float], random: Randomness,
) -> tuple[np.ndarray, np.ndarray, tuple[Artefact, ...]]:
    """Spoil an image by each artefact as often as it occurs.

    Args:
        image: HU, (z, y, x).
        truth: findings of the same shape; what moves, moves in it, too.
        spacing: mm, (z, y, x).
        shares: how often each artefact occurs, 0 to 1.
        random: draws.

    Returns:
        Image and truth, and which artefacts were added.
    """
    added = []
    for name in ARTEFACTS:
        if not random.chance(shares.get(name, 0.0)):
            continue
        added.append(name)
        if name == "motion":
            image, truth = moved(image, truth, spacing, random)
        else:
            image = _ADD[name](image, spacing, random)
    return image.astype(np.float32), truth, tuple(added)


def harden(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """Dark and bright bands between thick bones, strongest between the petrous ones."""
    bone = np.clip(image - BONE_HU, 0, 1500) / 1000
    error = _streaks(-_projected(bone, spacing).square(), bone.shape, spacing)
    broad = [0.0, BROAD_MM / spacing[1], BROAD_MM / spacing[2]]
    error = error - ndimage.gaussian_filter(error, broad)
    soft = (image > SOFT_HU[0]) & (image < SOFT_HU[1])
    strongest = max((float(error[z][soft[z]].std()) for z in range(len(error)) if soft[z].any()),
                    default=1.0)
    return image + error * random.uniform(4, 14) / max(strongest, 1e-6)


def add_metal(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """Electrodes on the scalp, or fillings at the lowest slices, with streaks."""
    if random.chance(0.7):
        metal = _leads(image, spacing, random)
    else:
        metal = _fillings(image, spacing, random)
    passed = _projected(metal.astype(np.float32), spacing)
    # few rays come through: each is wrong by itself, and all are too dark beside the metal
    wrong = passed * (random.normal(*passed.shape) - 0.7)
    error = _streaks(wrong, image.shape, spacing)
    beside = ndimage.binary_dilation(metal, iterations=4) & ~metal
    size = float(np.abs(error[beside]).mean()) if beside.any() else 1.0
    spoiled = image + error * random.uniform(20, 80) / max(size, 1e-6)
    return np.where(metal, METAL_HU, spoiled)


def add_rings(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """Circles about the middle of the field, where elements of the detector differ."""
    _, y, x = _places(image.shape, spacing, (0, random.uniform(-15, 15), random.uniform(-15, 15)))
    radius = np.hypot(y, x)[0]
    ring = np.zeros_like(radius)
    for _ in range(random.numpy.integers(3, 12)):
        ring += random.uniform(-1, 1) * np.exp(
            -((radius - random.uniform(3, 90)) / random.uniform(0.6, 1.5)) ** 2)
    first, last = np.sort(random.numpy.integers(0, len(image) + 1, 2))
    spoiled = image.copy()
    strength = random.uniform(5, 18) / max(float(np.abs(ring).max()), 0.1)
    spoiled[first:max(last, first + 1)] += strength * ring
    return spoiled


def lower_dose(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """More noise, most of it where rays from side to side pass much bone."""
    bone = ((image > BONE_HU).sum(2) * spacing[2] / 30.0).clip(0, 3)[..., None]
    noise = random.normal(*image.shape).numpy()
    lying = ndimage.gaussian_filter1d(noise, 8 / spacing[2], axis=2)
    lying = lying / lying.std()
    return image + random.uniform(4, 10) * (noise + 0.2 * bone * lying)


def wind(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """Windmills of a helical scan: what changes from slice to slice, bright and dark in turn."""
    z, y, x = _places(image.shape, spacing, (0, 0, 0))
    turn = np.arctan2(y, x) * int(random.numpy.integers(1, 4))
    wave = np.sin(turn + 2 * np.pi * z / random.uniform(8, 25))
    slope = np.gradient(image.clip(-300, 1000), axis=0)
    return image + random.uniform(0.08, 0.25) * wave * slope


def moved(image: np.ndarray, truth: np.ndarray, spacing,
          random: Randomness) -> tuple[np.ndarray, np.ndarray]:
    """In a part of the slices the head lies elsewhere, or is seen at two places at once."""
    count = len(image)
    length = max(1, round(count * random.uniform(0.1, 0.4)))
    first = int(random.numpy.integers(0, count - length + 1))
    part = slice(first, first + length)
    shift = [random.uniform(2, 7) * (1 if random.chance(0.5) else -1) for _ in range(2)]
    grid = _grid(image.shape, spacing, random.uniform(-5, 5), shift, length)

    def elsewhere(values, mode):
        there = torch.from_numpy(values[part].astype(np.float32))[:, None]
        return F.grid_sample(there, grid, mode=mode, align_corners=False)[:, 0].numpy()

    image, truth = image.copy(), truth.copy()
    there = elsewhere(image - AIR_HU, "bilinear") + AIR_HU
    if random.chance(0.5):
        image[part] = random.uniform(0.35, 0.65) * (there - image[part]) + image[part]
    else:
        image[part] = there
        truth[part] = elsewhere(truth, "nearest").astype(truth.dtype)
    return image, truth


def narrow(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """A field of view that cuts off a side of the head."""
    head = np.argwhere(image[len(image) // 2] > -300) * spacing[1:]
    middle, radius = head.mean(0), np.ptp(head, axis=0).max() / 2
    side = random.uniform(0, 2 * np.pi)
    away = random.uniform(0.1, 0.25) * radius * np.array([np.sin(side), np.cos(side)])
    y = np.arange(image.shape[1])[:, None] * spacing[1] - middle[0] - away[0]
    x = np.arange(image.shape[2])[None] * spacing[2] - middle[1] - away[1]
    return np.where(np.hypot(y, x)[None] > radius, AIR_HU, image)


_ADD = {"beam hardening": harden, "metal": add_metal, "rings": add_rings, "low dose": lower_dose,
        "helical": wind, "field of view": narrow}


def _places(shape, spacing, middle) -> tuple[np.ndarray, ...]:
    """Distances of voxels from a middle along z, y and x, mm, which broadcast."""
    return tuple(np.reshape((np.arange(count) - (count - 1) / 2) * step - away,
                            [-1 if axis == number else 1 for number in range(3)])
                 for axis, (count, step, away) in enumerate(zip(
                     shape, spacing, middle, strict=True)))


def _grid(shape, spacing, degrees: float, shift, count: int) -> torch.Tensor:
    """Where the pixels of ``count`` slices come from when the head turned and moved, mm (y, x)."""
    height, width = (size * step for size, step in zip(shape[1:], spacing[1:], strict=True))
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = torch.tensor([[cos, -sin * height / width, 2 * shift[1] / width],
                           [sin * width / height, cos, 2 * shift[0] / height]],
                          dtype=torch.float32)
    return F.affine_grid(matrix.expand(count, 2, 3), [count, 1, *shape[1:]], align_corners=False)


def _leads(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """Balls of metal on the skin of the upper head."""
    z, y, x = np.meshgrid(*_places(image.shape, spacing, (0, 0, 0)), indexing="ij", sparse=True)
    metal = np.zeros(image.shape, bool)
    reach = np.arange(150.0, 20.0, -1.0)[:, None]
    for _ in range(random.numpy.integers(*LEADS)):
        direction = np.array([random.uniform(-0.1, 0.9), random.uniform(-1, 1),
                              random.uniform(-1, 1)])
        ray = reach * direction / np.linalg.norm(direction)
        index = np.round(ray / spacing + (np.array(image.shape) - 1) / 2).astype(int)
        inside = ((index >= 0) & (index < image.shape)).all(1)
        ray, index = ray[inside], index[inside]
        skin = np.flatnonzero(image[tuple(index.T)] > -300)
        if len(skin) and skin[0] > 1:
            at = ray[skin[0] - 2]
            metal |= (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < LEAD_MM**2
    return metal


def _fillings(image: np.ndarray, spacing, random: Randomness) -> np.ndarray:
    """Teeth with metal in the lowest slices, in front."""
    slices = max(1, round(FILLING_DEPTH_MM / spacing[0]))
    metal = np.zeros(image.shape, bool)
    head = np.argwhere(image[:slices].max(0) > -300)
    if not len(head):
        return metal
    front, middle = head[:, 0].min() * spacing[1], head[:, 1].mean() * spacing[2]
    z, y, x = (np.reshape(np.arange(count) * step, [-1 if axis == k else 1 for k in range(3)])
               for axis, (count, step) in enumerate(zip(image.shape, spacing, strict=True)))
    for _ in range(random.numpy.integers(1, 5)):
        at = (random.uniform(0, FILLING_DEPTH_MM), front + random.uniform(15, 45),
              middle + random.uniform(18, 26) * (1 if random.chance(0.5) else -1))
        metal |= (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < FILLING_MM**2
    return metal


def _projected(density: np.ndarray, spacing) -> torch.Tensor:
    """Line integrals of each slice, (z, angles, rays), of a density in units per mm times mm."""
    small = _coarse(torch.from_numpy(density.astype(np.float32)), spacing)
    return torch.stack([_turned(small, angle).sum(1) for angle in _angles()], 1) * STREAK_MM / 10


def _streaks(error: torch.Tensor, shape, spacing) -> np.ndarray:
    """Filtered back-projection of errors (z, angles, rays), on the voxels of the image."""
    rays = error.shape[-1]
    ramp = torch.fft.rfftfreq(2 * rays)
    filtered = torch.fft.irfft(torch.fft.rfft(error, 2 * rays) * ramp, 2 * rays)[..., :rays]
    image = torch.zeros(len(error), rays, rays)
    for number, angle in enumerate(_angles()):
        image += _turned(filtered[:, number, None].expand(-1, rays, -1), -angle)
    height, width = (max(1, round(count * step / STREAK_MM))
                     for count, step in zip(shape[1:], spacing[1:], strict=True))
    y, x = (rays - height) // 2, (rays - width) // 2
    fine = F.interpolate(image[:, None, y:y + height, x:x + width], tuple(shape[1:]),
                         mode="bilinear", align_corners=False)
    return fine[:, 0].numpy() * np.pi / ANGLES


def _coarse(image: torch.Tensor, spacing) -> torch.Tensor:
    """Slices on a square grid that holds them whichever way they are turned."""
    height, width = (max(1, round(count * step / STREAK_MM))
                     for count, step in zip(image.shape[1:], spacing[1:], strict=True))
    small = F.interpolate(image[:, None], (height, width), mode="area")[:, 0]
    side = int(np.ceil(np.hypot(height, width)))
    y, x = side - height, side - width
    return F.pad(small, (x // 2, x - x // 2, y // 2, y - y // 2))


def _angles() -> np.ndarray:
    return np.arange(ANGLES) * np.pi / ANGLES


def _turned(slices: torch.Tensor, angle: float) -> torch.Tensor:
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], dtype=torch.float32)
    # all slices are turned alike: they are channels of one image
    grid = F.affine_grid(matrix[None], [1, 1, *slices.shape[1:]], align_corners=False)
    return F.grid_sample(slices[None], grid, align_corners=False)[0]
