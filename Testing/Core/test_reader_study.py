# SPDX-License-Identifier: Apache-2.0
"""Reader studies: workbooks are read and written, and the analysis gives the published numbers."""

from __future__ import annotations

import csv
import re
import zipfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.reader_study.__main__ import app
from ReadingRoomLib.reader_study.analysis import (
    dorfman_berbaum_metz,
    obuchowski_rockette,
)
from ReadingRoomLib.reader_study.figures_of_merit import Figure, areas, curve, pairs_of
from ReadingRoomLib.reader_study.study import NOT_MARKED, ReaderStudy
from ReadingRoomLib.reader_study.workbook import COLUMNS, read_workbook, write_workbook
from ReadingRoomLib.results import read_result

STUDIES = Path(__file__).parents[3] / "shared" / "data" / "reader_studies"
needs_studies = pytest.mark.skipif(not STUDIES.is_dir(), reason="the published studies are absent")


def make(seed=0, modalities=2, readers=3, healthy=6, diseased=5, most=3, free_response=True,
         levels=5) -> ReaderStudy:
    """A study with ratings drawn at random, ties and missing marks among them."""
    random = np.random.default_rng(seed)
    cases = healthy + diseased
    weights = random.uniform(0.2, 1, (cases, most if free_response else 1))
    weights[:, 1:] *= random.random((cases, weights.shape[1] - 1)) < 0.5
    weights[:healthy] = 0
    weights[healthy:] /= weights[healthy:].sum(1, keepdims=True)
    read = modalities, readers, cases

    def ratings(count, present):
        drawn = random.integers(1, levels + 1, (*read, count)).astype(float)
        return np.where(present, drawn, NOT_MARKED)

    if free_response:
        lesion = ratings(weights.shape[1], (random.random((*read, most)) < 0.7) & (weights > 0))
        other = ratings(2, random.random((*read, 2)) < 0.5)
    else:
        lesion = ratings(1, weights > 0)
        other = ratings(1, weights == 0)
    names = [tuple(f"{word}{i}" for i in range(n)) for word, n in zip("mrc", read, strict=True)]
    return ReaderStudy(*names, weights, lesion, other, free_response)


studies = st.builds(make, seed=st.integers(0, 10**6), modalities=st.integers(2, 3),
                    readers=st.integers(2, 4), healthy=st.integers(2, 7),
                    diseased=st.integers(2, 7), free_response=st.booleans(),
                    levels=st.integers(2, 6))
quickly = settings(max_examples=30, deadline=None)


# --- figures of merit ----------------------------------------------------------------------------


@quickly
@given(studies, st.sampled_from(list(Figure)))
def test_the_area_under_the_curve_is_the_figure_of_merit(study, figure):
    for modality in range(len(study.modalities)):
        x, y = curve(study, figure, modality, 0)
        assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
        area = pairs_of(study, figure, modality, 0).area
        assert np.trapezoid(y, x) == pytest.approx(area, abs=1e-12)


@quickly
@given(studies, st.sampled_from(list(Figure)))
def test_the_jackknife_leaves_one_case_out(study, figure):
    if min(study.diseased.sum(), (~study.diseased).sum()) < 3:
        return
    for case in range(len(study.cases)):
        kept = [k for k in range(len(study.cases)) if k != case]
        without = replace(study, cases=tuple(study.cases[k] for k in kept),
                          weights=study.weights[kept],
                          lesion_ratings=study.lesion_ratings[:, :, kept],
                          other_ratings=study.other_ratings[:, :, kept])
        left, expected = areas(study, figure)[1][..., case], areas(without, figure)[0]
        np.testing.assert_allclose(left, expected)
        np.testing.assert_array_equal(left == 0, expected == 0)  # no rest of a subtraction


@quickly
@given(studies)
def test_the_roc_area_is_the_mann_whitney_statistic(study):
    ratings = study.case_ratings[0, 0]
    ill, healthy = ratings[study.diseased], ratings[~study.diseased]
    statistic = stats.mannwhitneyu(ill, healthy).statistic / (len(ill) * len(healthy))
    assert pairs_of(study, Figure.ROC, 0, 0).area == pytest.approx(statistic)


