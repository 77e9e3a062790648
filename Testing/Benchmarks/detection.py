# SPDX-License-Identifier: Apache-2.0
"""How well new bone lesions are found: simulated lesions in simulated follow-ups of real CTs.

The peer is plain subtraction after the same registration, grouped into candidates in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from TemporalSubtractionLib.candidates import find_candidates
from TemporalSubtractionLib.simulated_pairs import SimulatedPair, patients, simulated_pair
from TemporalSubtractionLib.starter import by_patient, compared, shares_within, stable_z
from TemporalSubtractionLib.subtraction import Subtraction, read_calibration

SEEDS = (1, 2)
LESIONS = 10  # wanted in each pair
LEAST_MM = 8.0  # lesions that have to be found
RATES = (0.5, 1.0, 2.0, 4.0)  # false positives a case
RESAMPLINGS = 2000


@dataclass
class Readings:
    """What one method made of all cases.

    Attributes:
        hits: by patient, the best score that touches each lesion; -inf where none does.
        false: by patient, the scores of candidates that touch none.
        cases: by patient.
    """

    hits: dict[str, list[float]] = field(default_factory=dict)
    false: dict[str, list[float]] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)

    def add(self, pair: SimulatedPair, truth: np.ndarray, found: list, labels: np.ndarray) -> None:
        """Note the candidates of one case; small lesions are neither asked for nor false."""
        best = dict.fromkeys(np.unique(truth[truth > 0]).tolist(), -np.inf)
        wrong = self.false.setdefault(pair.patient, [])
        for candidate in found:
            touched = np.unique(truth[(labels == candidate.number) & (truth > 0)]).tolist()
            for number in touched:
                best[number] = max(best[number], candidate.score)
            if not touched:
                wrong.append(candidate.score)
        large = [lesion.number for lesion in pair.lesions if lesion.diameter_mm >= LEAST_MM]
        self.hits.setdefault(pair.patient, []).extend(
            best[number] for number in large if number in best)
        self.cases[pair.patient] = self.cases.get(pair.patient, 0) + 1

    def sensitivity(self, rate: float, patients: list[str]) -> float:
        """Share of the lesions found where ``rate`` false positives a case are allowed."""
        hits = np.concatenate([self.hits[patient] for patient in patients])
        false = np.sort(np.concatenate([self.false[patient] for patient in patients]))[::-1]
        allowed = int(rate * sum(self.cases[patient] for patient in patients))
        threshold = false[allowed] if allowed < len(false) else -np.inf
        return float((hits > threshold).mean()) if len(hits) else np.nan

    def summary(self) -> dict:
        """Sensitivity at each rate with its 95 % interval, resampled by patient."""
        names = list(self.cases)
        random = np.random.default_rng(0)
        draws = [random.choice(names, len(names)).tolist() for _ in range(RESAMPLINGS)]
        result = {"lesions": sum(map(len, self.hits.values())), "cases": sum(self.cases.values()),
                  "patients": len(names)}
        for rate in RATES:
            low, high = np.nanquantile(
                [self.sensitivity(rate, draw) for draw in draws], (0.025, 0.975))
            value = self.sensitivity(rate, names)
            result[f"sensitivity_at_{rate:g}"] = f"{value:.2f} ({low:.2f} to {high:.2f})"
        return result


def against_plain_subtraction(data: Path) -> dict:
    """FROC of all methods, and the calibration of z in what did not change, by patient."""
    readings = {name: Readings() for name in METHODS}
    stable: dict[str, np.ndarray] = {}
    for patient, ct in patients(data):
        for seed in SEEDS:
            try:
                pair = simulated_pair(patient, ct, seed, LESIONS)
            except BadInput as refused:
                print(f"{patient}, {seed}: {refused}", file=sys.stderr)
                continue
            found = compared(pair)
            truth = sitk.GetArrayFromImage(sitk.Resample(
                pair.truth, found.scans.grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
            for name, method in METHODS.items():
                readings[name].add(pair, truth, *method(found))
            print(f"{patient}, {seed}: read", file=sys.stderr)
            near_lesions = ndimage.binary_dilation(truth > 0, iterations=2)
            stable.setdefault(patient, stable_z(found, near_lesions))
    return {
        "dataset": f"simulated follow-ups of real CTs, {LESIONS} simulated lesions wanted in each; "
                   f"asked for are those of at least {LEAST_MM:g} mm",
        **{name: each.summary() for name, each in readings.items()},
        "calibration_by_others": {
            patient: shares_within(by_patient(
                [z for other, z in stable.items() if other != patient])(values))
            for patient, values in stable.items()} if len(stable) > 1 else {},
    }


def _classical(found: Subtraction) -> tuple[list, np.ndarray]:
    change = np.where(found.compared, found.scans.current - found.expected, 0)
    return _candidates(read_calibration("classical")(found.z), change, found)


def _plain(found: Subtraction) -> tuple[list, np.ndarray]:
    """Difference of the aligned scans, in units of its spread over all of the bone."""
    change = np.where(found.compared, found.scans.current - found.scans.prior, 0)
    z = change / max(float(change[found.compared].std()), 1.0)
    return _candidates(z, change, found)


def _candidates(z, change, found: Subtraction) -> tuple[list, np.ndarray]:
    return find_candidates(z, change, found.compared, found.scans.grid.GetSpacing()[::-1])


METHODS: dict[str, Callable[[Subtraction], tuple[list, np.ndarray]]] = {
    "classical": _classical, "plain_subtraction": _plain}
