# SPDX-License-Identifier: Apache-2.0
"""Spine, ribs and breastbone of a simulated trunk."""

from __future__ import annotations

import numpy as np

from .randomness import Randomness
from .trunk_patient import DISC_SHARE, LEVEL_Z, LEVELS, SIDES, Patient, body_y
from .trunk_shapes import Shape, Solid, Tube, smooth_line, tube

RIBS = 12
# per rib: angle of the bony front end in degrees from the back, fall from head to front end (mm)
_RIB_END = (140, 146, 148, 148, 147, 145, 142, 137, 130, 120, 96, 66)
_RIB_FALL = (26, 42, 56, 66, 75, 82, 88, 90, 90, 84, 66, 42)
# height at which the cartilage of the true ribs meets the breastbone
_STERNAL_Z = (429, 393, 371, 352, 334, 318, 304)
Marks = dict[str, np.ndarray]


def build_spine_and_ribs(patient: Patient, random: Randomness) -> tuple[list[Shape], Marks]:
    """Shapes, in the order of drawing, and landmarks in standard mm."""
    shapes: list[Shape] = []
    marks: Marks = {}
    _ribs(patient, random, shapes, marks)
    _sternum(patient, random, shapes, marks)
    _sacrum(shapes, marks)
    for level in LEVELS[::-1]:
        _vertebra(level, random, shapes, marks)
    return shapes, marks


def body_axes(level: str) -> tuple[float, float, float]:
    """Half width, half depth and half height of a vertebral body, mm."""
    i = LEVELS.index(level)
    height = np.diff(np.array([LEVEL_Z[name] for name in LEVELS]))[min(i, len(LEVELS) - 2)]
    z = LEVEL_Z[level]
    width = np.interp(z, [18, 161, 194, 357, 449, 489, 523], [26, 22, 21, 15.5, 16, 14, 12])
    depth = np.interp(z, [18, 161, 194, 357, 449, 489, 523], [18, 16.5, 16, 15, 10, 8.5, 8])
    return float(width), float(depth), float(height * (1 - DISC_SHARE) / 2)


def spine_frame(z: float) -> np.ndarray:
    """Axes of the spine at a height in columns: to the left, to the back, up along the spine."""
    slope = float(body_y(z + 8) - body_y(z - 8)) / 16
    up = np.array([0, slope, 1]) / np.hypot(slope, 1)
    return np.stack([[1, 0, 0], np.cross(up, [1, 0, 0]), up], axis=1)


def _vertebra(level: str, random: Randomness, shapes: list, marks: Marks) -> None:
    name = f"vertebrae_{level}"
    z = LEVEL_Z[level]
    frame = spine_frame(z)
    centre = np.array([0, float(body_y(z)), z])
    a, b, h = body_axes(level)
    chest = level.startswith("T")
    part = float(np.interp(z, [18, 161, 230, 420, 520], [1.0, 1.0, 0.8, 0.75, 0.7]))

    def at(x, y, up):
        return centre + frame @ np.array([x, y, up])

    def limb(first, last, r0, r1, **more):
        shapes.append(tube(name, (*at(*first), r0), (*at(*last), r1), **more))

    below = z - (LEVEL_Z[level] - h) + 3
    shapes.append(Solid("intervertebral_discs", at(0, 0, -below), (a * .97, b * .97, 5.0), frame,
                        round=False))
    canal = b + 15 * part
    for sign in SIDES.values():
        limb((.62 * sign * a, .7 * b, 4 * part), (.72 * sign * a, canal - 4, 3 * part),
             4.5 * part + .5, 4.2 * part)
        limb((.7 * sign * a, canal - 4, 4), (sign * 2, canal + 8 * part, -4 * part),
             4.2 * part, 4 * part)
        reach = (a + (18 if chest else 22) * part) * random.uniform(0.95, 1.05)
        back = canal + (8 if chest else -3)
        limb((.75 * sign * a, canal - 3, 3), (sign * reach, back, 5 if chest else 2),
             4.5 * part, 3.4 * part)
        limb((.72 * sign * a, canal - 1, h * .9), (.72 * sign * a, canal + 1, -h * 1.15),
             5 * part, 5.5 * part)
    # spinous processes of the mid-chest point down, those of the loins backwards
    length = float(np.interp(z, [18, 91, 194, 357, 449, 489, 523], [17, 24, 24, 26, 30, 33, 20]))
    fall = float(np.interp(z, [18, 161, 224, 357, 430, 489], [5, 7, 14, 26, 18, 10]))
    tip = (random.uniform(-2, 2), canal + 8 * part + length, -fall)
    limb((0, canal + 6 * part, -4 * part), tip, 4 * part, 4.4 * part,
         stretch=(1.1, 1, 0.42) if level.startswith("L") else (1, 1, 0.8))
    shapes.append(Solid(name, centre, (a, b, h), frame, round=False))
    if f"vertebra_{level}_centre" not in marks and level not in ("C5", "C6"):
        marks[f"vertebra_{level}_centre"] = centre
    if level in ("C7", "T6", "L3"):
        marks[f"spinous_process_{level}_tip"] = at(*tip) + frame @ [0, 3.6 * part, 0]


