# SPDX-License-Identifier: Apache-2.0
"""The measurements as people read them in a table, and as programs read them in a file.

Needs Python alone, so that a panel opens at once.
"""

from __future__ import annotations

from .structures import LabelledStructure, labels_of

# every structure by its identifier and side, as a whole and with sides apart
LABELS: dict[tuple[str, str], LabelledStructure] = {
    (label.structure.name, label.side or ""): label
    for sides in (False, True) for label in labels_of(sides)
}
BY_NAME = {label.name: label for label in LABELS.values()}
NUMBERS = {"volume_ml": "Volume (mL)", "mean_hu": "Mean HU", "uncertainty": "Uncertainty"}
TEXTS = {"check": "Check", "cut_off": "Cut off"}
# only where the model is calibrated
EXPECTED = {"predicted_dice": "Predicted Dice", "dice_lower_bound": "At least"}


def columns_of(rows: list[dict[str, str]]) -> dict[str, list]:
    """Lines of ``measurements.csv`` as columns of a table, in anatomical order, left beside right.

    Args:
        rows: lines by column name, see :class:`MuscleSegLib.measurements.Measurement`.

    Returns:
        ``Structure`` for people, the numbers and remarks, ``Segment`` with the identifier of the
        segment. ``Predicted Dice`` and ``At least`` are there when every line has them.
    """
    pairs = [(LABELS[row["structure"], row["side"]], row) for row in rows]
    pairs.sort(key=lambda pair: (pair[0].structure.value, pair[1]["side"]))
    expected = EXPECTED if rows and all(row.get(name) for row in rows for name in EXPECTED) else {}
    return {
        "Structure": [label.display_name for label, _ in pairs],
        **{title: [float(row[name]) for _, row in pairs]
           for name, title in (NUMBERS | expected).items()},
        **{title: [row[name] for _, row in pairs] for name, title in TEXTS.items()},
        "Segment": [label.name for label, _ in pairs],
    }


def rows_of(columns: dict[str, list]) -> list[dict]:
    """The inverse of :func:`columns_of`, in the order of the columns."""
    rows = []
    for index, segment in enumerate(columns["Segment"]):
        label = BY_NAME[segment]
        rows.append({
            "structure": label.structure.name,
            "side": label.side or "",
            **{name: columns[title][index]
               for name, title in (NUMBERS | TEXTS | EXPECTED).items() if title in columns},
        })
    return rows
