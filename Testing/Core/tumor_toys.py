# SPDX-License-Identifier: Apache-2.0
"""Small pseudo-RGB images of tumours and small networks for them, for tests of the experiment.

Other processes import it, so it stands alone.
"""

from __future__ import annotations

import json

import numpy as np
from torch import nn

CLASSES = ("glioblastoma", "lymphoma", "meningioma")
SIDE = 16


def toy_network(name: str, classes: int) -> nn.Module:
    """A network that learns in few steps; "quick" and "slow" differ in width."""
    width = {"quick": 16, "slow": 8}[name]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), nn.Linear(16 * width, classes))


def toy_slices(label: int, patient: int, count: int, clear: float = 1.0) -> np.ndarray:
    """Slices (count, SIDE, SIDE, 3) of one patient: a pattern of its own over that of its class."""
    own = np.random.default_rng((1, patient)).normal(0, 40, (4, 4, 3))
    kind = np.random.default_rng((0, label)).normal(0, 40, (4, 4, 3))
    random = np.random.default_rng((2, patient))
    pattern = np.kron(own + clear * kind, np.ones((SIDE // 4, SIDE // 4, 1)))
    noise = random.normal(0, 10, (count, SIDE, SIDE, 3))
    return np.clip(128 + pattern + noise, 0, 255).astype(np.uint8)


def write_toy_list(folder, patients: int = 24, slices: int = 4, clear: float = 1.0, kinds=CLASSES):
    """Write images of several kinds of files and their list; returns its path."""
    entries = []
    for patient in range(patients):
        label = patient % len(kinds)
        array = toy_slices(label, patient, slices, clear)
        image = f"{patient}.npz"
        np.savez_compressed(folder / image, slices=array)
        entries.append({"image": image, "label": kinds[label], "patient": patient,
                        "site": "north" if patient % 2 else "south"})
    path = folder / "list.json"
    path.write_text(json.dumps({"training": entries[:-2], "validation": entries[-2:]}), "utf-8")
    return path