@quickly
@given(studies, st.sampled_from(list(Figure)))
def test_only_the_order_of_ratings_counts(study, figure):
    def stretched(ratings):
        return np.where(ratings > NOT_MARKED, np.exp(ratings) - 7, ratings)

    other = replace(study, lesion_ratings=stretched(study.lesion_ratings),
                    other_ratings=stretched(study.other_ratings))
    np.testing.assert_array_equal(areas(study, figure)[0], areas(other, figure)[0])


def test_figures_of_merit_of_a_study_small_enough_to_count():
    # healthy a: nothing; healthy b: a mark of 3. ill c: lesions of 4 (weight 0.75) and none (0.25);
    # ill d: a lesion of 2 and a false mark of 5
    study = ReaderStudy(
        ("m",), ("r",), ("a", "b", "c", "d"),
        np.array([[0, 0], [0, 0], [0.75, 0.25], [1, 0]]),
        np.array([[[[NOT_MARKED] * 2, [NOT_MARKED] * 2, [4, NOT_MARKED], [2, NOT_MARKED]]]]),
        np.array([[[[NOT_MARKED], [3], [NOT_MARKED], [5]]]]), True)

    def area(figure):
        return pairs_of(study, figure, 0, 0).area

    # against a: 4 wins, none ties, 2 wins; against b: 4 wins, none and 2 lose
    assert area(Figure.AFROC) == pytest.approx((1 + 0.5 + 1 + 1) / (2 * 3))
    assert area(Figure.WAFROC) == pytest.approx((0.75 + 0.125 + 1 + 0.75) / (2 * 2))
    assert area(Figure.ROC) == 1  # by the surest mark c has 4 and d has 5
    assert area(Figure.FROC) == pytest.approx(1 / (4 * 3))  # the mark of 3 loses once, of 5 never


def values(result) -> np.ndarray:
    """(modalities, readers)"""
    return np.array([[estimate.value for estimate in row] for row in result.areas])


# --- analysis ------------------------------------------------------------------------------------


def test_readers_that_agree_throughout_leave_nothing_to_test():
    """Every reader has the same difference; rounding must not make it a significant one."""
    study = make(206, 2, 2, 2, 3, free_response=False, levels=2)
    tests = {each.population: each.test for each in
             obuchowski_rockette(study, Figure.ROC).inferences}
    assert np.isnan(tests["readers"].p)


@quickly
@example(make(206, 2, 2, 2, 3, free_response=False, levels=2), Figure.ROC)
@given(studies, st.sampled_from([Figure.ROC, Figure.WAFROC]))
def test_both_methods_agree(study, figure):
    """Hillis, Berbaum & Metz 2008: with the jackknife they are one, but for F or chi-squared."""
    first, second = obuchowski_rockette(study, figure), dorfman_berbaum_metz(study, figure)
    for inference in first.inferences:
        ours, theirs = inference.test, second.tests[inference.population]
        if inference.population == "cases":  # that method does not limit what comes out below 0
            continue
        assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-6, nan_ok=True)
        assert ours.error_freedom == pytest.approx(theirs.error_freedom, rel=1e-6, nan_ok=True)
        assert ours.p == pytest.approx(theirs.p, rel=1e-6, nan_ok=True)
    cases, error = len(study.cases), first.components
    assert second.variances == pytest.approx({
        "reader": first.reader_variance,
        "case": cases * error.both,
        "modality x reader": second.variances["modality x reader"],
        "modality x case": cases * (error.readers - error.both),
        "reader x case": cases * (error.modalities - error.both),
        "error": cases * (error.error - error.modalities - error.readers + error.both),
    }, abs=1e-9)


@quickly
@given(studies)
def test_exchanged_modalities_turn_the_sign(study):
    turned = replace(study, modalities=study.modalities[::-1],
                     lesion_ratings=study.lesion_ratings[::-1],
                     other_ratings=study.other_ratings[::-1])
    first, second = (obuchowski_rockette(s, Figure.ROC) for s in (study, turned))
    for a, b in zip(first.inferences, second.inferences, strict=True):
        assert a.test.statistic == pytest.approx(b.test.statistic, nan_ok=True)
        differences = {e.name: e for e in b.differences}
        for estimate in a.differences:
            one, other = estimate.name.split(" - ")
            mirrored = differences[f"{other} - {one}"]
            assert estimate.value == pytest.approx(-mirrored.value)
            assert estimate.low == pytest.approx(-mirrored.high)


