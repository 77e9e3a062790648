# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves against published values and brute force; boosting, FROC, draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from LandmarkPretrainLib.boosting import boost, probe
from LandmarkPretrainLib.delong import Placements, areas, compare, holm, interval, placements
from LandmarkPretrainLib.free_response import MISSED, FreeResponse, Marked, estimates, mark
from LandmarkPretrainLib.label_efficiency import efficiency, nested_draws
from LandmarkPretrainLib.transfer_bootstrap import (
    Wins,
    draw_patients,
    estimate,
    two_sided_p,
    wins_of,
)

# Data of DeLong, DeLong & Clarke-Pearson, Biometrics 1988 (ovarian cancer), as SAS/STAT's user
# guide prints them in "Comparing Receiver Operating Characteristic Curves" of PROC LOGISTIC:
# albumin, total protein, Krebs-Goplerud score (10 minus it counts), outcome
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""
# Outcome after subarachnoid haemorrhage (Good, Poor), WFNS grade and S100B in ug/L of 113 patients:
# Turck et al., Intensive Care Med 2010, the data that R's pROC documents its results on
HAEMORRHAGE = """
G1.13 G1.14 G1.1 G1.04 P3.13 P2.1 G5.47 P4.16 G1.18 G2.1 P5.12 G2.1 P5.44 P5.71 G1.04 G2.08 P5.49
G2.04 P2.07 P5.33 P2.09 G1.09 P1.07 G1.11 G1.07 G2.17 G1.07 G2.11 G1.13 G1.19 G3.05 G4.16 P2.41
G1.14 G4.34 P5.35 P4.48 G1.09 P4.96 P2.25 G5.5 G5.46 G1.16 G1.07 G2.43 G4.45 G1.11 G1.08 G2.09
P5.86 P5.52 G2.08 G1.06 G2.13 P5/2.07 G1.1 G2.14 G2.15 P2.07 G1.06 P5.77 G1.05 G1.09 P2.3 P5.03
P2.09 G1.04 P4.23 P5.7 G2.09 P4.27 P4.71 P1.08 P4.26 G1.08 G2.16 G1.09 P4.13 P2.1 G1.08 P2.11
G3.33 G2.11 G4.28 G2.07 G1.1 G4.32 P5.22 G1.07 G1.05 G5.24 G4.38 G2.1 G2.15 G1.08 G1.14 G1.1
G3.07 G1.04 G2.19 P5.56 P2.14 P2.58 P5.32 P5.82 P5.74 G2.15 G4.47 G4.17 P5.44 G1.15 G1.5 G1.48
"""


def ovarian():
    table = np.array(OVARIAN.split(), float).reshape(-1, 4)
    return np.stack([10 - table[:, 2], table[:, 0], table[:, 1]]), table[:, 3] == 1


def haemorrhage():
    words = HAEMORRHAGE.split()
    scores = [(float(word[1]), float(word[2:].lstrip("/"))) for word in words]
    return np.array(scores).T, np.array([word[0] == "P" for word in words])


def by_definition(scores, positive):
    """Areas and covariance as the paper defines them, pair by pair."""
    pairs = [(row[positive][:, None] > row[~positive])
             + 0.5 * (row[positive][:, None] == row[~positive]) for row in scores]
    m, n = pairs[0].shape
    return (np.array([each.mean() for each in pairs]),
            np.atleast_2d(np.cov([each.mean(1) for each in pairs])) / m
            + np.atleast_2d(np.cov([each.mean(0) for each in pairs])) / n)


# --- DeLong --------------------------------------------------------------------------------------


def test_the_data_of_the_paper_give_what_sas_prints():
    scores, positive = ovarian()
    found = areas(placements(scores, positive))
    assert found.values == pytest.approx([0.7258, 0.7366, 0.6478], abs=5e-5)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx([0.1028, 0.0927, 0.1000], abs=5e-5)
    contrast = np.array([[-1.0, 1, 0], [-1, 0, 1]])
    differences = contrast @ found.values
    chi_square = differences @ np.linalg.solve(contrast @ found.covariance @ contrast.T,
                                               differences)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)


