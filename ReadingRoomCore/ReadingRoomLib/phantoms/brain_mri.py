# SPDX-License-Identifier: Apache-2.0
"""Simulated MRIs of the brain: T1, T2 and T1 with contrast agent of one patient at one site.

The average head of :mod:`.brain_template` is scaled, bent, made older by wider ventricles and
sulci, and pushed aside by a tumour of :mod:`.brain_tumours`. Signals are those of
:mod:`.mr_signal`. Each series has its own grid, and the patient moves between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from .acquisition import blur
from .brain_template import BrainTemplate
from .brain_tumours import (
    Layer,
    Surroundings,
    Tumour,
    layers_of,
    push_of,
    reach_of,
)
from .mr_signal import TISSUES, Protocol, Scanner, Tissue, scanner, signal
from .randomness import Randomness

SEQUENCES = ("t1", "t2", "t1c")
GRID_MM = (2.4, 1.15, 1.15)  # of the patient's anatomy
LOW, HIGH = (-76.0, -104.0, -90.0), (94.0, 120.0, 90.0)  # S, P, L: what of the head is simulated
BEND_GRID_MM = 8.0  # that the deformation is drawn on
BENDS = ((70.0, 2.5), (28.0, 1.0))  # width and standard deviation of it, mm
_CODES = ("fluid", "grey", "white", "dark", "soft", "fat")
"""Tissues of a head in the order of their code; between two neighbours lies a mixture of them."""
LEVELS = 40  # of a mixture
TUMOUR_DRAWS = 5087  # appended to the seed
FAINT = 0.02  # share of a voxel that does not matter
_BRAIN_T1 = (0.50, 0.70, 0.79, 0.93)  # of the template: fluid, grey from and to, white
_HEAD_T1 = (0.20, 0.34, 0.52, 0.74)  # outside: dark, soft from and to, fat
MUCOSA_MM = ((-70.0, -34.0), (-75.0, -28.0), (-22.0, 22.0))  # S, P, L
EYES_MM = (-40.0, -61.0, 32.0)  # S, P, L of the left one
EYE_MM = 11.5
MIDDLE_MM = (8.0, 14.0, 0.0)  # S, P, L: about which a patient turns
AGENT_MILLIMOLAR = np.linspace(0, 2.5, 65)  # for which signals are computed


@dataclass(frozen=True)
class BrainSettings:
    """What is simulated. Lengths in mm, angles in degrees.

    Attributes:
        sites: names of scanners, one of which is drawn (:func:`~.mr_signal.scanner`).
        contrast: whether contrast agent was given before t1c.
        scale: of the head.
        bend: how strongly anatomy differs, 1 as it does.
        age: 0 young with narrow sulci and ventricles, 1 old.
        rotation: largest, of the head in the scanner, about each axis S, P, L.
        motion: largest shift between two series; they also turn by half as many degrees.
        noise: factor of each scanner's own.
    """

    sites: Sequence[str] = tuple(f"site {number}" for number in range(1, 13))
    contrast: bool = True
    scale: tuple[float, float] = (0.93, 1.06)
    bend: float = 1.0
    age: tuple[float, float] = (0.0, 1.0)
    rotation: tuple[float, float, float] = (8.0, 5.0, 10.0)
    motion: float = 3.0
    noise: float = 1.0


@dataclass(frozen=True)
class SimulatedBrain:
    """MRIs of a patient.

    Attributes:
        images: by sequence, int16, LPS, each on its own grid.
        truth: uint8 on the grid of t1c: 1 enhancing tumour, 2 necrosis, 3 oedema, 0 elsewhere.
            A dural tail and what an operation left are not tumour.
        kind: of the tumour, None without.
        site: name of the scanner.
        atypical: in what the tumour is unlike others of its kind, None when it is not.
    """

    images: dict[str, sitk.Image] = field(repr=False)
    truth: sitk.Image = field(repr=False)
    kind: str | None
    site: str
    atypical: str | None = None


@dataclass(frozen=True)
class _Part:
    """A layer of the few voxels that it is in: their numbers on the grid, and what is there."""

    tissue: Tissue | str
    voxels: np.ndarray
    share: np.ndarray
    agent: np.ndarray | float
    label: int


@dataclass(frozen=True)
class _Head:
    """A patient: code of the tissue in every voxel of the grid, and what lies on it.

    ``code`` is in steps of 1 / LEVELS, uint8.
    """

    code: np.ndarray
    parts: list[_Part]
    tissues: dict[str, Tissue]


def simulate_brain(template: BrainTemplate, tumour: Tumour | None, seed: tuple[int, ...],
                   settings: BrainSettings = BrainSettings()) -> SimulatedBrain:
    """Simulate the three sequences of one patient.

    Args:
        template: what a head looks like on average.
        tumour: what is wrong; None for a healthy head.
        seed: the same numbers give the same images; without the tumour, the same person and scan.
        settings: what is drawn.
    """
    random = Randomness(*seed)
    site = settings.sites[int(random.numpy.integers(len(settings.sites)))]
    machine = scanner(site)
    # a tumour has draws of its own: the same seed without it is the same person
    head = _head(template, tumour, settings, random, Randomness(*seed, TUMOUR_DRAWS))
    pose = _turn(*(random.uniform(-most, most) for most in settings.rotation))
    tilt = _turn(0.0, 0.0, machine.tilt + random.uniform(-4, 4)) @ _slices_along(pose)
    bias = random.smooth((6, 8, 8), (1.6,) * 3)
    images, truth = {}, None
    for sequence in SEQUENCES:
        protocol = machine.protocols[sequence]
        contrast = settings.contrast and sequence == "t1c"
        series = _Series(protocol, _motion(pose, settings, random), tilt, machine.blur, random)
        volume, white = _signals(head, protocol, machine, contrast)
        scanned = _received(series.scan(volume / white), machine, bias, settings, random)
        stored = machine.gain * random.uniform(0.85, 1.15) * scanned
        images[sequence] = series.image(stored.clip(0, 32767).round().astype(np.int16))
        if sequence == "t1c":
            truth = series.image(_truth(head, series))
    return SimulatedBrain(images, truth, tumour and tumour.kind, site, tumour and tumour.atypical)


# ------------------------------------------------------------------------------------------ anatomy


def _head(template: BrainTemplate, tumour: Tumour | None, settings: BrainSettings,
          random: Randomness, of_tumour: Randomness) -> _Head:
    at = _positions(settings, random)
    shape = at.shape[1:]
    cells = {width: random.smooth(shape, (width,) * 3, GRID_MM).numpy() for width in (6.0, 25.0)}
    outside, dura = template.sample(at, "outside", "dura")
    depth = -outside
    brain = at if tumour is None else at - push_of(tumour, at, depth)
    ventricle, vessel = template.sample(brain, "ventricle", "vessel")
    age = random.uniform(*settings.age)
    t1 = template.sample_t1(brain)
    code = np.where(depth > 0, _brain_code(t1, depth, ventricle, age, cells, random),
                    _skull_code(t1, outside, at, cells, random)).astype(np.float32)
    parts = [_part(layer, None, shape) for layer in _normal_layers(
        at, depth, dura, ventricle, vessel, cells, age, random)]
    if tumour is not None:
        white = np.clip(code - 1, 0, 1) * (depth > 0)
        box = _box(tumour, at)
        where = Surroundings(at[(slice(None), *box)], *(
            array[box] for array in (depth, dura, ventricle, white)), GRID_MM)
        parts += [_part(layer, box, shape) for layer in layers_of(tumour, where, of_tumour)]
        if tumour.kind == "cavity":
            _open_skull(code[box], where, tumour)
    tissues = {name: tissue.varied(random) for name, tissue in TISSUES.items()}
    return _Head((code * LEVELS).round().astype(np.uint8), parts, tissues)


def _part(layer: Layer, box: tuple[slice, ...] | None, shape: tuple[int, ...]) -> _Part:
    """The voxels of a layer, which lies on the grid or on a box of it."""
    there = np.nonzero(layer.share > FAINT)
    agent = layer.agent[there] if np.ndim(layer.agent) else layer.agent
    starts = [0, 0, 0] if box is None else [side.start for side in box]
    voxels = np.ravel_multi_index(
        [index + start for index, start in zip(there, starts, strict=True)], shape)
    return _Part(layer.tissue, voxels, layer.share[there], agent, layer.label)


def _positions(settings: BrainSettings, random: Randomness) -> np.ndarray:
    """Place in the template of every voxel of the patient's grid, (3, z, y, x)."""
    axes = _axes()
    shape = tuple(len(axis) for axis in axes)
    coarse = tuple(max(4, round((high - low) / BEND_GRID_MM))
                   for low, high in zip(LOW, HIGH, strict=True))
    whole = random.uniform(*settings.scale)
    at = np.empty((3, *shape), np.float32)
    for axis, places in enumerate(axes):
        bent = sum(spread * random.smooth(coarse, (width,) * 3, (BEND_GRID_MM,) * 3)
                   for width, spread in BENDS) * settings.bend
        # kinks of linear interpolation would show as creases
        bent = blur(bent, (1.0, 1.0, 1.0))
        fine = F.interpolate(bent[None, None], shape, mode="trilinear", align_corners=True)[0, 0]
        scale = whole * random.uniform(0.97, 1.03)
        line = np.reshape(places / scale, [-1 if i == axis else 1 for i in range(3)])
        at[axis] = fine.numpy() + line
    return at


