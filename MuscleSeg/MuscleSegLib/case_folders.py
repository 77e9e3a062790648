# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are scans, which are segmentations, and which belong together."""

from __future__ import annotations

from pathlib import Path

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.volume_files import file_format

from .label_names import words_of
from .segmentation_sources import SUFFIXES, stem_of

IMAGE_SUFFIXES = tuple(suffix for suffix in SUFFIXES if suffix not in (".seg.nrrd", ".dcm"))
MASKS = ("segmentations", "segmentation", "masks", "labels")  # folders within the folder of a case
MARKS = ("seg", "segmentation", "segmentations", "label", "labels", "labelmap", "mask", "masks")
NO_PART_OF_A_NAME = (*MARKS, "ct", "image", "0000")  # at its end; 0000 is nnU-Net's


def scans_in(folder: Path) -> dict[str, Path]:
    """Scans by case, in the order of their names.

    A file is a scan, so is a folder with a DICOM series, and so is the one image in the folder of
    a case, or its ``ct`` where there are several.

    Raises:
        BadInput: there is no such folder, no scan in it, or two of one name.
    """
    found: dict[str, Path] = {}
    for path in _listed(folder):
        image = path if _is_image(path) else _scan_within(path) if path.is_dir() else None
        if image is None:
            continue
        case = stem_of(path)
        if case in found:
            raise BadInput(f"{folder.name} has two scans called {case}: give each a name of its "
                           "own.")
        found[case] = image
    if not found:
        raise BadInput(f"{folder.name} holds no scan: it needs NIfTI, NRRD or MetaImage files, "
                       "DICOM folders, or a folder for each case.")
    return found


def segmentations_in(folder: Path) -> dict[str, Path]:
    """Segmentations by name: files, folders of masks, or folders of cases that hold one."""
    found = {}
    for path in _listed(folder):
        if path.is_file() and path.name.lower().endswith(SUFFIXES):
            found[stem_of(path)] = path
        elif path.is_dir():
            found[path.name] = _segmentation_within(path) or path
    return found


def within_cases(folder: Path) -> dict[str, Path]:
    """Segmentations in the folders of their cases."""
    found = {path.name: _segmentation_within(path) for path in _listed(folder) if path.is_dir()}
    beside = {stem_of(path): path for path in _listed(folder)
              if path.is_file() and _is_segmentation(path)}
    return beside | {case: path for case, path in found.items() if path}


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"{folder.name} is no folder: name the folder that the files lie in.")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_segmentation(path: Path) -> bool:
    words = words_of(stem_of(path))
    return path.name.lower().endswith(SUFFIXES) and (
        path.name.lower().endswith(".seg.nrrd") or bool(words) and words[-1] in MARKS)


def _is_image(path: Path) -> bool:
    return (path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES)
            and not _is_segmentation(path))


def _scan_within(folder: Path) -> Path | None:
    images = [path for path in _listed(folder) if _is_image(path)]
    named = [path for path in images if stem_of(path).casefold() == "ct"]
    if len(images) == 1 or named:
        return (named or images)[0]
    below = [path for path in _listed(folder) if path.is_dir() and _holds_dicom(path)
             and path.name.casefold() not in MASKS]
    series = [folder] if _holds_dicom(folder) else below
    return series[0] if len(series) == 1 and not images else None


def _holds_dicom(folder: Path) -> bool:
    return any(path.is_file() and file_format(path) == "DICOM" for path in _listed(folder))


def _segmentation_within(folder: Path) -> Path | None:
    for path in _listed(folder):
        if path.is_dir() and path.name.casefold() in MASKS or (
                path.is_file() and _is_segmentation(path)):
            return path
    return None


def matching(case: str, found: dict[str, Path]) -> Path | None:
    """The segmentation of the same name; ``hip_01_ct`` and ``hip-01-seg`` are the same, too."""
    if case in found:
        return found[case]
    plain = _plain(case)
    alike = [path for name, path in found.items() if _plain(name) == plain]
    return alike[0] if plain and len(alike) == 1 else None


def _plain(name: str) -> tuple[str, ...]:
    words = words_of(name)
    while words and words[-1] in NO_PART_OF_A_NAME:
        words.pop()
    return tuple(words)
