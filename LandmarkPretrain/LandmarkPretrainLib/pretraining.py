# SPDX-License-Identifier: Apache-2.0
"""From cases with landmarks to a network that knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ReadingRoomLib.live_training import train_with_curves
from ReadingRoomLib.training import TrainingSettings, steps_done

from .augmentation import UNCHANGED
from .fields import CubeBatches, VolumeBatches, field_loss
from .networks import LandmarkCascade, MiniVGG
from .prepared_cases import PreparedCase
from .recipes import MODERN, SEED, Recipe
from .sampling import known
from .shape_model import learn_shape
from .training_patches import PatchBatches

LOOKS = 4  # batches that the validation is
NEAR = 2.0  # voxels: a peak so close to the landmark is right
TITLE = "Landmarks, cases split by patient"
Say = Callable[[str, int, int], None]
"""Told what is trained, the steps done and the steps in all."""


def settings_of(name: str, steps: int, seed: int) -> dict[str, TrainingSettings]:
    """Settings of the trainings of a recipe, by what is trained.

    Args:
        name: of the recipe.
        steps: of each training; 0: the usual number.
        seed: of the random numbers.
    """
    common = {"warmup_steps": 50, "decay_share": 0.6, "average_decay": 0.99, "workers": 0,
              "weight_decay": 1e-2, "seed": seed}
    if name == SEED:
        return {"patches": TrainingSettings(steps or 1500, learning_rate=2e-3, **common)}
    return {"coarse": TrainingSettings(steps or 1000, learning_rate=2e-3, **common),
            "fine": TrainingSettings(steps or 1000, learning_rate=2e-3, **common)}


def train_recipe(recipe: Recipe, cases: Sequence[PreparedCase], seen: Sequence[PreparedCase],
                 landmarks: int, settings: Mapping[str, TrainingSettings], folder: Path,
                 device: str, say: Say, start: nn.Module | None = None,
                 grown_from: int = 0, same_names: bool = False) -> nn.Module:
    """Train a network, or go on with a training that was ended.

    Args:
        recipe: what is trained.
        cases: to learn from.
        seen: that are looked at meanwhile, and not learned from.
        landmarks: how many names.
        settings: from :func:`settings_of`.
        folder: of the unfinished training.
        device: to compute on.
        say: progress.
        start: network of the same recipe to begin with.
        grown_from: the seed recipe learns so many landmarks first, fewer than all (published: 20,
            then 60); 0: all at once.
        same_names: the start knows the same landmarks; otherwise its classes are learned anew.

    Returns:
        The network, on the CPU, in evaluation mode.

    Raises:
        BadInput: the folder holds another training.
    """
    if recipe.name == MODERN:
        return _train_fields(recipe, cases, seen, landmarks, settings, folder, device, say, start,
                             same_names)
    torch.manual_seed(settings["patches"].seed)
    network = MiniVGG(**recipe.arguments(grown_from or landmarks))
    if start is not None:
        begin_with(network, start, same_names and not grown_from)
    if grown_from:
        few = _train_patches(network, recipe, cases, seen, grown_from, settings["patches"],
                             folder / f"patches-{grown_from}", device, say)
        network = widened(few, recipe, landmarks)
    return _train_patches(network, recipe, cases, seen, landmarks, settings["patches"],
                          folder / "patches", device, say)


def widened(few: MiniVGG, recipe: Recipe, landmarks: int) -> MiniVGG:
    """A mini-VGG for more landmarks that begins with all that one for the first of them knows."""
    network = MiniVGG(**recipe.arguments(landmarks))
    begin_with(network, few)
    before, after = few.answer[1], network.answer[1]
    with torch.no_grad():
        after.weight[:before.out_features] = before.weight
        after.bias[:before.out_features] = before.bias
    return network


def begin_with(network: nn.Module, start: nn.Module, answers: bool = False) -> None:
    """Take over all weights that have the same name and shape, of the answers only on demand."""
    own = network.state_dict()
    given = {name: value for name, value in start.state_dict().items()
             if name in own and own[name].shape == value.shape
             and (answers or "answer." not in name)}
    network.load_state_dict(own | given)


def _train_patches(network: MiniVGG, recipe: Recipe, cases: Sequence[PreparedCase],
                   seen: Sequence[PreparedCase], landmarks: int, settings: TrainingSettings,
                   folder: Path, device: str, say: Say) -> nn.Module:
    data = PatchBatches(cases, landmarks, recipe.kind, settings.steps, settings.seed,
                        recipe.ranges, recipe.patches)
    looked = PatchBatches(seen or cases, landmarks, recipe.kind, LOOKS, settings.seed + 1,
                          UNCHANGED, recipe.patches)
    batches = [looked[number] for number in range(LOOKS)] if seen else []

    def look(network: nn.Module) -> dict[str, float]:
        found = [(network(batch["image"].to(device)).float().cpu(), batch["label"])
                 for batch in batches]
        return {"loss": sum(float(F.cross_entropy(*one)) for one in found) / LOOKS,
                "accuracy": sum(float(right_names(*one)) for one in found) / LOOKS}

    return _fit(network, data, F.cross_entropy, look if batches else None, right_names, settings,
                folder, device, say, "patches")


def right_names(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Share of patches that are named right."""
    return (logits.argmax(1) == truth).float().mean()


