# SPDX-License-Identifier: Apache-2.0
"""Slices of a tumour in, an answer out: which kind, how sure, why, and what argues against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ReadingRoomLib.errors import BadInput

from .certainty import Certainty, Neighbour
from .features import features_of
from .kinds import cautions_for
from .networks import TumorNetwork
from .saliency import left_out

UNCERTAIN = "uncertain"
ERROR = 0.1  # share of patients of each kind whose set may lack the true one
UNLIKE = 0.05  # share of known patients at least as far from what was learned


@dataclass(frozen=True)
class Classification:
    """What is said of a tumour.

    Attributes:
        kinds: names of the classes.
        probabilities: of each, calibrated, of sum 1.
        intervals: low and high end of each.
        prediction_set: kinds that are not excluded.
        decision: the one kind that is left, or "uncertain".
        doubts: why the program cannot decide, one sentence each.
        cautions: what to keep in mind with the kinds that are left.
        unlike: share of known patients that lie as far from those that were learned from.
        nearest: patients that were learned from and are most like this one.
        attention: weight of each slice, of sum 1.
        saliency: how much the answer hangs on what is seen where, (slices, height, width), 0 to 1.
    """

    kinds: tuple[str, ...]
    probabilities: np.ndarray
    intervals: list[tuple[float, float]]
    prediction_set: list[str]
    decision: str
    doubts: list[str]
    cautions: list[str]
    unlike: float
    nearest: list[Neighbour]
    attention: np.ndarray
    saliency: np.ndarray = field(repr=False)

    def written(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "probabilities": {kind: round(float(value), 4)
                              for kind, value in zip(self.kinds, self.probabilities, strict=True)},
            "intervals": {kind: [round(end, 4) for end in ends]
                          for kind, ends in zip(self.kinds, self.intervals, strict=True)},
            "prediction_set": self.prediction_set,
            "decision": self.decision,
            "doubts": self.doubts,
            "cautions": self.cautions,
            "unlike_what_was_learned": {"p": round(self.unlike, 4), "limit": UNLIKE},
            "nearest": [{"name": one.name, "kind": one.kind, "distance": round(one.distance, 3)}
                        for one in self.nearest],
            "slices": [round(float(weight), 4) for weight in self.attention],
        }


class Classifier:
    """A network that knows how sure it may be.

    Args:
        network: takes the features of :data:`.features.FEATURES`.
        certainty: from patients of known kind.
        error: share of patients of each kind whose set of kinds may lack the true one.
        device: torch device.
    """

    def __init__(self, network: TumorNetwork, certainty: Certainty, error: float = ERROR,
                 device: str = "cpu") -> None:
        self.network = network.to(device).eval()
        self.certainty, self.error, self.device = certainty, error, device

    def __call__(self, slices: np.ndarray, present: Sequence[bool], side_mm: float,
                 extent_mm: float, doubts: Sequence[str] = (),
                 explain: bool = True) -> Classification:
        """Classify a tumour.

        Args:
            slices: (slices, sequences, height, width), 0 to 1, a missing sequence 0.
            present: which sequences are there.
            side_mm, extent_mm: size of the region across and along the slices.
            doubts: of whoever made the slices.
            explain: whether to look for what the answer hangs on, which takes most of the time;
                the saliency is 0 otherwise.

        Raises:
            BadInput: the model gives no numbers for them.
        """
        logits, attention, code, saliency = self._look(slices, present, side_mm, extent_mm,
                                                        explain)
        known, doubts = self.certainty, list(doubts)
        probabilities, unlike = known.probabilities(logits), known.unlike(code)
        left = known.kinds_within(logits, self.error)
        if unlike < UNLIKE:
            doubts.append("The model has hardly seen anything like this tumour.")
        if not left:
            doubts.append("This tumour looks like none of the kinds that the model knows.")
        decided = len(left) == 1 and not doubts
        named = [known.kinds[kind] for kind in left]
        return Classification(
            known.kinds, probabilities,
            [known.interval(logits, kind) for kind in range(len(known.kinds))], named,
            named[0] if decided else UNCERTAIN, doubts,
            cautions_for(named or known.kinds), unlike, known.nearest(code), attention, saliency)

    def _look(self, slices: np.ndarray, present: Sequence[bool], side_mm: float,
              extent_mm: float, explain: bool) -> tuple[np.ndarray, ...]:
        """Logits, attention and code of the patient, and how much the answer hangs on what."""
        there = np.asarray(present, bool)
        features = torch.from_numpy(features_of(slices, there, side_mm, extent_mm))[None]
        features = features.to(self.device)
        images = torch.from_numpy(np.ascontiguousarray(slices, np.float32))[None].to(self.device)
        with torch.inference_mode():
            seen = self.network.see(images, torch.from_numpy(there).float()[None].to(self.device))
            answer = self.network.judge(seen, features)
            found = [part.float().cpu().numpy()[0] for part in answer]
            if not all(np.isfinite(part).all() for part in found):
                raise BadInput("The model gives no numbers for these images: choose another model.")
            if not explain:
                return *found, np.zeros((len(slices), *slices.shape[-2:]), np.float32)
            heat = left_out(self.network, seen, features, int(found[0].argmax()))
            heat = F.interpolate(heat[None], slices.shape[-2:], mode="bilinear",
                                 align_corners=False)[0]
            heat = heat / heat.max().clamp(min=1e-9)
        return *found, heat.cpu().numpy()
