# SPDX-License-Identifier: Apache-2.0
"""Arteries, veins and airways of a simulated trunk."""

from __future__ import annotations

import numpy as np

from .randomness import Randomness
from .trunk_bones import Marks, direction
from .trunk_limb_bones import hip_centre
from .trunk_patient import LEVEL_Z, SIDES, Patient, body_y
from .trunk_shapes import Shape, Tube, smooth_line, smooth_tube, tube


def front(z: float, gap: float = 0.0) -> float:
    """y of the front of the spine, less a gap."""
    depth = np.interp(z, [-10, 161, 357, 449, 523], [19, 17.5, 16, 11, 9])
    return float(body_y(z) - depth - gap)


def build_vessels(patient: Patient, organs: Marks,
                  random: Randomness) -> tuple[list[Shape], Marks]:
    """Shapes, in the order of drawing, and landmarks in standard mm.

    ``organs`` are the landmarks of the organs that vessels run to.
    """
    shapes: list[Shape] = []
    marks: Marks = {}
    _veins(patient, organs, random, shapes, marks)
    _pulmonary(random, shapes, marks)
    _aorta(patient, organs, random, shapes, marks)
    _airways(random, shapes, marks)
    return shapes, marks


def _aorta(patient: Patient, organs: Marks, random: Randomness, shapes: list,
           marks: Marks) -> None:
    wide = random.uniform(0.85, 1.25)
    arch = random.uniform(-5, 7)
    fork = np.array([random.uniform(-3, 6), front(56 + patient.fork_mm, 9),
                     56 + patient.fork_mm])
    wind = random.uniform(0, 9)  # old aortas wind
    balls = np.array([
        (8, -20, 336, 14), (-8, -24, 356, 15.5), (-16, -22, 382, 15), (-10, -8, 404 + arch, 14),
        (6, 12, 414 + arch, 13), (22, 34, 405 + arch, 12.5), (27, 46, 385, 12),
        (25 + wind, 46, 340, 11.5), (22 + wind / 2, 38, 290, 11.5),
        (13, front(235, 8), 235, 11), (7, front(200, 11), 200, 10.5), (6, front(165, 12), 165, 10),
        (7 + wind / 3, front(120, 11), 120, 9), (*fork, 8.5)], float)
    balls[:, 3] *= wide
    line = smooth_line(balls, 7.0)
    shapes.append(Tube("aorta", line[:, :3], line[:, 3]))
    top = line[np.argmax(line[:, 2])]
    marks["aortic_root"] = balls[0, :3]
    marks["aortic_arch_top"] = top[:3]
    marks["aortic_bifurcation"] = fork
    _arch_branches(line, random, shapes, marks)
    _belly_branches(patient, organs, line, random, shapes, marks)
    _iliac_arteries(patient, fork, random, shapes, marks)


def _at_height(line: np.ndarray, z: float) -> np.ndarray:
    """Ball of the descending part of the aorta at a height."""
    falling = line[np.argmax(line[:, 2]):][::-1]
    return np.array([np.interp(z, falling[:, 2], falling[:, i]) for i in (0, 1, 2, 3)])


