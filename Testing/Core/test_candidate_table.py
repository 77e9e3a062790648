# SPDX-License-Identifier: Apache-2.0
"""The table of the panel and the file of the command line hold the same candidates."""

from __future__ import annotations

from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from TemporalSubtractionLib.candidate_table import (
    ACCEPTED,
    DECIMALS,
    DENSER,
    REJECTED,
    THINNER,
    TITLES,
    UNDECIDED,
    CandidateRow,
    columns_of,
    read_rows,
    rows_of,
    write_rows,
)

NUMBER = st.floats(-1e5, 1e5).map(lambda value: round(value, DECIMALS))
ROWS = st.lists(
    st.builds(CandidateRow, st.integers(1, 65535), st.sampled_from([DENSER, THINNER]),
              *[NUMBER] * 9, st.sampled_from(["", "L3", 'Rippe 7, "links"']),
              st.sampled_from([ACCEPTED, REJECTED, UNDECIDED])), max_size=5)
ROW = CandidateRow(3, DENSER, 5.0, 1.25, 13.4, 6.0, 9.5, 210.0, 1.0, -2.0, 3.0)


def test_every_field_has_its_column_and_its_own_title():
    assert list(TITLES) == [field.name for field in fields(CandidateRow)]
    assert len(set(TITLES.values())) == len(TITLES)


@given(ROWS)
def test_the_table_holds_what_the_file_holds(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "candidates.csv"
    write_rows(rows, path)
    assert read_rows(path) == rows
    columns = columns_of(rows)
    assert list(columns) == list(TITLES.values())
    as_in_a_table_node = columns | {"Number": [float(number) for number in columns["Number"]]}
    read = rows_of(as_in_a_table_node)
    assert read == rows
    assert all(type(row.number) is int for row in read)


def test_the_file_has_a_heading_without_candidates_and_no_needless_decimals(tmp_path):
    path = tmp_path / "candidates.csv"
    write_rows([], path)
    assert path.read_text("utf-8").splitlines() == [",".join(TITLES)]
    assert read_rows(path) == []
    write_rows([replace(ROW, score=1 / 3)], path)
    assert path.read_text("utf-8").splitlines()[1].startswith("3,denser,0.333,1.25,")


def test_a_candidate_names_its_segment_and_lies_in_slicers_directions():
    assert (ROW.key, ROW.name, ROW.point_ras) == ("3", "3 denser", (-1.0, 2.0, 3.0))
