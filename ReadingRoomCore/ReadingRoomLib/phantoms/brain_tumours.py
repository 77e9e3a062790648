# SPDX-License-Identifier: Apache-2.0
"""Tumours of simulated brains: where they grow, what they look like, what they do to the brain.

After reviews of their radiology:

- glioblastoma: thick irregular ring around necrosis, oedema along white matter, spread through the
  callosum (Rees et al., *Glioblastoma multiforme: radiologic-pathologic correlation*, RadioGraphics
  1996);
- lymphoma: dense cells, so about as dark on T2 as grey matter, even and strong enhancement, beside
  the ventricles, moderate oedema, several in a third, ring in immunodeficiency (Haldorsen et al.,
  *Central nervous system lymphoma: characteristic findings on traditional and advanced imaging*,
  AJNR 2011);
- meningioma: broad base on the dura, even enhancement, dural tail, cleft of fluid, pushed cortex,
  sometimes calcium or cysts (Huang et al., *Imaging and diagnostic advances for intracranial
  meningiomas*, Neuro-Oncology 2019; Buetow et al., RadioGraphics 1991);
- metastasis: round, border of grey and white matter, much oedema, often several (Fink & Fink,
  Surg Neurol Int 2013);
- schwannoma: from the internal auditory canal into the cerebellopontine angle, T2 bright, cystic
  when large (Bonneville et al., Eur Radiol 2007).

Sizes, values and how often each occurs are choices within what these describe. A stated share is
atypical, so that no single sign tells the kinds apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from .brain_template import BrainTemplate
from .mr_signal import Tissue
from .randomness import Randomness

Kind = Literal["glioblastoma", "lymphoma", "meningioma", "schwannoma", "metastasis", "cavity"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ATYPICAL_SHARE = 0.15
ATYPICAL: dict[Kind, tuple[str, ...]] = {
    "glioblastoma": ("solid and small", "cortical with a dural base"),
    "lymphoma": ("ring", "cortical"),
    "meningioma": ("necrotic", "intraventricular"),
}
"""How a tumour may be atypical; each as often."""
ENHANCING, NECROSIS, OEDEMA = 1, 2, 3  # numbers in the truth
EDGE_MM = 0.9  # over which a shape fades
MELT_MM = 3.0  # over which balls melt into one another
NO_CORE = 99.0  # mm, rim of a solid tumour
CANAL = (-31.0, 37.0, 17.0)  # S, P, L: where the internal auditory canal opens
REACH_MM = 12.0  # beyond a tumour and its oedema, where nothing of it can be


@dataclass(frozen=True)
class Lesion:
    """One body of a tumour: balls that melt into each other.

    Attributes:
        balls: place (S, P, L; mm from the anterior commissure) and radius, mm, of each.
        axis: unit vector, the direction in which it is flattened.
        flat: by how much; 1 not at all, below 1 it is long in that direction.
    """

    balls: tuple[tuple[tuple[float, float, float], float], ...]
    axis: tuple[float, float, float] = (1.0, 0.0, 0.0)
    flat: float = 1.0

    @property
    def centre(self) -> np.ndarray:
        weights = [radius**3 for _, radius in self.balls]
        return np.average([place for place, _ in self.balls], axis=0, weights=weights)

    @property
    def radius(self) -> float:
        """Of the ball around its centre that is about as large."""
        return float(np.cbrt(sum(radius**3 for _, radius in self.balls)))

    @property
    def extent(self) -> float:
        """Farthest that it reaches from its centre, mm."""
        return max(float(np.linalg.norm(np.subtract(place, self.centre))) + radius
                   for place, radius in self.balls) / min(self.flat, 1.0)


@dataclass(frozen=True)
class Tumour:
    """A tumour of a patient.

    Attributes:
        kind: what it is; ``cavity`` is what an operation left, which holds no tumour.
        lesions: its bodies.
        atypical: in what it is unlike others of its kind, None when it is not.
        compartment: ``brain``; ``dura``: outside the brain, on the dura; ``ventricle``.
        solid, core: tissue of what enhances and of necrosis, cyst or cavity.
        agent: contrast agent in what enhances, mM.
        uneven: standard deviation of that, against its mean.
        rough: irregularity of the surface, against the radius.
        rim_mm: thickness of what enhances around the core.
        rim_uneven: how much that varies.
        foci: share of the inside, besides the core, that does not enhance.
        follow_mm: how much farther it grows in white matter than in grey.
        oedema_mm: how far its oedema reaches in white matter.
        mass: share of its volume that pushes the brain aside.
        tail_mm, cleft_mm: length of the dural tail; width of the fluid between it and the brain.
        calcium, haemorrhage: share of its inside.
    """

    kind: Kind
    lesions: tuple[Lesion, ...]
    solid: Tissue
    core: Tissue
    agent: float
    atypical: str | None = None
    compartment: Literal["brain", "dura", "ventricle"] = "brain"
    uneven: float = 0.1
    rough: float = 0.12
    rim_mm: float = NO_CORE
    rim_uneven: float = 0.2
    foci: float = 0.0
    follow_mm: float = 0.0
    oedema_mm: float = 0.0
    mass: float = 0.6
    tail_mm: float = 0.0
    cleft_mm: float = 0.0
    calcium: float = 0.0
    haemorrhage: float = 0.0


@dataclass(frozen=True)
class Surroundings:
    """What lies around a tumour; arrays (z, y, x), mm.

    Attributes:
        at: places (3, z, y, x) in the template.
        depth: below the inner surface of the skull.
        dura: from the dura.
        ventricle: from the ventricles, below 0 in them.
        white: share of white matter.
        spacing: of the voxels.
    """

    at: np.ndarray
    depth: np.ndarray
    dura: np.ndarray
    ventricle: np.ndarray
    white: np.ndarray
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Layer:
    """A tissue that fills a share of each voxel and hides what was there.

    Attributes:
        tissue: which, or its name in :data:`~.mr_signal.TISSUES`.
        share: 0 to 1, (z, y, x).
        agent: contrast agent in it, mM.
        label: number in the truth, 0 when it is none of the tumour.
    """

    tissue: Tissue | str
    share: np.ndarray = field(repr=False)
    agent: np.ndarray | float = 0.0
    label: int = 0


# ------------------------------------------------------------------------------------------ drawing


def draw_tumour(kind: Kind, template: BrainTemplate, random: Randomness,
                atypical: float = ATYPICAL_SHARE) -> Tumour:
    """A tumour of random place, size and look, as its kind has them.

    Args:
        kind: one of :data:`KINDS`.
        template: where it grows.
        random: draws.
        atypical: probability that it is atypical (:data:`ATYPICAL`).
    """
    ways = ATYPICAL.get(kind, ())
    way = None
    if random.chance(atypical) and ways:
        way = ways[int(random.numpy.integers(len(ways)))]
    tumour = _DRAWN[kind](template, random, way)
    return replace(tumour, atypical=way, solid=tumour.solid.varied(random),
                   core=tumour.core.varied(random))


def _glioblastoma(template: BrainTemplate, random: Randomness, way: str | None) -> Tumour:
    uniform = random.uniform
    solid = Tissue(0.86, (1250, 1550), uniform(100, 165))
    core = Tissue(0.95, (uniform(1700, 2600),) * 2, uniform(180, 420))
    common = dict(solid=solid, core=core, uneven=uniform(0.2, 0.4), rough=uniform(0.1, 0.25),
                  follow_mm=uniform(1, 5), mass=uniform(0.25, 0.6), agent=uniform(0.16, 0.5))
    if way == "solid and small":
        place = _place(template, random, lambda p: (p.depth > 10) & (p.white > 0.5)
                       & (p.ventricle > 3) & _above_tentorium(p))
        lesion = _body(random, place, uniform(6, 13), 1)
        return Tumour("glioblastoma", (lesion,), oedema_mm=uniform(4, 18), foci=uniform(0, 0.05),
                      **{**common, "uneven": uniform(0.05, 0.15), "rough": 0.08})
    if way == "cortical with a dural base":
        direction = _dural_direction(random)
        place = _on_dura(template, direction)
        radius = uniform(10, 22)
        inward = 0.75 * radius * _inward(template, place)
        lesion = _body(random, tuple(np.add(place, inward)), radius, 2)
        return Tumour("glioblastoma", (lesion,), rim_mm=uniform(5, 12), rim_uneven=0.5,
                      oedema_mm=uniform(8, 25), tail_mm=uniform(0, 10), **common)
    radius = _size(random, 10, 33)
    place = _place(template, random, lambda p: (p.depth > max(8.0, 0.45 * radius))
                   & (p.white > 0.4) & (p.ventricle > 2) & _above_tentorium(p))
    lesions = [_body(random, place, radius, int(random.numpy.integers(2, 5)))]
    if random.chance(0.14):  # a butterfly through the genu or the splenium of the callosum
        lesions = [_butterfly(random, radius)]
    elif random.chance(0.15):  # a second body nearby
        step = radius * _unit(random) * uniform(1.3, 1.8)
        lesions.append(_body(random, tuple(np.add(place, step)), radius * uniform(0.25, 0.5), 2))
    return Tumour("glioblastoma", tuple(lesions), rim_uneven=uniform(0.35, 0.7),
                  rim_mm=uniform(3.0, 4.0) + radius * uniform(0, 0.3), foci=uniform(0, 0.15),
                  oedema_mm=uniform(6, 28), haemorrhage=uniform(0.02, 0.1) * random.chance(0.3),
                  **common)


def _lymphoma(template: BrainTemplate, random: Randomness, way: str | None) -> Tumour:
    uniform = random.uniform
    solid = Tissue(0.80, (1050, 1380), uniform(80, 116))
    core = Tissue(0.94, (uniform(1600, 2400),) * 2, uniform(150, 350))
    common = dict(solid=solid, core=core, uneven=uniform(0.05, 0.16), rough=uniform(0.05, 0.17),
                  follow_mm=uniform(0.5, 3), mass=uniform(0.15, 0.5), agent=uniform(0.22, 0.55),
                  oedema_mm=uniform(3, 26))
    radius = _size(random, 5, 26)
    several = random.chance(0.35)

    def beside_ventricle(p: _Place) -> np.ndarray:
        return (p.ventricle > 0.3 * radius) & (p.ventricle < 0.6 * radius + 5) & (p.depth > 14) \
            & _above_tentorium(p)

    if way == "cortical":
        radius = min(radius, 18.0)
        place = _place(template, random, lambda p: (p.depth > 0.4 * radius + 2)
                       & (p.depth < 0.8 * radius + 4) & (p.grey > 0.5) & _above_tentorium(p))
    elif random.chance(0.12):  # through the callosum, as glioblastomas
        lesion = _butterfly(random, radius)
        return Tumour("lymphoma", (lesion,), foci=uniform(0, 0.05), **common)
    else:
        place = _place(template, random, beside_ventricle)
    lesions = [_body(random, place, radius, int(random.numpy.integers(1, 4)))]
    for _ in range(int(random.numpy.integers(1, 4)) if several else 0):
        radius *= uniform(0.35, 0.8)
        if radius > 3:
            lesions.append(_body(random, _place(template, random, beside_ventricle), radius, 1))
    if way == "ring":
        common.update(rim_mm=uniform(2.5, 5) + 0.12 * radius, rim_uneven=uniform(0.15, 0.35))
    return Tumour("lymphoma", tuple(lesions), foci=uniform(0, 0.03) * random.chance(0.3), **common)


def _meningioma(template: BrainTemplate, random: Randomness, way: str | None) -> Tumour:
    uniform = random.uniform
    solid = Tissue(0.80, (uniform(950, 1150), uniform(1280, 1500)), uniform(76, 130))
    core = Tissue(0.96, (uniform(1800, 3000),) * 2, uniform(200, 600))
    radius = _size(random, 6, 32)
    common = dict(solid=solid, core=core, agent=uniform(0.25, 0.65), uneven=uniform(0.04, 0.14),
                  rough=uniform(0.03, 0.12), mass=uniform(0.75, 0.95),
                  calcium=uniform(0.05, 0.25) * random.chance(0.2))
    if way == "intraventricular":
        side = 1.0 if random.chance(0.6) else -1.0  # mostly the left atrium
        place = (uniform(4, 12), uniform(36, 46), side * uniform(22, 27))
        lesion = _body(random, place, min(radius, 22.0), 1)
        return Tumour("meningioma", (lesion,), compartment="ventricle",
                      oedema_mm=uniform(0, 10) * random.chance(0.5), **common)
    if random.chance(0.2):  # of the falx
        side = 1.0 if random.chance(0.5) else -1.0
        place, axis = _on_falx(template, random, side)
    else:
        place = _on_dura(template, _dural_direction(random))
        axis = _inward(template, place)
    flat = uniform(0.9, 1.7)  # from a ball to what spreads along the dura
    inward = radius / flat * uniform(0.2, 0.75)
    lesion = Lesion(((tuple(np.add(place, inward * axis).tolist()), radius),),
                    tuple(axis.tolist()), flat)
    oedema = uniform(5, 32) if random.chance(0.5) else 0.0
    if way == "necrotic":
        common.update(rim_mm=uniform(3.0, 5.0) + radius * uniform(0, 0.25),
                      rim_uneven=uniform(0.2, 0.6), uneven=uniform(0.15, 0.3))
    elif random.chance(0.1):
        common.update(foci=uniform(0.04, 0.15))  # cysts
    return Tumour("meningioma", (lesion,), compartment="dura", oedema_mm=oedema,
                  tail_mm=uniform(6, 20) * random.chance(0.7),
                  cleft_mm=uniform(0.8, 2.2) * random.chance(0.75), **common)


def _metastasis(template: BrainTemplate, random: Randomness, way: str | None) -> Tumour:
    uniform = random.uniform
    lesions = []
    for _ in range(1 + int(random.numpy.geometric(0.5) * random.chance(0.6))):
        radius = _size(random, 4, 20)
        place = _place(template, random, lambda p, radius=radius: (p.depth > 0.7 * radius + 2)
                       & (p.depth < 0.7 * radius + 14) & (p.white > 0.1) & (p.white < 0.9))
        lesions.append(_body(random, place, radius, 1))
    ring = uniform(2, 6) if random.chance(0.55) else NO_CORE
    return Tumour("metastasis", tuple(lesions[:5]), Tissue(0.83, (1150, 1450), uniform(85, 135)),
                  Tissue(0.95, (2000, 2200), uniform(180, 400)), uniform(0.2, 0.5),
                  uneven=uniform(0.06, 0.2), rough=uniform(0.03, 0.1), rim_mm=ring, rim_uneven=0.25,
                  oedema_mm=uniform(6, 38), mass=uniform(0.4, 0.7),
                  haemorrhage=uniform(0.05, 0.15) * random.chance(0.15))


def _schwannoma(template: BrainTemplate, random: Randomness, way: str | None) -> Tumour:
    uniform = random.uniform
    side = 1.0 if random.chance(0.5) else -1.0
    radius = _size(random, 4, 18)
    canal = (CANAL[0], CANAL[1], side * (CANAL[2] + 3))
    place = np.add(CANAL, (0, 0.25 * radius, -0.45 * radius)) * (1, 1, side)
    lesion = Lesion(((tuple(place.tolist()), radius), (canal, uniform(2.5, 3.5))))
    return Tumour("schwannoma", (lesion,), Tissue(0.86, (1200, 1500), uniform(105, 160)),
                  Tissue(0.97, (2600, 2800), uniform(350, 700)), uniform(0.25, 0.6),
                  compartment="dura", uneven=uniform(0.08, 0.22), rough=uniform(0.02, 0.08),
                  foci=uniform(0.05, 0.3) * random.chance(0.3 + radius / 40), mass=0.85,
                  cleft_mm=uniform(0.5, 1.5))


def _cavity(template: BrainTemplate, random: Randomness, way: str | None) -> Tumour:
    uniform = random.uniform
    base = _on_dura(template, _dural_direction(random))
    inward = _inward(template, base)
    radius = uniform(9, 20)
    balls = [(tuple((np.array(base) + depth * inward).tolist()), radius * size)
             for depth, size in ((0.0, 0.75), (0.7 * radius, 0.9), (1.5 * radius, uniform(0.6, 1)))]
    return Tumour("cavity", (Lesion(tuple(balls), tuple(inward.tolist())),),
                  Tissue(0.84, (800, 1000), 95), Tissue(0.99, (2800, 3000), uniform(500, 1200)),
                  uniform(0.05, 0.18), uneven=0.2, rough=0.12, rim_mm=uniform(1.0, 1.8),
                  rim_uneven=0.3, oedema_mm=uniform(3, 15), mass=0.0, tail_mm=uniform(15, 30),
                  haemorrhage=uniform(0, 0.02))


_DRAWN: dict[Kind, Callable[[BrainTemplate, Randomness, str | None], Tumour]] = {
    "glioblastoma": _glioblastoma, "lymphoma": _lymphoma, "meningioma": _meningioma,
    "metastasis": _metastasis, "schwannoma": _schwannoma, "cavity": _cavity}


def _size(random: Randomness, low: float, high: float) -> float:
    """A radius, mm; middling ones are most frequent."""
    return low + (high - low) * float(random.numpy.beta(1.7, 2.2))


def _unit(random: Randomness) -> np.ndarray:
    vector = random.numpy.normal(size=3)
    return vector / np.linalg.norm(vector)


def _body(random: Randomness, place, radius: float, balls: int) -> Lesion:
    """A body of about ``radius`` of several balls."""
    each = radius / np.cbrt(1 + 0.35 * (balls - 1))
    parts = [(tuple(np.asarray(place, float).tolist()), each)]
    for _ in range(balls - 1):
        step = each * random.uniform(0.5, 0.9) * _unit(random)
        parts.append((tuple(np.add(place, step).tolist()), each * random.uniform(0.5, 0.85)))
    return Lesion(tuple(parts), tuple(_unit(random).tolist()), random.uniform(0.85, 1.3))


def _butterfly(random: Randomness, radius: float) -> Lesion:
    """Both frontal or both parietal lobes, joined in the callosum."""
    front = random.chance(0.7)
    up, back = (random.uniform(6, 16), -30.0) if front else (random.uniform(12, 20), 40.0)
    wing = min(radius, 24.0) * 0.8
    apart = 0.75 * wing + 6
    uneven = random.uniform(0.5, 1.0)
    step = -5.0 if front else 5.0
    first = 1.0 if random.chance(0.5) else -1.0
    return Lesion((((up, back, 0.0), 7.0), ((up + 2, back + step, first * apart), wing),
                   ((up + 2, back + step, -first * apart), wing * uneven)))


# ------------------------------------------------------------------------------------------- places


@dataclass(frozen=True)
class _Place:
    """Candidates for a place, arrays of one dimension; see :class:`Surroundings`."""

    at: np.ndarray
    depth: np.ndarray
    ventricle: np.ndarray
    dura: np.ndarray
    white: np.ndarray
    grey: np.ndarray


def _place(template: BrainTemplate, random: Randomness,
           suits: Callable[[_Place], np.ndarray]) -> tuple[float, float, float]:
    """A random place in the brain that suits; the least bad one where none does."""
    at = random.numpy.uniform([[-60.0], [-75.0], [-70.0]], [[80.0], [105.0], [70.0]], (3, 2500))
    outside, ventricle, dura = template.sample(at, "outside", "ventricle", "dura")
    t1 = template.sample_t1(at)
    white = np.clip((t1 - 0.78) / 0.15, 0, 1)
    grey = np.clip((t1 - 0.55) / 0.15, 0, 1) * (1 - white)
    good = suits(_Place(at, -outside, ventricle, dura, white, grey)) & (outside < -3)
    index = int(good.argmax()) if good.any() else int(outside.argmin())
    return tuple(at[:, index].tolist())


def _above_tentorium(p: _Place) -> np.ndarray:
    """Whether in the cerebrum, clear of brainstem and cerebellum."""
    up, back, left = p.at
    tentorium = 7 - 0.5 * np.abs(left) - 0.28 * (back - 45)
    return np.where(back > 12, up > tentorium + 4, up > -22)


def _dural_direction(random: Randomness) -> np.ndarray:
    """From the middle of the head: convexity, beside the sagittal sinus, sphenoid wing, behind."""
    side = 1.0 if random.chance(0.5) else -1.0
    uniform = random.uniform
    where = random.numpy.random()
    if where < 0.5:
        return np.array([uniform(0.0, 0.9), uniform(-0.9, 0.9), side * uniform(0.5, 1.0)])
    if where < 0.7:
        return np.array([uniform(0.6, 1.0), uniform(-0.9, 0.8), side * uniform(0.1, 0.25)])
    if where < 0.87:
        return np.array([uniform(-0.6, -0.3), uniform(-0.8, -0.5), side * uniform(0.3, 0.75)])
    return np.array([uniform(-0.8, -0.5), uniform(0.4, 1.0), side * uniform(0.3, 0.7)])


def _on_dura(template: BrainTemplate, direction: np.ndarray) -> tuple[float, float, float]:
    """The place on the inner surface of the skull in a direction from the middle of the head."""
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    path = np.array([5.0, 18.0, 0.0])[:, None] + unit[:, None] * np.arange(15.0, 120.0, 0.5)
    beyond = template.sample(path, "outside")[0] > -0.5
    return tuple(path[:, beyond.argmax() if beyond.any() else -1].tolist())


def _inward(template: BrainTemplate, place) -> np.ndarray:
    """Unit vector from the skull into the brain at a place on its inner surface."""
    steps = 5.0 * np.concatenate([np.eye(3), -np.eye(3)], axis=1)
    values = template.sample(np.reshape(place, (3, 1)) + steps, "outside")[0]
    slope = values[3:] - values[:3]
    return slope / max(float(np.linalg.norm(slope)), 1e-6)


def _on_falx(template: BrainTemplate, random: Randomness, side: float) -> tuple[tuple, np.ndarray]:
    angle = np.radians(random.uniform(-20, 150))  # from the front over the vertex
    direction = np.array([np.sin(angle), -np.cos(angle), 0.0])
    rim = np.array(_on_dura(template, direction))
    place = rim - random.uniform(6, 22) * direction
    return (float(place[0]), float(place[1]), 1.0 * side), np.array([0.0, 0.0, side])


# ------------------------------------------------------------------------------------------- shapes


def push_of(tumour: Tumour, at: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """How far the tumour pushed the brain to each place, (3, z, y, x) in mm; none in the skull.

    A ball that grows moves what lies around it outwards so that volumes are kept: what is at the
    distance r was at (r³ - share · R³)^(1/3).
    """
    moved = np.zeros_like(at)
    held = np.clip(depth / (12.0 if tumour.compartment == "brain" else 4.0), 0, 1)
    for lesion in tumour.lesions:
        volume = tumour.mass * lesion.radius**3
        offset, radius = _metric(lesion, lesion.centre, at)
        radius = np.maximum(radius, 1e-3)
        was = np.cbrt(np.maximum(radius**3 - volume, (0.15 * radius) ** 3))
        moved += offset * ((radius - was) / radius * held)
    return moved


def _metric(lesion: Lesion, place, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offset from a place, (3, z, y, x), and its length, longer along the flattened direction."""
    offset = at - np.reshape(place, (3,) + (1,) * (at.ndim - 1)).astype(at.dtype)
    square = np.einsum("izyx,izyx->zyx", offset, offset)
    if lesion.flat != 1.0:
        along = np.einsum("i,izyx->zyx", np.asarray(lesion.axis, at.dtype), offset)
        square = square + np.float32(lesion.flat**2 - 1) * along**2
    return offset, np.sqrt(np.maximum(square, 0))


