# SPDX-License-Identifier: Apache-2.0
"""The table of a panel and the file of the command line hold the same."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MuscleSegLib.measurement_table import (
    EXPECTED,
    LABELS,
    NUMBERS,
    TEXTS,
    columns_of,
    rows_of,
)
from MuscleSegLib.measurements import Measurement

NUMBER = st.floats(-1000, 1e5).map(lambda value: round(value, 4))
MEASUREMENTS = st.lists(
    st.builds(lambda key, numbers, texts: Measurement(*key, *numbers, *texts),
              st.sampled_from(sorted(LABELS)), st.tuples(NUMBER, NUMBER, NUMBER),
              st.tuples(st.sampled_from(["", "uncertain"]), st.sampled_from(["", "yes"]))),
    unique_by=lambda measurement: (measurement.structure, measurement.side), max_size=44)


def test_every_field_has_its_column():
    assert ({"structure", "side", *NUMBERS, *TEXTS, *EXPECTED}
            == {f.name for f in fields(Measurement)})


@pytest.mark.parametrize("calibrated", [True, False])
@given(measurements=MEASUREMENTS)
def test_the_table_holds_what_the_file_holds(measurements, calibrated):
    if calibrated:
        measurements = [replace(m, predicted_dice=0.912, dice_lower_bound=0.0)
                        for m in measurements]
    lines = [{name: str(value) for name, value in m.row.items()} for m in measurements]
    columns = columns_of(lines)
    assert {len(values) for values in columns.values()} == {len(measurements)}
    rows = rows_of(columns)

    def key(row):
        return row["structure"], row["side"]

    assert sorted(rows, key=key) == sorted((m.row for m in measurements), key=key)
    assert all(list(row) == list(measurements[0].row) for row in rows)
    assert ("At least" in columns) == ("Predicted Dice" in columns) == bool(
        calibrated and measurements)
    places = [LABELS[key(row)].structure.value for row in rows]
    assert places == sorted(places)


def test_lines_of_which_some_know_more_have_what_all_know():
    lines = [{name: str(value) for name, value in Measurement(
        "femur", side, 1.0, 2.0, 0.1, "", "", *expected).row.items()}
        for side, expected in (("left", (0.9, 0.8)), ("right", ()))]
    assert "Predicted Dice" not in columns_of(lines)
    lines[1] |= {"predicted_dice": "", "dice_lower_bound": ""}
    assert "Predicted Dice" not in columns_of(lines)
