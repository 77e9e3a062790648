# SPDX-License-Identifier: Apache-2.0
"""Toys: an average head, the CT of a head, and a model that judges heads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from HeadCTTriageLib.certainty import Certainty
from HeadCTTriageLib.starter import PLANS
from ReadingRoomLib.bundles import verify_bundle, write_bundle
from ReadingRoomLib.phantoms.head_findings import KINDS, Kind
from ReadingRoomLib.phantoms.head_template import HeadTemplate

RADII = (58.0, 78.0, 64.0)  # of the brain of the template, (z, y, x)
TOY_RADII = (66.0, 82.0, 68.0)  # of that of the toy


def make_template() -> HeadTemplate:
    """A toy: an ellipsoid of brain with two ventricles."""
    size = [int(2 * radius) + 90 for radius in RADII]
    z, y, x = np.meshgrid(*[np.arange(n) - n // 2 for n in size], indexing="ij", sparse=True)
    inside = sum((a / r) ** 2 for a, r in zip((z, y, x), RADII, strict=True)) < 1
    fluid = (z / 10) ** 2 + ((y + 5) / 28) ** 2 + ((np.abs(x) - 12) / 7) ** 2 < 1

    def signed(mask):
        return (ndimage.distance_transform_edt(~mask)
                - ndimage.distance_transform_edt(mask)).astype(np.float32)

    density = np.where(fluid, 8.0, 33.0).astype(np.float32)
    return HeadTemplate(density, signed(inside), signed(fluid), tuple(n // 2 for n in size))


def toy_certainty(count: int = 200, seed: int = 0) -> Certainty:
    """Scores of a network that is mostly right, and tags."""
    random = np.random.default_rng(seed)
    tags = random.integers(0, 4, count)
    seen = tags + 0.8 * random.normal(size=count)
    return Certainty(3 * (seen[:, None] - [0.5, 1.5, 2.5]), tags)


def write_toy_bundle(folder: Path, recipe: str = "modern", sees: Kind | None = None,
                     more: dict | None = None) -> Path:
    """A small untrained network as a model of this module; returns its folder.

    With ``sees`` it finds one large region of that kind everywhere; ``more`` is put into its
    metadata.
    """
    plan = replace(PLANS[recipe], **({
        "arguments": {"widths": [8, 8, 8, 8], "hidden": 8}} if recipe == "modern" else {}))
    network = plan.build()
    if sees:
        with torch.no_grad():
            network.backbone.maps.weight[KINDS.index(sees)] = 0
            network.backbone.maps.bias[KINDS.index(sees)] = 1
    write_bundle(
        folder, {"_target_": f"{type(network).__module__}.{type(network).__qualname__}",
                 **plan.arguments}, network.state_dict(),
        plan.metadata(1, toy_certainty(), {}) | (more or {}), "# A toy\n", overwrite=True)
    return folder


def toy_head(spacing=(2.0, 2.0, 4.0), lowest=-110.0, highest=110.0, skull_hu=1000.0, shift=(0, 0)):
    """A brain in a skull in a scalp: denser on the left, and with a nose in front."""
    axes = [np.arange(low, high, step) for low, high, step in zip(
        (-100, -120, lowest), (100, 120, highest), spacing, strict=True)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    z, y, x = z, y - shift[1], x - shift[0]

    def ball(more):
        return sum((a / (r + more)) ** 2 for a, r in zip((z, y, x), TOY_RADII, strict=True)) < 1

    density = np.full(z.shape, -1000.0)
    density[ball(14)] = 0.0
    density[(np.abs(x) < 8) & (y < -90) & (y > -112) & (np.abs(z) < 20)] = 40.0
    density[ball(8)] = skull_hu
    density[ball(0)] = np.where(x > 0, 40.0, 30.0)[ball(0)]
    density[(z < -50) & (np.hypot(x, y) < 18)] = 35.0  # foramen magnum, spinal cord
    image = sitk.GetImageFromArray(density.round().astype(np.int16))
    image.SetSpacing(spacing)
    image.SetOrigin([float(axis[0]) for axis in axes])
    return image


def write_toy_registry(folder: Path) -> Path:
    """A list with a toy called starter, which sees subdural blood everywhere; returns its path."""
    bundle = write_toy_bundle(folder / "starter", sees="calcification")
    entry = {"name": "starter", "module": "HeadCTTriage", "recipe": "modern", "path": "starter",
             "sha256": verify_bundle(bundle).sha256, "size": 1, "licence": "Apache-2.0",
             "card": "starter/docs/README.md", "trained_on": "nothing", "simulated": True}
    path = folder / "models.json"
    path.write_text(json.dumps({"models": [entry]}), "utf-8")
    return path
