# SPDX-License-Identifier: Apache-2.0
"""Toy images with landmarks: balls and rods of different brightness at known places."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

NAMES = ("big_left", "big_right", "small_front", "rod_end", "corner", "dark")
PLACES = np.array([[30.0, 0, 10], [-30, 0, 10], [0, -24, -6], [0, 18, 30], [16, 14, -28],
                   [-14, -10, 26]])
"""LPS mm, about the middle."""
SPACING = 2.0
SHAPE = (52, 44, 56)  # z, y, x


def toy_image(seed: int, missing: tuple[str, ...] = ()) -> tuple[sitk.Image, np.ndarray]:
    """An image of "MR", brightness 0 to about 1000, and its landmarks (n, 3) in LPS mm."""
    random = np.random.default_rng(seed)
    turn = np.eye(3) + random.normal(0, 0.05, (3, 3))
    middle = random.uniform(-40, 40, 3)
    points = PLACES @ turn.T + random.normal(0, 1.0, PLACES.shape) + middle
    origin = middle - (np.array(SHAPE[::-1]) - 1) / 2 * SPACING
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)[..., ::-1]
    at = grid * SPACING + origin
    body = (np.square((at - middle) / (50, 38, 48)).sum(-1) < 1)
    image = 300.0 * body + random.normal(0, 15, SHAPE)
    for name, point, radius, bright in zip(NAMES, points, (9, 9, 5, 6, 7, 8),
                                           (900, 650, 1000, 800, 500, 20), strict=True):
        if name in missing:
            continue
        shift = at - point
        if name == "rod_end":
            shift[..., 1] = np.maximum(shift[..., 1], 0)  # runs to the front from its end
        image[np.square(shift).sum(-1) < radius**2] = bright
    found = sitk.GetImageFromArray(np.clip(image, 0, None).astype(np.float32))
    found.SetSpacing((SPACING,) * 3)
    found.SetOrigin(origin)
    points[[NAMES.index(name) for name in missing]] = np.nan
    return found, points


def write_toy_list(folder: Path, count: int, **further) -> Path:
    """Images, landmarks and the list of them."""
    entries = []
    for number in range(count):
        image, points = toy_image(number)
        sitk.WriteImage(image, str(folder / f"{number}.nrrd"))
        (folder / f"{number}.json").write_text(json.dumps(
            {"coordinateSystem": "LPS", **dict(zip(NAMES, points.tolist(), strict=True))}), "utf-8")
        entries.append({"image": f"{number}.nrrd", "landmarks": f"{number}.json",
                        "patient": f"p{number}"})
    path = folder / "list.json"
    path.write_text(json.dumps({"simulated": True, "training": entries, **further}), "utf-8")
    return path
