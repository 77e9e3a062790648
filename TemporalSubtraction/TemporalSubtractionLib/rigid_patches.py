# SPDX-License-Identifier: Apache-2.0
"""Motion of bones: rigid in every place, and blended smoothly between places.

Bones do not bend, but each moves by itself. A motion is given by rigid patches some centimetres
apart; between them the displacements are averaged with Gaussian weights (the direct fusion of
Little et al., CVGIP 1997, and Arsigny et al., JMIV 2009). A lesion smaller than a patch cannot be
deformed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from ReadingRoomLib.geometry import physical_bounds

BLEND_MM, LOOSE_BLEND_MM = 12.0, 6.0  # standard deviations of the weights
FIELD_MM = 4.0  # grid of the displacement field


@dataclass(frozen=True)
class Rigid:
    """A rigid motion of points x in mm, LPS: ``matrix @ (x - centre) + centre + translation``."""

    matrix: np.ndarray
    centre: np.ndarray
    translation: np.ndarray

    @classmethod
    def of(cls, transform: sitk.Euler3DTransform) -> Rigid:
        return cls(np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetCenter()),
                   np.array(transform.GetTranslation()))

    def around(self, centre: np.ndarray) -> Rigid:
        """The same motion, told with another centre of rotation."""
        centre = np.asarray(centre, float)
        return Rigid(self.matrix, centre, self(centre[None])[0] - centre)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return (points - self.centre) @ self.matrix.T + self.centre + self.translation

    def inverse(self, points: np.ndarray) -> np.ndarray:
        return (points - self.centre - self.translation) @ self.matrix + self.centre

    def transform(self) -> sitk.Euler3DTransform:
        transform = sitk.Euler3DTransform()
        transform.SetCenter(self.centre.tolist())
        transform.SetMatrix(self.matrix.ravel().tolist(), 1e-6)
        transform.SetTranslation(self.translation.tolist())
        return transform


@dataclass(frozen=True)
class Patch:
    """A rigid motion that holds around its own centre.

    Attributes:
        motion: with its centre in the middle of the patch.
        agreement: correlation of the images there, -1 to 1; the weight grows with it.
    """

    motion: Rigid
    agreement: float


@dataclass(frozen=True)
class BoneMotion:
    """Where the points of one scan lie in another.

    Attributes:
        whole: of everything; holds alone far from all patches.
        patches: of the bones.
        loose: of small bones that do not follow the patches, within some millimetres.
        settled: places of bone that follows them, (n, 3) in mm, LPS, which no loose bone moves.
    """

    whole: Rigid
    patches: Sequence[Patch]
    loose: Sequence[Patch] = ()
    settled: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points (n, 3) in mm, LPS."""
        tree = cKDTree(points)
        moved = _blended(points, tree, self.whole(points), self.patches, BLEND_MM,
                         np.full(len(points), 1e-4))
        if not self.loose:
            return moved
        still = np.full(len(points), 1e-2)
        for place in self.settled:
            near, weight = _weights(points, tree, place, LOOSE_BLEND_MM)
            still[near] += weight
        return _blended(points, tree, moved, self.loose, LOOSE_BLEND_MM, still)

    def transform(self, image: sitk.Image) -> sitk.CompositeTransform:
        """As a transform for resampling onto the grid of ``image``.

        The displacements of the patches come first, then the motion of the whole, which alone holds
        beyond the image.
        """
        bounds = physical_bounds(image)
        size = np.ceil((bounds[:, 1] - bounds[:, 0]) / FIELD_MM).astype(int) + 1
        axes = [low + FIELD_MM * np.arange(n) for low, n in zip(bounds[:, 0], size, strict=True)]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
        points = np.stack([x, y, z], -1).reshape(-1, 3)
        displacement = self.whole.inverse(self(points)) - points
        field = sitk.GetImageFromArray(displacement.reshape(*size[::-1], 3), isVector=True)
        field.SetOrigin(bounds[:, 0].tolist())
        field.SetSpacing([FIELD_MM] * 3)
        return sitk.CompositeTransform([self.whole.transform(),
                                        sitk.DisplacementFieldTransform(field)])


def _blended(points: np.ndarray, tree: cKDTree, base: np.ndarray, patches: Sequence[Patch],
             width: float, stay: np.ndarray) -> np.ndarray:
    """Points moved by patches, and by a base motion that has the weight ``stay``."""
    total, weights = np.zeros_like(base), stay.copy()
    for patch in patches:
        near, weight = _weights(points, tree, patch.motion.centre, width)
        weight *= max(patch.agreement, 0.0) ** 2
        total[near] += weight[:, None] * (patch.motion(points[near]) - base[near])
        weights[near] += weight
    return base + total / weights[:, None]


def _weights(points: np.ndarray, tree: cKDTree, centre: np.ndarray,
             width: float) -> tuple[list[int], np.ndarray]:
    """Points near a centre, and their Gaussian weights."""
    near = tree.query_ball_point(centre, 4 * width)
    distance = ((points[near] - centre) ** 2).sum(1)
    return near, np.exp(-distance / (2 * width**2))