def test_random_readers_and_cases_alike_are_a_paired_t_test_over_readers():
    study = make(3, readers=6, healthy=20, diseased=20, free_response=False)
    result = obuchowski_rockette(study, Figure.ROC)
    expected = stats.ttest_rel(*values(result))
    only_readers = result.inferences[2]
    assert only_readers.population == "readers"
    assert only_readers.differences[0].statistic == pytest.approx(expected.statistic)
    assert only_readers.test.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert only_readers.differences[0].low == pytest.approx(interval.low)


def test_intervals_cover_no_difference_as_often_as_they_say():
    """Modalities drawn alike (simulated): 95 % intervals should hold 0 in about 95 % of studies."""
    covered = [e.low <= 0 <= e.high for seed in range(300)
               for e in obuchowski_rockette(
                   make(seed, healthy=20, diseased=20, free_response=False), Figure.ROC
               ).inferences[1].differences]
    assert stats.binomtest(sum(covered), len(covered), 0.95).pvalue > 0.001


def test_one_reader_is_compared_over_cases_only():
    study = make(1, readers=1)
    result = obuchowski_rockette(study, Figure.WAFROC)
    assert [inference.population for inference in result.inferences] == ["cases"]
    assert result.inferences[0].differences == result.readers["r0"]
    with pytest.raises(BadInput):
        dorfman_berbaum_metz(study, Figure.WAFROC)


def test_one_modality_has_a_mean_and_no_test():
    result = obuchowski_rockette(make(1, modalities=1), Figure.ROC)
    for inference in result.inferences:
        assert inference.test is None and not inference.differences
        assert inference.means[0].low < inference.means[0].value < inference.means[0].high


def test_a_study_without_any_error_is_not_tested():
    study = make(2, free_response=False)
    perfect = replace(study, lesion_ratings=np.where(study.lesion_ratings > NOT_MARKED, 9.0,
                                                     NOT_MARKED))
    result = obuchowski_rockette(perfect, Figure.ROC)
    assert (values(result) == 1).all()
    for inference in result.inferences:
        assert np.isnan(inference.test.p)
        assert inference.differences[0].low == inference.differences[0].high == 0


# --- the published studies -----------------------------------------------------------------------


class Printout:
    """The reference program's output, read from the top; every number is compared as printed."""

    def __init__(self, path: Path) -> None:
        self.lines = deque(line.strip() for line in path.read_text("latin-1").splitlines())

    def find(self, start: str) -> str:
        """The rest of the next line that begins with ``start``."""
        while not self.lines[0].startswith(start):
            self.lines.popleft()
        return self.lines.popleft().removeprefix(start)

    def expect(self, start: str, *values: float) -> None:
        """The next line that begins with ``start`` prints ``values`` and no other number."""
        line = self.find(start)
        numbers = re.findall(r"-?\d*\.?\d+", line)
        assert len(numbers) == len(values), line
        for number, value in zip(numbers, values, strict=True):
            assert f"{value:.{len(number.partition('.')[2])}f}" == number, (line, value)


