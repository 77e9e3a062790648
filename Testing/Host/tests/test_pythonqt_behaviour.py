# SPDX-License-Identifier: Apache-2.0
"""What PythonQt answered on the desktop, line by line, asked of the host.

``data/behaviour_pythonqt.txt`` holds the recorded lines that concern ``qt`` and ``ctk``; each
question is put again here and must be answered alike, in type and in text.
"""

import re
import sys
import tempfile
from pathlib import Path

import pytest

from slicerhost import pythonqt

pythonqt.install()

import ctk  # noqa: E402
import qt  # noqa: E402

DATA = Path(__file__).parent / "data"
RECORDED = dict(
    line.split(" -> ", 1)
    for line in (DATA / "behaviour_pythonqt.txt").read_text("utf-8").splitlines()
)
# Answers that depend on the fonts of the machine: only their form is compared.
FONT_DEPENDENT = {"widget.size", "widget.width"}
# What Python lets go of is destroyed, and its children with it, as on the desktop.
KEPT = []


def keep(target):
    KEPT.append(target)
    return target


def button():
    return qt.QPushButton("a")


def set_and_get(target, name, value):
    setattr(target, name, value)
    return getattr(target, name)


def combo(*chosen):
    box = qt.QComboBox()
    box.addItem("a")
    box.addItem("b")
    for index in chosen:
        box.currentIndex = index
    return box


def third_item_data():
    box = combo()
    box.addItem("c", {"k": 1})
    return box.itemData(2)


def renamed_button():
    target = button()
    target.setText("y")
    return target.text


def received_by_slots():
    target, received = button(), []
    target.clicked.connect(lambda *args: received.append(args))
    target.connect("clicked(bool)", lambda *args: received.append(("sig", *args)))
    target.connect("clicked()", lambda *args: received.append(("noarg", *args)))
    target.click()
    return received


def table():
    target = keep(qt.QTableWidget(2, 2))
    target.setItem(0, 0, qt.QTableWidgetItem("q"))
    return target


def tabs():
    target = qt.QTabWidget()
    target.addTab(qt.QWidget(), "t")
    return target


def timer():
    target = qt.QTimer()
    target.interval = 10
    target.start()
    return target


def start_timer():
    target = qt.QTimer()
    return target.setInterval(10), target.timeout.connect(lambda: None), target.start()


def finished(code="print(1)"):
    process = qt.QProcess()
    process.start(sys.executable, ["-c", code])
    process.waitForFinished(5000)
    return process


def finishes():
    process = qt.QProcess()
    process.start(sys.executable, ["-c", "print(1)"])
    return process.waitForFinished(5000)


def starts():
    process = qt.QProcess()
    answer = process.start(sys.executable, ["-c", "print(1)"])
    process.waitForFinished(5000)
    return answer


class Derived(qt.QWidget):
    def greet(self):
        return "hi"


class Laid:
    """A widget with one button in its layout."""

    def __init__(self):
        self.widget = keep(qt.QWidget())
        self.layout = qt.QVBoxLayout(self.widget)
        self.button = qt.QPushButton("a")
        self.layout.addWidget(self.button)


def grab():
    with tempfile.TemporaryDirectory() as folder:
        return Laid().widget.grab().save(str(Path(folder) / "x.png"))


def grabbed(name):
    laid = Laid()
    laid.widget.grab()
    return getattr(laid.widget, name)


def property_set():
    widget = qt.QWidget()
    widget.setProperty("a", 1)
    return widget.property("a")


def slider_range():
    slider = ctk.ctkSliderWidget()
    return slider.minimum, slider.maximum, slider.value


