# SPDX-License-Identifier: Apache-2.0
"""How sure one may be of what a network says of a photo of a screen.

A photo is not a CT: scores of heads say nothing about it. What the network answered on simulated
photos of slices that it was not trained on does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ReadingRoomLib.calibration import venn_abers
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.head_findings import BLEEDING, KINDS

from .answers import Recipe
from .camera import check, look
from .certainty import LEAST_HEADS
from .decisions import UNCERTAIN
from .misses import Threshold, choose_threshold
from .photo_simulation import USUAL, PhotoRanges, simulate_photo
from .pictures import picture_score
from .slices import in_windows

CAMERA = "camera_certainty"  # in the metadata of a bundle
SEEN_PIXELS = 12  # of blood in a slice that shows it; fewer and not none is left out
BLEEDS, NOT_SEEN = "looks like bleeding: look first", "no bleeding seen in this slice"
"""Decisions beside "uncertain". That a head can wait is never said of a single slice."""


@dataclass(frozen=True)
class PictureCertainty:
    """What is known about a network's answers to photos.

    Attributes:
        scores: of simulated photos, (n,), 0 to 1: see :func:`.pictures.bleeding_score`.
        bleeding: whether they show bleeding, (n,).
    """

    scores: np.ndarray
    bleeding: np.ndarray

    def __post_init__(self) -> None:
        with_bleeding = int(self.bleeding.sum())
        if (self.scores.ndim != 1 or self.scores.shape != self.bleeding.shape
                or not np.isfinite(self.scores).all()
                or min(with_bleeding, len(self.scores) - with_bleeding) < LEAST_HEADS):
            raise ValueError("these are no scores of pictures with known truth, or too few")

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> PictureCertainty:
        """From the metadata of a model; raises ValueError, KeyError or TypeError if it is none."""
        return cls(np.array(written["scores"], float), np.array(written["bleeding"], bool))

    def written(self) -> dict[str, Any]:
        return {"scores": np.round(self.scores, 5).tolist(),
                "bleeding": self.bleeding.astype(int).tolist()}

    def bleeds(self, score: float) -> tuple[float, float, float]:
        """Probability of bleeding in the slice, and the interval that Venn-Abers gives it."""
        return venn_abers(self.scores, self.bleeding, score)

    def threshold(self, most_missed: float) -> Threshold | None:
        """The threshold of :func:`.misses.choose_threshold`, of the score."""
        return choose_threshold(self.scores, self.bleeding, most_missed)

    def decide(self, score: float, most_missed: float) -> str:
        """One of the decisions: nothing is ruled out where no miss rate can be promised."""
        chosen = self.threshold(most_missed)
        if chosen is not None and score < chosen.value:
            return NOT_SEEN
        return BLEEDS if self.bleeds(score)[1] > 0.5 else UNCERTAIN


def camera_certainty_of(recipe: Recipe, network: Callable[[np.ndarray], list[np.ndarray]],
                        slices_hu: np.ndarray, truth: np.ndarray, seed: int,
                        ranges: PhotoRanges = USUAL) -> PictureCertainty:
    """Photograph slices that a network was not trained on, and note what it says of them.

    Photos that would have to be taken again are left out, as they are never judged.

    Args:
        recipe: of the network.
        network: from inputs to outputs.
        slices_hu: (n, height, width).
        truth: number of the finding in every pixel, counted from 1 in the order of
            :data:`ReadingRoomLib.phantoms.head_findings.KINDS`, 0 elsewhere; the same shape.
        seed: of the photos.
        ranges: of the photos.

    Raises:
        ValueError: too few photos with, or without, bleeding are left.
    """
    numbers = [1 + KINDS.index(kind) for kind in BLEEDING]
    blood = np.isin(truth, numbers).sum((1, 2))
    pictures = in_windows(slices_hu, ("brain",))[:, 0]
    scores, bleeding = [], []
    for number in np.flatnonzero((blood == 0) | (blood >= SEEN_PIXELS)):
        try:
            shot = look(simulate_photo(pictures[number], (seed, int(number)), ranges).photo)
            check(shot.quality)
            scores.append(picture_score(recipe, network, shot.picture))
        except BadInput:
            continue
        bleeding.append(blood[number] > 0)
    return PictureCertainty(np.array(scores), np.array(bleeding, bool))
