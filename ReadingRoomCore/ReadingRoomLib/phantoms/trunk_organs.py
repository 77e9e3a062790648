# SPDX-License-Identifier: Apache-2.0
"""Organs of belly, pelvis and chest of a simulated trunk."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from .randomness import Randomness
from .trunk_bones import Marks
from .trunk_patient import SIDES, Patient, body_y
from .trunk_shapes import Shape, Solid, Tube, smooth_line, smooth_tube, tube

BELLY, LUMEN = "belly", "belly_inside"  # masks: under the diaphragm; and a little within


def build_organs(patient: Patient, random: Randomness) -> tuple[list[Shape], Marks]:
    """Shapes, in the order of drawing, and landmarks in standard mm.

    Besides landmarks the marks hold ``hepatic_hilum``, ``spleen_hilum``, ``pancreas_neck``,
    ``pancreas_tail`` and ``liver_dome``, to which vessels run.
    """
    shapes: list[Shape] = []
    marks: Marks = {}
    for build in (_small_bowel, _colon, _stomach, _pancreas, _liver, _spleen, _kidneys, _glands,
                  _pelvis, _heart, _gullet):
        build(patient, random, shapes, marks)
    return shapes, marks


def _moved(random: Randomness, spread: float) -> np.ndarray:
    return np.clip(random.numpy.normal(0, spread, 3), -2 * spread, 2 * spread)


def _frame(*degrees: float) -> np.ndarray:
    """Axes turned about L, then P, then S."""
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


def dome_tops(patient: Patient) -> dict[str, np.ndarray]:
    """Highest point of each half of the diaphragm."""
    return {"right": np.array([-60.0, -8, 266 - patient.breath_mm]),
            "left": np.array([66.0, 0, 250 - patient.breath_mm])}


def _small_bowel(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    """Loops: a walk through the middle of the belly that turns back at its borders."""
    low = np.array([-78.0, -76 - patient.belly_mm, -62])
    high = np.array([82.0, 0, 118])
    point = np.array([40.0, -30, 110])
    way = np.array([-0.3, -0.8, -0.5])
    points = [point]
    for _ in range(150):
        way = way + random.numpy.normal(0, 0.75, 3)
        # towards the middle, the more the closer to the border
        way -= 1.6 * ((point - (low + high) / 2) / ((high - low) / 2)) ** 5
        way /= np.linalg.norm(way)
        point = np.clip(point + 15 * way, low, high)
        points.append(point)
    line = smooth_line(np.array(points), 9.0)
    radii = 10.5 + 2.5 * np.sin(np.arange(len(line)) * 0.35 + random.uniform(0, 6))
    shapes.append(Tube("small_bowel", line, radii * random.uniform(0.85, 1.2), within=LUMEN))


def _colon(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    front = patient.belly_mm * 0.8
    sag = random.uniform(-25, 20)
    m = [_moved(random, 5) for _ in range(3)]
    balls = np.array([
        (-84, -26, -2, 22), (-92, -8, 28, 24), (-96, 8, 62, 23), (-98, 10, 98, 22),
        (-88, -14, 118, 21), (-62, -52 - front, 104 + .5 * sag, 20),
        (-10, -68 - front, 88 + sag, 20),
        (46, -62 - front, 100 + sag, 19), (84, -28 - .4 * front, 152, 19), (100, 18, 178, 18),
        (106, 32, 140, 16), (108, 32, 90, 15), (104, 20, 40, 15), (92, -4, 2, 15),
        (62, -18, -26, 15), (26, -4, -14, 15), (0, 16, -32, 15), (6, 40, -50, 16)], float)
    balls[1:4, :3] += m[0]
    balls[5:8, :3] += m[1]
    balls[8:12, :3] += m[2] * [.4, .6, 1]
    balls[:, :3] = patient.lowered(balls[:, :3])
    line = smooth_line(balls, 7.0)
    # folds of the wall between the haustra
    line[:, 3] *= random.uniform(0.85, 1.15) * (1 + .16 * np.sin(np.arange(len(line)) * 1.5))
    shapes.append(Tube("colon", line[:, :3], line[:, 3], within=BELLY))
    shapes.append(smooth_tube("colon", (6, 40, -50, 16), (0, 52, -72, 18), (0, 50, -98, 19),
                              (0, 46, -122, 14), (0, 56, -146, 9)))


def _stomach(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    full = random.uniform(0.75, 1.2)
    shift = _moved(random, 4)
    junction = patient.lowered(np.array([22.0, 20, 226]) + shift * .5)
    balls = np.array([
        (56, 18, 228, 36), (62, -4, 206, 32 * full), (62, -28, 176, 28 * full),
        (44, -50, 148, 24 * full), (14, -60, 134, 18), (-14, -56, 141, 12)], float)
    balls[:, :3] = patient.lowered(balls[:, :3] + shift)
    balls[2:, 1] -= .5 * patient.belly_mm
    pylorus = balls[-1, :3] + [-13, 3, 4]
    duodenum = np.array([(*pylorus, 10), (-44, -30, 142, 12), (-50, -8, 118, 12.5),
                         (-38, 0, 92, 12.5), (-12, -6, 84, 12), (16, -6, 92, 11.5),
                         (32, -18, 108, 11)], float)
    duodenum[1:, :3] = patient.lowered(duodenum[1:, :3])
    duodenum[1:, 1] = np.minimum(duodenum[1:, 1],
                                 body_y(duodenum[1:, 2]) - [14, 14, 14, 48, 50, 38])
    fundus = patient.lowered(np.array([62.0, 12, 222]) + shift)
    shapes += [smooth_tube("duodenum", *duodenum, within=BELLY),
               Solid("stomach", fundus, (42 * full, 44 * full, 38), within=BELLY),
               smooth_tube("stomach", (*junction, 10), *balls, (*pylorus, 9), within=BELLY)]
    marks["gastro_oesophageal_junction"] = junction
    marks["pylorus"] = pylorus


def _gullet(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    junction = marks["gastro_oesophageal_junction"]
    hiatus = junction + [-10, 6, 16]
    balls = [(2, float(body_y(z)) - np.interp(z, [340, 449, 523], [24, 18, 15]), z, 7)
             for z in (560, 520, 470, 430, 380, 335)]
    shapes.append(smooth_tube("esophagus", *balls, (10, 22, 295, 7.5), (*hiatus, 7.5),
                              (*junction, 8), stretch=(1, 1.25, 1)))


def _pancreas(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    shift = _moved(random, 3)
    balls = np.array([
        (-28, -24, 112, 13), (-24, -30, 134, 13), (-4, -38, 148, 8.5), (24, -34, 157, 10),
        (52, -8, 166, 10.5), (80, 22, 182, 8)], float)
    balls[:, :3] = patient.lowered(balls[:, :3] + shift)
    balls[:, 3] *= random.uniform(0.75, 1.1)
    shapes.append(smooth_tube("pancreas", *balls, within=BELLY, step_mm=7))
    marks["pancreas_neck"] = balls[2, :3]
    marks["pancreas_tail"] = balls[-1, :3]


def _liver(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    size = random.uniform(0.92, 1.08)
    tail = float(np.clip(random.numpy.normal(0, 14), -24, 34))  # Riedel's lobe reaches low
    shift = patient.lowered(_moved(random, 3) + [0, 0, 250]) - [0, 0, 250]
    tip = np.array([-94.0, 4, 128 - tail]) + shift * [1, 1, .7]
    radius = 13.0

    def at(x, y, z):
        return np.array([x, y, z]) + shift

    left = random.uniform(0.7, 1.15)
    gall = np.array([-48.0, -44, 146]) + shift
    shapes += [
        Solid("liver", at(-64, 2, 214), (72 * size, 88 * size, 72 * size), within=BELLY),
        tube("liver", (*at(-74, 6, 200), 56 * size), (*at(-84, 8, 165), 36 * size),
             (*(tip + [0, 0, radius]), radius), stretch=(1.1, .8, 1), within=BELLY),
        Solid("liver", at(-6, -48 - .5 * patient.belly_mm, 222),
              (84 * left, 42, 36), _frame(0, -8, 0), within=BELLY),
        # the left lobe's face to the stomach and the porta are hollow: fat
        Solid("mesentery", at(0, 16, 182), (36, 22, 34), _frame(0, 25, 0), over=("liver",)),
        tube("mesentery", (*at(-26, -8, 180), 11), (*at(-44, -40, 152), 15),
             stretch=(1.5, 1, 1), over=("liver",)),
        Solid("liver", at(-22, 14, 216), (18, 15, 20), within=BELLY),
    ]
    if "gallbladder" not in patient.absent:
        large = random.uniform(0.8, 1.2)
        fundus = gall + [-12, -30 - .6 * patient.belly_mm, -26]
        neck = gall + [14, 18, 16]
        shapes.append(smooth_tube("gallbladder", (*fundus, 13 * large),
                                  (*(gall + [-3, -6, -6]), 12 * large), (*neck, 4), step_mm=6))
        marks["gallbladder_fundus"] = fundus + 11.5 * large * _unit(fundus - neck)
    marks["hepatic_hilum"] = at(-30, -8, 186)
    marks["liver_inferior_tip"] = tip + [0, 0, 1]
    tops = dome_tops(patient)
    marks["liver_dome"] = tops["right"]
    for side, top in tops.items():
        marks[f"lung_base_{side}"] = top + [0, 0, -2]


def _spleen(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    if "spleen" in patient.absent:
        return
    size = float(np.clip(np.exp(.14 * random.numpy.standard_normal()), 0.75, 1.45))
    centre = patient.lowered(np.array([98.0, 42, 206]) + _moved(random, 4))
    # its long axis runs along the tenth rib: forward, outward and down
    frame = _frame(-36 + random.uniform(-8, 8), -10, -18)
    axes = np.array([22.0, 34, 54]) * size
    shapes += [Solid("spleen", centre, tuple(axes), frame, within=BELLY),
               Solid("mesentery", centre + [-30, -26, -6], (20, 20, 26), over=("spleen",))]
    low = frame @ [0, 0, -1.0]
    marks["spleen_inferior_tip"] = centre + low * axes[2] * .96
    marks["spleen_hilum"] = centre + [-16, -12, -2]


def _kidneys(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    for side, sign in SIDES.items():
        if f"kidney_{side}" in patient.absent:
            random.numpy.standard_normal(8)
            continue
        alone = patient.absent & {"kidney_left", "kidney_right"}  # a single kidney grows
        size = random.uniform(0.88, 1.1) * (1.18 if alone else 1)
        z = 157 + (5 if sign > 0 else -7) + float(np.clip(random.numpy.normal(0, 8), -18, 18))
        centre = np.array([sign * 63, float(body_y(z)) + 6, z]) + _moved(random, 3) * [1, 1, 0]
        centre[2] -= 0.5 * patient.breath_mm
        # upper poles lean towards the spine and back; the hilum looks forward
        tilt = random.uniform(9, 19)
        frame = _frame(-12, -sign * tilt, -sign * random.uniform(20, 40))
        axes = np.array([28.0, 22, 56]) * size
        shapes.append(Solid(f"kidney_{side}", centre, tuple(axes), frame, within=BELLY))
        inner = frame @ [-sign, 0, 0]
        shapes.append(Solid("mesentery", centre + inner * 21 * size,
                            (18 * size, 10 * size, 19 * size), frame,
                            over=(f"kidney_{side}",)))
        shapes.append(tube("renal_pelvis", (*(centre + inner * 8 * size), 5),
                           (*(centre + inner * 24 * size), 5), stretch=(1, 1, .7),
                           over=("mesentery", f"kidney_{side}")))
        up = frame @ [0, 0, 1.0]
        marks[f"kidney_upper_pole_{side}"] = centre + up * axes[2] * .97
        marks[f"kidney_lower_pole_{side}"] = centre - up * axes[2] * .97
        marks[f"kidney_hilum_{side}"] = centre + inner * 24 * size


def _glands(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    """Adrenals, each an upside-down Y before the upper pole of where a kidney is; thyroid."""
    for side, sign in SIDES.items():
        top = patient.lowered(np.array([sign * 38, 12 + 5 * sign, 198 - 4 * sign])
                              + _moved(random, 3))
        for way in ((4, 14, -16), (16, 8, -18), (-2, -10, 8)):
            shapes.append(tube(f"adrenal_gland_{side}", (*top, 2.4),
                               (*(top + np.array(way) * [sign, 1, 1]), 1.8), within=BELLY))
        size = random.uniform(0.8, 1.25)
        shapes.append(tube("thyroid_gland", (sign * 17, 2, 484, 7 * size),
                           (sign * 19, 0, 506, 8.5 * size), (sign * 18, 2, 524, 5 * size)))
        shapes.append(tube("thyroid_gland", (0, -11, 496, 4), (sign * 16, -4, 496, 5)))


def _pelvis(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    full = random.uniform(0.55, 1.25)
    centre = np.array([random.uniform(-3, 3), -26, -88 + 14 * full])
    axes = (34 * full ** .5, 27 * full ** .4, 26 * full)
    shapes.append(Solid("urinary_bladder", centre, axes, _frame(-12, 0, 0)))
    marks["urinary_bladder_dome"] = centre + _frame(-12, 0, 0) @ [0, 0, axes[2] - 1.5]
    low = centre[2] - axes[2]
    if patient.female:
        lean = random.uniform(-25, 15)
        middle = np.array([random.uniform(-6, 6), 14, -66 + 5 * full])
        shapes += [Solid("uterus", middle, (26, 20, 36), _frame(lean + 35, 0, 0),
                         within=BELLY, over=("mesentery", "small_bowel", "colon")),
                   tube("uterus", (0, 16, -92, 13), (0, 12, -128, 9))]
    else:
        size = random.uniform(0.85, 1.4)
        shapes += [Solid("prostate", np.array([0, -18, low - 10 * size]),
                         (24 * size, 17 * size, 16 * size))]
        for sign in SIDES.values():
            shapes.append(tube("prostate", (sign * 6, 6, low + 6, 5), (sign * 26, 10, low + 16, 6)))


HEART = ("heart_myocardium", "heart_ventricle_left", "heart_ventricle_right", "heart_atrium_left",
         "heart_atrium_right")


def heart_frame(patient: Patient) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre, axes in columns (the last one to the apex) and size of the heart."""
    down = -0.75 * patient.breath_mm
    steep = np.array([0.72, -0.48, -0.46 + 0.008 * down])
    last = _unit(steep)
    first = _unit(np.cross([0, 0, 1.0], last))
    return (np.array([22.0, -28, 302 + down]), np.stack([first, np.cross(last, first), last], 1),
            1.0 + 0.002 * patient.chest_mm)