def _arch_branches(line: np.ndarray, random: Randomness, shapes: list, marks: Marks) -> None:
    def on_arch(y):
        rising = line[: np.argmax(line[:, 1])]
        start = int(np.argmin(rising[:, 1]))
        part = rising[start:]
        return np.array([np.interp(y, part[:, 1], part[:, i]) for i in (0, 1, 2, 3)])

    bovine = random.chance(0.12)  # left carotid from the trunk's root, a common variant
    first, second, third = (on_arch(y) for y in (-8, -3 if bovine else 6, 20))
    wall = np.array([0, 0, 0.85])
    roots = [ball[:3] + wall * ball[3] for ball in (first, second, third)]
    split = np.array([-22, -4, 440 + random.uniform(-5, 5)])
    shapes += [
        smooth_tube("brachiocephalic_trunk", (*first[:3], 6.5), (*roots[0], 6.5),
                    (*(.5 * (roots[0] + split) + [-2, -2, 0]), 6.2), (*split, 6)),
        smooth_tube("subclavian_artery_right", (*split, 4.8), (-40, 4, 462, 4.6),
                    (-66, 2, 462, 4.4), (-98, -4, 446, 4.2), (-130, 14, 434, 4)),
        smooth_tube("common_carotid_artery_right", (*split, 4), (-26, -6, 462, 3.8),
                    (-28, -2, 500, 3.6), (-29, -4, 560, 3.6)),
        smooth_tube("common_carotid_artery_left", (*second[:3], 4.2), (*roots[1], 4.2),
                    (17, 0, 445, 3.8), (26, -3, 500, 3.6), (29, -4, 560, 3.6)),
        smooth_tube("subclavian_artery_left", (*third[:3], 5.2), (*roots[2], 5.2),
                    (25, 16, 440, 5), (42, 8, 463, 4.8), (68, 2, 463, 4.5), (98, -4, 446, 4.2),
                    (130, 14, 434, 4)),
    ]
    marks["brachiocephalic_trunk_origin"] = roots[0]
    marks["common_carotid_artery_left_origin"] = roots[1]
    marks["subclavian_artery_left_origin"] = roots[2]
    marks["brachiocephalic_trunk_bifurcation"] = split


def _belly_branches(patient: Patient, organs: Marks, line: np.ndarray, random: Randomness,
                    shapes: list, marks: Marks) -> None:
    shift = random.uniform(-6, 6)
    celiac = _at_height(line, 184 + shift)
    superior = _at_height(line, 168 + shift + random.uniform(-3, 3))
    wall = np.array([0, -0.85, 0])
    root, under = (ball[:3] + wall * ball[3] for ball in (celiac, superior))
    fork = root + [2, -18, -1]
    shapes += [
        tube("celiac_trunk", (*celiac[:3], 3.6), (*fork, 3.4)),
        smooth_tube("celiac_trunk", (*fork, 3), (*(fork + [-22, -6, -6]), 2.6),
                    (*organs["hepatic_hilum"], 2.2)),
        smooth_tube("superior_mesenteric_artery", (*superior[:3], 3.8),
                    (*(under + [0, -12, -6]), 3.8), (*(under + [-2, -20, -36]), 3.5),
                    (*(under + [-8, -28, -80]), 2.6), (*(under + [-28, -26, -115]), 1.8)),
    ]
    if "spleen_hilum" in organs:
        shapes.append(smooth_tube("celiac_trunk", (*fork, 2.8), (*(fork + [24, 14, 4]), 2.6),
                                  (*(fork + [52, 26, 10]), 2.4), (*organs["spleen_hilum"], 2.2)))
    marks["celiac_trunk_origin"] = root
    marks["superior_mesenteric_artery_origin"] = under
    for side, sign in SIDES.items():
        if f"kidney_{side}" in patient.absent:
            continue
        start = _at_height(line, 153 + shift * .7 + random.uniform(-5, 5) + 2 * sign)
        root = start[:3] + np.array([sign * .85, -.2, 0]) * start[3]
        hilum = organs[f"kidney_hilum_{side}"]
        middle = .5 * (root + hilum) + np.array([0, 2, 3])
        shapes.append(smooth_tube("renal_arteries", (*start[:3], 2.9), (*root, 2.9),
                                  (*middle, 2.7), (*(hilum + [sign * 4, 0, 0]), 2.5),
                                  step_mm=7.0))
        marks[f"renal_artery_origin_{side}"] = root


def _iliac_arteries(patient: Patient, fork: np.ndarray, random: Randomness, shapes: list,
                    marks: Marks) -> None:
    for side, sign in SIDES.items():
        head = hip_centre(patient, sign)
        split = np.array([sign * 40, front(-2, -4), random.uniform(-10, 8)])
        groin = head + [-sign * 10, -44, 4]
        name = f"iliac_artery_{side}"
        shapes += [
            smooth_tube(name, (*fork, 6), (*(.5 * (fork + split) + [sign * 2, -5, 2]), 5.6),
                        (*split, 5.4)),
            smooth_tube(name, (*split, 4.8), (sign * 58, 2, -36, 4.6), (*groin, 4.5)),
            smooth_tube(name, (*split, 4), (sign * 48, 36, -26, 3.6), (sign * 44, 52, -54, 3)),
            smooth_tube("femoral_vessels", (*groin, 4.4), (*(head + [-sign * 6, -40, -40]), 4.2),
                        (*(head + [-sign * 10, -34, -130]), 3.8),
                        (*(head + [-sign * 20, -26, -240]), 3.6)),
        ]
        marks[f"common_iliac_artery_bifurcation_{side}"] = split


