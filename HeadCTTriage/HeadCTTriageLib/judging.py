# SPDX-License-Identifier: Apache-2.0
"""A head CT in, a judgement out: how urgent, how sure, and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput

from .answers import Answer, Recipe
from .brain import Brain, locate_brain
from .certainty import RED, Certainty
from .decisions import CAN_WAIT, UNCERTAIN, URGENT
from .misses import CONFIDENCE, cases_needed
from .reasons import Region, regions_of, without_bone
from .slices import cut_slices, in_windows, slice_heights, slice_origin
from .triage import Tag
from .unusual import MOST_NOISE_HU, noise_hu, unusual_features
from .ventricles import ventricle_index

MOST_MISSED = 0.05  # of urgent heads
ERROR = 0.05  # of what the sets of tags promise
NOISE_HU, NEAR_THRESHOLD = 4.0, 2.0  # HU; logit, beyond which noise is not tried


@dataclass(frozen=True)
class Judgement:
    """What is said of a head.

    Attributes:
        urgent_probability: 0 to 1, calibrated.
        interval: of it, low and high.
        tag_probabilities: of the four tags, (4,).
        triage: the tag that is shown: the most probable one among those that fit the decision.
        possible: tags that are not excluded.
        decision: "urgent", "can wait" or "uncertain: look first".
        threshold: probability from which a head is urgent; None where it cannot be promised.
        promise: what the threshold promises, in a sentence.
        doubts: why the program cannot judge this head, one sentence each.
        answer: of the network.
        regions, marks: what looks like a finding, see :func:`.reasons.regions_of`.
        slices: as they were judged, brain window first, (slices, windows, height, width).
        brain: where it was found.
        ventricle_index: Evans' index; None where it cannot be measured.
        timings: seconds by stage.
    """

    urgent_probability: float
    interval: tuple[float, float]
    tag_probabilities: np.ndarray
    triage: Tag
    possible: list[Tag]
    decision: str
    threshold: float | None
    promise: str
    doubts: list[str]
    answer: Answer = field(repr=False)
    regions: list[Region] = field(repr=False)
    marks: np.ndarray | None = field(repr=False)
    slices: np.ndarray = field(repr=False)
    brain: Brain = field(repr=False)
    ventricle_index: float | None
    timings: dict[str, float] = field(repr=False)

    def written(self) -> dict[str, Any]:
        """For ``result.json``."""
        shift, index = self.answer.shift_mm, self.ventricle_index
        return {
            "urgent_probability": round(self.urgent_probability, 4),
            "interval": [round(end, 4) for end in self.interval],
            "triage": self.triage.name.lower(),
            "decision": self.decision,
            "tag_probabilities": {tag.name.lower(): round(float(self.tag_probabilities[tag]), 4)
                                  for tag in Tag},
            "possible_tags": [tag.name.lower() for tag in self.possible],
            "threshold": self.threshold if self.threshold is None else round(self.threshold, 4),
            "promise": self.promise,
            "doubts": self.doubts,
            "reasons": {
                "regions": [region.written() for region in self.regions],
                "midline_shift_mm": None if shift is None else round(shift, 1),
                "ventricle_index": None if index is None else round(index, 2),
                "slices": [
                    {"slice": number, "weight": round(float(weight), 4)}
                    for number, weight in enumerate(self.answer.attention, 1)],
                "brain_volume_ml": round(self.brain.volume_ml),
            },
            "timings": {stage: round(seconds, 3) for stage, seconds in self.timings.items()},
        }


class Judge:
    """A network that knows how sure it may be.

    Args:
        recipe: of the network.
        network: from what the recipe gives it to its outputs.
        certainty: from heads of known tag.
        most_missed: share of urgent heads that may be missed.
        error: share of heads of which the sets of tags may not hold the true one.
    """

    def __init__(self, recipe: Recipe, network: Callable[[np.ndarray], list[np.ndarray]],
                 certainty: Certainty, most_missed: float = MOST_MISSED,
                 error: float = ERROR) -> None:
        self.recipe, self.network, self.certainty = recipe, network, certainty
        self.error = error
        chosen = certainty.threshold(most_missed)
        self._limit = None if chosen is None else chosen.value
        urgent = int((certainty.tags >= Tag.RED).sum())
        self.threshold = None if chosen is None else certainty.urgent(chosen.value)[0]
        self.promise = (
            f"At most {most_missed:.0%} of urgent heads are missed, with {CONFIDENCE:.0%} "
            f"confidence: {chosen.missed} of {chosen.urgent} in heads like those it was "
            "calibrated on." if chosen else
            f"A miss rate of {most_missed:.0%} cannot be promised: that needs "
            f"{cases_needed(most_missed)} urgent heads without a miss, and the model knows "
            f"{urgent}. Nothing is said to be able to wait.")

    def __call__(self, ct: sitk.Image, on_stage: Callable[[str], None] = lambda stage: None,
                 age: float | None = None, kernel: str = "") -> Judgement:
        """Judge a CT.

        Args:
            ct: HU; any grid, LPS.
            on_stage: called with what comes next.
            age, kernel: as :func:`.unusual.unusual_features` takes them.

        Raises:
            BadInput: the CT shows no head.
        """
        clock = _Clock(on_stage)
        clock("locate")
        brain = locate_brain(ct)
        doubts = unusual_features(ct, brain, age, kernel)
        clock("slices")
        sampling = self.recipe.sampling
        density = cut_slices(ct, brain, sampling)
        if noise_hu(density) > MOST_NOISE_HU:
            doubts.append("The images are so noisy that blood may be hidden, as with low dose or a "
                          "kernel for bone.")
        slices = in_windows(density, sampling.windows)
        clock("judge")
        answer = self.recipe.read(self.network(self.recipe.inputs(slices)))
        if not all(np.isfinite(part).all() for part in (answer.scores, answer.attention)):
            raise BadInput("The model gives no numbers for this CT: choose another model.")
        score = float(answer.scores[RED])
        # what is uncertain stays so, and asking the network twice costs most of the time
        if not doubts and self._decision(score) != UNCERTAIN and self._noise_decides(
                density, score):
            doubts.append("A little noise changes what the model says of this head.")
        clock("reasons")
        regions, marks = self._regions(answer, brain, density)
        index = ventricle_index(ct, brain)
        clock.stop()
        return self._judgement(answer, brain, doubts, regions, marks, slices, index, clock.seconds)

    def _noise_decides(self, density: np.ndarray, score: float) -> bool:
        """Whether noise as of a slightly lower dose moves a head across the threshold."""
        if self._limit is None or abs(score - self._limit) > NEAR_THRESHOLD:
            return False
        grain = np.random.default_rng(0).standard_normal(density.shape, np.float32)
        slices = in_windows(density + NOISE_HU * grain, self.recipe.sampling.windows)
        again = self.recipe.read(self.network(self.recipe.inputs(slices))).scores[RED]
        return bool((again >= self._limit) != (score >= self._limit))

    def _decision(self, score: float) -> str:
        """What is said of a head of this logit that nothing else is unusual about."""
        may_wait, may_be_urgent = self.certainty.may_be(score, self.error)
        if may_wait == may_be_urgent:  # both, or none: unlike all that was seen
            return UNCERTAIN
        if self._limit is None or score >= self._limit:
            return URGENT
        return UNCERTAIN if may_be_urgent else CAN_WAIT

    def _judgement(self, answer, brain, doubts, regions, marks, slices, index,
                   timings) -> Judgement:
        score = float(answer.scores[RED])
        probability, low, high = self.certainty.urgent(score)
        decision = UNCERTAIN if doubts else self._decision(score)
        tags = self.certainty.tag_probabilities(answer.scores)
        return Judgement(probability, (low, high), tags, _shown(tags, decision),
                         self.certainty.tags_within(answer.scores, self.error), decision,
                         self.threshold, self.promise, doubts, answer, regions, marks, slices,
                         brain, index, timings)

    def _regions(self, answer: Answer, brain: Brain, density: np.ndarray,
                 ) -> tuple[list[Region], np.ndarray | None]:
        if answer.maps is None:
            return [], None
        sampling = self.recipe.sampling
        maps = without_bone(answer.maps, density)
        heights = slice_heights(brain, sampling.slices)
        pixel = sampling.field_mm / answer.maps.shape[-1]
        origin = slice_origin(brain, sampling, pixel)
        return regions_of(maps, (float(heights[1] - heights[0]), pixel, pixel),
                          (*origin, float(heights[0])))


def _shown(tags: np.ndarray, decision: str) -> Tag:
    """The most probable tag of those that the decision leaves."""
    left = {URGENT: [Tag.RED, Tag.BLACK], CAN_WAIT: [Tag.GREEN, Tag.YELLOW]}.get(
        decision, list(Tag))
    return max(left, key=lambda tag: tags[tag])


class _Clock:
    """Seconds by stage, under the names of the stages."""

    def __init__(self, on_stage: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self.on_stage, self.stage, self.since = on_stage, "", 0.0

    def __call__(self, stage: str) -> None:
        self.stop()
        self.stage, self.since = stage, time.perf_counter()
        self.on_stage(stage)

    def stop(self) -> None:
        if self.stage:
            self.seconds[self.stage] = time.perf_counter() - self.since
        self.stage = ""