def _heart(patient: Patient, random: Randomness, shapes: list, marks: Marks) -> None:
    centre, frame, size = heart_frame(patient)
    size *= random.uniform(0.92, 1.1)
    axes = np.array([43.0, 44, 67]) * size

    def at(x, y, z):
        return centre + frame @ (np.array([x, y, z]) * size)

    left = at(8, 6, 14)
    shapes += [
        Solid("heart_myocardium", centre, tuple(axes), frame),
        Solid("heart_atrium_right", np.array([-26.0, -16, centre[2] + 10]),
              (25 * size, 27 * size, 34 * size)),
        Solid("heart_atrium_left", np.array([6.0, 10, centre[2] + 32]),
              (32 * size, 20 * size, 23 * size)),
        Solid("heart_ventricle_left", left, (21 * size, 21 * size, 41 * size), frame),
        tube("heart_ventricle_left", (*at(4, 6, -10), 14), (8, -20, 336, 13)),
        Solid("heart_ventricle_right", at(-16, -20, 2), (22 * size, 17 * size, 44 * size), frame),
        smooth_tube("heart_ventricle_right", (*at(-10, -22, -14), 15), (22, -50, 338, 13)),
    ]
    marks["heart_apex"] = centre + frame[:, 2] * axes[2] * .97


def _unit(way) -> np.ndarray:
    way = np.asarray(way, float)
    return way / np.linalg.norm(way)