def test_two_markers_give_what_proc_prints():
    scores, positive = haemorrhage()
    assert positive.sum() == 41 and len(positive) == 113
    found = areas(placements(scores, positive))
    assert found.values == pytest.approx([0.8236789, 0.7313686], abs=5e-8)
    tested = compare(found, 0, 1)
    assert tested.z == pytest.approx(2.209, abs=5e-4)
    assert tested.p == pytest.approx(0.02718, abs=5e-6)
    error = np.sqrt(found.covariance[1, 1])
    assert found.values[1] + 1.959964 * error * np.array([-1, 1]) == pytest.approx(
        [0.6301, 0.8326], abs=5e-5)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12), st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_midranks_give_what_the_definition_gives(seed, m, n, levels):
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (3, m + n)).astype(float)  # with many ties
    positive = random.permutation(np.arange(m + n) < m)
    found, (values, covariance) = (areas(placements(scores, positive)),
                                   by_definition(scores, positive))
    assert found.values == pytest.approx(values)
    assert found.values == pytest.approx([roc_auc_score(positive, row) for row in scores])
    assert found.covariance == pytest.approx(covariance, abs=1e-12)


def clustered(seed, patients=40, each=6, alike=1.5):
    """Scores (2, n), lesion, patient; normal samples of a patient share most of their luck, and so
    do lesions."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), each)
    lesion = np.tile(np.arange(each) < 2, patients)
    shared = random.normal(size=(2, patients, 2))[:, patient, lesion.astype(int)] * alike
    scores = lesion * np.array([[1.2], [1.0]]) + random.normal(size=(2, len(lesion))) + shared
    return scores, lesion, patient


def test_intervals_allow_for_patches_of_one_patient():
    """The spread over many studies is that of the clustered covariance; DeLong's is another."""
    studies = [clustered(seed) for seed in range(400)]
    values, whole, naive = [], [], []
    for scores, lesion, patient in studies:
        found = placements(scores, lesion)
        values.append(areas(found).values)
        naive.append(areas(found).covariance)
        whole.append(areas(found, patient[lesion], patient[~lesion]).covariance)
    true = np.cov(np.array(values).T)
    assert np.mean(whole, 0)[0, 0] == pytest.approx(true[0, 0], rel=0.2)
    assert np.mean(whole, 0)[1, 1] == pytest.approx(true[1, 1], rel=0.2)
    assert np.sqrt(np.mean(naive, 0)[0, 0]) < 0.85 * np.sqrt(true[0, 0])


def test_bootstrap_by_patient_agrees_with_the_clustered_covariance():
    scores, lesion, patient = clustered(3, patients=80)
    found = areas(placements(scores, lesion), patient[lesion], patient[~lesion])
    wins = wins_of(scores, lesion, patient, 80)
    assert wins.areas == pytest.approx(found.values)
    again = wins.resampled(draw_patients(80, (0, 1), 4000))
    assert again[0].std() == pytest.approx(np.sqrt(found.covariance[0, 0]), rel=0.08)
    difference = compare(found, 0, 1)
    low, high = np.quantile(again[0] - again[1], (0.025, 0.975))
    assert (low, high) == pytest.approx((difference.low, difference.high), abs=0.012)


def test_bootstrap_of_independent_samples_agrees_with_delong():
    scores, positive = haemorrhage()
    n = len(positive)
    found = areas(placements(scores, positive))
    again = wins_of(scores, positive, np.arange(n), n).resampled(draw_patients(n, (4,), 3000))
    assert again[1].std() == pytest.approx(np.sqrt(found.covariance[1, 1]), rel=0.08)
    assert two_sided_p(again[0] - again[1]) == pytest.approx(0.027, abs=0.015)


def test_a_resampling_is_the_area_of_the_drawn_samples():
    scores, lesion, patient = clustered(5, patients=6)
    weights = draw_patients(6, (0,), 20)
    again = wins_of(scores, lesion, patient, 6).resampled(weights)
    for weight, values in zip(weights, again.T, strict=True):
        drawn = np.repeat(np.arange(len(lesion)), weight[patient])
        assert values == pytest.approx([roc_auc_score(lesion[drawn], row[drawn])
                                        for row in scores])


def test_averaged_placements_are_the_mean_area():
    scores, lesion, patient = clustered(7)
    found = placements(scores, lesion)
    mean = Placements(found.positive.mean(0, keepdims=True), found.negative.mean(0, keepdims=True))
    both = areas(found, patient[lesion], patient[~lesion])
    one = areas(mean, patient[lesion], patient[~lesion])
    assert one.values[0] == pytest.approx(both.values.mean())
    assert one.covariance[0, 0] == pytest.approx(both.covariance.mean())


