# SPDX-License-Identifier: Apache-2.0
"""Pathology from a table, as departments keep it: CSV of Excel, in UTF-8, UTF-16 or Shift-JIS.

Columns are found by their heading, in English, German or Japanese: ``patient`` and ``kind``, and if
there are ``date`` and ``site``. Others are not looked at. Sentences repeat nothing of what stands
in the table. Those on a patient do not even name the row, which with the table would lead from a
number of the database back to a patient; warnings on the whole do, where nothing of the patient
leaves.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ReadingRoomLib.errors import BadInput

from .database_archive import plain_text
from .kinds import KINDS

MOST_BYTES = 100_000_000
COLUMNS = {
    "patient": {"patient", "patientid", "patientno", "patientnumber", "id", "pid", "mrn",
                "patientennummer", "患者id", "患者番号", "患者", "カルテ番号"},
    "kind": {"kind", "class", "label", "diagnosis", "pathology", "histology", "diagnose",
             "histologie", "pathologie", "診断", "診断名", "病理", "病理診断", "病理診断名",
             "組織型", "腫瘍型"},
    "date": {"date", "pathologydate", "dateofpathology", "biopsydate", "surgerydate", "datum",
             "日付", "病理日", "病理診断日", "手術日", "生検日"},
    "site": {"site", "hospital", "institution", "centre", "center", "klinik", "施設", "病院",
             "施設名"},
}
SYNONYMS = {
    "glioblastoma": ("gbm", "glioblastoma multiforme", "glioblastoma idh wildtype",
                     "glioblastom", "glioblastome", "膠芽腫", "神経膠芽腫"),
    "lymphoma": ("pcnsl", "cns lymphoma", "primary cns lymphoma", "cns dlbcl", "dlbcl",
                 "malignant lymphoma", "primary central nervous system lymphoma", "lymphom",
                 "zns lymphom", "pzns lymphom", "lymphome", "悪性リンパ腫", "リンパ腫",
                 "中枢神経系原発悪性リンパ腫", "中枢神経原発悪性リンパ腫", "脳原発悪性リンパ腫"),
    "meningioma": ("mng", "meningeoma", "meningeom", "meningiom", "méningiome", "髄膜腫"),
    "schwannoma": ("vestibular schwannoma", "acoustic neuroma", "schwannom", "schwannome",
                   "神経鞘腫", "聴神経腫瘍", "前庭神経鞘腫"),
    "metastasis": ("metastases", "brain metastasis", "brain metastases", "metastase",
                   "métastase", "転移性脳腫瘍", "脳転移"),
}
"""Other names of kinds that may be asked for."""
CONTRADICT = "The rows of the table contradict each other."
UNKNOWN = "The kind in the table is none of the classes."


@dataclass(frozen=True)
class Finding:
    """What pathology says of a patient.

    Attributes:
        kind: one of the classes; empty where it is none, or where rows contradict each other.
        reason: why it is empty.
        date: None where the table gives none.
        site: as in the table.
        rows: where it stands; the heading is row 1.
        doubts: sentences for the user.
    """

    kind: str
    reason: str = ""
    date: datetime.date | None = field(default=None, repr=False)
    site: str = field(default="", repr=False)
    rows: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Row:
    number: int
    patient: str
    kind: str
    date: datetime.date | None
    site: str


@dataclass(frozen=True)
class Pathology:
    """A table.

    Attributes:
        findings: by patient number as written.
        warnings: sentences for the user.
    """

    findings: dict[str, Finding] = field(repr=False)
    warnings: list[str] = field(default_factory=list)

    def matched(self, identifiers: Iterable[str]) -> tuple[dict[str, str], bool]:
        """Patient numbers of the table by those of images.

        Excel takes leading zeros away; numbers that differ by them alone are one where no other
        number could be meant.

        Returns:
            The numbers, and whether zeros were added.
        """
        identifiers = list(identifiers)
        found = {one: one for one in identifiers if one in self.findings}
        in_images, in_table = (
            _by_plain(one for one in numbers if one not in found)
            for numbers in (identifiers, self.findings))
        more = {in_images[plain][0]: in_table[plain][0] for plain in in_images.keys() & in_table
                if len(in_images[plain]) == len(in_table[plain]) == 1}
        return found | more, bool(more)


def classes_of(given: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Classes, and the kind that each name in a table stands for.

    Args:
        given: as typed, ``NAME`` or ``NAME=OTHER,OTHER``; none for :data:`.kinds.KINDS`.

    Raises:
        BadInput: a name is empty, or stands for two classes.
    """
    names: dict[str, str] = {}
    classes = []
    for text in given or KINDS:
        kind, _, others = text.partition("=")
        kind = plain_text(kind)
        if not kind:
            raise BadInput("A class has no name: write --class glioblastoma, or "
                           "--class glioblastoma=GBM,astrocytoma.")
        classes.append(kind)
        for name in [kind, *SYNONYMS.get(kind.lower(), ()), *filter(None, others.split(","))]:
            if names.setdefault(_word(name), kind) != kind:
                raise BadInput(f"“{name}” stands for two classes: name it once.")
    return tuple(dict.fromkeys(classes)), names


