# SPDX-License-Identifier: Apache-2.0
"""The arteries of one simulated person in space: lines with a radius, their branchings, aneurysms.

Coordinates are those of the head: L, P, S in mm from the anterior commissure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.interpolate import CubicSpline

from .head_vessel_anatomy import Anatomy, Course
from .randomness import Randomness

STEP_MM = 0.25  # between the points of a line
BEND_WAVES = ((75.0, 140.0, 1.5), (35.0, 60.0, 0.7))  # mm, wave lengths and size of a smooth bend
CONE_FROM_MM = 2.0  # along a posterior communicating artery, where it leaves the carotid's lumen
_POINTS_APART = 1.0  # mm, standard deviation of where an artery passes
_TO_LPS = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Line:
    """An artery.

    Attributes:
        name: with its side.
        points: (n, 3), L, P, S mm, :data:`STEP_MM` apart.
        radii: (n,), mm.
        signal: (n,), of its blood, 1 in fast flow.
        parent: name of the artery that it comes from.
        outer: outside the skull.
    """

    name: str
    points: np.ndarray = field(repr=False)
    radii: np.ndarray = field(repr=False)
    signal: np.ndarray = field(repr=False)
    parent: str | None = None
    outer: bool = False

    @property
    def tangents(self) -> np.ndarray:
        """Unit vectors along the flow, (n, 3)."""
        along = np.gradient(self.points, axis=0)
        return along / np.linalg.norm(along, axis=1, keepdims=True)

    def nearest(self, place: np.ndarray) -> int:
        """Number of the point nearest to a place."""
        return int(np.square(self.points - place).sum(1).argmin())


@dataclass(frozen=True)
class Tree:
    """All arteries of a person.

    Attributes:
        lines: by name; arteries that are missing are not among them.
        landmarks: by name, L, P, S mm: where arteries begin, join and bend.
        infundibula: where a posterior communicating artery begins with a cone.
    """

    lines: dict[str, Line]
    landmarks: dict[str, np.ndarray]
    infundibula: tuple[np.ndarray, ...]


def grow_tree(anatomy: Anatomy, random: Randomness, scale: np.ndarray, bend: float = 1.0,
              tortuosity: float | None = None) -> Tree:
    """Arteries in space.

    Args:
        anatomy: which there are.
        random: draws where they pass.
        scale: of the head along L, P, S; widths are not scaled.
        bend: how strongly heads differ, 1 as they do.
        tortuosity: how strongly arteries bend to and fro; drawn when None.
    """
    tortuosity = random.uniform(0.4, 1.7) if tortuosity is None else tortuosity
    width = float(np.clip(random.numpy.normal(1.0, 0.10), 0.75, 1.3))
    warp = draw_warp(random, scale, bend)
    rough: dict[str, Line] = {}
    for course in anatomy.courses:
        rough[course.name] = _line(course, rough, random, width, tortuosity)
    lines = {name: _evenly(replace(line, points=warp(line.points)))
             for name, line in rough.items()}
    lines = {name: _with_junctions(line, random, anatomy.infundibulum(name))
             for name, line in lines.items()}
    infundibula = tuple(line.points[round(CONE_FROM_MM / STEP_MM)]
                        for name, line in lines.items() if anatomy.infundibulum(name))
    return Tree({name: line for name, line in lines.items() if line.radii.max() > 0.05},
                _landmarks(anatomy, lines), infundibula)


def draw_warp(random: Randomness, scale: np.ndarray, bend: float
              ) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth deformation of space: a scale, and a few long waves across each other."""
    waves = []
    for low, high, size in BEND_WAVES:
        for _ in range(4):
            direction = random.numpy.normal(size=3)
            direction *= 2 * np.pi / (np.linalg.norm(direction) * random.uniform(low, high))
            waves.append((direction, random.uniform(0, 2 * np.pi),
                          bend * size / 2 * random.numpy.normal(size=3)))

    def warp(points: np.ndarray) -> np.ndarray:
        moved = points * scale
        for direction, phase, push in waves:
            moved = moved + np.sin(points @ direction + phase)[:, None] * push
        return moved

    return warp


