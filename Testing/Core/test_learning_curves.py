# SPDX-License-Identifier: Apache-2.0
"""Learning curves: read while a training writes them, put into a table, drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ReadingRoomLib.learning_curves import (
    COLORS,
    FINE,
    HEIGHT,
    TOP,
    VALIDATION,
    WIDTH,
    draw_curves,
    read_history,
    table_of,
)


def noted(steps, looks=()):
    """A training whose loss falls by 1 % of the steps at a time."""
    for step in range(1, steps + 1):
        entry = {"step": step, "loss": 1 - step / steps, "accuracy": step / steps}
        if step in looks:
            entry |= {"validation_loss": 2 - step / steps, "validation_accuracy": 0.5}
        yield entry


def test_what_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    path.write_text('{"step": 1, "loss": 0.5}\n[3]\n\n{"step": 2, "loss": 0.4}\n{"step": 3, "lo')
    assert [entry["step"] for entry in read_history(path)] == [1, 2]


def test_a_row_for_each_look_with_the_means_since_the_last():
    table = table_of(list(noted(10, looks=(4, 8))))
    assert list(table) == ["step", "accuracy", "validation_accuracy", "loss", "validation_loss"]
    assert table["step"] == [4, 8]
    assert table["loss"] == pytest.approx([np.mean([0.9, 0.8, 0.7, 0.6]),
                                           np.mean([0.5, 0.4, 0.3, 0.2])])
    assert table["validation_loss"] == pytest.approx([1.6, 1.2])


@pytest.mark.parametrize("steps, rows", [(0, 0), (7, 7), (1234, 100)])
def test_without_validation_at_most_a_hundred_rows(steps, rows):
    table = table_of([{"step": step, "loss": float(step)} for step in range(1, steps + 1)])
    assert len(table["step"]) == rows
    if rows:
        assert list(table) == ["step", "loss"] and table["step"][-1] == steps
        assert np.mean(table["loss"]) == pytest.approx((steps + 1) / 2, rel=0.01)


def pixels_of(picture, color):
    """Row and column of the pixels that have a colour."""
    return np.argwhere((picture == color).all(-1)) / FINE


def test_both_curves_are_drawn_where_they_belong(tmp_path):
    table = table_of(list(noted(100, looks=range(10, 101, 10))))
    draw_curves(table, tmp_path / "curves.png", "a title")
    picture = np.asarray(Image.open(tmp_path / "curves.png"))
    assert picture.shape == (FINE * (TOP + 2 * HEIGHT), FINE * WIDTH, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    training, validation = (pixels_of(picture, COLORS[prefix]) for prefix in ("", VALIDATION))
    accuracy = training[(training[:, 0] > TOP) & (training[:, 0] < TOP + HEIGHT)]
    loss = training[training[:, 0] > TOP + HEIGHT]
    for curve, sign in ((accuracy, -1), (loss, 1)):  # rows count from above
        assert np.sign(np.polyfit(curve[:, 1], curve[:, 0], 1)[0]) == sign
    flat = validation[(validation[:, 0] > TOP) & (validation[:, 0] < TOP + HEIGHT)]
    assert np.ptp(flat[:, 0]) < 3 and np.ptp(flat[:, 1]) > WIDTH / 2


@pytest.mark.parametrize("table", [
    {"step": []}, {"step": [], "loss": []}, {"step": [5], "loss": [0.0]},
    {"step": [1, 2], "loss": [1e4, 3e4]},
])
def test_little_or_nothing_is_drawn_too(table, tmp_path):
    draw_curves(table, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] == FINE * WIDTH
