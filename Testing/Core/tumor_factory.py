# SPDX-License-Identifier: Apache-2.0
"""A toy head with a tumour in T1, T2 and contrast-enhanced T1, on any grid a scanner may give."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

STEP = 1.5  # mm, voxels of the anatomy
SIZE = (136, 168, 144)  # x, y, z
BRAIN = (64.0, 82.0, 62.0)  # radii of the brain, mm
TUMOUR, TUMOUR_MM = (30.0, 12.0, 18.0), 16.0  # centre and radius, LPS mm

# in the order of the tissues below
VALUES = {
    "t1": (4, 900, 420, 60, 480, 620, 180, 150, 450, 260, 430),
    "t2": (4, 700, 250, 50, 520, 400, 1100, 90, 600, 950, 780),
    "t1c": (4, 900, 450, 60, 490, 630, 180, 1050, 1000, 260, 430),
    "flair": (4, 700, 300, 50, 560, 450, 120, 90, 700, 500, 850),
}
AIR, FAT, MUSCLE, SKULL, GREY, WHITE, FLUID, SINUS, ENHANCING, NECROSIS, OEDEMA = range(11)


def _ball(points, radii, centre=(0.0, 0.0, 0.0)):
    return sum(((p - c) / r) ** 2 for p, r, c in zip(points, radii, centre, strict=True)) < 1


@functools.cache
def anatomy(tumour: bool = True, cavity: bool = False) -> sitk.Image:
    """Tissues as listed above, uint8; the front, left and top differ."""
    axes = [(np.arange(size) - (size - 1) / 2) * STEP for size in SIZE]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    points = (x, y, z)
    label = np.zeros(SIZE, np.uint8)
    for tissue, more in ((FAT, 14.0), (MUSCLE, 10.0), (SKULL, 8.0), (FLUID, 3.0)):
        label[_ball(points, [radius + more for radius in BRAIN])] = tissue
    label[_ball(points, (16.0, 16.0, 20.0), (0, -95, -20))] = FAT  # a nose
    brain = _ball(points, BRAIN)
    folds = np.sin(x / 5.0 + 1) * np.sin(y / 6.0) * np.sin(z / 5.5 + 2)
    white = _ball(points, [radius - 9 for radius in BRAIN])
    label[brain] = GREY
    label[brain & (white | (folds > 0.35))] = WHITE
    label[brain & ~_ball(points, [radius - 6 for radius in BRAIN]) & (folds < -0.35)] = FLUID
    for side in (-1, 1):
        label[_ball(points, (7.0, 30.0, 9.0), (side * 11, -4, 8))] = FLUID
        label[_ball(points, (9.0, 13.0, 8.0), (side * 22, 2, -6))] = GREY
    label[_ball(points, (7.0, 8.0, 20.0), (0, 30, -30))] = FLUID
    rim = _ball(points, [radius + 3 for radius in BRAIN]) & ~_ball(
        points, [radius - 3 for radius in BRAIN])
    label[rim & (np.abs(x) < 3) & (z > -25) & ((y > 0) | (z > 0))] = SINUS
    label[rim & (np.abs(z + 25) < 2.5) & (y > 20)] = SINUS
    if tumour:
        radius = sum(((p - c)) ** 2 for p, c in zip(points, TUMOUR, strict=True)) ** 0.5
        wavy = radius + 2 * np.sin(x / 4) * np.sin(z / 4)
        label[(wavy < TUMOUR_MM + 9) & brain & (label != FLUID)] = OEDEMA
        label[wavy < TUMOUR_MM] = ENHANCING
        label[wavy < TUMOUR_MM - 6] = NECROSIS
    if cavity:
        label[_ball(points, (19.0, 24.0, 19.0), (44, 12, 18)) & brain] = ENHANCING
        label[_ball(points, (17.5, 22.5, 17.5), (44, 12, 18)) & brain] = FLUID
    image = sitk.GetImageFromArray(np.ascontiguousarray(label.transpose(2, 1, 0)))
    image.SetSpacing([STEP] * 3)
    image.SetOrigin([axis[0] for axis in axes])
    return image


@functools.cache
def _continuous(sequence: str, tumour: bool, cavity: bool) -> sitk.Image:
    values = np.array(VALUES[sequence], np.float32)
    label = sitk.GetArrayViewFromImage(anatomy(tumour, cavity))
    image = sitk.GetImageFromArray(values[label])
    image.CopyInformation(anatomy(tumour, cavity))
    return sitk.SmoothingRecursiveGaussian(image, 1.2)


def scan(sequence: str, *, spacing: Sequence[float] = (1.0, 1.0, 5.0),
         field: Sequence[float] = (200.0, 240.0, 130.0), centre: Sequence[float] = (0.0, 0.0, 0.0),
         direction: np.ndarray | None = None, motion: sitk.Transform | None = None,
         noise: float = 8.0, seed: int = 0, tumour: bool = True, cavity: bool = False,
         gain: float = 1.0, bias: float = 0.0) -> sitk.Image:
    """An acquisition: int16, LPS; slices are as thick as they are apart.

    Args:
        sequence: of VALUES.
        spacing, field, direction: of the grid, along its axes.
        centre: of the field, LPS mm.
        motion: of points of the scanner to those of the head.
        noise: standard deviation; gain: of all values; bias: how much brighter the front is.
    """
    direction = np.eye(3) if direction is None else np.asarray(direction, float)
    spacing = np.asarray(spacing, float)
    size = np.maximum(np.round(np.asarray(field) / spacing), 2).astype(int)
    origin = np.asarray(centre) - direction @ (spacing * (size - 1) / 2)
    head = _continuous(sequence, tumour, cavity)
    planes = max(1, round(spacing[2] / STEP))
    total = 0.0
    for plane in range(planes):  # a thick slice is the mean of what lies in it
        shift = direction[:, 2] * spacing[2] * ((plane + 0.5) / planes - 0.5)
        image = sitk.Resample(head, size.tolist(), motion or sitk.Transform(), sitk.sitkLinear,
                              (origin + shift).tolist(), spacing.tolist(),
                              direction.ravel().tolist(), VALUES[sequence][AIR])
        total = total + sitk.GetArrayFromImage(image)
    values = total / planes * gain
    if bias:
        values *= 1 + bias * np.linspace(1, -1, values.shape[1])[None, :, None]
    if noise:
        random = np.random.default_rng([seed, len(sequence)])
        values = np.hypot(values + noise * random.normal(size=values.shape),
                          noise * random.normal(size=values.shape))
    image = sitk.GetImageFromArray(np.rint(values).clip(0, 32000).astype(np.int16))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def write_study(folder, sequences=("t1", "t2", "t1c"), **settings) -> dict[str, str]:
    """Write scans as NIfTI; settings of one sequence come as a dict by its name."""
    paths = {}
    for number, sequence in enumerate(sequences):
        own = settings.get(sequence, {})
        common = {key: value for key, value in settings.items() if key not in VALUES}
        paths[sequence] = str(folder / f"{sequence}.nii.gz")
        sitk.WriteImage(scan(sequence, seed=number, **(common | own)), paths[sequence])
    return paths


def moved(degrees=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0)) -> sitk.Euler3DTransform:
    """A motion of the head, about its middle."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    transform.SetTranslation(list(shift))
    return transform