def _sacrum(shapes: list, marks: Marks) -> None:
    heights = (-13, -36, -58, -78, -94)
    for z, a, b in zip(heights, (27, 22, 18, 14, 11), (17, 13, 10, 8, 7), strict=True):
        frame = spine_frame(z)
        centre = np.array([0, float(body_y(z)), z])
        shapes.append(Solid("sacrum", centre, (a, b, 12.5), frame, round=False))
        for sign in SIDES.values():  # the wing, narrowing downwards
            wide = np.interp(z, [-94, -58, -13], [20, 40, 56])
            outer = centre + frame @ [sign * wide, 8, 0]
            shapes.append(tube("sacrum", (*(centre + frame @ [sign * a * .7, 2, 0]), b * .8),
                               (*outer, b * .55), stretch=(1, 1, .85)))
        crest = centre + frame @ [0, b + 17, 0]
        shapes.append(tube("sacrum", (*crest, 5), (*(crest + [0, 2, -12]), 4)))
        for sign in SIDES.values():
            shapes.append(tube("sacrum", (*(centre + frame @ [sign * a, b + 6, 0]), 5),
                               (*crest, 4)))
    line = [(0, float(body_y(z)) + dy, z, r) for z, dy, r in
            ((-104, 0, 7), (-113, -2, 5.5), (-122, -7, 4.5), (-128, -13, 3.5))]
    shapes.append(tube("sacrum", *line))
    marks["coccyx_tip"] = np.array(line[-1][:3]) + [0, -1, -2.5]
    top = spine_frame(-13)
    centre = np.array([0, float(body_y(-13)), -13])
    marks["sacral_promontory"] = centre + top @ [0, -17, 12]
    for side, sign in SIDES.items():
        marks[f"sacroiliac_joint_{side}"] = np.array([sign * 50, body_y(-20) + 14, -20.0])


