# SPDX-License-Identifier: Apache-2.0
"""QProcess for real: what the job runner stands on. And: the interpreter ends cleanly."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slicerhost import pythonqt

pythonqt.install()

import qt  # noqa: E402

HOST = Path(__file__).parents[1]
LIMIT = 20_000  # milliseconds


def wait_until(condition, seconds=20):
    """Let Qt work until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        qt.QApplication.processEvents(qt.QEventLoop.AllEvents, 20)


@pytest.fixture
def process():
    started = qt.QProcess()
    yield started
    if started.state() != qt.QProcess.NotRunning:
        started.kill()
        started.waitForFinished(LIMIT)


def run(process, code, *arguments):
    process.start(sys.executable, ["-c", code, *arguments])


def test_lines_arrive_while_the_process_runs(process):
    lines, ended = [], []

    def read():
        while process.canReadLine():
            lines.append(bytes(process.readLine().data()).decode().strip())

    process.readyReadStandardOutput.connect(read)
    process.connect(
        "finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status))
    )
    run(process, "import sys; print(1, flush=True); sys.stdin.readline(); print('é'); sys.exit(4)")
    wait_until(lambda: lines == ["1"])
    assert process.state() == qt.QProcess.Running and process.processId() > 0
    process.write("go on\n")
    wait_until(lambda: ended)
    read()
    assert lines == ["1", "é"]
    assert ended == [(4, qt.QProcess.NormalExit)]
    assert process.exitCode() == 4


def test_bytes_and_text_can_be_written(process):
    run(process, "import sys; sys.stdout.write(sys.stdin.read())")
    assert process.waitForStarted(LIMIT)
    process.write(b"bytes ")
    process.write("text é")
    process.closeWriteChannel()
    assert process.waitForFinished(LIMIT)
    assert process.readAllStandardOutput().data().decode() == "bytes text é"


def test_environment_and_working_folder(process, tmp_path):
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("READINGROOM_TEST", "größe")
    process.setProcessEnvironment(environment)
    process.setWorkingDirectory(str(tmp_path))
    run(process, "import os; print(ascii(os.environ['READINGROOM_TEST'])); print(os.getcwd())")
    assert process.waitForFinished(LIMIT)
    first, second = process.readAllStandardOutput().data().decode().splitlines()
    assert eval(first) == "größe"  # ascii() quotes it
    assert Path(second).samefile(tmp_path)


def test_channels_are_apart_or_merged(process):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    run(process, code)
    assert process.waitForFinished(LIMIT)
    assert process.readAllStandardOutput().data().strip() == b"out"
    assert process.readAllStandardError().data().strip() == b"err"
    process.setProcessChannelMode(qt.QProcess.MergedChannels)
    run(process, code)
    assert process.waitForFinished(LIMIT)
    assert process.readAllStandardOutput().data().split() == [b"out", b"err"]


def test_kill_ends_the_process(process):
    ended = []
    process.finished.connect(ended.append)
    run(process, "import time; time.sleep(60)")
    assert process.waitForStarted(LIMIT)
    number = process.processId()
    process.kill()
    wait_until(lambda: ended)
    assert process.exitStatus() == qt.QProcess.CrashExit
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_program_that_does_not_exist(process):
    errors = []
    process.errorOccurred.connect(errors.append)
    process.start("/no/such/program", [])
    assert not process.waitForStarted(LIMIT)
    assert errors == [qt.QProcess.FailedToStart]
    assert process.error() == qt.QProcess.FailedToStart


ENDINGS = {
    "nothing kept": "",
    "open window with a section": """
window = qt.QMainWindow()
section = ctk.ctkCollapsibleButton("Inputs", window)
qt.QVBoxLayout(section).addWidget(ctk.ctkSliderWidget())
window.setCentralWidget(section)
window.show()
qt.QApplication.processEvents()
""",
    "subclass, filter and slots": """
class Panel(qt.QWidget):
    def __init__(self):
        super().__init__()
        self.button = qt.QPushButton("a", self)
        self.button.clicked.connect(self.press)
        self.button.installEventFilter(self)
        self.destroyed.connect(self.press)
    def press(self, *arguments):
        pass
    def eventFilter(self, watched, event):
        return False
    def hideEvent(self, event):
        qt.QWidget.hideEvent(self, event)
panel = Panel()
panel.show()
""",
    "running timer": """
timer = qt.QTimer()
timer.timeout.connect(lambda: None)
timer.start(1)
qt.QApplication.processEvents()
""",
    "panel from a file": """
panel = pythonqt.load_ui(sys.argv[1])
panel.show()
panel.grab()
""",
    "threads and models": """
class Model(qt.QAbstractTableModel):
    def rowCount(self, parent=None): return 2
    def columnCount(self, parent=None): return 2
    def data(self, index, role): return "x"
model, view = Model(), qt.QTableView()
view.setModel(model)
view.show()
qt.QApplication.processEvents()
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_interpreter_ends_without_a_word(ending):
    code = "import sys\nfrom slicerhost import pythonqt\npythonqt.install()\nimport qt, ctk\n"
    finished = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code + ENDINGS[ending],
         str(Path(__file__).parent / "data" / "panel.ui")],
        env={**os.environ, "PYTHONPATH": str(HOST)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stderr) == (0, "")
