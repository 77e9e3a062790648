# SPDX-License-Identifier: Apache-2.0
"""The fast sampler of the published network draws what the network itself would draw."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from MuscleSegLib import seed_inference
from MuscleSegLib.inference import segment
from MuscleSegLib.networks import BayesianUNet
from MuscleSegLib.recipes import SEED
from MuscleSegLib.seed_inference import FusedBayesianUNet
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.montecarlo import dropout_active, summarise_samples

SPACING = (5.0, 3.0, 3.0)


def trained_like(seed: int = 0, **options) -> BayesianUNet:
    """A narrow network whose batch normalisation has seen images."""
    torch.manual_seed(seed)
    network = BayesianUNet(out_channels=5, filters=4, **options).train()
    for _ in range(10):
        network(torch.rand(2, 1, 64, 64))
    return network


@pytest.fixture(scope="module")
def network() -> BayesianUNet:
    return trained_like()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 48, 64, generator=torch.Generator().manual_seed(1))


def test_without_dropout_it_is_the_network(image):
    network = trained_like(dropout=0.0)
    with torch.inference_mode(), dropout_active(network, False):
        expected = network(image[None])[0]
        (found,) = FusedBayesianUNet(network, dtype=torch.float32).samples(image, 1, 0)
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_a_single_sample_is_drawn_as_published(network, image):
    """Without dropout the starter's Dice fell from 0.55 to 0.02, see the module."""
    drawn, fused = [], FusedBayesianUNet(network, dtype=torch.float32)
    with torch.inference_mode(), dropout_active(network, False):
        for seed in (0, 0, 1):
            drawn += fused.samples(image, 1, seed)
        plain = network(image[None])[0]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2], atol=0.1)
    assert not torch.allclose(drawn[0], plain, atol=0.1)


def test_with_the_same_masks_its_samples_are_the_networks(network, image, monkeypatch):
    fused = FusedBayesianUNet(network, dtype=torch.float32)
    draw, masks = fused._mask, []
    monkeypatch.setattr(fused, "_mask", lambda *given: masks.append(draw(*given)) or masks[-1])
    with torch.inference_mode():
        found = torch.stack(fused.samples(image, 3, 5))
        published = copy.deepcopy(network).eval()
        for block, mask in zip([*published.down, *published.up], masks, strict=True):
            block[-1].register_forward_hook(lambda layer, x, _, mask=mask: x[0] * mask)
        expected = published(image.expand(3, 1, -1, -1))
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 0.1  # the masks do matter


