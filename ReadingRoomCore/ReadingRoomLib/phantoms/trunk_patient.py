# SPDX-License-Identifier: Apache-2.0
"""One patient's trunk: size, build, breathing, variants, and the outlines that follow from them.

Standard coordinates: mm along L, P, S; height 0 is the upper face of the sacrum, x = 0 the midline,
y = 0 about the middle of the body. Proportions are those of an adult of about 175 cm, from general
anatomical knowledge; no scan went into them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.interpolate import PchipInterpolator

from .randomness import Randomness

Phase = Literal["none", "arterial", "portal", "late"]
SIDES = {"left": 1.0, "right": -1.0}
LEVELS = ("L5", "L4", "L3", "L2", "L1", *(f"T{i}" for i in range(12, 0, -1)), "C7", "C6", "C5")
"""Vertebrae from the sacrum up."""
_HEIGHTS = (36, 37, 36, 35, 34, 32, 29, 28, 27, 26, 25, 24.5, 24, 23, 22, 21, 20, 18, 17, 16)
_BODY_Y = (28, 21, 18, 21, 27, 33, 39, 45, 50, 54, 57, 58, 57, 53, 47, 39, 31, 25, 20, 16)
LEVEL_Z = dict(zip(LEVELS, (np.cumsum(_HEIGHTS) - np.array(_HEIGHTS) / 2).tolist(), strict=True))
DISC_SHARE = 0.2  # of the height of a vertebra with its disc

# height: half width, front and back of the inner face of ribs and belly wall; the back is the
# spine's body centre plus what the table says
_CAVITY = np.array([
    (496, 12, 10, 14), (486, 34, 3, 18), (470, 60, -9, 22), (450, 80, -21, 25), (427, 97, -33, 27),
    (400, 110, -50, 29), (357, 122, -70, 30), (307, 131, -87, 30), (280, 134, -93, 30),
    (250, 135, -97, 30), (210, 133, -98, 30), (160, 129, -96, 30), (110, 125, -93, 30),
    (60, 122, -91, 30), (20, 116, -89, 30), (-20, 104, -86, 36), (-60, 66, -80, 44),
    (-100, 47, -60, 44), (-130, 32, -40, 40), (-150, 16, -10, 30)], float)
# height: half width, front and back of the muscles under the fat
_MUSCLE = np.array([
    (540, 57, -40, 62), (520, 58, -42, 66), (505, 64, -42, 76), (490, 84, -42, 86),
    (475, 116, -42, 94), (455, 146, -44, 103), (440, 160, -50, 108), (420, 162, -62, 115),
    (400, 158, -76, 119), (357, 152, -91, 121), (307, 150, -101, 117), (280, 150, -106, 113),
    (250, 149, -111, 107), (210, 147, -112, 101), (160, 145, -110, 94), (110, 143, -107, 89),
    (60, 143, -105, 91), (20, 147, -102, 100), (-20, 154, -98, 110), (-60, 161, -92, 116),
    (-100, 166, -84, 116), (-140, 166, -78, 108), (-170, 164, -72, 98)], float)
_FAT = np.array([(540, .35), (500, .4), (440, .5), (357, .6), (280, .8), (160, 1.1), (60, 1.3),
                 (-20, 1.3), (-100, 1.2), (-220, .9), (-300, .7)], float)
SQUARE = 0.4  # of the outlines: 0 is an ellipse, 1 a rectangle


@dataclass(frozen=True)
class Outline:
    """A tube of squarish sections around the height axis, given at some heights.

    The section at a height is the curve X² + Y² - k X² Y² = 1 (Fernández-Guasti's squircle) with
    X = x / half width and Y = (y - centre) / half depth.
    """

    heights: np.ndarray  # rising
    half_width: np.ndarray
    front: np.ndarray
    back: np.ndarray

    def at(self, z) -> tuple[np.ndarray, ...]:
        """Half width, middle and half depth at heights."""
        z = np.clip(z, self.heights[0], self.heights[-1])
        width, front, back = self._curves(z).T
        return width, (front + back) / 2, (back - front) / 2

    @cached_property
    def _curves(self) -> PchipInterpolator:
        return PchipInterpolator(self.heights, np.stack(
            [self.half_width, self.front, self.back], axis=1))

    def grown(self, side: float, front: float, back: float, share=1.0) -> Outline:
        """Farther out by so many mm, times a share at each height."""
        return replace(self, half_width=self.half_width + side * share,
                       front=self.front - front * share, back=self.back + back * share)

    def distance(self, at: np.ndarray) -> np.ndarray:
        """About how far standard points (3, ...) lie outside, mm; negative inside."""
        x, y, z = at
        table = np.arange(self.heights[0], self.heights[-1] + 1.0)
        index = np.clip(z - table[0], 0, len(table) - 1.001)
        low = index.astype(np.int32)
        part = index - low
        width, middle, depth = (_between(values.astype(np.float32), low, part)
                                for values in self.at(table))
        a = np.square(x / width)
        b = np.square((y - middle) / depth)
        # beyond the square around the outline the product would turn the sign
        value = a + b - SQUARE * np.minimum(a, 1.0) * np.minimum(b, 1.0)
        return (np.sqrt(np.maximum(value, 0)) - 1) * np.minimum(width, depth)

    def point(self, angle: float, z: float, outside: float = 0.0) -> np.ndarray:
        """The point of the outline at an angle from the back (0) over the left side to the front.

        Args:
            angle: radians; pi is the front.
            z: height, mm.
            outside: so many mm farther out.
        """
        width, middle, depth = (float(v) for v in self.at(z))
        sine, cosine = np.sin(angle), np.cos(angle)
        product = SQUARE * (sine * cosine) ** 2
        radius = 1.0 if product < 1e-9 else np.sqrt((1 - np.sqrt(1 - 4 * product)) / (2 * product))
        return np.array([(width + outside) * sine * radius,
                         middle + (depth + outside) * cosine * radius, z])


def _between(table: np.ndarray, low: np.ndarray, part: np.ndarray) -> np.ndarray:
    return table[low] * (1 - part) + table[low + 1] * part


@dataclass(frozen=True)
class Patient:
    """What is drawn once for a patient; lengths in standard mm.

    Attributes:
        female: proportions of pelvis, shoulders and chest wall.
        fat_mm: of the belly wall under the skin.
        belly_mm: how far the belly stands out by fat within.
        muscle_mm: how much thicker (or thinner, below 0) muscles are.
        breath_mm: how far the diaphragm is lower than usual.
        phase: of contrast agent.
        absent: kidney_left, kidney_right, spleen or gallbladder that is not there.
        fork_mm: how much higher the aorta divides than usual.
        shoulders, pelvis: width against the usual one.
        roundness: of the back of the chest against the usual one (chest depth).
    """

    female: bool
    fat_mm: float
    belly_mm: float
    muscle_mm: float
    breath_mm: float
    phase: Phase
    absent: frozenset[str]
    fork_mm: float
    shoulders: float
    pelvis: float
    chest_mm: float

    @cached_property
    def cavity(self) -> Outline:
        """Inner face of ribs, belly wall and pelvis."""
        table = _CAVITY[::-1]
        z = table[:, 0]
        belly = self.belly_mm * np.exp(-np.square((z - 100) / 110))
        chest = self.chest_mm * np.exp(-np.square((z - 300) / 110))
        low = np.exp(-np.square((z + 60) / 60))
        return Outline(z, table[:, 1] * (1 + (self.pelvis - 1) * low) + 0.35 * belly
                       + 0.6 * chest, table[:, 2] - belly - chest, body_y(z) + table[:, 3])

    @cached_property
    def muscle(self) -> Outline:
        """Outer face of the muscles."""
        table = _MUSCLE[::-1]
        z = table[:, 0]
        belly = self.belly_mm * np.exp(-np.square((z - 100) / 110))
        chest = self.chest_mm * np.exp(-np.square((z - 300) / 110))
        wide = 1 + (self.shoulders - 1) * np.exp(-np.square((z - 440) / 60)) \
            + (self.pelvis - 1) * np.exp(-np.square((z + 80) / 80))
        return Outline(z, table[:, 1] * wide + 0.35 * belly + 0.6 * chest + 0.6 * self.muscle_mm,
                       table[:, 2] - belly - chest - 0.3 * self.muscle_mm,
                       table[:, 3] + 0.6 * self.muscle_mm)

    @cached_property
    def skin(self) -> Outline:
        """Outer face of the skin of the torso."""
        share = np.interp(self.muscle.heights, _FAT[::-1, 0], _FAT[::-1, 1])
        fat = 2.5 + self.fat_mm * share
        return self.muscle.grown(1.0, 0.9, 0.85, fat)

    def fat_at(self, z: float) -> float:
        """Thickness of the fat under the skin."""
        return float(2.5 + self.fat_mm * np.interp(z, _FAT[::-1, 0], _FAT[::-1, 1]))

    def lowered(self, points: np.ndarray) -> np.ndarray:
        """Points of belly organs (..., >= 3) moved down with the diaphragm; copies."""
        points = np.array(points, float)
        share = np.clip((points[..., 2] - 40) / 190, 0, 1)
        points[..., 2] -= self.breath_mm * share * share * (3 - 2 * share)
        return points


_BODY = PchipInterpolator(
    [-160, -112, -98, -82, -62, -38, -12, *LEVEL_Z.values()],
    [66, 76, 82, 82, 76, 62, 44, *_BODY_Y])


def body_y(z):
    """y of the middle of the vertebral bodies and of the sacrum at heights."""
    return _BODY(np.clip(z, -160, LEVEL_Z["C5"]))


def draw_patient(random: Randomness) -> tuple[Patient, tuple[float, float, float]]:
    """A patient, and the scale against the standard trunk along L, P and S."""
    female = random.chance(0.5)
    normal = random.numpy.standard_normal
    height = float(np.clip((0.95 if female else 1.01) + 0.045 * normal(), 0.84, 1.13))
    girth = float(np.clip(0.5 + 0.5 * height + (0.06 * normal() - 0.03 * female), 0.84, 1.16))
    thickness = float(np.clip(np.exp(0.5 * normal()), 0.3, 2.5))
    absent = {name for name, rate in (("kidney_left", .015), ("kidney_right", .015),
                                      ("spleen", .02), ("gallbladder", .12))
              if random.chance(rate)}
    if {"kidney_left", "kidney_right"} <= absent:
        absent.remove("kidney_left")
    patient = Patient(
        female=female,
        fat_mm=(14 + 6 * female) * thickness,
        belly_mm=float(np.clip(12 * thickness * random.uniform(0.2, 1.8) - 10, -8, 45)),
        muscle_mm=random.uniform(-6, 4) + (0 if female else 4),
        breath_mm=random.uniform(-18, 16),
        phase=str(random.numpy.choice(("none", "arterial", "portal", "late"),
                                      p=(0.4, 0.15, 0.35, 0.1))),
        absent=frozenset(absent),
        fork_mm=float(np.clip(9 * normal(), -24, 24)),
        shoulders=random.uniform(0.94, 1.04) - 0.04 * female,
        pelvis=random.uniform(0.96, 1.03) + 0.05 * female,
        chest_mm=random.uniform(-6, 8),
    )
    depth = float(np.clip(girth * random.uniform(0.95, 1.06), 0.84, 1.16))
    return patient, (girth, depth, height)
