# SPDX-License-Identifier: Apache-2.0
"""How well scores tell good outlines from bad ones.

Intervals are of 95 %, by drawing the patients again: structures of one patient are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ReadingRoomLib.estimates import Estimate

RESAMPLINGS = 1000
BY_MEAN, BY_SURFACE = "mean", "over the surface"
PREDICTED, EXPECTED, LEAST = "predicted Dice", "expected Dice", "lower bound"


@dataclass(frozen=True)
class ScoredStructure:
    """A structure of a CT, what the network was unsure of, and how good it is.

    Attributes:
        patient, image, site: whose it is, the file's name, and where it was taken (in a stress
            set: what was done to it).
        structure, side: which it is.
        dice: with the reference, 0 to 1.
        volume_ml, cut_off: see :class:`.structure_scores.StructureScores`.
        expected_dice: 0 to 1.
        uncertainties: by kind, and ``mean`` or ``over the surface`` (mm).
        predicted_dice, dice_lower_bound: from a calibration that knows no scan of the patient.
    """

    patient: str
    image: str
    site: str
    structure: str
    side: str
    dice: float
    volume_ml: float
    cut_off: bool
    expected_dice: float
    uncertainties: Mapping[tuple[str, str], float]
    predicted_dice: float
    dice_lower_bound: float


@dataclass(frozen=True)
class Detection:
    """How well a score finds what is bad.

    Attributes:
        auroc: area under the ROC curve for structures below the level; NaN where there are none,
            or nothing else.
        risk: area under the risk-coverage curve (Geifman & El-Yaniv, NeurIPS 2017): mean of
            1 - Dice over the structures that are kept, averaged over how many are.
        pearson, spearman: correlation of trust with Dice.
    """

    auroc: Estimate
    risk: Estimate
    pearson: Estimate
    spearman: Estimate


def trust_by_score(scored: Sequence[ScoredStructure]) -> dict[str, np.ndarray]:
    """Every score as a trust, (n,), higher where the outline should be better."""
    trust = {
        f"{kind}, {how}": -np.array([one.uncertainties[kind, how] for one in scored])
        for kind, how in scored[0].uncertainties}
    for name, field in ((EXPECTED, "expected_dice"), (PREDICTED, "predicted_dice"),
                        (LEAST, "dice_lower_bound")):
        trust[name] = np.array([getattr(one, field) for one in scored])
    return trust


def detections(scored: Sequence[ScoredStructure], level: float, seed: int = 0
               ) -> dict[str, Detection]:
    """How well each score finds structures with a Dice below ``level``."""
    dice = np.array([one.dice for one in scored])
    patients = [one.patient for one in scored]
    result = {}
    for name, trust in trust_by_score(scored).items():
        def measured(rows: np.ndarray, trust: np.ndarray = trust) -> list[float]:
            return [auroc(-trust[rows], dice[rows] < level),
                    risk_coverage(trust[rows], dice[rows])[1].mean(),
                    _correlation(trust[rows], dice[rows]),
                    _correlation(stats.rankdata(trust[rows]), stats.rankdata(dice[rows]))]

        result[name] = Detection(*by_patient(measured, patients, seed))
    return result


def by_patient(statistics: Callable[[np.ndarray], Sequence[float]], patients: Sequence[str],
               seed: int = 0) -> list[Estimate]:
    """Statistics of rows with intervals by drawing patients again.

    Args:
        statistics: takes numbers of rows, some of them several times.
        patients: whose each row is.
        seed: of the draws.
    """
    names, groups = np.unique(np.asarray(patients), return_inverse=True)
    rows = [np.flatnonzero(groups == group) for group in range(len(names))]
    values = statistics(np.arange(len(groups)))
    random = np.random.default_rng(seed)
    drawn = np.array([statistics(np.concatenate(
        [rows[group] for group in random.integers(len(names), size=len(names))]))
        for _ in range(RESAMPLINGS if len(names) > 1 else 0)]).reshape(-1, len(values))
    estimates = []
    for value, own in zip(values, drawn.T, strict=True):
        known = own[np.isfinite(own)]
        low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (math.nan, math.nan)
        estimates.append(Estimate(float(value), float(low), float(high), len(names)))
    return estimates


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, ties by half (Hanley & McNeil, Radiology 1982); NaN of one kind."""
    count = int(positive.sum())
    if count in (0, len(scores)):
        return math.nan
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2)
                 / (count * (len(scores) - count)))


def risk_coverage(trust: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the structures that is kept, the most trusted first, and the mean of 1 - Dice."""
    risk = 1 - dice[np.argsort(-trust, kind="stable")]
    kept = np.arange(1, len(risk) + 1)
    return kept / len(risk), np.cumsum(risk) / kept


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])


def coverage(scored: Sequence[ScoredStructure], seed: int = 0) -> Estimate:
    """Share of the structures whose Dice is at least their lower bound."""
    held = np.array([one.dice >= one.dice_lower_bound for one in scored], float)
    [share] = by_patient(lambda rows: [held[rows].mean()], [one.patient for one in scored], seed)
    return share


def flagged(scored: Sequence[ScoredStructure], level: float) -> dict[str, int]:
    """How many are to be checked, and how many of those that are bad are among them."""
    bad = np.array([one.dice < level for one in scored])
    check = np.array([one.dice_lower_bound < level for one in scored])
    return {"structures": len(bad), "below": int(bad.sum()), "to_check": int(check.sum()),
            "below_and_to_check": int((bad & check).sum())}


@dataclass(frozen=True)
class Group:
    """Structures that have something in common.

    Attributes:
        name: what it is.
        scored: the structures.
        changes: by score and for ``dice``: mean difference to the same structures of the same
            patients in the first group; empty for that one.
    """

    name: str
    scored: Sequence[ScoredStructure]
    changes: Mapping[str, Estimate]


def groups_by_site(scored: Sequence[ScoredStructure]) -> list[Group]:
    """The sites, each compared with the first one, pair by pair."""
    sites = list(dict.fromkeys(one.site for one in scored))
    own = {site: [one for one in scored if one.site == site] for site in sites}
    first = {(one.patient, one.structure, one.side): one for one in own[sites[0]]}
    groups = []
    for site in sites:
        pairs = [(first[key], one) for one in own[site] if site != sites[0]
                 for key in [(one.patient, one.structure, one.side)] if key in first]
        groups.append(Group(site, own[site], _changes(pairs)))
    return groups


def _changes(pairs: Sequence[tuple[ScoredStructure, ScoredStructure]]) -> dict[str, Estimate]:
    """Mean differences of pairs before and after."""
    if not pairs:
        return {}
    before, after = (trust_by_score(side) | {"dice": np.array([one.dice for one in side])}
                     for side in zip(*pairs, strict=True))
    patients = [one.patient for one, _ in pairs]
    result = {}
    for name, values in before.items():
        # uncertainties count as they are, not as trust
        sign = 1 if name in (EXPECTED, PREDICTED, LEAST, "dice") else -1
        gain = sign * (after[name] - values)
        [result[name]] = by_patient(lambda rows, gain=gain: [gain[rows].mean()], patients)
    return result
