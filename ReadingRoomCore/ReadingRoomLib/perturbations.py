# SPDX-License-Identifier: Apache-2.0
"""Ways in which images change before a model sees them, and the table of what that does."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Perturbation:
    """A way in which images change.

    Attributes:
        name: what it is.
        unit: of its strength.
        strengths: from weak to strong.
        apply: from images as a module has them, a strength and draws to changed images.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Any, float, np.random.Generator], Any]


def stored_as_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    """What is left of planes (planes, height, width), uint8, after baseline JPEG of a quality."""
    from PIL import Image

    planes = []
    for plane in levels:
        stream = io.BytesIO()
        Image.fromarray(plane).save(stream, "JPEG", quality=quality)
        planes.append(np.asarray(Image.open(stream)))
    return np.stack(planes)


def write_table(rows: Sequence[Any], path: Path) -> None:
    """Write instances of one dataclass as CSV, its fields as columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(vars(rows[0]))
        writer.writerows(vars(row).values() for row in rows)
