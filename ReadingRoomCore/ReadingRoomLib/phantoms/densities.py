# SPDX-License-Identifier: Apache-2.0
"""Hounsfield units for a map of regions: tissues, fat, bone, contrast agent, metal, table."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .region_map import AIR_HU, METAL_HU, Tissue


def _cells(shape, spacing, random, kinds: list[tuple[float, float, float]],
           cell: float) -> torch.Tensor:
    """Invented soft structures: overlapping blobs about ``cell`` mm wide, each with one density.

    ``kinds`` are (probability, lowest HU, highest HU).
    """
    probability = np.array([kind[0] for kind in kinds])
    strongest = torch.full(shape, -torch.inf)
    image = torch.zeros(shape)
    for chosen in random.numpy.choice(len(kinds), 7, p=probability / probability.sum()):
        field_ = random.smooth(shape, (cell, cell, cell), spacing)
        density = random.uniform(kinds[chosen][1], kinds[chosen][2])
        image[field_ > strongest] = density
        torch.maximum(strongest, field_, out=strongest)
    return image


_CAVITY_KINDS = [(0.40, -120, -80), (0.34, 15, 70), (0.10, -5, 20), (0.08, -950, -400),
                 (0.05, 80, 350)]
_INTERMUSCULAR_KINDS = [(0.62, -120, -75), (0.26, 10, 75), (0.12, 20, 250)]


def paint(regions, tissue, anatomy, settings, random):
    """Give every voxel a density.

    Args:
        regions: region codes, (z, y, x) uint8.
        tissue: :class:`Tissue` of every voxel, of the same shape.
        anatomy: the map that the regions are of.
        settings: :class:`~ReadingRoomLib.phantoms.ct_synthesis.SynthesisSettings`.
        random: :class:`~ReadingRoomLib.phantoms.randomness.Randomness` of this image.

    Returns:
        The image in HU (float32), the mask of metal or None, the mask of fat planes between
        muscles.
    """
    shape = tuple(regions.shape)
    fat = random.uniform(-125, -85)
    muscle = random.uniform(30, 72)
    contrast = random.chance(settings.contrast_probability)

    mean = torch.full((256,), muscle)
    # neighbouring muscles mostly share one density: their border shows as a fat plane or not at all
    muscle_spread = 12 * random.uniform(0, 1) ** 2
    for code in torch.unique(regions).tolist():
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
            # an arthritic joint is as dense as the bones beside it
            mean[code] = random.uniform(200, 500) if random.chance(0.3) else random.uniform(40, 250)
    image = mean[regions.long()]

    texture = random.smooth(shape, (4.5, 4.4, 4.4), settings.spacing)
    slow = random.smooth(shape, (24, 36, 36), settings.spacing)
    image += texture * random.uniform(2, 10) * (tissue != Tissue.AIR)
    soft = (tissue == Tissue.MUSCLE) | (tissue == Tissue.ORGAN) | (tissue == Tissue.INTERMUSCULAR)
    image += slow * random.uniform(0, 7) * soft

    _infiltrate(image, regions, tissue, texture, slow, fat, random)
    planes = _separate(image, regions, tissue, slow, fat, random)
    for kind, kinds, cell in (
        (Tissue.CAVITY, _CAVITY_KINDS, random.uniform(14, 36)),
        (Tissue.BOWEL, _CAVITY_KINDS, random.uniform(10, 20)),
        (Tissue.INTERMUSCULAR, _INTERMUSCULAR_KINDS, random.uniform(7, 18)),
    ):
        mask = tissue == kind
        if mask.any():
            image[mask] = (_cells(shape, settings.spacing, random, kinds, cell) + texture * 6)[mask]
    _fill_bladder(image, tissue, settings, random)
    if settings.fat_rim_probability and random.chance(settings.fat_rim_probability):
        _embed(image, tissue, texture, slow, fat, settings, random)
    _add_vessels(image, tissue, fat, contrast, settings, random)
    _paint_bone(image, regions, tissue, texture, slow, settings, random)
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


def _embed(image, tissue, texture, slow, fat, settings, random) -> None:
    """A rim of fat around muscles and bones, towards whatever is invented beside them.

    Bowel and nameless muscles seldom touch psoas or piriformis without fat between; without the rim
    their borders would show in no image.
    """
    named = (tissue == Tissue.MUSCLE) | (tissue == Tissue.BONE)
    width = random.uniform(1.5, 6.0) / settings.spacing[1]
    near = _grown(named, width)
    invented = (tissue == Tissue.CAVITY) | (tissue == Tissue.INTERMUSCULAR)
    presence = torch.sigmoid(3.0 * slow + random.uniform(1.0, 4.0)) * near * invented
    image += presence * (fat + texture * 6 - image)


def _add_vessels(image, tissue, fat, contrast, settings, random) -> None:
    """Vessels, nerves and nodes that run along the muscles, with or without fat between."""
    room = (tissue == Tissue.CAVITY) | (tissue == Tissue.INTERMUSCULAR)
    near = (_grown(tissue == Tissue.MUSCLE, 12.0 / settings.spacing[1]) > 0) & room
    places = near.nonzero()
    if not len(places):
        return
    z, y, x = (torch.arange(n, dtype=torch.float32) * step
               for n, step in zip(image.shape, settings.spacing, strict=True))
    for _ in range(int(random.numpy.integers(0, settings.most_vessels + 1))):
        place = places[int(random.numpy.integers(len(places)))].tolist()
        middle = [index * step for index, step in zip(place, settings.spacing, strict=True)]
        lean = random.numpy.uniform(-0.6, 0.6, 2)
        beyond = z - middle[0]
        across = (y[None] - (middle[1] + lean[0] * beyond)[:, None]).square()
        along = (x[None] - (middle[2] + lean[1] * beyond)[:, None]).square()
        distance = (across[:, :, None] + along[:, None]).sqrt()
        radius = random.uniform(2.5, 8.0)
        if random.chance(0.5):
            image[(distance < radius + 2.5) & room] = fat
        density = random.uniform(25, 60)
        if contrast and random.chance(0.7):
            density += random.uniform(0, 250)
        image[(distance < radius) & room] = density


def _grown(mask: torch.Tensor, width: float) -> torch.Tensor:
    """Weight in [0, 1] of the voxels within about ``width`` voxels of ``mask`` in plane."""
    inner = mask
    for _ in range(int(width)):
        inner = _with_neighbours(inner)
    outer = _with_neighbours(inner)
    return inner + (width - int(width)) * (outer & ~inner)


def _with_neighbours(mask: torch.Tensor) -> torch.Tensor:
    """The mask and the eight neighbours in plane of its voxels."""
    rows = mask.clone()
    rows[:, 1:] |= mask[:, :-1]
    rows[:, :-1] |= mask[:, 1:]
    both = rows.clone()
    both[:, :, 1:] |= rows[:, :, :-1]
    both[:, :, :-1] |= rows[:, :, 1:]
    return both


def _shell(mask: torch.Tensor, width: float) -> torch.Tensor:
    """Weight in [0, 1] of the outer layer of ``mask``, about ``width`` voxels thick in plane."""
    return _grown(~mask, width) * mask


def _paint_bone(image, regions, tissue, texture, slow, settings, random) -> None:
    bone = tissue == Tissue.BONE
    if not bone.any():
        return
    # thin or osteoporotic cortex is dimmed by partial volume, but it is never dark
    cortex = random.uniform(450, 1300)
    marrow = torch.from_numpy(random.numpy.uniform(-60, 330, 256).astype(np.float32))
    inner = marrow[regions.long()] + texture * random.uniform(10, 60)
    inner += slow * random.uniform(10, 120)
    inner += _beside(tissue == Tissue.CARTILAGE, settings.spacing[1]) * random.uniform(-50, 300)
    # bones are seen through their edge towards other bones too, so the shell is drawn per region
    shell = torch.zeros_like(image)
    for code in torch.unique(regions[bone]).tolist():
        width = random.uniform(1.0, 4.4) / settings.spacing[1]
        mask = regions == code
        shell = torch.maximum(shell, _shell(mask, width) * random.uniform(0.35, 1.0))
    # the plate of bone under cartilage is far thinner than cortex; at 3 mm a joint may show no edge
    joints = _grown(tissue == Tissue.CARTILAGE, 5 / settings.spacing[1])
    shell *= 1 - joints * random.uniform(0, 1)
    value = inner + shell * (cortex - inner)
    image[bone] = value[bone]


def _beside(joints: torch.Tensor, pixel_mm: float) -> torch.Tensor:
    """Weight in [0, 1] of the bone that a joint loads, about 20 mm deep.

    Spongy bone is several times denser there than in the shaft of the same bone.
    """
    coarse = F.avg_pool2d(joints.float()[None], max(1, round(8 / pixel_mm)))
    for _ in range(3):
        coarse = F.avg_pool2d(coarse, 5, 1, 2, count_include_pad=False)
    fine = F.interpolate(coarse, size=joints.shape[1:], mode="bilinear")[0]
    return (fine * 4).clamp_max_(1)


def _surround(image, tissue, settings, random) -> None:
    """Table, clothing and arms, which lie outside the body."""
    depth, height, width = image.shape
    outside = tissue == Tissue.AIR
    pixel = settings.spacing[1]
    y = torch.arange(height, dtype=torch.float32)[:, None] * pixel
    x = torch.arange(width, dtype=torch.float32)[None] * pixel
    if random.chance(settings.table_probability):
        side = 1.0 if random.chance(0.75) else -1.0  # prone patients have the table in front
        edge = height * pixel * (0.5 + side * random.uniform(0.3, 0.5))
        curve = random.uniform(-0.002, 0.002)
        line = edge + curve * (x - width * pixel / 2) ** 2
        board = ((y - line).abs() < random.uniform(1.2, 5.0)).expand(depth, -1, -1)
        image[board & outside] = random.uniform(-850, 100)
    if random.chance(settings.arm_probability):
        for side in (-1.0, 1.0):
            middle_x = width * pixel * (0.5 + side * random.uniform(0.4, 0.5))
            middle_y = height * pixel * random.uniform(0.3, 0.7)
            distance = torch.sqrt((x - middle_x) ** 2 + ((y - middle_y) * 1.1) ** 2)
            radius = random.uniform(24, 44)
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
    rod = _rod(offset, random)
    metal = (ball | rod, rod, ball)[int(random.numpy.integers(3))]
    strength = random.uniform(40, 350)
    angle = torch.atan2(offset[..., 1], offset[..., 2])
    distance = offset[..., 1:].square().sum(-1).sqrt().clamp_min(2.0)
    rays = random.smooth((image.shape[0], 3, 180), (1.5, 3, 2.0))[:, 1]
    position = ((angle + torch.pi) / (2 * torch.pi) * 179).round().long()
    streak = torch.gather(rays, 1, position.reshape(len(rays), -1)).reshape(position.shape)
    present = metal.flatten(1).any(1)[:, None, None]
    image += present * streak * strength * (radius / distance).clamp_max(1.2) * 0.8
    image[metal] = METAL_HU
    if random.chance(0.3):  # thick metal lets no ray through, and some scanners show it as holes
        image[metal & (random.smooth(metal.shape, (6, 6, 6), settings.spacing) > 1)] = AIR_HU
    return metal


def _rod(offset: torch.Tensor, random) -> torch.Tensor:
    """Mask of a stem, nail or screw: along the bone or across it.

    ``offset`` is that of every voxel from the implant's middle in mm, (z, y, x, 3).
    """
    direction = random.normal(3)
    if random.chance(0.5):
        direction[0] = 4 * direction.norm()  # a stem or a nail runs along the thigh
    direction /= direction.norm()
    along = offset @ direction
    aside = offset.square().sum(-1) - along.square()
    reach = -random.uniform(0, 60), random.uniform(30, 120)
    return (aside < random.uniform(3, 9) ** 2) & (along > reach[0]) & (along < reach[1])
