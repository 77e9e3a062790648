# SPDX-License-Identifier: Apache-2.0
"""Segmentation by atlases: CTs with known labels are registered to a new one, and vote.

The method that networks were first compared with (Hiasa et al., IEEE TMI 2020). Each atlas is
registered, see :mod:`.atlas_registration`. Its labels follow, and its vote counts more where its
CT, so registered, looks like the new one: locally weighted voting (Artaechevarria et al.,
"Combination strategies in multi-atlas image segmentation", IEEE TMI 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.datalists import Pair
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image
from ReadingRoomLib.phantoms.region_map import IGNORED

from .atlas_registration import (
    REGISTRATION_MM,
    WINDOW_HU,
    coarse,
    import_elastix,
    place,
    register,
    windowed,
)
from .grids import upright
from .named_labels import target_on
from .structures import STRUCTURES

LOOK_MM = 12.0  # voxels by which atlases are chosen
LIKENESS_MM, NOISE_HU = 8.0, 15.0  # Gaussian neighbourhood of the likeness, and its smallest error
SLAB = 8  # slices that are voted on at a time
KEPT = 8  # atlases held in memory


@dataclass(frozen=True)
class Atlas:
    """A CT with known labels.

    Attributes:
        name: of the CT's file.
        image: HU clipped to the window, float32, voxels of REGISTRATION_MM.
        labels: uint8, values of ``STRUCTURES``; 255 where nothing is known.
    """

    name: str
    image: sitk.Image
    labels: sitk.Image


@dataclass
class MultiAtlas:
    """Segments CTs by the atlases of other patients.

    Attributes:
        pairs: CTs with their segmentations.
        most: atlases that are registered to a CT, those that look most like it.
        seed: of the points that the registration looks at.
        warn: gets sentences about what was left out.

    Raises:
        BadInput: elastix is not installed.
    """

    pairs: Sequence[Pair]
    most: int = 5
    seed: int = 0
    warn: Callable[[str], None] = field(default=lambda sentence: None, repr=False)

    def __post_init__(self) -> None:
        import_elastix()
        self._atlas = lru_cache(KEPT)(self._read)
        self._small = lru_cache(None)(lambda pair: coarse(self._atlas(pair).image, LOOK_MM))

    def prepare(self) -> None:
        """Look at every atlas once, so that the first CT does not take longer than the others."""
        for pair in self.pairs:
            self._small(pair)

    def segment(self, volume: sitk.Image, patient: str,
                advance: Callable[[float], None] = lambda share: None) -> sitk.Image:
        """Labels of a CT.

        Args:
            volume: CT in HU, upright.
            patient: whose it is; no atlas of this patient is used.
            advance: told the share that is done, 0 to 1.

        Returns:
            uint8 on the grid of the CT, values of ``STRUCTURES``.

        Raises:
            BadInput: there is no atlas of another patient, or none can be registered.
        """
        others = [pair for pair in self.pairs if pair.patient != patient]
        if not others:
            raise BadInput(f"There is no atlas of another patient than {patient}: name a list of "
                           "more patients (--atlases).")
        target = windowed(volume)
        chosen = self._alike(target, others)
        voters = []
        for number, (pair, move) in enumerate(chosen):
            atlas = self._atlas(pair)
            try:
                transform = register(target, atlas.image, move, self.seed)
            except RuntimeError:  # what elastix raises where two images cannot be laid together
                self.warn(f"The atlas {atlas.name} could not be registered to a CT and was left "
                          "out there.")
                continue
            finally:
                advance(0.9 * (number + 1) / len(chosen))
            voters.append((atlas.labels, transform, likeness(target, atlas.image, transform)))
        if not voters:
            raise BadInput("No atlas could be registered to the CT: choose atlases of the same "
                           "part of the body.")
        return fuse(volume, voters)

    def _read(self, pair: Pair) -> Atlas:
        def warn(sentence: str) -> None:
            self.warn(f"{pair.image.name}: {sentence}")

        source = read_image(pair.image, "CT")
        labels, named = target_on(source, pair.companion, warn)
        if len(named) < len(STRUCTURES):
            warn(f"as an atlas it names {len(named)} of {len(STRUCTURES)} structures, and takes "
                 "the others for background.")
        return Atlas(pair.image.name, windowed(upright(source)[0]), labels)

    def _alike(self, target: sitk.Image, pairs: Sequence[Pair]) -> list[tuple[Pair, np.ndarray]]:
        """The atlases that look most like a CT where they fit best, and where that is."""
        small = coarse(target, LOOK_MM)
        placed = [(pair, *place(small, self._small(pair))) for pair in pairs]
        ranked = sorted(placed, key=lambda one: -one[2])
        return [(pair, move) for pair, move, _ in ranked[: self.most]]


def likeness(target: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """How much a registered CT looks like the target at each point, float32, above 0.

    The inverse of the mean squared difference in a neighbourhood; next to 0 where the moving image
    has ended.
    """
    beyond = WINDOW_HU[1] - WINDOW_HU[0]
    moved = sitk.GetArrayFromImage(sitk.Resample(
        moving, target, transform, sitk.sitkLinear, 10 * beyond))
    difference = np.minimum(abs(moved - sitk.GetArrayViewFromImage(target)), beyond)
    error = ndimage.gaussian_filter(difference**2, LIKENESS_MM / REGISTRATION_MM)
    return image_like((NOISE_HU**2 / (error + NOISE_HU**2)).astype(np.float32), target)


def fuse(volume: sitk.Image,
         voters: Sequence[tuple[sitk.Image, sitk.Transform, sitk.Image]]) -> sitk.Image:
    """The label with most votes at every voxel; background where nobody has one.

    Args:
        volume: gives the grid.
        voters: labels (uint8; 255 does not vote), how they come to the volume, and the weight of
            the vote at each point of the volume.
    """
    result = np.zeros(volume.GetSize()[::-1], np.uint8)
    for first in range(0, len(result), SLAB):
        part = volume[:, :, first : first + SLAB]
        slab = result[first : first + SLAB]
        votes = np.zeros((len(STRUCTURES) + 1, slab.size), np.float32)
        voxels = np.arange(slab.size)
        for labels, transform, weight in voters:
            voted = sitk.GetArrayFromImage(sitk.Resample(
                labels, part, transform, sitk.sitkNearestNeighbor)).ravel()
            weights = sitk.GetArrayFromImage(sitk.Resample(
                weight, part, sitk.Transform(), sitk.sitkLinear, 1e-6)).ravel()
            weights[voted == IGNORED] = 0
            votes[voted.clip(max=len(STRUCTURES)), voxels] += weights
        slab[...] = votes.argmax(0).reshape(slab.shape)
    return image_like(result, volume)
