# SPDX-License-Identifier: Apache-2.0
"""What time of flight shows of a head: arteries bright, veins faint, all else dark.

Blood that flows in is not yet saturated. So signal falls where it flows slowly, along a slab, on
its way down, and in the middle of large aneurysms (Bernstein, King, Zhou, *Handbook of MRI Pulse
Sequences*, 2004, chapter 15). The numbers are choices that look like it; those of tissues are
against the blood of a large artery. The head is made of ellipsoids; it is there to be in the way of
a detector, not to be looked at.
"""

from __future__ import annotations

from functools import partial, reduce

import numpy as np
import torch
import torch.nn.functional as F

from .acquisition import blur
from .head_vessel_anatomy import VEINS
from .head_vessel_aneurysms import Dome
from .head_vessel_grid import Grid, dome_walls, walls
from .head_vessel_tree import STEP_MM, Tree, smooth_through
from .randomness import Randomness

AIR, BONE, FLUID, BRAIN, MUSCLE, FAT = 0.01, 0.05, 0.17, 0.35, 0.25, 0.52
_FLUID_REACH = 4.0  # mm from arteries
_DOWNWARD = 0.18  # of the signal is lost where blood flows down again


def paint_lumen(tree: Tree, domes: list[Dome], grid: Grid, random: Randomness
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The blood of arteries.

    Args:
        tree: arteries of the head.
        domes: aneurysms.
        grid: where.
        random: draws flow.

    Returns:
        Arrays (z, y, x): share of a voxel that is arterial blood; signal of that blood; uint8 1 in
        arteries inside the skull; uint8 number, from 1, of the aneurysm.
    """
    lines = list(tree.lines.values())
    points = np.vstack([line.points for line in lines])
    radii = np.concatenate([line.radii for line in lines])
    step = float(np.mean(grid.spacing))
    wall, which = walls(points, radii, grid, step)
    near = which >= 0
    flow = np.concatenate([_flow(line.signal, line.points, line.tangents, random)
                           for line in lines])
    # a tube thinner than a voxel never fills it
    fills = np.minimum(1.0, np.pi * np.square(radii / step))
    share, signal = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    share[near] = (0.5 - wall[near] / step).clip(0, 1) * fills[which[near]]
    signal[near] = flow[which[near]]
    outer = np.concatenate([np.full(len(line.points), line.outer) for line in lines])
    arteries = np.zeros(grid.shape, np.uint8)
    arteries[near] = (wall[near] < 0) & ~outer[which[near]]
    sacs = np.zeros(grid.shape, np.uint8)
    starts = dict(zip(tree.lines, np.cumsum([0] + [len(line.points) for line in lines]),
                      strict=False))
    for number, (dome, distance) in enumerate(zip(domes, dome_walls(domes, grid, step),
                                                  strict=True), 1):
        at = starts[dome.parent] + tree.lines[dome.parent].nearest(dome.base)
        inside = distance < step / 2
        blood = _swirl(dome, distance[inside], float(flow[at]), random)
        covered = (0.5 - distance[inside] / step).clip(0, 1)
        mixed = (share[inside] * signal[inside] + covered * blood) / np.maximum(
            share[inside] + covered, 1e-6)
        signal[inside] = np.where(share[inside] > 0.95, signal[inside], mixed)
        share[inside] = np.maximum(share[inside], covered)
        sac = (distance < 0) & (arteries == 0)
        sacs[sac] = number
        arteries[sac] = 1
    return share, signal, arteries, sacs


def _flow(signal, points, tangents, random: Randomness) -> np.ndarray:
    """Signal of the blood along an artery: less on its way down, and where it is turbulent."""
    count = len(points)
    waves = np.interp(np.arange(count) * STEP_MM, np.arange(0, count * STEP_MM + 8, 8),
                      random.numpy.normal(size=len(np.arange(0, count * STEP_MM + 8, 8))))
    return signal * (1 - _DOWNWARD * np.clip(-tangents[:, 2], 0, 1)) * (1 + 0.05 * waves)


def _swirl(dome: Dome, wall: np.ndarray, feeding: float, random: Randomness) -> np.ndarray:
    """Signal in an aneurysm: the larger, the darker its middle, where blood stays."""
    slow = np.clip((dome.diameter - 3) / 9, 0, 1) * random.uniform(0.25, 0.7)
    depth = np.clip(-wall / dome.half.min(), 0, 1)
    uneven = 1 + 0.05 * random.numpy.normal(size=len(wall))
    return feeding * random.uniform(0.88, 1.0) * (1 - slow * depth) * uneven


def paint_head(tree: Tree, grid: Grid, random: Randomness) -> np.ndarray:
    """Signal of all but the arteries, (z, y, x)."""
    coarse = grid.coarse()
    head = coarse.head()
    cells = {width: random.smooth(coarse.shape, (width,) * 3, tuple(coarse.spacing[::-1])).numpy()
             for width in (5.0, 12.0, 30.0)}
    cavity = _cavity(head) + 0.8 * cells[30.0]
    skull, scalp = random.uniform(4.5, 8.0), random.uniform(4.0, 8.0)
    skin = np.minimum(cavity - skull - scalp, _face(head)) + 0.7 * cells[12.0]
    skin = np.minimum(skin, _artery_distance(tree, coarse, outer=True) - 2.5)
    inner = _inside(head, cavity, _artery_distance(tree, coarse), cells, random)
    outer = _outside(head, cavity, skin, skull, cells, random)
    step = float(np.mean(grid.spacing))
    cavity, skin, inner, outer = _finer([cavity, skin, inner, outer], grid.shape)
    within = (0.5 - cavity / step).clip(0, 1)
    value = outer + within * (inner - outer)
    value = AIR + (0.5 - skin / step).clip(0, 1) * (value - AIR)
    _add_veins(value, grid, random)
    return value


def _artery_distance(tree: Tree, coarse: Grid, outer: bool = False) -> np.ndarray:
    """Distance from the arteries within or outside the skull, at most 4 mm."""
    lines = [line for line in tree.lines.values() if line.outer == outer]
    points = np.vstack([line.points[::4] for line in lines])
    radii = np.concatenate([line.radii[::4] for line in lines])
    return walls(points, radii, coarse, _FLUID_REACH)[0]


def _finer(images: list[np.ndarray], shape: tuple[int, int, int]) -> list[np.ndarray]:
    stack = torch.from_numpy(np.stack(images).astype(np.float32))[None]
    return list(F.interpolate(stack, shape, mode="trilinear", align_corners=True)[0].numpy())


def _ball(head: np.ndarray, centre, half, paired: bool = False) -> np.ndarray:
    """Distance from an ellipsoid, about, mm; with ``paired`` from it and its mirror image."""
    lateral = np.abs(head[0]) if paired else head[0]
    local = [(axis - c) / h for axis, c, h in zip((lateral, *head[1:]), centre, half, strict=True)]
    scaled = np.sqrt(sum(np.square(axis) for axis in local))
    steep = np.sqrt(sum(np.square(axis / h) for axis, h in zip(local, half, strict=True)))
    return scaled * (scaled - 1) / np.maximum(steep, 1e-3)


def _cavity(head: np.ndarray) -> np.ndarray:
    """Distance from the inside of the skull."""
    floor = -20 + 0.06 * np.abs(head[0]) - head[2]
    parts = [
        np.maximum(_ball(head, (0, -17, 12), (69, 88, 66)), floor),
        _ball(head, (41, -3, -24), (25, 33, 21), paired=True),
        _ball(head, (0, -57, -33), (54, 40, 27)),
        _ball(head, (0, -31, -45), (16, 14, 45)),
        _ball(head, (0, 3, -19), (19, 17, 9)),
    ]
    return reduce(partial(_melted, width=9.0), parts)


def _melted(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """The union of two bodies, rounded where they meet (Quilez, polynomial smooth minimum)."""
    near = (1 - np.abs(first - second) / width).clip(0)
    return np.minimum(first, second) - near**2 * width / 4


def _face(head: np.ndarray) -> np.ndarray:
    return _melted(_ball(head, (0, 28, -62), (64, 68, 62)),
                   _ball(head, (0, -42, -85), (60, 58, 62)), 15.0)


def _inside(head, cavity, artery, cells, random: Randomness) -> np.ndarray:
    """Brain and fluid."""
    depth = -cavity
    ventricle = np.minimum.reduce([
        _ball(head, (12, -10, 14), (5, 30, 9), paired=True),
        _ball(head, (0, -16, -3), (2.2, 14, 11)), _ball(head, (0, -46, -34), (7, 6, 10))])
    cistern = _ball(head, (0, 4, -18), (15, 11, 8))
    wide = random.uniform(-1.5, 3.0)  # of age
    around = random.uniform(0.8, 2.0) + 0.7 * cells[12.0]
    wet = np.maximum.reduce([
        (0.5 + (wide - ventricle) / 2).clip(0, 1),
        (0.5 - cistern / 2).clip(0, 1),
        (0.5 + (around - artery) / 1.7).clip(0, 1),
        (0.5 + (random.uniform(0.5, 2.0) - depth) / 1.7).clip(0, 1),
        # sulci: sheets where noise passes through zero, near the surface
        (1.2 - np.abs(cells[12.0]) / 0.16).clip(0, 0.8) * (1.2 - depth / 20).clip(0, 1)])
    brain = BRAIN * random.uniform(0.9, 1.1) * (1 + 0.04 * cells[12.0] + 0.03 * cells[5.0])
    return brain + wet * (FLUID * random.uniform(0.8, 1.2) - brain)


def _outside(head, cavity, skin, skull, cells, random: Randomness) -> np.ndarray:
    """Bone, marrow, scalp, and what lies below the skull."""
    tissue = MUSCLE + 0.05 * cells[5.0]
    fatty = (0.5 + 2.5 * (cells[12.0] - random.uniform(0.3, 1.0))).clip(0, 1)
    fat = FAT * random.uniform(0.7, 1.2)
    tissue = tissue + fatty * (fat - tissue)
    under_skin = (0.5 + (skin + random.uniform(4, 7)) / 1.7).clip(0, 1)
    tissue = tissue + under_skin * (fat * (1 + 0.08 * cells[5.0]) - tissue)
    tissue = tissue + (0.5 + (skin + 1.6) / 1.2).clip(0, 1) * (0.3 - tissue)

    def fill(value, distance) -> None:
        nonlocal tissue
        tissue = tissue + (0.5 - distance / 1.7).clip(0, 1) * (value - tissue)

    fill(fat * (1 + 0.1 * cells[5.0]), _ball(head, (30, 47, -34), (18, 25, 17), paired=True))
    fill(0.12, _ball(head, (31, 57, -34), (12, 12, 12), paired=True))
    marrow = (0.5 - np.abs(cavity - skull / 2) / (0.25 * skull)).clip(0, 1) * (
        0.5 + cells[12.0]).clip(0, 1)
    fill(BONE + 0.22 * marrow, cavity - skull)
    fill(BONE + (0.05 + 0.05 * cells[5.0]).clip(0), _ball(head, (30, -20, -46), (26, 16, 12), True))
    fill(random.uniform(0.2, 0.42), _ball(head, (0, -14, -43), (9, 9, 14)))  # clivus
    fill(AIR, _ball(head, (0, 15, -38), (12, 11, 9)))  # sphenoid sinus
    fill(0.05 + 0.12 * (cells[5.0] > 0.4), _ball(head, (0, 40, -38), (11, 18, 16)))  # ethmoid
    fill(AIR, _ball(head, (27, 44, -62), (14, 15, 14), True))
    fill(0.02 + 0.1 * (cells[5.0] > 0.8), _ball(head, (53, -32, -46), (9, 14, 15), True))
    fill(random.uniform(0.25, 0.38), _ball(head, (11, 3, -33), (6, 13, 8), True))  # cavernous sinus
    if random.chance(0.6):  # neurohypophysis, bright as in any T1
        fill(random.uniform(0.5, 0.75), _ball(head, (0, 2, -30), (2.5, 1.8, 2.0)))
    return tissue.clip(0)


def _add_veins(value: np.ndarray, grid: Grid, random: Randomness) -> None:
    """Veins and sinuses, in place."""
    step = float(np.mean(grid.spacing))
    faint = random.uniform(0.8, 1.35)
    points, radii, signals = [], [], []
    for radius, signal, places in VEINS:
        places = np.array(places, float) * (1, -1, 1) * grid.scale
        line = smooth_through(places + random.numpy.normal(size=places.shape) * (0.6, 1, 1))[::3]
        points.append(line)
        radii.append(np.full(len(line), radius * random.uniform(0.7, 1.15)))
        signals.append(np.full(len(line), signal * faint * random.uniform(0.85, 1.15)))
    wall, which = walls(np.vstack(points), np.concatenate(radii), grid, step)
    near = which >= 0
    share = (0.5 - wall[near] / step).clip(0, 1)
    value[near] += share * (np.concatenate(signals)[which[near]] - value[near])


def scanned(signal: np.ndarray, share: np.ndarray, blood: np.ndarray, grid: Grid, noise: float,
            random: Randomness) -> np.ndarray:
    """What a scanner makes of tissue and blood: slabs, blur, bias field, Rician noise; (z, y, x).

    Args:
        signal: of tissue.
        share, blood: of :func:`paint_lumen`.
        grid: where.
        noise: standard deviation, against the blood of a large artery.
        random: draws slabs and fields.
    """
    height = np.arange(grid.shape[0]) * grid.spacing[2]
    slab = random.uniform(26, 50)
    along = np.mod(height + random.uniform(0, slab), slab) / slab  # 0 where blood flows in
    falls = random.uniform(0.04, 0.2)
    tissue = signal * (1 - 0.35 * falls * along)[:, None, None]
    image = tissue + share * (blood * (1 - falls * along)[:, None, None] - tissue)
    image = blur(torch.from_numpy(image.astype(np.float32)), (0.4, 0.4, 0.4)).numpy()
    bias, = _finer([random.smooth((5, 6, 6), (2.0,) * 3).numpy()], grid.shape)
    image *= np.exp(random.uniform(0.04, 0.12) * bias)
    real = random.numpy.standard_normal(image.shape, np.float32)
    imaginary = random.numpy.standard_normal(image.shape, np.float32)
    return np.hypot(image + noise * real, noise * imaginary)
