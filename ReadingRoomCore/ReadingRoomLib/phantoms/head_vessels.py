# SPDX-License-Identifier: Apache-2.0
"""Simulated time-of-flight MR angiograms of the head, with saccular aneurysms of known size.

Arteries at the base of the brain are those of :mod:`.head_vessel_anatomy`, which says what of their
widths and variants is published and what assumed; each person's pass elsewhere, bend and branch
otherwise (:mod:`.head_vessel_tree`). Aneurysms sit where UCAS Japan found them, about as often
(:mod:`.head_vessel_aneurysms`). Bends, branchings that widen, infundibula, veins and fat are there
to mislead a detector. The image is that of :mod:`.head_vessel_image`. How many patients have no
aneurysm, or two, is this project's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from .head_vessel_anatomy import draw_anatomy
from .head_vessel_aneurysms import Dome, draw_diameter, draw_site, grow_aneurysm
from .head_vessel_grid import Grid
from .head_vessel_image import paint_head, paint_lumen, scanned
from .head_vessel_tree import Tree, grow_tree
from .randomness import Randomness

MIDDLE_MM = (0.0, 9.0, -20.0)  # L, P, S: of the field, from the anterior commissure
Point = tuple[float, float, float]


@dataclass(frozen=True)
class MRASettings:
    """What is simulated. Lengths in mm along L, P, S; angles in degrees.

    Attributes:
        spacing: of voxels.
        field: of view.
        counts: share of patients with no aneurysm, one, two, ...
        aneurysms: instead of drawn ones: (place, diameter); a place of None is drawn.
        variants: whether arteries may be missing, narrow, or come from elsewhere.
        scale: of the head.
        bend: how strongly heads differ, 1 as they do.
        rotation: largest, of the head in the scanner, about each axis.
        noise: standard deviation against the signal of a large artery.
    """

    spacing: Point = (0.8, 0.8, 0.8)
    field: Point = (156.0, 172.0, 92.0)
    counts: Sequence[float] = (0.35, 0.5, 0.15)
    aneurysms: Sequence[tuple[str | None, float]] | None = None
    variants: bool = True
    scale: tuple[float, float] = (0.94, 1.06)
    bend: float = 1.0
    rotation: Point = (5.0, 4.0, 6.0)
    noise: tuple[float, float] = (0.02, 0.06)


@dataclass(frozen=True)
class Aneurysm:
    """What is known of an aneurysm.

    Attributes:
        centre: of its sac, LPS mm.
        diameter_mm: the largest axis of its sac, without a daughter sac.
        neck_mm: width of its neck.
        place: where it grows, with the side.
        number: its value in the mask.
    """

    centre: Point
    diameter_mm: float
    neck_mm: float
    place: str
    number: int


@dataclass(frozen=True)
class SimulatedMRA:
    """An angiogram of a patient.

    Attributes:
        image: int16, magnitude in arbitrary units.
        vessels: uint8 on its grid, 1 in arteries inside the skull, in the carotid and vertebral
            arteries below it, and in aneurysms.
        aneurysm_mask: uint8 on its grid: number of the aneurysm, 0 elsewhere.
        aneurysms: by number.
        landmarks: named branchings and bends that lie in the field, LPS mm.
        infundibula: where arteries begin with a cone that is no aneurysm, LPS mm.
    """

    image: sitk.Image = field(repr=False)
    vessels: sitk.Image = field(repr=False)
    aneurysm_mask: sitk.Image = field(repr=False)
    aneurysms: list[Aneurysm]
    landmarks: dict[str, Point] = field(repr=False)
    infundibula: list[Point] = field(repr=False)


def simulate_mra(seed: tuple[int, ...], settings: MRASettings = MRASettings()) -> SimulatedMRA:
    """Simulate the angiogram of one patient.

    Args:
        seed: the same numbers give the same image.
        settings: what is drawn.

    Raises:
        ValueError: settings ask for an aneurysm at a place that this patient has not.
    """
    random = Randomness(*seed)
    scale = random.uniform(*settings.scale) * random.numpy.uniform(0.97, 1.03, 3)
    grid = _grid(settings, scale, random)
    tree = grow_tree(draw_anatomy(random, settings.variants), random, scale, settings.bend)
    domes = _aneurysms(tree, grid, settings, random)
    share, blood, arteries, sacs = paint_lumen(tree, domes, grid, random)
    signal = paint_head(tree, grid, random)
    noise = random.uniform(*settings.noise)
    values = scanned(signal, share, blood, grid, noise, random) * random.uniform(300, 1400)
    inside = {name: place for name, place in tree.landmarks.items() if _inside(place, grid)}
    return SimulatedMRA(
        _image(values.clip(0, 32767).round().astype(np.int16), grid),
        _image(arteries, grid), _image(sacs, grid),
        [Aneurysm(_point(dome.centre, grid), dome.diameter, dome.neck, dome.place, number)
         for number, dome in enumerate(domes, 1)],
        {name: _point(place, grid) for name, place in inside.items()},
        [_point(place, grid) for place in tree.infundibula])


def _grid(settings: MRASettings, scale: np.ndarray, random: Randomness) -> Grid:
    spacing = np.array(settings.spacing)
    count = np.maximum(2, np.round(np.array(settings.field) / spacing)).astype(int)
    origin = np.array(MIDDLE_MM) - (count - 1) / 2 * spacing
    angles = np.radians([random.uniform(-most, most) for most in settings.rotation])
    middle = np.array(MIDDLE_MM)
    pose = _rotation(angles)
    shift = middle - pose @ middle + random.numpy.uniform(-3, 3, 3)
    return Grid(tuple(count[::-1].tolist()), spacing, origin, pose, shift, scale)


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    return (np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
            @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]))


def _aneurysms(tree: Tree, grid: Grid, settings: MRASettings, random: Randomness) -> list[Dome]:
    wanted = settings.aneurysms
    if wanted is None:
        shares = np.array(settings.counts, float)
        count = int(random.numpy.choice(len(shares), p=shares / shares.sum()))
        wanted = [(None, draw_diameter(random)) for _ in range(count)]
    domes: list[Dome] = []
    for place, diameter in wanted:
        try:
            domes.append(_aneurysm(tree, grid, place, diameter, {dome.place for dome in domes},
                                   random))
        except KeyError:
            raise ValueError(f"this patient has no {place}") from None
    return domes


def _aneurysm(tree: Tree, grid: Grid, place: str | None, diameter: float, taken: set[str],
              random: Randomness) -> Dome:
    if place is not None:
        return grow_aneurysm(tree, place, diameter, random)
    for _ in range(50):
        dome = grow_aneurysm(tree, draw_site(tree, random, taken), diameter, random)
        if _inside(dome.centre, grid, dome.half.max()):
            return dome
    raise ValueError("the field of view shows no place where aneurysms grow")


def _inside(place: np.ndarray, grid: Grid, margin: float = 0.0) -> bool:
    index = grid.to_index(place[None])[0]
    room = margin / grid.spacing[::-1]
    return bool(((index >= room) & (index <= np.array(grid.shape) - 1 - room)).all())


def _point(place: np.ndarray, grid: Grid) -> Point:
    return tuple(grid.to_patient(place[None])[0].tolist())


def _image(array: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    return image
