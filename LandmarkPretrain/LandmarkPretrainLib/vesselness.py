# SPDX-License-Identifier: Apache-2.0
"""Vessels of a bright-blood angiogram: a Hessian filter at several scales, and hysteresis.

What is bright against its surroundings and round in cross-section, as its second derivatives tell
(Frangi et al., *Multiscale vessel enhancement filtering*, MICCAI 1998), is a vessel or what is
attached to one. Frangi's factor that lowers blobs against tubes is left out, because aneurysms are
blobs; what is left lowers sheets and what is faint. (Antiga's generalisation, Insight J 2007, has
either that factor, for objects of dimension 1, or lowers tubes, too, for dimension 0.) Derivatives
are computed only where something is bright, a few per cent of a volume, so that it is quick.

All thresholds come from the image: from the signal of tissue around, its spread, and the signal of
what is most like a vessel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, resample_like

CUBE_MM = 0.8  # finest voxels that are worked on
SCALES_MM = (0.7, 1.1, 1.7, 2.6)  # standard deviations, for vessels 1 to 8 mm wide
AROUND_MM = 9.0  # of the tissue that something is bright against
DARKEST_TISSUE = 0.6  # of Otsu's threshold, which parts dark tissue from bright
BRIGHT = 3.0  # times the noise, from which derivatives are looked at
SHEET = 0.5  # Frangi's alpha
STRUCTURE = 0.1  # of a vessel's signal: Frangi's c
ROUND, CLEARLY_ROUND = 0.25, 0.6  # of the measure, 0 to 1
FAINT, CLEAR = 0.2, 0.5  # of a vessel's signal: if thin and round; whatever its shape
THIN_MM = 4.0  # only what is thinner may be faint: fat is as faint, but thicker
NOISE = 3.5  # times the noise, which what is faint exceeds too
SAMPLE_MM3 = 500.0  # of what is most like a vessel, which tells the signal of vessels
SCALP_MM = 10.0  # below the skin no vessel counts: fat and arteries of the scalp
LEAST_MM3, LEAST_PART_MM3 = 300.0, 40.0  # of all vessels; of a connected part
NONE_FOUND = ("No vessels can be found in the image: choose an MR angiogram in which blood is "
              "bright, or give a file with the region to search.")


@dataclass(frozen=True)
class Vessels:
    """The vessels of an angiogram on the cubes that they were found on.

    Attributes:
        mask: uint8, cubic voxels along L, P and S.
        likeness: float32 on the same voxels, 0 to 1: how round a bright thing is; 0 elsewhere.
        tissue, blood: signal, of what surrounds vessels and of vessels.
    """

    mask: sitk.Image
    likeness: sitk.Image
    tissue: float
    blood: float


def vessel_mask(image: sitk.Image) -> sitk.Image:
    """Vessels with what is attached to them: uint8 on the image's grid, as of find_vessels."""
    return resample_like(find_vessels(image).mask, image)


def find_vessels(image: sitk.Image) -> Vessels:
    """Find vessels with what is attached to them.

    Args:
        image: bright-blood angiogram of a head, any grid and unit.

    Raises:
        BadInput: there are no vessels in it.
    """
    step = max(CUBE_MM, min(image.GetSpacing()))
    cubes = on_cubes(sitk.Cast(image, sitk.sitkFloat32), step)
    values = np.maximum(sitk.GetArrayFromImage(cubes), 0)  # below 0: beyond the image
    head, depth = _head(values, step)
    if not head.any():
        raise BadInput(NONE_FOUND)
    tissue = float(np.median(values[head]))
    above = values - _around(values, head, tissue, step)
    noise = _noise(values, head)
    inside = depth > SCALP_MM
    there = np.flatnonzero((above > BRIGHT * noise) & inside)
    if noise <= 0 or len(there) * step**3 < LEAST_MM3:
        raise BadInput(NONE_FOUND)
    likeness, blood = _likeness(values, above, there, step)
    mask = _grown(above, likeness, inside, blood, noise, step)
    mask = _large(mask, LEAST_PART_MM3 / step**3)
    if mask.sum() * step**3 < LEAST_MM3:
        raise BadInput(NONE_FOUND)
    return Vessels(image_like(mask.astype(np.uint8), cubes), image_like(likeness, cubes),
                   tissue, tissue + blood)


