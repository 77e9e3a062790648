# SPDX-License-Identifier: Apache-2.0
"""Places of a region that may be a lesion, and normal places of it to tell them from.

In vessels these are round places: a tube curves across its length only, an aneurysm in all
directions, and so do bends and branchings, less. The filter is that for dots of Li, Sone & Doi
(*Selective enhancement filters for nodules, vessels, and airway walls in two- and three-dimensional
CT scans*, Med Phys 2003); Arimura et al. (Acad Radiol 2004) found aneurysms in MRA with such a one.
Elsewhere they are blobs, bright or dark, of several sizes: maxima of the normalised Laplacian of
Gaussians in space and scale (Lindeberg, *Feature detection with automatic scale selection*, IJCV
1998). The step must miss nothing; what follows sorts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput

from .vesselness import CUBE_MM, hessians_at

MOST = 60  # candidates of a volume
VESSEL_SCALES_MM = (0.6, 0.8, 1.2, 1.7, 2.4, 3.4)  # standard deviations: balls 2 to 12 mm wide
BLOB_SCALES_MM = (1.5, 2.2, 3.2, 4.6, 6.6)  # 5 to 23 mm
BLOB_CUBE_MM = 1.25
RADIUS = np.sqrt(3.0)  # of the ball that a scale answers most to, against the scale
APART_MM = 2.0  # two candidates in vessels
TOLERANCE_MM = 2.0
UNKNOWN_RADIUS_MM = 4.0  # of a lesion whose size nobody said
AWAY_MM = 8.0  # normal places from the border of a lesion
NEAR_MM = 2.0  # places near a bend or a branching from it
CONFUSABLE_SHARE = 0.5


class LesionLike(Protocol):
    """A place and a size."""

    @property
    def centre(self) -> tuple[float, float, float]:
        """LPS mm."""

    @property
    def diameter_mm(self) -> float | None:
        """None where nobody said."""


@dataclass(frozen=True)
class Candidates:
    """Places that may be a lesion, the likeliest first.

    Attributes:
        points: (n, 3) LPS mm.
        scores: (n,), to be compared within one volume only.
        radii_mm: (n,), about.
    """

    points: np.ndarray
    scores: np.ndarray
    radii_mm: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def find_candidates(image: sitk.Image, region: sitk.Image, kind: str = "vessels",
                    most: int = MOST) -> Candidates:
    """Find candidates in a region.

    Args:
        image: any grid.
        region: uint8 on the same grid, not 0 inside.
        kind: "vessels" for round places of bright vessels; anything else for blobs.
        most: how many at most.

    Raises:
        BadInput: the region is empty.
    """
    return (_round_places(image, region, most) if kind == "vessels"
            else _blobs(image, region, most))


def match(points: np.ndarray, lesions: Sequence[LesionLike],
          mask: sitk.Image | None = None) -> np.ndarray:
    """Which lesion each candidate lies on.

    A candidate is on a lesion when it is no farther from its centre than its radius (the largest
    one in the ADAM challenge: Timmins et al., NeuroImage 2021), or than 2 mm: the smallest lesions
    are as wide as two voxels, and a place is known to about one.

    Args:
        points: (n, 3) LPS mm.
        lesions: of the case.
        mask: of the same lesions, where there is one: then a candidate counts within it or at most
            2 mm from it, whatever the shape. Its parts belong to the lesions that they are
            nearest to.

    Returns:
        (n,) number of the lesion, the nearest where there are several; -1 where there is none.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    if not len(points) or not lesions:
        return np.full(len(points), -1)
    centres = np.array([lesion.centre for lesion in lesions], float)
    if mask is None:
        apart = np.linalg.norm(points[:, None] - centres, axis=-1)
        reach = np.maximum(_radii(lesions), TOLERANCE_MM)
    else:
        apart, reach = _apart_from_parts(points, centres, mask), np.full(len(lesions), TOLERANCE_MM)
    apart = np.where(apart <= reach + 1e-6, apart, np.inf)
    return np.where(np.isfinite(apart.min(1)), apart.argmin(1), -1)


