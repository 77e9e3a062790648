# SPDX-License-Identifier: Apache-2.0
"""Scans of patients that a network has not learned from, segmented and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import SimpleITK as sitk
from torch import nn

from ReadingRoomLib.datalists import Pair, part_patients
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import whole_file

from .contrasts import Intensities, read_any, shown_to
from .evaluation import StructureScore, mean_uncertainties, scores_of_case
from .grids import on_input_grid, upright
from .inference import segment
from .label_names import NameTable
from .named_labels import reference_on
from .recipes import Recipe

TOLERANCE_MM = 1.0  # of the NSD, as `evaluate`


def folds_of(pairs: Sequence[Pair], folds: int, seed: int) -> dict[str, list[Pair]]:
    """The scans that each fold of a cross-validation holds out; no patient is in two of them.

    Raises:
        BadInput: there is one fold, or there are more folds than patients.
    """
    if not folds:
        return {}
    patients = len({pair.patient for pair in pairs})
    if folds == 1:
        raise BadInput("A cross-validation needs at least two folds: choose 0 for none, or 2 or "
                       "more (--folds).")
    if folds > patients:
        raise BadInput(f"There are {patients} patients to learn from, too few for {folds} folds: "
                       f"choose {f'2 to {patients}, or ' if patients > 1 else ''}0 for none "
                       "(--folds).")
    shares = {f"fold-{number}": 1 / folds for number in range(1, folds + 1)}
    return part_patients(pairs, shares, lambda pair: 0, seed)


@dataclass(frozen=True)
class HeldOut:
    """What was found in a scan by a network that had not learned from its patient.

    Attributes:
        patient: whose scan it is.
        scores: of the structures that its reference names.
        confidence: mean probability of the chosen structures, see
            :class:`.prediction.Prediction`.
    """

    patient: str
    scores: tuple[StructureScore, ...]
    confidence: float


@dataclass(frozen=True)
class Measurement:
    """How held-out scans are segmented.

    Attributes:
        recipe, intensities: of the network.
        names: what labels mean that are not called as ours.
        samples: Monte Carlo samples.
        device, seed: of the computation.
    """

    recipe: Recipe
    intensities: Intensities
    names: NameTable
    samples: int
    device: str
    seed: int

    def of(self, network: nn.Module, pair: Pair, on_share: Callable[[float], None]) -> HeldOut:
        """Segment a scan and compare it with its reference on the scan's own grid.

        Args:
            network: of the recipe.
            pair: scan and reference.
            on_share: told the share that is done, 0 to 1.

        Raises:
            BadInput: the scan or its reference cannot be used.
        """
        source, _ = read_any(pair.image, self.intensities)
        reference, named = reference_on(source, pair.companion, lambda sentence: None, self.names)
        kind = {"intensities": self.intensities}
        volume, order = upright(source, kind)
        prediction = segment(
            shown_to(kind, sitk.GetArrayViewFromImage(volume)), volume.GetSpacing()[::-1], network,
            self.recipe, self.samples, self.device, self.seed,
            lambda done, total: on_share(0.8 * done / max(total, 1)))
        labels = on_input_grid(prediction.labels, source, order, "nearest")
        scores = scores_of_case(pair, labels, reference, named, TOLERANCE_MM,
                                mean_uncertainties(prediction))
        return HeldOut(pair.patient, tuple(scores), prediction.confidence)


def write_held_out(path: Path, found: Sequence[HeldOut]) -> None:
    """Keep what was found, for a training that goes on."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps([asdict(one) for one in found]), "utf-8")


def read_held_out(path: Path) -> list[HeldOut]:
    """What :func:`write_held_out` kept."""
    return [HeldOut(one["patient"], tuple(StructureScore(**score) for score in one["scores"]),
                    one["confidence"]) for one in json.loads(path.read_text("utf-8"))]
