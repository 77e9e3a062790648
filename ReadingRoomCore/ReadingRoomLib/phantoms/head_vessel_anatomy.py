# SPDX-License-Identifier: Apache-2.0
"""Where the arteries at the base of the brain run, how wide they are, and how people differ.

Places are (lateral, anterior, superior) in mm from the anterior commissure, for one side: usual
places, chosen by this project to fit the template of :mod:`.brain_template` and what atlases show.
Widths of the large ones are near published means of the lumen in CT angiograms of 100 people each;
origins are drawn up to 30 % wider than what is listed here:

- internal carotid 5.0 mm where it enters the cavernous sinus and 3.6 mm at its end, M1 3.1 mm and
  M2 2.4 mm at their origins (Rai et al., *Cerebrovascular geometry in the anterior circulation*,
  J NeuroIntervent Surg 2013). Here the carotid tapers evenly from the neck, so that it is narrower
  in the sinus, about 4.3 mm;
- intracranial vertebral 3.9 to 2.8 mm, basilar 3.6 to 3.1 mm, proximal posterior cerebral 2.2 mm
  (Rai et al., *Dimensions of the posterior cerebral circulation*, J NeuroIntervent Surg 2013). Here
  vertebral and basilar artery taper less, from 3.3 to 2.9 and to 3.0 mm.

Widths of the smaller ones (A1 2.1, anterior communicating 1.7, posterior communicating 1.2 mm, and
all branches) are this project's assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from .randomness import Randomness

SIDES = ("left", "right")
VARIANTS: Mapping[str, float] = MappingProxyType({
    "hypoplastic A1": 0.07, "absent A1": 0.03, "hypoplastic vertebral": 0.15,
    "fetal PCA": 0.11, "absent PComm": 0.30, "hypoplastic PComm": 0.30, "infundibulum": 0.10,
    "absent PICA": 0.15, "absent AICA": 0.20, "third M2": 0.20, "early MCA branching": 0.10,
})
"""How often: the first three of a person, on one side, the others of a side.