@needs_studies
def test_the_analysis_gives_every_number_of_the_reference_program():
    """OR-DBM MRMC 2.51 of the University of Iowa, study of Van Dyke et al. 1993."""
    printout = Printout(STUDIES / "VanDyke_OR-DBM-MRMC-2.51_output.txt")
    find, expect = printout.find, printout.expect
    study = read_workbook(STUDIES / "VanDyke.xlsx")
    assert not study.free_response
    result = obuchowski_rockette(study, Figure.ROC)
    both, cases, readers = result.inferences
    assert [i.population for i in result.inferences] == ["readers and cases", "cases", "readers"]
    area, square, error = values(result), result.mean_squares, result.components
    mean = area.mean(1)
    interaction = square["modality x reader"]

    def expect_difference(start, estimate, *freedom) -> None:
        expect(start, estimate.value, estimate.standard_error, *freedom, estimate.statistic,
               estimate.p, estimate.low, estimate.high)

    find("TREATMENT x READER AUC ESTIMATES")
    for reader, (first, second) in enumerate(area.T, 1):
        expect(f"{reader} ", first, second)
    find("TREATMENT AUC MEANS")
    expect("1 ", mean[0])
    expect("2 ", mean[1])
    expect("1 - 2", mean[0] - mean[1])
    expect("T ", square["modality"], 1, square["modality"])
    expect("R ", 4 * square["reader"], 4, square["reader"])
    expect("T*R ", 4 * interaction, 4, interaction)
    expect("R ", 4, *area.var(1, ddof=1))

    expect("Var(R)", result.reader_variance)
    expect("Var(T*R)", result.interaction_variance)
    expect("COV1", error.modalities, error.modalities / error.error)
    expect("COV2", error.readers, error.readers / error.error)
    expect("COV3", error.both, error.both / error.error)
    expect("Var(Error)", error.error)
    variances = dorfman_berbaum_metz(study, Figure.ROC).variances
    for start, name in (("Var(R)", "reader"), ("Var(C)", "case"), ("Var(T*R)", "modality x reader"),
                        ("Var(T*C)", "modality x case"), ("Var(R*C)", "reader x case"),
                        ("Var(T*R*C) + Var(Error)", "error")):
        expect(start, variances[name])

    find("*****    Analysis 1")
    test = both.test
    expect("Treatment ", 1, square["modality"], test.statistic, test.p)
    expect("Error term ", test.error_freedom, square["modality"] / test.statistic)
    expect_difference("1 - 2", both.differences[0], test.error_freedom)
    find("c) Single-treatment")
    for start, e, own in zip("12", both.means, result.of_modality.values(), strict=True):
        expect(f"{start} ", e.value, e.standard_error, e.freedom, e.low, e.high, own.readers)

    find("*****    Analysis 2")
    find("X2 value")
    find("---")
    expect("", cases.test.statistic, 1, cases.test.p)
    expect_difference("1 - 2", cases.differences[0])
    find("c) Single treatment")
    for start, e in zip("12", cases.means, strict=True):
        expect(f"{start} ", e.value, e.standard_error, e.low, e.high)
    find("Treatment  Var(Error)")
    for start, own in zip("12", result.of_modality.values(), strict=True):
        expect(f"{start} ", own.error, own.readers)
    find("d) Single-reader")
    for start, (estimate,) in zip("12345", result.readers.values(), strict=True):
        expect_difference(f"{start}    1 - 2", estimate)
    find("Reader  Var(Error)")
    for start, own in zip("12345", result.of_reader.values(), strict=True):
        expect(f"{start} ", own.error, own.modalities)

    find("*****    Analysis 3")
    expect("Treatment ", 1, square["modality"], readers.test.statistic, readers.test.p)
    expect("T*R ", 4, interaction)
    expect_difference("1 - 2", readers.differences[0], 4)
    find("c) Single treatment")
    for start, e, own in zip("12", readers.means, area.var(1, ddof=1), strict=True):
        expect(f"{start} ", e.value, own, e.standard_error, 4, e.low, e.high)


@needs_studies
def test_free_response_study_has_the_published_figures_of_merit():
    """wAFROC areas of modalities 4 and 5 in the documentation of RJafroc (Zanca et al. 2009)."""
    study = read_workbook(STUDIES / "Froc.xlsx")
    assert study.modalities == ("4", "5") and study.readers == ("1", "3", "4", "5")
    assert study.free_response and study.diseased.sum() == 100 and len(study.cases) == 200
    np.testing.assert_allclose(areas(study, Figure.WAFROC)[0],
                               [[0.81013333, 0.74311667, 0.69435833, 0.82940833],
                                [0.74880000, 0.68227500, 0.65517500, 0.77125000]], atol=5e-9)


# --- workbooks -----------------------------------------------------------------------------------


@quickly
@given(study=studies)
def test_a_workbook_gives_the_study_back(tmp_path_factory, study):
    path = tmp_path_factory.mktemp("study") / "Stüdie 1.xlsx"
    write_workbook(study, path)
    again = read_workbook(path)
    assert again.modalities == study.modalities and again.readers == study.readers
    assert set(again.cases) == set(study.cases) and again.free_response == study.free_response
    order = [again.cases.index(case) for case in study.cases]
    assert (again.diseased[order] == study.diseased).all()
    for figure in Figure:
        np.testing.assert_allclose(areas(again, figure)[0], areas(study, figure)[0])
        np.testing.assert_allclose(areas(again, figure)[1][..., order], areas(study, figure)[1])