def normal_points(region: sitk.Image, lesions: Sequence[LesionLike], count: int, seed: int,
                  confusable: np.ndarray | None = None) -> np.ndarray:
    """Random places of a region away from lesions, half of them where it is most like one.

    Published: patches of aneurysms against patches of normal vessels.

    Args:
        region: uint8, not 0 inside.
        lesions: places at least 8 mm from their borders are drawn.
        count: how many.
        seed: the same seed gives the same places.
        confusable: (n, 3) LPS mm, what is most like a lesion, such as the candidates; left out:
            bends and branchings of the region, as of vessels.

    Returns:
        (m, 3) LPS mm, inside the region; fewer than ``count`` only where there are not so many
        voxels away from lesions.

    Raises:
        BadInput: the region is empty.
    """
    random = np.random.default_rng([seed, 4021])
    if confusable is None:
        confusable = _round_places(None, region, MOST).points
    places = _places(region, np.argwhere(_inside(region))[:, ::-1])
    if len(lesions):
        centres = np.array([lesion.centre for lesion in lesions], float)
        apart = np.full(len(places), np.inf)
        for centre, radius in zip(centres, _radii(lesions), strict=True):
            apart = np.minimum(apart, np.linalg.norm(places - centre, axis=1) - radius)
        places = places[apart >= AWAY_MM]
    if not len(places):
        return np.empty((0, 3))
    near = np.zeros(len(places), bool)
    if len(confusable):
        reach = max(NEAR_MM, *region.GetSpacing())
        near = cKDTree(confusable).query(places, distance_upper_bound=reach)[0] < np.inf
    wanted = int(round(count * CONFUSABLE_SHARE))
    close = random.permutation(np.flatnonzero(near))[:wanted]
    rest = np.setdiff1d(np.arange(len(places)), close)
    chosen = np.concatenate([close, random.permutation(rest)[:count - len(close)]])
    return places[random.permutation(chosen)]


def _radii(lesions: Sequence[LesionLike]) -> np.ndarray:
    return np.array([lesion.diameter_mm / 2 if lesion.diameter_mm else UNKNOWN_RADIUS_MM
                     for lesion in lesions])


def _apart_from_parts(points: np.ndarray, centres: np.ndarray, mask: sitk.Image) -> np.ndarray:
    """Distance of points from the voxels of each lesion, (points, lesions), mm."""
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(
        sitk.Cast(mask != 0, sitk.sitkUInt8), True))
    index = np.argwhere(parts > 0)
    places, numbers = _places(mask, index[:, ::-1]), parts[tuple(index.T)]
    apart = np.full((len(points), len(centres)), np.inf)
    for number in np.unique(numbers):
        part = places[numbers == number]
        owner = int(cKDTree(part).query(centres)[0].argmin())
        apart[:, owner] = np.minimum(apart[:, owner], cKDTree(part).query(points)[0])
    return apart


def _inside(region: sitk.Image) -> np.ndarray:
    array = sitk.GetArrayFromImage(region) != 0
    if not array.any():
        raise BadInput("The region to search is empty: choose another region, or a file in which "
                       "it is drawn.")
    return array


def _places(image: sitk.Image, index: np.ndarray) -> np.ndarray:
    """Voxels (n, 3), x, y, z, in LPS mm."""
    turn = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return index @ turn.T + image.GetOrigin()


def _on_cubes(image: sitk.Image | None, region: sitk.Image, least: float
              ) -> tuple[np.ndarray | None, np.ndarray, sitk.Image]:
    """Values and region on cubic voxels, and the image of the latter."""
    step = max(least, min(region.GetSpacing()))
    share = on_cubes(sitk.Cast(region != 0, sitk.sitkFloat32), step)
    inside = sitk.GetArrayFromImage(share) > 0.5
    if not inside.any():  # thinner than a cube
        inside = sitk.GetArrayFromImage(share) > 0.05
    if not inside.any():  # and much smaller
        inside = sitk.GetArrayFromImage(share) > 0
    if image is None:
        return None, inside, share
    values = sitk.GetArrayFromImage(on_cubes(sitk.Cast(image, sitk.sitkFloat32), step))
    return values, inside, share


