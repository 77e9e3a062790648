# SPDX-License-Identifier: Apache-2.0
"""From the current CT into the prior one, bone by bone.

First the shift of the whole is found among all possible ones, then its rotation, then the motion of
every place of the skeleton by itself: a rigid registration of the bone within some centimetres; at
last that of small bones which did not follow those beside them, see :mod:`.loose_bones`. The
measure is the correlation of densities between soft tissue and cortex, which does not mind another
kernel or calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import physical_bounds

from .bones import bone_mask
from .loose_bones import with_loose_bones
from .patch_registration import (
    PATCH_MM,
    box_around,
    middles_of_cells,
    register_rigid,
    turn_between,
    windowed,
)
from .rigid_patches import BoneMotion, Patch, Rigid

SEARCH_MM, WHOLE_MM = 6.0, (6.0, 3.0)  # voxels of the first two steps; one of the second is that
# of the first, so that a scan is made coarse once for both
PATCH_DISTANCE_MM, PATCH_RADIUS_MM = 30.0, 24.0
PATCH_ROOM_MM = 15.0  # how far a bone may have moved by itself
NEIGHBOURS_MM = 50.0  # from a patch, whose motion leads to the next one
ELSEWHERE_MM = 4.0  # from where the whole leads, for another start to be one
SMALLEST_PATCH_ML = 1.5
LEAST_OVERLAP = 0.15  # share of the smaller scan
LEAST_SIMILARITY = 0.2  # of the whole, at a shift
SHIFTS, BESIDE = 4, 7  # starts for each way to lie; width in steps within which one counts
GOOD_AGREEMENT = 0.65  # of the whole; below, more shifts and half turns are tried
LEAST_AGREEMENT = 0.5  # of a patch; below, the neighbours decide
LEAST_BETTER = 0.005  # agreement by which another motion of a patch must win
LARGEST_TURN_DEGREES = 15.0  # of a patch against the whole
NO_BONE = "There is no bone in the current CT: choose a scan of the skeleton."


def find_motion(current: sitk.Image, prior: sitk.Image,
                on_patches: Callable[[int, int], None] = lambda done, total: None,
               mask: sitk.Image | None = None) -> BoneMotion:
    """Where the bones of the current CT lie in the prior one.

    Args:
        current, prior: HU; any grid, LPS.
        on_patches: called with places done and in all, first with none done.
        mask: bone of ``current`` where it is known.

    Raises:
        BadInput: there is no bone, or the scans do not show the same part of the body.
    """
    fine = on_cubes(current, PATCH_MM)
    mask = bone_mask(fine) if mask is None else mask
    centres = middles_of_cells(mask, PATCH_DISTANCE_MM, SMALLEST_PATCH_ML)
    if not len(centres):
        raise BadInput(NO_BONE)
    coarse = {spacing: [on_cubes(image, spacing) for image in (current, prior)]
              for spacing in WHOLE_MM}
    whole = _find_whole(*coarse[WHOLE_MM[0]], mask, centres.mean(0))
    for spacing in WHOLE_MM[1:]:
        whole = _register_whole(*coarse[spacing], mask, whole)[0]
    now, before = windowed(fine), windowed(on_cubes(prior, PATCH_MM))
    sound, missed = [], []
    on_patches(0, len(centres))
    for done, centre in enumerate(centres, 1):
        patch = _patch(now, before, mask, whole.around(centre))
        if patch:
            sound.append(patch)
        else:
            missed.append(centre)
        on_patches(done, len(centres))
    if len(sound) < max(1, len(centres) // 5):
        raise BadInput("The bones of the two scans cannot be brought together: they show different "
                       "patients, other parts of the body, or bones that are mostly metal.")
    sound += _grown(now, before, mask, whole, sound, missed)
    sound = _agreed(now, before, mask, sound)
    return with_loose_bones(BoneMotion(whole, sound), now, before, mask)


def find_shifts(current: sitk.Image, prior: sitk.Image) -> list[tuple[np.ndarray, float]]:
    """The shifts under which dense tissue correlates best, for as much of it as possible.

    All shifts are tried at once by Fourier transforms with masks (Padfield, IEEE TIP 2012).

    Returns:
        Of at most ``SHIFTS`` shifts, the best first and none beside a better one: millimetres to
        add to a point of the current CT to get that of the prior one, and the correlation there,
        -1 to 1. Empty where so little of the scans can overlap that nothing can be said.
    """
    first, second = (sitk.GetArrayFromImage(on_cubes(image, SEARCH_MM)).clip(150, 700).astype(float)
                     for image in (current, prior))
    shape = tuple(n + m for n, m in zip(first.shape, second.shape, strict=True))
    axes = (0, 1, 2)

    def spectrum(array: np.ndarray) -> np.ndarray:
        return np.fft.rfftn(array, shape, axes)

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.fft.irfftn(np.conj(a) * b, shape, axes)

    here, there = spectrum(np.ones_like(first)), spectrum(np.ones_like(second))
    a, b = spectrum(first - first.mean()), spectrum(second - second.mean())
    a2, b2 = spectrum((first - first.mean()) ** 2), spectrum((second - second.mean()) ** 2)
    count = np.maximum(correlate(here, there), 1e-6)
    sum_a, sum_b = correlate(a, there), correlate(here, b)
    spread_a = correlate(a2, there) - sum_a**2 / count
    spread_b = correlate(here, b2) - sum_b**2 / count
    # a corner without bone correlates by chance: a good part of both skeletons must overlap
    shared_a, shared_b = spread_a / (first.var() * first.size), spread_b / (
        second.var() * second.size)
    enough = ((count > LEAST_OVERLAP * min(first.size, second.size))
              & (np.minimum(shared_a, shared_b) > LEAST_OVERLAP))
    if not enough.any():
        return []
    covariance = correlate(a, b) - sum_a * sum_b / count
    similarity = np.full(count.shape, -1.0)
    similarity[enough] = covariance[enough] / np.sqrt(spread_a[enough] * spread_b[enough])
    # one leg lies well on the other, but of two correlations that of more bone says more
    told = similarity * np.sqrt(np.maximum(shared_a, shared_b).clip(0, 1))
    # the grid of shifts is a ring: what lies beyond its end is at its beginning
    peaks = np.argwhere(enough & (told == ndimage.maximum_filter(told, BESIDE, mode="wrap")))
    best = peaks[np.argsort(-told[tuple(peaks.T)])][:SHIFTS]
    steps = np.where(best >= first.shape, best - np.array(shape), best)
    origins = physical_bounds(prior)[:, 0] - physical_bounds(current)[:, 0]
    return [(step[::-1] * SEARCH_MM + origins, float(similarity[tuple(place)]))
            for step, place in zip(steps, best, strict=True)]


def _find_whole(current: sitk.Image, prior: sitk.Image, mask: sitk.Image,
                centre: np.ndarray) -> Rigid:
    """The motion of the whole on coarse voxels, from the first start that fits well, or the best.

    A patient who also turned lies well on himself under no shift alone, and one leg then lies
    better on the other. The end of a leg also fits that of the other one turned round. So several
    starts are tried, and a fit of much bone says more.
    """
    best, fits = None, -np.inf
    for start in _starts(current, prior, centre):
        motion, agreement = _register_whole(current, prior, mask, start)
        fit = agreement * np.sqrt(_share_reached(mask, prior, motion))
        if best is None or fit > fits:
            best, fits = motion, fit
        if fits >= GOOD_AGREEMENT:
            break
    if best is None:
        raise BadInput("The two scans do not show the same part of the body: choose two CTs of one "
                       "patient that overlap.")
    return best


def _starts(current: sitk.Image, prior: sitk.Image, centre: np.ndarray) -> Iterator[Rigid]:
    """Shifts of the scan as it lies, then of the scan turned by half a turn.

    Where a header tells a wrong position of the patient, a scan lies so.
    """
    for turned, back in _half_turns(prior):
        for shift, similarity in find_shifts(current, turned):
            if similarity >= LEAST_SIMILARITY:
                yield Rigid(back.matrix, centre, back((centre + shift)[None])[0] - centre)


def _share_reached(mask: sitk.Image, prior: sitk.Image, motion: Rigid) -> float:
    """Share of the bone of the current CT that lies within the prior one, 0 to 1."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    moved = motion(index * np.array(mask.GetSpacing()) + mask.GetOrigin())
    bounds = physical_bounds(prior)
    return float(((moved > bounds[:, 0]) & (moved < bounds[:, 1])).all(1).mean())