def _veins(patient: Patient, organs: Marks, random: Randomness, shapes: list,
           marks: Marks) -> None:
    join = np.array([-12.0, front(44, 6), 40 + .6 * patient.fork_mm])
    for side, sign in SIDES.items():
        head = hip_centre(patient, sign)
        groin = head + [-sign * 24, -40, 2]
        shapes += [
            smooth_tube(f"iliac_vena_{side}", (*join, 7.5), (sign * 24 - 5, front(16, 4), 12, 7),
                        (sign * 44, 26, -10, 6.5), (sign * 52, 8, -44, 6), (*groin, 5.5)),
            smooth_tube("femoral_vessels", (*groin, 5.2), (*(head + [-sign * 18, -34, -60]), 4.8),
                        (*(head + [-sign * 18, -26, -240]), 4.4)),
        ]
        if f"kidney_{side}" not in patient.absent:
            hilum = organs[f"kidney_hilum_{side}"]
            cava = np.array([-22, front(hilum[2] + 4, 10), hilum[2] + 6])
            over = np.array([2, front(hilum[2] + 4, 23), hilum[2] + 5])
            way = [over] if sign > 0 else []
            shapes.append(smooth_tube("renal_veins", (*hilum, 4), *((*p, 4) for p in way),
                                      (*cava, 4), step_mm=7.0))
    slack = random.uniform(0.75, 1.15)
    atrium = np.array([-30.0, -8, 282 - .75 * patient.breath_mm])
    shapes.append(smooth_tube(
        "inferior_vena_cava", (*join, 9 * slack), (-20, front(100, 6), 100, 10 * slack),
        (-24, front(165, 8), 165, 11 * slack), (-28, front(215, 12), 215, 11.5), (*atrium, 12)))
    meet = np.array([-26.0, -14, 412])
    inlet = np.array([-30.0, -14, 346])
    shapes += [
        smooth_tube("superior_vena_cava", (*meet, 8.5), (-30, -12, 380, 9), (*inlet, 9.5),
                    (-32, -14, 330, 9.5)),
        smooth_tube("brachiocephalic_vein_left", (*meet, 6.5), (0, -24, 420, 6),
                    (26, -14, 440, 6), (44, -8, 456, 6)),
        smooth_tube("brachiocephalic_vein_right", (*meet, 6.5), (-30, -12, 432, 6.5),
                    (-40, -8, 456, 6.5)),
    ]
    for sign in SIDES.values():
        shapes += [
            smooth_tube("neck_veins", (sign * 44, -8, 456, 6), (sign * 38, -6, 490, 5.5),
                        (sign * 38, -8, 560, 5.5)),
            smooth_tube("neck_veins", (sign * 44, -8, 456, 5.5), (sign * 76, -10, 458, 5),
                        (sign * 108, -6, 442, 4.8), (sign * 132, 8, 428, 4.5)),
        ]
    _portal(organs, shapes, marks)
    marks["iliac_vein_confluence"] = join
    marks["inferior_vena_cava_atrial_end"] = atrium
    marks["brachiocephalic_vein_confluence"] = meet
    marks["cavoatrial_junction"] = inlet