They are this project's assumptions, for studies differ widely. Where less than 1 mm counts as
missing, they leave a complete circle to 17 % of people: published are 12 % of 1,864 (by that rule;
Hindenes et al., PLoS ONE 2020), 17 % of 300 (Naveen et al., Ann Indian Acad Neurol 2015), and 37 %
of 274 (Eaton et al., Brain Circ 2020). An infundibulum needs a posterior communicating artery that
is not fetal, so 6 % of sides have one: Saltzman counted 67 in 1,020 normal carotid angiograms;
other counts are from 2 % (dissection) to 17 % (patients with aneurysms).
"""
Place = tuple[float, float, float]


@dataclass(frozen=True)
class Course:
    """An artery, as it usually runs.

    Attributes:
        name: without the side.
        points: it passes these; after its origin and before its end where these are given.
        radii: mm, from its beginning to its end; 0 for what is not there but for its branches.
        origin: the artery that it comes from (of the same side), and where: its "end", or the
            place of it that is nearest to one.
        end: the artery that it flows into, and its "start" or "end".
        bends: mm, how far it bends to and fro.
        signal: of its blood, from its beginning to its end, 1 in fast flow.
        paired: whether there is one on each side.
        landmark: name of the place of its origin.
        outer: outside the skull, where no aneurysm is looked for.
    """

    name: str
    points: tuple[Place, ...]
    radii: tuple[float, float]
    origin: tuple[str, Place | str] | None = None
    end: tuple[str, Place | str] | None = None
    bends: float = 0.6
    signal: tuple[float, float] = (1.0, 0.9)
    paired: bool = True
    landmark: str | None = None
    outer: bool = False


_COURSES = (
    Course("ICA", ((25, -19, -68), (25.5, -16, -58), (23, -11, -50.5), (17, -4, -47.5),
                   (12.5, -3, -43), (11.5, -4, -37), (12.5, 2.5, -33.5), (13.5, 10, -33),
                   (14, 13.5, -28.5), (13, 10, -24.5), (12.5, 6, -22.5), (14, 3.5, -19),
                   (15, 3, -16)), (2.45, 1.75), bends=0.5, signal=(1.0, 1.0)),
    Course("BA", ((0, -29, -49), (0, -26.5, -40), (0, -23, -31), (0, -19.5, -21)), (1.65, 1.5),
           bends=1.2, signal=(1.0, 1.0), paired=False, landmark="vertebrobasilar junction"),
    Course("VA", ((14, -38, -70), (10.5, -38, -62), (5, -33.5, -55)), (1.65, 1.45),
           end=("BA", "start"), signal=(1.0, 1.0), bends=0.8),
    Course("A1", ((9, 5.5, -16), (2.0, 11.5, -14.5)), (1.1, 1.0), ("ICA", "end"), bends=0.8,
           landmark="carotid terminus"),
    Course("A2", ((2, 20, -11), (2.5, 29, -3), (2.5, 33, 6), (3, 30, 17), (3, 20, 27), (3, 5, 33)),
           (1.05, 0.65), ("A1", "end"), bends=0.9, signal=(1.0, 0.75), landmark="A1-A2 junction"),
    Course("callosomarginal", ((3.5, 39, 8), (4.5, 45, 18), (4.5, 42, 32)), (0.75, 0.5),
           ("A2", (2.5, 32, 1)), signal=(0.9, 0.7), landmark="pericallosal branching"),
    Course("M1", ((22, 4.5, -18), (29, 5.5, -19), (36, 3, -16)), (1.5, 1.3), ("ICA", "end"),
           bends=1.0, signal=(1.0, 0.98)),
    Course("M2 superior", ((40, 5, -9), (40, 7, 1), (38.5, -3, 11), (45, -7, 14), (53, -10, 21),
                           (59, -14, 30)), (1.15, 0.5), ("M1", "end"), bends=1.3,
           signal=(0.97, 0.75), landmark="MCA bifurcation"),
    Course("M2 inferior", ((40, -4, -11), (40.5, -14, -2), (38.5, -23, 7), (46, -29, 9),
                           (55, -38, 13), (60, -48, 18)), (1.15, 0.5), ("M1", "end"), bends=1.3,
           signal=(0.97, 0.75)),
    Course("M2 middle", ((42, 0, -6), (40, -4, 5), (44, -14, 14), (54, -24, 22)), (0.9, 0.5),
           ("M1", "end"), bends=1.2, signal=(0.95, 0.75)),
    Course("anterior temporal", ((26, 10, -25), (34, 15, -32), (44, 14, -36)), (0.6, 0.4),
           ("M1", (25, 5, -18.5)), signal=(0.9, 0.75), landmark="anterior temporal origin"),
    Course("prefrontal", ((43, 15, 5), (48, 21, 13), (52, 23, 26)), (0.75, 0.45),
           ("M2 superior", (40, 7, -3)), bends=1.0, signal=(0.9, 0.7),
           landmark="prefrontal branching"),
    Course("central", ((44, 1, 15), (53, 2, 22), (58, 2, 32)), (0.65, 0.45),
           ("M2 superior", (39, 0, 9)), bends=1.0, signal=(0.88, 0.7)),
    Course("temporal", ((45, -15, -8), (53, -22, -9), (60, -32, -6)), (0.75, 0.45),
           ("M2 inferior", (40, -10, -6)), bends=1.0, signal=(0.9, 0.7),
           landmark="temporal branching"),
    Course("angular", ((42, -28, 16), (50, -36, 24), (54, -44, 34)), (0.65, 0.45),
           ("M2 inferior", (39, -22, 6)), bends=1.0, signal=(0.88, 0.7)),
    Course("P1", ((5, -17.5, -19.5), (9, -18.5, -18.5)), (1.05, 1.0), ("BA", "end"), bends=0.5,
           signal=(0.98, 0.96), landmark="basilar tip"),
    Course("P2", ((14, -25, -17), (17, -34, -13), (13.5, -46, -5), (11.5, -58, -1), (10, -76, 3)),
           (1.0, 0.6), ("P1", "end"), bends=0.8, signal=(0.95, 0.72), landmark="P1-P2 junction"),
    Course("posterior temporal", ((24, -40, -14), (32, -50, -12), (36, -62, -9)), (0.65, 0.4),
           ("P2", (16.5, -31, -14)), signal=(0.85, 0.7), landmark="posterior temporal origin"),
    Course("SCA", ((7, -20, -25.5), (14, -27, -23), (16.5, -37, -17), (10, -50, -7)), (0.7, 0.4),
           ("BA", (0, -20.5, -24)), signal=(0.92, 0.7), landmark="SCA origin"),
    Course("AICA", ((9, -26, -42), (19, -31, -43), (27, -41, -40)), (0.5, 0.35),
           ("BA", (0, -26.5, -41)), signal=(0.88, 0.7), landmark="AICA origin"),
    Course("PICA", ((13.5, -43, -58.5), (11, -50, -57), (6, -52, -49), (6, -61, -42)), (0.65, 0.4),
           ("VA", (8.5, -36.5, -58)), bends=1.2, signal=(0.9, 0.7), landmark="PICA origin"),
    Course("PComm", ((13, -4, -20), (11, -12, -20)), (0.6, 0.55), ("ICA", (13, 4.5, -20.5)),
           ("P1", "end"), bends=0.5, signal=(0.9, 0.9), landmark="PComm origin"),
    Course("ophthalmic", ((14.5, 16.5, -27.5), (20, 27, -29), (25, 38, -30), (21, 49, -28)),
           (0.6, 0.4), ("ICA", (13, 9.5, -24.5)), bends=0.7, signal=(0.9, 0.75),
           landmark="ophthalmic origin"),
    Course("AChA", ((19, -3, -17), (22, -14, -13), (25, -23, -5)), (0.42, 0.3),
           ("ICA", (14.3, 3.2, -18)), signal=(0.85, 0.7), landmark="AChA origin"),
    Course("AComm", (), (0.85, 0.8), ("A1 left", "end"), ("A1 right", "end"), bends=0.15,
           signal=(0.95, 0.95), paired=False),
    Course("STA", ((54, -12, -66), (60, -8, -50), (67, -5, -30), (73, 1, -6), (70, 16, 14),
                   (69, 14, 34)), (0.95, 0.7), bends=1.2, signal=(0.9, 0.75), outer=True),
    Course("maxillary", ((54, -12, -66), (46, 0, -55), (36, 14, -54), (28, 22, -50)), (1.2, 0.8),
           bends=1.2, signal=(0.9, 0.8), outer=True),
)
_MIDDLE = tuple(course.name for course in _COURSES if not course.paired)
_SINGLE = ("basilar tip",)  # landmarks without side at the origin of paired arteries
VEINS: tuple[tuple[float, float, tuple[Place, ...]], ...] = (
    (3.2, 0.42, ((0, 72, 32), (0, 70, 28), (0, 66, 10))),
    (3.6, 0.45, ((0, -98, 34), (0, -101, 12), (0, -98, -10))),
    (3.2, 0.40, ((0, -98, -10), (24, -92, -14), (46, -73, -18), (57, -50, -25), (52, -40, -38),
                 (40, -38, -52), (32, -30, -66))),
    (3.0, 0.36, ((0, -98, -10), (-24, -92, -14), (-46, -73, -18), (-57, -50, -25), (-52, -40, -38),
                 (-40, -38, -52), (-32, -30, -66))),
    (1.5, 0.42, ((0, -30, 9), (0, -42, 9), (0, -52, 2), (0, -72, -4), (0, -96, -9))),
    (0.8, 0.38, ((3, -5, 14), (3, -20, 14), (1, -32, 10))),
    (0.8, 0.38, ((-3, -5, 14), (-3, -20, 14), (-1, -32, 10))),
)
"""Radius, signal against that of arteries, and points: blood that was saturated from above."""


_OF_PERSON = ("hypoplastic A1", "absent A1", "hypoplastic vertebral")


@dataclass(frozen=True)
class Anatomy:
    """The arteries of one person.

    Attributes:
        courses: parents first; names have the side; points (lateral, anterior, superior), left
            above 0.
        variants: of each side, names of :data:`VARIANTS`.
    """

    courses: tuple[Course, ...]
    variants: Mapping[str, frozenset[str]]

    def infundibulum(self, name: str) -> bool:
        """Whether an artery begins with a cone."""
        kind, _, side = name.rpartition(" ")
        return (kind == "PComm" and "infundibulum" in self.variants[side]
                and "fetal PCA" not in self.variants[side])


def draw_anatomy(random: Randomness, variants: bool = True) -> Anatomy:
    """Arteries of one person; without ``variants`` those of the textbook."""
    has = _draw_variants(random) if variants else {side: frozenset() for side in SIDES}
    courses = []
    for course in _COURSES:
        for side in SIDES if course.paired else ("",):
            varied = _varied(course, has[side], has[_other(side)]) if side else course
            if varied is not None:
                courses.append(_on_side(varied, side))
    return Anatomy(tuple(courses), has)


def _other(side: str) -> str:
    return SIDES[side == SIDES[0]]


def _draw_variants(random: Randomness) -> dict[str, frozenset[str]]:
    has: dict[str, set[str]] = {side: set() for side in SIDES}
    for name, share in VARIANTS.items():
        one_side = SIDES[int(random.chance(0.5))]
        for side in (one_side,) if name in _OF_PERSON else SIDES:
            if random.chance(share):
                has[side].add(name)
    return {side: frozenset(names) for side, names in has.items()}


def _varied(course: Course, has: frozenset[str], across: frozenset[str]) -> Course | None:
    """The artery of a side with its variants and those of the other side; None when missing."""
    name = course.name
    if name == "M2 middle" and "third M2" not in has:
        return None
    if name in ("PICA", "AICA") and f"absent {name}" in has:
        return None
    if name == "PComm" and "absent PComm" in has and "fetal PCA" not in has:
        return None
    if "early MCA branching" in has:
        if name == "M1":
            return replace(course, points=((20, 4.5, -17.5), (26, 5.5, -18.5)))
        if name.startswith("M2"):
            up = {"M2 superior": 1.5, "M2 middle": 0.0, "M2 inferior": -1.5}[name]
            return replace(course, points=((34, 3.5 + up, -16.5 + up), *course.points))
    widths = {  # mm, from beginning to end
        "A1": ("absent A1" in has and (0.0, 0.0) or "hypoplastic A1" in has and (0.45, 0.45)
               or {"absent A1", "hypoplastic A1"} & across and (1.35, 1.25)),
        "P1": "fetal PCA" in has and (0.45, 0.45),
        "PComm": ("fetal PCA" in has and (1.05, 1.0)
                  or "hypoplastic PComm" in has and (0.36, 0.33)),
        "VA": "hypoplastic vertebral" in has and (0.8, 0.75)
              or "hypoplastic vertebral" in across and (1.85, 1.6),
    }.get(name)
    return replace(course, radii=widths) if widths else course


def _on_side(course: Course, side: str) -> Course:
    """The artery with its side in all names, and its points on that side."""
    if not side:
        return course
    sign = 1.0 if side == "left" else -1.0

    def mirrored(place):
        return place if isinstance(place, str) else (sign * place[0], *place[1:])

    def linked(link):
        if link is None:
            return None
        name, place = link
        return (name if name in _MIDDLE else f"{name} {side}"), mirrored(place)

    return replace(
        course, name=f"{course.name} {side}", points=tuple(map(mirrored, course.points)),
        origin=linked(course.origin), end=linked(course.end),
        landmark=course.landmark if course.landmark in _SINGLE or course.landmark is None
        else f"{course.landmark} {side}")
