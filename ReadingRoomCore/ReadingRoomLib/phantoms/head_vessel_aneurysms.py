# SPDX-License-Identifier: Apache-2.0
"""Saccular aneurysms on the arteries of :mod:`.head_vessel_tree`: where, how large, of what shape.

Places and sizes follow UCAS Japan (Morita et al., N Engl J Med 2012: 6,697 unruptured aneurysms of
at least 3 mm in 5,720 patients): 36 % are middle cerebral and 34 % internal carotid, those at the
posterior communicating included; their mean is 5.7 mm, 47 % are below 5 mm. The standard deviation
is less than the published 3.6 mm, because none is wider than :data:`LARGEST_MM`. The finer shares
of :data:`SITES` add up to anterior communicating 15.5 %, internal carotid 18.6 %, posterior
communicating 15.5 %, basilar tip and superior cerebellar 6.6 %, vertebral 1.8 %, others 5.8 %: the
groups are those of that study, but the shares could not be compared with its tables. They, sizes
from 2 mm on, shapes and necks are this project's choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .head_vessel_tree import Line, Tree
from .randomness import Randomness

SMALLEST_MM, LARGEST_MM = 2.0, 12.0
_MEDIAN_MM, _SPREAD = 4.7, 0.5  # of the log-normal distribution of diameters
_TRIES = 24  # directions that are tried for one that meets no other artery
_CONE = 0.45  # tangent of about how far a direction is from the usual one


@dataclass(frozen=True)
class Site:
    """Where aneurysms grow.

    Attributes:
        place: name, without the side.
        share: of all aneurysms, percent.
        line: artery that bears it.
        at: "end" of it; the artery that leaves it there; or two shares of its length, between
            which it sits on the outside of a bend.
        paired: whether there is one on each side.
    """

    place: str
    share: float
    line: str
    at: str | tuple[float, float]
    paired: bool = True


SITES = (
    Site("MCA bifurcation", 28.5, "M1", "end"),
    Site("M1", 5.0, "M1", "anterior temporal"),
    Site("M2", 2.7, "M2 superior", "prefrontal"),
    Site("AComm", 15.5, "A1", "end"),
    Site("PComm", 15.5, "ICA", "PComm"),
    Site("ophthalmic", 10.0, "ICA", "ophthalmic"),
    Site("carotid terminus", 4.0, "ICA", "end"),
    Site("AChA", 2.6, "ICA", "AChA"),
    Site("cavernous ICA", 2.0, "ICA", (0.52, 0.68)),
    Site("basilar tip", 4.5, "BA", "end", paired=False),
    Site("SCA", 2.1, "BA", "SCA"),
    Site("PICA", 1.8, "VA", "PICA"),
    Site("pericallosal", 3.5, "A2", "callosomarginal"),
    Site("PCA", 1.3, "P1", "end"),
    Site("A1", 1.0, "A1", (0.3, 0.7)),
)


@dataclass(frozen=True)
class Dome:
    """An aneurysm in the head's coordinates; lengths in mm.

    Attributes:
        place: name of the site, with its side.
        centre: of the ellipsoid.
        axes: unit vectors, rows; the first points away from the parent.
        half: half axes of the ellipsoid, in the order of ``axes``.
        neck: its width.
        base: place on the axis of the parent below it.
        daughter: centre and radius of a second, smaller sac, or None.
        parent: name of the artery.
    """

    place: str
    centre: np.ndarray
    axes: np.ndarray
    half: np.ndarray
    neck: float
    base: np.ndarray
    daughter: tuple[np.ndarray, float] | None
    parent: str

    @property
    def diameter(self) -> float:
        """The largest axis of the ellipsoid, without a daughter sac."""
        return float(2 * self.half.max())

    def wall(self, points: np.ndarray) -> np.ndarray:
        """Distance of points (n, 3) from the wall, about; below 0 inside sac or neck."""
        local = (points - self.centre) @ self.axes.T
        scaled = np.linalg.norm(local / self.half, axis=1)
        steep = np.linalg.norm(local / self.half**2, axis=1)
        distance = scaled * (scaled - 1) / np.maximum(steep, 1e-6)
        distance = np.where(scaled < 1e-3, -self.half.min(), distance)
        up = self.centre - self.base
        share = np.clip((points - self.base) @ up / (up @ up), 0, 1)
        beside = np.linalg.norm(points - self.base - share[:, None] * up, axis=1)
        distance = np.minimum(distance, beside - self.neck / 2)
        if self.daughter is not None:
            centre, radius = self.daughter
            distance = np.minimum(distance, np.linalg.norm(points - centre, axis=1) - radius)
        return distance

    @property
    def reach(self) -> float:
        """Farthest that it comes from its centre."""
        return float(max(1.3 * self.half.max(), np.linalg.norm(self.centre - self.base)
                         + self.neck / 2))


def draw_diameter(random: Randomness) -> float:
    """Of an aneurysm, mm."""
    while True:
        size = _MEDIAN_MM * np.exp(_SPREAD * random.numpy.normal())
        if SMALLEST_MM <= size <= LARGEST_MM:
            return float(size)


def sites_of(tree: Tree) -> dict[str, tuple[Site, str]]:
    """Sites that the arteries of a person have: by name with the side, the site and the side."""
    found = {}
    for site in SITES:
        for side in ("left", "right") if site.paired else ("",):
            line = tree.lines.get(f"{site.line} {side}".strip()) or tree.lines.get(site.line)
            if line is None or line.radii.max() < 0.6:
                continue
            if isinstance(site.at, str) and site.at != "end" and (
                    f"{site.at} {side}" not in tree.lines):
                continue
            found[f"{site.place} {side}".strip()] = (site, side)
    return found


def draw_site(tree: Tree, random: Randomness, taken: set[str]) -> str:
    """One of the sites, as often as aneurysms are there."""
    sites = {name: value for name, value in sites_of(tree).items() if name not in taken}
    shares = np.array([site.share / (1 + site.paired) for site, _ in sites.values()])
    return list(sites)[int(random.numpy.choice(len(sites), p=shares / shares.sum()))]


def grow_aneurysm(tree: Tree, name: str, diameter: float, random: Randomness) -> Dome:
    """An aneurysm of a site, pointing away from its parent and clear of other arteries.

    Args:
        tree: the arteries.
        name: of the site with its side, as :func:`sites_of` has them.
        diameter: mm.
        random: draws direction, shape and neck.

    Raises:
        KeyError: this person has no such site.
    """
    site, side = sites_of(tree)[name]
    line = tree.lines.get(f"{site.line} {side}".strip()) or tree.lines[site.line]
    number, usual = _where(tree, line, site, side, random)
    base, radius = line.points[number], float(line.radii[number])
    half, neck = _shape(diameter, random)
    # the ellipsoid is cut by the wall where it is as wide as the neck
    sunk = half[0] * np.sqrt(max(0.0, 1 - (neck / (2 * half[1])) ** 2))
    others = _others(tree, base, radius)
    best, clear = usual, -np.inf
    for _ in range(_TRIES):
        direction = _unit(usual + _CONE * random.numpy.normal(size=3))
        centre = base + (radius + sunk) * direction
        room = np.min(np.linalg.norm(others[:, :3] - centre, axis=1) - others[:, 3],
                      initial=50.0) - half.max()
        if room > clear:
            best, clear = direction, room
        if room > 0.2:
            break
    across = _unit(np.cross(best, random.numpy.normal(size=3)))
    axes = np.stack([best, across, np.cross(best, across)])
    centre = base + (radius + sunk) * best
    daughter = None
    if diameter > 4 and random.chance(0.2):
        towards = _unit(best + 0.7 * random.numpy.normal(size=3))
        edge = 1 / np.linalg.norm((axes @ towards) / half)
        daughter = (centre + 0.9 * edge * towards, diameter * random.uniform(0.14, 0.2))
    return Dome(name, centre, axes, half, neck, base, daughter, line.name)


def _where(tree: Tree, line: Line, site: Site, side: str, random: Randomness
           ) -> tuple[int, np.ndarray]:
    """Point of the parent below an aneurysm, and the usual direction."""
    tangents = line.tangents
    last = len(line.points) - 1
    if site.at == "end":
        return last, tangents[max(0, last - 6)]  # where blood flows against the wall
    if isinstance(site.at, str):
        branch = tree.lines[f"{site.at} {side}"]
        number = min(line.nearest(branch.points[0]) + round(line.radii[-1] / 0.25 * 0.6), last)
        leaves = branch.points[min(8, len(branch.points) - 1)] - line.points[number]
        return number, _unit(_across(leaves, tangents[number]) + 0.25 * tangents[number])
    low, high = site.at
    number = int(last * random.uniform(low, high))
    reach = min(12, number, last - number)
    inside = line.points[number - reach] + line.points[number + reach] - 2 * line.points[number]
    return number, _across(-inside, tangents[number])


def _across(vector: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The direction of a vector at right angles to another."""
    rest = vector - (vector @ along) * along
    if np.linalg.norm(rest) < 1e-6:
        rest = np.cross(along, [0.36, 0.48, 0.8])
    return _unit(rest)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _shape(diameter: float, random: Randomness) -> tuple[np.ndarray, float]:
    """Half axes, along the direction and across it, and the neck; mm."""
    axes = np.array([random.uniform(0.75, 1.3), 1.0, random.uniform(0.85, 1.0)])
    half = axes * diameter / (2 * axes.max())
    neck = 2 * half[1] * random.uniform(0.45, 0.85)
    return half, float(min(neck, 5.0))


def _others(tree: Tree, base: np.ndarray, radius: float) -> np.ndarray:
    """Points and radii (n, 4) of arteries but those of the place itself."""
    rows = np.vstack([np.column_stack([line.points, line.radii]) for line in tree.lines.values()])
    return rows[np.linalg.norm(rows[:, :3] - base, axis=1) > radius + 2.0]
