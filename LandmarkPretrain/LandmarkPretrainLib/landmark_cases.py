# SPDX-License-Identifier: Apache-2.0
"""Many volumes with their landmarks: read, matched by name, and refused where they do not agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from ReadingRoomLib.datalists import Pair, check_apart, read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import ImageInput, read_image
from ReadingRoomLib.volume_files import file_format, plain_paths, quiet

from .landmark_files import Landmarks, key_of, read_landmarks
from .landmark_sides import by_key, pairs_of, problems_of

MODALITIES = ("CT", "MR", "other")
LEAST_PATIENTS = 2
SAME_PLACE_MM = 1e-3
_SHOWN = 4  # names in a message


@dataclass(frozen=True)
class Case:
    """A volume with its landmarks.

    Attributes:
        image: file or folder.
        landmarks: named as all cases name them.
        patient, site: whose it is and where it was taken.
        name: of the image, for people.
        place: where it stands in the list, for messages.
        modality: one of :data:`MODALITIES`.
    """

    image: Path
    landmarks: Landmarks
    patient: str
    site: str
    name: str
    place: str
    modality: str

    def read(self) -> ImageInput:
        """Read the volume.

        Raises:
            BadInput: it cannot be used, or a landmark lies outside it.
        """
        found = read_volume(self.image, self.modality)
        check_inside(self.landmarks, found.image, self.name)
        return found

    def points_of(self, names: Sequence[str]) -> np.ndarray:
        """(n, 3) LPS mm of the landmarks with these names; NaN for those it has not."""
        known = dict(zip(self.landmarks.names, self.landmarks.points, strict=True))
        return np.array([known.get(name, np.full(3, np.nan)) for name in names]).reshape(-1, 3)


@dataclass(frozen=True)
class Cases:
    """What a list holds.

    Attributes:
        parts: cases by part of the list, see :data:`ReadingRoomLib.datalists.PARTS`.
        names: of the landmarks, in the order of their classes.
        warnings: one sentence each.
    """

    parts: dict[str, list[Case]]
    names: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)


def read_volume(path: Path, modality: str) -> ImageInput:
    """Read a volume of CT, MR or of another kind, whose values then have no unit.

    Raises:
        BadInput: it cannot be used.
    """
    if modality == "other" and (path.is_dir() or file_format(path) == "DICOM"):
        raise BadInput(f"{path.name} is DICOM: say whether it is CT or MR, or save it as NRRD.")
    return read_image(path, modality)


def read_cases(path: str | Path, modality: str, wanted: int | None = None,
               least_patients: int = LEAST_PATIENTS) -> Cases:
    """Read a list of images with landmarks; the images themselves only later.

    Names are the same without regard to case, blanks and underscores. The classes are the
    landmarks of the training part; one that some case lacks is kept, and a warning counts.

    Args:
        path: of the list (JSON), see :func:`ReadingRoomLib.datalists.read_pairs`.
        modality: one of :data:`MODALITIES`.
        wanted: number of classes, the most frequent ones; None for all.
        least_patients: that the whole list must have.

    Raises:
        BadInput: cases do not agree, a landmark cannot be right, or there are too few of either.
    """
    pairs = read_pairs(path, "landmarks")
    check_apart(pairs)
    parts = {part: [_case(pair, modality) for pair in found] for part, found in pairs.items()}
    cases = [case for found in parts.values() for case in found]
    patients = len({case.patient for case in cases})
    if patients < least_patients:
        raise BadInput(f"{Path(path).name} holds {patients} patient{'s' * (patients != 1)}, but at "
                       f"least {least_patients} are needed, so that one can be measured on who was "
                       "not learned from: add cases with the same landmarks.")
    _check_common(cases)
    warnings = _check_sides(cases)
    spelling: dict[str, str] = {}
    for name in (name for case in parts["training"] for name in case.landmarks.names):
        spelling.setdefault(key_of(name), name)
    parts = {part: [_renamed(case, spelling) for case in found] for part, found in parts.items()}
    names = _classes(parts["training"], list(spelling.values()), wanted)
    warnings += _missing(parts, names)
    return Cases(parts, names, warnings)


def check_inside(landmarks: Landmarks, image: sitk.Image, name: str) -> None:
    """Refuse landmarks that lie outside their volume.

    Args:
        landmarks: of the volume.
        image: the volume, or an image reader that has read its header.
        name: of the case.

    Raises:
        BadInput: names the landmark that lies farthest outside.
    """
    spacing, size = np.array(image.GetSpacing()[:3]), np.array(image.GetSize()[:3])
    columns = len(image.GetOrigin())
    axes = np.reshape(image.GetDirection(), (columns, columns))[:3, :3] * spacing
    if columns < 3 or abs(np.linalg.det(axes)) < 1e-9:
        return  # what is wrong with such an image is said where it is read
    inside = np.linalg.solve(axes, (landmarks.points - image.GetOrigin()[:3]).T).T
    beyond = (np.maximum(np.maximum(-0.5 - inside, inside - size + 0.5), 0) * spacing).max(axis=1)
    outside = np.flatnonzero(beyond > 0.01)
    if outside.size:
        worst = int(beyond.argmax())
        raise BadInput(
            f'The landmark "{landmarks.names[worst]}" of {name} lies {beyond[worst]:.1f} mm '
            f"outside the volume ({outside.size} of {len(landmarks)} do): check that the landmarks "
            "belong to this volume, and their coordinate system.")


def _case(pair: Pair, modality: str) -> Case:
    landmarks = read_landmarks(pair.companion)
    name = pair.image.name
    _check_places(landmarks, name)
    case = Case(pair.image, landmarks, pair.patient, pair.site, name, pair.place, modality)
    if header := _header(pair.image):
        check_inside(landmarks, header, name)
    return case


def _header(path: Path) -> sitk.ImageFileReader | None:
    """The geometry of a file, without its voxels; None for what is only known when it is read."""
    if path.is_dir() or file_format(path) in (None, "DICOM"):
        return None
    reader = sitk.ImageFileReader()
    with plain_paths([path]) as [plain_path], quiet():
        reader.SetFileName(plain_path)
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            return None
    return reader


def _check_places(landmarks: Landmarks, name: str) -> None:
    apart, nearest = cKDTree(landmarks.points).query(landmarks.points, 2, p=np.inf)
    same = np.flatnonzero(apart[:, 1] < SAME_PLACE_MM)  # the nearest but the point itself
    if same.size:
        first, second = sorted({same[0], *nearest[same[0]]})[:2]
        raise BadInput(f'The landmarks "{landmarks.names[first]}" and "{landmarks.names[second]}" '
                       f"of {name} lie at one place: correct one of them, or leave it out.")


def _quoted(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f'"{name}"' for name in names[:_SHOWN]) + more


def _check_common(cases: Sequence[Case]) -> None:
    """Refuse cases that share no landmark with any other."""
    keys = [{key_of(name) for name in case.landmarks.names} for case in cases]
    known = Counter(key for found in keys for key in found)
    for case, found in zip(cases, keys, strict=True):
        if len(cases) > 1 and all(known[key] == 1 for key in found):
            other = next(other for other in cases if other is not case)
            raise BadInput(
                f"{case.name} ({case.place}) and {other.name} ({other.place}) have no landmark in "
                f"common: {_quoted(case.landmarks.names)} against "
                f"{_quoted(other.landmarks.names)}; name the same landmarks alike.")


_WRONG = {
    "exchanged": "left and right are exchanged in its landmarks",
    "mirrored": "it is mirrored, volume and landmarks",
    "either": "left and right are exchanged, or it is mirrored",
}


def _check_sides(cases: Sequence[Case]) -> list[str]:
    """Warnings about single pairs.

    Raises:
        BadInput: in a whole case left is not where it is in the others.
    """
    points = [by_key(case.landmarks.names, case.landmarks.points) for case in cases]
    whole, some = problems_of(points)
    for number, kind in whole.items():
        case, others = cases[number], [other for at, other in enumerate(cases)
                                       if at != number and at not in whole]
        against = "the other cases" if others else cases[number - 1].name
        raise BadInput(f"Compared with {against}, {case.name} ({case.place}) does not fit: "
                       f"{_WRONG[kind]}; correct it, or leave it out.")
    warnings = [f"Left and right of {_quoted(keys)} may be exchanged in {cases[number].name}: "
                "compared with the other cases they fit better the other way round."
                for number, keys in some.items()]
    across = [known[left][0] - known[right][0] for known in points
              for left, right in pairs_of(list(known))]
    if cases[0].modality != "other" and across and np.mean(np.array(across) < 0) > 0.5:
        warnings.append("Most landmarks named left lie further to the patient's right than those "
                        "named right: left and right may be exchanged in all cases.")
    return warnings


def _renamed(case: Case, spelling: dict[str, str]) -> Case:
    landmarks = case.landmarks
    names = tuple(spelling.get(key_of(name), name) for name in landmarks.names)
    return Case(case.image, Landmarks(names, landmarks.points, landmarks.confidence,
                                      landmarks.descriptions),
                case.patient, case.site, case.name, case.place, case.modality)


def _classes(training: Sequence[Case], names: list[str], wanted: int | None) -> tuple[str, ...]:
    if wanted is None:
        return tuple(names)
    if wanted > len(names):
        raise BadInput(f"{wanted} landmarks were asked for, but the cases to learn from name only "
                       f"{len(names)}: ask for fewer, or add landmarks.")
    count = Counter(name for case in training for name in case.landmarks.names)
    chosen = set(sorted(names, key=lambda name: -count[name])[:wanted])  # stable: ties as they are
    return tuple(name for name in names if name in chosen)


def _missing(parts: dict[str, list[Case]], names: Sequence[str]) -> list[str]:
    """What is not everywhere, in one sentence for each kind."""
    warnings = []
    cases = [case for found in parts.values() for case in found]
    count = Counter(name for case in cases for name in case.landmarks.names)
    lacking = [name for name in names if count[name] < len(cases)]
    if lacking:
        rarest = min(lacking, key=count.__getitem__)
        warnings.append(f"{len(lacking)} of {len(names)} landmarks are missing in some cases, most "
                        f'often "{rarest}" (in {len(cases) - count[rarest]} of {len(cases)}); they '
                        "are used where they are.")
    learned = {name for case in parts["training"] for name in case.landmarks.names}
    unknown = [name for name in count if name not in learned]
    if unknown:
        warnings.append(f"{_quoted(unknown)} cannot be learned: no case to learn from has "
                        f"{'it' if len(unknown) == 1 else 'them'}.")
    return warnings
