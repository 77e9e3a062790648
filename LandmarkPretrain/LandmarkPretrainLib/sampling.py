# SPDX-License-Identifier: Apache-2.0
"""Where patches are taken: at landmarks, and where there is none, also close to one.

Landmarks are drawn as often as each other, whoever has them. Places that are none lie anywhere in
the body or, half of them, in the shell around a landmark, where they are most like it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .networks import NONE
from .prepared_cases import Extractors, PreparedCase

NEAREST = 0.2  # of a patch: what is no landmark is at least so far from each
SHELL = 0.45  # of a patch: how far "close to one" reaches
CLOSE_SHARE = 0.5  # of the places that are none
BODY = -0.75  # prepared values above it are no air
TRIES = 8


def known(points: np.ndarray) -> np.ndarray:
    """Which of the points (..., 3) are there."""
    return np.isfinite(points).all(-1)


def drawn_landmarks(cases: Sequence[PreparedCase], chosen: Sequence[int], count: int,
                    random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks of some cases: each name as often, then any case that has it.

    Args:
        cases: all.
        chosen: numbers of those that may be drawn from.
        count: how many.

    Returns:
        Number of the case and number of the landmark, (count,) each.
    """
    there = np.stack([known(cases[number].points) for number in chosen])
    names = random.permutation(np.resize(random.permutation(np.flatnonzero(there.any(0))), count))
    owners = [chosen[random.choice(np.flatnonzero(there[:, name]))] for name in names]
    return np.array(owners), names


def places_of_none(case: PreparedCase, extractors: Extractors, number: int, count: int,
                   patch_mm: float, random: np.random.Generator,
                   close_share: float = CLOSE_SHARE) -> np.ndarray:
    """Points (count, 3) in LPS mm of a case that are no landmark.

    Args:
        case, extractors, number: the case, and where its image is had by its number.
        count: how many.
        patch_mm: side of the patches.
        close_share: of the points that lie in a shell around a landmark.
    """
    landmarks = case.points[known(case.points)]
    close = int(round(count * close_share)) if len(landmarks) else 0
    low, high = np.array(case.origin), np.array(case.origin) + case.size_mm
    found = []
    for wanted, near in ((close, True), (count - close, False)):
        taken = np.empty((0, 3))
        for attempt in range(TRIES):
            amount = 4 * wanted + 4
            if near:
                away = random.standard_normal((amount, 3))
                away *= (random.uniform(NEAREST, SHELL, (amount, 1)) * patch_mm
                         / np.linalg.norm(away, axis=1, keepdims=True))
                points = landmarks[random.integers(len(landmarks), size=amount)] + away
            else:
                points = random.uniform(low, high, (amount, 3))
            fine = ((points >= low) & (points <= high)).all(1)
            if len(landmarks):
                apart = np.linalg.norm(points[:, None] - landmarks, axis=-1).min(1)
                fine &= apart >= NEAREST * patch_mm
            if attempt < TRIES - 1:  # an image may be nearly empty
                fine &= extractors[number].values(points) > BODY
            taken = np.concatenate([taken, points[fine]])[:wanted]
            if len(taken) == wanted:
                break
        found.append(taken)
    points = np.concatenate(found)
    return points if len(points) == count else np.resize(points, (count, 3))


def labels_of(names: np.ndarray, none: int) -> np.ndarray:
    """Classes of landmarks followed by ``none`` places that are none."""
    return np.concatenate([names + 1, np.full(none, NONE)])
