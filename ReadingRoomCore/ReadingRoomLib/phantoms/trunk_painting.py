# SPDX-License-Identifier: Apache-2.0
"""Hounsfield units for a map of the trunk's structures, simulated or real.

Structures have the names of TotalSegmentator's classes (Wasserthal et al., Radiology: Artificial
Intelligence 2023); what has no name there has one here. Densities are ranges from general
radiological knowledge, drawn anew for every image, with contrast agent by its phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ..errors import BadInput
from .acquisition import acquire
from .randomness import Randomness
from .region_map import AIR_HU
from .trunk_body import with_body
from .trunk_patient import Phase
from .trunk_tissues import (
    AIR,
    BONES,
    BOWEL,
    FATS,
    MARROW,
    MUSCLES,
    PHASES,
    SOFT,
    SPREAD,
    entry,
    marked,
    matching,
)


@dataclass(frozen=True)
class PaintSettings:
    """How a map is painted. Lengths in mm, densities in HU.

    Attributes:
        spacing: of the voxels, (z, y, x).
        thickness: of slices, beyond that of the voxels.
        noise: standard deviation.
        table_probability: how often the patient's table is in the picture.
    """

    spacing: tuple[float, float, float]
    thickness: tuple[float, float] = (0.5, 3.0)
    noise: tuple[float, float] = (5.0, 22.0)
    table_probability: float = 0.85


def paint_trunk(labels: np.ndarray, label_names: Mapping[int, str],
                spacing: tuple[float, float, float], seed: tuple[int, ...],
                phase: Phase | None = None) -> np.ndarray:
    """Simulated CT of a label map of the trunk, such as TotalSegmentator's.

    Args:
        labels: codes (z, y, x) along S, P and L, uint8; 0 is all that has no label.
        label_names: TotalSegmentator's names of the codes. Without a ``subcutaneous_fat``,
            ``skeletal_muscle`` or ``skin`` among them, the body's outline is guessed around the
            labels, with muscle near bones and fat elsewhere.
        spacing: of the voxels, (z, y, x) mm.
        seed: the same numbers give the same image.
        phase: of contrast agent; drawn when None.

    Returns:
        HU, int16, on the grid of the labels.

    Raises:
        BadInput: a code has no name, or nothing is labelled.
    """
    random = Randomness(*seed)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    names = {code: name for code, name in label_names.items() if code in present and code}
    unnamed = sorted(set(present.tolist()) - set(names) - {0})
    if unnamed:
        raise BadInput(f"The label map holds {unnamed[0]}, which has no name: add it to the names.")
    if not names:
        raise BadInput("The label map holds no structure: give one with labels of the trunk.")
    if not any(name.startswith(("skin", "subcutaneous", "skeletal", "body"))
               for name in names.values()):
        labels, names = with_body(labels, names, spacing, random)
    phase = phase or str(random.numpy.choice(PHASES, p=(0.4, 0.15, 0.35, 0.1)))
    return paint(labels, names, PaintSettings(spacing), phase, random)


def paint(regions: np.ndarray, names: Mapping[int, str], settings: PaintSettings, phase: Phase,
          random: Randomness) -> np.ndarray:
    """HU (int16) of a map of regions that includes the body; see :func:`paint_trunk`."""
    shape, spacing = regions.shape, settings.spacing
    boxes = ndimage.find_objects(regions, max_label=255)
    image, weights = _mean_densities(regions, names, phase, random)
    fine = random.smooth(shape, (5.0, 5.0, 5.0), spacing).numpy()
    slow = random.smooth(shape, (28.0, 28.0, 28.0), spacing).numpy()
    image += weights[:, 0][regions] * fine
    image += weights[:, 1][regions] * slow
    _part_muscles(image, regions, names, slow, spacing, random)
    _paint_lungs(image, regions, names, fine, spacing, random)
    _paint_bones(image, regions, names, fine, slow, spacing, random)
    _paint_kidneys(image, regions, names, boxes, phase, spacing, random)
    _fill_bowel(image, regions, names, boxes, slow, spacing, random)
    if random.chance(settings.table_probability):
        _add_table(image, regions, spacing, random)
    scanned = acquire(torch.from_numpy(image), settings, random)
    return scanned.clamp_(-1024, 3071).round_().to(torch.int16).numpy()


def _mean_densities(regions, names, phase: Phase, random: Randomness):
    """Mean HU of every voxel, and how strongly each code is textured, (256, 2) fine and slow."""
    mean = np.full(256, AIR_HU + 24, np.float32)
    weights = np.zeros((256, 2), np.float32)
    strength = random.uniform(0.7, 1.35)  # of the contrast agent: dose, heart, timing
    common = random.numpy.normal(0, 1, 4)  # left and right are alike
    drawn: dict[str, float] = {}
    for code, name in sorted(names.items(), key=lambda item: item[1]):
        kind = name.removesuffix("_left").removesuffix("_right")
        if name.startswith(AIR):
            mean[code] = -985
            continue
        base = entry(SOFT, name)
        if kind not in drawn:
            spread = SPREAD.get(kind, 4.0)
            agent = 0 if phase == "none" else base[PHASES.index(phase)] * strength
            drawn[kind] = base[0] + agent + spread * random.numpy.standard_normal()
            if kind == "liver":  # a fatty one is dark
                drawn[kind] -= 45 * random.uniform(0, 1) ** 5
        mean[code] = drawn[kind] + random.uniform(-1.5, 1.5)
        if name.startswith(MUSCLES):
            mean[code] += 5 * common[0]
            weights[code] = (7, 4)
        elif name.startswith(FATS):
            mean[code] += 6 * common[1]
            weights[code] = (12, 4) if name.startswith(("mesentery", "mediast")) else (7, 3)
        else:
            weights[code] = (5, 3)
    return mean[regions], weights * random.uniform(0.6, 1.5)


def _part_muscles(image, regions, names, slow, spacing, random: Randomness) -> None:
    """Fat between muscles: where two of them meet, and sheets within what has no name.

    The sheets are where a smooth noise is near 0.
    """
    muscles = matching(names, MUSCLES)
    mask = marked(regions, muscles)
    if not mask.any():
        return
    strength = random.uniform(0.2, 0.9)
    plain = marked(regions, matching(names, ("skeletal_muscle",)))
    sheets = random.smooth(regions.shape, (34.0, 22.0, 22.0), spacing).numpy()
    sheets = np.exp(-np.square(sheets / random.uniform(.06, .16))) * plain
    meeting = _surface(regions, mask) & ~plain
    share = np.maximum(sheets, np.float32(.55) * meeting)
    share *= np.clip(.75 + .4 * slow, 0, 1) * strength
    share *= -95 - image
    image += share


def _paint_lungs(image, regions, names, fine, spacing, random: Randomness) -> None:
    """Air with a haze that is denser behind, and vessels: where two noises are both near 0."""
    lungs = matching(names, ("lung_upper", "lung_lower", "lung_middle", "lung_left",
                              "lung_right"))
    mask = marked(regions, lungs)
    if not mask.any():
        return
    y = np.arange(regions.shape[1], dtype=np.float32) * spacing[1]
    behind = (y - y[mask.any((0, 2))].mean())[None, :, None] * random.uniform(0.1, 0.5)
    base = random.uniform(-905, -810)
    box = ndimage.find_objects(mask.view(np.uint8), max_label=1)[0]
    image, mask, fine, behind = image[box], mask[box], fine[box], behind[:, box[1]]
    first, second = (random.smooth(mask.shape, (13.0,) * 3, spacing).numpy() for _ in range(2))
    vessel = np.exp(-(np.square(first) + np.square(second)) / random.uniform(.006, .016))
    value = base + 14 * fine + behind + vessel * random.uniform(350, 650)
    np.copyto(image, value, where=mask)


def _paint_bones(image, regions, names, fine, slow, spacing, random: Randomness) -> None:
    codes = matching(names, BONES)
    mask = marked(regions, codes)
    if not mask.any():
        return
    density = random.uniform(0.6, 1.15)  # old bone is thinner
    cortex = random.uniform(550, 1000)
    marrow = np.zeros(256, np.float32)
    by_kind: dict[str, float] = {}
    for code in codes:
        kind = next((k for k in MARROW if names[code].startswith(k)), "rib_")
        if kind not in by_kind:
            by_kind[kind] = random.uniform(*MARROW[kind]) * density
        marrow[code] = by_kind[kind] + random.uniform(-12, 12)
    value = marrow[regions] + fine * random.uniform(15, 40) + slow * random.uniform(5, 20)
    shell = _surface(regions, mask)
    # a layer of one voxel is as dense as its share of cortex says
    share = np.clip(random.uniform(1.0, 2.0) / np.mean(spacing), 0.35, 1.0) * density
    value += shell * np.float32(share) * (cortex - value)
    if min(spacing) < 1.2:
        inner = _surface(regions, mask & ~shell)
        value += (inner & ~shell) * np.float32(.5 * share) * (cortex - value)
    np.copyto(image, value, where=mask)


def _surface(regions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask beside one that is not in it or has another code."""
    border = np.zeros_like(mask)
    codes = np.where(mask, regions, 0)
    for axis in range(3):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        differs = codes[tuple(low)] != codes[tuple(high)]
        border[tuple(low)] |= differs
        border[tuple(high)] |= differs
    return border & mask


