# SPDX-License-Identifier: Apache-2.0
"""What the sections of the panel have in common: small widgets, and tables of texts."""

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib.panel import CHECK_BACKGROUND, CHECK_TEXT

ROW_HEIGHT = 22  # pixels
MOST_ROWS = 9  # that a table shows without scrolling


def purpose(sentence: str):
    """A label that says what a section is for."""
    label = qt.QLabel(sentence)
    label.wordWrap = True
    return label


def pushButton(text: str, toolTip: str, slot):
    """A button."""
    button = qt.QPushButton(text)
    button.toolTip = toolTip
    button.connect("clicked(bool)", slot)
    return button


def fileLineEdit(toolTip: str, settingKey: str):
    """A line for a file, which offers those of before."""
    return _pathLineEdit(ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable, toolTip,
                         settingKey)


def folderLineEdit(toolTip: str, settingKey: str):
    """A line for a folder, which offers those of before."""
    return _pathLineEdit(
        ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Drives
        | ctk.ctkPathLineEdit.NoDotAndDotDot, toolTip, settingKey)


def _pathLineEdit(filters, toolTip: str, settingKey: str):
    lineEdit = ctk.ctkPathLineEdit()
    lineEdit.filters = filters
    lineEdit.settingKey = settingKey
    lineEdit.currentPath = ""  # offered, but chosen by the user alone
    lineEdit.toolTip = toolTip
    return lineEdit


def nodeSelector(className: str, nothing: str, toolTip: str):
    """A menu of the nodes of a class.

    :param nothing: what it says while none is chosen.
    """
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [className]
    selector.noneEnabled = True
    selector.noneDisplay = nothing
    selector.addEnabled = False
    selector.removeEnabled = False
    selector.toolTip = toolTip
    selector.setMRMLScene(slicer.mrmlScene)
    return selector


def table(headers):
    """An empty table of texts, of which rows can be selected.

    :param headers: pairs of column title and explanation.
    """
    widget = qt.QTableWidget()
    widget.setColumnCount(len(headers))
    widget.setHorizontalHeaderLabels([title for title, _explanation in headers])
    for column, (_title, explanation) in enumerate(headers):
        widget.horizontalHeaderItem(column).setToolTip(explanation)
        mode = qt.QHeaderView.Stretch if column == 0 else qt.QHeaderView.ResizeToContents
        widget.horizontalHeader().setSectionResizeMode(column, mode)
    widget.verticalHeader().hide()
    widget.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
    widget.horizontalHeader().setHighlightSections(False)
    widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    widget.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    return widget


class TableRow:
    """A line of a `table`.

    :param values: texts, one for each column; all but the first are set to the right.
    :param check: whether the line stands out.
    """

    def __init__(self, values, toolTip: str = "", check: bool = False) -> None:
        self.values = values
        self.toolTip = toolTip
        self.check = check


def showRows(widget, rows) -> None:
    """Fill a `table` with `TableRow`, and make it as high as they are, up to some."""
    widget.setRowCount(0)
    widget.setRowCount(len(rows))
    for index, row in enumerate(rows):
        for column, value in enumerate(row.values):
            item = qt.QTableWidgetItem(value)
            item.setToolTip(row.toolTip)
            if column:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if row.check:
                item.setBackground(qt.QBrush(qt.QColor(*CHECK_BACKGROUND)))
                item.setForeground(qt.QBrush(qt.QColor(*CHECK_TEXT)))
            widget.setItem(index, column, item)
    widget.setFixedHeight((min(len(rows), MOST_ROWS) + 1) * ROW_HEIGHT + 8)


def percent(value) -> str:
    """A share as whole per cent; empty where there is none."""
    return _("{value} %").format(value=round(100 * value)) if value == value else ""


def fixed(value, digits: int) -> str:
    """A number with so many digits; empty where there is none."""
    return f"{value:.{digits}f}" if value == value else ""