def _ribs(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    turn = random.uniform(-0.15, 0.15)  # ribs stand steeper in some chests
    ends = random.numpy.normal(0, 3.0, (2, RIBS))
    for number in range(RIBS, 0, -1):
        for side, sign in SIDES.items():
            line = _rib_line(patient, number, sign, 1 + turn, ends[int(sign > 0), number - 1])
            name = f"rib_{side}_{number}"
            thick = 3.6 if 2 < number < 11 else 3.2
            radii = np.full(len(line), thick)
            radii[:2] = 3.0
            shapes.append(Tube(name, line, radii, stretch=(1, 1, .62)))
            tip = line[-1] + 2.0 * direction(line[-2], line[-1])
            if number in (1, 6, 12):
                marks[f"rib_{number}_tip_{side}"] = tip
            if number <= 10:  # under the rib, whose end is a landmark
                shapes.insert(0, _cartilage(patient, number, sign, line))


def _rib_line(patient: Patient, number: int, sign: float, steep: float, more: float) -> np.ndarray:
    z_head = LEVEL_Z[f"T{number}"] + (8 if number > 1 else 4)
    y = float(body_y(z_head))
    a, b, _ = body_axes(f"T{number}")
    fall = _RIB_FALL[number - 1] * steep
    start = np.radians(np.interp(number, [1, 2, 4, 12], [55, 42, 30, 27]))
    end = np.radians(_RIB_END[number - 1] + more)
    points = [np.array([sign * (a + 1), y + b * .7, z_head]),
              np.array([sign * (a + 17), y + b + 17, z_head + 1])]
    # twelfth ribs point down, the others fall less towards the front
    for s in np.linspace(0, 1, max(4, round(14 * (end - start) / 2)))[0:]:
        z = z_head - 2 - fall * (1.25 * s - .25 * s * s)
        point = patient.cavity.point(start + s * (end - start), z, 5.0)
        point[0] *= sign
        points.append(point)
    return smooth_line(np.array(points), 9.0)


def _cartilage(patient: Patient, number: int, sign: float, line: np.ndarray) -> Shape:
    tip = line[-1]
    if number <= len(_STERNAL_Z):
        z = _STERNAL_Z[number - 1]
        end = np.array([sign * (24 if number == 1 else 19), sternum_y(patient, z), z])
    else:  # false ribs lean on the cartilage above
        z = (262, 240, 214)[number - 8]
        end = patient.cavity.point(np.radians((160, 154, 146)[number - 8]), z, 5.0)
        end[0] *= sign
    z = (2 * tip[2] + end[2]) / 3 - (6 if 3 < number < 11 else 0)
    angle = np.arctan2(sign * (tip[0] + end[0]) / 2,
                       -(tip[1] + end[1]) / 2 + float(patient.cavity.at(z)[1]))
    bend = patient.cavity.point(np.pi - abs(angle), z, 5.0)
    bend[0] *= sign
    points = smooth_line(np.stack([tip, bend, end]), 9.0)
    return Tube("costal_cartilages", points, np.full(len(points), 4.2), stretch=(1, 1, .75))


def sternum_y(patient: Patient, z: float) -> float:
    """y of the breastbone's middle layer."""
    _, middle, depth = patient.cavity.at(z)
    return float(middle - depth) - 7.0


def _sternum(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    def plate(name_z, widths, **more):
        for (z0, z1), (w0, w1) in zip(name_z, widths, strict=True):
            y0, y1 = sternum_y(patient, z0), sternum_y(patient, z1)
            for x in np.linspace(-1, 1, 7):
                shapes.append(tube("sternum", (x * w0, y0, z0, 6), (x * w1, y1, z1, 6), **more))

    top = 436.0
    plate(((top - 5, 418), (418, 396)), ((17, 24), (24, 14)))
    plate(((391, 350), (350, 310), (310, 292)), ((11, 14), (14, 17), (17, 10)))
    low = 262 + random.uniform(-8, 8)
    y = sternum_y(patient, 288)
    shapes.append(tube("sternum", (0, y, 290, 6), (random.uniform(-4, 4), y - 1, low, 3.5),
                       stretch=(.8, 1, 1)))
    tip = shapes[-1].points[-1]
    marks["suprasternal_notch"] = np.array([0, sternum_y(patient, top - 5), top - 0.5])
    marks["sternal_angle"] = np.array([0, sternum_y(patient, 393.5), 393.5])
    marks["xiphoid_tip"] = tip + [0, 0, -2.5]


def direction(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Unit vector from one point to another."""
    way = np.asarray(b, float) - a
    return way / np.linalg.norm(way)
