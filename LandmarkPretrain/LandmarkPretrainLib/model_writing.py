# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a bundle: metadata and card, of the starter and of a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import torch

from ReadingRoomLib.bundles import write_bundle
from ReadingRoomLib.estimates import Estimate

from .engines import LandmarkModel
from .fields import MULTIPLE
from .patches import PIXELS
from .recipes import MODERN, SEED

FOLDER = Path(__file__).parent
HOW_IT_WORKS = {
    SEED: "A mini-VGG looks at 2.5D patches (axial, coronal and sagittal plane through a point) "
          "and names the landmark in the middle, or none. To find landmarks it is asked at every "
          "point of a lattice, then at finer ones; a shape model of the training set chooses the "
          "set that a body can have.",
    MODERN: "A U-Net says for every voxel of the coarse image which landmark is there, if any; a "
            "second one looks closely around each place. Both are trained with a softmax over "
            "places and one over names. A shape model of the training set chooses the set that a "
            "body can have.",
}
STATED = {"mre_mm": "Mean radial error, mm", "median_error_mm": "Median radial error, mm",
          "found": "Landmarks found", "invented": "Landmarks found that are not in the image",
          "top_1": "Patches named right (top-1)", "top_5": "Right name among five (top-5)",
          "top_1_landmarks": "Top-1, landmarks alone", "top_1_none": "Top-1, places of none alone"}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        name: of the model.
        trained_on, measured_on: which cases, in words.
        simulated: whether any of those that it learned from were.
        began_with: in words, for the card.
        card: file of the card's text, beside this one.
        authors, rights: who made it, and its licence.
    """

    name: str
    trained_on: str
    measured_on: str
    simulated: bool
    began_with: str
    card: str = "trained_card.md"
    authors: str = "the user of ReadingRoom who trained it"
    rights: str = "of whoever trained it"


def stated(name: str) -> str:
    """What a measured number is called."""
    if name.startswith("sdr_"):
        return f"Found within {name[4:-3]} mm (SDR)"
    return STATED[name]


def write_model(folder: Path, model: LandmarkModel, steps: int, patients: int,
                measured: Mapping[str, Estimate], origin: Origin) -> str:
    """Write a bundle; returns its SHA-256.

    Args:
        folder: of the bundle; what is there is replaced.
        model: with shape and confidence.
        steps: of training.
        patients: that it learned from.
        measured: scores by name.
        origin: for metadata and card.
    """
    scores = "\n".join(f"- {stated(name)}: {value.in_full()}" for name, value in measured.items())
    card = (FOLDER / origin.card).read_text("utf-8").format(
        name=origin.name, how_it_works=fill(HOW_IT_WORKS[model.recipe.name], 100),
        landmarks=len(model.names), names=fill(", ".join(model.names), 100),
        trained_on=origin.trained_on, began_with=origin.began_with, patients=patients, steps=steps,
        right_mm=f"{model.confidence.right_mm:g}", dataset=origin.measured_on, scores=scores,
        modality=model.modality)
    kind = type(model.network)
    return write_bundle(
        folder, {"_target_": f"{kind.__module__}.{kind.__qualname__}",
                 **model.recipe.arguments(len(model.names))},
        model.network.state_dict(), _metadata(model, steps, patients, measured, origin), card,
        dtype=torch.float16, overwrite=True)


def _metadata(model: LandmarkModel, steps: int, patients: int, measured: Mapping[str, Estimate],
              origin: Origin) -> dict[str, Any]:
    """What a bundle says of itself; see :func:`write_model`."""
    recipe = model.recipe
    modern = recipe.name == MODERN
    labels = {str(number): name for number, name in enumerate(("none", *model.names))}
    return {
        "name": origin.name,
        "version": "0.1.0",
        "task": "Where anatomical landmarks are",
        "description": HOW_IT_WORKS[recipe.name],
        "authors": origin.authors,
        "copyright": origin.rights,
        "recipe": recipe.name,
        "labels": labels,
        "spacing": [recipe.fine_mm] * 3,
        "trained_on": origin.trained_on,
        "simulated": origin.simulated,
        "training_steps": steps,
        "patients": patients,
        "modality": model.modality,
        "patch_mm": recipe.patch_mm,
        "built": recipe.written(),
        "shape": model.shape.written(),
        "confidence": model.confidence.written(),
        "eval_metrics": {"dataset": origin.measured_on,
                         **{name: str(value) for name, value in measured.items()}},
        "network_data_format": {
            "inputs": {"image": {
                "type": "image", "format": "hounsfield" if model.modality == "CT" else "magnitude",
                "modality": model.modality, "num_channels": 1 if modern else recipe.kind.channels,
                "spatial_shape": [f"{MULTIPLE}*n"] * 3 if modern else [PIXELS, PIXELS],
                "dtype": "float32", "value_range": [-1, 1], "is_patch_data": not modern,
                "channel_def": {"0": "image"} if modern else {
                    str(number): plane for number, plane in enumerate(
                        ("axial", "coronal", "sagittal") * recipe.sizes)},
            }},
            "outputs": {"pred": {
                "type": "image", "format": "logits", "num_channels": len(labels),
                "spatial_shape": [f"{MULTIPLE}*n"] * 3 if modern else [1], "dtype": "float32",
                "value_range": [], "is_patch_data": not modern, "channel_def": labels,
            }},
        },
    }