def _paint_kidneys(image, regions, names, boxes, phase: Phase, spacing,
                   random: Randomness) -> None:
    """In the arterial phase the cortex is brighter than the pyramids."""
    if phase != "arterial":
        return
    for code in matching(names, ("kidney_left", "kidney_right")):
        box = boxes[code - 1]
        if box is None:
            continue
        part = regions[box] == code
        depth = ndimage.distance_transform_edt(np.pad(part, 1), spacing)[1:-1, 1:-1, 1:-1]
        image[box][part & (depth > random.uniform(5, 7))] -= random.uniform(60, 110)


def _fill_bowel(image, regions, names, boxes, slow, spacing, random: Randomness) -> None:
    """Contents: gas in front, liquid behind it, stool in the colon, drunk contrast in some."""
    drunk = random.uniform(120, 320) if random.chance(0.2) else None
    noise = random.smooth(regions.shape, (8.0, 8.0, 8.0), spacing).numpy()
    for name in BOWEL:
        for code in matching(names, (name,)):
            if boxes[code - 1] is None:
                continue
            box = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in boxes[code - 1])
            part = regions[box] == code
            lumen = ndimage.binary_erosion(part, iterations=max(1, round(2.0 / np.mean(spacing))))
            here, texture = image[box], noise[box]
            if name == "colon":
                content = random.uniform(-20, 50) + 45 * texture
                content[texture < -1.1] = -500  # gas within stool
            elif name == "small_bowel":
                content = random.uniform(5, 35) + 10 * texture
            else:
                content = random.uniform(0, 45) + 25 * texture
            if drunk and name != "colon":
                content = content + drunk
            here[lumen] = content[lumen]
            gas = _gas(lumen, slow[box], name, random)
            here[gas] = -960


