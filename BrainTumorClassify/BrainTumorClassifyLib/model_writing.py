# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a bundle: metadata and card, of the starter and of a user's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import torch

from ReadingRoomLib.bundles import write_bundle

from .certainty import Certainty
from .engines import NETWORKS
from .evaluation import MOST_SLICES
from .networks import TumorNetwork
from .sequences import SEQUENCES
from .training_slices import PIXELS

FOLDER = Path(__file__).parent
HOW_IT_WORKS = (
    "A residual network looks at each slice of the region in T1, T2 and contrast-enhanced T1; "
    "attention over the slices (Ilse et al. 2018) and first-order radiomic features (IBSI) of the "
    "region turn what it saw into one answer for the patient. It was trained with sequences left "
    "out, so that T1 or T2 may be missing.")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        name: of the model.
        trained_on, measured_on: which patients, in words.
        simulated: whether any of those that it learned from were.
        began_with: in words, for the card; empty where that is not said.
        card: file of the card's text, beside this one.
        authors, rights: who made it, and its licence.
    """

    name: str
    trained_on: str
    measured_on: str
    simulated: bool
    began_with: str = ""
    card: str = "trained_card.md"
    authors: str = "the user of ReadingRoom who trained it"
    rights: str = "of whoever trained it"


def write_model(folder: Path, network: TumorNetwork, arguments: dict[str, Any], steps: int,
                certainty: Certainty, measured: dict[str, Any], origin: Origin) -> str:
    """Write a bundle; returns its SHA-256.

    Args:
        folder: of the bundle; what is there is replaced.
        network, arguments: its weights, and what it is built with.
        steps: of training.
        certainty: calibrated.
        measured: scores by name.
        origin: for metadata and card.
    """
    scores = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in measured.items())
    card = (FOLDER / origin.card).read_text("utf-8").format(
        name=origin.name, how_it_works=fill(HOW_IT_WORKS, 100), kinds=", ".join(certainty.kinds),
        trained_on=origin.trained_on, began_with=origin.began_with,
        patients=len(certainty.learned_truth), steps=steps, calibrated=len(certainty.truth),
        dataset=f"{origin.measured_on}.", scores=scores)
    return write_bundle(
        folder, {"_target_": NETWORKS[0], **arguments}, network.state_dict(),
        metadata_of(steps, certainty, measured, origin), card, dtype=torch.float16, overwrite=True)


def metadata_of(steps: int, certainty: Certainty, measured: dict[str, Any],
                origin: Origin) -> dict[str, Any]:
    """What a bundle says of itself; see :func:`write_model`."""
    image = {"type": "image", "modality": "MR", "dtype": "float32", "is_patch_data": True}
    return {
        "name": origin.name,
        "version": "0.1.0",
        "task": "Which kind of tumour in the brain",
        "description": HOW_IT_WORKS,
        "authors": origin.authors,
        "copyright": origin.rights,
        "recipe": "modern",
        "labels": {str(number): kind for number, kind in enumerate(certainty.kinds)},
        "spacing": None,
        "trained_on": origin.trained_on,
        "simulated": origin.simulated,
        "training_steps": steps,
        "may_be_missing": ["t1", "t2"],
        "certainty": certainty.written(),
        "eval_metrics": {"dataset": origin.measured_on, **measured},
        "network_data_format": {
            "inputs": {"image": {
                **image, "format": "magnitude", "value_range": [0, 1],
                "spatial_shape": [MOST_SLICES, PIXELS, PIXELS], "num_channels": len(SEQUENCES),
                "channel_def": dict(_numbered(SEQUENCES)),
            }},
            "outputs": {"pred": {
                **image, "format": "probabilities", "value_range": [0, 1], "spatial_shape": [1],
                "num_channels": len(certainty.kinds),
                "channel_def": dict(_numbered(certainty.kinds)),
            }},
        },
    }


def _numbered(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Numbers as text, as JSON wants keys, with their names."""
    return ((str(number), name) for number, name in enumerate(names))