def _train_fields(recipe: Recipe, cases: Sequence[PreparedCase], seen: Sequence[PreparedCase],
                  landmarks: int, settings: Mapping[str, TrainingSettings], folder: Path,
                  device: str, say: Say, start: nn.Module | None,
                  same_names: bool) -> LandmarkCascade:
    torch.manual_seed(settings["coarse"].seed)
    network = LandmarkCascade(**recipe.arguments(landmarks))
    if start is not None:
        begin_with(network, start, same_names)
    shape = learn_shape([case.points for case in cases])
    for part, spacing, ranges in (("coarse", recipe.coarse_mm, recipe.ranges),
                                  ("fine", recipe.fine_mm, recipe.close_ranges)):
        def batches(of, steps, seed, ranges, part=part, spacing=spacing):
            if part == "coarse":
                return VolumeBatches(of, spacing, steps, seed, ranges)
            lying = [shape.turn(case.points, known(case.points).astype(float)) for case in of
                     ] if recipe.posed else None
            return CubeBatches(of, spacing, steps, seed, ranges, recipe.cubes, lying)

        data = batches(cases, settings[part].steps, settings[part].seed, ranges)
        looked = [batches(seen, LOOKS, settings[part].seed + 1, UNCHANGED)[number]
                  for number in range(LOOKS)] if seen else []

        def look(network: nn.Module, looked=looked) -> dict[str, float]:
            found = [(network(one["image"].to(device)).float().cpu(), one["label"])
                     for one in looked]
            return {"loss": sum(float(field_loss(*one)) for one in found) / LOOKS,
                    "accuracy": sum(float(right_places(*one)) for one in found) / LOOKS}

        trained = _fit(getattr(network, part), data, field_loss, look if looked else None,
                       right_places, settings[part], folder / part, device, say, part)
        setattr(network, part, trained)
    return network.cpu().eval()


def right_places(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Share of the landmarks (n, landmarks, 3) whose highest logit is within two voxels."""
    images, names = torch.nonzero(torch.isfinite(places).all(2), as_tuple=True)
    if not len(images):
        return torch.ones(())
    flat = logits.detach()[images, names + 1].flatten(1).argmax(1)
    depth, height, width = logits.shape[2:]
    at = torch.stack([flat // (height * width), flat // width % height, flat % width], 1)
    apart = (at.float() - places[images, names]).square().sum(1).sqrt()
    return (apart <= NEAR).float().mean()


def _fit(network: nn.Module, data, loss: Callable, look: Callable | None, accuracy: Callable,
         settings: TrainingSettings, folder: Path, device: str, say: Say, part: str) -> nn.Module:
    done = min(steps_done(folder), settings.steps) if folder.exists() else 0
    say(part, done, settings.steps)
    return train_with_curves(
        network, data, loss, look or (lambda network: {}), accuracy, settings, folder, device,
        lambda step, value: say(part, step, settings.steps), TITLE).cpu().eval()