def _portal(organs: Marks, shapes: list, marks: Marks) -> None:
    confluence = organs["pancreas_neck"] + [-6, 9, 2]
    hilum = organs["hepatic_hilum"]
    name = "portal_vein_and_splenic_vein"
    shapes += [
        smooth_tube("superior_mesenteric_vein", (*confluence, 5.5),
                    (*(confluence + [-2, -8, -36]), 5), (*(confluence + [-12, -14, -80]), 3.5)),
        smooth_tube(name, (*confluence, 6), (*(.5 * (confluence + hilum) + [2, 3, 0]), 6),
                    (*hilum, 6)),
        smooth_tube(name, (*hilum, 5), (*(hilum + [-28, 10, 8]), 4.2),
                    (*(hilum + [-52, 18, 4]), 3)),
        smooth_tube(name, (*hilum, 4.6), (*(hilum + [22, -22, 12]), 3.8),
                    (*(hilum + [40, -30, 18]), 2.6)),
    ]
    if "spleen_hilum" in organs:
        tail = organs["pancreas_tail"] + [0, 7, 3]
        shapes.append(smooth_tube(name, (*confluence, 4.6),
                                  (*(.5 * (confluence + tail) + [0, 2, 6]), 4.2), (*tail, 4),
                                  (*organs["spleen_hilum"], 3.6)))
    # veins of the liver, to the cava under the diaphragm
    cava = np.array([-28, front(232, 14), organs["liver_dome"][2] - 26])
    for end, radius in (((-60, 26, -20), 4.5), ((-22, -34, -16), 4.2), ((34, -36, -6), 4.0)):
        shapes.append(smooth_tube("hepatic_veins", (*cava, radius),
                                  (*(cava + np.array(end) * .5 + [0, 0, 3]), radius * .85),
                                  (*(cava + end), radius * .5), over=("liver",)))
    marks["portal_confluence"] = confluence


def _pulmonary(random: Randomness, shapes: list, marks: Marks) -> None:
    fork = np.array([10.0, -6, 372]) + random.numpy.normal(0, 2, 3)
    shapes += [
        smooth_tube("pulmonary_artery", (22, -50, 338, 13), (20, -34, 358, 13.5), (*fork, 13)),
        smooth_tube("pulmonary_artery", (*fork, 11), (-22, 4, 370, 10), (-48, 12, 364, 9)),
        smooth_tube("pulmonary_artery", (*fork, 11), (34, 14, 376, 10), (52, 26, 368, 9)),
    ]
    marks["pulmonary_trunk_bifurcation"] = fork
    for sign in SIDES.values():
        shapes += [smooth_tube("pulmonary_vein", (sign * 14, 14, 344 + dz * .3, 7),
                               (sign * 34, 16, 344 + dz, 6),
                               (sign * 56, 14 + dy, 344 + 1.6 * dz, 5))
                   for dz, dy in ((12, -12), (-12, 14))]


def _airways(random: Randomness, shapes: list, marks: Marks) -> None:
    z = LEVEL_Z["T5"] + 10 + random.uniform(-7, 7)
    carina = np.array([random.uniform(-3, 2), front(z, 14), z])
    wide = random.uniform(0.9, 1.15)
    top = [(0, front(y, 15), y, 8.2 * wide) for y in (560, 520, 490, 460, 425)]
    ends = {"right": np.array([-36.0, 22, z - 24]), "left": np.array([46.0, 30, z - 38])}
    main = {"right": 6.8 * wide, "left": 5.8 * wide}
    walls, lumina = [], []
    for balls in [[*top, (*carina, 8.2 * wide)],
                  *([(*carina, main[s]), (*(.5 * (carina + e) + [0, 0, -1]), main[s]),
                     (*e, main[s] * .9)] for s, e in ends.items())]:
        lumina.append(smooth_tube("trachea", *balls))
        walls.append(Tube("airway_wall", lumina[-1].points, lumina[-1].radii + 1.6))
    for side, sign in SIDES.items():
        end = ends[side]
        for way, r in (((24, -10, 26), 3.8), ((26, -26, -34), 3.4), ((22, 26, -44), 3.8)):
            way = np.array(way) * [sign, 1, 1]
            lumina.append(smooth_tube("bronchi", (*end, r + .8), (*(end + way * .5), r),
                                      (*(end + way), r * .7)))
            walls.append(Tube("airway_wall", lumina[-1].points, lumina[-1].radii + 1.3))
        marks[f"upper_lobe_bronchus_{side}"] = end + 2.5 * direction(end, carina)
    shapes += walls + lumina
    marks["carina"] = carina
