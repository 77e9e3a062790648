# SPDX-License-Identifier: Apache-2.0
"""Simulated bone lesions: put into a real CT, with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.geometry import image_like

from .follow_up import FollowUp

SOFT_TISSUE_HU = 45.0  # what replaces bone that is lost
EDGE_MM = 1.0  # over which a lesion fades into bone
TRIES = 60  # places looked at before a lesion is left out
LEAST_INSIDE = 0.5  # share of the ellipsoid that has to be bone

Kind = Literal["denser", "thinner", "mixed"]


@dataclass(frozen=True)
class Lesion:
    """A lesion as it was made.

    Attributes:
        number: its value in the truth, from 1.
        kind: "denser" (osteoblastic), "thinner" (osteolytic), or "mixed": thinner within, denser
            around.
        diameter_mm: of the sphere with the volume of its ellipsoid, before bone cuts it.
        hu_change: mean change where it is, HU.
    """

    number: int
    kind: Kind
    diameter_mm: float
    hu_change: float


@dataclass(frozen=True)
class Lesions:
    """A CT with lesions.

    Attributes:
        image: HU, float32.
        truth: number of the lesion in every voxel, 0 elsewhere; uint8, on the grid of ``image``.
        lesions: in the order of their numbers.
    """

    image: sitk.Image
    truth: sitk.Image
    lesions: tuple[Lesion, ...]


def insert_lesions(
    ct: sitk.Image, bone: sitk.Image, count: int, seed: int,
    diameters_mm: tuple[float, float] = (5.0, 20.0), changes_hu: tuple[float, float] = (100, 400),
    kinds: tuple[Kind, ...] = ("denser", "thinner", "mixed"), apart_mm: float = 10.0,
) -> Lesions:
    """Put lesions of random place, size, shape and contrast into bone.

    Each is an ellipsoid with an uneven surface, cut by the surface of the bone. A thinner lesion
    ends at the density of soft tissue, so it is put only where there is enough bone to lose.

    Args:
        ct: HU; axes may have any spacing.
        bone: mask on the same grid.
        count: lesions wanted; fewer where there is no room.
        seed: the same number gives the same lesions.
        diameters_mm, changes_hu: ranges, both drawn evenly.
        kinds: drawn evenly.
        apart_mm: least distance between two of them.
    """
    random = np.random.default_rng(seed)
    image = sitk.GetArrayFromImage(ct).astype(np.float32)
    spacing = np.array(ct.GetSpacing()[::-1])
    free = sitk.GetArrayFromImage(bone) > 0
    inside = free.copy()
    truth = np.zeros(image.shape, np.uint8)
    made: list[Lesion] = []
    for _ in range(count):
        kind = kinds[random.integers(len(kinds))]
        diameter, change = random.uniform(*diameters_mm), random.uniform(*changes_hu)
        for _ in range(TRIES):
            places = np.flatnonzero(free)
            if not len(places):
                break
            centre = np.array(np.unravel_index(random.choice(places), image.shape))
            box, depth, weight = _shape(centre, diameter, spacing, image.shape, random)
            if _has_room(image[box], inside[box], weight, truth[box], kind, change):
                before = image[box].copy()
                _change(image[box], inside[box], depth, weight, kind, change)
                changed = (weight > 0.5) & inside[box]
                truth[box][changed] = len(made) + 1
                differs = np.abs(image[box] - before)[changed].mean()
                made.append(Lesion(len(made) + 1, kind, float(diameter), float(differs)))
                free &= ~_around(centre, diameter / 2 + apart_mm, spacing, image.shape)
                break
    return Lesions(image_like(image, ct), image_like(truth, ct), tuple(made))


def in_follow_up(lesions: Lesions, follow_up: FollowUp) -> sitk.Image:
    """The truth where a follow-up, simulated from ``lesions.image``, shows the lesions."""
    return sitk.Resample(lesions.truth, follow_up.current, follow_up.transform(),
                         sitk.sitkNearestNeighbor, 0)


def _shape(centre, diameter, spacing, shape, random):
    """A box, the depth below the lesion's surface there in mm, and its weight from 0 to 1."""
    reach = np.ceil(0.9 * diameter / spacing + 2).astype(int)
    first, last = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    offsets = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(first, last, strict=True)],
                                   indexing="ij"), -1) - centre
    axes = random.uniform(0.75, 1.3, 3)
    axes /= np.prod(axes) ** (1 / 3)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    local = (offsets * spacing) @ turn / axes
    rough = ndimage.gaussian_filter(random.normal(size=local.shape[:3]),
                                    (diameter / 6 + 1) / spacing)
    radius = diameter / 2 * (1 + 0.12 * rough / max(rough.std(), 1e-6))
    depth = radius - np.linalg.norm(local, axis=-1)
    return box, depth, np.clip(0.5 + depth / (2 * EDGE_MM), 0, 1)


def _has_room(image, inside, weight, truth, kind, change) -> bool:
    core = weight > 0.5
    if not core.any() or (core & inside).sum() < LEAST_INSIDE * core.sum() or truth[core].any():
        return False
    # a mixed lesion is thinner only within, where marrow has little to lose
    needed = {"denser": 0.0, "thinner": change, "mixed": 0.0}[kind]
    return image[core & inside].mean() - SOFT_TISSUE_HU >= needed


def _change(image, inside, depth, weight, kind, change) -> None:
    """Change densities in place."""
    texture = weight * inside
    if kind == "mixed":
        rim = depth < 0.35 * depth.max()
        gain, loss = texture * rim, texture * ~rim
    else:
        gain, loss = (texture, 0 * texture) if kind == "denser" else (0 * texture, texture)
    # calcium is not added to fat without replacing it: very dense bone gains less
    image += gain * change * np.clip((1400 - image) / 1000, 0.2, 1)
    lost = np.minimum(loss * change, np.maximum(image - SOFT_TISSUE_HU, 0))
    image -= lost


def _around(centre, radius, spacing, shape) -> np.ndarray:
    axes = [((np.arange(n) - c) * s) ** 2
            for n, c, s in zip(shape, centre, spacing, strict=True)]
    return axes[0][:, None, None] + axes[1][:, None] + axes[2] < radius**2