def test_intervals_stay_between_0_and_1():
    low, high = interval(0.98, 0.02**2)
    assert 0.85 < low < 0.98 < high < 1
    low, high = interval(0.5, 0.05**2)
    assert 0.5 - low == pytest.approx(high - 0.5) == pytest.approx(1.96 * 0.05, abs=0.003)
    assert np.isnan(interval(1.0, 0.0)).all()


def test_scores_that_rank_alike_are_not_tested():
    scores, positive = haemorrhage()
    found = areas(placements(np.stack([scores[0], 3 * scores[0] - 1]), positive))
    assert found.values[0] == found.values[1] and np.isnan(compare(found, 0, 1).p)


def test_no_area_without_two_classes_and_no_covariance_of_one_patient():
    with pytest.raises(ValueError, match="positive and negative"):
        placements(np.zeros((1, 3)), np.ones(3, bool))
    lesion = np.array([True, False, False])
    found = areas(placements(np.array([[2.0, 1, 3]]), lesion), np.array([0]), np.array([0, 1]))
    assert found.values[0] == 0.5 and np.isnan(found.covariance).all()


def test_holm_as_it_is_defined():
    adjusted = holm([0.01, 0.04, 0.03, np.nan, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, np.nan, 0.02], nan_ok=True)


# --- boosting ------------------------------------------------------------------------------------


def blobs(seed, n=300, d=12, shift=0.8):
    random = np.random.default_rng(seed)
    lesion = random.random(n) < 0.3
    features = random.normal(size=(n, d))
    features[:, :4] += shift * lesion[:, None]
    return features, lesion


def test_one_fit_gives_what_a_fit_of_each_size_gives():
    features, lesion = blobs(0)
    given, _ = blobs(1, 50)
    staged = boost(features, lesion, 12)(given)
    assert staged.shape == (12, 50)
    for learners in (1, 5, 12):
        assert boost(features, lesion, learners)(given)[-1] == pytest.approx(staged[learners - 1])


def test_more_weak_learners_tell_more_on_new_samples():
    scorer = boost(*blobs(0, 800), 60)
    features, lesion = blobs(1, 800)
    found = [roc_auc_score(lesion, row) for row in scorer(features)]
    assert len(np.unique(scorer(features)[0])) == 2, "one threshold on one feature"
    assert found[0] < 0.75 and found[-1] > 0.82


def test_a_perfect_feature_and_useless_ones_have_scores_for_all_stages():
    lesion = np.arange(40) < 10
    perfect = boost(lesion[:, None] * 1.0, lesion, 7)(lesion[:, None] * 1.0)
    assert perfect.shape == (7, 40) and (roc_auc_score(lesion, perfect[-1]) == 1)
    assert (boost(np.zeros((40, 3)), lesion, 7)(np.zeros((5, 3))) == 0).all()


def test_scores_do_not_depend_on_the_scale_of_features():
    features, lesion = blobs(0)
    scale = np.array([10.0 ** (k - 6) for k in range(12)])
    assert boost(features * scale + 5, lesion, 9)(features * scale + 5) == pytest.approx(
        boost(features, lesion, 9)(features), abs=1e-6)