def _head(values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Where tissue is, and how deep below the skin, mm; as far as one can see in the image."""
    factor = max(1, round(2.4 / step))
    coarse = sitk.BinShrink(sitk.GetImageFromArray(values), [factor] * 3)
    low = sitk.GetArrayFromImage(coarse)
    if low.max() <= low.min():
        return np.zeros(values.shape, bool), np.zeros(values.shape, np.float32)
    # vessels are so bright that Otsu's threshold would part them from all else
    bounded = np.minimum(low, np.percentile(low, 98))
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(bounded))
    solid = bounded > DARKEST_TISSUE * otsu.GetThreshold()
    parts, count = ndimage.label(solid)
    if not count:
        return np.zeros(values.shape, bool), np.zeros(values.shape, np.float32)
    body = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    filled = _between(body, 1) & _between(body, 2)
    depth = (ndimage.distance_transform_edt(filled) if not filled.all()
             else np.full(filled.shape, 1e3)) * factor * step
    return (_finer(body.astype(np.float32), values.shape, factor) > 0.5,
            _finer(depth.astype(np.float32), values.shape, factor))


def _noise(values: np.ndarray, head: np.ndarray) -> float:
    """Standard deviation of the noise, from neighbours; robust against edges.

    In whole numbers of a smooth image most neighbours are equal, so it is at least 1 % of tissue.
    """
    apart = np.abs(np.diff(values[::2], axis=2))[head[::2, :, 1:]]
    return max(1.4826 * float(np.median(apart)) / np.sqrt(2), 0.01 * float(np.median(values[head])))


def _between(body: np.ndarray, axis: int) -> np.ndarray:
    """What has body on both sides along an axis, and the body: bone is as dark as air."""
    before = np.maximum.accumulate(body, axis)
    after = np.flip(np.maximum.accumulate(np.flip(body, axis), axis), axis)
    return before & after


def _finer(coarse: np.ndarray, shape: tuple[int, ...], factor: int) -> np.ndarray:
    """Values of larger voxels on the smaller ones that they were made of."""
    for axis, count in enumerate(shape):
        index = np.minimum(np.arange(count) // factor, coarse.shape[axis] - 1)
        coarse = np.take(coarse, index, axis)
    return coarse


def _around(values: np.ndarray, head: np.ndarray, tissue: float, step: float) -> np.ndarray:
    """Signal of the tissue around each voxel: a wide mean without air; vessels hardly weigh."""
    factor = 3
    plain = head & (values > 0.4 * tissue)
    pair = [sitk.GetArrayFromImage(sitk.BinShrink(sitk.GetImageFromArray(
        np.where(plain, array, 0).astype(np.float32)), [factor] * 3))
        for array in (np.minimum(values, 1.8 * tissue), np.ones_like(values))]
    sigma = AROUND_MM / (factor * step)
    total, weight = (ndimage.gaussian_filter(array, sigma, truncate=2.5) for array in pair)
    mean = (total + 0.02 * tissue) / (weight + 0.02)
    return _finer(mean, values.shape, factor)


def _likeness(values: np.ndarray, above: np.ndarray, there: np.ndarray, step: float
              ) -> tuple[np.ndarray, float]:
    """How round bright voxels are, 0 to 1, and the signal of vessels above tissue."""
    image = sitk.GetImageFromArray(values)
    roundness = np.zeros(len(there), np.float32)
    strength = np.zeros(len(there), np.float32)
    for scale in SCALES_MM:
        smooth = sitk.GetArrayFromImage(
            sitk.SmoothingRecursiveGaussian(image, max(scale / step, 0.5)))
        curved = np.sort(np.linalg.eigvalsh(hessians_at(smooth, there)), -1) * (scale / step) ** 2
        first, second = -curved[:, 0], -curved[:, 1]  # the strongest two, above 0 where bright
        share = np.clip(second, 0, None) / np.maximum(first, 1e-6)
        here = 1 - np.exp(-np.square(share) / (2 * SHEET**2))
        size = np.hypot(first, np.clip(second, 0, None)) * (second > 0)
        better = here * size > roundness * strength
        roundness[better], strength[better] = here[better], size[better]
    product = roundness * strength
    sample = max(SAMPLE_MM3 / step**3, 1) / len(product)
    like = product >= np.quantile(product, 1 - min(sample, 0.2))
    blood = float(np.median(above.ravel()[there[like]]))
    likeness = np.zeros(values.size, np.float32)
    likeness[there] = roundness * (1 - np.exp(-np.square(strength / (STRUCTURE * blood)) / 2))
    return likeness.reshape(values.shape), blood


def hessians_at(smooth: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Second differences (n, 3, 3) of an array at voxels with these flat numbers (n,).

    The edge of the volume is repeated.
    """
    index = np.array(np.unravel_index(there, smooth.shape))
    last = np.array(smooth.shape)[:, None] - 1

    def at(*moves: tuple[int, int]) -> np.ndarray:
        place = index.copy()
        for axis, by in moves:
            place[axis] += by
        return smooth[tuple(np.clip(place, 0, last))]

    hessians = np.empty((len(there), 3, 3), np.float32)
    middle = at()
    for a in range(3):
        hessians[:, a, a] = at((a, 1)) + at((a, -1)) - 2 * middle
        for b in range(a):
            mixed = (at((a, 1), (b, 1)) + at((a, -1), (b, -1))
                     - at((a, 1), (b, -1)) - at((a, -1), (b, 1))) / 4
            hessians[:, a, b] = hessians[:, b, a] = mixed
    return hessians


def _grown(above: np.ndarray, likeness: np.ndarray, inside: np.ndarray, blood: float,
           noise: float, step: float) -> np.ndarray:
    """Hysteresis: what may be vessel and hangs together with what certainly is, with its border."""
    faint = max(FAINT * blood, NOISE * noise)
    fine = above - _opened(above, max(1, round(THIN_MM / step / 2)))
    maybe = inside & (((fine > faint) & (likeness > ROUND)) | (above > CLEAR * blood))
    sure = maybe & (above > CLEAR * blood) & (likeness > CLEARLY_ROUND)
    parts, count = ndimage.label(maybe, np.ones((3, 3, 3)))
    kept = np.zeros(count + 1, bool)
    kept[np.unique(parts[sure])] = True
    kept[0] = False
    core = kept[parts]
    # a wall is where signal has fallen to half
    peak = sitk.GetArrayFromImage(sitk.GrayscaleDilate(
        sitk.GetImageFromArray(np.where(core, above, 0)), [2] * 3, sitk.sitkBox))
    grown = core | ((above > 0.5 * peak) & (peak > 0) & (above > faint / 2))
    # the middle of a large aneurysm, where blood stays, is dark
    return ndimage.binary_fill_holes(ndimage.binary_closing(grown) | grown)


def _opened(values: np.ndarray, radius: int) -> np.ndarray:
    """Signal without what is thinner than a box of ``2 * radius + 1`` voxels."""
    return sitk.GetArrayFromImage(sitk.GrayscaleMorphologicalOpening(
        sitk.GetImageFromArray(values), [radius] * 3, sitk.sitkBox))


def _large(mask: np.ndarray, least: float) -> np.ndarray:
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    large = np.bincount(parts.ravel()) >= least
    large[0] = False
    return large[parts]
