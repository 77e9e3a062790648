# SPDX-License-Identifier: Apache-2.0
"""Shoulder girdle, hip bones and thigh bones of a simulated trunk."""

from __future__ import annotations

import numpy as np

from .randomness import Randomness
from .trunk_bones import Marks, direction, sternum_y
from .trunk_patient import SIDES, Patient, body_y
from .trunk_shapes import Shape, Solid, Tube, smooth_line, smooth_tube, tube

HIP = np.array([89.0, -2.0, -78.0])  # centre of the left femoral head
# half of the distance between the pubic bones where it is least. Means of adults in images are 2.6
# to 5.9 mm (Becker et al., J Anat 2010, table 2), more only at its front in axial CT
HALF_SYMPHYSIS_MM = 2.0


def build_limb_bones(patient: Patient, random: Randomness) -> tuple[list[Shape], Marks]:
    """Shapes, in the order of drawing, and landmarks in standard mm."""
    shapes: list[Shape] = []
    marks: Marks = {}
    for side, sign in SIDES.items():
        _shoulder(patient, side, sign, random, shapes, marks)
        _hip(patient, side, sign, random, shapes, marks)
        _femur(patient, side, sign, random, shapes, marks)
    return shapes, marks


def _shoulder(patient: Patient, side: str, sign: float, random: Randomness, shapes: list,
              marks: Marks) -> None:
    wide = patient.shoulders
    lift = random.uniform(-6, 8)  # of raised arms

    def at(x, y, z):
        return np.array([sign * x * wide, y, z + lift])

    # shoulder blade: a thin fan from the inner border to the socket, lying on the ribs
    glenoid = at(136, 44, 428)
    border = [at(70, 92, 446), at(74, 103, 412), at(78, 106, 376), at(85, 104, 342),
              at(90, 101, 324)]
    border = smooth_line(np.array(border), 12.0)
    shapes.append(Tube(f"scapula_{side}", border, np.full(len(border), 4.0)))
    for point in border:
        middle = (point * .5 + glenoid * .5) + [0, 6, 0]
        line = smooth_line(np.stack([point, middle, glenoid + [-sign * 8, 2, 0]]), 14.0)
        shapes.append(Tube(f"scapula_{side}", line, np.linspace(3, 4.5, len(line)),
                           stretch=(1, 1, .6)))
    acromion = at(160, 38, 468)
    shapes[:0] = [
        tube(f"humerus_{side}", (*at(160, 40, 428), 23)),
        tube(f"humerus_{side}", (*at(164, 36, 440), 19), (*at(176, 22, 470), 12),
             (*at(206, 8, 560), 11)),
    ]
    shapes += [
        tube(f"scapula_{side}", (*glenoid, 10), (*(glenoid - [sign * 8, 0, 0]), 8),
             stretch=(1.6, 1, .7)),
        smooth_tube(f"scapula_{side}", (*at(76, 108, 428), 4), (*at(116, 96, 446), 6),
                    (*at(148, 70, 466), 7), (*acromion, 6.5), stretch=(1, .9, 1.2)),
        tube(f"scapula_{side}", (*at(126, 38, 440), 6), (*at(128, 12, 446), 4.5)),
    ]
    inner = np.array([sign * 22, sternum_y(patient, 430) + 3, 437.0])
    outer = acromion + [-sign * 10, -8, 2]
    line = smooth_line(np.array([
        (*inner, 8.5), (*at(60, -30 - .5 * patient.chest_mm, 446), 6),
        (*at(105, 2, 458), 5.5), (*outer, 6)]), 9.0)
    shapes.append(Tube(f"clavicula_{side}", line[:, :3], line[:, 3]))
    marks[f"clavicle_sternal_end_{side}"] = inner - [sign * 6, 0, 0]
    marks[f"acromion_{side}"] = acromion + [sign * 4.5, -1, 0]
    marks[f"glenoid_{side}"] = glenoid + [sign * 4, 0, 0]
    marks[f"scapula_inferior_angle_{side}"] = border[-1] + [0, 0, -3]


def hip_centre(patient: Patient, sign: float) -> np.ndarray:
    """Centre of a femoral head."""
    return HIP * [sign * patient.pelvis, 1, 1]


