# SPDX-License-Identifier: Apache-2.0
"""Pseudo-RGB images of a list, read once and kept beside the experiment.

The list is a MONAI datalist, see :mod:`ReadingRoomLib.datalists`::

    {"training": [{"image": "17/slices.npz", "label": "glioblastoma", "patient": "17", "site": "A"},
                  {"image": "18/04.png", "label": "lymphoma", "patient": "18"}]}

Its parts are put together, because the experiment makes its own splits. An image is

- a picture, ``.png`` or ``.jpg``: one slice; grey ones get three equal channels;
- ``.npy`` or ``.npz`` (its only array, or that named ``slices``), uint8, (height, width, 3) for one
  slice or (slices, height, width, 3) for several, channels T1, T2 and contrast-enhanced T1;
- a folder of such files: all its slices, in the order of their names.

``patient`` says which images belong together; images of one patient without it would be taken for
images of several, and a split by patient would leak.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ReadingRoomLib.datalists import Item, read_datalist
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import whole_file

from .training_slices import PatientSlices

PICTURES = {".png", ".jpg", ".jpeg"}
ARRAYS = {".npy", ".npz"}
MOST_SLICES = 2000  # of an item; more is no tumour


@dataclass(frozen=True)
class Slices:
    """All slices of a list.

    Attributes:
        file: ``.npy`` with the images, (n, 3, pixels, pixels), uint8; read without loading it all.
        items: one for each slice, whose it is and what it shows.
        classes: what labels may be.
        sizes_mm: of the region that each slice is of, across and along the slices, (n, 2); NaN
            where it is not known.
    """

    file: Path
    items: tuple[Item, ...]
    classes: tuple[str, ...]
    sizes_mm: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Number of the class of each slice, (n,)."""
        return np.array([self.classes.index(item.label) for item in self.items])

    @property
    def patients(self) -> np.ndarray:
        """Number of the patient of each slice, (n,)."""
        return np.unique([item.patient for item in self.items], return_inverse=True)[1]

    def written(self) -> dict[str, object]:
        """How many there are; nothing that tells a patient."""
        def count(items: Sequence[Item]) -> dict[str, int]:
            return {"patients": len({item.patient for item in items}), "images": len(items)}

        sites = sorted({item.site for item in self.items if item.site})
        return count(self.items) | {
            "classes": {name: count([item for item in self.items if item.label == name])
                        for name in self.classes}
        } | ({"sites": {site: count([item for item in self.items if item.site == site])
                        for site in sites}} if sites else {})


def listed_items(path: Path, classes: Sequence[str]) -> list[Item]:
    """The items of a list, all parts together.

    Raises:
        BadInput: the list cannot be used; the sentence says why.
    """
    return [item for part in read_datalist(path, classes).values() for item in part]


def fingerprint(items: Sequence[Item], pixels: int) -> str:
    """What the slices depend on: changes with any file, label or patient of the list."""
    known = [(str(path), path.stat().st_size, path.stat().st_mtime_ns, item.label, item.patient)
             for item in items for path in _files(item.image)]
    return hashlib.sha256(repr((pixels, known)).encode()).hexdigest()