def read_pathology(path: Path, names: Mapping[str, str]) -> Pathology:
    """Read a table.

    Args:
        path: CSV with a heading; separated by commas, semicolons or tabs.
        names: from :func:`classes_of`.

    Raises:
        BadInput: it cannot be read, or lacks a column.
    """
    lines = _lines(path)
    if not lines:
        raise BadInput("The table of pathology is empty (--pathology).")
    columns = _columns(lines[0])
    rows, warnings = [], []
    without: list[int] = []
    undated: list[int] = []
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        cells = {name: plain_text(line[place]) if place < len(line) else ""
                 for name, place in columns.items()}
        if not cells["patient"]:
            without.append(number)
            continue
        date = _date(cells.get("date", ""))
        if date is None and cells.get("date"):
            undated.append(number)
        rows.append(_Row(number, cells["patient"], cells["kind"], date, cells.get("site", "")))
    if without:
        warnings.append(f"The table of pathology names no patient in {_rows(without)}.")
    if undated:
        warnings.append(f"The date in {_rows(undated)} of the table cannot be read and was not "
                        "used: write it as 2020-12-31.")
    by_patient: dict[str, list[_Row]] = {}
    for row in rows:
        by_patient.setdefault(row.patient, []).append(row)
    findings = {patient: _finding(of_patient, names) for patient, of_patient in by_patient.items()}
    for reason, sentence in ((CONTRADICT, "Rows of the table contradict each other: {}."),
                             (UNKNOWN, "The kind is none of the classes in {} of the table.")):
        wrong = sorted(number for finding in findings.values() if finding.reason == reason
                       for number in finding.rows)
        if wrong:
            warnings.append(sentence.format(_rows(wrong)))
    return Pathology(findings, warnings)


def _finding(rows: Sequence[_Row], names: Mapping[str, str]) -> Finding:
    kinds = {names.get(_word(row.kind), "") for row in rows}
    numbers = tuple(row.number for row in rows)
    dates = sorted({row.date for row in rows if row.date})
    sites = sorted({row.site for row in rows if row.site})
    doubts = []
    if len(rows) > 1:
        doubts.append(f"The patient stands in {len(rows)} rows of the table.")
    if len(dates) > 1:
        doubts.append("The rows give several dates; the first was taken.")
    if len(sites) > 1:
        doubts.append("The rows give several sites; none was taken.")
    if len(kinds) > 1:
        kind, reason = "", CONTRADICT
    else:
        kind = kinds.pop()
        reason = "" if kind else UNKNOWN
    return Finding(kind, reason, dates[0] if dates else None, sites[0] if len(sites) == 1 else "",
                   numbers, tuple(doubts))


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")
    return f"row{'s' if len(numbers) > 1 else ''} {shown}"


def rows_without_images(pathology: Pathology, found: Iterable[str]) -> str:
    """A sentence on the patients of a table that have no images; empty when all have."""
    found = set(found)
    rows = sorted(number for patient, finding in pathology.findings.items()
                  if patient not in found for number in finding.rows)
    return f"There are no images to {_rows(rows)} of the table of pathology." if rows else ""


def _by_plain(identifiers: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in identifiers:
        if one.isdigit():
            found.setdefault(one.lstrip("0"), []).append(one)
    return found


def _word(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", plain_text(text).casefold()).split())


def _lines(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput("The table of pathology is too large: choose a CSV file "
                           "(--pathology).")
        content = path.read_bytes()
    except OSError:
        raise BadInput("The table of pathology cannot be read: check its name (--pathology)."
                       ) from None
    text = _text(content)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=first.count)
    try:
        return list(csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=separator))
    except csv.Error:
        raise BadInput("The table of pathology is no CSV file: save it as CSV (--pathology)."
                       ) from None


def _text(content: bytes) -> str:
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise BadInput("The table of pathology is an Excel workbook: save it as CSV "
                       "(--pathology).")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "cp932", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _columns(heading: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, cell in enumerate(heading):
        word = re.sub(r"[\W_]+", "", plain_text(cell).casefold())
        for name, words in COLUMNS.items():
            if word in words:
                places.setdefault(name, place)
    lacking = [name for name in ("patient", "kind") if name not in places]
    if lacking:
        raise BadInput(f"The table of pathology has no column “{lacking[0]}”: its first row must "
                       "name the columns patient and kind, and may name date and site.")
    return places


def _date(text: str) -> datetime.date | None:
    text = text.split(" ")[0].split("T")[0]
    for pattern in ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y年%m月%d日", "%d.%m.%Y"):
        try:
            return datetime.datetime.strptime(text, pattern).date()
        except ValueError:
            continue
    return None
