# SPDX-License-Identifier: Apache-2.0
"""Reader studies as JAFROC workbooks, the Excel format of the field.

Three sheets: ``Truth`` (CaseID, LesionID, Weight; LesionID 0 for a healthy case), ``TP`` (ReaderID,
ModalityID, CaseID, LesionID, TP_Rating) and ``FP`` (ReaderID, ModalityID, CaseID, FP_Rating).
Source: Chakraborty, *Observer Performance Methods for Diagnostic Imaging*, 2017, and the RJafroc
documentation. Programs write the names with differing case and punctuation, so both are ignored.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Collection
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.errors import BadInput

from .study import NOT_MARKED, ReaderStudy, as_other_ratings, count_marks

COLUMNS = {
    "Truth": ("CaseID", "LesionID", "Weight"),
    "TP": ("ReaderID", "ModalityID", "CaseID", "LesionID", "TP_Rating"),
    "FP": ("ReaderID", "ModalityID", "CaseID", "FP_Rating"),
}
# lesion and non-lesion localisations are the older words for true and false positives
OLDER_NAMES = {"LL": "TP", "NL": "FP", "LLRATING": "TPRATING", "NLRATING": "FPRATING"}
PARADIGM = "Paradigm"
HEALTHY = "0"  # LesionID of a case without lesion
LARGEST = 100 * 1024**2  # bytes, unpacked: a workbook is a zip archive and may be a bomb
Row = dict[str, Any]  # column -> value


def read_workbook(path: Path) -> ReaderStudy:
    """Read a JAFROC workbook.

    Whether it is a ROC or a free-response study is told by its ``Paradigm`` column; without one, a
    file in which every case has exactly one rating of each reader in each modality is a ROC study.
    Of the weights of a case's lesions only the ratio counts; where all are 0 they count alike.

    Raises:
        BadInput: not a workbook, a sheet or column is missing, an entry is no number, a case or
            lesion is missing from the truth, or is there or rated twice; see also
            :class:`ReaderStudy`.
    """
    tables = _read_tables(path)
    truth = _read_truth(tables["Truth"], path)
    marks = [*tables["TP"], *tables["FP"]]
    modalities, readers, cases = (_in_order(names) for names in (
        {mark["ModalityID"] for mark in marks}, {mark["ReaderID"] for mark in marks}, truth))
    shape = len(modalities), len(readers), len(cases)

    def position(mark: Row) -> tuple[int, int, int]:
        if mark["CaseID"] not in truth:
            raise BadInput(f"{path.name}: case {mark['CaseID']} was rated, but the sheet Truth "
                           "does not have it.")
        return (modalities.index(mark["ModalityID"]), readers.index(mark["ReaderID"]),
                cases.index(mark["CaseID"]))

    weights = np.zeros((len(cases), max(map(len, truth.values()), default=0)))
    for row, case in zip(weights, cases, strict=True):
        row[: len(truth[case])] = list(truth[case].values())
    lesion_ratings = np.full((*shape, weights.shape[1]), NOT_MARKED)
    for mark in tables["TP"]:
        *read, case = position(mark)
        lesions = list(truth[mark["CaseID"]])
        name = f"lesion {mark['LesionID']} of case {mark['CaseID']}"
        if mark["LesionID"] not in lesions:
            raise BadInput(f"{path.name}: {name} was rated, but the sheet Truth does not have it.")
        place = (*read, case, lesions.index(mark["LesionID"]))
        if lesion_ratings[place] > NOT_MARKED:
            raise BadInput(f"{path.name}: reader {mark['ReaderID']} rated {name} twice in modality "
                           f"{mark['ModalityID']}.")
        lesion_ratings[place] = _number(mark, "TP_Rating", path)
    others: dict[tuple[int, int, int], list[float]] = {}
    for mark in tables["FP"]:
        others.setdefault(position(mark), []).append(_number(mark, "FP_Rating", path))
    other_ratings = as_other_ratings(others, shape)
    return ReaderStudy(modalities, readers, cases, weights, lesion_ratings, other_ratings,
                       _is_free_response(tables["Truth"], lesion_ratings, other_ratings))


def write_workbook(study: ReaderStudy, path: Path) -> None:
    """Write a JAFROC workbook; lesions are numbered from 1.

    Raises:
        OSError: the file cannot be written.
    """
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    readers, modalities = ",".join(study.readers), ",".join(study.modalities)
    truth = [(case, lesion + 1 if ill else int(HEALTHY), weight, readers, modalities,
              "FROC" if study.free_response else "ROC")
             for case, ill, weights in zip(study.cases, study.diseased, study.weights, strict=True)
             for lesion, weight in (enumerate(weights) if ill else [(0, 0)]) if weight or not ill]
    found = [(study.readers[j], study.modalities[i], study.cases[k], lesion + 1,
              study.lesion_ratings[i, j, k, lesion])
             for i, j, k, lesion in np.argwhere(study.lesion_ratings > NOT_MARKED)]
    others = [(study.readers[j], study.modalities[i], study.cases[k],
               study.other_ratings[i, j, k, mark])
              for i, j, k, mark in np.argwhere(study.other_ratings > NOT_MARKED)]
    headings = COLUMNS | {"Truth": (*COLUMNS["Truth"], "ReaderID", "ModalityID", PARADIGM)}
    for title, rows in (("TP", found), ("FP", others), ("Truth", truth)):
        sheet = book.create_sheet(title)
        for row in (headings[title], *rows):
            sheet.append([value.item() if isinstance(value, np.generic) else value
                          for value in row])
        for cell in (cell for row in sheet.iter_rows() for cell in row):
            if cell.data_type == "f":  # a name that begins with "=" is not a formula
                cell.data_type = "s"
    book.save(path)


def _read_tables(path: Path) -> dict[str, list[Row]]:
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise BadInput(f"{path.name} is too large for a reader study.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of extensions of Excel that hold no data
            # read only: pictures and charts, which may be broken, are left alone
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            sheets = {_plain(sheet.title): _rows(sheet) for sheet in book.worksheets}
            book.close()
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path.name} is not an Excel workbook (.xlsx).") from error
    missing = [title for title in COLUMNS if _plain(title) not in sheets]
    if missing:
        raise BadInput(f"{path.name} has no sheet {missing[0]}; a JAFROC workbook has the sheets "
                       f"{', '.join(COLUMNS)}.")
    return {title: _read_table(*sheets[_plain(title)], title, path) for title in COLUMNS}


def _rows(sheet: Any) -> tuple[list[str], list[Row]]:
    """The plain headings, and the rows below them as headings with values; none that is empty."""
    sheet.reset_dimensions()  # some programs write a wrong extent
    headings, *rows = list(sheet.iter_rows(values_only=True)) or [()]
    names = [_plain(heading) for heading in headings]
    # a row may end before the last heading
    return names, [dict(zip_longest(names, row[: len(names)])) for row in rows
                   if any(value is not None for value in row)]


def _read_table(headings: list[str], rows: list[Row], title: str, path: Path) -> list[Row]:
    for column in COLUMNS[title]:
        if _plain(column) not in headings:
            raise BadInput(f"{path.name}: the sheet {title} has no column {column}.")
    wanted = [*COLUMNS[title], PARADIGM]
    table = [{column: row.get(_plain(column)) for column in wanted} for row in rows]
    for row in table:
        for column in (name for name in wanted if name.endswith("ID")):
            row[column] = _name(row, column, path)
    return table


def _read_truth(table: list[Row], path: Path) -> dict[str, dict[str, float]]:
    """The weights of the lesions of every case; none for a healthy case."""
    truth: dict[str, dict[str, float]] = {}
    seen = set()
    for row in table:
        case, lesion = row["CaseID"], row["LesionID"]
        if (case, lesion) in seen:
            raise BadInput(f"{path.name}: lesion {lesion} of case {case} is in the sheet Truth "
                           "twice.")
        seen.add((case, lesion))
        lesions = truth.setdefault(case, {})
        if lesion != HEALTHY:
            lesions[lesion] = _number(row, "Weight", path)
            if lesions[lesion] < 0:
                raise BadInput(f"{path.name}: a weight of case {case} is below 0.")
        if lesions and (case, HEALTHY) in seen:
            raise BadInput(f"{path.name}: case {case} is both healthy (lesion 0) and diseased.")
    for lesions in truth.values():
        total = sum(lesions.values())
        for lesion, weight in lesions.items():
            lesions[lesion] = weight / total if total else 1 / len(lesions)
    return truth


def _is_free_response(truth: list[Row], lesion_ratings: np.ndarray,
                      other_ratings: np.ndarray) -> bool:
    named = {_plain(row.get(PARADIGM) or "") for row in truth}
    for paradigm, answer in (("FROC", True), ("ROC", False)):
        if paradigm in named:
            return answer
    return bool((count_marks(lesion_ratings, other_ratings) != 1).any())


def _plain(name: object) -> str:
    plain = "".join(letter for letter in str(name).upper() if letter.isalnum())
    return OLDER_NAMES.get(plain, plain)


def _name(row: Row, column: str, path: Path) -> str:
    value = row[column]
    if value is None or not str(value).strip():
        raise BadInput(f"{path.name}: a {column} is empty.")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _number(row: Row, column: str, path: Path) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError):
        raise BadInput(f"{path.name}: {column} of case {row['CaseID']} is {row[column]!r}, not a "
                       "number.") from None


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    """Each name once; numbers in their order, other names by the alphabet."""
    numbers = sorted((name for name in set(names) if name.isdigit()), key=int)
    return (*numbers, *sorted(name for name in set(names) if not name.isdigit()))
