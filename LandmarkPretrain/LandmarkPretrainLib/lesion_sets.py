# SPDX-License-Identifier: Apache-2.0
"""Volumes with known lesions, parted by patient into what is learned from and what is tested on.

The list is a MONAI datalist, see :mod:`ReadingRoomLib.datalists`::

    {"training": [{"image": "17.nrrd", "lesions": "17.mrk.json", "patient": "17"},
                  {"image": "18.nrrd", "patient": "18"}],
     "test": [{"image": "19.nrrd", "lesions": "19-mask.nrrd", "patient": "19"}]}

``lesions`` is a file of points, whose descriptions may say ``diameter_mm=4.2``, or a mask, of which
each connected part is a lesion. Left out, or without a point: a case without lesions. Nothing is
chosen on the validation part here, so it is learned from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.datalists import Pair, check_apart, part_patients, read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.volume_files import read_volume_file

from .landmark_files import read_points
from .region import drawn

COMPANION = "lesions"
SHARES = {"training": 2 / 3, "test": 1 / 3}  # published: 100 and 50 cases
LEAST = 2  # patients with a lesion in each part: fewer say nothing about other patients
POINT_FILES = {".json", ".fcsv", ".csv", ".tsv"}
_DIAMETER = re.compile(r"\bdiameter_mm\s*[=:]?\s*(\d{1,3}(?:[.,]\d*)?)(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Lesion:
    """A lesion.

    Attributes:
        centre: LPS mm.
        diameter_mm: of a mask, that of a ball of its volume; None where nobody said.
    """

    centre: tuple[float, float, float]
    diameter_mm: float | None = None


@dataclass(frozen=True)
class LesionCase:
    """A volume and its lesions.

    Attributes:
        image: file or folder.
        lesions: all that there are; none in a normal case.
        patient, site, place: as of :class:`ReadingRoomLib.datalists.Pair`.
    """

    image: Path
    lesions: tuple[Lesion, ...]
    patient: str
    site: str
    place: str

    @property
    def centres(self) -> np.ndarray:
        """(n, 3) LPS mm."""
        return np.array([lesion.centre for lesion in self.lesions], float).reshape(-1, 3)


@dataclass(frozen=True)
class LesionSet:
    """What is learned from, and what is tested on; no patient is in both.

    Attributes:
        training, test: cases.
        given: whether the list says which part is which, or it was drawn.
    """

    training: tuple[LesionCase, ...]
    test: tuple[LesionCase, ...]
    given: bool

    def written(self) -> dict[str, object]:
        """How many there are; nothing that tells a patient."""
        def count(cases: Sequence[LesionCase]) -> dict[str, object]:
            sizes = [lesion.diameter_mm for case in cases for lesion in case.lesions
                     if lesion.diameter_mm]
            return {"cases": len(cases), "patients": len({case.patient for case in cases}),
                    "lesions": sum(len(case.lesions) for case in cases),
                    "cases_without_lesion": sum(not case.lesions for case in cases),
                    "diameter_mm": [float(np.min(sizes)), float(np.median(sizes)),
                                    float(np.max(sizes))] if sizes else None}

        return {"training": count(self.training), "test": count(self.test),
                "split": "as the list says" if self.given else "by patient, drawn 2:1"}


def read_lesion_set(path: Path, seed: int = 0,
                    on_read: Callable[[float], None] = lambda done: None) -> LesionSet:
    """Read the list and all files of lesions; the volumes are not read yet.

    Args:
        path: of the list.
        seed: of the split, where the list has no test part.
        on_read: called with the number of items done.

    Raises:
        BadInput: the list or a file cannot be used, or the set is too small to learn and test.
    """
    parts = read_pairs(path, COMPANION, needed=False)
    check_apart(parts)
    cases: dict[str, list[LesionCase]] = {}
    done = 0
    for part, pairs in parts.items():
        for pair in pairs:
            cases.setdefault("test" if part == "test" else "training", []).append(
                LesionCase(pair.image, _lesions_of(pair), pair.patient, pair.site, pair.place))
            done += 1
            on_read(done)
    given = bool(cases.get("test"))
    every = [case for part in cases.values() for case in part]
    _check_whole(every, path.name)
    if not given:
        cases = part_patients(every, SHARES, lambda case: int(bool(case.lesions)), seed)
    found = LesionSet(tuple(cases.get("training", ())), tuple(cases["test"]), given)
    _check_parts(found)
    return found


def _lesions_of(pair: Pair) -> tuple[Lesion, ...]:
    if pair.companion is None:
        return ()
    if pair.companion.suffix.lower() in POINT_FILES:
        points = read_points(pair.companion)
        texts = points.descriptions or ("",) * len(points)
        return tuple(Lesion(tuple(map(float, point)), _diameter_in(text))
                     for point, text in zip(points.points, texts, strict=True))
    lesions = lesions_in_mask(read_volume_file(pair.companion).image)
    if not lesions:
        raise BadInput(f"The mask {pair.companion.name} ({pair.place}) is empty: draw the lesion, "
                       f'or leave "{COMPANION}" out for a case without one.')
    return lesions


def _diameter_in(text: str) -> float | None:
    found = _DIAMETER.search(text)
    return float(found[1].replace(",", ".")) or None if found else None


def lesions_in_mask(mask: sitk.Image) -> tuple[Lesion, ...]:
    """Connected parts (also across edges and corners) of what is not 0, the largest first."""
    parts = sitk.ConnectedComponent(drawn(mask), True)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(sitk.RelabelComponent(parts))
    return tuple(Lesion(tuple(shapes.GetCentroid(label)),
                        float(shapes.GetEquivalentSphericalRadius(label) * 2))
                 for label in shapes.GetLabels())


def check_inside(case: LesionCase, image: sitk.Image) -> None:
    """Refuse lesions that lie outside their volume.

    Raises:
        BadInput: one does.
    """
    for number, lesion in enumerate(case.lesions, 1):
        index = np.array(image.TransformPhysicalPointToContinuousIndex(lesion.centre))
        if (index < -0.5).any() or (index > np.array(image.GetSize()) - 0.5).any():
            raise BadInput(f"Lesion {number} of {case.image.name} ({case.place}) lies outside the "
                           "volume: check that the file of lesions belongs to this image and is "
                           "in its coordinates.")


def _check_whole(cases: Sequence[LesionCase], name: str) -> None:
    patients = {case.patient for case in cases}
    if len(patients) < 2:
        raise BadInput(f"All of {name} is of one patient: at least {2 * LEAST} patients with "
                       "lesions are needed to learn from some and test on others.")
    if not any(case.lesions for case in cases):
        raise BadInput(f"{name} has no lesion at all, so there is nothing to tell from normal: "
                       f'name files of "{COMPANION}" with at least one point.')


def _check_parts(found: LesionSet) -> None:
    for cases, what in ((found.training, "learn from"), (found.test, "test on")):
        ill = len({case.patient for case in cases if case.lesions})
        if ill < LEAST:
            raise BadInput(f"There {'is' if ill == 1 else 'are'} {ill or 'no'} "
                           f"patient{'' if ill == 1 else 's'} with a lesion to {what}, but at "
                           f"least {LEAST} are needed: add cases with lesions.")
