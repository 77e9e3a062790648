# SPDX-License-Identifier: Apache-2.0
"""The quality list of a database, as a table and as a page with pictures."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ReadingRoomLib.pages import page, picture, table
from ReadingRoomLib.results import whole_file

from .database_patient import Entry
from .sequences import SEQUENCES

TABLE, PAGE = "quality.csv", "quality.html"


def write_quality(folder: Path, entries: Sequence[Entry], thumbnails: dict[str, Path],
                  warnings: Sequence[str]) -> None:
    """Write :data:`TABLE` and :data:`PAGE`.

    Args:
        folder: of the result.
        entries: all patients.
        thumbnails: pictures by number.
        warnings: on the whole.
    """
    with whole_file(folder / TABLE) as unfinished:
        _write_table(unfinished, entries)
    with whole_file(folder / PAGE) as unfinished:
        unfinished.write_text(_page(entries, thumbnails, warnings), "utf-8")


def _write_table(path: Path, entries: Sequence[Entry]) -> None:
    characteristics = any(entry.age or entry.sex for entry in entries)
    # with the mark by which Excel knows UTF-8
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "kind", "site", "taken", "left out because", *SEQUENCES,
                         "region", "slices", "side_mm", "doubts",
                         *(("age", "sex") if characteristics else ())])
        for one in entries:
            writer.writerow([
                one.number, one.kind, one.site, "no" if one.left_out else "yes", one.left_out,
                *(one.sequences.get(name, "missing") for name in SEQUENCES), one.region,
                one.slices or "", one.side_mm or "", " ".join(one.doubts),
                *((one.age, one.sex) if characteristics else ())])


def _page(entries: Sequence[Entry], thumbnails: dict[str, Path],
          warnings: Sequence[str]) -> str:
    taken = [entry for entry in entries if not entry.left_out]
    count = Counter(entry.kind for entry in taken)
    return page("Brain tumour database", [
        "<h1>Quality list</h1>",
        f"<p>{len(taken)} patients were taken, {len(entries) - len(taken)} left out. Look through "
        "them; whom you do not want is removed by deleting the entry in datalist.json.</p>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        table(("Kind", "Patients"), [(kind, str(number)) for kind, number in sorted(count.items())])
        if count else "",
        *(_section(entry, thumbnails.get(entry.number)) for entry in taken),
        "<h2>Left out</h2>" if len(taken) < len(entries) else "",
        *(_section(entry, None) for entry in entries if entry.left_out),
    ])


def _section(entry: Entry, thumbnail: Path | None) -> str:
    heading = ", ".join(filter(None, (entry.number, entry.kind, entry.site, entry.age, entry.sex)))
    parts = [f"<h3>{escape(heading)}</h3>"]
    if entry.left_out:
        parts.append(f'<p class="marked">{escape(entry.left_out)}</p>')
    if thumbnail is not None:
        parts.append(picture(thumbnail, "T1, T2 and contrast-enhanced T1 with the region"))
        parts.append(f"<p>Region {escape(entry.region)}, {entry.side_mm:g} mm, {entry.slices} "
                     "slices.</p>")
    if entry.doubts:
        parts.append("<ul>" + "".join(f"<li>{escape(doubt)}</li>" for doubt in entry.doubts)
                     + "</ul>")
    return "\n".join(parts)
