# SPDX-License-Identifier: Apache-2.0
"""Single images parted by patient or, as published, image by image, and what that does to accuracy.

An image is one of 17 variants of one slice. Parted image by image, other images of a patient are
learned from and measured on: the network may know the patient in place of the disease. That leaks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from .augmentation import VARIANTS
from .evaluation import share_of_patients
from .training_slices import SlicePictures
from .triage import Tag

Split = Literal["patient", "image"]
SPLITS: dict[Split, str] = {"image": "leaks", "patient": "does not leak"}
MOST_IMAGES = 4000  # that accuracy is measured on
BATCH = 64


def images_of(pictures: np.ndarray, split: Split, group: str, seed: int) -> np.ndarray:
    """Numbers of the images of a group, as :class:`.training_slices.SlicePictures` counts them.

    Args:
        pictures: of all patients of the group by patient, (patients, slices, height, width).
        split: by image, a part of their images; by patient, all.
        group: train, validate or test.
        seed: of the parting.
    """
    images = np.arange(pictures.shape[0] * pictures.shape[1] * len(VARIANTS))
    if split == "patient":
        return images
    return images[groups_of_images(images, seed) == group]


def groups_of_images(images: np.ndarray, seed: int) -> np.ndarray:
    """Group of each image where images are parted and not patients: 80, 10 and 10 per cent."""
    drawn = np.random.default_rng(seed).random(int(images.max()) + 1)[images]
    return np.select([drawn < 0.8, drawn < 0.9], ["train", "validate"], "test")


def measure_images(network: nn.Module, pictures: np.ndarray, tags: np.ndarray, split: Split,
                   seed: int, device: str = "cpu") -> dict[str, str]:
    """Accuracy of single images, with its 95 % interval, under names that tell the split.

    Args:
        network: in evaluation mode, on ``device``.
        pictures, tags: by image those of the patients that were learned from; by patient those of
            others.
        split: how it was trained.
        seed: of the parting, and of which images are taken.
        device: torch device.
    """
    images = images_of(pictures, split, "test", seed)
    item = SlicePictures(pictures, tags, images, 1, min(MOST_IMAGES, len(images)), seed)
    chosen, batch = item.chosen(0), item[0]
    with torch.inference_mode():
        found = torch.cat([network(part.to(device)).cpu()
                           for part in batch["image"].split(BATCH)]).argmax(1)
    wanted, patients = batch["label"], chosen // item.each
    name = f"single_images_split_by_{split}"
    return {
        f"{name}_four_class_accuracy":
            f"{share_of_patients((found == wanted).numpy(), patients)}, {SPLITS[split]}",
        f"{name}_binary_accuracy": "{}, {}".format(share_of_patients(
            ((found >= Tag.RED) == (wanted >= Tag.RED)).numpy(), patients), SPLITS[split])}
