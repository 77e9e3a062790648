# SPDX-License-Identifier: Apache-2.0
"""Is left left? Compares the landmarks of a case with those of the others, whatever their pose.

Cases are laid over each other by a turn, a shift and one scale (Umeyama, IEEE TPAMI 1991), never
by a mirror. Where they fit far better with left and right exchanged, or through a mirror, a case
is not as the others are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .landmark_files import key_of

MOST_OTHERS = 15  # to compare a case with
LEAST_COMMON = 4  # landmarks, without which a body fits its own mirror image
FAR_BETTER = 0.5  # the distances that are left must be less than this part of what they were
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l", "lt": "rt", "rt": "lt"}

Points = Mapping[str, np.ndarray]


def other_side(key: str) -> str:
    """The name of the same landmark on the other side; empty for one that names no side."""
    words = key.split()
    if sum(word in _SIDES for word in words) != 1:
        return ""
    return " ".join(_SIDES.get(word, word) for word in words)


def pairs_of(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Names of the landmarks that are there on both sides, left before right."""
    known = set(keys)
    return sorted((key, other_side(key)) for key in known
                  if other_side(key) in known and {"left", "l", "lt"} & set(key.split()))


def by_key(names: Sequence[str], points: np.ndarray) -> Points:
    """Points by what their names are compared by."""
    return {key_of(name): point for name, point in zip(names, points, strict=True)}


def problems_of(cases: Sequence[Points]) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Which cases are not as the others are.

    Args:
        cases: points by key, see :func:`by_key`.

    Returns:
        whole: ``"exchanged"`` (left and right), ``"mirrored"`` or ``"either"`` where the landmarks
            cannot tell the two, by number of the case.
        some: keys of single landmarks whose sides seem to be exchanged, by number of the case.
    """
    whole, some = {}, {}
    for number, case in enumerate(cases):
        others = [other for at, other in enumerate(cases) if at != number]
        others = others[::max(1, len(others) // MOST_OTHERS)][:MOST_OTHERS]
        verdicts = [verdict for verdict in (_compared(case, other) for other in others) if verdict]
        for kind in ("exchanged", "mirrored", "either"):
            if 2 * sum(verdict[0] == kind for verdict in verdicts) > len(verdicts):
                whole[number] = kind
        if number not in whole:
            votes = [key for verdict in verdicts for key in verdict[1]]
            found = sorted({key for key in votes if 2 * votes.count(key) > len(verdicts)})
            if found:
                some[number] = found
    return whole, some


def _compared(case: Points, other: Points) -> tuple[str, list[str]] | None:
    """How a case lies to another one, and which of its pairs alone are exchanged."""
    keys = sorted(set(case) & set(other))
    if len(keys) < LEAST_COMMON:
        return None
    moving = np.array([case[key] for key in keys])
    fixed = np.array([other[key] for key in keys])
    pairs = pairs_of(keys)
    place = {key: number for number, key in enumerate(keys)}
    order = list(range(len(keys)))
    for left, right in pairs:
        order[place[left]], order[place[right]] = place[right], place[left]
    aligned = _fitted(moving, fixed)
    as_it_is = _rms(aligned - fixed)
    exchanged = _rms(_fitted(moving[order], fixed) - fixed) if pairs else np.inf
    # any three directions fit their own mirror image, so a mirror must be seen in more of them
    mirrored = _rms(_fitted(moving * [-1, 1, 1], fixed) - fixed)
    limit = FAR_BETTER * as_it_is
    if exchanged < limit or mirrored < limit:
        both = exchanged < limit and mirrored < limit
        kind = "either" if both and max(exchanged, mirrored) < 1.5 * min(exchanged, mirrored) \
            else "exchanged" if exchanged <= mirrored else "mirrored"
        return kind, []
    return "", [left for left, right in pairs
                if _exchanged_alone(aligned, fixed, place[left], place[right], as_it_is)]


def _exchanged_alone(aligned: np.ndarray, fixed: np.ndarray, left: int, right: int,
                     usual: float) -> bool:
    straight = _rms(aligned[[left, right]] - fixed[[left, right]])
    crossed = _rms(aligned[[left, right]] - fixed[[right, left]])
    return bool(crossed < FAR_BETTER * straight and straight > usual)


def _fitted(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The points (n, 3) turned, shifted and scaled onto others, without a mirror."""
    a, b = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    u, sizes, vt = np.linalg.svd(a.T @ b)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    size = (a ** 2).sum()
    scale = (sizes * signs).sum() / size if size > 0 else 1.0
    return scale * a @ (u * signs) @ vt + fixed.mean(axis=0)


def _rms(differences: np.ndarray) -> float:
    return float(np.sqrt((differences ** 2).sum(axis=1).mean()))