def _half_turns(image: sitk.Image) -> Iterator[tuple[sitk.Image, Rigid]]:
    """The image as it is and turned about each axis through its middle, each with the way back."""
    middle = physical_bounds(image).mean(1)
    yield image, Rigid(np.eye(3), middle, np.zeros(3))
    for axis in (2, 1, 0):  # face down, and feet first, are mistaken most
        turned = sitk.Flip(image, [other != axis for other in range(3)])
        turned.SetOrigin(image.GetOrigin())
        turned.SetDirection(image.GetDirection())
        turn = -np.eye(3)
        turn[axis, axis] = 1.0
        yield turned, Rigid(turn, middle, np.zeros(3))


def _register_whole(current: sitk.Image, prior: sitk.Image, mask: sitk.Image,
                    start: Rigid) -> tuple[Rigid, float]:
    return register_rigid(windowed(current), windowed(prior), mask, start,
                          step=current.GetSpacing()[0] / 3, most_steps=80)


def _grown(current: sitk.Image, prior: sitk.Image, mask: sitk.Image, whole: Rigid,
           sound: Sequence[Patch], missed: Sequence[np.ndarray]) -> list[Patch]:
    """Patches that are found from the motion of a neighbour, and from there on.

    A leg or an arm may lie so differently that the motion of the whole does not lead to it. Where
    the neighbour moved like the whole it knows nothing better: what is missed there is small.
    """
    grown, frontier, missed = [], list(sound), list(missed)
    while frontier and missed:
        tree = cKDTree([patch.motion.centre for patch in frontier])
        distance, nearest = tree.query(missed)
        starts = [frontier[number].motion.around(centre)
                  for centre, number in zip(missed, nearest, strict=True)]
        reached = [(start.centre, _patch(current, prior, mask, start))
                   for start, far in zip(starts, distance, strict=True)
                   if far <= NEIGHBOURS_MM and np.linalg.norm(
                       start.translation - whole.around(start.centre).translation) > ELSEWHERE_MM]
        frontier = [patch for _, patch in reached if patch]
        grown += frontier
        done = {tuple(centre) for centre, patch in reached if patch}
        missed = [centre for centre in missed if tuple(centre) not in done]
    return grown