def _hip(patient: Patient, side: str, sign: float, random: Randomness, shapes: list,
         marks: Marks) -> None:
    name = f"hip_{side}"
    flare = patient.pelvis

    def at(x, y, z):
        return np.array([sign * x * flare, y, z])

    head = hip_centre(patient, sign)
    crest = smooth_line(np.array([
        at(119, -66, -6), at(130, -46, 26), at(136, -12, 48), at(128, 26, 54),
        at(104, 62, 46), at(74, 90, 26), at(50, 104, -4)]), 9.0)
    shapes.append(Tube(name, crest, np.full(len(crest), 6.0)))
    # the wing of the ilium: a fan from the roof of the socket to the crest, hollow inside
    for i, point in enumerate(crest):
        s = i / (len(crest) - 1)
        root = head + np.array([sign * (2 - 22 * s), -16 + 66 * s, 36 - 6 * s])
        middle = .5 * (root + point) + np.array([sign * 3, 0, 0])
        line = smooth_line(np.stack([root, middle, point]), 12.0)
        shapes.append(Tube(name, line, np.linspace(7, 4.5, len(line)), stretch=(1, .8, .8)))
    joint = at(54, body_y(-20) + 16, -20)
    tuber = at(62, 40, -138)
    pubis = np.array([sign * (HALF_SYMPHYSIS_MM + 9), -66, -104.0])
    if side == "left":  # before both bones, which border it
        shapes.append(Solid("costal_cartilages", np.array([0, -66, -106.0]), (4, 8, 17)))
        marks["symphysis_pubis_superior"] = np.array([0, -67, -91.0])
    shapes += [
        tube(name, (*(head + [-sign * 12, 50, 28]), 9), (*joint, 12), stretch=(1.3, 1, 1)),
        Solid(name, head + [-sign * 3, 3, 3], (33, 33, 33)),
        tube(name, (*(head + [-sign * 16, 22, -10]), 15), (*(tuber + [0, 2, 16]), 14),
             (*tuber, 15)),
        tube(name, (*(head + [-sign * 20, -22, 0]), 11), (*at(42, -56, -90), 7.5), (*pubis, 9)),
        tube(name, (*pubis, 9), (*(pubis + [sign * 1, 6, -16]), 8), stretch=(1, 1, .9)),
        tube(name, (*(pubis + [sign * 4, 8, -22]), 7), (*at(40, 14, -132), 6.5),
             (*(tuber + [-sign * 2, -6, -4]), 9)),
    ]
    # the socket opens outwards and down; the joint's gap is soft
    shapes.append(Solid("joint", head, (27.5, 27.5, 27.5)))
    shapes.append(tube("joint", (*head, 27.5), (*(head + [sign * 26, -6, -14]), 34)))
    marks[f"anterior_superior_iliac_spine_{side}"] = crest[0] + [sign, -4.5, -1]
    marks[f"posterior_superior_iliac_spine_{side}"] = crest[-1] + [0, 4.5, -1]
    top = crest[np.argmax(crest[:, 2])]
    marks[f"iliac_crest_{side}"] = top + [0, 0, 5]
    marks[f"ischial_tuberosity_{side}"] = tuber + [0, 0, -14]


def _femur(patient: Patient, side: str, sign: float, random: Randomness, shapes: list,
           marks: Marks) -> None:
    name = f"femur_{side}"
    head = hip_centre(patient, sign)
    turn = random.uniform(-8, 8)  # of the leg: the trochanter goes forward or back
    great = head + [sign * 58, 14 + turn, -4]
    fork = head + [sign * 42, 10 + .7 * turn, -30]
    lesser = head + [sign * 26, 22 + .3 * turn, -62]
    low = head + [sign * 16, 2, -260]
    shapes += [
        Solid(name, head, (24, 24, 24)),
        tube(name, (*head, 17), (*fork, 17), stretch=(1, 1.15, 1)),
        tube(name, (*great, 12), (*(fork + [sign * 8, 2, -6]), 17), stretch=(1.1, .9, 1)),
        tube(name, (*fork, 18), (*(head + [sign * 34, 9 + .3 * turn, -80]), 15), (*low, 14)),
        tube(name, (*(lesser + [sign * 8, -6, 0]), 12), (*lesser, 7)),
    ]
    marks[f"femoral_head_{side}"] = head
    marks[f"greater_trochanter_{side}"] = great + [sign * 9.5, 0, -1]
    marks[f"lesser_trochanter_{side}"] = lesser + 5.5 * direction(
        lesser + [sign * 8, -6, 0], lesser)
