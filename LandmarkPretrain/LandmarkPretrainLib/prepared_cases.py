# SPDX-License-Identifier: Apache-2.0
"""Images with landmarks, made ready once and kept on the disk, so that memory does not grow."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.results import whole_file

from .patches import PatchExtractor
from .preparation import prepared

FORMAT = 1  # of the kept files; another one when prepared() changes
KEPT_BYTES = 1_500_000_000  # of images in memory
FLOAT = 4  # bytes
VOXELS = (".raw", ".zraw", ".raw.gz")  # of MetaImage (.mhd) and NRRD (.nhdr)


@dataclass(frozen=True)
class PreparedCase:
    """An image as the networks see it, on the disk, and where its landmarks are.

    Attributes:
        patient: whose it is.
        file: ``.npy`` float16 (z, y, x).
        origin: LPS mm of the first voxel.
        spacing_mm: of the cubic voxels.
        points: (landmarks, 3) LPS mm; NaN where a landmark is not known or not in the image.
    """

    patient: str
    file: Path
    origin: tuple[float, float, float]
    spacing_mm: float
    points: np.ndarray

    @property
    def size_mm(self) -> np.ndarray:
        """(3,) along x, y, z."""
        return np.array(np.load(self.file, mmap_mode="r").shape[::-1]) * self.spacing_mm

    def image(self) -> sitk.Image:
        found = sitk.GetImageFromArray(np.load(self.file).astype(np.float32))
        found.SetSpacing((self.spacing_mm,) * 3)
        found.SetOrigin(self.origin)
        return found


def prepare_case(patient: str, read: Callable[[], sitk.Image], points: np.ndarray, modality: str,
                 spacing_mm: float, folder: Path, key: str) -> PreparedCase:
    """Make a case ready, or take what was made before.

    Args:
        patient: whose image it is.
        read: gives the image; called only when it was not made ready before.
        points: (landmarks, 3) LPS mm.
        modality, spacing_mm: see :func:`.preparation.prepared`.
        folder: keeps the images.
        key: what the image is, such as its path with size and time of change.
    """
    name = hashlib.sha256(json.dumps(
        [FORMAT, key, modality, spacing_mm]).encode()).hexdigest()[:16]
    file, about = folder / f"{name}.npy", folder / f"{name}.json"
    if not (file.exists() and about.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        image = prepared(read(), modality, spacing_mm)
        with whole_file(file) as unfinished, unfinished.open("wb") as stream:
            np.save(stream, sitk.GetArrayViewFromImage(image).astype(np.float16))
        with whole_file(about) as unfinished:
            unfinished.write_text(json.dumps({"origin": image.GetOrigin()}), "utf-8")
    origin = tuple(json.loads(about.read_text("utf-8"))["origin"])
    return PreparedCase(patient, file, origin, spacing_mm, np.asarray(points, float))


def files_of(place: Path) -> list[Path]:
    """The files of an image: all of a folder; or a header, and the voxels that lie beside it."""
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.is_file())
    beside = [place.with_suffix(ending) for ending in VOXELS]
    return [path for path in (place, *beside) if path.is_file()]


class Extractors:
    """Extractors of cases, the last used ones in memory."""

    def __init__(self, cases: Sequence[PreparedCase], kept_bytes: int = KEPT_BYTES) -> None:
        self.cases = cases
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[int, PatchExtractor] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, number: int) -> PatchExtractor:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        image = self.cases[number].image()
        size = image.GetNumberOfPixels() * FLOAT
        while self._kept and self._bytes + size > self._kept_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.voxels * FLOAT
        found = self._kept[number] = PatchExtractor(image)
        self._bytes += found.voxels * FLOAT
        return found