def reach_of(tumour: Tumour) -> list[tuple[np.ndarray, float]]:
    """Centre and distance beyond which nothing is there, for each lesion."""
    beyond = 1.4 * tumour.oedema_mm + tumour.tail_mm + REACH_MM
    return [(lesion.centre, lesion.extent * (1 + 2 * tumour.rough) + beyond)
            for lesion in tumour.lesions]


def layers_of(tumour: Tumour, where: Surroundings, random: Randomness) -> list[Layer]:
    """What the tumour puts where, to be laid on the brain in this order."""
    shape = where.depth.shape

    def noise(width: float) -> np.ndarray:
        return random.smooth(shape, (width,) * 3, where.spacing).numpy()

    inside = _inside(tumour, where, noise)
    fill = _ramp(inside)
    rough = noise(6.0)
    rim = tumour.rim_mm * np.exp(tumour.rim_uneven * (0.8 * noise(11.0) + 0.5 * rough))
    core = _ramp(inside - rim) if tumour.rim_mm < NO_CORE else np.zeros_like(inside)
    if tumour.foci:  # the deepest ones of smooth noise
        seed = noise(7.0) + 0.5 * rough
        inner = inside > 2.5
        if inner.any():
            level = np.quantile(seed[inner], 1 - tumour.foci)
            core = np.maximum(core, np.clip((seed - level) * 2, 0, 1) * _ramp(inside - 2.0))
    agent = tumour.agent * np.clip(1 + tumour.uneven * (noise(9.0) + 0.6 * rough), 0.15, 2.0)
    layers = [*_oedema(tumour, where, inside, noise), *_dural(tumour, where, inside, agent, noise)]
    real = tumour.kind != "cavity"
    # no tissue is even on T2: looser and denser parts of it
    loose = np.clip(tumour.uneven * (0.6 + 1.2 * noise(7.0)), 0, 0.6) * fill
    layers += [Layer(tumour.solid, fill, agent, ENHANCING * real),
               Layer("oedema", loose, agent, ENHANCING * real),
               Layer(tumour.core, core * fill, 0.04 * tumour.agent, NECROSIS * real)]
    spots = noise(8.0)
    for tissue, part in (("calcium", tumour.calcium), ("haemorrhage", tumour.haemorrhage)):
        if part and (inside > 2).any():
            level = np.quantile(spots[inside > 2], 1 - part)
            layers.append(Layer(tissue, np.clip((spots - level) * 3, 0, 1) * fill))
            spots = -spots
    return layers


