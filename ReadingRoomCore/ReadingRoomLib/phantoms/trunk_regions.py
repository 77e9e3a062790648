# SPDX-License-Identifier: Apache-2.0
"""What fills a simulated trunk before organs are drawn: skin, fat, muscles, cavities, lungs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .randomness import Randomness
from .trunk_bones import Marks
from .trunk_limb_bones import hip_centre
from .trunk_organs import BELLY, LUMEN, dome_tops, heart_frame
from .trunk_patient import LEVEL_Z, SIDES, Patient, body_y
from .trunk_shapes import Canvas, Shape, Tube, smooth_line, smooth_tube, tube

LEAF_END_Z = 300.0  # of the leaf between the lungs behind the breastbone
TORSO_ROUNDS_Z = -95.0
COARSE_MM = 4.5  # outlines are smooth: they are computed on this grid and interpolated
SKIN_MM = 2.0
DIAPHRAGM_MM = 3.5
APEX_AXES = (25.0, 28.0, 34.0)
APEX_CENTRE = np.array([36.0, 24, 448])
_DOMES = {"right": (82.0, 96.0), "left": (74.0, 92.0)}  # from the top to the wall, along L and P


def fill_body(canvas: Canvas, patient: Patient) -> Marks:
    """Draw skin, fat, muscle, the fat within and the lungs; leave the masks that organs ask for.

    Returns landmarks of the lungs, standard mm.
    """
    coarse = canvas.grid.coarser(COARSE_MM)
    at = canvas.placement.standard_of_grid(coarse)
    codes, regions = canvas.codes, canvas.regions
    shape = canvas.grid.shape
    skin, muscle = _outer(at, patient)
    belly, lungs, cavity, over = _inner(at, patient)
    skin = _fine(skin, shape)

    def put(name: str, mask: np.ndarray) -> None:
        np.copyto(regions, np.uint8(codes[name]), where=mask)

    put("skin", skin < 0)
    put("subcutaneous_fat", skin < -SKIN_MM)
    del skin
    put("skeletal_muscle", _fine(muscle, shape) < 0)
    within = _fine(cavity, shape) < 0
    put("mediastinum", within)
    within &= np.abs(_fine(over, shape) + DIAPHRAGM_MM / 2) < DIAPHRAGM_MM / 2
    put("skeletal_muscle", within)
    under = _fine(belly, shape)
    canvas.masks[BELLY] = under < 0
    canvas.masks[LUMEN] = under < -5
    put("mesentery", canvas.masks[BELLY])
    _lungs(canvas, _fine(lungs, shape) < 0)
    return _lung_marks(patient)


def _fine(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return F.interpolate(torch.from_numpy(field)[None, None], size=shape, mode="trilinear",
                         align_corners=True)[0, 0].numpy()


def _outer(at: np.ndarray, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the skin and from the muscles under the fat: torso, thighs, arms, breasts."""
    # the buttocks round off into the thighs
    end = 45 * np.maximum((TORSO_ROUNDS_Z - at[2]) / 70, 0) ** 3
    skin, muscle = (outline.distance(at) + end for outline in (patient.skin, patient.muscle))
    for sign in SIDES.values():
        head = hip_centre(patient, sign)
        fat = patient.fat_at(-170)
        thick = 74 + 1.2 * patient.muscle_mm
        leg = (head * [.98, 0, 1] + [0, 14, -30], head * [.94, 0, 1] + [0, 8, -300])
        muscle = _union(muscle, _capsule(at, *leg, thick, thick * .8), 10)
        skin = _union(skin, _capsule(at, *leg, thick + .8 * fat, thick * .8 + .7 * fat), 12)
        arm = (np.array([sign * 150 * patient.shoulders, 34, 428]),
               np.array([sign * 212, 6, 565]))
        muscle = _union(muscle, _capsule(at, *arm, 47, 39), 14)
        skin = _union(skin, _capsule(at, *arm, 50 + .5 * fat, 41 + .5 * fat), 14)
    if patient.female:
        # breasts, lying on the back: flat, leaning outwards
        x, y, z = at
        far = np.square((np.abs(x) - 84) / 56) + np.square((z - 332) / 58)
        skin = skin - (14 + .7 * patient.fat_mm) * np.exp(-far**1.5) * np.clip(-y / 60, 0, 1)
    return skin, muscle