def _line(course: Course, lines: dict[str, Line], random: Randomness, width: float,
          tortuosity: float) -> Line:
    """An artery before the head is bent; it begins and ends on those it is linked with."""
    points = np.array(course.points, float).reshape(-1, 3) * _TO_LPS
    points = points + _POINTS_APART * random.numpy.normal(size=points.shape).clip(-2, 2)
    parent = None
    if course.origin is not None:
        parent, where = course.origin
        points = np.vstack([_linked(lines[parent], where, random), points])
    if course.end is not None:
        points = np.vstack([points, _linked(lines[course.end[0]], course.end[1], random)])
    points = smooth_through(points)
    share = np.linspace(0, 1, len(points))
    bends = course.bends * tortuosity * random.uniform(0.6, 1.4)
    points = points + bends * _to_and_fro(len(points), random)
    start, end = np.array(course.radii) * width * random.uniform(0.88, 1.12)
    radii = start + (end - start) * share
    signal = course.signal[0] + (course.signal[1] - course.signal[0]) * share
    return Line(course.name, points, radii, signal, parent, course.outer)


def _linked(line: Line, where: tuple[float, float, float] | str, random: Randomness) -> np.ndarray:
    if isinstance(where, str):
        return line.points[0 if where == "start" else -1]
    apart = 0.6 * random.numpy.normal(size=3)
    return line.points[line.nearest(np.array(where) * _TO_LPS + apart)]


def smooth_through(points: np.ndarray) -> np.ndarray:
    """A smooth line through points, :data:`STEP_MM` apart.

    Centripetal parameters keep it from overshooting: a rule of thumb here; that they prevent loops
    is proven for Catmull-Rom curves (Yuksel et al., Computer-Aided Design 2011).
    """
    apart = np.linalg.norm(np.diff(points, axis=0), axis=1)
    knots = np.concatenate([[0], np.cumsum(np.sqrt(apart))])
    count = max(4, int(np.ceil(1.2 * apart.sum() / STEP_MM)))
    return CubicSpline(knots, points)(np.linspace(0, knots[-1], count))


def _to_and_fro(count: int, random: Randomness) -> np.ndarray:
    """Random waves 10 to 30 mm long that begin and end at rest, (n, 3), about 1 in size."""
    length = count * STEP_MM
    along = np.linspace(0, length, count)
    waves = np.zeros((count, 3))
    for _ in range(3):
        wave = random.uniform(10, 30)
        phases = random.numpy.uniform(0, 2 * np.pi, 3)
        waves += random.numpy.normal(size=3) * np.sin(2 * np.pi * along[:, None] / wave + phases)
    rest = np.clip(np.minimum(along, length - along) / 5, 0, 1)
    return 0.6 * waves * (rest**2 * (3 - 2 * rest))[:, None]


def _evenly(line: Line) -> Line:
    """The line with points :data:`STEP_MM` apart."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line.points, axis=0), axis=1))])
    new = np.linspace(0, along[-1], max(4, round(along[-1] / STEP_MM) + 1))
    points = np.stack([np.interp(new, along, column) for column in line.points.T], 1)
    return replace(line, points=points, radii=np.interp(new, along, line.radii),
                   signal=np.interp(new, along, line.signal))


def _with_junctions(line: Line, random: Randomness, infundibulum: bool) -> Line:
    """Uneven, wider where arteries join, with a cone at an infundibulum: traps for a detector."""
    if line.radii[0] <= 0:
        return line
    count = len(line.points)
    along = np.arange(count) * STEP_MM
    uneven = 0.05 * random.numpy.normal() * np.sin(
        2 * np.pi * along / random.uniform(6, 15) + random.uniform(0, 6))
    begins = random.uniform(0, 0.3) * np.exp(-along / (1.3 * line.radii[0]))
    ends = random.uniform(0, 0.2) * np.exp(-(along[-1] - along) / (1.5 * line.radii[-1]))
    radii = line.radii * (1 + uneven + begins * (line.parent is not None) + ends)
    if infundibulum:  # below 3 mm wide by definition (Chen et al., J NeuroIntervent Surg 2016)
        cone = 1 - (along - CONE_FROM_MM) / random.uniform(2.5, 4.0)
        radii = np.maximum(radii, random.uniform(1.1, 1.45) * cone.clip(0, 1))
    return replace(line, radii=radii)


def _landmarks(anatomy: Anatomy, lines: dict[str, Line]) -> dict[str, np.ndarray]:
    """Named places; a branching counts only where both its arteries are there."""
    places = {}
    for course in anatomy.courses:
        line = lines[course.name]
        if course.landmark is not None and line.radii.max() > 0:
            places[course.landmark] = line.points[0]
        if course.name == "AComm":
            places["AComm"] = line.points[len(line.points) // 2]
        if course.name.startswith("ICA"):
            # the foremost place of the carotid: its bend into the skull
            places[f"carotid siphon {course.name.split()[1]}"] = line.points[
                line.points[:, 1].argmin()]
    return places
