# SPDX-License-Identifier: Apache-2.0
"""Models of this module: found, verified, built."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ReadingRoomLib import models
from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.errors import BadInput

from .certainty import Certainty
from .classification import Classifier
from .networks import TumorNetwork
from .sequences import NAMES, SEQUENCES

REGISTRY = Path(__file__).parent / "models.json"
NETWORKS = (f"{TumorNetwork.__module__}.{TumorNetwork.__qualname__}",)
SMALL = 32  # pixels of the slices on which a model is tried


def load_model(name: str) -> Bundle:
    """Find, verify and build a model.

    Args:
        name: in the registry, or folder of a bundle.

    Raises:
        ModelMissing, ModelUntrusted: it cannot be used.
    """
    return models.load_model(name, REGISTRY, NETWORKS, None, _fits)


def _fits(bundle: Bundle) -> bool:
    """Whether the network answers for the kinds that its metadata name."""
    known = Certainty.read(bundle.metadata["certainty"])
    if not set(bundle.metadata["may_be_missing"]) < set(SEQUENCES):
        return False
    slices = np.full((2, len(SEQUENCES), SMALL, SMALL), 0.5, np.float32)
    found = Classifier(bundle.network, known)(
        slices, [True] * len(SEQUENCES), 40.0, 30.0, explain=False)
    return found.attention.shape == (2,)


def classifier_of(bundle: Bundle, device: str, error: float) -> Classifier:
    """The model of a bundle, ready to classify."""
    return Classifier(bundle.network, Certainty.read(bundle.metadata["certainty"]), error, device)


def may_be_missing(bundle: Bundle) -> tuple[str, ...]:
    """Sequences that the model was trained to do without."""
    return tuple(bundle.metadata["may_be_missing"])


def check_missing(bundle: Bundle, missing: tuple[str, ...]) -> None:
    """Refuse a study that lacks more than the model can do without; raises BadInput."""
    if len(missing) > 1:
        named = " and ".join(NAMES[name] for name in missing)
        raise BadInput(f"{named} are missing: this model can do without one of them at most.")


def doubts_of_skull(bundle: Bundle, brain_only: bool) -> list[str]:
    """Why the model may not know such images: skull and scalp were in or out when it learned."""
    if brain_only == bool(bundle.metadata.get("brain_only", False)):
        return []
    if brain_only:
        return ["The model was trained with skull: its answer without skull is not to be relied "
                "on."]
    return ["The model was trained without skull: take it away (--brain-only)."]
