# SPDX-License-Identifier: Apache-2.0
"""Which series of a study is judged: axial, without contrast agent, not of a bone kernel, thinnest.

The rules read what the scanner wrote about a series. What they cannot know (a chest in place of a
head, contrast agent that nobody noted) the judgement finds in the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from ..kernels import is_sharp

LEAST_SLICES = 8  # of a head: the thickest in use are of 10 mm, and a brain is 120 mm high
THINNEST_MM, THICKEST_MM = 0.4, 6.0  # that are reasonable; noise below, partial volume above
MOST_TILT = 40.0  # degrees; gantries tilt by 30

NO_AGENT = {"", "NO", "NONE", "WITHOUT", "W/O"}
NOT_PLAIN = re.compile(r"\b(CTA|CTP|CTV|ANGIO\w*|PERF\w*|BONE|KNOCHEN|POST ?CONTRAST)\b")
NOT_PLAIN_KINDS = {"LOCALIZER", "MIP", "MINIP", "MAX_IP", "MIN_IP", "VRT", "3D", "SCREEN SAVE",
                   "PROJECTION IMAGE", "VOLUME_RENDER"}


@dataclass(frozen=True)
class Series:
    """What its scanner says of a series.

    Attributes:
        slices: how many.
        thickness_mm: of one.
        tilt: of its slices from axial, degrees.
        agent: contrast agent, empty without.
        kernel: of the reconstruction, as the scanner names it.
        description: of the series, for the words in it; never stored or shown.
        kinds: values of ImageType.
    """

    slices: int
    thickness_mm: float
    tilt: float
    agent: str
    kernel: str
    description: str
    kinds: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, float]:
        """Less is better: reasonable thickness, then thin ones."""
        reasonable = THINNEST_MM <= self.thickness_mm <= THICKEST_MM
        return int(not reasonable), self.thickness_mm

    def unsuitable(self) -> str | None:
        """Why it is not judged, in a sentence; None when it may be."""
        if NOT_PLAIN_KINDS.intersection(self.kinds):
            return "The series holds localizers, projections or rendered pictures, no slices."
        if self.slices < LEAST_SLICES:
            some = "one slice" if self.slices == 1 else f"{self.slices} slices"
            return f"The series has only {some}: a head needs at least {LEAST_SLICES}."
        if self.tilt > MOST_TILT:
            return "The slices are not axial."
        if self.agent.strip().upper() not in NO_AGENT:
            return "The series was taken with contrast agent."
        if is_sharp(self.kernel):
            return "The series was reconstructed with a sharp kernel, as for bone."
        if NOT_PLAIN.search(self.description.upper()):
            return "The series is named as one with contrast agent or for bone."
        return None


def describe(folder: Path) -> Series:
    """What the header of an image in the middle of a series says of it.

    Args:
        folder: with the images of one series.

    Raises:
        ValueError: it does not say where its slices lie.
    """
    files = sorted(folder.iterdir())
    with_place = pydicom.dcmread(files[len(files) // 2], stop_before_pixels=True)
    try:
        rows, columns = np.reshape(
            np.array(_find(with_place, "ImageOrientationPatient"), float), (2, 3))
        upward = abs(float(np.cross(rows, columns)[2]))
        thickness = float(_find(with_place, "SliceThickness") or 0)
        frames = int(with_place.get("NumberOfFrames") or 1)
    except (TypeError, ValueError) as error:
        raise ValueError("no valid place of the slices") from error
    agents = with_place.get("ContrastBolusAgentSequence") or []
    return Series(
        slices=frames * len(files),
        thickness_mm=thickness,
        tilt=float(np.degrees(np.arccos(min(1.0, upward)))),
        agent=_text(with_place.get("ContrastBolusAgent")) or ("coded" if agents else ""),
        kernel=_text(_find(with_place, "ConvolutionKernel")),
        description=_text(with_place.get("SeriesDescription")),
        kinds=tuple(_texts(with_place.get("ImageType"))))


def _find(header: pydicom.Dataset, keyword: str) -> Any:
    """A value of an image, or of the first frame that has it, in any of its groups."""
    for group in _groups(header):
        value = group.get(keyword)
        if value not in (None, ""):
            return value
    return None


def _groups(header: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    yield header
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for functional in (header.get(name) or [])[:1]:
            for element in functional:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _text(value: Any) -> str:
    """Of several values the first, which names a kernel; others are its variants."""
    return next(iter(_texts(value)), "")
