# SPDX-License-Identifier: Apache-2.0
"""What ``evaluate`` can measure: a model, atlases, or the files of any other program.

All of them give labels on the grid of the CT, so that all are scored alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import ImageInput

from .contrasts import read_for
from .evaluation import mean_uncertainties
from .grids import on_input_grid, upright
from .label_names import NameTable
from .multi_atlas import MultiAtlas
from .named_labels import target_on
from .structures import STRUCTURES

EVERYTHING = frozenset(structure.value for structure in STRUCTURES)
SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass(frozen=True)
class Segmented:
    """A CT as a method segments it.

    Attributes:
        labels: on the grid of the CT, values of ``STRUCTURES``.
        named: the structures that the method knows.
        took: seconds by the clock and of the processors, without reading the CT; None where nobody
            knows.
        doubt: mean uncertainty of each label, (labels + 1,); NaN where there is none.
        refused: why the method would not segment the CT: then nothing is labelled.
    """

    labels: sitk.Image
    named: frozenset[int] = EVERYTHING
    took: tuple[float | None, float | None] = (None, None)
    doubt: np.ndarray = field(default_factory=lambda: np.full(len(STRUCTURES) + 1, np.nan))
    refused: str = ""


class Segmenter(Protocol):
    """A method: reads the CT of a case, and segments it."""

    def read(self, case: Pair) -> ImageInput:
        """The CT as the method needs it."""

    def __call__(self, case: Pair, source: ImageInput,
                 advance: Callable[[float], None]) -> Segmented:
        """Segment; ``advance`` is told the share that is done, 0 to 1."""


@dataclass(frozen=True)
class ByModel:
    """A network with Monte Carlo dropout."""

    job: Job
    bundle: Bundle
    samples: int

    def read(self, case: Pair) -> ImageInput:
        return read_for(self.bundle.metadata, case.image)

    def __call__(self, case: Pair, source: ImageInput,
                 advance: Callable[[float], None]) -> Segmented:
        from .segmentation import predict  # needs PyTorch, which the other methods do without

        begun = _clocks()
        volume, order = upright(source, self.bundle.metadata)
        try:
            prediction = predict(self.job, self.bundle, volume, self.samples,
                                 lambda done, total: advance(done / max(total, 1)),
                                 of=case.image.name)
        except BadInput as error:  # in use there would be no result, which must count
            empty = np.zeros(source.image.GetSize()[::-1], np.uint8)
            return Segmented(image_like(empty, source.image), took=_since(begun),
                             refused=error.message)
        took = _since(begun)
        return Segmented(on_input_grid(prediction.labels, source, order, "nearest"), EVERYTHING,
                         took, mean_uncertainties(prediction))


@dataclass(frozen=True)
class ByAtlases:
    """Atlases of other patients that are registered and vote, see :mod:`.multi_atlas`."""

    atlases: MultiAtlas

    def read(self, case: Pair) -> ImageInput:
        return read_for({}, case.image)

    def __call__(self, case: Pair, source: ImageInput,
                 advance: Callable[[float], None]) -> Segmented:
        self.atlases.prepare()
        begun = _clocks()
        volume, order = upright(source)
        labels = self.atlases.segment(volume, case.patient, advance)
        took = _since(begun)
        found = on_input_grid(sitk.GetArrayFromImage(labels), source, order, "nearest")
        return Segmented(found, EVERYTHING, took)


@dataclass(frozen=True)
class ByFiles:
    """Segmentations that lie in a folder, named as the CTs or as the patients.

    Attributes:
        folder: holds ``NAME.seg.nrrd``, NIfTI, or results of ``segment`` in folders ``NAME``.
        names: what labels mean that are not called as ours.
        warn: gets sentences about what should be looked at.
    """

    folder: Path
    names: NameTable
    warn: Callable[[str], None]

    def read(self, case: Pair) -> ImageInput:
        return read_for({}, case.image)

    def __call__(self, case: Pair, source: ImageInput,
                 advance: Callable[[float], None]) -> Segmented:
        labels, named = target_on(source, self.file_of(case), self.warn, self.names)
        return Segmented(labels, named)

    def file_of(self, case: Pair) -> Path:
        """The segmentation of a case.

        Raises:
            BadInput: there is none.
        """
        for name in (_stem(case.image), case.patient):
            for path in (*(self.folder / f"{name}{suffix}" for suffix in SUFFIXES),
                         self.folder / name / "segmentation.seg.nrrd"):
                if path.is_file():
                    return path
        raise BadInput(f"{self.folder.name} holds no segmentation of {case.image.name}: name it as "
                       f"the CT, such as {_stem(case.image)}.seg.nrrd.")


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    return tuple(now - then for now, then in zip(_clocks(), begun, strict=True))


def _stem(image: Path) -> str:
    for suffix in SUFFIXES:
        if image.name.endswith(suffix):
            return image.name.removesuffix(suffix)
    return image.stem if image.is_file() else image.name


def require_files(segmenter: ByFiles, cases: Sequence[Pair]) -> None:
    """Say before the first case is scored that one has no segmentation."""
    for case in cases:
        segmenter.file_of(case)