@pytest.mark.parametrize("dropout", [0.5, 0.2])
def test_its_samples_are_distributed_as_the_networks(image, dropout):
    network = trained_like(dropout=dropout)
    count = 160
    with torch.inference_mode(), dropout_active(network):
        torch.manual_seed(3)
        plain = torch.cat([network(image.expand(20, 1, -1, -1)) for _ in range(count // 20)])
        fused = torch.stack(FusedBayesianUNet(network, dtype=torch.float32)
                            .samples(image, count, 3))
        halves = plain[: count // 2], plain[count // 2 :]
    mean, uncertainty = summarise_samples(plain)
    found_mean, found_uncertainty = summarise_samples(fused)
    # two sets of the network's own samples differ by chance alone, and so may these
    by_chance = [(a - b).abs().mean() for a, b in
                 zip(*map(summarise_samples, halves), strict=True)]
    assert float((found_mean - mean).abs().mean()) < 1.2 * float(by_chance[0])
    assert float((found_uncertainty - uncertainty).abs().mean()) < 1.2 * float(by_chance[1])
    assert float(found_uncertainty.mean()) == pytest.approx(float(uncertainty.mean()), rel=0.05)


def test_samples_are_named_by_their_seed(network, image):
    fused = FusedBayesianUNet(network, dtype=torch.float32)
    with torch.inference_mode():
        first, again, other = (torch.stack(fused.samples(image, 3, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("count", [2, 5, 7])
def test_as_many_samples_as_asked(network, image, count):
    with torch.inference_mode():
        assert len(FusedBayesianUNet(network).samples(image, count, 0)) == count


@pytest.mark.parametrize("dropout", [0.5, 0.3])
def test_masks_keep_the_mean(dropout):
    fused = FusedBayesianUNet(BayesianUNet(filters=2, dropout=dropout), dtype=torch.float32)
    mask = fused._mask(torch.Size((2, 3, 70, 90)), torch.Generator().manual_seed(0))
    assert mask.shape == (2, 3, 70, 90)
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / (1 - dropout))]
    assert float(mask.mean()) == pytest.approx(1, abs=0.02)
    # neighbours in every direction are drawn independently
    centred = mask - 1
    for axis in range(4):
        shifted = centred.narrow(axis, 1, mask.shape[axis] - 1)
        others = centred.narrow(axis, 0, mask.shape[axis] - 1)
        assert abs(float((shifted * others).mean() / centred.square().mean())) < 0.03


def test_bfloat16_sees_almost_the_same(network, image):
    with torch.inference_mode():
        exact, rough = (
            torch.stack(FusedBayesianUNet(network, dtype=dtype).samples(image, 4, 5)).float()
            for dtype in (torch.float32, torch.bfloat16)
        )
    assert float((exact - rough).abs().mean()) < 0.05 * float(exact.std())


def test_the_network_is_not_changed(network, image):
    trained = copy.deepcopy(network).train()
    before = copy.deepcopy(trained.state_dict())
    fused = FusedBayesianUNet(trained)
    with torch.inference_mode():
        fused.samples(image, 2, 0)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert all(module.training for module in trained.modules())


# --- whole scans ---------------------------------------------------------------------------------


def threshold_network(dropout: float = 0.5) -> BayesianUNet:
    """The published layers with weights set by hand: bright voxels become class 1."""
    network = BayesianUNet(filters=4, dropout=dropout)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".1." in name or ".4." in name:  # batch normalisation
                continue
            parameter.zero_()
        for block in (network.down[0], network.up[-1]):
            block[0].weight[:, 0, 1, 1] = 1  # the image, or the skip's first feature
            block[3].weight[:, 0, 1, 1] = 1
        network.head.weight[1] = 10.0
        network.head.bias[:] = -30
        network.head.bias[0] = 0
        network.head.bias[1] = -4 * 10 * 0.6  # 150 HU
    return network


def scan() -> np.ndarray:
    ct = np.full((4, 70, 90), -1000, np.int16)
    ct[:, 10:60, 15:75] = 0
    ct[:, 25:45, 30:50] = 340
    ct[2, 15:17, 60:62] = 340  # an island
    return ct


def test_labels_are_on_the_grid_and_islands_are_gone():
    ct = scan()
    prediction = segment(ct, SPACING, threshold_network(dropout=0.0), SEED, 1)
    expected = ct == 340
    expected[:, :20] = False
    np.testing.assert_array_equal(prediction.labels == 1, expected)
    assert prediction.labels.dtype == np.uint8 and prediction.uncertainty.dtype == np.float32
    assert not prediction.uncertainty.any()


def test_air_around_the_body_changes_nothing():
    ct = scan()
    wide = np.pad(ct, ((0, 0), (64, 30), (48, 50)), constant_values=-1000)
    network = threshold_network(dropout=0.0)
    found = segment(wide, SPACING, network, SEED, 1).labels[:, 64:-30, 48:-50]
    np.testing.assert_array_equal(found, segment(ct, SPACING, network, SEED, 1).labels)


def test_samples_of_a_slice_do_not_depend_on_the_other_slices(monkeypatch):
    monkeypatch.setattr(seed_inference, "fast_in_bfloat16", lambda device: False)
    network, ct = threshold_network(), scan()
    whole = segment(ct, SPACING, network, SEED, 4, seed=9)
    part = segment(ct[:2], SPACING, network, SEED, 4, seed=9)
    other = segment(ct[:2], SPACING, network, SEED, 4, seed=10)
    np.testing.assert_array_equal(part.uncertainty, whole.uncertainty[:2])
    assert (other.uncertainty != part.uncertainty).any()
    assert 0 < whole.uncertainty.max() <= 1


def test_every_slice_is_told():
    told = []
    segment(scan(), SPACING, threshold_network(), SEED, 1,
            on_slices=lambda *counts: told.append(counts))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_nothing_but_air_is_refused():
    with pytest.raises(BadInput, match="nothing but air"):
        segment(np.full((3, 40, 40), -1000, np.int16), SPACING, threshold_network(), SEED, 1)