def _union(a: np.ndarray, b: np.ndarray, smooth: float) -> np.ndarray:
    """Smooth minimum of two distances, rounded over so many mm (Quilez's polynomial)."""
    h = np.maximum(smooth - np.abs(a - b), 0) / smooth
    return np.minimum(a, b) - h * h * (smooth / 4)


def _capsule(at: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float) -> np.ndarray:
    way = (b - a).astype(np.float32)
    offset = at - a.astype(np.float32)[:, None, None, None]
    t = np.clip(np.tensordot(way, offset, 1) / float(way @ way), 0, 1)
    offset -= t * way[:, None, None, None]
    return np.sqrt(np.square(offset).sum(0)) - (ra + t * (rb - ra))


def _diaphragm(at: np.ndarray, patient: Patient) -> np.ndarray:
    """Height of the diaphragm over each point: two domes and the tendon under the heart."""
    x, y, _ = at
    top = None
    tops = dome_tops(patient)
    for side, (a, b) in _DOMES.items():
        far = np.square((x - tops[side][0]) / a) + np.square((y - tops[side][1]) / b)
        far = np.minimum(far, 2.2)
        dome = tops[side][2] - 22 * far - 48 * far**3
        top = dome if top is None else np.maximum(top, dome)
    far = np.minimum(np.square((x - 8) / 70) + np.square((y + 22) / 70), 2.2)
    return np.maximum(top, tops["left"][2] + 7 - 30 * far - 20 * far**2)


def _inner(at: np.ndarray, patient: Patient) -> tuple[np.ndarray, ...]:
    """Distances from the belly under the diaphragm, from both lungs, from the whole cavity; and
    height over the diaphragm.
    """
    cavity = patient.cavity.distance(at)
    over = at[2] - _diaphragm(at, patient)
    belly = np.maximum(cavity + 1.5, over + DIAPHRAGM_MM)
    lungs = np.maximum(cavity + 1.5, -over)
    for sign in SIDES.values():
        offset = (at - (APEX_CENTRE * [sign, 1, 1]).astype(np.float32)[:, None, None, None])
        radius = np.sqrt(sum(np.square(o / a) for o, a in zip(offset, APEX_AXES, strict=True)))
        lungs = np.minimum(lungs, (radius - 1) * 25)
    lungs = np.maximum(lungs, -_mediastinum(at, patient))
    return belly, lungs, np.minimum(cavity, lungs), over