def _inside(tumour: Tumour, where: Surroundings, noise) -> np.ndarray:
    """Distance from the tumour's surface, mm, above 0 inside it."""
    uneven = 0.75 * noise(14.0) + 0.45 * noise(6.5)
    bodies = []
    for lesion in tumour.lesions:
        balls = [radius - _metric(lesion, place, where.at)[1] for place, radius in lesion.balls]
        melted = balls[0]
        if len(balls) > 1:
            stack = np.stack(balls) / MELT_MM
            top = stack.max(0)
            melted = MELT_MM * (top + np.log(np.exp(np.maximum(stack - top, -30)).sum(0)))
        bodies.append(melted + tumour.rough * lesion.radius * uneven)
    inside = np.maximum.reduce(bodies)
    if tumour.follow_mm:
        inside = inside + tumour.follow_mm * (where.white - 0.6)
    if tumour.compartment == "ventricle":
        return inside
    if tumour.compartment == "dura":
        centre = tumour.lesions[0].centre[2]
        if abs(centre) > 4 and tumour.kind == "meningioma":  # the falx holds it on its side
            inside = np.minimum(inside, np.sign(centre) * where.at[2] - 0.3)
        return np.minimum(inside, where.depth)
    gap = 0.0 if tumour.kind == "cavity" or tumour.tail_mm else 2.0
    return np.minimum(np.minimum(inside, where.depth - gap), where.ventricle)