def test_the_probe_is_linear_and_chosen_by_patient():
    features, lesion = blobs(0, 400)
    scorer = probe(features, lesion, np.arange(400) // 4)
    given, truth = blobs(1, 400)
    scores = scorer(given)
    assert scores.shape == (1, 400) and roc_auc_score(truth, scores[0]) > 0.82
    middle = scorer((given[:1] + given[1:2]) / 2)[0, 0]
    assert middle == pytest.approx(scores[0, :2].mean(), abs=1e-4)


# --- free response -------------------------------------------------------------------------------


def test_a_small_curve_by_hand():
    cases = [mark(0, np.array([0.9, 0.8, 0.3, 0.7]), np.array([0, 0, -1, -1]), 2),
             mark(1, np.array([0.6, 0.5, 0.2]), np.array([-1, 0, -1]), 1),
             Marked(2, np.array([]), np.array([0.1]))]
    assert cases[0].lesions.tolist() == [0.9, MISSED] and cases[0].false.tolist() == [0.3, 0.7]
    curve = FreeResponse(cases)
    false, found = curve.curve()
    assert found[-1] == pytest.approx(2 / 3) and false[-1] == pytest.approx(5 / 3)
    # 3 cases: 1/8 and 1/4 allow no false mark, 1/2 one, 1 three, 2 all five
    assert curve.sensitivities()[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3,
                                                      2 / 3])


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_sensitivities_keep_to_the_false_marks_and_weights_count_cases(seed):
    random = np.random.default_rng(seed)
    cases = [Marked(k, random.integers(0, 6, random.integers(0, 3)).astype(float),
                    random.integers(0, 6, random.integers(0, 9)).astype(float))
             for k in range(6)]
    if not sum(len(case.lesions) for case in cases):
        return
    curve = FreeResponse(cases)
    false, found = curve.curve()
    for rate, value in zip((0.5, 2.0), curve.sensitivities(rates=(0.5, 2.0))[0], strict=True):
        assert value == pytest.approx(found[false <= rate + 1e-9].max())
    weights = draw_patients(6, (seed,), 5)
    for weight, values in zip(weights, curve.sensitivities(weights), strict=True):
        drawn = [Marked(new, cases[old].lesions, cases[old].false)
                 for new, old in enumerate(np.repeat(np.arange(6), weight))]
        if sum(len(case.lesions) for case in drawn):
            assert values == pytest.approx(FreeResponse(drawn).sensitivities()[0])
        else:
            assert np.isnan(values).all()


def test_intervals_of_sensitivity_hold_their_value():
    random = np.random.default_rng(0)
    cases = [Marked(k, random.normal(1.5, 1, 1), random.normal(0, 1, 6)) for k in range(60)]
    each, mean = estimates([FreeResponse(cases)] * 2, draw_patients(60, (1,), 500))
    assert len(each) == 7 and mean.n == 60
    assert all(one.low <= one.value <= one.high for one in (*each, mean))
    assert 0.1 < each[3].high - each[3].low < 0.4
    with pytest.raises(ValueError, match="any lesion"):
        FreeResponse([Marked(0, np.array([]), np.array([1.0]))])


# --- draws of training cases ---------------------------------------------------------------------


@given(st.integers(4, 60), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_draws_are_nested_and_keep_the_share_of_lesions(count, seed):
    ill = np.random.default_rng(seed).random(count) < 0.6
    ill[0] = True
    sizes = (4, 10, 25, 100)
    draws, again = (nested_draws(ill, sizes, many, seed) for many in (3, 5))
    for number in range(3):
        chosen = [set(draw.patients) for draw in draws if draw.number == number]
        assert all(small <= large for small, large in zip(chosen, chosen[1:], strict=False))
    for draw in draws:
        assert len(set(draw.patients)) == draw.size <= count
        assert abs(ill[list(draw.patients)].sum() - ill.mean() * draw.size) <= 1
        assert ill[list(draw.patients)].any()
    assert sum(draw.size == count for draw in draws) == 1, "all patients are one draw"
    assert draws == [draw for number in range(3) for draw in again if draw.number == number]


def test_efficiency_varies_over_draws_and_patients():
    weights = draw_patients(40, (2,), 800)

    def group(strengths):
        found = []
        for strength in strengths:
            scores, lesion, patient = clustered(1, patients=40, alike=0.3)
            noise = np.random.default_rng(0).normal(size=len(lesion))
            found.append(wins_of(strength * scores[:1] + noise, lesion, patient, 40))
        return Wins(np.concatenate([each.wins for each in found]), found[0].lesions,
                    found[0].normals)

    alike, varied = group([0.5] * 4), group([0.1, 0.2, 1.0, 3.0])
    same, wide = (efficiency({10: wins}, weights, 0)[10] for wins in (alike, varied))
    assert same.n == 4 and wide.value == pytest.approx(varied.areas.mean())
    assert wide.high - wide.low > 1.3 * (same.high - same.low)
    gain = efficiency({10: varied}, weights, 0, {10: varied})[10]
    assert gain.value == gain.low == gain.high == 0


def test_an_estimate_without_resamplings_has_no_interval():
    assert np.isnan(estimate(0.7, np.full(10, np.nan), 3).low)
    assert np.isnan(two_sided_p(np.zeros(10)))
