# SPDX-License-Identifier: Apache-2.0
"""How a model is built and trained. Every length follows from the side of a patch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from .augmentation import ANY_WAY, USUAL_ROTATION, Augmentation
from .patches import PIXELS
from .training_patches import PatchKind

SEED, MODERN = "seed", "modern"
PATCH_MM = 64.0
COARSE = 4  # voxels of the close look along one of the first
RIGHT = 6.4  # a landmark is right within the side of a patch divided by this: 10 mm of 64
WIDTHS = (32, 64, 128, 128)
"""Channels of the blocks of the mini-VGG; its depth says how many there are."""
DEPTHS = (2, 3, 4)


@dataclass(frozen=True)
class Recipe:
    """What is trained.

    Attributes:
        name: "seed" (published) or "modern".
        patch_mm: side of a patch of 32 pixels, and of the cube that the close look sees.
        sizes: patches of one, two, four ... times that side, of the seed recipe.
        depth: blocks of the mini-VGG.
        convolutions: of each block.
        hidden: width of the features.
        dropout: of the mini-VGG.
        coarse, fine: widths of the two fields of the modern recipe.
        patches, cubes: of a training step.
        rotation: degrees by which a body may lie turned about each axis; 180: in any way.
    """

    name: str
    patch_mm: float
    sizes: int = 1
    depth: int = 3
    convolutions: int = 2
    hidden: int = 256
    dropout: float = 0.5
    coarse: tuple[int, ...] = (16, 32, 64, 96)
    fine: tuple[int, ...] = (16, 32, 64)
    patches: int = 192
    cubes: int = 10
    rotation: float = USUAL_ROTATION

    @property
    def kind(self) -> PatchKind:
        return PatchKind(tuple(self.patch_mm * 2**number for number in range(self.sizes)))

    @property
    def ranges(self) -> Augmentation:
        return Augmentation(rotation=self.rotation)

    @property
    def any_way(self) -> bool:
        """Whether bodies may lie turned in any way."""
        return self.rotation >= ANY_WAY

    @property
    def posed(self) -> bool:
        """Whether the close look is turned as the first look says that the body lies."""
        return self.name == MODERN and self.any_way

    @property
    def close_ranges(self) -> Augmentation:
        """Of the close look, which sees bodies turned in any way only by what is left of it."""
        return Augmentation(rotation=USUAL_ROTATION) if self.posed else self.ranges

    @property
    def fine_mm(self) -> float:
        return self.patch_mm / PIXELS

    @property
    def coarse_mm(self) -> float:
        return COARSE * self.fine_mm

    @property
    def right_mm(self) -> float:
        return self.patch_mm / RIGHT

    def arguments(self, landmarks: int) -> dict[str, Any]:
        """What the network is built with."""
        if self.name == MODERN:
            return {"landmarks": landmarks, "coarse": list(self.coarse), "fine": list(self.fine)}
        return {"classes": landmarks + 1, "channels": self.kind.channels,
                "widths": list(WIDTHS[:self.depth]), "convolutions": self.convolutions,
                "hidden": self.hidden, "dropout": self.dropout}

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def read(cls, written: dict[str, Any]) -> Recipe:
        """From what :meth:`written` gave; raises TypeError where it is none."""
        recipe = cls(**written)
        return replace(recipe, coarse=tuple(recipe.coarse), fine=tuple(recipe.fine))

