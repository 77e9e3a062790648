# SPDX-License-Identifier: Apache-2.0
"""Simulated head CTs with known bleeding, infarct, fracture, shift of the midline.

The average brain of :mod:`.head_template` is turned, scaled, deformed, made older by wider
ventricles and sulci, pushed aside by what bleeds in it, and put into a drawn skull and scalp. What
the scanner adds is that of :mod:`.acquisition` and :mod:`.head_artefacts`. The face is invented: it
only has to be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage

from .acquisition import acquire
from .head_artefacts import Artefact, add_artefacts
from .head_findings import EDEMA_HU, Finding, Place, edema_of, push_of, shape_of
from .head_normal import add_dense_structures, vary_ventricles
from .head_template import HeadTemplate
from .randomness import Randomness
from .region_map import AIR_HU

SIZE_MM = (192.0, 236.0, 196.0)  # of the image, (z, y, x)
SULCI_MM = 22.0  # below the skull, how deep they reach
SHEET_MM = 5.0  # from a sulcus to where the noise that draws it is 1
BASE_MM = -38.0  # below the centre of the brain, from where skull turns into its base and the face
FLUID_HU = (2.0, 12.0)
BEND_MM = 14.0  # over which the deformation of a head is smooth: skulls have no edges
BEND_GRID_MM = 6.0  # that it is drawn on
INVERSIONS = 4  # of the push, to find where the midline went
HORNS_MM = ((-16.0, 26.0), (-50.0, -12.0), (-32.0, 32.0))
"""Around the frontal horns of the ventricles, from the centre of the template along S, P and L."""
SEEN_HU, SEEN_MM = 5.0, 5.0  # what changes the mean over so many mm by less cannot be seen
DIFFUSE = ("subarachnoid", "infarct")  # kinds that may be too faint to be seen
USUAL_ARTEFACTS: Mapping[Artefact, float] = MappingProxyType({
    "beam hardening": 0.5, "helical": 0.25, "motion": 0.1, "low dose": 0.1, "rings": 0.06,
    "metal": 0.06, "field of view": 0.06})
"""How often each occurs."""


@dataclass(frozen=True)
class HeadSettings:
    """Ranges of the simulation. Lengths in mm, angles in degrees, densities in HU.

    Attributes:
        spacing: of the voxels, (z, y, x).
        rotation: largest, about each axis.
        scale: of the head.
        displacement: standard deviation of its smooth deformation.
        atrophy: how much wider ventricles are on each side, from slits to old age.
        vault_mm: thickness of the skull.
        thickness: of slices, beyond that of the voxels.
        noise: standard deviation.
        artefacts: how often each occurs.
    """

    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)
    rotation: tuple[float, float, float] = (6.0, 8.0, 8.0)
    scale: tuple[float, float] = (0.9, 1.1)
    displacement: float = 2.0
    atrophy: tuple[float, float] = (-1.5, 4.5)
    vault_mm: tuple[float, float] = (4.0, 10.0)
    thickness: tuple[float, float] = (0.0, 5.5)
    noise: tuple[float, float] = (2.0, 8.0)
    artefacts: Mapping[Artefact, float] = field(default_factory=lambda: USUAL_ARTEFACTS)


@dataclass(frozen=True)
class SimulatedHead:
    """A simulated head CT.

    Attributes:
        image: HU, int16, LPS.
        truth: number of the finding's kind in every voxel, 0 elsewhere; uint8.
        volumes_ml: by kind, of what is there; of kinds that may be faint only what can be seen.
        midline_shift_mm: of the septum between the ventricles, to the left above 0.
        ventricle_index: Evans' index: largest width of the frontal horns of the ventricles in a
            slice, against that of the inside of the skull there; whatever they are filled with.
            0 where they are slits.
        artefacts: what spoils the image.
    """

    image: sitk.Image
    truth: sitk.Image = field(repr=False)
    volumes_ml: dict[str, float]
    midline_shift_mm: float
    ventricle_index: float
    artefacts: tuple[Artefact, ...] = ()


def simulate_head(template: HeadTemplate, findings: Sequence[Finding], seed: tuple[int, ...],
                  settings: HeadSettings = HeadSettings()) -> SimulatedHead:
    """Simulate a head CT.

    Args:
        template: what the brain looks like on average.
        findings: what is wrong.
        seed: the same numbers give the same image.
        settings: ranges of what is drawn.
    """
    random = Randomness(*seed)
    at = _positions(settings, random)
    shape = at.shape[1:]
    cells = {width: random.smooth(shape, (width,) * 3, settings.spacing).numpy()
             for width in (5.0, 9.0, 30.0)}
    depth = -_sampled((template.outside,), at, template, (60.0,))[0]
    brain = at - _push(template, findings, at, depth)
    wider = random.uniform(*settings.atrophy)
    old = float(np.clip((wider + 1.5) / 6, 0, 1))
    density, fluid = _sampled((template.density, template.fluid), brain, template, (0.0, 60.0))
    fluid = vary_ventricles(fluid - wider, brain, random)
    where = Place(at, depth, fluid, _sulcus(depth, old, cells, random), cells[9.0])

    image = _brain(density, where, old, cells, random)
    image = add_dense_structures(image, where, brain, random)
    bone_mm = random.uniform(*settings.vault_mm) * (1 + 0.18 * cells[30.0])
    image, truth, fills = _with_findings(image, where, bone_mm, findings, settings.spacing, random)
    image = _in_skull(image, where, bone_mm, fills, cells, random)
    scanned = acquire(torch.from_numpy(image), settings, random).numpy()
    scanned, truth, artefacts = add_artefacts(scanned, truth, settings.spacing,
                                              settings.artefacts, random)
    voxel_ml = float(np.prod(settings.spacing)) / 1000
    volumes = {kind: round(float(fill.sum()) * voxel_ml, 2) for kind, fill in fills.items()}
    return SimulatedHead(
        _image(scanned.clip(-1024, 3071).round().astype(np.int16), settings.spacing),
        _image(truth, settings.spacing), volumes, _shift(template, findings),
        _ventricle_index(at, brain, where, settings.spacing), artefacts)


def _positions(settings: HeadSettings, random: Randomness) -> np.ndarray:
    """Template coordinates of every voxel, (3, z, y, x), mm from the centre along S, P and L."""
    counts = [max(8, round(size / step))
              for size, step in zip(SIZE_MM, settings.spacing, strict=True)]
    axes = [(np.arange(count) - (count - 1) / 2) * step
            for count, step in zip(counts, settings.spacing, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    grid += np.reshape([random.uniform(-8, 2), random.uniform(-6, 6), random.uniform(-5, 5)],
                       (3, 1, 1, 1)).astype(np.float32)
    turn = np.eye(3)
    for axis, most in enumerate(settings.rotation):
        angle = np.radians(random.uniform(-most, most))
        first, second = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[[first, first, second, second], [first, second, first, second]] = (
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
        turn = turn @ step
    whole = random.uniform(*settings.scale)
    scale = np.diag([whole * random.uniform(0.96, 1.04) for _ in range(3)])
    at = np.einsum("ij,jzyx->izyx", np.linalg.inv(turn @ scale), grid).astype(np.float32)
    coarse = tuple(max(4, round(size / BEND_GRID_MM)) for size in SIZE_MM)
    for axis in range(3):
        bent = random.smooth(coarse, (45.0,) * 3, (BEND_GRID_MM,) * 3).numpy()
        bent = ndimage.gaussian_filter(bent, BEND_MM / BEND_GRID_MM)
        fine = F.interpolate(torch.from_numpy(bent)[None, None], tuple(counts), mode="trilinear",
                             align_corners=True)[0, 0].numpy()
        at[axis] += settings.displacement * fine / max(float(fine.std()), 1e-3)
    return at


def _sampled(images: Sequence[np.ndarray], at: np.ndarray, template: HeadTemplate,
             beyond: Sequence[float]) -> np.ndarray:
    """Images of the template at places, (images, z, y, x); ``beyond`` it where it ends."""
    shape = np.reshape(images[0].shape, (3, 1, 1, 1))
    index = at + np.reshape(template.centre, (3, 1, 1, 1)).astype(np.float32)
    grid = np.moveaxis((2 * index / (shape - 1) - 1)[::-1], 0, -1).astype(np.float32)
    # what is sampled is 0 beyond the template
    outside = np.reshape(beyond, (-1, 1, 1, 1)).astype(np.float32)
    return F.grid_sample(torch.from_numpy(np.stack(images) - outside)[None],
                         torch.from_numpy(grid)[None], align_corners=True)[0].numpy() + outside


def _inward(template: HeadTemplate, finding: Finding) -> np.ndarray:
    """Unit vector into the brain at the inner surface of the skull near a finding."""
    here = np.round(np.add(finding.place, template.centre)).astype(int)
    here = np.clip(here, 4, np.array(template.outside.shape) - 5)
    box = template.outside[tuple(slice(i - 4, i + 5) for i in here)]
    slope = np.array([np.gradient(box, axis=axis).mean() for axis in range(3)])
    return -slope / max(np.linalg.norm(slope), 1e-6)


def _push(template: HeadTemplate, findings: Sequence[Finding], at: np.ndarray,
          depth: np.ndarray) -> np.ndarray:
    """How far the brain was pushed to each place, mm, of the shape of ``at``."""
    nothing = np.zeros_like(depth)
    where = Place(at, depth, nothing, nothing, nothing)
    return sum((push_of(finding, where, _inward(template, finding)) for finding in findings),
               np.zeros_like(at))


def _sulcus(depth: np.ndarray, old: float, cells, random: Randomness) -> np.ndarray:
    """Distance from sulci, mm, about: thin curved sheets where smooth noise changes its sign."""
    width = (0.3 + 1.6 * old * random.uniform(0.6, 1.3)) * (1 - (depth - 2) / SULCI_MM)
    return (SHEET_MM * np.abs(cells[9.0] + 0.4 * cells[5.0])
            - np.clip(width, -1, None)).astype(np.float32)


def _brain(density, where: Place, old: float, cells, random: Randomness) -> np.ndarray:
    """HU within the skull: brain, ventricles, sulci, what lies around the brain."""
    white = random.uniform(26, 32)
    contrast = random.uniform(0.8, 1.7)  # between grey and white matter
    calcified = density > 75  # pineal gland, ridges of the base
    image = np.where(calcified, density, white + contrast * (density - 33))
    image = image + random.uniform(0.5, 2.0) * cells[5.0] + random.uniform(0, 1.5) * cells[30.0]
    water = random.uniform(*FLUID_HU)
    around = where.depth - old * random.uniform(0, 4.5)
    wet = np.clip(0.5 - np.minimum(np.minimum(where.fluid, where.sulcus), around), 0, 1)
    return image + wet * (where.depth > 0) * (water - image) * ~calcified


def _with_findings(
    image: np.ndarray, where: Place, bone_mm: np.ndarray, findings: Sequence[Finding],
    spacing: tuple[float, float, float], random: Randomness,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The image with all findings, their truth, and how much of each voxel each kind fills."""
    truth = np.zeros(image.shape, np.uint8)
    fills: dict[str, np.ndarray] = {}
    for finding in findings:
        fill = shape_of(finding, where)
        if finding.kind == "fracture":
            fill = fill * (-where.depth < bone_mm)
        image = image + EDEMA_HU * edema_of(finding, where) * (1 - fill) * (where.depth > 2)
        before = image
        if finding.kind == "infarct":
            image = image + fill * finding.density_hu
        elif finding.kind != "fracture":
            uneven = finding.density_hu * (1 + 0.06 * where.rough)
            image = image + fill * (uneven - image)
        if finding.kind in DIFFUSE:
            reach = [max(1, round(SEEN_MM / step)) for step in spacing]
            fill = fill * (np.abs(ndimage.uniform_filter(image - before, reach)) >= SEEN_HU)
        truth[fill > 0.5] = finding.number
        fills[finding.kind] = np.maximum(fill, fills.get(finding.kind, 0))
    return image, truth, fills


