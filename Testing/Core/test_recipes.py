# SPDX-License-Identifier: Apache-2.0
"""What the networks get to see, and the loss they are trained with."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from MuscleSegLib.recipes import (
    CLASSES,
    MODERN,
    RECIPES,
    SEED,
    Recipe,
    SimulatedSlabs,
    segmentation_loss,
    to_channels,
)
from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings, simulate
from ReadingRoomLib.phantoms.region_map import IGNORED, RegionMap, Tissue


def test_there_is_a_class_for_every_structure_and_one_for_the_rest():
    assert CLASSES == len(STRUCTURES) + 1
    assert set(RECIPES) == {"seed", "modern"}
    assert MODERN.channels == 10 and SEED.channels == 1


def test_published_window():
    hounsfield = torch.tensor([-1024.0, -150, 100, 350, 3071]).reshape(1, 1, 5)
    assert to_channels(hounsfield, SEED).flatten().tolist() == [0, 0, 0.5, 1, 1]


def test_channels_are_windows_of_neighbouring_slices():
    recipe = Recipe("test", ((0.0, 100.0), (0.0, 200.0)), None, context=1)
    slices = torch.arange(6.0)[:, None, None].expand(6, 2, 3) * 10
    channels = to_channels(slices, recipe)
    assert channels.shape == (4, 6, 2, 3)
    for item in range(4):
        below, middle, above = ((item + offset) * 10 for offset in range(3))
        assert channels[item, :, 0, 0].tolist() == pytest.approx(
            [below / 100, middle / 100, above / 100, below / 200, middle / 200, above / 200]
        )


def test_the_input_is_not_changed():
    hounsfield = torch.full((5, 4, 4), 5000.0)
    to_channels(hounsfield, MODERN)
    assert (hounsfield == 5000).all()


# --- simulated slabs -----------------------------------------------------------------------------

SMALL = SynthesisSettings(shape=(6, 32, 48), spacing=(3.0, 4.0, 4.0))


def anatomy(target: int) -> RegionMap:
    regions = np.zeros((20, 30, 40), np.uint8)
    regions[:, 4:26, 5:35] = 1
    tissue, targets = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    tissue[1], targets[1] = Tissue.MUSCLE, target
    return RegionMap(regions, (3.0, 4.0, 4.0), tissue, targets)


def slabs(seed=0, weights=(1.0, 1.0), count=40) -> SimulatedSlabs:
    sources = [(partial(simulate, anatomy(value), SMALL), weight)
               for value, weight in zip((4, 5), weights, strict=True)]
    return SimulatedSlabs(sources, count, MODERN, seed)


def test_an_item_is_a_small_batch():
    item = slabs()[3]
    assert item["image"].shape == (2, 10, 32, 48) and item["image"].dtype == torch.float32
    assert item["label"].shape == (2, 32, 48) and item["label"].dtype == torch.uint8
    assert 0 <= item["image"].min() and item["image"].max() <= 1


def test_items_depend_on_seed_and_number_alone():
    data = slabs()
    expected = data[7]
    data[0]
    torch.manual_seed(99)
    again = slabs()[7]
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    assert not torch.equal(slabs(seed=1)[7]["image"], expected["image"])
    assert not torch.equal(data[8]["image"], expected["image"])
    assert len(data) == 40


def largest_label(item) -> int:
    label = item["label"]
    return int(label.masked_fill(label == IGNORED, 0).max())


def test_anatomies_are_drawn_as_often_as_they_weigh():
    data = slabs(weights=(3.0, 1.0))
    drawn = [largest_label(data[index]) for index in range(40)]
    assert 22 <= drawn.count(4) <= 38 and drawn.count(5) >= 3
    only = slabs(weights=(0.0, 1.0))
    assert {largest_label(only[index]) for index in range(6)} <= {0, 5}


# --- loss ----------------------------------------------------------------------------------------


def test_loss_of_a_case_done_by_hand():
    # two voxels: truth 1 with probability 0.8, background with probability 0.6
    probability = torch.tensor([[[0.2, 0.6]], [[0.8, 0.4]]])
    target = torch.tensor([[[1, 0]]], dtype=torch.uint8)
    cross_entropy = -(math.log(0.8) + math.log(0.6)) / 2
    dice = (2 * 0.8 + 20) / ((0.8 + 0.4) + 1 + 20)
    loss = segmentation_loss(probability.log()[None], target)
    assert float(loss) == pytest.approx(cross_entropy + 1 - dice, abs=1e-6)


def test_a_perfect_answer_costs_next_to_nothing():
    target = torch.randint(0, 5, (2, 40, 40), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(target, 5).movedim(-1, 1) * 40.0
    assert float(segmentation_loss(logits, target.to(torch.uint8))) < 0.01
    assert float(segmentation_loss(logits.roll(1, 1), target.to(torch.uint8))) > 5


def test_ignored_voxels_have_no_say():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 4, 8, 8, generator=generator)
    target = torch.randint(0, 4, (1, 8, 8), generator=generator).to(torch.uint8)
    target[:, 4:] = IGNORED
    other = logits.clone()
    other[:, :, 4:] = torch.randn(1, 4, 4, 8, generator=generator) * 9
    assert float(segmentation_loss(logits, target)) == pytest.approx(
        float(segmentation_loss(other, target)))
    other.requires_grad_()
    segmentation_loss(other, target).backward()
    assert not other.grad[:, :, 4:].any() and other.grad[:, :, :4].any()


def test_background_alone_can_be_learnt_from():
    logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
    loss = segmentation_loss(logits, torch.zeros(1, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(4), abs=1e-5) and logits.grad.any()


def test_absent_structures_are_not_rewarded():
    target = torch.zeros(1, 8, 8, dtype=torch.uint8)
    target[:, :4] = 1
    logits = torch.nn.functional.one_hot(target.long(), 4).movedim(-1, 1) * 40.0
    # with the two absent classes counted as perfect, a wrong class 1 would cost a third only
    missed = torch.zeros_like(logits)
    missed[:, 0] = 40.0
    dice_part = float(segmentation_loss(missed, target)) - 20.0
    assert dice_part == pytest.approx(1 - 20 / (32 + 20), abs=0.01)
    assert float(segmentation_loss(logits, target)) < 0.01


def test_bfloat16_logits_are_summed_in_float32():
    logits = torch.randn(1, 23, 64, 64, generator=torch.Generator().manual_seed(2))
    target = torch.randint(0, 23, (1, 64, 64)).to(torch.uint8)
    rough = segmentation_loss(logits.bfloat16(), target)
    assert rough.dtype == torch.float32
    assert float(rough) == pytest.approx(float(segmentation_loss(logits, target)), rel=0.01)


def autograd_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The same loss from torch's own functions, which find the gradient themselves."""
    known = target != IGNORED
    index = target.long().masked_fill(~known, 0)
    one_hot = torch.nn.functional.one_hot(index, logits.shape[1]).movedim(-1, 1) * known[:, None]
    probability = logits.softmax(1) * known[:, None]
    cross_entropy = torch.nn.functional.cross_entropy(
        logits, target.long(), ignore_index=IGNORED, reduction="sum") / known.sum()
    actual, predicted = one_hot.sum((0, 2, 3)), probability.sum((0, 2, 3))
    dice = (2 * (one_hot * probability).sum((0, 2, 3)) + 20) / (actual + predicted + 20)
    return cross_entropy + 1 - dice[1:][actual[1:] > 0].mean()


@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_the_gradient_is_the_one_autograd_finds(factor):
    generator = torch.Generator().manual_seed(3)
    logits = (3 * torch.randn(2, 6, 9, 7, generator=generator)).requires_grad_()
    target = torch.randint(0, 5, (2, 9, 7), generator=generator).to(torch.uint8)
    target[0, :3] = IGNORED
    mine, theirs = segmentation_loss(logits, target), autograd_loss(logits, target)
    assert float(mine) == pytest.approx(float(theirs), rel=1e-5)
    gradients = [torch.autograd.grad(factor * loss, logits)[0] for loss in (mine, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-8)


def test_nothing_is_learnt_where_nothing_is_known():
    logits = torch.randn(1, 4, 8, 8, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), IGNORED, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0 and not logits.grad.any()
