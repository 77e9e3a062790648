# SPDX-License-Identifier: Apache-2.0
"""The table of a panel and the file of the command line hold the same."""

from __future__ import annotations

from dataclasses import asdict, fields

from hypothesis import given
from hypothesis import strategies as st

from MuscleSegLib.measurement_table import LABELS, NUMBERS, TEXTS, columns_of, rows_of
from MuscleSegLib.measurements import Measurement

NUMBER = st.floats(-1000, 1e5).map(lambda value: round(value, 4))
MEASUREMENTS = st.lists(
    st.builds(lambda key, numbers, texts: Measurement(*key, *numbers, *texts),
              st.sampled_from(sorted(LABELS)), st.tuples(NUMBER, NUMBER, NUMBER),
              st.tuples(st.sampled_from(["", "uncertain"]), st.sampled_from(["", "yes"]))),
    unique_by=lambda measurement: (measurement.structure, measurement.side), max_size=44)


def test_every_field_has_its_column():
    assert {"structure", "side", *NUMBERS, *TEXTS} == {f.name for f in fields(Measurement)}


@given(MEASUREMENTS)
def test_the_table_holds_what_the_file_holds(measurements):
    lines = [{name: str(value) for name, value in asdict(m).items()} for m in measurements]
    columns = columns_of(lines)
    assert {len(values) for values in columns.values()} == {len(measurements)}
    rows = rows_of(columns)

    def key(row):
        return row["structure"], row["side"]

    assert sorted(rows, key=key) == sorted(map(asdict, measurements), key=key)
    assert all(list(row) == [f.name for f in fields(Measurement)] for row in rows)
    places = [LABELS[key(row)].structure.value for row in rows]
    assert places == sorted(places)
