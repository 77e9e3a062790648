# SPDX-License-Identifier: Apache-2.0
"""Simulated CT of the anatomy of real people: their label maps, deformed and painted anew.

Invented anatomy is smooth and regular. A few label maps of real patients, bent at random and
painted as the invented ones are, show the networks what real organs look like. Their landmarks come
from the deformed map by the table of pseudo-landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk
import torch

from ReadingRoomLib.cubes import UPRIGHT
from ReadingRoomLib.geometry import to_lps_axes
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.phantoms.trunk import LANDMARKS, paint_trunk

from .landmark_files import Landmarks
from .pseudo_landmarks import derive_landmarks
from .pseudo_landmarks_table import read_table

SPACING_MM = 2.0
CELL_MM = (60.0, 140.0)  # how wide a bend is
LARGEST_MM = 9.0  # of it, along an axis (standard deviation)
STRETCH = 0.1  # of each axis, at most
OTHERWISE = ("costophrenic_recess_left", "costophrenic_recess_right")
"""What the table means by these names lies elsewhere than in the simulated trunks."""


def simulate_from_map(labels: sitk.Image, names: Mapping[int, str],
                      seed: tuple[int, ...]) -> tuple[sitk.Image, Landmarks]:
    """A CT of somebody whose anatomy is like that of a label map.

    Args:
        labels: uint8, TotalSegmentator's structures.
        names: of the labels.
        seed: the same numbers give the same CT.

    Returns:
        HU, int16, on cubic voxels along L, P and S; and its landmarks, those of the simulated
        trunks that the map gives.
    """
    random = Randomness(*seed)
    bent = _bent(to_lps_axes(labels)[0], random)
    painted = paint_trunk(sitk.GetArrayFromImage(bent), names, (SPACING_MM,) * 3, (*seed, 1))
    image = sitk.GetImageFromArray(painted)
    image.CopyInformation(bent)
    found = derive_landmarks(bent, {number: (name,) for number, name in names.items()},
                             read_table()).landmarks
    kept = [number for number, name in enumerate(found.names)
            if name in LANDMARKS and name not in OTHERWISE]
    return image, found.chosen(kept)


def _bent(labels: sitk.Image, random: Randomness) -> sitk.Image:
    """The map on voxels of 2 mm, stretched and bent at random."""
    size = np.array(labels.GetSize()) * labels.GetSpacing() * (
        1 + random.numpy.uniform(-STRETCH, STRETCH, 3))
    shape = tuple(int(count) for count in np.ceil(size[::-1] / SPACING_MM))
    cell = random.uniform(*CELL_MM)
    amplitude = random.uniform(0.3, 1.0) * LARGEST_MM * cell / CELL_MM[1]
    array = torch.from_numpy(sitk.GetArrayFromImage(labels))
    index = torch.zeros(shape, dtype=torch.int64)
    inside = torch.ones(shape, dtype=torch.bool)
    for axis, count in enumerate(shape):
        line = (torch.arange(count) + 0.5) / count * array.shape[axis] - 0.5
        along = [1, 1, 1]
        along[axis] = -1
        voxels = amplitude / labels.GetSpacing()[2 - axis]
        place = line.reshape(along) + voxels * random.smooth(shape, (cell / SPACING_MM,) * 3)
        place = place.round_().long()
        inside &= (place >= 0) & (place < array.shape[axis])
        index = index * array.shape[axis] + place.clamp_(0, array.shape[axis] - 1)
    bent = torch.where(inside, array.reshape(-1)[index.reshape(-1)].reshape(shape),
                       torch.zeros((), dtype=array.dtype))
    image = sitk.GetImageFromArray(bent.numpy())
    image.SetSpacing((SPACING_MM,) * 3)
    image.SetOrigin(labels.GetOrigin())
    image.SetDirection(UPRIGHT)
    return image