def _in_skull(image: np.ndarray, where: Place, bone_mm: np.ndarray, fills: dict[str, np.ndarray],
              cells, random: Randomness) -> np.ndarray:
    """The image with skull, scalp, face, air and head rest around it."""
    out = -where.depth
    scalp_mm = random.uniform(3.0, 8.0) * (1 + 0.15 * cells[30.0])
    cortex = random.uniform(900, 1500)
    diploe = random.uniform(300, 900)
    middle = np.abs(out / np.maximum(bone_mm, 1.5) - 0.5)  # 0 in the middle of the skull
    skull = np.where(middle > 0.27, cortex, diploe + 100 * cells[5.0])
    if "fracture" in fills:
        skull = skull + fills["fracture"] * (40.0 - skull)
        swollen = ndimage.maximum_filter(fills["fracture"], [3, 9, 9])
        scalp_mm = scalp_mm + 7 * ndimage.gaussian_filter(swollen, [1, 8, 8])
    # thick voxels of slanted bone hold bone and brain: each is the mean of what lies in it
    width = np.abs(np.gradient(out, axis=0)) + 0.5
    rough = random.uniform(0, 1.2) * cells[9.0] + 0.4 * cells[5.0]  # inside, by vessels and gyri
    head = image + share_beyond(out + rough * (out > -4), width) * (skull - image)
    fat = random.uniform(-105, -70)
    muscle = cells[30.0] + 0.3 * cells[9.0] > 0.8 + where.at[0] / 40  # temporal ones, mostly low
    skin = out > bone_mm + scalp_mm - 1.5
    scalp = np.where(muscle | skin, random.uniform(20, 60), fat)
    head = head + share_beyond(out - bone_mm, width) * (scalp - head)
    # below: bone, soft tissue and air side by side, as at the base and in the face
    below = np.clip((BASE_MM - where.at[0] - 0.25 * where.at[1]) / 10, 0, 1) * (out > 1.0)
    mixed = np.select([cells[9.0] + 0.5 * cells[5.0] > 0.7, cells[9.0] - 0.6 * cells[5.0] < -1.0],
                      [random.uniform(400, 1100), AIR_HU], random.uniform(20, 60))
    face = (below > 0.5) & (out > 1.0)
    head = np.where(face, mixed, head)
    edge = bone_mm + scalp_mm + 25 * below * (where.at[1] < 20)
    head = head + share_beyond(out - edge, width) * (AIR_HU - head)
    rest = where.at[1] - 92 - 0.004 * where.at[2] ** 2 * random.uniform(0.5, 2)
    if random.chance(0.7):
        head = np.where((out > edge + 4) & (np.abs(rest - 12) < 3), random.uniform(-700, 150), head)
    # rays through bone are harder: brain beside the skull looks denser
    cupping = random.uniform(0, 8) * np.exp(-np.maximum(where.depth, 0) / 8) * (where.depth > 0)
    return (head + cupping).astype(np.float32)