def _axes() -> list[np.ndarray]:
    """Places of the planes of the patient's grid along S, P and L."""
    return [np.arange(low, high + step / 2, step, dtype=np.float32)
            for low, high, step in zip(LOW, HIGH, GRID_MM, strict=True)]


def _brain_code(t1, depth, ventricle, age, cells, random: Randomness) -> np.ndarray:
    """Fluid, grey and white matter: 0, 1, 2 and between."""
    wider = 3.0 * age * random.uniform(0.3, 1.2)  # of the ventricles on each side, mm
    surface = np.clip(1.3 - depth / 22, 0, 1)  # where sulci are
    sulci = (0.10 * age * random.uniform(0.6, 1.2) - 0.02) * surface
    code = np.interp(t1 + 0.012 * cells[6.0] - sulci, _BRAIN_T1, (0, 1, 1, 2))
    around = 0.6 + 3.0 * age * random.uniform(0.3, 1.0) * (1 + 0.3 * cells[25.0])
    wet = np.clip(0.5 + np.maximum(wider - ventricle, around - depth) / 1.5, 0, 1)
    wet = np.where(ventricle > wider + 1, np.clip(0.5 + (around - depth) / 1.5, 0, 1), wet)
    return code * (1 - wet)


def _skull_code(t1, outside, at, cells, random: Randomness) -> np.ndarray:
    """Skull, scalp and face: 3, 4, 5 and between."""
    # an average has no edges: unevenness makes a face of it
    uneven = np.clip(outside / 20, 0, 1) * np.clip((-at[0] - 10) / 20, 0, 1)
    uneven = 0.07 * (0.3 + uneven) * np.clip((t1 - 0.12) / 0.15, 0, 1)  # not of the air around
    code = np.interp(t1 + uneven * cells[6.0], _HEAD_T1, (3, 4, 4, 5))
    vault = random.uniform(5.5, 8.5)
    marrow = np.clip(1.3 - np.abs(outside / vault - 0.5) / 0.25, 0, 1) * (code < 3.6)
    marrow = marrow * np.clip((at[0] + 25) / 15, 0, 1)  # in the vault
    fill = 3 + 1.6 * random.uniform(0.35, 1.0) * marrow * np.clip(0.8 + 0.4 * cells[6.0], 0, 1.2)
    return np.maximum(code, fill * (t1 > 0.03))


