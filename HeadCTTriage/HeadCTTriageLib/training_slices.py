# SPDX-License-Identifier: Apache-2.0
"""Simulated patients on disk, as the slices that networks learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from ReadingRoomLib.devices import fast_in_bfloat16
from ReadingRoomLib.phantoms.head_template import HeadTemplate
from ReadingRoomLib.results import whole_file

from .augmentation import USUAL, VARIANTS, Ranges, published_variant, vary
from .brain import locate_brain
from .losses import kinds_of
from .simulated_patients import simulated_patient
from .slices import PUBLISHED, SEVERAL_WINDOWS, cut_labels, cut_slices, in_windows
from .triage import Tag


@dataclass(frozen=True)
class PatientSlices:
    """What is kept of a simulated patient.

    Attributes:
        published: slices of the published sampling, HU, int16.
        several: slices of our own sampling, HU, int16.
        truth: number of the finding in every pixel of ``several``, 0 elsewhere; uint8.
        tag: of the patient.
        midline_shift_mm: to the left above 0.
        kinds, volumes_ml: what was put in, and how much of it there is.
    """

    published: np.ndarray
    several: np.ndarray
    truth: np.ndarray
    tag: Tag
    midline_shift_mm: float
    kinds: tuple[str, ...]
    volumes_ml: tuple[float, ...]


def make_patient(template: HeadTemplate, seed: tuple[int, ...]) -> PatientSlices:
    """Simulate a patient and cut the slices; raises BadInput where the brain is not found."""
    patient = simulated_patient(template, seed)
    head = patient.head
    brain = locate_brain(head.image)
    volumes = head.volumes_ml
    return PatientSlices(
        _whole(cut_slices(head.image, brain, PUBLISHED)),
        _whole(cut_slices(head.image, brain, SEVERAL_WINDOWS)),
        cut_labels(head.truth, brain, SEVERAL_WINDOWS),
        patient.tag, head.midline_shift_mm, tuple(volumes), tuple(volumes.values()))


def save_patient(patient: PatientSlices, path: Path) -> None:
    """Write a patient at once: a kill leaves nothing or all."""
    with whole_file(path) as unfinished:
        np.savez_compressed(
            unfinished, published=patient.published, several=patient.several, truth=patient.truth,
            tag=int(patient.tag), midline_shift_mm=patient.midline_shift_mm,
            kinds=np.array(patient.kinds, "U32"),
            volumes_ml=np.array(patient.volumes_ml, np.float32))


def read_patient(path: Path) -> PatientSlices:
    with np.load(path) as arrays:
        return PatientSlices(
            arrays["published"], arrays["several"], arrays["truth"], Tag(int(arrays["tag"])),
            float(arrays["midline_shift_mm"]), tuple(arrays["kinds"].tolist()),
            tuple(arrays["volumes_ml"].tolist()))


def _whole(density: np.ndarray) -> np.ndarray:
    return density.round().astype(np.int16)


class BackboneSlices(Dataset):
    """Slices with their findings; item k is drawn from the seed and k alone.

    Args:
        paths: of the patients.
        count: number of items.
        seed: first number of every draw.
        ranges: in which they vary.
        slices: of a patient in one item; half of them show a finding, where there is one.
    """

    def __init__(self, paths: list[Path], count: int, seed: int, ranges: Ranges = USUAL,
                 slices: int = 4) -> None:
        self.paths, self.count, self.seed = paths, count, seed
        self.ranges, self.slices = ranges, slices

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((self.seed, index))
        patient = read_patient(self.paths[random.integers(len(self.paths))])
        with_finding = np.flatnonzero(patient.truth.any((1, 2)))
        chosen = random.integers(0, len(patient.truth), self.slices)
        if len(with_finding):
            half = self.slices // 2
            chosen[:half] = random.choice(with_finding, half)
        density, truth, _ = vary(*_tensors(patient, chosen), random, self.ranges)
        return {"image": shown(density), "label": truth}


class SlicePictures(Dataset):
    """Batches of slices as the published network gets them, with the tag of their patient.

    An image is a patient, a slice of it and one of its 17 variants.

    Args:
        pictures: of all patients, (patients, slices, height, width), uint8.
        tags: of the patients.
        images: numbers of the images that may be drawn, counted variant by variant,
            slice by slice, patient by patient.
        count: number of items.
        size: images in an item.
        seed: first number of every draw.
    """

    def __init__(self, pictures: np.ndarray, tags: np.ndarray, images: np.ndarray, count: int,
                 size: int, seed: int) -> None:
        self.pictures, self.tags, self.images = pictures, tags, images
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        images = self.chosen(index)
        return {"image": torch.cat([self.image(number) for number in images]),
                "label": torch.tensor(self.tags[images // self.each])}

    def chosen(self, index: int) -> np.ndarray:
        """Numbers of the images of an item."""
        return np.random.default_rng((self.seed, index)).choice(self.images, self.size)

    def image(self, number: int) -> torch.Tensor:
        """Image of a number, (1, 1, height, width), 0 to 1."""
        patient, rest = divmod(int(number), self.each)
        place, variant = divmod(rest, len(VARIANTS))
        picture = torch.from_numpy(self.pictures[patient, place])[None, None].float() / 255
        return published_variant(picture, variant, int(number))

    @property
    def each(self) -> int:
        """Images of a patient."""
        return self.pictures.shape[1] * len(VARIANTS)


def pictures_of(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Published slices of patients in 256 levels, (n, slices, height, width), and their tags."""
    found = [read_patient(path) for path in paths]
    return np.stack([levels_of(one.published) for one in found]), np.array(
        [int(one.tag) for one in found])


