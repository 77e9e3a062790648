# SPDX-License-Identifier: Apache-2.0
"""A toy model of BrainTumorClassify."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from BrainTumorClassifyLib.certainty import Certainty
from BrainTumorClassifyLib.engines import NETWORKS
from BrainTumorClassifyLib.features import FEATURES
from BrainTumorClassifyLib.model_writing import metadata_of
from BrainTumorClassifyLib.networks import TumorNetwork
from BrainTumorClassifyLib.starter import KINDS, ORIGIN
from ReadingRoomLib.bundles import write_bundle

TOY = {"classes": 3, "features": len(FEATURES), "widths": [8, 8, 8, 8], "hidden": 8}


def toy_certainty(count: int = 150, seed: int = 0, sure: float = 3.0) -> Certainty:
    """Answers of a network that is mostly right and far too sure, and codes by kind."""
    random = np.random.default_rng(seed)
    truth, learned = random.integers(0, 3, count), random.integers(0, 3, count)

    def codes(kinds):
        return np.eye(3, 8)[kinds] + 0.2 * random.normal(size=(len(kinds), 8))

    logits = sure * (2 * np.eye(3)[truth] + random.normal(size=(count, 3)))
    return Certainty(KINDS, logits, truth, codes(truth), codes(learned), learned,
                     tuple(f"patient {number}" for number in range(count)))


def toy_network() -> TumorNetwork:
    torch.manual_seed(3)
    return TumorNetwork(**TOY).eval()


def write_toy_model(folder: Path, certainty: Certainty | None = None) -> Path:
    """A small untrained network as a model of this module; returns its folder."""
    write_bundle(folder, {"_target_": NETWORKS[0], **TOY}, toy_network().state_dict(),
                 metadata_of(1, certainty or toy_certainty(), {}, ORIGIN), "# A toy\n",
                 overwrite=True)
    return folder