def _normal_layers(at, depth, dura, ventricle, vessel, cells, age, random: Randomness):
    """Vessels, plexus, dura, mucosa, eyes, and white matter lesions of age."""
    wide = random.uniform(-0.5, 0.5)
    inner = np.clip(0.5 + (wide - vessel) / 1.2, 0, 1).astype(np.float32)
    in_ventricle = ventricle < 1.0
    plexus = inner * in_ventricle * (depth > 0)
    vein = inner * ~in_ventricle * (depth > -1.5)
    lining = np.clip(1.2 - dura, 0, 1) * (depth > -0.5) * np.clip(0.7 + 0.5 * cells[6.0], 0, 1)
    mucosa = np.logical_and.reduce([(axis > low) & (axis < high) for axis, (low, high) in
                                    zip(at, MUCOSA_MM, strict=True)])
    mucosa = mucosa * np.clip(0.2 + 1.2 * cells[6.0], 0, 1) * (depth < -4)
    eyes = np.sqrt((at[0] - EYES_MM[0]) ** 2 + (at[1] - EYES_MM[1]) ** 2
                   + (np.abs(at[2]) - EYES_MM[2]) ** 2)
    old = np.clip((age - 0.3) * random.uniform(0, 1.2), 0, 1)
    caps = old * np.clip((2 + 5 * old - ventricle) / 4 + 0.4 * cells[6.0], 0, 1)
    caps = caps * (ventricle > 0.5) * (depth > 15)
    return [
        Layer("gliosis", 0.8 * caps),
        Layer("grey", plexus, random.uniform(0.3, 0.7)),
        Layer("soft", 0.8 * lining, random.uniform(0.05, 0.35)),
        Layer("blood", vein, random.uniform(0.5, 1.0)),
        Layer("mucosa", mucosa, random.uniform(0.3, 0.7)),
        Layer("fluid", np.clip(EYE_MM + 0.5 - eyes, 0, 1) * (depth < -1)),
    ]


