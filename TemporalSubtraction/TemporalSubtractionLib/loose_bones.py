# SPDX-License-Identifier: Apache-2.0
"""Small bones that did not follow the larger ones beside them, each aligned by itself.

A patch of some centimetres follows the bone that fills it. A rib beside a vertebra, or a spinous
process beside another, may be left millimetres out of place. Bone that does not lie on its like is
therefore looked for alone: first under every shift within a centimetre, by normalised correlation
within a mask (Padfield, IEEE TIP 2012), then by a rigid registration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, signal

from ReadingRoomLib.geometry import image_like

from .patch_registration import (
    PATCH_MM,
    WINDOW_HU,
    box_around,
    middles_of_cells,
    register_rigid,
    turn_between,
)
from .quality import GOOD, agreement
from .rigid_patches import BoneMotion, Patch, Rigid

DISTANCE_MM, RADIUS_MM = 14.0, 14.0
SMALLEST_ML = 0.15
ROOM = 5  # voxels that a bone is looked for in each direction: 10 mm
LEAST_AGREEMENT, LEAST_GAIN = 0.65, 0.2  # of a place that is believed; gain over staying
LARGEST_TURN_DEGREES = 8.0


def with_loose_bones(motion: BoneMotion, current: sitk.Image, prior: sitk.Image,
                     mask: sitk.Image) -> BoneMotion:
    """The motion, corrected where it leaves bone out of place.

    Args:
        motion: from ``current`` to ``prior``.
        current, prior: HU within the window, on cubic voxels of 2 mm along L, P and S.
        mask: bone of ``current``.
    """
    out, settled = _out_of_place(motion, current, prior, mask)
    centres = middles_of_cells(out, DISTANCE_MM, SMALLEST_ML)
    starts = [Rigid(motion.whole.matrix, centre, moved - centre)
              for centre, moved in zip(centres, motion(centres), strict=True)]
    found = [_found_again(current, prior, out, start) for start in starts]
    return replace(motion, loose=[patch for patch in found if patch is not None],
                   settled=middles_of_cells(settled, DISTANCE_MM))


def _out_of_place(motion: BoneMotion, current: sitk.Image, prior: sitk.Image,
                  mask: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
    """Bone that does not lie on its like, and bone that does."""
    correlation, shown = agreement(current, prior, motion.transform(current), mask)
    bone, out = sitk.GetArrayFromImage(mask) > 0, shown & (correlation < GOOD)
    return tuple(image_like(part.astype(np.uint8), current) for part in (out, bone & ~out))


def _found_again(current: sitk.Image, prior: sitk.Image, out: sitk.Image,
                 start: Rigid) -> Patch | None:
    """The motion of what is out of place around a start's centre; None where it is not found."""
    centre = start.centre
    here, bone = box_around(current, centre, RADIUS_MM), box_around(out, centre, RADIUS_MM)
    room = RADIUS_MM + 2 * (ROOM + 1) * PATCH_MM
    there = box_around(prior, centre + start.translation, room)
    if here is None or there is None:
        return None
    shift, staying = _best_shift(here, there, bone, start)
    shifted = replace(start, translation=start.translation + start.matrix @ shift)
    found, agreement = register_rigid(here, there, bone, shifted, step=0.4, most_steps=40)
    believed = (agreement >= LEAST_AGREEMENT and agreement - staying >= LEAST_GAIN
                and turn_between(start, found) <= LARGEST_TURN_DEGREES
                and np.linalg.norm(found.translation - start.translation) <= ROOM * PATCH_MM)
    return Patch(found, agreement) if believed else None


def _best_shift(here: sitk.Image, there: sitk.Image, bone: sitk.Image,
                start: Rigid) -> tuple[np.ndarray, float]:
    """Shift in mm, LPS, under which bone correlates best, and the correlation without any."""
    origin = np.array(here.GetOrigin()) - ROOM * PATCH_MM
    wide = sitk.GetArrayFromImage(sitk.Resample(
        there, [n + 2 * ROOM for n in here.GetSize()], start.transform(), sitk.sitkLinear,
        origin.tolist(), here.GetSpacing(), here.GetDirection(), WINDOW_HU[0], sitk.sitkFloat32))
    weight = ndimage.binary_dilation(sitk.GetArrayFromImage(bone) > 0).astype(np.float64)
    pattern = sitk.GetArrayFromImage(here)
    pattern = weight * (pattern - (pattern * weight).sum() / weight.sum())

    def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return signal.fftconvolve(image, kernel[::-1, ::-1, ::-1], "valid")

    wide = wide - wide.mean()  # or rounding would show in the variance
    spread = correlate(wide**2, weight) - correlate(wide, weight) ** 2 / weight.sum()
    similarity = correlate(wide, pattern) / np.sqrt(
        np.maximum(spread, weight.sum()) * max((pattern**2).sum(), 1e-6))
    steps = np.indices(similarity.shape) - ROOM
    similarity[(steps**2).sum(0) > ROOM**2] = -1
    best = np.array(np.unravel_index(similarity.argmax(), similarity.shape)) - ROOM
    return best[::-1] * PATCH_MM, float(similarity[ROOM, ROOM, ROOM])
