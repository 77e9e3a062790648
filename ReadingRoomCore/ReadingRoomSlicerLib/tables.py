# SPDX-License-Identifier: Apache-2.0
"""Tables between the scene and files."""

import csv

import vtk


def setColumns(tableNode, columns: dict) -> None:
    """Replace the content of a table node.

    :param columns: values by column name, all of the same length; numbers give columns of
      numbers, everything else columns of text.
    """
    modified = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    for name, values in columns.items():
        isNumber = all(isinstance(value, (int, float)) for value in values)
        array = vtk.vtkDoubleArray() if isNumber else vtk.vtkStringArray()
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value)
        tableNode.AddColumn(array)
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.EndModify(modified)


def columns(tableNode) -> dict:
    """The content of a table node: lists of numbers and of texts by column name."""
    table = tableNode.GetTable()
    result = {}
    for index in range(tableNode.GetNumberOfColumns()):
        array = table.GetColumn(index)
        result[array.GetName()] = [array.GetValue(row) for row in range(array.GetNumberOfValues())]
    return result


def readRows(path: str) -> list:
    """The rows of a CSV file with a header, each a dictionary of texts."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def writeRows(rows: list, path: str) -> None:
    """Write dictionaries with the same keys as a CSV file with a header."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
