# SPDX-License-Identifier: Apache-2.0
"""Statistics of the experiment and of agreement, against published and independent values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from BrainTumorClassifyLib.agreement import (
    CORRELATIONS,
    coefficient_of_variation,
    concordance,
    intraclass_correlations,
    within_subject_variation,
)
from BrainTumorClassifyLib.experiment_statistics import (
    Answers,
    accuracy,
    anova,
    balanced_accuracy,
    calibration_error,
    compare_all,
    corrected_t_test,
    estimate,
    holm,
    macro_auc,
    median_and_quartiles,
    reliability,
    sensitivity_of,
    tukey,
)
from ReadingRoomLib.calibration import expected_calibration_error
from ReadingRoomLib.estimates import Estimate

# Shrout & Fleiss, Psychological Bulletin 86 (1979), table 2: four judges, six targets
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
                   [6, 2, 4, 7]])
# their table 4, and intervals and further digits by pingouin 0.7.0
PRINTED = dict(zip(CORRELATIONS, (0.17, 0.29, 0.71, 0.44, 0.62, 0.91), strict=True))
PINGOUIN = dict(zip(CORRELATIONS, (
    (0.1657417684, -0.13, 0.72), (0.2897637795, 0.02, 0.76), (0.7148407148, 0.34, 0.95),
    (0.4427971337, -0.88, 0.91), (0.6200505476, 0.07, 0.93), (0.9093155424, 0.68, 0.99),
), strict=True))

# Bland & Altman, Lancet 1986: peak flow of 17 people by two meters, first reading of each
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# scikit-learn's documentation, "Statistical comparison of models using grid search": areas under
# the curve of two classifiers in 100 folds (10 times 10, of 100 cases), their difference in 0.04
FOLDS = """-1 -3 0 0 0 1 1 0 1 0 1 1 1 1 1 -1 0 0 0 0 -1 -1 1 -2 0 1 1 1 0 0 -1 1 0 0 1 0 0 1 1 0
1 0 0 0 0 0 0 2 0 0 0 1 1 1 0 1 -1 2 0 0 0 0 0 5 -1 0 1 0 0 0 0 1 1 2 0 1 0 -1 0 0 1 -2 1 0 1 0 0
0 0 0 0 -1 0 -1 0 0 1 2 0 0"""


def toy_answers(random, patients=12, each=4, classes=3, skill=1.5):
    """Answers that are right more often than not; the images of a patient are alike."""
    labels = np.repeat(np.arange(patients) % classes, each)
    logits = random.normal(size=(patients, classes)).repeat(each, 0)
    logits += random.normal(size=logits.shape) / 2
    logits[np.arange(len(labels)), labels] += skill
    odds = np.exp(logits)
    return Answers(labels, np.arange(patients).repeat(each), odds / odds.sum(1, keepdims=True))


def once(statistic, found):
    return float(statistic(found, np.ones((1, len(found.labels))))[0])


# --- agreement -----------------------------------------------------------------------------------


def test_the_six_intraclass_correlations_are_those_that_were_printed():
    found = intraclass_correlations(JUDGES)
    assert list(found) == list(CORRELATIONS)
    for name, each in found.items():
        assert round(each.value, 2) == PRINTED[name]
        value, low, high = PINGOUIN[name]
        assert each.value == pytest.approx(value, abs=1e-9)
        assert (round(each.low, 2), round(each.high, 2)) == (low, high)
        assert each.n == 6


def test_raters_that_agree_but_for_an_offset_are_told_apart_from_such_that_agree():
    values = np.arange(5.0)[:, None]
    same = intraclass_correlations(np.hstack([values, values]))
    assert all(each.value == pytest.approx(1) for each in same.values())
    shifted = intraclass_correlations(np.hstack([values, values + 3]))
    assert shifted["ICC(3,1)"].value == pytest.approx(1)
    # variances 2.5 between targets and 4.5 between raters, and no error
    assert shifted["ICC(2,1)"].value == pytest.approx(2.5 / (2.5 + 4.5))
    assert shifted["ICC(2,1)"].low <= shifted["ICC(2,1)"].value <= shifted["ICC(2,1)"].high
    assert math.isnan(intraclass_correlations(np.full((4, 2), 3.0))["ICC(1,1)"].value)


@pytest.mark.parametrize("table", [np.ones((1, 4)), np.ones((4, 1)), np.ones(4),
                                   [[1.0, np.nan], [2.0, 3.0]]])
def test_a_table_that_is_too_small_or_has_gaps_is_refused(table):
    with pytest.raises(ValueError, match="whole table"):
        intraclass_correlations(np.asarray(table))


def test_intervals_of_the_intraclass_correlation_hold_the_true_value_so_often():
    random = np.random.default_rng(0)
    held = []
    for _ in range(300):
        ratings = (random.normal(0, 2, (20, 1)) + random.normal(0, 1, (1, 4))
                   + random.normal(0, 1, (20, 4)))
        found = intraclass_correlations(ratings)["ICC(3,1)"]
        held.append(found.low <= 4 / 5 <= found.high)
    assert 0.91 < np.mean(held) < 0.99


def test_concordance_is_that_of_the_peak_flow_meters():
    found = concordance(WRIGHT, MINI)
    assert found.value == pytest.approx(0.942742, abs=1e-6)  # epiR's and DescTools' in R
    # Stata's concord: standard error 0.029; through Fisher's transformation it is not symmetric
    assert found.low < 0.943 - 1.96 * 0.029 < found.high < 0.943 + 1.96 * 0.029
    assert np.arctanh(found.high) - np.arctanh(found.low) == pytest.approx(
        2 * 1.96 * 0.0286167 / (1 - 0.942742**2), rel=1e-3)


def test_intervals_of_concordance_hold_the_true_value_so_often():
    random = np.random.default_rng(0)
    held = []
    for _ in range(400):
        true = random.normal(0, 2, 40)
        found = concordance(true + random.normal(0, 1, 40), true + 0.5 + random.normal(0, 1, 40))
        held.append(found.low <= 2 * 4 / (5 + 5 + 0.25) <= found.high)
    assert 0.92 < np.mean(held) < 0.98


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=3, max_size=20))
@settings(max_examples=50, deadline=None)
def test_concordance_is_symmetric_and_never_above_the_correlation(pairs):
    first, second = np.round(np.array(pairs).T, 3)
    found = concordance(first, second)
    if math.isnan(found.value):
        return
    assert found.value == pytest.approx(concordance(second, first).value)
    assert -1 - 1e-9 <= found.value <= 1 + 1e-9
    if first.std() > 0 and second.std() > 0:
        assert abs(found.value) <= abs(np.corrcoef(first, second)[0, 1]) + 1e-9


def test_variation_is_that_of_hand_calculation():
    assert coefficient_of_variation([9, 10, 11]) == pytest.approx(0.1)
    assert coefficient_of_variation([[5, 5], [1, 3]]).tolist() == pytest.approx(
        [0, math.sqrt(2) / 2])
    assert coefficient_of_variation([-1, 1]) == math.inf
    assert within_subject_variation([[9, 11], [20, 20]]) == pytest.approx(
        math.sqrt((math.sqrt(2) / 10) ** 2 / 2))


# --- tests ---------------------------------------------------------------------------------------


def test_the_corrected_test_is_that_of_scikit_learns_documentation():
    differences = 0.04 * np.array(FOLDS.split(), int)
    assert len(differences) == 100
    found = corrected_t_test(0.9 + differences, np.full(100, 0.9), 10 / 90)
    assert round(found.statistic, 3) == 0.750
    assert round(found.p / 2, 3) == 0.227  # they print one tail
    assert found.difference.value == pytest.approx(differences.mean())
    assert found.difference.low < 0 < found.difference.high


def test_without_overlap_the_corrected_test_is_the_paired_one():
    random = np.random.default_rng(0)
    first, second = random.normal(0.9, 0.02, 10), random.normal(0.88, 0.02, 10)
    found = corrected_t_test(first, second, 0.0)
    usual = stats.ttest_rel(first, second)
    assert found.statistic == pytest.approx(usual.statistic)
    assert found.p == pytest.approx(usual.pvalue)
    assert found.difference.low == pytest.approx(usual.confidence_interval().low)


def test_the_corrected_test_finds_less_in_overlapping_splits_than_the_usual_ones():
    random = np.random.default_rng(1)
    groups = {"a": random.normal(0.92, 0.01, 10), "b": random.normal(0.905, 0.01, 10)}
    assert tukey(groups)[0].p < compare_all(groups, 3 / 7)[0].p
    assert math.isnan(corrected_t_test([0.5, 0.6], [0.4, 0.5], 3 / 7).p)


def test_analysis_of_variance_and_tukey_are_those_of_a_textbook():
    # NIST/SEMATECH e-Handbook 7.4.3.3: three groups of five
    groups = {"1": [6.9, 5.4, 5.8, 4.6, 4.0], "2": [8.3, 6.8, 7.8, 9.2, 6.5],
              "3": [8.0, 10.5, 8.1, 6.9, 9.3]}
    f, p = anova(groups)
    assert f == pytest.approx(9.59, abs=0.005) and p == pytest.approx(0.0033, abs=5e-4)
    found = {each.pair: each for each in tukey(groups)}
    assert list(found) == [("1", "2"), ("1", "3"), ("2", "3")]
    assert found["1", "2"].difference.value == pytest.approx(5.34 - 7.72)
    assert found["1", "3"].p < 0.05 < found["2", "3"].p
    assert found["2", "3"].difference.low < 0 < found["2", "3"].difference.high
    constant = {"1": [0.5, 0.5], "2": [0.6, 0.6]}
    assert anova(constant) is None and tukey(constant) == []


def test_p_values_are_adjusted_by_holm():
    # Holm 1979 as in R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.5, math.nan, 0.9])
    assert adjusted[0] == 1.0 and math.isnan(adjusted[1]) and adjusted[2] == 1.0


# --- scores --------------------------------------------------------------------------------------


def test_scores_are_those_of_counting():
    random = np.random.default_rng(0)
    found = toy_answers(random)
    right = found.probabilities.argmax(1) == found.labels
    by_class = [right[found.labels == number].mean() for number in range(3)]
    assert once(accuracy, found) == pytest.approx(right.mean())
    assert once(sensitivity_of(1), found) == pytest.approx(by_class[1])
    assert once(balanced_accuracy, found) == pytest.approx(np.mean(by_class))
    assert once(calibration_error, found) == pytest.approx(
        expected_calibration_error(found.probabilities.max(1), right))
    areas = []
    for number in range(3):
        scores, true = found.probabilities[:, number], found.labels == number
        u = stats.mannwhitneyu(scores[true], scores[~true]).statistic
        areas.append(u / (true.sum() * (~true).sum()))
    assert once(macro_auc, found) == pytest.approx(np.mean(areas))


def test_scores_with_weights_are_those_of_repeated_cases():
    random = np.random.default_rng(1)
    found = toy_answers(random, each=2)
    # equal scores, too
    found = Answers(found.labels, found.patients, np.round(found.probabilities, 1))
    weights = random.integers(0, 4, (5, len(found.labels)))
    for statistic in (accuracy, balanced_accuracy, macro_auc, calibration_error,
                      sensitivity_of(2)):
        for weighted, row in zip(statistic(found, weights), weights, strict=True):
            again = np.repeat(np.arange(len(row)), row)
            repeated = Answers(found.labels[again], found.patients[again],
                              found.probabilities[again])
            assert weighted == pytest.approx(once(statistic, repeated), nan_ok=True)


def test_a_patient_gets_the_mean_of_its_images():
    found = Answers(np.array([0, 1, 0, 0]), np.array([7, 3, 7, 7]), np.array(
        [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])).by_patient()
    assert found.patients.tolist() == [3, 7] and found.labels.tolist() == [1, 0]
    assert found.probabilities == pytest.approx(np.array([[0.2, 0.8], [1.6 / 3, 1.4 / 3]]))
    assert found.right.tolist() == [True, True]


def test_reliability_holds_every_answer_once():
    runs = [toy_answers(np.random.default_rng(seed)) for seed in range(3)]
    bins = reliability(runs)
    assert sum(each["share"] for each in bins) == pytest.approx(1)
    assert sum(each["share"] * each["right"] for each in bins) == pytest.approx(
        np.mean([run.right.mean() for run in runs]))
    assert [each["probability"] for each in bins] == sorted(each["probability"] for each in bins)


def test_intervals_by_patient_are_as_wide_as_patients_vary():
    """Ten images of a patient that are all right or all wrong are no more than one."""
    random = np.random.default_rng(0)
    right = random.random(40) < 0.7
    one = Answers(np.zeros(40, int), np.arange(40),
                  np.where(right[:, None], [0.9, 0.1], [0.1, 0.9]))
    many = Answers(one.labels.repeat(10), one.patients.repeat(10), one.probabilities.repeat(10, 0))
    single, repeated = (estimate([each], accuracy) for each in (one, many))
    assert repeated == single and single.n == 40
    exact = stats.binomtest(int(right.sum()), 40).proportion_ci(method="wilson")
    assert single.low == pytest.approx(exact.low, abs=0.04)
    assert single.high == pytest.approx(exact.high, abs=0.04)


def test_a_difference_is_estimated_on_the_same_patients():
    random = np.random.default_rng(0)
    easy = toy_answers(random, patients=60, skill=3.0)
    hard = Answers(easy.labels, easy.patients, easy.probabilities[:, [1, 2, 0]])
    found = estimate([easy], accuracy, minus=[hard])
    assert found.value == pytest.approx(easy.right.mean() - hard.right.mean())
    assert 0 < found.low < found.value < found.high
    assert estimate([easy], accuracy, minus=[easy]) == Estimate(0.0, 0.0, 0.0, 60)


def test_a_class_that_a_repetition_does_not_test_is_left_out():
    random = np.random.default_rng(0)
    whole = toy_answers(random)
    part = whole.labels < 2
    less = Answers(whole.labels[part], whole.patients[part], whole.probabilities[part])
    assert estimate([whole, less], sensitivity_of(2)).value == pytest.approx(
        whole.right[whole.labels == 2].mean())
    assert math.isnan(estimate([less], sensitivity_of(2)).value)
    assert str(estimate([less], macro_auc)) == "cannot be measured"


def test_quartiles_are_those_of_r():
    assert median_and_quartiles([1, 2, 3, 4, 10, 11]) == pytest.approx((3.5, 2.25, 8.5))


def test_an_estimate_can_be_written_and_read():
    one = Estimate(0.5, math.nan, math.nan, 3)
    assert one.written() == {"value": 0.5, "low": None, "high": None, "n": 3}
    assert Estimate.read(one.written()).per_cent() == "50.0 %"
    assert Estimate(0.021, -0.01, 0.05, 9).per_cent("+") == "+2.1 (-1.0 to +5.0) %"