def levels_of(published: np.ndarray) -> np.ndarray:
    """Published slices of a head, (slices, height, width), HU, in 256 levels."""
    return np.rint(255 * in_windows(published, PUBLISHED.windows)[:, 0]).astype(np.uint8)


def shown(density: torch.Tensor) -> torch.Tensor:
    """Slices (n, height, width) in HU as our network gets them: (n, windows, height, width)."""
    return torch.from_numpy(in_windows(density.numpy(), SEVERAL_WINDOWS.windows))


def _tensors(patient: PatientSlices, chosen) -> tuple[torch.Tensor, torch.Tensor]:
    return (torch.from_numpy(patient.several[chosen].astype(np.float32)),
            torch.from_numpy(patient.truth[chosen]))


class HeadCodes(Dataset):
    """Batches of heads as what the backbone made of their slices; see :func:`codes_of`.

    Args:
        codes: (heads, slices, code).
        wanted: of the loss, (heads, ...).
        count: number of items.
        size: heads in an item.
        seed: first number of every draw.
    """

    def __init__(self, codes: np.ndarray, wanted: np.ndarray, count: int, size: int,
                 seed: int) -> None:
        self.codes, self.wanted = codes, wanted
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((self.seed, index))
        heads = random.integers(0, len(self.codes), self.size)
        return {"image": torch.from_numpy(self.codes[heads].astype(np.float32)),
                "label": torch.from_numpy(self.wanted[heads])}


def codes_of(patient: PatientSlices, backbone: torch.nn.Module,
             seed: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Codes (slices, code) of a patient, and what :func:`.losses.judge_loss` wants for them.

    Args:
        patient: all of its slices are looked at.
        backbone: in evaluation mode.
        seed: of a variation of the slices; None: as they are.
    """
    density, truth = _tensors(patient, slice(None))
    shift_cm = patient.midline_shift_mm / 10
    if seed is not None:
        density, truth, flipped = vary(density, truth, np.random.default_rng(seed))
        shift_cm = -shift_cm if flipped else shift_cm
    codes = codes_of_slices(density, backbone, exact=seed is None)
    kinds = kinds_of(truth).amax((2, 3)).numpy()
    wanted = np.concatenate([[int(patient.tag), shift_cm], kinds.ravel()])
    return codes, wanted.astype(np.float32)


def codes_of_slices(density: torch.Tensor, backbone: torch.nn.Module, exact: bool,
                    device: str = "cpu") -> np.ndarray:
    """Codes (slices, code) of the slices of a head, (slices, height, width), HU.

    Args:
        exact: what is varied need not be, and there is much of it.
    """
    rough = not exact and fast_in_bfloat16(device)
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=rough):
        return backbone(shown(density).to(device))[1].float().cpu().numpy()
