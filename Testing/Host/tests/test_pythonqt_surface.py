# SPDX-License-Identifier: Apache-2.0
"""The committed extracts agree with the recording of the desktop, and bound what is offered."""

import functools
import json
from pathlib import Path

import pytest

from slicerhost import pythonqt
from slicerhost.pythonqt import ctkwidgets, record, surface, wrapper

pythonqt.install()

import ctk  # noqa: E402
import qt  # noqa: E402

ROOT = Path(__file__).parents[3]
RECORDING = ROOT.parent / "shared" / "slicer-api"
DATA = Path(__file__).parent / "data"

recorded = pytest.mark.skipif(
    not RECORDING.is_dir(), reason="the recording of the desktop is not beside this checkout"
)

# Answered by the wrapper itself, or C++ operators that Python spells otherwise.
BUILT_IN = {"className", "delete", "help", "inherits"} | {
    "enum_1", "operator_assign", "operator_subscript", "readFrom", "writeTo",
}  # fmt: skip
# Class -> names of Qt 5 that Qt 6 has no more; reading one fails with a message.
DROPPED = dict(
    line.split(": ") for line in (DATA / "qt5_only_names.txt").read_text("utf-8").splitlines()
)


@functools.cache
def recording():
    return record.read_recording(RECORDING)


# Classes that a panel, a job or a table is made of.
CLASSES = """
    QAction QApplication QBrush QButtonGroup QByteArray QCheckBox QColor QComboBox QCursor QDate
    QDateTime QDesktopServices QDialog QDialogButtonBox QDir QDoubleSpinBox QElapsedTimer
    QEventLoop QFile QFileDialog QFileInfo QFont QFontMetrics QFormLayout QFrame QGridLayout
    QGroupBox QHBoxLayout QHeaderView QIcon QImage QInputDialog QItemSelectionModel QKeySequence
    QLabel QLineEdit QListView QListWidget QListWidgetItem QMainWindow QMenu QMessageBox
    QModelIndex QObject QPainter QPalette QPen QPixmap QPlainTextEdit QPoint QProcess
    QProcessEnvironment QProgressBar QProgressDialog QPushButton QRadioButton QRect QScrollArea
    QScrollBar QSettings QShortcut QSize QSizePolicy QSlider QSortFilterProxyModel QSpacerItem
    QSpinBox QSplitter QStackedWidget QStandardItem QStandardItemModel QStandardPaths QStatusBar
    QStyledItemDelegate QTabBar QTabWidget QTableView QTableWidget QTableWidgetItem
    QTemporaryDir QTextBrowser QTextCursor QTextDocument QTextEdit QThread QTime QTimer QToolBar
    QToolButton QTreeView QTreeWidget QTreeWidgetItem QUrl QVBoxLayout QWidget
    QMouseEvent QKeyEvent QResizeEvent QPaintEvent QCloseEvent QDragEnterEvent QDropEvent QMimeData
    QClipboard QUuid QValidator QDoubleValidator QIntValidator QRegularExpression
    QColorDialog QCompleter QDial QDockWidget QEvent QFileSystemWatcher QCryptographicHash
""".split()


@recorded
def test_surface_is_that_of_the_recording():
    extract = record.extract(recording())
    assert json.loads(surface.SURFACE.read_text("utf-8")) == extract


@recorded
def test_behaviour_lines_are_those_of_the_recording():
    lines = (RECORDING / "behaviour.txt").read_text("utf-8").splitlines()
    committed = (DATA / "behaviour_pythonqt.txt").read_text("utf-8").splitlines()
    about_qt = [
        line
        for line in lines
        if line.split(" -> ")[0] in {question.split(" -> ")[0] for question in committed}
    ]
    assert committed == about_qt


@recorded
@pytest.mark.parametrize("name", [*CLASSES, *ctkwidgets.NATIVES])
def test_names_and_kinds_are_those_of_the_desktop(name):
    group = "qt" if name.startswith("Q") else "ctk"
    kinds = recording()[group][name].get("instance", {})
    cls = surface.find(name)
    assert cls.names == set(recording()[group][name]["static"]) | set(kinds)
    properties = {n for n, kind in kinds.items() if kind != "call" and kind not in kinds}
    assert not kinds or cls.properties == properties


@pytest.mark.parametrize("name", CLASSES)
def test_class_offers_all_but_what_qt6_dropped(name):
    cls = getattr(qt, name)
    absent = {
        member
        for member in cls._recorded.names - BUILT_IN
        if isinstance(wrapper.find_member(cls, member), wrapper.AbsentMember)
    }
    assert " ".join(sorted(absent)) == DROPPED.get(name, "")


@pytest.mark.parametrize("name", ctkwidgets.NATIVES)
def test_ctk_widget_offers_its_properties_and_signals(name):
    widget = getattr(ctk, name)()
    kinds = {n: wrapper.find_member(type(widget), n) for n in type(widget)._recorded.names}
    for member in type(widget)._recorded.properties - BUILT_IN:
        if not isinstance(kinds[member], wrapper.AbsentMember):
            assert isinstance(kinds[member], wrapper.PropertyMember), member
            getattr(widget, member)
    changed = {n for n in kinds if n.endswith("Changed")}
    assert all(isinstance(kinds[n], wrapper.SignalMember) for n in changed)


@pytest.mark.parametrize("module", [qt, ctk])
def test_unknown_class_raises(module):
    with pytest.raises(AttributeError):
        module.QNoSuchClass  # noqa: B018 (reading it is the test)


def test_class_that_qt6_lacks_raises():
    with pytest.raises(AttributeError, match="QRegExp"):
        qt.QRegExp  # noqa: B018


def test_class_outside_the_extract_says_so():
    with pytest.raises(AttributeError, match="not among the recorded classes"):
        qt.QOpenGLContext  # noqa: B018


def test_registering_a_class_the_desktop_lacks_is_refused():
    from PySide6 import QtWidgets

    class Invented(QtWidgets.QWidget):
        pass

    with pytest.raises(AttributeError, match="qMRMLInvented"):
        pythonqt.register_widget_class("qMRMLInvented", Invented)
    assert "qMRMLInvented" not in pythonqt.uic_class_registry
