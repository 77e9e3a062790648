# SPDX-License-Identifier: Apache-2.0
"""What can be wrong in a simulated head: where it lies, how dense it is, how it pushes the brain.

Shapes follow the anatomy: an epidural haematoma is a lens on the inner surface of the skull, a
subdural one a crescent that stays on its side of the midline, blood in the ventricles sinks to the
back of the head, blood in the subarachnoid space fills cisterns and sulci.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:  # what judges real heads needs the names of the kinds, and no torch
    from .head_template import HeadTemplate
    from .randomness import Randomness

Kind = Literal["epidural", "subdural", "intraparenchymal", "subarachnoid", "intraventricular",
               "infarct", "fracture", "calcification"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLEEDING: tuple[Kind, ...] = KINDS[:5]
SOFT: tuple[Kind, ...] = (*BLEEDING, "infarct")  # never lies in bone
EDGE_MM = 0.8  # over which a shape fades
CISTERNS_MM = -8.0  # below the centre of the brain, where fluid is mostly that of cisterns
EDEMA_HU = -12.0  # around blood within the brain, where it is strongest
PUSH_MM = 130.0  # into the brain, over which the push of what lies on it fades
SWELLING_MM = 25.0  # radius of an infarct
MIDLINE_MM = 5.0  # from it, what lies on no side
CALCIFIED = {(4.0, 34.0, 24.0): 0.5, (0.0, -4.0, 20.0): 0.25, (40.0, -30.0, 0.5): 0.25}
"""Where calcium lies that means nothing, and how often: in the plexus, the pallidum, the falx."""
DISSECTED = 0.2  # share of a haematoma's volume that lies between fibres and pushes nothing


@dataclass(frozen=True)
class Finding:
    """One abnormality of a head.

    Attributes:
        kind: what it is.
        place: its middle, mm from the centre of the template along S, P and L. Of what lies on the
            inner surface of the skull, the place there.
        size_mm: its radius; of what lies on the skull how far it reaches along it.
        thickness_mm: of what lies on the skull.
        density_hu: of blood and of calcium, HU; of an infarct the change of density.
    """

    kind: Kind
    place: tuple[float, float, float]
    size_mm: float
    density_hu: float
    thickness_mm: float = 0.0

    @property
    def number(self) -> int:
        """Its value in the truth."""
        return KINDS.index(self.kind) + 1


def draw_finding(kind: Kind, template: HeadTemplate, random: Randomness) -> Finding:
    """A finding of random place, size and density, as they occur.

    What lies on the skull lies beside the upper half of the brain; blood in the brain is as often
    in the basal ganglia as anywhere; fractures are those of the vault.
    """
    side = 1.0 if random.chance(0.5) else -1.0
    uniform = random.uniform
    if kind in ("epidural", "subdural", "fracture"):
        direction = np.array([uniform(-0.1, 0.75), uniform(-0.8, 0.8), side * uniform(0.5, 1.0)])
        place = on_skull(template, direction)
    if kind == "epidural":
        return Finding(kind, place, uniform(22, 50), uniform(52, 80), uniform(6, 32))
    if kind == "subdural":
        density = uniform(50, 80) if random.chance(0.65) else uniform(8, 34)  # acute; older
        return Finding(kind, place, uniform(45, 90), density, uniform(4, 20))
    if kind == "fracture":
        return Finding(kind, place, uniform(15, 55), 40.0, uniform(1.2, 3.5))
    if kind == "intraparenchymal":
        direction = np.array([uniform(-0.6, 1), uniform(-1, 1), side * uniform(0.2, 1)])
        place = _towards_skull(template, direction, uniform(0.35, 0.8))
        if random.chance(0.5):
            place = (uniform(-2, 14), uniform(-14, 14), side * uniform(18, 32))
        return Finding(kind, place, 5 * 6 ** uniform(0, 1), uniform(52, 80))
    if kind == "intraventricular":  # one side or, from 15 mm, both
        return Finding(kind, (0.0, uniform(35, 60), side), uniform(6, 75), uniform(45, 80))
    if kind == "subarachnoid":
        if random.chance(0.5):  # an aneurysm bleeds into the basal cisterns
            return Finding(kind, (-22.0, -12.0, 0.0), uniform(25, 60), uniform(50, 75))
        direction = np.array([uniform(-0.2, 1), uniform(-1, 1), side * uniform(0.3, 1)])
        return Finding(kind, on_skull(template, direction), uniform(15, 40), uniform(50, 75))
    if kind == "infarct":
        direction = np.array([uniform(-0.1, 0.6), uniform(-0.6, 0.8), side])
        place = _towards_skull(template, direction, uniform(0.45, 0.8))
        size = uniform(10, 42)
        # what swells is at least some hours old, and darker than what just began
        return Finding(kind, place, size, uniform(-16, -8 if size > SWELLING_MM else -5))
    place = list(CALCIFIED)[random.numpy.choice(len(CALCIFIED), p=list(CALCIFIED.values()))]
    return Finding("calcification", (place[0], place[1], side * place[2]), uniform(1.5, 5),
                   uniform(90, 350))


def other_side(finding: Finding, random: Randomness) -> Finding | None:
    """The same on the other side, of another size; None for what lies at the midline.

    Calcium of the plexus and of the basal ganglia mostly comes on both sides.
    """
    if abs(finding.place[2]) < MIDLINE_MM:
        return None
    up, back, left = finding.place
    size = finding.size_mm * random.uniform(0.6, 1.3)
    return replace(finding, place=(up, back, -left), size_mm=size)


def on_skull(template: HeadTemplate, direction: np.ndarray) -> tuple[float, float, float]:
    """The place on the inner surface of the skull that lies from the centre in a direction."""
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    for reach in np.arange(10.0, 130.0, 0.5):
        place = reach * unit
        index = np.round(place + template.centre).astype(int)
        if ((index < 0) | (index >= template.outside.shape)).any():
            break
        if template.outside[tuple(index)] >= 0:
            break
    return tuple(place.tolist())


def _towards_skull(template: HeadTemplate, direction: np.ndarray,
                   share: float) -> tuple[float, float, float]:
    """The place at a share of the way from the centre to the skull."""
    return tuple((share * np.array(on_skull(template, direction))).tolist())


@dataclass(frozen=True)
class Place:
    """Where the voxels of a head lie in the template; arrays (z, y, x), mm.

    Attributes:
        at: coordinates from the centre of the template, (3, z, y, x), along S, P and L.
        depth: below the inner surface of the skull, below 0 in it and beyond.
        fluid: distance from ventricles and cisterns, below 0 in them.
        sulcus: the same of sulci, about; far from 0 below the cortex.
        rough: smooth noise of mean 0 and standard deviation 1, which makes shapes uneven.
    """

    at: np.ndarray
    depth: np.ndarray
    fluid: np.ndarray
    sulcus: np.ndarray
    rough: np.ndarray

    def distance(self, finding: Finding) -> np.ndarray:
        return np.sqrt(sum((axis - middle) ** 2
                           for axis, middle in zip(self.at, finding.place, strict=True)))


def shape_of(finding: Finding, where: Place) -> np.ndarray:
    """How much of each voxel a finding fills, 0 to 1, float32; fractures: of the skull.

    For what fills ventricles or cisterns the spaces are those of the template as the head has them.
    """
    distance = where.distance(finding)
    inside = where.depth > 0
    if finding.kind == "epidural":
        lens = finding.thickness_mm * (1 - (distance / finding.size_mm) ** 2)
        return _fading(lens + 0.6 * where.rough - where.depth) * inside
    if finding.kind == "subdural":
        near = 1 - (distance / finding.size_mm) ** 3
        crescent = finding.thickness_mm * near * (1 + 0.15 * where.rough)
        side = np.sign(finding.place[2]) * where.at[2]  # the falx holds it back
        return _fading(np.minimum(crescent - where.depth, side - 1.5)) * inside
    if finding.kind in ("intraparenchymal", "infarct", "calcification"):
        uneven = {"intraparenchymal": 0.18, "infarct": 0.22, "calcification": 0.1}[finding.kind]
        ball = finding.size_mm * (1 + uneven * where.rough) - distance
        gap = 1.0 if finding.kind == "calcification" else 2.5  # cortex and membranes remain
        return _fading(np.minimum(ball, where.depth - gap)) * inside
    if finding.kind == "intraventricular":
        # it sinks: the level is an even plane, lying on the back
        level = where.at[1] - (finding.place[1] - finding.size_mm)
        sided = np.sign(finding.place[2]) * where.at[2] + 20.0 * (finding.size_mm > 15)
        return _fading(np.minimum(np.minimum(-where.fluid, level), sided))
    if finding.kind == "subarachnoid":
        # not in the ventricles: what is fluid in the depth lies below them
        cistern = np.maximum(where.fluid, where.at[0] - CISTERNS_MM)
        spaces = -np.minimum(np.minimum(cistern, where.sulcus - 1.0), where.depth - 1.0)
        near = finding.size_mm * (1 + 0.3 * where.rough) - distance
        return _fading(np.minimum(near, spaces)) * inside
    # a fracture is a gap of the skull along a plane through its place
    normal = np.cross(finding.place, (0.3, 1.0, 0.5))
    normal /= np.linalg.norm(normal)
    across = sum(n * (axis - middle)
                 for n, axis, middle in zip(normal, where.at, finding.place, strict=True))
    line = finding.thickness_mm / 2 - np.abs(across + 0.5 * where.rough)
    return _fading(np.minimum(line, finding.size_mm - distance)) * ~inside


def edema_of(finding: Finding, where: Place) -> np.ndarray:
    """Share of its strongest effect that the swelling around a finding has in each voxel."""
    if finding.kind != "intraparenchymal":
        return np.zeros_like(where.depth)
    beyond = where.distance(finding) - finding.size_mm
    return np.exp(-np.maximum(beyond, 0) / (0.35 * finding.size_mm + 1)).astype(np.float32)


def push_of(finding: Finding, where: Place, normal: np.ndarray) -> np.ndarray:
    """How far the brain was pushed to each place, (3, z, y, x) in mm; nothing moves in the skull.

    Args:
        finding: that pushes.
        where: places in the head as it is now.
        normal: into the brain at the finding's place, a unit vector along S, P and L.

    Blood within the brain moves what lies around it outwards so that volumes are kept; blood on the
    brain pushes it inwards, less with the depth.
    """
    held = np.clip(where.depth / 12.0, 0, 1)
    if finding.kind in ("intraparenchymal", "infarct"):
        share = 1 - DISSECTED if finding.kind == "intraparenchymal" else 0.12
        radius = np.maximum(where.distance(finding), 1e-3)
        volume = share * finding.size_mm**3
        was = np.cbrt(np.maximum(radius**3 - volume, (0.2 * radius) ** 3))
        middle = np.reshape(finding.place, (3, 1, 1, 1))
        return ((where.at - middle) * ((radius - was) / radius * held)).astype(np.float32)
    if finding.kind in ("epidural", "subdural"):
        normal = normal.reshape(3, 1, 1, 1)
        along = ((where.at - np.reshape(finding.place, (3, 1, 1, 1))) * normal).sum(0)
        across = np.maximum(where.distance(finding) ** 2 - along**2, 0)
        spread = np.exp(-0.5 * across / finding.size_mm**2 - np.maximum(along, 0) / PUSH_MM)
        held = np.clip(where.depth / max(finding.thickness_mm, 8.0), 0, 1)
        return (normal * (finding.thickness_mm * spread * held)).astype(np.float32)
    return np.zeros_like(where.at)


def _fading(distance: np.ndarray) -> np.ndarray:
    """From the distance within a shape, mm: 0 outside, 1 inside."""
    return np.clip(0.5 + distance / (2 * EDGE_MM), 0, 1).astype(np.float32)