def _mediastinum(at: np.ndarray, patient: Patient) -> np.ndarray:
    """Distance from what lies between the lungs: heart and vessels with their fat, spine."""
    x, y, z = at
    spine = body_y(np.arange(-400, 800)).astype(np.float32)[
        np.clip(z + 400, 0, 1199).astype(np.int32)]
    heights = [200, 260, 320, 360, 385, 415, 440, 470, 500]
    middle, width, gap = (np.interp(z, heights, values).astype(np.float32) for values in
                          ([4, 6, 8, 8, 4, 2, 1, 0, 0], [24, 24, 26, 31, 32, 28, 23, 17, 15],
                           [30, 30, 34, 60, 78, 70, 60, 50, 50]))
    # from the spine forward by twice the gap, like an upright oval
    centre = spine - gap + 18
    tall = np.sqrt(np.square((x - middle) / width) + np.square((y - centre) / gap)) - 1
    result = tall * width
    # a thin leaf reaches from there to the breastbone, and one along the spine's side
    result = np.minimum(result, np.maximum(np.abs(x - 4) - 3.5,
                                           np.maximum(y - centre, LEAF_END_Z - z)))
    result = np.minimum(result, np.maximum(np.abs(x) - 17, spine - 12 - y))
    centre, frame, size = heart_frame(patient)
    own = np.tensordot(frame.T.astype(np.float32),
                       at - centre.astype(np.float32)[:, None, None, None], 1)
    radius = np.sqrt(sum(np.square(o / (a * size)) for o, a in zip(own, (51, 52, 75), strict=True)))
    result = np.minimum(result, (radius - 1) * 50)
    offset = at - np.array([-26.0, -14, centre[2] + 8], np.float32)[:, None, None, None]
    atrium = np.sqrt(sum(np.square(o / a) for o, a in zip(offset, (33, 34, 44), strict=True)))
    result = np.minimum(result, (atrium - 1) * 33)
    # fat between heart, diaphragm and breastbone
    offset = at - (centre + [-8, -24, -34]).astype(np.float32)[:, None, None, None]
    fat = np.sqrt(sum(np.square(o / a) for o, a in zip(offset, (48, 44, 36), strict=True)))
    return np.minimum(result, (fat - 1) * 36)


def _lungs(canvas: Canvas, mask: np.ndarray) -> None:
    """Lobes, cut by the fissures."""
    codes, regions = canvas.codes, canvas.regions
    where = np.nonzero(mask)
    x, y, z = (axis[where] for axis in canvas.at)
    lower = z < 428 + 1.3 * (y - 50)
    left = np.where(lower, codes["lung_lower_lobe_left"], codes["lung_upper_lobe_left"])
    right = np.where(lower, codes["lung_lower_lobe_right"],
                     np.where(z < 342, codes["lung_middle_lobe_right"],
                              codes["lung_upper_lobe_right"]))
    # the lungs meet behind the breastbone, left of the midline
    regions[where] = np.where(x > np.where(y < 20, 4, 0), left, right).astype(np.uint8)


def _lung_marks(patient: Patient) -> Marks:
    """Highest and lowest points of the lungs; :mod:`.trunk_landmarks` says how nearly.

    The lowest one is where a lung, behind and 20 mm off the midline or more, is still 6 mm thick.
    """
    marks = {}
    for side, sign in SIDES.items():
        marks[f"lung_apex_{side}"] = (APEX_CENTRE + [0, 0, APEX_AXES[2] - 1.0]) * [sign, 1, 1]
        x, y, z = (np.arange(*r, 2.0, dtype=np.float32) for r in
                   ((20, 140), (0, 100), (120, 300)))
        at = np.stack([np.broadcast_to(axis, (len(z), len(y), len(x))) for axis in
                       (sign * x, y[:, None], z[:, None, None])])
        depth = _inner(at, patient)[1]
        lowest = int(np.argmax((depth < -3).any((1, 2))))
        row, column = np.unravel_index(np.argmin(depth[lowest]), depth.shape[1:])
        marks[f"costophrenic_recess_{side}"] = np.array([sign * x[column], y[row], z[lowest]])
    return marks


