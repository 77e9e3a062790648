# SPDX-License-Identifier: Apache-2.0
"""What disturbs images, and how much it changes what is said of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from HeadCTTriageLib.answers import RECIPES
from HeadCTTriageLib.certainty import RED
from HeadCTTriageLib.engines import TorchEngine
from HeadCTTriageLib.networks import AlexNet, TriageNetwork
from HeadCTTriageLib.perturbations import (
    EVERYDAY,
    adversarial,
    compressed,
    dropped,
    noisy,
    shifted,
    turned,
)
from HeadCTTriageLib.robustness import draw_curves, measure_robustness, write_table
from HeadCTTriageLib.slices import in_windows

from .head_factory import toy_certainty


@pytest.fixture(scope="module")
def slices():
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.normal(size=(6, 64, 64)), [0, 3, 3])
    return (30 + 12 * smooth / smooth.std()).astype(np.float32)


def drawn(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("each", EVERYDAY, ids=lambda each: each.name)
def test_stronger_disturbs_more(each, slices):
    if each.apply is dropped:
        pytest.skip("loses slices instead of changing them")
    changed = [np.abs(each.apply(slices, strength, drawn()) - slices).mean()
               for strength in each.strengths]
    assert changed == sorted(changed) and changed[0] > 0


def test_what_disturbances_do(slices):
    assert (noisy(slices, 5, drawn()) - slices).std() == pytest.approx(5, rel=0.05)
    assert np.abs(shifted(slices, 7, drawn()) - slices) == pytest.approx(7)
    assert np.abs(compressed(slices, 10, drawn()) - slices).mean() < 3
    there = turned(turned(slices, 20, drawn(1)), -20, drawn(1))[:, 16:48, 16:48]
    assert np.abs(there - slices[:, 16:48, 16:48]).mean() < 1.5


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_slices_are_lost_in_order_and_never_all(share, seed):
    numbered = np.arange(24, dtype=float).reshape(24, 1, 1) * np.ones((1, 2, 2))
    left = dropped(numbered, share, drawn(seed))[:, 0, 0]
    assert len(left) == max(1, round(24 * (1 - share)))
    assert (np.diff(left) > 0).all()


@pytest.mark.parametrize("recipe", ["modern", "seed"])
def test_an_attack_moves_the_answer_more_than_noise_of_its_size(recipe, slices):
    known, by_noise, by_attack = RECIPES[recipe], 0.0, np.zeros(2)
    for seed in range(5):  # of untrained networks, some of which hardly look at anything
        torch.manual_seed(seed)
        network = (TriageNetwork(widths=(8, 8, 8, 8), hidden=8) if recipe == "modern"
                   else AlexNet()).eval()
        engine = TorchEngine(network)

        def score(density, engine=engine):
            shown = in_windows(density, known.sampling.windows)
            return known.read(engine(known.inputs(shown))).scores[RED]

        before = score(slices)
        sign = np.sign(drawn(seed).normal(size=slices.shape))
        by_noise += abs(score(slices + 2 * sign) - before)
        attacks = adversarial(network, known.sampling.windows, recipe == "modern")
        for number, attack in enumerate(attacks):
            attacked = attack.apply(slices, 2.0, drawn())
            assert np.abs(attacked - slices).max() <= 2 + 1e-4
            moved = score(attacked) - before
            by_attack[number] += moved if recipe == "seed" else -moved * np.sign(before)
    # away from where it was; the published network's mean over slices has a sign of its own
    assert (np.abs(by_attack) > 2 * by_noise).all()
    assert recipe == "seed" or (by_attack > 0).all()


def test_table_and_curves(slices, tmp_path):
    torch.manual_seed(0)
    network = TriageNetwork(widths=(8, 8, 8, 8), hidden=8).eval()
    rows = measure_robustness(TorchEngine(network), RECIPES["modern"], toy_certainty(),
                              [slices, slices + 3], EVERYDAY[:2])
    assert [row.strength for row in rows] == [2, 5, 10, 20] * 2
    assert all(0 <= row.mean_change <= row.largest_change <= 1 for row in rows)
    write_table(rows, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        assert [line["perturbation"] for line in csv.DictReader(file)] == (
            ["noise"] * 4 + ["window"] * 4)
    draw_curves(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_side_that_changes_is_counted(slices):
    certainty = toy_certainty()
    limit = certainty.threshold(0.05).value

    def brightness(inputs):
        score = np.float32(limit + 5 * (inputs[:, :, 0].mean() - slices.mean() / 80 - 0.02))
        return [np.array([[score] * 3]), np.zeros((1, 6, 8)), np.zeros((1, 6, 8, 4, 4)),
                np.full((1, 6), 1 / 6), np.zeros(1)]

    window = [EVERYDAY[1]]
    rows = measure_robustness(brightness, RECIPES["modern"], certainty, [slices] * 8, window)
    assert rows[0].changed in range(1, 8) or rows[1].changed in range(1, 8)  # up, not down
