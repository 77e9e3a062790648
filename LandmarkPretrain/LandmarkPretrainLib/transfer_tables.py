# SPDX-License-Identifier: Apache-2.0
"""The tables of the comparison of arms as CSV, for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TESTS = ("delong", "clustered", "bootstrap", "holm")


def write_tables(measured: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write all tables; returns the files by name."""
    tables = {"areas": ("auc_by_learners.csv", _area_rows),
              "comparisons": ("comparisons.csv", _comparison_rows)}
    if measured["efficiency"]:
        tables["efficiency"] = ("label_efficiency.csv", _efficiency_rows)
    if measured["free_response"]:
        tables["free_response"] = ("froc.csv", _free_response_rows)
    for name, rows in tables.values():
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows(measured))
    return {role: name for role, (name, _) in tables.items()}


def _learners(measured: Mapping[str, Any], number: int) -> int | str:
    """A number of weak learners, or nothing where there are none."""
    return number if measured["classifier"] == "adaboost" else ""


def _limits(each: Mapping[str, Any]) -> list[Any]:
    return [each["value"], each["low"], each["high"], each["n"]]


def _area_rows(measured: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield ["arm", "weak_learners", "auc", "low", "high", "test_patients"]
    for arm, curve in measured["areas"].items():
        for number, each in enumerate(curve, 1):
            yield [arm, _learners(measured, number), *_limits(each)]


def _comparison_rows(measured: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield ["first", "second", "weak_learners", "difference", "low", "high", "test_patients",
           *(f"p_{test}" for test in TESTS)]
    for each in measured["comparisons"]:
        yield [*each["pair"], _learners(measured, each["learners"]), *_limits(each["difference"]),
               *(each["p"][test] for test in TESTS)]


def _efficiency_rows(measured: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield ["arm", "training_patients", "auc", "low", "high", "draws"]
    efficiency = measured["efficiency"]
    first = next(iter(efficiency["areas"]))
    named = efficiency["areas"] | {f"{first} - {other}": gains
                                   for other, gains in efficiency["differences"].items()}
    for arm, of_size in named.items():
        for size, each in of_size.items():
            yield [arm, size, *_limits(each)]


def _free_response_rows(measured: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield ["arm", "false_marks_per_case", "sensitivity", "low", "high", "test_patients"]
    for arm, each in measured["free_response"]["arms"].items():
        for rate, value in each["sensitivity"].items():
            yield [arm, rate, *_limits(value)]
        yield [arm, "mean", *_limits(each["mean_sensitivity"])]