def build_muscles(patient: Patient, random: Randomness) -> list[Shape]:
    """Named muscles and the spinal cord, in the order of drawing."""
    shapes: list[Shape] = []
    thick = 1 + 0.025 * patient.muscle_mm
    for side, sign in SIDES.items():
        head = hip_centre(patient, sign)
        line = np.array([(sign * 27, body_y(168), 168, 8), (sign * 34, body_y(130) + 2, 130, 14),
                         (sign * 43, body_y(80), 80, 19), (sign * 54, body_y(40) - 6, 40, 21),
                         (sign * 72, -10, -10, 19), (*(head + [-sign * 2, -36, 6]), 17),
                         (*(head + [sign * 10, -24, -30]), 15),
                         (*(head + [sign * 22, 10, -62]), 9)])
        line[:, 3] *= thick
        name = f"iliopsoas_{side}"
        shapes.append(smooth_tube(name, *line))
        shapes.append(tube(name, (sign * 96, 12, 34, 9 * thick), (sign * 98, 0, 4, 12 * thick),
                           (sign * 84, -16, -26, 14 * thick), stretch=(1.1, .7, .8)))
        back = []
        for z in np.arange(-60, 500, 35.0):
            wide = np.interp(z, [-60, 60, 160, 350, 480], [14, 25, 26, 18, 14])
            back.append((sign * (wide + 5), body_y(z) + np.interp(
                z, [-60, 20, 160, 350, 480], [24, 44, 46, 43, 36]), z, wide * thick))
        shapes.append(smooth_tube(f"autochthon_{side}", *back, stretch=(1, 1.15, 1),
                                  over=("skeletal_muscle", "mesentery", "mediastinum",
                                        "subcutaneous_fat"), step_mm=25))
        # the buttock lies behind the hip, whatever is in front of it
        over = ("skeletal_muscle", "mesentery")
        shapes += [
            Tube(f"gluteus_maximus_{side}", *_split(smooth_line(np.array([
                (sign * 48, 92, -20, 26), (sign * 78, 88, -66, 32), (sign * 104, 66, -104, 30),
                (sign * 122, 40, -142, 22)]), 12)), over=over, stretch=(.8, 1, .8)),
            Tube(f"gluteus_medius_{side}", *_split(smooth_line(np.array([
                (sign * 122, 14, 28, 24), (sign * 134, 10, -20, 28), (sign * 142, 8, -62, 16)]),
                12)), over=over, stretch=(1, .55, 1)),
            Tube(f"gluteus_minimus_{side}", *_split(smooth_line(np.array([
                (sign * 116, 0, -14, 15), (sign * 126, 0, -50, 16), (sign * 138, 4, -76, 10)]),
                12)), over=(*over, f"gluteus_medius_{side}"), stretch=(1.3, .6, 1)),
        ]
    cord = []
    for z in np.arange(-45, 580, 20.0):
        depth = np.interp(z, [18, 161, 194, 357, 449, 489, 523], [18, 16.5, 16, 15, 10, 8.5, 8])
        cord.append((0, float(body_y(z)) + depth + 9, z, 7.5))
    shapes.append(smooth_tube("spinal_canal", *((x, y, z, r + 1.5) for x, y, z, r in cord)))
    shapes.append(smooth_tube("spinal_cord", *(b for b in cord if b[2] > LEVEL_Z["L2"])))
    return shapes


def build_pulmonary_vessels(patient: Patient, random: Randomness) -> list[Shape]:
    """Vessels of the lungs: trees from the hila that grow thinner and fork."""
    shapes: list[Shape] = []
    lobes = {side: tuple(f"lung_{part}_lobe_{side}" for part in (("upper", "lower") if side ==
             "left" else ("upper", "middle", "lower"))) for side in SIDES}
    for side, sign in SIDES.items():
        start = np.array([sign * 46.0, 20, 364])
        for _ in range(16):
            way = random.numpy.normal(0, 1, 3) * [.7, 1, 1.4] + [sign * .9, 0, -.3]
            _grow(shapes, lobes[side], start, way / np.linalg.norm(way), 4.2, 4, random)
    return shapes


def _grow(shapes: list, lobes: tuple[str, ...], start: np.ndarray, way: np.ndarray, radius: float,
          forks: int, random: Randomness) -> None:
    end = start + way * random.uniform(16, 32)
    shapes.append(Tube("lung_vessels", np.stack([start, end]),
                       np.array([radius, radius * .75]), over=lobes))
    if forks:
        for _ in range(2):
            turned = way + random.numpy.normal(0, .42, 3)
            _grow(shapes, lobes, end, turned / np.linalg.norm(turned), radius * .72, forks - 1,
                  random)


def _split(balls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return balls[:, :3], balls[:, 3]
