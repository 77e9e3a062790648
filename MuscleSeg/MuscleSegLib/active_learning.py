# SPDX-License-Identifier: Apache-2.0
"""Learn from slices that are labelled on request: one arm of the comparison, with one seed.

All arms of a seed begin with the same few labelled slices and the same network. Then each chooses
slices, a simulated annotator labels them, and the network learns on; every round asks for as many
slices as are labelled already, so that the curves span orders of magnitude of cost.

The network is small and its pixels coarse, so that a round takes a minute on one core: the arms
are compared with each other, none with a network for patients.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ReadingRoomLib.montecarlo import sample_seed
from ReadingRoomLib.phantoms.region_map import IGNORED
from ReadingRoomLib.training import TrainingSettings, train

from .active_learning_network import RECIPE, Look, looked, mean_dice, new_network
from .body import BODY_HU
from .labelled_scans import Augmentation, LabelledScan, LabelledSlabs
from .recipes import segmentation_loss
from .review_queue import Candidate, least_confident, level_of_share, marked
from .simulated_annotator import Cost, SimulatedAnnotator

AUGMENTATION = Augmentation(rotation=8.0, scale=(0.9, 1.1), shift=8.0, thickness=(0.0, 0.0),
                            softness=(0.0, 2.0), structure_share=1.0)
ARMS = {
    "random": "random slices",
    "foreground": "foreground-aware random slices",
    "entropy": "slices of highest entropy",
    "pixels": "uncertain pixels of uncertain slices (published)",
    "pixels-filled": "the same, the rest of the slice as the network sees it",
    "everything": "everything",
}
BY_SLICE = ("random", "foreground", "entropy")  # label all pixels of a slice
PUBLISHED, BASELINE, WHOLE = "pixels", "foreground", "everything"


@dataclass(frozen=True)
class Plan:
    """How the arms are run.

    Attributes:
        rounds: of queries after the start.
        start: slices that are labelled at the start; each round doubles the labelled slices.
        first_steps, steps: of training at the start and in each round.
        batch: slices in a step.
        samples: Monte Carlo samples of a slice that is scored.
        candidates: slices that are looked at in a round, drawn at random; at least twice as many
            as are asked for.
        share: of the body's pixels in the chosen slices that the published arm asks about.
        apart_mm: distance of chosen slices; halved where the pool has not enough of them.
        continued: each round goes on from the last weights; otherwise each, the start included,
            begins anew and does as many steps as all together, so that the networks differ in
            their labels alone. With the first, who has had more rounds has done more steps.
    """

    rounds: int = 5
    start: int = 4
    first_steps: int = 500
    steps: int = 500
    batch: int = 6
    samples: int = 5
    candidates: int = 128
    share: float = 0.1
    apart_mm: float = 18.0
    continued: bool = True

    @property
    def all_steps(self) -> int:
        """Of the start and all rounds."""
        return self.first_steps + self.rounds * self.steps

    def asked(self, number: int) -> int:
        """Slices that round ``number``, from 1 on, asks for."""
        return self.start * 2 ** (number - 1)


@dataclass(frozen=True)
class Point:
    """Where an arm stands after a round.

    Attributes:
        round: 0 after the start.
        cost: of all labels so far.
        dice: of each tested patient, mean over the structures; sides together.
    """

    round: int
    cost: Cost
    dice: tuple[float, ...]


@dataclass(frozen=True)
class Scans:
    """The pool that is learned from, and the scans of other patients that are measured on."""

    pool: Sequence[LabelledScan]
    tested: Sequence[LabelledScan]

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns that hold every slice of the pool."""
        return tuple(int(-(-max(scan.target.shape[axis] for scan in self.pool) // 16) * 16)
                     for axis in (1, 2))


def run_arm(arm: str, seed: int, scans: Scans, plan: Plan, folder: Path,
            on_share: Callable[[float], None] = lambda share: None) -> list[Point]:
    """Run an arm.

    Args:
        arm: one of :data:`ARMS`.
        seed: of the first slices, of all draws and of the weights.
        scans: pool and tested scans.
        plan: how.
        folder: keeps the start, which all arms of a seed share.
        on_share: told how much is done, 0 to 1.

    Returns:
        The start, and each round; of ``everything`` the start and the end.
    """
    run = _Run(arm, seed, scans, plan)
    run.begin(folder)
    on_share(1 / (plan.rounds + 1))
    points = [run.measured(0)]
    if arm == WHOLE:
        run.label_everything()
    for number in range(1, plan.rounds + 1):
        if arm != WHOLE:
            run.query(number)
        if plan.continued or arm != WHOLE or number == plan.rounds:
            run.learn(number)
        if arm != WHOLE or number == plan.rounds:
            points.append(run.measured(number))
        on_share((number + 1) / (plan.rounds + 1))
    return points


class _Run:
    """The state of one arm: what is labelled, what was opened, and the network."""

    def __init__(self, arm: str, seed: int, scans: Scans, plan: Plan) -> None:
        self.arm, self.seed, self.scans, self.plan = arm, seed, scans, plan
        self.annotator = SimulatedAnnotator(scans.pool)
        self.random = np.random.default_rng([seed, list(ARMS).index(arm)])
        self.unopened = {(number, z) for number, scan in enumerate(scans.pool)
                         for z in range(len(scan.target))}
        self.shown: dict[tuple[int, int], np.ndarray] = {}
        self.network = new_network(seed)

    # ------------------------------------------------------------------------------------ labels

    def begin(self, folder: Path) -> None:
        """Label the first slices and learn from them, or take the network that did."""
        random = np.random.default_rng(self.seed)
        pool = self.scans.pool
        there = {(number, int(z)) for number, scan in enumerate(pool)
                 for slices in scan.slices_of.values() for z in slices}
        while len(self.shown) < min(self.plan.start, len(there)):
            number = int(random.integers(len(pool)))
            structures = list(pool[number].slices_of.values())
            slices = structures[int(random.integers(len(structures)))]
            place = number, int(slices[random.integers(len(slices))])
            if place not in self.shown:
                self._answer(place, None, np.zeros(pool[number].target.shape[1:], np.uint8))
        kept = folder / f"start-{self.seed}.pt"
        if kept.exists():
            self.network.load_state_dict(torch.load(kept, weights_only=True))
            self.network.eval()
            return
        self.learn(0)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished")
        torch.save(self.network.state_dict(), unfinished)
        unfinished.replace(kept)

    def query(self, number: int) -> None:
        """Choose slices as the arm does, and have them labelled."""
        count = min(self.plan.asked(number), len(self.unopened))
        places = self._drawn(count if self.arm == "random" else
                             max(self.plan.candidates, 2 * count))
        looks = {each.place: each for each in self._looked_at(places, number)}
        chosen = self._chosen(looks, count)
        level = 0.0
        if self.arm not in BY_SLICE:
            level = level_of_share((looks[place].uncertainty[self._body(place)]
                                    for place in chosen), self.plan.share)
        for place in chosen:
            asked = None
            if self.arm not in BY_SLICE and level >= 0:
                asked = marked(looks[place].uncertainty, self._body(place), level)
            self._answer(place, asked, looks[place].labels)

    def label_everything(self) -> None:
        """Have all slices labelled, with the first network's answer filled in."""
        for each in self._looked_at(sorted(self.unopened), 0):
            self._answer(each.place, None, each.labels)

    def _answer(self, place: tuple[int, int], asked: np.ndarray | None,
                shown: np.ndarray) -> None:
        if asked is None:
            asked = np.ones(shown.shape, bool)
        self.annotator.answer(*place, asked, shown)
        self.unopened.discard(place)
        self.shown[place] = shown

    def _body(self, place: tuple[int, int]) -> np.ndarray:
        return self.scans.pool[place[0]].hounsfield[place[1]] > BODY_HU

    # ----------------------------------------------------------------------------------- choosing

    def _drawn(self, count: int) -> list[tuple[int, int]]:
        left = sorted(self.unopened)
        drawn = self.random.choice(len(left), min(count, len(left)), replace=False)
        return [left[index] for index in sorted(drawn)]

    def _chosen(self, looks: dict[tuple[int, int], Look], count: int) -> list[tuple[int, int]]:
        if self.arm == "random":
            return list(looks)
        if self.arm == "foreground":
            return self._with_structures(looks, count)
        scores = [Candidate(scan, z, z * RECIPE.spacing[0], look.entropy if self.arm == "entropy"
                            else look.score) for (scan, z), look in looks.items()]
        return [(each.case, each.index) for each in least_confident(
            scores, count, self.plan.apart_mm,
            [Candidate(scan, z, z * RECIPE.spacing[0], 0.0) for scan, z in self.shown])]

    def _with_structures(self, looks: dict[tuple[int, int], Look], count: int
                         ) -> list[tuple[int, int]]:
        """Slices drawn by a structure that the network sees in them, each structure as often."""
        left = {place: set(np.unique(look.labels)) - {0} for place, look in looks.items()}
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count:
            seen = sorted(set().union(*left.values()))
            value = seen[int(self.random.integers(len(seen)))] if seen else None
            places = [place for place, own in left.items() if value is None or value in own]
            chosen.append(places[int(self.random.integers(len(places)))])
            del left[chosen[-1]]
        return chosen

    # ----------------------------------------------------------------------------------- learning

    def learn(self, number: int) -> None:
        """Train on all that is labelled."""
        plan = self.plan
        steps = plan.first_steps if number == 0 else plan.steps
        if not plan.continued:
            self.network, steps = new_network(self.seed), plan.all_steps
        scans = [replace(scan, target=target) for scan, target in
                 zip(self.scans.pool, self._targets(), strict=True)]
        scans = [scan for scan in scans if scan.slices_of]
        data = LabelledSlabs(scans, steps * plan.batch, RECIPE, self.seed * 1000 + number,
                             (2 * RECIPE.context + 1, *self.scans.plane), AUGMENTATION)
        settings = TrainingSettings(
            steps=steps, batch_size=plan.batch, learning_rate=6e-3, warmup_steps=5,
            average_decay=0.95, checkpoint_every=steps, workers=0,
            seed=self.seed * 1000 + number)
        with tempfile.TemporaryDirectory() as folder:
            self.network = train(self.network, data, segmentation_loss, settings, Path(folder))
        self.network.requires_grad_(True)

    def _targets(self) -> list[np.ndarray]:
        if self.arm != "pixels-filled":
            return self.annotator.known
        targets = [known.copy() for known in self.annotator.known]
        for (scan, z), shown in self.shown.items():
            plane = targets[scan][z]
            plane[plane == IGNORED] = shown[plane == IGNORED]
        return targets

    def measured(self, number: int) -> Point:
        """The Dice of the tested patients."""
        dice = []
        for scan in self.scans.tested:
            labels = np.concatenate([mean.argmax(0).numpy().astype(np.uint8) for _, mean, _ in
                                     looked(self.network, scan, range(len(scan.target)), 1, 0)])
            dice.append(mean_dice(labels, scan.target))
        return Point(number, self.annotator.cost, tuple(dice))

    def _looked_at(self, places: Sequence[tuple[int, int]], number: int) -> Iterator[Look]:
        """What the network sees in slices; with samples where the arm is about doubt."""
        samples = 1 if self.arm in ("random", "foreground", WHOLE) else self.plan.samples
        by_scan: dict[int, list[int]] = {}
        for scan, z in places:
            by_scan.setdefault(scan, []).append(z)
        for scan, slices in by_scan.items():
            volume = self.scans.pool[scan]
            for own, mean, uncertainty in looked(self.network, volume, slices, samples,
                                                 sample_seed(self.seed, number, scan)):
                for index, z in enumerate(own):
                    yield Look.at((scan, z), mean[:, index], uncertainty[index], volume)
