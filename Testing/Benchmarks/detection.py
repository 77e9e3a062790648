# SPDX-License-Identifier: Apache-2.0
"""How well new bone lesions are found: simulated lesions in simulated follow-ups of real CTs.

The peer is plain subtraction after the same registration, grouped into candidates in the same way.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from figures import draw_froc, draw_qq
from scipy import ndimage

from ReadingRoomLib.bundles import load_bundle
from ReadingRoomLib.errors import BadInput
from TemporalSubtractionLib.candidates import strength_of
from TemporalSubtractionLib.comparison import Classical, Compared, Method, Prediction
from TemporalSubtractionLib.learned import NETWORK_OF, Learned
from TemporalSubtractionLib.lesions import Lesion
from TemporalSubtractionLib.recipes import RECIPES
from TemporalSubtractionLib.simulated_pairs import patients, simulated_pair
from TemporalSubtractionLib.starter import FOLDS, alike, held_out, shares_within, voxels_of
from TemporalSubtractionLib.subtraction import AlikeScans, read_calibration, subtract

SEEDS = (5, 6)  # of follow-ups and lesions on which nothing was chosen
LESIONS = 10  # wanted in each pair
LEAST_MM = 8.0  # lesions that have to be found
RATES = (0.5, 1.0, 2.0, 4.0)  # false positives a case
RESAMPLINGS = 2000
PLAIN = "plain_subtraction"
NETWORKS = Path(__file__).parent / "SubtractionFolds"


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

    def add(self, patient: str, lesions: tuple[Lesion, ...], truth: np.ndarray, found: list,
            labels: np.ndarray) -> None:
        """Note the candidates of one case; small lesions are neither asked for nor false."""
        best = dict.fromkeys(np.unique(truth[truth > 0]).tolist(), -np.inf)
        wrong = self.false.setdefault(patient, [])
        for candidate in found:
            touched = np.unique(truth[(labels == candidate.number) & (truth > 0)]).tolist()
            for number in touched:
                best[number] = max(best[number], candidate.score)
            if not touched:
                wrong.append(candidate.score)
        large = [lesion.number for lesion in lesions if lesion.diameter_mm >= LEAST_MM]
        self.hits.setdefault(patient, []).extend(
            best[number] for number in large if number in best)
        self.cases[patient] = self.cases.get(patient, 0) + 1

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


@dataclass
class Results:
    """What all methods made of all cases.

    Attributes:
        readings: by method.
        stable: by method and patient, z of bone that did not change.
    """

    readings: dict[str, Readings] = field(default_factory=dict)
    stable: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def read(self, patient: str, lesions: tuple[Lesion, ...], truth: np.ndarray,
             scans: dict[bool, AlikeScans], methods: list[Method]) -> None:
        """Let all methods read a case.

        Args:
            patient: name.
            lesions: that were put there.
            truth: their numbers on the grid of the comparison.
            scans: made alike, with and without matching.
            methods: that may be measured on this patient.
        """
        unchanged = ~ndimage.binary_dilation(truth > 0, iterations=2)
        for method in methods:
            found = subtract(scans[method.matched], method)
            self.readings.setdefault(method.name, Readings()).add(
                patient, lesions, truth, found.candidates, found.labels)
            self.stable.setdefault(method.name, {}).setdefault(patient, voxels_of(
                found.prediction.z[scans[method.matched].pair.where & unchanged]))

    def summary(self, pictures: Path) -> dict:
        """Numbers, and the curves as ``froc.png`` and ``qq.png``."""
        z = {name: patients for name, patients in self.stable.items() if name != PLAIN}
        draw_froc({name: partial(each.sensitivity, patients=list(each.cases))
                   for name, each in self.readings.items()}, pictures / "froc.png")
        draw_qq(z, pictures / "qq.png")
        return {
            "dataset": f"simulated follow-ups of real CTs, {LESIONS} simulated lesions wanted in "
                       f"each; asked for are those of at least {LEAST_MM:g} mm; networks were not "
                       "shown the patient",
            **{name: each.summary() for name, each in self.readings.items()},
            "share_of_stable_bone": {name: {patient: shares_within(values)
                                            for patient, values in each.items()}
                                     for name, each in z.items()},
        }


def of_all_methods(data: Path, pictures: Path, folds: Path = NETWORKS) -> dict:
    """FROC of all methods, and the calibration of z in what did not change, by patient.

    Args:
        data: folder with the CTs.
        pictures: folder that gets the curves.
        folds: folder with the bundles that were not shown some of the patients each.
    """
    results = Results()
    for patient, ct in patients(data):
        methods = methods_for(patient, folds)
        for seed in SEEDS:
            try:
                pair = simulated_pair(patient, ct, seed, LESIONS)
            except BadInput as refused:
                print(f"{patient}, {seed}: {refused}", file=sys.stderr)
                continue
            scans = {matched: alike(pair, matched) for matched in (True, False)}
            truth = sitk.GetArrayFromImage(sitk.Resample(
                pair.truth, scans[True].harmonised.grid, sitk.Transform(),
                sitk.sitkNearestNeighbor, 0))
            results.read(patient, pair.lesions, truth, scans, methods)
            print(f"{patient}, {seed}: read", file=sys.stderr)
    return results.summary(pictures)


@dataclass(frozen=True)
class PlainSubtraction:
    """Difference of the aligned scans, in units of its spread over all of the bone."""

    name: str = PLAIN
    matched: bool = False

    def __call__(self, pair: Compared) -> Prediction:
        change = np.where(pair.where, pair.current - pair.prior, 0)
        error = max(float(change[pair.where].std()), 1.0)
        z = change / error
        return Prediction(pair.prior, np.where(pair.where, error, 0), z,
                       strength_of(z, pair.where, pair.spacing))


def methods_for(patient: str, folds: Path = NETWORKS) -> list[Method]:
    """All that can be measured on a patient."""
    methods: list[Method] = [PlainSubtraction(), Classical(read_calibration())]
    for recipe in RECIPES:
        for fold in range(FOLDS):
            bundle = folds / f"{recipe}-{fold}"
            if patient in held_out(fold) and bundle.is_dir():
                methods.append(Learned.of(load_bundle(bundle, NETWORK_OF.values()), "cpu"))
    return methods