def write(path: Path, change=lambda sheets: None) -> Path:
    """A small sound workbook, changed."""
    sheets = {
        "TP": [COLUMNS["TP"], ("R", "M", 3, 1, 4), ("R", "M", 4, 1, 2), ("R", "M", 4, 2, 5)],
        "FP": [COLUMNS["FP"], ("R", "M", 1, 3), ("R", "M", 3, 1), ("R", "M", 3, 2)],
        "Truth": [COLUMNS["Truth"], (1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 1, 0.5), (4, 2, 0.5)],
    }
    change(sheets)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_small_workbook(tmp_path):
    study = read_workbook(write(tmp_path / "a.xlsx"))
    assert study.cases == ("1", "2", "3", "4") and study.free_response
    assert study.weights.tolist() == [[0, 0], [0, 0], [1, 0], [0.5, 0.5]]
    assert study.lesion_ratings[0, 0, 3].tolist() == [2, 5]
    assert study.other_ratings[0, 0, 2].tolist() == [1, 2]


@pytest.mark.parametrize("weights", [(0, 0), (1, 1), (0.5, 0.5), (0.33, 0.33), (7, 7)])
def test_only_the_ratio_of_weights_counts(tmp_path, weights):
    def change(sheets):
        sheets["Truth"][4:] = [(4, 1, weights[0]), (4, 2, weights[1])]

    assert read_workbook(write(tmp_path / "a.xlsx", change)).weights[3].tolist() == [0.5, 0.5]


def test_names_are_told_apart_without_case_and_punctuation(tmp_path):
    def change(sheets):
        sheets["ll"] = [("reader id", "MODALITYID", "caseId", "LesionID", "LL Rating"),
                        *sheets.pop("TP")[1:], (None,) * 5]
        sheets["NL "] = [("ReaderID", "ModalityID", "CaseID", "NL_Rating"), *sheets.pop("FP")[1:]]
        sheets["TRUTH"] = sheets.pop("Truth")

    study = read_workbook(write(tmp_path / "a.xlsx", change))
    assert study.lesion_ratings.max() == 5 and study.other_ratings.max() == 3


def test_numbers_are_in_the_order_of_numbers(tmp_path):
    def change(sheets):
        sheets["FP"] += [(10.0, "M", 1, 1), ("9", "M", 1, 1), ("b", "M", 1, 1)]

    assert read_workbook(write(tmp_path / "a.xlsx", change)).readers == ("9", "10", "R", "b")


def _set(sheet, row, column, value):
    def change(sheets):
        rows = sheets[sheet]
        rows[row] = (*rows[row][:column], value, *rows[row][column + 1 :])
    return change


@pytest.mark.parametrize(("change", "said"), [
    (lambda sheets: sheets.pop("FP"), "no sheet FP"),
    (_set("TP", 0, 4, "Confidence"), "no column TP_Rating"),
    (_set("Truth", 0, 2, None), "no column Weight"),
    (_set("TP", 1, 4, "sure"), "TP_Rating of case 3 is 'sure'"),
    (_set("TP", 1, 4, None), "TP_Rating of case 3"),
    (_set("FP", 1, 3, "nan"), "is no number"),
    (_set("FP", 1, 3, "inf"), "is no number"),
    (_set("FP", 1, 0, " "), "ReaderID is empty"),
    (_set("FP", 1, 2, 99), "case 99"),
    (_set("TP", 1, 2, 99), "case 99"),
    (_set("TP", 1, 3, 2), "lesion 2 of case 3"),
    (_set("TP", 2, 3, 2), "rated lesion 2 of case 4 twice"),
    (_set("Truth", 5, 1, 1), "twice"),
    (_set("Truth", 5, 1, 0), "both healthy"),
    (_set("Truth", 5, 2, -1), "below 0"),
    (_set("Truth", 1, 1, 1), "two of each"),
    (lambda sheets: sheets.update(TP=sheets["TP"][:1], FP=sheets["FP"][:1]), "no reader"),
    (lambda sheets: sheets.update(Truth=[]), "no column"),
    (lambda sheets: sheets["Truth"].__setitem__(slice(None), [
        (*row, "Paradigm" if not i else "ROC") for i, row in enumerate(sheets["Truth"])]),
     "in a ROC study"),
])
def test_a_workbook_that_is_wrong_says_where(tmp_path, change, said):
    with pytest.raises(BadInput) as caught:
        read_workbook(write(tmp_path / "study 7.xlsx", change))
    assert said in caught.value.message


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_what_is_no_workbook_is_refused(tmp_path, content):
    path = tmp_path / "study.xlsx"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="study.xlsx is not an Excel workbook"):
        read_workbook(path)


def test_a_zip_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "study.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(BadInput, match="not an Excel workbook"):
        read_workbook(path)