def _box(tumour: Tumour, at: np.ndarray) -> tuple[slice, ...]:
    """The part of the grid where something of the tumour may be."""
    low = np.min([centre - reach for centre, reach in reach_of(tumour)], axis=0)
    high = np.max([centre + reach for centre, reach in reach_of(tumour)], axis=0)
    box = []
    for axis, count in enumerate(at.shape[1:]):
        # the deformation is smooth: its middle lines show where planes of the grid lie
        line = np.moveaxis(at[axis], axis, 0)[:, ::12, ::12].reshape(count, -1)
        near = np.flatnonzero((line.max(1) > low[axis]) & (line.min(1) < high[axis]))
        box.append(slice(int(near[0]), int(near[-1]) + 1))
    return tuple(box)


def _open_skull(code: np.ndarray, where: Surroundings, tumour: Tumour) -> None:
    """The saw line around the bone flap of an operation."""
    lesion = tumour.lesions[0]
    away = where.at - np.reshape(lesion.balls[0][0], (3, 1, 1, 1))
    radial = np.sqrt((away**2).sum(0))
    saw = (np.abs(radial - lesion.radius - 8) < 1.5) & (where.depth < 0) & (where.depth > -9)
    code[saw] = _CODES.index("soft")


# ------------------------------------------------------------------------------------------ signals


def _signals(head: _Head, protocol: Protocol, machine: Scanner,
             contrast: bool) -> tuple[np.ndarray, float]:
    """Signal of every voxel of the patient's grid, and that of white matter."""
    values = [float(signal(head.tissues[name], protocol, machine.tesla)) for name in _CODES]
    mixed = np.interp(np.arange(256) / LEVELS, range(len(_CODES)), values).astype(np.float32)
    volume = mixed[head.code]
    flat = volume.reshape(-1)
    for part in head.parts:
        tissue = head.tissues[part.tissue] if isinstance(part.tissue, str) else part.tissue
        if contrast:
            value = np.interp(part.agent * machine.agent, AGENT_MILLIMOLAR,
                              signal(tissue, protocol, machine.tesla, AGENT_MILLIMOLAR))
        elif part.tissue == "blood" and protocol.kind == "spin echo":
            value = values[_CODES.index("dark")]  # flowing blood leaves before its echo
        else:
            value = signal(tissue, protocol, machine.tesla)
        flat[part.voxels] += part.share * (value - flat[part.voxels])
    return volume, values[_CODES.index("white")]


def _truth(head: _Head, series: _Series) -> np.ndarray:
    """What fills most of each voxel of a series; see :class:`SimulatedBrain`."""
    shares = np.zeros((3, head.code.size), np.float32)
    for part in head.parts:
        shares[:, part.voxels] *= 1 - part.share
        if part.label:
            shares[part.label - 1, part.voxels] += part.share
    seen = np.stack([series.scan(share.reshape(head.code.shape)) if share.any()
                     else np.zeros(series.size[::-1], np.float32) for share in shares])
    return ((seen.argmax(0) + 1) * (seen.sum(0) > 0.5)).astype(np.uint8)


