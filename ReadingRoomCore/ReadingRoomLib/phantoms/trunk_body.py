# SPDX-License-Identifier: Apache-2.0
"""A body around a label map that has none: skin, fat and muscle, guessed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from .randomness import Randomness
from .trunk_tissues import BONES, marked, matching

CLOSING_MM = 40.0  # gaps between labels that are still within the body
OUTLINE_MM = 5.0  # grid on which the body is guessed


def with_body(labels: np.ndarray, names: Mapping[int, str], spacing, random: Randomness):
    """A map with skin, fat and muscle guessed around the labels, and its names."""
    fat_mm, wall_mm = random.uniform(8, 30), random.uniform(5, 12)
    step = max(1, round(OUTLINE_MM / min(spacing)))
    labelled = labels[::step, ::step, ::step] > 0
    at = np.array(spacing) * step
    reach = np.ceil(1.2 * CLOSING_MM / at).astype(int)
    # edge in z: the scan ends there, not the body
    labelled = np.pad(labelled, [(reach[0],) * 2, (0, 0), (0, 0)], mode="edge")
    labelled = np.pad(labelled, [(0, 0), *((r, r) for r in reach[1:])])
    # closing bridges from rib to rib and across the belly
    grown = ndimage.distance_transform_edt(~labelled, at) < CLOSING_MM
    depth = ndimage.distance_transform_edt(grown, at) - CLOSING_MM + fat_mm + wall_mm
    under_skin = _resized(depth[tuple(slice(r, -r) for r in reach)], labels.shape)
    free = [code for code in range(1, 256) if code not in names][-4:]
    guessed = dict(zip(("skin", "subcutaneous_fat", "skeletal_muscle", "mesentery"), free,
                       strict=True))
    layers = np.select([under_skin <= 0, under_skin < 2.0, under_skin < fat_mm,
                        under_skin < fat_mm + wall_mm],
                       [0, guessed["skin"], guessed["subcutaneous_fat"],
                        guessed["skeletal_muscle"]], guessed["mesentery"]).astype(np.uint8)
    bones = marked(labels, matching(names, BONES))[::step, ::step, ::step]
    if bones.any():  # muscles without a name lie around bones
        far = _resized(ndimage.distance_transform_edt(~bones, at), labels.shape)
        layers[(layers == guessed["mesentery"]) & (far < 14)] = guessed["skeletal_muscle"]
    return np.where(labels == 0, layers, labels), {
        **names, **{code: name for name, code in guessed.items()}}


def _resized(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return F.interpolate(
        torch.from_numpy(field.astype(np.float32))[None, None], size=shape,
        mode="trilinear")[0, 0].numpy()
