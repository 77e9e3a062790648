# SPDX-License-Identifier: Apache-2.0
"""Patients as files to learn from: the squares of a region, and the list of all patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ReadingRoomLib.results import whole_file

from .pseudo_rgb import pseudo_rgb
from .regions import Region
from .study import Study
from .training_slices import extent_mm

DATALIST = "datalist.json"
PIXELS = 224  # as published


def save_patient_images(path: Path, study: Study, region: Region, pixels: int = PIXELS) -> None:
    """Write the pseudo-RGB images of a region; a kill leaves nothing or all.

    Args:
        path: ``.npz`` with ``slices`` (n, height, width, 3), uint8, channels in the order of
            ``SEQUENCES``, and ``side_mm`` and ``extent_mm``, the size of the region across and
            along the slices.
        study, region: what is cut.
        pixels: side of the images.
    """
    images = np.rint(255 * pseudo_rgb(study, region, pixels)).astype(np.uint8)
    with whole_file(path) as unfinished:
        np.savez_compressed(unfinished, slices=images.transpose(0, 2, 3, 1),
                            side_mm=region.side_mm, extent_mm=extent_mm(study, region))


def write_datalist(path: Path, entries: Sequence[dict[str, str]], simulated: bool = False) -> None:
    """Write a list that :func:`ReadingRoomLib.datalists.read_datalist` reads.

    Args:
        path: of the list.
        entries: ``image`` (relative to the list's folder), ``label``, ``patient`` and ``site``.
        simulated: whether the patients are, which the list then says.
    """
    content = ({"simulated": True} if simulated else {}) | {"training": list(entries)}
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def says_simulated(path: Path) -> bool:
    """Whether a list that can be read says that its patients are simulated."""
    return bool(json.loads(path.read_text("utf-8")).get("simulated"))