def read_slices(items: Sequence[Item], classes: Sequence[str], pixels: int, file: Path,
                on_item: Callable[[int], None] = lambda done: None) -> Slices:
    """Read all slices, or take those that were read before.

    Args:
        items: of the list.
        classes: what labels may be.
        pixels: side of the images; others are padded to a square and resized.
        file: ``.npy`` to keep the slices in; one that is there already is taken.
        on_item: called with how many items are read.

    Raises:
        BadInput: an image cannot be used.
    """
    of_items = file.with_suffix(".items.npz")
    if not (file.exists() and of_items.exists()):
        read = []
        for number, item in enumerate(items, 1):
            read.append(_slices_of(item, pixels))
            on_item(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(of_items) as unfinished:
            np.savez(unfinished, counts=[len(slices) for slices in read],
                     sizes_mm=[_size_of(item) for item in items])
        with whole_file(file) as unfinished:
            np.save(unfinished, np.concatenate(read))
    with np.load(of_items) as arrays:
        counts, sizes_mm = arrays["counts"], arrays["sizes_mm"]
    on_item(len(items))
    owners = (item for item, count in zip(items, counts, strict=True) for _ in range(count))
    return Slices(file, tuple(owners), tuple(classes), sizes_mm.repeat(counts, axis=0))


def patients_among(images: np.ndarray, labels: np.ndarray, patients: np.ndarray,
                   sizes_mm: np.ndarray, kinds: Sequence[str],
                   chosen: np.ndarray) -> list[PatientSlices]:
    """Patients with those of their images that are chosen, in the order of their numbers.

    Args:
        images: all, (n, 3, pixels, pixels), uint8.
        labels, patients, sizes_mm: of each image, see :class:`Slices`.
        kinds: names of the labels.
        chosen: numbers of images.
    """
    found = []
    for patient in np.unique(patients[chosen]):
        own = np.sort(chosen[patients[chosen] == patient])
        side_mm, extent_mm = sizes_mm[own[0]]
        found.append(PatientSlices(images[own], float(side_mm), float(extent_mm),
                                   kinds[labels[own[0]]], str(patient), wider=1.0))
    return found


def _files(image: Path) -> list[Path]:
    if not image.is_dir():
        return [image]
    return sorted(path for path in image.iterdir()
                  if path.suffix.lower() in PICTURES | ARRAYS and not path.name.startswith("."))


def _slices_of(item: Item, pixels: int) -> np.ndarray:
    """Slices of an item, (n, 3, pixels, pixels), uint8."""
    files = _files(item.image)
    slices = [each for file in files for each in _slices_in(file, item)]
    if not slices:
        raise BadInput(f"{item.image.name} ({item.place}) holds no image: put .png, .jpg, .npy or "
                       ".npz files into it.")
    if len(slices) > MOST_SLICES:
        raise BadInput(f"{item.image.name} ({item.place}) holds {len(slices)} slices, more than a "
                       "tumour has: check what it is.")
    return np.stack([_square(each, pixels) for each in slices]).transpose(0, 3, 1, 2)


def _size_of(item: Item) -> tuple[float, float]:
    """Of the region of an item, across and along its slices, mm; NaN where its file has none."""
    if item.image.suffix.lower() != ".npz":
        return np.nan, np.nan
    with np.load(item.image, allow_pickle=False) as arrays:
        try:
            return float(arrays["side_mm"]), float(arrays["extent_mm"])
        except (KeyError, ValueError, TypeError):
            return np.nan, np.nan


def _slices_in(file: Path, item: Item) -> np.ndarray:
    """Slices of a file, (n, height, width, 3), uint8."""
    try:
        if file.suffix.lower() in PICTURES:
            with Image.open(file) as picture:
                return np.asarray(picture.convert("RGB"))[None]
        if file.suffix.lower() not in ARRAYS:
            raise ValueError
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                names = loaded.files
                array = loaded["slices" if "slices" in names else names[0]]
        else:
            array = loaded
    except (OSError, ValueError, IndexError, zipfile.BadZipFile,
            Image.DecompressionBombError) as error:
        raise BadInput(f"{file.name} ({item.place}) cannot be read: it must be a picture (.png, "
                       ".jpg) or an array (.npy, .npz).") from error
    array = array[None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise BadInput(f"{file.name} ({item.place}) must hold whole numbers of 0 to 255 (uint8), "
                       "(height, width, 3) or (slices, height, width, 3).")
    return array


def _square(image: np.ndarray, pixels: int) -> np.ndarray:
    """An image (height, width, 3) as (pixels, pixels, 3), its proportions kept."""
    height, width = image.shape[:2]
    if height != width:
        side = max(height, width)
        before = (side - height) // 2, (side - width) // 2
        image = np.pad(image, ((before[0], side - height - before[0]),
                               (before[1], side - width - before[1]), (0, 0)))
    if image.shape[0] == pixels:
        return image
    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.BILINEAR))
