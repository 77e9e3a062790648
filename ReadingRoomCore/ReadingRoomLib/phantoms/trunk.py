# SPDX-License-Identifier: Apache-2.0
"""Simulated trunk CTs, from the base of the neck to the thighs, with named landmarks.

Every patient is drawn anew: height, build, fat, sex-like proportions, sizes and places of organs,
breathing, contrast agent, normal variants. The anatomy is made of smooth shapes in standard
coordinates (:mod:`.trunk_regions`, :mod:`.trunk_organs`, :mod:`.trunk_vessels`,
:mod:`.trunk_bones`, :mod:`.trunk_limb_bones`), bent and deformed as a whole (:mod:`.trunk_grid`),
which carries the landmarks exactly, and painted (:mod:`.trunk_painting`). No scan of anybody went
into it: it is for pretraining networks and for measuring them by patient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk

from ..errors import BadInput
from .randomness import Randomness
from .trunk_bones import build_spine_and_ribs
from .trunk_grid import Grid, Placement
from .trunk_landmarks import LANDMARKS, MEANINGS, PUBLISHED_COUNTS
from .trunk_limb_bones import build_limb_bones
from .trunk_names import CODES, PUBLIC
from .trunk_organs import build_organs
from .trunk_painting import PaintSettings, paint, paint_trunk
from .trunk_patient import Patient, draw_patient
from .trunk_regions import build_muscles, build_pulmonary_vessels, fill_body
from .trunk_shapes import Canvas
from .trunk_vessels import build_vessels

__all__ = ["FIELDS", "LANDMARKS", "MEANINGS", "PUBLISHED_COUNTS", "SimulatedTrunk",
           "TrunkSettings", "paint_trunk", "simulate_trunk"]

Field = Literal["trunk", "chest", "abdomen_pelvis", "random"]
FIELDS: tuple[Field, ...] = get_args(Field)
_FIELD_Z = {"trunk": (-190.0, 512.0), "chest": (150.0, 512.0), "abdomen_pelvis": (-190.0, 290.0)}
_SHORTEST_MM = 260.0  # of a random field
_TABLE_MM = 45.0


@dataclass(frozen=True)
class TrunkSettings:
    """Ranges of the simulation. Lengths in mm, angles in degrees, densities in HU.

    Attributes:
        spacing: of the voxels, (z, y, x).
        shape: of the image, (z, y, x) voxels around the middle of the field; None fits it to the
            field of view and the patient.
        field_of_view: trunk, chest, abdomen_pelvis, or a random stretch of the trunk.
        rotation: largest, about L, P and S.
        displacement: largest of the elastic deformation, along each axis.
        bend: largest bending of the spine along L, P and S.
        thickness: of slices, beyond that of the voxels.
        noise: standard deviation.
        table_probability: how often the table is in the picture.
    """

    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)
    shape: tuple[int, int, int] | None = None
    field_of_view: Field = "trunk"
    rotation: tuple[float, float, float] = (4.0, 4.0, 5.0)
    displacement: float = 9.0
    bend: tuple[float, float, float] = (7.0, 9.0, 9.0)
    thickness: tuple[float, float] = (0.5, 3.0)
    noise: tuple[float, float] = (5.0, 22.0)
    table_probability: float = 0.85


@dataclass(frozen=True)
class SimulatedTrunk:
    """A simulated trunk CT.

    Attributes:
        image: HU, int16, LPS.
        labels: codes of structures on the same grid, uint8.
        label_names: TotalSegmentator's names of the codes in it.
        landmarks: LPS mm by name, in the order of ``LANDMARKS``; without those beyond the image and
            those of organs that the patient has not.
        patient: what was drawn.
        placement: of the standard trunk in the image.
    """

    image: sitk.Image
    labels: sitk.Image = field(repr=False)
    label_names: dict[int, str] = field(repr=False)
    landmarks: dict[str, tuple[float, float, float]]
    patient: Patient
    placement: Placement = field(repr=False)


def simulate_trunk(seed: tuple[int, ...],
                   settings: TrunkSettings = TrunkSettings()) -> SimulatedTrunk:
    """Simulate a trunk CT.

    Args:
        seed: the same numbers give the same patient, image and landmarks.
        settings: ranges of what is drawn, and the grid.

    Raises:
        BadInput: the field of view is none of ``FIELDS``.
    """
    if settings.field_of_view not in FIELDS:
        raise BadInput(f"The field of view {settings.field_of_view!r} is unknown: choose one of "
                       f"{', '.join(FIELDS)}.")
    random = Randomness(*seed)
    patient, scale = draw_patient(random)
    angles = [random.uniform(-largest, largest) for largest in settings.rotation]
    bend = [random.uniform(0, largest) for largest in settings.bend]
    placement = Placement(scale, angles, random.uniform(.5, 1) * settings.displacement, bend,
                          random)
    grid = _grid(patient, placement, settings, random)
    canvas = Canvas(grid, placement, CODES)
    marks = _draw(canvas, patient, random)
    landmarks = _placed(marks, placement, grid)
    regions = canvas.regions
    del canvas
    hounsfield = paint(regions, {code: name for name, code in CODES.items()}, PaintSettings(
        settings.spacing, settings.thickness, settings.noise, settings.table_probability),
        patient.phase, random)
    table = np.zeros(256, np.uint8)
    for name, code in CODES.items():
        table[code] = CODES.get(PUBLIC.get(name, name), 0) if PUBLIC.get(name, name) else 0
    labels = table[regions]
    # the scanner's zero lies anywhere along the table
    away = np.array([random.uniform(-15, 15), random.uniform(-60, 60), random.uniform(-900, 900)])
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    by_code = {code: name for name, code in CODES.items()}
    return SimulatedTrunk(
        _image(hounsfield, grid, away), _image(labels, grid, away),
        {int(code): by_code[int(code)] for code in present if code},
        {name: tuple((point + away).tolist()) for name, point in landmarks.items()},
        patient, placement)


def _draw(canvas: Canvas, patient: Patient, random: Randomness) -> dict[str, np.ndarray]:
    marks = fill_body(canvas, patient)
    organs, found = build_organs(patient, random)
    marks.update(found)
    vessels, found = build_vessels(patient, marks, random)
    marks.update(found)
    limbs, found = build_limb_bones(patient, random)
    marks.update(found)
    bones, found = build_spine_and_ribs(patient, random)
    marks.update(found)
    canvas.draw([*build_muscles(patient, random), *build_pulmonary_vessels(patient, random),
                 *organs, *vessels, *limbs, *bones])
    return marks


def _placed(marks, placement: Placement, grid: Grid) -> dict[str, np.ndarray]:
    names = [name for name in LANDMARKS if name in marks]
    points = placement.image(np.array([marks[name] for name in names]))
    return {name: point for name, point in zip(names, points, strict=True)
            if grid.contains(point)}


def _grid(patient: Patient, placement: Placement, settings: TrunkSettings,
          random: Randomness) -> Grid:
    """Around the patient, or of the shape asked for around the middle of the field."""
    low, high = _FIELD_Z.get(settings.field_of_view, _FIELD_Z["trunk"])
    low, high = low + random.uniform(-25, 20), high + random.uniform(-15, 20)
    if settings.field_of_view == "random":
        length = random.uniform(_SHORTEST_MM, high - low)
        low = random.uniform(low, high - length)
        high = low + length
    heights = np.linspace(low, high, 24)
    width, middle, depth = patient.skin.at(heights)
    corners = placement.image(np.concatenate([
        np.stack([side * width, middle + end * depth, heights], 1)
        for side in (-1, 1) for end in (-1, 1)]))
    box_low, box_high = corners.min(0), corners.max(0)
    ends = placement.image([[0, 0, low], [0, 0, high]])[:, 2]
    box_low[2], box_high[2] = ends
    limit = random.uniform(195, 225)  # the scanner sees no wider than that from its middle
    box_low[0], box_high[0] = max(box_low[0] - 12, -limit), min(box_high[0] + 12, limit)
    box_low[1], box_high[1] = box_low[1] - 15, box_high[1] + _TABLE_MM
    spacing = np.array(settings.spacing[::-1])
    counts = np.maximum(np.round((box_high - box_low) / spacing), 8).astype(int)
    if settings.shape is not None:
        counts = np.array(settings.shape[::-1])
    origin = (box_low + box_high) / 2 - (counts - 1) / 2 * spacing
    return Grid(tuple(counts[::-1].tolist()), settings.spacing, tuple(origin.tolist()))


def _image(array: np.ndarray, grid: Grid, away: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin((np.array(grid.origin) + away).tolist())
    return image
