# SPDX-License-Identifier: Apache-2.0
"""From the current CT into the prior one, bone by bone.

First the shift of the whole is found among all possible ones, then its rotation, then the motion of
every place of the skeleton by itself: a rigid registration of the bone within some centimetres. The
measure is the correlation of densities between soft tissue and cortex, which does not mind another
kernel or calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import physical_bounds

from .bones import bone_mask
from .cubes import on_cubes
from .rigid_patches import BoneMotion, Patch, Rigid

WINDOW_HU = (-150.0, 900.0)  # soft tissue to cortex
SEARCH_MM, WHOLE_MM, PATCH_MM = 6.0, (6.0, 3.0), 2.0  # voxels of the three steps; one of the
# second step is that of the first, so that a scan is made coarse once for both
PATCH_DISTANCE_MM, PATCH_RADIUS_MM = 30.0, 24.0
PATCH_ROOM_MM = 15.0  # how far a bone may have moved by itself
SMALLEST_PATCH_ML = 1.5
LEAST_OVERLAP = 0.15  # share of the smaller scan
LEAST_SIMILARITY = 0.2  # of the whole, at the best shift
GOOD_AGREEMENT = 0.65  # of the whole; below, half turns are tried too
LEAST_AGREEMENT = 0.5  # of a patch; below, the neighbours decide
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
    centres = patch_centres(mask)
    if not len(centres):
        raise BadInput(NO_BONE)
    coarse = {spacing: [on_cubes(image, spacing) for image in (current, prior)]
              for spacing in WHOLE_MM}
    whole = _find_whole(*coarse[WHOLE_MM[0]], mask, centres.mean(0))
    for spacing in WHOLE_MM[1:]:
        whole = _register_whole(*coarse[spacing], mask, whole)[0]
    found = list(_patches(_windowed(fine), _windowed(on_cubes(prior, PATCH_MM)), mask, centres,
                          whole, on_patches))
    sound = [patch for patch in found if _is_sound(patch, whole)]
    if len(sound) < max(1, len(centres) // 5):
        raise BadInput("The bones of the two scans cannot be brought together: they show different "
                       "patients, other parts of the body, or bones that are mostly metal.")
    return BoneMotion(whole, sound)


def find_shift(current: sitk.Image, prior: sitk.Image) -> tuple[np.ndarray, float]:
    """The shift under which dense tissue correlates best, of all with enough overlap.

    All shifts are tried at once by Fourier transforms with masks (Padfield, IEEE TIP 2012).

    Returns:
        Millimetres to add to a point of the current CT to get that of the prior one, and the
        correlation there, -1 to 1.
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
    enough = ((count > LEAST_OVERLAP * min(first.size, second.size))
              & (spread_a > LEAST_OVERLAP * first.var() * first.size)
              & (spread_b > LEAST_OVERLAP * second.var() * second.size))
    if not enough.any():
        return np.zeros(3), -1.0
    covariance = correlate(a, b) - sum_a * sum_b / count
    similarity = np.full(count.shape, -1.0)
    similarity[enough] = covariance[enough] / np.sqrt(spread_a[enough] * spread_b[enough])
    best = np.array(np.unravel_index(similarity.argmax(), similarity.shape))
    steps = np.where(best >= first.shape, best - np.array(shape), best)
    origins = physical_bounds(prior)[:, 0] - physical_bounds(current)[:, 0]
    return steps[::-1] * SEARCH_MM + origins, float(similarity.max())


