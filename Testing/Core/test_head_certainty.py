# SPDX-License-Identifier: Apache-2.0
"""Probabilities that hold, sets of tags that hold the true one, and what is said of a network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from HeadCTTriageLib.answers import RECIPES
from HeadCTTriageLib.certainty import RED, Certainty
from HeadCTTriageLib.evaluation import (
    auc,
    auc_with_interval,
    calibration_error_by_chance,
    measure,
    share,
)
from HeadCTTriageLib.triage import Tag
from ReadingRoomLib.calibration import expected_calibration_error


def heads(count, seed, noise=1.5):
    """Tags, and scores of a network that is right about as often as its noise lets it."""
    random = np.random.default_rng(seed)
    tags = random.integers(0, 4, count)
    seen = tags + noise * random.normal(size=count)
    # far too sure of itself, as networks are
    return Certainty(4 * (seen[:, None] - [0.5, 1.5, 2.5]), tags)


@pytest.fixture(scope="module")
def known():
    return heads(300, 0)


@pytest.fixture(scope="module")
def fresh():
    return heads(2000, 1)


def test_probabilities_hold_on_new_heads(known, fresh):
    scores, urgent = fresh.scores[:, RED], fresh.tags >= Tag.RED
    before = expected_calibration_error(1 / (1 + np.exp(-scores)), urgent)
    after = expected_calibration_error([known.urgent(score)[0] for score in scores], urgent)
    assert before > 0.1  # sure of itself and wrong
    assert after < before / 2


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.floats(-20, 20), min_size=2, max_size=12))
def test_a_higher_score_is_never_less_urgent_and_lies_in_its_interval(scores):
    known = heads(100, 3)
    found = [known.urgent(score) for score in sorted(scores)]
    for probability, low, high in found:
        assert 0 <= low <= probability <= high <= 1
    assert all(a[0] <= b[0] + 1e-9 for a, b in zip(found, found[1:], strict=False))


def test_few_heads_leave_a_wide_interval():
    few, many = heads(100, 4), heads(3000, 4)

    def width(known):
        return np.mean([np.subtract(*known.urgent(score)[:0:-1]) for score in (-4, -1, 0, 1, 4)])

    assert width(few) > 2 * width(many)


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_sets_of_tags_hold_the_true_one_as_often_as_promised(fresh, error):
    # the promise is of calibrations on average; one of 75 heads of a tag may be off by some
    few = slice(0, 300)
    held = [[tag in known.tags_within(scores, error)
             for scores, tag in zip(fresh.scores[few], fresh.tags[few], strict=True)]
            for known in (heads(300, 100 + number) for number in range(12))]
    by_tag = [np.mean(held, 0)[fresh.tags[few] == tag].mean() for tag in Tag]
    assert np.mean(by_tag) == pytest.approx(1 - error, abs=0.03)
    assert min(by_tag) > 1 - error - 0.08  # for the heads of each tag by themselves
    one = heads(300, 0)
    assert np.mean([len(one.tags_within(scores, error)) for scores in fresh.scores]) < 4


def test_urgent_heads_are_rarely_called_able_to_wait(known, fresh):
    may = np.array([known.may_be(score, 0.1) for score in fresh.scores[:, RED]])
    urgent = fresh.tags >= Tag.RED
    assert may[urgent, 1].mean() > 0.85 and may[~urgent, 0].mean() > 0.85
    assert 0.02 < (may[:, 0] == may[:, 1]).mean() < 0.9  # says "uncertain", but not always


def test_the_smaller_the_error_the_more_is_uncertain(known, fresh):
    uncertain = [np.mean([len(set(known.may_be(score, error))) == 1
                          for score in fresh.scores[:, RED]]) for error in (0.02, 0.1, 0.25)]
    assert uncertain[0] > uncertain[1] > uncertain[2]


def test_nothing_is_excluded_where_too_few_heads_are_known():
    known = heads(60, 5)
    assert known.tags_within([50.0, 50.0, 50.0], 0.01) == list(Tag)
    assert known.may_be(99.0, 0.01) == (True, True)


def test_tag_probabilities_add_up_even_where_steps_contradict_each_other(known):
    found = known.tag_probabilities([-5.0, 5.0, 0.0])  # not yellow, but red?
    assert found.sum() == pytest.approx(1) and not np.signbit(found).any()  # none is "-0 %"


def test_certainty_survives_being_written(known):
    again = Certainty.read(known.written())
    assert np.allclose(again.scores, known.scores, atol=1e-4)
    assert again.urgent(0.3) == pytest.approx(known.urgent(0.3), abs=0.02)


@pytest.mark.parametrize("change", [
    {"tags": [0, 1]}, {"scores": [[0, 0]] * 300}, {"scores": [[np.nan] * 3] * 300},
    {"tags": [7] * 300}, {"tags": [0] * 300}])
def test_what_is_no_certainty_is_refused(known, change):
    with pytest.raises(ValueError, match="no scores of heads"):
        Certainty.read({**known.written(), **change})


def test_few_heads_scatter_about_the_truest_probability():
    random = np.random.default_rng(3)
    few, many = random.random(60), random.random(6000)
    assert calibration_error_by_chance(np.array([0.0, 1.0] * 30)) == 0
    assert calibration_error_by_chance(few) > 0.08
    assert calibration_error_by_chance(many) < 0.02


def test_the_calibration_error_of_known_cases():
    assert expected_calibration_error([1.0, 1.0, 0.0, 0.0], [1, 1, 0, 0]) == 0
    assert expected_calibration_error([0.9] * 10, [1] * 5 + [0] * 5) == pytest.approx(0.4)
    with_ends = expected_calibration_error([0.0, 1.0], [1, 0])
    assert with_ends == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_area_is_that_of_mann_and_whitney(seed):
    random = np.random.default_rng(seed)
    scores, positive = random.integers(0, 8, 40).astype(float), random.random(40) < 0.4
    positive[:2] = True, False
    wanted = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert auc(scores, positive) == pytest.approx(
        wanted / (positive.sum() * (~positive).sum()))


def test_intervals_hold_their_estimates(fresh):
    text = auc_with_interval(fresh.scores[:200, RED], fresh.tags[:200] >= Tag.RED)
    value, low, high = (float(part.strip("(to)")) for part in text.replace(" to", "").split())
    assert low < value < high
    assert share(np.array([True] * 59)) == "1.000 (0.939 to 1.000)"


def test_everything_a_card_says_is_measured(known, fresh):
    measured = measure(known, fresh.scores[:400], fresh.tags[:400], 0.1, 0.1)
    assert measured["heads"] == 400
    assert float(measured["calibration_error_after"]) < float(measured["calibration_error_before"])
    assert float(measured["sensitivity_at_threshold"].split()[0]) > 0.85
    assert set(measured) >= {"four_class_accuracy", "binary_auc", "uncertain",
                             "specificity_at_threshold", "true_tag_among_the_possible"}


# --- what networks say ---------------------------------------------------------------------------


def test_the_published_network_gets_the_mean_of_its_slices():
    logits = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6]]))
    answer = RECIPES["seed"].read([logits])
    at_least = 1 / (1 + np.exp(-answer.scores))
    assert at_least == pytest.approx([(0.3 + 0.9) / 2, (0.2 + 0.8) / 2, (0.1 + 0.6) / 2])
    assert answer.attention == pytest.approx([0.2, 0.8])
    assert answer.maps is None and answer.shift_mm is None


def test_certain_slices_give_finite_scores():
    answer = RECIPES["seed"].read([np.array([[900.0, 0, 0, 0]] * 8)])
    assert np.isfinite(answer.scores).all() and (answer.scores < -10).all()


def test_our_network_is_read_head_by_head():
    outputs = [np.array([[1.0, 0.5, -2.0]]), np.zeros((1, 5, 8)), np.full((1, 5, 8, 4, 4), -50.0),
               np.full((1, 5), 0.2), np.array([-0.6])]
    answer = RECIPES["modern"].read(outputs)
    assert answer.scores == pytest.approx([1, 0.5, -2])
    assert answer.kinds.shape == (5, 8) and answer.kinds[0, 0] == 0.5
    assert answer.maps.max() < 1e-9
    assert answer.shift_mm == pytest.approx(-6)