def test_a_workbook_that_unpacks_without_end_is_refused(tmp_path):
    path = write(tmp_path / "study.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/bomb.bin", bytes(150 * 1024**2))
    assert path.stat().st_size < 1024**2
    with pytest.raises(BadInput, match="too large"):
        read_workbook(path)


def test_a_name_is_never_a_formula(tmp_path):
    study = replace(make(free_response=True), readers=("=1+1", "b", "c"))
    write_workbook(study, tmp_path / "a.xlsx")
    assert read_workbook(tmp_path / "a.xlsx").readers == ("=1+1", "b", "c")


@pytest.mark.parametrize("field", ["lesion_ratings", "other_ratings", "weights"])
def test_shapes_that_do_not_fit_are_refused(field):
    study = make()
    with pytest.raises(BadInput, match="do not fit"):
        replace(study, **{field: getattr(study, field)[..., :-1, :]})


# --- the command ---------------------------------------------------------------------------------


def analyse(path: Path, *more: str) -> tuple[int, Path]:
    output = path.parent / "result"
    return app.run(["analyse", str(path), "--output", str(output), "--progress", "none",
                    "--overwrite", *more]), output


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("free_response", [False, True])
def test_the_command_writes_report_tables_and_curves(tmp_path, free_response):
    study = replace(make(5, healthy=9, diseased=8, free_response=free_response),
                    readers=("A <b>", "B & C", "Ärztin"))
    write_workbook(study, tmp_path / "study.xlsx")
    exit_code, output = analyse(tmp_path / "study.xlsx")
    assert exit_code == 0
    manifest = read_result(output)
    figure = Figure.WAFROC if free_response else Figure.ROC
    assert manifest["figure"] == figure and manifest["study"]["healthy_cases"] == 9
    expected = obuchowski_rockette(read_workbook(tmp_path / "study.xlsx"), figure)

    areas_found = rows_of(output / "figures_of_merit.csv")
    assert [float(row[figure]) for row in areas_found] == pytest.approx(
        values(expected).ravel(), abs=1e-7)
    assert [row["reader"] for row in areas_found[:3]] == list(study.readers)
    comparisons = rows_of(output / "comparisons.csv")
    assert [row["population"] for row in comparisons] == ["readers and cases", "cases", "readers"]
    assert float(comparisons[0]["p"]) == pytest.approx(expected.inferences[0].differences[0].p)
    points = [(float(row["x"]), float(row["y"])) for row in rows_of(output / "curves.csv")
              if (row["modality"], row["reader"]) == ("m1", "B & C")]
    np.testing.assert_allclose(np.transpose(points), curve(study, figure, 1, 1), atol=1e-7)

    page = (output / "report.html").read_text("utf-8")
    root = ElementTree.fromstring(page.removeprefix("<!doctype html>"))
    words = " ".join(root.itertext())
    for reader in study.readers:
        assert reader in words
    assert len(root.findall(".//svg/polyline")) == 12 + 6  # the grid and a curve for each reader
    for sentence in manifest["sentences"]:
        assert sentence in words


def test_one_reader_and_one_modality_have_a_report_too(tmp_path):
    write_workbook(make(5, modalities=1, readers=1), tmp_path / "study.xlsx")
    exit_code, output = analyse(tmp_path / "study.xlsx", "--figure", "FROC")
    assert exit_code == 0
    manifest = read_result(output)
    assert not manifest["sentences"] and "grows with the number" in manifest["warnings"][0]
    assert "nan" not in (output / "report.html").read_text("utf-8")


def test_a_study_of_cases_says_that_places_are_missing(tmp_path):
    write_workbook(make(5, free_response=False), tmp_path / "study.xlsx")
    _, output = analyse(tmp_path / "study.xlsx", "--figure", "wAFROC")
    assert "no places marked" in read_result(output)["warnings"][0]


def test_a_bad_workbook_ends_with_one_sentence_and_no_folder(tmp_path, capfd):
    exit_code, output = analyse(write(tmp_path / "bad.xlsx", lambda sheets: sheets.pop("TP")))
    assert exit_code == BadInput.exit_code and not output.exists()
    assert "no sheet TP" in capfd.readouterr().err
    exit_code, output = analyse(tmp_path / "absent.xlsx")
    assert exit_code == BadInput.exit_code and "cannot be found" in capfd.readouterr().err
