# SPDX-License-Identifier: Apache-2.0
"""Motion of bones: rigid in every place, and blended smoothly between places.

Bones do not bend, but each moves by itself. A motion is given by rigid patches some centimetres
apart; between them the displacements are averaged with Gaussian weights (the direct fusion of
Little et al., CVGIP 1997, and Arsigny et al., JMIV 2009). A lesion smaller than a patch cannot be
deformed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from ReadingRoomLib.geometry import physical_bounds

BLEND_MM = 12.0  # standard deviation of the weights
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
    """

    whole: Rigid
    patches: Sequence[Patch]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points (n, 3) in mm, LPS."""
        base = self.whole(points)
        weights = np.full(len(points), 1e-4)
        total = np.zeros_like(base)
        tree = cKDTree(points)
        for patch in self.patches:
            near = tree.query_ball_point(patch.motion.centre, 4 * BLEND_MM)
            distance = ((points[near] - patch.motion.centre) ** 2).sum(1)
            weight = max(patch.agreement, 0.0) ** 2 * np.exp(-distance / (2 * BLEND_MM**2))
            total[near] += weight[:, None] * (patch.motion(points[near]) - base[near])
            weights[near] += weight
        return base + total / weights[:, None]

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
