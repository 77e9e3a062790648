# SPDX-License-Identifier: Apache-2.0
"""The published network is the published one, and the modern one shares its encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MuscleSegLib.networks import BayesianUNet, ContextUNet
from MuscleSegLib.recipes import CLASSES, MODERN
from ReadingRoomLib.montecarlo import dropout_active

PUBLISHED = (32, 64, 128, 256, 512)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def of_kind(module: nn.Module, kind: type) -> list:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def test_published_network_has_the_parameters_counted_by_hand():
    network = BayesianUNet()
    # two convolutions with bias, each with the scale and shift of its batch normalisation
    block = [
        (inputs * width * 9 + width + 2 * width) + (width * width * 9 + width + 2 * width)
        for inputs, width in [(1, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    ]
    assert [count(b) for b in network.down] == block
    assert [count(b) for b in network.up] == [1_771_008, 443_136, 110_976, 27_840]
    assert [count(u) for u in network.upsample] == [1_179_904, 295_040, 73_792, 18_464]
    assert count(network.head) == 32 * 23 + 23
    assert count(network) == 8_636_535


def test_published_layers():
    network = BayesianUNet()
    for block, width in zip([*network.down, *network.up], [*PUBLISHED, *PUBLISHED[-2::-1]],
                            strict=True):
        kinds = [type(layer) for layer in block]
        assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.Dropout]
        for convolution in of_kind(block, nn.Conv2d):
            assert convolution.kernel_size == (3, 3) and convolution.padding_mode == "reflect"
            assert convolution.out_channels == width
        assert block[-1].p == 0.5
    assert len(of_kind(network, nn.Dropout)) == 9
    assert len(of_kind(network, nn.ConvTranspose2d)) == 4
    for layer in network.upsample:
        assert layer.kernel_size == (3, 3) and layer.stride == (2, 2)
        assert layer.out_channels == layer.in_channels // 2


def test_published_network_starts_as_he_et_al():
    torch.manual_seed(0)
    convolution = BayesianUNet().down[3][3]  # 256 to 256
    assert float(convolution.weight.std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert not convolution.bias.any()


@pytest.mark.parametrize("level", range(4))
def test_upsampling_starts_as_bilinear_interpolation(level):
    layer = BayesianUNet().upsample[level]
    half = layer.out_channels
    ramp = torch.arange(6.0)[:, None] * 3 + torch.arange(7.0)[None] * 5
    image = torch.zeros(1, layer.in_channels, 6, 7)
    image[0, 1] = ramp
    image[0, 1 + half] = ramp  # both channels that an output channel is made from
    with torch.inference_mode():
        made = layer(image)[0]
    assert made.shape == (half, 12, 14)
    # every second value is an old one, those in between lie half way
    expected = torch.arange(11.0)[:, None] * 1.5 + torch.arange(13.0)[None] * 2.5
    assert torch.allclose(made[1, :11, :13], expected, atol=1e-4)
    assert not made[0].any() and not made[2:].any()


def test_published_network_takes_a_slice_of_512():
    network = BayesianUNet(filters=2)  # a narrow one, the sizes are the same
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 512, 512)).shape == (1, 23, 512, 512)
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 96, 160)).shape == (2, 23, 96, 160)


def test_published_network_draws_single_activations():
    torch.manual_seed(1)
    network = BayesianUNet(filters=4)
    image = torch.rand(1, 1, 32, 32)
    with dropout_active(network), torch.inference_mode():
        assert (network(image) != network(image)).any()
        dropped = network.down[0](image)[0]
    # single activations, not whole feature maps: of every map about half is dropped
    with dropout_active(network, False), torch.inference_mode():
        assert torch.equal(network(image), network(image))
        whole = network.down[0](image)[0]
    for before, after in zip(whole, dropped, strict=True):
        kept = after[before > 0]
        assert not len(kept) or 0.3 < float((kept > 0).float().mean()) < 0.7
    assert torch.equal(dropped[dropped > 0], 2 * whole[dropped > 0])


def test_modern_network_is_small_and_keeps_the_size_of_the_slice():
    network = ContextUNet(MODERN.channels, CLASSES)
    assert 2 * count(network) < 8e6  # bytes of a starter, which may have 10 MB
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 10, 48, 80)).shape == (1, 23, 48, 80)


def test_modern_encoder_is_the_same_for_all_samples_and_the_decoder_is_not():
    torch.manual_seed(2)
    network = ContextUNet(10, 5, (8, 16, 16, 16, 16), dropout=0.5)
    image = torch.rand(2, 10, 32, 32)
    with dropout_active(network), torch.inference_mode():
        first, second = network.encode(image), network.encode(image)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert (network.decode(first) != network.decode(first)).any()
    with dropout_active(network, False), torch.inference_mode():
        assert torch.equal(network.decode(first), network(image))


def test_modern_network_drops_whole_feature_maps_below_full_resolution_only():
    network = ContextUNet()
    kinds = [type(layer) for layer in network.dropout]
    assert kinds == [nn.Dropout2d] * 3 + [nn.Identity]


def test_modern_network_sees_the_neighbouring_slices():
    torch.manual_seed(3)
    network = ContextUNet(10, 5, (8, 16, 16, 16, 16)).eval()
    image = torch.rand(1, 10, 32, 32)
    with torch.inference_mode():
        expected = network(image)
        for channel in range(10):
            other = image.clone()
            other[:, channel] += 1
            assert not torch.allclose(network(other), expected)


def test_every_parameter_is_trained():
    torch.manual_seed(4)
    for network, image in ((BayesianUNet(filters=2), torch.rand(1, 1, 32, 32)),
                           (ContextUNet(10, 5, (8, 16, 16, 16, 16)), torch.rand(1, 10, 32, 32))):
        network.train()(image).square().sum().backward()
        assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_go_in_and_come_out_where_they_were(patch):
    torch.manual_seed(0)
    network = ContextUNet(3, 5, (8, 8, 8), patch, dropout=0.0).eval()
    assert network.multiple == 4 * patch
    side = 20 * network.multiple  # larger than what a pixel sees
    image = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        logits = network(image)
        moved = network(image.roll((network.multiple, 2 * network.multiple), (2, 3)))
    assert logits.shape == (1, 5, side, side)
    inside = slice(9 * network.multiple, 11 * network.multiple)
    expected = logits.roll((network.multiple, 2 * network.multiple), (2, 3))
    torch.testing.assert_close(moved[..., inside, inside], expected[..., inside, inside],
                               rtol=1e-4, atol=1e-4)
    # a pixel has an answer of its own, not one for the whole patch
    assert (logits[..., :-1, :] != logits[..., 1:, :]).float().mean() > 0.9
