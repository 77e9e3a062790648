# SPDX-License-Identifier: Apache-2.0
"""Repeated 7:3 splits, by patient, or image by image as published, which leaks.

Split image by image, other slices of a patient are learned from than are tested on: the network may
recognise the patient in place of the tumour, so its accuracy is too high for any new patient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ReadingRoomLib.datalists import Item, part_patients
from ReadingRoomLib.errors import BadInput

SplitKind = Literal["patient", "image"]
SPLITS: dict[SplitKind, str] = {
    "patient": "split by patient",
    "image": "split by image, leaking: images of the tested patients were learned from",
}
SHARES = {"training": 0.7, "test": 0.3}
RATIO = SHARES["test"] / SHARES["training"]  # for the corrected resampled t-test
LEAST = 4  # patients, or images, of a class: then every split tests one of them


def split_images(items: Sequence[Item], classes: Sequence[str], kind: SplitKind, seed: int,
                 repetition: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images that are learned from and that are tested on.

    Args:
        items: one for each image (slice), with its label and patient.
        classes: what labels may be; each class is parted 7:3.
        kind: by patient, all images of a patient lie on one side; by image, they are parted alone.
        seed: of the experiment.
        repetition: which of its splits.

    Returns:
        Two arrays, in order, that hold each image once.
    """
    units = [replace(item, patient=item.patient if kind == "patient" else str(number),
                     place=str(number)) for number, item in enumerate(items)]
    drawn = int(np.random.SeedSequence((seed, repetition)).generate_state(1)[0])
    parts = part_patients(units, SHARES, lambda item: classes.index(item.label), drawn)
    return tuple(np.array([int(item.place) for item in parts[part]], int) for part in SHARES)


def check_splittable(items: Sequence[Item], classes: Sequence[str],
                     kinds: Sequence[SplitKind]) -> None:
    """Refuse images of which some split could not test every class.

    Raises:
        BadInput: a patient has two labels, or a class too few patients or images.
    """
    first = check_one_label(items)
    for kind in kinds:
        units = first.values() if kind == "patient" else items
        counts = Counter(item.label for item in units)
        for name in classes:
            if counts[name] < LEAST:
                raise BadInput(f"There are too few of {name}: {counts[name]} {kind}s, but at least "
                               f"{LEAST} are needed to split them by {kind}.")


def check_one_label(items: Sequence[Item]) -> dict[str, Item]:
    """The first item of each patient; refuses a patient with two labels.

    Raises:
        BadInput: there is one.
    """
    first: dict[str, Item] = {}
    for item in items:
        other = first.setdefault(item.patient, item)
        if other.label != item.label:
            raise BadInput(f"The same patient is labelled {other.label} ({other.place}) and "
                           f"{item.label} ({item.place}): a patient has one kind of tumour here.")
    return first