def share_beyond(beyond: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Share of each voxel that lies beyond a surface.

    Args:
        beyond: how far its middle does, mm, below 0 on this side.
        width: by how much that differs from end to end of the voxel, mm.
    """
    return np.clip(0.5 + beyond / width, 0, 1)


def _shift(template: HeadTemplate, findings: Sequence[Finding]) -> float:
    """Where the septum between the ventricles lies now, mm to the left of the midline."""
    septum = np.array([8.0, -8.0, 0.0])  # above and in front of the centre
    now = septum.copy()
    for _ in range(INVERSIONS):
        at = now.reshape(3, 1, 1, 1).astype(np.float32)
        depth = -_sampled((template.outside,), at, template, (60.0,))[0]
        now = septum + _push(template, findings, at, depth).ravel()
    return round(float(now[2]), 1)


def _ventricle_index(at: np.ndarray, brain: np.ndarray, where: Place,
                     spacing: tuple[float, float, float]) -> float:
    """Evans' index; see :class:`SimulatedHead`. ``brain`` as ``at``, before anything pushed it."""
    horns = (where.fluid < 0) & np.logical_and.reduce([
        (axis > low) & (axis < high) for axis, (low, high) in zip(brain, HORNS_MM, strict=True)])
    # widths are those from side to side of the head, which may be turned in the image
    down, right = (float(np.gradient(at[2], axis=axis).mean()) / spacing[axis] for axis in (1, 2))
    rows, columns = np.ogrid[:at.shape[2], :at.shape[3]]
    across = (down * rows * spacing[1] + right * columns * spacing[2]) / np.hypot(down, right)
    pixel = spacing[2]

    def width(inside: np.ndarray) -> float:
        return float(np.ptp(across[inside])) + pixel if inside.any() else 0.0

    widths = [width(plane) for plane in horns]
    widest = int(np.argmax(widths))
    return round(widths[widest] / max(width(where.depth[widest] > 0), pixel), 3)


def _image(array: np.ndarray, spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(step) for step in spacing[::-1]])
    image.SetOrigin([-step * (count - 1) / 2 for step, count in zip(
        spacing[::-1], array.shape[::-1], strict=True)])
    return image