def _oedema(tumour: Tumour, where: Surroundings, inside: np.ndarray, noise) -> list[Layer]:
    """Water in the white matter around the tumour: fingers that end at the cortex."""
    if tumour.oedema_mm <= 0:
        return []
    reach = tumour.oedema_mm * np.clip(1 + 0.35 * noise(30.0), 0.3, 1.35)
    share = np.clip((reach + inside) / np.minimum(0.4 * reach + 1, 7.0), 0, 1)
    left = [place[2] for lesion in tumour.lesions for place, _ in lesion.balls]
    if min(left) > -8 or max(left) < 8:  # through the falx it cannot
        share = share * np.clip(0.5 + np.sign(np.mean(left)) * where.at[2] / 4, 0, 1)
    white = np.clip(where.white * 1.4 - 0.2, 0, 1)
    share = share * (0.06 + 0.94 * white) * (0.85 + 0.1 * noise(8.0))
    share = np.clip(share, 0, 1) * (where.depth > 2) * (where.ventricle > 0)
    return [Layer("oedema", share.astype(np.float32), 0.0,
                  OEDEMA * (tumour.kind != "cavity"))]


def _dural(tumour: Tumour, where: Surroundings, inside: np.ndarray, agent, noise) -> list[Layer]:
    """Fluid between tumour and brain, and the tail of thick dura beside the base."""
    layers = []
    beyond = -inside
    if tumour.cleft_mm:
        width = tumour.cleft_mm * np.clip(0.7 + 0.6 * noise(12.0), 0, 1.4)
        cleft = _ramp(width - beyond) * (inside < EDGE_MM) * (where.depth > 0.5)
        layers.append(Layer("fluid", cleft))
    if tumour.tail_mm:
        length = tumour.tail_mm * np.clip(0.6 + 0.5 * noise(25.0), 0, 1.3)
        thick = 2.6 * np.clip(1 - beyond / np.maximum(length, 1e-3), 0, 1)
        tail = np.clip(thick - where.dura + 0.5, 0, 1) * (thick > 0) * (where.depth > -1.0)
        layers.append(Layer(tumour.solid, tail.astype(np.float32), 0.8 * agent))
    return layers


def _ramp(distance: np.ndarray) -> np.ndarray:
    """From the distance within a shape, mm: 0 outside, 1 inside."""
    return np.clip(0.5 + distance / (2 * EDGE_MM), 0, 1).astype(np.float32)