def _gas(lumen: np.ndarray, slow: np.ndarray, name: str, random: Randomness) -> np.ndarray:
    """Where gas is: the front part of the lumen, more of it here and less there."""
    if name == "stomach":  # one large room: a level
        rows = np.flatnonzero(lumen.any((0, 2)))
        level = np.quantile(rows, random.uniform(0, .45))
        return lumen & (np.arange(lumen.shape[1])[None, :, None] < level)
    depth = np.cumsum(lumen, axis=1)
    # voxels from the front within the run that the voxel is in
    begins = np.maximum.accumulate(np.where(lumen, 0, depth), axis=1)
    depth = depth - begins
    bias = {"colon": -0.2, "duodenum": -1.6, "small_bowel": -1.9}[name]
    amount = slow + bias + random.uniform(-0.5, 0.5)
    return lumen & (depth <= np.clip(amount, 0, 2) * 9)


def _add_table(image, regions, spacing, random: Randomness) -> None:
    """A curved board under the back."""
    body = regions > 0
    rows = np.flatnonzero(body.any((0, 2)))
    if not len(rows):
        return
    back = (rows[-1] + 1) * spacing[1]
    height, width = regions.shape[1:]
    y = (np.arange(height, dtype=np.float32) * spacing[1])[:, None]
    x = (np.arange(width, dtype=np.float32) * spacing[2])[None]
    middle = width * spacing[2] / 2
    bow = random.uniform(0.0002, 0.0009)
    line = back + random.uniform(0, 5) - bow * np.square(x - middle)
    thick = random.uniform(10, 35)
    wide = np.abs(x - middle) < random.uniform(190, 230)
    shell = (np.abs(y - line - 2) < 1.6) | (np.abs(y - line - thick) < 1.6)
    core = (y > line + 2) & (y < line + thick)
    for part, density in ((core & wide, random.uniform(-960, -880)),
                          (shell & wide, random.uniform(-500, -150))):
        np.copyto(image, np.float32(density), where=part[None] & ~body)
