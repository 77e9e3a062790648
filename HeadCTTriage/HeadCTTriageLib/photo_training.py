# SPDX-License-Identifier: Apache-2.0
"""Slices through a simulated camera, in the place where they were, to train networks with.

Watanabe (KAKENHI 18K16600) concluded that a network that is to judge photos should learn from
them. Here the place of the picture in the photo is known, so what is true of a pixel of the slice
stays true of it; a small error of that place is added, because nobody finds a screen exactly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from ReadingRoomLib.errors import BadInput

from .camera import RIM, even_light
from .photo_simulation import USUAL, PhotoRanges, simulate_photo
from .pictures import VISIBLE, largest_region
from .projection import homography, project

SMALLER = replace(USUAL, pixels=640)
"""A photo shows more than the 224 pixels of a slice even so, in a third of the time."""
MISSED = 0.005  # of the picture's width, standard deviation of the error of each corner


def photographed(picture: np.ndarray, seed: int, ranges: PhotoRanges = SMALLER) -> np.ndarray:
    """What a camera sees of a picture, made straight.

    Args:
        picture: grey, (height, width), 0 to 1, black around the head.
        seed: same seed, same photo.
        ranges: of the photo.

    Returns:
        (height, width), float32, 0 to 1; the picture itself where there is no head in it or where
        the photo shows none.
    """
    head = picture > VISIBLE
    if not head.any():
        return picture
    head = largest_region(head)
    taken = simulate_photo(picture, (seed, 0), ranges)
    height, width = picture.shape
    error = np.random.default_rng((seed, 1)).normal(scale=MISSED * np.ptp(
        taken.head_corners[:, 0]), size=(4, 2))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    to_photo = homography(target, taken.head_corners + error)
    step = np.sqrt(abs(np.linalg.det(to_photo[:2, :2])))  # pixels of the photo for one, about
    columns, rows = project(to_photo, *np.meshgrid(np.arange(width), np.arange(height)))
    screen = np.stack([ndimage.map_coordinates(
        ndimage.gaussian_filter(channel.astype(np.float32), 0.4 * max(0.0, step - 1)),
        [rows, columns], order=1, mode="nearest") for channel in np.moveaxis(taken.photo, -1, 0)],
        -1)
    try:
        seen = even_light(screen / 255)
    except BadInput:
        return picture
    white = np.quantile(seen[head], 0.97)
    if white <= 0:
        return picture
    shown = ndimage.distance_transform_edt(~head) <= RIM * height
    return np.where(shown, (seen / white).clip(0, 1), 0).astype(np.float32)