def _agreed(current: sitk.Image, prior: sitk.Image, mask: sitk.Image,
            patches: Sequence[Patch]) -> list[Patch]:
    """Patches, found again from where a neighbour leads where that agrees better.

    The shaft of a long bone looks much alike all along it, so a patch may have slid; its ends did
    not. What is mended leads its neighbours in turn.
    """
    agreed = list(patches)
    leading = set(range(len(agreed)))  # those that have not led their neighbours yet
    tree = cKDTree([patch.motion.centre for patch in agreed]) if agreed else None
    while leading:
        mended = set()
        for number, patch in enumerate(agreed):
            centre = patch.motion.centre
            for other in leading.intersection(tree.query_ball_point(centre, NEIGHBOURS_MM)):
                start = agreed[other].motion.around(centre)
                way = np.linalg.norm(start.translation - agreed[number].motion.translation)
                if way <= ELSEWHERE_MM:
                    continue
                found = _patch(current, prior, mask, start)
                if found and found.agreement > agreed[number].agreement + LEAST_BETTER:
                    agreed[number] = found
                    mended.add(number)
        leading = mended
    return agreed


def _patch(current: sitk.Image, prior: sitk.Image, mask: sitk.Image, start: Rigid) -> Patch | None:
    """The motion of the bone around a start's centre; None where it is not found near there."""
    there = start.centre + start.translation
    here = box_around(current, start.centre, PATCH_RADIUS_MM)
    around = box_around(prior, there, PATCH_RADIUS_MM + PATCH_ROOM_MM)
    if here is None or around is None:
        return None
    bone = box_around(mask, start.centre, PATCH_RADIUS_MM)
    motion, agreement = register_rigid(here, around, bone, start, step=0.6, most_steps=40)
    found = (agreement >= LEAST_AGREEMENT
             and turn_between(start, motion) <= LARGEST_TURN_DEGREES
             and np.linalg.norm(motion.translation - start.translation) <= PATCH_ROOM_MM)
    return Patch(motion, agreement) if found else None
