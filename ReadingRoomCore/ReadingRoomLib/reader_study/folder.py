# SPDX-License-Identifier: Apache-2.0
"""The folder of a reader study: its case list, its images, and what the readers answered.

``study.json`` is a MONAI datalist under the key ``cases`` with the plan beside it; the truth is a
file of its own, so that it can be kept away from the readers. Docs/reader-study.md has both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ReadingRoomLib.errors import BadInput

from .conduct import Lesion, ReaderLog, Reading, StudyPlan, collect
from .study import ReaderStudy

STUDY_FILE = "study.json"
ANSWERS_FOLDER = "answers"
IMAGE_ENDINGS = (".nrrd", ".nii.gz", ".nii", ".mha")
LONGEST_WASHOUT = 3650  # days
QUALITY = ("excellent", "good", "fair", "poor")
NOT_IN_FILE_NAMES = set('<>:"/\\|?*')


@dataclass(frozen=True)
class Presentation:
    """What a reader is shown in a modality.

    Attributes:
        images: names of images; the reader chooses between them, and sees the first at first.
        overlay: name of the image that is drawn over them; None without.
    """

    images: tuple[str, ...]
    overlay: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All images that are needed."""
        return self.images + ((self.overlay,) if self.overlay else ())


class StudyFolder:
    """A reader study on the disk.

    Args:
        folder: with ``study.json`` in it.

    Attributes:
        plan: what is to be read.
        presentations: by modality.
        window: lowest and highest value of the grey scale; None when the viewer chooses.

    Raises:
        BadInput: the folder holds no study, the study cannot be understood, or an image is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        content = _read_json(self.folder / STUDY_FILE)
        with _understood(STUDY_FILE):
            self.presentations = {name: _presentation(shown)
                                  for name, shown in content["modalities"].items()}
            self.plan = StudyPlan(
                _names([case["patient"] for case in content["cases"]]),
                _names(list(self.presentations)), _names(content["readers"]),
                _seed(content.get("seed", 0)), _days(content.get("washout_days", 28)),
                _choice(content.get("free_response", True)), _names(content.get("quality", [])))
            self.window = _window(content.get("window"))
            self._files = {case["patient"]: {name: case[name] for name in self._image_names}
                           for case in content["cases"]}
        for reader in self.plan.readers:
            _check_file_name(reader)
        for number, files in enumerate(self._files.values(), 1):
            for name, file in files.items():
                if not (self.folder / file).is_file():
                    raise BadInput(f"The image '{name}' of case {number} in {STUDY_FILE} is not "
                                   "there: mend its path.")

    @property
    def _image_names(self) -> list[str]:
        return list(dict.fromkeys(name for shown in self.presentations.values()
                                  for name in shown.names))

    def log(self, reader: str) -> ReaderLog:
        """The answers of a reader; see :class:`ReaderLog`."""
        return ReaderLog(self.folder / ANSWERS_FOLDER / f"{reader}.jsonl", self.plan, reader)

    def images(self, reading: Reading) -> dict[str, Path]:
        """The images of a reading by name: those to choose from, then the overlay."""
        files = self._files[reading.case]
        return {name: self.folder / files[name]
                for name in self.presentations[reading.modality].names}

    def answer_files(self) -> list[Path]:
        """The files of those who have answered."""
        return sorted((self.folder / ANSWERS_FOLDER).glob("*.jsonl"))

    def collect(self, truth: Path) -> ReaderStudy:
        """The study with all answers; see :func:`collect`.

        Args:
            truth: see :func:`read_truth`.
        """
        answers = {reader: self.log(reader).answers for reader in self.plan.readers}
        return collect(self.plan, answers, read_truth(truth, self.plan))


def read_truth(path: Path, plan: StudyPlan) -> dict[str, list[Lesion]]:
    """The lesions by case; a case that is not named is healthy.

    Raises:
        BadInput: the file cannot be read or understood, or names a case that the study lacks.
    """
    with _understood(path.name):
        truth = {case: [_lesion(**lesion) for lesion in lesions]
                 for case, lesions in _read_json(path).items()}
    unknown = [case for case in truth if case not in plan.cases]
    if unknown:
        raise BadInput(f"{path.name} names the case {unknown[0]}, which the study does not have.")
    return truth


def create_study(folder: Path, readers: Sequence[str]) -> StudyFolder:
    """Make a study of the images in a folder, with and without ``z`` drawn over ``current``.

    Args:
        folder: holds a folder for each case, with the images ``current`` and ``z`` and perhaps
            ``prior``, as NRRD, NIfTI or MetaImage; the names of those folders name the cases.
        readers: names.

    Raises:
        BadInput: there is a study already, a case lacks an image, or a name cannot be used.
        OSError: the folder cannot be written.
    """
    cases = [case for case in sorted(folder.iterdir()) if case.is_dir() and _image(case, "current")]
    if not cases:
        raise BadInput("No case is there: make a folder for each case, with the images current "
                       "and z in it.")
    has_prior = all(_image(case, "prior") for case in cases)
    names = ("current", "prior", "z") if has_prior else ("current", "z")
    listed = []
    for case in cases:
        files = {name: _image(case, name) for name in names}
        if files["z"] is None:
            raise BadInput(f"The case {case.name} has no image z.")
        listed.append({"patient": case.name, **{name: file.relative_to(folder).as_posix()
                                                for name, file in files.items()}})
    shown = {"images": list(names[:-1])}
    # differences are those of the first from the second
    modalities = {"with": {**shown, "overlay": "z"}, "without": shown}
    study = {"readers": list(readers), "modalities": modalities,
             "free_response": True, "quality": list(QUALITY), "washout_days": 28, "seed": 0,
             "cases": listed}
    StudyPlan(tuple(case.name for case in cases), tuple(modalities), tuple(readers))
    for reader in readers:
        _check_file_name(reader)
    try:
        with open(folder / STUDY_FILE, "x", encoding="utf-8") as file:
            json.dump(study, file, indent=2)
    except FileExistsError as error:
        raise BadInput(f"{STUDY_FILE} is in this folder already.") from error
    return StudyFolder(folder)


def _image(case: Path, name: str) -> Path | None:
    return next((path for ending in IMAGE_ENDINGS if (path := case / (name + ending)).is_file()),
                None)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"There is no {path.name} in {path.parent.name}.") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path.name} cannot be read: it is not a JSON file.") from error


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """Turn what goes wrong with the content of a file into one sentence."""
    try:
        yield
    except KeyError as error:
        raise BadInput(f"{name} lacks the entry {error}.") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{name} is not as Docs/reader-study.md describes it.") from error


def _names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError
    return tuple(names)


def _seed(seed: Any) -> int:
    if not isinstance(seed, int) or seed < 0:
        raise TypeError
    return seed


def _days(days: Any) -> float:
    if not 0 <= days <= LONGEST_WASHOUT:
        raise ValueError
    return float(days)


def _choice(choice: Any) -> bool:
    if not isinstance(choice, bool):  # the text "false" would be true
        raise TypeError
    return choice


def _presentation(shown: dict[str, Any]) -> Presentation:
    images = _names(shown["images"])
    overlay = shown.get("overlay")
    if not images or not isinstance(overlay, str | None):
        raise TypeError
    return Presentation(images, overlay)


def _window(window: Any) -> tuple[float, float] | None:
    if window is None:
        return None
    lowest, highest = map(float, window)
    if not lowest < highest:
        raise ValueError
    return lowest, highest


def _lesion(position: Sequence[float], radius: float, weight: float = 1.0) -> Lesion:
    x, y, z = map(float, position)
    if not (radius > 0 and weight > 0):
        raise ValueError
    return Lesion((x, y, z), float(radius), float(weight))


def _check_file_name(reader: str) -> None:
    if NOT_IN_FILE_NAMES.intersection(reader) or not reader.isprintable() or reader[-1] in ". ":
        raise BadInput(f"The reader's name '{reader}' cannot be part of a file name: use letters, "
                       "digits and spaces.")
