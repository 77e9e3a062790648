# SPDX-License-Identifier: Apache-2.0
"""Landmarks that a segmentation gives: centroids, tips, contacts and branchings of structures.

What the border of the volume cuts off gives no landmark: where a kidney ends outside the image,
its lower pole is not where its voxels end. The reason is told for every landmark that is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, spatial

from .landmark_files import Landmarks, key_of
from .pseudo_landmarks_table import DIRECTIONS, Part, Rule
from .segmented_bodies import TOUCHING, Body, Segmentation, Skipped, cut_off

MOST_APART_MM = 8.0  # of two structures that meet: the cartilage of a joint lies between
CUT_OFF_APART_MM = 4.0  # where one is cut off, for they might meet outside
BRANCH_MM = 6.0  # so far two branches must go on
LEAST_BRANCH = 0.15  # of the area of the larger branch


@dataclass(frozen=True)
class Derived:
    """What a segmentation gave.

    Attributes:
        landmarks: in the order of the table.
        skipped: why, by name of the landmark that could not be had.
    """

    landmarks: Landmarks
    skipped: dict[str, str]


def derive_landmarks(labels: sitk.Image, names: Mapping[int, Sequence[str]],
                     rules: Sequence[Rule]) -> Derived:
    """Find the landmarks of a table in a segmentation.

    Args:
        labels: 3D, whole numbers, 0 where there is nothing.
        names: of each label; a label may have several.
        rules: of :func:`~LandmarkPretrainLib.pseudo_landmarks_table.read_table`.
    """
    segmentation = Segmentation(labels, names)
    found: dict[str, np.ndarray] = {}
    skipped: dict[str, str] = {}
    for rule in rules:
        try:
            found[rule.landmark] = (_mean(rule, found) if rule.kind == "mean"
                                    else _KINDS[rule.kind](segmentation, rule))
        except Skipped as reason:
            skipped[rule.landmark] = str(reason)
    return Derived(Landmarks(tuple(found), np.array(list(found.values()))), skipped)


def _centroid(segmentation: Segmentation, rule: Rule) -> np.ndarray:
    return _whole(segmentation, rule.parts).points.mean(axis=0)


def _whole(segmentation: Segmentation, parts: tuple[Part, ...]) -> Body:
    body = segmentation.body(parts)
    if body.borders:
        raise Skipped(cut_off(body, body.borders))
    return body


def _extreme(segmentation: Segmentation, rule: Rule) -> np.ndarray:
    body = segmentation.body(rule.parts)
    axis, sign = DIRECTIONS[rule.direction]
    behind = {name for name, other in DIRECTIONS.items() if other == (axis, -sign)}
    if body.borders - behind:  # only where it ends behind can it not hide what lies further
        raise Skipped(cut_off(body, body.borders - behind))
    return _outermost(body, sign * body.points[:, axis], segmentation.spacing[axis])


def _farthest(segmentation: Segmentation, rule: Rule) -> np.ndarray:
    body = _whole(segmentation, rule.parts)
    apart = body.points - segmentation.body(rule.others).points.mean(axis=0)
    return _outermost(body, np.linalg.norm(apart, axis=1), segmentation.spacing.max())


def _outermost(body: Body, along: np.ndarray, thickness_mm: float) -> np.ndarray:
    """The middle of the outermost layer; of its largest piece where two lie equally far out."""
    which = along >= along.max() - 0.75 * thickness_mm  # one layer, also when a little tilted
    indices = body.indices[which] - body.indices[which].min(axis=0)
    layer = np.zeros(indices.max(axis=0) + 1, bool)
    layer[tuple(indices.T)] = True
    pieces, _ = ndimage.label(layer, TOUCHING)
    piece = pieces[tuple(indices.T)]
    return body.points[which][piece == np.bincount(piece)[1:].argmax() + 1].mean(axis=0)


def _contact(segmentation: Segmentation, rule: Rule) -> np.ndarray:
    first, second = segmentation.body(rule.parts), segmentation.body(rule.others)
    most = CUT_OFF_APART_MM if first.borders or second.borders else MOST_APART_MM
    near = _near(first, second)
    apart, partner = spatial.cKDTree(second.points).query(first.points[near],
                                                          distance_upper_bound=most)
    if not np.isfinite(apart).any():
        raise Skipped(f"{first.name} and {second.name} do not meet")
    touching = apart <= apart.min() + segmentation.spacing.max()
    borders = segmentation.touched(first.indices[near][touching])
    if borders:
        raise Skipped(cut_off(first, borders))
    middle = (first.points[near][touching] + second.points[partner[touching]]) / 2
    return middle.mean(axis=0)


def _near(first: Body, second: Body) -> np.ndarray:
    """Which voxels of the first lie in the box around the second: spares the search the others."""
    lowest, highest = second.points.min(axis=0), second.points.max(axis=0)
    return np.all((first.points >= lowest - MOST_APART_MM)
                  & (first.points <= highest + MOST_APART_MM), axis=1)


def _bifurcation(segmentation: Segmentation, rule: Rule) -> np.ndarray:
    """The last cross-section that is one, before two that stay apart."""
    body = segmentation.body(rule.parts)
    axis, sign = DIRECTIONS[rule.direction]
    lowest = body.indices.min(axis=0)
    mask = np.zeros(body.indices.max(axis=0) - lowest + 1, bool)
    mask[tuple((body.indices - lowest).T)] = True
    steps = range(mask.shape[axis]) if sign > 0 else range(mask.shape[axis] - 1, -1, -1)
    sections = [mask.take(step, axis=axis) for step in steps]
    branches = [_branches(section) for section in sections]
    lasting = max(2, round(BRANCH_MM / segmentation.spacing[axis]))
    for number in range(len(sections) - lasting):
        following = branches[number + 1:number + 1 + lasting]
        if (len(branches[number]) != 1 or min(map(len, following)) < 2
                or not _comes_from(sections[number], following[0])):
            continue
        at = body.indices[body.indices[:, axis] - lowest[axis] == steps[number]]
        if segmentation.touched(at):
            raise Skipped(cut_off(body, segmentation.touched(at)))
        return segmentation.points_of(at).mean(axis=0)
    raise Skipped(f"{body.name} does not branch on the way {rule.direction}")


def _branches(section: np.ndarray) -> list[np.ndarray]:
    """The pieces of a cross-section, small ones left out."""
    pieces, count = ndimage.label(section, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    return [pieces == number + 1 for number in range(count)
            if sizes[number] >= LEAST_BRANCH * sizes.max()]


def _comes_from(section: np.ndarray, branches: Sequence[np.ndarray]) -> bool:
    """Whether at least two branches begin at this section, and not at a gap in a vessel."""
    around = ndimage.binary_dilation(section, np.ones((3, 3)))
    return sum(bool((around & branch).any()) for branch in branches) >= 2


def _slice_centroid(segmentation: Segmentation, rule: Rule) -> np.ndarray:
    body = segmentation.body(rule.parts)
    axis, sign = DIRECTIONS[rule.direction]
    ends = {name for name, (other, _) in DIRECTIONS.items() if other == axis}
    if body.borders & ends:
        raise Skipped(cut_off(body, body.borders & ends))
    along = sign * body.indices[:, axis]
    at = along == round(along.min() + rule.share * (along.max() - along.min()))
    touched = segmentation.touched(body.indices[at]) if at.any() else frozenset()
    if not at.any() or touched:
        raise Skipped(cut_off(body, touched) if touched else f"{body.name} has a gap there")
    return body.points[at].mean(axis=0)


def _mean(rule: Rule, found: Mapping[str, np.ndarray]) -> np.ndarray:
    by_key = {key_of(name): point for name, point in found.items()}
    for part in rule.parts:
        if key_of(part.structure) not in by_key:
            raise Skipped(f"the landmark {part.structure} was skipped")
    return np.mean([by_key[key_of(part.structure)] for part in rule.parts], axis=0)


_KINDS: dict[str, Callable[[Segmentation, Rule], np.ndarray]] = {
    "centroid": _centroid, "extreme": _extreme, "farthest_from": _farthest,
    "closest_between": _contact, "bifurcation": _bifurcation,
    "centroid_of_slice": _slice_centroid,
}
