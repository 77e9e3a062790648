# SPDX-License-Identifier: Apache-2.0
"""The inside of an average skull, from which head CTs are simulated.

It is the brain CT atlas that TotalSegmentator carries (Apache-2.0): the mean CT of many brains
without skull, 1 mm. Ventricles, cisterns, falx and the calcified pineal gland are in it; sulci,
skull and scalp are not, and are drawn by :mod:`.head`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..errors import BadInput
from ..geometry import to_lps_axes
from ..sampledata import EXAMPLE_CT, fetch_packaged_file

BRAIN_ATLAS = replace(
    EXAMPLE_CT,
    member="totalsegmentator-2.18.0/totalsegmentator/resources/ct_brain_atlas_1mm.nii.gz",
    sha256="e6964149f62ae88b9973cec43ed80974368a24c922ff8b62d946e7c855eae265",
    size=1_184_853,
)
ROOM_MM = 45  # around the inside of the skull, for bone and scalp
FLUID_HU = 24.0  # below it, smoothed: ventricles and cisterns
FLUID_DEPTH_MM = 5.0  # nearer the skull the atlas fades
INSIDE_ML = (800.0, 2000.0)  # of a skull


@dataclass(frozen=True)
class HeadTemplate:
    """An average head on voxels of 1 mm; arrays (z, y, x) along L, P and S.

    Attributes:
        density: HU, float32; outside the skull that of the nearest place inside.
        outside: distance from the inner surface of the skull, mm, below 0 inside.
        fluid: distance from ventricles and cisterns, mm, below 0 inside them.
        centre: index of the middle: on the midline, at the centroid of the brain.
    """

    density: np.ndarray
    outside: np.ndarray
    fluid: np.ndarray
    centre: tuple[float, float, float]


def fetch_head_template(cache: Path | None = None) -> HeadTemplate:
    """The template, downloaded (38 MB) when it is not in the cache; raises as the download does."""
    return read_head_template(fetch_packaged_file(BRAIN_ATLAS, cache))


def read_head_template(path: Path) -> HeadTemplate:
    """Read a CT atlas of the brain on voxels of 1 mm, 0 outside the brain.

    Raises:
        BadInput: the image is no such atlas.
    """
    atlas, _ = to_lps_axes(sitk.ReadImage(str(path), sitk.sitkFloat32))
    density = np.pad(sitk.GetArrayFromImage(atlas), ROOM_MM)
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(density != 0, iterations=3))
    if (not np.allclose(atlas.GetSpacing(), 1.0)
            or not INSIDE_ML[0] < inside.sum() / 1000 < INSIDE_ML[1]):
        raise BadInput(f"{path.name} is no CT atlas of a brain on voxels of 1 mm.")
    where = np.argwhere(inside)
    first, last = where.min(0) - ROOM_MM, where.max(0) + ROOM_MM + 1
    box = tuple(slice(max(0, a), b) for a, b in zip(first, last, strict=True))
    density, inside = density[box], inside[box]
    distance, nearest = ndimage.distance_transform_edt(density == 0, return_indices=True)
    density = density[tuple(nearest)]
    depth = ndimage.distance_transform_edt(inside)
    fluid = (ndimage.gaussian_filter(density, 1.0) < FLUID_HU) & (depth > FLUID_DEPTH_MM)
    centre = np.argwhere(inside).mean(0)
    centre[2] = _midline(density, inside, centre[2])
    return HeadTemplate(
        density.astype(np.float32), _signed(inside), _signed(fluid), tuple(centre.tolist()))


def _signed(mask: np.ndarray) -> np.ndarray:
    """Distance from the surface of a mask in voxels, below 0 inside."""
    return (ndimage.distance_transform_edt(~mask)
            - ndimage.distance_transform_edt(mask)).astype(np.float32)


def _midline(density: np.ndarray, inside: np.ndarray, near: float) -> float:
    """Index along x about which both halves look most alike."""
    values = np.where(inside, density, 0).clip(0, 80)
    half = values.shape[2] // 2 - ROOM_MM // 2

    def alike(middle: int) -> float:
        left, right = values[..., middle - half:middle], values[..., middle + 1:middle + 1 + half]
        return float(np.corrcoef(left.ravel(), right[..., ::-1].ravel())[0, 1])

    return float(max(range(round(near) - 6, round(near) + 7), key=alike))