def _round_places(image: sitk.Image | None, region: sitk.Image, most: int) -> Candidates:
    """Places of vessels that curve in all directions; without the image, of the region's shape."""
    _inside(region)
    values, vessel, grid = _on_cubes(image, region, CUBE_MM)
    step = grid.GetSpacing()[0]
    lumen = vessel.astype(np.float32) if values is None else _lumen(values, vessel)
    box = _box(vessel, round(3 * VESSEL_SCALES_MM[-1] / step))
    lumen, vessel = lumen[box], vessel[box]
    there = np.flatnonzero(vessel)
    found = []
    for scale in VESSEL_SCALES_MM:
        curved = -np.linalg.eigvalsh(hessians_at(_smoothed(lumen, scale / step), there))
        curved *= (scale / step) ** 2  # the largest first
        score = np.zeros(lumen.size, np.float32)
        # Li's response to dots: the smallest curvature squared by the largest
        score[there] = curved[:, 2].clip(0) ** 2 / np.maximum(curved[:, 0], 1e-6)
        found.append(_maxima(score.reshape(lumen.shape), scale))
    return _chosen(np.concatenate(found), box, grid, most, lambda scale: APART_MM)


def _lumen(values: np.ndarray, vessel: np.ndarray) -> np.ndarray:
    """Share of blood in every voxel: its signal between that of tissue around and of vessels."""
    around = ndimage.binary_dilation(vessel, iterations=4) & ~ndimage.binary_dilation(
        vessel, iterations=2)
    tissue = float(np.median(values[around])) if around.any() else 0.0
    blood = float(np.quantile(values[vessel], 0.8))
    share = ((values - tissue) / max(blood - tissue, 1e-6)).clip(0, 1)
    share[~ndimage.binary_dilation(vessel)] = 0
    # the dark middle of a large aneurysm is blood, too
    return np.maximum(share, 0.8 * ndimage.binary_erosion(vessel)).astype(np.float32)


def _blobs(image: sitk.Image, region: sitk.Image, most: int) -> Candidates:
    """Bright and dark blobs whose middle lies in the region."""
    _inside(region)
    values, inside, grid = _on_cubes(image, region, BLOB_CUBE_MM)
    step = grid.GetSpacing()[0]
    box = _box(inside, round(3 * BLOB_SCALES_MM[-1] / step))
    values, inside = values[box], inside[box]
    # beyond the region its middle value, or its border would be the strongest blob
    near = ndimage.binary_dilation(inside, iterations=2)
    values = np.where(near, values, np.median(values[inside])).astype(np.float32)
    low, high = np.quantile(values[inside], (0.001, 0.999))
    values = values.clip(low, high)
    found = []
    for scale in BLOB_SCALES_MM:
        answer = np.abs(sitk.GetArrayFromImage(sitk.LaplacianRecursiveGaussian(
            sitk.GetImageFromArray(values), scale / step))) * (scale / step) ** 2
        found.append(_maxima(np.where(inside, answer, 0), scale))
    return _chosen(np.concatenate(found), box, grid, most, lambda scale: RADIUS * scale)


def _box(inside: np.ndarray, room: int) -> tuple[slice, ...]:
    """The part of the volume around what is inside."""
    return tuple(slice(max(0, side.start - room), side.stop + room)
                 for side in ndimage.find_objects(inside.astype(np.uint8))[0])


def _smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(
        sitk.GetImageFromArray(values), sigma))


def _maxima(score: np.ndarray, scale: float) -> np.ndarray:
    """Voxels above their neighbours: (n, 5): z, y, x, score, scale."""
    peaks = np.argwhere((score > 0) & (score == ndimage.maximum_filter(score, 3)))
    return np.column_stack([peaks, score[tuple(peaks.T)], np.full(len(peaks), scale)])


def _chosen(found: np.ndarray, box: tuple[slice, ...], grid: sitk.Image, most: int,
            apart_mm) -> Candidates:
    """The best, none near a better one."""
    start = np.array([side.start for side in box])
    found = found[np.argsort(-found[:, 3], kind="stable")]
    points = _places(grid, (found[:, :3] + start)[:, ::-1])
    kept: list[int] = []
    for number, point in enumerate(points):
        if len(kept) == most:
            break
        if all(np.linalg.norm(points[other] - point) > apart_mm(found[other, 4])
               for other in kept):
            kept.append(number)
    return Candidates(points[kept], found[kept, 3], RADIUS * found[kept, 4])
