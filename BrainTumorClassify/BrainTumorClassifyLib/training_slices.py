# SPDX-License-Identifier: Apache-2.0
"""Patients as our network learns from them: slices of the region, and how they are varied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ReadingRoomLib.results import whole_file

from .features import features_of
from .pseudo_rgb import pseudo_rgb
from .regions import Region, evenly, plane_of, slice_places
from .sequences import SEQUENCES
from .study import Study

STEP_PATIENTS, STEP_SLICES = 12, 5  # in a step of training, and slices of each
PIXELS = 128  # of the squares that our network sees
WIDER = 1.25  # times the square is cut, so that it can be moved and turned


@dataclass(frozen=True)
class PatientSlices:
    """The region of a patient.

    Attributes:
        slices: (slices, sequences, height, width), uint8; the square is in the middle.
        side_mm, extent_mm: of the square, and of the slices together.
        kind: of the tumour.
        patient, site: whose it is, and where it was scanned.
        atypical: in what the tumour is unlike others of its kind; empty when it is not.
        wider: how many times the square is what was cut.
    """

    slices: np.ndarray
    side_mm: float
    extent_mm: float
    kind: str
    patient: str
    site: str = ""
    atypical: str = ""
    wider: float = WIDER


def cut_patient(study: Study, region: Region, kind: str, patient: str, site: str = "",
                atypical: str = "") -> PatientSlices:
    """Cut the slices of a region, with some of what lies around it."""
    wider = Region(region.centre_mm, WIDER * region.side_mm, region.slices)
    images = pseudo_rgb(study, wider, round(WIDER * PIXELS))
    return PatientSlices(np.rint(255 * images).astype(np.uint8), region.side_mm,
                         extent_mm(study, region), kind, patient, site, atypical)


def extent_mm(study: Study, region: Region) -> float:
    """From the first to the last slice of a region and a slice's own thickness."""
    places = np.sort(slice_places(study.reference, plane_of(study.reference))[list(region.slices)])
    thickness = study.reference.GetSpacing()[plane_of(study.reference).axis]
    return float(places[-1] - places[0] + thickness)


def save_patient(patient: PatientSlices, path: Path) -> None:
    """Write a patient at once: a kill leaves nothing or all."""
    with whole_file(path) as unfinished:
        np.savez_compressed(unfinished, **vars(patient))


def read_patient(path: Path) -> PatientSlices:
    with np.load(path) as arrays:
        return PatientSlices(
            arrays["slices"], float(arrays["side_mm"]), float(arrays["extent_mm"]),
            *(str(arrays[name]) for name in ("kind", "patient", "site", "atypical")),
            float(arrays["wider"]) if "wider" in arrays else WIDER)


@dataclass(frozen=True)
class Ranges:
    """In which slices are varied: degrees, shares of the square, and of the grey values.

    ``absent`` says how often each sequence is left out; at least one of T1 and T1 with contrast
    agent is there.
    """

    degrees: float = 20.0
    scale: tuple[float, float] = (0.85, 1.15)
    shift: float = 0.06
    gain: tuple[float, float] = (0.85, 1.15)
    gamma: tuple[float, float] = (0.75, 1.3)
    noise: tuple[float, float] = (0.0, 0.04)
    absent: tuple[float, float, float] = (0.15, 0.15, 0.05)


class PatientBatches(Dataset):
    """Patients for training, varied; item k is drawn from the seed and k alone.

    Args:
        patients: to draw from, each kind as often as any other.
        kinds: names of the classes.
        count: number of items.
        size: patients in an item.
        slices: of each patient; those with few are repeated.
        seed: first number of every draw.
        ranges: in which they vary.
        pixels: side of the images.
    """

    def __init__(self, patients: list[PatientSlices], kinds: tuple[str, ...], count: int,
                 size: int, slices: int, seed: int, ranges: Ranges = Ranges(),
                 pixels: int = PIXELS) -> None:
        self.patients, self.kinds, self.count = patients, kinds, count
        self.size, self.slices, self.seed, self.ranges = size, slices, seed, ranges
        self.pixels = pixels
        self.of_kind = [[number for number, one in enumerate(patients) if one.kind == kind]
                        for kind in kinds]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((self.seed, index))
        kinds = random.integers(0, len(self.kinds), self.size)
        parts = [self._drawn(self.patients[random.choice(self.of_kind[kind])], random)
                 for kind in kinds]
        images, present, features = (torch.from_numpy(np.stack(part))
                                     for part in zip(*parts, strict=True))
        return {"image": images, "present": present, "features": features,
                "label": torch.from_numpy(kinds)}

    def _drawn(self, patient: PatientSlices, random: np.random.Generator,
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(patient.slices)
        chosen = np.sort(random.choice(count, self.slices, replace=count < self.slices))
        images, scale = vary(patient.slices[chosen], random, self.ranges, patient.wider,
                             self.pixels)
        present = random.random(len(SEQUENCES)) >= self.ranges.absent
        if not (present[0] or present[2]):
            present[2] = True
        images = images * present[:, None, None]
        features = features_of(images, present, patient.side_mm / scale, patient.extent_mm)
        return images.astype(np.float32), present.astype(np.float32), features


def kind_loss(answer: tuple[torch.Tensor, ...], kinds: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of what :class:`.TumorNetwork` answers, a little softened."""
    return F.cross_entropy(answer[0].float(), kinds, label_smoothing=0.05)


def vary(slices: np.ndarray, random: np.random.Generator, ranges: Ranges, wider: float = WIDER,
         pixels: int = PIXELS) -> tuple[np.ndarray, float]:
    """Show slices of a patient as another scanner would, in another square.

    Args:
        slices, wider: of :class:`PatientSlices`.
        pixels: side of the images.

    Returns:
        (slices, sequences, pixels, pixels), float32, 0 to 1, and how much larger things are.
    """
    images = torch.from_numpy(slices).float() / 255
    scale = float(random.uniform(*ranges.scale))
    flipped = -1.0 if random.random() < 0.5 else 1.0  # left and right are alike
    angle = np.radians(random.uniform(-1, 1) * ranges.degrees)
    cos, sin = np.cos(angle) / (scale * wider), np.sin(angle) / (scale * wider)
    x, y = random.uniform(-1, 1, 2) * 2 * ranges.shift / wider
    matrix = torch.tensor([[flipped * cos, -flipped * sin, x], [sin, cos, y]], dtype=torch.float32)
    grid = F.affine_grid(matrix.expand(len(images), 2, 3),
                         [len(images), len(SEQUENCES), pixels, pixels], align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False).numpy()
    for channel in range(len(SEQUENCES)):
        gain, gamma = random.uniform(*ranges.gain), random.uniform(*ranges.gamma)
        noise = random.uniform(*ranges.noise) * random.standard_normal(moved[:, channel].shape,
                                                                      np.float32)
        moved[:, channel] = (gain * moved[:, channel] ** gamma + noise).clip(0, 1)
    return moved.astype(np.float32), scale


def middle_of(patient: PatientSlices, most: int, pixels: int = PIXELS) -> np.ndarray:
    """The square itself, not varied, at most so many slices: (slices, sequences, ...), 0 to 1."""
    chosen = patient.slices[evenly(len(patient.slices), most)]
    edge = round((1 - 1 / patient.wider) / 2 * chosen.shape[-1])
    square = chosen[..., edge:chosen.shape[-2] - edge, edge:chosen.shape[-1] - edge]
    square = square / np.float32(255)
    if square.shape[-1] == pixels:
        return square
    return F.interpolate(torch.from_numpy(square), (pixels, pixels), mode="bilinear",
                         align_corners=False, antialias=True).numpy()
