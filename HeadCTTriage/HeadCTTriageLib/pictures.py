# SPDX-License-Identifier: Apache-2.0
"""A picture of one slice, without Hounsfield units or millimetres, as the networks take it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.head_findings import BLEEDING, KINDS

from .answers import RECIPES, Answer, Recipe
from .certainty import RED
from .slices import WINDOWS_HU, Sampling, in_windows

HEAD_MM = 178.0  # from front to back, or side to side if that is longer: of the skull, on average
VISIBLE = 0.12  # of the brightest, what is not background
LEAST_SHARE = 0.08  # of the picture that the head fills


def slice_of_picture(picture: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Bring the head of a picture to the size and place that slices of CTs have.

    Args:
        picture: grey, (height, width), 0 to 1, in some window for the brain; front up.
        sampling: of the recipe.

    Returns:
        (1, windows, pixels, pixels), float32, 0 to 1. What is white in the picture is at the top of
        the brain window, so other windows show what is left of them.

    Raises:
        BadInput: there is no head in it.
    """
    if not picture.any():
        raise BadInput("The picture is black: choose another one.")
    head = largest_region(picture > VISIBLE * picture.max())
    if head.mean() < LEAST_SHARE:
        raise BadInput("No head can be found in the picture: choose one that shows a whole slice.")
    rows, columns = (np.flatnonzero(head.any(axis)) for axis in (1, 0))
    long = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    step = sampling.field_mm / sampling.pixels * long / HEAD_MM  # pixels of the picture
    image = sitk.GetImageFromArray(np.where(ndimage.binary_dilation(head, iterations=2), picture, 0)
                                   .astype(np.float32))
    if step > 1.5:  # or fine texture would turn into noise
        image = sitk.DiscreteGaussian(image, (0.4 * step) ** 2)
    half = sampling.pixels * step / 2
    origin = [(side[0] + side[-1]) / 2 - half + step / 2 for side in (columns, rows)]
    cut = sitk.Resample(image, [sampling.pixels] * 2, sitk.Transform(), sitk.sitkLinear, origin,
                        [step, step], [1.0, 0.0, 0.0, 1.0], 0.0, sitk.sitkFloat32)
    low, high = WINDOWS_HU["brain"]
    density = low + sitk.GetArrayFromImage(cut)[None] * (high - low)
    return in_windows(density, sampling.windows)


def largest_region(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask that is not empty, its holes filled."""
    labels, _ = ndimage.label(mask)
    return ndimage.binary_fill_holes(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def bleeding_score(answer: Answer) -> float:
    """How much a single slice looks like bleeding, 0 to 1: that it is any of its kinds.

    A network that knows no kinds says how urgent it finds the slice.
    """
    if answer.kinds is None:
        return float(1 / (1 + np.exp(-answer.scores[RED])))
    without = [1 - answer.kinds[:, KINDS.index(kind)] for kind in BLEEDING]
    return float(1 - np.prod(without, 0).min())


def measure_pictures(recipe: str, network: Callable[[np.ndarray], list[np.ndarray]],
                     folder: Path) -> dict[str, str | int]:
    """Area under the ROC curve of bleeding in real pictures, which nothing was learned from.

    Args:
        recipe: of the network.
        network: from inputs to outputs.
        folder: with ``labels.csv`` (number, 0 or 1) and pictures ``<number>.png`` below it.
    """
    from .evaluation import auc_with_interval

    rows = _labels(folder)
    scores = [picture_score(RECIPES[recipe], network, read_grey(_path(folder, number)))
              for number, _ in rows]
    bleeding = np.array([label for _, label in rows])
    return {"real_pictures": len(rows), "real_pictures_with_bleeding": int(bleeding.sum()),
            "auc_of_bleeding_in_real_pictures": auc_with_interval(np.array(scores), bleeding)}


def measure_photos(recipe: str, network: Callable[[np.ndarray], list[np.ndarray]],
                   folder: Path, seed: int = 0) -> dict[str, str | int]:
    """The same through a simulated camera, beside the pictures themselves.

    Pictures in which no head can be found are left out of all areas, photos in which none can be
    found of those of photos.

    Args:
        recipe, network, folder: as for :func:`measure_pictures`.
        seed: of the photos.

    Returns:
        Areas of the clean pictures, of all photos, and of those whose quality was good enough, and
        the share of photos that had to be taken again.
    """
    from .camera import check, look
    from .evaluation import auc_with_interval, share
    from .photo_simulation import simulate_photo

    known = RECIPES[recipe]
    clean, seen, passed, bleeding = [], [], [], []
    for number, label in _labels(folder):
        picture = read_grey(_path(folder, number))
        clean.append(picture_score(known, network, picture))
        bleeding.append(label)
        score, good = np.nan, False
        try:
            shot = look(simulate_photo(picture, (seed, number)).photo)
            score = picture_score(known, network, shot.picture)
            check(shot.quality)
            good = True
        except BadInput:
            pass
        seen.append(score)
        passed.append(good)
    scores, photos, labels = np.array(clean), np.array(seen), np.array(bleeding)
    measured = {"pictures": len(labels), "pictures_with_bleeding": int(labels.sum()),
                "photos_taken_again": share(~np.array(passed)),
                "auc_of_bleeding_in_pictures": auc_with_interval(scores, labels)}
    for name, these in (("all_photos", np.isfinite(photos)), ("good_photos", np.array(passed))):
        measured[f"{name}_judged"] = int(these.sum())
        if 0 < labels[these].sum() < these.sum():
            measured[f"auc_of_bleeding_in_{name}"] = auc_with_interval(photos[these], labels[these])
    return measured


def picture_score(recipe: Recipe, network: Callable[[np.ndarray], list[np.ndarray]],
                  picture: np.ndarray) -> float:
    """:func:`bleeding_score` of a picture; raises BadInput where there is no head in it."""
    inputs = slice_of_picture(picture, recipe.sampling)
    return bleeding_score(recipe.read(network(recipe.inputs(inputs))))


def _labels(folder: Path) -> list[tuple[int, bool]]:
    """Numbers of pictures and whether they show bleeding."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return [(int(number), int(label) == 1) for number, label in list(csv.reader(file))[1:]]


def _path(folder: Path, number: int) -> Path:
    return next(folder.rglob(f"{number:03d}.png"))


def read_grey(path: Path) -> np.ndarray:
    """A picture file as grey, (height, width), 0 to 1."""
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float32)
    return (array if array.ndim == 2 else array[..., :3].mean(-1)) / 255
