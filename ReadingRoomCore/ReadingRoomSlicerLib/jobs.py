# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of a module library in a process of its own, without blocking Slicer.

The process is PythonSlicer, so it has Slicer's Python packages. It stays warm between runs
(``--serve``) and speaks the line protocol of `ReadingRoomLib.protocol`. Ending a run ends the
process with everything it started; the next run starts a new one.
"""

import importlib.util
import os
import shutil

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib import processes, protocol

from . import settings

IDLE_MINUTES = 10
"""A warm process that is not needed for so long ends and gives its memory back."""

LOG_CHARACTERS = 20000
"""So much of what the process printed is kept for the log, counted from the end."""


class JobRunner:
    """Runs one command of one module library at a time.

    :param library: importable name with a command line, such as ``"MuscleSegLib"`` or
      ``"ReadingRoomLib.reader_study"``.
    """

    def __init__(self, library: str) -> None:
        self.library = library
        self._process = None
        self._job = None
        self._decoder = None
        self._printed = ""
        self._jobNumber = 0
        self._idleTimer = qt.QTimer()
        self._idleTimer.setSingleShot(True)
        self._idleTimer.setInterval(IDLE_MINUTES * 60 * 1000)
        self._idleTimer.connect("timeout()", self.shutdown)

    @property
    def running(self) -> bool:
        """Whether a job has been started that has not ended."""
        return self._job is not None

    @property
    def log(self) -> str:
        """What the process printed beside its messages, and the log file of the last failure."""
        return self._printed.strip()

    def processId(self) -> int:
        """The operating system's number of the process, 0 when there is none."""
        return self._process.processId() if self._process else 0

    def start(self, arguments, onFinished, onFailed, onProgress=None) -> None:
        """Start a command and return at once.

        :param arguments: command and options, as typed: ``["segment", "ct.nrrd", ...]``.
        :param onFinished: called with the manifest, a dictionary, when the command succeeded.
        :param onFailed: called with code, sentence and log text in every other case.
        :param onProgress: called with stage, done, total and message.
        :raises RuntimeError: when a job is running already, or PythonSlicer is not found.

        Exactly one of ``onFinished`` and ``onFailed`` is called, once.
        """
        if self.running:
            raise RuntimeError(_("A computation is running already."))
        if self._process is None:
            self._startProcess()
        self._idleTimer.stop()
        self._printed = ""
        self._jobNumber += 1
        self._job = _Job(self._jobNumber, onFinished, onFailed, onProgress)
        request = protocol.request_message([str(a) for a in arguments], self._jobNumber)
        self._process.write(protocol.encode(request).encode("ascii"))

    def runInFolder(self, prepare, load, onFinished=None, onFailed=None, onProgress=None,
                    wait=False):
        """Run a command in a temporary folder and load what it leaves there.

        :param prepare: called with the folder; writes the input and returns the arguments.
        :param load: called with the manifest while the folder is there; returns the result.
        :param onFinished: called with the result.
        :param onFailed, onProgress: as those of `start`.
        :param wait: return when it is done, instead of at once.
        :return: the result if ``wait``, otherwise None.
        :raises RuntimeError: with ``wait``, when there is no result; in any case when it cannot
          be started.
        """
        folder = slicer.util.tempDirectory(key=f"{self.library}-")
        outcome = {}

        def finished(manifest):
            try:
                outcome["result"] = load(manifest)
            except Exception as error:
                failed("INTERNAL", _("The result could not be loaded: {error}").format(
                    error=error), self.log)
                return
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            if onFinished:
                onFinished(outcome["result"])

        def failed(code, sentence, log):
            shutil.rmtree(folder, ignore_errors=True)
            outcome["sentence"] = sentence
            if onFailed:
                onFailed(code, sentence, log)

        try:
            self.start(prepare(folder), finished, failed, onProgress)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not wait:
            return None
        self.wait()
        if "result" not in outcome:
            raise RuntimeError(outcome["sentence"])
        return outcome["result"]

    def cancel(self) -> None:
        """End the running job and everything it started; ``onFailed`` is called (CANCELLED)."""
        if self.running:
            self._endProcess()
            self._fail("CANCELLED", _("The computation was cancelled."))

    def shutdown(self) -> None:
        """Cancel what runs and let the warm process go. The runner can be used again."""
        self.cancel()
        self._endProcess()

    def wait(self) -> None:
        """Return when the job has ended; Slicer's windows stay alive meanwhile."""
        while self.running:
            slicer.app.processEvents()
            if self._process is not None:
                self._process.waitForReadyRead(20)

    def _startProcess(self) -> None:
        process = qt.QProcess()
        process.setProcessEnvironment(environment(self.library))
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("readyReadStandardError()", self._onPrinted)
        process.connect("finished(int,QProcess::ExitStatus)", self._onProcessFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._decoder = protocol.LineDecoder()
        self._process = process
        process.start(pythonExecutable(), ["-m", self.library, "--serve"])

    def _endProcess(self) -> None:
        """End the process at once: what it computed is not wanted, its files are removed."""
        self._idleTimer.stop()
        process, self._process = self._process, None
        if process is None:
            return
        process.blockSignals(True)
        endProcess(process)

    def _onOutput(self) -> None:
        if self._process is None:
            return
        for message in self._decoder.feed(self._process.readAllStandardOutput().data()):
            if self._job is not None and message.get("id") == self._job.number:
                self._onMessage(message)

    def _onMessage(self, message) -> None:
        kind = protocol.message_kind(message)
        if kind == "progress" and self._job.onProgress:
            self._job.onProgress(
                message["stage"], message["done"], message["total"], message["message"])
        elif kind == "failure":
            self._fail(message["error"], message["message"], message.get("log"))
        elif kind == "result":
            job, self._job = self._job, None
            self._idleTimer.start()
            job.onFinished(message)

    def _onPrinted(self) -> None:
        if self._process is not None:
            printed = self._process.readAllStandardError().data().decode("utf-8", "replace")
            self._printed = (self._printed + printed)[-LOG_CHARACTERS:]

    def _onProcessFinished(self, exitCode=0, exitStatus=0) -> None:
        self._onOutput()
        self._onPrinted()
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        self._fail("INTERNAL", _(
            "The computation ended unexpectedly; your images are unharmed, please try again."))

    def _onProcessError(self, error) -> None:
        if error == qt.QProcess.FailedToStart:
            self._process = None
            self._fail("INTERNAL", _(
                "The computation could not be started, because Slicer's Python was not found."))

    def _fail(self, code, sentence, logFile=None) -> None:
        if self._job is None:
            return
        job, self._job = self._job, None
        if self._process is not None:
            self._idleTimer.start()
        if logFile and os.path.isfile(logFile):
            with open(logFile, encoding="utf-8", errors="replace") as file:
                self._printed = f"{logFile}\n\n{file.read()}\n{self._printed}"
        job.onFailed(code, sentence, self.log)


class _Job:
    def __init__(self, number, onFinished, onFailed, onProgress) -> None:
        self.number = number
        self.onFinished = onFinished
        self.onFailed = onFailed
        self.onProgress = onProgress


def pythonExecutable() -> str:
    """Path of PythonSlicer.

    :raises RuntimeError: when it is not there.
    """
    path = shutil.which("PythonSlicer")
    if not path:
        raise RuntimeError(_("Slicer's Python (PythonSlicer) was not found."))
    return path


def endProcess(process) -> None:
    """End a process at once, with everything it started."""
    if process.processId():
        # PythonSlicer is a launcher; Python itself is its child.
        processes.kill_process_tree(process.processId(), grace=0)
    process.waitForFinished(3000)
    process.deleteLater()


def environment(library):
    """The environment of this application, with the core and a library importable."""
    environment = qt.QProcessEnvironment.systemEnvironment()
    folders = [libraryFolder("ReadingRoomLib"), libraryFolder(library)]
    if environment.contains("PYTHONPATH"):
        folders.append(environment.value("PYTHONPATH"))
    environment.insert("PYTHONPATH", os.pathsep.join(dict.fromkeys(folders)))
    environment.insert("PYTHONUTF8", "1")
    if settings.modelFolder():
        environment.insert("READINGROOM_CACHE", settings.modelFolder())
    return environment


def libraryFolder(library: str) -> str:
    """Folder that holds a library: that of the module file it belongs to."""
    specification = importlib.util.find_spec(library.partition(".")[0])
    return os.path.dirname(os.path.abspath(specification.submodule_search_locations[0]))
