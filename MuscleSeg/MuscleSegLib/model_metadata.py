# SPDX-License-Identifier: Apache-2.0
"""What every bundle of this module says of its network, in MONAI's words."""

from __future__ import annotations

from typing import Any

from .recipes import CLASSES, Recipe
from .structures import STRUCTURES


def metadata(recipe: Recipe, any_contrast: bool = False, **own: Any) -> dict[str, Any]:
    """Metadata of a bundle.

    Args:
        recipe: how its network sees an image.
        any_contrast: whether that is scaled by its own percentiles, instead of in HU.
        own: of this bundle, such as ``name``, ``trained_on``, limits and scores.

    Returns:
        The content of ``metadata.json``, following the schema of MONAI bundles.
    """
    unit = "scaled" if any_contrast else "HU"
    channels = [f"slice {offset:+d}, {low:g} to {high:g} {unit}" for low, high in recipe.windows
                for offset in range(-recipe.context, recipe.context + 1)]
    labels = {"0": "background", **{str(s.value): s.name for s in STRUCTURES}}
    tensor = {"type": "image", "spatial_shape": [16, 16], "dtype": "float32",
              "is_patch_data": True}
    return {
        "version": "0.1.0",
        "task": "Muscles and bones of hip and thigh" + ("" if any_contrast else " in CT"),
        "description": "22 structures of hip and thigh with Monte Carlo dropout uncertainty.",
        "recipe": recipe.name,
        "labels": labels,
        "spacing": list(recipe.spacing) if recipe.spacing else None,
        **own,
        "network_data_format": {
            "inputs": {"image": {
                **tensor, "format": "magnitude" if any_contrast else "hounsfield",
                **({} if any_contrast else {"modality": "CT"}),
                "num_channels": len(channels), "value_range": [0, 1],
                "channel_def": {str(i): channel for i, channel in enumerate(channels)}}},
            "outputs": {"pred": {
                **tensor, "format": "segmentation", "num_channels": CLASSES, "value_range": [],
                "channel_def": labels}},
        },
    }