def patch_centres(mask: sitk.Image) -> np.ndarray:
    """Middles of the bone in the cells of a coarse grid, (n, 3) in mm, LPS."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    if not len(index):
        return np.zeros((0, 3))
    points = index * np.array(mask.GetSpacing()) + mask.GetOrigin()
    cells, cell_of, count = np.unique(np.round(points / PATCH_DISTANCE_MM), axis=0,
                                      return_inverse=True, return_counts=True)
    cell_of = cell_of.ravel()
    middles = np.stack([np.bincount(cell_of, points[:, axis]) / count for axis in range(3)], 1)
    return middles[count * np.prod(mask.GetSpacing()) / 1000 >= SMALLEST_PATCH_ML]


def _find_whole(current: sitk.Image, prior: sitk.Image, mask: sitk.Image,
                centre: np.ndarray) -> Rigid:
    """The motion of the whole on coarse voxels; half turns are tried when the scans do not fit.

    Where a header tells a wrong position of the patient, a scan lies turned by half a turn.
    """
    found = []
    for turned, back in _half_turns(prior):
        shift, similarity = find_shift(current, turned)
        if similarity < LEAST_SIMILARITY:
            continue
        start = Rigid(back.matrix, centre, back((centre + shift)[None])[0] - centre)
        found.append(_register_whole(current, prior, mask, start))
        if found[-1][1] >= GOOD_AGREEMENT:
            break
    if not found:
        raise BadInput("The two scans do not show the same part of the body: choose two CTs of one "
                       "patient that overlap.")
    return max(found, key=lambda whole: whole[1])[0]


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
    return _register(_windowed(current), _windowed(prior), mask, start,
                     step=current.GetSpacing()[0] / 3, most_steps=80)


def _windowed(image: sitk.Image) -> sitk.Image:
    return sitk.Clamp(image, sitk.sitkFloat32, *WINDOW_HU)


def _patches(current: sitk.Image, prior: sitk.Image, mask: sitk.Image, centres: np.ndarray,
             whole: Rigid, on_patches: Callable[[int, int], None]) -> Iterator[Patch]:
    on_patches(0, len(centres))
    for done, centre in enumerate(centres, 1):
        start = whole.around(centre)
        here = _box(current, centre, PATCH_RADIUS_MM)
        there = _box(prior, centre + start.translation, PATCH_RADIUS_MM + PATCH_ROOM_MM)
        if here is not None and there is not None:
            motion, agreement = _register(here, there, _box(mask, centre, PATCH_RADIUS_MM), start,
                                          step=0.6, most_steps=40)
            yield Patch(motion, agreement)
        on_patches(done, len(centres))


def _box(image: sitk.Image, centre: np.ndarray, radius: float) -> sitk.Image | None:
    """The part of an image with cubic voxels around a point; None when little of it is there."""
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    middle = (centre - image.GetOrigin()) / spacing
    first = np.clip(np.floor(middle - radius / spacing), 0, size).astype(int)
    last = np.clip(np.ceil(middle + radius / spacing) + 1, 0, size).astype(int)
    if (last - first < 8).any():
        return None
    return image[tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))]


def _register(current: sitk.Image, prior: sitk.Image, mask: sitk.Image, start: Rigid, step: float,
              most_steps: int) -> tuple[Rigid, float]:
    """Rigid registration within the mask and a voxel around it; motion and correlation.

    Where the images do not overlap the start comes back, with a correlation of -1.
    """
    mask = sitk.Resample(mask, current, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(sitk.BinaryDilate(mask, [1, 1, 1]))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step, 0.01, most_steps, 0.6, 1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = start.transform()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(current, prior)
    except RuntimeError:  # no voxel of the mask lies within the other image
        return start, -1.0
    agreement = -method.GetMetricValue()
    return (Rigid.of(transform), agreement) if np.isfinite(agreement) else (start, -1.0)


def _is_sound(patch: Patch, whole: Rigid) -> bool:
    """Whether a patch found its bone again, near where the whole put it."""
    turn = np.trace(whole.matrix.T @ patch.motion.matrix)
    degrees = np.degrees(np.arccos(np.clip((turn - 1) / 2, -1, 1)))
    apart = np.linalg.norm(patch.motion.translation
                           - whole.around(patch.motion.centre).translation)
    return (patch.agreement >= LEAST_AGREEMENT and degrees <= LARGEST_TURN_DEGREES
            and apart <= PATCH_ROOM_MM)