QUESTIONS = {
    "QPushButton.text": lambda: button().text,
    "QPushButton.text()": lambda: button().text(),
    "button.text = 'z'": lambda: set_and_get(button(), "text", "z"),
    "button.setText('y'); text": renamed_button,
    "button.enabled": lambda: button().enabled,
    "button.isEnabled()": lambda: button().isEnabled(),
    "button.toolTip = 'why'": lambda: set_and_get(button(), "toolTip", "why"),
    "button.foo = 1 (unknown attribute)": lambda: set_and_get(button(), "foo", 1),
    "button.noSuchThing": lambda: button().noSuchThing,
    "button.clicked": lambda: button().clicked,
    "button.clicked.connect(f)": lambda: button().clicked.connect(lambda: None),
    "button.connect('clicked(bool)', f)": lambda: button().connect("clicked(bool)", print),
    "button.connect('clicked()', f)": lambda: button().connect("clicked()", print),
    "button.connect('nosuch()', f)": lambda: button().connect("nosuch()", print),
    "button.click(); arguments that slots received": received_by_slots,
    "lineEdit.text": lambda: qt.QLineEdit("x").text,
    "comboBox.currentText": lambda: combo().currentText,
    "comboBox.currentIndex = 1; currentText": lambda: combo(1).currentText,
    "comboBox.count": lambda: combo().count,
    "comboBox.currentData": lambda: combo().currentData,
    "comboBox.itemData(0)": lambda: combo().itemData(0),
    "comboBox.addItem('c', {'k': 1}); itemData(2)": third_item_data,
    "comboBox.blockSignals(True)": lambda: combo().blockSignals(True),
    "spinBox.value": lambda: qt.QSpinBox().value,
    "spinBox.value = 5": lambda: set_and_get(qt.QSpinBox(), "value", 5),
    "checkBox.checked = True": lambda: set_and_get(qt.QCheckBox(), "checked", True),
    "checkBox.checkState()": lambda: _checked().checkState(),
    "progressBar.value = 40": lambda: set_and_get(qt.QProgressBar(), "value", 40),
    "label.setPixmap(QPixmap())": lambda: qt.QLabel().setPixmap(qt.QPixmap()),
    "tableWidget.setItem(0,0,QTableWidgetItem('q')); item(0,0).text()": lambda: (
        table().item(0, 0).text()
    ),
    "tableWidget.rowCount": lambda: table().rowCount,
    "tableWidget.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)": lambda: (
        table().horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    ),
    "tabWidget.addTab(QWidget(),'t'); count": lambda: tabs().count,
    "qt.Qt.AlignCenter": lambda: qt.Qt.AlignCenter,
    "qt.Qt.AlignLeft | qt.Qt.AlignTop": lambda: qt.Qt.AlignLeft | qt.Qt.AlignTop,
    "qt.QSizePolicy.Expanding": lambda: qt.QSizePolicy.Expanding,
    "qt.QTimer.singleShot(0, f)": lambda: qt.QTimer.singleShot(0, lambda: None),
    "timer.setInterval(10); timer.timeout.connect(f); timer.start()": start_timer,
    "timer.active": lambda: timer().active,
    "process.state()": lambda: qt.QProcess().state(),
    "process.start('python3', ['-c','print(1)'])": starts,
    "process.waitForFinished(5000)": finishes,
    "process.readAllStandardOutput()": lambda: finished().readAllStandardOutput(),
    "process.readAllStandardOutput().data()": lambda: (
        finished("import sys; sys.stdout.buffer.write(bytes([0xc3, 0xa9, 10]))")
        .readAllStandardOutput()
        .data()
    ),
    "process.exitCode()": lambda: finished().exitCode(),
    "process.finished.connect(f)": lambda: qt.QProcess().finished.connect(print),
    "process.connect('finished(int,QProcess::ExitStatus)', f)": lambda: qt.QProcess().connect(
        "finished(int,QProcess::ExitStatus)", print
    ),
    "process.processId()": lambda: qt.QProcess().processId(),
    "qt.QProcess.NotRunning": lambda: qt.QProcess.NotRunning,
    "qt.QSettings().value('nope', 3)": lambda: qt.QSettings().value("nope", 3),
    "qt.Signal": lambda: qt.Signal,
    "class W(qt.QWidget) with python method": lambda: Derived().greet(),
    "widget.layout()": lambda: qt.QWidget().layout(),
    "layout.count()": lambda: Laid().layout.count(),
    "layout.itemAt(0).widget()": lambda: Laid().layout.itemAt(0).widget(),
    "button.parent()": lambda: Laid().button.parent(),
    "widget.children()": lambda: len(Laid().widget.children()),
    "widget.findChild(qt.QPushButton,'')": lambda: Laid().widget.findChild(qt.QPushButton, ""),
    "widget.grab().save('x.png')": grab,
    "widget.property('SlicerParameterName')": lambda: qt.QWidget().property("SlicerParameterName"),
    "widget.setProperty('a', 1); property('a')": property_set,
    "widget.visible": lambda: qt.QWidget().visible,
    "widget.size": lambda: grabbed("size"),
    "widget.width": lambda: grabbed("width"),
    "widget.deleteLater()": lambda: qt.QWidget().deleteLater(),
    "ctkCollapsibleButton.collapsed = True": lambda: set_and_get(
        ctk.ctkCollapsibleButton(), "collapsed", True
    ),
    "ctkCollapsibleButton.text = 'T'": lambda: set_and_get(ctk.ctkCollapsibleButton(), "text", "T"),
    "ctkSliderWidget.minimum/maximum/value": slider_range,
    "ctkSliderWidget.value = 7": lambda: set_and_get(ctk.ctkSliderWidget(), "value", 7),
    "ctkPathLineEdit.currentPath = 'DIR'": lambda: set_and_get(
        ctk.ctkPathLineEdit(), "currentPath", "DIR"
    ),
    "ctkPathLineEdit.filters": lambda: ctk.ctkPathLineEdit().filters,
    "ctkPathLineEdit.Dirs": lambda: ctk.ctkPathLineEdit.Dirs,
}


def _checked():
    box = qt.QCheckBox()
    box.checked = True
    return box


def answer(question):
    """The answer in the words of the recording."""
    try:
        value = question()
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return f"{type(value).__name__}: {str(value)!r}"


def form(text, question):
    text = re.sub(r"0x[0-9a-f.]+", "0x", text)
    return re.sub(r"\d+", "n", text) if question in FONT_DEPENDENT else text


@pytest.mark.parametrize("question", RECORDED)
def test_answers_as_the_desktop_does(question):
    asked = QUESTIONS[question]
    assert form(answer(asked), question) == form(RECORDED[question], question)


def test_every_question_was_recorded():
    assert set(QUESTIONS) == set(RECORDED)