def _received(image: np.ndarray, machine: Scanner, bias: torch.Tensor, settings: BrainSettings,
              random: Randomness) -> np.ndarray:
    """What the coils receive: uneven sensitivity, Rician noise (Gudbjartsson & Patz 1995)."""
    uneven = F.interpolate(bias[None, None], image.shape, mode="trilinear",
                           align_corners=True)[0, 0].numpy()
    image = image * np.exp(machine.bias * uneven)
    noise = settings.noise * machine.noise * random.uniform(0.8, 1.25)
    real, imaginary = (random.normal(*image.shape).numpy() for _ in range(2))
    return np.hypot(image + noise * real, noise * imaginary)


# ----------------------------------------------------------------------------------------- geometry


def _turn(up: float, back: float, left: float) -> np.ndarray:
    """Rotation by degrees about S, P and L; matrices act on L, P, S."""
    matrix = np.eye(3)
    for axis, angle in ((2, up), (1, back), (0, left)):
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        first, second = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[[first, first, second, second], [first, second, first, second]] = cos, -sin, sin, cos
        matrix = matrix @ step
    return matrix


def _slices_along(pose: np.ndarray) -> np.ndarray:
    """The technologist's slices: nodding of the head is followed, the rest is mostly not."""
    nod = np.degrees(np.arctan2(pose[2, 1], pose[1, 1]))
    return _turn(0.0, 0.0, nod)


def _motion(pose: np.ndarray, settings: BrainSettings,
            random: Randomness) -> tuple[np.ndarray, np.ndarray]:
    """Where the patient lies in one series: rotation and shift, L, P, S."""
    small = 0.5 * settings.motion
    turn = _turn(*(random.uniform(-small, small) for _ in range(3)))
    shift = np.array([random.uniform(-1, 1) for _ in range(3)])
    return turn @ pose, settings.motion * shift / max(1.0, float(np.linalg.norm(shift)))


class _Series:
    """The grid of one series, and how the patient lies in it."""

    def __init__(self, protocol: Protocol, place: tuple[np.ndarray, np.ndarray],
                 direction: np.ndarray, blur_pixels: float, random: Randomness) -> None:
        self.direction = direction
        self.spacing = np.array([protocol.pixel, protocol.pixel, protocol.spacing])
        lengths = [*protocol.field_of_view[::-1], protocol.coverage]
        self.size = np.round(lengths / self.spacing).astype(int)
        middle = MIDDLE_MM[::-1] + np.array(
            [random.uniform(-3, 3), random.uniform(-6, 0), random.uniform(-2, 6)])
        self.origin = middle - direction @ (self.spacing * (self.size - 1) / 2)
        sampled = np.array(GRID_MM) ** 2  # slices of the grid itself average, too
        widths = np.array([protocol.thickness**2 / 12 - sampled[0] / 12,
                           *[(blur_pixels * protocol.pixel) ** 2] * 2])
        sigmas = np.sqrt(np.maximum(widths, 0)) / GRID_MM
        self.blurs = [_gaussian(len(axis), float(sigma))
                      for axis, sigma in zip(_axes(), sigmas, strict=True)]
        turn, shift = place
        self.to_patient = sitk.AffineTransform(turn.T.ravel().tolist(), (-turn.T @ shift).tolist(),
                                               MIDDLE_MM[::-1])

    def scan(self, volume: np.ndarray) -> np.ndarray:
        """A volume of the patient's grid as this series sees it."""
        along_z, along_y, along_x = self.blurs
        rows = along_y @ (volume @ along_x.T)
        softened = (along_z @ rows.reshape(len(rows), -1)).reshape(volume.shape)
        patient = sitk.GetImageFromArray(softened)
        patient.SetSpacing(GRID_MM[::-1])
        patient.SetOrigin(LOW[::-1])
        return sitk.GetArrayFromImage(sitk.Resample(
            patient, self.size.tolist(), self.to_patient, sitk.sitkLinear, self.origin.tolist(),
            self.spacing.tolist(), self.direction.ravel().tolist(), 0.0))

    def image(self, array: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing.tolist())
        image.SetOrigin(self.origin.tolist())
        image.SetDirection(self.direction.ravel().tolist())
        return image


@lru_cache(maxsize=64)
def _gaussian(count: int, sigma: float) -> np.ndarray:
    """Matrix that blurs a line of voxels, sigma in voxels; products with it are fast."""
    if sigma < 0.15:
        return np.eye(count, dtype=np.float32)
    away = np.subtract.outer(np.arange(count), np.arange(count))
    weights = np.exp(-0.5 * (away / sigma) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
